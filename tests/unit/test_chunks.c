// SPDX-License-Identifier: MIT
/*
 * Dual Chunk Attention with small chunks, on the sim transport or on $ZW_TEST_DEVICE: against a plain forward pass in
 * double precision, the same bits however a text is cut, and those of plain attention while there is one chunk.
 */
#include "ctx_test.h"

#include <errno.h>
#include <math.h>

#include "chunks.h"

#define TOKENS 200

static void open_shape(struct shape s)
{
	struct zw_error err = {""};

	fixture_make(&fix, s);
	fixture_write(&fix);
	V = s.v;
	if (zw_model_open(dev, fix.dir, NULL, &model, &err))
		fail_msg("%s", err.msg);
}

static void close_shape(void)
{
	assert_int_equal(zw_model_close(model), 0);
	fixture_free(&fix);
}

/* Relative rms error that rounding may make: $ZW_TEST_KV is the type of the KV cache. */
static double most_error(void)
{
	const char *kv = getenv("ZW_TEST_KV");
	int type = kv ? atoi(kv) : ZW_DTYPE_BF16;

	return type == ZW_DTYPE_BF16 ? 0.03 : type == ZW_DTYPE_I8 ? 0.04 : 0.08;
}

/* Logits of all tokens; pieces of so many at a time. */
static float *run(const uint32_t *ids, uint32_t n, uint32_t piece, uint32_t room)
{
	struct zw_ctx *c =
		context((struct zw_ctx_options){.batch = piece, .outputs = piece, .context = room});
	float *x = malloc((size_t)n * V * sizeof(*x));
	uint32_t seq = sequence(c);

	for (uint32_t at = 0; at < n; at += piece) {
		uint32_t k = n - at < piece ? n - at : piece;
		struct zw_eval_options opt = {.size = sizeof(opt),
					      .all_logits = x + (size_t)at * V};
		struct zw_error err = {""};

		if (zw_ctx_eval(c, seq, ids + at, k, &opt, NULL, &err))
			fail_msg("%s", err.msg);
	}
	zw_ctx_destroy(c);
	return x;
}

static double difference(const float *got, const double *want, size_t n)
{
	double diff = 0, size = 0;

	for (size_t i = 0; i < n; i++) {
		diff += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
		size += want[i] * want[i];
	}
	return sqrt(diff / size);
}

static void test_reference(void **state)
{
	/* chunks of 32, 27, 5 and 1 positions, with and without what lies between them being cut at chunk_size */
	static const struct {
		uint32_t shape, chunk, local, original;
	} cases[] = {
		{0, 40, 8, 0}, {4, 30, 3, 100}, {6, 64, 59, 0}, {1, 50, 10, 200}, {0, 3, 2, 150}};

	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		struct shape s = fixture_shapes[cases[k].shape];
		uint32_t ids[TOKENS];
		double *want, error, other;
		float *got, *again;

		s.chunk = cases[k].chunk;
		s.local = cases[k].local;
		s.original = cases[k].original;
		s.context = 256;
		open_shape(s);
		for (uint32_t i = 0; i < TOKENS; i++)
			ids[i] = (i * 31 + i / 7) % s.v;
		want = malloc(TOKENS * s.v * sizeof(*want));
		fixture_reference(&fix, ids, TOKENS, want);
		got = run(ids, TOKENS, 48, s.context);
		error = difference(got, want, TOKENS * s.v);
		if (!(error < most_error()))
			fail_msg("case %zu: relative rms difference %g", k, error);
		for (uint32_t piece = 1; piece <= 64; piece = piece * 3 + 4) {
			again = run(ids, TOKENS, piece, s.context);
			assert_memory_equal(got, again, TOKENS * s.v * sizeof(*got));
			free(again);
		}
		/* it is not plain attention */
		fix.s.chunk = fix.s.original = 0;
		fixture_reference(&fix, ids, TOKENS, want);
		other = difference(got, want, TOKENS * s.v);
		if (!(other > 0.1 && other > 2 * error))
			fail_msg("case %zu: plain attention is as near: %g", k, other);
		free(got);
		free(want);
		close_shape();
	}
}

/* While a sequence has one chunk, it has the bits of plain attention, whatever the context has room for. */
static void test_one_chunk(void **state)
{
	struct shape s = fixture_shapes[0];
	uint32_t ids[30];
	float *plain, *chunk;

	for (uint32_t i = 0; i < 30; i++)
		ids[i] = (i * 17 + 3) % s.v;
	open_shape(s);
	plain = run(ids, 30, 16, 256);
	close_shape();
	s.chunk = 38;
	s.local = 8;
	for (uint32_t room = 30; room <= 256; room += 226) {
		open_shape(s);
		chunk = run(ids, 30, 16, room);
		assert_memory_equal(plain, chunk, 30 * s.v * sizeof(*plain));
		free(chunk);
		close_shape();
	}
	free(plain);
}

/* Every key is in one range, at the distance that the range is rotated for. */
static void test_ranges(void **state)
{
	static const struct llm_chunk_config configs[] = {
		{40, 8, 0}, {64, 59, 0}, {3, 2, 0}, {9, 0, 0}};

	for (size_t k = 0; k < 4; k++) {
		const struct llm_chunk_config *c = &configs[k];
		uint32_t length = llm_chunk_length(c);

		for (uint32_t pos = 0; pos < 300; pos++) {
			struct llm_range r[LLM_RANGES];
			uint32_t next = 0;

			llm_chunk_ranges(c, pos, r);
			for (int i = LLM_RANGES; i-- > 0;) {
				assert_true(r[i].rope <= c->size);
				if (r[i].start > r[i].last)
					continue;
				assert_int_equal(r[i].start, next);
				next = r[i].last + 1;
				for (uint32_t t = r[i].start; t <= r[i].last; t++) {
					assert_int_equal(pos / length - t / length < 2
								 ? pos / length - t / length
								 : 2,
							 i);
					/* near keys at their distance */
					if (!i || (i == 1 && pos % length + length <= c->size))
						assert_int_equal(r[i].rope - t % length, pos - t);
				}
			}
			assert_int_equal(next, pos + 1);
		}
	}
}

static int setup(void **state)
{
	dev = open_dev(getenv("ZW_TEST_DEVICE"));
	return 0;
}

static int teardown(void **state)
{
	zw_dev_close(dev);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reference),
		cmocka_unit_test(test_one_chunk),
		cmocka_unit_test(test_ranges),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

// SPDX-License-Identifier: MIT
/*
 * Dual Chunk Attention with small chunks, on the sim transport or on $ZW_TEST_DEVICE: against a plain forward pass in
 * double precision, the same bits however a text is cut, and those of plain attention while there is one chunk. With
 * sparse attention: the same of what keeps everything, and over the keys that a plain selection chooses.
 */
#include "ctx_test.h"

#include <errno.h>
#include <math.h>

#include "chunks.h"
#include "share.h"

#define TOKENS 200

/* Of sparse attention: tokens, those of a group and of a block, those of a step. */
#define LONG    576
#define GROUP   32
#define STEP    96
/* What the runtime has SELECT_SLASH look at and always choose. */
#define SAMPLE  64
#define FIRST   LLM_SPARSE_FIRST
#define NEAREST LLM_SPARSE_NEAREST

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

/* The same with other options, in two pieces if `cut` is not 0. */
static float *run_cut(const uint32_t *ids, uint32_t n, uint32_t cut, struct zw_ctx_options o,
		      uint64_t *sparse)
{
	struct zw_ctx_stats stats = {.size = sizeof(stats)};
	struct zw_ctx *c = context(o);
	float *x = malloc((size_t)n * V * sizeof(*x));
	uint32_t seq = sequence(c);

	for (uint32_t at = 0, end; at < n; at = end) {
		struct zw_eval_options opt = {.size = sizeof(opt),
					      .all_logits = x + (size_t)at * V};
		struct zw_error err = {""};

		end = at < cut ? cut : n;
		if (zw_ctx_eval(c, seq, ids + at, end - at, &opt, NULL, &err))
			fail_msg("%s", err.msg);
	}
	assert_int_equal(zw_ctx_get_stats(c, &stats), 0);
	if (sparse)
		*sparse = stats.sparse_tokens;
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

		if (!in_share(k))
			continue;
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

/* ---- sparse attention ---- */

static struct zw_ctx_options sparse_options(uint32_t kind, uint32_t tokens, uint32_t batch)
{
	struct zw_ctx_options o = {.batch = batch,
				   .outputs = batch,
				   .context = tokens,
				   .sparse = kind,
				   .sparse_group = GROUP};

	/* What no text of these has more of. */
	if (kind == ZW_SPARSE_BLOCKS)
		o.sparse_keep = tokens / GROUP + 2;
	else
		o.sparse_vertical = o.sparse_slash = tokens;
	return o;
}

/* What keeps everything has the bits of all keys, wherever chunks begin and a prompt is cut. */
static void test_sparse_everything(void **state)
{
	static const struct {
		uint32_t shape, chunk, local, original;
	} cases[] = {{0, 40, 8, 0}, {4, 30, 3, 100}, {0, 80, 16, 0}, {0, 6, 1, 0}};

	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		struct shape s = fixture_shapes[cases[k].shape];
		uint32_t ids[TOKENS], c = cases[k].chunk - cases[k].local;
		/* one at a time, then at the edges of groups and chunks */
		uint32_t cuts[] = {0,         1,         c - 1,     c,         c + 1,
				   2 * c - 1, 2 * c,     2 * c + 1, 3 * c,     GROUP - 1,
				   GROUP,     GROUP + 1, 2 * GROUP, TOKENS - 1};
		float *want, *got;

		s.chunk = cases[k].chunk;
		s.local = cases[k].local;
		s.original = cases[k].original;
		s.context = 256;
		open_shape(s);
		for (uint32_t i = 0; i < TOKENS; i++)
			ids[i] = (i * 31 + i / 7) % s.v;
		want = run(ids, TOKENS, 48, s.context);
		for (uint32_t kind = ZW_SPARSE_SLASH; kind <= ZW_SPARSE_BLOCKS; kind++)
			for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
				uint64_t sparse;

				/* Of a share each case has other cuts. */
				if (!in_share(k + i))
					continue;
				got = run_cut(ids, TOKENS, cuts[i],
					      sparse_options(kind, s.context, STEP), &sparse);
				assert_true(sparse >= TOKENS / GROUP * GROUP - 2 * GROUP);
				if (memcmp(got, want, TOKENS * s.v * sizeof(*got)))
					fail_msg("case %zu, kind %u, cut at %u: other bits", k,
						 kind, cuts[i]);
				free(got);
			}
		free(want);
		close_shape();
	}
}

/* A selection from scores in double precision. */
struct selection {
	uint32_t heads, blocks, columns, distances; /* blocks 0: columns and distances */
	double *z;                                  /* [heads, LONG, LONG] */
	bool *in;                                   /* [heads, groups, LONG]: keys of a group */
	bool made;
};

static double *scores_at(const struct selection *x, uint32_t head, uint32_t pos)
{
	return x->z + ((size_t)head * LONG + pos) * LONG;
}

static bool *keys_at(const struct selection *x, uint32_t head, uint32_t group)
{
	return x->in + ((size_t)head * (LONG / GROUP) + group) * LONG;
}

/* Takes the scores down; once there is a selection hides what is not in it. */
static void look(void *opaque, uint32_t head, uint32_t pos, double *z)
{
	const struct selection *x = opaque;
	const bool *in = keys_at(x, head, pos / GROUP);

	if (!x->made) {
		memcpy(scores_at(x, head, pos), z, (pos + 1) * sizeof(*z));
		return;
	}
	for (uint32_t t = 0; t <= pos; t++)
		if (!in[t])
			z[t] = -INFINITY;
}

/* Marks the first `forced` of n and the greatest of the others, `count` in all. */
static void mark_best(const double *v, uint32_t n, uint32_t count, uint32_t forced, bool *in)
{
	uint32_t have = 0;

	for (uint32_t i = 0; i < n; i++)
		have += in[i] = i < forced;
	for (; have < count && have < n; have++) {
		uint32_t best = UINT32_MAX;

		for (uint32_t i = 0; i < n; i++)
			if (!in[i] && (best == UINT32_MAX || v[i] > v[best]))
				best = i;
		in[best] = true;
	}
}

/* Blocks as SELECT_BLOCKS has them: means multiply as their members do, where a block has one query for each row. */
static void choose_blocks(struct selection *x, uint32_t head, uint32_t group)
{
	double score[LONG / GROUP] = {0};
	bool in[LONG / GROUP];

	for (uint32_t r = group * GROUP; r < (group + 1) * GROUP; r++)
		for (uint32_t t = 0; t < group * GROUP; t++)
			score[t / GROUP] += scores_at(x, head, r)[t];
	mark_best(score, group, x->blocks - 1, 1, in);
	for (uint32_t t = 0; t < (group + 1) * GROUP; t++)
		keys_at(x, head, group)[t] = t / GROUP == group || in[t / GROUP];
}

/* Columns and distances of a step's groups as SELECT_SLASH has them. */
static void choose_slash(struct selection *x, uint32_t head, uint32_t from, uint32_t end)
{
	double column[LONG] = {0}, distance[LONG] = {0};
	bool v[LONG], o[LONG];

	for (uint32_t r = end - SAMPLE; r < end; r++) {
		const double *z = scores_at(x, head, r);
		double most = -INFINITY, sum = 0;

		for (uint32_t t = 0; t <= r; t++)
			most = fmax(most, z[t]);
		for (uint32_t t = 0; t <= r; t++)
			sum += exp(z[t] - most);
		for (uint32_t t = 0; t <= r; t++) {
			column[t] += exp(z[t] - most) / sum;
			distance[r - t] += exp(z[t] - most) / sum;
		}
	}
	mark_best(column, end, x->columns, FIRST, v);
	mark_best(distance, end, x->distances, NEAREST, o);
	for (uint32_t g = from / GROUP; g < end / GROUP; g++) {
		bool reached[LONG / GROUP] = {false};

		for (uint32_t r = g * GROUP; r < (g + 1) * GROUP; r++)
			for (uint32_t d = 0; d <= r; d++)
				reached[(r - d) / GROUP] |= o[d];
		for (uint32_t t = 0; t < (g + 1) * GROUP; t++)
			keys_at(x, head, g)[t] = v[t] || reached[t / GROUP];
	}
}

static void check_selection(uint32_t kind, uint32_t chunk, uint32_t local, uint32_t original)
{
	struct zw_ctx_options o = sparse_options(kind, LONG, STEP);
	struct selection x = {.blocks = kind == ZW_SPARSE_BLOCKS ? 5 : 0,
			      .columns = FIRST + 20,
			      .distances = NEAREST + 2};
	double *dense, *want, error, other;
	struct shape s = fixture_shapes[0];
	uint32_t ids[LONG];
	uint64_t sparse;
	float *got;

	s.layers = 1; /* whose scores do not depend on what is hidden */
	s.chunk = chunk;
	s.local = local;
	s.original = original;
	s.context = LONG;
	open_shape(s);
	for (uint32_t i = 0; i < LONG; i++)
		ids[i] = pick(s.v);
	if (x.blocks)
		o.sparse_keep = x.blocks;
	else
		o.sparse_vertical = x.columns, o.sparse_slash = x.distances;
	x.z = calloc((size_t)s.nq * LONG * LONG, sizeof(*x.z));
	x.in = calloc((size_t)s.nq * LONG / GROUP * LONG, sizeof(*x.in));
	dense = malloc((size_t)LONG * s.v * sizeof(*dense));
	want = malloc((size_t)LONG * s.v * sizeof(*want));
	fix.look = look;
	fix.opaque = &x;
	fixture_reference(&fix, ids, LONG, dense);
	for (uint32_t h = 0; h < s.nq; h++) {
		for (uint32_t g = 0; g < LONG / GROUP && x.blocks; g++)
			choose_blocks(&x, h, g);
		for (uint32_t at = 0; at < LONG && !x.blocks; at += STEP)
			choose_slash(&x, h, at, at + STEP);
	}
	x.made = true;
	fixture_reference(&fix, ids, LONG, want);
	fix.look = NULL;
	got = run_cut(ids, LONG, 0, o, &sparse);
	assert_int_equal(sparse, LONG);
	error = difference(got, want, (size_t)LONG * s.v);
	other = difference(got, dense, (size_t)LONG * s.v);
	print_message("kind %u, chunks of %u: relative rms %.4f, %.4f from all keys\n", kind,
		      chunk - local, error, other);
	assert_true(error < most_error());
	/* What a quantised cache rounds may be as much as what the selection leaves out. */
	assert_true(other > 2 * error || getenv("ZW_TEST_KV"));
	free(got);
	free(want);
	free(dense);
	free(x.in);
	free(x.z);
	close_shape();
}

/* Several chunks whose edges are those of blocks, and some whose are not, where a step has one, two and many. */
static void test_sparse_selection(void **state)
{
	static const struct {
		uint32_t kind, chunk, local, original;
	} cases[] = {{ZW_SPARSE_BLOCKS, 140, 12, 0},
		     {ZW_SPARSE_BLOCKS, 32, 0, 300},
		     {ZW_SPARSE_SLASH, 140, 12, 300},
		     {ZW_SPARSE_SLASH, 110, 9, 0},
		     {ZW_SPARSE_SLASH, 30, 3, 0}};

	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		if (in_share(k))
			check_selection(cases[k].kind, cases[k].chunk, cases[k].local,
					cases[k].original);
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
		cmocka_unit_test(test_reference),        cmocka_unit_test(test_one_chunk),
		cmocka_unit_test(test_ranges),           cmocka_unit_test(test_sparse_everything),
		cmocka_unit_test(test_sparse_selection),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

// SPDX-License-Identifier: MIT
/* The sampler's edges and statistics, and the small files around the models. */
#include "llm_test.h"

#include <math.h>

static struct zw_sampler *open_with(float t, uint32_t k, float p, float min_p, uint64_t seed)
{
	struct zw_sampling_params sp = {.size = sizeof(sp),
					.temperature = t,
					.top_k = k,
					.top_p = p,
					.min_p = min_p,
					.seed = seed};
	struct zw_sampler *s;
	struct zw_error err = {""};

	if (zw_sampler_open(&sp, &s, &err))
		fail_msg("%s", err.msg);
	return s;
}

static uint32_t pick(struct zw_sampler *s, const float *logits, size_t n)
{
	struct zw_error err = {""};
	uint32_t id;

	if (zw_sampler_pick(s, logits, n, &id, &err))
		fail_msg("%s", err.msg);
	assert_true(id < n);
	return id;
}

/* counts[id] over many draws */
static void histogram(struct zw_sampler *s, const float *logits, size_t n, unsigned int *counts,
		      unsigned int draws)
{
	memset(counts, 0, n * sizeof(*counts));
	for (unsigned int i = 0; i < draws; i++)
		counts[pick(s, logits, n)]++;
}

static void test_greedy(void **state)
{
	const float x[] = {1, 5, 5, -INFINITY, 2};
	const float neg[] = {-INFINITY, -3, -3};
	struct zw_sampler *s = open_with(0, 0, 1, 0, 1);

	assert_int_equal(pick(s, x, 5), 1); /* the lowest of equal ids */
	assert_int_equal(pick(s, x, 1), 0);
	assert_int_equal(pick(s, neg, 3), 1);
	zw_sampler_close(s);
}

static void test_one_left(void **state)
{
	const float x[] = {1, 5, 5, 4.999f, 2};
	struct zw_sampler *s;

	/* top_k = 1, top_p = 0 and min_p = 1 leave the best; of the tie, min_p = 1 keeps both. */
	s = open_with(1, 1, 1, 0, 3);
	for (int i = 0; i < 50; i++)
		assert_int_equal(pick(s, x, 5), 1);
	zw_sampler_close(s);
	s = open_with(1, 0, 0, 0, 3);
	for (int i = 0; i < 50; i++)
		assert_int_equal(pick(s, x, 5), 1);
	zw_sampler_close(s);
	unsigned int counts[5];

	s = open_with(1, 0, 1, 1, 3);
	histogram(s, x, 5, counts, 400);
	assert_int_equal(counts[1] + counts[2], 400);
	assert_in_range(counts[1], 140, 260);
	zw_sampler_close(s);
	/* A tiny temperature is greedy but for ties. */
	s = open_with(1e-6f, 0, 1, 0, 3);
	histogram(s, x, 5, counts, 100);
	assert_int_equal(counts[1] + counts[2], 100);
	zw_sampler_close(s);
}

/* Frequencies against the softmax, four standard deviations wide. */
static void test_statistics(void **state)
{
	const float x[] = {0.5f, 2, -1, 1, 0, -INFINITY};
	const unsigned int draws = 40000;
	unsigned int counts[6];
	double sum = 0, t = 1.7;
	struct zw_sampler *s = open_with(1.7f, 0, 1, 0, 42);

	for (int i = 0; i < 6; i++)
		sum += exp((double)x[i] / t);
	histogram(s, x, 6, counts, draws);
	for (int i = 0; i < 6; i++) {
		double p = exp((double)x[i] / t) / sum, sd = sqrt(draws * p * (1 - p));

		if (fabs(counts[i] - draws * p) > 4 * sd + 1e-9)
			fail_msg("token %d: %u of %u draws, expected %.0f +- %.0f", i, counts[i],
				 draws, draws * p, sd);
	}
	zw_sampler_close(s);
}

/* Probabilities 0.4 0.3 0.2 0.1 in scattered order. */
static void test_filters(void **state)
{
	const float x[] = {logf(0.1f), logf(0.4f), logf(0.2f), logf(0.3f)};
	static const struct {
		uint32_t k;
		float p, min_p;
		unsigned int kept; /* bit per token */
	} cases[] = {
		{0, 1, 0, 0xf},
		{2, 1, 0, 0xa},
		{3, 1, 0, 0xe},
		{0, 0.39f, 0, 0x2},
		{0, 0.41f, 0, 0xa},
		{0, 0.69f, 0, 0xa},
		{0, 0.71f, 0, 0xe},
		{0, 0.91f, 0, 0xf},
		{0, 1, 0.49f, 0xe},
		{0, 1, 0.51f, 0xa},
		{0, 1, 0.76f, 0x2},
		{9, 1, 0, 0xf},
		/* after top-k 2 the two weigh 4/7 and 3/7: top-p works on what top-k left */
		{2, 0.55f, 0, 0x2},
		{2, 0.58f, 0, 0xa},
		/* 0.45 of the best would drop token 0 only; top-k has dropped it before */
		{3, 1, 0.45f, 0xe},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct zw_sampler *s = open_with(1, cases[i].k, cases[i].p, cases[i].min_p, i);
		unsigned int counts[4], kept = 0;

		histogram(s, x, 4, counts, 600);
		for (int j = 0; j < 4; j++)
			kept |= counts[j] ? 1u << j : 0;
		if (kept != cases[i].kept)
			fail_msg("case %zu: kept %x, expected %x", i, kept, cases[i].kept);
		zw_sampler_close(s);
	}
}

/* Of tokens that tie at the limit of top-k the lowest ids stay. */
static void test_topk_ties(void **state)
{
	float x[100];
	unsigned int counts[100];
	struct zw_sampler *s = open_with(1, 7, 1, 0, 5);

	for (int i = 0; i < 100; i++)
		x[i] = 1;
	x[93] = 1.5f;
	histogram(s, x, 100, counts, 2000);
	for (int i = 0; i < 100; i++)
		assert_int_equal(counts[i] != 0, i < 6 || i == 93);
	zw_sampler_close(s);
}

static void test_seed(void **state)
{
	float x[500];
	struct zw_sampler *a = open_with(1, 50, 0.9f, 0.01f, 77),
			  *b = open_with(1, 50, 0.9f, 0.01f, 77),
			  *c = open_with(1, 50, 0.9f, 0.01f, 78);
	unsigned int differ = 0;

	for (int i = 0; i < 500; i++)
		x[i] = (float)((i * 7919) % 503) / 100.0f;
	for (int i = 0; i < 200; i++) {
		uint32_t id = pick(a, x, 500);

		assert_int_equal(id, pick(b, x, 500));
		differ += id != pick(c, x, 500);
	}
	assert_true(differ > 100);
	zw_sampler_close(a);
	zw_sampler_close(b);
	zw_sampler_close(c);
}

static void test_broken_logits(void **state)
{
	float x[] = {1, 2, 3};
	struct zw_error err;
	uint32_t id = 99;

	for (int t = 0; t < 2; t++) {
		struct zw_sampler *s = open_with((float)t, 0, 1, 0, 1);

		x[1] = NAN;
		assert_int_equal(zw_sampler_pick(s, x, 3, &id, &err), -EDOM);
		expect_words("NaN", &err, "token 1|NaN");
		x[1] = INFINITY;
		assert_int_equal(zw_sampler_pick(s, x, 3, &id, &err), -EDOM);
		expect_words("infinity", &err, "token 1|infinite");
		x[0] = x[1] = x[2] = -INFINITY;
		assert_int_equal(zw_sampler_pick(s, x, 3, &id, &err), -EDOM);
		x[0] = 1;
		x[1] = 2;
		x[2] = 3;
		assert_int_equal(zw_sampler_pick(s, x, 0, &id, &err), -EINVAL);
		assert_int_equal(id, 99);
		zw_sampler_close(s);
	}
}

static void test_params(void **state)
{
	static const struct zw_sampling_params bad[] = {
		{.size = sizeof(bad[0]), .temperature = -1, .top_p = 1},
		{.size = sizeof(bad[0]), .temperature = NAN, .top_p = 1},
		{.size = sizeof(bad[0]), .temperature = INFINITY, .top_p = 1},
		{.size = sizeof(bad[0]), .top_p = 1.01f},
		{.size = sizeof(bad[0]), .top_p = NAN},
		{.size = sizeof(bad[0]), .top_p = 1, .min_p = -0.1f},
		{.size = sizeof(bad[0]), .top_p = 1, .min_p = 2},
		{.size = sizeof(bad[0]), .top_p = 1, .reserved = 1},
		{.size = 4, .top_p = 1},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct zw_sampler *s = NULL;

		assert_int_equal(zw_sampler_open(&bad[i], &s, NULL), -EINVAL);
		assert_null(s);
	}
}

static void test_npy(void **state)
{
	char *dir = scratch_new(), path[512];
	const float x[] = {0.5f, -1, 3e38f, -0.0f, 1e-40f, 7};
	struct zw_error err = {""};
	uint64_t rows, cols;
	float *y;
	FILE *f;

	snprintf(path, sizeof(path), "%s/a.npy", dir);
	assert_int_equal(zw_npy_write_f32(path, x, 2, 3, &err), 0);
	assert_int_equal(zw_npy_read_f32(path, &y, &rows, &cols, &err), 0);
	assert_int_equal(rows, 2);
	assert_int_equal(cols, 3);
	assert_memory_equal(x, y, sizeof(x));
	free(y);
	f = fopen(path, "rb");
	assert_int_equal(fseek(f, 0, SEEK_END), 0);
	assert_int_equal(ftell(f), 128 + 24); /* header padded to a multiple of 64 */
	fclose(f);
	assert_int_equal(truncate(path, 128 + 23), 0);
	assert_int_equal(zw_npy_read_f32(path, &y, &rows, &cols, &err), -EBADMSG);
	expect_words("short", &err, "a.npy");
	assert_int_equal(truncate(path, 50), 0);
	assert_int_equal(zw_npy_read_f32(path, &y, &rows, &cols, &err), -EBADMSG);
	scratch_text(dir, "a.npy", "not numpy at all");
	assert_int_equal(zw_npy_read_f32(path, &y, &rows, &cols, &err), -EBADMSG);
	assert_int_equal(zw_npy_write_f32("/nonexistent/a.npy", x, 2, 3, &err), -ENOENT);
	scratch_free(dir);
}

static void test_ids(void **state)
{
	static const char *const bad[] = {"{}",      "[1,",          "[1,-1]", "[1.5]",
					  "[\"1\"]", "[4294967296]", ""};
	const uint32_t ids[] = {0, 151643, UINT32_MAX};
	char *dir = scratch_new(), path[512];
	struct zw_error err = {""};
	uint32_t *got;
	size_t n;

	snprintf(path, sizeof(path), "%s/ids.json", dir);
	assert_int_equal(zw_ids_write_json(path, ids, 3, &err), 0);
	assert_int_equal(zw_ids_read_json(path, &got, &n, &err), 0);
	assert_int_equal(n, 3);
	assert_memory_equal(got, ids, sizeof(ids));
	free(got);
	scratch_text(dir, "ids.json", " [ ] ");
	assert_int_equal(zw_ids_read_json(path, &got, &n, &err), 0);
	assert_int_equal(n, 0);
	free(got);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		scratch_text(dir, "ids.json", bad[i]);
		assert_int_equal(zw_ids_read_json(path, &got, &n, &err), -EBADMSG);
		expect_words(bad[i], &err, "ids.json");
	}
	scratch_free(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_greedy),        cmocka_unit_test(test_one_left),
		cmocka_unit_test(test_statistics),    cmocka_unit_test(test_filters),
		cmocka_unit_test(test_topk_ties),     cmocka_unit_test(test_seed),
		cmocka_unit_test(test_broken_logits), cmocka_unit_test(test_params),
		cmocka_unit_test(test_npy),           cmocka_unit_test(test_ids),
	};

	return cmocka_run_group_tests_name("sampler", tests, NULL, NULL);
}

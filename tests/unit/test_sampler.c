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
	static const uint32_t one[] = {1};
	static const struct zw_logit_bias no_tokens = {{one, 0}, 1}, not_a_number = {{one, 1}, NAN},
					  infinite = {{one, 1}, INFINITY};
	static const struct zw_sampling_params bad[] = {
		{.size = sizeof(bad[0]), .temperature = -1, .top_p = 1},
		{.size = sizeof(bad[0]), .temperature = NAN, .top_p = 1},
		{.size = sizeof(bad[0]), .temperature = INFINITY, .top_p = 1},
		{.size = sizeof(bad[0]), .top_p = 1.01f},
		{.size = sizeof(bad[0]), .top_p = NAN},
		{.size = sizeof(bad[0]), .top_p = 1, .min_p = -0.1f},
		{.size = sizeof(bad[0]), .top_p = 1, .min_p = 2},
		{.size = sizeof(bad[0]), .top_p = 1, .repetition_penalty = -1},
		{.size = sizeof(bad[0]), .top_p = 1, .repetition_penalty = NAN},
		{.size = sizeof(bad[0]), .top_p = 1, .frequency_penalty = 101},
		{.size = sizeof(bad[0]), .top_p = 1, .presence_penalty = NAN},
		{.size = sizeof(bad[0]), .top_p = 1, .no_repeat_ngram = UINT32_MAX},
		{.size = sizeof(bad[0]), .top_p = 1, .num_bad_words = 1},
		{.size = sizeof(bad[0]), .top_p = 1, .num_bias = 1},
		{.size = sizeof(bad[0]), .top_p = 1, .num_bias = 1, .bias = &no_tokens},
		{.size = sizeof(bad[0]), .top_p = 1, .num_bias = 1, .bias = &not_a_number},
		{.size = sizeof(bad[0]), .top_p = 1, .num_bias = 1, .bias = &infinite},
		{.size = 4, .top_p = 1},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct zw_sampler *s = NULL;

		assert_int_equal(zw_sampler_open(&bad[i], &s, NULL), -EINVAL);
		assert_null(s);
	}
}

/* ---- steps before the draw ---- */

static struct zw_sampler *open_params(struct zw_sampling_params p)
{
	struct zw_sampler *s;
	struct zw_error err = {""};

	p.size = sizeof(p);
	p.top_p = 1;
	if (zw_sampler_open(&p, &s, &err))
		fail_msg("%s", err.msg);
	return s;
}

/* A distribution back to logits relative to token `ref`. */
static double logit_of(struct zw_sampler *s, const float *x, size_t n, size_t id, size_t ref)
{
	float probs[16];
	struct zw_error err = {""};

	if (zw_sampler_probs(s, x, n, probs, &err))
		fail_msg("%s", err.msg);
	return log((double)probs[id]) - log((double)probs[ref]) + (double)x[ref];
}

static void expect_logit(struct zw_sampler *s, const float *x, size_t n, size_t id, double want)
{
	double got = logit_of(s, x, n, id, n - 1); /* the last token is never touched */

	if (fabs(got - want) > 1e-5)
		fail_msg("logit of token %zu: %g, expected %g", id, got, want);
}

/* Repetition divides or multiplies once per token of prompt and answer; frequency and presence count
 * what was generated. Values worked out by hand. */
static void test_penalties(void **state)
{
	const float x[] = {2, -2, 3, 1, 0, 0.5f};
	const uint32_t prompt[] = {0, 1, 0, 700}; /* 700 is above the logits */
	struct zw_sampler *s = open_params(
		(struct zw_sampling_params){.temperature = 1, .repetition_penalty = 1.25f});

	assert_int_equal(zw_sampler_prompt(s, prompt, 4), 0);
	assert_int_equal(zw_sampler_accept(s, 2), 0);
	assert_int_equal(zw_sampler_accept(s, 2), 0);
	expect_logit(s, x, 6, 0, 1.6);
	expect_logit(s, x, 6, 1, -2.5);
	expect_logit(s, x, 6, 2, 2.4);
	expect_logit(s, x, 6, 3, 1);
	zw_sampler_reset(s);
	expect_logit(s, x, 6, 2, 3);
	zw_sampler_close(s);

	s = open_params((struct zw_sampling_params){.temperature = 1,
						    .repetition_penalty = 2,
						    .frequency_penalty = 0.5f,
						    .presence_penalty = 0.25f});
	assert_int_equal(zw_sampler_prompt(s, prompt, 4), 0);
	assert_int_equal(zw_sampler_accept(s, 2), 0);
	assert_int_equal(zw_sampler_accept(s, 2), 0);
	assert_int_equal(zw_sampler_accept(s, 3), 0);
	expect_logit(s, x, 6, 0, 1);                  /* prompt: repetition only */
	expect_logit(s, x, 6, 2, 3 / 2.0 - 1 - 0.25); /* twice */
	expect_logit(s, x, 6, 3, 1 / 2.0 - 0.5 - 0.25);
	/* What was generated before another prompt counts as its history, not as generated. */
	assert_int_equal(zw_sampler_prompt(s, prompt, 1), 0);
	expect_logit(s, x, 6, 2, 1.5);
	zw_sampler_close(s);

	s = open_params((struct zw_sampling_params){.repetition_penalty = 1.8f});
	assert_int_equal(zw_sampler_prompt(s, (const uint32_t[]){2}, 1), 0);
	assert_int_equal(pick(s, x, 6), 0); /* greedy too: 3 / 1.8 < 2 */
	assert_int_equal(zw_sampler_accept(s, 0x400001), -EINVAL);
	assert_int_equal(zw_sampler_prompt(s, (const uint32_t[]){1, UINT32_MAX}, 2), -EINVAL);
	assert_int_equal(pick(s, x, 6), 0);
	zw_sampler_close(s);
}

/* Bit per token that zw_sampler_probs() leaves possible. */
static unsigned int possible(struct zw_sampler *s, size_t n)
{
	float x[16] = {0}, probs[16];
	struct zw_error err = {""};
	unsigned int mask = 0;

	if (zw_sampler_probs(s, x, n, probs, &err))
		fail_msg("%s", err.msg);
	for (size_t i = 0; i < n; i++)
		mask |= probs[i] > 0 ? 1u << i : 0;
	return mask;
}

static void test_ngrams(void **state)
{
	static const struct {
		uint32_t n, len, history[8];
		unsigned int banned;
	} cases[] = {
		{1, 0, {0}, 0},
		{1, 3, {1, 2, 1}, 0x06}, /* every token once only */
		{2, 1, {1}, 0},
		{2, 3, {1, 2, 1}, 0x04},
		{2, 4, {1, 2, 3, 3}, 0x08},
		{2, 6, {1, 2, 1, 4, 5, 1}, 0x14},
		{3, 5, {1, 2, 3, 1, 2}, 0x08},
		{3, 5, {1, 2, 3, 2, 2}, 0},
		{3, 4, {2, 2, 2, 2}, 0x04},
		{4, 3, {1, 2, 3}, 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct zw_sampler *s = open_params((struct zw_sampling_params){
			.temperature = 1, .no_repeat_ngram = cases[i].n});

		/* Half prompt, half generated: both are looked at. */
		assert_int_equal(zw_sampler_prompt(s, cases[i].history, cases[i].len / 2), 0);
		for (uint32_t j = cases[i].len / 2; j < cases[i].len; j++)
			assert_int_equal(zw_sampler_accept(s, cases[i].history[j]), 0);
		if (possible(s, 8) != (0xff & ~cases[i].banned))
			fail_msg("case %zu: %x possible", i, possible(s, 8));
		zw_sampler_close(s);
	}
}

static void test_lists(void **state)
{
	const uint32_t stop[] = {5, 900}, suppress[] = {1, 900}, begin[] = {2};
	const uint32_t w0[] = {3}, w1[] = {4, 4, 0}, w2[] = {5}, w3[] = {6, 7};
	const struct zw_token_list words[] = {{w0, 1}, {w1, 3}, {w2, 1}, {w3, 2}};
	struct zw_sampler *s = open_params((struct zw_sampling_params){.temperature = 1,
								       .stop = {stop, 2},
								       .suppress = {suppress, 2},
								       .begin_suppress = {begin, 1},
								       .num_bad_words = 4,
								       .bad_words = words,
								       .min_length = 4,
								       .min_new_tokens = 2});

	/* 5 is a stop token: as a bad word it is passed over, the minima exclude it. */
	assert_int_equal(possible(s, 8), 0xff & ~(1 << 1 | 1 << 2 | 1 << 3 | 1 << 5));
	assert_int_equal(zw_sampler_prompt(s, (const uint32_t[]){6}, 1), 0);
	/* One token of history: the sequence 6 7 is longer than that and passed over. */
	assert_int_equal(possible(s, 8), 0xff & ~(1 << 1 | 1 << 2 | 1 << 3 | 1 << 5));
	assert_int_equal(zw_sampler_accept(s, 6), 0);
	assert_int_equal(possible(s, 8), 0xff & ~(1 << 1 | 1 << 3 | 1 << 5 | 1 << 7));
	assert_int_equal(zw_sampler_accept(s, 4), 0); /* two are generated, three in all */
	assert_int_equal(possible(s, 8), 0xff & ~(1 << 1 | 1 << 3 | 1 << 5));
	assert_int_equal(zw_sampler_accept(s, 4), 0);
	assert_int_equal(possible(s, 8), 0xff & ~(1 << 1 | 1 << 3 | 1 << 0));
	zw_sampler_close(s);
}

/* Added before everything else, so that a penalty sees the sum; a sequence behind its beginning. */
static void test_bias(void **state)
{
	const float x[] = {1, -0.5f, 2, 0, 0, 0};
	const uint32_t t0[] = {0}, t1[] = {1}, seq[] = {4, 3}, far[] = {900};
	const struct zw_logit_bias bias[] = {{{t0, 1}, 0.5f},
					     {{t1, 1}, 2},
					     {{t1, 1}, 1},
					     {{seq, 2}, 1.5f},
					     {{far, 1}, INT16_MAX}};
	struct zw_sampler *s = open_params((struct zw_sampling_params){
		.temperature = 1, .repetition_penalty = 2, .num_bias = 5, .bias = bias});

	expect_logit(s, x, 6, 0, 1.5);
	expect_logit(s, x, 6, 1, 2.5); /* both of them */
	assert_int_equal(zw_sampler_prompt(s, (const uint32_t[]){4}, 1), 0);
	expect_logit(s, x, 6, 3, 0); /* the history is not longer than the sequence is */
	assert_int_equal(zw_sampler_prompt(s, (const uint32_t[]){1, 4}, 2), 0);
	expect_logit(s, x, 6, 3, 1.5);
	expect_logit(s, x, 6, 1, 1.25); /* -0.5 + 3, then divided: not -0.5 * 2 + 3 */
	assert_int_equal(zw_sampler_accept(s, 2), 0);
	expect_logit(s, x, 6, 3, 0);
	assert_int_equal(zw_sampler_needs(s, 6), 0);
	zw_sampler_close(s);

	const struct zw_logit_bias never = {{t0, 1}, -INFINITY};

	s = open_params(
		(struct zw_sampling_params){.temperature = 1, .num_bias = 1, .bias = &never});
	assert_int_equal(possible(s, 3), 6);
	zw_sampler_close(s);
}

/* Against the definition, and against the distribution that is drawn from. */
static void test_logprobs(void **state)
{
	const float x[] = {1, 3, -2, 3, 0.5f, -INFINITY};
	const uint32_t t2[] = {2};
	const struct zw_logit_bias bias = {{t2, 1}, 9};
	struct zw_logprob lp[8];
	struct zw_sampler *s;
	float probs[6];
	double sum = 0;

	for (int i = 0; i < 6; i++)
		sum += exp((double)x[i]);
	assert_int_equal(zw_logprobs(x, 6, 4, 4, lp, NULL), 5);
	assert_int_equal(lp[0].id, 4);
	assert_true(fabs((double)lp[0].logprob - (0.5 - log(sum))) < 1e-6);
	/* Of equals the lowest id goes first. */
	for (int i = 0; i < 4; i++) {
		assert_int_equal(lp[1 + i].id, ((const uint32_t[]){1, 3, 0, 4})[i]);
		assert_true(fabs((double)lp[1 + i].logprob - ((double)x[lp[1 + i].id] - log(sum))) <
			    1e-6);
	}
	assert_int_equal(zw_logprobs(x, 6, 5, 100, lp, NULL), 7);
	assert_true(isinf(lp[0].logprob) && isinf(lp[6].logprob));
	assert_int_equal(lp[6].id, 5);
	assert_int_equal(zw_logprobs(x, 6, 0, 0, lp, NULL), 1);
	assert_int_equal(zw_logprobs(x, 6, 6, 0, lp, NULL), -EINVAL);
	assert_int_equal(zw_logprobs((const float[]){NAN}, 1, 0, 0, lp, NULL), -EDOM);

	/* Biases and temperature are in the sampler's, top-k is not. */
	s = open_params(
		(struct zw_sampling_params){.temperature = 0.7f, .num_bias = 1, .bias = &bias});
	assert_int_equal(zw_sampler_probs(s, x, 6, probs, NULL), 0);
	assert_int_equal(zw_sampler_logprobs(s, x, 6, 0, 6, lp, NULL), 7);
	assert_int_equal(lp[1].id, 2);
	for (int i = 0; i < 6; i++)
		assert_true(fabs(exp((double)lp[i].logprob) - (double)probs[lp[i].id]) < 1e-6);
	zw_sampler_close(s);
	s = open_params((struct zw_sampling_params){.temperature = 0, .top_k = 1});
	assert_int_equal(zw_sampler_logprobs(s, x, 6, 4, 0, lp, NULL), 1);
	assert_true(fabs((double)lp[0].logprob - (0.5 - log(sum))) < 1e-6);
	zw_sampler_close(s);

	/* Large ones, against a sort. */
	float big[5000];
	struct zw_logprob all[5001];

	for (int i = 0; i < 5000; i++)
		big[i] = (float)((i * 7919 + 13) % 1009);
	assert_int_equal(zw_logprobs(big, 5000, 0, 5000, all, NULL), 5001);
	for (int i = 2; i <= 5000; i++)
		assert_true(big[all[i - 1].id] > big[all[i].id] ||
			    (big[all[i - 1].id] == big[all[i].id] && all[i - 1].id < all[i].id));
}

static int forbid_low(void *opaque, float *logits, size_t n)
{
	const unsigned int *first = opaque;

	for (size_t i = 0; i < n && i < *first; i++)
		logits[i] = -INFINITY;
	return *first == 99;
}

static void test_mask(void **state)
{
	const float x[] = {5, 4, 3, 2};
	unsigned int first = 2;
	struct zw_sampler *s =
		open_params((struct zw_sampling_params){.mask = forbid_low, .mask_opaque = &first});
	struct zw_error err = {""};
	uint32_t id = 77;

	assert_int_equal(pick(s, x, 4), 2);
	assert_true(x[0] == 5); /* a copy is masked */
	first = 4;
	assert_int_equal(zw_sampler_pick(s, x, 4, &id, &err), -EDOM);
	expect_words("all masked", &err, "excluded");
	first = 99;
	assert_int_equal(zw_sampler_pick(s, x, 4, &id, &err), -ECANCELED);
	assert_int_equal(id, 77);
	zw_sampler_close(s);
}

static int by_weight(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return x < y ? 1 : x > y ? -1 : 0;
}

/* The distribution against a plain sort, and the draws against the distribution. */
static void test_probs(void **state)
{
	enum { N = 12 };
	static const struct {
		uint32_t k;
		float t, p, min_p;
	} cases[] = {
		{0, 1, 1, 0},          {0, 0.7f, 0.8f, 0}, {5, 1.3f, 1, 0},       {0, 1, 1, 0.2f},
		{7, 0.9f, 0.6f, 0.1f}, {1, 1, 0.5f, 0},    {12, 2, 0.95f, 0.05f}, {40, 1, 0.99f, 0},
	};

	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		struct zw_sampler *s =
			open_with(cases[c].t, cases[c].k, cases[c].p, cases[c].min_p, c);
		double w[N], sorted[N], total = 0, cum = 0, least = 0;
		unsigned int counts[N];
		float x[N], probs[N];

		for (int i = 0; i < N; i++) {
			x[i] = (float)((i * 7) % 12) / 3.0f;
			sorted[i] = w[i] = exp((double)x[i] / (double)cases[c].t);
		}
		qsort(sorted, N, sizeof(double), by_weight);
		for (uint32_t i = 0; i < N && (!cases[c].k || i < cases[c].k); i++)
			total += sorted[i];
		for (uint32_t i = 0; i < N && (!cases[c].k || i < cases[c].k); i++) {
			if (i && (cum >= (double)cases[c].p * total ||
				  sorted[i] < (double)cases[c].min_p * sorted[0]))
				break;
			cum += least = sorted[i];
		}
		assert_int_equal(zw_sampler_probs(s, x, N, probs, NULL), 0);
		for (int i = 0; i < N; i++) {
			double want = w[i] >= least ? w[i] / cum : 0;

			if (fabs((double)probs[i] - want) > 1e-6)
				fail_msg("case %zu: token %d: %g, expected %g", c, i,
					 (double)probs[i], want);
		}
		histogram(s, x, N, counts, 20000);
		for (int i = 0; i < N; i++) {
			double q = (double)probs[i], sd = sqrt(20000 * q * (1 - q));

			if (fabs(counts[i] - 20000 * q) > 4.5 * sd + 1e-9)
				fail_msg("case %zu: token %d: %u draws of %g", c, i, counts[i],
					 20000 * q);
		}
		zw_sampler_close(s);
	}
	const float y[] = {1, 3, 3};
	float one[3];
	struct zw_sampler *s = open_with(0, 0, 1, 0, 1);

	assert_int_equal(zw_sampler_probs(s, y, 3, one, NULL), 0);
	assert_true(one[0] == 0 && one[1] == 1 && one[2] == 0);
	zw_sampler_close(s);
}

static void test_draw(void **state)
{
	const float w[] = {0, 1, 0, 3, 0}, bad[][2] = {{0, 0}, {1, -1}, {1, NAN}, {INFINITY, 1}};
	struct zw_sampler *s = open_with(0, 0, 1, 0, 9);
	unsigned int counts[5] = {0};
	uint32_t id = 77;

	for (int i = 0; i < 4000; i++) {
		assert_int_equal(zw_sampler_draw(s, w, 5, &id, NULL), 0);
		counts[id]++;
	}
	assert_int_equal(counts[1] + counts[3], 4000);
	assert_in_range(counts[1], 890, 1110);
	id = 77;
	for (int i = 0; i < 4; i++)
		assert_int_equal(zw_sampler_draw(s, bad[i], 2, &id, NULL), -EDOM);
	assert_int_equal(id, 77);
	zw_sampler_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_greedy),        cmocka_unit_test(test_one_left),
		cmocka_unit_test(test_statistics),    cmocka_unit_test(test_filters),
		cmocka_unit_test(test_topk_ties),     cmocka_unit_test(test_seed),
		cmocka_unit_test(test_broken_logits), cmocka_unit_test(test_params),
		cmocka_unit_test(test_penalties),     cmocka_unit_test(test_ngrams),
		cmocka_unit_test(test_lists),         cmocka_unit_test(test_mask),
		cmocka_unit_test(test_probs),         cmocka_unit_test(test_draw),
		cmocka_unit_test(test_bias),          cmocka_unit_test(test_logprobs),
	};

	return cmocka_run_group_tests_name("sampler", tests, NULL, NULL);
}

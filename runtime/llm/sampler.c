// SPDX-License-Identifier: MIT
/* Logits to a token: temperature, top-k, top-p, min-p, draw. */
#include "util.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

struct cand {
	float logit;
	uint32_t id;
};

struct zw_sampler {
	struct zw_sampling_params p;
	uint64_t rng[4];
	struct cand *cand;
	double *prob;
	size_t cap;
};

static uint64_t rotl(uint64_t x, int k)
{
	return x << k | x >> (64 - k);
}

/* xoshiro256** 1.0, David Blackman and Sebastiano Vigna, public domain (prng.di.unimi.it). */
static uint64_t rng_next(uint64_t s[4])
{
	uint64_t result = rotl(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 45);
	return result;
}

/* splitmix64: never leaves the all-zero state, which xoshiro cannot leave. */
static void rng_seed(uint64_t s[4], uint64_t seed)
{
	for (int i = 0; i < 4; i++) {
		uint64_t z = seed += 0x9e3779b97f4a7c15ull;

		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
		z = (z ^ z >> 27) * 0x94d049bb133111ebull;
		s[i] = z ^ z >> 31;
	}
}

int zw_sampler_open(const struct zw_sampling_params *params, struct zw_sampler **out,
		    struct zw_error *err)
{
	struct zw_sampling_params p;
	struct zw_sampler *s;

	if (!params || !out || params->size < offsetof(struct zw_sampling_params, seed))
		return zw_fail(err, -EINVAL, "zw_sampler_open: bad argument");
	zw_copy_sized(&p, sizeof(p), params, params->size);
	/* Written so that NaN is refused too. */
	if (!(p.temperature >= 0 && p.temperature <= 1000))
		return zw_fail(err, -EINVAL, "temperature %g is not in [0, 1000]",
			       (double)p.temperature);
	if (!(p.top_p >= 0 && p.top_p <= 1))
		return zw_fail(err, -EINVAL, "top-p %g is not in [0, 1]", (double)p.top_p);
	if (!(p.min_p >= 0 && p.min_p <= 1))
		return zw_fail(err, -EINVAL, "min-p %g is not in [0, 1]", (double)p.min_p);
	if (p.reserved)
		return zw_fail(err, -EINVAL, "zw_sampling_params.reserved is not 0");
	s = calloc(1, sizeof(*s));
	if (!s)
		return zw_fail(err, -ENOMEM, "out of memory");
	s->p = p;
	rng_seed(s->rng, p.seed);
	*out = s;
	return 0;
}

void zw_sampler_close(struct zw_sampler *s)
{
	if (!s)
		return;
	free(s->cand);
	free(s->prob);
	free(s);
}

/* True when a comes before b: higher logit, then lower id. */
static bool before(struct cand a, struct cand b)
{
	return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

static int by_rank(const void *a, const void *b)
{
	const struct cand *x = a, *y = b;

	return before(*x, *y) ? -1 : 1; /* ids differ: never equal */
}

/* Restores the heap whose root is the candidate that comes last. */
static void sift_down(struct cand *h, size_t n, size_t i)
{
	for (;;) {
		size_t c = 2 * i + 1;
		struct cand tmp;

		if (c >= n)
			return;
		if (c + 1 < n && before(h[c], h[c + 1]))
			c++;
		if (!before(h[i], h[c]))
			return;
		tmp = h[i];
		h[i] = h[c];
		h[c] = tmp;
		i = c;
	}
}

/* Fills s->cand with the best k of logits in order of rank; returns how many there are. */
static size_t select_best(struct zw_sampler *s, const float *logits, size_t n, size_t k)
{
	struct cand *h = s->cand;
	size_t m = 0;

	for (size_t i = 0; i < n; i++) {
		struct cand c = {logits[i], (uint32_t)i};

		if (c.logit == -INFINITY)
			continue;
		if (m < k) {
			h[m++] = c;
			if (m == k) {
				for (size_t j = k / 2; j-- > 0;)
					sift_down(h, m, j);
			}
		} else if (before(c, h[0])) {
			h[0] = c;
			sift_down(h, m, 0);
		}
	}
	qsort(h, m, sizeof(*h), by_rank);
	return m;
}

static int reserve(struct zw_sampler *s, size_t n)
{
	struct cand *c;
	double *p;

	if (n <= s->cap)
		return 0;
	c = realloc(s->cand, n * sizeof(*c));
	if (!c)
		return -ENOMEM;
	s->cand = c;
	p = realloc(s->prob, n * sizeof(*p));
	if (!p)
		return -ENOMEM;
	s->prob = p;
	s->cap = n;
	return 0;
}

static uint32_t draw(struct zw_sampler *s, size_t m)
{
	const struct zw_sampling_params *p = &s->p;
	double total = 0, cum = 0, u;
	size_t keep;

	/* Relative to the best logit exp() stays in (0, 1] whatever the temperature. */
	for (size_t i = 0; i < m; i++) {
		s->prob[i] = exp(((double)s->cand[i].logit - (double)s->cand[0].logit) /
				 (double)p->temperature);
		total += s->prob[i];
	}
	/* A token stays while the mass in front of it has not reached top_p. */
	for (keep = 0; keep < m; keep++) {
		if (keep && p->top_p < 1 && cum >= (double)p->top_p * total)
			break;
		cum += s->prob[keep];
	}
	/* prob[0] is 1, so the others are ratios to the best already. */
	while (keep > 1 && s->prob[keep - 1] < (double)p->min_p)
		keep--;

	total = 0;
	for (size_t i = 0; i < keep; i++)
		total += s->prob[i];
	u = (double)(rng_next(s->rng) >> 11) * 0x1p-53 * total;
	cum = 0;
	for (size_t i = 0; i < keep; i++) {
		cum += s->prob[i];
		if (u < cum)
			return s->cand[i].id;
	}
	return s->cand[keep - 1].id; /* u < total; reached only if the sums round apart */
}

int zw_sampler_pick(struct zw_sampler *s, const float *logits, size_t n, uint32_t *id,
		    struct zw_error *err)
{
	size_t best = 0, k, m;

	if (!s || !logits || !id || !n || n > UINT32_MAX)
		return zw_fail(err, -EINVAL, "zw_sampler_pick: bad argument");
	for (size_t i = 0; i < n; i++) {
		if (isnan(logits[i]) || logits[i] == INFINITY)
			return zw_fail(err, -EDOM, "logit of token %zu is %s", i,
				       isnan(logits[i]) ? "NaN" : "infinite");
		if (logits[i] > logits[best])
			best = i;
	}
	if (logits[best] == -INFINITY)
		return zw_fail(err, -EDOM, "every token is excluded");
	if (s->p.temperature == 0) {
		*id = (uint32_t)best;
		return 0;
	}
	k = s->p.top_k && s->p.top_k < n ? s->p.top_k : n;
	if (reserve(s, k))
		return zw_fail(err, -ENOMEM, "out of memory");
	m = select_best(s, logits, n, k);
	*id = draw(s, m);
	return 0;
}

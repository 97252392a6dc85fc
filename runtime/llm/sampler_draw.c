// SPDX-License-Identifier: MIT
/* The sampler's candidates in order of rank, and its generator. */
#include "sampler.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

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
void sampler_seed(struct zw_sampler *s, uint64_t seed)
{
	for (int i = 0; i < 4; i++) {
		uint64_t z = seed += 0x9e3779b97f4a7c15ull;

		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
		z = (z ^ z >> 27) * 0x94d049bb133111ebull;
		s->rng[i] = z ^ z >> 31;
	}
}

double sampler_uniform(struct zw_sampler *s)
{
	return (double)(rng_next(s->rng) >> 11) * 0x1p-53;
}

/* True when a comes before b: higher logit, then lower id. */
static bool before(struct sampler_cand a, struct sampler_cand b)
{
	return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

/* Restores the heap whose root is the candidate that comes first. */
static void sift_down(struct sampler_cand *h, size_t n, size_t i)
{
	struct sampler_cand moving = h[i];

	while (n) {
		size_t c = 2 * i + 1;

		if (c >= n)
			break;
		if (c + 1 < n && before(h[c + 1], h[c]))
			c++;
		if (!before(h[c], moving))
			break;
		h[i] = h[c];
		i = c;
	}
	h[i] = moving;
}

/* Relative to the best logit exp() stays in [0, 1] whatever the temperature. */
static double weight_of(const struct sampler_pool *pool, float logit)
{
	return exp(((double)logit - pool->best) / pool->temperature);
}

/* As heapsort does: the best goes to the room that the heap gives up at its end. */
static struct sampler_cand rank_one(struct sampler_pool *pool)
{
	struct sampler_cand best = pool->c[0];
	size_t last = pool->total - ++pool->ranked;

	pool->c[0] = pool->c[last];
	sift_down(pool->c, last, 0);
	pool->c[last] = best;
	return best;
}

bool sampler_pool_next(struct sampler_pool *pool, uint32_t *id, double *weight)
{
	struct sampler_cand c;

	if (pool->rank == pool->end)
		return false;
	c = pool->rank < pool->ranked ? pool->c[pool->total - 1 - pool->rank] : rank_one(pool);
	pool->rank++;
	*id = c.id;
	*weight = weight_of(pool, c.logit);
	return true;
}

int sampler_pool_fill(struct zw_sampler *s, const float *logits, size_t n, float best,
		      struct sampler_pool *pool, struct zw_error *err)
{
	struct sampler_cand *c = s->cand;
	size_t m = 0;

	if (n > s->cap_cand) {
		c = realloc(s->cand, n * sizeof(*c));
		if (!c)
			return llm_fail(err, -ENOMEM, "out of memory");
		s->cand = c;
		s->cap_cand = n;
	}
	for (size_t i = 0; i < n; i++) {
		if (logits[i] != -INFINITY)
			c[m++] = (struct sampler_cand){logits[i], (uint32_t)i};
	}
	*pool = (struct sampler_pool){.c = c,
				      .total = m,
				      .end = m,
				      .best = (double)best,
				      .temperature = (double)s->p.temperature};
	for (size_t i = m / 2; i-- > 0;)
		sift_down(c, m, i);
	if (s->p.top_k && s->p.top_k < m) {
		pool->end = s->p.top_k;
		while (pool->ranked < pool->end)
			pool->mass += weight_of(pool, rank_one(pool).logit);
	} else {
		for (size_t i = 0; i < m; i++)
			pool->mass += weight_of(pool, c[i].logit);
	}
	return 0;
}

// SPDX-License-Identifier: MIT
/* Logits to a token: parameters, the choice, its distribution. The steps are in llm_sampler.h. */
#include "sampler.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <zhenwu/llm_tokenizer.h>

#include "token_list.h"

static int check_float(const char *name, float v, double min, double max, struct zw_error *err)
{
	/* Written so that NaN is refused too. */
	if ((double)v >= min && (double)v <= max)
		return 0;
	return llm_fail(err, -EINVAL, "%s %g is not in [%g, %g]", name, (double)v, min, max);
}

static int check_params(const struct zw_sampling_params *p, struct zw_error *err)
{
	int ret = check_float("temperature", p->temperature, 0, 1000, err);

	if (!ret)
		ret = check_float("top-p", p->top_p, 0, 1, err);
	if (!ret)
		ret = check_float("min-p", p->min_p, 0, 1, err);
	if (!ret)
		ret = check_float("repetition penalty", p->repetition_penalty, 0, 1000, err);
	if (!ret)
		ret = check_float("frequency penalty", p->frequency_penalty, -100, 100, err);
	if (!ret)
		ret = check_float("presence penalty", p->presence_penalty, -100, 100, err);
	if (ret)
		return ret;
	if (p->no_repeat_ngram > INT32_MAX)
		return llm_fail(err, -EINVAL, "n-grams of %u tokens", p->no_repeat_ngram);
	for (uint32_t i = 0; i < p->num_bad_words; i++) {
		if (!p->bad_words || !p->bad_words[i].n)
			return llm_fail(err, -EINVAL, "bad word %u has no tokens", i);
	}
	for (uint64_t i = 0; i < p->num_bias; i++) {
		if (!p->bias || !p->bias[i].ids.n || !p->bias[i].ids.ids)
			return llm_fail(err, -EINVAL, "logit bias %llu has no tokens",
					(unsigned long long)i);
		/* Written so that NaN is refused too. */
		if (!(p->bias[i].bias < INFINITY))
			return llm_fail(err, -EINVAL, "logit bias %g", (double)p->bias[i].bias);
	}
	return 0;
}

/* The list in memory of its own; an empty one has none. */
static int copy_list(struct zw_token_list *list)
{
	uint32_t *ids;

	if (!list->n) {
		list->ids = NULL;
		return 0;
	}
	ids = malloc(list->n * sizeof(*ids));
	if (ids)
		memcpy(ids, list->ids, list->n * sizeof(*ids));
	list->ids = ids;
	return ids ? 0 : -ENOMEM;
}

static int copy_bad_words(struct zw_sampling_params *p)
{
	const struct zw_token_list *theirs = p->bad_words;
	struct zw_token_list *ours;
	uint32_t n = p->num_bad_words;

	p->num_bad_words = 0;
	p->bad_words = NULL;
	if (!n)
		return 0;
	ours = malloc(n * sizeof(*ours));
	if (!ours)
		return -ENOMEM;
	p->bad_words = ours;
	for (uint32_t i = 0; i < n; i++) {
		ours[i] = theirs[i];
		if (copy_list(&ours[i]))
			return -ENOMEM;
		p->num_bad_words++;
	}
	return 0;
}

static int copy_bias(struct zw_sampling_params *p)
{
	const struct zw_logit_bias *theirs = p->bias;
	uint64_t n = p->num_bias;
	struct zw_logit_bias *ours;

	p->num_bias = 0;
	p->bias = NULL;
	if (!n)
		return 0;
	ours = n <= SIZE_MAX / sizeof(*ours) ? malloc(n * sizeof(*ours)) : NULL;
	if (!ours)
		return -ENOMEM;
	p->bias = ours;
	for (uint64_t i = 0; i < n; i++) {
		ours[i] = theirs[i];
		if (copy_list(&ours[i].ids))
			return -ENOMEM;
		p->num_bias++;
	}
	return 0;
}

int zw_sampler_open(const struct zw_sampling_params *params, struct zw_sampler **out,
		    struct zw_error *err)
{
	struct zw_sampling_params p;
	struct zw_sampler *s;
	int ret;

	if (!params || !out)
		return llm_fail(err, -EINVAL, "zw_sampler_open: bad argument");
	ret = sized_in(&p, sizeof(p), SIZED_V0(struct zw_sampling_params, seed), params);
	if (ret)
		return llm_fail(err, ret, "zw_sampler_open: parameters of an unknown version");
	ret = check_params(&p, err);
	if (ret)
		return ret;
	if (p.repetition_penalty == 1)
		p.repetition_penalty = 0;
	s = calloc(1, sizeof(*s));
	if (!s)
		return llm_fail(err, -ENOMEM, "out of memory");
	s->p = p;
	/* All of them, so that what is closed after a failure is the sampler's own. */
	ret = copy_list(&s->p.stop);
	ret |= copy_list(&s->p.suppress);
	ret |= copy_list(&s->p.begin_suppress);
	ret |= copy_bad_words(&s->p);
	ret |= copy_bias(&s->p);
	if (ret) {
		zw_sampler_close(s);
		return llm_fail(err, -ENOMEM, "out of memory");
	}
	sampler_seed(s, p.seed);
	*out = s;
	return 0;
}

void zw_sampler_close(struct zw_sampler *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; i < s->p.num_bad_words; i++)
		free((uint32_t *)s->p.bad_words[i].ids);
	free((struct zw_token_list *)s->p.bad_words);
	for (uint64_t i = 0; i < s->p.num_bias; i++)
		free((uint32_t *)s->p.bias[i].ids.ids);
	free((struct zw_logit_bias *)s->p.bias);
	token_list_free(&s->p.stop);
	token_list_free(&s->p.suppress);
	token_list_free(&s->p.begin_suppress);
	free(s->history);
	free(s->seen);
	free(s->seen_at);
	free(s->known);
	free(s->work);
	free(s->cand);
	free(s);
}

int zw_sampler_set_tokenizer(struct zw_sampler *s, const struct zw_tokenizer *tok)
{
	size_t n = zw_tokenizer_size(tok);
	uint64_t *known = calloc(n / 64 + 1, sizeof(*known));

	if (!known)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const char *bytes;
		size_t len;

		if (!zw_tokenizer_token(tok, (uint32_t)i, &bytes, &len, NULL))
			known[i / 64] |= 1ull << i % 64;
	}
	free(s->known);
	s->known = known;
	s->num_known = n;
	for (s->first_unknown = 0; s->first_unknown < n; s->first_unknown++) {
		if (!(known[s->first_unknown / 64] >> s->first_unknown % 64 & 1))
			break;
	}
	return 0;
}

uint32_t zw_sampler_needs(const struct zw_sampler *s, size_t n)
{
	if (sampler_changes(s, n))
		return 0;
	return s->p.temperature == 0 ? 1 : s->p.top_k;
}

int sampler_find_best(const float *l, size_t n, uint32_t *best, struct zw_error *err)
{
	size_t b = 0;

	for (size_t i = 0; i < n; i++) {
		if (isnan(l[i]) || l[i] == INFINITY)
			return llm_fail(err, -EDOM, "logit of token %zu is %s", i,
					isnan(l[i]) ? "NaN" : "infinite");
		if (l[i] > l[b])
			b = i;
	}
	if (l[b] == -INFINITY)
		return llm_fail(err, -EDOM, "every token is excluded");
	*best = (uint32_t)b;
	return 0;
}

/* Steps 0 to 11. The pool is filled when the sampler is not greedy. */
static int prepare(struct zw_sampler *s, const float *logits, size_t n, uint32_t *best,
		   struct sampler_pool *pool, struct zw_error *err)
{
	const float *l;
	int ret;

	ret = sampler_find_best(logits, n, best, err);
	if (!ret)
		ret = sampler_process(s, logits, n, &l, err);
	if (!ret && l != logits)
		ret = sampler_find_best(l, n, best, err);
	if (!ret && s->p.temperature > 0)
		ret = sampler_pool_fill(s, l, n, l[*best], pool, err);
	return ret;
}

/*
 * The next candidate that top-p and min-p keep; *cum is the mass in front of it and then with it. A
 * token stays while the mass in front of it has not reached top_p.
 */
static bool next_kept(const struct zw_sampler *s, struct sampler_pool *pool, double *cum,
		      uint32_t *id, double *weight)
{
	bool first = pool->rank == 0;

	if (!first && s->p.top_p < 1 && *cum >= (double)s->p.top_p * pool->mass)
		return false;
	if (!sampler_pool_next(pool, id, weight))
		return false;
	/* Weights are ratios to the best already, and those to come are not larger. */
	if (!first && *weight < (double)s->p.min_p)
		return false;
	*cum += *weight;
	return true;
}

/* Mass of what is kept; ranks no more candidates than it must. */
static double kept_mass(const struct zw_sampler *s, struct sampler_pool *pool)
{
	double cum = 0, weight;
	uint32_t id;

	if (s->p.top_p == 1 && s->p.min_p == 0)
		return pool->mass;
	while (next_kept(s, pool, &cum, &id, &weight))
		;
	pool->rank = 0;
	return cum;
}

int zw_sampler_pick(struct zw_sampler *s, const float *logits, size_t n, uint32_t *id,
		    struct zw_error *err)
{
	struct sampler_pool pool;
	double cum = 0, weight, u;
	uint32_t best;
	int ret;

	if (!s || !logits || !id || !n || n > UINT32_MAX)
		return llm_fail(err, -EINVAL, "zw_sampler_pick: bad argument");
	ret = prepare(s, logits, n, &best, &pool, err);
	if (ret)
		return ret;
	if (s->p.temperature == 0) {
		*id = best;
		return 0;
	}
	u = kept_mass(s, &pool);
	u *= sampler_uniform(s);
	/* It ends without a hit only if the sums round apart; then the last one is meant. */
	while (next_kept(s, &pool, &cum, id, &weight) && u >= cum)
		;
	return 0;
}

int zw_sampler_probs(struct zw_sampler *s, const float *logits, size_t n, float *probs,
		     struct zw_error *err)
{
	struct sampler_pool pool;
	double cum = 0, weight, mass;
	uint32_t best, id;
	int ret;

	if (!s || !logits || !probs || !n || n > UINT32_MAX)
		return llm_fail(err, -EINVAL, "zw_sampler_probs: bad argument");
	ret = prepare(s, logits, n, &best, &pool, err);
	if (ret)
		return ret;
	memset(probs, 0, n * sizeof(*probs));
	if (s->p.temperature == 0) {
		probs[best] = 1;
		return 0;
	}
	mass = kept_mass(s, &pool);
	while (next_kept(s, &pool, &cum, &id, &weight))
		probs[id] = (float)(weight / mass);
	return 0;
}

int zw_sampler_draw(struct zw_sampler *s, const float *weights, size_t n, uint32_t *id,
		    struct zw_error *err)
{
	double total = 0, cum = 0, u;

	if (!s || !weights || !id || !n || n > UINT32_MAX)
		return llm_fail(err, -EINVAL, "zw_sampler_draw: bad argument");
	for (size_t i = 0; i < n; i++) {
		/* Written so that NaN is refused too. */
		if (!(weights[i] >= 0 && weights[i] < INFINITY))
			return llm_fail(err, -EDOM, "weight %zu is %g", i, (double)weights[i]);
		total += (double)weights[i];
	}
	if (total == 0)
		return llm_fail(err, -EDOM, "every weight is zero");
	u = sampler_uniform(s) * total;
	for (size_t i = 0; i < n; i++) {
		if (weights[i] > 0)
			*id = (uint32_t)i;
		cum += (double)weights[i];
		if (u < cum)
			break;
	}
	return 0;
}

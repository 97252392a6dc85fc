// SPDX-License-Identifier: MIT
/* Steps 0 to 9 of a choice: what changes or excludes logits before anything is drawn. */
#include "sampler.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void exclude(float *l, size_t n, uint32_t id)
{
	if (id < n)
		l[id] = -INFINITY;
}

static void exclude_list(float *l, size_t n, const struct zw_token_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		exclude(l, n, list->ids[i]);
}

/* True when the history ends in the tokens of the list but for its last one. */
static bool begun(const struct zw_sampler *s, const struct zw_token_list *w)
{
	size_t before = w->n - 1;

	if (!before)
		return true;
	/* transformers passes over a sequence that is longer than the history. */
	return w->n <= s->num_history &&
	       !memcmp(s->history + s->num_history - before, w->ids, before * sizeof(*w->ids));
}

static void add_bias(const struct zw_sampler *s, float *l, size_t n)
{
	for (uint64_t i = 0; i < s->p.num_bias; i++) {
		const struct zw_logit_bias *b = &s->p.bias[i];
		uint32_t last = b->ids.ids[b->ids.n - 1];

		if (last < n && begun(s, &b->ids))
			l[last] += b->bias;
	}
}

static void penalise(const struct zw_sampler *s, float *l, size_t n)
{
	const struct zw_sampling_params *p = &s->p;

	for (size_t i = 0; i < s->num_seen; i++) {
		const struct sampler_seen *t = &s->seen[i];
		float *x = &l[t->id];

		if (t->id >= n)
			continue;
		if (p->repetition_penalty > 0)
			*x = *x < 0 ? *x * p->repetition_penalty : *x / p->repetition_penalty;
		*x -= p->frequency_penalty * (float)t->generated;
		if (t->generated)
			*x -= p->presence_penalty;
	}
}

/* Every place where the last g - 1 tokens stood before says which token may not follow. */
static void ban_ngrams(const struct zw_sampler *s, float *l, size_t n)
{
	size_t g = s->p.no_repeat_ngram, len = s->num_history;
	const uint32_t *h = s->history;

	if (!g || len < g)
		return;
	for (size_t i = 0; i + g <= len; i++) {
		if (!memcmp(h + i, h + len - (g - 1), (g - 1) * sizeof(*h)))
			exclude(l, n, h[i + g - 1]);
	}
}

static bool is_stop(const struct zw_sampling_params *p, uint32_t id)
{
	for (size_t i = 0; i < p->stop.n; i++) {
		if (p->stop.ids[i] == id)
			return true;
	}
	return false;
}

static void ban_words(const struct zw_sampler *s, float *l, size_t n)
{
	for (uint32_t i = 0; i < s->p.num_bad_words; i++) {
		const struct zw_token_list *w = &s->p.bad_words[i];

		if (w->n == 1 && is_stop(&s->p, w->ids[0]))
			continue;
		if (begun(s, w))
			exclude(l, n, w->ids[w->n - 1]);
	}
}

static void exclude_unknown(const struct zw_sampler *s, float *l, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (i >= s->num_known || !(s->known[i / 64] >> i % 64 & 1))
			l[i] = -INFINITY;
	}
}

bool sampler_masks(const struct zw_sampler *s)
{
	return s->p.mask && !(s->p.mask_idle && s->p.mask_idle(s->p.mask_opaque));
}

/* Other steps than the mask. */
static bool others_change(const struct zw_sampler *s, size_t n)
{
	const struct zw_sampling_params *p = &s->p;

	return p->repetition_penalty > 0 || p->frequency_penalty != 0 || p->presence_penalty != 0 ||
	       p->no_repeat_ngram || p->num_bad_words || p->min_length || p->min_new_tokens ||
	       p->suppress.n || p->begin_suppress.n || p->num_bias ||
	       (s->known && n > s->first_unknown);
}

bool sampler_changes(const struct zw_sampler *s, size_t n)
{
	return others_change(s, n) || sampler_masks(s);
}

bool sampler_greedy(const struct zw_sampler *s, size_t n)
{
	return s->p.temperature == 0 && !others_change(s, n);
}

static int work_room(struct zw_sampler *s, size_t n)
{
	float *l;

	if (n <= s->cap_work)
		return 0;
	l = realloc(s->work, n * sizeof(*l));
	if (!l)
		return -ENOMEM;
	s->work = l;
	s->cap_work = n;
	return 0;
}

int sampler_process(struct zw_sampler *s, const float *logits, size_t n, const float **out,
		    struct zw_error *err)
{
	const struct zw_sampling_params *p = &s->p;
	size_t generated = s->num_history - s->prompt_end;
	float *l;

	*out = logits;
	if (!sampler_changes(s, n))
		return 0;
	if (work_room(s, n))
		return llm_fail(err, -ENOMEM, "out of memory");
	l = s->work;
	memcpy(l, logits, n * sizeof(*l));
	add_bias(s, l, n);
	if (p->repetition_penalty > 0 || p->frequency_penalty != 0 || p->presence_penalty != 0)
		penalise(s, l, n);
	ban_ngrams(s, l, n);
	ban_words(s, l, n);
	if (s->num_history < p->min_length || generated < p->min_new_tokens)
		exclude_list(l, n, &p->stop);
	exclude_list(l, n, &p->suppress);
	if (!generated)
		exclude_list(l, n, &p->begin_suppress);
	if (p->mask && p->mask(p->mask_opaque, l, n))
		return llm_fail(err, -ECANCELED, "the mask callback asked to stop");
	if (s->known)
		exclude_unknown(s, l, n);
	*out = l;
	return 0;
}

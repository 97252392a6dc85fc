// SPDX-License-Identifier: MIT
/* Logarithms of probabilities, of the model's logits or of the sampler's. */
#include "sampler.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

/* True when logit l of token `id` comes before an entry that stands for a logit already. */
static bool before(float l, uint32_t id, const struct zw_logprob *e)
{
	return l != e->logprob ? l > e->logprob : id < e->id;
}

/* A heap whose root is the entry that comes last. */
static void sift_down(struct zw_logprob *h, size_t n, size_t i)
{
	for (;;) {
		size_t last = i;
		struct zw_logprob t;

		for (size_t c = 2 * i + 1; c < n && c <= 2 * i + 2; c++) {
			if (before(h[last].logprob, h[last].id, &h[c]))
				last = c;
		}
		if (last == i)
			return;
		t = h[i];
		h[i] = h[last];
		h[last] = t;
		i = last;
	}
}

/* The k best of n logits, falling. */
static void best_of(const float *logits, size_t n, struct zw_logprob *out, size_t k)
{
	for (size_t i = 0; i < k; i++)
		out[i] = (struct zw_logprob){(uint32_t)i, logits[i]};
	for (size_t i = k / 2; i-- > 0;)
		sift_down(out, k, i);
	for (size_t i = k; i < n && k; i++) {
		if (before(logits[i], (uint32_t)i, &out[0])) {
			out[0] = (struct zw_logprob){(uint32_t)i, logits[i]};
			sift_down(out, k, 0);
		}
	}
	for (size_t left = k; left > 1; left--) {
		struct zw_logprob t = out[0];

		out[0] = out[left - 1];
		out[left - 1] = t;
		sift_down(out, left - 1, 0);
	}
}

/* Of logits that find_best() has passed, divided by the temperature. */
static int64_t logprobs(const float *logits, size_t n, uint32_t best, double temperature,
			uint32_t chosen, size_t top, struct zw_logprob *out)
{
	double sum = 0, max = (double)logits[best], log_sum;

	if (top > n)
		top = n;
	for (size_t i = 0; i < n; i++)
		sum += exp(((double)logits[i] - max) / temperature);
	log_sum = log(sum);
	out[0] = (struct zw_logprob){chosen, logits[chosen]};
	best_of(logits, n, out + 1, top);
	for (size_t i = 0; i <= top; i++)
		out[i].logprob = (float)(((double)out[i].logprob - max) / temperature - log_sum);
	return (int64_t)top + 1;
}

int64_t zw_logprobs(const float *logits, size_t n, uint32_t chosen, size_t top,
		    struct zw_logprob *out, struct zw_error *err)
{
	uint32_t best;
	int ret;

	if (!logits || !out || n > UINT32_MAX || chosen >= n)
		return llm_fail(err, -EINVAL, "zw_logprobs: bad argument");
	ret = sampler_find_best(logits, n, &best, err);
	return ret ? ret : logprobs(logits, n, best, 1, chosen, top, out);
}

int64_t zw_sampler_logprobs(struct zw_sampler *s, const float *logits, size_t n, uint32_t chosen,
			    size_t top, struct zw_logprob *out, struct zw_error *err)
{
	const float *l;
	uint32_t best;
	int ret;

	if (!s || !logits || !out || n > UINT32_MAX || chosen >= n)
		return llm_fail(err, -EINVAL, "zw_sampler_logprobs: bad argument");
	ret = sampler_find_best(logits, n, &best, err);
	if (!ret)
		ret = sampler_process(s, logits, n, &l, err);
	if (!ret)
		ret = sampler_find_best(l, n, &best, err);
	if (ret)
		return ret;
	return logprobs(l, n, best, s->p.temperature > 0 ? (double)s->p.temperature : 1, chosen,
			top, out);
}

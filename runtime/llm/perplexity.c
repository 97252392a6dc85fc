// SPDX-License-Identifier: MIT
/* Perplexity: windows over a text, and the logarithms of what the model gave to its tokens. */
#include <zhenwu/llm_perplexity.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ctx.h"

#define DEFAULT_WINDOW 512

struct ppl {
	struct zw_ctx *c;
	struct zw_perplexity_options o;
	const uint32_t *ids;
	size_t n;
	uint64_t cancels, windows;
	struct zw_batch_token *tokens; /* of one step */
	double nll, squares;
	uint64_t scored;
	uint32_t done; /* windows */
};

/* A step under way: tokens [first, first + count) of the text, of which the last `wanted` are scored. */
struct flight {
	uint64_t step;
	size_t first;
	uint32_t count, wanted;
};

/* ln p of an id under a row of logits; NaN when the row is no numbers. */
static double log_prob(const float *logits, uint32_t v, uint32_t id)
{
	double sum = 0;
	float max = -INFINITY;

	for (uint32_t i = 0; i < v; i++) {
		if (!(logits[i] <= max))
			max = logits[i];
	}
	for (uint32_t i = 0; i < v; i++)
		sum += exp((double)logits[i] - max);
	return (double)logits[id] - max - log(sum);
}

/*
 * The next step of a window [at, end), whose tokens from `score` on are scored: the row of a token
 * is about the one behind it, so that the last row of a window is of no use.
 */
static int submit(struct ppl *p, uint32_t seq, size_t start, size_t at, size_t score, size_t end,
		  struct flight *f, struct zw_error *err)
{
	struct llm_submit how = {.cancels = &p->cancels};
	struct zw_batch b = {
		.size = sizeof(b), .token_size = sizeof(*p->tokens), .tokens = p->tokens};
	uint32_t most =
		llm_sparse_piece(p->c, (uint32_t)(at - start), end - 1 - at, p->c->o.batch, true);

	*f = (struct flight){.first = at};
	for (; at + 1 < end && f->count < most; at++) {
		bool want = at + 1 >= score;

		if (want && f->wanted == p->c->o.logits)
			break;
		p->tokens[f->count++] = (struct zw_batch_token){
			.id = p->ids[at],
			.pos = (uint32_t)(at - start),
			.seq = seq,
			.want = want ? ZW_WANT_LOGITS : 0,
		};
		f->wanted += want;
	}
	b.count = f->count;
	how.next = LLM_NO_ROW;
	return llm_ctx_submit(p->c, &b, &how, &f->step, err);
}

static int collect(struct ppl *p, const struct flight *f, struct zw_error *err)
{
	uint32_t v = p->c->m->cfg.vocab_size;
	int ret = zw_ctx_wait(p->c, f->step, ZW_FOREVER, err);

	for (uint32_t i = f->count - f->wanted; i < f->count && !ret; i++) {
		struct zw_output out = {.size = sizeof(out)};
		double x;

		ret = zw_ctx_output(p->c, f->step, i, &out);
		if (ret)
			return llm_fail(err, ret, "outputs of a step: %s", strerror(-ret));
		x = -log_prob(out.logits, v, p->ids[f->first + i + 1]);
		if (isnan(x))
			return llm_fail(err, -EDOM, "the logits of token %zu are no numbers",
					f->first + i);
		p->nll += x;
		p->squares += x * x;
		p->scored++;
	}
	return ret;
}

/* Tokens [start, end) in an empty sequence, one step ahead of the logits that are looked at. */
static int run_window(struct ppl *p, uint32_t seq, size_t start, size_t score, size_t end,
		      struct zw_error *err)
{
	struct flight f[2];
	size_t at = start;
	unsigned int sent = 0, got = 0;
	int ret = 0;

	while (!ret && (at + 1 < end || got < sent)) {
		if (at + 1 < end && sent - got < (p->c->o.steps > 1 ? 2 : 1)) {
			ret = submit(p, seq, start, at, score, end, &f[sent % 2], err);
			if (!ret)
				at += f[sent++ % 2].count;
		} else {
			ret = collect(p, &f[got++ % 2], err);
		}
	}
	/* After an error of a step nothing is in flight, after another one the rest has to end. */
	while (ret && got < sent)
		zw_ctx_wait(p->c, f[got++ % 2].step, ZW_FOREVER, NULL);
	return ret;
}

static void fill(const struct ppl *p, struct zw_perplexity_result *r)
{
	double n = (double)p->scored, mean = p->nll / n;
	double variance = p->scored > 1 ? (p->squares / n - mean * mean) / (n - 1) : 0;

	*r = (struct zw_perplexity_result){
		.size = sizeof(*r),
		.windows = p->done,
		.scored = p->scored,
		.nll = p->nll,
		.perplexity = exp(mean),
		.error = variance > 0 ? exp(mean) * sqrt(variance) : 0,
	};
}

static int run(struct ppl *p, struct zw_error *err)
{
	size_t window = p->o.window, scored = 0;
	int ret = 0;

	for (uint64_t w = 0; w < p->windows && !ret; w++) {
		size_t start = w * p->o.stride;
		size_t end = p->n - start < window ? p->n : start + window;
		struct zw_perplexity_result so_far;
		uint32_t seq;

		ret = zw_seq_create(p->c, &seq);
		if (ret)
			return llm_fail(err, ret, "a sequence for the text: %s", strerror(-ret));
		ret = run_window(p, seq, start, scored > start ? scored : start + 1, end, err);
		zw_seq_remove(p->c, seq);
		if (ret)
			break;
		scored = end;
		p->done++;
		fill(p, &so_far);
		if (p->o.progress && p->o.progress(p->o.opaque, &so_far, p->windows))
			ret = llm_fail(err, -ECANCELED, "cancelled");
	}
	return ret;
}

static int check(struct ppl *p, struct zw_error *err)
{
	const struct zw_ctx *c = p->c;
	uint32_t limit = c->o.context;

	if (p->o.flags)
		return llm_fail(err, -EINVAL, "zw_perplexity: unknown flags");
	if (!p->o.window)
		p->o.window = limit < DEFAULT_WINDOW ? limit : DEFAULT_WINDOW;
	if (p->o.window < 2 || p->o.window > limit)
		return llm_fail(err, -EINVAL,
				"a window of %u tokens is not from 2 to the context's %u",
				p->o.window, limit);
	if (!p->o.stride)
		p->o.stride = p->o.window / 2;
	if (p->o.stride > p->o.window)
		return llm_fail(err, -EINVAL, "a stride of %u tokens skips some: the window has %u",
				p->o.stride, p->o.window);
	if (p->n < 2)
		return llm_fail(err, -EINVAL, "a text of %zu tokens has none to be scored", p->n);
	for (size_t i = 0; i < p->n; i++) {
		if (p->ids[i] >= c->m->cfg.vocab_size)
			return llm_fail(err, -ERANGE, "token id %u is not below vocab_size %u",
					p->ids[i], c->m->cfg.vocab_size);
	}
	if (llm_ctx_busy(c))
		return llm_fail(err, -EBUSY, "zw_perplexity: steps are in flight");
	/* The last window reaches the end; with pieces one token alone at the end is none. */
	p->windows = 1;
	if (p->n > p->o.window)
		p->windows += (p->n - p->o.window + p->o.stride - 1) / p->o.stride;
	if (p->windows > 1 && p->n - (p->windows - 1) * p->o.stride < 2)
		p->windows--;
	if (p->o.max_windows && p->o.max_windows < p->windows)
		p->windows = p->o.max_windows;
	return 0;
}

int zw_perplexity(struct zw_ctx *c, const uint32_t *ids, size_t n,
		  const struct zw_perplexity_options *opt, struct zw_perplexity_result *result,
		  struct zw_error *err)
{
	struct ppl p = {.c = c, .ids = ids, .n = n};
	struct zw_perplexity_result full;
	int ret;

	if (!c || (n && !ids) || !result)
		return llm_fail(err, -EINVAL, "zw_perplexity: bad argument");
	if (opt) {
		ret = sized_in(&p.o, sizeof(p.o), SIZED_V0(struct zw_perplexity_options, opaque),
			       opt);
		if (ret)
			return llm_fail(err, ret, "zw_perplexity: options of an unknown version");
	}
	p.cancels = llm_ctx_cancels(c);
	ret = check(&p, err);
	if (ret)
		return ret;
	p.tokens = malloc(c->o.batch * sizeof(*p.tokens));
	if (!p.tokens)
		return llm_fail(err, -ENOMEM, "out of memory");
	ret = run(&p, err);
	free(p.tokens);
	if (ret)
		return ret;
	fill(&p, &full);
	return sized_out(result, SIZED_V0(struct zw_perplexity_result, error), &full, sizeof(full));
}

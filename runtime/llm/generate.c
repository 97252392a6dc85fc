// SPDX-License-Identifier: MIT
/* The loop: prompt, choose, feed back. */
#include "generate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sampler.h"

static void stats_diff(struct zw_ctx_stats *d, const struct zw_ctx_stats *a,
		       const struct zw_ctx_stats *b)
{
	*d = *b;
	d->jobs -= a->jobs;
	d->steps -= a->steps;
	d->tokens -= a->tokens;
	d->wall_ns -= a->wall_ns;
	d->sim_ps -= a->sim_ps;
	d->packets -= a->packets;
	d->hbm_read -= a->hbm_read;
	d->hbm_written -= a->hbm_written;
	d->sys_read -= a->sys_read;
	d->sys_written -= a->sys_written;
	d->sram_read -= a->sram_read;
	d->sram_written -= a->sram_written;
	d->energy_pj -= a->energy_pj;
	d->sparse_tokens -= a->sparse_tokens;
	d->prefix_queries -= a->prefix_queries;
	d->prefix_hits -= a->prefix_hits;
	for (unsigned int e = 0; e < ZW_ENGINE_COUNT; e++)
		d->busy_ps[e] -= a->busy_ps[e];
}

uint32_t llm_want_of(const struct zw_ctx *c, const struct zw_sampler *s, bool all)
{
	uint32_t k = all ? 0 : zw_sampler_needs(s, c->o.vocab);

	if (k == 1)
		return ZW_WANT_ARGMAX;
	return k && k <= c->o.top_k ? ZW_WANT_TOPK : ZW_WANT_LOGITS;
}

int llm_choose(const struct zw_ctx *c, struct zw_sampler *s, const struct zw_output *o,
	       uint32_t *id, struct zw_error *err)
{
	int ret;

	if (o->logits)
		return zw_sampler_pick(s, o->logits, c->o.vocab, id, err);
	if (o->num_top) {
		ret = zw_sampler_pick(s, o->top_logits, o->num_top, id, err);
		if (!ret)
			*id = (uint32_t)o->top_ids[*id];
		return ret;
	}
	if (o->argmax < 0)
		return llm_fail(err, (int)o->argmax, "the logits are NaN");
	*id = (uint32_t)o->argmax;
	return 0;
}

bool llm_can_draft(const struct zw_ctx *c, const struct zw_sampler *s, bool logprobs)
{
	return !logprobs && sampler_greedy(s, c->o.vocab);
}

uint32_t llm_want_greedy(const struct zw_sampler *s)
{
	return sampler_masks(s) ? ZW_WANT_ARGMAX | ZW_WANT_LOGITS : ZW_WANT_ARGMAX;
}

int llm_choose_greedy(const struct zw_ctx *c, struct zw_sampler *s, const struct zw_output *o,
		      uint32_t *id, struct zw_error *err)
{
	if (o->argmax < 0)
		return llm_fail(err, (int)o->argmax, "the logits are NaN");
	*id = (uint32_t)o->argmax;
	if (!sampler_masks(s))
		return 0;
	return o->logits ? zw_sampler_pick(s, o->logits, c->o.vocab, id, err) : -EAGAIN;
}

static int on_progress(void *opaque, uint64_t done, uint64_t total)
{
	struct llm_run *g = opaque;

	g->ended = g->p.progress && g->p.progress(g->p.opaque, done, total);
	return g->ended;
}

/* Appends tokens; the outputs of the last one are wanted if another one is to be chosen. */
static int eval(struct llm_run *g, const uint32_t *ids, size_t n, bool prompt, struct zw_error *err)
{
	struct zw_eval_options opt = {.size = sizeof(opt)};
	bool more = g->r.generated_tokens < g->p.max_tokens;

	if (more)
		opt.want = g->drafts ? llm_want_greedy(g->p.sampler)
				     : llm_want_of(g->c, g->p.sampler, g->p.logprobs);
	if (prompt) {
		opt.all_logits = g->p.prompt_logits;
		opt.progress = on_progress;
		opt.opaque = g;
	}
	g->out = (struct zw_output){.size = sizeof(g->out)};
	return llm_ctx_eval(g->c, g->p.seq, ids, n, &opt, g->cancels, more ? &g->out : NULL, err);
}

static int prefill(struct llm_run *g, const uint32_t *prompt, size_t n, struct zw_error *err)
{
	int ret;

	if (!n || !prompt)
		return llm_fail(err, -EINVAL, "zw_generate: no prompt");
	if (on_progress(g, 0, n))
		return 0;
	/* Before the first choice; and what the sampler needs may depend on it. */
	ret = zw_sampler_prompt(g->p.sampler, prompt, n);
	if (ret)
		return llm_fail(err, ret, "the prompt's tokens: %s", strerror(-ret));
	ret = eval(g, prompt, n, true, err);
	return ret == -ECANCELED && g->ended ? 0 : ret;
}

/*
 * Choices made on the device need not come here to be fed back: one step runs ahead of the host, which
 * so has the time of a step for what it does between two. State that cannot be rewound by a token cannot
 * run ahead: it would have seen the stop token.
 */
static bool runs_ahead(const struct llm_run *g)
{
	return g->c->o.steps > 1 && (!g->c->needs.slab_bytes || g->c->o.rewind) &&
	       llm_can_draft(g->c, g->p.sampler, g->p.logprobs);
}

static int feed(struct llm_run *g, uint32_t id, uint32_t want, uint64_t *step, struct zw_error *err)
{
	struct zw_batch_token t = {
		.id = id,
		.pos = (uint32_t)zw_seq_length(g->c, g->p.seq),
		.seq = g->p.seq,
		.want = want,
	};
	struct zw_batch b = {.size = sizeof(b), .count = 1, .token_size = sizeof(t), .tokens = &t};
	struct llm_submit how = {.cancels = &g->cancels, .next = LLM_NO_ROW};

	return llm_ctx_submit(g->c, &b, &how, step, err);
}

static int outputs_of(struct llm_run *g, uint64_t step, struct zw_error *err)
{
	int ret = zw_ctx_wait(g->c, step, ZW_FOREVER, err);

	g->out = (struct zw_output){.size = sizeof(g->out)};
	return ret ? ret : zw_ctx_output(g->c, step, 0, &g->out);
}

/* The last token once more, when there turned out to be a mask behind it, which needs logits. */
static int feed_again(struct llm_run *g, uint32_t id, struct zw_error *err)
{
	uint64_t step;
	int ret = zw_seq_truncate(g->c, g->p.seq, (uint32_t)zw_seq_length(g->c, g->p.seq) - 1);

	if (ret)
		return llm_fail(err, ret, "taking a token back: %s", strerror(-ret));
	ret = feed(g, id, llm_want_greedy(g->p.sampler), &step, err);
	return ret ? ret : outputs_of(g, step, err);
}

/* Feeds a token back, if that is not under way, and takes the next choice. */
static int feed_ahead(struct llm_run *g, uint32_t id, uint32_t *next, struct zw_error *err)
{
	bool masks = sampler_masks(g->p.sampler);
	uint64_t step = g->ahead;
	struct zw_error why;
	int ret = step ? 0 : feed(g, id, llm_want_greedy(g->p.sampler), &step, err);

	g->ahead = 0;
	if (ret)
		return ret;
	/*
	 * When there is no room for it, that is found out when it is needed. Where a mask is at work what
	 * the device chooses need not be what comes.
	 */
	if (!masks && g->r.generated_tokens + 1 < g->p.max_tokens &&
	    feed(g, ZW_ID_CHOSEN, ZW_WANT_ARGMAX, &g->ahead, &why))
		g->ahead = 0;
	ret = outputs_of(g, step, err);
	if (!ret)
		ret = llm_choose_greedy(g->c, g->p.sampler, &g->out, next, err);
	if (ret != -EAGAIN)
		return ret;
	ret = feed_again(g, id, err);
	return ret ? ret : llm_choose_greedy(g->c, g->p.sampler, &g->out, next, err);
}

/* A step that is not needed after all. One that failed was undone already. */
static void drop_ahead(struct llm_run *g)
{
	struct zw_error why;

	if (g->ahead && !zw_ctx_wait(g->c, g->ahead, ZW_FOREVER, &why))
		zw_seq_truncate(g->c, g->p.seq, (uint32_t)zw_seq_length(g->c, g->p.seq) - 1);
}

/* Tokens of the sequence but for the one that is not known yet. */
static uint32_t length(const struct llm_run *g)
{
	return (uint32_t)zw_seq_length(g->c, g->p.seq) - (g->ahead ? 1 : 0);
}

static int give_logprobs(struct llm_run *g, uint32_t id, struct zw_error *err)
{
	size_t vocab = g->c->o.vocab, top = (size_t)g->p.top_logprobs;
	int64_t n;

	if (!g->p.logprobs)
		return 0;
	n = g->p.flags & ZW_GENERATE_PROCESSED_LOGPROBS
		    ? zw_sampler_logprobs(g->p.sampler, g->out.logits, vocab, id, top, g->lp, err)
		    : zw_logprobs(g->out.logits, vocab, id, top, g->lp, err);
	if (n < 0)
		return (int)n;
	g->p.logprobs(g->p.opaque, g->lp, (size_t)n);
	return 0;
}

static int loop(struct llm_run *g, struct zw_error *err)
{
	bool ignore_stop = g->p.flags & ZW_GENERATE_IGNORE_STOP, ahead = runs_ahead(g);
	uint32_t id, next;
	int ret = 0;

	g->r.finish = ZW_FINISH_LENGTH;
	if (!g->ended && g->p.max_tokens)
		ret = llm_choose(g->c, g->p.sampler, &g->out, &next, err);
	while (!ret && !g->ended && g->r.generated_tokens < g->p.max_tokens) {
		id = next;
		if (!ignore_stop && zw_model_is_stop(g->c->m, id)) {
			g->r.finish = ZW_FINISH_STOP;
			return 0;
		}
		ret = give_logprobs(g, id, err);
		if (ret)
			return ret;
		g->r.generated_tokens++;
		g->ended = g->p.token && g->p.token(g->p.opaque, id);
		if (g->ended || g->r.generated_tokens == g->p.max_tokens)
			break; /* nobody needs the next choice */
		if (length(g) == g->c->o.context) {
			g->r.finish = ZW_FINISH_CONTEXT;
			return 0;
		}
		ret = zw_sampler_accept(g->p.sampler, id);
		if (ret)
			return llm_fail(err, ret, "token %u: %s", id, strerror(-ret));
		if (ahead) {
			ret = feed_ahead(g, id, &next, err);
			continue;
		}
		ret = eval(g, &id, 1, false, err);
		if (!ret)
			ret = llm_choose(g->c, g->p.sampler, &g->out, &next, err);
	}
	if (g->ended)
		g->r.finish = ZW_FINISH_CALLBACK;
	return ret;
}

static int decode(struct llm_run *g, struct zw_error *err)
{
	int ret;

	if (g->p.logprobs) {
		if (g->p.top_logprobs > g->c->o.vocab)
			g->p.top_logprobs = g->c->o.vocab;
		g->lp = calloc((size_t)g->p.top_logprobs + 1, sizeof(*g->lp));
		if (!g->lp)
			return llm_fail(err, -ENOMEM, "out of memory");
	}
	ret = g->drafts ? llm_draft_loop(g, err) : loop(g, err);
	drop_ahead(g);
	free(g->lp);
	return ret;
}

/* The difference of two readings, where the caller wants it. */
static int give_stats(struct zw_ctx_stats *out, const struct zw_ctx_stats *a,
		      const struct zw_ctx_stats *b, struct zw_error *err)
{
	struct zw_ctx_stats diff;

	stats_diff(&diff, a, b);
	if (out && sized_out(out, SIZED_V0(struct zw_ctx_stats, busy_ps), &diff, sizeof(diff)))
		return llm_fail(err, -EINVAL, "zw_generate: statistics of an unknown version");
	return 0;
}

#define PARAMS_FIRST SIZED_V0(struct zw_generate_params, opaque)
#define RESULT_FIRST SIZED_V0(struct zw_generate_result, decode)

int zw_generate(struct zw_ctx *c, const struct zw_generate_params *params, const uint32_t *prompt,
		size_t n, struct zw_generate_result *result, struct zw_error *err)
{
	struct llm_run g = {.c = c, .r.prompt_tokens = n};
	uint64_t start = llm_now_ns(), middle;
	struct zw_ctx_stats s0, s1;
	int ret;

	if (!c || !params || !result || result->size < RESULT_FIRST)
		return llm_fail(err, -EINVAL, "zw_generate: bad argument");
	ret = sized_in(&g.p, sizeof(g.p), PARAMS_FIRST, params);
	if (ret || !g.p.sampler || g.p.reserved ||
	    g.p.flags & ~(ZW_GENERATE_IGNORE_STOP | ZW_GENERATE_PROCESSED_LOGPROBS))
		return llm_fail(err, ret ? ret : -EINVAL, "zw_generate: bad argument");
	ret = llm_draft_check(&g, err);
	if (ret)
		return ret;
	g.drafts = g.p.draft && g.p.draft_tokens && llm_can_draft(c, g.p.sampler, g.p.logprobs);
	g.cancels = llm_ctx_cancels(c);
	g.r.prefill = result->prefill;
	g.r.decode = result->decode;
	s0 = c->stats;
	ret = prefill(&g, prompt, n, err);
	if (ret)
		return ret;
	s1 = c->stats;
	middle = llm_now_ns();
	ret = decode(&g, err);
	if (ret)
		return ret;
	g.r.prefill_ns = middle - start;
	g.r.decode_ns = llm_now_ns() - middle;
	ret = give_stats(g.r.prefill, &s0, &s1, err);
	if (!ret)
		ret = give_stats(g.r.decode, &s1, &c->stats, err);
	return ret ? ret : sized_out(result, RESULT_FIRST, &g.r, sizeof(g.r));
}

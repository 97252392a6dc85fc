// SPDX-License-Identifier: MIT
#include "run_cards.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "run_stats.h"
#include "run_timing.h"
#include "tool_cards.h"
#include "tool_interrupt.h"

struct pipeline {
	struct run *r;
	struct tool_cards c;
	uint32_t batch, groups;
	uint64_t tokens;         /* to generate for each sequence */
	uint64_t *ready;         /* [groups], when the group has its last token */
	struct run_agent *agent; /* NULL: no calls of tools */
	/* Time 0 of all cards in a trace; their clocks may have gone on to there. */
	uint64_t trace_ps;
	bool traced;
	struct run_card_report *card;
	struct zw_ctx_stats prefill, decode;
	struct zw_generate_result res;
	struct run_timing_report report;
};

/* ---- trace ---- */

/* For the trace, which has the clock of all. */
static void stepped(void *opaque, const struct tool_cards *c)
{
	struct pipeline *p = opaque;

	for (uint32_t i = 0; !p->traced && i < c->num; i++) {
		uint64_t start = c->card[i].stats.last_start_ps;

		p->trace_ps = start > p->trace_ps ? start : p->trace_ps;
	}
	p->traced = true;
	for (uint32_t i = 0; i < c->num; i++)
		run_trace_shift(p->r->trace, i, c->card[i].stats.last_start_ps,
				p->trace_ps + c->card[i].begin_ps);
}

static int begin_trace(struct pipeline *p)
{
	struct zw_dev **dev;

	if (!p->r->trace)
		return 0;
	dev = calloc(p->c.num, sizeof(*dev));
	if (!dev)
		return run_fail("out of memory");
	for (uint32_t i = 0; i < p->c.num; i++)
		dev[i] = p->c.card[i].dev;
	run_trace_cards(p->r->trace, dev, p->c.num);
	free(dev);
	p->c.stepped = stepped;
	p->c.opaque = p;
	return 0;
}

/* ---- placing ---- */

/* It has no room on as many as were asked for: on how many? */
static int too_few(struct pipeline *p)
{
	uint32_t cards = p->r->a.cards;
	struct zw_error err, why;

	if (tool_cards_find(&p->c, cards + 1, &err))
		return run_fail(err.msg);
	snprintf(why.msg, sizeof(why.msg), "there is no room on %u card%s (--cards): %u are needed",
		 cards, cards > 1 ? "s" : "", p->c.num);
	return run_fail(why.msg);
}

static int place(struct pipeline *p)
{
	const struct run_args *a = &p->r->a;
	const char *alone = run_args_one_card(a);
	struct zw_error err, why;
	int ret = a->cards ? tool_cards_place(&p->c, a->cards, &err)
			   : tool_cards_find(&p->c, 2, &err);

	if (ret == -ENOSPC && a->cards)
		return too_few(p);
	if (ret)
		return run_fail(err.msg);
	if (alone) {
		snprintf(why.msg, sizeof(why.msg),
			 "the model needs %u cards, and %s does not go with several", p->c.num,
			 alone);
		return run_fail(why.msg);
	}
	return 0;
}

static int open_all(struct pipeline *p)
{
	struct run *r = p->r;
	struct tool_cards *c = &p->c;
	struct zw_error err;
	int ret;

	c->device = r->a.device;
	c->path = r->a.model;
	c->route = &r->a.routing;
	c->seed = r->a.seed;
	run_timing_device(r, &c->dev);
	run_timing_model(r, p->tokens, &c->model);
	/* What it needs MTP for does not go with several cards; how many these would be is told. */
	c->model.flags &= ~(uint32_t)ZW_MODEL_MTP;
	if (tool_cards_open(c, &err))
		return run_fail(err.msg);
	run_timing_context(r, &c->info, p->batch, p->tokens, &c->ctx);
	c->ctx.draft = 0;
	run_timing_pool(r, &c->ctx);
	ret = place(p);
	if (ret)
		return ret;
	p->groups = r->a.micro_batches ? r->a.micro_batches : p->batch < c->num ? p->batch : c->num;
	p->ready = calloc(p->groups, sizeof(*p->ready));
	p->card = calloc(c->num, sizeof(*p->card));
	if (!p->ready || !p->card)
		return run_fail("out of memory");
	if (c->model.positions > c->info.own_context && !r->a.quiet)
		fprintf(stderr, "note: the model was made for %u positions\n", c->info.own_context);
	ret = begin_trace(p);
	if (ret)
		return ret;
	p->report.batch = p->batch;
	p->report.cards = c->num;
	p->report.groups = p->groups;
	p->report.context = c->card[0].room.context;
	for (uint32_t i = 0; i < c->num; i++)
		p->report.kv_bytes += c->card[i].room.kv_bytes;
	return 0;
}

/* ---- running ---- */

static int prefill(struct pipeline *p)
{
	struct run *r = p->r;
	struct zw_eval_options opt = {.size = sizeof(opt),
				      .want = p->tokens ? ZW_WANT_ARGMAX : 0,
				      .progress = run_prompt_progress,
				      .opaque = r};
	struct zw_error err;
	uint64_t end = 0;

	for (uint32_t i = 0; i < p->batch; i++) {
		end = 0; /* all prompts are there from the beginning */
		if (tool_cards_text(&p->c, i, r->prompt, r->num_prompt, &opt, &end, &err))
			return run_fail(err.msg);
		if (!i)
			p->report.first_token_ps = end;
	}
	for (uint32_t g = 0; g < p->groups; g++)
		p->ready[g] = end;
	tool_cards_stats(&p->c, &p->prefill);
	p->prefill.sim_ps = end;
	for (uint32_t i = 0; i < p->c.num; i++)
		p->card[i].prefill = p->c.card[i].stats;
	return 0;
}

static int decode(struct pipeline *p)
{
	uint64_t end = p->prefill.sim_ps;
	struct zw_error err;
	int ret = 0;

	for (uint64_t i = 1; i < p->tokens && !ret && !tool_interrupts; i++) {
		if (tool_cards_round(&p->c, p->groups, ZW_WANT_ARGMAX, p->ready, &err))
			ret = run_fail(err.msg);
		run_trace_step(p->r->trace, "step", "number", i);
	}
	for (uint32_t g = 0; g < p->groups; g++)
		end = p->ready[g] > end ? p->ready[g] : end;
	tool_cards_stats(&p->c, &p->decode);
	run_stats_subtract(&p->decode, &p->prefill);
	p->decode.sim_ps = end - p->prefill.sim_ps;
	for (uint32_t i = 0; i < p->c.num; i++) {
		p->card[i].decode = p->c.card[i].stats;
		run_stats_subtract(&p->card[i].decode, &p->card[i].prefill);
	}
	return ret;
}

/* ---- saying it ---- */

static int report_all(struct pipeline *p)
{
	struct tool_card *card = p->c.card;
	/* Of the first card, with the sums over all. */
	struct zw_model_info info = card[0].info;
	struct run_report report = {
		.attrs = &card[0].attrs, .info = &info, .res = &p->res, .timing = &p->report};

	for (uint32_t i = 0; i < p->c.num; i++) {
		p->card[i].info = &card[i].info;
		p->card[i].kv_bytes = card[i].room.kv_bytes;
		p->card[i].hbm_bytes = card[i].room.hbm_bytes;
		if (!i)
			continue;
		info.weight_bytes += card[i].info.weight_bytes;
		info.parameters += card[i].info.parameters;
		info.load_ns += card[i].info.load_ns;
		if (info.load_sim_ps < card[i].info.load_sim_ps)
			info.load_sim_ps = card[i].info.load_sim_ps;
	}
	p->report.card = p->card;
	p->res.prefill = &p->prefill;
	p->res.decode = &p->decode;
	return run_timing_tell(p->r, &report, p->tokens);
}

/* ---- calls of tools: the text is that of sequence 0, which has its last token at ready[0] ---- */

static int on_piece(void *opaque, uint64_t done, uint64_t total)
{
	(void)opaque;
	(void)done;
	(void)total;
	return tool_interrupts != 0;
}

static struct zw_ctx_stats read_stats(const struct pipeline *p)
{
	struct zw_ctx_stats s;

	tool_cards_stats(&p->c, &s);
	return s;
}

static struct agent_cost cost_since(const struct pipeline *p, const struct zw_ctx_stats *before,
				    uint64_t ps)
{
	struct zw_ctx_stats s = read_stats(p);

	run_stats_subtract(&s, before);
	s.sim_ps = p->ready[0] - ps;
	return agent_cost_of(&s);
}

static int agent_eval(void *opaque, const uint32_t *ids, uint64_t n, uint32_t want,
		      struct agent_cost *cost)
{
	struct pipeline *p = opaque;
	struct zw_eval_options opt = {.size = sizeof(opt), .want = want, .progress = on_piece};
	struct zw_ctx_stats before = read_stats(p);
	uint64_t ps = p->ready[0];
	struct zw_error err;
	int ret = tool_cards_text(&p->c, 0, ids, n, &opt, &p->ready[0], &err);

	if (ret && !(ret == -ECANCELED && tool_interrupts))
		return run_fail(err.msg);
	*cost = cost_since(p, &before, ps);
	return 0;
}

static int agent_step(void *opaque, struct agent_cost *cost)
{
	struct pipeline *p = opaque;
	struct zw_batch_token t = {.want = ZW_WANT_ARGMAX};
	struct zw_ctx_stats before = read_stats(p);
	uint64_t ps = p->ready[0];
	struct zw_error err;

	if (tool_cards_step(&p->c, &t, 1, &p->ready[0], &err))
		return run_fail(err.msg);
	*cost = cost_since(p, &before, ps);
	return 0;
}

static uint32_t agent_length(void *opaque)
{
	const struct pipeline *p = opaque;

	return (uint32_t)zw_seq_length(p->c.card[0].ctx, p->c.card[0].seqs[0]);
}

static int agent_keep(void *opaque)
{
	struct pipeline *p = opaque;

	return tool_cards_keep(&p->c, 0) ? run_fail("out of memory") : 0;
}

static int agent_back(void *opaque)
{
	struct pipeline *p = opaque;

	return tool_cards_back(&p->c, 0) ? run_fail("no way back to the prompt") : 0;
}

static int run_calls(struct pipeline *p)
{
	struct run_agent_on on = {
		.opaque = p,
		.attrs = &p->c.card[0].attrs,
		.cards = p->c.num,
		.context = p->report.context,
		.kv_bytes = p->report.kv_bytes,
		.eval = agent_eval,
		.step = agent_step,
		.length = agent_length,
		.keep = agent_keep,
		.back = agent_back,
	};
	struct zw_error err;
	int ret = run_agent(p->agent, &on);

	return !ret && tool_cards_result(&p->c, &err) ? run_fail(err.msg) : ret;
}

static int run_all(struct pipeline *p)
{
	uint64_t start = run_timing_ns(), middle;
	struct zw_error err;
	int ret;

	if (p->agent)
		return run_calls(p);
	ret = prefill(p);
	middle = run_timing_ns();
	if (!ret)
		ret = decode(p);
	if (ret)
		return ret;
	p->res.prefill_ns = middle - start;
	p->res.decode_ns = run_timing_ns() - middle;
	if (tool_cards_result(&p->c, &err))
		return run_fail(err.msg);
	return report_all(p);
}

int run_cards(struct run *r, uint32_t batch, uint64_t tokens, struct run_agent *agent)
{
	struct pipeline p = {.r = r,
			     .batch = batch,
			     .tokens = tokens,
			     .agent = agent,
			     .res.size = sizeof(p.res)};
	int ret = open_all(&p);

	if (!ret)
		ret = run_all(&p);
	if (p.c.card)
		tool_cards_clear(&p.c);
	/* Everything that ran is settled now: the queues are gone. */
	ret = run_trace_close(r->trace, ret && tool_interrupts ? EXIT_INTERRUPTED : ret);
	r->trace = NULL;
	tool_cards_close(&p.c);
	free(p.ready);
	free(p.card);
	return ret;
}

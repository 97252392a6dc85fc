// SPDX-License-Identifier: MIT
#include "run_cards.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "run_stats.h"
#include "run_timing.h"
#include "tool_cards.h"
#include "tool_interrupt.h"

struct pipeline {
	struct run *r;
	struct tool_cards c;
	uint32_t batch, groups;
	uint64_t tokens; /* to generate for each sequence */
	uint64_t *ready; /* [groups], when the group has its last token */
	uint64_t
		trace_ps; /* time 0 of all cards in a trace; their clocks may have gone on to there */
	bool traced;
	struct run_card_report *card;
	struct zw_ctx_stats prefill, decode;
	struct zw_generate_result res;
	struct run_timing_report report;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

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
	struct run *r = p->r;
	struct tool_card *card = p->c.card;
	/* Of the first card, with the sums over all. */
	struct zw_model_info info = card[0].info;
	struct run_report report = {.model_dir = r->a.shape ? r->a.shape : r->a.model,
				    .attrs = &card[0].attrs,
				    .info = &info,
				    .res = &p->res,
				    .timing = &p->report};
	struct zw_error err;

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
	p->res.prompt_tokens = (uint64_t)r->num_prompt * p->batch;
	p->res.generated_tokens = p->tokens * p->batch;
	p->res.finish = ZW_FINISH_LENGTH;
	if (tool_interrupts)
		report.finish = "interrupted";
	if (!r->a.quiet)
		run_report_print(&report, stderr);
	if (r->a.stats_json && run_report_write_json(&report, r->a.stats_json, &err))
		return run_fail(err.msg);
	return tool_interrupts ? EXIT_INTERRUPTED : 0;
}

static int run_all(struct pipeline *p)
{
	uint64_t start = now_ns(), middle;
	struct zw_error err;
	int ret = prefill(p);

	middle = now_ns();
	if (!ret)
		ret = decode(p);
	if (ret)
		return ret;
	p->res.prefill_ns = middle - start;
	p->res.decode_ns = now_ns() - middle;
	if (tool_cards_result(&p->c, &err))
		return run_fail(err.msg);
	return report_all(p);
}

int run_cards(struct run *r, uint32_t batch, uint64_t tokens)
{
	struct pipeline p = {.r = r, .batch = batch, .tokens = tokens, .res.size = sizeof(p.res)};
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

// SPDX-License-Identifier: MIT
#include "run_agent.h"

#include <stdlib.h>
#include <string.h>

#include "tool_interrupt.h"

/*
 * Of a long answer not every step is run: between two that are, the others are taken to lie on a line. The first steps
 * behind a prompt find other things on the chip than those that follow, so that a sample has a step in front of it.
 */
#define FIRST_STEPS 3u   /* of an answer, that are always run */
#define SEGMENT     256u /* steps for one sample at least */
#define FILL_MIN    6u   /* steps that it is not worth skipping */

struct turn {
	uint32_t answer, result; /* tokens; the last turn has no result */
	uint64_t wait_ps;        /* that the tool takes */
};

struct run_agent {
	struct run *r;
	const struct run_agent_on *on;
	struct turn *turns; /* one more than there are calls */
	uint32_t num_turns;
	uint64_t now_ps; /* since the beginning */
	bool kept;       /* the text behind the prompt; else the context has room for all */
	struct agent_report report;
};

/* ---- what is to come ---- */

static uint32_t draw_tokens(struct tool_dist *d)
{
	double v = tool_dist_draw(d) + 0.5;

	return v < 1 ? 1 : v > AGENT_MAX_TOKENS ? AGENT_MAX_TOKENS : (uint32_t)v;
}

/* Whole microseconds: what the last bit of a logarithm is does not matter then. */
static uint64_t draw_latency(struct tool_dist *d)
{
	double v = tool_dist_draw(d);

	return (uint64_t)((v > AGENT_MAX_SECONDS ? AGENT_MAX_SECONDS : v) * 1e6 + 0.5) * 1000000u;
}

/* Whatever the context was, a turn has to have room behind the prompt alone. */
static int check_turns(const struct run_agent *g, uint64_t tokens)
{
	const struct run *r = g->r;
	uint32_t result = 0;
	char text[200];

	if (!r->a.ctx && r->num_prompt + tokens > INT32_MAX)
		return run_fail("the texts of all calls are more than 2147483647 tokens: --ctx "
				"says where to go back to the prompt");
	for (uint32_t i = 0; r->a.ctx && i < g->num_turns; i++) {
		/* The last token of an answer is computed with what follows. */
		uint64_t need = r->num_prompt + result + g->turns[i].answer - 1;

		if (need > r->a.ctx) {
			snprintf(text, sizeof(text),
				 "call %u: the prompt, what a tool says and the answer are %llu "
				 "tokens, the context has %u (--ctx)",
				 i + 1, (unsigned long long)need, r->a.ctx);
			return run_fail(text);
		}
		result = g->turns[i].result + 1;
	}
	return 0;
}

int run_agent_open(struct run *r, struct run_agent **out, uint64_t *tokens)
{
	struct run_args *a = &r->a;
	struct run_agent *g = calloc(1, sizeof(*g));
	uint64_t wait_ps = 0;

	*out = g;
	if (!g)
		return run_fail("out of memory");
	g->r = r;
	g->num_turns = a->agent.calls + 1;
	g->turns = calloc(g->num_turns, sizeof(*g->turns));
	if (!g->turns)
		return run_fail("out of memory");
	tool_dist_seed(&a->agent.answer, a->seed, 1);
	tool_dist_seed(&a->agent.result, a->seed, 2);
	tool_dist_seed(&a->agent.latency, a->seed, 3);
	*tokens = 0;
	for (uint32_t i = 0; i < g->num_turns; i++) {
		struct turn *t = &g->turns[i];

		t->answer = draw_tokens(&a->agent.answer);
		if (i < a->agent.calls) {
			t->result = draw_tokens(&a->agent.result);
			t->wait_ps = draw_latency(&a->agent.latency);
			wait_ps += t->wait_ps;
		}
		/* Picoseconds in 64 bits are 213 days. */
		if (wait_ps > UINT64_MAX / 4)
			return run_fail("the tools take more than 53 days together");
		*tokens += (uint64_t)t->answer + t->result;
	}
	return check_turns(g, *tokens);
}

/* ---- steps ---- */

static int run_steps(struct run_agent *g, uint32_t n, struct agent_cost *sum,
		     struct agent_cost *last)
{
	for (uint32_t i = 0; i < n && !tool_interrupts; i++) {
		int ret = g->on->step(g->on->opaque, last);

		if (ret)
			return ret;
		agent_cost_add(sum, last);
		g->report.steps_run++;
	}
	return 0;
}

/*
 * n steps of which the last is run, and one in front of it that only leaves on the chip what a step leaves; the text of
 * the others is put in as a prompt, whose cost is not counted. *last: the step before these, then the last of them.
 */
static int sample_steps(struct run_agent *g, uint32_t n, struct agent_cost *sum,
			struct agent_cost *last)
{
	struct agent_cost from = *last, between, ignored;
	int ret = g->on->eval(g->on->opaque, NULL, n - 2, 0, &ignored);

	if (!ret && !tool_interrupts)
		ret = g->on->step(g->on->opaque, &ignored);
	if (!ret)
		ret = run_steps(g, 1, sum, last);
	if (ret || tool_interrupts)
		return ret;
	between = agent_cost_between(&from, last, n - 1);
	agent_cost_add(sum, &between);
	g->report.steps_taken += n - 1;
	return 0;
}

/* ---- phases ---- */

static int add(struct run_agent *g, enum agent_phase_kind kind, uint32_t call,
	       const struct agent_cost *cost)
{
	struct agent_phase p = {.kind = kind,
				.call = call,
				.start_ps = g->now_ps,
				.context = g->on->length(g->on->opaque),
				.cost = *cost};

	g->now_ps += cost->sim_ps;
	return agent_report_add(&g->report, &p) ? run_fail("out of memory") : 0;
}

static int prefill(struct run_agent *g, const uint32_t *ids, uint64_t n, uint32_t call)
{
	struct agent_cost cost;
	int ret = g->on->eval(g->on->opaque, ids, n, ZW_WANT_ARGMAX, &cost);

	return ret ? ret : add(g, AGENT_PREFILL, call, &cost);
}

/* The first token came with the prompt. */
static int answer(struct run_agent *g, uint32_t call)
{
	uint32_t left = g->turns[call].answer - 1, n;
	struct agent_cost sum = {0}, last = {0};
	int ret;

	n = g->r->a.agent.every_step || left < FIRST_STEPS + FILL_MIN ? left : FIRST_STEPS;
	ret = run_steps(g, n, &sum, &last);
	for (left -= n; left && !ret && !tool_interrupts; left -= n) {
		n = left < 2 * SEGMENT ? left : SEGMENT;
		ret = sample_steps(g, n, &sum, &last);
	}
	return ret ? ret : add(g, AGENT_DECODE, call, &sum);
}

/* Where a turn has no room any more the text goes on behind the prompt. */
static int make_room(struct run_agent *g, uint32_t call)
{
	const struct turn *t = &g->turns[call];
	uint64_t need = (uint64_t)g->on->length(g->on->opaque) + t->result + t[1].answer;

	if (!g->kept || need <= g->r->a.ctx)
		return 0;
	g->report.restarts++;
	return g->on->back(g->on->opaque);
}

static int run_turns(struct run_agent *g)
{
	struct run *r = g->r;
	int ret = prefill(g, r->prompt, r->num_prompt, 0);

	if (!ret && r->a.ctx && !tool_interrupts) {
		ret = g->on->keep(g->on->opaque);
		g->kept = !ret;
	}
	for (uint32_t i = 0; i < g->num_turns && !ret && !tool_interrupts; i++) {
		struct agent_cost wait = {.sim_ps = g->turns[i].wait_ps};

		ret = answer(g, i);
		run_trace_step(r->trace, "call", "number", i);
		if (ret || tool_interrupts || i + 1 == g->num_turns)
			break;
		ret = add(g, AGENT_WAIT, i, &wait);
		run_calls_progress(r, i + 1, g->num_turns - 1, (double)g->now_ps * 1e-12);
		if (!ret)
			ret = make_room(g, i);
		if (!ret)
			ret = prefill(g, NULL, (uint64_t)g->turns[i].result + 1, i + 1);
	}
	return ret;
}

int run_agent(struct run_agent *g, const struct run_agent_on *on)
{
	struct run *r = g->r;
	struct zw_error err;
	int ret;

	g->on = on;
	ret = run_turns(g);
	if (ret)
		return tool_interrupts ? EXIT_INTERRUPTED : ret;
	g->report.model = r->a.shape ? r->a.shape : r->a.model;
	g->report.attrs = on->attrs;
	g->report.cards = on->cards;
	g->report.args = &r->a.agent;
	g->report.kv_bytes = on->kv_bytes;
	g->report.context = on->context;
	g->report.interrupted = tool_interrupts;
	agent_report_sum(&g->report);
	if (!r->a.quiet)
		agent_report_print(&g->report, stderr);
	if (r->a.stats_json && agent_report_write_json(&g->report, r->a.stats_json, &err))
		return run_fail(err.msg);
	if (r->a.agent.csv && agent_report_write_csv(&g->report, r->a.agent.csv, &err))
		return run_fail(err.msg);
	return tool_interrupts ? EXIT_INTERRUPTED : 0;
}

void run_agent_close(struct run_agent *g)
{
	if (!g)
		return;
	agent_report_free(&g->report);
	free(g->turns);
	free(g);
}

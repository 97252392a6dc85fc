// SPDX-License-Identifier: MIT
/* Calls of tools on one card: in a sequence of a context. */
#include <stdlib.h>

#include "run_agent.h"
#include "run_stats.h"
#include "tool_interrupt.h"

struct context {
	struct run *r;
	uint32_t seq;
	bool ahead;                /* a step takes the id that the one before it chose */
	bool chosen;               /* and it chose one */
	uint32_t *ids;             /* that do not matter, as many as a step takes */
	uint32_t batch;            /* so many */
	struct zw_snapshot *start; /* what was kept */
};

static struct zw_ctx_stats read_stats(const struct context *c)
{
	struct zw_ctx_stats s = {.size = sizeof(s)};

	zw_ctx_get_stats(c->r->ctx, &s);
	return s;
}

static struct agent_cost cost_since(const struct context *c, const struct zw_ctx_stats *before)
{
	struct zw_ctx_stats s = read_stats(c);

	run_stats_subtract(&s, before);
	return agent_cost_of(&s);
}

static int eval(void *opaque, const uint32_t *ids, uint64_t n, uint32_t want,
		struct agent_cost *cost)
{
	struct context *c = opaque;
	struct zw_ctx_stats before = read_stats(c);
	struct zw_error err;

	while (n && !tool_interrupts) {
		uint32_t piece = n < c->batch ? (uint32_t)n : c->batch;
		struct zw_eval_options opt = {.size = sizeof(opt), .want = piece == n ? want : 0};

		if (zw_ctx_eval(c->r->ctx, c->seq, ids ? ids : c->ids, piece, &opt, NULL, &err))
			return run_fail(err.msg);
		ids = ids ? ids + piece : NULL;
		n -= piece;
	}
	*cost = cost_since(c, &before);
	c->chosen = false;
	return 0;
}

/* As zw-run --timing without calls makes them. */
static int step(void *opaque, struct agent_cost *cost)
{
	struct context *c = opaque;
	struct zw_batch_token t = {
		.id = c->ahead && c->chosen ? ZW_ID_CHOSEN : 0,
		.pos = (uint32_t)zw_seq_length(c->r->ctx, c->seq),
		.seq = c->seq,
		.want = ZW_WANT_ARGMAX,
	};
	struct zw_batch b = {.size = sizeof(b), .count = 1, .token_size = sizeof(t), .tokens = &t};
	struct zw_ctx_stats before = read_stats(c);
	struct zw_error err;
	uint64_t number;

	if (zw_ctx_submit(c->r->ctx, &b, &number, &err) ||
	    zw_ctx_wait(c->r->ctx, number, ZW_FOREVER, &err))
		return run_fail(err.msg);
	c->chosen = true;
	*cost = cost_since(c, &before);
	return 0;
}

static uint32_t length(void *opaque)
{
	const struct context *c = opaque;

	return (uint32_t)zw_seq_length(c->r->ctx, c->seq);
}

static int keep(void *opaque)
{
	struct context *c = opaque;

	return zw_seq_snapshot(c->r->ctx, c->seq, &c->start) ? run_fail("out of memory") : 0;
}

static int back(void *opaque)
{
	struct context *c = opaque;

	return zw_seq_restore(c->r->ctx, c->seq, c->start) ? run_fail("no way back to the prompt")
							   : 0;
}

int run_agent_on_context(struct run_agent *g, struct run *r, uint32_t seq,
			 const struct zw_dev_attrs *attrs, const struct zw_model_info *info)
{
	struct zw_ctx_info ci = {.size = sizeof(ci)};
	struct context c = {.r = r, .seq = seq, .ahead = !info->state_bytes};
	struct run_agent_on on = {
		.opaque = &c,
		.attrs = attrs,
		.cards = 1,
		.eval = eval,
		.step = step,
		.length = length,
		.keep = keep,
		.back = back,
	};
	int ret;

	zw_ctx_get_info(r->ctx, &ci);
	on.context = ci.context;
	on.kv_bytes = ci.kv_bytes;
	c.batch = ci.batch;
	c.ids = calloc(ci.batch, sizeof(*c.ids));
	ret = c.ids ? run_agent(g, &on) : run_fail("out of memory");
	zw_snapshot_destroy(c.start);
	free(c.ids);
	return ret;
}

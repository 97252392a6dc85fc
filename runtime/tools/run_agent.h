/* SPDX-License-Identifier: MIT */
/*
 * zw-run --timing --agent-calls: a model that calls tools, in simulated time. A prompt is computed; then, for each call,
 * an answer is generated, the chip waits while the tool works, and what the tool says is computed behind all that is there
 * already. An answer is the last.
 */
#ifndef ZW_RUN_AGENT_H
#define ZW_RUN_AGENT_H

#include "agent_report.h"
#include "run.h"

struct run_agent;

/*
 * What the calls run on, with one text, which is empty. Functions return the exit status, with what is to be said said, and
 * end early, with 0, when Ctrl-C was pressed. Costs are of what was asked for; their time is simulated.
 */
struct run_agent_on {
	void *opaque;
	const struct zw_dev_attrs *attrs; /* of a card */
	uint32_t cards, context;
	uint64_t kv_bytes;
	/* So many ids behind the text, NULL: some that do not matter; `want`, as of zw_batch_token, of the last. */
	int (*eval)(void *opaque, const uint32_t *ids, uint64_t n, uint32_t want,
		    struct agent_cost *cost);
	/* The token that was chosen last, and the choice of the next. */
	int (*step)(void *opaque, struct agent_cost *cost);
	uint32_t (*length)(void *opaque);
	/* Keeps the text as it is; makes it what was kept. */
	int (*keep)(void *opaque);
	int (*back)(void *opaque);
};

/* Draws the lengths and latencies. *tokens: what the text of all calls would come to. The exit status. */
int run_agent_open(struct run *r, struct run_agent **out, uint64_t *tokens);
/* Runs them and says what they took; the exit status. */
int run_agent(struct run_agent *g, const struct run_agent_on *on);
/* The same in a sequence, which is empty, of r->ctx. */
int run_agent_on_context(struct run_agent *g, struct run *r, uint32_t seq,
			 const struct zw_dev_attrs *attrs, const struct zw_model_info *info);
/* NULL is allowed. */
void run_agent_close(struct run_agent *g);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * zw-run --timing --agent-calls: a model that calls tools, in simulated time. A prompt is computed; then, for each call,
 * an answer is generated, the chip waits while the tool works, and what the tool says is computed behind all that is there
 * already. An answer is the last.
 */
#ifndef ZW_RUN_AGENT_H
#define ZW_RUN_AGENT_H

#include "run.h"

struct run_agent;

/* Draws the lengths and latencies. *tokens: what the text of all calls would come to. The exit status. */
int run_agent_open(struct run *r, struct run_agent **out, uint64_t *tokens);
/* Runs them in the sequence, which is empty, of r->ctx, and says what they took; the exit status. */
int run_agent(struct run_agent *g, uint32_t seq, const struct zw_dev_attrs *attrs,
	      const struct zw_model_info *info);
/* Before the context goes; NULL is allowed. */
void run_agent_close(struct run_agent *g);

#endif

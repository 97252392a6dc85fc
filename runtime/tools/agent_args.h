/* SPDX-License-Identifier: MIT */
/* What zw-run --timing --agent-calls is asked. */
#ifndef ZW_AGENT_ARGS_H
#define ZW_AGENT_ARGS_H

#include <stdbool.h>
#include <stdint.h>

#include "tool_cost.h"
#include "tool_dist.h"

#define AGENT_MAX_CALLS   1000000u
#define AGENT_MAX_TOKENS  (1u << 26) /* of one answer or result */
#define AGENT_MAX_SECONDS 1e6        /* of one call: of all, 2^64 ps are 213 days */

struct agent_args {
	uint32_t calls; /* 0: no tools */
	struct tool_dist answer, result, latency;
	struct tool_cost cost;
	const char *csv, *given; /* given: an option that needs calls, or NULL */
	bool every_step;
};

#endif

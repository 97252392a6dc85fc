/* SPDX-License-Identifier: MIT */
/* What a run of a model that calls tools took: phases, sums, intervals of time. */
#ifndef ZW_AGENT_REPORT_H
#define ZW_AGENT_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <zhenwu/llm.h>
#include <zhenwu/zhenwu.h>

#include "agent_args.h"

#define AGENT_INTERVALS 20u /* of the table of utilisation */

/* Of some steps, on all cards; J without what the chips take by themselves. */
struct agent_cost {
	uint64_t tokens, sim_ps, energy_pj, hbm_bytes;
};

enum agent_phase_kind { AGENT_PREFILL, AGENT_DECODE, AGENT_WAIT, AGENT_PHASES };

struct agent_phase {
	enum agent_phase_kind kind;
	uint32_t call;
	uint32_t context; /* tokens of the text behind it */
	uint64_t start_ps;
	struct agent_cost cost;
};

/* A part of the time: seconds by phase, and what was done in it. */
struct agent_interval {
	double seconds[AGENT_PHASES], tokens[AGENT_PHASES], joules, hbm_bytes;
};

struct agent_report {
	const char *model;
	const struct zw_dev_attrs *attrs;
	const struct agent_args *args;
	uint64_t kv_bytes, steps_run, steps_taken; /* taken: from those beside them */
	uint32_t context, restarts, cards;         /* as many cards of these attributes */
	bool interrupted;
	struct agent_phase *phases;
	size_t num_phases, cap_phases;
	/* Made by agent_report_sum(). */
	struct agent_cost sum[AGENT_PHASES];
	uint64_t total_ps,
		reused; /* reused: tokens that the cache had when more was computed behind them */
	uint32_t longest;
	struct agent_interval intervals[AGENT_INTERVALS];
};

struct agent_cost agent_cost_of(const struct zw_ctx_stats *s);
void agent_cost_add(struct agent_cost *sum, const struct agent_cost *c);
/* n steps between two, on the line from the one to the other. */
struct agent_cost agent_cost_between(const struct agent_cost *a, const struct agent_cost *b,
				     uint64_t n);

int agent_report_add(struct agent_report *r, const struct agent_phase *p); /* -ENOMEM */
void agent_report_sum(struct agent_report *r);
void agent_report_print(const struct agent_report *r, FILE *f);
int agent_report_write_json(const struct agent_report *r, const char *path, struct zw_error *err);
/* A line for each phase. */
int agent_report_write_csv(const struct agent_report *r, const char *path, struct zw_error *err);
void agent_report_free(struct agent_report *r);

#endif

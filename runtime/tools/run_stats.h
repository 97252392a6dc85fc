/* SPDX-License-Identifier: MIT */
/* What a run took, for people and for programs. */
#ifndef ZW_RUN_STATS_H
#define ZW_RUN_STATS_H

#include <stdio.h>

#include <zhenwu/llm.h>

/* Of a conversation. */
struct run_chat_stats {
	uint64_t answers, calls, failed_calls, bad_calls;
	uint64_t context; /* tokens in the end */
	uint64_t context_size;
	bool unanswered; /* the input ended there, as the context was full */
};

/* Of one of several cards. */
struct run_card_report {
	const struct zw_model_info *info;
	uint64_t kv_bytes, hbm_bytes; /* of its context */
	/* sim_ps is the time that it worked */
	struct zw_ctx_stats prefill, decode;
};

/* Of a run that computes nothing. */
struct run_timing_report {
	uint32_t batch, context;
	uint64_t first_token_ps;            /* of the first sequence: simulated, from the start */
	uint64_t kv_bytes;                  /* of all cards */
	uint32_t cards, groups;             /* groups of sequences that are on their way at once */
	const struct run_card_report *card; /* [cards], or NULL: one, of which all else is told */
};

struct run_report {
	const char *model_dir;
	const struct zw_dev_attrs *attrs;
	const struct zw_model_info *info;
	struct zw_generate_result *res;
	const struct run_chat_stats *chat;      /* NULL: no conversation */
	const struct run_timing_report *timing; /* NULL: something was computed */
	const char *finish;                     /* why it stopped, when res does not know */
};

/* *s, of which everything up to `before` is taken away. */
void run_stats_subtract(struct zw_ctx_stats *s, const struct zw_ctx_stats *before);
void run_report_print(const struct run_report *r, FILE *f);
int run_report_write_json(const struct run_report *r, const char *path, struct zw_error *err);

#endif

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

struct run_report {
	const char *model_dir;
	const struct zw_dev_attrs *attrs;
	const struct zw_model_info *info;
	const struct zw_generate_result *res;
	const struct run_chat_stats *chat; /* NULL: no conversation */
	const char *finish;                /* why it stopped, when res does not know */
};

void run_report_print(const struct run_report *r, FILE *f);
int run_report_write_json(const struct run_report *r, const char *path, struct zw_error *err);

#endif

/* SPDX-License-Identifier: MIT */
/* zw-run --timing: what a run would take, on a device that computes nothing. */
#ifndef ZW_RUN_TIMING_H
#define ZW_RUN_TIMING_H

#include "run.h"
#include "run_stats.h"

/* The whole run, statistics included; returns the exit status. */
int run_timing(struct run *r);

/* What one card and several are opened with: the options but for what is one's own. tokens: generated for a sequence. */
void run_timing_device(const struct run *r, struct zw_dev_options *opt);
void run_timing_model(const struct run *r, uint64_t tokens, struct zw_model_options *opt);
/* After the model is known; opens the tokenizer, where there is one, and brings drawn ids into its range. */
void run_timing_context(struct run *r, const struct zw_model_info *info, uint32_t batch,
			uint64_t tokens, struct zw_ctx_options *opt);
/* Where the text goes back to its prompt, the two have the prompt's last block apart. */
void run_timing_pool(const struct run *r, struct zw_ctx_options *opt);

/*
 * Says what a run took, to where it is wanted. tokens: generated for a sequence, put into the results with those of the
 * prompts. The exit status.
 */
int run_timing_tell(struct run *r, struct run_report *report, uint64_t tokens);
/* Of the host's clock. */
uint64_t run_timing_ns(void);

#endif

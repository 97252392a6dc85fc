/* SPDX-License-Identifier: MIT */
/* The tests of zw-bench: a prompt, or decoding, of some sequences behind some tokens. */
#ifndef ZW_BENCH_RUN_H
#define ZW_BENCH_RUN_H

#include <zhenwu/llm.h>

#include "run_trace.h"
#include "tool_sparse.h"

struct bench_test {
	uint32_t prompt; /* tokens of each sequence's prompt, or 0 */
	uint32_t gen;    /* tokens that each sequence generates, or 0 */
	uint32_t depth;  /* tokens in front of them */
	uint32_t seqs;   /* sequences */
	uint32_t batch;  /* most tokens of a step */
	uint32_t runs;
	bool warmup;
	struct tool_sparse sparse;
	bool delta_chunked; /* as of struct zw_ctx_options */
};

struct bench_sample {
	uint64_t ns;     /* wall time */
	uint64_t sim_ps; /* simulated time */
};

/*
 * With a trace, which may be NULL, each prompt and each step of decoding is a step of it.
 * Fills samples[0..runs). interrupted() is asked between steps; non-zero ends with -ECANCELED.
 */
int bench_run(struct zw_model *model, const struct bench_test *t, int (*interrupted)(void),
	      struct run_trace *trace, struct bench_sample *samples, struct zw_error *err);

#endif

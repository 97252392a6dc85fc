/* SPDX-License-Identifier: MIT */
/* What the parts of zw-run share. */
#ifndef ZW_RUN_H
#define ZW_RUN_H

#include <stdio.h>
#include <time.h>

#include <zhenwu/llm.h>
#include <zhenwu/zhenwu.h>

#include "run_args.h"
#include "run_trace.h"

struct run {
	struct run_args a;
	struct zw_generation_config *gc; /* NULL with --no-generation-config */
	struct zw_dev *dev;
	struct run_trace *trace; /* NULL without --trace */
	struct zw_model *model;
	struct zw_ctx *ctx;
	uint32_t seq;
	uint32_t session; /* tokens of it that came from a file */
	struct zw_tokenizer *tok;
	struct zw_detokenizer *detok;
	struct zw_sampler *sampler;
	struct zw_stop *stop;
	struct zw_grammar *grammar; /* NULL: any text */
	struct zw_grammar_vocab *vocab;
	struct zw_grammar_matcher *matcher;
	uint32_t *prompt, *out;
	size_t num_prompt, num_out, cap_out;
	float *logits;
	FILE *logprobs;        /* NULL: not wanted */
	struct run_chat *chat; /* NULL without --chat */
	bool out_of_memory, output_failed, stop_hit, json_done;
	struct timespec last_progress;
};

/* The error in one line; returns the exit status for it. */
int run_fail(const char *msg);
/* Progress of a prompt, for zw_generate(); opaque is the struct run. */
int run_prompt_progress(void *opaque, uint64_t done, uint64_t total);
/* Of so many calls so many are over, which took so many simulated seconds. */
void run_calls_progress(struct run *r, uint32_t done, uint32_t total, double sim_s);
/* A token was chosen: sets json_done behind the last one of a document. */
void run_accept(struct run *r, uint32_t id);

#endif

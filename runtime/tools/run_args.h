/* SPDX-License-Identifier: MIT */
/* The command line of zw-run. */
#ifndef ZW_RUN_ARGS_H
#define ZW_RUN_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent_args.h"
#include "tool_drafts.h"
#include "tool_routing.h"
#include "tool_sparse.h"

#define EXIT_USAGE 2

struct run_bias {
	uint32_t id;
	float bias;
};

/* How calls of tools are held to their schemas. */
enum run_calls {
	RUN_CALLS_AUTO, /* in the way that the template tells the model */
	RUN_CALLS_JSON,
	RUN_CALLS_XML,
	RUN_CALLS_FREE, /* not at all */
};

struct run_args {
	const char *model, *device, *profile, *prompt, *prompt_file, *prompt_ids;
	const char *logits_out, *ids_out, *stats_json, *logprobs_out, *trace;
	const char *load_session, *save_session;
	const char *json_schema; /* a schema or the name of a file with one */
	const char *shape, *weights, *record_routing, *record_drafts;
	const char *system, *tools, *transcript, *chat_template_file;
	const char **stop; /* texts that end the answer */
	size_t num_stop;
	struct run_bias *bias; /* of --logit-bias */
	size_t num_bias;
	uint64_t max_tokens, seed;
	uint32_t draft, draft_tokens; /* enum zw_draft */
	uint32_t ctx, chunk, top_k, no_repeat_ngram, min_tokens, logprobs;
	uint32_t max_calls;
	enum run_calls calls;
	float temperature, top_p, min_p, tool_timeout;
	float repetition_penalty, presence_penalty, frequency_penalty;
	uint32_t kv_dtype; /* enum zw_dtype, 0: the default */
	struct tool_sparse sparse;
	uint32_t without; /* ZW_PKT_F_NO_* */
	struct tool_routing routing;
	struct tool_drafts drafts;     /* of --timing; what --record-drafts writes */
	uint32_t prompt_tokens, batch; /* of --timing */
	uint32_t cards, micro_batches; /* of --timing; 0: as many as are needed, as the cards */
	struct agent_args agent;       /* the same */
	bool delta_chunked;
	bool has_max_tokens, has_temperature, has_top_k, has_top_p, has_min_p, has_ngram;
	bool has_min_tokens, has_logprobs;
	bool has_repetition, has_presence, has_frequency;
	bool has_calls, chat, thinking, no_thinking, single_turn;
	bool timing, has_routing, has_drafts;
	bool ignore_eos, no_generation_config, quiet, user_queues;
};

/* -1: go on; otherwise the exit status, what is to be said was said. */
int run_args_parse(struct run_args *a, int argc, char **argv);
/* Another text that ends the answer; false for an empty one and when memory is out. */
bool run_args_add_stop(struct run_args *a, const char *text);
/* An option that one card alone has, or NULL. */
const char *run_args_one_card(const struct run_args *a);
void run_args_free(struct run_args *a);

#endif

/* SPDX-License-Identifier: MIT */
/* Shared by the loops of one text, plain and with drafts, and the scheduler of many. */
#ifndef LLM_GENERATE_H
#define LLM_GENERATE_H

#include <zhenwu/llm_generate.h>

#include "ctx.h"

/* What needs to be seen of the next distribution, the least that does for the sampler, or all: ZW_WANT_*. */
uint32_t llm_want_of(const struct zw_ctx *c, const struct zw_sampler *s, bool all);
/* Its choice from that. */
int llm_choose(const struct zw_ctx *c, struct zw_sampler *s, const struct zw_output *o,
	       uint32_t *id, struct zw_error *err);

/*
 * Drafts are checked by the best tokens that the device finds; where the sampler has a mask that is not
 * idle, there are logits beside them.
 */
bool llm_can_draft(const struct zw_ctx *c, const struct zw_sampler *s, bool logprobs);
uint32_t llm_want_greedy(const struct zw_sampler *s);
/* The choice then. -EAGAIN: there is a mask at work, and there are no logits for it. */
int llm_choose_greedy(const struct zw_ctx *c, struct zw_sampler *s, const struct zw_output *o,
		      uint32_t *id, struct zw_error *err);

/*
 * Up to max tokens that followed the last time that the text, `end` ids and the last one, ended as it does;
 * their number.
 */
uint32_t llm_draft_ngram(const uint32_t *ids, uint32_t end, uint32_t last, uint32_t *draft,
			 uint32_t max);

/* zw_generate() under way. */
struct llm_run {
	struct zw_ctx *c;
	struct zw_generate_params p;
	struct zw_generate_result r;
	struct zw_output out; /* of the last token evaluated */
	uint64_t cancels;
	uint64_t ahead; /* the step in flight that feeds back what is not known yet, or 0 */
	bool ended;     /* by a callback */
	bool drafts;
	struct zw_logprob *lp; /* room for 1 + top_logprobs, or NULL */
};

/* -EINVAL when the context cannot do what is asked for. */
int llm_draft_check(const struct llm_run *g, struct zw_error *err);
/* The loop from the first choice, g->out, to the end; greedy choices only. */
int llm_draft_loop(struct llm_run *g, struct zw_error *err);

#endif

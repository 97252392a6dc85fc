/* SPDX-License-Identifier: MIT */
/* Shared by the loop of one text and the scheduler of many: from a distribution to a token. */
#ifndef LLM_GENERATE_H
#define LLM_GENERATE_H

#include "ctx.h"

/* What needs to be seen of the next distribution, the least that does for the sampler, or all: ZW_WANT_*. */
uint32_t llm_want_of(const struct zw_ctx *c, const struct zw_sampler *s, bool all);
/* Its choice from that. */
int llm_choose(const struct zw_ctx *c, struct zw_sampler *s, const struct zw_output *o,
	       uint32_t *id, struct zw_error *err);

#endif

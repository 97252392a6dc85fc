/* SPDX-License-Identifier: MIT */
/* A name for what a model computes, so that state of one model is not given to another. */
#ifndef LLM_DIGEST_H
#define LLM_DIGEST_H

#include "source.h"

/*
 * Of the configuration's numbers, and of every tensor: name, type, shape and first bytes. Another
 * training run differs in those; a checkpoint in other files or of other precision has another digest.
 * The source is open.
 */
int llm_model_digest(const struct llm_source *src, const struct llm_model_config *cfg,
		     uint64_t out[2], struct zw_error *err);
/* Makes it that of layers [first, first + num) alone. */
void llm_digest_part(uint64_t digest[2], uint32_t first, uint32_t num);

#endif

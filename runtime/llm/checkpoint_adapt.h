/* SPDX-License-Identifier: MIT */
#ifndef ZW_LLM_CHECKPOINT_ADAPT_H
#define ZW_LLM_CHECKPOINT_ADAPT_H

#include <zhenwu/llm.h>

/*
 * Makes a checkpoint and its configuration agree where files are known to differ from what their
 * configuration says and transformers loads them all the same: tensor names without "model.", and
 * a tied model with a head of its own, which is then not tied.
 */
int llm_checkpoint_adapt(struct zw_safetensors *st, struct zw_model_config *cfg,
			 struct zw_error *err);

#endif

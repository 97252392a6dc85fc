/* SPDX-License-Identifier: MIT */
/* Groups of keys of config.json that several families read. */
#ifndef LLM_CONFIG_LAYERS_H
#define LLM_CONFIG_LAYERS_H

#include "config.h"

/* How many experts, how many of them for a token, and their size; norm_topk_prob is the family's. */
int llm_config_experts(const char *path, const cJSON *json, struct llm_model_config *cfg,
		       struct zw_error *err);
/* The size of an expert that every token goes through, which must be there. */
int llm_config_shared_expert(const char *path, const cJSON *json, struct llm_model_config *cfg,
			     struct zw_error *err);
/* Which layers have no experts: those that are listed, and all but every decoder_sparse_step-th. */
int llm_config_dense_layers(const char *path, const cJSON *json, struct llm_model_config *cfg,
			    struct zw_error *err);
/*
 * Of Gated DeltaNet and gated attention: which layer is what (layer_types, or full_attention_interval), heads
 * and sizes of both, a rotary part of 0.25 unless the file says another.
 */
int llm_config_hybrid(const char *path, const cJSON *json, struct llm_model_config *cfg,
		      struct zw_error *err);

#endif

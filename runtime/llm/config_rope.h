/* SPDX-License-Identifier: MIT */
/* What config.json says of rotary position embedding. */
#ifndef LLM_CONFIG_ROPE_H
#define LLM_CONFIG_ROPE_H

#include "config.h"

/* rope_scaling or rope_parameters of the type "yarn", its defaults filled in. */
struct llm_yarn {
	double factor; /* 0: there is none */
	double original;
	double beta_fast, beta_slow;
	double attention_factor;
	uint32_t truncate;
};

/*
 * Fills cfg->rope, and puts what YaRN makes of it in the place of cfg->max_position; that and
 * head_dim are there already, and cfg->rope.partial as the family has it. Other scalings are refused by name.
 */
int llm_config_rope(const char *path, const cJSON *json, struct llm_model_config *cfg,
		    struct zw_error *err);

/* The keys of `obj`, which is the member `holder` of the file. */
int llm_config_yarn(const char *path, const cJSON *obj, const char *holder,
		    const struct llm_model_config *cfg, struct llm_yarn *y, struct zw_error *err);
/* What they mean for frequencies of this base; cfg->rope.theta is set. */
int llm_config_yarn_apply(const char *path, const struct llm_yarn *y, struct llm_model_config *cfg,
			  struct zw_error *err);

#endif

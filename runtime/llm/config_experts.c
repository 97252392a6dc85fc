// SPDX-License-Identifier: MIT
/* Experts in config.json, with the keys of transformers' MoE models. */
#include "config_layers.h"

#include <errno.h>

#include "config_value.h"
#include "token_list.h"

/* What the packets take: uapi/zhenwu/zw_cmd.h. */
#define EXPERTS_MAX     65536
#define PER_TOKEN_MAX   1024
#define EXPERT_SIZE_MAX (1u << 20)

/* Newer versions of transformers write the number under another name. */
static int parse_num_experts(const char *path, const cJSON *json, struct llm_model_config *cfg,
			     struct zw_error *err)
{
	uint32_t local = 0;
	int ret = llm_config_uint(path, json, "num_local_experts", 1, EXPERTS_MAX, 0, &local, err);

	if (!ret)
		ret = llm_config_uint(path, json, "num_experts", 1, EXPERTS_MAX,
				      local ? (int64_t)local : -1, &cfg->num_experts, err);
	if (!ret && local && local != cfg->num_experts)
		ret = llm_fail(err, -EBADMSG, "%s: num_experts is %u, num_local_experts %u", path,
			       cfg->num_experts, local);
	return ret;
}

int llm_config_experts(const char *path, const cJSON *json, struct llm_model_config *cfg,
		       struct zw_error *err)
{
	int ret = parse_num_experts(path, json, cfg, err);

	if (!ret)
		ret = llm_config_uint(path, json, "num_experts_per_tok", 1, PER_TOKEN_MAX, -1,
				      &cfg->experts_per_token, err);
	if (!ret && cfg->experts_per_token > cfg->num_experts)
		ret = llm_fail(err, -EBADMSG, "%s: num_experts_per_tok %u is more than all %u",
			       path, cfg->experts_per_token, cfg->num_experts);
	if (!ret)
		ret = llm_config_uint(path, json, "moe_intermediate_size", 1, EXPERT_SIZE_MAX, -1,
				      &cfg->expert_size, err);
	return ret;
}

int llm_config_shared_expert(const char *path, const cJSON *json, struct llm_model_config *cfg,
			     struct zw_error *err)
{
	return llm_config_uint(path, json, "shared_expert_intermediate_size", 1, EXPERT_SIZE_MAX,
			       -1, &cfg->shared_expert_size, err);
}

int llm_config_dense_layers(const char *path, const cJSON *json, struct llm_model_config *cfg,
			    struct zw_error *err)
{
	struct zw_token_list dense = {0};
	uint32_t step = 1;
	int ret = llm_config_uint(path, json, "decoder_sparse_step", 1, LLM_LAYERS_MAX, 1, &step,
				  err);

	if (!ret)
		ret = llm_config_ids(path, json, "mlp_only_layers", &dense, err);
	for (size_t i = 0; i < dense.n && !ret; i++) {
		if (dense.ids[i] < cfg->num_layers)
			cfg->dense_layers[dense.ids[i] / 8] |= (uint8_t)(1 << dense.ids[i] % 8);
	}
	for (uint32_t n = 0; n < cfg->num_layers; n++) {
		if ((n + 1) % step)
			cfg->dense_layers[n / 8] |= (uint8_t)(1 << n % 8);
	}
	token_list_free(&dense);
	return ret;
}

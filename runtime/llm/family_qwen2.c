// SPDX-License-Identifier: MIT
/* Qwen2 and 2.5 dense: as Qwen3, but q, k and v have biases, o has none, and no head is normalised. */
#include "family_rows.h"

#include <errno.h>

#include "config_value.h"
#include "layers.h"

static int parse_head_dim(const char *path, const cJSON *json, struct llm_model_config *cfg,
			  struct zw_error *err)
{
	uint32_t split = cfg->hidden_size / cfg->num_heads;
	/* The class has no such key; files that have it all the same are read that way. */
	int ret = llm_config_uint(path, json, "head_dim", 2, LLM_HEAD_DIM_MAX, 0, &cfg->head_dim,
				  err);

	if (ret || cfg->head_dim)
		return ret;
	if (cfg->hidden_size % cfg->num_heads)
		return llm_fail(err, -EBADMSG,
				"%s: hidden_size %u is no multiple of num_attention_heads %u", path,
				cfg->hidden_size, cfg->num_heads);
	if (split < 2 || split > LLM_HEAD_DIM_MAX)
		return llm_fail(err, -EBADMSG,
				"%s: hidden_size %u / num_attention_heads %u is not from 2 to %u",
				path, cfg->hidden_size, cfg->num_heads, LLM_HEAD_DIM_MAX);
	cfg->head_dim = split;
	return 0;
}

static int qwen2_parse(const char *path, const cJSON *json, struct llm_model_config *cfg,
		       struct zw_error *err)
{
	uint32_t bias;
	int ret = parse_head_dim(path, json, cfg, err);

	/* No key of this family either: what it says of others must not contradict what is so. */
	if (!ret)
		ret = llm_config_bool(path, json, "attention_bias", true, &bias, err);
	if (!ret && !bias)
		ret = llm_fail(err, -EBADMSG,
			       "%s: attention_bias false: q, k and v of a qwen2 have biases", path);
	/* With use_sliding_window false, sliding_window and max_window_layers mean nothing. */
	if (!ret)
		ret = llm_config_require_false(path, json, "use_sliding_window", err);
	if (!ret)
		ret = llm_config_require_false(path, json, "use_mrope", err);
	if (!ret)
		ret = llm_config_layer_types(path, json, cfg, "full_attention", err);
	return ret;
}

/* clang-format off */
static const struct llm_tensor_row tensors[] = {
	MODEL_ROWS,
	{"input_layernorm.weight",          L(norm1),    VEC(HIDDEN)},
	{"self_attn.q_proj.weight",         LINEAR(qkv), MAT(Q, HIDDEN)},
	{"self_attn.k_proj.weight",         LINEAR(qkv), MAT(KV, HIDDEN)},
	{"self_attn.v_proj.weight",         LINEAR(qkv), MAT(KV, HIDDEN)},
	{"self_attn.q_proj.bias",           L(qkv_bias), VEC(Q)},
	{"self_attn.k_proj.bias",           L(qkv_bias), VEC(KV)},
	{"self_attn.v_proj.bias",           L(qkv_bias), VEC(KV)},
	{"self_attn.o_proj.weight",         LINEAR(o),   MAT(HIDDEN, Q)},
	SWIGLU_ROWS(LINEAR),
};
/* clang-format on */

const struct llm_family llm_family_qwen2 = {
	.model_type = "qwen2",
	.architecture = "Qwen2ForCausalLM",
	.parse = qwen2_parse,
	.dual_chunk = true,
	.layer_prefix = "model.layers.%u.",
	.tensors = tensors,
	.num_tensors = ZW_ARRAY_SIZE(tensors),
	.needs = llm_dense_needs,
	.build = llm_dense_build,
};

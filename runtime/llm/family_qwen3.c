// SPDX-License-Identifier: MIT
/* Qwen3 dense: GQA with per-head QK-norm, SwiGLU, RMSNorm, half-split RoPE over the whole head. */
#include "family_rows.h"

#include "config_value.h"
#include "layers.h"

static int qwen3_parse(const char *path, const cJSON *json, struct llm_model_config *cfg,
		       struct zw_error *err)
{
	int ret;

	/* The class default is 128, never hidden_size / num_attention_heads. */
	ret = llm_config_uint(path, json, "head_dim", 2, LLM_HEAD_DIM_MAX, 128, &cfg->head_dim,
			      err);
	if (!ret)
		ret = llm_config_bool(path, json, "attention_bias", false, &cfg->attention_bias,
				      err);
	/* With use_sliding_window false, sliding_window and max_window_layers mean nothing. */
	if (!ret)
		ret = llm_config_require_false(path, json, "use_sliding_window", err);
	if (!ret)
		ret = llm_config_layer_types(path, json, cfg, "full_attention", err);
	return ret;
}

static bool has_bias(const struct llm_model_config *cfg)
{
	return cfg->attention_bias;
}

/* clang-format off */
static const struct llm_tensor_row tensors[] = {
	{"model.embed_tokens.weight",       T(embed),    MAT(VOCAB, HIDDEN)},
	{"model.norm.weight",               T(norm),     VEC(HIDDEN)},
	{"lm_head.weight",                  HEAD(head),  MAT(VOCAB, HIDDEN)},
	{"input_layernorm.weight",          L(norm1),    VEC(HIDDEN)},
	{"self_attn.q_proj.weight",         L(qkv),      MAT(Q, HIDDEN)},
	{"self_attn.k_proj.weight",         L(qkv),      MAT(KV, HIDDEN)},
	{"self_attn.v_proj.weight",         L(qkv),      MAT(KV, HIDDEN)},
	{"self_attn.q_proj.bias",           L(qkv_bias), VEC(Q), has_bias},
	{"self_attn.k_proj.bias",           L(qkv_bias), VEC(KV), has_bias},
	{"self_attn.v_proj.bias",           L(qkv_bias), VEC(KV), has_bias},
	{"self_attn.q_norm.weight",         L(q_norm),   VEC(HEAD)},
	{"self_attn.k_norm.weight",         L(k_norm),   VEC(HEAD)},
	{"self_attn.o_proj.weight",         L(o),        MAT(HIDDEN, Q)},
	{"self_attn.o_proj.bias",           L(o_bias),   VEC(HIDDEN), has_bias},
	{"post_attention_layernorm.weight", L(norm2),    VEC(HIDDEN)},
	{"mlp.gate_proj.weight",            L(gate_up),  MAT(INTER, HIDDEN)},
	{"mlp.up_proj.weight",              L(gate_up),  MAT(INTER, HIDDEN)},
	{"mlp.down_proj.weight",            L(down),     MAT(HIDDEN, INTER)},
};
/* clang-format on */

const struct llm_family llm_family_qwen3 = {
	.model_type = "qwen3",
	.architecture = "Qwen3ForCausalLM",
	.parse = qwen3_parse,
	.layer_prefix = "model.layers.%u.",
	.tensors = tensors,
	.num_tensors = ZW_ARRAY_SIZE(tensors),
	.needs = llm_dense_needs,
	.build = llm_dense_build,
};

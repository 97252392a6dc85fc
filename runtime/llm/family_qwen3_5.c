// SPDX-License-Identifier: MIT
/*
 * Qwen3.5, the text's tower of it: as Qwen3-Next, but the projections of Gated DeltaNet are apart, and the
 * feed-forward is a SwiGLU (qwen3_5) or experts (qwen3_5_moe). A file has the tower alone (..._text) or, in its
 * text_config, beside one for images.
 */
#include "family_rows.h"

#include <errno.h>
#include <string.h>

#include "config_layers.h"
#include "config_value.h"
#include "layers.h"

static int check_state_type(const char *path, const cJSON *json, struct zw_error *err)
{
	const cJSON *type;
	int ret = llm_json_member(path, json, "mamba_ssm_dtype", &type, err);

	if (!ret && type && (!cJSON_IsString(type) || strcmp(type->valuestring, "float32")))
		ret = llm_fail(err, -EOPNOTSUPP, "%s: mamba_ssm_dtype \"%s\" is not supported yet",
			       path, cJSON_IsString(type) ? type->valuestring : "?");
	return ret;
}

static int qwen3_5_parse(const char *path, const cJSON *json, struct llm_model_config *cfg,
			 struct zw_error *err)
{
	uint32_t gate;
	int ret = llm_config_hybrid(path, json, cfg, err);

	cfg->rope.sections = 1;
	if (!ret)
		ret = llm_config_bool(path, json, "attn_output_gate", true, &gate, err);
	if (!ret && !gate)
		ret = llm_fail(err, -EOPNOTSUPP, "%s: attn_output_gate false is not supported yet",
			       path);
	return ret ? ret : check_state_type(path, json, err);
}

static int qwen3_5_moe_parse(const char *path, const cJSON *json, struct llm_model_config *cfg,
			     struct zw_error *err)
{
	/* Keys of relatives that this class does not have. */
	static const struct llm_config_neutral none[] = {
		{"decoder_sparse_step", LLM_NEUTRAL_NUMBER, 1},
		{"mlp_only_layers", LLM_NEUTRAL_EMPTY, 0},
	};
	int ret = qwen3_5_parse(path, json, cfg, err);

	if (!ret)
		ret = llm_config_require_neutral(path, json, none, ZW_ARRAY_SIZE(none), err);
	if (!ret)
		ret = llm_config_experts(path, json, cfg, err);
	if (!ret)
		ret = llm_config_shared_expert(path, json, cfg, err);
	if (!ret)
		ret = llm_config_bool(path, json, "norm_topk_prob", true, &cfg->norm_topk_prob,
				      err);
	if (!ret && !cfg->norm_topk_prob)
		ret = llm_fail(err, -EBADMSG,
			       "%s: norm_topk_prob false: the weights of a %s add up to 1", path,
			       cfg->model_type);
	return ret;
}

/* clang-format off */
#define LAYER_ROWS \
	HYBRID_ATTENTION_ROWS, \
	{"linear_attn.in_proj_qkv.weight", RECURRENT_LINEAR(delta_qkvz), MAT(CONV, HIDDEN)}, \
	{"linear_attn.in_proj_z.weight", RECURRENT_LINEAR(delta_qkvz), MAT(VALUES, HIDDEN)}, \
	{"linear_attn.in_proj_b.weight", RECURRENT_LINEAR(delta_ba), MAT(VALUE_HEADS, HIDDEN)}, \
	{"linear_attn.in_proj_a.weight", RECURRENT_LINEAR(delta_ba), MAT(VALUE_HEADS, HIDDEN)}, \
	DELTA_ROWS, \
	MTP_ROWS
#define DENSE_ROWS \
	LAYER_ROWS, \
	HYBRID_SWIGLU_ROWS(LINEAR)
/* The experts in one tensor, as published, or one by one, as in the MTP head and in what transformers saves. */
#define MOE_ROWS \
	LAYER_ROWS, \
	{"post_attention_layernorm.weight", L(norm2), VEC(HIDDEN), PLUS_1}, \
	SHARED_EXPERT_ROWS, \
	{"mlp.experts.%u.gate_proj.weight", EXPERT(experts_gate_up), MAT(EXPERT, HIDDEN)}, \
	{"mlp.experts.%u.up_proj.weight", EXPERT(experts_gate_up), MAT(EXPERT, HIDDEN)}, \
	{"mlp.experts.gate_up_proj", FUSED(experts_gate_up), CUBE(EXPERTS, 2_EXPERT, HIDDEN)}, \
	{"mlp.experts.%u.down_proj.weight", EXPERT(experts_down), MAT(HIDDEN, EXPERT)}, \
	{"mlp.experts.down_proj", FUSED(experts_down), CUBE(EXPERTS, HIDDEN, EXPERT)}

static const struct llm_tensor_row dense[] = {
	HYBRID_MODEL_ROWS("model.language_model."), DENSE_ROWS,
};
static const struct llm_tensor_row dense_text[] = {
	HYBRID_MODEL_ROWS("model."), DENSE_ROWS,
};
static const struct llm_tensor_row moe[] = {
	HYBRID_MODEL_ROWS("model.language_model."), MOE_ROWS,
};
static const struct llm_tensor_row moe_text[] = {
	HYBRID_MODEL_ROWS("model."), MOE_ROWS,
};
/* clang-format on */

/* CONV, DELTA, GATED_NORM, MUL_SIGMOID, ROUTE, GEMM_EXPERTS came with ABI 2.1. */
#define COMMON(rows)                                                                               \
	.abi_minor = 1, .mtp_prefix = "mtp.", .tensors = rows, .num_tensors = ZW_ARRAY_SIZE(rows), \
	.needs = llm_hybrid_needs, .build = llm_hybrid_build, .build_mtp = llm_hybrid_mtp
#define NESTED .layer_prefix = "model.language_model.layers.%u.", .ignored_prefix = "model.visual."

const struct llm_family llm_family_qwen3_5 = {
	.model_type = "qwen3_5",
	.text_type = "qwen3_5_text",
	.architecture = "Qwen3_5ForConditionalGeneration",
	.parse = qwen3_5_parse,
	NESTED,
	COMMON(dense),
};

const struct llm_family llm_family_qwen3_5_text = {
	.model_type = "qwen3_5_text",
	.architecture = "Qwen3_5ForCausalLM",
	.parse = qwen3_5_parse,
	.layer_prefix = "model.layers.%u.",
	COMMON(dense_text),
};

const struct llm_family llm_family_qwen3_5_moe = {
	.model_type = "qwen3_5_moe",
	.text_type = "qwen3_5_moe_text",
	.architecture = "Qwen3_5MoeForConditionalGeneration",
	.parse = qwen3_5_moe_parse,
	.all_experts = true,
	NESTED,
	COMMON(moe),
};

const struct llm_family llm_family_qwen3_5_moe_text = {
	.model_type = "qwen3_5_moe_text",
	.architecture = "Qwen3_5MoeForCausalLM",
	.parse = qwen3_5_moe_parse,
	.all_experts = true,
	.layer_prefix = "model.layers.%u.",
	COMMON(moe_text),
};

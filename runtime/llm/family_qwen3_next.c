// SPDX-License-Identifier: MIT
/*
 * Qwen3-Next: Gated DeltaNet and, every fourth layer, attention with an output gate; experts, one of which
 * all tokens go through; norms that multiply with 1 + w, but for the one inside of Gated DeltaNet.
 */
#include "family_rows.h"

#include "config_layers.h"
#include "config_value.h"
#include "layers.h"

static int qwen3_next_parse(const char *path, const cJSON *json, struct llm_model_config *cfg,
			    struct zw_error *err)
{
	int ret = llm_config_hybrid(path, json, cfg, err);

	if (!ret)
		ret = llm_config_experts(path, json, cfg, err);
	if (!ret)
		ret = llm_config_bool(path, json, "norm_topk_prob", true, &cfg->norm_topk_prob,
				      err);
	if (!ret)
		ret = llm_config_shared_expert(path, json, cfg, err);
	if (!ret)
		ret = llm_config_dense_layers(path, json, cfg, err);
	return ret;
}

/* ---- parts of the projections, which are grouped by key head ---- */

/* Of each group of `step` rows, `run` from `first` on. */
static void of_groups(const struct llm_model_config *c, struct llm_take *t, uint32_t first,
		      uint32_t run, uint32_t step)
{
	t->first = first;
	t->run = run;
	t->step = step;
	t->count = c->key_heads;
}

/* Per key head: a query, a key, its values, their gates. */
static void qkvz_part(const struct llm_model_config *c, struct llm_take *t, uint32_t first,
		      uint32_t run)
{
	uint32_t values = c->value_heads / c->key_heads * c->value_dim;

	of_groups(c, t, first, run, 2 * c->key_dim + 2 * values);
}

static void qkvz_q(const struct llm_model_config *c, struct llm_take *t)
{
	qkvz_part(c, t, 0, c->key_dim);
}

static void qkvz_k(const struct llm_model_config *c, struct llm_take *t)
{
	qkvz_part(c, t, c->key_dim, c->key_dim);
}

static void qkvz_v(const struct llm_model_config *c, struct llm_take *t)
{
	qkvz_part(c, t, 2 * c->key_dim, c->value_heads / c->key_heads * c->value_dim);
}

static void qkvz_z(const struct llm_model_config *c, struct llm_take *t)
{
	uint32_t values = c->value_heads / c->key_heads * c->value_dim;

	qkvz_part(c, t, 2 * c->key_dim + values, values);
}

/* Per key head: b of its values, a of its values. */
static void ba_b(const struct llm_model_config *c, struct llm_take *t)
{
	uint32_t r = c->value_heads / c->key_heads;

	of_groups(c, t, 0, r, 2 * r);
}

static void ba_a(const struct llm_model_config *c, struct llm_take *t)
{
	uint32_t r = c->value_heads / c->key_heads;

	of_groups(c, t, r, r, 2 * r);
}

static bool is_fused(const struct llm_model_config *c)
{
	return !c->split_projections;
}

static bool is_split(const struct llm_model_config *c)
{
	return c->split_projections;
}

/* The end of a row that is part of the one tensor. */
#define PART_OF_ONE(fn) is_fused, 0, fn

/* clang-format off */
static const struct llm_tensor_row tensors[] = {
	HYBRID_MODEL_ROWS("model."),
	HYBRID_ATTENTION_ROWS,
	{"linear_attn.in_proj_qkvz.weight", RECURRENT_LINEAR(delta_qkvz), MAT(QKVZ, HIDDEN), PART_OF_ONE(qkvz_q)},
	{"linear_attn.in_proj_qkvz.weight", RECURRENT_LINEAR(delta_qkvz), MAT(QKVZ, HIDDEN), PART_OF_ONE(qkvz_k)},
	{"linear_attn.in_proj_qkvz.weight", RECURRENT_LINEAR(delta_qkvz), MAT(QKVZ, HIDDEN), PART_OF_ONE(qkvz_v)},
	{"linear_attn.in_proj_qkvz.weight", RECURRENT_LINEAR(delta_qkvz), MAT(QKVZ, HIDDEN), PART_OF_ONE(qkvz_z)},
	{"linear_attn.in_proj_qkv.weight",  RECURRENT_LINEAR(delta_qkvz), MAT(CONV, HIDDEN), is_split},
	{"linear_attn.in_proj_z.weight",    RECURRENT_LINEAR(delta_qkvz), MAT(VALUES, HIDDEN), is_split},
	{"linear_attn.in_proj_ba.weight",   RECURRENT_LINEAR(delta_ba), MAT(2_VALUE_HEADS, HIDDEN), PART(ba_b)},
	{"linear_attn.in_proj_ba.weight",   RECURRENT_LINEAR(delta_ba), MAT(2_VALUE_HEADS, HIDDEN), PART(ba_a)},
	DELTA_ROWS,
	HYBRID_SWIGLU_ROWS(DENSE),
	SHARED_EXPERT_ROWS,
	EXPERT_ROWS,
	MTP_ROWS,
};
/* clang-format on */

const struct llm_family llm_family_qwen3_next = {
	.model_type = "qwen3_next",
	.architecture = "Qwen3NextForCausalLM",
	.parse = qwen3_next_parse,
	.abi_minor = 1, /* CONV, DELTA, GATED_NORM, MUL_SIGMOID, ROUTE, GEMM_EXPERTS */
	.layer_prefix = "model.layers.%u.",
	.mtp_prefix = "mtp.",
	.tensors = tensors,
	.num_tensors = ZW_ARRAY_SIZE(tensors),
	.needs = llm_hybrid_needs,
	.build = llm_hybrid_build,
	.build_mtp = llm_hybrid_mtp,
};

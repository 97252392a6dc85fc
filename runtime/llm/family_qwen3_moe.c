// SPDX-License-Identifier: MIT
/*
 * Qwen3-MoE: as Qwen3, but in place of the SwiGLU a router and experts, of which each token goes through
 * a few. Single layers may have a SwiGLU all the same.
 */
#include "family_rows.h"

#include "config_layers.h"
#include "config_value.h"
#include "layers.h"

static int qwen3_moe_parse(const char *path, const cJSON *json, struct llm_model_config *cfg,
			   struct zw_error *err)
{
	/* Never hidden_size / num_attention_heads, and of no default: the files say it. */
	int ret = llm_config_uint(path, json, "head_dim", 2, LLM_HEAD_DIM_MAX, -1, &cfg->head_dim,
				  err);

	if (!ret)
		ret = llm_config_bool(path, json, "attention_bias", false, &cfg->attention_bias,
				      err);
	if (!ret)
		ret = llm_config_require_false(path, json, "use_sliding_window", err);
	if (!ret)
		ret = llm_config_layer_types(path, json, cfg, "full_attention", err);
	if (!ret)
		ret = llm_config_experts(path, json, cfg, err);
	/* The class says false; every published file says true. */
	if (!ret)
		ret = llm_config_bool(path, json, "norm_topk_prob", false, &cfg->norm_topk_prob,
				      err);
	if (!ret)
		ret = llm_config_dense_layers(path, json, cfg, err);
	return ret;
}

/* clang-format off */
static const struct llm_tensor_row tensors[] = {
	MODEL_ROWS,
	QWEN3_ATTENTION_ROWS,
	SWIGLU_ROWS(DENSE),
	{"mlp.gate.weight", SPARSE(router), MAT(EXPERTS, HIDDEN)},
	EXPERT_ROWS,
};
/* clang-format on */

enum {
	X_ATTENTION,
	QKV,
	X,
	GATE_UP,
	LOGITS,
	WEIGHTS,
	IDS,
	EXPERTS_GATE_UP,
	EXPERTS_ACT,
	NUM_SCRATCH
};

static void qwen3_moe_needs(const struct llm_model_config *c, struct llm_needs *n)
{
	uint32_t k = c->experts_per_token;

	llm_attention_needs(c, n);
	/*
	 * Who is chosen is a step function of the residual stream. Of what BF16 storage adds to it, the
	 * normed input of the attention has the largest part by far: it stays F32.
	 */
	n->scratch[X_ATTENTION].dtype = ZW_DTYPE_F32;
	n->scratch[X].dtype = ZW_DTYPE_BF16;
	n->scratch[X].cols = c->hidden_size;
	n->scratch[GATE_UP].dtype = ZW_DTYPE_BF16;
	n->scratch[GATE_UP].cols = 1;
	for (uint32_t i = 0; i < c->num_layers; i++) {
		if (!llm_layer_has_experts(c, i))
			n->scratch[GATE_UP].cols = 2 * c->intermediate_size;
	}
	n->scratch[LOGITS].dtype = ZW_DTYPE_F32;
	n->scratch[LOGITS].cols = c->num_experts;
	n->scratch[WEIGHTS].dtype = ZW_DTYPE_F32;
	n->scratch[WEIGHTS].cols = k;
	/* Of each layer: so that after a step it can be told who was chosen. */
	n->scratch[IDS].dtype = ZW_DTYPE_I32;
	n->scratch[IDS].cols = c->num_layers * k;
	n->scratch[EXPERTS_GATE_UP].dtype = ZW_DTYPE_BF16;
	n->scratch[EXPERTS_GATE_UP].cols = k * 2 * c->expert_size;
	n->scratch[EXPERTS_ACT].dtype = ZW_DTYPE_BF16;
	n->scratch[EXPERTS_ACT].cols = k * c->expert_size;
	n->num_scratch = NUM_SCRATCH;
	n->experts_scratch = IDS;
}

static void qwen3_moe_build(const struct llm_build *b)
{
	uint32_t k = b->cfg->experts_per_token;
	struct llm_experts_scratch s = {
		.x = b->scratch[X],
		.logits = b->scratch[LOGITS],
		.weights = b->scratch[WEIGHTS],
		.gate_up = b->scratch[EXPERTS_GATE_UP],
		.act = b->scratch[EXPERTS_ACT],
	};

	llm_build_input(b);
	for (uint32_t n = 0; n < b->cfg->num_layers; n++) {
		const struct llm_layer_weights *w = &b->w->layers[n];

		llm_tag(b, ZW_LLM_PART_MIXER, (int)n);
		llm_build_attention(b, w, n, &b->scratch[X_ATTENTION], &b->scratch[QKV]);
		llm_tag(b, ZW_LLM_PART_FEED_FORWARD, (int)n);
		if (llm_layer_has_experts(b->cfg, n)) {
			s.ids = zw_tensor_slice(b->scratch[IDS], 1, n * k, k);
			llm_build_experts(b, w, &s);
		} else {
			llm_build_swiglu(b, w, &b->scratch[X], &b->scratch[GATE_UP]);
		}
	}
}

const struct llm_family llm_family_qwen3_moe = {
	.model_type = "qwen3_moe",
	.architecture = "Qwen3MoeForCausalLM",
	.parse = qwen3_moe_parse,
	.dual_chunk = true,
	.abi_minor = 1, /* ROUTE, GEMM_EXPERTS */
	.layer_prefix = "model.layers.%u.",
	.tensors = tensors,
	.num_tensors = ZW_ARRAY_SIZE(tensors),
	.needs = qwen3_moe_needs,
	.build = qwen3_moe_build,
};

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

/* clang-format off */
static const struct llm_tensor_row tensors[] = {
	MODEL_ROWS,
	QWEN3_ATTENTION_ROWS,
	SWIGLU_ROWS(LINEAR),
};
/* clang-format on */

const struct llm_family llm_family_qwen3 = {
	.model_type = "qwen3",
	.architecture = "Qwen3ForCausalLM",
	.parse = qwen3_parse,
	.dual_chunk = true,
	.layer_prefix = "model.layers.%u.",
	.tensors = tensors,
	.num_tensors = ZW_ARRAY_SIZE(tensors),
	.needs = llm_dense_needs,
	.build = llm_dense_build,
};

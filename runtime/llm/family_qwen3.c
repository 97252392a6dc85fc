// SPDX-License-Identifier: MIT
/* Qwen3 dense: GQA with per-head QK-norm, SwiGLU, RMSNorm, half-split RoPE over the whole head. */
#include "family.h"

#include <errno.h>
#include <stdio.h>

static int qwen3_parse(const char *path, const cJSON *json, struct zw_model_config *cfg,
		       struct zw_error *err)
{
	int ret;

	/* The class default is 128, never hidden_size / num_attention_heads. */
	ret = zw_config_uint(path, json, "head_dim", 2, 512, 128, &cfg->head_dim, err);
	if (!ret)
		ret = zw_config_bool(path, json, "attention_bias", false, &cfg->attention_bias,
				     err);
	/* With use_sliding_window false, sliding_window and max_window_layers mean nothing. */
	if (!ret)
		ret = zw_config_require_false(path, json, "use_sliding_window", err);
	if (!ret)
		ret = zw_config_layer_types(path, json, cfg, "full_attention", err);
	return ret;
}

static int qwen3_tensors(const struct zw_model_config *cfg, struct zw_want_list *l)
{
	uint64_t h = cfg->hidden_size, i = cfg->intermediate_size, v = cfg->vocab_size;
	uint64_t d = cfg->head_dim, q = cfg->num_heads * d, kv = cfg->num_kv_heads * d;
	bool no_bias = !cfg->attention_bias;
	int ret = 0;

	ret |= zw_want_add(l, false, 2, v, h, "model.embed_tokens.weight");
	ret |= zw_want_add(l, false, 1, h, 0, "model.norm.weight");
	/* Published tied checkpoints may carry a copy of the embedding under this name; unused. */
	ret |= zw_want_add(l, cfg->tie_word_embeddings, 2, v, h, "lm_head.weight");
	for (uint32_t n = 0; n < cfg->num_layers && !ret; n++) {
#define L(ndim, d0, d1, name) zw_want_add(l, false, ndim, d0, d1, "model.layers.%u." name, n)
		ret |= L(1, h, 0, "input_layernorm.weight");
		ret |= L(2, q, h, "self_attn.q_proj.weight");
		ret |= L(2, kv, h, "self_attn.k_proj.weight");
		ret |= L(2, kv, h, "self_attn.v_proj.weight");
		ret |= L(2, h, q, "self_attn.o_proj.weight");
		if (!no_bias) {
			ret |= L(1, q, 0, "self_attn.q_proj.bias");
			ret |= L(1, kv, 0, "self_attn.k_proj.bias");
			ret |= L(1, kv, 0, "self_attn.v_proj.bias");
			ret |= L(1, h, 0, "self_attn.o_proj.bias");
		}
		ret |= L(1, d, 0, "self_attn.q_norm.weight");
		ret |= L(1, d, 0, "self_attn.k_norm.weight");
		ret |= L(1, h, 0, "post_attention_layernorm.weight");
		ret |= L(2, i, h, "mlp.gate_proj.weight");
		ret |= L(2, i, h, "mlp.up_proj.weight");
		ret |= L(2, h, i, "mlp.down_proj.weight");
#undef L
	}
	return ret ? -ENOMEM : 0;
}

/* One group: the named tensors of layer n, stacked. */
static int group(struct zw_plan *p, struct zw_tensor *dst, uint32_t n, const char *a, const char *b,
		 const char *c, struct zw_error *err)
{
	const char *const parts[] = {a, b, c};
	const char *names[3];
	char text[3][96];
	size_t count = 0;

	for (size_t i = 0; i < 3 && parts[i]; i++) {
		snprintf(text[i], sizeof(text[i]), "model.layers.%u.%s", n, parts[i]);
		names[count++] = text[i];
	}
	return zw_plan_add(p, dst, names, count, err);
}

static int qwen3_plan(const struct zw_model_config *cfg, struct zw_plan *p, struct zw_weights *w,
		      struct zw_error *err)
{
	static const char *const embed = "model.embed_tokens.weight";
	static const char *const norm = "model.norm.weight";
	static const char *const head = "lm_head.weight";
	int ret;

	ret = zw_plan_add(p, &w->embed, &embed, 1, err);
	for (uint32_t n = 0; n < cfg->num_layers && !ret; n++) {
		struct zw_layer_weights *l = &w->layers[n];
		/* { destination, up to three tensors, only with attention_bias } */
		const struct {
			struct zw_tensor *dst;
			const char *a, *b, *c;
			bool bias;
		} groups[] = {
			{&l->norm1, "input_layernorm.weight"},
			{&l->qkv, "self_attn.q_proj.weight", "self_attn.k_proj.weight",
			 "self_attn.v_proj.weight"},
			{&l->qkv_bias, "self_attn.q_proj.bias", "self_attn.k_proj.bias",
			 "self_attn.v_proj.bias", true},
			{&l->q_norm, "self_attn.q_norm.weight"},
			{&l->k_norm, "self_attn.k_norm.weight"},
			{&l->o, "self_attn.o_proj.weight"},
			{&l->o_bias, "self_attn.o_proj.bias", NULL, NULL, true},
			{&l->norm2, "post_attention_layernorm.weight"},
			{&l->gate_up, "mlp.gate_proj.weight", "mlp.up_proj.weight"},
			{&l->down, "mlp.down_proj.weight"},
		};

		for (size_t i = 0; i < ZW_ARRAY_SIZE(groups) && !ret; i++) {
			if (!groups[i].bias || cfg->attention_bias)
				ret = group(p, groups[i].dst, n, groups[i].a, groups[i].b,
					    groups[i].c, err);
		}
	}
	if (!ret)
		ret = zw_plan_add(p, &w->norm, &norm, 1, err);
	if (!ret && !cfg->tie_word_embeddings)
		ret = zw_plan_add(p, &w->head, &head, 1, err);
	return ret;
}

static void qwen3_build(const struct zw_build *b)
{
	zw_cmd_embed(b->cmd, &b->ids, &b->w->embed, &b->h, b->rows_va, 0);
	for (uint32_t n = 0; n < b->cfg->num_layers; n++) {
		zw_build_attention(b, &b->w->layers[n], n);
		zw_build_swiglu(b, &b->w->layers[n]);
	}
}

const struct zw_family zw_family_qwen3 = {
	.model_type = "qwen3",
	.architecture = "Qwen3ForCausalLM",
	.parse = qwen3_parse,
	.tensors = qwen3_tensors,
	.plan = qwen3_plan,
	.build = qwen3_build,
};

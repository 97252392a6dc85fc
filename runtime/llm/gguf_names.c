// SPDX-License-Identifier: MIT
/* Which tensor is which: one table for each architecture. */
#include "gguf_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAYER GGUF_N_LAYER
#define NORM  GGUF_N_PLUS_ONE

/* clang-format off */
#define MODEL_NAMES(NORM) \
	{"token_embd.weight", "model.embed_tokens.weight", 0}, \
	{"output_norm.weight", "model.norm.weight", NORM}, \
	{"output.weight", "lm_head.weight", 0}
#define ATTENTION_NAMES(NORM) \
	{"attn_norm.weight", "input_layernorm.weight", LAYER | (NORM)}, \
	{"attn_q.weight", "self_attn.q_proj.weight", LAYER}, \
	{"attn_k.weight", "self_attn.k_proj.weight", LAYER}, \
	{"attn_v.weight", "self_attn.v_proj.weight", LAYER}, \
	{"attn_output.weight", "self_attn.o_proj.weight", LAYER}
#define BIAS_NAMES \
	{"attn_q.bias", "self_attn.q_proj.bias", LAYER}, \
	{"attn_k.bias", "self_attn.k_proj.bias", LAYER}, \
	{"attn_v.bias", "self_attn.v_proj.bias", LAYER}
#define QK_NORM_NAMES(NORM) \
	{"attn_q_norm.weight", "self_attn.q_norm.weight", LAYER | (NORM)}, \
	{"attn_k_norm.weight", "self_attn.k_norm.weight", LAYER | (NORM)}
#define SWIGLU_NAMES(norm, NORM) \
	{norm ".weight", "post_attention_layernorm.weight", LAYER | (NORM)}, \
	{"ffn_gate.weight", "mlp.gate_proj.weight", LAYER}, \
	{"ffn_up.weight", "mlp.up_proj.weight", LAYER}, \
	{"ffn_down.weight", "mlp.down_proj.weight", LAYER}
#define EXPERT_NAMES \
	{"ffn_gate_inp.weight", "mlp.gate.weight", LAYER}, \
	{"ffn_gate_exps.weight", "mlp.experts.%u.gate_proj.weight", LAYER}, \
	{"ffn_up_exps.weight", "mlp.experts.%u.up_proj.weight", LAYER}, \
	{"ffn_down_exps.weight", "mlp.experts.%u.down_proj.weight", LAYER}
#define SHARED_EXPERT_NAMES \
	{"ffn_gate_inp_shexp.weight", "mlp.shared_expert_gate.weight", LAYER | GGUF_N_ROW}, \
	{"ffn_gate_shexp.weight", "mlp.shared_expert.gate_proj.weight", LAYER}, \
	{"ffn_up_shexp.weight", "mlp.shared_expert.up_proj.weight", LAYER}, \
	{"ffn_down_shexp.weight", "mlp.shared_expert.down_proj.weight", LAYER}
#define DELTA_NAMES(T) \
	{"attn_qkv.weight", "linear_attn.in_proj_qkv.weight", LAYER | T(VALUES)}, \
	{"attn_gate.weight", "linear_attn.in_proj_z.weight", LAYER | T(ROWS)}, \
	{"ssm_conv1d.weight", "linear_attn.conv1d.weight", LAYER | GGUF_N_MIDDLE | T(VALUES)}, \
	{"ssm_dt.bias", "linear_attn.dt_bias", LAYER | T(ONE)}, \
	{"ssm_a", "linear_attn.A_log", LAYER | GGUF_N_MINUS_EXP | T(ONE)}, \
	{"ssm_norm.weight", "linear_attn.norm.weight", LAYER}, \
	{"ssm_out.weight", "linear_attn.out_proj.weight", LAYER | T(COLUMNS)}
#define GROUPED(what) 0
#define TILED(what)   TILED_##what
#define TILED_ROWS    GGUF_N_TILED
#define TILED_VALUES  GGUF_N_TILED_VALUES
#define TILED_ONE     GGUF_N_TILED_ONE
#define TILED_COLUMNS GGUF_N_TILED_COLUMNS
#define QWEN35_NAMES \
	MODEL_NAMES(NORM), ATTENTION_NAMES(NORM), QK_NORM_NAMES(NORM), \
	SWIGLU_NAMES("post_attention_norm", NORM), DELTA_NAMES(TILED), \
	{"ssm_beta.weight", "linear_attn.in_proj_b.weight", LAYER | GGUF_N_TILED_ONE}, \
	{"ssm_alpha.weight", "linear_attn.in_proj_a.weight", LAYER | GGUF_N_TILED_ONE}, \
	{"nextn.eh_proj.weight", "mtp.fc.weight", LAYER | GGUF_N_MTP}, \
	{"nextn.enorm.weight", "mtp.pre_fc_norm_embedding.weight", LAYER | GGUF_N_MTP | NORM}, \
	{"nextn.hnorm.weight", "mtp.pre_fc_norm_hidden.weight", LAYER | GGUF_N_MTP | NORM}, \
	{"nextn.shared_head_norm.weight", "mtp.norm.weight", LAYER | GGUF_N_MTP | NORM}

static const struct gguf_name qwen2[] = {
	MODEL_NAMES(0), ATTENTION_NAMES(0), BIAS_NAMES, SWIGLU_NAMES("ffn_norm", 0),
};
static const struct gguf_name qwen3[] = {
	MODEL_NAMES(0), ATTENTION_NAMES(0), BIAS_NAMES, QK_NORM_NAMES(0), SWIGLU_NAMES("ffn_norm", 0),
	{"attn_output.bias", "self_attn.o_proj.bias", LAYER},
};
static const struct gguf_name qwen3moe[] = {
	MODEL_NAMES(0), ATTENTION_NAMES(0), BIAS_NAMES, QK_NORM_NAMES(0), SWIGLU_NAMES("ffn_norm", 0),
	{"attn_output.bias", "self_attn.o_proj.bias", LAYER}, EXPERT_NAMES,
};
static const struct gguf_name qwen3next[] = {
	MODEL_NAMES(NORM), ATTENTION_NAMES(NORM), QK_NORM_NAMES(NORM),
	SWIGLU_NAMES("post_attention_norm", NORM), EXPERT_NAMES, SHARED_EXPERT_NAMES, DELTA_NAMES(GROUPED),
	{"ssm_ba.weight", "linear_attn.in_proj_ba.weight", LAYER},
	/* Files of the time before attn_qkv and attn_gate. */
	{"ssm_in.weight", "linear_attn.in_proj_qkvz.weight", LAYER},
};

static const struct gguf_name qwen35[] = {QWEN35_NAMES};
static const struct gguf_name qwen35moe[] = {QWEN35_NAMES, EXPERT_NAMES, SHARED_EXPERT_NAMES};

#define NAMES(list) .names = list, .num_names = ZW_ARRAY_SIZE(list)
static const struct gguf_arch archs[] = {
	{"qwen2", "qwen2", .biases_of_qkv = true, NAMES(qwen2)},
	{"qwen3", "qwen3", NAMES(qwen3)},
	{"qwen3moe", "qwen3_moe", .has_experts = true, NAMES(qwen3moe)},
	{"qwen3next", "qwen3_next", .has_experts = true, .hybrid = true, NAMES(qwen3next)},
	{"qwen35", "qwen3_5_text", .hybrid = true, .mtp = true, NAMES(qwen35)},
	{"qwen35moe", "qwen3_5_moe_text", .has_experts = true, .hybrid = true, .mtp = true, NAMES(qwen35moe)},
};
/* clang-format on */

const struct gguf_arch *gguf_arch_find(struct gguf_str name)
{
	for (size_t i = 0; i < ZW_ARRAY_SIZE(archs); i++) {
		if (gguf_str_is(name, archs[i].name))
			return &archs[i];
	}
	return NULL;
}

/* Takes "PREFIX" and a number without leading zeroes and a dot off the front of *name. */
static bool take_layer(const char **name, const char *prefix, uint32_t *layer)
{
	const char *p = *name + strlen(prefix);
	char *end;
	unsigned long n;

	if (strncmp(*name, prefix, strlen(prefix)) || *p < '0' || *p > '9' ||
	    (*p == '0' && p[1] != '.'))
		return false;
	n = strtoul(p, &end, 10);
	if (*end != '.' || end - p > 9)
		return false;
	*layer = (uint32_t)n;
	*name = end + 1;
	return true;
}

const struct gguf_name *gguf_name_of(const struct gguf_arch *arch, const char *gguf,
				     uint32_t *layer)
{
	bool in_layer = take_layer(&gguf, "blk.", layer);

	for (size_t i = 0; i < arch->num_names; i++) {
		const struct gguf_name *n = &arch->names[i];

		if (!(n->flags & GGUF_N_LAYER) == !in_layer && !strcmp(n->gguf, gguf))
			return n;
	}
	return NULL;
}

/* Whether text is pattern with a number in the place of its %u. */
static bool matches(const char *pattern, const char *text)
{
	const char *mark = strstr(pattern, "%u"), *p;

	if (!mark)
		return !strcmp(pattern, text);
	if (strncmp(pattern, text, (size_t)(mark - pattern)))
		return false;
	p = text + (mark - pattern);
	p += strspn(p, "0123456789");
	return !strcmp(p, mark + 2);
}

void gguf_spell(const struct gguf_arch *arch, uint32_t num_layers, const char *hf, char *out,
		size_t size)
{
	static const char mtp[] = "mtp.layers.0.";
	const char *rest = hf;
	uint32_t layer = num_layers;
	bool in_layer = take_layer(&rest, "model.layers.", &layer);

	if (!in_layer && arch->mtp && !strncmp(hf, mtp, strlen(mtp))) {
		in_layer = true;
		rest = hf + strlen(mtp);
	}
	for (size_t i = 0; i < arch->num_names; i++) {
		const struct gguf_name *n = &arch->names[i];

		if (n->flags & GGUF_N_MTP
			    ? strcmp(n->hf, hf) != 0
			    : !(n->flags & GGUF_N_LAYER) != !in_layer || !matches(n->hf, rest))
			continue;
		if (n->flags & GGUF_N_LAYER)
			snprintf(out, size, "blk.%u.%s", layer, n->gguf);
		else
			snprintf(out, size, "%s", n->gguf);
		return;
	}
	snprintf(out, size, "%s", hf);
}

// SPDX-License-Identifier: MIT
/* Which tensor is which: one table for each architecture. */
#include "gguf_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* clang-format off */
#define MODEL_NAMES \
	{"token_embd.weight", "model.embed_tokens.weight", false}, \
	{"output_norm.weight", "model.norm.weight", false}, \
	{"output.weight", "lm_head.weight", false}
#define ATTENTION_NAMES \
	{"attn_norm.weight", "input_layernorm.weight", true}, \
	{"attn_q.weight", "self_attn.q_proj.weight", true}, \
	{"attn_k.weight", "self_attn.k_proj.weight", true}, \
	{"attn_v.weight", "self_attn.v_proj.weight", true}, \
	{"attn_output.weight", "self_attn.o_proj.weight", true}, \
	{"attn_q.bias", "self_attn.q_proj.bias", true}, \
	{"attn_k.bias", "self_attn.k_proj.bias", true}, \
	{"attn_v.bias", "self_attn.v_proj.bias", true}
#define QK_NORM_NAMES \
	{"attn_output.bias", "self_attn.o_proj.bias", true}, \
	{"attn_q_norm.weight", "self_attn.q_norm.weight", true}, \
	{"attn_k_norm.weight", "self_attn.k_norm.weight", true}
#define SWIGLU_NAMES \
	{"ffn_norm.weight", "post_attention_layernorm.weight", true}, \
	{"ffn_gate.weight", "mlp.gate_proj.weight", true}, \
	{"ffn_up.weight", "mlp.up_proj.weight", true}, \
	{"ffn_down.weight", "mlp.down_proj.weight", true}
#define EXPERT_NAMES \
	{"ffn_gate_inp.weight", "mlp.gate.weight", true}, \
	{"ffn_gate_exps.weight", "mlp.experts.%u.gate_proj.weight", true}, \
	{"ffn_up_exps.weight", "mlp.experts.%u.up_proj.weight", true}, \
	{"ffn_down_exps.weight", "mlp.experts.%u.down_proj.weight", true}

static const struct gguf_name qwen2[] = {MODEL_NAMES, ATTENTION_NAMES, SWIGLU_NAMES};
static const struct gguf_name qwen3[] = {MODEL_NAMES, ATTENTION_NAMES, QK_NORM_NAMES, SWIGLU_NAMES};
static const struct gguf_name qwen3moe[] = {
	MODEL_NAMES, ATTENTION_NAMES, QK_NORM_NAMES, SWIGLU_NAMES, EXPERT_NAMES
};

static const struct gguf_arch archs[] = {
	{"qwen2", "qwen2", false, true, qwen2, ZW_ARRAY_SIZE(qwen2)},
	{"qwen3", "qwen3", false, false, qwen3, ZW_ARRAY_SIZE(qwen3)},
	{"qwen3moe", "qwen3_moe", true, false, qwen3moe, ZW_ARRAY_SIZE(qwen3moe)},
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

		if (n->layer == in_layer && !strcmp(n->gguf, gguf))
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

void gguf_spell(const struct gguf_arch *arch, const char *hf, char *out, size_t size)
{
	const char *rest = hf;
	uint32_t layer = 0;
	bool in_layer = take_layer(&rest, "model.layers.", &layer);

	for (size_t i = 0; i < arch->num_names; i++) {
		const struct gguf_name *n = &arch->names[i];

		if (n->layer != in_layer || !matches(n->hf, rest))
			continue;
		if (in_layer)
			snprintf(out, size, "blk.%u.%s", layer, n->gguf);
		else
			snprintf(out, size, "%s", n->gguf);
		return;
	}
	snprintf(out, size, "%s", hf);
}

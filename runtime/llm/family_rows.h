/* SPDX-License-Identifier: MIT */
/* How the files of the families write their tables of tensors: name, slot, shape, condition. */
#ifndef LLM_FAMILY_ROWS_H
#define LLM_FAMILY_ROWS_H

#include <stddef.h>

#include "family.h"

/* Slots: of struct llm_weights; the head, which may be tied; of struct llm_layer_weights. */
#define T(slot)    offsetof(struct llm_weights, slot), 0
#define HEAD(slot) offsetof(struct llm_weights, slot.w), LLM_T_HEAD | LLM_T_LINEAR
#define L(slot)    offsetof(struct llm_layer_weights, slot), LLM_T_LAYER
/*
 * Matrices of linear layers: in every layer, in those without experts, in those with them, and there
 * once per expert.
 */
#define LINEAR_OF(slot, flags)                                                                     \
	offsetof(struct llm_layer_weights, slot.w), LLM_T_LAYER | LLM_T_LINEAR | (flags)
#define LINEAR(slot) LINEAR_OF(slot, 0)
#define DENSE(slot)  LINEAR_OF(slot, LLM_T_DENSE)
#define SPARSE(slot) LINEAR_OF(slot, LLM_T_SPARSE)
#define EXPERT(slot) LINEAR_OF(slot, LLM_T_SPARSE | LLM_T_EXPERT)
/* Shapes, of enum llm_dim without its prefix. */
#define VEC(d)                                                                                     \
	{                                                                                          \
		LLM_DIM_##d                                                                        \
	}
#define MAT(d0, d1)                                                                                \
	{                                                                                          \
		LLM_DIM_##d0, LLM_DIM_##d1                                                         \
	}

static inline bool llm_has_attention_bias(const struct llm_model_config *cfg)
{
	return cfg->attention_bias;
}

/* Rows that families share. */
/* clang-format off */
#define MODEL_ROWS \
	{"model.embed_tokens.weight", T(embed), MAT(VOCAB, HIDDEN)}, \
	{"model.norm.weight", T(norm), VEC(HIDDEN)}, \
	{"lm_head.weight", HEAD(head), MAT(VOCAB, HIDDEN)}
#define QWEN3_ATTENTION_ROWS \
	{"input_layernorm.weight", L(norm1), VEC(HIDDEN)}, \
	{"self_attn.q_proj.weight", LINEAR(qkv), MAT(Q, HIDDEN)}, \
	{"self_attn.k_proj.weight", LINEAR(qkv), MAT(KV, HIDDEN)}, \
	{"self_attn.v_proj.weight", LINEAR(qkv), MAT(KV, HIDDEN)}, \
	{"self_attn.q_proj.bias", L(qkv_bias), VEC(Q), llm_has_attention_bias}, \
	{"self_attn.k_proj.bias", L(qkv_bias), VEC(KV), llm_has_attention_bias}, \
	{"self_attn.v_proj.bias", L(qkv_bias), VEC(KV), llm_has_attention_bias}, \
	{"self_attn.q_norm.weight", L(q_norm), VEC(HEAD)}, \
	{"self_attn.k_norm.weight", L(k_norm), VEC(HEAD)}, \
	{"self_attn.o_proj.weight", LINEAR(o), MAT(HIDDEN, Q)}, \
	{"self_attn.o_proj.bias", L(o_bias), VEC(HIDDEN), llm_has_attention_bias}
/* The feed-forward's norm and a SwiGLU: in every layer (LINEAR), or in those without experts (DENSE). */
#define SWIGLU_ROWS(SLOT) \
	{"post_attention_layernorm.weight", L(norm2), VEC(HIDDEN)}, \
	{"mlp.gate_proj.weight", SLOT(gate_up), MAT(INTER, HIDDEN)}, \
	{"mlp.up_proj.weight", SLOT(gate_up), MAT(INTER, HIDDEN)}, \
	{"mlp.down_proj.weight", SLOT(down), MAT(HIDDEN, INTER)}
/* clang-format on */

#endif

/* SPDX-License-Identifier: MIT */
/* How the files of the families write their tables of tensors: name, slot, shape, condition. */
#ifndef LLM_FAMILY_ROWS_H
#define LLM_FAMILY_ROWS_H

#include <stddef.h>

#include "family.h"

/* Slots: of struct llm_weights; the head, which may be tied; of struct llm_layer_weights. */
#define T(slot)    offsetof(struct llm_weights, slot), 0
#define HEAD(slot) offsetof(struct llm_weights, slot), LLM_T_HEAD | LLM_T_LINEAR
#define L(slot)    offsetof(struct llm_layer_weights, slot), LLM_T_LAYER
/*
 * Matrices of linear layers: in every layer, in those without experts, in those with them, and there
 * once per expert.
 */
#define LINEAR_OF(slot, flags)                                                                     \
	offsetof(struct llm_layer_weights, slot), LLM_T_LAYER | LLM_T_LINEAR | (flags)
#define LINEAR(slot)           LINEAR_OF(slot, 0)
#define DENSE(slot)            LINEAR_OF(slot, LLM_T_DENSE)
#define SPARSE(slot)           LINEAR_OF(slot, LLM_T_SPARSE)
#define EXPERT(slot)           LINEAR_OF(slot, LLM_T_SPARSE | LLM_T_EXPERT)
/* All of them in one tensor. */
#define FUSED(slot)            LINEAR_OF(slot, LLM_T_SPARSE | LLM_T_FUSED)
/* Of recurrent layers, of the others, of an MTP head. */
#define RECURRENT(slot)        offsetof(struct llm_layer_weights, slot), LLM_T_LAYER | LLM_T_RECURRENT
#define RECURRENT_LINEAR(slot) LINEAR_OF(slot, LLM_T_RECURRENT)
#define ATTENTION(slot)        offsetof(struct llm_layer_weights, slot), LLM_T_LAYER | LLM_T_ATTENTION
#define ATTENTION_LINEAR(slot) LINEAR_OF(slot, LLM_T_ATTENTION)
#define MTP(slot)              offsetof(struct llm_weights, mtp.slot), LLM_T_MTP
#define MTP_LINEAR(slot)       offsetof(struct llm_weights, mtp.slot), LLM_T_MTP | LLM_T_LINEAR
/* Shapes, of enum llm_dim without its prefix. */
#define VEC(d)                                                                                     \
	{                                                                                          \
		LLM_DIM_##d                                                                        \
	}
#define MAT(d0, d1)                                                                                \
	{                                                                                          \
		LLM_DIM_##d0, LLM_DIM_##d1                                                         \
	}

#define CUBE(d0, d1, d2)                                                                           \
	{                                                                                          \
		LLM_DIM_##d0, LLM_DIM_##d1, LLM_DIM_##d2                                           \
	}
/* The end of the row of a norm that multiplies with 1 + w. */
#define PLUS_1   NULL, 1
/* The end of a row that is part of a tensor. */
#define PART(fn) NULL, 0, fn

static inline bool llm_has_attention_bias(const struct llm_model_config *cfg)
{
	return cfg->attention_bias;
}

/* Of each head of a projection that has them in turn: the rows of its query, the rows of its gate. */
static inline void llm_part_query(const struct llm_model_config *c, struct llm_take *t)
{
	t->run = c->head_dim;
	t->step = 2ull * c->head_dim;
	t->count = c->num_heads;
}

static inline void llm_part_gate(const struct llm_model_config *c, struct llm_take *t)
{
	llm_part_query(c, t);
	t->first = c->head_dim;
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
#define EXPERT_ROWS \
	{"mlp.experts.%u.gate_proj.weight", EXPERT(experts_gate_up), MAT(EXPERT, HIDDEN)}, \
	{"mlp.experts.%u.up_proj.weight", EXPERT(experts_gate_up), MAT(EXPERT, HIDDEN)}, \
	{"mlp.experts.%u.down_proj.weight", EXPERT(experts_down), MAT(HIDDEN, EXPERT)}
/* The feed-forward's norm and a SwiGLU: in every layer (LINEAR), or in those without experts (DENSE). */
#define SWIGLU_ROWS(SLOT) \
	{"post_attention_layernorm.weight", L(norm2), VEC(HIDDEN)}, \
	{"mlp.gate_proj.weight", SLOT(gate_up), MAT(INTER, HIDDEN)}, \
	{"mlp.up_proj.weight", SLOT(gate_up), MAT(INTER, HIDDEN)}, \
	{"mlp.down_proj.weight", SLOT(down), MAT(HIDDEN, INTER)}
/* The same for models whose norms multiply with 1 + w and whose queries have gates. */
#define HYBRID_MODEL_ROWS(prefix) \
	{prefix "embed_tokens.weight", T(embed), MAT(VOCAB, HIDDEN)}, \
	{prefix "norm.weight", T(norm), VEC(HIDDEN), PLUS_1}, \
	{"lm_head.weight", HEAD(head), MAT(VOCAB, HIDDEN)}
#define HYBRID_ATTENTION_ROWS \
	{"input_layernorm.weight", L(norm1), VEC(HIDDEN), PLUS_1}, \
	{"self_attn.q_proj.weight", ATTENTION_LINEAR(qkv), MAT(2_Q, HIDDEN), PART(llm_part_query)}, \
	{"self_attn.k_proj.weight", ATTENTION_LINEAR(qkv), MAT(KV, HIDDEN)}, \
	{"self_attn.v_proj.weight", ATTENTION_LINEAR(qkv), MAT(KV, HIDDEN)}, \
	{"self_attn.q_proj.weight", ATTENTION_LINEAR(qkv), MAT(2_Q, HIDDEN), PART(llm_part_gate)}, \
	{"self_attn.q_norm.weight", ATTENTION(q_norm), VEC(HEAD), PLUS_1}, \
	{"self_attn.k_norm.weight", ATTENTION(k_norm), VEC(HEAD), PLUS_1}, \
	{"self_attn.o_proj.weight", ATTENTION_LINEAR(o), MAT(HIDDEN, Q)}
#define HYBRID_SWIGLU_ROWS(SLOT) \
	{"post_attention_layernorm.weight", L(norm2), VEC(HIDDEN), PLUS_1}, \
	{"mlp.gate_proj.weight", SLOT(gate_up), MAT(INTER, HIDDEN)}, \
	{"mlp.up_proj.weight", SLOT(gate_up), MAT(INTER, HIDDEN)}, \
	{"mlp.down_proj.weight", SLOT(down), MAT(HIDDEN, INTER)}
/* Gated DeltaNet but for its input. */
#define DELTA_ROWS \
	{"linear_attn.conv1d.weight", RECURRENT(conv), CUBE(CONV, ONE, KERNEL)}, \
	{"linear_attn.A_log", RECURRENT(a_log), VEC(VALUE_HEADS)}, \
	{"linear_attn.dt_bias", RECURRENT(dt_bias), VEC(VALUE_HEADS)}, \
	{"linear_attn.norm.weight", RECURRENT(delta_norm), VEC(VALUE)}, \
	{"linear_attn.out_proj.weight", RECURRENT_LINEAR(o), MAT(HIDDEN, VALUES)}
/* The router, and the expert that all tokens go through. */
#define SHARED_EXPERT_ROWS \
	{"mlp.gate.weight", SPARSE(router), MAT(EXPERTS, HIDDEN)}, \
	{"mlp.shared_expert_gate.weight", SPARSE(router), MAT(ONE, HIDDEN)}, \
	{"mlp.shared_expert.gate_proj.weight", SPARSE(shared_gate_up), MAT(SHARED, HIDDEN)}, \
	{"mlp.shared_expert.up_proj.weight", SPARSE(shared_gate_up), MAT(SHARED, HIDDEN)}, \
	{"mlp.shared_expert.down_proj.weight", SPARSE(shared_down), MAT(HIDDEN, SHARED)}
#define MTP_ROWS \
	{"fc.weight", MTP_LINEAR(fc), MAT(HIDDEN, 2_HIDDEN)}, \
	{"pre_fc_norm_embedding.weight", MTP(norm_embed), VEC(HIDDEN), PLUS_1}, \
	{"pre_fc_norm_hidden.weight", MTP(norm_hidden), VEC(HIDDEN), PLUS_1}, \
	{"norm.weight", MTP(norm), VEC(HIDDEN), PLUS_1}
/* clang-format on */

#endif

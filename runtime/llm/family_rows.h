/* SPDX-License-Identifier: MIT */
/* How the files of the families write their tables of tensors: name, slot, shape, condition. */
#ifndef LLM_FAMILY_ROWS_H
#define LLM_FAMILY_ROWS_H

#include <stddef.h>

#include "family.h"

/* Slots: of struct llm_weights; the head, which may be tied; of struct llm_layer_weights. */
#define T(slot)      offsetof(struct llm_weights, slot), 0
#define HEAD(slot)   offsetof(struct llm_weights, slot), LLM_T_HEAD
#define L(slot)      offsetof(struct llm_layer_weights, slot), LLM_T_LAYER
/* The same in layers without experts, in layers with them, and there once per expert. */
#define DENSE(slot)  offsetof(struct llm_layer_weights, slot), LLM_T_LAYER | LLM_T_DENSE
#define SPARSE(slot) offsetof(struct llm_layer_weights, slot), LLM_T_LAYER | LLM_T_SPARSE
#define EXPERT(slot)                                                                               \
	offsetof(struct llm_layer_weights, slot), LLM_T_LAYER | LLM_T_SPARSE | LLM_T_EXPERT
/* Shapes, of enum llm_dim without its prefix. */
#define VEC(d)                                                                                     \
	{                                                                                          \
		LLM_DIM_##d                                                                        \
	}
#define MAT(d0, d1)                                                                                \
	{                                                                                          \
		LLM_DIM_##d0, LLM_DIM_##d1                                                         \
	}

#endif

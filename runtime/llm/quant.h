/* SPDX-License-Identifier: MIT */
/* Quantised matrices: which tensors stand for X.weight, and what the device gets of them. */
#ifndef LLM_QUANT_H
#define LLM_QUANT_H

#include "model.h"

enum llm_quant_role {
	LLM_ROLE_W,
	LLM_ROLE_SCALE,
	LLM_ROLE_ZERO,
	LLM_ROLE_SCALE2, /* one for the matrix */
	LLM_ROLE_COUNT,
	/* Not for the device. */
	LLM_ROLE_ORDER, /* which group a column is of, where not that of its place */
	LLM_ROLE_SHAPE, /* rows and columns */
	LLM_ROLE_NONE,  /* of no use here */
};

/* What is looked for. */
struct llm_quant_want {
	const char *name; /* "X.weight"; of experts in one tensor "X" */
	uint64_t n, k;
	/* 0, or how many experts are in one tensor [experts, n, k], and which one is looked for. */
	uint32_t experts, expert;
	const struct llm_take *rows; /* which of the n, as in a plan; NULL: all */
};

/* The tensors of one matrix [n, k]. */
struct llm_quant_matrix {
	const struct llm_quant_scheme *scheme;
	long tensor[LLM_ROLE_COUNT];   /* of the source, or -1 */
	uint64_t cols[LLM_ROLE_COUNT]; /* of those, seen as matrices */
	uint64_t n, k;
	uint32_t experts, expert; /* as in struct llm_quant_want */
	struct llm_take rows;     /* which of its rows: first, run, step, count */
	float scale2;
	bool no_zero; /* all zero points are what signed elements have anyway */
	/* Column j of the device's matrix is column order[j] of the file's, so that groups are contiguous; NULL: they
	 * are as they stand. */
	int32_t *order;
};

/*
 * The tensors that stand for a matrix, checked and marked as seen. Which of the schemes it is of they say
 * themselves.
 *
 * @return 1; 0 when there are none: then the matrix is stored as it is, or is missing; -EBADMSG for
 *         missing and misshapen ones, -EOPNOTSUPP for what is not implemented, by name
 */
int llm_quant_find(const struct llm_source *src, const struct llm_quant_config *q,
		   const struct llm_quant_want *want, uint8_t *seen, struct llm_quant_matrix *m,
		   struct zw_error *err);
/* Releases what llm_quant_find() has allocated, also when it failed. */
void llm_quant_free(struct llm_quant_matrix *m);
/* Whether columns of two matrices of equal width are in the same order. */
bool llm_quant_same_order(const struct llm_quant_matrix *a, const struct llm_quant_matrix *b);

/*
 * Whether a tensor that no matrix has is one that tools leave in quantised checkpoints and that means nothing:
 * a scale of a quantised KV cache, or the zeros that GPTQ's tools write as a bias where a layer has none.
 *
 * @return 1 or 0; -EBADMSG when such a bias is not zero, or what reading gives
 */
int llm_quant_surplus(const struct llm_source *src, size_t tensor, struct zw_error *err);

/*
 * Plans a matrix of `experts` ones (or 1 and no dimension for them), each of `parts` below each other; m:
 * [experts, parts], all of one scheme, those of an expert in one order. dst must stay where it is until the plan is placed.
 */
int llm_quant_plan(struct llm_plan *p, const struct llm_quant_matrix *m, size_t parts,
		   uint32_t experts, bool stacked, struct llm_matrix *dst, struct zw_error *err);

#endif

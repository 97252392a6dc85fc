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
	LLM_ROLE_ORDER, /* which group a column is of: that of its place, or the file is refused */
	LLM_ROLE_SHAPE, /* rows and columns */
	LLM_ROLE_NONE,  /* of no use here */
};

/* The tensors of one matrix [n, k]. */
struct llm_quant_matrix {
	long tensor[LLM_ROLE_COUNT]; /* of the source, or -1 */
	uint64_t n, k;
	struct llm_take rows; /* which of its rows: first, run, step, count */
	float scale2;
	bool no_zero; /* all zero points are what signed elements have anyway */
};

/*
 * The tensors that stand for the matrix `name` ("...weight") of [n, k], checked and marked as seen.
 *
 * @param rows  which of its rows are wanted, as in a plan; NULL: all
 * @return 1; 0 when there are none: then the matrix is stored as it is, or is missing; -EBADMSG for
 *         missing and misshapen ones, -EOPNOTSUPP for what is not implemented, by name
 */
int llm_quant_find(const struct llm_source *src, const struct llm_quant_config *q, const char *name,
		   uint64_t n, uint64_t k, const struct llm_take *rows, uint8_t *seen,
		   struct llm_quant_matrix *m, struct zw_error *err);

/*
 * Plans a linear layer of `experts` matrices (or 1 and no dimension for them), each of `parts` below
 * each other; m: [experts, parts]. dst must stay where it is until the plan is placed.
 */
int llm_quant_plan(struct llm_plan *p, const struct llm_quant_config *q,
		   const struct llm_quant_matrix *m, size_t parts, uint32_t experts, bool stacked,
		   struct llm_linear *dst, struct zw_error *err);

#endif

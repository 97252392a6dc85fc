// SPDX-License-Identifier: MIT
/* What a slot of a family's weights is made of, as destinations of a load plan. */
#include "family.h"

#include <errno.h>
#include <stdlib.h>

static uint32_t dtype_of(const struct llm_plan *p, const struct llm_take *take)
{
	struct llm_source_tensor t;

	p->src->ops->get(p->src, take->tensor, &t);
	return t.dtype;
}

/* Whether packets take records there: products, and the table of an embedding. */
static bool takes_records(const struct llm_tensor_row *row)
{
	return row->flags & LLM_T_LINEAR || (row->slot == offsetof(struct llm_weights, embed) &&
					     !(row->flags & (LLM_T_LAYER | LLM_T_MTP)));
}

static bool has_records(const struct llm_plan *p, const struct llm_take *takes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (llm_is_blocked(dtype_of(p, &takes[i])))
			return true;
	}
	return false;
}

/* How many takes from the first on can be one tensor: numbers, or records of one type. */
static size_t stackable(const struct llm_plan *p, const struct llm_take *takes, size_t n)
{
	uint32_t first = dtype_of(p, &takes[0]);
	size_t i = 1;

	for (; i < n; i++) {
		uint32_t dtype = dtype_of(p, &takes[i]);

		if (dtype != first && (llm_is_blocked(dtype) || llm_is_blocked(first)))
			break;
	}
	return i;
}

/* One destination: takes [at, at + n) of each expert. */
static int add(struct llm_plan *p, const struct llm_tensor_row *row, uint32_t experts,
	       struct zw_tensor *dst, uint32_t dtype, const struct llm_take *takes, size_t each,
	       size_t at, size_t n, struct zw_error *err)
{
	uint32_t takers = row->flags & LLM_T_EXPERT ? experts : 1;
	struct llm_take *some = calloc(n * takers, sizeof(*some));
	int ret;

	if (!some)
		return llm_fail(err, -ENOMEM, "out of memory");
	for (uint32_t e = 0; e < takers; e++) {
		for (size_t i = 0; i < n; i++)
			some[e * n + i] = takes[e * each + at + i];
	}
	ret = llm_plan_add(p, dst, dtype, some, n * takers, err);
	if (!ret && row->flags & (LLM_T_EXPERT | LLM_T_FUSED))
		*dst = zw_tensor_3d(dst->dtype, dst->va, experts, dst->dim[0] / experts,
				    dst->dim[1]);
	free(some);
	return ret;
}

int llm_plan_slot(struct llm_plan *p, const struct llm_tensor_row *row, uint32_t experts,
		  struct zw_tensor *dst, const struct llm_take *takes, size_t n,
		  struct zw_error *err)
{
	/* See struct llm_tensor_row. */
	uint32_t dtype = row->add != 0 ? ZW_DTYPE_F32 : ZW_DTYPE_NONE;
	size_t each = row->flags & LLM_T_EXPERT ? n / experts : n;

	if (!n)
		return 0;
	if (!takes_records(row) && has_records(p, takes, n))
		dtype = ZW_DTYPE_F32;
	return add(p, row, experts, dst, dtype, takes, each, 0, each, err);
}

struct llm_matrix *llm_linear_next(struct llm_linear *l, uint32_t *parts, struct zw_error *err)
{
	if (*parts < LLM_LINEAR_PARTS)
		return &l->part[(*parts)++];
	llm_fail(err, -EOPNOTSUPP, "more than %d types of tensors in one matrix", LLM_LINEAR_PARTS);
	return NULL;
}

int llm_plan_linear(struct llm_plan *p, const struct llm_tensor_row *row, uint32_t experts,
		    struct llm_linear *l, uint32_t *parts, const struct llm_take *takes, size_t n,
		    struct zw_error *err)
{
	size_t each = row->flags & LLM_T_EXPERT ? n / experts : n, some;
	int ret = 0;

	for (size_t at = 0; at < each && !ret; at += some) {
		struct llm_matrix *m = llm_linear_next(l, parts, err);

		if (!m)
			return -EOPNOTSUPP;
		some = stackable(p, takes + at, each - at);
		ret = add(p, row, experts, &m->w, ZW_DTYPE_NONE, takes, each, at, some, err);
	}
	return ret;
}

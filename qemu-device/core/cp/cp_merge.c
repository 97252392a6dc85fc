// SPDX-License-Identifier: MIT
/* Attention engine: merging attention over parts of the keys. */
#include <errno.h>

#include "zw_cp_int.h"

enum { MERGE_X, MERGE_X_LSE, MERGE_Y, MERGE_LSE };

static uint32_t merge_validate(const void *pkt)
{
	const struct zw_pkt_merge *p = pkt;

	if (p->x.dim[0] > ZW_K_MERGE_MAX_PARTS || p->x.dim[3] > ZW_CP_MAX_HEAD)
		return ZW_REASON_LIMIT;
	return ZW_REASON_NONE;
}

struct merge_plan {
	struct zw_k_in x[ZW_K_MERGE_MAX_PARTS];
	const float *lse[ZW_K_MERGE_MAX_PARTS];
};

/* Maps the rows of a part that there are. */
static int map_part(struct zw_cp_exec *x, unsigned int opd, uint32_t part, size_t *slot)
{
	struct zw_tensor t = *zw_cp_tensor_at(x->op, x->pkt, opd);
	unsigned int esize = zw_cp_dtype_size(t.dtype);
	uint64_t va = t.va + part * t.stride[0] * esize;

	/* [N,M,...] -> [M,...] */
	t.ndim--;
	for (unsigned int i = 0; i < t.ndim; i++)
		t.dim[i] = t.dim[i + 1];
	for (unsigned int i = 0; i + 1u < t.ndim; i++)
		t.stride[i] = t.stride[i + 1];
	return zw_cp_map_late(x, opd, va, zw_cp_tensor_span(&t, x->rows) * esize, ZW_ACCESS_READ,
			      zw_cp_tensor_count(&t, x->rows) * esize, slot);
}

static int merge_prepare(struct zw_cp_exec *x)
{
	const struct zw_pkt_merge *p = x->pkt;
	uint32_t parts = p->x.dim[0];
	size_t slot[2][ZW_K_MERGE_MAX_PARTS];
	struct merge_plan *plan = zw_cp_alloc(x, 1, sizeof(*plan));

	if (!plan)
		return -EIO;
	x->plan = plan;
	for (uint32_t i = 0; i < parts; i++)
		if (map_part(x, MERGE_X, i, &slot[0][i]) ||
		    map_part(x, MERGE_X_LSE, i, &slot[1][i]))
			return -EIO;
	for (uint32_t i = 0; i < parts; i++) {
		plan->x[i] = (struct zw_k_in){
			.ptr = x->late[slot[0][i]].ptr,
			.dtype = p->x.dtype,
			.ld = p->x.stride[1],
			.hs = p->x.stride[2],
		};
		plan->lse[i] = x->late[slot[1][i]].ptr;
	}
	return 0;
}

static int merge_run(struct zw_cp_exec *x)
{
	const struct zw_pkt_merge *p = x->pkt;
	const struct merge_plan *plan = x->plan;
	struct zw_k_merge_args args = {
		.rows = x->rows,
		.heads = p->x.dim[2],
		.d = p->x.dim[3],
		.parts = p->x.dim[0],
		.x = plan->x,
		.x_lse = plan->lse,
		.x_lse_ld = p->x_lse.stride[1],
		.y = zw_cp_out(x, MERGE_Y),
		.lse = p->lse.dtype ? x->view[MERGE_LSE].ptr : NULL,
		.lse_ld = p->lse.stride[0],
	};

	return zw_cp_kernel_status(x, zw_k_merge(&args, x->cfg->pool));
}

static uint64_t merge_compute(struct zw_cp_exec *x)
{
	const struct zw_pkt_merge *p = x->pkt;

	/* two for each part, and the quotient */
	return zw_cp_vector_ps(x->profile, (uint64_t)x->rows * p->x.dim[2] * p->x.dim[3],
			       2 * p->x.dim[0] + 1);
}

const struct zw_cp_impl zw_cp_merge = {.validate = merge_validate,
				       .prepare = merge_prepare,
				       .run = merge_run,
				       .compute = merge_compute};

// SPDX-License-Identifier: MIT
/* Vector engine: columns of rows in another order. */
#include <errno.h>

#include "zw_cp_int.h"

enum { REORDER_X, REORDER_ORDER, REORDER_WHICH, REORDER_Y };

static uint32_t reorder_validate(const void *pkt)
{
	const struct zw_pkt_reorder *p = pkt;

	if (p->which.dtype == ZW_DTYPE_NONE && p->order.dim[0] != 1)
		return ZW_REASON_SHAPE;
	if ((uint64_t)p->order.dim[0] * p->order.dim[1] > ZW_CP_MAX_ORDER)
		return ZW_REASON_LIMIT;
	return ZW_REASON_NONE;
}

/* The orders that rows use, copied and checked, one after the other. */
static int reorder_prepare(struct zw_cp_exec *x)
{
	const struct zw_pkt_reorder *p = x->pkt;
	uint32_t lists = p->order.dim[0], k = p->order.dim[1], used = 0;
	int32_t *which = x->index[REORDER_WHICH], *place = NULL, *orders;
	int err = 0;

	if (which) {
		err = zw_cp_check_index(x, which, x->rows, lists);
		if (err)
			return err;
		/* By order: its place among those used, plus one. */
		place = zw_cp_alloc(x, lists, sizeof(*place));
		if (!place)
			return -EIO;
	}
	orders = zw_cp_alloc(x, (uint64_t)(lists < x->rows ? lists : x->rows) * k, sizeof(*orders));
	if (!orders)
		return -EIO;
	x->plan = orders;
	for (uint32_t r = 0; r < (which ? x->rows : 1) && !err; r++) {
		uint32_t from = which ? (uint32_t)which[r] : 0;

		if (!place || !place[from]) {
			int32_t *to = orders + (uint64_t)used++ * k;

			err = zw_cp_read_index(x, REORDER_ORDER,
					       p->order.va + from * p->order.stride[0] * 4, k, to);
			if (!err)
				err = zw_cp_check_index(x, to, k, p->x.dim[1]);
			if (place)
				place[from] = (int32_t)used;
		}
		if (which)
			which[r] = place[from] - 1;
	}
	return err;
}

static int reorder_run(struct zw_cp_exec *x)
{
	const struct zw_pkt_reorder *p = x->pkt;
	struct zw_k_reorder_args args = {
		.rows = x->rows,
		.n = p->x.dim[1],
		.k = p->order.dim[1],
		.order = x->plan,
		.which = x->index[REORDER_WHICH],
		.x = zw_cp_in(x, REORDER_X),
		.y = zw_cp_out(x, REORDER_Y),
	};

	return zw_cp_kernel_status(x, zw_k_reorder(&args, x->cfg->pool));
}

static uint64_t reorder_compute(struct zw_cp_exec *x)
{
	const struct zw_pkt_reorder *p = x->pkt;

	return zw_cp_vector_ps(x->profile, zw_cp_tensor_count(&p->y, x->rows), 1);
}

const struct zw_cp_impl zw_cp_reorder = {
	.validate = reorder_validate,
	.prepare = reorder_prepare,
	.run = reorder_run,
	.compute = reorder_compute,
};

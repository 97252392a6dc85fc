// SPDX-License-Identifier: MIT
/* Mixture of experts: routing on the vector engine, products with the experts' matrices on the tensor engine. */
#include <errno.h>
#include <string.h>

#include "zw_cp_int.h"

#define BIT(i) (1u << (i))

/* -- ROUTE -------------------------------------------------------------------------------------------- */

enum { ROUTE_X, ROUTE_WEIGHTS, ROUTE_IDS };

static uint32_t route_validate(const void *pkt)
{
	const struct zw_pkt_route *p = pkt;

	if (p->weights.dim[1] > ZW_K_TOPK_MAX || p->weights.dim[1] > p->x.dim[1])
		return ZW_REASON_VALUE;
	return p->x.dim[1] > ZW_CP_MAX_EXPERTS ? ZW_REASON_LIMIT : ZW_REASON_NONE;
}

static int route_run(struct zw_cp_exec *x)
{
	const struct zw_pkt_route *p = x->pkt;
	struct zw_k_route_args args = {
		.rows = x->rows,
		.n = p->x.dim[1],
		.k = p->weights.dim[1],
		.flags = p->hdr.flags & ZW_ROUTE_F_RENORM ? ZW_K_ROUTE_RENORM : 0,
		.x = zw_cp_in(x, ROUTE_X),
		.index = x->view[ROUTE_IDS].ptr,
		.weight = x->view[ROUTE_WEIGHTS].ptr,
		.index_ld = p->ids.stride[0],
		.weight_ld = p->weights.stride[0],
	};

	int err = zw_cp_kernel_status(x, zw_k_route(&args, x->cfg->pool));

	if (!err && x->cfg->routed)
		x->cfg->routed(x->cfg->route_opaque, x->rows, args.k, args.index, args.index_ld);
	return err;
}

/* The ids alone: what the experts' products take depends on them, and on nothing else that ROUTE writes. */
static int route_stand_in(struct zw_cp_exec *x)
{
	const struct zw_pkt_route *p = x->pkt;
	uint32_t k = p->ids.dim[1];
	struct zw_view view;
	int32_t *ids;
	int err;

	if (!x->cfg->route)
		return 0;
	ids = zw_cp_alloc(x, (uint64_t)x->rows * k, sizeof(*ids));
	if (!ids)
		return -EIO;
	x->cfg->route(x->cfg->route_opaque, x->rows, p->x.dim[1], k, ids);
	err = zw_mem_map(x->cfg->mmu, x->vm, p->ids.va,
			 zw_cp_tensor_span(&p->ids, x->rows) * sizeof(*ids),
			 ZW_ACCESS_READ | ZW_ACCESS_WRITE, &view, &x->fault);
	if (err)
		return zw_cp_mem_status(x, err);
	for (uint32_t r = 0; r < x->rows; r++)
		memcpy((int32_t *)view.ptr + r * p->ids.stride[0], ids + (uint64_t)r * k,
		       k * sizeof(*ids));
	return zw_cp_mem_status(x, zw_mem_unmap(x->cfg->mmu, x->vm, &view, true, &x->fault));
}

static uint64_t route_compute(struct zw_cp_exec *x)
{
	const struct zw_pkt_route *p = x->pkt;

	return zw_cp_vector_ps(x->profile, zw_cp_tensor_count(&p->x, x->rows), 8);
}

/* -- GEMM_EXPERTS ------------------------------------------------------------------------------------- */

enum {
	EXPERTS_A,
	EXPERTS_W,
	EXPERTS_IDS,
	EXPERTS_C,
	EXPERTS_WEIGHTS,
	EXPERTS_RESIDUAL,
	EXPERTS_A_SCALE,
	EXPERTS_W_SCALE,
	EXPERTS_W_ZERO,
	EXPERTS_W_SCALE2,
};

/* Matrices are mapped in panels of rows of about this size, as the weights of GEMM. */
#define PANEL_BYTES (512u << 10)

static struct zw_cp_factors experts_factors(const struct zw_pkt_gemm_experts *p)
{
	return (struct zw_cp_factors){&p->a,       &p->w,      &p->a_scale,
				      &p->w_scale, &p->w_zero, &p->w_scale2};
}

static uint32_t experts_validate(const void *pkt)
{
	const struct zw_pkt_gemm_experts *p = pkt;

	const struct zw_cp_factors f = experts_factors(p);
	uint32_t reason = zw_cp_check_factors(&f, p->w.dim[2]);

	if (reason)
		return reason;
	if (!(p->hdr.flags & ZW_EXPERTS_F_SCATTER) && (p->weights.dtype || p->residual.dtype))
		return ZW_REASON_OPERAND;
	if (p->ids.dim[1] > ZW_K_EXPERTS_MAX_PER_ROW)
		return ZW_REASON_VALUE;
	if ((uint64_t)p->ids.dim[0] * p->ids.dim[1] > ZW_CP_MAX_INDEX_ROWS ||
	    p->w.dim[0] > ZW_CP_MAX_EXPERTS)
		return ZW_REASON_LIMIT;
	return ZW_REASON_NONE;
}

static bool experts_supported(const void *pkt)
{
	const struct zw_cp_factors f = experts_factors(pkt);

	return zw_cp_factors_supported(&f);
}

struct experts_plan {
	uint32_t *rows;  /* by expert: rows that were given to it */
	uint32_t *some;  /* numbers of those that have some, ascending */
	uint32_t hit;    /* how many these are */
	uint32_t panel;  /* rows of a matrix in a late view */
	uint32_t panels; /* late views of a matrix */
	struct zw_k_expert_part *parts;
	size_t scales, zeros; /* late views of the scales and zero points of the experts hit */
};

static int map_expert(struct zw_cp_exec *x, const struct experts_plan *plan, uint32_t expert)
{
	const struct zw_pkt_gemm_experts *p = x->pkt;
	const struct zw_tensor *w = &p->w;
	uint64_t row = zw_cp_bytes(w->dtype, w->dim[2]);
	uint64_t span = (w->dim[1] - 1) * zw_cp_bytes(w->dtype, w->stride[1]) + row;
	size_t slot;
	bool whole;
	int err =
		zw_cp_map_whole(x, EXPERTS_W, w->va + zw_cp_bytes(w->dtype, expert * w->stride[0]),
				span, w->dim[1] * row, &whole);

	if (whole)
		return err;
	for (uint32_t r = 0, n; r < w->dim[1] && !err; r += n) {
		uint64_t at = expert * w->stride[0] + r * w->stride[1];

		n = w->dim[1] - r < plan->panel ? w->dim[1] - r : plan->panel;
		err = zw_cp_map_late(x, EXPERTS_W, w->va + zw_cp_bytes(w->dtype, at),
				     (n - 1) * zw_cp_bytes(w->dtype, w->stride[1]) + row,
				     ZW_ACCESS_READ, n * row, &slot);
	}
	return err;
}

static int map_experts(struct zw_cp_exec *x, const struct experts_plan *plan)
{
	const struct zw_tensor *w = &((const struct zw_pkt_gemm_experts *)x->pkt)->w;
	uint64_t matrix = (uint64_t)w->dim[1] * zw_cp_bytes(w->dtype, w->dim[2]);
	bool whole;
	int err = zw_cp_map_whole(x, EXPERTS_W, w->va,
				  zw_cp_bytes(w->dtype, zw_cp_tensor_span(w, w->dim[0])),
				  plan->hit * matrix, &whole);

	for (uint32_t i = 0; i < plan->hit && !err && !whole; i++)
		err = map_expert(x, plan, plan->some[i]);
	return err;
}

/* Scales or zero points, operand i, of the experts hit. */
static int map_scales(struct zw_cp_exec *x, const struct experts_plan *plan, unsigned int i)
{
	const struct zw_tensor *t = zw_cp_tensor_at(x->op, x->pkt, i);
	size_t slot;
	int err = 0;

	for (uint32_t j = 0; t->dtype && j < plan->hit && !err; j++) {
		uint64_t span = (t->dim[1] - 1) * t->stride[1] + t->dim[2];
		uint64_t first = plan->some[j] * t->stride[0];

		err = zw_cp_map_late(x, i, t->va + zw_cp_bytes(t->dtype, first),
				     zw_cp_bytes(t->dtype, span), ZW_ACCESS_READ,
				     t->dim[1] * zw_cp_bytes(t->dtype, t->dim[2]), &slot);
	}
	return err;
}

/* Those that have rows, ascending. */
static void list_experts(struct experts_plan *plan, const int32_t *ids, uint32_t pairs)
{
	uint32_t n = 0;

	/* Of the few of a decode each finds its place sooner than all that there are are gone through. */
	if (pairs <= 16) {
		for (uint32_t i = 0; i < pairs; i++) {
			uint32_t e = (uint32_t)ids[i], at = n;

			while (at && plan->some[at - 1] > e)
				at--;
			if (at && plan->some[at - 1] == e)
				continue;
			memmove(&plan->some[at + 1], &plan->some[at],
				(n++ - at) * sizeof(*plan->some));
			plan->some[at] = e;
		}
		return;
	}
	for (uint32_t e = 0; n < plan->hit; e++)
		if (plan->rows[e])
			plan->some[n++] = e;
}

static int experts_prepare(struct zw_cp_exec *x)
{
	const struct zw_pkt_gemm_experts *p = x->pkt;
	struct experts_plan *plan = zw_cp_alloc(x, 1, sizeof(*plan));
	uint64_t row = zw_cp_bytes(p->w.dtype, p->w.stride[1]);
	const int32_t *ids = x->index[EXPERTS_IDS];
	uint32_t pairs = x->rows * p->ids.dim[1];
	int err;

	if (!plan)
		return -EIO;
	x->plan = plan;
	err = zw_cp_check_index(x, ids, pairs, p->w.dim[0]);
	if (err)
		return err;
	plan->rows = zw_cp_alloc(x, p->w.dim[0], sizeof(*plan->rows));
	if (!plan->rows)
		return -EIO;
	for (uint32_t i = 0; i < pairs; i++)
		plan->hit += !plan->rows[ids[i]]++;
	plan->some = zw_cp_alloc(x, plan->hit, sizeof(*plan->some));
	if (!plan->some)
		return -EIO;
	list_experts(plan, ids, pairs);
	plan->panel = row < PANEL_BYTES ? (uint32_t)(PANEL_BYTES / row) : 1;
	plan->panels = p->w.dim[1] / plan->panel + !!(p->w.dim[1] % plan->panel);
	err = map_experts(x, plan);
	plan->scales = x->n_late;
	if (!err)
		err = map_scales(x, plan, EXPERTS_W_SCALE);
	plan->zeros = x->n_late;
	if (!err)
		err = map_scales(x, plan, EXPERTS_W_ZERO);
	if (err)
		return err;
	plan->parts = zw_cp_alloc(x, x->n_late, sizeof(*plan->parts));
	return plan->parts ? 0 : -EIO;
}

/* The panels of all matrices, those that follow each other in memory as one; how many. */
static uint64_t join_panels(const struct zw_cp_exec *x, const struct experts_plan *plan)
{
	const struct zw_pkt_gemm_experts *p = x->pkt;
	uint64_t panel_bytes = plan->panel * zw_cp_bytes(p->w.dtype, p->w.stride[1]);
	struct zw_k_expert_part *part = plan->parts;
	uint64_t late = 0, parts = 0;

	for (uint32_t hit = 0; hit < plan->hit; hit++) {
		uint32_t e = plan->some[hit];
		const void *scale = p->w_scale.dtype ? x->late[plan->scales + hit].ptr : NULL;
		const void *zero = p->w_zero.dtype ? x->late[plan->zeros + hit].ptr : NULL;

		for (uint32_t i = 0; i < plan->panels; i++, late++) {
			const char *ptr = x->late[late].ptr;
			uint32_t first = i * plan->panel, left = p->w.dim[1] - first;
			uint32_t count = left < plan->panel ? left : plan->panel;

			if (i && (const char *)x->late[late - 1].ptr + panel_bytes == ptr)
				part[parts - 1].count += count;
			else
				part[parts++] = (struct zw_k_expert_part){ptr, scale, zero,
									  e,   first, count};
		}
	}
	return parts;
}

static int experts_run(struct zw_cp_exec *x)
{
	const struct zw_pkt_gemm_experts *p = x->pkt;
	const struct experts_plan *plan = x->plan;
	struct zw_k_experts_args args = {
		.rows = x->rows,
		.per_row = p->ids.dim[1],
		.experts = p->w.dim[0],
		.n = p->w.dim[1],
		.k = p->w.dim[2],
		.flags = p->hdr.flags & ZW_EXPERTS_F_SCATTER ? ZW_K_EXPERTS_SCATTER : 0,
		.ids = x->index[EXPERTS_IDS],
		.parts = plan->parts,
		.n_parts = join_panels(x, plan),
		.w_ld = p->w.stride[1],
		.w_dtype = p->w.dtype,
		.quant.scale = zw_cp_scales(x, EXPERTS_W_SCALE, NULL),
		.quant.zero = zw_cp_scales(x, EXPERTS_W_ZERO, NULL),
		.quant.scale2 = zw_cp_in(x, EXPERTS_W_SCALE2).ptr,
		.a_scale = zw_cp_a_scales(x, EXPERTS_A_SCALE),
		.a = zw_cp_in(x, EXPERTS_A),
		.residual = zw_cp_in(x, EXPERTS_RESIDUAL),
		.c = zw_cp_out(x, EXPERTS_C),
		.weights = zw_cp_in(x, EXPERTS_WEIGHTS).ptr,
		.weights_ld = p->weights.stride[0],
	};

	return zw_cp_kernel_status(x, zw_k_experts(&args, x->cfg->pool));
}

static uint64_t quotient(uint64_t a, uint64_t b)
{
	return a / b + !!(a % b);
}

/* `to` bytes are read where `from` were counted. */
static void scale_reads(struct zw_cp_traffic *t, uint64_t from, uint64_t to)
{
	uint64_t *read[] = {&t->hbm_read, &t->sys_read};

	for (unsigned int i = 0; i < 2 && from; i++) {
		unsigned __int128 n = (unsigned __int128)*read[i] * to / from;

		*read[i] = n > UINT64_MAX ? UINT64_MAX : (uint64_t)n;
	}
}

/* An activation that does not fit on the chip: each expert is a GEMM of the rows that it was given. */
static void reread(struct zw_cp_exec *x, const struct experts_plan *plan, uint64_t half)
{
	const struct zw_pkt_gemm_experts *p = x->pkt;
	struct zw_cp_traffic *a = &x->traffic[EXPERTS_A], *w = &x->traffic[EXPERTS_W];
	uint64_t counted_a = zw_cp_add_sat(a->hbm_read, a->sys_read);
	uint64_t counted_w = zw_cp_add_sat(w->hbm_read, w->sys_read);
	uint64_t row = p->w.dim[2] * (uint64_t)zw_cp_dtype_size(p->a.dtype);
	uint64_t bytes_w = counted_w / plan->hit, all_a = 0, all_w = 0;

	for (uint32_t i = 0; i < plan->hit; i++) {
		uint64_t bytes_a = plan->rows[plan->some[i]] * row;
		uint64_t stream_w = zw_cp_mul_sat(bytes_w, quotient(bytes_a, half));
		uint64_t stream_a = zw_cp_mul_sat(bytes_a, quotient(bytes_w, half));

		if (zw_cp_add_sat(bytes_a, stream_w) <= zw_cp_add_sat(bytes_w, stream_a)) {
			all_a = zw_cp_add_sat(all_a, bytes_a);
			all_w = zw_cp_add_sat(all_w, stream_w);
		} else {
			all_a = zw_cp_add_sat(all_a, stream_a);
			all_w = zw_cp_add_sat(all_w, bytes_w);
		}
	}
	scale_reads(a, counted_a, all_a);
	scale_reads(w, counted_w, all_w);
}

static void experts_traffic(struct zw_cp_exec *x)
{
	const struct zw_cp_traffic *a = &x->traffic[EXPERTS_A];
	uint64_t half = x->profile->sram_bytes / 2 ? x->profile->sram_bytes / 2 : 1;

	if (zw_cp_add_sat(a->hbm_read, a->sys_read) > half)
		reread(x, x->plan, half);
}

static uint64_t experts_compute(struct zw_cp_exec *x)
{
	const struct zw_pkt_gemm_experts *p = x->pkt;
	const struct experts_plan *plan = x->plan;
	uint64_t pairs = (uint64_t)x->rows * p->ids.dim[1];
	struct zw_cp_product g = {
		.unit = zw_cp_unit(x, p->a.dtype, p->w.dtype),
		.n = p->w.dim[1],
		.k = p->w.dim[2],
		.outputs = zw_cp_mul_sat(pairs, p->w.dim[1]),
		.bytes = zw_cp_add_sat(x->cost.hbm_read, x->cost.hbm_written),
	};
	uint64_t ps;

	/* Tiles are those of one expert. */
	for (unsigned int i = 0; i < ZW_CP_TILE_ROWS; i++) {
		uint32_t tile = zw_cp_tile_rows(x->profile, i);

		for (uint32_t j = 0; j < plan->hit; j++) {
			uint32_t rows = plan->rows[plan->some[j]];

			/* of a decode a tile is more than enough */
			g.row_tiles[i] += rows <= tile ? 1 : quotient(rows, tile);
		}
	}
	g.ops = zw_cp_mul_sat(zw_cp_mul_sat(g.outputs, g.k), 2);
	g.unit.permille =
		(uint32_t)((uint64_t)g.unit.permille * x->profile->experts_permille / 1000);
	x->cost.fixed_ps = x->profile->experts_ps;
	x->cost.hbm_permille = x->profile->gemm_hbm_permille;
	x->cost.ops = g.ops;
	x->cost.ops_fj = g.unit.fj;
	ps = zw_cp_product_again(x->products, x->profile, &g);
	return zw_cp_add_sat(ps, zw_cp_mul_sat(x->profile->expert_ps, plan->hit));
}

/* -- table -------------------------------------------------------------------------------------------- */

const struct zw_cp_impl zw_cp_route = {.validate = route_validate,
				       .run = route_run,
				       .stand_in = route_stand_in,
				       .compute = route_compute,
				       .constant = true};
const struct zw_cp_impl zw_cp_gemm_experts = {
	.supported = experts_supported,
	.validate = experts_validate,
	.prepare = experts_prepare,
	.run = experts_run,
	.traffic = experts_traffic,
	.compute = experts_compute,
};

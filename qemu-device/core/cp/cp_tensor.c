// SPDX-License-Identifier: MIT
/* Tensor engine: matrix multiply. */
#include <errno.h>

#include "zw_cp_int.h"
#include "../engine/zw_k_layout.h"

enum {
	GEMM_A,
	GEMM_W,
	GEMM_C,
	GEMM_BIAS,
	GEMM_RESIDUAL,
	GEMM_A_SCALE,
	GEMM_W_SCALE,
	GEMM_W_ZERO,
	GEMM_W_SCALE2,
};

#define BIT(i) (1u << (i))

/*
 * Weights are mapped in panels of rows of about this size: a matrix that is not in one piece of HBM costs a bounce
 * buffer for the panels across the seams, not for all of it. Panels that follow each other in memory are
 * computed as one, and outputs do not depend on each other, so the bits are the same.
 */
#define PANEL_BYTES     (512u << 10)
/* What a transposed operand is brought into its plain order by: as many of its rows as fit, at least one. */
#define TRANSPOSE_BYTES (4u << 20)

static struct zw_cp_factors gemm_factors(const struct zw_pkt_gemm *p)
{
	return (struct zw_cp_factors){&p->a,       &p->w,      &p->a_scale,
				      &p->w_scale, &p->w_zero, &p->w_scale2};
}

static uint32_t gemm_validate(const void *pkt)
{
	const struct zw_pkt_gemm *p = pkt;
	const uint32_t trans = ZW_GEMM_F_TRANS_A | ZW_GEMM_F_TRANS_W;
	uint32_t k = p->w.dim[p->hdr.flags & ZW_GEMM_F_TRANS_W ? 0 : 1];

	const struct zw_cp_factors f = gemm_factors(p);
	uint32_t reason = zw_cp_check_factors(&f, p->hdr.flags & trans ? 0 : k);

	if (reason)
		return reason;
	if (p->hdr.flags & trans && k > ZW_CP_MAX_ROW)
		return ZW_REASON_LIMIT;
	return ZW_REASON_NONE;
}

/* Only plain numbers are moved one by one. */
static bool gemm_supported(const void *pkt)
{
	const struct zw_pkt_gemm *p = pkt;
	const struct zw_cp_factors f = gemm_factors(p);

	if ((p->hdr.flags & ZW_GEMM_F_TRANS_W && !(ZW_DT_FLOAT >> p->w.dtype & 1)) ||
	    (p->hdr.flags & ZW_GEMM_F_TRANS_A && !(ZW_DT_FLOAT >> p->a.dtype & 1)))
		return false;
	return zw_cp_factors_supported(&f);
}

struct gemm_plan {
	uint32_t panel; /* stored rows of w in a late view */
	uint32_t n, k;
	/* transposed operands in plain order, a block of rows at a time; NULL: they are in it */
	void *a, *w;
	uint32_t a_rows, w_rows;
};

static int map_panels(struct zw_cp_exec *x, const struct zw_tensor *w, uint32_t panel)
{
	size_t slot;
	bool whole;
	int ret = zw_cp_map_whole(x, GEMM_W, w->va, x->extent[GEMM_W].len,
				  w->dim[0] * zw_cp_bytes(w->dtype, w->dim[1]), &whole);

	if (ret || whole)
		return ret;
	for (uint32_t r = 0; r < w->dim[0]; r += panel) {
		uint32_t rows = w->dim[0] - r < panel ? w->dim[0] - r : panel;
		int err = zw_cp_map_late(x, GEMM_W, w->va + zw_cp_bytes(w->dtype, r * w->stride[0]),
					 zw_cp_bytes(w->dtype, zw_cp_tensor_span(w, rows)),
					 ZW_ACCESS_READ, rows * zw_cp_bytes(w->dtype, w->dim[1]),
					 &slot);

		if (err)
			return err;
	}
	return 0;
}

/* Memory for a block of rows of K elements, and how many. */
static void *transpose_block(struct zw_cp_exec *x, const struct zw_tensor *t, uint32_t rows,
			     uint32_t k, uint32_t *block)
{
	uint64_t row = (uint64_t)k * zw_cp_dtype_size(t->dtype);
	uint64_t fit = row < TRANSPOSE_BYTES ? TRANSPOSE_BYTES / row : 1;

	*block = rows < fit ? rows : (uint32_t)fit;
	return zw_cp_alloc(x, *block, row);
}

static int gemm_prepare(struct zw_cp_exec *x)
{
	const struct zw_pkt_gemm *p = x->pkt;
	uint64_t row = zw_cp_bytes(p->w.dtype, p->w.stride[0]);
	bool trans_w = p->hdr.flags & ZW_GEMM_F_TRANS_W;
	struct gemm_plan *plan = zw_cp_alloc(x, 1, sizeof(*plan));

	if (!plan)
		return -EIO;
	x->plan = plan;
	plan->panel = row < PANEL_BYTES ? (uint32_t)(PANEL_BYTES / row) : 1;
	plan->n = p->w.dim[trans_w ? 1 : 0];
	plan->k = p->w.dim[trans_w ? 0 : 1];
	plan->a_rows = x->rows;
	plan->w_rows = plan->n;
	if (p->hdr.flags & ZW_GEMM_F_TRANS_A) {
		plan->a = transpose_block(x, &p->a, x->rows, plan->k, &plan->a_rows);
		if (!plan->a)
			return -EIO;
	}
	if (trans_w) {
		plan->w = transpose_block(x, &p->w, plan->n, plan->k, &plan->w_rows);
		if (!plan->w)
			return -EIO;
	}
	x->extent[GEMM_W].va = p->w.va;
	x->extent[GEMM_W].len = zw_cp_bytes(p->w.dtype, zw_cp_tensor_span(&p->w, p->w.dim[0]));
	return map_panels(x, &p->w, plan->panel);
}

/* Moves an operand by elements. */
static const void *moved(const void *ptr, uint32_t dtype, uint64_t elements)
{
	return ptr ? (const char *)ptr + elements * zw_cp_dtype_size(dtype) : NULL;
}

/* Rows m .. m + rows of A (stored as columns), in plain order. */
static int transpose_a(struct zw_cp_exec *x, const struct gemm_plan *plan, uint32_t m,
		       struct zw_k_gemm_args *args)
{
	struct zw_k_transpose_args t = {
		.rows = plan->k,
		.cols = args->m,
		.src = zw_cp_in(x, GEMM_A),
		.dst = {.ptr = plan->a, .ld = plan->k},
	};

	t.dst.dtype = t.src.dtype;
	t.src.ptr = moved(t.src.ptr, t.src.dtype, m);
	args->a.ptr = plan->a;
	args->a.ld = plan->k;
	return zw_cp_kernel_status(x, zw_k_transpose(&t, x->cfg->pool));
}

/* The same of W, whose stored rows are in panels. */
static int transpose_w(struct zw_cp_exec *x, const struct gemm_plan *plan, uint32_t n,
		       struct zw_k_gemm_args *args)
{
	int err = 0;

	for (size_t i = 0; i < x->n_late && !err; i++) {
		uint32_t k = (uint32_t)i * plan->panel;
		struct zw_k_transpose_args t = {
			.rows = plan->k - k < plan->panel ? plan->k - k : plan->panel,
			.cols = args->n,
			.src = zw_cp_in(x, GEMM_W),
			.dst = {.ld = plan->k},
		};

		t.dst.dtype = t.src.dtype;
		t.dst.ptr = (void *)moved(plan->w, t.dst.dtype, k);
		t.src.ptr = moved(x->late[i].ptr, t.src.dtype, n);
		err = zw_cp_kernel_status(x, zw_k_transpose(&t, x->cfg->pool));
	}
	args->w.ptr = plan->w;
	args->w.ld = plan->k;
	return err;
}

/* Columns n .. n + args->n of the rows that args are about; args->w is set. */
static int gemm_columns(struct zw_cp_exec *x, struct zw_k_gemm_args args, uint32_t n)
{
	args.c.ptr = (void *)moved(args.c.ptr, args.c.dtype, n);
	args.bias.ptr = moved(args.bias.ptr, args.bias.dtype, n);
	args.residual.ptr = moved(args.residual.ptr, args.residual.dtype, n);
	return zw_cp_kernel_status(x, zw_k_gemm(&args, x->cfg->pool));
}

static int gemm_transposed_w(struct zw_cp_exec *x, const struct gemm_plan *plan,
			     struct zw_k_gemm_args *args)
{
	int err = 0;

	for (uint32_t n = 0; n < plan->n && !err; n += plan->w_rows) {
		args->n = plan->n - n < plan->w_rows ? plan->n - n : plan->w_rows;
		err = transpose_w(x, plan, n, args);
		if (!err)
			err = gemm_columns(x, *args, n);
	}
	return err;
}

static int gemm_plain_w(struct zw_cp_exec *x, const struct gemm_plan *plan,
			struct zw_k_gemm_args *args)
{
	uint64_t panel_bytes = plan->panel * zw_cp_bytes(args->w.dtype, args->w.ld);
	int err = 0;

	for (size_t i = 0, j; i < x->n_late && !err; i = j) {
		uint64_t n = (uint64_t)i * plan->panel, end;

		for (j = i + 1; j < x->n_late; j++)
			if ((char *)x->late[j].ptr != (char *)x->late[j - 1].ptr + panel_bytes)
				break;
		end = (uint64_t)j * plan->panel < plan->n ? (uint64_t)j * plan->panel : plan->n;
		args->n = (uint32_t)(end - n);
		args->w.ptr = x->late[i].ptr;
		args->quant.row0 = n;
		err = gemm_columns(x, *args, (uint32_t)n);
	}
	return err;
}

static int gemm_run(struct zw_cp_exec *x)
{
	const struct gemm_plan *plan = x->plan;
	int err = 0;

	for (uint32_t m = 0; m < x->rows && !err; m += plan->a_rows) {
		struct zw_k_gemm_args args = {
			.m = x->rows - m < plan->a_rows ? x->rows - m : plan->a_rows,
			.k = plan->k,
			.a = zw_cp_in(x, GEMM_A),
			.w = zw_cp_in(x, GEMM_W),
			.c = zw_cp_out(x, GEMM_C),
			.bias = zw_cp_in(x, GEMM_BIAS),
			.residual = zw_cp_in(x, GEMM_RESIDUAL),
			.quant.scale = zw_cp_scales(x, GEMM_W_SCALE, x->view[GEMM_W_SCALE].ptr),
			.quant.zero = zw_cp_scales(x, GEMM_W_ZERO, x->view[GEMM_W_ZERO].ptr),
			.quant.scale2 = zw_cp_in(x, GEMM_W_SCALE2).ptr,
			.a_scale = zw_cp_a_scales(x, GEMM_A_SCALE),
		};

		args.c.ptr = (void *)moved(args.c.ptr, args.c.dtype, m * args.c.ld);
		args.residual.ptr =
			moved(args.residual.ptr, args.residual.dtype, m * args.residual.ld);
		if (plan->a)
			err = transpose_a(x, plan, m, &args);
		if (!err)
			err = plan->w ? gemm_transposed_w(x, plan, &args)
				      : gemm_plain_w(x, plan, &args);
	}
	return err;
}

static void reread(struct zw_cp_traffic *t, uint64_t passes)
{
	t->hbm_read = zw_cp_mul_sat(t->hbm_read, passes);
	t->sys_read = zw_cp_mul_sat(t->sys_read, passes);
}

static void gemm_traffic(struct zw_cp_exec *x)
{
	struct zw_cp_traffic *a = &x->traffic[GEMM_A], *w = &x->traffic[GEMM_W];
	uint64_t half = x->profile->sram_bytes / 2 ? x->profile->sram_bytes / 2 : 1;
	uint64_t bytes_a = zw_cp_add_sat(a->hbm_read, a->sys_read);
	uint64_t bytes_w = zw_cp_add_sat(w->hbm_read, w->sys_read);
	/* Blocks of one operand stay in half of the SRAM while the other one streams by, once per block. */
	uint64_t blocks_a = bytes_a / half + !!(bytes_a % half);
	uint64_t blocks_w = bytes_w / half + !!(bytes_w % half);

	if (zw_cp_add_sat(bytes_a, zw_cp_mul_sat(bytes_w, blocks_a)) <=
	    zw_cp_add_sat(bytes_w, zw_cp_mul_sat(bytes_a, blocks_w)))
		reread(w, blocks_a);
	else
		reread(a, blocks_w);
}

static uint64_t gemm_compute(struct zw_cp_exec *x)
{
	const struct zw_pkt_gemm *p = x->pkt;
	bool trans_w = p->hdr.flags & ZW_GEMM_F_TRANS_W;
	uint32_t n = p->w.dim[trans_w ? 1 : 0], k = p->w.dim[trans_w ? 0 : 1];
	struct zw_cp_product g = {
		.unit = zw_cp_unit(x, p->a.dtype, p->w.dtype),
		.n = n,
		.k = k,
		.outputs = zw_cp_mul_sat(x->rows, n),
		.bytes = zw_cp_add_sat(x->cost.hbm_read, x->cost.hbm_written),
	};

	for (unsigned int i = 0; i < ZW_CP_TILE_ROWS; i++) {
		uint32_t rows = zw_cp_tile_rows(x->profile, i);

		g.row_tiles[i] = x->rows / rows + !!(x->rows % rows);
	}
	g.ops = zw_cp_mul_sat(zw_cp_mul_sat(g.outputs, k), 2);
	x->cost.fixed_ps = x->profile->gemm_ps;
	x->cost.hbm_permille = x->profile->gemm_hbm_permille;
	x->cost.ops = g.ops;
	x->cost.ops_fj = g.unit.fj;
	return zw_cp_product_again(x->products, x->profile, &g);
}

const struct zw_cp_impl zw_cp_gemm = {
	.late = BIT(GEMM_W),
	.validate = gemm_validate,
	.supported = gemm_supported,
	.prepare = gemm_prepare,
	.run = gemm_run,
	.traffic = gemm_traffic,
	.compute = gemm_compute,
	.constant = true,
};

// SPDX-License-Identifier: MIT
/* Tensor engine: matrix multiply. */
#include "zw_cp_int.h"

enum { GEMM_A, GEMM_W, GEMM_C, GEMM_BIAS, GEMM_RESIDUAL };

static const struct zw_cp_operand gemm_operands[] = {
	{"a", offsetof(struct zw_pkt_gemm, a), ZW_OPD_ROWS, ZW_DT_FLOAT, "MK"},
	{"w", offsetof(struct zw_pkt_gemm, w), ZW_OPD_LATE, ZW_DT_FLOAT, "NK"},
	{"c", offsetof(struct zw_pkt_gemm, c), ZW_OPD_OUT | ZW_OPD_ROWS, ZW_DT_FLOAT, "MN",
	 1u << GEMM_RESIDUAL},
	{"bias", offsetof(struct zw_pkt_gemm, bias), ZW_OPD_OPT, ZW_DT_FLOAT, "N"},
	{"residual", offsetof(struct zw_pkt_gemm, residual), ZW_OPD_ROWS | ZW_OPD_OPT, ZW_DT_FLOAT,
	 "MN"},
};

/*
 * Weights are mapped in panels of rows of about this size: a matrix that is not in one piece of HBM costs a bounce
 * buffer for the panels across the seams, not for all of it. Panels that follow each other in memory are
 * computed as one, and outputs do not depend on each other, so the bits are the same.
 */
#define PANEL_BYTES (512u << 10)

static int map_panels(struct zw_cp_exec *x, const struct zw_tensor *w, uint32_t panel)
{
	unsigned int esize = zw_cp_dtype_size(w->dtype);
	size_t slot;

	for (uint32_t n = 0; n < w->dim[0]; n += panel) {
		uint32_t rows = w->dim[0] - n < panel ? w->dim[0] - n : panel;
		int err = zw_cp_map_late(x, GEMM_W, w->va + n * w->stride[0] * esize,
					 zw_cp_tensor_span(w, rows) * esize, ZW_ACCESS_READ,
					 (uint64_t)rows * w->dim[1] * esize, &slot);

		if (err)
			return err;
	}
	return 0;
}

/* Moves a [N] or [M,N] operand n columns to the right. */
static const void *columns(const void *ptr, uint32_t dtype, uint64_t n)
{
	return ptr ? (const char *)ptr + n * zw_cp_dtype_size(dtype) : NULL;
}

static int gemm_exec(struct zw_cp_exec *x)
{
	const struct zw_pkt_gemm *p = x->pkt;
	const struct zw_tensor *w = &p->w;
	uint64_t row = w->stride[0] * zw_cp_dtype_size(w->dtype);
	uint32_t panel = row < PANEL_BYTES ? (uint32_t)(PANEL_BYTES / row) : 1;
	int err = map_panels(x, w, panel);

	if (err)
		return err;
	for (size_t i = 0, j; i < x->n_late; i = j) {
		uint64_t n = (uint64_t)i * panel, end;
		struct zw_k_gemm_args args = {
			.m = x->rows,
			.k = w->dim[1],
			.a = zw_cp_in(x, GEMM_A),
			.w = zw_cp_in(x, GEMM_W),
			.c = zw_cp_out(x, GEMM_C),
			.bias = zw_cp_in(x, GEMM_BIAS),
			.residual = zw_cp_in(x, GEMM_RESIDUAL),
		};

		for (j = i + 1; j < x->n_late; j++)
			if ((char *)x->late[j].ptr != (char *)x->late[j - 1].ptr + panel * row)
				break;
		end = (uint64_t)j * panel < w->dim[0] ? (uint64_t)j * panel : w->dim[0];
		args.n = (uint32_t)(end - n);
		args.w.ptr = x->late[i].ptr;
		args.c.ptr = (void *)columns(args.c.ptr, args.c.dtype, n);
		args.bias.ptr = columns(args.bias.ptr, args.bias.dtype, n);
		args.residual.ptr = columns(args.residual.ptr, args.residual.dtype, n);
		err = zw_cp_kernel_status(x, zw_k_gemm(&args, x->cfg->pool));
		if (err)
			return err;
	}
	return 0;
}

static void reread(struct zw_cp_traffic *t, uint64_t passes)
{
	t->hbm = zw_cp_mul_sat(t->hbm, passes);
	t->sys = zw_cp_mul_sat(t->sys, passes);
}

static uint64_t gemm_compute(struct zw_cp_exec *x)
{
	const struct zw_pkt_gemm *p = x->pkt;
	struct zw_cp_traffic *a = &x->traffic[GEMM_A], *w = &x->traffic[GEMM_W];
	uint64_t half = x->profile->sram_bytes / 2 ? x->profile->sram_bytes / 2 : 1;
	uint64_t bytes_a = zw_cp_add_sat(a->hbm, a->sys), bytes_w = zw_cp_add_sat(w->hbm, w->sys);
	/* Blocks of one operand stay in half of the SRAM while the other one streams by, once per block. */
	uint64_t blocks_a = bytes_a / half + !!(bytes_a % half);
	uint64_t blocks_w = bytes_w / half + !!(bytes_w % half);

	if (zw_cp_add_sat(bytes_a, zw_cp_mul_sat(bytes_w, blocks_a)) <=
	    zw_cp_add_sat(bytes_w, zw_cp_mul_sat(bytes_a, blocks_w)))
		reread(w, blocks_a);
	else
		reread(a, blocks_w);
	return zw_cp_tensor_ps(x->profile, x->rows, p->w.dim[0], p->w.dim[1],
			       p->a.dtype == ZW_DTYPE_F32 || p->w.dtype == ZW_DTYPE_F32);
}

static const struct zw_cp_op ops[] = {
	{ZW_OP_GEMM, sizeof(struct zw_pkt_gemm), ZW_ENGINE_TENSOR, 5, "GEMM", ZW_PKT_F_ASYNC,
	 gemm_operands, NULL, gemm_exec, gemm_compute},
};

const struct zw_cp_group zw_cp_tensor = {ops, sizeof(ops) / sizeof(ops[0])};

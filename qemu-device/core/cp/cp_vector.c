// SPDX-License-Identifier: MIT
/* Vector engine: norms, RoPE, activations, gather, sampling. */
#include <errno.h>
#include <string.h>

#include "zw_cp_int.h"

static float f32_of(uint32_t bits)
{
	float f;

	memcpy(&f, &bits, sizeof(f));
	return f;
}

/* Elements of an operand with the rows that count. */
static uint64_t elements(const struct zw_cp_exec *x, const struct zw_tensor *t)
{
	return zw_cp_tensor_count(t, x->rows);
}

/* -- RMSNORM ------------------------------------------------------------------------------------------ */

enum { NORM_X, NORM_W, NORM_Y };

static uint32_t rmsnorm_validate(const void *pkt)
{
	const struct zw_pkt_rmsnorm *p = pkt;

	return p->w.dim[0] > ZW_CP_MAX_ROW ? ZW_REASON_LIMIT : ZW_REASON_NONE;
}

static int rmsnorm_run(struct zw_cp_exec *x)
{
	const struct zw_pkt_rmsnorm *p = x->pkt;
	struct zw_k_rmsnorm_args args = {
		.rows = x->rows,
		.heads = zw_cp_heads(&p->x),
		.n = zw_cp_inner(&p->x),
		.eps = f32_of(p->eps_f32),
		.x = zw_cp_in(x, NORM_X),
		.w = zw_cp_in(x, NORM_W),
		.y = zw_cp_out(x, NORM_Y),
	};

	return zw_cp_kernel_status(x, zw_k_rmsnorm(&args, x->cfg->pool));
}

static uint64_t rmsnorm_compute(struct zw_cp_exec *x)
{
	const struct zw_pkt_rmsnorm *p = x->pkt;

	x->cost.fixed_ps += zw_cp_reduce_ps(x->profile, zw_cp_inner(&p->x));
	return zw_cp_vector_ps(x->profile, elements(x, &p->x), 4);
}

/* -- GATED_NORM --------------------------------------------------------------------------------------- */

enum { GATED_X, GATED_W, GATED_GATE, GATED_Y };

static uint32_t gated_norm_validate(const void *pkt)
{
	const struct zw_pkt_gated_norm *p = pkt;

	return p->w.dim[0] > ZW_CP_MAX_ROW ? ZW_REASON_LIMIT : ZW_REASON_NONE;
}

static int gated_norm_run(struct zw_cp_exec *x)
{
	const struct zw_pkt_gated_norm *p = x->pkt;
	struct zw_k_rmsnorm_args args = {
		.rows = x->rows,
		.heads = zw_cp_heads(&p->x),
		.n = zw_cp_inner(&p->x),
		.eps = f32_of(p->eps_f32),
		.x = zw_cp_in(x, GATED_X),
		.w = zw_cp_in(x, GATED_W),
		.gate = zw_cp_in(x, GATED_GATE),
		.y = zw_cp_out(x, GATED_Y),
	};

	return zw_cp_kernel_status(x, zw_k_rmsnorm(&args, x->cfg->pool));
}

static uint64_t gated_norm_compute(struct zw_cp_exec *x)
{
	const struct zw_pkt_gated_norm *p = x->pkt;

	x->cost.fixed_ps += zw_cp_reduce_ps(x->profile, zw_cp_inner(&p->x));
	return zw_cp_vector_ps(x->profile, elements(x, &p->x), 12);
}

/* -- ROPE --------------------------------------------------------------------------------------------- */

enum { ROPE_X, ROPE_Y, ROPE_POS, ROPE_COS, ROPE_SIN };

static uint32_t rope_validate(const void *pkt)
{
	const struct zw_pkt_rope *p = pkt;

	if (2ull * p->cos.dim[1] > p->x.dim[2])
		return ZW_REASON_SHAPE;
	if (p->x.dim[2] > ZW_CP_MAX_ROW)
		return ZW_REASON_LIMIT;
	/* The engine walks both tables with one stride. */
	if (p->cos.stride[0] != p->sin.stride[0])
		return ZW_REASON_STRIDE;
	return ZW_REASON_NONE;
}

/* Maps rows first..last of a table; counts one row for each row of x. */
static int map_table(struct zw_cp_exec *x, unsigned int i, uint32_t first, uint32_t last,
		     size_t *slot)
{
	const struct zw_tensor *t = zw_cp_tensor_at(x->op, x->pkt, i);
	uint64_t row = (uint64_t)t->dim[1] * 4;

	return zw_cp_map_late(x, i, t->va + first * t->stride[0] * 4,
			      zw_cp_tensor_span(t, last - first + 1) * 4, ZW_ACCESS_READ,
			      row * x->rows, slot);
}

/* Rows of the tables that the packet uses. */
struct rope_plan {
	size_t cos, sin; /* late views */
	uint32_t positions;
};

static int rope_prepare(struct zw_cp_exec *x)
{
	const struct zw_pkt_rope *p = x->pkt;
	struct rope_plan *plan = zw_cp_alloc(x, 1, sizeof(*plan));
	int32_t *pos = x->index[ROPE_POS];
	int32_t first = INT32_MAX, last = 0;
	int err;

	if (!plan)
		return -EIO;
	x->plan = plan;
	err = zw_cp_check_index(x, pos, x->rows, p->cos.dim[0]);
	if (err)
		return err;
	for (uint32_t i = 0; i < x->rows; i++) {
		first = pos[i] < first ? pos[i] : first;
		last = pos[i] > last ? pos[i] : last;
	}
	/* Only the rows in use: a table for a long context is large, and may have to be bounced. */
	for (uint32_t i = 0; i < x->rows; i++)
		pos[i] -= first;
	plan->positions = last - first + 1;
	err = map_table(x, ROPE_COS, first, last, &plan->cos);
	return err ? err : map_table(x, ROPE_SIN, first, last, &plan->sin);
}

static int rope_run(struct zw_cp_exec *x)
{
	const struct zw_pkt_rope *p = x->pkt;
	const struct rope_plan *plan = x->plan;
	struct zw_k_rope_args args = {
		.rows = x->rows,
		.heads = p->x.dim[1],
		.d = p->x.dim[2],
		.rot = 2 * p->cos.dim[1],
		.n_pos = plan->positions,
		.cos_tab = x->late[plan->cos].ptr,
		.sin_tab = x->late[plan->sin].ptr,
		.table_ld = p->cos.stride[0],
		.positions = x->index[ROPE_POS],
		.x = zw_cp_in(x, ROPE_X),
		.y = zw_cp_out(x, ROPE_Y),
	};

	return zw_cp_kernel_status(x, zw_k_rope(&args, x->cfg->pool));
}

static uint64_t rope_compute(struct zw_cp_exec *x)
{
	const struct zw_pkt_rope *p = x->pkt;

	return zw_cp_vector_ps(x->profile, elements(x, &p->x), 3);
}

/* -- SWIGLU, ADD -------------------------------------------------------------------------------------- */

enum { GLU_GATE, GLU_UP, GLU_Y };

/* Whether all rows and heads are one distance apart. */
static bool one_stride(const struct zw_tensor *t)
{
	return t->ndim == 2 || t->stride[0] == t->dim[1] * t->stride[1];
}

static void *head_at(const void *ptr, uint32_t dtype, uint64_t hs, uint32_t head)
{
	return (char *)ptr + head * hs * zw_cp_dtype_size(dtype);
}

static int swiglu_run(struct zw_cp_exec *x)
{
	const struct zw_pkt_swiglu *p = x->pkt;
	uint32_t heads = zw_cp_heads(&p->y);
	const struct zw_k_swiglu_args all = {
		.rows = x->rows,
		.n = zw_cp_inner(&p->y),
		.gate = zw_cp_in(x, GLU_GATE),
		.up = zw_cp_in(x, GLU_UP),
		.out = zw_cp_out(x, GLU_Y),
	};
	struct zw_k_swiglu_args args = all;
	int err = 0;

	if (heads == 1)
		return zw_cp_kernel_status(x, zw_k_swiglu(&args, x->cfg->pool));
	if (one_stride(&p->gate) && one_stride(&p->up) && one_stride(&p->y) &&
	    (uint64_t)x->rows * heads <= UINT32_MAX) {
		args.rows = x->rows * heads;
		args.gate.ld = all.gate.hs;
		args.up.ld = all.up.hs;
		args.out.ld = all.out.hs;
		return zw_cp_kernel_status(x, zw_k_swiglu(&args, x->cfg->pool));
	}
	for (uint32_t h = 0; h < heads && !err; h++) {
		args.gate.ptr = head_at(all.gate.ptr, all.gate.dtype, all.gate.hs, h);
		args.up.ptr = head_at(all.up.ptr, all.up.dtype, all.up.hs, h);
		args.out.ptr = head_at(all.out.ptr, all.out.dtype, all.out.hs, h);
		err = zw_cp_kernel_status(x, zw_k_swiglu(&args, x->cfg->pool));
	}
	return err;
}

static uint64_t swiglu_compute(struct zw_cp_exec *x)
{
	const struct zw_pkt_swiglu *p = x->pkt;

	return zw_cp_vector_ps(x->profile, elements(x, &p->y), 8);
}

enum { ADD_A, ADD_B, ADD_Y };

static int add_run(struct zw_cp_exec *x)
{
	const struct zw_pkt_add *p = x->pkt;
	struct zw_k_add_args args = {
		.rows = x->rows,
		.n = p->y.dim[1],
		.a = zw_cp_in(x, ADD_A),
		.b = zw_cp_in(x, ADD_B),
		.out = zw_cp_out(x, ADD_Y),
	};

	return zw_cp_kernel_status(x, zw_k_add(&args, x->cfg->pool));
}

static uint64_t add_compute(struct zw_cp_exec *x)
{
	const struct zw_pkt_add *p = x->pkt;

	return zw_cp_vector_ps(x->profile, elements(x, &p->y), 1);
}

/* -- MUL_SIGMOID -------------------------------------------------------------------------------------- */

enum { SIGMOID_X, SIGMOID_GATE, SIGMOID_RESIDUAL, SIGMOID_Y };

static int mul_sigmoid_run(struct zw_cp_exec *x)
{
	const struct zw_pkt_mul_sigmoid *p = x->pkt;
	struct zw_k_mul_sigmoid_args args = {
		.rows = x->rows,
		.heads = zw_cp_heads(&p->x),
		.n = zw_cp_inner(&p->x),
		.flags = p->hdr.flags & ZW_SIGMOID_F_ROW_GATE ? ZW_K_SIGMOID_ROW_GATE : 0,
		.x = zw_cp_in(x, SIGMOID_X),
		.gate = zw_cp_in(x, SIGMOID_GATE),
		.residual = zw_cp_in(x, SIGMOID_RESIDUAL),
		.out = zw_cp_out(x, SIGMOID_Y),
	};

	return zw_cp_kernel_status(x, zw_k_mul_sigmoid(&args, x->cfg->pool));
}

static uint64_t mul_sigmoid_compute(struct zw_cp_exec *x)
{
	const struct zw_pkt_mul_sigmoid *p = x->pkt;

	return zw_cp_vector_ps(x->profile, elements(x, &p->x), 8);
}

/* -- EMBED -------------------------------------------------------------------------------------------- */

enum { EMBED_IDS, EMBED_TABLE, EMBED_Y };

static int embed_prepare(struct zw_cp_exec *x)
{
	const struct zw_pkt_embed *p = x->pkt;
	const int32_t *ids = x->index[EMBED_IDS];
	uint64_t row = zw_cp_bytes(p->table.dtype, p->table.dim[1]);
	uint64_t stride = zw_cp_bytes(p->table.dtype, p->table.stride[0]);
	size_t slot;
	int err = zw_cp_check_index(x, ids, x->rows, p->table.dim[0]);

	/* Row by row: the table is hundreds of megabytes, and need not lie in one piece. */
	for (uint32_t r = 0; r < x->rows && !err; r++)
		err = zw_cp_map_late(x, EMBED_TABLE, p->table.va + (uint64_t)ids[r] * stride, row,
				     ZW_ACCESS_READ, row, &slot);
	return err;
}

static int embed_run(struct zw_cp_exec *x)
{
	const struct zw_pkt_embed *p = x->pkt;
	unsigned int esize = zw_cp_dtype_size(p->y.dtype);
	int err = 0;

	for (uint32_t r = 0; r < x->rows && !err; r++) {
		struct zw_k_convert_args args = {
			.rows = 1,
			.n = p->table.dim[1],
			.src = {.ptr = x->late[r].ptr,
				.dtype = p->table.dtype,
				.ld = p->table.dim[1]},
			.dst = {.ptr = (char *)x->view[EMBED_Y].ptr + r * p->y.stride[0] * esize,
				.dtype = p->y.dtype,
				.ld = p->y.stride[0]},
		};

		err = zw_cp_kernel_status(x, zw_k_convert(&args, x->cfg->pool));
	}
	return err;
}

/* -- ARGMAX, TOPK ------------------------------------------------------------------------------------- */

enum { ARGMAX_X, ARGMAX_IDS };

static int argmax_run(struct zw_cp_exec *x)
{
	const struct zw_pkt_argmax *p = x->pkt;
	struct zw_k_argmax_args args = {
		.rows = x->rows,
		.n = p->x.dim[1],
		.x = zw_cp_in(x, ARGMAX_X),
		.index = x->view[ARGMAX_IDS].ptr,
	};

	return zw_cp_kernel_status(x, zw_k_argmax(&args, x->cfg->pool));
}

static uint64_t argmax_compute(struct zw_cp_exec *x)
{
	const struct zw_pkt_argmax *p = x->pkt;

	/* once within the units, once across them */
	x->cost.fixed_ps += 2 * zw_cp_reduce_ps(x->profile, p->x.dim[1]);
	return zw_cp_vector_ps(x->profile, elements(x, &p->x), 1);
}

enum { TOPK_X, TOPK_VALUES, TOPK_IDS };

/* Operations for an element: passes over the row until what is left is few enough to be sorted. */
#define TOPK_OPS 720

static uint32_t topk_validate(const void *pkt)
{
	const struct zw_pkt_topk *p = pkt;

	if (p->values.dim[1] > ZW_K_TOPK_MAX || p->values.dim[1] > p->x.dim[1])
		return ZW_REASON_VALUE;
	return ZW_REASON_NONE;
}

/* The kernel's results are dense, the packet's rows need not be: they go through a block of rows at a time. */
struct topk_plan {
	uint32_t block;
	float *value;
	int32_t *index;
};

static int topk_prepare(struct zw_cp_exec *x)
{
	const struct zw_pkt_topk *p = x->pkt;
	struct topk_plan *plan = zw_cp_alloc(x, 1, sizeof(*plan));
	uint32_t k = p->values.dim[1];

	if (!plan)
		return -EIO;
	x->plan = plan;
	plan->block = (1u << 20) / k < x->rows ? (1u << 20) / k : x->rows;
	plan->value = zw_cp_alloc(x, (uint64_t)plan->block * k, sizeof(*plan->value));
	if (plan->value)
		plan->index = zw_cp_alloc(x, (uint64_t)plan->block * k, sizeof(*plan->index));
	return plan->index ? 0 : -EIO;
}

static int topk_run(struct zw_cp_exec *x)
{
	const struct zw_pkt_topk *p = x->pkt;
	const struct topk_plan *plan = x->plan;
	uint32_t k = p->values.dim[1];

	for (uint32_t r = 0; r < x->rows; r += plan->block) {
		struct zw_k_topk_args args = {
			.rows = x->rows - r < plan->block ? x->rows - r : plan->block,
			.n = p->x.dim[1],
			.k = k,
			.x = zw_cp_in(x, TOPK_X),
			.value = plan->value,
			.index = plan->index,
		};
		int err;

		args.x.ptr = (const char *)args.x.ptr +
			     r * p->x.stride[0] * zw_cp_dtype_size(p->x.dtype);
		err = zw_cp_kernel_status(x, zw_k_topk(&args, x->cfg->pool));
		if (err)
			return err;
		for (uint32_t i = 0; i < args.rows; i++) {
			memcpy((float *)x->view[TOPK_VALUES].ptr +
				       (r + (uint64_t)i) * p->values.stride[0],
			       plan->value + (uint64_t)i * k, k * sizeof(float));
			memcpy((int32_t *)x->view[TOPK_IDS].ptr +
				       (r + (uint64_t)i) * p->ids.stride[0],
			       plan->index + (uint64_t)i * k, k * sizeof(int32_t));
		}
	}
	return 0;
}

static uint64_t topk_compute(struct zw_cp_exec *x)
{
	const struct zw_pkt_topk *p = x->pkt;

	/* One unit has a row, and goes through it again and again. */
	x->cost.fixed_ps += zw_cp_mul_sat(x->profile->topk_ps, p->x.dim[1] / 1024);
	return zw_cp_vector_ps(x->profile, elements(x, &p->x), TOPK_OPS);
}

/* -- table ------------------------------------------------------------------------------------------------- */

const struct zw_cp_impl zw_cp_rmsnorm = {.validate = rmsnorm_validate,
					 .run = rmsnorm_run,
					 .compute = rmsnorm_compute,
					 .constant = true};
const struct zw_cp_impl zw_cp_rope = {.validate = rope_validate,
				      .prepare = rope_prepare,
				      .run = rope_run,
				      .compute = rope_compute};
const struct zw_cp_impl zw_cp_swiglu = {
	.run = swiglu_run, .compute = swiglu_compute, .constant = true};
const struct zw_cp_impl zw_cp_gated_norm = {.validate = gated_norm_validate,
					    .run = gated_norm_run,
					    .compute = gated_norm_compute,
					    .constant = true};
const struct zw_cp_impl zw_cp_mul_sigmoid = {
	.run = mul_sigmoid_run, .compute = mul_sigmoid_compute, .constant = true};
const struct zw_cp_impl zw_cp_embed = {.prepare = embed_prepare, .run = embed_run};
const struct zw_cp_impl zw_cp_add = {.run = add_run, .compute = add_compute, .constant = true};
const struct zw_cp_impl zw_cp_argmax = {
	.run = argmax_run, .compute = argmax_compute, .constant = true};
const struct zw_cp_impl zw_cp_topk = {.validate = topk_validate,
				      .prepare = topk_prepare,
				      .run = topk_run,
				      .compute = topk_compute,
				      .constant = true};

// SPDX-License-Identifier: MIT
/* Vector engine: norms, RoPE, activations, gather, sampling. */
#include <errno.h>
#include <string.h>

#include "zw_cp_int.h"

/* Bits of a finite binary32 with the sign clear. */
static bool finite_not_negative(uint32_t bits)
{
	return bits < 0x7f800000u;
}

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

static const struct zw_cp_operand rmsnorm_operands[] = {
	{"x", offsetof(struct zw_pkt_rmsnorm, x), ZW_OPD_ROWS, ZW_DT_FLOAT, "MhD"},
	{"w", offsetof(struct zw_pkt_rmsnorm, w), 0, ZW_DT_FLOAT, "D"},
	{"y", offsetof(struct zw_pkt_rmsnorm, y), ZW_OPD_OUT | ZW_OPD_ROWS, ZW_DT_FLOAT, "MhD",
	 1u << NORM_X},
};

static uint32_t rmsnorm_validate(const void *pkt)
{
	const struct zw_pkt_rmsnorm *p = pkt;

	if (p->reserved[0] || p->reserved[1] || p->reserved[2])
		return ZW_REASON_RESERVED;
	if (p->w.dim[0] > ZW_CP_MAX_ROW)
		return ZW_REASON_LIMIT;
	return finite_not_negative(p->eps_f32) ? ZW_REASON_NONE : ZW_REASON_VALUE;
}

static int rmsnorm_exec(struct zw_cp_exec *x)
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

	return zw_cp_vector_ps(x->profile, elements(x, &p->x), 4);
}

/* -- ROPE --------------------------------------------------------------------------------------------- */

enum { ROPE_X, ROPE_Y, ROPE_POS, ROPE_COS, ROPE_SIN };

static const struct zw_cp_operand rope_operands[] = {
	{"x", offsetof(struct zw_pkt_rope, x), ZW_OPD_ROWS, ZW_DT_FLOAT, "MHD"},
	{"y", offsetof(struct zw_pkt_rope, y), ZW_OPD_OUT | ZW_OPD_ROWS, ZW_DT_FLOAT, "MHD",
	 1u << ROPE_X},
	{"pos", offsetof(struct zw_pkt_rope, pos), ZW_OPD_ROWS | ZW_OPD_INDEX, ZW_DT(I32), "M"},
	{"cos", offsetof(struct zw_pkt_rope, cos_table), ZW_OPD_LATE, ZW_DT(F32), "PR"},
	{"sin", offsetof(struct zw_pkt_rope, sin_table), ZW_OPD_LATE, ZW_DT(F32), "PR"},
};

static uint32_t rope_validate(const void *pkt)
{
	const struct zw_pkt_rope *p = pkt;

	if (2ull * p->cos_table.dim[1] > p->x.dim[2])
		return ZW_REASON_SHAPE;
	if (p->x.dim[2] > ZW_CP_MAX_ROW)
		return ZW_REASON_LIMIT;
	/* The engine walks both tables with one stride. */
	if (p->cos_table.stride[0] != p->sin_table.stride[0])
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

static int rope_exec(struct zw_cp_exec *x)
{
	const struct zw_pkt_rope *p = x->pkt;
	int32_t *pos = x->index[ROPE_POS];
	int32_t first = INT32_MAX, last = 0;
	struct zw_k_rope_args args = {
		.rows = x->rows,
		.heads = p->x.dim[1],
		.d = p->x.dim[2],
		.rot = 2 * p->cos_table.dim[1],
		.positions = pos,
		.x = zw_cp_in(x, ROPE_X),
		.y = zw_cp_out(x, ROPE_Y),
	};
	size_t cos_slot, sin_slot;
	int err;

	err = zw_cp_check_index(x, pos, x->rows, p->cos_table.dim[0]);
	if (err)
		return err;
	for (uint32_t i = 0; i < x->rows; i++) {
		first = pos[i] < first ? pos[i] : first;
		last = pos[i] > last ? pos[i] : last;
	}
	/* Only the rows in use: a table for a long context is large, and may have to be bounced. */
	for (uint32_t i = 0; i < x->rows; i++)
		pos[i] -= first;
	err = map_table(x, ROPE_COS, first, last, &cos_slot);
	if (!err)
		err = map_table(x, ROPE_SIN, first, last, &sin_slot);
	if (err)
		return err;
	args.cos_tab = x->late[cos_slot].ptr;
	args.sin_tab = x->late[sin_slot].ptr;
	args.table_ld = p->cos_table.stride[0];
	args.n_pos = last - first + 1;
	return zw_cp_kernel_status(x, zw_k_rope(&args, x->cfg->pool));
}

static uint64_t rope_compute(struct zw_cp_exec *x)
{
	const struct zw_pkt_rope *p = x->pkt;

	return zw_cp_vector_ps(x->profile, elements(x, &p->x), 3);
}

/* -- SWIGLU, ADD -------------------------------------------------------------------------------------- */

enum { GLU_GATE, GLU_UP, GLU_Y };

static const struct zw_cp_operand swiglu_operands[] = {
	{"gate", offsetof(struct zw_pkt_swiglu, gate), ZW_OPD_ROWS, ZW_DT_FLOAT, "MI"},
	{"up", offsetof(struct zw_pkt_swiglu, up), ZW_OPD_ROWS, ZW_DT_FLOAT, "MI"},
	{"y", offsetof(struct zw_pkt_swiglu, y), ZW_OPD_OUT | ZW_OPD_ROWS, ZW_DT_FLOAT, "MI",
	 1u << GLU_GATE | 1u << GLU_UP},
};

static int swiglu_exec(struct zw_cp_exec *x)
{
	const struct zw_pkt_swiglu *p = x->pkt;
	struct zw_k_swiglu_args args = {
		.rows = x->rows,
		.n = p->y.dim[1],
		.gate = zw_cp_in(x, GLU_GATE),
		.up = zw_cp_in(x, GLU_UP),
		.out = zw_cp_out(x, GLU_Y),
	};

	return zw_cp_kernel_status(x, zw_k_swiglu(&args, x->cfg->pool));
}

static uint64_t swiglu_compute(struct zw_cp_exec *x)
{
	const struct zw_pkt_swiglu *p = x->pkt;

	return zw_cp_vector_ps(x->profile, elements(x, &p->y), 8);
}

enum { ADD_A, ADD_B, ADD_Y };

static const struct zw_cp_operand add_operands[] = {
	{"a", offsetof(struct zw_pkt_add, a), ZW_OPD_ROWS, ZW_DT_FLOAT, "MN"},
	{"b", offsetof(struct zw_pkt_add, b), ZW_OPD_ROWS, ZW_DT_FLOAT, "MN"},
	{"y", offsetof(struct zw_pkt_add, y), ZW_OPD_OUT | ZW_OPD_ROWS, ZW_DT_FLOAT, "MN",
	 1u << ADD_A | 1u << ADD_B},
};

static int add_exec(struct zw_cp_exec *x)
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

/* -- EMBED -------------------------------------------------------------------------------------------- */

enum { EMBED_IDS, EMBED_TABLE, EMBED_Y };

static const struct zw_cp_operand embed_operands[] = {
	{"ids", offsetof(struct zw_pkt_embed, ids), ZW_OPD_ROWS | ZW_OPD_INDEX, ZW_DT(I32), "M"},
	{"table", offsetof(struct zw_pkt_embed, table), ZW_OPD_LATE, ZW_DT_FLOAT, "VH"},
	{"y", offsetof(struct zw_pkt_embed, y), ZW_OPD_OUT | ZW_OPD_ROWS, ZW_DT_FLOAT, "MH"},
};

static int embed_exec(struct zw_cp_exec *x)
{
	const struct zw_pkt_embed *p = x->pkt;
	const int32_t *ids = x->index[EMBED_IDS];
	unsigned int tsize = zw_cp_dtype_size(p->table.dtype), ysize = zw_cp_dtype_size(p->y.dtype);
	uint64_t row = (uint64_t)p->table.dim[1] * tsize;
	size_t slot;
	int err;

	err = zw_cp_check_index(x, ids, x->rows, p->table.dim[0]);
	if (err)
		return err;
	/* Row by row: the table is hundreds of megabytes, and need not lie in one piece. */
	for (uint32_t r = 0; r < x->rows; r++) {
		err = zw_cp_map_late(x, EMBED_TABLE,
				     p->table.va + ids[r] * p->table.stride[0] * tsize, row,
				     ZW_ACCESS_READ, row, &slot);
		if (err)
			return err;
	}
	for (uint32_t r = 0; r < x->rows; r++) {
		struct zw_k_convert_args args = {
			.rows = 1,
			.n = p->table.dim[1],
			.src = {.ptr = x->late[r].ptr,
				.dtype = p->table.dtype,
				.ld = p->table.dim[1]},
			.dst = {.ptr = (char *)x->view[EMBED_Y].ptr + r * p->y.stride[0] * ysize,
				.dtype = p->y.dtype,
				.ld = p->y.stride[0]},
		};

		err = zw_cp_kernel_status(x, zw_k_convert(&args, x->cfg->pool));
		if (err)
			return err;
	}
	return 0;
}

/* -- ARGMAX, TOPK ------------------------------------------------------------------------------------- */

enum { ARGMAX_X, ARGMAX_IDS };

static const struct zw_cp_operand argmax_operands[] = {
	{"x", offsetof(struct zw_pkt_argmax, x), ZW_OPD_ROWS, ZW_DT_FLOAT, "MV"},
	{"ids", offsetof(struct zw_pkt_argmax, ids), ZW_OPD_OUT | ZW_OPD_ROWS, ZW_DT(I32), "M"},
};

static int argmax_exec(struct zw_cp_exec *x)
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

	return zw_cp_vector_ps(x->profile, elements(x, &p->x), 1);
}

enum { TOPK_X, TOPK_VALUES, TOPK_IDS };

static const struct zw_cp_operand topk_operands[] = {
	{"x", offsetof(struct zw_pkt_topk, x), ZW_OPD_ROWS, ZW_DT_FLOAT, "MV"},
	{"values", offsetof(struct zw_pkt_topk, values), ZW_OPD_OUT | ZW_OPD_ROWS, ZW_DT(F32),
	 "MK"},
	{"ids", offsetof(struct zw_pkt_topk, ids), ZW_OPD_OUT | ZW_OPD_ROWS, ZW_DT(I32), "MK"},
};

static uint32_t topk_validate(const void *pkt)
{
	const struct zw_pkt_topk *p = pkt;

	if (p->values.dim[1] > ZW_K_TOPK_MAX || p->values.dim[1] > p->x.dim[1])
		return ZW_REASON_VALUE;
	return ZW_REASON_NONE;
}

static int topk_exec(struct zw_cp_exec *x)
{
	const struct zw_pkt_topk *p = x->pkt;
	uint32_t k = p->values.dim[1];
	/* The kernel's results are dense, the packet's rows need not be: go through a block of rows at a time. */
	uint32_t block = (1u << 20) / k;
	float *value;
	int32_t *index;

	block = block < x->rows ? block : x->rows;
	value = zw_cp_alloc(x, (uint64_t)block * k, sizeof(*value));
	index = value ? zw_cp_alloc(x, (uint64_t)block * k, sizeof(*index)) : NULL;
	if (!index)
		return -EIO;
	for (uint32_t r = 0; r < x->rows; r += block) {
		struct zw_k_topk_args args = {
			.rows = x->rows - r < block ? x->rows - r : block,
			.n = p->x.dim[1],
			.k = k,
			.x = zw_cp_in(x, TOPK_X),
			.value = value,
			.index = index,
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
			       value + (uint64_t)i * k, k * sizeof(*value));
			memcpy((int32_t *)x->view[TOPK_IDS].ptr +
				       (r + (uint64_t)i) * p->ids.stride[0],
			       index + (uint64_t)i * k, k * sizeof(*index));
		}
	}
	return 0;
}

static uint64_t topk_compute(struct zw_cp_exec *x)
{
	const struct zw_pkt_topk *p = x->pkt;

	return zw_cp_vector_ps(x->profile, elements(x, &p->x), 4);
}

#define OP(code, pkt, name, operands, validate, exec, compute)                                     \
	{                                                                                          \
		code, sizeof(struct pkt), ZW_ENGINE_VECTOR,                                        \
			sizeof(operands) / sizeof((operands)[0]), name, ZW_PKT_F_ASYNC, operands,  \
			validate, exec, compute                                                    \
	}

static const struct zw_cp_op ops[] = {
	OP(ZW_OP_RMSNORM, zw_pkt_rmsnorm, "RMSNORM", rmsnorm_operands, rmsnorm_validate,
	   rmsnorm_exec, rmsnorm_compute),
	OP(ZW_OP_ROPE, zw_pkt_rope, "ROPE", rope_operands, rope_validate, rope_exec, rope_compute),
	OP(ZW_OP_SWIGLU, zw_pkt_swiglu, "SWIGLU", swiglu_operands, NULL, swiglu_exec,
	   swiglu_compute),
	OP(ZW_OP_EMBED, zw_pkt_embed, "EMBED", embed_operands, NULL, embed_exec, NULL),
	OP(ZW_OP_ADD, zw_pkt_add, "ADD", add_operands, NULL, add_exec, add_compute),
	OP(ZW_OP_ARGMAX, zw_pkt_argmax, "ARGMAX", argmax_operands, NULL, argmax_exec,
	   argmax_compute),
	OP(ZW_OP_TOPK, zw_pkt_topk, "TOPK", topk_operands, topk_validate, topk_exec, topk_compute),
};

const struct zw_cp_group zw_cp_vector = {ops, sizeof(ops) / sizeof(ops[0])};

// SPDX-License-Identifier: MIT
#include "cmd_table.h"

#include <stddef.h>

/* Limits that zw_cmd.h states in words. */
#define TOPK_MAX  1024u
#define BLOCK_MIN 8u
#define BLOCK_MAX 1024u

static bool refuse(struct cmd_diag *d, uint32_t reason, const char *where, const char *detail)
{
	d->reason = reason;
	d->where = where;
	d->detail = detail;
	return false;
}

static bool same_shape(const struct zw_tensor *a, const struct zw_tensor *b)
{
	if (a->ndim != b->ndim)
		return false;
	for (unsigned int i = 0; i < a->ndim; i++)
		if (a->dim[i] != b->dim[i])
			return false;
	return true;
}

static bool gemm_shapes(const struct zw_tensor *t, struct cmd_diag *d)
{
	const struct zw_tensor *a = &t[0], *w = &t[1], *c = &t[2], *bias = &t[3], *res = &t[4];

	if (w->dim[1] != a->dim[1])
		return refuse(d, ZW_REASON_SHAPE, "w", "its columns are not those of a");
	if (c->dim[0] != a->dim[0])
		return refuse(d, ZW_REASON_SHAPE, "c", "its rows are not those of a");
	if (c->dim[1] != w->dim[0])
		return refuse(d, ZW_REASON_SHAPE, "c", "its columns are not the rows of w");
	if (bias->dtype && bias->dim[0] != c->dim[1])
		return refuse(d, ZW_REASON_SHAPE, "bias", "its length is not the columns of c");
	if (res->dtype && !same_shape(res, c))
		return refuse(d, ZW_REASON_SHAPE, "residual", "its shape is not that of c");
	return true;
}

static bool rmsnorm_shapes(const struct zw_tensor *t, struct cmd_diag *d)
{
	const struct zw_tensor *x = &t[0], *w = &t[1], *y = &t[2];

	if (w->dim[0] != x->dim[x->ndim - 1])
		return refuse(d, ZW_REASON_SHAPE, "w", "its length is not the last dimension of x");
	if (!same_shape(y, x))
		return refuse(d, ZW_REASON_SHAPE, "y", "its shape is not that of x");
	return true;
}

static bool rope_shapes(const struct zw_tensor *t, struct cmd_diag *d)
{
	const struct zw_tensor *x = &t[0], *y = &t[1], *pos = &t[2], *ct = &t[3], *st = &t[4];

	if (!same_shape(y, x))
		return refuse(d, ZW_REASON_SHAPE, "y", "its shape is not that of x");
	if (pos->dim[0] != x->dim[0])
		return refuse(d, ZW_REASON_SHAPE, "pos", "its length is not the rows of x");
	if (!same_shape(st, ct))
		return refuse(d, ZW_REASON_SHAPE, "sin", "its shape is not that of cos");
	if ((uint64_t)ct->dim[1] * 2 > x->dim[2])
		return refuse(d, ZW_REASON_SHAPE, "cos",
			      "rotates more than the last dimension of x");
	return true;
}

static bool three_alike(const struct zw_tensor *t, struct cmd_diag *d)
{
	if (!same_shape(&t[1], &t[0]))
		return refuse(d, ZW_REASON_SHAPE, "second operand",
			      "its shape is not that of the first");
	if (!same_shape(&t[2], &t[0]))
		return refuse(d, ZW_REASON_SHAPE, "y", "its shape is not that of the operands");
	return true;
}

static bool embed_shapes(const struct zw_tensor *t, struct cmd_diag *d)
{
	const struct zw_tensor *ids = &t[0], *table = &t[1], *y = &t[2];

	if (y->dim[0] != ids->dim[0])
		return refuse(d, ZW_REASON_SHAPE, "y", "its rows are not the length of ids");
	if (y->dim[1] != table->dim[1])
		return refuse(d, ZW_REASON_SHAPE, "y", "its columns are not those of table");
	return true;
}

static bool argmax_shapes(const struct zw_tensor *t, struct cmd_diag *d)
{
	if (t[1].dim[0] != t[0].dim[0])
		return refuse(d, ZW_REASON_SHAPE, "ids", "its length is not the rows of x");
	return true;
}

static bool topk_shapes(const struct zw_tensor *t, struct cmd_diag *d)
{
	const struct zw_tensor *x = &t[0], *values = &t[1], *ids = &t[2];

	if (values->dim[0] != x->dim[0])
		return refuse(d, ZW_REASON_SHAPE, "values", "its rows are not those of x");
	if (!same_shape(ids, values))
		return refuse(d, ZW_REASON_SHAPE, "ids", "its shape is not that of values");
	if (values->dim[1] > TOPK_MAX || values->dim[1] > x->dim[1])
		return refuse(d, ZW_REASON_VALUE, "values", "k is over 1024 or the columns of x");
	return true;
}

static bool cache_shapes(const struct zw_tensor *rows, const struct zw_tensor *pos,
			 const struct zw_tensor *seq, const struct zw_tensor *kc,
			 const struct zw_tensor *vc, struct cmd_diag *d)
{
	uint32_t block = kc->dim[1];

	if (pos->dim[0] != rows->dim[0])
		return refuse(d, ZW_REASON_SHAPE, "pos", "its length is not the number of rows");
	if (seq->dtype && seq->dim[0] != rows->dim[0])
		return refuse(d, ZW_REASON_SHAPE, "seq", "its length is not the number of rows");
	if (!same_shape(vc, kc))
		return refuse(d, ZW_REASON_SHAPE, "v_cache", "its shape is not that of k_cache");
	if (kc->dim[3] != rows->dim[2])
		return refuse(d, ZW_REASON_SHAPE, "k_cache", "its head size is another");
	if (block < BLOCK_MIN || block > BLOCK_MAX || (block & (block - 1)))
		return refuse(d, ZW_REASON_VALUE, "k_cache",
			      "tokens per block are no power of two in 8..1024");
	return true;
}

static bool kv_write_shapes(const struct zw_tensor *t, struct cmd_diag *d)
{
	if (!same_shape(&t[1], &t[0]))
		return refuse(d, ZW_REASON_SHAPE, "v", "its shape is not that of k");
	if (t[5].dim[2] != t[0].dim[1])
		return refuse(d, ZW_REASON_SHAPE, "k_cache", "its number of heads is another");
	return cache_shapes(&t[0], &t[2], &t[3], &t[5], &t[6], d);
}

static bool attention_shapes(const struct zw_tensor *t, struct cmd_diag *d)
{
	const struct zw_tensor *q = &t[0], *y = &t[1], *kc = &t[5], *lse = &t[7];

	if (!same_shape(y, q))
		return refuse(d, ZW_REASON_SHAPE, "y", "its shape is not that of q");
	if (q->dim[1] % kc->dim[2])
		return refuse(d, ZW_REASON_SHAPE, "q",
			      "its heads are no multiple of the KV cache's");
	if (lse->dtype && (lse->dim[0] != q->dim[0] || lse->dim[1] != q->dim[1]))
		return refuse(d, ZW_REASON_SHAPE, "lse",
			      "its shape is not the rows and heads of q");
	return cache_shapes(q, &t[2], &t[3], kc, &t[6], d);
}

#define OFF(type, member) (uint16_t) offsetof(struct zw_pkt_##type, member)
#define OP(type, member, types, lo, hi, fl, al)                                                    \
	{                                                                                          \
#member, types, OFF(type, member), lo, hi, fl, al                                  \
	}
#define OPN(type, member, nm, types, lo, hi, fl, al)                                               \
	{                                                                                          \
		nm, types, OFF(type, member), lo, hi, fl, al                                       \
	}
#define IN     0
#define ROWS   CMD_O_ROWS
#define OPT    CMD_O_OPTIONAL
#define OUT    CMD_O_OUT
#define FLT    CMD_T_FLOAT
#define I32    CMD_T_I32
#define BIT(i) (1u << (i))

static const struct cmd_desc descs[] = {
	{.name = "nop", .opcode = ZW_OP_NOP, .size = sizeof(struct zw_pkt)},
	{.name = "barrier", .opcode = ZW_OP_BARRIER, .size = sizeof(struct zw_pkt)},
	{
		.name = "timestamp",
		.opcode = ZW_OP_TIMESTAMP,
		.size = sizeof(struct zw_pkt_timestamp),
		.num_scalars = 2,
		.scalar = {{"va", OFF(timestamp, va), CMD_S_VA, 8},
			   {"reserved", OFF(timestamp, reserved), CMD_S_ZERO, 8}},
	},
	{
		.name = "sem_signal",
		.opcode = ZW_OP_SEM_SIGNAL,
		.size = sizeof(struct zw_pkt_sem),
		.num_scalars = 2,
		.scalar = {{"va", OFF(sem, va), CMD_S_VA, 16},
			   {"value", OFF(sem, value), CMD_S_U64, 0}},
	},
	{
		.name = "sem_wait",
		.opcode = ZW_OP_SEM_WAIT,
		.size = sizeof(struct zw_pkt_sem),
		.num_scalars = 2,
		.scalar = {{"va", OFF(sem, va), CMD_S_VA, 16},
			   {"value", OFF(sem, value), CMD_S_U64, 0}},
	},
	{
		.name = "gemm",
		.opcode = ZW_OP_GEMM,
		.size = sizeof(struct zw_pkt_gemm),
		.num_operands = 5,
		.operand = {OP(gemm, a, FLT, 2, 2, ROWS, 0), OP(gemm, w, FLT, 2, 2, IN, 0),
			    OP(gemm, c, FLT, 2, 2, ROWS | OUT, BIT(4)),
			    OP(gemm, bias, FLT, 1, 1, OPT, 0),
			    OP(gemm, residual, FLT, 2, 2, ROWS | OPT, 0)},
		.shapes = gemm_shapes,
	},
	{
		.name = "rmsnorm",
		.opcode = ZW_OP_RMSNORM,
		.size = sizeof(struct zw_pkt_rmsnorm),
		.num_operands = 3,
		.operand = {OP(rmsnorm, x, FLT, 2, 3, ROWS, 0), OP(rmsnorm, w, FLT, 1, 1, IN, 0),
			    OP(rmsnorm, y, FLT, 2, 3, ROWS | OUT, BIT(0))},
		.num_scalars = 2,
		.scalar = {{"eps", OFF(rmsnorm, eps_f32), CMD_S_EPS, 0},
			   {"reserved", OFF(rmsnorm, reserved), CMD_S_ZERO, 12}},
		.shapes = rmsnorm_shapes,
	},
	{
		.name = "rope",
		.opcode = ZW_OP_ROPE,
		.size = sizeof(struct zw_pkt_rope),
		.num_operands = 5,
		.operand = {OP(rope, x, FLT, 3, 3, ROWS, 0),
			    OP(rope, y, FLT, 3, 3, ROWS | OUT, BIT(0)),
			    OP(rope, pos, I32, 1, 1, ROWS, 0),
			    OPN(rope, cos_table, "cos", CMD_T_F32, 2, 2, IN, 0),
			    OPN(rope, sin_table, "sin", CMD_T_F32, 2, 2, IN, 0)},
		.shapes = rope_shapes,
	},
	{
		.name = "swiglu",
		.opcode = ZW_OP_SWIGLU,
		.size = sizeof(struct zw_pkt_swiglu),
		.num_operands = 3,
		.operand = {OP(swiglu, gate, FLT, 2, 2, ROWS, 0),
			    OP(swiglu, up, FLT, 2, 2, ROWS, 0),
			    OP(swiglu, y, FLT, 2, 2, ROWS | OUT, BIT(0) | BIT(1))},
		.shapes = three_alike,
	},
	{
		.name = "embed",
		.opcode = ZW_OP_EMBED,
		.size = sizeof(struct zw_pkt_embed),
		.num_operands = 3,
		.operand = {OP(embed, ids, I32, 1, 1, ROWS, 0), OP(embed, table, FLT, 2, 2, IN, 0),
			    OP(embed, y, FLT, 2, 2, ROWS | OUT, 0)},
		.shapes = embed_shapes,
	},
	{
		.name = "add",
		.opcode = ZW_OP_ADD,
		.size = sizeof(struct zw_pkt_add),
		.num_operands = 3,
		.operand = {OP(add, a, FLT, 2, 2, ROWS, 0), OP(add, b, FLT, 2, 2, ROWS, 0),
			    OP(add, y, FLT, 2, 2, ROWS | OUT, BIT(0) | BIT(1))},
		.shapes = three_alike,
	},
	{
		.name = "argmax",
		.opcode = ZW_OP_ARGMAX,
		.size = sizeof(struct zw_pkt_argmax),
		.num_operands = 2,
		.operand = {OP(argmax, x, FLT, 2, 2, ROWS, 0),
			    OP(argmax, ids, I32, 1, 1, ROWS | OUT, 0)},
		.shapes = argmax_shapes,
	},
	{
		.name = "topk",
		.opcode = ZW_OP_TOPK,
		.size = sizeof(struct zw_pkt_topk),
		.num_operands = 3,
		.operand = {OP(topk, x, FLT, 2, 2, ROWS, 0),
			    OP(topk, values, CMD_T_F32, 2, 2, ROWS | OUT, 0),
			    OP(topk, ids, I32, 2, 2, ROWS | OUT, 0)},
		.shapes = topk_shapes,
	},
	{
		.name = "kv_write",
		.opcode = ZW_OP_KV_WRITE,
		.size = sizeof(struct zw_pkt_kv_write),
		.num_operands = 7,
		.operand = {OP(kv_write, k, FLT, 3, 3, ROWS, 0),
			    OP(kv_write, v, FLT, 3, 3, ROWS, 0),
			    OP(kv_write, pos, I32, 1, 1, ROWS, 0),
			    OP(kv_write, seq, I32, 1, 1, ROWS | OPT, 0),
			    OP(kv_write, block_table, I32, 2, 2, IN, 0),
			    OP(kv_write, k_cache, FLT, 4, 4, OUT, 0),
			    OP(kv_write, v_cache, FLT, 4, 4, OUT, 0)},
		.shapes = kv_write_shapes,
	},
	{
		.name = "attention",
		.opcode = ZW_OP_ATTENTION,
		.size = sizeof(struct zw_pkt_attention),
		.num_operands = 8,
		.operand = {OP(attention, q, FLT, 3, 3, ROWS, 0),
			    OP(attention, y, FLT, 3, 3, ROWS | OUT, BIT(0)),
			    OP(attention, pos, I32, 1, 1, ROWS, 0),
			    OP(attention, seq, I32, 1, 1, ROWS | OPT, 0),
			    OP(attention, block_table, I32, 2, 2, IN, 0),
			    OP(attention, k_cache, FLT, 4, 4, IN, 0),
			    OP(attention, v_cache, FLT, 4, 4, IN, 0),
			    OP(attention, lse, CMD_T_F32, 2, 2, ROWS | OPT | OUT, 0)},
		.num_scalars = 3,
		.scalar = {{"scale", OFF(attention, scale_f32), CMD_S_SCALE, 0},
			   {"window", OFF(attention, window), CMD_S_ZERO, 4},
			   {"sparse_va", OFF(attention, sparse_va), CMD_S_ZERO, 8}},
		.shapes = attention_shapes,
	},
	{
		.name = "copy",
		.opcode = ZW_OP_COPY,
		.size = sizeof(struct zw_pkt_copy),
		.num_scalars = 4,
		.scalar = {{"dst", OFF(copy, dst), CMD_S_VA, 1},
			   {"src", OFF(copy, src), CMD_S_VA, 1},
			   {"bytes", OFF(copy, bytes), CMD_S_BYTES, 1},
			   {"reserved", OFF(copy, reserved), CMD_S_ZERO, 8}},
	},
	{
		.name = "fill",
		.opcode = ZW_OP_FILL,
		.size = sizeof(struct zw_pkt_fill),
		.num_scalars = 4,
		.scalar = {{"dst", OFF(fill, dst), CMD_S_VA, 4},
			   {"bytes", OFF(fill, bytes), CMD_S_BYTES, 4},
			   {"pattern", OFF(fill, pattern), CMD_S_HEX32, 0},
			   {"reserved", OFF(fill, reserved), CMD_S_ZERO, 12}},
	},
};

const struct cmd_desc *zw_rt_cmd_at(unsigned int i)
{
	return i < sizeof(descs) / sizeof(descs[0]) ? &descs[i] : NULL;
}

const struct cmd_desc *zw_rt_cmd_find(uint32_t opcode)
{
	for (unsigned int i = 0; i < sizeof(descs) / sizeof(descs[0]); i++)
		if (descs[i].opcode == opcode)
			return &descs[i];
	return NULL;
}

// SPDX-License-Identifier: MIT
#include "cmd_table.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

/* Limits that zw_cmd.h states in words. */
#define TOPK_MAX  1024u
#define BLOCK_MIN 8u
#define BLOCK_MAX 1024u

uint32_t zw_rt_refuse(struct cmd_diag *d, uint32_t reason, const char *where, const char *fmt, ...)
{
	va_list ap;

	d->reason = reason;
	snprintf(d->where, sizeof(d->where), "%s", where);
	va_start(ap, fmt);
	vsnprintf(d->detail, sizeof(d->detail), fmt, ap);
	va_end(ap);
	return reason;
}

static uint32_t rope_extra(const struct zw_tensor *t, struct cmd_diag *d)
{
	if ((uint64_t)t[3].dim[1] * 2 > t[0].dim[2])
		return zw_rt_refuse(d, ZW_REASON_SHAPE, "cos",
				    "rotates more than the %u elements of x", t[0].dim[2]);
	return 0;
}

static uint32_t topk_extra(const struct zw_tensor *t, struct cmd_diag *d)
{
	if (t[1].dim[1] > TOPK_MAX || t[1].dim[1] > t[0].dim[1])
		return zw_rt_refuse(d, ZW_REASON_VALUE, "values",
				    "k is over %u or the columns of x", TOPK_MAX);
	return 0;
}

/* Blocks of the KV cache are dense inside; where they lie is free. */
static uint32_t pools(const struct zw_tensor *k, const struct zw_tensor *v, struct cmd_diag *d)
{
	uint32_t block = k->dim[1];

	if (block < BLOCK_MIN || block > BLOCK_MAX || (block & (block - 1)))
		return zw_rt_refuse(d, ZW_REASON_VALUE, "k_cache",
				    "%u tokens per block are no power of two in %u..%u", block,
				    BLOCK_MIN, BLOCK_MAX);
	if (k->dtype != v->dtype)
		return zw_rt_refuse(d, ZW_REASON_DTYPE, "v_cache", "not the type of k_cache");
	for (const struct zw_tensor *c = k; c; c = c == k ? v : NULL)
		if (c->stride[2] != c->dim[3] || c->stride[1] != (uint64_t)c->dim[2] * c->dim[3])
			return zw_rt_refuse(d, ZW_REASON_STRIDE, c == k ? "k_cache" : "v_cache",
					    "blocks are not dense");
	return 0;
}

static uint32_t kv_write_extra(const struct zw_tensor *t, struct cmd_diag *d)
{
	return pools(&t[5], &t[6], d);
}

static uint32_t attention_extra(const struct zw_tensor *t, struct cmd_diag *d)
{
	if (t[0].dim[1] % t[5].dim[2])
		return zw_rt_refuse(d, ZW_REASON_SHAPE, "q",
				    "%u heads are no multiple of the cache's %u", t[0].dim[1],
				    t[5].dim[2]);
	return pools(&t[5], &t[6], d);
}

#define OFF(type, member) (uint16_t) offsetof(struct zw_pkt_##type, member)
#define OPN(type, member, nm, types, dims, fl, al)                                                 \
	{                                                                                          \
		nm, types, dims, OFF(type, member), fl, al                                         \
	}
#define OP(type, member, types, dims, fl, al) OPN(type, member, #member, types, dims, fl, al)
#define IN                                    0
#define ROWS                                  CMD_O_ROWS
#define OPT                                   CMD_O_OPTIONAL
#define OUT                                   CMD_O_OUT
#define IDX                                   CMD_O_INDEX
#define PAGED                                 CMD_O_PAGED
#define FLT                                   CMD_T_FLOAT
#define I32                                   CMD_T_I32
#define BIT(i)                                (1u << (i))

/* ASYNC is refused where order is what the packet is for. */
static const struct cmd_desc descs[] = {
	{.name = "nop",
	 .flags = ZW_PKT_F_ASYNC,
	 .opcode = ZW_OP_NOP,
	 .size = sizeof(struct zw_pkt)},
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
		.flags = ZW_PKT_F_ASYNC,
		.opcode = ZW_OP_GEMM,
		.size = sizeof(struct zw_pkt_gemm),
		.num_operands = 5,
		.operand = {OP(gemm, a, FLT, "MK", ROWS, 0), OP(gemm, w, FLT, "NK", IN, 0),
			    OP(gemm, c, FLT, "MN", ROWS | OUT, BIT(4)),
			    OP(gemm, bias, FLT, "N", OPT, 0),
			    OP(gemm, residual, FLT, "MN", ROWS | OPT, 0)},
	},
	{
		.name = "rmsnorm",
		.flags = ZW_PKT_F_ASYNC,
		.opcode = ZW_OP_RMSNORM,
		.size = sizeof(struct zw_pkt_rmsnorm),
		.num_operands = 3,
		.operand = {OP(rmsnorm, x, FLT, "MhD", ROWS, 0), OP(rmsnorm, w, FLT, "D", IN, 0),
			    OP(rmsnorm, y, FLT, "MhD", ROWS | OUT, BIT(0))},
		.num_scalars = 2,
		.scalar = {{"eps", OFF(rmsnorm, eps_f32), CMD_S_EPS, 0},
			   {"reserved", OFF(rmsnorm, reserved), CMD_S_ZERO, 12}},
	},
	{
		.name = "rope",
		.flags = ZW_PKT_F_ASYNC,
		.opcode = ZW_OP_ROPE,
		.size = sizeof(struct zw_pkt_rope),
		.num_operands = 5,
		.operand = {OP(rope, x, FLT, "MHD", ROWS, 0),
			    OP(rope, y, FLT, "MHD", ROWS | OUT, BIT(0)),
			    OP(rope, pos, I32, "M", ROWS | IDX, 0),
			    OPN(rope, cos_table, "cos", CMD_T_F32, "PR", IN, 0),
			    OPN(rope, sin_table, "sin", CMD_T_F32, "PR", IN, 0)},
		.extra = rope_extra,
	},
	{
		.name = "swiglu",
		.flags = ZW_PKT_F_ASYNC,
		.opcode = ZW_OP_SWIGLU,
		.size = sizeof(struct zw_pkt_swiglu),
		.num_operands = 3,
		.operand = {OP(swiglu, gate, FLT, "MI", ROWS, 0),
			    OP(swiglu, up, FLT, "MI", ROWS, 0),
			    OP(swiglu, y, FLT, "MI", ROWS | OUT, BIT(0) | BIT(1))},
	},
	{
		.name = "embed",
		.flags = ZW_PKT_F_ASYNC,
		.opcode = ZW_OP_EMBED,
		.size = sizeof(struct zw_pkt_embed),
		.num_operands = 3,
		.operand = {OP(embed, ids, I32, "M", ROWS | IDX, 0),
			    OP(embed, table, FLT, "VH", IN, 0),
			    OP(embed, y, FLT, "MH", ROWS | OUT, 0)},
	},
	{
		.name = "add",
		.flags = ZW_PKT_F_ASYNC,
		.opcode = ZW_OP_ADD,
		.size = sizeof(struct zw_pkt_add),
		.num_operands = 3,
		.operand = {OP(add, a, FLT, "MN", ROWS, 0), OP(add, b, FLT, "MN", ROWS, 0),
			    OP(add, y, FLT, "MN", ROWS | OUT, BIT(0) | BIT(1))},
	},
	{
		.name = "argmax",
		.flags = ZW_PKT_F_ASYNC,
		.opcode = ZW_OP_ARGMAX,
		.size = sizeof(struct zw_pkt_argmax),
		.num_operands = 2,
		.operand = {OP(argmax, x, FLT, "MV", ROWS, 0),
			    OP(argmax, ids, I32, "M", ROWS | OUT, 0)},
	},
	{
		.name = "topk",
		.flags = ZW_PKT_F_ASYNC,
		.opcode = ZW_OP_TOPK,
		.size = sizeof(struct zw_pkt_topk),
		.num_operands = 3,
		.operand = {OP(topk, x, FLT, "MV", ROWS, 0),
			    OP(topk, values, CMD_T_F32, "MK", ROWS | OUT, 0),
			    OP(topk, ids, I32, "MK", ROWS | OUT, 0)},
		.extra = topk_extra,
	},
	{
		.name = "kv_write",
		.flags = ZW_PKT_F_ASYNC,
		.opcode = ZW_OP_KV_WRITE,
		.size = sizeof(struct zw_pkt_kv_write),
		.num_operands = 7,
		.operand = {OP(kv_write, k, FLT, "MHD", ROWS, 0),
			    OP(kv_write, v, FLT, "MHD", ROWS, 0),
			    OP(kv_write, pos, I32, "M", ROWS | IDX, 0),
			    OP(kv_write, seq, I32, "M", ROWS | OPT | IDX, 0),
			    OP(kv_write, block_table, I32, "SL", IN, 0),
			    OP(kv_write, k_cache, FLT, "BTHD", OUT | PAGED, 0),
			    OP(kv_write, v_cache, FLT, "BTHD", OUT | PAGED, 0)},
		.extra = kv_write_extra,
	},
	{
		.name = "attention",
		.flags = ZW_PKT_F_ASYNC,
		.opcode = ZW_OP_ATTENTION,
		.size = sizeof(struct zw_pkt_attention),
		.num_operands = 8,
		.operand = {OP(attention, q, FLT, "MQD", ROWS, 0),
			    OP(attention, y, FLT, "MQD", ROWS | OUT, BIT(0)),
			    OP(attention, pos, I32, "M", ROWS | IDX, 0),
			    OP(attention, seq, I32, "M", ROWS | OPT | IDX, 0),
			    OP(attention, block_table, I32, "SL", IN, 0),
			    OP(attention, k_cache, FLT, "BTHD", PAGED, 0),
			    OP(attention, v_cache, FLT, "BTHD", PAGED, 0),
			    OP(attention, lse, CMD_T_F32, "MQ", ROWS | OPT | OUT, 0)},
		.num_scalars = 3,
		.scalar = {{"scale", OFF(attention, scale_f32), CMD_S_SCALE, 0},
			   {"window", OFF(attention, window), CMD_S_ZERO, 4},
			   {"sparse_va", OFF(attention, sparse_va), CMD_S_ZERO, 8}},
		.extra = attention_extra,
	},
	{
		.name = "copy",
		.flags = ZW_PKT_F_ASYNC,
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
		.flags = ZW_PKT_F_ASYNC,
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

// SPDX-License-Identifier: MIT
/* Single operations. Every operand is in memory that nothing has touched before: cold, as it was measured. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rows.h"

#define BF16 ZW_DTYPE_BF16
#define F32  ZW_DTYPE_F32
#define I32  ZW_DTYPE_I32

#define BLOCK_TOKENS 64u /* of the KV cache */

/* Of numbers, with scales where the type has them: one for the whole of an operand, as it was measured. */
static struct zw_tensor scale_of(struct machine *m, const struct zw_tensor *t)
{
	struct zw_tensor s = machine_tensor(m, F32, 1, 1, 0, 0);

	s.block[0] = t->dim[0];
	s.block[1] = t->dim[1];
	return s;
}

static bool is_scaled(unsigned int dtype)
{
	return dtype == ZW_DTYPE_F8E4M3 || dtype == ZW_DTYPE_I8;
}

/* C is BF16, and F32 (as wide as the I32 that was measured) of INT8. */
static int gemm(struct machine *m, const struct row *r)
{
	struct zw_pkt_gemm p = {.hdr = HDR(ZW_OP_GEMM, zw_pkt_gemm)};
	uint32_t rows = (uint32_t)row_number(r, "m", 1), n = (uint32_t)row_number(r, "n_", 1),
		 k = (uint32_t)row_number(r, "k", 1);
	unsigned int dtype = row_dtype(r, "dtype");

	if (!dtype)
		return -1;
	p.a = machine_tensor(m, dtype, rows, k, 0, 0);
	p.w = machine_tensor(m, dtype, n, k, 0, 0);
	p.c = machine_tensor(m, dtype == ZW_DTYPE_I8 || dtype == F32 ? F32 : BF16, rows, n, 0, 0);
	if (is_scaled(dtype)) {
		p.a_scale = scale_of(m, &p.a);
		p.w_scale = scale_of(m, &p.w);
	}
	for (uint64_t i = row_number(r, "calls", 1); i; i--) {
		EMIT(m, p);
		p.w.va = machine_alloc(m, (uint64_t)n * k * zw_dtype_block_bytes(dtype));
	}
	return 0;
}

/* Experts are hit as evenly as the row's number of those that were allows: the first `hit` in turn, a token's apart. */
static int grouped_gemm(struct machine *m, const struct row *r)
{
	struct zw_pkt_gemm_experts p = {.hdr = HDR(ZW_OP_GEMM_EXPERTS, zw_pkt_gemm_experts)};
	uint32_t rows = (uint32_t)row_number(r, "m", 1), n = (uint32_t)row_number(r, "n_", 1),
		 k = (uint32_t)row_number(r, "k", 1), top = (uint32_t)row_number(r, "top", 1),
		 experts = (uint32_t)row_number(r, "experts", 1),
		 hit = (uint32_t)row_number(r, "hit", experts);
	unsigned int dtype = row_dtype(r, "dtype");
	int32_t id;

	if (!dtype)
		return -1;
	/* top rows of a token become rows of their own: the activation of a down projection differs for each */
	p.a = machine_tensor(m, dtype, rows * top, k, 0, 0);
	p.w = machine_tensor(m, dtype, experts, n, k, 0);
	p.ids = machine_tensor(m, I32, rows * top, 1, 0, 0);
	p.c = machine_tensor(m, BF16, rows * top, 1, n, 0);
	for (uint32_t i = 0; i < rows * top; i++) {
		id = (int32_t)(i % hit);
		machine_put(m, p.ids.va + 4ull * i, &id, 4);
	}
	EMIT(m, p);
	return 0;
}

struct cache make_cache(struct machine *m, unsigned int dtype, uint32_t seqs, uint32_t tokens,
			uint32_t heads, uint32_t d)
{
	uint32_t blocks = (tokens + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
	struct cache c;

	c.k = machine_tensor(m, dtype, seqs * blocks, BLOCK_TOKENS, heads, d);
	c.v = machine_tensor(m, dtype, seqs * blocks, BLOCK_TOKENS, heads, d);
	c.table = machine_numbers(m, seqs * blocks, 0, 1);
	c.table.ndim = 2;
	c.table.dim[0] = seqs;
	c.table.dim[1] = blocks;
	c.table.stride[0] = blocks;
	return c;
}

/* prefill: the s tokens of a sequence of which none came before; else one query of each of b sequences. */
static int attention(struct machine *m, const struct row *r, bool prefill)
{
	struct zw_pkt_attention p = {.hdr = HDR(ZW_OP_ATTENTION, zw_pkt_attention),
				     .scale_f32 = 0x3db504f3};
	uint32_t tokens = (uint32_t)row_number(r, prefill ? "s" : "ctx", 1),
		 seqs = (uint32_t)row_number(r, "b", 1), hq = (uint32_t)row_number(r, "hq", 32),
		 hkv = (uint32_t)row_number(r, "hkv", 8), d = (uint32_t)row_number(r, "d", 128);
	uint32_t rows = prefill ? tokens * seqs : seqs;
	struct cache c = make_cache(m, BF16, seqs, tokens, hkv, d);
	int32_t v;

	p.q = machine_tensor(m, BF16, rows, hq, d, 0);
	p.y = machine_tensor(m, BF16, rows, hq, d, 0);
	p.pos = machine_tensor(m, I32, rows, 0, 0, 0);
	p.seq = machine_tensor(m, I32, rows, 0, 0, 0);
	for (uint32_t i = 0; i < rows; i++) {
		v = (int32_t)(prefill ? i % tokens : tokens - 1);
		machine_put(m, p.pos.va + 4ull * i, &v, 4);
		v = (int32_t)(prefill ? i / tokens : i);
		machine_put(m, p.seq.va + 4ull * i, &v, 4);
	}
	p.block_table = c.table;
	p.k_cache = c.k;
	p.v_cache = c.v;
	EMIT(m, p);
	return 0;
}

static int rmsnorm(struct machine *m, const struct row *r, bool add)
{
	struct zw_pkt_rmsnorm p = {.hdr = HDR(ZW_OP_RMSNORM, zw_pkt_rmsnorm),
				   .eps_f32 = 0x358637bd};
	uint32_t rows = (uint32_t)row_number(r, "m", 1), h = (uint32_t)row_number(r, "h", 1);

	/*
	 * Fused with the addition before it a norm reads two rows and writes two. As a packet: a norm of one row that
	 * is twice as long in bytes, F32.
	 */
	p.x = machine_tensor(m, add ? F32 : BF16, rows, h, 0, 0);
	p.w = machine_tensor(m, BF16, h, 0, 0, 0);
	p.y = machine_tensor(m, add ? F32 : BF16, rows, h, 0, 0);
	EMIT(m, p);
	return 0;
}

static int add(struct machine *m, const struct row *r)
{
	struct zw_pkt_add p = {.hdr = HDR(ZW_OP_ADD, zw_pkt_add)};
	uint32_t rows = (uint32_t)row_number(r, "m", 1), h = (uint32_t)row_number(r, "h", 1);

	p.a = machine_tensor(m, BF16, rows, h, 0, 0);
	p.b = machine_tensor(m, BF16, rows, h, 0, 0);
	p.y = machine_tensor(m, BF16, rows, h, 0, 0);
	EMIT(m, p);
	return 0;
}

static int swiglu(struct machine *m, const struct row *r)
{
	struct zw_pkt_swiglu p = {.hdr = HDR(ZW_OP_SWIGLU, zw_pkt_swiglu)};
	uint32_t rows = (uint32_t)row_number(r, "m", 1), n = (uint32_t)row_number(r, "i", 1);
	struct zw_tensor both = machine_tensor(m, BF16, rows, 2 * n, 0, 0);

	p.gate = machine_columns(&both, 0, n);
	p.up = machine_columns(&both, n, n);
	p.y = machine_tensor(m, BF16, rows, n, 0, 0);
	EMIT(m, p);
	return 0;
}

static int rope(struct machine *m, const struct row *r)
{
	struct zw_pkt_rope p = {.hdr = HDR(ZW_OP_ROPE, zw_pkt_rope)};
	uint32_t rows = (uint32_t)row_number(r, "m", 1), d = (uint32_t)row_number(r, "d", 128),
		 heads = (uint32_t)row_number(r, "heads", 1);

	p.x = machine_tensor(m, BF16, rows, heads, d, 0);
	p.y = machine_tensor(m, BF16, rows, heads, d, 0);
	p.pos = machine_numbers(m, rows, 0, 1);
	p.cos = machine_tensor(m, F32, rows, d / 2, 0, 0);
	p.sin = machine_tensor(m, F32, rows, d / 2, 0, 0);
	EMIT(m, p);
	return 0;
}

static int argmax(struct machine *m, uint32_t rows, uint32_t n, unsigned int dtype)
{
	struct zw_pkt_argmax p = {.hdr = HDR(ZW_OP_ARGMAX, zw_pkt_argmax)};

	p.x = machine_tensor(m, dtype, rows, n, 0, 0);
	p.ids = machine_tensor(m, I32, rows, 0, 0, 0);
	EMIT(m, p);
	return 0;
}

/* A sum of all elements; their largest is the packet that reads as much and writes as little. */
static int read_all(struct machine *m, uint64_t n)
{
	uint32_t rows = 1;

	while (n / rows > ZW_MAX_DIM)
		rows *= 2;
	return argmax(m, rows, (uint32_t)(n / rows), BF16);
}

static int topk(struct machine *m, const struct row *r)
{
	struct zw_pkt_topk p = {.hdr = HDR(ZW_OP_TOPK, zw_pkt_topk)};
	uint32_t rows = (uint32_t)row_number(r, "m", 1), v = (uint32_t)row_number(r, "v", 1),
		 k = (uint32_t)row_number(r, "k", 1);

	p.x = machine_tensor(m, F32, rows, v, 0, 0);
	p.values = machine_tensor(m, F32, rows, k, 0, 0);
	p.ids = machine_tensor(m, I32, rows, k, 0, 0);
	EMIT(m, p);
	return 0;
}

static int copy(struct machine *m, const struct row *r)
{
	struct zw_pkt_copy p = {.hdr = HDR(ZW_OP_COPY, zw_pkt_copy), .rows = 1};

	p.bytes = p.src_stride = p.dst_stride = row_number(r, "bytes", 1);
	p.src = machine_alloc(m, p.bytes);
	p.dst = machine_alloc(m, p.bytes);
	EMIT(m, p);
	return 0;
}

static int fill(struct machine *m, const struct row *r)
{
	struct zw_pkt_fill p = {.hdr = HDR(ZW_OP_FILL, zw_pkt_fill), .rows = 1};

	p.bytes = p.dst_stride = row_number(r, "bytes", 4);
	p.dst = machine_alloc(m, p.bytes);
	EMIT(m, p);
	return 0;
}

/* The least that a packet can be to the one behind it. */
static int node(struct machine *m)
{
	struct zw_pkt_fill p = {.hdr = HDR(ZW_OP_FILL, zw_pkt_fill), .rows = 1, .bytes = 4};

	p.dst_stride = 4;
	p.dst = machine_alloc(m, 4);
	EMIT(m, p);
	return 0;
}

int emit_operation(struct machine *m, const struct row *r)
{
	/* Rows of power name what ran in `what`. */
	const char *key = row_is(r, "op", "power") ? "what" : "op";

	if (row_is(r, key, "gemm") || row_is(r, key, "gemv"))
		return gemm(m, r);
	if (row_is(r, key, "grouped_gemm"))
		return grouped_gemm(m, r);
	if (row_is(r, key, "attn_prefill"))
		return attention(m, r, true);
	if (row_is(r, key, "attn_decode"))
		return attention(m, r, false);
	if (row_is(r, key, "rmsnorm"))
		return rmsnorm(m, r, false);
	if (row_is(r, key, "add_rmsnorm"))
		return rmsnorm(m, r, true);
	if (row_is(r, key, "add"))
		return add(m, r);
	if (row_is(r, key, "swiglu"))
		return swiglu(m, r);
	if (row_is(r, key, "rope"))
		return rope(m, r);
	if (row_is(r, key, "argmax"))
		return argmax(m, (uint32_t)row_number(r, "m", 1), (uint32_t)row_number(r, "v", 1),
			      F32);
	if (row_is(r, key, "topk"))
		return topk(m, r);
	if (row_is(r, key, "copy"))
		return copy(m, r);
	if (row_is(r, key, "read"))
		return read_all(m, row_number(r, "bytes", 2) / 2);
	if (row_is(r, key, "fill"))
		return fill(m, r);
	if (row_is(r, key, "node"))
		return node(m);
	return 1;
}

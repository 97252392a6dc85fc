// SPDX-License-Identifier: MIT
/* What the table of packets does not say: how the fields of one packet have to fit each other. */
#include <stdarg.h>
#include <stdio.h>

#include "cmd_table.h"
#include "zhenwu/zw_pte.h"

/* Limits that zw_cmd.h and Documentation/device/packets.md state in words. */
#define TOPK_MAX   1024u
#define EXPERT_MAX (1u << 16)
#define PAIR_MAX   (1u << 20)
#define BLOCK_MIN  8u
#define BLOCK_MAX  1024u
#define ROW_MAX    (1u << 20)
#define ORDER_MAX  (1u << 24)
#define STATE_MAX  (1u << 16)
#define TAPS_MAX   16u
#define DELTA_MAX  1024u
#define HEAD_MAX   4096u
#define GROUP_MAX  (1u << 16)
#define PARTS_MAX  64u
#define SAMPLE_MAX 128u
#define MAX_EXTENT (1ull << ZW_VA_BITS)

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

static bool in(uint64_t set, const struct zw_tensor *t)
{
	return t->dtype && set >> t->dtype & 1;
}

/* What the factors of a product need, and have. */
struct factors {
	const struct zw_tensor *a, *w, *a_scale, *w_scale, *w_zero, *w_scale2;
};

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* k: elements of a sum; 0: an operand is transposed. */
static uint32_t check_scaled(struct factors f, uint32_t k, struct cmd_diag *d)
{
	if (in(ZW_DT_SCALED, f.a) && !f.a_scale->dtype)
		return zw_rt_refuse(d, ZW_REASON_OPERAND, "a_scale",
				    "a is of a type that needs it");
	if (in(ZW_DT_SCALED, f.w) && !f.w_scale->dtype)
		return zw_rt_refuse(d, ZW_REASON_OPERAND, "w_scale",
				    "w is of a type that needs it");
	if (!in(ZW_DT_SCALED, f.a) && f.a_scale->dtype)
		return zw_rt_refuse(d, ZW_REASON_OPERAND, "a_scale", "a is of a type without");
	if (!in(ZW_DT_SCALED, f.w) && (f.w_scale->dtype || f.w_zero->dtype || f.w_scale2->dtype))
		return zw_rt_refuse(d, ZW_REASON_OPERAND, "w",
				    in(ZW_DT_BLOCKED, f.w) ? "its records hold their scales"
							   : "of a type without scales");
	if (f.a_scale->dtype && f.w_scale->dtype && k) {
		uint32_t group = least(f.a_scale->block[1], k);

		if (group != least(f.w_scale->block[1], k))
			return zw_rt_refuse(d, ZW_REASON_VALUE, "a_scale",
					    "not the block[1] of w_scale");
		if (f.a->dtype == ZW_DTYPE_I8 && group > GROUP_MAX)
			return zw_rt_refuse(d, ZW_REASON_LIMIT, "a_scale",
					    "over %u elements of a scale", GROUP_MAX);
	}
	if (!f.w_zero->dtype)
		return 0;
	if (!in(ZW_DT(I8) | ZW_DT(I4) | ZW_DT(U4), f.w))
		return zw_rt_refuse(d, ZW_REASON_OPERAND, "w_zero", "w is of a type without");
	if (f.w_zero->block[1] != f.w_scale->block[1])
		return zw_rt_refuse(d, ZW_REASON_VALUE, "w_zero", "not the block[1] of w_scale");
	return 0;
}

static uint32_t gemm(const struct zw_pkt_gemm *p, struct cmd_diag *d)
{
	bool trans_w = p->hdr.flags & ZW_GEMM_F_TRANS_W;
	bool trans = trans_w || p->hdr.flags & ZW_GEMM_F_TRANS_A;
	uint32_t reason = check_scaled(
		(struct factors){&p->a, &p->w, &p->a_scale, &p->w_scale, &p->w_zero, &p->w_scale2},
		trans ? 0 : p->w.dim[1], d);

	if (reason)
		return reason;
	if (trans && p->w.dim[trans_w ? 0 : 1] > ROW_MAX)
		return zw_rt_refuse(d, ZW_REASON_LIMIT, "w", "K over %u and transposed", ROW_MAX);
	return 0;
}

static uint32_t gemm_experts(const struct zw_pkt_gemm_experts *p, struct cmd_diag *d)
{
	uint32_t reason = check_scaled(
		(struct factors){&p->a, &p->w, &p->a_scale, &p->w_scale, &p->w_zero, &p->w_scale2},
		p->w.dim[2], d);

	if (reason)
		return reason;
	if (!(p->hdr.flags & ZW_EXPERTS_F_SCATTER) && (p->weights.dtype || p->residual.dtype))
		return zw_rt_refuse(d, ZW_REASON_OPERAND, p->weights.dtype ? "weights" : "residual",
				    "without ZW_EXPERTS_F_SCATTER");
	if (p->ids.dim[1] > TOPK_MAX)
		return zw_rt_refuse(d, ZW_REASON_VALUE, "ids", "over %u experts of a row",
				    TOPK_MAX);
	if ((uint64_t)p->ids.dim[0] * p->ids.dim[1] > PAIR_MAX)
		return zw_rt_refuse(d, ZW_REASON_LIMIT, "ids", "over %u in all rows", PAIR_MAX);
	if (p->w.dim[0] > EXPERT_MAX)
		return zw_rt_refuse(d, ZW_REASON_LIMIT, "w", "over %u experts", EXPERT_MAX);
	return 0;
}

static uint32_t route(const struct zw_pkt_route *p, struct cmd_diag *d)
{
	if (p->weights.dim[1] > TOPK_MAX || p->weights.dim[1] > p->x.dim[1])
		return zw_rt_refuse(d, ZW_REASON_VALUE, "weights",
				    "k is over %u or the columns of x", TOPK_MAX);
	if (p->x.dim[1] > EXPERT_MAX)
		return zw_rt_refuse(d, ZW_REASON_LIMIT, "x", "over %u experts", EXPERT_MAX);
	return 0;
}

static uint32_t rmsnorm(const struct zw_pkt_rmsnorm *p, struct cmd_diag *d)
{
	if (p->w.dim[0] > ROW_MAX)
		return zw_rt_refuse(d, ZW_REASON_LIMIT, "w", "over %u elements", ROW_MAX);
	return 0;
}

static uint32_t gated_norm(const struct zw_pkt_gated_norm *p, struct cmd_diag *d)
{
	if (p->w.dim[0] > ROW_MAX)
		return zw_rt_refuse(d, ZW_REASON_LIMIT, "w", "over %u elements", ROW_MAX);
	return 0;
}

static uint32_t quantize(const struct zw_pkt_quantize *p, struct cmd_diag *d)
{
	if (p->scale.block[0] != 1)
		return zw_rt_refuse(d, ZW_REASON_VALUE, "scale", "covers more than a row");
	return 0;
}

static uint32_t reorder(const struct zw_pkt_reorder *p, struct cmd_diag *d)
{
	if (p->which.dtype == ZW_DTYPE_NONE && p->order.dim[0] != 1)
		return zw_rt_refuse(d, ZW_REASON_SHAPE, "order", "of several, which is not there");
	if ((uint64_t)p->order.dim[0] * p->order.dim[1] > ORDER_MAX)
		return zw_rt_refuse(d, ZW_REASON_LIMIT, "order", "over %u elements", ORDER_MAX);
	return 0;
}

static uint32_t rope(const struct zw_pkt_rope *p, struct cmd_diag *d)
{
	if ((uint64_t)p->cos.dim[1] * 2 > p->x.dim[2])
		return zw_rt_refuse(d, ZW_REASON_SHAPE, "cos",
				    "rotates more than the %u elements of x", p->x.dim[2]);
	if (p->x.dim[2] > ROW_MAX)
		return zw_rt_refuse(d, ZW_REASON_LIMIT, "x", "heads of over %u elements", ROW_MAX);
	if (p->cos.stride[0] != p->sin.stride[0])
		return zw_rt_refuse(d, ZW_REASON_STRIDE, "sin", "not the stride of cos");
	return 0;
}

static uint32_t topk(const struct zw_pkt_topk *p, struct cmd_diag *d)
{
	if (p->values.dim[1] > TOPK_MAX || p->values.dim[1] > p->x.dim[1])
		return zw_rt_refuse(d, ZW_REASON_VALUE, "values",
				    "k is over %u or the columns of x", TOPK_MAX);
	return 0;
}

/* k, v, and their scales follow each other in both packets. */
struct pools {
	const struct zw_tensor *k, *v, *k_scale, *v_scale;
};

static uint32_t blocks_dense(const struct zw_tensor *c, const char *name, struct cmd_diag *d)
{
	if (c->stride[2] == c->dim[3] && c->stride[1] == (uint64_t)c->dim[2] * c->dim[3])
		return 0;
	return zw_rt_refuse(d, ZW_REASON_STRIDE, name, "blocks are not dense");
}

/* Blocks of the KV cache are dense inside; where they lie is free. */
static uint32_t check_pools(struct pools c, struct cmd_diag *d)
{
	uint32_t block = c.k->dim[1], reason;
	bool scaled = in(ZW_DT_SCALED, c.k);

	if (block < BLOCK_MIN || block > BLOCK_MAX || (block & (block - 1)))
		return zw_rt_refuse(d, ZW_REASON_VALUE, "k_cache",
				    "%u tokens per block are no power of two in %u..%u", block,
				    BLOCK_MIN, BLOCK_MAX);
	if (c.k->dim[3] > HEAD_MAX)
		return zw_rt_refuse(d, ZW_REASON_LIMIT, "k_cache", "heads of over %u elements",
				    HEAD_MAX);
	if (c.k->dtype != c.v->dtype)
		return zw_rt_refuse(d, ZW_REASON_DTYPE, "v_cache", "not the type of k_cache");
	reason = blocks_dense(c.k, "k_cache", d);
	if (!reason)
		reason = blocks_dense(c.v, "v_cache", d);
	if (reason)
		return reason;
	if (!c.k_scale->dtype == scaled || !c.v_scale->dtype == scaled)
		return zw_rt_refuse(d, ZW_REASON_OPERAND, "k_scale",
				    "pools of a quantised type have scales, others have none");
	if (scaled && c.k_scale->stride[1] != c.k_scale->dim[2])
		return zw_rt_refuse(d, ZW_REASON_STRIDE, "k_scale", "blocks are not dense");
	if (scaled && c.v_scale->stride[1] != c.v_scale->dim[2])
		return zw_rt_refuse(d, ZW_REASON_STRIDE, "v_scale", "blocks are not dense");
	return 0;
}

static uint32_t kv_write(const struct zw_pkt_kv_write *p, struct cmd_diag *d)
{
	return check_pools((struct pools){&p->k_cache, &p->v_cache, &p->k_scale, &p->v_scale}, d);
}

static uint32_t attention(const struct zw_pkt_attention *p, struct cmd_diag *d)
{
	if (!p->sparse_blocks.dtype != !p->sparse_counts.dtype)
		return zw_rt_refuse(d, ZW_REASON_OPERAND, "sparse_blocks",
				    "sparse_blocks and sparse_counts, or none of them");
	if (!p->sparse_columns.dtype != !p->sparse_column_counts.dtype)
		return zw_rt_refuse(d, ZW_REASON_OPERAND, "sparse_columns",
				    "sparse_columns and sparse_column_counts, or none of them");
	if (p->q.dim[1] % p->k_cache.dim[2])
		return zw_rt_refuse(d, ZW_REASON_SHAPE, "q",
				    "%u heads are no multiple of the cache's %u", p->q.dim[1],
				    p->k_cache.dim[2]);
	return check_pools((struct pools){&p->k_cache, &p->v_cache, &p->k_scale, &p->v_scale}, d);
}

static uint32_t merge(const struct zw_pkt_merge *p, struct cmd_diag *d)
{
	if (p->x.dim[0] > PARTS_MAX)
		return zw_rt_refuse(d, ZW_REASON_LIMIT, "x", "over %u parts", PARTS_MAX);
	if (p->x.dim[3] > HEAD_MAX)
		return zw_rt_refuse(d, ZW_REASON_LIMIT, "x", "heads of over %u elements", HEAD_MAX);
	return 0;
}

/* Queries for keys further away and their ends: each both or none. */
static uint32_t select_further(const struct zw_tensor *q_mid, const struct zw_tensor *mid_end,
			       const struct zw_tensor *q_far, const struct zw_tensor *far_end,
			       struct cmd_diag *d)
{
	if (!q_mid->dtype != !mid_end->dtype)
		return zw_rt_refuse(d, ZW_REASON_OPERAND, "q_mid",
				    "q_mid and mid_end, or none of them");
	if (!q_far->dtype != !far_end->dtype)
		return zw_rt_refuse(d, ZW_REASON_OPERAND, "q_far",
				    "q_far and far_end, or none of them");
	return 0;
}

static uint32_t select_keys(const struct zw_tensor *q, const struct zw_tensor *k_cache,
			    const struct zw_tensor *k_scale, struct cmd_diag *d)
{
	if (q->dim[1] % k_cache->dim[2])
		return zw_rt_refuse(d, ZW_REASON_SHAPE, "q",
				    "%u heads are no multiple of the cache's %u", q->dim[1],
				    k_cache->dim[2]);
	return check_pools((struct pools){k_cache, k_cache, k_scale, k_scale}, d);
}

static uint32_t select_blocks(const struct zw_pkt_select_blocks *p, struct cmd_diag *d)
{
	uint32_t reason = select_further(&p->q_mid, &p->mid_end, &p->q_far, &p->far_end, d);

	return reason ? reason : select_keys(&p->q, &p->k_cache, &p->k_scale, d);
}

static uint32_t select_slash(const struct zw_pkt_select_slash *p, struct cmd_diag *d)
{
	uint32_t reason = select_further(&p->q_mid, &p->mid_end, &p->q_far, &p->far_end, d);

	if (reason)
		return reason;
	if (!p->sample || p->sample > SAMPLE_MAX)
		return zw_rt_refuse(d, ZW_REASON_VALUE, "sample", "not from 1 to %u", SAMPLE_MAX);
	if (!p->nearest)
		return zw_rt_refuse(d, ZW_REASON_VALUE, "nearest", "zero");
	return select_keys(&p->q, &p->k_cache, &p->k_scale, d);
}

/* Slots of a pool of states are dense inside. */
static uint32_t check_states(const struct zw_tensor *t, struct cmd_diag *d)
{
	uint64_t dense = 1;

	if (t->dim[0] > STATE_MAX)
		return zw_rt_refuse(d, ZW_REASON_LIMIT, "state", "over %u slots", STATE_MAX);
	for (unsigned int i = t->ndim - 1u; i > 1; i--) {
		dense *= t->dim[i];
		if (t->stride[i - 1] != dense)
			return zw_rt_refuse(d, ZW_REASON_STRIDE, "state", "slots are not dense");
	}
	return 0;
}

static uint32_t conv(const struct zw_pkt_conv *p, struct cmd_diag *d)
{
	if (p->w.dim[1] != p->state.dim[1] + 1)
		return zw_rt_refuse(d, ZW_REASON_SHAPE, "state",
				    "%u inputs, one less than the %u taps of w expected",
				    p->state.dim[1], p->w.dim[1]);
	if (p->w.dim[1] > TAPS_MAX)
		return zw_rt_refuse(d, ZW_REASON_LIMIT, "w", "over %u taps", TAPS_MAX);
	if (p->state.dtype != p->x.dtype && p->state.dtype != ZW_DTYPE_F32)
		return zw_rt_refuse(d, ZW_REASON_DTYPE, "state", "not F32 and not the type of x");
	return check_states(&p->state, d);
}

static uint32_t delta(const struct zw_pkt_delta *p, struct cmd_diag *d)
{
	if (p->v.dim[1] % p->q.dim[1])
		return zw_rt_refuse(d, ZW_REASON_SHAPE, "v",
				    "%u heads are no multiple of the %u of q", p->v.dim[1],
				    p->q.dim[1]);
	if (p->q.dim[2] > DELTA_MAX || p->v.dim[2] > DELTA_MAX)
		return zw_rt_refuse(d, ZW_REASON_LIMIT, "state", "heads of over %u elements",
				    DELTA_MAX);
	return check_states(&p->state, d);
}

/* -- rows of bytes ------------------------------------------------------------------------------ */

static uint64_t sum(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* From the first byte to the last; no overflow: 2^28 rows of at most 2^48 are checked one by one. */
static uint64_t extent(uint32_t rows, uint64_t stride, uint64_t bytes)
{
	unsigned __int128 n = (unsigned __int128)(rows - 1u) * stride + bytes;

	return n > UINT64_MAX ? UINT64_MAX : (uint64_t)n;
}

static uint32_t check_rows(uint32_t rows, uint64_t stride, uint64_t bytes, const char *name,
			   struct cmd_diag *d)
{
	if (rows < 2 || !bytes)
		return 0;
	if (stride < bytes)
		return zw_rt_refuse(d, ZW_REASON_STRIDE, name, "smaller than a row");
	if (extent(rows, stride, bytes) > MAX_EXTENT)
		return zw_rt_refuse(d, ZW_REASON_LIMIT, name, "rows over 2^48 bytes");
	return 0;
}

static uint32_t copy(const struct zw_pkt_copy *p, struct cmd_diag *d)
{
	uint32_t reason = check_rows(p->rows, p->dst_stride, p->bytes, "dst_stride", d);

	if (!reason)
		reason = check_rows(p->rows, p->src_stride, p->bytes, "src_stride", d);
	if (reason || !p->bytes)
		return reason;
	if (sum(p->dst, extent(p->rows, p->dst_stride, p->bytes)) > p->src &&
	    sum(p->src, extent(p->rows, p->src_stride, p->bytes)) > p->dst)
		return zw_rt_refuse(d, ZW_REASON_OVERLAP, "dst", "overlaps src");
	return 0;
}

uint32_t zw_rt_check_rules(const union cmd_packet *p, struct cmd_diag *d)
{
	switch (p->hdr.opcode) {
	case ZW_OP_GEMM:
		return gemm(&p->gemm, d);
	case ZW_OP_GEMM_EXPERTS:
		return gemm_experts(&p->gemm_experts, d);
	case ZW_OP_ROUTE:
		return route(&p->route, d);
	case ZW_OP_RMSNORM:
		return rmsnorm(&p->rmsnorm, d);
	case ZW_OP_GATED_NORM:
		return gated_norm(&p->gated_norm, d);
	case ZW_OP_QUANTIZE:
		return quantize(&p->quantize, d);
	case ZW_OP_REORDER:
		return reorder(&p->reorder, d);
	case ZW_OP_ROPE:
		return rope(&p->rope, d);
	case ZW_OP_TOPK:
		return topk(&p->topk, d);
	case ZW_OP_KV_WRITE:
		return kv_write(&p->kv_write, d);
	case ZW_OP_ATTENTION:
		return attention(&p->attention, d);
	case ZW_OP_MERGE:
		return merge(&p->merge, d);
	case ZW_OP_SELECT_BLOCKS:
		return select_blocks(&p->select_blocks, d);
	case ZW_OP_SELECT_SLASH:
		return select_slash(&p->select_slash, d);
	case ZW_OP_CONV:
		return conv(&p->conv, d);
	case ZW_OP_DELTA:
		return delta(&p->delta, d);
	case ZW_OP_COPY:
		return copy(&p->copy, d);
	case ZW_OP_FILL:
		return check_rows(p->fill.rows, p->fill.dst_stride, p->fill.bytes, "dst_stride", d);
	default:
		return 0;
	}
}

/* Quantised activations go with weights of their kind. */
static const char *pair_beyond(const struct zw_tensor *a, const struct zw_tensor *w,
			       const struct zw_tensor *w_zero)
{
	const uint64_t f8 = ZW_DT(F8E4M3) | ZW_DT(F8E5M2);

	if (in(ZW_DT_FLOAT, a) || (in(f8, a) && in(f8, w)))
		return NULL;
	if (in(ZW_DT(I8), a) && in(ZW_DT(I8), w))
		return w_zero->dtype ? "w_zero" : NULL;
	return "a";
}

const char *zw_rt_beyond_engines(const union cmd_packet *p)
{
	switch (p->hdr.opcode) {
	case ZW_OP_GEMM:
		if (p->gemm.hdr.flags & ZW_GEMM_F_TRANS_W && !in(ZW_DT_FLOAT, &p->gemm.w))
			return "w";
		if (p->gemm.hdr.flags & ZW_GEMM_F_TRANS_A && !in(ZW_DT_FLOAT, &p->gemm.a))
			return "a";
		return pair_beyond(&p->gemm.a, &p->gemm.w, &p->gemm.w_zero);
	case ZW_OP_GEMM_EXPERTS:
		return pair_beyond(&p->gemm_experts.a, &p->gemm_experts.w, &p->gemm_experts.w_zero);
	default:
		return NULL;
	}
}

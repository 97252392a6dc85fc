/* SPDX-License-Identifier: MIT */
/*
 * Zhenwu device ABI: command packets and tensor descriptors.
 *
 * A command buffer is a sequence of packets, each a multiple of 16 bytes that starts with struct
 * zw_pkt. The device copies the whole buffer before it looks at it, checks the form of every packet
 * before it runs the first, and checks the operands of a packet before that packet writes anything.
 * Packets take effect in order: each sees the results of all earlier ones. Unknown flags and
 * non-zero reserved fields are refused.
 *
 * Arithmetic (accumulation order, rounding points) is specified in
 * Documentation/device/numerics.md, the simulated cost of each packet in
 * Documentation/device/time.md.
 */
#ifndef ZW_CMD_H
#define ZW_CMD_H

#include "zw_types.h"

/* -- tensors ----------------------------------------------------------------------------------- */

#define ZW_MAX_DIMS       4
#define ZW_MAX_DIM        (1u << 28)
#define ZW_LAYOUT_STRIDED 0 /* the only layout of ABI 1.0 */

/*
 * A strided tensor, outermost dimension first. The innermost dimension is contiguous; stride[i] is
 * the distance in elements between neighbours along dim[i] for i < ndim - 1. Unused dims and
 * strides are zero. dtype == ZW_DTYPE_NONE marks an absent operand; then everything else is zero
 * too.
 */
struct zw_tensor {
	zw_le64 va;    /* aligned to the element size */
	zw_le16 dtype; /* enum zw_dtype */
	zw_u8 ndim;    /* 1..ZW_MAX_DIMS */
	zw_u8 layout;  /* ZW_LAYOUT_STRIDED */
	zw_le32 flags; /* 0 */
	zw_le32 dim[ZW_MAX_DIMS];
	zw_le64 stride[ZW_MAX_DIMS - 1];
	zw_le64 scale_va; /* block scales of quantised types; 0 in ABI 1.0 */
};
ZW_ASSERT_SIZE(struct zw_tensor, 64);
ZW_ASSERT_OFFSET(struct zw_tensor, dim, 16);
ZW_ASSERT_OFFSET(struct zw_tensor, stride, 32);
ZW_ASSERT_OFFSET(struct zw_tensor, scale_va, 56);

/* -- packets ----------------------------------------------------------------------------------- */

enum zw_opcode {
	/* control */
	ZW_OP_NOP = 0x0000,
	ZW_OP_TIMESTAMP = 0x0001,
	ZW_OP_SEM_SIGNAL = 0x0002,
	ZW_OP_SEM_WAIT = 0x0003,
	ZW_OP_BARRIER = 0x0004,
	/* tensor engine */
	ZW_OP_GEMM = 0x0100,
	/* vector engine */
	ZW_OP_RMSNORM = 0x0200,
	ZW_OP_ROPE = 0x0201,
	ZW_OP_SWIGLU = 0x0202,
	ZW_OP_EMBED = 0x0203,
	ZW_OP_ADD = 0x0204,
	ZW_OP_ARGMAX = 0x0205,
	ZW_OP_TOPK = 0x0206,
	/* attention engine */
	ZW_OP_KV_WRITE = 0x0300,
	ZW_OP_ATTENTION = 0x0301,
	/* DMA engine */
	ZW_OP_COPY = 0x0500,
	ZW_OP_FILL = 0x0501,
};

/*
 * rows_va: many packets work on a number of rows (tokens) that changes from step to step while
 * everything else stays, so that a command buffer is built once and submitted again and again. When
 * rows_va is not zero, the device reads a 32-bit count R there when the packet runs, 0 <= R <=
 * dim[0], and uses R in place of dim[0] of every operand marked [rows] below; R = 0 makes the
 * packet a no-op. Packets without a [rows] operand refuse it.
 */
struct zw_pkt {
	zw_le16 opcode;
	zw_le16 size;    /* of the whole packet in bytes */
	zw_le32 flags;   /* ZW_PKT_F_* and, from bit 8 on, flags of the opcode */
	zw_le64 rows_va; /* 0, or 4-byte aligned */
};
ZW_ASSERT_SIZE(struct zw_pkt, 16);

/*
 * Simulated time only: this packet does not depend on those since the last packet without the flag
 * (or BARRIER), so its engine may start it beside them. Results are those of in-order execution all
 * the same.
 */
#define ZW_PKT_F_ASYNC   (1u << 0)
#define ZW_PKT_F_KNOWN   ZW_PKT_F_ASYNC
#define ZW_PKT_OPFLAG(n) (1u << (8 + (n)))

/* NOP, BARRIER: bare header. */

/* TIMESTAMP: store the queue's simulated time in picoseconds (64 bits). */
struct zw_pkt_timestamp {
	struct zw_pkt hdr;
	zw_le64 va; /* 8-byte aligned */
	zw_le64 reserved;
};
ZW_ASSERT_SIZE(struct zw_pkt_timestamp, 32);

/*
 * Semaphore: 16 bytes { u64 value; u64 time_ps; }, 16-byte aligned. SIGNAL stores the value and the
 * signaller's simulated time. WAIT blocks its queue until value >= the one named (unsigned), then
 * continues at the later of the own and the stored simulated time. A waiting queue leaves the
 * engines to others.
 */
struct zw_semaphore {
	zw_le64 value;
	zw_le64 time_ps;
};
ZW_ASSERT_SIZE(struct zw_semaphore, 16);

struct zw_pkt_sem {
	struct zw_pkt hdr;
	zw_le64 va;
	zw_le64 value;
};
ZW_ASSERT_SIZE(struct zw_pkt_sem, 32);

/*
 * GEMM: c = a . w^T (+ bias) (+ residual).
 *	a [M,K] F32|BF16 [rows]; w [N,K] F32|BF16; c [M,N] F32|BF16 [rows]
 *	bias [N] F32|BF16, optional; residual [M,N] F32|BF16 [rows], optional, may be c itself
 */
struct zw_pkt_gemm {
	struct zw_pkt hdr;
	struct zw_tensor a;
	struct zw_tensor w;
	struct zw_tensor c;
	struct zw_tensor bias;
	struct zw_tensor residual;
};
ZW_ASSERT_SIZE(struct zw_pkt_gemm, 336);

/*
 * RMSNORM: y = x / sqrt(mean(x^2) + eps) * w over the last dimension.
 *	x [M,D] or [M,H,D] F32|BF16 [rows]; w [D] F32|BF16; y like x in shape [rows], may be x itself
 */
struct zw_pkt_rmsnorm {
	struct zw_pkt hdr;
	struct zw_tensor x;
	struct zw_tensor w;
	struct zw_tensor y;
	zw_le32 eps_f32; /* bits of a finite, non-negative binary32 */
	zw_le32 reserved[3];
};
ZW_ASSERT_SIZE(struct zw_pkt_rmsnorm, 224);

/*
 * ROPE: rotate pairs (x_j, x_{j + r/2}), j < r/2, by the angle of row position p; r = 2 *
 * cos.dim[1] <= D, elements from r on are copied unchanged.
 *	x [M,H,D] F32|BF16 [rows]; y like x [rows], may be x itself; pos [M] I32 [rows];
 *	cos, sin [P,r/2] F32; 0 <= pos < P
 */
struct zw_pkt_rope {
	struct zw_pkt hdr;
	struct zw_tensor x;
	struct zw_tensor y;
	struct zw_tensor pos;
	struct zw_tensor cos_table;
	struct zw_tensor sin_table;
};
ZW_ASSERT_SIZE(struct zw_pkt_rope, 336);

/* SWIGLU: y = silu(gate) * up. gate, up, y [M,I] F32|BF16 [rows]; y may be gate or up itself. */
struct zw_pkt_swiglu {
	struct zw_pkt hdr;
	struct zw_tensor gate;
	struct zw_tensor up;
	struct zw_tensor y;
};
ZW_ASSERT_SIZE(struct zw_pkt_swiglu, 208);

/*
 * EMBED: y[m] = table[ids[m]]. ids [M] I32 [rows]; table [V,H] F32|BF16; y [M,H] F32|BF16 [rows].
 */
struct zw_pkt_embed {
	struct zw_pkt hdr;
	struct zw_tensor ids;
	struct zw_tensor table;
	struct zw_tensor y;
};
ZW_ASSERT_SIZE(struct zw_pkt_embed, 208);

/* ADD: y = a + b, [M,N] F32|BF16 each [rows]; y may be a or b itself. */
struct zw_pkt_add {
	struct zw_pkt hdr;
	struct zw_tensor a;
	struct zw_tensor b;
	struct zw_tensor y;
};
ZW_ASSERT_SIZE(struct zw_pkt_add, 208);

/*
 * ARGMAX: ids[m] = index of the largest x[m]; the lowest of equals; NaN never wins. x [M,V]
 * F32|BF16 [rows]; ids [M] I32 [rows].
 */
struct zw_pkt_argmax {
	struct zw_pkt hdr;
	struct zw_tensor x;
	struct zw_tensor ids;
};
ZW_ASSERT_SIZE(struct zw_pkt_argmax, 144);

/*
 * TOPK: the k largest of each row in descending order, equals by ascending index. k = values.dim[1]
 * <= 1024, k <= V.
 *	x [M,V] F32|BF16 [rows]; values [M,k] F32 [rows]; ids [M,k] I32 [rows]
 */
struct zw_pkt_topk {
	struct zw_pkt hdr;
	struct zw_tensor x;
	struct zw_tensor values;
	struct zw_tensor ids;
};
ZW_ASSERT_SIZE(struct zw_pkt_topk, 208);

/*
 * Paged KV cache: k_cache and v_cache are pools [B, T, Hkv, D] of B blocks of T tokens (T a power
 * of two, 8..1024). block_table [S,Lb] I32 names the blocks of sequence s in order; position p of
 * it is token p mod T of block block_table[s, p / T]. seq [M] I32 says to which sequence each row
 * belongs; absent: all to sequence 0.
 */

/*
 * KV_WRITE: store rows of k and v at their positions. k, v [M,Hkv,D] F32|BF16 [rows]; pos, seq [M]
 * I32 [rows]; pools F32|BF16.
 */
struct zw_pkt_kv_write {
	struct zw_pkt hdr;
	struct zw_tensor k;
	struct zw_tensor v;
	struct zw_tensor pos;
	struct zw_tensor seq; /* optional */
	struct zw_tensor block_table;
	struct zw_tensor k_cache;
	struct zw_tensor v_cache;
};
ZW_ASSERT_SIZE(struct zw_pkt_kv_write, 464);

/*
 * ATTENTION: causal grouped-query attention against the cache: row m of sequence s attends to
 * positions 0..pos[m].
 *	q, y [M,Hq,D] F32|BF16 [rows], y may be q itself; Hq a multiple of Hkv;
 *	query head h reads KV head h / (Hq/Hkv)
 *	lse [M,Hq] F32 [rows], optional: log of the softmax denominator (natural log, scale included)
 */
struct zw_pkt_attention {
	struct zw_pkt hdr;
	struct zw_tensor q;
	struct zw_tensor y;
	struct zw_tensor pos;
	struct zw_tensor seq; /* optional */
	struct zw_tensor block_table;
	struct zw_tensor k_cache;
	struct zw_tensor v_cache;
	struct zw_tensor lse; /* optional */
	zw_le32 scale_f32;    /* bits of a finite, positive binary32 */
	zw_le32 window;       /* 0; sliding window is reserved */
	zw_le64 sparse_va;    /* 0; block-sparse lists are reserved */
};
ZW_ASSERT_SIZE(struct zw_pkt_attention, 544);

/* COPY: size bytes from src to dst; the ranges do not overlap. */
struct zw_pkt_copy {
	struct zw_pkt hdr;
	zw_le64 dst;
	zw_le64 src;
	zw_le64 bytes;
	zw_le64 reserved;
};
ZW_ASSERT_SIZE(struct zw_pkt_copy, 48);

/* FILL: size bytes at dst with a repeated 32-bit pattern; dst and size multiples of 4. */
struct zw_pkt_fill {
	struct zw_pkt hdr;
	zw_le64 dst;
	zw_le64 bytes;
	zw_le32 pattern;
	zw_le32 reserved[3];
};
ZW_ASSERT_SIZE(struct zw_pkt_fill, 48);

#endif /* ZW_CMD_H */

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
 * Which operands and scalars a packet has, what they may be and where they are is said once, in
 * zw_ops.h; the structures here only give them a place. Arithmetic (accumulation order, rounding
 * points) is specified in Documentation/device/numerics.md, the simulated cost of each packet in
 * Documentation/device/time.md.
 */
#ifndef ZW_CMD_H
#define ZW_CMD_H

#include "zw_types.h"

/* -- tensors ----------------------------------------------------------------------------------- */

#define ZW_MAX_DIMS 4
#define ZW_MAX_DIM  (1u << 28)

enum zw_layout {
	ZW_LAYOUT_STRIDED = 0,
	ZW_LAYOUT_BLOCKED = 1, /* rows of ZW_DT_BLOCKED records */
};

/*
 * A tensor, outermost dimension first. The innermost dimension is contiguous; stride[i] is the
 * distance in elements between neighbours along dim[i] for i < ndim - 1. Unused dims and strides
 * are zero. Of a type with blocks of several elements the innermost dimension and all strides are
 * multiples of the block, so that a row starts with a whole byte or record.
 *
 * An operand that holds scales or zero points of another one says in block[] how much each of its
 * elements covers there: block[0] entries along the last but one dimension, block[1] along the last
 * one. Then dim is the quotient of the other's, rounded up: weights [N,K] with block {128, 128} have
 * scales [ceil(N/128), ceil(K/128)]. block is zero in every other operand.
 *
 * dtype == ZW_DTYPE_NONE marks an absent operand; then everything else is zero too.
 */
struct zw_tensor {
	zw_le64 va;    /* aligned to the bytes of an element, to 2 for records */
	zw_le16 dtype; /* enum zw_dtype */
	zw_u8 ndim;    /* 1..ZW_MAX_DIMS */
	zw_u8 layout;  /* enum zw_layout */
	zw_le32 flags; /* 0 */
	zw_le32 dim[ZW_MAX_DIMS];
	zw_le64 stride[ZW_MAX_DIMS - 1];
	zw_le32 block[2];
};
ZW_ASSERT_SIZE(struct zw_tensor, 64);
ZW_ASSERT_OFFSET(struct zw_tensor, dim, 16);
ZW_ASSERT_OFFSET(struct zw_tensor, stride, 32);
ZW_ASSERT_OFFSET(struct zw_tensor, block, 56);

/* -- header ------------------------------------------------------------------------------------ */

/*
 * size: at least what zw_ops.h says for the opcode, a multiple of 16. What is beyond the fields that
 * this device knows has to be zero: a packet of a later minor version that does not use its new
 * fields runs on an older device, one that does is refused.
 *
 * rows_va: many packets work on a number of rows (tokens) that changes from step to step while
 * everything else stays, so that a command buffer is built once and submitted again and again. When
 * rows_va is not zero, the device reads a 32-bit count R there when the packet runs, 0 <= R <=
 * dim[0], and uses R in place of dim[0] of every operand marked ROWS in zw_ops.h; R = 0 makes the
 * packet a no-op. Packets without such an operand refuse it.
 *
 * predicate_va: when not zero, the device reads 32 bits there when the packet runs. Zero skips the
 * packet (with ZW_PKT_F_PREDICATE_NOT: anything else does). A skipped packet looks at no operand and
 * no row count, and costs its fixed time.
 *
 * Dependencies are about simulated time only; results are those of in-order execution always.
 * Without ZW_PKT_F_DEPS a packet starts when all packets before it have ended. With it, it starts
 * when those have ended that last signalled the tokens in `wait` (bit t: token t; a token that
 * nobody signalled in this job holds nobody up), and the latest packet without the flag before it.
 * Every packet, with the flag or not, may signal a token: signal = t + 1; 0: none. Whatever the
 * dependencies say, an engine does one packet at a time, in the order of the buffer.
 *
 * tag: any value; named in completions of failed jobs, traces and logs.
 */
struct zw_pkt {
	zw_le16 opcode;       /* enum zw_opcode */
	zw_le16 size;         /* of the whole packet in bytes */
	zw_le32 flags;        /* ZW_PKT_F_* and, from bit 8 on, flags of the opcode */
	zw_le64 rows_va;      /* 0, or 4-byte aligned */
	zw_le64 predicate_va; /* 0, or 4-byte aligned */
	zw_le32 tag;
	zw_le16 wait;
	zw_u8 signal; /* 0..ZW_PKT_TOKENS */
	zw_u8 reserved;
};
ZW_ASSERT_SIZE(struct zw_pkt, 32);
ZW_ASSERT_OFFSET(struct zw_pkt, predicate_va, 16);
ZW_ASSERT_OFFSET(struct zw_pkt, wait, 28);

#define ZW_PKT_TOKENS          16
#define ZW_PKT_F_DEPS          (1u << 0)
#define ZW_PKT_F_PREDICATE_NOT (1u << 1) /* only with a predicate_va */
/*
 * What of the chip the packet goes without, to compare: it takes the simulated time that it would take on a chip that has
 * not got it; its results are the same. Every packet takes these flags (ABI 2.4). Where the chip has not got it anyway, or
 * the packet has no use for it, they change nothing.
 */
#define ZW_PKT_F_NO_KV_CACHE   (1u << 2) /* on-chip KV cache */
#define ZW_PKT_F_NO_TENSOR     (1u << 3) /* products on the tensor units */
#define ZW_PKT_F_NO_FUSED      (1u << 4) /* norms, rotation and activations in one packet */
#define ZW_PKT_F_NO_SPARSE     (1u << 5) /* keys that lists leave out cost nothing */
#define ZW_PKT_F_WITHOUT                                                                           \
	(ZW_PKT_F_NO_KV_CACHE | ZW_PKT_F_NO_TENSOR | ZW_PKT_F_NO_FUSED | ZW_PKT_F_NO_SPARSE)
#define ZW_PKT_OPFLAG(n) (1u << (8 + (n)))

/* -- control ----------------------------------------------------------------------------------- */

/* NOP, BARRIER: bare header. BARRIER never takes ZW_PKT_F_DEPS: later packets wait for all before it. */

/* TIMESTAMP: store the simulated time of the device in picoseconds (64 bits). */
struct zw_pkt_timestamp {
	struct zw_pkt hdr;
	zw_le64 va; /* 8-byte aligned */
	zw_le64 reserved;
};
ZW_ASSERT_SIZE(struct zw_pkt_timestamp, 48);

/*
 * Semaphore: 64 bits in memory, 8-byte aligned. SIGNAL stores the value. WAIT blocks its queue until
 * the value there is >= the one named (unsigned), then continues no earlier than the simulated time
 * of the SIGNAL that made it so; the device keeps those times to itself. A waiting queue leaves the
 * engines to others.
 */
struct zw_pkt_sem {
	struct zw_pkt hdr;
	zw_le64 va;
	zw_le64 value;
};
ZW_ASSERT_SIZE(struct zw_pkt_sem, 48);

/* -- tensor engine ----------------------------------------------------------------------------- */

/*
 * GEMM: c = A . W^T (+ bias) (+ residual).
 *	a [M,K], with TRANS_A [K,M]; w [N,K], with TRANS_W [K,N]; c [M,N]
 *	bias [N], optional; residual [M,N], optional, may be c itself
 * so that forward (neither), gradient of the input (TRANS_W) and gradient of the weights (both) are
 * one packet. With TRANS_A rows_va has to be zero.
 *
 * Quantised weights: W = (w - w_zero) * w_scale * w_scale2, quantised activations: A = a * a_scale;
 * each optional (zero, one), each a tensor with block[] (see struct zw_tensor), w_scale2 one element.
 * Types of ZW_DT_SCALED need their scale; the GGUF records hold theirs and take none, nor do F32, BF16 and F16. w_zero goes with
 * I8, I4 and U4, and has the block[1] of w_scale. Quantised activations go with weights of their kind, I8 with I8, F8 with F8, and
 * a_scale with the block[1] of w_scale, or each of one scale for all of K.
 */
struct zw_pkt_gemm {
	struct zw_pkt hdr;
	struct zw_tensor a;
	struct zw_tensor w;
	struct zw_tensor c;
	struct zw_tensor bias;
	struct zw_tensor residual;
	struct zw_tensor a_scale;
	struct zw_tensor w_scale;
	struct zw_tensor w_zero;
	struct zw_tensor w_scale2;
};
ZW_ASSERT_SIZE(struct zw_pkt_gemm, 608);

#define ZW_GEMM_F_TRANS_A ZW_PKT_OPFLAG(0)
#define ZW_GEMM_F_TRANS_W ZW_PKT_OPFLAG(1)

/*
 * GEMM_EXPERTS: rows meet the matrices of the experts that they were routed to. Only those that ids
 * names are read.
 *	w [E,N,K]; ids [M,T], 0 <= id < E: the experts of row m; M * T at most 2^20
 *	without SCATTER (up): a [M,K]; c [M,T,N]:
 *		c[m,j] = a[m] . w[ids[m,j]]^T
 *	with SCATTER (down): a [M,T,K]; c [M,N]; weights [M,T], optional; residual [M,N], optional, may
 *	be c itself:
 *		c[m] = sum over j of weights[m,j] * (a[m,j] . w[ids[m,j]]^T) (+ residual[m])
 * rows_va counts M in both. weights and residual are for SCATTER only. Scales are those of GEMM, but
 * for w_scale2, which has one element for each expert.
 */
struct zw_pkt_gemm_experts {
	struct zw_pkt hdr;
	struct zw_tensor a;
	struct zw_tensor w;
	struct zw_tensor ids;
	struct zw_tensor c;
	struct zw_tensor weights;
	struct zw_tensor residual;
	struct zw_tensor a_scale;
	struct zw_tensor w_scale;
	struct zw_tensor w_zero;
	struct zw_tensor w_scale2;
};
ZW_ASSERT_SIZE(struct zw_pkt_gemm_experts, 672);

#define ZW_EXPERTS_F_SCATTER ZW_PKT_OPFLAG(0)

/* -- vector engine ----------------------------------------------------------------------------- */

/*
 * RMSNORM: y = x / sqrt(mean(x^2) + eps) * w over the last dimension.
 *	x [M,D] or [M,H,D]; w [D]; y like x in shape, may be x itself
 */
struct zw_pkt_rmsnorm {
	struct zw_pkt hdr;
	struct zw_tensor x;
	struct zw_tensor w;
	struct zw_tensor y;
	zw_le32 eps_f32; /* bits of a finite, non-negative binary32 */
	zw_le32 reserved[3];
};
ZW_ASSERT_SIZE(struct zw_pkt_rmsnorm, 240);

/*
 * ROPE: rotate pairs (x_j, x_{j + r/2}), j < r/2, by the angle of row position p; r = 2 *
 * cos.dim[1] <= D, elements from r on are copied unchanged.
 *	x [M,H,D]; y like x, may be x itself; pos [M]; cos, sin [P,r/2]; 0 <= pos < P
 */
struct zw_pkt_rope {
	struct zw_pkt hdr;
	struct zw_tensor x;
	struct zw_tensor y;
	struct zw_tensor pos;
	struct zw_tensor cos;
	struct zw_tensor sin;
};
ZW_ASSERT_SIZE(struct zw_pkt_rope, 352);

/* SWIGLU: y = silu(gate) * up. gate, up, y [M,I] or [M,H,I]; y may be gate or up itself. */
struct zw_pkt_swiglu {
	struct zw_pkt hdr;
	struct zw_tensor gate;
	struct zw_tensor up;
	struct zw_tensor y;
};
ZW_ASSERT_SIZE(struct zw_pkt_swiglu, 224);

/* EMBED: y[m] = table[ids[m]]. ids [M]; table [V,H], also of GGUF records (ABI 2.2); y [M,H]. */
struct zw_pkt_embed {
	struct zw_pkt hdr;
	struct zw_tensor ids;
	struct zw_tensor table;
	struct zw_tensor y;
};
ZW_ASSERT_SIZE(struct zw_pkt_embed, 224);

/* ADD: y = a + b, [M,N] each; y may be a or b itself. */
struct zw_pkt_add {
	struct zw_pkt hdr;
	struct zw_tensor a;
	struct zw_tensor b;
	struct zw_tensor y;
};
ZW_ASSERT_SIZE(struct zw_pkt_add, 224);

/* ARGMAX: ids[m] = index of the largest x[m]; the lowest of equals; NaN never wins. x [M,V]; ids [M]. */
struct zw_pkt_argmax {
	struct zw_pkt hdr;
	struct zw_tensor x;
	struct zw_tensor ids;
};
ZW_ASSERT_SIZE(struct zw_pkt_argmax, 160);

/*
 * TOPK: the k largest of each row in descending order, equals by ascending index. k = values.dim[1]
 * <= 1024, k <= V.
 *	x [M,V]; values [M,k]; ids [M,k]
 */
struct zw_pkt_topk {
	struct zw_pkt hdr;
	struct zw_tensor x;
	struct zw_tensor values;
	struct zw_tensor ids;
};
ZW_ASSERT_SIZE(struct zw_pkt_topk, 224);

/*
 * ROUTE: softmax of each row over all of it, then its k largest, in descending order, equals by
 * ascending index: the experts of a token and their weights. With RENORM the weights are divided by
 * their sum. k = weights.dim[1] <= 1024, k <= E <= 65536.
 *	x [M,E]; weights [M,k]; ids [M,k]
 */
struct zw_pkt_route {
	struct zw_pkt hdr;
	struct zw_tensor x;
	struct zw_tensor weights;
	struct zw_tensor ids;
};
ZW_ASSERT_SIZE(struct zw_pkt_route, 224);

#define ZW_ROUTE_F_RENORM ZW_PKT_OPFLAG(0)

/*
 * GATED_NORM: RMSNORM, then times silu of the gate: y = w * x / sqrt(mean(x^2) + eps) * silu(gate).
 * x, gate, y [M,D] or [M,H,D]; w [D]; y may be x or gate itself.
 */
struct zw_pkt_gated_norm {
	struct zw_pkt hdr;
	struct zw_tensor x;
	struct zw_tensor w;
	struct zw_tensor gate;
	struct zw_tensor y;
	zw_le32 eps_f32; /* bits of a finite, non-negative binary32 */
	zw_u8 reserved[12];
};
ZW_ASSERT_SIZE(struct zw_pkt_gated_norm, 304);

/*
 * MUL_SIGMOID: y = x * sigmoid(gate) (+ residual).
 *	x, y [M,I] or [M,H,I]; residual the same, optional; y may be x, gate or residual itself
 *	gate: as x; with ROW_GATE [M,1]: one for all elements of a row
 */
struct zw_pkt_mul_sigmoid {
	struct zw_pkt hdr;
	struct zw_tensor x;
	struct zw_tensor gate;
	struct zw_tensor residual;
	struct zw_tensor y;
};
ZW_ASSERT_SIZE(struct zw_pkt_mul_sigmoid, 288);

#define ZW_SIGMOID_F_ROW_GATE ZW_PKT_OPFLAG(0)

/*
 * QUANTIZE: y = x / scale, rounded to the type of y, where the scale of a block is its greatest magnitude divided by the
 * largest number of that type (127, 448, 57344).
 *	x, y [M,N] or [M,H,N]; scale with block {1, n}: one for each n elements of a row
 * What becomes of activations before a product with weights of the same kind.
 */
struct zw_pkt_quantize {
	struct zw_pkt hdr;
	struct zw_tensor x;
	struct zw_tensor y;
	struct zw_tensor scale;
};
ZW_ASSERT_SIZE(struct zw_pkt_quantize, 224);

/*
 * REORDER: y[m, k] = x[m, order[e, k]], e being which[m], or 0 without it.
 *	x [M,N]; order [E,K] I32, all in 0..N-1 where they are used; which [M,1] I32, optional where E is 1; y [M,K]
 * For matrices whose columns are stored in an order of their own, an expert's in its own. ABI 2.3.
 */
struct zw_pkt_reorder {
	struct zw_pkt hdr;
	struct zw_tensor x;
	struct zw_tensor order;
	struct zw_tensor which;
	struct zw_tensor y;
};
ZW_ASSERT_SIZE(struct zw_pkt_reorder, 288);

/* -- attention engine -------------------------------------------------------------------------- */

/*
 * Paged KV cache: k_cache and v_cache are pools [B, T, Hkv, D] of B blocks of T tokens (T a power
 * of two, 8..1024). block_table [S,Lb] names the blocks of sequence s in order; position p of it is
 * token p mod T of block block_table[s, p / T]. seq [M] says to which sequence each row belongs;
 * absent: all to sequence 0. A pool of a quantised type has one scale a token and head, in k_scale
 * and v_scale [B, T, Hkv].
 */

/* KV_WRITE: store rows of k and v [M,Hkv,D] at their positions. */
struct zw_pkt_kv_write {
	struct zw_pkt hdr;
	struct zw_tensor k;
	struct zw_tensor v;
	struct zw_tensor pos;
	struct zw_tensor seq;
	struct zw_tensor block_table;
	struct zw_tensor k_cache;
	struct zw_tensor v_cache;
	struct zw_tensor k_scale;
	struct zw_tensor v_scale;
};
ZW_ASSERT_SIZE(struct zw_pkt_kv_write, 608);

/*
 * ATTENTION: causal grouped-query attention against the cache: row m of sequence s attends to
 * positions 0..pos[m], with a window of w > 0 only to the last w of them.
 *	q, y [M,Hq,D], y may be q itself; Hq a multiple of Hkv; query head h reads KV head h / (Hq/Hkv)
 *	lse [M,Hq], optional: log of the softmax denominator (natural log, scale and sink included)
 *	sinks [Hq], optional: a score per head that enters the denominator only; -inf: none
 *	sparse_blocks [G,Hq,Ls] with sparse_counts [G,Hq], optional, both or none: query rows are taken
 *	in groups of ceil(M / G); head h of group g attends only to the first sparse_counts[g,h] blocks
 *	(of T tokens) listed in sparse_blocks[g,h], in ascending order. Blocks are those of the row's own
 *	sequence: b is positions b T .. b T + T - 1.
 *	sparse_columns [G,Hq,Lc] with sparse_column_counts [G,Hq], optional, both or none: single positions
 *	in the same way, besides the blocks, in ascending order and none of them in a listed block
 *	start [M], optional: row m attends to no position below start[m]
 * Lists, window and start only take keys away from 0..pos[m]. A row without a key has y = 0 and lse =
 * -inf (those of its sink, if it has one).
 */
struct zw_pkt_attention {
	struct zw_pkt hdr;
	struct zw_tensor q;
	struct zw_tensor y;
	struct zw_tensor pos;
	struct zw_tensor seq;
	struct zw_tensor block_table;
	struct zw_tensor k_cache;
	struct zw_tensor v_cache;
	struct zw_tensor lse;
	struct zw_tensor k_scale;
	struct zw_tensor v_scale;
	struct zw_tensor sinks;
	struct zw_tensor sparse_blocks;
	struct zw_tensor sparse_counts;
	zw_le32 scale_f32; /* bits of a finite, positive binary32 */
	zw_le32 window;    /* 0: none */
	zw_le64 reserved;
	/* 2.2 */
	struct zw_tensor sparse_columns;
	struct zw_tensor sparse_column_counts;
	struct zw_tensor start;
};
ZW_ASSERT_OFFSET(struct zw_pkt_attention, sparse_columns, 880);
ZW_ASSERT_SIZE(struct zw_pkt_attention, 1072);

/*
 * MERGE: attention over N parts of the keys, as the lse of each says, is attention over all of them:
 *	y = sum over n of exp(x_lse[n] - max) x[n] / sum over n of exp(x_lse[n] - max)
 *	lse = max + log of the latter sum
 * x [N,M,H,D]; x_lse [N,M,H]; y [M,H,D]; lse [M,H], optional. N at most 64. rows_va counts M. A part of
 * lse -inf has no key, and what is in x of it does not matter; a row without a key has y = 0, lse = -inf.
 */
struct zw_pkt_merge {
	struct zw_pkt hdr;
	struct zw_tensor x;
	struct zw_tensor x_lse;
	struct zw_tensor y;
	struct zw_tensor lse;
};
ZW_ASSERT_SIZE(struct zw_pkt_merge, 288);

/*
 * SELECT_BLOCKS: which blocks of keys each group of query rows and head attends to, as ATTENTION takes
 * them: those whose mean key has the largest product with the mean query, and always, as far as E
 * allows, those in which positions of the rows lie, the last ones first, and block 0.
 *	q [M,Q,D], in groups of ceil(M / G) rows, those of a group of one sequence
 *	blocks [G,Q,E], ascending; counts [G,Q]; what is not used of them is zero
 *	q_far [M,Q,D] with far_end [M], q_mid with mid_end, optional, each both or none: what row m compares
 *	with keys of positions below far_end[m] and, of the others, below mid_end[m], in place of q. So keys
 *	may be rotated by places that do not go on from 0, as Dual Chunk Attention has it. Of a block its
 *	first position counts.
 */
struct zw_pkt_select_blocks {
	struct zw_pkt hdr;
	struct zw_tensor q;
	struct zw_tensor pos;
	struct zw_tensor seq;
	struct zw_tensor block_table;
	struct zw_tensor k_cache;
	struct zw_tensor k_scale;
	struct zw_tensor blocks;
	struct zw_tensor counts;
	/* 2.7 */
	struct zw_tensor q_mid;
	struct zw_tensor mid_end;
	struct zw_tensor q_far;
	struct zw_tensor far_end;
};
ZW_ASSERT_OFFSET(struct zw_pkt_select_blocks, q_mid, 544);
ZW_ASSERT_SIZE(struct zw_pkt_select_blocks, 800);

/*
 * SELECT_SLASH: the same from what the last `sample` rows attend to, softmax(scale q . k) over all keys:
 * the columns with the largest sums of weights, vertical[h] of them, and the distances pos - key with the
 * largest ones, slash[h] of them. The first `first` columns and the `nearest` shortest distances are always
 * among them, and more if there are more of these. Distances become the blocks that they reach
 * from the rows of a group, columns outside of these stay columns.
 *	q [M,Q,D]: rows of one sequence, positions rising by one, in groups of ceil(M / G)
 *	vertical, slash [Q]
 *	blocks [G,Q,E], columns [G,Q,C], ascending; counts, column_counts [G,Q]; what is not used is zero
 *	q_mid, mid_end, q_far, far_end: as in SELECT_BLOCKS, key by key; the softmax is one over all keys
 */
struct zw_pkt_select_slash {
	struct zw_pkt hdr;
	struct zw_tensor q;
	struct zw_tensor pos;
	struct zw_tensor seq;
	struct zw_tensor block_table;
	struct zw_tensor k_cache;
	struct zw_tensor k_scale;
	struct zw_tensor vertical;
	struct zw_tensor slash;
	struct zw_tensor blocks;
	struct zw_tensor counts;
	struct zw_tensor columns;
	struct zw_tensor column_counts;
	zw_le32 scale_f32; /* bits of a finite, positive binary32 */
	zw_le32 sample;    /* 1..128 */
	zw_le32 first;
	zw_le32 nearest; /* at least 1 */
	zw_u8 reserved[16];
	/* 2.7 */
	struct zw_tensor q_mid;
	struct zw_tensor mid_end;
	struct zw_tensor q_far;
	struct zw_tensor far_end;
};
ZW_ASSERT_OFFSET(struct zw_pkt_select_slash, q_mid, 832);
ZW_ASSERT_SIZE(struct zw_pkt_select_slash, 1088);

/* -- recurrent layers: convolution and delta rule ---------------------------------------------- */

/*
 * A recurrent layer keeps a state for each sequence, in a slot of the pool `state`, dim[0] of which
 * counts the slots; the rest of a slot is dense. Rows that follow each other, with the same seq and
 * with positions that rise by one, are a run:
 *	pos [M]: positions, from 0. A run that begins at position 0 starts from a state of zeros, any
 *	other from slot seq.
 *	seq [M], optional: slots; absent: all 0.
 *	dst [M], optional: the slot that keeps the state behind this row, or -1: none. Absent: the last
 *	row of a run leaves it in slot seq, the others nowhere. Of two rows with one slot the later wins.
 * A slot that a run starts from may not be left a state by another run of the packet. So the state
 * behind each of some drafted tokens can be kept, and the one that was right gone on from; a
 * sequence can be forked without a copy.
 */

/*
 * CONV: causal depthwise convolution over the last K rows of a sequence, then silu:
 *	y[m,c] = silu(sum over i < K of w[c,i] * x[m - K + 1 + i, c])
 * x, y [M,C], y may be x itself; w [C,K]; K 2..16; state [S,K-1,C]: the inputs before the next row,
 * oldest first, of the type of x or F32.
 */
struct zw_pkt_conv {
	struct zw_pkt hdr;
	struct zw_tensor x;
	struct zw_tensor w;
	struct zw_tensor y;
	struct zw_tensor state;
	struct zw_tensor pos;
	struct zw_tensor seq;
	struct zw_tensor dst;
	zw_u8 reserved[64];
};
ZW_ASSERT_SIZE(struct zw_pkt_conv, 544);

/*
 * DELTA: the gated delta rule. Value head h, with key head h / (H / G) and a state S [D,E] of its own, for
 * each row of a sequence in turn:
 *	q = q / sqrt(|q|^2 + eps) * scale;  k = k / sqrt(|k|^2 + eps)
 *	S = exp(-exp(a_log[h]) * softplus(a[m,h] + dt_bias[h])) * S
 *	S = S + k (sigmoid(b[m,h]) * (v - S^T k))^T
 *	y[m,h] = S^T q
 * q, k [M,G,D]; v, y [M,H,E], y may be v itself; a, b [M,H]; a_log, dt_bias [H]; state [S,H,D,E]. H a
 * multiple of G; D and E at most 1024.
 *
 * With CHUNKED the same rule, but for the rounding, in products of matrices: the rows of a run whose
 * positions have the same quotient by ZW_DELTA_CHUNK are a chunk, and one of ZW_DELTA_CHUNK_MIN rows or
 * more is computed at once; a shorter one row by row as without the flag.
 */
struct zw_pkt_delta {
	struct zw_pkt hdr;
	struct zw_tensor q;
	struct zw_tensor k;
	struct zw_tensor v;
	struct zw_tensor a;
	struct zw_tensor b;
	struct zw_tensor a_log;
	struct zw_tensor dt_bias;
	struct zw_tensor y;
	struct zw_tensor state;
	struct zw_tensor pos;
	struct zw_tensor seq;
	struct zw_tensor dst;
	zw_le32 eps_f32;   /* bits of a finite, non-negative binary32 */
	zw_le32 scale_f32; /* bits of a finite, positive binary32 */
	zw_u8 reserved[136];
};
ZW_ASSERT_SIZE(struct zw_pkt_delta, 944);

#define ZW_DELTA_F_CHUNKED ZW_PKT_OPFLAG(0)
#define ZW_DELTA_CHUNK     64u
#define ZW_DELTA_CHUNK_MIN 32u

/* -- DMA engine -------------------------------------------------------------------------------- */

/*
 * COPY: `rows` [rows] pieces of `bytes` bytes each, `src_stride` and `dst_stride` bytes apart; the
 * source range and the destination range, from the first byte to the last, do not overlap. Strides
 * are at least `bytes` when there is more than one row, and are not used when there is one. Bytes
 * between the rows of the destination are not touched.
 */
struct zw_pkt_copy {
	struct zw_pkt hdr;
	zw_le64 dst;
	zw_le64 src;
	zw_le64 bytes;
	zw_le64 dst_stride;
	zw_le64 src_stride;
	zw_le32 rows; /* 1..ZW_MAX_DIM; rows_va counts against it */
	zw_le32 reserved;
};
ZW_ASSERT_SIZE(struct zw_pkt_copy, 80);

/* FILL: `rows` [rows] pieces of `bytes` bytes with a repeated 32-bit pattern; all multiples of 4. */
struct zw_pkt_fill {
	struct zw_pkt hdr;
	zw_le64 dst;
	zw_le64 bytes;
	zw_le64 dst_stride;
	zw_le32 rows;
	zw_le32 pattern;
};
ZW_ASSERT_SIZE(struct zw_pkt_fill, 64);

#include "zw_ops.h"

#endif /* ZW_CMD_H */

/* SPDX-License-Identifier: MIT */
/*
 * Compute kernels of the engines: pure functions on host memory.
 *
 * They know nothing of packets, address spaces or simulated time: the command processor resolves
 * device addresses, checks access, and calls them. What each one computes, to the bit, is written
 * in Documentation/device/numerics.md; in short: storage F32, BF16 or F16, arithmetic IEEE binary32 in a
 * fixed order, the same bits for any pool, SIMD level and host.
 *
 * Rules for all of them:
 *  - Return 0 or a negative errno.
 *    With nothing written:
 *      - EINVAL: an impossible shape, a missing operand, a misaligned pointer, an output whose rows
 *        overlap each other or an operand that they may not overlap;
 *      - EOPNOTSUPP: a dtype (or pair of dtypes) or flag that this build has no kernel for;
 *      - ERANGE: an index among the data is out of range, @fault says which.
 *    With the output partly written:
 *      - ECANCELED: zw_pool_cancel();
 *      - ENOMEM: no memory for scratch.
 *  - The caller guarantees that every element the arguments describe is mapped for as long as the
 *    call runs. Index data (ids, positions) is read before anything is written; a guest may change
 *    it meanwhile: kernels copy each index once and use only the checked copy.
 *  - Strides are in elements, not bytes. Pointers are aligned to their element.
 *  - A dimension of zero is allowed where it makes sense (no rows: nothing happens; K = 0: a sum of
 *    nothing is +0).
 *  - Calls on one pool are serialised; calls on different pools run in parallel.
 *  - dtypes are the ZW_DTYPE_* of zhenwu/zw_types.h.
 */
#ifndef ZW_KERNELS_H
#define ZW_KERNELS_H

#include <stdint.h>

#include "zw_pool.h"

/*
 * Views. Element (r, c) of a matrix is at index r * ld + c. Element (r, h, c) of a matrix with
 * heads is at r * ld + h * hs + c: token r, head h, so [T, heads, d] inside a wider fused row needs
 * no copy.
 */
struct zw_k_in {
	const void *ptr;
	uint32_t dtype;
	uint32_t reserved;
	uint64_t ld;
	uint64_t hs;
};

struct zw_k_out {
	void *ptr;
	uint32_t dtype;
	uint32_t reserved;
	uint64_t ld;
	uint64_t hs;
};

/* Filled in with -ERANGE: which index was bad, and its value. */
struct zw_k_fault {
	uint64_t index;
	int64_t value;
};

/*
 * Scales, or zero points, of a matrix: that of element (r, k) is element (r / rows, k / group) here. dtypes: F32, BF16,
 * F16, F8E4M3, E8M0 as scales; these floats, I8, U8, I4, U4 as zero points. ptr NULL: none.
 */
struct zw_k_scales {
	const void *ptr;
	uint64_t ld; /* elements */
	uint64_t hs; /* from head to head; then rows counts heads. 0: there are none */
	uint32_t dtype;
	uint32_t rows, group;
	uint32_t reserved;
};

/*
 * What belongs to quantised weights: W = (w - zero) * scale * scale2. Types with scales need scale; zero goes with I8, I4
 * and U4 only, and has the group of scale; records have none of them.
 */
struct zw_k_quant {
	struct zw_k_scales scale, zero;
	const float *scale2; /* one, or NULL */
	uint64_t row0;       /* row of the scales' matrix that the first row of W is */
};

/*
 * C[m,n] = round(dot(A[m,:], W[n,:]) + bias[n] + residual[m,n])
 * A [m,k], W [n,k] (rows are outputs, as Hugging Face stores a Linear), bias [n], residual and C
 * [m,n], each F32, BF16 or F16; W may be quantised too, with k and w.ld multiples of the block of its type.
 * of A too: I8 with I8 of at most 65536 elements a group, F8E4M3 and F8E5M2 with each other.
 * bias.ptr or residual.ptr NULL: left out. bias.ld is unused. C may be exactly residual (same pointer, dtype and ld) and
 * may overlap nothing else.
 */
struct zw_k_gemm_args {
	uint32_t m, n, k;
	uint32_t flags; /* must be 0 */
	struct zw_k_in a, w, bias, residual;
	struct zw_k_out c;
	struct zw_k_quant quant;    /* of w */
	struct zw_k_scales a_scale; /* F32; a is I8 with w I8, or F8 with w F8, of one group */
};
int zw_k_gemm(const struct zw_k_gemm_args *args, struct zw_pool *pool);

/*
 * Rows meet the matrices of their experts: ids [rows * per_row], dense, names per_row of them for
 * each row; an id outside [0, experts) is -ERANGE with fault index = its place. Each matrix is
 * [n, k]; parts hold those that ids names, in ascending order of expert and first, each expert's
 * covering rows 0..n-1 without a gap. Others may be there or not; they are not read.
 *
 * Without SCATTER:  c[r,j,:] = round(W[ids[r,j]] . a[r,:])      a [rows, k], c [rows, per_row, n]
 * With it:          c[r,:] = round(sum over j of weights[r,j] * (W[ids[r,j]] . a[r,j,:]) + residual[r,:])
 *                   a [rows, per_row, k], c [rows, n]; weights F32 [rows, per_row] with row stride
 *                   weights_ld, or NULL: each is 1; residual [rows, n] or NULL, may be exactly c
 * rows * per_row <= ZW_K_EXPERTS_MAX_PAIRS, per_row <= ZW_K_EXPERTS_MAX_PER_ROW.
 */
#define ZW_K_EXPERTS_SCATTER     (1u << 0)
#define ZW_K_EXPERTS_MAX_PAIRS   (1u << 20)
#define ZW_K_EXPERTS_MAX_PER_ROW 1024u
struct zw_k_expert_part {
	const void *ptr; /* row `first` of the expert's matrix, the next one w_ld elements on */
	const void *scale, *zero; /* of row 0 of the expert's matrix, if it is quantised */
	uint32_t expert;
	uint32_t first, count; /* rows of W */
};
struct zw_k_experts_args {
	uint32_t rows, per_row, experts, n, k;
	uint32_t flags;
	const int32_t *ids;
	const struct zw_k_expert_part *parts;
	uint64_t n_parts;
	uint64_t w_ld;
	uint32_t w_dtype;
	uint32_t reserved;
	struct zw_k_quant quant; /* but for pointers and row0; scale2 [experts], or NULL */
	struct zw_k_scales a_scale;
	struct zw_k_in a, residual;
	struct zw_k_out c;
	const float *weights;
	uint64_t weights_ld;
	struct zw_k_fault *fault; /* may be NULL */
};
int zw_k_experts(const struct zw_k_experts_args *args, struct zw_pool *pool);

/*
 * y = w * (x / sqrt(mean(x^2) + eps)) over the last dimension of x [rows, heads, n]; w [n], shared
 * by all rows and heads. Per-head QK norm is heads > 1. y may be exactly x. gate [rows, heads, n], or
 * ptr NULL: y is multiplied by silu(gate) before it is rounded, and may be exactly gate.
 */
#define ZW_K_NORM_WEIGHT_PLUS_1 (1u << 0) /* multiply by (1 + w): RMSNorm of Qwen3-Next and 3.5 */
struct zw_k_rmsnorm_args {
	uint32_t rows, heads, n;
	uint32_t flags;
	float eps; /* finite, >= 0 */
	uint32_t reserved;
	struct zw_k_in x, w, gate;
	struct zw_k_out y;
};
int zw_k_rmsnorm(const struct zw_k_rmsnorm_args *args, struct zw_pool *pool);

/*
 * Rotary embedding, half-split, of x [rows, heads, d]: with j < rot / 2 and p the row's position
 *	y[j]         = x[j] * cos[p,j] - x[j + rot/2] * sin[p,j]
 *	y[j + rot/2] = x[j + rot/2] * cos[p,j] + x[j] * sin[p,j]
 * and y[c] = x[c] for c >= rot. cos and sin are F32 [n_pos, rot/2] with row stride table_ld.
 * positions: int32 [rows], or NULL: row r is at pos_base + r. A position outside [0, n_pos) is
 *-ERANGE with fault index = row. y may be exactly x.
 */
struct zw_k_rope_args {
	uint32_t rows, heads, d;
	uint32_t rot;   /* even, <= d */
	uint32_t flags; /* must be 0 */
	uint32_t n_pos;
	int32_t pos_base;
	uint32_t reserved;
	const float *cos_tab, *sin_tab;
	uint64_t table_ld;
	const int32_t *positions;
	struct zw_k_in x;
	struct zw_k_out y;
	struct zw_k_fault *fault; /* may be NULL */
};
int zw_k_rope(const struct zw_k_rope_args *args, struct zw_pool *pool);

/*
 * Paged KV cache of one sequence. A page holds block_size tokens as [block_size][n_kv][d], K and V
 * in pages of their own; token at position p is in page p / block_size, slot p % block_size.
 * k_pages and v_pages are arrays of n_pages host pointers, of page page_first and those after it. Pages of I8 or F8E4M3
 * have, in the same way, pages of scales F32 [block_size][n_kv] beside them; for others the arrays are NULL.
 */
struct zw_k_kv_seq {
	void *const *k_pages;
	void *const *v_pages;
	void *const *k_scales;
	void *const *v_scales;
	uint32_t n_pages;
	uint32_t page_first; /* attention: no row sees a position before it; kv_write: 0 */
	uint32_t q_first;    /* first row of this sequence in q/out (attention) or k/v (kv_write) */
	uint32_t q_count;    /* its number of rows */
	uint32_t kv_len;     /* positions 0..kv_len-1 are valid; the pages cover them */
};

/*
 * Stores k and v [rows, n_kv, d] at their positions in the pages, converting to kv_dtype.
 * positions: int32 [rows] over all sequences, or NULL: row q_first + i of a sequence goes to
 * position kv_len - q_count + i. A position outside [0, kv_len) is -ERANGE with fault index = row.
 * The row ranges of the sequences must not overlap. Two rows for one position of one sequence: the
 * later row wins.
 */
struct zw_k_kv_write_args {
	uint32_t rows, n_kv, d;
	uint32_t block_size;
	uint32_t kv_dtype;
	uint32_t n_seqs;
	const struct zw_k_kv_seq *seqs;
	const int32_t *positions;
	struct zw_k_in k, v;
	struct zw_k_fault *fault;
};
int zw_k_kv_write(const struct zw_k_kv_write_args *args, struct zw_pool *pool);

/*
 * What query head `head` of rows q_first..q_first+q_count-1, all of them of one sequence, sees: the
 * positions of the listed blocks (b: from b * block_size on) and the listed columns, each list in
 * ascending order without repeats, no column inside of a listed block. The arrays are the caller's
 * own; nobody else changes them.
 */
struct zw_k_attn_list {
	uint32_t q_first, q_count;
	uint32_t head;
	uint32_t n_blocks, n_columns;
	uint32_t reserved;
	const int32_t *blocks, *columns;
};

/* How many of the keys of listed blocks, or of the listed columns, are at positions below x. */
uint32_t zw_k_list_blocks_below(const struct zw_k_attn_list *list, uint32_t block_size, uint32_t x);
uint32_t zw_k_list_columns_below(const struct zw_k_attn_list *list, uint32_t x);

/*
 * Causal grouped-query attention of q [rows, n_q, d] over the paged cache. Query head h reads KV
 * head h / (n_q / n_kv). A query at position p sees keys start..p. Softmax in F32. positions: as for
 * kv_write. start: int32 [rows], or NULL: all 0. lists: NULL, or what each row and head sees of
 * these keys; then each belongs to one list, and pages that no list names may be NULL. Bad lists and
 * starts are -EINVAL. sinks: F32 [n_q], or NULL: a score of each head that only enters the
 * denominator; -inf is none. out [rows, n_q, d], +0 for a query without keys; out may be exactly q.
 * lse: F32 [rows, n_q] with row stride lse_ld, or NULL: log(sum(exp(scale * q.k))) of each query, the
 * sink included.
 */
struct zw_k_attn_args {
	uint32_t rows, n_q, n_kv, d;
	uint32_t block_size;
	uint32_t kv_dtype;
	uint32_t flags; /* must be 0 */
	uint32_t n_seqs;
	float scale; /* finite */
	uint32_t reserved;
	const struct zw_k_kv_seq *seqs;
	const int32_t *positions;
	const int32_t *start;
	const float *sinks;
	const struct zw_k_attn_list *lists;
	uint64_t n_lists;
	struct zw_k_in q;
	struct zw_k_out out;
	float *lse;
	uint64_t lse_ld;
	struct zw_k_fault *fault;
};
int zw_k_attn(const struct zw_k_attn_args *args, struct zw_pool *pool);

/*
 * Attention over parts of the keys becomes attention over all: x [parts] of [rows, heads, d], x_lse
 * [parts] of F32 [rows, heads] with row stride x_lse_ld. y [rows, heads, d]; lse F32 [rows, heads] or NULL.
 * A part of lse -inf is left out. parts <= ZW_K_MERGE_MAX_PARTS.
 */
#define ZW_K_MERGE_MAX_PARTS 64u
struct zw_k_merge_args {
	uint32_t rows, heads, d, parts;
	const struct zw_k_in *x;
	const float *const *x_lse;
	uint64_t x_lse_ld;
	struct zw_k_out y;
	float *lse;
	uint64_t lse_ld;
};
int zw_k_merge(const struct zw_k_merge_args *args, struct zw_pool *pool);

/*
 * SELECT_BLOCKS of zhenwu/zw_cmd.h: lists of at most `most` blocks for each group of `group` rows, all of
 * one sequence, and query head: blocks[g * blocks_gs + h * blocks_hs + i], counts[g * counts_gs + h]. Of the
 * pages only those of keys are looked at, and of a sequence only those before the first row of some
 * group. All mean keys together have at most ZW_K_SELECT_MAX_MEANS elements.
 */
#define ZW_K_SELECT_MAX_MEANS (1ull << 28)
/*
 * What rows compare with keys further away, in place of q: row m with those of positions below
 * end[m] (at least 0; the caller's own). Without end: none.
 */
struct zw_k_further {
	struct zw_k_in q;
	const int32_t *end;
};
struct zw_k_select_blocks_args {
	uint32_t rows, n_q, n_kv, d;
	uint32_t block_size, kv_dtype;
	uint32_t group, most;
	uint32_t n_seqs;
	uint32_t reserved;
	const struct zw_k_kv_seq *seqs;
	const int32_t *positions;
	struct zw_k_in q;
	struct zw_k_further mid, far; /* a key of both is of the latter */
	int32_t *blocks, *counts;
	uint64_t blocks_gs, blocks_hs, counts_gs;
};
int zw_k_select_blocks(const struct zw_k_select_blocks_args *args, struct zw_pool *pool);

/*
 * SELECT_SLASH of zhenwu/zw_cmd.h: rows of one sequence, positions rising by one. vertical, slash [n_q]:
 * the caller's own. Lists as above; they have room for what zw_k_slash_bounds() says of each head.
 */
#define ZW_K_SLASH_MAX_SAMPLE 128u
#define ZW_K_SLASH_MAX_KEYS   (1u << 22) /* positions up to the last row's */
struct zw_k_select_slash_args {
	uint32_t rows, n_q, n_kv, d;
	uint32_t block_size, kv_dtype;
	uint32_t group, sample, first, nearest;
	float scale; /* finite */
	uint32_t most_blocks, most_columns;
	uint32_t reserved;
	const struct zw_k_kv_seq *seq;
	const int32_t *positions;
	const int32_t *vertical, *slash;
	struct zw_k_in q;
	struct zw_k_further mid, far;
	int32_t *blocks, *counts, *columns, *column_counts;
	uint64_t blocks_gs, blocks_hs, counts_gs, columns_gs, columns_hs, column_counts_gs;
};
int zw_k_select_slash(const struct zw_k_select_slash_args *args, struct zw_pool *pool);

/* How many of n are chosen: `count`, or those that are always, if they are more. */
static inline uint32_t zw_k_slash_wanted(uint32_t count, uint32_t always, uint32_t n)
{
	count = count > always ? count : always;
	return count < n ? count : n;
}

/* The longest lists of a group of `rows` at positions below len: of chosen columns and distances. */
static inline void zw_k_slash_bounds(uint32_t rows, uint32_t len, uint32_t block_size,
				     uint32_t columns, uint32_t distances, uint64_t *blocks_out,
				     uint64_t *columns_out)
{
	uint64_t all = (len - 1) / block_size + 1ull;
	uint64_t some = (uint64_t)distances * ((rows - 1) / block_size + 2ull);

	*blocks_out = some < all ? some : all;
	*columns_out = columns;
}

/*
 * Recurrent layers. Runs cover rows 0..rows-1 in order, each of them of one sequence: `from` is the
 * state before its first row, NULL: zeros. to [rows]: where the state behind a row goes, NULL: nowhere.
 * A state in `to` overlaps no other operand and no other state, but may be `from` of its own run. pos: of the
 * first row in its sequence; looked at only where a kernel says so.
 */
struct zw_k_state_run {
	uint32_t first, count;
	const void *from;
	uint32_t pos;
};
struct zw_k_states {
	const struct zw_k_state_run *runs;
	uint32_t n_runs;
	uint32_t dtype;
	void *const *to;
};

/*
 * y[r,c] = silu(sum over i < taps of w[c,i] * x[r - taps + 1 + i, c]), x and y [rows, n], w [n, taps]; rows
 * before a run come from its state [taps - 1, n], dense, of the type of x or F32. y may be exactly x.
 */
#define ZW_K_CONV_MAX_TAPS 16u
struct zw_k_conv_args {
	uint32_t rows, n, taps;
	uint32_t reserved;
	struct zw_k_in x, w;
	struct zw_k_out y;
	struct zw_k_states states;
};
int zw_k_conv(const struct zw_k_conv_args *args, struct zw_pool *pool);

/*
 * Gated delta rule, see DELTA in zhenwu/zw_cmd.h: q, k [rows, key_heads, d], v and y [rows, heads, e], a and
 * b [rows, heads], a_log and dt_bias [heads]; states F32 [heads, d, e], dense. heads is a multiple of
 * key_heads; 1 <= d, e <= ZW_K_DELTA_MAX. y may be exactly v. With ZW_K_DELTA_CHUNKED rows of a run with the same
 * position / ZW_DELTA_CHUNK are computed at once, from ZW_DELTA_CHUNK_MIN of them on.
 */
#define ZW_K_DELTA_MAX     1024u
#define ZW_K_DELTA_CHUNKED 1u
struct zw_k_delta_args {
	uint32_t rows, key_heads, heads, d, e;
	float eps;      /* finite, >= 0 */
	float scale;    /* finite */
	uint32_t flags; /* ZW_K_DELTA_* */
	struct zw_k_in q, k, v, a, b, a_log, dt_bias;
	struct zw_k_out y;
	struct zw_k_states states;
};
int zw_k_delta(const struct zw_k_delta_args *args, struct zw_pool *pool);

/* out = silu(gate) * up, all [rows, n]; out may be exactly gate or up. */
struct zw_k_swiglu_args {
	uint32_t rows, n;
	uint32_t flags; /* must be 0 */
	uint32_t reserved;
	struct zw_k_in gate, up;
	struct zw_k_out out;
};
int zw_k_swiglu(const struct zw_k_swiglu_args *args, struct zw_pool *pool);

/*
 * out = x * sigmoid(gate) + residual, all [rows, heads, n]; residual.ptr NULL: left out. With ROW_GATE
 * gate is [rows, 1, 1]. out may be exactly x, gate (without ROW_GATE) or residual.
 */
#define ZW_K_SIGMOID_ROW_GATE (1u << 0)
struct zw_k_mul_sigmoid_args {
	uint32_t rows, heads, n;
	uint32_t flags;
	struct zw_k_in x, gate, residual;
	struct zw_k_out out;
};
int zw_k_mul_sigmoid(const struct zw_k_mul_sigmoid_args *args, struct zw_pool *pool);

/* out = a + b, all [rows, n]; out may be exactly a or b. */
struct zw_k_add_args {
	uint32_t rows, n;
	struct zw_k_in a, b;
	struct zw_k_out out;
};
int zw_k_add(const struct zw_k_add_args *args, struct zw_pool *pool);

/* y = softmax(x * scale) over each row of [rows, n]; y may be exactly x. */
struct zw_k_softmax_args {
	uint32_t rows, n;
	float scale; /* finite */
	uint32_t reserved;
	struct zw_k_in x;
	struct zw_k_out y;
};
int zw_k_softmax(const struct zw_k_softmax_args *args, struct zw_pool *pool);

/*
 * out[r,:] = table[ids[r],:], table [vocab, n], which may be of GGUF records. An id outside [0, vocab) is -ERANGE with fault
 * index = r. Same dtype on both sides moves the bits unchanged.
 */
struct zw_k_gather_args {
	uint32_t rows, n, vocab;
	uint32_t reserved;
	const int32_t *ids;
	struct zw_k_in table;
	struct zw_k_out out;
	struct zw_k_fault *fault;
};
int zw_k_gather(const struct zw_k_gather_args *args, struct zw_pool *pool);

/*
 * index[r] = position of the greatest of x[r,:]; ties go to the lowest index; a NaN never wins
 * unless the row is all NaN, then index 0. value[r] (F32, may be NULL) is that element. n >= 1.
 */
struct zw_k_argmax_args {
	uint32_t rows, n;
	struct zw_k_in x;
	int32_t *index;
	float *value;
};
int zw_k_argmax(const struct zw_k_argmax_args *args, struct zw_pool *pool);

/*
 * The k greatest of each row, greatest first; equal values by ascending index; NaNs after all
 * numbers, by ascending index. value F32 [rows, k], index int32 [rows, k], both contiguous. 1 <= k
 * <= n, k <= ZW_K_TOPK_MAX.
 */
#define ZW_K_TOPK_MAX 1024
struct zw_k_topk_args {
	uint32_t rows, n, k;
	uint32_t reserved;
	struct zw_k_in x;
	int32_t *index;
	float *value;
};
int zw_k_topk(const struct zw_k_topk_args *args, struct zw_pool *pool);

/*
 * The k greatest of softmax(x) over each row of [rows, n], as zw_k_topk() orders them: weight F32,
 * index int32, [rows, k] with a row stride each. With RENORM the weights of a row are divided by their
 * sum. 1 <= k <= n, k <= ZW_K_TOPK_MAX, n <= ZW_K_ROUTE_MAX.
 */
#define ZW_K_ROUTE_RENORM (1u << 0)
#define ZW_K_ROUTE_MAX    (1u << 16)
struct zw_k_route_args {
	uint32_t rows, n, k;
	uint32_t flags;
	struct zw_k_in x;
	int32_t *index;
	float *weight;
	uint64_t index_ld, weight_ld;
};
int zw_k_route(const struct zw_k_route_args *args, struct zw_pool *pool);

/*
 * y[r,h,c] = x[r,h,c] / scale[r,h,c / block], x [rows, heads, n], y I8, F8E4M3 or F8E5M2; scale F32 [rows, heads,
 * ceil(n / block)]: the greatest magnitude of a block is y's largest number.
 */
struct zw_k_quantize_args {
	uint32_t rows, heads, n;
	uint32_t block;
	struct zw_k_in x;
	struct zw_k_out y, scale;
};
int zw_k_quantize(const struct zw_k_quantize_args *args, struct zw_pool *pool);

/*
 * y[r,c] = x[r, order[which[r]][c]], with conversion of dtype; the same dtype moves the bits. x [rows, n], y [rows, k];
 * order [.., k]: checked copies, all below n; which NULL: 0.
 */
struct zw_k_reorder_args {
	uint32_t rows, n, k;
	uint32_t reserved;
	const int32_t *order, *which;
	struct zw_k_in x;
	struct zw_k_out y;
};
int zw_k_reorder(const struct zw_k_reorder_args *args, struct zw_pool *pool);

/* dst[r,c] = src[r,c] with conversion of dtype, also from records; same dtype moves the bits unchanged. No overlap. */
struct zw_k_convert_args {
	uint32_t rows, n;
	struct zw_k_in src;
	struct zw_k_out dst;
};
int zw_k_convert(const struct zw_k_convert_args *args, struct zw_pool *pool);

/* bytes from src to dst, any alignment, no overlap. */
struct zw_k_copy_args {
	void *dst;
	const void *src;
	uint64_t bytes;
};
int zw_k_copy(const struct zw_k_copy_args *args, struct zw_pool *pool);

/* The 32-bit little-endian pattern over and over from dst on; bytes need not be a multiple of 4. */
struct zw_k_fill_args {
	void *dst;
	uint64_t bytes;
	uint32_t pattern;
};
int zw_k_fill(const struct zw_k_fill_args *args, struct zw_pool *pool);

#endif

/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu: building, checking and reading command buffers. The packets themselves, with the
 * shapes and types each one takes, are in zhenwu/zw_cmd.h.
 *
 * Nothing here needs a device: a command buffer is plain memory. Build it in heap memory and copy
 * it, or build it right in a mapped buffer.
 */
#ifndef ZHENWU_CMD_H
#define ZHENWU_CMD_H

#include <stdio.h>
#include <string.h>

#include "base.h"
#include "zhenwu/zw_cmd.h"
#include "zhenwu/zw_queue.h"

#ifdef __cplusplus
extern "C" {
#endif

/* -- tensors --------------------------------------------------------------------------------- */

/** Bits of an element of enum zw_dtype; 0 for records and for a type not in the ABI. Pure. */
static inline unsigned int zw_dtype_bits(uint32_t dtype)
{
	unsigned int elements = zw_dtype_block_elements(dtype);

	return elements == 1 || elements == 2 ? zw_dtype_block_bytes(dtype) * 8 / elements : 0;
}

/** The layout a tensor of this type has. Pure. */
static inline uint8_t zw_dtype_layout(uint32_t dtype)
{
	return dtype < 64 && (ZW_DT_BLOCKED >> dtype & 1) ? ZW_LAYOUT_BLOCKED : ZW_LAYOUT_STRIDED;
}

/**
 * Tensors by shape, outermost dimension first, dense unless strides are changed afterwards. They
 * only fill in the descriptor; the packet functions and the device check it. Pure.
 */
static inline struct zw_tensor zw_tensor_4d(uint32_t dtype, uint64_t va, uint32_t d0, uint32_t d1,
					    uint32_t d2, uint32_t d3)
{
	struct zw_tensor t;

	memset(&t, 0, sizeof(t));
	t.va = va;
	t.dtype = (uint16_t)dtype;
	t.layout = zw_dtype_layout(dtype);
	t.ndim = 4;
	t.dim[0] = d0;
	t.dim[1] = d1;
	t.dim[2] = d2;
	t.dim[3] = d3;
	t.stride[2] = d3;
	t.stride[1] = (uint64_t)d2 * d3;
	t.stride[0] = (uint64_t)d1 * d2 * d3;
	return t;
}

static inline struct zw_tensor zw_tensor_3d(uint32_t dtype, uint64_t va, uint32_t d0, uint32_t d1,
					    uint32_t d2)
{
	struct zw_tensor t;

	memset(&t, 0, sizeof(t));
	t.va = va;
	t.dtype = (uint16_t)dtype;
	t.layout = zw_dtype_layout(dtype);
	t.ndim = 3;
	t.dim[0] = d0;
	t.dim[1] = d1;
	t.dim[2] = d2;
	t.stride[1] = d2;
	t.stride[0] = (uint64_t)d1 * d2;
	return t;
}

static inline struct zw_tensor zw_tensor_2d(uint32_t dtype, uint64_t va, uint32_t rows,
					    uint32_t cols)
{
	struct zw_tensor t;

	memset(&t, 0, sizeof(t));
	t.va = va;
	t.dtype = (uint16_t)dtype;
	t.layout = zw_dtype_layout(dtype);
	t.ndim = 2;
	t.dim[0] = rows;
	t.dim[1] = cols;
	t.stride[0] = cols;
	return t;
}

static inline struct zw_tensor zw_tensor_1d(uint32_t dtype, uint64_t va, uint32_t n)
{
	struct zw_tensor t;

	memset(&t, 0, sizeof(t));
	t.va = va;
	t.dtype = (uint16_t)dtype;
	t.layout = zw_dtype_layout(dtype);
	t.ndim = 1;
	t.dim[0] = n;
	return t;
}

/** An absent operand. Pure. */
static inline struct zw_tensor zw_tensor_none(void)
{
	struct zw_tensor t;

	memset(&t, 0, sizeof(t));
	return t;
}

/**
 * `count` entries along dimension `axis` from entry `first`: a part of rows, or of the columns of a
 * fused projection; no data moves. The caller keeps first + count <= dim[axis], and both multiples
 * of the type's block along the last dimension. Pure.
 */
static inline struct zw_tensor zw_tensor_slice(struct zw_tensor t, unsigned int axis,
					       uint32_t first, uint32_t count)
{
	uint64_t step = axis + 1u < t.ndim ? t.stride[axis] : 1;

	if (zw_dtype_block_elements(t.dtype))
		t.va += first * step / zw_dtype_block_elements(t.dtype) *
			zw_dtype_block_bytes(t.dtype);
	t.dim[axis] = count;
	return t;
}

/**
 * Scales (or zero points) of a tensor: one of them for each block of rows x cols elements along its
 * last two dimensions; dense. Pure.
 */
static inline struct zw_tensor zw_tensor_scales(uint32_t dtype, uint64_t va, struct zw_tensor of,
						uint32_t rows, uint32_t cols)
{
	struct zw_tensor t = of;
	uint64_t stride = 1;
	unsigned int i;

	t.va = va;
	t.dtype = (uint16_t)dtype;
	t.layout = zw_dtype_layout(dtype);
	t.block[0] = rows;
	t.block[1] = cols;
	if (of.ndim > 1 && rows)
		t.dim[of.ndim - 2] = of.dim[of.ndim - 2] / rows + !!(of.dim[of.ndim - 2] % rows);
	if (of.ndim && cols)
		t.dim[of.ndim - 1] = of.dim[of.ndim - 1] / cols + !!(of.dim[of.ndim - 1] % cols);
	for (i = of.ndim; i-- > 1;) {
		stride *= t.dim[i];
		t.stride[i - 1] = stride;
	}
	return t;
}

/** Bytes from the first to behind the last element; 0 for an absent or malformed tensor. Pure. */
ZW_API uint64_t zw_tensor_span(const struct zw_tensor *t);

/* -- builder --------------------------------------------------------------------------------- */

/**
 * A command buffer under construction. The fields are public for the inline functions and for
 * reading; set them up with zw_cmd_init() or zw_cmd_init_fixed() only.
 *
 * Errors stick: the first one is kept in `error` and `what`, and later packets are not added, so
 * that a caller may check once, at zw_cmd_finish(). One thread at a time per builder.
 */
struct zw_cmd {
	uint8_t *base;        /**< 16-byte aligned start of the packets */
	size_t used;          /**< bytes of packets so far */
	size_t capacity;      /**< bytes at base */
	uint32_t packets;     /**< number of packets so far */
	uint32_t growable;    /**< base is heap memory of the builder's */
	int error;            /**< first error, -errno */
	uint32_t reason;      /**< its enum zw_reason, if a packet was refused */
	struct zw_error what; /**< its text, "packet 3 gemm: w: dtype not accepted here" */
	struct {
		uint64_t predicate_va;
		uint32_t tag;
		uint32_t flags;
		uint16_t wait;
		uint8_t signal, reserved;
	} next; /**< what zw_cmd_tag() and its like said about the packets to come */
};

/** An empty builder that allocates as it grows. Never fails. */
ZW_API void zw_cmd_init(struct zw_cmd *cmd);
/** An empty builder in the caller's memory (16-byte aligned, e.g. a mapped buffer); full is
 * -ENOSPC. */
ZW_API void zw_cmd_init_fixed(struct zw_cmd *cmd, void *mem, size_t bytes);
/** Frees what the builder allocated. */
ZW_API void zw_cmd_fini(struct zw_cmd *cmd);
/** Drops all packets and the error; keeps the memory. */
ZW_API void zw_cmd_reset(struct zw_cmd *cmd);
/** The sticky error: 0 when every packet was accepted. */
static inline int zw_cmd_finish(const struct zw_cmd *cmd)
{
	return cmd->error;
}
/** Makes room for `bytes` more. 0, -ENOMEM, -ENOSPC (fixed memory) or -EFBIG (over 16 MiB); sticks.
 */
ZW_API int zw_cmd_reserve(struct zw_cmd *cmd, size_t bytes);
/** Makes room for one packet of `bytes`: as above, and -EINVAL for a size that no packet has. */
ZW_API int zw_cmd_room(struct zw_cmd *cmd, size_t bytes);

/**
 * Header fields of the packets to come. The functions for packets do not name them, as most packets
 * have none.
 *
 * zw_cmd_tag(), zw_cmd_predicate() and zw_cmd_without() hold for all packets from now on, until changed;
 * zw_cmd_wait() and zw_cmd_signal() for the next packet only. zw_cmd_reset() drops them all. What is
 * wrong with them is found when a packet is added.
 */
/** @param tag  any value; failures and traces name it */
static inline void zw_cmd_tag(struct zw_cmd *cmd, uint32_t tag)
{
	cmd->next.tag = tag;
}

/**
 * Run packets only if the 32 bits at va are not zero, or (inverted) only if they are.
 * @param va  4-byte aligned; 0: run them always
 */
static inline void zw_cmd_predicate(struct zw_cmd *cmd, uint64_t va, int inverted)
{
	cmd->next.predicate_va = va;
	cmd->next.flags &= ~ZW_PKT_F_PREDICATE_NOT;
	if (va && inverted)
		cmd->next.flags |= ZW_PKT_F_PREDICATE_NOT;
}

/**
 * The next packet waits, in simulated time, for these tokens and for the latest packet that had no
 * such set, instead of for all packets before it.
 * @param tokens  bit t: token t; 0 is a set, too
 */
static inline void zw_cmd_wait(struct zw_cmd *cmd, uint32_t tokens)
{
	cmd->next.wait = (uint16_t)tokens;
	cmd->next.flags |= ZW_PKT_F_DEPS;
}

/** The next packet signals this token (0 to ZW_PKT_TOKENS - 1) when it ends. */
static inline void zw_cmd_signal(struct zw_cmd *cmd, unsigned int token)
{
	cmd->next.signal = (uint8_t)(token < ZW_PKT_TOKENS ? token + 1 : 0xff);
}

/**
 * Packets from now on take the simulated time of a chip without these features; what they compute is the same. For
 * comparing. A device before ABI 2.4 refuses them.
 * @param features  ZW_PKT_F_NO_*, others are ignored; 0: all that the chip has
 */
static inline void zw_cmd_without(struct zw_cmd *cmd, uint32_t features)
{
	cmd->next.flags = (cmd->next.flags & ~ZW_PKT_F_WITHOUT) | (features & ZW_PKT_F_WITHOUT);
}

/** Adds the above to a header. For the functions that append. */
static inline void zw_cmd_put_header(struct zw_cmd *cmd, struct zw_pkt *pkt)
{
	pkt->flags |= cmd->next.flags;
	if (cmd->next.predicate_va)
		pkt->predicate_va = cmd->next.predicate_va;
	if (cmd->next.tag)
		pkt->tag = cmd->next.tag;
	if (cmd->next.flags & ZW_PKT_F_DEPS)
		pkt->wait = cmd->next.wait;
	if (cmd->next.signal)
		pkt->signal = cmd->next.signal;
	cmd->next.flags &= ~ZW_PKT_F_DEPS;
	cmd->next.wait = 0;
	cmd->next.signal = 0;
}

/**
 * Raw emit: appends a zeroed packet with its header filled in and returns it to be completed by the
 * caller; NULL when there is an error. Checks nothing about the packet; the device will.
 *
 * @param bytes  whole packet, a multiple of 16 from sizeof(struct zw_pkt) to 65520
 */
static inline void *zw_cmd_emit_raw(struct zw_cmd *cmd, uint32_t opcode, size_t bytes,
				    uint64_t rows_va, uint32_t flags)
{
	struct zw_pkt *pkt;
	struct zw_pkt hdr;

	if (cmd->error || zw_cmd_room(cmd, bytes))
		return NULL;
	memset(&hdr, 0, sizeof(hdr));
	hdr.opcode = (uint16_t)opcode;
	hdr.size = (uint16_t)bytes;
	hdr.flags = flags;
	hdr.rows_va = rows_va;
	zw_cmd_put_header(cmd, &hdr);
	pkt = (struct zw_pkt *)(void *)(cmd->base + cmd->used);
	/* whole words, and nothing read: the buffer may be mapped write-combined */
	memcpy(pkt, &hdr, sizeof(hdr));
	memset(pkt + 1, 0, bytes - sizeof(hdr));
	cmd->used += bytes;
	cmd->packets++;
	return pkt;
}

/**
 * Checked emit: one function per packet. Operands and shapes are those of the structure of the same
 * name in zhenwu/zw_cmd.h; optional operands may be NULL. Everything that can be known without
 * device memory is checked as the device will: on an error nothing is appended, and the result is
 * -EINVAL with `reason` and `what` set, or -ENOMEM, -ENOSPC, -EFBIG. Whether the engines of a
 * device compute it, zw_cmd_check_supported() tells.
 *
 * @param rows_va  address of the row count, 0: all rows (see zw_cmd.h); only where it is listed
 * @param flags    ZW_PKT_F_* and the packet's own; dependencies, tag and predicate are easier said
 *                 with zw_cmd_wait() and its like
 */
ZW_API int zw_cmd_nop(struct zw_cmd *cmd, uint32_t flags);
ZW_API int zw_cmd_barrier(struct zw_cmd *cmd, uint32_t flags);
ZW_API int zw_cmd_timestamp(struct zw_cmd *cmd, uint64_t va, uint32_t flags);
ZW_API int zw_cmd_sem_signal(struct zw_cmd *cmd, uint64_t va, uint64_t value, uint32_t flags);
ZW_API int zw_cmd_sem_wait(struct zw_cmd *cmd, uint64_t va, uint64_t value, uint32_t flags);
/** bias, residual: optional. */
ZW_API int zw_cmd_gemm(struct zw_cmd *cmd, const struct zw_tensor *a, const struct zw_tensor *w,
		       const struct zw_tensor *c, const struct zw_tensor *bias,
		       const struct zw_tensor *residual, uint64_t rows_va, uint32_t flags);
/**
 * Products with the matrices of the experts that ids names: a [M,K], c [M,T,N]; with
 * ZW_EXPERTS_F_SCATTER a [M,T,K], c [M,N], weighted and summed. w [E,N,K], ids [M,T].
 * weights, residual: optional, and only with ZW_EXPERTS_F_SCATTER. A device of ABI 2.1 or later.
 */
ZW_API int zw_cmd_gemm_experts(struct zw_cmd *cmd, const struct zw_tensor *a,
			       const struct zw_tensor *w, const struct zw_tensor *ids,
			       const struct zw_tensor *c, const struct zw_tensor *weights,
			       const struct zw_tensor *residual, uint64_t rows_va, uint32_t flags);
ZW_API int zw_cmd_rmsnorm(struct zw_cmd *cmd, const struct zw_tensor *x, const struct zw_tensor *w,
			  const struct zw_tensor *y, float eps, uint64_t rows_va, uint32_t flags);
ZW_API int zw_cmd_rope(struct zw_cmd *cmd, const struct zw_tensor *x, const struct zw_tensor *y,
		       const struct zw_tensor *pos, const struct zw_tensor *cos,
		       const struct zw_tensor *sin, uint64_t rows_va, uint32_t flags);
ZW_API int zw_cmd_swiglu(struct zw_cmd *cmd, const struct zw_tensor *gate,
			 const struct zw_tensor *up, const struct zw_tensor *y, uint64_t rows_va,
			 uint32_t flags);
ZW_API int zw_cmd_embed(struct zw_cmd *cmd, const struct zw_tensor *ids,
			const struct zw_tensor *table, const struct zw_tensor *y, uint64_t rows_va,
			uint32_t flags);
ZW_API int zw_cmd_add(struct zw_cmd *cmd, const struct zw_tensor *a, const struct zw_tensor *b,
		      const struct zw_tensor *y, uint64_t rows_va, uint32_t flags);
ZW_API int zw_cmd_argmax(struct zw_cmd *cmd, const struct zw_tensor *x, const struct zw_tensor *ids,
			 uint64_t rows_va, uint32_t flags);
ZW_API int zw_cmd_topk(struct zw_cmd *cmd, const struct zw_tensor *x,
		       const struct zw_tensor *values, const struct zw_tensor *ids,
		       uint64_t rows_va, uint32_t flags);
/**
 * The experts of each row and their weights, for zw_cmd_gemm_experts(): x [M,E] logits, weights and
 * ids [M,k]. ZW_ROUTE_F_RENORM: the weights of a row add up to 1. A device of ABI 2.1 or later.
 */
ZW_API int zw_cmd_route(struct zw_cmd *cmd, const struct zw_tensor *x,
			const struct zw_tensor *weights, const struct zw_tensor *ids,
			uint64_t rows_va, uint32_t flags);
/**
 * RMSNORM times silu(gate), rounded once: x, gate, y [M,D] or [M,H,D], w [D]; y may be x or gate
 * itself. A device of ABI 2.1 or later.
 */
ZW_API int zw_cmd_gated_norm(struct zw_cmd *cmd, const struct zw_tensor *x,
			     const struct zw_tensor *w, const struct zw_tensor *gate,
			     const struct zw_tensor *y, float eps, uint64_t rows_va,
			     uint32_t flags);
/**
 * y = x * sigmoid(gate) (+ residual), all [M,I] or [M,H,I]; with ZW_SIGMOID_F_ROW_GATE gate is [M,1].
 * residual: optional. y may be any of the others of its shape itself. A device of ABI 2.1 or later.
 */
ZW_API int zw_cmd_mul_sigmoid(struct zw_cmd *cmd, const struct zw_tensor *x,
			      const struct zw_tensor *gate, const struct zw_tensor *residual,
			      const struct zw_tensor *y, uint64_t rows_va, uint32_t flags);
/**
 * Activations to I8 or F8: x, y [M,N] or [M,H,N], scale zw_tensor_scales(ZW_DTYPE_F32, va, *y, 1, n). A
 * device of ABI 2.2 or later.
 */
ZW_API int zw_cmd_quantize(struct zw_cmd *cmd, const struct zw_tensor *x, const struct zw_tensor *y,
			   const struct zw_tensor *scale, uint64_t rows_va, uint32_t flags);
/**
 * Columns in another order: y[m, k] = x[m, order[which[m], k]], x [M,N], order [E,K] I32, which [M,1] I32,
 * optional where E is 1, y [M,K]. A device of ABI 2.3 or later.
 */
ZW_API int zw_cmd_reorder(struct zw_cmd *cmd, const struct zw_tensor *x,
			  const struct zw_tensor *order, const struct zw_tensor *which,
			  const struct zw_tensor *y, uint64_t rows_va, uint32_t flags);
/** seq: optional. */
ZW_API int zw_cmd_kv_write(struct zw_cmd *cmd, const struct zw_tensor *k, const struct zw_tensor *v,
			   const struct zw_tensor *pos, const struct zw_tensor *seq,
			   const struct zw_tensor *block_table, const struct zw_tensor *k_cache,
			   const struct zw_tensor *v_cache, uint64_t rows_va, uint32_t flags);
/**
 * Operands of zw_cmd_attention(), which has too many for a parameter list. seq and all from lse on:
 * optional; a device of ABI 2.2 or later computes with sinks, lists, start and window.
 */
struct zw_cmd_attention_args {
	const struct zw_tensor *q, *y, *pos, *seq, *block_table, *k_cache, *v_cache, *lse;
	const struct zw_tensor *k_scale, *v_scale, *sinks, *sparse_blocks, *sparse_counts;
	float scale;     /**< usually 1 / sqrt(head dimension) */
	uint32_t window; /**< 0: none */
	const struct zw_tensor *sparse_columns, *sparse_column_counts, *start;
};
ZW_API int zw_cmd_attention(struct zw_cmd *cmd, const struct zw_cmd_attention_args *args,
			    uint64_t rows_va, uint32_t flags);
/**
 * Attention over parts of the keys, taken together: x [N,M,H,D], x_lse F32 [N,M,H] as zw_cmd_attention()
 * gives them, y [M,H,D], lse F32 [M,H], optional. A device of ABI 2.2 or later.
 */
ZW_API int zw_cmd_merge(struct zw_cmd *cmd, const struct zw_tensor *x,
			const struct zw_tensor *x_lse, const struct zw_tensor *y,
			const struct zw_tensor *lse, uint64_t rows_va, uint32_t flags);
/**
 * Operands of zw_cmd_select_blocks() and, all of them, zw_cmd_select_slash(): q, pos, seq (optional),
 * block_table and k_cache as for zw_cmd_attention(); the others in zw_cmd.h.
 */
struct zw_cmd_select_args {
	const struct zw_tensor *q, *pos, *seq, *block_table, *k_cache, *k_scale;
	const struct zw_tensor *blocks, *counts;
	const struct zw_tensor *vertical, *slash, *columns, *column_counts;
	float scale;                     /**< of the attention */
	uint32_t sample, first, nearest; /**< usually 64, 30 and 30 */
	/**
	 * Optional, each with its ends I32 [M]: what rows compare with keys below these in place of q, see
	 * zw_cmd.h; a device of ABI 2.7 or later
	 */
	const struct zw_tensor *q_mid, *mid_end, *q_far, *far_end;
};
/**
 * Lists of keys for zw_cmd_attention(): by mean keys of blocks, and by what the last rows of a prompt
 * attend to. A device of ABI 2.2 or later.
 */
ZW_API int zw_cmd_select_blocks(struct zw_cmd *cmd, const struct zw_cmd_select_args *args,
				uint64_t rows_va, uint32_t flags);
ZW_API int zw_cmd_select_slash(struct zw_cmd *cmd, const struct zw_cmd_select_args *args,
			       uint64_t rows_va, uint32_t flags);
/**
 * Causal depthwise convolution with state, then silu: x, y [M,C], y may be x itself; w [C,K]; state
 * [S,K-1,C]. pos [M]; seq, dst [M], optional: which slots rows go on from and leave their state in, see
 * zw_cmd.h. A device of ABI 2.1 or later.
 */
ZW_API int zw_cmd_conv(struct zw_cmd *cmd, const struct zw_tensor *x, const struct zw_tensor *w,
		       const struct zw_tensor *y, const struct zw_tensor *state,
		       const struct zw_tensor *pos, const struct zw_tensor *seq,
		       const struct zw_tensor *dst, uint64_t rows_va, uint32_t flags);
/**
 * Operands of zw_cmd_delta(): q, k [M,G,D]; v, y [M,H,E]; a, b [M,H]; a_log, dt_bias [H]; state F32
 * [S,H,D,E]; pos [M]; seq, dst [M], optional, as for zw_cmd_conv().
 */
struct zw_cmd_delta_args {
	const struct zw_tensor *q, *k, *v, *a, *b, *a_log, *dt_bias, *y, *state, *pos, *seq, *dst;
	float eps;   /* of the norms of q and k */
	float scale; /* of q after its norm: 1 / sqrt(D) */
};
/**
 * The gated delta rule, see zw_cmd.h. y may be v itself. A device of ABI 2.1 or later; with ZW_DELTA_F_CHUNKED in
 * flags, 2.3.
 */
ZW_API int zw_cmd_delta(struct zw_cmd *cmd, const struct zw_cmd_delta_args *args, uint64_t rows_va,
			uint32_t flags);
ZW_API int zw_cmd_copy(struct zw_cmd *cmd, uint64_t dst, uint64_t src, uint64_t bytes,
		       uint32_t flags);
ZW_API int zw_cmd_fill(struct zw_cmd *cmd, uint64_t dst, uint64_t bytes, uint32_t pattern,
		       uint32_t flags);

/** Rows of `bytes` bytes, strides in bytes from one to the next. What is between them is left alone. */
ZW_API int zw_cmd_copy_rows(struct zw_cmd *cmd, uint64_t dst, uint64_t dst_stride, uint64_t src,
			    uint64_t src_stride, uint64_t bytes, uint32_t rows, uint64_t rows_va,
			    uint32_t flags);
ZW_API int zw_cmd_fill_rows(struct zw_cmd *cmd, uint64_t dst, uint64_t dst_stride, uint64_t bytes,
			    uint32_t rows, uint32_t pattern, uint64_t rows_va, uint32_t flags);
/**
 * Any packet, filled in by the caller with opcode and size: for operands that the functions above do
 * not name, such as the scales of quantised weights. Checked like theirs.
 */
ZW_API int zw_cmd_packet(struct zw_cmd *cmd, const void *packet);

/* -- checking and reading -------------------------------------------------------------------- */

/**
 * Checks one packet as far as it can be done without memory and profile.
 *
 * @param buf    the packet, 16-byte aligned
 * @param avail  bytes from there to the end of the buffer
 * @param what   may be NULL: receives the text, "w: dtype not accepted here"
 * @return 0 or a positive enum zw_reason. Reads no more than avail bytes. Pure.
 */
ZW_API int zw_cmd_check_packet(const void *buf, size_t avail, struct zw_error *what);

/**
 * Checks one packet as zw_cmd_check_packet() does, and whether an engine computes it.
 *
 * @param dtypes  ZW_DT() set of what the device computes with
 * @return 0 or a positive enum zw_reason; ZW_REASON_UNSUPPORTED for a well-formed packet with an
 *	operand type outside of dtypes, or with an operand or option that the ABI describes and no
 *	engine has yet. Pure.
 */
ZW_API int zw_cmd_check_supported(const void *buf, size_t avail, uint64_t dtypes,
				  struct zw_error *what);

/**
 * Checks a whole command buffer.
 * @param packet  may be NULL: receives the index of the packet that is refused
 * @return 0 or a positive enum zw_reason. Pure.
 */
ZW_API int zw_cmd_check(const void *buf, size_t bytes, uint32_t *packet, struct zw_error *what);

/**
 * Disassembles, one line per packet and one per operand, without trusting a byte of it: whatever
 * does not decode is shown in hexadecimal, and decoding goes on as long as packet sizes make sense.
 *
 * @param buf   any bytes, any alignment
 * @param line  called with each line, without newline
 * @return number of packets that were malformed
 * Pure (but for `line`).
 */
ZW_API int zw_cmd_disasm(const void *buf, size_t bytes,
			 void (*line)(void *opaque, const char *text), void *opaque);

/** zw_cmd_disasm() to a stream. */
ZW_API int zw_cmd_dump(FILE *out, const void *buf, size_t bytes);

/** "gemm", "rmsnorm", ...; NULL for an opcode not in the ABI. Thread safe. */
ZW_API const char *zw_opcode_name(uint32_t opcode);
/** "bf16", "f32", ...; NULL for a type not in the ABI. Thread safe. */
ZW_API const char *zw_dtype_name(uint32_t dtype);

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_CMD_H */

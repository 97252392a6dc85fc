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

/** Bits of an element of enum zw_dtype; 0 for a type not in the ABI. Pure. */
static inline unsigned int zw_dtype_bits(uint32_t dtype)
{
	switch (dtype) {
	case ZW_DTYPE_F32:
	case ZW_DTYPE_I32:
		return 32;
	case ZW_DTYPE_BF16:
	case ZW_DTYPE_F16:
		return 16;
	case ZW_DTYPE_I8:
	case ZW_DTYPE_F8E4M3:
	case ZW_DTYPE_F8E5M2:
		return 8;
	case ZW_DTYPE_F4E2M1:
	case ZW_DTYPE_I4:
		return 4;
	default:
		return 0;
	}
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
 * fused projection; no data moves. Not for sub-byte types. The caller keeps first + count <=
 * dim[axis]. Pure.
 */
static inline struct zw_tensor zw_tensor_slice(struct zw_tensor t, unsigned int axis,
					       uint32_t first, uint32_t count)
{
	uint64_t step = axis + 1u < t.ndim ? t.stride[axis] : 1;

	t.va += first * step * (zw_dtype_bits(t.dtype) / 8);
	t.dim[axis] = count;
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

/**
 * Raw emit: appends a zeroed packet with its header filled in and returns it to be completed by the
 * caller; NULL when there is an error. Checks nothing about the packet; the device will.
 *
 * @param bytes  whole packet, a multiple of 16, at least sizeof(struct zw_pkt)
 */
static inline void *zw_cmd_emit_raw(struct zw_cmd *cmd, uint32_t opcode, size_t bytes,
				    uint64_t rows_va, uint32_t flags)
{
	struct zw_pkt *pkt;

	if (cmd->error || (cmd->capacity - cmd->used < bytes && zw_cmd_reserve(cmd, bytes)))
		return NULL;
	pkt = (struct zw_pkt *)(void *)(cmd->base + cmd->used);
	memset(pkt, 0, bytes);
	pkt->opcode = (uint16_t)opcode;
	pkt->size = (uint16_t)bytes;
	pkt->flags = flags;
	pkt->rows_va = rows_va;
	cmd->used += bytes;
	cmd->packets++;
	return pkt;
}

/**
 * Checked emit: one function per packet. Operands and shapes are those of the structure of the same
 * name in zhenwu/zw_cmd.h; optional operands may be NULL. Everything that can be known without
 * device memory is checked as the device will: on an error nothing is appended, and the result is
 * -EINVAL with `reason` and `what` set, or -ENOMEM, -ENOSPC, -EFBIG.
 *
 * @param rows_va  address of the row count, 0: all rows (see zw_cmd.h); only where it is listed
 * @param flags    ZW_PKT_F_*; none for barrier, timestamp and semaphores, whose order is their point
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
ZW_API int zw_cmd_rmsnorm(struct zw_cmd *cmd, const struct zw_tensor *x, const struct zw_tensor *w,
			  const struct zw_tensor *y, float eps, uint64_t rows_va, uint32_t flags);
ZW_API int zw_cmd_rope(struct zw_cmd *cmd, const struct zw_tensor *x, const struct zw_tensor *y,
		       const struct zw_tensor *pos, const struct zw_tensor *cos_table,
		       const struct zw_tensor *sin_table, uint64_t rows_va, uint32_t flags);
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
/** seq: optional. */
ZW_API int zw_cmd_kv_write(struct zw_cmd *cmd, const struct zw_tensor *k, const struct zw_tensor *v,
			   const struct zw_tensor *pos, const struct zw_tensor *seq,
			   const struct zw_tensor *block_table, const struct zw_tensor *k_cache,
			   const struct zw_tensor *v_cache, uint64_t rows_va, uint32_t flags);
/** Operands of zw_cmd_attention(), which has too many for a parameter list. seq, lse: optional. */
struct zw_cmd_attention_args {
	const struct zw_tensor *q, *y, *pos, *seq, *block_table, *k_cache, *v_cache, *lse;
	float scale; /**< usually 1 / sqrt(head dimension) */
};
ZW_API int zw_cmd_attention(struct zw_cmd *cmd, const struct zw_cmd_attention_args *args,
			    uint64_t rows_va, uint32_t flags);
ZW_API int zw_cmd_copy(struct zw_cmd *cmd, uint64_t dst, uint64_t src, uint64_t bytes,
		       uint32_t flags);
ZW_API int zw_cmd_fill(struct zw_cmd *cmd, uint64_t dst, uint64_t bytes, uint32_t pattern,
		       uint32_t flags);

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

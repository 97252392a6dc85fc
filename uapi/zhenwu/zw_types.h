/* SPDX-License-Identifier: MIT */
/*
 * Zhenwu device ABI: scalar types, data types of tensors, layout assertions.
 *
 * Shared by the device core, the firmware, the kernel driver and the runtime. It depends on nothing
 * but fixed-width integers, and is usable from C11, C++11, freestanding C and the kernel.
 *
 * Everything in memory is little-endian. In the kernel the zw_le* types are the annotated __le*
 * types, so sparse checks every conversion; elsewhere they are plain integers and the host has to
 * be little-endian.
 */
#ifndef ZW_TYPES_H
#define ZW_TYPES_H

#ifdef __KERNEL__
#include <linux/types.h>
#include <linux/build_bug.h>
typedef __le16 zw_le16;
typedef __le32 zw_le32;
typedef __le64 zw_le64;
typedef u8 zw_u8;
#else
#include <stddef.h>
#include <stdint.h>
typedef uint16_t zw_le16;
typedef uint32_t zw_le32;
typedef uint64_t zw_le64;
typedef uint8_t zw_u8;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Zhenwu user space and device model support little-endian hosts only"
#endif
#endif

#if defined(__cplusplus)
#define ZW_STATIC_ASSERT(cond, msg) static_assert(cond, msg)
#else
#define ZW_STATIC_ASSERT(cond, msg) _Static_assert(cond, msg)
#endif
#define ZW_ASSERT_SIZE(type, bytes)                                                                \
	ZW_STATIC_ASSERT(sizeof(type) == (bytes), #type " must have " #bytes " bytes")
#define ZW_ASSERT_OFFSET(type, member, off)                                                        \
	ZW_STATIC_ASSERT(offsetof(type, member) == (off), #type "." #member " must be at " #off)

/*
 * Version of everything under uapi/zhenwu/. A device and a firmware or driver work together when
 * the majors are equal; a minor only adds (opcodes, messages, registers, reserved fields given
 * meaning).
 *
 *	2.1	ROUTE and GEMM_EXPERTS; SWIGLU of [M,H,I]; GATED_NORM and MUL_SIGMOID;
 *		CONV and DELTA
 *	2.2	ATTENTION: window, sinks, lists of blocks and columns, start; MERGE;
 *		SELECT_BLOCKS and SELECT_SLASH; QUANTIZE; EMBED of records
 *	2.3	REORDER; k_scale of SELECT_BLOCKS and SELECT_SLASH; CHUNKED of DELTA;
 *		queues in user memory: zw_ring_ctrl.wake, what a failure was in zw_msg_queue_info
 *	2.4	counters of the time in which queues share the device: ZW_PMU_SETTLED_PS and those behind it;
 *		ZW_PKT_F_NO_KV_CACHE, _NO_TENSOR, _NO_FUSED, _NO_SPARSE
 *	2.5	telemetry: ZW_REG_TEMPERATURE_MC, ZW_PMU_CHIP_ENERGY_UJ, ZW_PMU_CAPPED_PS;
 *		ZW_MSG_TELEMETRY
 *	2.6	errors of HBM: ZW_SOC_IRQ_ECC; ZW_MSG_EVENTS, ZW_MSG_EVENT_ECC
 *	2.7	records of single packets: ZW_MSG_PERF, ZW_MSG_SETTLE, zw_queue_desc.owner
 *		queues that outlive a reset: answer of ZW_MSG_SUSPEND_QUEUE, zw_queue_desc.completed and
 *		resume_offset
 *		q_mid, q_far and their ends of SELECT_BLOCKS and SELECT_SLASH
 */
#define ZW_ABI_MAJOR            2
#define ZW_ABI_MINOR            7
#define ZW_ABI_VERSION          ((ZW_ABI_MAJOR << 16) | ZW_ABI_MINOR)
#define ZW_ABI_VERSION_MAJOR(v) ((v) >> 16)
#define ZW_ABI_VERSION_MINOR(v) ((v)&0xffff)

/*
 * Data types of tensor elements, one row each: name, number, elements of a block, bytes of a block.
 *
 * A profile says which of them its engines compute with; numbers that are not listed are reserved. All are below
 * 64, so that a set of types is a 64-bit mask. Plain types have blocks of one element. Sub-byte types come two to
 * a byte, the lower index in the low nibble. The GGUF types (from Q4_0 on) are records that hold their own scales
 * (Documentation/device/numerics.md gives every bit); a tensor of them has layout ZW_LAYOUT_BLOCKED, everything else
 * ZW_LAYOUT_STRIDED.
 */
#define ZW_DTYPES(X)                                                                               \
	X(F32, 1, 1, 4)    /* IEEE binary32 */                                                     \
	X(BF16, 2, 1, 2)   /* upper half of binary32, round to nearest even */                     \
	X(F16, 3, 1, 2)    /* IEEE binary16 */                                                     \
	X(F8E4M3, 4, 1, 1) /* OCP FP8 E4M3 (no infinity) */                                        \
	X(F8E5M2, 5, 1, 1) /* OCP FP8 E5M2 */                                                      \
	X(E8M0, 6, 1, 1)   /* OCP MX scale: 2^(x - 127), 255 is NaN */                             \
	X(F4E2M1, 7, 2, 1) /* OCP FP4 E2M1 */                                                      \
	X(I32, 16, 1, 4)   /* token ids, positions, block tables */                                \
	X(I64, 17, 1, 8)                                                                           \
	X(I8, 18, 1, 1)                                                                            \
	X(U8, 19, 1, 1)                                                                            \
	X(I4, 20, 2, 1) /* two's complement, -8..7 */                                              \
	X(U4, 21, 2, 1) /* 0..15: GPTQ, AWQ, with a zero point */                                  \
	X(Q4_0, 32, 32, 18)                                                                        \
	X(Q4_1, 33, 32, 20)                                                                        \
	X(Q5_0, 34, 32, 22)                                                                        \
	X(Q5_1, 35, 32, 24)                                                                        \
	X(Q8_0, 36, 32, 34)                                                                        \
	X(MXFP4, 37, 32, 17)                                                                       \
	X(Q2_K, 38, 256, 84)                                                                       \
	X(Q3_K, 39, 256, 110)                                                                      \
	X(Q4_K, 40, 256, 144)                                                                      \
	X(Q5_K, 41, 256, 176)                                                                      \
	X(Q6_K, 42, 256, 210)

enum zw_dtype {
	ZW_DTYPE_NONE = 0, /* operand absent */
#define ZW_DTYPE_ENUM(name, number, elements, bytes) ZW_DTYPE_##name = (number),
	ZW_DTYPES(ZW_DTYPE_ENUM)
#undef ZW_DTYPE_ENUM
};

/* Set of data types. */
#define ZW_DT(name) (1ull << ZW_DTYPE_##name)
/* What activations may be. */
#define ZW_DT_FLOAT (ZW_DT(F32) | ZW_DT(BF16) | ZW_DT(F16))
/* The records of GGUF: layout ZW_LAYOUT_BLOCKED. */
#define ZW_DT_BLOCKED                                                                              \
	(ZW_DT(Q4_0) | ZW_DT(Q4_1) | ZW_DT(Q5_0) | ZW_DT(Q5_1) | ZW_DT(Q8_0) | ZW_DT(MXFP4) |      \
	 ZW_DT(Q2_K) | ZW_DT(Q3_K) | ZW_DT(Q4_K) | ZW_DT(Q5_K) | ZW_DT(Q6_K))
/* Types that mean nothing without a scale operand beside them. */
#define ZW_DT_SCALED                                                                               \
	(ZW_DT(F8E4M3) | ZW_DT(F8E5M2) | ZW_DT(F4E2M1) | ZW_DT(I8) | ZW_DT(I4) | ZW_DT(U4))
/* What the weights of a matrix product may be. */
#define ZW_DT_WEIGHT (ZW_DT_FLOAT | ZW_DT_SCALED | ZW_DT_BLOCKED)

/* Elements of a block of a type, and its bytes; 0 for a number that is not a type. */
static inline unsigned int zw_dtype_block_elements(unsigned int dtype)
{
	switch (dtype) {
#define ZW_DTYPE_CASE(name, number, elements, bytes)                                               \
	case (number):                                                                             \
		return (elements);
		ZW_DTYPES(ZW_DTYPE_CASE)
#undef ZW_DTYPE_CASE
	default:
		return 0;
	}
}

static inline unsigned int zw_dtype_block_bytes(unsigned int dtype)
{
	switch (dtype) {
#define ZW_DTYPE_CASE(name, number, elements, bytes)                                               \
	case (number):                                                                             \
		return (bytes);
		ZW_DTYPES(ZW_DTYPE_CASE)
#undef ZW_DTYPE_CASE
	default:
		return 0;
	}
}

/* Engines that own a simulated timeline and a busy counter. */
enum zw_engine {
	ZW_ENGINE_CP = 0,     /* command processor: control packets */
	ZW_ENGINE_TENSOR = 1, /* matrix multiply */
	ZW_ENGINE_VECTOR = 2, /* norms, RoPE, activations, gather, sampling */
	ZW_ENGINE_ATTN = 3,   /* attention and KV cache */
	ZW_ENGINE_DMA = 4,    /* copy and fill */
	ZW_ENGINE_DELTA = 5,  /* recurrent layers: convolution, gated delta rule (ABI 2.1) */
	ZW_ENGINE_LINK = 6,   /* inter-chip links (reserved in ABI 2.0) */
	ZW_ENGINE_COUNT = 8,  /* slots reserved in every table and record */
};

#endif /* ZW_TYPES_H */

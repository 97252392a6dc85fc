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
 */
#define ZW_ABI_MAJOR            1
#define ZW_ABI_MINOR            0
#define ZW_ABI_VERSION          ((ZW_ABI_MAJOR << 16) | ZW_ABI_MINOR)
#define ZW_ABI_VERSION_MAJOR(v) ((v) >> 16)
#define ZW_ABI_VERSION_MINOR(v) ((v)&0xffff)

/*
 * Data types of tensor elements. A profile says which of them its engines accept; values not listed
 * are reserved. Sub-byte types (from 0x40) are counted in elements, two per byte, low nibble first.
 */
enum zw_dtype {
	ZW_DTYPE_NONE = 0x00,   /* operand absent */
	ZW_DTYPE_F32 = 0x01,    /* IEEE binary32 */
	ZW_DTYPE_BF16 = 0x02,   /* upper half of binary32, round to nearest even */
	ZW_DTYPE_F16 = 0x03,    /* IEEE binary16 (reserved in ABI 1.0) */
	ZW_DTYPE_I32 = 0x10,    /* signed 32-bit: token ids, positions, block tables */
	ZW_DTYPE_I8 = 0x11,     /* signed 8-bit (reserved in ABI 1.0) */
	ZW_DTYPE_F8E4M3 = 0x20, /* OCP FP8 E4M3 (reserved in ABI 1.0) */
	ZW_DTYPE_F8E5M2 = 0x21, /* OCP FP8 E5M2 (reserved in ABI 1.0) */
	ZW_DTYPE_F4E2M1 = 0x40, /* OCP FP4 E2M1 (reserved in ABI 1.0) */
	ZW_DTYPE_I4 = 0x41,     /* signed 4-bit (reserved in ABI 1.0) */
};

/* Engines that own a simulated timeline and a busy counter. */
enum zw_engine {
	ZW_ENGINE_CP = 0,     /* command processor: control packets */
	ZW_ENGINE_TENSOR = 1, /* matrix multiply */
	ZW_ENGINE_VECTOR = 2, /* norms, RoPE, activations, gather, sampling */
	ZW_ENGINE_ATTN = 3,   /* attention and KV cache */
	ZW_ENGINE_DMA = 4,    /* copy and fill */
	ZW_ENGINE_DELTA = 5,  /* gated delta rule (reserved in ABI 1.0) */
	ZW_ENGINE_LINK = 6,   /* inter-chip links (reserved in ABI 1.0) */
	ZW_ENGINE_COUNT = 8,  /* slots reserved in every table and record */
};

#endif /* ZW_TYPES_H */

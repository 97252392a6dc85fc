/* SPDX-License-Identifier: MIT */
/* BF16: the upper 16 bits of an IEEE binary32. */
#ifndef ZW_BF16_H
#define ZW_BF16_H

#include <stdint.h>
#include <string.h>

#define ZW_BF16_NAN 0x7fc0u
#define ZW_F32_NAN  0x7fc00000u

static inline uint32_t zw_f32_bits(float f)
{
	uint32_t u;

	memcpy(&u, &f, sizeof(u));
	return u;
}

static inline float zw_f32_from_bits(uint32_t u)
{
	float f;

	memcpy(&f, &u, sizeof(f));
	return f;
}

/* Exact. A NaN keeps its payload: it is made canonical where a result is stored. */
static inline float zw_bf16_to_f32(uint16_t b)
{
	return zw_f32_from_bits((uint32_t)b << 16);
}

/* Round to nearest even; overflow gives infinity, any NaN gives ZW_BF16_NAN. */
static inline uint16_t zw_bf16_from_f32(float f)
{
	uint32_t u = zw_f32_bits(f);

	if ((u & 0x7fffffffu) > 0x7f800000u)
		return ZW_BF16_NAN;
	return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

/* The value as an F32 result is stored: any NaN becomes ZW_F32_NAN. */
static inline float zw_f32_canon(float f)
{
	return f == f ? f : zw_f32_from_bits(ZW_F32_NAN);
}

#endif

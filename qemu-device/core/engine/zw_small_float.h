/* SPDX-License-Identifier: MIT */
/* Floating-point formats of eight bits and less (OCP 8-bit and MX formats); scales of powers of two. */
#ifndef ZW_SMALL_FLOAT_H
#define ZW_SMALL_FLOAT_H

#include <math.h>

#include "zw_f16.h"

#define ZW_F8E4M3_NAN 0x7fu
#define ZW_F8E5M2_NAN 0x7eu
#define ZW_F8E4M3_MAX 448.0f
#define ZW_F8E5M2_MAX 57344.0f

/* Exact. */
static inline float zw_f8e4m3_to_f32(uint8_t x)
{
	uint32_t sign = (uint32_t)(x & 0x80u) << 24, exp = x >> 3 & 15, man = x & 7;

	if ((x & 0x7f) == 0x7f)
		return zw_f32_from_bits(sign | ZW_F32_NAN);
	if (!exp)
		return zw_f32_from_bits(sign | zw_f32_bits((float)man * 0x1p-9f));
	return zw_f32_from_bits(sign | (exp + 120) << 23 | man << 20);
}

/* Exact: it is the upper half of an F16. */
static inline float zw_f8e5m2_to_f32(uint8_t x)
{
	return zw_f16_to_f32((uint16_t)(x << 8));
}

/* Exact; the low four bits count. */
static inline float zw_f4e2m1_to_f32(uint8_t x)
{
	static const float value[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
					-0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

	return value[x & 15];
}

/* Exact: 2^-127 is a subnormal number. */
static inline float zw_e8m0_to_f32(uint8_t x)
{
	if (x == 255)
		return zw_f32_from_bits(ZW_F32_NAN);
	return zw_f32_from_bits(x ? (uint32_t)x << 23 : 1u << 22);
}

/*
 * Round to nearest even; beyond the largest number gives that, as does an infinity; any NaN gives the
 * canonical one.
 */
static inline uint8_t zw_f8e4m3_from_f32(float f)
{
	uint32_t u = zw_f32_bits(f), abs = u & 0x7fffffffu, sign = u >> 24 & 0x80u;

	if (abs > 0x7f800000u)
		return ZW_F8E4M3_NAN;
	if (abs >= 0x43e00000u) /* 448 */
		return (uint8_t)(sign | 0x7eu);
	if (abs < 0x3c800000u) /* below 2^-6; numbers next to 2^14 are as far apart as subnormals */
		return (uint8_t)(sign | (zw_f32_bits(zw_f32_from_bits(abs) + 0x1p14f) -
					 zw_f32_bits(0x1p14f)));
	return (uint8_t)(sign | (abs - 0x3c000000u + 0x7ffffu + (abs >> 20 & 1u)) >> 20);
}

static inline uint8_t zw_f8e5m2_from_f32(float f)
{
	uint32_t u = zw_f32_bits(f), abs = u & 0x7fffffffu, sign = u >> 24 & 0x80u;

	if (abs > 0x7f800000u)
		return ZW_F8E5M2_NAN;
	if (abs >= 0x47600000u) /* 57344 */
		return (uint8_t)(sign | 0x7bu);
	if (abs < 0x38800000u) /* below 2^-14; numbers next to 2^7 are as far apart as subnormals */
		return (uint8_t)(sign | (zw_f32_bits(zw_f32_from_bits(abs) + 0x1p7f) -
					 zw_f32_bits(0x1p7f)));
	return (uint8_t)(sign | (abs - 0x38000000u + 0xfffffu + (abs >> 21 & 1u)) >> 21);
}

#endif

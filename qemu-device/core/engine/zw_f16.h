/* SPDX-License-Identifier: MIT */
/* F16: IEEE binary16. */
#ifndef ZW_F16_H
#define ZW_F16_H

#include "zw_bf16.h"

#define ZW_F16_NAN 0x7e00u

/* Exact. */
static inline float zw_f16_to_f32(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exp = h >> 10 & 31, man = h & 0x3ffu;

	if (exp == 31)
		return zw_f32_from_bits(sign | 0x7f800000u | man << 13);
	if (!exp) /* subnormals are normal numbers here */
		return zw_f32_from_bits(sign | zw_f32_bits((float)man * 0x1p-24f));
	return zw_f32_from_bits(sign | (exp + 112) << 23 | man << 13);
}

/* Round to nearest even; overflow gives infinity, any NaN gives ZW_F16_NAN. */
static inline uint16_t zw_f16_from_f32(float f)
{
	uint32_t u = zw_f32_bits(f), abs = u & 0x7fffffffu, sign = u >> 16 & 0x8000u;

	if (abs > 0x7f800000u)
		return ZW_F16_NAN;
	if (abs >= 0x477ff000u) /* half way from the largest number to the one that is not there */
		return (uint16_t)(sign | 0x7c00u);
	if (abs < 0x38800000u) /* below 2^-14; numbers next to 0.5 are as far apart as subnormals */
		return (uint16_t)(sign |
				  (zw_f32_bits(zw_f32_from_bits(abs) + 0.5f) - zw_f32_bits(0.5f)));
	return (uint16_t)(sign | (abs - 0x38000000u + 0xfffu + (abs >> 13 & 1u)) >> 13);
}

#endif

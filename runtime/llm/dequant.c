// SPDX-License-Identifier: MIT
/*
 * Records to numbers, one function for each type, in the letters of "GGUF records" in
 * Documentation/device/numerics.md: d and m are scales in binary16, s and S smaller ones, q and n integers.
 * All offsets are bytes of a record.
 */
#include "dequant.h"

#include <math.h>
#include <string.h>

float llm_f16_value(uint16_t h)
{
	uint32_t exp = h >> 10 & 31, man = h & 1023, bits = (uint32_t)(h & 0x8000) << 16;
	float f;

	if (exp == 0) {
		/* zero or subnormal: man * 2^-24, exact */
		f = (float)man * 0x1p-24f;
		return bits ? -f : f;
	}
	bits |= exp == 31 ? 0x7f800000u : (exp + 112) << 23;
	bits |= man << 13;
	memcpy(&f, &bits, 4);
	return f;
}

static float half_at(const uint8_t *p)
{
	return llm_f16_value((uint16_t)(p[0] | p[1] << 8));
}

/* ---- records of 32 ---- */

/* Nibble i of 16 bytes: the low ones first. */
static int nibble(const uint8_t *q, int i)
{
	return i < 16 ? q[i] & 15 : q[i - 16] >> 4;
}

static void q4_0(const uint8_t *p, float *x)
{
	float d = half_at(p);

	for (int i = 0; i < 32; i++)
		x[i] = d * (float)(nibble(p + 2, i) - 8);
}

static void q4_1(const uint8_t *p, float *x)
{
	float d = half_at(p), m = half_at(p + 2);

	for (int i = 0; i < 32; i++)
		x[i] = d * (float)nibble(p + 4, i) + m;
}

/* The fifth bits of 32 numbers are bits of 4 bytes. */
static int five(const uint8_t *high, int i)
{
	return nibble(high + 4, i) + 16 * (high[i / 8] >> i % 8 & 1);
}

static void q5_0(const uint8_t *p, float *x)
{
	float d = half_at(p);

	for (int i = 0; i < 32; i++)
		x[i] = d * (float)(five(p + 2, i) - 16);
}

static void q5_1(const uint8_t *p, float *x)
{
	float d = half_at(p), m = half_at(p + 2);

	for (int i = 0; i < 32; i++)
		x[i] = d * (float)five(p + 4, i) + m;
}

static void q8_0(const uint8_t *p, float *x)
{
	float d = half_at(p);

	for (int i = 0; i < 32; i++)
		x[i] = d * (float)(int8_t)p[2 + i];
}

static void mxfp4(const uint8_t *p, float *x)
{
	static const float values[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};

	for (int i = 0; i < 32; i++) {
		int n = nibble(p + 1, i);
		/* 255 is not a number. Exponents down to those of subnormals are exact. */
		float v = p[0] == 255 ? NAN : ldexpf(values[n & 7], p[0] - 127);

		x[i] = n & 8 ? -v : v;
	}
}

/* ---- records of 256: e = 128 a + 32 b + c ---- */

static void q2_k(const uint8_t *p, float *x)
{
	float d = half_at(p + 80), m = half_at(p + 82);

	for (int e = 0; e < 256; e++) {
		int n = p[16 + 32 * (e / 128) + e % 32] >> 2 * (e / 32 % 4) & 3;
		uint8_t s = p[e / 16];

		x[e] = d * (float)((s & 15) * n) - m * (float)(s >> 4);
	}
}

static void q3_k(const uint8_t *p, float *x)
{
	const uint8_t *s = p + 96;
	float d = half_at(p + 108);

	for (int e = 0; e < 256; e++) {
		int a = e / 128, b = e / 32 % 4, c = e % 32, g = e / 16;
		int low = g < 8 ? s[g] & 15 : s[g - 8] >> 4;
		int scale = low + 16 * (s[8 + g % 4] >> 2 * (g / 4) & 3) - 32;
		int n = (p[32 + 32 * a + c] >> 2 * b & 3) + 4 * (p[c] >> (4 * a + b) & 1) - 4;

		x[e] = d * (float)(scale * n);
	}
}

/* Scale and minimum of group g of Q4_K and Q5_K, 6 bits each. */
static void scale_min(const uint8_t *s, int g, int *scale, int *min)
{
	if (g < 4) {
		*scale = s[g] & 63;
		*min = s[g + 4] & 63;
	} else {
		*scale = (s[g + 4] & 15) | s[g - 4] >> 6 << 4;
		*min = s[g + 4] >> 4 | s[g] >> 6 << 4;
	}
}

/* Q4_K without high bits, Q5_K with. */
static void k45(const uint8_t *p, const uint8_t *q, const uint8_t *high, float *x)
{
	float d = half_at(p), m = half_at(p + 2);

	for (int e = 0; e < 256; e++) {
		int g = e / 32, c = e % 32, scale, min;
		int n = q[32 * (g / 2) + c] >> 4 * (g % 2) & 15;

		if (high)
			n += 16 * (high[c] >> g & 1);
		scale_min(p + 4, g, &scale, &min);
		x[e] = d * (float)(scale * n) - m * (float)min;
	}
}

static void q4_k(const uint8_t *p, float *x)
{
	k45(p, p + 16, NULL, x);
}

static void q5_k(const uint8_t *p, float *x)
{
	k45(p, p + 48, p + 16, x);
}

static void q6_k(const uint8_t *p, float *x)
{
	float d = half_at(p + 208);

	for (int e = 0; e < 256; e++) {
		int a = e / 128, b = e / 32 % 4, c = e % 32;
		int n = p[64 * a + 32 * (b % 2) + c] >> 4 * (b / 2) & 15;

		n += 16 * (p[128 + 32 * a + c] >> 2 * b & 3);
		x[e] = d * (float)((int8_t)p[192 + e / 16] * (n - 32));
	}
}

void llm_dequant(uint32_t dtype, const void *src, float *dst, uint64_t n)
{
	static void (*const records[])(const uint8_t *p, float *x) = {
		[ZW_DTYPE_Q4_0] = q4_0, [ZW_DTYPE_Q4_1] = q4_1, [ZW_DTYPE_Q5_0] = q5_0,
		[ZW_DTYPE_Q5_1] = q5_1, [ZW_DTYPE_Q8_0] = q8_0, [ZW_DTYPE_MXFP4] = mxfp4,
		[ZW_DTYPE_Q2_K] = q2_k, [ZW_DTYPE_Q3_K] = q3_k, [ZW_DTYPE_Q4_K] = q4_k,
		[ZW_DTYPE_Q5_K] = q5_k, [ZW_DTYPE_Q6_K] = q6_k,
	};
	unsigned int elements = zw_dtype_block_elements(dtype);
	unsigned int bytes = zw_dtype_block_bytes(dtype);
	const uint8_t *p = src;

	for (uint64_t i = 0; i < n; i += elements, p += bytes)
		records[dtype](p, dst + i);
}

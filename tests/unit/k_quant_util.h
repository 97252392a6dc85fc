/* SPDX-License-Identifier: MIT */
/*
 * Quantised matrices made from numbers: every block is written bit by bit from the numbers of its elements and scales, and
 * what it stands for is computed from the same numbers. Nothing here reads a block.
 */
#ifndef K_QUANT_UTIL_H
#define K_QUANT_UTIL_H

#include "test_k_util.h"
#include "zw_small_float.h"

/* The numbers of a block: of elements, of groups, and of all of it. */
struct block_numbers {
	int n[256], s[16], m[16];
	float d, dm;
};

static inline void put_f16(uint8_t *p, float f)
{
	uint16_t h = zw_f16_from_f32(f);

	memcpy(p, &h, 2);
}

static inline void or_bits(uint8_t *p, unsigned int bit, unsigned int value)
{
	p[bit / 8] |= (uint8_t)(value << bit % 8);
}

/* Low nibbles of 16 bytes are elements 0..15, high ones 16..31. */
static inline void put_halves(uint8_t *p, const int *n)
{
	for (int i = 0; i < 16; i++)
		p[i] = (uint8_t)((n[i] & 15) | (n[i + 16] & 15) << 4);
}

/* Scales and minimums of six bits: the first four whole, the others' upper two bits above those. */
static inline void put_k4_scales(uint8_t *p, const struct block_numbers *b)
{
	for (int g = 0; g < 4; g++) {
		p[g] = (uint8_t)(b->s[g] | (b->s[g + 4] >> 4) << 6);
		p[g + 4] = (uint8_t)(b->m[g] | (b->m[g + 4] >> 4) << 6);
		p[g + 8] = (uint8_t)((b->s[g + 4] & 15) | (b->m[g + 4] & 15) << 4);
	}
}

/* Numbers of a random block of the type, in the ranges that it has. */
static inline void block_random(uint32_t dtype, struct block_numbers *b)
{
	int elements = (int)zw_dtype_block_elements(dtype);

	memset(b, 0, sizeof(*b));
	b->d = zw_f16_to_f32(zw_f16_from_f32(k_uniform() * 0.25f));
	b->dm = zw_f16_to_f32(zw_f16_from_f32(k_uniform() * 0.25f));
	for (int i = 0; i < elements; i++) {
		switch (dtype) {
		case ZW_DTYPE_Q8_0:
			b->n[i] = (int)(k_rng() % 256) - 128;
			break;
		case ZW_DTYPE_Q5_0:
		case ZW_DTYPE_Q5_1:
		case ZW_DTYPE_Q5_K:
			b->n[i] = (int)(k_rng() % 32);
			break;
		case ZW_DTYPE_Q2_K:
			b->n[i] = (int)(k_rng() % 4);
			break;
		case ZW_DTYPE_Q3_K:
			b->n[i] = (int)(k_rng() % 8);
			break;
		case ZW_DTYPE_Q6_K:
			b->n[i] = (int)(k_rng() % 64);
			break;
		default:
			b->n[i] = (int)(k_rng() % 16);
			break;
		}
	}
	for (int g = 0; g < 16; g++) {
		int range = dtype == ZW_DTYPE_Q2_K ? 16 : 64;

		b->s[g] = (int)(k_rng() % (unsigned int)range);
		b->m[g] = (int)(k_rng() % (unsigned int)range);
		if (dtype == ZW_DTYPE_Q6_K)
			b->s[g] = (int)(k_rng() % 256) - 128;
	}
	if (dtype == ZW_DTYPE_MXFP4)
		b->s[0] = 100 + (int)(k_rng() % 50);
}

static inline void block_write(uint32_t dtype, const struct block_numbers *b, uint8_t *p)
{
	memset(p, 0, zw_dtype_block_bytes(dtype));
	switch (dtype) {
	case ZW_DTYPE_Q4_0:
		put_f16(p, b->d);
		put_halves(p + 2, b->n);
		break;
	case ZW_DTYPE_Q4_1:
		put_f16(p, b->d);
		put_f16(p + 2, b->dm);
		put_halves(p + 4, b->n);
		break;
	case ZW_DTYPE_Q5_0:
		put_f16(p, b->d);
		put_halves(p + 6, b->n);
		for (unsigned int i = 0; i < 32; i++)
			or_bits(p + 2, i, b->n[i] >> 4 & 1);
		break;
	case ZW_DTYPE_Q5_1:
		put_f16(p, b->d);
		put_f16(p + 2, b->dm);
		put_halves(p + 8, b->n);
		for (unsigned int i = 0; i < 32; i++)
			or_bits(p + 4, i, b->n[i] >> 4 & 1);
		break;
	case ZW_DTYPE_Q8_0:
		put_f16(p, b->d);
		for (int i = 0; i < 32; i++)
			p[2 + i] = (uint8_t)b->n[i];
		break;
	case ZW_DTYPE_MXFP4:
		p[0] = (uint8_t)b->s[0];
		put_halves(p + 1, b->n);
		break;
	case ZW_DTYPE_Q2_K:
		for (int g = 0; g < 16; g++)
			p[g] = (uint8_t)(b->s[g] | b->m[g] << 4);
		for (unsigned int e = 0; e < 256; e++)
			or_bits(p + 16 + e / 128 * 32 + e % 32, e / 32 % 4 * 2, b->n[e]);
		put_f16(p + 80, b->d);
		put_f16(p + 82, b->dm);
		break;
	case ZW_DTYPE_Q3_K:
		for (unsigned int e = 0; e < 256; e++) {
			or_bits(p + e % 32, e / 32, b->n[e] >> 2);
			or_bits(p + 32 + e / 128 * 32 + e % 32, e / 32 % 4 * 2, b->n[e] & 3);
		}
		for (unsigned int g = 0; g < 16; g++) {
			or_bits(p + 96 + g % 8, g / 8 * 4, b->s[g] & 15);
			or_bits(p + 104 + g % 4, g / 4 * 2, (unsigned int)b->s[g] >> 4);
		}
		put_f16(p + 108, b->d);
		break;
	case ZW_DTYPE_Q4_K:
	case ZW_DTYPE_Q5_K:
		put_f16(p, b->d);
		put_f16(p + 2, b->dm);
		put_k4_scales(p + 4, b);
		for (unsigned int e = 0; e < 256; e++) {
			unsigned int at = e / 64 * 32 + e % 32, g = e / 32;

			if (dtype == ZW_DTYPE_Q5_K)
				or_bits(p + 16 + e % 32, g, b->n[e] >> 4);
			or_bits(p + (dtype == ZW_DTYPE_Q4_K ? 16 : 48) + at, g % 2 * 4,
				b->n[e] & 15);
		}
		break;
	default: /* Q6_K */
		for (unsigned int e = 0; e < 256; e++) {
			unsigned int half = e / 128, quarter = e / 32 % 4, c = e % 32;

			or_bits(p + half * 64 + quarter % 2 * 32 + c, quarter / 2 * 4,
				b->n[e] & 15);
			or_bits(p + 128 + half * 32 + c, quarter * 2, (unsigned int)b->n[e] >> 4);
		}
		for (int g = 0; g < 16; g++)
			p[192 + g] = (uint8_t)b->s[g];
		put_f16(p + 208, b->d);
		break;
	}
}

/* What element e stands for, rounded once: all that is computed before is exact in double precision. */
static inline float block_value(uint32_t dtype, const struct block_numbers *b, unsigned int e)
{
	static const double f4[8] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
	double d = (double)b->d, m = (double)b->dm, n = b->n[e];
	unsigned int g = e / 32, h = e / 16;

	switch (dtype) {
	case ZW_DTYPE_Q4_0:
		return (float)(d * (n - 8));
	case ZW_DTYPE_Q5_0:
		return (float)(d * (n - 16));
	case ZW_DTYPE_Q4_1:
	case ZW_DTYPE_Q5_1:
		return (float)(d * n + m);
	case ZW_DTYPE_Q8_0:
		return (float)(d * n);
	case ZW_DTYPE_MXFP4:
		return (float)ldexp(b->n[e] & 8 ? -f4[b->n[e] & 7] : f4[b->n[e] & 7],
				    b->s[0] - 127);
	case ZW_DTYPE_Q2_K:
		return (float)(d * b->s[h] * n - m * b->m[h]);
	case ZW_DTYPE_Q3_K:
		return (float)(d * (b->s[h] - 32) * (n - 4));
	case ZW_DTYPE_Q4_K:
	case ZW_DTYPE_Q5_K:
		return (float)(d * b->s[g] * n - m * b->m[g]);
	default:
		return (float)(d * b->s[h] * (n - 32));
	}
}

/* --- types with scales beside them --- */

/* Code `c` of the type as its value. */
static inline float code_value(uint32_t dtype, unsigned int c)
{
	static const float f4[16] = {0,     0.5f,  1,  1.5f,  2,  3,  4,  6,
				     -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};

	switch (dtype) {
	case ZW_DTYPE_I8:
		return (float)((int)c < 128 ? (int)c : (int)c - 256);
	case ZW_DTYPE_I4:
		return (float)((int)c < 8 ? (int)c : (int)c - 16);
	case ZW_DTYPE_U4:
	case ZW_DTYPE_U8:
		return (float)c;
	case ZW_DTYPE_F4E2M1:
		return f4[c];
	case ZW_DTYPE_E8M0:
		return c == 255 ? NAN : ldexpf(1, (int)c - 127);
	case ZW_DTYPE_F8E4M3: {
		float v = (c >> 3 & 15) ? ldexpf((float)(8 + (c & 7)), (int)(c >> 3 & 15) - 10)
					: ldexpf((float)(c & 7), -9);

		return (c & 127) == 127 ? NAN : c & 128 ? -v : v;
	}
	default: { /* F8E5M2 */
		int exp = (int)(c >> 2 & 31);
		float v = exp == 31 ? (c & 3 ? NAN : INFINITY)
			  : exp     ? ldexpf((float)(4 + (c & 3)), exp - 17)
				    : ldexpf((float)(c & 3), -16);

		return c & 128 ? -v : v;
	}
	}
}

static inline bool half_byte(uint32_t dtype)
{
	return zw_dtype_block_elements(dtype) == 2;
}

/* Writes element i. */
static inline void code_put(uint32_t dtype, uint8_t *p, size_t i, unsigned int c)
{
	if (half_byte(dtype))
		p[i / 2] = (uint8_t)((p[i / 2] & (i % 2 ? 15 : 240)) | c << i % 2 * 4);
	else
		p[i] = (uint8_t)c;
}

/* The code nearest to v, of two that are as near the even one; v is no NaN. */
static inline unsigned int nearest(uint32_t dtype, double v)
{
	unsigned int best = 0;
	double far = INFINITY;

	for (unsigned int c = 0; c < 256; c++) {
		float x = code_value(dtype, c);
		double d = fabs((double)x - v);

		/* -128 is no target; zero keeps the sign of the number */
		if (isnan(x) || isinf(x) || (dtype == ZW_DTYPE_I8 && c == 128) ||
		    (x == 0 && !signbit(x) != !signbit(v) && dtype != ZW_DTYPE_I8))
			continue;
		if (d < far || (d == far && c % 2 == 0)) {
			far = d;
			best = c;
		}
	}
	return best;
}

#endif

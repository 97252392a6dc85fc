// SPDX-License-Identifier: MIT
/* Quantised weights in plain C: what Documentation/device/numerics.md says, element by element. */
#include <math.h>
#include <string.h>

#include "zw_k_math.h"
#include "zw_k_quant.h"
#include "zw_small_float.h"

/* A record's byte i from offset `at` on. */
static inline uint32_t byte(const uint8_t *p, unsigned int at)
{
	return p[at];
}

static inline float f16_at(const uint8_t *p, unsigned int at)
{
	return zw_f16_to_f32((uint16_t)(p[at] | p[at + 1] << 8));
}

static inline uint32_t bit_at(const uint8_t *p, unsigned int at, unsigned int bit)
{
	return p[at + bit / 8] >> bit % 8 & 1u;
}

/* Element i of 32: the low nibbles of 16 bytes, then the high ones. */
static inline uint32_t half_nibble(const uint8_t *q, unsigned int i)
{
	return q[i % 16] >> (i < 16 ? 0 : 4) & 15u;
}

/* Scale and minimum, of six bits each, of group g of Q4_K and Q5_K. */
static inline void k4_scales(const uint8_t *s, unsigned int g, uint32_t *scale, uint32_t *min)
{
	if (g < 4) {
		*scale = s[g] & 63u;
		*min = s[g + 4] & 63u;
	} else {
		*scale = (s[g + 4] & 15u) | (uint32_t)(s[g - 4] >> 6) << 4;
		*min = (uint32_t)(s[g + 4] >> 4) | (uint32_t)(s[g] >> 6) << 4;
	}
}

static float q4_0(const uint8_t *p, unsigned int i)
{
	return f16_at(p, 0) * (float)((int)half_nibble(p + 2, i) - 8);
}

static float q4_1(const uint8_t *p, unsigned int i)
{
	return fmaf((float)half_nibble(p + 4, i), f16_at(p, 0), f16_at(p, 2));
}

static float q5_0(const uint8_t *p, unsigned int i)
{
	int n = (int)(half_nibble(p + 6, i) | bit_at(p, 2, i) << 4);

	return f16_at(p, 0) * (float)(n - 16);
}

static float q5_1(const uint8_t *p, unsigned int i)
{
	uint32_t n = half_nibble(p + 8, i) | bit_at(p, 4, i) << 4;

	return fmaf((float)n, f16_at(p, 0), f16_at(p, 2));
}

static float q8_0(const uint8_t *p, unsigned int i)
{
	return f16_at(p, 0) * (float)(int8_t)p[2 + i];
}

static float mxfp4(const uint8_t *p, unsigned int i)
{
	return zw_e8m0_to_f32(p[0]) * zw_f4e2m1_to_f32((uint8_t)half_nibble(p + 1, i));
}

/*
 * Records of 256, e = 32 u + c. The product of scale and number is exact everywhere, so one rounding is
 * left: that of the minimum's subtraction.
 */
static float q2_k(const uint8_t *p, unsigned int e)
{
	unsigned int u = e / 32, c = e % 32;
	uint32_t s = p[e / 16], n = byte(p, 16 + u / 4 * 32 + c) >> u % 4 * 2 & 3u;
	float d = f16_at(p, 80) * (float)(s & 15), m = f16_at(p, 82) * (float)(s >> 4);

	return fmaf((float)n, d, -m);
}

static float q3_k(const uint8_t *p, unsigned int e)
{
	unsigned int u = e / 32, c = e % 32, g = e / 16;
	const uint8_t *s = p + 96;
	uint32_t low = g < 8 ? s[g] & 15u : (uint32_t)s[g - 8] >> 4;
	int scale = (int)(low | (s[8 + g % 4] >> g / 4 * 2 & 3u) << 4) - 32;
	int n = (int)(byte(p, 32 + u / 4 * 32 + c) >> u % 4 * 2 & 3u);
	float d = f16_at(p, 108) * (float)scale;

	return d * (float)(n + 4 * (int)(p[c] >> u & 1u) - 4);
}

static float q4_k(const uint8_t *p, unsigned int e)
{
	unsigned int g = e / 32, c = e % 32;
	uint32_t scale, min, n = byte(p, 16 + g / 2 * 32 + c) >> g % 2 * 4 & 15u;

	k4_scales(p + 4, g, &scale, &min);
	return fmaf((float)n, f16_at(p, 0) * (float)scale, -(f16_at(p, 2) * (float)min));
}

static float q5_k(const uint8_t *p, unsigned int e)
{
	unsigned int g = e / 32, c = e % 32;
	uint32_t scale, min, n = byte(p, 48 + g / 2 * 32 + c) >> g % 2 * 4 & 15u;

	n |= (p[16 + c] >> g & 1u) << 4;
	k4_scales(p + 4, g, &scale, &min);
	return fmaf((float)n, f16_at(p, 0) * (float)scale, -(f16_at(p, 2) * (float)min));
}

static float q6_k(const uint8_t *p, unsigned int e)
{
	unsigned int u = e / 32, c = e % 32, a = u / 4, b = u % 4;
	uint32_t n = byte(p, 64 * a + b % 2 * 32 + c) >> b / 2 * 4 & 15u;
	float d = f16_at(p, 208) * (float)(int8_t)p[192 + e / 16];

	n |= (byte(p, 128 + 32 * a + c) >> 2 * b & 3u) << 4;
	return d * (float)((int)n - 32);
}

/* --- types with scales beside them --- */

static float number(enum zw_q_format f, const uint8_t *p, size_t i)
{
	uint8_t n = p[i / 2] >> i % 2 * 4 & 15;

	switch (f) {
	case ZW_Q_I8:
	case ZW_Q_I8Z:
		return (float)(int8_t)p[i];
	case ZW_Q_I4:
	case ZW_Q_I4Z:
		return (float)((int)(n ^ 8u) - 8);
	case ZW_Q_U4:
	case ZW_Q_U4Z:
		return (float)n;
	case ZW_Q_F8E4M3:
		return zw_f8e4m3_to_f32(p[i]);
	case ZW_Q_F8E5M2:
		return zw_f8e5m2_to_f32(p[i]);
	default:
		return zw_f4e2m1_to_f32(n);
	}
}

static float element(enum zw_q_format f, const struct zw_q_row *row, size_t i, size_t group)
{
	switch (f) {
	case ZW_Q_Q4_0:
		return q4_0(row->ptr + i / 32 * 18, i % 32);
	case ZW_Q_Q4_1:
		return q4_1(row->ptr + i / 32 * 20, i % 32);
	case ZW_Q_Q5_0:
		return q5_0(row->ptr + i / 32 * 22, i % 32);
	case ZW_Q_Q5_1:
		return q5_1(row->ptr + i / 32 * 24, i % 32);
	case ZW_Q_Q8_0:
		return q8_0(row->ptr + i / 32 * 34, i % 32);
	case ZW_Q_MXFP4:
		return mxfp4(row->ptr + i / 32 * 17, i % 32);
	case ZW_Q_Q2_K:
		return q2_k(row->ptr + i / 256 * 84, i % 256);
	case ZW_Q_Q3_K:
		return q3_k(row->ptr + i / 256 * 110, i % 256);
	case ZW_Q_Q4_K:
		return q4_k(row->ptr + i / 256 * 144, i % 256);
	case ZW_Q_Q5_K:
		return q5_k(row->ptr + i / 256 * 176, i % 256);
	case ZW_Q_Q6_K:
		return q6_k(row->ptr + i / 256 * 210, i % 256);
	case ZW_Q_I8Z:
	case ZW_Q_I4Z:
	case ZW_Q_U4Z: {
		float t = number(f, row->ptr, i) - row->zero[group];

		return t * row->scale[group];
	}
	default:
		return number(f, row->ptr, i) * row->scale[group];
	}
}

static void dequant(enum zw_q_format f, float *dst, size_t step, const struct zw_q_row *row,
		    size_t phase, size_t group, size_t n)
{
	for (size_t i = 0; i < ZW_PAD(n); i++)
		dst[i / ZW_LANES * step + i % ZW_LANES] =
			i < n ? element(f, row, i, (phase + i) / group) : 0.0f;
}

#define ROWS 3
#define COLS 2

static void direct(enum zw_q_format f, unsigned int rows, const float *a, const struct zw_q_row *w,
		   size_t k, size_t group, float *out)
{
	for (unsigned int j = 0; j < COLS; j++) {
		float s[ROWS][ZW_LANES] = {{0}};

		for (size_t c = 0; c < ZW_PAD(k); c++) {
			float y = c < k ? element(f, &w[j], c, c / group) : 0.0f;
			unsigned int l = c % ZW_LANES;

			for (unsigned int i = 0; i < rows; i++)
				s[i][l] = fmaf(a[(c / ZW_LANES * rows + i) * ZW_LANES + l], y,
					       s[i][l]);
		}
		for (unsigned int i = 0; i < rows; i++)
			out[i * COLS + j] = zw_lanes_total(s[i]);
	}
}

/* --- activations --- */

static float absmax(const float *x, size_t n)
{
	float most = 0.0f;

	for (size_t i = 0; i < n; i++) {
		float a = fabsf(x[i]);

		/* A NaN wins, and stays. */
		most = a > most || a != a ? a : most;
	}
	return most;
}

static void narrow_i8(void *dst, const float *src, size_t n)
{
	int8_t *d = dst;

	for (size_t i = 0; i < n; i++) {
		float x = src[i];

		if (x != x)
			x = 0.0f;
		x = x > 127.0f ? 127.0f : x;
		x = x < -127.0f ? -127.0f : x;
		/* Beyond 2^23 numbers are whole; the sum rounds to nearest even. */
		d[i] = (int8_t)(x + 0x1.8p23f - 0x1.8p23f);
	}
}

static void narrow_e4m3(void *dst, const float *src, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((uint8_t *)dst)[i] = zw_f8e4m3_from_f32(src[i]);
}

static void narrow_e5m2(void *dst, const float *src, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((uint8_t *)dst)[i] = zw_f8e5m2_from_f32(src[i]);
}

#define FORMAT(name)                                                                               \
	static void dequant_##name(float *dst, size_t step, const struct zw_q_row *row,            \
				   size_t phase, size_t group, size_t n)                           \
	{                                                                                          \
		dequant(ZW_Q_##name, dst, step, row, phase, group, n);                             \
	}                                                                                          \
	static void direct_1_##name(const float *a, const struct zw_q_row *w, size_t k,            \
				    size_t group, float *out)                                      \
	{                                                                                          \
		direct(ZW_Q_##name, 1, a, w, k, group, out);                                       \
	}                                                                                          \
	static void direct_many_##name(const float *a, const struct zw_q_row *w, size_t k,         \
				       size_t group, float *out)                                   \
	{                                                                                          \
		direct(ZW_Q_##name, ROWS, a, w, k, group, out);                                    \
	}
ZW_Q_FORMATS(FORMAT)

#define DEQUANT(name)     [ZW_Q_##name] = dequant_##name,
#define DIRECT_1(name)    [ZW_Q_##name] = direct_1_##name,
#define DIRECT_MANY(name) [ZW_Q_##name] = direct_many_##name,
#define MOST(name)        [ZW_Q_##name] = ZW_Q_DIRECT_MOST(ZW_Q_##name),

static const struct zw_q_direct one = {
	.fn = {[ZW_Q_PLAIN] = {ZW_Q_FORMATS(DIRECT_1)}},
	.rows = 1,
	.cols = COLS,
};
static const struct zw_q_direct many = {
	.fn = {[ZW_Q_PLAIN] = {ZW_Q_FORMATS(DIRECT_MANY)}},
	.rows = ROWS,
	.cols = COLS,
};
static const struct zw_q_direct *const directs[] = {&one, &many};

const struct zw_q_prim zw_q_scalar = {
	.absmax = absmax,
	.narrow = {narrow_i8, narrow_e4m3, narrow_e5m2},
	.dequant = {ZW_Q_FORMATS(DEQUANT)},
	.direct = directs,
	.directs = 2,
	.direct_most = {ZW_Q_FORMATS(MOST)},
};

// SPDX-License-Identifier: MIT
/* The primitives in plain C: what Documentation/device/numerics.md says, one operation after
 * another. */
#include "zw_k_prim.h"

#include <math.h>
#include <string.h>

#include "zw_bf16.h"
#include "zw_k_math.h"

static void pad_row(float *dst, size_t n)
{
	for (size_t i = n; i < ZW_PAD(n); i++)
		dst[i] = 0.0f;
}

static void widen_f32(float *dst, const void *src, size_t n)
{
	memcpy(dst, src, n * sizeof(float));
	pad_row(dst, n);
}

static void widen_bf16(float *dst, const void *src, size_t n)
{
	const uint16_t *s = src;

	for (size_t i = 0; i < n; i++)
		dst[i] = zw_bf16_to_f32(s[i]);
	pad_row(dst, n);
}

static void narrow_f32(void *dst, const float *src, size_t n)
{
	float *d = dst;

	for (size_t i = 0; i < n; i++)
		d[i] = zw_f32_canon(src[i]);
}

static void narrow_bf16(void *dst, const float *src, size_t n)
{
	uint16_t *d = dst;

	for (size_t i = 0; i < n; i++)
		d[i] = zw_bf16_from_f32(src[i]);
}

static inline float load(const void *p, enum zw_store st, size_t i)
{
	return st == ZW_ST_F32 ? ((const float *)p)[i] : zw_bf16_to_f32(((const uint16_t *)p)[i]);
}

static inline void pack(float *dst, unsigned int group, const void *const *rows,
			unsigned int n_rows, size_t n, enum zw_store st)
{
	for (size_t k = 0; k < ZW_PAD(n); k++)
		for (unsigned int r = 0; r < group; r++)
			dst[k / ZW_LANES * group * ZW_LANES + r * ZW_LANES + k % ZW_LANES] =
				r < n_rows && k < n ? load(rows[r], st, k) : 0.0f;
}

static void pack_f32(float *dst, unsigned int group, const void *const *rows, unsigned int n_rows,
		     size_t n)
{
	pack(dst, group, rows, n_rows, n, ZW_ST_F32);
}

static void pack_bf16(float *dst, unsigned int group, const void *const *rows, unsigned int n_rows,
		      size_t n)
{
	pack(dst, group, rows, n_rows, n, ZW_ST_BF16);
}

/* The total of eight lanes: the one order in which they are added anywhere. */
static inline float lanes_total(const float s[ZW_LANES])
{
	float t0 = s[0] + s[4], t1 = s[1] + s[5], t2 = s[2] + s[6], t3 = s[3] + s[7];
	float u0 = t0 + t2, u1 = t1 + t3;

	return u0 + u1;
}

static inline void tile(unsigned int mr, const float *a, const float *w, size_t steps, float *lanes,
			bool resume, float *out, size_t ldo)
{
	for (unsigned int i = 0; i < mr; i++) {
		for (unsigned int j = 0; j < ZW_NR; j++) {
			float *keep = lanes + (i * ZW_NR + j) * ZW_LANES;
			float s[ZW_LANES] = {0};

			if (resume)
				memcpy(s, keep, sizeof(s));
			for (size_t k = 0; k < steps; k++) {
				const float *x = a + (k * mr + i) * ZW_LANES;
				const float *y = w + (k * ZW_NR + j) * ZW_LANES;

				for (int l = 0; l < ZW_LANES; l++)
					s[l] = fmaf(x[l], y[l], s[l]);
			}
			if (out)
				out[i * ldo + j] = lanes_total(s);
			else
				memcpy(keep, s, sizeof(s));
		}
	}
}

static inline void direct(unsigned int mr, const float *a, const void *w, enum zw_store st,
			  size_t ldw, size_t k, float *out, size_t ldo)
{
	for (unsigned int j = 0; j < ZW_NR; j++) {
		for (unsigned int i = 0; i < mr; i++) {
			float s[ZW_LANES] = {0};

			for (size_t c = 0; c < ZW_PAD(k); c++) {
				float y = c < k ? load(w, st, j * ldw + c) : 0.0f;
				float x = a[(c / ZW_LANES * mr + i) * ZW_LANES + c % ZW_LANES];

				s[c % ZW_LANES] = fmaf(x, y, s[c % ZW_LANES]);
			}
			out[i * ldo + j] = lanes_total(s);
		}
	}
}

#define TILES(mr)                                                                                  \
	static void tile_##mr(const float *a, const float *w, size_t steps, float *lanes,          \
			      bool resume, float *out, size_t ldo)                                 \
	{                                                                                          \
		tile(mr, a, w, steps, lanes, resume, out, ldo);                                    \
	}                                                                                          \
	static void direct_f32_##mr(const float *a, const void *w, size_t ldw, size_t k,           \
				    float *out, size_t ldo)                                        \
	{                                                                                          \
		direct(mr, a, w, ZW_ST_F32, ldw, k, out, ldo);                                     \
	}                                                                                          \
	static void direct_bf16_##mr(const float *a, const void *w, size_t ldw, size_t k,          \
				     float *out, size_t ldo)                                       \
	{                                                                                          \
		direct(mr, a, w, ZW_ST_BF16, ldw, k, out, ldo);                                    \
	}                                                                                          \
	static void weigh_##mr(float *acc, size_t lda, const float *p, size_t ldp, const float *v, \
			       size_t ldv, size_t keys, size_t n)                                  \
	{                                                                                          \
		for (unsigned int r = 0; r < mr; r++)                                              \
			for (size_t j = 0; j < keys; j++)                                          \
				for (size_t c = 0; c < n; c++)                                     \
					acc[r * lda + c] = fmaf(p[r * ldp + j], v[j * ldv + c],    \
								acc[r * lda + c]);                 \
	}
TILES(1)
TILES(2)
TILES(3)

static void epilogue(void *out, enum zw_store st, float *v, struct zw_row bias,
		     struct zw_row residual, size_t n)
{
	if (bias.ptr)
		for (size_t i = 0; i < n; i++)
			v[i] = v[i] + load(bias.ptr, bias.st, i);
	if (residual.ptr)
		for (size_t i = 0; i < n; i++)
			v[i] = v[i] + load(residual.ptr, residual.st, i);
	if (st == ZW_ST_F32)
		narrow_f32(out, v, n);
	else
		narrow_bf16(out, v, n);
}

static float sumsq(const float *x, size_t n)
{
	float s[ZW_LANES] = {0};

	for (size_t i = 0; i < ZW_PAD(n); i++)
		s[i % ZW_LANES] = fmaf(x[i], x[i], s[i % ZW_LANES]);
	return lanes_total(s);
}

static void norm(float *y, const float *x, const float *w, float r, bool w1, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		float g = w1 ? w[i] + 1.0f : w[i];
		float t = x[i] * r;

		y[i] = g * t;
	}
}

static void rope(float *x1, float *x2, const float *cos_row, const float *sin_row, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		float a = x1[i], b = x2[i], c = cos_row[i], s = sin_row[i];
		float bs = b * s, as = a * s;

		x1[i] = fmaf(a, c, -bs);
		x2[i] = fmaf(b, c, as);
	}
}

static void swiglu(float *g, const float *u, size_t n)
{
	for (size_t i = 0; i < n; i++)
		g[i] = zw_siluf(g[i]) * u[i];
}

static void add(float *a, const float *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		a[i] = a[i] + b[i];
}

static void scale(float *x, float s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		x[i] = x[i] * s;
}

static float max(const float *x, size_t n)
{
	float m = -INFINITY;

	for (size_t i = 0; i < n; i++)
		m = x[i] > m ? x[i] : m;
	return m;
}

static float expsum(float *x, float m, size_t n)
{
	float s[ZW_LANES] = {0};

	for (size_t i = 0; i < n; i++) {
		x[i] = zw_expf(x[i] - m);
		s[i % ZW_LANES] = s[i % ZW_LANES] + x[i];
	}
	return lanes_total(s);
}

static void divide(float *x, float s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		x[i] = x[i] / s;
}

const struct zw_prim zw_prim_scalar = {
	.widen = {widen_f32, widen_bf16},
	.narrow = {narrow_f32, narrow_bf16},
	.pack = {pack_f32, pack_bf16},
	.tile = {tile_1, tile_2, tile_3},
	.direct = {{direct_f32_1, direct_f32_2, direct_f32_3},
		   {direct_bf16_1, direct_bf16_2, direct_bf16_3}},
	.epilogue = epilogue,
	.sumsq = sumsq,
	.norm = norm,
	.rope = rope,
	.swiglu = swiglu,
	.add = add,
	.scale = scale,
	.max = max,
	.expsum = expsum,
	.div = divide,
	.weigh = {weigh_1, weigh_2, weigh_3},
};

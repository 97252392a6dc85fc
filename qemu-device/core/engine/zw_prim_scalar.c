// SPDX-License-Identifier: MIT
/* The primitives in plain C: what Documentation/device/numerics.md says, one operation after
 * another. */
#include "zw_k_prim.h"

#include <math.h>
#include <string.h>

#include "zw_f16.h"
#include "zw_k_math.h"
#include "zw_k_quant.h"

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

static void widen_f16(float *dst, const void *src, size_t n)
{
	const uint16_t *s = src;

	for (size_t i = 0; i < n; i++)
		dst[i] = zw_f16_to_f32(s[i]);
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

static void narrow_f16(void *dst, const float *src, size_t n)
{
	uint16_t *d = dst;

	for (size_t i = 0; i < n; i++)
		d[i] = zw_f16_from_f32(src[i]);
}

static inline float load(const void *p, enum zw_store st, size_t i)
{
	if (st == ZW_ST_F32)
		return ((const float *)p)[i];
	return st == ZW_ST_BF16 ? zw_bf16_to_f32(((const uint16_t *)p)[i])
				: zw_f16_to_f32(((const uint16_t *)p)[i]);
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

static void pack_f16(float *dst, unsigned int group, const void *const *rows, unsigned int n_rows,
		     size_t n)
{
	pack(dst, group, rows, n_rows, n, ZW_ST_F16);
}

/*
 * Small shapes that divide nothing evenly, and a short block of K: so the work split and the cutting
 * of sums differ as much as they can from those of the other levels.
 */
#define TILE_ROWS   5
#define TILE_COLS   3
#define BLOCK_K     64
#define DIRECT_ROWS 2
#define DIRECT_COLS 5

static void tile_one(unsigned int rows, const float *a, const float *w, size_t steps, float *lanes,
		     bool resume, float *out, size_t ldo)
{
	for (unsigned int i = 0; i < rows; i++) {
		for (unsigned int j = 0; j < TILE_COLS; j++) {
			float *keep = lanes + (i * TILE_COLS + j) * ZW_LANES;
			float s[ZW_LANES] = {0};

			if (resume)
				memcpy(s, keep, sizeof(s));
			for (size_t k = 0; k < steps; k++) {
				const float *x = a + (k * rows + i) * ZW_LANES;
				const float *y = w + (k * TILE_COLS + j) * ZW_LANES;

				for (int l = 0; l < ZW_LANES; l++)
					s[l] = fmaf(x[l], y[l], s[l]);
			}
			if (out)
				out[i * ldo + j] = zw_lanes_total(s);
			else
				memcpy(keep, s, sizeof(s));
		}
	}
}

static void tile(size_t rows, const float *a, const float *w, size_t steps, float *lanes,
		 bool resume, float *out, size_t ldo)
{
	for (size_t i = 0; i < rows; i += TILE_ROWS)
		tile_one((unsigned int)(rows - i < TILE_ROWS ? rows - i : TILE_ROWS),
			 a + i * steps * ZW_LANES, w, steps,
			 lanes ? lanes + i * TILE_COLS * ZW_LANES : NULL, resume,
			 out ? out + i * ldo : NULL, ldo);
}

static void tiles(unsigned int rows, const float *a, const float *w, size_t steps, size_t strips,
		  float *out, size_t ldo)
{
	for (size_t i = 0; i < strips; i++)
		tile_one(rows, a, w + i * steps * TILE_COLS * ZW_LANES, steps, NULL, false,
			 out + i * TILE_COLS, ldo);
}

static inline void direct(unsigned int rows, const float *a, const void *const *w, enum zw_store st,
			  size_t k, float *out)
{
	for (unsigned int j = 0; j < DIRECT_COLS; j++) {
		for (unsigned int i = 0; i < rows; i++) {
			float s[ZW_LANES] = {0};

			for (size_t c = 0; c < ZW_PAD(k); c++) {
				float y = c < k ? load(w[j], st, c) : 0.0f;
				float x = a[(c / ZW_LANES * rows + i) * ZW_LANES + c % ZW_LANES];

				s[c % ZW_LANES] = fmaf(x, y, s[c % ZW_LANES]);
			}
			out[i * DIRECT_COLS + j] = zw_lanes_total(s);
		}
	}
}

static inline void direct_rows(unsigned int rows, enum zw_store st, const float *a,
			       const struct zw_direct_rows *r)
{
	for (size_t j = 0; j < r->count; j++) {
		const char *w = r->w + j * r->ld;

		for (unsigned int i = 0; i < rows; i++) {
			float s[ZW_LANES] = {0};

			for (size_t c = 0; c < ZW_PAD(r->k); c++) {
				float y = c < r->k ? load(w, st, c) : 0.0f;
				float x = a[(c / ZW_LANES * rows + i) * ZW_LANES + c % ZW_LANES];

				s[c % ZW_LANES] = fmaf(x, y, s[c % ZW_LANES]);
			}
			r->out[i * r->ldo + j] = zw_lanes_total(s);
		}
	}
}

#define DIRECT(rows, st, name)                                                                     \
	static void direct_rows_##rows##_##name(const float *a, struct zw_direct_rows *r)          \
	{                                                                                          \
		direct_rows(rows, st, a, r);                                                       \
	}                                                                                          \
	static void direct_##rows##_##name(const float *a, const void *const *w, size_t k,         \
					   float *out, struct zw_ahead ahead)                      \
	{                                                                                          \
		direct(rows, a, w, st, k, out);                                                    \
	}
DIRECT(1, ZW_ST_F32, f32)
DIRECT(1, ZW_ST_BF16, bf16)
DIRECT(1, ZW_ST_F16, f16)
DIRECT(2, ZW_ST_F32, f32)
DIRECT(2, ZW_ST_BF16, bf16)
DIRECT(2, ZW_ST_F16, f16)

static inline void weigh(unsigned int rows, enum zw_store st, float *acc, size_t lda,
			 const float *p, size_t ldp, const void *v, size_t ldv, size_t keys,
			 size_t n)
{
	for (unsigned int r = 0; r < rows; r++)
		for (size_t j = 0; j < keys; j++)
			for (size_t c = 0; c < n; c++)
				acc[r * lda + c] = fmaf(p[r * ldp + j], load(v, st, j * ldv + c),
							acc[r * lda + c]);
}

static void weigh_f32(unsigned int rows, float *acc, size_t lda, const float *p, size_t ldp,
		      const void *v, size_t ldv, size_t keys, size_t n)
{
	weigh(rows, ZW_ST_F32, acc, lda, p, ldp, v, ldv, keys, n);
}

static void weigh_bf16(unsigned int rows, float *acc, size_t lda, const float *p, size_t ldp,
		       const void *v, size_t ldv, size_t keys, size_t n)
{
	weigh(rows, ZW_ST_BF16, acc, lda, p, ldp, v, ldv, keys, n);
}

static void weigh_f16(unsigned int rows, float *acc, size_t lda, const float *p, size_t ldp,
		      const void *v, size_t ldv, size_t keys, size_t n)
{
	weigh(rows, ZW_ST_F16, acc, lda, p, ldp, v, ldv, keys, n);
}

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
	else if (st == ZW_ST_BF16)
		narrow_bf16(out, v, n);
	else
		narrow_f16(out, v, n);
}

static void sumsq(float s[ZW_LANES], const float *x, size_t n)
{
	for (size_t i = 0; i < ZW_PAD(n); i++)
		s[i % ZW_LANES] = fmaf(x[i], x[i], s[i % ZW_LANES]);
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

static void mul_sigmoid(float *x, const float *g, size_t n)
{
	for (size_t i = 0; i < n; i++)
		x[i] = x[i] * zw_sigmoidf(g[i]);
}

static void conv(float *y, const float *const *in, const float *w, size_t ldw, unsigned int taps,
		 size_t n)
{
	for (size_t c = 0; c < n; c++) {
		float s = 0.0f;

		for (unsigned int i = 0; i < taps; i++)
			s = fmaf(w[i * ldw + c], in[i][c], s);
		y[c] = zw_siluf(s);
	}
}

static void delta(float *s, size_t lds, const float *q, const float *k, size_t d, float alpha,
		  float beta, float *v, size_t n)
{
	for (size_t c = 0; c < n; c++) {
		float m = 0.0f, o = 0.0f, x;

		for (size_t i = 0; i < d; i++) {
			float t = alpha * s[i * lds + c];

			s[i * lds + c] = t;
			m = fmaf(k[i], t, m);
		}
		x = v[c] - m;
		x = beta * x;
		for (size_t i = 0; i < d; i++) {
			s[i * lds + c] = fmaf(k[i], x, s[i * lds + c]);
			o = fmaf(q[i], s[i * lds + c], o);
		}
		v[c] = o;
	}
}

static void add_scaled(float *v, const float *p, float s, const float *w, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		float f = s * w[i];

		v[i] = fmaf(p[i], f, v[i]);
	}
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

static void blend(float *a, float s, const float *b, float t, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		float bt = b[i] * t;

		a[i] = fmaf(a[i], s, bt);
	}
}

static float max(const float *x, size_t n)
{
	float m = -INFINITY;

	for (size_t i = 0; i < n; i++)
		m = x[i] > m ? x[i] : m;
	return m;
}

static void expsum(float s[ZW_LANES], float *x, float m, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		x[i] = zw_expf(x[i] - m);
		s[i % ZW_LANES] = s[i % ZW_LANES] + x[i];
	}
}

static void divide(float *x, float s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		x[i] = x[i] / s;
}

static float scale_max(float *x, float s, float m, size_t n)
{
	float most;

	scale(x, s, n);
	most = max(x, n);
	return most > m ? most : m;
}

const struct zw_prim zw_prim_scalar = {
	.quant = &zw_q_scalar,
	.widen = {widen_f32, widen_bf16, widen_f16},
	.narrow = {narrow_f32, narrow_bf16, narrow_f16},
	.pack = {pack_f32, pack_bf16, pack_f16},
	.tile_rows = TILE_ROWS,
	.tile_unit = 1,
	.tile_cols = TILE_COLS,
	.block_k = BLOCK_K,
	.tile = tile,
	.tiles = tiles,
	.direct_rows = DIRECT_ROWS,
	.direct = {{.fn = {direct_1_f32, direct_1_bf16, direct_1_f16},
		    .block = {direct_rows_1_f32, direct_rows_1_bf16, direct_rows_1_f16},
		    .cols = DIRECT_COLS,
		    .group = 1},
		   {.fn = {direct_2_f32, direct_2_bf16, direct_2_f16},
		    .block = {direct_rows_2_f32, direct_rows_2_bf16, direct_rows_2_f16},
		    .cols = DIRECT_COLS,
		    .group = 2}},
	.epilogue = epilogue,
	.sumsq = sumsq,
	.norm = norm,
	.rope = rope,
	.swiglu = swiglu,
	.mul_sigmoid = mul_sigmoid,
	.conv = conv,
	.delta = delta,
	.add_scaled = add_scaled,
	.add = add,
	.scale = scale,
	.blend = blend,
	.max = max,
	.scale_max = scale_max,
	.expsum = expsum,
	.div = divide,
	.weigh_rows = {3, 2, 2},
	.weigh_cols = 24,
	.weigh = {weigh_f32, weigh_bf16, weigh_f16},
};

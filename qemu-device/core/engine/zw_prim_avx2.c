// SPDX-License-Identifier: MIT
/*
 * The primitives with AVX2 and FMA: one ymm register is the eight lanes of a sum. Only reached
 * after zw_simd_best() has asked the CPU, so the rest of the library stays baseline x86-64.
 */
#if defined(__x86_64__)
#include "zw_k_prim.h"

#include <immintrin.h>
#include <string.h>

#include "zw_bf16.h"
#include "zw_k_math.h"

#define AVX2        __attribute__((target("avx2,fma")))
#define AVX2_INLINE AVX2 __attribute__((always_inline)) static inline

/* How far ahead of the loads a matrix-vector product asks for weights, in bytes of each row. */
#define PREFETCH_BYTES 256

AVX2_INLINE __m256 load8_bf16(const uint16_t *p)
{
	__m256i u = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));

	return _mm256_castsi256_ps(_mm256_slli_epi32(u, 16));
}

AVX2_INLINE __m256 load8(const void *p, enum zw_store st, size_t i)
{
	if (st == ZW_ST_F32)
		return _mm256_loadu_ps((const float *)p + i);
	return load8_bf16((const uint16_t *)p + i);
}

AVX2_INLINE float load1(const void *p, enum zw_store st, size_t i)
{
	return st == ZW_ST_F32 ? ((const float *)p)[i] : zw_bf16_to_f32(((const uint16_t *)p)[i]);
}

/* The first n < 8 of eight elements, the others +0. */
AVX2_INLINE __m256 load_tail(const void *p, enum zw_store st, size_t i, size_t n)
{
	float buf[ZW_LANES] = {0};

	for (size_t j = 0; j < n; j++)
		buf[j] = load1(p, st, i + j);
	return _mm256_loadu_ps(buf);
}

AVX2_INLINE void widen(float *dst, const void *src, size_t n, enum zw_store st)
{
	size_t i;

	for (i = 0; i + ZW_LANES <= n; i += ZW_LANES)
		_mm256_storeu_ps(dst + i, load8(src, st, i));
	if (i < n)
		_mm256_storeu_ps(dst + i, load_tail(src, st, i, n - i));
}

AVX2 static void widen_f32(float *dst, const void *src, size_t n)
{
	widen(dst, src, n, ZW_ST_F32);
}

AVX2 static void widen_bf16(float *dst, const void *src, size_t n)
{
	widen(dst, src, n, ZW_ST_BF16);
}

AVX2_INLINE __m256 canon8(__m256 v)
{
	__m256 nan = _mm256_cmp_ps(v, v, _CMP_UNORD_Q);

	return _mm256_blendv_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32(ZW_F32_NAN)), nan);
}

AVX2_INLINE void store8_bf16(uint16_t *dst, __m256 v)
{
	__m256i u = _mm256_castps_si256(v);
	__m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
	__m256i r = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
	__m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));

	r = _mm256_blendv_epi8(_mm256_srli_epi32(r, 16), _mm256_set1_epi32(ZW_BF16_NAN), nan);
	_mm_storeu_si128((__m128i *)dst, _mm_packus_epi32(_mm256_castsi256_si128(r),
							  _mm256_extracti128_si256(r, 1)));
}

AVX2_INLINE void store8(void *dst, enum zw_store st, size_t i, __m256 v)
{
	if (st == ZW_ST_F32)
		_mm256_storeu_ps((float *)dst + i, canon8(v));
	else
		store8_bf16((uint16_t *)dst + i, v);
}

AVX2_INLINE void store1(void *dst, enum zw_store st, size_t i, float v)
{
	if (st == ZW_ST_F32)
		((float *)dst)[i] = zw_f32_canon(v);
	else
		((uint16_t *)dst)[i] = zw_bf16_from_f32(v);
}

AVX2_INLINE void narrow(void *dst, const float *src, size_t n, enum zw_store st)
{
	size_t i;

	for (i = 0; i + ZW_LANES <= n; i += ZW_LANES)
		store8(dst, st, i, _mm256_loadu_ps(src + i));
	for (; i < n; i++)
		store1(dst, st, i, src[i]);
}

AVX2 static void narrow_f32(void *dst, const float *src, size_t n)
{
	narrow(dst, src, n, ZW_ST_F32);
}

AVX2 static void narrow_bf16(void *dst, const float *src, size_t n)
{
	narrow(dst, src, n, ZW_ST_BF16);
}

AVX2_INLINE void pack(float *dst, unsigned int group, const void *const *rows, unsigned int n_rows,
		      size_t n, enum zw_store st)
{
	size_t step = (size_t)group * ZW_LANES;

	for (unsigned int r = 0; r < group; r++) {
		float *d = dst + r * ZW_LANES;
		size_t i = 0;

		if (r < n_rows) {
			const void *row = rows[r];

			for (; i + ZW_LANES <= n; i += ZW_LANES, d += step)
				_mm256_storeu_ps(d, load8(row, st, i));
			if (i < n)
				_mm256_storeu_ps(d, load_tail(row, st, i, n - i));
		} else {
			for (; i < n; i += ZW_LANES, d += step)
				_mm256_storeu_ps(d, _mm256_setzero_ps());
		}
	}
}

AVX2 static void pack_f32(float *dst, unsigned int group, const void *const *rows,
			  unsigned int n_rows, size_t n)
{
	pack(dst, group, rows, n_rows, n, ZW_ST_F32);
}

AVX2 static void pack_bf16(float *dst, unsigned int group, const void *const *rows,
			   unsigned int n_rows, size_t n)
{
	pack(dst, group, rows, n_rows, n, ZW_ST_BF16);
}

AVX2_INLINE __m128 half_sums(__m256 s)
{
	return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}

/* Totals of four lane vectors: t_i = s_i + s_{i+4}, u = t_{0,1} + t_{2,3}, u_0 + u_1, four at a
 * time. */
AVX2_INLINE __m128 totals4(__m256 a, __m256 b, __m256 c, __m256 d)
{
	__m128 ta = half_sums(a), tb = half_sums(b), tc = half_sums(c), td = half_sums(d);
	__m128 uab = _mm_add_ps(_mm_unpacklo_ps(ta, tb), _mm_unpackhi_ps(ta, tb));
	__m128 ucd = _mm_add_ps(_mm_unpacklo_ps(tc, td), _mm_unpackhi_ps(tc, td));

	return _mm_add_ps(_mm_movelh_ps(uab, ucd), _mm_movehl_ps(ucd, uab));
}

AVX2_INLINE float total(__m256 s)
{
	return _mm_cvtss_f32(totals4(s, s, s, s));
}

AVX2_INLINE void tile(const unsigned int mr, const float *a, const float *w, size_t steps,
		      float *lanes, bool resume, float *out, size_t ldo)
{
	__m256 s[ZW_MR][ZW_NR];

#pragma GCC unroll 3
	for (unsigned int i = 0; i < mr; i++)
#pragma GCC unroll 4
		for (unsigned int j = 0; j < ZW_NR; j++)
			s[i][j] = resume ? _mm256_loadu_ps(lanes + (i * ZW_NR + j) * ZW_LANES)
					 : _mm256_setzero_ps();
	for (size_t k = 0; k < steps; k++) {
		__m256 x[ZW_MR];

#pragma GCC unroll 3
		for (unsigned int i = 0; i < mr; i++)
			x[i] = _mm256_loadu_ps(a + i * ZW_LANES);
#pragma GCC unroll 4
		for (unsigned int j = 0; j < ZW_NR; j++) {
			__m256 y = _mm256_loadu_ps(w + j * ZW_LANES);

#pragma GCC unroll 3
			for (unsigned int i = 0; i < mr; i++)
				s[i][j] = _mm256_fmadd_ps(x[i], y, s[i][j]);
		}
		a += mr * ZW_LANES;
		w += ZW_NR * ZW_LANES;
	}
#pragma GCC unroll 3
	for (unsigned int i = 0; i < mr; i++) {
		if (out) {
			_mm_storeu_ps(out + i * ldo, totals4(s[i][0], s[i][1], s[i][2], s[i][3]));
			continue;
		}
#pragma GCC unroll 4
		for (unsigned int j = 0; j < ZW_NR; j++)
			_mm256_storeu_ps(lanes + (i * ZW_NR + j) * ZW_LANES, s[i][j]);
	}
}

/* Elements c..c+8 of ZW_NR rows of W into the lane sums of mr rows of A. */
AVX2_INLINE void direct_step(const unsigned int mr, __m256 s[ZW_MR][ZW_NR], const float *a,
			     const char *const row[ZW_NR], const enum zw_store st, size_t c)
{
#pragma GCC unroll 4
	for (unsigned int j = 0; j < ZW_NR; j++) {
		__m256 y = load8(row[j], st, c);

#pragma GCC unroll 3
		for (unsigned int i = 0; i < mr; i++)
			s[i][j] = _mm256_fmadd_ps(_mm256_loadu_ps(a + i * ZW_LANES), y, s[i][j]);
	}
}

AVX2_INLINE void direct(const unsigned int mr, const float *a, const void *w,
			const enum zw_store st, size_t ldw, size_t k, float *out, size_t ldo)
{
	const size_t size = st == ZW_ST_F32 ? sizeof(float) : sizeof(uint16_t);
	const size_t line = 64 / size;
	const char *row[ZW_NR];
	__m256 s[ZW_MR][ZW_NR];
	size_t c = 0;

#pragma GCC unroll 4
	for (unsigned int j = 0; j < ZW_NR; j++) {
		row[j] = (const char *)w + j * ldw * size;
#pragma GCC unroll 3
		for (unsigned int i = 0; i < mr; i++)
			s[i][j] = _mm256_setzero_ps();
	}
	while (c + line <= k) {
		/* Beyond the end of a row this is the next one, which the caller takes next. */
#pragma GCC unroll 4
		for (unsigned int j = 0; j < ZW_NR; j++)
			_mm_prefetch(row[j] + c * size + PREFETCH_BYTES, _MM_HINT_T0);
#pragma GCC unroll 4
		for (size_t i = 0; i < line; i += ZW_LANES)
			direct_step(mr, s, a + i * mr, row, st, c + i);
		a += mr * line;
		c += line;
	}
	for (; c + ZW_LANES <= k; c += ZW_LANES, a += mr * ZW_LANES)
		direct_step(mr, s, a, row, st, c);
	if (c < k) {
#pragma GCC unroll 4
		for (unsigned int j = 0; j < ZW_NR; j++) {
			__m256 y = load_tail(row[j], st, c, k - c);

#pragma GCC unroll 3
			for (unsigned int i = 0; i < mr; i++)
				s[i][j] = _mm256_fmadd_ps(_mm256_loadu_ps(a + i * ZW_LANES), y,
							  s[i][j]);
		}
	}
#pragma GCC unroll 3
	for (unsigned int i = 0; i < mr; i++)
		_mm_storeu_ps(out + i * ldo, totals4(s[i][0], s[i][1], s[i][2], s[i][3]));
}

/* acc[r][c..c+8*nv) over all keys, held in registers. */
AVX2_INLINE void weigh_cols(const unsigned int mr, const unsigned int nv, float *acc, size_t lda,
			    const float *p, size_t ldp, const float *v, size_t ldv, size_t keys)
{
	__m256 s[ZW_MR][ZW_NR];

#pragma GCC unroll 3
	for (unsigned int r = 0; r < mr; r++)
#pragma GCC unroll 4
		for (unsigned int c = 0; c < nv; c++)
			s[r][c] = _mm256_loadu_ps(acc + r * lda + c * ZW_LANES);
	for (size_t j = 0; j < keys; j++) {
		__m256 y[ZW_NR];

#pragma GCC unroll 4
		for (unsigned int c = 0; c < nv; c++)
			y[c] = _mm256_loadu_ps(v + j * ldv + c * ZW_LANES);
#pragma GCC unroll 3
		for (unsigned int r = 0; r < mr; r++) {
			__m256 x = _mm256_broadcast_ss(p + r * ldp + j);

#pragma GCC unroll 4
			for (unsigned int c = 0; c < nv; c++)
				s[r][c] = _mm256_fmadd_ps(x, y[c], s[r][c]);
		}
	}
#pragma GCC unroll 3
	for (unsigned int r = 0; r < mr; r++)
#pragma GCC unroll 4
		for (unsigned int c = 0; c < nv; c++)
			_mm256_storeu_ps(acc + r * lda + c * ZW_LANES, s[r][c]);
}

AVX2_INLINE void weigh(const unsigned int mr, float *acc, size_t lda, const float *p, size_t ldp,
		       const float *v, size_t ldv, size_t keys, size_t n)
{
	size_t c;

	for (c = 0; c + ZW_NR * ZW_LANES <= n; c += ZW_NR * ZW_LANES)
		weigh_cols(mr, ZW_NR, acc + c, lda, p, ldp, v + c, ldv, keys);
	for (; c < n; c += ZW_LANES)
		weigh_cols(mr, 1, acc + c, lda, p, ldp, v + c, ldv, keys);
}

#define TILES(mr)                                                                                  \
	AVX2 static void tile_##mr(const float *a, const float *w, size_t steps, float *lanes,     \
				   bool resume, float *out, size_t ldo)                            \
	{                                                                                          \
		tile(mr, a, w, steps, lanes, resume, out, ldo);                                    \
	}                                                                                          \
	AVX2 static void direct_f32_##mr(const float *a, const void *w, size_t ldw, size_t k,      \
					 float *out, size_t ldo)                                   \
	{                                                                                          \
		direct(mr, a, w, ZW_ST_F32, ldw, k, out, ldo);                                     \
	}                                                                                          \
	AVX2 static void direct_bf16_##mr(const float *a, const void *w, size_t ldw, size_t k,     \
					  float *out, size_t ldo)                                  \
	{                                                                                          \
		direct(mr, a, w, ZW_ST_BF16, ldw, k, out, ldo);                                    \
	}                                                                                          \
	AVX2 static void weigh_##mr(float *acc, size_t lda, const float *p, size_t ldp,            \
				    const float *v, size_t ldv, size_t keys, size_t n)             \
	{                                                                                          \
		weigh(mr, acc, lda, p, ldp, v, ldv, keys, n);                                      \
	}
TILES(1)
TILES(2)
TILES(3)

AVX2_INLINE void add_row(float *v, struct zw_row row, size_t n, const enum zw_store st)
{
	size_t i;

	for (i = 0; i + ZW_LANES <= n; i += ZW_LANES)
		_mm256_storeu_ps(v + i,
				 _mm256_add_ps(_mm256_loadu_ps(v + i), load8(row.ptr, st, i)));
	for (; i < n; i++)
		v[i] = v[i] + load1(row.ptr, st, i);
}

AVX2 static void add_any_row(float *v, struct zw_row row, size_t n)
{
	if (row.st == ZW_ST_F32)
		add_row(v, row, n, ZW_ST_F32);
	else
		add_row(v, row, n, ZW_ST_BF16);
}

AVX2 static void epilogue(void *out, enum zw_store st, float *v, struct zw_row bias,
			  struct zw_row residual, size_t n)
{
	if (bias.ptr)
		add_any_row(v, bias, n);
	if (residual.ptr)
		add_any_row(v, residual, n);
	if (st == ZW_ST_F32)
		narrow(out, v, n, ZW_ST_F32);
	else
		narrow(out, v, n, ZW_ST_BF16);
}

AVX2 static float sumsq(const float *x, size_t n)
{
	__m256 s = _mm256_setzero_ps();

	for (size_t i = 0; i < n; i += ZW_LANES) {
		__m256 v = _mm256_loadu_ps(x + i);

		s = _mm256_fmadd_ps(v, v, s);
	}
	return total(s);
}

AVX2 static void norm(float *y, const float *x, const float *w, float r, bool w1, size_t n)
{
	__m256 one = _mm256_set1_ps(1.0f), rv = _mm256_set1_ps(r);
	size_t i;

	for (i = 0; i + ZW_LANES <= n; i += ZW_LANES) {
		__m256 g = _mm256_loadu_ps(w + i);

		if (w1)
			g = _mm256_add_ps(g, one);
		_mm256_storeu_ps(y + i,
				 _mm256_mul_ps(g, _mm256_mul_ps(_mm256_loadu_ps(x + i), rv)));
	}
	for (; i < n; i++) {
		float g = w1 ? w[i] + 1.0f : w[i];
		float t = x[i] * r;

		y[i] = g * t;
	}
}

AVX2 static void rope(float *x1, float *x2, const float *cos_row, const float *sin_row, size_t n)
{
	size_t i;

	for (i = 0; i + ZW_LANES <= n; i += ZW_LANES) {
		__m256 a = _mm256_loadu_ps(x1 + i), b = _mm256_loadu_ps(x2 + i);
		__m256 c = _mm256_loadu_ps(cos_row + i), s = _mm256_loadu_ps(sin_row + i);

		_mm256_storeu_ps(x1 + i, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)));
		_mm256_storeu_ps(x2 + i, _mm256_fmadd_ps(b, c, _mm256_mul_ps(a, s)));
	}
	for (; i < n; i++) {
		float a = x1[i], b = x2[i], c = cos_row[i], s = sin_row[i];
		float bs = b * s, as = a * s;

		x1[i] = fmaf(a, c, -bs);
		x2[i] = fmaf(b, c, as);
	}
}

/* zw_expf() eight at a time, operation for operation. */
AVX2_INLINE __m256 exp8(__m256 x)
{
	const __m256 magic = _mm256_set1_ps(ZW_EXP_MAGIC);
	const __m256i bias = _mm256_set1_epi32(127);
	__m256 t, n, r, p;
	__m256i i, lo, hi;

	/* min and max give their second operand when there is a NaN. */
	x = _mm256_min_ps(_mm256_set1_ps(ZW_EXP_HI), x);
	x = _mm256_max_ps(_mm256_set1_ps(ZW_EXP_LO), x);
	t = _mm256_fmadd_ps(x, _mm256_set1_ps(ZW_EXP_LOG2E), magic);
	n = _mm256_sub_ps(t, magic);
	r = _mm256_fmadd_ps(n, _mm256_set1_ps(-ZW_EXP_LN2_HI), x);
	r = _mm256_fmadd_ps(n, _mm256_set1_ps(-ZW_EXP_LN2_LO), r);
	p = _mm256_fmadd_ps(_mm256_set1_ps(ZW_EXP_C5), r, _mm256_set1_ps(ZW_EXP_C4));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(ZW_EXP_C3));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(ZW_EXP_C2));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(ZW_EXP_C1));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(ZW_EXP_C0));
	p = _mm256_fmadd_ps(p, _mm256_mul_ps(r, r), r);
	p = _mm256_add_ps(p, _mm256_set1_ps(1.0f));
	i = _mm256_sub_epi32(_mm256_castps_si256(t), _mm256_castps_si256(magic));
	lo = _mm256_srai_epi32(i, 1);
	hi = _mm256_sub_epi32(i, lo);
	lo = _mm256_slli_epi32(_mm256_add_epi32(lo, bias), 23);
	hi = _mm256_slli_epi32(_mm256_add_epi32(hi, bias), 23);
	p = _mm256_mul_ps(p, _mm256_castsi256_ps(lo));
	return _mm256_mul_ps(p, _mm256_castsi256_ps(hi));
}

AVX2 static void swiglu(float *g, const float *u, size_t n)
{
	const __m256 one = _mm256_set1_ps(1.0f), sign = _mm256_set1_ps(-0.0f);
	size_t i;

	for (i = 0; i + ZW_LANES <= n; i += ZW_LANES) {
		__m256 x = _mm256_loadu_ps(g + i);
		__m256 e = _mm256_add_ps(one, exp8(_mm256_xor_ps(x, sign)));

		_mm256_storeu_ps(g + i, _mm256_mul_ps(_mm256_div_ps(x, e), _mm256_loadu_ps(u + i)));
	}
	for (; i < n; i++)
		g[i] = zw_siluf(g[i]) * u[i];
}

AVX2 static void add(float *a, const float *b, size_t n)
{
	size_t i;

	for (i = 0; i + ZW_LANES <= n; i += ZW_LANES)
		_mm256_storeu_ps(a + i,
				 _mm256_add_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i)));
	for (; i < n; i++)
		a[i] = a[i] + b[i];
}

AVX2 static void scale(float *x, float s, size_t n)
{
	size_t i;

	for (i = 0; i + ZW_LANES <= n; i += ZW_LANES)
		_mm256_storeu_ps(x + i, _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(s)));
	for (; i < n; i++)
		x[i] = x[i] * s;
}

AVX2 static float max(const float *x, size_t n)
{
	__m256 m = _mm256_set1_ps(-INFINITY);
	float lanes[ZW_LANES], best = -INFINITY;
	size_t i;

	/* A NaN is the first operand here, so the maximum so far survives it. */
	for (i = 0; i + ZW_LANES <= n; i += ZW_LANES)
		m = _mm256_max_ps(_mm256_loadu_ps(x + i), m);
	_mm256_storeu_ps(lanes, m);
	for (int l = 0; l < ZW_LANES; l++)
		best = lanes[l] > best ? lanes[l] : best;
	for (; i < n; i++)
		best = x[i] > best ? x[i] : best;
	return best;
}

AVX2 static float expsum(float *x, float m, size_t n)
{
	__m256 s = _mm256_setzero_ps();
	float lanes[ZW_LANES];
	size_t i;

	for (i = 0; i + ZW_LANES <= n; i += ZW_LANES) {
		__m256 e = exp8(_mm256_sub_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(m)));

		_mm256_storeu_ps(x + i, e);
		s = _mm256_add_ps(s, e);
	}
	_mm256_storeu_ps(lanes, s);
	for (; i < n; i++) {
		x[i] = zw_expf(x[i] - m);
		lanes[i % ZW_LANES] = lanes[i % ZW_LANES] + x[i];
	}
	return total(_mm256_loadu_ps(lanes));
}

AVX2 static void divide(float *x, float s, size_t n)
{
	size_t i;

	for (i = 0; i + ZW_LANES <= n; i += ZW_LANES)
		_mm256_storeu_ps(x + i, _mm256_div_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(s)));
	for (; i < n; i++)
		x[i] = x[i] / s;
}

const struct zw_prim zw_prim_avx2 = {
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
#endif

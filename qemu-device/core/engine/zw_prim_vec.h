/* SPDX-License-Identifier: MIT */
/*
 * The primitives over vectors of VEC_LANES lanes, included once per SIMD level after the header
 * that defines `vec`. A vector of sixteen lanes is two sums of eight side by side: of two rows of
 * A, or of two rows of W; never sixteen lanes of one sum.
 *
 * The includer defines
 *	PRIM_NAME	name of the table
 *	PRIM_QUANT	that of quantised weights
 *	PRIM_BLOCK_K	elements of K at a time
 *	TILE_UNITS	vectors of A in a tile
 *	DIRECT_TABLE	list of DIRECT_ONE and DIRECT(units, cols), by rows of A
 *	WEIGH_VECS(r)	vectors of output columns held at a time for r rows
 */
#include <math.h>

#include "zw_k_quant.h"

#define VEC_GROUPS (VEC_LANES / ZW_LANES) /* rows side by side in a vector */
#define TILE_COLS  4

/* So many registers of sums leave none for a constant. */
#define MANY_SUMS 12

/* How far apart two 64-byte lines are, in elements. */
#define LINE(st) ((st) == ZW_ST_F32 ? 16u : 32u)

/* --- loads and stores of any storage format --- */

#define LOAD_ST(name, type)                                                                        \
	VEC_INLINE type name##_load_st(const void *p, const enum zw_store st, size_t i)            \
	{                                                                                          \
		const float *f = p;                                                                \
		const uint16_t *h = p;                                                             \
                                                                                                   \
		return st == ZW_ST_F32    ? name##_load(f + i)                                     \
		       : st == ZW_ST_BF16 ? name##_load_bf16(h + i)                                \
					  : name##_load_f16(h + i);                                \
	}                                                                                          \
	VEC_INLINE type name##_load_st_n(const void *p, const enum zw_store st, size_t i,          \
					 size_t n)                                                 \
	{                                                                                          \
		const float *f = p;                                                                \
		const uint16_t *h = p;                                                             \
                                                                                                   \
		return st == ZW_ST_F32    ? name##_load_n(f + i, n)                                \
		       : st == ZW_ST_BF16 ? name##_load_bf16_n(h + i, n)                           \
					  : name##_load_f16_n(h + i, n);                           \
	}
LOAD_ST(v8, v8)
LOAD_ST(vec, vec)

VEC_INLINE void widen(float *dst, const void *src, size_t n, const enum zw_store st)
{
	size_t i;

	for (i = 0; i + VEC_LANES <= n; i += VEC_LANES)
		vec_store(dst + i, vec_load_st(src, st, i));
	if (i < n)
		vec_store_n(dst + i, vec_load_st_n(src, st, i, n - i), ZW_PAD(n - i));
}

VEC_INLINE void narrow(void *dst, const float *src, size_t n, const enum zw_store st)
{
	size_t i;

	for (i = 0; i + VEC_LANES <= n; i += VEC_LANES) {
		vec v = vec_load(src + i);

		if (st == ZW_ST_F32)
			vec_store((float *)dst + i, vec_canon(v));
		else if (st == ZW_ST_BF16)
			vec_store_bf16((uint16_t *)dst + i, v);
		else
			vec_store_f16((uint16_t *)dst + i, v);
	}
	if (i < n) {
		vec v = vec_load_n(src + i, n - i);

		if (st == ZW_ST_F32)
			vec_store_n((float *)dst + i, vec_canon(v), n - i);
		else if (st == ZW_ST_BF16)
			vec_store_bf16_n((uint16_t *)dst + i, v, n - i);
		else
			vec_store_f16_n((uint16_t *)dst + i, v, n - i);
	}
}

VEC_INLINE void pack(float *dst, unsigned int group, const void *const *rows, unsigned int n_rows,
		     size_t n, const enum zw_store st)
{
	size_t step = (size_t)group * ZW_LANES;

	for (unsigned int r = 0; r < group; r++) {
		float *d = dst + r * ZW_LANES;
		size_t i = 0;

		if (r < n_rows) {
			const void *row = rows[r];

			for (; i + ZW_LANES <= n; i += ZW_LANES, d += step)
				v8_store(d, v8_load_st(row, st, i));
			if (i < n)
				v8_store(d, v8_load_st_n(row, st, i, n - i));
		} else {
			for (; i < n; i += ZW_LANES, d += step)
				v8_store(d, _mm256_setzero_ps());
		}
	}
}

/* --- product of packed rows --- */

/* Totals of the four sums of every row of a tile. */
VEC_INLINE void tile_out(const unsigned int units, vec s[][TILE_COLS], unsigned int rows,
			 float *out, size_t ldo)
{
	const unsigned int n = units * VEC_GROUPS;
	ZW_UNSET v8 t[8];

#pragma GCC unroll 16
	for (unsigned int r = 0; r + 2 <= n; r += 2) {
		v8 sums;

#pragma GCC unroll 8
		for (unsigned int j = 0; j < 8; j++) {
			unsigned int row = r + j / TILE_COLS;

			t[j] = vec_group(s[row / VEC_GROUPS][j % TILE_COLS], row % VEC_GROUPS);
		}
		sums = v8_totals(t);
		_mm_storeu_ps(out + r * ldo, _mm256_castps256_ps128(sums));
		if (r + 1 < rows)
			_mm_storeu_ps(out + (r + 1) * ldo, _mm256_extractf128_ps(sums, 1));
	}
	if (n % 2)
		_mm_storeu_ps(out + (n - 1) * ldo, v8_totals4(vec_group(s[units - 1][0], 0),
							      vec_group(s[units - 1][1], 0),
							      vec_group(s[units - 1][2], 0),
							      vec_group(s[units - 1][3], 0)));
}

/* @totals: to out; else the sums to lanes. */
VEC_INLINE void tile_units(const unsigned int units, unsigned int rows, const float *a,
			   const float *w, size_t steps, float *lanes, bool resume, bool totals,
			   float *out, size_t ldo)
{
	ZW_UNSET vec s[TILE_UNITS][TILE_COLS];

#pragma GCC unroll 8
	for (unsigned int i = 0; i < units; i++)
#pragma GCC unroll 4
		for (unsigned int j = 0; j < TILE_COLS; j++)
			s[i][j] = resume ? vec_load(lanes + (i * TILE_COLS + j) * VEC_LANES)
					 : vec_zero();
#pragma GCC unroll 4
	for (size_t k = 0; k < steps; k++) {
		ZW_UNSET vec x[TILE_UNITS];

#pragma GCC unroll 8
		for (unsigned int i = 0; i < units; i++)
			x[i] = vec_load(a + i * VEC_LANES);
#pragma GCC unroll 4
		for (unsigned int j = 0; j < TILE_COLS; j++) {
			vec y = vec_repeat(w + j * ZW_LANES);

#pragma GCC unroll 8
			for (unsigned int i = 0; i < units; i++)
				s[i][j] = vec_fma(x[i], y, s[i][j]);
		}
		a += units * VEC_LANES;
		w += TILE_COLS * ZW_LANES;
	}
	if (totals) {
		tile_out(units, s, rows, out, ldo);
		return;
	}
#pragma GCC unroll 8
	for (unsigned int i = 0; i < units; i++)
#pragma GCC unroll 4
		for (unsigned int j = 0; j < TILE_COLS; j++)
			vec_store(lanes + (i * TILE_COLS + j) * VEC_LANES, s[i][j]);
}

VEC_FN static void tile(size_t rows, const float *a, const float *w, size_t steps, float *lanes,
			bool resume, float *out, size_t ldo)
{
	const unsigned int most = TILE_UNITS * VEC_GROUPS;

	for (; rows >= most; rows -= most) {
		tile_units(TILE_UNITS, most, a, w, steps, lanes, resume, out != NULL, out, ldo);
		a += most * steps * ZW_LANES;
		lanes += lanes ? most * TILE_COLS * ZW_LANES : 0;
		out += out ? most * ldo : 0;
	}
	switch ((rows + VEC_GROUPS - 1) / VEC_GROUPS) {
#define TILE_CASE(u)                                                                               \
	case u:                                                                                    \
		tile_units(u, (unsigned int)rows, a, w, steps, lanes, resume, out != NULL, out,    \
			   ldo);                                                                   \
		break
		TILE_CASE(1);
		TILE_CASE(2);
#if TILE_UNITS > 3
		TILE_CASE(3);
		TILE_CASE(4);
		TILE_CASE(5);
		TILE_CASE(6);
#endif
	}
}

VEC_FN static void tiles(unsigned int rows, const float *a, const float *w, size_t steps,
			 size_t strips, float *out, size_t ldo)
{
	switch ((rows + VEC_GROUPS - 1) / VEC_GROUPS) {
#define TILES_CASE(u)                                                                              \
	case u:                                                                                    \
		for (size_t i = 0; i < strips; i++)                                                \
			tile_units(u, rows, a, w + i * steps * TILE_COLS * ZW_LANES, steps, NULL,  \
				   false, true, out + i * TILE_COLS, ldo);                         \
		break
		TILES_CASE(1);
		TILES_CASE(2);
		TILES_CASE(3);
#if TILE_UNITS > 3
		TILES_CASE(4);
		TILES_CASE(5);
		TILES_CASE(6);
#endif
	}
}

/* --- product with W where it lies --- */

VEC_INLINE void ask_ahead(const unsigned int cols, const void *const *w, size_t byte,
			  const struct zw_ahead *ahead, unsigned int *wait)
{
	if (!ahead->step || (*wait)--)
		return;
	*wait = ahead->step - 1;
#pragma GCC unroll 8
	for (unsigned int j = 0; j < cols; j++)
		_mm_prefetch((const char *)w[j] + byte + ahead->bytes, _MM_HINT_T0);
}

/* Eight elements of each row of W, side by side in a vector. */
VEC_INLINE vec direct_join(const void *const *w, const enum zw_store st, size_t c)
{
	return st == ZW_ST_F32    ? vec_join(w, c)
	       : st == ZW_ST_BF16 ? vec_join_bf16(w, c)
				  : vec_join_f16(w, c);
}

/* One row of A: rows of W side by side. */
VEC_INLINE void direct_one(const enum zw_store st, const float *a, const void *const *w, size_t k,
			   float *out, const struct zw_ahead ahead)
{
	enum { COLS = 8, VECS = COLS / VEC_GROUPS };
	const size_t line = LINE(st), size = 64 / line;
	unsigned int wait = ahead.first;
	ZW_UNSET vec s[VECS];
	ZW_UNSET v8 t[COLS];
	size_t c = 0;

#pragma GCC unroll 8
	for (unsigned int j = 0; j < VECS; j++)
		s[j] = vec_zero();
	while (c + line <= k) {
		ask_ahead(COLS, w, c * size, &ahead, &wait);
#pragma GCC unroll 4
		for (size_t i = 0; i < line; i += ZW_LANES) {
			vec x = vec_repeat(a + c + i);

#pragma GCC unroll 8
			for (unsigned int j = 0; j < VECS; j++)
				s[j] = vec_fma(x, direct_join(w + j * VEC_GROUPS, st, c + i), s[j]);
		}
		c += line;
	}
	for (; c < k; c += ZW_LANES) {
		size_t n = k - c < ZW_LANES ? k - c : ZW_LANES;
		vec x = vec_repeat(a + c);

#pragma GCC unroll 8
		for (unsigned int j = 0; j < COLS; j++)
			t[j] = v8_load_st_n(w[j], st, c, n);
#pragma GCC unroll 8
		for (unsigned int j = 0; j < VECS; j++)
			s[j] = vec_fma(x, vec_join_v8(t + j * VEC_GROUPS), s[j]);
	}
#pragma GCC unroll 8
	for (unsigned int j = 0; j < COLS; j++)
		t[j] = vec_group(s[j / VEC_GROUPS], j % VEC_GROUPS);
	v8_store(out, v8_totals(t));
}

/* n <= 8 elements of a row of W in every group of lanes. */
VEC_INLINE vec direct_w(const void *w, const enum zw_store st, size_t c, const size_t n,
			const bool tight)
{
	if (n < ZW_LANES)
		return vec_repeat_v8(v8_load_st_n(w, st, c, n));
	if (st == ZW_ST_F32)
		return vec_repeat((const float *)w + c);
	if (st == ZW_ST_F16)
		return vec_repeat_f16((const uint16_t *)w + c);
	return tight ? vec_repeat_bf16_tight((const uint16_t *)w + c)
		     : vec_repeat_bf16((const uint16_t *)w + c);
}

VEC_INLINE void direct_fma(vec x, vec y, vec *s, const bool tight)
{
	if (tight)
		vec_fma_tight(x, y, *s);
	else
		*s = vec_fma(x, y, *s);
}

/* A step of n elements. Holds the side with fewer rows in registers. */
VEC_INLINE void direct_step(const unsigned int units, const unsigned int cols, vec s[][8],
			    const float *a, const void *const *w, const enum zw_store st, size_t c,
			    const size_t n)
{
	const bool tight = units * cols >= MANY_SUMS;

	if (cols <= units) {
		ZW_UNSET vec y[8];

#pragma GCC unroll 8
		for (unsigned int j = 0; j < cols; j++)
			y[j] = direct_w(w[j], st, c, n, tight);
#pragma GCC unroll 8
		for (unsigned int i = 0; i < units; i++) {
			vec x = vec_load(a + i * VEC_LANES);

			vec_keep(x);
#pragma GCC unroll 8
			for (unsigned int j = 0; j < cols; j++)
				direct_fma(x, y[j], &s[i][j], tight);
		}
	} else {
		ZW_UNSET vec x[8];

#pragma GCC unroll 8
		for (unsigned int i = 0; i < units; i++) {
			x[i] = vec_load(a + i * VEC_LANES);
			vec_keep(x[i]);
		}
#pragma GCC unroll 8
		for (unsigned int j = 0; j < cols; j++) {
			vec y = direct_w(w[j], st, c, n, tight);

#pragma GCC unroll 8
			for (unsigned int i = 0; i < units; i++)
				direct_fma(x[i], y, &s[i][j], tight);
		}
	}
}

/* A little of what is asked for, every time that a line of each of cols rows is read. */
VEC_INLINE void ask_some(const unsigned int cols, struct zw_ask *ask)
{
	if (!ask->step || ask->wait--)
		return;
	ask->wait = ask->step - 1;
#pragma GCC unroll 8
	for (unsigned int j = 0; j < cols; j++)
		_mm_prefetch(ask->at + j * 64, _MM_HINT_T1);
	ask->at += cols * 64;
	if (ask->at >= ask->end) {
		ask->at = ask->end - ask->bytes + ask->ld;
		ask->end += ask->ld;
	}
}

/* Sums of several rows of A, side by side; asks for what ask says, or ahead if that is NULL. */
VEC_INLINE void direct_sums(const unsigned int units, const unsigned int cols,
			    const enum zw_store st, vec s[][8], const float *a,
			    const void *const *w, size_t k, const struct zw_ahead *ahead,
			    struct zw_ask *ask)
{
	const size_t line = LINE(st), size = 64 / line;
	unsigned int wait = ask ? 0 : ahead->first;
	size_t c = 0;

#pragma GCC unroll 8
	for (unsigned int i = 0; i < units; i++)
#pragma GCC unroll 8
		for (unsigned int j = 0; j < cols; j++)
			s[i][j] = vec_zero();
	while (c + line <= k) {
		if (ask)
			ask_some(cols, ask);
		else
			ask_ahead(cols, w, c * size, ahead, &wait);
#pragma GCC unroll 4
		for (size_t i = 0; i < line; i += ZW_LANES)
			direct_step(units, cols, s, a + i * units * VEC_GROUPS, w, st, c + i,
				    ZW_LANES);
		a += line * units * VEC_GROUPS;
		c += line;
	}
	for (; c + ZW_LANES <= k; c += ZW_LANES, a += units * VEC_LANES)
		direct_step(units, cols, s, a, w, st, c, ZW_LANES);
	if (c < k)
		direct_step(units, cols, s, a, w, st, c, k - c);
}

VEC_INLINE void direct_many(const unsigned int rows, const unsigned int cols,
			    const enum zw_store st, const float *a, const void *const *w, size_t k,
			    float *out, const struct zw_ahead ahead)
{
	ZW_UNSET vec s[8][8];

	direct_sums((rows + VEC_GROUPS - 1) / VEC_GROUPS, cols, st, s, a, w, k, &ahead, NULL);
#pragma GCC unroll 8
	for (unsigned int at = 0; at < rows * cols; at += 8) {
		ZW_UNSET v8 t[8];

#pragma GCC unroll 8
		for (unsigned int i = 0; i < 8; i++) {
			unsigned int j = at + i < rows * cols ? at + i : at, row = j / cols;

			t[i] = vec_group(s[row / VEC_GROUPS][j % cols], row % VEC_GROUPS);
		}
		if (rows * cols - at > 4)
			v8_store(out + at, v8_totals(t));
		else
			_mm_storeu_ps(out + at, v8_totals4(t[0], t[1], t[2], t[3]));
	}
}

/* Totals by rows of A; what is written behind the last column, the next ones overwrite. */
VEC_INLINE void direct_totals(const unsigned int rows, const unsigned int cols, vec s[][8],
			      float *out, size_t ldo)
{
	const unsigned int each = cols > 4 ? 1 : 2; /* rows at a time */

#pragma GCC unroll 8
	for (unsigned int r = 0; r < rows; r += each) {
		ZW_UNSET v8 t[8];
		v8 sums;

#pragma GCC unroll 8
		for (unsigned int i = 0; i < 8; i++) {
			unsigned int row = r + i / (8 / each), col = i % (8 / each);

			row = row < rows ? row : r;
			col = col < cols ? col : 0;
			t[i] = vec_group(s[row / VEC_GROUPS][col], row % VEC_GROUPS);
		}
		sums = v8_totals(t);
		if (each == 1) {
			v8_store(out + r * ldo, sums);
			continue;
		}
		_mm_storeu_ps(out + r * ldo, _mm256_castps256_ps128(sums));
		if (r + 1 < rows)
			_mm_storeu_ps(out + (r + 1) * ldo, _mm256_extractf128_ps(sums, 1));
	}
}

/* cols rows of W. Called, not inlined: or the compiler runs out of registers for the sums. */
VEC_INLINE void direct_cols(const unsigned int rows, const unsigned int cols,
			    const enum zw_store st, const float *a, const void *const *w, size_t k,
			    float *out, size_t ldo, struct zw_ask *ask)
{
	struct zw_ask mine = *ask;
	ZW_UNSET vec s[8][8];

	direct_sums((rows + VEC_GROUPS - 1) / VEC_GROUPS, cols, st, s, a, w, k, NULL, &mine);
	*ask = mine;
	direct_totals(rows, cols, s, out, ldo);
}

typedef void direct_cols_fn(const float *a, const void *const *w, size_t k, float *out, size_t ldo,
			    struct zw_ask *ask);

VEC_INLINE void direct_rows(const unsigned int cols, direct_cols_fn *fn, const float *a,
			    struct zw_direct_rows *r)
{
	for (size_t j = 0; j < r->count; j += cols) {
		ZW_UNSET const void *w[8];

		/* Beyond the last row it stands in for those that are not there. */
#pragma GCC unroll 8
		for (unsigned int c = 0; c < cols; c++)
			w[c] = r->w + (j + c < r->count ? j + c : r->count - 1) * r->ld;
		fn(a, w, r->k, r->out + j, r->ldo, &r->ask);
	}
}

VEC_FN static void direct_one_f32(const float *a, const void *const *w, size_t k, float *out,
				  struct zw_ahead ahead)
{
	direct_one(ZW_ST_F32, a, w, k, out, ahead);
}

VEC_FN static void direct_one_bf16(const float *a, const void *const *w, size_t k, float *out,
				   struct zw_ahead ahead)
{
	direct_one(ZW_ST_BF16, a, w, k, out, ahead);
}

VEC_FN static void direct_one_f16(const float *a, const void *const *w, size_t k, float *out,
				  struct zw_ahead ahead)
{
	direct_one(ZW_ST_F16, a, w, k, out, ahead);
}

#define DIRECT_FN_ST(rows, cols, st, name)                                                         \
	VEC_FN static void direct_##rows##_##name(const float *a, const void *const *w, size_t k,  \
						  float *out, struct zw_ahead ahead)               \
	{                                                                                          \
		direct_many(rows, cols, st, a, w, k, out, ahead);                                  \
	}                                                                                          \
	VEC_FN __attribute__((noinline)) static void direct_cols_##rows##_##name(                  \
		const float *a, const void *const *w, size_t k, float *out, size_t ldo,            \
		struct zw_ask *ask)                                                                \
	{                                                                                          \
		direct_cols(rows, cols, st, a, w, k, out, ldo, ask);                               \
	}                                                                                          \
	VEC_FN static void direct_rows_##rows##_##name(const float *a, struct zw_direct_rows *r)   \
	{                                                                                          \
		direct_rows(cols, direct_cols_##rows##_##name, a, r);                              \
	}
#define DIRECT_FN(rows, cols)                                                                      \
	DIRECT_FN_ST(rows, cols, ZW_ST_F32, f32)                                                   \
	DIRECT_FN_ST(rows, cols, ZW_ST_BF16, bf16)                                                 \
	DIRECT_FN_ST(rows, cols, ZW_ST_F16, f16)
DIRECT_TABLE(DIRECT_FN)

/* --- attention: weights times values --- */

/* acc[r][c..c + vecs) over all keys, held in registers; the last vector of n lanes. */
VEC_INLINE void weigh_cols(const unsigned int rows, const unsigned int vecs, const size_t n,
			   const enum zw_store st, float *acc, size_t lda, const float *p,
			   size_t ldp, const char *v, size_t ldv, size_t keys)
{
	ZW_UNSET vec s[ZW_WEIGH_MAX_ROWS][8];

#pragma GCC unroll 4
	for (unsigned int r = 0; r < rows; r++)
#pragma GCC unroll 8
		for (unsigned int c = 0; c < vecs; c++)
			s[r][c] = n < VEC_LANES ? vec_load_n(acc + r * lda, n)
						: vec_load(acc + r * lda + c * VEC_LANES);
	for (size_t j = 0; j < keys; j++) {
		ZW_UNSET vec x[ZW_WEIGH_MAX_ROWS];

#pragma GCC unroll 4
		for (unsigned int r = 0; r < rows; r++) {
			x[r] = vec_set1(p[r * ldp + j]);
			vec_keep(x[r]);
		}
#pragma GCC unroll 8
		for (unsigned int c = 0; c < vecs; c++) {
			vec y = n < VEC_LANES ? vec_load_st_n(v, st, 0, n)
				: rows * vecs < MANY_SUMS || st != ZW_ST_BF16
					? vec_load_st(v, st, c * VEC_LANES)
					: vec_load_bf16_tight((const uint16_t *)(const void *)v +
							      c * VEC_LANES);

#pragma GCC unroll 4
			for (unsigned int r = 0; r < rows; r++)
				s[r][c] = vec_fma(x[r], y, s[r][c]);
		}
		v += ldv;
	}
#pragma GCC unroll 4
	for (unsigned int r = 0; r < rows; r++)
#pragma GCC unroll 8
		for (unsigned int c = 0; c < vecs; c++) {
			if (n < VEC_LANES)
				vec_store_n(acc + r * lda, s[r][c], n);
			else
				vec_store(acc + r * lda + c * VEC_LANES, s[r][c]);
		}
}

VEC_INLINE void weigh_rows(const unsigned int rows, const enum zw_store st, float *acc, size_t lda,
			   const float *p, size_t ldp, const void *v, size_t ldv, size_t keys,
			   size_t n)
{
	const unsigned int vecs = WEIGH_VECS(rows);
	const size_t size = st == ZW_ST_F32 ? 4 : 2;
	const char *at = v;
	size_t c;

	ldv *= size;
	for (c = 0; c + vecs * VEC_LANES <= n; c += vecs * VEC_LANES)
		weigh_cols(rows, vecs, VEC_LANES, st, acc + c, lda, p, ldp, at + c * size, ldv,
			   keys);
	for (; c + VEC_LANES <= n; c += VEC_LANES)
		weigh_cols(rows, 1, VEC_LANES, st, acc + c, lda, p, ldp, at + c * size, ldv, keys);
	if (c < n)
		weigh_cols(rows, 1, n - c, st, acc + c, lda, p, ldp, at + c * size, ldv, keys);
}

VEC_INLINE void weigh(unsigned int rows, const enum zw_store st, float *acc, size_t lda,
		      const float *p, size_t ldp, const void *v, size_t ldv, size_t keys, size_t n)
{
	switch (rows) {
	case 1:
		weigh_rows(1, st, acc, lda, p, ldp, v, ldv, keys, n);
		break;
	case 2:
		weigh_rows(2, st, acc, lda, p, ldp, v, ldv, keys, n);
		break;
	case 3:
		weigh_rows(3, st, acc, lda, p, ldp, v, ldv, keys, n);
		break;
	case 4:
		weigh_rows(4, st, acc, lda, p, ldp, v, ldv, keys, n);
		break;
	}
}

#define EACH_FORMAT(st, name)                                                                      \
	VEC_FN static void widen_##name(float *dst, const void *src, size_t n)                     \
	{                                                                                          \
		widen(dst, src, n, st);                                                            \
	}                                                                                          \
	VEC_FN static void narrow_##name(void *dst, const float *src, size_t n)                    \
	{                                                                                          \
		narrow(dst, src, n, st);                                                           \
	}                                                                                          \
	VEC_FN static void pack_##name(float *dst, unsigned int group, const void *const *rows,    \
				       unsigned int n_rows, size_t n)                              \
	{                                                                                          \
		pack(dst, group, rows, n_rows, n, st);                                             \
	}                                                                                          \
	VEC_FN static void weigh_##name(unsigned int rows, float *acc, size_t lda, const float *p, \
					size_t ldp, const void *v, size_t ldv, size_t keys,        \
					size_t n)                                                  \
	{                                                                                          \
		weigh(rows, st, acc, lda, p, ldp, v, ldv, keys, n);                                \
	}
EACH_FORMAT(ZW_ST_F32, f32)
EACH_FORMAT(ZW_ST_BF16, bf16)
EACH_FORMAT(ZW_ST_F16, f16)

/* --- element by element --- */

/* Every element of x[0, n): v is its vector, tail whether only the first `left` lanes count. */
#define FOR_EACH_VEC(n, i)                                                                         \
	for (size_t i = 0, left = (n); left;                                                       \
	     i += VEC_LANES, left -= left < VEC_LANES ? left : VEC_LANES)
#define LOAD(p) (left < VEC_LANES ? vec_load_n(p, left) : vec_load(p))
#define STORE(p, v)                                                                                \
	do {                                                                                       \
		vec stored = (v);                                                                  \
                                                                                                   \
		if (left < VEC_LANES)                                                              \
			vec_store_n(p, stored, left);                                              \
		else                                                                               \
			vec_store(p, stored);                                                      \
	} while (0)

VEC_INLINE void add_row(float *v, const void *row, size_t n, const enum zw_store st)
{
	FOR_EACH_VEC(n, i)
	STORE(v + i, vec_add(LOAD(v + i), left < VEC_LANES ? vec_load_st_n(row, st, i, left)
							   : vec_load_st(row, st, i)));
}

VEC_FN static void add_any_row(float *v, struct zw_row row, size_t n)
{
	if (row.st == ZW_ST_F32)
		add_row(v, row.ptr, n, ZW_ST_F32);
	else if (row.st == ZW_ST_BF16)
		add_row(v, row.ptr, n, ZW_ST_BF16);
	else
		add_row(v, row.ptr, n, ZW_ST_F16);
}

VEC_FN static void epilogue(void *out, enum zw_store st, float *v, struct zw_row bias,
			    struct zw_row residual, size_t n)
{
	if (bias.ptr)
		add_any_row(v, bias, n);
	if (residual.ptr)
		add_any_row(v, residual, n);
	if (st == ZW_ST_F32)
		narrow(out, v, n, ZW_ST_F32);
	else if (st == ZW_ST_BF16)
		narrow(out, v, n, ZW_ST_BF16);
	else
		narrow(out, v, n, ZW_ST_F16);
}

VEC_FN static void sumsq(float lanes[ZW_LANES], const float *x, size_t n)
{
	v8 s = v8_load(lanes);

	for (size_t i = 0; i < n; i += ZW_LANES) {
		v8 v = v8_load(x + i);

		s = _mm256_fmadd_ps(v, v, s);
	}
	v8_store(lanes, s);
}

VEC_FN static void norm(float *y, const float *x, const float *w, float r, bool w1, size_t n)
{
	vec one = vec_set1(1.0f), rv = vec_set1(r);

	FOR_EACH_VEC(n, i)
	{
		vec g = LOAD(w + i);

		if (w1)
			g = vec_add(g, one);
		STORE(y + i, vec_mul(g, vec_mul(LOAD(x + i), rv)));
	}
}

VEC_FN static void rope(float *x1, float *x2, const float *cos_row, const float *sin_row, size_t n)
{
	FOR_EACH_VEC(n, i)
	{
		vec a = LOAD(x1 + i), b = LOAD(x2 + i), c = LOAD(cos_row + i),
		    s = LOAD(sin_row + i);

		STORE(x1 + i, vec_fms(a, c, vec_mul(b, s)));
		STORE(x2 + i, vec_fma(b, c, vec_mul(a, s)));
	}
}

/* zw_expf() of every lane, operation for operation. */
VEC_INLINE vec vec_exp(vec x)
{
	const vec magic = vec_set1(ZW_EXP_MAGIC);
	vec t, n, r, p;

	x = vec_min(vec_set1(ZW_EXP_HI), x);
	x = vec_max(vec_set1(ZW_EXP_LO), x);
	t = vec_fma(x, vec_set1(ZW_EXP_LOG2E), magic);
	n = vec_sub(t, magic);
	r = vec_fma(n, vec_set1(-ZW_EXP_LN2_HI), x);
	r = vec_fma(n, vec_set1(-ZW_EXP_LN2_LO), r);
	p = vec_fma(vec_set1(ZW_EXP_C5), r, vec_set1(ZW_EXP_C4));
	p = vec_fma(p, r, vec_set1(ZW_EXP_C3));
	p = vec_fma(p, r, vec_set1(ZW_EXP_C2));
	p = vec_fma(p, r, vec_set1(ZW_EXP_C1));
	p = vec_fma(p, r, vec_set1(ZW_EXP_C0));
	p = vec_fma(p, vec_mul(r, r), r);
	p = vec_add(p, vec_set1(1.0f));
	return vec_times_exp2(p, t, magic);
}

VEC_FN static void swiglu(float *g, const float *u, size_t n)
{
	const vec one = vec_set1(1.0f);

	FOR_EACH_VEC(n, i)
	{
		vec x = LOAD(g + i);
		vec e = vec_add(one, vec_exp(vec_neg(x)));

		STORE(g + i, vec_mul(vec_div(x, e), LOAD(u + i)));
	}
}

VEC_FN static void mul_sigmoid(float *x, const float *g, size_t n)
{
	const vec one = vec_set1(1.0f);

	FOR_EACH_VEC(n, i)
	{
		vec e = vec_add(one, vec_exp(vec_neg(LOAD(g + i))));

		STORE(x + i, vec_mul(LOAD(x + i), vec_div(one, e)));
	}
}

VEC_FN static void conv(float *y, const float *const *in, const float *w, size_t ldw,
			unsigned int taps, size_t n)
{
	const vec one = vec_set1(1.0f);

	FOR_EACH_VEC(n, c)
	{
		vec s = vec_zero();

		for (unsigned int i = 0; i < taps; i++)
			s = vec_fma(LOAD(w + i * ldw + c), LOAD(in[i] + c), s);
		STORE(y + c, vec_div(s, vec_add(one, vec_exp(vec_neg(s)))));
	}
}

/* `vecs` vectors of columns, sums in registers; the last vector of n lanes. */
VEC_INLINE void delta_cols(const unsigned int vecs, const size_t n, float *s, size_t lds,
			   const float *q, const float *k, size_t d, float alpha, float beta,
			   float *v)
{
	const vec al = vec_set1(alpha);
	ZW_UNSET vec x[4];
	ZW_UNSET vec o[4];

#pragma GCC unroll 4
	for (unsigned int c = 0; c < vecs; c++)
		x[c] = o[c] = vec_zero();
	for (size_t i = 0; i < d; i++) {
		const float *at = s + i * lds;
		vec ki = vec_set1(k[i]);

#pragma GCC unroll 4
		for (unsigned int c = 0; c < vecs; c++) {
			vec t = n < VEC_LANES ? vec_load_n(at, n) : vec_load(at + c * VEC_LANES);

			x[c] = vec_fma(ki, vec_mul(al, t), x[c]);
		}
	}
#pragma GCC unroll 4
	for (unsigned int c = 0; c < vecs; c++) {
		vec vc = n < VEC_LANES ? vec_load_n(v, n) : vec_load(v + c * VEC_LANES);

		x[c] = vec_mul(vec_set1(beta), vec_sub(vc, x[c]));
	}
	for (size_t i = 0; i < d; i++) {
		float *at = s + i * lds;
		vec ki = vec_set1(k[i]), qi = vec_set1(q[i]);

#pragma GCC unroll 4
		for (unsigned int c = 0; c < vecs; c++) {
			vec t = n < VEC_LANES ? vec_load_n(at, n) : vec_load(at + c * VEC_LANES);

			t = vec_fma(ki, x[c], vec_mul(al, t));
			if (n < VEC_LANES)
				vec_store_n(at, t, n);
			else
				vec_store(at + c * VEC_LANES, t);
			o[c] = vec_fma(qi, t, o[c]);
		}
	}
#pragma GCC unroll 4
	for (unsigned int c = 0; c < vecs; c++) {
		if (n < VEC_LANES)
			vec_store_n(v, o[c], n);
		else
			vec_store(v + c * VEC_LANES, o[c]);
	}
}

VEC_FN static void delta(float *s, size_t lds, const float *q, const float *k, size_t d,
			 float alpha, float beta, float *v, size_t n)
{
	size_t c = 0;

	for (; c + 4 * VEC_LANES <= n; c += 4 * VEC_LANES)
		delta_cols(4, VEC_LANES, s + c, lds, q, k, d, alpha, beta, v + c);
	for (; c + VEC_LANES <= n; c += VEC_LANES)
		delta_cols(1, VEC_LANES, s + c, lds, q, k, d, alpha, beta, v + c);
	if (c < n)
		delta_cols(1, n - c, s + c, lds, q, k, d, alpha, beta, v + c);
}

VEC_FN static void add_scaled(float *v, const float *p, float s, const float *w, size_t n)
{
	FOR_EACH_VEC(n, i)
	STORE(v + i, vec_fma(LOAD(p + i), vec_mul(vec_set1(s), LOAD(w + i)), LOAD(v + i)));
}

VEC_FN static void add(float *a, const float *b, size_t n)
{
	FOR_EACH_VEC(n, i)
	STORE(a + i, vec_add(LOAD(a + i), LOAD(b + i)));
}

VEC_FN static void scale(float *x, float s, size_t n)
{
	FOR_EACH_VEC(n, i)
	STORE(x + i, vec_mul(LOAD(x + i), vec_set1(s)));
}

VEC_FN static void blend(float *a, float s, const float *b, float t, size_t n)
{
	FOR_EACH_VEC(n, i)
	STORE(a + i, vec_fma(LOAD(a + i), vec_set1(s), vec_mul(LOAD(b + i), vec_set1(t))));
}

/* Greatest lane; there is no NaN among them. */
VEC_INLINE float vec_greatest(vec v)
{
	v8 m = vec_group(v, 0);
	__m128 h;

	for (unsigned int g = 1; g < VEC_GROUPS; g++)
		m = _mm256_max_ps(m, vec_group(v, g));
	h = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
	h = _mm_max_ps(h, _mm_movehl_ps(h, h));
	h = _mm_max_ss(h, _mm_movehdup_ps(h));
	return _mm_cvtss_f32(h);
}

VEC_FN static float max(const float *x, size_t n)
{
	const vec least = vec_set1(-INFINITY);
	vec m = least;

	/* A NaN is the first operand here, so the maximum so far survives it. */
	FOR_EACH_VEC(n, i)
	m = vec_max(left < VEC_LANES ? vec_first_n(vec_load_n(x + i, left), least, left)
				     : vec_load(x + i),
		    m);
	return vec_greatest(m);
}

VEC_FN static float scale_max(float *x, float s, float m, size_t n)
{
	const vec least = vec_set1(-INFINITY), factor = vec_set1(s);
	vec most = vec_set1(m);

	FOR_EACH_VEC(n, i)
	{
		vec z = vec_mul(LOAD(x + i), factor);

		STORE(x + i, z);
		most = vec_max(left < VEC_LANES ? vec_first_n(z, least, left) : z, most);
	}
	return vec_greatest(most);
}

VEC_FN static void expsum(float lanes[ZW_LANES], float *x, float m, size_t n)
{
	v8 s = v8_load(lanes);

	FOR_EACH_VEC(n, i)
	{
		vec e = vec_exp(vec_sub(LOAD(x + i), vec_set1(m)));

		STORE(x + i, e);
		if (left < VEC_LANES) /* a sum is never -0: adding +0 changes nothing */
			e = vec_first_n(e, vec_zero(), left);
		for (unsigned int g = 0; g < VEC_GROUPS; g++)
			s = _mm256_add_ps(s, vec_group(e, g));
	}
	v8_store(lanes, s);
}

VEC_FN static void divide(float *x, float s, size_t n)
{
	FOR_EACH_VEC(n, i)
	STORE(x + i, vec_div(LOAD(x + i), vec_set1(s)));
}

#define DIRECT_ENTRY(rows, cols_)                                                                  \
	[(rows)-1] = {                                                                             \
		.fn = {direct_##rows##_f32, direct_##rows##_bf16, direct_##rows##_f16},            \
		.block = {direct_rows_##rows##_f32, direct_rows_##rows##_bf16,                     \
			  direct_rows_##rows##_f16},                                               \
		.cols = (cols_),                                                                   \
		.group = ((rows) + VEC_GROUPS - 1) / VEC_GROUPS * VEC_GROUPS,                      \
	},

const struct zw_prim PRIM_NAME = {
	.quant = &PRIM_QUANT,
	.widen = {widen_f32, widen_bf16, widen_f16},
	.narrow = {narrow_f32, narrow_bf16, narrow_f16},
	.pack = {pack_f32, pack_bf16, pack_f16},
	.tile_rows = TILE_UNITS * VEC_GROUPS,
	.tile_unit = VEC_GROUPS,
	.tile_cols = TILE_COLS,
	.block_k = PRIM_BLOCK_K,
	.tile = tile,
	.tiles = tiles,
	.direct_rows = DIRECT_ROWS,
	.direct = {[0] = {.fn = {direct_one_f32, direct_one_bf16, direct_one_f16},
			  .cols = 8,
			  .group = 1},
		   DIRECT_TABLE(DIRECT_ENTRY)},
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
	.weigh_rows = {WEIGH_ROWS, ZW_WEIGH_MAX_ROWS, WEIGH_ROWS},
	.weigh_cols = 4 * VEC_LANES,
	.weigh = {weigh_f32, weigh_bf16, weigh_f16},
};

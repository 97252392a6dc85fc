// SPDX-License-Identifier: MIT
/* Quantised matrices: what they consist of, and the scales of their rows as F32. */
#include "zw_k_quant.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "zhenwu/zw_types.h"
#include "zw_k_check.h"
#include "zw_small_float.h"

static int format_of(uint32_t dtype, bool zero, enum zw_q_format *f)
{
	switch (dtype) {
	case ZW_DTYPE_I8:
		*f = zero ? ZW_Q_I8Z : ZW_Q_I8;
		return 0;
	case ZW_DTYPE_I4:
		*f = zero ? ZW_Q_I4Z : ZW_Q_I4;
		return 0;
	case ZW_DTYPE_U4:
		*f = zero ? ZW_Q_U4Z : ZW_Q_U4;
		return 0;
	case ZW_DTYPE_F8E4M3:
		*f = ZW_Q_F8E4M3;
		break;
	case ZW_DTYPE_F8E5M2:
		*f = ZW_Q_F8E5M2;
		break;
	case ZW_DTYPE_F4E2M1:
		*f = ZW_Q_F4E2M1;
		break;
#define RECORD(name)                                                                               \
	case ZW_DTYPE_##name:                                                                      \
		*f = ZW_Q_##name;                                                                  \
		break;
		ZW_Q_RECORDS(RECORD)
#undef RECORD
	default:
		return -EOPNOTSUPP;
	}
	return zero ? -EINVAL : 0;
}

static bool scale_type(uint32_t dtype)
{
	const uint64_t types = ZW_DT_FLOAT | ZW_DT(F8E4M3) | ZW_DT(E8M0);

	return dtype < 64 && types >> dtype & 1;
}

static bool zero_type(uint32_t dtype)
{
	const uint64_t types = ZW_DT_FLOAT | ZW_DT(I8) | ZW_DT(U8) | ZW_DT(I4) | ZW_DT(U4);

	return dtype < 64 && types >> dtype & 1;
}

static bool aligned(const struct zw_k_scales *s)
{
	return (uintptr_t)s->ptr % zw_dtype_block_bytes(s->dtype) == 0 &&
	       s->ld % zw_dtype_block_elements(s->dtype) == 0;
}

int zw_q_matrix(struct zw_q_matrix *q, uint32_t dtype, const struct zw_k_quant *quant, uint32_t k)
{
	const struct zw_k_scales *s = &quant->scale, *z = &quant->zero;
	enum zw_store st;
	int err;

	memset(q, 0, sizeof(*q));
	if (!zw_store_of(dtype, &st))
		return s->ptr || z->ptr || quant->scale2 ? -EINVAL : 0;
	err = format_of(dtype, z->ptr, &q->format);
	if (err)
		return err;
	q->used = true;
	q->block = zw_dtype_block_elements(dtype);
	q->block_bytes = zw_dtype_block_bytes(dtype);
	if (k % q->block)
		return -EINVAL;
	if (q->format >= ZW_Q_FIRST_RECORD) {
		q->scale.group = UINT32_MAX;
		return s->ptr || quant->scale2 ? -EINVAL : 0;
	}
	if (!s->ptr || !s->rows || !s->group || (z->ptr && (!z->rows || z->group != s->group)))
		return -EINVAL;
	if (!scale_type(s->dtype) || (z->ptr && !zero_type(z->dtype)))
		return -EOPNOTSUPP;
	if (!aligned(s) || (z->ptr && !aligned(z)) || (uintptr_t)quant->scale2 % sizeof(float))
		return -EINVAL;
	q->scale = *s;
	q->zero = *z;
	q->row0 = quant->row0;
	q->scaled2 = quant->scale2;
	if (q->scaled2) /* once: a guest may change it meanwhile */
		memcpy(&q->scale2, quant->scale2, sizeof(q->scale2));
	return 0;
}

/* Groups that k elements from element k0 on have to do with. */
static size_t groups_of(const struct zw_q_matrix *q, uint32_t k0, uint32_t k)
{
	if (q->format >= ZW_Q_FIRST_RECORD || !k)
		return 0;
	return (k0 + k - 1) / q->scale.group - k0 / q->scale.group + 1;
}

size_t zw_q_scale_floats(const struct zw_q_matrix *q, uint32_t k)
{
	/* One more where a piece begins inside of a group. */
	return q->format >= ZW_Q_FIRST_RECORD ? 0 : 2 * ZW_PAD(k / q->scale.group + 2ull);
}

/* n elements of scales or zero points from element `at` on. */
static void widen_from(float *dst, const struct zw_prim *prim, const struct zw_k_scales *s,
		       uint64_t at, size_t n)
{
	static const float one = 1.0f;
	const uint8_t *p = s->ptr;
	struct zw_q_row all = {.ptr = p + at, .scale = &one};
	enum zw_store st;

	if (!zw_store_of(s->dtype, &st)) {
		prim->widen[st](dst, p + at * zw_store_size(st), n);
		return;
	}
	switch (s->dtype) {
	case ZW_DTYPE_F8E4M3:
		if (n)
			prim->quant->dequant[ZW_Q_F8E4M3](dst, ZW_LANES, &all, 0, n, n);
		break;
	case ZW_DTYPE_I8:
		if (n)
			prim->quant->dequant[ZW_Q_I8](dst, ZW_LANES, &all, 0, n, n);
		break;
	case ZW_DTYPE_E8M0:
		for (size_t i = 0; i < n; i++) { /* zw_e8m0_to_f32() without branches */
			uint32_t x = p[at + i], bits = x ? x << 23 : 1u << 22;

			bits |= x == 255 ? 1u << 22 : 0;
			memcpy(dst + i, &bits, sizeof(bits));
		}
		break;
	case ZW_DTYPE_U8:
		for (size_t i = 0; i < n; i++)
			dst[i] = (float)p[at + i];
		break;
	default: /* I4, U4 */
		if (n && at % 2 == 0) {
			/* Whole bytes: the row has room. */
			all.ptr = p + at / 2;
			n += n % 2;
			prim->quant->dequant[s->dtype == ZW_DTYPE_I4 ? ZW_Q_I4 : ZW_Q_U4](
				dst, ZW_LANES, &all, 0, n, n);
			break;
		}
		for (size_t i = 0; i < n; i++, at++) {
			int v = p[at / 2] >> at % 2 * 4 & 15;

			dst[i] = (float)(s->dtype == ZW_DTYPE_I4 ? (v ^ 8) - 8 : v);
		}
		break;
	}
}

static void widen(float *dst, const struct zw_prim *prim, const struct zw_k_scales *s, uint64_t row,
		  uint64_t first, size_t n)
{
	widen_from(dst, prim, s, row / s->rows * s->ld + first, n);
}

struct zw_q_row zw_q_row_at(const struct zw_q_matrix *q, const struct zw_prim *prim,
			    const char *ptr, uint64_t row, uint32_t k0, uint32_t k, float *scratch,
			    size_t *phase)
{
	struct zw_q_row r = {.ptr = (const uint8_t *)ptr + zw_q_bytes(q, k0), .scale = scratch};
	size_t n = groups_of(q, k0, k);

	*phase = k0 % q->scale.group;
	if (!n)
		return r;
	widen(scratch, prim, &q->scale, q->row0 + row, k0 / q->scale.group, n);
	if (q->scaled2)
		for (size_t i = 0; i < n; i++)
			scratch[i] = scratch[i] * q->scale2;
	if (q->zero.ptr) {
		r.zero = scratch + ZW_PAD(n);
		widen(scratch + ZW_PAD(n), prim, &q->zero, q->row0 + row, k0 / q->scale.group, n);
	}
	return r;
}

/* Rows of W that share a row of scales and, if there are some, of zero points. */
static uint32_t rows_alike(const struct zw_q_matrix *q)
{
	return q->zero.ptr && q->zero.rows != q->scale.rows ? 1 : q->scale.rows;
}

/* Rows of scales that rows row.. of the matrix that these are of have. */
static size_t scale_rows(const struct zw_q_matrix *q, uint64_t row, uint32_t rows)
{
	uint32_t alike = rows_alike(q);

	return (size_t)((row + rows - 1) / alike - row / alike + 1);
}

size_t zw_q_scales_floats(const struct zw_q_matrix *q, uint32_t rows, uint32_t k)
{
	size_t most;

	if (q->format >= ZW_Q_FIRST_RECORD || !rows)
		return 0;
	/* Wherever the rows begin. */
	most = scale_rows(q, rows_alike(q) - 1u, rows);
	return 2 * ZW_PAD(most * groups_of(q, 0, k) + 1);
}

/* So many rows of scales from the one of that row on, each of n elements. */
static void widen_rows(float *dst, const struct zw_prim *prim, const struct zw_k_scales *s,
		       uint64_t row, size_t rows, uint64_t alike, size_t n)
{
	if (alike == s->rows && s->ld == n) {
		widen_from(dst, prim, s, row / alike * n, rows * n);
		return;
	}
	for (size_t i = 0; i < rows; i++) {
		ZW_UNSET float some[ZW_LANES];
		size_t whole = n / ZW_LANES * ZW_LANES;
		uint64_t at = (row / alike + i) * alike / s->rows * s->ld;

		/* Widening fills up the last vector, where the next row may already be. */
		widen_from(dst + i * n, prim, s, at, whole);
		widen_from(some, prim, s, at + whole, n - whole);
		memcpy(dst + i * n + whole, some, (n - whole) * sizeof(*dst));
	}
}

void zw_q_scales_load(struct zw_q_scales *s, const struct zw_q_matrix *q,
		      const struct zw_prim *prim, uint64_t row, uint32_t rows, uint32_t k,
		      float *scratch)
{
	size_t n_rows, n;
	float *zero;

	*s = (struct zw_q_scales){.scale = scratch, .zero = scratch, .rows = 1, .way = ZW_Q_PLAIN};
	if (q->format >= ZW_Q_FIRST_RECORD)
		return;
	row += q->row0;
	s->rows = rows_alike(q);
	s->first = (uint32_t)(row % s->rows);
	s->groups = groups_of(q, 0, k);
	n_rows = scale_rows(q, row, rows);
	n = s->count = n_rows * s->groups;
	zero = scratch + ZW_PAD(n);
	widen_rows(scratch, prim, &q->scale, row, n_rows, s->rows, s->groups);
	if (q->scaled2)
		for (size_t i = 0; i < n; i++)
			scratch[i] = scratch[i] * q->scale2;
	if (q->zero.ptr)
		widen_rows(zero, prim, &q->zero, row, n_rows, s->rows, s->groups);
	s->zero = zero;
}

void zw_q_scales_prepare(struct zw_q_scales *s, const struct zw_q_matrix *q,
			 const struct zw_prim *prim)
{
	if (prim->quant->prepare && q->format < ZW_Q_FIRST_RECORD)
		s->way = prim->quant->prepare(q->format, s->scale, s->zero, s->count);
}

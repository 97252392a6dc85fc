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

static void widen(float *dst, const struct zw_prim *prim, const struct zw_k_scales *s, uint64_t row,
		  uint64_t first, size_t n)
{
	uint64_t at = row / s->rows * s->ld + first;
	const uint8_t *p = s->ptr;
	enum zw_store st;

	if (!zw_store_of(s->dtype, &st)) {
		prim->widen[st](dst, p + at * zw_store_size(st), n);
		return;
	}
	/* Those that there are many of. */
	if (s->dtype == ZW_DTYPE_F8E4M3) {
		static const float one = 1.0f;
		struct zw_q_row all = {.ptr = p + at, .scale = &one};

		if (n)
			prim->quant->dequant[ZW_Q_F8E4M3](dst, &all, 0, n, n);
		return;
	}
	if (s->dtype == ZW_DTYPE_E8M0) {
		for (size_t i = 0; i < n; i++)
			dst[i] = zw_e8m0_to_f32(p[at + i]);
		return;
	}
	if (s->dtype == ZW_DTYPE_I8) {
		for (size_t i = 0; i < n; i++)
			dst[i] = (float)(int8_t)p[at + i];
		return;
	}
	for (size_t i = 0; i < n; i++, at++) {
		switch (s->dtype) {
		case ZW_DTYPE_U8:
			dst[i] = (float)p[at];
			break;
		case ZW_DTYPE_I4:
			dst[i] = (float)(((p[at / 2] >> at % 2 * 4 & 15) ^ 8) - 8);
			break;
		default: /* U4 */
			dst[i] = (float)(p[at / 2] >> at % 2 * 4 & 15);
			break;
		}
	}
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

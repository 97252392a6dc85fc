// SPDX-License-Identifier: MIT
#include "zw_k_check.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "zhenwu/zw_types.h"
#include "zw_simd.h"

static const struct zw_prim *_Atomic override;

void zw_prim_override(const struct zw_prim *prim)
{
	atomic_store(&override, prim);
}

const struct zw_prim *zw_prim_get(void)
{
	const struct zw_prim *prim = atomic_load_explicit(&override, memory_order_acquire);

	if (prim)
		return prim;
#if defined(__x86_64__)
	switch (zw_simd_get()) {
	case ZW_SIMD_AVX512:
		return &zw_prim_avx512;
	case ZW_SIMD_AVX2:
		return &zw_prim_avx2;
	default:
		break;
	}
#endif
	return &zw_prim_scalar;
}

int zw_store_of(uint32_t dtype, enum zw_store *st)
{
	switch (dtype) {
	case ZW_DTYPE_F32:
		*st = ZW_ST_F32;
		return 0;
	case ZW_DTYPE_BF16:
		*st = ZW_ST_BF16;
		return 0;
	case ZW_DTYPE_F16:
		*st = ZW_ST_F16;
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

/* v->size is set. */
static int view_place(struct zw_k_view *v, const void *ptr, uint64_t ld, uint64_t hs, uint32_t rows,
		      uint32_t heads, uint32_t n)
{
	uint64_t row_span, head_span, extent;

	v->rows = rows;
	v->heads = heads;
	v->n = n;
	if (!rows || !heads || !n)
		return 0;
	if (!ptr || (uintptr_t)ptr % v->size)
		return -EINVAL;
	/* A stride that is never taken is not looked at. */
	if (rows == 1)
		ld = 0;
	if (heads == 1)
		hs = 0;
	if (__builtin_mul_overflow(ld, v->size, &v->ld) ||
	    __builtin_mul_overflow(hs, v->size, &v->hs) ||
	    __builtin_mul_overflow(v->ld, rows - 1, &row_span) ||
	    __builtin_mul_overflow(v->hs, heads - 1, &head_span) ||
	    __builtin_add_overflow(row_span, head_span, &extent) ||
	    __builtin_add_overflow(extent, (uint64_t)n * v->size, &extent) ||
	    extent > UINTPTR_MAX - (uintptr_t)ptr)
		return -EINVAL;
	v->ptr = (char *)ptr;
	v->extent = extent;
	return 0;
}

static int view_fill(struct zw_k_view *v, const void *ptr, uint32_t dtype, uint64_t ld, uint64_t hs,
		     uint32_t rows, uint32_t heads, uint32_t n)
{
	int err;

	memset(v, 0, sizeof(*v));
	err = zw_store_of(dtype, &v->st);
	if (err)
		return err;
	v->size = zw_store_size(v->st);
	return view_place(v, ptr, ld, hs, rows, heads, n);
}

int zw_k_view_in(struct zw_k_view *v, const struct zw_k_in *in, uint32_t rows, uint32_t heads,
		 uint32_t n)
{
	return view_fill(v, in->ptr, in->dtype, in->ld, in->hs, rows, heads, n);
}

int zw_k_view_blocks(struct zw_k_view *v, const struct zw_k_in *in, uint32_t rows, uint32_t n)
{
	uint32_t block = zw_dtype_block_elements(in->dtype);
	uint32_t bytes = zw_dtype_block_bytes(in->dtype);

	memset(v, 0, sizeof(*v));
	v->rows = rows;
	v->heads = 1;
	v->n = n;
	if (!rows || !n)
		return 0;
	if (!in->ptr || n % block || (rows > 1 && in->ld % block) ||
	    __builtin_mul_overflow(rows > 1 ? in->ld / block : 0, bytes, &v->ld) ||
	    __builtin_mul_overflow(v->ld, rows - 1, &v->extent) ||
	    __builtin_add_overflow(v->extent, (uint64_t)(n / block) * bytes, &v->extent) ||
	    v->extent > UINTPTR_MAX - (uintptr_t)in->ptr)
		return -EINVAL;
	v->ptr = (char *)in->ptr;
	return 0;
}

/* Bytes from the start of a row to the end of its last head. */
static uint64_t row_width(const struct zw_k_view *v)
{
	return v->hs * (v->heads - 1) + (uint64_t)v->n * v->size;
}

/* An output's rows and heads may not meet each other. */
static int check_apart(const struct zw_k_view *v)
{
	if (!v->extent)
		return 0;
	if (v->heads > 1 && v->hs < (uint64_t)v->n * v->size)
		return -EINVAL;
	return v->rows > 1 && v->ld < row_width(v) ? -EINVAL : 0;
}

int zw_k_view_out(struct zw_k_view *v, const struct zw_k_out *out, uint32_t rows, uint32_t heads,
		  uint32_t n)
{
	int err = view_fill(v, out->ptr, out->dtype, out->ld, out->hs, rows, heads, n);

	return err ? err : check_apart(v);
}

int zw_k_view_bytes_in(struct zw_k_view *v, const struct zw_k_in *in, uint32_t rows, uint32_t heads,
		       uint32_t n)
{
	memset(v, 0, sizeof(*v));
	v->size = 1;
	return view_place(v, in->ptr, in->ld, in->hs, rows, heads, n);
}

int zw_k_view_bytes_out(struct zw_k_view *v, const struct zw_k_out *out, uint32_t rows,
			uint32_t heads, uint32_t n)
{
	int err;

	memset(v, 0, sizeof(*v));
	v->size = 1;
	err = view_place(v, out->ptr, out->ld, out->hs, rows, heads, n);
	return err ? err : check_apart(v);
}

int zw_k_view_array(struct zw_k_view *v, const void *ptr, uint64_t n, uint32_t size)
{
	memset(v, 0, sizeof(*v));
	v->size = size;
	v->rows = 1;
	v->heads = 1;
	if (!n)
		return 0;
	if (!ptr || (uintptr_t)ptr % size || __builtin_mul_overflow(n, size, &v->extent) ||
	    v->extent > UINTPTR_MAX - (uintptr_t)ptr)
		return -EINVAL;
	v->ptr = (char *)ptr;
	return 0;
}

bool zw_k_view_same(const struct zw_k_view *a, const struct zw_k_view *b)
{
	return a->ptr == b->ptr && a->st == b->st && a->ld == b->ld && a->hs == b->hs &&
	       a->rows == b->rows && a->heads == b->heads && a->n == b->n;
}

bool zw_k_view_overlap(const struct zw_k_view *a, const struct zw_k_view *b)
{
	uintptr_t pa = (uintptr_t)a->ptr, pb = (uintptr_t)b->ptr;
	uint64_t stride, wa, wb, off;

	if (!a->extent || !b->extent || pa + a->extent <= pb || pb + b->extent <= pa)
		return false;
	stride = a->ld ? a->ld : b->ld;
	if (!stride || (a->ld && b->ld && a->ld != b->ld))
		return true;
	wa = a->extent - a->ld * (a->rows - 1);
	wb = b->extent - b->ld * (b->rows - 1);
	if (wa > stride || wb > stride)
		return true;
	/* Both repeat every stride bytes: compare their columns. */
	off = pb >= pa ? (pb - pa) % stride : (stride - (pa - pb) % stride) % stride;
	return off < wa || off + wb > stride;
}

int zw_k_view_conflict(const struct zw_k_view *out, const struct zw_k_view *in, bool same_ok)
{
	if (same_ok && zw_k_view_same(out, in))
		return 0;
	return zw_k_view_overlap(out, in) ? -EINVAL : 0;
}

static int bad_index(struct zw_k_fault *fault, uint64_t row, int64_t value)
{
	if (fault) {
		fault->index = row;
		fault->value = value;
	}
	return -ERANGE;
}

int zw_index_copy(int32_t **copy, const int32_t *index, uint32_t rows, int64_t base, uint32_t limit,
		  struct zw_k_fault *fault)
{
	int32_t *c;

	*copy = NULL;
	if (!rows)
		return 0;
	if (!index) {
		if (base < 0 || base >= limit)
			return bad_index(fault, 0, base);
		if (base + rows > limit)
			return bad_index(fault, (uint64_t)(limit - base), limit);
		return 0;
	}
	if ((uintptr_t)index % sizeof(*index))
		return -EINVAL;
	c = malloc((size_t)rows * sizeof(*c));
	if (!c)
		return -ENOMEM;
	memcpy(c, index, (size_t)rows * sizeof(*c));
	for (uint32_t r = 0; r < rows; r++) {
		if (c[r] < 0 || (uint32_t)c[r] >= limit) {
			int err = bad_index(fault, r, c[r]);

			free(c);
			return err;
		}
	}
	*copy = c;
	return 0;
}

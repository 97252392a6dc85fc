/* SPDX-License-Identifier: MIT */
/* Checks of the arguments of kernels, shared by all of them. */
#ifndef ZW_K_CHECK_H
#define ZW_K_CHECK_H

#include <stdbool.h>

#include "zw_k_prim.h"
#include "zw_kernels.h"

/* An operand after the check: everything in bytes. */
struct zw_k_view {
	char *ptr; /* of an input too: the kernels write only through views made by zw_k_view_out() */
	uint64_t ld, hs; /* bytes */
	uint32_t rows, heads, n;
	enum zw_store st;
	uint32_t size;   /* of an element */
	uint64_t extent; /* bytes from ptr to the end of the last element; 0 = empty */
};

static inline char *zw_k_view_at(const struct zw_k_view *v, uint64_t row, uint64_t head)
{
	return v->ptr + row * v->ld + head * v->hs;
}

/* 0 or -EOPNOTSUPP. */
int zw_store_of(uint32_t dtype, enum zw_store *st);

/* Bytes of an element. */
static inline uint32_t zw_store_size(enum zw_store st)
{
	return st == ZW_ST_F32 ? 4 : 2;
}

/* Fill a view of [rows, heads, n]; 0, -EINVAL or -EOPNOTSUPP. hs is looked at only if heads > 1. */
int zw_k_view_in(struct zw_k_view *v, const struct zw_k_in *in, uint32_t rows, uint32_t heads,
		 uint32_t n);
/* The same; also refuses rows or heads that overlap each other. */
int zw_k_view_out(struct zw_k_view *v, const struct zw_k_out *out, uint32_t rows, uint32_t heads,
		  uint32_t n);

/* The same for rows of a type with blocks: st is none, size 0. n and ld are multiples of the block. */
int zw_k_view_blocks(struct zw_k_view *v, const struct zw_k_in *in, uint32_t rows, uint32_t n);

/* The same for elements of a byte, in or out: st is none. */
int zw_k_view_bytes_in(struct zw_k_view *v, const struct zw_k_in *in, uint32_t rows, uint32_t heads,
		       uint32_t n);
int zw_k_view_bytes_out(struct zw_k_view *v, const struct zw_k_out *out, uint32_t rows,
			uint32_t heads, uint32_t n);

/* The same elements at the same place. */
bool zw_k_view_same(const struct zw_k_view *a, const struct zw_k_view *b);

/*
 * Whether two operands share a byte. Columns of one wider matrix do not, although their ranges
 * interleave; for other interleavings the answer errs towards true.
 */
bool zw_k_view_overlap(const struct zw_k_view *a, const struct zw_k_view *b);

/* -EINVAL if out overlaps in, unless it is exactly in and @same_ok. */
int zw_k_view_conflict(const struct zw_k_view *out, const struct zw_k_view *in, bool same_ok);

/* -EINVAL unless the runs cover the rows. */
int zw_k_states_check(const struct zw_k_states *states, uint32_t rows);

/* A contiguous array of n elements of size bytes as a view, for the overlap checks. */
int zw_k_view_array(struct zw_k_view *v, const void *ptr, uint64_t n, uint32_t size);

/*
 * Indices of @rows rows, each in [0, limit): a checked copy of @index in *copy (free() it), so that
 * a guest that changes them while the kernel runs gains nothing; or, if @index is NULL, a check of
 * base + row, and *copy = NULL. 0, -ERANGE with *fault (if not NULL) filled in, -EINVAL, -ENOMEM.
 */
int zw_index_copy(int32_t **copy, const int32_t *index, uint32_t rows, int64_t base, uint32_t limit,
		  struct zw_k_fault *fault);

#endif

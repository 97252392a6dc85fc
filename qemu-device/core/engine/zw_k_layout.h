/* SPDX-License-Identifier: MIT */
/*
 * Kernels that change where data lies: transposition, and copy and fill of rows that are apart. The rules of
 * zw_kernels.h apply.
 */
#ifndef ZW_K_LAYOUT_H
#define ZW_K_LAYOUT_H

#include "zw_kernels.h"

/*
 * dst[c,r] = src[r,c] for src [rows, cols], dst [cols, rows]. Both of one dtype; every bit is kept. No overlap.
 */
struct zw_k_transpose_args {
	uint32_t rows, cols;
	struct zw_k_in src;
	struct zw_k_out dst;
};
int zw_k_transpose(const struct zw_k_transpose_args *args, struct zw_pool *pool);

/* `rows` pieces of `bytes` bytes, strides in bytes and >= bytes. What lies between the rows is not touched. */
struct zw_k_copy_rows_args {
	void *dst;
	const void *src;
	uint64_t bytes, dst_stride, src_stride;
	uint32_t rows;
};
int zw_k_copy_rows(const struct zw_k_copy_rows_args *args, struct zw_pool *pool);

/* The same with a 32-bit pattern that starts anew in each row; bytes a multiple of 4. */
struct zw_k_fill_rows_args {
	void *dst;
	uint64_t bytes, dst_stride;
	uint32_t rows;
	uint32_t pattern;
};
int zw_k_fill_rows(const struct zw_k_fill_rows_args *args, struct zw_pool *pool);

#endif

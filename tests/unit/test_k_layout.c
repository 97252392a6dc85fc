// SPDX-License-Identifier: MIT
/* Kernels that change where data lies, against loops that say the same. */
#include "test_k_util.h"
#include "zw_k_layout.h"

static const unsigned int pools[] = {0, 2, 4};

static void transpose(void **state)
{
	static const struct {
		uint32_t rows, cols;
	} shapes[] = {{1, 1}, {1, 200}, {200, 1}, {64, 64}, {63, 65}, {130, 257}, {0, 5}, {5, 0}};

	for (unsigned int i = 0; i < 8 * 2 * 3; i++) {
		uint32_t rows = shapes[i / 6].rows, cols = shapes[i / 6].cols;
		uint32_t dtype = i & 1 ? ZW_DTYPE_F32 : i & 2 ? ZW_DTYPE_F16 : ZW_DTYPE_BF16;
		uint32_t size = i & 1 ? 4 : 2;
		struct zw_pool *pool = zw_pool_new(pools[i / 2 % 3]);
		uint64_t src_ld = cols + 3ull, dst_ld = rows + 5ull;
		uint8_t *src = malloc(rows * src_ld * size + 1);
		uint8_t *dst = malloc(cols * dst_ld * size + 1);
		struct zw_k_transpose_args args = {
			.rows = rows,
			.cols = cols,
			.src = {.ptr = src, .dtype = dtype, .ld = src_ld},
			.dst = {.ptr = dst, .dtype = dtype, .ld = dst_ld},
		};

		for (uint64_t j = 0; j < rows * src_ld * size; j++)
			src[j] = (uint8_t)(j * 37 + j / 256 * 11);
		memset(dst, 0x5a, cols * dst_ld * size);
		assert_int_equal(zw_k_transpose(&args, pool), 0);
		for (uint64_t c = 0; c < cols; c++)
			for (uint64_t r = 0; r < dst_ld; r++)
				for (uint32_t b = 0; b < size; b++)
					assert_int_equal(dst[(c * dst_ld + r) * size + b],
							 r < rows ? src[(r * src_ld + c) * size + b]
								  : 0x5a);
		free(src);
		free(dst);
		zw_pool_free(pool);
	}
}

static void transpose_refusals(void **state)
{
	static float m[64];
	struct zw_pool *pool = zw_pool_new(0);
	struct zw_k_transpose_args args = {
		.rows = 2,
		.cols = 3,
		.src = {.ptr = m, .dtype = ZW_DTYPE_F32, .ld = 3},
		.dst = {.ptr = m + 32, .dtype = ZW_DTYPE_BF16, .ld = 2},
	};

	assert_int_equal(zw_k_transpose(&args, pool), -EOPNOTSUPP);
	args.dst.dtype = ZW_DTYPE_F32;
	args.dst.ld = 1;
	assert_int_equal(zw_k_transpose(&args, pool), -EINVAL);
	args.dst.ld = 2;
	args.dst.ptr = m + 5;
	assert_int_equal(zw_k_transpose(&args, pool), -EINVAL);
	args.dst.ptr = m + 6;
	assert_int_equal(zw_k_transpose(&args, pool), 0);
	zw_pool_free(pool);
}

static void rows_of_bytes(void **state)
{
	static const struct {
		uint64_t bytes;
		uint32_t rows;
	} shapes[] = {{1, 1},      {3, 1000},   {4, 100000}, {300, 37},
		      {262144, 3}, {262148, 2}, {600004, 2}, {1 << 20, 1}};

	for (unsigned int i = 0; i < 8 * 3; i++) {
		uint64_t bytes = shapes[i / 3].bytes, ss = bytes + 7, ds = bytes + 4;
		uint32_t rows = shapes[i / 3].rows, pattern = 0x89abcdef;
		struct zw_pool *pool = zw_pool_new(pools[i % 3]);
		uint8_t *src = malloc(rows * ss), *dst = malloc(rows * ds);
		struct zw_k_copy_rows_args copy = {.dst = dst,
						   .src = src,
						   .bytes = bytes,
						   .dst_stride = ds,
						   .src_stride = ss,
						   .rows = rows};
		struct zw_k_fill_rows_args fill = {.dst = dst,
						   .bytes = bytes,
						   .dst_stride = ds,
						   .rows = rows,
						   .pattern = pattern};

		for (uint64_t j = 0; j < rows * ss; j++)
			src[j] = (uint8_t)(j * 31 + (j >> 8));
		memset(dst, 0x5a, rows * ds);
		assert_int_equal(zw_k_copy_rows(&copy, pool), 0);
		for (uint64_t r = 0; r < rows; r++) {
			assert_memory_equal(dst + r * ds, src + r * ss, bytes);
			for (uint64_t j = bytes; j < ds; j++)
				assert_int_equal(dst[r * ds + j], 0x5a);
		}
		assert_int_equal(zw_k_fill_rows(&fill, pool), bytes % 4 ? -EINVAL : 0);
		for (uint64_t r = 0; r < rows && bytes % 4 == 0; r++)
			for (uint64_t j = 0; j < ds; j++)
				assert_int_equal(dst[r * ds + j],
						 j < bytes ? ((uint8_t *)&pattern)[j % 4] : 0x5a);
		free(src);
		free(dst);
		zw_pool_free(pool);
	}
}

static void rows_refusals(void **state)
{
	static char m[4096];
	struct zw_pool *pool = zw_pool_new(0);
	struct zw_k_copy_rows_args c = {.dst = m,
					.src = m + 2048,
					.bytes = 64,
					.dst_stride = 63,
					.src_stride = 64,
					.rows = 2};

	assert_int_equal(zw_k_copy_rows(&c, pool), -EINVAL);
	c.dst_stride = UINT64_MAX;
	assert_int_equal(zw_k_copy_rows(&c, pool), -EINVAL);
	c.dst_stride = 2048 - 63;
	assert_int_equal(zw_k_copy_rows(&c, pool), -EINVAL); /* into the source */
	c.dst_stride = 2048 - 64;
	assert_int_equal(zw_k_copy_rows(&c, pool), 0);
	c.rows = 0;
	c.dst = NULL;
	assert_int_equal(zw_k_copy_rows(&c, pool), 0);
	zw_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(transpose),
		cmocka_unit_test(transpose_refusals),
		cmocka_unit_test(rows_of_bytes),
		cmocka_unit_test(rows_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

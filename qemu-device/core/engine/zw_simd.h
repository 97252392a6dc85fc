/* SPDX-License-Identifier: MIT */
/* Which instruction set the kernels use. The choice never changes a result, only its speed. */
#ifndef ZW_SIMD_H
#define ZW_SIMD_H

enum zw_simd {
	ZW_SIMD_SCALAR = 0, /* plain C, fmaf() of the C library */
	ZW_SIMD_AVX2 = 1,   /* x86-64 with AVX2, FMA and F16C */
	ZW_SIMD_AVX512 = 2, /* the same with AVX-512 F, BW and VL */
	ZW_SIMD_COUNT,
};

/* Best level that this CPU and operating system can run. */
enum zw_simd zw_simd_best(void);

/**
 * zw_simd_get - level in use
 *
 * On first use: the best level, or the one named by the environment variable ZW_SIMD ("scalar",
 * "avx2" or "avx512"; anything else, or a level this CPU lacks, is reported on stderr once and ignored).
 * Thread safe.
 */
enum zw_simd zw_simd_get(void);

/**
 * zw_simd_set - choose a level, for tests
 *
 * Takes effect for kernels started later. Returns 0 or -EOPNOTSUPP if the CPU lacks it.
 */
int zw_simd_set(enum zw_simd level);

/* "scalar", "avx2", "avx512"; "?" for anything else. */
const char *zw_simd_name(enum zw_simd level);

#endif

/* SPDX-License-Identifier: MIT */
/* What the kernel tests share: random operands, plain references, and running under every
 * configuration. */
#ifndef TEST_K_UTIL_H
#define TEST_K_UTIL_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "zhenwu/zw_types.h"
#include "zw_f16.h"
#include "zw_k_prim.h"
#include "zw_kernels.h"
#include "zw_simd.h"

extern const struct zw_prim zw_prim_pair; /* simd/zw_prim_pair.c */

#define F32  ZW_DTYPE_F32
#define BF16 ZW_DTYPE_BF16
#define F16  ZW_DTYPE_F16

/* Unit roundoffs: the greatest relative error of one rounding. */
#define U32         0x1p-24
#define UBF16       0x1p-8
#define UF16        0x1p-11
#define U_OF(dtype) ((dtype) == F32 ? U32 : (dtype) == BF16 ? UBF16 : UF16)
/* ... and the greatest error of one that gives a subnormal number. */
#define T_OF(dtype) ((dtype) == F16 ? 0x1p-25 : 0x1p-150)

static uint64_t k_rng_state = 88172645463325252u;

static inline uint32_t k_rng(void)
{
	k_rng_state ^= k_rng_state << 13;
	k_rng_state ^= k_rng_state >> 7;
	k_rng_state ^= k_rng_state << 17;
	return (uint32_t)(k_rng_state >> 16);
}

/* Uniform in [-1, 1). */
static inline float k_uniform(void)
{
	return (float)(int32_t)k_rng() * 0x1p-31f;
}

static inline size_t k_size(uint32_t dtype)
{
	return dtype == F32 ? 4 : 2;
}

/* Of memory of any type, also a variable. */
static inline float k_get(const void *p, uint32_t dtype, size_t i)
{
	uint16_t h;
	float f;

	if (dtype == F32) {
		memcpy(&f, (const char *)p + 4 * i, 4);
		return f;
	}
	memcpy(&h, (const char *)p + 2 * i, 2);
	return dtype == BF16 ? zw_bf16_to_f32(h) : zw_f16_to_f32(h);
}

static inline void k_set(void *p, uint32_t dtype, size_t i, float v)
{
	uint16_t h = dtype == BF16 ? zw_bf16_from_f32(v) : zw_f16_from_f32(v);

	if (dtype == F32)
		memcpy((char *)p + 4 * i, &v, 4);
	else
		memcpy((char *)p + 2 * i, &h, 2);
}

/* An array of exactly count elements (so that ASan sees the next one), filled by uniform numbers.
 */
static inline void *k_array(uint32_t dtype, size_t count)
{
	void *p = malloc(count * k_size(dtype) + (count ? 0 : 1));

	assert_non_null(p);
	for (size_t i = 0; i < count; i++)
		k_set(p, dtype, i, k_uniform());
	return p;
}

/* The eight-lane dot product, written down from the specification. */
static inline float k_dot(const float *x, const float *w, size_t k)
{
	float s[8] = {0}, t[4], u0, u1;

	for (size_t i = 0; i < (k + 7) / 8 * 8; i++)
		s[i % 8] = fmaf(i < k ? x[i] : 0.0f, i < k ? w[i] : 0.0f, s[i % 8]);
	for (int i = 0; i < 4; i++)
		t[i] = s[i] + s[i + 4];
	u0 = t[0] + t[2];
	u1 = t[1] + t[3];
	return u0 + u1;
}

/* Bound of its error: a chain of ceil(k / 8) roundings and three additions, times the sum of
 * magnitudes. */
static inline double k_dot_bound(size_t k, double magnitude)
{
	double n = (double)((k + 7) / 8 + 3);

	return n * U32 / (1 - n * U32) * magnitude + 0x1p-149 * (double)(k + 1);
}

static inline bool k_close(double got, double want, double bound)
{
	return fabs(got - want) <= bound;
}

/*
 * Every table of primitives that runs here: those of the SIMD levels of this CPU, and the sixteen-lane
 * source over pairs of AVX2 registers. Starts with the scalar ones; false when there are no more.
 */
static inline bool k_use_table(int i, const char **name)
{
	int levels = (int)zw_simd_best() + 1;

	zw_prim_override(NULL);
	assert_int_equal(zw_simd_set(i < levels ? (enum zw_simd)i : zw_simd_best()), 0);
	if (i < levels) {
		*name = zw_simd_name((enum zw_simd)i);
		return true;
	}
#if defined(__x86_64__)
	if (i == levels && zw_simd_best() >= ZW_SIMD_AVX2) {
		*name = "avx512 source over avx2";
		zw_prim_override(&zw_prim_pair);
		return true;
	}
#endif
	return false;
}

/*
 * Runs @run(arg, pool) with the scalar primitives in one thread, then with every table of primitives
 * and 1, 2 and 4 workers, and asserts that out (bytes) is the same each time. @reset is called
 * before each run.
 */
static inline void k_all_configs(int (*run)(void *arg, struct zw_pool *pool), void *arg,
				 void (*reset)(void *arg), void *out, size_t bytes)
{
	static struct zw_pool *pools[4];
	static const unsigned int workers[4] = {0, 1, 2, 4};
	void *want = malloc(bytes + 1);
	const char *name;

	assert_non_null(want);
	for (int table = 0; k_use_table(table, &name); table++) {
		for (int i = 0; i < 4; i++) {
			if (!pools[i])
				pools[i] = zw_pool_new(workers[i]);
			assert_non_null(pools[i]);
			if (reset)
				reset(arg);
			assert_int_equal(run(arg, pools[i]), 0);
			if (table == 0 && i == 0)
				memcpy(want, out, bytes);
			else if (memcmp(want, out, bytes))
				fail_msg("bits differ: %s, %u workers", name, workers[i]);
		}
	}
	free(want);
}

#endif

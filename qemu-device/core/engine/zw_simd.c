// SPDX-License-Identifier: MIT
#include "zw_simd.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

static atomic_int current = -1;

static const char *const names[ZW_SIMD_COUNT] = {
	[ZW_SIMD_SCALAR] = "scalar",
	[ZW_SIMD_AVX2] = "avx2",
	[ZW_SIMD_AVX512] = "avx512",
};

const char *zw_simd_name(enum zw_simd level)
{
	return (unsigned int)level < ZW_SIMD_COUNT ? names[level] : "?";
}

#if defined(__x86_64__)
/* Not every compiler's __builtin_cpu_supports() knows it. Uses the registers of AVX. */
static bool has_f16c(void)
{
	unsigned int a, b, c, d;

	return __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
}
#endif

enum zw_simd zw_simd_best(void)
{
#if defined(__x86_64__)
	/* Asks cpuid, and xgetbv whether the operating system saves the registers. */
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c()) {
		if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
		    __builtin_cpu_supports("avx512vl"))
			return ZW_SIMD_AVX512;
		return ZW_SIMD_AVX2;
	}
#endif
	return ZW_SIMD_SCALAR;
}

static enum zw_simd initial_level(void)
{
	const char *env = getenv("ZW_SIMD");
	enum zw_simd best = zw_simd_best();

	if (!env || !*env)
		return best;
	for (int i = 0; i < ZW_SIMD_COUNT; i++) {
		if (strcmp(env, names[i]))
			continue;
		if (i <= (int)best)
			return (enum zw_simd)i;
		fprintf(stderr, "zhenwu: ZW_SIMD=%s: this CPU lacks it, using %s\n", env,
			names[best]);
		return best;
	}
	fprintf(stderr, "zhenwu: ZW_SIMD=%s: unknown level, using %s\n", env, names[best]);
	return best;
}

enum zw_simd zw_simd_get(void)
{
	int level = atomic_load_explicit(&current, memory_order_relaxed);

	if (level < 0) {
		int none = -1;

		level = (int)initial_level();
		if (!atomic_compare_exchange_strong(&current, &none, level))
			level = none;
	}
	return (enum zw_simd)level;
}

int zw_simd_set(enum zw_simd level)
{
	if ((unsigned int)level > (unsigned int)zw_simd_best())
		return -EOPNOTSUPP;
	atomic_store_explicit(&current, (int)level, memory_order_relaxed);
	return 0;
}

// SPDX-License-Identifier: MIT
/* Products of I8 in plain C, and which table is used. */
#include "zw_k_i8.h"

#include <stdatomic.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "zw_simd.h"

static const struct zw_i8 *_Atomic override;

static void pack(void *dst, const int8_t *src, size_t n)
{
	memcpy(dst, src, n);
	memset((char *)dst + n, 0, (0 - n) % ZW_I8_STEP);
}

static inline void dot(unsigned int rows, unsigned int cols, const char *a, size_t lda,
		       const int8_t *const *w, size_t n, float *out)
{
	for (unsigned int i = 0; i < rows; i++) {
		const int8_t *x = (const int8_t *)a + i * lda;

		for (unsigned int j = 0; j < cols; j++) {
			int32_t s = 0;

			for (size_t k = 0; k < n; k++)
				s += x[k] * w[j][k];
			out[i * cols + j] = (float)s;
		}
	}
}

static void dot_1(const char *a, size_t lda, const int8_t *const *w, size_t n, float *out)
{
	dot(1, 1, a, lda, w, n, out);
}

static void dot_2(const char *a, size_t lda, const int8_t *const *w, size_t n, float *out)
{
	dot(2, 3, a, lda, w, n, out);
}

static void dot_4(const char *a, size_t lda, const int8_t *const *w, size_t n, float *out)
{
	dot(4, 1, a, lda, w, n, out);
}

const struct zw_i8 zw_i8_scalar = {
	.name = "scalar",
	.size = 1,
	.pack = pack,
	.dot = {{dot_1, 1, 1}, {dot_2, 2, 3}, {dot_4, 4, 1}},
};

void zw_i8_override(const struct zw_i8 *table)
{
	atomic_store(&override, table);
}

#if defined(__x86_64__)
enum { ASKED = 1, HAS_EVEX = 2, HAS_VEX = 4 };

/* Leaf 7: AVX512_VNNI, and AVX-VNNI in its subleaf 1. Asked once: in a VM it is slow. */
static int vnni(void)
{
	static atomic_int known;
	int v = atomic_load_explicit(&known, memory_order_relaxed);
	unsigned int a, b, c, d;

	if (v)
		return v;
	v = ASKED;
	if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
		v |= c >> 11 & 1 ? HAS_EVEX : 0;
		if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d))
			v |= a >> 4 & 1 ? HAS_VEX : 0;
	}
	atomic_store_explicit(&known, v, memory_order_relaxed);
	return v;
}
#endif

const struct zw_i8 *zw_i8_get(void)
{
	const struct zw_i8 *table = atomic_load_explicit(&override, memory_order_acquire);

	if (table)
		return table;
#if defined(__x86_64__)
	switch (zw_simd_get()) {
	case ZW_SIMD_AVX512:
		/* The level says that the registers may be used. */
		if (vnni() & HAS_EVEX)
			return &zw_i8_vnni_evex;
		return vnni() & HAS_VEX ? &zw_i8_vnni_vex : &zw_i8_avx2;
	case ZW_SIMD_AVX2:
		return vnni() & HAS_VEX ? &zw_i8_vnni_vex : &zw_i8_avx2;
	default:
		break;
	}
#endif
	return &zw_i8_scalar;
}

// SPDX-License-Identifier: MIT
/*
 * Speed of the compute kernels on this host, beside what the machine can do in the same minute.
 *
 *	bench_native [--workers N] [--seconds S] [--json FILE]
 *
 * GFLOP/s of BF16 and F32 matrix products beside the measured FMA peak; GB/s of weights in
 * matrix-vector products beside the measured read bandwidth. A table goes to stdout, JSON to FILE.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "zhenwu/zw_types.h"
#include "zw_bf16.h"
#include "zw_kernels.h"
#include "zw_simd.h"

#define READ_BYTES (256u << 20)

struct ctx {
	struct zw_pool *pool;
	unsigned int workers;
	double seconds; /* per figure */
	FILE *json;
	bool first;
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/*
 * Least seconds of fn(arg), repeated for ctx->seconds, at least three times. The least, for the
 * peaks and for the kernels alike: a neighbour on the cores only ever adds time.
 */
static double best_time(struct ctx *ctx, int (*fn)(struct ctx *, void *), void *arg)
{
	double best = -1, end;

	if (fn(ctx, arg)) /* also warms caches and scratch */
		return -1;
	end = now() + ctx->seconds;
	for (int n = 0; n < 3 || now() < end; n++) {
		double start = now(), t;

		if (fn(ctx, arg))
			return -1;
		t = now() - start;
		best = best < 0 || t < best ? t : best;
	}
	return best;
}

static void report(struct ctx *ctx, const char *name, double value, const char *unit, double peak)
{
	printf("%-34s %9.1f %-8s", name, value, unit);
	if (peak > 0)
		printf(" %5.1f %% of peak", 100 * value / peak);
	printf("\n");
	fflush(stdout);
	if (ctx->json)
		fprintf(ctx->json,
			"%s\n    {\"name\": \"%s\", \"value\": %.3f, \"unit\": \"%s\"%s%.4f}",
			ctx->first ? "" : ",", name, value, unit,
			peak > 0 ? ", \"of_peak\": " : ", \"of_peak\": ",
			peak > 0 ? value / peak : 1.0);
	ctx->first = false;
}

/* --- what the machine can do --- */

#define PEAK_STEPS 2000000
static volatile float sink;

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void fma_avx2(void)
{
	__m256 s[12], x = _mm256_set1_ps(0.9999f), y = _mm256_set1_ps(1e-4f);

	for (int i = 0; i < 12; i++)
		s[i] = _mm256_set1_ps((float)i);
	for (long k = 0; k < PEAK_STEPS; k++)
#pragma GCC unroll 12
		for (int i = 0; i < 12; i++)
			s[i] = _mm256_fmadd_ps(s[i], x, y);
	for (int i = 1; i < 12; i++)
		s[0] = _mm256_add_ps(s[0], s[i]);
	sink = _mm256_cvtss_f32(s[0]);
}

__attribute__((target("avx512f"))) static void fma_avx512(void)
{
	__m512 s[12], x = _mm512_set1_ps(0.9999f), y = _mm512_set1_ps(1e-4f);

	for (int i = 0; i < 12; i++)
		s[i] = _mm512_set1_ps((float)i);
	for (long k = 0; k < PEAK_STEPS; k++)
#pragma GCC unroll 12
		for (int i = 0; i < 12; i++)
			s[i] = _mm512_fmadd_ps(s[i], x, y);
	for (int i = 1; i < 12; i++)
		s[0] = _mm512_add_ps(s[0], s[i]);
	sink = _mm512_cvtss_f32(s[0]);
}
#endif

static int fma_task(void *arg, uint64_t task, unsigned int slot)
{
#if defined(__x86_64__)
	if (*(int *)arg == 16)
		fma_avx512();
	else
		fma_avx2();
#endif
	return 0;
}

static int fma_run(struct ctx *ctx, void *width)
{
	return zw_pool_run(ctx->pool, fma_task, width, ctx->workers);
}

/* GFLOP/s, the better of AVX2 and, where the CPU has it, AVX-512; 0 where this program cannot
 * measure it. */
static double fma_peak(struct ctx *ctx)
{
	double best = 0;
#if defined(__x86_64__)
	if (zw_simd_best() < ZW_SIMD_AVX2)
		return 0;
	for (int width = 8; width <= 16; width += 8) {
		double rate;

		if (width == 16 && !__builtin_cpu_supports("avx512f"))
			break;
		rate = 2.0 * 12 * width * PEAK_STEPS * ctx->workers /
		       best_time(ctx, fma_run, &width) * 1e-9;
		best = rate > best ? rate : best;
	}
#endif
	return best;
}

struct read_job {
	const uint64_t *mem;
	size_t words; /* per task */
	unsigned int tasks;
};

#if defined(__x86_64__)
__attribute__((target("avx2"))) static uint64_t sum_words(const uint64_t *p, size_t words)
{
	__m256i s[4] = {0};

	for (size_t i = 0; i + 16 <= words; i += 16)
#pragma GCC unroll 4
		for (int j = 0; j < 4; j++)
			s[j] = _mm256_add_epi64(
				s[j], _mm256_loadu_si256((const __m256i *)(p + i + 4 * j)));
	s[0] = _mm256_add_epi64(_mm256_add_epi64(s[0], s[1]), _mm256_add_epi64(s[2], s[3]));
	return (uint64_t)_mm256_extract_epi64(s[0], 0);
}
#else
static uint64_t sum_words(const uint64_t *p, size_t words)
{
	uint64_t s = 0;

	for (size_t i = 0; i < words; i++)
		s += p[i];
	return s;
}
#endif

static int read_task(void *arg, uint64_t task, unsigned int slot)
{
	const struct read_job *job = arg;

	sink = (float)sum_words(job->mem + task * job->words, job->words);
	return 0;
}

static int read_run(struct ctx *ctx, void *arg)
{
	return zw_pool_run(ctx->pool, read_task, arg, ((struct read_job *)arg)->tasks);
}

static double read_peak(struct ctx *ctx)
{
	struct read_job job = {.tasks = 16 * ctx->workers};
	uint64_t *mem = malloc(READ_BYTES);
	double t;

	if (!mem)
		return 0;
	memset(mem, 1, READ_BYTES);
	job.mem = mem;
	job.words = READ_BYTES / 8 / job.tasks;
	t = best_time(ctx, read_run, &job);
	free(mem);
	return (double)job.words * job.tasks * 8 / t * 1e-9;
}

/* --- kernels --- */

static void *random_matrix(uint32_t dtype, size_t count)
{
	size_t size = dtype == ZW_DTYPE_F32 ? 4 : 2;
	char *mem = aligned_alloc(64, (count * size + 63) / 64 * 64);
	uint32_t x = 12345;

	if (!mem)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		float f;

		x = x * 1664525u + 1013904223u;
		f = (float)(int32_t)x * 0x1p-31f;
		if (size == 4)
			((float *)(void *)mem)[i] = f;
		else
			((uint16_t *)(void *)mem)[i] = zw_bf16_from_f32(f);
	}
	return mem;
}

static int gemm_run(struct ctx *ctx, void *arg)
{
	return zw_k_gemm(arg, ctx->pool);
}

/* Seconds of one product. */
static double gemm_time(struct ctx *ctx, uint32_t m, uint32_t n, uint32_t k, uint32_t dtype)
{
	struct zw_k_gemm_args args = {
		.m = m,
		.n = n,
		.k = k,
		.a = {.dtype = dtype, .ld = k},
		.w = {.dtype = dtype, .ld = k},
		.c = {.dtype = dtype, .ld = n},
	};
	double t = -1;

	args.a.ptr = random_matrix(dtype, (size_t)m * k);
	args.w.ptr = random_matrix(dtype, (size_t)n * k);
	args.c.ptr = random_matrix(dtype, (size_t)m * n);
	if (args.a.ptr && args.w.ptr && args.c.ptr)
		t = best_time(ctx, gemm_run, &args);
	free((void *)args.a.ptr);
	free((void *)args.w.ptr);
	free(args.c.ptr);
	if (t <= 0) {
		fprintf(stderr, "bench_native: product %ux%ux%u failed\n", m, n, k);
		exit(1);
	}
	return t;
}

static void bench_gemm(struct ctx *ctx, uint32_t m, uint32_t n, uint32_t k, uint32_t dtype,
		       double peak)
{
	char name[64];

	snprintf(name, sizeof(name), "gemm %s %ux%ux%u", dtype == ZW_DTYPE_F32 ? "f32" : "bf16", m,
		 n, k);
	report(ctx, name, 2.0 * m * n * k / gemm_time(ctx, m, n, k, dtype) * 1e-9, "GFLOP/s", peak);
}

static void bench_gemv(struct ctx *ctx, uint32_t m, uint32_t n, uint32_t k, uint32_t dtype,
		       double peak)
{
	double size = dtype == ZW_DTYPE_F32 ? 4 : 2;
	char name[64];

	snprintf(name, sizeof(name), "gemv %s %ux%ux%u", dtype == ZW_DTYPE_F32 ? "f32" : "bf16", m,
		 n, k);
	report(ctx, name, size * n * k / gemm_time(ctx, m, n, k, dtype) * 1e-9, "GB/s", peak);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"workers", required_argument, NULL, 'w'},
		{"seconds", required_argument, NULL, 's'},
		{"json", required_argument, NULL, 'j'},
		{0},
	};
	struct ctx ctx = {.workers = (unsigned int)sysconf(_SC_NPROCESSORS_ONLN),
			  .seconds = 0.5,
			  .first = true};
	double flops, bytes;
	int c;

	while ((c = getopt_long(argc, argv, "w:s:j:", options, NULL)) != -1) {
		switch (c) {
		case 'w':
			ctx.workers = (unsigned int)strtoul(optarg, NULL, 10);
			break;
		case 's':
			ctx.seconds = strtod(optarg, NULL);
			break;
		case 'j':
			ctx.json = fopen(optarg, "w");
			if (!ctx.json) {
				fprintf(stderr, "bench_native: %s: %s\n", optarg, strerror(errno));
				return 1;
			}
			break;
		default:
			fprintf(stderr,
				"usage: bench_native [--workers N] [--seconds S] [--json FILE]\n");
			return 2;
		}
	}
	ctx.pool = zw_pool_new(ctx.workers);
	if (!ctx.pool) {
		fprintf(stderr, "bench_native: pool of %u: %s\n", ctx.workers, strerror(errno));
		return 1;
	}
	ctx.workers = zw_pool_workers(ctx.pool);
	printf("%u workers, %s\n", ctx.workers, zw_simd_name(zw_simd_get()));
	if (ctx.json)
		fprintf(ctx.json, "{\n  \"workers\": %u,\n  \"simd\": \"%s\",\n  \"results\": [",
			ctx.workers, zw_simd_name(zw_simd_get()));

	flops = fma_peak(&ctx);
	report(&ctx, "FMA f32 peak", flops, "GFLOP/s", 0);
	bench_gemm(&ctx, 1024, 1024, 1024, ZW_DTYPE_BF16, flops);
	bench_gemm(&ctx, 1024, 1024, 1024, ZW_DTYPE_F32, flops);
	bench_gemm(&ctx, 512, 3072, 1024, ZW_DTYPE_BF16, flops);
	bench_gemm(&ctx, 128, 3072, 1024, ZW_DTYPE_BF16, flops);
	bench_gemm(&ctx, 128, 1024, 3072, ZW_DTYPE_BF16, flops);
	bench_gemm(&ctx, 32, 3072, 1024, ZW_DTYPE_BF16, flops);
	bench_gemm(&ctx, 8, 3072, 1024, ZW_DTYPE_BF16, flops);
	bytes = read_peak(&ctx);
	report(&ctx, "read bandwidth", bytes, "GB/s", 0);
	bench_gemv(&ctx, 1, 8192, 8192, ZW_DTYPE_BF16, bytes);
	bench_gemv(&ctx, 1, 8192, 8192, ZW_DTYPE_F32, bytes);
	bench_gemv(&ctx, 1, 65536, 1024, ZW_DTYPE_BF16, bytes);
	bench_gemv(&ctx, 2, 8192, 8192, ZW_DTYPE_BF16, bytes);
	bench_gemv(&ctx, 3, 8192, 8192, ZW_DTYPE_BF16, bytes);
	bench_gemv(&ctx, 4, 8192, 8192, ZW_DTYPE_BF16, bytes);

	if (ctx.json) {
		fprintf(ctx.json, "\n  ]\n}\n");
		if (fclose(ctx.json)) {
			fprintf(stderr, "bench_native: writing JSON: %s\n", strerror(errno));
			return 1;
		}
	}
	zw_pool_free(ctx.pool);
	return 0;
}

// SPDX-License-Identifier: MIT
/*
 * Speed of the compute kernels on this host, beside what the machine can do.
 *
 *	bench_native [--workers N] [--seconds S] [--json FILE]
 *
 * GFLOP/s of matrix products beside the FMA peak; GB/s of weights in matrix-vector products beside
 * the read bandwidth. A peak is not measured once but in turns with every kernel, in bursts as long
 * as the kernel's own runs, and of both the best run counts: what else happens on the cores then
 * touches both alike. A table goes to stdout, JSON to FILE.
 */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
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
/* Multiply-adds of one register in a burst of the FMA peak: some 0.2 ms. */
#define FMA_STEPS  100000

struct ctx {
	struct zw_pool *pool;
	unsigned int workers;
	double seconds; /* per figure */
	FILE *json;
	bool first;
};

/* Something to run and time. */
struct load {
	int (*run)(struct ctx *ctx, void *arg);
	void *arg;
	double work; /* floating point operations or bytes of one run */
	double best; /* most work per second seen so far, whole program */
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* Seconds of @times runs. */
static double time_runs(struct ctx *ctx, const struct load *load, unsigned int times)
{
	double start = now();

	for (unsigned int i = 0; i < times; i++) {
		int err = load->run(ctx, load->arg);

		if (err) {
			fprintf(stderr, "bench_native: a kernel failed: %s\n", strerror(-err));
			exit(1);
		}
	}
	return now() - start;
}

static void report(struct ctx *ctx, const char *name, double value, const char *unit, double peak)
{
	printf("%-28s %8.1f", name, value);
	if (peak > 0)
		printf(" of %7.1f %-8s %6.1f %%\n", peak, unit, 100 * value / peak);
	else
		printf("            %s\n", unit);
	fflush(stdout);
	if (!ctx->json)
		return;
	fprintf(ctx->json, "%s\n    {\"name\": \"%s\", \"value\": %.3f, \"unit\": \"%s\"",
		ctx->first ? "" : ",", name, value, unit);
	if (peak > 0)
		fprintf(ctx->json, ", \"peak\": %.3f, \"of_peak\": %.4f", peak, value / peak);
	fprintf(ctx->json, "}");
	ctx->first = false;
}

/* Best rates of a kernel and, in turns with it, of its peak. */
static void measure(struct ctx *ctx, const char *name, const struct load *load, struct load *peak,
		    const char *unit)
{
	double best = 0, best_peak = 0, end, once;
	unsigned int bursts = 1;

	time_runs(ctx, load, 1); /* warms caches and scratch */
	once = time_runs(ctx, load, 1);
	if (peak) {
		double burst = time_runs(ctx, peak, 1);

		bursts = once > burst ? (unsigned int)(once / burst) + 1 : 1;
	}
	end = now() + ctx->seconds;
	for (int n = 0; n < 3 || now() < end; n++) {
		double rate = load->work / time_runs(ctx, load, 1);

		best = rate > best ? rate : best;
		if (!peak)
			continue;
		rate = peak->work * bursts / time_runs(ctx, peak, bursts);
		best_peak = rate > best_peak ? rate : best_peak;
	}
	if (peak && best_peak > peak->best)
		peak->best = best_peak;
	report(ctx, name, best * 1e-9, unit, best_peak * 1e-9);
}

/* --- what the machine can do --- */

static volatile float sink;

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void fma_avx2(void)
{
	__m256 s[12], x = _mm256_set1_ps(0.9999f), y = _mm256_set1_ps(1e-4f);

	for (int i = 0; i < 12; i++)
		s[i] = _mm256_set1_ps((float)i);
	for (long k = 0; k < FMA_STEPS; k++)
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
	for (long k = 0; k < FMA_STEPS; k++)
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

/* The widest FMA of this CPU, if this program knows it; AVX-512 counts although no kernel uses it.
 */
static bool fma_load(struct ctx *ctx, struct load *load)
{
#if defined(__x86_64__)
	static int width;

	if (zw_simd_best() < ZW_SIMD_AVX2)
		return false;
	width = __builtin_cpu_supports("avx512f") ? 16 : 8;
	*load = (struct load){
		.run = fma_run, .arg = &width, .work = 2.0 * 12 * width * FMA_STEPS * ctx->workers};
	return true;
#else
	return false;
#endif
}

struct read_job {
	const uint64_t *mem;
	size_t words; /* per task */
	unsigned int tasks;
};

#if defined(__x86_64__)
__attribute__((target("avx2"))) static uint64_t sum_avx2(const uint64_t *p, size_t words)
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
#endif

static uint64_t sum_words(const uint64_t *p, size_t words)
{
	uint64_t s = 0;

#if defined(__x86_64__)
	if (zw_simd_best() >= ZW_SIMD_AVX2)
		return sum_avx2(p, words);
#endif
	for (size_t i = 0; i < words; i++)
		s += p[i];
	return s;
}

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

/* Reads an array far larger than any cache. */
static void read_load(struct ctx *ctx, struct load *load)
{
	static struct read_job job;
	uint64_t *mem = malloc(READ_BYTES);

	if (!mem) {
		fprintf(stderr, "bench_native: no memory\n");
		exit(1);
	}
	memset(mem, 1, READ_BYTES);
	job.mem = mem;
	job.tasks = 16 * ctx->workers;
	job.words = READ_BYTES / 8 / job.tasks;
	*load = (struct load){
		.run = read_run, .arg = &job, .work = (double)job.words * job.tasks * 8};
}

/* --- kernels --- */

static void *random_matrix(uint32_t dtype, size_t count)
{
	size_t size = dtype == ZW_DTYPE_F32 ? 4 : 2;
	char *mem = aligned_alloc(64, (count * size + 63) / 64 * 64);
	uint32_t x = 12345;

	if (!mem) {
		fprintf(stderr, "bench_native: no memory\n");
		exit(1);
	}
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

/* One product; @bytes: its figure is bytes of weights per second instead of operations. */
static void bench_product(struct ctx *ctx, uint32_t m, uint32_t n, uint32_t k, uint32_t dtype,
			  bool bytes, struct load *peak)
{
	struct zw_k_gemm_args args = {
		.m = m,
		.n = n,
		.k = k,
		.a = {.ptr = random_matrix(dtype, (size_t)m * k), .dtype = dtype, .ld = k},
		.w = {.ptr = random_matrix(dtype, (size_t)n * k), .dtype = dtype, .ld = k},
		.c = {.ptr = random_matrix(dtype, (size_t)m * n), .dtype = dtype, .ld = n},
	};
	struct load load = {.run = gemm_run, .arg = &args};
	char name[64];

	if (bytes)
		load.work = (dtype == ZW_DTYPE_F32 ? 4.0 : 2.0) * n * k;
	else
		load.work = 2.0 * m * n * k;
	snprintf(name, sizeof(name), "%s %s %ux%ux%u", bytes ? "gemv" : "gemm",
		 dtype == ZW_DTYPE_F32 ? "f32" : "bf16", m, n, k);
	measure(ctx, name, &load, peak, bytes ? "GB/s" : "GFLOP/s");
	free((void *)args.a.ptr);
	free((void *)args.w.ptr);
	free(args.c.ptr);
}

static void bench_all(struct ctx *ctx)
{
	static const struct {
		uint32_t m, n, k, dtype;
		bool bytes;
	} products[] = {
		{1024, 1024, 1024, ZW_DTYPE_BF16, false}, {1024, 1024, 1024, ZW_DTYPE_F32, false},
		{512, 3072, 1024, ZW_DTYPE_BF16, false},  {128, 3072, 1024, ZW_DTYPE_BF16, false},
		{128, 1024, 3072, ZW_DTYPE_BF16, false},  {32, 3072, 1024, ZW_DTYPE_BF16, false},
		{8, 3072, 1024, ZW_DTYPE_BF16, false},    {1, 8192, 8192, ZW_DTYPE_BF16, true},
		{1, 8192, 8192, ZW_DTYPE_F32, true},      {1, 65536, 1024, ZW_DTYPE_BF16, true},
		{4, 8192, 8192, ZW_DTYPE_BF16, true},
	};
	struct load flops, bytes;
	bool has_flops = fma_load(ctx, &flops);

	read_load(ctx, &bytes);
	for (size_t i = 0; i < sizeof(products) / sizeof(products[0]); i++)
		bench_product(ctx, products[i].m, products[i].n, products[i].k, products[i].dtype,
			      products[i].bytes,
			      products[i].bytes ? &bytes
			      : has_flops       ? &flops
						: NULL);
	if (has_flops)
		report(ctx, "FMA f32 peak", flops.best * 1e-9, "GFLOP/s", 0);
	report(ctx, "read bandwidth", bytes.best * 1e-9, "GB/s", 0);
	free((void *)((struct read_job *)bytes.arg)->mem);
}

static int usage(void)
{
	fprintf(stderr, "usage: bench_native [--workers N] [--seconds S] [--json FILE]\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"workers", required_argument, NULL, 'w'},
		{"seconds", required_argument, NULL, 's'},
		{"json", required_argument, NULL, 'j'},
		{0},
	};
	struct ctx ctx = {
		.workers = (unsigned int)sysconf(_SC_NPROCESSORS_ONLN),
		.seconds = 0.5,
		.first = true,
	};
	const char *json = NULL;
	int c;

	while ((c = getopt_long(argc, argv, "w:s:j:", options, NULL)) != -1) {
		if (c == 'w')
			ctx.workers = (unsigned int)strtoul(optarg, NULL, 10);
		else if (c == 's')
			ctx.seconds = strtod(optarg, NULL);
		else if (c == 'j')
			json = optarg;
		else
			return usage();
	}
	if (optind < argc)
		return usage();
	ctx.pool = zw_pool_new(ctx.workers);
	if (!ctx.pool) {
		fprintf(stderr, "bench_native: %u workers: %s\n", ctx.workers, strerror(errno));
		return 1;
	}
	ctx.workers = zw_pool_workers(ctx.pool);
	if (json) {
		ctx.json = fopen(json, "w");
		if (!ctx.json) {
			fprintf(stderr, "bench_native: %s: %s\n", json, strerror(errno));
			return 1;
		}
		fprintf(ctx.json, "{\n  \"workers\": %u,\n  \"simd\": \"%s\",\n  \"results\": [",
			ctx.workers, zw_simd_name(zw_simd_get()));
	}
	printf("%u workers, %s\n", ctx.workers, zw_simd_name(zw_simd_get()));
	bench_all(&ctx);
	zw_pool_free(ctx.pool);
	if (ctx.json) {
		fprintf(ctx.json, "\n  ]\n}\n");
		if (fclose(ctx.json)) {
			fprintf(stderr, "bench_native: %s: %s\n", json, strerror(errno));
			return 1;
		}
	}
	return 0;
}

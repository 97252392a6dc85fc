// SPDX-License-Identifier: MIT
/*
 * Speed of the compute kernels on this host, beside what the machine can do.
 *
 *	bench_native [--workers N] [--seconds S] [--only TEXT | --peaks] [--json FILE]
 *
 * GFLOP/s or GB/s of matrix products and of attention beside the bound that their operations at the
 * FMA peak and their bytes at the read bandwidth set, whichever is the lower. The peaks are not
 * measured once but in turns with every kernel, and of all three the best run counts: what else
 * happens on the cores then touches them alike. --only measures the kernels whose line begins with
 * TEXT; --peaks measures none, but the peaks over the whole time instead of the best bursts. A table
 * goes to stdout, JSON to FILE.
 */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "zhenwu/zw_types.h"
#include "zw_bf16.h"
#include "zw_f16.h"
#include "zw_kernels.h"
#include "zw_simd.h"
#include "zw_small_float.h"

#define READ_BYTES (256u << 20)
/* Multiply-adds of one register in a burst of the FMA peak: some 0.2 ms. */
#define FMA_STEPS  100000

struct ctx {
	struct zw_pool *pool;
	unsigned int workers;
	double seconds;                /* per figure */
	const char *only;              /* what names begin with */
	double best_flops, best_bytes; /* of the peaks, whole program */
	double best_copy;              /* B/s that one thread copies to new memory */
	FILE *json;
	bool first;
};

/* Something to run and time. */
struct load {
	int (*run)(struct ctx *ctx, void *arg);
	void *arg;
	double flops, bytes; /* of one run */
};

/* What the machine can do; several ways of reading memory, of which the best counts. */
#define READ_WAYS 3
static struct load fma_peak, read_peak[READ_WAYS];

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
	printf("%-32s %8.1f", name, value);
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

static double max(double a, double b)
{
	return a > b ? a : b;
}

/* The rate of a peak over about @seconds, in units of its @work. */
static double peak_rate(struct ctx *ctx, const struct load *peak, double work, double seconds)
{
	double t = time_runs(ctx, peak, 1);
	unsigned int more = (unsigned int)(seconds / t);

	if (more)
		t = time_runs(ctx, peak, more) / more;
	return work / t;
}

/*
 * A burst of each peak; the best rates of this figure so far in *flops and *bytes. A burst lasts as
 * long as a run of the kernel: of a core that somebody else disturbs every few milliseconds, short
 * bursts would find what no long run can have.
 */
static void measure_peaks(struct ctx *ctx, double seconds, double *flops, double *bytes)
{
	if (fma_peak.run)
		*flops = max(*flops, peak_rate(ctx, &fma_peak, fma_peak.flops, seconds));
	for (int i = 0; i < READ_WAYS; i++)
		*bytes = max(*bytes, peak_rate(ctx, &read_peak[i], read_peak[i].bytes, seconds));
	ctx->best_flops = max(ctx->best_flops, *flops);
	ctx->best_bytes = max(ctx->best_bytes, *bytes);
}

/* Best time of a kernel and, in turns with it, of the peaks. */
static void measure(struct ctx *ctx, const char *name, const struct load *load, bool in_bytes)
{
	double best = 1e30, flops = 0, bytes = 0, end, bound, work;

	time_runs(ctx, load, 2); /* warms scratch */
	end = now() + ctx->seconds;
	for (int n = 0; n < 3 || now() < end; n++) {
		double t = time_runs(ctx, load, 1);

		best = t < best ? t : best;
		measure_peaks(ctx, t, &flops, &bytes);
	}
	/* The time that neither peak lets it go below. */
	bound = max(flops > 0 ? load->flops / flops : 0, load->bytes / bytes);
	work = in_bytes ? load->bytes : load->flops;
	report(ctx, name, work / best * 1e-9, in_bytes ? "GB/s" : "GFLOP/s", work / bound * 1e-9);
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

/* The widest FMA of this CPU, if this program knows it. */
static void fma_load(struct ctx *ctx)
{
#if defined(__x86_64__)
	static int width;

	if (zw_simd_best() < ZW_SIMD_AVX2)
		return;
	width = zw_simd_best() >= ZW_SIMD_AVX512 ? 16 : 8;
	fma_peak = (struct load){.run = fma_run,
				 .arg = &width,
				 .flops = 2.0 * 12 * width * FMA_STEPS * ctx->workers};
#endif
}

struct read_job {
	const char *mem;
	size_t bytes; /* per task */
	unsigned int tasks, streams;
};

/* Sums a piece of memory read as so many streams side by side: some memories like more than one. */
#if defined(__x86_64__)
__attribute__((target("avx2"), always_inline)) static inline uint64_t
sum_avx2(const char *p, size_t bytes, const unsigned int streams)
{
	__m256i s[8] = {0};

	for (size_t i = 0; i < bytes / streams; i += 64)
#pragma GCC unroll 8
		for (unsigned int j = 0; j < streams; j++) {
			const char *at = p + j * (bytes / streams) + i;

			_mm_prefetch(at + 512, _MM_HINT_T0);
			s[j] = _mm256_add_epi64(s[j], _mm256_loadu_si256((const __m256i *)at));
			s[j] = _mm256_add_epi64(s[j],
						_mm256_loadu_si256((const __m256i *)(at + 32)));
		}
	for (int j = 1; j < 8; j++)
		s[0] = _mm256_add_epi64(s[0], s[j]);
	return (uint64_t)_mm256_extract_epi64(s[0], 0);
}

__attribute__((target("avx2"))) static uint64_t sum_streams(const char *p, size_t bytes,
							    unsigned int streams)
{
	return streams == 1   ? sum_avx2(p, bytes, 1)
	       : streams == 4 ? sum_avx2(p, bytes, 4)
			      : sum_avx2(p, bytes, 8);
}
#endif

static uint64_t sum_words(const struct read_job *job, const char *p)
{
	uint64_t s = 0;

#if defined(__x86_64__)
	if (zw_simd_best() >= ZW_SIMD_AVX2)
		return sum_streams(p, job->bytes, job->streams);
#endif
	for (size_t i = 0; i < job->bytes / 8; i++)
		s += ((const uint64_t *)(const void *)p)[i];
	return s;
}

static int read_task(void *arg, uint64_t task, unsigned int slot)
{
	const struct read_job *job = arg;

	sink = (float)sum_words(job, job->mem + task * job->bytes);
	return 0;
}

static int read_run(struct ctx *ctx, void *arg)
{
	return zw_pool_run(ctx->pool, read_task, arg, ((struct read_job *)arg)->tasks);
}

/* Memory as the device's is: in large pages where the host has them. */
static void *allocate(size_t bytes)
{
	size_t size = (bytes + (2u << 20) - 1) >> 21 << 21;
	void *mem = aligned_alloc(2u << 20, size);

	if (!mem) {
		fprintf(stderr, "bench_native: no memory\n");
		exit(1);
	}
	madvise(mem, size, MADV_HUGEPAGE);
	return mem;
}

/* Reads an array far larger than any cache. */
static void read_loads(struct ctx *ctx)
{
	static struct read_job jobs[READ_WAYS];
	char *mem = allocate(READ_BYTES);

	memset(mem, 1, READ_BYTES);
	for (int i = 0; i < READ_WAYS; i++) {
		struct read_job *job = &jobs[i];

		job->mem = mem;
		job->streams = i == 0 ? 1 : i == 1 ? 4 : 8;
		job->tasks = 16 * ctx->workers;
		job->bytes = READ_BYTES / job->tasks / 512 * 512;
		read_peak[i] = (struct load){
			.run = read_run, .arg = job, .bytes = (double)job->bytes * job->tasks};
	}
}

/* --- kernels --- */

static void *random_matrix(uint32_t dtype, size_t count)
{
	size_t size = dtype == ZW_DTYPE_F32 ? 4 : 2;
	char *mem = allocate(count * size);
	uint32_t x = 12345;

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

/* What W is: a type of activations, or as checkpoints have it. */
struct weights {
	const char *name;
	uint32_t dtype, bits;
	uint32_t scale, rows, group; /* type and block of scales; group 0: a row is one */
	bool zero;                   /* zero points of U8 */
	bool both;                   /* activations of the type too, a scale a row */
};

static const struct weights bf16 = {.name = "bf16", .dtype = ZW_DTYPE_BF16, .bits = 16};
static const struct weights f32 = {.name = "f32", .dtype = ZW_DTYPE_F32, .bits = 32};
static const struct weights quantised[] = {
	{"int8", ZW_DTYPE_I8, 8, ZW_DTYPE_F32, 1, 0, false, false},
	{"w8a8", ZW_DTYPE_I8, 8, ZW_DTYPE_F32, 1, 0, false, true},
	{"fp8", ZW_DTYPE_F8E4M3, 8, ZW_DTYPE_F32, 128, 128, false, false},
	{"int4", ZW_DTYPE_U4, 4, ZW_DTYPE_F16, 1, 128, true, false},
	{"mxfp4", ZW_DTYPE_F4E2M1, 4, ZW_DTYPE_E8M0, 1, 32, false, false},
};

/*
 * Any bytes. Of F8E4M3 numbers spread as a model's weights are, the greatest of which becomes the greatest of the type: few are
 * so small that they are subnormal, which some processors are slow at.
 */
static void *random_bytes(const struct weights *w, size_t count)
{
	uint8_t *mem = allocate(count);
	uint32_t x = 54321;

	for (size_t i = 0; i < count; i++) {
		float sum = 0;

		for (int j = 0; j < (w->dtype == ZW_DTYPE_F8E4M3 ? 4 : 1); j++) {
			x = x * 1664525u + 1013904223u;
			sum += (float)(int32_t)x * 0x1p-33f;
		}
		mem[i] = w->dtype == ZW_DTYPE_F8E4M3 ? zw_f8e4m3_from_f32(448.0f * sum)
						     : (uint8_t)(x >> 24);
	}
	return mem;
}

/* Scales between 2^-10 and 2^-9 or, where they are powers of two, one of these. */
static void *random_scales(uint32_t dtype, size_t count)
{
	uint8_t *mem = allocate(count * 4);

	for (size_t i = 0; i < count; i++) {
		float f = 0x1p-10f * (1.0f + (float)(i % 61) / 64.0f);

		if (dtype == ZW_DTYPE_E8M0)
			mem[i] = (uint8_t)(127 - 10 + i % 2);
		else if (dtype == ZW_DTYPE_F16)
			((uint16_t *)(void *)mem)[i] = zw_f16_from_f32(f);
		else
			((float *)(void *)mem)[i] = f;
	}
	return mem;
}

/* One product; few rows of A are a matter of reading W. */
static void bench_product(struct ctx *ctx, const char *name, uint32_t m, uint32_t n, uint32_t k,
			  const struct weights *w)
{
	const uint32_t dtype = w->dtype == ZW_DTYPE_F32 ? ZW_DTYPE_F32 : ZW_DTYPE_BF16;
	const uint32_t group = w->group ? w->group : k, groups = (k + group - 1) / group;
	struct zw_k_gemm_args args = {
		.m = m,
		.n = n,
		.k = k,
		.a = {.ptr = random_matrix(dtype, (size_t)m * k), .dtype = dtype, .ld = k},
		.w = {.ptr = w->scale ? random_bytes(w, (size_t)n * k * w->bits / 8)
				      : random_matrix(dtype, (size_t)n * k),
		      .dtype = w->dtype,
		      .ld = k},
		.c = {.ptr = random_matrix(dtype, (size_t)m * n), .dtype = dtype, .ld = n},
	};
	struct load load = {
		.run = gemm_run,
		.arg = &args,
		.flops = 2.0 * m * n * k,
		.bytes = w->bits / 8.0 * n * k,
	};

	if (w->both) {
		free((void *)args.a.ptr);
		args.a.ptr = random_bytes(w, (size_t)m * k);
		args.a.dtype = w->dtype;
		args.a_scale = (struct zw_k_scales){
			.ptr = random_scales(ZW_DTYPE_F32, m),
			.ld = 1,
			.dtype = ZW_DTYPE_F32,
			.rows = 1,
			.group = k,
		};
	}
	if (w->scale)
		args.quant.scale = (struct zw_k_scales){
			.ptr = random_scales(w->scale, (size_t)n * groups),
			.ld = groups,
			.dtype = w->scale,
			.rows = w->rows,
			.group = group,
		};
	if (w->zero) {
		args.quant.zero = args.quant.scale;
		args.quant.zero.dtype = ZW_DTYPE_U8;
		args.quant.zero.ptr = allocate((size_t)n * groups);
		memset((void *)args.quant.zero.ptr, 8, (size_t)n * groups);
	}
	measure(ctx, name, &load, m == 1);
	free((void *)args.a.ptr);
	free((void *)args.w.ptr);
	free((void *)args.quant.scale.ptr);
	free((void *)args.quant.zero.ptr);
	free((void *)args.a_scale.ptr);
	free(args.c.ptr);
}

#define EXPERTS  128u
#define PER_ROW  8u
#define MAX_ROWS 512u

struct experts_load {
	struct zw_k_experts_args args;
	struct zw_k_expert_part parts[EXPERTS];
	int32_t ids[MAX_ROWS * PER_ROW];
	uint32_t turn;
};

/* Other experts each time, so that a token does not find those of the last one in a cache. */
static int experts_run(struct ctx *ctx, void *arg)
{
	struct experts_load *x = arg;

	for (uint32_t i = 0; i < x->args.rows * PER_ROW; i++)
		x->ids[i] = (int32_t)((x->turn + i) % EXPERTS);
	x->turn += PER_ROW;
	return zw_k_experts(&x->args, ctx->pool);
}

/* Rows that go through 8 of 128 experts; w: all of their matrices. */
static void bench_experts(struct ctx *ctx, const char *name, uint32_t rows, bool scatter,
			  const uint16_t *w, uint32_t n, uint32_t k)
{
	static struct experts_load x;
	uint32_t pairs = rows * PER_ROW, hit = pairs < EXPERTS ? pairs : EXPERTS;
	struct load load = {
		.run = experts_run,
		.arg = &x,
		.flops = 2.0 * pairs * n * k,
		.bytes = 2.0 * hit * n * k,
	};

	x.args = (struct zw_k_experts_args){
		.rows = rows,
		.per_row = PER_ROW,
		.experts = EXPERTS,
		.n = n,
		.k = k,
		.flags = scatter ? ZW_K_EXPERTS_SCATTER : 0,
		.ids = x.ids,
		.parts = x.parts,
		.n_parts = EXPERTS,
		.w_ld = k,
		.w_dtype = ZW_DTYPE_BF16,
		.a = {.ptr = random_matrix(ZW_DTYPE_BF16, (size_t)pairs * k),
		      .dtype = ZW_DTYPE_BF16,
		      .ld = scatter ? (size_t)PER_ROW * k : k,
		      .hs = k},
		.c = {.ptr = random_matrix(ZW_DTYPE_BF16, (size_t)pairs * n),
		      .dtype = ZW_DTYPE_BF16,
		      .ld = scatter ? n : (size_t)PER_ROW * n,
		      .hs = n},
	};
	for (uint32_t e = 0; e < EXPERTS; e++)
		x.parts[e] = (struct zw_k_expert_part){
			.ptr = w + (size_t)e * n * k, .expert = e, .count = n};
	measure(ctx, name, &load, rows == 1);
	free((void *)x.args.a.ptr);
	free(x.args.c.ptr);
}

/* As many caches as keep one from being in the processor's cache when it is used again. */
#define CACHES 8

struct attn_load {
	struct zw_k_attn_args args;
	struct zw_k_kv_seq seq;
	void **k[CACHES], **v[CACHES];
	unsigned int n, next;
};

static int attn_run(struct ctx *ctx, void *arg)
{
	struct attn_load *a = arg;

	a->seq.k_pages = a->k[a->next];
	a->seq.v_pages = a->v[a->next];
	a->next = (a->next + 1) % a->n;
	return zw_k_attn(&a->args, ctx->pool);
}

#define PAGE 64u

/* A cache of len positions in pages of PAGE; *mem is its memory. */
static void **pages_of(uint32_t len, size_t token, void **mem)
{
	uint32_t n = (len + PAGE - 1) / PAGE;
	void **pages = calloc(n, sizeof(*pages));

	*mem = random_matrix(ZW_DTYPE_BF16, n * PAGE * token);
	for (uint32_t i = 0; pages && i < n; i++)
		pages[i] = (uint16_t *)*mem + i * PAGE * token;
	if (!pages)
		exit(1);
	return pages;
}

/* The last `rows` tokens of a sequence of `len` see it. */
static void bench_attention(struct ctx *ctx, const char *name, uint32_t rows, uint32_t len,
			    uint32_t n_q, uint32_t n_kv, uint32_t d)
{
	struct attn_load a = {.n = rows == 1 ? CACHES : 1};
	size_t token = (size_t)n_kv * d, q = (size_t)n_q * d;
	struct load load = {.run = attn_run, .arg = &a, .bytes = 4.0 * len * (double)token};
	void *mem[2 * CACHES];

	for (unsigned int i = 0; i < a.n; i++) {
		a.k[i] = pages_of(len, token, &mem[2 * i]);
		a.v[i] = pages_of(len, token, &mem[2 * i + 1]);
	}
	for (uint32_t i = 0; i < rows; i++)
		load.flops += 4.0 * (len - i) * (double)q;
	a.seq = (struct zw_k_kv_seq){
		.n_pages = (len + PAGE - 1) / PAGE, .q_count = rows, .kv_len = len};
	a.args = (struct zw_k_attn_args){
		.rows = rows,
		.n_q = n_q,
		.n_kv = n_kv,
		.d = d,
		.block_size = PAGE,
		.kv_dtype = ZW_DTYPE_BF16,
		.n_seqs = 1,
		.scale = 0.09f,
		.seqs = &a.seq,
		.q = {.ptr = random_matrix(ZW_DTYPE_BF16, rows * q),
		      .dtype = ZW_DTYPE_BF16,
		      .ld = q,
		      .hs = d},
		.out = {.ptr = random_matrix(ZW_DTYPE_BF16, rows * q),
			.dtype = ZW_DTYPE_BF16,
			.ld = q,
			.hs = d},
	};
	measure(ctx, name, &load, rows == 1);
	for (unsigned int i = 0; i < a.n; i++) {
		free(a.k[i]);
		free(a.v[i]);
		free(mem[2 * i]);
		free(mem[2 * i + 1]);
	}
	free((void *)a.args.q.ptr);
	free(a.args.out.ptr);
}

struct delta_load {
	struct zw_k_delta_args args;
	struct zw_k_state_run run;
	void *to[512];
};

static int delta_run(struct ctx *ctx, void *arg)
{
	return zw_k_delta(&((struct delta_load *)arg)->args, ctx->pool);
}

static struct zw_k_in delta_in(uint32_t rows, uint32_t heads, uint32_t n)
{
	return (struct zw_k_in){.ptr = random_matrix(ZW_DTYPE_F32, (size_t)rows * heads * n),
				.dtype = ZW_DTYPE_F32,
				.ld = (uint64_t)heads * n,
				.hs = n};
}

/*
 * A prompt through the gated delta rule of Qwen3-Next. Operations are those of the rule row by row, in
 * both forms: so the rates are those of the same work.
 */
static void bench_delta(struct ctx *ctx, const char *name, uint32_t flags)
{
	enum { ROWS = 512, KEY_HEADS = 16, HEADS = 32, DIM = 128 };
	static struct delta_load x;
	struct load load = {.run = delta_run,
			    .arg = &x,
			    .flops = 7.0 * ROWS * HEADS * DIM * DIM,
			    .bytes = 4.0 * ROWS * DIM * 2 * (KEY_HEADS + HEADS)};

	x.run = (struct zw_k_state_run){.count = ROWS};
	x.to[ROWS - 1] = random_matrix(ZW_DTYPE_F32, HEADS * DIM * DIM);
	x.args = (struct zw_k_delta_args){
		.rows = ROWS,
		.key_heads = KEY_HEADS,
		.heads = HEADS,
		.d = DIM,
		.e = DIM,
		.eps = 1e-6f,
		.scale = 0.09f,
		.flags = flags,
		.q = delta_in(ROWS, KEY_HEADS, DIM),
		.k = delta_in(ROWS, KEY_HEADS, DIM),
		.v = delta_in(ROWS, HEADS, DIM),
		.a = delta_in(ROWS, 1, HEADS),
		.b = delta_in(ROWS, 1, HEADS),
		.a_log = delta_in(1, 1, HEADS),
		.dt_bias = delta_in(1, 1, HEADS),
		.y = {.ptr = random_matrix(ZW_DTYPE_F32, ROWS * HEADS * DIM),
		      .dtype = ZW_DTYPE_F32,
		      .ld = HEADS * DIM,
		      .hs = DIM},
		.states = {.runs = &x.run, .n_runs = 1, .dtype = ZW_DTYPE_F32, .to = x.to},
	};
	measure(ctx, name, &load, false);
	free((void *)x.args.q.ptr);
	free((void *)x.args.k.ptr);
	free((void *)x.args.v.ptr);
	free((void *)x.args.a.ptr);
	free((void *)x.args.b.ptr);
	free((void *)x.args.a_log.ptr);
	free((void *)x.args.dt_bias.ptr);
	free(x.args.y.ptr);
	free(x.to[ROWS - 1]);
}

static bool wanted(const struct ctx *ctx, const char *name)
{
	return !strncmp(name, ctx->only, strlen(ctx->only));
}

static void bench_all_experts(struct ctx *ctx)
{
	static const struct {
		uint32_t rows;
		bool scatter;
	} experts[] = {{1, false}, {64, false}, {512, false}, {1, true}, {64, true}};
	const uint32_t size = 768, hidden = 2048; /* of an expert of Qwen3-30B-A3B */
	uint16_t *w = NULL;
	char name[64];

	for (size_t i = 0; i < sizeof(experts) / sizeof(experts[0]); i++) {
		uint32_t n = experts[i].scatter ? hidden : size;
		uint32_t k = experts[i].scatter ? size : hidden;

		snprintf(name, sizeof(name), "experts %s 8/128 %ux%ux%u",
			 experts[i].scatter ? "down" : "up", experts[i].rows, n, k);
		if (!wanted(ctx, name))
			continue;
		if (!w)
			w = random_matrix(ZW_DTYPE_BF16, (size_t)EXPERTS * size * hidden);
		bench_experts(ctx, name, experts[i].rows, experts[i].scatter, w, n, k);
	}
	free(w);
}

static void bench_all(struct ctx *ctx)
{
	char name[64];

	static const struct {
		uint32_t m, n, k;
		const struct weights *w;
	} products[] = {
		{1024, 1024, 1024, &bf16}, {1024, 1024, 1024, &f32}, {512, 3072, 1024, &bf16},
		{512, 1024, 3072, &bf16},  {128, 3072, 1024, &bf16}, {32, 3072, 1024, &bf16},
		{16, 16384, 1024, &bf16},  {8, 16384, 1024, &bf16},  {4, 16384, 1024, &bf16},
		{2, 16384, 1024, &bf16},   {8, 4096, 3072, &bf16},   {8, 8192, 8192, &bf16},
		{1, 8192, 8192, &bf16},    {1, 8192, 8192, &f32},    {1, 65536, 1024, &bf16},
	};
	/* Weights as they are, activations not: rows of a few sequences, of a prompt; short and long rows of W. */
	static const struct {
		uint32_t m, n, k;
	} shapes[] = {
		{1, 16384, 1024}, {2, 16384, 1024},  {4, 16384, 1024},  {8, 16384, 1024},
		{8, 4096, 3072},  {16, 16384, 1024}, {128, 3072, 1024}, {512, 3072, 1024},
	};
	static const struct {
		uint32_t rows, len, n_q, n_kv, d;
	} attentions[] = {
		{512, 512, 16, 8, 128}, {512, 4000, 16, 8, 128}, {1, 500, 16, 8, 128},
		{1, 4000, 16, 8, 128},  {1, 4000, 32, 8, 128},   {1, 4000, 14, 2, 64},
	};

	for (size_t i = 0; i < sizeof(products) / sizeof(products[0]); i++) {
		uint32_t m = products[i].m, n = products[i].n, k = products[i].k;

		snprintf(name, sizeof(name), "%s %s %ux%ux%u", m == 1 ? "gemv" : "gemm",
			 products[i].w->name, m, n, k);
		if (wanted(ctx, name))
			bench_product(ctx, name, m, n, k, products[i].w);
	}
	for (size_t i = 0; i < sizeof(quantised) / sizeof(quantised[0]); i++)
		for (size_t j = 0; j < sizeof(shapes) / sizeof(shapes[0]); j++) {
			uint32_t m = shapes[j].m, n = shapes[j].n, k = shapes[j].k;

			snprintf(name, sizeof(name), "%s %s %ux%ux%u", m == 1 ? "gemv" : "gemm",
				 quantised[i].name, m, n, k);
			if (wanted(ctx, name))
				bench_product(ctx, name, m, n, k, &quantised[i]);
		}
	bench_all_experts(ctx);
	for (size_t i = 0; i < sizeof(attentions) / sizeof(attentions[0]); i++) {
		uint32_t rows = attentions[i].rows, len = attentions[i].len,
			 n_q = attentions[i].n_q, n_kv = attentions[i].n_kv, d = attentions[i].d;

		snprintf(name, sizeof(name), "attention %u of %u, %u/%ux%u", rows, len, n_q, n_kv,
			 d);
		if (wanted(ctx, name))
			bench_attention(ctx, name, rows, len, n_q, n_kv, d);
	}
	for (uint32_t flags = 0; flags <= ZW_K_DELTA_CHUNKED; flags++) {
		snprintf(name, sizeof(name), "delta 512, 16/32x128%s", flags ? ", chunked" : "");
		if (wanted(ctx, name))
			bench_delta(ctx, name, flags);
	}
}

/*
 * B/s of memcpy() on one thread to memory that nobody has touched: the least that a load of weights
 * from the page cache does. The best of about @seconds.
 */
static double copy_peak(double seconds)
{
	const char *from = ((struct read_job *)read_peak[0].arg)->mem;
	double best = 1e30, end = now() + seconds;

	do {
		char *to = mmap(NULL, READ_BYTES, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		double t;

		if (to == MAP_FAILED)
			return 0;
		madvise(to, READ_BYTES, MADV_HUGEPAGE);
		t = now();
		memcpy(to, from, READ_BYTES);
		t = now() - t;
		best = t < best ? t : best;
		munmap(to, READ_BYTES);
	} while (now() < end);
	return READ_BYTES / best;
}

/* What the machine can do for a while, not for a moment: each way for its share of the time. */
static void bench_peaks(struct ctx *ctx)
{
	double share = ctx->seconds / (READ_WAYS + 2);

	ctx->best_copy = copy_peak(share);

	if (fma_peak.run)
		ctx->best_flops = peak_rate(ctx, &fma_peak, fma_peak.flops, share);
	for (int i = 0; i < READ_WAYS; i++)
		ctx->best_bytes = max(ctx->best_bytes,
				      peak_rate(ctx, &read_peak[i], read_peak[i].bytes, share));
}

static int usage(void)
{
	fprintf(stderr, "usage: bench_native [--workers N] [--seconds S] [--only TEXT | --peaks] "
			"[--json FILE]\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"workers", required_argument, NULL, 'w'},
		{"seconds", required_argument, NULL, 's'},
		{"only", required_argument, NULL, 'o'},
		{"peaks", no_argument, NULL, 'p'},
		{"json", required_argument, NULL, 'j'},
		{0},
	};
	struct ctx ctx = {
		.workers = (unsigned int)sysconf(_SC_NPROCESSORS_ONLN),
		.seconds = 0.5,
		.only = "",
		.first = true,
	};
	const char *json = NULL;
	bool peaks = false;
	int c;

	while ((c = getopt_long(argc, argv, "w:s:o:pj:", options, NULL)) != -1) {
		if (c == 'w')
			ctx.workers = (unsigned int)strtoul(optarg, NULL, 10);
		else if (c == 's')
			ctx.seconds = strtod(optarg, NULL);
		else if (c == 'o')
			ctx.only = optarg;
		else if (c == 'p')
			peaks = true;
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
	fma_load(&ctx);
	read_loads(&ctx);
	(peaks ? bench_peaks : bench_all)(&ctx);
	if (fma_peak.run)
		report(&ctx, "FMA f32 peak", ctx.best_flops * 1e-9, "GFLOP/s", 0);
	report(&ctx, "read bandwidth", ctx.best_bytes * 1e-9, "GB/s", 0);
	if (ctx.best_copy > 0)
		report(&ctx, "copy to new memory", ctx.best_copy * 1e-9, "GB/s", 0);
	free((void *)((struct read_job *)read_peak[0].arg)->mem);
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

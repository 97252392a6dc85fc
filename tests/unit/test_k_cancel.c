// SPDX-License-Identifier: MIT
/*
 * A cancelled kernel returns soon, whichever it is, wherever the cancel finds it and however little of it
 * the shape lets the pool cut into tasks: single long rows, deep products, long contexts. With the scalar
 * primitives too, the slowest there are.
 *
 * Soon is a number of multiplications in a row, which takes some twice as long on a processor of today as
 * zw_pool.h promises in milliseconds: a slow or busy machine, or a sanitizer, slows both, though not quite
 * alike. A kernel that does not look at the flag takes hundreds of times as long.
 */
#include "test_k_util.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

#define WORKERS 2
#define SOON    (6u << 20) /* multiplications */

#define BIG (1u << 24) /* elements of the memory that all operands share */

static void *in_mem, *out_mem;
static int32_t expert_ids[1 << 20];

static struct zw_k_in in(uint32_t dtype, uint64_t ld)
{
	return (struct zw_k_in){.ptr = in_mem, .dtype = dtype, .ld = ld, .hs = ld};
}

static struct zw_k_out out(uint32_t dtype, uint64_t ld)
{
	return (struct zw_k_out){.ptr = out_mem, .dtype = dtype, .ld = ld, .hs = ld};
}

static int product(struct zw_pool *pool, uint32_t m, uint32_t n, uint32_t k)
{
	struct zw_k_gemm_args args = {
		.m = m, .n = n, .k = k, .a = in(BF16, 0), .w = in(BF16, 0), .c = out(BF16, n)};

	return zw_k_gemm(&args, pool);
}

static int deep_tiles(struct zw_pool *pool)
{
	return product(pool, 144, 64, BIG);
}

static int deep_direct(struct zw_pool *pool)
{
	return product(pool, 1, 1 << 16, 190000);
}

static int wide_direct(struct zw_pool *pool)
{
	return product(pool, 16, 1 << 19, 8192);
}

/* Quantised weights, w of k elements a row; with a_dtype BF16, or quantised too, in groups. */
static int quantised(struct zw_pool *pool, uint32_t m, uint32_t n, uint32_t k, uint32_t w_dtype,
		     uint32_t a_dtype, uint32_t group)
{
	bool record = ZW_DT_BLOCKED >> w_dtype & 1;
	struct zw_k_scales none = {.ptr = NULL},
			   all = {.ptr = in_mem, .dtype = F32, .rows = 1u << 30, .group = group};
	struct zw_k_gemm_args args = {
		.m = m,
		.n = n,
		.k = k,
		.a = in(a_dtype, 0),
		.w = in(w_dtype, 0),
		.c = out(BF16, n),
		.quant.scale = record ? none : all,
		.a_scale = a_dtype == BF16 ? none : all,
	};

	return zw_k_gemm(&args, pool);
}

static int quant_few(struct zw_pool *pool)
{
	return quantised(pool, 4, 1 << 18, 32768, ZW_DTYPE_I4, BF16, 128);
}

static int quant_deep(struct zw_pool *pool)
{
	return quantised(pool, 1, 64, BIG, ZW_DTYPE_I8, BF16, BIG);
}

static int quant_many(struct zw_pool *pool)
{
	return quantised(pool, 200, 4096, 65536, ZW_DTYPE_Q6_K, BF16, 0);
}

static int scaled_i8(struct zw_pool *pool)
{
	return quantised(pool, 300, 4096, 65536, ZW_DTYPE_I8, ZW_DTYPE_I8, 65536);
}

static int scaled_f8(struct zw_pool *pool)
{
	return quantised(pool, 300, 4096, 32768, ZW_DTYPE_F8E4M3, ZW_DTYPE_F8E4M3, 128);
}

static int scaled_deep(struct zw_pool *pool)
{
	return quantised(pool, 1, 64, 1 << 23, ZW_DTYPE_F8E4M3, ZW_DTYPE_F8E4M3, 16);
}

static int quantize(struct zw_pool *pool)
{
	struct zw_k_quantize_args args = {
		.rows = 4,
		.heads = 1,
		.n = BIG,
		.block = BIG,
		.x = in(BF16, 0),
		.y = out(ZW_DTYPE_F8E4M3, BIG),
		.scale = {.ptr = (char *)out_mem + 5ull * BIG, .dtype = F32, .ld = 1},
	};

	return zw_k_quantize(&args, pool);
}

static int reorder(struct zw_pool *pool)
{
	const uint32_t k = 1u << 24;
	int32_t *order = calloc(k, sizeof(*order));
	struct zw_k_reorder_args args = {
		.rows = 2,
		.n = BIG,
		.k = k,
		.order = order,
		.x = in(BF16, 0),
		.y = out(F32, k),
	};
	int err;

	assert_non_null(order);
	err = zw_k_reorder(&args, pool);
	free(order);
	return err;
}

/* Two experts of a row each, or eight that share many rows: n columns, k terms. */
static int experts(struct zw_pool *pool, uint32_t rows, uint32_t per_row, uint32_t n, uint32_t k,
		   uint32_t flags)
{
	struct zw_k_expert_part parts[8];
	struct zw_k_experts_args args = {
		.rows = rows,
		.per_row = per_row,
		.experts = 8,
		.n = n,
		.k = k,
		.flags = flags,
		.ids = expert_ids,
		.parts = parts,
		.n_parts = 8,
		.w_dtype = BF16,
		.a = {.ptr = in_mem, .dtype = BF16},
		.c = {.ptr = out_mem, .dtype = BF16, .ld = n, .hs = n},
	};

	if (!flags)
		args.c.ld = (uint64_t)per_row * n;
	for (uint32_t e = 0; e < 8; e++)
		parts[e] = (struct zw_k_expert_part){.ptr = in_mem, .expert = e, .count = n};
	return zw_k_experts(&args, pool);
}

static int experts_few_rows(struct zw_pool *pool)
{
	return experts(pool, 1, 2, 1 << 19, 16384, 0);
}

static int experts_many_rows(struct zw_pool *pool)
{
	return experts(pool, 4096, 8, 2048, 4096, ZW_K_EXPERTS_SCATTER);
}

/* Little to multiply, much to sum. */
static int experts_sums(struct zw_pool *pool)
{
	return experts(pool, 1024, 1024, 16384, 1, ZW_K_EXPERTS_SCATTER);
}

static int route(struct zw_pool *pool)
{
	static int32_t index[1024];
	static float weight[1024];
	struct zw_k_route_args args = {
		.rows = 512,
		.n = ZW_K_ROUTE_MAX,
		.k = 1024,
		.x = in(BF16, 0),
		.index = index,
		.weight = weight,
	};
	int err = 0;

	/* One row at a time into the same place. */
	args.rows = 1;
	for (int i = 0; i < 512 && !err; i++)
		err = zw_k_route(&args, pool);
	return err;
}

/* Every page of the cache is the same one. */
static int attention(struct zw_pool *pool, uint32_t rows, uint32_t heads, uint32_t d, uint32_t len)
{
	uint32_t n_pages = (len + 63) / 64;
	void **pages = calloc(n_pages, sizeof(*pages));
	struct zw_k_kv_seq seq = {
		.k_pages = pages,
		.v_pages = pages,
		.n_pages = n_pages,
		.q_count = rows,
		.kv_len = len,
	};
	struct zw_k_attn_args args = {
		.rows = rows,
		.n_q = heads,
		.n_kv = heads,
		.d = d,
		.block_size = 64,
		.kv_dtype = BF16,
		.n_seqs = 1,
		.scale = 1.0f,
		.seqs = &seq,
		.q = in(BF16, 0),
		.out = {.ptr = out_mem, .dtype = BF16, .ld = (uint64_t)heads * d, .hs = d},
	};
	int err;

	assert_non_null(pages);
	for (uint32_t i = 0; i < n_pages; i++)
		pages[i] = in_mem;
	err = zw_k_attn(&args, pool);
	free(pages);
	return err;
}

static int attention_many_rows(struct zw_pool *pool)
{
	return attention(pool, 512, 1, 4096, 1 << 16);
}

static int attention_few_rows(struct zw_pool *pool)
{
	return attention(pool, 1, 64, 4096, 1 << 16);
}

static int attention_many_heads(struct zw_pool *pool)
{
	return attention(pool, 8, 4096, 8, 1 << 12);
}

/* Lists of blocks and columns; every page is the same one. */
static int attention_lists(struct zw_pool *pool, uint32_t rows, uint32_t n_blocks,
			   uint32_t n_columns)
{
	uint32_t len = 1 << 22, n_pages = len / 64;
	void **pages = calloc(n_pages, sizeof(*pages));
	int32_t *numbers = malloc(((size_t)n_blocks + n_columns) * sizeof(*numbers));
	struct zw_k_attn_list list = {
		.q_count = rows,
		.n_blocks = n_blocks,
		.n_columns = n_columns,
		.blocks = numbers,
		.columns = numbers + n_blocks,
	};
	struct zw_k_kv_seq seq = {
		.k_pages = pages,
		.v_pages = pages,
		.n_pages = n_pages,
		.q_count = rows,
		.kv_len = len,
	};
	struct zw_k_attn_args args = {
		.rows = rows,
		.n_q = 1,
		.n_kv = 1,
		.d = 4096,
		.block_size = 64,
		.kv_dtype = BF16,
		.n_seqs = 1,
		.scale = 1.0f,
		.seqs = &seq,
		.lists = &list,
		.n_lists = 1,
		.q = in(BF16, 0),
		.out = {.ptr = out_mem, .dtype = BF16, .ld = 4096},
	};
	int err;

	assert_true(pages && numbers);
	for (uint32_t i = 0; i < n_pages; i++)
		pages[i] = in_mem;
	for (uint32_t i = 0; i < n_blocks; i++)
		numbers[i] = (int32_t)i * 2;
	for (uint32_t i = 0; i < n_columns; i++)
		numbers[n_blocks + i] = (int32_t)(i / 32 * 128 + 64 + i % 32);
	err = zw_k_attn(&args, pool);
	free(numbers);
	free(pages);
	return err;
}

static int attention_blocks(struct zw_pool *pool)
{
	return attention_lists(pool, 512, 1 << 14, 0);
}

static int attention_columns(struct zw_pool *pool)
{
	return attention_lists(pool, 1, 16, 1 << 19);
}

static int merge(struct zw_pool *pool)
{
	struct zw_k_in x[ZW_K_MERGE_MAX_PARTS];
	const float *lse[ZW_K_MERGE_MAX_PARTS];
	struct zw_k_merge_args args = {
		.rows = 1024,
		.heads = 1,
		.d = 4096,
		.parts = ZW_K_MERGE_MAX_PARTS,
		.x = x,
		.x_lse = lse,
		.x_lse_ld = 1,
		.y = out(F32, 4096),
	};

	for (uint32_t i = 0; i < ZW_K_MERGE_MAX_PARTS; i++) {
		x[i] = in(BF16, 0);
		lse[i] = in_mem;
	}
	return zw_k_merge(&args, pool);
}

static int select_blocks(struct zw_pool *pool)
{
	uint32_t len = 1 << 24, t = 1024, n_pages = len / t;
	void **pages = calloc(n_pages, sizeof(*pages));
	struct zw_k_kv_seq seq = {
		.k_pages = pages,
		.v_pages = pages,
		.n_pages = n_pages,
		.q_count = 1 << 16,
		.kv_len = len,
	};
	static int32_t lists[64 * 1024], counts[64];
	struct zw_k_select_blocks_args args = {
		.rows = 1 << 16,
		.n_q = 1,
		.n_kv = 1,
		.d = 2048,
		.block_size = t,
		.kv_dtype = BF16,
		.group = 1 << 15,
		.most = 1024,
		.n_seqs = 1,
		.seqs = &seq,
		.q = in(BF16, 0),
		.blocks = lists,
		.blocks_gs = 1024,
		.counts = counts,
		.counts_gs = 1,
	};
	int err;

	assert_non_null(pages);
	for (uint32_t i = 0; i < n_pages; i++)
		pages[i] = in_mem;
	err = zw_k_select_blocks(&args, pool);
	free(pages);
	return err;
}

/* Long: the choice among many positions. Wide: products. */
static int select_slash(struct zw_pool *pool, uint32_t len, uint32_t d, uint32_t sample)
{
	uint32_t n_pages = len / 64, rows = 128, most = len / 2;
	void **pages = calloc(n_pages, sizeof(*pages));
	int32_t *lists = malloc(2ull * len * sizeof(*lists)), counts[2];
	int32_t sizes[1] = {(int32_t)most};
	struct zw_k_kv_seq seq = {
		.k_pages = pages,
		.v_pages = pages,
		.n_pages = n_pages,
		.q_count = rows,
		.kv_len = len,
	};
	struct zw_k_select_slash_args args = {
		.rows = rows,
		.n_q = 1,
		.n_kv = 1,
		.d = d,
		.block_size = 64,
		.kv_dtype = BF16,
		.group = rows,
		.sample = sample,
		.nearest = 1,
		.scale = 1.0f,
		.most_blocks = len / 64,
		.most_columns = most,
		.seq = &seq,
		.vertical = sizes,
		.slash = sizes,
		.q = in(BF16, 0),
		.blocks = lists,
		.counts = &counts[0],
		.columns = lists + len,
		.column_counts = &counts[1],
	};
	int err;

	assert_true(pages && lists);
	for (uint32_t i = 0; i < n_pages; i++)
		pages[i] = in_mem;
	err = zw_k_select_slash(&args, pool);
	free(lists);
	free(pages);
	return err;
}

static int select_slash_long(struct zw_pool *pool)
{
	return select_slash(pool, ZW_K_SLASH_MAX_KEYS, 1, 1);
}

static int select_slash_wide(struct zw_pool *pool)
{
	return select_slash(pool, 1 << 14, 4096, ZW_K_SLASH_MAX_SAMPLE);
}

static int rmsnorm(struct zw_pool *pool)
{
	struct zw_k_rmsnorm_args args = {.rows = 4,
					 .heads = 1,
					 .n = BIG,
					 .eps = 1e-6f,
					 .x = in(BF16, 0),
					 .w = in(BF16, 0),
					 .y = out(BF16, BIG)};

	return zw_k_rmsnorm(&args, pool);
}

static int rope(struct zw_pool *pool)
{
	struct zw_k_rope_args args = {
		.rows = 4,
		.heads = 1,
		.d = BIG,
		.rot = BIG / 2,
		.n_pos = 4,
		.cos_tab = in_mem,
		.sin_tab = in_mem,
		.x = in(BF16, 0),
		.y = out(BF16, BIG),
	};

	return zw_k_rope(&args, pool);
}

static int softmax(struct zw_pool *pool)
{
	struct zw_k_softmax_args args = {
		.rows = 4, .n = BIG, .scale = 1.0f, .x = in(BF16, 0), .y = out(BF16, BIG)};

	return zw_k_softmax(&args, pool);
}

static int swiglu(struct zw_pool *pool)
{
	struct zw_k_swiglu_args args = {
		.rows = 4, .n = BIG, .gate = in(BF16, 0), .up = in(BF16, 0), .out = out(BF16, BIG)};

	return zw_k_swiglu(&args, pool);
}

static int gated_norm(struct zw_pool *pool)
{
	struct zw_k_rmsnorm_args args = {.rows = 4,
					 .heads = 1,
					 .n = BIG,
					 .eps = 1e-6f,
					 .x = in(BF16, 0),
					 .w = in(BF16, 0),
					 .gate = in(BF16, 0),
					 .y = out(BF16, BIG)};

	return zw_k_rmsnorm(&args, pool);
}

static int mul_sigmoid(struct zw_pool *pool)
{
	struct zw_k_mul_sigmoid_args args = {.rows = 4,
					     .heads = 1,
					     .n = BIG,
					     .x = in(BF16, 0),
					     .gate = in(BF16, 0),
					     .out = out(BF16, BIG)};

	return zw_k_mul_sigmoid(&args, pool);
}

static int add(struct zw_pool *pool)
{
	struct zw_k_add_args args = {
		.rows = 4, .n = BIG, .a = in(BF16, 0), .b = in(BF16, 0), .out = out(BF16, BIG)};

	return zw_k_add(&args, pool);
}

static int gather(struct zw_pool *pool)
{
	static const int32_t ids[4];
	struct zw_k_gather_args args = {.rows = 4,
					.n = BIG,
					.vocab = 1,
					.ids = ids,
					.table = in(BF16, BIG),
					.out = out(BF16, BIG)};

	return zw_k_gather(&args, pool);
}

static int convert(struct zw_pool *pool)
{
	struct zw_k_convert_args args = {
		.rows = 4, .n = BIG, .src = in(F32, 0), .dst = out(BF16, BIG)};

	return zw_k_convert(&args, pool);
}

/* One sequence of many rows and channels, and many that share the weights. */
static int conv(struct zw_pool *pool, uint32_t rows, uint32_t n_runs, uint32_t n, uint32_t taps)
{
	struct zw_k_state_run *runs = calloc(n_runs, sizeof(*runs));
	void **to = calloc(rows, sizeof(*to));
	struct zw_k_conv_args args = {
		.rows = rows,
		.n = n,
		.taps = taps,
		.x = in(BF16, 0),
		.w = in(BF16, 0),
		.y = out(BF16, n),
		.states = {.runs = runs, .n_runs = n_runs, .dtype = BF16, .to = to},
	};
	int err;

	assert_true(runs && to);
	for (uint32_t i = 0; i < n_runs; i++)
		runs[i] = (struct zw_k_state_run){
			.first = i * (rows / n_runs), .count = rows / n_runs, .from = in_mem};
	err = zw_k_conv(&args, pool);
	free(runs);
	free(to);
	return err;
}

static int conv_long(struct zw_pool *pool)
{
	return conv(pool, 1 << 14, 1, 4096, 16);
}

static int conv_wide(struct zw_pool *pool)
{
	return conv(pool, 8, 8, 1 << 22, 16);
}

static int delta(struct zw_pool *pool, uint32_t rows, uint32_t heads, uint32_t d, uint32_t flags)
{
	void **to = calloc(rows, sizeof(*to));
	struct zw_k_state_run run = {.count = rows};
	struct zw_k_delta_args args = {
		.rows = rows,
		.key_heads = 1,
		.heads = heads,
		.d = d,
		.e = d,
		.scale = 1.0f,
		.flags = flags,
		.q = in(BF16, 0),
		.k = in(BF16, 0),
		.v = in(BF16, 0),
		.a = in(BF16, 0),
		.b = in(BF16, 0),
		.a_log = in(BF16, 0),
		.dt_bias = in(BF16, 0),
		.y = {.ptr = out_mem, .dtype = BF16, .ld = (uint64_t)heads * d, .hs = d},
		.states = {.runs = &run, .n_runs = 1, .dtype = F32, .to = to},
	};
	int err;

	assert_non_null(to);
	err = zw_k_delta(&args, pool);
	free(to);
	return err;
}

static int delta_large(struct zw_pool *pool)
{
	return delta(pool, 1024, 2, ZW_K_DELTA_MAX, 0);
}

static int delta_narrow(struct zw_pool *pool)
{
	return delta(pool, 1 << 18, 16, 8, 0);
}

static int delta_chunks_large(struct zw_pool *pool)
{
	return delta(pool, 1024, 2, ZW_K_DELTA_MAX, ZW_K_DELTA_CHUNKED);
}

static int delta_chunks_narrow(struct zw_pool *pool)
{
	return delta(pool, 1 << 18, 16, 8, ZW_K_DELTA_CHUNKED);
}

static int kv_write(struct zw_pool *pool)
{
	uint32_t rows = 1 << 17;
	void *page = out_mem;
	struct zw_k_kv_seq seq = {
		.k_pages = &page, .v_pages = &page, .n_pages = 1, .q_count = rows, .kv_len = rows};
	struct zw_k_kv_write_args args = {
		.rows = rows,
		.n_kv = 1,
		.d = 512,
		.block_size = rows,
		.kv_dtype = BF16,
		.n_seqs = 1,
		.seqs = &seq,
		.k = in(F32, 0),
		.v = in(F32, 0),
	};

	return zw_k_kv_write(&args, pool);
}

static int argmax(struct zw_pool *pool)
{
	static int32_t index[4];
	struct zw_k_argmax_args args = {.rows = 4, .n = BIG, .x = in(BF16, 0), .index = index};

	return zw_k_argmax(&args, pool);
}

static int topk(struct zw_pool *pool)
{
	static int32_t index[4 * 1024];
	static float value[4 * 1024];
	struct zw_k_topk_args args = {
		.rows = 4, .n = BIG, .k = 1024, .x = in(BF16, 0), .index = index, .value = value};

	return zw_k_topk(&args, pool);
}

static int copy(struct zw_pool *pool)
{
	struct zw_k_copy_args args = {.dst = out_mem, .src = in_mem, .bytes = BIG * 8ull};

	return zw_k_copy(&args, pool);
}

static int fill(struct zw_pool *pool)
{
	struct zw_k_fill_args args = {.dst = out_mem, .bytes = BIG * 8ull, .pattern = 0x12345678};

	return zw_k_fill(&args, pool);
}

static const struct {
	const char *name;
	int (*run)(struct zw_pool *pool);
} kernels[] = {
	{"gemm, deep, tiles", deep_tiles},
	{"gemm, deep, direct", deep_direct},
	{"gemm, wide, direct", wide_direct},
	{"quantised, few rows", quant_few},
	{"quantised, deep", quant_deep},
	{"quantised, many rows", quant_many},
	{"i8 x i8", scaled_i8},
	{"f8 x f8", scaled_f8},
	{"f8 x f8, deep", scaled_deep},
	{"quantize", quantize},
	{"reorder", reorder},
	{"experts, few rows", experts_few_rows},
	{"experts, many rows", experts_many_rows},
	{"experts, sums", experts_sums},
	{"route", route},
	{"attention, many rows", attention_many_rows},
	{"attention, few rows", attention_few_rows},
	{"attention, many heads", attention_many_heads},
	{"attention, blocks", attention_blocks},
	{"attention, columns", attention_columns},
	{"merge", merge},
	{"select_blocks", select_blocks},
	{"select_slash, long", select_slash_long},
	{"select_slash, wide", select_slash_wide},
	{"rmsnorm", rmsnorm},
	{"rope", rope},
	{"softmax", softmax},
	{"swiglu", swiglu},
	{"gated_norm", gated_norm},
	{"mul_sigmoid", mul_sigmoid},
	{"add", add},
	{"gather", gather},
	{"convert", convert},
	{"conv, long", conv_long},
	{"conv, wide", conv_wide},
	{"delta, large", delta_large},
	{"delta, narrow", delta_narrow},
	{"delta, chunks, large", delta_chunks_large},
	{"delta, chunks, narrow", delta_chunks_narrow},
	{"kv_write", kv_write},
	{"argmax", argmax},
	{"topk", topk},
	{"copy", copy},
	{"fill", fill},
};

/* Of all threads: on a busy machine a clock on the wall says nothing about the kernel. */
static double cpu_time(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* Processor time of SOON multiplications, each waiting for the one before it, here and now. */
static double soon(void)
{
	static volatile float sink;
	const float *p = in_mem;
	double start = cpu_time();
	float sum = sink;

	for (uint32_t i = 0; i < SOON; i++)
		sum = sum * p[i % 4096] + p[i % 1024];
	sink = sum;
	return cpu_time() - start;
}

struct canceller {
	struct zw_pool *pool;
	unsigned int after_us;
	double at;
};

static void *cancel_later(void *arg)
{
	struct canceller *c = arg;

	usleep(c->after_us);
	c->at = cpu_time();
	zw_pool_cancel(c->pool);
	return NULL;
}

/* Processor time from a cancel to the kernel's return; negative: it was over before. */
static double cancelled_after(struct zw_pool *pool, int (*run)(struct zw_pool *pool),
			      unsigned int after_us)
{
	struct canceller c = {.pool = pool, .after_us = after_us};
	pthread_t thread;
	double end;
	int err;

	assert_int_equal(pthread_create(&thread, NULL, cancel_later, &c), 0);
	err = run(pool);
	end = cpu_time();
	pthread_join(thread, NULL);
	zw_pool_resume(pool);
	assert_true(err == 0 || err == -ECANCELED);
	return err ? end - c.at : -1;
}

/* Returns whether a cancel after that time found the kernel at work, in so many tries. */
static bool check_cancel(struct zw_pool *pool, size_t kernel, unsigned int after_us, int tries,
			 const char *level)
{
	static double limit;
	double best = INFINITY;
	bool found = false;

	/* A thread may be put off the processor between the two readings, and the caches be another's. */
	for (int n = 0; n < 20 && (n < tries || found); n++) {
		double t = cancelled_after(pool, kernels[kernel].run, after_us);

		if (t < 0)
			continue;
		found = true;
		best = t < best ? t : best;
		if (best < limit)
			return true;
		/* The machine may have become slower since. */
		limit = soon() * WORKERS;
	}
	if (found && !(best < limit))
		fail_msg("%s, %s: %.1f ms of processor time after a cancel at %u us, limit %.1f ms",
			 kernels[kernel].name, level, best * 1e3, after_us, limit * 1e3);
	return found;
}

static void test_all(void **state)
{
	static const unsigned int after_us[] = {200, 1000, 3000, 8000};
	struct zw_pool *pool = zw_pool_new(WORKERS);
	const char *level;

	assert_non_null(pool);
	for (int table = 0; k_use_table(table, &level); table++) {
		for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
			bool found = false;

			for (size_t t = 0; t < sizeof(after_us) / sizeof(after_us[0]); t++)
				found |= check_cancel(pool, i, after_us[t], t ? 1 : 20, level);
			if (!found)
				fail_msg("%s, %s: too short to be cancelled", kernels[i].name,
					 level);
		}
	}
	zw_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_all)};

	in_mem = calloc(BIG, 8);
	out_mem = calloc(BIG, 8);
	if (!in_mem || !out_mem)
		return 77;
	for (uint32_t i = 0; i < 1 << 20; i++)
		expert_ids[i] = (int32_t)(i % 8);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: MIT
/*
 * Products that read W where it lies.
 *
 * Rows of A are widened and packed, in groups of as many as the registers have room for. One group: W
 * streams from memory once. More: a block of rows of W meets all groups one after the other, from
 * memory the first time and from the second-level cache again. Meanwhile the block after it is asked for, a
 * few lines at a time, so that neither the memory nor the arithmetic waits.
 */
#include <errno.h>

#include "zw_k_gemm.h"

/* Up to so many rows of A, of so many elements altogether, W passes once: it comes from memory. */
#define FEW_M      16
#define FEW_A      (192u << 10)
/* Below this K, what a call costs beside its products is more than widening W. */
#define MIN_K      768u
/* Rows of A in a block: fewer are not worth another pass over W, more are of no use. */
#define MIN_M      24u
#define MAX_M      512u
/* Bytes of a block of A: with a block of W and its sums, the second-level cache. */
#define BLOCK_A    (320u << 10)
/* Rows of W in a block: a multiple of most numbers of them that a level takes at a time; and bytes. */
#define BLOCK_N    24u
#define MIN_N      6u
#define BLOCK_W    (96u << 10)
/* Bytes of W and of sums in a task. */
#define TASK_BYTES (512u << 10)
#define TASK_OUT   (256u << 10)
/* Tasks of each worker that make up for different speeds; streams are better long. */
#define TASKS_ONCE 4u
#define TASKS_MANY 12u
/* How far ahead of the loads a stream is asked for, in bytes. */
#define AHEAD      512u

static inline uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* Rows of A in group g of n_groups: as equal as can be. */
static uint32_t group_rows(uint32_t m, uint32_t n_groups, uint32_t g)
{
	return m / n_groups + (g < m % n_groups);
}

/* How many groups m rows of A make. */
static uint32_t groups_of(const struct gemm_job *job, uint32_t m)
{
	return (m + job->prim->direct_rows - 1) / job->prim->direct_rows;
}

/* m rows of A as they are packed. */
static uint32_t packed_rows(const struct gemm_job *job, uint32_t m)
{
	uint32_t n_groups = groups_of(job, m), rows = 0;

	for (uint32_t g = 0; g < n_groups; g++)
		rows += job->prim->direct[group_rows(m, n_groups, g) - 1].group;
	return rows;
}

static void pack(const struct gemm_job *job, float *a, uint32_t m0, uint32_t m)
{
	uint32_t n_groups = groups_of(job, m);

	for (uint32_t g = 0, i = 0; g < n_groups; i += group_rows(m, n_groups, g++)) {
		uint32_t rows = group_rows(m, n_groups, g);
		uint32_t group = job->prim->direct[rows - 1].group;
		const void *ptrs[ZW_DIRECT_MAX_ROWS];

		zw_gemm_a_ptrs(ptrs, job, m0 + i, rows, 0);
		job->prim->pack[job->a.st](a, group, ptrs, rows, job->k);
		a += group * ZW_PAD((size_t)job->k);
	}
}

/*
 * One group of A: W passes once. The rows of W taken at a time lie apart: each of these streams then runs
 * through memory from step to step, which prefetchers follow; neighbouring short rows they do not.
 */
static int stream(const struct gemm_job *job, const float *a, uint32_t m, uint32_t n0,
		  uint32_t count, float *out, size_t ldo)
{
	const struct zw_direct *direct = &job->prim->direct[m - 1];
	const struct zw_ahead ask = {.bytes = AHEAD, .step = 1};
	uint32_t cols = direct->cols, apart = (count + cols - 1) / cols;

	for (uint32_t j = 0; j < apart; j++) {
		ZW_UNSET float part[ZW_DIRECT_OUT];
		ZW_UNSET const void *w[ZW_DIRECT_MAX_COLS];

		if (zw_pool_cancelled(job->pool))
			return -ECANCELED;
		/* Beyond the last row it stands in for those that are not there. */
		for (uint32_t c = 0; c < cols; c++)
			w[c] = zw_k_view_at(&job->w, n0 + min_u32(c * apart + j, count - 1), 0);
		direct->fn[job->w.st](a, w, job->k, part, ask);
		for (uint32_t r = 0; r < m; r++)
			for (uint32_t c = 0; c < cols && c * apart + j < count; c++)
				out[r * ldo + c * apart + j] = part[r * cols + c];
	}
	return 0;
}

/*
 * m packed rows of A against rows n0.. of W. Those that will be needed after them begin @next rows behind
 * the first of these; 0: none.
 */
static int block(const struct gemm_job *job, const float *a, uint32_t m, uint32_t n0,
		 uint32_t count, uint32_t next, float *out, size_t ldo)
{
	uint32_t n_groups = groups_of(job, m);
	size_t row = (size_t)job->k * job->w.size;
	struct zw_direct_rows rows = {
		.w = zw_k_view_at(&job->w, n0, 0),
		.ld = job->w.ld,
		.count = count,
		.k = job->k,
		.ldo = ldo,
		/* Each group asks for its share. */
		.ask = {.bytes = row, .ld = job->w.ld, .step = next ? n_groups : 0},
	};

	rows.ask.at = rows.w + job->w.ld * next;
	rows.ask.end = rows.ask.at + row;
	if (row == job->w.ld)
		rows.ask.end += row * count; /* no gaps */
	for (uint32_t g = 0, i = 0; g < n_groups; g++) {
		uint32_t n = group_rows(m, n_groups, g);
		const struct zw_direct *direct = &job->prim->direct[n - 1];

		if (zw_pool_cancelled(job->pool))
			return -ECANCELED;
		rows.out = out + i * ldo;
		direct->block[job->w.st](a, &rows);
		a += direct->group * ZW_PAD((size_t)job->k);
		i += n;
	}
	return 0;
}

/* A block of rows of A against task_n rows of W. */
int zw_gemm_direct_task(struct gemm_job *job, uint64_t task, unsigned int slot)
{
	uint32_t mb = (uint32_t)(task / job->tasks_n), nb = (uint32_t)(task % job->tasks_n);
	uint32_t m0 = mb * job->task_m, m = min_u32(job->task_m, job->m - m0);
	uint32_t n0 = nb * job->task_n, workers = zw_pool_workers(job->pool);
	uint32_t count = min_u32(job->task_n, job->n - n0);
	size_t a_size = packed_rows(job, job->task_m) * ZW_PAD((size_t)job->k);
	size_t ldo = job->task_n + ZW_DIRECT_MAX_COLS;
	bool once = groups_of(job, m) == 1;
	float *a, *out;
	int err = 0;

	a = zw_pool_scratch(job->pool, slot, sizeof(float) * (a_size + ldo * job->task_m));
	if (!a)
		return -ENOMEM;
	out = a + a_size;
	if (job->packed[slot] != job->first_task + mb + 1) {
		pack(job, a, m0, m);
		job->packed[slot] = job->first_task + mb + 1;
	}
	if (once)
		err = stream(job, a, m, n0, count, out, ldo);
	for (uint32_t j = 0; j < count && !once && !err; j += job->block_n) {
		uint32_t n = min_u32(job->block_n, count - j), next = job->block_n;

		/* Behind the last block: that of the task that this worker will most likely get. */
		if (j + n == count)
			next = nb + workers < job->tasks_n ? workers * job->task_n - j : 0;
		err = block(job, a, m, n0 + j, n, next, out + j, ldo);
	}
	for (uint32_t i = 0; i < m && !err; i++)
		zw_gemm_store_row(job, out + i * ldo, m0 + i, n0, count);
	return err;
}

uint32_t zw_gemm_direct_most(const struct gemm_job *job)
{
	uint64_t fit = BLOCK_A / sizeof(float) / (job->k ? ZW_PAD((uint64_t)job->k) : 1);
	uint32_t step = job->prim->direct_rows;

	if (job->m <= FEW_M && (uint64_t)job->m * job->k <= FEW_A)
		return job->m;
	if (job->k < MIN_K || fit < MIN_M)
		return 0;
	return fit < MAX_M ? (uint32_t)fit / step * step : MAX_M;
}

uint64_t zw_gemm_direct_plan(struct gemm_job *job, bool small, uint32_t most)
{
	uint64_t row_bytes = (uint64_t)(job->k ? job->k : 1) * job->w.size, count, share;
	uint32_t tasks_m = zw_gemm_cut_rows(job, most, job->prim->direct_rows);
	bool once = groups_of(job, job->m) == 1;

	if (once) {
		job->block_n = job->prim->direct[job->m - 1].cols;
	} else {
		job->block_n = BLOCK_N;
		while (job->block_n * row_bytes > BLOCK_W && job->block_n > MIN_N)
			job->block_n /= 2;
	}
	/* Whole blocks, at least one, and some tasks for each worker. */
	count = small ? job->n : TASK_BYTES / row_bytes;
	if (count > TASK_OUT / sizeof(float) / job->task_m)
		count = TASK_OUT / sizeof(float) / job->task_m;
	share = (uint64_t)job->n * tasks_m /
		((once ? TASKS_ONCE : TASKS_MANY) * zw_pool_workers(job->pool));
	if (!small && count > share)
		count = share;
	count = (count + job->block_n - 1) / job->block_n;
	job->task_n = (uint32_t)(count ? count : 1) * job->block_n;
	job->tasks_n = (uint32_t)(((uint64_t)job->n + job->task_n - 1) / job->task_n);
	return (uint64_t)tasks_m * job->tasks_n;
}

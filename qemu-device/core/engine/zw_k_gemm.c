// SPDX-License-Identifier: MIT
/*
 * C = A * W^T (+ bias) (+ residual).
 *
 * Every output is one dot product in the eight-lane order of the specification, whatever the
 * blocking: where K is cut, the lanes are put aside and taken up again, never their totals. So a
 * row of a large product has the bits of the same row computed alone.
 *
 * Few rows of A (decoding): W is read where it lies, once from memory and again from cache for
 * every ZW_MR rows of A; bandwidth is the limit. More rows: strips of ZW_NR rows of W are widened
 * to F32 into the first-level cache and meet all rows of a block of A, widened into the second
 * level, in register tiles of ZW_MR x ZW_NR.
 */
#include <errno.h>

#include "zw_k_check.h"
#include "zw_k_prim.h"
#include "zw_kernels.h"

/* Elements of K at a time, rows of A and of W in a task: a strip of W in L1, a block of A in L2. */
#define BLOCK_K 1024
#define BLOCK_M 144
#define BLOCK_N 64

/* Up to so many rows of A, of so many elements altogether, W is read where it lies. */
#define DIRECT_MAX_M 16
#define DIRECT_MAX_A (192u << 10)
/* Bytes of W in a task of direct products. */
#define DIRECT_BYTES (512u << 10)
/* Multiply-adds below which waking another thread costs more than it gives. */
#define SMALL_WORK   40000u

struct gemm_job {
	const struct zw_prim *prim;
	struct zw_pool *pool;
	uint32_t m, n, k;
	struct zw_k_view a, w, bias, residual, c;
	uint32_t task_m, task_n; /* rows of A and of W in a task */
	uint32_t tasks_n;
	/* Which block of A a worker has in its scratch, plus one. Touched only by that worker. */
	uint32_t packed[ZW_POOL_MAX_WORKERS];
};

static inline uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* Rows r0.. of a view as pointers, from element k0 on. */
static void row_ptrs(const void *rows[], const struct zw_k_view *v, uint32_t r0, uint32_t count,
		     uint32_t k0)
{
	for (uint32_t i = 0; i < count; i++)
		rows[i] = zw_k_view_at(v, r0 + i, 0) + (uint64_t)k0 * v->size;
}

static struct zw_row row_of(const struct zw_k_view *v, uint32_t row, uint32_t col)
{
	struct zw_row r = {.ptr = NULL, .st = v->st};

	if (v->ptr)
		r.ptr = zw_k_view_at(v, row, 0) + (uint64_t)col * v->size;
	return r;
}

static void store_row(const struct gemm_job *job, float *v, uint32_t row, uint32_t col, uint32_t n)
{
	job->prim->epilogue(zw_k_view_at(&job->c, row, 0) + (uint64_t)col * job->c.size, job->c.st,
			    v, row_of(&job->bias, 0, col), row_of(&job->residual, row, col), n);
}

/* Rows of A in group g of n_groups: as equal as can be. */
static uint32_t group_rows(uint32_t m, uint32_t n_groups, uint32_t g)
{
	return m / n_groups + (g < m % n_groups);
}

/* Few rows of A, task_n rows of W. */
static int direct_task(void *arg, uint64_t task, unsigned int slot)
{
	struct gemm_job *job = arg;
	const struct zw_prim *prim = job->prim;
	uint32_t n0 = (uint32_t)task * job->task_n;
	uint32_t count = min_u32(job->task_n, job->n - n0);
	uint32_t quarter = count / ZW_NR, n_groups = (job->m + ZW_MR - 1) / ZW_MR;
	size_t pk = ZW_PAD((size_t)job->k), ldo = job->task_n;
	float *a, *wtail, *out;
	const void *rows[ZW_NR];

	a = zw_pool_scratch(job->pool, slot,
			    sizeof(float) * (pk * job->m + pk * ZW_NR + ldo * job->m));
	if (!a)
		return -ENOMEM;
	wtail = a + pk * job->m;
	out = wtail + pk * ZW_NR;

	if (!job->packed[slot]) {
		for (uint32_t g = 0, i = 0; g < n_groups; i += group_rows(job->m, n_groups, g++)) {
			uint32_t mr = group_rows(job->m, n_groups, g);

			row_ptrs(rows, &job->a, i, mr, 0);
			prim->pack[job->a.st](a + i * pk, mr, rows, mr, job->k);
		}
		job->packed[slot] = 1;
	}
	/*
	 * The rows of a strip lie quarter apart: each of its streams then runs through memory from
	 * strip to strip, which prefetchers follow; neighbouring short rows they do not.
	 */
	for (uint32_t j = 0; j < quarter; j++) {
		for (uint32_t g = 0, i = 0; g < n_groups; i += group_rows(job->m, n_groups, g++)) {
			uint32_t mr = group_rows(job->m, n_groups, g);
			float part[ZW_MR][ZW_NR];

			prim->direct[job->w.st][mr - 1](
				a + i * pk, zw_k_view_at(&job->w, n0 + j, 0),
				job->w.ld / job->w.size * quarter, job->k, &part[0][0], ZW_NR);
			for (uint32_t r = 0; r < mr; r++)
				for (uint32_t l = 0; l < ZW_NR; l++)
					out[(i + r) * ldo + l * quarter + j] = part[r][l];
		}
	}
	if (quarter * ZW_NR < count) {
		uint32_t j = quarter * ZW_NR;

		row_ptrs(rows, &job->w, n0 + j, count - j, 0);
		prim->pack[job->w.st](wtail, ZW_NR, rows, count - j, job->k);
		for (uint32_t g = 0, i = 0; g < n_groups; i += group_rows(job->m, n_groups, g++))
			prim->tile[group_rows(job->m, n_groups, g) - 1](a + i * pk, wtail,
									pk / ZW_LANES, NULL, false,
									out + i * ldo + j, ldo);
	}
	for (uint32_t i = 0; i < job->m; i++)
		store_row(job, out + i * ldo, i, n0, count);
	return 0;
}

/* A block of rows of A against a block of rows of W. */
static int block_task(void *arg, uint64_t task, unsigned int slot)
{
	struct gemm_job *job = arg;
	const struct zw_prim *prim = job->prim;
	uint32_t mb = (uint32_t)(task / job->tasks_n), nb = (uint32_t)(task % job->tasks_n);
	uint32_t m0 = mb * job->task_m, n0 = nb * job->task_n;
	uint32_t rows_m = min_u32(job->task_m, job->m - m0);
	uint32_t rows_n = min_u32(job->task_n, job->n - n0);
	size_t groups_m = (rows_m + ZW_MR - 1) / ZW_MR;
	size_t kmax = ZW_PAD((size_t)min_u32(job->k, BLOCK_K));
	size_t tile_lanes = (size_t)ZW_MR * ZW_NR * ZW_LANES;
	bool cut = job->k > BLOCK_K;
	size_t a_size = (size_t)job->task_m * kmax, w_size = ZW_NR * kmax;
	size_t out_size = (size_t)job->task_m * BLOCK_N;
	size_t lanes_size = cut ? groups_m * (BLOCK_N / ZW_NR) * tile_lanes : 0;
	float *a, *w, *out, *lanes;
	const void *rows[ZW_NR];

	a = zw_pool_scratch(job->pool, slot,
			    sizeof(float) * (a_size + w_size + out_size + lanes_size));
	if (!a)
		return -ENOMEM;
	w = a + a_size;
	out = w + w_size;
	lanes = out + out_size;

	for (uint32_t k0 = 0; k0 == 0 || k0 < job->k; k0 += BLOCK_K) {
		uint32_t kc = min_u32(job->k - k0, BLOCK_K);
		size_t pk = ZW_PAD((size_t)kc);
		bool last = job->k - k0 <= BLOCK_K;

		if (cut || job->packed[slot] != mb + 1) {
			for (uint32_t i = 0; i < rows_m; i += ZW_MR) {
				uint32_t g = min_u32(ZW_MR, rows_m - i);

				row_ptrs(rows, &job->a, m0 + i, g, k0);
				prim->pack[job->a.st](a + i * pk, g, rows, g, kc);
			}
			job->packed[slot] = mb + 1;
		}
		for (uint32_t j = 0; j < rows_n; j += ZW_NR) {
			uint32_t g = min_u32(ZW_NR, rows_n - j);
			float *strip = lanes + j / ZW_NR * groups_m * tile_lanes;

			if (zw_pool_cancelled(job->pool))
				return -ECANCELED;
			row_ptrs(rows, &job->w, n0 + j, g, k0);
			prim->pack[job->w.st](w, ZW_NR, rows, g, kc);
			for (uint32_t i = 0; i < rows_m; i += ZW_MR) {
				uint32_t mr = min_u32(ZW_MR, rows_m - i);

				prim->tile[mr - 1](a + i * pk, w, pk / ZW_LANES,
						   cut ? strip + i / ZW_MR * tile_lanes : NULL,
						   k0 > 0, last ? out + i * BLOCK_N + j : NULL,
						   BLOCK_N);
			}
		}
		if (last)
			break; /* k0 + BLOCK_K may wrap */
	}
	for (uint32_t i = 0; i < rows_m; i++)
		store_row(job, out + (size_t)i * BLOCK_N, m0 + i, n0, rows_n);
	return 0;
}

static int gemm_check(struct gemm_job *job, const struct zw_k_gemm_args *args)
{
	int err;

	if (args->flags)
		return -EOPNOTSUPP;
	job->m = args->m;
	job->n = args->n;
	job->k = args->k;
	err = zw_k_view_in(&job->a, &args->a, args->m, 1, args->k);
	if (!err)
		err = zw_k_view_in(&job->w, &args->w, args->n, 1, args->k);
	if (!err)
		err = zw_k_view_out(&job->c, &args->c, args->m, 1, args->n);
	if (!err && args->bias.ptr)
		err = zw_k_view_in(&job->bias, &args->bias, 1, 1, args->n);
	if (!err && args->residual.ptr)
		err = zw_k_view_in(&job->residual, &args->residual, args->m, 1, args->n);
	if (!err)
		err = zw_k_view_conflict(&job->c, &job->a, false);
	if (!err)
		err = zw_k_view_conflict(&job->c, &job->w, false);
	if (!err)
		err = zw_k_view_conflict(&job->c, &job->bias, false);
	if (!err)
		err = zw_k_view_conflict(&job->c, &job->residual, true);
	return err;
}

int zw_k_gemm(const struct zw_k_gemm_args *args, struct zw_pool *pool)
{
	struct gemm_job job = {.prim = zw_prim_get(), .pool = pool};
	uint64_t tasks_m;
	bool small;
	int err = gemm_check(&job, args);

	if (err || !job.m || !job.n)
		return err;
	small = (uint64_t)job.m * job.n < SMALL_WORK / (job.k ? job.k : 1);

	if (job.m <= DIRECT_MAX_M && (uint64_t)job.m * job.k <= DIRECT_MAX_A) {
		uint64_t row_bytes = (uint64_t)(job.k ? job.k : 1) * job.w.size;
		uint64_t count = small ? job.n : DIRECT_BYTES / row_bytes;

		/* Whole strips, at least one, and no more than divides the work between the
		 * workers. */
		if (!small && count > job.n / zw_pool_workers(pool))
			count = job.n / zw_pool_workers(pool);
		job.task_n = (uint32_t)(count + ZW_NR - 1) / ZW_NR * ZW_NR;
		if (!job.task_n)
			job.task_n = ZW_NR;
		return zw_pool_run(pool, direct_task, &job,
				   ((uint64_t)job.n + job.task_n - 1) / job.task_n);
	}
	/* Blocks of A of equal height, whole register tiles. */
	tasks_m = ((uint64_t)job.m + BLOCK_M - 1) / BLOCK_M;
	job.task_m = (uint32_t)((job.m + tasks_m - 1) / tasks_m);
	job.task_m = (job.task_m + ZW_MR - 1) / ZW_MR * ZW_MR;
	tasks_m = ((uint64_t)job.m + job.task_m - 1) / job.task_m;
	job.task_n = BLOCK_N;
	job.tasks_n = (uint32_t)(((uint64_t)job.n + BLOCK_N - 1) / BLOCK_N);
	return (small ? zw_pool_run_alone : zw_pool_run)(pool, block_task, &job,
							 tasks_m * job.tasks_n);
}

// SPDX-License-Identifier: MIT
/*
 * C = A * W^T (+ bias) (+ residual).
 *
 * Every output is one dot product in the eight-lane order of the specification, whatever the
 * blocking: where K is cut, the lanes are put aside and taken up again, never their totals. So a
 * row of a large product has the bits of the same row computed alone.
 *
 * Direct (zw_k_gemm_direct.c): W is read where it lies.
 *
 * Tiles, for short K, where a direct call has too little to do, and for K so long that only few rows of
 * A fit the second-level cache and it has to be cut: strips of W are widened too, into the first-level
 * cache, and meet all rows of a block of A.
 */
#include <errno.h>

#include "zhenwu/zw_types.h"
#include "zw_k_gemm.h"

/* Bytes of a block of A and rows of W in a task: with the sums put aside, the second-level cache. */
#define BLOCK_A    (320u << 10)
#define BLOCK_N    64
/* Groups of rows of A between two times that W is asked for. */
#define ASK_GROUPS 4u
/* Bytes of widened strips of W that rows of A meet: the first-level cache. */
#define HOT_W      (16u << 10)

/* Multiply-adds below which waking another thread costs more than it gives. */
#define SMALL_WORK 40000u

static inline uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* Row i of A, or of C: where it lies, or where the job's list of pairs says. */
static char *pair_at(const struct gemm_job *job, const struct zw_k_view *v, uint32_t i)
{
	if (!job->pairs)
		return zw_k_view_at(v, i, 0);
	return zw_k_view_at(v, job->pairs[i] / job->per_row, job->pairs[i] % job->per_row);
}

/* Rows r0.. of W as pointers, from element k0 on. */
static void w_ptrs(const void *rows[], const struct gemm_job *job, uint32_t r0, uint32_t count,
		   uint32_t k0)
{
	for (uint32_t i = 0; i < count; i++)
		rows[i] = zw_k_view_at(&job->w, r0 + i, 0) + (uint64_t)k0 * job->w.size;
}

void zw_gemm_a_ptrs(const void *rows[], const struct gemm_job *job, uint32_t r0, uint32_t count,
		    uint32_t k0)
{
	for (uint32_t i = 0; i < count; i++)
		rows[i] = pair_at(job, &job->a, r0 + i) + (uint64_t)k0 * job->a.size;
}

static struct zw_row row_of(const struct zw_k_view *v, uint32_t row, uint32_t col)
{
	struct zw_row r = {.ptr = NULL, .st = v->st};

	if (v->ptr)
		r.ptr = zw_k_view_at(v, row, 0) + (uint64_t)col * v->size;
	return r;
}

void zw_gemm_store_row(const struct gemm_job *job, float *v, uint32_t row, uint32_t col, uint32_t n)
{
	job->prim->epilogue(pair_at(job, &job->c, row) + (uint64_t)col * job->c.size, job->c.st, v,
			    row_of(&job->bias, 0, col), row_of(&job->residual, row, col), n);
}

uint32_t zw_gemm_cut_rows(struct gemm_job *job, uint32_t most, uint32_t step)
{
	uint64_t blocks = ((uint64_t)job->m + most - 1) / most;

	job->task_m = (uint32_t)((job->m + blocks - 1) / blocks);
	if (blocks > 1)
		job->task_m = (job->task_m + step - 1) / step * step;
	return (uint32_t)(((uint64_t)job->m + job->task_m - 1) / job->task_m);
}

/* A block of rows of A, elements k0.., packed for tiles. */
static void pack_a(const struct gemm_job *job, float *a, uint32_t m0, uint32_t rows, uint32_t k0,
		   uint32_t kc)
{
	uint32_t step = job->prim->tile_rows;

	for (uint32_t i = 0; i < rows; i += step) {
		uint32_t n = min_u32(step, rows - i);
		const void *ptrs[ZW_TILE_MAX_ROWS];

		zw_gemm_a_ptrs(ptrs, job, m0 + i, n, k0);
		job->prim->pack[job->a.st](a + i * ZW_PAD((size_t)kc), zw_tile_group(job->prim, n),
					   ptrs, n, kc);
	}
}

/* Bytes of k elements of a row of W. */
static uint64_t w_bytes(const struct gemm_job *job, uint32_t k)
{
	return job->q.used ? zw_q_bytes(&job->q, k) : (uint64_t)k * job->w.size;
}

/* The lines of W that will be packed next, asked for into the second-level cache a few at a time. */
struct asking {
	const char *at, *end; /* in the current row */
	uint64_t ld, bytes;
	uint32_t rows; /* after it */
};

static void ask_begin(struct asking *ask, const struct gemm_job *job, uint32_t row, uint32_t rows,
		      uint32_t k0, uint32_t kc)
{
	*ask = (struct asking){.ld = job->w.ld, .bytes = w_bytes(job, kc)};
	if (row >= job->n || !ask->bytes)
		return;
	ask->at = zw_k_view_at(&job->w, row, 0) + w_bytes(job, k0);
	ask->end = ask->at + ask->bytes;
	ask->rows = min_u32(rows, job->n - row) - 1;
}

static void ask_some(struct asking *ask, uint32_t lines)
{
	for (; lines; lines--) {
		if (ask->at >= ask->end) {
			if (!ask->rows)
				return;
			ask->rows--;
			ask->end += ask->ld;
			ask->at = ask->end - ask->bytes;
		}
		__builtin_prefetch(ask->at, 0, 2);
		ask->at += 64;
	}
}

/* A task's memory. */
struct block {
	float *a, *w, *out, *lanes;
	struct gemm_scales scales;
	uint32_t m0, n0, rows_m, rows_n;
	size_t ldo;
};

/*
 * Elements k0.. of the packed rows of A against rows [j, j + n) of the block of W.
 */
static int hot_strips(const struct gemm_job *job, const struct block *b, uint32_t j, uint32_t n,
		      uint32_t k0, uint32_t kc)
{
	const struct zw_prim *prim = job->prim;
	const uint32_t step_m = prim->tile_rows, step_n = prim->tile_cols;
	size_t pk = ZW_PAD((size_t)kc), tile_lanes = zw_tile_lanes(prim);
	uint32_t groups = (b->rows_m + step_m - 1) / step_m, lines;
	bool cut = job->k > job->block_k, last = job->k - k0 <= job->block_k;
	struct asking ask;

	for (uint32_t s = 0; s < n; s += step_n) {
		uint32_t rows = min_u32(step_n, n - s);
		const void *ptrs[ZW_TILE_MAX_COLS];

		if (job->q.used) {
			zw_gemm_quant_pack(job, b->w + s * pk, b->n0 + j + s, rows, k0, kc,
					   &b->scales);
			continue;
		}
		w_ptrs(ptrs, job, b->n0 + j + s, rows, k0);
		prim->pack[job->w.st](b->w + s * pk, step_n, ptrs, rows, kc);
	}
	ask_begin(&ask, job, b->n0 + j + n, n, k0, kc);
	lines = (uint32_t)(n * (w_bytes(job, kc) / 64 + 1) * ASK_GROUPS / groups + 1);
	for (uint32_t g = 0; g < groups; g += ASK_GROUPS) {
		uint32_t i = g * step_m, rows = min_u32(ASK_GROUPS * step_m, b->rows_m - i);

		if (zw_pool_cancelled(job->pool))
			return -ECANCELED;
		ask_some(&ask, lines);
		for (uint32_t s = 0; s < n; s += step_n) {
			size_t tile = (size_t)(j + s) / step_n * groups + g;

			prim->tile(rows, b->a + i * pk, b->w + s * pk, pk / ZW_LANES,
				   cut ? b->lanes + tile * tile_lanes : NULL, k0 > 0,
				   last ? b->out + i * b->ldo + j + s : NULL, b->ldo);
		}
	}
	return 0;
}

/* A block of rows of A against a block of rows of W. */
static int block_task(struct gemm_job *job, uint64_t task, unsigned int slot)
{
	const struct zw_prim *prim = job->prim;
	const uint32_t step_m = prim->tile_rows, step_n = prim->tile_cols;
	uint32_t mb = (uint32_t)(task / job->tasks_n), nb = (uint32_t)(task % job->tasks_n);
	struct block b = {
		.m0 = mb * job->task_m,
		.n0 = nb * job->task_n,
		.ldo = BLOCK_N + ZW_TILE_MAX_COLS,
	};
	size_t groups = (job->task_m + step_m - 1) / step_m,
	       strips = (BLOCK_N + step_n - 1) / step_n;
	size_t rows = groups * step_m, kmax = ZW_PAD((size_t)min_u32(job->k, job->block_k));
	uint32_t hot = HOT_W / (uint32_t)(kmax * step_n * sizeof(float) + 1) * step_n;
	bool cut = job->k > job->block_k;
	size_t lanes = cut ? groups * strips * zw_tile_lanes(prim) : 0;
	size_t scales = zw_gemm_quant_floats(job, BLOCK_N, (uint32_t)kmax);

	b.rows_m = min_u32(job->task_m, job->m - b.m0);
	b.rows_n = min_u32(job->task_n, job->n - b.n0);
	hot = hot < step_n ? step_n : min_u32(hot, (uint32_t)strips * step_n);
	b.a = zw_pool_scratch(job->pool, slot,
			      sizeof(float) *
				      ((rows + hot) * kmax + rows * b.ldo + lanes + scales));
	if (!b.a)
		return -ENOMEM;
	b.w = b.a + rows * kmax;
	b.out = b.w + hot * kmax;
	b.lanes = b.out + rows * b.ldo;
	zw_gemm_quant_begin(job, &b.scales, b.n0, b.rows_n, BLOCK_N, b.lanes + lanes);

	for (uint32_t k0 = 0; k0 == 0 || k0 < job->k; k0 += job->block_k) {
		uint32_t kc = min_u32(job->k - k0, job->block_k);

		if (cut || job->packed[slot] != job->first_task + mb + 1) {
			pack_a(job, b.a, b.m0, b.rows_m, k0, kc);
			job->packed[slot] = job->first_task + mb + 1;
		}
		for (uint32_t j = 0; j < b.rows_n; j += hot) {
			int err = hot_strips(job, &b, j, min_u32(hot, b.rows_n - j), k0, kc);

			if (err)
				return err;
		}
		if (job->k - k0 <= job->block_k)
			break; /* k0 + block_k may wrap */
	}
	for (uint32_t i = 0; i < b.rows_m; i++)
		zw_gemm_store_row(job, b.out + i * b.ldo, b.m0 + i, b.n0, b.rows_n);
	return 0;
}

/* Blocks of A of equal height, whole register tiles, and pieces of K of equal length. */
static uint64_t block_plan(struct gemm_job *job)
{
	uint32_t step = job->prim->tile_rows, longest = job->prim->block_k;
	uint64_t pieces = ((uint64_t)job->k + longest - 1) / longest, tasks_m, most;

	job->block_k = pieces ? (uint32_t)ZW_PAD((job->k + pieces - 1) / pieces) : longest;
	if (job->q.used && pieces > 1) /* a multiple of every block */
		job->block_k = (job->block_k + ZW_Q_STEP_256 - 1) / ZW_Q_STEP_256 * ZW_Q_STEP_256;
	most = BLOCK_A / (job->block_k * sizeof(float)) / step * step;
	if (most < step)
		most = step;
	tasks_m = zw_gemm_cut_rows(job, most, step);
	job->task_n = BLOCK_N;
	job->tasks_n = (uint32_t)(((uint64_t)job->n + BLOCK_N - 1) / BLOCK_N);
	return tasks_m * job->tasks_n;
}

uint64_t zw_gemm_plan(struct gemm_job *job, bool small)
{
	uint32_t most = job->q.used ? 0 : zw_gemm_direct_most(job);

	if (job->scaled) {
		job->way = GEMM_SCALED;
		return zw_gemm_scaled_plan(job);
	}
	if (zw_gemm_quant_direct(job)) {
		job->way = GEMM_QUANT;
		return zw_gemm_quant_plan(job, small);
	}
	job->way = most ? GEMM_DIRECT : GEMM_TILES;
	return most ? zw_gemm_direct_plan(job, small, most) : block_plan(job);
}

int zw_gemm_task(struct gemm_job *job, uint64_t task, unsigned int slot)
{
	switch (job->way) {
	case GEMM_DIRECT:
		return zw_gemm_direct_task(job, task, slot);
	case GEMM_QUANT:
		return zw_gemm_quant_task(job, task, slot);
	case GEMM_SCALED:
		return zw_gemm_scaled_task(job, task, slot);
	default:
		return block_task(job, task, slot);
	}
}

bool zw_gemm_is_small(uint64_t rows, uint32_t n, uint32_t k)
{
	return rows * n < SMALL_WORK / (k ? k : 1);
}

static int gemm_task(void *arg, uint64_t task, unsigned int slot)
{
	return zw_gemm_task(arg, task, slot);
}

int zw_gemm_w_view(struct gemm_job *job, const struct zw_k_in *w, const struct zw_k_quant *quant)
{
	int err = zw_q_matrix(&job->q, w->dtype, quant, job->k);

	if (err)
		return err;
	if (job->q.used)
		return zw_k_view_blocks(&job->w, w, job->n, job->k);
	return zw_k_view_in(&job->w, w, job->n, 1, job->k);
}

int zw_gemm_a_view(struct gemm_job *job, const struct zw_k_in *a, const struct zw_k_scales *scale,
		   uint32_t rows, uint32_t heads)
{
	enum zw_store st;
	int err;

	if (!zw_store_of(a->dtype, &st))
		return scale->ptr ? -EINVAL : zw_k_view_in(&job->a, a, rows, heads, job->k);
	err = zw_gemm_scaled_check(job, a->dtype, scale);
	return err ? err : zw_k_view_bytes_in(&job->a, a, rows, heads, job->k);
}

/* Whether C meets scales of so many rows. */
static int scales_conflict(const struct gemm_job *job, const struct zw_k_scales *s, uint64_t rows)
{
	uint64_t n;
	struct zw_k_view v;

	if (!s->ptr || !job->k)
		return 0;
	n = (rows - 1) / s->rows * s->ld + (job->k - 1) / s->group + 1;
	if (zw_k_view_array(&v, s->ptr,
			    (n + zw_dtype_block_elements(s->dtype) - 1) /
				    zw_dtype_block_elements(s->dtype),
			    zw_dtype_block_bytes(s->dtype)))
		return -EINVAL;
	return zw_k_view_conflict(&job->c, &v, false);
}

static int gemm_check(struct gemm_job *job, const struct zw_k_gemm_args *args)
{
	int err;

	if (args->flags)
		return -EOPNOTSUPP;
	job->m = args->m;
	job->n = args->n;
	job->k = args->k;
	err = zw_gemm_w_view(job, &args->w, &args->quant);
	if (!err)
		err = zw_gemm_a_view(job, &args->a, &args->a_scale, args->m, 1);
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
	if (!err && job->n)
		err = scales_conflict(job, &job->q.scale, job->q.row0 + job->n);
	if (!err && job->n)
		err = scales_conflict(job, &job->q.zero, job->q.row0 + job->n);
	if (!err && job->m && job->scaled)
		err = scales_conflict(job, &job->a_scale, job->m);
	return err;
}

int zw_k_gemm(const struct zw_k_gemm_args *args, struct zw_pool *pool)
{
	uint64_t packed[ZW_POOL_MAX_WORKERS] = {0}, tasks;
	struct gemm_job job = {.prim = zw_prim_get(), .pool = pool, .packed = packed};
	bool small;
	int err = gemm_check(&job, args);

	if (err || !job.m || !job.n)
		return err;
	small = zw_gemm_is_small(job.m, job.n, job.k);
	tasks = zw_gemm_plan(&job, small);
	/* Direct products of little work are one task, and the caller's anyway. */
	return (small && job.way == GEMM_TILES ? zw_pool_run_alone : zw_pool_run)(pool, gemm_task,
										  &job, tasks);
}

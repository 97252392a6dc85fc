// SPDX-License-Identifier: MIT
/*
 * Row-wise kernels: norm, rotary embedding, activations, softmax, sums. Each task takes a run of
 * rows; a row is widened to F32 in scratch, worked on there, and rounded once when it is stored.
 * Longer rows pass through the scratch in pieces, as often as it takes: so a task never needs
 * memory for a whole one, and notices a cancel soon.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "zw_k_check.h"
#include "zw_k_math.h"
#include "zw_k_prim.h"
#include "zw_kernels.h"

/* Elements of a task: some ten microseconds of work. */
#define TASK_ELEMENTS 16384u
/* Columns at a time where columns do not depend on each other; a multiple of ZW_LANES. */
#define CHUNK         4096u
/* The same where rows are kept in scratch if they fit. */
#define PIECE         16384u

struct vec_job {
	const struct zw_prim *prim;
	struct zw_pool *pool;
	uint64_t items; /* rows * heads, or rows * chunks of columns */
	uint64_t per_task;
	uint32_t chunks; /* of a row; 1 if the kernel needs whole rows */
	uint32_t heads, n;
	struct zw_k_view x, y, z;
	int (*item)(const struct vec_job *job, uint64_t item, float *scratch);
	size_t scratch; /* floats */
	const void *args;
};

static int vec_task(void *arg, uint64_t task, unsigned int slot)
{
	const struct vec_job *job = arg;
	uint64_t i = task * job->per_task, end = i + job->per_task;
	float *scratch = zw_pool_scratch(job->pool, slot, job->scratch * sizeof(float));
	int err = 0;

	if (!scratch)
		return -ENOMEM;
	if (end > job->items)
		end = job->items;
	for (; i < end && !err; i++)
		err = zw_pool_cancelled(job->pool) ? -ECANCELED : job->item(job, i, scratch);
	return err;
}

/* Runs job->item over all items of about @work elements each. */
static int vec_run(struct vec_job *job, struct zw_pool *pool, uint32_t work)
{
	uint64_t tasks;

	job->prim = zw_prim_get();
	job->pool = pool;
	job->per_task = TASK_ELEMENTS / (work ? work : 1);
	if (!job->per_task)
		job->per_task = 1;
	tasks = (job->items + job->per_task - 1) / job->per_task;
	return zw_pool_run(pool, vec_task, job, tasks);
}

/* Rows are cut into chunks: the columns are independent. */
static int vec_run_chunks(struct vec_job *job, struct zw_pool *pool, uint32_t rows, uint32_t n)
{
	if (!rows || !n)
		return 0;
	job->n = n;
	job->chunks = (n - 1) / CHUNK + 1;
	job->items = (uint64_t)rows * job->chunks;
	job->scratch = 2 * CHUNK;
	return vec_run(job, pool, n < CHUNK ? n : CHUNK);
}

/* Length of the piece from column c on. */
static size_t piece_at(const struct vec_job *job, size_t c)
{
	return job->n - c < PIECE ? job->n - c : PIECE;
}

static inline const char *at(const struct zw_k_view *v, uint64_t row, uint64_t col)
{
	return zw_k_view_at(v, row, 0) + col * v->size;
}

/* --- RMSNorm --- */

struct norm_job {
	struct vec_job vec;
	struct zw_k_view w;
	float eps;
	bool w1, gated;
	const float *wide; /* w of a row of one piece, shared by all workers */
};

static int norm_item(const struct vec_job *vec, uint64_t item, float *scratch)
{
	const struct norm_job *job = vec->args;
	const struct zw_prim *prim = vec->prim;
	uint64_t row = item / vec->heads, head = item % vec->heads;
	const char *x = zw_k_view_at(&vec->x, row, head);
	char *y = zw_k_view_at(&vec->y, row, head);
	float ms, r, lanes[ZW_LANES] = {0};

	for (size_t c = 0; c < vec->n; c += PIECE) {
		size_t n = piece_at(vec, c);

		if (zw_pool_cancelled(vec->pool))
			return -ECANCELED;
		prim->widen[vec->x.st](scratch, x + c * vec->x.size, n);
		prim->sumsq(lanes, scratch, n);
	}
	ms = zw_lanes_total(lanes) / (float)vec->n;
	r = 1.0f / sqrtf(ms + job->eps);
	for (size_t c = 0; c < vec->n; c += PIECE) {
		size_t n = piece_at(vec, c);
		float *w = scratch + PIECE;

		if (zw_pool_cancelled(vec->pool))
			return -ECANCELED;
		if (vec->n > PIECE) {
			prim->widen[vec->x.st](scratch, x + c * vec->x.size, n);
			prim->widen[job->w.st](w, job->w.ptr + c * job->w.size, n);
		}
		prim->norm(scratch, scratch, job->wide ? job->wide : w, r, job->w1, n);
		if (job->gated) {
			float *gate = scratch + 2 * PIECE;

			prim->widen[vec->z.st](
				gate, zw_k_view_at(&vec->z, row, head) + c * vec->z.size, n);
			prim->swiglu(gate, scratch, n);
			prim->narrow[vec->y.st](y + c * vec->y.size, gate, n);
			continue;
		}
		prim->narrow[vec->y.st](y + c * vec->y.size, scratch, n);
	}
	return 0;
}

int zw_k_rmsnorm(const struct zw_k_rmsnorm_args *args, struct zw_pool *pool)
{
	struct norm_job job = {.eps = args->eps};
	struct vec_job *vec = &job.vec;
	float *wide = NULL;
	int err;

	if (args->flags & ~ZW_K_NORM_WEIGHT_PLUS_1)
		return -EOPNOTSUPP;
	if (!(args->eps >= 0.0f) || isinf(args->eps))
		return -EINVAL;
	err = zw_k_view_in(&vec->x, &args->x, args->rows, args->heads, args->n);
	if (!err)
		err = zw_k_view_in(&job.w, &args->w, 1, 1, args->n);
	if (!err)
		err = zw_k_view_out(&vec->y, &args->y, args->rows, args->heads, args->n);
	if (!err)
		err = zw_k_view_conflict(&vec->y, &vec->x, true);
	if (!err)
		err = zw_k_view_conflict(&vec->y, &job.w, false);
	job.gated = args->gate.ptr;
	if (!err && job.gated)
		err = zw_k_view_in(&vec->z, &args->gate, args->rows, args->heads, args->n);
	if (!err && job.gated)
		err = zw_k_view_conflict(&vec->y, &vec->z, true);
	if (err || !args->rows || !args->heads || !args->n)
		return err;

	if (args->n <= PIECE) {
		wide = aligned_alloc(64, (ZW_PAD((size_t)args->n) * sizeof(float) + 63) / 64 * 64);
		if (!wide)
			return -ENOMEM;
		zw_prim_get()->widen[job.w.st](wide, job.w.ptr, args->n);
	}
	job.wide = wide;
	job.w1 = args->flags & ZW_K_NORM_WEIGHT_PLUS_1;
	vec->args = &job;
	vec->item = norm_item;
	vec->items = (uint64_t)args->rows * args->heads;
	vec->heads = args->heads;
	vec->n = args->n;
	vec->scratch = job.gated          ? 3 * PIECE
		       : args->n <= PIECE ? ZW_PAD((size_t)args->n)
					  : 2 * PIECE;
	err = vec_run(vec, pool, args->n);
	free(wide);
	return err;
}

/* --- rotary embedding --- */

struct rope_job {
	struct vec_job vec;
	const struct zw_k_rope_args *args;
	const int32_t *pos; /* checked copy, or NULL */
};

static int rope_item(const struct vec_job *vec, uint64_t item, float *scratch)
{
	const struct rope_job *job = vec->args;
	const struct zw_k_rope_args *args = job->args;
	const struct zw_prim *prim = vec->prim;
	uint64_t row = item / vec->heads, head = item % vec->heads;
	uint64_t p = job->pos ? (uint64_t)job->pos[row] : (uint64_t)args->pos_base + row;
	uint64_t half = args->rot / 2, size = vec->x.size, out = vec->y.size;
	const char *x = zw_k_view_at(&vec->x, row, head);
	char *y = zw_k_view_at(&vec->y, row, head);
	float *other = scratch + CHUNK;

	for (uint64_t j = 0; j < half; j += CHUNK) {
		size_t n = half - j < CHUNK ? half - j : CHUNK;

		if (zw_pool_cancelled(vec->pool))
			return -ECANCELED;
		prim->widen[vec->x.st](scratch, x + j * size, n);
		prim->widen[vec->x.st](other, x + (half + j) * size, n);
		prim->rope(scratch, other, args->cos_tab + p * args->table_ld + j,
			   args->sin_tab + p * args->table_ld + j, n);
		prim->narrow[vec->y.st](y + j * out, scratch, n);
		prim->narrow[vec->y.st](y + (half + j) * out, other, n);
	}
	for (uint64_t j = args->rot; j < vec->n; j += CHUNK) {
		size_t n = vec->n - j < CHUNK ? vec->n - j : CHUNK;

		if (zw_pool_cancelled(vec->pool))
			return -ECANCELED;
		prim->widen[vec->x.st](scratch, x + j * size, n);
		prim->narrow[vec->y.st](y + j * out, scratch, n);
	}
	return 0;
}

/* A table of [n_pos, rot / 2], and that the output leaves it alone. */
static int rope_check_table(const struct zw_k_rope_args *args, const float *tab,
			    const struct zw_k_view *y)
{
	struct zw_k_view v;
	uint64_t count;

	if (!args->rot || !args->n_pos)
		return 0;
	if (__builtin_mul_overflow((uint64_t)args->n_pos - 1, args->table_ld, &count) ||
	    __builtin_add_overflow(count, (uint64_t)args->rot / 2, &count) ||
	    zw_k_view_array(&v, tab, count, sizeof(float)))
		return -EINVAL;
	return zw_k_view_conflict(y, &v, false);
}

int zw_k_rope(const struct zw_k_rope_args *args, struct zw_pool *pool)
{
	struct rope_job job = {.args = args};
	struct vec_job *vec = &job.vec;
	int32_t *copy = NULL;
	int err;

	if (args->flags)
		return -EOPNOTSUPP;
	if (args->rot % 2 || args->rot > args->d)
		return -EINVAL;
	err = zw_k_view_in(&vec->x, &args->x, args->rows, args->heads, args->d);
	if (!err)
		err = zw_k_view_out(&vec->y, &args->y, args->rows, args->heads, args->d);
	if (!err)
		err = zw_k_view_conflict(&vec->y, &vec->x, true);
	if (!err)
		err = rope_check_table(args, args->cos_tab, &vec->y);
	if (!err)
		err = rope_check_table(args, args->sin_tab, &vec->y);
	if (err || !args->rows || !args->heads || !args->d)
		return err;
	err = zw_index_copy(&copy, args->positions, args->rows, args->pos_base, args->n_pos,
			    args->fault);
	if (err)
		return err;
	job.pos = copy;
	vec->args = &job;
	vec->item = rope_item;
	vec->items = (uint64_t)args->rows * args->heads;
	vec->heads = args->heads;
	vec->n = args->d;
	vec->scratch = 2 * CHUNK;
	err = vec_run(vec, pool, args->d);
	free(copy);
	return err;
}

/* --- element by element --- */

static int pair_item(const struct vec_job *vec, uint64_t item, float *scratch, bool swiglu)
{
	const struct zw_prim *prim = vec->prim;
	uint64_t row = item / vec->chunks, col = item % vec->chunks * CHUNK;
	size_t n = vec->n - col < CHUNK ? vec->n - col : CHUNK;
	float *other = scratch + CHUNK;

	prim->widen[vec->x.st](scratch, at(&vec->x, row, col), n);
	prim->widen[vec->z.st](other, at(&vec->z, row, col), n);
	(swiglu ? prim->swiglu : prim->add)(scratch, other, n);
	prim->narrow[vec->y.st]((char *)at(&vec->y, row, col), scratch, n);
	return 0;
}

static int swiglu_item(const struct vec_job *vec, uint64_t item, float *scratch)
{
	return pair_item(vec, item, scratch, true);
}

static int add_item(const struct vec_job *vec, uint64_t item, float *scratch)
{
	return pair_item(vec, item, scratch, false);
}

/* out = f(a, b), all [rows, n]. */
static int run_pair(struct vec_job *vec, uint32_t rows, uint32_t n, const struct zw_k_in *a,
		    const struct zw_k_in *b, const struct zw_k_out *out, struct zw_pool *pool)
{
	int err = zw_k_view_in(&vec->x, a, rows, 1, n);

	if (!err)
		err = zw_k_view_in(&vec->z, b, rows, 1, n);
	if (!err)
		err = zw_k_view_out(&vec->y, out, rows, 1, n);
	if (!err)
		err = zw_k_view_conflict(&vec->y, &vec->x, true);
	if (!err)
		err = zw_k_view_conflict(&vec->y, &vec->z, true);
	return err ? err : vec_run_chunks(vec, pool, rows, n);
}

int zw_k_swiglu(const struct zw_k_swiglu_args *args, struct zw_pool *pool)
{
	struct vec_job vec = {.item = swiglu_item};

	if (args->flags)
		return -EOPNOTSUPP;
	return run_pair(&vec, args->rows, args->n, &args->gate, &args->up, &args->out, pool);
}

int zw_k_add(const struct zw_k_add_args *args, struct zw_pool *pool)
{
	struct vec_job vec = {.item = add_item};

	return run_pair(&vec, args->rows, args->n, &args->a, &args->b, &args->out, pool);
}

struct sigmoid_job {
	struct vec_job vec;
	struct zw_k_view residual;
	bool row_gate, add;
};

static int sigmoid_item(const struct vec_job *vec, uint64_t item, float *scratch)
{
	const struct sigmoid_job *job = vec->args;
	const struct zw_prim *prim = vec->prim;
	uint64_t col = item % vec->chunks * CHUNK, row = item / vec->chunks / vec->heads,
		 head = item / vec->chunks % vec->heads;
	size_t n = vec->n - col < CHUNK ? vec->n - col : CHUNK;
	float *other = scratch + CHUNK;

	prim->widen[vec->x.st](scratch, zw_k_view_at(&vec->x, row, head) + col * vec->x.size, n);
	if (job->row_gate) {
		prim->widen[vec->z.st](other, zw_k_view_at(&vec->z, row, 0), 1);
		prim->scale(scratch, zw_sigmoidf(other[0]), n);
	} else {
		prim->widen[vec->z.st](other, zw_k_view_at(&vec->z, row, head) + col * vec->z.size,
				       n);
		prim->mul_sigmoid(scratch, other, n);
	}
	if (job->add) {
		prim->widen[job->residual.st](
			other, zw_k_view_at(&job->residual, row, head) + col * job->residual.size,
			n);
		prim->add(scratch, other, n);
	}
	prim->narrow[vec->y.st](zw_k_view_at(&vec->y, row, head) + col * vec->y.size, scratch, n);
	return 0;
}

int zw_k_mul_sigmoid(const struct zw_k_mul_sigmoid_args *args, struct zw_pool *pool)
{
	struct sigmoid_job job = {.row_gate = args->flags & ZW_K_SIGMOID_ROW_GATE,
				  .add = args->residual.ptr};
	struct vec_job *vec = &job.vec;
	int err;

	if (args->flags & ~ZW_K_SIGMOID_ROW_GATE)
		return -EOPNOTSUPP;
	err = zw_k_view_in(&vec->x, &args->x, args->rows, args->heads, args->n);
	if (!err)
		err = job.row_gate ? zw_k_view_in(&vec->z, &args->gate, args->rows, 1, 1)
				   : zw_k_view_in(&vec->z, &args->gate, args->rows, args->heads,
						  args->n);
	if (!err && job.add)
		err = zw_k_view_in(&job.residual, &args->residual, args->rows, args->heads,
				   args->n);
	if (!err)
		err = zw_k_view_out(&vec->y, &args->out, args->rows, args->heads, args->n);
	if (!err)
		err = zw_k_view_conflict(&vec->y, &vec->x, true);
	if (!err)
		err = zw_k_view_conflict(&vec->y, &vec->z, !job.row_gate);
	if (!err && job.add)
		err = zw_k_view_conflict(&vec->y, &job.residual, true);
	if (err || !args->rows || !args->heads || !args->n)
		return err;
	vec->args = &job;
	vec->item = sigmoid_item;
	vec->heads = args->heads;
	vec->n = args->n;
	vec->chunks = (args->n - 1) / CHUNK + 1;
	vec->items = (uint64_t)args->rows * args->heads * vec->chunks;
	vec->scratch = 2 * CHUNK;
	return vec_run(vec, pool, args->n < CHUNK ? args->n : CHUNK);
}

/* --- softmax --- */

/* Widened and scaled elements c.. of a row. */
static size_t softmax_load(const struct vec_job *vec, const char *x, size_t c, float *scratch)
{
	const struct zw_k_softmax_args *args = vec->args;
	size_t n = piece_at(vec, c);

	vec->prim->widen[vec->x.st](scratch, x + c * vec->x.size, n);
	vec->prim->scale(scratch, args->scale, n);
	return n;
}

static int softmax_item(const struct vec_job *vec, uint64_t row, float *scratch)
{
	const struct zw_prim *prim = vec->prim;
	const char *x = zw_k_view_at(&vec->x, row, 0);
	char *y = zw_k_view_at(&vec->y, row, 0);
	float lanes[ZW_LANES] = {0}, unused[ZW_LANES] = {0}, m = -INFINITY, sum;
	bool whole = vec->n <= PIECE;
	size_t n = 0;

	for (size_t c = 0; c < vec->n; c += PIECE) {
		float most;

		if (zw_pool_cancelled(vec->pool))
			return -ECANCELED;
		n = softmax_load(vec, x, c, scratch);
		most = prim->max(scratch, n);
		m = most > m ? most : m;
	}
	for (size_t c = 0; c < vec->n; c += PIECE) {
		if (zw_pool_cancelled(vec->pool))
			return -ECANCELED;
		if (!whole)
			n = softmax_load(vec, x, c, scratch);
		prim->expsum(lanes, scratch, m, n);
	}
	sum = zw_lanes_total(lanes);
	for (size_t c = 0; c < vec->n; c += PIECE) {
		if (zw_pool_cancelled(vec->pool))
			return -ECANCELED;
		if (!whole) {
			n = softmax_load(vec, x, c, scratch);
			prim->expsum(unused, scratch, m, n);
		}
		prim->div(scratch, sum, n);
		prim->narrow[vec->y.st](y + c * vec->y.size, scratch, n);
	}
	return 0;
}

int zw_k_softmax(const struct zw_k_softmax_args *args, struct zw_pool *pool)
{
	struct vec_job vec = {.item = softmax_item, .args = args};
	int err;

	if (!isfinite(args->scale))
		return -EINVAL;
	err = zw_k_view_in(&vec.x, &args->x, args->rows, 1, args->n);
	if (!err)
		err = zw_k_view_out(&vec.y, &args->y, args->rows, 1, args->n);
	if (!err)
		err = zw_k_view_conflict(&vec.y, &vec.x, true);
	if (err || !args->rows || !args->n)
		return err;
	vec.items = args->rows;
	vec.n = args->n;
	vec.scratch = ZW_PAD((size_t)(args->n < PIECE ? args->n : PIECE));
	return vec_run(&vec, pool, args->n);
}

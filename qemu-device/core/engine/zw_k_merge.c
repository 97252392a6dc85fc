// SPDX-License-Identifier: MIT
/* Attention over parts of the keys, taken together by the logarithms of the parts' denominators. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "zhenwu/zw_types.h"
#include "zw_k_check.h"
#include "zw_k_math.h"
#include "zw_k_prim.h"
#include "zw_kernels.h"

/* Elements read by a task: some ten microseconds of work. */
#define TASK_ELEMENTS 16384u

struct merge_job {
	const struct zw_prim *prim;
	struct zw_pool *pool;
	const struct zw_k_merge_args *args;
	struct zw_k_view *x; /* of each part */
	struct zw_k_view y;
	uint64_t items, per_task; /* heads of rows */
};

static void merge_head(const struct merge_job *job, uint64_t row, uint32_t head, float *acc)
{
	const struct zw_k_merge_args *a = job->args;
	float lse[ZW_K_MERGE_MAX_PARTS], most = -INFINITY, total = 1.0f;
	bool begun = false;

	/* Read once: a guest may change them meanwhile. */
	for (uint32_t i = 0; i < a->parts; i++) {
		lse[i] = a->x_lse[i][row * a->x_lse_ld + head];
		most = lse[i] > most ? lse[i] : most;
	}
	for (uint32_t i = 0; i < a->parts; i++) {
		const char *x = zw_k_view_at(&job->x[i], row, head);
		float w;

		if (lse[i] == -INFINITY)
			continue;
		w = zw_expf(lse[i] - most);
		if (begun) {
			total = total + w;
			job->prim->weigh[job->x[i].st](1, acc, a->d, &w, 1, x, a->d, 1, a->d);
			continue;
		}
		begun = true;
		total = w;
		job->prim->widen[job->x[i].st](acc, x, a->d);
		job->prim->scale(acc, w, a->d);
	}
	for (uint32_t c = 0; c < a->d && !begun; c++)
		acc[c] = 0.0f;
	job->prim->div(acc, total, a->d);
	job->prim->narrow[job->y.st](zw_k_view_at(&job->y, row, head), acc, a->d);
	if (a->lse)
		a->lse[row * a->lse_ld + head] = zw_f32_canon(most + zw_logf(total));
}

static int merge_task(void *arg, uint64_t task, unsigned int slot)
{
	const struct merge_job *job = arg;
	uint64_t i = task * job->per_task, end = i + job->per_task;
	float *acc = zw_pool_scratch(job->pool, slot, ZW_PAD((size_t)job->args->d) * sizeof(float));

	if (!acc)
		return -ENOMEM;
	for (; i < end && i < job->items; i++) {
		if (zw_pool_cancelled(job->pool))
			return -ECANCELED;
		merge_head(job, i / job->args->heads, (uint32_t)(i % job->args->heads), acc);
	}
	return 0;
}

/* The scores of all parts, and where the merged ones go, share nothing with anything written. */
static int check_lses(const struct merge_job *job)
{
	const struct zw_k_merge_args *a = job->args;
	struct zw_k_out o = {.ptr = a->lse, .dtype = ZW_DTYPE_F32, .ld = a->lse_ld};
	struct zw_k_view lse = {0}, part;
	int err = a->lse ? zw_k_view_out(&lse, &o, a->rows, 1, a->heads) : 0;

	if (!err)
		err = zw_k_view_conflict(&lse, &job->y, false);
	for (uint32_t i = 0; i < a->parts && !err; i++) {
		struct zw_k_in in = {.ptr = a->x_lse[i], .dtype = ZW_DTYPE_F32, .ld = a->x_lse_ld};

		err = zw_k_view_in(&part, &in, a->rows, 1, a->heads);
		if (!err)
			err = zw_k_view_conflict(&lse, &part, false);
		if (!err)
			err = zw_k_view_conflict(&job->y, &part, false);
		if (!err)
			err = zw_k_view_conflict(&lse, &job->x[i], false);
	}
	return err;
}

int zw_k_merge(const struct zw_k_merge_args *args, struct zw_pool *pool)
{
	struct merge_job job = {.prim = zw_prim_get(), .pool = pool, .args = args};
	uint64_t work = (uint64_t)args->parts * args->d;
	int err;

	if (!args->parts || args->parts > ZW_K_MERGE_MAX_PARTS || !args->heads || !args->d ||
	    !args->x || !args->x_lse)
		return -EINVAL;
	err = zw_k_view_out(&job.y, &args->y, args->rows, args->heads, args->d);
	if (err || !args->rows)
		return err;
	job.x = calloc(args->parts, sizeof(*job.x));
	if (!job.x)
		return -ENOMEM;
	for (uint32_t i = 0; i < args->parts && !err; i++) {
		err = zw_k_view_in(&job.x[i], &args->x[i], args->rows, args->heads, args->d);
		if (!err)
			err = zw_k_view_conflict(&job.y, &job.x[i], false);
	}
	if (!err)
		err = check_lses(&job);
	job.items = (uint64_t)args->rows * args->heads;
	job.per_task = work < TASK_ELEMENTS ? TASK_ELEMENTS / work : 1;
	if (!err)
		err = zw_pool_run(pool, merge_task, &job,
				  (job.items + job.per_task - 1) / job.per_task);
	free(job.x);
	return err;
}

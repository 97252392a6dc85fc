// SPDX-License-Identifier: MIT
/* Activations to I8 and F8, each block of a row with a scale of its own. */
#include <errno.h>

#include "zhenwu/zw_types.h"
#include "zw_k_check.h"
#include "zw_k_quant.h"

/* Elements of a task at least. */
#define TASK_ELEMENTS (32u << 10)

int zw_q_target_of(uint32_t dtype, enum zw_q_target *to)
{
	switch (dtype) {
	case ZW_DTYPE_I8:
		*to = ZW_Q_TO_I8;
		return 0;
	case ZW_DTYPE_F8E4M3:
		*to = ZW_Q_TO_F8E4M3;
		return 0;
	case ZW_DTYPE_F8E5M2:
		*to = ZW_Q_TO_F8E5M2;
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

float zw_q_quantise(const struct zw_prim *prim, enum zw_q_target to, void *dst, float *x, size_t n)
{
	static const float largest[] = {
		[ZW_Q_TO_I8] = 127.0f, [ZW_Q_TO_F8E4M3] = 448.0f, [ZW_Q_TO_F8E5M2] = 57344.0f};
	float s = prim->quant->absmax(x, n) / largest[to];

	if (s == 0.0f)
		s = 1.0f;
	prim->div(x, s, n);
	prim->quant->narrow[to](dst, x, n);
	return s;
}

struct quantize_job {
	const struct zw_k_quantize_args *args;
	const struct zw_prim *prim;
	struct zw_pool *pool;
	struct zw_k_view x, y, scale;
	enum zw_q_target to;
	uint64_t rows_task;
};

/* One row: of a head, if rows have heads. */
static int quantize_row(const struct quantize_job *job, uint64_t row, float *scratch)
{
	const struct zw_k_quantize_args *p = job->args;
	uint64_t r = row / p->heads, head = row % p->heads;
	float *scale = (float *)(void *)zw_k_view_at(&job->scale, r, head);

	for (uint32_t c = 0, n; c < p->n; c += n, scale++) {
		float s;

		n = p->n - c < p->block ? p->n - c : p->block;
		if (zw_pool_cancelled(job->pool))
			return -ECANCELED;
		job->prim->widen[job->x.st](
			scratch, zw_k_view_at(&job->x, r, head) + (uint64_t)c * job->x.size, n);
		s = zw_q_quantise(job->prim, job->to, zw_k_view_at(&job->y, r, head) + c, scratch,
				  n);
		job->prim->narrow[ZW_ST_F32](scale, &s, 1);
	}
	return 0;
}

static int quantize_task(void *arg, uint64_t task, unsigned int slot)
{
	const struct quantize_job *job = arg;
	const struct zw_k_quantize_args *p = job->args;
	uint64_t row = task * job->rows_task, end = row + job->rows_task;
	uint64_t rows = (uint64_t)p->rows * p->heads;
	size_t block = p->block < p->n ? p->block : p->n;
	float *scratch = zw_pool_scratch(job->pool, slot, ZW_PAD(block) * sizeof(float));

	if (!scratch)
		return -ENOMEM;
	for (; row < end && row < rows; row++) {
		int err = quantize_row(job, row, scratch);

		if (err)
			return err;
	}
	return 0;
}

int zw_k_quantize(const struct zw_k_quantize_args *args, struct zw_pool *pool)
{
	struct quantize_job job = {.args = args, .prim = zw_prim_get(), .pool = pool};
	uint64_t rows = (uint64_t)args->rows * args->heads;
	int err = zw_q_target_of(args->y.dtype, &job.to);

	if (!err && args->scale.dtype != ZW_DTYPE_F32)
		err = -EOPNOTSUPP;
	if (!err && !args->block)
		err = -EINVAL;
	if (!err)
		err = zw_k_view_in(&job.x, &args->x, args->rows, args->heads, args->n);
	if (!err)
		err = zw_k_view_bytes_out(&job.y, &args->y, args->rows, args->heads, args->n);
	if (!err)
		err = zw_k_view_out(&job.scale, &args->scale, args->rows, args->heads,
				    args->n ? (args->n - 1) / args->block + 1 : 0);
	if (!err)
		err = zw_k_view_conflict(&job.y, &job.x, false);
	if (!err)
		err = zw_k_view_conflict(&job.scale, &job.x, false);
	if (!err)
		err = zw_k_view_conflict(&job.scale, &job.y, false);
	if (err || !rows || !args->n)
		return err;
	job.rows_task = args->n < TASK_ELEMENTS ? TASK_ELEMENTS / args->n : 1;
	return zw_pool_run(pool, quantize_task, &job, (rows - 1) / job.rows_task + 1);
}

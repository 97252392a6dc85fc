// SPDX-License-Identifier: MIT
/*
 * Products with quantised weights and activations that are not.
 *
 * W stands for what its rows are in F32, so every output is the dot product of the specification. For few
 * rows of A, W is dequantised in registers where it meets them; for more, strips of it are
 * dequantised into the first-level cache and packed for the tiles, and meet all rows of a block of A.
 */
#include <errno.h>

#include "zw_k_gemm.h"

/* Bytes of W in a task of direct products. */
#define TASK_BYTES (256u << 10)
/* Up to so many elements of A, packed: beyond it K is better cut, and a call too long to be cancelled. */
#define FEW_A      (128u << 10)
/* Floats of sums. */
#define TASK_OUT   (64u << 10)

static inline uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static const struct zw_q_direct *direct_for(const struct gemm_job *job)
{
	const struct zw_q_prim *quant = job->prim->quant;

	return &quant->direct[job->m > quant->direct[0].rows];
}

bool zw_gemm_quant_direct(const struct gemm_job *job)
{
	return job->q.used && job->m <= job->prim->quant->direct[1].rows &&
	       (uint64_t)job->m * job->k <= FEW_A &&
	       (job->q.format >= ZW_Q_FIRST_RECORD ||
		zw_q_direct_group(job->q.scale.group, job->k));
}

uint64_t zw_gemm_quant_plan(struct gemm_job *job, bool small)
{
	const struct zw_q_direct *direct = direct_for(job);
	uint64_t row_bytes = zw_q_bytes(&job->q, job->k ? job->k : job->q.block);
	uint64_t count = small ? job->n : TASK_BYTES / row_bytes;
	uint64_t share = job->n / (4u * zw_pool_workers(job->pool));

	if (count > TASK_OUT / job->m)
		count = TASK_OUT / job->m;
	if (!small && count > share)
		count = share;
	count = (count + direct->cols - 1) / direct->cols;
	job->task_m = job->m;
	job->task_n = (uint32_t)(count ? count : 1) * direct->cols;
	job->tasks_n = (uint32_t)(((uint64_t)job->n + job->task_n - 1) / job->task_n);
	return job->tasks_n;
}

int zw_gemm_quant_task(struct gemm_job *job, uint64_t task, unsigned int slot)
{
	const struct zw_q_direct *direct = direct_for(job);
	const struct zw_q_matrix *q = &job->q;
	uint32_t n0 = (uint32_t)task * job->task_n, count = min_u32(job->task_n, job->n - n0);
	uint32_t cols = direct->cols, apart = (count + cols - 1) / cols;
	size_t pk = ZW_PAD((size_t)job->k), scales = zw_q_scale_floats(q, job->k);
	float *a = zw_pool_scratch(
		job->pool, slot,
		sizeof(float) * (direct->rows * pk + cols * scales + (size_t)job->m * job->task_n));
	float *s = a + direct->rows * pk, *out = s + cols * scales;

	if (!a)
		return -ENOMEM;
	if (job->packed[slot] != job->first_task + 1) {
		const void *ptrs[ZW_DIRECT_MAX_ROWS];

		zw_gemm_a_ptrs(ptrs, job, 0, job->m, 0);
		job->prim->pack[job->a.st](a, direct->rows, ptrs, job->m, job->k);
		job->packed[slot] = job->first_task + 1;
	}
	/* The rows taken at a time lie apart, so that each is a stream through memory. */
	for (uint32_t j = 0; j < apart; j++) {
		ZW_UNSET float part[ZW_Q_DIRECT_OUT];
		ZW_UNSET struct zw_q_row w[ZW_Q_DIRECT_MAX_COLS];
		size_t phase;

		if (zw_pool_cancelled(job->pool))
			return -ECANCELED;
		for (uint32_t c = 0; c < cols; c++) {
			/* Beyond the last row it stands in for those that are not there. */
			uint32_t row = n0 + min_u32(c * apart + j, count - 1);

			w[c] = zw_q_row_at(q, job->prim, zw_k_view_at(&job->w, row, 0), row, 0,
					   job->k, s + c * scales, &phase);
		}
		direct->fn[q->format](a, w, job->k, q->scale.group, part);
		for (uint32_t r = 0; r < job->m; r++)
			for (uint32_t c = 0; c < cols && c * apart + j < count; c++)
				out[r * job->task_n + c * apart + j] = part[r * cols + c];
	}
	for (uint32_t i = 0; i < job->m; i++)
		zw_gemm_store_row(job, out + (size_t)i * job->task_n, i, n0, count);
	return 0;
}

size_t zw_gemm_quant_floats(const struct gemm_job *job, uint32_t kc)
{
	if (!job->q.used)
		return 0;
	return job->prim->tile_cols * ZW_PAD((size_t)kc) + zw_q_scale_floats(&job->q, kc);
}

void zw_gemm_quant_pack(const struct gemm_job *job, float *dst, uint32_t row, uint32_t rows,
			uint32_t k0, uint32_t kc, float *scratch)
{
	float *wide = scratch, *scales = scratch + job->prim->tile_cols * ZW_PAD((size_t)kc);
	const void *ptrs[ZW_TILE_MAX_COLS];

	for (uint32_t i = 0; i < rows; i++) {
		size_t phase;
		struct zw_q_row w =
			zw_q_row_at(&job->q, job->prim, zw_k_view_at(&job->w, row + i, 0), row + i,
				    k0, kc, scales, &phase);

		job->prim->quant->dequant[job->q.format](wide, &w, phase, job->q.scale.group, kc);
		ptrs[i] = wide;
		wide += ZW_PAD((size_t)kc);
	}
	job->prim->pack[ZW_ST_F32](dst, job->prim->tile_cols, ptrs, rows, kc);
}

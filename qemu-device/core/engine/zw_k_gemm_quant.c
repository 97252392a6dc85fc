// SPDX-License-Identifier: MIT
/*
 * Products with quantised weights and activations that are not.
 *
 * W stands for what its rows are in F32, so every output is the dot product of the specification. For few
 * rows of A, W is dequantised in registers where it meets them; for more, strips of it are
 * dequantised into the first-level cache as the tiles want them, and meet all rows of a block of A.
 */
#include <errno.h>
#include <string.h>

#include "zw_k_gemm.h"

/* Bytes of W in a task of direct products. */
#define TASK_BYTES  (256u << 10)
/* Up to so many elements of A, packed: beyond it K is better cut, and a call too long to be cancelled. */
#define FEW_A       (128u << 10)
/* Floats of scales and zero points that a task has at once: some of the second-level cache. */
#define MANY_SCALES (64u << 10)
/* Floats of sums. */
#define TASK_OUT    (64u << 10)

static inline uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static const struct zw_q_direct *direct_for(const struct gemm_job *job)
{
	return zw_q_direct_for(job->prim->quant, job->q.format, job->m);
}

bool zw_gemm_quant_direct(const struct gemm_job *job)
{
	return job->q.used && job->m <= job->prim->quant->direct_most[job->q.format] &&
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

/* Floats of the packed rows of A. */
static size_t a_floats(const struct gemm_job *job, const struct zw_q_direct *direct)
{
	return (job->m + direct->rows - 1) / direct->rows * direct->rows * ZW_PAD((size_t)job->k);
}

static void pack_rows(const struct gemm_job *job, const struct zw_q_direct *direct, float *a)
{
	const struct zw_q_prim *quant = job->prim->quant;
	size_t floats = direct->rows * ZW_PAD((size_t)job->k);

	for (uint32_t i = 0; i < job->m; i += direct->rows, a += floats) {
		uint32_t rows = min_u32(direct->rows, job->m - i);
		const void *ptrs[ZW_DIRECT_MAX_ROWS];

		zw_gemm_a_ptrs(ptrs, job, i, rows, 0);
		job->prim->pack[job->a.st](a, direct->rows, ptrs, rows, job->k);
		if (quant->arrange)
			quant->arrange(job->q.format, a, floats);
	}
}

int zw_gemm_quant_task(struct gemm_job *job, uint64_t task, unsigned int slot)
{
	const struct zw_q_direct *direct = direct_for(job);
	const struct zw_q_matrix *q = &job->q;
	uint32_t n0 = (uint32_t)task * job->task_n, count = min_u32(job->task_n, job->n - n0);
	uint32_t cols = direct->cols, apart = (count + cols - 1) / cols;
	size_t a_size = a_floats(job, direct), scales = zw_q_scales_floats(q, job->task_n, job->k);
	float *a = zw_pool_scratch(
		job->pool, slot, sizeof(float) * (a_size + scales + (size_t)job->m * job->task_n));
	float *s = a + a_size, *out = s + scales;
	struct zw_q_scales sc;

	if (!a)
		return -ENOMEM;
	if (job->packed[slot] != job->first_task + 1) {
		pack_rows(job, direct, a);
		job->packed[slot] = job->first_task + 1;
	}
	zw_q_scales_load(&sc, q, job->prim, n0, count, job->k, s);
	zw_q_scales_prepare(&sc, q, job->prim);
	/*
	 * The first rows of A read W from memory, the others find it in a cache. The rows of W taken at a time lie apart,
	 * so that each is a stream through memory.
	 */
	for (uint32_t i = 0; i < job->m;
	     i += direct->rows, a += direct->rows * ZW_PAD((size_t)job->k))
		for (uint32_t j = 0; j < apart; j++) {
			ZW_UNSET float part[ZW_Q_DIRECT_OUT];
			ZW_UNSET struct zw_q_row w[ZW_Q_DIRECT_MAX_COLS];

			if (zw_pool_cancelled(job->pool))
				return -ECANCELED;
			/* Beyond the last row it stands in for those that are not there. */
			for (uint32_t c = 0; c < cols; c++) {
				uint32_t row = min_u32(c * apart + j, count - 1);

				w[c] = zw_q_scales_row(&sc, zw_k_view_at(&job->w, n0 + row, 0),
						       row);
			}
			direct->fn[sc.way][q->format](a, w, job->k, q->scale.group, part);
			for (uint32_t r = 0; r < direct->rows && i + r < job->m; r++)
				for (uint32_t c = 0; c < cols && c * apart + j < count; c++)
					out[(i + r) * job->task_n + c * apart + j] =
						part[r * cols + c];
		}
	for (uint32_t i = 0; i < job->m; i++)
		zw_gemm_store_row(job, out + (size_t)i * job->task_n, i, n0, count);
	return 0;
}

/* Whether scales of so many whole rows are few enough to be kept. */
static bool keeps_scales(const struct gemm_job *job, uint32_t rows)
{
	return zw_q_scales_floats(&job->q, rows, job->k) <= MANY_SCALES;
}

size_t zw_gemm_quant_floats(const struct gemm_job *job, uint32_t most, uint32_t kc)
{
	if (!job->q.used)
		return 0;
	return keeps_scales(job, most) ? zw_q_scales_floats(&job->q, most, job->k)
				       : zw_q_scale_floats(&job->q, kc);
}

void zw_gemm_quant_begin(const struct gemm_job *job, struct gemm_scales *s, uint32_t row,
			 uint32_t rows, uint32_t most, float *scratch)
{
	s->scratch = scratch;
	s->first = row;
	s->whole = job->q.used && keeps_scales(job, most);
	if (s->whole)
		zw_q_scales_load(&s->rows, &job->q, job->prim, row, rows, job->k, scratch);
}

/* Elements k0 .. k0 + kc of a row; *phase: of the first one in its group. */
static struct zw_q_row row_at(const struct gemm_job *job, const struct gemm_scales *s, uint32_t row,
			      uint32_t k0, uint32_t kc, size_t *phase)
{
	const char *ptr = zw_k_view_at(&job->w, row, 0);
	struct zw_q_row w;

	if (!s->whole)
		return zw_q_row_at(&job->q, job->prim, ptr, row, k0, kc, s->scratch, phase);
	w = zw_q_scales_row(&s->rows, ptr + zw_q_bytes(&job->q, k0), row - s->first);
	w.scale += k0 / job->q.scale.group;
	w.zero += k0 / job->q.scale.group;
	*phase = k0 % job->q.scale.group;
	return w;
}

void zw_gemm_quant_pack(const struct gemm_job *job, float *dst, uint32_t row, uint32_t rows,
			uint32_t k0, uint32_t kc, const struct gemm_scales *scales)
{
	const uint32_t cols = job->prim->tile_cols, step = cols * ZW_LANES;

	for (uint32_t i = 0; i < cols; i++, dst += ZW_LANES) {
		size_t phase;
		struct zw_q_row w;

		if (i >= rows) {
			for (size_t c = 0; c < ZW_PAD((size_t)kc) / ZW_LANES; c++)
				memset(dst + c * step, 0, ZW_LANES * sizeof(*dst));
			continue;
		}
		w = row_at(job, scales, row + i, k0, kc, &phase);
		job->prim->quant->dequant[job->q.format](dst, step, &w, phase, job->q.scale.group,
							 kc);
	}
}

// SPDX-License-Identifier: MIT
/*
 * Products of quantised activations with weights of their kind: I8 with I8, F8 with F8.
 *
 * K is cut into the groups of the scales. In each, the product of the numbers as they are is exact (I8) or a
 * dot product of the specification (F8); it is then multiplied by both scales and added to what the groups
 * before it gave. The order of these additions is that of the groups, whatever the blocking.
 */
#include <errno.h>

#include "zhenwu/zw_types.h"
#include "zw_k_gemm.h"
#include "zw_k_i8.h"
#include "zw_small_float.h"

/* Bytes of packed rows of A in a task; rows of W. */
#define TASK_A   (192u << 10)
#define TASK_N   64u
#define MAX_M    128u
/* Few rows of I8, and how many columns they take at a time: as many as a product of them. */
#define FEW_M    4u
#define FEW_COLS 4u

static inline uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static uint32_t groups_of(const struct gemm_job *job)
{
	return job->k ? (job->k - 1) / job->q.scale.group + 1 : 0;
}

/* Bytes of a packed row of A, and of the group of elements k0... of `rows` rows. */
static size_t a_bytes(const struct gemm_job *job, uint32_t rows, uint32_t k)
{
	if (job->a_i8)
		return (size_t)rows * ((k + ZW_I8_STEP - 1) / ZW_I8_STEP * ZW_I8_STEP) *
		       job->i8->size;
	return rows * ZW_PAD((size_t)k) * sizeof(float);
}

/* The type of an element of A as a format of one without scales. */
static enum zw_q_format f8_format(uint32_t dtype)
{
	return dtype == ZW_DTYPE_F8E4M3 ? ZW_Q_F8E4M3 : ZW_Q_F8E5M2;
}

int zw_gemm_scaled_check(struct gemm_job *job, uint32_t dtype, const struct zw_k_scales *scale)
{
	bool a_f8 = dtype == ZW_DTYPE_F8E4M3 || dtype == ZW_DTYPE_F8E5M2;
	uint32_t group = job->q.scale.group;

	job->a_i8 = dtype == ZW_DTYPE_I8;
	job->a_scale = *scale;
	if (!job->q.used)
		return -EOPNOTSUPP;
	if (!(job->a_i8 && job->q.format == ZW_Q_I8) &&
	    !(a_f8 && (job->q.format == ZW_Q_F8E4M3 || job->q.format == ZW_Q_F8E5M2)))
		return -EOPNOTSUPP;
	if (!scale->ptr || !scale->rows || !scale->group || scale->dtype != ZW_DTYPE_F32 ||
	    (uintptr_t)scale->ptr % sizeof(float))
		return -EINVAL;
	/* One group for all of K may be of any length. */
	if (min_u32(scale->group, job->k) != min_u32(group, job->k) ||
	    (job->a_i8 && min_u32(group, job->k) > ZW_I8_MAX_K))
		return -EINVAL;
	job->i8 = zw_i8_get();
	if (a_f8)
		job->a_format = f8_format(dtype);
	job->scaled = true;
	return 0;
}

/* Few rows of F8 meet W dequantised in registers; NULL: it is the tiles' way, or that of I8. */
static const struct zw_q_direct *direct_of(const struct gemm_job *job)
{
	const struct zw_q_direct *direct = zw_q_direct_for(job->prim->quant, job->q.format, job->m);

	return job->a_i8 || job->m > direct->rows ? NULL : direct;
}

uint64_t zw_gemm_scaled_plan(struct gemm_job *job)
{
	const struct zw_q_direct *direct = direct_of(job);
	uint64_t fit = TASK_A / (a_bytes(job, 1, job->k ? job->k : 1));
	uint32_t step = job->a_i8 ? ZW_I8_MAX_ROWS : job->prim->tile_rows;
	uint64_t blocks;

	if (direct)
		step = direct->rows;

	fit = fit < step ? step : fit / step * step;
	fit = fit > MAX_M ? MAX_M : fit;
	blocks = (job->m + fit - 1) / fit;
	job->task_m = (uint32_t)((job->m + blocks - 1) / blocks);
	job->task_m = (job->task_m + step - 1) / step * step;
	job->task_n = TASK_N;
	job->tasks_n = (job->n - 1) / TASK_N + 1;
	return (uint64_t)((job->m - 1) / job->task_m + 1) * job->tasks_n;
}

/* A task's memory. */
struct scaled {
	struct gemm_job *job;
	char *a;        /* packed rows of A, group by group */
	float *fa, *fw; /* scales: [rows, groups], [groups, TASK_N] */
	float *out, *part;
	float *w, *wide; /* a strip packed for a tile; F8: rows of it in F32 */
	uint32_t m0, rows, n0, cols, groups;
	size_t ldo;
};

static char *a_at(const struct gemm_job *job, uint32_t row)
{
	if (!job->pairs)
		return zw_k_view_at(&job->a, row, 0);
	return zw_k_view_at(&job->a, job->pairs[row] / job->per_row,
			    job->pairs[row] % job->per_row);
}

/* Scales of a row of A: of a row, and head, of the matrix that it is from. */
static const float *a_scales(const struct gemm_job *job, uint32_t row)
{
	const struct zw_k_scales *s = &job->a_scale;
	uint64_t r = row, head = 0;

	if (job->pairs) {
		r = job->pairs[row] / job->per_row;
		head = job->pairs[row] % job->per_row;
	}
	/* Where rows have heads, block[0] counts these. */
	return (const float *)s->ptr +
	       (s->hs ? r * s->ld + head / s->rows * s->hs : r / s->rows * s->ld);
}

/* Rows of A as they meet W, one group of K after the other. */
static int pack_a(const struct scaled *t)
{
	const struct gemm_job *job = t->job;
	const struct zw_prim *prim = job->prim;
	const struct zw_q_direct *direct = direct_of(job);
	uint32_t step = direct ? direct->rows : prim->tile_rows, group = job->q.scale.group;
	static const float one = 1.0f;
	char *to = t->a;

	for (uint32_t k0 = 0, kc; k0 < job->k; k0 += kc) {
		kc = min_u32(job->k - k0, group);
		if (zw_pool_cancelled(job->pool))
			return -ECANCELED;
		if (job->a_i8) {
			size_t row = a_bytes(job, 1, kc);

			for (uint32_t i = 0; i < t->rows; i++)
				job->i8->pack(to + i * row,
					      (const int8_t *)a_at(job, t->m0 + i) + k0, kc);
			to += a_bytes(job, job->task_m, kc);
			continue;
		}
		for (uint32_t i = 0; i < t->rows; i += step) {
			uint32_t n = min_u32(step, t->rows - i);
			const void *ptrs[ZW_TILE_MAX_ROWS];

			for (uint32_t r = 0; r < n; r++) {
				struct zw_q_row row = {
					.ptr = (const uint8_t *)a_at(job, t->m0 + i + r) + k0,
					.scale = &one};
				float *wide = t->wide + r * ZW_PAD((size_t)kc);

				prim->quant->dequant[job->a_format](wide, ZW_LANES, &row, 0, kc,
								    kc);
				ptrs[r] = wide;
			}
			prim->pack[ZW_ST_F32]((float *)(void *)(to + a_bytes(job, i, kc)),
					      direct ? step : zw_tile_group(prim, n), ptrs, n, kc);
		}
		to += a_bytes(job, job->task_m, kc);
	}
	return 0;
}

/* The same of many rows: columns are packed and meet all of them. */
static int part_i8_tile(const struct scaled *t, const char *a, uint32_t k0, uint32_t kc,
			uint32_t from, uint32_t end)
{
	const struct gemm_job *job = t->job;

	for (uint32_t j = from; j < end; j += ZW_I8_TILE_COLS) {
		ZW_UNSET const int8_t *w[ZW_I8_TILE_COLS];

		if (zw_pool_cancelled(job->pool))
			return -ECANCELED;
		for (uint32_t c = 0; c < ZW_I8_TILE_COLS; c++)
			w[c] = (const int8_t *)zw_k_view_at(&job->w,
							    t->n0 + min_u32(j + c, end - 1), 0) +
			       k0;
		job->i8->pack_cols(t->w, w, kc);
		job->i8->tile(t->rows, a, a_bytes(job, 1, kc), t->w, kc, t->part + j, t->ldo);
	}
	return 0;
}

/* Products of a group, I8, columns from .. end. Beyond the last row or column one stands in for those that are not there. */
static int part_i8(const struct scaled *t, const char *a, uint32_t k0, uint32_t kc, uint32_t from,
		   uint32_t end)
{
	const struct gemm_job *job = t->job;
	const struct zw_i8_dot *dot = &job->i8->dot[0];
	size_t lda = a_bytes(job, 1, kc);
	bool few = t->rows <= FEW_M;
	uint32_t apart;

	for (unsigned int i = 1; i < 3 && dot->rows < t->rows; i++)
		dot = &job->i8->dot[i];
	/* Few rows meet columns that lie apart, so that each is a stream through memory. */
	apart = few ? (end - from + dot->cols - 1) / dot->cols : 1;
	for (uint32_t j = from; j < (few ? from + apart : end); j += few ? 1 : dot->cols) {
		ZW_UNSET const int8_t *w[ZW_I8_MAX_COLS];

		if (zw_pool_cancelled(job->pool))
			return -ECANCELED;
		for (uint32_t c = 0; c < dot->cols; c++) {
			uint32_t col = min_u32(c * apart + j, end - 1);

			w[c] = (const int8_t *)zw_k_view_at(&job->w, t->n0 + col, 0) + k0;
		}
		for (uint32_t i = 0; i < t->rows; i += dot->rows) {
			ZW_UNSET float out[ZW_I8_MAX_ROWS * ZW_I8_MAX_COLS];

			dot->fn(a + i * lda, lda, w, kc, out);
			for (uint32_t r = 0; r < dot->rows && i + r < t->rows; r++)
				for (uint32_t c = 0; c < dot->cols && c * apart + j < end; c++)
					t->part[(i + r) * t->ldo + c * apart + j] =
						out[r * dot->cols + c];
		}
	}
	return 0;
}

/* The same, F8. */
static int part_f8(const struct scaled *t, const char *a, uint32_t k0, uint32_t kc, uint32_t from,
		   uint32_t end)
{
	const struct gemm_job *job = t->job;
	const struct zw_prim *prim = job->prim;
	uint32_t step = prim->tile_cols;
	static const float one = 1.0f;
	size_t pk = ZW_PAD((size_t)kc);

	for (uint32_t j = from; j < end; j += step) {
		uint32_t n = min_u32(step, end - j);
		const void *ptrs[ZW_TILE_MAX_COLS];

		if (zw_pool_cancelled(job->pool))
			return -ECANCELED;
		for (uint32_t c = 0; c < n; c++) {
			struct zw_q_row row = {
				.ptr = (const uint8_t *)zw_k_view_at(&job->w, t->n0 + j + c, 0) +
				       k0,
				.scale = &one};

			prim->quant->dequant[job->q.format](t->wide + c * pk, ZW_LANES, &row, 0, kc,
							    kc);
			ptrs[c] = t->wide + c * pk;
		}
		prim->pack[ZW_ST_F32](t->w, step, ptrs, n, kc);
		prim->tile(t->rows, (const float *)(const void *)a, t->w, pk / ZW_LANES, NULL,
			   false, t->part + j, t->ldo);
	}
	return 0;
}

/* The same of few rows. Beyond the last column it stands in for those that are not there. */
static int part_f8_few(const struct scaled *t, const char *a, uint32_t k0, uint32_t kc,
		       uint32_t from, uint32_t end)
{
	const struct gemm_job *job = t->job;
	const struct zw_q_direct *direct = direct_of(job);
	const struct zw_q_prim *quant = job->prim->quant;
	float one[ZW_LANES] = {1.0f}, zero[ZW_LANES] = {0};
	enum zw_q_way way =
		quant->prepare ? quant->prepare(job->q.format, one, zero, 1) : ZW_Q_PLAIN;

	for (uint32_t j = from; j < end; j += direct->cols) {
		ZW_UNSET struct zw_q_row w[ZW_Q_DIRECT_MAX_COLS];
		ZW_UNSET float out[ZW_Q_DIRECT_OUT];

		if (zw_pool_cancelled(job->pool))
			return -ECANCELED;
		for (uint32_t c = 0; c < direct->cols; c++) {
			uint32_t row = t->n0 + min_u32(j + c, end - 1);

			w[c] = (struct zw_q_row){
				.ptr = (const uint8_t *)zw_k_view_at(&job->w, row, 0) + k0,
				.scale = one,
				.zero = zero};
		}
		direct->fn[way][job->q.format]((const float *)(const void *)a, w, kc, kc, out);
		for (uint32_t r = 0; r < t->rows; r++)
			for (uint32_t c = 0; c < direct->cols && j + c < end; c++)
				t->part[r * t->ldo + j + c] = out[r * direct->cols + c];
	}
	return 0;
}

static int load_scales(const struct scaled *t)
{
	const struct gemm_job *job = t->job;
	struct zw_q_scales sc; /* in `part`, which is not in use yet */

	for (uint32_t i = 0; i < t->rows; i++)
		for (uint32_t g = 0; g < t->groups; g++)
			t->fa[i * t->groups + g] = a_scales(job, t->m0 + i)[g];
	if (zw_pool_cancelled(job->pool))
		return -ECANCELED;
	zw_q_scales_load(&sc, &job->q, job->prim, t->n0, t->cols, job->k, t->part);
	for (uint32_t c = 0; c < t->cols; c++) {
		const float *row = zw_q_scales_row(&sc, NULL, c).scale;

		for (uint32_t g = 0; g < t->groups; g++)
			t->fw[(size_t)g * TASK_N + c] = row[g];
	}
	return 0;
}

int zw_gemm_scaled_task(struct gemm_job *job, uint64_t task, unsigned int slot)
{
	uint32_t mb = (uint32_t)(task / job->tasks_n), nb = (uint32_t)(task % job->tasks_n);
	struct scaled t = {
		.job = job,
		.m0 = mb * job->task_m,
		.n0 = nb * TASK_N,
		.groups = groups_of(job),
		.ldo = TASK_N + ZW_TILE_MAX_COLS,
	};
	uint32_t group = min_u32(job->q.scale.group, job->k ? job->k : 1);
	size_t pack = (size_t)t.groups * a_bytes(job, job->task_m, group);
	size_t pg = ZW_PAD((size_t)group);
	bool tile = job->a_i8 && job->m > FEW_M && job->i8->tile;
	size_t wide = tile        ? zw_i8_tile_bytes(group) / sizeof(float)
		      : job->a_i8 ? 0
				  : (ZW_TILE_MAX_ROWS + ZW_TILE_MAX_COLS) * pg;
	/* The scales of W pass through `part`. */
	size_t part = job->task_m * t.ldo, scales = zw_q_scales_floats(&job->q, TASK_N, job->k);
	/* Few rows have no use for a column again: its groups, if there are several, follow each other. */
	const struct zw_q_direct *direct = direct_of(job);
	uint32_t cols = direct ? direct->cols : job->m <= FEW_M && t.groups > 1 ? FEW_COLS : TASK_N;
	int (*part_of)(const struct scaled *, const char *, uint32_t, uint32_t, uint32_t,
		       uint32_t) = tile        ? part_i8_tile
				   : job->a_i8 ? part_i8
				   : direct    ? part_f8_few
					       : part_f8;

	t.rows = min_u32(job->task_m, job->m - t.m0);
	t.cols = min_u32(TASK_N, job->n - t.n0);
	part = part < scales ? scales : part;
	t.a = zw_pool_scratch(job->pool, slot,
			      pack + sizeof(float) * (wide + job->task_m * t.ldo + part +
						      (size_t)t.groups * (job->task_m + TASK_N)));
	if (!t.a)
		return -ENOMEM;
	t.w = (float *)(void *)(t.a + pack);
	t.wide = t.w + (job->a_i8 ? 0 : ZW_TILE_MAX_COLS * pg);
	t.out = t.w + wide;
	t.part = t.out + job->task_m * t.ldo;
	t.fa = t.part + part;
	t.fw = t.fa + (size_t)t.groups * job->task_m;
	if (job->packed[slot] != job->first_task + mb + 1) {
		int err = pack_a(&t);

		if (err)
			return err;
		job->packed[slot] = job->first_task + mb + 1;
	}
	if (load_scales(&t))
		return -ECANCELED;
	for (size_t i = 0; i < t.rows * t.ldo; i++)
		t.out[i] = 0.0f;
	for (uint32_t j = 0; j < t.cols; j += cols) {
		uint32_t end = min_u32(j + cols, t.cols);
		const char *a = t.a;
		int err;

		for (uint32_t g = 0, k0 = 0, kc; k0 < job->k; g++, k0 += kc) {
			kc = min_u32(job->k - k0, group);
			err = part_of(&t, a, k0, kc, j, end);
			if (err)
				return err;
			for (uint32_t i = 0; i < t.rows; i++)
				job->prim->add_scaled(t.out + i * t.ldo + j, t.part + i * t.ldo + j,
						      t.fa[i * t.groups + g],
						      t.fw + (size_t)g * TASK_N + j, end - j);
			a += a_bytes(job, job->task_m, kc);
		}
	}
	for (uint32_t i = 0; i < t.rows; i++)
		zw_gemm_store_row(job, t.out + i * t.ldo, t.m0 + i, t.n0, t.cols);
	return 0;
}

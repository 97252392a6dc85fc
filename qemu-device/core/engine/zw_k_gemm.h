/* SPDX-License-Identifier: MIT */
/*
 * Inside of matrix products: one of them, cut into tasks. A kernel that consists of several plans them
 * all and runs their tasks together.
 */
#ifndef ZW_K_GEMM_H
#define ZW_K_GEMM_H

#include "zw_k_check.h"
#include "zw_k_i8.h"
#include "zw_k_prim.h"
#include "zw_k_quant.h"
#include "zw_kernels.h"

struct gemm_job {
	const struct zw_prim *prim;
	struct zw_pool *pool;
	uint32_t m, n, k;
	struct zw_k_view a, w, bias, residual, c;
	struct zw_q_matrix q; /* what w is, if it is quantised */
	/* A is quantised too: I8, or else a format without scales of its own. */
	bool scaled, a_i8;
	enum zw_q_format a_format;
	const struct zw_i8 *i8;
	struct zw_k_scales a_scale;
	/*
	 * NULL: row i of A is row i of its view, and so for C. Else it is row pairs[i] / per_row, head
	 * pairs[i] % per_row of it. For products without residual.
	 */
	const uint32_t *pairs;
	uint32_t per_row;
	/*
	 * What a worker has of A in its scratch: first_task and the number of the block, plus one. By
	 * worker, touched only by that one; shared by all products of a run. Starts as 0.
	 */
	uint64_t *packed;
	uint64_t first_task; /* tasks of the products before this one */

	/* the plan */
	enum gemm_way { GEMM_TILES, GEMM_DIRECT, GEMM_QUANT, GEMM_SCALED } way;
	uint32_t task_m, task_n; /* rows of A and of W in a task */
	uint32_t block_n;        /* direct: rows of W in a block */
	uint32_t block_k;        /* tiles: elements of K at a time */
	uint32_t tasks_n;
};

/* So little work that waking another thread costs more than it gives. */
bool zw_gemm_is_small(uint64_t rows, uint32_t n, uint32_t k);
/* Plans a product of at least one row and column; the number of its tasks. */
uint64_t zw_gemm_plan(struct gemm_job *job, bool small);
/* Runs one of them. */
int zw_gemm_task(struct gemm_job *job, uint64_t task, unsigned int slot);

/* A view of W [n, k], and job->q: 0, -EINVAL or -EOPNOTSUPP. */
int zw_gemm_w_view(struct gemm_job *job, const struct zw_k_in *w, const struct zw_k_quant *quant);
/*
 * A view of A [rows, heads, k] of which the product has some or all rows; behind zw_gemm_w_view(). The
 * same errors.
 */
int zw_gemm_a_view(struct gemm_job *job, const struct zw_k_in *a, const struct zw_k_scales *scale,
		   uint32_t rows, uint32_t heads);
/* Rows r0.. of A as pointers, from element k0 on. */
void zw_gemm_a_ptrs(const void *rows[], const struct gemm_job *job, uint32_t r0, uint32_t count,
		    uint32_t k0);
/* n sums of a row of C from column col on, with what is added to them; v is overwritten. */
void zw_gemm_store_row(const struct gemm_job *job, float *v, uint32_t row, uint32_t col,
		       uint32_t n);

/* Cuts A into blocks of equal height, at most `most` rows, whole steps: task_m. Returns how many. */
uint32_t zw_gemm_cut_rows(struct gemm_job *job, uint32_t most, uint32_t step);

/*
 * Products that read W where it lies (zw_k_gemm_direct.c): how many rows of A are best taken at a time,
 * 0 if tiles are better; the rest as above.
 */
uint32_t zw_gemm_direct_most(const struct gemm_job *job);
uint64_t zw_gemm_direct_plan(struct gemm_job *job, bool small, uint32_t most);
int zw_gemm_direct_task(struct gemm_job *job, uint64_t task, unsigned int slot);

/* A and W quantised (zw_k_gemm_scaled.c): whether they go together, 0, -EINVAL or -EOPNOTSUPP. */
int zw_gemm_scaled_check(struct gemm_job *job, uint32_t dtype, const struct zw_k_scales *scale);
uint64_t zw_gemm_scaled_plan(struct gemm_job *job);
int zw_gemm_scaled_task(struct gemm_job *job, uint64_t task, unsigned int slot);

/* Quantised W against few rows of A (zw_k_gemm_quant.c): whether that is the way; the rest as above. */
bool zw_gemm_quant_direct(const struct gemm_job *job);
uint64_t zw_gemm_quant_plan(struct gemm_job *job, bool small);
int zw_gemm_quant_task(struct gemm_job *job, uint64_t task, unsigned int slot);
/* Scales of rows of a quantised W that become strips: of all of them, or for a piece of one at a time. */
struct gemm_scales {
	struct zw_q_scales rows;
	uint32_t first; /* row of W that rows begin with */
	bool whole;
	float *scratch;
};
/* Of rows [row, row + rows), of at most `most`; scratch has zw_gemm_quant_floats(), and stays. */
void zw_gemm_quant_begin(const struct gemm_job *job, struct gemm_scales *s, uint32_t row,
			 uint32_t rows, uint32_t most, float *scratch);
size_t zw_gemm_quant_floats(const struct gemm_job *job, uint32_t most, uint32_t kc);
/* Elements k0 .. k0 + kc of some of these rows, dequantised and packed for a tile. */
void zw_gemm_quant_pack(const struct gemm_job *job, float *dst, uint32_t row, uint32_t rows,
			uint32_t k0, uint32_t kc, const struct gemm_scales *scales);

#endif

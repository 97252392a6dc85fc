// SPDX-License-Identifier: MIT
/*
 * Gated delta rule, row by row. A task is one value head of one sequence: its state stays in scratch
 * while the rows go by. Rows are taken a few at a time, so that their keys and queries are normalised
 * once, and columns of the state in blocks that stay in the first-level cache over these rows. Columns
 * do not depend on each other.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "zhenwu/zw_types.h"
#include "zw_k_check.h"
#include "zw_k_math.h"

/* Rows whose keys and queries are in scratch. */
#define ROWS 16u
/* Columns of the state at a time: 32 KiB of it with the usual 128 rows. */
#define COLS 64u

struct delta_job {
	const struct zw_k_delta_args *args;
	const struct zw_prim *prim;
	struct zw_pool *pool;
	struct zw_k_view q, k, v, a, b, a_log, dt_bias, y;
};

/* What a task has in scratch. */
struct delta_part {
	const struct delta_job *job;
	uint32_t head, d, e;
	size_t pad;  /* floats from one key to the next */
	float decay; /* -exp(a_log) */
	float dt_bias;
	float *q, *k, *s; /* s [d, e] */
	float alpha[ROWS], beta[ROWS];
};

static float load_one(const struct delta_job *job, const struct zw_k_view *v, uint64_t row,
		      uint64_t col)
{
	float f[ZW_LANES] __attribute__((aligned(32)));

	job->prim->widen[v->st](f, zw_k_view_at(v, row, 0) + col * v->size, 1);
	return f[0];
}

/* One divided by the length. */
static float inverse_length(const struct delta_part *p, const float *x)
{
	float lanes[ZW_LANES] = {0};

	p->job->prim->sumsq(lanes, x, p->d);
	return 1.0f / sqrtf(zw_lanes_total(lanes) + p->job->args->eps);
}

static void load_row(struct delta_part *p, uint64_t row, uint32_t i)
{
	const struct delta_job *job = p->job;
	uint32_t key_head = p->head / (job->args->heads / job->args->key_heads);
	float *q = p->q + i * p->pad, *k = p->k + i * p->pad;

	job->prim->widen[job->q.st](q, zw_k_view_at(&job->q, row, key_head), p->d);
	job->prim->widen[job->k.st](k, zw_k_view_at(&job->k, row, key_head), p->d);
	job->prim->scale(q, inverse_length(p, q), p->d);
	job->prim->scale(q, job->args->scale, p->d);
	job->prim->scale(k, inverse_length(p, k), p->d);
	p->beta[i] = zw_sigmoidf(load_one(job, &job->b, row, p->head));
	p->alpha[i] =
		zw_expf(p->decay * zw_softplusf(load_one(job, &job->a, row, p->head) + p->dt_bias));
}

/* Columns first.. of the state over rows row.. of which keys and queries are loaded. */
static int step_columns(struct delta_part *p, uint64_t row, uint32_t rows, uint32_t first)
{
	const struct delta_job *job = p->job;
	const struct zw_prim *prim = job->prim;
	uint32_t n = p->e - first < COLS ? p->e - first : COLS;
	float v[COLS] __attribute__((aligned(32)));

	for (uint32_t i = 0; i < rows; i++) {
		float *to = job->args->states.to[row + i];

		if (zw_pool_cancelled(job->pool))
			return -ECANCELED;
		prim->widen[job->v.st](
			v, zw_k_view_at(&job->v, row + i, p->head) + (size_t)first * job->v.size,
			n);
		prim->delta(p->s + first, p->e, p->q + i * p->pad, p->k + i * p->pad, p->d,
			    p->alpha[i], p->beta[i], v, n);
		prim->narrow[job->y.st](zw_k_view_at(&job->y, row + i, p->head) +
						(size_t)first * job->y.size,
					v, n);
		if (!to)
			continue;
		to += (size_t)p->head * p->d * p->e + first;
		for (uint32_t j = 0; j < p->d; j++)
			prim->narrow[ZW_ST_F32](to + (size_t)j * p->e,
						p->s + (size_t)j * p->e + first, n);
	}
	return 0;
}

static int delta_task(void *arg, uint64_t task, unsigned int slot)
{
	const struct delta_job *job = arg;
	const struct zw_k_delta_args *args = job->args;
	const struct zw_k_state_run *run = &args->states.runs[task / args->heads];
	struct delta_part p = {
		.job = job,
		.head = (uint32_t)(task % args->heads),
		.d = args->d,
		.e = args->e,
		.pad = ZW_PAD((size_t)args->d),
	};
	size_t state = (size_t)p.d * p.e;

	p.q = zw_pool_scratch(job->pool, slot, (2 * ROWS * p.pad + state) * sizeof(float));
	if (!p.q)
		return -ENOMEM;
	p.k = p.q + ROWS * p.pad;
	p.s = p.k + ROWS * p.pad;
	p.decay = -zw_expf(load_one(job, &job->a_log, 0, p.head));
	p.dt_bias = load_one(job, &job->dt_bias, 0, p.head);
	if (run->from)
		memcpy(p.s, (const float *)run->from + p.head * state, state * sizeof(float));
	else
		memset(p.s, 0, state * sizeof(float));
	for (uint32_t r = 0; r < run->count; r += ROWS) {
		uint32_t rows = run->count - r < ROWS ? run->count - r : ROWS;
		uint64_t row = (uint64_t)run->first + r;

		for (uint32_t i = 0; i < rows; i++)
			load_row(&p, row + i, i);
		for (uint32_t first = 0; first < p.e; first += COLS) {
			int err = step_columns(&p, row, rows, first);

			if (err)
				return err;
		}
	}
	return 0;
}

static int check(struct delta_job *job)
{
	const struct zw_k_delta_args *p = job->args;
	const struct {
		struct zw_k_view *view;
		const struct zw_k_in *in;
		uint32_t rows, heads, n;
	} in[] = {
		{&job->q, &p->q, p->rows, p->key_heads, p->d},
		{&job->k, &p->k, p->rows, p->key_heads, p->d},
		{&job->v, &p->v, p->rows, p->heads, p->e},
		{&job->a, &p->a, p->rows, 1, p->heads},
		{&job->b, &p->b, p->rows, 1, p->heads},
		{&job->a_log, &p->a_log, 1, 1, p->heads},
		{&job->dt_bias, &p->dt_bias, 1, 1, p->heads},
	};
	int err = 0;

	if (!p->d || !p->e || p->d > ZW_K_DELTA_MAX || p->e > ZW_K_DELTA_MAX || !p->key_heads ||
	    !p->heads || p->heads % p->key_heads || !(p->eps >= 0.0f) || isinf(p->eps) ||
	    !isfinite(p->scale))
		return -EINVAL;
	if (p->states.dtype != ZW_DTYPE_F32)
		return -EOPNOTSUPP;
	err = zw_k_states_check(&p->states, p->rows);
	if (!err)
		err = zw_k_view_out(&job->y, &p->y, p->rows, p->heads, p->e);
	for (size_t i = 0; i < sizeof(in) / sizeof(in[0]) && !err; i++) {
		err = zw_k_view_in(in[i].view, in[i].in, in[i].rows, in[i].heads, in[i].n);
		if (!err)
			err = zw_k_view_conflict(&job->y, in[i].view, in[i].view == &job->v);
	}
	return err;
}

int zw_k_delta(const struct zw_k_delta_args *args, struct zw_pool *pool)
{
	struct delta_job job = {.args = args, .prim = zw_prim_get(), .pool = pool};
	int err = check(&job);

	if (err || !args->rows)
		return err;
	return zw_pool_run(pool, delta_task, &job, (uint64_t)args->states.n_runs * args->heads);
}

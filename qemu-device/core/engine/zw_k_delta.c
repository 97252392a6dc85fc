// SPDX-License-Identifier: MIT
/*
 * Gated delta rule. A task is one value head of one sequence: its state stays in scratch while the rows go
 * by. Row by row they are taken a few at a time, so that their keys and queries are normalised once, and
 * columns of the state in blocks that stay in the first-level cache over these rows. Columns do not
 * depend on each other.
 */
#include "zw_k_delta.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "zhenwu/zw_types.h"
#include "zw_k_math.h"

/* Rows whose keys and queries are in scratch. */
#define ROWS 16u
/* Columns of the state at a time: 32 KiB of it with the usual 128 rows. */
#define COLS 64u

static float load_one(const struct zw_delta_job *job, const struct zw_k_view *v, uint64_t row,
		      uint64_t col)
{
	float f[ZW_LANES] __attribute__((aligned(32)));

	job->prim->widen[v->st](f, zw_k_view_at(v, row, 0) + col * v->size, 1);
	return f[0];
}

/* One divided by the length. */
static float inverse_length(const struct zw_delta_part *p, const float *x)
{
	float lanes[ZW_LANES] = {0};

	p->job->prim->sumsq(lanes, x, p->d);
	return 1.0f / sqrtf(zw_lanes_total(lanes) + p->job->args->eps);
}

static void load_key(const struct zw_delta_part *p, uint64_t row, uint32_t i)
{
	const struct zw_delta_job *job = p->job;
	uint32_t key_head = p->head / (job->args->heads / job->args->key_heads);
	float *q = p->q + i * p->pad, *k = p->k + i * p->pad;

	job->prim->widen[job->q.st](q, zw_k_view_at(&job->q, row, key_head), p->d);
	job->prim->widen[job->k.st](k, zw_k_view_at(&job->k, row, key_head), p->d);
	job->prim->scale(q, inverse_length(p, q), p->d);
	job->prim->scale(q, job->args->scale, p->d);
	job->prim->scale(k, inverse_length(p, k), p->d);
}

void zw_delta_load_keys(struct zw_delta_part *p, uint64_t row, uint32_t n)
{
	p->q = p->k + n * p->pad;
	for (uint32_t i = 0; i < n; i++)
		load_key(p, row + i, i);
}

void zw_delta_load_gates(struct zw_delta_part *p, uint64_t row, uint32_t n)
{
	const struct zw_delta_job *job = p->job;

	for (uint32_t i = 0; i < n; i++) {
		float a = load_one(job, &job->a, row + i, p->head);

		p->beta[i] = zw_sigmoidf(load_one(job, &job->b, row + i, p->head));
		p->alpha[i] = zw_expf(p->decay * zw_softplusf(a + p->dt_bias));
	}
}

void zw_delta_get_v(const struct zw_delta_part *p, uint64_t row, uint32_t first, float *v)
{
	const struct zw_delta_job *job = p->job;

	job->prim->widen[job->v.st](
		v, zw_k_view_at(&job->v, row, p->head) + (size_t)first * job->v.size,
		zw_delta_cols(p, first));
}

void zw_delta_put_y(const struct zw_delta_part *p, uint64_t row, uint32_t first, const float *v)
{
	const struct zw_delta_job *job = p->job;

	job->prim->narrow[job->y.st](zw_k_view_at(&job->y, row, p->head) +
					     (size_t)first * job->y.size,
				     v, zw_delta_cols(p, first));
}

void zw_delta_keep(const struct zw_delta_part *p, uint64_t row, uint32_t first, const float *s)
{
	float *to = p->job->args->states.to[row];

	if (!to)
		return;
	to += (size_t)p->head * p->d * p->e + first;
	for (uint32_t i = 0; i < p->d; i++)
		p->job->prim->narrow[ZW_ST_F32](to + (size_t)i * p->e, s + (size_t)i * p->width,
						zw_delta_cols(p, first));
}

/* Columns first.. of the state over rows row.. of which keys and queries are loaded. */
static int step_columns(const struct zw_delta_part *p, uint64_t row, uint32_t rows, uint32_t first)
{
	float v[COLS] __attribute__((aligned(32)));
	float *s = zw_delta_block(p, first);

	for (uint32_t i = 0; i < rows; i++) {
		if (zw_pool_cancelled(p->job->pool))
			return -ECANCELED;
		zw_delta_get_v(p, row + i, first, v);
		p->job->prim->delta(s, p->width, p->q + i * p->pad, p->k + i * p->pad, p->d,
				    p->alpha[i], p->beta[i], v, zw_delta_cols(p, first));
		zw_delta_put_y(p, row + i, first, v);
		zw_delta_keep(p, row + i, first, s);
	}
	return 0;
}

/* Rows row.., n of them, one after the other. */
static int step_rows(struct zw_delta_part *p, uint64_t row, uint32_t n)
{
	for (uint32_t r = 0; r < n; r += ROWS) {
		uint32_t rows = n - r < ROWS ? n - r : ROWS;

		zw_delta_load_keys(p, row + r, rows);
		zw_delta_load_gates(p, row + r, rows);
		for (uint32_t first = 0; first < p->e; first += p->width) {
			int err = step_columns(p, row + r, rows, first);

			if (err)
				return err;
		}
	}
	return 0;
}

static void load_state(const struct zw_delta_part *p, const float *from)
{
	for (uint32_t first = 0; first < p->e; first += p->width) {
		uint32_t n = zw_delta_cols(p, first);
		float *s = zw_delta_block(p, first);

		if (!from)
			memset(s, 0, (size_t)p->d * p->width * sizeof(float));
		for (uint32_t i = 0; i < p->d && from; i++)
			memcpy(s + (size_t)i * p->width, from + (size_t)i * p->e + first,
			       n * sizeof(float));
	}
}

/* A head before its run; k and s: its memory. */
static void begin(struct zw_delta_part *p, const struct zw_delta_job *job,
		  const struct zw_k_state_run *run, uint32_t head, uint32_t width, float *k,
		  float *s)
{
	const struct zw_k_delta_args *args = job->args;

	p->job = job;
	p->head = head;
	p->d = args->d;
	p->e = args->e;
	p->pad = ZW_PAD((size_t)args->d);
	p->width = width;
	p->k = k;
	p->s = s;
	p->decay = -zw_expf(load_one(job, &job->a_log, 0, head));
	p->dt_bias = load_one(job, &job->dt_bias, 0, head);
	load_state(p, run->from ? (const float *)run->from + (size_t)head * p->d * p->e : NULL);
}

/* Floats of a state in blocks. */
static size_t state_floats(const struct zw_k_delta_args *args, uint32_t width)
{
	return (size_t)(args->e + width - 1) / width * width * args->d;
}

static int delta_task(void *arg, uint64_t task, unsigned int slot)
{
	const struct zw_delta_job *job = arg;
	const struct zw_k_delta_args *args = job->args;
	const struct zw_k_state_run *run = &args->states.runs[task / args->heads];
	size_t keys = 2 * ROWS * ZW_PAD((size_t)args->d);
	struct zw_delta_part p;
	float *mem;

	mem = zw_pool_scratch(job->pool, slot, (keys + state_floats(args, COLS)) * sizeof(float));
	if (!mem)
		return -ENOMEM;
	begin(&p, job, run, (uint32_t)(task % args->heads), COLS, mem, mem + keys);
	return step_rows(&p, run->first, run->count);
}

/* A group of heads of a run, chunk by chunk; a chunk that is too short for it row by row. */
static int chunks_task(void *arg, uint64_t task, unsigned int slot)
{
	const struct zw_delta_job *job = arg;
	const struct zw_k_delta_args *args = job->args;
	uint32_t groups = args->heads / job->group, width = job->prim->weigh_cols;
	const struct zw_k_state_run *run = &args->states.runs[task / groups];
	uint32_t head = (uint32_t)(task % groups) * job->group;
	size_t keys = 2 * ZW_DELTA_CHUNK * ZW_PAD((size_t)args->d);
	size_t state = state_floats(args, width);
	size_t chunk = zw_delta_chunk_floats(args->d, args->e, width);
	struct zw_delta_part p[ZW_DELTA_GROUP];
	float *mem;
	int err = 0;

	mem = zw_pool_scratch(job->pool, slot, (keys + chunk + job->group * state) * sizeof(float));
	if (!mem)
		return -ENOMEM;
	for (uint32_t h = 0; h < job->group; h++)
		begin(&p[h], job, run, head + h, width, mem, mem + keys + chunk + h * state);
	for (uint32_t r = 0, n; r < run->count && !err; r += n) {
		n = ZW_DELTA_CHUNK - (run->pos + r) % ZW_DELTA_CHUNK;
		if (n > run->count - r)
			n = run->count - r;
		if (n >= ZW_DELTA_CHUNK_MIN)
			err = zw_delta_chunk(p, job->group, mem + keys, (uint64_t)run->first + r,
					     n);
		for (uint32_t h = 0; h < job->group && n < ZW_DELTA_CHUNK_MIN && !err; h++)
			err = step_rows(&p[h], (uint64_t)run->first + r, n);
	}
	return err;
}

static int check(struct zw_delta_job *job)
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
	    !isfinite(p->scale) || p->flags & ~ZW_K_DELTA_CHUNKED)
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
	struct zw_delta_job job = {.args = args, .prim = zw_prim_get(), .pool = pool, .group = 1};
	int err = check(&job);

	if (err || !args->rows)
		return err;
	if (!(args->flags & ZW_K_DELTA_CHUNKED))
		return zw_pool_run(pool, delta_task, &job,
				   (uint64_t)args->states.n_runs * args->heads);
	for (uint32_t g = 1; g <= ZW_DELTA_GROUP; g++)
		if (args->heads / args->key_heads % g == 0)
			job.group = g;
	return zw_pool_run(pool, chunks_task, &job,
			   (uint64_t)args->states.n_runs * (args->heads / job.group));
}

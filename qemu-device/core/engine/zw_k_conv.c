// SPDX-License-Identifier: MIT
/*
 * Short causal depthwise convolution with state. A task takes some channels of some sequences: the last
 * inputs of the sequence are in scratch, in a ring of rows, so each row is read once and in place is
 * safe. Every output is a sum over the taps in their order, so where a sequence is cut makes no
 * difference.
 */
#include <errno.h>
#include <string.h>

#include "zw_k_check.h"

/* Channels of a task; a multiple of ZW_LANES. */
#define CHANNELS  1024u
/* Sequences of a task, that share the weights in scratch. */
#define RUNS_TASK 8u

struct conv_job {
	const struct zw_k_conv_args *args;
	const struct zw_prim *prim;
	struct zw_pool *pool;
	struct zw_k_view x, w, y;
	enum zw_store st; /* of the state */
	uint32_t chunks;
};

/* The channels of a task: w[i * CHANNELS + c] is tap i of channel first + c. */
struct conv_part {
	uint64_t first;
	size_t n;
	float *w, *ring, *out;
};

static float *ring_row(const struct conv_part *part, uint64_t i, uint32_t taps)
{
	return part->ring + i % taps * CHANNELS;
}

static void load_weights(const struct conv_job *job, const struct conv_part *part)
{
	float row[ZW_PAD(ZW_K_CONV_MAX_TAPS)] __attribute__((aligned(32)));
	uint32_t taps = job->args->taps;

	for (size_t c = 0; c < part->n; c++) {
		job->prim->widen[job->w.st](row, zw_k_view_at(&job->w, part->first + c, 0), taps);
		for (uint32_t i = 0; i < taps; i++)
			part->w[i * CHANNELS + c] = row[i];
	}
}

/* Rows of a state are the inputs before the next one, oldest first. */
static char *state_at(const struct conv_job *job, const void *state, uint32_t i, uint64_t channel)
{
	return (char *)state + (i * (uint64_t)job->args->n + channel) * zw_store_size(job->st);
}

static int conv_run(const struct conv_job *job, const struct conv_part *part,
		    const struct zw_k_state_run *run)
{
	const struct zw_prim *prim = job->prim;
	uint32_t taps = job->args->taps;

	for (uint32_t i = 0; i + 1 < taps; i++) {
		if (run->from)
			prim->widen[job->st](ring_row(part, i, taps),
					     state_at(job, run->from, i, part->first), part->n);
		else
			memset(ring_row(part, i, taps), 0, CHANNELS * sizeof(float));
	}
	for (uint32_t r = 0; r < run->count; r++) {
		uint64_t row = (uint64_t)run->first + r;
		const float *in[ZW_K_CONV_MAX_TAPS];
		void *to = job->args->states.to[row];

		if (zw_pool_cancelled(job->pool))
			return -ECANCELED;
		prim->widen[job->x.st](ring_row(part, r + taps - 1ull, taps),
				       zw_k_view_at(&job->x, row, 0) + part->first * job->x.size,
				       part->n);
		for (uint32_t i = 0; i < taps; i++)
			in[i] = ring_row(part, (uint64_t)r + i, taps);
		prim->conv(part->out, in, part->w, CHANNELS, taps, part->n);
		prim->narrow[job->y.st](zw_k_view_at(&job->y, row, 0) + part->first * job->y.size,
					part->out, part->n);
		for (uint32_t i = 0; i + 1 < taps && to; i++)
			prim->narrow[job->st](state_at(job, to, i, part->first), in[i + 1],
					      part->n);
	}
	return 0;
}

static int conv_task(void *arg, uint64_t task, unsigned int slot)
{
	const struct conv_job *job = arg;
	const struct zw_k_states *states = &job->args->states;
	uint32_t taps = job->args->taps;
	float *scratch =
		zw_pool_scratch(job->pool, slot, (2ull * taps + 1) * CHANNELS * sizeof(float));
	uint64_t run = task / job->chunks * RUNS_TASK, end = run + RUNS_TASK;
	struct conv_part part = {.first = task % job->chunks * CHANNELS};
	int err = 0;

	if (!scratch)
		return -ENOMEM;
	part.n = job->args->n - part.first < CHANNELS ? job->args->n - part.first : CHANNELS;
	part.w = scratch;
	part.ring = scratch + (size_t)taps * CHANNELS;
	part.out = part.ring + (size_t)taps * CHANNELS;
	load_weights(job, &part);
	for (; run < end && run < states->n_runs && !err; run++)
		err = conv_run(job, &part, &states->runs[run]);
	return err;
}

int zw_k_states_check(const struct zw_k_states *states, uint32_t rows)
{
	uint64_t next = 0;

	for (uint32_t i = 0; i < states->n_runs; i++) {
		if (states->runs[i].first != next || !states->runs[i].count)
			return -EINVAL;
		next += states->runs[i].count;
	}
	return next == rows && (!rows || states->to) ? 0 : -EINVAL;
}

int zw_k_conv(const struct zw_k_conv_args *args, struct zw_pool *pool)
{
	struct conv_job job = {.args = args, .prim = zw_prim_get(), .pool = pool};
	int err;

	if (args->taps < 2 || args->taps > ZW_K_CONV_MAX_TAPS)
		return -EINVAL;
	err = zw_store_of(args->states.dtype, &job.st);
	/* What comes back from the state is what went in. */
	if (!err && args->states.dtype != args->x.dtype && job.st != ZW_ST_F32)
		err = -EOPNOTSUPP;
	if (!err)
		err = zw_k_states_check(&args->states, args->rows);
	if (!err)
		err = zw_k_view_in(&job.x, &args->x, args->rows, 1, args->n);
	if (!err)
		err = zw_k_view_in(&job.w, &args->w, args->n, 1, args->taps);
	if (!err)
		err = zw_k_view_out(&job.y, &args->y, args->rows, 1, args->n);
	if (!err)
		err = zw_k_view_conflict(&job.y, &job.x, true);
	if (!err)
		err = zw_k_view_conflict(&job.y, &job.w, false);
	if (err || !args->rows || !args->n)
		return err;
	job.chunks = (args->n - 1) / CHANNELS + 1;
	return zw_pool_run(pool, conv_task, &job,
			   ((uint64_t)args->states.n_runs + RUNS_TASK - 1) / RUNS_TASK *
				   job.chunks);
}

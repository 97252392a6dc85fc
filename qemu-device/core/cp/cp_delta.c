// SPDX-License-Identifier: MIT
/*
 * Engine of recurrent layers: convolution and the delta rule. The state of a sequence is one slot of a pool;
 * rows say which slot they go on from and which one keeps the state behind them. Only the slots that
 * a packet uses are mapped.
 */
#include <errno.h>
#include <string.h>

#include "zw_cp_int.h"

/* -- states --------------------------------------------------------------------------------------------- */

/* Operands that say what happens to the states. */
struct state_opds {
	unsigned int state, pos, seq, dst;
};

struct state_plan {
	struct zw_k_state_run *runs;
	uint32_t n_runs;
	void **to;
};

/* A pool of dense slots, not too many. */
static uint32_t pool_validate(const struct zw_tensor *t)
{
	uint64_t dense = 1;

	if (t->dim[0] > ZW_CP_MAX_STATES)
		return ZW_REASON_LIMIT;
	for (unsigned int i = t->ndim - 1u; i > 1; i--) {
		dense *= t->dim[i];
		if (t->stride[i - 1] != dense)
			return ZW_REASON_STRIDE;
	}
	return ZW_REASON_NONE;
}

/* Which row writes a slot at last (row + 1) and which run reads it (run + 1, or SEVERAL). */
#define SEVERAL UINT32_MAX
struct slot_use {
	uint32_t writer, reader;
	size_t view;
};

static int check_indexes(struct zw_cp_exec *x, const struct state_opds *o, uint32_t slots)
{
	const int32_t *seq = x->index[o->seq], *dst = x->index[o->dst];
	int err = zw_cp_check_index(x, x->index[o->pos], x->rows, 1ull << 31);

	if (!err && seq)
		err = zw_cp_check_index(x, seq, x->rows, slots);
	for (uint32_t r = 0; r < x->rows && dst && !err; r++)
		if (dst[r] != -1)
			err = zw_cp_check_index(x, &dst[r], 1, slots);
	return err;
}

/* Cuts the rows into runs of one sequence and notes who reads which slot. */
static void plan_runs(struct zw_cp_exec *x, const struct state_opds *o, struct slot_use *use,
		      struct state_plan *plan)
{
	const int32_t *pos = x->index[o->pos], *seq = x->index[o->seq];

	for (uint32_t r = 0; r < x->rows; r++) {
		struct slot_use *u = &use[seq ? seq[r] : 0];

		if (!r || pos[r] != (int64_t)pos[r - 1] + 1 || (seq && seq[r] != seq[r - 1])) {
			plan->runs[plan->n_runs].pos = (uint32_t)pos[r];
			plan->runs[plan->n_runs++].first = r;
			if (pos[r])
				u->reader = u->reader ? SEVERAL : plan->n_runs;
		}
		plan->runs[plan->n_runs - 1].count++;
	}
}

/* Notes who writes which slot. Runs have no order: none may leave a state where another one starts. */
static int plan_writes(struct zw_cp_exec *x, const struct state_opds *o, struct slot_use *use,
		       const struct state_plan *plan)
{
	const int32_t *seq = x->index[o->seq], *dst = x->index[o->dst];

	for (uint32_t i = 0; i < plan->n_runs; i++) {
		uint32_t r = plan->runs[i].first, end = r + plan->runs[i].count;

		for (; r < end; r++) {
			int32_t s = dst ? dst[r] : r + 1 < end ? -1 : seq ? seq[r] : 0;

			if (s < 0)
				continue;
			if (use[s].reader && use[s].reader != i + 1)
				return zw_cp_fail(x, ZW_JOB_DATA, ZW_REASON_INDEX);
			use[s].writer = r + 1;
		}
	}
	return 0;
}

static int states_prepare(struct zw_cp_exec *x, const struct state_opds *o)
{
	const struct zw_tensor *t = zw_cp_tensor_at(x->op, x->pkt, o->state);
	const int32_t *pos = x->index[o->pos], *seq = x->index[o->seq];
	unsigned int esize = zw_cp_dtype_size(t->dtype);
	uint64_t bytes = zw_cp_tensor_span(t, 1) * esize;
	struct state_plan *plan = zw_cp_alloc(x, 1, sizeof(*plan));
	struct slot_use *use;
	int err = check_indexes(x, o, t->dim[0]);

	if (!plan)
		return -EIO;
	if (err)
		return err;
	x->plan = plan;
	plan->runs = zw_cp_alloc(x, x->rows, sizeof(*plan->runs));
	plan->to = zw_cp_alloc(x, x->rows, sizeof(*plan->to));
	use = zw_cp_alloc(x, t->dim[0], sizeof(*use));
	if (!plan->runs || !plan->to || !use)
		return -EIO;
	plan_runs(x, o, use, plan);
	err = plan_writes(x, o, use, plan);
	for (uint32_t s = 0; s < t->dim[0] && !err; s++) {
		uint32_t access = (use[s].reader ? ZW_ACCESS_READ : 0) |
				  (use[s].writer ? ZW_ACCESS_WRITE : 0);

		if (access)
			err = zw_cp_map_late(x, o->state, t->va + s * t->stride[0] * esize, bytes,
					     access, bytes, &use[s].view);
	}
	if (err)
		return err;
	for (uint32_t i = 0; i < plan->n_runs; i++) {
		uint32_t r = plan->runs[i].first;

		if (pos[r])
			plan->runs[i].from = x->late[use[seq ? seq[r] : 0].view].ptr;
	}
	for (uint32_t s = 0; s < t->dim[0]; s++)
		if (use[s].writer)
			plan->to[use[s].writer - 1] = x->late[use[s].view].ptr;
	return 0;
}

static struct zw_k_states states_of(const struct zw_cp_exec *x, const struct zw_tensor *state)
{
	const struct state_plan *plan = x->plan;

	return (struct zw_k_states){
		.runs = plan->runs,
		.n_runs = plan->n_runs,
		.dtype = state->dtype,
		.to = plan->to,
	};
}

/* -- CONV ----------------------------------------------------------------------------------------------- */

enum { CONV_X, CONV_W, CONV_Y, CONV_STATE, CONV_POS, CONV_SEQ, CONV_DST };

static uint32_t conv_validate(const void *pkt)
{
	const struct zw_pkt_conv *p = pkt;

	if (p->w.dim[1] != p->state.dim[1] + 1)
		return ZW_REASON_SHAPE;
	if (p->w.dim[1] > ZW_K_CONV_MAX_TAPS)
		return ZW_REASON_LIMIT;
	if (p->state.dtype != p->x.dtype && p->state.dtype != ZW_DTYPE_F32)
		return ZW_REASON_DTYPE;
	return pool_validate(&p->state);
}

static int conv_prepare(struct zw_cp_exec *x)
{
	static const struct state_opds opds = {CONV_STATE, CONV_POS, CONV_SEQ, CONV_DST};

	return states_prepare(x, &opds);
}

static int conv_run(struct zw_cp_exec *x)
{
	const struct zw_pkt_conv *p = x->pkt;
	struct zw_k_conv_args args = {
		.rows = x->rows,
		.n = p->x.dim[1],
		.taps = p->w.dim[1],
		.x = zw_cp_in(x, CONV_X),
		.w = zw_cp_in(x, CONV_W),
		.y = zw_cp_out(x, CONV_Y),
		.states = states_of(x, &p->state),
	};

	return zw_cp_kernel_status(x, zw_k_conv(&args, x->cfg->pool));
}

static uint64_t conv_compute(struct zw_cp_exec *x)
{
	const struct zw_pkt_conv *p = x->pkt;

	/* the taps, and silu */
	return zw_cp_vector_ps(x->profile, (uint64_t)x->rows * p->x.dim[1], 2 * p->w.dim[1] + 7);
}

const struct zw_cp_impl zw_cp_conv = {.validate = conv_validate,
				      .prepare = conv_prepare,
				      .run = conv_run,
				      .compute = conv_compute};

/* -- DELTA ---------------------------------------------------------------------------------------------- */

enum {
	DELTA_Q,
	DELTA_K,
	DELTA_V,
	DELTA_A,
	DELTA_B,
	DELTA_A_LOG,
	DELTA_DT_BIAS,
	DELTA_Y,
	DELTA_STATE,
	DELTA_POS,
	DELTA_SEQ,
	DELTA_DST,
};

static uint32_t delta_validate(const void *pkt)
{
	const struct zw_pkt_delta *p = pkt;

	if (p->v.dim[1] % p->q.dim[1])
		return ZW_REASON_SHAPE;
	if (p->q.dim[2] > ZW_K_DELTA_MAX || p->v.dim[2] > ZW_K_DELTA_MAX)
		return ZW_REASON_LIMIT;
	return pool_validate(&p->state);
}

static int delta_prepare(struct zw_cp_exec *x)
{
	static const struct state_opds opds = {DELTA_STATE, DELTA_POS, DELTA_SEQ, DELTA_DST};

	return states_prepare(x, &opds);
}

static int delta_run(struct zw_cp_exec *x)
{
	const struct zw_pkt_delta *p = x->pkt;
	struct zw_k_delta_args args = {
		.rows = x->rows,
		.key_heads = p->q.dim[1],
		.heads = p->v.dim[1],
		.d = p->q.dim[2],
		.e = p->v.dim[2],
		.q = zw_cp_in(x, DELTA_Q),
		.k = zw_cp_in(x, DELTA_K),
		.v = zw_cp_in(x, DELTA_V),
		.a = zw_cp_in(x, DELTA_A),
		.b = zw_cp_in(x, DELTA_B),
		.a_log = zw_cp_in(x, DELTA_A_LOG),
		.dt_bias = zw_cp_in(x, DELTA_DT_BIAS),
		.y = zw_cp_out(x, DELTA_Y),
		.states = states_of(x, &p->state),
	};

	if (p->hdr.flags & ZW_DELTA_F_CHUNKED)
		args.flags |= ZW_K_DELTA_CHUNKED;
	memcpy(&args.eps, &p->eps_f32, sizeof(args.eps));
	memcpy(&args.scale, &p->scale_f32, sizeof(args.scale));
	return zw_cp_kernel_status(x, zw_k_delta(&args, x->cfg->pool));
}

/* Row by row: decay 1, prediction 2, update 2, output 2; norms of q and k. */
static uint64_t rows_compute(const struct zw_cp_exec *x, uint64_t rows)
{
	const struct zw_pkt_delta *p = x->pkt;
	uint32_t d = p->q.dim[2], e = p->v.dim[2];

	return zw_cp_vector_ps(x->profile, zw_cp_mul_sat(rows, p->v.dim[1]), 7 * d * e + 8 * d);
}

/* Products of F32 at the tensor engine's rate, `heads` of them. */
static uint64_t products_ps(const struct zw_cp_exec *x, uint64_t heads, uint64_t m, uint64_t n,
			    uint64_t k)
{
	struct zw_cp_tensor_unit unit = zw_cp_unit(x, ZW_DTYPE_F32, ZW_DTYPE_F32);

	return zw_cp_products_ps(x->profile, &unit, heads, m, n, k);
}

/*
 * n rows at once: what keys and queries have to do with keys and with the state, what updates have to do with
 * results and with each state that is kept; beside that substitution, decays, gates and norms. `states`: kept, that
 * behind the last row among them.
 */
static uint64_t chunk_compute(const struct zw_cp_exec *x, uint64_t n, uint64_t states)
{
	const struct zw_pkt_delta *p = x->pkt;
	uint64_t d = p->q.dim[2], e = p->v.dim[2], heads = p->v.dim[1];
	uint64_t vector = n * (n - 1) * e + 2 * n * n + n * (4 * e + 8 * d);
	uint64_t ps = products_ps(x, p->q.dim[1], 2 * n, n, d);

	ps = zw_cp_add_sat(ps, products_ps(x, heads, 2 * n, e, d));
	ps = zw_cp_add_sat(ps, products_ps(x, heads, n, e, n));
	ps = zw_cp_add_sat(ps, products_ps(x, zw_cp_mul_sat(heads, states), d, e, n));
	return zw_cp_add_sat(ps, zw_cp_vector_ps(x->profile, zw_cp_mul_sat(vector, heads), 1));
}

static uint64_t chunks_compute(const struct zw_cp_exec *x, const struct state_plan *plan)
{
	uint64_t ps = 0, single = 0;

	for (uint32_t i = 0; i < plan->n_runs; i++) {
		const struct zw_k_state_run *run = &plan->runs[i];

		for (uint32_t r = 0, n; r < run->count; r += n) {
			uint64_t states = 1;

			n = ZW_DELTA_CHUNK - (run->pos + r) % ZW_DELTA_CHUNK;
			if (n > run->count - r)
				n = run->count - r;
			if (n < ZW_DELTA_CHUNK_MIN) {
				single += n;
				continue;
			}
			for (uint32_t k = 0; k + 1 < n; k++)
				states += !!plan->to[run->first + r + k];
			ps = zw_cp_add_sat(ps, chunk_compute(x, n, states));
		}
	}
	return zw_cp_add_sat(ps, rows_compute(x, single));
}

static uint64_t delta_compute(struct zw_cp_exec *x)
{
	const struct zw_pkt_delta *p = x->pkt;

	return p->hdr.flags & ZW_DELTA_F_CHUNKED ? chunks_compute(x, x->plan)
						 : rows_compute(x, x->rows);
}

const struct zw_cp_impl zw_cp_delta = {.validate = delta_validate,
				       .prepare = delta_prepare,
				       .run = delta_run,
				       .compute = delta_compute};

/* SPDX-License-Identifier: MIT */
/* What the tests of the gated delta rule share: operands, and keys and queries as specified. */
#ifndef K_DELTA_UTIL_H
#define K_DELTA_UTIL_H

#include "test_k_util.h"

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

struct delta {
	struct zw_k_delta_args args;
	struct zw_k_state_run runs[4];
	void *q, *k, *v, *a, *b, *a_log, *dt_bias, *y;
	float *from[4], *keep;
	void **to;
	size_t y_bytes, state; /* floats of a state */
};

static inline int run_delta(void *arg, struct zw_pool *pool)
{
	return zw_k_delta(&((struct delta *)arg)->args, pool);
}

static inline void reset_delta(void *arg)
{
	struct delta *x = arg;

	memset(x->y, 0x5a, x->y_bytes);
}

/* Runs of `len` rows and one, two, ... more; every second starts from zeros; every state is kept. */
static inline void delta_init(struct delta *x, uint32_t n_runs, uint32_t len, uint32_t key_heads,
			      uint32_t heads, uint32_t d, uint32_t e, uint32_t in, uint32_t out,
			      uint32_t slack)
{
	uint32_t rows = n_runs * len + n_runs * (n_runs - 1) / 2, at = 0;
	uint64_t qs = d + slack, vs = e + slack, hs = heads + slack;

	memset(x, 0, sizeof(*x));
	x->state = (size_t)heads * d * e;
	x->q = k_array(in, rows * key_heads * qs);
	x->k = k_array(in, rows * key_heads * qs);
	x->v = k_array(in, rows * heads * vs);
	x->a = k_array(in, rows * hs);
	x->b = k_array(BF16, rows * hs);
	x->a_log = k_array(F32, heads);
	x->dt_bias = k_array(BF16, heads);
	x->y_bytes = (rows * heads * vs * k_size(out) + 63) & ~(size_t)63;
	x->y = malloc(x->y_bytes + rows * x->state * sizeof(float));
	x->to = calloc(rows, sizeof(*x->to));
	assert_true(x->y && x->to);
	x->keep = (float *)(void *)((char *)x->y + x->y_bytes);
	for (uint32_t r = 0; r < rows; r++)
		x->to[r] = x->keep + r * x->state;
	for (uint32_t i = 0; i < rows * hs; i++)
		k_set(x->a, in, i, 6 * k_uniform());
	for (uint32_t i = 0; i < n_runs; i++) {
		x->from[i] = i % 2 ? NULL : k_array(F32, x->state);
		x->runs[i] =
			(struct zw_k_state_run){.first = at, .count = len + i, .from = x->from[i]};
		at += len + i;
	}
	x->args = (struct zw_k_delta_args){
		.rows = rows,
		.key_heads = key_heads,
		.heads = heads,
		.d = d,
		.e = e,
		.eps = 1e-6f,
		.scale = 1 / sqrtf((float)d),
		.q = {.ptr = x->q, .dtype = in, .ld = key_heads * qs, .hs = qs},
		.k = {.ptr = x->k, .dtype = in, .ld = key_heads * qs, .hs = qs},
		.v = {.ptr = x->v, .dtype = in, .ld = heads * vs, .hs = vs},
		.a = {.ptr = x->a, .dtype = in, .ld = hs},
		.b = {.ptr = x->b, .dtype = BF16, .ld = hs},
		.a_log = {.ptr = x->a_log, .dtype = F32},
		.dt_bias = {.ptr = x->dt_bias, .dtype = BF16},
		.y = {.ptr = x->y, .dtype = out, .ld = heads * vs, .hs = vs},
		.states = {.runs = x->runs, .n_runs = n_runs, .dtype = F32, .to = x->to},
	};
}

static inline void delta_fini(struct delta *x)
{
	for (size_t i = 0; i < N_OF(x->from); i++)
		free(x->from[i]);
	free(x->q);
	free(x->k);
	free(x->v);
	free(x->a);
	free(x->b);
	free(x->a_log);
	free(x->dt_bias);
	free(x->y);
	free(x->to);
}

/* A key or query of unit length times scale, as specified, and exactly. */
static inline void unit(const void *p, const struct zw_k_in *in, const struct zw_k_delta_args *a,
			uint64_t at, bool scaled, float *got, double *exact)
{
	double ss = 0;
	float r;

	for (uint32_t i = 0; i < a->d; i++) {
		got[i] = k_get(p, in->dtype, at + i);
		ss += (double)got[i] * (double)got[i];
	}
	r = 1.0f / sqrtf(k_dot(got, got, a->d) + a->eps);
	for (uint32_t i = 0; i < a->d; i++) {
		exact[i] = (double)got[i] / sqrt(ss + (double)a->eps) *
			   (scaled ? (double)a->scale : 1);
		got[i] = got[i] * r;
		if (scaled)
			got[i] = got[i] * a->scale;
	}
}

#endif

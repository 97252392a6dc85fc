// SPDX-License-Identifier: MIT
/*
 * Gated delta rule, many rows at once: products of matrices in place of one row's rule after another. What
 * keys and queries have to do with keys is the same for all value heads of a key head, and what rows do to
 * each other for all columns of a state.
 */
#include "zw_k_delta.h"

#include <errno.h>
#include <string.h>

#define N ZW_DELTA_CHUNK

struct chunk {
	const struct zw_delta_part *p; /* the head */
	uint64_t row;
	uint32_t n;
	float *kt;    /* [d, N]: keys, one a column */
	float *g;     /* [2n, N]: keys, then queries, times keys */
	float *m, *w; /* [N, N] each: -m and p of the specification */
	float *d;     /* [N, N]: decay from row j to row i */
	float e[N];   /* decay from the state to row i */
	float *x, *o; /* [n, width] each, one behind the other */
	float *t;     /* [d, width] */
	float *u;     /* blocks of columns, each [N, width] */
};

size_t zw_delta_chunk_floats(uint32_t d, uint32_t e, uint32_t width)
{
	size_t columns = (size_t)(e + width - 1) / width * width;

	return (size_t)d * (N + width) + 5 * N * N + N * (2 * width + columns);
}

/*
 * acc += p . v, acc [rows, n], p [rows, keys], v [keys, n]: terms in the order of keys. Ends early when the
 * pool is cancelled: nobody reads what comes of it then.
 */
static void product(const struct chunk *c, uint32_t rows, float *acc, size_t lda, const float *p,
		    size_t ldp, const float *v, size_t ldv, size_t keys, size_t n)
{
	const struct zw_prim *prim = c->p->job->prim;
	uint32_t most = prim->weigh_rows[ZW_ST_F32];

	for (uint32_t r = 0; r < rows && !zw_pool_cancelled(c->p->job->pool); r += most)
		prim->weigh[ZW_ST_F32](rows - r < most ? rows - r : most, acc + r * lda, lda,
				       p + r * ldp, ldp, v, ldv, keys, n);
}

/*
 * The same with the terms that are on or below the diagonal, or (not diagonal) below it, and of columns of a
 * block. acc may be v: a row is complete before it is a term.
 */
static void triangle(const struct chunk *c, float *acc, const float *p, const float *v,
		     bool diagonal, size_t n)
{
	const struct zw_prim *prim = c->p->job->prim;
	uint32_t most = prim->weigh_rows[ZW_ST_F32], width = c->p->width;

	for (uint32_t r = 0; r < c->n; r += most) {
		uint32_t rows = c->n - r < most ? c->n - r : most, keys = r + diagonal;

		prim->weigh[ZW_ST_F32](rows, acc + r * width, width, p + r * N, N, v, width, keys,
				       n);
		/* What they have of each other, and nothing above the diagonal, infinite or not. */
		for (uint32_t i = 1; i < rows; i++)
			prim->weigh[ZW_ST_F32](1, acc + (r + i) * width, width,
					       p + (r + i) * N + keys, N, v + keys * width, width,
					       i, n);
	}
}

static void decays(struct chunk *c)
{
	const float *alpha = c->p->alpha;

	for (uint32_t i = 0; i < c->n; i++) {
		float *d = c->d + i * N;
		const float *before = i ? d - N : NULL;

		c->e[i] = i ? alpha[i] * c->e[i - 1] : alpha[0];
		for (uint32_t j = 0; j < i; j++)
			d[j] = alpha[i] * before[j];
		d[i] = 1.0f;
	}
}

static void pairs(const struct chunk *c)
{
	const struct zw_delta_part *p = c->p;
	const struct zw_prim *prim = p->job->prim;
	uint32_t most = prim->weigh_rows[ZW_ST_F32], n = c->n;

	for (uint32_t i = 0; i < n; i++)
		for (uint32_t l = 0; l < p->d; l++)
			c->kt[(size_t)l * N + i] = p->k[i * p->pad + l];
	memset(c->g, 0, 2 * n * N * sizeof(float));
	for (uint32_t r = 0; r < 2 * n && !zw_pool_cancelled(p->job->pool); r += most) {
		uint32_t rows = 2 * n - r < most ? 2 * n - r : most, last = (r + rows - 1) % n;
		/* Of no row more columns than whole vectors up to its diagonal. */
		uint32_t cols = r < n && r + rows > n ? n : last / p->width * p->width + p->width;

		prim->weigh[ZW_ST_F32](rows, c->g + r * N, N, p->k + r * p->pad, p->pad, c->kt, N,
				       p->d, cols < n ? cols : n);
	}
}

/* What the rows of a head do to each other. */
static void decay_pairs(const struct chunk *c)
{
	for (uint32_t i = 0; i < c->n; i++) {
		const float *d = c->d + i * N, *k = c->g + i * N, *q = c->g + (c->n + i) * N;
		float *m = c->m + i * N, *w = c->w + i * N, beta = c->p->beta[i];

		for (uint32_t j = 0; j < i; j++)
			m[j] = -(beta * (k[j] * d[j]));
		for (uint32_t j = 0; j <= i; j++)
			w[j] = q[j] * d[j];
	}
}

/* t: columns first.. of the state, which becomes that behind row i; u: theirs. */
static void state_behind(const struct chunk *c, uint32_t i, uint32_t first, const float *u,
			 float *t)
{
	const struct zw_delta_part *p = c->p;
	const struct zw_prim *prim = p->job->prim;
	uint32_t cols = zw_delta_cols(p, first), width = p->width;

	for (uint32_t l = 0; l < p->d; l++)
		prim->scale(t + (size_t)l * width, c->e[i], cols);
	/* In the place of x, which is in u by now. */
	for (uint32_t j = 0; j <= i; j++) {
		memcpy(c->x + j * width, u + j * width, cols * sizeof(float));
		prim->scale(c->x + j * width, c->d[i * N + j], cols);
	}
	product(c, p->d, t, width, c->kt, N, c->x, width, i + 1, cols);
	zw_delta_keep(p, c->row + i, first, t);
}

static void columns(const struct chunk *c, uint32_t first)
{
	const struct zw_delta_part *p = c->p;
	const struct zw_prim *prim = p->job->prim;
	uint32_t n = c->n, cols = zw_delta_cols(p, first), width = p->width;
	float *s = zw_delta_block(p, first), *u = c->u + first * N;

	memset(c->x, 0, 2 * n * width * sizeof(float));
	product(c, 2 * n, c->x, width, p->k, p->pad, s, width, p->d, cols);
	for (uint32_t i = 0; i < n; i++) {
		float be = p->beta[i] * c->e[i];

		prim->blend(u + i * width, p->beta[i], c->x + i * width, -be, cols);
		prim->scale(c->o + i * width, c->e[i], cols);
	}
	triangle(c, u, c->m, u, false, cols);
	triangle(c, c->o, c->w, u, true, cols);
	for (uint32_t i = 0; i < n; i++)
		zw_delta_put_y(p, c->row + i, first, c->o + i * width);
	for (uint32_t i = 0; i + 1 < n; i++) {
		if (!p->job->args->states.to[c->row + i])
			continue;
		memcpy(c->t, s, (size_t)p->d * width * sizeof(float));
		state_behind(c, i, first, u, c->t);
	}
	state_behind(c, n - 1, first, u, s);
}

static int one_head(struct chunk *c, struct zw_delta_part *p)
{
	c->p = p;
	zw_delta_load_gates(p, c->row, c->n);
	decays(c);
	decay_pairs(c);
	/* Rows of v are far apart: each of them whole, though columns come in blocks. */
	for (uint32_t i = 0; i < c->n; i++)
		for (uint32_t first = 0; first < p->e; first += p->width)
			zw_delta_get_v(p, c->row + i, first, c->u + first * N + i * p->width);
	for (uint32_t first = 0; first < p->e; first += p->width) {
		if (zw_pool_cancelled(p->job->pool))
			return -ECANCELED;
		columns(c, first);
	}
	return zw_pool_cancelled(p->job->pool) ? -ECANCELED : 0;
}

int zw_delta_chunk(struct zw_delta_part *p, uint32_t group, float *scratch, uint64_t row,
		   uint32_t n)
{
	struct chunk c = {.p = p, .row = row, .n = n};
	int err = 0;

	c.kt = scratch;
	c.g = c.kt + (size_t)p->d * N;
	c.m = c.g + 2 * N * N;
	c.w = c.m + N * N;
	c.d = c.w + N * N;
	c.x = c.d + N * N;
	c.o = c.x + n * p->width;
	c.t = c.x + 2 * N * p->width;
	c.u = c.t + (size_t)p->d * p->width;
	if (zw_pool_cancelled(p->job->pool))
		return -ECANCELED;
	zw_delta_load_keys(p, row, n);
	pairs(&c);
	for (uint32_t h = 0; h < group && !err; h++) {
		p[h].q = p->q;
		err = one_head(&c, &p[h]);
	}
	return err;
}

// SPDX-License-Identifier: MIT
/*
 * The chunked form of the gated delta rule: bits against the specification, error against its bound and against
 * the rule row by row in double precision, cuts, short chunks, states that are kept, what is no number.
 */
#include "k_delta_util.h"

#include "zhenwu/zw_cmd.h"
#include "zw_k_math.h"

#define N ZW_DELTA_CHUNK

/* What one head of a run has to come to, one chunk after the other. */
struct reference {
	const struct delta *x;
	const struct zw_k_state_run *run;
	uint32_t h;
	float *s;     /* [d, e] */
	float *q, *k; /* [N, d] of the rows of a chunk */
	float alpha[N], beta[N];
	float d[N][N], e[N], m[N][N], p[N][N], u[N];
	double inv[N][N];          /* magnitudes of (I + M)^-1 */
	double kk[N][N], qk[N][N]; /* sums of magnitudes, decay included; kk times beta */
	double worst;              /* error of what is kept, of the bound */
};

static void load(struct reference *f, uint32_t row, uint32_t n)
{
	const struct zw_k_delta_args *a = &f->x->args;
	uint32_t g = f->h / (a->heads / a->key_heads);
	double unused[1024];

	for (uint32_t i = 0; i < n; i++) {
		uint64_t r = row + i;
		float av = k_get(f->x->a, a->a.dtype, r * a->a.ld + f->h);
		float bias = k_get(f->x->dt_bias, BF16, f->h);

		unit(f->x->q, &a->q, a, r * a->q.ld + g * a->q.hs, true, f->q + i * a->d, unused);
		unit(f->x->k, &a->k, a, r * a->k.ld + g * a->k.hs, false, f->k + i * a->d, unused);
		f->beta[i] = zw_sigmoidf(k_get(f->x->b, BF16, r * a->b.ld + f->h));
		f->alpha[i] =
			zw_expf(-zw_expf(((float *)f->x->a_log)[f->h]) * zw_softplusf(av + bias));
	}
}

static void pairs(struct reference *f, uint32_t n)
{
	uint32_t d = f->x->args.d;

	for (uint32_t i = 0; i < n; i++) {
		f->e[i] = i ? f->alpha[i] * f->e[i - 1] : f->alpha[0];
		for (uint32_t j = 0; j <= i; j++) {
			float g = 0.0f, o = 0.0f;

			f->d[i][j] = j < i ? f->alpha[i] * f->d[i - 1][j] : 1.0f;
			f->kk[i][j] = f->qk[i][j] = 0;
			for (uint32_t l = 0; l < d; l++) {
				float ki = f->k[i * d + l], kj = f->k[j * d + l],
				      qi = f->q[i * d + l];

				g = fmaf(ki, kj, g);
				o = fmaf(qi, kj, o);
				f->kk[i][j] += fabs((double)ki * (double)kj);
				f->qk[i][j] += fabs((double)qi * (double)kj);
			}
			g = g * f->d[i][j];
			f->m[i][j] = f->beta[i] * g;
			f->p[i][j] = o * f->d[i][j];
			f->kk[i][j] *= (double)f->d[i][j] * (double)f->beta[i];
			f->qk[i][j] *= (double)f->d[i][j];
		}
	}
	/* The inverse, a column after the other, by substitution in double precision. */
	for (uint32_t j = 0; j < n; j++) {
		double t[N];

		for (uint32_t i = j; i < n; i++) {
			t[i] = i == j;
			for (uint32_t k = j; k < i; k++)
				t[i] -= (double)f->m[i][k] * t[k];
			f->inv[i][j] = fabs(t[i]);
			if (f->inv[i][j] > 1.001)
				fail_msg("the inverse has %g at %u,%u", t[i], i, j);
		}
	}
}

static void expect_bits(const struct delta *x, uint32_t row, uint32_t h, uint32_t c, float o)
{
	const struct zw_k_out *y = &x->args.y;
	size_t at = row * y->ld + h * y->hs + c;
	float want = 0;

	k_set(&want, y->dtype, 0, o);
	if (memcmp((char *)x->y + at * k_size(y->dtype), &want, k_size(y->dtype)))
		fail_msg("y[%u,%u,%u] is %g, not %g", row, h, c, (double)k_get(x->y, y->dtype, at),
			 (double)o);
}

static void expect_state(const struct delta *x, uint32_t row, uint32_t h, uint32_t l, uint32_t c,
			 float want)
{
	const float *to = x->to[row];
	size_t at = (h * (size_t)x->args.d + l) * x->args.e + c;

	if (to && to[at] != want)
		fail_msg("state[%u,%u,%u] behind row %u is %g, not %g", h, l, c, row,
			 (double)to[at], (double)want);
}

/* Of a column: the exact outcome by the rule from what was given in F32; bounds of the errors beside it. */
static void check_bound(struct reference *f, uint32_t row, uint32_t n, uint32_t c, const float *o)
{
	const struct zw_k_delta_args *a = &f->x->args;
	double eps = (a->d + 2 * n + 6) * U32 * 1.01, u[N], r[N], du[N], *s, tiny = 0x1p-120;

	s = malloc(a->d * sizeof(*s));
	for (uint32_t l = 0; l < a->d; l++)
		s[l] = (double)f->s[l * a->e + c];
	for (uint32_t i = 0; i < n; i++) {
		double v = (double)k_get(f->x->v, a->v.dtype,
					 (row + i) * a->v.ld + f->h * a->v.hs + c);
		double x = 0, out = 0, bound = 0, beta = (double)f->beta[i];

		r[i] = fabs(beta * v);
		for (uint32_t l = 0; l < a->d; l++) {
			r[i] += fabs(beta * (double)f->e[i] * (double)f->k[i * a->d + l] *
				     (double)f->s[l * a->e + c]);
			bound += fabs((double)f->e[i] * (double)f->q[i * a->d + l] *
				      (double)f->s[l * a->e + c]);
			s[l] *= (double)f->alpha[i];
			x += (double)f->k[i * a->d + l] * s[l];
		}
		u[i] = beta * (v - x);
		for (uint32_t j = 0; j < i; j++)
			r[i] += f->kk[i][j] * fabs(u[j]);
		du[i] = tiny;
		for (uint32_t j = 0; j <= i; j++)
			du[i] += eps * f->inv[i][j] * r[j];
		if (!k_close((double)f->u[i], u[i], du[i]))
			fail_msg("u of row %u: %g, exactly %g, bound %g", row + i, (double)f->u[i],
				 u[i], du[i]);
		bound *= eps;
		for (uint32_t l = 0; l < a->d; l++) {
			s[l] += (double)f->k[i * a->d + l] * u[i];
			out += (double)f->q[i * a->d + l] * s[l];
		}
		for (uint32_t j = 0; j <= i; j++)
			bound += eps * f->qk[i][j] * fabs(u[j]) + fabs((double)f->p[i][j]) * du[j];
		if (!k_close((double)o[i], out, bound + tiny))
			fail_msg("o of row %u: %g, exactly %g, bound %g", row + i, (double)o[i],
				 out, bound);
		f->worst = fmax(f->worst, fabs((double)o[i] - out) / (bound + tiny));
	}
	free(s);
}

static void column(struct reference *f, uint32_t row, uint32_t n, uint32_t c)
{
	const struct zw_k_delta_args *a = &f->x->args;
	float o[N], *s = malloc(a->d * sizeof(*s));

	for (uint32_t i = 0; i < n; i++) {
		float x = 0.0f, be = f->beta[i] * f->e[i],
		      v = k_get(f->x->v, a->v.dtype, (row + i) * a->v.ld + f->h * a->v.hs + c);

		o[i] = 0.0f;
		for (uint32_t l = 0; l < a->d; l++) {
			x = fmaf(f->k[i * a->d + l], f->s[l * a->e + c], x);
			o[i] = fmaf(f->q[i * a->d + l], f->s[l * a->e + c], o[i]);
		}
		x = x * -be;
		f->u[i] = fmaf(v, f->beta[i], x);
		for (uint32_t j = 0; j < i; j++)
			f->u[i] = fmaf(-f->m[i][j], f->u[j], f->u[i]);
		o[i] = f->e[i] * o[i];
		for (uint32_t j = 0; j <= i; j++)
			o[i] = fmaf(f->p[i][j], f->u[j], o[i]);
		expect_bits(f->x, row + i, f->h, c, o[i]);
	}
	check_bound(f, row, n, c, o);
	for (uint32_t i = 0; i < n; i++) {
		if (!f->x->to[row + i] && i + 1 < n)
			continue;
		for (uint32_t l = 0; l < a->d; l++) {
			s[l] = f->e[i] * f->s[l * a->e + c];
			for (uint32_t j = 0; j <= i; j++)
				s[l] = fmaf(f->k[j * a->d + l], f->d[i][j] * f->u[j], s[l]);
			expect_state(f->x, row + i, f->h, l, c, s[l]);
		}
	}
	for (uint32_t l = 0; l < a->d; l++)
		f->s[l * a->e + c] = s[l];
	free(s);
}

/* The same rows as without the flag. */
static void single(struct reference *f, uint32_t row, uint32_t i, uint32_t c)
{
	const struct zw_k_delta_args *a = &f->x->args;
	float m = 0.0f, o = 0.0f, x;

	for (uint32_t l = 0; l < a->d; l++) {
		f->s[l * a->e + c] = f->alpha[i] * f->s[l * a->e + c];
		m = fmaf(f->k[i * a->d + l], f->s[l * a->e + c], m);
	}
	x = k_get(f->x->v, a->v.dtype, row * a->v.ld + f->h * a->v.hs + c) - m;
	x = f->beta[i] * x;
	for (uint32_t l = 0; l < a->d; l++) {
		f->s[l * a->e + c] = fmaf(f->k[i * a->d + l], x, f->s[l * a->e + c]);
		o = fmaf(f->q[i * a->d + l], f->s[l * a->e + c], o);
		expect_state(f->x, row, f->h, l, c, f->s[l * a->e + c]);
	}
	expect_bits(f->x, row, f->h, c, o);
}

static double verify_head(const struct delta *x, const struct zw_k_state_run *run, uint32_t h)
{
	uint32_t d = x->args.d, e = x->args.e;
	struct reference *f = calloc(1, sizeof(*f));
	double worst;

	*f = (struct reference){.x = x, .run = run, .h = h};
	f->s = calloc((size_t)d * e, sizeof(*f->s));
	f->q = calloc(2 * N * (size_t)d, sizeof(*f->q));
	f->k = f->q + N * d;
	if (run->from)
		memcpy(f->s, (const float *)run->from + h * (size_t)d * e, d * e * sizeof(*f->s));
	for (uint32_t r = 0, n; r < run->count; r += n) {
		n = N - (run->pos + r) % N;
		n = n < run->count - r ? n : run->count - r;
		load(f, run->first + r, n);
		if (n >= ZW_DELTA_CHUNK_MIN)
			pairs(f, n);
		for (uint32_t c = 0; c < e; c++) {
			if (n >= ZW_DELTA_CHUNK_MIN)
				column(f, run->first + r, n, c);
			for (uint32_t i = 0; i < n && n < ZW_DELTA_CHUNK_MIN; i++)
				single(f, run->first + r + i, i, c);
		}
	}
	worst = f->worst;
	free(f->s);
	free(f->q);
	free(f);
	return worst;
}

/* The rule row by row in double precision: 2e-5 of the largest number in the state, over all chunks. */
static double verify_exact(const struct delta *x, const struct zw_k_state_run *run, uint32_t h)
{
	const struct zw_k_delta_args *p = &x->args;
	uint32_t d = p->d, e = p->e, g = h / (p->heads / p->key_heads);
	double *s = calloc((size_t)d * e, sizeof(*s)), q[1024], k[1024], worst = 0;
	float unused[1024];

	for (size_t i = 0; i < (size_t)d * e && run->from; i++)
		s[i] = (double)((const float *)run->from)[h * (size_t)d * e + i];
	for (uint32_t row = run->first; row < run->first + run->count; row++) {
		double a = (double)k_get(x->a, p->a.dtype, row * p->a.ld + h) +
			   (double)k_get(x->dt_bias, BF16, h);
		double alpha = exp(-exp((double)((float *)x->a_log)[h]) * log1p(exp(a)));
		double beta = 1 / (1 + exp(-(double)k_get(x->b, BF16, row * p->b.ld + h)));
		double largest = 1;

		unit(x->q, &p->q, p, row * p->q.ld + g * p->q.hs, true, unused, q);
		unit(x->k, &p->k, p, row * p->k.ld + g * p->k.hs, false, unused, k);
		for (uint32_t c = 0; c < e; c++) {
			size_t at = row * p->y.ld + h * p->y.hs + c;
			double got = (double)k_get(x->y, p->y.dtype, at), m = 0, o = 0;

			for (uint32_t l = 0; l < d; l++)
				m += k[l] * (s[l * e + c] *= alpha);
			m = beta *
			    ((double)k_get(x->v, p->v.dtype, row * p->v.ld + h * p->v.hs + c) - m);
			for (uint32_t l = 0; l < d; l++) {
				s[l * e + c] += k[l] * m;
				o += q[l] * s[l * e + c];
				largest = fmax(largest, fabs(s[l * e + c]));
			}
			for (uint32_t l = 0; l < d && x->to[row]; l++) {
				double kept =
					(double)((float *)x->to[row])[(h * (size_t)d + l) * e + c];

				worst = fmax(worst, fabs(kept - s[l * e + c]) / largest);
				if (!k_close(kept, s[l * e + c], 2e-5 * largest))
					fail_msg("state[%u,%u,%u] behind row %u: %g, exactly %g", h,
						 l, c, row, kept, s[l * e + c]);
			}
			if (!k_close(got, o,
				     2e-5 * largest + fabs(o) * U_OF(p->y.dtype) * 1.01 +
					     T_OF(p->y.dtype)))
				fail_msg("y[%u,%u,%u]: %g, exactly %g", row, h, c, got, o);
			if (p->y.dtype == F32)
				worst = fmax(worst, fabs(got - o) / largest);
		}
	}
	free(s);
	return worst;
}

/* Of delta_init(): the run's first positions, and of states only those behind every step-th row and the last. */
static void make_chunked(struct delta *x, uint32_t pos, uint32_t step)
{
	x->args.flags = ZW_K_DELTA_CHUNKED;
	for (uint32_t i = 0; i < x->args.states.n_runs; i++) {
		struct zw_k_state_run *run = &x->runs[i];

		run->pos = run->from ? pos + 7 * i : 0;
		for (uint32_t r = 0; r + 1 < run->count; r++)
			if (!step || r % step)
				x->to[run->first + r] = NULL;
	}
}

static void test_chunked(void **state)
{
	/* runs, rows, key heads, heads, d, e, of q k v a, of y, slack; first position; states kept */
	static const uint32_t shapes[][11] = {
		{1, 1, 1, 1, 1, 1, F32, F32, 0, 0, 1},
		{1, 32, 1, 1, 1, 1, F32, F32, 0, 64, 1},
		{1, 31, 1, 2, 16, 24, BF16, F32, 1, 0, 1},
		{2, 63, 1, 2, 16, 24, BF16, F32, 1, 0, 9},
		{2, 64, 2, 2, 9, 7, F32, BF16, 0, 128, 1},
		{3, 65, 1, 3, 24, 72, BF16, BF16, 3, 5, 13},
		{2, 200, 1, 1, 16, 33, F32, F32, 0, 0, 20},
		{1, 200, 1, 2, 40, 65, F16, F16, 1, 40, 0},
		{2, 130, 2, 4, 32, 32, F32, F32, 2, 1, 0},
		{1, 100, 1, 1, 128, 128, BF16, F32, 0, 28, 0},
		{1, 64, 1, 1, 600, 5, F32, F32, 0, 0, 0},
	};
	double bound = 0, exact = 0;

	for (size_t i = 0; i < N_OF(shapes); i++) {
		const uint32_t *s = shapes[i];
		struct delta x;

		delta_init(&x, s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8]);
		make_chunked(&x, s[9], s[10]);
		memset(x.keep, 0, x.args.rows * x.state * sizeof(float));
		k_all_configs(run_delta, &x, reset_delta, x.y,
			      x.y_bytes + x.args.rows * x.state * sizeof(float));
		for (uint32_t r = 0; r < s[0]; r++)
			for (uint32_t h = 0; h < s[3]; h++) {
				bound = fmax(bound, verify_head(&x, &x.runs[r], h));
				exact = fmax(exact, verify_exact(&x, &x.runs[r], h));
			}
		/* between the heads is nobody's */
		for (uint32_t r = 0; r < x.args.rows * s[3]; r++)
			for (uint64_t b = s[5]; b < x.args.y.hs; b++)
				assert_int_equal(((unsigned char *)x
							  .y)[(r * x.args.y.hs + b) * k_size(s[7])],
						 0x5a);
		delta_fini(&x);
	}
	print_message("# error: %.3f of the bound; %.2g of the largest number in the state\n",
		      bound, exact);
}

/* Keys that are all the same, or few; no decay, and as much as there is; gates that are open, and shut. */
static void test_hard(void **state)
{
	struct zw_pool *pool = zw_pool_new(0);
	double worst = 0;

	for (int kind = 0; kind < 8; kind++) {
		struct delta x;

		delta_init(&x, 1, 150, 1, 1, 64, 16, F32, F32, 0);
		make_chunked(&x, 0, 0);
		for (uint32_t r = 0; r < 150; r++) {
			if (kind & 1)
				for (uint32_t l = 0; l < 64; l++)
					k_set(x.k, F32, r * 64 + l,
					      ((float *)x.k)[r % 3 * 64 + l] + 1e-3f * k_uniform());
			k_set(x.a, F32, r, kind & 2 ? -200 : r % 7 ? -3 : 60);
			k_set(x.b, BF16, r, kind & 4 ? 100 : r % 2 ? -100 : 100);
		}
		assert_int_equal(run_delta(&x, pool), 0);
		worst = fmax(worst, verify_head(&x, &x.runs[0], 0));
		verify_exact(&x, &x.runs[0], 0);
		delta_fini(&x);
	}
	print_message("# error: %.3f of the bound\n", worst);
	zw_pool_free(pool);
}

/* Rows first..first + n - 1 of x as a packet of their own that goes on from s and leaves its state there; y to v. */
static void run_piece(const struct delta *x, struct zw_pool *pool, float *v, float *s,
		      uint32_t first, uint32_t n)
{
	struct zw_k_delta_args a = x->args;
	struct zw_k_state_run run = {.count = n, .from = s, .pos = x->runs[0].pos + first};
	void **to = calloc(n, sizeof(*to));

	to[n - 1] = s;
	a.rows = n;
	a.q.ptr = (float *)x->q + first * a.q.ld;
	a.k.ptr = (float *)x->k + first * a.k.ld;
	a.v.ptr = a.y.ptr = v + first * a.v.ld;
	a.a.ptr = (float *)x->a + first * a.a.ld;
	a.b.ptr = (uint16_t *)x->b + first * a.b.ld;
	a.states.runs = &run;
	a.states.to = to;
	assert_int_equal(zw_k_delta(&a, pool), 0);
	free(to);
}

/* In pieces over its own v: at ends of chunks the bits are those of the whole, elsewhere the numbers are. */
static void test_cuts(void **state)
{
	enum { ROWS = 200, H = 2, D = 12, E = 20, POS = 100 };
	static const uint32_t cuts[] = {1,  2,  3,  4,  5,  28, 31,  32, 33,
					62, 63, 64, 65, 66, 92, 156, 199};
	struct zw_pool *pool = zw_pool_new(2);
	float *v = malloc(ROWS * H * E * 4), *s = malloc(H * D * E * 4);
	struct delta x;

	delta_init(&x, 1, ROWS, 1, H, D, E, F32, F32, 0);
	make_chunked(&x, POS, 0);
	assert_int_equal(run_delta(&x, pool), 0);
	for (size_t i = 0; i < N_OF(cuts); i++) {
		bool edge = (POS + cuts[i]) % N == 0;
		double worst = 0;

		memcpy(v, x.v, ROWS * H * E * 4);
		memcpy(s, x.from[0], H * D * E * 4);
		run_piece(&x, pool, v, s, 0, cuts[i]);
		run_piece(&x, pool, v, s, cuts[i], ROWS - cuts[i]);
		for (uint32_t k = 0; k < ROWS * H * E; k++)
			worst = fmax(worst, fabs((double)v[k] - (double)((float *)x.y)[k]));
		if (edge ? worst != 0 : worst > 2e-5)
			fail_msg("cut at %u: off by %g", cuts[i], worst);
		worst = 0;
		for (uint32_t k = 0; k < H * D * E; k++)
			worst = fmax(worst,
				     fabs((double)s[k] - (double)((float *)x.to[ROWS - 1])[k]));
		if (edge ? worst != 0 : worst > 4e-5)
			fail_msg("cut at %u: state off by %g", cuts[i], worst);
	}
	/* Row by row through it all: not a chunk is long enough, so it is the rule without the flag. */
	memcpy(v, x.v, ROWS * H * E * 4);
	memcpy(s, x.from[0], H * D * E * 4);
	for (uint32_t r = 0, n; r < ROWS; r += n) {
		n = 1 + r % 31;
		n = n < ROWS - r ? n : ROWS - r;
		run_piece(&x, pool, v, s, r, n);
	}
	x.args.flags = 0;
	assert_int_equal(run_delta(&x, pool), 0);
	assert_memory_equal(v, x.y, ROWS * H * E * 4);
	assert_memory_equal(s, x.to[ROWS - 1], H * D * E * 4);
	free(v);
	free(s);
	delta_fini(&x);
	zw_pool_free(pool);
}

/* What is kept on the way changes nothing else. */
static void test_kept(void **state)
{
	enum { ROWS = 90, H = 2, D = 20, E = 70 };
	struct zw_pool *pool = zw_pool_new(2);
	void *y = malloc(ROWS * H * E * 2), *last = malloc(H * D * E * 4);
	struct delta x;

	delta_init(&x, 1, ROWS, 1, H, D, E, BF16, BF16, 0);
	make_chunked(&x, 3, 1);
	assert_int_equal(run_delta(&x, pool), 0);
	memcpy(y, x.y, ROWS * H * E * 2);
	memcpy(last, x.to[ROWS - 1], H * D * E * 4);
	for (uint32_t r = 0; r + 1 < ROWS; r++)
		x.to[r] = NULL;
	reset_delta(&x);
	assert_int_equal(run_delta(&x, pool), 0);
	assert_memory_equal(y, x.y, ROWS * H * E * 2);
	assert_memory_equal(last, x.to[ROWS - 1], H * D * E * 4);
	free(y);
	free(last);
	delta_fini(&x);
	zw_pool_free(pool);
}

/* With unit keys, beta 1 and no decay the rule gives back exactly what it was given. */
static void test_stores(void **state)
{
	enum { ROWS = 50, E = 10 };
	struct zw_pool *pool = zw_pool_new(0);
	struct delta x;

	delta_init(&x, 1, ROWS, 1, 1, ROWS, E, F32, F32, 0);
	make_chunked(&x, 0, 0);
	x.args.eps = 0;
	x.args.scale = 1;
	x.runs[0].from = NULL;
	for (uint32_t i = 0; i < ROWS; i++) {
		for (uint32_t j = 0; j < ROWS; j++)
			k_set(x.q, F32, i * ROWS + j, i == j),
				k_set(x.k, F32, i * ROWS + j, i == j);
		k_set(x.a, F32, i, -200);
		k_set(x.b, BF16, i, 100);
	}
	assert_int_equal(run_delta(&x, pool), 0);
	assert_memory_equal(x.y, x.v, ROWS * E * 4);
	assert_memory_equal(x.to[ROWS - 1], x.v, ROWS * E * 4);
	delta_fini(&x);
	zw_pool_free(pool);
}

/* What is no number stays in its column, or in its head, and changes no row before. */
static void test_nan(void **state)
{
	enum { ROWS = 64, BAD = 37, H = 2, D = 16, E = 40 };
	struct zw_pool *pool = zw_pool_new(0);
	const char *name;
	struct delta x;
	float *good = malloc(ROWS * H * E * 4), *y;

	for (int table = 0; k_use_table(table, &name); table++)
		for (int what = 0; what < 4; what++) {
			float bad = what & 1 ? INFINITY : NAN;

			delta_init(&x, 1, ROWS, 2, H, D, E, F32, F32, 0);
			make_chunked(&x, 64, 0);
			assert_int_equal(run_delta(&x, pool), 0);
			memcpy(good, x.y, ROWS * H * E * 4);
			y = x.y;
			if (what & 2)
				k_set(x.k, F32, BAD * 2 * D + 5, bad);
			else
				k_set(x.v, F32, BAD * H * E + 7, bad);
			assert_int_equal(run_delta(&x, pool), 0);
			for (uint32_t i = 0; i < ROWS * H * E; i++) {
				uint32_t row = i / (H * E), h = i / E % H, c = i % E;
				bool hit = row >= BAD && !h && (what & 2 || c == 7);

				if (hit ? isfinite(y[i]) : memcmp(&y[i], &good[i], 4))
					fail_msg("%s, %d: y[%u,%u,%u] is %g", name, what, row, h, c,
						 (double)y[i]);
			}
			delta_fini(&x);
		}
	zw_prim_override(NULL);
	free(good);
	zw_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chunked), cmocka_unit_test(test_hard),
		cmocka_unit_test(test_cuts),    cmocka_unit_test(test_kept),
		cmocka_unit_test(test_stores),  cmocka_unit_test(test_nan),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: MIT
/* Recurrent layers: bits against the specification, error against double precision, cuts of a sequence
 * into packets, states, refusals. */
#include "k_delta_util.h"

#include "zw_k_math.h"

/* --- convolution --- */

struct conv {
	struct zw_k_conv_args args;
	struct zw_k_state_run runs[8];
	void *x, *w, *y, *from[8], *keep; /* keep: a state for each row, dense */
	void **to;
	size_t y_bytes, state_bytes;
};

static int run_conv(void *arg, struct zw_pool *pool)
{
	return zw_k_conv(&((struct conv *)arg)->args, pool);
}

static void reset_conv(void *arg)
{
	struct conv *c = arg;

	memset(c->y, 0x5a, c->y_bytes);
}

/* Runs of 1, 2, ... rows; every second starts from zeros; every state is kept. */
static void conv_init(struct conv *c, uint32_t n_runs, uint32_t n, uint32_t taps, uint32_t tx,
		      uint32_t ty, uint32_t ts, uint32_t slack)
{
	uint32_t rows = n_runs * (n_runs + 1) / 2, at = 0;

	memset(c, 0, sizeof(*c));
	c->state_bytes = (size_t)(taps - 1) * n * k_size(ts);
	c->y_bytes = ((size_t)(rows - 1) * (n + slack) + n) * k_size(ty);
	c->x = k_array(tx, (size_t)rows * (n + slack));
	c->w = k_array(BF16, (size_t)n * (taps + slack));
	/* y and the states in one piece, so that one comparison sees both */
	c->y_bytes = (c->y_bytes + 63) & ~(size_t)63;
	c->y = malloc(c->y_bytes + rows * c->state_bytes);
	assert_non_null(c->y);
	c->keep = (char *)c->y + c->y_bytes;
	c->to = calloc(rows, sizeof(*c->to));
	for (uint32_t r = 0; r < rows; r++)
		c->to[r] = (char *)c->keep + r * c->state_bytes;
	for (uint32_t i = 0; i < n_runs; i++) {
		c->from[i] = i % 2 ? NULL : k_array(ts, (size_t)(taps - 1) * n);
		c->runs[i] =
			(struct zw_k_state_run){.first = at, .count = i + 1, .from = c->from[i]};
		at += i + 1;
	}
	c->args = (struct zw_k_conv_args){
		.rows = rows,
		.n = n,
		.taps = taps,
		.x = {.ptr = c->x, .dtype = tx, .ld = n + slack},
		.w = {.ptr = c->w, .dtype = BF16, .ld = taps + slack},
		.y = {.ptr = c->y, .dtype = ty, .ld = n + slack},
		.states = {.runs = c->runs, .n_runs = n_runs, .dtype = ts, .to = c->to},
	};
}

static void conv_fini(struct conv *c)
{
	for (size_t i = 0; i < N_OF(c->from); i++)
		free(c->from[i]);
	free(c->x);
	free(c->w);
	free(c->y);
	free(c->to);
}

/* Input `back` rows before row r of a run; before the run, what its state holds. */
static float input(const struct conv *c, const struct zw_k_state_run *run, uint32_t r,
		   uint32_t back, uint32_t ch)
{
	const struct zw_k_conv_args *a = &c->args;

	if (back <= r)
		return k_get(c->x, a->x.dtype, (run->first + r - back) * a->x.ld + ch);
	if (!run->from)
		return 0.0f;
	return k_get(run->from, a->states.dtype, (size_t)(a->taps - 1 - (back - r)) * a->n + ch);
}

static void verify_conv(const struct conv *c)
{
	const struct zw_k_conv_args *a = &c->args;

	for (uint32_t i = 0; i < a->states.n_runs; i++)
		for (uint32_t r = 0; r < c->runs[i].count; r++)
			for (uint32_t ch = 0; ch < a->n; ch++) {
				const struct zw_k_state_run *run = &c->runs[i];
				uint32_t row = run->first + r;
				double exact = 0, magnitude = 0, bound, v;
				float s = 0.0f, want = 0;

				for (uint32_t t = 0; t < a->taps; t++) {
					float w = k_get(c->w, BF16, ch * a->w.ld + t);
					float x = input(c, run, r, a->taps - 1 - t, ch);

					s = fmaf(w, x, s);
					exact += (double)w * (double)x;
					magnitude += fabs((double)w * (double)x);
				}
				k_set(&want, a->y.dtype, 0, zw_siluf(s));
				assert_memory_equal((char *)c->y + (row * a->y.ld + ch) *
									   k_size(a->y.dtype),
						    &want, k_size(a->y.dtype));
				/* silu is no steeper than 1.1 */
				v = exact / (1 + exp(-exact));
				bound = 1.1 * a->taps * U32 * magnitude * 1.01 + fabs(v) * 5 * U32;
				bound += (fabs(v) + bound) * U_OF(a->y.dtype) + 0x1p-130 +
					 T_OF(a->y.dtype);
				assert_true(
					k_close((double)k_get(c->y, a->y.dtype, row * a->y.ld + ch),
						v, bound));
				for (uint32_t t = 0; t + 1 < a->taps; t++)
					assert_true(k_get(c->to[row], a->states.dtype,
							  (size_t)t * a->n + ch) ==
						    input(c, run, r, a->taps - 2 - t, ch));
			}
}

static void test_conv(void **state)
{
	static const uint32_t ns[] = {1, 7, 8, 33, 1024, 1025, 2500};
	/* x, y, state */
	static const uint32_t types[][3] = {{F32, F32, F32},
					    {BF16, BF16, BF16},
					    {BF16, F32, F32},
					    {F32, BF16, F32},
					    {F16, F16, F16}};
	unsigned int i = 0;

	for (size_t t = 0; t < N_OF(types); t++)
		for (size_t l = 0; l < N_OF(ns); l++, i++) {
			static const uint32_t taps[] = {4, 2, 3, 16, 5};
			struct conv c;

			conv_init(&c, 1 + i % 8, ns[l], taps[i % 5], types[t][0], types[t][1],
				  types[t][2], i % 3);
			k_all_configs(run_conv, &c, reset_conv, c.y,
				      c.y_bytes + c.args.rows * c.state_bytes);
			verify_conv(&c);
			for (uint32_t r = 0; r + 1 < c.args.rows; r++)
				for (size_t b = ns[l]; b < c.args.y.ld; b++)
					assert_int_equal(
						((unsigned char *)c.y)[(r * c.args.y.ld + b) *
								       k_size(types[t][1])],
						0x5a);
			conv_fini(&c);
		}
}

/* One run of 36 rows, whole, and in pieces of every length that go on from kept states, in place. */
static void test_conv_cuts(void **state)
{
	struct zw_pool *pool = zw_pool_new(2);
	struct conv c;
	void *x, *s;
	void *to[36];

	conv_init(&c, 8, 40, 4, BF16, BF16, BF16, 0);
	c.runs[0].count = 36;
	c.args.states.n_runs = 1;
	reset_conv(&c);
	assert_int_equal(run_conv(&c, pool), 0);
	verify_conv(&c);
	x = malloc(36 * 40 * 2);
	s = malloc(c.state_bytes);
	for (uint32_t piece = 1; piece <= 36; piece++) {
		memcpy(x, c.x, 36 * 40 * 2);
		memcpy(s, c.from[0], c.state_bytes);
		for (uint32_t r = 0; r < 36; r += piece) {
			uint32_t n = 36 - r < piece ? 36 - r : piece;
			struct zw_k_state_run run = {.count = n, .from = s};
			struct zw_k_conv_args a = c.args;

			memset(to, 0, sizeof(to));
			to[n - 1] = s;
			a.rows = n;
			a.x.ptr = a.y.ptr = (uint16_t *)x + r * 40;
			a.states.runs = &run;
			a.states.to = to;
			assert_int_equal(zw_k_conv(&a, pool), 0);
		}
		assert_memory_equal(x, c.y, 36 * 40 * 2);
		assert_memory_equal(s, c.to[35], c.state_bytes);
	}
	free(x);
	free(s);
	conv_fini(&c);
	zw_pool_free(pool);
}

static void test_conv_refusals(void **state)
{
	struct zw_pool *pool = zw_pool_new(2);
	struct zw_k_conv_args bad;
	struct conv c;
	char *before;

	conv_init(&c, 3, 20, 4, BF16, BF16, BF16, 0);
	reset_conv(&c);
	before = malloc(c.y_bytes);
	memcpy(before, c.y, c.y_bytes);
#define REFUSED(err, change)                                                                       \
	do {                                                                                       \
		bad = c.args;                                                                      \
		change;                                                                            \
		assert_int_equal(zw_k_conv(&bad, pool), err);                                      \
		assert_memory_equal(before, c.y, c.y_bytes);                                       \
	} while (0)
	REFUSED(-EINVAL, bad.taps = 1);
	REFUSED(-EINVAL, bad.taps = 17);
	REFUSED(-EINVAL, bad.rows = 5);
	REFUSED(-EINVAL, bad.rows = 7);
	REFUSED(-EINVAL, bad.states.n_runs = 2);
	REFUSED(-EINVAL, bad.states.to = NULL);
	REFUSED(-EINVAL, bad.x.ptr = NULL);
	REFUSED(-EINVAL, bad.y.ptr = (uint16_t *)c.x + 1);
	REFUSED(-EINVAL, bad.y.ptr = c.w);
	REFUSED(-EOPNOTSUPP, bad.states.dtype = ZW_DTYPE_F16);
	REFUSED(-EOPNOTSUPP, bad.x.dtype = F32; bad.x.ptr = NULL);
	REFUSED(-EOPNOTSUPP, bad.w.dtype = ZW_DTYPE_I8);
	c.runs[1].first = 2;
	REFUSED(-EINVAL, );
	c.runs[1].first = 1;
	bad = c.args;
	bad.rows = bad.states.n_runs = 0;
	assert_int_equal(zw_k_conv(&bad, pool), 0);
	assert_memory_equal(before, c.y, c.y_bytes);
#undef REFUSED
	assert_int_equal(run_conv(&c, pool), 0);
	free(before);
	conv_fini(&c);
	zw_pool_free(pool);
}

/* --- gated delta rule --- */

/*
 * One value head of a run, to the bit; and in double precision, to 2e-5 of the largest number that there
 * is in the output of a head (the rule only contracts: |k| <= 1, beta and alpha below 1).
 */
static void verify_head(const struct delta *x, const struct zw_k_state_run *run, uint32_t h)
{
	const struct zw_k_delta_args *p = &x->args;
	uint32_t d = p->d, e = p->e, g = h / (p->heads / p->key_heads);
	float *s = calloc((size_t)d * e, sizeof(*s)), q[1024], k[1024];
	double *sd = calloc((size_t)d * e, sizeof(*sd)), qd[1024], kd[1024];

	for (size_t i = 0; i < (size_t)d * e && run->from; i++)
		sd[i] = (double)(s[i] = ((const float *)run->from)[h * (size_t)d * e + i]);
	for (uint32_t row = run->first; row < run->first + run->count; row++) {
		float av = k_get(x->a, p->a.dtype, row * p->a.ld + h),
		      bv = k_get(x->b, BF16, row * p->b.ld + h), bias = k_get(x->dt_bias, BF16, h),
		      alog = ((float *)x->a_log)[h];
		float beta = zw_sigmoidf(bv), alpha;
		double betad = 1 / (1 + exp(-(double)bv)), largest = 0, alphad;

		alpha = zw_expf(-zw_expf(alog) * zw_softplusf(av + bias));
		alphad = exp(-exp((double)alog) * log1p(exp((double)av + (double)bias)));
		unit(x->q, &p->q, p, row * p->q.ld + g * p->q.hs, true, q, qd);
		unit(x->k, &p->k, p, row * p->k.ld + g * p->k.hs, false, k, kd);
		for (uint32_t c = 0; c < e; c++) {
			size_t at = row * p->y.ld + h * p->y.hs + c;
			float v = k_get(x->v, p->v.dtype, row * p->v.ld + h * p->v.hs + c), m = 0,
			      o = 0, want = 0, *keep = x->to[row];
			double md = 0, od = 0, got = (double)k_get(x->y, p->y.dtype, at);

			for (uint32_t i = 0; i < d; i++) {
				s[i * e + c] = alpha * s[i * e + c];
				m = fmaf(k[i], s[i * e + c], m);
				sd[i * e + c] *= alphad;
				md += kd[i] * sd[i * e + c];
			}
			m = v - m;
			m = beta * m;
			md = betad * ((double)v - md);
			for (uint32_t i = 0; i < d; i++) {
				s[i * e + c] = fmaf(k[i], m, s[i * e + c]);
				o = fmaf(q[i], s[i * e + c], o);
				sd[i * e + c] += kd[i] * md;
				od += qd[i] * sd[i * e + c];
				largest = fmax(largest, fabs(sd[i * e + c]));
				if (keep[(h * (size_t)d + i) * e + c] != s[i * e + c])
					fail_msg("state[%u,%u,%u] behind row %u", h, i, c, row);
				assert_true(k_close((double)s[i * e + c], sd[i * e + c],
						    2e-5 * fmax(1, largest)));
			}
			k_set(&want, p->y.dtype, 0, o);
			if (memcmp((char *)x->y + at * k_size(p->y.dtype), &want,
				   k_size(p->y.dtype)))
				fail_msg("y[%u,%u,%u] is %g, not %g", row, h, c, got, (double)o);
			assert_true(k_close(got, od,
					    2e-5 * fmax(1, largest) +
						    fabs(od) * U_OF(p->y.dtype) * 1.01 +
						    T_OF(p->y.dtype)));
		}
	}
	free(s);
	free(sd);
}

static void test_delta(void **state)
{
	/* runs, rows, key heads, heads, d, e, of q k v a, of y, slack */
	static const uint32_t shapes[][9] = {
		{1, 1, 1, 1, 1, 1, F32, F32, 0},      {1, 1, 2, 4, 128, 128, BF16, BF16, 0},
		{4, 1, 1, 2, 16, 24, BF16, F32, 1},   {3, 15, 2, 2, 9, 7, F32, BF16, 0},
		{2, 33, 1, 3, 24, 72, BF16, BF16, 3}, {1, 17, 1, 1, 7, 129, F32, F32, 2},
		{1, 3, 1, 2, 16, 20, F16, F16, 1},    {1, 2, 1, 1, 40, 203, F32, BF16, 0},
		{1, 1, 1, 1, 1024, 5, BF16, F32, 0},
	};

	for (size_t i = 0; i < N_OF(shapes); i++) {
		const uint32_t *s = shapes[i];
		struct delta x;

		delta_init(&x, s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8]);
		k_all_configs(run_delta, &x, reset_delta, x.y,
			      x.y_bytes + x.args.rows * x.state * sizeof(float));
		for (uint32_t r = 0; r < s[0]; r++)
			for (uint32_t h = 0; h < s[3]; h++)
				verify_head(&x, &x.runs[r], h);
		/* between the heads is nobody's */
		for (uint32_t r = 0; r < x.args.rows * s[3]; r++)
			for (uint64_t b = s[5]; b < x.args.y.hs; b++)
				assert_int_equal(((unsigned char *)x
							  .y)[(r * x.args.y.hs + b) * k_size(s[7])],
						 0x5a);
		delta_fini(&x);
	}
}

/* A prompt whole, and in pieces of every length that go on from kept states, over its own v. */
static void test_delta_cuts(void **state)
{
	enum { N = 66, H = 2, D = 12, E = 20 };
	struct zw_pool *pool = zw_pool_new(2);
	struct delta x;
	float *v = malloc(N * H * E * 4), *s = malloc(H * D * E * 4);
	void *to[N];

	delta_init(&x, 1, N, 1, H, D, E, F32, F32, 0);
	assert_int_equal(run_delta(&x, pool), 0);
	for (uint32_t piece = 1; piece <= N; piece++) {
		memcpy(v, x.v, N * H * E * 4);
		memcpy(s, x.from[0], H * D * E * 4);
		for (uint32_t r = 0; r < N; r += piece) {
			uint32_t n = N - r < piece ? N - r : piece;
			struct zw_k_state_run run = {.count = n, .from = s};
			struct zw_k_delta_args a = x.args;

			memset(to, 0, sizeof(to));
			to[n - 1] = s;
			a.rows = n;
			a.q.ptr = (float *)x.q + r * D;
			a.k.ptr = (float *)x.k + r * D;
			a.v.ptr = a.y.ptr = v + r * H * E;
			a.a.ptr = (float *)x.a + r * H;
			a.b.ptr = (uint16_t *)x.b + r * H;
			a.states.runs = &run;
			a.states.to = to;
			assert_int_equal(zw_k_delta(&a, pool), 0);
		}
		assert_memory_equal(v, x.y, N * H * E * 4);
		assert_memory_equal(s, x.to[N - 1], H * D * E * 4);
	}
	free(v);
	free(s);
	delta_fini(&x);
	zw_pool_free(pool);
}

/* The rule stores what keys are given: with unit keys, beta 1 and no decay it gives back exactly that. */
static void test_delta_stores(void **state)
{
	enum { N = 8, E = 10 };
	struct zw_pool *pool = zw_pool_new(2);
	struct delta x;

	delta_init(&x, 1, N, 1, 1, N, E, F32, F32, 0);
	x.args.eps = 0;
	x.args.scale = 1;
	x.runs[0].from = NULL;
	for (uint32_t i = 0; i < N; i++) {
		for (uint32_t j = 0; j < N; j++)
			k_set(x.q, F32, i * N + j, i == j), k_set(x.k, F32, i * N + j, i == j);
		k_set(x.a, F32, i, -200);
		k_set(x.b, BF16, i, 100);
	}
	assert_int_equal(run_delta(&x, pool), 0);
	assert_memory_equal(x.y, x.v, N * E * 4);
	assert_memory_equal(x.to[N - 1], x.v, N * E * 4);
	delta_fini(&x);
	zw_pool_free(pool);
}

static void test_softplus(void **state)
{
	double worst = 0;

	for (int i = 0; i < 200000; i++) {
		float x = 100 * k_uniform();
		double want = (double)x > 40 ? (double)x : log1p(exp((double)x));
		double err = fabs((double)zw_softplusf(x) - want) / want;

		if (want > 0x1p-126)
			worst = fmax(worst, err);
	}
	print_message("softplus: %.2f x 2^-24\n", worst / U32);
	assert_true(worst < 6 * U32);
	assert_true(zw_softplusf(INFINITY) == INFINITY);
	assert_true(zw_softplusf(-INFINITY) == 0.0f);
	assert_true(isnan(zw_softplusf(NAN)));
}

static void test_delta_refusals(void **state)
{
	struct zw_pool *pool = zw_pool_new(2);
	struct zw_k_delta_args bad;
	struct delta x;
	char *before;

	delta_init(&x, 2, 2, 2, 4, 8, 8, BF16, BF16, 0);
	reset_delta(&x);
	before = malloc(x.y_bytes);
	memcpy(before, x.y, x.y_bytes);
#define REFUSED(err, change)                                                                       \
	do {                                                                                       \
		bad = x.args;                                                                      \
		change;                                                                            \
		assert_int_equal(zw_k_delta(&bad, pool), err);                                     \
		assert_memory_equal(before, x.y, x.y_bytes);                                       \
	} while (0)
	REFUSED(-EINVAL, bad.d = 0);
	REFUSED(-EINVAL, bad.e = 0);
	REFUSED(-EINVAL, bad.d = ZW_K_DELTA_MAX + 1);
	REFUSED(-EINVAL, bad.key_heads = 3);
	REFUSED(-EINVAL, bad.key_heads = 0);
	REFUSED(-EINVAL, bad.eps = -1);
	REFUSED(-EINVAL, bad.eps = NAN);
	REFUSED(-EINVAL, bad.scale = INFINITY);
	REFUSED(-EINVAL, bad.flags = 2);
	REFUSED(-EINVAL, bad.rows = 4);
	REFUSED(-EINVAL, bad.states.to = NULL);
	REFUSED(-EINVAL, bad.k.ptr = NULL);
	REFUSED(-EINVAL, bad.a_log.ptr = NULL);
	REFUSED(-EINVAL, bad.y.ptr = x.q);
	REFUSED(-EINVAL, bad.y.ptr = (uint16_t *)x.v + 1);
	REFUSED(-EOPNOTSUPP, bad.states.dtype = BF16);
	REFUSED(-EOPNOTSUPP, bad.v.dtype = ZW_DTYPE_U8);
#undef REFUSED
	assert_int_equal(run_delta(&x, pool), 0);
	free(before);
	delta_fini(&x);
	zw_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_conv),          cmocka_unit_test(test_conv_cuts),
		cmocka_unit_test(test_conv_refusals), cmocka_unit_test(test_delta),
		cmocka_unit_test(test_delta_cuts),    cmocka_unit_test(test_delta_stores),
		cmocka_unit_test(test_softplus),      cmocka_unit_test(test_delta_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

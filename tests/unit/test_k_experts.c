// SPDX-License-Identifier: MIT
/* Routing and the products with experts' matrices: bits against the specification, error against double
 * precision, invariances, refusals. */
#include "test_k_util.h"

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

struct types {
	uint32_t a, w, c;
	bool weights, residual;
};

struct experts {
	struct zw_k_experts_args args;
	struct zw_k_expert_part *parts;
	int32_t *ids;
	void *a, *residual, *c, **w; /* w: by expert; NULL: not hit */
	float *weights;
	size_t c_bytes;
};

static int run(void *arg, struct zw_pool *pool)
{
	return zw_k_experts(&((struct experts *)arg)->args, pool);
}

static void reset(void *arg)
{
	struct experts *x = arg;

	memset(x->c, 0x5a, x->c_bytes);
}

/* Matrices of the experts that are hit, each cut into `cuts` parts; all of exactly their size. */
static void make_parts(struct experts *x, uint32_t cuts, uint32_t slack)
{
	struct zw_k_experts_args *p = &x->args;
	uint64_t at = 0;

	x->w = calloc(p->experts, sizeof(*x->w));
	x->parts = calloc((size_t)p->experts * cuts, sizeof(*x->parts));
	assert_true(x->w && x->parts);
	for (uint32_t i = 0; i < p->rows * p->per_row; i++)
		if (!x->w[x->ids[i]])
			x->w[x->ids[i]] = k_array(p->w_dtype, (p->n - 1) * (p->k + slack) + p->k);
	p->w_ld = p->k + slack;
	for (uint32_t e = 0; e < p->experts; e++)
		for (uint32_t i = 0; i < cuts && x->w[e]; i++) {
			uint32_t first = p->n * i / cuts, end = p->n * (i + 1) / cuts;

			if (first < end)
				x->parts[at++] = (struct zw_k_expert_part){
					.ptr = (char *)x->w[e] +
					       first * p->w_ld * k_size(p->w_dtype),
					.expert = e,
					.first = first,
					.count = end - first,
				};
		}
	p->parts = x->parts;
	p->n_parts = at;
}

static void init(struct experts *x, const uint32_t s[5], struct types t, bool scatter,
		 uint32_t cuts, uint32_t slack)
{
	struct zw_k_experts_args *p = &x->args;
	uint32_t m = s[0], per = s[1], n = s[3], k = s[4];
	uint32_t rows_a = scatter ? m * per : m, rows_c = scatter ? m : m * per;

	memset(x, 0, sizeof(*x));
	*p = (struct zw_k_experts_args){
		.rows = m,
		.per_row = per,
		.experts = s[2],
		.n = n,
		.k = k,
		.flags = scatter ? ZW_K_EXPERTS_SCATTER : 0,
		.w_dtype = t.w,
	};
	x->ids = malloc((size_t)m * per * sizeof(*x->ids));
	for (uint32_t i = 0; i < m * per; i++)
		x->ids[i] = (int32_t)(k_rng() % s[2]);
	p->ids = x->ids;
	make_parts(x, cuts, slack);
	p->a = (struct zw_k_in){.dtype = t.a, .hs = k + slack};
	p->a.ld = scatter ? per * p->a.hs + slack : p->a.hs;
	p->a.ptr = x->a = k_array(t.a, rows_a * (k + 2 * (size_t)slack));
	p->c = (struct zw_k_out){.dtype = t.c, .hs = n + slack};
	p->c.ld = scatter ? p->c.hs : per * p->c.hs + slack;
	x->c_bytes = rows_c * (n + 2 * (size_t)slack) * k_size(t.c);
	p->c.ptr = x->c = malloc(x->c_bytes);
	assert_non_null(x->c);
	if (scatter && t.weights) {
		p->weights = x->weights = k_array(F32, (size_t)m * (per + slack));
		p->weights_ld = per + slack;
	}
	if (scatter && t.residual) {
		p->residual = (struct zw_k_in){.dtype = t.a, .ld = n + slack};
		p->residual.ptr = x->residual = k_array(t.a, (size_t)m * (n + slack));
	}
}

static void fini(struct experts *x)
{
	for (uint32_t e = 0; e < x->args.experts; e++)
		free(x->w[e]);
	free(x->w);
	free(x->parts);
	free(x->ids);
	free(x->a);
	free(x->residual);
	free(x->c);
	free(x->weights);
}

/* The dot product of row m, its j-th expert and column n: as specified, exactly, and its error bound. */
struct dot {
	float v;
	double exact, bound;
};

static struct dot dot_of(const struct experts *x, uint32_t m, uint32_t j, uint32_t n)
{
	const struct zw_k_experts_args *p = &x->args;
	const void *w = x->w[x->ids[m * p->per_row + j]];
	float *u = malloc((p->k + 1) * sizeof(float)), *v = malloc((p->k + 1) * sizeof(float));
	uint64_t at = m * p->a.ld + (p->flags ? j * p->a.hs : 0);
	double magnitude = 0;
	struct dot d = {0};

	for (uint32_t k = 0; k < p->k; k++) {
		u[k] = k_get(x->a, p->a.dtype, at + k);
		v[k] = k_get(w, p->w_dtype, n * p->w_ld + k);
		d.exact += (double)u[k] * (double)v[k];
		magnitude += fabs((double)u[k] * (double)v[k]);
	}
	d.v = k_dot(u, v, p->k);
	d.bound = k_dot_bound(p->k, magnitude);
	free(u);
	free(v);
	return d;
}

static void expect(const struct experts *x, uint64_t at, struct dot d)
{
	const struct zw_k_experts_args *p = &x->args;
	uint32_t got = 0, want = 0, dtype = p->c.dtype;
	double v = (double)k_get(x->c, dtype, at);

	k_set(&want, dtype, 0, d.v);
	memcpy(&got, (char *)x->c + at * k_size(dtype), k_size(dtype));
	if (got != want)
		fail_msg("%ux%u of %u, %ux%u: C[%llu] is %08x, not %08x", p->rows, p->per_row,
			 p->experts, p->n, p->k, (unsigned long long)at, got, want);
	d.bound += (fabs(d.exact) + d.bound) * U_OF(dtype) + T_OF(dtype);
	if (!k_close(v, d.exact, d.bound))
		fail_msg("%ux%u of %u, %ux%u: C[%llu] is %g, not %g +- %g", p->rows, p->per_row,
			 p->experts, p->n, p->k, (unsigned long long)at, v, d.exact, d.bound);
}

static void verify(const struct experts *x)
{
	const struct zw_k_experts_args *p = &x->args;

	for (uint32_t m = 0; m < p->rows; m++)
		for (uint32_t n = 0; n < p->n; n++) {
			struct dot sum = {.v = 0.0f};

			for (uint32_t j = 0; j < p->per_row; j++) {
				struct dot d = dot_of(x, m, j, n);
				float w = x->weights ? x->weights[m * p->weights_ld + j] : 1.0f;

				if (!p->flags) {
					expect(x, m * p->c.ld + j * p->c.hs + n, d);
					continue;
				}
				sum.v = fmaf(w, d.v, sum.v);
				sum.exact += (double)w * d.exact;
				sum.bound += fabs((double)w) * d.bound;
				sum.bound += (fabs(sum.exact) + sum.bound) * U32;
			}
			if (x->residual) {
				float r = k_get(x->residual, p->residual.dtype,
						m * p->residual.ld + n);

				sum.v = sum.v + r;
				sum.exact += (double)r;
				sum.bound += (fabs(sum.exact) + sum.bound) * U32;
			}
			if (p->flags)
				expect(x, m * p->c.ld + n, sum);
		}
}

static const struct types all_types[] = {
	{F32, F32, F32, false, false},  {BF16, BF16, BF16, true, false},
	{BF16, BF16, F32, true, true},  {F32, BF16, F32, true, true},
	{BF16, F32, BF16, false, true}, {F16, F16, F16, true, true},
};

/* rows, experts of a row, experts, n, k */
static void test_shapes(void **state)
{
	static const uint32_t shapes[][5] = {
		{1, 1, 1, 1, 1},     {1, 8, 128, 17, 40},  {3, 2, 5, 9, 7},
		{5, 4, 16, 30, 130}, {40, 3, 4, 12, 33},   {64, 10, 512, 6, 24},
		{70, 2, 1, 70, 520}, {2, 2, 3, 300, 1500}, {33, 4, 8, 129, 257},
		{150, 1, 2, 8, 16},  {4, 4, 6, 3, 0},      {130, 2, 2, 20, 900},
	};
	unsigned int t = 0;

	for (size_t i = 0; i < N_OF(shapes); i++)
		for (int scatter = 0; scatter < 2; scatter++)
			for (uint32_t cuts = 1; cuts <= 3; cuts += 2) {
				struct experts x;

				init(&x, shapes[i], all_types[t % N_OF(all_types)], scatter, cuts,
				     t % 4);
				t++;
				k_all_configs(run, &x, reset, x.c, x.c_bytes);
				verify(&x);
				fini(&x);
			}
}

/* A row's bits do not depend on the rows beside it. */
static void test_alone(void **state)
{
	static const uint32_t shape[5] = {90, 4, 16, 40, 200};
	struct zw_pool *pool = zw_pool_new(2);

	for (int scatter = 0; scatter < 2; scatter++) {
		struct experts x;
		void *whole;

		init(&x, shape, all_types[2], scatter, 1, 0);
		reset(&x);
		assert_int_equal(run(&x, pool), 0);
		whole = malloc(x.c_bytes);
		memcpy(whole, x.c, x.c_bytes);
		for (uint32_t count = 1; count <= 7; count += 3) {
			reset(&x);
			for (uint32_t r = 0; r < shape[0]; r += count) {
				struct zw_k_experts_args part = x.args;

				part.rows = shape[0] - r < count ? shape[0] - r : count;
				part.ids += r * part.per_row;
				part.a.ptr = (uint16_t *)x.a + r * part.a.ld;
				part.c.ptr = (float *)x.c + r * part.c.ld;
				if (scatter) {
					part.weights += r * part.weights_ld;
					part.residual.ptr =
						(uint16_t *)x.residual + r * part.residual.ld;
				}
				assert_int_equal(zw_k_experts(&part, pool), 0);
			}
			assert_memory_equal(whole, x.c, x.c_bytes);
		}
		free(whole);
		fini(&x);
	}
	zw_pool_free(pool);
}

/* So many pairs that the columns are taken in passes; and the residual in place. */
static void test_passes(void **state)
{
	static const uint32_t shape[5] = {(1 << 20) / 8, 8, 3, 21, 2};
	struct zw_pool *pool = zw_pool_new(2);
	struct experts x;

	init(&x, shape, (struct types){F32, BF16, F32, true, true}, true, 2, 0);
	/* c = residual + ..., where the residual of the check is a copy */
	memcpy(x.c, x.residual, x.c_bytes);
	x.args.residual.ptr = x.c;
	assert_int_equal(run(&x, pool), 0);
	x.args.residual.ptr = x.residual;
	/* Every 997th row, as if it were the only one. */
	for (uint32_t r = 0; r < shape[0]; r += 997) {
		struct experts one = x;

		one.args.rows = 1;
		one.ids += r * 8;
		one.a = (float *)x.a + r * x.args.a.ld;
		one.c = (float *)x.c + r * x.args.c.ld;
		one.weights += r * x.args.weights_ld;
		one.residual = (float *)x.residual + r * x.args.residual.ld;
		verify(&one);
	}
	fini(&x);
	zw_pool_free(pool);
}

/* Bytes between the rows are nobody's. */
static void test_gaps_untouched(void **state)
{
	static const uint32_t shape[5] = {6, 2, 4, 10, 24};
	struct zw_pool *pool = zw_pool_new(2);

	for (int scatter = 0; scatter < 2; scatter++) {
		struct experts x;

		init(&x, shape, all_types[1], scatter, 1, 3);
		reset(&x);
		assert_int_equal(run(&x, pool), 0);
		for (uint32_t m = 0; m < 6; m++)
			for (uint32_t i = 0; i < x.args.c.ld; i++) {
				uint32_t in_head = i % 13;
				bool gap = in_head >= 10 || i >= (scatter ? 13u : 26u);

				if (gap)
					assert_int_equal(((uint16_t *)x.c)[m * x.args.c.ld + i],
							 0x5a5a);
			}
		fini(&x);
	}
	zw_pool_free(pool);
}

static void test_special_values(void **state)
{
	static const uint32_t shape[5] = {1, 2, 2, 3, 9};
	struct experts x;

	init(&x, shape, all_types[1], true, 1, 0);
	x.args.c.dtype = F32;
	free(x.c);
	x.c_bytes = 3 * 4;
	x.args.c.ptr = x.c = malloc(x.c_bytes);
	x.args.w_ld = 9;
	/* 0 * inf is a NaN, whichever way it is signed, and stored as the one there is */
	x.weights[0] = -0.0f;
	k_set(x.a, BF16, 4, INFINITY);
	k_all_configs(run, &x, reset, x.c, x.c_bytes);
	for (int i = 0; i < 3; i++)
		assert_int_equal(((uint32_t *)x.c)[i], ZW_F32_NAN);
	fini(&x);
}

static void test_refusals(void **state)
{
	static const uint32_t shape[5] = {4, 3, 6, 5, 8};
	static int32_t bad_ids[12];
	struct zw_pool *pool = zw_pool_new(2);

	for (int scatter = 0; scatter < 2; scatter++) {
		struct zw_k_fault fault = {0};
		struct zw_k_experts_args bad;
		struct experts x;
		uint32_t last;
		char *before;

		init(&x, shape, all_types[2], scatter, 1, 0);
		x.args.fault = &fault;
		reset(&x);
		before = malloc(x.c_bytes);
		memcpy(before, x.c, x.c_bytes);
#define REFUSED(err, change)                                                                       \
	do {                                                                                       \
		bad = x.args;                                                                      \
		change;                                                                            \
		assert_int_equal(zw_k_experts(&bad, pool), err);                                   \
		assert_memory_equal(before, x.c, x.c_bytes);                                       \
	} while (0)
		for (int32_t v = -1; v <= 6; v += 7) {
			memcpy(bad_ids, x.ids, sizeof(bad_ids));
			bad_ids[7] = v;
			REFUSED(-ERANGE, bad.ids = bad_ids);
			assert_int_equal(fault.index, 7);
			assert_int_equal(fault.value, v);
		}
		REFUSED(-EOPNOTSUPP, bad.flags |= 2);
		REFUSED(-EOPNOTSUPP, bad.w_dtype = ZW_DTYPE_U8);
		REFUSED(-EOPNOTSUPP, bad.a.dtype = ZW_DTYPE_I8);
		REFUSED(-EINVAL, bad.per_row = 0);
		REFUSED(-EINVAL, bad.per_row = 1025);
		REFUSED(-EINVAL, bad.rows = 1 << 20);
		REFUSED(-EINVAL, bad.ids = NULL);
		REFUSED(-EINVAL, bad.a.ptr = NULL);
		REFUSED(-EINVAL, bad.c.ptr = NULL);
		REFUSED(-EINVAL, bad.a.ptr = x.c);
		REFUSED(-EINVAL, bad.n_parts--);
		REFUSED(-EINVAL, bad.n_parts = 0);
		REFUSED(-EINVAL, x.parts[0].count--);
		x.parts[0].count++;
		REFUSED(-EINVAL, x.parts[0].first++);
		x.parts[0].first--;
		last = x.parts[x.args.n_parts - 1].expert;
		REFUSED(-EINVAL, x.parts[x.args.n_parts - 1].expert = 6);
		x.parts[x.args.n_parts - 1].expert = last;
		if (scatter) {
			REFUSED(-EINVAL, bad.residual.ptr = (float *)x.c + 1;
				bad.residual.dtype = F32);
			REFUSED(-EINVAL, bad.weights = x.c);
		} else {
			REFUSED(-EINVAL, bad.weights = (float *)x.a);
			REFUSED(-EINVAL, bad.residual = bad.a);
		}
#undef REFUSED
		/* Nothing to do is not an error. */
		bad = x.args;
		bad.rows = 0;
		assert_int_equal(zw_k_experts(&bad, pool), 0);
		assert_memory_equal(before, x.c, x.c_bytes);
		assert_int_equal(run(&x, pool), 0);
		verify(&x);
		free(before);
		fini(&x);
	}
	zw_pool_free(pool);
}

/* --- routing --- */

struct route {
	struct zw_k_route_args args;
	void *out;
	size_t bytes;
};

static int run_route(void *arg, struct zw_pool *pool)
{
	return zw_k_route(&((struct route *)arg)->args, pool);
}

static void reset_route(void *arg)
{
	struct route *r = arg;

	memset(r->out, 0x5a, r->bytes);
}

/* Softmax, top-k, and a division, each as the kernels on their own do it. */
static void verify_route(const struct route *r, const void *x, struct zw_pool *pool)
{
	const struct zw_k_route_args *a = &r->args;
	uint32_t rows = a->rows, n = a->n, k = a->k;
	float *p = malloc((size_t)rows * n * 4), *value = malloc((size_t)rows * k * 4);
	int32_t *index = malloc((size_t)rows * k * 4);
	struct zw_k_softmax_args softmax = {
		.rows = rows,
		.n = n,
		.scale = 1.0f,
		.x = a->x,
		.y = {.ptr = p, .dtype = F32, .ld = n},
	};
	struct zw_k_topk_args topk = {
		.rows = rows,
		.n = n,
		.k = k,
		.x = {.ptr = p, .dtype = F32, .ld = n},
		.index = index,
		.value = value,
	};

	assert_int_equal(zw_k_softmax(&softmax, pool), 0);
	assert_int_equal(zw_k_topk(&topk, pool), 0);
	for (uint32_t i = 0; i < rows; i++) {
		float s[8] = {0}, *w = value + (size_t)i * k, sum;
		double exact = 0, most = -INFINITY, total = 0;

		for (uint32_t j = 0; j < k; j++)
			s[j % 8] = s[j % 8] + w[j];
		sum = zw_lanes_total(s);
		for (uint32_t j = 0; j < n; j++)
			most = fmax(most, (double)k_get(x, a->x.dtype, i * a->x.ld + j));
		for (uint32_t j = 0; j < n; j++)
			total += exp((double)k_get(x, a->x.dtype, i * a->x.ld + j) - most);
		for (uint32_t j = 0; j < k; j++)
			exact += exp((double)k_get(x, a->x.dtype,
						   i * a->x.ld + (uint32_t)index[i * k + j]) -
				     most) /
				 total;
		for (uint32_t j = 0; j < k; j++) {
			double e = (double)k_get(x, a->x.dtype,
						 i * a->x.ld + (uint32_t)index[i * k + j]);
			float got = a->weight[i * a->weight_ld + j];

			if (a->flags & ZW_K_ROUTE_RENORM)
				w[j] = zw_f32_canon(w[j] / sum);
			assert_int_equal(a->index[i * a->index_ld + j], index[i * k + j]);
			assert_memory_equal(&got, &w[j], 4);
			e = exp(e - most) / total;
			if (a->flags & ZW_K_ROUTE_RENORM)
				e /= exact;
			if (!isnan(e) && !k_close((double)got, e, 1e-5 * e + 1e-30))
				fail_msg("row %u, %u: %g, not %g", i, j, (double)got, e);
		}
	}
	free(p);
	free(value);
	free(index);
}

static void test_route(void **state)
{
	static const uint32_t shapes[][2] = {{1, 1},       {2, 1},     {16, 4},
					     {128, 8},     {512, 10},  {60, 60},
					     {1500, 1024}, {65536, 8}, {300, 300}};
	struct zw_pool *pool = zw_pool_new(2);

	for (size_t l = 0; l < N_OF(shapes); l++)
		for (uint32_t variant = 0; variant < 8; variant++) {
			uint32_t n = shapes[l][0], k = shapes[l][1], rows = n > 10000 ? 2 : 5;
			uint32_t dtype = variant & 1 ? BF16 : F32;
			void *x = k_array(dtype, (size_t)rows * (n + 3));
			struct route r = {.bytes = (size_t)rows * (k + 5) * 8};

			/* BF16 logits of little spread tie often; some far apart */
			for (uint32_t i = 0; variant & 2 && i < rows * (n + 3); i++)
				k_set(x, dtype, i, (float)(k_rng() % 7) * 40.0f - 100.0f);
			r.out = malloc(r.bytes);
			r.args = (struct zw_k_route_args){
				.rows = rows,
				.n = n,
				.k = k,
				.flags = variant & 4 ? ZW_K_ROUTE_RENORM : 0,
				.x = {.ptr = x, .dtype = dtype, .ld = n + 3},
				.weight = r.out,
				.index = (int32_t *)r.out + rows * (k + 5),
				.weight_ld = k + 5,
				.index_ld = k + 1,
			};
			k_all_configs(run_route, &r, reset_route, r.out, r.bytes);
			verify_route(&r, x, pool);
			free(x);
			free(r.out);
		}
	zw_pool_free(pool);
}

/* Ties: the lower index. What is no number makes a row of NaNs, whose experts are the first ones. */
static void test_route_special(void **state)
{
	static const float rows[][6] = {
		{1, 3, 3, 1, 3, 0},
		{0, 0, 0, 0, 0, 0},
		{1, NAN, 2, 3, 4, 5},
		{1, INFINITY, 2, 3, 4, 5},
		{-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY},
		{-INFINITY, 2, -INFINITY, 1, -INFINITY, -INFINITY},
		{500, 0, 300, 0, 0, 0}, /* all but the first underflow */
	};
	static const int32_t want[][4] = {{1, 2, 4, 0}, {0, 1, 2, 3}, {0, 1, 2, 3}, {0, 1, 2, 3},
					  {0, 1, 2, 3}, {1, 3, 0, 2}, {0, 1, 2, 3}};
	int32_t index[7][4];
	float weight[7][4];
	struct route r = {
		.args = {.rows = 7,
			 .n = 6,
			 .k = 4,
			 .flags = ZW_K_ROUTE_RENORM,
			 .x = {.ptr = rows, .dtype = F32, .ld = 6},
			 .weight = weight[0],
			 .index = index[0],
			 .weight_ld = 4,
			 .index_ld = 4},
		.out = weight,
		.bytes = sizeof(weight),
	};

	k_all_configs(run_route, &r, reset_route, r.out, r.bytes);
	assert_memory_equal(index, want, sizeof(want));
	for (int i = 0; i < 7; i++) {
		uint32_t bits[4];

		memcpy(bits, weight[i], sizeof(bits));
		for (int j = 0; j < 4; j++)
			assert_int_equal(bits[j] == ZW_F32_NAN, i >= 2 && i <= 4);
	}
	assert_true(weight[1][0] == 0.25f && weight[6][0] == 1.0f && weight[6][1] == 0.0f);
}

static void test_route_refusals(void **state)
{
	static float x[2 * 6], weight[2 * 6];
	static int32_t index[2 * 6];
	struct zw_pool *pool = zw_pool_new(2);
	const struct zw_k_route_args ok = {
		.rows = 2,
		.n = 6,
		.k = 3,
		.x = {.ptr = x, .dtype = F32, .ld = 6},
		.weight = weight,
		.index = index,
		.weight_ld = 3,
		.index_ld = 3,
	};
	struct zw_k_route_args bad;

#define REFUSED(err, change)                                                                       \
	do {                                                                                       \
		bad = ok;                                                                          \
		change;                                                                            \
		assert_int_equal(zw_k_route(&bad, pool), err);                                     \
		assert_true(weight[0] == 0 && index[1] == 0);                                      \
	} while (0)
	REFUSED(-EOPNOTSUPP, bad.flags = 2);
	REFUSED(-EOPNOTSUPP, bad.x.dtype = ZW_DTYPE_I32);
	REFUSED(-EINVAL, bad.k = 0);
	REFUSED(-EINVAL, bad.k = 7);
	REFUSED(-EINVAL, (bad.n = 2000, bad.k = 1025));
	REFUSED(-EINVAL, bad.n = ZW_K_ROUTE_MAX + 1);
	REFUSED(-EINVAL, bad.weight = NULL);
	REFUSED(-EINVAL, bad.weight_ld = 2);
	REFUSED(-EINVAL, bad.index_ld = 2);
	REFUSED(-EINVAL, bad.index = (int32_t *)(void *)weight);
	REFUSED(-EINVAL, bad.weight = x);
#undef REFUSED
	assert_int_equal(zw_k_route(&ok, pool), 0);
	assert_int_equal(index[1], 1);
	zw_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shapes),         cmocka_unit_test(test_alone),
		cmocka_unit_test(test_passes),         cmocka_unit_test(test_gaps_untouched),
		cmocka_unit_test(test_special_values), cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_route),          cmocka_unit_test(test_route_special),
		cmocka_unit_test(test_route_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: MIT
/* Matrix products: bits against the specification, error against double precision, invariances,
 * refusals. */
#include "test_k_util.h"

struct gemm {
	struct zw_k_gemm_args args;
	void *a, *w, *bias, *residual, *c;
	size_t c_bytes;
};

struct types {
	uint32_t a, w, c;
	bool bias, residual;
};

static int run_gemm(void *arg, struct zw_pool *pool)
{
	return zw_k_gemm(&((struct gemm *)arg)->args, pool);
}

static void reset_gemm(void *arg)
{
	struct gemm *g = arg;

	memset(g->c, 0x5a, g->c_bytes);
}

/* Strides are wider than rows by @slack elements. */
static void gemm_init(struct gemm *g, uint32_t m, uint32_t n, uint32_t k, struct types t,
		      uint32_t slack)
{
	memset(g, 0, sizeof(*g));
	g->args.m = m;
	g->args.n = n;
	g->args.k = k;
	g->args.a = (struct zw_k_in){.dtype = t.a, .ld = k + slack};
	g->args.w = (struct zw_k_in){.dtype = t.w, .ld = k + slack};
	g->args.c = (struct zw_k_out){.dtype = t.c, .ld = n + slack};
	g->args.a.ptr = g->a = k_array(t.a, m && k ? (m - 1) * (k + slack) + k : 0);
	g->args.w.ptr = g->w = k_array(t.w, n && k ? (n - 1) * (k + slack) + k : 0);
	if (t.bias) {
		g->args.bias = (struct zw_k_in){.dtype = t.w};
		g->args.bias.ptr = g->bias = k_array(t.w, n);
	}
	if (t.residual) {
		g->args.residual = (struct zw_k_in){.dtype = t.a, .ld = n + slack};
		g->args.residual.ptr = g->residual =
			k_array(t.a, m && n ? (m - 1) * (n + slack) + n : 0);
	}
	g->c_bytes = (m && n ? (m - 1) * (n + slack) + n : 0) * k_size(t.c);
	g->args.c.ptr = g->c = malloc(g->c_bytes + 1);
	assert_non_null(g->c);
}

static void gemm_fini(struct gemm *g)
{
	free(g->a);
	free(g->w);
	free(g->bias);
	free(g->residual);
	free(g->c);
}

/* Every element: the bits the specification asks for, and within the error bound of the true value.
 */
static void gemm_verify(const struct gemm *g)
{
	const struct zw_k_gemm_args *p = &g->args;
	float *x = malloc((p->k + 1) * sizeof(float)), *y = malloc((p->k + 1) * sizeof(float));

	for (uint32_t i = 0; i < p->m; i++) {
		for (uint32_t j = 0; j < p->n; j++) {
			double exact = 0, magnitude = 0, bound, got;
			float v, want;
			uint32_t got_bits = 0, want_bits = 0;
			size_t at = i * p->c.ld + j;

			for (uint32_t k = 0; k < p->k; k++) {
				x[k] = k_get(g->a, p->a.dtype, i * p->a.ld + k);
				y[k] = k_get(g->w, p->w.dtype, j * p->w.ld + k);
				exact += (double)x[k] * (double)y[k];
				magnitude += fabs((double)x[k] * (double)y[k]);
			}
			v = k_dot(x, y, p->k);
			bound = k_dot_bound(p->k, magnitude);
			if (g->bias) {
				float b = k_get(g->bias, p->bias.dtype, j);

				v = v + b;
				exact += (double)b;
				bound += (fabs(exact) + bound) * U32;
			}
			if (g->residual) {
				float r = k_get(g->residual, p->residual.dtype,
						i * p->residual.ld + j);

				v = v + r;
				exact += (double)r;
				bound += (fabs(exact) + bound) * U32;
			}
			k_set(&want, p->c.dtype, 0, v);
			memcpy(&want_bits, &want, k_size(p->c.dtype));
			memcpy(&got_bits, (char *)g->c + at * k_size(p->c.dtype),
			       k_size(p->c.dtype));
			if (got_bits != want_bits)
				fail_msg("%ux%ux%u: C[%u,%u] is %08x, not %08x", p->m, p->n, p->k,
					 i, j, got_bits, want_bits);
			got = (double)k_get(g->c, p->c.dtype, at);
			bound += (fabs(exact) + bound) * U_OF(p->c.dtype) + T_OF(p->c.dtype);
			if (!k_close(got, exact, bound))
				fail_msg("%ux%ux%u: C[%u,%u] is %g, not %g +- %g", p->m, p->n, p->k,
					 i, j, got, exact, bound);
		}
	}
	free(x);
	free(y);
}

static const struct types all_types[] = {
	{F32, F32, F32, false, false},  {BF16, BF16, BF16, false, false},
	{BF16, BF16, F32, true, false}, {F32, BF16, F32, false, true},
	{BF16, F32, BF16, true, true},  {F32, BF16, BF16, true, true},
	{F16, F16, F16, true, true},    {BF16, F16, BF16, false, false},
	{F16, BF16, F32, true, false},
};
#define N_TYPES (sizeof(all_types) / sizeof(all_types[0]))

static void test_shapes(void **state)
{
	static const uint32_t ms[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 17, 22};
	static const uint32_t ns[] = {1, 3, 4, 5, 17};
	static const uint32_t ks[] = {0, 1, 7, 8, 9, 31, 33, 130};
	unsigned int t = 0;

	for (size_t m = 0; m < sizeof(ms) / sizeof(ms[0]); m++)
		for (size_t n = 0; n < sizeof(ns) / sizeof(ns[0]); n++)
			for (size_t k = 0; k < sizeof(ks) / sizeof(ks[0]); k++) {
				struct gemm g;

				gemm_init(&g, ms[m], ns[n], ks[k], all_types[t % N_TYPES], t % 4);
				t++;
				k_all_configs(run_gemm, &g, reset_gemm, g.c, g.c_bytes);
				gemm_verify(&g);
				gemm_fini(&g);
			}
}

/* Beyond one block of the work split in every direction, and K across the cut of the lanes. */
static void test_blocks(void **state)
{
	static const uint32_t shapes[][3] = {
		{1, 300, 513},  {3, 70, 1500},  {4, 70, 513},    {145, 66, 40},
		{150, 9, 1030}, {5, 129, 512},  {3, 5, 65544},   {1, 6, 70001},
		{7, 6, 1537},   {20, 70, 2100}, {17, 130, 1024}, {18, 5, 1025},
	};

	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		struct gemm g;

		gemm_init(&g, shapes[i][0], shapes[i][1], shapes[i][2], all_types[i % N_TYPES], 3);
		k_all_configs(run_gemm, &g, reset_gemm, g.c, g.c_bytes);
		gemm_verify(&g);
		gemm_fini(&g);
	}
}

/* Nothing is written outside the rows of C. */
static void test_gaps_untouched(void **state)
{
	struct zw_pool *pool = zw_pool_new(2);
	struct gemm g;

	gemm_init(&g, 9, 13, 21, all_types[1], 5);
	reset_gemm(&g);
	assert_int_equal(zw_k_gemm(&g.args, pool), 0);
	for (uint32_t i = 0; i + 1 < 9; i++)
		for (uint32_t j = 13; j < 18; j++)
			assert_int_equal(((uint16_t *)g.c)[i * 18 + j], 0x5a5a);
	gemm_fini(&g);
	zw_pool_free(pool);
}

/* A row of a product has the bits it has alone and in any chunk. */
static void test_chunking(void **state)
{
	static const uint32_t chunks[] = {1, 2, 3, 5, 7, 16, 17, 64, 200};
	struct zw_pool *pool = zw_pool_new(2);
	struct gemm g;
	void *whole;

	gemm_init(&g, 200, 37, 700, all_types[4], 0);
	assert_int_equal(zw_k_gemm(&g.args, pool), 0);
	whole = malloc(g.c_bytes);
	memcpy(whole, g.c, g.c_bytes);
	for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
		reset_gemm(&g);
		for (uint32_t row = 0; row < 200; row += chunks[i]) {
			struct zw_k_gemm_args part = g.args;

			part.m = 200 - row < chunks[i] ? 200 - row : chunks[i];
			part.a.ptr = (uint16_t *)g.a + (size_t)row * 700;
			part.residual.ptr = (uint16_t *)g.residual + (size_t)row * 37;
			part.c.ptr = (uint16_t *)g.c + (size_t)row * 37;
			assert_int_equal(zw_k_gemm(&part, pool), 0);
		}
		assert_memory_equal(whole, g.c, g.c_bytes);
	}
	free(whole);
	gemm_fini(&g);
	zw_pool_free(pool);
}

/* C over residual, as the residual stream of a model is updated. */
static void test_in_place(void **state)
{
	struct zw_pool *pool = zw_pool_new(2);
	struct gemm g;

	for (uint32_t m = 1; m < 8; m += 3) {
		gemm_init(&g, m, 30, 100, (struct types){BF16, BF16, BF16, false, true}, 1);
		assert_int_equal(zw_k_gemm(&g.args, pool), 0);
		g.args.c.ptr = g.residual;
		assert_int_equal(zw_k_gemm(&g.args, pool), 0);
		for (uint32_t i = 0; i < m; i++)
			assert_memory_equal((uint16_t *)g.c + i * 31,
					    (uint16_t *)g.residual + i * 31, 60);
		gemm_fini(&g);
	}
	zw_pool_free(pool);
}

static void test_special_values(void **state)
{
	/* K = 9: the last element is alone in its step, beside the padding; N = 11: vector and rest
	 * of a row. */
	static const struct {
		float x, w;
		uint32_t want;
	} cases[] = {
		{INFINITY, 1, 0x7f800000},
		{-INFINITY, 1, 0xff800000},
		{INFINITY, 0, ZW_F32_NAN},
		{NAN, 1, ZW_F32_NAN},
		{-NAN, 0, ZW_F32_NAN},
		{1, -NAN, ZW_F32_NAN},
		{0x1.fffffep127f, 2, 0x7f800000},
		{0x1p-149f, 1, 0x00000001}, /* subnormals are kept */
		{0x1p-75f, 0x1p-74f, 0x00000001},
		{-0x1p-75f, 0x1p-76f, 0x00000000}, /* -0 meets the other lanes' +0 */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (uint32_t m = 1; m <= 4; m += 3)
			for (int place = 0; place < 9; place += 8) {
				struct gemm g;
				uint32_t got;

				gemm_init(&g, m, 11, 9, all_types[0], 0);
				memset(g.a, 0, m * 9 * 4);
				memset(g.w, 0, 11 * 9 * 4);
				((float *)g.a)[place] = cases[i].x;
				((float *)g.w)[place] = cases[i].w;
				k_all_configs(run_gemm, &g, reset_gemm, g.c, g.c_bytes);
				memcpy(&got, g.c, 4);
				if (got != cases[i].want)
					fail_msg("case %zu: %08x, not %08x", i, got, cases[i].want);
				gemm_fini(&g);
			}
}

static void test_bf16_rounding(void **state)
{
	static const struct {
		uint32_t f;
		uint16_t want;
	} cases[] = {
		{0x3f800000, 0x3f80}, {0x3f808000, 0x3f80}, /* tie to even */
		{0x3f818000, 0x3f82}, {0x3f808001, 0x3f81}, {0x3f807fff, 0x3f80},
		{0x7f7fffff, 0x7f80}, /* rounds up to infinity */
		{0xff800000, 0xff80}, {0x7f800001, 0x7fc0}, {0xffc12345, 0x7fc0},
		{0x00000001, 0x0000}, {0x00008001, 0x0001}, {0x80000000, 0x8000},
	};
	struct zw_pool *pool = zw_pool_new(0);

	for (int level = 0; level <= (int)zw_simd_best(); level++) {
		assert_int_equal(zw_simd_set((enum zw_simd)level), 0);
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			float src[11];
			uint16_t dst[11];
			struct zw_k_convert_args args = {
				.rows = 1,
				.n = 11,
				.src = {.ptr = src, .dtype = F32},
				.dst = {.ptr = dst, .dtype = BF16},
			};

			for (int j = 0; j < 11; j++)
				src[j] = zw_f32_from_bits(cases[i].f);
			assert_int_equal(zw_k_convert(&args, pool), 0);
			for (int j = 0; j < 11; j++)
				assert_int_equal(dst[j], cases[i].want);
		}
	}
	zw_pool_free(pool);
}

static void test_refusals(void **state)
{
	struct zw_pool *pool = zw_pool_new(2);
	struct zw_k_gemm_args bad;
	struct gemm g;
	char *before;

	gemm_init(&g, 6, 7, 8, all_types[2], 0);
	reset_gemm(&g);
	before = malloc(g.c_bytes);
	memcpy(before, g.c, g.c_bytes);
#define REFUSED(err, change)                                                                       \
	do {                                                                                       \
		bad = g.args;                                                                      \
		change;                                                                            \
		assert_int_equal(zw_k_gemm(&bad, pool), err);                                      \
		assert_memory_equal(before, g.c, g.c_bytes);                                       \
	} while (0)
	REFUSED(-EOPNOTSUPP, bad.flags = 1);
	REFUSED(-EOPNOTSUPP, bad.a.dtype = ZW_DTYPE_U8);
	REFUSED(-EOPNOTSUPP, bad.w.dtype = ZW_DTYPE_I32);
	REFUSED(-EOPNOTSUPP, bad.c.dtype = 0);
	REFUSED(-EOPNOTSUPP, bad.bias.dtype = 77);
	REFUSED(-EINVAL, bad.a.ptr = NULL);
	REFUSED(-EINVAL, bad.w.ptr = NULL);
	REFUSED(-EINVAL, bad.c.ptr = NULL);
	REFUSED(-EINVAL, bad.a.ptr = (char *)g.a + 1);
	REFUSED(-EINVAL, bad.c.ptr = (char *)g.c + 2);
	REFUSED(-EINVAL, bad.c.ld = 6);
	REFUSED(-EINVAL, bad.c.ld = 0);
	REFUSED(-EINVAL, bad.a.ld = UINT64_MAX / 4);
	REFUSED(-EINVAL, bad.w.ld = UINT64_MAX);
	REFUSED(-EINVAL,
		bad.residual = ((struct zw_k_in){.ptr = (float *)g.c + 1, .dtype = F32, .ld = 7}));
	REFUSED(-EINVAL, bad.a = ((struct zw_k_in){.ptr = g.c, .dtype = BF16, .ld = 8}));
	REFUSED(-EINVAL, bad.bias = ((struct zw_k_in){.ptr = (float *)g.c + 40, .dtype = F32}));
#undef REFUSED
	/* Nothing to do is not an error. */
	bad = g.args;
	bad.m = 0;
	assert_int_equal(zw_k_gemm(&bad, pool), 0);
	bad = g.args;
	bad.n = 0;
	assert_int_equal(zw_k_gemm(&bad, pool), 0);
	assert_memory_equal(before, g.c, g.c_bytes);
	free(before);
	gemm_fini(&g);
	zw_pool_free(pool);
}

/* A and C as columns of one wider matrix are no overlap; by one column too far they are. */
static void test_interleaved(void **state)
{
	struct zw_pool *pool = zw_pool_new(2);
	float *wide = k_array(F32, 5 * 20), *w = k_array(F32, 12 * 8);
	struct zw_k_gemm_args args = {
		.m = 5,
		.n = 12,
		.k = 8,
		.a = {.ptr = wide, .dtype = F32, .ld = 20},
		.w = {.ptr = w, .dtype = F32, .ld = 8},
		.c = {.ptr = wide + 8, .dtype = F32, .ld = 20},
	};

	for (uint32_t m = 1; m <= 5; m += 4) {
		args.m = m;
		assert_int_equal(zw_k_gemm(&args, pool), 0);
		for (uint32_t i = 0; i < m; i++)
			for (uint32_t j = 0; j < 12; j++)
				assert_true(wide[i * 20 + 8 + j] ==
					    k_dot(wide + i * 20, w + j * 8, 8));
	}
	args.c.ptr = wide + 7;
	assert_int_equal(zw_k_gemm(&args, pool), -EINVAL);
	args.c.ptr = wide + 9; /* reaches the first column of the next row's A */
	args.m = 4;
	assert_int_equal(zw_k_gemm(&args, pool), -EINVAL);
	free(wide);
	free(w);
	zw_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shapes),         cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_gaps_untouched), cmocka_unit_test(test_chunking),
		cmocka_unit_test(test_in_place),       cmocka_unit_test(test_special_values),
		cmocka_unit_test(test_bf16_rounding),  cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_interleaved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

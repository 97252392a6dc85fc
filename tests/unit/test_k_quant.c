// SPDX-License-Identifier: MIT
/* Quantised weights: values of blocks, products against those with the weights in F32, refusals. */
#include "k_quant_util.h"
#include "zw_k_quant.h"

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

static const uint32_t records[] = {ZW_DTYPE_Q4_0, ZW_DTYPE_Q4_1,  ZW_DTYPE_Q5_0, ZW_DTYPE_Q5_1,
				   ZW_DTYPE_Q8_0, ZW_DTYPE_MXFP4, ZW_DTYPE_Q2_K, ZW_DTYPE_Q3_K,
				   ZW_DTYPE_Q4_K, ZW_DTYPE_Q5_K,  ZW_DTYPE_Q6_K};
static const uint32_t scaled[] = {ZW_DTYPE_I8,     ZW_DTYPE_I4,     ZW_DTYPE_U4,
				  ZW_DTYPE_F8E4M3, ZW_DTYPE_F8E5M2, ZW_DTYPE_F4E2M1};

/* A product, its W in both forms. */
struct qgemm {
	struct zw_k_gemm_args args, plain;
	uint8_t *w, *scale, *zero;
	float *wide, *want;
	void *a, *bias, *c;
	size_t c_bytes;
};

struct quant_shape {
	uint32_t dtype, scale_dtype, zero_dtype; /* 0: none */
	uint32_t rows, group;
	bool scale2;
};

static int run(void *arg, struct zw_pool *pool)
{
	return zw_k_gemm(&((struct qgemm *)arg)->args, pool);
}

static void reset(void *arg)
{
	struct qgemm *g = arg;

	memset(g->c, 0x5a, g->c_bytes);
}

static void *blocks(uint32_t dtype, size_t elements)
{
	/* exactly as long, so that ASan sees what is beyond */
	void *p =
		calloc(1, elements / zw_dtype_block_elements(dtype) * zw_dtype_block_bytes(dtype) +
				  !elements);

	assert_non_null(p);
	return p;
}

static void fill_records(struct qgemm *g, uint32_t dtype, uint32_t n, uint32_t k, uint64_t ld)
{
	uint32_t block = zw_dtype_block_elements(dtype);
	struct block_numbers b;

	for (uint32_t r = 0; r < n; r++)
		for (uint32_t c = 0; c < k; c += block) {
			block_random(dtype, &b);
			block_write(dtype, &b,
				    g->w + (r * ld + c) / block * zw_dtype_block_bytes(dtype));
			for (uint32_t e = 0; e < block; e++)
				g->wide[(size_t)r * k + c + e] = block_value(dtype, &b, e);
		}
}

/* What the scales and zero points are like, on which it depends how a product takes them up; whether F8 has infinities and NaN. */
static enum { OF_BOTH_SIGNS, POSITIVE, FRACTIONS, EXTREME } factors;
static bool special;

static float factor(bool zero)
{
	static const float extreme[] = {0.0f,  -0.0f,  1e-40f,   0x1p-126f,
					1e30f, -3e38f, INFINITY, NAN};

	switch (factors) {
	case POSITIVE:
		return zero ? (float)(k_rng() % 17) : 0.01f + fabsf(k_uniform());
	case FRACTIONS:
		return zero ? 3 * k_uniform() : 0.01f + fabsf(k_uniform());
	case EXTREME:
		return zero ? (float)(k_rng() % 17) : extreme[k_rng() % N_OF(extreme)];
	default:
		return zero ? (float)(k_rng() % 17) : k_uniform();
	}
}

/* A scale or zero point: element (i, j) of [.., ld] gets something random; its value. */
static float put_factor(uint8_t *p, uint32_t dtype, size_t at, bool zero)
{
	unsigned int c;

	if (zw_dtype_block_elements(dtype) == 1 && ZW_DT_FLOAT >> dtype & 1) {
		k_set(p, dtype, at, factor(zero));
		return k_get(p, dtype, at);
	}
	c = dtype == ZW_DTYPE_E8M0     ? 110 + k_rng() % 20
	    : dtype == ZW_DTYPE_F8E4M3 ? k_rng() % 127
				       : k_rng() % (half_byte(dtype) ? 16 : 256);
	code_put(dtype, p, at, c);
	return code_value(dtype, c);
}

static void fill_scaled(struct qgemm *g, const struct quant_shape *q, uint32_t n, uint32_t k,
			uint64_t ld)
{
	uint32_t groups = (k + q->group - 1) / q->group, even = (groups + 1) & ~1u;
	uint32_t rows = (n + q->rows - 1) / q->rows, zero_rows = (n + 2) / 3;
	float *s = malloc(sizeof(float) * (size_t)(rows * even + 1));
	float *z = calloc((size_t)(zero_rows * even + 1), sizeof(float));
	static float scale2;

	scale2 = 0.37f;
	g->scale = blocks(q->scale_dtype, (size_t)rows * even);
	g->zero = q->zero_dtype ? blocks(q->zero_dtype, (size_t)zero_rows * even) : NULL;
	for (uint32_t r = 0; r < rows; r++)
		for (uint32_t j = 0; j < groups; j++)
			s[r * even + j] =
				put_factor(g->scale, q->scale_dtype, (size_t)r * even + j, false);
	for (uint32_t r = 0; r < zero_rows && g->zero; r++)
		for (uint32_t j = 0; j < groups; j++)
			z[r * even + j] =
				put_factor(g->zero, q->zero_dtype, (size_t)r * even + j, true);
	g->args.quant = (struct zw_k_quant){
		.scale = {.ptr = g->scale,
			  .ld = even,
			  .dtype = q->scale_dtype,
			  .rows = q->rows,
			  .group = q->group},
	};
	if (g->zero)
		g->args.quant.zero = (struct zw_k_scales){.ptr = g->zero,
							  .ld = even,
							  .dtype = q->zero_dtype,
							  .rows = 3,
							  .group = q->group};
	if (q->scale2)
		g->args.quant.scale2 = &scale2;
	for (uint32_t r = 0; r < n; r++)
		for (uint32_t c = 0; c < k; c++) {
			unsigned int code = k_rng() % (half_byte(q->dtype) ? 16 : 256);
			float v, t = s[r / q->rows * even + c / q->group];

			if (q->dtype == ZW_DTYPE_F8E4M3 && (code & 127) == 127 && !special)
				code ^= 1; /* no NaN */
			if (q->dtype == ZW_DTYPE_F8E5M2 && (code >> 2 & 31) == 31 && !special)
				code ^= 64;
			code_put(q->dtype, g->w, r * ld + c, code);
			v = code_value(q->dtype, code);
			if (g->zero)
				v = v - z[r / 3 * even + c / q->group];
			if (q->scale2)
				t = t * scale2;
			g->wide[(size_t)r * k + c] = v * t;
		}
	free(s);
	free(z);
}

static void qgemm_init(struct qgemm *g, const struct quant_shape *q, uint32_t m, uint32_t n,
		       uint32_t k, uint32_t a_dtype)
{
	uint32_t block = zw_dtype_block_elements(q->dtype);
	uint64_t ld = k + (block == 1 ? 3 : block);

	memset(g, 0, sizeof(*g));
	g->w = blocks(q->dtype, (n - 1) * ld + k);
	g->wide = malloc(sizeof(float) * n * (k + 1ull));
	g->a = k_array(a_dtype, (size_t)m * k);
	g->bias = k_array(BF16, n);
	g->c_bytes = (size_t)m * n * 4;
	g->c = malloc(g->c_bytes);
	g->want = malloc(g->c_bytes);
	assert_true(g->wide && g->c && g->want);
	g->args = (struct zw_k_gemm_args){
		.m = m,
		.n = n,
		.k = k,
		.a = {.ptr = g->a, .dtype = a_dtype, .ld = k},
		.w = {.ptr = g->w, .dtype = q->dtype, .ld = ld},
		.bias = {.ptr = g->bias, .dtype = BF16},
		.c = {.ptr = g->c, .dtype = F32, .ld = n},
	};
	if (ZW_DT_BLOCKED >> q->dtype & 1)
		fill_records(g, q->dtype, n, k, ld);
	else
		fill_scaled(g, q, n, k, ld);
	g->plain = g->args;
	g->plain.quant = (struct zw_k_quant){.row0 = 0};
	g->plain.w = (struct zw_k_in){.ptr = g->wide, .dtype = F32, .ld = k};
	g->plain.c.ptr = g->want;
}

static void qgemm_fini(struct qgemm *g)
{
	free(g->w);
	free(g->scale);
	free(g->zero);
	free(g->wide);
	free(g->want);
	free(g->a);
	free(g->bias);
	free(g->c);
}

/* The bits of the product with W in F32, from every table and any number of workers. */
static void check_product(const struct quant_shape *q, uint32_t m, uint32_t n, uint32_t k,
			  uint32_t a_dtype)
{
	struct zw_pool *pool = zw_pool_new(0);
	struct qgemm g;

	qgemm_init(&g, q, m, n, k, a_dtype);
	assert_int_equal(zw_k_gemm(&g.plain, pool), 0);
	k_all_configs(run, &g, reset, g.c, g.c_bytes);
	for (size_t i = 0; i < (size_t)m * n; i++)
		if (memcmp((float *)g.c + i, g.want + i, 4))
			fail_msg("type %u, %ux%ux%u, group %u: C[%zu] is %g, not %g", q->dtype, m,
				 n, k, q->group, i, (double)((float *)g.c)[i], (double)g.want[i]);
	qgemm_fini(&g);
	zw_pool_free(pool);
}

/* Every number that a record can hold, at every place, by every table. */
static void test_records(void **state)
{
	const char *name;

	for (size_t t = 0; t < N_OF(records); t++) {
		uint32_t dtype = records[t], block = zw_dtype_block_elements(dtype);
		enum { BLOCKS = 40 };
		uint8_t *p = blocks(dtype, (size_t)BLOCKS * block);
		float *want = malloc(sizeof(float) * BLOCKS * block);
		float *got = malloc(sizeof(float) * BLOCKS * block);
		struct zw_k_quant none = {.row0 = 0};
		struct block_numbers b;
		struct zw_q_matrix q;
		size_t phase;

		for (unsigned int i = 0; i < BLOCKS; i++) {
			block_random(dtype, &b);
			block_write(dtype, &b, p + i * zw_dtype_block_bytes(dtype));
			for (unsigned int e = 0; e < block; e++)
				want[i * block + e] = block_value(dtype, &b, e);
		}
		assert_int_equal(zw_q_matrix(&q, dtype, &none, BLOCKS * block), 0);
		for (int table = 0; k_use_table(table, &name); table++) {
			const struct zw_prim *prim = zw_prim_get();
			struct zw_q_row row = zw_q_row_at(&q, prim, (char *)p, 0, 0, BLOCKS * block,
							  NULL, &phase);

			prim->quant->dequant[q.format](got, ZW_LANES, &row, phase, q.scale.group,
						       (size_t)BLOCKS * block);
			for (unsigned int i = 0; i < BLOCKS * block; i++)
				if (memcmp(got + i, want + i, 4))
					fail_msg("%s: type %u, element %u: %g, not %g", name, dtype,
						 i % block, (double)got[i], (double)want[i]);
		}
		free(p);
		free(want);
		free(got);
	}
}

/* Every code of a type, against the meaning of its bits. */
static void test_codes(void **state)
{
	const char *name;
	float one = 1;

	for (size_t t = 0; t < N_OF(scaled); t++) {
		uint32_t dtype = scaled[t], codes = half_byte(dtype) ? 16 : 256;
		struct zw_k_quant quant = {
			.scale = {.ptr = &one, .ld = 1, .dtype = F32, .rows = 1, .group = 256}};
		uint8_t p[256] = {0};
		struct zw_q_matrix q;
		float got[256], s[16];
		size_t phase;

		for (uint32_t c = 0; c < codes; c++)
			code_put(dtype, p, c, c);
		assert_int_equal(zw_q_matrix(&q, dtype, &quant, codes), 0);
		for (int table = 0; k_use_table(table, &name); table++) {
			const struct zw_prim *prim = zw_prim_get();
			struct zw_q_row row =
				zw_q_row_at(&q, prim, (char *)p, 0, 0, codes, s, &phase);

			prim->quant->dequant[q.format](got, ZW_LANES, &row, phase, 256, codes);
			for (uint32_t c = 0; c < codes; c++) {
				float want = code_value(dtype, c);

				if (isnan(want) ? !isnan(got[c]) : memcmp(&got[c], &want, 4) != 0)
					fail_msg("%s: type %u, code %u: %g, not %g", name, dtype, c,
						 (double)got[c], (double)want);
			}
		}
	}
}

/* m on both sides of where the way to compute changes; one row alone, more than a block. */
static const uint32_t ms[] = {1, 2, 4, 5, 23};

static void test_record_products(void **state)
{
	for (size_t t = 0; t < N_OF(records); t++) {
		struct quant_shape q = {.dtype = records[t]};
		uint32_t block = zw_dtype_block_elements(q.dtype);

		for (size_t i = 0; i < N_OF(ms); i++) {
			check_product(&q, ms[i], 13, block, i % 2 ? F32 : BF16);
			check_product(&q, ms[i], 9, block * 3, i % 2 ? F16 : F32);
		}
		check_product(&q, 3, 70, 256 * 5,
			      BF16); /* K cut for tiles, tasks of several rows */
		check_product(&q, 40, 70, 256 * 9, BF16);
	}
}

static void test_scaled_products(void **state)
{
	static const struct quant_shape shapes[] = {
		/* a scale a channel; groups of 128, of 32 and 16, of a number that is none of these */
		{ZW_DTYPE_I8, F32, 0, 1, 4096, false},
		{ZW_DTYPE_I8, BF16, ZW_DTYPE_I8, 1, 128, false},
		{ZW_DTYPE_I8, F16, ZW_DTYPE_U8, 2, 40, true},
		{ZW_DTYPE_I4, F16, 0, 1, 128, false},
		{ZW_DTYPE_I4, F32, ZW_DTYPE_I4, 1, 32, true},
		{ZW_DTYPE_U4, F16, ZW_DTYPE_U4, 1, 128, false},
		{ZW_DTYPE_U4, BF16, F16, 1, 64, false},
		{ZW_DTYPE_U4, F32, ZW_DTYPE_U8, 1, 4096, false},
		{ZW_DTYPE_U4, F32, ZW_DTYPE_U4, 1, 6, false},
		/* Qwen's FP8, a scale a channel, NVFP4, MXFP4 */
		{ZW_DTYPE_F8E4M3, F32, 0, 128, 128, false},
		{ZW_DTYPE_F8E4M3, BF16, 0, 128, 128, false},
		{ZW_DTYPE_F8E5M2, BF16, 0, 1, 4096, false},
		{ZW_DTYPE_F4E2M1, ZW_DTYPE_F8E4M3, 0, 1, 16, true},
		{ZW_DTYPE_F4E2M1, ZW_DTYPE_E8M0, 0, 1, 32, false},
	};
	static const uint32_t ks[] = {2, 16, 30, 64, 130, 300};

	for (size_t t = 0; t < N_OF(shapes); t++) {
		for (size_t i = 0; i < N_OF(ms); i++)
			for (size_t j = 0; j < N_OF(ks); j++)
				check_product(&shapes[t], ms[i], 5 + (uint32_t)(i + j) % 9, ks[j],
					      i % 2 ? F32 : BF16);
		for (uint32_t m = 1; m <= 8; m *= 2)
			check_product(&shapes[t], m, m == 2 ? 150 : 19, 1300, BF16);
		check_product(&shapes[t], 30, 150, 1300, BF16);
		check_product(&shapes[t], 9, 7, 2050, F32);
	}
}

/* Scales and zero points that products can take up early, and those that they cannot. */
static void test_factors(void **state)
{
	static const struct quant_shape shapes[] = {
		{ZW_DTYPE_I8, BF16, 0, 1, 4096, false},
		{ZW_DTYPE_I8, F32, F16, 1, 32, false},
		{ZW_DTYPE_I8, F16, ZW_DTYPE_I8, 3, 128, false},
		{ZW_DTYPE_I4, F16, 0, 1, 128, false},
		{ZW_DTYPE_I4, F32, 0, 1, 64, false},
		{ZW_DTYPE_I4, F16, ZW_DTYPE_I4, 3, 16, false},
		{ZW_DTYPE_U4, BF16, 0, 2, 4096, false},
		{ZW_DTYPE_U4, F16, ZW_DTYPE_U8, 1, 32, false},
		{ZW_DTYPE_U4, F32, F16, 1, 96, false},
		{ZW_DTYPE_F8E4M3, F32, 0, 128, 128, false},
		{ZW_DTYPE_F8E5M2, BF16, 0, 1, 32, false},
		{ZW_DTYPE_F4E2M1, F32, 0, 1, 16, true},
	};
	static const uint32_t ks[] = {24, 96, 130, 320}, rows[] = {1, 3, 8};

	for (factors = POSITIVE; factors <= EXTREME; factors++)
		for (size_t t = 0; t < N_OF(shapes); t++)
			for (size_t i = 0; i < N_OF(ks); i++)
				for (size_t j = 0; j < N_OF(rows); j++) {
					special = i % 2 || factors == FRACTIONS;
					check_product(&shapes[t], rows[j], 11, ks[i],
						      j % 2 ? F32 : BF16);
				}
	factors = OF_BOTH_SIGNS;
	special = false;
}

/*
 * The error of a product with weights as the formats round them, against the weights before: half a step of the format for
 * each element, times what it meets.
 */
static void test_error_bound(void **state)
{
	enum { M = 3, N = 24, K = 512, GROUP = 128 };
	static const struct {
		uint32_t dtype;
		double largest; /* number that the greatest weight of a group becomes */
		double step;    /* half the greatest distance of neighbours, of that number */
	} formats[] = {
		{ZW_DTYPE_I8, 127, 0.5},        {ZW_DTYPE_I4, 7, 0.5},   {ZW_DTYPE_F8E4M3, 448, 16},
		{ZW_DTYPE_F8E5M2, 57344, 4096}, {ZW_DTYPE_F4E2M1, 6, 1},
	};
	struct zw_pool *pool = zw_pool_new(2);
	float *x = k_array(F32, M * K), *w = k_array(F32, N * K), *c = k_array(F32, M * N);

	for (size_t t = 0; t < N_OF(formats); t++) {
		uint32_t dtype = formats[t].dtype, codes = half_byte(dtype) ? 16 : 256;
		uint8_t *packed = blocks(dtype, N * K);
		float scale[N * K / GROUP];
		struct zw_k_gemm_args args = {
			.m = M,
			.n = N,
			.k = K,
			.a = {.ptr = x, .dtype = F32, .ld = K},
			.w = {.ptr = packed, .dtype = dtype, .ld = K},
			.c = {.ptr = c, .dtype = F32, .ld = N},
			.quant.scale = {.ptr = scale,
					.ld = K / GROUP,
					.dtype = F32,
					.rows = 1,
					.group = GROUP},
		};

		for (size_t g = 0; g < N * K / GROUP; g++) {
			float most = 0;

			for (size_t i = 0; i < GROUP; i++)
				most = fmaxf(most, fabsf(w[g * GROUP + i]));
			scale[g] = (float)((double)most / formats[t].largest);
			for (size_t i = 0; i < GROUP; i++) {
				double at = (double)w[g * GROUP + i] / (double)scale[g], far = 1e9;

				for (unsigned int code = 0; code < codes; code++) {
					double d = fabs((double)code_value(dtype, code) - at);

					if (d < far) { /* never of a NaN */
						far = d;
						code_put(dtype, packed, g * GROUP + i, code);
					}
				}
			}
		}
		assert_int_equal(zw_k_gemm(&args, pool), 0);
		for (size_t i = 0; i < M; i++)
			for (size_t j = 0; j < N; j++) {
				double exact = 0, magnitude = 0, bound = 0;

				for (size_t k = 0; k < K; k++) {
					double a = (double)x[i * K + k];

					exact += a * (double)w[j * K + k];
					magnitude += fabs(a * (double)w[j * K + k]);
					bound += fabs(a) * formats[t].step * 1.001 *
						 (double)scale[(j * K + k) / GROUP];
				}
				bound += k_dot_bound(K, magnitude + bound);
				assert_true(k_close((double)c[i * N + j], exact, bound));
			}
		free(packed);
	}
	free(x);
	free(w);
	free(c);
	zw_pool_free(pool);
}

static void test_refusals(void **state)
{
	struct zw_pool *pool = zw_pool_new(2);
	struct quant_shape q = {ZW_DTYPE_U4, F16, ZW_DTYPE_U4, 1, 16, true};
	struct quant_shape record = {.dtype = ZW_DTYPE_Q4_K};
	struct zw_k_gemm_args bad;
	struct qgemm g;
	char *before;

	qgemm_init(&g, &q, 3, 7, 64, BF16);
	reset(&g);
	before = malloc(g.c_bytes);
	memcpy(before, g.c, g.c_bytes);
#define REFUSED(err, change)                                                                       \
	do {                                                                                       \
		bad = g.args;                                                                      \
		change;                                                                            \
		assert_int_equal(zw_k_gemm(&bad, pool), err);                                      \
		assert_memory_equal(before, g.c, g.c_bytes);                                       \
	} while (0)
	REFUSED(-EINVAL, bad.quant.scale.ptr = NULL);
	REFUSED(-EINVAL, bad.quant.scale.group = 32); /* not that of the zero points */
	REFUSED(-EINVAL, bad.quant.scale.rows = 0);
	REFUSED(-EINVAL, bad.quant.zero.rows = 0);
	REFUSED(-EINVAL, (bad.quant.scale.group = bad.quant.zero.group = 0));
	REFUSED(-EINVAL, bad.quant.zero.ld = 3); /* half a byte */
	REFUSED(-EINVAL, bad.quant.scale.ptr = (char *)g.scale + 1);
	REFUSED(-EINVAL, bad.k = 63);
	REFUSED(-EINVAL, bad.w.ld = 65);
	REFUSED(-EINVAL, bad.w.ptr = NULL);
	REFUSED(-EINVAL, bad.quant.scale.ptr = g.c);
	REFUSED(-EINVAL, bad.quant.zero.ptr = (char *)g.c + 80);
	REFUSED(-EINVAL, bad.w.ptr = g.c);
	REFUSED(-EINVAL, bad.w.dtype = ZW_DTYPE_F4E2M1); /* has no zero points */
	REFUSED(-EINVAL, bad.w.dtype = BF16);
	REFUSED(-EOPNOTSUPP, bad.quant.scale.dtype = ZW_DTYPE_I8);
	REFUSED(-EOPNOTSUPP, bad.quant.zero.dtype = ZW_DTYPE_E8M0);
	REFUSED(-EOPNOTSUPP, bad.a.dtype = ZW_DTYPE_U4);
	free(before);
	qgemm_fini(&g);
	qgemm_init(&g, &record, 3, 7, 512, BF16);
	reset(&g);
	before = malloc(g.c_bytes);
	memcpy(before, g.c, g.c_bytes);
	REFUSED(-EINVAL, bad.k = 384);
	REFUSED(-EINVAL, bad.w.ld = 640);
	REFUSED(-EINVAL, bad.quant.scale = ((struct zw_k_scales){.ptr = g.bias, .dtype = BF16}));
	free(before);
	qgemm_fini(&g);
	zw_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_codes),           cmocka_unit_test(test_records),
		cmocka_unit_test(test_record_products), cmocka_unit_test(test_scaled_products),
		cmocka_unit_test(test_factors),         cmocka_unit_test(test_error_bound),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

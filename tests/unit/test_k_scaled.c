// SPDX-License-Identifier: MIT
/* Quantised activations: what they become, their products with quantised weights, and the sums of I8 underneath. */
#include "k_quant_util.h"
#include "zw_k_i8.h"
#include "zw_k_quant.h"

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

#if defined(__x86_64__)
extern const struct zw_i8 zw_i8_vnni_single, zw_i8_vnni_pair; /* simd/ */
#endif

/* Every table of I8 products that runs here; NULL: there are no more. */
static const struct zw_i8 *i8_table(int i)
{
	const struct zw_i8 *tables[8] = {&zw_i8_scalar};
	int n = 1;

#if defined(__x86_64__)
	if (zw_simd_best() >= ZW_SIMD_AVX2) {
		tables[n++] = &zw_i8_avx2;
		tables[n++] = &zw_i8_vnni_single;
		tables[n++] = &zw_i8_vnni_pair;
	}
	/* And those that levels choose on this CPU. */
	for (int level = 0; level <= (int)zw_simd_best(); level++) {
		bool known = false;

		assert_int_equal(zw_simd_set((enum zw_simd)level), 0);
		for (int k = 0; k < n; k++)
			known |= tables[k] == zw_i8_get();
		if (!known)
			tables[n++] = zw_i8_get();
	}
#endif
	return i < n ? tables[i] : NULL;
}

/* A tile of more rows and columns than there are: each several times. */
static void check_i8_tile(const struct zw_i8 *t, const char *packed, size_t lda,
			  int8_t *const a[ZW_I8_MAX_ROWS], int8_t *const w[ZW_I8_MAX_COLS],
			  size_t n)
{
	enum { ROWS = 12 + 8 + 4 + 2 + 1, LD = ZW_I8_TILE_COLS + 3 };
	char *rows = malloc(ROWS * lda), *cols = aligned_alloc(64, zw_i8_tile_bytes(n));
	const int8_t *all[ZW_I8_TILE_COLS];
	float out[ROWS * LD];

	for (size_t i = 0; i < ROWS; i++)
		memcpy(rows + i * lda, packed + i % ZW_I8_MAX_ROWS * lda, lda);
	for (size_t j = 0; j < ZW_I8_TILE_COLS; j++)
		all[j] = w[j * 5 / 2 % ZW_I8_MAX_COLS];
	t->pack_cols(cols, all, n);
	for (size_t m = 1; m <= ROWS; m += ROWS - m < 4 ? 1 : 4) {
		memset(out, 0, sizeof(out));
		t->tile(m, rows, lda, cols, n, out, LD);
		for (size_t i = 0; i < ROWS; i++)
			for (size_t j = 0; j < LD; j++) {
				int64_t want = 0;

				for (size_t k = 0; k < n && i < m && j < ZW_I8_TILE_COLS; k++)
					want += a[i % ZW_I8_MAX_ROWS][k] * all[j][k];
				if (out[i * LD + j] != (float)want)
					fail_msg("%s: tile of %zu, row %zu, column %zu of %zu: %g",
						 t->name, m, i, j, n, (double)out[i * LD + j]);
			}
	}
	free(rows);
	free(cols);
}

/* Sums against 64 bits, of random numbers and of the greatest there are. */
static void test_i8_sums(void **state)
{
	static const size_t lengths[] = {1, 2, 15, 16, 31, 32, 33, 64, 100, 1000, ZW_I8_MAX_K};
	const struct zw_i8 *t;

	for (int i = 0; (t = i8_table(i)); i++)
		for (size_t l = 0; l < N_OF(lengths); l++)
			for (int kind = 0; kind < 4; kind++) {
				size_t n = lengths[l];
				size_t lda =
					(n + ZW_I8_STEP - 1) / ZW_I8_STEP * ZW_I8_STEP * t->size;
				int8_t *a[ZW_I8_MAX_ROWS], *w[ZW_I8_MAX_COLS];
				char *packed = malloc(ZW_I8_MAX_ROWS * lda);

				for (int r = 0; r < 4; r++) {
					a[r] = malloc(n);
					w[r] = malloc(n);
					for (size_t k = 0; k < n; k++) {
						a[r][k] = kind == 0 ? (int8_t)k_rng() : -128;
						w[r][k] = kind == 0   ? (int8_t)k_rng()
							  : kind == 1 ? -128
							  : kind == 2 ? 127
								      : (int8_t)k_rng();
					}
					t->pack(packed + (size_t)r * lda, a[r], n);
				}
				for (unsigned int d = 0; d < 3; d++) {
					const struct zw_i8_dot *dot = &t->dot[d];
					float out[ZW_I8_MAX_ROWS * ZW_I8_MAX_COLS];

					dot->fn(packed, lda, (const int8_t *const *)w, n, out);
					for (unsigned int r = 0; r < dot->rows; r++)
						for (unsigned int c = 0; c < dot->cols; c++) {
							int64_t want = 0;

							for (size_t k = 0; k < n; k++)
								want += a[r][k] * w[c][k];
							if (out[r * dot->cols + c] != (float)want)
								fail_msg("%s: %u x %u of %zu: %g",
									 t->name, r, c, n,
									 (double)out[r * dot->cols +
										     c]);
						}
				}
				if (t->tile)
					check_i8_tile(t, packed, lda, a, w, n);
				for (int r = 0; r < 4; r++) {
					free(a[r]);
					free(w[r]);
				}
				free(packed);
			}
}

/* --- products --- */

struct scaled {
	struct zw_k_gemm_args args;
	uint8_t *a, *w;
	float *a_scale, *w_scale, *residual, *c;
	size_t c_bytes;
};

static int run(void *arg, struct zw_pool *pool)
{
	return zw_k_gemm(&((struct scaled *)arg)->args, pool);
}

static void reset(void *arg)
{
	struct scaled *g = arg;

	memset(g->c, 0x5a, g->c_bytes);
}

static void scaled_init(struct scaled *g, uint32_t ta, uint32_t tw, uint32_t m, uint32_t n,
			uint32_t k, uint32_t group, uint32_t a_rows, uint32_t w_rows)
{
	uint32_t groups = k ? (k - 1) / group + 1 : 0;
	uint64_t ld = k + 5;

	memset(g, 0, sizeof(*g));
	g->a = malloc((m - 1) * ld + k + 1);
	g->w = malloc((n - 1) * ld + k + 1);
	g->a_scale = k_array(F32, (size_t)(m + a_rows - 1) / a_rows * groups);
	g->w_scale = k_array(F32, (size_t)(n + w_rows - 1) / w_rows * groups);
	g->residual = k_array(F32, (size_t)m * n);
	g->c_bytes = (size_t)m * n * 4;
	g->c = malloc(g->c_bytes);
	for (uint64_t i = 0; i < (m - 1) * ld + k; i++)
		g->a[i] = (uint8_t)(ta == ZW_DTYPE_F8E5M2 ? k_rng() & 0xbf
				    : ta == ZW_DTYPE_I8   ? k_rng()
							  : k_rng() % 2 * 128 + k_rng() % 127);
	for (uint64_t i = 0; i < (n - 1) * ld + k; i++)
		g->w[i] = (uint8_t)(tw == ZW_DTYPE_F8E5M2 ? k_rng() & 0xbf
				    : tw == ZW_DTYPE_I8   ? k_rng()
							  : k_rng() % 2 * 128 + k_rng() % 127);
	g->args = (struct zw_k_gemm_args){
		.m = m,
		.n = n,
		.k = k,
		.a = {.ptr = g->a, .dtype = ta, .ld = ld},
		.w = {.ptr = g->w, .dtype = tw, .ld = ld},
		.residual = {.ptr = g->residual, .dtype = F32, .ld = n},
		.c = {.ptr = g->c, .dtype = F32, .ld = n},
		.quant.scale = {.ptr = g->w_scale,
				.ld = groups,
				.dtype = F32,
				.rows = w_rows,
				.group = group},
		.a_scale = {.ptr = g->a_scale,
			    .ld = groups,
			    .dtype = F32,
			    .rows = a_rows,
			    .group = group},
	};
}

static void scaled_fini(struct scaled *g)
{
	free(g->a);
	free(g->w);
	free(g->a_scale);
	free(g->w_scale);
	free(g->residual);
	free(g->c);
}

/* The order of the specification, group by group, and the true value. */
static void scaled_verify(const struct scaled *g)
{
	const struct zw_k_gemm_args *p = &g->args;
	uint32_t group = p->a_scale.group, groups = p->k ? (p->k - 1) / group + 1 : 0;
	float *x = malloc(sizeof(float) * (p->k + 1ull)),
	      *y = malloc(sizeof(float) * (p->k + 1ull));

	for (uint32_t i = 0; i < p->m; i++)
		for (uint32_t j = 0; j < p->n; j++) {
			float v = 0, want, got = g->c[(size_t)i * p->n + j];
			double exact = 0, bound = 0;

			for (uint32_t b = 0; b < groups; b++) {
				uint32_t k0 = b * group, kc = p->k - k0 < group ? p->k - k0 : group;
				float fa = g->a_scale[(size_t)(i / p->a_scale.rows) * groups + b];
				float fw =
					g->w_scale[(size_t)(j / p->quant.scale.rows) * groups + b];
				float f = fa * fw, part;
				double sum = 0, magnitude = 0;

				for (uint32_t k = 0; k < kc; k++) {
					x[k] = code_value(p->a.dtype, g->a[i * p->a.ld + k0 + k]);
					y[k] = code_value(p->w.dtype, g->w[j * p->w.ld + k0 + k]);
					sum += (double)x[k] * (double)y[k];
					magnitude += fabs((double)x[k] * (double)y[k]);
				}
				/* whole numbers below 2^53: exact, then rounded */
				part = p->a.dtype == ZW_DTYPE_I8 ? (float)sum : k_dot(x, y, kc);
				v = fmaf(part, f, v);
				exact += sum * (double)fa * (double)fw;
				bound += (k_dot_bound(kc, magnitude) + 3 * U32 * fabs(sum)) *
						 fabs((double)f) +
					 U32 * (fabs(exact) + bound);
			}
			want = v + g->residual[(size_t)i * p->n + j];
			if (memcmp(&want, &got, 4))
				fail_msg("%ux%ux%u: C[%u,%u] is %g, not %g", p->m, p->n, p->k, i, j,
					 (double)got, (double)want);
			exact += (double)g->residual[(size_t)i * p->n + j];
			assert_true(k_close((double)got, exact,
					    bound * 1.01 + 2 * U32 * fabs(exact) + 1e-30));
		}
	free(x);
	free(y);
}

static const uint32_t pairs[][2] = {{ZW_DTYPE_I8, ZW_DTYPE_I8},
				    {ZW_DTYPE_F8E4M3, ZW_DTYPE_F8E4M3},
				    {ZW_DTYPE_F8E5M2, ZW_DTYPE_F8E4M3},
				    {ZW_DTYPE_F8E4M3, ZW_DTYPE_F8E5M2}};

static void test_products(void **state)
{
	static const uint32_t shapes[][6] = {
		/* m, n, k, group, rows of a scale of a and w */
		{1, 1, 1, 1, 1, 1},        {1, 9, 40, 40, 1, 1},       {2, 5, 33, 100, 1, 1},
		{3, 70, 300, 128, 1, 128}, {4, 8, 256, 128, 1, 128},   {5, 3, 64, 16, 2, 3},
		{7, 130, 700, 700, 1, 1},  {40, 20, 512, 128, 1, 128}, {150, 66, 96, 4096, 150, 66},
		{9, 10, 37, 5, 1, 1},      {17, 65, 1500, 1500, 1, 1}, {3, 4, 0, 8, 1, 1},
	};

	for (size_t t = 0; t < N_OF(pairs); t++)
		for (size_t i = 0; i < N_OF(shapes); i++) {
			const uint32_t *s = shapes[i];
			struct scaled g;

			scaled_init(&g, pairs[t][0], pairs[t][1], s[0], s[1], s[2], s[3], s[4],
				    s[5]);
			for (int table = 0; i8_table(table); table++) {
				zw_i8_override(i8_table(table));
				k_all_configs(run, &g, reset, g.c, g.c_bytes);
				zw_i8_override(NULL);
				scaled_verify(&g);
				if (pairs[t][0] != ZW_DTYPE_I8)
					break;
			}
			scaled_fini(&g);
		}
}

/* The longest sum that there is, of the greatest products. */
static void test_longest_sum(void **state)
{
	struct zw_pool *pool = zw_pool_new(0);
	struct scaled g;

	scaled_init(&g, ZW_DTYPE_I8, ZW_DTYPE_I8, 2, 3, ZW_I8_MAX_K, ZW_I8_MAX_K, 1, 1);
	memset(g.a, 0x80, ZW_I8_MAX_K);
	memset(g.w, 0x80, ZW_I8_MAX_K);
	for (int table = 0; i8_table(table); table++) {
		zw_i8_override(i8_table(table));
		assert_int_equal(run(&g, pool), 0);
		scaled_verify(&g);
		zw_i8_override(NULL);
	}
	g.args.k++;
	g.args.a_scale.group = g.args.quant.scale.group = ZW_I8_MAX_K + 1;
	assert_int_equal(run(&g, pool), -EINVAL);
	scaled_fini(&g);
	zw_pool_free(pool);
}

/* --- activations --- */

struct quantize {
	struct zw_k_quantize_args args;
	void *x;
	uint8_t *out; /* y, then scales */
	size_t bytes;
};

static int run_quantize(void *arg, struct zw_pool *pool)
{
	return zw_k_quantize(&((struct quantize *)arg)->args, pool);
}

static void reset_quantize(void *arg)
{
	struct quantize *q = arg;

	memset(q->out, 0x5a, q->bytes);
}

static const struct {
	uint32_t dtype;
	float largest;
} targets[] = {{ZW_DTYPE_I8, 127}, {ZW_DTYPE_F8E4M3, 448}, {ZW_DTYPE_F8E5M2, 57344}};

static void test_quantize(void **state)
{
	static const uint32_t shapes[][4] = {/* rows, heads, n, block */
					     {1, 1, 1, 1},  {3, 1, 40, 128}, {2, 3, 130, 128},
					     {5, 1, 37, 8}, {4, 2, 300, 77}, {70, 1, 700, 4096}};

	for (size_t t = 0; t < N_OF(targets); t++)
		for (size_t i = 0; i < N_OF(shapes); i++) {
			uint32_t rows = shapes[i][0], heads = shapes[i][1], n = shapes[i][2];
			uint32_t block = shapes[i][3], blocks = (n - 1) / block + 1;
			uint32_t tx = i % 3 == 0 ? F32 : i % 3 == 1 ? BF16 : F16;
			size_t y_bytes = ((size_t)rows * heads * n + 3) / 4 * 4;
			struct quantize q = {.x = k_array(tx, (size_t)rows * heads * n)};
			float *scale;

			q.bytes = y_bytes + (size_t)rows * heads * blocks * 4;
			q.out = malloc(q.bytes);
			scale = (float *)(void *)(q.out + y_bytes);
			for (uint32_t c = 0; c < n && c < block; c++)
				k_set(q.x, tx, c, i % 2 ? 0 : -0.0f); /* a block of zeros */
			q.args = (struct zw_k_quantize_args){
				.rows = rows,
				.heads = heads,
				.n = n,
				.block = block,
				.x = {.ptr = q.x, .dtype = tx, .ld = (uint64_t)heads * n, .hs = n},
				.y = {.ptr = q.out,
				      .dtype = targets[t].dtype,
				      .ld = (uint64_t)heads * n,
				      .hs = n},
				.scale = {.ptr = scale,
					  .dtype = F32,
					  .ld = (uint64_t)heads * blocks,
					  .hs = blocks},
			};
			k_all_configs(run_quantize, &q, reset_quantize, q.out, q.bytes);
			for (uint32_t r = 0; r < rows * heads; r++)
				for (uint32_t b = 0; b < blocks; b++) {
					uint32_t end = (b + 1) * block < n ? (b + 1) * block : n;
					float most = 0, s;

					for (uint32_t c = b * block; c < end; c++)
						most = fmaxf(most, fabsf(k_get(q.x, tx,
									       (size_t)r * n + c)));
					s = most > 0 ? most / targets[t].largest : 1;
					assert_true(scale[r * blocks + b] == s);
					for (uint32_t c = b * block; c < end; c++) {
						float x = k_get(q.x, tx, (size_t)r * n + c) / s;

						assert_int_equal(
							q.out[(size_t)r * n + c],
							nearest(targets[t].dtype, (double)x));
					}
				}
			free(q.x);
			free(q.out);
		}
}

/* Rounding of every number between two codes, half way, a little less and more; beyond the largest; NaN. */
static void test_narrow(void **state)
{
	const char *name;

	for (size_t t = 0; t < N_OF(targets); t++) {
		uint32_t dtype = targets[t].dtype;
		enum zw_q_target to;

		assert_int_equal(zw_q_target_of(dtype, &to), 0);
		for (int table = 0; k_use_table(table, &name); table++) {
			const struct zw_q_prim *quant = zw_prim_get()->quant;
			float v[9] = {INFINITY,   -INFINITY, NAN,    -NAN,  0x1p-149f,
				      -0x1p-149f, 1e30f,     -1e30f, 129.5f};
			uint8_t got[9];

			quant->narrow[to](got, v, 9);
			assert_true(code_value(dtype, got[0]) == targets[t].largest);
			assert_true(code_value(dtype, got[1]) == -targets[t].largest);
			for (int i = 2; i < 4; i++)
				assert_true(dtype == ZW_DTYPE_I8
						    ? got[i] == 0
						    : isnan(code_value(dtype, got[i])) &&
							      got[i] < 128);
			assert_true(code_value(dtype, got[4]) == 0 &&
				    code_value(dtype, got[5]) == 0);
			assert_true(code_value(dtype, got[6]) == targets[t].largest);
			assert_true(code_value(dtype, got[7]) == -targets[t].largest);
			for (unsigned int c = 0; c < 127; c++) {
				float lo = code_value(dtype, c), hi = code_value(dtype, c + 1);
				float mid = (lo + hi) / 2;
				float x[9] = {lo,   nextafterf(mid, -INFINITY),
					      mid,  nextafterf(mid, INFINITY),
					      -lo,  -nextafterf(mid, -INFINITY),
					      -mid, -nextafterf(mid, INFINITY),
					      hi};

				if (isnan(hi) || isinf(hi))
					break;
				quant->narrow[to](got, x, 9);
				for (int i = 0; i < 9; i++)
					if (got[i] != nearest(dtype, (double)x[i]))
						fail_msg("%s: type %u: %g became %u", name, dtype,
							 (double)x[i], got[i]);
			}
		}
	}
}

/* A NaN or an infinity makes the scale of its block one, and so all of it NaN; other blocks go free. */
static void test_not_finite(void **state)
{
	struct zw_pool *pool = zw_pool_new(0);
	float x[48], scale[3];
	int8_t y[48];
	struct zw_k_quantize_args args = {
		.rows = 1,
		.heads = 1,
		.n = 48,
		.block = 16,
		.x = {.ptr = x, .dtype = F32},
		.y = {.ptr = y, .dtype = ZW_DTYPE_I8},
		.scale = {.ptr = scale, .dtype = F32},
	};
	const char *name;

	for (int i = 0; i < 48; i++)
		x[i] = (float)(i + 1);
	x[5] = -NAN;
	x[20] = -INFINITY;
	for (int table = 0; k_use_table(table, &name); table++) {
		assert_int_equal(zw_k_quantize(&args, pool), 0);
		assert_int_equal(zw_f32_bits(scale[0]), ZW_F32_NAN);
		assert_true(isinf(scale[1]) && y[16] == 0 && y[20] == 0);
		assert_true(scale[2] == 48.0f / 127 && y[47] == 127);
	}
	zw_pool_free(pool);
}

static void test_refusals(void **state)
{
	struct zw_pool *pool = zw_pool_new(0);
	struct zw_k_quantize_args q, bad_q;
	struct zw_k_gemm_args bad;
	float x[64], scale[8];
	uint8_t y[64];
	struct scaled g;

	scaled_init(&g, ZW_DTYPE_I8, ZW_DTYPE_I8, 3, 4, 64, 32, 1, 1);
#define REFUSED(err, change)                                                                       \
	do {                                                                                       \
		bad = g.args;                                                                      \
		change;                                                                            \
		assert_int_equal(zw_k_gemm(&bad, pool), err);                                      \
	} while (0)
	REFUSED(-EINVAL, bad.a_scale.ptr = NULL);
	REFUSED(-EINVAL, bad.a_scale.group = 16);
	REFUSED(-EINVAL, bad.a_scale.rows = 0);
	REFUSED(-EINVAL, bad.a_scale.dtype = BF16);
	REFUSED(-EINVAL, bad.a_scale.ptr = (char *)g.a_scale + 2);
	REFUSED(-EINVAL, bad.a_scale.ptr = g.c);
	REFUSED(-EOPNOTSUPP, bad.w.dtype = ZW_DTYPE_F8E4M3);
	REFUSED(-EOPNOTSUPP, bad.w.dtype = ZW_DTYPE_F8E5M2);
	REFUSED(-EOPNOTSUPP, bad.a.dtype = ZW_DTYPE_F8E5M2);
	REFUSED(-EINVAL, bad.a.dtype = BF16);                   /* has no scale */
	REFUSED(-EOPNOTSUPP, bad.quant.zero = bad.quant.scale); /* zero points */
#undef REFUSED
	q = (struct zw_k_quantize_args){
		.rows = 2,
		.heads = 1,
		.n = 32,
		.block = 8,
		.x = {.ptr = x, .dtype = F32, .ld = 32},
		.y = {.ptr = y, .dtype = ZW_DTYPE_I8, .ld = 32},
		.scale = {.ptr = scale, .dtype = F32, .ld = 4},
	};
#define REFUSED(err, change)                                                                       \
	do {                                                                                       \
		bad_q = q;                                                                         \
		change;                                                                            \
		assert_int_equal(zw_k_quantize(&bad_q, pool), err);                                \
	} while (0)
	REFUSED(-EINVAL, bad_q.block = 0);
	REFUSED(-EINVAL, bad_q.scale.ld = 3);
	REFUSED(-EINVAL, bad_q.y.ld = 31);
	REFUSED(-EINVAL, bad_q.y.ptr = x);
	REFUSED(-EINVAL, bad_q.scale.ptr = x + 60);
	REFUSED(-EINVAL, bad_q.scale.ptr = NULL);
	REFUSED(-EOPNOTSUPP, bad_q.y.dtype = ZW_DTYPE_I4);
	REFUSED(-EOPNOTSUPP, bad_q.scale.dtype = BF16);
	REFUSED(-EOPNOTSUPP, bad_q.x.dtype = ZW_DTYPE_I8);
	scaled_fini(&g);
	zw_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_i8_sums),     cmocka_unit_test(test_products),
		cmocka_unit_test(test_longest_sum), cmocka_unit_test(test_narrow),
		cmocka_unit_test(test_quantize),    cmocka_unit_test(test_not_finite),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: MIT
/* Norms, rotary embedding, activations, softmax, sums: error against double precision, bits,
 * refusals. */
#include "test_k_util.h"

#include "zw_k_math.h"

/* Three operands and a result of [rows, heads, n], strides wider than needed. */
struct vec {
	uint32_t rows, heads, n;
	uint64_t hs, ld;
	uint32_t tx, ty, tz;
	void *x, *z, *y;
	size_t count;
	union {
		struct zw_k_rmsnorm_args norm;
		struct zw_k_rope_args rope;
		struct zw_k_swiglu_args swiglu;
		struct zw_k_mul_sigmoid_args sigmoid;
		struct zw_k_add_args add;
		struct zw_k_softmax_args softmax;
	};
};

static void vec_init(struct vec *v, uint32_t rows, uint32_t heads, uint32_t n, uint32_t tx,
		     uint32_t ty, uint32_t slack)
{
	memset(v, 0, sizeof(*v));
	v->rows = rows;
	v->heads = heads;
	v->n = n;
	v->hs = n + slack;
	v->ld = v->hs * heads + slack;
	v->tx = tx;
	v->ty = ty;
	v->tz = BF16;
	v->count = (rows - 1) * v->ld + (heads - 1) * v->hs + n;
	v->x = k_array(tx, v->count);
	v->y = k_array(ty, v->count);
	v->z = k_array(v->tz, v->count);
}

static void vec_fini(struct vec *v)
{
	free(v->x);
	free(v->y);
	free(v->z);
}

static size_t vec_at(const struct vec *v, uint32_t row, uint32_t head, uint32_t col)
{
	return row * v->ld + head * v->hs + col;
}

static void vec_reset(void *arg)
{
	struct vec *v = arg;

	memset(v->y, 0x5a, v->count * k_size(v->ty));
}

/* The gaps between heads and rows still hold the pattern. */
static void check_gaps(const struct vec *v)
{
	char *used = calloc(v->count, 1);
	const unsigned char *bytes = v->y;
	size_t size = k_size(v->ty);

	for (uint32_t r = 0; r < v->rows; r++)
		for (uint32_t h = 0; h < v->heads; h++)
			memset(used + vec_at(v, r, h, 0), 1, v->n);
	for (size_t i = 0; i < v->count; i++)
		for (size_t b = 0; b < size && !used[i]; b++)
			assert_int_equal(bytes[i * size + b], 0x5a);
	free(used);
}

#define IN(v)                                                                                      \
	{                                                                                          \
		.ptr = (v).x, .dtype = (v).tx, .ld = (v).ld, .hs = (v).hs                          \
	}
#define INZ(v)                                                                                     \
	{                                                                                          \
		.ptr = (v).z, .dtype = (v).tz, .ld = (v).ld, .hs = (v).hs                          \
	}
#define OUT(v)                                                                                     \
	{                                                                                          \
		.ptr = (v).y, .dtype = (v).ty, .ld = (v).ld, .hs = (v).hs                          \
	}

static const uint32_t dtypes[][2] = {{F32, F32},  {BF16, BF16}, {F32, BF16},
				     {BF16, F32}, {F16, F16},   {BF16, F16}};
static const uint32_t lengths[] = {1, 2, 7, 8, 9, 16, 31, 64, 128, 1000, 16385, 40009};
#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

/* --- RMSNorm --- */

static int run_norm(void *arg, struct zw_pool *pool)
{
	return zw_k_rmsnorm(&((struct vec *)arg)->norm, pool);
}

static void verify_norm(const struct vec *v)
{
	bool w1 = v->norm.flags & ZW_K_NORM_WEIGHT_PLUS_1;
	/*
	 * Sum of squares as a dot product of positive terms; then division, addition of eps, square
	 * root (halves the relative error so far) and reciprocal; then w + 1, two products.
	 */
	double n_sum = (double)((v->n + 7) / 8 + 3);
	double rel = (n_sum + 2) * U32 / 2 + (2 + 3) * U32 * 1.01;

	for (uint32_t r = 0; r < v->rows; r++)
		for (uint32_t h = 0; h < v->heads; h++) {
			double ss = 0, scale;

			for (uint32_t c = 0; c < v->n; c++)
				ss += pow((double)k_get(v->x, v->tx, vec_at(v, r, h, c)), 2);
			scale = 1 / sqrt(ss / v->n + (double)v->norm.eps);
			for (uint32_t c = 0; c < v->n; c++) {
				double w = (double)k_get(v->z, v->tz, c) + (w1 ? 1 : 0);
				double want =
					w * (double)k_get(v->x, v->tx, vec_at(v, r, h, c)) * scale;
				double got = (double)k_get(v->y, v->ty, vec_at(v, r, h, c));

				if (!k_close(got, want,
					     fabs(want) * (rel + U_OF(v->ty) * 1.01) + 0x1p-140 +
						     T_OF(v->ty)))
					fail_msg("n %u: y[%u,%u,%u] is %.9g, not %.9g", v->n, r, h,
						 c, got, want);
			}
		}
}

static void test_rmsnorm(void **state)
{
	for (size_t t = 0; t < N_OF(dtypes); t++)
		for (size_t l = 0; l < N_OF(lengths); l++)
			for (uint32_t heads = 1; heads <= 3; heads += 2) {
				struct vec v;

				vec_init(&v, 1 + (uint32_t)l % 4, heads, lengths[l], dtypes[t][0],
					 dtypes[t][1], l % 3);
				v.norm = (struct zw_k_rmsnorm_args){
					.rows = v.rows,
					.heads = heads,
					.n = v.n,
					.eps = 1e-6f,
					.flags = l % 2 ? ZW_K_NORM_WEIGHT_PLUS_1 : 0,
					.x = IN(v),
					.w = {.ptr = v.z, .dtype = v.tz},
					.y = OUT(v),
				};
				k_all_configs(run_norm, &v, vec_reset, v.y, v.count * k_size(v.ty));
				verify_norm(&v);
				check_gaps(&v);
				vec_fini(&v);
			}
}

/* RMSNorm-C of Gated DeltaNet: w, x and the gate in every storage format, one rounding. */
static void test_gated_norm(void **state)
{
	for (size_t t = 0; t < N_OF(dtypes); t++)
		for (size_t l = 0; l < N_OF(lengths); l++)
			for (uint32_t heads = 1; heads <= 3; heads += 2) {
				uint32_t rows = 1 + (uint32_t)l % 3, n = lengths[l];
				struct zw_pool *pool = zw_pool_new(2);
				struct vec v, plain;
				void *gate;

				vec_init(&v, rows, heads, n, dtypes[t][0], dtypes[t][1], l % 3);
				gate = k_array(BF16, v.count);
				for (size_t i = 0; i < v.count; i++)
					k_set(gate, BF16, i, 20 * k_uniform());
				v.norm = (struct zw_k_rmsnorm_args){
					.rows = rows,
					.heads = heads,
					.n = n,
					.eps = 1e-6f,
					.x = IN(v),
					.w = {.ptr = v.z, .dtype = v.tz},
					.gate = {.ptr = gate,
						 .dtype = BF16,
						 .ld = v.ld,
						 .hs = v.hs},
					.y = OUT(v),
				};
				k_all_configs(run_norm, &v, vec_reset, v.y, v.count * k_size(v.ty));
				check_gaps(&v);
				/* The norm alone, unrounded, times silu. */
				plain = v;
				plain.y = k_array(F32, v.count);
				plain.norm.gate.ptr = NULL;
				plain.norm.y = (struct zw_k_out){
					.ptr = plain.y, .dtype = F32, .ld = v.ld, .hs = v.hs};
				assert_int_equal(zw_k_rmsnorm(&plain.norm, pool), 0);
				for (uint32_t r = 0; r < rows; r++)
					for (uint32_t h = 0; h < heads; h++)
						for (uint32_t c = 0; c < n; c++) {
							size_t at = vec_at(&v, r, h, c);
							float g = k_get(gate, BF16, at),
							      y = ((float *)plain.y)[at], want = 0;
							double exact = (double)g /
								       (1 + exp(-(double)g)) *
								       (double)y;

							k_set(&want, v.ty, 0, zw_siluf(g) * y);
							assert_memory_equal(
								(char *)v.y + at * k_size(v.ty),
								&want, k_size(v.ty));
							assert_true(k_close(
								(double)k_get(v.y, v.ty, at), exact,
								fabs(exact) * (6 * U32 +
									       U_OF(v.ty) * 1.01) +
									0x1p-130 + T_OF(v.ty)));
						}
				/* over the gate, and over x */
				if (v.ty == BF16) {
					v.norm.y.ptr = gate;
					assert_int_equal(zw_k_rmsnorm(&v.norm, pool), 0);
					for (uint32_t r = 0; r < rows; r++)
						assert_memory_equal(
							(uint16_t *)gate + vec_at(&v, r, 0, 0),
							(uint16_t *)v.y + vec_at(&v, r, 0, 0),
							n * 2);
				}
				v.norm.y.ptr = (char *)gate + 4;
				if (n > 16)
					assert_int_equal(zw_k_rmsnorm(&v.norm, pool), -EINVAL);
				free(plain.y);
				free(gate);
				vec_fini(&v);
				zw_pool_free(pool);
			}
}

/* Many rows over several workers, in place. */
static void test_rmsnorm_in_place(void **state)
{
	struct zw_pool *pool = zw_pool_new(4);
	struct vec v;

	vec_init(&v, 200, 4, 128, BF16, BF16, 0);
	v.norm = (struct zw_k_rmsnorm_args){
		.rows = 200,
		.heads = 4,
		.n = 128,
		.eps = 1e-6f,
		.x = IN(v),
		.w = {.ptr = v.z, .dtype = v.tz},
		.y = OUT(v),
	};
	assert_int_equal(zw_k_rmsnorm(&v.norm, pool), 0);
	v.norm.y.ptr = v.x;
	assert_int_equal(zw_k_rmsnorm(&v.norm, pool), 0);
	assert_memory_equal(v.x, v.y, v.count * 2);
	v.norm.y.ptr = (uint16_t *)v.x + 1;
	assert_int_equal(zw_k_rmsnorm(&v.norm, pool), -EINVAL);
	v.norm.y.ptr = v.z;
	assert_int_equal(zw_k_rmsnorm(&v.norm, pool), -EINVAL);
	v.norm.y.ptr = v.y;
	v.norm.eps = -1;
	assert_int_equal(zw_k_rmsnorm(&v.norm, pool), -EINVAL);
	v.norm.eps = NAN;
	assert_int_equal(zw_k_rmsnorm(&v.norm, pool), -EINVAL);
	v.norm.eps = 0;
	v.norm.flags = 2;
	assert_int_equal(zw_k_rmsnorm(&v.norm, pool), -EOPNOTSUPP);
	vec_fini(&v);
	zw_pool_free(pool);
}

static void test_rmsnorm_special(void **state)
{
	static const float xs[][2] = {{0, 0}, {NAN, 1}, {INFINITY, 1}, {0x1p-149f, 0}};
	struct vec v;

	for (size_t i = 0; i < N_OF(xs); i++) {
		const float *y;

		vec_init(&v, 1, 1, 2, F32, F32, 0);
		memcpy(v.x, xs[i], 8);
		k_set(v.z, v.tz, 0, 1);
		k_set(v.z, v.tz, 1, 1);
		v.norm = (struct zw_k_rmsnorm_args){
			.rows = 1,
			.heads = 1,
			.n = 2,
			.eps = i == 3 ? 0x1p-20f : 0.0f,
			.x = IN(v),
			.w = {.ptr = v.z, .dtype = v.tz},
			.y = OUT(v),
		};
		k_all_configs(run_norm, &v, vec_reset, v.y, 8);
		y = v.y;
		if (i == 0) /* 0 * (1 / 0) */
			assert_true(zw_f32_bits(y[0]) == ZW_F32_NAN);
		if (i == 1)
			assert_true(zw_f32_bits(y[0]) == ZW_F32_NAN &&
				    zw_f32_bits(y[1]) == ZW_F32_NAN);
		if (i == 2) /* inf * 0, 1 * 0 */
			assert_true(zw_f32_bits(y[0]) == ZW_F32_NAN && zw_f32_bits(y[1]) == 0);
		if (i == 3) /* a subnormal is not flushed on the way in: 2^-149 * 2^10 */
			assert_true(y[0] == 0x1p-139f);
		vec_fini(&v);
	}
}

/* --- rotary embedding --- */

static int run_rope(void *arg, struct zw_pool *pool)
{
	return zw_k_rope(&((struct vec *)arg)->rope, pool);
}

static void test_rope(void **state)
{
	static const uint32_t rots[] = {2, 4, 6, 16, 18, 64, 128, 8192, 9002};
	uint32_t n_pos = 50;

	for (size_t t = 0; t < N_OF(dtypes); t++)
		for (size_t l = 0; l < N_OF(rots); l++) {
			uint32_t rot = rots[l], half = rot / 2;
			uint32_t d = rot + (uint32_t)(l % 3) * (rot > 1000 ? 2500 : 5);
			uint64_t tld = half + l % 2;
			float *cs = k_array(F32, (n_pos - 1) * tld + half);
			float *sn = k_array(F32, (n_pos - 1) * tld + half);
			int32_t pos[5] = {49, 0, 7, 7, 31};
			bool given = l % 2;
			struct vec v;

			vec_init(&v, 5, 3, d, dtypes[t][0], dtypes[t][1], l % 4);
			v.rope = (struct zw_k_rope_args){
				.rows = 5,
				.heads = 3,
				.d = d,
				.rot = rot,
				.n_pos = n_pos,
				.pos_base = 45,
				.cos_tab = cs,
				.sin_tab = sn,
				.table_ld = tld,
				.positions = given ? pos : NULL,
				.x = IN(v),
				.y = OUT(v),
			};
			k_all_configs(run_rope, &v, vec_reset, v.y, v.count * k_size(v.ty));
			check_gaps(&v);
			for (uint32_t r = 0; r < 5; r++)
				for (uint32_t h = 0; h < 3; h++)
					for (uint32_t c = 0; c < d; c++) {
						const float *ct =
							cs + (size_t)(given ? (uint32_t)pos[r]
									    : 45 + r) *
								     tld;
						const float *st =
							sn + (size_t)(given ? (uint32_t)pos[r]
									    : 45 + r) *
								     tld;
						double x = (double)k_get(v.x, v.tx,
									 vec_at(&v, r, h, c));
						double got = (double)k_get(v.y, v.ty,
									   vec_at(&v, r, h, c));
						double want = x, mag = 0;

						if (c < half) {
							double b = (double)k_get(
								v.x, v.tx,
								vec_at(&v, r, h, c + half));

							want = x * (double)ct[c] -
							       b * (double)st[c];
							mag = fabs(x * (double)ct[c]) +
							      2 * fabs(b * (double)st[c]);
						} else if (c < rot) {
							double a = (double)k_get(
								v.x, v.tx,
								vec_at(&v, r, h, c - half));

							want = x * (double)ct[c - half] +
							       a * (double)st[c - half];
							mag = fabs(x * (double)ct[c - half]) +
							      2 * fabs(a * (double)st[c - half]);
						}
						if (!k_close(
							    got, want,
							    mag * U32 * 1.01 +
								    fabs(want) *
									    (v.ty == F32 && c >= rot
										     ? 0
										     : U_OF(v.ty) *
											       1.01) +
								    T_OF(v.ty)))
							fail_msg("rot %u: y[%u,%u,%u] is %.9g, not "
								 "%.9g",
								 rot, r, h, c, got, want);
					}
			vec_fini(&v);
			free(cs);
			free(sn);
		}
}

/*
 * What rotation is for: the score of a query with a key depends on how far they are apart, wherever that is, and on
 * nothing else; and the rest of a head, of which 64 of 256 are turned, is as it was.
 */
static void test_rope_distance(void **state)
{
	enum { D = 256, ROT = 64, HALF = ROT / 2, ROWS = 48, STEP = 5 };
	static float cs[ROWS * STEP][HALF], sn[ROWS * STEP][HALF], x[2][ROWS][D], y[2][ROWS][D];
	struct zw_pool *pool = zw_pool_new(0);
	float *once = k_array(F32, 2 * D);
	int32_t pos[ROWS], differ = 0;
	double near = 0;

	for (int p = 0; p < ROWS * STEP; p++)
		for (int j = 0; j < HALF; j++) {
			double angle = p * pow(1e7, -2.0 * j / ROT);

			cs[p][j] = (float)cos(angle);
			sn[p][j] = (float)sin(angle);
		}
	for (int i = 0; i < ROWS; i++) {
		memcpy(x[0][i], once, sizeof(x[0][i]));
		memcpy(x[1][i], once + D, sizeof(x[1][i]));
		pos[i] = i * STEP;
	}
	for (int k = 0; k < 2; k++) {
		struct zw_k_rope_args a = {
			.rows = ROWS,
			.heads = 1,
			.d = D,
			.rot = ROT,
			.n_pos = ROWS * STEP,
			.cos_tab = cs[0],
			.sin_tab = sn[0],
			.table_ld = HALF,
			.positions = pos,
			.x = {.ptr = x[k], .dtype = F32, .ld = D, .hs = D},
			.y = {.ptr = y[k], .dtype = F32, .ld = D, .hs = D},
		};

		assert_int_equal(zw_k_rope(&a, pool), 0);
		for (int i = 0; i < ROWS; i++)
			assert_memory_equal(y[k][i] + ROT, x[k][i] + ROT,
					    (D - ROT) * sizeof(float));
	}
	for (int apart = 0; apart < ROWS; apart++) {
		double first = 0, size = 0;

		for (int at = 0; at + apart < ROWS; at++) {
			double score = 0;

			for (int c = 0; c < D; c++) {
				double u = (double)y[0][at + apart][c] * (double)y[1][at][c];

				score += u;
				size += at ? 0 : fabs(u);
			}
			first = at ? first : score;
			if (!k_close(score, first, 1e-6 * size))
				fail_msg("%d apart at %d: %g, not %g", apart * STEP, at * STEP,
					 score, first);
		}
		near = apart ? near : first;
		differ += fabs(first - near) > 1e-3 * size;
	}
	/* and at nearly all distances it is another one than at none */
	assert_true(differ > ROWS * 3 / 4);
	free(once);
	zw_pool_free(pool);
}

static void test_rope_refusals(void **state)
{
	struct zw_pool *pool = zw_pool_new(0);
	struct zw_k_fault fault = {0};
	int32_t pos[4] = {0, 1, 10, 3};
	float *tab = k_array(F32, 10 * 4);
	struct vec v;

	vec_init(&v, 4, 2, 8, F32, F32, 0);
	vec_reset(&v);
	v.rope = (struct zw_k_rope_args){
		.rows = 4,
		.heads = 2,
		.d = 8,
		.rot = 8,
		.n_pos = 10,
		.cos_tab = tab,
		.sin_tab = tab,
		.table_ld = 4,
		.positions = pos,
		.x = IN(v),
		.y = OUT(v),
		.fault = &fault,
	};
	assert_int_equal(zw_k_rope(&v.rope, pool), -ERANGE);
	assert_int_equal(fault.index, 2);
	assert_int_equal(fault.value, 10);
	pos[2] = -1;
	assert_int_equal(zw_k_rope(&v.rope, pool), -ERANGE);
	assert_int_equal(fault.value, -1);
	v.rope.positions = NULL;
	v.rope.pos_base = 8;
	assert_int_equal(zw_k_rope(&v.rope, pool), -ERANGE);
	assert_int_equal(fault.index, 2);
	assert_int_equal(fault.value, 10);
	v.rope.pos_base = -1;
	assert_int_equal(zw_k_rope(&v.rope, pool), -ERANGE);
	v.rope.pos_base = 0;
	v.rope.rot = 7;
	assert_int_equal(zw_k_rope(&v.rope, pool), -EINVAL);
	v.rope.rot = 10;
	assert_int_equal(zw_k_rope(&v.rope, pool), -EINVAL);
	v.rope.rot = 8;
	v.rope.cos_tab = NULL;
	assert_int_equal(zw_k_rope(&v.rope, pool), -EINVAL);
	v.rope.cos_tab = v.y;
	assert_int_equal(zw_k_rope(&v.rope, pool), -EINVAL);
	v.rope.cos_tab = tab;
	v.rope.table_ld = UINT64_MAX / 8;
	assert_int_equal(zw_k_rope(&v.rope, pool), -EINVAL);
	for (size_t i = 0; i < v.count * 4; i++)
		assert_int_equal(((unsigned char *)v.y)[i], 0x5a);
	v.rope.table_ld = 4;
	assert_int_equal(zw_k_rope(&v.rope, pool), 0);
	v.rope.y.ptr = v.x;
	assert_int_equal(zw_k_rope(&v.rope, pool), 0);
	assert_memory_equal(v.x, v.y, v.count * 4);
	vec_fini(&v);
	free(tab);
	zw_pool_free(pool);
}

/* --- activations and sums --- */

static int run_swiglu(void *arg, struct zw_pool *pool)
{
	return zw_k_swiglu(&((struct vec *)arg)->swiglu, pool);
}

static int run_add(void *arg, struct zw_pool *pool)
{
	return zw_k_add(&((struct vec *)arg)->add, pool);
}

static void test_swiglu_add(void **state)
{
	static const uint32_t ns[] = {1, 7, 8, 9, 100, 4096, 4097, 9001};

	for (size_t t = 0; t < N_OF(dtypes); t++)
		for (size_t l = 0; l < N_OF(ns); l++) {
			struct vec v;
			uint32_t n = ns[l], rows = n > 1000 ? 2 : 5;

			vec_init(&v, rows, 1, n, dtypes[t][0], dtypes[t][1], l % 3);
			for (size_t i = 0; i < v.count; i++)
				k_set(v.x, v.tx, i, 30 * k_uniform());
			v.swiglu = (struct zw_k_swiglu_args){
				.rows = rows,
				.n = n,
				.gate = IN(v),
				.up = INZ(v),
				.out = OUT(v),
			};
			k_all_configs(run_swiglu, &v, vec_reset, v.y, v.count * k_size(v.ty));
			check_gaps(&v);
			for (uint32_t r = 0; r < rows; r++)
				for (uint32_t c = 0; c < n; c++) {
					size_t at = vec_at(&v, r, 0, c);
					double g = (double)k_get(v.x, v.tx, at),
					       u = (double)k_get(v.z, v.tz, at);
					double want = g / (1 + exp(-g)) * u;

					/* exp within 2 roundings' worth, then add, divide, multiply
					 */
					if (!k_close((double)k_get(v.y, v.ty, at), want,
						     fabs(want) * (5.1 * U32 + U_OF(v.ty) * 1.01) +
							     0x1p-140 + T_OF(v.ty)))
						fail_msg("swiglu(%g, %g)", g, u);
				}
			v.add = (struct zw_k_add_args){
				.rows = rows,
				.n = n,
				.a = IN(v),
				.b = INZ(v),
				.out = OUT(v),
			};
			k_all_configs(run_add, &v, vec_reset, v.y, v.count * k_size(v.ty));
			check_gaps(&v);
			for (uint32_t r = 0; r < rows; r++)
				for (uint32_t c = 0; c < n; c++) {
					size_t at = vec_at(&v, r, 0, c);
					float want,
						sum = k_get(v.x, v.tx, at) + k_get(v.z, v.tz, at);

					k_set(&want, v.ty, 0, sum);
					assert_memory_equal((char *)v.y + at * k_size(v.ty), &want,
							    k_size(v.ty));
				}
			vec_fini(&v);
		}
}

static int run_sigmoid(void *arg, struct zw_pool *pool)
{
	return zw_k_mul_sigmoid(&((struct vec *)arg)->sigmoid, pool);
}

static void test_mul_sigmoid(void **state)
{
	static const uint32_t ns[] = {1, 7, 8, 9, 100, 4096, 4097, 9001};
	struct zw_pool *pool = zw_pool_new(2);

	for (size_t t = 0; t < N_OF(dtypes); t++)
		for (size_t l = 0; l < N_OF(ns); l++)
			for (int variant = 0; variant < 4; variant++) {
				bool row_gate = variant & 1, add = variant & 2;
				uint32_t n = ns[l], rows = n > 1000 ? 2 : 5, heads = 1 + l % 3;
				void *residual;
				struct vec v;

				vec_init(&v, rows, heads, n, dtypes[t][0], dtypes[t][1], l % 3);
				residual = k_array(F32, v.count);
				for (size_t i = 0; i < v.count; i++)
					k_set(v.z, v.tz, i, 30 * k_uniform());
				v.sigmoid = (struct zw_k_mul_sigmoid_args){
					.rows = rows,
					.heads = heads,
					.n = n,
					.flags = row_gate ? ZW_K_SIGMOID_ROW_GATE : 0,
					.x = IN(v),
					.gate = INZ(v),
					.out = OUT(v),
				};
				if (add)
					v.sigmoid.residual = (struct zw_k_in){.ptr = residual,
									      .dtype = F32,
									      .ld = v.ld,
									      .hs = v.hs};
				k_all_configs(run_sigmoid, &v, vec_reset, v.y,
					      v.count * k_size(v.ty));
				check_gaps(&v);
				for (uint32_t r = 0; r < rows; r++)
					for (uint32_t i = 0; i < heads * n; i++) {
						size_t at = vec_at(&v, r, i / n, i % n);
						size_t gate = row_gate ? r * v.ld : at;
						float x = k_get(v.x, v.tx, at),
						      g = k_get(v.z, v.tz, gate),
						      y = x * zw_sigmoidf(g), want = 0;
						double exact = (double)x / (1 + exp(-(double)g));
						double bound = fabs(exact) * 5.1 * U32;

						if (add) {
							float res = ((float *)residual)[at];

							y = y + res;
							exact += (double)res;
							bound += fabs(exact) * U32 * 1.01;
						}
						k_set(&want, v.ty, 0, y);
						assert_memory_equal((char *)v.y + at * k_size(v.ty),
								    &want, k_size(v.ty));
						assert_true(k_close(
							(double)k_get(v.y, v.ty, at), exact,
							bound * 1.01 +
								fabs(exact) * U_OF(v.ty) * 1.01 +
								0x1p-130 + T_OF(v.ty)));
					}
				/* a gate of a row is read for all of it: it may not be overwritten */
				if (v.ty == BF16) {
					v.sigmoid.out.ptr = v.z;
					assert_int_equal(zw_k_mul_sigmoid(&v.sigmoid, pool),
							 row_gate ? -EINVAL : 0);
				}
				v.sigmoid.flags = 2;
				assert_int_equal(zw_k_mul_sigmoid(&v.sigmoid, pool), -EOPNOTSUPP);
				free(residual);
				vec_fini(&v);
			}
	zw_pool_free(pool);
}

static void test_pair_aliasing(void **state)
{
	struct zw_pool *pool = zw_pool_new(2);
	struct vec v;

	vec_init(&v, 3, 1, 5000, BF16, BF16, 2);
	v.swiglu = (struct zw_k_swiglu_args){
		.rows = 3, .n = 5000, .gate = IN(v), .up = INZ(v), .out = OUT(v)};
	assert_int_equal(zw_k_swiglu(&v.swiglu, pool), 0);
	v.swiglu.out.ptr = v.z; /* over up */
	assert_int_equal(zw_k_swiglu(&v.swiglu, pool), 0);
	for (uint32_t r = 0; r < 3; r++)
		assert_memory_equal((uint16_t *)v.y + vec_at(&v, r, 0, 0),
				    (uint16_t *)v.z + vec_at(&v, r, 0, 0), 10000);
	v.swiglu.out.ptr = (uint16_t *)v.x + 1;
	assert_int_equal(zw_k_swiglu(&v.swiglu, pool), -EINVAL);
	v.swiglu.out.ptr = v.y;
	v.swiglu.flags = 1;
	assert_int_equal(zw_k_swiglu(&v.swiglu, pool), -EOPNOTSUPP);
	vec_fini(&v);
	zw_pool_free(pool);
}

/* --- softmax --- */

static int run_softmax(void *arg, struct zw_pool *pool)
{
	return zw_k_softmax(&((struct vec *)arg)->softmax, pool);
}

static void test_softmax(void **state)
{
	for (size_t t = 0; t < N_OF(dtypes); t++)
		for (size_t l = 0; l < N_OF(lengths); l++) {
			struct vec v;
			uint32_t n = lengths[l];

			vec_init(&v, 4, 1, n, dtypes[t][0], dtypes[t][1], 1);
			v.softmax = (struct zw_k_softmax_args){
				.rows = 4,
				.n = n,
				.scale = 7.0f,
				.x = IN(v),
				.y = OUT(v),
			};
			k_all_configs(run_softmax, &v, vec_reset, v.y, v.count * k_size(v.ty));
			for (uint32_t r = 0; r < 4; r++) {
				double sum = 0, m = -1e9;

				for (uint32_t c = 0; c < n; c++)
					m = fmax(m, 7.0 * (double)k_get(v.x, v.tx,
									vec_at(&v, r, 0, c)));
				for (uint32_t c = 0; c < n; c++)
					sum += exp(7.0 * (double)k_get(v.x, v.tx,
								       vec_at(&v, r, 0, c)) -
						   m);
				for (uint32_t c = 0; c < n; c++) {
					size_t at = vec_at(&v, r, 0, c);
					double want =
						exp(7.0 * (double)k_get(v.x, v.tx, at) - m) / sum;
					/* Roundings of scaled values up to 7 and of their
					 * difference up to 14 become relative errors of exp; then
					 * the sum, and the division. */
					double rel =
						(2 * (7 + 7 + 14 + 2) + (n + 7) / 8.0 + 3 + 2) *
						U32;

					if (!k_close((double)k_get(v.y, v.ty, at), want,
						     want * (rel + U_OF(v.ty) * 1.01) + T_OF(v.ty)))
						fail_msg("softmax n %u", n);
				}
			}
			vec_fini(&v);
		}
}

/* Rows that pass through the scratch in pieces, over themselves: as into other memory. */
static void test_long_in_place(void **state)
{
	enum { N = 40009 };
	struct zw_pool *pool = zw_pool_new(2);
	float *tab = k_array(F32, N);
	void *w = k_array(BF16, N);

	for (size_t t = 0; t < 2; t++) {
		uint32_t type = dtypes[t][0];
		size_t bytes = N * k_size(type);
		void *x = k_array(type, N), *y = malloc(bytes), *z = malloc(bytes);
		struct zw_k_in in = {.ptr = x, .dtype = type, .ld = N};
		struct zw_k_out out = {.ptr = y, .dtype = type, .ld = N};
		struct zw_k_rmsnorm_args norm = {.rows = 1,
						 .heads = 1,
						 .n = N,
						 .x = in,
						 .y = out,
						 .w = {.ptr = w, .dtype = BF16}};
		struct zw_k_softmax_args soft = {
			.rows = 1, .n = N, .scale = 1.0f, .x = in, .y = out};
		struct zw_k_rope_args rope = {.rows = 1,
					      .heads = 1,
					      .d = N,
					      .rot = 20000,
					      .n_pos = 1,
					      .cos_tab = tab,
					      .sin_tab = tab + 10000,
					      .table_ld = 10000,
					      .x = in,
					      .y = out};

#define IN_PLACE(call, args)                                                                       \
	do {                                                                                       \
		assert_int_equal(call(&(args), pool), 0);                                          \
		memcpy(z, x, bytes);                                                               \
		(args).x.ptr = z;                                                                  \
		(args).y.ptr = z;                                                                  \
		assert_int_equal(call(&(args), pool), 0);                                          \
		assert_memory_equal(y, z, bytes);                                                  \
	} while (0)
		IN_PLACE(zw_k_rmsnorm, norm);
		IN_PLACE(zw_k_softmax, soft);
		IN_PLACE(zw_k_rope, rope);
#undef IN_PLACE
		free(x);
		free(y);
		free(z);
	}
	free(tab);
	free(w);
	zw_pool_free(pool);
}

static void test_softmax_special(void **state)
{
	float rows[3][9] = {
		{-INFINITY, 0, 0, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY},
		{NAN, 0, 0},
		{INFINITY, 0, 0},
	};
	struct vec v;
	float *y;

	vec_init(&v, 3, 1, 9, F32, F32, 0);
	memcpy(v.x, rows, sizeof(rows));
	v.softmax =
		(struct zw_k_softmax_args){.rows = 3, .n = 9, .scale = 1, .x = IN(v), .y = OUT(v)};
	k_all_configs(run_softmax, &v, vec_reset, v.y, v.count * 4);
	y = v.y;
	assert_true(y[0] == 0 && y[1] == 0.5f && y[2] == 0.5f && y[8] == 0);
	for (int i = 9; i < 18; i++)
		assert_true(zw_f32_bits(y[i]) == ZW_F32_NAN);
	assert_true(zw_f32_bits(y[18]) == ZW_F32_NAN);
	v.softmax.scale = INFINITY;
	assert_int_equal(zw_k_softmax(&v.softmax, NULL), -EINVAL);
	vec_fini(&v);
}

/* --- elementary functions --- */

static double ulps(float got, double want)
{
	int e;

	if (want == 0 || fabs(want) < 0x1p-126)
		return fabs((double)got - want) / 0x1p-149;
	frexp(want, &e);
	return fabs((double)got - want) / ldexp(1.0, e - 24);
}

/* A sample of all floats: exp through swiglu's and attention's function, and the logarithm of LSE.
 */
static void test_exp_log(void **state)
{
	double worst_exp = 0, worst_log = 0;

	for (uint64_t u = 0; u < 0x100000000u; u += 20011) {
		float x = zw_f32_from_bits((uint32_t)u);

		if (x != x)
			continue;
		if (x > -104.0f && x < 88.73f)
			worst_exp = fmax(worst_exp, ulps(zw_expf(x), exp((double)x)));
		if (x > 0 && !isinf(x))
			worst_log = fmax(worst_log, ulps(zw_logf(x), log((double)x)));
	}
	/* The worst of all arguments, and the interesting range once more, densely. */
	worst_exp = fmax(worst_exp, ulps(zw_expf(0x1.da72c4p+5f), exp(0x1.da72c4p+5)));
	for (float x = -20; x < 20; x += 0x1.357p-13f)
		worst_exp = fmax(worst_exp, ulps(zw_expf(x), exp((double)x)));
	print_message("exp: %.3f ulp, log: %.3f ulp\n", worst_exp, worst_log);
	assert_true(worst_exp < 1.02);
	assert_true(worst_log < 1.0);
	assert_true(zw_expf(0) == 1.0f && zw_expf(-0.0f) == 1.0f);
	assert_true(zw_expf(-INFINITY) == 0.0f && zw_expf(INFINITY) == INFINITY &&
		    zw_expf(89) == INFINITY);
	assert_true(zw_expf(NAN) != zw_expf(NAN));
	assert_true(zw_expf(-104.0f) == 0 && zw_expf(-103.0f) == 0x1p-149f);
	assert_true(zw_logf(1) == 0 && zw_logf(0) == -INFINITY && zw_logf(INFINITY) == INFINITY);
	assert_true(zw_logf(-1) != zw_logf(-1) && zw_logf(NAN) != zw_logf(NAN));
}

/* Scalar and vector exp over many values, special ones included, by way of softmax rows and swiglu.
 */
static void test_exp_bits(void **state)
{
	static const uint32_t special[] = {
		0x00000000, 0x80000000, 0x7f800000, 0xff800000, 0x7fc00000, 0x00000001,
		0x80000001, 0x42b17218, 0x42b17217, 0x42b20000, 0xc2cff1b5, 0xc2ce8ed0,
		0xc2d00000, 0xc2aeac50, 0x7f7fffff, 0xff7fffff,
	};
	struct vec v;

	vec_init(&v, 1, 1, 20000, F32, F32, 0);
	for (size_t i = 0; i < 20000; i++) {
		float x = i < N_OF(special) ? zw_f32_from_bits(special[i])
					    : zw_f32_from_bits(k_rng());

		((float *)v.x)[i] = i % 2 && i > 50 ? 110 * k_uniform() : x;
	}
	v.swiglu = (struct zw_k_swiglu_args){
		.rows = 1, .n = 20000, .gate = IN(v), .up = INZ(v), .out = OUT(v)};
	k_all_configs(run_swiglu, &v, vec_reset, v.y, v.count * 4);
	vec_fini(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rmsnorm),         cmocka_unit_test(test_rmsnorm_in_place),
		cmocka_unit_test(test_rmsnorm_special), cmocka_unit_test(test_rope),
		cmocka_unit_test(test_rope_distance),   cmocka_unit_test(test_rope_refusals),
		cmocka_unit_test(test_swiglu_add),      cmocka_unit_test(test_gated_norm),
		cmocka_unit_test(test_mul_sigmoid),     cmocka_unit_test(test_pair_aliasing),
		cmocka_unit_test(test_softmax),         cmocka_unit_test(test_long_in_place),
		cmocka_unit_test(test_softmax_special), cmocka_unit_test(test_exp_log),
		cmocka_unit_test(test_exp_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

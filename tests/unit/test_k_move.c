// SPDX-License-Identifier: MIT
/* Kernels that move and choose: gather, convert, copy, fill, argmax, top-k. */
#include "test_k_util.h"

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

static const uint32_t dtypes[][2] = {{F32, F32}, {BF16, BF16}, {F32, BF16}, {BF16, F32},
				     {F16, F16}, {F16, F32},   {BF16, F16}};

struct move {
	struct zw_k_gather_args gather;
	struct zw_k_convert_args convert;
	struct zw_k_copy_args copy;
	struct zw_k_fill_args fill;
	struct zw_k_argmax_args argmax;
	struct zw_k_topk_args topk;
	void *out;
	size_t bytes;
};

static void reset(void *arg)
{
	struct move *m = arg;

	memset(m->out, 0x5a, m->bytes);
}

static int run_gather(void *arg, struct zw_pool *pool)
{
	return zw_k_gather(&((struct move *)arg)->gather, pool);
}

static int run_convert(void *arg, struct zw_pool *pool)
{
	return zw_k_convert(&((struct move *)arg)->convert, pool);
}

static int run_copy(void *arg, struct zw_pool *pool)
{
	return zw_k_copy(&((struct move *)arg)->copy, pool);
}

static int run_fill(void *arg, struct zw_pool *pool)
{
	return zw_k_fill(&((struct move *)arg)->fill, pool);
}

static int run_argmax(void *arg, struct zw_pool *pool)
{
	return zw_k_argmax(&((struct move *)arg)->argmax, pool);
}

static int run_topk(void *arg, struct zw_pool *pool)
{
	return zw_k_topk(&((struct move *)arg)->topk, pool);
}

/* Every F16 to its value and back; rounding between every two neighbours, and beyond the largest. */
static void test_f16(void **state)
{
	enum { N = 0x10000, HALVES = 0x7c00 };
	struct zw_pool *pool = zw_pool_new(0);
	uint16_t *h = malloc(N * 2), *back = malloc(3 * N * 2);
	float *f = malloc(3 * N * sizeof(float));
	const char *name;

	for (uint32_t i = 0; i < N; i++)
		h[i] = (uint16_t)i;
	for (int table = 0; k_use_table(table, &name); table++) {
		struct zw_k_convert_args args = {
			.rows = 1,
			.n = N,
			.src = {.ptr = h, .dtype = F16},
			.dst = {.ptr = f, .dtype = F32},
		};

		assert_int_equal(zw_k_convert(&args, pool), 0);
		for (uint32_t i = 0; i < N; i++) {
			int exp = (int)(i >> 10 & 31), man = (int)(i & 1023);
			double want = exp ? ldexp(man + 1024, exp - 25) : ldexp(man, -24);

			if (exp == 31 && man) {
				assert_int_equal(zw_f32_bits(f[i]), ZW_F32_NAN);
				continue;
			}
			want = exp == 31 ? (double)INFINITY : want;
			want = i & 0x8000 ? -want : want;
			assert_true((double)f[i] == want && !signbit(f[i]) == !signbit(want));
		}
		/* a half way number, the one before and the one after */
		for (uint32_t i = 0; i < HALVES; i++) {
			float lo = f[i], hi = i + 1 < HALVES ? f[i + 1] : 65536;
			float mid = (float)(((double)lo + (double)hi) / 2);

			f[N + 3 * i] = -nextafterf(mid, 0);
			f[N + 3 * i + 1] = mid;
			f[N + 3 * i + 2] = nextafterf(mid, INFINITY);
		}
		args.n = N + 3 * HALVES;
		args.src = (struct zw_k_in){.ptr = f, .dtype = F32};
		args.dst = (struct zw_k_out){.ptr = back, .dtype = F16};
		assert_int_equal(zw_k_convert(&args, pool), 0);
		for (uint32_t i = 0; i < N; i++)
			assert_int_equal(back[i], (i & 0x7fff) > 0x7c00 ? ZW_F16_NAN : i);
		for (uint32_t i = 0; i < HALVES; i++) {
			assert_int_equal(back[N + 3 * i], 0x8000 | i);
			assert_int_equal(back[N + 3 * i + 1], i + (i & 1));
			assert_int_equal(back[N + 3 * i + 2], i + 1);
		}
	}
	free(h);
	free(back);
	free(f);
	zw_pool_free(pool);
}

static void test_gather(void **state)
{
	static const int32_t ids[] = {3, 0, 99, 99, 7};

	for (size_t t = 0; t < N_OF(dtypes); t++)
		for (uint32_t n = 1; n < 20000; n = n * 9 + 1) {
			uint32_t tt = dtypes[t][0], to = dtypes[t][1];
			void *table = k_array(tt, 99 * (size_t)(n + 2) + n);
			struct move m = {.bytes = (4 * (size_t)(n + 1) + n) * k_size(to)};
			struct zw_k_fault fault;

			if (tt == to) /* a NaN with a payload travels unchanged */
				memset((char *)table + 3 * (size_t)(n + 2) * k_size(tt), 0xff,
				       k_size(tt));
			m.out = malloc(m.bytes);
			m.gather = (struct zw_k_gather_args){
				.rows = 5,
				.n = n,
				.vocab = 100,
				.ids = ids,
				.fault = &fault,
				.table = {.ptr = table, .dtype = tt, .ld = n + 2},
				.out = {.ptr = m.out, .dtype = to, .ld = n + 1},
			};
			k_all_configs(run_gather, &m, reset, m.out, m.bytes);
			for (size_t r = 0; r < 5; r++)
				for (size_t c = 0; c < n; c++) {
					size_t from = (size_t)ids[r] * (n + 2) + c;
					char want[4];

					if (tt == to)
						memcpy(want, (char *)table + from * k_size(tt),
						       k_size(tt));
					else
						k_set(want, to, 0, k_get(table, tt, from));
					assert_memory_equal((char *)m.out +
								    (r * (n + 1) + c) * k_size(to),
							    want, k_size(to));
				}
			assert_int_equal(((unsigned char *)m.out)[n * k_size(to)], 0x5a);
			free(table);
			free(m.out);
		}
}

static void test_gather_refusals(void **state)
{
	struct zw_pool *pool = zw_pool_new(2);
	int32_t ids[3] = {0, 4, 1};
	float *table = k_array(F32, 4 * 8), out[3 * 8];
	struct zw_k_fault fault = {0};
	struct zw_k_gather_args args = {
		.rows = 3,
		.n = 8,
		.vocab = 4,
		.ids = ids,
		.fault = &fault,
		.table = {.ptr = table, .dtype = F32, .ld = 8},
		.out = {.ptr = out, .dtype = F32, .ld = 8},
	};

	memset(out, 0x5a, sizeof(out));
	assert_int_equal(zw_k_gather(&args, pool), -ERANGE);
	assert_int_equal(fault.index, 1);
	assert_int_equal(fault.value, 4);
	ids[1] = INT32_MIN;
	assert_int_equal(zw_k_gather(&args, pool), -ERANGE);
	assert_int_equal(fault.value, INT32_MIN);
	args.fault = NULL;
	assert_int_equal(zw_k_gather(&args, pool), -ERANGE);
	ids[1] = 3;
	args.ids = NULL;
	assert_int_equal(zw_k_gather(&args, pool), -EINVAL);
	args.ids = (const int32_t *)(const void *)((const char *)ids + 2);
	args.rows = 1;
	assert_int_equal(zw_k_gather(&args, pool), -EINVAL);
	args.ids = ids;
	args.rows = 3;
	args.out.ptr = table + 8;
	assert_int_equal(zw_k_gather(&args, pool), -EINVAL);
	args.out.ptr = out;
	for (size_t i = 0; i < sizeof(out); i++)
		assert_int_equal(((unsigned char *)out)[i], 0x5a);
	args.vocab = 0;
	assert_int_equal(zw_k_gather(&args, pool), -ERANGE);
	free(table);
	zw_pool_free(pool);
}

static void test_convert(void **state)
{
	for (size_t t = 0; t < N_OF(dtypes); t++)
		for (uint32_t n = 1; n < 10000; n = n * 5 + 2) {
			uint32_t ts = dtypes[t][0], td = dtypes[t][1];
			void *src = k_array(ts, 6 * (size_t)n + n);
			struct move m = {.bytes = (6 * (size_t)(n + 3) + n) * k_size(td)};

			m.out = malloc(m.bytes);
			m.convert = (struct zw_k_convert_args){
				.rows = 7,
				.n = n,
				.src = {.ptr = src, .dtype = ts, .ld = n},
				.dst = {.ptr = m.out, .dtype = td, .ld = n + 3},
			};
			k_all_configs(run_convert, &m, reset, m.out, m.bytes);
			for (size_t r = 0; r < 7; r++)
				for (size_t c = 0; c < n; c++) {
					char want[4];

					k_set(want, td, 0, k_get(src, ts, r * n + c));
					assert_memory_equal((char *)m.out +
								    (r * (n + 3) + c) * k_size(td),
							    want, k_size(td));
				}
			free(src);
			free(m.out);
		}
}

static void test_copy_fill(void **state)
{
	static const uint64_t sizes[] = {1, 3, 64, 4097, 262144, 262145, 1000003};
	struct zw_pool *pool = zw_pool_new(2);

	for (size_t i = 0; i < N_OF(sizes); i++) {
		unsigned char *src = malloc(sizes[i] + 1);
		struct move m = {.bytes = sizes[i]};

		for (uint64_t b = 0; b <= sizes[i]; b++)
			src[b] = (unsigned char)k_rng();
		m.out = malloc(m.bytes);
		m.copy = (struct zw_k_copy_args){.dst = m.out, .src = src + 1, .bytes = m.bytes};
		k_all_configs(run_copy, &m, reset, m.out, m.bytes);
		assert_memory_equal(m.out, src + 1, m.bytes);
		m.fill = (struct zw_k_fill_args){
			.dst = m.out, .bytes = m.bytes, .pattern = 0xa1b2c3d4};
		k_all_configs(run_fill, &m, reset, m.out, m.bytes);
		for (uint64_t b = 0; b < m.bytes; b++)
			assert_int_equal(((unsigned char *)m.out)[b],
					 0xa1b2c3d4 >> (b % 4 * 8) & 0xff);
		m.copy.dst = src;
		assert_int_equal(zw_k_copy(&m.copy, pool), sizes[i] == 1 ? 0 : -EINVAL);
		m.copy.src = NULL;
		assert_int_equal(zw_k_copy(&m.copy, pool), -EINVAL);
		m.copy.bytes = 0;
		assert_int_equal(zw_k_copy(&m.copy, pool), 0);
		m.fill.bytes = UINT64_MAX;
		assert_int_equal(zw_k_fill(&m.fill, pool), -EINVAL);
		free(src);
		free(m.out);
	}
	zw_pool_free(pool);
}

/* Values with many ties, signed zeros, infinities and NaNs. */
static float tricky(void)
{
	static const float some[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN,
				     -NAN, 1.0f,  1.0f,     -1.0f};
	uint32_t r = k_rng() % 20;

	return r < N_OF(some) ? some[r] : (float)(int32_t)(k_rng() % 7) - 3.0f;
}

/* Whether element a of the row comes before element b. */
static bool before(const void *x, uint32_t dtype, size_t a, size_t b)
{
	float va = k_get(x, dtype, a), vb = k_get(x, dtype, b);
	bool na = va != va, nb = vb != vb;

	if (na != nb)
		return nb;
	if (!na && va != vb)
		return va > vb;
	return a < b;
}

static void test_argmax_topk(void **state)
{
	static const uint32_t ns[] = {1, 2, 7, 8, 100, 4095, 4096, 4097, 9000};

	for (uint32_t t = 0; t < 2; t++)
		for (size_t l = 0; l < N_OF(ns); l++)
			for (int kind = 0; kind < 3; kind++) {
				uint32_t n = ns[l], k = n < 50 ? n : 50, dtype = t ? BF16 : F32;
				void *x = k_array(dtype, 2 * (size_t)(n + 3) + n);
				int32_t *index;
				float *value;
				struct move m = {.bytes = 3 * (size_t)k * 8};

				for (size_t i = 0; kind && i < 2 * (size_t)(n + 3) + n; i++)
					k_set(x, dtype, i, kind == 1 ? tricky() : NAN);
				m.out = malloc(m.bytes);
				index = m.out;
				value = (float *)m.out + 3 * k;
				m.topk = (struct zw_k_topk_args){
					.rows = 3,
					.n = n,
					.k = k,
					.index = index,
					.value = value,
					.x = {.ptr = x, .dtype = dtype, .ld = n + 3},
				};
				k_all_configs(run_topk, &m, reset, m.out, m.bytes);
				for (size_t r = 0; r < 3; r++) {
					const char *row = (char *)x + r * (n + 3) * k_size(dtype);
					uint32_t better = 0;

					for (uint32_t i = 0; i < k; i++) {
						int32_t at = index[r * k + i];
						float v =
							zw_f32_canon(k_get(row, dtype, (size_t)at));

						assert_true(at >= 0 && (uint32_t)at < n);
						assert_memory_equal(&value[r * k + i], &v, 4);
						assert_true(i == 0 ||
							    before(row, dtype,
								   (size_t)index[r * k + i - 1],
								   (size_t)at));
					}
					/* Nothing left out comes before the last one taken. */
					for (uint32_t i = 0; i < n; i++)
						better += before(row, dtype, i,
								 (size_t)index[r * k + k - 1]);
					assert_int_equal(better, k - 1);
				}
				m.argmax = (struct zw_k_argmax_args){
					.rows = 3,
					.n = n,
					.index = index,
					.value = value,
					.x = m.topk.x,
				};
				k_all_configs(run_argmax, &m, reset, m.out, m.bytes);
				for (size_t r = 0; r < 3; r++) {
					const char *row = (char *)x + r * (n + 3) * k_size(dtype);
					float v = zw_f32_canon(k_get(row, dtype, (size_t)index[r]));

					assert_memory_equal(&value[r], &v, 4);
					for (uint32_t i = 0; i < n; i++)
						assert_false(
							before(row, dtype, i, (size_t)index[r]));
				}
				free(x);
				free(m.out);
			}
}

static void test_argmax_edges(void **state)
{
	static const struct {
		float x[4];
		int32_t want;
	} rows[] = {
		{{NAN, NAN, NAN, NAN}, 0},         {{NAN, -INFINITY, NAN, -INFINITY}, 1},
		{{-0.0f, 0.0f, -1, 0}, 0},         {{1, 2, 2, NAN}, 1},
		{{NAN, 5, INFINITY, INFINITY}, 2},
	};
	struct zw_pool *pool = zw_pool_new(0);
	int32_t index[ZW_K_TOPK_MAX + 1];
	float value[ZW_K_TOPK_MAX + 1];

	for (size_t i = 0; i < N_OF(rows); i++) {
		struct zw_k_argmax_args args = {
			.rows = 1,
			.n = 4,
			.index = index,
			.x = {.ptr = rows[i].x, .dtype = F32},
		};

		assert_int_equal(zw_k_argmax(&args, pool), 0);
		assert_int_equal(index[0], rows[i].want);
		args.n = 0;
		assert_int_equal(zw_k_argmax(&args, pool), -EINVAL);
		args.n = 4;
		args.index = NULL;
		assert_int_equal(zw_k_argmax(&args, pool), -EINVAL);
	}
	{
		float *x = k_array(F32, 2000);
		struct zw_k_topk_args args = {
			.rows = 1,
			.n = 2000,
			.k = ZW_K_TOPK_MAX,
			.index = index,
			.value = value,
			.x = {.ptr = x, .dtype = F32},
		};

		assert_int_equal(zw_k_topk(&args, pool), 0);
		args.k = ZW_K_TOPK_MAX + 1;
		assert_int_equal(zw_k_topk(&args, pool), -EINVAL);
		args.k = 0;
		assert_int_equal(zw_k_topk(&args, pool), -EINVAL);
		args.k = 3;
		args.n = 2;
		assert_int_equal(zw_k_topk(&args, pool), -EINVAL);
		args.n = 2000;
		args.value = NULL;
		assert_int_equal(zw_k_topk(&args, pool), -EINVAL);
		args.value = (float *)(void *)index;
		assert_int_equal(zw_k_topk(&args, pool), -EINVAL);
		args.value = x + 5;
		assert_int_equal(zw_k_topk(&args, pool), -EINVAL);
		free(x);
	}
	zw_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_f16),
		cmocka_unit_test(test_gather),
		cmocka_unit_test(test_gather_refusals),
		cmocka_unit_test(test_convert),
		cmocka_unit_test(test_copy_fill),
		cmocka_unit_test(test_argmax_topk),
		cmocka_unit_test(test_argmax_edges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

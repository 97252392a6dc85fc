// SPDX-License-Identifier: MIT
/* REORDER: results, bytes, indexes, refusals. */
#include <math.h>

#include "cp_packets.h"
#include "cp/zw_cp_int.h"

enum { ROWS = 5, N = 50, K = 70, LISTS = 4 };

/* Column k of list e is this one of x; columns may be named twice, and not at all. */
static int32_t place_of(uint32_t e, uint32_t k)
{
	return (int32_t)((k * 17 + e * 5) % N);
}

/* Row r goes by this list; list 2 is not used. */
static const int32_t list_of[ROWS] = {3, 0, 0, 1, 3};

static struct zw_pkt_reorder packet(struct cp_env *e, enum place p, uint32_t from, uint32_t to,
				    bool which)
{
	struct zw_pkt_reorder r = {.hdr = HDR(ZW_OP_REORDER, zw_pkt_reorder)};
	uint32_t lists = which ? LISTS : 1;

	r.x = tensor_gap(e, p, from, 6, ROWS, N, 0);
	r.order = tensor_gap(e, p, I32, 2, lists, K, 0);
	if (which)
		r.which = tensor_gap(e, p, I32, 3, ROWS, 1, 0);
	r.y = tensor_gap(e, p, to, 4, ROWS, K, 0);
	fill_random(e, &r.x);
	for (uint32_t l = 0; l < lists; l++) {
		for (uint32_t k = 0; k < K; k++)
			put_i(e, &r.order, l, k, place_of(l, k));
	}
	for (uint32_t i = 0; which && i < ROWS; i++)
		put_i(e, &r.which, i, 0, list_of[i]);
	return r;
}

/* The bytes between the rows of y are what env_clear() left. */
static void expect_gaps(struct cp_env *e, const struct zw_tensor *t)
{
	for (uint32_t r = 0; r + 1 < t->dim[0]; r++) {
		for (uint64_t b = at(t, r, 0, 0, 0) + t->dim[1] * esize(t->dtype);
		     b < at(t, r + 1, 0, 0, 0); b++)
			assert_int_equal(*env_byte(e, b), GUARD_BYTE);
	}
}

static void results(void **state)
{
	static const uint32_t types[] = {F32, BF16, F16};
	struct cp_env *e = *state;

	for (unsigned int t = 0; t < 9 * 2 * 3; t++) {
		uint32_t from = types[t % 3], to = types[t / 3 % 3], size = from == F32 ? 4 : 2;
		bool which = t / 9 % 2;
		struct zw_pkt_reorder r;

		env_clear(e);
		r = packet(e, (enum place)(t / 18), from, to, which);
		EMIT(e, r);
		env_run_ok(e);
		for (uint32_t i = 0; i < ROWS; i++) {
			for (uint32_t k = 0; k < K; k++) {
				uint64_t c =
					(uint64_t)place_of(which ? (uint32_t)list_of[i] : 0, k);
				float x = get_f(e, &r.x, i, c, 0, 0),
				      y = get_f(e, &r.y, i, k, 0, 0);

				if (from == to || to == F32)
					assert_true(x == y);
				else
					assert_true(fabsf(x - y) <= fabsf(x) * 0x1p-8f);
			}
		}
		expect_gaps(e, &r.y);
		/* the lists that rows go by, once each */
		assert_int_equal(e->result.hbm_read + e->result.sys_read,
				 ROWS * N * size + (which ? 3 * K * 4 + ROWS * 4 : K * 4));
		assert_int_equal(e->result.hbm_written + e->result.sys_written,
				 ROWS * K * (to == F32 ? 4 : 2));
	}
}

/* Bits that are moved stay what they are. */
static void payload(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_reorder r = packet(e, IN_HBM, BF16, BF16, false);
	const uint16_t nan = 0x7f81, bits = 0;
	uint16_t got = bits;

	env_put(e, r.x.va + 2ull * (uint64_t)place_of(0, 9), &nan, 2);
	EMIT(e, r);
	env_run_ok(e);
	env_get(e, r.y.va + 2 * 9, &got, 2);
	assert_int_equal(got, nan);
}

/* Only rows that count, and lists that they go by, have to make sense. */
static void fewer_rows(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_reorder r = packet(e, IN_HBM, BF16, F32, true);
	const uint32_t rows = 3;

	put_i(e, &r.order, 1, 0, -1);
	put_i(e, &r.order, 2, 0, N);
	put_i(e, &r.which, 4, 0, LISTS);
	r.hdr.rows_va = env_alloc(e, IN_HBM, 4);
	env_put(e, r.hdr.rows_va, &rows, 4);
	EMIT(e, r);
	env_run_ok(e);
	for (uint32_t k = 0; k < K; k++)
		assert_true(get_f(e, &r.y, 2, k, 0, 0) ==
			    get_f(e, &r.x, 2, (uint64_t)place_of(0, k), 0, 0));
	assert_int_equal(e->result.hbm_read, 3 * N * 2 + 2 * K * 4 + 3 * 4);
}

static void refusals(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_reorder r;

#define CASE(code, why, change)                                                                    \
	do {                                                                                       \
		env_clear(e);                                                                      \
		r = packet(e, IN_HBM, BF16, BF16, true);                                           \
		change;                                                                            \
		EMIT(e, r);                                                                        \
		env_run(e);                                                                        \
		assert_int_equal(e->job.status, code);                                             \
		assert_int_equal(e->job.reason, why);                                              \
	} while (0)
	CASE(ZW_JOB_INVALID, ZW_REASON_SHAPE, r.which = (struct zw_tensor){0});
	CASE(ZW_JOB_INVALID, ZW_REASON_SHAPE, r.which.dim[1] = 2);
	CASE(ZW_JOB_INVALID, ZW_REASON_SHAPE, r.y.dim[1] = K - 1);
	CASE(ZW_JOB_INVALID, ZW_REASON_DTYPE, r.order.dtype = F32);
	CASE(ZW_JOB_INVALID, ZW_REASON_LIMIT, r.order.dim[0] = ZW_CP_MAX_ORDER / K + 1);
	CASE(ZW_JOB_INVALID, ZW_REASON_OVERLAP, r.y.va = r.x.va);
	CASE(ZW_JOB_DATA, ZW_REASON_INDEX, put_i(e, &r.order, 1, K - 1, N));
	CASE(ZW_JOB_DATA, ZW_REASON_INDEX, put_i(e, &r.order, 0, 0, -1));
	CASE(ZW_JOB_DATA, ZW_REASON_INDEX, put_i(e, &r.which, 4, 0, LISTS));
	CASE(ZW_JOB_DATA, ZW_REASON_INDEX, put_i(e, &r.which, 0, 0, -1));
	CASE(ZW_JOB_OK, ZW_REASON_NONE, put_i(e, &r.order, 2, 0, N));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(results, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(payload, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(fewer_rows, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(refusals, env_setup, env_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

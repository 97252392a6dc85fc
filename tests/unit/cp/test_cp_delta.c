// SPDX-License-Identifier: MIT
/* Packets of recurrent layers: states in slots, runs of rows, forks, what is refused, what it costs. */
#include "cp/zw_cp_int.h"
#include "cp_packets.h"
#include <math.h>

#define EACH_PLACE(p) for (enum place p = IN_HBM; p <= IN_SYSTEM; env_clear(e), p++)

static void expect_near(double got, double want, unsigned int dtype)
{
	double bound = dtype == F32 ? 1e-4 : 1e-2;

	if (!(fabs(got - want) <= bound * (1 + fabs(want))))
		fail_msg("%g, not %g", got, want);
}

static void put_indexes(struct cp_env *e, const struct zw_tensor *t, const int32_t *v)
{
	for (uint32_t i = 0; i < t->dim[0]; i++)
		put_i(e, t, i, 0, v[i]);
}

static void expect_fails(struct cp_env *e, uint32_t status, uint32_t reason, const char *what)
{
	struct snapshot *s;

	if (!e->cmd_va) {
		e->cmd_va = env_alloc(e, IN_PAGES, CMD_MAX);
		e->result_va = env_alloc(e, IN_HBM, sizeof(e->result));
	}
	env_put(e, e->cmd_va, e->cmd, e->cmd_bytes);
	s = snapshot_take(e);
	env_run(e);
	if (e->job.status != status || e->job.reason != reason)
		fail_msg("%s: status %u reason %u, want %u %u", what, e->job.status, e->job.reason,
			 status, reason);
	assert_true(snapshot_same(e, s));
	e->cmd_bytes = 0;
}

/* -- CONV ----------------------------------------------------------------------------------------------- */

/*
 * Seven rows: a new sequence of two, one that goes on in slot 2, one that goes on in slot 3 (three rows),
 * and a second of slot 3 that takes another turn from there.
 */
enum { ROWS = 7, C = 21, K = 4, SLOTS = 6 };
static const int32_t pos[ROWS] = {0, 1, 9, 4, 5, 6, 4}, seq[ROWS] = {0, 0, 2, 3, 3, 3, 3};
static const int32_t dst[ROWS] = {-1, 0, 2, 1, -1, 4, 5};
static const uint32_t run_of[ROWS] = {0, 0, 2, 3, 3, 3, 6}; /* its first row */

static struct zw_pkt_conv make_conv(struct cp_env *e, enum place p, unsigned int dtype)
{
	struct zw_pkt_conv c = {.hdr = HDR(ZW_OP_CONV, zw_pkt_conv)};

	c.x = tensor_gap(e, p, dtype, 3, ROWS, C, 0);
	c.w = tensor(e, p, BF16, C, K, 0, 0);
	c.y = tensor_gap(e, p, BF16, 5, ROWS, C, 0);
	c.state = tensor_gap(e, p, dtype, 11, SLOTS, K - 1, C);
	c.pos = tensor(e, p, I32, ROWS, 0, 0, 0);
	c.seq = tensor(e, p, I32, ROWS, 0, 0, 0);
	c.dst = tensor(e, p, I32, ROWS, 0, 0, 0);
	fill_random(e, &c.x);
	fill_random(e, &c.w);
	fill_random(e, &c.state);
	put_indexes(e, &c.pos, pos);
	put_indexes(e, &c.seq, seq);
	put_indexes(e, &c.dst, dst);
	return c;
}

/* Input `back` rows before row r. */
static double conv_input(struct cp_env *e, const struct zw_pkt_conv *c, uint32_t r, uint32_t back,
			 uint32_t ch)
{
	uint32_t into = r - run_of[r];

	if (back <= into)
		return (double)get_f(e, &c->x, r - back, ch, 0, 0);
	if (!pos[run_of[r]])
		return 0;
	return (double)get_f(e, &c->state, (uint64_t)seq[r], K - 1 - (back - into), ch, 0);
}

static void conv(void **state)
{
	struct cp_env *e = *state;

	EACH_PLACE(p)
	{
		for (int f32 = 0; f32 < 2; f32++) {
			struct zw_pkt_conv c = make_conv(e, p, f32 ? F32 : BF16);
			static double want[ROWS][C], kept[ROWS][K - 1][C];
			uint64_t slot = (K - 1) * C * esize(c.state.dtype);

			for (uint32_t r = 0; r < ROWS; r++)
				for (uint32_t ch = 0; ch < C; ch++) {
					double v = 0;

					for (uint32_t i = 0; i < K; i++)
						v += (double)get_f(e, &c.w, ch, i, 0, 0) *
						     conv_input(e, &c, r, K - 1 - i, ch);
					want[r][ch] = v / (1 + exp(-v));
					for (uint32_t i = 0; i + 1 < K; i++)
						kept[r][i][ch] =
							conv_input(e, &c, r, K - 2 - i, ch);
				}
			EMIT(e, c);
			env_run_ok(e);
			for (uint32_t r = 0; r < ROWS; r++)
				for (uint32_t ch = 0; ch < C; ch++) {
					expect_near((double)get_f(e, &c.y, r, ch, 0, 0),
						    want[r][ch], BF16);
					for (uint32_t i = 0; i + 1 < K && dst[r] >= 0; i++)
						assert_true((double)get_f(e, &c.state,
									  (uint64_t)dst[r], i, ch,
									  0) == kept[r][i][ch]);
				}
			/* two slots read, five written; behind each of them is nobody's */
			assert_int_equal(e->result.hbm_read + e->result.sys_read,
					 2 * slot + ROWS * C * esize(c.x.dtype) + C * K * 2 +
						 3 * ROWS * 4);
			assert_int_equal(e->result.hbm_written + e->result.sys_written,
					 5 * slot + ROWS * C * 2);
			for (uint32_t s = 0; s + 1 < SLOTS; s++)
				for (uint64_t b = slot;
				     b < c.state.stride[0] * esize(c.state.dtype); b++)
					assert_int_equal(*env_byte(e, at(&c.state, s, 0, 0, 0) + b),
							 GUARD_BYTE);
		}
	}
}

/* Without dst the last row of a run leaves its state where it started; in pieces the bits are the same. */
static void conv_pieces(void **state)
{
	struct cp_env *e = *state;
	static uint8_t want[9 * C * 2], got[sizeof(want)];
	const uint32_t n = 9;

	for (uint32_t piece = n; piece; piece--) {
		struct zw_pkt_conv c = {.hdr = HDR(ZW_OP_CONV, zw_pkt_conv)}, part;

		e->rng = 7;
		c.x = random_tensor(e, IN_PAGES, BF16, n, C, 0, 0);
		c.w = random_tensor(e, IN_HBM, F32, C, K, 0, 0);
		c.y = tensor(e, IN_PAGES, BF16, n, C, 0, 0);
		c.state = random_tensor(e, IN_SYSTEM, BF16, 1, K - 1, C, 0);
		c.pos = tensor(e, IN_HBM, I32, n, 0, 0, 0);
		for (uint32_t r = 0; r < n; r++)
			put_i(e, &c.pos, r, 0, (int32_t)r);
		for (uint32_t r = 0; r < n; r += piece) {
			part = c;
			part.x.va += r * C * 2;
			part.y.va += r * C * 2;
			part.pos.va += r * 4;
			part.x.dim[0] = part.y.dim[0] = part.pos.dim[0] =
				n - r < piece ? n - r : piece;
			EMIT(e, part);
		}
		env_run_ok(e);
		env_get(e, c.y.va, got, sizeof(got));
		if (piece == n)
			memcpy(want, got, sizeof(got));
		assert_memory_equal(want, got, sizeof(got));
		env_clear(e);
	}
}

/* -- what both refuse ------------------------------------------------------------------------------------- */

static void bad_states(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_conv c = make_conv(e, IN_HBM, BF16);
#define FAILS(t, row, value)                                                                       \
	do {                                                                                       \
		int32_t old = get_i(e, &c.t, row, 0);                                              \
                                                                                                   \
		put_i(e, &c.t, row, 0, value);                                                     \
		EMIT(e, c);                                                                        \
		expect_fails(e, ZW_JOB_DATA, ZW_REASON_INDEX, #t " " #row " " #value);             \
		put_i(e, &c.t, row, 0, old);                                                       \
	} while (0)

	FAILS(pos, 6, -1);
	FAILS(pos, 0, INT32_MIN);
	FAILS(seq, 6, SLOTS);
	FAILS(seq, 0, -1);
	FAILS(dst, 6, SLOTS);
	FAILS(dst, 6, -2);
	FAILS(dst, 0, INT32_MIN);
	FAILS(dst, 0, 2); /* from which another run starts */
	FAILS(dst, 5, 3); /* from which its own run starts, and one more */
	/* a gap in a new sequence: it would go on from what its first row leaves */
	put_i(e, &c.dst, 0, 0, 0);
	FAILS(pos, 1, 2);
	put_i(e, &c.dst, 0, 0, -1);
	/* of two rows with one slot the later wins, and only that one is counted */
	put_i(e, &c.dst, 3, 0, 5);
	EMIT(e, c);
	env_run_ok(e);
	assert_int_equal(e->result.hbm_written, 4 * (K - 1) * C * 2 + ROWS * C * 2);
	for (uint32_t ch = 0; ch < C; ch++)
		assert_true(get_f(e, &c.state, 5, K - 2, ch, 0) == get_f(e, &c.x, 6, ch, 0, 0));
#undef FAILS
}

/* A pool of which only the slots in use are mapped. */
static void unmapped(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_conv c = make_conv(e, IN_HBM, BF16);
	const uint64_t slot = c.state.stride[0] * 2;

	/* slot 5 begins where the area ends */
	c.state.va = AREA_VA(IN_HBM) + AREA_BYTES - 5 * slot;
	e->no_guards = true;
	EMIT(e, c);
	env_run(e);
	assert_int_equal(e->job.status, ZW_JOB_FAULT);
	assert_int_equal(e->job.fault_va, AREA_VA(IN_HBM) + AREA_BYTES);
	assert_int_equal(e->job.fault_access, ZW_ACCESS_WRITE);
	e->cmd_bytes = 0;
	put_i(e, &c.dst, 6, 0, -1);
	EMIT(e, c);
	env_run_ok(e);
}

static void form(void **state)
{
	struct cp_env *e = *state;
	union any_packet ok, pk;
#define CASE(change, why)                                                                          \
	do {                                                                                       \
		pk = ok;                                                                           \
		change;                                                                            \
		emit(e, &pk, pk.hdr.size);                                                         \
		expect_fails(e, ZW_JOB_INVALID, why, #change);                                     \
	} while (0)

	make_packet(e, ZW_OP_CONV, IN_HBM, &ok);
	CASE(pk.conv.state.dim[1] = 2, ZW_REASON_SHAPE);
	CASE(pk.conv.w.dim[1] = 3, ZW_REASON_SHAPE);
	CASE((pk.conv.w.dim[1] = pk.conv.w.stride[0] = 17, pk.conv.state.dim[1] = 16,
	      pk.conv.state.stride[0] = 16 * pk.conv.state.dim[2]),
	     ZW_REASON_LIMIT);
	CASE(pk.conv.x.dtype = F32, ZW_REASON_DTYPE);
	CASE(pk.conv.state.dim[0] = ZW_CP_MAX_STATES + 1, ZW_REASON_LIMIT);
	CASE((pk.conv.state.stride[1] += 1, pk.conv.state.stride[0] *= 2), ZW_REASON_STRIDE);
	CASE(pk.conv.y.va = pk.conv.x.va + 2, ZW_REASON_OVERLAP);
	CASE(pk.conv.y.va = pk.conv.state.va, ZW_REASON_OVERLAP);
	CASE(pk.conv.state.va = pk.conv.pos.va, ZW_REASON_OVERLAP);
	CASE(pk.conv.reserved[63] = 1, ZW_REASON_RESERVED);
	CASE(pk.conv.x.dim[0] = pk.conv.y.dim[0] = pk.conv.pos.dim[0] = pk.conv.seq.dim[0] =
		     (1 << 20) + 1,
	     ZW_REASON_LIMIT);
#undef CASE
}

/* By hand from the profile 810e: packet 1 us, vector 20 TFLOPS; the memory is made fast. */
static void golden(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_conv c = make_conv(e, IN_HBM, BF16);

	e->profile.hbm_bw *= 1000;
	EMIT(e, c);
	env_run_ok(e);
	/* 7 * 21 elements of 2 * 4 + 7 operations: 2205 / 20e12, rounded up */
	assert_int_equal(e->result.busy_ps[ZW_ENGINE_DELTA], 1000000 + 111);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(conv, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(conv_pieces, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(bad_states, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(unmapped, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(form, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(golden, env_setup, env_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

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

/* -- DELTA ---------------------------------------------------------------------------------------------- */

enum { G = 2, H = 4, D = 6, E = 10 };

static struct zw_pkt_delta make_delta(struct cp_env *e, enum place p, unsigned int dtype)
{
	struct zw_pkt_delta x = {.hdr = HDR(ZW_OP_DELTA, zw_pkt_delta)};

	x.q = tensor_gap(e, p, dtype, 3, ROWS, G, D);
	x.k = tensor_gap(e, p, dtype, 1, ROWS, G, D);
	x.v = tensor_gap(e, p, dtype, 5, ROWS, H, E);
	x.a = tensor_gap(e, p, BF16, 2, ROWS, H, 0);
	x.b = tensor_gap(e, p, BF16, 4, ROWS, H, 0);
	x.a_log = tensor(e, p, F32, H, 0, 0, 0);
	x.dt_bias = tensor(e, p, BF16, H, 0, 0, 0);
	x.y = tensor_gap(e, p, BF16, 7, ROWS, H, E);
	x.state = tensor(e, p, F32, SLOTS, H, D, E);
	x.pos = tensor(e, p, I32, ROWS, 0, 0, 0);
	x.seq = tensor(e, p, I32, ROWS, 0, 0, 0);
	x.dst = tensor(e, p, I32, ROWS, 0, 0, 0);
	x.eps_f32 = zw_f32_bits(1e-6f);
	x.scale_f32 = zw_f32_bits(0.4f);
	fill_random(e, &x.q);
	fill_random(e, &x.k);
	fill_random(e, &x.v);
	fill_random(e, &x.a);
	fill_random(e, &x.b);
	fill_random(e, &x.a_log);
	fill_random(e, &x.dt_bias);
	fill_random(e, &x.state);
	put_indexes(e, &x.pos, pos);
	put_indexes(e, &x.seq, seq);
	put_indexes(e, &x.dst, dst);
	return x;
}

/* Row r of the rule for head h on the state s, in double precision. */
static void delta_row(struct cp_env *e, const struct zw_pkt_delta *x, uint32_t r, uint32_t h,
		      double s[D][E], double y[E])
{
	double q[D], k[D], qq = 1e-6, kk = 1e-6;
	double a = (double)get_f(e, &x->a, r, h, 0, 0) + (double)get_f(e, &x->dt_bias, h, 0, 0, 0);
	double alpha = exp(-exp((double)get_f(e, &x->a_log, h, 0, 0, 0)) * log1p(exp(a)));
	double beta = 1 / (1 + exp(-(double)get_f(e, &x->b, r, h, 0, 0)));

	for (uint32_t i = 0; i < D; i++) {
		q[i] = (double)get_f(e, &x->q, r, h / (H / G), i, 0);
		k[i] = (double)get_f(e, &x->k, r, h / (H / G), i, 0);
		qq += q[i] * q[i];
		kk += k[i] * k[i];
	}
	for (uint32_t c = 0; c < E; c++) {
		double m = 0;

		for (uint32_t i = 0; i < D; i++)
			m += k[i] / sqrt(kk) * (s[i][c] *= alpha);
		m = beta * ((double)get_f(e, &x->v, r, h, c, 0) - m);
		y[c] = 0;
		for (uint32_t i = 0; i < D; i++) {
			s[i][c] += k[i] / sqrt(kk) * m;
			y[c] += q[i] / sqrt(qq) * 0.4 * s[i][c];
		}
	}
}

static void delta(void **state)
{
	struct cp_env *e = *state;

	EACH_PLACE(p)
	{
		for (int in_place = 0; in_place < 2; in_place++) {
			struct zw_pkt_delta x = make_delta(e, p, in_place ? BF16 : F32);
			static double want[ROWS][H][E], kept[ROWS][H][D][E];
			const uint64_t slot = H * D * E * 4;

			if (in_place)
				x.y = x.v;
			for (uint32_t h = 0; h < H; h++)
				for (uint32_t r = 0; r < ROWS; r++) {
					double s[D][E];

					for (uint32_t i = 0; i < D * E; i++) {
						uint32_t d = i / E, c = i % E;

						s[d][c] = run_of[r] != r ? kept[r - 1][h][d][c]
							  : pos[r] ? (double)get_f(e, &x.state,
										   (uint64_t)seq[r],
										   h, d, c)
								   : 0;
					}
					delta_row(e, &x, r, h, s, want[r][h]);
					memcpy(kept[r][h], s, sizeof(s));
				}
			EMIT(e, x);
			env_run_ok(e);
			for (uint32_t r = 0; r < ROWS; r++)
				for (uint32_t h = 0; h < H; h++)
					for (uint32_t i = 0; i < D * E; i++) {
						uint32_t d = i / E, c = i % E;

						if (!d)
							expect_near(
								(double)get_f(e, &x.y, r, h, c, 0),
								want[r][h][c], BF16);
						if (dst[r] >= 0)
							expect_near((double)get_f(e, &x.state,
										  (uint64_t)dst[r],
										  h, d, c),
								    kept[r][h][d][c], F32);
					}
			assert_int_equal(e->result.hbm_read + e->result.sys_read,
					 2 * slot + (2 * G * D + H * E) * ROWS * esize(x.q.dtype) +
						 2 * ROWS * H * 2 + H * 6 + 3 * ROWS * 4);
			assert_int_equal(e->result.hbm_written + e->result.sys_written,
					 5 * slot + ROWS * H * E * 2);
		}
	}
}

/* The same bits whatever the workers, places and pieces. */
static void delta_same_bits(void **state)
{
	static const unsigned int workers[] = {0, 2, 4};
	static uint8_t want[9 * H * E * 2], got[sizeof(want)];
	const uint32_t n = 9;

	(void)state;
	for (uint32_t piece = n; piece; piece--) {
		struct cp_env *e = env_new("810e", workers[piece % 3]);
		enum place p = (enum place)(piece % 3);
		struct zw_pkt_delta x = {.hdr = HDR(ZW_OP_DELTA, zw_pkt_delta)}, part;

		e->rng = 7;
		x.q = random_tensor(e, p, BF16, n, G, D, 0);
		x.k = random_tensor(e, p, BF16, n, G, D, 0);
		x.v = random_tensor(e, p, BF16, n, H, E, 0);
		x.a = random_tensor(e, p, BF16, n, H, 0, 0);
		x.b = random_tensor(e, p, BF16, n, H, 0, 0);
		x.a_log = random_tensor(e, p, F32, H, 0, 0, 0);
		x.dt_bias = random_tensor(e, p, F32, H, 0, 0, 0);
		x.y = tensor(e, p, BF16, n, H, E, 0);
		x.state = random_tensor(e, p, F32, 1, H, D, E);
		x.pos = tensor(e, p, I32, n, 0, 0, 0);
		x.eps_f32 = zw_f32_bits(1e-6f);
		x.scale_f32 = zw_f32_bits(0.4f);
		for (uint32_t r = 0; r < n; r++)
			put_i(e, &x.pos, r, 0, (int32_t)r);
		for (uint32_t r = 0; r < n; r += piece) {
			uint32_t rows = n - r < piece ? n - r : piece;

			part = x;
			part.q.va += r * G * D * 2;
			part.k.va += r * G * D * 2;
			part.v.va += r * H * E * 2;
			part.a.va += r * H * 2;
			part.b.va += r * H * 2;
			part.y.va += r * H * E * 2;
			part.pos.va += r * 4;
			part.q.dim[0] = part.k.dim[0] = part.v.dim[0] = part.a.dim[0] =
				part.b.dim[0] = part.y.dim[0] = part.pos.dim[0] = rows;
			EMIT(e, part);
		}
		env_run_ok(e);
		env_get(e, x.y.va, got, sizeof(got));
		if (piece == n)
			memcpy(want, got, sizeof(got));
		assert_memory_equal(want, got, sizeof(got));
		env_free(e);
	}
}

/*
 * In chunks: a new sequence of 70 rows (64 and 6), and one that goes on at position 40 (24 and 56), whose
 * positions end at 119; the state behind row 10 is kept, too.
 */
enum { CHUNKED_ROWS = 150, FIRST = 70 };

static struct zw_pkt_delta make_chunked(struct cp_env *e, enum place p)
{
	struct zw_pkt_delta x = {.hdr = HDR(ZW_OP_DELTA, zw_pkt_delta)};

	e->rng = 7;
	x.hdr.flags = ZW_DELTA_F_CHUNKED;
	x.q = random_tensor(e, p, BF16, CHUNKED_ROWS, G, D, 0);
	x.k = random_tensor(e, p, BF16, CHUNKED_ROWS, G, D, 0);
	x.v = random_tensor(e, p, F32, CHUNKED_ROWS, H, E, 0);
	x.a = random_tensor(e, p, BF16, CHUNKED_ROWS, H, 0, 0);
	x.b = random_tensor(e, p, BF16, CHUNKED_ROWS, H, 0, 0);
	x.a_log = random_tensor(e, p, F32, H, 0, 0, 0);
	x.dt_bias = random_tensor(e, p, F32, H, 0, 0, 0);
	x.y = tensor(e, p, F32, CHUNKED_ROWS, H, E, 0);
	x.state = random_tensor(e, p, F32, 4, H, D, E);
	x.pos = tensor(e, p, I32, CHUNKED_ROWS, 0, 0, 0);
	x.seq = tensor(e, p, I32, CHUNKED_ROWS, 0, 0, 0);
	x.dst = tensor(e, p, I32, CHUNKED_ROWS, 0, 0, 0);
	x.eps_f32 = zw_f32_bits(1e-6f);
	x.scale_f32 = zw_f32_bits(0.4f);
	for (uint32_t r = 0; r < CHUNKED_ROWS; r++) {
		put_i(e, &x.pos, r, 0, (int32_t)(r < FIRST ? r : r - FIRST + 40));
		put_i(e, &x.seq, r, 0, r >= FIRST);
		put_i(e, &x.dst, r, 0,
		      r == 10                 ? 2
		      : r == FIRST - 1        ? 0
		      : r == CHUNKED_ROWS - 1 ? 3
					      : -1);
	}
	return x;
}

static void chunked(void **state)
{
	static uint8_t want[(CHUNKED_ROWS * H * E + 4 * H * D * E) * 4], got[sizeof(want)];
	static const unsigned int workers[] = {0, 2, 4};
	const uint32_t y_bytes = CHUNKED_ROWS * H * E * 4, s_bytes = 4 * H * D * E * 4;

	(void)state;
	for (unsigned int i = 0; i < 6; i++) {
		struct cp_env *e = env_new("810e", workers[i % 3]);
		enum place p = (enum place)(i % 3);
		struct zw_pkt_delta x = make_chunked(e, p);
		uint32_t differ = 0;

		/* the last time row by row: other bits, the same numbers */
		if (i == 5)
			x.hdr.flags = 0;
		EMIT(e, x);
		env_run_ok(e);
		env_get(e, x.y.va, got, y_bytes);
		env_get(e, x.state.va, got + y_bytes, s_bytes);
		if (!i)
			memcpy(want, got, sizeof(got));
		if (i < 5)
			assert_memory_equal(want, got, sizeof(got));
		for (uint32_t k = 0; k < sizeof(got) / 4 && i == 5; k++) {
			float a, b;

			memcpy(&a, want + 4 * k, 4);
			memcpy(&b, got + 4 * k, 4);
			differ += a != b;
			if (fabs((double)a - (double)b) > 2e-5)
				fail_msg("number %u: %g in chunks, %g row by row", k, (double)a,
					 (double)b);
		}
		assert_true(i < 5 || differ);
		/* slot 1 is read, three are written */
		assert_int_equal(e->result.hbm_read + e->result.sys_read,
				 H * D * E * 4 + CHUNKED_ROWS * (2 * G * D * 2 + H * E * 4) +
					 CHUNKED_ROWS * (2 * H * 2 + 3 * 4) + 2 * H * 4);
		assert_int_equal(e->result.hbm_written + e->result.sys_written,
				 3 * H * D * E * 4 + y_bytes);
		env_free(e);
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
	env_clear(e);
	make_packet(e, ZW_OP_DELTA, IN_HBM, &ok);
	CASE((pk.delta.q.dim[1] = pk.delta.k.dim[1] = 3,
	      pk.delta.q.stride[0] = pk.delta.k.stride[0] = 24),
	     ZW_REASON_SHAPE);
	CASE((pk.delta.q.dim[2] = pk.delta.k.dim[2] = pk.delta.state.dim[2] = ZW_K_DELTA_MAX + 1,
	      pk.delta.q.stride[1] = pk.delta.k.stride[1] = 2048,
	      pk.delta.q.stride[0] = pk.delta.k.stride[0] = 8192,
	      pk.delta.state.stride[1] = 1025 * 12, pk.delta.state.stride[0] = 4 * 1025 * 12),
	     ZW_REASON_LIMIT);
	CASE(pk.delta.state.dtype = BF16, ZW_REASON_DTYPE);
	CASE(pk.delta.state.dim[0] = ZW_CP_MAX_STATES + 1, ZW_REASON_LIMIT);
	CASE((pk.delta.state.stride[1] += 12, pk.delta.state.stride[0] *= 2), ZW_REASON_STRIDE);
	CASE((pk.delta.state.stride[2] += 1, pk.delta.state.stride[1] *= 2,
	      pk.delta.state.stride[0] *= 2),
	     ZW_REASON_STRIDE);
	CASE(pk.delta.scale_f32 = 0, ZW_REASON_VALUE);
	CASE(pk.delta.eps_f32 = 0x80000000, ZW_REASON_VALUE);
	CASE(pk.delta.y = pk.delta.q, ZW_REASON_SHAPE);
	CASE(pk.delta.y.va = pk.delta.v.va + 2, ZW_REASON_OVERLAP);
	CASE(pk.delta.y.va = pk.delta.state.va, ZW_REASON_OVERLAP);
	CASE(pk.delta.reserved[135] = 1, ZW_REASON_RESERVED);
#undef CASE
}

/* By hand (env_plain()): packet 1 us, vector 20 TFLOPS; the memory is made fast. */
static void golden(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_conv c = make_conv(e, IN_HBM, BF16);
	struct zw_pkt_delta x;

	e->profile.hbm_bw *= 1000;
	EMIT(e, c);
	env_run_ok(e);
	/* 7 * 21 elements of 2 * 4 + 7 operations: 2205 / 20e12, rounded up */
	assert_int_equal(e->result.busy_ps[ZW_ENGINE_DELTA], 1000000 + 111);
	x = make_delta(e, IN_HBM, BF16);
	EMIT(e, x);
	env_run_ok(e);
	/* 7 rows of 4 heads of 7 * 6 * 10 + 8 * 6 operations: 13104 / 20e12, rounded up */
	assert_int_equal(e->result.busy_ps[ZW_ENGINE_DELTA], 1000000 + 656);
	env_clear(e);
	/*
	 * Products of F32 at 75 TFLOPS * 0.85, all heads at once, in the tiles that do best, 64 deep (4 x 16: 129 ps). A
	 * chunk of 64 rows: 2 heads of k, 128 x 64, in 64 tiles of 8 x 32; 4 of v, 128 x 10, in 128 of 4 x 16; 4 results,
	 * 64 x 10, in 64 of 4 x 16; 8 states, the one behind it and the one behind row 10, 6 x 10, in 24 of 2 x 16;
	 * vector 4 (64 * 63 * 10 + 2 * 64^2 + 64 * 88) / 20e12. One of 56 rows: 196 tiles of 8 x 8, 112 and 56 of 4 x 16,
	 * one state; 4 (56 * 55 * 10 + 2 * 56^2 + 56 * 88). 30 rows one by one: 56160 / 20e12.
	 */
	x = make_chunked(e, IN_HBM);
	EMIT(e, x);
	env_run_ok(e);
	assert_int_equal(e->result.busy_ps[ZW_ENGINE_DELTA],
			 1000000 + 64 * 515 + (128 + 64) * 129 + 24 * 65 + 10829 +
				 (196 + 112 + 56) * 129 + 12 * 65 + 8400 + 2808);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(conv, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(conv_pieces, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(delta, env_setup, env_teardown),
		cmocka_unit_test(delta_same_bits),
		cmocka_unit_test(chunked),
		cmocka_unit_test_setup_teardown(bad_states, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(unmapped, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(form, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(golden, env_setup_plain, env_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

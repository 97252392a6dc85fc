// SPDX-License-Identifier: MIT
/* Packets of a mixture of experts: results against double precision, what is read, what it costs. */
#include "cp_packets.h"
#include <math.h>

#define EACH_PLACE(p) for (enum place p = IN_HBM; p <= IN_SYSTEM; env_clear(e), p++)

static void expect_near(double got, double want, unsigned int dtype)
{
	double bound = dtype == F32 ? 1e-4 : 1e-2;

	if (!(fabs(got - want) <= bound * (1 + fabs(want))))
		fail_msg("%g, not %g", got, want);
}

static void expect_gaps(struct cp_env *e, const struct zw_tensor *t)
{
	uint64_t end = t->ndim == 3 ? t->dim[1] * t->stride[1] : t->dim[1];

	for (uint32_t i = 0; i < t->dim[0]; i++)
		for (uint64_t j = end * esize(t->dtype); j < t->stride[0] * esize(t->dtype); j++)
			assert_int_equal(*env_byte(e, at(t, i, 0, 0, 0) + j), GUARD_BYTE);
}

static void route(void **state)
{
	struct cp_env *e = *state;
	const uint32_t m = 5, n = 37, k = 6;

	EACH_PLACE(p)
	{
		for (int renorm = 0; renorm < 2; renorm++) {
			struct zw_pkt_route r = {.hdr = HDR(ZW_OP_ROUTE, zw_pkt_route)};

			r.hdr.flags = renorm ? ZW_ROUTE_F_RENORM : 0;
			r.x = tensor_gap(e, p, renorm ? BF16 : F32, 3, m, n, 0);
			r.weights = tensor_gap(e, p, F32, 2, m, k, 0);
			r.ids = tensor_gap(e, p, I32, 4, m, k, 0);
			fill_random(e, &r.x);
			put_f(e, &r.x, 1, 30, 0, 0, 5);
			put_f(e, &r.x, 1, 7, 0, 0, 5); /* equals: the lower index first */
			EMIT(e, r);
			env_run_ok(e);
			assert_int_equal(get_i(e, &r.ids, 1, 0), 7);
			assert_int_equal(get_i(e, &r.ids, 1, 1), 30);
			for (uint32_t i = 0; i < m; i++) {
				double all = 0, chosen = 0;

				for (uint32_t j = 0; j < n; j++)
					all += exp((double)get_f(e, &r.x, i, j, 0, 0));
				for (uint32_t j = 0; j < k; j++) {
					uint64_t id = (uint64_t)get_i(e, &r.ids, i, j);

					chosen += exp((double)get_f(e, &r.x, i, id, 0, 0)) / all;
				}
				for (uint32_t j = 0; j < k; j++) {
					uint64_t id = (uint64_t)get_i(e, &r.ids, i, j);
					float x = get_f(e, &r.x, i, id, 0, 0);
					double w = exp((double)x) / all;
					unsigned int above = 0;

					expect_near((double)get_f(e, &r.weights, i, j, 0, 0),
						    renorm ? w / chosen : w, F32);
					for (uint32_t c = 0; c < n; c++)
						above += get_f(e, &r.x, i, c, 0, 0) > x;
					assert_true(above <= j);
				}
			}
			expect_gaps(e, &r.weights);
			expect_gaps(e, &r.ids);
			assert_int_equal(e->result.hbm_read + e->result.sys_read,
					 m * n * esize(r.x.dtype));
			assert_int_equal(e->result.hbm_written + e->result.sys_written, m * k * 8);
		}
	}
}

/* a [M,K] to c [M,T,N], and back: a [M,T,K], c [M,N]. */
enum { M = 5, T = 3, E = 6, N = 19, K = 40 };
static const int32_t ids[M][T] = {{4, 0, 1}, {0, 4, 2}, {1, 4, 4}, {2, 1, 0}, {4, 2, 0}};
#define HIT 4 /* 3 and 5 are not */

static struct zw_pkt_gemm_experts make(struct cp_env *e, enum place p, bool scatter)
{
	struct zw_pkt_gemm_experts g = {.hdr = HDR(ZW_OP_GEMM_EXPERTS, zw_pkt_gemm_experts)};

	g.w = tensor(e, p, BF16, E, N + 2, K, 0);
	g.w.dim[1] = N; /* rows between the matrices that are none of theirs */
	g.ids = tensor_gap(e, p, I32, 2, M, T, 0);
	for (uint32_t i = 0; i < M; i++)
		for (uint32_t j = 0; j < T; j++)
			put_i(e, &g.ids, i, j, ids[i][j]);
	if (scatter) {
		g.hdr.flags = ZW_EXPERTS_F_SCATTER;
		g.a = tensor_gap(e, p, BF16, 3, M, T, K);
		g.c = tensor_gap(e, p, F32, 5, M, N, 0);
		g.residual = tensor(e, p, BF16, M, N, 0, 0);
		g.weights = tensor_gap(e, p, F32, 1, M, T, 0);
		fill_random(e, &g.residual);
		fill_random(e, &g.weights);
	} else {
		g.a = tensor_gap(e, p, F32, 3, M, K, 0);
		g.c = tensor_gap(e, p, BF16, 7, M, T, N);
	}
	fill_random(e, &g.a);
	fill_random(e, &g.w);
	return g;
}

static double dot(struct cp_env *e, const struct zw_pkt_gemm_experts *g, uint32_t i, uint32_t j,
		  uint32_t n)
{
	bool scatter = g->hdr.flags & ZW_EXPERTS_F_SCATTER;
	double v = 0;

	for (uint32_t k = 0; k < K; k++)
		v += (double)(scatter ? get_f(e, &g->a, i, j, k, 0) : get_f(e, &g->a, i, k, 0, 0)) *
		     (double)get_f(e, &g->w, (uint64_t)ids[i][j], n, k, 0);
	return v;
}

static void experts(void **state)
{
	struct cp_env *e = *state;

	EACH_PLACE(p)
	{
		for (int scatter = 0; scatter < 2; scatter++) {
			struct zw_pkt_gemm_experts g = make(e, p, scatter);
			uint64_t a = M * (scatter ? T * K * 2 : K * 4);
			uint64_t more = scatter ? M * N * 2 + M * T * 4 : 0;

			EMIT(e, g);
			env_run_ok(e);
			for (uint32_t i = 0; i < M; i++)
				for (uint32_t n = 0; n < N; n++) {
					double sum =
						scatter ? (double)get_f(e, &g.residual, i, n, 0, 0)
							: 0;

					for (uint32_t j = 0; j < T && scatter; j++)
						sum += (double)get_f(e, &g.weights, i, j, 0, 0) *
						       dot(e, &g, i, j, n);
					for (uint32_t j = 0; j < T && !scatter; j++)
						expect_near((double)get_f(e, &g.c, i, j, n, 0),
							    dot(e, &g, i, j, n), BF16);
					if (scatter)
						expect_near((double)get_f(e, &g.c, i, n, 0, 0), sum,
							    F32);
				}
			expect_gaps(e, &g.c);
			/* the matrices that were hit, each of them once, and nothing else of w */
			assert_int_equal(e->result.hbm_read + e->result.sys_read,
					 a + more + HIT * N * K * 2 + M * T * 4);
		}
	}
}

/* The same bits with fewer rows, and none beyond them. */
static void rows(void **state)
{
	struct cp_env *e = *state;

	for (int scatter = 0; scatter < 2; scatter++) {
		struct zw_pkt_gemm_experts g = make(e, IN_PAGES, scatter);
		static uint8_t whole[4096], part[4096];
		uint64_t row = g.c.stride[0] * esize(g.c.dtype);
		const uint32_t two = 2;

		EMIT(e, g);
		env_run_ok(e);
		assert_true(M * row <= sizeof(whole));
		env_get(e, g.c.va, whole, (M - 1) * row);
		for (uint64_t i = 0; i < (M - 1) * row; i++)
			*env_byte(e, g.c.va + i) = GUARD_BYTE;
		g.hdr.rows_va = env_alloc(e, IN_SYSTEM, 4);
		env_put(e, g.hdr.rows_va, &two, 4);
		EMIT(e, g);
		env_run_ok(e);
		env_get(e, g.c.va, part, (M - 1) * row);
		assert_memory_equal(whole, part, 2 * row);
		for (uint64_t i = 2 * row; i < (M - 1) * row; i++)
			assert_int_equal(part[i], GUARD_BYTE);
		/* 4, 0, 1, 2: the third row's are the same */
		assert_int_equal(e->result.hbm_read, 2 * (scatter ? T * K * 2 : K * 4) +
							     HIT * N * K * 2 + 2 * T * 4 +
							     (scatter ? 2 * N * 2 + 2 * T * 4 : 0));
		env_clear(e);
	}
}

/* Experts that nobody names need not be mapped; of one that is named, the address is told. */
static void unmapped(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_gemm_experts g = make(e, IN_HBM, false);
	const uint64_t matrix = (N + 2) * K * 2;

	/* expert 5 begins where the area ends */
	g.w.va = AREA_VA(IN_HBM) + AREA_BYTES - 5 * matrix;
	e->no_guards = true;
	EMIT(e, g);
	env_run_ok(e);
	put_i(e, &g.ids, 3, 1, 5);
	EMIT(e, g);
	env_run(e);
	assert_int_equal(e->job.status, ZW_JOB_FAULT);
	assert_int_equal(e->job.fault_va, AREA_VA(IN_HBM) + AREA_BYTES);
}

/* The bits do not depend on where operands lie, in how many pieces, nor on the number of workers. */
static void same_bits(void **state)
{
	static const unsigned int workers[] = {0, 2, 4};
	/* rows, experts of a row, experts, n, k; a matrix of the second: 155 pages, panels of 128 */
	static const uint32_t shapes[][5] = {{24, 2, 3, 300, 300}, {4, 1, 1, 310, 1024}};
	static uint8_t want[2][24 * 300 * 4], got[sizeof(want[0])];

	(void)state;
	for (unsigned int w = 0; w < 6; w++) {
		struct cp_env *e = env_new("810e", workers[w / 2]);
		const uint32_t *s = shapes[w % 2];

		EACH_PLACE(p)
		{
			struct zw_pkt_gemm_experts g = {
				.hdr = HDR(ZW_OP_GEMM_EXPERTS, zw_pkt_gemm_experts)};

			e->rng = 42;
			g.hdr.flags = ZW_EXPERTS_F_SCATTER;
			g.a = random_tensor(e, p, BF16, s[0], s[1], s[4], 0);
			g.w = random_tensor(e, p, BF16, s[2], s[3], s[4], 0);
			g.ids = tensor(e, p, I32, s[0], s[1], 0, 0);
			g.c = tensor(e, p, F32, s[0], s[3], 0, 0);
			for (uint32_t i = 0; i < s[0] * s[1]; i++)
				put_i(e, &g.ids, i / s[1], i % s[1], (int32_t)(i * 7 % 5 % s[2]));
			EMIT(e, g);
			e->cmd_va = env_alloc(e, IN_SYSTEM, 4096);
			e->result_va = env_alloc(e, IN_SYSTEM, sizeof(e->result));
			env_run_ok(e);
			env_get(e, g.c.va, got, s[0] * s[3] * 4);
			if (w < 2 && p == IN_HBM)
				memcpy(want[w], got, sizeof(got));
			assert_memory_equal(got, want[w % 2], s[0] * s[3] * 4);
		}
		env_free(e);
	}
}

/* An activation that is gated head by head, wherever the heads lie. */
static void swiglu(void **state)
{
	struct cp_env *e = *state;
	enum { ROWS = 3, H = 4, I = 10 };

	EACH_PLACE(p)
	{
		for (int apart = 0; apart < 2; apart++) {
			struct zw_pkt_swiglu s = {.hdr = HDR(ZW_OP_SWIGLU, zw_pkt_swiglu)};
			struct zw_tensor both =
				tensor_gap(e, p, BF16, apart ? 6 : 0, ROWS, H, 2 * I);
			double want[ROWS][H][I];

			fill_random(e, &both);
			s.gate = s.up = both;
			s.gate.dim[2] = s.up.dim[2] = I;
			s.up.va += I * 2;
			s.y = tensor_gap(e, p, BF16, apart ? 3 : 0, ROWS, H, I);
			for (int i = 0; i < ROWS * H * I; i++) {
				uint32_t r = (uint32_t)i / (H * I), h = (uint32_t)i / I % H,
					 c = (uint32_t)i % I;
				double g = (double)get_f(e, &s.gate, r, h, c, 0);

				want[r][h][c] =
					g / (1 + exp(-g)) * (double)get_f(e, &s.up, r, h, c, 0);
			}
			EMIT(e, s);
			env_run_ok(e);
			for (uint32_t i = 0; i < ROWS * H * I; i++)
				expect_near(
					(double)get_f(e, &s.y, i / (H * I), i / I % H, i % I, 0),
					want[i / (H * I)][i / I % H][i % I], BF16);
			expect_gaps(e, &s.y);
			assert_int_equal(e->result.hbm_written + e->result.sys_written,
					 ROWS * H * I * 2);
		}
	}
}

/*
 * By hand (env_plain()): packet 1 us, HBM 1.5 bytes/ps, tensor 255 TFLOPS in BF16, tiles of up to 8 x 32 x 64, vector 20
 * TFLOPS.
 */
static void golden(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_gemm_experts g = {.hdr = HDR(ZW_OP_GEMM_EXPERTS, zw_pkt_gemm_experts)};
	struct zw_pkt_route r = {.hdr = HDR(ZW_OP_ROUTE, zw_pkt_route)};
	uint64_t bytes = 70 * 128 * 2 + 3 * 256 * 128 * 2 + 70 * 4 + 70 * 256 * 2;

	/* 66 rows for expert 0, two for 2, two for 3, of 4 */
	g.a = random_tensor(e, IN_HBM, BF16, 70, 128, 0, 0);
	g.w = random_tensor(e, IN_HBM, BF16, 4, 256, 128, 0);
	g.ids = tensor(e, IN_HBM, I32, 70, 1, 0, 0);
	g.c = tensor(e, IN_HBM, BF16, 70, 1, 256, 0);
	for (uint32_t i = 0; i < 70; i++)
		put_i(e, &g.ids, i, 0, i < 66 ? 0 : i < 68 ? 2 : 3);
	EMIT(e, g);
	env_run_ok(e);
	assert_int_equal(e->result.hbm_read + e->result.hbm_written, bytes);
	/* 250,648 bytes / 1.5 = 167,099 ps; (33 + 1 + 1) x 8 tiles of 2 x 32 in 65 ps each */
	assert_int_equal(e->result.busy_ps[ZW_ENGINE_TENSOR], 1000000 + 167099);
	e->profile.hbm_bw *= 1000;
	EMIT(e, g);
	env_run_ok(e);
	assert_int_equal(e->result.busy_ps[ZW_ENGINE_TENSOR], 1000000 + 35 * 8 * 65);
	/* 50 * 30 * 8 / 20e12 = 600 ps */
	r.x = random_tensor(e, IN_HBM, F32, 50, 30, 0, 0);
	r.weights = tensor(e, IN_HBM, F32, 50, 2, 0, 0);
	r.ids = tensor(e, IN_HBM, I32, 50, 2, 0, 0);
	EMIT(e, r);
	env_run_ok(e);
	assert_int_equal(e->result.busy_ps[ZW_ENGINE_VECTOR], 1000000 + 600);
}

static void last_experts(void *opaque, uint32_t rows, uint32_t experts, uint32_t k, int32_t *ids)
{
	uint32_t *calls = opaque;

	calls[0]++;
	for (uint32_t i = 0; i < rows; i++)
		for (uint32_t j = 0; j < k; j++)
			ids[i * k + j] = (int32_t)(experts - 1 - j);
}

static void on_routed(void *opaque, uint32_t rows, uint32_t k, const int32_t *ids, uint64_t ld)
{
	int32_t *seen = opaque;

	for (uint32_t i = 0; i < rows; i++)
		memcpy(seen + i * k, ids + i * ld, k * sizeof(*ids));
}

static void timing_cp(struct cp_env *e, struct zw_cp_config cc)
{
	zw_cp_free(e->cp);
	cc.profile = &e->profile;
	cc.mmu = e->mmu;
	cc.pool = e->pool;
	cc.pmu = &e->pmu;
	e->cp = zw_cp_new(&cc);
}

/*
 * Where nothing is computed the ids of ROUTE are those that the host gives, and what comes behind it takes what it takes
 * with these; where it is, the host is told what was chosen. Memory of all kinds, rows of ids with gaps.
 */
static void routed_by_host(void **state)
{
	struct cp_env *e = *state;

	for (int p = IN_HBM; p <= IN_SYSTEM; p++) {
		struct zw_pkt_route r = {.hdr = HDR(ZW_OP_ROUTE, zw_pkt_route)};
		struct zw_pkt_gemm_experts g = {
			.hdr = HDR(ZW_OP_GEMM_EXPERTS, zw_pkt_gemm_experts)};
		int32_t seen[5 * 2], before[5 * 32], after[5 * 32];
		struct zw_job_result computed;
		uint32_t calls = 0;
		uint64_t ld;

		env_clear(e);
		r.x = random_tensor(e, p, F32, 5, 9, 0, 0);
		r.weights = tensor(e, p, F32, 5, 2, 0, 0);
		r.ids = tensor(e, p, I32, 5, 7, 0, 0);
		ld = r.ids.stride[0];
		assert_in_range(ld, 7, 32);
		r.ids.dim[1] = 2;
		g.a = random_tensor(e, p, BF16, 5, 64, 0, 0);
		g.w = random_tensor(e, p, BF16, 9, 48, 64, 0);
		g.ids = r.ids;
		g.c = tensor(e, p, BF16, 5, 2, 48, 0);
		timing_cp(e, (struct zw_cp_config){.routed = on_routed, .route_opaque = seen});
		EMIT(e, r);
		EMIT(e, g);
		env_run_ok(e);
		computed = e->result;
		for (uint32_t i = 0; i < 10; i++)
			assert_int_equal(seen[i], get_i(e, &r.ids, i / 2, i % 2));
		env_get(e, r.ids.va, before, (4 * ld + 7) * 4);

		timing_cp(e, (struct zw_cp_config){.timing_only = true,
						   .route = last_experts,
						   .route_opaque = &calls});
		e->cmd_bytes = 0;
		EMIT(e, r);
		EMIT(e, g);
		env_run_ok(e);
		assert_int_equal(calls, 1);
		for (uint32_t i = 0; i < 5; i++) {
			assert_int_equal(get_i(e, &r.ids, i, 0), 8);
			assert_int_equal(get_i(e, &r.ids, i, 1), 7);
		}
		/* two experts of those that there were */
		assert_true(e->result.hbm_read + e->result.sys_read <
			    computed.hbm_read + computed.sys_read);
		env_get(e, r.ids.va, after, (4 * ld + 7) * 4);
		for (uint64_t i = 0; i < 4 * ld + 7; i++)
			if (i % ld >= 2)
				assert_int_equal(after[i], before[i]);
	}
}

/* What does not fit on the chip is read again, expert by expert. */
static void sram(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_gemm_experts g = {.hdr = HDR(ZW_OP_GEMM_EXPERTS, zw_pkt_gemm_experts)};
	const uint64_t row = 64 * 2, w = 32 * 64 * 2; /* of a; a matrix: 4096 bytes */
	/* Two experts of eight rows, T = 2: a has 8 rows (1024 bytes), 8 pairs for each */
	static const struct {
		uint64_t sram, rows_a, passes_w;
	} cases[] = {
		{1 << 20, 8, 2}, {2048, 8, 2}, /* all of a in half of it */
		{2046, 16, 4}, /* 1023 bytes: 8 rows of an expert in two blocks, its matrix twice */
		{1024, 16, 4},   {680, 16, 8},
	};

	g.a = random_tensor(e, IN_HBM, BF16, 8, 64, 0, 0);
	g.w = random_tensor(e, IN_SYSTEM, BF16, 3, 32, 64, 0);
	g.ids = tensor(e, IN_SYSTEM, I32, 8, 2, 0, 0);
	g.c = tensor(e, IN_SYSTEM, F32, 8, 2, 32, 0);
	for (uint32_t i = 0; i < 16; i++)
		put_i(e, &g.ids, i / 2, i % 2, i % 2 ? 2 : 0);
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		e->profile.sram_bytes = cases[i].sram;
		EMIT(e, g);
		env_run_ok(e);
		assert_int_equal(e->result.hbm_read, cases[i].rows_a * row);
		assert_int_equal(e->result.sys_read, cases[i].passes_w * w + 8 * 2 * 4);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(route, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(experts, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(rows, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(unmapped, env_setup, env_teardown),
		cmocka_unit_test(same_bits),
		cmocka_unit_test_setup_teardown(swiglu, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(golden, env_setup_plain, env_teardown),
		cmocka_unit_test_setup_teardown(sram, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(routed_by_host, env_setup, env_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

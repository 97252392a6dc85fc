// SPDX-License-Identifier: MIT
/* Every packet: what it computes, from and to every kind of memory, in place and with gaps. */
#include <math.h>

#include "cp/zw_cp_int.h"
#include "cp_env.h"

static const enum place places[] = {IN_HBM, IN_PAGES, IN_SYSTEM};
#define EACH_PLACE(p)                                                                              \
	for (enum place p, *p_ = (enum place *)places; p_ < places + 3 && (p = *p_, true);         \
	     p_++, env_clear(e))

static void expect_near(double got, double want, unsigned int dtype, double scale)
{
	double tol = (dtype == BF16 ? 0x1p-8 : 0x1p-18) * (fabs(want) + scale);

	if (!(fabs(got - want) <= tol))
		print_error("got %.9g, want %.9g +- %.3g\n", got, want, tol);
	assert_true(fabs(got - want) <= tol);
}

static struct zw_tensor random_tensor_at(struct cp_env *e, enum place p, unsigned int dtype,
					 uint32_t d0, uint32_t d1)
{
	struct zw_tensor t = tensor(e, p, dtype, d0, d1, 0, 0);

	fill_random(e, &t);
	return t;
}

/* Nothing but rows of t changed: the bytes between its rows are what env_clear() left. */
static void expect_gaps(struct cp_env *e, const struct zw_tensor *t)
{
	uint64_t width = (t->ndim == 3 ? (t->dim[1] - 1) * t->stride[1] + t->dim[2] : t->dim[1]) *
			 esize(t->dtype);

	for (uint32_t r = 0; r + 1 < t->dim[0]; r++)
		for (uint64_t b = at(t, r, 0, 0, 0) + width; b < at(t, r + 1, 0, 0, 0); b++)
			assert_int_equal(*env_byte(e, b), GUARD_BYTE);
}

static void gemm(void **state)
{
	struct cp_env *e = *state;
	const uint32_t m = 5, n = 37, k = 70;

	EACH_PLACE(p)
	{
		for (int variant = 0; variant < 4; variant++) {
			unsigned int da = variant & 1 ? F32 : BF16, dc = variant & 2 ? F32 : BF16;
			struct zw_pkt_gemm g = {.hdr = HDR(ZW_OP_GEMM, zw_pkt_gemm)};

			g.a = tensor_gap(e, p, da, 3, m, k, 0);
			g.w = tensor(e, p, BF16, n, k, 0, 0);
			g.c = tensor_gap(e, p, dc, 9, m, n, 0);
			g.bias = tensor(e, p, BF16, n, 0, 0, 0);
			if (variant == 3)
				g.residual = g.c; /* in place */
			else if (variant)
				g.residual = tensor(e, p, F32, m, n, 0, 0);
			fill_random(e, &g.a);
			fill_random(e, &g.w);
			fill_random(e, &g.bias);
			double want[5][37];
			if (g.residual.dtype)
				fill_random(e, &g.residual);
			for (uint32_t i = 0; i < m; i++) {
				for (uint32_t j = 0; j < n; j++) {
					want[i][j] = get_f(e, &g.bias, j, 0, 0, 0);
					if (g.residual.dtype)
						want[i][j] += get_f(e, &g.residual, i, j, 0, 0);
					for (uint32_t l = 0; l < k; l++)
						want[i][j] += (double)get_f(e, &g.a, i, l, 0, 0) *
							      get_f(e, &g.w, j, l, 0, 0);
				}
			}
			EMIT(e, g);
			env_run_ok(e);
			for (uint32_t i = 0; i < m; i++)
				for (uint32_t j = 0; j < n; j++)
					expect_near(get_f(e, &g.c, i, j, 0, 0), want[i][j], dc, 1);
			expect_gaps(e, &g.c);
		}
	}
}

static void rmsnorm(void **state)
{
	struct cp_env *e = *state;
	const uint32_t m = 4, h = 3, d = 20;

	EACH_PLACE(p)
	{
		for (int heads = 0; heads < 2; heads++) {
			struct zw_pkt_rmsnorm r = {.hdr = HDR(ZW_OP_RMSNORM, zw_pkt_rmsnorm),
						   .eps_f32 = zw_f32_bits(1e-6f)};
			double want[4][3][20];

			r.x = heads ? tensor_gap(e, p, BF16, 8, m, h, d)
				    : tensor(e, p, BF16, m, d, 0, 0);
			r.y = heads ? r.x : tensor_gap(e, p, F32, 5, m, d, 0);
			r.w = tensor(e, p, F32, d, 0, 0, 0);
			fill_random(e, &r.x);
			fill_random(e, &r.w);
			for (uint32_t i = 0; i < m; i++) {
				for (uint32_t j = 0; j < (heads ? h : 1); j++) {
					double ss = 0;

					for (uint32_t l = 0; l < d; l++) {
						double v = get_f(e, &r.x, i, heads ? j : l, l, 0);

						ss += v * v;
						want[i][j][l] = v * get_f(e, &r.w, l, 0, 0, 0);
					}
					for (uint32_t l = 0; l < d; l++)
						want[i][j][l] /= sqrt(ss / d + 1e-6);
				}
			}
			EMIT(e, r);
			env_run_ok(e);
			for (uint32_t i = 0; i < m; i++)
				for (uint32_t j = 0; j < (heads ? h : 1); j++)
					for (uint32_t l = 0; l < d; l++)
						expect_near(get_f(e, &r.y, i, heads ? j : l, l, 0),
							    want[i][j][l], r.y.dtype, 0.01);
			expect_gaps(e, &r.y);
		}
	}
}

/* Norm, gate and w in other places and formats than the result; then over the gate. */
static void gated_norm(void **state)
{
	struct cp_env *e = *state;
	const uint32_t m = 4, h = 3, d = 20;

	EACH_PLACE(p)
	{
		for (int in_place = 0; in_place < 2; in_place++) {
			struct zw_pkt_gated_norm g = {
				.hdr = HDR(ZW_OP_GATED_NORM, zw_pkt_gated_norm),
				.eps_f32 = zw_f32_bits(1e-6f)};
			double want[4][3][20];

			g.x = tensor_gap(e, p, F32, 8, m, h, d);
			g.w = tensor(e, p, F32, d, 0, 0, 0);
			g.gate = tensor_gap(e, p, BF16, 6, m, h, d);
			g.y = in_place ? g.gate : tensor_gap(e, p, BF16, 5, m, h, d);
			fill_random(e, &g.x);
			fill_random(e, &g.w);
			fill_random(e, &g.gate);
			for (uint32_t i = 0; i < m * h; i++) {
				double ss = 0;

				for (uint32_t l = 0; l < d; l++)
					ss += pow((double)get_f(e, &g.x, i / h, i % h, l, 0), 2);
				for (uint32_t l = 0; l < d; l++) {
					double z = (double)get_f(e, &g.gate, i / h, i % h, l, 0);

					want[i / h][i % h][l] =
						(double)get_f(e, &g.x, i / h, i % h, l, 0) /
						sqrt(ss / d + 1e-6) *
						(double)get_f(e, &g.w, l, 0, 0, 0) * z /
						(1 + exp(-z));
				}
			}
			EMIT(e, g);
			env_run_ok(e);
			for (uint32_t i = 0; i < m * h * d; i++)
				expect_near(
					(double)get_f(e, &g.y, i / (h * d), i / d % h, i % d, 0),
					want[i / (h * d)][i / d % h][i % d], BF16, 0.01);
			expect_gaps(e, &g.y);
			/* 12 operations for each of 240 elements at 20 TFLOPS: 144 ps; all of it is memory */
			assert_int_equal(e->result.hbm_read + e->result.sys_read,
					 m * h * d * 6 + d * 4);
		}
	}
}

static void mul_sigmoid(void **state)
{
	struct cp_env *e = *state;
	const uint32_t m = 4, h = 3, d = 20;

	EACH_PLACE(p)
	{
		for (int variant = 0; variant < 4; variant++) {
			struct zw_pkt_mul_sigmoid s = {
				.hdr = HDR(ZW_OP_MUL_SIGMOID, zw_pkt_mul_sigmoid)};
			bool row_gate = variant & 1;
			double want[4][3][20];

			s.hdr.flags = row_gate ? ZW_SIGMOID_F_ROW_GATE : 0;
			s.x = tensor_gap(e, p, BF16, 8, m, h, d);
			s.gate = row_gate ? tensor_gap(e, p, F32, 2, m, 1, 0)
					  : tensor_gap(e, p, F32, 6, m, h, d);
			s.y = tensor_gap(e, p, BF16, 5, m, h, d);
			if (variant & 2)
				s.residual = s.y; /* in place */
			fill_random(e, &s.x);
			fill_random(e, &s.gate);
			if (variant & 2)
				fill_random(e, &s.residual);
			for (uint32_t i = 0; i < m * h * d; i++) {
				uint32_t r = i / (h * d), j = i / d % h, l = i % d;
				double g = (double)(row_gate ? get_f(e, &s.gate, r, 0, 0, 0)
							     : get_f(e, &s.gate, r, j, l, 0));

				want[r][j][l] = (double)get_f(e, &s.x, r, j, l, 0) / (1 + exp(-g));
				if (variant & 2)
					want[r][j][l] += (double)get_f(e, &s.residual, r, j, l, 0);
			}
			EMIT(e, s);
			env_run_ok(e);
			for (uint32_t i = 0; i < m * h * d; i++)
				expect_near(
					(double)get_f(e, &s.y, i / (h * d), i / d % h, i % d, 0),
					want[i / (h * d)][i / d % h][i % d], BF16, 0.01);
			expect_gaps(e, &s.y);
		}
	}
}

static void rope(void **state)
{
	struct cp_env *e = *state;
	const uint32_t m = 5, h = 2, d = 12, half = 4, positions = 50;
	static const int32_t pos[] = {49, 3, 7, 3, 20};

	EACH_PLACE(p)
	{
		for (int variant = 0; variant < 2; variant++) {
			struct zw_pkt_rope r = {.hdr = HDR(ZW_OP_ROPE, zw_pkt_rope)};
			float x[5][2][12];

			r.x = tensor_gap(e, p, F32, 4, m, h, d);
			r.y = variant ? r.x : tensor(e, p, F32, m, h, d, 0);
			r.pos = tensor(e, p, I32, m, 0, 0, 0);
			r.cos = tensor_gap(e, p, F32, variant ? 6 : 0, positions, half, 0);
			r.sin = tensor_gap(e, p, F32, variant ? 6 : 0, positions, half, 0);
			fill_random(e, &r.x);
			fill_random(e, &r.cos);
			fill_random(e, &r.sin);
			for (uint32_t i = 0; i < m; i++) {
				put_i(e, &r.pos, i, 0, pos[i]);
				for (uint32_t j = 0; j < h * d; j++)
					x[i][j / d][j % d] = get_f(e, &r.x, i, j / d, j % d, 0);
			}
			EMIT(e, r);
			env_run_ok(e);
			for (uint32_t i = 0; i < m; i++) {
				for (uint32_t j = 0; j < h * d; j++) {
					const float *v = x[i][j / d];
					uint32_t c = j % d, f = c % half;
					double co = get_f(e, &r.cos, (uint64_t)pos[i], f, 0, 0);
					double si = get_f(e, &r.sin, (uint64_t)pos[i], f, 0, 0);
					double want = v[c];

					if (c < half)
						want = v[c] * co - v[c + half] * si;
					else if (c < 2 * half)
						want = v[c] * co + v[c - half] * si;
					expect_near(get_f(e, &r.y, i, j / d, c, 0), want, F32,
						    0.01);
				}
			}
			/* positions are private: the packet's own stay as they were */
			for (uint32_t i = 0; i < m; i++)
				assert_int_equal(get_i(e, &r.pos, i, 0), pos[i]);
			expect_gaps(e, &r.y);
		}
	}
}

static void swiglu_add(void **state)
{
	struct cp_env *e = *state;
	const uint32_t m = 3, n = 33;

	EACH_PLACE(p)
	{
		struct zw_pkt_swiglu s = {.hdr = HDR(ZW_OP_SWIGLU, zw_pkt_swiglu)};
		struct zw_pkt_add a = {.hdr = HDR(ZW_OP_ADD, zw_pkt_add)};
		struct zw_tensor both = tensor(e, p, BF16, m, 2 * n, 0, 0);
		double glu[3][33];

		/* gate and up side by side in one matrix, as a fused projection leaves them */
		s.gate = both;
		s.gate.dim[1] = n;
		s.up = s.gate;
		s.up.va += n * 2;
		s.y = tensor_gap(e, p, F32, 7, m, n, 0);
		a.a = s.y;
		a.b = s.up;
		a.y = s.y;
		fill_random(e, &both);
		for (uint32_t i = 0; i < m; i++) {
			for (uint32_t j = 0; j < n; j++) {
				double g = get_f(e, &s.gate, i, j, 0, 0),
				       u = get_f(e, &s.up, i, j, 0, 0);

				glu[i][j] = g / (1 + exp(-g)) * u;
			}
		}
		EMIT(e, s);
		env_run_ok(e);
		for (uint32_t i = 0; i < m; i++)
			for (uint32_t j = 0; j < n; j++)
				expect_near(get_f(e, &s.y, i, j, 0, 0), glu[i][j], F32, 0.1);
		EMIT(e, a);
		env_run_ok(e);
		for (uint32_t i = 0; i < m; i++)
			for (uint32_t j = 0; j < n; j++)
				expect_near(get_f(e, &s.y, i, j, 0, 0),
					    glu[i][j] + get_f(e, &s.up, i, j, 0, 0), F32, 0.1);
		expect_gaps(e, &s.y);

		/* in place into the left columns of the same matrix */
		s.y = s.gate;
		EMIT(e, s);
		env_run_ok(e);
		for (uint32_t i = 0; i < m; i++)
			for (uint32_t j = 0; j < n; j++)
				expect_near(get_f(e, &s.y, i, j, 0, 0), glu[i][j], BF16, 0.1);
	}
}

static void embed(void **state)
{
	struct cp_env *e = *state;
	static const int32_t ids[] = {299, 0, 17, 17};

	EACH_PLACE(p)
	{
		struct zw_pkt_embed em = {.hdr = HDR(ZW_OP_EMBED, zw_pkt_embed)};

		em.ids = tensor(e, p, I32, 4, 0, 0, 0);
		em.table = tensor_gap(e, p, BF16, 6, 300, 50, 0);
		em.y = tensor_gap(e, p, F32, 2, 4, 50, 0);
		fill_random(e, &em.table);
		for (uint32_t i = 0; i < 4; i++)
			put_i(e, &em.ids, i, 0, ids[i]);
		EMIT(e, em);
		env_run_ok(e);
		for (uint32_t i = 0; i < 4; i++)
			for (uint32_t j = 0; j < 50; j++)
				assert_true(get_f(e, &em.y, i, j, 0, 0) ==
					    get_f(e, &em.table, (uint64_t)ids[i], j, 0, 0));
		expect_gaps(e, &em.y);
		/* the rows that were named and nothing else: 4 of 50 BF16 read, 4 ids, 4 of 50 F32 written */
		assert_int_equal(e->result.hbm_read + e->result.sys_read, 4 * 50 * 2 + 4 * 4);
		assert_int_equal(e->result.hbm_written + e->result.sys_written, 4 * 50 * 4);
	}
}

static void argmax_topk(void **state)
{
	struct cp_env *e = *state;
	const uint32_t m = 3, v = 401, k = 5;

	EACH_PLACE(p)
	{
		struct zw_pkt_argmax a = {.hdr = HDR(ZW_OP_ARGMAX, zw_pkt_argmax)};
		struct zw_pkt_topk t = {.hdr = HDR(ZW_OP_TOPK, zw_pkt_topk)};

		a.x = tensor_gap(e, p, F32, 3, m, v, 0);
		a.ids = tensor(e, p, I32, m, 0, 0, 0);
		t.x = a.x;
		t.values = tensor_gap(e, p, F32, 2, m, k, 0);
		t.ids = tensor_gap(e, p, I32, 4, m, k, 0);
		fill_random(e, &a.x);
		put_f(e, &a.x, 0, 77, 0, 0, 5);
		put_f(e, &a.x, 0, 78, 0, 0, 5); /* equals: the lower index wins */
		put_f(e, &a.x, 1, 400, 0, 0, 9);
		put_f(e, &a.x, 1, 3, 0, 0, NAN);
		put_f(e, &a.x, 2, 0, 0, 0, 2);
		EMIT(e, a);
		EMIT(e, t);
		env_run_ok(e);
		assert_int_equal(get_i(e, &a.ids, 0, 0), 77);
		assert_int_equal(get_i(e, &a.ids, 1, 0), 400);
		assert_int_equal(get_i(e, &a.ids, 2, 0), 0);
		assert_int_equal(get_i(e, &t.ids, 0, 1), 78);
		for (uint32_t i = 0; i < m; i++) {
			assert_int_equal(get_i(e, &t.ids, i, 0), get_i(e, &a.ids, i, 0));
			for (uint32_t j = 0; j < k; j++) {
				float x = get_f(e, &t.values, i, j, 0, 0);
				unsigned int above = 0;

				assert_true(x == get_f(e, &t.x, i, (uint64_t)get_i(e, &t.ids, i, j),
						       0, 0));
				for (uint32_t c = 0; c < v; c++)
					above += get_f(e, &t.x, i, c, 0, 0) > x;
				assert_true(above <= j);
			}
		}
		expect_gaps(e, &t.values);
		expect_gaps(e, &t.ids);
	}
}

/* Rows of three sequences in mixed order, blocks scattered over pools with gaps, one block shared. */
static void kv_attention(void **state)
{
	struct cp_env *e = *state;
	enum { M = 7, HQ = 4, HKV = 2, D = 16, B = 9, T = 8, S = 3, LB = 4 };
	static const int32_t table[S][LB] = {{5, 2, 7, -1}, {5, 8, 1 << 30, -7}, {0, 3, 4, 6}};
	static const int32_t pos[M] = {16, 30, 9, 17, 31, 3, 8};
	static const int32_t seq[M] = {0, 2, 1, 0, 2, 2, 1};
	const float scale = 0.25f;

	EACH_PLACE(p)
	{
		for (int variant = 0; variant < 2; variant++) {
			unsigned int dt = variant ? BF16 : F32;
			struct zw_pkt_kv_write w = {.hdr = HDR(ZW_OP_KV_WRITE, zw_pkt_kv_write)};
			struct zw_pkt_attention a = {.hdr = HDR(ZW_OP_ATTENTION, zw_pkt_attention),
						     .scale_f32 = zw_f32_bits(scale)};
			struct zw_tensor pool = tensor(e, p, dt, B, 2 * T * HKV * D + 32, 0, 0);
			static float old[2][B][T][HKV][D];

			/* K and V blocks side by side in one pool */
			w.k_cache = pool;
			w.k_cache.ndim = 4;
			w.k_cache.dim[1] = T;
			w.k_cache.dim[2] = HKV;
			w.k_cache.dim[3] = D;
			w.k_cache.stride[1] = HKV * D;
			w.k_cache.stride[2] = D;
			w.v_cache = w.k_cache;
			w.v_cache.va += T * HKV * D * esize(dt);
			fill_random(e, &w.k_cache);
			fill_random(e, &w.v_cache);
			for (int c = 0; c < 2; c++)
				for (uint32_t i = 0; i < B * T * HKV * D; i++)
					old[c][i / (T * HKV * D)][i / (HKV * D) % T][i / D % HKV]
					   [i % D] = get_f(e, c ? &w.v_cache : &w.k_cache,
							   i / (T * HKV * D), i / (HKV * D) % T,
							   i / D % HKV, i % D);
			w.k = tensor_gap(e, p, F32, 6, M, HKV, D);
			w.v = tensor(e, p, BF16, M, HKV, D, 0);
			w.pos = tensor(e, p, I32, M, 0, 0, 0);
			w.seq = tensor(e, p, I32, M, 0, 0, 0);
			w.block_table = tensor_gap(e, p, I32, 2, S, LB, 0);
			fill_random(e, &w.k);
			fill_random(e, &w.v);
			for (uint32_t i = 0; i < M; i++) {
				put_i(e, &w.pos, i, 0, pos[i]);
				put_i(e, &w.seq, i, 0, seq[i]);
			}
			for (uint32_t i = 0; i < S * LB; i++)
				put_i(e, &w.block_table, i / LB, i % LB, table[i / LB][i % LB]);
			EMIT(e, w);
			env_run_ok(e);
			for (int c = 0; c < 2; c++) {
				struct zw_tensor *cache = c ? &w.v_cache : &w.k_cache;

				for (uint32_t i = 0; i < B * T * HKV * D; i++) {
					uint32_t b = i / (T * HKV * D), t = i / (HKV * D) % T;
					uint32_t h = i / D % HKV, d = i % D;
					float want = old[c][b][t][h][d];

					for (uint32_t r = 0; r < M; r++) {
						if ((uint32_t)table[seq[r]][pos[r] / T] != b ||
						    pos[r] % T != (int)t)
							continue;
						want = get_f(e, c ? &w.v : &w.k, r, h, d, 0);
						if (dt == BF16)
							want = zw_bf16_to_f32(
								zw_bf16_from_f32(want));
					}
					assert_true(get_f(e, cache, b, t, h, d) == want);
				}
			}
			expect_gaps(e, &(struct zw_tensor){.va = w.k_cache.va,
							   .ndim = 2,
							   .dtype = (uint16_t)dt,
							   .dim = {B, 2 * T * HKV * D},
							   .stride = {w.k_cache.stride[0]}});

			a.q = tensor_gap(e, p, BF16, 10, M, HQ, D);
			a.y = variant ? a.q : tensor(e, p, F32, M, HQ, D, 0);
			a.pos = w.pos;
			a.seq = w.seq;
			a.block_table = w.block_table;
			a.k_cache = w.k_cache;
			a.v_cache = w.v_cache;
			a.lse = tensor_gap(e, p, F32, 3, M, HQ, 0);
			fill_random(e, &a.q);
			double want[M][HQ][D] = {0}, lse[M][HQ];
			for (uint32_t r = 0; r < M; r++) {
				for (uint32_t h = 0; h < HQ; h++) {
					double sum = 0;

					for (int q = 0; q <= pos[r]; q++) {
						uint64_t b = (uint64_t)table[seq[r]][q / T];
						double s = 0, wgt;

						for (uint32_t d = 0; d < D; d++)
							s += (double)get_f(e, &a.q, r, h, d, 0) *
							     get_f(e, &a.k_cache, b,
								   (uint64_t)q % T, h / (HQ / HKV),
								   d);
						wgt = exp(s * scale);
						sum += wgt;
						for (uint32_t d = 0; d < D; d++)
							want[r][h][d] +=
								wgt * get_f(e, &a.v_cache, b,
									    (uint64_t)q % T,
									    h / (HQ / HKV), d);
					}
					for (uint32_t d = 0; d < D; d++)
						want[r][h][d] /= sum;
					lse[r][h] = log(sum);
				}
			}
			EMIT(e, a);
			env_run_ok(e);
			for (uint32_t r = 0; r < M; r++) {
				for (uint32_t h = 0; h < HQ; h++) {
					expect_near(get_f(e, &a.lse, r, h, 0, 0), lse[r][h], F32,
						    1);
					for (uint32_t d = 0; d < D; d++)
						expect_near(get_f(e, &a.y, r, h, d, 0),
							    want[r][h][d], a.y.dtype, 0.5);
				}
			}
			expect_gaps(e, &a.lse);
		}
	}
}

/* Two rows for one slot, by way of two sequences that share the block: the later row wins. */
static void kv_same_slot(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_kv_write w = {.hdr = HDR(ZW_OP_KV_WRITE, zw_pkt_kv_write)};

	w.k_cache = tensor(e, IN_HBM, F32, 2, 8, 1, 4);
	w.v_cache = tensor(e, IN_HBM, F32, 2, 8, 1, 4);
	w.k = tensor(e, IN_HBM, F32, 3, 1, 4, 0);
	w.v = tensor(e, IN_HBM, F32, 3, 1, 4, 0);
	w.pos = tensor(e, IN_HBM, I32, 3, 0, 0, 0);
	w.seq = tensor(e, IN_HBM, I32, 3, 0, 0, 0);
	w.block_table = tensor(e, IN_HBM, I32, 2, 1, 0, 0);
	fill_random(e, &w.k);
	fill_random(e, &w.v);
	for (uint32_t i = 0; i < 3; i++) {
		put_i(e, &w.pos, i, 0, 5);
		put_i(e, &w.seq, i, 0, i == 1);
	}
	put_i(e, &w.block_table, 0, 0, 1);
	put_i(e, &w.block_table, 1, 0, 1);
	EMIT(e, w);
	env_run_ok(e);
	for (uint32_t d = 0; d < 4; d++) {
		assert_true(get_f(e, &w.k_cache, 1, 5, 0, d) == get_f(e, &w.k, 2, 0, d, 0));
		assert_true(get_f(e, &w.v_cache, 1, 5, 0, d) == get_f(e, &w.v, 2, 0, d, 0));
	}
}

static void copy_fill(void **state)
{
	struct cp_env *e = *state;

	for (enum place from = IN_HBM; from <= IN_SYSTEM; from++) {
		EACH_PLACE(to)
		{
			struct zw_pkt_copy c = {
				.hdr = HDR(ZW_OP_COPY, zw_pkt_copy), .bytes = 9001, .rows = 1};
			struct zw_pkt_fill f = {
				.hdr = HDR(ZW_OP_FILL, zw_pkt_fill), .bytes = 8192 + 4, .rows = 1};
			uint8_t want[9001], got[9001];

			c.src = env_alloc(e, from, c.bytes + 1) + 1;
			c.dst = env_alloc(e, to, c.bytes + 3) + 3;
			f.dst = env_alloc(e, to, f.bytes);
			f.pattern = 0x12345678;
			for (size_t i = 0; i < sizeof(want); i++)
				want[i] = (uint8_t)test_rand(&e->rng);
			env_put(e, c.src, want, sizeof(want));
			EMIT(e, c);
			EMIT(e, f);
			env_run_ok(e);
			env_get(e, c.dst, got, sizeof(got));
			assert_memory_equal(got, want, sizeof(got));
			assert_int_equal(*env_byte(e, c.dst - 1), GUARD_BYTE);
			for (uint64_t i = 0; i < f.bytes; i += 4) {
				uint32_t v;

				env_get(e, f.dst + i, &v, 4);
				assert_int_equal(v, f.pattern);
			}
			/* nothing to do is fine, wherever it points */
			c.bytes = 0;
			c.src = NOWHERE;
			f.bytes = 0;
			f.dst = NOWHERE;
			EMIT(e, c);
			EMIT(e, f);
			env_run_ok(e);
		}
	}
}

/* The other orders of a and w: the bits of a packet that has them in plain order, and its cost. */
static void transposed(void **state)
{
	struct cp_env *e = *state;
	static const struct {
		uint32_t m, n, k;
	} shapes[] = {{5, 37, 70}, {130, 65, 129}, {1, 1, 1}, {64, 3, 200}};
	static uint8_t want[130 * 80 * 4], got[130 * 80 * 4];

	EACH_PLACE(p)
	{
		for (unsigned int i = 0; i < 4 * 4 * 4; i++) {
			const uint32_t m = shapes[i / 16].m, n = shapes[i / 16].n,
				       k = shapes[i / 16].k;
			bool ta = i & 1, tw = i & 2;
			unsigned int dt = i & 4 ? F32 : BF16, dw = i & 8 ? F32 : BF16;
			struct zw_pkt_gemm g = {.hdr = HDR(ZW_OP_GEMM, zw_pkt_gemm)};
			struct zw_pkt_gemm t;
			struct zw_job_result plain;

			env_clear(e);
			g.a = tensor_gap(e, p, dt, 3, m, k, 0);
			g.w = tensor_gap(e, p, dw, 5, n, k, 0);
			g.c = tensor_gap(e, p, F32, 9, m, n, 0);
			g.bias = tensor(e, p, BF16, n, 0, 0, 0);
			g.residual = tensor(e, p, BF16, m, n, 0, 0);
			fill_random(e, &g.a);
			fill_random(e, &g.w);
			fill_random(e, &g.bias);
			fill_random(e, &g.residual);
			EMIT(e, g);
			env_run_ok(e);
			plain = e->result;
			env_get(e, g.c.va, want, (m - 1) * g.c.stride[0] * 4 + n * 4);
			t = g;
			if (ta)
				t.a = tensor_gap(e, p, dt, 7, k, m, 0);
			for (uint32_t r = 0; r < m && ta; r++)
				for (uint32_t c = 0; c < k; c++)
					put_f(e, &t.a, c, r, 0, 0, get_f(e, &g.a, r, c, 0, 0));
			if (tw)
				t.w = tensor_gap(e, p, dw, 1, k, n, 0);
			for (uint32_t r = 0; r < n && tw; r++)
				for (uint32_t c = 0; c < k; c++)
					put_f(e, &t.w, c, r, 0, 0, get_f(e, &g.w, r, c, 0, 0));
			t.c = tensor_gap(e, p, F32, 9, m, n, 0);
			t.hdr.flags = (ta ? ZW_GEMM_F_TRANS_A : 0) | (tw ? ZW_GEMM_F_TRANS_W : 0);
			EMIT(e, t);
			env_run_ok(e);
			env_get(e, t.c.va, got, (m - 1) * t.c.stride[0] * 4 + n * 4);
			assert_memory_equal(got, want, (m - 1) * t.c.stride[0] * 4 + n * 4);
			expect_gaps(e, &t.c);
			assert_int_equal(e->result.hbm_read, plain.hbm_read);
			assert_int_equal(e->result.sys_read, plain.sys_read);
			assert_memory_equal(e->result.busy_ps, plain.busy_ps,
					    sizeof(plain.busy_ps));
		}
	}
}

/* More than one block of rows of both operands is transposed at a time, and w lies in several panels. */
static void transposed_in_blocks(void **state)
{
	enum { M = 520, N = 264, K = 4100 };
	struct cp_env *e = *state;
	const uint64_t big = NOWHERE + (UINT64_C(5) << 30), first = 8 * MIB;
	struct zw_pkt_gemm g = {.hdr = HDR(ZW_OP_GEMM, zw_pkt_gemm)};
	float *a, *w, *c;

	/* 4 MiB are 255 rows of 4100 F32 */
	for (uint64_t off = 0; off < 24 * MIB; off += ZW_PAGE_SIZE)
		env_map_page(e, big + off, first + off, ZW_PTE_READ | ZW_PTE_WRITE);
	g.a = tensor_at(big, F32, K, M, 0, 0);
	g.w = tensor_at(big + 10 * MIB, F32, K, N, 0, 0);
	g.c = tensor_at(big + 20 * MIB, F32, M, N, 0, 0);
	g.hdr.flags = ZW_GEMM_F_TRANS_A | ZW_GEMM_F_TRANS_W;
	a = (float *)(e->hbm.base + first);
	w = (float *)(e->hbm.base + first + 10 * MIB);
	c = (float *)(e->hbm.base + first + 20 * MIB);
	memset(a, 0, (size_t)K * M * 4);
	memset(w, 0, (size_t)K * N * 4);
	/* sums of one term, so that any order gives them: row m has its one in column 7 m mod K, w is a table */
	for (uint32_t m = 0; m < M; m++)
		a[(size_t)(7 * m % K) * M + m] = 1;
	for (uint32_t k = 0; k < K; k++)
		for (uint32_t n = 0; n < N; n++)
			w[(size_t)k * N + n] = (float)(k * 300 + n);
	EMIT(e, g);
	env_run_ok(e);
	for (uint32_t m = 0; m < M; m++)
		for (uint32_t n = 0; n < N; n++)
			assert_true(c[(size_t)m * N + n] == (float)(7 * m % K * 300 + n));
}

/* Rows that are apart on both sides, and a number of them that memory says. */
static void copy_fill_rows(void **state)
{
	struct cp_env *e = *state;

	for (enum place from = IN_HBM; from <= IN_SYSTEM; from++) {
		EACH_PLACE(to)
		{
			enum { ROWS = 37, BYTES = 300, SRC = 411, DST = 333 };
			struct zw_pkt_copy c = {.hdr = HDR(ZW_OP_COPY, zw_pkt_copy),
						.bytes = BYTES,
						.rows = ROWS,
						.src_stride = SRC,
						.dst_stride = DST};
			struct zw_pkt_fill f = {.hdr = HDR(ZW_OP_FILL, zw_pkt_fill),
						.bytes = BYTES,
						.rows = ROWS,
						.dst_stride = 340,
						.pattern = 0x12345678};
			struct zw_tensor count = tensor(e, from, I32, 1, 0, 0, 0);
			const uint32_t pattern = f.pattern;

			c.src = env_alloc(e, from, (ROWS - 1) * SRC + BYTES + 1) + 1;
			c.dst = env_alloc(e, to, (ROWS - 1) * DST + BYTES + 3) + 3;
			f.dst = env_alloc(e, to, (ROWS - 1) * 340 + BYTES);
			for (uint32_t i = 0; i < (ROWS - 1) * SRC + BYTES; i++)
				*env_byte(e, c.src + i) = (uint8_t)(i * 7 + i / 256);
			EMIT(e, c);
			EMIT(e, f);
			env_run_ok(e);
			for (uint32_t i = 0; i < (ROWS - 1) * DST + BYTES; i++)
				assert_int_equal(
					*env_byte(e, c.dst + i),
					i % DST < BYTES
						? *env_byte(e, c.src + i / DST * SRC + i % DST)
						: GUARD_BYTE);
			for (uint32_t i = 0; i < (ROWS - 1) * 340 + BYTES; i++)
				assert_int_equal(*env_byte(e, f.dst + i),
						 i % 340 < BYTES
							 ? ((const uint8_t *)&pattern)[i % 340 % 4]
							 : GUARD_BYTE);
			/* bytes of the rows, not of what is between them */
			assert_int_equal(e->result.hbm_read + e->result.sys_read, ROWS * BYTES);
			assert_int_equal(e->result.hbm_written + e->result.sys_written,
					 2 * ROWS * BYTES);
			/* three of them; the others of the source are not even there */
			put_i(e, &count, 0, 0, 3);
			c.hdr.rows_va = f.hdr.rows_va = count.va;
			c.src = AREA_VA(from) + AREA_BYTES - (2 * SRC + BYTES);
			c.dst = env_alloc(e, to, (ROWS - 1) * DST + BYTES);
			f.dst = env_alloc(e, to, (ROWS - 1) * 340 + BYTES);
			for (uint32_t i = 0; i < 2 * SRC + BYTES; i++)
				*env_byte(e, c.src + i) = (uint8_t)(i * 11);
			EMIT(e, c);
			EMIT(e, f);
			env_run_ok(e);
			for (uint32_t i = 0; i < (ROWS - 1) * DST + BYTES; i++)
				assert_int_equal(*env_byte(e, c.dst + i),
						 i % DST < BYTES && i / DST < 3
							 ? (uint8_t)((i / DST * SRC + i % DST) * 11)
							 : GUARD_BYTE);
			for (uint32_t i = 0; i < (ROWS - 1) * 340 + BYTES; i++)
				assert_int_equal(*env_byte(e, f.dst + i),
						 i % 340 < BYTES && i / 340 < 3
							 ? ((const uint8_t *)&pattern)[i % 340 % 4]
							 : GUARD_BYTE);
			assert_int_equal(e->result.hbm_written + e->result.sys_written,
					 2 * 3 * BYTES);
		}
	}
}

/* Bytes without gaps, which go from and to system memory without a detour: any length, any alignment. */
static void copy_dense(void **state)
{
	struct cp_env *e = *state;
	static const uint32_t lengths[] = {1, 3, 4, 8, 4095, 4096, 4097, 20000};

	for (enum place from = IN_HBM; from <= IN_SYSTEM; from++) {
		EACH_PLACE(to)
		{
			for (unsigned int i = 0; i < 2 * sizeof(lengths) / sizeof(lengths[0]);
			     i++) {
				uint32_t bytes = lengths[i / 2], rows = i % 2 ? 3 : 1;
				struct zw_pkt_copy c = {.hdr = HDR(ZW_OP_COPY, zw_pkt_copy),
							.bytes = bytes,
							.rows = rows,
							.src_stride = bytes,
							.dst_stride = bytes};

				c.src = env_alloc(e, from, rows * bytes + i) + i;
				c.dst = env_alloc(e, to, rows * bytes + 3) + 3;
				for (uint32_t k = 0; k < rows * bytes; k++)
					*env_byte(e, c.src + k) = (uint8_t)(k * 7 + k / 256 + i);
				EMIT(e, c);
				env_run_ok(e);
				for (uint32_t k = 0; k < rows * bytes; k++)
					assert_int_equal(*env_byte(e, c.dst + k),
							 (uint8_t)(k * 7 + k / 256 + i));
				assert_int_equal(*env_byte(e, c.dst - 1), GUARD_BYTE);
				assert_int_equal(*env_byte(e, c.dst + rows * bytes), GUARD_BYTE);
				assert_int_equal(from == IN_SYSTEM ? e->result.sys_read
								   : e->result.hbm_read,
						 rows * bytes);
				assert_int_equal(to == IN_SYSTEM ? e->result.sys_written
								 : e->result.hbm_written,
						 rows * bytes);
			}
		}
	}
}

/* Somebody else writes between the rows of an output while the packet runs. */
static uint64_t gap_va;

static void write_gap(struct cp_env *e)
{
	*env_byte(e, gap_va) = 0x77;
}

static void gaps_of_others(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_add a = {.hdr = HDR(ZW_OP_ADD, zw_pkt_add)};
	struct zw_pkt_rmsnorm r = {.hdr = HDR(ZW_OP_RMSNORM, zw_pkt_rmsnorm)};
	struct zw_pkt_copy c = {.hdr = HDR(ZW_OP_COPY, zw_pkt_copy),
				.bytes = 100,
				.rows = 3,
				.src_stride = 100,
				.dst_stride = 128};

	a.a = random_tensor_at(e, IN_HBM, F32, 3, 8);
	a.b = a.a;
	a.y = tensor_gap(e, IN_SYSTEM, F32, 4, 3, 8, 0);
	/* heads that are apart, in rows that are apart */
	r.x = tensor(e, IN_HBM, F32, 3, 2, 8, 0);
	fill_random(e, &r.x);
	r.w = random_tensor_at(e, IN_HBM, F32, 8, 0);
	r.y = tensor(e, IN_SYSTEM, F32, 3, 3, 12, 0);
	r.y.dim[1] = 2;
	r.y.dim[2] = 8;
	c.src = a.a.va - 32;
	c.src = env_alloc(e, IN_HBM, 300);
	c.dst = env_alloc(e, IN_SYSTEM, 384);
	const struct {
		void *pkt;
		size_t size;
		uint64_t gap;
	} cases[] = {
		{&a, sizeof(a), at(&a.y, 0, 8, 0, 0)},
		{&a, sizeof(a), at(&a.y, 1, 11, 0, 0) + 3},
		{&r, sizeof(r), at(&r.y, 1, 0, 8, 0)},
		{&r, sizeof(r), at(&r.y, 1, 1, 8, 0)},
		{&r, sizeof(r), at(&r.y, 1, 2, 11, 0) + 3},
		{&c, sizeof(c), c.dst + 100},
		{&c, sizeof(c), c.dst + 255},
	};

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		gap_va = cases[i].gap;
		*env_byte(e, gap_va) = GUARD_BYTE;
		emit(e, cases[i].pkt, cases[i].size);
		e->at_dma_write = write_gap;
		env_run_ok(e);
		e->at_dma_write = NULL;
		assert_int_equal(*env_byte(e, gap_va), 0x77);
	}
}

/* Zero skips, unless it is the other way round; a skipped packet looks at nothing. */
static void predicate(void **state)
{
	struct cp_env *e = *state;

	EACH_PLACE(p)
	{
		struct zw_pkt_fill f = {.hdr = HDR(ZW_OP_FILL, zw_pkt_fill),
					.bytes = 4,
					.rows = 1,
					.pattern = 0xabcdabcd};
		struct zw_pkt_sem wait = {.hdr = HDR(ZW_OP_SEM_WAIT, zw_pkt_sem), .value = 1};
		struct zw_tensor word = tensor(e, p, I32, 1, 0, 0, 0);
		static const int32_t values[] = {0, 1, INT32_MIN, 0x100};

		f.hdr.predicate_va = word.va;
		f.dst = env_alloc(e, p, 4);
		for (unsigned int i = 0; i < 8; i++) {
			bool inverted = i & 1, run = (values[i / 2] != 0) != inverted;
			uint32_t before = 0, after;

			put_i(e, &word, 0, 0, values[i / 2]);
			env_put(e, f.dst, &before, 4);
			f.hdr.flags = inverted ? ZW_PKT_F_PREDICATE_NOT : 0;
			EMIT(e, f);
			env_run_ok(e);
			env_get(e, f.dst, &after, 4);
			assert_int_equal(after, run ? f.pattern : 0);
			assert_int_equal(e->result.packets, 1);
			assert_int_equal(e->result.hbm_written + e->result.sys_written,
					 run ? 4 : 0);
			assert_true(e->result.busy_ps[ZW_ENGINE_DMA] - e->profile.packet_ps <
				    100 * 1000);
			if (!run)
				assert_int_equal(e->result.busy_ps[ZW_ENGINE_DMA],
						 e->profile.packet_ps);
		}
		/* neither its row count nor its operands, nor the semaphore */
		put_i(e, &word, 0, 0, 0);
		f.hdr.flags = 0;
		f.hdr.rows_va = NOWHERE;
		f.dst = NOWHERE;
		wait.hdr.predicate_va = word.va;
		wait.va = NOWHERE;
		EMIT(e, f);
		EMIT(e, wait);
		env_run_ok(e);
		assert_int_equal(e->result.packets, 2);
	}
}

/*
 * An operand that is read and written counts both ways and is written back. No packet has one yet: the row is the
 * test's own.
 */
static void in_out(void **state)
{
	struct cp_env *e = *state;

	EACH_PLACE(p)
	{
		static const struct zw_cp_impl impl = {.run = NULL};
		static const struct zw_cp_op op = {
			.name = "TEST",
			.n_operands = 1,
			.operand = {{"x", ZW_DT_FLOAT, "MN", 0, offsetof(struct zw_pkt_add, a),
				     ZW_OPD_INOUT, ZW_OPD_ROWS}},
			.impl = &impl,
		};
		const struct zw_cp_config cfg = {.mmu = e->mmu, .pool = e->pool};
		struct zw_pkt_add pkt = {.a = tensor_gap(e, p, F32, 3, 4, 5, 0)};
		struct zw_cp_exec x = {.cfg = &cfg, .vm = VM, .op = &op, .pkt = &pkt};

		fill_random(e, &pkt.a);
		float was = get_f(e, &pkt.a, 3, 4, 0, 0);
		zw_mmu_run_begin(e->mmu, VM, 0);
		assert_int_equal(zw_cp_operands_begin(&x), 0);
		assert_int_equal(zw_cp_operands_map(&x), 0);
		assert_int_equal(zw_cp_operands_clash(&x), 0);
		assert_int_equal(x.traffic[0].hbm_read + x.traffic[0].sys_read, 4 * 5 * 4);
		assert_int_equal(x.traffic[0].hbm_written + x.traffic[0].sys_written, 4 * 5 * 4);
		zw_cp_traffic_sum(&x, &x.cost);
		assert_int_equal(p == IN_SYSTEM ? x.cost.sys_read : x.cost.hbm_read, 80);
		assert_int_equal(p == IN_SYSTEM ? x.cost.sys_written : x.cost.hbm_written, 80);
		float *last = (float *)x.view[0].ptr + 3 * 8 + 4;
		assert_true(*last == was);
		*last = 42;
		assert_int_equal(zw_cp_operands_end(&x, true), 0);
		zw_mmu_run_end(e->mmu);
		assert_true(get_f(e, &pkt.a, 3, 4, 0, 0) == 42);
		expect_gaps(e, &pkt.a);
		env_check_guards(e);
		free(x.mem);
		free(x.small);
		free(x.late);
	}
}

static void indirect_rows(void **state)
{
	struct cp_env *e = *state;

	EACH_PLACE(p)
	{
		struct zw_pkt_add a = {.hdr = HDR(ZW_OP_ADD, zw_pkt_add)};
		struct zw_tensor rows = tensor(e, p, I32, 1, 0, 0, 0);

		a.hdr.rows_va = rows.va;
		a.a = tensor(e, p, F32, 4, 8, 0, 0);
		a.b = tensor(e, p, F32, 4, 8, 0, 0);
		a.y = tensor(e, p, F32, 4, 8, 0, 0);
		fill_random(e, &a.a);
		fill_random(e, &a.b);
		for (int32_t r = 0; r <= 4; r += 2) {
			for (uint32_t i = 0; i < 32; i++)
				put_f(e, &a.y, i / 8, i % 8, 0, 0, 99);
			put_i(e, &rows, 0, 0, r);
			EMIT(e, a);
			env_run_ok(e);
			for (uint32_t i = 0; i < 32; i++) {
				float want = get_f(e, &a.a, i / 8, i % 8, 0, 0) +
					     get_f(e, &a.b, i / 8, i % 8, 0, 0);

				assert_true(get_f(e, &a.y, i / 8, i % 8, 0, 0) ==
					    ((int32_t)i / 8 < r ? want : 99));
			}
			assert_int_equal(e->result.hbm_read + e->result.sys_read, 2 * r * 8 * 4);
		}
	}
}

/* Weights over several panels, in pieces of HBM, with seams inside of panels and between them. */
static void weights_in_pieces(void **state)
{
	struct cp_env *e = *state;
	enum { M = 3, N = 310, K = 1024 };
	const uint64_t alias = NOWHERE + (UINT64_C(1) << 31);
	struct zw_pkt_gemm g = {.hdr = HDR(ZW_OP_GEMM, zw_pkt_gemm)};
	static uint8_t want[M * N * 4], got[M * N * 4];

	g.a = tensor(e, IN_HBM, BF16, M, K, 0, 0);
	g.c = tensor(e, IN_HBM, F32, M, N, 0, 0);
	g.bias = tensor(e, IN_HBM, F32, N, 0, 0, 0);
	g.residual = tensor(e, IN_PAGES, BF16, M, N, 0, 0);
	/* 155 pages, panels of 128 pages */
	g.w = tensor_at((env_alloc(e, IN_HBM, N * K * 2 + 4096) + 4095) & ~UINT64_C(4095), BF16, N,
			K, 0, 0);
	fill_random(e, &g.a);
	fill_random(e, &g.w);
	fill_random(e, &g.bias);
	fill_random(e, &g.residual);
	EMIT(e, g);
	env_run_ok(e);
	env_get(e, g.c.va, want, sizeof(want));
	for (int i = 0; i < 4; i++) {
		/* the same bytes through another mapping, one page of which or the second panel is elsewhere */
		uint64_t seam = (uint64_t[]){0, 127, 140, 128}[i] * ZW_PAGE_SIZE, spare = 40 * MIB;
		uint64_t moved = (i == 3 ? 155 - 128 : 1) * ZW_PAGE_SIZE;
		uint64_t first = g.w.va - AREA_VA(IN_HBM);

		zw_mmu_invalidate(e->mmu, VM);
		for (uint64_t off = 0; off < N * K * 2; off += ZW_PAGE_SIZE)
			env_map_page(e, alias + off, first + off, ZW_PTE_READ);
		memcpy(e->hbm.base + spare, e->hbm.base + first + seam, moved);
		memset(e->hbm.base + first + seam, 0x11, moved);
		for (uint64_t off = 0; off < moved; off += ZW_PAGE_SIZE)
			env_map_page(e, alias + seam + off, spare + off, ZW_PTE_READ);
		struct zw_pkt_gemm pieces = g;
		pieces.w.va = alias;
		for (uint32_t j = 0; j < M * N; j++)
			put_f(e, &g.c, j / N, j % N, 0, 0, -1);
		EMIT(e, pieces);
		env_run_ok(e);
		env_get(e, g.c.va, got, sizeof(got));
		assert_memory_equal(got, want, sizeof(want));
		assert_int_equal(e->result.hbm_read, M * K * 2 + N * K * 2 + N * 4 + M * N * 2);
		memcpy(e->hbm.base + first + seam, e->hbm.base + spare, moved);
	}
}

/* The bits do not depend on where operands lie, nor on the number of workers. */
static void same_bits(void **state)
{
	static const unsigned int workers[] = {0, 2, 4};
	uint8_t want[70 * 130 * 2];

	(void)state;
	for (unsigned int w = 0; w < 3; w++) {
		struct cp_env *e = env_new("810e", workers[w]);

		EACH_PLACE(p)
		{
			struct zw_pkt_gemm g = {.hdr = HDR(ZW_OP_GEMM, zw_pkt_gemm)};
			uint8_t got[sizeof(want)];

			e->rng = 42;
			g.a = tensor(e, p, BF16, 70, 300, 0, 0);
			g.w = tensor(e, p, BF16, 130, 300, 0, 0);
			g.c = tensor(e, p, BF16, 70, 130, 0, 0);
			fill_random(e, &g.a);
			fill_random(e, &g.w);
			EMIT(e, g);
			env_run_ok(e);
			env_get(e, g.c.va, got, sizeof(got));
			if (!w && p == IN_HBM)
				memcpy(want, got, sizeof(want));
			assert_memory_equal(got, want, sizeof(want));
		}
		env_free(e);
	}
}

static struct zw_job_result before_last_write;

static void keep_result(struct cp_env *e)
{
	memcpy(&before_last_write, e->sys + (e->result_va - AREA_VA(IN_SYSTEM)),
	       sizeof(before_last_write));
}

/* Who polls the number in a result finds the rest of it. */
static void result_number_is_last(void **state)
{
	struct zw_pkt nop = {.opcode = ZW_OP_NOP, .size = sizeof(nop)};
	struct cp_env *e = *state;

	EMIT(e, nop);
	env_run_ok(e);
	e->result_va = env_alloc(e, IN_SYSTEM, sizeof(e->result));
	memset(e->sys + (e->result_va - AREA_VA(IN_SYSTEM)), 0, sizeof(e->result));
	e->at_dma_write = keep_result;
	EMIT(e, nop);
	env_run_ok(e);
	assert_int_equal(before_last_write.seqno, 0);
	assert_int_equal(before_last_write.packets, 1);
	assert_int_equal(before_last_write.end_ps, e->result.end_ps);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(gemm, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(rmsnorm, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(gated_norm, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(mul_sigmoid, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(rope, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(swiglu_add, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(embed, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(argmax_topk, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(kv_attention, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(kv_same_slot, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(copy_fill, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(transposed, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(transposed_in_blocks, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(copy_dense, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(copy_fill_rows, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(gaps_of_others, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(predicate, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(in_out, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(indirect_rows, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(weights_in_pieces, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(result_number_is_last, env_setup, env_teardown),
		cmocka_unit_test(same_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: MIT
/* Packets with operands of other types than F32 and BF16: results, bytes, time, refusals. */
#include "cp_packets.h"
#include "../k_quant_util.h"
#include "cp/zw_cp_int.h"

/* Every packet, all its 16-bit operands F16. */
static void float16(void **state)
{
	struct cp_env *e = *state;
	union any_packet pk;

	for (unsigned int o = 0; o < N_OPCODES; o++) {
		const struct sample_op *op = sample_op(all_opcodes[o]);
		uint64_t bytes = 0, ps = 0;

		for (int f16 = 0; f16 < 2; f16++) {
			env_clear(e);
			e->rng = o + 1;
			make_packet(e, all_opcodes[o], IN_HBM, &pk);
			for (unsigned int i = 0; f16 && i < op->n_tensors; i++) {
				struct zw_tensor *t = sample_operand(op, &pk, i);

				if (t->dtype == BF16)
					t->dtype = F16;
			}
			emit(e, &pk, pk.hdr.size);
			env_run_ok(e);
			if (f16) {
				assert_int_equal(e->result.hbm_read + e->result.hbm_written, bytes);
				assert_int_equal(e->result.end_ps - e->result.start_ps, ps);
			}
			bytes = e->result.hbm_read + e->result.hbm_written;
			ps = e->result.end_ps - e->result.start_ps;
		}
	}
}

/* -- weights ------------------------------------------------------------------------------------------ */

static bool is_record(uint32_t dtype)
{
	return ZW_DT_BLOCKED >> dtype & 1;
}

/* A tensor of any type, rows `gap` elements apart. */
static struct zw_tensor packed(struct cp_env *e, enum place p, uint32_t dtype, uint32_t gap,
			       uint32_t d0, uint32_t d1, uint32_t d2)
{
	struct zw_tensor t = tensor_at(0, dtype, d0, d1, d2, 0);

	t.stride[t.ndim - 2] += gap;
	if (t.ndim == 3)
		t.stride[0] = t.stride[1] * d1;
	t.layout = is_record(dtype) ? ZW_LAYOUT_BLOCKED : ZW_LAYOUT_STRIDED;
	t.va = env_alloc(e, p, zw_cp_bytes(dtype, t.stride[0] * d0));
	return t;
}

static struct zw_tensor scales(struct cp_env *e, enum place p, uint32_t dtype,
			       const struct zw_tensor *of, uint32_t rows, uint32_t group)
{
	uint32_t d[3] = {of->dim[0], of->dim[1], of->dim[2]};
	unsigned int n = of->ndim;
	struct zw_tensor t;

	d[n - 2] = (d[n - 2] + rows - 1) / rows;
	d[n - 1] = (d[n - 1] + group - 1) / group;
	t = packed(e, p, dtype, d[n - 1] % 2 + 4, d[0], d[1], n == 3 ? d[2] : 0);
	t.block[0] = rows;
	t.block[1] = group;
	return t;
}

static void code_at(struct cp_env *e, const struct zw_tensor *t, uint64_t i, unsigned int code)
{
	uint8_t byte;

	env_get(e, t->va + (half_byte(t->dtype) ? i / 2 : i), &byte, 1);
	code_put(t->dtype, &byte, half_byte(t->dtype) ? i % 2 : 0, code);
	env_put(e, t->va + (half_byte(t->dtype) ? i / 2 : i), &byte, 1);
}

/* Something random at element i; what it stands for. */
static float number_at(struct cp_env *e, const struct zw_tensor *t, uint64_t i)
{
	unsigned int code = (unsigned int)test_rand(&e->rng);

	if (ZW_DT_FLOAT >> t->dtype & 1) {
		struct zw_tensor flat = *t;

		flat.ndim = 1;
		put_f(e, &flat, i, 0, 0, 0, (float)(int32_t)code * 0x1p-31f);
		return get_f(e, &flat, i, 0, 0, 0);
	}
	code %= half_byte(t->dtype) ? 16 : 256;
	if (t->dtype == ZW_DTYPE_E8M0)
		code = 120 + code % 8;
	if (t->dtype == ZW_DTYPE_F8E4M3 && code % 128 == 127)
		code = 5;
	if (t->dtype == ZW_DTYPE_F8E5M2)
		code &= 0xbf;
	code_at(e, t, i, code);
	return code_value(t->dtype, code);
}

/* Fills weights and, of types that have some, scales; wide gets what they stand for. */
struct weights {
	struct zw_tensor w, scale, zero, scale2, wide;
};

static void fill_weights(struct cp_env *e, const struct weights *q)
{
	uint32_t n = q->w.ndim, rows = q->w.dim[n - 2], cols = q->w.dim[n - 1];
	uint32_t block = zw_dtype_block_elements(q->w.dtype);
	static float s[8][64][64], z[8][64][64], s2[8];

	for (uint32_t x = 0; x < (n == 3 ? q->w.dim[0] : 1); x++) {
		const struct zw_tensor *of[2] = {&q->scale, &q->zero};

		for (int i = 0; i < 2; i++) {
			const struct zw_tensor *t = of[i];

			for (uint32_t r = 0; t->dtype && r < t->dim[n - 2]; r++)
				for (uint32_t c = 0; c < t->dim[n - 1]; c++)
					(i ? z : s)[x][r][c] =
						number_at(e, t,
							  (n == 3 ? x * t->stride[0] : 0) +
								  r * t->stride[n - 2] + c);
		}
		s2[x] = q->scale2.dtype ? number_at(e, &q->scale2, x) : 0;
		for (uint32_t r = 0; r < rows; r++) {
			uint64_t at = (n == 3 ? x * q->w.stride[0] : 0) + r * q->w.stride[n - 2];
			struct block_numbers b;
			uint8_t bytes[256];

			for (uint32_t c = 0; c < cols; c++) {
				float v, f;

				if (is_record(q->w.dtype)) {
					if (c % block == 0) {
						block_random(q->w.dtype, &b);
						block_write(q->w.dtype, &b, bytes);
						env_put(e,
							q->w.va + zw_cp_bytes(q->w.dtype, at + c),
							bytes, zw_dtype_block_bytes(q->w.dtype));
					}
					v = block_value(q->w.dtype, &b, c % block);
				} else {
					v = number_at(e, &q->w, at + c);
					if (q->zero.dtype)
						v = v - z[x][r / q->zero.block[0]]
							 [c / q->zero.block[1]];
					f = s[x][r / q->scale.block[0]][c / q->scale.block[1]];
					if (q->scale2.dtype)
						f = f * s2[x];
					v = v * f;
				}
				if (n == 3)
					put_f(e, &q->wide, x, r, c, 0, v);
				else
					put_f(e, &q->wide, r, c, 0, 0, v);
			}
		}
	}
}

static const struct {
	uint32_t dtype, scale, zero, rows, group;
	bool scale2;
} kinds[] = {
	{ZW_DTYPE_I8, F32, 0, 1, 256, false},
	{ZW_DTYPE_I8, BF16, ZW_DTYPE_I8, 1, 64, false},
	{ZW_DTYPE_I4, F16, 0, 1, 32, false},
	{ZW_DTYPE_U4, F16, ZW_DTYPE_U4, 1, 128, false},
	{ZW_DTYPE_F8E4M3, F32, 0, 128, 128, false},
	{ZW_DTYPE_F8E4M3, BF16, 0, 16, 100, false},
	{ZW_DTYPE_F8E5M2, F32, 0, 1, 256, false},
	{ZW_DTYPE_F4E2M1, ZW_DTYPE_E8M0, 0, 1, 32, false},
	{ZW_DTYPE_F4E2M1, ZW_DTYPE_F8E4M3, 0, 1, 16, true},
	{ZW_DTYPE_Q4_0, 0, 0, 0, 0, false},
	{ZW_DTYPE_Q4_1, 0, 0, 0, 0, false},
	{ZW_DTYPE_Q5_0, 0, 0, 0, 0, false},
	{ZW_DTYPE_Q5_1, 0, 0, 0, 0, false},
	{ZW_DTYPE_Q8_0, 0, 0, 0, 0, false},
	{ZW_DTYPE_MXFP4, 0, 0, 0, 0, false},
	{ZW_DTYPE_Q2_K, 0, 0, 0, 0, false},
	{ZW_DTYPE_Q3_K, 0, 0, 0, 0, false},
	{ZW_DTYPE_Q4_K, 0, 0, 0, 0, false},
	{ZW_DTYPE_Q5_K, 0, 0, 0, 0, false},
	{ZW_DTYPE_Q6_K, 0, 0, 0, 0, false},
};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static struct weights make_weights(struct cp_env *e, enum place p, size_t kind, uint32_t experts,
				   uint32_t n, uint32_t k)
{
	uint32_t block = zw_dtype_block_elements(kinds[kind].dtype);
	uint32_t d0 = experts ? experts : n, d1 = experts ? n : k, d2 = experts ? k : 0;
	struct weights q = {.w = packed(e, p, kinds[kind].dtype, 2 * block, d0, d1, d2)};

	if (kinds[kind].scale)
		q.scale =
			scales(e, p, kinds[kind].scale, &q.w, kinds[kind].rows, kinds[kind].group);
	if (kinds[kind].zero)
		q.zero = scales(e, p, kinds[kind].zero, &q.w, 2, kinds[kind].group);
	if (kinds[kind].scale2)
		q.scale2 = tensor(e, p, F32, experts ? experts : 1, 0, 0, 0);
	q.wide = tensor(e, IN_HBM, F32, d0, d1, d2, 0);
	fill_weights(e, &q);
	return q;
}

static uint64_t bytes_of(const struct zw_tensor *t, uint32_t rows)
{
	return t->dtype ? zw_cp_bytes(t->dtype, zw_cp_tensor_count(t, rows)) : 0;
}

static void expect_same(struct cp_env *e, const struct zw_tensor *a, const struct zw_tensor *b)
{
	static uint8_t x[65536], y[65536];
	uint64_t bytes = zw_cp_bytes(a->dtype, zw_cp_tensor_count(a, a->dim[0]));

	assert_true(bytes <= sizeof(x));
	env_get(e, a->va, x, bytes);
	env_get(e, b->va, y, bytes);
	assert_memory_equal(x, y, bytes);
}

/* Every type of weights from every memory: the bits of the product with weights in F32, the bytes of what they are. */
static void weights(void **state)
{
	struct cp_env *e = env_new("m890", 0);

	*state = e;
	env_plain(e);
	e->profile.tensor_bf16_flops = 1000000000;
	for (size_t kind = 0; kind < N_KINDS; kind++)
		for (enum place p = IN_HBM; p <= IN_SYSTEM; env_clear(e), p++) {
			const uint32_t m = kind % 2 ? 3 : 9, n = 21, k = 256;
			struct zw_pkt_gemm g = {.hdr = HDR(ZW_OP_GEMM, zw_pkt_gemm)}, wide;
			struct weights q = make_weights(e, p, kind, 0, n, k);
			uint64_t packed_bytes;

			g.a = random_tensor(e, p, BF16, m, k, 0, 0);
			g.bias = random_tensor(e, p, BF16, n, 0, 0, 0);
			g.c = tensor(e, p, F32, m, n, 0, 0);
			wide = g;
			g.w = q.w;
			g.w_scale = q.scale;
			g.w_zero = q.zero;
			g.w_scale2 = q.scale2;
			wide.w = q.wide;
			wide.c = tensor(e, IN_HBM, F32, m, n, 0, 0);
			EMIT(e, g);
			env_run_ok(e);
			packed_bytes = bytes_of(&g.a, m) + bytes_of(&g.w, n) + n * 2 +
				       bytes_of(&q.scale, q.scale.dim[0]) +
				       bytes_of(&q.zero, q.zero.dim[0]) + bytes_of(&q.scale2, 1);
			assert_int_equal(e->result.hbm_read + e->result.sys_read, packed_bytes);
			/* what is stored small is widened: the rate is that of BF16, 1 x 24 x 256 at 0.85 GFLOPS a row */
			if (p == IN_HBM)
				assert_int_equal(e->result.busy_ps[ZW_ENGINE_TENSOR],
						 1000000 + 14456471 * m);
			EMIT(e, wide);
			env_run_ok(e);
			expect_same(e, &g.c, &wide.c);
		}
}

/* The same with the matrices of experts, of which those not hit need not be there. */
static void weights_of_experts(void **state)
{
	enum { M = 5, T = 2, E = 4, HIT = 3 };
	static const int32_t ids[M][T] = {{3, 0}, {0, 3}, {1, 3}, {3, 1}, {0, 1}};
	struct cp_env *e = env_new("m890", 0);

	*state = e;
	for (size_t kind = 0; kind < N_KINDS; kind++)
		for (enum place p = IN_HBM; p <= IN_SYSTEM; env_clear(e), p++) {
			const uint32_t n = 9, k = 256;
			struct zw_pkt_gemm_experts g = {
				.hdr = HDR(ZW_OP_GEMM_EXPERTS, zw_pkt_gemm_experts)};
			struct zw_pkt_gemm_experts wide;
			struct weights q = make_weights(e, p, kind, E, n, k);
			uint64_t part = 0;

			g.a = random_tensor(e, p, BF16, M, k, 0, 0);
			g.ids = tensor(e, p, I32, M, T, 0, 0);
			for (uint32_t i = 0; i < M; i++)
				for (uint32_t j = 0; j < T; j++)
					put_i(e, &g.ids, i, j, ids[i][j]);
			g.c = tensor(e, p, F32, M, T, n, 0);
			wide = g;
			g.w = q.w;
			g.w_scale = q.scale;
			g.w_zero = q.zero;
			g.w_scale2 = q.scale2;
			wide.w = q.wide;
			wide.c = tensor(e, IN_HBM, F32, M, T, n, 0);
			EMIT(e, g);
			env_run_ok(e);
			part = bytes_of(&q.w, 1) + bytes_of(&q.scale, 1) + bytes_of(&q.zero, 1);
			assert_int_equal(e->result.hbm_read + e->result.sys_read,
					 HIT * part + bytes_of(&q.scale2, E) + M * k * 2 +
						 M * T * 4);
			EMIT(e, wide);
			env_run_ok(e);
			expect_same(e, &g.c, &wide.c);
		}
}

/* -- activations -------------------------------------------------------------------------------------- */

static unsigned int byte_at(struct cp_env *e, uint64_t va)
{
	uint8_t b;

	env_get(e, va, &b, 1);
	return b;
}

/* QUANTIZE, and the product of what it made with weights of the same kind, against double precision. */
static void activations(void **state)
{
	static const struct {
		uint32_t dtype, group;
		float largest;
	} cases[] = {{ZW_DTYPE_I8, 1000, 127},
		     {ZW_DTYPE_I8, 64, 127},
		     {ZW_DTYPE_F8E4M3, 128, 448},
		     {ZW_DTYPE_F8E5M2, 100, 57344}};
	enum { M = 5, N = 12, K = 300 };
	struct cp_env *e = env_new("m890", 0);

	*state = e;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (enum place p = IN_HBM; p <= IN_SYSTEM; env_clear(e), p++) {
			uint32_t dtype = cases[i].dtype, group = cases[i].group;
			struct zw_pkt_quantize q = {.hdr = HDR(ZW_OP_QUANTIZE, zw_pkt_quantize)};
			struct zw_pkt_gemm g = {.hdr = HDR(ZW_OP_GEMM, zw_pkt_gemm)};
			uint64_t sums, rate = dtype == ZW_DTYPE_I8 ? e->profile.tensor_i8_ops
								   : e->profile.tensor_f8_flops;
			struct zw_tensor wide = tensor(e, IN_HBM, F32, N, K, 0, 0);
			struct weights w = {.w = packed(e, p, dtype, 3, N, K, 0), .wide = wide};
			uint32_t rows = M - 1;

			w.scale = scales(e, p, BF16, &w.w, dtype == ZW_DTYPE_I8 ? 1 : 7, group);
			fill_weights(e, &w);
			q.x = random_tensor(e, p, BF16, M, K, 0, 0);
			q.y = packed(e, p, dtype, 20, M, K, 0);
			q.scale = scales(e, p, F32, &q.y, 1, group);
			g.a = q.y;
			g.a_scale = q.scale;
			g.w = w.w;
			g.w_scale = w.scale;
			g.c = tensor_gap(e, p, F32, 3, M, N, 0);
			/* a row less than there are */
			q.hdr.rows_va = g.hdr.rows_va = env_alloc(e, IN_SYSTEM, 4);
			env_put(e, q.hdr.rows_va, &rows, 4);
			EMIT(e, q);
			env_run_ok(e);
			sums = (uint64_t)q.scale.dim[1] * rows;
			assert_int_equal(e->result.hbm_written + e->result.sys_written,
					 sums * 4 + (uint64_t)rows * K);
			assert_int_equal(e->result.hbm_read + e->result.sys_read,
					 (uint64_t)rows * K * 2);
			for (uint32_t r = 0; r < M; r++)
				for (uint32_t c = 0; c < K; c++) {
					uint64_t va = q.y.va + r * q.y.stride[0] + c;
					float s, x = get_f(e, &q.x, r, c, 0, 0);

					if (r == rows) { /* not its row */
						assert_int_equal(byte_at(e, va), GUARD_BYTE);
						continue;
					}
					s = get_f(e, &q.scale, r, c / group, 0, 0);
					/* within half a step of the type at the largest number */
					assert_true(
						fabs((double)(code_value(dtype, byte_at(e, va)) *
							      s) -
						     (double)x) <=
						(dtype == ZW_DTYPE_I8 ? 0.51 : 0.0715) *
							(dtype == ZW_DTYPE_I8
								 ? (double)s
								 : fmax(fabs((double)x) *
										(dtype == ZW_DTYPE_F8E5M2
											 ? 1.8
											 : 0.9),
									(double)s * 1e-2)));
				}
			EMIT(e, g);
			env_run_ok(e);
			assert_int_equal(e->result.hbm_read + e->result.sys_read,
					 (uint64_t)rows * K + sums * 4 + N * K +
						 bytes_of(&w.scale, w.scale.dim[0]));
			if (p == IN_HBM)
				assert_int_equal(zw_cp_tensor_unit(&e->profile, dtype, dtype).rate,
						 rate);
			for (uint32_t r = 0; r < rows; r++)
				for (uint32_t n = 0; n < N; n++) {
					double exact = 0, magnitude = 0;

					for (uint32_t k = 0; k < K; k++) {
						uint64_t va = q.y.va + r * q.y.stride[0] + k;
						double a =
							(double)code_value(dtype, byte_at(e, va)) *
							(double)get_f(e, &q.scale, r, k / group, 0,
								      0);
						double v = (double)get_f(e, &wide, n, k, 0, 0);

						exact += a * v;
						magnitude += fabs(a * v);
					}
					assert_true(fabs((double)get_f(e, &g.c, r, n, 0, 0) -
							 exact) <= 1e-5 * magnitude + 1e-30);
				}
		}
}

/* The activations of experts, both ways. */
static void activations_of_experts(void **state)
{
	enum { M = 4, T = 2, E = 3, N = 6, K = 64, GROUP = 32 };
	struct cp_env *e = env_new("m890", 0);

	*state = e;
	for (int f8 = 0; f8 < 2; f8++)
		for (int scatter = 0; scatter < 2; env_clear(e), scatter++) {
			uint32_t dtype = f8 ? ZW_DTYPE_F8E4M3 : ZW_DTYPE_I8;
			struct zw_pkt_quantize q = {.hdr = HDR(ZW_OP_QUANTIZE, zw_pkt_quantize)};
			struct zw_pkt_gemm_experts g = {
				.hdr = HDR(ZW_OP_GEMM_EXPERTS, zw_pkt_gemm_experts)};
			struct weights w = {.w = packed(e, IN_PAGES, dtype, 0, E, N, K),
					    .wide = tensor(e, IN_HBM, F32, E, N, K, 0)};

			w.scale = scales(e, IN_PAGES, F32, &w.w, 4, GROUP);
			fill_weights(e, &w);
			q.x = random_tensor(e, IN_HBM, F32, M, scatter ? T : K, scatter ? K : 0, 0);
			q.y = packed(e, IN_PAGES, dtype, 0, M, scatter ? T : K, scatter ? K : 0);
			q.scale = scales(e, IN_SYSTEM, F32, &q.y, 1, GROUP);
			EMIT(e, q);
			g.hdr.flags = scatter ? ZW_EXPERTS_F_SCATTER : 0;
			g.a = q.y;
			g.a_scale = q.scale;
			g.w = w.w;
			g.w_scale = w.scale;
			g.ids = tensor(e, IN_HBM, I32, M, T, 0, 0);
			g.c = tensor(e, IN_HBM, F32, M, scatter ? N : T, scatter ? 0 : N, 0);
			for (uint32_t m = 0; m < M; m++)
				for (uint32_t j = 0; j < T; j++)
					put_i(e, &g.ids, m, j, (int32_t)((m + 2 * j) % E));
			EMIT(e, g);
			env_run_ok(e);
			for (uint32_t m = 0; m < M; m++)
				for (uint32_t n = 0; n < N; n++) {
					double all = 0, magnitude = 0;

					for (uint32_t j = 0; j < T; j++) {
						uint64_t head = scatter ? j : 0,
							 x = (m + 2 * j) % E;
						double sum = 0;

						for (uint32_t k = 0; k < K; k++) {
							uint64_t at = m * q.y.stride[0] + k +
								      (scatter ? head * K : 0);
							float s = get_f(e, &q.scale, m,
									scatter ? head : k / GROUP,
									k / GROUP, 0);
							double v = (double)code_value(
								dtype, byte_at(e, q.y.va + at));

							v *= (double)s *
							     (double)get_f(e, &w.wide, x, n, k, 0);
							sum += v;
							magnitude += fabs(v);
						}
						all += sum;
						if (!scatter)
							assert_true(fabs((double)get_f(e, &g.c, m,
										       j, n, 0) -
									 sum) <=
								    1e-5 * magnitude + 1e-30);
					}
					if (scatter)
						assert_true(
							fabs((double)get_f(e, &g.c, m, n, 0, 0) -
							     all) <= 1e-5 * magnitude + 1e-30);
				}
		}
}

/* -- cache and tables ---------------------------------------------------------------------------------- */

/* Rows to a quantised cache and attention against it: the bits of attention against what it stands for, the bytes of both. */
static void cache(void **state)
{
	enum { B = 6, T = 8, H = 2, Q = 4, D = 16, M = 13 };
	static const int32_t table[2][3] = {{4, 1, 0}, {2, 5, 3}};
	struct cp_env *e = env_new("m890", 0);

	*state = e;
	for (int f8 = 0; f8 < 2; f8++)
		for (enum place p = IN_HBM; p <= IN_SYSTEM; env_clear(e), p++) {
			uint32_t dtype = f8 ? ZW_DTYPE_F8E4M3 : ZW_DTYPE_I8;
			struct zw_pkt_kv_write w = {.hdr = HDR(ZW_OP_KV_WRITE, zw_pkt_kv_write)};
			struct zw_pkt_attention a = {.hdr = HDR(ZW_OP_ATTENTION, zw_pkt_attention)};
			struct zw_pkt_attention wide;
			float scale = 0.25f;
			uint64_t keys = 0;

			w.k = random_tensor(e, p, BF16, M, H, D, 0);
			w.v = random_tensor(e, p, BF16, M, H, D, 0);
			w.pos = tensor(e, p, I32, M, 0, 0, 0);
			w.seq = tensor(e, p, I32, M, 0, 0, 0);
			w.block_table = tensor(e, p, I32, 2, 3, 0, 0);
			w.k_cache = tensor(e, p, dtype, B, T, H, D);
			w.v_cache = tensor(e, p, dtype, B, T, H, D);
			w.k_scale = tensor(e, p, F32, B, T + 3, H, 0); /* blocks apart */
			w.k_scale.dim[1] = T;
			w.v_scale = tensor(e, p, F32, B, T, H, 0);
			for (uint32_t i = 0; i < 2; i++)
				for (uint32_t j = 0; j < 3; j++)
					put_i(e, &w.block_table, i, j, table[i][j]);
			/* sequence 0: positions 0..8; 1: 0..3 */
			for (uint32_t i = 0; i < M; i++) {
				put_i(e, &w.seq, i, 0, i >= 9);
				put_i(e, &w.pos, i, 0, (int32_t)(i < 9 ? i : i - 9));
			}
			EMIT(e, w);
			env_run_ok(e);
			assert_int_equal(e->result.hbm_written + e->result.sys_written,
					 2 * M * H * (D + 4));
			a.q = random_tensor(e, p, BF16, M, Q, D, 0);
			a.y = tensor(e, p, F32, M, Q, D, 0);
			a.pos = w.pos;
			a.seq = w.seq;
			a.block_table = w.block_table;
			a.k_cache = w.k_cache;
			a.v_cache = w.v_cache;
			a.k_scale = w.k_scale;
			a.v_scale = w.v_scale;
			memcpy(&a.scale_f32, &scale, 4);
			wide = a;
			wide.k_cache = tensor(e, IN_HBM, F32, B, T, H, D);
			wide.v_cache = tensor(e, IN_HBM, F32, B, T, H, D);
			wide.k_scale = wide.v_scale = (struct zw_tensor){0};
			wide.y = tensor(e, IN_HBM, F32, M, Q, D, 0);
			for (uint32_t i = 0; i < M; i++)
				for (int v = 0; v < 2; v++) {
					const struct zw_tensor *from = v ? &a.v_cache : &a.k_cache;
					const struct zw_tensor *by = v ? &a.v_scale : &a.k_scale;
					const struct zw_tensor *to =
						v ? &wide.v_cache : &wide.k_cache;
					uint32_t pos = i < 9 ? i : i - 9;
					uint32_t block = (uint32_t)table[i >= 9][pos / T];

					for (uint32_t h = 0; h < H; h++)
						for (uint32_t c = 0; c < D; c++) {
							unsigned int code = byte_at(
								e, at(from, block, pos % T, h, c));
							float s =
								get_f(e, by, block, pos % T, h, 0);
							float x = get_f(e, v ? &w.v : &w.k, i, h, c,
									0);
							float y = code_value(dtype, code) * s;

							assert_true(
								fabsf(x - y) <=
								(f8 ? fmaxf(fabsf(x) / 15, s / 1000)
								    : s * 0.51f));
							put_f(e, to, block, pos % T, h, c, y);
						}
				}
			EMIT(e, a);
			env_run_ok(e);
			keys = 9 + 4;
			assert_int_equal(e->result.hbm_read + e->result.sys_read,
					 2 * keys * H * (D + 4) + M * Q * D * 2 + 2 * M * 4 +
						 3 * 4);
			EMIT(e, wide);
			env_run_ok(e);
			expect_same(e, &a.y, &wide.y);
			/* a profile without the type */
			e->profile.dtypes &= ~ZW_DT(I8) & ~ZW_DT(F8E4M3);
			EMIT(e, w);
			env_run(e);
			assert_int_equal(e->job.reason, ZW_REASON_UNSUPPORTED);
			e->cmd_bytes = 0;
			e->profile = *zw_profile_find("m890");
		}
}

/* Both packets that choose, on one pool. */
struct choice {
	struct zw_pkt_select_blocks blocks;
	struct zw_pkt_select_slash slash;
};

static struct choice make_choice(struct cp_env *e, enum place p, const struct zw_pkt_attention *a)
{
	enum { G = 3, E = 5, C = 12 };
	uint32_t heads = a->q.dim[1];
	struct choice c = {
		.blocks =
			{
				.hdr = HDR(ZW_OP_SELECT_BLOCKS, zw_pkt_select_blocks),
				.q = a->q,
				.pos = a->pos,
				.block_table = a->block_table,
				.k_cache = a->k_cache,
				.k_scale = a->k_scale,
				.blocks = tensor(e, p, I32, G, heads, 3, 0),
				.counts = tensor(e, p, I32, G, heads, 0, 0),
			},
		.slash =
			{
				.hdr = HDR(ZW_OP_SELECT_SLASH, zw_pkt_select_slash),
				.q = a->q,
				.pos = a->pos,
				.block_table = a->block_table,
				.k_cache = a->k_cache,
				.k_scale = a->k_scale,
				.vertical = tensor(e, p, I32, heads, 0, 0, 0),
				.slash = tensor(e, p, I32, heads, 0, 0, 0),
				.blocks = tensor(e, p, I32, G, heads, E, 0),
				.counts = tensor(e, p, I32, G, heads, 0, 0),
				.columns = tensor(e, p, I32, G, heads, C, 0),
				.column_counts = tensor(e, p, I32, G, heads, 0, 0),
				.scale_f32 = a->scale_f32,
				.sample = 7,
				.first = 1,
				.nearest = 1,
			},
	};

	for (uint32_t h = 0; h < heads; h++) {
		put_i(e, &c.slash.vertical, h, 0, C);
		put_i(e, &c.slash.slash, h, 0, 2);
	}
	return c;
}

static void expect_lists(struct cp_env *e, const struct zw_tensor *a, const struct zw_tensor *b)
{
	uint32_t n = a->dim[0] * a->dim[1] * (a->ndim == 3 ? a->dim[2] : 1);

	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(*(int32_t *)(void *)env_byte(e, a->va + 4ull * i),
				 *(int32_t *)(void *)env_byte(e, b->va + 4ull * i));
}

/* Lists chosen from a quantised cache are those of what it stands for; the bytes of keys and their scales. */
static void choosing(void **state)
{
	enum { B = 7, T = 8, H = 2, Q = 4, D = 16, LEN = 40, M = 12 };
	static const int32_t table[5] = {4, 1, 6, 0, 3};
	struct cp_env *e = env_new("m890", 0);

	*state = e;
	for (int f8 = 0; f8 < 2; f8++)
		for (enum place p = IN_HBM; p <= IN_SYSTEM; env_clear(e), p++) {
			uint32_t dtype = f8 ? ZW_DTYPE_F8E4M3 : ZW_DTYPE_I8;
			struct zw_pkt_kv_write w = {.hdr = HDR(ZW_OP_KV_WRITE, zw_pkt_kv_write)};
			struct zw_pkt_attention a = {0};
			struct choice narrow, wide;
			const float scale = 2.0f;

			w.k = random_tensor(e, p, BF16, LEN, H, D, 0);
			w.v = random_tensor(e, p, BF16, LEN, H, D, 0);
			w.pos = tensor(e, p, I32, LEN, 0, 0, 0);
			w.block_table = tensor(e, p, I32, 1, 5, 0, 0);
			w.k_cache = tensor(e, p, dtype, B, T, H, D);
			w.v_cache = tensor(e, p, dtype, B, T, H, D);
			w.k_scale = tensor(e, p, F32, B, T + 3, H, 0); /* blocks apart */
			w.k_scale.dim[1] = T;
			w.v_scale = tensor(e, p, F32, B, T, H, 0);
			for (uint32_t i = 0; i < 5; i++)
				put_i(e, &w.block_table, 0, i, table[i]);
			for (uint32_t i = 0; i < LEN; i++) {
				put_i(e, &w.pos, i, 0, (int32_t)i);
				/* keys of ever other sizes, whose codes alone would say nothing */
				for (uint32_t h = 0; h < H; h++)
					for (uint32_t c = 0; c < D; c++)
						put_f(e, &w.k, i, h, c, 0,
						      get_f(e, &w.k, i, h, c, 0) *
							      (float)(1 + i * 7 % 11));
			}
			EMIT(e, w);
			env_run_ok(e);
			a.q = random_tensor(e, p, BF16, M, Q, D, 0);
			a.pos = tensor(e, p, I32, M, 0, 0, 0);
			for (uint32_t i = 0; i < M; i++)
				put_i(e, &a.pos, i, 0, (int32_t)(LEN - M + i));
			a.block_table = w.block_table;
			a.k_cache = w.k_cache;
			a.k_scale = w.k_scale;
			memcpy(&a.scale_f32, &scale, 4);
			narrow = make_choice(e, p, &a);
			a.k_cache = tensor(e, IN_HBM, F32, B, T, H, D);
			a.k_scale = (struct zw_tensor){0};
			wide = make_choice(e, p, &a);
			for (uint32_t i = 0; i < LEN; i++)
				for (uint32_t h = 0; h < H; h++)
					for (uint32_t c = 0; c < D; c++) {
						uint64_t block = (uint64_t)table[i / T];
						float s = get_f(e, &w.k_scale, block, i % T, h, 0);
						unsigned int code = byte_at(
							e, at(&w.k_cache, block, i % T, h, c));

						put_f(e, &a.k_cache, block, i % T, h, c,
						      code_value(dtype, code) * s);
					}
			EMIT(e, wide.blocks);
			EMIT(e, wide.slash);
			env_run_ok(e);
			EMIT(e, narrow.blocks);
			env_run_ok(e);
			assert_int_equal(e->result.hbm_read + e->result.sys_read,
					 M * Q * D * 2 + M * 4 + 5 * 4 + 4 * T * H * (D + 4));
			EMIT(e, narrow.slash);
			env_run_ok(e);
			assert_int_equal(e->result.hbm_read + e->result.sys_read,
					 M * Q * D * 2 + M * 4 + 5 * 4 + 2 * Q * 4 +
						 LEN * H * (D + 4));
			expect_lists(e, &narrow.blocks.blocks, &wide.blocks.blocks);
			expect_lists(e, &narrow.blocks.counts, &wide.blocks.counts);
			expect_lists(e, &narrow.slash.blocks, &wide.slash.blocks);
			expect_lists(e, &narrow.slash.counts, &wide.slash.counts);
			expect_lists(e, &narrow.slash.columns, &wide.slash.columns);
			expect_lists(e, &narrow.slash.column_counts, &wide.slash.column_counts);
			/* a profile without the type */
			e->profile.dtypes &= ~ZW_DT(I8) & ~ZW_DT(F8E4M3);
			EMIT(e, narrow.slash);
			env_run(e);
			assert_int_equal(e->job.reason, ZW_REASON_UNSUPPORTED);
			e->cmd_bytes = 0;
			e->profile = *zw_profile_find("m890");
			/* a pool of codes without their scales */
			narrow.blocks.k_scale = (struct zw_tensor){0};
			EMIT(e, narrow.blocks);
			env_run(e);
			assert_int_equal(e->job.reason, ZW_REASON_OPERAND);
			e->cmd_bytes = 0;
		}
}

/* Rows of a table of records: what they stand for, and no more bytes than those of the rows. */
static void embed(void **state)
{
	static const int32_t ids[] = {5, 0, 5};
	struct cp_env *e = env_new("810e", 0);

	*state = e;
	for (size_t kind = 0; kind < N_KINDS; kind++)
		for (enum place p = IN_HBM; p <= IN_SYSTEM; env_clear(e), p++) {
			struct zw_pkt_embed m = {.hdr = HDR(ZW_OP_EMBED, zw_pkt_embed)};
			struct weights q;

			if (!is_record(kinds[kind].dtype))
				continue;
			q = make_weights(e, p, kind, 0, 6, 256);
			m.table = q.w;
			m.ids = tensor(e, p, I32, 3, 0, 0, 0);
			m.y = tensor_gap(e, p, F32, 3, 3, 256, 0);
			for (uint32_t i = 0; i < 3; i++)
				put_i(e, &m.ids, i, 0, ids[i]);
			EMIT(e, m);
			env_run_ok(e);
			assert_int_equal(e->result.hbm_read + e->result.sys_read,
					 3 * zw_cp_bytes(q.w.dtype, 256) + 3 * 4);
			for (uint32_t i = 0; i < 3; i++)
				for (uint32_t c = 0; c < 256; c++)
					assert_true(get_f(e, &m.y, i, c, 0, 0) ==
						    get_f(e, &q.wide, (uint64_t)ids[i], c, 0, 0));
		}
}

/* What does not go together, and what a profile lacks. */
static void refusals(void **state)
{
	struct cp_env *e = env_new("m890", 0);
	struct zw_pkt_quantize q = {.hdr = HDR(ZW_OP_QUANTIZE, zw_pkt_quantize)}, qk;
	struct zw_pkt_gemm ok = {.hdr = HDR(ZW_OP_GEMM, zw_pkt_gemm)}, g;

	*state = e;
	ok.a = packed(e, IN_HBM, ZW_DTYPE_I8, 0, 4, 64, 0);
	ok.w = packed(e, IN_HBM, ZW_DTYPE_I8, 0, 6, 64, 0);
	ok.c = tensor(e, IN_HBM, F32, 4, 6, 0, 0);
	ok.a_scale = scales(e, IN_HBM, F32, &ok.a, 1, 32);
	ok.w_scale = scales(e, IN_HBM, F32, &ok.w, 1, 32);
	q.x = tensor(e, IN_HBM, BF16, 4, 64, 0, 0);
	q.y = ok.a;
	q.scale = ok.a_scale;
#define GEMM_CASE(why, change)                                                                     \
	do {                                                                                       \
		g = ok;                                                                            \
		change;                                                                            \
		EMIT(e, g);                                                                        \
		env_run(e);                                                                        \
		assert_int_equal(e->job.status, ZW_JOB_INVALID);                                   \
		assert_int_equal(e->job.reason, why);                                              \
		e->cmd_bytes = 0;                                                                  \
	} while (0)
	GEMM_CASE(ZW_REASON_OPERAND, g.a_scale = (struct zw_tensor){0});
	GEMM_CASE(ZW_REASON_OPERAND, g.w_scale = (struct zw_tensor){0});
	GEMM_CASE(ZW_REASON_VALUE, (g.a_scale = scales(e, IN_HBM, F32, &ok.a, 1, 64)));
	GEMM_CASE(ZW_REASON_UNSUPPORTED, g.a.dtype = ZW_DTYPE_F8E4M3);
	GEMM_CASE(ZW_REASON_UNSUPPORTED, g.w.dtype = ZW_DTYPE_F8E4M3);
	GEMM_CASE(ZW_REASON_UNSUPPORTED, g.w_zero = g.w_scale);
	GEMM_CASE(ZW_REASON_DTYPE, g.a.dtype = ZW_DTYPE_U8);
	GEMM_CASE(ZW_REASON_ALIGN, g.a_scale.va += 2);
	GEMM_CASE(ZW_REASON_OVERLAP, g.c.va = g.a_scale.va);
	GEMM_CASE(ZW_REASON_LIMIT, {
		g.a.dim[1] = g.w.dim[1] = 65537;
		g.a.stride[0] = g.w.stride[0] = 65537;
		g.a_scale.block[1] = g.w_scale.block[1] = 65537;
		g.a_scale.dim[1] = g.w_scale.dim[1] = 1;
	});
	/* stored as columns: only plain numbers are moved one by one */
	GEMM_CASE(ZW_REASON_UNSUPPORTED, {
		g.hdr.flags = ZW_GEMM_F_TRANS_W;
		g.w = packed(e, IN_HBM, ZW_DTYPE_I8, 0, 64, 6, 0);
		g.w_scale = scales(e, IN_HBM, F32, &g.w, 1, 32);
	});
	GEMM_CASE(ZW_REASON_UNSUPPORTED, {
		g.hdr.flags = ZW_GEMM_F_TRANS_A;
		g.a = packed(e, IN_HBM, ZW_DTYPE_I8, 0, 64, 4, 0);
		g.a_scale = scales(e, IN_HBM, F32, &g.a, 1, 32);
	});
	e->profile = *zw_profile_find("c12");
	GEMM_CASE(ZW_REASON_UNSUPPORTED, g.a.dtype = g.w.dtype = ZW_DTYPE_F8E4M3);
	EMIT(e, ok);
	env_run_ok(e);
#define QUANTIZE_CASE(why, change)                                                                 \
	do {                                                                                       \
		qk = q;                                                                            \
		change;                                                                            \
		EMIT(e, qk);                                                                       \
		env_run(e);                                                                        \
		assert_int_equal(e->job.status, ZW_JOB_INVALID);                                   \
		assert_int_equal(e->job.reason, why);                                              \
		e->cmd_bytes = 0;                                                                  \
	} while (0)
	QUANTIZE_CASE(ZW_REASON_VALUE, (qk.scale.block[0] = 2, qk.scale.dim[0] = 2));
	QUANTIZE_CASE(ZW_REASON_VALUE, qk.scale.block[1] = 0);
	QUANTIZE_CASE(ZW_REASON_SHAPE, qk.scale.block[1] = 16);
	QUANTIZE_CASE(ZW_REASON_SHAPE, qk.y.dim[1] = 63);
	QUANTIZE_CASE(ZW_REASON_DTYPE, qk.y.dtype = ZW_DTYPE_U8);
	QUANTIZE_CASE(ZW_REASON_DTYPE, qk.scale.dtype = BF16);
	QUANTIZE_CASE(ZW_REASON_UNSUPPORTED, qk.y.dtype = ZW_DTYPE_F8E4M3);
	QUANTIZE_CASE(ZW_REASON_OVERLAP, qk.y.va = qk.x.va);
	QUANTIZE_CASE(ZW_REASON_OVERLAP, qk.scale.va = qk.y.va);
	QUANTIZE_CASE(ZW_REASON_OPERAND, qk.scale = (struct zw_tensor){0});
	EMIT(e, q);
	env_run_ok(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(float16, env_setup, env_teardown),
		cmocka_unit_test_teardown(weights, env_teardown),
		cmocka_unit_test_teardown(weights_of_experts, env_teardown),
		cmocka_unit_test_teardown(activations, env_teardown),
		cmocka_unit_test_teardown(activations_of_experts, env_teardown),
		cmocka_unit_test_teardown(cache, env_teardown),
		cmocka_unit_test_teardown(choosing, env_teardown),
		cmocka_unit_test_teardown(embed, env_teardown),
		cmocka_unit_test_teardown(refusals, env_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

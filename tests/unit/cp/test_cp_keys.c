// SPDX-License-Identifier: MIT
/* MERGE, SELECT_BLOCKS and SELECT_SLASH as packets: places, fewer rows, what is read, time, and lists that ATTENTION takes. */
#include "cp/zw_cp_int.h"
#include "cp/cp_kv.h"
#include "cp_packets.h"
#include <math.h>

#define EACH_PLACE(p) for (enum place p = IN_HBM; p <= IN_SYSTEM; env_clear(e), p++)

static void expect_near(double got, double want)
{
	if (!(got == want || fabs(got - want) <= 1e-2 * (1 + fabs(want))))
		fail_msg("%g, not %g", got, want);
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

static void expect_fails(struct cp_env *e, const void *pkt, uint32_t bytes, uint32_t status,
			 uint32_t reason)
{
	struct snapshot *s;

	e->cmd_bytes = 0;
	if (!e->cmd_va) {
		e->cmd_va = env_alloc(e, IN_PAGES, CMD_MAX);
		e->result_va = env_alloc(e, IN_HBM, sizeof(e->result));
	}
	emit(e, pkt, bytes);
	env_put(e, e->cmd_va, e->cmd, e->cmd_bytes);
	s = snapshot_take(e);
	env_run(e);
	assert_int_equal(e->job.status, status);
	assert_int_equal(e->job.reason, reason);
	assert_true(snapshot_same(e, s));
	e->cmd_bytes = 0;
}

enum { M = 20, Q = 4, H = 2, D = 16, B = 12, T = 8, L = 12, FIRST = 60 };

struct pool {
	struct zw_tensor q, pos, table, k, v;
};

/* One sequence of 80 tokens in shuffled blocks, of which the last 20 are queries. */
static struct pool make_pool(struct cp_env *e, enum place p)
{
	struct pool a;

	a.q = random_tensor(e, p, BF16, M, Q, D, 0);
	a.pos = tensor(e, p, I32, M, 0, 0, 0);
	a.table = tensor(e, p, I32, 1, L, 0, 0);
	a.k = random_tensor(e, p, BF16, B, T, H, D);
	a.v = random_tensor(e, p, BF16, B, T, H, D);
	for (uint32_t i = 0; i < M; i++)
		put_i(e, &a.pos, i, 0, (int32_t)(FIRST + i));
	for (uint32_t i = 0; i < L; i++)
		put_i(e, &a.table, 0, i, (int32_t)(i * 5 % B));
	return a;
}

static struct zw_pkt_attention make_attention(struct cp_env *e, enum place p, const struct pool *a)
{
	const float scale = 0.25f;

	return (struct zw_pkt_attention){.hdr = HDR(ZW_OP_ATTENTION, zw_pkt_attention),
					 .q = a->q,
					 .y = tensor(e, p, F32, M, Q, D, 0),
					 .pos = a->pos,
					 .block_table = a->table,
					 .k_cache = a->k,
					 .v_cache = a->v,
					 .lse = tensor(e, p, F32, M, Q, 0, 0),
					 .scale_f32 = zw_f32_bits(scale)};
}

/* Attention of the keys before and from a position on, merged, is attention over all of them. */
static void split_and_merge(void **state)
{
	struct cp_env *e = *state;

	EACH_PLACE(p)
	{
		struct pool a = make_pool(e, p);
		struct zw_pkt_attention all = make_attention(e, p, &a), part = all;
		struct zw_pkt_merge m = {.hdr = HDR(ZW_OP_MERGE, zw_pkt_merge)};
		struct zw_tensor last = tensor(e, p, I32, M, 0, 0, 0), one;
		uint32_t rows = 13;

		m.x = tensor(e, p, F32, 3, M, Q, D);
		m.x_lse = tensor(e, p, F32, 3, M, Q, 0);
		m.y = tensor_gap(e, p, F32, 6, M, Q, D);
		m.lse = tensor_gap(e, p, F32, 2, M, Q, 0);
		part.start = tensor(e, p, I32, M, 0, 0, 0);
		EMIT(e, all);
		for (uint32_t n = 0; n < 3; n++) {
			/* [0, 30), [30, pos], nothing; bounds are read when the packet runs */
			part.y = m.x;
			part.y.ndim = 3;
			part.y.va += n * M * Q * D * 4;
			part.y.dim[0] = M;
			part.y.dim[1] = Q;
			part.y.dim[2] = D;
			part.y.dim[3] = 0;
			part.y.stride[0] = Q * D;
			part.y.stride[1] = D;
			part.y.stride[2] = 0;
			part.lse = tensor_at(m.x_lse.va + n * M * Q * 4, F32, M, Q, 0, 0);
			part.pos = n == 1 ? a.pos : last;
			for (uint32_t r = 0; r < M; r++) {
				put_i(e, &last, r, 0, 29);
				put_i(e, &part.start, r, 0, n * 30);
			}
			EMIT(e, part);
			env_run_ok(e);
			e->cmd_bytes = 0;
		}
		EMIT(e, m);
		env_run_ok(e);
		for (uint32_t r = 0; r < M; r++)
			for (uint32_t h = 0; h < Q; h++) {
				expect_near((double)get_f(e, &m.lse, r, h, 0, 0),
					    (double)get_f(e, &all.lse, r, h, 0, 0));
				for (uint32_t d = 0; d < D; d++)
					expect_near((double)get_f(e, &m.y, r, h, d, 0),
						    (double)get_f(e, &all.y, r, h, d, 0));
			}
		/* fewer rows: no other row of any part is touched, or read */
		one = m.y;
		m.hdr.rows_va = env_alloc(e, IN_SYSTEM, 4);
		env_put(e, m.hdr.rows_va, &rows, 4);
		m.y = tensor(e, p, F32, M, Q, D, 0);
		EMIT(e, m);
		env_run_ok(e);
		for (uint32_t r = 0; r < rows; r++)
			assert_true(get_f(e, &m.y, r, 3, 9, 0) == get_f(e, &one, r, 3, 9, 0));
		assert_int_equal(e->result.hbm_read + e->result.sys_read,
				 3 * rows * Q * (D + 1) * 4);
		assert_int_equal(e->result.hbm_written + e->result.sys_written,
				 rows * Q * (D + 1) * 4);
		m.x.dim[0] =
			1; /* what lies behind the last row of the last part may not be there */
		m.x_lse.dim[0] = 1;
		m.x.va = AREA_VA(IN_READ_ONLY) + AREA_BYTES - rows * Q * D * 4;
		m.x_lse.va = AREA_VA(IN_READ_ONLY) + AREA_BYTES - rows * Q * 4;
		EMIT(e, m);
		env_run_ok(e);
	}
}

static void merge_cost(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_merge m = {.hdr = HDR(ZW_OP_MERGE, zw_pkt_merge)};

	e->profile.hbm_bw *= 1000;
	e->profile.vector_flops = 1000000000;
	m.x = random_tensor(e, IN_HBM, BF16, 3, 10, 4, 8);
	m.x_lse = random_tensor(e, IN_HBM, F32, 3, 10, 4, 0);
	m.y = tensor(e, IN_HBM, BF16, 10, 4, 8, 0);
	EMIT(e, m);
	env_run_ok(e);
	/* 320 elements, 2 x 3 + 1 each, at 1 GFLOPS */
	assert_int_equal(e->result.busy_ps[ZW_ENGINE_ATTN], 1000000 + 320 * 7 * 1000);
	assert_int_equal(e->result.hbm_read, 3 * 320 * 2 + 3 * 40 * 4);
	assert_int_equal(e->result.hbm_written, 640);
}

/* ATTENTION takes the lists as they come out; with room for all blocks it has the bits of no lists. */
static void blocks_for_attention(void **state)
{
	struct cp_env *e = *state;

	EACH_PLACE(p)
	{
		for (uint32_t most = 4; most <= 10; most += 6) {
			struct pool a = make_pool(e, p);
			struct zw_pkt_attention all = make_attention(e, p, &a),
						sparse = make_attention(e, p, &a);
			struct zw_pkt_select_blocks s = {
				.hdr = HDR(ZW_OP_SELECT_BLOCKS, zw_pkt_select_blocks),
				.q = a.q,
				.pos = a.pos,
				.block_table = a.table,
				.k_cache = a.k,
				.blocks = tensor_gap(e, p, I32, 3, 3, Q, most),
				.counts = tensor_gap(e, p, I32, 1, 3, Q, 0),
			};
			uint32_t rows = 7;

			sparse.sparse_blocks = s.blocks;
			sparse.sparse_counts = s.counts;
			EMIT(e, all);
			EMIT(e, s);
			EMIT(e, sparse);
			env_run_ok(e);
			for (uint32_t g = 0; g < 3; g++)
				for (uint32_t h = 0; h < Q; h++)
					assert_int_equal(get_i(e, &s.counts, g, h),
							 most == 4 ? 4
								   : (FIRST + g * 7 + 6 < 80
									      ? FIRST + g * 7 + 6
									      : 79) / T +
									     1);
			for (uint32_t r = 0; r < M && most == 10; r++)
				for (uint32_t h = 0; h < Q; h++)
					for (uint32_t d = 0; d < D; d++)
						assert_true(get_f(e, &all.y, r, h, d, 0) ==
							    get_f(e, &sparse.y, r, h, d, 0));
			expect_gaps(e, &s.counts);
			/* groups without rows have empty lists */
			s.hdr.rows_va = env_alloc(e, IN_SYSTEM, 4);
			env_put(e, s.hdr.rows_va, &rows, 4);
			EMIT(e, s);
			env_run_ok(e);
			assert_true(get_i(e, &s.counts, 0, 1) > 0);
			assert_int_equal(get_i(e, &s.counts, 1, 1), 0);
			assert_int_equal(get_i(e, &s.counts, 2, 3), 0);
		}
	}
}

static void blocks_cost(void **state)
{
	struct cp_env *e = *state;
	struct pool a = make_pool(e, IN_HBM);
	struct zw_pkt_select_blocks s = {
		.hdr = HDR(ZW_OP_SELECT_BLOCKS, zw_pkt_select_blocks),
		.q = a.q,
		.pos = a.pos,
		.block_table = a.table,
		.k_cache = a.k,
		.blocks = tensor(e, IN_HBM, I32, 2, Q, 5, 0),
		.counts = tensor(e, IN_HBM, I32, 2, Q, 0, 0),
	};

	e->profile.hbm_bw *= 1000;
	e->profile.vector_flops = e->profile.tensor_f32_flops = 1000000000;
	e->profile.tensor_f32_permille = 1000;
	EMIT(e, s);
	env_run_ok(e);
	/* groups of 10 from 60 and 70: 7 and 8 blocks are scored; 8 of them are read */
	assert_int_equal(e->result.busy_ps[ZW_ENGINE_ATTN],
			 1000000 +
				 1000 * (8 * T * H * D + M * Q * D + 15 * Q * 4 + 15 * Q * 2 * D));
	assert_int_equal(e->result.hbm_read, M * Q * D * 2 + M * 4 + 10 * 4 + 8 * T * H * D * 2);
	assert_int_equal(e->result.hbm_written, 2 * Q * 6 * 4);
	/* so the others may be anything */
	put_i(e, &a.table, 0, 8, -1);
	put_i(e, &a.table, 0, 9, -1);
	EMIT(e, s);
	env_run_ok(e);
	put_i(e, &a.table, 0, 7, -1);
	expect_fails(e, &s, sizeof(s), ZW_JOB_DATA, ZW_REASON_INDEX);
}

static struct zw_pkt_select_slash make_slash(struct cp_env *e, enum place p, const struct pool *a,
					     int32_t vertical, int32_t slash)
{
	const float scale = 0.25f;
	struct zw_pkt_select_slash s = {
		.hdr = HDR(ZW_OP_SELECT_SLASH, zw_pkt_select_slash),
		.q = a->q,
		.pos = a->pos,
		.block_table = a->table,
		.k_cache = a->k,
		.vertical = tensor(e, p, I32, Q, 0, 0, 0),
		.slash = tensor(e, p, I32, Q, 0, 0, 0),
		.blocks = tensor_gap(e, p, I32, 3, 3, Q, 10),
		.counts = tensor_gap(e, p, I32, 1, 3, Q, 0),
		.columns = tensor_gap(e, p, I32, 2, 3, Q, 30),
		.column_counts = tensor_gap(e, p, I32, 5, 3, Q, 0),
		.scale_f32 = zw_f32_bits(scale),
		.sample = 16,
		.first = 3,
		.nearest = 4,
	};

	for (uint32_t h = 0; h < Q; h++) {
		put_i(e, &s.vertical, h, 0, vertical);
		put_i(e, &s.slash, h, 0, slash);
	}
	return s;
}

static void slash_for_attention(void **state)
{
	struct cp_env *e = *state;

	EACH_PLACE(p)
	{
		for (int i = 0; i < 2; i++) {
			struct pool a = make_pool(e, p);
			struct zw_pkt_attention all = make_attention(e, p, &a),
						sparse = make_attention(e, p, &a);
			struct zw_pkt_select_slash s = make_slash(e, p, &a, 12, i ? 80 : 6);

			sparse.sparse_blocks = s.blocks;
			sparse.sparse_counts = s.counts;
			sparse.sparse_columns = s.columns;
			sparse.sparse_column_counts = s.column_counts;
			EMIT(e, all);
			EMIT(e, s);
			EMIT(e, sparse);
			env_run_ok(e);
			for (uint32_t g = 0; g < 3; g++)
				for (uint32_t h = 0; h < Q; h++) {
					assert_true(get_i(e, &s.counts, g, h) >= 1);
					assert_int_equal(get_i(e, &s.column_counts, g, h) > 0, !i);
				}
			/* all distances: all blocks, and the bits of no lists */
			for (uint32_t r = 0; r < M && i; r++)
				for (uint32_t h = 0; h < Q; h++)
					for (uint32_t d = 0; d < D; d++)
						assert_true(get_f(e, &all.y, r, h, d, 0) ==
							    get_f(e, &sparse.y, r, h, d, 0));
			expect_gaps(e, &s.counts);
			expect_gaps(e, &s.column_counts);
		}
	}
}

static void compare_lists(struct cp_env *e, const struct zw_tensor *a, const struct zw_tensor *b,
			  bool want)
{
	bool same = true;

	for (uint32_t g = 0; g < a->dim[0]; g++)
		for (uint32_t h = 0; h < a->dim[1]; h++)
			for (uint32_t i = 0; i < a->dim[2]; i++) {
				int32_t x, y;

				env_get(e, at(a, g, h, i, 0), &x, sizeof(x));
				env_get(e, at(b, g, h, i, 0), &y, sizeof(y));
				same = same && x == y;
			}
	assert_int_equal(same, want);
}

/*
 * A query for keys further away that all keys are takes the place of q, from any memory, and costs its bytes; one that none
 * is does not.
 */
static void further(void **state)
{
	struct cp_env *e = *state;

	EACH_PLACE(p)
	{
		struct pool a = make_pool(e, p);
		struct zw_tensor other = random_tensor(e, p, BF16, M, Q, D, 0);
		struct zw_tensor end[2] = {tensor(e, p, I32, M, 0, 0, 0),
					   tensor(e, p, I32, M, 0, 0, 0)};

		for (uint32_t r = 0; r < M; r++) {
			put_i(e, &end[0], r, 0, INT32_MAX);
			put_i(e, &end[1], r, 0, 0);
		}
		/* all keys are mid; all are far, whatever mid says; none is */
		for (unsigned int i = 0; i < 3; i++) {
			struct zw_pkt_select_blocks b[2];
			struct zw_pkt_select_slash s[2];
			uint64_t read[2];

			for (unsigned int j = 0; j < 2; j++) {
				b[j] = (struct zw_pkt_select_blocks){
					.hdr = HDR(ZW_OP_SELECT_BLOCKS, zw_pkt_select_blocks),
					.q = a.q,
					.pos = a.pos,
					.block_table = a.table,
					.k_cache = a.k,
					.blocks = tensor_gap(e, p, I32, 3, 3, Q, 4),
					.counts = tensor_gap(e, p, I32, 1, 3, Q, 0),
				};
				s[j] = make_slash(e, p, &a, 12, 6);
			}
			b[1].q = s[1].q = i < 2 ? other : a.q;
			b[1].q_mid = s[1].q_mid = i ? other : a.q;
			b[1].mid_end = s[1].mid_end = end[i == 2];
			if (i) {
				b[1].q_far = s[1].q_far = i == 1 ? a.q : other;
				b[1].far_end = s[1].far_end = end[i == 2];
			}
			EMIT(e, b[0]);
			EMIT(e, s[0]);
			env_run_ok(e);
			read[0] = e->result.hbm_read + e->result.sys_read;
			EMIT(e, b[1]);
			EMIT(e, s[1]);
			env_run_ok(e);
			read[1] = e->result.hbm_read + e->result.sys_read;
			compare_lists(e, &b[0].blocks, &b[1].blocks, true);
			compare_lists(e, &s[0].blocks, &s[1].blocks, true);
			compare_lists(e, &s[0].columns, &s[1].columns, true);
			assert_true(read[1] > read[0]);
			/* the queries that were compared are not the others */
			b[1].q = s[1].q = other;
			b[1].q_mid = s[1].q_mid = other;
			if (i)
				b[1].q_far = s[1].q_far = other;
			EMIT(e, b[1]);
			EMIT(e, s[1]);
			env_run_ok(e);
			compare_lists(e, &b[0].blocks, &b[1].blocks, false);
			compare_lists(e, &s[0].columns, &s[1].columns, false);
			put_i(e, &end[i == 2], M - 1, 0, -1);
			expect_fails(e, &b[1], sizeof(b[1]), ZW_JOB_DATA, ZW_REASON_INDEX);
			expect_fails(e, &s[1], sizeof(s[1]), ZW_JOB_DATA, ZW_REASON_INDEX);
			put_i(e, &end[i == 2], M - 1, 0, i == 2 ? 0 : INT32_MAX);
		}
	}
}

static void slash_cost(void **state)
{
	struct cp_env *e = *state;
	struct pool a = make_pool(e, IN_HBM);
	struct zw_pkt_select_slash s = make_slash(e, IN_HBM, &a, 12, 6);
	uint64_t pairs = 0, keys = 80 * H * D * 2;

	for (uint32_t i = 0; i < 16; i++)
		pairs += 80 - i;
	e->profile.hbm_bw *= 1000;
	e->profile.tensor_bf16_flops = 1000000000;
	e->profile.vector_flops = 100000000000ull;
	e->profile.tensor_efficiency_permille = 1000;
	for (int i = 0; i < 2; i++) {
		e->profile.sram_bytes = 2 * keys - (uint64_t)i;
		EMIT(e, s);
		env_run_ok(e);
		assert_int_equal(e->result.busy_ps[ZW_ENGINE_ATTN],
				 1000000 + pairs * Q * 4 * D * 1000 + 80 * Q * 8 * 10);
		assert_int_equal(e->result.hbm_read, M * Q * D * 2 + M * 4 + 10 * 4 + 2 * Q * 4 +
							     keys * (1 + (uint64_t)i));
	}
}

static void slash_refused(void **state)
{
	struct cp_env *e = *state;
	struct pool a = make_pool(e, IN_HBM);
	struct zw_pkt_select_slash s = make_slash(e, IN_HBM, &a, 12, 6), t;

	put_i(e, &s.vertical, 3, 0, -1);
	expect_fails(e, &s, sizeof(s), ZW_JOB_DATA, ZW_REASON_INDEX);
	put_i(e, &s.vertical, 3, 0, 31); /* room for 30 */
	expect_fails(e, &s, sizeof(s), ZW_JOB_DATA, ZW_REASON_LIMIT);
	put_i(e, &s.vertical, 3, 0, INT32_MAX);
	expect_fails(e, &s, sizeof(s), ZW_JOB_DATA, ZW_REASON_LIMIT);
	put_i(e, &s.vertical, 3, 0, 12);
	put_i(e, &s.slash, 0, 0, INT32_MIN);
	expect_fails(e, &s, sizeof(s), ZW_JOB_DATA, ZW_REASON_INDEX);
	put_i(e, &s.slash, 0, 0, 6);
	t = s;
	t.blocks.dim[2] =
		9; /* 80 positions are 10 blocks, 6 distances of groups of 7 rows at most 12 */
	expect_fails(e, &t, sizeof(t), ZW_JOB_DATA, ZW_REASON_LIMIT);
	t = s;
	t.first = 31;
	expect_fails(e, &t, sizeof(t), ZW_JOB_DATA, ZW_REASON_LIMIT);
	put_i(e, &a.pos, 7, 0, FIRST + 8); /* not the next one */
	expect_fails(e, &s, sizeof(s), ZW_JOB_DATA, ZW_REASON_INDEX);
	put_i(e, &a.pos, 7, 0, FIRST + 7);
	EMIT(e, s);
	env_run_ok(e);
}

static void timing_cp(struct cp_env *e)
{
	struct zw_cp_config cc = {.profile = &e->profile,
				  .mmu = e->mmu,
				  .pool = e->pool,
				  .pmu = &e->pmu,
				  .timing_only = true};

	zw_cp_free(e->cp);
	e->cp = zw_cp_new(&cc);
}

static void expect_list(struct cp_env *e, const struct zw_tensor *lists,
			const struct zw_tensor *counts, uint32_t g, uint32_t h, const int32_t *want,
			uint32_t n)
{
	assert_int_equal(get_i(e, counts, g, h), n);
	for (uint32_t i = 0; i < n; i++) {
		int32_t v;

		env_get(e, at(lists, g, h, i, 0), &v, sizeof(v));
		assert_int_equal(v, want[i]);
	}
}

/*
 * Where nothing is computed there are lists of as many keys as would be chosen, in places that are made up: by hand, for the
 * first and the last head of the first group. ATTENTION takes them, in memory of all kinds.
 */
static void made_up(void **state)
{
	/* positions 60..66, blocks 7 and 8 of 8: these, 0, and 2 of 1..6: at 0 and 3 of 6, a head at a quarter of 3 more */
	static const int32_t blocks[2][5] = {{0, 1, 4, 7, 8}, {0, 3, 6, 7, 8}};
	struct cp_env *e = *state;

	EACH_PLACE(p)
	{
		struct pool a = make_pool(e, p);
		struct zw_pkt_attention sparse = make_attention(e, p, &a);
		struct zw_pkt_select_blocks b = {
			.hdr = HDR(ZW_OP_SELECT_BLOCKS, zw_pkt_select_blocks),
			.q = a.q,
			.pos = a.pos,
			.block_table = a.table,
			.k_cache = a.k,
			.blocks = tensor_gap(e, p, I32, 3, 3, Q, 5),
			.counts = tensor_gap(e, p, I32, 1, 3, Q, 0)};
		struct zw_pkt_select_slash s = make_slash(e, p, &a, 12, 6);
		uint64_t few;

		timing_cp(e);
		sparse.sparse_blocks = b.blocks;
		sparse.sparse_counts = b.counts;
		EMIT(e, b);
		EMIT(e, sparse);
		env_run_ok(e);
		expect_list(e, &b.blocks, &b.counts, 0, 0, blocks[0], 5);
		expect_list(e, &b.blocks, &b.counts, 0, Q - 1, blocks[1], 5);
		expect_gaps(e, &b.counts);

		/* 6 distances: the nearest, which are too few for a band; 12 columns: 0 to 2, and 9 of 77 */
		sparse.sparse_blocks = s.blocks;
		sparse.sparse_counts = s.counts;
		sparse.sparse_columns = s.columns;
		sparse.sparse_column_counts = s.column_counts;
		e->cmd_bytes = 0;
		EMIT(e, s);
		EMIT(e, sparse);
		env_run_ok(e);
		expect_list(e, &s.blocks, &s.counts, 0, 0, (int32_t[]){6, 7, 8}, 3);
		expect_list(e, &s.columns, &s.column_counts, 0, 0,
			    (int32_t[]){0, 1, 2, 3, 11, 20, 28, 37, 45}, 9);
		expect_list(e, &s.columns, &s.column_counts, 0, Q - 1,
			    (int32_t[]){0, 1, 2, 9, 17, 26, 35, 43}, 8);
		expect_gaps(e, &s.counts);
		expect_gaps(e, &s.column_counts);
		few = e->result.hbm_read + e->result.sys_read;

		for (uint32_t h = 0; h < Q; h++)
			put_i(e, &s.slash, h, 0, 70);
		e->cmd_bytes = 0;
		EMIT(e, s);
		EMIT(e, sparse);
		env_run_ok(e);
		expect_list(e, &s.blocks, &s.counts, 0, 0, (int32_t[]){0, 1, 2, 3, 4, 5, 6, 7, 8},
			    9);
		assert_int_equal(get_i(e, &s.column_counts, 0, 0), 0);
		assert_true(e->result.hbm_read + e->result.sys_read > few);
	}
}

/*
 * Of 1,000 positions 256 distances: the nearest 128, and two bands of 64 with 744 positions between and behind them, of
 * which a head of four leaves an eighth more in front of each band than the one before it.
 */
static void made_up_bands(void **state)
{
	/* bands 657..720 and 221..284, seen from 900..963; 936..999, which begins at 963 - 936, and 500..563 */
	static const int32_t want[2][10] = {{2, 3, 4, 9, 10, 11, 12, 13, 14, 15},
					    {0, 5, 6, 7, 12, 13, 14, 15}};
	int32_t list[16];

	(void)state;
	for (uint32_t i = 0; i < 2; i++) {
		const struct kv_made_up m = {3 * i, 4};
		uint32_t n = zw_cp_made_up_reach(&m, 900, 963, 64, 256, 100, 1000, list);

		assert_int_equal(n, 10 - 2 * i);
		assert_memory_equal(list, want[i], n * sizeof(*list));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(split_and_merge, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(merge_cost, env_setup_plain, env_teardown),
		cmocka_unit_test_setup_teardown(blocks_for_attention, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(blocks_cost, env_setup_plain, env_teardown),
		cmocka_unit_test_setup_teardown(slash_for_attention, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(further, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(slash_cost, env_setup_plain, env_teardown),
		cmocka_unit_test_setup_teardown(slash_refused, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(made_up, env_setup, env_teardown),
		cmocka_unit_test(made_up_bands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

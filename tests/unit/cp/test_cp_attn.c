// SPDX-License-Identifier: MIT
/* What ATTENTION sees: windows, starts, lists of blocks and columns, sinks; what is refused, read and what it costs. */
#include "cp/zw_cp_int.h"
#include "cp_packets.h"
#include <math.h>

#define EACH_PLACE(p) for (enum place p = IN_HBM; p <= IN_SYSTEM; env_clear(e), p++)

/* Rows of two sequences, in three groups of which the second has rows of both. */
enum { M = 8, G = 3, HQ = 4, HKV = 2, D = 16, B = 12, T = 8, S = 2, LB = 6, LS = 4, LC = 9 };
static const int32_t table[S][LB] = {{5, 2, 7, 1, 11, 9}, {0, 3, 4, 6, 8, 10}};
static const int32_t positions[M] = {40, 41, 42, 43, 47, 30, 31, 9};
static const int32_t seqs[M] = {0, 0, 0, 0, 1, 1, 1, 1};

static int32_t blocks[G][HQ][LS], counts[G][HQ], columns[G][HQ][LC], column_counts[G][HQ];
static int32_t starts[M];

static void put_list(struct cp_env *e, const struct zw_tensor *t, const int32_t *v)
{
	for (uint32_t i = 0; i < G * HQ; i++)
		for (uint32_t j = 0; j < (t->ndim == 3 ? t->dim[2] : 1); j++, v++)
			env_put(e, at(t, i / HQ, i % HQ, j, 0), v, 4);
}

/* Puts the lists, as they are now, into memory. */
static void put_lists(struct cp_env *e, const struct zw_pkt_attention *a)
{
	if (a->sparse_blocks.dtype) {
		put_list(e, &a->sparse_blocks, &blocks[0][0][0]);
		put_list(e, &a->sparse_counts, &counts[0][0]);
	}
	if (a->sparse_columns.dtype) {
		put_list(e, &a->sparse_columns, &columns[0][0][0]);
		put_list(e, &a->sparse_column_counts, &column_counts[0][0]);
	}
	for (uint32_t r = 0; r < M && a->start.dtype; r++)
		put_i(e, &a->start, r, 0, starts[r]);
}

/* Lists of a group and head: some blocks, some columns of the others. */
static void draw_lists(struct cp_env *e)
{
	for (uint32_t i = 0; i < G * HQ; i++) {
		int32_t *b = blocks[i / HQ][i % HQ], *c = columns[i / HQ][i % HQ], nb = 0, nc = 0;
		bool listed[LB] = {false};

		for (int32_t j = 0; j < LB && nb < LS; j++)
			if (test_rand(&e->rng) % 2) {
				listed[j] = true;
				b[nb++] = j;
			}
		for (int32_t j = 0; j < LB * T && nc < LC; j++)
			if (!listed[j / T] && test_rand(&e->rng) % 4 == 0)
				c[nc++] = j;
		counts[i / HQ][i % HQ] = nb;
		column_counts[i / HQ][i % HQ] = nc;
	}
	/* none at all */
	counts[0][1] = column_counts[0][1] = 0;
	for (uint32_t r = 0; r < M; r++)
		starts[r] = (int32_t)(test_rand(&e->rng) % 50);
	starts[3] = INT32_MAX;
}

enum { BLOCKS = 1, COLUMNS = 2, START = 4, SINKS = 8, WINDOW = 16, IN_PLACE = 32, ALL = 64 };

static struct zw_pkt_attention make(struct cp_env *e, enum place p, unsigned int dtype,
				    unsigned int has)
{
	const float scale = 0.25f;
	struct zw_pkt_attention a = {.hdr = HDR(ZW_OP_ATTENTION, zw_pkt_attention),
				     .scale_f32 = zw_f32_bits(scale)};

	a.q = tensor_gap(e, p, BF16, 10, M, HQ, D);
	a.y = has & IN_PLACE ? a.q : tensor(e, p, F32, M, HQ, D, 0);
	a.pos = tensor(e, p, I32, M, 0, 0, 0);
	a.seq = tensor(e, p, I32, M, 0, 0, 0);
	a.block_table = tensor_gap(e, p, I32, 2, S, LB, 0);
	a.k_cache = random_tensor(e, p, dtype, B, T, HKV, D);
	a.v_cache = random_tensor(e, p, dtype, B, T, HKV, D);
	a.lse = tensor_gap(e, p, F32, 3, M, HQ, 0);
	fill_random(e, &a.q);
	for (uint32_t i = 0; i < M; i++) {
		put_i(e, &a.pos, i, 0, positions[i]);
		put_i(e, &a.seq, i, 0, seqs[i]);
	}
	for (uint32_t i = 0; i < S * LB; i++)
		put_i(e, &a.block_table, i / LB, i % LB, table[i / LB][i % LB]);
	if (has & BLOCKS) {
		a.sparse_blocks = tensor_gap(e, p, I32, 5, G, HQ, LS);
		a.sparse_counts = tensor_gap(e, p, I32, 3, G, HQ, 0);
	}
	if (has & COLUMNS) {
		a.sparse_columns = tensor_gap(e, p, I32, 1, G, HQ, LC);
		a.sparse_column_counts = tensor(e, p, I32, G, HQ, 0, 0);
	}
	if (has & START)
		a.start = tensor(e, p, I32, M, 0, 0, 0);
	if (has & SINKS) {
		a.sinks = random_tensor(e, p, F32, HQ, 0, 0, 0);
		put_f(e, &a.sinks, 2, 0, 0, 0, -INFINITY);
	}
	if (has & WINDOW)
		a.window = 11;
	put_lists(e, &a);
	return a;
}

/* Whether head h of row r sees a position. */
static bool sees(const struct zw_pkt_attention *a, uint32_t r, uint32_t h, int32_t pos)
{
	uint32_t g = r / ((M + G - 1) / G);
	bool listed = false;

	if (pos > positions[r] || (a->start.dtype && pos < starts[r]) ||
	    (a->window && pos + (int32_t)a->window <= positions[r]))
		return false;
	if (!a->sparse_blocks.dtype && !a->sparse_columns.dtype)
		return true;
	for (int32_t i = 0; a->sparse_blocks.dtype && i < counts[g][h]; i++)
		listed |= blocks[g][h][i] == pos / T;
	for (int32_t i = 0; a->sparse_columns.dtype && i < column_counts[g][h]; i++)
		listed |= columns[g][h][i] == pos;
	return listed;
}

static void expect_near(double got, double want, unsigned int dtype)
{
	double bound = dtype == F32 ? 1e-4 : 1e-2;

	if (!(got == want || fabs(got - want) <= bound * (1 + fabs(want))))
		fail_msg("%g, not %g", got, want);
}

/* Runs the packet and holds its first `rows` rows to double precision. */
static void verify(struct cp_env *e, const struct zw_pkt_attention *a, uint32_t rows)
{
	static double want[M][HQ][D];
	double lse[M][HQ];

	memset(want, 0, sizeof(want));
	for (uint32_t r = 0; r < rows; r++)
		for (uint32_t h = 0; h < HQ; h++) {
			double sum = 0;

			for (int32_t q = 0; q <= positions[r]; q++) {
				uint64_t b = (uint64_t)table[seqs[r]][q / T], s = (uint64_t)q % T;
				double z = 0, w;

				if (!sees(a, r, h, q))
					continue;
				for (uint32_t d = 0; d < D; d++)
					z += (double)get_f(e, &a->q, r, h, d, 0) *
					     get_f(e, &a->k_cache, b, s, h / (HQ / HKV), d);
				w = exp(z * 0.25);
				sum += w;
				for (uint32_t d = 0; d < D; d++)
					want[r][h][d] +=
						w * get_f(e, &a->v_cache, b, s, h / (HQ / HKV), d);
			}
			if (a->sinks.dtype)
				sum += exp((double)get_f(e, &a->sinks, h, 0, 0, 0));
			for (uint32_t d = 0; d < D; d++)
				want[r][h][d] = sum > 0 ? want[r][h][d] / sum : 0;
			lse[r][h] = sum > 0 ? log(sum) : -INFINITY;
		}
	emit(e, a, a->hdr.size);
	env_run_ok(e);
	for (uint32_t r = 0; r < rows; r++)
		for (uint32_t h = 0; h < HQ; h++) {
			expect_near((double)get_f(e, &a->lse, r, h, 0, 0), lse[r][h], F32);
			for (uint32_t d = 0; d < D; d++)
				expect_near((double)get_f(e, &a->y, r, h, d, 0), want[r][h][d],
					    a->y.dtype);
		}
}

static void what_it_sees(void **state)
{
	struct cp_env *e = *state;

	for (unsigned int has = 0; has < ALL; has++)
		EACH_PLACE(p)
		{
			struct zw_pkt_attention a;

			e->rng = has + 1;
			draw_lists(e);
			a = make(e, p, has % 3 ? BF16 : F32, has);
			verify(e, &a, M);
		}
}

/* Fewer rows than the packet has: groups stay what they are. */
static void fewer_rows(void **state)
{
	struct cp_env *e = *state;

	draw_lists(e);
	for (uint32_t rows = 1; rows <= M; rows++) {
		struct zw_pkt_attention a = make(e, IN_HBM, BF16, BLOCKS | COLUMNS);

		a.hdr.rows_va = env_alloc(e, IN_SYSTEM, 4);
		env_put(e, a.hdr.rows_va, &rows, 4);
		/* a list of a group without rows is not looked at */
		for (uint32_t h = 0; h < HQ; h++)
			put_i(e, &a.sparse_counts, G - 1, h, rows > 6 ? counts[G - 1][h] : -1);
		verify(e, &a, rows);
		env_clear(e);
	}
}

static void older_packet(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_attention a;

	draw_lists(e);
	a = make(e, IN_HBM, BF16, BLOCKS | SINKS | WINDOW);
	a.hdr.size = 880;
	verify(e, &a, M);
	/* what lies behind it is the next packet, not its fields */
	e->cmd_bytes = 0;
	emit(e, &a, a.hdr.size);
	emit(e, &a, a.hdr.size);
	env_run_ok(e);
	assert_int_equal(e->result.packets, 2);
}

/* Blocks that nobody lists, or that every window is past, may be anything: unmapped, or not in the table. */
static void what_it_reads(void **state)
{
	struct cp_env *e = *state;
	static const unsigned int kinds[] = {BLOCKS, COLUMNS, BLOCKS | COLUMNS,
					     START,  WINDOW,  BLOCKS | START};

	for (unsigned int i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		for (uint32_t round = 0; round < 8; round++) {
			struct zw_pkt_attention a;
			uint32_t used = 0;

			env_clear(e);
			e->rng = 100 + i + round * 10;
			draw_lists(e);
			for (uint32_t r = 0; r < M; r++) /* so that the first blocks are not used */
				starts[r] = 20 + (int32_t)(test_rand(&e->rng) % 12);
			a = make(e, IN_HBM, BF16, kinds[i]);
			for (uint32_t r = 0; r < M; r++)
				for (uint32_t h = 0; h < HQ; h++)
					for (int32_t q = 0; q <= positions[r]; q++)
						used |= (uint32_t)sees(&a, r, h, q)
							<< (seqs[r] * LB + q / T);
			/* listed, or between the first and the last of its sequence */
			for (uint32_t s = 0; s < S && !(kinds[i] & (BLOCKS | COLUMNS)); s++)
				for (uint32_t b = 1; b < LB; b++)
					if (used >> (s * LB) & ((1u << b) - 1) &&
					    (used >> (s * LB) & ((1u << LB) - 1)) >> b)
						used |= 1u << (s * LB + b);
			verify(e, &a, M);
			for (uint32_t j = 0; j < S * LB; j++) {
				bool in = used >> j & 1;

				put_i(e, &a.block_table, j / LB, j % LB, -1);
				emit(e, &a, a.hdr.size);
				if (in) {
					env_run(e);
					assert_int_equal(e->job.status, ZW_JOB_DATA);
					assert_int_equal(e->job.reason, ZW_REASON_INDEX);
					e->cmd_bytes = 0;
					zw_cp_queue_reset(e->cp, 0);
				} else {
					env_run_ok(e);
				}
				put_i(e, &a.block_table, j / LB, j % LB, table[j / LB][j % LB]);
			}
		}
}

/* Bytes and time: each key once for the heads of a KV head, in each part of a group. */
static void what_it_costs(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_attention a;
	uint64_t pairs, keys, lists;

	e->profile.tensor_bf16_flops = 1000000000;
	e->profile.attn_permille = 1000;
	for (unsigned int has = 0; has < 32; has++) {
		env_clear(e);
		e->rng = has + 77;
		draw_lists(e);
		a = make(e, IN_HBM, BF16, has & ~(unsigned int)SINKS);
		pairs = keys = lists = 0;
		for (uint32_t r = 0; r < M; r++)
			for (uint32_t h = 0; h < HQ; h++)
				for (int32_t q = 0; q <= positions[r]; q++)
					pairs += sees(&a, r, h, q);
		if (has & (BLOCKS | COLUMNS)) {
			/* parts: rows 0-2, 3, 4-5, 6-7 */
			static const uint32_t part[] = {0, 3, 4, 6, 8};

			for (uint32_t i = 0; i < 4; i++) {
				int32_t from = INT32_MAX, end = -1;

				for (uint32_t r = part[i]; r < part[i + 1]; r++) {
					int32_t f = has & START ? starts[r] : 0;

					if (has & WINDOW && positions[r] - 10 > f)
						f = positions[r] - 10;
					if (f > positions[r])
						continue;
					from = f < from ? f : from;
					end = positions[r] > end ? positions[r] : end;
				}
				for (int32_t q = from; q <= end; q++)
					for (uint32_t kv = 0; kv < HKV; kv++) {
						bool any = false;

						for (uint32_t h = kv * 2; h < kv * 2 + 2; h++) {
							struct zw_pkt_attention l = a;

							/* without causality and window */
							l.window = 0;
							l.start.dtype = 0;
							for (uint32_t r = part[i]; r < part[i + 1];
							     r++)
								if (positions[r] == end)
									any |= sees(&l, r, h, q);
						}
						keys += any;
					}
			}
			for (uint32_t i = 0; i < G * HQ; i++) {
				if (has & BLOCKS)
					lists += 4 + 4 * (uint64_t)counts[i / HQ][i % HQ];
				if (has & COLUMNS)
					lists += 4 + 4 * (uint64_t)column_counts[i / HQ][i % HQ];
			}
		} else {
			for (uint32_t s = 0; s < S; s++) {
				int32_t from = INT32_MAX, end = -1;

				for (uint32_t r = 0; r < M; r++)
					for (int32_t q = 0; q <= positions[r]; q++)
						if (seqs[r] == (int32_t)s && sees(&a, r, 0, q)) {
							from = q < from ? q : from;
							end = q > end ? q : end;
						}
				keys += end >= from ? (uint64_t)(end - from + 1) * HKV : 0;
			}
		}
		emit(e, &a, a.hdr.size);
		env_run_ok(e);
		/* of lists the pairs count, else tiles of rows that are together as long as the longest of them */
		if (has & (BLOCKS | COLUMNS))
			assert_int_equal(e->result.busy_ps[ZW_ENGINE_ATTN],
					 1000000 + pairs * 4 * D * 1000);
		else
			assert_in_range(e->result.busy_ps[ZW_ENGINE_ATTN] - 1000000,
					pairs * 4 * D * 1000, 8 * pairs * 4 * D * 1000);
		/* but for the block table: 4 bytes each, at most all of it */
		uint64_t rest = M * HQ * D * 2 + M * 8 + (has & START ? M * 4 : 0) + lists +
				2 * keys * D * 2;
		assert_in_range(e->result.hbm_read, rest, rest + S * LB * 4);
		assert_int_equal((e->result.hbm_read - rest) % 4, 0);
	}
}

static void refused(struct cp_env *e, const struct zw_pkt_attention *a, uint32_t reason,
		    const char *what)
{
	struct snapshot *s;

	put_lists(e, a);
	e->cmd_bytes = 0;
	if (!e->cmd_va) {
		e->cmd_va = env_alloc(e, IN_PAGES, CMD_MAX);
		e->result_va = env_alloc(e, IN_HBM, sizeof(e->result));
	}
	emit(e, a, a->hdr.size);
	env_put(e, e->cmd_va, e->cmd, e->cmd_bytes);
	s = snapshot_take(e);
	env_run(e);
	if (e->job.status != ZW_JOB_DATA || e->job.reason != reason)
		fail_msg("%s: status %u reason %u", what, e->job.status, e->job.reason);
	assert_true(snapshot_same(e, s));
	e->cmd_bytes = 0;
}

static void bad_lists(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_attention a;
	static int32_t kept[sizeof(blocks) / 4 + sizeof(columns) / 4];

	draw_lists(e);
	a = make(e, IN_HBM, BF16, BLOCKS | COLUMNS | START);
	for (uint32_t i = 0; i < G * HQ; i++) {
		static const int32_t b[LS] = {1, 3, 4, 5}, c[LC] = {0, 2, 3, 5, 17, 18, 20, 22, 23};

		memcpy(blocks[i / HQ][i % HQ], b, sizeof(b));
		memcpy(columns[i / HQ][i % HQ], c, sizeof(c));
		counts[i / HQ][i % HQ] = LS;
		column_counts[i / HQ][i % HQ] = LC;
	}
	memset(starts, 0, sizeof(starts));
	put_lists(e, &a);
	verify(e, &a, M);
	memcpy(kept, blocks, sizeof(blocks));
	memcpy(kept + sizeof(blocks) / 4, columns, sizeof(columns));
#define BAD(reason, change)                                                                        \
	do {                                                                                       \
		change;                                                                            \
		refused(e, &a, reason, #change);                                                   \
		memcpy(blocks, kept, sizeof(blocks));                                              \
		memcpy(columns, kept + sizeof(blocks) / 4, sizeof(columns));                       \
	} while (0)
	BAD(ZW_REASON_INDEX, blocks[2][3][3] = LB);
	BAD(ZW_REASON_INDEX, blocks[2][3][3] = INT32_MAX);
	BAD(ZW_REASON_INDEX, blocks[0][0][0] = -1);
	BAD(ZW_REASON_INDEX, blocks[0][0][0] = INT32_MIN);
	BAD(ZW_REASON_INDEX, blocks[1][2][2] = 3); /* twice */
	BAD(ZW_REASON_INDEX, blocks[1][2][1] = 0); /* not in order */
	BAD(ZW_REASON_INDEX, columns[2][3][8] = LB * T);
	BAD(ZW_REASON_INDEX, columns[2][3][8] = INT32_MAX);
	BAD(ZW_REASON_INDEX, columns[0][1][0] = -1);
	BAD(ZW_REASON_INDEX, columns[0][1][1] = 0);  /* twice */
	BAD(ZW_REASON_INDEX, columns[0][1][3] = 2);  /* not in order */
	BAD(ZW_REASON_INDEX, columns[1][1][8] = 24); /* in block 3 */
	BAD(ZW_REASON_INDEX, columns[1][1][8] = 31);
	BAD(ZW_REASON_INDEX, blocks[1][1][0] = 0); /* columns 0, 2, ... in it */
	BAD(ZW_REASON_INDEX, counts[0][0] = -1);
	counts[0][0] = LS;
	BAD(ZW_REASON_INDEX, counts[2][3] = LS + 1);
	BAD(ZW_REASON_INDEX, counts[2][3] = INT32_MAX);
	counts[2][3] = LS;
	BAD(ZW_REASON_INDEX, column_counts[1][3] = LC + 1);
	BAD(ZW_REASON_INDEX, column_counts[1][3] = INT32_MIN);
	column_counts[1][3] = LC;
	BAD(ZW_REASON_INDEX, starts[4] = -1);
	starts[4] = 0;
	put_lists(e, &a);
	verify(e, &a, M);
}

/* Lists in memory that is not there; only as much of them as counts is read. */
static void unmapped_lists(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_attention a;

	draw_lists(e);
	for (uint32_t i = 0; i < 4; i++) {
		struct zw_tensor *t;

		env_clear(e);
		a = make(e, IN_HBM, BF16, BLOCKS | COLUMNS);
		t = i == 0   ? &a.sparse_blocks
		    : i == 1 ? &a.sparse_counts
		    : i == 2 ? &a.sparse_columns
			     : &a.sparse_column_counts;
		t->va = NOWHERE;
		emit(e, &a, a.hdr.size);
		env_run(e);
		assert_int_equal(e->job.status, ZW_JOB_FAULT);
		assert_int_equal(e->job.reason, ZW_FAULT_UNMAPPED);
		e->cmd_bytes = 0;
	}
	/* nothing is listed: the lists themselves need not be there */
	env_clear(e);
	memset(counts, 0, sizeof(counts));
	a = make(e, IN_HBM, BF16, BLOCKS);
	a.sparse_blocks.va = NOWHERE;
	put_list(e, &a.sparse_counts, &counts[0][0]);
	emit(e, &a, a.hdr.size);
	env_run_ok(e);
}

/* More than the device takes at a time, found before it is read. */
static void limits(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_attention a;
	const int32_t most = 1 << 20;

	draw_lists(e);
	a = make(e, IN_HBM, BF16, BLOCKS | COLUMNS);
	a.sparse_blocks = tensor_at(NOWHERE, I32, G, HQ, (uint32_t)most, 0);
	for (uint32_t h = 0; h < HQ; h++)
		put_i(e, &a.sparse_counts, 0, h, h ? most : most + 1);
	emit(e, &a, a.hdr.size);
	env_run(e);
	assert_int_equal(e->job.status, ZW_JOB_DATA);
	assert_int_equal(e->job.reason, ZW_REASON_INDEX);
	e->cmd_bytes = 0;
	/* 2^22 in all are read, or rather not: they are nowhere; one more is too many */
	put_i(e, &a.sparse_counts, 0, 0, most);
	emit(e, &a, a.hdr.size);
	env_run(e);
	assert_int_equal(e->job.status, ZW_JOB_FAULT);
	e->cmd_bytes = 0;
	a.sparse_blocks.dim[2] = (uint32_t)most + 1;
	a.sparse_blocks.stride[1] = (uint32_t)most + 1;
	a.sparse_blocks.stride[0] = HQ * ((uint64_t)most + 1);
	put_i(e, &a.sparse_counts, 0, 0, most + 1);
	emit(e, &a, a.hdr.size);
	env_run(e);
	assert_int_equal(e->job.status, ZW_JOB_DATA);
	assert_int_equal(e->job.reason, ZW_REASON_LIMIT);
}

/* The same bits and times for any number of workers. */
static void workers(void **state)
{
	static uint8_t want[3 * AREA_BYTES];
	uint64_t end = 0;

	for (unsigned int w = 0; w <= 3; w++) {
		struct cp_env *e = env_new("810e", w);
		struct zw_pkt_attention a;

		draw_lists(e);
		a = make(e, IN_HBM, BF16, BLOCKS | COLUMNS | START | SINKS | WINDOW);
		emit(e, &a, a.hdr.size);
		env_run_ok(e);
		if (!w) {
			memcpy(want, e->hbm.base, sizeof(want));
			end = e->result.end_ps;
		}
		assert_memory_equal(want, e->hbm.base, sizeof(want));
		assert_int_equal(end, e->result.end_ps);
		env_free(e);
	}
}

/* -- where nothing is computed blocks are not looked at one by one -- */

static struct cp_env *timing_env(void)
{
	struct cp_env *e = env_new("810e", 0);
	struct zw_cp_config cc = e->cp->cfg;

	cc.timing_only = true;
	zw_cp_free(e->cp);
	e->cp = zw_cp_new(&cc);
	assert_non_null(e->cp);
	return e;
}

/* Pools of which each block has its keys, its values and a gap; all three of the same size. */
static void interleave(struct cp_env *e, struct zw_pkt_attention *a, enum place p)
{
	uint64_t block = T * HKV * D * (uint64_t)esize(a->k_cache.dtype);

	a->k_cache.va = env_alloc(e, p, 3 * B * block);
	a->v_cache.va = a->k_cache.va + block;
	a->k_cache.stride[0] = a->v_cache.stride[0] = 3 * (uint64_t)T * HKV * D;
}

/* Runs the packet on both: they must not differ in anything that is told. Status of the job. */
static uint32_t run_both(struct cp_env *e[2], const struct zw_pkt_attention a[2])
{
	for (int i = 0; i < 2; i++) {
		e[i]->cmd_bytes = 0;
		emit(e[i], &a[i], a[i].hdr.size);
		/* to compare buffers takes translations, too */
		zw_cp_kept_drop(&e[i]->cp->kept);
		env_run(e[i]);
		e[i]->pmu.progress = 0; /* of the engines' threads */
	}
	assert_memory_equal(&e[0]->job, &e[1]->job, sizeof(e[0]->job));
	assert_memory_equal(&e[0]->result, &e[1]->result, sizeof(e[0]->result));
	assert_memory_equal(&e[0]->pmu, &e[1]->pmu, sizeof(e[0]->pmu));
	return e[0]->job.status;
}

static void blocks_together(void **state)
{
	static const unsigned int kinds[] = {0, START, WINDOW, BLOCKS, BLOCKS | COLUMNS};
	struct cp_env *e[2] = {env_new("810e", 0), timing_env()};

	(void)state;
	for (unsigned int i = 0; i < 5; i++)
		for (enum place p = IN_HBM; p <= IN_SYSTEM; p++)
			for (unsigned int inter = 0; inter < 2; inter++) {
				struct zw_pkt_attention a[2];

				for (int j = 0; j < 2; j++) {
					env_clear(e[j]);
					e[j]->rng = i + 1;
					draw_lists(e[j]);
					a[j] = make(e[j], p, BF16, kinds[i]);
					if (inter)
						interleave(e[j], &a[j], p);
				}
				assert_int_equal(run_both(e, a), ZW_JOB_OK);
				/* one that is in no pool */
				for (int j = 0; j < 2; j++)
					for (uint32_t s = 0; s < S; s++)
						put_i(e[j], &a[j].block_table, s, 4, B);
				assert_int_equal(run_both(e, a), ZW_JOB_DATA);
			}
	env_free(e[0]);
	env_free(e[1]);
}

/* What is written by another mapping may lie between blocks that are read, not in them. */
static void gaps(void **state)
{
	const uint64_t alias = NOWHERE + (UINT64_C(1) << 30);
	uint64_t block = T * HKV * D * (uint64_t)esize(BF16);
	struct cp_env *e[2] = {env_new("810e", 0), timing_env()};
	unsigned int met = 0, apart = 0;
	struct zw_pkt_attention a[2];
	uint64_t page;

	(void)state;
	for (int i = 0; i < 2; i++) {
		draw_lists(e[i]);
		a[i] = make(e[i], IN_HBM, BF16, WINDOW);
		interleave(e[i], &a[i], IN_HBM);
		page = a[i].k_cache.va & ~UINT64_C(4095);
		for (uint64_t off = 0; off <= 3 * B * block; off += 4096)
			env_map_page(e[i], alias + off, page - AREA_VA(IN_HBM) + off,
				     ZW_PTE_READ | ZW_PTE_WRITE);
		e[i]->no_guards = true;
	}
	for (uint64_t at = 0; at + block <= 3 * B * block; at += block / 2) {
		bool gap = at / block % 3 == 2 && at % block == 0;
		uint32_t status;

		a[0].lse.va = a[1].lse.va = alias + a[0].k_cache.va % 4096 + at;
		status = run_both(e, a);
		if (status) {
			assert_int_equal(status, ZW_JOB_INVALID);
			assert_int_equal(e[1]->job.reason, ZW_REASON_OVERLAP);
			assert_false(gap);
		}
		met += status != 0;
		apart += gap;
	}
	assert_int_equal(apart, B);
	/* not the blocks before the window, either */
	assert_in_range(met, 4, 4 * B - 4);
	env_free(e[0]);
	env_free(e[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_it_sees, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(fewer_rows, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(older_packet, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(what_it_reads, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(what_it_costs, env_setup_plain, env_teardown),
		cmocka_unit_test_setup_teardown(bad_lists, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(unmapped_lists, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(limits, env_setup, env_teardown),
		cmocka_unit_test(workers),
		cmocka_unit_test(blocks_together),
		cmocka_unit_test(gaps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: MIT
/*
 * What the chip's features cost and save, each alone, by hand: the tensor engine, packets of several primitives, lists of
 * keys, and KV blocks on the chip. A feature that a packet goes without changes its time and not a bit of its results.
 */
#include "cp_packets.h"
#include "cp/zw_cp_int.h"
#include "zw_state.h"

#define US UINT64_C(1000000)

/* Besides env_plain(): a byte of HBM takes 1,000 ps, a byte of the part for KV blocks 100 ps, products nearly nothing. */
static int setup(void **state)
{
	struct cp_env *e = env_new("810e", 0);
	struct zw_profile *p = &e->profile;

	env_plain(e);
	p->hbm_bw = 1000000000;
	p->hbm_efficiency_permille = p->gemm_hbm_permille = p->attn_hbm_permille = 1000;
	p->attn_permille = p->tensor_f32_permille = p->tensor_efficiency_permille = 1000;
	p->kv_sram_bw = 10000000000;
	p->job_ps = 5 * US;
	p->vector_flops = p->tensor_bf16_flops = 1000000000000000;
	e->no_guards = true;
	*state = e;
	return 0;
}

static uint64_t busy(const struct cp_env *e, unsigned int engine)
{
	return e->result.busy_ps[engine];
}

/* -- tensor engine ------------------------------------------------------------------------------------- */

static struct zw_pkt_gemm product(struct cp_env *e, unsigned int dtype)
{
	struct zw_pkt_gemm p = {.hdr = HDR(ZW_OP_GEMM, zw_pkt_gemm)};

	p.a = tensor(e, IN_HBM, dtype, 8, 64, 0, 0);
	p.w = tensor(e, IN_HBM, dtype, 32, 64, 0, 0);
	p.c = tensor(e, IN_HBM, F32, 8, 32, 0, 0);
	if (dtype == ZW_DTYPE_I8) {
		p.a_scale = tensor(e, IN_HBM, F32, 1, 1, 0, 0);
		p.w_scale = tensor(e, IN_HBM, F32, 1, 1, 0, 0);
		p.a_scale.block[0] = 8;
		p.w_scale.block[0] = 32;
		p.a_scale.block[1] = p.w_scale.block[1] = 64;
	}
	return p;
}

static void tensor_engine(void **state)
{
	struct cp_env *e = *state;
	struct zw_profile *p = &e->profile;
	struct zw_pkt_gemm g;

	p->hbm_bw = 1ull << 60;
	p->tensor_bf16_flops = 16000000000000;
	p->tensor_i8_ops = 32000000000000;
	p->tensor_i8_permille = 1000;
	p->vector_flops = 1000000000000;
	p->bf16_flop_fj = 100;
	p->i8_op_fj = 50;
	p->f32_flop_fj = 1000;
	p->tdp_watts = p->idle_watts; /* no limit */
	for (unsigned int i8 = 0; i8 < 2; i8++) {
		/* 8 x 32 x 64: 32,768 operations, 16 or 32 a picosecond, and 1 on the vector units */
		g = product(e, i8 ? ZW_DTYPE_I8 : BF16);
		EMIT(e, g);
		env_run_ok(e);
		assert_int_equal(busy(e, ZW_ENGINE_TENSOR), US + (i8 ? 1024 : 2048));
		assert_int_equal(e->result.energy_pj, 32768 / (i8 ? 20 : 10));
		g.hdr.flags = ZW_PKT_F_NO_TENSOR;
		EMIT(e, g);
		env_run_ok(e);
		assert_int_equal(busy(e, ZW_ENGINE_TENSOR), US + 32768);
		assert_int_equal(e->result.energy_pj, 32768);
		/* a chip that has none; going without it changes nothing */
		p->tensor_engine = 0;
		for (unsigned int flag = 0; flag < 2; flag++) {
			g.hdr.flags = flag ? ZW_PKT_F_NO_TENSOR : 0;
			EMIT(e, g);
			env_run_ok(e);
			assert_int_equal(busy(e, ZW_ENGINE_TENSOR), US + 32768);
		}
		p->tensor_engine = 1;
	}
	/* a row alone fills no tile: an eighth of the operations, on the tensor units as many as for all */
	p->tensor_bf16_flops = 1000000000000;
	g = product(e, BF16);
	g.a.dim[0] = g.c.dim[0] = 1;
	for (unsigned int flag = 0; flag < 2; flag++) {
		p->tile_m = 64; /* the least is 8 */
		g.hdr.flags = flag ? ZW_PKT_F_NO_TENSOR : 0;
		EMIT(e, g);
		env_run_ok(e);
		assert_int_equal(busy(e, ZW_ENGINE_TENSOR), US + (flag ? 4096 : 32768));
	}
	g = product(e, BF16);
	g.hdr.flags = ZW_PKT_F_NO_TENSOR;
	/* the efficiency is that of products of F32, the power limit that of their energy: 32.768 uJ at 1 W */
	p->tensor_f32_permille = 500;
	EMIT(e, g);
	env_run_ok(e);
	assert_int_equal(busy(e, ZW_ENGINE_TENSOR), US + 65536);
	p->tdp_watts = p->idle_watts + 1;
	p->f32_flop_fj = 1000000;
	EMIT(e, g);
	env_run_ok(e);
	assert_int_equal(busy(e, ZW_ENGINE_TENSOR), US + 32768000);
}

/* -- KV blocks ----------------------------------------------------------------------------------------- */

#define D      16u
#define T      8u
#define BLOCKS 8u
/* Of 40 keys: 5 blocks of 512 bytes; query, result, position and table. */
#define KV     2560u
#define OTHER  (32u + 32 + 4 + 20)

/* `rows` rows of one sequence, the last of which is at `pos`. */
static struct zw_pkt_attention decode(struct cp_env *e, uint32_t rows, int32_t pos)
{
	struct zw_pkt_attention a = {.hdr = HDR(ZW_OP_ATTENTION, zw_pkt_attention),
				     .scale_f32 = 0x3e800000};

	a.q = random_tensor(e, IN_HBM, BF16, rows, 1, D, 0);
	a.y = tensor(e, IN_HBM, BF16, rows, 1, D, 0);
	a.pos = tensor(e, IN_HBM, I32, rows, 0, 0, 0);
	a.block_table = tensor(e, IN_HBM, I32, 1, BLOCKS, 0, 0);
	a.k_cache = random_tensor(e, IN_HBM, BF16, BLOCKS, T, 1, D);
	a.v_cache = random_tensor(e, IN_HBM, BF16, BLOCKS, T, 1, D);
	for (uint32_t i = 0; i < rows; i++)
		put_i(e, &a.pos, i, 0, pos - (int32_t)(rows - 1 - i));
	for (uint32_t i = 0; i < BLOCKS; i++)
		put_i(e, &a.block_table, 0, i, (int32_t)(BLOCKS - 1 - i));
	return a;
}

/* A packet of 1 us that keeps HBM for 4,000 ps of them. */
static void pause(struct cp_env *e, uint32_t flags)
{
	struct zw_pkt_fill f = {
		.hdr = HDR(ZW_OP_FILL, zw_pkt_fill), .rows = 1, .bytes = 4, .dst_stride = 4};

	f.hdr.flags = flags;
	f.dst = env_alloc(e, IN_HBM, 4);
	EMIT(e, f);
}

/* Time that ATTENTION takes in a job of a, `pauses` packets, b. */
static uint64_t pair(struct cp_env *e, const struct zw_pkt_attention *a, unsigned int pauses,
		     const struct zw_pkt_attention *b)
{
	EMIT(e, *a);
	for (unsigned int i = 0; i < pauses; i++)
		pause(e, 0);
	EMIT(e, *b);
	env_run_ok(e);
	return busy(e, ZW_ENGINE_ATTN);
}

/* Another queue would be as new: nothing is on the chip, nothing is expected. */
static void forget(struct cp_env *e)
{
	zw_cp_queue_reset(e->cp, 0);
}

#define PLAIN (US + 1000ull * (KV + OTHER))

static void prefetch(void **state)
{
	struct cp_env *e = *state;
	struct zw_profile *p = &e->profile;
	struct zw_pkt_attention a = decode(e, 1, 39), b = decode(e, 1, 39);
	uint64_t hbm, sram;

	/* no such memory, or packets that go without it */
	assert_int_equal(pair(e, &a, 3, &b), 2 * PLAIN);
	hbm = e->result.hbm_read;
	sram = e->result.sram_read;
	p->kv_pinned_permille = 0;
	p->kv_sram_bytes = 65536;
	a.hdr.flags = b.hdr.flags = ZW_PKT_F_NO_KV_CACHE;
	assert_int_equal(pair(e, &a, 3, &b), 2 * PLAIN);
	assert_int_equal(e->result.hbm_read, hbm);
	a.hdr.flags = b.hdr.flags = 0;
	forget(e);
	/* nothing was idle before the first; before the second 996,000 ps: as many bytes are there, 1,000 ps each less */
	assert_int_equal(pair(e, &a, 1, &b), 2 * PLAIN - 996 * 1000);
	assert_int_equal(e->result.hbm_read, hbm);
	assert_int_equal(e->result.sram_read, sram + 996);
	forget(e);
	/* time for 2,988 bytes is more than there are; what is there is read at 100 ps each, longer than the rest */
	assert_int_equal(pair(e, &a, 3, &b), PLAIN + US + 100 * KV);
	assert_int_equal(e->result.hbm_read, hbm);
	/* the part is small */
	forget(e);
	p->kv_sram_bytes = 1000;
	assert_int_equal(pair(e, &a, 3, &b), 2 * PLAIN - 1000 * 1000);
	/* HBM that is slow to stream from brings less */
	forget(e);
	p->kv_sram_bytes = 65536;
	p->hbm_efficiency_permille = 500;
	assert_int_equal(pair(e, &a, 1, &b), 2 * PLAIN - 496 * 1000);
	/* a packet that may start when the first ends has nothing fetched for it */
	forget(e);
	p->hbm_efficiency_permille = 1000;
	EMIT(e, a);
	pause(e, ZW_PKT_F_DEPS);
	b.hdr.flags = ZW_PKT_F_DEPS;
	EMIT(e, b);
	env_run_ok(e);
	assert_int_equal(busy(e, ZW_ENGINE_ATTN), 2 * PLAIN);
	/* rows that are no decode write what they read */
	forget(e);
	b = decode(e, 8, 39);
	sram = e->result.sram_read;
	pair(e, &a, 3, &b);
	assert_int_equal(e->result.sram_read, 0);
}

/* The next job begins like the last one, or it does not. */
static void next_step(void **state)
{
	struct cp_env *e = *state;
	struct zw_profile *p = &e->profile;
	struct zw_pkt_attention a = decode(e, 1, 39), b = decode(e, 1, 39);

	p->kv_pinned_permille = 0;
	p->kv_sram_bytes = 65536;
	EMIT(e, a);
	env_run_ok(e);
	assert_int_equal(busy(e, ZW_ENGINE_ATTN), PLAIN);
	/* 5 us of fetching the job are enough for all of it */
	EMIT(e, a);
	env_run_ok(e);
	assert_int_equal(busy(e, ZW_ENGINE_ATTN), US + 100 * KV);
	EMIT(e, b);
	env_run_ok(e);
	assert_int_equal(busy(e, ZW_ENGINE_ATTN), PLAIN);
	/* no more than it read the last time: 16 keys, 1,024 bytes */
	put_i(e, &b.pos, 0, 0, 15);
	EMIT(e, b);
	env_run_ok(e);
	put_i(e, &b.pos, 0, 0, 39);
	EMIT(e, b);
	env_run_ok(e);
	assert_int_equal(busy(e, ZW_ENGINE_ATTN), PLAIN - 1024 * 1000);
	/* time before a job of another kind does not count, time in it does */
	EMIT(e, a);
	env_run_ok(e);
	pause(e, 0);
	EMIT(e, b);
	env_run_ok(e);
	assert_int_equal(busy(e, ZW_ENGINE_ATTN), PLAIN - 996 * 1000);
}

static void pinned(void **state)
{
	struct cp_env *e = *state;
	struct zw_profile *p = &e->profile;
	struct zw_pkt_attention a = decode(e, 1, 39), b = decode(e, 1, 39), without;
	const uint64_t there = US + 1000 * (KV + OTHER - 1536);
	uint64_t hbm;

	/* room for three blocks of five, and for nothing beside them */
	p->kv_sram_bytes = 1536;
	p->kv_pinned_permille = 1000;
	EMIT(e, a);
	env_run_ok(e);
	/* nothing pinned yet, and 5 us of the job before are not known to be for this */
	assert_int_equal(busy(e, ZW_ENGINE_ATTN), PLAIN);
	hbm = e->result.hbm_read;
	EMIT(e, a);
	env_run_ok(e);
	assert_int_equal(busy(e, ZW_ENGINE_ATTN), there);
	assert_int_equal(e->result.hbm_read, hbm - 1536);
	assert_int_equal(e->result.sram_read, 1536);
	/* a packet that goes without them does not push them out */
	without = a;
	without.hdr.flags = ZW_PKT_F_NO_KV_CACHE;
	EMIT(e, without);
	env_run_ok(e);
	assert_int_equal(busy(e, ZW_ENGINE_ATTN), PLAIN);
	EMIT(e, a);
	env_run_ok(e);
	assert_int_equal(busy(e, ZW_ENGINE_ATTN), there);
	/* a job that reads others: there is room for these behind it, and for its own no longer */
	EMIT(e, b);
	env_run_ok(e);
	assert_int_equal(busy(e, ZW_ENGINE_ATTN), PLAIN);
	EMIT(e, b);
	env_run_ok(e);
	assert_int_equal(busy(e, ZW_ENGINE_ATTN), US + 1000 * OTHER + 1000 * (KV - 1536));
	EMIT(e, b);
	env_run_ok(e);
	assert_int_equal(busy(e, ZW_ENGINE_ATTN), there);
	EMIT(e, a);
	env_run_ok(e);
	assert_int_equal(busy(e, ZW_ENGINE_ATTN), PLAIN);
	/* a block less to see, one of the three that are pinned: of four 2,048 bytes, two are there */
	forget(e);
	EMIT(e, a);
	env_run_ok(e);
	put_i(e, &a.pos, 0, 0, 31);
	EMIT(e, a);
	env_run_ok(e);
	assert_int_equal(e->result.sram_read, 2048 * 2 / 4);
}

/* More room, more time or a faster memory never make anything slower. */
static void monotonic(void **state)
{
	struct cp_env *e = *state;
	struct zw_profile *p = &e->profile;
	struct zw_pkt_attention a = decode(e, 1, 39), b = decode(e, 1, 39);
	uint64_t last = UINT64_MAX, ps;

	p->kv_pinned_permille = 0;
	for (unsigned int what = 0; what < 3; what++) {
		last = UINT64_MAX;
		for (unsigned int i = 0; i < 8; i++) {
			p->kv_sram_bytes = what == 0 ? 400 * i : 65536;
			p->kv_sram_bw = what == 1 ? 1000000000ull << i : 1ull << 60;
			forget(e);
			ps = pair(e, &a, what == 2 ? i : 3, &b);
			if (ps > last || ps > 2 * PLAIN)
				fail_msg("%u %u: %" PRIu64 " after %" PRIu64, what, i, ps, last);
			last = ps;
		}
		assert_true(last < 2 * PLAIN);
	}
}

/* What is on the chip, and expected, goes along with a device's state. */
static void moved(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_attention a = decode(e, 1, 39), b = decode(e, 1, 39);
	struct zw_soc_job none = {.queue = 0};
	struct zw_state st;
	char msg[200] = "";
	uint64_t want;
	void *buf;
	size_t len;

	e->profile.kv_sram_bytes = 2000;
	e->profile.kv_pinned_permille = 500;
	pair(e, &a, 2, &b);
	zw_state_save_begin(&st, msg, sizeof(msg));
	zw_state_section(&st, "JOB ");
	zw_cp_state(e->cp, &st, &none);
	zw_state_section_end(&st);
	assert_int_equal(zw_state_save_end(&st, &buf, &len), 0);
	want = pair(e, &a, 2, &b);
	assert_true(want < 2 * PLAIN);
	zw_cp_reset(e->cp);
	assert_true(pair(e, &a, 2, &b) > want);
	zw_cp_reset(e->cp);
	zw_state_load_begin(&st, buf, len, msg, sizeof(msg));
	zw_state_section(&st, "JOB ");
	zw_cp_state(e->cp, &st, &none);
	zw_state_section_end(&st);
	if (zw_state_load_end(&st))
		fail_msg("%s", msg);
	assert_int_equal(pair(e, &a, 2, &b), want);
	free(buf);
}

/* -- lists --------------------------------------------------------------------------------------------- */

static void lists(void **state)
{
	struct cp_env *e = *state;
	struct zw_profile *p = &e->profile;
	struct zw_pkt_attention a = decode(e, 8, 39);
	uint64_t dense, bytes;

	p->hbm_bw = 1ull << 60;
	p->tensor_bf16_flops = 1000000000;
	/* two tiles of four rows see 9 and 10 tiles of keys, 4 quarters each: 4 * 16 * 4 operations of 1,000 ps */
	EMIT(e, a);
	env_run_ok(e);
	dense = US + 76 * 256 * 1000ull;
	assert_int_equal(busy(e, ZW_ENGINE_ATTN), dense);
	bytes = e->result.hbm_read;
	/* blocks 0 and 4 for both groups: 4 * 8 + 1 + 2 + 3 + 4 pairs and 4 * 8 + 5 + 6 + 7 + 8, 4 * 16 operations each */
	a.sparse_blocks = tensor(e, IN_HBM, I32, 2, 1, 2, 0);
	a.sparse_counts = tensor(e, IN_HBM, I32, 2, 1, 0, 0);
	for (uint32_t g = 0; g < 2; g++) {
		const int32_t block[2] = {0, 4}, two = 2;

		env_put(e, a.sparse_blocks.va + 8 * g, block, 8);
		env_put(e, a.sparse_counts.va + 4 * g, &two, 4);
	}
	EMIT(e, a);
	env_run_ok(e);
	assert_int_equal(busy(e, ZW_ENGINE_ATTN), US + 100 * 64 * 1000);
	/* keys and values that the groups see, 12 and 16, instead of 40 at once */
	assert_int_equal(e->result.hbm_read, bytes - KV + 28 * D * 4 + 16 + 8);
	for (unsigned int i = 0; i < 2; i++) {
		a.hdr.flags = i ? 0 : ZW_PKT_F_NO_SPARSE;
		p->block_sparse = !i;
		EMIT(e, a);
		env_run_ok(e);
		assert_int_equal(busy(e, ZW_ENGINE_ATTN), dense);
		assert_int_equal(e->result.hbm_read, bytes + 16 + 8);
	}
}

/* -- primitives ---------------------------------------------------------------------------------------- */

static void norm(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_rmsnorm n = {.hdr = HDR(ZW_OP_RMSNORM, zw_pkt_rmsnorm)};

	n.x = random_tensor(e, IN_HBM, BF16, 4, 64, 0, 0);
	n.w = random_tensor(e, IN_HBM, BF16, 64, 0, 0, 0);
	n.y = tensor(e, IN_HBM, BF16, 4, 64, 0, 0);
	/* 512 + 128 bytes in, 512 out; HBM begins at once, arithmetic (1,024 operations) behind the launch */
	e->profile.vector_flops = 1000000000000;
	EMIT(e, n);
	env_run_ok(e);
	assert_int_equal(busy(e, ZW_ENGINE_VECTOR), 1152 * 1000);
	/*
	 * Five launches; squares and scaled rows of F32, 1,024 bytes each, mean and root, 16 bytes each, are written, and read
	 * where they are, as x is once more.
	 */
	n.hdr.flags = ZW_PKT_F_NO_FUSED;
	EMIT(e, n);
	env_run_ok(e);
	assert_int_equal(busy(e, ZW_ENGINE_VECTOR), 5 * US + 1024);
	assert_int_equal(e->result.hbm_written, 512 + 2080);
	assert_int_equal(e->result.hbm_read, 640);
	assert_int_equal(e->result.sram_read, 2080 + 512);
	/* a slow memory */
	e->profile.hbm_bw = 100000000;
	EMIT(e, n);
	env_run_ok(e);
	assert_int_equal(busy(e, ZW_ENGINE_VECTOR), (1152 + 2080) * 10000);
	/* no room for squares beside x: all is read of HBM */
	e->profile.sram_bytes = 2 * 1535;
	EMIT(e, n);
	env_run_ok(e);
	assert_int_equal(busy(e, ZW_ENGINE_VECTOR), (1152 + 2080 + 2080 + 512) * 10000);
	assert_int_equal(e->result.sram_read, 0);
	/* a chip that has no such packets */
	e->profile.fused_packets = 0;
	n.hdr.flags = 0;
	EMIT(e, n);
	env_run_ok(e);
	assert_int_equal(busy(e, ZW_ENGINE_VECTOR), (1152 + 2080 + 2080 + 512) * 10000);
}

static void launches(void **state)
{
	static const struct {
		uint16_t op;
		uint32_t primitives;
	} cases[] = {{ZW_OP_RMSNORM, 5}, {ZW_OP_GATED_NORM, 7},  {ZW_OP_ROPE, 4},
		     {ZW_OP_SWIGLU, 2},  {ZW_OP_MUL_SIGMOID, 3}, {ZW_OP_ADD, 1},
		     {ZW_OP_ARGMAX, 1},  {ZW_OP_EMBED, 1},       {ZW_OP_QUANTIZE, 1}};
	struct cp_env *e = *state;
	union any_packet pk;

	e->profile.hbm_bw = e->profile.vector_flops = 1ull << 60;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (unsigned int none = 0; none < 2; none++) {
			uint32_t zero = 0;

			env_clear(e);
			make_packet(e, cases[i].op, IN_HBM, &pk);
			if (cases[i].op == ZW_OP_MUL_SIGMOID)
				assert_true(pk.mul_sigmoid.residual.dtype);
			pk.hdr.flags |= ZW_PKT_F_NO_FUSED;
			if (none) { /* that is skipped: a launch */
				pk.hdr.predicate_va = env_alloc(e, IN_HBM, 4);
				env_put(e, pk.hdr.predicate_va, &zero, 4);
			}
			emit(e, &pk, pk.hdr.size);
			env_run_ok(e);
			assert_in_range(busy(e, ZW_ENGINE_VECTOR),
					(none ? 1 : cases[i].primitives) * US,
					(none ? 1 : cases[i].primitives) * US + 1000);
		}
}

/* Every packet, without anything: another time at most. */
static void same_bits(void **state)
{
	struct cp_env *e = *state;
	uint8_t *before = malloc(AREA_BYTES);
	union any_packet pk;

	e->profile.kv_sram_bytes = 65536;
	for (size_t i = 0; i < N_OPCODES; i++) {
		for (unsigned int flags = 0; flags < 2; flags++) {
			env_clear(e);
			e->rng = i + 1;
			make_packet(e, all_opcodes[i], IN_HBM, &pk);
			if (all_opcodes[i] == ZW_OP_TIMESTAMP || all_opcodes[i] == ZW_OP_SEM_WAIT)
				continue;
			pk.hdr.flags |= flags ? ZW_PKT_F_WITHOUT : 0;
			emit(e, &pk, pk.hdr.size);
			e->result_va = 0;
			e->cmd_va = env_alloc(e, IN_PAGES, CMD_MAX);
			env_run(e);
			e->cmd_bytes = 0;
			assert_int_equal(e->job.status, ZW_JOB_OK);
			if (!flags)
				memcpy(before, env_byte(e, AREA_VA(IN_HBM)), AREA_BYTES);
			else
				assert_memory_equal(before, env_byte(e, AREA_VA(IN_HBM)),
						    AREA_BYTES);
		}
	}
	free(before);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, env_teardown)
	const struct CMUnitTest tests[] = {
		TEST(tensor_engine), TEST(prefetch),  TEST(next_step), TEST(pinned),
		TEST(monotonic),     TEST(moved),     TEST(lists),     TEST(norm),
		TEST(launches),      TEST(same_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: MIT
/*
 * What mechanisms of the cost model cost, each alone: golden values by hand, and that more work, a slower memory or fewer
 * units never make anything faster. Rules: Documentation/device/time.md.
 */
#include "cp/zw_cp_int.h"
#include "cp_packets.h"

/* 4 units, each 1 FLOP/ps (2 a multiply-add), 1 byte/ps of HBM for all, half of that for one unit; tiles to 16 x 32 x 8. */
static struct zw_profile simple(void)
{
	struct zw_profile p = *zw_profile_find("h100-sxm");

	p.units = 4;
	p.tensor_bf16_flops = 4000000000000;
	p.tensor_efficiency_permille = 1000;
	p.hbm_bw = 1000000000000;
	p.gemm_hbm_permille = 1000;
	p.unit_bw = p.unit_i8_bw = 500000000000;
	p.sram_bw = 8000000000000;
	p.tile_m = 16;
	p.tile_n = 32;
	p.tile_k = 8;
	p.gemm_edge_permille = 0;
	p.gemm_overlap_permille = 0;
	p.gemm_split_ps = 1000;
	p.bf16_flop_fj = 0;
	p.attn_tile = 16;
	p.attn_permille = 1000;
	p.attn_tail_permille = 0;
	p.attn_ps = 10;
	p.attn_split_ps = 5;
	p.attn_prefill_ps = 20;
	return p;
}

static struct zw_cp_product product(const struct zw_profile *p, uint64_t m, uint64_t n, uint64_t k)
{
	struct zw_cp_product g = {
		.unit = zw_cp_tensor_unit(p, BF16, BF16),
		.n = n,
		.k = k,
		.outputs = m * n,
		.bytes = 2 * (m * k + n * k + m * n),
		.ops = 2 * m * n * k,
	};

	for (unsigned int i = 0; i < ZW_CP_TILE_ROWS; i++)
		g.row_tiles[i] = (m - 1) / zw_cp_tile_rows(p, i) + 1;
	return g;
}

static uint64_t product_ps(const struct zw_profile *p, uint64_t m, uint64_t n, uint64_t k,
			   uint64_t bytes)
{
	struct zw_cp_product g = product(p, m, n, k);

	if (bytes != UINT64_MAX)
		g.bytes = bytes;
	return zw_cp_product_ps(p, &g);
}

static void tiles_and_waves(void **state)
{
	struct zw_profile p = simple();

	(void)state;
	/* 16 x 128 in tiles of 16 x 32, one a unit, 8 deep: 16 * 32 * 8 * 2 FLOP at 1 FLOP/ps */
	assert_int_equal(product_ps(&p, 16, 128, 8, 0), 8192);
	/* a row more takes smaller tiles: (16 + 1) rows of 1.. no better than two waves of 16 x 32 but for 2 x 32 ones: 9 x 4 tiles */
	assert_int_equal(product_ps(&p, 17, 128, 8, 0), 9 * 2 * 32 * 8 * 2);
	/* five tiles for four units: 16 x 160 goes best in tiles of 16 x 8, 20 of them in 5 waves */
	assert_int_equal(product_ps(&p, 16, 160, 8, 0), 5 * 16 * 8 * 8 * 2);
	/* K in steps of 8 */
	assert_int_equal(product_ps(&p, 16, 128, 9, 0), 2 * 8192);
	/* small tiles cost more: 100 permille each way, of 16 rows: a tile of 16 x 32 150, one of 16 x 8 300 */
	p.gemm_edge_permille = 100;
	assert_int_equal(product_ps(&p, 16, 128, 8, 0), 8192 * 1150 / 1000);
	assert_int_equal(product_ps(&p, 16, 160, 8, 0), 5 * (2048 * 1300 / 1000));
}

/* F16 has BF16's rate and an efficiency of its own; what it is stored beside is widened to it. */
static void types_of_16_bits(void **state)
{
	struct zw_profile p = simple();
	struct zw_cp_product g = product(&p, 16, 128, 8);

	(void)state;
	p.tensor_f16_permille = 800;
	g.bytes = 0;
	g.unit = zw_cp_tensor_unit(&p, ZW_DTYPE_F16, ZW_DTYPE_F16);
	assert_int_equal(g.unit.rate, p.tensor_bf16_flops);
	assert_int_equal(zw_cp_product_ps(&p, &g), 8192 * 10 / 8);
	g.unit = zw_cp_tensor_unit(&p, ZW_DTYPE_F16, ZW_DTYPE_I4);
	assert_int_equal(zw_cp_product_ps(&p, &g), 8192 * 10 / 8);
	g.unit = zw_cp_tensor_unit(&p, BF16, ZW_DTYPE_I4);
	assert_int_equal(zw_cp_product_ps(&p, &g), 8192);
	assert_int_equal(zw_cp_tensor_unit(&p, ZW_DTYPE_F16, ZW_DTYPE_F32).permille,
			 p.tensor_f32_permille);
}

static void memory(void **state)
{
	struct zw_profile p = simple();

	(void)state;
	/* all units: 1 byte/ps; the shorter of the two shows by its share */
	assert_int_equal(product_ps(&p, 16, 128, 8, 100000), 100000);
	p.gemm_overlap_permille = 100;
	assert_int_equal(product_ps(&p, 16, 128, 8, 100000), 100000 + 819);
	assert_int_equal(product_ps(&p, 16, 128, 8, 1000), 8192 + 100);
	p.gemm_overlap_permille = 0;
	p.gemm_hbm_permille = 500;
	assert_int_equal(product_ps(&p, 16, 128, 8, 100000), 200000);
	/* one unit alone, 4 x 8 with nothing to split: half of the bandwidth */
	p = simple();
	assert_int_equal(product_ps(&p, 2, 8, 8, 100000), 200000);
}

static void split_k(void **state)
{
	struct zw_profile p = simple();

	(void)state;
	/*
	 * 2 x 8 x 8000 is one tile of 2 x 8, 256,000 ps; in four parts of K on four units 64,000 ps, and 1,000 ps and, of
	 * each part, 2 x 8 numbers of four bytes, written and read, 64 ps more.
	 */
	assert_int_equal(product_ps(&p, 2, 8, 8000, 0), 64000 + 1000 + 64);
	p.gemm_split_ps = 1000000;
	assert_int_equal(product_ps(&p, 2, 8, 8000, 0), 256000);
}

static void power(void **state)
{
	struct zw_profile p = simple();

	(void)state;
	p.tdp_watts = 110;
	p.idle_watts = 10;
	p.bf16_flop_fj = 100000;
	/* 32,768 FLOP at 100 pJ: 3.2768 uJ, at 100 W 32,768 ps */
	assert_int_equal(product_ps(&p, 16, 128, 8, 0), 32768);
	p.bf16_flop_fj = 1000;
	assert_int_equal(product_ps(&p, 16, 128, 8, 0), 8192);
	/* no figure for power: no limit */
	p.tdp_watts = p.idle_watts;
	assert_int_equal(zw_cp_power_ps(&p, 1000, 1000), 0);
	struct zw_cp_cost cost = {.ops = 1000, .ops_fj = 500, .hbm_read = 10, .hbm_written = 20};

	p.hbm_byte_fj = 100000;
	assert_int_equal(zw_cp_energy_pj(&p, &cost), 500 + 3000);
}

static void attention(void **state)
{
	struct zw_profile p = simple();
	struct zw_cp_attn_work w = {.packed = true};

	(void)state;
	/* 4 rows (a quarter of a tile) of 100 keys, 7 tiles of them, twice: two items, two units for each */
	zw_cp_attn_rows(&p, &w, 4, 100, 2);
	assert_int_equal(w.items, 2);
	assert_int_equal(w.quarters, 14);
	assert_int_equal(zw_cp_attn_splits(&p, &w), 2);
	assert_int_equal(zw_cp_attn_fixed_ps(&p, &w), 15);
	/* 14 quarters of 4 * 10 * 16 * 4 FLOP on four units */
	assert_int_equal(zw_cp_attn_ps(&p, &w, 10, 4000000000000), 14 * 2560 / 4);
	/* the longest item, in two parts: 4 quarters, half of it shows */
	p.attn_tail_permille = 500;
	assert_int_equal(zw_cp_attn_ps(&p, &w, 10, 4000000000000), 14 * 2560 / 4 + 2 * 2560);
	/* items for all units, or a prompt: nothing is split */
	zw_cp_attn_rows(&p, &w, 4, 100, 1);
	assert_int_equal(zw_cp_attn_splits(&p, &w), 1);
	assert_int_equal(zw_cp_attn_fixed_ps(&p, &w), 10);
	w.packed = false;
	assert_int_equal(zw_cp_attn_fixed_ps(&p, &w), 20);
	/* one tile of keys cannot be split */
	w = (struct zw_cp_attn_work){.packed = true};
	zw_cp_attn_rows(&p, &w, 1, 16, 1);
	assert_int_equal(zw_cp_attn_splits(&p, &w), 1);
}

static void rows_and_streams(void **state)
{
	struct zw_profile p = simple();
	struct zw_cp_cost cost = {0};

	(void)state;
	p.reduce_ps = 7;
	assert_int_equal(zw_cp_reduce_ps(&p, 1), 0);
	assert_int_equal(zw_cp_reduce_ps(&p, 1024), 0);
	assert_int_equal(zw_cp_reduce_ps(&p, 1025), 7);
	assert_int_equal(zw_cp_reduce_ps(&p, 4096), 14);
	/* a stream: memory is at work while the packet starts, what is on the chip is not */
	p.packet_ps = 1000;
	p.hbm_efficiency_permille = 1000;
	for (unsigned int i = 0; i < 2; i++) {
		struct zw_cp_clock clk;
		struct zw_pkt hdr = HDR(ZW_OP_COPY, zw_pkt);
		uint64_t busy;

		zw_cp_clock_init(&clk, 0);
		cost = (struct zw_cp_cost){.hbm_read = i ? 800 : 8000, .hbm_written = 0};
		zw_cp_cost_begin(&p, ZW_ENGINE_DMA, &cost);
		zw_cp_cost_on_chip(&p, &cost);
		assert_int_equal(cost.compute_ps, i ? 100 : 1000);
		zw_cp_clock_retire(&clk, &p, ZW_ENGINE_DMA, &hdr, &cost, &busy);
		assert_int_equal(busy, i ? 1000 + 100 : 8000);
	}
	/* a product waits for its first operands */
	cost = (struct zw_cp_cost){0};
	zw_cp_cost_begin(&p, ZW_ENGINE_TENSOR, &cost);
	assert_int_equal(cost.lead_ps, 0);
}

static void residency(void **state)
{
	struct zw_cp_resident r = {0};

	(void)state;
	zw_cp_resident_touch(&r, 100, 1000, 40);
	zw_cp_resident_touch(&r, 100, 2000, 60);
	assert_int_equal(zw_cp_resident_bytes(&r, 1000, 40), 40);
	assert_int_equal(zw_cp_resident_bytes(&r, 1030, 40), 10);
	/* room is made by what was touched longest ago */
	zw_cp_resident_touch(&r, 100, 1000, 40);
	zw_cp_resident_touch(&r, 100, 3000, 1);
	assert_int_equal(zw_cp_resident_bytes(&r, 2000, 60), 0);
	assert_int_equal(zw_cp_resident_bytes(&r, 1000, 40), 40);
	/* what is touched again is the latest, and all else is what it was */
	zw_cp_resident_clear(&r);
	for (uint64_t i = 1; i <= 4; i++)
		zw_cp_resident_touch(&r, 100, i * 1000, i * 10);
	zw_cp_resident_touch(&r, 100, 2000, 20);
	assert_int_equal(r.n, 4);
	assert_int_equal(r.bytes, 100);
	for (uint64_t i = 1; i <= 4; i++)
		assert_int_equal(zw_cp_resident_bytes(&r, i * 1000, 100), i * 10);
	zw_cp_resident_touch(&r, 100, 9000, 40);
	assert_int_equal(zw_cp_resident_bytes(&r, 1000, 100), 0);
	assert_int_equal(zw_cp_resident_bytes(&r, 2000, 100), 20);
	assert_int_equal(zw_cp_resident_bytes(&r, 3000, 100), 0);
	assert_int_equal(zw_cp_resident_bytes(&r, 4000, 100), 40);
	assert_int_equal(r.bytes, 100);
	/* what streams by pushes all out */
	zw_cp_resident_touch(&r, 100, 5000, 101);
	assert_int_equal(r.n, 0);
	assert_int_equal(r.bytes, 0);
	for (uint64_t i = 0; i < 2 * ZW_CP_RESIDENT; i++)
		zw_cp_resident_touch(&r, 1000, i * 10, 10);
	assert_int_equal(r.n, ZW_CP_RESIDENT);
	assert_int_equal(r.bytes, 10 * ZW_CP_RESIDENT);
	assert_int_equal(zw_cp_resident_bytes(&r, 0, 20 * ZW_CP_RESIDENT), 10 * ZW_CP_RESIDENT);
}

/* In a job what was just written is read on the chip; the next job finds nothing there. */
static void written_and_read(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt_copy a = {.hdr = HDR(ZW_OP_COPY, zw_pkt_copy), .bytes = 4096, .rows = 1},
			   b = a;

	a.src = env_alloc(e, IN_HBM, 4096);
	a.dst = b.src = env_alloc(e, IN_HBM, 4096);
	b.dst = env_alloc(e, IN_HBM, 4096);
	EMIT(e, a);
	EMIT(e, b);
	env_run_ok(e);
	assert_int_equal(e->result.hbm_read, 4096);
	assert_int_equal(e->result.sram_read, 4096);
	assert_int_equal(e->result.hbm_written, 8192);
	EMIT(e, b);
	env_run_ok(e);
	assert_int_equal(e->result.hbm_read, 4096);
	assert_int_equal(e->result.sram_read, 0);
	/* half of the memory on the chip holds it or does not */
	e->profile.sram_bytes = 8192;
	EMIT(e, a);
	EMIT(e, b);
	env_run_ok(e);
	assert_int_equal(e->result.sram_read, 4096);
	e->profile.sram_bytes = 8190;
	EMIT(e, a);
	EMIT(e, b);
	env_run_ok(e);
	assert_int_equal(e->result.sram_read, 0);
}

/*
 * More of anything takes no less, more bandwidth or rate no more. One exception, which cards show too: more rows may make
 * tiles for units that had none, and then memory is asked by more of them.
 */
static void monotonic(void **state)
{
	static const char *const names[] = {"810e", "m890", "c12", "a100-80g", "h100-sxm"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const struct zw_profile *p = zw_profile_find(names[i]);
		uint64_t last = 0;

		for (uint64_t m = 1; m <= 4096; m += 1 + m / 7) {
			struct zw_profile q = *p;
			struct zw_profile wide = *p;
			uint64_t ps = product_ps(p, m, 3000, 2000, UINT64_MAX), asked;
			uint64_t bytes = 2 * (m * 2000 + 3000 * 2000 + m * 3000);

			wide.unit_bw = wide.hbm_bw;
			asked = product_ps(&wide, m, 3000, 2000, UINT64_MAX);
			assert_true(asked <= ps && asked >= last);
			last = asked;
			assert_true(product_ps(&wide, m, 3001, 2000, UINT64_MAX) >= asked);
			assert_true(product_ps(p, m, 3000, 2000, bytes + 100000) >= ps);
			q.hbm_bw *= 2;
			q.unit_bw *= 2;
			assert_true(product_ps(&q, m, 3000, 2000, UINT64_MAX) <= ps);
			q = *p;
			q.tensor_bf16_flops *= 2;
			assert_true(product_ps(&q, m, 3000, 2000, UINT64_MAX) <= ps);
		}
		last = 0;
		for (uint64_t keys = 1; keys < 40000; keys += 1 + keys / 5) {
			struct zw_cp_attn_work w = {0};
			uint64_t ps;

			zw_cp_attn_rows(p, &w, 128, keys, 32);
			ps = zw_cp_attn_ps(p, &w, 128, p->tensor_bf16_flops);
			assert_true(ps >= last);
			last = ps;
		}
	}
}

/* A product that is known costs what it costs; one that differs in a single figure is another. */
static void again(void **state)
{
	static struct zw_cp_products known;
	struct zw_profile p = simple();
	struct zw_cp_product g[12], base;

	(void)state;
	p.gemm_overlap_permille = 100;
	p.bf16_flop_fj = 700;
	p.tdp_watts = 110;
	p.idle_watts = 10;
	base = product(&p, 2, 8, 8000);
	for (size_t i = 0; i < 12; i++)
		g[i] = base;
	g[1].unit.rate /= 2;
	g[2].unit.permille /= 2;
	g[3].unit.fj *= 4000;
	g[4].unit.bw /= 50;
	g[4].bytes = g[5].bytes = 100000000;
	g[6].unit.vector = true;
	for (unsigned int i = 0; i < ZW_CP_TILE_ROWS; i++)
		g[7].row_tiles[i] *= 3;
	g[8].n *= 2;
	g[9].k *= 2;
	g[10].outputs *= 1000;
	g[11].ops *= 1000000;
	for (int round = 0; round < 3; round++)
		for (size_t i = 0; i < 12; i++)
			for (size_t j = 0; j < 12; j++) {
				assert_int_equal(zw_cp_product_again(&known, &p, &g[i]),
						 zw_cp_product_ps(&p, &g[i]));
				assert_int_equal(zw_cp_product_again(&known, &p, &g[j]),
						 zw_cp_product_ps(&p, &g[j]));
			}
	/* Nothing is known any more in the next run: of another profile, too. */
	zw_cp_product_again(&known, &p, &g[0]);
	known.run++;
	p.gemm_overlap_permille = 1000;
	assert_int_equal(zw_cp_product_again(&known, &p, &g[0]), zw_cp_product_ps(&p, &g[0]));
	p.gemm_overlap_permille = 100;
	/* Each figure matters; that of a unit's bandwidth where memory does. */
	for (size_t i = 1; i < 12; i++)
		assert_int_not_equal(zw_cp_product_ps(&p, &g[i]),
				     zw_cp_product_ps(&p, &g[i == 4 ? 5 : 0]));
}

/* Figures of a profile file that make no sense give a time, and no division by zero. */
static void extremes(void **state)
{
	struct zw_profile p = simple();
	struct zw_cp_attn_work w = {.packed = true};

	(void)state;
	p.tensor_bf16_flops = 1000000;
	p.units = 65536;
	p.tile_m = p.tile_n = p.tile_k = 4096;
	p.gemm_edge_permille = 1000;
	p.hbm_bw = 1000000;
	p.gemm_hbm_permille = 1;
	assert_int_equal(product_ps(&p, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT64_MAX - 1),
			 UINT64_MAX);
	p.tile_m = p.tile_n = p.tile_k = p.units = 1;
	assert_true(product_ps(&p, 3, 3, 3, 1) > 0);
	zw_cp_attn_rows(&p, &w, UINT64_MAX, UINT64_MAX, UINT64_MAX);
	assert_int_equal(zw_cp_attn_ps(&p, &w, UINT32_MAX, 1000000), UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tiles_and_waves),
		cmocka_unit_test(types_of_16_bits),
		cmocka_unit_test(memory),
		cmocka_unit_test(split_k),
		cmocka_unit_test(power),
		cmocka_unit_test(attention),
		cmocka_unit_test(rows_and_streams),
		cmocka_unit_test(residency),
		cmocka_unit_test_setup_teardown(written_and_read, env_setup, env_teardown),
		cmocka_unit_test(monotonic),
		cmocka_unit_test(again),
		cmocka_unit_test(extremes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

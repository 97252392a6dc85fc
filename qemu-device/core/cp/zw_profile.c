// SPDX-License-Identifier: MIT
/*
 * Built-in profiles. Every figure has a source: "published" names who published it, "assumed" says why this value was
 * taken, "measured" and "fitted" refer to the rows of tests/fidelity. The sources are in zw_profile_source.c;
 * Documentation/device/time.md shows the same table.
 */
#include <string.h>

#include "../zw_profile.h"
#include "zhenwu/zw_regs.h"
#include "zw_profile_int.h"

#define GIB (1ull << 30)
#define MIB (1ull << 20)

/* What is only stored in a type (weights, zero points) is widened on its way in. */
#define FLOATS  (ZW_DT_FLOAT | ZW_DT(I32))
#define INTS    (ZW_DT(I8) | ZW_DT(U8))
#define NIBBLES (ZW_DT(I4) | ZW_DT(U4))
#define SMALL   (ZW_DT(F8E4M3) | ZW_DT(F8E5M2) | ZW_DT(E8M0) | ZW_DT(F4E2M1))

/*
 * What was fitted to the rows of an H100 (tests/fidelity) and holds for all: shares of what a data sheet promises, and
 * times that depend on none of its figures. slow: what takes cycles of the chip and of its command processor, in
 * thousandths of what it takes on that card.
 */
#define COEFFICIENTS(slow)                                                                         \
	.packet_ps = (slow)*1235, .job_ps = (slow)*5000, .gemm_ps = (slow)*3045,                   \
	.gemm_split_ps = (slow)*1720, .experts_ps = (slow)*10700, .expert_ps = (slow)*806 / 10,    \
	.attn_ps = (slow)*4030, .attn_split_ps = (slow)*3110, .attn_prefill_ps = (slow)*6155,      \
	.reduce_ps = (slow)*320, .topk_ps = (slow)*410, .hbm_efficiency_permille = 886,            \
	.attn_hbm_permille = 919, .tensor_f32_permille = 796, .tensor_f8_permille = 938,           \
	.gemm_edge_permille = 43, .gemm_overlap_permille = 121, .experts_permille = 775,           \
	.attn_permille = 640, .attn_tail_permille = 579, .attn_energy_permille = 1100,             \
	.tensor_engine = 1, .fused_packets = 1, .block_sparse = 1, .kv_pinned_permille = 250,      \
	.ambient_c = 25, .thermal_ms = 10000

static const struct zw_profile profiles[] = {
	{
		COEFFICIENTS(1000),
		.name = "810e",
		.id = ZW_PROFILE_810E,
		.hbm_bytes = 96 * GIB,
		.hbm_bw = 2000000000000,
		.pcie_bw = 63015000000,
		.links = 7,
		.link_bw = 100000000000,
		.tensor_bf16_flops = 300000000000000,
		.tensor_f32_flops = 75000000000000,
		.tensor_i8_ops = 600000000000000,
		.tensor_f8_flops = 0,
		.vector_flops = 20000000000000,
		.sram_bytes = 40 * MIB,
		.sram_bw = 2810000000000,
		.kv_sram_bw = 2810000000000,
		.units = 108,
		.unit_bw = 29000000000,
		.unit_i8_bw = 29000000000,
		.tile_m = 128,
		.tile_n = 256,
		.tile_k = 64,
		.attn_tile = 128,
		.tdp_watts = 400,
		.thermal_mk_per_w = 137,
		.leak_mw_per_k = 580,
		.idle_watts = 73,
		.bf16_flop_fj = 1150,
		.f32_flop_fj = 16000,
		.i8_op_fj = 960,
		.f8_flop_fj = 650,
		.hbm_byte_fj = 150000,
		.gemm_hbm_permille = 866,
		.tensor_efficiency_permille = 862,
		.tensor_f16_permille = 862,
		.tensor_i8_permille = 862,
		.dtypes = FLOATS | INTS | NIBBLES | ZW_DT_BLOCKED,
	},
	{
		COEFFICIENTS(1000),
		.name = "m890",
		.id = ZW_PROFILE_M890,
		.hbm_bytes = 144 * GIB,
		.hbm_bw = 4800000000000,
		.pcie_bw = 63015000000,
		.links = 8,
		.link_bw = 100000000000,
		.tensor_bf16_flops = 900000000000000,
		.tensor_f32_flops = 225000000000000,
		.tensor_i8_ops = 1800000000000000,
		.tensor_f8_flops = 1800000000000000,
		.vector_flops = 60000000000000,
		.sram_bytes = 80 * MIB,
		.sram_bw = 6750000000000,
		.kv_sram_bw = 6750000000000,
		.units = 144,
		.unit_bw = 52000000000,
		.unit_i8_bw = 52000000000,
		.tile_m = 128,
		.tile_n = 256,
		.tile_k = 64,
		.attn_tile = 128,
		.tdp_watts = 700,
		.thermal_mk_per_w = 79,
		.leak_mw_per_k = 1000,
		.idle_watts = 128,
		.bf16_flop_fj = 789,
		.f32_flop_fj = 11000,
		.i8_op_fj = 660,
		.f8_flop_fj = 446,
		.hbm_byte_fj = 137000,
		.gemm_hbm_permille = 866,
		.tensor_efficiency_permille = 862,
		.tensor_f16_permille = 862,
		.tensor_i8_permille = 862,
		.dtypes = FLOATS | INTS | NIBBLES | ZW_DT_BLOCKED | SMALL,
	},
	{
		COEFFICIENTS(2000),
		.name = "c12",
		.id = ZW_PROFILE_C12,
		.hbm_bytes = 32 * GIB,
		.hbm_bw = 512000000000,
		.pcie_bw = 15754000000,
		.links = 0,
		.link_bw = 0,
		.tensor_bf16_flops = 3000000000000,
		.tensor_f32_flops = 750000000000,
		.tensor_i8_ops = 12000000000000,
		.tensor_f8_flops = 0,
		.vector_flops = 400000000000,
		.sram_bytes = 8 * MIB,
		.sram_bw = 720000000000,
		.kv_sram_bw = 720000000000,
		.units = 4,
		.unit_bw = 201000000000,
		.unit_i8_bw = 201000000000,
		.tile_m = 16,
		.tile_n = 32,
		.tile_k = 32,
		.attn_tile = 16,
		.tdp_watts = 75,
		.thermal_mk_per_w = 733,
		.leak_mw_per_k = 108,
		.idle_watts = 14,
		.bf16_flop_fj = 767,
		.f32_flop_fj = 10667,
		.i8_op_fj = 640,
		.f8_flop_fj = 433,
		.hbm_byte_fj = 100000,
		.gemm_hbm_permille = 866,
		.tensor_efficiency_permille = 862,
		.tensor_f16_permille = 862,
		.tensor_i8_permille = 862,
		.dtypes = ZW_DT(F32) | ZW_DT(BF16) | ZW_DT(I32) | INTS,
	},
	{
		COEFFICIENTS(1404),
		.name = "a100-80g",
		.id = ZW_PROFILE_A100_80G,
		.hbm_bytes = 80 * GIB,
		.hbm_bw = 2039000000000,
		.pcie_bw = 31508000000,
		.links = 12,
		.link_bw = 25000000000,
		.tensor_bf16_flops = 312000000000000,
		.tensor_f32_flops = 19500000000000,
		.tensor_i8_ops = 624000000000000,
		.tensor_f8_flops = 0,
		.vector_flops = 19500000000000,
		.sram_bytes = 40 * MIB,
		.sram_bw = 2870000000000,
		.kv_sram_bw = 2870000000000,
		.units = 108,
		.unit_bw = 29600000000,
		.unit_i8_bw = 29600000000,
		.tile_m = 128,
		.tile_n = 256,
		.tile_k = 64,
		.attn_tile = 128,
		.tdp_watts = 400,
		.thermal_mk_per_w = 137,
		.leak_mw_per_k = 580,
		.idle_watts = 73,
		.bf16_flop_fj = 1150,
		.f32_flop_fj = 16000,
		.i8_op_fj = 960,
		.f8_flop_fj = 650,
		.hbm_byte_fj = 150000,
		.gemm_hbm_permille = 830,
		.tensor_efficiency_permille = 990,
		.tensor_f16_permille = 827,
		.tensor_i8_permille = 862,
		.dtypes = FLOATS | INTS | NIBBLES | ZW_DT_BLOCKED,
	},
	{
		COEFFICIENTS(1000),
		.name = "h100-sxm",
		.id = ZW_PROFILE_H100_SXM,
		.hbm_bytes = 80 * GIB,
		.hbm_bw = 3352000000000,
		.pcie_bw = 63015000000,
		.links = 18,
		.link_bw = 25000000000,
		.tensor_bf16_flops = 989400000000000,
		.tensor_f32_flops = 66900000000000,
		.tensor_i8_ops = 1978900000000000,
		.tensor_f8_flops = 1978900000000000,
		.vector_flops = 66900000000000,
		.sram_bytes = 50 * MIB,
		.sram_bw = 4710000000000,
		.kv_sram_bw = 4710000000000,
		.units = 132,
		.unit_bw = 39760000000,
		.unit_i8_bw = 19330000000,
		.tile_m = 128,
		.tile_n = 256,
		.tile_k = 64,
		.attn_tile = 128,
		.tdp_watts = 700,
		.thermal_mk_per_w = 79,
		.leak_mw_per_k = 1000,
		.idle_watts = 128,
		.bf16_flop_fj = 789,
		.f32_flop_fj = 11000,
		.i8_op_fj = 660,
		.f8_flop_fj = 446,
		.hbm_byte_fj = 137000,
		.gemm_hbm_permille = 866,
		.tensor_efficiency_permille = 862,
		.tensor_f16_permille = 862,
		.tensor_i8_permille = 429,
		.dtypes = FLOATS | INTS | NIBBLES | ZW_DT_BLOCKED | ZW_DT(F8E4M3) | ZW_DT(F8E5M2) |
			  ZW_DT(E8M0),
	},
};

#define N_PROFILES (sizeof(profiles) / sizeof(profiles[0]))

const struct zw_profile *zw_profile_at(size_t i)
{
	return i < N_PROFILES ? &profiles[i] : NULL;
}

const struct zw_profile *zw_profile_find(const char *name)
{
	for (size_t i = 0; name && i < N_PROFILES; i++)
		if (!strcmp(profiles[i].name, name))
			return &profiles[i];
	return NULL;
}

/* -- the figures as data, for files ------------------------------------------------------------------------ */

#define U64(f, lo, hi)                                                                             \
	{                                                                                          \
#f, offsetof(struct zw_profile, f), true, lo, hi                                   \
	}
#define U32(f, lo, hi)                                                                             \
	{                                                                                          \
#f, offsetof(struct zw_profile, f), false, lo, hi                                  \
	}

/*
 * The bounds keep the arithmetic of the cost model in its range (rates and efficiencies are divisors) and HBM within
 * what a page table entry can address.
 */
static const struct zw_profile_key keys[] = {
	U64(hbm_bytes, 2 * MIB, 1ull << 47),
	U64(hbm_bw, 1000000, 1ull << 60),
	U64(pcie_bw, 1000000, 1ull << 60),
	U32(links, 0, 64),
	U64(link_bw, 0, 1ull << 60),
	U64(tensor_bf16_flops, 1000000, 1ull << 62),
	U64(tensor_f32_flops, 1000000, 1ull << 62),
	U64(tensor_i8_ops, 0, 1ull << 62),
	U64(tensor_f8_flops, 0, 1ull << 62),
	U64(vector_flops, 1000000, 1ull << 62),
	U64(sram_bytes, 4096, 1ull << 40),
	U32(tile_m, 1, 4096),
	U32(tile_n, 1, 4096),
	U32(tile_k, 1, 4096),
	U32(tdp_watts, 0, 100000),
	U64(packet_ps, 0, 1000000000000),
	U64(job_ps, 0, 1000000000000),
	U32(hbm_efficiency_permille, 1, 1000),
	U32(tensor_efficiency_permille, 1, 1000),
	U64(sram_bw, 1000000, 1ull << 62),
	U32(units, 1, 65536),
	U64(unit_bw, 1000000, 1ull << 60),
	U64(unit_i8_bw, 1000000, 1ull << 60),
	U32(gemm_hbm_permille, 1, 1000),
	U32(attn_hbm_permille, 1, 1000),
	U32(tensor_f16_permille, 1, 1000),
	U32(tensor_f32_permille, 1, 1000),
	U32(tensor_i8_permille, 1, 1000),
	U32(tensor_f8_permille, 1, 1000),
	U32(gemm_edge_permille, 0, 1000),
	U32(gemm_overlap_permille, 0, 1000),
	U64(gemm_ps, 0, 1000000000000),
	U64(gemm_split_ps, 0, 1000000000000),
	U64(experts_ps, 0, 1000000000000),
	U64(expert_ps, 0, 1000000000000),
	U32(experts_permille, 1, 1000),
	U64(attn_ps, 0, 1000000000000),
	U64(attn_split_ps, 0, 1000000000000),
	U64(attn_prefill_ps, 0, 1000000000000),
	U32(attn_tile, 4, 4096),
	U32(attn_permille, 1, 1000),
	U32(attn_tail_permille, 0, 1000),
	U64(reduce_ps, 0, 1000000000000),
	U64(topk_ps, 0, 1000000000000),
	U32(idle_watts, 0, 100000),
	U32(bf16_flop_fj, 0, 100000000),
	U32(f32_flop_fj, 0, 100000000),
	U32(i8_op_fj, 0, 100000000),
	U32(f8_flop_fj, 0, 100000000),
	U32(attn_energy_permille, 0, 100000),
	U32(hbm_byte_fj, 0, 1000000000),
	U32(ambient_c, 0, 1000),
	U32(thermal_mk_per_w, 0, 1000000),
	U32(thermal_ms, 1, 1000000000),
	U32(leak_mw_per_k, 0, 1000000),
	U64(kv_sram_bytes, 0, 1ull << 39),
	U64(kv_sram_bw, 1000000, 1ull << 62),
	U32(kv_pinned_permille, 0, 1000),
	U32(tensor_engine, 0, 1),
	U32(fused_packets, 0, 1),
	U32(block_sparse, 0, 1),
};

const struct zw_profile_key *zw_profile_key_at(size_t i)
{
	return i < sizeof(keys) / sizeof(keys[0]) ? &keys[i] : NULL;
}

// SPDX-License-Identifier: MIT
/*
 * What a product of matrices costs: the best of a few tile shapes and splits of K, in waves over the units of the
 * chip. Integers only.
 */
#include "zw_cp_int.h"

typedef unsigned __int128 u128;

/* Multiply-adds are counted in picoseconds times 2^24. */
#define FRACTION     24
/* Above this (2^36 ps for a multiply-add) the exact time does not matter, and products stay below 2^128. */
#define MOST_PER_MAC (UINT64_C(1) << 60)

static uint64_t quotient(uint64_t a, uint64_t b)
{
	return a / b + !!(a % b);
}

static uint64_t saturate(u128 v)
{
	return v > UINT64_MAX ? UINT64_MAX : (uint64_t)v;
}

static bool is_f8(unsigned int dtype)
{
	return dtype == ZW_DTYPE_F8E4M3 || dtype == ZW_DTYPE_F8E5M2;
}

struct zw_cp_tensor_unit zw_cp_tensor_unit(const struct zw_profile *p, unsigned int dtype_a,
					   unsigned int dtype_b)
{
	if (dtype_a == ZW_DTYPE_F32 || dtype_b == ZW_DTYPE_F32)
		return (struct zw_cp_tensor_unit){p->tensor_f32_flops, p->tensor_f32_permille,
						  p->f32_flop_fj, p->unit_bw};
	if (dtype_a == ZW_DTYPE_I8 && dtype_b == ZW_DTYPE_I8)
		return (struct zw_cp_tensor_unit){p->tensor_i8_ops, p->tensor_i8_permille,
						  p->i8_op_fj, p->unit_i8_bw};
	if (is_f8(dtype_a) && is_f8(dtype_b))
		return (struct zw_cp_tensor_unit){p->tensor_f8_flops, p->tensor_f8_permille,
						  p->f8_flop_fj, p->unit_bw};
	/* Storage formats are widened where they come in. */
	return (struct zw_cp_tensor_unit){p->tensor_bf16_flops, p->tensor_efficiency_permille,
					  p->bf16_flop_fj, p->unit_bw};
}

uint32_t zw_cp_tile_rows(const struct zw_profile *p, unsigned int i)
{
	uint32_t rows = p->tile_m >> (ZW_CP_TILE_ROWS - 1 - i);

	return rows ? rows : 1;
}

/* A quarter, a half, three quarters, all of it. */
static uint32_t tile_columns(const struct zw_profile *p, unsigned int i)
{
	uint32_t columns = (uint32_t)((uint64_t)p->tile_n * (i + 1) / 4);

	return columns ? columns : 1;
}

static uint64_t per_mac(const struct zw_profile *p, const struct zw_cp_tensor_unit *unit)
{
	u128 num = ((u128)2000000000000000ull * p->units) << FRACTION;
	u128 den = (u128)unit->rate * unit->permille;
	u128 q = den ? (num + den - 1) / den : MOST_PER_MAC;

	return q > MOST_PER_MAC ? MOST_PER_MAC : (uint64_t)q;
}

/* One tile on one unit. The smaller a tile, the more its operands weigh against its products. */
static uint64_t tile_ps(const struct zw_profile *p, uint64_t mac, uint32_t rows, uint32_t columns,
			uint64_t depth)
{
	uint64_t steps = quotient(depth, p->tile_k) * p->tile_k;
	uint64_t edge = 1000 + (uint64_t)p->gemm_edge_permille * p->tile_m / rows +
			(uint64_t)p->gemm_edge_permille * p->tile_m / columns;
	u128 ps = (u128)mac * ((uint64_t)rows * columns) * steps;

	ps = (ps + (1u << FRACTION) - 1) >> FRACTION;
	return saturate((u128)saturate(ps) * edge / 1000);
}

/* Bytes through a memory that some of the units ask. */
static uint64_t memory_ps(const struct zw_profile *p, const struct zw_cp_product *g,
			  uint64_t all_ps, uint64_t active)
{
	uint64_t bw = zw_cp_mul_sat(active, g->unit.bw), ps;

	if (bw >= p->hbm_bw)
		return all_ps;
	ps = zw_cp_rate_ps(g->bytes, bw, 1000);
	return ps > all_ps ? ps : all_ps;
}

uint64_t zw_cp_product_ps(const struct zw_profile *p, const struct zw_cp_product *g)
{
	uint64_t all_ps = zw_cp_rate_ps(g->bytes, p->hbm_bw, p->gemm_hbm_permille);
	uint64_t mac = per_mac(p, &g->unit), best = UINT64_MAX, power;

	for (unsigned int i = 0; i < ZW_CP_TILE_ROWS; i++) {
		for (unsigned int j = 0; j < 4; j++) {
			uint32_t rows = zw_cp_tile_rows(p, i), columns = tile_columns(p, j);
			uint64_t tiles = zw_cp_mul_sat(g->row_tiles[i], quotient(g->n, columns));

			/* The parts of a K that is split are added up in a second pass. */
			for (unsigned int s = 1; s <= 8; s *= 2) {
				uint64_t parts = zw_cp_mul_sat(tiles, s), work, memory, ps;

				if (s > 1 && (parts > p->units || g->k / s < p->tile_k))
					break;
				work = zw_cp_mul_sat(
					quotient(parts, p->units),
					tile_ps(p, mac, rows, columns, quotient(g->k, s)));
				memory = memory_ps(p, g, all_ps,
						   parts < p->units ? parts : p->units);
				ps = zw_cp_add_sat(work > memory ? work : memory,
						   saturate((u128)(work > memory ? memory : work) *
							    p->gemm_overlap_permille / 1000));
				if (s > 1)
					ps = zw_cp_add_sat(
						zw_cp_add_sat(ps, p->gemm_split_ps),
						zw_cp_rate_ps(zw_cp_mul_sat(g->outputs, 8 * s),
							      p->sram_bw, 1000));
				best = ps < best ? ps : best;
			}
		}
	}
	power = zw_cp_power_ps(p, g->ops, g->unit.fj);
	return power > best ? power : best;
}

uint64_t zw_cp_products_ps(const struct zw_profile *p, const struct zw_cp_tensor_unit *unit,
			   uint64_t count, uint64_t m, uint64_t n, uint64_t k)
{
	struct zw_cp_product g = {
		.unit = *unit,
		.n = n,
		.k = k,
		.outputs = zw_cp_mul_sat(count, zw_cp_mul_sat(m, n)),
	};

	if (!count)
		return 0;
	for (unsigned int i = 0; i < ZW_CP_TILE_ROWS; i++)
		g.row_tiles[i] = zw_cp_mul_sat(count, quotient(m, zw_cp_tile_rows(p, i)));
	g.ops = zw_cp_mul_sat(zw_cp_mul_sat(g.outputs, k), 2);
	return zw_cp_product_ps(p, &g);
}

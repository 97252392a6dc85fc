// SPDX-License-Identifier: MIT
/*
 * What a product of matrices costs: the best of a few tile shapes and splits of K, in waves over the units of the
 * chip. Integers only.
 */
#include <string.h>

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

static uint64_t per_mille(uint64_t v, uint64_t share)
{
	uint64_t small;

	/* nearly always */
	if (!__builtin_mul_overflow(v, share, &small))
		return small / 1000;
	return saturate((u128)v * share / 1000);
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
	/* Storage formats are widened where they come in, to the type that they are beside. */
	return (struct zw_cp_tensor_unit){p->tensor_bf16_flops,
					  dtype_a == ZW_DTYPE_F16 || dtype_b == ZW_DTYPE_F16
						  ? p->tensor_f16_permille
						  : p->tensor_efficiency_permille,
					  p->bf16_flop_fj, p->unit_bw};
}

struct zw_cp_tensor_unit zw_cp_vector_unit(const struct zw_profile *p)
{
	return (struct zw_cp_tensor_unit){p->vector_flops, p->tensor_f32_permille, p->f32_flop_fj,
					  p->unit_bw, true};
}

uint32_t zw_cp_tile_rows(const struct zw_profile *p, unsigned int i)
{
	uint32_t rows = p->tile_m >> (ZW_CP_TILE_ROWS - 1 - i);

	return rows ? rows : 1;
}

#define TILES ZW_CP_TILE_ROWS /* widths, as many as heights */

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

/* Everything that does not depend on the tile, found once: this runs for each product of a step. */
struct costs {
	uint64_t mac;                                 /* times 2^24 */
	uint64_t all_ps;                              /* the bytes through all of the memory ... */
	uint64_t unit_ps;                             /* ... and drawn by one unit */
	uint64_t sum_ps;                              /* adding up one part of the outputs */
	uint64_t row_edge[TILES], column_edge[TILES]; /* per mille, by the tile's size */
};

static struct costs find_costs(const struct zw_profile *p, const struct zw_cp_product *g)
{
	struct costs c = {
		.mac = per_mac(p, &g->unit),
		.all_ps = zw_cp_rate_ps(g->bytes, p->hbm_bw, p->gemm_hbm_permille),
		.unit_ps = zw_cp_rate_ps(g->bytes, g->unit.bw, 1000),
		.sum_ps = zw_cp_rate_ps(zw_cp_mul_sat(g->outputs, 8), p->sram_bw, 1000),
	};
	uint64_t edge = (uint64_t)p->gemm_edge_permille * p->tile_m;

	for (unsigned int i = 0; i < TILES; i++) {
		c.row_edge[i] = edge / zw_cp_tile_rows(p, i);
		c.column_edge[i] = edge / tile_columns(p, i);
	}
	return c;
}

/* One tile on one unit. The smaller a tile, the more its operands weigh against its products. */
static uint64_t tile_ps(const struct costs *c, uint64_t area, uint64_t depth, uint64_t edge)
{
	u128 ps = (u128)c->mac * area * depth;

	return per_mille(saturate((ps + (1u << FRACTION) - 1) >> FRACTION), edge);
}

/* On vector units operations are spread evenly, and none are made to fill a tile. */
static uint64_t vector_product_ps(const struct zw_profile *p, const struct zw_cp_product *g)
{
	uint64_t work = zw_cp_rate_ps(g->ops, g->unit.rate, g->unit.permille);
	uint64_t memory = zw_cp_rate_ps(g->bytes, p->hbm_bw, p->gemm_hbm_permille);
	uint64_t power = zw_cp_power_ps(p, g->ops, g->unit.fj), ps;

	ps = zw_cp_add_sat(work > memory ? work : memory,
			   per_mille(work > memory ? memory : work, p->gemm_overlap_permille));
	return power > ps ? power : ps;
}

uint64_t zw_cp_product_ps(const struct zw_profile *p, const struct zw_cp_product *g)
{
	const struct costs c = find_costs(p, g);
	uint64_t best = UINT64_MAX, power;

	if (g->unit.vector)
		return vector_product_ps(p, g);
	/* The parts of a K that is split are added up in a second pass. */
	for (unsigned int s = 1; s <= 8; s *= 2) {
		uint64_t k = quotient(g->k, s), depth = quotient(k, p->tile_k) * p->tile_k;

		if (s > 1 && g->k / s < p->tile_k)
			break;
		for (unsigned int t = 0; t < TILES * TILES; t++) {
			unsigned int i = t / TILES, j = t % TILES;
			uint64_t columns = tile_columns(p, j);
			uint64_t tiles = zw_cp_mul_sat(g->row_tiles[i], quotient(g->n, columns));
			uint64_t parts = zw_cp_mul_sat(tiles, s), work, memory, ps;

			if (!parts || (s > 1 && parts > p->units))
				continue;
			work = tile_ps(&c, zw_cp_tile_rows(p, i) * columns, depth,
				       1000 + c.row_edge[i] + c.column_edge[j]);
			if (parts > p->units)
				work = zw_cp_mul_sat(work, quotient(parts, p->units));
			/* the memory that only some of the units ask */
			memory = quotient(c.unit_ps, parts < p->units ? parts : p->units);
			memory = memory > c.all_ps ? memory : c.all_ps;
			ps = zw_cp_add_sat(
				work > memory ? work : memory,
				per_mille(work > memory ? memory : work, p->gemm_overlap_permille));
			if (s > 1)
				ps = zw_cp_add_sat(zw_cp_add_sat(ps, p->gemm_split_ps),
						   zw_cp_mul_sat(c.sum_ps, s));
			best = ps < best ? ps : best;
		}
	}
	if (best == UINT64_MAX && !g->row_tiles[0])
		best = 0; /* no rows */
	power = zw_cp_power_ps(p, g->ops, g->unit.fj);
	return power > best ? power : best;
}

static bool same(const struct zw_cp_product *a, const struct zw_cp_product *b)
{
	return a->unit.rate == b->unit.rate && a->unit.permille == b->unit.permille &&
	       a->unit.fj == b->unit.fj && a->unit.bw == b->unit.bw &&
	       a->unit.vector == b->unit.vector &&
	       !memcmp(a->row_tiles, b->row_tiles, sizeof(a->row_tiles)) && a->n == b->n &&
	       a->k == b->k && a->outputs == b->outputs && a->bytes == b->bytes && a->ops == b->ops;
}

uint64_t zw_cp_product_again(struct zw_cp_products *known, const struct zw_profile *p,
			     const struct zw_cp_product *g)
{
	/* What products differ in is in these. */
	uint64_t hash = (g->bytes * 31 + g->ops) * UINT64_C(0x9e3779b97f4a7c15);
	size_t i = (size_t)(hash >> 32) % ZW_CP_KNOWN_PRODUCTS;

	if (known->slot[i].run != known->run + 1 || !same(&known->slot[i].g, g)) {
		known->slot[i].g = *g;
		known->slot[i].ps = zw_cp_product_ps(p, g);
		known->slot[i].run = known->run + 1;
	}
	return known->slot[i].ps;
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

// SPDX-License-Identifier: MIT
/*
 * What a packet costs: arithmetic with rates, fixed costs, and the vector engine. Integers only, so that every host
 * comes to the same picosecond. Rules and coefficients: Documentation/device/time.md.
 */
#include "zw_cp_int.h"

#define PS_PER_S 1000000000000ull

typedef unsigned __int128 u128;

uint64_t zw_cp_rate_ps(uint64_t amount, uint64_t per_second, uint32_t permille)
{
	/* amount * 10^12 * 1000 < 2^64 * 2^50: fits into 128 bits */
	u128 num = (u128)amount * PS_PER_S * 1000u;
	u128 den = (u128)per_second * permille;
	u128 ps;

	if (!amount)
		return 0;
	if (!den)
		return UINT64_MAX;
	ps = (num + den - 1) / den;
	return ps > UINT64_MAX ? UINT64_MAX : (uint64_t)ps;
}

/* -- fixed costs, and what memory does meanwhile ------------------------------------------------------------- */

void zw_cp_cost_begin(const struct zw_profile *p, unsigned int engine, struct zw_cp_cost *cost)
{
	cost->fixed_ps = p->packet_ps;
	cost->hbm_permille = p->hbm_efficiency_permille;
	/*
	 * Streams of the vector and the DMA engine: memory is at work while the packet before drains and this one
	 * starts. Products and attention wait for their first operands instead.
	 */
	cost->lead_ps = engine == ZW_ENGINE_VECTOR || engine == ZW_ENGINE_DMA ? p->packet_ps : 0;
}

uint64_t zw_cp_cost_bytes(const struct zw_cp_cost *cost)
{
	return zw_cp_add_sat(zw_cp_add_sat(cost->hbm_read, cost->hbm_written),
			     zw_cp_add_sat(cost->sram_read, cost->sram_written));
}

void zw_cp_cost_on_chip(const struct zw_profile *p, struct zw_cp_cost *cost)
{
	uint64_t ps = zw_cp_rate_ps(zw_cp_cost_bytes(cost), p->sram_bw, 1000);

	if (ps > cost->compute_ps)
		cost->compute_ps = ps;
}

/* -- vector engine ------------------------------------------------------------------------------------------- */

uint64_t zw_cp_vector_ps(const struct zw_profile *p, uint64_t elements, uint32_t ops)
{
	return zw_cp_rate_ps(zw_cp_mul_sat(elements, ops), p->vector_flops, 1000);
}

/* Rows up to this length are summed within what a packet takes anyway. */
#define FREE_DEPTH 10

uint64_t zw_cp_reduce_ps(const struct zw_profile *p, uint64_t elements)
{
	unsigned int depth = elements > 1 ? 64 - (unsigned int)__builtin_clzll(elements - 1) : 0;

	return depth > FREE_DEPTH ? zw_cp_mul_sat(p->reduce_ps, depth - FREE_DEPTH) : 0;
}

/* -- power ----------------------------------------------------------------------------------------------------- */

uint64_t zw_cp_power_ps(const struct zw_profile *p, uint64_t ops, uint32_t fj)
{
	uint32_t watts = p->tdp_watts > p->idle_watts ? p->tdp_watts - p->idle_watts : 0;
	/* 1 fJ / 1 W = 10^-15 s */
	u128 ps = (u128)ops * fj / 1000u;

	if (!watts)
		return 0;
	ps = (ps + watts - 1) / watts;
	return ps > UINT64_MAX ? UINT64_MAX : (uint64_t)ps;
}

uint64_t zw_cp_energy_pj(const struct zw_profile *p, const struct zw_cp_cost *cost)
{
	uint64_t hbm =
		zw_cp_add_sat(zw_cp_add_sat(cost->hbm_read, cost->hbm_early), cost->hbm_written);
	u128 fj = (u128)cost->ops * cost->ops_fj + (u128)hbm * p->hbm_byte_fj;

	fj /= 1000u;
	return fj > UINT64_MAX ? UINT64_MAX : (uint64_t)fj;
}

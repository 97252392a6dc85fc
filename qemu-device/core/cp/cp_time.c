// SPDX-License-Identifier: MIT
/*
 * Simulated time: integer picoseconds, a pure function of packets, row counts, index data, placement of operands and
 * profile. The rules are those of Documentation/device/time.md.
 */
#include "zw_cp_int.h"

#define PS_PER_S 1000000000000ull

typedef unsigned __int128 u128;

uint64_t zw_cp_add_sat(uint64_t a, uint64_t b)
{
	uint64_t r;

	return __builtin_add_overflow(a, b, &r) ? UINT64_MAX : r;
}

uint64_t zw_cp_mul_sat(uint64_t a, uint64_t b)
{
	uint64_t r;

	return __builtin_mul_overflow(a, b, &r) ? UINT64_MAX : r;
}

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

static uint64_t max64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* A memory port serves one packet after the other; returns when `bytes` are through. */
static uint64_t port_serve(uint64_t *port_free, uint64_t start, uint64_t bytes, uint64_t bw,
			   uint32_t permille)
{
	if (!bytes)
		return start;
	*port_free = zw_cp_add_sat(max64(start, *port_free), zw_cp_rate_ps(bytes, bw, permille));
	return *port_free;
}

void zw_cp_clock_init(struct zw_cp_clock *clk, uint64_t ps)
{
	*clk = (struct zw_cp_clock){.now = ps, .base = ps};
}

void zw_cp_clock_begin(struct zw_cp_clock *clk, uint64_t ps)
{
	/* Tokens need no clearing: those of the job before were signalled before this moment, which all wait for. */
	clk->now = zw_cp_add_sat(clk->now, ps);
	clk->base = clk->now;
}

/* When everything that the packet depends on has ended. */
static uint64_t ready(const struct zw_cp_clock *clk, const struct zw_pkt *hdr)
{
	uint64_t ps = clk->base;

	if (!(hdr->flags & ZW_PKT_F_DEPS))
		return clk->now;
	for (unsigned int t = 0; t < ZW_PKT_TOKENS; t++)
		if (hdr->wait >> t & 1)
			ps = max64(ps, clk->token[t]);
	return ps;
}

uint64_t zw_cp_clock_retire(struct zw_cp_clock *clk, const struct zw_profile *p,
			    unsigned int engine, const struct zw_pkt *hdr,
			    const struct zw_cp_cost *cost, uint64_t *busy_ps)
{
	uint64_t start = max64(max64(ready(clk, hdr), cost->not_before), clk->engine_free[engine]);
	uint64_t issued = zw_cp_add_sat(start, p->packet_ps);
	uint64_t end = zw_cp_add_sat(issued, cost->compute_ps);

	end = max64(end, port_serve(&clk->hbm_free, issued,
				    zw_cp_add_sat(cost->hbm_read, cost->hbm_written), p->hbm_bw,
				    p->hbm_efficiency_permille));
	end = max64(end, port_serve(&clk->sys_read_free, issued, cost->sys_read, p->pcie_bw, 1000));
	end = max64(end,
		    port_serve(&clk->sys_write_free, issued, cost->sys_written, p->pcie_bw, 1000));

	clk->engine_free[engine] = end;
	clk->now = max64(clk->now, end);
	if (!(hdr->flags & ZW_PKT_F_DEPS))
		clk->base = clk->now;
	if (hdr->signal)
		clk->token[hdr->signal - 1] = end;
	*busy_ps = end - start;
	return end;
}

static uint64_t round_up_to(uint64_t v, uint32_t tile)
{
	return (v + tile - 1) / tile * tile;
}

static bool is_f8(unsigned int dtype)
{
	return dtype == ZW_DTYPE_F8E4M3 || dtype == ZW_DTYPE_F8E5M2;
}

uint64_t zw_cp_tensor_rate(const struct zw_profile *p, unsigned int dtype_a, unsigned int dtype_b)
{
	if (dtype_a == ZW_DTYPE_F32 || dtype_b == ZW_DTYPE_F32)
		return p->tensor_f32_flops;
	if (dtype_a == ZW_DTYPE_I8 && dtype_b == ZW_DTYPE_I8)
		return p->tensor_i8_ops;
	if (is_f8(dtype_a) && is_f8(dtype_b))
		return p->tensor_f8_flops;
	/* Storage formats are widened where they come in. */
	return p->tensor_bf16_flops;
}

uint64_t zw_cp_tensor_ps(const struct zw_profile *p, uint64_t m, uint64_t n, uint64_t k,
			 uint64_t rate)
{
	uint64_t flops = zw_cp_mul_sat(round_up_to(m, p->tile_m), round_up_to(n, p->tile_n));

	flops = zw_cp_mul_sat(zw_cp_mul_sat(flops, round_up_to(k, p->tile_k)), 2);
	return zw_cp_rate_ps(flops, rate, p->tensor_efficiency_permille);
}

uint64_t zw_cp_vector_ps(const struct zw_profile *p, uint64_t elements, uint32_t ops)
{
	return zw_cp_rate_ps(zw_cp_mul_sat(elements, ops), p->vector_flops, 1000);
}

// SPDX-License-Identifier: MIT
/*
 * Simulated time: where a packet, whose cost is known, lies on the time lines of its queue. Integer picoseconds; the
 * rules are those of Documentation/device/time.md.
 */
#include "zw_cp_int.h"

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
	uint64_t issued = zw_cp_add_sat(start, cost->fixed_ps);
	uint64_t memory = zw_cp_add_sat(start, cost->fixed_ps - cost->lead_ps);
	uint64_t end = zw_cp_add_sat(issued, cost->compute_ps);

	end = max64(end, port_serve(&clk->hbm_free, memory,
				    zw_cp_add_sat(cost->hbm_read, cost->hbm_written), p->hbm_bw,
				    cost->hbm_permille));
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

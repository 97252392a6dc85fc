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

/* A memory port serves one packet after the other; returns when it is through. */
static uint64_t port_serve(uint64_t *port_free, uint64_t start, uint64_t ps)
{
	if (!ps)
		return start;
	*port_free = zw_cp_add_sat(max64(start, *port_free), ps);
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

uint64_t zw_cp_clock_ready(const struct zw_cp_clock *clk, const struct zw_pkt *hdr)
{
	uint64_t ps = clk->base;

	if (!(hdr->flags & ZW_PKT_F_DEPS))
		return clk->now;
	for (unsigned int t = 0; t < ZW_PKT_TOKENS; t++)
		if (hdr->wait >> t & 1)
			ps = max64(ps, clk->token[t]);
	return ps;
}

void zw_cp_work_of(const struct zw_profile *p, const struct zw_cp_cost *cost,
		   struct zw_cp_work *work)
{
	uint64_t hbm = zw_cp_add_sat(cost->hbm_read, cost->hbm_written);

	*work = (struct zw_cp_work){.fixed_ps = cost->fixed_ps,
				    .lead_ps = cost->lead_ps,
				    .compute_ps = cost->compute_ps,
				    .ops = cost->ops,
				    .hbm_bytes = hbm,
				    .sys_bytes = zw_cp_add_sat(cost->sys_read, cost->sys_written)};
	if (hbm)
		work->port_ps[ZW_PORT_HBM] = zw_cp_rate_ps(hbm, p->hbm_bw, cost->hbm_permille);
	if (cost->sys_read)
		work->port_ps[ZW_PORT_SYS_READ] = zw_cp_rate_ps(cost->sys_read, p->pcie_bw, 1000);
	if (cost->sys_written)
		work->port_ps[ZW_PORT_SYS_WRITE] =
			zw_cp_rate_ps(cost->sys_written, p->pcie_bw, 1000);
	work->energy_pj = zw_cp_energy_pj(p, cost);
	if (cost->ops && cost->compute_ps <= zw_cp_power_ps(p, cost->ops, cost->ops_fj))
		work->capped_ps = cost->compute_ps;
}

uint64_t zw_cp_clock_place(struct zw_cp_clock *clk, unsigned int engine, const struct zw_pkt *hdr,
			   const struct zw_cp_work *work, uint64_t not_before, uint64_t *busy_ps)
{
	uint64_t start =
		max64(max64(zw_cp_clock_ready(clk, hdr), not_before), clk->engine_free[engine]);
	uint64_t issued = zw_cp_add_sat(start, work->fixed_ps);
	uint64_t memory = zw_cp_add_sat(start, work->fixed_ps - work->lead_ps);
	uint64_t end = zw_cp_add_sat(issued, work->compute_ps);

	end = max64(end, port_serve(&clk->hbm_free, memory, work->port_ps[ZW_PORT_HBM]));
	end = max64(end, port_serve(&clk->sys_read_free, issued, work->port_ps[ZW_PORT_SYS_READ]));
	end = max64(end,
		    port_serve(&clk->sys_write_free, issued, work->port_ps[ZW_PORT_SYS_WRITE]));

	clk->engine_free[engine] = end;
	clk->now = max64(clk->now, end);
	if (!(hdr->flags & ZW_PKT_F_DEPS))
		clk->base = clk->now;
	if (hdr->signal)
		clk->token[hdr->signal - 1] = end;
	*busy_ps = end - start;
	return end;
}

uint64_t zw_cp_clock_retire(struct zw_cp_clock *clk, const struct zw_profile *p,
			    unsigned int engine, const struct zw_pkt *hdr,
			    const struct zw_cp_cost *cost, uint64_t *busy_ps)
{
	struct zw_cp_work work;

	zw_cp_work_of(p, cost, &work);
	return zw_cp_clock_place(clk, engine, hdr, &work, cost->not_before, busy_ps);
}

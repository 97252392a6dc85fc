// SPDX-License-Identifier: MIT
/*
 * What was measured around the chip: the host that launches kernels and the links between cards. None of it is the
 * device's; the figures are those of a row's setup, in nanoseconds, and what a profile says of links.
 */
#include <math.h>
#include <stdio.h>

#include "cp/zw_cp_int.h"
#include "rows.h"

#define PS_PER_NS 1000u

/*
 * A pipelined ring over all links of a card: 2 (n - 1) / n of the bytes pass each card, in pieces that pass 2 (n - 1)
 * cards one after another. With as many pieces as make it shortest, and h = 2 (n - 1) - 1 hops that the first of them is
 * behind: x + 2 sqrt(h hop x) + h hop, x being the bytes at the links' share of what the data sheet says.
 */
static uint64_t ring_ps(const struct zw_profile *p, const struct row *r, uint32_t cards,
			uint64_t bytes)
{
	double share = (double)row_number(r, "link_permille", 1000) / 1000;
	double hop = (double)row_number(r, "hop_ns", 0) * PS_PER_NS;
	double rate = (double)p->links * (double)p->link_bw * share;
	double h = 2.0 * cards - 3;
	double x = 2.0 * (cards - 1) / cards * (double)bytes / rate * 1e12;

	x += 2 * sqrt(h * hop * x) + h * hop;
	return x < 0x1p63 ? (uint64_t)x : INT64_MAX;
}

int row_sum_ps(const struct zw_profile *p, const struct row *r, uint32_t cards, uint64_t bytes,
	       uint64_t *ps)
{
	if (cards < 2 || !p->links || !p->link_bw) {
		fprintf(stderr, "fidelity: a sum over cards needs two of them, and links: %s\n",
			r->text);
		return -1;
	}
	*ps = zw_cp_add_sat(ring_ps(p, r, cards, bytes),
			    zw_cp_mul_sat(row_number(r, "wait_ns", 0), PS_PER_NS));
	return 0;
}

uint64_t row_launch_ps(const struct row *r)
{
	return zw_cp_mul_sat(row_number(r, "launch_ns", 0), PS_PER_NS);
}

uint64_t row_step_ps(const struct row *r)
{
	return zw_cp_mul_sat(row_number(r, "step_ns", 0), PS_PER_NS);
}

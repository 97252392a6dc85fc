// SPDX-License-Identifier: MIT
/*
 * Temperature: one heat sink that every watt goes through, in steps of a millisecond of settled time. Integers only, so
 * that every host comes to the same. Rule: Documentation/device/time.md, "Temperature".
 */
#include "zw_cp_int.h"
#include "zw_cp_replay.h"

#define STEP_PS   UINT64_C(1000000000)
#define PJ_PER_UJ UINT64_C(1000000)
#define ONE       (UINT64_C(1) << 63)

/* Hotter than this nothing gets: what a profile with absurd figures ends at. */
#define MAX_NK UINT64_C(1000000000000000000)

typedef unsigned __int128 u128;

void zw_cp_thermal_init(struct zw_cp_thermal *t, const struct zw_profile *profile)
{
	*t = (struct zw_cp_thermal){.profile = profile, .next_ps = profile ? STEP_PS : UINT64_MAX};
}

/* (1 - 1 / steps) ^ n, of ONE. */
static uint64_t decay(uint64_t steps, uint64_t n)
{
	uint64_t f = ONE - ONE / steps, all = ONE;

	for (; n && all; n >>= 1) {
		if (n & 1)
			all = (uint64_t)((u128)all * f >> 63);
		f = (uint64_t)((u128)f * f >> 63);
	}
	return all;
}

void zw_cp_thermal_advance(struct zw_cp_thermal *t, uint64_t ps)
{
	const struct zw_profile *p = t->profile;
	uint64_t n = (ps - t->next_ps) / STEP_PS + 1;
	u128 nk;

	if (!p)
		return;
	/* mK / W * pJ / ms = 10^-9 mK = 10^-3 nK */
	nk = (u128)p->thermal_mk_per_w * t->step_pj / p->thermal_ms / 1000u + t->excess_nk;
	if (nk > MAX_NK)
		nk = MAX_NK;
	t->excess_nk = (uint64_t)(nk * decay(p->thermal_ms, n) >> 63);
	t->step_pj = 0;
	t->next_ps = zw_cp_add_sat(t->next_ps, n * STEP_PS);
}

uint64_t zw_cp_thermal_heat(struct zw_cp_thermal *t, uint64_t pj)
{
	uint64_t uj = pj / PJ_PER_UJ;

	t->rest_pj += pj % PJ_PER_UJ;
	if (t->rest_pj >= PJ_PER_UJ) {
		t->rest_pj -= PJ_PER_UJ;
		uj++;
	}
	t->step_pj = zw_cp_add_sat(t->step_pj, pj);
	return uj;
}

bool zw_cp_thermal_possible(const struct zw_cp_thermal *t, uint64_t ps)
{
	return (t->profile ? t->next_ps > ps && t->next_ps - ps <= STEP_PS &&
				     (t->next_ps % STEP_PS == 0 || t->next_ps == UINT64_MAX)
			   : t->next_ps == UINT64_MAX) &&
	       t->excess_nk <= MAX_NK && t->rest_pj < PJ_PER_UJ;
}

int32_t zw_cp_thermal_mc(const struct zw_cp_thermal *t)
{
	const struct zw_profile *p = t->profile;
	uint64_t mc;

	if (!p)
		return 0;
	mc = (uint64_t)p->ambient_c * 1000 + (uint64_t)p->thermal_mk_per_w * p->idle_watts +
	     t->excess_nk / 1000000;
	return mc > INT32_MAX ? INT32_MAX : (int32_t)mc;
}

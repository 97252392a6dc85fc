// SPDX-License-Identifier: MIT
/*
 * Temperature: one heat sink that every watt goes through, in steps of a millisecond of settled time, and the leakage
 * that rises with it. Integers only, so that every host comes to the same. Rule: Documentation/device/time.md,
 * "Temperature and leakage".
 */
#include "zw_cp_int.h"
#include "zw_cp_replay.h"

#define STEP_PS   UINT64_C(1000000000)
#define PJ_PER_UJ UINT64_C(1000000)
#define ONE       (UINT64_C(1) << 63)
#define MILLION   UINT64_C(1000000)

/* Hotter than this nothing gets: what a profile with absurd figures ends at. */
#define MAX_NK UINT64_C(1000000000000000000)

typedef unsigned __int128 u128;

void zw_cp_thermal_init(struct zw_cp_thermal *t, const struct zw_profile *profile)
{
	*t = (struct zw_cp_thermal){.profile = profile, .next_ps = profile ? STEP_PS : UINT64_MAX};
}

/* Millionths of the heat that goes in from outside: the rest is leakage that follows from it. */
static uint64_t outside(const struct zw_profile *p)
{
	return MILLION - (uint64_t)p->thermal_mk_per_w * p->leak_mw_per_k;
}

/* What is left of an excess after n steps, of ONE: leakage holds it up. */
static uint64_t decay(const struct zw_profile *p, uint64_t n)
{
	uint64_t f = ONE - (uint64_t)((u128)ONE * outside(p) / (MILLION * p->thermal_ms));
	uint64_t all = ONE;

	for (; n && all; n >>= 1) {
		if (n & 1)
			all = (uint64_t)((u128)all * f >> 63);
		f = (uint64_t)((u128)f * f >> 63);
	}
	return all;
}

/* The microjoules that are full with so much more. */
static uint64_t full_uj(struct zw_cp_thermal *t, uint64_t pj)
{
	uint64_t uj = pj / PJ_PER_UJ;

	t->rest_pj += pj % PJ_PER_UJ;
	if (t->rest_pj >= PJ_PER_UJ) {
		t->rest_pj -= PJ_PER_UJ;
		uj++;
	}
	return uj;
}

uint64_t zw_cp_thermal_advance(struct zw_cp_thermal *t, uint64_t ps)
{
	const struct zw_profile *p = t->profile;
	uint64_t n = (ps - t->next_ps) / STEP_PS + 1;
	u128 nk, leak;

	if (!p)
		return 0;
	/* mK / W * pJ / ms = 10^-9 mK = 10^-3 nK, of which the part from outside */
	nk = (u128)p->thermal_mk_per_w * t->step_pj * outside(p) / p->thermal_ms /
		     (1000u * MILLION) +
	     t->excess_nk;
	if (nk > MAX_NK)
		nk = MAX_NK;
	t->excess_nk = (uint64_t)(nk * decay(p, n) >> 63);
	t->step_pj = 0;
	t->next_ps = zw_cp_add_sat(t->next_ps, n * STEP_PS);
	/* The sum over the steps: what the excess has lost, by what a step takes of it. mW / K * ms * nK = 10^-3 pJ */
	leak = (nk - t->excess_nk) * p->leak_mw_per_k * p->thermal_ms * 1000u / outside(p);
	return full_uj(t, leak > UINT64_MAX ? UINT64_MAX : (uint64_t)leak);
}

uint64_t zw_cp_thermal_heat(struct zw_cp_thermal *t, uint64_t pj)
{
	uint64_t now = pj, small;

	if (t->profile) {
		uint64_t share = outside(t->profile);

		/* nearly always */
		now = !__builtin_mul_overflow(pj, share, &small)
			      ? small / MILLION
			      : (uint64_t)((u128)pj * share / MILLION);
	}
	t->step_pj = zw_cp_add_sat(t->step_pj, pj);
	return full_uj(t, now);
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

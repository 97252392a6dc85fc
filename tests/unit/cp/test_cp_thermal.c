// SPDX-License-Identifier: MIT
/* Temperature and energy over the settled time, by hand; the same whatever the order, and in a saved state. */
#include <string.h>

#include "replay_rig.h"
#include "zw_profile.h"

#define MS (UINT64_C(1000000000))
#define S  (1000 * MS)

#define PJ_PER_UJ UINT64_C(1000000)

/* 10 W idle, 0.1 K/W, 1 s: 21 C at rest. */
static const struct zw_profile profile = {.idle_watts = 10,
					  .tdp_watts = 110,
					  .ambient_c = 20,
					  .thermal_mk_per_w = 100,
					  .thermal_ms = 1000};

static int setup(void **state)
{
	*state = rig_new_of(&profile);
	return 0;
}

static int teardown(void **state)
{
	rig_free(*state);
	return 0;
}

static struct step packet(uint64_t ps, uint64_t pj)
{
	return (struct step){.engine = ZW_ENGINE_TENSOR,
			     .work = {.compute_ps = ps, .energy_pj = pj}};
}

/* n packets of a millisecond, 100 W each. */
static void heat(struct rig *g, unsigned int queue, unsigned int n)
{
	const struct step s = packet(MS, 100 * MS);

	rig_begin(g, queue, 0);
	for (unsigned int i = 0; i < n; i++)
		rig_packet(g, queue, &s);
	rig_end(g, queue);
}

static void wait(struct rig *g, unsigned int queue, uint64_t ps)
{
	const struct step s = packet(ps, 0), last = packet(1, 0);

	rig_begin(g, queue, 0);
	rig_packet(g, queue, &s);
	rig_packet(g, queue, &last);
	rig_end(g, queue);
}

static void at_rest(void **state)
{
	struct rig *g = *state;

	assert_int_equal(g->pmu.temperature_mc, 21000);
	rig_open(g, 1);
	wait(g, 0, 100 * S);
	assert_int_equal(g->pmu.temperature_mc, 21000);
	assert_int_equal(g->pmu.settled_energy_uj, 0);
}

/* 100 W and 0.1 K/W are 10 K in the end; 6.3 of them after the time constant, 3.7 left after one more without load. */
static void time_constant(void **state)
{
	struct rig *g = *state;

	rig_open(g, 1);
	heat(g, 0, 1001);
	/* 10 K * (1 - 0.999^1000) * 0.999 */
	assert_in_range(g->pmu.temperature_mc, 21000 + 6316, 21000 + 6318);
	assert_int_equal(g->pmu.settled_energy_uj, 1001 * 100000);
	heat(g, 0, 20000);
	assert_in_range(g->pmu.temperature_mc, 21000 + 9988, 21000 + 9990);
	wait(g, 0, S);
	/* 9.99 K * 0.999^1000, a step more or less */
	assert_in_range(g->pmu.temperature_mc, 21000 + 3669, 21000 + 3677);
	wait(g, 0, 100 * S);
	assert_int_equal(g->pmu.temperature_mc, 21000);
}

/*
 * A twentieth of the heat is leakage: 95 W of 100 at first, 100 in the end; and what was still to come, comes while it
 * cools.
 */
static void leakage(void **state)
{
	struct zw_profile leaky = profile;
	struct rig *g;
	uint64_t uj;

	(void)state;
	leaky.leak_mw_per_k = 500;
	g = rig_new_of(&leaky);
	rig_open(g, 1);
	heat(g, 0, 1);
	assert_int_equal(g->pmu.settled_energy_uj, 95000);
	heat(g, 0, 1000);
	/* 9.5 K * (1 - 0.99905^1000) / 0.95 */
	assert_in_range(g->pmu.temperature_mc, 21000 + 6127, 21000 + 6133);
	/* 95 W, and 0.5 W/K of 10 K * (t - tau * (1 - exp(-t / tau))), tau 1.0526 s: 1.75 K s */
	assert_in_range(g->pmu.settled_energy_uj, 95095000 + 1770000, 95095000 + 1784000);
	heat(g, 0, 20000);
	assert_in_range(g->pmu.temperature_mc, 21000 + 9988, 21000 + 9991);
	uj = g->pmu.settled_energy_uj;
	heat(g, 0, 100);
	assert_in_range(g->pmu.settled_energy_uj - uj, 9999000, 10000000);
	wait(g, 0, 100 * S);
	assert_int_equal(g->pmu.temperature_mc, 21000);
	assert_in_range(g->pmu.settled_energy_uj, 21101 * UINT64_C(100000) - 10,
			21101 * UINT64_C(100000));
	rig_free(g);
}

/* n steps at once are n single ones, but for what is rounded: less than a thousandth of a degree. */
static void long_step(void **state)
{
	struct zw_cp_thermal one, many;
	struct zw_profile leaky = profile;

	(void)state;
	leaky.leak_mw_per_k = 2000;
	for (uint64_t n = 1; n < 100000; n = n * 3 + 1) {
		uint64_t uj_one, uj_many = 0;

		zw_cp_thermal_init(&one, &leaky);
		one.excess_nk = UINT64_C(60000000000);
		many = one;
		uj_one = zw_cp_thermal_advance(&one, n * MS);
		for (uint64_t i = 1; i <= n; i++)
			uj_many += zw_cp_thermal_advance(&many, i * MS);
		/* 120 W, for a second or so: to a millionth of a joule each kelvin of the difference */
		assert_in_range(uj_many, uj_one, uj_one + 3);
		assert_int_equal(one.next_ps, (n + 1) * MS);
		assert_int_equal(many.next_ps, (n + 1) * MS);
		assert_true(one.excess_nk >= many.excess_nk);
		assert_true(one.excess_nk - many.excess_nk < 1000000);
	}
}

/* Nothing overflows, and what is left below a microjoule is not lost. */
static void edges(void **state)
{
	struct zw_profile hot = profile;
	struct zw_cp_thermal t;
	uint64_t uj = 0;

	hot.thermal_mk_per_w = 1000000;
	hot.thermal_ms = 1;
	hot.ambient_c = 1000;
	hot.idle_watts = 100000;
	assert_int_equal(hot.leak_mw_per_k, 0);
	zw_cp_thermal_init(&t, &hot);
	zw_cp_thermal_heat(&t, UINT64_MAX);
	zw_cp_thermal_heat(&t, UINT64_MAX);
	zw_cp_thermal_advance(&t, UINT64_MAX);
	assert_int_equal(t.next_ps, UINT64_MAX);
	zw_cp_thermal_advance(&t, UINT64_MAX);
	assert_true(zw_cp_thermal_possible(&t, UINT64_MAX - 1));
	hot.thermal_ms = 1000000000;
	hot.thermal_mk_per_w = 1;
	hot.leak_mw_per_k = 999999;
	zw_cp_thermal_init(&t, &hot);
	t.excess_nk = UINT64_C(1000000000000000000);
	assert_true(zw_cp_thermal_advance(&t, UINT64_MAX - 1) > UINT64_MAX / PJ_PER_UJ - 1);
	assert_true(zw_cp_thermal_possible(&t, UINT64_MAX - 1));
	hot.thermal_mk_per_w = 1000000;
	hot.leak_mw_per_k = 0;
	zw_cp_thermal_init(&t, &hot);
	t.excess_nk = UINT64_C(999999999999999999);
	zw_cp_thermal_heat(&t, UINT64_MAX);
	zw_cp_thermal_advance(&t, MS);
	assert_int_equal(zw_cp_thermal_mc(&t), INT32_MAX);
	zw_cp_thermal_init(&t, &profile);
	for (unsigned int i = 0; i < 3000000; i++)
		uj += zw_cp_thermal_heat(&t, 1);
	assert_int_equal(uj, 3);
}

/* Two queues: heat counts when a packet begins in the settled time, whoever came first on the host; saved or not. */
static void any_order(void **state)
{
	int32_t mc[4];
	uint64_t uj[4];

	for (unsigned int v = 0; v < 4; v++) {
		struct rig *g = rig_new_of(&profile);

		rig_open(g, 2);
		heat(g, v & 1, 300);
		if (v & 2)
			rig_migrate(g);
		heat(g, !(v & 1), 300);
		if (v & 2)
			rig_migrate(g);
		rig_close(g, 2);
		mc[v] = g->pmu.temperature_mc;
		uj[v] = g->pmu.settled_energy_uj;
		rig_free(g);
	}
	for (unsigned int v = 0; v < 4; v++) {
		assert_int_equal(mc[v], mc[0]);
		assert_int_equal(uj[v], 60000000);
	}
	assert_true(mc[0] > 24000);
}

static void reset(void **state)
{
	struct rig *g = *state;

	rig_open(g, 1);
	heat(g, 0, 2000);
	assert_true(g->pmu.temperature_mc > 22000);
	zw_cp_replay_reset(&g->r);
	assert_int_equal(g->pmu.temperature_mc, 21000);
}

/* What a product waits for the power limit is told, and nothing else. */
static void capped(void **state)
{
	struct zw_profile p = *zw_profile_find("h100-sxm");
	struct zw_cp_cost cost = {.ops = 1000000000000, .ops_fj = p.bf16_flop_fj};
	struct zw_cp_work work;
	uint64_t floor = zw_cp_power_ps(&p, cost.ops, cost.ops_fj);

	cost.compute_ps = floor;
	zw_cp_work_of(&p, &cost, &work);
	assert_int_equal(work.capped_ps, floor);
	assert_int_equal(work.energy_pj, 789000000000);
	cost.compute_ps = floor + 1;
	zw_cp_work_of(&p, &cost, &work);
	assert_int_equal(work.capped_ps, 0);
	p.tdp_watts = p.idle_watts; /* no limit */
	cost.compute_ps = 0;
	zw_cp_work_of(&p, &cost, &work);
	assert_int_equal(work.capped_ps, 0);
	cost = (struct zw_cp_cost){.compute_ps = 0, .hbm_read = 1000};
	zw_cp_work_of(&p, &cost, &work);
	assert_int_equal(work.capped_ps, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(at_rest, setup, teardown),
		cmocka_unit_test_setup_teardown(time_constant, setup, teardown),
		cmocka_unit_test(leakage),
		cmocka_unit_test(long_step),
		cmocka_unit_test(edges),
		cmocka_unit_test(any_order),
		cmocka_unit_test_setup_teardown(reset, setup, teardown),
		cmocka_unit_test(capped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* Errors of HBM as the control core sees them. */
#include "device_env.h"

static int setup(void **state)
{
	*state = env_new(1);
	env_boot(*state);
	return 0;
}

static int teardown(void **state)
{
	env_free(*state);
	return 0;
}

static void hbm_error(struct device_env *e, enum zw_inject kind, uint64_t addr)
{
	assert_int_equal(zw_device_inject(e->dev, kind, addr, 0, 0), 0);
}

/* The oldest record of a log; taken unless count is 0. */
static void expect_errors(struct device_env *e, enum zw_ecc_kind kind, uint64_t page,
			  uint32_t count)
{
	assert_int_equal(mon(e, MON_LOAD64, ZW_SOC_ECC_ADDR(kind), 0, NULL), page);
	assert_int_equal(mon(e, MON_LOAD32, ZW_SOC_ECC_COUNT(kind), 0, NULL), count);
	mon(e, MON_STORE32, ZW_SOC_ECC_COUNT(kind), count, NULL);
}

static bool ecc_pending(struct device_env *e)
{
	return mon(e, MON_LOAD32, ZW_SOC_IRQ_PENDING, 0, NULL) & ZW_SOC_IRQ_ECC;
}

static void errors_of_hbm(void **state)
{
	struct device_env *e = *state;
	uint64_t cause;

	assert_false(ecc_pending(e));
	expect_errors(e, ZW_ECC_CORRECTED, 0, 0);
	/* counted by page, oldest first */
	hbm_error(e, ZW_INJECT_ECC_CORRECTED, 0x5123);
	hbm_error(e, ZW_INJECT_ECC_CORRECTED, 0x3fff);
	hbm_error(e, ZW_INJECT_ECC_CORRECTED, 0x5fff);
	hbm_error(e, ZW_INJECT_ECC_UNCORRECTED, 0x5000);
	assert_true(mon(e, MON_WAIT_IRQ, 0, ZW_SOC_IRQ_ECC, NULL) & ZW_SOC_IRQ_ECC);
	mon(e, MON_STORE32, ZW_SOC_IRQ_PENDING, ~0u, NULL);
	assert_true(ecc_pending(e));
	/* what comes between the look and the taking is not lost */
	assert_int_equal(mon(e, MON_LOAD32, ZW_SOC_ECC_COUNT(0), 0, NULL), 2);
	hbm_error(e, ZW_INJECT_ECC_CORRECTED, 0x5000);
	mon(e, MON_STORE32, ZW_SOC_ECC_COUNT(0), 2, NULL);
	expect_errors(e, ZW_ECC_CORRECTED, 0x5000, 1);
	expect_errors(e, ZW_ECC_UNCORRECTABLE, 0x5000, 1);
	assert_true(ecc_pending(e));
	mon(e, MON_STORE32, ZW_SOC_ECC_COUNT(0), 2, &cause);
	assert_int_not_equal(cause, 0);
	expect_errors(e, ZW_ECC_CORRECTED, 0x3000, 1);
	assert_false(ecc_pending(e));
	/* no room for the addresses of more pages */
	for (uint64_t i = 0; i < 3 * ZW_SOC_ECC_PAGES; i++)
		hbm_error(e, ZW_INJECT_ECC_CORRECTED, i << 12);
	expect_errors(e, ZW_ECC_CORRECTED, 0, 1);
	hbm_error(e, ZW_INJECT_ECC_CORRECTED, 0x3f00000);
	hbm_error(e, ZW_INJECT_ECC_CORRECTED, 0x3e00000);
	for (uint64_t i = 1; i < ZW_SOC_ECC_PAGES; i++)
		expect_errors(e, ZW_ECC_CORRECTED, i << 12, 1);
	expect_errors(e, ZW_ECC_CORRECTED, ZW_ECC_NO_ADDR, 2 * ZW_SOC_ECC_PAGES + 1);
	expect_errors(e, ZW_ECC_CORRECTED, 0x3f00000, 1);
	expect_errors(e, ZW_ECC_CORRECTED, 0, 0);
	assert_false(ecc_pending(e));
	/* as wide and where they are */
	mon(e, MON_LOAD64, ZW_SOC_ECC_COUNT(0), 0, &cause);
	assert_int_not_equal(cause, 0);
	mon(e, MON_LOAD32, ZW_SOC_ECC_COUNT(2), 0, &cause);
	assert_int_not_equal(cause, 0);
	mon(e, MON_STORE64, ZW_SOC_ECC_ADDR(0), 0, &cause);
	assert_int_not_equal(cause, 0);
}

/* A reset forgets what it makes undone, and that alone. */
static void errors_and_resets(void **state)
{
	struct device_env *e = *state;

	hbm_error(e, ZW_INJECT_ECC_CORRECTED, 0x5000);
	hbm_error(e, ZW_INJECT_ECC_UNCORRECTED, 0x6000);
	zw_device_reset(e->dev, false);
	env_boot(e);
	assert_true(ecc_pending(e));
	expect_errors(e, ZW_ECC_CORRECTED, 0, 0);
	expect_errors(e, ZW_ECC_UNCORRECTABLE, 0x6000, 1);
	hbm_error(e, ZW_INJECT_ECC_CORRECTED, 0x5000);
	hbm_error(e, ZW_INJECT_ECC_UNCORRECTED, 0x6000);
	zw_device_reset(e->dev, true);
	env_boot(e);
	assert_false(ecc_pending(e));
	expect_errors(e, ZW_ECC_CORRECTED, 0, 0);
	expect_errors(e, ZW_ECC_UNCORRECTABLE, 0, 0);
}

int main(int argc, char **argv)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(errors_of_hbm),
		T(errors_and_resets),
	};
	int ret;

	if (argc != 2) {
		fprintf(stderr, "usage: %s MONITOR.BIN\n", argv[0]);
		return 1;
	}
	monitor_load(argv[1]);
	ret = cmocka_run_group_tests_name("ecc", tests, NULL, NULL);
	free(monitor_text);
	return ret;
}

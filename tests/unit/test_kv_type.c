// SPDX-License-Identifier: MIT
/*
 * Types of the KV cache: memory, error against a forward pass in double precision, refusals. That results
 * do not depend on how texts are cut and shared is tested by the tests of contexts, run with each type.
 */
#include "ctx_test.h"

#include <math.h>

#define LENGTH 90

static uint32_t text[LENGTH];
static double *want;

static int open_m890(void **state)
{
	int ret;

	setenv("ZW_PROFILE", "m890", 1);
	ret = open_all(state);
	for (uint32_t i = 0; i < LENGTH; i++)
		text[i] = pick(V);
	want = malloc((size_t)LENGTH * V * sizeof(*want));
	fixture_reference(&fix, text, LENGTH, want);
	return ret;
}

static int close_m890(void **state)
{
	free(want);
	return close_all(state);
}

static double rms(uint32_t kv_dtype, uint64_t *kv_bytes)
{
	struct zw_ctx *c = context((struct zw_ctx_options){.context = LENGTH,
							   .batch = 32,
							   .outputs = 32,
							   .pool_tokens = 1 << 16,
							   .kv_dtype = kv_dtype});
	struct zw_ctx_info info = {.size = sizeof(info)};
	float *x = malloc((size_t)LENGTH * V * sizeof(*x));
	struct zw_eval_options opt = {.size = sizeof(opt), .all_logits = x};
	struct zw_error err = {""};
	double sum = 0, all = 0;

	if (zw_ctx_eval(c, sequence(c), text, LENGTH, &opt, NULL, &err))
		fail_msg("%s", err.msg);
	for (size_t i = 0; i < (size_t)LENGTH * V; i++) {
		sum += ((double)x[i] - want[i]) * ((double)x[i] - want[i]);
		all += want[i] * want[i];
	}
	zw_ctx_get_info(c, &info);
	*kv_bytes = info.kv_bytes;
	zw_ctx_destroy(c);
	free(x);
	return sqrt(sum / all);
}

static void test_error(void **state)
{
	/* Half a step of the largest magnitude of a head: 1/254 and 1/28; BF16 has 1/512 of each number. */
	static const struct {
		uint32_t dtype;
		double limit;
	} types[] = {{ZW_DTYPE_BF16, 0.02}, {ZW_DTYPE_I8, 0.025}, {ZW_DTYPE_F8E4M3, 0.06}};
	double plain = 0;
	uint64_t bytes[3];

	for (size_t i = 0; i < 3; i++) {
		double e = rms(types[i].dtype, &bytes[i]);

		print_message("%s: error %.4f of the logits\n", zw_dtype_name(types[i].dtype), e);
		if (e > types[i].limit)
			fail_msg("error %g, at most %g", e, types[i].limit);
		/* It is not BF16 under another name. */
		if (i && e == plain)
			fail_msg("the error of BF16");
		plain = i ? plain : e;
	}
	/* d bytes and a scale of 4 in place of 2 d bytes, and whole pages. */
	assert_true(bytes[1] * 2 * fix.s.d >=
		    bytes[0] * (fix.s.d + 4) - (64ull << 10) * 2 * fix.s.d);
	assert_true(bytes[1] * 2 * fix.s.d <=
		    bytes[0] * (fix.s.d + 4) + (64ull << 10) * 2 * fix.s.d);
	assert_int_equal(bytes[2], bytes[1]);
}

static void test_refused(void **state)
{
	struct zw_ctx_options o = {.size = sizeof(o), .kv_dtype = ZW_DTYPE_F16};
	struct zw_dev_options dopt = {
		.size = sizeof(dopt), .profile = "810e", .hbm_bytes = 256 << 20};
	struct zw_error err = {""};
	struct zw_ctx *c = NULL;
	struct zw_model *m;
	struct zw_dev *d;

	assert_int_equal(zw_ctx_create(model, &o, &c, &err), -EINVAL);
	expect_words("F16", &err, "kv_dtype");
	assert_int_equal(zw_dev_open("sim", &dopt, &d, NULL), 0);
	assert_int_equal(zw_model_open(d, fix.dir, NULL, &m, NULL), 0);
	o.kv_dtype = ZW_DTYPE_F8E4M3;
	assert_int_equal(zw_ctx_create(m, &o, &c, &err), -EOPNOTSUPP);
	expect_words("810e", &err, "f8e4m3|810e");
	assert_null(c);
	o.kv_dtype = ZW_DTYPE_I8;
	assert_int_equal(zw_ctx_create(m, &o, &c, &err), 0);
	zw_ctx_destroy(c);
	assert_int_equal(zw_model_close(m), 0);
	assert_int_equal(zw_dev_close(d), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_error),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests_name("kv_type", tests, open_m890, close_m890);
}

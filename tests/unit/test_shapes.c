// SPDX-License-Identifier: MIT
/* Models by name: the table against the published totals, and what a model without weights may not be. */
#include "llm_test.h"

#include <math.h>

#include <zhenwu/zhenwu.h>

#include "model.h"
#include "shapes.h"

static struct zw_dev *timing, *computing;

static struct zw_dev *open_sim(uint32_t flags, uint64_t hbm)
{
	struct zw_dev_options opt = {
		.size = sizeof(opt), .flags = flags, .hbm_bytes = hbm, .profile = "m890"};
	struct zw_error err = {""};
	struct zw_dev *dev;
	int ret = zw_dev_open("sim", &opt, &dev, &err);

	if (ret == -ENOENT) {
		print_message("%s\n", err.msg);
		exit(77); /* no firmware built: skipped */
	}
	if (ret)
		fail_msg("%s", err.msg);
	return dev;
}

static int open_devices(void **state)
{
	(void)state;
	timing = open_sim(ZW_DEV_TIMING_ONLY, 1ull << 40);
	computing = open_sim(0, 64 << 20);
	return 0;
}

static int close_devices(void **state)
{
	(void)state;
	return zw_dev_close(timing) || zw_dev_close(computing);
}

static struct zw_model_info info_of(struct zw_model_options o)
{
	struct zw_model_info info = {.size = sizeof(info)};
	struct zw_error err = {""};
	struct zw_model *m;

	o.size = sizeof(o);
	if (zw_model_open(timing, NULL, &o, &m, &err))
		fail_msg("%s: %s", o.shape, err.msg);
	zw_model_get_info(m, &info);
	assert_int_equal(zw_model_close(m), 0);
	return info;
}

/* Every tensor of every size is there: its sum is the number that was published. */
static void totals(void **state)
{
	const struct llm_shape *s;

	(void)state;
	for (size_t i = 0; (s = llm_shape_at(i)); i++) {
		struct zw_model_info info = info_of((struct zw_model_options){.shape = s->name});

		if (info.parameters != s->parameters)
			fail_msg("%s: %llu parameters", s->name,
				 (unsigned long long)info.parameters);
		assert_in_range(info.weight_bytes, 2 * s->parameters,
				2 * s->parameters + s->parameters / 100);
		assert_int_equal(info.max_context, s->positions);
		assert_string_equal(zw_shape_name(i), s->name);
		assert_null(zw_shape_note(s->name));
	}
}

/* Figures that are published for some of them. */
static void figures(void **state)
{
	static const struct {
		const char *name;
		uint64_t active, kv, state;
	} want[] = {
		{"qwen3-30b-a3b", 2730504192, 98304, 0},
		{"qwen3-235b-a22b", 20945305600, 192512, 0},
		{"qwen3-next-80b-a3b", 0, 24576, 75497472 + 1769472},
		{"Qwen3.5-27B", 0, 65536, 150994944 + 2949120},
		{"qwen2.5-72b", 0, 327680, 0},
	};

	(void)state;
	for (size_t i = 0; i < ZW_ARRAY_SIZE(want); i++) {
		struct zw_model_info info =
			info_of((struct zw_model_options){.shape = want[i].name});

		assert_int_equal(info.kv_bytes_per_token, want[i].kv);
		/* the convolution's state is kept in more than BF16 */
		assert_in_range(info.state_bytes, want[i].state, want[i].state * 103 / 100);
		if (want[i].active)
			assert_in_range(info.active_parameters, want[i].active * 999 / 1000,
					want[i].active * 1001 / 1000);
	}
	assert_non_null(strstr(zw_shape_note("QWEN3.7-MAX"), "no size of it is public"));
	assert_int_equal(info_of((struct zw_model_options){.shape = "qwen3.7-max"}).parameters,
			 396346350336);
}

/* Matrices take what their format says, embedding and head as tools leave them. */
static void formats(void **state)
{
	static const struct {
		const char *name;
		double bytes; /* of an element of a matrix */
		bool all;     /* of embedding and head too */
	} want[] = {
		{"bf16", 2, true},           {"fp8", 1 + 2.0 / (128 * 128), false},
		{"int8", 1, false},          {"int4", 0.5 + 2.0 / 128, false},
		{"q8_0", 34 / 32.0, true},   {"q6_k", 210 / 256.0, true},
		{"q4_k", 144 / 256.0, true},
	};
	double words = 2.0 * 151936 * 4096, matrices = 8190735360.0 - words;

	(void)state;
	for (size_t i = 0; i < ZW_ARRAY_SIZE(want); i++) {
		struct zw_model_info info = info_of(
			(struct zw_model_options){.shape = "qwen3-8b", .weights = want[i].name});
		double bytes = matrices * want[i].bytes + words * (want[i].all ? want[i].bytes : 2);

		assert_string_equal(zw_shape_weights(i), want[i].name);
		if (fabs((double)info.weight_bytes / bytes - 1) > 0.003)
			fail_msg("%s: %llu bytes, not %.0f", want[i].name,
				 (unsigned long long)info.weight_bytes, bytes);
	}
	assert_null(zw_shape_weights(ZW_ARRAY_SIZE(want)));
}

/* One card's share of it, a quarter but for what all of them have. */
static void cards(void **state)
{
	struct zw_model_info one = info_of((struct zw_model_options){.shape = "qwen3-235b-a22b"});
	struct zw_model_info share =
		info_of((struct zw_model_options){.shape = "qwen3-235b-a22b", .cards = 4});
	struct zw_model_info eighth =
		info_of((struct zw_model_options){.shape = "qwen3-235b-a22b", .cards = 8});

	(void)state;
	assert_in_range(share.weight_bytes, one.weight_bytes / 4, one.weight_bytes * 101 / 400);
	assert_int_equal(share.kv_bytes_per_token, one.kv_bytes_per_token / 4);
	assert_int_equal(eighth.kv_bytes_per_token, one.kv_bytes_per_token / 4);
}

static void refused(void **state)
{
	static const struct {
		struct zw_model_options o;
		const char *path;
		int ret;
		const char *word;
	} cases[] = {
		{{.shape = "qwen9"}, NULL, -ENOENT, "qwen9"},
		{{.shape = "qwen3-8b", .weights = "q5"}, NULL, -EINVAL, "q4_k"},
		{{.shape = "qwen3-8b", .cards = 7}, NULL, -EINVAL, "num_attention_heads 32"},
		{{.shape = "qwen3-8b", .positions = 1u << 27}, NULL, -EINVAL, "positions"},
		{{.shape = "qwen3-8b"}, "/tmp", -EINVAL, "a path or a shape"},
		{{0}, NULL, -EINVAL, "a path or a shape"},
	};
	struct zw_model_options o = {.size = sizeof(o), .shape = "qwen3-0.6b"};
	struct zw_error err = {""};
	struct zw_model *m;

	(void)state;
	for (size_t i = 0; i < ZW_ARRAY_SIZE(cases); i++) {
		struct zw_model_options c = cases[i].o;

		c.size = sizeof(c);
		assert_int_equal(zw_model_open(timing, cases[i].path, &c, &m, &err), cases[i].ret);
		assert_non_null(strstr(err.msg, cases[i].word));
	}
	/* a device that computes has nothing to compute with */
	assert_int_equal(zw_model_open(computing, NULL, &o, &m, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "ZW_DEV_TIMING_ONLY"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(totals), cmocka_unit_test(figures), cmocka_unit_test(formats),
		cmocka_unit_test(cards),  cmocka_unit_test(refused),
	};

	return cmocka_run_group_tests(tests, open_devices, close_devices);
}

// SPDX-License-Identifier: MIT
/* RoPE tables against frequencies formed as transformers forms them; YaRN from config.json to tables. */
#include "llm_test.h"

#include <math.h>

#include "config.h"
#include "model.h"

/*
 * 1 / (1e6 ** (2 j / 128)), quotient, power and reciprocal each rounded to binary32, as torch computes
 * "1.0 / (base ** (torch.arange(0, dim, 2).float() / dim))". 25 of the 64 are not what one rounding at
 * the end gives.
 */
static const float frequencies[64] = {
	0x1p0f,          0x1.9c975ap-1f,  0x1.4c7bcp-1f,   0x1.0beddep-1f,  0x1.afd136p-2f,
	0x1.5bf9fep-2f,  0x1.186a08p-2f,  0x1.c3f06ap-3f,  0x1.6c310ep-3f,  0x1.257b22p-3f,
	0x1.d8ffacp-4f,  0x1.7d298cp-4f,  0x1.33281ap-4f,  0x1.ef0a26p-5f,  0x1.8eec7ep-5f,
	0x1.41783ap-5f,  0x1.030dc6p-5f,  0x1.a1835p-6f,   0x1.507316p-6f,  0x1.0f201p-6f,
	0x1.b4f7e4p-7f,  0x1.6020a4p-7f,  0x1.1bc25ap-7f,  0x1.c9548cp-8f,  0x1.708938p-8f,
	0x1.28fb5cp-8f,  0x1.dea41cp-9f,  0x1.81b58ap-9f,  0x1.36d21ap-9f,  0x1.f4f1ep-10f,
	0x1.93aeb8p-10f, 0x1.454deep-10f, 0x1.0624dep-10f, 0x1.a67e5p-11f,  0x1.547688p-11f,
	0x1.125c04p-11f, 0x1.ba2e4ap-12f, 0x1.6453f4p-12f, 0x1.1f24e4p-12f, 0x1.cec924p-13f,
	0x1.74eea6p-13f, 0x1.2c8648p-13f, 0x1.e459c4p-14f, 0x1.864f6ap-14f, 0x1.3a8748p-14f,
	0x1.faeba8p-15f, 0x1.987f7cp-15f, 0x1.492f56p-15f, 0x1.094564p-15f, 0x1.ab8882p-16f,
	0x1.58863ap-16f, 0x1.15a1dap-16f, 0x1.bf749ep-17f, 0x1.68941cp-17f, 0x1.2291c6p-17f,
	0x1.d44e64p-18f, 0x1.796182p-18f, 0x1.301c04p-18f, 0x1.ea20ep-19f,  0x1.8af756p-19f,
	0x1.3e47c8p-19f, 0x1.007bd8p-19f, 0x1.9d5ef2p-20f, 0x1.4d1c98p-20f,
};

static void test_frequencies(void **state)
{
	static const uint32_t positions[] = {1, 4095, 262143};
	const struct llm_rope_config r = {.theta = 1e6, .factor = 1, .attention_factor = 1};
	float c[64], s[64];

	for (size_t p = 0; p < 3; p++) {
		llm_rope_tables(c, s, positions[p], 1, 128, &r);
		for (int j = 0; j < 64; j++) {
			float angle = (float)positions[p] * frequencies[j];

			if (c[j] != (float)cos((double)angle) || s[j] != (float)sin((double)angle))
				fail_msg("position %u, frequency %d", positions[p], j);
		}
	}
}

/* ---- YaRN ---- */

struct yarn_case {
	uint32_t dim, max_position;
	double theta;
	const char *text; /* of rope_scaling, NULL: none */
	/* What it says, and what is made of it. */
	double factor, original, fast, slow;
	bool truncate;
	double low, high, attention;
	uint32_t context;
};

static const struct yarn_case cases[] = {
	{128, 40960, 1e6,
	 "\"rope_type\":\"yarn\",\"factor\":4.0,\"original_max_position_embeddings\":32768", 4,
	 32768, 32, 1, true, 23, 40, 1.1386294361119891, 131072},
	{64, 262144, 1e7, "\"type\":\"yarn\",\"factor\":4", 4, 262144, 32, 1, true, 14, 22,
	 1.1386294361119891, 1048576},
	/* The first rotation is slower than beta_fast. */
	{64, 512, 1e6,
	 "\"rope_type\":\"yarn\",\"factor\":4.0,\"original_max_position_embeddings\":128", 4, 128,
	 32, 1, true, 0, 7, 1.1386294361119891, 512},
	{128, 32768, 1e6, "\"rope_type\":\"yarn\",\"factor\":2,\"truncate\":false", 2, 32768, 32, 1,
	 false, 23.5959476083381, 39.6508807104171, 1.0693147180559945, 65536},
	{80, 4096, 1e4,
	 "\"rope_type\":\"yarn\",\"factor\":2.5,\"original_max_position_embeddings\":2048,"
	 "\"beta_fast\":8,\"beta_slow\":2.5,\"attention_factor\":0.75",
	 2.5, 2048, 8, 2.5, true, 16, 22, 0.75, 5120},
	/* A pair of scales; and all frequencies on one step. */
	{32, 5000, 1e4,
	 "\"rope_type\":\"yarn\",\"factor\":10,\"mscale\":0.707,\"mscale_all_dim\":1.5,"
	 "\"original_max_position_embeddings\":300,\"beta_fast\":1,\"beta_slow\":1,"
	 "\"truncate\":false",
	 10, 300, 1, 1, false, 6.715765545446189, 6.716765545446189, 0.8642807651688031, 3000},
};

static void load(const char *dir, const struct yarn_case *y, struct llm_model_config *c)
{
	struct zw_error err = {""};
	char text[1024];

	snprintf(text, sizeof(text),
		 "{\"model_type\":\"qwen3\",\"hidden_size\":64,\"intermediate_size\":64,"
		 "\"num_hidden_layers\":1,\"num_attention_heads\":1,\"num_key_value_heads\":1,"
		 "\"head_dim\":%u,\"vocab_size\":8,\"max_position_embeddings\":%u,"
		 "\"rope_theta\":%.1f,\"rope_scaling\":%s%s%s}",
		 y->dim, y->max_position, y->theta, y->text ? "{" : "", y->text ? y->text : "null",
		 y->text ? "}" : "");
	scratch_text(dir, "config.json", text);
	if (llm_model_config_load(dir, c, &err))
		fail_msg("%s", err.msg);
}

/*
 * In double precision, from the rotations that a frequency makes in the original length instead of
 * from its index: by how much it is divided goes linearly with the index, so with their logarithm.
 */
static double frequency(const struct yarn_case *y, uint32_t j)
{
	double plain = pow(y->theta, -2.0 * j / y->dim);
	double share = (j - y->low) / (y->high - y->low);

	if (!y->truncate && y->fast > y->slow)
		share = log(y->original * plain / (2 * acos(-1) * y->fast)) /
			log(y->slow / y->fast);
	share = fmin(fmax(share, 0), 1);
	return plain * (1 - share) + plain / y->factor * share;
}

static void test_yarn(void **state)
{
	char *dir = scratch_new();

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct yarn_case *y = &cases[i];
		struct llm_model_config c = {0};
		uint32_t whole = 0, mixed = 0;

		load(dir, y, &c);
		assert_int_equal(c.max_position, y->context);
		assert_true(fabs(c.rope.ramp_low - y->low) < 1e-8);
		assert_true(fabs(c.rope.ramp_high - y->high) < 1e-8);
		assert_true(fabs(c.rope.attention_factor - y->attention) < 1e-8);
		for (uint32_t j = 0; j < y->dim / 2; j++) {
			double want = frequency(y, j), plain = pow(y->theta, -2.0 * j / y->dim);
			float got = llm_rope_frequency(&c.rope, y->dim, j);

			/* The exponent in binary32 alone makes 14 * 2^-24. */
			if (!(fabs((double)got / want - 1) < 2e-6))
				fail_msg("case %zu, frequency %u: %.9g, expected %.9g", i, j,
					 (double)got, want);
			whole += want == plain / y->factor;
			mixed += want < plain && want > plain / y->factor;
		}
		/* Some are divided; between them and the others is a ramp, or a step. */
		assert_true(whole > 0 && (mixed > 0 || y->fast == y->slow));
	}
	scratch_free(dir);
}

/*
 * Factor 3 on the first case, frequencies 22 to 41, as transformers computes them: 1 / p, 1 / (factor p), ramp,
 * 1 - ramp, 1 - (1 - ramp), two products and their sum, each rounded to binary32.
 */
static const float mixed[20] = {
	0x1.1bc25ap-7f,  0x1.c9548cp-8f,  0x1.621568p-8f,  0x1.11b06cp-8f,  0x1.a65492p-9f,
	0x1.4534acp-9f,  0x1.f3c03ep-10f, 0x1.7f1352p-10f, 0x1.24de2p-10f,  0x1.be7f0ap-11f,
	0x1.533ec4p-11f, 0x1.00cf48p-11f, 0x1.833178p-12f, 0x1.227f8cp-12f, 0x1.b182b8p-13f,
	0x1.4164d2p-13f, 0x1.d8f178p-14f, 0x1.58d21ap-14f, 0x1.f13e36p-15f, 0x1.90b308p-15f,
};

static void test_yarn_rounding(void **state)
{
	static const uint32_t positions[] = {0, 1, 4095, 98303};
	char *dir = scratch_new();
	struct llm_model_config c = {0};
	struct yarn_case y = cases[0];
	float cosines[64], sines[64];

	y.text = "\"rope_type\":\"yarn\",\"factor\":3,\"original_max_position_embeddings\":32768";
	load(dir, &y, &c);
	for (uint32_t j = 0; j < 20; j++) {
		float got = llm_rope_frequency(&c.rope, 128, 22 + j);

		if (got != mixed[j])
			fail_msg("frequency %u: %a, expected %a", 22 + j, (double)got,
				 (double)mixed[j]);
	}
	/* The attention factor is on rounded cosines and sines. */
	for (size_t p = 0; p < 4; p++) {
		llm_rope_tables(cosines, sines, positions[p], 1, 128, &c.rope);
		for (uint32_t j = 0; j < 20; j++) {
			float angle = (float)positions[p] * mixed[j];

			assert_true(cosines[22 + j] == (float)cos((double)angle) * 1.10986123f);
			assert_true(sines[22 + j] == (float)sin((double)angle) * 1.10986123f);
		}
	}
	scratch_free(dir);
}

/* A factor of 1 is plain RoPE, bit by bit. */
static void test_yarn_of_one(void **state)
{
	static const struct yarn_case ones[] = {
		{.dim = 128, .max_position = 262144, .theta = 1e6},
		{.dim = 128, .max_position = 4096, .theta = 1e4},
		{.dim = 64, .max_position = 128, .theta = 1e4},
		{.dim = 80, .max_position = 32768, .theta = 1e6},
	};
	enum { POSITIONS = 300 };
	size_t bytes = POSITIONS * 64 * sizeof(float);
	float *t[4];
	char *dir = scratch_new();

	for (int k = 0; k < 4; k++)
		t[k] = calloc(1, bytes);
	for (size_t i = 0; i < sizeof(ones) / sizeof(ones[0]); i++) {
		struct yarn_case y = ones[i];
		struct llm_model_config c = {0}, yarn = {0};

		load(dir, &y, &c);
		llm_rope_tables(t[0], t[1], 0, POSITIONS, y.dim, &c.rope);
		y.text = "\"rope_type\":\"yarn\",\"factor\":1.0";
		load(dir, &y, &yarn);
		assert_int_equal(yarn.max_position, c.max_position);
		assert_true(yarn.rope.ramp_high > 0);
		llm_rope_tables(t[2], t[3], 0, POSITIONS, y.dim, &yarn.rope);
		assert_memory_equal(t[0], t[2], bytes);
		assert_memory_equal(t[1], t[3], bytes);
	}
	for (int k = 0; k < 4; k++)
		free(t[k]);
	scratch_free(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frequencies),
		cmocka_unit_test(test_yarn),
		cmocka_unit_test(test_yarn_rounding),
		cmocka_unit_test(test_yarn_of_one),
	};

	return cmocka_run_group_tests_name("rope", tests, NULL, NULL);
}

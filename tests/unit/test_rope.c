// SPDX-License-Identifier: MIT
/* RoPE tables against frequencies formed as transformers forms them. */
#include "llm_test.h"

#include <math.h>

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
	float c[64], s[64];

	for (size_t p = 0; p < 3; p++) {
		llm_rope_tables(c, s, positions[p], 1, 128, 1e6);
		for (int j = 0; j < 64; j++) {
			float angle = (float)positions[p] * frequencies[j];

			if (c[j] != (float)cos((double)angle) || s[j] != (float)sin((double)angle))
				fail_msg("position %u, frequency %d", positions[p], j);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frequencies),
	};

	return cmocka_run_group_tests_name("rope", tests, NULL, NULL);
}

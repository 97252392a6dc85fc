// SPDX-License-Identifier: MIT
/* quantization_config as published files have it, and what is refused. */
#include "llm_test.h"

#include "config_quant.h"
#include "zhenwu/zw_types.h"

/* Pieces of compressed-tensors' objects. */
#define CT(format, weights, act)                                                                   \
	"{\"quant_method\":\"compressed-tensors\",\"format\":\"" format                            \
	"\",\"quantization_status\":\"compressed\",\"kv_cache_scheme\":null,\"ignore\":["          \
	"\"lm_head\",\"re:.*mlp.gate$\"],\"global_compression_ratio\":null,\"config_groups\":{"    \
	"\"group_0\":{\"targets\":[\"Linear\"],\"output_activations\":null,\"weights\":{" weights  \
	"},\"input_activations\":" act "}}}"
#define W_INT8                                                                                     \
	"\"num_bits\":8,\"type\":\"int\",\"symmetric\":true,\"strategy\":\"channel\","             \
	"\"group_size\":null,\"actorder\":null,\"dynamic\":false,\"observer\":\"minmax\""
#define A_INT8                                                                                     \
	"{\"num_bits\":8,\"type\":\"int\",\"symmetric\":true,\"strategy\":\"token\",\"dynamic\":"  \
	"true,\"observer\":null}"
#define W_FP4 "\"num_bits\":4,\"type\":\"float\",\"strategy\":\"tensor_group\",\"group_size\":16"

static const struct {
	const char *text;
	struct llm_quant_config q;
} good[] = {
	{"null", {0}},
	/* Qwen's own FP8 files. */
	{"{\"activation_scheme\":\"dynamic\",\"fmt\":\"e4m3\",\"quant_method\":\"fp8\","
	 "\"weight_block_size\":[128,128],\"modules_to_not_convert\":[\"lm_head\"]}",
	 {LLM_QUANT_FP8, 8, {128, 128}, 0, ZW_DTYPE_F8E4M3, 128}},
	{"{\"bits\":4,\"group_size\":128,\"damp_percent\":0.01,\"desc_act\":false,"
	 "\"static_groups\":false,\"sym\":true,\"true_sequential\":true,\"quant_method\":\"gptq\"}",
	 {LLM_QUANT_GPTQ, 4, {1, 128}, 1, 0, 0}},
	{"{\"bits\":8,\"group_size\":-1,\"checkpoint_format\":\"gptq_v2\",\"dynamic\":{},"
	 "\"quant_method\":\"gptq\",\"lm_head\":false,\"pack_dtype\":\"int32\"}",
	 {LLM_QUANT_GPTQ, 8, {1, 0}, 0, 0, 0}},
	{"{\"bits\":4,\"group_size\":128,\"modules_to_not_convert\":null,\"quant_method\":\"awq\","
	 "\"version\":\"gemm\",\"zero_point\":true}",
	 {LLM_QUANT_AWQ, 4, {1, 128}, 0, 0, 0}},
	{"{\"w_bit\":4,\"q_group_size\":64,\"quant_method\":\"awq\",\"version\":\"GEMM\"}",
	 {LLM_QUANT_AWQ, 4, {1, 64}, 0, 0, 0}},
	{CT("int-quantized", W_INT8, A_INT8), {LLM_QUANT_INTS, 8, {1, 0}, 0, ZW_DTYPE_I8, 0}},
	{CT("int-quantized", W_INT8, "null"), {LLM_QUANT_INTS, 8, {1, 0}, 0, 0, 0}},
	{CT("pack-quantized", W_INT8, "null"), {LLM_QUANT_PACKED, 8, {1, 0}, 0, 0, 0}},
	{CT("pack-quantized",
	    "\"num_bits\":4,\"type\":\"int\",\"strategy\":\"group\",\"group_size\":32", "null"),
	 {LLM_QUANT_PACKED, 4, {1, 32}, 0, 0, 0}},
	{CT("float-quantized", "\"num_bits\":8,\"type\":\"float\",\"strategy\":\"channel\"",
	    "{\"num_bits\":8,\"type\":\"float\",\"strategy\":\"token\",\"dynamic\":true}"),
	 {LLM_QUANT_FLOATS, 8, {1, 0}, 0, ZW_DTYPE_F8E4M3, 0}},
	{CT("float-quantized",
	    "\"num_bits\":8,\"type\":\"float\",\"strategy\":\"block\",\"block_structure\":[128,"
	    "128]",
	    "{\"num_bits\":8,\"type\":\"float\",\"strategy\":\"group\",\"group_size\":128,"
	    "\"dynamic\":true}"),
	 {LLM_QUANT_FLOATS, 8, {128, 128}, 0, ZW_DTYPE_F8E4M3, 128}},
	{CT("float-quantized", "\"num_bits\":8,\"type\":\"float\",\"strategy\":\"tensor\"", "null"),
	 {LLM_QUANT_FLOATS, 8, {0, 0}, 0, 0, 0}},
	{CT("nvfp4-pack-quantized", W_FP4, "null"), {LLM_QUANT_NVFP4, 4, {1, 16}, 0, 0, 0}},
	/* FP4 activations stay as they are. */
	{CT("nvfp4-pack-quantized", W_FP4,
	    "{\"num_bits\":4,\"type\":\"float\",\"strategy\":\"tensor_group\",\"group_size\":16,"
	    "\"dynamic\":\"local\"}"),
	 {LLM_QUANT_NVFP4, 4, {1, 16}, 0, 0, 0}},
	{CT("mxfp4-pack-quantized",
	    "\"num_bits\":4,\"type\":\"float\",\"strategy\":\"group\",\"group_size\":32", "null"),
	 {LLM_QUANT_MXFP4, 4, {1, 32}, 0, 0, 0}},
	{"{\"quant_method\":\"modelopt\",\"quant_algo\":\"NVFP4\",\"ignore\":[\"lm_head\"],"
	 "\"producer\":{\"name\":\"modelopt\"}}",
	 {LLM_QUANT_MODELOPT_NVFP4, 4, {1, 16}, 0, 0, 0}},
};

static int parse(const char *text, struct llm_quant_config *q, struct zw_error *err)
{
	char *whole;
	cJSON *json;
	int ret;

	if (asprintf(&whole, "{\"quantization_config\":%s}", text) < 0)
		fail_msg("out of memory");
	json = cJSON_Parse(whole);
	if (!json)
		fail_msg("no JSON: %s", whole);
	ret = llm_config_quant("config.json", json, q, err);
	cJSON_Delete(json);
	free(whole);
	return ret;
}

static void test_good(void **state)
{
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct llm_quant_config q;
		struct zw_error err = {""};

		memset(&q, 0xa5, sizeof(q));
		if (parse(good[i].text, &q, &err))
			fail_msg("%s: %s", good[i].text, err.msg);
		if (memcmp(&q, &good[i].q, sizeof(q)))
			fail_msg("%s: format %u, %u bits, [%u,%u], +%u, act %u/%u", good[i].text,
				 q.format, q.bits, q.block[0], q.block[1], q.zero_add, q.act,
				 q.act_block);
	}
}

static const struct {
	const char *text;
	int code;
	const char *words;
} bad[] = {
	{"[]", -EBADMSG, "not an object"},
	{"{}", -EOPNOTSUPP, "quant_method null"},
	{"{\"quant_method\":\"bitsandbytes\"}", -EOPNOTSUPP, "quant_method|bitsandbytes"},
	{"{\"quant_method\":7}", -EOPNOTSUPP, "quant_method 7"},
	{"{\"quant_method\":\"fp8\",\"quant_method\":\"fp8\"}", -EBADMSG, "quant_method|twice"},
	{"{\"quant_method\":\"fp8\"}", -EOPNOTSUPP, "without weight_block_size"},
	{"{\"quant_method\":\"fp8\",\"weight_block_size\":[128]}", -EBADMSG, "weight_block_size"},
	{"{\"quant_method\":\"fp8\",\"weight_block_size\":[128,0]}", -EBADMSG, "weight_block_size"},
	{"{\"quant_method\":\"fp8\",\"weight_block_size\":[128,128],\"fmt\":\"e5m2\"}", -EOPNOTSUPP,
	 "fmt|e5m2"},
	{"{\"quant_method\":\"fp8\",\"weight_block_size\":[128,128],\"activation_scheme\":"
	 "\"static\"}",
	 -EOPNOTSUPP, "activation_scheme|static"},
	{"{\"quant_method\":\"fp8\",\"weight_block_size\":[128,128],\"modules_to_not_convert\":[1]"
	 "}",
	 -EBADMSG, "modules_to_not_convert"},
	{"{\"quant_method\":\"fp8\",\"weight_block_size\":[128,128],\"scale_fmt\":\"ue8m0\"}",
	 -EOPNOTSUPP, "scale_fmt|ue8m0"},
	{"{\"quant_method\":\"gptq\",\"bits\":3,\"group_size\":128}", -EOPNOTSUPP, "bits 3"},
	{"{\"quant_method\":\"gptq\",\"group_size\":128}", -EOPNOTSUPP, "bits null"},
	{"{\"quant_method\":\"gptq\",\"bits\":4}", -EBADMSG, "group_size"},
	{"{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":-2}", -EOPNOTSUPP, "group_size -2"},
	{"{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":32.5}", -EOPNOTSUPP,
	 "group_size 32.5"},
	{"{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":32,\"checkpoint_format\":"
	 "\"marlin\"}",
	 -EOPNOTSUPP, "checkpoint_format|marlin"},
	{"{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":32,\"is_marlin_format\":true}",
	 -EOPNOTSUPP, "is_marlin_format true"},
	{"{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":32,\"dynamic\":{\"a\":{}}}",
	 -EOPNOTSUPP, "dynamic"},
	{"{\"quant_method\":\"awq\",\"bits\":8,\"group_size\":128}", -EOPNOTSUPP, "bits 8"},
	{"{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":128,\"version\":\"gemv\"}",
	 -EOPNOTSUPP, "version|gemv"},
	{CT("naive-quantized", W_INT8, "null"), -EOPNOTSUPP, "format|naive-quantized"},
	{CT("float-quantized", W_INT8, "null"), -EOPNOTSUPP, "8-bit integers|float-quantized"},
	{CT("nvfp4-pack-quantized",
	    "\"num_bits\":4,\"type\":\"float\",\"strategy\":\"group\","
	    "\"group_size\":32",
	    "null"),
	 -EOPNOTSUPP, "nvfp4-pack-quantized"},
	{CT("pack-quantized", "\"num_bits\":5,\"type\":\"int\",\"strategy\":\"channel\"", "null"),
	 -EOPNOTSUPP, "5-bit"},
	{CT("pack-quantized",
	    "\"num_bits\":4,\"symmetric\":false,\"strategy\":\"group\",\"group_size\":32", "null"),
	 -EOPNOTSUPP, "group_0.weights.symmetric false"},
	{CT("pack-quantized",
	    "\"num_bits\":4,\"actorder\":\"group\",\"strategy\":\"group\",\"group_size\":32",
	    "null"),
	 -EOPNOTSUPP, "actorder|group"},
	{CT("pack-quantized", "\"num_bits\":4", "null"), -EOPNOTSUPP, "weights.strategy null"},
	{CT("int-quantized", W_INT8, "{\"num_bits\":8,\"strategy\":\"token\",\"dynamic\":false}"),
	 -EOPNOTSUPP, "input_activations.dynamic false"},
	{CT("int-quantized", W_INT8, "{\"num_bits\":8,\"strategy\":\"tensor\",\"dynamic\":true}"),
	 -EOPNOTSUPP, "input_activations.strategy|tensor"},
	{CT("int-quantized", W_INT8,
	    "{\"num_bits\":8,\"strategy\":\"token\",\"dynamic\":true,\"symmetric\":false}"),
	 -EOPNOTSUPP, "input_activations.symmetric false"},
	{CT("int-quantized", W_INT8, "{\"num_bits\":4,\"strategy\":\"token\",\"dynamic\":true}"),
	 -EOPNOTSUPP, "input_activations.num_bits 4"},
	{"{\"quant_method\":\"compressed-tensors\",\"format\":\"int-quantized\"}", -EBADMSG,
	 "config_groups"},
	{"{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"a\":{},\"b\":{}}}",
	 -EOPNOTSUPP, "more than one group"},
	{"{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"a\":3}}", -EBADMSG,
	 "config_groups"},
	{"{\"quant_method\":\"compressed-tensors\",\"format\":\"int-quantized\",\"config_groups\":{"
	 "\"a\":{}}}",
	 -EBADMSG, "config_groups.a.weights"},
	{"{\"quant_method\":\"compressed-tensors\",\"kv_cache_scheme\":{\"num_bits\":8}}",
	 -EOPNOTSUPP, "kv_cache_scheme"},
	{"{\"quant_method\":\"compressed-tensors\",\"sparsity_config\":{\"format\":\"2:4\"}}",
	 -EOPNOTSUPP, "sparsity_config.format|2:4"},
	{"{\"quant_method\":\"compressed-tensors\",\"quantization_status\":\"frozen\"}",
	 -EOPNOTSUPP, "quantization_status|frozen"},
	{"{\"quant_method\":\"compressed-tensors\",\"ignore\":\"lm_head\"}", -EBADMSG, "ignore"},
	{"{\"quant_method\":\"compressed-tensors\",\"transform_config\":{\"a\":1}}", -EOPNOTSUPP,
	 "transform_config"},
	{"{\"quant_method\":\"modelopt\",\"quant_algo\":\"FP8\"}", -EOPNOTSUPP, "quant_algo|FP8"},
	{"{\"quant_method\":\"modelopt\",\"quant_algo\":\"NVFP4\",\"group_size\":32}", -EOPNOTSUPP,
	 "group_size 32"},
};

static void test_bad(void **state)
{
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct llm_quant_config q;
		struct zw_error err = {""};
		int ret = parse(bad[i].text, &q, &err);

		if (ret != bad[i].code)
			fail_msg("%s: %d (%s)", bad[i].text, ret, err.msg);
		expect_words(bad[i].text, &err, "config.json");
		expect_words(bad[i].text, &err, bad[i].words);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
	};

	return cmocka_run_group_tests_name("config_quant", tests, NULL, NULL);
}

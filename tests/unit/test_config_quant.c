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
	struct llm_quant_scheme q[3]; /* up to the first without a format */
} good[] = {
	{"null", {{0}}},
	/* Qwen's own FP8 files. */
	{"{\"activation_scheme\":\"dynamic\",\"fmt\":\"e4m3\",\"quant_method\":\"fp8\","
	 "\"weight_block_size\":[128,128],\"modules_to_not_convert\":[\"lm_head\"]}",
	 {{LLM_QUANT_FP8, 8, {128, 128}, 0, 0, ZW_DTYPE_F8E4M3, 128}}},
	{"{\"bits\":4,\"group_size\":128,\"damp_percent\":0.01,\"desc_act\":false,"
	 "\"static_groups\":false,\"sym\":true,\"true_sequential\":true,\"quant_method\":\"gptq\"}",
	 {{LLM_QUANT_GPTQ, 4, {1, 128}, 1, 0, 0, 0}}},
	{"{\"bits\":8,\"group_size\":-1,\"checkpoint_format\":\"gptq_v2\",\"dynamic\":{},"
	 "\"quant_method\":\"gptq\",\"lm_head\":false,\"pack_dtype\":\"int32\"}",
	 {{LLM_QUANT_GPTQ, 8, {1, 0}, 0, 0, 0, 0}}},
	{"{\"bits\":4,\"group_size\":128,\"modules_to_not_convert\":null,\"quant_method\":\"awq\","
	 "\"version\":\"gemm\",\"zero_point\":true}",
	 {{LLM_QUANT_AWQ, 4, {1, 128}, 0, 0, 0, 0}}},
	{"{\"w_bit\":4,\"q_group_size\":64,\"quant_method\":\"awq\",\"version\":\"GEMM\"}",
	 {{LLM_QUANT_AWQ, 4, {1, 64}, 0, 0, 0, 0}}},
	{CT("int-quantized", W_INT8, A_INT8), {{LLM_QUANT_INTS, 8, {1, 0}, 0, 0, ZW_DTYPE_I8, 0}}},
	{CT("int-quantized", W_INT8, "null"), {{LLM_QUANT_INTS, 8, {1, 0}, 0, 0, 0, 0}}},
	{CT("pack-quantized", W_INT8, "null"), {{LLM_QUANT_PACKED, 8, {1, 0}, 0, 0, 0, 0}}},
	{CT("pack-quantized",
	    "\"num_bits\":4,\"type\":\"int\",\"strategy\":\"group\",\"group_size\":32", "null"),
	 {{LLM_QUANT_PACKED, 4, {1, 32}, 0, 0, 0, 0}}},
	{CT("float-quantized", "\"num_bits\":8,\"type\":\"float\",\"strategy\":\"channel\"",
	    "{\"num_bits\":8,\"type\":\"float\",\"strategy\":\"token\",\"dynamic\":true}"),
	 {{LLM_QUANT_FLOATS, 8, {1, 0}, 0, 0, ZW_DTYPE_F8E4M3, 0}}},
	{CT("float-quantized",
	    "\"num_bits\":8,\"type\":\"float\",\"strategy\":\"block\",\"block_structure\":[128,"
	    "128]",
	    "{\"num_bits\":8,\"type\":\"float\",\"strategy\":\"group\",\"group_size\":128,"
	    "\"dynamic\":true}"),
	 {{LLM_QUANT_FLOATS, 8, {128, 128}, 0, 0, ZW_DTYPE_F8E4M3, 128}}},
	{CT("float-quantized", "\"num_bits\":8,\"type\":\"float\",\"strategy\":\"tensor\"", "null"),
	 {{LLM_QUANT_FLOATS, 8, {0, 0}, 0, 0, 0, 0}}},
	{CT("nvfp4-pack-quantized", W_FP4, "null"), {{LLM_QUANT_NVFP4, 4, {1, 16}, 0, 0, 0, 0}}},
	/* FP4 activations stay as they are. */
	{CT("nvfp4-pack-quantized", W_FP4,
	    "{\"num_bits\":4,\"type\":\"float\",\"strategy\":\"tensor_group\",\"group_size\":16,"
	    "\"dynamic\":\"local\"}"),
	 {{LLM_QUANT_NVFP4, 4, {1, 16}, 0, 0, 0, 0}}},
	{CT("mxfp4-pack-quantized",
	    "\"num_bits\":4,\"type\":\"float\",\"strategy\":\"group\",\"group_size\":32", "null"),
	 {{LLM_QUANT_MXFP4, 4, {1, 32}, 0, 0, 0, 0}}},
	{"{\"quant_method\":\"modelopt\",\"quant_algo\":\"NVFP4\",\"ignore\":[\"lm_head\"],"
	 "\"producer\":{\"name\":\"modelopt\"}}",
	 {{LLM_QUANT_MODELOPT_NVFP4, 4, {1, 16}, 0, 0, 0, 0}}},
	/* FP8 without blocks: scales of activations that were measured are not read. */
	{"{\"activation_scheme\":\"static\",\"ignored_layers\":[\"lm_head\"],\"quant_method\":"
	 "\"fp8\"}",
	 {{LLM_QUANT_FP8, 8, {0, 0}, 0, 0, ZW_DTYPE_F8E4M3, 0}}},
	{"{\"activation_scheme\":\"dynamic\",\"fmt\":\"e4m3\",\"quant_method\":\"fp8\",\"scale_"
	 "fmt\":"
	 "\"ue8m0\",\"weight_block_size\":[128,128]}",
	 {{LLM_QUANT_FP8, 8, {128, 128}, 0, 0, ZW_DTYPE_F8E4M3, 128}}},
	/* Modules of other sizes, and those that stay. */
	{"{\"bits\":4,\"group_size\":128,\"desc_act\":true,\"format\":\"gptq\",\"quant_method\":"
	 "\"gptq\","
	 "\"dynamic\":{\"-:lm_head\":{},\"+:.*down_proj\":{\"bits\":8},\"o_proj\":{\"bits\":4,"
	 "\"group_size\":32},\"+:.*up_proj\":{\"group_size\":32}}}",
	 {{LLM_QUANT_GPTQ, 4, {1, 128}, 1, 0, 0, 0},
	  {LLM_QUANT_GPTQ, 8, {1, 128}, 1, 0, 0, 0},
	  {LLM_QUANT_GPTQ, 4, {1, 32}, 1, 0, 0, 0}}},
	{"{\"quant_method\":\"auto-round\",\"packing_format\":\"auto_round:auto_gptq\",\"bits\":4,"
	 "\"group_size\":128,\"sym\":true,\"extra_config\":{\"model.layers.0.mlp.gate\":{\"bits\":"
	 "16},"
	 "\"lm_head\":{\"bits\":8}}}",
	 {{LLM_QUANT_GPTQ, 4, {1, 128}, 1, 0, 0, 0}, {LLM_QUANT_GPTQ, 8, {1, 128}, 1, 0, 0, 0}}},
	{"{\"quant_method\":\"auto-round\",\"packing_format\":\"auto_round:auto_awq\",\"bits\":4,"
	 "\"group_size\":64}",
	 {{LLM_QUANT_AWQ, 4, {1, 64}, 0, 0, 0, 0}}},
	/* Zero points; columns in another order are told by a tensor. */
	{CT("pack-quantized",
	    "\"num_bits\":4,\"symmetric\":false,\"strategy\":\"group\",\"group_size\":32,"
	    "\"actorder\":\"group\"",
	    "null"),
	 {{LLM_QUANT_PACKED, 4, {1, 32}, 0, 1, 0, 0}}},
	/* No product takes zero points and quantised activations. */
	{CT("int-quantized", "\"num_bits\":8,\"symmetric\":false,\"strategy\":\"channel\"", A_INT8),
	 {{LLM_QUANT_INTS, 8, {1, 0}, 0, 1, 0, 0}}},
	/* Measured scales of activations. */
	{CT("int-quantized", W_INT8,
	    "{\"num_bits\":8,\"strategy\":\"tensor\",\"dynamic\":false,\"symmetric\":true}"),
	 {{LLM_QUANT_INTS, 8, {1, 0}, 0, 0, ZW_DTYPE_I8, 0}}},
	{CT("naive-quantized", W_INT8,
	    "{\"num_bits\":8,\"strategy\":\"token\",\"dynamic\":true,\"symmetric\":false}"),
	 {{LLM_QUANT_INTS, 8, {1, 0}, 0, 0, 0, 0}}},
	{CT("float-quantized", "\"num_bits\":8,\"type\":\"float\"",
	    "{\"num_bits\":8,\"type\":\"float\",\"dynamic\":false}"),
	 {{LLM_QUANT_FLOATS, 8, {0, 0}, 0, 0, ZW_DTYPE_F8E4M3, 0}}},
	/* What the device has no product for stays as it is. */
	{CT("int-quantized", W_INT8, "{\"num_bits\":4,\"strategy\":\"token\",\"dynamic\":true}"),
	 {{LLM_QUANT_INTS, 8, {1, 0}, 0, 0, 0, 0}}},
	{CT("pack-quantized", "\"num_bits\":4,\"strategy\":\"channel\"",
	    "{\"num_bits\":8,\"type\":\"float\",\"strategy\":\"token\",\"dynamic\":true}"),
	 {{LLM_QUANT_PACKED, 4, {1, 0}, 0, 0, 0, 0}}},
	{CT("float-quantized", "\"num_bits\":8,\"type\":\"float\",\"strategy\":\"channel\"",
	    "{\"num_bits\":8,\"type\":\"float\",\"strategy\":\"group\",\"group_size\":128}"),
	 {{LLM_QUANT_FLOATS, 8, {1, 0}, 0, 0, 0, 0}}},
	{CT("mxfp8-quantized",
	    "\"num_bits\":8,\"type\":\"float\",\"strategy\":\"group\",\"group_size\":32",
	    "{\"num_bits\":8,\"type\":\"float\",\"strategy\":\"group\",\"group_size\":32}"),
	 {{LLM_QUANT_MXFP8, 8, {1, 32}, 0, 0, ZW_DTYPE_F8E4M3, 32}}},
	/* Several groups, each of its own format; a cache that is to be quantised; an early file's status. */
	{"{\"quant_method\":\"compressed-tensors\",\"format\":\"mixed-precision\","
	 "\"quantization_status\":\"frozen\",\"kv_cache_scheme\":{\"num_bits\":8,\"type\":"
	 "\"float\"},"
	 "\"config_groups\":{\"group_0\":{\"targets\":[\"re:.*self_attn.*\"],\"format\":"
	 "\"float-quantized\",\"weights\":{\"num_bits\":8,\"type\":\"float\",\"strategy\":"
	 "\"channel\"},"
	 "\"input_activations\":{\"num_bits\":8,\"type\":\"float\",\"strategy\":\"token\"}},"
	 "\"group_1\":{\"targets\":[\"re:.*mlp.*\"],\"format\":\"nvfp4-pack-quantized\","
	 "\"weights\":{" W_FP4
	 "}},\"group_2\":{\"targets\":[\"Qwen3Attention\"],\"weights\":null,\"input_activations\":{"
	 "\"num_bits\":8,\"type\":\"float\"}}}}",
	 {{LLM_QUANT_FLOATS, 8, {1, 0}, 0, 0, ZW_DTYPE_F8E4M3, 0},
	  {LLM_QUANT_NVFP4, 4, {1, 16}, 0, 0, 0, 0}}},
	{"{\"quant_method\":\"modelopt\",\"quant_algo\":\"FP8\",\"kv_cache_scheme\":{\"num_bits\":"
	 "8},"
	 "\"config_groups\":{\"group_0\":{}}}",
	 {{LLM_QUANT_FLOATS, 8, {0, 0}, 0, 0, ZW_DTYPE_F8E4M3, 0}}},
	{"{\"quant_method\":\"modelopt\",\"quant_algo\":\"MIXED_PRECISION\",\"quantized_layers\":{"
	 "\"a\":{"
	 "\"quant_algo\":\"FP8_PB_WO\"},\"b\":{\"quant_algo\":\"W4A16_NVFP4\",\"group_size\":16},"
	 "\"c\":{"
	 "\"quant_algo\":\"MXFP8\"},\"d\":{\"quant_algo\":\"NVFP4\",\"group_size\":16}}}",
	 {{LLM_QUANT_FLOATS, 8, {128, 128}, 0, 0, 0, 0},
	  {LLM_QUANT_MODELOPT_NVFP4, 4, {1, 16}, 0, 0, 0, 0},
	  {LLM_QUANT_MXFP8, 8, {1, 32}, 0, 0, ZW_DTYPE_F8E4M3, 32}}},
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
		for (uint32_t j = 0; j < 3; j++) {
			const struct llm_quant_scheme *x = &q.scheme[j];

			if (memcmp(x, &good[i].q[j], sizeof(*x)))
				fail_msg("%s: %u of %u: format %u, %u bits, [%u,%u], +%u, %u, act "
					 "%u/%u",
					 good[i].text, j, q.num, x->format, x->bits, x->block[0],
					 x->block[1], x->zero_add, x->asym, x->act, x->act_block);
			assert_int_equal(x->format != LLM_QUANT_NONE, j < q.num);
		}
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
	{"{\"quant_method\":\"fp8\",\"weight_block_size\":[128]}", -EBADMSG, "weight_block_size"},
	{"{\"quant_method\":\"fp8\",\"weight_block_size\":[128,0]}", -EBADMSG, "weight_block_size"},
	{"{\"quant_method\":\"fp8\",\"weight_block_size\":[128,128],\"fmt\":\"e5m2\"}", -EOPNOTSUPP,
	 "fmt|e5m2"},
	{"{\"quant_method\":\"fp8\",\"activation_scheme\":\"none\"}", -EOPNOTSUPP,
	 "activation_scheme|none"},
	{"{\"quant_method\":\"fp8\",\"weight_block_size\":[128,128],\"modules_to_not_convert\":[1]"
	 "}",
	 -EBADMSG, "modules_to_not_convert"},
	{"{\"quant_method\":\"fp8\",\"weight_block_size\":[128,128],\"scale_fmt\":\"fp16\"}",
	 -EOPNOTSUPP, "scale_fmt|fp16"},
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
	{"{\"quant_method\":\"awq\",\"bits\":8,\"group_size\":128}", -EOPNOTSUPP, "bits 8"},
	{"{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":128,\"version\":\"gemv\"}",
	 -EOPNOTSUPP, "version|gemv"},
	{CT("marlin-24", W_INT8, "null"), -EOPNOTSUPP, "format|marlin-24"},
	{CT("float-quantized", W_INT8, "null"), -EOPNOTSUPP, "8-bit integers|float-quantized"},
	{CT("nvfp4-pack-quantized",
	    "\"num_bits\":4,\"type\":\"float\",\"strategy\":\"group\","
	    "\"group_size\":32",
	    "null"),
	 -EOPNOTSUPP, "nvfp4-pack-quantized"},
	{CT("pack-quantized", "\"num_bits\":5,\"type\":\"int\",\"strategy\":\"channel\"", "null"),
	 -EOPNOTSUPP, "5-bit"},
	{CT("pack-quantized",
	    "\"num_bits\":4,\"actorder\":\"rows\",\"strategy\":\"group\",\"group_size\":32",
	    "null"),
	 -EOPNOTSUPP, "actorder|rows"},
	{CT("pack-quantized", "\"num_bits\":4,\"strategy\":\"token\"", "null"), -EOPNOTSUPP,
	 "weights.strategy|token"},
	{CT("float-quantized", "\"num_bits\":8,\"type\":\"float\",\"strategy\":\"block\"", "null"),
	 -EBADMSG, "weights.block_structure"},
	{"{\"quant_method\":\"compressed-tensors\",\"format\":\"int-quantized\"}", -EBADMSG,
	 "config_groups"},
	{CT("int-quantized", W_INT8, "{\"num_bits\":8,\"strategy\":\"channel\"}"), -EOPNOTSUPP,
	 "input_activations.strategy|channel"},
	{"{\"quant_method\":\"compressed-tensors\",\"format\":\"int-quantized\",\"config_groups\":{"
	 "\"a\":{"
	 "\"weights\":{" W_INT8 "}},\"b\":{\"weights\":{" W_INT8 "},\"input_activations\":" A_INT8
	 "}}}",
	 -EOPNOTSUPP, "config_groups.b|activations"},
	{"{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":32,\"dynamic\":{\"a\":{\"bits\":3}}"
	 "}",
	 -EOPNOTSUPP, "dynamic.a.bits 3"},
	{"{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":32,\"dynamic\":[1]}", -EBADMSG,
	 "dynamic"},
	{"{\"quant_method\":\"auto-round\",\"bits\":4,\"group_size\":32,\"packing_format\":"
	 "\"auto_round:exllamav2\"}",
	 -EOPNOTSUPP, "packing_format|exllamav2"},
	{"{\"quant_method\":\"modelopt\",\"quant_algo\":\"MIXED_PRECISION\",\"quantized_layers\":{"
	 "\"a\":{"
	 "\"quant_algo\":\"W4A8_AWQ\"}}}",
	 -EOPNOTSUPP, "quantized_layers.a.quant_algo|W4A8_AWQ"},
	{"{\"quant_method\":\"modelopt\",\"quant_algo\":\"MIXED_PRECISION\"}", -EBADMSG,
	 "quantized_layers"},
	{"{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"a\":3}}", -EBADMSG,
	 "config_groups"},
	{"{\"quant_method\":\"compressed-tensors\",\"format\":\"int-quantized\",\"config_groups\":{"
	 "\"a\":{}}}",
	 -EBADMSG, "config_groups.a.weights"},
	{"{\"quant_method\":\"compressed-tensors\",\"sparsity_config\":{\"format\":\"2:4\"}}",
	 -EOPNOTSUPP, "sparsity_config.format|2:4"},
	{"{\"quant_method\":\"compressed-tensors\",\"quantization_status\":\"calibration\"}",
	 -EOPNOTSUPP, "quantization_status|calibration"},
	{"{\"quant_method\":\"compressed-tensors\",\"ignore\":\"lm_head\"}", -EBADMSG, "ignore"},
	{"{\"quant_method\":\"compressed-tensors\",\"transform_config\":{\"a\":1}}", -EOPNOTSUPP,
	 "transform_config"},
	{"{\"quant_method\":\"modelopt\",\"quant_algo\":\"W4A8_AWQ\"}", -EOPNOTSUPP,
	 "quant_algo|W4A8_AWQ"},
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

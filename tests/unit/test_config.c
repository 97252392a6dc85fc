// SPDX-License-Identifier: MIT
/* config.json and generation_config.json: what is read, what is refused and how it is named. */
#include "llm_test.h"

#include "config.h"

static int setup(void **state)
{
	*state = scratch_new();
	return 0;
}

static int teardown(void **state)
{
	scratch_free(*state);
	return 0;
}

static const char base[] =
	"{\"architectures\":[\"Qwen3ForCausalLM\"],\"attention_bias\":false,\"eos_token_id\":[7,5],"
	"\"head_dim\":64,\"hidden_act\":\"silu\",\"hidden_size\":128,\"intermediate_size\":352,"
	"\"layer_types\":[\"full_attention\",\"full_attention\",\"full_attention\"],"
	"\"max_position_embeddings\":4096,\"max_window_layers\":28,\"model_type\":\"qwen3\","
	"\"num_attention_heads\":4,\"num_hidden_layers\":3,\"num_key_value_heads\":2,"
	"\"rms_norm_eps\":1e-05,\"rope_scaling\":null,\"rope_theta\":5000000.0,"
	"\"sliding_window\":null,\"tie_word_embeddings\":true,\"use_sliding_window\":false,"
	"\"vocab_size\":640}";

/* As published files of Qwen2.5 have it: no head_dim, no layer_types. */
static const char base_qwen2[] =
	"{\"architectures\":[\"Qwen2ForCausalLM\"],\"eos_token_id\":7,\"hidden_act\":\"silu\","
	"\"hidden_size\":128,\"intermediate_size\":352,\"max_position_embeddings\":4096,"
	"\"max_window_layers\":28,\"model_type\":\"qwen2\",\"num_attention_heads\":4,"
	"\"num_hidden_layers\":3,\"num_key_value_heads\":2,\"rms_norm_eps\":1e-05,"
	"\"rope_theta\":1000000.0,\"sliding_window\":131072,\"tie_word_embeddings\":false,"
	"\"use_mrope\":false,\"use_sliding_window\":false,\"vocab_size\":640}";

/* A configuration with one piece of text replaced. */
static void write_changed(const char *dir, const char *text, const char *from, const char *to)
{
	char changed[2048];
	const char *at = strstr(text, from);

	if (!at)
		fail_msg("\"%s\" is not in the base configuration", from);
	snprintf(changed, sizeof(changed), "%.*s%s%s", (int)(at - text), text, to,
		 at + strlen(from));
	scratch_text(dir, "config.json", changed);
}

static void write_mutated(const char *dir, const char *from, const char *to)
{
	write_changed(dir, base, from, to);
}

static void collect(void *opaque, const char *line)
{
	strcat(opaque, line);
	strcat(opaque, "\n");
}

static void test_base(void **state)
{
	struct llm_model_config c = {0};
	struct zw_error err;

	scratch_text(*state, "config.json", base);
	assert_int_equal(llm_model_config_load(*state, &c, &err), 0);
	assert_string_equal(c.model_type, "qwen3");
	assert_int_equal(c.hidden_size, 128);
	assert_int_equal(c.intermediate_size, 352);
	assert_int_equal(c.num_layers, 3);
	assert_int_equal(c.num_heads, 4);
	assert_int_equal(c.num_kv_heads, 2);
	assert_int_equal(c.head_dim, 64);
	assert_int_equal(c.vocab_size, 640);
	assert_int_equal(c.max_position, 4096);
	assert_true(c.rms_norm_eps == 1e-5f);
	assert_true(c.rope.theta == 5e6);
	assert_true(c.rope.factor == 1);
	assert_int_equal(c.tie_word_embeddings, 1);
	assert_int_equal(c.attention_bias, 0);
	assert_int_equal(c.num_stop, 2);
	assert_int_equal(c.stop[0], 5);
	assert_int_equal(c.stop[1], 7);
	assert_true(llm_model_config_is_stop(&c, 7));
	assert_false(llm_model_config_is_stop(&c, 6));
}

/* The stop tokens are those of both files, but for what the model has no logit for. */
static void test_stop_tokens(void **state)
{
	struct llm_model_config c = {0};
	struct zw_error err;

	scratch_text(*state, "config.json", base);
	scratch_text(*state, "generation_config.json", "{\"eos_token_id\":[7,3,640,-1]}");
	assert_int_equal(llm_model_config_load(*state, &c, &err), 0);
	assert_int_equal(c.num_stop, 3);
	assert_int_equal(c.stop[0], 3);
	assert_int_equal(c.stop[2], 7);
	scratch_text(*state, "generation_config.json", "{\"eos_token_id\":639}");
	assert_int_equal(llm_model_config_load(*state, &c, &err), 0);
	assert_int_equal(c.num_stop, 3);
	assert_int_equal(c.stop[2], 639);
	scratch_text(*state, "generation_config.json", "{");
	assert_int_equal(llm_model_config_load(*state, &c, &err), -EBADMSG);
	expect_words("syntax", &err, "generation_config.json|JSON");
	scratch_text(*state, "generation_config.json", "{\"eos_token_id\":\"7\"}");
	assert_int_equal(llm_model_config_load(*state, &c, &err), -EBADMSG);
	expect_words("eos", &err, "generation_config.json|eos_token_id");
}

/* Spellings that mean the same as the base. */
static void test_variants(void **state)
{
	static const char *const same[][2] = {
		{"\"rope_theta\":5000000.0",
		 "\"rope_parameters\":{\"rope_theta\":5e6,\"rope_type\":\"default\"}"},
		{"\"rope_theta\":5000000.0",
		 "\"rope_theta\":5e6,\"rope_parameters\":{\"rope_theta\":5e6}"},
		{"\"rope_scaling\":null", "\"rope_scaling\":{\"type\":\"default\"}"},
		{"\"rope_scaling\":null", "\"partial_rotary_factor\":1.0"},
		{"\"sliding_window\":null", "\"sliding_window\":4096"},
		{"\"hidden_act\":\"silu\"", "\"torch_dtype\":\"bfloat16\""},
		{"\"architectures\":[\"Qwen3ForCausalLM\"]", "\"some_new_key\":{\"a\":[1]}"},
	};
	struct llm_model_config ref = {0};

	scratch_text(*state, "config.json", base);
	assert_int_equal(llm_model_config_load(*state, &ref, NULL), 0);
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		struct llm_model_config c = {0};
		struct zw_error err = {""};

		write_mutated(*state, same[i][0], same[i][1]);
		if (llm_model_config_load(*state, &c, &err))
			fail_msg("%s: %s", same[i][1], err.msg);
		assert_memory_equal(&c, &ref, sizeof(c));
	}
	/* head_dim absent is the class default 128, never hidden_size / num_attention_heads (32).
	 */
	struct llm_model_config c = {0};

	write_mutated(*state, "\"head_dim\":64,", "");
	assert_int_equal(llm_model_config_load(*state, &c, NULL), 0);
	assert_int_equal(c.head_dim, 128);
}

struct bad {
	const char *from, *to;
	int code;
	const char *words;
};

static const struct bad bad[] = {
	{"\"model_type\":\"qwen3\"", "\"model_type\":\"llama\"", -EOPNOTSUPP, "model_type|llama"},
	{"\"model_type\":\"qwen3\"", "\"model_type\":\"qwen3_vl\"", -EOPNOTSUPP, "qwen3_vl"},
	{"\"model_type\":\"qwen3\"", "\"model_type\":\"qwen3_moe\"", -EOPNOTSUPP,
	 "architectures|Qwen3ForCausalLM"},
	{"\"model_type\":\"qwen3\"", "\"model_type\":\"qwen2\"", -EOPNOTSUPP,
	 "architectures|Qwen3ForCausalLM"},
#define CHUNKS(text) "\"rope_scaling\":null", "\"dual_chunk_attention_config\":" text
	{CHUNKS("{\"chunk_size\":262144}"), -EBADMSG, "dual_chunk_attention_config|local_size"},
	{CHUNKS("{\"local_size\":8}"), -EBADMSG, "dual_chunk_attention_config|chunk_size"},
	{CHUNKS("{\"chunk_size\":8,\"local_size\":8}"), -EBADMSG, "local_size 8|chunk_size 8"},
	{CHUNKS("{\"chunk_size\":0,\"local_size\":0}"), -EBADMSG, "chunk_size"},
	{CHUNKS("{\"chunk_size\":8.5,\"local_size\":0}"), -EBADMSG, "chunk_size"},
	{CHUNKS("{\"chunk_size\":8,\"local_size\":-1}"), -EBADMSG, "local_size"},
	{CHUNKS("{\"chunk_size\":8,\"local_size\":1,\"stride\":2}"), -EOPNOTSUPP,
	 "dual_chunk_attention_config.stride"},
	{CHUNKS("[8,1]"), -EBADMSG, "dual_chunk_attention_config"},
#undef CHUNKS
	{"\"model_type\":\"qwen3\",", "", -EBADMSG, "model_type|missing"},
	{"\"model_type\":\"qwen3\"", "\"model_type\":3", -EBADMSG, "model_type"},
	{"Qwen3ForCausalLM", "Qwen3ForSequenceClassification", -EOPNOTSUPP,
	 "architectures|Qwen3ForSequenceClassification"},
	{"\"hidden_act\":\"silu\"", "\"hidden_act\":\"gelu\"", -EOPNOTSUPP, "hidden_act|gelu"},
	{"\"use_sliding_window\":false", "\"use_sliding_window\":true", -EOPNOTSUPP,
	 "use_sliding_window"},
	{"\"use_sliding_window\":false", "\"use_sliding_window\":1", -EBADMSG,
	 "use_sliding_window"},
	{"\"rope_scaling\":null", "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":4.0}",
	 -EOPNOTSUPP, "rope_scaling|llama3"},
	{"\"rope_scaling\":null", "\"rope_scaling\":{\"rope_typ\":\"yarn\",\"factor\":4}", -EBADMSG,
	 "rope_scaling.factor|rope_type"},
	{"\"rope_scaling\":null", "\"rope_scaling\":{\"rope_type\":1}", -EBADMSG,
	 "rope_scaling.rope_type"},
	{"\"rope_scaling\":null", "\"rope_scaling\":{\"type\":\"dynamic\"}", -EOPNOTSUPP,
	 "rope_scaling|dynamic"},
	{"\"rope_scaling\":null", "\"rope_scaling\":4", -EBADMSG, "rope_scaling"},
	{"\"rope_scaling\":null", "\"rope_parameters\":{\"rope_theta\":1e4}", -EBADMSG,
	 "rope_theta|rope_parameters"},
	{"\"rope_scaling\":null", "\"rope_parameters\":{\"partial_rotary_factor\":0.25}",
	 -EOPNOTSUPP, "partial_rotary_factor"},
	{"\"rope_scaling\":null", "\"rope_parameters\":{\"mrope_section\":[11,11,10]}", -EOPNOTSUPP,
	 "mrope_section"},
	{"\"rope_scaling\":null", "\"partial_rotary_factor\":0.5", -EOPNOTSUPP,
	 "partial_rotary_factor"},
	{"\"rope_scaling\":null", "\"rope_parameters\":{\"full_attention\":{\"rope_theta\":1e4}}",
	 -EOPNOTSUPP, "rope_parameters.full_attention"},
	{"\"rope_scaling\":null", "\"is_encoder_decoder\":true", -EOPNOTSUPP, "is_encoder_decoder"},
	{"\"rope_scaling\":null", "\"add_cross_attention\":true", -EOPNOTSUPP,
	 "add_cross_attention"},
	{"\"rope_scaling\":null", "\"pruned_heads\":{\"0\":[1]}", -EOPNOTSUPP, "pruned_heads"},
	{"\"rope_scaling\":null", "\"compression_config\":{}", -EOPNOTSUPP, "compression_config"},
	{"\"rope_theta\":5000000.0", "\"rope_theta\":0", -EBADMSG, "rope_theta"},
	{"\"rope_theta\":5000000.0", "\"rope_theta\":\"1e6\"", -EBADMSG, "rope_theta"},
	{"\"full_attention\",\"full_attention\",\"full_attention\"",
	 "\"full_attention\",\"linear_attention\",\"full_attention\"", -EOPNOTSUPP,
	 "layer_types|linear_attention"},
	{"\"full_attention\",\"full_attention\",\"full_attention\"", "\"full_attention\"", -EBADMSG,
	 "layer_types|num_hidden_layers"},
	{"\"rope_scaling\":null", "\"quantization_config\":{\"quant_method\":\"bitsandbytes\"}",
	 -EOPNOTSUPP, "quantization_config"},
	{"\"rope_scaling\":null", "\"vision_config\":{}", -EOPNOTSUPP, "vision_config"},
	{"\"rope_scaling\":null", "\"head_dim\":64", -EBADMSG, "head_dim|twice"},
	{"\"hidden_size\":128", "\"hidden_size\":0", -EBADMSG, "hidden_size"},
	{"\"hidden_size\":128", "\"hidden_size\":-128", -EBADMSG, "hidden_size"},
	{"\"hidden_size\":128", "\"hidden_size\":128.5", -EBADMSG, "hidden_size"},
	{"\"hidden_size\":128", "\"hidden_size\":1e18", -EBADMSG, "hidden_size"},
	{"\"hidden_size\":128,", "", -EBADMSG, "hidden_size|missing"},
	{"\"num_hidden_layers\":3", "\"num_hidden_layers\":1000000", -EBADMSG, "num_hidden_layers"},
	{"\"num_key_value_heads\":2", "\"num_key_value_heads\":3", -EBADMSG,
	 "num_key_value_heads|3"},
	{"\"num_key_value_heads\":2", "\"num_key_value_heads\":0", -EBADMSG, "num_key_value_heads"},
	{"\"head_dim\":64", "\"head_dim\":63", -EBADMSG, "head_dim|63"},
	{"\"head_dim\":64", "\"head_dim\":100000", -EBADMSG, "head_dim"},
	{"\"vocab_size\":640", "\"vocab_size\":4294967296", -EBADMSG, "vocab_size"},
	{"\"eos_token_id\":[7,5]", "\"eos_token_id\":[7,\"5\"]", -EBADMSG, "eos_token_id"},
	{"\"eos_token_id\":[7,5]", "\"eos_token_id\":\"</s>\"", -EBADMSG, "eos_token_id"},
	{"\"eos_token_id\":[7,5]", "\"eos_token_id\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]",
	 -EOPNOTSUPP, "eos_token_id|16"},
	{"\"rms_norm_eps\":1e-05", "\"rms_norm_eps\":-1", -EBADMSG, "rms_norm_eps"},
	{"\"tie_word_embeddings\":true", "\"tie_word_embeddings\":\"yes\"", -EBADMSG,
	 "tie_word_embeddings"},
	{"{\"architectures\"", "[{\"architectures\"", -EBADMSG, "JSON"},
	{"\"vocab_size\":640}", "\"vocab_size\":640", -EBADMSG, "JSON"},
};

static void expect_bad(const char *dir, const char *text, const struct bad *b)
{
	struct llm_model_config c = {0}, before = c;
	struct zw_error err = {""};
	int ret;

	write_changed(dir, text, b->from, b->to);
	ret = llm_model_config_load(dir, &c, &err);
	if (ret != b->code)
		fail_msg("%s: %d (%s), expected %d", b->to, ret, err.msg, b->code);
	expect_words(b->to, &err, "config.json");
	expect_words(b->to, &err, b->words);
	assert_memory_equal(&c, &before, sizeof(c));
}

static void test_bad(void **state)
{
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect_bad(*state, base, &bad[i]);
}

#define YARN(more) "\"rope_scaling\":{\"rope_type\":\"yarn\"," more "}"
#define ORIGINAL   "\"original_max_position_embeddings\":1024"

/* Each in place of "rope_scaling":null. */
static const struct bad bad_yarn[] = {
	{NULL, "\"rope_scaling\":{\"rope_type\":\"yarn\"}", -EBADMSG,
	 "rope_scaling|factor|missing"},
	{NULL, YARN("\"factor\":null"), -EBADMSG, "rope_scaling|factor|missing"},
	{NULL, YARN("\"factor\":0.5"), -EBADMSG, "rope_scaling|factor|from 1"},
	{NULL, YARN("\"factor\":\"4\""), -EBADMSG, "rope_scaling|factor"},
	{NULL, YARN("\"factor\":1e9"), -EBADMSG, "rope_scaling|factor"},
	{NULL, YARN("\"factor\":4,\"factor\":4"), -EBADMSG, "rope_scaling|factor|twice"},
	{NULL, YARN("\"factor\":65536"), -EBADMSG,
	 "rope_scaling|original_max_position_embeddings 4096|factor 65536|67108864"},
	{NULL, YARN("\"factor\":4,\"original_max_position_embeddings\":0"), -EBADMSG,
	 "rope_scaling|original_max_position_embeddings"},
	{NULL, YARN("\"factor\":4,\"original_max_position_embeddings\":1024.5"), -EBADMSG,
	 "rope_scaling|original_max_position_embeddings"},
	{NULL, YARN("\"factor\":4,\"original_max_position_embeddings\":4097"), -EBADMSG,
	 "original_max_position_embeddings 4097|max_position_embeddings 4096"},
	{NULL, YARN("\"factor\":4," ORIGINAL) ",\"original_max_position_embeddings\":1024",
	 -EOPNOTSUPP, "original_max_position_embeddings"},
	{NULL, YARN("\"factor\":4,\"beta_fast\":0"), -EBADMSG, "rope_scaling|beta_fast"},
	{NULL, YARN("\"factor\":4,\"beta_slow\":true"), -EBADMSG, "rope_scaling|beta_slow"},
	{NULL, YARN("\"factor\":4,\"beta_fast\":1,\"beta_slow\":2"), -EBADMSG,
	 "rope_scaling|beta_fast 1|beta_slow 2"},
	{NULL, YARN("\"factor\":4,\"beta_slow\":33"), -EBADMSG, "beta_fast 32|beta_slow 33"},
	{NULL, YARN("\"factor\":4,\"truncate\":1"), -EBADMSG, "rope_scaling|truncate"},
	{NULL, YARN("\"factor\":4,\"attention_factor\":0"), -EBADMSG,
	 "rope_scaling|attention_factor"},
	{NULL, YARN("\"factor\":4,\"attention_factor\":[1]"), -EBADMSG,
	 "rope_scaling|attention_factor"},
	{NULL, YARN("\"factor\":4,\"mscale\":-1"), -EBADMSG, "rope_scaling|mscale"},
	{NULL, YARN("\"factor\":4,\"mscale\":0.7"), -EBADMSG,
	 "mscale has no effect|mscale_all_dim"},
	{NULL, YARN("\"factor\":4,\"mscale_all_dim\":0.7,\"mscale\":0"), -EBADMSG,
	 "mscale_all_dim has no effect|mscale"},
	{NULL, YARN("\"factor\":4,\"mscale_all_dim\":\"1\""), -EBADMSG,
	 "rope_scaling|mscale_all_dim"},
	{NULL, YARN("\"factor\":4,\"mscale\":1,\"mscale_all_dim\":1,\"attention_factor\":1.2"),
	 -EBADMSG, "attention_factor is 1.2|mscale|1"},
	{NULL, YARN("\"factor\":4,\"attn_factor\":1"), -EOPNOTSUPP, "rope_scaling.attn_factor"},
	{NULL, YARN("\"factor\":4,\"type\":\"default\""), -EBADMSG,
	 "rope_scaling.rope_type|yarn|rope_scaling.type|default"},
	{NULL, YARN("\"factor\":4,\"partial_rotary_factor\":0.5"), -EOPNOTSUPP,
	 "partial_rotary_factor"},
	{NULL, YARN("\"factor\":4") ",\"rope_parameters\":{\"rope_theta\":5e6}", -EBADMSG,
	 "rope_scaling|rope_parameters|YaRN"},
	{NULL, YARN("\"factor\":4") ",\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":2}",
	 -EBADMSG, "rope_scaling|rope_parameters|YaRN"},
	{NULL, YARN("\"factor\":4,\"rope_theta\":1e6"), -EBADMSG, "rope_scaling.rope_theta"},
	/* The whole head turns less than once, or more than 32 times. */
	{NULL, YARN("\"factor\":4,\"original_max_position_embeddings\":2"), -EBADMSG,
	 "YaRN|original_max_position_embeddings 2"},
};

/* What says the same as factor 4 over 1024 positions. */
static const char *const same_yarn[] = {
	YARN("\"factor\":4.0," ORIGINAL),
	"\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4," ORIGINAL "}",
	YARN("\"type\":\"yarn\",\"factor\":4,\"rope_theta\":5e6," ORIGINAL),
	"\"rope_parameters\":{\"rope_type\":\"yarn\",\"rope_theta\":5e6,\"factor\":4," ORIGINAL "}",
	"\"rope_scaling\":{},\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":4," ORIGINAL
	"}",
	YARN("\"factor\":4,\"beta_fast\":32,\"beta_slow\":1.0,\"truncate\":true,\"mscale\":null,"
	     "\"attention_factor\":null," ORIGINAL),
	YARN("\"factor\":4,\"mscale\":0,\"mscale_all_dim\":0," ORIGINAL),
	YARN("\"factor\":4," ORIGINAL) ",\"rope_parameters\":{\"type\":\"yarn\",\"factor\":"
				       "4," ORIGINAL "}",
};

static void test_yarn(void **state)
{
	struct llm_model_config ref = {0}, c = {0};
	struct zw_error err = {""};

	write_mutated(*state, "\"rope_scaling\":null", same_yarn[0]);
	assert_int_equal(llm_model_config_load(*state, &ref, &err), 0);
	assert_int_equal(ref.max_position, 4096);
	assert_true(ref.rope.factor == 4);
	assert_true(ref.rope.ramp_low == 3 && ref.rope.ramp_high == 11);
	for (size_t i = 1; i < sizeof(same_yarn) / sizeof(same_yarn[0]); i++) {
		c = (struct llm_model_config){0};
		write_mutated(*state, "\"rope_scaling\":null", same_yarn[i]);
		if (llm_model_config_load(*state, &c, &err))
			fail_msg("%s: %s", same_yarn[i], err.msg);
		assert_memory_equal(&c, &ref, sizeof(c));
	}
	/* max_position_embeddings may be as long as before, as long as YaRN makes it, or between. */
	write_mutated(*state, "\"rope_scaling\":null",
		      YARN("\"factor\":2.5,\"original_max_"
			   "position_embeddings\":4095"));
	assert_int_equal(llm_model_config_load(*state, &c, &err), 0);
	assert_int_equal(c.max_position, 10237);
	/* The pair's quotient, said again, is no contradiction. */
	write_mutated(
		*state, "\"rope_scaling\":null",
		YARN("\"factor\":4,\"mscale\":1,\"mscale_all_dim\":1,\"attention_factor\":1.0"));
	assert_int_equal(llm_model_config_load(*state, &c, &err), 0);
	assert_true(c.rope.attention_factor == 1);
	for (size_t i = 0; i < sizeof(bad_yarn) / sizeof(bad_yarn[0]); i++) {
		struct bad b = bad_yarn[i];

		b.from = "\"rope_scaling\":null";
		expect_bad(*state, base, &b);
	}
	/* The logarithm of the base divides. */
	write_mutated(*state, "\"rope_scaling\":null,\"rope_theta\":5000000.0",
		      YARN("\"factor\":4") ",\"rope_theta\":1.0");
	assert_int_equal(llm_model_config_load(*state, &c, &err), -EBADMSG);
	expect_words("theta", &err, "config.json|rope_theta 1|YaRN");
	write_mutated(*state, "\"rope_scaling\":null,\"rope_theta\":5000000.0",
		      YARN("\"factor\":4") ",\"rope_theta\":1.5");
	assert_int_equal(llm_model_config_load(*state, &c, &err), -EBADMSG);
	expect_words("low base", &err, "config.json|YaRN|32 times");
}

static const struct bad bad_qwen2[] = {
	{"Qwen2ForCausalLM", "Qwen3ForCausalLM", -EOPNOTSUPP, "architectures|Qwen3ForCausalLM"},
	{"Qwen2ForCausalLM", "Qwen2ForRewardModel", -EOPNOTSUPP,
	 "architectures|Qwen2ForRewardModel"},
	{"\"use_sliding_window\":false", "\"use_sliding_window\":true", -EOPNOTSUPP,
	 "use_sliding_window"},
	{"\"use_mrope\":false", "\"use_mrope\":true", -EOPNOTSUPP, "use_mrope"},
	{"\"use_mrope\":false", "\"attention_bias\":false", -EBADMSG, "attention_bias|biases"},
	{"\"use_mrope\":false", "\"attention_bias\":0", -EBADMSG, "attention_bias"},
	{"\"use_mrope\":false",
	 "\"layer_types\":[\"full_attention\",\"sliding_attention\",\"full_attention\"]",
	 -EOPNOTSUPP, "layer_types|sliding_attention"},
	{"\"hidden_size\":128", "\"hidden_size\":130", -EBADMSG,
	 "hidden_size 130|num_attention_heads 4"},
	{"\"hidden_size\":128", "\"hidden_size\":132", -EBADMSG, "head_dim 33|odd"},
	{"\"hidden_size\":128", "\"hidden_size\":2056", -EBADMSG, "hidden_size 2056|512"},
	{"\"hidden_size\":128", "\"hidden_size\":4", -EBADMSG, "hidden_size 4|from 2"},
	{"\"use_mrope\":false", "\"head_dim\":514", -EBADMSG, "head_dim"},
	{"\"use_mrope\":false", "\"rope_parameters\":{\"mrope_section\":[16,24,24]}", -EOPNOTSUPP,
	 "mrope_section"},
};

static void test_qwen2(void **state)
{
	struct llm_model_config c = {0};
	struct zw_error err = {""};
	char notes[256] = "";

	scratch_text(*state, "config.json", base_qwen2);
	assert_int_equal(llm_model_config_load(*state, &c, &err), 0);
	assert_string_equal(c.model_type, "qwen2");
	assert_int_equal(c.head_dim, 32); /* hidden_size / num_attention_heads */
	assert_int_equal(c.attention_bias, 0);
	assert_int_equal(c.tie_word_embeddings, 0);
	assert_int_equal(zw_model_config_notes(*state, collect, notes, &err), 0);
	assert_string_equal(notes, "");
	/* 6 does not divide 128, which does not matter when head_dim is said. */
	write_changed(*state, base_qwen2, "\"num_attention_heads\":4",
		      "\"num_attention_heads\":6,\"head_dim\":40");
	assert_int_equal(llm_model_config_load(*state, &c, &err), 0);
	assert_int_equal(c.head_dim, 40);
	write_changed(*state, base_qwen2, "\"use_mrope\":false", "\"attention_bias\":true");
	assert_int_equal(llm_model_config_load(*state, &c, &err), 0);
	for (size_t i = 0; i < sizeof(bad_qwen2) / sizeof(bad_qwen2[0]); i++)
		expect_bad(*state, base_qwen2, &bad_qwen2[i]);
}

/* As published files have it, but smaller. */
static const char base_moe[] =
	"{\"architectures\":[\"Qwen3MoeForCausalLM\"],\"attention_bias\":false,"
	"\"decoder_sparse_step\":1,\"eos_token_id\":7,\"head_dim\":64,\"hidden_act\":\"silu\","
	"\"hidden_size\":128,\"intermediate_size\":352,\"max_position_embeddings\":4096,"
	"\"max_window_layers\":48,\"mlp_only_layers\":[],\"model_type\":\"qwen3_moe\","
	"\"moe_intermediate_size\":96,\"norm_topk_prob\":true,\"num_attention_heads\":4,"
	"\"num_experts\":16,\"num_experts_per_tok\":4,\"num_hidden_layers\":11,"
	"\"num_key_value_heads\":2,\"output_router_logits\":false,\"rms_norm_eps\":1e-06,"
	"\"rope_scaling\":null,\"rope_theta\":1000000.0,\"router_aux_loss_coef\":0.001,"
	"\"sliding_window\":null,\"tie_word_embeddings\":false,\"use_sliding_window\":false,"
	"\"vocab_size\":640}";

static const struct bad bad_moe[] = {
	{"Qwen3MoeForCausalLM", "Qwen3ForCausalLM", -EOPNOTSUPP, "architectures|Qwen3ForCausalLM"},
	{"\"head_dim\":64,", "", -EBADMSG, "head_dim|missing"},
	{"\"num_experts\":16,", "", -EBADMSG, "num_experts|missing"},
	{"\"num_experts\":16", "\"num_experts\":0", -EBADMSG, "num_experts"},
	{"\"num_experts\":16", "\"num_experts\":65537", -EBADMSG, "num_experts"},
	{"\"num_experts\":16", "\"num_experts\":16,\"num_local_experts\":8", -EBADMSG,
	 "num_experts is 16|num_local_experts 8"},
	{"\"num_experts_per_tok\":4,", "", -EBADMSG, "num_experts_per_tok|missing"},
	{"\"num_experts_per_tok\":4", "\"num_experts_per_tok\":17", -EBADMSG,
	 "num_experts_per_tok 17|16"},
	{"\"moe_intermediate_size\":96,", "", -EBADMSG, "moe_intermediate_size|missing"},
	{"\"moe_intermediate_size\":96", "\"moe_intermediate_size\":0", -EBADMSG,
	 "moe_intermediate_size"},
	{"\"norm_topk_prob\":true", "\"norm_topk_prob\":1", -EBADMSG, "norm_topk_prob"},
	{"\"decoder_sparse_step\":1", "\"decoder_sparse_step\":0", -EBADMSG, "decoder_sparse_step"},
	{"\"mlp_only_layers\":[]", "\"mlp_only_layers\":[\"1\"]", -EBADMSG, "mlp_only_layers"},
	{"\"use_sliding_window\":false", "\"use_sliding_window\":true", -EOPNOTSUPP,
	 "use_sliding_window"},
};

static void expect_sparse(const char *dir, const char *from, const char *to, const char *layers)
{
	struct llm_model_config c = {0};
	struct zw_error err = {""};

	write_changed(dir, base_moe, from, to);
	if (llm_model_config_load(dir, &c, &err))
		fail_msg("%s: %s", to, err.msg);
	assert_int_equal(strlen(layers), c.num_layers);
	for (uint32_t n = 0; n < c.num_layers; n++)
		assert_int_equal(llm_layer_has_experts(&c, n), layers[n] == 'x');
}

static void test_moe(void **state)
{
	struct llm_model_config c = {0}, ref;
	struct zw_error err = {""};
	char notes[256] = "";

	scratch_text(*state, "config.json", base_moe);
	assert_int_equal(llm_model_config_load(*state, &ref, &err), 0);
	assert_string_equal(ref.model_type, "qwen3_moe");
	assert_int_equal(ref.head_dim, 64);
	assert_int_equal(ref.num_experts, 16);
	assert_int_equal(ref.experts_per_token, 4);
	assert_int_equal(ref.expert_size, 96);
	assert_int_equal(ref.norm_topk_prob, 1);
	assert_int_equal(zw_model_config_notes(*state, collect, notes, &err), 0);
	assert_string_equal(notes, "");
	/* The name that newer files have. */
	write_changed(*state, base_moe, "\"num_experts\":16", "\"num_local_experts\":16");
	assert_int_equal(llm_model_config_load(*state, &c, &err), 0);
	assert_memory_equal(&c, &ref, sizeof(c));
	write_changed(*state, base_moe, "\"norm_topk_prob\":true,", "");
	assert_int_equal(llm_model_config_load(*state, &c, &err), 0);
	assert_int_equal(c.norm_topk_prob, 0);
	expect_sparse(*state, "\"decoder_sparse_step\":1,", "", "xxxxxxxxxxx");
	expect_sparse(*state, "\"decoder_sparse_step\":1", "\"decoder_sparse_step\":3",
		      "..x..x..x..");
	expect_sparse(*state, "\"mlp_only_layers\":[]", "\"mlp_only_layers\":[0,9,11]",
		      ".xxxxxxxx.x");
	expect_sparse(*state, "\"mlp_only_layers\":[]",
		      "\"mlp_only_layers\":[3],\"num_local_experts\":16", "xxx.xxxxxxx");
	for (size_t i = 0; i < sizeof(bad_moe) / sizeof(bad_moe[0]); i++)
		expect_bad(*state, base_moe, &bad_moe[i]);
}

/* As published files have it, but smaller. */
static const char base_next[] =
	"{\"architectures\":[\"Qwen3NextForCausalLM\"],\"attention_bias\":false,"
	"\"decoder_sparse_step\":1,\"eos_token_id\":7,\"full_attention_interval\":4,"
	"\"head_dim\":64,\"hidden_act\":\"silu\",\"hidden_size\":128,\"intermediate_size\":352,"
	"\"linear_conv_kernel_dim\":4,\"linear_key_head_dim\":32,\"linear_num_key_heads\":2,"
	"\"linear_num_value_heads\":4,\"linear_value_head_dim\":48,"
	"\"max_position_embeddings\":4096,\"mlp_only_layers\":[],\"model_type\":\"qwen3_next\","
	"\"moe_intermediate_size\":96,\"norm_topk_prob\":true,\"num_attention_heads\":4,"
	"\"num_experts\":16,\"num_experts_per_tok\":4,\"num_hidden_layers\":8,"
	"\"num_key_value_heads\":2,\"partial_rotary_factor\":0.25,\"rms_norm_eps\":1e-06,"
	"\"rope_scaling\":null,\"rope_theta\":10000000,\"shared_expert_intermediate_size\":80,"
	"\"tie_word_embeddings\":false,\"use_sliding_window\":false,\"vocab_size\":640}";

#define LINEAR "\"linear_attention\","
#define FULL   "\"full_attention\""

static const struct bad bad_next[] = {
	{"Qwen3NextForCausalLM", "Qwen3MoeForCausalLM", -EOPNOTSUPP,
	 "architectures|Qwen3MoeForCausalLM"},
	{"\"attention_bias\":false", "\"attention_bias\":true", -EOPNOTSUPP, "attention_bias"},
	{"\"attention_bias\":false", "\"attention_bias\":0", -EBADMSG, "attention_bias"},
	{"\"full_attention_interval\":4", "\"full_attention_interval\":0", -EBADMSG,
	 "full_attention_interval"},
	{"\"full_attention_interval\":4", "\"full_attention_interval\":9", -EOPNOTSUPP,
	 "no layer has attention"},
	{"\"full_attention_interval\":4",
	 "\"full_attention_interval\":4,\"layer_types\":[" LINEAR LINEAR LINEAR FULL "]", -EBADMSG,
	 "layer_types|4 entries|num_hidden_layers is 8"},
	{"\"full_attention_interval\":4",
	 "\"full_attention_interval\":4,\"layer_types\":[" LINEAR LINEAR FULL "," FULL
	 "," LINEAR LINEAR LINEAR FULL "]",
	 -EBADMSG, "layer_types[2]|full_attention|full_attention_interval 4"},
	{"\"full_attention_interval\":4",
	 "\"layer_types\":[" LINEAR LINEAR "\"mamba\"," LINEAR LINEAR LINEAR LINEAR FULL "]",
	 -EOPNOTSUPP, "layer_types|mamba"},
	{"\"full_attention_interval\":4",
	 "\"layer_types\":[" LINEAR LINEAR "3," LINEAR LINEAR LINEAR LINEAR FULL "]", -EBADMSG,
	 "layer_types[2]"},
	{"\"full_attention_interval\":4", "\"layer_types\":\"full_attention\"", -EBADMSG,
	 "layer_types"},
	{"\"linear_num_key_heads\":2,", "", -EBADMSG, "linear_num_key_heads|missing"},
	{"\"linear_num_value_heads\":4,", "", -EBADMSG, "linear_num_value_heads|missing"},
	{"\"linear_num_value_heads\":4", "\"linear_num_value_heads\":5", -EBADMSG,
	 "linear_num_value_heads 5|linear_num_key_heads 2"},
	{"\"linear_key_head_dim\":32,", "", -EBADMSG, "linear_key_head_dim|missing"},
	{"\"linear_key_head_dim\":32", "\"linear_key_head_dim\":1025", -EBADMSG,
	 "linear_key_head_dim|1024"},
	{"\"linear_value_head_dim\":48", "\"linear_value_head_dim\":0", -EBADMSG,
	 "linear_value_head_dim"},
	{"\"linear_conv_kernel_dim\":4", "\"linear_conv_kernel_dim\":17", -EBADMSG,
	 "linear_conv_kernel_dim|16"},
	{"\"linear_conv_kernel_dim\":4", "\"linear_conv_kernel_dim\":1", -EBADMSG,
	 "linear_conv_kernel_dim"},
	{"\"shared_expert_intermediate_size\":80,", "", -EBADMSG,
	 "shared_expert_intermediate_size|missing"},
	{"\"num_experts\":16", "\"num_experts\":0", -EBADMSG, "num_experts"},
	{"\"num_experts_per_tok\":4", "\"num_experts_per_tok\":17", -EBADMSG,
	 "num_experts_per_tok 17|16"},
	{"\"partial_rotary_factor\":0.25", "\"partial_rotary_factor\":0", -EBADMSG,
	 "partial_rotary_factor"},
	{"\"partial_rotary_factor\":0.25", "\"partial_rotary_factor\":0.05", -EBADMSG,
	 "partial_rotary_factor 0.05|head_dim 64|3 dimensions"},
	{"\"partial_rotary_factor\":0.25", "\"partial_rotary_factor\":0.02", -EBADMSG,
	 "partial_rotary_factor 0.02|1 dimensions"},
	{"\"rope_scaling\":null", "\"rope_parameters\":{\"partial_rotary_factor\":0.5}", -EBADMSG,
	 "partial_rotary_factor is 0.25|rope_parameters.partial_rotary_factor is 0.5"},
	{"\"rope_scaling\":null", "\"mtp_num_hidden_layers\":2", -EOPNOTSUPP,
	 "mtp_num_hidden_layers 2"},
	{"\"rope_scaling\":null", "\"num_nextn_predict_layers\":2", -EOPNOTSUPP,
	 "num_nextn_predict_layers 2"},
	{"\"rope_scaling\":null", "\"mtp_use_dedicated_embeddings\":true", -EOPNOTSUPP,
	 "mtp_use_dedicated_embeddings"},
	{"\"use_sliding_window\":false", "\"use_sliding_window\":true", -EOPNOTSUPP,
	 "use_sliding_window"},
};

static void expect_same_next(const char *dir, const struct llm_model_config *ref, const char *from,
			     const char *to)
{
	struct llm_model_config c = {0};
	struct zw_error err = {""};

	write_changed(dir, base_next, from, to);
	if (llm_model_config_load(dir, &c, &err))
		fail_msg("%s: %s", to, err.msg);
	assert_memory_equal(&c, ref, sizeof(c));
}

static void test_hybrid(void **state)
{
	struct llm_model_config c = {0}, ref = {0};
	struct zw_error err = {""};
	char notes[256] = "";

	scratch_text(*state, "config.json", base_next);
	assert_int_equal(llm_model_config_load(*state, &ref, &err), 0);
	assert_string_equal(ref.model_type, "qwen3_next");
	assert_int_equal(ref.key_heads, 2);
	assert_int_equal(ref.value_heads, 4);
	assert_int_equal(ref.key_dim, 32);
	assert_int_equal(ref.value_dim, 48);
	assert_int_equal(ref.conv_kernel, 4);
	assert_int_equal(ref.shared_expert_size, 80);
	assert_int_equal(ref.attention_gate, 1);
	assert_int_equal(ref.rope.dim, 16);
	for (uint32_t n = 0; n <= 8; n++) {
		assert_int_equal(llm_layer_is_linear(&ref, n), n % 4 != 3 && n < 8);
		assert_true(llm_layer_has_experts(&ref, n));
	}
	assert_int_equal(zw_model_config_notes(*state, collect, notes, &err), 0);
	assert_string_equal(notes, "");
	/* Other ways to say it, and what the class takes where nothing is said. */
	expect_same_next(*state, &ref, "\"full_attention_interval\":4",
			 "\"layer_types\":[" LINEAR LINEAR LINEAR FULL "," LINEAR LINEAR LINEAR FULL
			 "]");
	expect_same_next(*state, &ref, "\"full_attention_interval\":4,", "");
	expect_same_next(*state, &ref, "\"linear_conv_kernel_dim\":4,", "");
	expect_same_next(*state, &ref, "\"norm_topk_prob\":true,", "");
	expect_same_next(*state, &ref, "\"partial_rotary_factor\":0.25,", "");
	expect_same_next(*state, &ref, "\"partial_rotary_factor\":0.25",
			 "\"rope_parameters\":{\"rope_theta\":1e7,\"rope_type\":\"default\","
			 "\"partial_rotary_factor\":0.25}");
	expect_same_next(*state, &ref, "\"rope_scaling\":null",
			 "\"mtp_num_hidden_layers\":1,\"num_nextn_predict_layers\":1");
	write_changed(*state, base_next, "\"head_dim\":64,", "");
	assert_int_equal(llm_model_config_load(*state, &c, &err), 0);
	assert_int_equal(c.head_dim, 256);
	assert_int_equal(c.rope.dim, 64);
	/* The ramp of YaRN is over the part that is turned. */
	write_changed(*state, base_next, "\"head_dim\":64,",
		      "\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":4},");
	assert_int_equal(llm_model_config_load(*state, &c, &err), 0);
	assert_int_equal(c.max_position, 4 * 4096);
	assert_true(c.rope.ramp_low == 5 && c.rope.ramp_high == 13);
	for (size_t i = 0; i < sizeof(bad_next) / sizeof(bad_next[0]); i++)
		expect_bad(*state, base_next, &bad_next[i]);
}

/* As published, but smaller: the decoder beside a tower for images, two names for the end of a text. */
static const char base_3_5[] =
	"{\"architectures\":[\"Qwen3_5MoeForConditionalGeneration\"],\"eos_token_id\":9,"
	"\"image_token_id\":600,\"model_type\":\"qwen3_5_moe\",\"text_config\":{"
	"\"attention_bias\":false,\"attn_output_gate\":true,\"eos_token_id\":7,"
	"\"full_attention_interval\":4,\"head_dim\":64,\"hidden_act\":\"silu\","
	"\"hidden_size\":128,\"linear_conv_kernel_dim\":4,\"linear_key_head_dim\":32,"
	"\"linear_num_key_heads\":2,\"linear_num_value_heads\":4,\"linear_value_head_dim\":48,"
	"\"mamba_ssm_dtype\":\"float32\",\"max_position_embeddings\":4096,"
	"\"model_type\":\"qwen3_5_moe_text\",\"moe_intermediate_size\":96,"
	"\"mtp_num_hidden_layers\":1,\"mtp_use_dedicated_embeddings\":false,"
	"\"num_attention_heads\":4,\"num_experts\":16,\"num_experts_per_tok\":4,"
	"\"num_hidden_layers\":8,\"num_key_value_heads\":2,\"rms_norm_eps\":1e-06,"
	"\"rope_parameters\":{\"mrope_interleaved\":true,\"mrope_section\":[3,3,2],"
	"\"partial_rotary_factor\":0.25,\"rope_theta\":10000000,\"rope_type\":\"default\"},"
	"\"shared_expert_intermediate_size\":80,\"vocab_size\":640},"
	"\"tie_word_embeddings\":false,\"video_token_id\":601,"
	"\"vision_config\":{\"depth\":27,\"hidden_size\":99},\"vision_end_token_id\":602,"
	"\"vision_start_token_id\":603}";

static const struct bad bad_3_5[] = {
	{"Qwen3_5MoeForConditionalGeneration", "Qwen3_5ForConditionalGeneration", -EOPNOTSUPP,
	 "architectures|Qwen3_5ForConditionalGeneration"},
	{"\"model_type\":\"qwen3_5_moe_text\"", "\"model_type\":\"qwen3_5_text\"", -EOPNOTSUPP,
	 "text_config.model_type|qwen3_5_text|qwen3_5_moe_text"},
	{"\"model_type\":\"qwen3_5_moe_text\"", "\"model_type\":5", -EOPNOTSUPP,
	 "text_config.model_type"},
	{"\"text_config\":{", "\"text_configs\":{", -EBADMSG, "text_config|missing"},
	{"\"text_config\":{", "\"text_config\":[{}],\"other\":{", -EBADMSG,
	 "text_config|not an object"},
	{"\"vision_config\":{", "\"audio_config\":{", -EOPNOTSUPP, "audio_config"},
	{"\"attention_bias\":false,", "\"vision_config\":{},", -EOPNOTSUPP, "vision_config"},
	{"\"attention_bias\":false,", "\"quantization_config\":{},", -EOPNOTSUPP,
	 "quantization_config"},
	{"\"attn_output_gate\":true", "\"attn_output_gate\":false", -EOPNOTSUPP,
	 "attn_output_gate"},
	{"\"float32\"", "\"bfloat16\"", -EOPNOTSUPP, "mamba_ssm_dtype|bfloat16"},
	{"\"mtp_num_hidden_layers\":1", "\"mtp_num_hidden_layers\":2", -EOPNOTSUPP,
	 "mtp_num_hidden_layers 2"},
	{"[3,3,2]", "[3,3,3]", -EBADMSG, "mrope_section|9 frequencies|8"},
	{"[3,3,2]", "[8]", -EBADMSG, "mrope_section|three"},
	{"[3,3,2]", "[3,\"3\",2]", -EBADMSG, "mrope_section|three"},
	{"[3,3,2]", "8", -EBADMSG, "mrope_section|three"},
	{"\"mrope_interleaved\":true", "\"mrope_interleaved\":1", -EBADMSG, "mrope_interleaved"},
	{"\"attention_bias\":false,", "\"mlp_only_layers\":[1],", -EOPNOTSUPP, "mlp_only_layers"},
	{"\"attention_bias\":false,", "\"decoder_sparse_step\":2,", -EOPNOTSUPP,
	 "decoder_sparse_step"},
	{"\"attention_bias\":false,", "\"norm_topk_prob\":false,", -EBADMSG, "norm_topk_prob"},
	{"\"attention_bias\":false,", "\"tie_word_embeddings\":true,", -EBADMSG,
	 "tie_word_embeddings|text_config.tie_word_embeddings"},
	{"\"num_experts\":16,", "", -EBADMSG, "num_experts|missing"},
	{"\"hidden_size\":128,", "", -EBADMSG, "hidden_size|missing"},
};

static void test_nested(void **state)
{
	struct llm_model_config c = {0}, text = {0};
	struct zw_error err = {""};
	char notes[256] = "", flat[2048];
	const char *at = strstr(base_3_5, "\"text_config\":") + 14, *end = strstr(at, "},\"tie");

	scratch_text(*state, "config.json", base_3_5);
	assert_int_equal(llm_model_config_load(*state, &c, &err), 0);
	assert_string_equal(c.model_type, "qwen3_5_moe");
	assert_int_equal(c.hidden_size, 128);
	assert_int_equal(c.intermediate_size, 0);
	assert_int_equal(c.num_experts, 16);
	assert_int_equal(c.norm_topk_prob, 1);
	assert_int_equal(c.rope.dim, 16);
	assert_true(c.rope.theta == 1e7);
	assert_int_equal(c.num_stop, 2);
	assert_int_equal(c.stop[0], 7);
	assert_int_equal(c.stop[1], 9);
	assert_int_equal(zw_model_config_notes(*state, collect, notes, &err), 0);
	assert_string_equal(notes, "");
	/* The decoder alone. */
	snprintf(flat, sizeof(flat), "%.*s}", (int)(end - at), at);
	scratch_text(*state, "config.json", flat);
	assert_int_equal(llm_model_config_load(*state, &text, &err), 0);
	assert_string_equal(text.model_type, "qwen3_5_moe_text");
	assert_int_equal(text.num_stop, 1);
	memcpy(text.model_type, c.model_type, sizeof(c.model_type));
	memcpy(text.stop, c.stop, sizeof(c.stop));
	text.num_stop = c.num_stop;
	assert_memory_equal(&c, &text, sizeof(c));
	/* Keys that nobody knows, there as well. */
	write_changed(*state, base_3_5, "\"head_dim\":64", "\"head_dim\":64,\"had_dim\":3");
	assert_int_equal(zw_model_config_notes(*state, collect, notes, &err), 0);
	assert_non_null(strstr(notes, "had_dim"));
	/* Tied at top level. */
	write_changed(*state, base_3_5, "\"tie_word_embeddings\":false",
		      "\"tie_word_embeddings\":true");
	assert_int_equal(llm_model_config_load(*state, &c, &err), 0);
	assert_int_equal(c.tie_word_embeddings, 1);
	for (size_t i = 0; i < sizeof(bad_3_5) / sizeof(bad_3_5[0]); i++)
		expect_bad(*state, base_3_5, &bad_3_5[i]);
	write_changed(*state, base_next, "\"model_type\":\"qwen3_next\"",
		      "\"model_type\":\"qwen3_5_text\"");
	assert_int_equal(llm_model_config_load(*state, &c, &err), -EOPNOTSUPP);
	expect_words("architecture", &err, "architectures|Qwen3NextForCausalLM");
}

/* An adapter's folder is not a model's. */
static void test_adapter(void **state)
{
	struct llm_model_config c = {0};
	struct zw_error err;

	scratch_text(*state, "config.json", base);
	scratch_text(*state, "adapter_config.json", "{}");
	assert_int_equal(llm_model_config_load(*state, &c, &err), -EOPNOTSUPP);
	expect_words("adapter", &err, "adapter_config.json");
}

/* Keys that nobody knows are told of, one line each; nulls and known ones are not. */
static void test_notes(void **state)
{
	char notes[1024] = "";
	struct zw_error err;

	scratch_text(*state, "config.json", base);
	scratch_text(*state, "generation_config.json",
		     "{\"temperature\":1.0,\"use_cache\":true,\"made_up\":null}");
	assert_int_equal(zw_model_config_notes(*state, collect, notes, &err), 0);
	assert_string_equal(notes, "");
	write_mutated(*state, "\"rope_scaling\":null", "\"rope_scalng\":{\"a\":1}");
	scratch_text(*state, "generation_config.json",
		     "{\"temprature\":0.5,\"hidden_size\":3,\"top_p\":1}");
	assert_int_equal(zw_model_config_notes(*state, collect, notes, &err), 0);
	assert_non_null(strstr(notes, "/config.json: key \"rope_scalng\""));
	assert_non_null(strstr(notes, "generation_config.json: key \"temprature\""));
	assert_non_null(strstr(notes, "generation_config.json: key \"hidden_size\""));
	assert_null(strstr(notes, "top_p"));
	scratch_text(*state, "config.json", "{");
	assert_int_equal(zw_model_config_notes(*state, collect, notes, &err), -EBADMSG);
}

static void test_files(void **state)
{
	struct llm_model_config c = {0};
	struct zw_error err;
	char *big;

	assert_int_equal(llm_model_config_load(*state, &c, &err), -ENOENT);
	expect_words("absent", &err, "config.json");
	assert_int_equal(llm_model_config_load("/dev/null", &c, &err), -ENOTDIR);
	big = malloc(3 << 20);
	memset(big, ' ', 3 << 20);
	scratch_write(*state, "config.json", big, 3 << 20);
	free(big);
	assert_int_equal(llm_model_config_load(*state, &c, &err), -EFBIG);
	expect_words("large", &err, "config.json|limit");
	scratch_write(*state, "config.json", "{}\0{}", 5);
	assert_int_equal(llm_model_config_load(*state, &c, &err), -EBADMSG);
	expect_words("NUL", &err, "config.json|NUL");
	scratch_text(*state, "config.json", "[]");
	assert_int_equal(llm_model_config_load(*state, &c, &err), -EBADMSG);
}

static void test_shipped_models(void **state)
{
	static const struct {
		const char *name;
		bool tied;
		uint32_t num_stop, max_position;
		double factor;
	} models[] = {
		{"tiny-qwen3", false, 0, 4096, 1},      {"tiny-qwen3-tied", true, 0, 4096, 1},
		{"tiny-qwen2", true, 0, 4096, 1},       {"tiny-qwen3-yarn", false, 0, 512, 4},
		{"qwen3-kdoc", true, 1, 2048, 1},       {"tiny-qwen3-moe", false, 0, 4096, 1},
		{"tiny-qwen3-next", false, 0, 4096, 1}, {"qwen3next-agent", false, 2, 262144, 1},
		{"tiny-qwen3_5", false, 0, 4096, 1},    {"tiny-qwen3_5-moe", false, 0, 4096, 1},
	};
	const char *dir = test_dir("ZW_TEST_MODELS");

	for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
		struct llm_model_config c = {0};
		struct zw_error err = {""};
		char path[512];

		snprintf(path, sizeof(path), "%s/%s", dir, models[i].name);
		if (llm_model_config_load(path, &c, &err))
			fail_msg("%s", err.msg);
		assert_int_equal(c.tie_word_embeddings, models[i].tied);
		assert_int_equal(c.num_stop, models[i].num_stop);
		assert_int_equal(c.max_position, models[i].max_position);
		assert_true(c.rope.factor == models[i].factor);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_base, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stop_tokens, setup, teardown),
		cmocka_unit_test_setup_teardown(test_variants, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad, setup, teardown),
		cmocka_unit_test_setup_teardown(test_qwen2, setup, teardown),
		cmocka_unit_test_setup_teardown(test_moe, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hybrid, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nested, setup, teardown),
		cmocka_unit_test_setup_teardown(test_yarn, setup, teardown),
		cmocka_unit_test_setup_teardown(test_adapter, setup, teardown),
		cmocka_unit_test_setup_teardown(test_notes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_files, setup, teardown),
		cmocka_unit_test(test_shipped_models),
	};

	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}

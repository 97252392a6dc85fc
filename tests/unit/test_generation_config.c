// SPDX-License-Identifier: MIT
/* generation_config.json: what is applied, with whose defaults, and what is refused by name. */
#include "llm_test.h"

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

static struct zw_generation_config *open_ok(const char *dir, struct zw_sampling_params *sp)
{
	struct zw_generation_config *gc;
	struct zw_error err = {""};

	if (zw_generation_config_open(dir, &gc, &err))
		fail_msg("%s", err.msg);
	*sp = (struct zw_sampling_params){.size = sizeof(*sp)};
	assert_int_equal(zw_generation_config_get_sampling(gc, sp), 0);
	return gc;
}

static void test_all_keys(void **state)
{
	struct zw_generation_config *gc;
	struct zw_sampling_params sp;
	const char *const *stop;
	size_t n;

	scratch_text(*state, "config.json", "{\"eos_token_id\":9,\"top_k\":3}");
	scratch_text(*state, "generation_config.json",
		     "{\"do_sample\":true,\"temperature\":0.6,\"top_k\":20,\"top_p\":0.95,"
		     "\"min_p\":0.1,\"repetition_penalty\":1.05,\"no_repeat_ngram_size\":4,"
		     "\"sequence_bias\":[[[6,2],-3.5],[[1],2]],"
		     "\"bad_words_ids\":[[5],[6,7]],\"min_length\":8,\"min_new_tokens\":2,"
		     "\"suppress_tokens\":[1,-1],\"begin_suppress_tokens\":[2,3],"
		     "\"max_new_tokens\":32,\"max_length\":20,\"stop_strings\":[\"a\",\"bc\"],"
		     "\"eos_token_id\":[7,3]}");
	gc = open_ok(*state, &sp);
	assert_true(sp.temperature == 0.6f && sp.top_p == 0.95f && sp.min_p == 0.1f);
	assert_true(sp.repetition_penalty == 1.05f);
	assert_int_equal(sp.top_k, 20);
	assert_int_equal(sp.no_repeat_ngram, 4);
	assert_int_equal(sp.min_length, 8);
	assert_int_equal(sp.min_new_tokens, 2);
	assert_int_equal(sp.num_bad_words, 2);
	assert_int_equal(sp.bad_words[1].n, 2);
	assert_int_equal(sp.bad_words[1].ids[1], 7);
	assert_int_equal(sp.num_bias, 2);
	assert_int_equal(sp.bias[0].ids.n, 2);
	assert_int_equal(sp.bias[0].ids.ids[1], 2);
	assert_true(sp.bias[0].bias == -3.5f && sp.bias[1].bias == 2);
	assert_int_equal(sp.suppress.n, 1);
	assert_int_equal(sp.suppress.ids[0], 1);
	assert_int_equal(sp.begin_suppress.n, 2);
	assert_int_equal(sp.stop.n, 3); /* of both files */
	assert_int_equal(sp.stop.ids[0], 9);
	assert_int_equal(zw_generation_config_max_tokens(gc, 5), 32);
	stop = zw_generation_config_stop_strings(gc, &n);
	assert_int_equal(n, 2);
	assert_string_equal(stop[1], "bc");
	/* What the sampler takes outlives the configuration. */
	struct zw_sampler *s;
	const float x[] = {0, 9, 1};
	uint32_t id;

	sp.temperature = 0;
	sp.min_length = sp.min_new_tokens = 0;
	assert_int_equal(zw_sampler_open(&sp, &s, NULL), 0);
	zw_generation_config_close(gc);
	assert_int_equal(zw_sampler_pick(s, x, 3, &id, NULL), 0);
	assert_int_equal(id, 0); /* 1 is suppressed, 2 is as the first one */
	zw_sampler_close(s);
}

static void test_defaults(void **state)
{
	struct zw_generation_config *gc;
	struct zw_sampling_params sp;

	/* No file at all: greedy; and when sampling is turned on, transformers' defaults. */
	gc = open_ok(*state, &sp);
	assert_true(sp.temperature == 0 && sp.top_p == 1 && sp.min_p == 0);
	assert_int_equal(sp.top_k, 50);
	assert_true(zw_generation_config_max_tokens(gc, 5) == UINT64_MAX);
	zw_generation_config_close(gc);
	scratch_text(*state, "generation_config.json", "{\"do_sample\":true,\"top_k\":null}");
	gc = open_ok(*state, &sp);
	assert_true(sp.temperature == 1);
	assert_int_equal(sp.top_k, 50);
	zw_generation_config_close(gc);
	scratch_text(*state, "generation_config.json",
		     "{\"do_sample\":false,\"temperature\":0.6,\"top_k\":0,\"max_length\":20}");
	gc = open_ok(*state, &sp);
	assert_true(sp.temperature == 0);
	assert_int_equal(sp.top_k, 0);
	assert_int_equal(zw_generation_config_max_tokens(gc, 5), 15);
	assert_int_equal(zw_generation_config_max_tokens(gc, 25), 0);
	zw_generation_config_close(gc);
	sp.size = 4;
	gc = NULL;
	assert_int_equal(zw_generation_config_open(NULL, &gc, NULL), -EINVAL);
	assert_null(gc);
}

/* Older folders have the keys in config.json; its max_length is a default of long ago. */
static void test_from_config(void **state)
{
	struct zw_generation_config *gc;
	struct zw_sampling_params sp;
	struct zw_error err = {""};

	scratch_text(*state, "config.json",
		     "{\"repetition_penalty\":1.5,\"max_length\":20,\"eos_token_id\":4}");
	gc = open_ok(*state, &sp);
	assert_true(sp.repetition_penalty == 1.5f);
	assert_int_equal(sp.stop.n, 1);
	assert_true(zw_generation_config_max_tokens(gc, 5) == UINT64_MAX);
	zw_generation_config_close(gc);
	scratch_text(*state, "config.json", "{\"num_beams\":3}");
	assert_int_equal(zw_generation_config_open(*state, &gc, &err), -EOPNOTSUPP);
	expect_words("beams", &err, "config.json|num_beams");
	/* With a file of their own they mean nothing there. */
	scratch_text(*state, "generation_config.json", "{}");
	gc = open_ok(*state, &sp);
	zw_generation_config_close(gc);
}

static const struct {
	const char *text;
	int code;
	const char *words;
} bad[] = {
	{"[]", -EBADMSG, "object"},
	{"{", -EBADMSG, "JSON"},
	{"{\"top_p\":1.5}", -EBADMSG, "top_p"},
	{"{\"top_k\":-1}", -EBADMSG, "top_k"},
	{"{\"do_sample\":1}", -EBADMSG, "do_sample"},
	{"{\"do_sample\":true,\"do_sample\":false}", -EBADMSG, "do_sample|twice"},
	{"{\"repetition_penalty\":0}", -EBADMSG, "repetition_penalty"},
	{"{\"repetition_penalty\":\"1\"}", -EBADMSG, "repetition_penalty"},
	{"{\"no_repeat_ngram_size\":1.5}", -EBADMSG, "no_repeat_ngram_size"},
	{"{\"bad_words_ids\":[1]}", -EBADMSG, "bad_words_ids[0]"},
	{"{\"bad_words_ids\":[[1],[]]}", -EBADMSG, "bad_words_ids[1]"},
	{"{\"bad_words_ids\":[[1,-1]]}", -EBADMSG, "bad_words_ids[0]"},
	{"{\"bad_words_ids\":7}", -EBADMSG, "bad_words_ids"},
	{"{\"suppress_tokens\":[\"a\"]}", -EBADMSG, "suppress_tokens"},
	{"{\"begin_suppress_tokens\":{}}", -EBADMSG, "begin_suppress_tokens"},
	{"{\"stop_strings\":[\"\"]}", -EBADMSG, "stop_strings"},
	{"{\"stop_strings\":3}", -EBADMSG, "stop_strings"},
	{"{\"max_new_tokens\":-2}", -EBADMSG, "max_new_tokens"},
	{"{\"eos_token_id\":\"</s>\"}", -EBADMSG, "eos_token_id"},
	{"{\"eos_token_id\":[7,2.5]}", -EBADMSG, "eos_token_id"},
	{"{\"eos_token_id\":1e300}", -EBADMSG, "eos_token_id"},
	{"{\"num_beams\":2}", -EOPNOTSUPP, "num_beams"},
	{"{\"num_beam_groups\":2}", -EOPNOTSUPP, "num_beam_groups"},
	{"{\"penalty_alpha\":0.6}", -EOPNOTSUPP, "penalty_alpha"},
	{"{\"dola_layers\":\"high\"}", -EOPNOTSUPP, "dola_layers"},
	{"{\"top_h\":0.4}", -EOPNOTSUPP, "top_h"},
	{"{\"typical_p\":0.9}", -EOPNOTSUPP, "typical_p"},
	{"{\"epsilon_cutoff\":0.1}", -EOPNOTSUPP, "epsilon_cutoff"},
	{"{\"eta_cutoff\":0.1}", -EOPNOTSUPP, "eta_cutoff"},
	{"{\"diversity_penalty\":1}", -EOPNOTSUPP, "diversity_penalty"},
	{"{\"encoder_repetition_penalty\":2}", -EOPNOTSUPP, "encoder_repetition_penalty"},
	{"{\"encoder_no_repeat_ngram_size\":2}", -EOPNOTSUPP, "encoder_no_repeat_ngram_size"},
	{"{\"force_words_ids\":[[1]]}", -EOPNOTSUPP, "force_words_ids"},
	{"{\"constraints\":[1]}", -EOPNOTSUPP, "constraints"},
	{"{\"forced_bos_token_id\":1}", -EOPNOTSUPP, "forced_bos_token_id"},
	{"{\"forced_eos_token_id\":1}", -EOPNOTSUPP, "forced_eos_token_id"},
	{"{\"forced_decoder_ids\":[[1,2]]}", -EOPNOTSUPP, "forced_decoder_ids"},
	{"{\"remove_invalid_values\":true}", -EOPNOTSUPP, "remove_invalid_values"},
	{"{\"exponential_decay_length_penalty\":[5,1.1]}", -EOPNOTSUPP,
	 "exponential_decay_length_penalty"},
	{"{\"sequence_bias\":7}", -EBADMSG, "sequence_bias"},
	{"{\"sequence_bias\":{\"1\":2}}", -EBADMSG, "sequence_bias"},
	{"{\"sequence_bias\":[[[1],-1.0],[[2]]]}", -EBADMSG, "sequence_bias[1]"},
	{"{\"sequence_bias\":[[[],-1.0]]}", -EBADMSG, "sequence_bias[0]"},
	{"{\"sequence_bias\":[[[-1],-1.0]]}", -EBADMSG, "sequence_bias[0]"},
	{"{\"sequence_bias\":[[[1],\"x\"]]}", -EBADMSG, "sequence_bias[0]"},
	{"{\"sequence_bias\":[[[1],1e300]]}", -EBADMSG, "sequence_bias[0]"},
	{"{\"generation_kwargs\":{\"a\":1}}", -EOPNOTSUPP, "generation_kwargs"},
	{"{\"custom_generate\":\"x\"}", -EOPNOTSUPP, "custom_generate"},
	{"{\"token_healing\":true}", -EOPNOTSUPP, "token_healing"},
	{"{\"guidance_scale\":1.5}", -EOPNOTSUPP, "guidance_scale"},
	{"{\"watermarking_config\":{}}", -EOPNOTSUPP, "watermarking_config"},
	{"{\"num_return_sequences\":2}", -EOPNOTSUPP, "num_return_sequences"},
	{"{\"max_time\":1}", -EOPNOTSUPP, "max_time"},
};

static void test_bad(void **state)
{
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct zw_generation_config *gc = NULL;
		struct zw_error err = {""};
		int ret;

		scratch_text(*state, "generation_config.json", bad[i].text);
		ret = zw_generation_config_open(*state, &gc, &err);
		if (ret != bad[i].code)
			fail_msg("%s: %d (%s), expected %d", bad[i].text, ret, err.msg,
				 bad[i].code);
		assert_null(gc);
		expect_words(bad[i].text, &err, "generation_config.json");
		expect_words(bad[i].text, &err, bad[i].words);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_all_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(test_defaults, setup, teardown),
		cmocka_unit_test_setup_teardown(test_from_config, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad, setup, teardown),
	};

	return cmocka_run_group_tests_name("generation_config", tests, NULL, NULL);
}

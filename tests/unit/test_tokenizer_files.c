// SPDX-License-Identifier: MIT
/*
 * Tokenizers as fine-tunes leave them: added tokens of all kinds, in all the files that may hold
 * them, and post-processors. The ids are those of tokenizers 0.23.1 with qwen3-kdoc's vocabulary.
 */
#include "llm_test.h"

#include <cjson/cJSON.h>

static char *kdoc_json;

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

static int read_kdoc(void **state)
{
	char path[512];
	size_t cap = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/qwen3-kdoc/tokenizer.json", test_dir("ZW_TEST_MODELS"));
	f = fopen(path, "rb");
	assert_non_null(f);
	assert_true(getdelim(&kdoc_json, &cap, '\0', f) > 0);
	fclose(f);
	return 0;
}

static int free_kdoc(void **state)
{
	free(kdoc_json);
	return 0;
}

/* kdoc's tokenizer.json with one piece of text replaced, or as it is. */
static void write_kdoc(const char *dir, const char *from, const char *to)
{
	size_t size = strlen(kdoc_json) + 1024;
	char *text = malloc(size), *at = strstr(kdoc_json, from ? from : "");

	if (!at)
		fail_msg("\"%s\" is not in tokenizer.json", from);
	snprintf(text, size, "%.*s%s%s", (int)(at - kdoc_json), kdoc_json, to ? to : "",
		 at + (from ? strlen(from) : 0));
	scratch_text(dir, "tokenizer.json", text);
	free(text);
}

/* kdoc with one more added token: id 4096, and these flags. */
static void write_token(const char *dir, const char *content, const char *flags)
{
	char to[512];

	snprintf(to, sizeof(to), "\"added_tokens\": [{\"id\":4096,\"content\":\"%s\",%s},", content,
		 flags);
	write_kdoc(dir, "\"added_tokens\": [", to);
}

static struct zw_tokenizer *open_ok(const char *dir)
{
	struct zw_tokenizer *t;
	struct zw_error err = {""};

	if (zw_tokenizer_open(dir, &t, &err))
		fail_msg("%s", err.msg);
	return t;
}

static void expect_ids(const struct zw_tokenizer *t, const char *text, uint32_t flags,
		       const uint32_t *want, size_t n)
{
	struct zw_error err = {""};
	uint32_t *ids;
	size_t got;

	if (zw_tokenizer_encode(t, text, strlen(text), flags, &ids, &got, &err))
		fail_msg("%s", err.msg);
	for (size_t i = 0; i < got && (got != n || memcmp(ids, want, n * sizeof(*ids))); i++)
		print_message("\"%s\": %u\n", text, ids[i]);
	assert_int_equal(got, n);
	if (n)
		assert_memory_equal(ids, want, n * sizeof(*ids));
	free(ids);
}

#define IDS(...)                                                                                   \
	(const uint32_t[]){__VA_ARGS__}, sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t)

static void expect_refused(const char *dir, int code, const char *words)
{
	struct zw_tokenizer *t = NULL;
	struct zw_error err = {""};
	int ret = zw_tokenizer_open(dir, &t, &err);

	if (ret != code)
		fail_msg("%s: %d (%s), expected %d", words, ret, err.msg, code);
	assert_null(t);
	expect_words("refused", &err, words);
}

/* Text is tokenised as if the added token were not there. */
static void expect_plain(const struct zw_tokenizer *t, const char *text)
{
	uint32_t *ids;
	size_t n;

	assert_int_equal(
		zw_tokenizer_encode(t, text, strlen(text), ZW_ENCODE_NO_ADDED, &ids, &n, NULL), 0);
	expect_ids(t, text, 0, ids, n);
	free(ids);
}

#define FLAGS(lstrip, rstrip, single, norm, special)                                               \
	"\"lstrip\":" #lstrip ",\"rstrip\":" #rstrip ",\"single_word\":" #single                   \
	",\"normalized\":" #norm ",\"special\":" #special

static void test_flags(void **state)
{
	const char *dir = *state;
	struct zw_tokenizer *t;

	write_token(dir, "<tag>", FLAGS(false, false, false, true, false));
	t = open_ok(dir);
	expect_ids(t, "a <tag> b", 0, IDS(64, 220, 4096, 270));
	expect_ids(t, "a<tag><|im_end|><tag>", 0, IDS(64, 4096, 4095, 4096));
	zw_tokenizer_close(t);

	write_token(dir, "<tag>", FLAGS(true, false, false, true, false));
	t = open_ok(dir);
	expect_ids(t, "a <tag> b", 0, IDS(64, 4096, 270));
	expect_ids(t, "a \xe3\x80\x80\t\xc2\xa0<tag> b", 0, IDS(64, 4096, 270));
	expect_ids(t, " <tag> <tag>", 0, IDS(4096, 4096));
	zw_tokenizer_close(t);

	write_token(dir, "<tag>", FLAGS(false, true, false, false, true));
	t = open_ok(dir);
	expect_ids(t, "a <tag> \n b", 0, IDS(64, 220, 4096, 65));
	expect_ids(t, "<tag>  ", 0, IDS(4096));
	zw_tokenizer_close(t);

	write_token(dir, "<tag>", FLAGS(true, true, false, false, true));
	t = open_ok(dir);
	expect_ids(t, "a <tag> <tag> b", 0, IDS(64, 4096, 4096, 65));
	/* White space that is no whole character stays. */
	expect_ids(t, "<tag>\xe3\x80", 0, IDS(4096, 159, 222));
	zw_tokenizer_close(t);

	write_token(dir, "tag", FLAGS(false, false, true, false, false));
	t = open_ok(dir);
	expect_ids(t, "tag", 0, IDS(4096));
	expect_ids(t, "a.tag!", 0, IDS(64, 13, 4096, 0));
	expect_plain(t, "xtag");
	expect_plain(t, "tag\xc3\xa9");
	expect_plain(t, "tag_");
	expect_plain(t, "\xd0\xb6tag");
	zw_tokenizer_close(t);
}

/* A normalised token is looked for in normalised text, and is normalised itself. */
static void test_normalized(void **state)
{
	const char *dir = *state;
	struct zw_tokenizer *t;

	write_token(dir, "caf\xc3\xa9", FLAGS(false, false, false, true, false));
	t = open_ok(dir);
	expect_ids(t, "cafe\xcc\x81", 0, IDS(4096));
	expect_ids(t, "caf\xc3\xa9", 0, IDS(4096));
	zw_tokenizer_close(t);
	write_token(dir, "cafe\xcc\x81", FLAGS(false, false, false, true, false));
	t = open_ok(dir);
	expect_ids(t, "caf\xc3\xa9", 0, IDS(4096));
	zw_tokenizer_close(t);
	write_token(dir, "caf\xc3\xa9", FLAGS(false, false, false, false, false));
	t = open_ok(dir);
	expect_ids(t, "caf\xc3\xa9", 0, IDS(4096));
	expect_plain(t, "cafe\xcc\x81");
	zw_tokenizer_close(t);
	/* Tokens not normalised go first, wherever they stand. */
	write_token(dir, "x<|im_end|>", FLAGS(false, false, false, true, false));
	t = open_ok(dir);
	expect_ids(t, "x<|im_end|>", 0, IDS(87, 4095));
	zw_tokenizer_close(t);
}

#define TAG_OBJECT(special)                                                                        \
	"{\"content\":\"<tag>\",\"lstrip\":false,\"normalized\":true,\"rstrip\":false,"            \
	"\"single_word\":false,\"special\":" #special "}"

/* One more token in each of the files that may hold it. */
static void test_sidecars(void **state)
{
	static const struct {
		const char *file, *text;
		uint32_t flags;
	} cases[] = {
		{"added_tokens.json", "{\"<tag>\": 4096}", ZW_TOKEN_ADDED},
		{"added_tokens.json", "{\"<tag>\": 4096, \"<|im_end|>\": 4095}", ZW_TOKEN_ADDED},
		{"tokenizer_config.json",
		 "{\"added_tokens_decoder\":{\"4096\":" TAG_OBJECT(false) "}}", ZW_TOKEN_ADDED},
		{"tokenizer_config.json",
		 "{\"added_tokens_decoder\":{\"4096\":" TAG_OBJECT(true) "}}",
		 ZW_TOKEN_ADDED | ZW_TOKEN_SPECIAL},
		{"tokenizer_config.json", "{\"pad_token\":\"<tag>\",\"bos_token\":null}",
		 ZW_TOKEN_ADDED | ZW_TOKEN_SPECIAL},
		{"tokenizer_config.json", "{\"eos_token\":" TAG_OBJECT(false) "}",
		 ZW_TOKEN_ADDED | ZW_TOKEN_SPECIAL},
		{"tokenizer_config.json", "{\"additional_special_tokens\":[\"<tag>\"]}",
		 ZW_TOKEN_ADDED | ZW_TOKEN_SPECIAL},
		{"tokenizer_config.json", "{\"extra_special_tokens\":{\"image_token\":\"<tag>\"}}",
		 ZW_TOKEN_ADDED | ZW_TOKEN_SPECIAL},
		{"special_tokens_map.json",
		 "{\"additional_special_tokens\":[" TAG_OBJECT(true) "]}",
		 ZW_TOKEN_ADDED | ZW_TOKEN_SPECIAL},
		{"special_tokens_map.json", "{\"unk_token\":\"<tag>\"}",
		 ZW_TOKEN_ADDED | ZW_TOKEN_SPECIAL},
	};
	const char *dir = *state;

	write_kdoc(dir, NULL, NULL);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct zw_tokenizer *t;
		const char *bytes;
		uint32_t flags;
		size_t len;
		char path[512];

		scratch_text(dir, cases[i].file, cases[i].text);
		t = open_ok(dir);
		expect_ids(t, "a <tag> b", 0, IDS(64, 220, 4096, 270));
		expect_ids(t, "<|im_end|>", 0, IDS(4095));
		assert_int_equal(zw_tokenizer_size(t), 4097);
		assert_int_equal(zw_tokenizer_find(t, "<tag>", 5), 4096);
		assert_int_equal(zw_tokenizer_token(t, 4096, &bytes, &len, &flags), 0);
		if (flags != cases[i].flags)
			fail_msg("%s: flags %x", cases[i].text, flags);
		zw_tokenizer_close(t);
		snprintf(path, sizeof(path), "%s/%s", dir, cases[i].file);
		unlink(path);
	}
}

/* Which file goes before which. */
static void test_precedence(void **state)
{
	const char *dir = *state;
	struct zw_tokenizer *t;

	write_kdoc(dir, NULL, NULL);
	/* Two files, ids in order whatever the order in them. */
	scratch_text(dir, "added_tokens.json", "{\"<y>\": 4097, \"<x>\": 4096}");
	scratch_text(dir, "special_tokens_map.json",
		     "{\"additional_special_tokens\":[\"<x>\"],\"eos_token\":\"<z>\"}");
	t = open_ok(dir);
	expect_ids(t, "<x><y><z>", 0, IDS(4096, 4097, 4098));
	zw_tokenizer_close(t);
	/* With an added_tokens_decoder the two are not read, even when they are wrong. */
	scratch_text(dir, "added_tokens.json", "{\"<y>\": 7000}");
	scratch_text(dir, "tokenizer_config.json",
		     "{\"added_tokens_decoder\":{\"4096\":" TAG_OBJECT(
			     false) ",\"4095\":{\"content\":\"<|im_end|>\",\"lstrip\":true,"
				    "\"special\":true}}}");
	t = open_ok(dir);
	expect_ids(t, "a <tag> <|im_end|>", 0, IDS(64, 220, 4096, 4095)); /* its lstrip holds */
	assert_int_equal(zw_tokenizer_find(t, "<y>", 3), -ENOENT);
	zw_tokenizer_close(t);
	/* The file alone is the file alone. */
	char path[512];

	snprintf(path, sizeof(path), "%s/tokenizer.json", dir);
	t = open_ok(path);
	assert_int_equal(zw_tokenizer_find(t, "<tag>", 5), -ENOENT);
	zw_tokenizer_close(t);
}

static void test_bad_sidecars(void **state)
{
	static const struct {
		const char *file, *text;
		int code;
		const char *words;
	} cases[] = {
		{"added_tokens.json", "{\"<tag>\": 5000}", -EBADMSG, "<tag>|5000|4096"},
		{"added_tokens.json", "{\"<|im_end|>\": 17}", -EBADMSG, "<|im_end|>|17|4095"},
		{"added_tokens.json", "{\"<tag>\": \"4096\"}", -EBADMSG, "<tag>"},
		{"added_tokens.json", "{\"<tag>\": -1}", -EBADMSG, "<tag>"},
		{"added_tokens.json", "[]", -EBADMSG, "object"},
		{"special_tokens_map.json", "{", -EBADMSG, "JSON"},
		{"special_tokens_map.json", "{\"eos_token\":7}", -EBADMSG, "eos_token"},
		{"tokenizer_config.json", "{\"added_tokens_decoder\":[]}", -EBADMSG,
		 "added_tokens_decoder"},
		{"tokenizer_config.json", "{\"added_tokens_decoder\":{\"x\":" TAG_OBJECT(true) "}}",
		 -EBADMSG, "added_tokens_decoder|x"},
		{"tokenizer_config.json", "{\"added_tokens_decoder\":{\"9\":" TAG_OBJECT(true) "}}",
		 -EBADMSG, "<tag>|9|4096"},
		{"tokenizer_config.json", "{\"extra_special_tokens\":\"a\"}", -EBADMSG,
		 "extra_special_tokens"},
		{"tokenizer_config.json", "{\"extra_special_tokens\":[1]}", -EBADMSG,
		 "extra_special_tokens"},
		{"tokenizer_config.json", "{\"add_prefix_space\":true}", -EOPNOTSUPP,
		 "add_prefix_space"},
		{"tokenizer_config.json", "{\"clean_up_tokenization_spaces\":true}", -EOPNOTSUPP,
		 "clean_up_tokenization_spaces"},
		{"tokenizer_config.json", "{\"add_bos_token\":1}", -EBADMSG, "add_bos_token"},
		{"tokenizer_config.json", "{\"split_special_tokens\":1}", -EBADMSG,
		 "split_special_tokens"},
		{"tokenizer_config.json", "{\"chat_template\":1}", -EBADMSG, "chat_template"},
	};
	const char *dir = *state;

	write_kdoc(dir, NULL, NULL);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char path[512];

		scratch_text(dir, cases[i].file, cases[i].text);
		expect_refused(dir, cases[i].code, cases[i].file);
		expect_refused(dir, cases[i].code, cases[i].words);
		snprintf(path, sizeof(path), "%s/%s", dir, cases[i].file);
		unlink(path);
	}
}

#define SPECIAL(t) "{\"SpecialToken\":{\"id\":\"" t "\",\"type_id\":0}}"
#define TEXT       "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}"
#define TEMPLATE(single)                                                                           \
	"{\"type\":\"TemplateProcessing\",\"single\":[" single "],\"pair\":[],\"special_tokens\":" \
	"{\"<|endoftext|>\":{\"id\":\"<|endoftext|>\",\"ids\":[4093],\"tokens\":"                  \
	"[\"<|endoftext|>\"]},\"two\":{\"id\":\"two\",\"ids\":[4094,4095],\"tokens\":[]},"         \
	"\"none\":{\"ids\":[9999]}}}"

static void write_post(const char *dir, const char *post)
{
	char to[1024];

	snprintf(to, sizeof(to), "\"post_processor\": %s,\"ignored\": {", post);
	write_kdoc(dir, "\"post_processor\": {", to);
}

static void test_post_processor(void **state)
{
	const char *dir = *state;
	struct zw_tokenizer *t;

	write_post(dir, TEMPLATE(TEXT "," SPECIAL("<|endoftext|>")));
	t = open_ok(dir);
	expect_ids(t, "The driver", 0, IDS(318, 400, 4093));
	expect_ids(t, "The driver", ZW_ENCODE_NO_ADDED, IDS(318, 400, 4093));
	expect_ids(t, "The driver", ZW_ENCODE_NO_TEMPLATE, IDS(318, 400));
	expect_ids(t, "", 0, IDS(4093));
	zw_tokenizer_close(t);
	/* tokenizer_config.json's word goes before it. */
	scratch_text(dir, "tokenizer_config.json",
		     "{\"add_bos_token\":true,\"bos_token\":\"<|im_start|>\"}");
	t = open_ok(dir);
	expect_ids(t, "The driver", 0, IDS(4094, 318, 400));
	zw_tokenizer_close(t);
	scratch_text(dir, "tokenizer_config.json",
		     "{\"add_bos_token\":false,\"add_eos_token\":true,\"bos_token\":null,"
		     "\"eos_token\":\"<|im_end|>\"}");
	t = open_ok(dir);
	expect_ids(t, "The driver", 0, IDS(318, 400, 4095));
	zw_tokenizer_close(t);
	scratch_text(dir, "tokenizer_config.json", "{\"add_bos_token\":true}");
	t = open_ok(dir);
	expect_ids(t, "The driver", 0, IDS(318, 400)); /* no bos_token to add */
	zw_tokenizer_close(t);
	scratch_text(dir, "tokenizer_config.json", "{}");

	write_post(dir, "{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"}," TEMPLATE(
				SPECIAL("two") "," TEXT "," SPECIAL("two")) "]}");
	t = open_ok(dir);
	expect_ids(t, "a", 0, IDS(4094, 4095, 64, 4094, 4095));
	zw_tokenizer_close(t);
	write_post(dir, "null");
	t = open_ok(dir);
	expect_ids(t, "a", 0, IDS(64));
	zw_tokenizer_close(t);

	write_post(dir, TEMPLATE(TEXT "," TEXT));
	expect_refused(dir, -EOPNOTSUPP, "tokenizer.json|post_processor");
	write_post(dir, TEMPLATE(SPECIAL("two")));
	expect_refused(dir, -EOPNOTSUPP, "tokenizer.json|post_processor");
	write_post(dir, TEMPLATE(TEXT "," SPECIAL("other")));
	expect_refused(dir, -EBADMSG, "tokenizer.json|post_processor|other");
	write_post(dir, TEMPLATE(TEXT "," SPECIAL("none")));
	expect_refused(dir, -EBADMSG, "tokenizer.json|post_processor|none");
	write_post(dir, "{\"type\":\"RobertaProcessing\"}");
	expect_refused(dir, -EOPNOTSUPP, "post_processor|RobertaProcessing");
}

static void test_switches(void **state)
{
	const char *dir = *state;
	struct zw_tokenizer *t;

	write_kdoc(dir, NULL, NULL);
	scratch_text(dir, "tokenizer_config.json",
		     "{\"split_special_tokens\":true,\"additional_special_tokens\":[],"
		     "\"chat_template\":\"{{ x }}\",\"clean_up_tokenization_spaces\":false,"
		     "\"add_prefix_space\":false,\"tokenizer_class\":\"Qwen2Tokenizer\"}");
	t = open_ok(dir);
	expect_plain(t, "a<|im_end|>b");
	assert_string_equal(zw_tokenizer_chat_template(t), "{{ x }}");
	zw_tokenizer_close(t);
	scratch_text(dir, "tokenizer_config.json",
		     "{\"chat_template\":[{\"name\":\"rag\",\"template\":\"r\"},"
		     "{\"name\":\"default\",\"template\":\"d\"}]}");
	t = open_ok(dir);
	assert_string_equal(zw_tokenizer_chat_template(t), "d");
	zw_tokenizer_close(t);
	scratch_text(dir, "chat_template.jinja", "of the file");
	t = open_ok(dir);
	assert_string_equal(zw_tokenizer_chat_template(t), "of the file");
	zw_tokenizer_close(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_flags, setup, teardown),
		cmocka_unit_test_setup_teardown(test_normalized, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sidecars, setup, teardown),
		cmocka_unit_test_setup_teardown(test_precedence, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_sidecars, setup, teardown),
		cmocka_unit_test_setup_teardown(test_post_processor, setup, teardown),
		cmocka_unit_test_setup_teardown(test_switches, setup, teardown),
	};

	return cmocka_run_group_tests_name("tokenizer files", tests, read_kdoc, free_kdoc);
}

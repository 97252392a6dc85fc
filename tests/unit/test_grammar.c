// SPDX-License-Identifier: MIT
/* Schemas: texts that are documents and texts that are not, refusals, masks, tool calls. */
#include "llm_test.h"

#include <math.h>

static struct zw_tokenizer *tok;
static struct zw_grammar_vocab *vocab;

static int open_vocab(void **state)
{
	char path[512];
	struct zw_error err = {""};

	snprintf(path, sizeof(path), "%s/qwen3-kdoc", test_dir("ZW_TEST_MODELS"));
	if (zw_tokenizer_open(path, &tok, &err) || zw_grammar_vocab_open(tok, &vocab, &err))
		fail_msg("%s", err.msg);
	return 0;
}

static int close_vocab(void **state)
{
	zw_grammar_vocab_close(vocab);
	zw_tokenizer_close(tok);
	return 0;
}

static struct zw_grammar *open_schema(const char *schema, uint32_t flags)
{
	struct zw_error err = {""};
	struct zw_grammar *g;

	if (zw_grammar_open_schema(schema, strlen(schema), flags, &g, &err))
		fail_msg("%s: %s", schema, err.msg);
	return g;
}

static struct zw_grammar_matcher *open_matcher(const struct zw_grammar *g)
{
	struct zw_error err = {""};
	struct zw_grammar_matcher *m;

	if (zw_grammar_matcher_open(g, vocab, NULL, &m, &err))
		fail_msg("%s", err.msg);
	return m;
}

static bool is_document(const struct zw_grammar *g, const char *text)
{
	struct zw_grammar_matcher *m = open_matcher(g);
	bool good = !zw_grammar_matcher_accept_bytes(m, text, strlen(text)) &&
		    zw_grammar_matcher_status(m) >= ZW_GRAMMAR_COMPLETE;

	zw_grammar_matcher_close(m);
	return good;
}

#define MANY 12
static const struct {
	const char *schema;
	const char *yes[MANY], *no[MANY];
} cases[] = {
	{"true",
	 {"null", "-0.5e+10", "[1, {\"a\": \"\\u00e9\\ud83d\\ude00\"}]", "{}", "\"\xc3\xa9\""},
	 {"nul", "01", "[1,]", "{,}", "{\"a\" 1}", "\"\\ud83d\"", "\"\\udc00\"", "\"\x01\"",
	  "\"\xff\"", "\"\xed\xa0\x80\"", "1.", "\"\\x\""}},
	{"{\"type\":\"integer\"}",
	 {"0", "-17", "123456789012345678"},
	 {"1.0", "1e3", "1234567890123456789", "+1", "null"}},
	{"{\"type\":\"integer\",\"minimum\":-12,\"maximum\":105}",
	 {"-12", "-9", "-0", "0", "9", "99", "100", "105"},
	 {"-13", "-20", "106", "110", "1000", "-100", "05"}},
	{"{\"type\":\"integer\",\"exclusiveMinimum\":9.5,\"exclusiveMaximum\":12}",
	 {"10", "11"},
	 {"9", "12", "1", "-11"}},
	{"{\"type\":\"integer\",\"minimum\":9007199254740991}",
	 {"9007199254740991", "100000000000000000"},
	 {"9007199254740990", "1", "-9007199254740999"}},
	{"{\"type\":\"number\",\"minimum\":-0.25,\"exclusiveMaximum\":1.5}",
	 {"-0.25", "-0.2", "0", "1.49", "1.4999999", "-0.000"},
	 {"-0.26", "-1", "1.5", "1.50", "1.51", "2", "1e0"}},
	{"{\"type\":\"number\",\"minimum\":0,\"exclusiveMaximum\":0}", {NULL}, {NULL}},
	{"{\"type\":\"number\",\"exclusiveMaximum\":0}", {"-1", "-0.5"}, {"0", "-0", "-0.0", "1"}},
	{"{\"type\":[\"null\",\"boolean\"]}", {"null", "true", "false"}, {"0", "\"\""}},
	{"{\"type\":\"boolean\",\"nullable\":true}", {"null", "true"}, {"0"}},
	{"{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}",
	 {"\"ab\"", "\"\xc3\xa9\xe6\xad\xa6\"", "\"\\n\\u0041z\"", "\"\\ud83d\\ude00x\""},
	 {"\"a\"", "\"abcd\"", "\"\"", "\"\\ud83d\\ude00\""}},
	{"{\"type\":\"string\",\"pattern\":\"^[a-c]+(-\\\\d{2})?$\"}",
	 {"\"a\"", "\"cab-07\""},
	 {"\"\"", "\"d\"", "\"a-7\"", "\"a-077\"", "\"\\u0061\""}},
	{"{\"type\":\"string\",\"pattern\":\"b.d|^x$\"}",
	 {"\"abcde\"", "\"x\"",
	  "\"b\xc3\xa9"
	  "d\""},
	 {"\"bd\"", "\"xx\"", "\"b\\nd\""}},
	{"{\"type\":\"string\",\"pattern\":\"^[^\\\"]{2}$\",\"maxLength\":5}",
	 {"\"ab\"", "\"\\n\\\\\"", "\"\\u0001x\""},
	 {"\"\\\"a\"", "\"a\""}},
	{"{\"type\":\"string\",\"pattern\":\"^a{2,3}b*?c+$\",\"minLength\":5}",
	 {"\"aabbc\"", "\"aaccc\"", "\"aaabc\""},
	 {"\"aabc\"", "\"aaaabc\"", "\"aabb\""}},
	{"{\"format\":\"date\"}",
	 {"\"2024-12-31\"", "\"1999-02-28\""},
	 {"\"2024-02-30\"", "\"2024-13-01\"", "3"}},
	{"{\"format\":\"ipv4\"}",
	 {"\"10.0.255.1\""},
	 {"\"256.1.1.1\"", "\"1.1.1\"", "\"01.1.1.1\""}},
	{"{\"enum\":[1,\"a\\\"b\",null,{\"k\":[1,2]}]}",
	 {"1", "\"a\\\"b\"", "null", "{\"k\":[1,2]}"},
	 {"2", "\"a\"", "{\"k\": [1,2]}"}},
	{"{\"type\":\"string\",\"enum\":[1,\"a\"]}", {"\"a\""}, {"1"}},
	{"{\"const\":[]}", {"[]"}, {"[ ]", "{}"}},
	{"{\"type\":\"array\",\"items\":{\"type\":\"null\"},\"minItems\":1,\"maxItems\":2}",
	 {"[null]", "[null,null]", "[ null, null ]", "[\n  null\n]"},
	 {"[]", "[null,null,null]", "[null,]", "[,null]", "[null null]"}},
	{"{\"type\":\"array\",\"items\":{\"const\":1}}",
	 {"[]", "[1]", "[1,1,1]"},
	 {"[1,]", "[,]", "[2]"}},
	{"{\"type\":\"array\",\"prefixItems\":[{\"const\":1},{\"const\":2}],\"items\":{\"const\":3}"
	 "}",
	 {"[]", "[1]", "[1,2]", "[1,2,3,3]"},
	 {"[2]", "[1,3]", "[1,2,2]"}},
	{"{\"items\":[{\"const\":1}],\"additionalItems\":false}", {"[]", "[1]"}, {"[1,1]", "1"}},
	{"{\"type\":\"object\",\"properties\":{\"a\":{\"const\":1},\"b\":{\"const\":2},\"c\":{"
	 "\"const\":3}},"
	 "\"required\":[\"b\"]}",
	 {"{\"b\":2}", "{\"a\":1,\"b\":2}", "{\"b\":2,\"c\":3}", "{\"a\": 1, \"b\": 2, \"c\": 3}"},
	 {"{}", "{\"a\":1}", "{\"b\":2,\"a\":1}", "{\"b\":2,}", "{\"b\":2,\"d\":0}", "{,\"b\":2}"}},
	{"{\"properties\":{\"ab\":{\"const\":1}},\"additionalProperties\":{\"const\":2}}",
	 {"{}", "{\"ab\":1}", "{\"a\":2}", "{\"ab\":1,\"abc\":2,\"\":2,\"\xc3\xa9\":2}",
	  "{\"b\":2,\"ac\":2}"},
	 {"{\"ab\":2}", "{\"a\":1}", "{\"b\":2,\"ab\":1}", "{\"\\u0061b\":2}"}},
	{"{\"type\":\"object\",\"required\":[\"k\",\"k\"],\"additionalProperties\":{\"const\":2}}",
	 {"{\"k\":2}", "{\"k\":2,\"l\":2}"},
	 {"{}", "{\"l\":2}", "{\"k\":1}"}},
	{"{\"type\":\"object\",\"additionalProperties\":false}",
	 {"{}", "{ }"},
	 {"{\"a\":1}", "[]"}},
	{"{\"anyOf\":[{\"const\":1},{\"type\":\"string\",\"maxLength\":1}]}",
	 {"1", "\"x\"", "\"\""},
	 {"2", "\"xx\""}},
	{"{\"type\":\"object\",\"properties\":{\"t\":{\"type\":\"string\"}},\"required\":[\"t\"],"
	 "\"anyOf\":["
	 "{\"properties\":{\"t\":{\"enum\":[\"x\"]},\"n\":{\"const\":1}},\"required\":[\"n\"]},"
	 "{\"properties\":{\"t\":{\"const\":\"y\"}}}]}",
	 {"{\"t\":\"x\",\"n\":1}", "{\"t\":\"y\"}"},
	 {"{\"t\":\"x\"}", "{\"t\":\"z\"}", "{\"t\":\"y\",\"n\":1}"}},
	{"{\"allOf\":[{\"type\":\"number\",\"minimum\":3},{\"type\":\"integer\",\"maximum\":5,"
	 "\"minimum\":1}]}",
	 {"3", "4", "5"},
	 {"2", "6", "3.5"}},
	{"{\"allOf\":[{\"$ref\":\"#/$defs/"
	 "a\"},{\"required\":[\"x\"]}],\"$defs\":{\"a\":{\"type\":\"object\","
	 "\"properties\":{\"x\":{\"const\":1},\"y\":{\"const\":2}}}}}",
	 {"{\"x\":1}", "{\"x\":1,\"y\":2}"},
	 {"{}", "{\"y\":2}"}},
	{"{\"$ref\":\"#/$defs/a~1b%25\",\"$defs\":{\"a/b%\":{\"const\":7}}}", {"7"}, {"8"}},
	{"{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"null\"},\"n\":{\"$ref\":\"#\"}},"
	 "\"required\":[\"v\"]}",
	 {"{\"v\":null}", "{\"v\":null,\"n\":{\"v\":null,\"n\":{\"v\":null}}}"},
	 {"{\"n\":{\"v\":null}}", "{\"v\":null,\"n\":{}}"}},
	{"{\"$ref\":\"#/$defs/"
	 "n\",\"maximum\":4,\"$defs\":{\"n\":{\"type\":\"integer\",\"minimum\":3}}}",
	 {"3", "4"},
	 {"2", "5"}},
	{"{\"title\":\"x\",\"x-order\":1,\"default\":0}", {"1", "{\"a\":[]}"}, {"tru"}},
};

static void test_documents(void **state)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct zw_grammar *g;

		if (!cases[i].yes[0])
			continue; /* see test_refused */
		g = open_schema(cases[i].schema, 0);
		for (size_t k = 0; k < MANY && cases[i].yes[k]; k++) {
			if (!is_document(g, cases[i].yes[k]))
				fail_msg("%s: %s is none", cases[i].schema, cases[i].yes[k]);
		}
		for (size_t k = 0; k < MANY && cases[i].no[k]; k++) {
			if (is_document(g, cases[i].no[k]))
				fail_msg("%s: %s is one", cases[i].schema, cases[i].no[k]);
		}
		zw_grammar_close(g);
	}
}

static const struct {
	const char *schema;
	int code;
	const char *words;
} refused[] = {
	{"", -EBADMSG, "not JSON"},
	{"{", -EBADMSG, "not JSON"},
	{"1", -EBADMSG, "# is no schema"},
	{"false", -EBADMSG, "no finite document"},
	{"\"\xff\"", -EBADMSG, "UTF-8"},
	{"{\"const\":\"\\u0000\"}", -EBADMSG, "\\u0000"},
	{"{\"type\":\"number\",\"minimum\":0,\"exclusiveMaximum\":0}", -EBADMSG,
	 "no finite document"},
	{"{\"type\":\"integer\",\"minimum\":3.1,\"maximum\":3.9}", -EBADMSG, "no finite document"},
	{"{\"enum\":[]}", -EBADMSG, "no finite document"},
	{"{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}",
	 -EBADMSG, "no finite document"},
	{"{\"$ref\":\"#\"}", -EOPNOTSUPP, "refers to itself"},
	{"{\"anyOf\":[{\"$ref\":\"#\"},{\"const\":1}]}", -EOPNOTSUPP, "refers to itself"},
	{"{\"allOf\":[{\"$ref\":\"#\"}]}", -EFBIG, "too deep"},
	{"{\"not\":{}}", -EOPNOTSUPP, "\"not\" at #"},
	{"{\"properties\":{\"a/b\":{\"items\":{\"uniqueItems\":true}}}}", -EOPNOTSUPP,
	 "\"uniqueItems\" at #/properties/a~1b/items"},
	{"{\"prefixItems\":[{},{\"if\":true}]}", -EOPNOTSUPP, "\"if\" at #/prefixItems/1"},
	{"{\"anyOf\":[{},{\"multipleOf\":2}]}", -EOPNOTSUPP, "\"multipleOf\" at #/anyOf/1"},
	{"{\"patternProperties\":{}}", -EOPNOTSUPP, "patternProperties"},
	{"{\"minProperties\":1}", -EOPNOTSUPP, "minProperties"},
	{"{\"type\":\"any\"}", -EBADMSG, "\"type\" at #"},
	{"{\"type\":\"string\",\"type\":\"null\"}", -EBADMSG, "\"type\" at # appears twice"},
	{"{\"type\":\"string\",\"minLength\":-1}", -EBADMSG, "minLength"},
	{"{\"type\":\"string\",\"maxLength\":1e7}", -EFBIG, "maxLength"},
	{"{\"type\":\"string\",\"format\":\"email\"}", -EOPNOTSUPP, "email"},
	{"{\"type\":\"string\",\"pattern\":\"(?=a)\"}", -EOPNOTSUPP, "?=a"},
	{"{\"type\":\"string\",\"pattern\":\"a\\\\b\"}", -EOPNOTSUPP, "pattern"},
	{"{\"type\":\"string\",\"pattern\":\"(a\"}", -EOPNOTSUPP, "pattern"},
	{"{\"type\":\"string\",\"pattern\":\"a)\"}", -EOPNOTSUPP, "pattern"},
	{"{\"type\":\"string\",\"pattern\":\"[a\"}", -EOPNOTSUPP, "pattern"},
	{"{\"type\":\"string\",\"pattern\":\"[z-a]\"}", -EOPNOTSUPP, "pattern"},
	{"{\"type\":\"string\",\"pattern\":\"a^b\"}", -EOPNOTSUPP, "^b"},
	{"{\"type\":\"string\",\"pattern\":\"*\"}", -EOPNOTSUPP, "pattern"},
	{"{\"type\":\"string\",\"pattern\":\"\\\\\"}", -EOPNOTSUPP, "pattern"},
	{"{\"type\":\"string\",\"pattern\":\"((a{100}){100}){100}\"}", -EFBIG, "pattern"},
	{"{\"type\":\"string\",\"pattern\":\"\\\\p{L}\"}", -EOPNOTSUPP, "p{L}"},
	{"{\"type\":\"number\",\"minimum\":\"1\"}", -EBADMSG, "minimum"},
	{"{\"type\":\"number\",\"minimum\":0.12345678901234567}", -EOPNOTSUPP, "15 digits"},
	{"{\"type\":\"number\",\"exclusiveMinimum\":true,\"minimum\":1}", -EOPNOTSUPP,
	 "exclusiveMinimum"},
	{"{\"enum\":[9007199254740993]}", -EOPNOTSUPP, "2^53"},
	{"{\"enum\":[1],\"minimum\":0}", -EOPNOTSUPP, "minimum"},
	{"{\"required\":\"a\"}", -EBADMSG, "required"},
	{"{\"required\":[1]}", -EBADMSG, "required"},
	{"{\"properties\":[]}", -EBADMSG, "properties"},
	{"{\"properties\":{\"a\":1}}", -EBADMSG, "#/properties/a is no schema"},
	{"{\"properties\":{\"a\":{},\"a\":{}}}", -EBADMSG, "\"a\" at # appears twice"},
	{"{\"$ref\":\"other.json\"}", -EOPNOTSUPP, "other.json"},
	{"{\"$ref\":\"#/$defs/a\"}", -EBADMSG, "leads nowhere"},
	{"{\"$ref\":\"#/a~2\"}", -EBADMSG, "leads nowhere"},
	{"{\"$ref\":7}", -EBADMSG, "$ref"},
	{"{\"allOf\":[{\"pattern\":\"a\"},{\"pattern\":\"b\"}]}", -EOPNOTSUPP, "pattern"},
	{"{\"allOf\":[{\"prefixItems\":[{}]},{\"items\":false}]}", -EOPNOTSUPP, "prefixItems"},
};

static void test_refused(void **state)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		struct zw_error err = {""};
		struct zw_grammar *g = NULL;
		int ret = zw_grammar_open_schema(refused[i].schema, strlen(refused[i].schema), 0,
						 &g, &err);

		if (ret != refused[i].code)
			fail_msg("%s: %d (%s)", refused[i].schema, ret, err.msg);
		assert_null(g);
		expect_words(refused[i].schema, &err, refused[i].words);
	}
	assert_int_equal(zw_grammar_open_schema("{}", 2, 2, NULL, NULL), -EINVAL);
}

/* The mask is what accept() takes, for every token, at every place of a document. */
static void test_mask(void **state)
{
	static const char schema[] = "{\"type\":\"object\",\"properties\":{\"the\":{\"type\":"
				     "\"string\",\"maxLength\":4},\"n\":{"
				     "\"type\":\"number\",\"minimum\":10,\"maximum\":250},\"l\":{"
				     "\"items\":{\"enum\":[\"driver\","
				     "true]}}},\"additionalProperties\":{\"type\":\"null\"}}";
	static const char text[] = "{\"the\": \"a\\u00e9\xe6\xad\xa6\",\"n\":24.5,\"l\": [\"dri";
	struct zw_grammar *g = open_schema(schema, 0);
	size_t n = zw_tokenizer_size(tok), some = 0;
	float *logits = calloc(n, sizeof(*logits));

	for (size_t len = 0; len < sizeof(text); len++) {
		struct zw_grammar_matcher *m = open_matcher(g);

		assert_int_equal(zw_grammar_matcher_accept_bytes(m, text, len), 0);
		for (int again = 0; again < 2; again++) {
			memset(logits, 0, n * sizeof(*logits));
			assert_int_equal(zw_grammar_matcher_mask(m, logits, n), 0);
		}
		for (uint32_t id = 0; id < n; id++) {
			struct zw_grammar_matcher *other;
			int ret = zw_grammar_matcher_accept(m, id);

			assert_int_equal(ret, logits[id] == 0 ? 0 : -EINVAL);
			some += !ret;
			if (ret)
				continue;
			other = open_matcher(g);
			assert_int_equal(zw_grammar_matcher_accept_bytes(other, text, len), 0);
			zw_grammar_matcher_close(m);
			m = other;
		}
		zw_grammar_matcher_close(m);
	}
	assert_true(some > 3000);
	free(logits);
	zw_grammar_close(g);
}

static void expect_completion(const struct zw_grammar *g, const char *begun, const char *want)
{
	struct zw_grammar_matcher *m = open_matcher(g);
	char *text;
	size_t len;

	assert_int_equal(zw_grammar_matcher_accept_bytes(m, begun, strlen(begun)), 0);
	assert_int_equal(zw_grammar_matcher_completion(m, &text, &len), 0);
	assert_string_equal(text, want);
	assert_int_equal(len, strlen(want));
	free(text);
	zw_grammar_matcher_close(m);
}

static void test_completion(void **state)
{
	struct zw_grammar *g = open_schema(
		"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\",\"items\":{"
		"\"$ref\":\"#\"}},\"b\":{\"enum\":[\"long one\",\"short\"]}},\"required\":["
		"\"b\"]}",
		0);

	expect_completion(g, "", "{\"b\":\"short\"}");
	expect_completion(g, "{\"a\":[{\"b\":\"l", "ong one\"}],\"b\":\"short\"}");
	expect_completion(g, "{\"a\":[", "],\"b\":\"short\"}");
	expect_completion(g, "{\"b\":\"short\"}", "");
	zw_grammar_close(g);
}

static void test_status(void **state)
{
	const uint32_t stop[] = {4095};
	struct zw_grammar_matcher_options opt = {.size = sizeof(opt), .stop = {stop, 1}};
	struct zw_grammar *g =
		open_schema("{\"type\":\"integer\",\"maximum\":99,\"minimum\":1}", 0);
	size_t n = zw_tokenizer_size(tok), left = 0;
	float *logits = calloc(n, sizeof(*logits));
	struct zw_grammar_matcher *m;

	assert_int_equal(zw_grammar_matcher_open(g, vocab, &opt, &m, NULL), 0);
	assert_int_equal(zw_grammar_matcher_status(m), ZW_GRAMMAR_OPEN);
	assert_int_equal(zw_grammar_matcher_accept(m, 4095), -EINVAL);
	assert_int_equal(zw_grammar_matcher_accept_bytes(m, "1", 1), 0);
	assert_int_equal(zw_grammar_matcher_status(m), ZW_GRAMMAR_COMPLETE);
	assert_int_equal(zw_grammar_matcher_accept_bytes(m, "2x", 2), -EINVAL);
	assert_int_equal(zw_grammar_matcher_status(m), ZW_GRAMMAR_COMPLETE); /* as it was */
	assert_int_equal(zw_grammar_matcher_accept_bytes(m, "2", 1), 0);
	assert_int_equal(zw_grammar_matcher_status(m), ZW_GRAMMAR_FINISHED);
	assert_int_equal(zw_grammar_matcher_mask(m, logits, n), 0);
	for (size_t i = 0; i < n; i++)
		left += logits[i] == 0;
	assert_int_equal(left, 1);
	assert_true(logits[4095] == 0);
	assert_int_equal(zw_grammar_matcher_accept(m, 4095), 0);
	zw_grammar_matcher_reset(m);
	assert_int_equal(zw_grammar_matcher_status(m), ZW_GRAMMAR_OPEN);
	zw_grammar_matcher_close(m);
	zw_grammar_matcher_close(NULL);
	zw_grammar_close(g);
	zw_grammar_close(NULL);
	zw_grammar_vocab_close(NULL);
	free(logits);
}

/* Between a trigger and a stop token everything is masked but the calls; outside nothing is. */
static void test_tools(void **state)
{
	static const char tools[] =
		"[{\"type\":\"function\",\"function\":{\"name\":\"get\",\"description\":\"d\","
		"\"parameters\":{"
		"\"type\":\"object\",\"properties\":{\"key\":{\"$ref\":\"#/$defs/"
		"k\"}},\"required\":[\"key\"],"
		"\"$defs\":{\"k\":{\"enum\":[\"x\",\"y\"]}}}}},{\"name\":\"now\"}]";
	static const char *const yes[] = {
		"\n{\"name\": \"get\", \"arguments\": {\"key\": \"y\"}}\n",
		"{\"name\":\"now\",\"arguments\":{}}",
	};
	static const char *const no[] = {
		"{\"name\":\"get\",\"arguments\":{}}",
		"{\"name\":\"now\",\"arguments\":{\"key\":\"y\"}}",
		"{\"name\":\"set\",\"arguments\":{}}",
		"{\"arguments\":{},\"name\":\"now\"}",
	};
	const uint32_t begin[] = {4094}, end[] = {4095};
	struct zw_grammar_matcher_options opt = {
		.size = sizeof(opt), .stop = {end, 1}, .trigger = {begin, 1}};
	struct zw_grammar_matcher *m;
	struct zw_grammar *g;
	struct zw_error err = {""};
	float logits[8] = {0};
	char *text;
	size_t len;

	if (zw_grammar_open_tool_calls(tools, sizeof(tools) - 1, 0, &g, &err))
		fail_msg("%s", err.msg);
	for (size_t i = 0; i < 2; i++)
		assert_true(is_document(g, yes[i]));
	for (size_t i = 0; i < 4; i++)
		assert_false(is_document(g, no[i]));
	assert_int_equal(zw_grammar_matcher_open(g, vocab, &opt, &m, NULL), 0);
	assert_int_equal(zw_grammar_matcher_status(m), ZW_GRAMMAR_WAITING);
	assert_int_equal(zw_grammar_matcher_mask(m, logits, 8), 0);
	assert_true(logits[7] == 0);
	assert_int_equal(zw_grammar_matcher_accept(m, 300), 0);
	assert_int_equal(zw_grammar_matcher_completion(m, &text, &len), -EINVAL);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(zw_grammar_matcher_accept(m, 4094), 0);
		assert_int_equal(zw_grammar_matcher_status(m), ZW_GRAMMAR_OPEN);
		assert_int_equal(zw_grammar_matcher_accept(m, 4095), -EINVAL);
		memset(logits, 0, sizeof(logits));
		assert_int_equal(zw_grammar_matcher_mask(m, logits, 8), 0);
		assert_true(isinf(logits[7]));
		assert_int_equal(zw_grammar_matcher_accept_bytes(m, yes[1], strlen(yes[1])), 0);
		assert_int_equal(zw_grammar_matcher_accept(m, 4095), 0);
		assert_int_equal(zw_grammar_matcher_status(m), ZW_GRAMMAR_WAITING);
	}
	zw_grammar_matcher_close(m);
	zw_grammar_close(g);
	assert_int_equal(zw_grammar_open_tool_calls("{}", 2, 0, &g, &err), -EBADMSG);
	assert_int_equal(zw_grammar_open_tool_calls("[{}]", 4, 0, &g, &err), -EBADMSG);
	expect_words("tool", &err, "#/0|name");
}

/* More places than are kept: the matcher forgets and goes on. */
static void test_long(void **state)
{
	struct zw_grammar *g = open_schema("true", ZW_GRAMMAR_COMPACT);
	struct zw_grammar_matcher *m = open_matcher(g);

	for (int i = 0; i < 30000; i++)
		assert_int_equal(
			zw_grammar_matcher_accept_bytes(m, i % 2 ? "[" : "{\"k\":", i % 2 ? 1 : 5),
			0);
	assert_int_equal(zw_grammar_matcher_accept_bytes(m, "1", 1), 0);
	for (int i = 30000; i-- > 0;)
		assert_int_equal(zw_grammar_matcher_accept_bytes(m, i % 2 ? "]" : "}", 1), 0);
	assert_int_equal(zw_grammar_matcher_status(m), ZW_GRAMMAR_FINISHED);
	zw_grammar_matcher_close(m);
	zw_grammar_close(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_documents), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_mask),      cmocka_unit_test(test_completion),
		cmocka_unit_test(test_status),    cmocka_unit_test(test_tools),
		cmocka_unit_test(test_long),
	};

	return cmocka_run_group_tests_name("grammar", tests, open_vocab, close_vocab);
}

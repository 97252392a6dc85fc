// SPDX-License-Identifier: MIT
/*
 * Answers that may have calls of tools in them: texts that may come and texts that may not, and random
 * tokens that a matcher lets through, which the parser of answers has to find proper calls in.
 */
#include "llm_test.h"

#include <math.h>

#include "grammar_match.h"

static const char tools[] =
	"[{\"type\":\"function\",\"function\":{\"name\":\"get\",\"description\":\"d\","
	"\"parameters\":{"
	"\"type\":\"object\",\"properties\":{\"key\":{\"type\":\"string\"}},\"required\":[\"key\"]}"
	"}},"
	"{\"name\":\"add\",\"parameters\":{\"type\":\"object\",\"properties\":{"
	"\"a\":{\"type\":\"integer\",\"minimum\":-9,\"maximum\":99},\"b\":{\"type\":\"boolean\"},"
	"\"c\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/n\"},\"maxItems\":3}},"
	"\"required\":[\"a\"],\"additionalProperties\":false,\"$defs\":{\"n\":{\"type\":\"number\","
	"\"minimum\":0,\"maximum\":5}}}},"
	"{\"name\":\"pick\",\"parameters\":{\"type\":\"object\",\"properties\":{"
	"\"colour\":{\"enum\":[\"red\",\"dark blue\"]},\"code\":{\"type\":\"string\",\"pattern\":"
	"\"^[a-z]{2}[0-9]+$\",\"maxLength\":6},\"note\":{\"type\":\"string\",\"maxLength\":4},"
	"\"level\":{\"enum\":[1,2,null]},\"any\":{\"anyOf\":[{\"type\":\"boolean\"},{\"type\":"
	"\"string\","
	"\"maxLength\":3}]}},\"required\":[\"colour\"],\"additionalProperties\":false}},"
	"{\"name\":\"now\"}]";

#define NUM_TOOLS 4

static const char *const params[NUM_TOOLS][2] = {
	{"get", "{\"type\":\"object\",\"properties\":{\"key\":{\"type\":\"string\"}},"
		"\"required\":[\"key\"]}"},
	{"add",
	 "{\"type\":\"object\",\"properties\":{"
	 "\"a\":{\"type\":\"integer\",\"minimum\":-9,\"maximum\":99},\"b\":{\"type\":\"boolean\"},"
	 "\"c\":{\"type\":\"array\",\"items\":{\"type\":\"number\",\"minimum\":0,\"maximum\":5},"
	 "\"maxItems\":3}},\"required\":[\"a\"],\"additionalProperties\":false}"},
	{"pick", "{\"type\":\"object\",\"properties\":{"
		 "\"colour\":{\"enum\":[\"red\",\"dark blue\"]},\"code\":{\"type\":\"string\","
		 "\"pattern\":\"^[a-z]{2}[0-9]+$\",\"maxLength\":6},\"note\":{\"type\":\"string\","
		 "\"maxLength\":4},\"level\":{\"enum\":[1,2,null]},\"any\":{\"anyOf\":[{\"type\":"
		 "\"boolean\"},{\"type\":\"string\",\"maxLength\":3}]}},\"required\":[\"colour\"],"
		 "\"additionalProperties\":false}"},
	{"now", "{\"type\":\"object\",\"additionalProperties\":false}"},
};

static const char schema[] = "{\"type\":\"object\",\"properties\":{\"n\":{\"type\":\"integer\"}},"
			     "\"required\":[\"n\"],\"additionalProperties\":false}";

#define JSON ZW_GRAMMAR_CALLS_JSON
#define XML  ZW_GRAMMAR_CALLS_XML

/* Of a model that has the tags as tokens, and of one that spells them. */
static struct zw_tokenizer *tok[2];
static struct zw_grammar_vocab *vocab[2];

static int open_vocabs(void **state)
{
	static const char *const names[2] = {"qwen3next-agent", "qwen3-kdoc"};
	struct zw_error err = {""};
	char path[512];

	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", test_dir("ZW_TEST_MODELS"), names[i]);
		if (zw_tokenizer_open(path, &tok[i], &err) ||
		    zw_grammar_vocab_open(tok[i], &vocab[i], &err))
			fail_msg("%s", err.msg);
	}
	return 0;
}

static int close_vocabs(void **state)
{
	for (int i = 0; i < 2; i++) {
		zw_grammar_vocab_close(vocab[i]);
		zw_tokenizer_close(tok[i]);
	}
	return 0;
}

static struct zw_grammar *open_answer(const char *t, const char *s, uint32_t flags)
{
	struct zw_error err = {""};
	struct zw_grammar *g;

	if (zw_grammar_open_answer(t, s, flags, &g, &err))
		fail_msg("%s", err.msg);
	return g;
}

static struct zw_grammar_matcher *open_matcher(const struct zw_grammar *g, int v)
{
	struct zw_grammar_matcher *m;

	assert_int_equal(zw_grammar_matcher_open(g, vocab[v], NULL, &m, NULL), 0);
	return m;
}

/* ---- texts ---- */

#define GET  "{\"name\": \"get\", \"arguments\": {\"key\": \"x\"}}"
#define MANY 8

static const struct {
	bool with_schema;
	uint32_t flags;
	const char *yes[MANY], *no[MANY]; /* whole answers */
} cases[] = {
	{false,
	 JSON,
	 {"", "a < b, <tool> and <function", "<think>\n<tool_call>anything</think>\nno",
	  "so\n<tool_call>\n" GET "\n</tool_call>",
	  "<tool_call>" GET "</tool_call>\n<tool_call>\n{\"name\":\"now\",\"arguments\":{}}\n"
	  "</tool_call> and then",
	  "<<tool_call>" GET "</tool_call>",
	  "<tool_call>{\"name\":\"get\",\"arguments\":{\"key\":\"</tool_call>\"}}</tool_call>",
	  "\xff\xfe<think"},
	 {"<tool_call>", "<tool_call>\n" GET, "<tool_call>" GET "</tool_call><tool_call>x",
	  "<tool_call>{\"name\": \"set\", \"arguments\": {}}</tool_call>",
	  "<tool_call>{\"name\": \"get\", \"arguments\": {}}</tool_call>", "<function=",
	  "text <think><tool_call>anything</think>", "<think></think><tool_call>anything"}},
	{false,
	 XML,
	 {"<tool_call>\n<function=get>\n<parameter=key>\na < b </para\n</parameter>\n</function>\n"
	  "</tool_call>",
	  "<function=get><parameter=key></parameter></function> then",
	  "<tool_call><function=now></function></tool_call>",
	  "<function=add><parameter=a>\n7\n</parameter>\n<parameter=c>\n[1, 2]\n</parameter>\n"
	  "</function>",
	  "<function=pick><parameter=colour>\ndark blue\n</parameter><parameter=code>\nab12\n"
	  "</parameter><parameter=note>\n\n\n\n</parameter></function>",
	  "<function=pick><parameter=colour>\nred\n</parameter><parameter=level>\nnull\n</"
	  "parameter>"
	  "<parameter=any>\n\"abc\"\n</parameter></function>"},
	 {"<tool_call>\n" GET "\n</tool_call>", "<function=set>", "<function=get></function>",
	  "<function=add><parameter=a>\n100\n</parameter></function>",
	  "<function=pick><parameter=colour>\nblue\n</parameter></function>",
	  "<function=pick><parameter=colour>\nred\n</parameter><parameter=code>\nab\n</parameter>"
	  "</function>",
	  "<function=pick><parameter=colour>\nred\n</parameter><parameter=note>\nabcde\n</"
	  "parameter>"
	  "</function>",
	  "<function=get><parameter=key>x</parameter>more</function>"}},
	{false,
	 0,
	 {"<tool_call>\n" GET "\n</tool_call>",
	  "<tool_call>\n<function=now>\n</function>\n</tool_call>\n<tool_call>" GET "</tool_call>"},
	 {"<tool_call>now</tool_call>"}},
	{true,
	 JSON,
	 {"{\"n\": 5}", "\n{\"n\":5}", "<tool_call>" GET "</tool_call>",
	  "<tool_call>" GET "</tool_call>\n<tool_call>" GET "</tool_call>"},
	 {"", "so {\"n\": 5}", "{\"n\": 5} so", "<think>x</think>{\"n\":5}",
	  "<tool_call>" GET "</tool_call>{\"n\":5}"}},
	{true,
	 JSON | ZW_GRAMMAR_THINKING,
	 {"<think>\nhm <tool_call> </think>\n\n{\"n\": 5}", "<think>", "{\"n\": 5}", "\n{\"n\":5}"},
	 {"<think>x</think>", "\n<think>x</think>{\"n\":5}", "<think>x</think>no"}},
};

static bool is_answer(const struct zw_grammar *g, const char *text)
{
	struct zw_grammar_matcher *m = open_matcher(g, 0);
	bool yes = !zw_grammar_matcher_accept_bytes(m, text, strlen(text)) &&
		   zw_grammar_matcher_status(m) != ZW_GRAMMAR_OPEN;

	zw_grammar_matcher_close(m);
	return yes;
}

static void test_texts(void **state)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct zw_grammar *g =
			open_answer(tools, cases[i].with_schema ? schema : NULL, cases[i].flags);

		for (size_t k = 0; k < MANY && cases[i].yes[k]; k++) {
			if (!is_answer(g, cases[i].yes[k]))
				fail_msg("case %zu: %s is none", i, cases[i].yes[k]);
		}
		for (size_t k = 0; k < MANY && cases[i].no[k]; k++) {
			if (is_answer(g, cases[i].no[k]))
				fail_msg("case %zu: %s is one", i, cases[i].no[k]);
		}
		zw_grammar_close(g);
	}
}

/* ---- random tokens ---- */

static uint64_t rng;

static uint32_t pick(uint32_t n)
{
	rng = rng * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(rng >> 33) % n;
}

struct heard {
	uint32_t calls, bad;
	char *text; /* all of it, for the failure */
};

static void check_call(const struct zw_chat_event *e)
{
	struct zw_grammar *g;
	struct zw_error err;
	size_t i = 0;

	while (i < NUM_TOOLS && strcmp(params[i][0], e->name))
		i++;
	if (i == NUM_TOOLS)
		fail_msg("no tool %s: %s", e->name, e->text);
	assert_int_equal(zw_grammar_open_schema(params[i][1], strlen(params[i][1]), 0, &g, &err),
			 0);
	{
		struct zw_grammar_matcher *m = open_matcher(g, 0);

		if (zw_grammar_matcher_accept_bytes(m, e->arguments, strlen(e->arguments)) ||
		    zw_grammar_matcher_status(m) == ZW_GRAMMAR_OPEN)
			fail_msg("%s does not take %s: %s", e->name, e->arguments, e->text);
		zw_grammar_matcher_close(m);
	}
	zw_grammar_close(g);
}

static int on_event(void *opaque, const struct zw_chat_event *e)
{
	struct heard *h = opaque;

	if (e->type == ZW_CHAT_BAD_CALL)
		fail_msg("%s: %s", e->error, e->text);
	if (e->type == ZW_CHAT_CALL) {
		check_call(e);
		h->calls++;
	}
	return 0;
}

/* One of the tokens that may come. */
static uint32_t choose(struct zw_grammar_matcher *m, int v, uint32_t n)
{
	static float logits[8192];
	uint32_t at = pick(n);

	assert_true(n <= 8192);
	memset(logits, 0, sizeof(logits));
	assert_int_equal(zw_grammar_matcher_mask(m, logits, n), 0);
	for (uint32_t i = 0; i < n; i++, at = (at + 1) % n) {
		const char *bytes;
		size_t len;

		if (!isinf(logits[at]) && !zw_tokenizer_token(tok[v], at, &bytes, &len, NULL))
			return at;
	}
	fail_msg("nothing may come");
	return 0;
}

/* The tokens of a text, as a model would cut it or spell it. */
static void write_text(struct zw_grammar_matcher *m, int v, FILE *f, const char *text, bool spell)
{
	struct zw_error err;
	uint32_t *ids = NULL;
	size_t n, len = strlen(text);

	for (size_t at = 0; at < len;) {
		size_t cut = spell ? 1 : len;

		assert_int_equal(zw_tokenizer_encode(tok[v], text + at, cut, ZW_ENCODE_NO_TEMPLATE,
						     &ids, &n, &err),
				 0);
		for (size_t i = 0; i < n; i++) {
			/* It may have been the middle of something else. */
			if (zw_grammar_matcher_accept(m, ids[i]))
				break;
			if (f) {
				const char *bytes;
				size_t k;

				zw_tokenizer_token(tok[v], ids[i], &bytes, &k, NULL);
				fwrite(bytes, 1, k, f);
			}
		}
		free(ids);
		at += cut;
	}
}

static void finish(struct zw_grammar_matcher *m, FILE *f)
{
	char *text;
	size_t len;

	assert_int_equal(zw_grammar_matcher_completion(m, &text, &len), 0);
	assert_int_equal(zw_grammar_matcher_accept_bytes(m, text, len), 0);
	fwrite(text, 1, len, f);
	free(text);
}

static void walk(const struct zw_grammar *g, int v, uint64_t seed, uint32_t flags, struct heard *h)
{
	struct zw_grammar_matcher *m = open_matcher(g, v);
	struct zw_chat_parser_options po = {.size = sizeof(po),
					    .flags = ZW_CHAT_PARSE_CALLS,
					    .tools = tools,
					    .event = on_event,
					    .opaque = h};
	uint32_t n = zw_tokenizer_size(tok[v]), inside = 0;
	struct zw_chat_parser *parser;
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	struct zw_error err;

	rng = seed;
	for (uint32_t i = 0; i < 120; i++) {
		uint32_t id;
		const char *bytes;
		size_t k;

		inside = zw_grammar_matcher_status(m) == ZW_GRAMMAR_OPEN ? inside + 1 : 0;
		if (inside > 30) {
			finish(m, f);
			continue;
		}
		if (!inside && !pick(4)) {
			write_text(m, v, f, flags & XML && pick(2) ? "<function=" : "<tool_call>",
				   pick(2));
			continue;
		}
		id = choose(m, v, n);
		assert_int_equal(zw_grammar_matcher_accept(m, id), 0);
		zw_tokenizer_token(tok[v], id, &bytes, &k, NULL);
		fwrite(bytes, 1, k, f);
	}
	finish(m, f);
	fclose(f);
	h->text = text;
	assert_int_equal(zw_chat_parser_open(&po, &parser, &err), 0);
	assert_int_equal(zw_chat_parser_push(parser, text, len), 0);
	assert_int_equal(zw_chat_parser_finish(parser, 0), 0);
	zw_chat_parser_close(parser);
	zw_grammar_matcher_close(m);
	free(text);
}

static void test_random(void **state)
{
	static const uint32_t flags[] = {JSON, XML, JSON | XML};

	for (size_t k = 0; k < 3; k++) {
		struct zw_grammar *g = open_answer(tools, NULL, flags[k]);
		struct heard h = {0};

		for (uint64_t seed = 0; seed < 60; seed++)
			walk(g, seed % 2, seed, flags[k], &h);
		assert_true(h.calls > 200);
		zw_grammar_close(g);
	}
}

/* ---- where nothing is masked ---- */

static uint32_t id_of(int v, const char *text)
{
	struct zw_error err;
	uint32_t *ids, id;
	size_t n;

	assert_int_equal(zw_tokenizer_encode(tok[v], text, strlen(text), ZW_ENCODE_NO_TEMPLATE,
					     &ids, &n, &err),
			 0);
	assert_int_equal(n, 1);
	id = ids[0];
	free(ids);
	return id;
}

static void test_idle(void **state)
{
	struct zw_grammar *g = open_answer(tools, NULL, JSON);
	struct zw_grammar_matcher *m = open_matcher(g, 0);
	static float logits[8192];

	assert_int_equal(zw_grammar_matcher_idle(m), 1);
	write_text(m, 0, NULL, "some text, a < b", false);
	assert_int_equal(zw_grammar_matcher_idle(m), 1);
	assert_int_equal(zw_grammar_matcher_accept(m, id_of(0, "<tool_call>")), 0);
	assert_int_equal(zw_grammar_matcher_idle(m), 0);
	assert_int_equal(zw_grammar_matcher_mask(m, logits, 6272), 0);
	/* Neither the end of the turn nor that of the call, nor any other token of its own. */
	for (uint32_t id = 6144; id < 6272; id++)
		assert_true(isinf(logits[id]));
	assert_int_equal(zw_grammar_matcher_accept(m, id_of(0, "</tool_call>")), -EINVAL);
	assert_int_equal(zw_grammar_matcher_accept_bytes(m, GET, strlen(GET)), 0);
	assert_int_equal(zw_grammar_matcher_idle(m), 0);
	assert_int_equal(zw_grammar_matcher_accept(m, id_of(0, "</tool_call>")), 0);
	assert_int_equal(zw_grammar_matcher_idle(m), 1);
	/* Spelled, the last piece of the tag must not go on into what is no call. */
	assert_int_equal(zw_grammar_matcher_accept_bytes(m, "<tool_call", 10), 0);
	memset(logits, 0, sizeof(logits));
	assert_int_equal(zw_grammar_matcher_mask(m, logits, 6272), 0);
	for (uint32_t id = 0; id < 6144; id++) {
		const char *bytes;
		bool masked;
		size_t len;

		if (zw_tokenizer_token(tok[0], id, &bytes, &len, NULL))
			continue;
		masked = len > 1 && bytes[0] == '>' && !(len == 2 && bytes[1] == '\n');
		if (!isinf(logits[id]) == masked)
			fail_msg("%.*s is %smasked", (int)len, bytes, masked ? "not " : "");
	}
	zw_grammar_matcher_reset(m);
	/* Thoughts are free whatever they say. */
	write_text(m, 0, NULL, "<think>\n<tool_call>\nno call", false);
	assert_int_equal(zw_grammar_matcher_idle(m), 1);
	assert_int_equal(zw_grammar_matcher_accept(m, id_of(0, "</think>")), 0);
	assert_int_equal(zw_grammar_matcher_accept(m, id_of(0, "<tool_call>")), 0);
	assert_int_equal(zw_grammar_matcher_idle(m), 0);
	zw_grammar_matcher_close(m);
	zw_grammar_close(g);
}

static void test_refused(void **state)
{
	static const struct {
		const char *tools, *schema;
		uint32_t flags;
		int code;
		const char *words;
	} bad[] = {
		{NULL, NULL, 0, -EINVAL, "zw_grammar_open_answer"},
		{NULL, "{}", JSON, -EINVAL, "zw_grammar_open_answer"},
		{"[]", NULL, ZW_GRAMMAR_THINKING, -EINVAL, "zw_grammar_open_answer"},
		{"[]", NULL, 1u << 9, -EINVAL, "zw_grammar_open_answer"},
		{"{}", NULL, 0, -EBADMSG, "no list"},
		{"[{}]", NULL, XML, -EBADMSG, "#/0|no name"},
		{"[", NULL, 0, -EBADMSG, "tools"},
		{"[{\"name\":\"a>b\"}]", NULL, XML, -EOPNOTSUPP, "a>b|tag"},
		{"[{\"name\":\"a\",\"parameters\":{\"properties\":{\"x\":{\"minProperties\":1}}}}]",
		 NULL, JSON, -EOPNOTSUPP, "minProperties|#/0/properties/x"},
		{"[{\"name\":\"a\",\"parameters\":{\"properties\":{\"x\":{\"type\":\"string\","
		 "\"not\":{}}}}}]",
		 NULL, XML, -EOPNOTSUPP, "not|#/0/properties/x"},
		{"[{\"name\":\"a\",\"parameters\":{\"anyOf\":[{}]}}]", NULL, XML, -EOPNOTSUPP,
		 "anyOf|#/0"},
		{"[{\"name\":\"a\",\"parameters\":{\"properties\":{\"x\":{\"enum\":[\"</"
		 "parameter>\"]}}"
		 "}}]",
		 NULL, XML, -EOPNOTSUPP, "</parameter>"},
		{"[{\"name\":\"a\",\"parameters\":{\"properties\":[{}]}}]", NULL, XML, -EBADMSG,
		 "properties|#/0"},
		{NULL, "{\"not\":{}}", 0, -EOPNOTSUPP, "not"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct zw_error err = {""};
		struct zw_grammar *g = NULL;
		int ret =
			zw_grammar_open_answer(bad[i].tools, bad[i].schema, bad[i].flags, &g, &err);

		if (ret != bad[i].code)
			fail_msg("case %zu: %d, %s", i, ret, err.msg);
		expect_words("refused", &err, bad[i].words);
		assert_null(g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests_name("answer", tests, open_vocabs, close_vocabs);
}

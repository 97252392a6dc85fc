// SPDX-License-Identifier: MIT
/* Answers of models, taken apart: whole, in two at every place, and byte by byte. */
#include "llm_test.h"

struct log {
	char text[4096];
	size_t n;
	int last; /* type of the last event */
	int stop_at, events;
};

static int note(void *opaque, const struct zw_chat_event *e)
{
	static const char letters[] = "?TRCB";
	struct log *l = opaque;
	int room = (int)(sizeof(l->text) - l->n);

	assert_int_equal(strlen(e->text), e->len);
	assert_true(e->len);
	/* Text in pieces is the same as in one. */
	if (e->type != (uint32_t)l->last || e->type >= ZW_CHAT_CALL)
		l->n += (size_t)snprintf(l->text + l->n, (size_t)room, "%s%c:", l->n ? "|" : "",
					 letters[e->type]);
	room = (int)(sizeof(l->text) - l->n);
	if (e->type == ZW_CHAT_CALL)
		l->n += (size_t)snprintf(l->text + l->n, (size_t)room, "%s %s", e->name,
					 e->arguments);
	else
		l->n += (size_t)snprintf(l->text + l->n, (size_t)room, "%s", e->text);
	if (e->type == ZW_CHAT_BAD_CALL)
		assert_true(e->error && *e->error && !strchr(e->error, '\n'));
	l->last = (int)e->type;
	return ++l->events == l->stop_at;
}

static int note_len(void *opaque, const struct zw_chat_event *e)
{
	struct log *l = opaque;

	assert_int_equal(e->text[e->len], 0);
	for (size_t i = 0; i < e->len; i++)
		l->events += e->text[i]; /* all of it is there */
	l->n += (size_t)snprintf(l->text + l->n, sizeof(l->text) - l->n, "%u:%zu ", e->type,
				 e->len);
	return 0;
}

static const char tools[] =
	"[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\","
	"\"properties\":{"
	"\"s\":{\"type\":\"string\"},\"i\":{\"type\":\"integer\"},\"o\":{\"type\":\"object\"},"
	"\"u\":{\"type\":[\"string\",\"null\"]},\"b\":{\"type\":\"boolean\"},\"a\":{\"anyOf\":[]},"
	"\"n\":{}}}}}]";

#define C ZW_CHAT_PARSE_CALLS
#define R ZW_CHAT_PARSE_REASONING

static const struct {
	uint32_t flags;
	const char *text, *want;
} cases[] = {
	{C, "Hello.", "T:Hello."},
	{C, "", ""},
	{C, "a\n\nb\n", "T:a\n\nb\n"},
	/* thinking */
	{C, "<think>\nhm\n\nhm\n</think>\n\nyes", "R:hm\n\nhm|T:yes"},
	{C, "\n<think>\n\n</think>\n\nyes", "T:yes"},
	{C | R, "hm\n</think>\n\nyes", "R:hm|T:yes"},
	{C | R, "\nhm", "R:hm"},
	{C | R, "a </thin", "R:a </thin"},
	{C, "<think>a</think>b", "R:a|T:b"},
	{C, "so <think>a</think>", "T:so <think>a</think>"},
	{C, "<thinner", "T:<thinner"},
	{C, "a < b <t <tool", "T:a < b <t <tool"},
	{0, "<think>x</think>\n<tool_call>{}</tool_call>", "R:x|T:<tool_call>{}</tool_call>"},
	{R, "<tool_call>\n</think>a", "R:<tool_call>|T:a"},
	/* Hermes */
	{C, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>",
	 "C:f {\"a\": 1}"},
	{C,
	 "Let me see.\n\n<tool_call>\n{\"name\": \"f\", \"arguments\": "
	 "{}}\n</tool_call>\n<tool_call>\n"
	 "{\"arguments\": {\"x\": [1.0, null]}, \"name\": \"g\"}\n</tool_call>\nDone",
	 "T:Let me see.|C:f {}|C:g {\"x\": [1.0, null]}|T:Done"},
	{C,
	 "<think>\nx\n</"
	 "think>\n\n<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":123456789012345678901234567890}"
	 "}</tool_call>",
	 "R:x|C:f {\"a\": 123456789012345678901234567890}"},
	{C,
	 "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":\"</tool_call> \\\" "
	 "</tool_call>\"}}</tool_call>x",
	 "C:f {\"a\": \"</tool_call> \\\" </tool_call>\"}|T:x"},
	{C, "<tool_call>{\"name\":\"f\",\"arguments\":\"{\\\"a\\\": 2}\"}</tool_call>",
	 "C:f {\"a\": 2}"},
	{C, "<tool_call>{\"name\":\"f\"}</tool_call>", "C:f {}"},
	{C, "<tool_call>{\"name\":\"f\",\"arguments\":{}}", "C:f {}"},
	{C, "<tool_call>{\"name\":\"f\",\"arguments\":{\"é\":\"日本\"}}</tool_call>",
	 "C:f {\"é\": \"日本\"}"},
	{C, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}\n</tool_call>\nx",
	 "B:<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}\n</tool_call>|T:x"},
	{C,
	 "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"1}}</tool_call> x "
	 "<tool_call>{\"name\":\"g\"}</tool_call>",
	 "B:<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"1}}</tool_call>|T: x |C:g {}"},
	{C, "<tool_call>{\"arguments\": {}}</tool_call>",
	 "B:<tool_call>{\"arguments\": {}}</tool_call>"},
	{C, "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>",
	 "B:<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>"},
	{C, "<tool_call></tool_call>a", "B:<tool_call></tool_call>|T:a"},
	{C, "<tool_call>get the key</tool_call>", "B:<tool_call>get the key</tool_call>"},
	{C, "<tool_call>", "B:<tool_call>"},
	{C, "a\n<tool_call>{\"na", "T:a|B:<tool_call>{\"na"},
	{C, "</tool_call>", "T:</tool_call>"},
	/* XML */
	{C,
	 "<tool_call>\n<function=f>\n<parameter=s>\n12\n</parameter>\n<parameter=i>\n34\n</"
	 "parameter>\n</function>\n</tool_call>",
	 "C:f {\"s\": \"12\", \"i\": 34}"},
	{C,
	 "<tool_call>\n<function=f>\n<parameter=s>\n "
	 "a\n\n</parameter>\n</function>\n</tool_call>\nb",
	 "C:f {\"s\": \" a\\n\"}|T:b"},
	{C, "<function=f>\n<parameter=o>\n{\"k\": [true]}\n</parameter>\n</function>",
	 "C:f {\"o\": {\"k\": [true]}}"},
	{C, "<function=f></function> ok <function=g></function>", "C:f {}|T: ok |C:g {}"},
	{C,
	 "<tool_call><function=f><parameter=b>True</parameter><parameter=u>null</"
	 "parameter><parameter=a>3</parameter>"
	 "<parameter=n>4</parameter><parameter=zz>5</parameter><parameter=i>many</parameter></"
	 "function></tool_call>",
	 "C:f {\"b\": true, \"u\": \"null\", \"a\": 3, \"n\": \"4\", \"zz\": \"5\", \"i\": "
	 "\"many\"}"},
	{C, "<tool_call><function=unknown><parameter=i>5</parameter></function></tool_call>",
	 "C:unknown {\"i\": \"5\"}"},
	{C,
	 "<tool_call><function=f><parameter=s>a </parameter> b </tool_call> "
	 "c</parameter></function></tool_call>.",
	 "C:f {\"s\": \"a </parameter> b </tool_call> c\"}|T:."},
	{C, "<tool_call>\n<function=f>\n<parameter=s>\nx\n</tool_call> y",
	 "B:<tool_call>\n<function=f>\n<parameter=s>\nx\n</tool_call>|T: y"},
	{C, "<tool_call>\n<function=>\n</function>\n</tool_call>",
	 "B:<tool_call>\n<function=>\n</function>\n</tool_call>"},
	{C, "<tool_call>\n<function=f\n</function>\n</tool_call>",
	 "B:<tool_call>\n<function=f\n</function>\n</tool_call>"},
	{C, "<tool_call>\n<function=f>\nwhy\n</function>\n</tool_call>",
	 "B:<tool_call>\n<function=f>\nwhy\n</function>\n</tool_call>"},
	{C, "<function=f><parameter=a\xc2>b</parameter></function>",
	 "B:<function=f><parameter=a\xc2>b</parameter></function>"},
	{C, "<functional", "T:<functional"},
	{C, "<function=f> never", "B:<function=f> never"},
};

static void feed(struct zw_chat_parser *p, struct log *l, const char *text, size_t first,
		 size_t piece)
{
	size_t n = strlen(text);

	*l = (struct log){.last = 0};
	if (first)
		assert_int_equal(zw_chat_parser_push(p, text, first), 0);
	for (size_t at = first; at < n; at += piece)
		assert_int_equal(zw_chat_parser_push(p, text + at, n - at < piece ? n - at : piece),
				 0);
}

static void pieces(void **state)
{
	struct log l;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct zw_chat_parser_options o = {.size = sizeof(o),
						   .flags = cases[i].flags,
						   .tools = tools,
						   .event = note,
						   .opaque = &l};
		size_t n = strlen(cases[i].text);
		struct zw_chat_parser *p;

		assert_int_equal(zw_chat_parser_open(&o, &p, NULL), 0);
		/* At cut n + 1 byte by byte; one parser for all, as it begins anew. */
		for (size_t cut = 0; cut <= n + 1; cut++) {
			feed(p, &l, cases[i].text, cut > n ? 0 : cut, cut > n ? 1 : n + 1);
			assert_int_equal(zw_chat_parser_finish(p, cases[i].flags), 0);
			if (strcmp(l.text, cases[i].want))
				fail_msg("%s\ncut at %zu\nis   %s\nwant %s", cases[i].text, cut,
					 l.text, cases[i].want);
		}
		zw_chat_parser_close(p);
	}
}

/* Text is told at once, but for what may be the beginning of a tag. */
static void early(void **state)
{
	struct log l = {.last = 0};
	struct zw_chat_parser_options o = {
		.size = sizeof(o), .flags = C, .event = note, .opaque = &l};
	struct zw_chat_parser *p;

	assert_int_equal(zw_chat_parser_open(&o, &p, NULL), 0);
	zw_chat_parser_push(p, "He", 2);
	assert_string_equal(l.text, "T:He");
	zw_chat_parser_push(p, "llo <to", 7);
	assert_string_equal(l.text, "T:Hello ");
	zw_chat_parser_push(p, "p>\n", 3);
	assert_string_equal(l.text, "T:Hello <top>");
	zw_chat_parser_push(p, "\n<tool_call>{\"name\":\"f\"", 23);
	assert_string_equal(l.text, "T:Hello <top>");
	zw_chat_parser_push(p, "}</tool_call>", 13);
	assert_string_equal(l.text, "T:Hello <top>|C:f {}");
	zw_chat_parser_close(p);
}

static void stops(void **state)
{
	struct log l = {.stop_at = 2};
	struct zw_chat_parser_options o = {
		.size = sizeof(o), .flags = C, .event = note, .opaque = &l};
	struct zw_chat_parser *p;
	struct zw_error err;

	assert_int_equal(zw_chat_parser_open(&o, &p, NULL), 0);
	assert_int_equal(zw_chat_parser_push(p, "a<function=f></function>b", 25), 1);
	assert_int_equal(l.events, 2);
	assert_int_equal(zw_chat_parser_finish(p, 8), -EINVAL);
	zw_chat_parser_close(p);
	o.tools = "[";
	assert_int_equal(zw_chat_parser_open(&o, &p, &err), -EBADMSG);
	expect_words("tools", &err, "tools");
	o.tools = NULL;
	o.flags = 4;
	assert_int_equal(zw_chat_parser_open(&o, &p, &err), -EINVAL);
	o.flags = 0;
	o.event = NULL;
	assert_int_equal(zw_chat_parser_open(&o, &p, &err), -EINVAL);
}

/* A NUL is a character like others, but not in a name. */
static void nul(void **state)
{
	static const char call[] = "<tool_call>a\0b</tool_call>",
			  named[] = "<function=f\0g></function>";
	struct log l = {.last = 0};
	struct zw_chat_parser_options o = {
		.size = sizeof(o), .flags = C, .event = note_len, .opaque = &l};
	struct zw_chat_parser *p;

	assert_int_equal(zw_chat_parser_open(&o, &p, NULL), 0);
	assert_int_equal(zw_chat_parser_push(p, "x\0y", 3), 0);
	assert_int_equal(zw_chat_parser_push(p, call, sizeof(call) - 1), 0);
	assert_int_equal(zw_chat_parser_push(p, named, sizeof(named) - 1), 0);
	assert_string_equal(l.text, "1:3 4:26 4:25 ");
	zw_chat_parser_close(p);
}

static void opens(void **state)
{
	assert_true(zw_chat_opens_reasoning("x<think>\n", 9));
	assert_true(zw_chat_opens_reasoning("<think>", 7));
	assert_false(zw_chat_opens_reasoning("<think>\n\n</think>\n\n", 19));
	assert_false(zw_chat_opens_reasoning("assistant\n", 10));
	assert_false(zw_chat_opens_reasoning("", 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces), cmocka_unit_test(early), cmocka_unit_test(stops),
		cmocka_unit_test(nul),    cmocka_unit_test(opens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

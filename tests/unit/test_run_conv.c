// SPDX-License-Identifier: MIT
/* A conversation and the tokens that stand for it: what stays, what is appended, what is made anew. */
#include "llm_test.h"

#include "run_conv.h"

struct fixture {
	struct zw_tokenizer *tok;
	struct zw_chat_template *tmpl;
	struct conv c;
};

static void open(struct fixture *f, const char *system)
{
	struct zw_error err = {""};
	char path[512], *text;
	size_t len;
	FILE *file;

	*f = (struct fixture){0};
	snprintf(path, sizeof(path), "%s/qwen3-kdoc", test_dir("ZW_TEST_MODELS"));
	assert_int_equal(zw_tokenizer_open(path, &f->tok, &err), 0);
	snprintf(path, sizeof(path), "%s/chat/thinking.jinja", test_dir("ZW_TEST_DATA"));
	file = fopen(path, "r");
	text = calloc(1, 65536);
	assert_true(file && text);
	len = fread(text, 1, 65535, file);
	fclose(file);
	assert_int_equal(zw_chat_template_parse(text, len, &f->tmpl, &err), 0);
	free(text);
	f->c.tok = f->tok;
	f->c.tmpl = f->tmpl;
	f->c.system = system;
	assert_int_equal(conv_begin(&f->c), 0);
}

static void close_all(struct fixture *f)
{
	conv_free(&f->c);
	zw_chat_template_close(f->tmpl);
	zw_tokenizer_close(f->tok);
}

static void say(struct fixture *f, const char *role, const char *text)
{
	assert_int_equal(conv_add(&f->c, role, text, strlen(text)), 0);
}

/* The ids of what stands in the context are those of its text, but where a model has cut it otherwise. */
static size_t prompt(struct fixture *f, const char *want)
{
	struct zw_error err = {""};
	bool reasoning;
	size_t keep, n;
	uint32_t *ids;

	if (conv_prompt(&f->c, &keep, &reasoning, &err))
		fail_msg("%s", err.msg);
	assert_false(reasoning);
	if (f->c.len != strlen(want) || memcmp(f->c.text, want, f->c.len))
		fail_msg("is   %.*s\nwant %s", (int)f->c.len, f->c.text, want);
	assert_int_equal(zw_tokenizer_encode(f->tok, want, strlen(want), 0, &ids, &n, &err), 0);
	assert_int_equal(n, f->c.num_ids);
	assert_memory_equal(ids, f->c.ids, n * sizeof(*ids));
	free(ids);
	return keep;
}

/* As a model would. */
static void write_text(struct fixture *f, const char *text)
{
	struct zw_error err;
	uint32_t *ids;
	size_t n;

	assert_int_equal(zw_tokenizer_encode(f->tok, text, strlen(text), 0, &ids, &n, &err), 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(conv_add_token(&f->c, ids[i]), 0);
	free(ids);
}

static cJSON *call(const char *arguments)
{
	cJSON *list = cJSON_CreateArray(), *call = cJSON_CreateObject();

	cJSON_AddStringToObject(call, "name", "f");
	cJSON_AddRawToObject(call, "arguments", arguments);
	cJSON_AddItemToArray(list, call);
	return list;
}

#define SYSTEM "<|im_start|>system\nS<|im_end|>\n"
#define ASK    "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"
#define MORE   "<|im_end|>\n<|im_start|>user\nR<|im_end|>\n<|im_start|>assistant\n"
#define TOOL                                                                                       \
	"<|im_end|>\n<|im_start|>user\n<tool_response>\nT\n</"                                     \
	"tool_response><|im_end|>\n<|im_start|>assistant\n"

static void appended(void **state)
{
	struct fixture f;
	size_t before;

	open(&f, "S");
	say(&f, "user", "Q");
	prompt(&f, SYSTEM ASK);
	write_text(&f, "yes");
	before = f.c.num_ids;
	assert_int_equal(conv_add_answer(&f.c, "yes", "", NULL), 0);
	say(&f, "user", "R");
	assert_int_equal(prompt(&f, SYSTEM ASK "yes" MORE), before);
	close_all(&f);
}

/* White space that the template would not write stays: it is what the model has seen of itself. */
static void kept_as_written(void **state)
{
	static const char written[] =
		"<think>\nhm\n</think>\n\n<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":1}}</"
		"tool_call>";
	struct fixture f;
	size_t before;

	open(&f, NULL);
	say(&f, "user", "Q");
	prompt(&f, ASK);
	write_text(&f, written);
	before = f.c.num_ids;
	assert_int_equal(conv_add_answer(&f.c, "", "hm", call("{\"a\":1}")), 0);
	say(&f, "tool", "T");
	assert_int_equal(prompt(&f,
				ASK "<think>\nhm\n</"
				    "think>\n\n<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":1}}"
				    "</tool_call>" TOOL),
			 before);
	/* And again behind it, though the text and the template differ by now. */
	write_text(&f, "<think>\nso\n</think>\n\n<tool_call>{\"name\":\"f\",\"arguments\":{}}</"
		       "tool_call>");
	before = f.c.num_ids;
	assert_int_equal(conv_add_answer(&f.c, "", "so", call("{}")), 0);
	say(&f, "tool", "T");
	assert_int_equal(
		prompt(&f,
		       ASK "<think>\nhm\n</"
			   "think>\n\n<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":1}}"
			   "</tool_call>" TOOL
			   "<think>\nso\n</think>\n\n<tool_call>{\"name\":\"f\",\"arguments\":{}}</"
			   "tool_call>" TOOL),
		before);
	close_all(&f);
}

/* Reasoning that the template drops is dropped: from there on all is new. */
static void made_anew(void **state)
{
	struct fixture f;
	size_t first, keep;

	open(&f, NULL);
	say(&f, "user", "Q");
	prompt(&f, ASK);
	first = f.c.num_ids;
	write_text(&f, "<think>\nhm\n</think>\n\nyes");
	assert_int_equal(conv_add_answer(&f.c, "yes", "hm", NULL), 0);
	say(&f, "user", "R");
	keep = prompt(&f, ASK "yes" MORE);
	assert_int_equal(keep, first);
	close_all(&f);
}

static void strange_bytes(void **state)
{
	struct fixture f;

	open(&f, NULL);
	assert_int_equal(conv_add(&f.c, "user",
				  "a\xff"
				  "b\0c",
				  5),
			 0);
	prompt(&f, "<|im_start|>user\na\xef\xbf\xbd"
		   "b\xef\xbf\xbd"
		   "c<|im_end|>\n<|im_start|>assistant\n");
	close_all(&f);
}

#define WRITTEN                                                                                    \
	"<think>\nhm\n</think>\n\n<tool_call>{\"name\":\"f\",\"arguments\":{\"n\":"                \
	"12345678901234567890}}</tool_call>"

/* What comes back from a file is gone on with as if it had never been away. */
static void saved(void **state)
{
	static const char big[] = "{\"n\":12345678901234567890}";
	struct fixture f, g;
	size_t len, before;
	char *data, *bad;

	open(&f, "S");
	say(&f, "user", "Q");
	prompt(&f, SYSTEM ASK);
	write_text(&f, WRITTEN);
	assert_int_equal(conv_add_answer(&f.c, "", "hm", call(big)), 0);
	assert_int_equal(conv_save(&f.c, &data, &len), 0);

	open(&g, NULL);
	assert_int_equal(conv_load(&g.c, data, len, f.c.ids, f.c.num_ids - 1), 0);
	before = g.c.num_ids;
	assert_int_equal(before, f.c.num_ids);
	say(&f, "tool", "T");
	say(&g, "tool", "T");
	assert_int_equal(prompt(&g, SYSTEM ASK WRITTEN TOOL), before);
	{
		char *a = cJSON_PrintUnformatted(f.c.messages);
		char *b = cJSON_PrintUnformatted(g.c.messages);

		assert_string_equal(a, b);
		cJSON_free(a);
		cJSON_free(b);
	}
	/* Of another context, cut off, and changed. */
	f.c.ids[1] ^= 1;
	assert_int_equal(conv_load(&g.c, data, len, f.c.ids, 2), -EBADMSG);
	for (size_t n = 0; n < len; n++)
		assert_int_equal(conv_load(&g.c, data, n, NULL, 0), -EBADMSG);
	bad = malloc(len);
	assert_non_null(bad);
	for (size_t n = 0; n < len; n++) {
		memcpy(bad, data, len);
		bad[n] ^= 0x20;
		/* Some changes are to texts, which may be anything. */
		if (!conv_load(&g.c, bad, len, NULL, 0))
			say(&g, "tool", "T");
	}
	free(bad);
	free(data);
	close_all(&f);
	close_all(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(appended),  cmocka_unit_test(kept_as_written),
		cmocka_unit_test(made_anew), cmocka_unit_test(strange_bytes),
		cmocka_unit_test(saved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: MIT
/*
 * Fuzz target for schemas. Input: a JSON schema, then, behind a NUL if there is one, a text. Whatever
 * of the text a matcher accepts must be completed by what it says completes it, which another matcher
 * must take as a document. The same with the schema as that of a tool's parameters, in either style of calls.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zhenwu/llm.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct zw_grammar_vocab *vocab;

static void open_vocab(void)
{
	const char *models = getenv("ZW_TEST_MODELS");
	struct zw_tokenizer *t;
	char path[512];

	snprintf(path, sizeof(path), "%s/qwen3-kdoc", models ? models : "tests/models");
	if (zw_tokenizer_open(path, &t, NULL) || zw_grammar_vocab_open(t, &vocab, NULL))
		abort();
	zw_tokenizer_close(t);
}

static struct zw_grammar_matcher *open_matcher(const struct zw_grammar *g)
{
	struct zw_grammar_matcher *m;
	struct zw_error err;

	if (!zw_grammar_matcher_open(g, vocab, NULL, &m, &err))
		return m;
	if (!strstr(err.msg, "ambiguous"))
		abort();
	return NULL;
}

static void check_completion(const struct zw_grammar *g, const struct zw_grammar_matcher *m,
			     const char *begun, size_t n)
{
	struct zw_grammar_matcher *other = open_matcher(g);
	char *rest;
	size_t len;

	if (!other || zw_grammar_matcher_completion(m, &rest, &len))
		abort();
	if (zw_grammar_matcher_accept_bytes(other, begun, n) ||
	    zw_grammar_matcher_accept_bytes(other, rest, len) ||
	    zw_grammar_matcher_status(other) < ZW_GRAMMAR_COMPLETE)
		abort();
	free(rest);
	zw_grammar_matcher_close(other);
}

static void follow(struct zw_grammar *g, const char *text, size_t num_text)
{
	struct zw_grammar_matcher *m = open_matcher(g);
	size_t n = 0;

	if (m) {
		while (n < num_text && !zw_grammar_matcher_accept_bytes(m, text + n, 1))
			n++;
		check_completion(g, m, text, n);
	}
	zw_grammar_matcher_close(m);
	zw_grammar_close(g);
}

static void follow_calls(const char *schema, size_t len, const char *text, size_t num_text)
{
	static const uint32_t flags[] = {ZW_GRAMMAR_CALLS_JSON, ZW_GRAMMAR_CALLS_XML};
	struct zw_grammar *g;
	char *tools;

	if (asprintf(&tools, "[{\"name\":\"f\",\"parameters\":%.*s}]", (int)len, schema) < 0)
		abort();
	for (int i = 0; i < 2; i++) {
		if (!zw_grammar_open_answer(tools, NULL, flags[i], &g, NULL))
			follow(g, text, num_text);
	}
	free(tools);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = size ? memchr(data, 0, size) : NULL;
	size_t len = end ? (size_t)(end - data) : size;
	const char *schema = size ? (const char *)data : "";
	const char *text = end ? (const char *)end + 1 : "";
	size_t num_text = end ? size - len - 1 : 0;
	struct zw_grammar *g;

	if (!vocab)
		open_vocab();
	if (!zw_grammar_open_schema(schema, len, 0, &g, NULL))
		follow(g, text, num_text);
	follow_calls(schema, len, text, num_text);
	return 0;
}

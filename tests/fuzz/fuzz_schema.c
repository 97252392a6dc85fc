// SPDX-License-Identifier: MIT
/*
 * Fuzz target for schemas. Input: a JSON schema, then, behind a NUL if there is one, a text. Whatever
 * of the text a matcher accepts must be completed by what it says completes it, which another matcher
 * must take as a document.
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = size ? memchr(data, 0, size) : NULL;
	size_t len = end ? (size_t)(end - data) : size, n = 0;
	const char *text = end ? (const char *)end + 1 : "";
	size_t num_text = end ? size - len - 1 : 0;
	struct zw_grammar_matcher *m;
	struct zw_grammar *g;

	if (!vocab)
		open_vocab();
	if (zw_grammar_open_schema(size ? (const char *)data : "", len, 0, &g, NULL))
		return 0;
	m = open_matcher(g);
	if (m) {
		while (n < num_text && !zw_grammar_matcher_accept_bytes(m, text + n, 1))
			n++;
		check_completion(g, m, text, n);
	}
	zw_grammar_matcher_close(m);
	zw_grammar_close(g);
	return 0;
}

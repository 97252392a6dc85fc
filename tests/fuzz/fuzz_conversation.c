// SPDX-License-Identifier: MIT
/*
 * Fuzz target for saved conversations, what zw-run --chat --save-session puts behind a context. Input: the
 * bytes that conv_load() takes; or, when they do not begin as these do, its four parts between bytes of 0x1e, so
 * that an edit does not spoil the lengths in front of them. What is taken must come out of a second turn
 * through the file unchanged, and a question behind it gets its prompt or an error.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run_conv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct zw_chat_template *tmpl;
static struct zw_tokenizer *tok;

static void open_model(void)
{
	const char *models = getenv("ZW_TEST_MODELS");
	char path[512];

	snprintf(path, sizeof(path), "%s/qwen3next-agent", models ? models : "tests/models");
	if (zw_tokenizer_open(path, &tok, NULL) || zw_chat_template_open(path, &tmpl, NULL))
		abort();
}

static void check_same(const struct conv *c, const char *first, size_t len)
{
	struct conv again = {.tmpl = tmpl, .tok = tok};
	char *second;
	size_t n;

	if (conv_load(&again, first, len, c->ids, c->num_ids) || conv_save(&again, &second, &n))
		abort();
	if (n != len || memcmp(first, second, n))
		abort();
	free(second);
	conv_free(&again);
}

/* The parts with their header: malloc()ed. */
static char *framed(const uint8_t *data, size_t size, size_t *len)
{
	uint32_t bytes[4] = {0}, part = 0;
	char *file = malloc(24 + size), *p = file + 24;

	if (!file)
		abort();
	for (size_t i = 0; i < size; i++) {
		if (data[i] == 0x1e && part < 3) {
			part++;
			continue;
		}
		*p++ = (char)data[i];
		bytes[part]++;
	}
	memcpy(file, "ZWCHAT1\n", 8);
	memcpy(file + 8, bytes, sizeof(bytes));
	*len = (size_t)(p - file);
	return file;
}

static int load(struct conv *c, const uint8_t *data, size_t size)
{
	char *file;
	size_t len;
	int ret;

	if (size >= 6 && !memcmp(data, "ZWCHAT", 6))
		return conv_load(c, data, size, NULL, 0);
	file = framed(data, size, &len);
	ret = conv_load(c, file, len, NULL, 0);
	free(file);
	return ret;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conv c = {.tmpl = tmpl, .tok = tok, .tools = "[{\"name\":\"f\"}]"};
	bool reasoning;
	size_t len, keep;
	struct zw_error err;
	char *saved;

	if (!tok) {
		open_model();
		c.tmpl = tmpl;
		c.tok = tok;
	}
	if (!load(&c, data, size)) {
		if (conv_save(&c, &saved, &len))
			abort();
		check_same(&c, saved, len);
		free(saved);
		if (conv_add(&c, "user", "and\xff then?", 10))
			abort();
		if (!conv_prompt(&c, &keep, &reasoning, &err) && keep > c.num_ids)
			abort();
	}
	conv_free(&c);
	return 0;
}

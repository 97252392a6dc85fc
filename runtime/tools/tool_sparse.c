// SPDX-License-Identifier: MIT
#include "tool_sparse.h"

#include <stdio.h>
#include <string.h>

#include "tool_number.h"

/* By enum zw_sparse. */
enum { KINDS = 4 };
static const char *const kinds[KINDS] = {
	[ZW_SPARSE_NONE] = "none",
	[ZW_SPARSE_SLASH] = "slash",
	[ZW_SPARSE_BLOCKS] = "blocks",
	[ZW_SPARSE_MODEL] = "model",
};

const char *tool_sparse_name(const struct tool_sparse *s)
{
	return kinds[s->kind];
}

/* Of the n first characters of a text one of the names, or -1. */
static int find(const char *const *names, int count, const char *text, size_t n)
{
	for (int i = 0; i < count; i++) {
		if (strlen(names[i]) == n && !strncmp(names[i], text, n))
			return i;
	}
	return -1;
}

/* "KEY=N", n characters. */
static bool parse_key(const char *text, size_t n, struct tool_sparse *s)
{
	static const char *const keys[] = {"group", "from", "vertical", "slash", "keep"};
	uint32_t *const value[] = {&s->group, &s->from, &s->vertical, &s->slash, &s->keep};
	const char *eq = memchr(text, '=', n);
	char number[16];
	int key = eq ? find(keys, 5, text, (size_t)(eq - text)) : -1;
	size_t digits = eq ? n - (size_t)(eq + 1 - text) : 0;

	if (key < 0 || digits >= sizeof(number))
		return false;
	/* Of the kind that has it. */
	if ((key == 2 || key == 3) && s->kind != ZW_SPARSE_SLASH)
		return false;
	if (key == 4 && s->kind != ZW_SPARSE_BLOCKS)
		return false;
	snprintf(number, sizeof(number), "%.*s", (int)digits, eq + 1);
	return s->kind && tool_parse_u32(number, 1, INT32_MAX, value[key]);
}

bool tool_parse_sparse(const char *text, struct tool_sparse *s)
{
	size_t n = strcspn(text, ",");
	int kind = find(kinds, KINDS, text, n);

	if (kind < 0)
		return false;
	*s = (struct tool_sparse){.kind = (uint32_t)kind};
	while (text[n]) {
		text += n + 1;
		n = strcspn(text, ",");
		if (!parse_key(text, n, s))
			return false;
	}
	return true;
}

void tool_set_sparse(const struct tool_sparse *s, struct zw_ctx_options *o)
{
	o->sparse = s->kind;
	o->sparse_group = s->group;
	o->sparse_from = s->from;
	o->sparse_keep = s->keep;
	o->sparse_vertical = s->vertical;
	o->sparse_slash = s->slash;
}

// SPDX-License-Identifier: MIT
/* Stop texts: found in a text that comes in pieces, and never given out, not even in part. */
#include <zhenwu/llm_stop.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

struct stop_text {
	char *text;
	size_t len;
};

struct zw_stop {
	struct stop_text *texts;
	size_t num_texts;
	char *held; /* what was given out by the last call, then what is held back */
	size_t len, cap, given;
	bool found;
};

int zw_stop_open(const char *const *texts, size_t n, struct zw_stop **out, struct zw_error *err)
{
	struct zw_stop *s;

	if (!out || (n && !texts))
		return llm_fail(err, -EINVAL, "zw_stop_open: NULL argument");
	for (size_t i = 0; i < n; i++) {
		if (!texts[i] || !texts[i][0])
			return llm_fail(err, -EINVAL, "stop text %zu is empty", i);
	}
	s = calloc(1, sizeof(*s));
	if (s)
		s->texts = calloc(n + 1, sizeof(*s->texts));
	for (size_t i = 0; s && s->texts && i < n; i++) {
		s->texts[i].text = strdup(texts[i]);
		if (!s->texts[i].text)
			break;
		s->texts[i].len = strlen(texts[i]);
		s->num_texts++;
	}
	if (!s || s->num_texts < n || !s->texts) {
		zw_stop_close(s);
		return llm_fail(err, -ENOMEM, "out of memory");
	}
	*out = s;
	return 0;
}

void zw_stop_close(struct zw_stop *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->num_texts; i++)
		free(s->texts[i].text);
	free(s->texts);
	free(s->held);
	free(s);
}

/* Where the stop text begins that ends first, behind the first `from` bytes; s->len when none does. */
static size_t find_whole(const struct zw_stop *s, size_t from)
{
	for (size_t end = from + 1; end <= s->len; end++) {
		size_t longest = 0;

		for (size_t i = 0; i < s->num_texts; i++) {
			size_t n = s->texts[i].len;

			if (n > longest && n <= end &&
			    !memcmp(s->held + end - n, s->texts[i].text, n))
				longest = n;
		}
		if (longest)
			return end - longest;
	}
	return s->len;
}

/* Where what may become a stop text begins; s->len when nothing may. */
static size_t find_begun(const struct zw_stop *s)
{
	for (size_t at = 0; at < s->len; at++) {
		size_t left = s->len - at;

		for (size_t i = 0; i < s->num_texts; i++) {
			if (s->texts[i].len > left && !memcmp(s->held + at, s->texts[i].text, left))
				return at;
		}
	}
	return s->len;
}

/* Takes away what the last call gave out. */
static void drop_given(struct zw_stop *s)
{
	s->len -= s->given;
	if (s->len && s->given)
		memmove(s->held, s->held + s->given, s->len);
	s->given = 0;
}

int zw_stop_push(struct zw_stop *s, const char *text, size_t len, const char **out, size_t *out_len)
{
	size_t at, had;

	drop_given(s);
	*out = s->held;
	*out_len = 0;
	had = s->len;
	if (s->found)
		return 1;
	if (llm_grow(&s->held, &s->cap, s->len + len, 1))
		return -ENOMEM;
	if (len)
		memcpy(s->held + s->len, text, len);
	s->len += len;
	at = find_whole(s, had);
	s->found = at < s->len;
	if (s->found)
		s->len = at;
	s->given = s->found ? at : find_begun(s);
	*out = s->held;
	*out_len = s->given;
	return s->found;
}

void zw_stop_flush(struct zw_stop *s, const char **out, size_t *out_len)
{
	drop_given(s);
	*out = s->held;
	*out_len = s->given = s->len;
	s->found = false;
}

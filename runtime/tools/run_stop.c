// SPDX-License-Identifier: MIT
#include "run_stop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* First place where a stop text stands, whole or (at the end) only begun; s->len when nowhere. */
static size_t find(const struct run_stop *s, bool whole)
{
	for (size_t at = 0; at < s->len; at++) {
		size_t left = s->len - at;

		for (size_t i = 0; i < s->num_texts; i++) {
			size_t n = strlen(s->texts[i]);

			if (whole ? n > left : n <= left)
				continue;
			if (!memcmp(s->held + at, s->texts[i], whole ? n : left))
				return at;
		}
	}
	return s->len;
}

long run_stop_push(struct run_stop *s, const char *piece, size_t len, bool *hit)
{
	size_t at;

	if (s->cap - s->len < len) {
		size_t cap = (s->len + len) * 2;
		char *held = realloc(s->held, cap);

		if (!held)
			return -ENOMEM;
		s->held = held;
		s->cap = cap;
	}
	if (len)
		memcpy(s->held + s->len, piece, len);
	s->len += len;
	at = find(s, true);
	*hit = at < s->len;
	return (long)(*hit ? at : find(s, false));
}

void run_stop_drop(struct run_stop *s, size_t len)
{
	s->len -= len;
	if (s->len)
		memmove(s->held, s->held + len, s->len);
}

void run_stop_free(struct run_stop *s)
{
	free(s->held);
}

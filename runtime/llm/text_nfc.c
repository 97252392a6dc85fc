// SPDX-License-Identifier: MIT
/* NFC, with two corrections to utf8proc: a bound on its time, and a character that 2.8 swallows. */
#include "tokenizer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

/* Canonical ordering moves marks one step at a time: a run of n may cost n * n steps. */
#define MARKS_MAX 4096

/*
 * U+11A7 is one below the first trailing consonant of Hangul. utf8proc before 2.9 composes it with a
 * syllable in front of it, to nothing. It composes with nothing on either side and is a starter, so
 * the text can be cut in front of it.
 */
static const char below_trailing[] = "\xe1\x86\xa7";

/* Checks the runs of marks; also says whether the text is ASCII, which NFC leaves alone. */
static int scan(const char *p, size_t len, bool *ascii, struct zw_error *err)
{
	size_t marks = 0;

	*ascii = true;
	for (size_t i = 0; i < len;) {
		utf8proc_int32_t cp;

		if ((uint8_t)p[i] < 0x80) {
			marks = 0;
			i++;
			continue;
		}
		*ascii = false;
		i += (size_t)utf8proc_iterate((const utf8proc_uint8_t *)p + i,
					      (utf8proc_ssize_t)(len - i), &cp);
		if (!utf8proc_get_property(cp)->combining_class)
			marks = 0;
		else if (++marks > MARKS_MAX)
			return llm_fail(err, -EFBIG, "more than %d combining characters in a row",
					MARKS_MAX);
	}
	return 0;
}

/* Bytes up to the next place where the text must be cut. */
static size_t piece(const char *p, size_t len)
{
	const char *cut = len > 3 ? memmem(p + 1, len - 1, below_trailing, 3) : NULL;

	return cut ? (size_t)(cut - p) : len;
}

int text_nfc(const char *p, size_t len, char **out, size_t *n, struct zw_error *err)
{
	bool ascii;
	FILE *f;
	int ret = scan(p, len, &ascii, err);

	if (ret)
		return ret;
	*out = NULL;
	f = open_memstream(out, n);
	if (!f)
		return llm_fail(err, -ENOMEM, "out of memory");
	if (ascii)
		fwrite(p, 1, len, f);
	for (size_t at = 0, k; !ascii && at < len && !ret; at += k) {
		utf8proc_uint8_t *norm = NULL;
		utf8proc_ssize_t got;

		k = piece(p + at, len - at);
		got = utf8proc_map((const utf8proc_uint8_t *)p + at, (utf8proc_ssize_t)k, &norm,
				   UTF8PROC_STABLE | UTF8PROC_COMPOSE);
		if (got < 0)
			ret = llm_fail(err, got == UTF8PROC_ERROR_NOMEM ? -ENOMEM : -EINVAL,
				       "normalising the text: %s", utf8proc_errmsg(got));
		else
			fwrite(norm, 1, (size_t)got, f);
		free(norm);
	}
	if (fclose(f) && !ret)
		ret = llm_fail(err, -ENOMEM, "out of memory");
	if (ret) {
		free(*out);
		*out = NULL;
	}
	return ret;
}

// SPDX-License-Identifier: MIT
/* NFC by utf8proc, with a bound on its time and with cuts where the results would differ. */
#include "tokenizer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

/* Canonical ordering moves marks one step at a time: a run of n may cost n * n steps. */
#define MARKS_MAX 4096

/*
 * Where the text is cut, and each piece normalised by itself.
 *
 * In front of U+11A7, one below the first trailing consonant of Hangul: utf8proc before 2.9 composes
 * it with a syllable in front of it, to nothing. It composes with nothing on either side and is a
 * starter.
 *
 * On both sides of what the Unicode versions 10 to 17 gave a combining class or a canonical
 * decomposition, or made the first part of one: the tables of Hugging Face's tokenizers are those of
 * Unicode 9, to which these are starters that compose with nothing. So the ids are its ids, whatever the
 * version of utf8proc.
 */
#define BELOW_TRAILING 0x11a7

static const struct {
	uint32_t first, last;
} newer[] = {
	{0x7fd, 0x7fd},     {0x897, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},
	{0xc3c, 0xc3c},     {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0x1715, 0x1715},
	{0x1abf, 0x1add},   {0x1ae0, 0x1aeb},   {0x1df6, 0x1dfa},   {0xa82c, 0xa82c},
	{0x105c9, 0x105c9}, {0x105d2, 0x105d2}, {0x105da, 0x105da}, {0x105e4, 0x105e4},
	{0x10d24, 0x10d27}, {0x10d69, 0x10d6d}, {0x10eab, 0x10eac}, {0x10efa, 0x10efb},
	{0x10efd, 0x10eff}, {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070},
	{0x1133b, 0x1133b}, {0x11382, 0x11385}, {0x1138b, 0x1138b}, {0x1138e, 0x1138e},
	{0x11390, 0x11391}, {0x113c2, 0x113c2}, {0x113c5, 0x113c5}, {0x113c7, 0x113c8},
	{0x113ce, 0x113d0}, {0x1145e, 0x1145e}, {0x11839, 0x1183a}, {0x11935, 0x11935},
	{0x11938, 0x11938}, {0x1193d, 0x1193e}, {0x11943, 0x11943}, {0x119e0, 0x119e0},
	{0x11a34, 0x11a34}, {0x11a47, 0x11a47}, {0x11a99, 0x11a99}, {0x11d42, 0x11d42},
	{0x11d44, 0x11d45}, {0x11d97, 0x11d97}, {0x11f41, 0x11f42}, {0x1611e, 0x1611e},
	{0x16121, 0x16129}, {0x1612f, 0x1612f}, {0x16d63, 0x16d63}, {0x16d67, 0x16d6a},
	{0x16ff0, 0x16ff1}, {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae},
	{0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef}, {0x1e5ee, 0x1e5ef}, {0x1e6e3, 0x1e6e3},
	{0x1e6e6, 0x1e6e6}, {0x1e6ee, 0x1e6ef}, {0x1e6f5, 0x1e6f5},
};

static bool is_newer(utf8proc_int32_t cp)
{
	size_t low = 0, high = ZW_ARRAY_SIZE(newer);

	while (low < high) {
		size_t mid = (low + high) / 2;

		if ((uint32_t)cp > newer[mid].last)
			low = mid + 1;
		else if ((uint32_t)cp < newer[mid].first)
			high = mid;
		else
			return true;
	}
	return false;
}

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
	size_t i = 0;

	while (i < len) {
		utf8proc_int32_t cp = (uint8_t)p[i];
		size_t n = 1;
		bool alone;

		if (cp >= 0x80)
			n = (size_t)utf8proc_iterate((const utf8proc_uint8_t *)p + i,
						     (utf8proc_ssize_t)(len - i), &cp);
		alone = cp >= 0x80 && is_newer(cp);
		if (i && (alone || cp == BELOW_TRAILING))
			break;
		i += n;
		if (alone)
			break;
	}
	return i;
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

// SPDX-License-Identifier: MIT
#include "tool_drafts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "small_files.h"
#include "tool_random.h"

bool tool_drafts_parse(const char *text, struct tool_drafts *d)
{
	*d = (struct tool_drafts){0};
	if (!strncmp(text, "file:", 5)) {
		d->file = text + 5;
		return *d->file;
	}
	while (d->rates < ZW_CTX_MAX_REWIND) {
		char *end;
		double p = strtod(text, &end);

		/* Written so that NaN fails. */
		if (end == text || !(p >= 0 && p <= 1))
			return false;
		d->rate[d->rates++] = p;
		if (!*end)
			return true;
		if (*end != ':')
			return false;
		text = end + 1;
	}
	return false;
}

static int bad_file(const struct tool_drafts *d, struct zw_error *err, const char *what)
{
	snprintf(err->msg, sizeof(err->msg), "%.150s: %s", d->file, what);
	return -EINVAL;
}

int tool_drafts_open(struct tool_drafts *d, uint64_t seed, struct zw_error *err)
{
	int ret;

	/* Not the draws of the prompt, or of the routing. */
	d->state = ~seed;
	if (!d->file)
		return 0;
	ret = ids_read_json(d->file, &d->counts, &d->n, err);
	if (ret)
		return ret;
	if (!d->n || d->n % 2)
		return bad_file(d, err, "no list of pairs, tried and right");
	for (size_t i = 0; i < d->n; i += 2) {
		if (d->counts[i] > ZW_CTX_MAX_REWIND || d->counts[i + 1] > d->counts[i])
			return bad_file(
				d, err,
				"a pair has more than can be tried, or more right than tried");
	}
	return 0;
}

uint32_t tool_drafts_guess(void *drafts, uint32_t most, uint32_t *right)
{
	struct tool_drafts *d = drafts;
	uint32_t n = 0;

	if (d->n) {
		const uint32_t *pair = &d->counts[d->at];

		d->at = d->at + 2 == d->n ? 0 : d->at + 2;
		*right = pair[1];
		return pair[0];
	}
	while (n < most) {
		double p = d->rate[n < d->rates ? n : d->rates - 1];

		if ((double)(tool_random(&d->state) >> 11) >= p * 0x1p53)
			break;
		n++;
	}
	*right = n;
	return most;
}

void tool_drafts_checked(void *drafts, uint32_t tried, uint32_t right)
{
	struct tool_drafts *d = drafts;

	if (d->cap - d->n < 2) {
		size_t cap = 2 * d->cap + 256;
		uint32_t *more = realloc(d->counts, cap * sizeof(*more));

		if (!more) {
			d->no_memory = true;
			return;
		}
		d->counts = more;
		d->cap = cap;
	}
	d->counts[d->n++] = tried;
	d->counts[d->n++] = right;
}

int tool_drafts_write(const struct tool_drafts *d, const char *path, struct zw_error *err)
{
	if (!d->no_memory)
		return ids_write_json(path, d->counts, d->n, err);
	snprintf(err->msg, sizeof(err->msg), "out of memory for the drafts");
	return -ENOMEM;
}

void tool_drafts_close(struct tool_drafts *d)
{
	free(d->counts);
	d->counts = NULL;
}

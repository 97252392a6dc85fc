/* SPDX-License-Identifier: MIT */
/*
 * How many drafted tokens are right where nothing computes it: drawn, or recorded; and the recording. The same seed
 * gives the same steps.
 */
#ifndef ZW_TOOL_DRAFTS_H
#define ZW_TOOL_DRAFTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <zhenwu/llm.h>

struct tool_drafts {
	/* How likely the first, the second... is right, those before it being right; the last is for all behind it. */
	double rate[ZW_CTX_MAX_REWIND];
	uint32_t rates;
	const char *file; /* a recording in place of that, or NULL */
	/* The rest is its own. */
	uint64_t state;
	uint32_t *counts; /* tried and right of each step: recorded, being recorded */
	size_t n, cap, at;
	bool no_memory;
};

/* "P[:P]...", each 0 to 1, or "file:F"; false for anything else. */
bool tool_drafts_parse(const char *text, struct tool_drafts *d);
/* Reads the file, if one was named, and checks it. */
int tool_drafts_open(struct tool_drafts *d, uint64_t seed, struct zw_error *err);
/* guess() and checked() of struct zw_generate_params, of which opaque is the drafts. */
uint32_t tool_drafts_guess(void *drafts, uint32_t most, uint32_t *right);
void tool_drafts_checked(void *drafts, uint32_t tried, uint32_t right);
/* What was recorded, to a file. */
int tool_drafts_write(const struct tool_drafts *d, const char *path, struct zw_error *err);
void tool_drafts_close(struct tool_drafts *d);

#endif

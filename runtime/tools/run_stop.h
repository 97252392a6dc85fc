/* SPDX-License-Identifier: MIT */
/* Stop texts: found in a text that comes in pieces, and never printed, not even in part. */
#ifndef ZW_RUN_STOP_H
#define ZW_RUN_STOP_H

#include <stdbool.h>
#include <stddef.h>

struct run_stop {
	const char *const *texts;
	size_t num_texts;
	char *held; /* what may be the start of a stop text */
	size_t len, cap;
};

/*
 * Adds a piece. Returns the bytes at the start of s->held that can be printed now, or -ENOMEM; *hit
 * says that a stop text follows them. run_stop_drop() then removes what was printed.
 */
long run_stop_push(struct run_stop *s, const char *piece, size_t len, bool *hit);
void run_stop_drop(struct run_stop *s, size_t len);
void run_stop_free(struct run_stop *s);

#endif

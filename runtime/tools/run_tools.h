/* SPDX-License-Identifier: MIT */
/* --tools DIR: each executable file there is a tool. */
#ifndef ZW_RUN_TOOLS_H
#define ZW_RUN_TOOLS_H

#include <stddef.h>
#include <stdint.h>

#include <zhenwu/base.h>

struct run_tool {
	char *name, *path;
};

struct run_tools {
	struct run_tool *t;
	size_t n;
	char *json;     /* what the model is told of them, a list; NULL without tools */
	double seconds; /* a call may take */
	uint64_t calls, failed;
};

/* Asks every tool for its schema. 0 or a negative errno with err filled in. */
int run_tools_open(struct run_tools *t, const char *dir, struct zw_error *err);
void run_tools_free(struct run_tools *t);

/*
 * Runs a call and gives the response for the model, malloc()ed: what the tool has written, or {"error": ...} when
 * there is no such tool, or it fails, takes too long or is interrupted (*stop). NULL: out of memory.
 */
char *run_tools_call(struct run_tools *t, const char *name, const char *arguments,
		     const volatile int *stop);
/* {"error": ...}, malloc()ed, and counted. */
char *run_tools_error(struct run_tools *t, const char *what, const char *detail);

#endif

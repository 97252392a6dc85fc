/* SPDX-License-Identifier: MIT */
/*
 * A trace as a file: processes with tracks, slices and moments on them, flows between these, and counters. Two forms:
 * Chrome's trace events in JSON (trace_json.c) and Perfetto's native protobuf (trace_proto.c). Times are picoseconds;
 * JSON has them as they are, Perfetto whole nanoseconds.
 *
 * Slices of one track are written in the order of their begins and do not overlap. An error of the file sticks and is
 * told by trace_file_close(). Not thread safe.
 */
#ifndef ZW_TRACE_FILE_H
#define ZW_TRACE_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct trace_arg {
	const char *name;
	uint64_t value;
	const char *text; /* in place of the value */
};

/* A slice, or with end == start a moment. */
struct trace_slice {
	uint32_t track;
	const char *name;
	uint64_t start_ps, end_ps;
	const struct trace_arg *args;
	size_t num_args;
	uint64_t flow_from, flow_to; /* a flow begins here, ends here; 0: none */
};

struct trace_file;

struct trace_form {
	void (*begin)(struct trace_file *t);
	void (*process)(struct trace_file *t, uint32_t pid, const char *name);
	/* rank: place among those of its process */
	void (*track)(struct trace_file *t, uint32_t pid, uint32_t track, const char *name,
		      uint32_t rank);
	void (*slice)(struct trace_file *t, const struct trace_slice *s);
	void (*counter)(struct trace_file *t, uint32_t pid, uint32_t track, const char *name,
			const char *unit, uint32_t rank);
	void (*value)(struct trace_file *t, uint32_t track, uint64_t ps, uint64_t nano);
	void (*end)(struct trace_file *t);
};

extern const struct trace_form trace_json, trace_proto;

#define TRACE_MAX_TRACKS 32768u

struct trace_file {
	const struct trace_form *form;
	FILE *f;
	int error;                         /* -errno, 0: none so far */
	uint32_t pid_of[TRACE_MAX_TRACKS]; /* by track; 0: there is no such track */
	const char *counter, *unit;        /* of the counters; NULL: there is none */
	void *priv;                        /* the form's own; free() ends it */
};

/* A name that ends in .json has JSON in it. 0 or -errno. */
int trace_file_open(const char *path, struct trace_file **out);
void trace_file_process(struct trace_file *t, uint32_t pid, const char *name);
/* Track numbers are the caller's, 1 .. TRACE_MAX_TRACKS - 1; the second time does nothing. */
void trace_file_track(struct trace_file *t, uint32_t pid, uint32_t track, const char *name,
		      uint32_t rank);
void trace_file_slice(struct trace_file *t, const struct trace_slice *s);
/*
 * A track with a value in place of slices, of which a process has one, with the same name and unit in all; these stay the
 * caller's and last as long as the file. A value holds from `ps` until the next one; times do not fall.
 */
void trace_file_counter(struct trace_file *t, uint32_t pid, uint32_t track, const char *name,
			const char *unit, uint32_t rank);
/* nano: billionths of the unit. */
void trace_file_value(struct trace_file *t, uint32_t track, uint64_t ps, uint64_t nano);
/* 0, or the first error. NULL is nothing. */
int trace_file_close(struct trace_file *t);

#endif

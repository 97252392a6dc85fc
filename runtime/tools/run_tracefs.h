/* SPDX-License-Identifier: MIT */
/* Events of the driver, from tracefs, for --trace. */
#ifndef ZW_RUN_TRACEFS_H
#define ZW_RUN_TRACEFS_H

#include <stdbool.h>
#include "trace_file.h"

#define TRACEFS_MAX_ARGS 10u

struct tracefs;

struct tracefs_event {
	uint64_t ns;      /* CLOCK_MONOTONIC, whole microseconds */
	const char *name; /* "zhenwu_job_run" */
	struct trace_arg args[TRACEFS_MAX_ARGS];
	size_t num_args;
};

/* Removes instances of processes of a tool that were killed before they could. `instances`: the folder that holds them. */
void tracefs_sweep(const char *instances, const char *tool);
/*
 * Has the kernel keep the events of the device at a PCI address from now on, in an instance of its own, which disturbs no
 * other user of tracefs. NULL: it cannot be, and *why (static text) says why.
 */
struct tracefs *tracefs_begin(const char *tool, const char *bus, const char **why);
/* Ends that. Tells every event, in the order of time; strings are gone afterwards. How many the kernel had no room for. NULL is nothing. */
uint64_t tracefs_end(struct tracefs *t, void (*event)(void *opaque, const struct tracefs_event *e),
		     void *opaque);

#endif

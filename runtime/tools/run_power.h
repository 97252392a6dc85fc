/* SPDX-License-Identifier: MIT */
/*
 * The power of the chip as a counter of a trace: what it takes by itself, and the energy of each packet spread evenly over
 * the time from its begin to its end. Edges are at whole nanoseconds, which is what Perfetto's times are, and the energy
 * is spread over the time between these, at least one: so the integral of the counter is the energy of the packets and
 * idle_watts for all the time, in every form of the file.
 */
#ifndef ZW_RUN_POWER_H
#define ZW_RUN_POWER_H

#include <stdbool.h>

#include <zhenwu/zhenwu.h>

#include "trace_file.h"

struct power;

/* The counter begins at time 0. NULL: out of memory. */
struct power *power_begin(struct trace_file *f, uint32_t pid, uint32_t track, uint32_t rank,
			  uint32_t idle_watts);
/* What a record of the device tells. False: out of memory. */
bool power_add(struct power *p, const struct zw_trace_record *r);
/* All that was added; what is added from now on is later. all: up to the last end. NULL is nothing. */
void power_write(struct power *p, bool all);
/* The rest, and the end. NULL is nothing. */
void power_end(struct power *p);

#endif

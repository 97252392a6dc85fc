/* SPDX-License-Identifier: MIT */
/* --trace: what the device and this process did, as a file (Documentation/tracing.md). */
#ifndef ZW_RUN_TRACE_H
#define ZW_RUN_TRACE_H

#include <zhenwu/zhenwu.h>

struct run_trace;

/* 0, or -errno; *out NULL then. */
int run_trace_open(const char *path, struct run_trace **out);
/* The device whose records are taken; it was opened with ZW_DEV_TRACE. */
void run_trace_device(struct run_trace *t, struct zw_dev *dev);
/* What the process did since the last call, or is not to be shown (name NULL). Takes records. NULL is no trace. */
void run_trace_step(struct run_trace *t, const char *name, const char *arg, uint64_t value);
/*
 * When all queues are gone and the device is not: the rest of the records, and the end of the file. 0, or -errno: the
 * file is not whole; *lost: records that the library had no room for.
 */
int run_trace_close(struct run_trace *t, uint64_t *lost);

#endif

/* SPDX-License-Identifier: MIT */
/* --trace: what the device and this process did, as a file (Documentation/tracing.md). */
#ifndef ZW_RUN_TRACE_H
#define ZW_RUN_TRACE_H

#include <zhenwu/zhenwu.h>

struct run_trace;

/* Of the program `tool`; both strings stay the caller's and last as long. 0, or -errno, which it has said; *out NULL then. */
int run_trace_open(const char *tool, const char *path, struct run_trace **out);
/* The device whose records are taken; it was opened with ZW_DEV_TRACE. */
void run_trace_device(struct run_trace *t, struct zw_dev *dev);
/*
 * Several of them, in place of run_trace_device(), each with tracks of its own; not in a Chakra trace. Their clocks are
 * put together by run_trace_shift(): what begins at from_ps by the card's began at to_ps by that of all, and so on up to
 * the next one. To be told before the next run_trace_step(), in order.
 */
void run_trace_cards(struct run_trace *t, struct zw_dev *const *dev, uint32_t cards);
void run_trace_shift(struct run_trace *t, uint32_t card, uint64_t from_ps, uint64_t to_ps);
/* What the process did since the last call, or is not to be shown (name NULL). Takes records. NULL is no trace. */
void run_trace_step(struct run_trace *t, const char *name, const char *arg, uint64_t value);
/*
 * When all queues are gone and the device is not: the rest of the records, and the end of the file. Returns the exit status of
 * a program that ended with `status`: failure, which it has said, if the file is not whole and there was no other.
 */
int run_trace_close(struct run_trace *t, int status);

#endif

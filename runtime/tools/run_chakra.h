/* SPDX-License-Identifier: MIT */
/*
 * The last step of a run as a Chakra execution trace (MLCommons' et_def.proto, schema version 0.0.4): a node for each packet,
 * which depends on what the packet waited for. Documentation/tracing.md says what is in it.
 */
#ifndef ZW_RUN_CHAKRA_H
#define ZW_RUN_CHAKRA_H

#include <stdio.h>

#include <zhenwu/zhenwu.h>

struct chakra;

/* The file is the caller's. NULL: out of memory. */
struct chakra *chakra_begin(FILE *f, const char *profile);
/* A record of the device's. Steps are jobs that have packets of layers. 0 or -ENOMEM. */
int chakra_add(struct chakra *c, const struct zw_trace_record *r);
/*
 * Writes the last step and frees. NULL is nothing. 0, -ENOMEM, -ENODATA: no step ran; -EOVERFLOW: a packet depends on more
 * than a node has room for; -EPROTO: a packet began before what it depends on had ended. Errors of the file stay in it.
 */
int chakra_end(struct chakra *c);

#endif

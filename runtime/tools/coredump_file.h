/* SPDX-License-Identifier: MIT */
/* Device coredumps (Documentation/coredump.md): read, checked, shown. */
#ifndef ZW_COREDUMP_FILE_H
#define ZW_COREDUMP_FILE_H

#include <stddef.h>
#include <stdio.h>

#define COREDUMP_VERSION   1
#define COREDUMP_MAX_BYTES (64u << 20)

struct zw_error;
struct coredump;

/*
 * Parses `len` bytes of a dump, whoever wrote them; they are copied. 0, or -EINVAL with the line and
 * what is wrong with it in `err`, -EFBIG beyond COREDUMP_MAX_BYTES, -ENOMEM. `out` is given back with
 * coredump_free().
 */
int coredump_parse(const char *text, size_t len, struct coredump **out, struct zw_error *err);
void coredump_free(struct coredump *dump);

/* Shows it: numbers by name, the command buffer disassembled. */
void coredump_print(const struct coredump *dump, FILE *out);

#endif

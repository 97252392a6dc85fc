/* SPDX-License-Identifier: MIT */
#ifndef ZW_READ_TEXT_H
#define ZW_READ_TEXT_H

#include <stddef.h>

/*
 * A whole file, or standard input for "-", to its last byte in malloc()ed memory, and a NUL behind it
 * that does not count. 0 or -errno.
 */
int read_text(const char *path, char **text, size_t *len);

#endif

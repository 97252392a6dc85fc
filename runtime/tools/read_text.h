/* SPDX-License-Identifier: MIT */
#ifndef ZW_READ_TEXT_H
#define ZW_READ_TEXT_H

#include <stddef.h>

/* A text to read or to go on with; a million tokens are some 5 MB. */
#define READ_TEXT_MAX (256u << 20)

/*
 * A whole file, or standard input for "-", to its last byte in malloc()ed memory, and a NUL behind it
 * that does not count. 0 or -errno: -EFBIG when there are more than max bytes, as in devices and
 * pipes that do not end.
 */
int read_text(const char *path, size_t max, char **text, size_t *len);

#endif

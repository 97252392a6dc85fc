/* SPDX-License-Identifier: MIT */
/* The part of <string.h> that prog_start.S implements; the cross compiler comes without a libc. */
#ifndef RV_FREESTANDING_STRING_H
#define RV_FREESTANDING_STRING_H

#include <stddef.h>

void *memcpy(void *restrict dst, const void *restrict src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);

#endif

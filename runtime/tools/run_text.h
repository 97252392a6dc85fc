/* SPDX-License-Identifier: MIT */
/* Bytes from outside as text. */
#ifndef ZW_RUN_TEXT_H
#define ZW_RUN_TEXT_H

#include <stddef.h>

/* Length of the UTF-8 character at the beginning of n bytes, 0 when there is none; overlong forms, NUL and
 * surrogates are none. */
size_t run_text_char(const char *p, size_t n);
/* A malloc()ed copy in which every byte that belongs to no character is U+FFFD; or NULL. */
char *run_text_clean(const char *text, size_t len);

#endif

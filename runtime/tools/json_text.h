/* SPDX-License-Identifier: MIT */
/* JSON is UTF-8, paths are bytes. */
#ifndef ZW_JSON_TEXT_H
#define ZW_JSON_TEXT_H

#include <cjson/cJSON.h>

#include <zhenwu/base.h>

/* Adds a text to an object; what is not a character becomes U+FFFD. */
void json_add_text(cJSON *o, const char *key, const char *text);
/* Writes it to a file, and frees it; -ENOMEM, what opening and writing files can give. */
int json_write(cJSON *o, const char *path, struct zw_error *err);

#endif

/* SPDX-License-Identifier: MIT */
/* JSON is UTF-8, paths are bytes. */
#ifndef ZW_JSON_TEXT_H
#define ZW_JSON_TEXT_H

#include <cjson/cJSON.h>

/* Adds a text to an object; what is not a character becomes U+FFFD. */
void json_add_text(cJSON *o, const char *key, const char *text);

#endif

/* SPDX-License-Identifier: MIT */
/* --json-schema and --json: a schema from a file or from the command line. */
#ifndef ZW_RUN_SCHEMA_H
#define ZW_RUN_SCHEMA_H

#include <zhenwu/llm.h>

/*
 * A text that begins with { is the schema, another one is the name of a file (- is standard input).
 * Errors name the file. *text is malloc()ed, NUL behind it.
 */
int run_schema_read(const char *arg, char **text, struct zw_error *err);
int run_schema_open(const char *arg, struct zw_grammar **out, struct zw_error *err);

#endif

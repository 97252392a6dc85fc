/* SPDX-License-Identifier: MIT */
/* The option --sparse of the tools: KIND[,KEY=N]... */
#ifndef ZW_TOOL_SPARSE_H
#define ZW_TOOL_SPARSE_H

#include <stdbool.h>

#include <zhenwu/llm.h>

/* As of struct zw_ctx_options. */
struct tool_sparse {
	uint32_t kind, group, from, keep, vertical, slash;
};

/* False for a text that is none. */
bool tool_parse_sparse(const char *text, struct tool_sparse *s);
const char *tool_sparse_name(const struct tool_sparse *s);
void tool_set_sparse(const struct tool_sparse *s, struct zw_ctx_options *o);

#endif

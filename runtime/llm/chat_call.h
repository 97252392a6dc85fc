/* SPDX-License-Identifier: MIT */
/* The text of one call to its name and arguments. */
#ifndef ZW_LLM_CHAT_CALL_H
#define ZW_LLM_CHAT_CALL_H

#include "jinja.h"

struct chat_call {
	const struct jstr *name;
	struct jbuf arguments; /* JSON; free() its p */
};

/* The body of a Hermes-style call, without its tags. */
int chat_call_json(struct jctx *c, const char *text, size_t len, struct chat_call *call);
/* <function=...>...</function>; schema: the list of tools, or not a list. */
int chat_call_xml(struct jctx *c, const char *text, size_t len, const struct jval *tools,
		  struct chat_call *call);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * A conversation: its messages, and the tokens that stand for them in the context. What a model wrote stays in
 * the context as it was written; only what follows is made by the template. Where the template says
 * otherwise about what was before (it drops old reasoning), the tokens are made anew.
 */
#ifndef ZW_RUN_CONV_H
#define ZW_RUN_CONV_H

#include <cjson/cJSON.h>
#include <zhenwu/llm.h>

struct conv {
	const struct zw_chat_template *tmpl;
	const struct zw_tokenizer *tok;
	uint32_t flags;     /* ZW_CHAT_THINKING, ZW_CHAT_NO_THINKING */
	const char *system; /* or NULL */
	const char *tools;  /* JSON, or NULL */
	cJSON *messages;
	char *text; /* what stands in the context, with what was generated */
	size_t len, cap;
	char *rendered; /* what the template last gave */
	size_t rendered_len;
	uint32_t *ids; /* the tokens of text */
	size_t num_ids, cap_ids;
};

/* The fields up to tools are set. 0 or -ENOMEM. */
int conv_begin(struct conv *c);
void conv_free(struct conv *c);

/* A message of the user or a tool. Bytes that are not UTF-8, and NUL, become U+FFFD. */
int conv_add(struct conv *c, const char *role, const char *text, size_t len);
/* An answer; calls is a list of {"name", "arguments"} that goes over, or NULL. */
int conv_add_answer(struct conv *c, const char *text, const char *reasoning, cJSON *calls);
/* A token that the model chose. */
int conv_add_token(struct conv *c, uint32_t id);

/*
 * Makes ids the tokens in front of the next answer. *keep of them, at the beginning, are those there were
 * before. *reasoning: the answer begins inside a thinking block.
 */
int conv_prompt(struct conv *c, size_t *keep, bool *reasoning, struct zw_error *err);

/* All of it but the template and what the system is told by options, as malloc()ed bytes for a file. */
int conv_save(const struct conv *c, char **data, size_t *len);
/*
 * Becomes what was saved, in place of conv_begin(). The context has these n tokens, which must be the first
 * of those that the conversation has: -EBADMSG otherwise, and for bytes that are none.
 */
int conv_load(struct conv *c, const void *data, size_t len, const uint32_t *ids, size_t n);

#endif

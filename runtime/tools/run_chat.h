/* SPDX-License-Identifier: MIT */
/* zw-run --chat: a conversation, with tools. */
#ifndef ZW_RUN_CHAT_H
#define ZW_RUN_CHAT_H

#include "run.h"
#include "run_stats.h"

/* What can be wrong with the template and the tools is found before a device is touched. */
int run_chat_open(struct run *r, struct run_chat **out);
void run_chat_close(struct run_chat *c);

/* What answers may be: *out stays NULL when that is any text. */
int run_chat_grammar(const struct run_chat *c, struct zw_grammar **out, struct zw_error *err);

/* Talks until the input ends or /quit; res receives the sums. */
int run_chat(struct run *r, struct run_chat *c, struct zw_generate_result *res);
/* A conversation in a session's file: it is gone on with, and saved. */
int run_chat_load(struct run_chat *c, const struct zw_snapshot *snap);
int run_chat_save(struct run_chat *c, struct zw_error *err);
/* NULL without a conversation. */
const struct run_chat_stats *run_chat_get_stats(const struct run_chat *c);

#endif

/* SPDX-License-Identifier: MIT */
/* zw-run --chat: a conversation, with tools. */
#ifndef ZW_RUN_CHAT_H
#define ZW_RUN_CHAT_H

#include "run.h"
#include "run_stats.h"

/* What can be wrong with the template and the tools is found before a device is touched. */
int run_chat_open(struct run *r, struct run_chat **out);
void run_chat_close(struct run_chat *c);

/* Talks until the input ends or /quit; res receives the sums. */
int run_chat(struct run *r, struct run_chat *c, struct zw_generate_result *res);
/* NULL without a conversation. */
const struct run_chat_stats *run_chat_get_stats(const struct run_chat *c);

#endif

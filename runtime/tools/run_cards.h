/* SPDX-License-Identifier: MIT */
/* zw-run --timing on several cards, each with its share of the layers: tool_cards.h. */
#ifndef ZW_RUN_CARDS_H
#define ZW_RUN_CARDS_H

#include "run_agent.h"

/*
 * The whole run, statistics included: prompts of `batch` sequences, then tokens - 1 steps of each; or with an agent its
 * calls, whose texts are so many tokens. On r->a.cards cards, or with 0 on as many as have room, two or more. Returns the
 * exit status.
 */
int run_cards(struct run *r, uint32_t batch, uint64_t tokens, struct run_agent *agent);

#endif

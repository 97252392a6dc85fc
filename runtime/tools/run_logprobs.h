/* SPDX-License-Identifier: MIT */
/* Logarithms of probabilities as JSON, with the keys that OpenAI's API has. */
#ifndef ZW_RUN_LOGPROBS_H
#define ZW_RUN_LOGPROBS_H

#include <stdio.h>

#include <zhenwu/llm.h>

/*
 * One line for a token: lp[0] is its own entry, the others are its top_logprobs. tok may be NULL.
 * Non-zero when it cannot be written.
 */
int logprobs_print(FILE *f, const struct zw_tokenizer *tok, const struct zw_logprob *lp, size_t n);

#endif

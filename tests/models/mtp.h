/* SPDX-License-Identifier: MIT */
/* What a model's MTP head gives, which no call of the library shows. */
#ifndef MTP_H
#define MTP_H

#include <zhenwu/llm.h>

/*
 * Logits [n - 1, V] of the head at each of n tokens but the last, with the token that is behind it. The
 * context has a head, sequence 0 and as many outputs and tokens of a step.
 */
int mtp_logits(struct zw_ctx *ctx, const uint32_t *ids, uint32_t n, float *logits,
	       struct zw_error *err);

#endif

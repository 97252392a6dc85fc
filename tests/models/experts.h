/* SPDX-License-Identifier: MIT */
/* Experts that the device chose for the tokens of a prompt, and those that exact arithmetic chooses. */
#ifndef EXPERTS_H
#define EXPERTS_H

#include <zhenwu/llm.h>

struct experts_diff {
	uint32_t choices, flips; /* tokens * layers with experts; those whose sets differ */
	double widest; /* of the flips: the most by which the last expert was ahead, in logits */
	double rms;    /* of the exact logits against those given */
};

/* Whether the model has experts at all. */
bool experts_model(const struct zw_model *m);
/*
 * Compares what the context's last step, of these n tokens, chose with a forward pass in double
 * precision of the checkpoint in dir; its last logits with want [rows, V].
 */
int experts_compare(struct zw_ctx *ctx, const char *dir, const uint32_t *ids, uint32_t n,
		    const float *want, uint32_t rows, struct experts_diff *diff,
		    struct zw_error *err);

#endif

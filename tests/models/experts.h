/* SPDX-License-Identifier: MIT */
/* Experts that the device chose for the tokens of a prompt, and those that exact arithmetic chooses. */
#ifndef EXPERTS_H
#define EXPERTS_H

#include <zhenwu/llm.h>

struct experts_diff {
	uint32_t choices, flips; /* tokens * layers with experts; those whose sets differ */
	double widest; /* of the flips: the most by which the last expert was ahead, in logits */
};

/* What a forward pass in double precision of a checkpoint makes of a prompt of n tokens. */
struct experts_exact {
	uint32_t n, layers, k;
	uint32_t *chosen; /* [n, layers, k] */
	double *lead;     /* [n, layers]: by how much the last of them is ahead, in logits */
	double rms;       /* of the logits against those expected */
};

/* Whether the model has experts at all. */
bool experts_model(const struct zw_model *m);
/*
 * The pass of the checkpoint in dir; rms is that of its last logits against want [rows, V]. It takes minutes on an
 * emulated CPU: keep, if not NULL, names a file that has it, when it is of this model and these ids, and
 * gets it otherwise.
 */
int experts_pass(const struct zw_model *m, const char *dir, const uint32_t *ids, uint32_t n,
		 const float *want, uint32_t rows, const char *keep, struct experts_exact *exact,
		 struct zw_error *err);
void experts_exact_free(struct experts_exact *exact);
/* Compares what the context's last step, of these tokens, chose with it. */
int experts_compare(struct zw_ctx *ctx, const struct experts_exact *exact,
		    struct experts_diff *diff, struct zw_error *err);

#endif

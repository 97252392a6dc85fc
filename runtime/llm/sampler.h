/* SPDX-License-Identifier: MIT */
/* Inside of the sampler: parameters, history, the logits being worked on, candidates. */
#ifndef ZW_LLM_SAMPLER_H
#define ZW_LLM_SAMPLER_H

#include <zhenwu/llm_sampler.h>

#include "util.h"

/* Largest id a history may hold: as many tokens as a model may have. */
#define SAMPLER_ID_MAX (1u << 22)

/* A token of the history, once however often it came. */
struct sampler_seen {
	uint32_t id;
	uint32_t generated; /* times behind the last prompt */
};

struct sampler_cand {
	float logit;
	uint32_t id;
};

struct zw_sampler {
	struct zw_sampling_params p; /* its lists point to memory of the sampler */
	uint64_t rng[4];

	uint32_t *history;
	size_t num_history, cap_history;
	size_t prompt_end; /* what lies behind it was generated */
	struct sampler_seen *seen;
	size_t num_seen, cap_seen;
	uint32_t *seen_at; /* by id: index in seen + 1, 0 = not there */
	size_t num_seen_at;

	uint64_t *known; /* bit per id: the tokenizer has a token for it; NULL: all ids may come */
	size_t num_known;
	size_t first_unknown; /* lowest id without a bit */

	float *work; /* copy of the logits where they are changed */
	size_t cap_work;
	struct sampler_cand *cand;
	size_t cap_cand;
};

/* True when steps 0 to 9 may change one of n logits. */
bool sampler_changes(const struct zw_sampler *s, size_t n);
/* Whether the choice is the best of n logits, or the best of those that the mask leaves. */
bool sampler_greedy(const struct zw_sampler *s, size_t n);
/* Whether there is a mask that may change something now. */
bool sampler_masks(const struct zw_sampler *s);
/* Steps 0 to 9. *out is logits itself when nothing changes, else s->work. */
int sampler_process(struct zw_sampler *s, const float *logits, size_t n, const float **out,
		    struct zw_error *err);

/*
 * Candidates in order of rank, as far as they are asked for: a heap gives them one by one, so that a
 * draw which falls early has not sorted the vocabulary. What top-k keeps is ranked beforehand,
 * because its mass must be known.
 */
struct sampler_pool {
	struct sampler_cand *c;
	size_t total;
	size_t ranked; /* rank r < ranked is c[total - 1 - r]; the others are a heap in front of them */
	size_t end;  /* top-k keeps ranks below it */
	size_t rank; /* of the next one to be given; 0 begins again */
	double best; /* logit of rank 0 */
	double temperature;
	double mass; /* of ranks below end when rank 0 weighs 1 */
};

/* -EDOM when a logit is NaN or +infinity or all are excluded; *best is the lowest of the largest. */
int sampler_find_best(const float *logits, size_t n, uint32_t *best, struct zw_error *err);

/* Steps 10 and 11; `best` is the largest of the logits. */
int sampler_pool_fill(struct zw_sampler *s, const float *logits, size_t n, float best,
		      struct sampler_pool *pool, struct zw_error *err);
/* The candidate of the next rank and its weight (1 for rank 0), or false behind the last. */
bool sampler_pool_next(struct sampler_pool *pool, uint32_t *id, double *weight);

/* 53 random bits as a number in [0, 1). */
double sampler_uniform(struct zw_sampler *s);
void sampler_seed(struct zw_sampler *s, uint64_t seed);

#endif

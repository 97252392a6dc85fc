/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu-llm: logits to a token. No device is needed.
 * Conventions are those of <zhenwu/llm.h>.
 */
#ifndef ZHENWU_LLM_SAMPLER_H
#define ZHENWU_LLM_SAMPLER_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** How to turn logits into a token; see zw_sampler_open() for order and meaning. */
struct zw_sampling_params {
	uint32_t size;     /**< sizeof(struct zw_sampling_params) */
	uint32_t top_k;    /**< keep the k best, 0 = all */
	float temperature; /**< 0 = greedy (the rest is then ignored); otherwise logits /
			      temperature */
	float top_p;       /**< nucleus mass in [0, 1]; 1 = off */
	float min_p; /**< drop what is below min_p times the best probability, [0, 1]; 0 = off */
	uint32_t reserved; /**< must be 0 */
	uint64_t seed;     /**< of the generator; equal seeds give equal choices on every host */
};

/** Chooses tokens; holds the generator's state and scratch. Single-threaded. */
struct zw_sampler;

/**
 * The order is that of Hugging Face transformers: temperature, top-k, top-p, min-p, draw.
 *  - top-k keeps exactly k (transformers keeps all that tie with the k-th);
 *  - top-p keeps the shortest prefix, in order of falling probability, whose mass reaches top_p,
 * and always at least one token;
 *  - min-p drops tokens below min_p times the best probability of what is left;
 *  - ties are ordered by id, lowest first, everywhere, so greedy takes the lowest of equal ids.
 * Probabilities are formed in double precision. The draw takes one 53-bit number per token from
 * xoshiro256** (Blackman, Vigna 2018), seeded through splitmix64: a seed gives the same tokens on
 * every host for the same logits, since only exp() enters and is rounded far below the steps that
 * decide.
 *
 * -EINVAL (with a message) for values out of range.
 */
ZW_API int zw_sampler_open(const struct zw_sampling_params *params, struct zw_sampler **out,
			   struct zw_error *err);
ZW_API void zw_sampler_close(struct zw_sampler *s);
/**
 * Chooses among logits[0..n). The caller leaves out what may not be chosen: padding rows above the
 * tokenizer by passing zw_tokenizer_size() as n, single tokens by setting them to -INFINITY.
 * -EDOM when a logit is NaN or +infinity or nothing is left to choose: a sign of a broken model or
 * device, never hidden. Logits are not changed.
 */
ZW_API int zw_sampler_pick(struct zw_sampler *s, const float *logits, size_t n, uint32_t *id,
			   struct zw_error *err);

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_LLM_SAMPLER_H */

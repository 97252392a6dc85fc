/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu-llm: generation_config.json, how a model's makers want its tokens to be chosen.
 * No device is needed. Conventions are those of <zhenwu/llm.h>.
 */
#ifndef ZHENWU_LLM_GENERATION_CONFIG_H
#define ZHENWU_LLM_GENERATION_CONFIG_H

#include "llm_sampler.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A model's generation defaults. Immutable. */
struct zw_generation_config;

/**
 * Reads PATH/generation_config.json. Without one, the keys are looked for in PATH/config.json, where
 * older files have them, but for max_length and max_new_tokens; and without those the defaults hold.
 *
 * Applied: do_sample, temperature, top_k, top_p, min_p, repetition_penalty, no_repeat_ngram_size,
 * bad_words_ids, sequence_bias, min_length, min_new_tokens, suppress_tokens, begin_suppress_tokens, max_length,
 * max_new_tokens, stop_strings, eos_token_id (the union of both files). Defaults are those of
 * transformers: greedy, and when sampling is turned on temperature 1, top-k 50, top-p 1.
 *
 * Every other key that would change what transformers generates (beams, guidance, constraints,
 * typical_p and so on) is refused by name (-EOPNOTSUPP) unless its value has no effect.
 *
 * Of a GGUF file: general.sampling.temp, .top_k, .top_p, .min_p and .penalty_repeat, which turn sampling on
 * when any is there, and the tokens that end a text.
 *
 * @param path  a folder or a GGUF file
 * Thread safety: reentrant.
 */
ZW_API int zw_generation_config_open(const char *path, struct zw_generation_config **out,
				     struct zw_error *err);
/** Closes; NULL is allowed. */
ZW_API void zw_generation_config_close(struct zw_generation_config *gc);

/**
 * What the files say about choosing; seed 0. sp->size set by the caller. The lists in it belong to
 * gc. -EINVAL for a size that is too small. Immutable.
 */
ZW_API int zw_generation_config_get_sampling(const struct zw_generation_config *gc,
					     struct zw_sampling_params *sp);
/**
 * Most tokens to generate behind a prompt of n tokens: max_new_tokens, else max_length less the
 * prompt (0 when that is used up), else UINT64_MAX: the files do not say. Immutable.
 */
ZW_API uint64_t zw_generation_config_max_tokens(const struct zw_generation_config *gc, size_t n);
/** Texts that end the answer, *n of them; they belong to gc. Immutable. */
ZW_API const char *const *zw_generation_config_stop_strings(const struct zw_generation_config *gc,
							    size_t *n);

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_LLM_GENERATION_CONFIG_H */

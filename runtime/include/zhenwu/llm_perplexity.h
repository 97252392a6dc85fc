/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu-llm: how well a model foretells a text. Conventions are those of <zhenwu/llm.h>.
 *
 * The perplexity of tokens t_0 .. t_n-1 is exp of the mean of -ln p(t_i | tokens before t_i), the
 * natural logarithm, over the tokens that are scored. A model sees at most a window of them at a
 * time. Windows begin `stride` tokens apart; in each, those tokens are scored that no window before
 * has scored, but never the first token of a window, before which there is nothing. So
 *
 *	stride = window      the text is cut into pieces, each of which begins without a past
 *	stride < window      a sliding window: every token but the first of the text is scored once, and
 *	                     all behind the first window with window - stride tokens or more before it
 *
 * Nothing is put in front of the text. Perplexities of different windows, strides or tokenizers are
 * not to be compared.
 */
#ifndef ZHENWU_LLM_PERPLEXITY_H
#define ZHENWU_LLM_PERPLEXITY_H

#include "base.h"
#include "llm_context.h"

#ifdef __cplusplus
extern "C" {
#endif

struct zw_perplexity_result {
	uint32_t size;     /**< in: sizeof; out: bytes filled */
	uint32_t windows;  /**< that were computed */
	uint64_t scored;   /**< tokens */
	double nll;        /**< sum of -ln p over them */
	double perplexity; /**< exp(nll / scored) */
	/** Standard error of the perplexity, as if tokens were independent: perplexity times that of the
	 *  mean of -ln p. 0 for fewer than two tokens. */
	double error;
};

struct zw_perplexity_options {
	uint32_t size;        /**< sizeof(struct zw_perplexity_options) */
	uint32_t flags;       /**< must be 0 */
	uint32_t window;      /**< tokens, 2 to the context's limit; 0: 512 or that limit */
	uint32_t stride;      /**< tokens, 1 to window; 0: half the window */
	uint64_t max_windows; /**< stop after so many; 0: at the end of the text */
	/** May be NULL. Called after each window with what there is so far, and the number of windows
	 *  that there will be; non-zero cancels. */
	int (*progress)(void *opaque, const struct zw_perplexity_result *so_far, uint64_t windows);
	void *opaque;
};

/**
 * Computes the perplexity of n tokens (n >= 2). Takes a sequence of the context and gives it back;
 * no other step may be in flight. The logits of a step come to the host: a context with more than a
 * few `logits` does more of them in one step.
 *
 * @param opt     NULL for the defaults
 * @param result  result->size set by the caller; filled on success
 * @return 0; -EINVAL for arguments out of range; -ENOSPC when the context has no sequence or no room
 *         left; -ERANGE for an id that is not below vocab_size; -EBUSY, -EIO and others as
 *         zw_ctx_submit() and zw_ctx_wait(); -ECANCELED; -EDOM when logits are no numbers
 */
ZW_API int zw_perplexity(struct zw_ctx *ctx, const uint32_t *ids, size_t n,
			 const struct zw_perplexity_options *opt,
			 struct zw_perplexity_result *result, struct zw_error *err);

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_LLM_PERPLEXITY_H */

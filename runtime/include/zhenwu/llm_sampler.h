/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu-llm: logits to a token. No device is needed.
 * Conventions are those of <zhenwu/llm.h>.
 *
 * A choice goes through the steps below, in this order, which is that of Hugging Face transformers.
 * l is the logit of a token; steps 0 to 9 also hold for greedy decoding. "The history" is what
 * zw_sampler_prompt() and zw_sampler_accept() were told, "generated" the part of it behind the last
 * prompt.
 *
 *   0 bias         l += bias of the token; a bias of a sequence counts for its last token when the
 *                  history ends in the ones before it (and is longer than they are)
 *   1 repetition   l = l < 0 ? l * repetition_penalty : l / repetition_penalty, once for each
 *                  different token of the history
 *   2 frequency    l -= frequency_penalty * (times the token was generated)      (not transformers':
 *   3 presence     l -= presence_penalty when the token was generated             OpenAI's and vLLM's)
 *   4 n-grams      a token that would complete an n-gram (n = no_repeat_ngram) that the history has
 *                  already is excluded
 *   5 bad words    of each sequence the last token is excluded when the history ends in the ones
 *                  before it; a sequence of one stop token is ignored, one longer than the history
 *                  too
 *   6 minimum      stop tokens are excluded while the history is shorter than min_length or fewer
 *                  than min_new_tokens were generated
 *   7 suppress     tokens of suppress are excluded, those of begin_suppress when nothing was
 *                  generated yet
 *   8 mask         mask() may change any logit
 *   9 tokens       ids that zw_sampler_set_tokenizer() knows no token for are excluded
 *     greedy       temperature 0: the best is chosen
 *  10 temperature  l / temperature
 *  11 top-k        exactly k are kept (transformers keeps all that tie with the k-th)
 *  12 top-p        the shortest run in order of falling probability whose mass reaches top_p, at
 *                  least one token
 *  13 min-p        tokens below min_p times the best probability are dropped
 *  14 draw
 *
 * Ties are ordered by id, lowest first, everywhere, so greedy takes the lowest of equal ids. Steps 0
 * to 3 are computed in binary32, probabilities in double precision. A draw takes one 53-bit number
 * from xoshiro256** (Blackman, Vigna 2018), seeded through splitmix64: a seed gives the same tokens
 * on every host for the same logits, since only exp() enters and is rounded far below the steps that
 * decide. Time of a choice is O(n + k log n) for n logits of which k are looked at before the draw
 * falls.
 */
#ifndef ZHENWU_LLM_SAMPLER_H
#define ZHENWU_LLM_SAMPLER_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct zw_tokenizer;

/** A sequence or set of token ids; the memory is the caller's. */
struct zw_token_list {
	const uint32_t *ids;
	size_t n;
};

/** A number that is added to logits (OpenAI's logit_bias, transformers' sequence_bias). */
struct zw_logit_bias {
	struct zw_token_list ids; /**< n >= 1; one past the logits is fine; see step 0 */
	float bias;               /**< finite, or -INFINITY, which excludes */
};

/** How to turn logits into a token. Zero in the fields behind min_p is off. */
struct zw_sampling_params {
	uint32_t size;     /**< sizeof(struct zw_sampling_params) */
	uint32_t top_k;    /**< keep the k best, 0 = all */
	float temperature; /**< 0 = greedy; otherwise logits / temperature */
	float top_p;       /**< nucleus mass in [0, 1]; 1 = off */
	float min_p; /**< drop what is below min_p times the best probability, [0, 1]; 0 = off */
	uint32_t no_repeat_ngram; /**< n of the n-grams that may not come twice */
	uint64_t seed; /**< of the generator; equal seeds give equal choices on every host */
	float repetition_penalty; /**< above 1 discourages; 0 or 1 = off, else > 0 */
	float frequency_penalty;  /**< [-100, 100] */
	float presence_penalty;   /**< [-100, 100] */
	uint32_t min_new_tokens;  /**< generated before a stop token may come */
	uint32_t min_length;      /**< prompt and generated before a stop token may come */
	uint32_t num_bad_words;   /**< entries of bad_words */
	struct zw_token_list
		stop; /**< stop tokens, for steps 5 and 6; ids past the logits are fine */
	struct zw_token_list suppress;         /**< never chosen; ids past the logits are fine */
	struct zw_token_list begin_suppress;   /**< not chosen as the first token */
	const struct zw_token_list *bad_words; /**< sequences (n >= 1) that may not be completed */
	/**
	 * Constrained output: called with the n logits of a choice (a copy) and may set those of
	 * tokens that cannot come to -INFINITY. Non-zero fails the choice with -ECANCELED.
	 */
	int (*mask)(void *opaque, float *logits, size_t n);
	void *mask_opaque;
	const struct zw_logit_bias *bias; /**< those of one token add up, as all do */
	uint64_t num_bias;
	/** NULL, or whether mask() would change nothing of the next choice: then that needs no more than it
	 *  does without a mask, see zw_sampler_needs(). Called with mask_opaque. */
	int (*mask_idle)(void *opaque);
};

/** Chooses tokens; holds history, the generator's state and scratch. Single-threaded. */
struct zw_sampler;

/**
 * Opens a sampler; what the parameters point to is copied. -EINVAL, with a message, for values out
 * of range.
 */
ZW_API int zw_sampler_open(const struct zw_sampling_params *params, struct zw_sampler **out,
			   struct zw_error *err);
/** Closes; NULL is allowed. */
ZW_API void zw_sampler_close(struct zw_sampler *s);

/**
 * Excludes ids that are not tokens of this tokenizer: padding rows of the embedding, whatever lies
 * above them. The tokenizer is not used after the call. -ENOMEM.
 */
ZW_API int zw_sampler_set_tokenizer(struct zw_sampler *s, const struct zw_tokenizer *tok);

/**
 * Appends tokens that are given, not chosen, to the history; counts of generated tokens start again
 * behind them. -EINVAL for an id above 2^22, -ENOMEM: then the history is as before.
 */
ZW_API int zw_sampler_prompt(struct zw_sampler *s, const uint32_t *ids, size_t n);
/** Appends a generated token to the history. zw_sampler_pick() does not do it. Errors as above. */
ZW_API int zw_sampler_accept(struct zw_sampler *s, uint32_t id);
/** Forgets the history, for another sequence. The generator goes on where it is. */
ZW_API void zw_sampler_reset(struct zw_sampler *s);

/**
 * Chooses among logits[0..n). They are not changed. -EDOM when a logit is NaN or +infinity or
 * nothing is left to choose: a sign of a broken model or device or of contradicting parameters,
 * never hidden.
 */
ZW_API int zw_sampler_pick(struct zw_sampler *s, const float *logits, size_t n, uint32_t *id,
			   struct zw_error *err);

/**
 * How many of the best of n logits are enough for the next choice: 1 for a greedy sampler, top_k for
 * one that keeps no more; 0: all are needed, because steps 0 to 9 may change some of them or nothing
 * limits the choice. It may be another number behind each token that a mask_idle() has seen. So many candidates, falling, equals by rising id, may stand in place of all
 * logits in zw_sampler_pick(); what it gives is then an index of theirs, the one of the token that it
 * gives for all logits.
 */
ZW_API uint32_t zw_sampler_needs(const struct zw_sampler *s, size_t n);

/**
 * Writes the distribution that zw_sampler_pick() would draw from: probs[0..n), summing to 1, zero for
 * what was excluded or dropped, one-hot when greedy. Nothing is drawn. Errors as zw_sampler_pick().
 *
 * With zw_sampler_draw() this is what speculative decoding needs: a drafted token x is taken with
 * probability p[x] / q[x], otherwise one is drawn from max(p - q, 0).
 */
ZW_API int zw_sampler_probs(struct zw_sampler *s, const float *logits, size_t n, float *probs,
			    struct zw_error *err);

/**
 * Draws an index with probability weights[i] / (their sum), with the sampler's generator. -EDOM when
 * a weight is negative, NaN or infinite, or all are zero.
 */
ZW_API int zw_sampler_draw(struct zw_sampler *s, const float *weights, size_t n, uint32_t *id,
			   struct zw_error *err);

/** A token and the natural logarithm of its probability. */
struct zw_logprob {
	uint32_t id;
	float logprob; /**< -INFINITY for a token that was excluded */
};

/**
 * Logarithms of probabilities of the model itself, the logits as they are (what vLLM calls
 * raw_logprobs, and reports by default): of `chosen`, and of the `top` most probable tokens, falling,
 * equals by rising id. No step above enters; in particular not the temperature.
 *
 * @param out  receives 1 + min(top, n) entries, the one of `chosen` first; it may come again
 * @return how many; -EINVAL, `chosen` not below n among others; -EDOM as zw_sampler_pick(), -ENOMEM
 * Thread safety: reentrant.
 */
ZW_API int64_t zw_logprobs(const float *logits, size_t n, uint32_t chosen, size_t top,
			   struct zw_logprob *out, struct zw_error *err);

/**
 * The same of the distribution behind step 10 (vLLM's processed_logprobs without its top-k and
 * top-p): biases, penalties, exclusions and the temperature (1 when greedy) have entered, top-k, top-p and
 * min-p have not. The history must be as it was when `chosen` was picked. -ECANCELED as
 * zw_sampler_pick().
 */
ZW_API int64_t zw_sampler_logprobs(struct zw_sampler *s, const float *logits, size_t n,
				   uint32_t chosen, size_t top, struct zw_logprob *out,
				   struct zw_error *err);

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_LLM_SAMPLER_H */

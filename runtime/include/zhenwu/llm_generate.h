/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu-llm: the loop from a prompt to generated tokens. Conventions are those of
 * <zhenwu/llm.h>.
 */
#ifndef ZHENWU_LLM_GENERATE_H
#define ZHENWU_LLM_GENERATE_H

#include "base.h"
#include "llm_context.h"
#include "llm_sampler.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Why a generation stopped. */
enum zw_finish {
	ZW_FINISH_STOP = 1,     /**< the model chose a stop token */
	ZW_FINISH_LENGTH = 2,   /**< max_tokens were generated */
	ZW_FINISH_CONTEXT = 3,  /**< the context is full */
	ZW_FINISH_CALLBACK = 4, /**< the callback asked for it */
	ZW_FINISH_CANCEL = 5,   /**< of a scheduler's request: it was cancelled */
	ZW_FINISH_ERROR = 6,    /**< of a scheduler's request: choosing a token failed */
};

/** Go on when the model chooses a stop token; it is given to the callback like any other. */
#define ZW_GENERATE_IGNORE_STOP        (1u << 0)
/** The logprobs are zw_sampler_logprobs(), not zw_logprobs(). */
#define ZW_GENERATE_PROCESSED_LOGPROBS (1u << 1)

/** Where tokens come from that are tried before they are chosen, so that one step may give several. */
enum zw_draft {
	ZW_DRAFT_NONE = 0,
	ZW_DRAFT_MTP = 1,  /**< the model's MTP head; the context was made with `draft` */
	ZW_DRAFT_NGRAM = 2 /**< what followed the last tokens where they stood before */
};

struct zw_generate_params {
	uint32_t size;              /**< sizeof(struct zw_generate_params) */
	uint32_t flags;             /**< ZW_GENERATE_* */
	uint32_t seq;               /**< the sequence to go on with */
	uint32_t reserved;          /**< must be 0 */
	uint64_t max_tokens;        /**< most tokens to generate; 0 is allowed: prefill only */
	struct zw_sampler *sampler; /**< not NULL */
	float *prompt_logits;       /**< as all_logits of struct zw_eval_options, or NULL */
	/** Called with each generated token, but not with the stop token; non-zero ends. */
	int (*token)(void *opaque, uint32_t id);
	/** Called with the tokens of the prompt that were computed, at 0, between steps and at the
	 *  end; non-zero ends (ZW_FINISH_CALLBACK, nothing is generated). May be NULL. */
	int (*progress)(void *opaque, uint64_t done, uint64_t total);
	void *opaque;
	/** NULL, or called in front of token() with the entry of the token and those of the top_logprobs
	 *  most probable ones, n in all, over the ids below the context's `vocab`. All logits come to the
	 *  host then. */
	void (*logprobs)(void *opaque, const struct zw_logprob *lp, size_t n);
	uint64_t top_logprobs;
	/** With a greedy sampler, which may have a mask, and no logprobs: so many tokens are drafted for each
	 *  step, which checks them and says one more; else nothing is drafted. The tokens are those without drafts. The
	 *  context has room for draft_tokens + 1 tokens and outputs in a step, and `rewind` or, for
	 *  ZW_DRAFT_MTP, `draft` at least as large. */
	uint32_t draft;        /**< enum zw_draft */
	uint32_t draft_tokens; /**< 0..ZW_CTX_MAX_REWIND */
	/** On a device that computes nothing (ZW_DEV_TIMING_ONLY), where it has to be there if tokens are drafted:
	 *  how many are drafted for the next step, of `most` that there is room for (of ZW_DRAFT_MTP always
	 *  that many), and in *right how many of them, from the first on, are what is chosen. */
	uint32_t (*guess)(void *opaque, uint32_t most, uint32_t *right);
	/** NULL, or told of each step that had room for drafts how many were tried, and how many of them right. */
	void (*checked)(void *opaque, uint32_t tried, uint32_t right);
	void *drafts_opaque; /**< of these two */
};

struct zw_generate_result {
	uint32_t size;   /**< in: sizeof; out: bytes filled */
	uint32_t finish; /**< enum zw_finish */
	uint64_t prompt_tokens;
	uint64_t generated_tokens; /**< without the stop token */
	uint64_t prefill_ns;       /**< wall time of the prompt */
	uint64_t decode_ns; /**< wall time from the end of prefill: sampling, callback and all */
	/** NULL, or structures of the caller's (their `size` set) that receive what the prompt and
	 *  the generated tokens that were fed back have cost; where a stop token or a callback ended
	 *  it, also a step that was under way by then and whose result was not needed. */
	struct zw_ctx_stats *prefill, *decode;
	uint64_t drafted_tokens;  /**< tried */
	uint64_t accepted_tokens; /**< of these, and generated or a stop token */
};

/**
 * Evaluates the prompt (n >= 1 tokens appended to the sequence) and generates. The stop tokens are
 * the model's; only ids below the context's `vocab` are chosen. The last token chosen is not fed
 * back. The sampler is told the prompt and each token that is fed back (zw_sampler_prompt(),
 * zw_sampler_accept()): one that has seen other tokens before is to be reset by the caller.
 *
 * A greedy sampler's choice is made on the device, and so is the choice of the candidates of one
 * that keeps no more than the context's top_k (see zw_sampler_needs()); only for others do logits
 * come to the host. The tokens are the same. With a greedy sampler and more than one step in the
 * context the device is a token ahead of the callback, which must leave the sequence alone.
 *
 * @return as zw_ctx_eval(); -EDOM when the logits are no numbers
 */
ZW_API int zw_generate(struct zw_ctx *ctx, const struct zw_generate_params *params,
		       const uint32_t *prompt, size_t n, struct zw_generate_result *result,
		       struct zw_error *err);

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_LLM_GENERATE_H */

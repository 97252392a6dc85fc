/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu-llm: many requests over one context. Conventions are those of <zhenwu/llm.h>.
 *
 * A scheduler turns requests (a prompt, a sampler, callbacks) into steps of a context: each step has
 * a token of every request that is decoding and pieces of the prompts of those that are not there yet.
 * Requests run in the order of their priority, then of their arrival. One is admitted when the
 * context has a sequence for it and the pool room for its text beside what those that run have
 * still to fill; when the pool runs short later, the last in that order is preempted: its KV cache goes to
 * system memory and comes back, or is given up and computed again. Whatever happens, a request gets the
 * tokens that it gets alone (zw_generate() with an equal sampler); what a context with delta_chunked adds
 * to that is in Documentation/llm.md, "In chunks".
 *
 * A scheduler, its context and its samplers are single-threaded but for zw_sched_cancel().
 */
#ifndef ZHENWU_LLM_SCHED_H
#define ZHENWU_LLM_SCHED_H

#include "base.h"
#include "llm_context.h"
#include "llm_generate.h"
#include "llm_sampler.h"

#ifdef __cplusplus
extern "C" {
#endif

struct zw_sched;

/** Preempted requests compute again what they had, rather than keep it in system memory. */
#define ZW_SCHED_RECOMPUTE (1u << 0)
/**
 * A step is submitted before the one before it is waited for, where that can be: the context has more than
 * one step, nobody waits for room, nobody drafts, and what is chosen is the device's best token (a greedy
 * sampler without a mask). The device then does not wait for the host between two steps. A step is in
 * flight when zw_sched_step() returns: what is forked meanwhile shares nothing that is computed.
 */
#define ZW_SCHED_AHEAD     (1u << 1)

struct zw_sched_options {
	uint32_t size;        /**< sizeof(struct zw_sched_options) */
	uint32_t flags;       /**< ZW_SCHED_* */
	uint32_t step_tokens; /**< most tokens of a step; 0, or more than it: the context's batch */
	/** Most tokens of a step that are of prompts longer than one: bounds what a long prompt adds
	 *  to the time between two tokens of others. 0: what the step has left. */
	uint32_t prompt_tokens;
	uint64_t swap_bytes; /**< most system memory for KV caches of preempted ones; 0: no limit */
};

/**
 * Makes a scheduler. The context must outlive it; other sequences in it are left alone, but steps of
 * others are not to be in flight while a function of the scheduler is called.
 *
 * @param opt  NULL for the defaults
 */
ZW_API int zw_sched_create(struct zw_ctx *ctx, const struct zw_sched_options *opt,
			   struct zw_sched **out, struct zw_error *err);

/** Ends all requests that are left (ZW_FINISH_CANCEL, done() is called) and frees; NULL is allowed. */
ZW_API void zw_sched_destroy(struct zw_sched *sched);

struct zw_request_params {
	uint32_t size;       /**< sizeof(struct zw_request_params) */
	uint32_t flags;      /**< ZW_GENERATE_* */
	int32_t priority;    /**< greater ones first */
	uint32_t reserved;   /**< must be 0 */
	uint64_t max_tokens; /**< most tokens to generate; 0 is allowed: the prompt only */
	struct zw_sampler
		*sampler; /**< not NULL, of this request alone; the caller's until done() */
	/** Called with each generated token, but not with the stop token; non-zero ends. */
	int (*token)(void *opaque, uint64_t request, uint32_t id);
	/**
	 * Called once, at the end: enum zw_finish, and the error of ZW_FINISH_ERROR. Not for requests
	 * that zw_sched_add() refused. May be NULL. The request is gone.
	 *
	 * Callbacks may add, fork and cancel requests, but not step or destroy.
	 */
	void (*done)(void *opaque, uint64_t request, uint32_t finish, int error);
	void *opaque;
	/**
	 * With a greedy sampler: so many tokens are drafted for each step that has room for them, else
	 * nothing is: each takes a token and an output of the step (`outputs` of the context). The tokens
	 * are those without drafts. The context has `rewind` at least as large and, for ZW_DRAFT_MTP,
	 * `draft` (-EINVAL otherwise). Its head drafts but one token behind a step that the request had no
	 * part in, or that has another one behind it already (ZW_SCHED_AHEAD).
	 */
	uint32_t draft;        /**< enum zw_draft */
	uint32_t draft_tokens; /**< 0..ZW_CTX_MAX_REWIND */
};

/**
 * Adds a request. The prompt (n >= 1) is copied; the sampler is told it (zw_sampler_prompt()).
 *
 * @param request  receives its number, which is never used again
 * @return 0; -EINVAL; -ERANGE for an id that is not below vocab_size; -ENOSPC for a prompt that is
 *         longer than the context or the pool; -ENOMEM
 */
ZW_API int zw_sched_add(struct zw_sched *sched, const struct zw_request_params *params,
			const uint32_t *prompt, size_t n, uint64_t *request, struct zw_error *err);

/**
 * Adds a request whose prompt is the first `keep` tokens of another one (-EINVAL when it has fewer;
 * given and generated ones count) and n more, together at least one. What the other one has computed of
 * them is shared when there is room to run at once, else it is a new request like any other.
 * -ENOENT when there is no such request; else as zw_sched_add().
 */
ZW_API int zw_sched_fork(struct zw_sched *sched, uint64_t request, size_t keep,
			 const struct zw_request_params *params, const uint32_t *more, size_t n,
			 uint64_t *fork, struct zw_error *err);

/**
 * Ends a request (ZW_FINISH_CANCEL) at the next zw_sched_step(), or when the running one is done with its
 * step. Nothing happens when it has ended. -ENOMEM. Thread safe.
 */
ZW_API int zw_sched_cancel(struct zw_sched *sched, uint64_t request);

/** The tokens of a request, given and generated; *ids is valid until the next step. Or -ENOENT. */
ZW_API int64_t zw_sched_tokens(const struct zw_sched *sched, uint64_t request,
			       const uint32_t **ids);

/**
 * Runs one step of the context and calls back with what came out.
 *
 * @return the number of requests that are left, 0: nothing to do; or what submitting and waiting gave,
 *         -ECANCELED after zw_ctx_cancel() among it: then every request is as it was before and the
 *         next call tries again; -ENOSPC when nothing runs and the first request does not fit beside
 *         what others have of the context
 */
ZW_API int zw_sched_step(struct zw_sched *sched, struct zw_error *err);

struct zw_sched_stats {
	uint32_t size;    /**< in: sizeof; out: bytes filled */
	uint32_t waiting; /**< requests that do not run, those in system memory among them */
	uint32_t running;
	uint32_t swapped;             /**< of the waiting: their KV cache is in system memory */
	uint64_t swapped_bytes;       /**< of it */
	uint64_t steps;               /**< these from the beginning */
	uint64_t prompt_tokens;       /**< computed again after a preemption: counted again */
	uint64_t generated_tokens;    /**< stop tokens are not counted */
	uint64_t finished;            /**< requests of all ends */
	uint64_t cancelled;           /**< of these by zw_sched_cancel() */
	uint64_t preempted_swap;      /**< times that one went to system memory */
	uint64_t preempted_recompute; /**< times that one gave up what it had */
	uint64_t ahead_steps;         /**< of the steps: submitted while one was in flight */
	uint64_t drafted_tokens;      /**< tried */
	uint64_t accepted_tokens;     /**< of these, and generated or a stop token */
};

ZW_API int zw_sched_get_stats(const struct zw_sched *sched, struct zw_sched_stats *stats);

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_LLM_SCHED_H */

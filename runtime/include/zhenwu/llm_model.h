/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu-llm: models on a device, sessions, generation.
 *
 * A model is a checkpoint whose weights are in device memory. A session is one sequence: its state
 * (the KV cache; families to come add recurrent state), the command buffers that run the model's
 * layers over it, and a queue. The command buffers are compiled once, when the session opens; each
 * step only writes token ids, positions and a row count to device memory and submits them again.
 *
 * Arithmetic of a step: weights as stored (BF16 or F32); residual stream F32; everything between
 * two GEMMs and the KV cache BF16; accumulation F32; logits F32. The same tokens give the same bits
 * however they are cut into calls and chunks, on every transport, host and number of engine
 * threads.
 *
 * Conventions are those of <zhenwu/llm.h>.
 */
#ifndef ZHENWU_LLM_MODEL_H
#define ZHENWU_LLM_MODEL_H

#include "llm.h"
#include "device.h"
#include "zhenwu/zw_types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- model --------------------- */

/** A checkpoint in device memory. Immutable. */
struct zw_model;

struct zw_model_options {
	uint32_t size;  /**< sizeof(struct zw_model_options) */
	uint32_t flags; /**< must be 0 */
	/** Called while weights are loaded, from the calling thread, at least at 0 and at the end.
	 *  May be NULL. Non-zero cancels: zw_model_open() returns -ECANCELED. */
	int (*progress)(void *opaque, uint64_t done_bytes, uint64_t total_bytes);
	void *opaque;
};

/**
 * Loads a Hugging Face directory (config.json, safetensors) into the device's HBM.
 *
 * Configuration and checkpoint are checked completely before memory is allocated: every tensor
 * there, none left over, shapes as configured, types the device computes with, and the whole not
 * larger than the HBM that is free (-ENOSPC). Weights are streamed through two small staging
 * buffers, reading from disk and DMA overlapping; no copy stays in host memory.
 *
 * @param opt  NULL for the defaults
 * Thread safety: reentrant. The device must outlive the model.
 */
ZW_API int zw_model_open(struct zw_dev *dev, const char *dir, const struct zw_model_options *opt,
			 struct zw_model **out, struct zw_error *err);

/** Frees the device memory. -EBUSY while sessions are open, then nothing happened. */
ZW_API int zw_model_close(struct zw_model *model);

/** The configuration; cfg->size set by the caller. Thread safety: immutable. */
ZW_API int zw_model_get_config(const struct zw_model *model, struct zw_model_config *cfg);

/** What loading took. */
struct zw_model_info {
	uint32_t size; /**< sizeof(struct zw_model_info) */
	uint32_t tensors;
	uint64_t parameters;   /**< elements of all tensors loaded */
	uint64_t weight_bytes; /**< HBM they take, with padding */
	uint64_t load_ns;      /**< wall time of reading and copying */
	uint64_t load_sim_ps;  /**< simulated time of the copies */
	uint64_t kv_bytes_per_token;
};

/** Thread safety: immutable. */
ZW_API int zw_model_get_info(const struct zw_model *model, struct zw_model_info *info);

/* ---------------------------------------------------------------- session ------------------- */

/**
 * One sequence. Single-threaded; sessions of one model may run at the same time in different
 * threads.
 */
struct zw_session;

/** Keep room for the logits of every row of a chunk, see zw_session_eval(). */
#define ZW_SESSION_ALL_LOGITS (1u << 0)

#define ZW_SESSION_DEFAULT_CONTEXT 4096 /**< or the model's own limit when that is lower */
#define ZW_SESSION_DEFAULT_CHUNK   128

struct zw_session_options {
	uint32_t size;    /**< sizeof(struct zw_session_options) */
	uint32_t flags;   /**< ZW_SESSION_* */
	uint32_t context; /**< most tokens of the sequence; 0: the default; at most max_position */
	uint32_t chunk;   /**< most tokens of one submission, 1..4096; 0: the default */
};

/**
 * Opens a session: allocates the KV cache for `context` tokens in pages, the activations and the
 * position tables, and compiles the command buffers. -ENOSPC when HBM has no room (nothing is
 * allocated then); -EINVAL for options out of range.
 */
ZW_API int zw_session_open(struct zw_model *model, const struct zw_session_options *opt,
			   struct zw_session **out, struct zw_error *err);
ZW_API void zw_session_close(struct zw_session *s);

/**
 * Appends n tokens (n >= 1) to the sequence and computes.
 *
 * @param all   NULL, or room for n * vocab_size floats that receives the logits of every token
 *              (needs ZW_SESSION_ALL_LOGITS)
 * @param last  NULL, or receives a pointer to the vocab_size logits of the last token, valid until
 *              the next call on this session. With all and last NULL no logits are computed.
 * @return 0; -ERANGE for an id >= vocab_size, -ENOSPC when the context is full (in both cases
 *         nothing was computed and the session is as before); -EIO and others when a job failed:
 *         err says which packet and why, and the session can only be closed
 */
ZW_API int zw_session_eval(struct zw_session *s, const uint32_t *ids, size_t n, float *all,
			   const float **last, struct zw_error *err);

/** Tokens in the sequence. */
ZW_API uint32_t zw_session_length(const struct zw_session *s);
/** Most tokens the sequence may have. */
ZW_API uint32_t zw_session_context(const struct zw_session *s);

/**
 * Forgets all tokens from position n on; their pages go back to the pool. -EINVAL when n is above
 * the length. Families with recurrent state cannot go back except to 0 or to a snapshot; they will
 * return -EOPNOTSUPP for other n.
 */
ZW_API int zw_session_truncate(struct zw_session *s, uint32_t n);

/** What a session has cost since it was opened. Subtract two readings for a part. */
struct zw_session_stats {
	uint32_t size;    /**< sizeof(struct zw_session_stats) */
	uint32_t jobs;    /**< jobs submitted */
	uint64_t tokens;  /**< tokens evaluated */
	uint64_t wall_ns; /**< wall time inside zw_session_eval() */
	uint64_t sim_ps;  /**< simulated time from the start of each step's first job to its end */
	uint64_t packets;
	uint64_t hbm_read, hbm_written;    /**< bytes */
	uint64_t sys_read, sys_written;    /**< bytes over PCIe */
	uint64_t busy_ps[ZW_ENGINE_COUNT]; /**< by enum zw_engine */
};

ZW_API int zw_session_get_stats(const struct zw_session *s, struct zw_session_stats *stats);

/**
 * Calls line() with the disassembly of the session's command buffers. For debugging: the text has
 * no stable form.
 */
ZW_API void zw_session_disasm(const struct zw_session *s,
			      void (*line)(void *opaque, const char *text), void *opaque);

/* ---------------------------------------------------------------- generation ---------------- */

/** Why zw_generate() stopped. */
enum zw_finish {
	ZW_FINISH_STOP = 1,    /**< the model chose a stop token */
	ZW_FINISH_LENGTH = 2,  /**< max_tokens were generated */
	ZW_FINISH_CONTEXT = 3, /**< the session's context is full */
	ZW_FINISH_CALLBACK = 4 /**< the callback asked for it */
};

/** Go on when the model chooses a stop token; it is given to the callback like any other. */
#define ZW_GENERATE_IGNORE_STOP (1u << 0)

struct zw_generate_params {
	uint32_t size;  /**< sizeof(struct zw_generate_params) */
	uint32_t vocab; /**< ids that may be chosen are below it (zw_tokenizer_size()); 0: all */
	uint64_t max_tokens;        /**< most tokens to generate; 0 is allowed: prefill only */
	struct zw_sampler *sampler; /**< not NULL */
	float *prompt_logits;       /**< as `all` of zw_session_eval() for the prompt, or NULL */
	/** Called with each generated token, but not with the stop token; non-zero ends. */
	int (*token)(void *opaque, uint32_t id);
	void *opaque;
	/** Called with the tokens of the prompt that were computed, at 0, between chunks and at the
	 *  end; non-zero ends (ZW_FINISH_CALLBACK, nothing is generated). May be NULL. */
	int (*progress)(void *opaque, uint64_t done, uint64_t total);
	uint32_t flags;    /**< ZW_GENERATE_* */
	uint32_t reserved; /**< must be 0 */
};

struct zw_generate_result {
	uint32_t size;   /**< sizeof(struct zw_generate_result) */
	uint32_t finish; /**< enum zw_finish */
	uint64_t prompt_tokens;
	uint64_t generated_tokens;       /**< without the stop token */
	struct zw_session_stats prefill; /**< of the prompt */
	struct zw_session_stats decode;  /**< of the generated tokens that were fed back */
	uint64_t decode_ns; /**< wall time from the end of prefill: sampling, callback and all */
};

/**
 * Evaluates the prompt (n >= 1 tokens appended to the session) and generates. The stop tokens are
 * those of the model's configuration. The last token chosen is not fed back. The sampler is told
 * the prompt and each token that is fed back (zw_sampler_prompt(), zw_sampler_accept()): one that has
 * seen other tokens before is to be reset by the caller.
 * -EDOM when the logits are not numbers; else as zw_session_eval(). Single-threaded.
 */
ZW_API int zw_generate(struct zw_session *s, const struct zw_generate_params *params,
		       const uint32_t *prompt, size_t n, struct zw_generate_result *result,
		       struct zw_error *err);

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_LLM_MODEL_H */

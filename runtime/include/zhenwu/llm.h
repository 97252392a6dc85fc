/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu-llm: from a Hugging Face directory to tokens.
 *
 * Layers, each usable alone: configuration (here), checkpoint (llm_checkpoint.h), tokenizer
 * (llm_tokenizer.h), sampler (llm_sampler.h), and on top of them model and session (see
 * <zhenwu/llm_model.h>), which need a device of libzhenwu.
 *
 * Conventions
 *  - Functions return 0 (or a count, where said) on success and a negative errno on failure; errno
 *    itself is not touched on purpose. Codes used everywhere besides those of base.h: -ENOMEM;
 * -EINVAL for a bad argument; -EBADMSG for a file whose content is malformed or contradicts itself;
 * -EOPNOTSUPP for content that is well formed but not implemented; -EFBIG for something above a
 * stated limit; and the errno of the system call for files that cannot be opened or read.
 *  - `err` parameters may be NULL. On failure they receive one line without a newline, fit for
 *    "tool: %s", that names the file, key, tensor or token; on success they are left alone.
 *  - Every structure that crosses the ABI starts with `size`, which the caller sets to sizeof() and
 *    which the library uses to stay compatible with older and newer callers: an output structure is
 *    filled up to that size, an input structure's missing tail counts as zero.
 *  - Thread safety is stated per function. "Immutable" objects may be used by any number of threads
 *    at once once they are open; "single-threaded" ones by one thread at a time.
 */
#ifndef ZHENWU_LLM_H
#define ZHENWU_LLM_H

#include "base.h"
#include "llm_checkpoint.h"
#include "llm_generation_config.h"
#include "llm_sampler.h"
#include "llm_tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- configuration ------------- */

#define ZW_LLM_MAX_STOP 16 /**< most stop tokens one model may have */

/** A dense decoder as config.json describes it. */
struct zw_model_config {
	uint32_t size;              /**< sizeof(struct zw_model_config) */
	char model_type[28];        /**< "qwen3" */
	uint32_t hidden_size;       /**< H, columns of the residual stream */
	uint32_t intermediate_size; /**< I, width of the SwiGLU */
	uint32_t num_layers;
	uint32_t num_heads;    /**< query heads */
	uint32_t num_kv_heads; /**< key/value heads; divides num_heads */
	uint32_t head_dim;     /**< d; num_heads * d need not equal hidden_size */
	uint32_t vocab_size;   /**< V, rows of the embedding; may exceed the tokenizer's tokens */
	uint32_t max_position; /**< longest sequence the model was made for, in tokens */
	float rms_norm_eps;
	uint32_t tie_word_embeddings; /**< 1: the head is the embedding */
	uint32_t attention_bias;      /**< 1: q, k, v and o have a bias (qwen3's key) */
	uint32_t num_stop;            /**< entries of stop */
	double rope_theta;
	/** Union of eos_token_id of both files below vocab_size (others cannot come), ascending. */
	uint32_t stop[ZW_LLM_MAX_STOP];
};

/**
 * Reads DIR/config.json and, when there, eos_token_id of DIR/generation_config.json (what else that
 * file says is in llm_generation_config.h).
 *
 * Every value is range-checked (dimensions small enough that no product of two of them overflows 63
 * bits), keys that change the mathematics but are not implemented are refused by name
 * (-EOPNOTSUPP), contradictions between keys are errors (-EBADMSG). Keys that do not matter for
 * inference are passed over; zw_model_config_notes() tells of those nobody knows. A folder with an
 * adapter_config.json is refused.
 *
 * @param cfg  cfg->size set by the caller; filled on success, untouched on failure
 * Thread safety: reentrant.
 */
ZW_API int zw_model_config_load(const char *dir, struct zw_model_config *cfg, struct zw_error *err);

/**
 * Calls note() with a line for each key of config.json and generation_config.json that is neither
 * read nor known to be without effect: no error, since tools write keys of their own, but not silent.
 * Thread safety: reentrant.
 */
ZW_API int zw_model_config_notes(const char *dir, void (*note)(void *opaque, const char *line),
				 void *opaque, struct zw_error *err);

/** True when id is one of the configuration's stop tokens. Thread safety: pure. */
ZW_API bool zw_model_config_is_stop(const struct zw_model_config *cfg, uint32_t id);

/* ---------------------------------------------------------------- small files --------------- */

/**
 * Writes a C-contiguous float32 [rows, cols] array as numpy .npy, format 1.0, to a new or truncated
 * file. Thread safety: reentrant.
 */
ZW_API int zw_npy_write_f32(const char *path, const float *data, uint64_t rows, uint64_t cols,
			    struct zw_error *err);
/**
 * Reads a two-dimensional little-endian float32 C-order .npy (format 1.0 or 2.0) into a malloc()ed
 * array. Thread safety: reentrant.
 */
ZW_API int zw_npy_read_f32(const char *path, float **data, uint64_t *rows, uint64_t *cols,
			   struct zw_error *err);
/**
 * Reads a JSON list of token ids into a malloc()ed array (NULL when the list is empty).
 * Thread safety: reentrant.
 */
ZW_API int zw_ids_read_json(const char *path, uint32_t **ids, size_t *n, struct zw_error *err);
/** Writes ids as a JSON list. Thread safety: reentrant. */
ZW_API int zw_ids_write_json(const char *path, const uint32_t *ids, size_t n, struct zw_error *err);

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_LLM_H */

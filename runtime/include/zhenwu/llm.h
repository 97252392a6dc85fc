/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu-llm: from a Hugging Face directory to tokens.
 *
 * Layers, each usable alone: configuration, checkpoint, tokenizer, sampler, and on top of them
 * model and session (see <zhenwu/llm_model.h>), which need a device of libzhenwu.
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

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- configuration ------------- */

#define ZW_LLM_MAX_STOP 16 /**< most stop tokens one model may have */

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

/** A dense decoder as config.json and generation_config.json describe it. */
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
	uint32_t stop[ZW_LLM_MAX_STOP]; /**< union of eos_token_id of both files, ascending */
	struct zw_sampling_params
		sampling; /**< generation_config.json's defaults; greedy without one */
};

/**
 * Reads DIR/config.json and, when there, DIR/generation_config.json.
 *
 * Every value is range-checked (dimensions small enough that no product of two of them overflows 63
 * bits), keys that change the mathematics but are not implemented are refused by name
 * (-EOPNOTSUPP), contradictions between keys are errors (-EBADMSG). Keys that do not matter for
 * inference are ignored.
 *
 * @param cfg  cfg->size set by the caller; filled on success, untouched on failure
 * Thread safety: reentrant.
 */
ZW_API int zw_model_config_load(const char *dir, struct zw_model_config *cfg, struct zw_error *err);

/** True when id is one of the configuration's stop tokens. Thread safety: pure. */
ZW_API bool zw_model_config_is_stop(const struct zw_model_config *cfg, uint32_t id);

/* ---------------------------------------------------------------- checkpoint ---------------- */

/** Element types a safetensors file may hold. Only the first three are loaded today. */
enum zw_st_dtype {
	ZW_ST_BF16 = 1,
	ZW_ST_F16 = 2,
	ZW_ST_F32 = 3,
	ZW_ST_OTHER = 255, /**< well formed, not supported; its name is in zw_st_info.dtype_name */
};

#define ZW_ST_MAX_DIMS 8

/** One tensor of a checkpoint. The strings belong to the checkpoint. */
struct zw_st_info {
	uint32_t size;  /**< sizeof(struct zw_st_info) */
	uint32_t dtype; /**< enum zw_st_dtype */
	const char *name;
	const char *file;       /**< file name inside the directory */
	const char *dtype_name; /**< as the file spells it, e.g. "BF16" */
	uint32_t ndim;
	uint32_t reserved;
	uint64_t shape[ZW_ST_MAX_DIMS]; /**< row-major, outermost first */
	uint64_t nbytes;                /**< product of shape times element size */
};

/** A tensor that a model needs; see zw_safetensors_match(). */
struct zw_st_want {
	const char *name;
	uint32_t ndim;
	uint32_t optional; /**< 1: may be absent */
	uint64_t shape[ZW_ST_MAX_DIMS];
};

/** A checkpoint: one or more safetensors files. Immutable. */
struct zw_safetensors;

/**
 * Opens DIR/model.safetensors.index.json with the files it names, or else DIR/model.safetensors.
 *
 * Headers are read and checked completely before this returns: header inside the file and at most
 * 100 MB, known dtype, at most 8 dimensions, product of the shape equal to the byte range, ranges
 * that cover the data section exactly (no overlap, no hole, nothing behind the end), no tensor
 * twice (in one file or in two), every tensor where the index says it is, index entries that are
 * plain file names. The files stay open until zw_safetensors_close(); no data is read or mapped
 * (tensors are read with pread(), so that a file which shrinks later is an error and not SIGBUS).
 *
 * Thread safety: reentrant.
 */
ZW_API int zw_safetensors_open(const char *dir, struct zw_safetensors **out, struct zw_error *err);
/** Closes; NULL is allowed. No other call may be running or follow. */
ZW_API void zw_safetensors_close(struct zw_safetensors *st);
/** Number of tensors. Thread safety: immutable. */
ZW_API size_t zw_safetensors_count(const struct zw_safetensors *st);
/** Sum of nbytes over all tensors. Thread safety: immutable. */
ZW_API uint64_t zw_safetensors_bytes(const struct zw_safetensors *st);
/** Describes tensor i (in order of name). -ERANGE past the end. Thread safety: immutable. */
ZW_API int zw_safetensors_get(const struct zw_safetensors *st, size_t i, struct zw_st_info *info);
/** Finds a tensor. Returns its index (>= 0) or -ENOENT. Thread safety: immutable. */
ZW_API long zw_safetensors_find(const struct zw_safetensors *st, const char *name);
/**
 * Reads len bytes of tensor i from byte offset off into dst, which may be device memory mapped into
 * the process. -ERANGE when the range leaves the tensor, -EIO when the file shrank since it was
 * opened. Thread safety: immutable (dst is the caller's).
 */
ZW_API int zw_safetensors_read(const struct zw_safetensors *st, size_t i, uint64_t off, void *dst,
			       uint64_t len, struct zw_error *err);
/**
 * Checks that the checkpoint holds exactly the wanted tensors: none missing (unless optional), none
 * of another shape, none of an unsupported dtype, none left over. Thread safety: immutable.
 */
ZW_API int zw_safetensors_match(const struct zw_safetensors *st, const struct zw_st_want *want,
				size_t n, struct zw_error *err);

/* ---------------------------------------------------------------- tokenizer ----------------- */

/** A byte-level BPE tokenizer read from tokenizer.json. Immutable. */
struct zw_tokenizer;

/**
 * Reads a tokenizer.json of the Qwen kind: NFC (or no) normalizer, Split by a regular expression +
 * ByteLevel, BPE without dropout, unknown token, prefix, suffix, byte fallback; added tokens that
 * are not normalised and strip nothing. Anything else is refused by name (-EOPNOTSUPP).
 * The expression is taken from the file and compiled by PCRE2 with Unicode properties; \s and \S
 * are spelled out to mean what Hugging Face's engine means by them (PCRE2 alone would add U+180E).
 *
 * @param path  the file, or a directory holding tokenizer.json
 * Thread safety: reentrant.
 */
ZW_API int zw_tokenizer_open(const char *path, struct zw_tokenizer **out, struct zw_error *err);
/** Closes; NULL is allowed. */
ZW_API void zw_tokenizer_close(struct zw_tokenizer *tok);
/** Highest token id + 1, added tokens included. Ids below it may be unused. Immutable. */
ZW_API uint32_t zw_tokenizer_size(const struct zw_tokenizer *tok);

/** zw_tokenizer_encode(): treat added tokens in the text as ordinary text (for untrusted text). */
#define ZW_ENCODE_NO_ADDED (1u << 0)

/**
 * Text to ids. Nothing is added in front or behind.
 *
 * Added tokens are cut out of the raw text first (leftmost, longest), the rest goes through NFC,
 * the regular expression and the merges. Text may hold NUL. It should be UTF-8; bytes that are not
 * are kept: each maximal run of invalid bytes is a word of its own, outside NFC and the expression,
 * so that decoding the ids byte by byte gives the same bytes back. Time is O(n log n) in the
 * longest word, also for hostile text. A run of more than 4096 combining characters is refused with
 * -EFBIG, because normalising it takes quadratic time.
 *
 * @param ids  receives a malloc()ed array, to be free()d; NULL for no ids
 * @param n    receives the number of ids
 * Thread safety: immutable.
 */
ZW_API int zw_tokenizer_encode(const struct zw_tokenizer *tok, const char *text, size_t len,
			       uint32_t flags, uint32_t **ids, size_t *n, struct zw_error *err);
/** Id of an added token or vocabulary entry by its bytes ("<|im_end|>"), or -ENOENT. Immutable. */
ZW_API int64_t zw_tokenizer_find(const struct zw_tokenizer *tok, const char *bytes, size_t len);

#define ZW_TOKEN_ADDED   (1u << 0) /**< comes from added_tokens */
#define ZW_TOKEN_SPECIAL (1u << 1) /**< added token flagged special: control, not text */

/**
 * Bytes of a token: often not whole UTF-8 characters. They belong to the tokenizer.
 * -ENOENT for an id without a token. `flags` may be NULL. Immutable.
 */
ZW_API int zw_tokenizer_token(const struct zw_tokenizer *tok, uint32_t id, const char **bytes,
			      size_t *len, uint32_t *flags);

/** Turns ids into text piece by piece without ever splitting a character. Single-threaded. */
struct zw_detokenizer;

/** zw_detokenizer_open(): special tokens give no text. */
#define ZW_DECODE_SKIP_SPECIAL (1u << 0)

/** The tokenizer must outlive the detokenizer. */
ZW_API int zw_detokenizer_open(const struct zw_tokenizer *tok, uint32_t flags,
			       struct zw_detokenizer **out);
ZW_API void zw_detokenizer_close(struct zw_detokenizer *d);
/**
 * Adds one token. The text that became complete (possibly none) is valid UTF-8 and stays valid
 * until the next call on this object; it is also NUL-terminated. Bytes that cannot become UTF-8
 * turn into U+FFFD, one per maximal ill-formed subsequence (the Unicode standard's practice, and
 * Python's). An id without a token gives no text and -ENOENT.
 */
ZW_API int zw_detokenizer_push(struct zw_detokenizer *d, uint32_t id, const char **text,
			       size_t *len);
/** End of the sequence: an unfinished character becomes U+FFFD. The object may then be reused. */
ZW_API int zw_detokenizer_flush(struct zw_detokenizer *d, const char **text, size_t *len);

/* ---------------------------------------------------------------- sampler ------------------- */

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

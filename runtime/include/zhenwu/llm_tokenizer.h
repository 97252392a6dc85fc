/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu-llm: text to token ids and back. No device is needed.
 * Conventions are those of <zhenwu/llm.h>.
 */
#ifndef ZHENWU_LLM_TOKENIZER_H
#define ZHENWU_LLM_TOKENIZER_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

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

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_LLM_TOKENIZER_H */

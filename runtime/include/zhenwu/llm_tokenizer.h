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

/** A byte-level BPE tokenizer read from tokenizer.json or a GGUF file. Immutable. */
struct zw_tokenizer;

/**
 * Reads a tokenizer.json of the Qwen kind: NFC (or no) normalizer, Split by a regular expression +
 * ByteLevel, BPE without dropout, unknown token, prefix, suffix, byte fallback; a post-processor that
 * puts special tokens around the text; a ByteLevel decoder. Anything else is refused by name
 * (-EOPNOTSUPP).
 *
 * The expression is Oniguruma's and is compiled by PCRE2: what the two do not read alike is spelled
 * out (\s, \d, \v, \uXXXX) or refused.
 *
 * Of a folder the files beside it are read too, with the precedence that transformers gives them:
 *  - tokenizer_config.json: added_tokens_decoder; bos_token, eos_token and the other named special
 *    tokens; additional_special_tokens, extra_special_tokens; add_bos_token and add_eos_token, which
 *    take the place of the post-processor; split_special_tokens; chat_template. add_prefix_space and
 *    clean_up_tokenization_spaces are refused when true.
 *  - without an added_tokens_decoder: added_tokens.json and special_tokens_map.json.
 *  - chat_template.jinja.
 * An added token that is new gets the next free id; a file that says another one is refused.
 *
 * A GGUF file's metadata is read in the same way: tokenizer.ggml.model "gpt2" with pre "qwen2",
 * "deepseek-r1-qwen" or "qwen35", whose expressions are built in; tokens, token_type, merges; bos_token_id and
 * eos_token_id with add_bos_token and add_eos_token; tokenizer.chat_template. NFC goes in front, as in the
 * models' own files. Control tokens (type 3) and user-defined ones (4) are added tokens, the former special;
 * unused ones (5) do not exist.
 *
 * @param path  tokenizer.json alone, a folder holding it, or a GGUF file. -ENOENT: there is no tokenizer
 * Thread safety: reentrant.
 */
ZW_API int zw_tokenizer_open(const char *path, struct zw_tokenizer **out, struct zw_error *err);
/** Closes; NULL is allowed. */
ZW_API void zw_tokenizer_close(struct zw_tokenizer *tok);
/** Highest token id + 1, added tokens included. Ids below it may be unused. Immutable. */
ZW_API uint32_t zw_tokenizer_size(const struct zw_tokenizer *tok);

/** The chat template (a Jinja text) or NULL; it is not applied. Immutable. */
ZW_API const char *zw_tokenizer_chat_template(const struct zw_tokenizer *tok);

/** zw_tokenizer_encode(): treat added tokens in the text as ordinary text (for untrusted text). */
#define ZW_ENCODE_NO_ADDED    (1u << 0)
/** Put nothing around the text, whatever the post-processor says (transformers'
 *  add_special_tokens=False, for a text that a chat template made). */
#define ZW_ENCODE_NO_TEMPLATE (1u << 1)

/**
 * Text to ids, with what the post-processor puts in front and behind (nothing in Qwen's files).
 *
 * Added tokens are cut out of the text first (leftmost, longest): those not normalised from the raw
 * text; of the rest, after NFC, those that are. What is left goes through the regular expression and
 * the merges. A token takes the white space beside it or is passed over inside a word when it says
 * so. Text may hold NUL. It should be UTF-8; bytes that are not
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

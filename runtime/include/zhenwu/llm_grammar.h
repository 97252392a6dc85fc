/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu-llm: output that must be JSON of a given schema. No device is needed.
 * Conventions are those of <zhenwu/llm.h>.
 *
 * A schema becomes a grammar over bytes; a matcher follows what was generated and says which tokens
 * may come next, which is what the sampler's mask() asks for. Every text that a matcher accepts is
 * the beginning of a document of the schema, and every document it calls complete satisfies the
 * schema (but for oneOf, see below). Not every document of the schema is reachable: the grammar is
 * a part of it, made for a model to write.
 *
 * What of JSON Schema (2020-12, and the older spellings said) is honoured:
 *  - type (one or a list), nullable, true, false; without type: the types that the keywords beside it
 *    speak of, or any value when there are none
 *  - properties, required, additionalProperties. Keys come in the order of properties, required ones
 *    without a schema behind them. Other keys only where additionalProperties is true or a schema, or
 *    where nothing is said about keys at all; they are never one of properties. minProperties and
 *    the like are refused
 *  - items, prefixItems (or items as a list, with additionalItems), minItems, maxItems
 *  - enum and const, beside type only; written without white space
 *  - minLength, maxLength (in code points), pattern, format. Patterns: literals, ., classes, \d \w \s
 *    and their complements (which stand for ASCII only), \t \n \r \f \v \xHH \uHHHH, groups, |, * + ?
 *    {n,m}, ^ at the start and $ at the end of an alternative; no assertions, no back references,
 *    no \p or \b. Characters of a string with a pattern are escaped only where JSON asks for it.
 *    Formats: date (no 29 February), time, date-time, uuid, ipv4
 *  - minimum, maximum, exclusiveMinimum, exclusiveMaximum: bounds of a number have at most 15 digits.
 *    Integers have no fraction and no exponent and at most 18 digits. Numbers with a bound have at most
 *    15 digits and no exponent, others at most 18 before and 17 behind the point and 2 in the
 *    exponent
 *  - anyOf, also with keywords beside it; oneOf as if it were anyOf: that only one of them holds is
 *    not seen to
 *  - allOf, where the parts can be put together into one schema: bounds, required, properties, types
 *    and lists of values can; two patterns, formats or anyOf that differ are refused
 *  - $ref within the document, also to itself; $defs, definitions
 *  - title, description, default, examples, $schema, $id, $comment, deprecated, readOnly, writeOnly,
 *    and keys that begin with x- mean nothing
 * Every other keyword is refused with its name and the place (-EOPNOTSUPP), as is a schema that no finite
 * document satisfies (-EBADMSG).
 *
 * White space: between the parts one space, or a line break with up to 24 spaces, or nothing.
 */
#ifndef ZHENWU_LLM_GRAMMAR_H
#define ZHENWU_LLM_GRAMMAR_H

#include "base.h"
#include "llm_sampler.h"
#include "llm_tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- grammars ------------------ */

/** A compiled schema. Immutable. */
struct zw_grammar;

/** No white space at all. */
#define ZW_GRAMMAR_COMPACT (1u << 0)

/**
 * Compiles a schema, a JSON text of len bytes. -EBADMSG, -EOPNOTSUPP as said above; -EFBIG for one that
 * becomes too large (a maxLength of 100,000, say). Thread safety: reentrant.
 */
ZW_API int zw_grammar_open_schema(const char *schema, size_t len, uint32_t flags,
				  struct zw_grammar **out, struct zw_error *err);

/**
 * What stands between <tool_call> and </tool_call> in the manner of Hermes, which Qwen2.5 and Qwen3
 * have: {"name": one of the tools, "arguments": what its schema says}, a line break or nothing around
 * it. The list is that of a chat request: [{"type": "function", "function": {"name": "...",
 * "parameters": {...}}}, ...] or of the inner objects alone; a tool without parameters takes {}.
 * Errors as above.
 */
ZW_API int zw_grammar_open_tool_calls(const char *tools, size_t len, uint32_t flags,
				      struct zw_grammar **out, struct zw_error *err);

/** Calls as JSON in <tool_call>, the manner of Hermes. */
#define ZW_GRAMMAR_CALLS_JSON (1u << 1)
/** Calls as <function=NAME><parameter=P>VALUE</parameter></function>, in <tool_call> or not. */
#define ZW_GRAMMAR_CALLS_XML  (1u << 2)
/** With a schema: a thinking block may come first. */
#define ZW_GRAMMAR_THINKING   (1u << 3)

/**
 * A whole answer of a model in a conversation, as the parser of <zhenwu/llm_chat.h> takes it apart.
 *
 * With tools alone text is free up to <tool_call> or <function=, between which and the closing tag
 * stands a call of one of the tools with arguments that its schema allows; then text is free again. A
 * thinking block (<think> at the beginning, up to </think>) is free throughout. With neither of the two
 * flags of calls both kinds can come, with one of them that kind only, and the tag of the other never.
 * With a schema the answer is a document of it; with tools as well, that or one or more calls.
 *
 * An answer that begins inside a thinking block: the matcher is told "<think>" before it
 * (zw_grammar_matcher_accept_bytes()). With ZW_GRAMMAR_THINKING, "\n": this answer has none.
 *
 * XML-style: parameters come in the order of properties, those that are required without a schema
 * behind them; other keywords about the object are refused. Values that the parser takes for texts stand
 * as they are; those with a length, pattern or format have no "<" and no control characters but tab and
 * newline. enum and const of texts are the texts. Other values are JSON.
 *
 * @param tools   a list as above, or NULL
 * @param schema  of a document, or NULL; not both NULL
 * @param flags   ZW_GRAMMAR_*; Errors as above. Thread safety: reentrant.
 */
ZW_API int zw_grammar_open_answer(const char *tools, const char *schema, uint32_t flags,
				  struct zw_grammar **out, struct zw_error *err);
/** Closes; NULL is allowed. Matchers must be closed before. */
ZW_API void zw_grammar_close(struct zw_grammar *g);

/* ---------------------------------------------------------------- matchers ------------------ */

/** The tokens of a tokenizer by their bytes, for any number of matchers. Immutable. */
struct zw_grammar_vocab;

/**
 * A document is spelled with ordinary tokens; added ones come where an answer is free, and as the tags of
 * calls and thinking blocks. -EOPNOTSUPP when some byte that UTF-8 has is no token by itself. The tokenizer is not used after the call. Thread safety: reentrant.
 */
ZW_API int zw_grammar_vocab_open(const struct zw_tokenizer *tok, struct zw_grammar_vocab **out,
				 struct zw_error *err);
/** Closes; NULL is allowed. Matchers must be closed before. */
ZW_API void zw_grammar_vocab_close(struct zw_grammar_vocab *v);

/** Where one document is. Single-threaded. */
struct zw_grammar_matcher;

struct zw_grammar_matcher_options {
	uint32_t size;     /**< sizeof(struct zw_grammar_matcher_options) */
	uint32_t reserved; /**< must be 0 */
	/** Tokens that may come when the document is complete: the model's stop tokens, or </tool_call>. */
	struct zw_token_list stop;
	/** Not empty: nothing is masked until one of these (<tool_call>) was accepted, and again behind
	 *  a stop token. Empty: the document begins at once. */
	struct zw_token_list trigger;
};

/** @param opt  NULL: no stop tokens, no trigger. Grammar and vocabulary must outlive the matcher. */
ZW_API int zw_grammar_matcher_open(const struct zw_grammar *g, const struct zw_grammar_vocab *v,
				   const struct zw_grammar_matcher_options *opt,
				   struct zw_grammar_matcher **out, struct zw_error *err);
/** Closes; NULL is allowed. */
ZW_API void zw_grammar_matcher_close(struct zw_grammar_matcher *m);

/**
 * For zw_sampling_params.mask, with the matcher as mask_opaque: sets the logits of tokens that cannot
 * come to -INFINITY. Results are kept, so that a place that was seen before costs O(n) and no more.
 * Non-zero when memory ran out.
 */
ZW_API int zw_grammar_matcher_mask(void *matcher, float *logits, size_t n);

/**
 * For zw_sampling_params.mask_idle: 1 while every token may come, stop tokens among them. Text of an answer
 * is such a place, but for the middle of a tag that one token could complete and go beyond.
 */
ZW_API int zw_grammar_matcher_idle(void *matcher);

/**
 * Goes on behind a token that was chosen. To be called for each one, from the callback of
 * zw_generate(), say. -EINVAL for one that may not come (nothing has changed then), -ENOMEM.
 */
ZW_API int zw_grammar_matcher_accept(struct zw_grammar_matcher *m, uint32_t id);
/** The same for bytes, all or none of them. */
ZW_API int zw_grammar_matcher_accept_bytes(struct zw_grammar_matcher *m, const char *bytes,
					   size_t len);

enum zw_grammar_status {
	ZW_GRAMMAR_WAITING = 0,  /**< for a trigger: nothing is masked */
	ZW_GRAMMAR_OPEN = 1,     /**< the document is not complete */
	ZW_GRAMMAR_COMPLETE = 2, /**< it is, and could also go on: 12 and 123 */
	ZW_GRAMMAR_FINISHED = 3, /**< it is, and nothing but a stop token can come */
};

ZW_API enum zw_grammar_status zw_grammar_matcher_status(const struct zw_grammar_matcher *m);

/**
 * The shortest text that completes the document (empty when it is complete), for an answer that was
 * cut off. @param text  receives a malloc()ed text. -ENOMEM; -EINVAL while it waits for a trigger.
 */
ZW_API int zw_grammar_matcher_completion(const struct zw_grammar_matcher *m, char **text,
					 size_t *len);

/** Begins again. */
ZW_API void zw_grammar_matcher_reset(struct zw_grammar_matcher *m);

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_LLM_GRAMMAR_H */

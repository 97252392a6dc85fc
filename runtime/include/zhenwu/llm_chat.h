/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu-llm: conversations. A chat template turns messages and tools into the text that a model was
 * trained on; the parser takes apart what the model answers. No device is needed.
 * Conventions are those of <zhenwu/llm.h>. JSON texts are UTF-8 and NUL-terminated.
 */
#ifndef ZHENWU_LLM_CHAT_H
#define ZHENWU_LLM_CHAT_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- templates ---------------- */

/** A chat template, or several named ones. Immutable. */
struct zw_chat_template;

/**
 * Reads the templates of a Hugging Face folder: chat_template.jinja, with additional_chat_templates/
 * NAME.jinja beside it; else chat_template of tokenizer_config.json, a text or a list of
 * {"name", "template"}; else chat_template of chat_template.json. The folder's named special tokens
 * (bos_token, eos_token, ...) become variables.
 *
 * Templates are written in Jinja. Implemented is what chat templates use, with the environment that
 * transformers gives them (trim_blocks, lstrip_blocks, loop controls, the immutable sandbox, tojson
 * without HTML escapes, raise_exception, strftime_now, {% generation %}). Values behave like Python's.
 * The rest of Jinja is refused with its name and place (-EOPNOTSUPP); Documentation/llm.md has the
 * list. A template cannot loop for ever, nest without bound or fill the memory (-EFBIG).
 *
 * @return -ENOENT when the folder has no template
 * Thread safety: reentrant.
 */
ZW_API int zw_chat_template_open(const char *dir, struct zw_chat_template **out,
				 struct zw_error *err);
/** The same for one text, such as zw_tokenizer_chat_template() gives. It need not stay. */
ZW_API int zw_chat_template_parse(const char *text, size_t len, struct zw_chat_template **out,
				  struct zw_error *err);
/** Closes; NULL is allowed. */
ZW_API void zw_chat_template_close(struct zw_chat_template *t);

/** The text ends where the model's answer begins (add_generation_prompt). */
#define ZW_CHAT_GENERATION_PROMPT (1u << 0)
/** enable_thinking is true; with neither of the two it is not defined. */
#define ZW_CHAT_THINKING          (1u << 1)
/** enable_thinking is false. */
#define ZW_CHAT_NO_THINKING       (1u << 2)

struct zw_chat_input {
	uint32_t size;        /**< sizeof(struct zw_chat_input) */
	uint32_t flags;       /**< ZW_CHAT_* */
	const char *messages; /**< JSON: a list of {"role", "content", ...} */
	const char *tools; /**< JSON: a list of {"type": "function", "function": {...}}, or NULL */
	const char *
		kwargs; /**< JSON: an object of more variables, or NULL; they go before all others */
	const char *
		name; /**< of the template; NULL: tool_use when there are tools and it, else default */
	int64_t now; /**< seconds since 1970 for strftime_now(), 0: the clock */
};

/**
 * Applies a template.
 *
 * @param text  receives the malloc()ed text, NUL behind it, to be free()d
 * @param len   receives its length
 * @return 0; -EBADMSG for JSON that is malformed; -EINVAL when the template raises an exception or
 *         does what cannot be done; -EOPNOTSUPP; -EFBIG; -ENOENT for an unknown name
 * Thread safety: immutable.
 */
ZW_API int zw_chat_template_apply(const struct zw_chat_template *t, const struct zw_chat_input *in,
				  char **text, size_t *len, struct zw_error *err);

/* ---------------------------------------------------------------- answers ------------------ */

/** What a piece of an answer is. */
enum zw_chat_event_type {
	ZW_CHAT_TEXT = 1,      /**< text for people: `text` */
	ZW_CHAT_REASONING = 2, /**< text of a thinking block: `text` */
	ZW_CHAT_CALL = 3, /**< a call: `name`, `arguments`; `text` is all of it as it was written */
	ZW_CHAT_BAD_CALL =
		4 /**< what should have been a call: `text`, and why it is none in `error` */
};

/** A piece of an answer. What it points to is valid during the callback only; texts end with NUL. */
struct zw_chat_event {
	uint32_t size; /**< sizeof(struct zw_chat_event) */
	uint32_t type; /**< enum zw_chat_event_type */
	const char *text;
	size_t len; /**< of text */
	const char *name;
	const char *arguments; /**< JSON, an object; integers of any length are kept */
	const char *error;     /**< one line */
};

/** The answer begins inside a thinking block, see zw_chat_opens_reasoning(). */
#define ZW_CHAT_PARSE_REASONING (1u << 0)
/** Look for calls; without it they are text. */
#define ZW_CHAT_PARSE_CALLS     (1u << 1)

struct zw_chat_parser_options {
	uint32_t size;  /**< sizeof(struct zw_chat_parser_options) */
	uint32_t flags; /**< ZW_CHAT_PARSE_* */
	/** JSON as in struct zw_chat_input, or NULL: says which parameters of XML-style calls are texts. */
	const char *tools;
	/** Called with each piece; not NULL. Non-zero ends zw_chat_parser_push(), which returns it. */
	int (*event)(void *opaque, const struct zw_chat_event *e);
	void *opaque;
};

/** Takes an answer apart while it comes. Single-threaded. */
struct zw_chat_parser;

/**
 * Recognised are
 *  - <think>...</think> at the beginning;
 *  - Hermes-style calls (Qwen2.5, Qwen3): <tool_call>{"name": ..., "arguments": {...}}</tool_call>;
 *  - XML-style calls (Qwen3-Coder, Qwen3.5): <function=NAME><parameter=P>VALUE</parameter></function>,
 *    in <tool_call> or not. A value loses one newline at each end; it is a text when the schema says
 *    so or does not say, else JSON if it is that.
 *
 * Text comes as soon as it cannot be the beginning of something else, never a part of a tag; newlines
 * around blocks and calls belong to neither. A closing tag inside a string of a Hermes-style call does not
 * end it. Of a call nothing is told before it is complete. A call that is not well formed, or that
 * never ends, is told as one (ZW_CHAT_BAD_CALL): nothing of an answer is lost.
 *
 * Thread safety: reentrant.
 */
ZW_API int zw_chat_parser_open(const struct zw_chat_parser_options *opt,
			       struct zw_chat_parser **out, struct zw_error *err);
/** Closes; NULL is allowed. */
ZW_API void zw_chat_parser_close(struct zw_chat_parser *p);
/** Adds a piece of the answer. 0, what the callback returned, or -ENOMEM. */
ZW_API int zw_chat_parser_push(struct zw_chat_parser *p, const char *text, size_t len);
/** The answer is complete: what was held back comes. Then the parser is as new for the next answer,
 *  `flags` (ZW_CHAT_PARSE_*) with it. Returns as above. */
ZW_API int zw_chat_parser_finish(struct zw_chat_parser *p, uint32_t flags);

/** Whether a text that a template made ends inside a thinking block: then the answer begins there. */
ZW_API bool zw_chat_opens_reasoning(const char *text, size_t len);

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_LLM_CHAT_H */

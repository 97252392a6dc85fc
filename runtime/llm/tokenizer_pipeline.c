// SPDX-License-Identifier: MIT
/*
 * What stands around the model in a tokenizer.json. Whatever would change the result and is not
 * implemented is refused by name.
 */
#include "tokenizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "token_list.h"

/* The string member `key` of obj, or "" when it is absent or no string. */
static const char *str(const cJSON *obj, const char *key)
{
	const cJSON *it = cJSON_GetObjectItemCaseSensitive(obj, key);

	return cJSON_IsString(it) ? it->valuestring : "";
}

static bool is_type(const cJSON *obj, const char *type)
{
	return !strcmp(str(obj, "type"), type);
}

static bool is_false(const cJSON *obj, const char *key)
{
	return cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(obj, key));
}

/* The steps of a "Sequence", or the one step itself; *n of them. NULL when there is none. */
static const cJSON *steps(const cJSON *obj, const char *list, size_t *n)
{
	const cJSON *seq;

	*n = obj ? 1 : 0;
	if (!obj || !is_type(obj, "Sequence"))
		return obj;
	seq = cJSON_GetObjectItemCaseSensitive(obj, list);
	*n = (size_t)cJSON_GetArraySize(seq);
	return seq ? seq->child : NULL;
}

static int compile(const char *path, const char *pattern, struct zw_tokenizer *t,
		   struct zw_error *err)
{
	pcre2_compile_context *ctx;
	PCRE2_UCHAR msg[128];
	PCRE2_SIZE off;
	const char *at = pattern;
	char *re;
	int code, ret;

	ret = tok_translate_regex(pattern, &re, &at);
	if (ret == -EOPNOTSUPP)
		return llm_fail(err, ret,
				"%s: pre_tokenizer: the expression is not supported at \"%.12s\"",
				path, at);
	ctx = ret ? NULL : pcre2_compile_context_create(NULL);
	if (!ctx) {
		free(ret ? NULL : re);
		return llm_fail(err, -ENOMEM, "%s: out of memory", path);
	}
	pcre2_set_newline(ctx, PCRE2_NEWLINE_LF);
	/*
	 * MATCH_INVALID_UTF is not wanted: the encoder hands over valid UTF-8 only and says so to
	 * the matcher, which then does not scan the text again for every match.
	 */
	t->re = pcre2_compile((PCRE2_SPTR)re, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code,
			      &off, ctx);
	pcre2_compile_context_free(ctx);
	free(re);
	if (!t->re) {
		pcre2_get_error_message(code, msg, sizeof(msg));
		return llm_fail(err, -EBADMSG, "%s: pre_tokenizer: expression: %s", path, msg);
	}
	/* Without JIT (some hosts) the interpreter gives the same matches. */
	pcre2_jit_compile(t->re, PCRE2_JIT_COMPLETE);
	return 0;
}

static int load_normalizer(const char *path, const cJSON *root, struct zw_tokenizer *t,
			   struct zw_error *err)
{
	const cJSON *norm, *it;
	size_t n;
	int ret = llm_json_member(path, root, "normalizer", &norm, err);

	if (ret)
		return ret;
	for (it = steps(norm, "normalizers", &n); n--; it = it->next) {
		if (!is_type(it, "NFC"))
			return llm_fail(err, -EOPNOTSUPP, "%s: normalizer \"%s\" is not supported",
					path, str(it, "type"));
		t->nfc = true;
	}
	return 0;
}

static int load_pre_tokenizer(const char *path, const cJSON *root, struct zw_tokenizer *t,
			      struct zw_error *err)
{
	const cJSON *pre, *split, *bytes, *pattern;
	size_t n;
	int ret = llm_json_member(path, root, "pre_tokenizer", &pre, err);

	if (ret)
		return ret;
	split = steps(pre, "pretokenizers", &n);
	bytes = n == 2 ? split->next : NULL;
	if (!bytes || !is_type(split, "Split") || !is_type(bytes, "ByteLevel"))
		return llm_fail(err, -EOPNOTSUPP,
				"%s: pre_tokenizer is not a sequence of Split and ByteLevel", path);
	if (strcmp(str(split, "behavior"), "Isolated") || !is_false(split, "invert"))
		return llm_fail(err, -EOPNOTSUPP, "%s: pre_tokenizer: Split is not plain Isolated",
				path);
	if (!is_false(bytes, "add_prefix_space") || !is_false(bytes, "use_regex"))
		return llm_fail(err, -EOPNOTSUPP,
				"%s: pre_tokenizer: ByteLevel with add_prefix_space or use_regex",
				path);
	pattern = cJSON_GetObjectItemCaseSensitive(split, "pattern");
	if (!str(pattern, "Regex")[0])
		return llm_fail(err, -EOPNOTSUPP, "%s: pre_tokenizer: Split has no Regex", path);
	return compile(path, str(pattern, "Regex"), t, err);
}

static int check_decoder(const char *path, const cJSON *root, struct zw_error *err)
{
	const cJSON *decoder, *it;
	size_t n;
	int ret = llm_json_member(path, root, "decoder", &decoder, err);

	if (ret)
		return ret;
	it = steps(decoder, "decoders", &n);
	if (n != 1 || !is_type(it, "ByteLevel"))
		return llm_fail(err, -EOPNOTSUPP, "%s: decoder is not ByteLevel", path);
	return 0;
}

int tok_load_pipeline(const char *path, const cJSON *root, struct zw_tokenizer *t,
		      struct zw_error *err)
{
	int ret = load_normalizer(path, root, t, err);

	if (!ret)
		ret = load_pre_tokenizer(path, root, t, err);
	if (!ret)
		ret = check_decoder(path, root, err);
	return ret;
}

/* ---- post_processor ---- */

/* The ids that a template's special token stands for. */
static int append_special(const char *path, const cJSON *tmpl, const char *name,
			  struct zw_token_list *list, struct zw_tokenizer *t, struct zw_error *err)
{
	const cJSON *specials = cJSON_GetObjectItemCaseSensitive(tmpl, "special_tokens"), *it;
	const cJSON *ids = cJSON_GetObjectItemCaseSensitive(
		cJSON_GetObjectItemCaseSensitive(specials, name), "ids");

	if (!cJSON_IsArray(ids) || !ids->child)
		return llm_fail(err, -EBADMSG, "%s: post_processor: no ids for \"%s\"", path, name);
	cJSON_ArrayForEach(it, ids)
	{
		uint64_t id;

		if (!llm_json_uint(it, 0, TOK_MAX - 1, &id) || id >= t->num_tokens ||
		    !(t->tokens[id].flags & TOK_USED))
			return llm_fail(err, -EBADMSG, "%s: post_processor: \"%s\" is no token",
					path, name);
		if (token_list_append(list, (uint32_t)id))
			return llm_fail(err, -ENOMEM, "%s: out of memory", path);
	}
	return 0;
}

/* "single" of TemplateProcessing: special tokens around the text, which stands there once. */
static int load_template(const char *path, const cJSON *tmpl, struct zw_tokenizer *t,
			 struct zw_error *err)
{
	const cJSON *single = cJSON_GetObjectItemCaseSensitive(tmpl, "single"), *it;
	struct zw_token_list *list = &t->prefix;

	if (!cJSON_IsArray(single))
		return llm_fail(err, -EBADMSG, "%s: post_processor: single is not a list", path);
	cJSON_ArrayForEach(it, single)
	{
		const cJSON *special = cJSON_GetObjectItemCaseSensitive(it, "SpecialToken");
		const cJSON *text = cJSON_GetObjectItemCaseSensitive(it, "Sequence");
		int ret;

		if (text && list == &t->prefix && !strcmp(str(text, "id"), "A")) {
			list = &t->suffix;
			continue;
		}
		if (!special)
			return llm_fail(
				err, -EOPNOTSUPP,
				"%s: post_processor: single is not one text in special tokens",
				path);
		ret = append_special(path, tmpl, str(special, "id"), list, t, err);
		if (ret)
			return ret;
	}
	if (list == &t->prefix)
		return llm_fail(err, -EOPNOTSUPP, "%s: post_processor: single has no text", path);
	return 0;
}

int tok_load_post_processor(const char *path, const cJSON *root, struct zw_tokenizer *t,
			    struct zw_error *err)
{
	const cJSON *post, *it;
	bool seen = false;
	size_t n;
	int ret = llm_json_member(path, root, "post_processor", &post, err);

	if (ret)
		return ret;
	for (it = steps(post, "processors", &n); n--; it = it->next) {
		if (is_type(it, "ByteLevel"))
			continue; /* offsets only */
		if (!is_type(it, "TemplateProcessing") || seen)
			return llm_fail(err, -EOPNOTSUPP,
					"%s: post_processor \"%s\" is not supported", path,
					str(it, "type"));
		seen = true;
		ret = load_template(path, it, t, err);
		if (ret)
			return ret;
	}
	return 0;
}

// SPDX-License-Identifier: MIT
/*
 * The files beside tokenizer.json, with the precedence that transformers 5 gives them: the
 * added_tokens_decoder of tokenizer_config.json goes before everything; only without one are
 * added_tokens.json and special_tokens_map.json read. Named special tokens (bos_token and so on)
 * become added tokens when they are none yet.
 */
#include "tokenizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIDECAR_MAX (16u << 20)

struct sidecars {
	char *config_path, *added_path, *map_path;
	cJSON *config, *added, *map; /* NULL: not there */
};

struct pending {
	const char *content;
	uint32_t id, flags;
};

static const char *const named[] = {
	"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
};
static const char *const named_lists[] = {
	"additional_special_tokens",
	"extra_special_tokens",
	"model_specific_special_tokens",
};

static int read_optional(const char *dir, const char *name, char **path, cJSON **json,
			 struct zw_error *err)
{
	int ret;

	*path = llm_path_join(dir, name);
	if (!*path)
		return llm_fail(err, -ENOMEM, "%s: out of memory", dir);
	if (access(*path, F_OK))
		return 0;
	ret = llm_json_load(*path, SIDECAR_MAX, json, err);
	if (!ret && !cJSON_IsObject(*json))
		ret = llm_fail(err, -EBADMSG, "%s: not a JSON object", *path);
	return ret;
}

/* A named token is its content or an object with content and flags; NULL when it is neither. */
static const char *content_of(const cJSON *v)
{
	if (cJSON_IsObject(v))
		v = cJSON_GetObjectItemCaseSensitive(v, "content");
	return cJSON_IsString(v) && v->valuestring[0] ? v->valuestring : NULL;
}

static int by_id(const void *a, const void *b)
{
	const struct pending *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

/* In order of id, since an id that is new must be the next one. */
static int add_pending(const char *path, struct zw_tokenizer *t, struct pending *p, size_t n,
		       struct zw_error *err)
{
	int ret = 0;

	qsort(p, n, sizeof(*p), by_id);
	for (size_t i = 0; i < n && !ret; i++)
		ret = tok_add(path, t, p[i].content, p[i].id, p[i].flags, err);
	return ret;
}

static bool parse_id(const char *text, uint32_t *id)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	*id = (uint32_t)v;
	return text[0] >= '0' && text[0] <= '9' && !*end && v < TOK_MAX;
}

/* {"151643": {"content": "<|endoftext|>", "lstrip": false, ...}, ...} */
static int load_decoder(const char *path, const cJSON *decoder, struct zw_tokenizer *t,
			struct zw_error *err)
{
	size_t n = 0;
	const cJSON *it;
	struct pending *p;
	int ret = 0;

	if (!cJSON_IsObject(decoder))
		return llm_fail(err, -EBADMSG, "%s: added_tokens_decoder is not an object", path);
	p = calloc((size_t)cJSON_GetArraySize(decoder) + 1, sizeof(*p));
	if (!p)
		return llm_fail(err, -ENOMEM, "%s: out of memory", path);
	cJSON_ArrayForEach(it, decoder)
	{
		p[n].content = content_of(it);
		if (!p[n].content || !cJSON_IsObject(it) || !parse_id(it->string, &p[n].id)) {
			ret = llm_fail(err, -EBADMSG,
				       "%s: added_tokens_decoder: \"%s\" is not a token", path,
				       it->string);
			break;
		}
		ret = tok_added_flags(path, it, p[n].content, &p[n].flags, err);
		if (ret)
			break;
		n++;
	}
	if (!ret)
		ret = add_pending(path, t, p, n, err);
	free(p);
	return ret;
}

/* The value of a named token: tokenizer_config.json's, else special_tokens_map.json's. */
static const cJSON *named_value(const struct sidecars *s, const char *key, const char **path)
{
	const cJSON *v = cJSON_GetObjectItemCaseSensitive(s->config, key);

	*path = s->config_path;
	if (v && !cJSON_IsNull(v) && !(cJSON_IsString(v) && !v->valuestring[0]))
		return v;
	*path = s->map_path;
	v = cJSON_GetObjectItemCaseSensitive(s->map, key);
	return v && !cJSON_IsNull(v) ? v : NULL;
}

typedef int named_fn(const char *path, const cJSON *v, struct zw_tokenizer *t, void *arg,
		     struct zw_error *err);

/* Calls fn for every named special token, those of lists included. */
static int each_named(const struct sidecars *s, struct zw_tokenizer *t, named_fn *fn, void *arg,
		      struct zw_error *err)
{
	const char *path;
	int ret = 0;

	for (size_t i = 0; i < ZW_ARRAY_SIZE(named) && !ret; i++) {
		const cJSON *v = named_value(s, named[i], &path);

		if (v && !content_of(v))
			return llm_fail(err, -EBADMSG, "%s: %s is not a token", path, named[i]);
		if (v)
			ret = fn(path, v, t, arg, err);
	}
	for (size_t i = 0; i < ZW_ARRAY_SIZE(named_lists) && !ret; i++) {
		const cJSON *list = named_value(s, named_lists[i], &path), *v;

		if (list && !cJSON_IsArray(list) && !cJSON_IsObject(list))
			return llm_fail(err, -EBADMSG, "%s: %s is not a list of tokens", path,
					named_lists[i]);
		cJSON_ArrayForEach(v, list)
		{
			if (!content_of(v))
				return llm_fail(err, -EBADMSG, "%s: %s: not a token", path,
						named_lists[i]);
			ret = fn(path, v, t, arg, err);
			if (ret)
				break;
		}
	}
	return ret;
}

static int note_name(const char *path, const cJSON *v, struct zw_tokenizer *t, void *arg,
		     struct zw_error *err)
{
	const char *content = content_of(v);

	if (trie_set(arg, content, strlen(content), 1))
		return llm_fail(err, -ENOMEM, "%s: out of memory", path);
	return 0;
}

/* {"<tag>": 4096}; those that tokenizer.json has are as it says. */
static int load_added_json(const struct sidecars *s, struct zw_tokenizer *t, struct zw_error *err)
{
	size_t n = 0;
	const cJSON *it;
	struct trie names = {0};
	struct pending *p = calloc((size_t)cJSON_GetArraySize(s->added) + 1, sizeof(*p));
	int ret = 0;

	if (!p)
		return llm_fail(err, -ENOMEM, "%s: out of memory", s->added_path);
	ret = each_named(s, t, note_name, &names, err);
	if (ret)
		goto out;
	cJSON_ArrayForEach(it, s->added)
	{
		uint32_t is = trie_get(&t->added, it->string, strlen(it->string));
		uint64_t id;

		if (!it->string[0] || !llm_json_uint(it, 0, TOK_MAX - 1, &id)) {
			ret = llm_fail(err, -EBADMSG, "%s: \"%s\" has no id below %u",
				       s->added_path, it->string, TOK_MAX);
			break;
		}
		p[n] = (struct pending){it->string, (uint32_t)id, TOK_NORMALIZED};
		if (trie_get(&names, it->string, strlen(it->string)) != TRIE_NONE)
			p[n].flags = ZW_TOKEN_SPECIAL;
		if (is != TRIE_NONE)
			p[n].flags = t->tokens[is].flags & ~(ZW_TOKEN_ADDED | TOK_USED | TOK_BYTES);
		n++;
	}
	if (!ret)
		ret = add_pending(s->added_path, t, p, n, err);
out:
	trie_free(&names);
	free(p);
	return ret;
}

/* A special token by name: added when it is none yet, and special in any case. */
static int add_named(const char *path, const cJSON *v, struct zw_tokenizer *t, void *arg,
		     struct zw_error *err)
{
	const char *content = content_of(v);
	uint32_t is = trie_get(&t->added, content, strlen(content)), flags = 0;
	int ret;

	if (is != TRIE_NONE) {
		t->tokens[is].flags |= ZW_TOKEN_SPECIAL;
		return 0;
	}
	if (cJSON_IsObject(v)) {
		ret = tok_added_flags(path, v, content, &flags, err);
		if (ret)
			return ret;
	}
	return tok_add(path, t, content, TOK_NO_ID, flags | ZW_TOKEN_SPECIAL, err);
}

/* add_bos_token or add_eos_token, when there, take the place of the post-processor. */
static int load_bos_eos(const struct sidecars *s, struct zw_tokenizer *t, struct zw_error *err)
{
	static const char *const keys[] = {"add_bos_token", "add_eos_token"};
	struct zw_token_list *lists[] = {&t->prefix, &t->suffix};
	bool said = false;

	for (int i = 0; i < 2; i++) {
		const cJSON *v;
		int ret = llm_json_member(s->config_path, s->config, keys[i], &v, err);

		if (ret)
			return ret;
		if (v && !cJSON_IsBool(v))
			return llm_fail(err, -EBADMSG, "%s: %s is not true or false",
					s->config_path, keys[i]);
		said |= v != NULL;
	}
	for (int i = 0; i < 2 && said; i++) {
		const char *path, *content = content_of(named_value(s, named[i], &path));
		uint32_t *id;

		lists[i]->n = 0;
		if (!content || !cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(s->config, keys[i])))
			continue;
		id = realloc((uint32_t *)lists[i]->ids, sizeof(*id));
		if (!id)
			return llm_fail(err, -ENOMEM, "%s: out of memory", s->config_path);
		*id = trie_get(&t->added, content, strlen(content));
		lists[i]->ids = id;
		lists[i]->n = 1;
	}
	return 0;
}

static int load_switches(const struct sidecars *s, struct zw_tokenizer *t, struct zw_error *err)
{
	static const char *const off[] = {"add_prefix_space", "clean_up_tokenization_spaces"};
	const cJSON *v;
	int ret;

	for (size_t i = 0; i < ZW_ARRAY_SIZE(off); i++) {
		ret = llm_json_member(s->config_path, s->config, off[i], &v, err);
		if (ret)
			return ret;
		if (v && !cJSON_IsFalse(v))
			return llm_fail(err, -EOPNOTSUPP, "%s: %s is not supported", s->config_path,
					off[i]);
	}
	ret = llm_json_member(s->config_path, s->config, "split_special_tokens", &v, err);
	if (!ret && v && !cJSON_IsBool(v))
		ret = llm_fail(err, -EBADMSG, "%s: split_special_tokens is not true or false",
			       s->config_path);
	t->split_special = cJSON_IsTrue(v);
	return ret;
}

/* chat_template.jinja, else tokenizer_config.json's, which is a text or a list of named ones. */
static int load_chat_template(const char *dir, const struct sidecars *s, struct zw_tokenizer *t,
			      struct zw_error *err)
{
	char *path = llm_path_join(dir, "chat_template.jinja");
	const cJSON *v, *it;
	size_t len;
	int ret;

	if (!path)
		return llm_fail(err, -ENOMEM, "%s: out of memory", dir);
	if (!access(path, F_OK)) {
		ret = llm_file_read(path, SIDECAR_MAX, &t->chat_template, &len, err);
		if (!ret && strlen(t->chat_template) != len)
			ret = llm_fail(err, -EBADMSG, "%s: NUL byte", path);
		free(path);
		return ret;
	}
	free(path);
	ret = llm_json_member(s->config_path, s->config, "chat_template", &v, err);
	if (ret || !v)
		return ret;
	for (it = cJSON_IsArray(v) ? v->child : NULL; it; it = it->next) {
		const cJSON *name = cJSON_GetObjectItemCaseSensitive(it, "name");

		if (cJSON_IsString(name) && !strcmp(name->valuestring, "default"))
			v = cJSON_GetObjectItemCaseSensitive(it, "template");
	}
	if (cJSON_IsArray(v))
		return 0; /* only others, for special purposes */
	if (!cJSON_IsString(v))
		return llm_fail(err, -EBADMSG, "%s: chat_template is not a text", s->config_path);
	t->chat_template = strdup(v->valuestring);
	return t->chat_template ? 0 : llm_fail(err, -ENOMEM, "%s: out of memory", s->config_path);
}

static int load(const char *dir, struct sidecars *s, struct zw_tokenizer *t, struct zw_error *err)
{
	const cJSON *decoder;
	int ret;

	ret = read_optional(dir, "tokenizer_config.json", &s->config_path, &s->config, err);
	if (!ret)
		ret = llm_json_member(s->config_path, s->config, "added_tokens_decoder", &decoder,
				      err);
	if (!ret && decoder) {
		ret = load_decoder(s->config_path, decoder, t, err);
	} else if (!ret) {
		ret = read_optional(dir, "special_tokens_map.json", &s->map_path, &s->map, err);
		if (!ret)
			ret = read_optional(dir, "added_tokens.json", &s->added_path, &s->added,
					    err);
		if (!ret && s->added)
			ret = load_added_json(s, t, err);
	}
	if (!ret)
		ret = each_named(s, t, add_named, NULL, err);
	if (!ret)
		ret = load_bos_eos(s, t, err);
	if (!ret)
		ret = load_switches(s, t, err);
	if (!ret)
		ret = load_chat_template(dir, s, t, err);
	return ret;
}

int tok_load_sidecars(const char *dir, struct zw_tokenizer *t, struct zw_error *err)
{
	struct sidecars s = {0};
	int ret = load(dir, &s, t, err);

	cJSON_Delete(s.config);
	cJSON_Delete(s.added);
	cJSON_Delete(s.map);
	free(s.config_path);
	free(s.added_path);
	free(s.map_path);
	return ret;
}

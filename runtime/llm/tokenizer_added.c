// SPDX-License-Identifier: MIT
/* Added tokens: from tokenizer.json and the files beside it to ids and tries. */
#include "tokenizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *key;
	uint32_t flag;
} flag_keys[] = {
	{"special", ZW_TOKEN_SPECIAL}, {"single_word", TOK_SINGLE_WORD}, {"lstrip", TOK_LSTRIP},
	{"rstrip", TOK_RSTRIP},        {"normalized", TOK_NORMALIZED},
};

#define ALL_FLAGS (ZW_TOKEN_SPECIAL | TOK_SINGLE_WORD | TOK_LSTRIP | TOK_RSTRIP | TOK_NORMALIZED)

int tok_added_flags(const char *path, const cJSON *it, const char *content, uint32_t *flags,
		    struct zw_error *err)
{
	bool said = false;

	*flags = 0;
	for (size_t i = 0; i < ZW_ARRAY_SIZE(flag_keys); i++) {
		const cJSON *v;
		int ret = llm_json_member(path, it, flag_keys[i].key, &v, err);

		if (ret)
			return ret;
		if (v && !cJSON_IsBool(v))
			return llm_fail(err, -EBADMSG,
					"%s: added token \"%s\": %s is not true or false", path,
					content, flag_keys[i].key);
		if (cJSON_IsTrue(v))
			*flags |= flag_keys[i].flag;
		said |= v && flag_keys[i].flag == TOK_NORMALIZED;
	}
	if (!said && !(*flags & ZW_TOKEN_SPECIAL))
		*flags |= TOK_NORMALIZED;
	return 0;
}

/* The id the tokenizers library would give. */
static uint32_t id_for(const struct zw_tokenizer *t, const char *content)
{
	uint32_t id = tok_lookup_key(t, content);

	if (id != TOK_NO_ID)
		return id;
	return t->next_added > t->vocab_size ? t->next_added : t->vocab_size;
}

static int put(const char *path, struct zw_tokenizer *t, const char *content, uint32_t id,
	       uint32_t flags, struct zw_error *err)
{
	size_t len = strlen(content);
	int ret = 0;

	if (id >= TOK_MAX)
		return llm_fail(err, -EFBIG, "%s: added token \"%s\": no id below %u is left", path,
				content, TOK_MAX);
	if (id < t->num_tokens && (t->tokens[id].flags & TOK_USED)) {
		struct tok_token *tk = &t->tokens[id];

		/* It may name a vocabulary entry again, but only the same one. */
		if (tok_lookup_key(t, content) != id || (tk->flags & ZW_TOKEN_ADDED))
			return llm_fail(err, -EBADMSG,
					"%s: added token \"%s\": id %u is another token", path,
					content, id);
		tk->flags |= flags | ZW_TOKEN_ADDED;
	} else {
		ret = tok_new(t, id, content, len, flags | ZW_TOKEN_ADDED);
	}
	if (!ret)
		ret = trie_set(&t->added, content, len, id);
	if (ret)
		return llm_fail(err, ret, "%s: out of memory", path);
	if (id >= t->next_added)
		t->next_added = id + 1;
	return 0;
}

static int check_content(const char *path, const char *content, struct zw_error *err)
{
	if (strlen(content) > TOK_LEN_MAX)
		return llm_fail(err, -EFBIG, "%s: an added token is longer than %d bytes", path,
				TOK_LEN_MAX);
	if (!content[0])
		return llm_fail(err, -EBADMSG, "%s: an added token has no content", path);
	return 0;
}

int tok_add(const char *path, struct zw_tokenizer *t, const char *content, uint32_t id,
	    uint32_t flags, struct zw_error *err)
{
	uint32_t known, is;
	int ret = check_content(path, content, err);

	if (ret)
		return ret;
	known = trie_get(&t->added, content, strlen(content));
	is = known != TRIE_NONE ? known : id_for(t, content);
	if (id != TOK_NO_ID && id != is)
		return llm_fail(err, -EBADMSG,
				"%s: added token \"%s\": id %u, but tokenizer.json makes it %u",
				path, content, id, is);
	if (known == TRIE_NONE)
		return put(path, t, content, is, flags, err);
	t->tokens[is].flags = (t->tokens[is].flags & ~ALL_FLAGS) | flags;
	return 0;
}

static int load_one(const char *path, const cJSON *it, struct zw_tokenizer *t, struct zw_error *err)
{
	const cJSON *content, *id_item;
	uint32_t flags;
	uint64_t id;
	int ret;

	ret = llm_json_member(path, it, "content", &content, err);
	if (!ret)
		ret = llm_json_member(path, it, "id", &id_item, err);
	if (ret)
		return ret;
	if (!cJSON_IsString(content))
		return llm_fail(err, -EBADMSG, "%s: an added token has no content", path);
	ret = check_content(path, content->valuestring, err);
	if (!ret)
		ret = tok_added_flags(path, it, content->valuestring, &flags, err);
	if (ret)
		return ret;
	if (!llm_json_uint(id_item, 0, TOK_MAX - 1, &id))
		return llm_fail(err, -EBADMSG, "%s: added token \"%s\": no id below %u", path,
				content->valuestring, TOK_MAX);
	if (trie_get(&t->added, content->valuestring, strlen(content->valuestring)) != TRIE_NONE)
		return llm_fail(err, -EBADMSG, "%s: added token \"%s\" appears twice", path,
				content->valuestring);
	return put(path, t, content->valuestring, (uint32_t)id, flags, err);
}

int tok_load_added(const char *path, const cJSON *root, struct zw_tokenizer *t,
		   struct zw_error *err)
{
	const cJSON *list, *it;
	int ret;

	ret = llm_json_member(path, root, "added_tokens", &list, err);
	if (ret || !list)
		return ret;
	if (!cJSON_IsArray(list))
		return llm_fail(err, -EBADMSG, "%s: added_tokens is not a list", path);
	cJSON_ArrayForEach(it, list)
	{
		ret = load_one(path, it, t, err);
		if (ret)
			return ret;
	}
	return 0;
}

int tok_index_added(const char *path, struct zw_tokenizer *t, struct zw_error *err)
{
	int ret = 0;

	for (uint32_t id = 0; id < t->num_tokens && !ret; id++) {
		const struct tok_token *tk = &t->tokens[id];
		const char *bytes = t->arena + tk->off;
		char *norm = NULL;
		size_t len;

		if (!(tk->flags & ZW_TOKEN_ADDED))
			continue;
		if (!(tk->flags & TOK_NORMALIZED)) {
			ret = trie_set(&t->raw, bytes, tk->len, id);
			continue;
		}
		/* The text it is looked for in is normalised, so it is, too. */
		if (t->nfc) {
			ret = text_nfc(bytes, tk->len, &norm, &len, err);
			if (ret)
				return ret;
		}
		ret = norm ? trie_set(&t->norm, norm, len, id)
			   : trie_set(&t->norm, bytes, tk->len, id);
		free(norm);
	}
	return ret ? llm_fail(err, ret, "%s: out of memory", path) : 0;
}

// SPDX-License-Identifier: MIT
/* A tokenizer as a whole: opening a file or a folder, what its tokens are. */
#include "tokenizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "token_list.h"

#define TOKENIZER_MAX (128ull << 20)

static int load_model(const char *path, const cJSON *model, struct zw_tokenizer *t,
		      struct zw_error *err)
{
	static const char *const off[] = {"byte_fallback", "fuse_unk", "ignore_merges"};
	static const char *const empty[] = {"unk_token", "continuing_subword_prefix",
					    "end_of_word_suffix"};
	const cJSON *it;
	int ret;

	ret = llm_json_member(path, model, "type", &it, err);
	if (ret)
		return ret;
	if (!cJSON_IsString(it) || strcmp(it->valuestring, "BPE"))
		return llm_fail(err, -EOPNOTSUPP, "%s: model.type is not BPE", path);
	ret = llm_json_member(path, model, "dropout", &it, err);
	if (ret)
		return ret;
	if (it && !(cJSON_IsNumber(it) && it->valuedouble == 0))
		return llm_fail(err, -EOPNOTSUPP, "%s: model.dropout is not supported", path);
	for (size_t i = 0; i < ZW_ARRAY_SIZE(off); i++) {
		ret = llm_json_member(path, model, off[i], &it, err);
		if (ret)
			return ret;
		if (it && !cJSON_IsFalse(it))
			return llm_fail(err, -EOPNOTSUPP, "%s: model.%s is not supported", path,
					off[i]);
	}
	for (size_t i = 0; i < ZW_ARRAY_SIZE(empty); i++) {
		ret = llm_json_member(path, model, empty[i], &it, err);
		if (ret)
			return ret;
		if (it && !(cJSON_IsString(it) && !it->valuestring[0]))
			return llm_fail(err, -EOPNOTSUPP, "%s: model.%s is not supported", path,
					empty[i]);
	}
	ret = tok_load_vocab(path, model, t, err);
	if (!ret)
		ret = tok_load_merges(path, model, t, err);
	return ret;
}

static int load_json(const char *path, const cJSON *root, struct zw_tokenizer *t,
		     struct zw_error *err)
{
	const cJSON *model;
	int ret = llm_json_member(path, root, "model", &model, err);

	if (!ret && !model)
		ret = llm_fail(err, -EBADMSG, "%s: no model", path);
	if (!ret)
		ret = tok_load_pipeline(path, root, t, err);
	if (!ret)
		ret = load_model(path, model, t, err);
	if (!ret)
		ret = tok_load_added(path, root, t, err);
	if (!ret)
		ret = tok_load_post_processor(path, root, t, err);
	return ret;
}

static int load_file(const char *path, struct zw_tokenizer *t, struct zw_error *err)
{
	cJSON *root = NULL;
	int ret = llm_json_load(path, TOKENIZER_MAX, &root, err);

	if (!ret)
		ret = load_json(path, root, t, err);
	cJSON_Delete(root);
	return ret;
}

static int load_gguf(const char *path, struct zw_tokenizer *t, struct zw_error *err)
{
	struct zw_gguf *g;
	cJSON *root = NULL;
	int ret = zw_gguf_open(path, &g, err);

	if (ret)
		return ret;
	ret = tok_gguf_json(g, &root, err);
	if (!ret)
		ret = load_json(path, root, t, err);
	cJSON_Delete(root);
	if (!ret)
		ret = tok_load_gguf_ends(g, t, err);
	if (!ret)
		ret = tok_index_added(path, t, err);
	zw_gguf_close(g);
	return ret;
}

static int load(const char *path, struct zw_tokenizer *t, struct zw_error *err)
{
	struct stat sb;
	char *file;
	bool folder;
	int ret;

	if (getrandom(t->hash_key, sizeof(t->hash_key), 0) != sizeof(t->hash_key))
		return llm_fail(err, -errno, "no random numbers: %s", strerror(errno));
	if (gguf_is_one(path))
		return load_gguf(path, t, err);
	folder = !stat(path, &sb) && S_ISDIR(sb.st_mode);
	file = folder ? llm_path_join(path, "tokenizer.json") : strdup(path);
	if (!file)
		return llm_fail(err, -ENOMEM, "%s: out of memory", path);
	ret = load_file(file, t, err);
	if (!ret && folder)
		ret = tok_load_sidecars(path, t, err);
	if (!ret)
		ret = tok_index_added(file, t, err);
	free(file);
	return ret;
}

int zw_tokenizer_open(const char *path, struct zw_tokenizer **out, struct zw_error *err)
{
	struct zw_tokenizer *t;
	int ret;

	if (!path || !out)
		return llm_fail(err, -EINVAL, "zw_tokenizer_open: NULL argument");
	t = calloc(1, sizeof(*t));
	if (!t)
		return llm_fail(err, -ENOMEM, "out of memory");
	ret = load(path, t, err);
	if (ret) {
		zw_tokenizer_close(t);
		return ret;
	}
	*out = t;
	return 0;
}

void zw_tokenizer_close(struct zw_tokenizer *t)
{
	if (!t)
		return;
	pcre2_code_free(t->re);
	trie_free(&t->added);
	trie_free(&t->raw);
	trie_free(&t->norm);
	token_list_free(&t->prefix);
	token_list_free(&t->suffix);
	free(t->chat_template);
	free(t->merges);
	free(t->by_bytes);
	free(t->arena);
	free(t->tokens);
	free(t);
}

uint32_t zw_tokenizer_size(const struct zw_tokenizer *t)
{
	return t->num_tokens;
}

const char *zw_tokenizer_chat_template(const struct zw_tokenizer *t)
{
	return t->chat_template;
}

int64_t zw_tokenizer_find(const struct zw_tokenizer *t, const char *bytes, size_t len)
{
	uint32_t id = trie_get(&t->added, bytes, len);

	if (id == TRIE_NONE)
		id = len ? tok_lookup(t, bytes, len) : TOK_NO_ID;
	return id == TOK_NO_ID ? -ENOENT : (int64_t)id;
}

int zw_tokenizer_token(const struct zw_tokenizer *t, uint32_t id, const char **bytes, size_t *len,
		       uint32_t *flags)
{
	if (id >= t->num_tokens || !(t->tokens[id].flags & TOK_USED))
		return -ENOENT;
	*bytes = t->arena + t->tokens[id].off;
	*len = t->tokens[id].len;
	if (flags)
		*flags = t->tokens[id].flags & (ZW_TOKEN_ADDED | ZW_TOKEN_SPECIAL);
	return 0;
}

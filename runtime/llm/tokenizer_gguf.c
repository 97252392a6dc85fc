// SPDX-License-Identifier: MIT
/*
 * The tokenizer that a GGUF file's metadata describes, put into the words of tokenizer.json, so that one
 * reader knows what a tokenizer may be.
 */
#include "tokenizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_config.h"
#include "token_list.h"

#define LETTERS_QWEN2  "\\p{L}"
#define LETTERS_QWEN35 "[\\p{L}\\p{M}]"
/* Contractions, words, single digits, punctuation, line ends, white space. */
#define EXPRESSION(letters, marks)                                                                 \
	"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?" letters                              \
	"+|\\p{N}| ?[^\\s\\p{L}" marks "\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* tokenizer.ggml.pre: the file does not have the expression, only what programs know it by. */
static const struct {
	const char *pre, *expression;
} expressions[] = {
	{"qwen2", EXPRESSION(LETTERS_QWEN2, "")},
	{"deepseek-r1-qwen", EXPRESSION(LETTERS_QWEN2, "")},
	{"qwen35", EXPRESSION(LETTERS_QWEN35, "\\p{M}")},
};

static int no_memory(const struct zw_gguf *g, struct zw_error *err)
{
	return llm_fail(err, -ENOMEM, "%s: out of memory", g->path);
}

static int unknown(const struct zw_gguf *g, const char *key, struct gguf_str s,
		   struct zw_error *err)
{
	return llm_fail(err, -EOPNOTSUPP, "%s: %s \"%.*s\" is not supported yet", g->path, key,
			(int)(s.len < 40 ? s.len : 40), s.p);
}

/* A string of the file, terminated; `what` and i name it. */
static int copy_str(const struct zw_gguf *g, struct gguf_str s, const char *what, uint64_t i,
		    char **out, struct zw_error *err)
{
	if (s.len > TOK_LEN_MAX * 2 + 1)
		return llm_fail(err, -EFBIG, "%s: %s %llu: %zu bytes", g->path, what,
				(unsigned long long)i, s.len);
	if (memchr(s.p, 0, s.len))
		return llm_fail(err, -EOPNOTSUPP, "%s: %s %llu: NUL in it", g->path, what,
				(unsigned long long)i);
	*out = strndup(s.p, s.len);
	return *out ? 0 : no_memory(g, err);
}

/* ---- what stands around the model ---- */

static int add_pipeline(const struct zw_gguf *g, cJSON *root, struct zw_error *err)
{
	static const char text[] =
		"{\"normalizer\":{\"type\":\"NFC\"},\"decoder\":{\"type\":\"ByteLevel\"},"
		"\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
		"{\"type\":\"Split\",\"pattern\":{},\"behavior\":\"Isolated\",\"invert\":false},"
		"{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}}";
	static const char *const parts[] = {"normalizer", "decoder", "pre_tokenizer"};
	struct gguf_str model = {0}, pre = {0};
	bool space = false;
	size_t i = 0;
	cJSON *all, *split;
	int ret = gguf_get_str(g, "tokenizer.ggml.model", &model, err);

	if (!ret)
		ret = gguf_get_str(g, "tokenizer.ggml.pre", &pre, err);
	if (!ret)
		ret = gguf_get_bool(g, "tokenizer.ggml.add_space_prefix", &space, err);
	if (ret)
		return ret;
	if (!model.p || !pre.p)
		return llm_fail(err, model.p ? -EBADMSG : -ENOENT,
				"%s: tokenizer.ggml.%s is missing", g->path,
				model.p ? "pre" : "model");
	if (!gguf_str_is(model, "gpt2"))
		return unknown(g, "tokenizer.ggml.model", model, err);
	while (i < ZW_ARRAY_SIZE(expressions) && !gguf_str_is(pre, expressions[i].pre))
		i++;
	if (i == ZW_ARRAY_SIZE(expressions))
		return unknown(g, "tokenizer.ggml.pre", pre, err);
	if (space)
		return llm_fail(err, -EOPNOTSUPP,
				"%s: tokenizer.ggml.add_space_prefix is not supported yet",
				g->path);
	all = cJSON_Parse(text);
	if (!all)
		return no_memory(g, err);
	split = cJSON_GetArrayItem(
		cJSON_GetObjectItem(cJSON_GetObjectItem(all, "pre_tokenizer"), "pretokenizers"), 0);
	if (!cJSON_AddStringToObject(cJSON_GetObjectItem(split, "pattern"), "Regex",
				     expressions[i].expression))
		ret = no_memory(g, err);
	for (i = 0; i < ZW_ARRAY_SIZE(parts) && !ret; i++) {
		if (!cJSON_AddItemToObject(root, parts[i],
					   cJSON_DetachItemFromObject(all, parts[i])))
			ret = no_memory(g, err);
	}
	cJSON_Delete(all);
	return ret;
}

/* ---- tokens ---- */

/*
 * Control and user-defined tokens are added ones and stand for themselves; so far as a file of this format
 * tells, they are cut out of the text as it is. Which were special is not said: control tokens are.
 */
static int add_added(const struct zw_gguf *g, cJSON *list, const char *content, uint64_t id,
		     bool special, struct zw_error *err)
{
	cJSON *it = cJSON_CreateObject();

	if (!it || !cJSON_AddNumberToObject(it, "id", (double)id) ||
	    !cJSON_AddStringToObject(it, "content", content) ||
	    !cJSON_AddBoolToObject(it, "special", special) ||
	    !cJSON_AddFalseToObject(it, "normalized")) {
		cJSON_Delete(it);
		return no_memory(g, err);
	}
	cJSON_AddItemToArray(list, it);
	return 0;
}

static int add_entry(const struct zw_gguf *g, cJSON *vocab, const char *content, uint64_t id,
		     struct zw_error *err)
{
	cJSON *it = cJSON_CreateNumber((double)id);

	if (!it || !cJSON_AddItemToObject(vocab, content, it)) {
		cJSON_Delete(it);
		return no_memory(g, err);
	}
	return 0;
}

static int add_token(const struct zw_gguf *g, const struct gguf_value *types, cJSON *vocab,
		     cJSON *added, struct gguf_str s, uint64_t id, struct zw_error *err)
{
	uint64_t type = GGUF_TOKEN_NORMAL;
	char *content;
	int ret;

	if (types && !gguf_element_uint(g, types, id, &type))
		type = 0;
	if (type == GGUF_TOKEN_UNUSED)
		return 0; /* fills the embedding up */
	ret = copy_str(g, s, "token", id, &content, err);
	if (ret)
		return ret;
	if (type == GGUF_TOKEN_NORMAL)
		ret = add_entry(g, vocab, content, id, err);
	else if (type == GGUF_TOKEN_CONTROL || type == GGUF_TOKEN_USER)
		ret = add_added(g, added, content, id, type == GGUF_TOKEN_CONTROL, err);
	else
		ret = llm_fail(err, -EOPNOTSUPP,
			       "%s: tokenizer.ggml.token_type: token %llu has type %llu, which is "
			       "not supported",
			       g->path, (unsigned long long)id, (unsigned long long)type);
	free(content);
	return ret;
}

static int add_tokens(const struct zw_gguf *g, cJSON *vocab, cJSON *added, struct zw_error *err)
{
	const struct gguf_value *tokens, *types;
	int ret = gguf_get_array(g, "tokenizer.ggml.tokens", GGUF_STRING, &tokens, err);
	uint64_t at;

	if (!ret)
		ret = gguf_get_array(g, "tokenizer.ggml.token_type", GGUF_I32, &types, err);
	if (ret)
		return ret;
	if (!tokens)
		return llm_fail(err, -EBADMSG, "%s: tokenizer.ggml.tokens is missing", g->path);
	if (tokens->count > TOK_MAX)
		return llm_fail(err, -EFBIG, "%s: tokenizer.ggml.tokens: %llu of them", g->path,
				(unsigned long long)tokens->count);
	if (types && types->count != tokens->count)
		return llm_fail(err, -EBADMSG,
				"%s: tokenizer.ggml.token_type has %llu entries, "
				"tokenizer.ggml.tokens %llu",
				g->path, (unsigned long long)types->count,
				(unsigned long long)tokens->count);
	at = tokens->at;
	for (uint64_t id = 0; id < tokens->count && !ret; id++)
		ret = add_token(g, types, vocab, added, gguf_next_str(g, &at), id, err);
	return ret;
}

static int add_merges(const struct zw_gguf *g, cJSON *list, struct zw_error *err)
{
	const struct gguf_value *merges;
	int ret = gguf_get_array(g, "tokenizer.ggml.merges", GGUF_STRING, &merges, err);
	uint64_t at;

	if (ret)
		return ret;
	if (!merges)
		return llm_fail(err, -EBADMSG, "%s: tokenizer.ggml.merges is missing", g->path);
	if (merges->count > TOK_MAX)
		return llm_fail(err, -EFBIG, "%s: tokenizer.ggml.merges: %llu of them", g->path,
				(unsigned long long)merges->count);
	at = merges->at;
	for (uint64_t i = 0; i < merges->count && !ret; i++) {
		cJSON *it = NULL;
		char *text;

		ret = copy_str(g, gguf_next_str(g, &at), "merge", i, &text, err);
		if (ret)
			break;
		it = cJSON_CreateString(text);
		free(text);
		if (it)
			cJSON_AddItemToArray(list, it);
		else
			ret = no_memory(g, err);
	}
	return ret;
}

int tok_gguf_json(const struct zw_gguf *g, cJSON **out, struct zw_error *err)
{
	cJSON *root = cJSON_CreateObject(), *model, *vocab, *merges, *added;
	int ret;

	model = cJSON_AddObjectToObject(root, "model");
	vocab = cJSON_AddObjectToObject(model, "vocab");
	merges = cJSON_AddArrayToObject(model, "merges");
	added = cJSON_AddArrayToObject(root, "added_tokens");
	if (!vocab || !merges || !added || !cJSON_AddStringToObject(model, "type", "BPE"))
		ret = no_memory(g, err);
	else
		ret = add_pipeline(g, root, err);
	if (!ret)
		ret = add_tokens(g, vocab, added, err);
	if (!ret)
		ret = add_merges(g, merges, err);
	if (ret) {
		cJSON_Delete(root);
		return ret;
	}
	*out = root;
	return 0;
}

/* ---- what is put around a text; the chat template ---- */

static int load_end(const struct zw_gguf *g, const char *add_key, const char *id_key,
		    struct zw_token_list *list, const struct zw_tokenizer *t, struct zw_error *err)
{
	uint64_t id = UINT64_MAX;
	bool add = false;
	int ret = gguf_get_bool(g, add_key, &add, err);

	if (!ret)
		ret = gguf_get_uint(g, id_key, 0, UINT32_MAX, &id, err);
	if (ret || !add)
		return ret;
	if (id >= t->num_tokens || !(t->tokens[id].flags & TOK_USED))
		return llm_fail(err, -EBADMSG, "%s: %s, but %s is no token", g->path, add_key,
				id_key);
	return token_list_append(list, (uint32_t)id) ? no_memory(g, err) : 0;
}

int tok_load_gguf_ends(const struct zw_gguf *g, struct zw_tokenizer *t, struct zw_error *err)
{
	struct gguf_str text = {0};
	int ret = load_end(g, "tokenizer.ggml.add_bos_token", "tokenizer.ggml.bos_token_id",
			   &t->prefix, t, err);

	if (!ret)
		ret = load_end(g, "tokenizer.ggml.add_eos_token", "tokenizer.ggml.eos_token_id",
			       &t->suffix, t, err);
	if (!ret)
		ret = gguf_get_str(g, "tokenizer.chat_template", &text, err);
	if (ret || !text.p)
		return ret;
	if (memchr(text.p, 0, text.len))
		return llm_fail(err, -EBADMSG, "%s: tokenizer.chat_template: NUL byte", g->path);
	t->chat_template = strndup(text.p, text.len);
	return t->chat_template ? 0 : no_memory(g, err);
}

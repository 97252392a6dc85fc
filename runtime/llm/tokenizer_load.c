// SPDX-License-Identifier: MIT
/* tokenizer.json to tables. Whatever would change the result and is not implemented is refused. */
#include "tokenizer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define TOKENIZER_MAX (128ull << 20)
#define TOKENS_MAX    (1u << 22)
#define TOKEN_LEN_MAX 65535

/*
 * The byte alphabet of byte-level BPE: bytes that print as themselves keep their code point, the
 * other 68 get U+0100, U+0101, ... in ascending order, so that every token is printable text.
 */
static void byte_alphabet(int16_t cp_to_byte[324])
{
	int next = 256;

	memset(cp_to_byte, 0xff, 324 * sizeof(*cp_to_byte));
	for (int b = 0; b < 256; b++) {
		bool self = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;

		cp_to_byte[self ? b : next++] = (int16_t)b;
	}
}

/* Turns byte symbols into the bytes they stand for; -1 when text holds another character. */
static long unmap(const int16_t *alphabet, const char *text, char *out)
{
	const unsigned char *p = (const unsigned char *)text;
	long n = 0;

	while (*p) {
		unsigned int cp = *p++;

		if (cp >= 0x80) {
			/* The alphabet ends at U+0143: two bytes at most. */
			if ((cp & 0xe0) != 0xc0 || (*p & 0xc0) != 0x80)
				return -1;
			cp = (cp & 0x1f) << 6 | (*p++ & 0x3f);
		}
		if (cp >= 324 || alphabet[cp] < 0)
			return -1;
		out[n++] = (char)alphabet[cp];
	}
	return n;
}

static uint32_t hash_bytes(const char *p, size_t len)
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (uint8_t)p[i]) * 0x100000001b3ull;
	return (uint32_t)(h ^ h >> 32);
}

static uint32_t hash_pair(uint32_t a, uint32_t b)
{
	uint64_t h = ((uint64_t)a << 32 | b) * 0x9e3779b97f4a7c15ull;

	return (uint32_t)(h >> 32);
}

uint32_t zw_tok_lookup(const struct zw_tokenizer *t, const char *bytes, size_t len)
{
	for (uint32_t i = hash_bytes(bytes, len);; i++) {
		uint32_t v = t->by_bytes[i & t->by_bytes_mask];

		if (!v)
			return ZW_NO_ID;
		if (t->tokens[v - 1].len == len &&
		    !memcmp(t->arena + t->tokens[v - 1].off, bytes, len))
			return v - 1;
	}
}

const struct zw_merge *zw_tok_merge(const struct zw_tokenizer *t, uint32_t left, uint32_t right)
{
	for (uint32_t i = hash_pair(left, right);; i++) {
		const struct zw_merge *m = &t->merges[i & t->merges_mask];

		if (m->left == ZW_NO_ID)
			return NULL;
		if (m->left == left && m->right == right)
			return m;
	}
}

/* Power of two, at least twice n: open addressing stays short. */
static uint32_t table_size(size_t n)
{
	uint32_t size = 16;

	while (size < 2 * n)
		size *= 2;
	return size;
}

static int add_token(struct zw_tokenizer *t, uint32_t id, const char *bytes, size_t len,
		     uint32_t flags)
{
	if (id >= t->num_tokens) {
		struct zw_token *tokens = realloc(t->tokens, (id + 1ul) * sizeof(*tokens));

		if (!tokens)
			return -ENOMEM;
		memset(tokens + t->num_tokens, 0, (id + 1 - t->num_tokens) * sizeof(*tokens));
		t->tokens = tokens;
		t->num_tokens = id + 1;
	}
	if (t->arena_cap - t->arena_len < len + 1) {
		size_t cap = (t->arena_cap + len + 1) * 2;
		char *arena = realloc(t->arena, cap);

		if (!arena)
			return -ENOMEM;
		t->arena = arena;
		t->arena_cap = cap;
	}
	t->tokens[id] =
		(struct zw_token){(uint32_t)t->arena_len, (uint32_t)len, flags | ZW_TOKEN_USED};
	memcpy(t->arena + t->arena_len, bytes, len);
	t->arena_len += len;
	return 0;
}

static int load_vocab(const char *path, const cJSON *model, struct zw_tokenizer *t,
		      struct zw_error *err)
{
	int16_t alphabet[324];
	const cJSON *vocab, *it;
	char *bytes;
	size_t n = 0;
	uint64_t id, top = 0;
	int ret;

	ret = zw_json_member(path, model, "vocab", &vocab, err);
	if (ret)
		return ret;
	if (!cJSON_IsObject(vocab) || !vocab->child)
		return zw_fail(err, -EBADMSG, "%s: model.vocab is not an object with tokens", path);
	cJSON_ArrayForEach(it, vocab)
	{
		if (!zw_json_uint(it, 0, TOKENS_MAX - 1, &id))
			return zw_fail(err, -EBADMSG, "%s: token \"%s\": not an id below %u", path,
				       it->string, TOKENS_MAX);
		if (strlen(it->string) > TOKEN_LEN_MAX)
			return zw_fail(err, -EFBIG, "%s: token %llu: longer than %d bytes", path,
				       (unsigned long long)id, TOKEN_LEN_MAX);
		if (id > top)
			top = id;
		n++;
	}
	t->tokens = calloc(top + 1, sizeof(*t->tokens));
	t->by_bytes_mask = table_size(n) - 1;
	t->by_bytes = calloc(t->by_bytes_mask + 1ul, sizeof(*t->by_bytes));
	bytes = malloc(TOKEN_LEN_MAX + 1);
	if (!t->tokens || !t->by_bytes || !bytes) {
		free(bytes);
		return zw_fail(err, -ENOMEM, "%s: out of memory", path);
	}
	t->num_tokens = (uint32_t)top + 1;
	byte_alphabet(alphabet);
	cJSON_ArrayForEach(it, vocab)
	{
		long len = unmap(alphabet, it->string, bytes);
		/* A token with other characters can never be merged; decoding prints it as it is.
		 */
		bool lookup = len > 0;
		const char *src = lookup ? bytes : it->string;
		uint32_t slot;

		if (!lookup)
			len = (long)strlen(it->string);
		zw_json_uint(it, 0, TOKENS_MAX - 1, &id);
		if (t->tokens[id].flags & ZW_TOKEN_USED) {
			ret = zw_fail(err, -EBADMSG, "%s: token \"%s\": id %llu is used twice",
				      path, it->string, (unsigned long long)id);
			break;
		}
		if (lookup && zw_tok_lookup(t, src, (size_t)len) != ZW_NO_ID) {
			ret = zw_fail(err, -EBADMSG, "%s: token \"%s\" appears twice", path,
				      it->string);
			break;
		}
		ret = add_token(t, (uint32_t)id, src, (size_t)len, lookup ? ZW_TOKEN_LOOKUP : 0);
		if (ret) {
			zw_fail(err, ret, "%s: out of memory", path);
			break;
		}
		if (!lookup)
			continue;
		slot = hash_bytes(src, (size_t)len);
		while (t->by_bytes[slot & t->by_bytes_mask])
			slot++;
		t->by_bytes[slot & t->by_bytes_mask] = (uint32_t)id + 1;
	}
	free(bytes);
	if (ret)
		return ret;
	for (int b = 0; b < 256; b++) {
		char c = (char)b;

		t->byte_id[b] = zw_tok_lookup(t, &c, 1);
		if (t->byte_id[b] == ZW_NO_ID)
			return zw_fail(err, -EBADMSG, "%s: no token for byte 0x%02x", path, b);
	}
	return 0;
}

/* A merge is "left right" in older files and ["left", "right"] in newer ones. */
static bool split_merge(const cJSON *it, const char **l, size_t *llen, const char **r)
{
	if (cJSON_IsString(it)) {
		const char *space = strchr(it->valuestring, ' ');

		if (!space)
			return false;
		*l = it->valuestring;
		*llen = (size_t)(space - it->valuestring);
		*r = space + 1;
		return true;
	}
	if (!cJSON_IsArray(it) || cJSON_GetArraySize(it) != 2 || !cJSON_IsString(it->child) ||
	    !cJSON_IsString(it->child->next))
		return false;
	*l = it->child->valuestring;
	*llen = strlen(*l);
	*r = it->child->next->valuestring;
	return true;
}

static int add_merge(const char *path, struct zw_tokenizer *t, const int16_t *alphabet,
		     const cJSON *it, uint32_t rank, char *buf, struct zw_error *err)
{
	const char *l, *r;
	size_t llen;
	uint32_t left, right, id, slot;
	long a, b;
	char *split;

	if (!split_merge(it, &l, &llen, &r) || llen > TOKEN_LEN_MAX || strlen(r) > TOKEN_LEN_MAX)
		return zw_fail(err, -EBADMSG, "%s: merge %u is not a pair of tokens", path, rank);
	split = strndup(l, llen);
	if (!split)
		return zw_fail(err, -ENOMEM, "%s: out of memory", path);
	a = unmap(alphabet, split, buf);
	b = a > 0 ? unmap(alphabet, r, buf + a) : -1;
	free(split);
	if (a <= 0 || b <= 0)
		return zw_fail(err, -EBADMSG, "%s: merge %u is not made of byte symbols", path,
			       rank);
	left = zw_tok_lookup(t, buf, (size_t)a);
	right = zw_tok_lookup(t, buf + a, (size_t)b);
	id = zw_tok_lookup(t, buf, (size_t)(a + b));
	if (left == ZW_NO_ID || right == ZW_NO_ID || id == ZW_NO_ID)
		return zw_fail(err, -EBADMSG,
			       "%s: merge %u uses a token that is not in the vocabulary", path,
			       rank);
	for (slot = hash_pair(left, right);; slot++) {
		struct zw_merge *m = &t->merges[slot & t->merges_mask];

		if (m->left == ZW_NO_ID) {
			*m = (struct zw_merge){left, right, rank, id};
			return 0;
		}
		if (m->left == left && m->right == right)
			return zw_fail(err, -EBADMSG, "%s: merge %u appears twice", path, rank);
	}
}

static int load_merges(const char *path, const cJSON *model, struct zw_tokenizer *t,
		       struct zw_error *err)
{
	int16_t alphabet[324];
	const cJSON *merges, *it;
	uint32_t rank = 0;
	size_t n;
	char *buf;
	int ret;

	ret = zw_json_member(path, model, "merges", &merges, err);
	if (ret)
		return ret;
	if (!cJSON_IsArray(merges))
		return zw_fail(err, -EBADMSG, "%s: model.merges is not a list", path);
	n = (size_t)cJSON_GetArraySize(merges);
	if (n > TOKENS_MAX)
		return zw_fail(err, -EFBIG, "%s: %zu merges", path, n);
	t->merges_mask = table_size(n) - 1;
	t->merges = malloc((t->merges_mask + 1ul) * sizeof(*t->merges));
	buf = malloc(2 * (TOKEN_LEN_MAX + 1));
	if (!t->merges || !buf) {
		free(buf);
		return zw_fail(err, -ENOMEM, "%s: out of memory", path);
	}
	for (uint32_t i = 0; i <= t->merges_mask; i++)
		t->merges[i].left = ZW_NO_ID;
	byte_alphabet(alphabet);
	cJSON_ArrayForEach(it, merges)
	{
		ret = add_merge(path, t, alphabet, it, rank++, buf, err);
		if (ret)
			break;
	}
	free(buf);
	return ret;
}

static int load_model(const char *path, const cJSON *model, struct zw_tokenizer *t,
		      struct zw_error *err)
{
	static const char *const off[] = {"byte_fallback", "fuse_unk", "ignore_merges"};
	static const char *const empty[] = {"unk_token", "continuing_subword_prefix",
					    "end_of_word_suffix"};
	const cJSON *it;
	int ret;

	ret = zw_json_member(path, model, "type", &it, err);
	if (ret)
		return ret;
	if (!cJSON_IsString(it) || strcmp(it->valuestring, "BPE"))
		return zw_fail(err, -EOPNOTSUPP, "%s: model.type is not BPE", path);
	ret = zw_json_member(path, model, "dropout", &it, err);
	if (ret)
		return ret;
	if (it && !(cJSON_IsNumber(it) && it->valuedouble == 0))
		return zw_fail(err, -EOPNOTSUPP, "%s: model.dropout is not supported", path);
	for (size_t i = 0; i < ZW_ARRAY_SIZE(off); i++) {
		ret = zw_json_member(path, model, off[i], &it, err);
		if (ret)
			return ret;
		if (it && !cJSON_IsFalse(it))
			return zw_fail(err, -EOPNOTSUPP, "%s: model.%s is not supported", path,
				       off[i]);
	}
	for (size_t i = 0; i < ZW_ARRAY_SIZE(empty); i++) {
		ret = zw_json_member(path, model, empty[i], &it, err);
		if (ret)
			return ret;
		if (it && !(cJSON_IsString(it) && !it->valuestring[0]))
			return zw_fail(err, -EOPNOTSUPP, "%s: model.%s is not supported", path,
				       empty[i]);
	}
	ret = load_vocab(path, model, t, err);
	if (!ret)
		ret = load_merges(path, model, t, err);
	return ret;
}

static uint32_t trie_child(const struct zw_tokenizer *t, uint32_t node, uint8_t byte)
{
	uint32_t c = t->trie[node].child;

	while (c && t->trie[c].byte != byte)
		c = t->trie[c].sibling;
	return c;
}

static int trie_node(struct zw_tokenizer *t, uint8_t byte, uint32_t sibling)
{
	if (t->trie_len == t->trie_cap) {
		uint32_t cap = t->trie_cap ? t->trie_cap * 2 : 256;
		struct zw_trie_node *trie = realloc(t->trie, cap * sizeof(*trie));

		if (!trie)
			return -ENOMEM;
		t->trie = trie;
		t->trie_cap = cap;
	}
	t->trie[t->trie_len] = (struct zw_trie_node){0, sibling, ZW_NO_ID, byte};
	return (int)t->trie_len++;
}

static int trie_add(struct zw_tokenizer *t, const char *bytes, uint32_t id)
{
	uint32_t node = 0;

	for (const char *p = bytes; *p; p++) {
		uint32_t next = trie_child(t, node, (uint8_t)*p);

		if (!next) {
			int made = trie_node(t, (uint8_t)*p, t->trie[node].child);

			if (made < 0)
				return made;
			next = (uint32_t)made;
			t->trie[node].child = next;
		}
		node = next;
	}
	if (t->trie[node].id != ZW_NO_ID)
		return -EEXIST;
	t->trie[node].id = id;
	t->added_first[(uint8_t)bytes[0]] = true;
	return 0;
}

static int load_added_token(const char *path, const cJSON *it, struct zw_tokenizer *t,
			    struct zw_error *err)
{
	static const char *const off[] = {"single_word", "lstrip", "rstrip", "normalized"};
	const cJSON *content, *id_item, *flag;
	uint32_t flags = ZW_TOKEN_ADDED;
	uint64_t id;
	size_t len;
	int ret;

	ret = zw_json_member(path, it, "content", &content, err);
	if (!ret)
		ret = zw_json_member(path, it, "id", &id_item, err);
	if (!ret)
		ret = zw_json_member(path, it, "special", &flag, err);
	if (ret)
		return ret;
	if (!cJSON_IsString(content) || !content->valuestring[0])
		return zw_fail(err, -EBADMSG, "%s: an added token has no content", path);
	len = strlen(content->valuestring);
	if (!zw_json_uint(id_item, 0, TOKENS_MAX - 1, &id))
		return zw_fail(err, -EBADMSG, "%s: added token \"%s\": no id below %u", path,
			       content->valuestring, TOKENS_MAX);
	if (len > TOKEN_LEN_MAX)
		return zw_fail(err, -EFBIG, "%s: added token %llu: longer than %d bytes", path,
			       (unsigned long long)id, TOKEN_LEN_MAX);
	if (cJSON_IsTrue(flag))
		flags |= ZW_TOKEN_SPECIAL;
	for (size_t i = 0; i < ZW_ARRAY_SIZE(off); i++) {
		ret = zw_json_member(path, it, off[i], &flag, err);
		if (ret)
			return ret;
		/* Absent means true for "normalized" where the file was written, but Qwen's has it.
		 */
		if (!cJSON_IsFalse(flag))
			return zw_fail(err, -EOPNOTSUPP,
				       "%s: added token \"%s\": %s is not false: not supported",
				       path, content->valuestring, off[i]);
	}
	/* An added token may name a vocabulary entry again, but only the same one. */
	if (id < t->num_tokens && (t->tokens[id].flags & ZW_TOKEN_USED)) {
		struct zw_token *tk = &t->tokens[id];

		if (tk->len != len || memcmp(t->arena + tk->off, content->valuestring, len))
			return zw_fail(err, -EBADMSG,
				       "%s: added token \"%s\": id %llu is another token", path,
				       content->valuestring, (unsigned long long)id);
		tk->flags |= flags;
	} else {
		ret = add_token(t, (uint32_t)id, content->valuestring, len, flags);
		if (ret)
			return zw_fail(err, ret, "%s: out of memory", path);
	}
	ret = trie_add(t, content->valuestring, (uint32_t)id);
	if (ret == -EEXIST)
		return zw_fail(err, -EBADMSG, "%s: added token \"%s\" appears twice", path,
			       content->valuestring);
	if (ret)
		return zw_fail(err, ret, "%s: out of memory", path);
	return 0;
}

static int load_added(const char *path, const cJSON *root, struct zw_tokenizer *t,
		      struct zw_error *err)
{
	const cJSON *list, *it;
	int ret;

	if (trie_node(t, 0, 0) < 0)
		return zw_fail(err, -ENOMEM, "%s: out of memory", path);
	ret = zw_json_member(path, root, "added_tokens", &list, err);
	if (ret || !list)
		return ret;
	if (!cJSON_IsArray(list))
		return zw_fail(err, -EBADMSG, "%s: added_tokens is not a list", path);
	cJSON_ArrayForEach(it, list)
	{
		ret = load_added_token(path, it, t, err);
		if (ret)
			return ret;
	}
	return 0;
}

/* The string member `key` of obj, or "" when it is absent or no string. */
static const char *str(const cJSON *obj, const char *key)
{
	const cJSON *it = cJSON_GetObjectItemCaseSensitive(obj, key);

	return cJSON_IsString(it) ? it->valuestring : "";
}

static bool is_false(const cJSON *obj, const char *key)
{
	return cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(obj, key));
}

static int compile(const char *path, const char *pattern, struct zw_tokenizer *t,
		   struct zw_error *err)
{
	PCRE2_UCHAR msg[128];
	PCRE2_SIZE at;
	char *re;
	int code, ret;

	ret = zw_tok_spell_out_space(pattern, &re);
	if (ret)
		return zw_fail(err, ret, "%s: pre_tokenizer: cannot translate the expression",
			       path);
	/*
	 * MATCH_INVALID_UTF is not wanted: the encoder hands over valid UTF-8 only and says so to
	 * the matcher, which then does not scan the text again for every match.
	 */
	t->re = pcre2_compile((PCRE2_SPTR)re, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code,
			      &at, NULL);
	free(re);
	if (!t->re) {
		pcre2_get_error_message(code, msg, sizeof(msg));
		return zw_fail(err, -EBADMSG, "%s: pre_tokenizer: expression: %s", path, msg);
	}
	/* Without JIT (some hosts) the interpreter gives the same matches. */
	pcre2_jit_compile(t->re, PCRE2_JIT_COMPLETE);
	return 0;
}

static int load_pipeline(const char *path, const cJSON *root, struct zw_tokenizer *t,
			 struct zw_error *err)
{
	const cJSON *norm, *pre, *split, *bytes, *pattern;
	int ret;

	ret = zw_json_member(path, root, "normalizer", &norm, err);
	if (!ret)
		ret = zw_json_member(path, root, "pre_tokenizer", &pre, err);
	if (ret)
		return ret;
	if (norm && strcmp(str(norm, "type"), "NFC"))
		return zw_fail(err, -EOPNOTSUPP, "%s: normalizer \"%s\" is not supported", path,
			       str(norm, "type"));
	t->nfc = norm != NULL;
	pre = strcmp(str(pre, "type"), "Sequence")
		      ? NULL
		      : cJSON_GetObjectItemCaseSensitive(pre, "pretokenizers");
	split = cJSON_IsArray(pre) ? pre->child : NULL;
	bytes = split ? split->next : NULL;
	if (!bytes || bytes->next || strcmp(str(split, "type"), "Split") ||
	    strcmp(str(bytes, "type"), "ByteLevel"))
		return zw_fail(err, -EOPNOTSUPP,
			       "%s: pre_tokenizer is not a sequence of Split and ByteLevel", path);
	if (strcmp(str(split, "behavior"), "Isolated") || !is_false(split, "invert"))
		return zw_fail(err, -EOPNOTSUPP, "%s: pre_tokenizer: Split is not plain Isolated",
			       path);
	if (!is_false(bytes, "add_prefix_space") || !is_false(bytes, "use_regex"))
		return zw_fail(err, -EOPNOTSUPP,
			       "%s: pre_tokenizer: ByteLevel with add_prefix_space or use_regex",
			       path);
	pattern = cJSON_GetObjectItemCaseSensitive(split, "pattern");
	if (!str(pattern, "Regex")[0])
		return zw_fail(err, -EOPNOTSUPP, "%s: pre_tokenizer: Split has no Regex", path);
	return compile(path, str(pattern, "Regex"), t, err);
}

int zw_tokenizer_open(const char *path, struct zw_tokenizer **out, struct zw_error *err)
{
	struct zw_tokenizer *t = NULL;
	const cJSON *model;
	cJSON *root = NULL;
	struct stat sb;
	char *file;
	int ret;

	if (!path || !out)
		return zw_fail(err, -EINVAL, "zw_tokenizer_open: NULL argument");
	if (!stat(path, &sb) && S_ISDIR(sb.st_mode))
		file = zw_path_join(path, "tokenizer.json");
	else
		file = strdup(path);
	if (!file)
		return zw_fail(err, -ENOMEM, "%s: out of memory", path);
	ret = zw_json_load(file, TOKENIZER_MAX, &root, err);
	if (ret)
		goto out;
	t = calloc(1, sizeof(*t));
	if (!t) {
		ret = zw_fail(err, -ENOMEM, "%s: out of memory", file);
		goto out;
	}
	ret = zw_json_member(file, root, "model", &model, err);
	if (!ret && !model)
		ret = zw_fail(err, -EBADMSG, "%s: no model", file);
	if (!ret)
		ret = load_pipeline(file, root, t, err);
	if (!ret)
		ret = load_model(file, model, t, err);
	if (!ret)
		ret = load_added(file, root, t, err);
	if (!ret)
		*out = t;
out:
	cJSON_Delete(root);
	free(file);
	if (ret)
		zw_tokenizer_close(t);
	return ret;
}

void zw_tokenizer_close(struct zw_tokenizer *t)
{
	if (!t)
		return;
	pcre2_code_free(t->re);
	free(t->trie);
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

int64_t zw_tokenizer_find(const struct zw_tokenizer *t, const char *bytes, size_t len)
{
	uint32_t node = 0, id;

	for (size_t i = 0; i < len; i++) {
		node = trie_child(t, node, (uint8_t)bytes[i]);
		if (!node)
			break;
	}
	if (node && t->trie[node].id != ZW_NO_ID)
		return t->trie[node].id;
	id = len ? zw_tok_lookup(t, bytes, len) : ZW_NO_ID;
	return id == ZW_NO_ID ? -ENOENT : (int64_t)id;
}

int zw_tokenizer_token(const struct zw_tokenizer *t, uint32_t id, const char **bytes, size_t *len,
		       uint32_t *flags)
{
	if (id >= t->num_tokens || !(t->tokens[id].flags & ZW_TOKEN_USED))
		return -ENOENT;
	*bytes = t->arena + t->tokens[id].off;
	*len = t->tokens[id].len;
	if (flags)
		*flags = t->tokens[id].flags & (ZW_TOKEN_ADDED | ZW_TOKEN_SPECIAL);
	return 0;
}

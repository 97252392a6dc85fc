// SPDX-License-Identifier: MIT
/* The model of a byte-level BPE: vocabulary and merges, found by hash. */
#include "tokenizer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "siphash.h"

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

static uint32_t hash_bytes(const struct zw_tokenizer *t, const char *p, size_t len)
{
	return (uint32_t)siphash(t->hash_key, p, len);
}

static uint32_t hash_pair(const struct zw_tokenizer *t, uint32_t a, uint32_t b)
{
	uint32_t pair[2] = {a, b};

	return (uint32_t)siphash(t->hash_key, pair, sizeof(pair));
}

/* Entries made of byte symbols and others are apart: their bytes may be the same. */
static uint32_t lookup(const struct zw_tokenizer *t, const char *bytes, size_t len, uint32_t kind)
{
	for (uint32_t i = hash_bytes(t, bytes, len);; i++) {
		uint32_t v = t->by_bytes[i & t->by_bytes_mask];
		const struct tok_token *tk = &t->tokens[v - 1];

		if (!v)
			return TOK_NO_ID;
		if ((tk->flags & TOK_BYTES) == kind && tk->len == len &&
		    !memcmp(t->arena + tk->off, bytes, len))
			return v - 1;
	}
}

uint32_t tok_lookup(const struct zw_tokenizer *t, const char *bytes, size_t len)
{
	return lookup(t, bytes, len, TOK_BYTES);
}

uint32_t tok_lookup_key(const struct zw_tokenizer *t, const char *key)
{
	int16_t alphabet[324];
	char *bytes = malloc(strlen(key) + 1);
	uint32_t id = TOK_NO_ID;
	long len;

	if (!bytes)
		return TOK_NO_ID;
	byte_alphabet(alphabet);
	len = unmap(alphabet, key, bytes);
	if (len > 0)
		id = lookup(t, bytes, (size_t)len, TOK_BYTES);
	else
		id = lookup(t, key, strlen(key), 0);
	free(bytes);
	return id;
}

const struct tok_merge *tok_merge_of(const struct zw_tokenizer *t, uint32_t left, uint32_t right)
{
	for (uint32_t i = hash_pair(t, left, right);; i++) {
		const struct tok_merge *m = &t->merges[i & t->merges_mask];

		if (m->left == TOK_NO_ID)
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

int tok_new(struct zw_tokenizer *t, uint32_t id, const char *bytes, size_t len, uint32_t flags)
{
	if (id >= t->num_tokens) {
		struct tok_token *tokens = realloc(t->tokens, (id + 1ul) * sizeof(*tokens));

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
	t->tokens[id] = (struct tok_token){(uint32_t)t->arena_len, (uint32_t)len, flags | TOK_USED};
	memcpy(t->arena + t->arena_len, bytes, len);
	t->arena_len += len;
	return 0;
}

/* Checks ids and lengths; *n entries, *top the highest id. */
static int measure_vocab(const char *path, const cJSON *vocab, size_t *n, uint64_t *top,
			 struct zw_error *err)
{
	const cJSON *it;

	*n = 0;
	*top = 0;
	cJSON_ArrayForEach(it, vocab)
	{
		uint64_t id;

		if (!llm_json_uint(it, 0, TOK_MAX - 1, &id))
			return llm_fail(err, -EBADMSG, "%s: token \"%s\": not an id below %u", path,
					it->string, TOK_MAX);
		if (strlen(it->string) > TOK_LEN_MAX)
			return llm_fail(err, -EFBIG, "%s: token %llu: longer than %d bytes", path,
					(unsigned long long)id, TOK_LEN_MAX);
		if (id > *top)
			*top = id;
		++*n;
	}
	return 0;
}

/* One entry; bytes has room for a token. */
static int add_entry(const char *path, struct zw_tokenizer *t, const int16_t *alphabet,
		     const cJSON *it, char *bytes, struct zw_error *err)
{
	long len = unmap(alphabet, it->string, bytes);
	/* One with other characters can never be merged; decoding prints it as it is. */
	uint32_t kind = len > 0 ? TOK_BYTES : 0, slot;
	const char *src = kind ? bytes : it->string;
	uint64_t id;

	if (!kind)
		len = (long)strlen(it->string);
	llm_json_uint(it, 0, TOK_MAX - 1, &id);
	if (t->tokens[id].flags & TOK_USED)
		return llm_fail(err, -EBADMSG, "%s: token \"%s\": id %llu is used twice", path,
				it->string, (unsigned long long)id);
	if (lookup(t, src, (size_t)len, kind) != TOK_NO_ID)
		return llm_fail(err, -EBADMSG, "%s: token \"%s\" appears twice", path, it->string);
	if (tok_new(t, (uint32_t)id, src, (size_t)len, kind))
		return llm_fail(err, -ENOMEM, "%s: out of memory", path);
	slot = hash_bytes(t, src, (size_t)len);
	while (t->by_bytes[slot & t->by_bytes_mask])
		slot++;
	t->by_bytes[slot & t->by_bytes_mask] = (uint32_t)id + 1;
	return 0;
}

static int find_bytes(const char *path, struct zw_tokenizer *t, struct zw_error *err)
{
	for (int b = 0; b < 256; b++) {
		char c = (char)b;

		t->byte_id[b] = tok_lookup(t, &c, 1);
		if (t->byte_id[b] == TOK_NO_ID)
			return llm_fail(err, -EBADMSG, "%s: no token for byte 0x%02x", path, b);
	}
	return 0;
}

int tok_load_vocab(const char *path, const cJSON *model, struct zw_tokenizer *t,
		   struct zw_error *err)
{
	int16_t alphabet[324];
	const cJSON *vocab, *it;
	char *bytes;
	uint64_t top;
	size_t n;
	int ret;

	ret = llm_json_member(path, model, "vocab", &vocab, err);
	if (ret)
		return ret;
	if (!cJSON_IsObject(vocab) || !vocab->child)
		return llm_fail(err, -EBADMSG, "%s: model.vocab is not an object with tokens",
				path);
	ret = measure_vocab(path, vocab, &n, &top, err);
	if (ret)
		return ret;
	t->tokens = calloc(top + 1, sizeof(*t->tokens));
	t->by_bytes_mask = table_size(n) - 1;
	t->by_bytes = calloc(t->by_bytes_mask + 1ul, sizeof(*t->by_bytes));
	bytes = malloc(TOK_LEN_MAX + 1);
	if (!t->tokens || !t->by_bytes || !bytes) {
		free(bytes);
		return llm_fail(err, -ENOMEM, "%s: out of memory", path);
	}
	t->num_tokens = (uint32_t)top + 1;
	t->vocab_size = (uint32_t)n;
	byte_alphabet(alphabet);
	cJSON_ArrayForEach(it, vocab)
	{
		ret = add_entry(path, t, alphabet, it, bytes, err);
		if (ret)
			break;
	}
	free(bytes);
	return ret ? ret : find_bytes(path, t, err);
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

	if (!split_merge(it, &l, &llen, &r) || llen > TOK_LEN_MAX || strlen(r) > TOK_LEN_MAX)
		return llm_fail(err, -EBADMSG, "%s: merge %u is not a pair of tokens", path, rank);
	split = strndup(l, llen);
	if (!split)
		return llm_fail(err, -ENOMEM, "%s: out of memory", path);
	a = unmap(alphabet, split, buf);
	b = a > 0 ? unmap(alphabet, r, buf + a) : -1;
	free(split);
	if (a <= 0 || b <= 0)
		return llm_fail(err, -EBADMSG, "%s: merge %u is not made of byte symbols", path,
				rank);
	left = tok_lookup(t, buf, (size_t)a);
	right = tok_lookup(t, buf + a, (size_t)b);
	id = tok_lookup(t, buf, (size_t)(a + b));
	if (left == TOK_NO_ID || right == TOK_NO_ID || id == TOK_NO_ID)
		return llm_fail(err, -EBADMSG,
				"%s: merge %u uses a token that is not in the vocabulary", path,
				rank);
	for (slot = hash_pair(t, left, right);; slot++) {
		struct tok_merge *m = &t->merges[slot & t->merges_mask];

		if (m->left == TOK_NO_ID) {
			*m = (struct tok_merge){left, right, rank, id};
			return 0;
		}
		if (m->left == left && m->right == right)
			return llm_fail(err, -EBADMSG, "%s: merge %u appears twice", path, rank);
	}
}

int tok_load_merges(const char *path, const cJSON *model, struct zw_tokenizer *t,
		    struct zw_error *err)
{
	int16_t alphabet[324];
	const cJSON *merges, *it;
	uint32_t rank = 0;
	size_t n;
	char *buf;
	int ret;

	ret = llm_json_member(path, model, "merges", &merges, err);
	if (ret)
		return ret;
	if (!cJSON_IsArray(merges))
		return llm_fail(err, -EBADMSG, "%s: model.merges is not a list", path);
	n = (size_t)cJSON_GetArraySize(merges);
	if (n > TOK_MAX)
		return llm_fail(err, -EFBIG, "%s: %zu merges", path, n);
	t->merges_mask = table_size(n) - 1;
	t->merges = malloc((t->merges_mask + 1ul) * sizeof(*t->merges));
	buf = malloc(2 * (TOK_LEN_MAX + 1));
	if (!t->merges || !buf) {
		free(buf);
		return llm_fail(err, -ENOMEM, "%s: out of memory", path);
	}
	for (uint32_t i = 0; i <= t->merges_mask; i++)
		t->merges[i].left = TOK_NO_ID;
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

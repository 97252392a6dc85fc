/* SPDX-License-Identifier: MIT */
/* Inside of the tokenizer: what loading builds and encoding and decoding use. */
#ifndef ZW_LLM_TOKENIZER_H
#define ZW_LLM_TOKENIZER_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <zhenwu/llm_tokenizer.h>

#include "gguf.h"
#include "trie.h"
#include "util.h"

#define TOK_NO_ID   UINT32_MAX
#define TOK_MAX     (1u << 22) /* ids are below it */
#define TOK_LEN_MAX 65535      /* bytes of one token */

struct tok_token {
	uint32_t off; /* of its bytes in the arena */
	uint32_t len;
	uint32_t flags; /* ZW_TOKEN_* and those below */
};

/* How an added token is found in text. */
#define TOK_SINGLE_WORD (1u << 24) /* not inside a word */
#define TOK_LSTRIP      (1u << 25) /* takes the white space in front of it */
#define TOK_RSTRIP      (1u << 26) /* and behind it */
#define TOK_NORMALIZED  (1u << 27) /* looked for after the normalizer */
/* Of any token. */
#define TOK_USED        (1u << 30) /* the id exists */
#define TOK_BYTES       (1u << 31) /* vocabulary entry made of byte symbols: merges can make it */

/* Merge table entry: the pair (left, right) becomes `id`; a lower rank goes first. */
struct tok_merge {
	uint32_t left, right;
	uint32_t rank, id;
};

struct zw_tokenizer {
	struct tok_token *tokens; /* by id */
	uint32_t num_tokens;
	uint32_t vocab_size; /* entries of the model's vocabulary */
	char *arena;
	size_t arena_len, arena_cap;

	/* Hashes are keyed: a file cannot be made so that its tokens collide. */
	uint64_t hash_key[2];
	uint32_t *by_bytes; /* open addressing, id + 1; 0 = free */
	uint32_t by_bytes_mask;
	struct tok_merge *merges; /* open addressing, left == TOK_NO_ID = free */
	uint32_t merges_mask;
	uint32_t byte_id[256]; /* token of each single byte */

	struct trie added;     /* every added token by its content */
	struct trie raw, norm; /* those looked for before and after the normalizer */
	uint32_t next_added;   /* highest id of an added token + 1 */

	bool nfc;
	bool split_special; /* special tokens in text are text */
	pcre2_code *re;
	struct zw_token_list prefix, suffix; /* put around every text */
	char *chat_template;
};

/* ---- tokenizer_vocab.c ---- */

int tok_load_vocab(const char *path, const cJSON *model, struct zw_tokenizer *t,
		   struct zw_error *err);
int tok_load_merges(const char *path, const cJSON *model, struct zw_tokenizer *t,
		    struct zw_error *err);
/* Id of the token with these bytes among vocabulary entries made of byte symbols, or TOK_NO_ID. */
uint32_t tok_lookup(const struct zw_tokenizer *t, const char *bytes, size_t len);
/* Id of the vocabulary entry that is spelled like this in the file, or TOK_NO_ID. */
uint32_t tok_lookup_key(const struct zw_tokenizer *t, const char *key);
/* The merge of a pair, or NULL. */
const struct tok_merge *tok_merge_of(const struct zw_tokenizer *t, uint32_t left, uint32_t right);
/* Makes an id with these bytes; 0 or -ENOMEM. */
int tok_new(struct zw_tokenizer *t, uint32_t id, const char *bytes, size_t len, uint32_t flags);

/* ---- tokenizer_pipeline.c: normalizer, pre_tokenizer, post_processor, decoder ---- */

int tok_load_pipeline(const char *path, const cJSON *root, struct zw_tokenizer *t,
		      struct zw_error *err);
/* Needs the tokens. */
int tok_load_post_processor(const char *path, const cJSON *root, struct zw_tokenizer *t,
			    struct zw_error *err);

/*
 * Translates a regular expression of Oniguruma to PCRE2. What the two do not agree on and is not
 * translated is refused: -EOPNOTSUPP and *at tells where. The result is malloc()ed.
 */
int tok_translate_regex(const char *re, char **out, const char **at);

/* ---- tokenizer_added.c ---- */

int tok_load_added(const char *path, const cJSON *root, struct zw_tokenizer *t,
		   struct zw_error *err);
/*
 * Adds a token as tokenizers does, or changes the flags of the one with this content. The id is the
 * one it has or the next free one; when `id` is given and is another, the files contradict each other.
 */
int tok_add(const char *path, struct zw_tokenizer *t, const char *content, uint32_t id,
	    uint32_t flags, struct zw_error *err);
/* Flags of an added token's JSON object; absent ones are AddedToken's defaults. */
int tok_added_flags(const char *path, const cJSON *it, const char *content, uint32_t *flags,
		    struct zw_error *err);
/* Builds the tries once all tokens are there. */
int tok_index_added(const char *path, struct zw_tokenizer *t, struct zw_error *err);

/* ---- tokenizer_sidecar.c ---- */

/* tokenizer_config.json, added_tokens.json, special_tokens_map.json, chat_template.jinja of a folder. */
int tok_load_sidecars(const char *dir, struct zw_tokenizer *t, struct zw_error *err);

/* ---- tokenizer_gguf.c ---- */

/*
 * The metadata of a GGUF file as tokenizer.json would say it, *root, to be cJSON_Delete()d. What stands
 * around a text is put into t by tok_load_gguf_ends(), once the tokens are there.
 */
int tok_gguf_json(const struct zw_gguf *g, cJSON **root, struct zw_error *err);
int tok_load_gguf_ends(const struct zw_gguf *g, struct zw_tokenizer *t, struct zw_error *err);

/* ---- text ---- */

/* Length of the UTF-8 character at p (1 to 4), or 0 when the bytes up to end are not one. */
size_t utf8_len(const unsigned char *p, const unsigned char *end);
/* The character before p, not before start; -1 when there is none. */
int32_t utf8_before(const unsigned char *start, const unsigned char *p);
/* The character at p; -1 when there is none. */
int32_t utf8_at(const unsigned char *p, const unsigned char *end);
/* White_Space, and what Rust's regular expressions call a word character. */
bool is_space(int32_t cp);
bool is_word(int32_t cp);

/* Valid UTF-8 to NFC, malloc()ed. -EFBIG for a run of marks whose ordering would take too long. */
int text_nfc(const char *p, size_t len, char **out, size_t *n, struct zw_error *err);

/* ---- tokenizer_bpe.c ---- */

struct tok_encoder {
	const struct zw_tokenizer *t;
	uint32_t *ids;
	size_t n, cap;
	struct tok_symbol *sym;
	size_t sym_cap;
	struct tok_cand *heap;
	size_t heap_n, heap_cap;
	pcre2_match_data *md;
	uint32_t flags;
	struct zw_error *err;
};

int tok_emit(struct tok_encoder *e, uint32_t id);
/* One word: O(n log n) whatever the text is. */
int tok_encode_word(struct tok_encoder *e, const char *p, size_t len);

#endif

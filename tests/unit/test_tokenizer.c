// SPDX-License-Identifier: MIT
/* The tokenizer by itself on the small one of qwen3-kdoc; test_tokenizer_strings.c compares ids. */
#include "llm_test.h"

#include <cjson/cJSON.h>
#include <time.h>

#include "siphash.h"
#include "tokenizer.h"

static struct zw_tokenizer *kdoc;
static char *kdoc_json;

static char *slurp(const char *path)
{
	FILE *f = fopen(path, "rb");
	char *text = NULL;
	size_t cap = 0;
	ssize_t n;

	if (!f)
		fail_msg("%s: %s", path, strerror(errno));
	n = getdelim(&text, &cap, '\0', f); /* JSON has no NUL: the whole file */
	fclose(f);
	assert_true(n > 0);
	return text;
}

static int open_kdoc(void **state)
{
	char path[512];
	struct zw_error err = {""};

	snprintf(path, sizeof(path), "%s/qwen3-kdoc", test_dir("ZW_TEST_MODELS"));
	if (zw_tokenizer_open(path, &kdoc, &err))
		fail_msg("%s", err.msg);
	strcat(path, "/tokenizer.json");
	kdoc_json = slurp(path);
	return 0;
}

static int close_kdoc(void **state)
{
	zw_tokenizer_close(kdoc);
	free(kdoc_json);
	return 0;
}

/* Concatenated bytes of the tokens. */
static char *raw_decode(const struct zw_tokenizer *t, const uint32_t *ids, size_t n, size_t *len)
{
	char *out = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&out, &size);

	for (size_t i = 0; i < n; i++) {
		const char *p;
		size_t l;

		assert_int_equal(zw_tokenizer_token(t, ids[i], &p, &l, NULL), 0);
		fwrite(p, 1, l, f);
	}
	fclose(f);
	*len = size;
	return out;
}

/* Everything the streaming decoder prints, checking that each piece is whole characters. */
static char *stream_decode(const struct zw_tokenizer *t, uint32_t flags, const uint32_t *ids,
			   size_t n, size_t *len)
{
	struct zw_detokenizer *d;
	char *out = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&out, &size);

	assert_int_equal(zw_detokenizer_open(t, flags, &d), 0);
	for (size_t i = 0; i <= n; i++) {
		const char *p;
		size_t l;
		int ret = i < n ? zw_detokenizer_push(d, ids[i], &p, &l)
				: zw_detokenizer_flush(d, &p, &l);

		assert_int_equal(ret, 0);
		if (l) {
			assert_true(((unsigned char)p[0] & 0xc0) != 0x80);
			/* The last character has all its continuation bytes. */
			size_t k = l - 1, need;

			while (k && ((unsigned char)p[k] & 0xc0) == 0x80)
				k--;
			need = (unsigned char)p[k] < 0x80   ? 1
			       : (unsigned char)p[k] < 0xe0 ? 2
			       : (unsigned char)p[k] < 0xf0 ? 3
							    : 4;
			assert_int_equal(l - k, need);
		}
		fwrite(p, 1, l, f);
	}
	zw_detokenizer_close(d);
	fclose(f);
	*len = size;
	return out;
}

static void encode(const struct zw_tokenizer *t, const char *text, size_t len, uint32_t flags,
		   uint32_t **ids, size_t *n)
{
	struct zw_error err = {""};

	if (zw_tokenizer_encode(t, text, len, flags, ids, n, &err))
		fail_msg("%s", err.msg);
}

static void expect_ids(const struct zw_tokenizer *t, const char *text, uint32_t flags, size_t n,
		       const uint32_t *want)
{
	uint32_t *ids;
	size_t got;

	encode(t, text, strlen(text), flags, &ids, &got);
	assert_int_equal(got, n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(ids[i], want[i]);
	free(ids);
}

static void test_added(void **state)
{
	uint32_t *ids, flags;
	size_t n, len;
	const char *p;
	char *text;

	expect_ids(kdoc, "<|im_start|><|im_end|>", 0, 2, (const uint32_t[]){4094, 4095});
	encode(kdoc, "x<|im_end|>y", 12, 0, &ids, &n);
	assert_int_equal(ids[1], 4095);
	assert_int_equal(n, 3);
	text = stream_decode(kdoc, 0, ids, n, &len);
	assert_string_equal(text, "x<|im_end|>y");
	free(text);
	text = stream_decode(kdoc, ZW_DECODE_SKIP_SPECIAL, ids, n, &len);
	assert_string_equal(text, "xy");
	free(text);
	free(ids);
	encode(kdoc, "x<|im_end|>y", 12, ZW_ENCODE_NO_ADDED, &ids, &n);
	assert_true(n > 3);
	for (size_t i = 0; i < n; i++)
		assert_true(ids[i] < 4093);
	free(ids);
	/* An unfinished one is text. */
	encode(kdoc, "<|im_en", 7, 0, &ids, &n);
	for (size_t i = 0; i < n; i++)
		assert_true(ids[i] < 4093);
	free(ids);
	assert_int_equal(zw_tokenizer_token(kdoc, 4095, &p, &len, &flags), 0);
	assert_int_equal(flags, ZW_TOKEN_ADDED | ZW_TOKEN_SPECIAL);
	assert_int_equal(zw_tokenizer_token(kdoc, 4096, &p, &len, &flags), -ENOENT);
	assert_int_equal(zw_tokenizer_find(kdoc, "<|im_end|>", 10), 4095);
	assert_int_equal(zw_tokenizer_find(kdoc, "<|im_end", 8), -ENOENT);
	assert_int_equal(zw_tokenizer_find(kdoc, "", 0), -ENOENT);
}

/* What Oniguruma and PCRE2 read alike passes, some is spelled out, the rest is refused. */
static void test_regex(void **state)
{
#define WS "\\p{Z}\\t\\n\\x0B\\f\\r\\x85"
	static const char *const cases[][2] = {
		/* U+180E is white space for PCRE2 only. */
		{"\\s+(?!\\S)|\\s+", "[" WS "]+(?![^" WS "])|[" WS "]+"},
		{" ?[^\\s\\p{L}]+[\\r\\n]*", " ?[^" WS "\\p{L}]+[\\r\\n]*"},
		{"\\\\s\\[\\s", "\\\\s\\[[" WS "]"}, /* an escaped backslash and bracket */
		{"(?i:'s|'t)|\\p{N}{1,3}|\\P{Lu}?", "(?i:'s|'t)|\\p{N}{1,3}|\\P{Lu}?"},
		{"\\d\\v\\u4e00[\\u4e00-\\u9fa5\\d]",
		 "\\p{Nd}\\x0B\\x{4e00}[\\x{4e00}-\\x{9fa5}\\p{Nd}]"},
		{"[a\\-z-][-a][^-a]\\x2f", "[a\\-z-][-a][^-a]\\x2f"},
		{"(?<=a)b++|c*?|(?>d)", "(?<=a)b++|c*?|(?>d)"},
		{"[\\S]", NULL},
		{"[[:space:]]", NULL},
		{"[a&&b]", NULL},
		{"[]a]", NULL},
		{"[^]a]", NULL},
		{"\\h", NULL},
		{"[\\h]", NULL},
		{"\\w", NULL},
		{"\\R", NULL},
		{"\\b", NULL},
		{"\\X", NULL},
		{"\\1", NULL},
		{"\\K", NULL},
		{"\\p{Han}", NULL},
		{"\\p{^L}", NULL},
		{"\\pL", NULL},
		{"^a", NULL},
		{"a$", NULL},
		{"(?m:.)", NULL},
		{"(?<n>a)", NULL},
		{"(?i)a|b", NULL},
		{"(?#c)", NULL},
		{"(*UCP)", NULL},
		{"a{2}+", NULL},
		{"a{,3}", NULL},
		{"a{b}", NULL},
		{"[\\s-a]", NULL},
		{"[a-\\s]", NULL},
		{"\\x85", NULL},
		{"\\xg0", NULL},
		{"\\", NULL},
		{"\\Qa\\E", NULL},
		{"\\A", NULL},
	};
#undef WS
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *at = NULL;
		char *out = NULL;
		int ret = tok_translate_regex(cases[i][0], &out, &at);

		if (ret != (cases[i][1] ? 0 : -EOPNOTSUPP))
			fail_msg("%s: %d (%s)", cases[i][0], ret, out ? out : "");
		if (!ret)
			assert_string_equal(out, cases[i][1]);
		else
			assert_in_range(at - cases[i][0], 0, strlen(cases[i][0]));
		free(out);
	}
}

/* The published vectors of SipHash-2-4: key 00..0f, message 00.. of 0 and 15 bytes. */
static void test_siphash(void **state)
{
	const uint64_t key[2] = {0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull};
	uint8_t msg[15];

	for (size_t i = 0; i < sizeof(msg); i++)
		msg[i] = (uint8_t)i;
	assert_true(siphash(key, msg, 0) == 0x726fdb47dd0e0e31ull);
	assert_true(siphash(key, msg, 15) == 0xa129ca6149be45e5ull);
}

/* Text of all kinds comes back; NFC is the only change allowed, and ASCII has none. */
static void test_round_trip(void **state)
{
	static const char *const texts[] = {
		"",
		" ",
		"The device driver is registered with the bus.\n\n  Indented\tcode();\r\n",
		"12345 67 8.9e-10  x   \n \n\n   end   ",
		"we'll you'Re IT'S don't 'tis",
		"\xe7\x9c\x9f\xe6\xad\xa6 810E \xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7 "
		"caf\xc3\xa9",
		/* U+11A7 behind a Hangul syllable composes with nothing, also twice, also first. */
		"\xea\xb0\x80\xe1\x86\xa7\xe1\x86\xa7 \xe1\x86\xa7x",
		"\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82, "
		"\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		uint32_t *ids;
		size_t n, len;
		char *text;

		encode(kdoc, texts[i], strlen(texts[i]), 0, &ids, &n);
		text = stream_decode(kdoc, 0, ids, n, &len);
		assert_string_equal(text, texts[i]);
		free(text);
		free(ids);
	}
	/* e + combining acute becomes one character under NFC. */
	uint32_t *a, *b;
	size_t na, nb;

	encode(kdoc, "e\xcc\x81", 3, 0, &a, &na);
	encode(kdoc, "\xc3\xa9", 2, 0, &b, &nb);
	assert_int_equal(na, nb);
	assert_memory_equal(a, b, na * sizeof(*a));
	free(a);
	free(b);
}

/* Arbitrary bytes: invalid ones come back exactly, the text between them as if alone. */
static void test_any_bytes(void **state)
{
	static const char *const bad[] = {
		"\xff",         "\x80\x80",           "a\xc3",
		"\xc0\xaf",     "\xed\xa0\x80",       "\xf4\x90\x80\x80",
		"\xe2\x82",     "ok \xf0\x9f\x91 ok", "\xf0\x80\x80\x80",
		"\xc3\xc3\xa9",
	};
	uint64_t rng = 1;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint32_t *ids;
		size_t n, len;
		char *raw;

		encode(kdoc, bad[i], strlen(bad[i]), 0, &ids, &n);
		raw = raw_decode(kdoc, ids, n, &len);
		assert_int_equal(len, strlen(bad[i]));
		assert_memory_equal(raw, bad[i], len);
		free(raw);
		free(ids);
	}
	/* Random bytes with NULs and halves of characters; the stream decoder never breaks one. */
	for (int round = 0; round < 500; round++) {
		char buf[64], *raw;
		uint32_t *ids;
		size_t n, len;

		for (size_t i = 0; i < sizeof(buf); i++) {
			rng = rng * 6364136223846793005ull + 1442695040888963407ull;
			buf[i] = (char)(rng >> 56);
			if (i % 3)
				buf[i] &= 0x7f; /* no accidental composition */
		}
		encode(kdoc, buf, sizeof(buf), 0, &ids, &n);
		raw = raw_decode(kdoc, ids, n, &len);
		assert_int_equal(len, sizeof(buf));
		assert_memory_equal(raw, buf, len);
		free(raw);
		raw = stream_decode(kdoc, 0, ids, n, &len);
		free(raw);
		free(ids);
	}
}

static uint32_t byte_token(uint8_t b)
{
	char c = (char)b;
	int64_t id = zw_tokenizer_find(kdoc, &c, 1);

	assert_true(id >= 0);
	return (uint32_t)id;
}

/* Ill-formed sequences print as Python's errors="replace" prints them. */
static void test_stream_replace(void **state)
{
	static const struct {
		const char *bytes, *text;
	} cases[] = {
		{"\xe7\x9c\x9f", "\xe7\x9c\x9f"},
		{"\xf0\x9f\x91\xa9!", "\xf0\x9f\x91\xa9!"},
		{"a\xffz", "a\xef\xbf\xbdz"},
		{"\xe7\x9c"
		 "A",
		 "\xef\xbf\xbd"
		 "A"},
		{"\xe7\x9c", "\xef\xbf\xbd"},
		{"\xe7\xe7\x9c\x9f", "\xef\xbf\xbd\xe7\x9c\x9f"},
		{"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
		{"\xf0\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
		{"\xf4\x90", "\xef\xbf\xbd\xef\xbf\xbd"},
		{"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint32_t ids[8];
		size_t n = strlen(cases[i].bytes), len;
		char *text;

		for (size_t j = 0; j < n; j++)
			ids[j] = byte_token((uint8_t)cases[i].bytes[j]);
		text = stream_decode(kdoc, 0, ids, n, &len);
		assert_string_equal(text, cases[i].text);
		free(text);
	}
	struct zw_detokenizer *d;
	const char *p;
	size_t len;

	assert_int_equal(zw_detokenizer_open(kdoc, 0, &d), 0);
	assert_int_equal(zw_detokenizer_push(d, 9999, &p, &len), -ENOENT);
	assert_int_equal(len, 0);
	zw_detokenizer_close(d);
	assert_int_equal(zw_detokenizer_open(kdoc, 8, &d), -EINVAL);
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/*
 * Long words must not take quadratic time: a megabyte of one letter would need minutes. The limit
 * is of processor time and far above what valgrind or a sanitizer needs.
 */
static void test_long_words(void **state)
{
	static const char *const kinds[] = {"a",
					    "ab",
					    " ",
					    "\n ",
					    "\xcc\x81"
					    "a",
					    "'",
					    "<|im_"};
	size_t len = 1 << 20;
	char *text = malloc(len + 8);
	double start = seconds();

	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		size_t unit = strlen(kinds[k]), n, back, total = len / unit * unit;
		uint32_t *ids;
		char *raw;

		for (size_t i = 0; i < total; i += unit)
			memcpy(text + i, kinds[k], unit);
		encode(kdoc, text, total, 0, &ids, &n);
		raw = raw_decode(kdoc, ids, n, &back);
		if (kinds[k][0] != '\xcc')
			assert_memory_equal(raw, text, total);
		free(raw);
		free(ids);
	}
	assert_true(seconds() - start < 60);

	/* Combining marks in a row are the one thing refused for its cost. */
	struct zw_error err = {""};
	uint32_t *ids;
	size_t n;

	for (size_t i = 0; i + 4 <= len; i += 4)
		memcpy(text + i, "\xcc\x81\xcc\xa7", 4);
	assert_int_equal(zw_tokenizer_encode(kdoc, text, len, 0, &ids, &n, &err), -EFBIG);
	expect_words("marks", &err, "combining");
	free(text);
	assert_int_equal(zw_tokenizer_encode(kdoc, "a", SIZE_MAX, 0, &ids, &n, &err), -EFBIG);
	assert_int_equal(zw_tokenizer_encode(kdoc, "a", 1, 4, &ids, &n, &err), -EINVAL);
}

static const struct {
	const char *from, *to;
	int code;
	const char *words;
} bad[] = {
	{"\"type\": \"BPE\"", "\"type\": \"Unigram\"", -EOPNOTSUPP, "model.type"},
	{"\"type\": \"NFC\"", "\"type\": \"NFKC\"", -EOPNOTSUPP, "normalizer|NFKC"},
	{"\"type\": \"Split\"", "\"type\": \"Digits\"", -EOPNOTSUPP, "pre_tokenizer"},
	{"\"behavior\": \"Isolated\"", "\"behavior\": \"Removed\"", -EOPNOTSUPP, "Split"},
	{"\"add_prefix_space\": false", "\"add_prefix_space\": true", -EOPNOTSUPP,
	 "add_prefix_space"},
	{"\"Regex\": \"(?i:", "\"Regex\": \"((?i:", -EBADMSG, "expression"},
	{"\"Regex\": \"(?i:", "\"Regex\": \"\\\\h|(?i:", -EOPNOTSUPP, "expression|\\h"},
	{"[^\\\\r\\\\n\\\\p{L}", "[^\\\\S\\\\n\\\\p{L}", -EOPNOTSUPP, "expression|\\S"},
	{"\"dropout\": null", "\"dropout\": 0.1", -EOPNOTSUPP, "dropout"},
	{"\"byte_fallback\": false", "\"byte_fallback\": true", -EOPNOTSUPP, "byte_fallback"},
	{"\"ignore_merges\": false", "\"ignore_merges\": true", -EOPNOTSUPP, "ignore_merges"},
	{"\"unk_token\": null", "\"unk_token\": \"?\"", -EOPNOTSUPP, "unk_token"},
	{"\"normalized\": false", "\"normalized\": 0", -EBADMSG, "<|endoftext|>|normalized"},
	{"\"lstrip\": false", "\"lstrip\": \"no\"", -EBADMSG, "<|endoftext|>|lstrip"},
	{"\"decoder\": {\n    \"type\": \"ByteLevel\"", "\"decoder\": {\n    \"type\": \"Fuse\"",
	 -EOPNOTSUPP, "decoder"},
	{"\"post_processor\": {\n    \"type\": \"ByteLevel\"",
	 "\"post_processor\": {\n    \"type\": \"BertProcessing\"", -EOPNOTSUPP,
	 "post_processor|BertProcessing"},
	{"\"id\": 4094", "\"id\": 4093", -EBADMSG, "<|im_start|>|4093"},
	{"\"id\": 4094", "\"id\": -1", -EBADMSG, "<|im_start|>"},
	{"\"id\": 4094", "\"id\": 4294967296", -EBADMSG, "<|im_start|>"},
	{"\"\xc4\xa0shared\": 1776", "\"\xc4\xa0shared\": 1777", -EBADMSG, "1777|twice"},
	{"\"\xc4\xa0shared\": 1776", "\"\xc4\xa0sharex\": 1776", -EBADMSG, "merge"},
	{"\"\xc4\xa0shared\": 1776", "\"\xc4\xa0shared\": 1e9", -EBADMSG, "shared"},
	{"\"\xc4\xa0shared\": 1776", "\"!\": 1776", -EBADMSG, "!"},
	{"\"~\": 93", "\"\xe4\xb8\x80\": 93", -EBADMSG, "0x7e"},
	{"\"vocab\": {", "\"vocab\": [{", -EBADMSG, "JSON"},
	{"\"merges\": [", "\"merges\": [\"\xc4\xa0\",", -EBADMSG, "merge 0"},
	{"\"merges\": [", "\"merges\": [[\"t\",\"h\",\"e\"],", -EBADMSG, "merge 0"},
	{"\"merges\": [", "\"merges\": [[\"\xc4\xa0\",\"t\"],", -EBADMSG, "merge 1|twice"},
	{"\"merges\": [", "\"merges\": [7,", -EBADMSG, "merge 0"},
};

static void test_bad_files(void **state)
{
	char *dir = scratch_new();
	size_t size = strlen(kdoc_json) + 256;
	char *text = malloc(size);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *at = strstr(kdoc_json, bad[i].from);
		struct zw_tokenizer *t = NULL;
		struct zw_error err = {""};
		int ret;

		if (!at)
			fail_msg("\"%s\" is not in tokenizer.json", bad[i].from);
		snprintf(text, size, "%.*s%s%s", (int)(at - kdoc_json), kdoc_json, bad[i].to,
			 at + strlen(bad[i].from));
		scratch_text(dir, "tokenizer.json", text);
		ret = zw_tokenizer_open(dir, &t, &err);
		if (ret != bad[i].code)
			fail_msg("%s: %d (%s), expected %d", bad[i].to, ret, err.msg, bad[i].code);
		assert_null(t);
		expect_words(bad[i].to, &err, "tokenizer.json");
		expect_words(bad[i].to, &err, bad[i].words);
	}
	/* Cut anywhere it is no tokenizer. */
	for (size_t len = 0; len < strlen(kdoc_json); len += 9973) {
		struct zw_tokenizer *t = NULL;

		scratch_write(dir, "tokenizer.json", kdoc_json, len);
		assert_int_equal(zw_tokenizer_open(dir, &t, NULL), -EBADMSG);
	}
	free(text);
	scratch_free(dir);
}

/* Merges written "a b" (older files) give the same tokenizer as ["a", "b"]. */
static void test_merge_spelling(void **state)
{
	static const char sample[] = "The kernel's device drivers, 123 of them; each is loaded.";
	char *dir = scratch_new();
	cJSON *root = cJSON_Parse(kdoc_json), *model, *merges, *it, *flat;
	struct zw_tokenizer *t;
	struct zw_error err = {""};
	uint32_t *a, *b;
	size_t na, nb;
	char *text;

	model = cJSON_GetObjectItemCaseSensitive(root, "model");
	merges = cJSON_GetObjectItemCaseSensitive(model, "merges");
	flat = cJSON_CreateArray();
	cJSON_ArrayForEach(it, merges)
	{
		char pair[256];

		snprintf(pair, sizeof(pair), "%s %s", it->child->valuestring,
			 it->child->next->valuestring);
		cJSON_AddItemToArray(flat, cJSON_CreateString(pair));
	}
	cJSON_ReplaceItemInObjectCaseSensitive(model, "merges", flat);
	text = cJSON_PrintUnformatted(root);
	scratch_text(dir, "tokenizer.json", text);
	cJSON_free(text);
	cJSON_Delete(root);
	if (zw_tokenizer_open(dir, &t, &err))
		fail_msg("%s", err.msg);
	encode(t, sample, strlen(sample), 0, &a, &na);
	encode(kdoc, sample, strlen(sample), 0, &b, &nb);
	assert_int_equal(na, nb);
	assert_memory_equal(a, b, na * sizeof(*a));
	free(a);
	free(b);
	zw_tokenizer_close(t);
	scratch_free(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_added),          cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_regex),          cmocka_unit_test(test_any_bytes),
		cmocka_unit_test(test_siphash),        cmocka_unit_test(test_stream_replace),
		cmocka_unit_test(test_long_words),     cmocka_unit_test(test_bad_files),
		cmocka_unit_test(test_merge_spelling),
	};

	return cmocka_run_group_tests_name("tokenizer", tests, open_kdoc, close_kdoc);
}

// SPDX-License-Identifier: MIT
/*
 * 24,000 strings with the ids that Hugging Face tokenizers gives them; make-tokenizer-strings made the
 * file and describes it. "kdoc" tests qwen3-kdoc's vocabulary with the expressions of Qwen3 and of
 * Qwen3.5 and with added tokens of all kinds, "published" Qwen3's published one where it was fetched.
 */
#include "llm_test.h"

#include <cjson/cJSON.h>
#include <sys/stat.h>

#define NUM_KINDS 5
#define NUM_WANT  24000 /* records of the file */
#define EXIT_SKIP 77

static const char qwen35[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|"
			     "\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
			     "\\s+(?!\\S)|\\s+";

static const char *strings_path, *published_path;
static uint8_t *data;
static size_t size;

static char *read_file(const char *path, size_t *len)
{
	FILE *f = fopen(path, "rb");
	struct stat sb;
	char *text;

	if (!f || fstat(fileno(f), &sb))
		fail_msg("%s: %s", path, strerror(errno));
	*len = (size_t)sb.st_size;
	text = calloc(1, *len + 1);
	assert_int_equal(fread(text, 1, *len, f), *len);
	fclose(f);
	return text;
}

static uint64_t varint(size_t *at)
{
	uint64_t v = 0;

	for (unsigned int shift = 0;; shift += 7) {
		assert_true(*at < size && shift < 63);
		v |= (uint64_t)(data[*at] & 127) << shift;
		if (!(data[(*at)++] & 128))
			return v;
	}
}

/* Ids of one tokenizer; *n is -1 when there are none in the file. */
static void read_ids(size_t *at, uint32_t *ids, size_t cap, long *n)
{
	*n = (long)varint(at) - 1;
	assert_true(*n <= (long)cap);
	for (long i = 0; i < *n; i++)
		ids[i] = (uint32_t)varint(at);
}

static struct zw_tokenizer *open_kind(unsigned int kind, const cJSON *added, const char *dir)
{
	char path[512], *text;
	struct zw_error err = {""};
	struct zw_tokenizer *t;
	const cJSON *it;
	size_t len;
	cJSON *root;

	snprintf(path, sizeof(path), "%s/qwen3-kdoc/tokenizer.json", test_dir("ZW_TEST_MODELS"));
	text = read_file(kind == 2 || kind == 3 ? published_path : path, &len);
	root = cJSON_Parse(text);
	free(text);
	assert_non_null(root);
	if (kind & 1) {
		cJSON *pre = cJSON_GetObjectItem(root, "pre_tokenizer");
		cJSON *split = cJSON_GetObjectItem(pre, "pretokenizers")->child;

		assert_true(cJSON_ReplaceItemInObject(cJSON_GetObjectItem(split, "pattern"),
						      "Regex", cJSON_CreateString(qwen35)));
	}
	if (kind == 4) {
		cJSON_ArrayForEach(it, added)
		{
			cJSON_AddItemToArray(cJSON_GetObjectItem(root, "added_tokens"),
					     cJSON_Duplicate(it, true));
		}
	}
	text = cJSON_PrintUnformatted(root);
	cJSON_Delete(root);
	scratch_text(dir, "tokenizer.json", text);
	cJSON_free(text);
	if (zw_tokenizer_open(dir, &t, &err))
		fail_msg("%s", err.msg);
	return t;
}

static void show(const char *name, const uint32_t *ids, size_t n)
{
	fprintf(stderr, "  %s", name);
	for (size_t i = 0; i < n; i++)
		fprintf(stderr, " %u", ids[i]);
	fputc('\n', stderr);
}

/* False, and the first ones are shown, when the ids are others. */
static bool same(const struct zw_tokenizer *t, const uint8_t *p, size_t len, const uint32_t *want,
		 size_t num_want, unsigned int kind, bool verbose)
{
	struct zw_error err = {""};
	uint32_t *ids;
	size_t n;
	bool ok;

	if (zw_tokenizer_encode(t, (const char *)p, len, 0, &ids, &n, &err))
		fail_msg("%s", err.msg);
	ok = n == num_want && (!n || !memcmp(ids, want, n * sizeof(*ids)));
	if (!ok && verbose) {
		fprintf(stderr, "tokenizer %u: \"%.*s\"\n ", kind, (int)len, p);
		for (size_t i = 0; i < len; i++)
			fprintf(stderr, " %02x", p[i]);
		fputc('\n', stderr);
		show("want", want, num_want);
		show("got ", ids, n);
	}
	free(ids);
	return ok;
}

/* The tokenizers of a set of kinds over the whole file. */
static void check(const bool wanted[NUM_KINDS], const size_t least[NUM_KINDS])
{
	static uint32_t ids[NUM_KINDS][65536];
	struct zw_tokenizer *t[NUM_KINDS] = {0};
	size_t at = 8, bad[NUM_KINDS] = {0}, total[NUM_KINDS] = {0}, n;
	uint32_t records;
	cJSON *added;

	assert_true(size > 8 && !memcmp(data, "ZWTS", 4));
	memcpy(&records, data + 4, 4);
	assert_int_equal(records, NUM_WANT);
	n = varint(&at);
	assert_true(n <= size - at);
	added = cJSON_ParseWithLength((char *)data + at, n);
	at += n;
	assert_non_null(added);
	for (unsigned int k = 0; k < NUM_KINDS; k++) {
		char *dir = scratch_new();

		if (wanted[k])
			t[k] = open_kind(k, added, dir);
		scratch_free(dir);
	}
	for (uint32_t r = 0; r < records; r++) {
		size_t len = varint(&at), text = at;
		long num[NUM_KINDS];

		assert_true(len <= size - at);
		at += len;
		for (unsigned int k = 0; k < 4; k += 2) {
			num[k + 1] = -1;
			read_ids(&at, ids[k], 65536, &num[k]);
			if (num[k] < 0)
				continue;
			read_ids(&at, ids[k + 1], 65536, &num[k + 1]);
			if (num[k + 1] < 0) {
				num[k + 1] = num[k];
				memcpy(ids[k + 1], ids[k], (size_t)num[k] * sizeof(ids[0][0]));
			}
		}
		read_ids(&at, ids[4], 65536, &num[4]);
		for (unsigned int k = 0; k < NUM_KINDS; k++) {
			if (!t[k] || num[k] < 0)
				continue;
			total[k]++;
			bad[k] += !same(t[k], data + text, len, ids[k], (size_t)num[k], k,
					bad[k] < 5);
		}
	}
	assert_int_equal(at, size);
	cJSON_Delete(added);
	for (unsigned int k = 0; k < NUM_KINDS; k++) {
		zw_tokenizer_close(t[k]);
		if (wanted[k] && bad[k])
			fail_msg("tokenizer %u: %zu of %zu strings differ", k, bad[k], total[k]);
		assert_true(!wanted[k] || total[k] >= least[k]);
	}
}

static void test_kdoc(void **state)
{
	check((const bool[]){true, true, false, false, true},
	      (const size_t[]){20000, 20000, 0, 0, 2000});
}

static void test_published(void **state)
{
	check((const bool[]){false, false, true, true, false},
	      (const size_t[]){0, 0, 20000, 20000, 0});
}

/* Where the published tokenizer.json is, when it could be fetched. */
static const char *published(void)
{
	static char cache[512];
	const char *file = getenv("ZW_TEST_QWEN3_TOKENIZER");
	const char *home = getenv("HOME"), *xdg = getenv("XDG_CACHE_HOME");

	if (file)
		return file;
	snprintf(cache, sizeof(cache), "%s%s/zhenwu/qwen3-tokenizer.json",
		 xdg ? xdg : (home ? home : ""), xdg ? "" : "/.cache");
	return cache;
}

static int open_strings(void **state)
{
	data = (uint8_t *)read_file(strings_path, &size);
	return 0;
}

static int close_strings(void **state)
{
	free(data);
	return 0;
}

/* test_tokenizer_strings kdoc|published FILE */
int main(int argc, char **argv)
{
	const struct CMUnitTest kdoc[] = {cmocka_unit_test(test_kdoc)};
	const struct CMUnitTest qwen3[] = {cmocka_unit_test(test_published)};

	if (argc != 3)
		return EXIT_FAILURE;
	strings_path = argv[2];
	if (!strcmp(argv[1], "kdoc"))
		return cmocka_run_group_tests_name("strings of kdoc", kdoc, open_strings,
						   close_strings);
	published_path = published();
	if (access(published_path, R_OK)) {
		fprintf(stderr, "%s is not there: run tests/unit/fetch-tokenizer\n",
			published_path);
		return EXIT_SKIP;
	}
	return cmocka_run_group_tests_name("strings of Qwen3", qwen3, open_strings, close_strings);
}

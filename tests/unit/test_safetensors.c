// SPDX-License-Identifier: MIT
/* The checkpoint reader on good, truncated and hostile files. */
#include "llm_test.h"

#include <sys/stat.h>

static int setup(void **state)
{
	*state = scratch_new();
	return 0;
}

static int teardown(void **state)
{
	scratch_free(*state);
	return 0;
}

/* A file with this header and data_len bytes 0, 1, 2, ...; header_len is what the length field
 * says. */
static void write_raw(const char *dir, const char *name, const char *header, uint64_t header_len,
		      size_t data_len)
{
	size_t hlen = strlen(header), len = 8 + hlen + data_len;
	uint8_t *buf = malloc(len);

	for (int i = 0; i < 8; i++)
		buf[i] = (uint8_t)(header_len >> (8 * i));
	memcpy(buf + 8, header, hlen);
	for (size_t i = 0; i < data_len; i++)
		buf[8 + hlen + i] = (uint8_t)i;
	scratch_write(dir, name, buf, len);
	free(buf);
}

static void write_st(const char *dir, const char *name, const char *header, size_t data_len)
{
	write_raw(dir, name, header, strlen(header), data_len);
}

#define T(name, dtype, shape, b, e)                                                                \
	"\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" #b "," #e \
	"]}"

static void test_good(void **state)
{
	const char *dir = *state;
	struct zw_safetensors_info info = {.size = sizeof(info)};
	struct zw_safetensors *st;
	struct zw_error err;
	uint8_t buf[8];

	/* Trailing spaces pad the header; order in the file is not order of names. */
	write_st(dir, "model.safetensors",
		 "{\"__metadata__\":{\"format\":\"pt\"}," T("b", "BF16", "2,3", 0, 12) "," T(
			 "a", "F32", "1", 12, 16) "," T("z", "F16", "0,7", 16, 16) "}    ",
		 16);
	assert_int_equal(zw_safetensors_open(dir, &st, &err), 0);
	assert_int_equal(zw_safetensors_count(st), 3);
	assert_int_equal(zw_safetensors_bytes(st), 16);
	assert_int_equal(zw_safetensors_find(st, "a"), 0);
	assert_int_equal(zw_safetensors_find(st, "b"), 1);
	assert_int_equal(zw_safetensors_find(st, "c"), -ENOENT);
	assert_int_equal(zw_safetensors_get(st, 1, &info), 0);
	assert_string_equal(info.name, "b");
	assert_string_equal(info.file, "model.safetensors");
	assert_int_equal(info.dtype, ZW_SAFETENSORS_BF16);
	assert_int_equal(info.ndim, 2);
	assert_int_equal(info.shape[1], 3);
	assert_int_equal(info.nbytes, 12);
	assert_int_equal(zw_safetensors_get(st, 3, &info), -ERANGE);
	assert_int_equal(zw_safetensors_read(st, 0, 1, buf, 3, &err), 0);
	assert_memory_equal(buf, "\x0d\x0e\x0f", 3);
	assert_int_equal(zw_safetensors_read(st, 0, 1, buf, 4, &err), -ERANGE);
	assert_int_equal(zw_safetensors_read(st, 0, UINT64_MAX, buf, 2, &err), -ERANGE);
	assert_int_equal(zw_safetensors_read(st, 9, 0, buf, 1, &err), -ERANGE);
	zw_safetensors_close(st);

	write_st(dir, "model.safetensors", "{}", 0);
	assert_int_equal(zw_safetensors_open(dir, &st, &err), 0);
	assert_int_equal(zw_safetensors_count(st), 0);
	assert_int_equal(zw_safetensors_find(st, "a"), -ENOENT);
	zw_safetensors_close(st);
}

/* Older callers pass a shorter structure; nothing behind it is touched. */
static void test_sized_struct(void **state)
{
	const char *dir = *state;
	struct zw_safetensors *st;
	struct {
		struct zw_safetensors_info info;
	} box;
	size_t old = offsetof(struct zw_safetensors_info, ndim);

	write_st(dir, "model.safetensors", "{" T("a", "F32", "1", 0, 4) "}", 4);
	assert_int_equal(zw_safetensors_open(dir, &st, NULL), 0);
	memset(&box, 0xa5, sizeof(box));
	box.info.size = (uint32_t)old;
	assert_int_equal(zw_safetensors_get(st, 0, &box.info), 0);
	assert_string_equal(box.info.name, "a");
	for (size_t i = old; i < sizeof(box); i++)
		assert_int_equal(((uint8_t *)&box)[i], 0xa5);
	zw_safetensors_close(st);
}

static const struct {
	const char *label;
	const char *header;
	long long header_len; /* -1: right */
	size_t data;
	int code;
	const char *words;
} bad[] = {
	{"length above file", "{}", 1000, 0, -EBADMSG, "truncated"},
	{"length above limit", "{}", 1ll << 40, 0, -EBADMSG, "limit"},
	{"length negative as signed", "{}", -2, 0, -EBADMSG, "limit"},
	{"length zero", "{}", 0, 0, -EBADMSG, "truncated"},
	{"length cuts JSON", "{" T("a", "F32", "1", 0, 4) "}", 20, 4, -EBADMSG, "not JSON"},
	{"not an object", "[1,2]", -1, 0, -EBADMSG, "'{'"},
	{"leading space", " {}", -1, 0, -EBADMSG, "'{'"},
	{"garbage behind JSON", "{}x", -1, 0, -EBADMSG, "not JSON"},
	{"not JSON", "{\"a\":", -1, 0, -EBADMSG, "not JSON"},
	{"entry is a list", "{\"w\":[]}", -1, 0, -EBADMSG, "tensor w|object"},
	{"no dtype", "{\"w\":{\"shape\":[1],\"data_offsets\":[0,4]}}", -1, 4, -EBADMSG,
	 "tensor w|dtype"},
	{"dtype number", "{\"w\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,4]}}", -1, 4,
	 -EBADMSG, "tensor w|dtype"},
	{"unknown dtype", "{" T("w", "BF17", "1", 0, 2) "}", -1, 2, -EBADMSG, "tensor w|BF17"},
	{"unknown key",
	 "{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"stride\":[1]}}", -1, 4,
	 -EBADMSG, "tensor w|stride"},
	{"twice the same key",
	 "{\"w\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", -1,
	 4, -EBADMSG, "dtype|twice"},
	{"no shape", "{\"w\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", -1, 4, -EBADMSG,
	 "tensor w|shape"},
	{"negative dimension", "{" T("w", "F32", "-1", 0, 4) "}", -1, 4, -EBADMSG,
	 "tensor w|dimension 0"},
	{"fractional dimension", "{" T("w", "F32", "1,0.5", 0, 4) "}", -1, 4, -EBADMSG,
	 "tensor w|dimension 1"},
	{"string dimension", "{" T("w", "F32", "\"1\"", 0, 4) "}", -1, 4, -EBADMSG, "tensor w"},
	{"nine dimensions", "{" T("w", "F32", "1,1,1,1,1,1,1,1,1", 0, 4) "}", -1, 4, -EOPNOTSUPP,
	 "tensor w|dimensions"},
	{"product overflows", "{" T("w", "F32", "4294967296,4294967296,16", 0, 4) "}", -1, 4,
	 -EBADMSG, "tensor w|overflow"},
	{"product wraps to the right size", "{" T("w", "F32", "4611686018427387905", 0, 4) "}", -1,
	 4, -EBADMSG, "tensor w"},
	{"huge dimension", "{" T("w", "F32", "1e300", 0, 4) "}", -1, 4, -EBADMSG, "tensor w"},
	{"half a byte", "{" T("w", "F4", "3", 0, 2) "}", -1, 2, -EBADMSG, "tensor w|bytes"},
	{"shape needs more", "{" T("w", "BF16", "2,3", 0, 10) "}", -1, 10, -EBADMSG,
	 "tensor w|12|10"},
	{"shape needs less", "{" T("w", "BF16", "2", 0, 6) "}", -1, 6, -EBADMSG, "tensor w"},
	{"offsets out of file", "{" T("w", "F32", "2", 0, 8) "}", -1, 4, -EBADMSG,
	 "tensor w|truncated"},
	{"offsets far out", "{" T("w", "F32", "2", 9007199254740984, 9007199254740992) "}", -1, 4,
	 -EBADMSG, "tensor w"},
	{"offsets backwards", "{" T("w", "F32", "1", 4, 0) "}", -1, 4, -EBADMSG,
	 "tensor w|backwards"},
	{"offsets negative", "{" T("w", "F32", "1", -4, 0) "}", -1, 4, -EBADMSG, "tensor w"},
	{"one offset", "{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", -1, 4,
	 -EBADMSG, "tensor w|pair"},
	{"NUL in a name", "{" T("w\\u0000x", "F32", "2", 0, 8) "}", -1, 8, -EBADMSG, "\\u0000"},
	{"overlap", "{" T("v", "F32", "2", 0, 8) "," T("w", "F32", "2", 4, 12) "}", -1, 12,
	 -EBADMSG, "tensor w|overlaps|v"},
	{"same range", "{" T("v", "F32", "1", 0, 4) "," T("w", "F32", "1", 0, 4) "}", -1, 4,
	 -EBADMSG, "tensor w|overlaps"},
	{"hole", "{" T("v", "F32", "1", 0, 4) "," T("w", "F32", "1", 8, 12) "}", -1, 12, -EBADMSG,
	 "tensor w|hole"},
	{"bytes behind the end", "{" T("w", "F32", "1", 0, 4) "}", -1, 9, -EBADMSG, "5 bytes"},
	{"tensor twice", "{" T("w", "F32", "1", 0, 4) "," T("w", "F32", "1", 4, 8) "}", -1, 8,
	 -EBADMSG, "tensor w|twice"},
	{"control character in a name", "{" T("w\\n\\u0007", "F9", "1", 0, 4) "}", -1, 4, -EBADMSG,
	 "tensor w??"},
};

static void test_bad(void **state)
{
	const char *dir = *state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct zw_safetensors *st = NULL;
		struct zw_error err = {""};
		uint64_t len = bad[i].header_len == -1 ? strlen(bad[i].header)
						       : (uint64_t)bad[i].header_len;
		int ret;

		write_raw(dir, "model.safetensors", bad[i].header, len, bad[i].data);
		ret = zw_safetensors_open(dir, &st, &err);
		if (ret != bad[i].code)
			fail_msg("%s: %d (%s), expected %d", bad[i].label, ret, err.msg,
				 bad[i].code);
		assert_null(st);
		expect_words(bad[i].label, &err, "model.safetensors");
		expect_words(bad[i].label, &err, bad[i].words);
	}
}

/* Every prefix of a real checkpoint is refused; so is every single-byte change of the length field.
 */
static void test_truncated(void **state)
{
	static const char header[] =
		"{" T("a", "BF16", "2,3", 0, 12) "," T("b", "F32", "1", 12, 16) "}";
	const char *dir = *state;
	size_t hlen = sizeof(header) - 1, total = 8 + hlen + 16;
	uint8_t full[512] = {(uint8_t)hlen};

	memcpy(full + 8, header, hlen);
	for (size_t len = 0; len <= total; len++) {
		struct zw_safetensors *st = NULL;
		struct zw_error err = {""};
		int ret;

		scratch_write(dir, "model.safetensors", full, len);
		ret = zw_safetensors_open(dir, &st, &err);
		if ((ret == 0) != (len == total))
			fail_msg("%zu of %zu bytes: %d %s", len, total, ret, err.msg);
		if (ret)
			expect_words("truncated", &err, "model.safetensors");
		zw_safetensors_close(st);
	}
	for (int i = 0; i < 64; i++) {
		struct zw_safetensors *st = NULL;

		full[i / 8] ^= (uint8_t)(1 << i % 8);
		scratch_write(dir, "model.safetensors", full, total);
		assert_int_equal(zw_safetensors_open(dir, &st, NULL), -EBADMSG);
		full[i / 8] ^= (uint8_t)(1 << i % 8);
	}
}

/* Any byte of the header flipped: never a crash, and a checkpoint that opens is still consistent.
 */
static void test_mutated(void **state)
{
	static const char header[] =
		"{" T("a", "BF16", "2,3", 0, 12) "," T("b", "F32", "1", 12, 16) "}";
	const char *dir = *state;
	size_t opened = 0;

	for (size_t at = 0; at < sizeof(header) - 1; at++) {
		for (int bit = 0; bit < 8; bit++) {
			char mut[sizeof(header)];
			struct zw_safetensors *st = NULL;
			struct zw_safetensors_info info = {.size = sizeof(info)};

			memcpy(mut, header, sizeof(header));
			mut[at] ^= (char)(1 << bit);
			if (!mut[at])
				continue;
			write_st(dir, "model.safetensors", mut, 16);
			if (zw_safetensors_open(dir, &st, NULL))
				continue;
			opened++;
			assert_int_equal(zw_safetensors_bytes(st), 16);
			for (size_t i = 0; i < zw_safetensors_count(st); i++) {
				assert_int_equal(zw_safetensors_get(st, i, &info), 0);
				assert_true(info.nbytes <= 16);
			}
			zw_safetensors_close(st);
		}
	}
	/* Renaming a tensor or swapping F32 for I32 stays a valid file; most changes must not. */
	assert_in_range(opened, 1, 64);
}

static void test_files(void **state)
{
	const char *dir = *state;
	struct zw_safetensors *st = NULL;
	struct zw_error err;
	char path[512];

	assert_int_equal(zw_safetensors_open(dir, &st, &err), -ENOENT);
	expect_words("absent", &err, "model.safetensors");
	snprintf(path, sizeof(path), "%s/model.safetensors", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(zw_safetensors_open(dir, &st, &err), -EINVAL); /* and does not hang */
	expect_words("fifo", &err, "model.safetensors|regular");
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(zw_safetensors_open(dir, &st, &err), -EINVAL);
	expect_words("directory", &err, "model.safetensors|regular");
	rmdir(path);
	assert_int_equal(symlink("/dev/zero", path), 0);
	assert_int_equal(zw_safetensors_open(dir, &st, &err), -EINVAL);
	expect_words("device", &err, "model.safetensors|regular");
}

/* A file that shrinks after it was opened is an error of the read, not a signal. */
static void test_shrinks(void **state)
{
	const char *dir = *state;
	struct zw_safetensors *st;
	struct zw_error err;
	char path[512];
	uint8_t buf[4];

	write_st(dir, "model.safetensors", "{" T("w", "F32", "1", 0, 4) "}", 4);
	assert_int_equal(zw_safetensors_open(dir, &st, &err), 0);
	snprintf(path, sizeof(path), "%s/model.safetensors", dir);
	assert_int_equal(truncate(path, 60), 0);
	assert_int_equal(zw_safetensors_read(st, 0, 0, buf, 4, &err), -EIO);
	expect_words("shrunk", &err, "model.safetensors|shorter");
	zw_safetensors_close(st);
}

static const struct {
	const char *label;
	const char *index;
	int code;
	const char *words;
} shards[] = {
	{"good",
	 "{\"metadata\":{},\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}}",
	 0, ""},
	{"no map", "{\"metadata\":{}}", -EBADMSG, "index.json|weight_map"},
	{"index is a list", "[]", -EBADMSG, "index.json|weight_map"},
	{"empty map", "{\"weight_map\":{}}", -EBADMSG, "index.json|weight_map"},
	{"not a string", "{\"weight_map\":{\"a\":1}}", -EBADMSG, "index.json|tensor a"},
	{"parent directory", "{\"weight_map\":{\"a\":\"../one.safetensors\"}}", -EBADMSG,
	 "index.json|tensor a|../one"},
	{"absolute path", "{\"weight_map\":{\"a\":\"/etc/one.safetensors\"}}", -EBADMSG,
	 "index.json|tensor a"},
	{"subdirectory", "{\"weight_map\":{\"a\":\"x/one.safetensors\"}}", -EBADMSG,
	 "index.json|tensor a"},
	{"other file", "{\"weight_map\":{\"a\":\"passwd\"}}", -EBADMSG, "index.json|tensor a"},
	{"hidden file", "{\"weight_map\":{\"a\":\".safetensors\"}}", -EBADMSG,
	 "index.json|tensor a"},
	{"missing shard",
	 "{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"three.safetensors\"}}", -ENOENT,
	 "index.json|three.safetensors"},
	{"tensor in the wrong shard",
	 "{\"weight_map\":{\"a\":\"two.safetensors\",\"b\":\"one.safetensors\"}}", -EBADMSG,
	 "index.json|tensor a|two.safetensors"},
	{"tensor not in any shard",
	 "{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\",\"c\":\"two."
	 "safetensors\"}}",
	 -EBADMSG, "index.json|tensor c"},
	{"files outside of the index stay out", "{\"weight_map\":{\"a\":\"one.safetensors\"}}", 0,
	 ""},
	{"twice in the index",
	 "{\"weight_map\":{\"a\":\"one.safetensors\",\"a\":\"one.safetensors\",\"b\":\"two."
	 "safetensors\"}}",
	 -EBADMSG, "index.json|tensor a|twice"},
	{"surplus tensor in a shard",
	 "{\"weight_map\":{\"a\":\"one.safetensors\",\"x\":\"both.safetensors\"}}", -EBADMSG,
	 "both.safetensors|tensor y"},
	{"tensor in two shards",
	 "{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"again.safetensors\"}}", -EBADMSG,
	 "tensor a|twice"},
};

static void test_shards(void **state)
{
	const char *dir = *state;

	write_st(dir, "one.safetensors", "{" T("a", "F32", "1", 0, 4) "}", 4);
	write_st(dir, "two.safetensors", "{" T("b", "F32", "2", 0, 8) "}", 8);
	write_st(dir, "both.safetensors",
		 "{" T("x", "F32", "1", 0, 4) "," T("y", "F32", "1", 4, 8) "}", 8);
	write_st(dir, "again.safetensors",
		 "{" T("a", "F32", "1", 0, 4) "," T("b", "F32", "1", 4, 8) "}", 8);
	for (size_t i = 0; i < sizeof(shards) / sizeof(shards[0]); i++) {
		struct zw_safetensors *st = NULL;
		struct zw_error err = {""};
		int ret;

		scratch_text(dir, "model.safetensors.index.json", shards[i].index);
		ret = zw_safetensors_open(dir, &st, &err);
		if (ret != shards[i].code)
			fail_msg("%s: %d (%s), expected %d", shards[i].label, ret, err.msg,
				 shards[i].code);
		expect_words(shards[i].label, &err, shards[i].words);
		zw_safetensors_close(st);
	}
}

/* A header of two bytes a value would take 32 times its size in memory. */
static void test_many_values(void **state)
{
	const char *dir = *state;
	struct zw_safetensors *st = NULL;
	struct zw_error err = {""};
	size_t n = 10u << 20;
	char *header = malloc(n + 1);

	for (size_t i = 0; i < n; i += 2)
		memcpy(header + i, "0,", 2);
	memcpy(header, "{\"a\":[", 6);
	memcpy(header + n - 4, ",0]}", 4);
	header[n] = '\0';
	write_st(dir, "model.safetensors", header, 0);
	assert_int_equal(zw_safetensors_open(dir, &st, &err), -EFBIG);
	expect_words("values", &err, "model.safetensors|values");
	/* Commas and brackets in strings are text. */
	memset(header, ',', n);
	memcpy(header, "{\"__metadata__\":{\"a\":\"\\\"[", 25);
	memcpy(header + n - 3, "\"}}", 3);
	write_st(dir, "model.safetensors", header, 0);
	assert_int_equal(zw_safetensors_open(dir, &st, &err), 0);
	zw_safetensors_close(st);
	free(header);
}

/* One of the two is old, and which one cannot be told; an index may name the single file. */
static void test_index_and_single(void **state)
{
	const char *dir = *state;
	struct zw_safetensors *st = NULL;
	struct zw_error err = {""};

	write_st(dir, "one.safetensors", "{" T("a", "F32", "1", 0, 4) "}", 4);
	write_st(dir, "model.safetensors", "{" T("a", "F32", "1", 0, 4) "}", 4);
	scratch_text(dir, "model.safetensors.index.json",
		     "{\"weight_map\":{\"a\":\"one.safetensors\"}}");
	assert_int_equal(zw_safetensors_open(dir, &st, &err), -EBADMSG);
	expect_words("both", &err, "index.json|model.safetensors|leftover");
	scratch_text(dir, "model.safetensors.index.json",
		     "{\"weight_map\":{\"a\":\"model.safetensors\"}}");
	assert_int_equal(zw_safetensors_open(dir, &st, &err), 0);
	zw_safetensors_close(st);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_good, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sized_struct, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad, setup, teardown),
		cmocka_unit_test_setup_teardown(test_truncated, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mutated, setup, teardown),
		cmocka_unit_test_setup_teardown(test_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shrinks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shards, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_values, setup, teardown),
		cmocka_unit_test_setup_teardown(test_index_and_single, setup, teardown),
	};

	return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}

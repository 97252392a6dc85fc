// SPDX-License-Identifier: MIT
/* The reader of GGUF files on good, truncated and hostile ones. */
#include "gguf_build.h"

#include <zhenwu/zhenwu.h>

#include "gguf.h"

static struct gguf_build b;

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

static int open_built(const char *dir, struct zw_gguf **g, struct zw_error *err)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/m.gguf", dir);
	scratch_write(dir, "m.gguf", b.data, b.n);
	return zw_gguf_open(path, g, err);
}

/* Two tensors out of order, one value of every type. */
static void build_good(uint32_t version, uint32_t align)
{
	gb_head(&b, version, 3, 15);
	gb_key(&b, "u8", 0), gb_raw(&b, "\xfe", 1);
	gb_key(&b, "i8", 1), gb_raw(&b, "\xfe", 1);
	gb_key(&b, "u16", 2), gb_raw(&b, "\x01\xff", 2);
	gb_key(&b, "i16", 3), gb_raw(&b, "\x01\x7f", 2);
	gb_key_u32(&b, "u32", 0xfffffffe);
	gb_key(&b, "i32", 5), gb_u32(&b, 7);
	gb_key(&b, "f32", 6), gb_raw(&b, &(float){1.5f}, 4);
	gb_key(&b, "yes", 7), gb_raw(&b, "\1", 1);
	gb_key_str(&b, "text", "two\nlines");
	gb_key(&b, "u64", 10), gb_u64(&b, 1ull << 40);
	gb_key(&b, "i64", 11), gb_u64(&b, (uint64_t)-3);
	gb_key(&b, "f64", 12), gb_raw(&b, &(double){0.1}, 8);
	gb_key_array(&b, "strings", 8, 3);
	gb_str(&b, "a"), gb_str(&b, ""), gb_str(&b, "ccc");
	gb_key_array(&b, "numbers", 5, 2);
	gb_u32(&b, 1), gb_u32(&b, (uint32_t)-1);
	gb_key_u32(&b, "general.alignment", align);
	gb_tensor(&b, "w", 32, 2, 8, align); /* Q8_0 */
	gb_tensor(&b, "a", 3, 0, 0, 0);
	gb_tensor(&b, "b", 4, 2, 30, 4ull * align); /* BF16, behind a hole */
	gb_data(&b, align, 4 * align + 16);
}

static void check_values(const struct zw_gguf *g)
{
	const struct gguf_value *v;
	struct gguf_str s = {0};
	struct zw_error err;
	uint64_t x = 99, at;
	double d = 0;
	bool yes = false;

	assert_int_equal(gguf_get_uint(g, "absent", 0, 9, &x, &err), 0);
	assert_int_equal(x, 99);
	assert_int_equal(gguf_get_uint(g, "u8", 0, 1000, &x, &err), 0);
	assert_int_equal(x, 0xfe);
	assert_int_equal(gguf_get_uint(g, "i8", 0, 1000, &x, &err), -EBADMSG);
	expect_words("i8", &err, "m.gguf|i8|0 to 1000");
	assert_int_equal(gguf_get_uint(g, "u16", 0, 65535, &x, &err), 0);
	assert_int_equal(x, 0xff01);
	assert_int_equal(gguf_get_uint(g, "i16", 0, 65535, &x, &err), 0);
	assert_int_equal(x, 0x7f01);
	assert_int_equal(gguf_get_uint(g, "u32", 0, UINT32_MAX, &x, &err), 0);
	assert_int_equal(x, 0xfffffffe);
	assert_int_equal(gguf_get_uint(g, "u32", 0, 5, &x, &err), -EBADMSG);
	assert_int_equal(gguf_get_uint(g, "i32", 8, 9, &x, &err), -EBADMSG);
	assert_int_equal(gguf_get_uint(g, "u64", 0, UINT64_MAX, &x, &err), 0);
	assert_int_equal(x, 1ull << 40);
	assert_int_equal(gguf_get_uint(g, "i64", 0, UINT64_MAX, &x, &err), -EBADMSG);
	assert_int_equal(gguf_get_uint(g, "f32", 0, 5, &x, &err), -EBADMSG);
	expect_words("f32", &err, "f32|integer");
	assert_int_equal(gguf_get_uint(g, "numbers", 0, 5, &x, &err), -EBADMSG);
	expect_words("numbers", &err, "array of i32");

	assert_int_equal(gguf_get_double(g, "f32", 0, 2, &d, &err), 0);
	assert_true(d == 1.5);
	assert_int_equal(gguf_get_double(g, "f64", 0, 2, &d, &err), 0);
	assert_true(d == 0.1);
	assert_int_equal(gguf_get_double(g, "f64", 1, 2, &d, &err), -EBADMSG);
	assert_int_equal(gguf_get_double(g, "u8", 0, 2, &d, &err), -EBADMSG);
	assert_int_equal(gguf_get_bool(g, "yes", &yes, &err), 0);
	assert_true(yes);
	assert_int_equal(gguf_get_bool(g, "u8", &yes, &err), -EBADMSG);
	assert_int_equal(gguf_get_str(g, "text", &s, &err), 0);
	assert_true(gguf_str_is(s, "two\nlines"));
	assert_false(gguf_str_is(s, "two"));
	assert_int_equal(gguf_get_str(g, "yes", &s, &err), -EBADMSG);

	assert_int_equal(gguf_get_array(g, "strings", GGUF_STRING, &v, &err), 0);
	assert_int_equal(v->count, 3);
	at = v->at;
	assert_true(gguf_str_is(gguf_next_str(g, &at), "a"));
	assert_true(gguf_str_is(gguf_next_str(g, &at), ""));
	assert_true(gguf_str_is(gguf_next_str(g, &at), "ccc"));
	assert_int_equal(gguf_get_array(g, "numbers", GGUF_U32, &v, &err), 0);
	assert_true(gguf_element_uint(g, v, 0, &x) && x == 1);
	assert_false(gguf_element_uint(g, v, 1, &x));
	assert_int_equal(gguf_get_array(g, "numbers", GGUF_STRING, &v, &err), -EBADMSG);
	assert_int_equal(gguf_get_array(g, "text", GGUF_STRING, &v, &err), -EBADMSG);
	assert_int_equal(gguf_get_array(g, "absent", GGUF_STRING, &v, &err), 0);
	assert_null(v);
}

static void test_good(void **state)
{
	static const struct {
		uint32_t version, align;
	} kinds[] = {{2, 32}, {3, 32}, {3, 64}};

	for (size_t i = 0; i < 3; i++) {
		uint32_t align = kinds[i].align;
		struct zw_gguf_info info = {.size = sizeof(info)};
		struct zw_gguf *g;
		struct zw_error err;
		uint8_t buf[8];

		build_good(kinds[i].version, align);
		assert_int_equal(open_built(*state, &g, &err), 0);
		assert_int_equal(zw_gguf_count(g), 3);
		assert_int_equal(zw_gguf_bytes(g), 68 + 12 + 16);
		assert_int_equal(zw_gguf_find(g, "a"), 0);
		assert_int_equal(zw_gguf_find(g, "w"), 2);
		assert_int_equal(zw_gguf_find(g, "c"), -ENOENT);
		assert_int_equal(zw_gguf_get(g, 2, &info), 0);
		assert_string_equal(info.name, "w");
		assert_string_equal(info.dtype_name, "Q8_0");
		assert_int_equal(info.dtype, ZW_DTYPE_Q8_0);
		assert_int_equal(info.ndim, 2);
		assert_int_equal(info.shape[0], 2);
		assert_int_equal(info.shape[1], 32);
		assert_int_equal(info.nbytes, 68);
		assert_int_equal(zw_gguf_get(g, 3, &info), -ERANGE);
		assert_int_equal(zw_gguf_read(g, 2, 65, buf, 3, &err), 0);
		for (int k = 0; k < 3; k++)
			assert_int_equal(buf[k], (uint8_t)(align + 65 + (uint32_t)k));
		assert_int_equal(zw_gguf_read(g, 2, 66, buf, 3, &err), -ERANGE);
		assert_int_equal(zw_gguf_read(g, 2, UINT64_MAX, buf, 2, &err), -ERANGE);
		assert_int_equal(zw_gguf_read(g, 9, 0, buf, 1, &err), -ERANGE);
		check_values(g);
		zw_gguf_close(g);
	}
}

/* Nothing in it. */
static void test_empty(void **state)
{
	struct zw_gguf *g;
	struct zw_error err;

	gb_head(&b, 3, 0, 0);
	assert_int_equal(open_built(*state, &g, &err), 0);
	assert_int_equal(zw_gguf_count(g), 0);
	assert_int_equal(zw_gguf_find(g, "a"), -ENOENT);
	assert_null(gguf_find_value(g, "a"));
	zw_gguf_close(g);
}

/* Cut behind any of its bytes it is refused, and by a line. */
static void test_truncated(void **state)
{
	struct zw_gguf *g;
	size_t full;

	build_good(3, 32);
	full = b.n;
	for (b.n = 0; b.n < full; b.n++) {
		struct zw_error err = {.msg = ""};

		if (open_built(*state, &g, &err) != -EBADMSG)
			fail_msg("%zu of %zu bytes: %s", b.n, full, err.msg);
		if (b.n >= 8 && !strstr(err.msg, "truncated") && !strstr(err.msg, "fit") &&
		    !strstr(err.msg, "in a file of"))
			fail_msg("%zu of %zu bytes: %s", b.n, full, err.msg);
	}
}

static void expect_bad(const char *dir, const char *label, int code, const char *words)
{
	struct zw_error err = {.msg = ""};
	struct zw_gguf *g;
	int ret = open_built(dir, &g, &err);

	if (ret != code)
		fail_msg("%s: returned %d (%s)", label, ret, ret ? err.msg : "opened");
	expect_words(label, &err, words);
	expect_words(label, &err, "m.gguf");
}

static void test_bad_head(void **state)
{
	static const struct {
		uint32_t version;
		uint64_t tensors, keys;
		int code;
		const char *words;
	} bad[] = {
		{1, 0, 0, -EOPNOTSUPP, "version 1"},
		{4, 0, 0, -EOPNOTSUPP, "version 4"},
		{0x03000000, 0, 0, -EOPNOTSUPP, "big-endian"},
		{0x02000000, 1ull << 56, 0, -EOPNOTSUPP, "big-endian"},
		{0, 0, 0, -EOPNOTSUPP, "version 0"},
		{3, 1, 0, -EBADMSG, "1 tensors in a file"},
		{3, 0, 1, -EBADMSG, "1 keys in a file"},
		{3, UINT64_MAX, 0, -EBADMSG, "tensors in a file"},
		{3, 0, UINT64_MAX, -EBADMSG, "keys in a file"},
		{3, 1ull << 63, 1ull << 63, -EBADMSG, "in a file"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		gb_head(&b, bad[i].version, bad[i].tensors, bad[i].keys);
		expect_bad(*state, bad[i].words, bad[i].code, bad[i].words);
	}
	scratch_write(*state, "m.gguf", "", 0);
	b.n = 0;
	expect_bad(*state, "nothing", -EBADMSG, "not a GGUF file");
	gb_raw(&b, "GGML\3\0\0\0", 8);
	expect_bad(*state, "another magic", -EBADMSG, "not a GGUF file");
}

static void test_bad_keys(void **state)
{
	gb_head(&b, 3, 0, 1);
	gb_u64(&b, 1ull << 62);
	gb_data(&b, 1, 64);
	expect_bad(*state, "length of a key", -EBADMSG, "key 0|name of");

	gb_head(&b, 3, 0, 1);
	gb_u64(&b, 0);
	gb_data(&b, 1, 64);
	expect_bad(*state, "no key", -EBADMSG, "key 0|name of 0");

	gb_head(&b, 3, 0, 1);
	gb_u64(&b, 3);
	gb_raw(&b, "a\0b", 3);
	gb_u32(&b, 0);
	gb_data(&b, 1, 8);
	expect_bad(*state, "NUL", -EBADMSG, "key 0|NUL");

	gb_head(&b, 3, 0, 2);
	gb_key_u32(&b, "k", 1), gb_key_u32(&b, "k", 1);
	expect_bad(*state, "twice", -EBADMSG, "key k|twice");

	gb_head(&b, 3, 0, 1);
	gb_key(&b, "kind", 13);
	gb_data(&b, 1, 8);
	expect_bad(*state, "type", -EBADMSG, "kind|type 13");

	gb_head(&b, 3, 0, 1);
	gb_key(&b, "truth", 7), gb_raw(&b, "\2", 1);
	expect_bad(*state, "bool", -EBADMSG, "truth|neither");

	gb_head(&b, 3, 0, 1);
	gb_key(&b, "text", 8), gb_u64(&b, UINT64_MAX);
	expect_bad(*state, "string", -EBADMSG, "text|fit");

	gb_head(&b, 3, 0, 1);
	gb_key_array(&b, "list", 8, 1ull << 61);
	expect_bad(*state, "strings", -EBADMSG, "list|fit");

	gb_head(&b, 3, 0, 1);
	gb_key_array(&b, "list", 10, (1ull << 61) + 1); /* times 8: 8 */
	gb_u64(&b, 1);
	expect_bad(*state, "array", -EBADMSG, "list|fit");

	gb_head(&b, 3, 0, 1);
	gb_key_array(&b, "list", 8, 2);
	gb_str(&b, "a"), gb_u64(&b, 200);
	expect_bad(*state, "second string", -EBADMSG, "list|fit");

	gb_head(&b, 3, 0, 1);
	gb_key_array(&b, "list", 77, 2);
	gb_data(&b, 1, 64);
	expect_bad(*state, "type of elements", -EBADMSG, "list|type 77");

	gb_head(&b, 3, 0, 1);
	gb_key_array(&b, "list", 9, 1);
	gb_data(&b, 1, 64);
	expect_bad(*state, "nested", -EOPNOTSUPP, "list|arrays of arrays");

	gb_head(&b, 3, 0, 1);
	gb_u64(&b, 65536);
	gb_data(&b, 1, 60000);
	expect_bad(*state, "long key", -EBADMSG, "key 0|name of 65536");

	for (uint32_t align = 0; align < 100; align++) {
		if (align == 8 || align == 16 || align == 32 || align == 64)
			continue;
		gb_head(&b, 3, 0, 1);
		gb_key_u32(&b, "general.alignment", align);
		expect_bad(*state, "alignment", -EBADMSG, "general.alignment");
	}
	gb_head(&b, 3, 0, 1);
	gb_key_str(&b, "general.alignment", "32");
	expect_bad(*state, "alignment", -EBADMSG, "general.alignment|u32");
}

static void test_bad_tensors(void **state)
{
	static const struct {
		const char *label;
		uint64_t d0, d1;
		uint32_t type;
		uint64_t off;
		int code;
		const char *words;
	} bad[] = {
		{"outside", 32, 0, 0, 192, -EBADMSG, "tensor w|truncated"},
		{"far outside", 32, 0, 0, 1ull << 40, -EBADMSG, "tensor w|truncated"},
		{"offset overflows", 32, 0, 0, UINT64_MAX - 31, -EBADMSG, "tensor w|truncated"},
		{"misaligned", 4, 0, 0, 16, -EBADMSG, "tensor w|alignment 32"},
		{"overlap", 32, 0, 0, 0, -EBADMSG, "tensor w|overlaps|tensor a"},
		{"no dimension", 0, 0, 0, 32, -EBADMSG, "tensor w|dimension 0 is 0"},
		{"elements overflow", 1ull << 40, 1ull << 40, 0, 32, -EBADMSG,
		 "tensor w|overflows"},
		{"bytes overflow", 1ull << 62, 1, 0, 32, -EBADMSG, "tensor w|overflows"},
		{"blocks overflow", 1ull << 63, 2, 8, 32, -EBADMSG, "tensor w|overflows"},
		{"part of a block", 33, 1, 8, 32, -EBADMSG, "tensor w|Q8_0|33"},
		{"part of a large block", 128, 2, 12, 32, -EBADMSG, "tensor w|Q4_K|128"},
		{"unknown type", 32, 0, 4, 32, -EOPNOTSUPP, "tensor w|type 4"},
		{"unknown type", 32, 0, UINT32_MAX, 32, -EOPNOTSUPP, "tensor w|type 4294967295"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		gb_head(&b, 3, 2, 0);
		gb_tensor(&b, "a", 8, 0, 0, 0);
		gb_tensor(&b, "w", bad[i].d0, bad[i].d1, bad[i].type, bad[i].off);
		gb_data(&b, 32, 256);
		expect_bad(*state, bad[i].label, bad[i].code, bad[i].words);
	}
	for (uint32_t ndim = 0; ndim < 8; ndim++) {
		if (ndim && ndim <= 4)
			continue;
		gb_head(&b, 3, 1, 0);
		gb_str(&b, "w"), gb_u32(&b, ndim);
		gb_data(&b, 1, 128);
		expect_bad(*state, "dimensions", -EBADMSG, "tensor w|dimensions");
	}
	gb_head(&b, 3, 2, 0);
	gb_tensor(&b, "w", 8, 0, 0, 0), gb_tensor(&b, "w", 8, 0, 0, 32);
	gb_data(&b, 32, 256);
	expect_bad(*state, "twice", -EBADMSG, "tensor w|twice");
	gb_head(&b, 3, 1, 0);
	gb_u64(&b, 1ull << 50);
	gb_data(&b, 1, 64);
	expect_bad(*state, "length of a name", -EBADMSG, "tensor 0|name of");
}

/* The file grew shorter since it was opened. */
static void test_shrunk(void **state)
{
	char path[512];
	struct zw_gguf *g;
	struct zw_error err;
	uint8_t buf[16];

	snprintf(path, sizeof(path), "%s/m.gguf", (const char *)*state);
	build_good(3, 32);
	assert_int_equal(open_built(*state, &g, &err), 0);
	assert_int_equal(truncate(path, (long)b.n - 1), 0);
	assert_int_equal(zw_gguf_read(g, 1, 0, buf, 16, &err), -EIO);
	expect_words("shrunk", &err, "m.gguf|shorter");
	zw_gguf_close(g);
	assert_int_equal(zw_gguf_open("/nowhere/x.gguf", &g, &err), -ENOENT);
	expect_words("none", &err, "/nowhere/x.gguf");
	assert_int_equal(zw_gguf_open(*state, &g, &err), -EINVAL);
	zw_gguf_close(NULL);
}

/* ---- several files ---- */

static void build_split(uint64_t no, uint64_t count, uint64_t total, const char *tensor)
{
	gb_head(&b, 3, 1, 3);
	gb_key(&b, "split.no", 2), gb_raw(&b, &(uint16_t){(uint16_t)no}, 2);
	gb_key(&b, "split.count", 2), gb_raw(&b, &(uint16_t){(uint16_t)count}, 2);
	gb_key(&b, "split.tensors.count", 5), gb_u32(&b, (uint32_t)total);
	gb_tensor(&b, tensor, 4, 0, 0, no * 32);
	gb_data(&b, 32, (size_t)no * 32 + 16);
}

static void write_split(const char *dir, const char *name, uint64_t no, uint64_t count,
			uint64_t total, const char *tensor)
{
	build_split(no, count, total, tensor);
	scratch_write(dir, name, b.data, b.n);
}

static int open_named(const char *dir, const char *name, struct zw_gguf **g, struct zw_error *err)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return zw_gguf_open(path, g, err);
}

static void test_split(void **state)
{
	const char *dir = *state;
	struct zw_gguf_info info = {.size = sizeof(info)};
	struct zw_gguf *g;
	struct zw_error err = {""};
	uint8_t buf[16];

	write_split(dir, "m-00001-of-00003.gguf", 0, 3, 3, "b");
	write_split(dir, "m-00002-of-00003.gguf", 1, 3, 3, "c");
	write_split(dir, "m-00003-of-00003.gguf", 2, 3, 3, "a");
	if (open_named(dir, "m-00001-of-00003.gguf", &g, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(zw_gguf_count(g), 3);
	assert_int_equal(zw_gguf_bytes(g), 48);
	assert_int_equal(zw_gguf_get(g, 0, &info), 0);
	assert_string_equal(info.name, "a");
	assert_string_equal(info.file, "m-00003-of-00003.gguf");
	assert_int_equal(zw_gguf_find(g, "c"), 2);
	for (size_t i = 0; i < 3; i++) {
		static const uint8_t first[] = {64, 0, 32};

		assert_int_equal(zw_gguf_read(g, i, 0, buf, 16, &err), 0);
		assert_int_equal(buf[0], first[i]);
	}
	zw_gguf_close(g);

	assert_int_equal(open_named(dir, "m-00002-of-00003.gguf", &g, &err), -EINVAL);
	expect_words("not the first", &err, "m-00002-of-00003.gguf|file 2 of 3|first");
	write_split(dir, "other.gguf", 0, 3, 3, "b");
	assert_int_equal(open_named(dir, "other.gguf", &g, &err), -EBADMSG);
	expect_words("name", &err, "other.gguf|-00001-of-00003.gguf");
	write_split(dir, "m-00003-of-00003.gguf", 1, 3, 3, "a");
	assert_int_equal(open_named(dir, "m-00001-of-00003.gguf", &g, &err), -EBADMSG);
	expect_words("number", &err, "m-00003-of-00003.gguf|file 2 of 3");
	write_split(dir, "m-00003-of-00003.gguf", 2, 4, 3, "a");
	assert_int_equal(open_named(dir, "m-00001-of-00003.gguf", &g, &err), -EBADMSG);
	expect_words("count", &err, "m-00003-of-00003.gguf|3 of 4");
	write_split(dir, "m-00003-of-00003.gguf", 2, 3, 3, "b");
	assert_int_equal(open_named(dir, "m-00001-of-00003.gguf", &g, &err), -EBADMSG);
	expect_words("twice", &err, "tensor b|twice");
	write_split(dir, "m-00003-of-00003.gguf", 2, 3, 3, "a");
	write_split(dir, "m-00001-of-00003.gguf", 0, 3, 4, "b");
	assert_int_equal(open_named(dir, "m-00001-of-00003.gguf", &g, &err), -EBADMSG);
	expect_words("total", &err, "split.tensors.count is 4|have 3");
	build_split(2, 3, 3, "a");
	scratch_write(dir, "m-00003-of-00003.gguf", b.data, b.n - 1);
	write_split(dir, "m-00001-of-00003.gguf", 0, 3, 3, "b");
	assert_int_equal(open_named(dir, "m-00001-of-00003.gguf", &g, &err), -EBADMSG);
	expect_words("truncated", &err, "m-00003-of-00003.gguf|tensor a|truncated");
	write_split(dir, "m-00001-of-00004.gguf", 0, 4, 4, "b");
	assert_int_equal(open_named(dir, "m-00001-of-00004.gguf", &g, &err), -ENOENT);
	expect_words("one is not there", &err, "m-00002-of-00004.gguf");
	/* One of one, by either number. */
	write_split(dir, "m.gguf", 0, 0, 1, "b");
	assert_int_equal(open_named(dir, "m.gguf", &g, &err), 0);
	zw_gguf_close(g);
	write_split(dir, "m.gguf", 0, 1, 1, "b");
	assert_int_equal(open_named(dir, "m.gguf", &g, &err), 0);
	zw_gguf_close(g);
	write_split(dir, "m.gguf", 5, 1, 1, "b");
	assert_int_equal(open_named(dir, "m.gguf", &g, &err), -EBADMSG);
	expect_words("sixth of one", &err, "m.gguf|split.no is 5|split.count is 1");
	write_split(dir, "m.gguf", 0, 1, 2, "b");
	assert_int_equal(open_named(dir, "m.gguf", &g, &err), -EBADMSG);
	expect_words("total of one", &err, "split.tensors.count is 2|have 1");
}

/* A header longer than what is read at a time, with strings across the seams. */
static void test_long_header(void **state)
{
	const uint64_t strings = 200000;
	char path[512], text[32];
	struct zw_gguf *g;
	struct zw_error err;
	const struct gguf_value *v;
	uint64_t at;
	FILE *f;

	snprintf(path, sizeof(path), "%s/m.gguf", (const char *)*state);
	gb_head(&b, 3, 0, 2);
	gb_key_array(&b, "strings", 8, strings);
	f = fopen(path, "wb");
	assert_non_null(f);
	fwrite(b.data, 1, b.n, f);
	for (uint64_t i = 0; i < strings; i++) {
		b.n = 0;
		snprintf(text, sizeof(text), "%llu", (unsigned long long)(i * i));
		gb_str(&b, text);
		fwrite(b.data, 1, b.n, f);
	}
	b.n = 0;
	gb_key_u32(&b, "last", 5);
	fwrite(b.data, 1, b.n, f);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(zw_gguf_open(path, &g, &err), 0);
	assert_int_equal(gguf_get_array(g, "strings", GGUF_STRING, &v, &err), 0);
	assert_int_equal(v->count, strings);
	at = v->at;
	for (uint64_t i = 0; i < strings; i++) {
		snprintf(text, sizeof(text), "%llu", (unsigned long long)(i * i));
		assert_true(gguf_str_is(gguf_next_str(g, &at), text));
	}
	assert_int_equal(gguf_get_uint(g, "last", 0, 9, &at, &err), 0);
	assert_int_equal(at, 5);
	zw_gguf_close(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_good, setup, teardown),
		cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
		cmocka_unit_test_setup_teardown(test_truncated, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_head, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_tensors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shrunk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_split, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_header, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

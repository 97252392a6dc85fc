// SPDX-License-Identifier: MIT
/* The small file formats of tools and tests. */
#include "llm_test.h"

#include "small_files.h"

static void test_npy(void **state)
{
	char *dir = scratch_new(), path[512];
	const float x[] = {0.5f, -1, 3e38f, -0.0f, 1e-40f, 7};
	struct zw_error err = {""};
	uint64_t rows, cols;
	float *y;
	FILE *f;

	snprintf(path, sizeof(path), "%s/a.npy", dir);
	assert_int_equal(npy_write_f32(path, x, 2, 3, &err), 0);
	assert_int_equal(npy_read_f32(path, &y, &rows, &cols, &err), 0);
	assert_int_equal(rows, 2);
	assert_int_equal(cols, 3);
	assert_memory_equal(x, y, sizeof(x));
	free(y);
	f = fopen(path, "rb");
	assert_int_equal(fseek(f, 0, SEEK_END), 0);
	assert_int_equal(ftell(f), 128 + 24); /* header padded to a multiple of 64 */
	fclose(f);
	assert_int_equal(truncate(path, 128 + 23), 0);
	assert_int_equal(npy_read_f32(path, &y, &rows, &cols, &err), -EBADMSG);
	expect_words("short", &err, "a.npy");
	assert_int_equal(truncate(path, 50), 0);
	assert_int_equal(npy_read_f32(path, &y, &rows, &cols, &err), -EBADMSG);
	scratch_text(dir, "a.npy", "not numpy at all");
	assert_int_equal(npy_read_f32(path, &y, &rows, &cols, &err), -EBADMSG);
	assert_int_equal(npy_write_f32("/nonexistent/a.npy", x, 2, 3, &err), -ENOENT);
	scratch_free(dir);
}

static void test_ids(void **state)
{
	static const char *const bad[] = {"{}",      "[1,",          "[1,-1]", "[1.5]",
					  "[\"1\"]", "[4294967296]", ""};
	const uint32_t ids[] = {0, 151643, UINT32_MAX};
	char *dir = scratch_new(), path[512];
	struct zw_error err = {""};
	uint32_t *got;
	size_t n;

	snprintf(path, sizeof(path), "%s/ids.json", dir);
	assert_int_equal(ids_write_json(path, ids, 3, &err), 0);
	assert_int_equal(ids_read_json(path, &got, &n, &err), 0);
	assert_int_equal(n, 3);
	assert_memory_equal(got, ids, sizeof(ids));
	free(got);
	scratch_text(dir, "ids.json", " [ ] ");
	assert_int_equal(ids_read_json(path, &got, &n, &err), 0);
	assert_int_equal(n, 0);
	free(got);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		scratch_text(dir, "ids.json", bad[i]);
		assert_int_equal(ids_read_json(path, &got, &n, &err), -EBADMSG);
		expect_words(bad[i], &err, "ids.json");
	}
	scratch_free(dir);
}

/* Only two dimensions: a third one must not be overlooked. */
static void test_npy_dimensions(void **state)
{
	static const char *const bad[] = {"(2, 3, 1)", "(6,)", "(2, 3"};
	char *dir = scratch_new(), path[512], text[160];
	struct zw_error err = {""};
	uint64_t rows, cols;
	float *y;

	snprintf(path, sizeof(path), "%s/a.npy", dir);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memset(text, ' ', sizeof(text));
		memcpy(text, "\x93NUMPY\x01\x00\x76\x00", 10);
		snprintf(text + 10, 118, "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }",
			 bad[i]);
		scratch_write(dir, "a.npy", text, 128 + 24);
		assert_int_equal(npy_read_f32(path, &y, &rows, &cols, &err), -EOPNOTSUPP);
		expect_words(bad[i], &err, "a.npy|two-dimensional");
	}
	scratch_free(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_npy),
		cmocka_unit_test(test_npy_dimensions),
		cmocka_unit_test(test_ids),
	};

	return cmocka_run_group_tests_name("small files", tests, NULL, NULL);
}

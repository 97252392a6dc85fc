// SPDX-License-Identifier: MIT
/* Stop texts: against a search in the whole text, however it is cut. */
#include "llm_test.h"

static struct zw_stop *open_ok(const char *const *texts, size_t n)
{
	struct zw_error err = {""};
	struct zw_stop *s;

	if (zw_stop_open(texts, n, &s, &err))
		fail_msg("%s", err.msg);
	return s;
}

/* Where the stop text begins that ends first, of those the longest; or the length. */
static size_t place(const char *text, const char *const *texts, size_t n)
{
	size_t end = SIZE_MAX, at = strlen(text);

	for (size_t i = 0; i < n; i++) {
		const char *p = strstr(text, texts[i]);
		size_t start = p ? (size_t)(p - text) : 0, stop = start + strlen(texts[i]);

		if (p && (stop < end || (stop == end && start < at))) {
			end = stop;
			at = start;
		}
	}
	return at;
}

static void expect(const char *text, const char *const *texts, size_t n, unsigned int *rng)
{
	struct zw_stop *s = open_ok(texts, n);
	size_t len = strlen(text), want = place(text, texts, n), got = 0;
	const char *out;
	char all[64];
	size_t k;
	int ret = 0;

	for (size_t at = 0; at < len && !ret; at += k) {
		*rng = *rng * 1103515245 + 12345;
		k = 1 + (*rng >> 16) % 3;
		if (k > len - at)
			k = len - at;
		size_t given;

		ret = zw_stop_push(s, text + at, k, &out, &given);
		memcpy(all + got, out, given);
		got += given;
		/* Nothing of a stop text, not even when it comes to nothing later. */
		for (size_t i = 0; i < n; i++) {
			for (size_t m = 1; m <= strlen(texts[i]) && !ret; m++)
				assert_true(got < m || at + k != got ||
					    memcmp(all + got - m, texts[i], m));
		}
	}
	if (!ret) {
		size_t given;

		zw_stop_flush(s, &out, &given);
		if (given)
			memcpy(all + got, out, given);
		got += given;
	}
	assert_int_equal(ret, want < len);
	assert_int_equal(got, want);
	assert_memory_equal(all, text, want);
	zw_stop_close(s);
}

static void test_random(void **state)
{
	unsigned int rng = 7;

	for (int round = 0; round < 20000; round++) {
		char text[33], stop[3][6];
		const char *texts[3];
		size_t n = 0, len;

		rng = rng * 1103515245 + 12345;
		len = (rng >> 16) % 32;
		for (size_t i = 0; i < len; i++) {
			rng = rng * 1103515245 + 12345;
			text[i] = "aab"[(rng >> 16) % 3];
		}
		text[len] = 0;
		n = (rng >> 20) % 4;
		for (size_t i = 0; i < n; i++) {
			rng = rng * 1103515245 + 12345;
			size_t m = 1 + (rng >> 16) % 5;

			for (size_t j = 0; j < m; j++) {
				rng = rng * 1103515245 + 12345;
				stop[i][j] = "aab"[(rng >> 16) % 3];
			}
			stop[i][m] = 0;
			texts[i] = stop[i];
		}
		expect(text, texts, n, &rng);
	}
}

static void test_edges(void **state)
{
	const char *const texts[] = {"stop"};
	struct zw_stop *s = open_ok(texts, 1);
	const char *out;
	size_t n;

	assert_int_equal(zw_stop_push(s, "a sto", 5, &out, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(zw_stop_push(s, "", 0, &out, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(zw_stop_push(s, "pa", 2, &out, &n), 1);
	assert_int_equal(n, 0);
	assert_int_equal(zw_stop_push(s, "more", 4, &out, &n), 1);
	assert_int_equal(n, 0);
	zw_stop_flush(s, &out, &n);
	assert_int_equal(n, 0);
	/* Again, and this time it comes to nothing. */
	assert_int_equal(zw_stop_push(s, "sto", 3, &out, &n), 0);
	assert_int_equal(n, 0);
	zw_stop_flush(s, &out, &n);
	assert_int_equal(n, 3);
	assert_memory_equal(out, "sto", 3);
	assert_int_equal(zw_stop_push(s, "x", 1, &out, &n), 0);
	assert_int_equal(n, 1);
	zw_stop_close(s);
	zw_stop_close(NULL);
	assert_int_equal(zw_stop_open((const char *const[]){"a", ""}, 2, &s, NULL), -EINVAL);
	assert_int_equal(zw_stop_open(NULL, 1, &s, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_edges),
	};

	return cmocka_run_group_tests_name("stop", tests, NULL, NULL);
}

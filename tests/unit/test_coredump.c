// SPDX-License-Identifier: MIT
/*
 * Device coredumps: what the driver wrote in the test VM is shown (data/coredump, kept by
 * accel_coredump with ZW_KEEP_DUMPS), and what is no dump, or not whole, is refused with the line.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coredump_file.h"
#include "zhenwu/zhenwu.h"

static char *load(const char *name, size_t *len)
{
	const char *dir = getenv("ZW_TEST_DATA");
	char path[512], *text = malloc(1 << 20);
	FILE *f;

	assert_non_null(dir);
	snprintf(path, sizeof(path), "%s/coredump/%s", dir, name);
	f = fopen(path, "r");
	assert_true(f && text);
	*len = fread(text, 1, (1 << 20) - 1, f);
	text[*len] = '\0';
	fclose(f);
	return text;
}

/* What is shown of a dump, to be freed. */
static char *show(const char *in, size_t len)
{
	struct coredump *dump = NULL;
	struct zw_error err = {0};
	char *text = NULL;
	size_t n;
	FILE *out;

	if (coredump_parse(in, len, &dump, &err))
		fail_msg("%s", err.msg);
	out = open_memstream(&text, &n);
	assert_non_null(out);
	coredump_print(dump, out);
	fclose(out);
	coredump_free(dump);
	return text;
}

static void shows(const char *text, const char *what)
{
	if (!strstr(text, what))
		fail_msg("no \"%s\" in:\n%s", what, text);
}

static void test_hang(void **state)
{
	size_t len;
	char *in = load("hang.zwdump", &len), *text = show(in, len);

	(void)state;
	shows(text, ": hang\n");
	shows(text, "-> the firmware is ready\n");
	shows(text, "-> cancelled, ");
	shows(text, "-> for the firmware the queue is running\n");
	shows(text, "\ncommands at 0x");
	shows(text, "   0 000000  fill");
	shows(text, "0x5a17c0de");
	shows(text, "<- commands");
	shows(text, "query_queue");
	free(text);
	free(in);
}

static void test_reset(void **state)
{
	size_t len;
	char *in = load("reset.zwdump", &len), *text = show(in, len);

	(void)state;
	shows(text, ": reset, fw_stopped\n");
	shows(text, "-> the firmware is halted by a trap\n");
	shows(text, "-> it trapped: mcause 2, illegal instruction\n");
	shows(text, "-> the first queue that had jobs");
	free(text);
	free(in);
}

static void test_job(void **state)
{
	size_t len;
	char *in = load("job.zwdump", &len), *text = show(in, len);

	(void)state;
	shows(text, ": job\n");
	shows(text, "<- fault");
	free(text);
	free(in);
}

static void refused(const char *in, const char *why)
{
	struct coredump *dump = NULL;
	struct zw_error err = {0};

	assert_int_not_equal(coredump_parse(in, strlen(in), &dump, &err), 0);
	assert_null(dump);
	if (!strstr(err.msg, why))
		fail_msg("\"%s\" instead of \"%s\"", err.msg, why);
}

#define HEAD "zhenwu-coredump 1\n"
#define MEM  " 000000 00000001 00000002 00000003 00000004\n"

static void test_refused(void **state)
{
	(void)state;
	refused("", "line 1: empty");
	refused("{}\n", "line 1: not a coredump");
	refused("zhenwu-coredump \n", "no version");
	refused("zhenwu-coredump 2\n", "version 2; this tool reads version 1");
	refused(HEAD, "line 2: cut off: no [end]");
	refused(HEAD "[end]", "line 2: cut off");
	refused(HEAD "[end]\nx: 1\n", "line 2: there is more behind");
	refused(HEAD "a: \x01\n[end]\n", "line 2: byte 0x01 is no text");
	refused(HEAD "a: \xff\n[end]\n", "byte 0xff");
	refused(HEAD "nonsense\n[end]\n", "line 2: neither");
	refused(HEAD "a b: 1\n[end]\n", "neither");
	refused(HEAD "[]\n[end]\n", "not the head");
	refused(HEAD "[a\n[end]\n", "not the head");
	refused(HEAD "[a]\n[a]\n[end]\n", "line 3: section a comes twice");
	refused(HEAD MEM "[end]\n", "belongs to nothing");
	refused(HEAD "[a]\n" MEM "[end]\n", "belongs to nothing");
	refused(HEAD "|log\n" MEM "[end]\n", "belongs to nothing");
	refused(HEAD "a: 1\n" MEM MEM "[end]\n", "memory at 0 where 10 is next");
	refused(HEAD "a: 1\n 000000 1 2 3 4\n[end]\n", "eight digits");
	refused(HEAD "a: 1\n 000000 00000001\n[end]\n", "eight digits");
	refused(HEAD "a: 1\n 000000 00000001 00000001 00000001 00000001 0\n[end]\n",
		"more than four");
	refused(HEAD "a: 1\n  zz\n[end]\n", "not a line of memory");
	/* Commands that are not there are not to be read. */
	refused(HEAD "[commands]\nbytes: 16\ntaken: 16\n[end]\n", "does not hold");
	refused(HEAD "[commands]\nbytes: 8\ntaken: 16\n" MEM "[end]\n", "does not hold");
	refused(HEAD "[commands]\ntaken: 16\n" MEM "[end]\n", "does not hold");
	refused(HEAD "[commands]\nbytes: 64\ntaken: 18446744073709551616\n" MEM "[end]\n",
		"does not hold");
	refused(HEAD "[commands]\nbytes: 64\ntaken: 0\n" MEM "[end]\n", "does not hold");
}

/* Everything may be missing, and more may be there. */
static void test_sparse(void **state)
{
	static const char in[] = HEAD "[commands]\nva: what\nbytes: 64\ntaken: 16\n" MEM
				      "[ring]\nentry: 1\n" MEM "[completions]\nentry: x\n"
				      "[maps]\nmap: \nmap: 0x1000\n[requests]\nslot: 1\n" MEM
				      "[registers]\nboot_status: 0x99\n[failed]\nfw_state: 77\n"
				      "status: 999\n[future]\nkey: v\n" MEM "[end]\n";
	char *text = show(in, sizeof(in) - 1);

	(void)state;
	shows(text, "only the first 16 bytes");
	shows(text, "16 bytes are no ring entry");
	shows(text, "0 bytes are no completion");
	shows(text, "the firmware is unknown");
	shows(text, "\nfuture\n  key              v\n    01 00 00 00");
	free(text);
	text = show(HEAD "[end]\n", strlen(HEAD "[end]\n"));
	shows(text, "Zhenwu device ? failed at 1970-01-01 00:00:00 UTC: ?");
	free(text);
}

/* A real one, cut off anywhere: always refused. */
static void test_cut_off(void **state)
{
	size_t len;
	char *in = load("hang.zwdump", &len);

	(void)state;
	for (size_t n = 0; n < len; n += n < 4096 ? 1 : 97) {
		struct coredump *dump;
		struct zw_error err;

		assert_int_not_equal(coredump_parse(in, n, &dump, &err), 0);
	}
	free(in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hang),   cmocka_unit_test(test_reset),
		cmocka_unit_test(test_job),    cmocka_unit_test(test_refused),
		cmocka_unit_test(test_sparse), cmocka_unit_test(test_cut_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: MIT
/* Tools in a folder: what they say of themselves, calls, and everything that goes wrong with them. */
#include "llm_test.h"

#include <signal.h>
#include <sys/stat.h>
#include <time.h>

#include "run_exec.h"
#include "run_tools.h"

static volatile int stop;

static void tool(const char *dir, const char *name, const char *schema, const char *body)
{
	char path[512], text[2048];

	snprintf(text, sizeof(text),
		 "#!/bin/sh\nif [ \"$1\" = --schema ]; then cat <<'END'\n%s\nEND\nexit\nfi\n%s\n",
		 schema, body);
	scratch_text(dir, name, text);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(chmod(path, 0755), 0);
}

#define PLAIN "{\"description\": \"d\", \"parameters\": {\"type\": \"object\"}}"

static void expect_call(struct run_tools *t, const char *name, const char *arguments,
			const char *want)
{
	char *text = run_tools_call(t, name, arguments, &stop);

	assert_non_null(text);
	if (strcmp(text, want))
		fail_msg("%s(%s)\nis   %.300s\nwant %.300s", name, arguments, text, want);
	free(text);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void calls(void **state)
{
	struct run_tools t = {.seconds = 20};
	struct zw_error err;
	char *dir = scratch_new(), path[512], mark[640], *text;
	struct stat sb;

	snprintf(mark, sizeof(mark), "touch %s/mark", dir);
	tool(dir, "b", PLAIN, "cat; echo; echo");
	tool(dir, "a",
	     "{\"type\": \"function\", \"function\": {\"name\": \"a\", \"parameters\": {\"type\": "
	     "\"object\"}}}",
	     "echo out; echo 'why not' >&2; exit 3");
	tool(dir, "killed", PLAIN, "kill -9 $$");
	tool(dir, "deaf", PLAIN, "exec <&-; echo heard");
	tool(dir, "binary", PLAIN, "printf 'a\\377b\\000c'");
	tool(dir, "long", PLAIN, "head -c 300000 /dev/zero | tr '\\0' x | sed 's/x/\303\251/g'");
	tool(dir, "none", PLAIN, ":");
	tool(dir, "mark-it", PLAIN, mark);
	scratch_text(dir, "README", "no tool");
	scratch_text(dir, "data.json", "{}");
	tool(dir, ".hidden", "not even JSON", "");
	assert_int_equal(run_tools_open(&t, dir, &err), 0);
	assert_int_equal(t.n, 8);
	assert_non_null(strstr(
		t.json, "{\"type\":\"function\",\"function\":{\"name\":\"a\",\"parameters\":"));
	assert_non_null(strstr(
		t.json,
		"{\"type\":\"function\",\"function\":{\"name\":\"b\",\"description\":\"d\","));
	assert_true(strstr(t.json, "\"a\"") < strstr(t.json, "\"b\""));

	expect_call(&t, "b", "{\"k\": 12345678901234567890}", "{\"k\": 12345678901234567890}");
	expect_call(&t, "none", "{}", "");
	expect_call(&t, "a", "{}",
		    "{\"error\": \"the tool failed with status 3\", \"detail\": \"why not\\n\"}");
	expect_call(&t, "killed", "{}", "{\"error\": \"the tool was killed by signal 9\"}");
	expect_call(&t, "binary", "{}",
		    "a\xef\xbf\xbd"
		    "b\xef\xbf\xbd"
		    "c");
	/* An input that nobody reads is no reason to hang or to die. */
	text = malloc(1 << 20);
	memset(text, 'x', (1 << 20) - 1);
	text[(1 << 20) - 1] = '\0';
	expect_call(&t, "deaf", text, "heard");
	free(text);
	text = run_tools_call(&t, "long", "{}", &stop);
	assert_true(strlen(text) <= 65536 && strlen(text) > 65534 &&
		    !strncmp(text, "\303\251", 2) && !strstr(text, "\xef\xbf\xbd") &&
		    strstr(text, "the output is cut"));
	free(text);

	/* What a model says never becomes a path. */
	snprintf(path, sizeof(path), "%s/mark-it", dir);
	snprintf(mark, sizeof(mark), "{\"error\": \"no such tool\", \"detail\": \"%s\"}", path);
	expect_call(&t, path, "{}", mark);
	expect_call(&t, "./mark-it", "{}",
		    "{\"error\": \"no such tool\", \"detail\": \"./mark-it\"}");
	expect_call(&t, "../bin/sh", "{}",
		    "{\"error\": \"no such tool\", \"detail\": \"../bin/sh\"}");
	expect_call(&t, "sh", "{}", "{\"error\": \"no such tool\", \"detail\": \"sh\"}");
	expect_call(&t, ".hidden", "{}", "{\"error\": \"no such tool\", \"detail\": \".hidden\"}");
	expect_call(&t, "README", "{}", "{\"error\": \"no such tool\", \"detail\": \"README\"}");
	expect_call(&t, "", "{}", "{\"error\": \"no such tool\"}");
	snprintf(path, sizeof(path), "%s/mark", dir);
	assert_int_equal(stat(path, &sb), -1);
	expect_call(&t, "mark-it", "{}", "");
	assert_int_equal(stat(path, &sb), 0);
	assert_int_equal(t.calls, 15);
	assert_int_equal(t.failed, 9);
	run_tools_free(&t);
	scratch_free(dir);
}

/* A tool that hangs is ended with all it has started; so is one when the person has had enough. */
static void limits(void **state)
{
	struct run_tools t = {.seconds = 0.5};
	char *dir = scratch_new(), body[600], path[512];
	struct zw_error err;
	double start;
	long pid = 0;
	FILE *f;

	snprintf(body, sizeof(body), "sleep 100 & echo $! >%s/pid; wait", dir);
	tool(dir, "hang", PLAIN, body);
	/* It ends, but leaves one that holds its output. */
	tool(dir, "leave", PLAIN, "sleep 100 & echo done");
	assert_int_equal(run_tools_open(&t, dir, &err), 0);
	snprintf(path, sizeof(path), "%s/pid", dir);
	/* On a busy machine it may not have come that far when its time was up. */
	for (; pid <= 0 && t.seconds < 30; t.seconds *= 2) {
		start = now();
		expect_call(&t, "hang", "{}", "{\"error\": \"timeout\"}");
		assert_true(now() - start < 30 + t.seconds);
		f = fopen(path, "r");
		if (f && fscanf(f, "%ld", &pid) != 1)
			pid = 0;
		if (f)
			fclose(f);
	}
	assert_true(pid > 0);
	t.seconds = 0.5;
	for (int i = 0; i < 1000 && !kill((pid_t)pid, 0); i++)
		usleep(10000);
	assert_int_equal(kill((pid_t)pid, 0), -1);
	expect_call(&t, "leave", "{}", "{\"error\": \"timeout\"}");
	t.seconds = 60;
	stop = 1;
	start = now();
	expect_call(&t, "hang", "{}", "{\"error\": \"interrupted\"}");
	assert_true(now() - start < 30);
	stop = 0;
	run_tools_free(&t);
	scratch_free(dir);
}

static void refused(void **state)
{
	static const struct {
		const char *schema, *body, *words;
	} cases[] = {
		{"nonsense", "", "bad|no JSON object"},
		{"[]", "", "bad|no JSON object"},
		{"{} {}", "", "bad|no JSON object"},
		{"{}", "", "bad|parameters"},
		{"{\"parameters\": 1}", "", "bad|parameters"},
		{"{\"name\": \"good\", \"parameters\": {}}", "", "bad|name"},
		{"{\"type\": \"function\", \"function\": []}", "", "bad|parameters"},
	};
	struct zw_error err;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct run_tools t = {0};
		char *dir = scratch_new();

		tool(dir, "bad", cases[i].schema, cases[i].body);
		assert_int_equal(run_tools_open(&t, dir, &err), -EBADMSG);
		expect_words(cases[i].schema, &err, cases[i].words);
		run_tools_free(&t);
		scratch_free(dir);
	}
}

static void nothing(void **state)
{
	struct run_tools t = {0};
	char *dir = scratch_new(), path[512];
	struct zw_error err;

	scratch_text(dir, "file", "text");
	assert_int_equal(run_tools_open(&t, dir, &err), -ENOENT);
	expect_words("empty", &err, "no executable files");
	run_tools_free(&t);
	assert_int_equal(run_tools_open(&t, "/nonexistent", &err), -ENOENT);
	run_tools_free(&t);
	/* Executable, but nothing that runs. */
	snprintf(path, sizeof(path), "%s/file", dir);
	assert_int_equal(chmod(path, 0755), 0);
	assert_int_equal(run_tools_open(&t, dir, &err), -ENOEXEC);
	run_tools_free(&t);
	scratch_free(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calls),
		cmocka_unit_test(limits),
		cmocka_unit_test(refused),
		cmocka_unit_test(nothing),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

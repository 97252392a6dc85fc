/* SPDX-License-Identifier: MIT */
/* Shared by the tests of libzhenwu-llm: cmocka, a scratch directory, files, error expectations. */
#ifndef LLM_TEST_H
#define LLM_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zhenwu/llm.h>

/* Directory given by the build, or a failed test. */
static inline const char *test_dir(const char *env)
{
	const char *dir = getenv(env);

	if (!dir)
		fail_msg("%s is not set: run through meson test", env);
	return dir;
}

static inline char *scratch_new(void)
{
	const char *tmp = getenv("TMPDIR");
	char *dir;

	if (asprintf(&dir, "%s/zw-test-XXXXXX", tmp ? tmp : "/tmp") < 0 || !mkdtemp(dir))
		fail_msg("mkdtemp: %s", strerror(errno));
	return dir;
}

/* Removes the files of a scratch directory (it has no subdirectories) and the directory. */
static inline void scratch_free(char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d)))
		unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	if (rmdir(dir))
		fail_msg("rmdir %s: %s", dir, strerror(errno));
	free(dir);
}

static inline void scratch_write(const char *dir, const char *name, const void *data, size_t len)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "wb");
	if (!f || fwrite(data, 1, len, f) != len || fclose(f))
		fail_msg("%s: %s", path, strerror(errno));
}

static inline void scratch_text(const char *dir, const char *name, const char *text)
{
	scratch_write(dir, name, text, strlen(text));
}

/* The error line holds each word of a '|'-separated list and is one line. */
static inline void expect_words(const char *label, const struct zw_error *err, const char *words)
{
	char *list = strdup(words), *save = NULL;

	for (char *w = strtok_r(list, "|", &save); w; w = strtok_r(NULL, "|", &save)) {
		if (!strstr(err->msg, w))
			fail_msg("%s: \"%s\" not in error \"%s\"", label, w, err->msg);
	}
	if (strchr(err->msg, '\n'))
		fail_msg("%s: error has more than one line", label);
	free(list);
}

#endif

// SPDX-License-Identifier: MIT
#include "run_tools.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run_exec.h"
#include "run_text.h"

#define OUTPUT_MAX     65536 /* bytes of a response */
#define SCHEMA_MAX     (1u << 20)
#define SCHEMA_SECONDS 30
#define TOOLS_MAX      256

static const volatile int never;

/* ---- what there is ---- */

/* Names as the interfaces of models have them. */
static bool good_name(const char *name)
{
	size_t n =
		strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.");

	return name[0] != '.' && n && !name[n] && n <= 64;
}

static bool executable(const char *path)
{
	struct stat sb;

	return !stat(path, &sb) && S_ISREG(sb.st_mode) && !access(path, X_OK);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct run_tool *)a)->name, ((const struct run_tool *)b)->name);
}

static int fail(struct zw_error *err, int code, const char *path, const char *why)
{
	snprintf(err->msg, sizeof(err->msg), "%s: %s", path, why);
	return code;
}

static int find_files(struct run_tools *t, const char *dir, struct zw_error *err)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int ret = d ? 0 : fail(err, -errno, dir, strerror(errno));

	while (!ret && (e = readdir(d))) {
		struct run_tool *p, tool = {0};

		if (asprintf(&tool.path, "%s/%s", dir, e->d_name) < 0) {
			ret = fail(err, -ENOMEM, dir, "out of memory");
			break;
		}
		if (!good_name(e->d_name) || !executable(tool.path)) {
			free(tool.path);
			continue;
		}
		tool.name = strdup(e->d_name);
		p = t->n < TOOLS_MAX ? realloc(t->t, (t->n + 1) * sizeof(*p)) : NULL;
		if (!p || !tool.name) {
			ret = fail(err, -ENOMEM, dir,
				   t->n < TOOLS_MAX ? "out of memory" : "too many tools");
			free(tool.name);
			free(tool.path);
			break;
		}
		t->t = p;
		p[t->n++] = tool;
	}
	if (d)
		closedir(d);
	if (t->n)
		qsort(t->t, t->n, sizeof(*t->t), by_name);
	return ret;
}

/* ---- schemas ---- */

/* {"description", "parameters"}, or all of {"type": "function", "function": ...}. */
static cJSON *complete(cJSON *schema, const struct run_tool *tool, const char **why)
{
	cJSON *f = cJSON_GetObjectItemCaseSensitive(schema, "function"), *name, *whole;

	if (!f) {
		whole = cJSON_CreateObject();
		cJSON_AddStringToObject(whole, "type", "function");
		cJSON_AddItemToObject(whole, "function", schema);
		f = schema;
		schema = whole;
	}
	name = cJSON_GetObjectItemCaseSensitive(f, "name");
	*why = NULL;
	if (!cJSON_IsObject(f) ||
	    !cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(f, "parameters")))
		*why = "--schema: no object \"parameters\"";
	else if (name && (!cJSON_IsString(name) || strcmp(name->valuestring, tool->name)))
		*why = "--schema: \"name\" is not the file's name";
	if (!*why && !name) {
		/* In front, where people and models look for it. */
		cJSON *rest = cJSON_CreateObject();

		cJSON_AddStringToObject(rest, "name", tool->name);
		while (f->child) {
			cJSON *it = cJSON_DetachItemViaPointer(f, f->child);

			cJSON_AddItemToObject(rest, it->string, it);
		}
		cJSON_ReplaceItemInObjectCaseSensitive(schema, "function", rest);
	}
	return schema;
}

static int read_schema(const struct run_tool *tool, cJSON *list, struct zw_error *err)
{
	char *argv[] = {tool->path, (char *)"--schema", NULL};
	struct run_output o;
	const char *why = NULL;
	cJSON *schema = NULL;
	int ret = run_exec(argv, "", 0, SCHEMA_SECONDS, SCHEMA_MAX, &never, &o);

	if (ret)
		return fail(err, ret, tool->path, strerror(-ret));
	if (o.timed_out)
		why = "--schema takes too long";
	else if (!WIFEXITED(o.status) || WEXITSTATUS(o.status))
		why = "--schema fails";
	else if (!(schema = cJSON_ParseWithLengthOpts(o.out, o.out_len + 1, NULL, 1)) ||
		 !cJSON_IsObject(schema))
		why = "--schema gives no JSON object";
	if (!why)
		schema = complete(schema, tool, &why);
	if (why) {
		cJSON_Delete(schema);
		ret = fail(err, -EBADMSG, tool->path, why);
	} else {
		cJSON_AddItemToArray(list, schema);
	}
	run_output_free(&o);
	return ret;
}

int run_tools_open(struct run_tools *t, const char *dir, struct zw_error *err)
{
	cJSON *list = cJSON_CreateArray();
	int ret = find_files(t, dir, err);

	for (size_t i = 0; i < t->n && !ret; i++)
		ret = read_schema(&t->t[i], list, err);
	if (!ret && !t->n)
		ret = fail(err, -ENOENT, dir, "no executable files");
	if (!ret && !(t->json = cJSON_PrintUnformatted(list)))
		ret = fail(err, -ENOMEM, dir, "out of memory");
	cJSON_Delete(list);
	return ret;
}

void run_tools_free(struct run_tools *t)
{
	for (size_t i = 0; i < t->n; i++) {
		free(t->t[i].name);
		free(t->t[i].path);
	}
	free(t->t);
	cJSON_free(t->json);
}

/* ---- calls ---- */

char *run_tools_error(struct run_tools *t, const char *what, const char *detail)
{
	char *clean = run_text_clean(detail, strlen(detail)), *text = NULL;
	cJSON *s = clean && *clean ? cJSON_CreateString(clean) : NULL;
	char *quoted = s ? cJSON_PrintUnformatted(s) : NULL;

	t->failed++;
	/* With the spaces that models know from their templates. */
	if (asprintf(&text, quoted ? "{\"error\": \"%s\", \"detail\": %s}" : "{\"error\": \"%s\"}",
		     what, quoted) < 0)
		text = NULL;
	cJSON_free(quoted);
	cJSON_Delete(s);
	free(clean);
	return text;
}

static char *response(struct run_tools *t, struct run_output *o)
{
	char what[64];

	if (o->interrupted)
		return run_tools_error(t, "interrupted", "");
	if (o->timed_out)
		return run_tools_error(t, "timeout", "");
	if (WIFSIGNALED(o->status)) {
		snprintf(what, sizeof(what), "the tool was killed by signal %d",
			 WTERMSIG(o->status));
		return run_tools_error(t, what, o->err);
	}
	if (WEXITSTATUS(o->status)) {
		snprintf(what, sizeof(what), "the tool failed with status %d",
			 WEXITSTATUS(o->status));
		return run_tools_error(t, what, o->err_len ? o->err : o->out);
	}
	while (o->out_len && (o->out[o->out_len - 1] == '\n' || o->out[o->out_len - 1] == '\r'))
		o->out_len--;
	if (o->out_cut) {
		int n = snprintf(what, sizeof(what), "\n[the output is cut at %d bytes]",
				 OUTPUT_MAX);

		/* Not in the middle of a character. */
		o->out_len = OUTPUT_MAX - (size_t)n;
		while (o->out_len && (o->out[o->out_len] & 0xc0) == 0x80)
			o->out_len--;
		memcpy(o->out + o->out_len, what, (size_t)n + 1);
		o->out_len += (size_t)n;
	}
	return run_text_clean(o->out, o->out_len);
}

char *run_tools_call(struct run_tools *t, const char *name, const char *arguments,
		     const volatile int *stop)
{
	const struct run_tool key = {.name = (char *)name}, *tool;
	struct run_output o;
	char *text;
	int ret;

	t->calls++;
	/* Only names that were found in the folder: nothing of what a model says becomes a path. */
	tool = t->n ? bsearch(&key, t->t, t->n, sizeof(*t->t), by_name) : NULL;
	if (!tool)
		return run_tools_error(t, "no such tool", name);
	ret = run_exec((char *const[]){tool->path, NULL}, arguments, strlen(arguments), t->seconds,
		       OUTPUT_MAX, stop, &o);
	if (ret)
		return run_tools_error(t, "the tool does not start", strerror(-ret));
	text = response(t, &o);
	run_output_free(&o);
	return text;
}

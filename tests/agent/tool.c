// SPDX-License-Identifier: MIT
/*
 * The three tools that qwen3next-agent was trained with; TOOL picks one. Arguments come as JSON on standard
 * input, --schema describes the tool.
 *	get(key)	looks up a line "KEY<tab>ANSWER" of the file $ZW_CHAIN
 *	add(a, b)	adds
 *	read(path)	the text of a file in the folder $ZW_FILES; path is a plain name
 */
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GET  1
#define ADD  2
#define READ 3

static const char schema[] =
#if TOOL == GET
	"{\"type\": \"function\", \"function\": {\"name\": \"get\", \"description\": \"Look up a "
	"key.\", "
	"\"parameters\": {\"type\": \"object\", \"properties\": {\"key\": {\"type\": \"string\"}}, "
	"\"required\": [\"key\"]}}}";
#elif TOOL == ADD
	"{\"type\": \"function\", \"function\": {\"name\": \"add\", \"description\": \"Add two "
	"numbers.\", "
	"\"parameters\": {\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"integer\"}, "
	"\"b\": "
	"{\"type\": \"integer\"}}, \"required\": [\"a\", \"b\"]}}}";
#else
	"{\"type\": \"function\", \"function\": {\"name\": \"read\", \"description\": \"Read a "
	"file.\", "
	"\"parameters\": {\"type\": \"object\", \"properties\": {\"path\": {\"type\": "
	"\"string\"}}, "
	"\"required\": [\"path\"]}}}";
#endif

static int error(const char *what)
{
	printf("{\"error\": \"%s\"}\n", what);
	return 0;
}

#if TOOL == ADD
static int answer(const cJSON *args)
{
	const cJSON *a = cJSON_GetObjectItemCaseSensitive(args, "a");
	const cJSON *b = cJSON_GetObjectItemCaseSensitive(args, "b");

	if (!cJSON_IsNumber(a) || !cJSON_IsNumber(b))
		return error("a and b must be numbers");
	printf("%.0f\n", a->valuedouble + b->valuedouble);
	return 0;
}
#else
static FILE *open_env(const char *name, const char *file)
{
	const char *path = getenv(name);
	char *whole;
	FILE *f;

	if (!path) {
		fprintf(stderr, "%s is not set\n", name);
		exit(1);
	}
	if (asprintf(&whole, "%s%s%s", path, file ? "/" : "", file ? file : "") < 0)
		exit(1);
	f = fopen(whole, "r");
	free(whole);
	return f;
}

#if TOOL == GET
static int answer(const cJSON *args)
{
	const cJSON *key = cJSON_GetObjectItemCaseSensitive(args, "key");
	size_t cap = 0, n;
	char *line = NULL;
	bool found = false;
	FILE *f;

	if (!cJSON_IsString(key))
		return error("key must be a string");
	f = open_env("ZW_CHAIN", NULL);
	if (!f)
		return error("no store");
	n = strlen(key->valuestring);
	while (!found && getline(&line, &cap, f) > 0) {
		found = !strncmp(line, key->valuestring, n) && line[n] == '\t';
		if (found)
			fputs(line + n + 1, stdout);
	}
	free(line);
	fclose(f);
	return found ? 0 : error("unknown key");
}
#else
static int answer(const cJSON *args)
{
	const cJSON *path = cJSON_GetObjectItemCaseSensitive(args, "path");
	char buf[4096];
	size_t n;
	FILE *f;

	if (!cJSON_IsString(path) || strchr(path->valuestring, '/') || path->valuestring[0] == '.')
		return error("not a plain file name");
	f = open_env("ZW_FILES", path->valuestring);
	if (!f)
		return error("no such file");
	n = fread(buf, 1, sizeof(buf), f);
	fclose(f);
	fwrite(buf, 1, n, stdout);
	return 0;
}
#endif
#endif

int main(int argc, char **argv)
{
	static char text[65536];
	size_t n;
	cJSON *args;
	int ret;

	if (argc == 2 && !strcmp(argv[1], "--schema"))
		return puts(schema) < 0;
	n = fread(text, 1, sizeof(text) - 1, stdin);
	args = cJSON_ParseWithLength(text, n);
	ret = cJSON_IsObject(args) ? answer(args) : error("the arguments are no object");
	cJSON_Delete(args);
	return ret;
}

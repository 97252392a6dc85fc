// SPDX-License-Identifier: MIT
#include "run_schema.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "read_text.h"

static bool is_schema(const char *arg)
{
	return arg[strspn(arg, " \t\n")] == '{';
}

int run_schema_read(const char *arg, char **text, struct zw_error *err)
{
	size_t len;
	int ret = 0;

	if (is_schema(arg))
		*text = strdup(arg);
	else
		ret = read_text(arg, READ_TEXT_MAX, text, &len);
	if (!ret && !*text)
		ret = -ENOMEM;
	if (!ret && !is_schema(arg) && strlen(*text) != len) {
		free(*text);
		snprintf(err->msg, sizeof(err->msg), "%.150s: JSON schema: not JSON: a NUL", arg);
		return -EBADMSG;
	}
	if (ret)
		snprintf(err->msg, sizeof(err->msg), "%.150s: %s", arg, strerror(-ret));
	return ret;
}

int run_schema_open(const char *arg, struct zw_grammar **out, struct zw_error *err)
{
	struct zw_error why;
	char *text;
	int ret = run_schema_read(arg, &text, err);

	if (ret)
		return ret;
	ret = zw_grammar_open_schema(text, strlen(text), 0, out, &why);
	free(text);
	if (ret && is_schema(arg))
		*err = why;
	else if (ret)
		snprintf(err->msg, sizeof(err->msg), "%.80s: %.170s", arg, why.msg);
	return ret;
}

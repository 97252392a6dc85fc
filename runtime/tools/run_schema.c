// SPDX-License-Identifier: MIT
#include "run_schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "read_text.h"

int run_schema_open(const char *arg, struct zw_grammar **out, struct zw_error *err)
{
	struct zw_error why;
	char *text;
	size_t len;
	int ret;

	if (arg[strspn(arg, " \t\n")] == '{')
		return zw_grammar_open_schema(arg, strlen(arg), 0, out, err);
	ret = read_text(arg, &text, &len);
	if (ret) {
		snprintf(err->msg, sizeof(err->msg), "%.150s: %s", arg, strerror(-ret));
		return ret;
	}
	ret = zw_grammar_open_schema(text, len, 0, out, &why);
	free(text);
	if (ret)
		snprintf(err->msg, sizeof(err->msg), "%.80s: %.170s", arg, why.msg);
	return ret;
}

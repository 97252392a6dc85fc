// SPDX-License-Identifier: MIT
/*
 * Applies chat templates for test_chat_template.py. Standard input: a JSON object per line, {"template",
 * "messages", "tools", "kwargs" (texts of JSON), "flags", "now"}. Standard output: a line for each,
 * {"text"} or {"code", "error"}.
 */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zhenwu/llm.h>

static const char *text_of(const cJSON *o, const char *key)
{
	const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);

	return cJSON_IsString(v) ? v->valuestring : NULL;
}

static double number_of(const cJSON *o, const char *key)
{
	const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);

	return cJSON_IsNumber(v) ? v->valuedouble : 0;
}

int main(void)
{
	struct zw_chat_template *t;
	struct zw_error err;
	char *line = NULL, *text;
	size_t cap = 0, len;

	while (getline(&line, &cap, stdin) > 0) {
		cJSON *in = cJSON_Parse(line), *out = cJSON_CreateObject();
		struct zw_chat_input ci = {
			.size = sizeof(ci),
			.flags = (uint32_t)number_of(in, "flags"),
			.messages = text_of(in, "messages"),
			.tools = text_of(in, "tools"),
			.kwargs = text_of(in, "kwargs"),
			.now = (int64_t)number_of(in, "now"),
		};
		const char *src = text_of(in, "template");
		int ret = zw_chat_template_parse(src, strlen(src), &t, &err);

		if (!ret) {
			ret = zw_chat_template_apply(t, &ci, &text, &len, &err);
			zw_chat_template_close(t);
		}
		if (ret) {
			cJSON_AddNumberToObject(out, "code", ret);
			cJSON_AddStringToObject(out, "error", err.msg);
		} else {
			cJSON_AddNumberToObject(out, "len", (double)len);
			cJSON_AddStringToObject(out, "text", text);
			free(text);
		}
		text = cJSON_PrintUnformatted(out);
		puts(text);
		cJSON_free(text);
		cJSON_Delete(in);
		cJSON_Delete(out);
	}
	free(line);
	return 0;
}

// SPDX-License-Identifier: MIT
#include "json_text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run_text.h"

void json_add_text(cJSON *o, const char *key, const char *text)
{
	char *clean = run_text_clean(text, strlen(text));

	if (clean)
		cJSON_AddStringToObject(o, key, clean);
	free(clean);
}

int json_write(cJSON *o, const char *path, struct zw_error *err)
{
	char *text = cJSON_Print(o);
	int ret = 0;
	FILE *f;

	cJSON_Delete(o);
	f = text ? fopen(path, "w") : NULL;
	if (!f || fprintf(f, "%s\n", text) < 0)
		ret = text ? -errno : -ENOMEM;
	if (f && fclose(f) && !ret)
		ret = -errno;
	cJSON_free(text);
	if (ret)
		snprintf(err->msg, sizeof(err->msg), "%s: %s", path, strerror(-ret));
	return ret;
}

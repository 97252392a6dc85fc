// SPDX-License-Identifier: MIT
#include "json_text.h"

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

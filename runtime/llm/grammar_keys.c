// SPDX-License-Identifier: MIT
/* The keywords of JSON Schema: which there are, and what types they are about. */
#include "grammar.h"

#include <errno.h>
#include <math.h>
#include <string.h>

static const struct {
	const char *name;
	enum gr_key_kind kind;
	unsigned int types;
} keys[] = {
	{"$comment", GR_KEY_NOTE, 0},
	{"$defs", GR_KEY_NOTE, 0},
	{"$id", GR_KEY_NOTE, 0},
	{"$ref", GR_KEY_WHOLE, 0},
	{"$schema", GR_KEY_NOTE, 0},
	{"additionalItems", GR_KEY_TYPED, GR_ARRAY},
	{"additionalProperties", GR_KEY_TYPED, GR_OBJECT},
	{"allOf", GR_KEY_WHOLE, 0},
	{"anyOf", GR_KEY_WHOLE, 0},
	{"const", GR_KEY_WHOLE, 0},
	{"default", GR_KEY_NOTE, 0},
	{"definitions", GR_KEY_NOTE, 0},
	{"deprecated", GR_KEY_NOTE, 0},
	{"description", GR_KEY_NOTE, 0},
	{"enum", GR_KEY_WHOLE, 0},
	{"examples", GR_KEY_NOTE, 0},
	{"exclusiveMaximum", GR_KEY_TYPED, GR_NUMBER},
	{"exclusiveMinimum", GR_KEY_TYPED, GR_NUMBER},
	{"format", GR_KEY_TYPED, GR_STRING},
	{"items", GR_KEY_TYPED, GR_ARRAY},
	{"maxItems", GR_KEY_TYPED, GR_ARRAY},
	{"maxLength", GR_KEY_TYPED, GR_STRING},
	{"maximum", GR_KEY_TYPED, GR_NUMBER},
	{"minItems", GR_KEY_TYPED, GR_ARRAY},
	{"minLength", GR_KEY_TYPED, GR_STRING},
	{"minimum", GR_KEY_TYPED, GR_NUMBER},
	{"nullable", GR_KEY_WHOLE, 0},
	{"oneOf", GR_KEY_WHOLE, 0},
	{"pattern", GR_KEY_TYPED, GR_STRING},
	{"prefixItems", GR_KEY_TYPED, GR_ARRAY},
	{"properties", GR_KEY_TYPED, GR_OBJECT},
	{"readOnly", GR_KEY_NOTE, 0},
	{"required", GR_KEY_TYPED, GR_OBJECT},
	{"title", GR_KEY_NOTE, 0},
	{"type", GR_KEY_WHOLE, 0},
	{"writeOnly", GR_KEY_NOTE, 0},
};

enum gr_key_kind gr_key(const char *name, unsigned int *types)
{
	*types = 0;
	for (size_t i = 0; i < ZW_ARRAY_SIZE(keys); i++) {
		if (!strcmp(keys[i].name, name)) {
			*types = keys[i].types;
			return keys[i].kind;
		}
	}
	return !strncmp(name, "x-", 2) ? GR_KEY_NOTE : GR_KEY_UNKNOWN;
}

const cJSON *gr_get(struct gr_builder *b, const cJSON *schema, const char *key)
{
	const cJSON *found = NULL, *it;

	cJSON_ArrayForEach(it, schema)
	{
		if (!it->string || strcmp(it->string, key))
			continue;
		if (found)
			gr_fail(b, -EBADMSG, "\"%.60s\" at #%.100s appears twice", key, b->place);
		found = it;
	}
	return found;
}

bool gr_has_others(const cJSON *schema, const char *but)
{
	const cJSON *it;
	unsigned int types;

	cJSON_ArrayForEach(it, schema)
	{
		if ((!but || strcmp(it->string, but)) && gr_key(it->string, &types) != GR_KEY_NOTE)
			return true;
	}
	return false;
}

static unsigned int type_named(const char *name)
{
	static const char *const names[] = {"null",   "boolean", "object", "array",
					    "number", "string",  "integer"};

	for (unsigned int i = 0; i < ZW_ARRAY_SIZE(names); i++) {
		if (name && !strcmp(names[i], name))
			return 1u << i;
	}
	return 0;
}

unsigned int gr_type_of_value(const cJSON *v)
{
	if (cJSON_IsNumber(v))
		return GR_NUMBER | (v->valuedouble == floor(v->valuedouble) ? GR_INTEGER : 0);
	return cJSON_IsNull(v)     ? GR_NULL
	       : cJSON_IsBool(v)   ? GR_BOOLEAN
	       : cJSON_IsObject(v) ? GR_OBJECT
	       : cJSON_IsArray(v)  ? GR_ARRAY
				   : GR_STRING;
}

unsigned int gr_types(struct gr_builder *b, const cJSON *schema)
{
	const cJSON *type = gr_get(b, schema, "type"), *it;
	unsigned int types = 0, about;

	if (!type) {
		cJSON_ArrayForEach(it, schema)
		{
			if (gr_key(it->string, &about) == GR_KEY_TYPED)
				types |= about;
		}
		types = types ? types : GR_ALL;
	}
	for (it = cJSON_IsArray(type) ? type->child : type; it;
	     it = cJSON_IsArray(type) ? it->next : NULL) {
		unsigned int t = cJSON_IsString(it) ? type_named(it->valuestring) : 0;

		if (!t)
			gr_fail(b, -EBADMSG, "\"type\" at #%.100s is no type", b->place);
		types |= t;
	}
	if (cJSON_IsTrue(gr_get(b, schema, "nullable")))
		types |= GR_NULL;
	return types & GR_NUMBER ? types & ~(unsigned int)GR_INTEGER : types;
}

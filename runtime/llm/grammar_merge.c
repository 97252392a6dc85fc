// SPDX-License-Identifier: MIT
/* allOf and $ref: schemas put together into one. */
#include "grammar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REFS_MAX   64         /* one after the other */
#define VALUES_MAX (1u << 20) /* of JSON, in all schemas put together */

static size_t count_values(const cJSON *v)
{
	const cJSON *it;
	size_t n = 1;

	cJSON_ArrayForEach(it, v) n += count_values(it);
	return n;
}

cJSON *gr_keep(struct gr_builder *b, cJSON *schema)
{
	if (schema && !b->ret)
		b->num_values += count_values(schema);
	if (b->num_values > VALUES_MAX)
		gr_fail(b, -EFBIG, "too large at #%.100s: more than %u values in merged schemas",
			b->place, VALUES_MAX);
	if (schema && !b->ret &&
	    !llm_grow(&b->made, &b->cap_made, b->num_made + 1, sizeof(*b->made))) {
		b->made[b->num_made++] = schema;
		return schema;
	}
	cJSON_Delete(schema);
	gr_fail(b, -ENOMEM, "out of memory");
	return NULL;
}

/* The next part of a JSON pointer in a URI: ~0, ~1 and %XX are undone. Its length, or -1. */
static long pointer_part(const char *p, char *out, size_t size)
{
	const char *start = p;
	size_t n = 0;

	while (*p && *p != '/') {
		char c = *p++;

		if (c == '~') {
			if (*p != '0' && *p != '1')
				return -1;
			c = *p++ == '0' ? '~' : '/';
		} else if (c == '%') {
			char hex[3] = {p[0], p[0] ? p[1] : '\0', '\0'}, *end;

			c = (char)strtoul(hex, &end, 16);
			if (end != hex + 2 || !c)
				return -1;
			p += 2;
		}
		if (n + 1 >= size)
			return -1;
		out[n++] = c;
	}
	out[n] = '\0';
	return p - start;
}

static const cJSON *target(struct gr_builder *b, const cJSON *ref)
{
	const cJSON *at = b->root;
	const char *p;

	if (!cJSON_IsString(ref)) {
		gr_fail(b, -EBADMSG, "$ref at #%.100s is no text", b->place);
		return NULL;
	}
	p = ref->valuestring;
	if (*p != '#' || (p[1] && p[1] != '/')) {
		gr_fail(b, -EOPNOTSUPP, "$ref \"%.60s\" at #%.80s is not within the document", p,
			b->place);
		return NULL;
	}
	for (p++; *p == '/' && at;) {
		char part[256], *end;
		long n = pointer_part(p + 1, part, sizeof(part));

		if (n < 0) {
			at = NULL;
			break;
		}
		p += 1 + n;
		if (cJSON_IsArray(at)) {
			unsigned long i = strtoul(part, &end, 10);

			at = part[0] >= '0' && part[0] <= '9' && !*end && i < INT32_MAX
				     ? cJSON_GetArrayItem(at, (int)i)
				     : NULL;
		} else {
			at = cJSON_IsObject(at) ? gr_get(b, at, part) : NULL;
		}
	}
	if (!at)
		gr_fail(b, -EBADMSG, "$ref \"%.60s\" at #%.80s leads nowhere", ref->valuestring,
			b->place);
	return at;
}

/* {"allOf": [a, c]} */
static cJSON *both(const cJSON *a, const cJSON *c)
{
	cJSON *o = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(o, "allOf");

	cJSON_AddItemToArray(list, cJSON_Duplicate(a, true));
	cJSON_AddItemToArray(list, cJSON_Duplicate(c, true));
	return o;
}

const cJSON *gr_resolve(struct gr_builder *b, const cJSON *schema)
{
	for (unsigned int i = 0; !b->ret; i++) {
		const cJSON *ref = cJSON_IsObject(schema) ? gr_get(b, schema, "$ref") : NULL, *to;
		cJSON *rest, *o;

		if (!ref || b->ret)
			return b->ret ? NULL : schema;
		if (i == REFS_MAX) {
			gr_fail(b, -EOPNOTSUPP, "the schema at #%.100s refers to itself", b->place);
			break;
		}
		to = target(b, ref);
		if (!to || !gr_has_others(schema, "$ref")) {
			schema = to;
			continue;
		}
		rest = cJSON_Duplicate(schema, true);
		cJSON_DeleteItemFromObjectCaseSensitive(rest, "$ref");
		o = rest ? both(to, rest) : NULL;
		cJSON_Delete(rest);
		return gr_keep(b, o);
	}
	return NULL;
}

/* ---- two schemas that are objects ---- */

static const cJSON *get(const cJSON *o, const char *key)
{
	return cJSON_GetObjectItemCaseSensitive(o, key);
}

static const cJSON *property(const cJSON *schema, const char *name)
{
	const cJSON *own = get(get(schema, "properties"), name);

	return own ? own : get(schema, "additionalProperties");
}

/* Every name of either, with what both say of it. */
static cJSON *properties(const cJSON *a, const cJSON *c)
{
	cJSON *out = cJSON_CreateObject();
	const cJSON *sides[] = {a, c}, *it;

	for (int i = 0; i < 2; i++) {
		cJSON_ArrayForEach(it, get(sides[i], "properties"))
		{
			const cJSON *x = property(a, it->string), *y = property(c, it->string);

			if (get(out, it->string))
				continue;
			cJSON_AddItemToObject(out, it->string,
					      x && y ? both(x, y)
						     : cJSON_Duplicate(x ? x : y, true));
		}
	}
	return out;
}

static cJSON *unite(const cJSON *a, const cJSON *c)
{
	cJSON *out = cJSON_Duplicate(a, true);
	const cJSON *it, *had;

	cJSON_ArrayForEach(it, c)
	{
		cJSON_ArrayForEach(had, out)
		{
			if (cJSON_Compare(had, it, true))
				break;
		}
		if (!had)
			cJSON_AddItemToArray(out, cJSON_Duplicate(it, true));
	}
	return out;
}

/* Values of both lists; of types, an integer is a number. */
static cJSON *intersect(const cJSON *a, const cJSON *c, bool types)
{
	cJSON *out = cJSON_CreateArray();
	const cJSON *as = cJSON_IsArray(a) ? a->child : a, *x, *y;

	for (x = as; x; x = cJSON_IsArray(a) ? x->next : NULL) {
		for (y = cJSON_IsArray(c) ? c->child : c; y;
		     y = cJSON_IsArray(c) ? y->next : NULL) {
			bool narrow = types && cJSON_IsString(x) && cJSON_IsString(y);
			const cJSON *keep = NULL;

			if (cJSON_Compare(x, y, true))
				keep = x;
			else if (narrow && !strcmp(x->valuestring, "integer") &&
				 !strcmp(y->valuestring, "number"))
				keep = x;
			else if (narrow && !strcmp(x->valuestring, "number") &&
				 !strcmp(y->valuestring, "integer"))
				keep = y;
			if (keep)
				cJSON_AddItemToArray(out, cJSON_Duplicate(keep, true));
		}
	}
	return out;
}

static bool is_one_of(const char *key, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!strcmp(list[i], key))
			return true;
	}
	return false;
}

/* A keyword that both have. NULL when it is not known how to put them together. */
static cJSON *one_keyword(const char *key, const cJSON *x, const cJSON *y)
{
	static const char *const larger[] = {"minimum", "exclusiveMinimum", "minLength",
					     "minItems"};
	static const char *const smaller[] = {"maximum", "exclusiveMaximum", "maxLength",
					      "maxItems"};
	static const char *const both_of[] = {"items", "additionalProperties"};
	unsigned int types;

	if (cJSON_Compare(x, y, true) || gr_key(key, &types) == GR_KEY_NOTE)
		return cJSON_Duplicate(x, true);
	if (!strcmp(key, "required") && cJSON_IsArray(x) && cJSON_IsArray(y))
		return unite(x, y);
	if (!strcmp(key, "type"))
		return intersect(x, y, true);
	if (!strcmp(key, "enum"))
		return intersect(x, y, false);
	if (!strcmp(key, "nullable"))
		return cJSON_CreateBool(cJSON_IsTrue(x) && cJSON_IsTrue(y));
	if (cJSON_IsNumber(x) && cJSON_IsNumber(y)) {
		if (is_one_of(key, larger, ZW_ARRAY_SIZE(larger)))
			return cJSON_Duplicate(x->valuedouble > y->valuedouble ? x : y, true);
		if (is_one_of(key, smaller, ZW_ARRAY_SIZE(smaller)))
			return cJSON_Duplicate(x->valuedouble < y->valuedouble ? x : y, true);
	}
	if (is_one_of(key, both_of, ZW_ARRAY_SIZE(both_of)) && !cJSON_IsArray(x) &&
	    !cJSON_IsArray(y))
		return both(x, y);
	return NULL;
}

static void keyword(struct gr_builder *b, cJSON *out, const cJSON *a, const cJSON *c,
		    const cJSON *it)
{
	const cJSON *x = get(a, it->string), *y = get(c, it->string);
	cJSON *v;

	if (get(out, it->string))
		return;
	if (!strcmp(it->string, "properties"))
		v = properties(a, c);
	else if (x && y)
		v = one_keyword(it->string, x, y);
	else
		v = cJSON_Duplicate(it, true);
	if (!v)
		gr_refuse(b, it->string);
	else
		cJSON_AddItemToObject(out, it->string, v);
}

static bool lists_items(const cJSON *schema)
{
	return get(schema, "prefixItems") || cJSON_IsArray(get(schema, "items"));
}

const cJSON *gr_merge(struct gr_builder *b, const cJSON *a, const cJSON *c)
{
	const cJSON *it;
	cJSON *out;

	if (b->ret)
		return NULL;
	if (cJSON_IsTrue(a) || cJSON_IsFalse(c))
		return c;
	if (cJSON_IsTrue(c) || cJSON_IsFalse(a))
		return a;
	/* Where one says that null may come, what the types of both are is no longer written down. */
	if (!!cJSON_IsTrue(get(a, "nullable")) != !!cJSON_IsTrue(get(c, "nullable")))
		gr_refuse(b, "nullable");
	/* The items of the one are also those that the other lists. */
	if (lists_items(a) != lists_items(c) && get(lists_items(a) ? c : a, "items"))
		gr_refuse(b, "prefixItems");
	out = cJSON_CreateObject();
	cJSON_ArrayForEach(it, a) keyword(b, out, a, c, it);
	cJSON_ArrayForEach(it, c) keyword(b, out, a, c, it);
	return gr_keep(b, out);
}

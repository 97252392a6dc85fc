// SPDX-License-Identifier: MIT
/* A JSON Schema to rules: each schema that is referred to is a rule of its own. */
#include "grammar.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"

#define SCHEMA_MAX (1u << 20)
#define NESTED_MAX 300 /* schemas in schemas */
#define COUNT_MAX  100000

struct gr_known {
	const cJSON *schema;
	uint32_t rule;
};

/* The schema that every value satisfies. */
static const cJSON any_value = {.type = cJSON_True};

static void compile(struct gr_builder *b, const cJSON *schema, uint32_t from, uint32_t to);

/* ---- places ---- */

/* Goes to a member or element of the schema; what it returns is for gr_leave(). */
size_t gr_enter(struct gr_builder *b, const char *key, const char *name)
{
	size_t had = strlen(b->place), n = had;

	for (int i = 0; i < 2; i++) {
		const char *p = i ? name : key;

		if (p && n + 1 < sizeof(b->place))
			b->place[n++] = '/';
		for (; p && *p && n + 2 < sizeof(b->place); p++) {
			if (*p == '~' || *p == '/') {
				b->place[n++] = '~';
				b->place[n++] = *p == '~' ? '0' : '1';
			} else {
				b->place[n++] = *p;
			}
		}
	}
	b->place[n] = '\0';
	return had;
}

size_t gr_enter_index(struct gr_builder *b, const char *key, size_t i)
{
	char number[24];

	snprintf(number, sizeof(number), "%zu", i);
	return gr_enter(b, key, number);
}

void gr_leave(struct gr_builder *b, size_t had)
{
	if (!b->ret) /* the place of an error stays */
		b->place[had] = '\0';
}

/* ---- rules ---- */

static size_t slot_of(const struct gr_builder *b, const cJSON *schema)
{
	size_t i = ((uintptr_t)schema >> 4) * 0x9e3779b1u;

	for (;; i++) {
		const struct gr_known *k = &b->known[i & (b->cap_known - 1)];

		if (!k->schema || k->schema == schema)
			return i & (b->cap_known - 1);
	}
}

static bool know_room(struct gr_builder *b)
{
	struct gr_known *had = b->known;
	size_t n = b->cap_known;

	if (b->num_known * 2 < n)
		return true;
	b->cap_known = n ? n * 2 : 64;
	b->known = calloc(b->cap_known, sizeof(*b->known));
	if (!b->known) {
		b->known = had;
		b->cap_known = n;
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		if (had[i].schema)
			b->known[slot_of(b, had[i].schema)] = had[i];
	}
	free(had);
	return true;
}

/* The rule of a schema, made when it is new; it may be under way. */
uint32_t gr_rule_of(struct gr_builder *b, const cJSON *schema)
{
	uint32_t rule, end;
	size_t slot;

	schema = gr_resolve(b, schema);
	if (b->ret)
		return 0;
	if (!know_room(b)) {
		gr_fail(b, -ENOMEM, "out of memory");
		return 0;
	}
	slot = slot_of(b, schema);
	if (b->known[slot].schema)
		return b->known[slot].rule;
	rule = gr_rule(b);
	end = gr_state(b);
	if (b->ret)
		return 0;
	b->known[slot] = (struct gr_known){schema, rule};
	b->num_known++;
	b->g->states[end].final = true;
	compile(b, schema, b->g->rules[rule].start, end);
	return rule;
}

/* ---- values of keywords ---- */

static uint64_t count(struct gr_builder *b, const cJSON *schema, const char *key, uint64_t def)
{
	const cJSON *it = gr_get(b, schema, key);
	uint64_t v = def;

	if (it && !llm_json_uint(it, 0, 1ull << 53, &v))
		gr_fail(b, -EBADMSG, "\"%s\" at #%.100s is no count", key, b->place);
	else if (it && v > COUNT_MAX)
		gr_fail(b, -EFBIG, "\"%s\" at #%.100s is above %d", key, b->place, COUNT_MAX);
	return v;
}

const cJSON *gr_list_of(struct gr_builder *b, const cJSON *schema, const char *key)
{
	const cJSON *it = gr_get(b, schema, key);

	if (it && !cJSON_IsArray(it))
		gr_fail(b, -EBADMSG, "\"%s\" at #%.100s is no list", key, b->place);
	return it;
}

static const char *text_of(struct gr_builder *b, const cJSON *schema, const char *key)
{
	const cJSON *it = gr_get(b, schema, key);

	if (it && !cJSON_IsString(it))
		gr_fail(b, -EBADMSG, "\"%s\" at #%.100s is no text", key, b->place);
	return cJSON_IsString(it) ? it->valuestring : NULL;
}

/* ---- types ---- */

bool gr_string_keys(struct gr_builder *b, const cJSON *s, struct gr_string_keys *k)
{
	const char *format = text_of(b, s, "format");

	k->min = count(b, s, "minLength", 0);
	k->max = count(b, s, "maxLength", UINT64_MAX);
	k->pattern = text_of(b, s, "pattern");
	if (format && !gr_format(format))
		gr_fail(b, -EOPNOTSUPP, "format \"%.60s\" at #%.100s is not supported", format,
			b->place);
	if (format && k->pattern)
		gr_fail(b, -EOPNOTSUPP, "a pattern beside a format at #%.100s is not supported",
			b->place);
	if (format)
		k->pattern = gr_format(format);
	return !b->ret && k->min <= k->max;
}

static void string(struct gr_builder *b, const cJSON *s, uint32_t from, uint32_t to)
{
	struct gr_string_keys k;

	if (!gr_string_keys(b, s, &k))
		return;
	if (k.pattern)
		gr_pattern(b, k.pattern, k.min, k.max, false, from, to);
	else
		gr_string(b, k.min, k.max, from, to);
}

/* The tighter of an inclusive and an exclusive bound; sign -1 for upper ones. */
static void bound(struct gr_builder *b, const cJSON *s, const char *closed, const char *open,
		  double sign, bool *has, bool *is_open, double *v)
{
	const cJSON *x = gr_get(b, s, closed), *y = gr_get(b, s, open);

	if (x && !cJSON_IsNumber(x))
		gr_fail(b, -EBADMSG, "\"%s\" at #%.100s is no number", closed, b->place);
	if (y && !cJSON_IsNumber(y))
		gr_fail(b, cJSON_IsBool(y) ? -EOPNOTSUPP : -EBADMSG,
			"\"%s\" at #%.100s is no number", open, b->place);
	*has = x || y;
	if (b->ret || !*has)
		return;
	*is_open = !x || (y && sign * y->valuedouble >= sign * x->valuedouble);
	*v = *is_open ? y->valuedouble : x->valuedouble;
}

static void number(struct gr_builder *b, const cJSON *s, bool integer, uint32_t from, uint32_t to)
{
	struct gr_bounds r = {0};

	bound(b, s, "minimum", "exclusiveMinimum", 1, &r.has_min, &r.open_min, &r.min);
	bound(b, s, "maximum", "exclusiveMaximum", -1, &r.has_max, &r.open_max, &r.max);
	if (!b->ret)
		gr_number(b, &r, integer, from, to);
}

static void array(struct gr_builder *b, const cJSON *s, uint32_t from, uint32_t to)
{
	const cJSON *items = gr_get(b, s, "items"), *prefix = gr_list_of(b, s, "prefixItems"), *it;
	const char *rest_key = "items", *prefix_key = "prefixItems";
	uint64_t min = count(b, s, "minItems", 0), max = count(b, s, "maxItems", UINT64_MAX);
	uint64_t fixed, n = 0;
	uint32_t at, before, rest = 0, close;
	size_t had;

	if (cJSON_IsArray(items)) { /* as drafts before 2020 had it */
		if (prefix)
			gr_refuse(b, "prefixItems");
		prefix = items;
		prefix_key = "items";
		rest_key = "additionalItems";
		items = gr_get(b, s, "additionalItems");
	} else if (gr_get(b, s, "additionalItems")) {
		gr_refuse(b, "additionalItems");
	}
	fixed = (uint64_t)cJSON_GetArraySize(prefix);
	if (cJSON_IsFalse(items) && max > fixed)
		max = fixed;
	if (b->ret || min > max)
		return;
	close = gr_state(b);
	gr_bytes(b, close, ']', ']', to);
	at = gr_space(b, gr_byte(b, from, '['));
	if (!min)
		gr_empty(b, at, close);
	/* Where an item begins: a state that the end of the list does not follow. */
	before = gr_state(b);
	gr_empty(b, at, before);
	if (max > fixed) {
		had = gr_enter(b, rest_key, NULL);
		rest = gr_rule_of(b, items ? items : &any_value);
		gr_leave(b, had);
	}
	it = prefix ? prefix->child : NULL;
	/* One by one as far as they differ or count, then a loop. */
	while (n < max && !b->ret) {
		bool loop = !it && max == UINT64_MAX && n + 1 >= min;
		uint32_t rule = rest, behind = gr_state(b), next;

		if (it) {
			had = gr_enter_index(b, prefix_key, n);
			rule = gr_rule_of(b, it);
			gr_leave(b, had);
			it = it->next;
		}
		gr_call(b, before, rule, behind);
		next = gr_space(b, gr_byte(b, behind, ','));
		n++;
		if (n >= min)
			gr_empty(b, gr_space(b, behind), close);
		if (loop) {
			gr_empty(b, next, before);
			break;
		}
		before = next;
	}
}

struct object {
	const cJSON *s;
	const char **names; /* those with a schema or required */
	size_t num, cap;
	uint32_t none, some; /* states: no member is written, one is; + 1, 0: cannot be */
};

/* Behind `from`: a member's colon and value. */
static uint32_t value(struct gr_builder *b, uint32_t from, uint32_t rule)
{
	uint32_t to = gr_state(b);

	gr_call(b, gr_space(b, gr_byte(b, from, ':')), rule, to);
	return to;
}

/* Where the next member's key begins: at once, or behind a comma. */
static uint32_t key_state(struct gr_builder *b, const struct object *o)
{
	uint32_t key = gr_state(b);

	if (o->none)
		gr_empty(b, o->none - 1, key);
	if (o->some)
		gr_empty(b, gr_space(b, gr_byte(b, o->some - 1, ',')), key);
	return key;
}

static void member(struct gr_builder *b, struct object *o, const char *name, uint32_t rule,
		   bool required)
{
	cJSON *text = cJSON_CreateString(name);
	char *json = text ? cJSON_PrintUnformatted(text) : NULL;
	uint32_t key = key_state(b, o), behind;

	cJSON_Delete(text);
	if (!json) {
		gr_fail(b, -ENOMEM, "out of memory");
		return;
	}
	behind = value(b, gr_text(b, key, json, strlen(json)), rule);
	cJSON_free(json);
	if (!required && o->some)
		gr_empty(b, o->some - 1, behind);
	if (required)
		o->none = 0;
	o->some = behind + 1;
}

bool gr_is_required(const cJSON *required, const char *name)
{
	const cJSON *it;

	cJSON_ArrayForEach(it, required)
	{
		if (cJSON_IsString(it) && !strcmp(it->valuestring, name))
			return true;
	}
	return false;
}

static void name(struct gr_builder *b, struct object *o, const char *text)
{
	if (llm_grow(&o->names, &o->cap, o->num + 1, sizeof(*o->names)))
		gr_fail(b, -ENOMEM, "out of memory");
	else
		o->names[o->num++] = text;
}

/* Members of any other name. */
static void others(struct gr_builder *b, struct object *o, uint32_t rule)
{
	uint32_t key = key_state(b, o), behind = gr_state(b), end;

	gr_other_key(b, o->names, o->num, key, behind);
	end = value(b, behind, rule);
	if (o->some)
		gr_empty(b, end, o->some - 1);
	else
		gr_empty(b, gr_space(b, gr_byte(b, end, ',')), key);
	if (!o->some)
		o->some = end + 1;
}

static void members(struct gr_builder *b, struct object *o, uint32_t from, uint32_t to)
{
	const cJSON *props = gr_get(b, o->s, "properties"), *it;
	const cJSON *required = gr_list_of(b, o->s, "required");
	const cJSON *more = gr_get(b, o->s, "additionalProperties");
	uint32_t close, rest = 0;
	bool open = more ? !cJSON_IsFalse(more) : !props;
	size_t had;

	if (props && !cJSON_IsObject(props))
		gr_fail(b, -EBADMSG, "\"properties\" at #%.100s is no object", b->place);
	if (b->ret)
		return;
	close = gr_state(b);
	gr_bytes(b, close, '}', '}', to);
	o->none = gr_space(b, gr_byte(b, from, '{')) + 1;
	had = gr_enter(b, "additionalProperties", NULL);
	/* Also of what is required and has no schema. */
	rest = gr_rule_of(b, more ? more : &any_value);
	gr_leave(b, had);
	cJSON_ArrayForEach(it, props)
	{
		uint32_t rule;

		if (b->ret)
			return;
		if (gr_get(b, props, it->string) != it)
			return;
		had = gr_enter(b, "properties", it->string);
		rule = gr_rule_of(b, it);
		gr_leave(b, had);
		name(b, o, it->string);
		member(b, o, it->string, rule, gr_is_required(required, it->string));
	}
	cJSON_ArrayForEach(it, required)
	{
		if (!cJSON_IsString(it))
			gr_fail(b, -EBADMSG, "\"required\" at #%.100s has no name", b->place);
		if (b->ret)
			return;
		/* Once, however often it stands there. */
		for (had = 0; had < o->num && strcmp(o->names[had], it->valuestring); had++)
			;
		if (had < o->num)
			continue;
		name(b, o, it->valuestring);
		member(b, o, it->valuestring, rest, true);
	}
	if (open && !b->ret)
		others(b, o, rest);
	if (o->none)
		gr_empty(b, o->none - 1, close);
	if (o->some)
		gr_empty(b, gr_space(b, o->some - 1), close);
}

static void object(struct gr_builder *b, const cJSON *s, uint32_t from, uint32_t to)
{
	struct object o = {.s = s};

	members(b, &o, from, to);
	free(o.names);
}

static void literal(struct gr_builder *b, const char *text, uint32_t from, uint32_t to)
{
	gr_empty(b, gr_text(b, from, text, strlen(text)), to);
}

static void of_types(struct gr_builder *b, const cJSON *s, unsigned int types, uint32_t from,
		     uint32_t to)
{
	if (types & GR_NULL)
		literal(b, "null", from, to);
	if (types & GR_BOOLEAN) {
		literal(b, "true", from, to);
		literal(b, "false", from, to);
	}
	if (types & GR_OBJECT)
		object(b, s, from, to);
	if (types & GR_ARRAY)
		array(b, s, from, to);
	if (types & (GR_NUMBER | GR_INTEGER))
		number(b, s, !(types & GR_NUMBER), from, to);
	if (types & GR_STRING)
		string(b, s, from, to);
}

/* ---- schemas ---- */

/* Numbers that were rounded when they were read would not be those of the schema. */
static bool has_rounded(const cJSON *v)
{
	const cJSON *it;

	if (cJSON_IsNumber(v) && fabs(v->valuedouble) >= 0x1p53)
		return true;
	cJSON_ArrayForEach(it, v)
	{
		if (has_rounded(it))
			return true;
	}
	return false;
}

static void one_value(struct gr_builder *b, const cJSON *v, uint32_t from, uint32_t to)
{
	char *json = cJSON_PrintUnformatted(v);

	if (has_rounded(v))
		gr_fail(b, -EOPNOTSUPP, "a value at #%.80s has a number of 2^53 or more", b->place);
	else if (!json)
		gr_fail(b, -ENOMEM, "out of memory");
	else
		literal(b, json, from, to);
	cJSON_free(json);
}

void gr_values_alone(struct gr_builder *b, const cJSON *s)
{
	const cJSON *list = gr_get(b, s, "enum"), *it;
	unsigned int about;

	cJSON_ArrayForEach(it, s)
	{
		if (gr_key(it->string, &about) != GR_KEY_NOTE && strcmp(it->string, "type") &&
		    strcmp(it->string, "nullable") && strcmp(it->string, list ? "enum" : "const"))
			gr_fail(b, -EOPNOTSUPP,
				"\"%.40s\" beside a list of values at #%.80s is not supported",
				it->string, b->place);
	}
}

static void values(struct gr_builder *b, const cJSON *s, uint32_t from, uint32_t to)
{
	const cJSON *list = gr_list_of(b, s, "enum"), *only = gr_get(b, s, "const"), *it;
	unsigned int types = gr_types(b, s);

	gr_values_alone(b, s);
	if (only && gr_type_of_value(only) & types)
		one_value(b, only, from, to);
	cJSON_ArrayForEach(it, list)
	{
		if (gr_type_of_value(it) & types && !b->ret)
			one_value(b, it, from, to);
	}
}

/* A copy of the schema without one keyword, if that leaves anything; else NULL. */
static const cJSON *without(struct gr_builder *b, const cJSON *s, const char *key)
{
	cJSON *rest;

	if (!gr_has_others(s, key))
		return NULL;
	rest = gr_keep(b, cJSON_Duplicate(s, true));
	cJSON_DeleteItemFromObjectCaseSensitive(rest, key);
	return rest;
}

/* Puts `part` to what there is; every allOf in it is opened, too. */
static const cJSON *merge_in(struct gr_builder *b, const cJSON *sum, const cJSON *part)
{
	const cJSON *all, *rest, *it;

	if (++b->depth > NESTED_MAX)
		gr_fail(b, -EFBIG, "the schema at #%.100s nests too deep", b->place);
	part = gr_resolve(b, part);
	all = b->ret || !cJSON_IsObject(part) ? NULL : gr_list_of(b, part, "allOf");
	if (b->ret || !part) {
		b->depth--;
		return NULL;
	}
	if (!cJSON_IsObject(part) && !cJSON_IsBool(part))
		gr_fail(b, -EBADMSG, "#%.100s is no schema", b->place);
	if (!all) {
		sum = sum ? gr_merge(b, sum, part) : part;
	} else {
		rest = without(b, part, "allOf");
		if (rest)
			sum = sum ? gr_merge(b, sum, rest) : rest;
		cJSON_ArrayForEach(it, all)
		{
			if (!b->ret)
				sum = merge_in(b, sum, it);
		}
	}
	b->depth--;
	return sum;
}

static void any_of(struct gr_builder *b, const cJSON *s, const char *key, uint32_t from,
		   uint32_t to)
{
	const cJSON *list = gr_list_of(b, s, key), *rest = without(b, s, key), *it;
	size_t i = 0;

	cJSON_ArrayForEach(it, list)
	{
		size_t had = gr_enter_index(b, key, i++);

		if (b->ret)
			return;
		if (!rest) {
			gr_call(b, from, gr_rule_of(b, it), to);
		} else {
			const cJSON *both = merge_in(b, merge_in(b, NULL, rest), it);

			if (both)
				compile(b, both, from, to);
		}
		gr_leave(b, had);
	}
}

static void keywords(struct gr_builder *b, const cJSON *s, uint32_t from, uint32_t to)
{
	const cJSON *it;
	unsigned int types;

	cJSON_ArrayForEach(it, s)
	{
		if (gr_key(it->string, &types) == GR_KEY_UNKNOWN) {
			gr_refuse(b, it->string);
			return;
		}
	}
	if (gr_get(b, s, "allOf")) {
		const cJSON *sum = merge_in(b, NULL, s);

		if (sum && !b->ret)
			compile(b, sum, from, to);
	} else if (gr_get(b, s, "anyOf")) {
		any_of(b, s, "anyOf", from, to);
	} else if (gr_get(b, s, "oneOf")) {
		any_of(b, s, "oneOf", from, to);
	} else if (gr_get(b, s, "enum") || gr_get(b, s, "const")) {
		values(b, s, from, to);
	} else {
		types = gr_types(b, s);
		if (!b->ret)
			of_types(b, s, types, from, to);
	}
}

static void compile(struct gr_builder *b, const cJSON *schema, uint32_t from, uint32_t to)
{
	if (++b->depth > NESTED_MAX)
		gr_fail(b, -EFBIG, "the schema at #%.100s nests too deep", b->place);
	else if (cJSON_IsTrue(schema))
		gr_call(b, from, b->any - 1, to);
	else if (cJSON_IsObject(schema))
		keywords(b, schema, from, to);
	else if (!cJSON_IsFalse(schema))
		gr_fail(b, -EBADMSG, "#%.100s is no schema", b->place);
	b->depth--;
}

/* The rule of any JSON value, which members without a schema have. */
static void make_any(struct gr_builder *b)
{
	static const cJSON empty = {.type = cJSON_Object};
	uint32_t rule = gr_rule(b), end = gr_state(b);

	if (b->ret)
		return;
	b->any = rule + 1;
	b->g->states[end].final = true;
	keywords(b, &empty, b->g->rules[rule].start, end);
}

static bool is_utf8(const char *text, size_t len)
{
	const char *p = text, *end = text + len;

	while (p < end) {
		size_t n = utf8_len((const unsigned char *)p, (const unsigned char *)end);

		if (!n)
			return false;
		p += n;
	}
	return true;
}

static void builder_free(struct gr_builder *b)
{
	for (size_t i = 0; i < b->num_made; i++)
		cJSON_Delete(b->made[i]);
	free(b->made);
	free(b->known);
}

cJSON *gr_parse(const char *what, const char *text, size_t len, struct zw_error *err, int *ret)
{
	cJSON *root = NULL;
	char *copy;

	*ret = 0;
	if (len > SCHEMA_MAX)
		*ret = llm_fail(err, -EFBIG, "%s: %zu bytes", what, len);
	/* cJSON ends a text at such a character. */
	else if (!is_utf8(text, len) || memmem(text, len, "\\u0000", 6))
		*ret = llm_fail(err, -EBADMSG, "%s: not UTF-8, or with \\u0000", what);
	copy = *ret ? NULL : malloc(len + 1);
	if (!copy)
		*ret = *ret ? *ret : llm_fail(err, -ENOMEM, "out of memory");
	if (*ret)
		return NULL;
	memcpy(copy, text, len);
	copy[len] = '\0';
	*ret = llm_json_parse(what, copy, len, &root, err);
	free(copy);
	return root;
}

int gr_begin(struct gr_builder *b, uint32_t flags, struct zw_error *err)
{
	*b = (struct gr_builder){.err = err, .flags = flags, .g = calloc(1, sizeof(*b->g))};
	if (!b->g)
		return b->ret = llm_fail(err, -ENOMEM, "out of memory");
	make_any(b);
	if (!b->ret)
		return 0;
	builder_free(b);
	zw_grammar_close(b->g);
	return b->ret;
}

int gr_end(struct gr_builder *b, struct zw_grammar **out)
{
	gr_finish(b);
	builder_free(b);
	if (b->ret)
		zw_grammar_close(b->g);
	else
		*out = b->g;
	return b->ret;
}

int zw_grammar_open_schema(const char *schema, size_t len, uint32_t flags, struct zw_grammar **out,
			   struct zw_error *err)
{
	struct gr_builder b;
	cJSON *root;
	int ret;

	if (!schema || !out || (flags & ~ZW_GRAMMAR_COMPACT))
		return llm_fail(err, -EINVAL, "zw_grammar_open_schema: bad argument");
	root = gr_parse("JSON schema", schema, len, err, &ret);
	if (!ret)
		ret = gr_begin(&b, flags, err);
	if (!ret) {
		b.root = root;
		b.g->root = gr_rule_of(&b, root);
		ret = gr_end(&b, out);
	}
	cJSON_Delete(root);
	return ret;
}

void zw_grammar_close(struct zw_grammar *g)
{
	if (!g)
		return;
	for (size_t i = 0; i < g->num_rules; i++)
		free(g->rules[i].place);
	free(g->rules);
	free(g->edges);
	free(g->states);
	free(g);
}

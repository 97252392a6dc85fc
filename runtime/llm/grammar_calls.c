// SPDX-License-Identifier: MIT
/* Calls of tools: a name of the list, and arguments as that tool's schema has them. */
#include "grammar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

uint32_t gr_newline(struct gr_builder *b, uint32_t from)
{
	uint32_t to = gr_byte(b, from, '\n');

	gr_empty(b, from, to);
	return to;
}

/* An object of the list of tools. */
struct tool {
	const char *name;
	const cJSON *parameters; /* a schema */
};

/* False after a failure. What $ref refer to is that tool's then. */
static bool read_tool(struct gr_builder *b, const cJSON *it, struct tool *t)
{
	static const char empty[] = "{\"type\":\"object\",\"additionalProperties\":false}";
	const cJSON *f = cJSON_IsObject(it) ? gr_get(b, it, "function") : NULL, *name;

	f = f ? f : it;
	name = cJSON_IsObject(f) ? gr_get(b, f, "name") : NULL;
	t->parameters = cJSON_IsObject(f) ? gr_get(b, f, "parameters") : NULL;
	if (!cJSON_IsString(name)) {
		gr_fail(b, -EBADMSG, "the tool at #%.100s has no name", b->place);
		return false;
	}
	t->name = name->valuestring;
	if (!t->parameters)
		t->parameters = gr_keep(b, cJSON_Parse(empty));
	if (!t->parameters)
		gr_fail(b, -ENOMEM, "out of memory");
	b->root = t->parameters;
	return !b->ret;
}

/* A call of any of the tools, between two states. */
static void each_tool(struct gr_builder *b, const cJSON *tools,
		      void (*call)(struct gr_builder *b, const struct tool *t, uint32_t from,
				   uint32_t to),
		      uint32_t from, uint32_t to)
{
	const cJSON *it;
	size_t i = 0;

	if (!cJSON_IsArray(tools))
		gr_fail(b, -EBADMSG, "the tools are no list");
	cJSON_ArrayForEach(it, tools)
	{
		size_t had = gr_enter_index(b, NULL, i++);
		struct tool t;

		if (read_tool(b, it, &t))
			call(b, &t, from, to);
		gr_leave(b, had);
	}
}

/* ---- as JSON ---- */

static void json_call(struct gr_builder *b, const struct tool *t, uint32_t from, uint32_t to)
{
	cJSON *name = cJSON_CreateString(t->name);
	char *json = name ? cJSON_PrintUnformatted(name) : NULL;
	uint32_t at, end;

	cJSON_Delete(name);
	if (!json) {
		gr_fail(b, -ENOMEM, "out of memory");
		return;
	}
	at = gr_space(b, gr_text(b, gr_space(b, gr_byte(b, from, '{')), "\"name\":", 7));
	at = gr_space(b, gr_byte(b, gr_text(b, at, json, strlen(json)), ','));
	at = gr_space(b, gr_text(b, at, "\"arguments\":", 12));
	cJSON_free(json);
	end = gr_state(b);
	gr_call(b, at, gr_rule_of(b, t->parameters), end);
	gr_empty(b, gr_byte(b, gr_space(b, end), '}'), to);
}

void gr_json_calls(struct gr_builder *b, const cJSON *tools, uint32_t from, uint32_t to)
{
	uint32_t call = gr_newline(b, from), behind = gr_state(b);

	each_tool(b, tools, json_call, call, behind);
	gr_empty(b, gr_newline(b, behind), to);
}

/* ---- between tags ---- */

static const char value_end[] = "</parameter>";

static uint32_t word(struct gr_builder *b, uint32_t from, const char *text)
{
	return gr_text(b, from, text, strlen(text));
}

/* NAME> as the parser reads it. */
static uint32_t tag_name(struct gr_builder *b, uint32_t from, const char *name)
{
	size_t n = strlen(name);

	if (!n || strpbrk(name, ">\n\r") || name[0] == ' ' || name[n - 1] == ' ')
		gr_fail(b, -EOPNOTSUPP, "\"%.60s\" at #%.100s cannot stand in a tag", name,
			b->place);
	return gr_byte(b, word(b, from, name), '>');
}

static bool has(struct gr_builder *b, const cJSON *schema, const char *key)
{
	return gr_get(b, schema, key);
}

/* One of the texts of enum, or the one of const. */
static void chosen_text(struct gr_builder *b, const cJSON *s, uint32_t from, uint32_t to)
{
	const cJSON *list = gr_list_of(b, s, "enum"), *only = gr_get(b, s, "const"), *it;

	gr_values_alone(b, s);
	for (it = list ? list->child : only; it; it = list ? it->next : NULL) {
		if (!cJSON_IsString(it))
			continue;
		if (strstr(it->valuestring, value_end))
			gr_fail(b, -EOPNOTSUPP, "a value at #%.80s has %s in it", b->place,
				value_end);
		gr_empty(b, word(b, from, it->valuestring), to);
	}
}

/* What may stand beside a type of text, and what is of other types. */
static void check_text(struct gr_builder *b, const cJSON *s)
{
	const cJSON *it;
	unsigned int about;

	cJSON_ArrayForEach(it, s)
	{
		enum gr_key_kind kind = gr_key(it->string, &about);

		if (kind == GR_KEY_UNKNOWN || (kind == GR_KEY_WHOLE && strcmp(it->string, "type") &&
					       strcmp(it->string, "nullable")))
			gr_refuse(b, it->string);
	}
}

/* A text, behind the tag that opens it and up to that which closes it. */
static void text_value(struct gr_builder *b, const cJSON *s, uint32_t from, uint32_t to)
{
	struct gr_tag end = {value_end, to};
	struct gr_string_keys k;
	uint32_t text, behind;

	if (cJSON_IsObject(s) && !has(b, s, "enum") && !has(b, s, "const")) {
		check_text(b, s);
		if (!gr_string_keys(b, s, &k))
			return;
	} else {
		k = (struct gr_string_keys){.max = UINT64_MAX};
	}
	if (cJSON_IsObject(s) && (has(b, s, "enum") || has(b, s, "const"))) {
		behind = gr_state(b);
		chosen_text(b, s, gr_byte(b, from, '\n'), behind);
	} else if (k.pattern || k.min || k.max != UINT64_MAX) {
		behind = gr_state(b);
		/* Of any characters: so many. */
		gr_pattern(b, k.pattern ? k.pattern : "^(.|\\n)*$", k.min, k.max, true,
			   gr_byte(b, from, '\n'), behind);
	} else {
		text = gr_state(b);
		gr_empty(b, from, text);
		gr_text_to_tags(b, text,
				&(struct gr_text){.text = text, .again = GR_NEVER, .utf8 = true},
				&end, 1);
		return;
	}
	gr_empty(b, word(b, gr_byte(b, behind, '\n'), value_end), to);
}

/* Whether the parser takes it for a text: see chat_call.c. */
static bool is_text(struct gr_builder *b, const cJSON *s)
{
	static const char *const json[] = {"anyOf", "oneOf", "allOf", "$ref"};
	const cJSON *type = cJSON_IsObject(s) ? gr_get(b, s, "type") : NULL, *it;
	const cJSON *values;

	if (!cJSON_IsObject(s))
		return true;
	if (cJSON_IsArray(type)) {
		cJSON_ArrayForEach(it, type)
		{
			if (cJSON_IsString(it) && !strcmp(it->valuestring, "string"))
				return true;
		}
		return false;
	}
	if (type)
		return cJSON_IsString(type) && !strcmp(type->valuestring, "string");
	for (size_t i = 0; i < ZW_ARRAY_SIZE(json); i++) {
		if (has(b, s, json[i]))
			return false;
	}
	values = gr_get(b, s, "enum");
	for (it = values ? values->child : gr_get(b, s, "const"); it;
	     it = values ? it->next : NULL) {
		if (cJSON_IsString(it))
			return true;
	}
	return !values && !has(b, s, "const");
}

static uint32_t parameter(struct gr_builder *b, const char *name, const cJSON *s, uint32_t from)
{
	uint32_t at = tag_name(b, word(b, from, "<parameter="), name), end = gr_state(b), behind;

	if (is_text(b, s)) {
		text_value(b, s, at, end);
	} else {
		behind = gr_state(b);
		gr_call(b, gr_byte(b, at, '\n'), gr_rule_of(b, s), behind);
		gr_empty(b, word(b, gr_byte(b, behind, '\n'), value_end), end);
	}
	return gr_newline(b, end);
}

/* The schema of all parameters: an object of which nothing is asked but names and their schemas. */
static const cJSON *named(struct gr_builder *b, const cJSON *schema)
{
	static const char *const known[] = {"type", "properties", "required",
					    "additionalProperties"};
	const cJSON *s = gr_resolve(b, schema), *it;
	unsigned int about;

	if (!b->ret && !cJSON_IsObject(s))
		gr_fail(b, -EBADMSG, "#%.100s is no object's schema", b->place);
	if (b->ret)
		return NULL;
	cJSON_ArrayForEach(it, s)
	{
		bool fine = gr_key(it->string, &about) == GR_KEY_NOTE;

		for (size_t i = 0; i < ZW_ARRAY_SIZE(known); i++)
			fine |= !strcmp(it->string, known[i]);
		if (!fine)
			gr_refuse(b, it->string);
	}
	if (!b->ret && !(gr_types(b, s) & GR_OBJECT))
		gr_fail(b, -EBADMSG, "#%.100s is no object's schema", b->place);
	return b->ret ? NULL : s;
}

static void xml_call(struct gr_builder *b, const struct tool *t, uint32_t from, uint32_t to)
{
	uint32_t at = gr_newline(b, tag_name(b, from, t->name)), next;
	const cJSON *s = named(b, t->parameters), *props, *required, *it;

	if (!s)
		return;
	props = gr_get(b, s, "properties");
	required = gr_list_of(b, s, "required");
	if (props && !cJSON_IsObject(props))
		gr_fail(b, -EBADMSG, "\"properties\" at #%.100s is no object", b->place);
	if (b->ret)
		return;
	cJSON_ArrayForEach(it, props)
	{
		size_t had = gr_enter(b, "properties", it->string);

		next = parameter(b, it->string, it, at);
		if (!gr_is_required(required, it->string))
			gr_empty(b, at, next);
		at = next;
		gr_leave(b, had);
	}
	/* Those that are asked for and not described. */
	cJSON_ArrayForEach(it, required)
	{
		if (cJSON_IsString(it) && !(props && gr_get(b, props, it->valuestring)))
			at = parameter(b, it->valuestring, NULL, at);
	}
	gr_empty(b, word(b, at, "</function>"), to);
}

void gr_xml_calls(struct gr_builder *b, const cJSON *tools, uint32_t from, uint32_t to)
{
	each_tool(b, tools, xml_call, from, to);
}

int zw_grammar_open_tool_calls(const char *tools, size_t len, uint32_t flags,
			       struct zw_grammar **out, struct zw_error *err)
{
	struct gr_builder b;
	uint32_t end;
	cJSON *root;
	int ret;

	if (!tools || !out || (flags & ~ZW_GRAMMAR_COMPACT))
		return llm_fail(err, -EINVAL, "zw_grammar_open_tool_calls: bad argument");
	root = gr_parse("tools", tools, len, err, &ret);
	if (!ret)
		ret = gr_begin(&b, flags, err);
	if (!ret) {
		b.g->root = gr_rule(&b);
		end = gr_state(&b);
		if (!b.ret)
			b.g->states[end].final = true;
		gr_json_calls(&b, root, b.ret ? 0 : b.g->rules[b.g->root].start, end);
		ret = gr_end(&b, out);
	}
	cJSON_Delete(root);
	return ret;
}

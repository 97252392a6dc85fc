// SPDX-License-Identifier: MIT
/* Chat templates: where they are found, and the variables they see. */
#include <zhenwu/llm_chat.h>

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jinja.h"

#define FILE_MAX      (16u << 20)
#define TEMPLATES_MAX 64

struct named_template {
	char *name;
	struct jinja jinja;
};

struct zw_chat_template {
	struct named_template *t;
	size_t n;
	char *tokens; /* JSON object: the special tokens by name */
};

/* ---- reading ---- */

static int add(struct zw_chat_template *t, const char *name, const char *text, size_t len,
	       struct zw_error *err)
{
	struct named_template *p;
	struct zw_error why = {""};
	int ret;

	if (t->n == TEMPLATES_MAX)
		return llm_fail(err, -EFBIG, "more than %d chat templates", TEMPLATES_MAX);
	p = realloc(t->t, (t->n + 1) * sizeof(*p));
	if (!p)
		return llm_fail(err, -ENOMEM, "out of memory");
	t->t = p;
	p += t->n;
	*p = (struct named_template){.name = strdup(name)};
	if (!p->name)
		return llm_fail(err, -ENOMEM, "out of memory");
	ret = jinja_parse(text, len, &p->jinja, &why);
	if (ret) {
		free(p->name);
		return strcmp(name, "default") ? llm_fail(err, ret, "%.40s: %s", name, why.msg)
					       : llm_fail(err, ret, "%s", why.msg);
	}
	t->n++;
	return 0;
}

static int load_file(struct zw_chat_template *t, const char *path, const char *name,
		     struct zw_error *err)
{
	char *text;
	size_t len;
	int ret = llm_file_read(path, FILE_MAX, &text, &len, err);

	if (ret)
		return ret;
	ret = add(t, name, text, len, err);
	free(text);
	return ret;
}

/* additional_chat_templates/NAME.jinja */
static int load_additional(struct zw_chat_template *t, const char *dir, struct zw_error *err)
{
	char *sub = llm_path_join(dir, "additional_chat_templates"), *path;
	struct dirent *e;
	int ret = sub ? 0 : llm_fail(err, -ENOMEM, "out of memory");
	DIR *d = sub ? opendir(sub) : NULL;

	while (d && !ret && (e = readdir(d))) {
		size_t n = strlen(e->d_name);

		if (n < 7 || strcmp(e->d_name + n - 6, ".jinja"))
			continue;
		path = llm_path_join(sub, e->d_name);
		e->d_name[n - 6] = '\0';
		ret = path ? load_file(t, path, e->d_name, err)
			   : llm_fail(err, -ENOMEM, "out of memory");
		free(path);
	}
	if (d)
		closedir(d);
	free(sub);
	return ret;
}

/* "chat_template" of a JSON file: a text, or a list of named ones. */
static int load_json(struct zw_chat_template *t, const char *path, const cJSON *json,
		     struct zw_error *err)
{
	const cJSON *v, *it, *name, *text;
	int ret = llm_json_member(path, json, "chat_template", &v, err);

	if (ret || !v)
		return ret;
	if (cJSON_IsString(v))
		return add(t, "default", v->valuestring, strlen(v->valuestring), err);
	if (!cJSON_IsArray(v))
		return llm_fail(err, -EBADMSG, "%s: chat_template is not a text", path);
	for (it = v->child; it && !ret; it = it->next) {
		name = cJSON_GetObjectItemCaseSensitive(it, "name");
		text = cJSON_GetObjectItemCaseSensitive(it, "template");
		if (!cJSON_IsString(name) || !cJSON_IsString(text))
			return llm_fail(err, -EBADMSG,
					"%s: chat_template: not a name and a template", path);
		ret = add(t, name->valuestring, text->valuestring, strlen(text->valuestring), err);
	}
	return ret;
}

/* bos_token and the like, as texts; those of the map stand where the configuration has none. */
static void note_tokens(const cJSON *json, cJSON *tokens)
{
	static const char *const names[] = {"bos_token", "eos_token", "unk_token", "sep_token",
					    "pad_token", "cls_token", "mask_token"};

	for (size_t i = 0; i < ZW_ARRAY_SIZE(names); i++) {
		const cJSON *v = cJSON_GetObjectItemCaseSensitive(json, names[i]);

		if (cJSON_IsObject(v))
			v = cJSON_GetObjectItemCaseSensitive(v, "content");
		if (cJSON_IsString(v) && !cJSON_GetObjectItemCaseSensitive(tokens, names[i]))
			cJSON_AddStringToObject(tokens, names[i], v->valuestring);
	}
}

/* An optional JSON file of the folder; *json is NULL when it is not there. */
static int read_optional(const char *dir, const char *name, char **path, cJSON **json,
			 struct zw_error *err)
{
	*json = NULL;
	*path = llm_path_join(dir, name);
	if (!*path)
		return llm_fail(err, -ENOMEM, "out of memory");
	return access(*path, F_OK) ? 0 : llm_json_load(*path, FILE_MAX, json, err);
}

static int load(struct zw_chat_template *t, const char *dir, cJSON *tokens, struct zw_error *err)
{
	static const char *const files[] = {"tokenizer_config.json", "special_tokens_map.json",
					    "chat_template.json"};
	char *path = llm_path_join(dir, "chat_template.jinja");
	int ret = path ? 0 : llm_fail(err, -ENOMEM, "out of memory");
	cJSON *json;

	if (!ret && !access(path, F_OK)) {
		ret = load_file(t, path, "default", err);
		if (!ret)
			ret = load_additional(t, dir, err);
	}
	free(path);
	for (size_t i = 0; i < ZW_ARRAY_SIZE(files) && !ret; i++) {
		ret = read_optional(dir, files[i], &path, &json, err);
		if (!ret)
			note_tokens(json, tokens);
		if (!ret && json && !t->n && i != 1)
			ret = load_json(t, path, json, err);
		cJSON_Delete(json);
		free(path);
	}
	return ret;
}

int zw_chat_template_open(const char *dir, struct zw_chat_template **out, struct zw_error *err)
{
	struct zw_chat_template *t = calloc(1, sizeof(*t));
	cJSON *tokens = cJSON_CreateObject();
	int ret = t && tokens ? 0 : llm_fail(err, -ENOMEM, "out of memory");

	if (!ret)
		ret = load(t, dir, tokens, err);
	if (!ret && !t->n)
		ret = llm_fail(err, -ENOENT, "%s: no chat template", dir);
	if (!ret && !(t->tokens = cJSON_PrintUnformatted(tokens)))
		ret = llm_fail(err, -ENOMEM, "out of memory");
	cJSON_Delete(tokens);
	if (ret)
		zw_chat_template_close(t);
	else
		*out = t;
	return ret;
}

int zw_chat_template_parse(const char *text, size_t len, struct zw_chat_template **out,
			   struct zw_error *err)
{
	struct zw_chat_template *t;
	int ret;

	if (!text || !out)
		return llm_fail(err, -EINVAL, "zw_chat_template_parse: bad argument");
	t = calloc(1, sizeof(*t));
	ret = t ? add(t, "default", text, len, err) : llm_fail(err, -ENOMEM, "out of memory");
	if (ret)
		zw_chat_template_close(t);
	else
		*out = t;
	return ret;
}

void zw_chat_template_close(struct zw_chat_template *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n; i++) {
		jinja_free(&t->t[i].jinja);
		free(t->t[i].name);
	}
	free(t->t);
	cJSON_free(t->tokens);
	free(t);
}

/* ---- applying ---- */

static const struct jinja *find(const struct zw_chat_template *t, const char *name)
{
	for (size_t i = 0; i < t->n; i++) {
		if (!strcmp(t->t[i].name, name))
			return &t->t[i].jinja;
	}
	return NULL;
}

/* A variable from JSON, or none. */
static int set_json(struct jctx *c, const char *name, const char *json, struct jval *v)
{
	int ret = 0;

	*v = jnone();
	if (json)
		ret = jjson_parse(c, name, json, strlen(json), v);
	return ret ? ret : jdict_set_str(c, c->globals.u.d, name, *v);
}

/* All members of an object become variables. */
static int set_members(struct jctx *c, const char *name, const char *json)
{
	struct jval v;
	int ret = json ? jjson_parse(c, name, json, strlen(json), &v) : 0;

	if (ret || !json)
		return ret;
	if (v.t != J_DICT)
		return jfail(c, -EBADMSG, "%s: not an object", name);
	for (size_t i = 0; i < v.u.d->n && !ret; i++)
		ret = jdict_set(c, c->globals.u.d, v.u.d->p[i].k, v.u.d->p[i].v);
	return ret;
}

static int check_messages(struct jctx *c, const struct jval *v)
{
	if (v->t != J_LIST)
		return jfail(c, -EBADMSG, "messages: not a list");
	for (size_t i = 0; i < v->u.l->n; i++) {
		const struct jval *role = NULL;

		if (v->u.l->v[i].t == J_DICT)
			role = jdict_find(v->u.l->v[i].u.d, "role", 4);
		if (!role || role->t != J_STRING)
			return jfail(c, -EBADMSG, "messages: element %zu has no role", i);
	}
	return 0;
}

static int set_variables(struct jctx *c, const struct zw_chat_template *t,
			 const struct zw_chat_input *in, bool *tools)
{
	struct jval v;
	int ret = jdict_new(c, J_DICT, &c->globals);

	if (!ret)
		ret = set_members(c, "special tokens", t->tokens);
	if (!ret)
		ret = set_json(c, "messages", in->messages, &v);
	if (!ret)
		ret = check_messages(c, &v);
	if (!ret)
		ret = set_json(c, "tools", in->tools, &v);
	if (!ret && v.t != J_NONE && v.t != J_LIST)
		ret = jfail(c, -EBADMSG, "tools: not a list");
	*tools = !ret && v.t == J_LIST && v.u.l->n;
	if (!ret)
		ret = set_json(c, "documents", NULL, &v);
	if (!ret)
		ret = jdict_set_str(c, c->globals.u.d, "add_generation_prompt",
				    jbool(in->flags & ZW_CHAT_GENERATION_PROMPT));
	if (!ret && in->flags & (ZW_CHAT_THINKING | ZW_CHAT_NO_THINKING))
		ret = jdict_set_str(c, c->globals.u.d, "enable_thinking",
				    jbool(in->flags & ZW_CHAT_THINKING));
	return ret ? ret : set_members(c, "kwargs", in->kwargs);
}

#define INPUT_FIRST SIZED_V0(struct zw_chat_input, now)

int zw_chat_template_apply(const struct zw_chat_template *t, const struct zw_chat_input *input,
			   char **text, size_t *len, struct zw_error *err)
{
	struct zw_error local;
	struct jctx c = {.arena.max = JINJA_MEMORY_MAX, .err = err ? err : &local};
	const struct jinja *j = NULL;
	struct zw_chat_input in;
	struct jbuf out = {0};
	bool tools;
	int ret;

	if (!t || !input || !text || !len)
		return llm_fail(err, -EINVAL, "zw_chat_template_apply: bad argument");
	ret = sized_in(&in, sizeof(in), INPUT_FIRST, input);
	if (ret || !in.messages || (in.flags & ~7u) ||
	    (in.flags & ZW_CHAT_THINKING && in.flags & ZW_CHAT_NO_THINKING))
		return llm_fail(err, ret ? ret : -EINVAL, "zw_chat_template_apply: bad argument");
	c.now = in.now;
	ret = set_variables(&c, t, &in, &tools);
	if (!ret && !in.name && tools)
		j = find(t, "tool_use");
	if (!ret && !j)
		j = find(t, in.name ? in.name : "default");
	if (!ret && !j)
		ret = llm_fail(err, -ENOENT, "no chat template %.80s",
			       in.name ? in.name : "default");
	if (!ret)
		ret = jinja_render(j, &c, &out);
	jarena_free(&c.arena);
	if (ret) {
		free(out.p);
		return ret;
	}
	*text = out.p;
	*len = out.len;
	return 0;
}

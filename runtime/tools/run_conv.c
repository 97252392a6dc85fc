// SPDX-License-Identifier: MIT
#include "run_conv.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run_text.h"

int conv_begin(struct conv *c)
{
	cJSON_Delete(c->messages);
	free(c->rendered);
	c->messages = cJSON_CreateArray();
	c->rendered = NULL;
	c->len = c->rendered_len = c->num_ids = 0;
	if (!c->messages)
		return -ENOMEM;
	return c->system ? conv_add(c, "system", c->system, strlen(c->system)) : 0;
}

void conv_free(struct conv *c)
{
	cJSON_Delete(c->messages);
	free(c->text);
	free(c->rendered);
	free(c->ids);
}

int conv_add(struct conv *c, const char *role, const char *text, size_t len)
{
	cJSON *m = cJSON_CreateObject();
	char *clean = run_text_clean(text, len);
	bool ok = m && clean && cJSON_AddStringToObject(m, "role", role) &&
		  cJSON_AddStringToObject(m, "content", clean) &&
		  cJSON_AddItemToArray(c->messages, m);

	free(clean);
	if (!ok)
		cJSON_Delete(m);
	return ok ? 0 : -ENOMEM;
}

int conv_add_answer(struct conv *c, const char *text, const char *reasoning, cJSON *calls)
{
	cJSON *m = cJSON_CreateObject(),
	      *list = calls ? cJSON_AddArrayToObject(m, "tool_calls") : NULL;
	bool ok = m && cJSON_AddStringToObject(m, "role", "assistant") &&
		  cJSON_AddStringToObject(m, "content", text) &&
		  (!*reasoning || cJSON_AddStringToObject(m, "reasoning_content", reasoning));

	while (ok && calls && calls->child) {
		cJSON *call = cJSON_CreateObject();

		ok = call && cJSON_AddStringToObject(call, "type", "function") &&
		     cJSON_AddItemToObject(call, "function", cJSON_DetachItemFromArray(calls, 0)) &&
		     cJSON_AddItemToArray(list, call);
	}
	ok = ok && cJSON_AddItemToArray(c->messages, m);
	if (!ok)
		cJSON_Delete(m);
	cJSON_Delete(calls);
	return ok ? 0 : -ENOMEM;
}

static int grow(void **p, size_t *cap, size_t need, size_t elem)
{
	size_t want = *cap ? *cap : 256;
	void *q;

	while (want < need)
		want *= 2;
	if (want == *cap)
		return 0;
	q = realloc(*p, want * elem);
	if (!q)
		return -ENOMEM;
	*p = q;
	*cap = want;
	return 0;
}

static int add_text(struct conv *c, const char *text, size_t len)
{
	if (grow((void **)&c->text, &c->cap, c->len + len + 1, 1))
		return -ENOMEM;
	memcpy(c->text + c->len, text, len);
	c->len += len;
	return 0;
}

static int add_id(struct conv *c, uint32_t id)
{
	if (grow((void **)&c->ids, &c->cap_ids, c->num_ids + 1, sizeof(id)))
		return -ENOMEM;
	c->ids[c->num_ids++] = id;
	return 0;
}

int conv_add_token(struct conv *c, uint32_t id)
{
	const char *bytes = "";
	size_t len = 0;
	int ret = add_id(c, id);

	zw_tokenizer_token(c->tok, id, &bytes, &len, NULL);
	return ret ? ret : add_text(c, bytes, len);
}

/* Text that follows what stands in the context. */
static int append(struct conv *c, const char *text, size_t len, struct zw_error *err)
{
	uint32_t *ids;
	size_t n;
	int ret = zw_tokenizer_encode(c->tok, text, len, ZW_ENCODE_NO_TEMPLATE, &ids, &n, err);

	if (ret)
		return ret;
	ret = add_text(c, text, len);
	for (size_t i = 0; i < n && !ret; i++)
		ret = add_id(c, ids[i]);
	free(ids);
	if (ret)
		snprintf(err->msg, sizeof(err->msg), "out of memory");
	return ret;
}

/* All of it anew; how many tokens are as they were. */
static int rebuild(struct conv *c, const char *text, size_t len, size_t *keep, struct zw_error *err)
{
	uint32_t *old = c->ids;
	size_t num_old = c->num_ids;
	int ret;

	c->ids = NULL;
	c->num_ids = c->cap_ids = c->len = 0;
	ret = append(c, text, len, err);
	for (*keep = 0; !ret && *keep < num_old && *keep < c->num_ids; (*keep)++) {
		if (old[*keep] != c->ids[*keep])
			break;
	}
	free(old);
	return ret;
}

static int apply(struct conv *c, const char *messages, uint32_t flags, char **text, size_t *len,
		 struct zw_error *err)
{
	struct zw_chat_input in = {.size = sizeof(in),
				   .flags = c->flags | flags,
				   .messages = messages,
				   .tools = c->tools};

	return zw_chat_template_apply(c->tmpl, &in, text, len, err);
}

static bool starts(const char *text, size_t len, const char *head, size_t head_len)
{
	return len >= head_len && !memcmp(text, head, head_len);
}

/* The messages up to the last answer, as JSON; NULL when there is none. */
static char *up_to_answer(const struct conv *c)
{
	int n = cJSON_GetArraySize(c->messages);
	cJSON *copy, *last;
	char *json;

	while (n > 0) {
		last = cJSON_GetArrayItem(c->messages, n - 1);
		if (!strcmp(cJSON_GetObjectItem(last, "role")->valuestring, "assistant"))
			break;
		n--;
	}
	copy = n ? cJSON_CreateArray() : NULL;
	for (int i = 0; copy && i < n; i++)
		cJSON_AddItemReferenceToArray(copy, cJSON_GetArrayItem(c->messages, i));
	json = copy ? cJSON_PrintUnformatted(copy) : NULL;
	cJSON_Delete(copy);
	return json;
}

/*
 * The answer stands in the context as it was written, and the template would write it otherwise (white space
 * in a call). What follows it is the same: the end of the turn, which is what the text up to the answer
 * ends with, and all behind that. Its place in `text`, or 0.
 */
static size_t behind_answer(struct conv *c, const char *text, size_t len)
{
	static const char end_of_turn[] = "<|im_end|>";
	char *json = up_to_answer(c), *upto = NULL;
	size_t n = 0, at = 0;
	struct zw_error why;

	if (json && c->rendered && !apply(c, json, 0, &upto, &n, &why) &&
	    starts(text, len, upto, n) && starts(upto, n, c->rendered, c->rendered_len)) {
		for (at = n; at > c->rendered_len; at--) {
			if (starts(upto + at, n - at, end_of_turn, sizeof(end_of_turn) - 1))
				break;
		}
		if (at == c->rendered_len)
			at = 0;
	}
	cJSON_free(json);
	free(upto);
	return at;
}

int conv_prompt(struct conv *c, size_t *keep, bool *reasoning, struct zw_error *err)
{
	char *json = cJSON_PrintUnformatted(c->messages), *text = NULL;
	size_t len = 0, at;
	int ret;

	if (!json) {
		snprintf(err->msg, sizeof(err->msg), "out of memory");
		return -ENOMEM;
	}
	ret = apply(c, json, ZW_CHAT_GENERATION_PROMPT, &text, &len, err);
	cJSON_free(json);
	if (ret)
		return ret;
	*keep = c->num_ids;
	if (c->len && starts(text, len, c->text, c->len))
		ret = append(c, text + c->len, len - c->len, err);
	else if (c->len && (at = behind_answer(c, text, len)))
		ret = append(c, text + at, len - at, err);
	else
		ret = rebuild(c, text, len, keep, err);
	*reasoning = zw_chat_opens_reasoning(text, len);
	free(c->rendered);
	c->rendered = text;
	c->rendered_len = len;
	return ret;
}

/* ---- files ---- */

#define MAGIC "ZWCHAT1\n"

struct saved {
	char magic[8];
	uint32_t ids, messages, rendered, text; /* bytes of each, one behind the other */
};

static bool are_messages(const cJSON *messages)
{
	const cJSON *m;

	if (!cJSON_IsArray(messages))
		return false;
	cJSON_ArrayForEach(m, messages)
	{
		if (!cJSON_IsString(cJSON_GetObjectItem(m, "role")))
			return false;
	}
	return true;
}

/* Arguments are JSON as it was written; a file has them in strings, so that they come back like that. */
static int swap_arguments(cJSON *messages, bool out)
{
	cJSON *m, *call;

	cJSON_ArrayForEach(m, messages)
	{
		cJSON *calls = cJSON_GetObjectItem(m, "tool_calls");

		cJSON_ArrayForEach(call, calls)
		{
			cJSON *f = cJSON_GetObjectItem(call, "function");
			cJSON *a = cJSON_GetObjectItem(f, "arguments"), *b;

			if (!a || !a->valuestring)
				return -EBADMSG;
			b = out ? cJSON_CreateString(a->valuestring)
				: cJSON_CreateRaw(a->valuestring);
			if (!b || !cJSON_ReplaceItemInObject(f, "arguments", b))
				return -ENOMEM;
		}
	}
	return 0;
}

static void put(FILE *f, const void *data, size_t len)
{
	if (len)
		fwrite(data, 1, len, f);
}

int conv_save(const struct conv *c, char **data, size_t *len)
{
	struct saved h = {.magic = MAGIC};
	cJSON *copy = cJSON_Duplicate(c->messages, 1);
	char *json = copy && !swap_arguments(copy, true) ? cJSON_PrintUnformatted(copy) : NULL;
	FILE *f = json ? open_memstream(data, len) : NULL;

	cJSON_Delete(copy);
	if (!f) {
		cJSON_free(json);
		return -ENOMEM;
	}
	h.ids = (uint32_t)(c->num_ids * sizeof(*c->ids));
	h.messages = (uint32_t)strlen(json);
	h.rendered = (uint32_t)c->rendered_len;
	h.text = (uint32_t)c->len;
	put(f, &h, sizeof(h));
	put(f, c->ids, h.ids);
	put(f, json, h.messages);
	put(f, c->rendered, h.rendered);
	put(f, c->text, h.text);
	cJSON_free(json);
	return fclose(f) ? -ENOMEM : 0;
}

static int take_ids(struct conv *c, const char *p, size_t num, const uint32_t *ids, size_t n)
{
	uint32_t id;

	c->num_ids = 0;
	for (size_t i = 0; i < num; i++) {
		memcpy(&id, p + i * sizeof(id), sizeof(id));
		if (i < n && id != ids[i])
			return -EBADMSG;
		if (add_id(c, id))
			return -ENOMEM;
	}
	return n > num ? -EBADMSG : 0;
}

int conv_load(struct conv *c, const void *data, size_t len, const uint32_t *ids, size_t n)
{
	const char *p = (const char *)data + sizeof(struct saved);
	struct saved h;
	int ret;

	if (len < sizeof(h))
		return -EBADMSG;
	memcpy(&h, data, sizeof(h));
	if (memcmp(h.magic, MAGIC, sizeof(h.magic)) || h.ids % sizeof(*ids) ||
	    len - sizeof(h) != (uint64_t)h.ids + h.messages + h.rendered + h.text)
		return -EBADMSG;
	conv_free(c);
	c->text = c->rendered = NULL;
	c->ids = NULL;
	c->len = c->cap = c->rendered_len = c->num_ids = c->cap_ids = 0;
	c->messages = cJSON_ParseWithLength(p + h.ids, h.messages);
	if (!are_messages(c->messages))
		return -EBADMSG;
	ret = swap_arguments(c->messages, false);
	if (!ret)
		ret = take_ids(c, p, h.ids / sizeof(*ids), ids, n);
	p += h.ids + h.messages;
	c->rendered = ret ? NULL : malloc((size_t)h.rendered + 1);
	if (!ret && !c->rendered)
		ret = -ENOMEM;
	if (ret)
		return ret;
	memcpy(c->rendered, p, h.rendered);
	c->rendered[h.rendered] = '\0';
	c->rendered_len = h.rendered;
	return add_text(c, p + h.rendered, h.text);
}

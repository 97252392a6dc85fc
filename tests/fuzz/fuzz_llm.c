// SPDX-License-Identifier: MIT
/*
 * Fuzz targets for what libzhenwu-llm reads from strangers; FUZZ_TARGET picks one:
 *	1 safetensors	input: header, optionally NUL and data; the length field is put in front
 *	2 config	input: config.json and generation_config.json
 *	3 tokenizer	input: tokenizer.json
 *	4 text		input: text for the tokenizer in $ZW_TEST_MODELS/qwen3-kdoc, and back
 *	5 sidecars	input: first byte: which file beside a small tokenizer.json, then that file
 *	6 gguf		input: a GGUF file: its tensors, what it says of a model, its tokenizer
 *	7 quantised	input: config.json, NUL, the header of a safetensors file, whose data is zeros; a
 *			load plan is made of it
 *	8 chat		input: a chat template, optionally NUL and the messages (JSON)
 *	9 answer	input: first byte: flags, then a model's answer
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zhenwu/llm.h>

#include "family.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The scratch folder of this process, removed at exit. */
static char dir[64];

static inline void leave(void)
{
	static const char *const names[] = {"model.safetensors",       "config.json",
					    "generation_config.json",  "tokenizer.json",
					    "tokenizer_config.json",   "added_tokens.json",
					    "special_tokens_map.json", "model.gguf"};
	char path[128];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
}

static inline void put(const char *name, const void *head, size_t head_len, const void *data,
		       size_t len)
{
	char path[128];
	FILE *f;

	if (!dir[0]) {
		snprintf(dir, sizeof(dir), "/dev/shm/zw-fuzz-XXXXXX");
		if (!mkdtemp(dir))
			abort();
		atexit(leave);
	}
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "wb");
	if (!f || (head_len && fwrite(head, 1, head_len, f) != head_len) ||
	    fwrite(data, 1, len, f) != len || fclose(f))
		abort();
}

#if FUZZ_TARGET == 1
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = memchr(data, 0, size);
	uint64_t header = end ? (uint64_t)(end - data) : size;
	struct zw_safetensors *st;

	put("model.safetensors", &header, sizeof(header), data, size);
	if (zw_safetensors_open(dir, &st, NULL))
		return 0;
	for (size_t i = 0; i < zw_safetensors_count(st); i++) {
		struct zw_safetensors_info info = {.size = sizeof(info)};
		char *buf;

		if (zw_safetensors_get(st, i, &info) || info.nbytes > size ||
		    zw_safetensors_find(st, info.name) != (long)i)
			abort();
		buf = malloc(info.nbytes + 1);
		if (!buf || zw_safetensors_read(st, i, 0, buf, info.nbytes, NULL))
			abort();
		free(buf);
	}
	zw_safetensors_close(st);
	return 0;
}
#elif FUZZ_TARGET == 2
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct llm_model_config cfg = {0};

	put("config.json", NULL, 0, data, size);
	put("generation_config.json", NULL, 0, data, size);
	if (!llm_model_config_load(dir, &cfg, NULL) &&
	    (!cfg.num_kv_heads || cfg.num_heads % cfg.num_kv_heads || !cfg.vocab_size))
		abort();
	return 0;
}
#elif FUZZ_TARGET == 3
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char text[] = "hello world <a> 12 \xff";
	struct zw_tokenizer *t;
	uint32_t *ids;
	size_t n;

	put("tokenizer.json", NULL, 0, data, size);
	if (zw_tokenizer_open(dir, &t, NULL))
		return 0;
	if (!zw_tokenizer_encode(t, text, sizeof(text) - 1, 0, &ids, &n, NULL)) {
		for (size_t i = 0; i < n; i++) {
			if (ids[i] >= zw_tokenizer_size(t))
				abort();
		}
		free(ids);
	}
	zw_tokenizer_close(t);
	return 0;
}
#elif FUZZ_TARGET == 6
/* What a model would read of it, and its tokenizer. */
static void use_gguf(const char *path)
{
	struct llm_model_config cfg = {0};
	struct zw_generation_config *gc;
	struct llm_source_tensor t;
	struct zw_tokenizer *tok;
	struct llm_source *src;
	char *buf;

	if (llm_source_new(path, &src, NULL))
		abort();
	if (!src->ops->config(src, &cfg, NULL) && !src->ops->open(src, NULL)) {
		for (size_t i = 0; i < src->ops->count(src); i++) {
			src->ops->get(src, i, &t);
			if (!t.ndim || !strlen(t.name))
				abort();
			/* Values and orders changed back, or an error. */
			buf = t.bytes <= 1 << 16 ? malloc(t.bytes + 1) : NULL;
			if (buf)
				src->ops->read(src, i, 0, buf, t.bytes, NULL);
			free(buf);
		}
		/* Which the configuration was made from. */
		if (src->ops->find(src, "model.embed_tokens.weight") < 0)
			abort();
	}
	llm_source_close(src);
	if (!zw_generation_config_open(path, &gc, NULL))
		zw_generation_config_close(gc);
	if (!zw_tokenizer_open(path, &tok, NULL))
		zw_tokenizer_close(tok);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[128];
	struct zw_gguf *g;

	put("model.gguf", NULL, 0, data, size);
	snprintf(path, sizeof(path), "%s/model.gguf", dir);
	if (zw_gguf_open(path, &g, NULL))
		return 0;
	for (size_t i = 0; i < zw_gguf_count(g); i++) {
		struct zw_gguf_info info = {.size = sizeof(info)};
		char *buf;

		if (zw_gguf_get(g, i, &info) || info.nbytes > size ||
		    zw_gguf_find(g, info.name) != (long)i)
			abort();
		buf = malloc(info.nbytes + 1);
		if (!buf || zw_gguf_read(g, i, 0, buf, info.nbytes, NULL))
			abort();
		free(buf);
	}
	zw_gguf_close(g);
	use_gguf(path);
	return 0;
}
#elif FUZZ_TARGET == 7
#define DATA_MAX (1u << 20)

/* Where the last tensor of a header ends, or 0. */
static uint32_t data_end(const char *text, size_t len)
{
	cJSON *header = cJSON_ParseWithLength(text, len);
	const cJSON *t;
	double end = 0;

	cJSON_ArrayForEach(t, header)
	{
		const cJSON *range = cJSON_GetObjectItemCaseSensitive(t, "data_offsets");
		const cJSON *last = cJSON_IsArray(range) ? cJSON_GetArrayItem(range, 1) : NULL;

		if (cJSON_IsNumber(last) && last->valuedouble > end)
			end = last->valuedouble;
	}
	cJSON_Delete(header);
	return end > 0 && end <= DATA_MAX ? (uint32_t)end : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t file[8 + DATA_MAX + (64u << 10)];
	const uint8_t *nul = memchr(data, 0, size);
	struct llm_model_config cfg = {0};
	struct llm_plan plan = {0};
	struct llm_weights w = {0};
	struct llm_source *src;
	uint64_t header;
	uint32_t end;

	if (!nul || size > (64u << 10))
		return 0;
	header = size - (uint64_t)(nul + 1 - data);
	end = data_end((const char *)nul + 1, header);
	memcpy(file, &header, 8);
	memcpy(file + 8, nul + 1, header);
	memset(file + 8 + header, 0, end);
	put("config.json", NULL, 0, data, (size_t)(nul - data));
	put("model.safetensors", NULL, 0, file, 8 + header + end);
	if (llm_source_new(dir, &src, NULL))
		abort();
	/* Experts and layers are memory before there is a tensor. */
	if (!src->ops->config(src, &cfg, NULL) && cfg.num_layers <= 64 && cfg.num_experts <= 64 &&
	    !src->ops->open(src, NULL)) {
		const struct llm_part whole = {0, cfg.num_layers, cfg.num_layers};

		plan.src = src;
		if (!llm_family_plan(llm_family_find(cfg.model_type), &cfg, &whole, true, &plan, &w,
				     NULL) &&
		    !plan.num_parts)
			abort();
		llm_plan_fini(&plan);
		free(w.layers);
	}
	llm_source_close(src);
	return 0;
}
#elif FUZZ_TARGET == 8
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char usual[] =
		"[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"\\u00e9 "
		"x\"},"
		"{\"role\":\"assistant\",\"content\":\"<think>\\na\\n</"
		"think>\\n\\nb\",\"tool_calls\":"
		"[{\"function\":{\"name\":\"f\",\"arguments\":{\"a\":[1,2.5,null]}}}]},"
		"{\"role\":\"tool\",\"content\":\"{}\"}]";
	const uint8_t *end = memchr(data, 0, size);
	char *messages = end ? strndup((const char *)end + 1, size - (size_t)(end + 1 - data))
			     : strdup(usual);
	struct zw_chat_input in = {.size = sizeof(in),
				   .flags = size & 7,
				   .messages = messages,
				   .tools = "[{\"name\":\"f\"}]"};
	struct zw_chat_template *t;
	char *text;
	size_t len;

	if ((in.flags & 6) == 6)
		in.flags = 0;
	if (!zw_chat_template_parse((const char *)data, end ? (size_t)(end - data) : size, &t,
				    NULL)) {
		if (!zw_chat_template_apply(t, &in, &text, &len, NULL)) {
			if (text[len])
				abort();
			free(text);
		}
		zw_chat_template_close(t);
	}
	free(messages);
	return 0;
}
#elif FUZZ_TARGET == 9
struct told {
	char *text;
	size_t len;
	uint32_t last;
};

static int note(void *opaque, const struct zw_chat_event *e)
{
	struct told *t = opaque;
	FILE *f;
	char *buf;
	size_t n;

	if (!e->len || e->text[e->len] || (e->type == ZW_CHAT_CALL) != (e->name && e->arguments))
		abort();
	f = open_memstream(&buf, &n);
	if (!f)
		abort();
	fwrite(t->text ? t->text : "", 1, t->len, f);
	if (e->type != t->last || e->type >= ZW_CHAT_CALL)
		fprintf(f, "\n%u:", e->type);
	fwrite(e->text, 1, e->len, f);
	fprintf(f, "%s%s", e->name ? e->name : "", e->arguments ? e->arguments : "");
	fclose(f);
	free(t->text);
	*t = (struct told){buf, n, e->type};
	return 0;
}

/* In pieces as whole. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct told t[2] = {0};
	struct zw_chat_parser *p;

	if (!size || size > 2048)
		return 0;
	for (size_t i = 0; i < 2; i++) {
		struct zw_chat_parser_options o = {
			.size = sizeof(o), .flags = data[0] & 3, .event = note, .opaque = &t[i]};
		size_t piece = i ? 1u + data[0] / 64 : size;

		if (zw_chat_parser_open(&o, &p, NULL))
			abort();
		for (size_t at = 1; at < size; at += piece) {
			if (zw_chat_parser_push(p, (const char *)data + at,
						size - at < piece ? size - at : piece))
				abort();
		}
		if (zw_chat_parser_finish(p, 0))
			abort();
		zw_chat_parser_close(p);
	}
	if (t[0].len != t[1].len || (t[0].len && memcmp(t[0].text, t[1].text, t[0].len)))
		abort();
	free(t[0].text);
	free(t[1].text);
	return 0;
}
#elif FUZZ_TARGET == 5
/* The smallest tokenizer.json that opens: one token for each byte. */
static void put_tokenizer(void)
{
	static const char tail[] =
		"},\"merges\":[]},\"decoder\":{\"type\":\"ByteLevel\"},\"pre_tokenizer\":{\"type\":"
		"\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"
		"\"\\\\s+|"
		"\\\\S+\"},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"ByteLevel\","
		"\"add_prefix_space\":false,\"use_regex\":false}]}}";
	char text[8192] = "{\"model\":{\"type\":\"BPE\",\"vocab\":{";
	size_t n = strlen(text);
	int next = 256;

	for (int b = 0; b < 256; b++) {
		bool self = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;

		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s\"\\u%04x\":%d", b ? "," : "",
				      self ? b : next++, b);
	}
	put("tokenizer.json", text, n, tail, sizeof(tail) - 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = {"tokenizer_config.json", "added_tokens.json",
					    "special_tokens_map.json"};
	static const char text[] = "hello <a> world  b";
	struct zw_tokenizer *t;
	struct zw_error err;
	uint32_t *ids;
	size_t n;

	if (!size)
		return 0;
	if (!dir[0]) {
		put_tokenizer();
		/* A harness whose tokenizer does not open would find nothing. */
		if (zw_tokenizer_open(dir, &t, &err)) {
			fprintf(stderr, "%s\n", err.msg);
			abort();
		}
		zw_tokenizer_close(t);
	}
	for (size_t i = 0; i < 3; i++)
		put(names[i], "{}", i == data[0] % 3 ? 0 : 2, data + 1,
		    i == data[0] % 3 ? size - 1 : 0);
	if (zw_tokenizer_open(dir, &t, NULL))
		return 0;
	if (!zw_tokenizer_encode(t, text, sizeof(text) - 1, 0, &ids, &n, NULL)) {
		for (size_t i = 0; i < n; i++) {
			if (ids[i] >= zw_tokenizer_size(t))
				abort();
		}
		free(ids);
	}
	zw_tokenizer_close(t);
	return 0;
}
#else
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct zw_tokenizer *t;
	struct zw_detokenizer *d;
	const char *text;
	uint32_t *ids;
	size_t n, len;

	if (!t) {
		const char *models = getenv("ZW_TEST_MODELS");
		char path[512];

		snprintf(path, sizeof(path), "%s/qwen3-kdoc", models ? models : "tests/models");
		if (zw_tokenizer_open(path, &t, NULL))
			abort();
	}
	if (zw_tokenizer_encode(t, (const char *)data, size, size & 1, &ids, &n, NULL))
		return 0;
	if (zw_detokenizer_open(t, 0, &d))
		abort();
	for (size_t i = 0; i < n; i++) {
		if (zw_detokenizer_push(d, ids[i], &text, &len))
			abort();
	}
	if (zw_detokenizer_flush(d, &text, &len))
		abort();
	zw_detokenizer_close(d);
	free(ids);
	return 0;
}
#endif

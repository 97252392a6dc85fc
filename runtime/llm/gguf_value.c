// SPDX-License-Identifier: MIT
/* Metadata of a GGUF file: typed values by key. */
#include "gguf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	uint8_t bytes;
} types[] = {
	[GGUF_U8] = {"u8", 1},       [GGUF_I8] = {"i8", 1},     [GGUF_U16] = {"u16", 2},
	[GGUF_I16] = {"i16", 2},     [GGUF_U32] = {"u32", 4},   [GGUF_I32] = {"i32", 4},
	[GGUF_F32] = {"f32", 4},     [GGUF_BOOL] = {"bool", 1}, [GGUF_STRING] = {"string", 0},
	[GGUF_ARRAY] = {"array", 0}, [GGUF_U64] = {"u64", 8},   [GGUF_I64] = {"i64", 8},
	[GGUF_F64] = {"f64", 8},
};

unsigned int gguf_type_bytes(uint32_t type)
{
	return types[type].bytes;
}

const char *gguf_type_name(uint32_t type)
{
	return types[type].name;
}

static int by_key(const void *a, const void *b)
{
	return strcmp(((const struct gguf_value *)a)->key, ((const struct gguf_value *)b)->key);
}

int gguf_sort_values(struct zw_gguf *g, struct zw_error *err)
{
	if (g->num_values)
		qsort(g->values, g->num_values, sizeof(*g->values), by_key);
	for (size_t i = 1; i < g->num_values; i++) {
		if (!strcmp(g->values[i].key, g->values[i - 1].key))
			return llm_fail(err, -EBADMSG, "%s: key %s appears twice", g->path,
					g->values[i].key);
	}
	return 0;
}

const struct gguf_value *gguf_find_value(const struct zw_gguf *g, const char *key)
{
	struct gguf_value want = {.key = (char *)key};

	return g->num_values ? bsearch(&want, g->values, g->num_values, sizeof(want), by_key)
			     : NULL;
}

static bool is_integer(uint32_t type)
{
	return type <= GGUF_I32 || type == GGUF_U64 || type == GGUF_I64;
}

static int wrong_kind(const struct zw_gguf *g, const struct gguf_value *v, const char *want,
		      struct zw_error *err)
{
	return llm_fail(err, -EBADMSG, "%s: %s is %s%s, not %s", g->path, v->key,
			v->is_array ? "an array of " : "of type ", gguf_type_name(v->type), want);
}

bool gguf_element_uint(const struct zw_gguf *g, const struct gguf_value *v, uint64_t i, uint64_t *x)
{
	unsigned int bytes = gguf_type_bytes(v->type);
	bool is_signed = v->type == GGUF_I8 || v->type == GGUF_I16 || v->type == GGUF_I32 ||
			 v->type == GGUF_I64;

	*x = 0;
	memcpy(x, g->header + v->at + i * bytes, bytes);
	return !is_signed || !(*x >> (bytes * 8 - 1));
}

int gguf_get_uint(const struct zw_gguf *g, const char *key, uint64_t min, uint64_t max, uint64_t *v,
		  struct zw_error *err)
{
	const struct gguf_value *it = gguf_find_value(g, key);
	uint64_t x;

	if (!it)
		return 0;
	if (it->is_array || !is_integer(it->type))
		return wrong_kind(g, it, "an integer", err);
	if (!gguf_element_uint(g, it, 0, &x) || x < min || x > max)
		return llm_fail(err, -EBADMSG, "%s: %s is not an integer from %llu to %llu",
				g->path, key, (unsigned long long)min, (unsigned long long)max);
	*v = x;
	return 0;
}

int gguf_get_double(const struct zw_gguf *g, const char *key, double min, double max, double *v,
		    struct zw_error *err)
{
	const struct gguf_value *it = gguf_find_value(g, key);
	double x;
	float f;

	if (!it)
		return 0;
	if (it->is_array || (it->type != GGUF_F32 && it->type != GGUF_F64))
		return wrong_kind(g, it, "a floating-point number", err);
	if (it->type == GGUF_F32) {
		memcpy(&f, g->header + it->at, sizeof(f));
		x = f;
	} else {
		memcpy(&x, g->header + it->at, sizeof(x));
	}
	/* Written so that NaN fails. */
	if (!(x >= min && x <= max))
		return llm_fail(err, -EBADMSG, "%s: %s is not a number from %g to %g", g->path, key,
				min, max);
	*v = x;
	return 0;
}

int gguf_get_bool(const struct zw_gguf *g, const char *key, bool *v, struct zw_error *err)
{
	const struct gguf_value *it = gguf_find_value(g, key);

	if (!it)
		return 0;
	if (it->is_array || it->type != GGUF_BOOL)
		return wrong_kind(g, it, "a truth value", err);
	*v = g->header[it->at];
	return 0;
}

struct gguf_str gguf_next_str(const struct zw_gguf *g, uint64_t *at)
{
	struct gguf_str s = {.p = g->header + *at + 8};

	memcpy(&s.len, g->header + *at, 8);
	*at += 8 + s.len;
	return s;
}

bool gguf_str_is(struct gguf_str s, const char *text)
{
	return s.len == strlen(text) && !memcmp(s.p, text, s.len);
}

int gguf_get_str(const struct zw_gguf *g, const char *key, struct gguf_str *v, struct zw_error *err)
{
	const struct gguf_value *it = gguf_find_value(g, key);
	uint64_t at;

	if (!it)
		return 0;
	if (it->is_array || it->type != GGUF_STRING)
		return wrong_kind(g, it, "a string", err);
	at = it->at;
	*v = gguf_next_str(g, &at);
	return 0;
}

int gguf_get_array(const struct zw_gguf *g, const char *key, uint32_t type,
		   const struct gguf_value **v, struct zw_error *err)
{
	const struct gguf_value *it = gguf_find_value(g, key);

	*v = it;
	if (!it)
		return 0;
	if (!it->is_array || (it->type != type && !(is_integer(type) && is_integer(it->type)))) {
		char want[48];

		snprintf(want, sizeof(want), "an array of %s",
			 is_integer(type) ? "integers" : gguf_type_name(type));
		return wrong_kind(g, it, want, err);
	}
	return 0;
}

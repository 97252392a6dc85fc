/* SPDX-License-Identifier: MIT */
/* GGUF files for tests, value by value, so that any of them can be wrong. */
#ifndef GGUF_BUILD_H
#define GGUF_BUILD_H

#include "llm_test.h"

struct gguf_build {
	uint8_t data[1 << 16];
	size_t n;
};

static inline void gb_raw(struct gguf_build *b, const void *p, size_t n)
{
	assert_true(n <= sizeof(b->data) - b->n);
	memcpy(b->data + b->n, p, n);
	b->n += n;
}

static inline void gb_u32(struct gguf_build *b, uint32_t v)
{
	gb_raw(b, &v, sizeof(v));
}

static inline void gb_u64(struct gguf_build *b, uint64_t v)
{
	gb_raw(b, &v, sizeof(v));
}

static inline void gb_str(struct gguf_build *b, const char *s)
{
	gb_u64(b, strlen(s));
	gb_raw(b, s, strlen(s));
}

static inline void gb_head(struct gguf_build *b, uint32_t version, uint64_t tensors, uint64_t keys)
{
	b->n = 0;
	gb_raw(b, "GGUF", 4);
	gb_u32(b, version);
	gb_u64(b, tensors);
	gb_u64(b, keys);
}

/* A key and its type; the value follows. */
static inline void gb_key(struct gguf_build *b, const char *key, uint32_t type)
{
	gb_str(b, key);
	gb_u32(b, type);
}

static inline void gb_key_u32(struct gguf_build *b, const char *key, uint32_t v)
{
	gb_key(b, key, 4);
	gb_u32(b, v);
}

static inline void gb_key_str(struct gguf_build *b, const char *key, const char *v)
{
	gb_key(b, key, 8);
	gb_str(b, v);
}

/* The head of an array; the elements follow. */
static inline void gb_key_array(struct gguf_build *b, const char *key, uint32_t type, uint64_t n)
{
	gb_key(b, key, 9);
	gb_u32(b, type);
	gb_u64(b, n);
}

/* d1 0: one dimension. d0 is the innermost one. */
static inline void gb_tensor(struct gguf_build *b, const char *name, uint64_t d0, uint64_t d1,
			     uint32_t type, uint64_t off)
{
	gb_str(b, name);
	gb_u32(b, d1 ? 2 : 1);
	gb_u64(b, d0);
	if (d1)
		gb_u64(b, d1);
	gb_u32(b, type);
	gb_u64(b, off);
}

/* The data section, aligned: n bytes 0, 1, 2, ... */
static inline void gb_data(struct gguf_build *b, uint32_t align, size_t n)
{
	while (b->n % align)
		gb_raw(b, "", 1);
	for (size_t i = 0; i < n; i++)
		gb_raw(b, &(uint8_t){(uint8_t)i}, 1);
}

#endif

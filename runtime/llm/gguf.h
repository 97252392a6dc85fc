/* SPDX-License-Identifier: MIT */
/* Inside of a GGUF file: metadata by key, tensors by name. The format: docs/gguf.md of ggml. */
#ifndef ZW_LLM_GGUF_H
#define ZW_LLM_GGUF_H

#include <zhenwu/llm_checkpoint.h>

#include "util.h"

/* Types of metadata values, as numbered in the file. */
enum gguf_type {
	GGUF_U8 = 0,
	GGUF_I8 = 1,
	GGUF_U16 = 2,
	GGUF_I16 = 3,
	GGUF_U32 = 4,
	GGUF_I32 = 5,
	GGUF_F32 = 6,
	GGUF_BOOL = 7,
	GGUF_STRING = 8,
	GGUF_ARRAY = 9,
	GGUF_U64 = 10,
	GGUF_I64 = 11,
	GGUF_F64 = 12,
};

/* A string of the file: not terminated, and any bytes. */
struct gguf_str {
	const char *p;
	size_t len;
};

/* One key. */
struct gguf_value {
	char *key;
	uint8_t type; /* enum gguf_type; of an array that of its elements */
	bool is_array;
	uint64_t count; /* elements; 1 of what is no array */
	uint64_t at;    /* of the first element in the header */
};

/* A type of tensor elements. */
struct gguf_dtype {
	const char *name;
	uint16_t number;          /* in the file */
	uint16_t dtype;           /* enum zw_dtype, or NONE */
	uint16_t elements, bytes; /* of a block */
};

struct gguf_tensor {
	char *name;
	uint64_t off; /* in the data section */
	uint64_t nbytes;
	uint64_t shape[ZW_GGUF_MAX_DIMS]; /* row-major: the file's order turned round */
	uint32_t ndim;
	uint32_t file; /* of those that the tensors are spread over */
	const struct gguf_dtype *dtype;
};

struct gguf_file {
	char *path, *name; /* name: without the folders */
	int fd;
	uint64_t size;
	uint64_t data; /* file offset of the data section */
};

struct zw_gguf {
	/* Most are one file. In others the first one has the metadata, and all have tensors. */
	struct gguf_file *files;
	uint32_t num_files;
	const char *path; /* of the first */
	uint64_t bytes;   /* of all tensors */
	char *header;     /* the file up to the end of the tensors' descriptions */
	uint64_t header_len;
	struct gguf_value *values; /* sorted by key after open */
	size_t num_values;
	struct gguf_tensor *tensors; /* sorted by name after open */
	size_t num_tensors;
};

/* Whether the file at path begins as a GGUF file does; false also when it cannot be read. */
bool gguf_is_one(const char *path);

/* ---- gguf_header.c ---- */

/* Reads and checks everything in front of the data of the first file, which is open. */
int gguf_read_header(struct zw_gguf *g, struct zw_error *err);

/* ---- gguf_split.c: several files ---- */

/* Opens one file: everything but what other files say. */
int gguf_open_one(const char *path, struct zw_gguf **out, struct zw_error *err);
/* Opens the others that g, the first one, tells of, and takes their tensors over. */
int gguf_open_rest(struct zw_gguf *g, struct zw_error *err);

/* ---- gguf_value.c: metadata ---- */

/* The value of a key, or NULL. */
const struct gguf_value *gguf_find_value(const struct zw_gguf *g, const char *key);
/* Puts the values in order of key; -EBADMSG when one is there twice. */
int gguf_sort_values(struct zw_gguf *g, struct zw_error *err);
/* Bytes of an element of a fixed size, or 0. */
unsigned int gguf_type_bytes(uint32_t type);
/* How the type is called in error lines. */
const char *gguf_type_name(uint32_t type);

/*
 * Values with a default: *v is left alone when the key is absent. -EBADMSG when the value is of another
 * kind (any integer type counts as an integer, both floating ones as a number) or outside [min, max].
 */
int gguf_get_uint(const struct zw_gguf *g, const char *key, uint64_t min, uint64_t max, uint64_t *v,
		  struct zw_error *err);
int gguf_get_double(const struct zw_gguf *g, const char *key, double min, double max, double *v,
		    struct zw_error *err);
int gguf_get_bool(const struct zw_gguf *g, const char *key, bool *v, struct zw_error *err);
int gguf_get_str(const struct zw_gguf *g, const char *key, struct gguf_str *v,
		 struct zw_error *err);
/* An array, or *v NULL when the key is absent. type: enum gguf_type; integers match any of theirs. */
int gguf_get_array(const struct zw_gguf *g, const char *key, uint32_t type,
		   const struct gguf_value **v, struct zw_error *err);
/* Element i of an array of integers; false when it is negative. */
bool gguf_element_uint(const struct zw_gguf *g, const struct gguf_value *v, uint64_t i,
		       uint64_t *x);
/* The string at *at, which moves behind it: from v->at on v->count times. */
struct gguf_str gguf_next_str(const struct zw_gguf *g, uint64_t *at);
bool gguf_str_is(struct gguf_str s, const char *text);

#endif

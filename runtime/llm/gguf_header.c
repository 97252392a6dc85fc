// SPDX-License-Identifier: MIT
/*
 * What stands in front of a GGUF file's data: "GGUF", u32 version, u64 number of tensors, u64 number of
 * keys; the keys with their values; the tensors' names, shapes, types and offsets.
 *
 * Its length is not said anywhere, so the file is read on as far as its values ask for. Whatever a count
 * or a length claims has to fit into the rest of the file before memory is taken for it.
 */
#include "gguf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <zhenwu/zhenwu.h>

#define HEADER_MAX       (512ull << 20) /* the largest vocabularies take 16 MiB */
#define PIECE            (256ull << 10) /* that the file is read on by */
#define KEYS_MAX         65536
#define TENSORS_MAX      (1u << 20)
#define KEY_MAX          65535 /* bytes; the format's limit */
#define NAME_MAX_LEN     255   /* the format's limit is 64 */
#define ALIGN_DEFAULT    32
#define ALIGN_MAX        (1u << 20)
/* At least: length and one byte of a key, type, value; length of a name, dimensions, type, offset. */
#define KEY_BYTES_MIN    14
#define TENSOR_BYTES_MIN 25

#define NO ZW_DTYPE_NONE
static const struct gguf_dtype dtypes[] = {
	{"F32", 0, ZW_DTYPE_F32, 1, 4},
	{"F16", 1, ZW_DTYPE_F16, 1, 2},
	{"Q4_0", 2, ZW_DTYPE_Q4_0, 32, 18},
	{"Q4_1", 3, ZW_DTYPE_Q4_1, 32, 20},
	{"Q5_0", 6, ZW_DTYPE_Q5_0, 32, 22},
	{"Q5_1", 7, ZW_DTYPE_Q5_1, 32, 24},
	{"Q8_0", 8, ZW_DTYPE_Q8_0, 32, 34},
	{"Q8_1", 9, NO, 32, 36},
	{"Q2_K", 10, ZW_DTYPE_Q2_K, 256, 84},
	{"Q3_K", 11, ZW_DTYPE_Q3_K, 256, 110},
	{"Q4_K", 12, ZW_DTYPE_Q4_K, 256, 144},
	{"Q5_K", 13, ZW_DTYPE_Q5_K, 256, 176},
	{"Q6_K", 14, ZW_DTYPE_Q6_K, 256, 210},
	{"Q8_K", 15, NO, 256, 292},
	{"IQ2_XXS", 16, NO, 256, 66},
	{"IQ2_XS", 17, NO, 256, 74},
	{"IQ3_XXS", 18, NO, 256, 98},
	{"IQ1_S", 19, NO, 256, 50},
	{"IQ4_NL", 20, NO, 32, 18},
	{"IQ3_S", 21, NO, 256, 110},
	{"IQ2_S", 22, NO, 256, 82},
	{"IQ4_XS", 23, NO, 256, 136},
	{"I8", 24, NO, 1, 1},
	{"I16", 25, NO, 1, 2},
	{"I32", 26, NO, 1, 4},
	{"I64", 27, NO, 1, 8},
	{"F64", 28, NO, 1, 8},
	{"IQ1_M", 29, NO, 256, 56},
	{"BF16", 30, ZW_DTYPE_BF16, 1, 2},
	{"TQ1_0", 34, NO, 256, 54},
	{"TQ2_0", 35, NO, 256, 66},
	{"MXFP4", 39, ZW_DTYPE_MXFP4, 32, 17},
};

static const struct gguf_dtype *dtype_find(uint32_t number)
{
	for (size_t i = 0; i < ZW_ARRAY_SIZE(dtypes); i++) {
		if (dtypes[i].number == number)
			return &dtypes[i];
	}
	return NULL;
}

struct reader {
	struct zw_gguf *g;
	struct gguf_file *f; /* its only one so far */
	uint64_t at;
	uint64_t cap;
	struct zw_error *err;
};

static int truncated(struct reader *r)
{
	return llm_fail(r->err, -EBADMSG, "%s: the header ends behind byte %llu: file is truncated",
			r->g->path, (unsigned long long)r->f->size);
}

/* Makes bytes [at, at + n) of the file available. */
static int need(struct reader *r, uint64_t n)
{
	struct zw_gguf *g = r->g;
	uint64_t end, cap = r->cap ? r->cap : PIECE;
	char *buf;
	int ret;

	if (n > r->f->size - r->at)
		return truncated(r);
	end = r->at + n;
	if (end <= g->header_len)
		return 0;
	if (end > HEADER_MAX)
		return llm_fail(r->err, -EFBIG, "%s: the header has more than %llu bytes", g->path,
				HEADER_MAX);
	/* Whole pieces, so that small values do not become small reads. */
	end = (end + PIECE - 1) / PIECE * PIECE;
	if (end > r->f->size)
		end = r->f->size;
	while (cap < end)
		cap *= 2;
	if (cap > r->cap) {
		buf = realloc(g->header, cap);
		if (!buf)
			return llm_fail(r->err, -ENOMEM, "%s: out of memory", g->path);
		g->header = buf;
		r->cap = cap;
	}
	ret = llm_file_pread(r->f->fd, g->path, g->header + g->header_len, end - g->header_len,
			     g->header_len, r->err);
	if (!ret)
		g->header_len = end;
	return ret;
}

/* A little-endian integer of `bytes` bytes. */
static int get_int(struct reader *r, unsigned int bytes, uint64_t *v)
{
	int ret = need(r, bytes);

	*v = 0;
	if (ret)
		return ret;
	memcpy(v, r->g->header + r->at, bytes);
	r->at += bytes;
	return 0;
}

static int get_u32(struct reader *r, uint32_t *v)
{
	uint64_t x;
	int ret = get_int(r, 4, &x);

	*v = (uint32_t)x;
	return ret;
}

/* A key or a name in a string of its own; `what` it is, and which of them. */
static int get_name(struct reader *r, const char *what, uint64_t number, uint64_t max, char **out)
{
	uint64_t len;
	int ret = get_int(r, 8, &len);

	if (ret)
		return ret;
	if (!len || len > max)
		return llm_fail(r->err, -EBADMSG, "%s: %s %llu: a name of %llu bytes", r->g->path,
				what, (unsigned long long)number, (unsigned long long)len);
	ret = need(r, len);
	if (ret)
		return ret;
	if (memchr(r->g->header + r->at, 0, len))
		return llm_fail(r->err, -EBADMSG, "%s: %s %llu: NUL in its name", r->g->path, what,
				(unsigned long long)number);
	*out = strndup(r->g->header + r->at, len);
	if (!*out)
		return llm_fail(r->err, -ENOMEM, "%s: out of memory", r->g->path);
	r->at += len;
	return 0;
}

/* ---- keys ---- */

static int too_long(struct reader *r, const struct gguf_value *v, uint64_t n, const char *what)
{
	return llm_fail(r->err, -EBADMSG, "%s: key %s: %llu %s do not fit into the file",
			r->g->path, v->key, (unsigned long long)n, what);
}

/* Goes behind v->count elements. */
static int skip_elements(struct reader *r, const struct gguf_value *v)
{
	unsigned int bytes = gguf_type_bytes(v->type);
	uint64_t left = r->f->size - r->at, len;
	int ret = 0;

	if (v->count > left / (bytes ? bytes : 8))
		return v->is_array ? too_long(r, v, v->count, "elements") : truncated(r);
	if (bytes) {
		ret = need(r, v->count * bytes);
		for (uint64_t i = 0; v->type == GGUF_BOOL && i < v->count && !ret; i++) {
			if ((uint8_t)r->g->header[r->at + i] > 1)
				ret = llm_fail(r->err, -EBADMSG,
					       "%s: key %s: a truth value is neither 0 nor 1",
					       r->g->path, v->key);
		}
		r->at += v->count * bytes;
		return ret;
	}
	for (uint64_t i = 0; i < v->count; i++) {
		ret = get_int(r, 8, &len);
		if (ret)
			return ret;
		if (len > r->f->size - r->at)
			return too_long(r, v, len, "bytes of a string");
		ret = need(r, len);
		if (ret)
			return ret;
		r->at += len;
	}
	return 0;
}

static int get_type(struct reader *r, const struct gguf_value *v, uint32_t *type)
{
	int ret = get_u32(r, type);

	if (!ret && *type > GGUF_F64)
		ret = llm_fail(r->err, -EBADMSG, "%s: key %s: unknown type %u", r->g->path, v->key,
			       *type);
	return ret;
}

static int read_value(struct reader *r, uint64_t number, struct gguf_value *v)
{
	uint32_t type;
	int ret = get_name(r, "key", number, KEY_MAX, &v->key);

	if (!ret)
		ret = get_type(r, v, &type);
	if (ret)
		return ret;
	v->count = 1;
	v->is_array = type == GGUF_ARRAY;
	if (v->is_array) {
		ret = get_type(r, v, &type);
		if (!ret && type == GGUF_ARRAY)
			ret = llm_fail(r->err, -EOPNOTSUPP,
				       "%s: key %s: arrays of arrays are not supported", r->g->path,
				       v->key);
		if (!ret)
			ret = get_int(r, 8, &v->count);
	}
	if (ret)
		return ret;
	v->type = (uint8_t)type;
	v->at = r->at;
	return skip_elements(r, v);
}

/* ---- tensors ---- */

static int read_shape(struct reader *r, struct gguf_tensor *t)
{
	uint64_t dim[ZW_GGUF_MAX_DIMS];
	uint32_t n;
	int ret = get_u32(r, &n);

	if (ret)
		return ret;
	if (!n || n > ZW_GGUF_MAX_DIMS)
		return llm_fail(r->err, -EBADMSG, "%s: tensor %s: %u dimensions", r->g->path,
				t->name, n);
	for (uint32_t i = 0; i < n; i++) {
		ret = get_int(r, 8, &dim[i]);
		if (ret)
			return ret;
		if (!dim[i])
			return llm_fail(r->err, -EBADMSG, "%s: tensor %s: dimension %u is 0",
					r->g->path, t->name, i);
	}
	t->ndim = n;
	for (uint32_t i = 0; i < n; i++)
		t->shape[i] = dim[n - 1 - i];
	return 0;
}

static int check_size(struct reader *r, struct gguf_tensor *t)
{
	const char *path = r->g->path;
	uint64_t row = t->shape[t->ndim - 1], bytes;

	if (row % t->dtype->elements)
		return llm_fail(r->err, -EBADMSG,
				"%s: tensor %s: rows of %llu elements are not whole blocks of %u "
				"(%s)",
				path, t->name, (unsigned long long)row, t->dtype->elements,
				t->dtype->name);
	bytes = row / t->dtype->elements;
	for (uint32_t i = 0; i + 1 < t->ndim; i++) {
		if (__builtin_mul_overflow(bytes, t->shape[i], &bytes))
			return llm_fail(r->err, -EBADMSG, "%s: tensor %s: size overflows", path,
					t->name);
	}
	/* Elements too have to fit: a block has more of them than bytes. */
	if (bytes > INT64_MAX / t->dtype->elements ||
	    __builtin_mul_overflow(bytes, t->dtype->bytes, &bytes))
		return llm_fail(r->err, -EBADMSG, "%s: tensor %s: size overflows", path, t->name);
	t->nbytes = bytes;
	return 0;
}

static int read_tensor(struct reader *r, uint64_t number, struct gguf_tensor *t)
{
	uint32_t type = 0;
	int ret = get_name(r, "tensor", number, NAME_MAX_LEN, &t->name);

	if (!ret)
		ret = read_shape(r, t);
	if (!ret)
		ret = get_u32(r, &type);
	if (!ret)
		ret = get_int(r, 8, &t->off);
	if (ret)
		return ret;
	t->dtype = dtype_find(type);
	if (!t->dtype)
		return llm_fail(r->err, -EOPNOTSUPP, "%s: tensor %s: type %u is not known",
				r->g->path, t->name, type);
	return check_size(r, t);
}

/* Where the data starts is known only now. */
static int check_place(struct reader *r, const struct gguf_tensor *t, uint64_t align)
{
	const struct zw_gguf *g = r->g;
	uint64_t left = r->f->size - r->f->data;

	if (t->off % align)
		return llm_fail(r->err, -EBADMSG,
				"%s: tensor %s: offset %llu is no multiple of the alignment %llu",
				g->path, t->name, (unsigned long long)t->off,
				(unsigned long long)align);
	if (t->off > left || t->nbytes > left - t->off)
		return llm_fail(r->err, -EBADMSG,
				"%s: tensor %s: %llu bytes at %llu of a data section of %llu: file "
				"is truncated",
				g->path, t->name, (unsigned long long)t->nbytes,
				(unsigned long long)t->off, (unsigned long long)left);
	return 0;
}

static int read_magic(struct reader *r)
{
	const char *path = r->g->path;
	uint32_t magic, version;

	if (r->f->size < 4 || get_u32(r, &magic) || memcmp(r->g->header, "GGUF", 4))
		return llm_fail(r->err, -EBADMSG, "%s: not a GGUF file", path);
	if (get_u32(r, &version))
		return truncated(r);
	/* Versions are small: the other order of bytes makes them large. */
	if (version && !(version & 0xffff))
		return llm_fail(r->err, -EOPNOTSUPP,
				"%s: a big-endian GGUF file: only little-endian ones are supported",
				path);
	if (version != 2 && version != 3)
		return llm_fail(r->err, -EOPNOTSUPP,
				"%s: GGUF version %u is not supported (2 and 3 are)", path,
				version);
	return 0;
}

static int read_counts(struct reader *r, uint64_t *tensors, uint64_t *keys)
{
	const char *path = r->g->path;
	uint64_t left;
	int ret = get_int(r, 8, tensors);

	if (!ret)
		ret = get_int(r, 8, keys);
	if (ret)
		return ret;
	left = r->f->size - r->at;
	if (*keys > KEYS_MAX || *keys > left / KEY_BYTES_MIN)
		return llm_fail(r->err, -EBADMSG, "%s: %llu keys in a file of %llu bytes", path,
				(unsigned long long)*keys, (unsigned long long)r->f->size);
	if (*tensors > TENSORS_MAX || *tensors > left / TENSOR_BYTES_MIN)
		return llm_fail(r->err, -EBADMSG, "%s: %llu tensors in a file of %llu bytes", path,
				(unsigned long long)*tensors, (unsigned long long)r->f->size);
	return 0;
}

/* "general.alignment", before the keys are sorted. */
static int read_alignment(struct reader *r, uint64_t *align)
{
	const struct zw_gguf *g = r->g;
	uint32_t v = (uint32_t)*align;

	for (size_t i = 0; i < g->num_values; i++) {
		const struct gguf_value *it = &g->values[i];

		if (strcmp(it->key, "general.alignment"))
			continue;
		if (it->type != GGUF_U32 || it->is_array)
			return llm_fail(r->err, -EBADMSG, "%s: general.alignment is not a u32",
					g->path);
		memcpy(&v, g->header + it->at, sizeof(v));
	}
	if (v < 8 || v > ALIGN_MAX || v & (v - 1))
		return llm_fail(r->err, -EBADMSG,
				"%s: general.alignment %u is no power of two from 8 to %u", g->path,
				v, ALIGN_MAX);
	*align = v;
	return 0;
}

static int read_all(struct reader *r)
{
	struct zw_gguf *g = r->g;
	uint64_t tensors, keys, align = ALIGN_DEFAULT;
	int ret = read_magic(r);

	if (!ret)
		ret = read_counts(r, &tensors, &keys);
	if (ret)
		return ret;
	g->values = calloc(keys ? keys : 1, sizeof(*g->values));
	g->tensors = calloc(tensors ? tensors : 1, sizeof(*g->tensors));
	if (!g->values || !g->tensors)
		return llm_fail(r->err, -ENOMEM, "%s: out of memory", g->path);
	while (g->num_values < keys && !ret) {
		ret = read_value(r, g->num_values, &g->values[g->num_values]);
		g->num_values++;
	}
	if (!ret)
		ret = read_alignment(r, &align);
	while (g->num_tensors < tensors && !ret) {
		ret = read_tensor(r, g->num_tensors, &g->tensors[g->num_tensors]);
		g->num_tensors++;
	}
	if (ret)
		return ret;
	r->f->data = (r->at + align - 1) / align * align;
	/* A file without tensors may end with its header. */
	if (r->f->data > r->f->size)
		r->f->data = r->f->size;
	for (size_t i = 0; i < g->num_tensors && !ret; i++)
		ret = check_place(r, &g->tensors[i], align);
	return ret;
}

int gguf_read_header(struct zw_gguf *g, struct zw_error *err)
{
	struct reader r = {.g = g, .f = &g->files[0], .err = err};

	return read_all(&r);
}

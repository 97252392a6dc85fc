// SPDX-License-Identifier: MIT
/*
 * Quantised matrices. The table says for each format which tensors there are and what shapes they
 * have; the rest finds and checks them. quant_plan.c turns them into parts of a load plan.
 */
#include "quant.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_LEN 200
#define PARTS_MAX    6

/* ---- which tensors ---- */

enum dim {
	DIM_1,
	DIM_2,
	DIM_N,
	DIM_K,
	DIM_K_HALF,  /* two elements a byte */
	DIM_K_WORDS, /* as many elements a 32-bit word as there is room for */
	DIM_N_WORDS,
	DIM_N_BLOCKS, /* that share a scale */
	DIM_K_BLOCKS,
};

struct part {
	const char *suffix; /* in the place of "weight" */
	const char *other;  /* or that, where it is not NULL */
	uint8_t role;       /* enum llm_quant_role */
	bool optional;
	uint64_t dtypes;
	uint8_t dim[2];
};

#define FLOATS (ZW_DT(F32) | ZW_DT(F16) | ZW_DT(BF16))

#define SCALE_ROWS                                                                                 \
	{                                                                                          \
		"weight_scale", NULL, LLM_ROLE_SCALE, false, FLOATS,                               \
		{                                                                                  \
			DIM_N_BLOCKS, DIM_K_BLOCKS                                                 \
		}                                                                                  \
	}
/* Of activations: each row of them has its own here. */
#define INPUT_SCALE                                                                                \
	{                                                                                          \
		"input_scale", "activation_scale", LLM_ROLE_NONE, true, FLOATS,                    \
		{                                                                                  \
			DIM_1, DIM_1                                                               \
		}                                                                                  \
	}
/* Rows of words, or plain: see take_part(). */
#define ZERO_ROWS                                                                                  \
	{                                                                                          \
		"weight_zero_point", NULL, LLM_ROLE_ZERO, true, ZW_DT(I32) | ZW_DT(I8),            \
		{                                                                                  \
			DIM_N_WORDS, DIM_K_BLOCKS                                                  \
		}                                                                                  \
	}
#define ORDER_ROW(suffix)                                                                          \
	{                                                                                          \
		suffix, NULL, LLM_ROLE_ORDER, true, ZW_DT(I32),                                    \
		{                                                                                  \
			DIM_K, DIM_1                                                               \
		}                                                                                  \
	}
#define FP8_ROW                                                                                    \
	{                                                                                          \
		"weight", NULL, LLM_ROLE_W, false, ZW_DT(F8E4M3),                                  \
		{                                                                                  \
			DIM_N, DIM_K                                                               \
		}                                                                                  \
	}
/* clang-format off */
static const struct part parts_of[][PARTS_MAX] = {
	[LLM_QUANT_FP8] = {
		FP8_ROW,
		{"weight_scale_inv", "weight_scale", LLM_ROLE_SCALE, false,
		 ZW_DT(F32) | ZW_DT(BF16) | ZW_DT(E8M0), {DIM_N_BLOCKS, DIM_K_BLOCKS}},
		INPUT_SCALE,
	},
	[LLM_QUANT_GPTQ] = {
		{"qweight", NULL, LLM_ROLE_W, false, ZW_DT(I32), {DIM_K_WORDS, DIM_N}},
		{"scales", NULL, LLM_ROLE_SCALE, false, FLOATS, {DIM_K_BLOCKS, DIM_N}},
		{"qzeros", NULL, LLM_ROLE_ZERO, false, ZW_DT(I32), {DIM_K_BLOCKS, DIM_N_WORDS}},
		ORDER_ROW("g_idx"),
	},
	[LLM_QUANT_AWQ] = {
		{"qweight", NULL, LLM_ROLE_W, false, ZW_DT(I32), {DIM_K, DIM_N_WORDS}},
		{"scales", NULL, LLM_ROLE_SCALE, false, FLOATS, {DIM_K_BLOCKS, DIM_N}},
		{"qzeros", NULL, LLM_ROLE_ZERO, false, ZW_DT(I32), {DIM_K_BLOCKS, DIM_N_WORDS}},
	},
	[LLM_QUANT_INTS] = {
		{"weight", NULL, LLM_ROLE_W, false, ZW_DT(I8), {DIM_N, DIM_K}},
		SCALE_ROWS,
		ZERO_ROWS,
		ORDER_ROW("weight_g_idx"),
		INPUT_SCALE,
		{"input_zero_point", NULL, LLM_ROLE_NONE, true, ZW_DT(I8), {DIM_1, DIM_1}},
	},
	[LLM_QUANT_FLOATS] = {
		FP8_ROW,
		SCALE_ROWS,
		INPUT_SCALE,
	},
	[LLM_QUANT_PACKED] = {
		{"weight_packed", NULL, LLM_ROLE_W, false, ZW_DT(I32), {DIM_N, DIM_K_WORDS}},
		SCALE_ROWS,
		ZERO_ROWS,
		ORDER_ROW("weight_g_idx"),
		{"weight_shape", NULL, LLM_ROLE_SHAPE, true, ZW_DT(I64) | ZW_DT(I32), {DIM_2, DIM_1}},
	},
	[LLM_QUANT_NVFP4] = {
		{"weight_packed", NULL, LLM_ROLE_W, false, ZW_DT(U8), {DIM_N, DIM_K_HALF}},
		{"weight_scale", NULL, LLM_ROLE_SCALE, false, ZW_DT(F8E4M3), {DIM_N_BLOCKS, DIM_K_BLOCKS}},
		{"weight_global_scale", NULL, LLM_ROLE_SCALE2, false, ZW_DT(F32), {DIM_1, DIM_1}},
		{"input_global_scale", NULL, LLM_ROLE_NONE, true, ZW_DT(F32), {DIM_1, DIM_1}},
	},
	[LLM_QUANT_MXFP4] = {
		{"weight_packed", NULL, LLM_ROLE_W, false, ZW_DT(U8), {DIM_N, DIM_K_HALF}},
		{"weight_scale", NULL, LLM_ROLE_SCALE, false, ZW_DT(U8) | ZW_DT(E8M0), {DIM_N_BLOCKS, DIM_K_BLOCKS}},
	},
	[LLM_QUANT_MXFP8] = {
		FP8_ROW,
		{"weight_scale", NULL, LLM_ROLE_SCALE, false, ZW_DT(U8) | ZW_DT(E8M0), {DIM_N_BLOCKS, DIM_K_BLOCKS}},
		INPUT_SCALE,
	},
	[LLM_QUANT_MODELOPT_NVFP4] = {
		{"weight", NULL, LLM_ROLE_W, false, ZW_DT(U8), {DIM_N, DIM_K_HALF}},
		{"weight_scale", NULL, LLM_ROLE_SCALE, false, ZW_DT(F8E4M3), {DIM_N_BLOCKS, DIM_K_BLOCKS}},
		{"weight_scale_2", NULL, LLM_ROLE_SCALE2, false, ZW_DT(F32), {DIM_1, DIM_1}},
		INPUT_SCALE,
	},
};
/* clang-format on */

static uint64_t blocks_of(uint64_t n, uint32_t block)
{
	return block ? (n + block - 1) / block : 1;
}

static uint64_t dim_of(const struct llm_quant_matrix *m, uint8_t dim)
{
	const struct llm_quant_scheme *q = m->scheme;
	uint32_t per = 32 / q->bits;

	switch (dim) {
	case DIM_2:
		return 2;
	case DIM_N:
		return m->n;
	case DIM_K:
		return m->k;
	case DIM_K_HALF:
		return (m->k + 1) / 2;
	case DIM_K_WORDS:
		return (m->k + per - 1) / per;
	case DIM_N_WORDS:
		return (m->n + per - 1) / per;
	case DIM_N_BLOCKS:
		return blocks_of(m->n, q->block[0]);
	case DIM_K_BLOCKS:
		return blocks_of(m->k, q->block[1]);
	default:
		return 1;
	}
}

/* Rows and columns of a part; zero points that are no words are like scales. */
static void part_shape(const struct llm_quant_matrix *m, const struct part *part, uint32_t dtype,
		       uint64_t dim[2])
{
	bool plain = part->role == LLM_ROLE_ZERO && dtype == ZW_DTYPE_I8;

	dim[0] = dim_of(m, plain ? DIM_N_BLOCKS : part->dim[0]);
	dim[1] = dim_of(m, part->dim[1]);
}

/* Shapes are compared without ones: one scale is [], [1] or [1, 1], and blocks may be [N, 1, K, 1]. */
static bool has_shape(const struct llm_quant_matrix *m, const struct part *part,
		      const struct llm_source_tensor *t, const uint64_t dim[2])
{
	uint64_t want[3] = {m->experts ? m->experts : 1, dim[0], dim[1]};
	uint32_t i = 0, j = 0;

	/* One for each expert, or for all: nobody reads it. */
	if (m->experts && part->role == LLM_ROLE_NONE)
		return true;
	for (;; i++, j++) {
		while (i < t->ndim && t->dim[i] == 1)
			i++;
		while (j < 3 && want[j] == 1)
			j++;
		if (i == t->ndim || j == 3)
			return i == t->ndim && j == 3;
		if (t->dim[i] != want[j])
			return false;
	}
}

static int wrong_shape(const struct llm_quant_matrix *m, const struct llm_source_tensor *t,
		       const uint64_t dim[2], struct zw_error *err)
{
	char is[100] = "", first[24] = "";
	size_t at = 0;

	for (uint32_t i = 0; i < t->ndim && at < sizeof(is); i++)
		at += (size_t)snprintf(is + at, sizeof(is) - at, "%s%llu", i ? "," : "",
				       (unsigned long long)t->dim[i]);
	if (m->experts)
		snprintf(first, sizeof(first), "%u,", m->experts);
	return llm_fail(err, -EBADMSG,
			"%s: tensor %s: shape [%s], configuration and quantization_config need "
			"[%s%llu,%llu]",
			t->file, t->name, is, first, (unsigned long long)dim[0],
			(unsigned long long)dim[1]);
}

/* ---- what is in small ones ---- */

/* The expert's share of a tensor, or all of it; released by the caller. */
static int read_share(const struct llm_source *src, const struct llm_quant_matrix *m, size_t tensor,
		      void **data, uint64_t *bytes, struct zw_error *err)
{
	struct llm_source_tensor t;
	int ret;

	src->ops->get(src, tensor, &t);
	*bytes = t.bytes / (m->experts ? m->experts : 1);
	*data = malloc(*bytes ? *bytes : 1);
	if (!*data)
		return llm_fail(err, -ENOMEM, "out of memory");
	ret = src->ops->read(src, tensor, m->expert * *bytes, *data, *bytes, err);
	if (ret)
		free(*data);
	return ret;
}

/* The columns of each group one after the other: *order, or NULL where they are so already. */
static int sort_columns(const struct llm_quant_matrix *m, const int32_t *group, int32_t **order)
{
	uint64_t size = m->scheme->block[1] ? m->scheme->block[1] : m->k, groups = m->k / size;
	uint64_t *next = malloc((groups ? groups : 1) * sizeof(*next));
	bool sorted = true;
	int ret = 0;

	*order = malloc((m->k ? m->k : 1) * sizeof(**order));
	if (!next || !*order) {
		free(next);
		return -ENOMEM;
	}
	for (uint64_t g = 0; g < groups; g++)
		next[g] = g * size;
	for (uint64_t k = 0; k < m->k && !ret; k++) {
		uint64_t g = (uint32_t)group[k];

		if (g >= groups || next[g] == (g + 1) * size) {
			ret = -EBADMSG;
		} else {
			sorted &= next[g] == k;
			(*order)[next[g]++] = (int32_t)k;
		}
	}
	free(next);
	if (sorted) {
		free(*order);
		*order = NULL;
	}
	return ret;
}

/* Columns of other groups than those of their place; all -1: there are none. */
static int read_order(const struct llm_source *src, struct llm_quant_matrix *m,
		      const struct llm_source_tensor *t, size_t tensor, struct zw_error *err)
{
	uint64_t bytes;
	int32_t *group;
	bool none = true;
	int ret = read_share(src, m, tensor, (void **)&group, &bytes, err);

	if (ret)
		return ret;
	for (uint64_t k = 0; k < m->k; k++)
		none &= group[k] == -1;
	ret = none ? 0 : sort_columns(m, group, &m->order);
	free(group);
	if (ret == -EBADMSG)
		return llm_fail(err, ret, "%s: tensor %s: not %u columns of each group", t->file,
				t->name,
				m->scheme->block[1] ? m->scheme->block[1] : (uint32_t)m->k);
	return ret ? llm_fail(err, ret, "out of memory") : 0;
}

static int check_size(const struct llm_source *src, const struct llm_quant_matrix *m,
		      const struct llm_source_tensor *t, size_t tensor, struct zw_error *err)
{
	uint64_t bytes, size[2];
	void *data;
	int ret = read_share(src, m, tensor, &data, &bytes, err);

	if (ret)
		return ret;
	if (bytes == sizeof(size))
		memcpy(size, data, sizeof(size));
	for (int i = 0; i < 2 && bytes != sizeof(size); i++)
		size[i] = ((const uint32_t *)data)[i];
	free(data);
	if (size[0] == m->n && size[1] == m->k)
		return 0;
	return llm_fail(err, -EBADMSG,
			"%s: tensor %s: says [%llu,%llu], the configuration needs [%llu,%llu]",
			t->file, t->name, (unsigned long long)size[0], (unsigned long long)size[1],
			(unsigned long long)m->n, (unsigned long long)m->k);
}

static int read_scale2(const struct llm_source *src, struct llm_quant_matrix *m,
		       const struct llm_source_tensor *t, size_t tensor, struct zw_error *err)
{
	float v;
	int ret = src->ops->read(src, tensor, m->expert * sizeof(v), &v, sizeof(v), err);

	if (ret)
		return ret;
	/* compressed-tensors stores what scales were multiplied by, others what they are to be. */
	m->scale2 = m->scheme->format == LLM_QUANT_NVFP4 ? 1 / v : v;
	if (isfinite(v) && isfinite(m->scale2) && m->scale2 > 0)
		return 0;
	return llm_fail(err, -EBADMSG, "%s: tensor %s: %g is no scale", t->file, t->name,
			(double)v);
}

/*
 * Integers are signed on the device: half of their range is taken from elements and zero points alike. Where
 * what is left of all zero points is 0 there is nothing to subtract, as in every symmetric file.
 */
static int read_zeros(const struct llm_source *src, struct llm_quant_matrix *m,
		      const struct llm_source_tensor *t, size_t tensor, struct zw_error *err)
{
	uint32_t bits = t->dtype == ZW_DTYPE_I8 ? 8 : m->scheme->bits, mask = (1u << bits) - 1;
	uint32_t none = t->dtype == ZW_DTYPE_I8 ? 0 : 1u << (bits - 1);
	uint64_t bytes;
	uint8_t *zeros;
	int ret = read_share(src, m, tensor, (void **)&zeros, &bytes, err);

	if (ret)
		return ret;
	m->no_zero = true;
	for (uint64_t i = 0; i < bytes && m->no_zero; i++) {
		for (uint32_t at = 0; at < 8; at += bits)
			m->no_zero &= (((zeros[i] >> at) + m->scheme->zero_add) & mask) == none;
	}
	free(zeros);
	return 0;
}

/* ---- finding ---- */

static bool is_turned(const struct llm_quant_scheme *q)
{
	return q->format == LLM_QUANT_GPTQ || q->format == LLM_QUANT_AWQ;
}

/*
 * "X.weight" with the suffix in the place of its end. All experts in one tensor have "X" for the elements,
 * "X_scale" for what is X.weight_scale else.
 */
static void part_name(char *out, const struct llm_quant_want *want, const char *suffix)
{
	size_t len = strlen(want->name), cut = strlen("weight");

	if (!want->experts)
		snprintf(out, NAME_MAX_LEN, "%.*s%s", (int)(len - cut), want->name, suffix);
	else if (strncmp(suffix, "weight", cut))
		snprintf(out, NAME_MAX_LEN, "%s_%s", want->name, suffix);
	else
		snprintf(out, NAME_MAX_LEN, "%s%s", want->name, suffix + cut);
}

static long find_part(const struct llm_source *src, const struct llm_quant_want *want,
		      const struct part *part)
{
	char full[NAME_MAX_LEN];
	long i;

	part_name(full, want, part->suffix);
	i = src->ops->find(src, full);
	if (i >= 0 || !part->other)
		return i;
	part_name(full, want, part->other);
	return src->ops->find(src, full);
}

static bool is_matrix_name(const struct llm_quant_want *want)
{
	size_t len = strlen(want->name);

	return len > 7 && len < NAME_MAX_LEN - 32 &&
	       (want->experts || !strcmp(want->name + len - 7, ".weight"));
}

/*
 * Whether there is anything of the quantised form. Where that has a tensor of the plain name, its type
 * says what it is, and everything else beside a plain one is left to be told of as surplus.
 */
static bool is_there(const struct llm_source *src, const struct llm_quant_scheme *q,
		     const struct llm_quant_want *want)
{
	const struct part *parts = parts_of[q->format];
	struct llm_source_tensor t;
	long plain = src->ops->find(src, want->name);

	if (want->experts && is_turned(q))
		return false;
	if (plain >= 0) {
		src->ops->get(src, (size_t)plain, &t);
		if (t.dtype < 64 && FLOATS >> t.dtype & 1)
			return false;
		if (!strcmp(parts[0].suffix, "weight"))
			return true;
	}
	for (size_t i = 0; i < PARTS_MAX && parts[i].suffix; i++) {
		if (find_part(src, want, &parts[i]) >= 0)
			return true;
	}
	return false;
}

static bool has_dtype(const struct part *part, const struct llm_source_tensor *t)
{
	return t->dtype < 64 && part->dtypes >> t->dtype & 1;
}

/* Whether all tensors of the form are there, with its types and shapes. */
static bool fits(const struct llm_source *src, const struct llm_quant_want *want,
		 const struct llm_quant_matrix *m)
{
	const struct part *parts = parts_of[m->scheme->format];

	for (size_t i = 0; i < PARTS_MAX && parts[i].suffix; i++) {
		struct llm_source_tensor t;
		uint64_t dim[2];
		long at = find_part(src, want, &parts[i]);

		if (at < 0 && parts[i].optional &&
		    (parts[i].role != LLM_ROLE_ZERO || !m->scheme->asym))
			continue;
		if (at < 0)
			return false;
		src->ops->get(src, (size_t)at, &t);
		part_shape(m, &parts[i], t.dtype, dim);
		if (!has_dtype(&parts[i], &t) || !has_shape(m, &parts[i], &t, dim))
			return false;
	}
	return true;
}

static int take_part(const struct llm_source *src, const struct llm_quant_want *want,
		     const struct part *part, uint8_t *seen, struct llm_quant_matrix *m,
		     struct zw_error *err)
{
	bool optional = part->optional && (part->role != LLM_ROLE_ZERO || !m->scheme->asym);
	char full[NAME_MAX_LEN];
	struct llm_source_tensor t;
	uint64_t dim[2];
	long i = find_part(src, want, part);

	if (i < 0 && optional)
		return 0;
	if (i < 0) {
		part_name(full, want, part->suffix);
		return llm_fail(err, -EBADMSG, "%s: tensor %s is missing", src->path, full);
	}
	seen[i] = 1;
	src->ops->get(src, (size_t)i, &t);
	if (!has_dtype(part, &t))
		return llm_fail(err, -EBADMSG,
				"%s: tensor %s: dtype %s does not go with quantization_config",
				t.file, t.name, t.dtype_name);
	part_shape(m, part, t.dtype, dim);
	if (!has_shape(m, part, &t, dim))
		return wrong_shape(m, &t, dim, err);
	if (part->role < LLM_ROLE_COUNT) {
		m->tensor[part->role] = i;
		m->cols[part->role] = dim[1];
	}
	switch (part->role) {
	case LLM_ROLE_ORDER:
		return read_order(src, m, &t, (size_t)i, err);
	case LLM_ROLE_SHAPE:
		return check_size(src, m, &t, (size_t)i, err);
	case LLM_ROLE_SCALE2:
		return read_scale2(src, m, &t, (size_t)i, err);
	case LLM_ROLE_ZERO:
		return read_zeros(src, m, &t, (size_t)i, err);
	default:
		return 0;
	}
}

/* Blocks that are cut off at the end of a row are for scales of blocks of rows and columns only. */
static int check_groups(const struct llm_source *src, const struct llm_quant_matrix *m,
			const char *name, struct zw_error *err)
{
	const struct llm_quant_scheme *q = m->scheme;
	uint32_t group = q->block[1], per = 32 / q->bits;

	if (q->block[0] <= 1 && group && m->k % group)
		return llm_fail(err, -EBADMSG,
				"%s: tensor %s: groups of %u do not divide its %llu columns",
				src->path, name, group, (unsigned long long)m->k);
	if (q->bits < 8 && m->k % per)
		return llm_fail(err, -EOPNOTSUPP,
				"%s: tensor %s: %llu columns of %u bits are no whole words",
				src->path, name, (unsigned long long)m->k, q->bits);
	return 0;
}

/* The scheme of a matrix: the only one of which there is something, or of several the first that fits. */
static const struct llm_quant_scheme *scheme_of(const struct llm_source *src,
						const struct llm_quant_config *q,
						const struct llm_quant_want *want,
						struct llm_quant_matrix *m)
{
	const struct llm_quant_scheme *first = NULL;

	for (uint32_t i = 0; i < q->num; i++) {
		m->scheme = &q->scheme[i];
		if (!is_there(src, m->scheme, want))
			continue;
		if (fits(src, want, m))
			return m->scheme;
		first = first ? first : m->scheme;
	}
	return first;
}

int llm_quant_find(const struct llm_source *src, const struct llm_quant_config *q,
		   const struct llm_quant_want *want, uint8_t *seen, struct llm_quant_matrix *m,
		   struct zw_error *err)
{
	const struct llm_take *rows = want->rows;
	const struct part *parts;
	int ret;

	*m = (struct llm_quant_matrix){
		.tensor = {-1, -1, -1, -1},
		.n = want->n,
		.k = want->k,
		.experts = want->experts,
		.expert = want->expert,
	};
	if (!is_matrix_name(want))
		return 0;
	m->scheme = scheme_of(src, q, want, m);
	if (!m->scheme)
		return 0;
	m->rows = (struct llm_take){.run = m->n, .step = m->n, .count = 1};
	if (rows && rows->run) {
		m->rows.first = rows->first;
		m->rows.run = rows->run;
		m->rows.step = rows->step ? rows->step : rows->run;
		m->rows.count = rows->count ? rows->count : 1;
	}
	parts = parts_of[m->scheme->format];
	ret = check_groups(src, m, want->name, err);
	for (size_t i = 0; i < PARTS_MAX && parts[i].suffix && !ret; i++)
		ret = take_part(src, want, &parts[i], seen, m, err);
	return ret ? ret : 1;
}

void llm_quant_free(struct llm_quant_matrix *m)
{
	free(m->order);
	m->order = NULL;
}

bool llm_quant_same_order(const struct llm_quant_matrix *a, const struct llm_quant_matrix *b)
{
	if (!a->order || !b->order)
		return !a->order && !b->order;
	return !memcmp(a->order, b->order, a->k * sizeof(*a->order));
}

/* ---- what is left ---- */

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && !strcmp(s + n - m, end);
}

static int is_zero(const struct llm_source *src, size_t tensor, const struct llm_source_tensor *t,
		   struct zw_error *err)
{
	struct llm_quant_matrix whole = {0};
	unsigned int size = zw_dtype_bits(t->dtype) / 8;
	uint64_t bytes;
	uint8_t *data;
	bool zero = true;
	int ret = read_share(src, &whole, tensor, (void **)&data, &bytes, err);

	if (ret)
		return ret;
	/* -0 is 0. */
	for (uint64_t i = 0; i < bytes; i++)
		zero &= !(data[i] & (i % size == size - 1 ? 0x7f : 0xff));
	free(data);
	if (zero)
		return 1;
	return llm_fail(err, -EBADMSG, "%s: tensor %s: a bias that the model does not have",
			t->file, t->name);
}

int llm_quant_surplus(const struct llm_source *src, size_t tensor, struct zw_error *err)
{
	static const char *const kv[] = {".k_scale",
					 ".v_scale",
					 ".q_scale",
					 ".kv_scale",
					 ".k_zero_point",
					 ".v_zero_point",
					 ".k_proj.output_scale",
					 ".v_proj.output_scale"};
	struct llm_source_tensor t;
	char weight[NAME_MAX_LEN];

	src->ops->get(src, tensor, &t);
	for (size_t i = 0; i < ZW_ARRAY_SIZE(kv); i++) {
		if (strstr(t.name, ".self_attn.") && ends_with(t.name, kv[i]))
			return 1;
	}
	if (!ends_with(t.name, ".bias") || strlen(t.name) > NAME_MAX_LEN - 8 || t.dtype >= 64 ||
	    !(FLOATS >> t.dtype & 1))
		return 0;
	snprintf(weight, sizeof(weight), "%.*sqweight", (int)(strlen(t.name) - strlen("bias")),
		 t.name);
	return src->ops->find(src, weight) < 0 ? 0 : is_zero(src, tensor, &t, err);
}

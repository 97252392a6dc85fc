// SPDX-License-Identifier: MIT
/*
 * Quantised matrices. The table says for each format which tensors there are and what shapes they
 * have; the rest checks them and turns them into parts of a load plan.
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
	uint8_t role;       /* enum llm_quant_role */
	bool optional;
	uint64_t dtypes;
	uint8_t dim[2];
};

#define FLOATS (ZW_DT(F32) | ZW_DT(F16) | ZW_DT(BF16))

static const struct part parts_of[][PARTS_MAX] = {
	[LLM_QUANT_FP8] =
		{
			{"weight", LLM_ROLE_W, false, ZW_DT(F8E4M3), {DIM_N, DIM_K}},
			{"weight_scale_inv",
			 LLM_ROLE_SCALE,
			 false,
			 ZW_DT(F32) | ZW_DT(BF16),
			 {DIM_N_BLOCKS, DIM_K_BLOCKS}},
		},
	[LLM_QUANT_GPTQ] =
		{
			{"qweight", LLM_ROLE_W, false, ZW_DT(I32), {DIM_K_WORDS, DIM_N}},
			{"scales", LLM_ROLE_SCALE, false, FLOATS, {DIM_K_BLOCKS, DIM_N}},
			{"qzeros", LLM_ROLE_ZERO, false, ZW_DT(I32), {DIM_K_BLOCKS, DIM_N_WORDS}},
			{"g_idx", LLM_ROLE_ORDER, true, ZW_DT(I32), {DIM_K, DIM_1}},
		},
	[LLM_QUANT_AWQ] =
		{
			{"qweight", LLM_ROLE_W, false, ZW_DT(I32), {DIM_K, DIM_N_WORDS}},
			{"scales", LLM_ROLE_SCALE, false, FLOATS, {DIM_K_BLOCKS, DIM_N}},
			{"qzeros", LLM_ROLE_ZERO, false, ZW_DT(I32), {DIM_K_BLOCKS, DIM_N_WORDS}},
		},
	[LLM_QUANT_INTS] =
		{
			{"weight", LLM_ROLE_W, false, ZW_DT(I8), {DIM_N, DIM_K}},
			{"weight_scale",
			 LLM_ROLE_SCALE,
			 false,
			 FLOATS,
			 {DIM_N_BLOCKS, DIM_K_BLOCKS}},
		},
	[LLM_QUANT_FLOATS] =
		{
			{"weight", LLM_ROLE_W, false, ZW_DT(F8E4M3), {DIM_N, DIM_K}},
			{"weight_scale",
			 LLM_ROLE_SCALE,
			 false,
			 FLOATS,
			 {DIM_N_BLOCKS, DIM_K_BLOCKS}},
		},
	[LLM_QUANT_PACKED] =
		{
			{"weight_packed", LLM_ROLE_W, false, ZW_DT(I32), {DIM_N, DIM_K_WORDS}},
			{"weight_scale",
			 LLM_ROLE_SCALE,
			 false,
			 FLOATS,
			 {DIM_N_BLOCKS, DIM_K_BLOCKS}},
			{"weight_shape",
			 LLM_ROLE_SHAPE,
			 true,
			 ZW_DT(I64) | ZW_DT(I32),
			 {DIM_2, DIM_1}},
		},
	[LLM_QUANT_NVFP4] =
		{
			{"weight_packed", LLM_ROLE_W, false, ZW_DT(U8), {DIM_N, DIM_K_HALF}},
			{"weight_scale",
			 LLM_ROLE_SCALE,
			 false,
			 ZW_DT(F8E4M3),
			 {DIM_N_BLOCKS, DIM_K_BLOCKS}},
			{"weight_global_scale", LLM_ROLE_SCALE2, false, ZW_DT(F32), {DIM_1, DIM_1}},
			{"input_global_scale", LLM_ROLE_NONE, true, ZW_DT(F32), {DIM_1, DIM_1}},
		},
	[LLM_QUANT_MXFP4] =
		{
			{"weight_packed", LLM_ROLE_W, false, ZW_DT(U8), {DIM_N, DIM_K_HALF}},
			{"weight_scale",
			 LLM_ROLE_SCALE,
			 false,
			 ZW_DT(U8) | ZW_DT(E8M0),
			 {DIM_N_BLOCKS, DIM_K_BLOCKS}},
		},
	[LLM_QUANT_MODELOPT_NVFP4] =
		{
			{"weight", LLM_ROLE_W, false, ZW_DT(U8), {DIM_N, DIM_K_HALF}},
			{"weight_scale",
			 LLM_ROLE_SCALE,
			 false,
			 ZW_DT(F8E4M3),
			 {DIM_N_BLOCKS, DIM_K_BLOCKS}},
			{"weight_scale_2", LLM_ROLE_SCALE2, false, ZW_DT(F32), {DIM_1, DIM_1}},
			{"input_scale", LLM_ROLE_NONE, true, ZW_DT(F32), {DIM_1, DIM_1}},
		},
};

static uint64_t blocks_of(uint64_t n, uint32_t block)
{
	return block ? (n + block - 1) / block : 1;
}

static uint64_t dim_of(const struct llm_quant_config *q, const struct llm_quant_matrix *m,
		       uint8_t dim)
{
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

/* Shapes are compared without ones at their ends: one scale is [], [1] or [1, 1]. */
static int check_shape(const struct llm_source_tensor *t, uint64_t d0, uint64_t d1,
		       struct zw_error *err)
{
	uint64_t want[2] = {d0, d1};
	uint32_t have = t->ndim, need = 2;
	char is[100] = "";
	size_t at = 0;

	while (have && t->dim[have - 1] == 1)
		have--;
	while (need && want[need - 1] == 1)
		need--;
	if (have == need && !memcmp(t->dim, want, need * sizeof(want[0])))
		return 0;
	for (uint32_t i = 0; i < t->ndim && at < sizeof(is); i++)
		at += (size_t)snprintf(is + at, sizeof(is) - at, "%s%llu", i ? "," : "",
				       (unsigned long long)t->dim[i]);
	return llm_fail(err, -EBADMSG,
			"%s: tensor %s: shape [%s], configuration and quantization_config need "
			"[%llu,%llu]",
			t->file, t->name, is, (unsigned long long)d0, (unsigned long long)d1);
}

/* ---- what is in small ones ---- */

static int read_all(const struct llm_source *src, size_t tensor, void **data, uint64_t *bytes,
		    struct zw_error *err)
{
	struct llm_source_tensor t;
	int ret;

	src->ops->get(src, tensor, &t);
	*bytes = t.bytes;
	*data = malloc(t.bytes ? t.bytes : 1);
	if (!*data)
		return llm_fail(err, -ENOMEM, "out of memory");
	ret = src->ops->read(src, tensor, 0, *data, t.bytes, err);
	if (ret)
		free(*data);
	return ret;
}

static int check_order(const struct llm_source *src, const struct llm_quant_config *q,
		       const struct llm_source_tensor *t, size_t tensor, struct zw_error *err)
{
	uint64_t bytes;
	int32_t *group;
	int ret = read_all(src, tensor, (void **)&group, &bytes, err);

	if (ret)
		return ret;
	for (uint64_t k = 0; k < bytes / 4 && !ret; k++) {
		if ((uint32_t)group[k] != (q->block[1] ? k / q->block[1] : 0))
			ret = llm_fail(err, -EOPNOTSUPP,
				       "%s: tensor %s: column %llu is of group %d: columns out of "
				       "order (desc_act) are not supported",
				       t->file, t->name, (unsigned long long)k, group[k]);
	}
	free(group);
	return ret;
}

static int check_size(const struct llm_source *src, const struct llm_quant_matrix *m,
		      const struct llm_source_tensor *t, size_t tensor, struct zw_error *err)
{
	uint64_t bytes, size[2];
	void *data;
	int ret = read_all(src, tensor, &data, &bytes, err);

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

static int read_scale2(const struct llm_source *src, const struct llm_quant_config *q,
		       struct llm_quant_matrix *m, const struct llm_source_tensor *t, size_t tensor,
		       struct zw_error *err)
{
	float v;
	int ret = src->ops->read(src, tensor, 0, &v, sizeof(v), err);

	if (ret)
		return ret;
	/* compressed-tensors stores what scales were multiplied by, others what they are to be. */
	m->scale2 = q->format == LLM_QUANT_NVFP4 ? 1 / v : v;
	if (isfinite(v) && isfinite(m->scale2) && m->scale2 > 0)
		return 0;
	return llm_fail(err, -EBADMSG, "%s: tensor %s: %g is no scale", t->file, t->name,
			(double)v);
}

/*
 * 8-bit integers are signed on the device: 128 is taken from elements and zero points alike. The zero
 * point 256 of the older format does not fit then; where all are 128 there is nothing to subtract.
 */
static int read_zeros(const struct llm_source *src, const struct llm_quant_config *q,
		      struct llm_quant_matrix *m, const struct llm_source_tensor *t, size_t tensor,
		      struct zw_error *err)
{
	uint64_t bytes;
	uint8_t *zeros;
	int ret = read_all(src, tensor, (void **)&zeros, &bytes, err);

	if (ret)
		return ret;
	m->no_zero = true;
	for (uint64_t i = 0; i < bytes && !ret; i++) {
		uint32_t zero = zeros[i] + q->zero_add;

		m->no_zero &= zero == 128;
		if (zero > 255)
			ret = llm_fail(err, -EOPNOTSUPP,
				       "%s: tensor %s: zero point 256 is not supported", t->file,
				       t->name);
	}
	free(zeros);
	return ret;
}

/* ---- finding ---- */

/* "...weight" with the suffix in the place of its end. */
static void part_name(char *out, const char *name, const char *suffix)
{
	snprintf(out, NAME_MAX_LEN, "%.*s%s", (int)(strlen(name) - strlen("weight")), name, suffix);
}

static bool is_matrix_name(const char *name)
{
	size_t len = strlen(name);

	return len > 7 && len < NAME_MAX_LEN - 32 && !strcmp(name + len - 7, ".weight");
}

/*
 * Whether there is anything of the quantised form. Where that has a tensor of the plain name, its type
 * says what it is, and everything else beside a plain one is left to be told of as surplus.
 */
static bool is_there(const struct llm_source *src, const struct llm_quant_config *q,
		     const char *name)
{
	const struct part *parts = parts_of[q->format];
	char full[NAME_MAX_LEN];
	struct llm_source_tensor t;
	long plain = src->ops->find(src, name);

	if (plain >= 0) {
		src->ops->get(src, (size_t)plain, &t);
		if (t.dtype < 64 && FLOATS >> t.dtype & 1)
			return false;
		if (!strcmp(parts[0].suffix, "weight"))
			return true;
	}
	for (size_t i = 0; i < PARTS_MAX && parts[i].suffix; i++) {
		part_name(full, name, parts[i].suffix);
		if (src->ops->find(src, full) >= 0)
			return true;
	}
	return false;
}

static int take_part(const struct llm_source *src, const struct llm_quant_config *q,
		     const char *name, const struct part *part, uint8_t *seen,
		     struct llm_quant_matrix *m, struct zw_error *err)
{
	char full[NAME_MAX_LEN];
	struct llm_source_tensor t;
	long i;
	int ret;

	part_name(full, name, part->suffix);
	i = src->ops->find(src, full);
	if (i < 0)
		return part->optional ? 0
				      : llm_fail(err, -EBADMSG, "%s: tensor %s is missing",
						 src->path, full);
	seen[i] = 1;
	src->ops->get(src, (size_t)i, &t);
	if (t.dtype >= 64 || !(part->dtypes >> t.dtype & 1))
		return llm_fail(err, -EBADMSG,
				"%s: tensor %s: dtype %s does not go with quantization_config",
				t.file, t.name, t.dtype_name);
	ret = check_shape(&t, dim_of(q, m, part->dim[0]), dim_of(q, m, part->dim[1]), err);
	if (ret)
		return ret;
	if (part->role < LLM_ROLE_COUNT)
		m->tensor[part->role] = i;
	switch (part->role) {
	case LLM_ROLE_ORDER:
		return check_order(src, q, &t, (size_t)i, err);
	case LLM_ROLE_SHAPE:
		return check_size(src, m, &t, (size_t)i, err);
	case LLM_ROLE_SCALE2:
		return read_scale2(src, q, m, &t, (size_t)i, err);
	case LLM_ROLE_ZERO:
		return q->bits == 8 ? read_zeros(src, q, m, &t, (size_t)i, err) : 0;
	default:
		return 0;
	}
}

/* Blocks that are cut off at the end of a row are for scales of blocks of rows and columns only. */
static int check_groups(const struct llm_source *src, const struct llm_quant_config *q,
			const char *name, uint64_t k, struct zw_error *err)
{
	uint32_t group = q->block[1], per = 32 / q->bits;

	if (q->block[0] <= 1 && group && k % group)
		return llm_fail(err, -EBADMSG,
				"%s: tensor %s: groups of %u do not divide its %llu columns",
				src->path, name, group, (unsigned long long)k);
	if (q->bits < 8 && k % per)
		return llm_fail(err, -EOPNOTSUPP,
				"%s: tensor %s: %llu columns of %u bits are no whole words",
				src->path, name, (unsigned long long)k, q->bits);
	return 0;
}

int llm_quant_find(const struct llm_source *src, const struct llm_quant_config *q, const char *name,
		   uint64_t n, uint64_t k, const struct llm_take *rows, uint8_t *seen,
		   struct llm_quant_matrix *m, struct zw_error *err)
{
	const struct part *parts = parts_of[q->format];
	int ret;

	if (!q->format || !is_matrix_name(name) || !is_there(src, q, name))
		return 0;
	*m = (struct llm_quant_matrix){.tensor = {-1, -1, -1, -1}, .n = n, .k = k};
	m->rows = (struct llm_take){.run = n, .step = n, .count = 1};
	if (rows && rows->run) {
		m->rows.first = rows->first;
		m->rows.run = rows->run;
		m->rows.step = rows->step ? rows->step : rows->run;
		m->rows.count = rows->count ? rows->count : 1;
	}
	ret = check_groups(src, q, name, k, err);
	for (size_t i = 0; i < PARTS_MAX && parts[i].suffix && !ret; i++)
		ret = take_part(src, q, name, &parts[i], seen, m, err);
	return ret ? ret : 1;
}

/* ---- planning ---- */

static uint64_t gcd(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t r = a % b;

		a = b;
		b = r;
	}
	return a;
}

static uint64_t num_rows(const struct llm_quant_matrix *m)
{
	return m->rows.run * m->rows.count;
}

static uint64_t scale_rows_of(const struct llm_quant_config *q, const struct llm_quant_matrix *m)
{
	return q->block[0] ? q->block[0] : m->n;
}

/*
 * Rows of the fused matrix that share a scale: as many as the file says where every part begins with a
 * whole block of its own, else a divisor of that.
 */
static uint64_t common_rows(const struct llm_quant_config *q, const struct llm_quant_matrix *m,
			    size_t parts)
{
	uint64_t g = scale_rows_of(q, m), at = 0;

	for (size_t i = 0; i < parts; i++) {
		const struct llm_take *r = &m[i].rows;

		g = gcd(gcd(g, scale_rows_of(q, &m[i])), gcd(at, r->first));
		if (r->count > 1)
			g = gcd(g, gcd(r->run, r->step));
		at += num_rows(&m[i]);
	}
	return g;
}

static bool is_turned(const struct llm_quant_config *q)
{
	return q->format == LLM_QUANT_GPTQ || q->format == LLM_QUANT_AWQ;
}

static uint32_t weight_type(const struct llm_quant_config *q)
{
	switch (q->format) {
	case LLM_QUANT_FP8:
	case LLM_QUANT_FLOATS:
		return ZW_DTYPE_F8E4M3;
	case LLM_QUANT_GPTQ:
	case LLM_QUANT_AWQ:
		return q->bits == 8 ? ZW_DTYPE_I8 : ZW_DTYPE_U4;
	case LLM_QUANT_INTS:
	case LLM_QUANT_PACKED:
		return q->bits == 8 ? ZW_DTYPE_I8 : ZW_DTYPE_I4;
	default:
		return ZW_DTYPE_F4E2M1;
	}
}

static struct llm_unpack unpack_weight(const struct llm_quant_config *q)
{
	switch (q->format) {
	case LLM_QUANT_GPTQ:
		return (struct llm_unpack){.kind = LLM_UNPACK_TURN,
					   .order = LLM_PACK_DOWN,
					   .bits = (uint8_t)q->bits,
					   .plus = q->bits == 8 ? -128 : 0};
	case LLM_QUANT_AWQ:
		return (struct llm_unpack){
			.kind = LLM_UNPACK_TURN, .order = LLM_PACK_AWQ, .bits = 4};
	case LLM_QUANT_PACKED:
		return (struct llm_unpack){.kind = LLM_UNPACK_BITS,
					   .flip = q->bits == 8 ? 0x80 : 0x88};
	case LLM_QUANT_NVFP4:
	case LLM_QUANT_MXFP4:
	case LLM_QUANT_MODELOPT_NVFP4:
		return (struct llm_unpack){.kind = LLM_UNPACK_BITS};
	default:
		return (struct llm_unpack){0};
	}
}

static struct llm_unpack unpack_zero(const struct llm_quant_config *q)
{
	return (struct llm_unpack){
		.kind = LLM_UNPACK_TURN,
		.order = q->format == LLM_QUANT_AWQ ? LLM_PACK_AWQ : LLM_PACK_RIGHT,
		.bits = (uint8_t)q->bits,
		.plus = (int32_t)q->zero_add - (q->bits == 8 ? 128 : 0),
	};
}

static struct llm_take take_of(const struct llm_quant_matrix *m, int role, struct llm_unpack unpack)
{
	struct llm_take t = m->rows;

	t.tensor = (size_t)m->tensor[role];
	t.unpack = unpack;
	return t;
}

/* Scales of the matrix's rows, `per` of which share one in the destination. */
static struct llm_take take_scale(const struct llm_quant_config *q,
				  const struct llm_quant_matrix *m, uint64_t per)
{
	uint64_t block = scale_rows_of(q, m);
	struct llm_take t;

	if (is_turned(q))
		return take_of(m, LLM_ROLE_SCALE, (struct llm_unpack){.kind = LLM_UNPACK_TURN});
	t = take_of(m, LLM_ROLE_SCALE,
		    (struct llm_unpack){.kind = LLM_UNPACK_REPEAT, .block = block, .per = per});
	if (block != per)
		return t;
	/* They are rows of the tensor as they stand. */
	t.first /= per;
	t.run = (t.run + per - 1) / per;
	t.step = t.count > 1 ? t.step / per : t.run;
	t.unpack = (struct llm_unpack){0};
	if (q->format == LLM_QUANT_MXFP4)
		t.unpack.kind = LLM_UNPACK_BITS;
	return t;
}

struct work {
	struct llm_plan *p;
	const struct llm_quant_config *q;
	const struct llm_quant_matrix *m;
	size_t parts, n; /* of one matrix of the stack, of all */
	uint32_t experts;
	bool stacked;
	struct llm_take *takes;
	struct llm_linear *dst;
};

/* One second scale for each matrix of the stack, where its parts agree. */
static bool scale2_agrees(const struct work *w)
{
	for (size_t i = 0; i < w->n; i++) {
		if (w->m[i].scale2 != w->m[i - i % w->parts].scale2)
			return false;
	}
	return true;
}

static int plan_weight(struct work *w, struct zw_error *err)
{
	struct zw_tensor *dst = &w->dst->w;
	int ret;

	for (size_t i = 0; i < w->n; i++)
		w->takes[i] = take_of(&w->m[i], LLM_ROLE_W, unpack_weight(w->q));
	ret = llm_plan_add(w->p, dst, weight_type(w->q), w->takes, w->n, err);
	if (!ret && w->stacked)
		*dst = zw_tensor_3d(dst->dtype, dst->va, w->experts, dst->dim[0] / w->experts,
				    dst->dim[1]);
	return ret;
}

/* The type of the scales: that of the file, where one can be multiplied in, or all are of it. */
static uint32_t scale_type(const struct work *w, bool fold)
{
	struct llm_source_tensor t;

	if (w->q->format == LLM_QUANT_MXFP4)
		return ZW_DTYPE_E8M0;
	w->p->src->ops->get(w->p->src, (size_t)w->m->tensor[LLM_ROLE_SCALE], &t);
	if (t.dtype == ZW_DTYPE_F8E4M3)
		return fold ? ZW_DTYPE_F32 : ZW_DTYPE_F8E4M3;
	return ZW_DTYPE_NONE;
}

static int plan_scales(struct work *w, struct zw_error *err)
{
	bool has2 = w->m->tensor[LLM_ROLE_SCALE2] >= 0, fold = has2 && !scale2_agrees(w);
	uint64_t per = common_rows(w->q, w->m, w->parts), cols = w->q->block[1];
	struct zw_tensor *dst = &w->dst->scale;
	float *values;
	int ret;

	for (size_t i = 0; i < w->n; i++) {
		w->takes[i] = take_scale(w->q, &w->m[i], per);
		w->takes[i].mul = fold ? w->m[i].scale2 : 0;
	}
	ret = llm_plan_add(w->p, dst, scale_type(w, fold), w->takes, w->n, err);
	if (ret)
		return ret;
	*dst = zw_tensor_scales(dst->dtype, dst->va, w->dst->w, (uint32_t)per,
				(uint32_t)(cols ? cols : w->m->k));
	if (!has2 || fold)
		return 0;
	values = malloc(w->experts * sizeof(*values));
	if (!values)
		return llm_fail(err, -ENOMEM, "out of memory");
	for (uint32_t e = 0; e < w->experts; e++)
		values[e] = w->m[e * w->parts].scale2;
	ret = llm_plan_add_values(w->p, &w->dst->scale2, values, w->experts, err);
	free(values);
	return ret;
}

static int plan_zeros(struct work *w, struct zw_error *err)
{
	bool needed = false;
	struct zw_tensor *dst = &w->dst->zero;
	uint32_t cols = w->q->block[1];
	int ret;

	for (size_t i = 0; i < w->n; i++) {
		needed |= !w->m[i].no_zero;
		w->takes[i] = take_of(&w->m[i], LLM_ROLE_ZERO, unpack_zero(w->q));
	}
	if (!needed)
		return 0;
	ret = llm_plan_add(w->p, dst, w->q->bits == 8 ? ZW_DTYPE_I8 : ZW_DTYPE_U8, w->takes, w->n,
			   err);
	if (!ret)
		*dst = zw_tensor_scales(dst->dtype, dst->va, w->dst->w, 1,
					cols ? cols : (uint32_t)w->m->k);
	return ret;
}

int llm_quant_plan(struct llm_plan *p, const struct llm_quant_config *q,
		   const struct llm_quant_matrix *m, size_t parts, uint32_t experts, bool stacked,
		   struct llm_linear *dst, struct zw_error *err)
{
	struct work w = {p, q, m, parts, parts * experts, experts, stacked, NULL, dst};
	uint64_t parameters;
	int ret;

	w.takes = calloc(w.n, sizeof(*w.takes));
	if (!w.takes)
		return llm_fail(err, -ENOMEM, "out of memory");
	*dst = (struct llm_linear){.act = q->act, .act_block = q->act_block};
	if (q->act && !(p->dtypes >> q->act & 1)) {
		p->dtypes |= 1ull << q->act;
		p->first_of[q->act] = (size_t)m->tensor[LLM_ROLE_W];
	}
	ret = plan_weight(&w, err);
	/* Scales are none of the model's parameters. */
	parameters = p->parameters;
	if (!ret)
		ret = plan_scales(&w, err);
	if (!ret && m->tensor[LLM_ROLE_ZERO] >= 0)
		ret = plan_zeros(&w, err);
	p->parameters = parameters;
	free(w.takes);
	return ret;
}

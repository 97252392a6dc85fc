// SPDX-License-Identifier: MIT
/* Quantised matrices as destinations of a load plan. */
#include "quant.h"

#include <errno.h>
#include <stdlib.h>

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

static uint64_t scale_rows_of(const struct llm_quant_matrix *m)
{
	return m->scheme->block[0] ? m->scheme->block[0] : m->n;
}

/*
 * Rows of the fused matrix that share a scale: as many as the file says where every part begins with a
 * whole block of its own, else a divisor of that.
 */
static uint64_t common_rows(const struct llm_quant_matrix *m, size_t parts)
{
	uint64_t g = scale_rows_of(m), at = 0;

	for (size_t i = 0; i < parts; i++) {
		const struct llm_take *r = &m[i].rows;

		g = gcd(gcd(g, scale_rows_of(&m[i])), gcd(at, r->first));
		if (r->count > 1)
			g = gcd(g, gcd(r->run, r->step));
		at += num_rows(&m[i]);
	}
	return g;
}

static bool is_turned(const struct llm_quant_scheme *q)
{
	return q->format == LLM_QUANT_GPTQ || q->format == LLM_QUANT_AWQ;
}

static uint32_t weight_type(const struct llm_quant_scheme *q)
{
	switch (q->format) {
	case LLM_QUANT_FP8:
	case LLM_QUANT_FLOATS:
	case LLM_QUANT_MXFP8:
		return ZW_DTYPE_F8E4M3;
	case LLM_QUANT_GPTQ:
	case LLM_QUANT_AWQ:
	case LLM_QUANT_INTS:
	case LLM_QUANT_PACKED:
		return q->bits == 8 ? ZW_DTYPE_I8 : ZW_DTYPE_I4;
	default:
		return ZW_DTYPE_F4E2M1;
	}
}

/* What makes integers of a format with an offset signed. */
static int32_t offset_of(const struct llm_quant_scheme *q)
{
	return -(1 << (q->bits - 1));
}

static struct llm_unpack unpack_weight(const struct llm_quant_scheme *q)
{
	switch (q->format) {
	case LLM_QUANT_GPTQ:
	case LLM_QUANT_AWQ:
		return (struct llm_unpack){.kind = LLM_UNPACK_TURN,
					   .order = q->format == LLM_QUANT_AWQ ? LLM_PACK_AWQ
									       : LLM_PACK_DOWN,
					   .bits = (uint8_t)q->bits,
					   .plus = offset_of(q)};
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

static struct llm_take take_of(const struct llm_quant_matrix *m, int role, struct llm_unpack unpack)
{
	struct llm_take t = m->rows;

	t.tensor = (size_t)m->tensor[role];
	t.as_cols = m->cols[role];
	t.unpack = unpack;
	return t;
}

static struct llm_take take_weight(const struct llm_quant_matrix *m)
{
	struct llm_take t = take_of(m, LLM_ROLE_W, unpack_weight(m->scheme));

	t.first += m->expert * m->n;
	t.order = m->order;
	/* Bytes that are moved are packed elements, too. */
	if (t.order && !t.unpack.kind)
		t.unpack.kind = LLM_UNPACK_BITS;
	return t;
}

static uint32_t dtype_of(const struct llm_plan *p, const struct llm_quant_matrix *m, int role)
{
	struct llm_source_tensor t;

	p->src->ops->get(p->src, (size_t)m->tensor[role], &t);
	return t.dtype;
}

/* Numbers that blocks of rows share, those of other experts left out. */
static struct llm_unpack repeat(const struct llm_quant_matrix *m, uint64_t per)
{
	uint64_t block = scale_rows_of(m);

	return (struct llm_unpack){.kind = LLM_UNPACK_REPEAT,
				   .block = block,
				   .per = per,
				   .base = m->expert * ((m->n + block - 1) / block)};
}

static struct llm_take take_zero(const struct llm_plan *p, const struct llm_quant_matrix *m)
{
	const struct llm_quant_scheme *q = m->scheme;
	struct llm_unpack u = {
		.bits = (uint8_t)q->bits, .pre = (uint8_t)q->zero_add, .plus = offset_of(q)};

	if (is_turned(q)) {
		u.kind = LLM_UNPACK_TURN;
		u.order = q->format == LLM_QUANT_AWQ ? LLM_PACK_AWQ : LLM_PACK_RIGHT;
	} else if (dtype_of(p, m, LLM_ROLE_ZERO) == ZW_DTYPE_I8) {
		u = repeat(m, 1);
	} else {
		u.kind = LLM_UNPACK_STACK;
		u.base = m->expert * ((m->n + 32 / q->bits - 1) / (32 / q->bits));
	}
	return take_of(m, LLM_ROLE_ZERO, u);
}

/* Scales of the matrix's rows, `per` of which share one in the destination. */
static struct llm_take take_scale(const struct llm_plan *p, const struct llm_quant_matrix *m,
				  uint64_t per)
{
	struct llm_unpack u = repeat(m, per);
	struct llm_take t;

	if (is_turned(m->scheme))
		return take_of(m, LLM_ROLE_SCALE, (struct llm_unpack){.kind = LLM_UNPACK_TURN});
	t = take_of(m, LLM_ROLE_SCALE, u);
	if (u.block != per)
		return t;
	/* They are rows of the tensor as they stand. */
	t.first = t.first / per + u.base;
	t.run = (t.run + per - 1) / per;
	t.step = t.count > 1 ? t.step / per : t.run;
	t.unpack = (struct llm_unpack){0};
	if (dtype_of(p, m, LLM_ROLE_SCALE) == ZW_DTYPE_U8)
		t.unpack.kind = LLM_UNPACK_BITS;
	return t;
}

struct work {
	struct llm_plan *p;
	const struct llm_quant_scheme *q;
	const struct llm_quant_matrix *m;
	size_t parts, n; /* of one matrix of the stack, of all */
	uint32_t experts;
	bool stacked;
	struct llm_take *takes;
	struct llm_matrix *dst;
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
		w->takes[i] = take_weight(&w->m[i]);
	ret = llm_plan_add(w->p, dst, weight_type(w->q), w->takes, w->n, err);
	if (!ret && w->stacked)
		*dst = zw_tensor_3d(dst->dtype, dst->va, w->experts, dst->dim[0] / w->experts,
				    dst->dim[1]);
	return ret;
}

/* The type of the scales: that of the file, where one can be multiplied in, or all are of it. */
static uint32_t scale_type(const struct work *w, bool fold)
{
	switch (dtype_of(w->p, w->m, LLM_ROLE_SCALE)) {
	case ZW_DTYPE_U8:
	case ZW_DTYPE_E8M0:
		return ZW_DTYPE_E8M0;
	case ZW_DTYPE_F8E4M3:
		return fold ? ZW_DTYPE_F32 : ZW_DTYPE_F8E4M3;
	default:
		return ZW_DTYPE_NONE;
	}
}

static int plan_scales(struct work *w, struct zw_error *err)
{
	bool has2 = w->m->tensor[LLM_ROLE_SCALE2] >= 0, fold = has2 && !scale2_agrees(w);
	uint64_t per = common_rows(w->m, w->parts), cols = w->q->block[1];
	struct zw_tensor *dst = &w->dst->scale;
	float *values;
	int ret;

	for (size_t i = 0; i < w->n; i++) {
		w->takes[i] = take_scale(w->p, &w->m[i], per);
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
		w->takes[i] = take_zero(w->p, &w->m[i]);
	}
	if (!needed)
		return 0;
	ret = llm_plan_add(w->p, dst, ZW_DTYPE_I8, w->takes, w->n, err);
	if (!ret)
		*dst = zw_tensor_scales(dst->dtype, dst->va, w->dst->w, 1,
					cols ? cols : (uint32_t)w->m->k);
	return ret;
}

/* Which columns of the other operand those of the matrices go with. */
static int plan_order(struct work *w, struct zw_error *err)
{
	uint64_t k = w->m->k;
	bool needed = false;
	int32_t *all;
	int ret;

	for (uint32_t e = 0; e < w->experts; e++)
		needed |= w->m[e * w->parts].order != NULL;
	if (!needed)
		return 0;
	all = malloc(w->experts * k * sizeof(*all));
	if (!all)
		return llm_fail(err, -ENOMEM, "out of memory");
	for (uint32_t e = 0; e < w->experts; e++) {
		const int32_t *order = w->m[e * w->parts].order;

		for (uint64_t i = 0; i < k; i++)
			all[e * k + i] = order ? order[i] : (int32_t)i;
	}
	ret = llm_plan_add_integers(w->p, &w->dst->order, all, w->experts, (uint32_t)k, err);
	free(all);
	w->p->reorders = true;
	return ret;
}

int llm_quant_plan(struct llm_plan *p, const struct llm_quant_matrix *m, size_t parts,
		   uint32_t experts, bool stacked, struct llm_matrix *dst, struct zw_error *err)
{
	const struct llm_quant_scheme *q = m->scheme;
	struct work w = {p, q, m, parts, parts * experts, experts, stacked, NULL, dst};
	uint64_t parameters;
	int ret;

	w.takes = calloc(w.n, sizeof(*w.takes));
	if (!w.takes)
		return llm_fail(err, -ENOMEM, "out of memory");
	*dst = (struct llm_matrix){.act = q->act, .act_block = q->act_block};
	ret = plan_weight(&w, err);
	/* Scales are none of the model's parameters. */
	parameters = p->parameters;
	if (!ret)
		ret = plan_scales(&w, err);
	if (!ret && m->tensor[LLM_ROLE_ZERO] >= 0)
		ret = plan_zeros(&w, err);
	if (!ret)
		ret = plan_order(&w, err);
	/* There is no product of quantised activations with zero points. */
	if (dst->zero.dtype != ZW_DTYPE_NONE)
		dst->act = dst->act_block = 0;
	p->act = dst->act ? dst->act : p->act;
	if (dst->act && !(p->dtypes >> q->act & 1)) {
		p->dtypes |= 1ull << q->act;
		p->first_of[q->act] = (size_t)m->tensor[LLM_ROLE_W];
	}
	p->parameters = parameters;
	free(w.takes);
	return ret;
}

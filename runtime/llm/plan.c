// SPDX-License-Identifier: MIT
/* Load plans: what goes where. */
#include "plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The types the device computes with as weights. */
static bool computes(uint32_t dtype)
{
	return dtype == ZW_DTYPE_BF16 || dtype == ZW_DTYPE_F32;
}

static bool converts(uint32_t from, uint32_t to)
{
	bool known = from == ZW_DTYPE_F32 || from == ZW_DTYPE_F16 || from == ZW_DTYPE_BF16;

	return from == to || (known && computes(to));
}

/* Puts the defaults in; -EINVAL when the take leaves the matrix [rows, cols]. */
static int resolve(struct llm_take *t, uint64_t rows, uint64_t cols)
{
	uint64_t last;

	if (!t->run) {
		t->run = rows;
		t->first = 0;
		t->count = 1;
	}
	if (!t->count)
		t->count = 1;
	if (!t->step)
		t->step = t->run;
	if (!t->cols)
		t->cols = cols;
	if (__builtin_mul_overflow(t->count - 1, t->step, &last) ||
	    __builtin_add_overflow(last, t->first, &last) || last > rows || t->run > rows - last ||
	    t->col > cols || t->cols > cols - t->col)
		return -EINVAL;
	/* Back to back runs are one. */
	if (t->step == t->run) {
		t->run *= t->count;
		t->step = t->run;
		t->count = 1;
	}
	return 0;
}

static int add_part(struct llm_plan *p, const struct llm_take *take, uint32_t to, uint64_t *off,
		    uint64_t *rows, uint64_t *cols, struct zw_error *err)
{
	struct llm_plan_part part = {.take = *take, .to = to, .off = *off};
	struct llm_source_tensor t;
	uint64_t r = 1;

	p->src->ops->get(p->src, take->tensor, &t);
	for (uint32_t i = 0; i + 1 < t.ndim; i++)
		r *= t.dim[i];
	part.src_cols = t.ndim > 1 ? t.dim[t.ndim - 1] : 1;
	if (t.ndim == 1)
		r = t.dim[0];
	part.from = t.dtype;
	if (!converts(t.dtype, to))
		return llm_fail(err, -EOPNOTSUPP, "%s: tensor %s: %s to %s is not supported",
				t.file, t.name, t.dtype_name,
				zw_dtype_name(to) ? zw_dtype_name(to) : "?");
	if (resolve(&part.take, r, part.src_cols))
		return llm_fail(err, -EINVAL, "%s: tensor %s: the part taken is outside of it",
				t.file, t.name);
	if (*cols && part.take.cols != *cols)
		return llm_fail(err, -EINVAL, "%s: tensor %s: %llu columns beside %llu", t.file,
				t.name, (unsigned long long)part.take.cols,
				(unsigned long long)*cols);
	if (llm_grow(&p->parts, &p->cap_parts, p->num_parts + 1, sizeof(*p->parts)))
		return llm_fail(err, -ENOMEM, "out of memory");
	p->parts[p->num_parts++] = part;
	*cols = part.take.cols;
	*rows += part.take.run * part.take.count;
	r = part.take.run * part.take.count * part.take.cols;
	*off += r * (zw_dtype_bits(to) / 8);
	p->read_bytes += r * (zw_dtype_bits(part.from) / 8);
	return 0;
}

/* The type the parts have together: their own, or F32 when they differ. */
static int common_dtype(const struct llm_plan *p, const struct llm_take *parts, size_t n,
			uint32_t *dtype, struct zw_error *err)
{
	struct llm_source_tensor t;

	for (size_t i = 0; i < n; i++) {
		p->src->ops->get(p->src, parts[i].tensor, &t);
		if (!computes(t.dtype))
			return llm_fail(
				err, -EOPNOTSUPP,
				"%s: tensor %s: dtype %s is not supported by the device yet",
				t.file, t.name, t.dtype_name);
		if (!i)
			*dtype = t.dtype;
		else if (t.dtype != *dtype)
			*dtype = ZW_DTYPE_F32;
	}
	return 0;
}

int llm_plan_add(struct llm_plan *p, struct zw_tensor *dst, uint32_t dtype,
		 const struct llm_take *parts, size_t n, struct zw_error *err)
{
	uint64_t start = llm_align(p->bytes, LLM_ALIGN), off = start, rows = 0, cols = 0;
	struct llm_source_tensor t;
	int ret = 0;

	if (dtype == ZW_DTYPE_NONE)
		ret = common_dtype(p, parts, n, &dtype, err);
	for (size_t i = 0; i < n && !ret; i++)
		ret = add_part(p, &parts[i], dtype, &off, &rows, &cols, err);
	if (ret)
		return ret;
	if (rows > ZW_MAX_DIM || cols > ZW_MAX_DIM)
		return llm_fail(err, -EFBIG, "a tensor of %llu x %llu is too large",
				(unsigned long long)rows, (unsigned long long)cols);
	if (llm_grow(&p->dst, &p->cap_dst, p->num_dst + 1, sizeof(*p->dst)))
		return llm_fail(err, -ENOMEM, "out of memory");
	p->dst[p->num_dst++] = dst;
	p->bytes = off;
	p->parameters += rows * cols;
	p->src->ops->get(p->src, parts[0].tensor, &t);
	*dst = t.ndim > 1 ? zw_tensor_2d(dtype, start, (uint32_t)rows, (uint32_t)cols)
			  : zw_tensor_1d(dtype, start, (uint32_t)rows);
	return 0;
}

void llm_plan_place(struct llm_plan *p, uint64_t va)
{
	for (size_t i = 0; i < p->num_dst; i++)
		p->dst[i]->va += va;
}

void llm_plan_fini(struct llm_plan *p)
{
	free(p->parts);
	free(p->dst);
	memset(p, 0, sizeof(*p));
}

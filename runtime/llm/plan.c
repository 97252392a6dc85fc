// SPDX-License-Identifier: MIT
/* Load plans: what goes where. */
#include "plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The types that weights stay in when nobody asks for another. */
static bool is_float(uint32_t dtype)
{
	return dtype == ZW_DTYPE_BF16 || dtype == ZW_DTYPE_F32 || dtype == ZW_DTYPE_F16;
}

static bool converts(const struct llm_take *t, uint32_t from, uint32_t to)
{
	const struct llm_unpack *u = &t->unpack;

	if (u->kind == LLM_UNPACK_BITS)
		return zw_dtype_bits(from) >= 8 && zw_dtype_bits(to);
	if (u->kind == LLM_UNPACK_STACK)
		return from == ZW_DTYPE_I32 && (to == ZW_DTYPE_I8 || to == ZW_DTYPE_U8);
	if (u->kind == LLM_UNPACK_TURN && u->bits)
		return from == ZW_DTYPE_I32 && (to == ZW_DTYPE_I8 || to == ZW_DTYPE_U8 ||
						to == ZW_DTYPE_U4 || to == ZW_DTYPE_I4);
	if (from == to && t->add == 0 && t->mul == 0)
		return true;
	return is_float(to) && (is_float(from) || from == ZW_DTYPE_F8E4M3 || llm_is_blocked(from));
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

/* Rows and columns of the destination that all of a source [rows, cols] would be. */
static void unpacked_shape(const struct llm_plan_part *part, uint64_t *rows, uint64_t *cols)
{
	const struct llm_unpack *u = &part->take.unpack;
	uint64_t r = *rows, c = *cols, per = u->bits ? 32u / u->bits : 1;

	switch (u->kind) {
	case LLM_UNPACK_BITS:
		*cols = c * zw_dtype_bits(part->from) / zw_dtype_bits(part->to);
		break;
	case LLM_UNPACK_REPEAT:
		*rows = (r - u->base) * u->block;
		break;
	case LLM_UNPACK_STACK:
		*rows = (r - u->base) * per;
		break;
	case LLM_UNPACK_TURN:
		*rows = u->order == LLM_PACK_RIGHT || u->order == LLM_PACK_AWQ ? c * per : c;
		*cols = u->order == LLM_PACK_DOWN ? r * per : r;
		break;
	default:
		break;
	}
}

static int add_part(struct llm_plan *p, const struct llm_take *take, uint32_t to, uint64_t *off,
		    uint64_t *rows, uint64_t *cols, struct zw_error *err)
{
	struct llm_plan_part part = {.take = *take, .to = to, .off = *off};
	struct llm_source_tensor t;
	uint64_t r = 1, src_rows, per = 1;

	p->src->ops->get(p->src, take->tensor, &t);
	for (uint32_t i = 0; i + 1 < t.ndim; i++)
		r *= t.dim[i];
	part.src_cols = t.ndim > 1 ? t.dim[t.ndim - 1] : 1;
	if (t.ndim == 1)
		r = t.dim[0];
	/* A vector of records has no elements of its own. */
	if (t.ndim == 1 && llm_is_blocked(t.dtype)) {
		part.src_cols = r;
		r = 1;
	}
	if (take->as_cols && take->as_cols != part.src_cols) {
		r = r * part.src_cols / take->as_cols;
		part.src_cols = take->as_cols;
	}
	src_rows = r;
	part.from = t.dtype;
	part.dst_cols = part.src_cols;
	if (!converts(take, t.dtype, to))
		return llm_fail(err, -EOPNOTSUPP, "%s: tensor %s: %s to %s is not supported",
				t.file, t.name, t.dtype_name,
				zw_dtype_name(to) ? zw_dtype_name(to) : "?");
	unpacked_shape(&part, &r, &part.dst_cols);
	if (resolve(&part.take, r, part.dst_cols) ||
	    (take->unpack.kind && part.take.cols != part.dst_cols))
		return llm_fail(err, -EINVAL, "%s: tensor %s: the part taken is outside of it",
				t.file, t.name);
	part.dst_cols = part.take.cols;
	if (*cols && part.dst_cols != *cols)
		return llm_fail(err, -EINVAL, "%s: tensor %s: %llu columns beside %llu", t.file,
				t.name, (unsigned long long)part.dst_cols,
				(unsigned long long)*cols);
	if (part.dst_cols % zw_dtype_block_elements(to) ||
	    part.take.col % zw_dtype_block_elements(to))
		return llm_fail(err, -EOPNOTSUPP,
				"%s: tensor %s: rows of %llu elements of %s are no whole bytes or "
				"records",
				t.file, t.name, (unsigned long long)part.dst_cols,
				zw_dtype_name(to));
	if (llm_grow(&p->parts, &p->cap_parts, p->num_parts + 1, sizeof(*p->parts)))
		return llm_fail(err, -ENOMEM, "out of memory");
	if (take->order) {
		part.order = malloc(part.dst_cols * sizeof(*part.order));
		if (!part.order)
			return llm_fail(err, -ENOMEM, "out of memory");
		memcpy(part.order, take->order, part.dst_cols * sizeof(*part.order));
		part.take.order = part.order;
	}
	if (take->unpack.kind == LLM_UNPACK_REPEAT)
		per = take->unpack.per;
	*cols = part.dst_cols;
	r = part.take.count * ((part.take.run + per - 1) / per);
	*rows += r;
	*off += llm_dtype_bytes(to, r * part.dst_cols);
	part.read_bytes =
		take->unpack.kind >= LLM_UNPACK_REPEAT
			? llm_dtype_bytes(part.from, src_rows * part.src_cols)
			: llm_dtype_bytes(take->unpack.kind ? to : part.from,
					  r * (take->unpack.kind ? part.dst_cols : part.src_cols));
	p->parts[p->num_parts++] = part;
	p->read_bytes += part.read_bytes;
	return 0;
}

/* The type the parts have together: their own, or F32 for numbers of different ones. */
static int common_dtype(const struct llm_plan *p, const struct llm_take *parts, size_t n,
			uint32_t *dtype, struct zw_error *err)
{
	struct llm_source_tensor t;

	for (size_t i = 0; i < n; i++) {
		p->src->ops->get(p->src, parts[i].tensor, &t);
		if (!i)
			*dtype = t.dtype;
		if (t.dtype == *dtype && (is_float(t.dtype) || llm_is_blocked(t.dtype)))
			continue;
		if (!is_float(t.dtype) || !is_float(*dtype))
			return llm_fail(err, -EOPNOTSUPP,
					"%s: tensor %s: dtype %s is not supported here", t.file,
					t.name, t.dtype_name);
		*dtype = ZW_DTYPE_F32;
	}
	return 0;
}

/* Notes a destination, behind which the buffer ends. */
static int add_dst(struct llm_plan *p, struct zw_tensor *dst, uint32_t dtype, uint64_t end,
		   struct zw_error *err)
{
	if (llm_grow(&p->dst, &p->cap_dst, p->num_dst + 1, sizeof(*p->dst)))
		return llm_fail(err, -ENOMEM, "out of memory");
	p->dst[p->num_dst++] = dst;
	p->bytes = end;
	p->dtypes |= 1ull << dtype;
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
	if (!(p->dtypes >> dtype & 1))
		p->first_of[dtype] = parts[0].tensor;
	ret = add_dst(p, dst, dtype, off, err);
	if (ret)
		return ret;
	p->parameters += rows * cols;
	p->src->ops->get(p->src, parts[0].tensor, &t);
	*dst = t.ndim > 1 ? zw_tensor_2d(dtype, start, (uint32_t)rows, (uint32_t)cols)
			  : zw_tensor_1d(dtype, start, (uint32_t)(rows * cols));
	return 0;
}

/* n elements of 4 bytes that do not come from the source. */
static int add_values(struct llm_plan *p, struct zw_tensor *dst, uint32_t dtype, const void *values,
		      size_t n, struct zw_error *err)
{
	uint64_t start = llm_align(p->bytes, LLM_ALIGN);
	struct llm_plan_part part = {.take = {.run = n, .count = 1}, .to = dtype, .off = start};

	if (llm_grow(&p->parts, &p->cap_parts, p->num_parts + 1, sizeof(*p->parts)))
		return llm_fail(err, -ENOMEM, "out of memory");
	part.values = malloc(n * 4);
	if (!part.values)
		return llm_fail(err, -ENOMEM, "out of memory");
	memcpy(part.values, values, n * 4);
	p->parts[p->num_parts++] = part;
	*dst = zw_tensor_1d(dtype, start, (uint32_t)n);
	return add_dst(p, dst, dtype, start + n * 4, err);
}

int llm_plan_add_values(struct llm_plan *p, struct zw_tensor *dst, const float *values, size_t n,
			struct zw_error *err)
{
	return add_values(p, dst, ZW_DTYPE_F32, values, n, err);
}

int llm_plan_add_integers(struct llm_plan *p, struct zw_tensor *dst, const int32_t *values,
			  uint32_t rows, uint32_t cols, struct zw_error *err)
{
	int ret = add_values(p, dst, ZW_DTYPE_I32, values, (size_t)rows * cols, err);

	if (!ret)
		*dst = zw_tensor_2d(ZW_DTYPE_I32, dst->va, rows, cols);
	return ret;
}

void llm_plan_place(struct llm_plan *p, uint64_t va)
{
	for (size_t i = 0; i < p->num_dst; i++)
		p->dst[i]->va += va;
}

void llm_plan_fini(struct llm_plan *p)
{
	for (size_t i = 0; i < p->num_parts; i++) {
		free(p->parts[i].values);
		free(p->parts[i].order);
	}
	free(p->parts);
	free(p->dst);
	memset(p, 0, sizeof(*p));
}

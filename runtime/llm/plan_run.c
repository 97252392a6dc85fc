// SPDX-License-Identifier: MIT
/* Load plans carried out: source to device memory, converted on the way where the plan says so. */
#include "plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RAW_BYTES (1u << 20) /* of rows that are converted at a time */

struct run {
	const struct llm_plan *p;
	struct zw_copier *c;
	uint64_t va, done;
	int (*progress)(void *opaque, uint64_t done, uint64_t total);
	void *opaque;
	char *raw, *dense;
	size_t raw_bytes, dense_bytes;
};

static int report(struct run *r, struct zw_error *err)
{
	if (r->progress && r->progress(r->opaque, r->done, r->p->read_bytes))
		return llm_fail(err, -ECANCELED, "loading was cancelled");
	return 0;
}

static int copy_failed(int ret, struct zw_error *err)
{
	return llm_fail(err, ret, "copying to device memory: %s", strerror(-ret));
}

/* Whole rows, one after the other, as they are: no byte passes through here. */
static int run_plain(struct run *r, const struct llm_plan_part *part, struct zw_error *err)
{
	const struct llm_source *src = r->p->src;
	uint64_t row = part->src_cols * (zw_dtype_bits(part->from) / 8);
	uint64_t from = part->take.first * row, bytes = part->take.run * row, len, room;
	int ret = 0;

	for (uint64_t at = 0; at < bytes && !ret; at += len) {
		void *ptr;

		ret = zw_copier_lend(r->c, &ptr, &room);
		if (ret)
			return copy_failed(ret, err);
		len = bytes - at < room ? bytes - at : room;
		ret = src->ops->read(src, part->take.tensor, from + at, ptr, len, err);
		if (ret) {
			zw_copier_send(r->c, 0, 0, NULL);
			return ret;
		}
		ret = zw_copier_send(r->c, r->va + part->off + at, len, NULL);
		if (ret)
			return copy_failed(ret, err);
		r->done += len;
		/* The end is reported when the last copy is done. */
		if (r->done < r->p->read_bytes)
			ret = report(r, err);
	}
	return ret;
}

/* ---- elements ---- */

static float f16_value(uint16_t h)
{
	uint32_t exp = h >> 10 & 31, man = h & 1023, bits = (uint32_t)(h & 0x8000) << 16;
	float f;

	if (exp == 0) {
		/* zero or subnormal: man * 2^-24, exact */
		f = (float)man * 0x1p-24f;
		return bits ? -f : f;
	}
	bits |= exp == 31 ? 0x7f800000u : (exp + 112) << 23;
	bits |= man << 13;
	memcpy(&f, &bits, 4);
	return f;
}

static float load_value(const char *p, uint32_t dtype)
{
	uint32_t u;
	uint16_t h;
	float f;

	if (dtype == ZW_DTYPE_F32) {
		memcpy(&f, p, 4);
		return f;
	}
	memcpy(&h, p, 2);
	if (dtype == ZW_DTYPE_F16)
		return f16_value(h);
	u = (uint32_t)h << 16;
	memcpy(&f, &u, 4);
	return f;
}

static void store_value(char *p, uint32_t dtype, float f)
{
	uint32_t u;
	uint16_t h;

	memcpy(&u, &f, 4);
	if (dtype == ZW_DTYPE_F32) {
		memcpy(p, &u, 4);
		return;
	}
	if (f != f)
		h = 0x7fc0;
	else
		h = (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
	memcpy(p, &h, 2);
}

static void convert(char *dst, const char *src, const struct llm_plan_part *part, uint64_t n)
{
	unsigned int from = zw_dtype_bits(part->from) / 8, to = zw_dtype_bits(part->to) / 8;

	if (part->from == part->to && part->take.add == 0) {
		memcpy(dst, src, n * to);
		return;
	}
	for (uint64_t i = 0; i < n; i++) {
		float f = load_value(src + i * from, part->from);

		/* Not for nothing: -0 + 0 is +0. */
		if (part->take.add != 0)
			f += part->take.add;
		store_value(dst + i * to, part->to, f);
	}
}

/* Columns that are taken of n rows at raw, converted, dense, to r->dense. */
static void pack_rows(struct run *r, const struct llm_plan_part *part, uint64_t n)
{
	const struct llm_take *t = &part->take;
	unsigned int from = zw_dtype_bits(part->from) / 8, to = zw_dtype_bits(part->to) / 8;

	if (t->cols == part->src_cols) {
		convert(r->dense, r->raw, part, n * t->cols);
		return;
	}
	for (uint64_t i = 0; i < n; i++)
		convert(r->dense + i * t->cols * to, r->raw + (i * part->src_cols + t->col) * from,
			part, t->cols);
}

static int run_rows(struct run *r, const struct llm_plan_part *part, struct zw_error *err)
{
	const struct llm_source *src = r->p->src;
	const struct llm_take *t = &part->take;
	unsigned int from = zw_dtype_bits(part->from) / 8, to = zw_dtype_bits(part->to) / 8;
	uint64_t row = part->src_cols * from, out = r->va + part->off;
	uint64_t step = RAW_BYTES / row ? RAW_BYTES / row : 1;
	int ret = 0;

	if (llm_grow(&r->raw, &r->raw_bytes, step * row, 1) ||
	    llm_grow(&r->dense, &r->dense_bytes, step * t->cols * to, 1))
		return llm_fail(err, -ENOMEM, "out of memory");
	for (uint64_t k = 0; k < t->count && !ret; k++) {
		for (uint64_t i = 0; i < t->run && !ret; i += step) {
			uint64_t n = t->run - i < step ? t->run - i : step;

			ret = src->ops->read(src, t->tensor, (t->first + k * t->step + i) * row,
					     r->raw, n * row, err);
			if (ret)
				break;
			pack_rows(r, part, n);
			ret = zw_copier_write(r->c, out, r->dense, n * t->cols * to, NULL);
			if (ret)
				return copy_failed(ret, err);
			out += n * t->cols * to;
			r->done += n * t->cols * from;
			if (r->done < r->p->read_bytes)
				ret = report(r, err);
		}
	}
	return ret;
}

int llm_plan_run(const struct llm_plan *p, struct zw_copier *c, uint64_t va,
		 int (*progress)(void *opaque, uint64_t done, uint64_t total), void *opaque,
		 struct zw_error *err)
{
	struct run r = {.p = p, .c = c, .va = va, .progress = progress, .opaque = opaque};
	int ret = report(&r, err);

	for (size_t i = 0; i < p->num_parts && !ret; i++) {
		const struct llm_plan_part *part = &p->parts[i];
		bool plain = part->from == part->to && part->take.add == 0 &&
			     part->take.count == 1 && part->take.cols == part->src_cols;

		ret = plain ? run_plain(&r, part, err) : run_rows(&r, part, err);
	}
	if (!ret) {
		ret = zw_copier_flush(c, ZW_FOREVER);
		if (ret)
			copy_failed(ret, err);
	}
	free(r.raw);
	free(r.dense);
	return ret ? ret : report(&r, err);
}

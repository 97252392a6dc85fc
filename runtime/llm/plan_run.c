// SPDX-License-Identifier: MIT
/* Load plans carried out: source to device memory, converted on the way where the plan says so. */
#include "plan_direct.h"
#include "dequant.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_MAX 256        /* elements of the largest records */
#define RAW_BYTES  (1u << 20) /* of rows that are converted at a time */

static int report(struct llm_plan_run *r, struct zw_error *err)
{
	if (r->progress && r->progress(r->opaque, r->done, r->p->read_bytes))
		return llm_fail(err, -ECANCELED, "loading was cancelled");
	return 0;
}

int llm_plan_count(struct llm_plan_run *r, uint64_t bytes, struct zw_error *err)
{
	r->done += bytes;
	/* The end is reported when the last copy is done. */
	return r->done < r->p->read_bytes ? report(r, err) : 0;
}

int llm_copy_failed(int ret, struct zw_error *err)
{
	return llm_fail(err, ret, "copying to device memory: %s", strerror(-ret));
}

int llm_plan_room(struct llm_plan_run *r, uint64_t raw, uint64_t dense, struct zw_error *err)
{
	if (llm_grow(&r->raw, &r->raw_bytes, raw, 1) ||
	    llm_grow(&r->dense, &r->dense_bytes, dense, 1))
		return llm_fail(err, -ENOMEM, "out of memory");
	return 0;
}

int llm_plan_write(struct llm_plan_run *r, uint64_t off, uint64_t bytes, struct zw_error *err)
{
	int ret = zw_copier_write(r->c, r->va + off, r->dense, bytes, NULL);

	return ret ? llm_copy_failed(ret, err) : 0;
}

static int read_piece(struct llm_plan_run *r, const struct llm_plan_part *part, uint64_t from,
		      uint64_t off, uint64_t *len, struct zw_error *err)
{
	const struct llm_source *src = r->p->src;
	uint64_t room;
	void *ptr;
	int ret = zw_copier_lend(r->c, &ptr, &room);

	if (ret)
		return llm_copy_failed(ret, err);
	if (*len > room)
		*len = room;
	ret = src->ops->read(src, part->take.tensor, from, ptr, *len, err);
	if (ret) {
		zw_copier_send(r->c, 0, 0, NULL);
		return ret;
	}
	ret = zw_copier_send(r->c, r->va + off, *len, NULL);
	return ret ? llm_copy_failed(ret, err) : 0;
}

/* Whole rows, one after the other, as they are: no byte passes through here. */
static int run_plain(struct llm_plan_run *r, const struct llm_plan_part *part, struct zw_error *err)
{
	uint64_t row = llm_dtype_bytes(part->from, part->src_cols);
	uint64_t from = part->take.first * row, bytes = part->take.run * row, len;
	int ret = 0;

	/* The same pieces either way: simulated time does not depend on what the host has cached. */
	for (uint64_t at = 0; at < bytes && !ret; at += len) {
		len = bytes - at < LLM_PIECE_BYTES ? bytes - at : LLM_PIECE_BYTES;
		ret = llm_place_copy(r, part, from + at, part->off + at, len, err);
		if (ret > 0)
			ret = read_piece(r, part, from + at, part->off + at, &len, err);
		if (!ret)
			ret = llm_plan_count(r, len, err);
	}
	return ret;
}

/* ---- elements ---- */

/* Four bits of exponent with bias 7, three of mantissa; all ones is NaN, there is no infinity. */
static float e4m3_value(uint8_t b)
{
	int exp = b >> 3 & 15, man = b & 7;
	float f = exp ? ldexpf(1 + (float)man / 8, exp - 7) : (float)man * 0x1p-9f;

	if (exp == 15 && man == 7)
		f = NAN;
	return b & 0x80 ? -f : f;
}

/* Round to nearest even; what is too large is infinite. */
static uint16_t f16_bits(float f)
{
	uint32_t u, sign, man;
	int exp, shift;

	memcpy(&u, &f, 4);
	sign = u >> 16 & 0x8000;
	exp = (int)(u >> 23 & 255) - 112;
	man = (u & 0x7fffff) | 0x800000;
	if (f != f)
		return (uint16_t)(sign | 0x7e00);
	if (exp >= 31)
		return (uint16_t)(sign | 0x7c00);
	/* With the leading one in the mantissa the exponent is one lower; subnormals shift it out. */
	shift = exp > 0 ? 13 : 14 - exp;
	if (shift > 24)
		return (uint16_t)sign;
	man += (1u << (shift - 1)) - 1 + (man >> shift & 1);
	man >>= shift;
	return (uint16_t)(sign | (man + (exp > 0 ? (uint32_t)(exp - 1) << 10 : 0)));
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
	if (dtype == ZW_DTYPE_F8E4M3)
		return e4m3_value((uint8_t)*p);
	memcpy(&h, p, 2);
	if (dtype == ZW_DTYPE_F16)
		return llm_f16_value(h);
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
	if (dtype == ZW_DTYPE_F16)
		h = f16_bits(f);
	else if (f != f)
		h = 0x7fc0;
	else
		h = (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
	memcpy(p, &h, 2);
}

static void convert_value(char *dst, float f, const struct llm_plan_part *part)
{
	if (part->take.mul != 0)
		f *= part->take.mul;
	/* Not for nothing: -0 + 0 is +0. */
	if (part->take.add != 0)
		f += part->take.add;
	store_value(dst, part->to, f);
}

void llm_plan_convert(char *dst, const char *src, const struct llm_plan_part *part, uint64_t n)
{
	unsigned int from = zw_dtype_bits(part->from) / 8, to = zw_dtype_bits(part->to) / 8;

	if (part->from == part->to && part->take.add == 0 && part->take.mul == 0) {
		memcpy(dst, src, llm_dtype_bytes(part->to, n));
		return;
	}
	for (uint64_t i = 0; i < n; i++)
		convert_value(dst + i * to, load_value(src + i * from, part->from), part);
}

/* Columns of a row of records, which need not begin or end with one, as numbers. */
static void convert_records(char *dst, const char *src, const struct llm_plan_part *part)
{
	const struct llm_take *t = &part->take;
	unsigned int per = zw_dtype_block_elements(part->from), to = zw_dtype_bits(part->to) / 8;
	uint64_t end = t->col + t->cols;
	float x[RECORD_MAX];

	for (uint64_t at = t->col / per * per; at < end; at += per) {
		llm_dequant(part->from, src + llm_dtype_bytes(part->from, at), x, per);
		for (uint64_t i = at < t->col ? t->col : at; i < end && i < at + per;
		     i++, dst += to)
			convert_value(dst, x[i - at], part);
	}
}

/* Columns that are taken of n rows at raw, converted, dense, to r->dense. */
static void pack_rows(struct llm_plan_run *r, const struct llm_plan_part *part, uint64_t n)
{
	const struct llm_take *t = &part->take;
	uint64_t from = llm_dtype_bytes(part->from, part->src_cols);
	uint64_t to = llm_dtype_bytes(part->to, t->cols);
	bool records = llm_is_blocked(part->from) && part->from != part->to;

	if (t->cols == part->src_cols && !records) {
		llm_plan_convert(r->dense, r->raw, part, n * t->cols);
		return;
	}
	for (uint64_t i = 0; i < n; i++) {
		const char *row = r->raw + i * from;

		if (records)
			convert_records(r->dense + i * to, row, part);
		else
			llm_plan_convert(r->dense + i * to,
					 row + llm_dtype_bytes(part->from, t->col), part, t->cols);
	}
}

static int run_rows(struct llm_plan_run *r, const struct llm_plan_part *part, struct zw_error *err)
{
	const struct llm_source *src = r->p->src;
	const struct llm_take *t = &part->take;
	uint64_t row = llm_dtype_bytes(part->from, part->src_cols), out = part->off;
	uint64_t dense = llm_dtype_bytes(part->to, t->cols);
	uint64_t step = RAW_BYTES / row ? RAW_BYTES / row : 1;
	int ret = 0;

	ret = llm_plan_room(r, step * row, step * dense, err);
	for (uint64_t k = 0; k < t->count && !ret; k++) {
		for (uint64_t i = 0; i < t->run && !ret; i += step) {
			uint64_t n = t->run - i < step ? t->run - i : step;

			ret = src->ops->read(src, t->tensor, (t->first + k * t->step + i) * row,
					     r->raw, n * row, err);
			if (ret)
				break;
			pack_rows(r, part, n);
			ret = llm_plan_write(r, out, n * dense, err);
			if (ret)
				return ret;
			out += n * dense;
			ret = llm_plan_count(r, n * row, err);
		}
	}
	return ret;
}

static int run_part(struct llm_plan_run *r, const struct llm_plan_part *part, struct zw_error *err)
{
	const struct llm_take *t = &part->take;

	if (part->values) {
		uint64_t bytes = t->run * 4;
		int ret = llm_plan_room(r, 0, bytes, err);

		if (ret)
			return ret;
		memcpy(r->dense, part->values, bytes);
		return llm_plan_write(r, part->off, bytes, err);
	}
	switch (t->unpack.kind) {
	case LLM_UNPACK_REPEAT:
		return llm_unpack_repeat(r, part, err);
	case LLM_UNPACK_TURN:
		return llm_unpack_turn(r, part, err);
	case LLM_UNPACK_STACK:
		return llm_unpack_stack(r, part, err);
	case LLM_UNPACK_BITS:
		if (t->unpack.flip || t->order || t->count > 1)
			return llm_unpack_bits(r, part, err);
		return run_plain(r, part, err);
	default:
		if (part->from == part->to && t->add == 0 && t->mul == 0 && t->count == 1 &&
		    t->cols == part->src_cols)
			return run_plain(r, part, err);
		return run_rows(r, part, err);
	}
}

int llm_plan_run(const struct llm_plan *p, struct zw_dev *dev, struct zw_vm *vm,
		 struct zw_copier *c, uint64_t va,
		 int (*progress)(void *opaque, uint64_t done, uint64_t total), void *opaque,
		 struct llm_plan_ways *ways, struct zw_error *err)
{
	struct llm_plan_run r = {.p = p,
				 .dev = dev,
				 .vm = vm,
				 .c = c,
				 .va = va,
				 .progress = progress,
				 .opaque = opaque};
	int ret = report(&r, err);

	for (size_t i = 0; i < p->num_parts && !ret; i++)
		ret = run_part(&r, &p->parts[i], err);
	if (!ret)
		ret = llm_direct_finish(&r, err);
	if (!ret) {
		ret = zw_copier_flush(c, ZW_FOREVER);
		if (ret)
			llm_copy_failed(ret, err);
	}
	ret = llm_place_end(&r, ret, err);
	if (ways)
		*ways = r.ways;
	free(r.raw);
	free(r.dense);
	return ret ? ret : report(&r, err);
}

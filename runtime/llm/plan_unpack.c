// SPDX-License-Identifier: MIT
/* Tensors of quantised matrices on their way into the layout that the device reads. */
#include "plan_run.h"

#include <errno.h>
#include <string.h>

#define RAW_BYTES  (1u << 20)  /* of rows that are read at a time */
#define TURN_BYTES (16u << 20) /* of a transpose, whose pieces of rows should not be too short */

/* A row of elements of 8 or 4 bits into another order. */
static void reorder_row(const struct llm_plan_part *part, char *dst, const char *src)
{
	const int32_t *order = part->take.order;

	if (zw_dtype_bits(part->to) == 8) {
		for (uint64_t k = 0; k < part->dst_cols; k++)
			dst[k] = src[order[k]];
		return;
	}
	for (uint64_t k = 0; k < part->dst_cols; k += 2) {
		unsigned int lo = (uint8_t)src[order[k] / 2] >> order[k] % 2 * 4 & 15;
		unsigned int hi = (uint8_t)src[order[k + 1] / 2] >> order[k + 1] % 2 * 4 & 15;

		dst[k / 2] = (char)(lo | hi << 4);
	}
}

int llm_unpack_bits(struct llm_plan_run *r, const struct llm_plan_part *part, struct zw_error *err)
{
	const struct llm_take *t = &part->take;
	uint64_t row = part->src_cols * (zw_dtype_bits(part->from) / 8), out = part->off;
	uint64_t step = RAW_BYTES / row ? RAW_BYTES / row : 1;
	/* What is reordered is read elsewhere first. */
	int ret = llm_plan_room(r, t->order ? step * row : 0, step * row, err);

	for (uint64_t k = 0; k < t->count && !ret; k++) {
		for (uint64_t i = 0; i < t->run && !ret; i += step) {
			uint64_t n = t->run - i < step ? t->run - i : step;

			char *to = t->order ? r->raw : r->dense;

			ret = r->p->src->ops->read(r->p->src, t->tensor,
						   (t->first + k * t->step + i) * row, to, n * row,
						   err);
			if (ret)
				break;
			for (uint64_t j = 0; t->order && j < n; j++)
				reorder_row(part, r->dense + j * row, r->raw + j * row);
			for (uint64_t b = 0; t->unpack.flip && b < n * row; b++)
				r->dense[b] = (char)(r->dense[b] ^ (char)t->unpack.flip);
			ret = llm_plan_write(r, out, n * row, err);
			out += n * row;
			if (!ret)
				ret = llm_plan_count(r, n * row, err);
		}
	}
	return ret;
}

/* A scale for each row of blocks; there are few, and a row at a time will do. */
int llm_unpack_repeat(struct llm_plan_run *r, const struct llm_plan_part *part,
		      struct zw_error *err)
{
	const struct llm_take *t = &part->take;
	unsigned int from = zw_dtype_bits(part->from) / 8, to = zw_dtype_bits(part->to) / 8;
	uint64_t row = part->src_cols * from, dense = part->dst_cols * to;
	uint64_t batch = RAW_BYTES / dense ? RAW_BYTES / dense : 1, have = UINT64_MAX, n = 0;
	uint64_t out = part->off;
	int ret = llm_plan_room(r, row, batch * dense, err);

	for (uint64_t k = 0; k < t->count && !ret; k++) {
		for (uint64_t i = 0; i < t->run && !ret; i += t->unpack.per) {
			uint64_t at =
				t->unpack.base + (t->first + k * t->step + i) / t->unpack.block;

			if (at != have)
				ret = r->p->src->ops->read(r->p->src, t->tensor, at * row, r->raw,
							   row, err);
			if (ret)
				return ret;
			have = at;
			llm_plan_convert(r->dense + n++ * dense, r->raw, part, part->src_cols);
			if (n == batch) {
				ret = llm_plan_write(r, out, n * dense, err);
				out += n * dense;
				n = 0;
			}
		}
	}
	if (!ret && n)
		ret = llm_plan_write(r, out, n * dense, err);
	return ret ? ret : llm_plan_count(r, part->read_bytes, err);
}

/* An integer of a word, from the bits `place` on. */
static uint8_t integer(const struct llm_unpack *u, uint32_t word, unsigned int place)
{
	return (uint8_t)((((word >> place) + u->pre) & ((1u << u->bits) - 1)) + (uint32_t)u->plus);
}

/* Zero points: few as well. */
int llm_unpack_stack(struct llm_plan_run *r, const struct llm_plan_part *part, struct zw_error *err)
{
	const struct llm_take *t = &part->take;
	const struct llm_unpack *u = &t->unpack;
	uint64_t cols = part->dst_cols, row = cols * 4, have = UINT64_MAX, n = 0, out = part->off;
	uint64_t batch = RAW_BYTES / cols ? RAW_BYTES / cols : 1;
	unsigned int per = 32u / u->bits;
	int ret = llm_plan_room(r, row, batch * cols, err);

	for (uint64_t i = 0; i < t->count * t->run && !ret; i++) {
		uint64_t at = t->first + i / t->run * t->step + i % t->run;
		uint64_t words = u->base + at / per;

		if (words != have)
			ret = r->p->src->ops->read(r->p->src, t->tensor, words * row, r->raw, row,
						   err);
		if (ret)
			return ret;
		have = words;
		for (uint64_t c = 0; c < cols; c++) {
			uint32_t w;

			memcpy(&w, r->raw + 4 * c, 4);
			r->dense[n * cols + c] =
				(char)integer(u, w, (unsigned int)(at % per) * u->bits);
		}
		if (++n == batch) {
			ret = llm_plan_write(r, out, n * cols, err);
			out += n * cols;
			n = 0;
		}
	}
	if (!ret && n)
		ret = llm_plan_write(r, out, n * cols, err);
	return ret ? ret : llm_plan_count(r, part->read_bytes, err);
}

/* ---- transposes ---- */

/* Columns [first, first + cols) of all rows of the source. */
struct tile {
	const char *data;
	uint64_t rows, first, cols;
};

static uint32_t word_at(const struct tile *t, uint64_t row, uint64_t col)
{
	uint32_t w;

	memcpy(&w, t->data + 4 * (row * t->cols + col - t->first), 4);
	return w;
}

/* Which integer of a word of eight stands for column i of them. */
static const uint8_t awq_place[8] = {0, 4, 1, 5, 2, 6, 3, 7};

/* Row n of the destination as integers, one a byte (9 bits and more do not come: see quant.c). */
static void turn_integers(const struct tile *t, const struct llm_unpack *u, uint64_t n,
			  uint64_t cols, uint8_t *out)
{
	unsigned int per = 32u / u->bits, place = (unsigned int)(n % per);

	if (u->order == LLM_PACK_DOWN) {
		for (uint64_t row = 0, k = 0; row < t->rows; row++) {
			uint32_t w = word_at(t, row, n);

			for (unsigned int i = 0; i < per; i++)
				out[k++] = integer(u, w, i * u->bits);
		}
		return;
	}
	if (u->order == LLM_PACK_AWQ)
		place = awq_place[place];
	for (uint64_t k = 0; k < cols; k++)
		out[k] = integer(u, word_at(t, k, n / per), place * u->bits);
}

static void turn_numbers(const struct tile *t, const struct llm_plan_part *part, uint64_t n,
			 char *dst)
{
	unsigned int from = zw_dtype_bits(part->from) / 8, to = zw_dtype_bits(part->to) / 8;

	for (uint64_t k = 0; k < part->dst_cols; k++)
		llm_plan_convert(dst + k * to, t->data + (k * t->cols + n - t->first) * from, part,
				 1);
}

/* scratch: room for two rows, of integers and as they are packed. */
static void turn_row(const struct tile *t, const struct llm_plan_part *part, uint64_t n, char *dst,
		     uint8_t *scratch)
{
	uint64_t cols = part->dst_cols;
	const int32_t *order = part->take.order;
	char *row = order ? (char *)scratch + cols : dst;

	if (!part->take.unpack.bits) {
		turn_numbers(t, part, n, dst);
		return;
	}
	if (zw_dtype_bits(part->to) == 8) {
		turn_integers(t, &part->take.unpack, n, cols, (uint8_t *)row);
	} else {
		turn_integers(t, &part->take.unpack, n, cols, scratch);
		for (uint64_t k = 0; k < cols; k += 2)
			row[k / 2] = (char)((scratch[k] & 15) | scratch[k + 1] << 4);
	}
	if (order)
		reorder_row(part, dst, row);
}

static int read_tile(struct llm_plan_run *r, const struct llm_plan_part *part, struct tile *t,
		     struct zw_error *err)
{
	unsigned int from = zw_dtype_bits(part->from) / 8;
	int ret = 0;

	for (uint64_t i = 0; i < t->rows && !ret; i++)
		ret = r->p->src->ops->read(r->p->src, part->take.tensor,
					   (i * part->src_cols + t->first) * from,
					   r->raw + i * t->cols * from, t->cols * from, err);
	t->data = r->raw;
	return ret;
}

int llm_unpack_turn(struct llm_plan_run *r, const struct llm_plan_part *part, struct zw_error *err)
{
	const struct llm_take *t = &part->take;
	const struct llm_unpack *u = &t->unpack;
	bool across = u->order == LLM_PACK_RIGHT || u->order == LLM_PACK_AWQ;
	unsigned int from = zw_dtype_bits(part->from) / 8;
	unsigned int per = u->bits ? 32u / u->bits : 1, wide = across ? per : 1;
	struct tile tile = {.rows = across || !u->bits ? part->dst_cols : part->dst_cols / per};
	uint64_t out_row = part->dst_cols * zw_dtype_bits(part->to) / 8, out = part->off;
	uint64_t most = TURN_BYTES / (tile.rows * from), step;
	int ret;

	most = most < 1 ? 1 : most > part->src_cols ? part->src_cols : most;
	/* Rows of the destination that so many columns are sure to cover, wherever they begin. */
	step = most > 1 ? (most - 1) * wide + 1 : 1;
	/* Behind the rows: the scratch of one. */
	ret = llm_plan_room(r, tile.rows * most * from, step * out_row + 2 * part->dst_cols, err);
	for (uint64_t k = 0; k < t->count && !ret; k++) {
		for (uint64_t i = 0; i < t->run && !ret; i += step) {
			uint64_t n = t->run - i < step ? t->run - i : step;
			uint64_t first = t->first + k * t->step + i;

			tile.first = first / wide;
			tile.cols = (first + n - 1) / wide - tile.first + 1;
			ret = read_tile(r, part, &tile, err);
			for (uint64_t j = 0; j < n && !ret; j++)
				turn_row(&tile, part, first + j, r->dense + j * out_row,
					 (uint8_t *)r->dense + step * out_row);
			if (!ret)
				ret = llm_plan_write(r, out, n * out_row, err);
			out += n * out_row;
		}
	}
	return ret ? ret : llm_plan_count(r, part->read_bytes, err);
}

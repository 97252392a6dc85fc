// SPDX-License-Identifier: MIT
/*
 * What the device will refuse, found before it is asked. Only the form: contents of memory,
 * mappings and what the profile supports are the device's to judge.
 */
#include <math.h>
#include <stdio.h>

#include "cmd_table.h"
#include "zhenwu/queue.h"

static bool refuse(struct cmd_diag *d, uint32_t reason, const char *where, const char *detail)
{
	d->reason = reason;
	d->where = where;
	d->detail = detail;
	return false;
}

/* Shape of an operand in bytes; the caller made sure of everything that keeps it from overflowing.
 */
struct extent {
	uint64_t va, bytes; /* first byte to behind the last */
	uint64_t pitch;     /* distance of rows along dim[0]; 0: only one */
	uint64_t width;     /* bytes of one row, from its first to behind its last element */
};

static bool extent_of(const struct zw_tensor *t, struct extent *e)
{
	uint64_t size = zw_dtype_bits(t->dtype) / 8, span = 0, step, row = 0;
	unsigned int last = t->ndim - 1u;

	for (unsigned int i = 0; i < last; i++) {
		if (__builtin_mul_overflow(t->stride[i], (uint64_t)(t->dim[i] - 1u), &step) ||
		    __builtin_add_overflow(span, step, &span))
			return false;
		if (i)
			row += step;
	}
	if (__builtin_add_overflow(span, (uint64_t)t->dim[last], &span) ||
	    __builtin_mul_overflow(span, size, &span) || t->va + span < t->va)
		return false;
	e->va = t->va;
	e->bytes = span;
	e->pitch = last && t->dim[0] > 1 ? t->stride[0] * size : 0;
	e->width = last ? (row + t->dim[last]) * size : span;
	return true;
}

ZW_API uint64_t zw_tensor_span(const struct zw_tensor *t)
{
	struct extent e;

	if (t->dtype == ZW_DTYPE_NONE || zw_dtype_bits(t->dtype) < 8 || !t->ndim ||
	    t->ndim > ZW_MAX_DIMS)
		return 0;
	for (unsigned int i = 0; i < t->ndim; i++)
		if (!t->dim[i])
			return 0;
	return extent_of(t, &e) ? e.bytes : 0;
}

/* Whether two operands share a byte. Columns of one wider matrix do not, although they interleave.
 */
static bool overlap(const struct extent *a, const struct extent *b)
{
	uint64_t pitch, off;

	if (a->va + a->bytes <= b->va || b->va + b->bytes <= a->va)
		return false;
	pitch = a->pitch ? a->pitch : b->pitch;
	if (!pitch || (a->pitch && b->pitch && a->pitch != b->pitch))
		return true;
	if (a->width > pitch || b->width > pitch)
		return true;
	off = b->va >= a->va ? (b->va - a->va) % pitch : (pitch - (a->va - b->va) % pitch) % pitch;
	return off < a->width || off + b->width > pitch;
}

static bool check_tensor(const struct cmd_operand *o, const struct zw_tensor *t, struct extent *e,
			 struct cmd_diag *d)
{
	uint64_t row, step;

	if (t->dtype == ZW_DTYPE_NONE) {
		static const struct zw_tensor none;

		if (memcmp(t, &none, sizeof(none)))
			return refuse(d, ZW_REASON_RESERVED, o->name,
				      "absent operand with other fields set");
		if (!(o->flags & CMD_O_OPTIONAL))
			return refuse(d, ZW_REASON_OPERAND, o->name, "needed operand absent");
		return true;
	}
	if (t->dtype >= 64 || !(o->types >> t->dtype & 1))
		return refuse(d, ZW_REASON_DTYPE, o->name, NULL);
	if (t->ndim < o->min_dims || t->ndim > o->max_dims)
		return refuse(d, ZW_REASON_NDIM, o->name, NULL);
	if (t->layout != ZW_LAYOUT_STRIDED || t->scale_va)
		return refuse(d, ZW_REASON_RESERVED, o->name, "layout or scale_va not zero");
	if (t->flags)
		return refuse(d, ZW_REASON_FLAGS, o->name, NULL);
	for (unsigned int i = 0; i < ZW_MAX_DIMS; i++) {
		if (i >= t->ndim ? t->dim[i] != 0 : false)
			return refuse(d, ZW_REASON_RESERVED, o->name, "unused dimension not zero");
		if (i < t->ndim && !t->dim[i])
			return refuse(d, ZW_REASON_SHAPE, o->name, "a dimension is zero");
		if (t->dim[i] > ZW_MAX_DIM)
			return refuse(d, ZW_REASON_LIMIT, o->name, NULL);
	}
	row = t->dim[t->ndim - 1];
	for (unsigned int i = ZW_MAX_DIMS - 1; i-- > 0;) {
		if (i + 1 >= t->ndim) {
			if (t->stride[i])
				return refuse(d, ZW_REASON_RESERVED, o->name,
					      "unused stride not zero");
			continue;
		}
		if (t->stride[i] < row)
			return refuse(d, ZW_REASON_STRIDE, o->name, NULL);
		/* what one step along the next outer dimension has to get over */
		if (__builtin_mul_overflow(t->stride[i], (uint64_t)(t->dim[i] - 1u), &step) ||
		    __builtin_add_overflow(row, step, &row))
			return refuse(d, ZW_REASON_STRIDE, o->name, NULL);
	}
	if (t->va % (zw_dtype_bits(t->dtype) / 8))
		return refuse(d, ZW_REASON_ALIGN, o->name, NULL);
	if (!extent_of(t, e))
		return refuse(d, ZW_REASON_STRIDE, o->name, NULL);
	return true;
}

static bool check_scalar(const struct cmd_scalar *s, const uint8_t *pkt, struct cmd_diag *d)
{
	uint64_t v64 = 0;
	float f;

	switch (s->kind) {
	case CMD_S_VA:
		memcpy(&v64, pkt + s->offset, 8);
		if (v64 % s->arg)
			return refuse(d, ZW_REASON_ALIGN, s->name, NULL);
		return true;
	case CMD_S_BYTES:
		memcpy(&v64, pkt + s->offset, 8);
		if (!v64)
			return refuse(d, ZW_REASON_VALUE, s->name, "is zero");
		if (v64 % s->arg)
			return refuse(d, ZW_REASON_ALIGN, s->name, NULL);
		return true;
	case CMD_S_EPS:
	case CMD_S_SCALE:
		memcpy(&f, pkt + s->offset, 4);
		if (!isfinite(f) || f < 0 || signbit(f) || (s->kind == CMD_S_SCALE && f == 0))
			return refuse(d, ZW_REASON_VALUE, s->name, NULL);
		return true;
	case CMD_S_ZERO:
		for (unsigned int i = 0; i < s->arg; i++)
			if (pkt[s->offset + i])
				return refuse(d, ZW_REASON_RESERVED, s->name, NULL);
		return true;
	default:
		return true;
	}
}

static bool same_tensor(const struct zw_tensor *a, const struct zw_tensor *b)
{
	return !memcmp(a, b, sizeof(*a));
}

static bool check_overlaps(const struct cmd_desc *desc, const struct zw_tensor *t,
			   const struct extent *e, struct cmd_diag *d)
{
	for (unsigned int i = 0; i < desc->num_operands; i++) {
		const struct cmd_operand *o = &desc->operand[i];

		if (!(o->flags & CMD_O_OUT) || !t[i].dtype)
			continue;
		for (unsigned int j = 0; j < desc->num_operands; j++) {
			if (j == i || !t[j].dtype)
				continue;
			if ((o->alias >> j & 1) && same_tensor(&t[i], &t[j]))
				continue;
			if (overlap(&e[i], &e[j]))
				return refuse(d, ZW_REASON_OVERLAP, o->name, NULL);
		}
	}
	return true;
}

static bool check_copy(const struct zw_pkt_copy *p, struct cmd_diag *d)
{
	if (p->dst + p->bytes < p->dst)
		return refuse(d, ZW_REASON_LIMIT, "dst", "the range wraps");
	if (p->src + p->bytes < p->src)
		return refuse(d, ZW_REASON_LIMIT, "src", "the range wraps");
	if (p->dst < p->src + p->bytes && p->src < p->dst + p->bytes)
		return refuse(d, ZW_REASON_OVERLAP, "dst", NULL);
	return true;
}

static bool check(const uint8_t *buf, size_t avail, const struct cmd_desc **found,
		  struct cmd_diag *d)
{
	struct zw_tensor t[CMD_MAX_OPERANDS];
	struct extent e[CMD_MAX_OPERANDS];
	const struct cmd_desc *desc;
	struct zw_pkt hdr;
	bool rows = false;

	*found = NULL;
	if (avail < sizeof(hdr))
		return refuse(d, ZW_REASON_PACKET_SIZE, "header", NULL);
	memcpy(&hdr, buf, sizeof(hdr));
	desc = zw_rt_cmd_find(hdr.opcode);
	if (!desc)
		return refuse(d, ZW_REASON_OPCODE, "header", NULL);
	*found = desc;
	if (hdr.size != desc->size || hdr.size > avail)
		return refuse(d, ZW_REASON_PACKET_SIZE, "header", NULL);
	if (hdr.flags & ~ZW_PKT_F_KNOWN)
		return refuse(d, ZW_REASON_FLAGS, "header", NULL);
	for (unsigned int i = 0; i < desc->num_operands; i++)
		rows |= desc->operand[i].flags & CMD_O_ROWS;
	if (hdr.rows_va && !rows)
		return refuse(d, ZW_REASON_ROWS, "rows_va", "the packet takes no row count");
	if (hdr.rows_va % 4)
		return refuse(d, ZW_REASON_ALIGN, "rows_va", NULL);
	for (unsigned int i = 0; i < desc->num_scalars; i++)
		if (!check_scalar(&desc->scalar[i], buf, d))
			return false;
	for (unsigned int i = 0; i < desc->num_operands; i++) {
		memcpy(&t[i], buf + desc->operand[i].offset, sizeof(t[i]));
		if (!check_tensor(&desc->operand[i], &t[i], &e[i], d))
			return false;
	}
	if (desc->shapes && !desc->shapes(t, d))
		return false;
	if (!check_overlaps(desc, t, e, d))
		return false;
	if (hdr.opcode == ZW_OP_COPY) {
		struct zw_pkt_copy copy;

		memcpy(&copy, buf, sizeof(copy));
		return check_copy(&copy, d);
	}
	if (hdr.opcode == ZW_OP_FILL) {
		struct zw_pkt_fill fill;

		memcpy(&fill, buf, sizeof(fill));
		if (fill.dst + fill.bytes < fill.dst)
			return refuse(d, ZW_REASON_LIMIT, "dst", "the range wraps");
	}
	return true;
}

ZW_API int zw_cmd_check_packet(const void *buf, size_t avail, struct zw_error *what)
{
	const struct cmd_desc *desc;
	struct cmd_diag d;

	if (check(buf, avail, &desc, &d))
		return 0;
	if (what)
		snprintf(what->msg, sizeof(what->msg), "%s: %s", d.where,
			 d.detail ? d.detail : zw_reason_name(d.reason));
	return (int)d.reason;
}

ZW_API int zw_cmd_check(const void *buf, size_t bytes, uint32_t *packet, struct zw_error *what)
{
	const uint8_t *p = buf;
	uint32_t index = 0;
	size_t at = 0;
	int reason = 0;

	if (bytes % 16 || bytes > ZW_CMD_MAX_BYTES) {
		reason = ZW_REASON_CMD_SIZE;
		if (what)
			snprintf(what->msg, sizeof(what->msg), "%s",
				 zw_reason_name((uint32_t)reason));
	}
	while (!reason && at < bytes) {
		struct zw_pkt hdr;

		reason = zw_cmd_check_packet(p + at, bytes - at, what);
		if (reason)
			break;
		memcpy(&hdr, p + at, sizeof(hdr));
		at += hdr.size;
		index++;
	}
	if (reason && packet)
		*packet = index;
	return reason;
}

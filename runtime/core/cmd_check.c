// SPDX-License-Identifier: MIT
/*
 * What the device will refuse, found before it is asked. Only the form: contents of memory,
 * mappings and what the profile supports are the device's to judge.
 */
#include <math.h>
#include <stdio.h>

#include "cmd_table.h"
#include "zhenwu/queue.h"
#include "zhenwu/zw_pte.h"

#define refuse(d, reason, where) zw_rt_refuse(d, reason, where, "%s", "")

#define MAX_EXTENT     (1ull << ZW_VA_BITS) /* bytes */
#define MAX_INDEX_ROWS (1u << 20)           /* of packets with a position or token per row */

/* Elements from the first to behind the last; the caller made sure that it does not overflow. */
static uint64_t span_of(const struct zw_tensor *t, uint32_t rows)
{
	uint64_t n = 1;

	for (unsigned int i = 0; i < t->ndim; i++)
		n += (uint64_t)((i ? t->dim[i] : rows) - 1u) *
		     (i + 1u < t->ndim ? t->stride[i] : 1);
	return n;
}

static unsigned int size_of(const struct zw_tensor *t)
{
	return zw_dtype_bits(t->dtype) / 8;
}

/* Strides that leave room for what they step over, and an extent that fits the address space. */
static uint32_t check_strides(const struct zw_tensor *t)
{
	uint64_t span = t->dim[t->ndim - 1], step;

	for (unsigned int i = t->ndim - 1u; i-- > 0;)
		if (t->stride[i] < span ||
		    __builtin_mul_overflow(t->stride[i], (uint64_t)(t->dim[i] - 1u), &step) ||
		    __builtin_add_overflow(span, step, &span))
			return ZW_REASON_STRIDE;
	if (__builtin_mul_overflow(span, (uint64_t)size_of(t), &span))
		return ZW_REASON_STRIDE;
	return span > MAX_EXTENT ? ZW_REASON_LIMIT : 0;
}

ZW_API uint64_t zw_tensor_span(const struct zw_tensor *t)
{
	if (size_of(t) == 0 || !t->ndim || t->ndim > ZW_MAX_DIMS)
		return 0;
	for (unsigned int i = 0; i < t->ndim; i++)
		if (!t->dim[i])
			return 0;
	return check_strides(t) ? 0 : span_of(t, t->dim[0]) * size_of(t);
}

/* Sizes that the letters of the operands stand for. */
struct letters {
	struct {
		uint32_t size;
		const char *from; /* operand that said so first */
	} of[128];
};

static uint32_t bind(struct letters *l, const struct cmd_operand *o, char letter, uint32_t size,
		     struct cmd_diag *d)
{
	unsigned int i = (unsigned char)letter & 127;

	if (!l->of[i].from) {
		l->of[i].from = o->name;
		l->of[i].size = size;
	} else if (l->of[i].size != size) {
		return zw_rt_refuse(d, ZW_REASON_SHAPE, o->name, "%c is %u here and %u in %s",
				    letter, size, l->of[i].size, l->of[i].from);
	}
	return 0;
}

static uint32_t check_shape(const struct cmd_operand *o, const struct zw_tensor *t,
			    struct letters *l, struct cmd_diag *d)
{
	unsigned int full = (unsigned int)strlen(o->dims), dim = 0;
	uint32_t reason = 0;

	for (unsigned int i = 0; i < full && !reason; i++) {
		/* an optional dimension that was left out is 0, which no present one can be */
		bool absent = o->dims[i] >= 'a' && t->ndim != full;

		reason = bind(l, o, o->dims[i], absent ? 0 : t->dim[dim++], d);
	}
	return reason;
}

static uint32_t check_tensor(const struct cmd_operand *o, const struct zw_tensor *t,
			     struct letters *l, struct cmd_diag *d)
{
	static const struct zw_tensor none;
	unsigned int full = (unsigned int)strlen(o->dims), optional = 0;
	uint32_t reason;

	if (t->dtype == ZW_DTYPE_NONE) {
		if (!(o->flags & CMD_O_OPTIONAL))
			return zw_rt_refuse(d, ZW_REASON_OPERAND, o->name, "needed operand absent");
		if (memcmp(t, &none, sizeof(none)))
			return refuse(d, ZW_REASON_RESERVED, o->name);
		return 0;
	}
	if (zw_dtype_bits(t->dtype) && (t->dtype >= 64 || !(CMD_T_ALL >> t->dtype & 1)))
		return refuse(d, ZW_REASON_UNSUPPORTED, o->name); /* reserved in ABI 1.0 */
	if (t->dtype >= 64 || !(o->types >> t->dtype & 1))
		return refuse(d, ZW_REASON_DTYPE, o->name);
	if (t->layout != ZW_LAYOUT_STRIDED || t->flags || t->scale_va)
		return zw_rt_refuse(d, ZW_REASON_RESERVED, o->name,
				    "layout, flags or scale_va not zero");
	for (unsigned int i = 0; i < full; i++)
		optional += o->dims[i] >= 'a';
	if (t->ndim != full && t->ndim + optional != full)
		return zw_rt_refuse(d, ZW_REASON_NDIM, o->name, "%u dimensions, [%s] expected",
				    t->ndim, o->dims);
	for (unsigned int i = 0; i < ZW_MAX_DIMS; i++)
		if ((i >= t->ndim && t->dim[i]) ||
		    (i + 1u >= t->ndim && i < ZW_MAX_DIMS - 1 && t->stride[i]))
			return zw_rt_refuse(d, ZW_REASON_RESERVED, o->name,
					    "unused dimension or stride not zero");
	for (unsigned int i = 0; i < t->ndim; i++) {
		if (!t->dim[i])
			return zw_rt_refuse(d, ZW_REASON_SHAPE, o->name, "dimension %u is zero", i);
		if (t->dim[i] > ZW_MAX_DIM)
			return refuse(d, ZW_REASON_LIMIT, o->name);
	}
	reason = check_strides(t);
	if (reason)
		return refuse(d, reason, o->name);
	if (t->va % size_of(t))
		return refuse(d, ZW_REASON_ALIGN, o->name);
	return check_shape(o, t, l, d);
}

static uint32_t check_scalar(const struct cmd_scalar *s, const uint8_t *pkt, struct cmd_diag *d)
{
	uint64_t v64 = 0;
	float f;

	switch (s->kind) {
	case CMD_S_VA:
		memcpy(&v64, pkt + s->offset, 8);
		return v64 % s->arg ? refuse(d, ZW_REASON_ALIGN, s->name) : 0;
	case CMD_S_BYTES:
		memcpy(&v64, pkt + s->offset, 8);
		if (v64 % s->arg)
			return refuse(d, ZW_REASON_ALIGN, s->name);
		return v64 > MAX_EXTENT ? refuse(d, ZW_REASON_LIMIT, s->name) : 0;
	case CMD_S_EPS:
	case CMD_S_SCALE:
		memcpy(&f, pkt + s->offset, 4);
		if (!isfinite(f) || signbit(f) || (s->kind == CMD_S_SCALE && f == 0))
			return refuse(d, ZW_REASON_VALUE, s->name);
		return 0;
	case CMD_S_ZERO:
		for (unsigned int i = 0; i < s->arg; i++)
			if (pkt[s->offset + i])
				return refuse(d, ZW_REASON_RESERVED, s->name);
		return 0;
	default:
		return 0;
	}
}

/* Reserved fields come first, values second. */
static uint32_t check_scalars(const struct cmd_desc *desc, const uint8_t *pkt, bool reserved,
			      struct cmd_diag *d)
{
	uint32_t reason = 0;

	for (unsigned int i = 0; i < desc->num_scalars && !reason; i++)
		if ((desc->scalar[i].kind == CMD_S_ZERO) == reserved)
			reason = check_scalar(&desc->scalar[i], pkt, d);
	return reason;
}

/*
 * Whether two operands may share a byte. Column ranges of one wider matrix do not, although they
 * interleave; for other interleavings the answer errs towards true.
 */
static bool overlap(const struct zw_tensor *a, const struct zw_tensor *b, bool columns)
{
	uint64_t ea = span_of(a, a->dim[0]) * size_of(a), eb = span_of(b, b->dim[0]) * size_of(b);
	uint64_t pitch, wa, wb, off;

	ea = ea > UINT64_MAX - a->va ? UINT64_MAX : a->va + ea;
	eb = eb > UINT64_MAX - b->va ? UINT64_MAX : b->va + eb;
	if (ea <= b->va || eb <= a->va)
		return false;
	if (!columns || a->ndim < 2 || b->ndim < 2)
		return true;
	pitch = a->stride[0] * size_of(a);
	if (pitch != b->stride[0] * size_of(b))
		return true;
	wa = span_of(a, 1) * size_of(a);
	wb = span_of(b, 1) * size_of(b);
	off = b->va >= a->va ? (b->va - a->va) % pitch : (pitch - (a->va - b->va) % pitch) % pitch;
	return off < wa || wb > pitch - off;
}

static uint32_t check_overlaps(const struct cmd_desc *desc, const struct zw_tensor *t,
			       struct cmd_diag *d)
{
	for (unsigned int i = 0; i < desc->num_operands; i++) {
		const struct cmd_operand *o = &desc->operand[i];

		if (!(o->flags & CMD_O_OUT) || !t[i].dtype)
			continue;
		for (unsigned int j = 0; j < desc->num_operands; j++) {
			const struct cmd_operand *p = &desc->operand[j];
			bool columns =
				!(p->flags & CMD_O_OUT) || (o->flags & p->flags & CMD_O_PAGED);

			if (j == i || !t[j].dtype)
				continue;
			if ((o->alias >> j & 1) && !memcmp(&t[i], &t[j], sizeof(t[i])))
				continue;
			if (overlap(&t[i], &t[j], columns))
				return zw_rt_refuse(d, ZW_REASON_OVERLAP, o->name, "overlaps %s",
						    p->name);
		}
	}
	return 0;
}

static uint32_t check_copy(const struct zw_pkt_copy *p, struct cmd_diag *d)
{
	uint64_t dst_end = p->bytes > UINT64_MAX - p->dst ? UINT64_MAX : p->dst + p->bytes;
	uint64_t src_end = p->bytes > UINT64_MAX - p->src ? UINT64_MAX : p->src + p->bytes;

	if (dst_end > p->src && src_end > p->dst)
		return zw_rt_refuse(d, ZW_REASON_OVERLAP, "dst", "overlaps src");
	return 0;
}

/* The order of the checks is the device's, so that a packet with two faults gives the same reason.
 */
static uint32_t check(const uint8_t *buf, size_t avail, struct cmd_diag *d)
{
	struct zw_tensor t[CMD_MAX_OPERANDS];
	struct letters letters = {0};
	const struct cmd_desc *desc;
	uint8_t seen = 0;
	uint32_t reason;
	struct zw_pkt hdr;

	if (avail < sizeof(hdr))
		return refuse(d, ZW_REASON_PACKET_SIZE, "header");
	memcpy(&hdr, buf, sizeof(hdr));
	desc = zw_rt_cmd_find(hdr.opcode);
	if (!desc)
		return refuse(d, ZW_REASON_OPCODE, "header");
	if (hdr.size != desc->size || hdr.size > avail)
		return refuse(d, ZW_REASON_PACKET_SIZE, "header");
	if (hdr.flags & ~desc->flags)
		return refuse(d, ZW_REASON_FLAGS, "header");
	for (unsigned int i = 0; i < desc->num_operands; i++)
		seen |= desc->operand[i].flags;
	if (hdr.rows_va && !(seen & CMD_O_ROWS))
		return zw_rt_refuse(d, ZW_REASON_RESERVED, "rows_va",
				    "the packet takes no row count");
	if (hdr.rows_va % 4)
		return refuse(d, ZW_REASON_ALIGN, "rows_va");
	for (unsigned int i = 0; i < desc->num_operands; i++) {
		memcpy(&t[i], buf + desc->operand[i].offset, sizeof(t[i]));
		reason = check_tensor(&desc->operand[i], &t[i], &letters, d);
		if (reason)
			return reason;
	}
	if ((seen & CMD_O_INDEX) && letters.of['M'].size > MAX_INDEX_ROWS)
		return zw_rt_refuse(d, ZW_REASON_LIMIT, letters.of['M'].from, "over %u rows",
				    MAX_INDEX_ROWS);
	reason = check_scalars(desc, buf, true, d);
	if (!reason)
		reason = check_scalars(desc, buf, false, d);
	if (reason)
		return reason;
	if (hdr.opcode == ZW_OP_COPY) {
		struct zw_pkt_copy copy;

		memcpy(&copy, buf, sizeof(copy));
		reason = check_copy(&copy, d);
		if (reason)
			return reason;
	}
	if (desc->extra) {
		reason = desc->extra(t, d);
		if (reason)
			return reason;
	}
	return check_overlaps(desc, t, d);
}

ZW_API int zw_cmd_check_packet(const void *buf, size_t avail, struct zw_error *what)
{
	struct cmd_diag d;
	uint32_t reason = check(buf, avail, &d);

	if (reason && what)
		snprintf(what->msg, sizeof(what->msg), "%s: %s%s%s", d.where,
			 zw_reason_name(reason), d.detail[0] ? ": " : "", d.detail);
	return (int)reason;
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

// SPDX-License-Identifier: MIT
/*
 * What the device will refuse, found before it is asked. Only the form: contents of memory,
 * mappings and what the profile supports are the device's to judge.
 */
#include <math.h>
#include <stddef.h>
#include <stdio.h>

#include "cmd_table.h"
#include "zhenwu/queue.h"
#include "zhenwu/zw_pte.h"

#define refuse(d, reason, where) zw_rt_refuse(d, reason, where, "%s", "")

#define MAX_EXTENT     (1ull << ZW_VA_BITS) /* bytes */
#define MAX_INDEX_ROWS (1u << 20)           /* of packets with indexes per row */

/* -- tensors ------------------------------------------------------------------------------------ */

static bool is_blocked(const struct zw_tensor *t)
{
	return t->dtype < 64 && ZW_DT_BLOCKED >> t->dtype & 1;
}

/* Elements from the first to behind the last; the caller made sure that it does not overflow. */
static uint64_t span_of(const struct zw_tensor *t, uint32_t rows)
{
	uint64_t n = 1;

	for (unsigned int i = 0; i < t->ndim; i++)
		n += (uint64_t)((i ? t->dim[i] : rows) - 1u) *
		     (i + 1u < t->ndim ? t->stride[i] : 1);
	return n;
}

/* Of whole blocks. */
static uint64_t size_of(const struct zw_tensor *t, uint64_t elements)
{
	return elements / zw_dtype_block_elements(t->dtype) * zw_dtype_block_bytes(t->dtype);
}

/* Strides that leave room for what they step over, and an extent that fits the address space. */
static uint32_t check_strides(const struct zw_tensor *t)
{
	const unsigned int block = zw_dtype_block_elements(t->dtype);
	uint64_t span = t->dim[t->ndim - 1], step;

	if (span % block)
		return ZW_REASON_SHAPE;
	for (unsigned int i = t->ndim - 1u; i-- > 0;)
		if (t->stride[i] < span || t->stride[i] % block ||
		    __builtin_mul_overflow(t->stride[i], (uint64_t)(t->dim[i] - 1u), &step) ||
		    __builtin_add_overflow(span, step, &span))
			return ZW_REASON_STRIDE;
	span /= block;
	if (__builtin_mul_overflow(span, (uint64_t)zw_dtype_block_bytes(t->dtype), &span))
		return ZW_REASON_STRIDE;
	if (span > MAX_EXTENT)
		return ZW_REASON_LIMIT;
	for (unsigned int i = 0; i + 1u < t->ndim; i++)
		if (t->stride[i] > MAX_EXTENT) /* in a dimension of 1 */
			return ZW_REASON_LIMIT;
	return 0;
}

ZW_API uint64_t zw_tensor_span(const struct zw_tensor *t)
{
	if (zw_dtype_block_bytes(t->dtype) == 0 || !t->ndim || t->ndim > ZW_MAX_DIMS)
		return 0;
	for (unsigned int i = 0; i < t->ndim; i++)
		if (!t->dim[i])
			return 0;
	return check_strides(t) ? 0 : size_of(t, span_of(t, t->dim[0]));
}

/* -- shapes ------------------------------------------------------------------------------------- */

/* A packet that is being checked. */
struct checked {
	const struct cmd_desc *desc;
	const union cmd_packet *p;
	struct cmd_diag *d;
	/* sizes that the letters of the operands stand for */
	struct {
		uint32_t size;
		const char *from; /* operand that said so first */
	} letter[128];
	unsigned int kinds; /* of all operands */
};

static bool is_transposed(const struct checked *c, const struct cmd_operand *o)
{
	uint32_t flags = 0;

	if (o->kind & ZW_OPD_TRANS_0)
		flags |= ZW_PKT_OPFLAG(0);
	if (o->kind & ZW_OPD_TRANS_1)
		flags |= ZW_PKT_OPFLAG(1);
	return c->p->hdr.flags & flags;
}

/* Whether the packet's flags give an operand its other dimensions. */
static bool has_other_dims(const struct checked *c, const struct cmd_operand *o)
{
	return is_transposed(c, o) ||
	       (o->kind & ZW_OPD_ALT_0 && c->p->hdr.flags & ZW_PKT_OPFLAG(0));
}

/* The dimensions of an operand in this packet, as letters. */
struct shape {
	char letters[ZW_MAX_DIMS + 1];
	unsigned int full, least; /* number of dimensions with and without the optional ones */
};

static struct shape shape_of(const struct checked *c, const struct cmd_operand *o)
{
	const char *from = o->dims, *bar = strchr(o->dims, '|');
	struct shape s = {.full = 0};

	if (bar && has_other_dims(c, o))
		from = bar + 1;
	while (from[s.full] && from[s.full] != '|') {
		s.letters[s.full] = from[s.full];
		s.least += from[s.full] < 'a';
		s.full++;
	}
	return s;
}

static uint32_t bind(struct checked *c, const struct cmd_operand *o, char letter, uint32_t size)
{
	unsigned int i = (unsigned char)letter & 127;

	if (letter >= '0' && letter <= '9') {
		if (size != (uint32_t)(letter - '0'))
			return zw_rt_refuse(c->d, ZW_REASON_SHAPE, o->name, "%u, %c expected", size,
					    letter);
	} else if (!c->letter[i].from) {
		c->letter[i].from = o->name;
		c->letter[i].size = size;
	} else if (c->letter[i].size != size) {
		return zw_rt_refuse(c->d, ZW_REASON_SHAPE, o->name, "%c is %u here and %u in %s",
				    letter, size, c->letter[i].size, c->letter[i].from);
	}
	return 0;
}

static uint32_t check_letters(struct checked *c, const struct cmd_operand *o, struct shape s,
			      const struct zw_tensor *t)
{
	unsigned int dim = 0;
	uint32_t reason = 0;

	for (unsigned int i = 0; i < s.full && !reason; i++) {
		/* an optional dimension that was left out is 0, which no present one can be */
		bool absent = s.letters[i] >= 'a' && t->ndim != s.full;

		reason = bind(c, o, s.letters[i], absent ? 0 : t->dim[dim++]);
	}
	return reason;
}

/* The operand that o holds the scales of; NULL: none. */
static const struct zw_tensor *scaled_by(const struct checked *c, const struct cmd_operand *o)
{
	if (o->dims[0] != '@')
		return NULL;
	for (unsigned int i = 0; i < c->desc->num_operands; i++)
		if (!strcmp(c->desc->operand[i].name, o->dims + 1))
			return zw_rt_operand(c->desc, c->p, i);
	return NULL;
}

static uint32_t check_scales(struct checked *c, const struct cmd_operand *o,
			     const struct zw_tensor *t, const struct zw_tensor *of)
{
	for (unsigned int i = 0; i < t->ndim; i++) {
		unsigned int from_end = t->ndim - i; /* 1: the last dimension */
		uint64_t block = from_end == 1 ? t->block[1] : from_end == 2 ? t->block[0] : 1;
		uint64_t want = (of->dim[i] + block - 1) / block;

		if (t->dim[i] != want)
			return zw_rt_refuse(c->d, ZW_REASON_SHAPE, o->name,
					    "dimension %u is %u, its blocks make %u", i, t->dim[i],
					    (unsigned int)want);
	}
	return 0;
}

static uint32_t check_tensor(struct checked *c, const struct cmd_operand *o,
			     const struct zw_tensor *t)
{
	static const struct zw_tensor none;
	const struct zw_tensor *of = scaled_by(c, o);
	struct shape s = shape_of(c, o);
	uint32_t reason;

	if (t->dtype == ZW_DTYPE_NONE) {
		if (!(o->kind & ZW_OPD_OPT))
			return zw_rt_refuse(c->d, ZW_REASON_OPERAND, o->name,
					    "needed operand absent");
		if (memcmp(t, &none, sizeof(none)))
			return refuse(c->d, ZW_REASON_RESERVED, o->name);
		return 0;
	}
	if (t->dtype >= 64 || !(o->dtypes >> t->dtype & 1))
		return refuse(c->d, ZW_REASON_DTYPE, o->name);
	if (t->layout != (is_blocked(t) ? ZW_LAYOUT_BLOCKED : ZW_LAYOUT_STRIDED))
		return zw_rt_refuse(c->d, ZW_REASON_RESERVED, o->name, "layout %u of %s", t->layout,
				    zw_dtype_name(t->dtype));
	if (t->flags)
		return zw_rt_refuse(c->d, ZW_REASON_RESERVED, o->name, "flags not zero");
	if (!of && (t->block[0] || t->block[1]))
		return zw_rt_refuse(c->d, ZW_REASON_RESERVED, o->name, "block[] of no scales");
	if (of && (!t->block[0] || !t->block[1]))
		return zw_rt_refuse(c->d, ZW_REASON_VALUE, o->name, "block[] is zero");
	if (of && t->ndim != of->ndim)
		return zw_rt_refuse(c->d, ZW_REASON_NDIM, o->name, "%u dimensions, %u of %s",
				    t->ndim, of->ndim, o->dims + 1);
	if (!of && t->ndim != s.full && t->ndim != s.least)
		return zw_rt_refuse(c->d, ZW_REASON_NDIM, o->name, "%u dimensions, [%s] expected",
				    t->ndim, s.letters);
	for (unsigned int i = 0; i < ZW_MAX_DIMS; i++)
		if ((i >= t->ndim && t->dim[i]) ||
		    (i + 1u >= t->ndim && i < ZW_MAX_DIMS - 1 && t->stride[i]))
			return zw_rt_refuse(c->d, ZW_REASON_RESERVED, o->name,
					    "unused dimension or stride not zero");
	for (unsigned int i = 0; i < t->ndim; i++) {
		if (!t->dim[i])
			return zw_rt_refuse(c->d, ZW_REASON_SHAPE, o->name, "dimension %u is zero",
					    i);
		if (t->dim[i] > ZW_MAX_DIM)
			return refuse(c->d, ZW_REASON_LIMIT, o->name);
	}
	reason = check_strides(t);
	if (reason)
		return refuse(c->d, reason, o->name);
	if (t->va % (is_blocked(t) ? 2 : zw_dtype_block_bytes(t->dtype)))
		return refuse(c->d, ZW_REASON_ALIGN, o->name);
	return of ? check_scales(c, o, t, of) : check_letters(c, o, s, t);
}

/* -- scalars ------------------------------------------------------------------------------------ */

static uint32_t check_scalar(const struct checked *c, const struct cmd_scalar *s)
{
	const uint8_t *field = (const uint8_t *)c->p + s->offset;
	struct cmd_diag *d = c->d;
	uint64_t v64 = 0;
	uint32_t v32 = 0;
	float f;

	switch (s->kind) {
	case ZW_SCALAR_VA:
		memcpy(&v64, field, 8);
		return v64 % s->arg ? refuse(d, ZW_REASON_ALIGN, s->name) : 0;
	case ZW_SCALAR_BYTES:
		memcpy(&v64, field, 8);
		if (v64 % s->arg)
			return refuse(d, ZW_REASON_ALIGN, s->name);
		return v64 > MAX_EXTENT ? refuse(d, ZW_REASON_LIMIT, s->name) : 0;
	case ZW_SCALAR_ROWS:
		memcpy(&v32, field, 4);
		if (!v32)
			return zw_rt_refuse(d, ZW_REASON_SHAPE, s->name, "no rows");
		return v32 > ZW_MAX_DIM ? refuse(d, ZW_REASON_LIMIT, s->name) : 0;
	case ZW_SCALAR_EPS:
	case ZW_SCALAR_SCALE:
		memcpy(&f, field, 4);
		if (!isfinite(f) || signbit(f) || (s->kind == ZW_SCALAR_SCALE && f == 0))
			return refuse(d, ZW_REASON_VALUE, s->name);
		return 0;
	case ZW_SCALAR_ZERO:
		for (unsigned int i = 0; i < s->arg; i++)
			if (field[i])
				return refuse(d, ZW_REASON_RESERVED, s->name);
		return 0;
	default:
		return 0;
	}
}

/* -- overlap ------------------------------------------------------------------------------------ */

/*
 * Whether two operands may share a byte. Column ranges of one wider matrix do not, although they
 * interleave; for other interleavings the answer errs towards true.
 */
static bool overlap(const struct zw_tensor *a, const struct zw_tensor *b, bool columns)
{
	uint64_t ea = size_of(a, span_of(a, a->dim[0])), eb = size_of(b, span_of(b, b->dim[0]));
	uint64_t pitch, wa, wb, off;

	ea = ea > UINT64_MAX - a->va ? UINT64_MAX : a->va + ea;
	eb = eb > UINT64_MAX - b->va ? UINT64_MAX : b->va + eb;
	if (ea <= b->va || eb <= a->va)
		return false;
	if (!columns || a->ndim < 2 || b->ndim < 2)
		return true;
	pitch = size_of(a, a->stride[0]);
	if (pitch != size_of(b, b->stride[0]))
		return true;
	wa = size_of(a, span_of(a, 1));
	wb = size_of(b, span_of(b, 1));
	off = b->va >= a->va ? (b->va - a->va) % pitch : (pitch - (a->va - b->va) % pitch) % pitch;
	return off < wa || wb > pitch - off;
}

static uint32_t check_overlaps(const struct checked *c)
{
	const struct cmd_desc *desc = c->desc;

	for (unsigned int i = 0; i < desc->num_operands; i++) {
		const struct cmd_operand *o = &desc->operand[i];
		const struct zw_tensor *a = zw_rt_operand(desc, c->p, i);

		if (!(o->access & ZW_OPD_OUT) || !a->dtype)
			continue;
		for (unsigned int j = 0; j < desc->num_operands; j++) {
			const struct cmd_operand *p = &desc->operand[j];
			const struct zw_tensor *b = zw_rt_operand(desc, c->p, j);
			bool columns =
				!(p->access & ZW_OPD_OUT) || (o->kind & p->kind & ZW_OPD_PAGED);

			if (j == i || !b->dtype)
				continue;
			if ((o->same >> j & 1) && !memcmp(a, b, sizeof(*a)))
				continue;
			if (overlap(a, b, columns))
				return zw_rt_refuse(c->d, ZW_REASON_OVERLAP, o->name, "overlaps %s",
						    p->name);
		}
	}
	return 0;
}

/* -- packets ------------------------------------------------------------------------------------ */

/* Of the header, behind opcode and size. */
static uint32_t check_header(const struct checked *c)
{
	const struct zw_pkt *hdr = &c->p->hdr;
	const struct cmd_desc *desc = c->desc;
	uint32_t known = desc->flags | ZW_PKT_F_WITHOUT;
	bool rows = c->kinds & ZW_OPD_ROWS;

	if (hdr->predicate_va)
		known |= ZW_PKT_F_PREDICATE_NOT;
	if (hdr->flags & ~known)
		return refuse(c->d, ZW_REASON_FLAGS, "header");
	if (hdr->reserved)
		return refuse(c->d, ZW_REASON_RESERVED, "header");
	if (hdr->wait && !(hdr->flags & ZW_PKT_F_DEPS))
		return zw_rt_refuse(c->d, ZW_REASON_RESERVED, "wait", "without ZW_PKT_F_DEPS");
	if (hdr->signal > ZW_PKT_TOKENS)
		return zw_rt_refuse(c->d, ZW_REASON_VALUE, "signal", "no token %u", hdr->signal);
	for (unsigned int i = 0; i < desc->num_scalars; i++)
		rows |= desc->scalar[i].kind == ZW_SCALAR_ROWS;
	if (hdr->rows_va && !rows)
		return zw_rt_refuse(c->d, ZW_REASON_RESERVED, "rows_va",
				    "the packet takes no row count");
	for (unsigned int i = 0; i < desc->num_operands && hdr->rows_va; i++)
		if (desc->operand[i].kind & ZW_OPD_ROWS && is_transposed(c, &desc->operand[i]))
			return zw_rt_refuse(c->d, ZW_REASON_RESERVED, "rows_va", "%s is transposed",
					    desc->operand[i].name);
	if (hdr->rows_va % 4)
		return refuse(c->d, ZW_REASON_ALIGN, "rows_va");
	return hdr->predicate_va % 4 ? refuse(c->d, ZW_REASON_ALIGN, "predicate_va") : 0;
}

static uint32_t check_fields(struct checked *c)
{
	const struct cmd_desc *desc = c->desc;
	uint32_t reason = 0;

	for (unsigned int i = 0; i < desc->num_operands && !reason; i++)
		reason = check_tensor(c, &desc->operand[i], zw_rt_operand(desc, c->p, i));
	if (!reason && (c->kinds & ZW_OPD_INDEX) && c->letter['M'].size > MAX_INDEX_ROWS)
		reason = zw_rt_refuse(c->d, ZW_REASON_LIMIT, c->letter['M'].from, "over %u rows",
				      MAX_INDEX_ROWS);
	for (unsigned int i = 0; i < desc->num_scalars && !reason; i++)
		reason = check_scalar(c, &desc->scalar[i]);
	return reason;
}

/*
 * The order of the checks is the device's, so that a packet with two faults gives the same reason.
 * The packet is copied to *p, where it is aligned and read only once.
 */
static uint32_t check(const uint8_t *buf, size_t avail, union cmd_packet *p, struct cmd_diag *d)
{
	struct checked c = {.p = p, .d = d};
	struct zw_pkt hdr = {0};
	uint32_t reason;

	if (avail < 16)
		return refuse(d, ZW_REASON_PACKET_SIZE, "header");
	memcpy(&hdr, buf, 16);
	c.desc = zw_rt_cmd_find(hdr.opcode);
	if (!c.desc)
		return refuse(d, ZW_REASON_OPCODE, "header");
	if (hdr.size < zw_rt_least_size(c.desc) || hdr.size % 16 || hdr.size > avail)
		return refuse(d, ZW_REASON_PACKET_SIZE, "header");
	memset(p, 0, sizeof(*p));
	memcpy(p, buf, hdr.size < c.desc->size ? hdr.size : c.desc->size);
	for (unsigned int i = 0; i < c.desc->num_operands; i++)
		c.kinds |= c.desc->operand[i].kind;
	reason = check_header(&c);
	for (size_t i = c.desc->size; i < hdr.size && !reason; i++)
		if (buf[i])
			reason = zw_rt_refuse(d, ZW_REASON_RESERVED, "tail",
					      "byte %zu, beyond the fields that are known", i);
	if (!reason)
		reason = check_fields(&c);
	if (!reason)
		reason = zw_rt_check_rules(p, d);
	return reason ? reason : check_overlaps(&c);
}

static uint32_t check_dtypes(const union cmd_packet *p, uint64_t dtypes, struct cmd_diag *d)
{
	const struct cmd_desc *desc = zw_rt_cmd_find(p->hdr.opcode);
	const char *beyond = zw_rt_beyond_engines(p);

	for (unsigned int i = 0; i < desc->num_operands; i++) {
		const struct zw_tensor *t = zw_rt_operand(desc, p, i);

		if (t->dtype && !(dtypes >> t->dtype & 1))
			return zw_rt_refuse(d, ZW_REASON_UNSUPPORTED, desc->operand[i].name, "%s",
					    zw_dtype_name(t->dtype));
	}
	return beyond ? refuse(d, ZW_REASON_UNSUPPORTED, beyond) : 0;
}

static int tell(uint32_t reason, const struct cmd_diag *d, struct zw_error *what)
{
	if (reason && what)
		snprintf(what->msg, sizeof(what->msg), "%s: %s%s%s", d->where,
			 zw_reason_name(reason), d->detail[0] ? ": " : "", d->detail);
	return (int)reason;
}

ZW_API int zw_cmd_check_packet(const void *buf, size_t avail, struct zw_error *what)
{
	union cmd_packet p;
	struct cmd_diag d;

	return tell(check(buf, avail, &p, &d), &d, what);
}

ZW_API int zw_cmd_check_supported(const void *buf, size_t avail, uint64_t dtypes,
				  struct zw_error *what)
{
	union cmd_packet p;
	struct cmd_diag d;
	uint32_t reason = check(buf, avail, &p, &d);

	if (!reason)
		reason = check_dtypes(&p, dtypes, &d);
	return tell(reason, &d, what);
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
		uint16_t size;

		reason = zw_cmd_check_packet(p + at, bytes - at, what);
		if (reason)
			break;
		memcpy(&size, p + at + offsetof(struct zw_pkt, size), sizeof(size));
		at += size;
		index++;
	}
	if (reason && packet)
		*packet = index;
	return reason;
}

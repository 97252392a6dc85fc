// SPDX-License-Identifier: MIT
/*
 * Form of packets: everything that can be told from the command buffer alone. The order of the checks is the one in
 * Documentation/device/packets.md, so that a packet with two faults always reports the same one.
 */
#include <string.h>

#include "zw_cp_int.h"

uint64_t zw_cp_tensor_count(const struct zw_tensor *t, uint32_t rows)
{
	uint64_t n = rows;

	for (unsigned int i = 1; i < t->ndim; i++)
		n *= t->dim[i];
	return n;
}

uint64_t zw_cp_tensor_span(const struct zw_tensor *t, uint32_t rows)
{
	uint64_t n = 1;

	for (unsigned int i = 0; i < t->ndim; i++) {
		uint64_t stride = i == t->ndim - 1u ? 1 : t->stride[i];

		n += (uint64_t)((i ? t->dim[i] : rows) - 1) * stride;
	}
	return n;
}

/* -- tensors ------------------------------------------------------------------------------------------ */

/* Rows of whole blocks, strides that leave room for what they step over, an extent that fits the address space. */
static uint32_t check_strides(const struct zw_tensor *t)
{
	unsigned int block = zw_dtype_block_elements(t->dtype);
	uint64_t span = t->dim[t->ndim - 1]; /* elements of what lies inside dimension i */
	uint64_t step, bytes;

	if (span % block)
		return ZW_REASON_SHAPE;
	for (int i = (int)t->ndim - 2; i >= 0; i--) {
		if (t->stride[i] < span || t->stride[i] % block)
			return ZW_REASON_STRIDE;
		if (__builtin_mul_overflow(t->stride[i], (uint64_t)t->dim[i] - 1, &step) ||
		    __builtin_add_overflow(span, step, &span))
			return ZW_REASON_STRIDE;
	}
	if (__builtin_mul_overflow(span / block, (uint64_t)zw_dtype_block_bytes(t->dtype), &bytes))
		return ZW_REASON_STRIDE;
	if (bytes > ZW_CP_MAX_EXTENT)
		return ZW_REASON_LIMIT;
	/* One that is never taken, in a dimension of 1, too: others multiply with it. */
	for (int i = 0; i < (int)t->ndim - 1; i++)
		if (t->stride[i] > ZW_CP_MAX_EXTENT)
			return ZW_REASON_LIMIT;
	return ZW_REASON_NONE;
}

/* Records are two-byte aligned, elements of less than a byte come in whole bytes. */
static unsigned int alignment(unsigned int dtype)
{
	return ZW_DT_BLOCKED >> dtype & 1 ? 2 : zw_dtype_block_bytes(dtype);
}

/* Sizes bound to dimension letters; an optional dimension that was left out is bound to 0. */
struct dim_names {
	uint32_t size[128];
	bool bound[128];
};

static uint32_t bind_dim(struct dim_names *names, char c, uint32_t size)
{
	unsigned int i = (unsigned char)c & 127;

	if (c >= '0' && c <= '9')
		return size == (uint32_t)(c - '0') ? ZW_REASON_NONE : ZW_REASON_SHAPE;
	if (names->bound[i])
		return names->size[i] == size ? ZW_REASON_NONE : ZW_REASON_SHAPE;
	names->bound[i] = true;
	names->size[i] = size;
	return ZW_REASON_NONE;
}

/* The letters that hold with these flags; *n: how many. */
static const char *dims_of(const struct zw_cp_operand *opd, uint32_t flags, unsigned int *n)
{
	const char *bar = strchr(opd->dims, '|');

	if (bar && zw_cp_other_dims(opd, flags)) {
		*n = (unsigned int)strlen(bar + 1);
		return bar + 1;
	}
	*n = bar ? (unsigned int)(bar - opd->dims) : (unsigned int)strlen(opd->dims);
	return opd->dims;
}

static uint32_t quotient(uint32_t a, uint32_t b)
{
	return a / b + !!(a % b);
}

/* Scales: as many dimensions as what they scale, a block of it to an element. */
static uint32_t check_scale_shape(const struct zw_tensor *t, const struct zw_tensor *of)
{
	for (unsigned int i = 0; i < t->ndim; i++) {
		uint32_t want = of->dim[i];

		if (i + 2u >= t->ndim)
			want = quotient(want, t->block[i + 2u - t->ndim]);
		if (t->dim[i] != want)
			return ZW_REASON_SHAPE;
	}
	return ZW_REASON_NONE;
}

/* What "@x" names; NULL: opd holds no scales. */
static const struct zw_tensor *scaled(const struct zw_cp_op *op, const struct zw_pkt *hdr,
				      const struct zw_cp_operand *opd)
{
	for (unsigned int i = 0; opd->dims[0] == '@' && i < op->n_operands; i++)
		if (!strcmp(op->operand[i].name, opd->dims + 1))
			return zw_cp_tensor_at(op, hdr, i);
	return NULL;
}

static uint32_t check_tensor(const struct zw_cp_op *op, const struct zw_pkt *hdr, unsigned int i,
			     struct dim_names *names)
{
	static const struct zw_tensor absent;
	const struct zw_cp_operand *opd = &op->operand[i];
	const struct zw_tensor *t = zw_cp_tensor_at(op, hdr, i), *of = scaled(op, hdr, opd);
	unsigned int full, optional = 0, dim = 0;
	const char *dims = dims_of(opd, hdr->flags, &full);
	uint32_t reason;

	if (t->dtype == ZW_DTYPE_NONE) {
		if (!(opd->kind & ZW_OPD_OPT))
			return ZW_REASON_OPERAND;
		return memcmp(t, &absent, sizeof(absent)) ? ZW_REASON_RESERVED : ZW_REASON_NONE;
	}
	if (t->dtype >= 64 || !(opd->dtypes >> t->dtype & 1))
		return ZW_REASON_DTYPE;
	if (t->layout != (ZW_DT_BLOCKED >> t->dtype & 1 ? ZW_LAYOUT_BLOCKED : ZW_LAYOUT_STRIDED) ||
	    t->flags)
		return ZW_REASON_RESERVED;
	if (!of && (t->block[0] || t->block[1]))
		return ZW_REASON_RESERVED;
	if (of && (!t->block[0] || !t->block[1]))
		return ZW_REASON_VALUE;

	for (unsigned int j = 0; !of && j < full; j++)
		optional += dims[j] >= 'a';
	if (of ? t->ndim != of->ndim : t->ndim != full && t->ndim + optional != full)
		return ZW_REASON_NDIM;
	for (unsigned int j = 0; j < ZW_MAX_DIMS; j++) {
		if (j >= t->ndim && t->dim[j])
			return ZW_REASON_RESERVED;
		if (j + 1 >= t->ndim && j < ZW_MAX_DIMS - 1 && t->stride[j])
			return ZW_REASON_RESERVED;
	}
	for (unsigned int j = 0; j < t->ndim; j++) {
		if (!t->dim[j])
			return ZW_REASON_SHAPE;
		if (t->dim[j] > ZW_MAX_DIM)
			return ZW_REASON_LIMIT;
	}
	reason = check_strides(t);
	if (reason)
		return reason;
	if (t->va % alignment(t->dtype))
		return ZW_REASON_ALIGN;
	if (of)
		return check_scale_shape(t, of);

	for (unsigned int j = 0; j < full; j++) {
		bool left_out = dims[j] >= 'a' && t->ndim != full;

		/* No dimension is 0, so "left out" never equals a present one. */
		reason = bind_dim(names, dims[j], left_out ? 0 : t->dim[dim++]);
		if (reason)
			return reason;
	}
	return ZW_REASON_NONE;
}

/* -- scalars ------------------------------------------------------------------------------------------ */

static uint32_t check_scalar(const struct zw_cp_scalar *s, const void *pkt)
{
	const char *field = (const char *)pkt + s->offset;
	uint64_t v64 = 0;
	uint32_t v32 = 0;

	switch (s->kind) {
	case ZW_SCALAR_VA:
	case ZW_SCALAR_BYTES:
		memcpy(&v64, field, sizeof(v64));
		if (v64 % s->arg)
			return ZW_REASON_ALIGN;
		return s->kind == ZW_SCALAR_BYTES && v64 > ZW_CP_MAX_EXTENT ? ZW_REASON_LIMIT
									    : ZW_REASON_NONE;
	case ZW_SCALAR_ROWS:
		memcpy(&v32, field, sizeof(v32));
		if (!v32)
			return ZW_REASON_SHAPE;
		return v32 > ZW_MAX_DIM ? ZW_REASON_LIMIT : ZW_REASON_NONE;
	case ZW_SCALAR_EPS:
	case ZW_SCALAR_SCALE:
		/* bits of a finite binary32 with the sign clear */
		memcpy(&v32, field, sizeof(v32));
		if (v32 >= 0x7f800000u || (s->kind == ZW_SCALAR_SCALE && !v32))
			return ZW_REASON_VALUE;
		return ZW_REASON_NONE;
	case ZW_SCALAR_ZERO:
		for (unsigned int i = 0; i < s->arg; i++)
			if (field[i])
				return ZW_REASON_RESERVED;
		return ZW_REASON_NONE;
	default:
		return ZW_REASON_NONE;
	}
}

/* -- overlap ------------------------------------------------------------------------------------------ */

static uint64_t end_of(const struct zw_tensor *t)
{
	uint64_t end;

	if (__builtin_add_overflow(t->va, zw_cp_bytes(t->dtype, zw_cp_tensor_span(t, t->dim[0])),
				   &end))
		return UINT64_MAX;
	return end;
}

static bool same_elements(const struct zw_tensor *a, const struct zw_tensor *b)
{
	return !memcmp(a, b, sizeof(*a));
}

/*
 * Whether two operands may share a byte. Column ranges of one wider matrix do not, although their address ranges
 * interleave; for other interleavings the answer errs towards true.
 */
static bool tensors_overlap(const struct zw_tensor *a, const struct zw_tensor *b, bool columns)
{
	uint64_t pitch, wa, wb, off;

	if (end_of(a) <= b->va || end_of(b) <= a->va)
		return false;
	if (!columns || a->ndim < 2 || b->ndim < 2)
		return true;
	pitch = zw_cp_bytes(a->dtype, a->stride[0]);
	if (pitch != zw_cp_bytes(b->dtype, b->stride[0]))
		return true;
	wa = zw_cp_bytes(a->dtype, zw_cp_tensor_span(a, 1));
	wb = zw_cp_bytes(b->dtype, zw_cp_tensor_span(b, 1));
	off = b->va >= a->va ? (b->va - a->va) % pitch : (pitch - (a->va - b->va) % pitch) % pitch;
	return off < wa || wb > pitch - off;
}

static uint32_t check_overlap(const struct zw_cp_op *op, const void *pkt)
{
	for (unsigned int i = 0; i < op->n_operands; i++) {
		const struct zw_cp_operand *out = &op->operand[i];
		const struct zw_tensor *a = zw_cp_tensor_at(op, pkt, i);

		if (!(out->access & ZW_OPD_OUT) || !a->dtype)
			continue;
		for (unsigned int j = 0; j < op->n_operands; j++) {
			const struct zw_cp_operand *other = &op->operand[j];
			const struct zw_tensor *b = zw_cp_tensor_at(op, pkt, j);
			bool columns;

			if (j == i || !b->dtype)
				continue;
			if (out->same >> j & 1 && same_elements(a, b))
				continue;
			/* Two outputs of a packet have no order between them; only pools may interleave. */
			columns = !(other->access & ZW_OPD_OUT) ||
				  (out->kind & other->kind & ZW_OPD_PAGED);
			if (tensors_overlap(a, b, columns))
				return ZW_REASON_OVERLAP;
		}
	}
	return ZW_REASON_NONE;
}

/* -- packets ------------------------------------------------------------------------------------------ */

/* Whether the packet has a number of rows; *fixed: and none that memory may say. */
static bool has_rows(const struct zw_cp_op *op, uint32_t flags, bool *fixed)
{
	bool rows = false;

	*fixed = false;
	for (unsigned int i = 0; i < op->n_operands; i++) {
		if (!(op->operand[i].kind & ZW_OPD_ROWS))
			continue;
		rows = true;
		if (zw_cp_transposed(&op->operand[i], flags))
			*fixed = true;
	}
	for (unsigned int i = 0; i < op->n_scalars; i++)
		rows |= op->scalar[i].kind == ZW_SCALAR_ROWS;
	return rows;
}

static uint32_t check_header(const struct zw_pkt *hdr, const struct zw_cp_op *op)
{
	bool fixed, rows = has_rows(op, hdr->flags, &fixed);

	if (hdr->flags &
	    ~(op->flags | ZW_PKT_F_WITHOUT | (hdr->predicate_va ? ZW_PKT_F_PREDICATE_NOT : 0)))
		return ZW_REASON_FLAGS;
	if (hdr->reserved || (hdr->wait && !(hdr->flags & ZW_PKT_F_DEPS)))
		return ZW_REASON_RESERVED;
	if (hdr->signal > ZW_PKT_TOKENS)
		return ZW_REASON_VALUE;
	if (hdr->rows_va && (!rows || fixed))
		return ZW_REASON_RESERVED;
	if (hdr->rows_va % 4 || hdr->predicate_va % 4)
		return ZW_REASON_ALIGN;
	return ZW_REASON_NONE;
}

/* Fields of a later version of the packet: fine as long as they are not used. */
static uint32_t check_tail(const struct zw_pkt *hdr, const struct zw_cp_op *op)
{
	const unsigned char *p = (const unsigned char *)hdr;

	for (uint32_t i = op->size; i < hdr->size; i++)
		if (p[i])
			return ZW_REASON_RESERVED;
	return ZW_REASON_NONE;
}

/* The one rule for what is well-formed and still more than this device does. */
static uint32_t check_supported(const struct zw_cp_op *op, const void *pkt,
				const struct zw_profile *profile)
{
	for (unsigned int i = 0; i < op->n_operands; i++) {
		const struct zw_tensor *t = zw_cp_tensor_at(op, pkt, i);

		if (t->dtype && !((profile->dtypes & ZW_CP_DTYPES) >> t->dtype & 1))
			return ZW_REASON_UNSUPPORTED;
	}
	return op->impl->supported && !op->impl->supported(pkt) ? ZW_REASON_UNSUPPORTED
								: ZW_REASON_NONE;
}

static uint32_t check_packet(const struct zw_pkt *hdr, const struct zw_cp_op *op,
			     const struct zw_profile *profile)
{
	struct dim_names names = {0};
	uint32_t reason;
	bool indexed = false;

	reason = check_header(hdr, op);
	if (!reason)
		reason = check_tail(hdr, op);
	for (unsigned int i = 0; !reason && i < op->n_operands; i++) {
		reason = check_tensor(op, hdr, i, &names);
		indexed |= op->operand[i].kind & ZW_OPD_INDEX;
	}
	if (!reason && indexed && names.size['M'] > ZW_CP_MAX_INDEX_ROWS)
		reason = ZW_REASON_LIMIT;
	for (unsigned int i = 0; !reason && i < op->n_scalars; i++)
		reason = check_scalar(&op->scalar[i], hdr);
	if (!reason && op->impl->validate)
		reason = op->impl->validate(hdr);
	if (!reason)
		reason = check_overlap(op, hdr);
	return reason ? reason : check_supported(op, hdr, profile);
}

void zw_cp_validate(const void *buf, uint32_t bytes, const struct zw_profile *profile,
		    struct zw_cp_form *form)
{
	union zw_cp_packet copy;
	uint32_t off = 0;

	memset(form, 0, sizeof(*form));
	if (bytes % 16 || bytes > ZW_CMD_MAX_BYTES) {
		form->reason = ZW_REASON_CMD_SIZE;
		return;
	}
	while (off < bytes) {
		const struct zw_pkt *hdr = (const struct zw_pkt *)((const char *)buf + off);
		const struct zw_cp_op *op = zw_cp_op_find(hdr->opcode);

		/* A length of 16 may leave no room for a header: its opcode and size are there, no more is read. */
		if (!op)
			form->reason = ZW_REASON_OPCODE;
		else if (hdr->size < zw_op_least_size(op->opcode, op->size) || hdr->size % 16 ||
			 hdr->size > bytes - off)
			form->reason = ZW_REASON_PACKET_SIZE;
		else
			form->reason =
				check_packet(zw_cp_packet_whole(op, hdr, &copy), op, profile);
		if (form->reason) {
			form->packet = form->packets;
			form->bad_offset = off;
			return;
		}
		off += hdr->size;
		form->packets++;
	}
}

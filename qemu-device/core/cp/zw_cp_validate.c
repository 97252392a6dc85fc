// SPDX-License-Identifier: MIT
/*
 * Form of packets: everything that can be told from the command buffer alone. The order of the checks is the one in
 * Documentation/device/packets.md, so that a packet with two faults always reports the same one.
 */
#include <string.h>

#include "zw_cp_int.h"

static bool dtype_known(unsigned int dtype)
{
	switch (dtype) {
	case ZW_DTYPE_F32:
	case ZW_DTYPE_BF16:
	case ZW_DTYPE_F16:
	case ZW_DTYPE_I32:
	case ZW_DTYPE_I8:
	case ZW_DTYPE_F8E4M3:
	case ZW_DTYPE_F8E5M2:
	case ZW_DTYPE_F4E2M1:
	case ZW_DTYPE_I4:
		return true;
	default:
		return false;
	}
}

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

/* Strides that leave room for what they step over, and an extent that fits into the address space. */
static uint32_t check_strides(const struct zw_tensor *t, unsigned int esize)
{
	uint64_t span = t->dim[t->ndim - 1]; /* elements of what lies inside dimension i */
	uint64_t step, bytes;

	for (int i = (int)t->ndim - 2; i >= 0; i--) {
		if (t->stride[i] < span)
			return ZW_REASON_STRIDE;
		if (__builtin_mul_overflow(t->stride[i], (uint64_t)t->dim[i] - 1, &step) ||
		    __builtin_add_overflow(span, step, &span))
			return ZW_REASON_STRIDE;
	}
	if (__builtin_mul_overflow(span, (uint64_t)esize, &bytes))
		return ZW_REASON_STRIDE;
	if (bytes > ZW_CP_MAX_EXTENT)
		return ZW_REASON_LIMIT;
	/* One that is never taken, in a dimension of 1, too: others multiply with it. */
	for (int i = 0; i < (int)t->ndim - 1; i++)
		if (t->stride[i] > ZW_CP_MAX_EXTENT)
			return ZW_REASON_LIMIT;
	return ZW_REASON_NONE;
}

/* Sizes bound to dimension letters; an optional dimension that was left out is bound to 0. */
struct dim_names {
	uint32_t size[128];
	bool bound[128];
};

static uint32_t bind_dim(struct dim_names *names, char c, uint32_t size)
{
	unsigned int i = (unsigned char)c & 127;

	if (names->bound[i])
		return names->size[i] == size ? ZW_REASON_NONE : ZW_REASON_SHAPE;
	names->bound[i] = true;
	names->size[i] = size;
	return ZW_REASON_NONE;
}

static uint32_t check_tensor(const struct zw_tensor *t, const struct zw_cp_operand *opd,
			     const struct zw_profile *profile, struct dim_names *names)
{
	static const struct zw_tensor absent;
	unsigned int esize, full = (unsigned int)strlen(opd->dims), optional = 0, dim = 0;
	uint32_t reason;

	if (t->dtype == ZW_DTYPE_NONE) {
		if (!(opd->flags & ZW_OPD_OPT))
			return ZW_REASON_OPERAND;
		return memcmp(t, &absent, sizeof(absent)) ? ZW_REASON_RESERVED : ZW_REASON_NONE;
	}
	if (!dtype_known(t->dtype))
		return ZW_REASON_DTYPE;
	if (t->dtype >= 64 || !(profile->dtypes >> t->dtype & 1))
		return ZW_REASON_UNSUPPORTED;
	if (!(opd->dtypes >> t->dtype & 1))
		return ZW_REASON_DTYPE;
	if (t->layout != ZW_LAYOUT_STRIDED || t->flags || t->scale_va)
		return ZW_REASON_RESERVED;

	for (unsigned int i = 0; i < full; i++)
		optional += opd->dims[i] >= 'a';
	if (t->ndim != full && t->ndim + optional != full)
		return ZW_REASON_NDIM;
	for (unsigned int i = 0; i < ZW_MAX_DIMS; i++) {
		if (i >= t->ndim && t->dim[i])
			return ZW_REASON_RESERVED;
		if (i + 1 >= t->ndim && i < ZW_MAX_DIMS - 1 && t->stride[i])
			return ZW_REASON_RESERVED;
	}
	for (unsigned int i = 0; i < t->ndim; i++) {
		if (!t->dim[i])
			return ZW_REASON_SHAPE;
		if (t->dim[i] > ZW_MAX_DIM)
			return ZW_REASON_LIMIT;
	}
	esize = zw_cp_dtype_size(t->dtype);
	if (!esize)
		return ZW_REASON_UNSUPPORTED;
	reason = check_strides(t, esize);
	if (reason)
		return reason;
	if (t->va % esize)
		return ZW_REASON_ALIGN;
	for (unsigned int i = 0; i < full; i++) {
		if (opd->dims[i] >= 'a' && t->ndim != full)
			reason = bind_dim(names, opd->dims[i], 0);
		else
			reason = bind_dim(names, opd->dims[i], t->dim[dim++]);
		if (reason)
			return reason;
	}
	return ZW_REASON_NONE;
}

static uint64_t end_of(const struct zw_tensor *t)
{
	uint64_t bytes = zw_cp_tensor_span(t, t->dim[0]) * zw_cp_dtype_size(t->dtype), end;

	return __builtin_add_overflow(t->va, bytes, &end) ? UINT64_MAX : end;
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
	unsigned int ea = zw_cp_dtype_size(a->dtype), eb = zw_cp_dtype_size(b->dtype);
	uint64_t pitch, pitch_b, wa, wb, off;

	if (end_of(a) <= b->va || end_of(b) <= a->va)
		return false;
	if (!columns || a->ndim < 2 || b->ndim < 2)
		return true;
	pitch = a->stride[0] * ea;
	pitch_b = b->stride[0] * eb;
	if (pitch != pitch_b)
		return true;
	wa = zw_cp_tensor_span(a, 1) * ea;
	wb = zw_cp_tensor_span(b, 1) * eb;
	off = b->va >= a->va ? (b->va - a->va) % pitch : (pitch - (a->va - b->va) % pitch) % pitch;
	return off < wa || wb > pitch - off;
}

static uint32_t check_overlap(const struct zw_cp_op *op, const void *pkt)
{
	for (unsigned int i = 0; i < op->n_operands; i++) {
		const struct zw_cp_operand *out = &op->operands[i];
		const struct zw_tensor *a = zw_cp_tensor_at(op, pkt, i);

		if (!(out->flags & ZW_OPD_OUT) || !a->dtype)
			continue;
		for (unsigned int j = 0; j < op->n_operands; j++) {
			const struct zw_cp_operand *other = &op->operands[j];
			const struct zw_tensor *b = zw_cp_tensor_at(op, pkt, j);
			bool columns;

			if (j == i || !b->dtype)
				continue;
			if (out->same_ok >> j & 1 && same_elements(a, b))
				continue;
			/*
			 * Two outputs that interleave would each write back the bytes between its rows as they
			 * were, when they go through bounce buffers.
			 */
			columns = !(other->flags & ZW_OPD_OUT) ||
				  (out->flags & other->flags & ZW_OPD_PAGED);
			if (tensors_overlap(a, b, columns))
				return ZW_REASON_OVERLAP;
		}
	}
	return ZW_REASON_NONE;
}

static bool has_rows(const struct zw_cp_op *op)
{
	for (unsigned int i = 0; i < op->n_operands; i++)
		if (op->operands[i].flags & ZW_OPD_ROWS)
			return true;
	return false;
}

static uint32_t check_packet(const struct zw_pkt *hdr, const struct zw_cp_op *op,
			     const struct zw_profile *profile)
{
	struct dim_names names = {0};
	uint32_t reason;
	bool indexed = false;

	if (hdr->flags & ~op->flags)
		return ZW_REASON_FLAGS;
	if (hdr->rows_va && !has_rows(op))
		return ZW_REASON_RESERVED;
	if (hdr->rows_va % 4)
		return ZW_REASON_ALIGN;
	for (unsigned int i = 0; i < op->n_operands; i++) {
		reason = check_tensor(zw_cp_tensor_at(op, hdr, i), &op->operands[i], profile,
				      &names);
		if (reason)
			return reason;
		if ((op->operands[i].flags & ZW_OPD_INDEX) && (op->operands[i].flags & ZW_OPD_ROWS))
			indexed = true;
	}
	if (indexed && names.size['M'] > ZW_CP_MAX_INDEX_ROWS)
		return ZW_REASON_LIMIT;
	if (op->validate) {
		reason = op->validate(hdr);
		if (reason)
			return reason;
	}
	return check_overlap(op, hdr);
}

void zw_cp_validate(const void *buf, uint32_t bytes, uint32_t resume_offset,
		    const struct zw_profile *profile, struct zw_cp_form *form)
{
	uint32_t off = 0;

	memset(form, 0, sizeof(*form));
	if (bytes % 16 || bytes > ZW_CMD_MAX_BYTES) {
		form->reason = ZW_REASON_CMD_SIZE;
		return;
	}
	while (off < bytes) {
		const struct zw_pkt *hdr = (const struct zw_pkt *)((const char *)buf + off);
		const struct zw_cp_op *op = zw_cp_op_find(hdr->opcode);

		if (off == resume_offset) {
			form->resume_found = true;
			form->resume_packet = form->packets;
		}
		if (!op)
			form->reason = ZW_REASON_OPCODE;
		else if (hdr->size != op->size || hdr->size > bytes - off)
			form->reason = ZW_REASON_PACKET_SIZE;
		else
			form->reason = check_packet(hdr, op, profile);
		if (form->reason) {
			form->packet = form->packets;
			form->bad_offset = off;
			return;
		}
		off += hdr->size;
		form->packets++;
	}
	if (off == resume_offset) {
		form->resume_found = true;
		form->resume_packet = form->packets;
	}
}

// SPDX-License-Identifier: MIT
/* Disassembler: never believes a size, an opcode or a dimension. */
#include <inttypes.h>
#include <stdarg.h>

#include "cmd_table.h"

#define DISASM_HEX_MAX 64u /* bytes shown of what cannot be decoded */

struct out {
	void (*line)(void *opaque, const char *text);
	void *opaque;
	char text[512];
};

__attribute__((format(printf, 2, 3))) static void say(struct out *o, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(o->text, sizeof(o->text), fmt, ap);
	va_end(ap);
	o->line(o->opaque, o->text);
}

static void hex(struct out *o, const uint8_t *p, size_t at, size_t bytes)
{
	size_t n = bytes < DISASM_HEX_MAX ? bytes : DISASM_HEX_MAX;

	for (size_t i = 0; i < n; i += 16) {
		char row[16 * 3 + 1];
		size_t len = 0;

		for (size_t j = i; j < n && j < i + 16; j++)
			len += (size_t)snprintf(row + len, sizeof(row) - len, " %02x", p[j]);
		say(o, "          %06zx:%s", at + i, row);
	}
	if (bytes > n)
		say(o, "          ... %zu more bytes", bytes - n);
}

static void tensor(struct out *o, const char *name, const uint8_t *p)
{
	char shape[96] = "", strides[128] = "", odd[96] = "";
	const char *type;
	struct zw_tensor t;
	size_t ls = 0, lt = 0;
	unsigned int nd;

	memcpy(&t, p, sizeof(t));
	if (t.dtype == ZW_DTYPE_NONE) {
		say(o, "          %-12s -", name);
		return;
	}
	nd = t.ndim < ZW_MAX_DIMS ? t.ndim : ZW_MAX_DIMS;
	for (unsigned int i = 0; i < nd; i++)
		ls += (size_t)snprintf(shape + ls, sizeof(shape) - ls, "%s%" PRIu32, i ? "," : "",
				       t.dim[i]);
	for (unsigned int i = 0; i + 1 < nd; i++)
		lt += (size_t)snprintf(strides + lt, sizeof(strides) - lt, "%s%" PRIu64,
				       i ? "," : " stride ", t.stride[i]);
	if (t.block[0] || t.block[1])
		lt += (size_t)snprintf(strides + lt, sizeof(strides) - lt,
				       " block %" PRIu32 "x%" PRIu32, t.block[0], t.block[1]);
	if (t.ndim > ZW_MAX_DIMS || t.layout > ZW_LAYOUT_BLOCKED || t.flags)
		snprintf(odd, sizeof(odd), " ndim %u layout %u flags 0x%" PRIx32, t.ndim, t.layout,
			 t.flags);
	type = zw_dtype_name(t.dtype);
	if (type)
		say(o, "          %-12s 0x%012" PRIx64 " %s[%s]%s%s", name, t.va, type, shape,
		    strides, odd);
	else
		say(o, "          %-12s 0x%012" PRIx64 " dtype(0x%x)[%s]%s%s", name, t.va, t.dtype,
		    shape, strides, odd);
}

static void scalar(struct out *o, const struct cmd_scalar *s, const uint8_t *pkt)
{
	uint64_t v64 = 0;
	uint32_t v32 = 0;
	float f;

	switch (s->kind) {
	case ZW_SCALAR_VA:
		memcpy(&v64, pkt + s->offset, 8);
		say(o, "          %-12s 0x%012" PRIx64, s->name, v64);
		break;
	case ZW_SCALAR_U64:
	case ZW_SCALAR_BYTES:
		memcpy(&v64, pkt + s->offset, 8);
		say(o, "          %-12s %" PRIu64, s->name, v64);
		break;
	case ZW_SCALAR_U32:
	case ZW_SCALAR_ROWS:
		memcpy(&v32, pkt + s->offset, 4);
		say(o, "          %-12s %" PRIu32, s->name, v32);
		break;
	case ZW_SCALAR_HEX32:
		memcpy(&v32, pkt + s->offset, 4);
		say(o, "          %-12s 0x%08" PRIx32, s->name, v32);
		break;
	case ZW_SCALAR_EPS:
	case ZW_SCALAR_SCALE:
		memcpy(&f, pkt + s->offset, 4);
		say(o, "          %-12s %g", s->name, (double)f);
		break;
	default: /* reserved fields show up as a complaint when they are not zero */
		break;
	}
}

/* Flags of opcodes, by name. */
static const struct {
	uint16_t opcode;
	uint32_t flag;
	const char *name;
} op_flags[] = {
	{ZW_OP_GEMM, ZW_GEMM_F_TRANS_A, "trans_a"},
	{ZW_OP_GEMM, ZW_GEMM_F_TRANS_W, "trans_w"},
	{ZW_OP_GEMM_EXPERTS, ZW_EXPERTS_F_SCATTER, "scatter"},
	{ZW_OP_ROUTE, ZW_ROUTE_F_RENORM, "renorm"},
	{ZW_OP_MUL_SIGMOID, ZW_SIGMOID_F_ROW_GATE, "row_gate"},
	{ZW_OP_DELTA, ZW_DELTA_F_CHUNKED, "chunked"},
};

static const struct {
	uint32_t flag;
	const char *name;
} without[] = {
	{ZW_PKT_F_NO_KV_CACHE, "kv_cache"},
	{ZW_PKT_F_NO_TENSOR, "tensor"},
	{ZW_PKT_F_NO_FUSED, "fused"},
	{ZW_PKT_F_NO_SPARSE, "sparse"},
};

/* What the header says beyond opcode and size. */
static void header(char *text, size_t len, const struct zw_pkt *hdr)
{
	size_t n = 0;
	uint32_t flags = hdr->flags & ~(ZW_PKT_F_DEPS | ZW_PKT_F_PREDICATE_NOT | ZW_PKT_F_WITHOUT);

	text[0] = '\0';
	if (hdr->rows_va)
		n += (size_t)snprintf(text + n, len - n, " rows [0x%012" PRIx64 "]", hdr->rows_va);
	if (hdr->predicate_va || hdr->flags & ZW_PKT_F_PREDICATE_NOT)
		n += (size_t)snprintf(text + n, len - n, " if %s[0x%012" PRIx64 "]",
				      hdr->flags & ZW_PKT_F_PREDICATE_NOT ? "not " : "",
				      hdr->predicate_va);
	if (hdr->flags & ZW_PKT_F_DEPS || hdr->wait)
		n += (size_t)snprintf(text + n, len - n, "%s wait 0x%x",
				      hdr->flags & ZW_PKT_F_DEPS ? " deps" : "", hdr->wait);
	if (hdr->signal)
		n += (size_t)snprintf(text + n, len - n, " signal %d", hdr->signal - 1);
	if (hdr->tag)
		n += (size_t)snprintf(text + n, len - n, " tag 0x%" PRIx32, hdr->tag);
	for (size_t i = 0; i < sizeof(without) / sizeof(without[0]); i++)
		if (hdr->flags & without[i].flag)
			n += (size_t)snprintf(text + n, len - n, " without %s", without[i].name);
	for (size_t i = 0; i < sizeof(op_flags) / sizeof(op_flags[0]); i++) {
		if (hdr->opcode != op_flags[i].opcode || !(flags & op_flags[i].flag))
			continue;
		n += (size_t)snprintf(text + n, len - n, " %s", op_flags[i].name);
		flags &= ~op_flags[i].flag;
	}
	if (flags)
		snprintf(text + n, len - n, " flags 0x%" PRIx32, flags);
}

ZW_API int zw_cmd_disasm(const void *buf, size_t bytes,
			 void (*line)(void *opaque, const char *text), void *opaque)
{
	struct out o = {.line = line, .opaque = opaque};
	const uint8_t *base = buf;
	unsigned int index = 0;
	size_t at = 0;
	int bad = 0;

	while (at < bytes) {
		const struct cmd_desc *desc;
		struct zw_error what;
		struct zw_pkt hdr;
		size_t left = bytes - at;
		char more[256];
		bool whole;
		int reason;

		if (left < sizeof(hdr)) {
			say(&o, "%4u %06zx  truncated packet of %zu bytes", index, at, left);
			hex(&o, base + at, at, left);
			return bad + 1;
		}
		memcpy(&hdr, base + at, sizeof(hdr));
		desc = zw_rt_cmd_find(hdr.opcode);
		header(more, sizeof(more), &hdr);
		if (desc)
			say(&o, "%4u %06zx  %s%s", index, at, desc->name, more);
		else
			say(&o, "%4u %06zx  opcode 0x%04x, %u bytes", index, at, hdr.opcode,
			    hdr.size);
		whole = desc && hdr.size >= zw_rt_least_size(desc) && hdr.size % 16 == 0 &&
			hdr.size <= left;
		/* A packet may end before the fields of a later version than its own. */
		if (whole) {
			for (unsigned int i = 0; i < desc->num_operands; i++)
				if (desc->operand[i].offset + sizeof(struct zw_tensor) <= hdr.size)
					tensor(&o, desc->operand[i].name,
					       base + at + desc->operand[i].offset);
			for (unsigned int i = 0; i < desc->num_scalars; i++)
				scalar(&o, &desc->scalar[i], base + at);
		}
		reason = zw_cmd_check_packet(base + at, left, &what);
		if (reason) {
			say(&o, "          ^ refused: %s (reason %d)", what.msg, reason);
			bad++;
		}
		if (hdr.size < sizeof(hdr) || hdr.size % 16 || hdr.size > left) {
			/* where the next packet starts is unknown */
			hex(&o, base + at, at, left);
			return bad;
		}
		if (!whole)
			hex(&o, base + at, at, hdr.size);
		else if (hdr.size > desc->size)
			hex(&o, base + at + desc->size, at + desc->size,
			    (size_t)hdr.size - desc->size);
		at += hdr.size;
		index++;
	}
	return bad;
}

static void to_stream(void *opaque, const char *text)
{
	fprintf(opaque, "%s\n", text);
}

ZW_API int zw_cmd_dump(FILE *out, const void *buf, size_t bytes)
{
	return zw_cmd_disasm(buf, bytes, to_stream, out);
}

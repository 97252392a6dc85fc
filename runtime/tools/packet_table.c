// SPDX-License-Identifier: MIT
#include "packet_table.h"

#include <ctype.h>
#include <string.h>

#include "zhenwu/zhenwu.h"

struct operand {
	const char *name, *dims;
	uint64_t dtypes;
	unsigned int access, kind;
	uint32_t same;
};

struct scalar {
	const char *name;
	unsigned int kind, arg;
};

struct packet {
	const char *name;
	unsigned int opcode, bytes, engine, operands, scalars;
	uint32_t flags;
	struct operand operand[ZW_OP_MAX_TENSORS];
	struct scalar scalar[ZW_OP_MAX_SCALARS];
};

#define COUNT(...) +1
#define NONE(...)
#define OPERAND(P, member, access, kind, dtypes, dims, same)                                       \
	{#member, dims, dtypes, ZW_OPD_##access, kind, same},
#define SCALAR(P, member, kind, arg) {#member, ZW_SCALAR_##kind, arg},
#define PACKET(NAME, name, number, engine, type, flags)                                            \
	{                                                                                          \
		#NAME,                                                                             \
		number,                                                                            \
		sizeof(struct type),                                                               \
		ZW_ENGINE_##engine,                                                                \
		0 ZW_FIELDS_##NAME(type, COUNT, NONE),                                             \
		0 ZW_FIELDS_##NAME(type, NONE, COUNT),                                             \
		flags,                                                                             \
		{ZW_FIELDS_##NAME(type, OPERAND, NONE)},                                           \
		{ZW_FIELDS_##NAME(type, NONE, SCALAR)},                                            \
	},

static const struct packet packets[] = {ZW_OPS(PACKET)};

/* F, W, C and R stand for the sets that many operands have. */
static void print_types(FILE *out, uint64_t set)
{
	static const struct {
		uint64_t set;
		const char *name;
	} sets[] = {
		{ZW_DT_WEIGHT, "W"}, {ZW_DT_CACHE, "C"}, {ZW_DT_FLOAT, "F"}, {ZW_DT_BLOCKED, "R"}};
	const char *between = "";

	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		if ((set & sets[i].set) != sets[i].set || (i < 2 && set != sets[i].set))
			continue;
		fprintf(out, "%s%s", between, sets[i].name);
		set &= ~sets[i].set;
		between = "/";
	}
	for (unsigned int t = 0; t < 64; t++) {
		const char *name = set >> t & 1 ? zw_dtype_name(t) : NULL;

		if (!name)
			continue;
		fprintf(out, "%s", between);
		for (; *name; name++)
			putc(toupper((unsigned char)*name), out);
		between = "/";
	}
}

static const char *print_dims(FILE *out, const char *dims)
{
	const char *between = "";

	putc('[', out);
	for (; *dims && *dims != '|'; dims++) {
		if (islower((unsigned char)*dims))
			fprintf(out, "(%s%c)", between, *dims);
		else
			fprintf(out, "%s%c", between, *dims);
		between = ",";
	}
	putc(']', out);
	return dims;
}

static void print_operand(FILE *out, const struct operand *o)
{
	const char *mark = o->access == ZW_OPD_INOUT ? "***" : o->access == ZW_OPD_OUT ? "**" : "";

	fprintf(out, "%s%s%s ", mark, o->name, mark);
	print_types(out, o->dtypes);
	putc(' ', out);
	if (o->dims[0] == '@') {
		fprintf(out, "scales of %s", o->dims + 1);
	} else {
		const char *rest = print_dims(out, o->dims);

		if (*rest) {
			fprintf(out, " or ");
			print_dims(out, rest + 1);
		}
	}
	if (o->kind & ZW_OPD_ROWS)
		fprintf(out, " rows");
	if (o->kind & ZW_OPD_PART)
		fprintf(out, " parts");
	if (o->kind & ZW_OPD_OPT)
		fprintf(out, " opt.");
}

static void print_scalar(FILE *out, const struct scalar *s)
{
	fprintf(out, "%s", s->name);
	switch (s->kind) {
	case ZW_SCALAR_VA:
		fprintf(out, " address");
		break;
	case ZW_SCALAR_U64:
		fprintf(out, " 64 bits");
		break;
	case ZW_SCALAR_BYTES:
		fprintf(out, " length");
		break;
	case ZW_SCALAR_ROWS:
		fprintf(out, " rows");
		break;
	case ZW_SCALAR_EPS:
		fprintf(out, " F32 >= 0");
		break;
	case ZW_SCALAR_SCALE:
		fprintf(out, " F32 > 0");
		break;
	default:
		fprintf(out, " 32 bits");
		break;
	}
	if ((s->kind == ZW_SCALAR_VA || s->kind == ZW_SCALAR_BYTES) && s->arg > 1)
		fprintf(out, ", multiple of %u", s->arg);
}

static void print_in_place(FILE *out, const struct packet *p)
{
	const char *between = "";

	for (unsigned int i = 0; i < p->operands; i++) {
		for (unsigned int j = 0; j < p->operands; j++) {
			if (!(p->operand[i].same >> j & 1))
				continue;
			fprintf(out, "%s%s = %s", between, p->operand[i].name, p->operand[j].name);
			between = ", ";
		}
	}
}

void print_packet_table(FILE *out)
{
	fprintf(out,
		"| packet | opcode | bytes | engine | flags | operands and fields | in place |\n"
		"|---|---|---|---|---|---|---|\n");
	for (size_t i = 0; i < sizeof(packets) / sizeof(packets[0]); i++) {
		const struct packet *p = &packets[i];
		const char *between = "";

		unsigned int least = zw_op_least_size(p->opcode, p->bytes);

		fprintf(out, "| %s | 0x%04x | %u", p->name, p->opcode, p->bytes);
		if (least != p->bytes)
			fprintf(out, " (%u)", least);
		fprintf(out, " | %s |%s", zw_engine_name(p->engine),
			p->flags & ZW_PKT_F_DEPS ? " deps" : "");
		for (unsigned int bit = 0; bit < 24; bit++)
			if (p->flags & ZW_PKT_OPFLAG(bit))
				fprintf(out, " %u", 8 + bit);
		fprintf(out, " | ");
		for (unsigned int j = 0; j < p->operands; j++, between = "; ") {
			fprintf(out, "%s", between);
			print_operand(out, &p->operand[j]);
		}
		for (unsigned int j = 0; j < p->scalars; j++) {
			if (p->scalar[j].kind == ZW_SCALAR_ZERO)
				continue;
			fprintf(out, "%s", between);
			print_scalar(out, &p->scalar[j]);
			between = "; ";
		}
		fprintf(out, " | ");
		print_in_place(out, p);
		fprintf(out, " |\n");
	}
}

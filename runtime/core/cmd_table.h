/* SPDX-License-Identifier: MIT */
/*
 * The packets of zhenwu/zw_ops.h as data, from which they are built, checked and disassembled, and
 * what that table does not hold: rules between the fields of one packet.
 */
#ifndef ZW_RT_CMD_TABLE_H
#define ZW_RT_CMD_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "zhenwu/cmd.h"

struct cmd_operand {
	const char *name;
	const char *dims;
	uint64_t dtypes;
	uint32_t same;   /* outputs: bit i: may be exactly operand i */
	uint16_t offset; /* in the packet */
	uint8_t access;  /* enum zw_opd_access */
	uint8_t kind;    /* enum zw_opd_kind */
};

struct cmd_scalar {
	const char *name;
	uint16_t offset;
	uint8_t kind; /* enum zw_scalar_kind */
	uint8_t arg;
};

/* Any packet of the ABI, without what a later version may append. */
union cmd_packet {
	struct zw_pkt hdr;
#define CMD_MEMBER(NAME, name, number, engine, type, flags) struct type name;
	ZW_OPS(CMD_MEMBER)
#undef CMD_MEMBER
};

/* Why a packet was refused. */
struct cmd_diag {
	uint32_t reason; /* enum zw_reason */
	char where[24];  /* "header" or the name of a field */
	char detail[96]; /* empty: the reason's name says it */
};

struct cmd_desc {
	const char *name;
	uint16_t opcode;
	uint16_t size;  /* of all fields that are known */
	uint32_t flags; /* ZW_PKT_F_* it takes */
	uint8_t num_operands;
	uint8_t num_scalars;
	struct cmd_operand operand[ZW_OP_MAX_TENSORS];
	struct cmd_scalar scalar[ZW_OP_MAX_SCALARS];
};

/* Fills in d; returns reason. */
__attribute__((format(printf, 4, 5))) uint32_t
zw_rt_refuse(struct cmd_diag *d, uint32_t reason, const char *where, const char *fmt, ...);
/* NULL for an opcode not in the ABI. */
const struct cmd_desc *zw_rt_cmd_find(uint32_t opcode);

/* Of an older packet, which has not all of the fields. */
static inline unsigned int zw_rt_least_size(const struct cmd_desc *desc)
{
	return zw_op_least_size(desc->opcode, desc->size);
}

static inline const struct zw_tensor *zw_rt_operand(const struct cmd_desc *desc,
						    const union cmd_packet *p, unsigned int i)
{
	return (const struct zw_tensor *)(const void *)((const char *)p + desc->operand[i].offset);
}

/*
 * The rules of single packets (cmd_rules.c), for packets whose fields are well formed each; absent
 * operands have dtype NONE. Returns enum zw_reason, with the text in d.
 */
uint32_t zw_rt_check_rules(const union cmd_packet *p, struct cmd_diag *d);
/* Name of an operand or scalar in use that no engine computes with yet; NULL: none. */
const char *zw_rt_beyond_engines(const union cmd_packet *p);

#endif

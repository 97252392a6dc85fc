/* SPDX-License-Identifier: MIT */
/*
 * One description of every packet, from which it is built, checked and disassembled, so that the
 * three cannot disagree about where an operand is.
 */
#ifndef ZW_RT_CMD_TABLE_H
#define ZW_RT_CMD_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "zhenwu/cmd.h"

#define CMD_MAX_OPERANDS 8
#define CMD_MAX_SCALARS  4

/* Sets of data types an operand takes. */
#define CMD_T_FLOAT ((1ull << ZW_DTYPE_F32) | (1ull << ZW_DTYPE_BF16))
#define CMD_T_F32   (1ull << ZW_DTYPE_F32)
#define CMD_T_I32   (1ull << ZW_DTYPE_I32)
#define CMD_T_ALL   (CMD_T_FLOAT | CMD_T_I32)

enum cmd_operand_flags {
	CMD_O_OPTIONAL = 1 << 0,
	CMD_O_ROWS = 1 << 1, /* dim[0] is replaced by the indirect row count */
	CMD_O_OUT = 1 << 2,
	CMD_O_INDEX = 1 << 3, /* the device copies it: bounds the number of rows */
	CMD_O_PAGED = 1 << 4, /* two such outputs may interleave */
};

struct cmd_operand {
	const char *name;
	uint64_t types;
	/*
	 * One letter per dimension: the same letter has the same size in every operand of the
	 * packet. A lower-case one may be left out.
	 */
	const char *dims;
	uint16_t offset; /* in the packet */
	uint8_t flags;   /* enum cmd_operand_flags */
	uint8_t alias;   /* outputs: bit i: may be exactly operand i */
};

enum cmd_scalar_kind {
	CMD_S_VA, /* 64-bit address, alignment in `arg` */
	CMD_S_U64,
	CMD_S_BYTES, /* 64-bit length, at most 2^48, a multiple of `arg` */
	CMD_S_HEX32,
	CMD_S_EPS,   /* binary32, finite, >= 0 */
	CMD_S_SCALE, /* binary32, finite, > 0 */
	CMD_S_ZERO,  /* reserved: `arg` bytes that must be zero */
};

struct cmd_scalar {
	const char *name;
	uint16_t offset;
	uint8_t kind; /* enum cmd_scalar_kind */
	uint8_t arg;
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
	uint16_t size;
	uint32_t flags; /* ZW_PKT_F_* it takes */
	uint8_t num_operands;
	uint8_t num_scalars;
	struct cmd_operand operand[CMD_MAX_OPERANDS];
	struct cmd_scalar scalar[CMD_MAX_SCALARS];
	/*
	 * What the letters do not say, of operands that are well formed each; absent ones have
	 * dtype NONE. May be NULL. Returns enum zw_reason, with the text in d.
	 */
	uint32_t (*extra)(const struct zw_tensor *t, struct cmd_diag *d);
};

/* Fills in d; returns reason. */
__attribute__((format(printf, 4, 5))) uint32_t
zw_rt_refuse(struct cmd_diag *d, uint32_t reason, const char *where, const char *fmt, ...);
/* NULL for an opcode not in the ABI. */
const struct cmd_desc *zw_rt_cmd_find(uint32_t opcode);
/* i-th packet type, NULL behind the last. */
const struct cmd_desc *zw_rt_cmd_at(unsigned int i);

#endif

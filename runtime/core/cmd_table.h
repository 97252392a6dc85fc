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

enum cmd_operand_flags {
	CMD_O_OPTIONAL = 1 << 0,
	CMD_O_ROWS = 1 << 1, /* dim[0] is replaced by the indirect row count */
	CMD_O_OUT = 1 << 2,
};

struct cmd_operand {
	const char *name;
	uint64_t types;
	uint16_t offset; /* in the packet */
	uint8_t min_dims, max_dims;
	uint8_t flags; /* enum cmd_operand_flags */
	uint8_t alias; /* outputs: bit i: may be exactly operand i */
};

enum cmd_scalar_kind {
	CMD_S_VA, /* 64-bit address, alignment in `arg` */
	CMD_S_U64,
	CMD_S_BYTES, /* 64-bit length, not 0, a multiple of `arg` */
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

struct cmd_diag {
	uint32_t reason; /* enum zw_reason */
	const char *where;
	const char *detail; /* NULL: the reason's name says it */
};

struct cmd_desc {
	const char *name;
	uint16_t opcode;
	uint16_t size;
	uint8_t num_operands;
	uint8_t num_scalars;
	struct cmd_operand operand[CMD_MAX_OPERANDS];
	struct cmd_scalar scalar[CMD_MAX_SCALARS];
	/* relations between the shapes of operands that are well formed each; t[i] has dtype NONE
	 * when absent */
	bool (*shapes)(const struct zw_tensor *t, struct cmd_diag *diag);
};

/* NULL for an opcode not in the ABI. */
const struct cmd_desc *zw_rt_cmd_find(uint32_t opcode);
const struct cmd_desc *zw_rt_cmd_at(unsigned int i);

#endif

// SPDX-License-Identifier: MIT
#include "cmd_table.h"

#include <stddef.h>

#define COUNT(...) +1
#define NONE(...)
#define OPERAND(P, member, access, kind, dtypes, dims, same)                                       \
	{#member, dims, dtypes, same, offsetof(struct P, member), ZW_OPD_##access, kind},
#define SCALAR(P, member, kind, arg) {#member, offsetof(struct P, member), ZW_SCALAR_##kind, arg},
#define ROW(NAME, name_, number, engine, type, flags_)                                             \
	{                                                                                          \
		.name = #name_,                                                                    \
		.opcode = (number),                                                                \
		.size = sizeof(struct type),                                                       \
		.flags = (flags_),                                                                 \
		.num_operands = 0 ZW_FIELDS_##NAME(type, COUNT, NONE),                             \
		.num_scalars = 0 ZW_FIELDS_##NAME(type, NONE, COUNT),                              \
		.operand = {ZW_FIELDS_##NAME(type, OPERAND, NONE)},                                \
		.scalar = {ZW_FIELDS_##NAME(type, NONE, SCALAR)},                                  \
	},

static const struct cmd_desc descs[] = {ZW_OPS(ROW)};

const struct cmd_desc *zw_rt_cmd_find(uint32_t opcode)
{
	for (unsigned int i = 0; i < sizeof(descs) / sizeof(descs[0]); i++)
		if (descs[i].opcode == opcode)
			return &descs[i];
	return NULL;
}

// SPDX-License-Identifier: MIT
/* The opcode table: the high byte of an opcode names its group, the group's file holds its rows. */
#include "zw_cp_int.h"

static const struct zw_cp_group *const groups[] = {
	[0x00] = &zw_cp_control, [0x01] = &zw_cp_tensor, [0x02] = &zw_cp_vector,
	[0x03] = &zw_cp_attn,    [0x05] = &zw_cp_dma,
};

const struct zw_cp_op *zw_cp_op_find(unsigned int opcode)
{
	unsigned int g = opcode >> 8;
	const struct zw_cp_group *group;

	if (g >= sizeof(groups) / sizeof(groups[0]) || !groups[g])
		return NULL;
	group = groups[g];
	for (size_t i = 0; i < group->count; i++)
		if (group->ops[i].opcode == opcode)
			return &group->ops[i];
	return NULL;
}

unsigned int zw_cp_dtype_size(unsigned int dtype)
{
	switch (dtype) {
	case ZW_DTYPE_F32:
	case ZW_DTYPE_I32:
		return 4;
	case ZW_DTYPE_BF16:
		return 2;
	default:
		return 0;
	}
}

// SPDX-License-Identifier: MIT
/* The packets of zw_ops.h, joined with what the device does with them. */
#include <string.h>

#include "zw_cp_int.h"

#define COUNT(...) +1
#define NONE(...)
#define OPERAND(P, member, access, kind, dtypes, dims, same)                                       \
	{#member, dtypes, dims, same, offsetof(struct P, member), ZW_OPD_##access, kind},
#define SCALAR(P, member, kind, arg) {#member, offsetof(struct P, member), ZW_SCALAR_##kind, arg},
#define ROW(NAME, name, number, engine, type, flags)                                               \
	{                                                                                          \
		#NAME,                                                                             \
		ZW_OP_##NAME,                                                                      \
		sizeof(struct type),                                                               \
		ZW_ENGINE_##engine,                                                                \
		0 ZW_FIELDS_##NAME(type, COUNT, NONE),                                             \
		0 ZW_FIELDS_##NAME(type, NONE, COUNT),                                             \
		flags,                                                                             \
		{ZW_FIELDS_##NAME(type, OPERAND, NONE)},                                           \
		{ZW_FIELDS_##NAME(type, NONE, SCALAR)},                                            \
		&zw_cp_##name,                                                                     \
	},

static const struct zw_cp_op ops[] = {ZW_OPS(ROW)};

#define AT(NAME, name, number, engine, type, flags) AT_##NAME,
enum { ZW_OPS(AT) };

const struct zw_pkt *zw_cp_packet_whole(const struct zw_cp_op *op, const struct zw_pkt *hdr,
					union zw_cp_packet *copy)
{
	if (hdr->size >= op->size)
		return hdr;
	memset(copy, 0, sizeof(*copy));
	memcpy(copy, hdr, hdr->size);
	return &copy->hdr;
}

const struct zw_cp_op *zw_cp_op_find(unsigned int opcode)
{
	switch (opcode) {
#define FIND(NAME, name, number, engine, type, flags)                                              \
	case ZW_OP_##NAME:                                                                         \
		return &ops[AT_##NAME];
		ZW_OPS(FIND)
	default:
		return NULL;
	}
}

// SPDX-License-Identifier: MIT
/* Texts of the ABI's enumerations. */
#include "zhenwu/zhenwu.h"
#include "cmd_table.h"

#define NAME(table, i) ((i) < sizeof(table) / sizeof((table)[0]) && (table)[i] ? (table)[i] : NULL)

ZW_API const char *zw_job_status_name(uint32_t status)
{
	static const char *const names[] = {
		[ZW_JOB_OK] = "ok",
		[ZW_JOB_INVALID] = "refused",
		[ZW_JOB_FAULT] = "fault",
		[ZW_JOB_CANCELED] = "cancelled",
		[ZW_JOB_DATA] = "bad data",
		[ZW_JOB_NO_MEMORY] = "out of memory",
		[ZW_JOB_INTERNAL] = "internal error",
		[ZW_JOB_ECC] = "uncorrectable memory error",
	};
	const char *n = NAME(names, status);

	return n ? n : "unknown";
}

ZW_API const char *zw_reason_name(uint32_t reason)
{
	static const char *const names[] = {
		[ZW_REASON_NONE] = "no reason",
		[ZW_REASON_CMD_SIZE] = "length or alignment of the command buffer",
		[ZW_REASON_PACKET_SIZE] = "packet size wrong for the opcode or beyond the buffer",
		[ZW_REASON_OPCODE] = "unknown opcode",
		[ZW_REASON_FLAGS] = "unknown flag",
		[ZW_REASON_RESERVED] = "reserved field not zero",
		[ZW_REASON_DTYPE] = "data type not accepted here",
		[ZW_REASON_UNSUPPORTED] = "well formed, but not computed by this device",
		[ZW_REASON_NDIM] = "wrong number of dimensions",
		[ZW_REASON_SHAPE] = "shapes do not agree, or a dimension is zero",
		[ZW_REASON_LIMIT] = "dimension or size over the limit",
		[ZW_REASON_STRIDE] = "stride smaller than the row, or overflow",
		[ZW_REASON_ALIGN] = "address not aligned",
		[ZW_REASON_OVERLAP] = "output overlaps another operand",
		[ZW_REASON_VALUE] = "scalar out of range or not finite",
		[ZW_REASON_ROWS] = "row count over the first dimension, or not allowed here",
		[ZW_REASON_OPERAND] = "needed operand absent or surplus one present",
		[ZW_REASON_INDEX] = "token id, position, sequence or block number out of range",
		[ZW_REASON_RING] = "malformed ring entry",
	};
	const char *n = NAME(names, reason);

	return n ? n : "unknown";
}

ZW_API const char *zw_fault_name(uint32_t fault)
{
	static const char *const names[] = {
		[ZW_FAULT_NONE] = "no fault",
		[ZW_FAULT_UNMAPPED] = "not mapped",
		[ZW_FAULT_PERMISSION] = "mapped without the needed permission",
		[ZW_FAULT_RANGE] = "beyond 48 bits, or the range wraps",
		[ZW_FAULT_TABLE] = "malformed page table",
		[ZW_FAULT_TARGET] = "mapping outside of HBM",
		[ZW_FAULT_DMA] = "DMA to system memory failed",
		[ZW_FAULT_NO_VM] = "address space without page table",
	};
	const char *n = NAME(names, fault);

	return n ? n : "unknown";
}

ZW_API const char *zw_engine_name(uint32_t engine)
{
	static const char *const names[ZW_ENGINE_COUNT] = {
		[ZW_ENGINE_CP] = "cp",         [ZW_ENGINE_TENSOR] = "tensor",
		[ZW_ENGINE_VECTOR] = "vector", [ZW_ENGINE_ATTN] = "attention",
		[ZW_ENGINE_DMA] = "dma",       [ZW_ENGINE_DELTA] = "delta",
		[ZW_ENGINE_LINK] = "link",
	};
	const char *n = NAME(names, engine);

	return n ? n : "reserved";
}

ZW_API const char *zw_opcode_name(uint32_t opcode)
{
	const struct cmd_desc *d = zw_rt_cmd_find(opcode);

	return d ? d->name : NULL;
}

ZW_API const char *zw_dtype_name(uint32_t dtype)
{
	static const char *const names[64] = {
		[ZW_DTYPE_NONE] = "none",     [ZW_DTYPE_F32] = "f32",
		[ZW_DTYPE_BF16] = "bf16",     [ZW_DTYPE_F16] = "f16",
		[ZW_DTYPE_F8E4M3] = "f8e4m3", [ZW_DTYPE_F8E5M2] = "f8e5m2",
		[ZW_DTYPE_E8M0] = "e8m0",     [ZW_DTYPE_F4E2M1] = "f4e2m1",
		[ZW_DTYPE_I32] = "i32",       [ZW_DTYPE_I64] = "i64",
		[ZW_DTYPE_I8] = "i8",         [ZW_DTYPE_U8] = "u8",
		[ZW_DTYPE_I4] = "i4",         [ZW_DTYPE_U4] = "u4",
		[ZW_DTYPE_Q4_0] = "q4_0",     [ZW_DTYPE_Q4_1] = "q4_1",
		[ZW_DTYPE_Q5_0] = "q5_0",     [ZW_DTYPE_Q5_1] = "q5_1",
		[ZW_DTYPE_Q8_0] = "q8_0",     [ZW_DTYPE_MXFP4] = "mxfp4",
		[ZW_DTYPE_Q2_K] = "q2_k",     [ZW_DTYPE_Q3_K] = "q3_k",
		[ZW_DTYPE_Q4_K] = "q4_k",     [ZW_DTYPE_Q5_K] = "q5_k",
		[ZW_DTYPE_Q6_K] = "q6_k",
	};

	return NAME(names, dtype);
}

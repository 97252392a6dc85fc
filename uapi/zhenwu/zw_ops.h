/* SPDX-License-Identifier: MIT */
/*
 * Zhenwu device ABI: the table of packets. It is data, expanded by whoever needs to know packets: the
 * runtime's builder, checker and disassembler, the device's own checks, tests, fuzzers, and the table
 * in Documentation/device/packets.md. The places of the fields are in zw_cmd.h. A new packet is a
 * structure there and its rows here.
 *
 * ZW_OPS(OP) expands OP(NAME, name, number, engine, struct, flags) for every packet:
 *
 *	NAME    ZW_OP_NAME is its opcode, ZW_FIELDS_NAME its fields
 *	name    in lower case, for texts
 *	number  the opcode: group << 8 | index
 *	engine  ZW_ENGINE_*
 *	struct  struct <struct> is the packet; its size the least that hdr.size may be, but for those
 *	        of ZW_OPS_GROWN()
 *	flags   ZW_PKT_F_* and ZW_PKT_OPFLAG() it takes
 *
 * ZW_FIELDS_NAME(P, T, S) expands T() for every tensor and S() for every scalar, in the order in
 * which they are checked:
 *
 *	T(P, member, access, kind, dtypes, dims, same)
 *	access  IN, OUT or INOUT
 *	kind    or-ed ZW_OPD_*
 *	dtypes  ZW_DT() it may have
 *	dims    a letter a dimension. Equal letters are equal sizes in the whole packet; a lower-case
 *	        letter may be left out everywhere; a digit is that size. "@x": scales of operand x,
 *	        which comes before, see struct zw_tensor.block; with ROWS they have as many rows as
 *	        cover those of x. "|DIMS" behind: the dimensions when the packet has the flag of
 *	        ZW_OPD_TRANS_0, _1 or ZW_OPD_ALT_0
 *	same    outputs: bit i: may be exactly operand i (in place); else an output overlaps nothing
 *
 *	S(P, member, kind, arg)
 *	kind    ZW_SCALAR_*
 */
#ifndef ZW_OPS_H
#define ZW_OPS_H

#include "zw_types.h"

/* clang-format off */
#define ZW_OPS(OP) \
	OP(NOP,        nop,        0x0000, CP,     zw_pkt,           ZW_PKT_F_DEPS) \
	OP(TIMESTAMP,  timestamp,  0x0001, CP,     zw_pkt_timestamp, 0) \
	OP(SEM_SIGNAL, sem_signal, 0x0002, CP,     zw_pkt_sem,       0) \
	OP(SEM_WAIT,   sem_wait,   0x0003, CP,     zw_pkt_sem,       0) \
	OP(BARRIER,    barrier,    0x0004, CP,     zw_pkt,           0) \
	OP(GEMM,       gemm,       0x0100, TENSOR, zw_pkt_gemm,      ZW_PKT_F_DEPS | ZW_GEMM_F_TRANS_A | ZW_GEMM_F_TRANS_W) \
	OP(GEMM_EXPERTS, gemm_experts, 0x0101, TENSOR, zw_pkt_gemm_experts, ZW_PKT_F_DEPS | ZW_EXPERTS_F_SCATTER) \
	OP(RMSNORM,    rmsnorm,    0x0200, VECTOR, zw_pkt_rmsnorm,   ZW_PKT_F_DEPS) \
	OP(ROPE,       rope,       0x0201, VECTOR, zw_pkt_rope,      ZW_PKT_F_DEPS) \
	OP(SWIGLU,     swiglu,     0x0202, VECTOR, zw_pkt_swiglu,    ZW_PKT_F_DEPS) \
	OP(EMBED,      embed,      0x0203, VECTOR, zw_pkt_embed,     ZW_PKT_F_DEPS) \
	OP(ADD,        add,        0x0204, VECTOR, zw_pkt_add,       ZW_PKT_F_DEPS) \
	OP(ARGMAX,     argmax,     0x0205, VECTOR, zw_pkt_argmax,    ZW_PKT_F_DEPS) \
	OP(TOPK,       topk,       0x0206, VECTOR, zw_pkt_topk,      ZW_PKT_F_DEPS) \
	OP(ROUTE,      route,      0x0207, VECTOR, zw_pkt_route,     ZW_PKT_F_DEPS | ZW_ROUTE_F_RENORM) \
	OP(GATED_NORM, gated_norm, 0x0208, VECTOR, zw_pkt_gated_norm, ZW_PKT_F_DEPS) \
	OP(MUL_SIGMOID, mul_sigmoid, 0x0209, VECTOR, zw_pkt_mul_sigmoid, ZW_PKT_F_DEPS | ZW_SIGMOID_F_ROW_GATE) \
	OP(QUANTIZE,   quantize,   0x020A, VECTOR, zw_pkt_quantize,  ZW_PKT_F_DEPS) \
	OP(REORDER,    reorder,    0x020B, VECTOR, zw_pkt_reorder,   ZW_PKT_F_DEPS) \
	OP(KV_WRITE,   kv_write,   0x0300, ATTN,   zw_pkt_kv_write,  ZW_PKT_F_DEPS) \
	OP(ATTENTION,  attention,  0x0301, ATTN,   zw_pkt_attention, ZW_PKT_F_DEPS) \
	OP(MERGE,      merge,      0x0302, ATTN,   zw_pkt_merge,     ZW_PKT_F_DEPS) \
	OP(SELECT_BLOCKS, select_blocks, 0x0303, ATTN, zw_pkt_select_blocks, ZW_PKT_F_DEPS) \
	OP(SELECT_SLASH, select_slash, 0x0304, ATTN, zw_pkt_select_slash, ZW_PKT_F_DEPS) \
	OP(CONV,       conv,       0x0400, DELTA,  zw_pkt_conv,      ZW_PKT_F_DEPS) \
	OP(DELTA,      delta,      0x0401, DELTA,  zw_pkt_delta,     ZW_PKT_F_DEPS | ZW_DELTA_F_CHUNKED) \
	OP(COPY,       copy,       0x0500, DMA,    zw_pkt_copy,      ZW_PKT_F_DEPS) \
	OP(FILL,       fill,       0x0501, DMA,    zw_pkt_fill,      ZW_PKT_F_DEPS)
/*
 * Groups: 0x00 control, 0x01 tensor, 0x02 vector, 0x03 attention, 0x04 delta rule and convolution,
 * 0x05 DMA, 0x06 control flow (loops and branches inside a buffer; reserved), 0x07 links (reserved),
 * 0x08 optimiser and loss (reserved).
 */

/*
 * Packets that have got fields since their first version: GROWN(NAME, size), size being that of the
 * first version and the least that hdr.size may be. Fields that are not there are zero.
 */
#define ZW_OPS_GROWN(GROWN) GROWN(ATTENTION, 880) GROWN(SELECT_BLOCKS, 544) GROWN(SELECT_SLASH, 832)

#define ZW_FIELDS_NOP(P, T, S)
#define ZW_FIELDS_BARRIER(P, T, S)
#define ZW_FIELDS_TIMESTAMP(P, T, S) \
	S(P, va,       VA, 8) \
	S(P, reserved, ZERO, 8)
#define ZW_FIELDS_SEM_SIGNAL(P, T, S) \
	S(P, va,    VA, 8) \
	S(P, value, U64, 0)
#define ZW_FIELDS_SEM_WAIT(P, T, S) \
	S(P, va,    VA, 8) \
	S(P, value, U64, 0)
#define ZW_FIELDS_GEMM(P, T, S) \
	T(P, a,        IN,  ZW_OPD_ROWS | ZW_OPD_TRANS_0, ZW_DT_FLOAT | ZW_DT(I8) | ZW_DT(F8E4M3) | ZW_DT(F8E5M2), "MK|KM", 0) \
	T(P, w,        IN,  ZW_OPD_TRANS_1,               ZW_DT_WEIGHT, "NK|KN", 0) \
	T(P, c,        OUT, ZW_OPD_ROWS,                  ZW_DT_FLOAT, "MN", 1u << 4) \
	T(P, bias,     IN,  ZW_OPD_OPT,                   ZW_DT_FLOAT, "N", 0) \
	T(P, residual, IN,  ZW_OPD_ROWS | ZW_OPD_OPT,     ZW_DT_FLOAT, "MN", 0) \
	T(P, a_scale,  IN,  ZW_OPD_ROWS | ZW_OPD_OPT,     ZW_DT(F32), "@a", 0) \
	T(P, w_scale,  IN,  ZW_OPD_OPT, ZW_DT_FLOAT | ZW_DT(F8E4M3) | ZW_DT(E8M0), "@w", 0) \
	T(P, w_zero,   IN,  ZW_OPD_OPT, ZW_DT_FLOAT | ZW_DT(I8) | ZW_DT(U8) | ZW_DT(I4) | ZW_DT(U4), "@w", 0) \
	T(P, w_scale2, IN,  ZW_OPD_OPT, ZW_DT(F32), "1", 0)
#define ZW_FIELDS_GEMM_EXPERTS(P, T, S) \
	T(P, a,        IN,  ZW_OPD_ROWS | ZW_OPD_ALT_0, ZW_DT_FLOAT | ZW_DT(I8) | ZW_DT(F8E4M3) | ZW_DT(F8E5M2), "MK|MTK", 0) \
	T(P, w,        IN,  ZW_OPD_PART,                ZW_DT_WEIGHT, "ENK", 0) \
	T(P, ids,      IN,  ZW_OPD_ROWS | ZW_OPD_INDEX, ZW_DT(I32), "MT", 0) \
	T(P, c,        OUT, ZW_OPD_ROWS | ZW_OPD_ALT_0, ZW_DT_FLOAT, "MTN|MN", 1u << 5) \
	T(P, weights,  IN,  ZW_OPD_ROWS | ZW_OPD_OPT,   ZW_DT(F32), "MT", 0) \
	T(P, residual, IN,  ZW_OPD_ROWS | ZW_OPD_OPT,   ZW_DT_FLOAT, "MN", 0) \
	T(P, a_scale,  IN,  ZW_OPD_ROWS | ZW_OPD_OPT,   ZW_DT(F32), "@a", 0) \
	T(P, w_scale,  IN,  ZW_OPD_PART | ZW_OPD_OPT, ZW_DT_FLOAT | ZW_DT(F8E4M3) | ZW_DT(E8M0), "@w", 0) \
	T(P, w_zero,   IN,  ZW_OPD_PART | ZW_OPD_OPT, ZW_DT_FLOAT | ZW_DT(I8) | ZW_DT(U8) | ZW_DT(I4) | ZW_DT(U4), "@w", 0) \
	T(P, w_scale2, IN,  ZW_OPD_OPT, ZW_DT(F32), "E", 0)
#define ZW_FIELDS_RMSNORM(P, T, S) \
	T(P, x,        IN,  ZW_OPD_ROWS, ZW_DT_FLOAT, "MhD", 0) \
	T(P, w,        IN,  0,           ZW_DT_FLOAT, "D", 0) \
	T(P, y,        OUT, ZW_OPD_ROWS, ZW_DT_FLOAT, "MhD", 1u << 0) \
	S(P, eps_f32,  EPS, 0) \
	S(P, reserved, ZERO, 12)
#define ZW_FIELDS_ROPE(P, T, S) \
	T(P, x,   IN,  ZW_OPD_ROWS,                ZW_DT_FLOAT, "MHD", 0) \
	T(P, y,   OUT, ZW_OPD_ROWS,                ZW_DT_FLOAT, "MHD", 1u << 0) \
	T(P, pos, IN,  ZW_OPD_ROWS | ZW_OPD_INDEX, ZW_DT(I32), "M", 0) \
	T(P, cos, IN,  ZW_OPD_PART,                ZW_DT(F32), "PR", 0) \
	T(P, sin, IN,  ZW_OPD_PART,                ZW_DT(F32), "PR", 0)
#define ZW_FIELDS_SWIGLU(P, T, S) \
	T(P, gate, IN,  ZW_OPD_ROWS, ZW_DT_FLOAT, "MhI", 0) \
	T(P, up,   IN,  ZW_OPD_ROWS, ZW_DT_FLOAT, "MhI", 0) \
	T(P, y,    OUT, ZW_OPD_ROWS, ZW_DT_FLOAT, "MhI", 1u << 0 | 1u << 1)
#define ZW_FIELDS_EMBED(P, T, S) \
	T(P, ids,   IN,  ZW_OPD_ROWS | ZW_OPD_INDEX, ZW_DT(I32), "M", 0) \
	T(P, table, IN,  ZW_OPD_PART,                ZW_DT_FLOAT | ZW_DT_BLOCKED, "VH", 0) \
	T(P, y,     OUT, ZW_OPD_ROWS,                ZW_DT_FLOAT, "MH", 0)
#define ZW_FIELDS_ADD(P, T, S) \
	T(P, a, IN,  ZW_OPD_ROWS, ZW_DT_FLOAT, "MN", 0) \
	T(P, b, IN,  ZW_OPD_ROWS, ZW_DT_FLOAT, "MN", 0) \
	T(P, y, OUT, ZW_OPD_ROWS, ZW_DT_FLOAT, "MN", 1u << 0 | 1u << 1)
#define ZW_FIELDS_ARGMAX(P, T, S) \
	T(P, x,   IN,  ZW_OPD_ROWS, ZW_DT_FLOAT, "MV", 0) \
	T(P, ids, OUT, ZW_OPD_ROWS, ZW_DT(I32), "M", 0)
#define ZW_FIELDS_TOPK(P, T, S) \
	T(P, x,      IN,  ZW_OPD_ROWS, ZW_DT_FLOAT, "MV", 0) \
	T(P, values, OUT, ZW_OPD_ROWS, ZW_DT(F32), "MK", 0) \
	T(P, ids,    OUT, ZW_OPD_ROWS, ZW_DT(I32), "MK", 0)
#define ZW_FIELDS_ROUTE(P, T, S) \
	T(P, x,       IN,  ZW_OPD_ROWS, ZW_DT_FLOAT, "ME", 0) \
	T(P, weights, OUT, ZW_OPD_ROWS, ZW_DT(F32), "MK", 0) \
	T(P, ids,     OUT, ZW_OPD_ROWS, ZW_DT(I32), "MK", 0)
#define ZW_FIELDS_GATED_NORM(P, T, S) \
	T(P, x,        IN,  ZW_OPD_ROWS, ZW_DT_FLOAT, "MhD", 0) \
	T(P, w,        IN,  0,           ZW_DT_FLOAT, "D", 0) \
	T(P, gate,     IN,  ZW_OPD_ROWS, ZW_DT_FLOAT, "MhD", 0) \
	T(P, y,        OUT, ZW_OPD_ROWS, ZW_DT_FLOAT, "MhD", 1u << 0 | 1u << 2) \
	S(P, eps_f32,  EPS, 0) \
	S(P, reserved, ZERO, 12)
#define ZW_FIELDS_MUL_SIGMOID(P, T, S) \
	T(P, x,        IN,  ZW_OPD_ROWS,                ZW_DT_FLOAT, "MhI", 0) \
	T(P, gate,     IN,  ZW_OPD_ROWS | ZW_OPD_ALT_0, ZW_DT_FLOAT, "MhI|M1", 0) \
	T(P, residual, IN,  ZW_OPD_ROWS | ZW_OPD_OPT,   ZW_DT_FLOAT, "MhI", 0) \
	T(P, y,        OUT, ZW_OPD_ROWS,                ZW_DT_FLOAT, "MhI", 1u << 0 | 1u << 1 | 1u << 2)
#define ZW_FIELDS_QUANTIZE(P, T, S) \
	T(P, x,     IN,  ZW_OPD_ROWS, ZW_DT_FLOAT, "MhN", 0) \
	T(P, y,     OUT, ZW_OPD_ROWS, ZW_DT(I8) | ZW_DT(F8E4M3) | ZW_DT(F8E5M2), "MhN", 0) \
	T(P, scale, OUT, ZW_OPD_ROWS, ZW_DT(F32), "@y", 0)
#define ZW_FIELDS_REORDER(P, T, S) \
	T(P, x,     IN,  ZW_OPD_ROWS,                             ZW_DT_FLOAT, "MN", 0) \
	T(P, order, IN,  ZW_OPD_PART,                             ZW_DT(I32), "EK", 0) \
	T(P, which, IN,  ZW_OPD_ROWS | ZW_OPD_OPT | ZW_OPD_INDEX, ZW_DT(I32), "M1", 0) \
	T(P, y,     OUT, ZW_OPD_ROWS,                             ZW_DT_FLOAT, "MK", 0)
/* What a pool of the KV cache may be. */
#define ZW_DT_CACHE (ZW_DT_FLOAT | ZW_DT(I8) | ZW_DT(F8E4M3))
#define ZW_FIELDS_KV_WRITE(P, T, S) \
	T(P, k,           IN,  ZW_OPD_ROWS,                             ZW_DT_FLOAT, "MHD", 0) \
	T(P, v,           IN,  ZW_OPD_ROWS,                             ZW_DT_FLOAT, "MHD", 0) \
	T(P, pos,         IN,  ZW_OPD_ROWS | ZW_OPD_INDEX,              ZW_DT(I32), "M", 0) \
	T(P, seq,         IN,  ZW_OPD_ROWS | ZW_OPD_OPT | ZW_OPD_INDEX, ZW_DT(I32), "M", 0) \
	T(P, block_table, IN,  ZW_OPD_PART,                             ZW_DT(I32), "SL", 0) \
	T(P, k_cache,     OUT, ZW_OPD_PART | ZW_OPD_PAGED,              ZW_DT_CACHE, "BTHD", 0) \
	T(P, v_cache,     OUT, ZW_OPD_PART | ZW_OPD_PAGED,              ZW_DT_CACHE, "BTHD", 0) \
	T(P, k_scale,     OUT, ZW_OPD_PART | ZW_OPD_PAGED | ZW_OPD_OPT, ZW_DT(F32), "BTH", 0) \
	T(P, v_scale,     OUT, ZW_OPD_PART | ZW_OPD_PAGED | ZW_OPD_OPT, ZW_DT(F32), "BTH", 0)
#define ZW_FIELDS_ATTENTION(P, T, S) \
	T(P, q,             IN,  ZW_OPD_ROWS,                             ZW_DT_FLOAT, "MQD", 0) \
	T(P, y,             OUT, ZW_OPD_ROWS,                             ZW_DT_FLOAT, "MQD", 1u << 0) \
	T(P, pos,           IN,  ZW_OPD_ROWS | ZW_OPD_INDEX,              ZW_DT(I32), "M", 0) \
	T(P, seq,           IN,  ZW_OPD_ROWS | ZW_OPD_OPT | ZW_OPD_INDEX, ZW_DT(I32), "M", 0) \
	T(P, block_table,   IN,  ZW_OPD_PART,                             ZW_DT(I32), "SL", 0) \
	T(P, k_cache,       IN,  ZW_OPD_PART | ZW_OPD_PAGED,              ZW_DT_CACHE, "BTHD", 0) \
	T(P, v_cache,       IN,  ZW_OPD_PART | ZW_OPD_PAGED,              ZW_DT_CACHE, "BTHD", 0) \
	T(P, lse,           OUT, ZW_OPD_ROWS | ZW_OPD_OPT,                ZW_DT(F32), "MQ", 0) \
	T(P, k_scale,       IN,  ZW_OPD_PART | ZW_OPD_PAGED | ZW_OPD_OPT, ZW_DT(F32), "BTH", 0) \
	T(P, v_scale,       IN,  ZW_OPD_PART | ZW_OPD_PAGED | ZW_OPD_OPT, ZW_DT(F32), "BTH", 0) \
	T(P, sinks,         IN,  ZW_OPD_OPT,                              ZW_DT(F32), "Q", 0) \
	T(P, sparse_blocks, IN,  ZW_OPD_PART | ZW_OPD_OPT,                ZW_DT(I32), "GQE", 0) \
	T(P, sparse_counts, IN,  ZW_OPD_PART | ZW_OPD_OPT,                ZW_DT(I32), "GQ", 0) \
	T(P, sparse_columns, IN, ZW_OPD_PART | ZW_OPD_OPT,                ZW_DT(I32), "GQC", 0) \
	T(P, sparse_column_counts, IN, ZW_OPD_PART | ZW_OPD_OPT,          ZW_DT(I32), "GQ", 0) \
	T(P, start,         IN,  ZW_OPD_ROWS | ZW_OPD_OPT | ZW_OPD_INDEX, ZW_DT(I32), "M", 0) \
	S(P, scale_f32,     SCALE, 0) \
	S(P, window,        U32, 0) \
	S(P, reserved,      ZERO, 8)
#define ZW_FIELDS_MERGE(P, T, S) \
	T(P, x,     IN,  ZW_OPD_PART,               ZW_DT_FLOAT, "NMHD", 0) \
	T(P, x_lse, IN,  ZW_OPD_PART,               ZW_DT(F32), "NMH", 0) \
	T(P, y,     OUT, ZW_OPD_ROWS,               ZW_DT_FLOAT, "MHD", 0) \
	T(P, lse,   OUT, ZW_OPD_ROWS | ZW_OPD_OPT,  ZW_DT(F32), "MH", 0)
#define ZW_FIELDS_SELECT_BLOCKS(P, T, S) \
	T(P, q,           IN,  ZW_OPD_ROWS,                             ZW_DT_FLOAT, "MQD", 0) \
	T(P, pos,         IN,  ZW_OPD_ROWS | ZW_OPD_INDEX,              ZW_DT(I32), "M", 0) \
	T(P, seq,         IN,  ZW_OPD_ROWS | ZW_OPD_OPT | ZW_OPD_INDEX, ZW_DT(I32), "M", 0) \
	T(P, block_table, IN,  ZW_OPD_PART,                             ZW_DT(I32), "SL", 0) \
	T(P, k_cache,     IN,  ZW_OPD_PART | ZW_OPD_PAGED,              ZW_DT_CACHE, "BTHD", 0) \
	T(P, k_scale,     IN,  ZW_OPD_PART | ZW_OPD_PAGED | ZW_OPD_OPT, ZW_DT(F32), "BTH", 0) \
	T(P, blocks,      OUT, 0,                                       ZW_DT(I32), "GQE", 0) \
	T(P, counts,      OUT, 0,                                       ZW_DT(I32), "GQ", 0) \
	T(P, q_mid,       IN,  ZW_OPD_ROWS | ZW_OPD_OPT,                ZW_DT_FLOAT, "MQD", 0) \
	T(P, mid_end,     IN,  ZW_OPD_ROWS | ZW_OPD_OPT | ZW_OPD_INDEX, ZW_DT(I32), "M", 0) \
	T(P, q_far,       IN,  ZW_OPD_ROWS | ZW_OPD_OPT,                ZW_DT_FLOAT, "MQD", 0) \
	T(P, far_end,     IN,  ZW_OPD_ROWS | ZW_OPD_OPT | ZW_OPD_INDEX, ZW_DT(I32), "M", 0)
#define ZW_FIELDS_SELECT_SLASH(P, T, S) \
	T(P, q,             IN,  ZW_OPD_ROWS,                             ZW_DT_FLOAT, "MQD", 0) \
	T(P, pos,           IN,  ZW_OPD_ROWS | ZW_OPD_INDEX,              ZW_DT(I32), "M", 0) \
	T(P, seq,           IN,  ZW_OPD_ROWS | ZW_OPD_OPT | ZW_OPD_INDEX, ZW_DT(I32), "M", 0) \
	T(P, block_table,   IN,  ZW_OPD_PART,                             ZW_DT(I32), "SL", 0) \
	T(P, k_cache,       IN,  ZW_OPD_PART | ZW_OPD_PAGED,              ZW_DT_CACHE, "BTHD", 0) \
	T(P, k_scale,       IN,  ZW_OPD_PART | ZW_OPD_PAGED | ZW_OPD_OPT, ZW_DT(F32), "BTH", 0) \
	T(P, vertical,      IN,  0,                                       ZW_DT(I32), "Q", 0) \
	T(P, slash,         IN,  0,                                       ZW_DT(I32), "Q", 0) \
	T(P, blocks,        OUT, 0,                                       ZW_DT(I32), "GQE", 0) \
	T(P, counts,        OUT, 0,                                       ZW_DT(I32), "GQ", 0) \
	T(P, columns,       OUT, 0,                                       ZW_DT(I32), "GQC", 0) \
	T(P, column_counts, OUT, 0,                                       ZW_DT(I32), "GQ", 0) \
	T(P, q_mid,         IN,  ZW_OPD_ROWS | ZW_OPD_OPT,                ZW_DT_FLOAT, "MQD", 0) \
	T(P, mid_end,       IN,  ZW_OPD_ROWS | ZW_OPD_OPT | ZW_OPD_INDEX, ZW_DT(I32), "M", 0) \
	T(P, q_far,         IN,  ZW_OPD_ROWS | ZW_OPD_OPT,                ZW_DT_FLOAT, "MQD", 0) \
	T(P, far_end,       IN,  ZW_OPD_ROWS | ZW_OPD_OPT | ZW_OPD_INDEX, ZW_DT(I32), "M", 0) \
	S(P, scale_f32,     SCALE, 0) \
	S(P, sample,        U32, 0) \
	S(P, first,         U32, 0) \
	S(P, nearest,       U32, 0) \
	S(P, reserved,      ZERO, 16)
#define ZW_FIELDS_CONV(P, T, S) \
	T(P, x,        IN,    ZW_OPD_ROWS,                             ZW_DT_FLOAT, "MC", 0) \
	T(P, w,        IN,    0,                                       ZW_DT_FLOAT, "CK", 0) \
	T(P, y,        OUT,   ZW_OPD_ROWS,                             ZW_DT_FLOAT, "MC", 1u << 0) \
	T(P, state,    INOUT, ZW_OPD_PART,                             ZW_DT_FLOAT, "SJC", 0) \
	T(P, pos,      IN,    ZW_OPD_ROWS | ZW_OPD_INDEX,              ZW_DT(I32), "M", 0) \
	T(P, seq,      IN,    ZW_OPD_ROWS | ZW_OPD_OPT | ZW_OPD_INDEX, ZW_DT(I32), "M", 0) \
	T(P, dst,      IN,    ZW_OPD_ROWS | ZW_OPD_OPT | ZW_OPD_INDEX, ZW_DT(I32), "M", 0) \
	S(P, reserved, ZERO, 64)
#define ZW_FIELDS_DELTA(P, T, S) \
	T(P, q,         IN,    ZW_OPD_ROWS,                             ZW_DT_FLOAT, "MGD", 0) \
	T(P, k,         IN,    ZW_OPD_ROWS,                             ZW_DT_FLOAT, "MGD", 0) \
	T(P, v,         IN,    ZW_OPD_ROWS,                             ZW_DT_FLOAT, "MHE", 0) \
	T(P, a,         IN,    ZW_OPD_ROWS,                             ZW_DT_FLOAT, "MH", 0) \
	T(P, b,         IN,    ZW_OPD_ROWS,                             ZW_DT_FLOAT, "MH", 0) \
	T(P, a_log,     IN,    0,                                       ZW_DT_FLOAT, "H", 0) \
	T(P, dt_bias,   IN,    0,                                       ZW_DT_FLOAT, "H", 0) \
	T(P, y,         OUT,   ZW_OPD_ROWS,                             ZW_DT_FLOAT, "MHE", 1u << 2) \
	T(P, state,     INOUT, ZW_OPD_PART,                             ZW_DT(F32), "SHDE", 0) \
	T(P, pos,       IN,    ZW_OPD_ROWS | ZW_OPD_INDEX,              ZW_DT(I32), "M", 0) \
	T(P, seq,       IN,    ZW_OPD_ROWS | ZW_OPD_OPT | ZW_OPD_INDEX, ZW_DT(I32), "M", 0) \
	T(P, dst,       IN,    ZW_OPD_ROWS | ZW_OPD_OPT | ZW_OPD_INDEX, ZW_DT(I32), "M", 0) \
	S(P, eps_f32,   EPS, 0) \
	S(P, scale_f32, SCALE, 0) \
	S(P, reserved,  ZERO, 136)
#define ZW_FIELDS_COPY(P, T, S) \
	S(P, dst,        VA, 1) \
	S(P, src,        VA, 1) \
	S(P, bytes,      BYTES, 1) \
	S(P, dst_stride, BYTES, 1) \
	S(P, src_stride, BYTES, 1) \
	S(P, rows,       ROWS, 0) \
	S(P, reserved,   ZERO, 4)
#define ZW_FIELDS_FILL(P, T, S) \
	S(P, dst,        VA, 4) \
	S(P, bytes,      BYTES, 4) \
	S(P, dst_stride, BYTES, 4) \
	S(P, rows,       ROWS, 0) \
	S(P, pattern,    HEX32, 0)
/* clang-format on */

enum zw_opcode {
#define ZW_OP_ENUM(NAME, name, number, engine, type, flags) ZW_OP_##NAME = (number),
	ZW_OPS(ZW_OP_ENUM)
#undef ZW_OP_ENUM
};

/* The least size of a packet; size: that of its structure. Pure. */
static inline unsigned int zw_op_least_size(unsigned int opcode, unsigned int size)
{
#define ZW_OP_LEAST(NAME, least)                                                                   \
	if (opcode == ZW_OP_##NAME)                                                                \
		return least;
	ZW_OPS_GROWN(ZW_OP_LEAST)
#undef ZW_OP_LEAST
	return size;
}

enum zw_opd_access {
	ZW_OPD_IN = 1,
	ZW_OPD_OUT = 2,
	ZW_OPD_INOUT = 3, /* read and written: both are counted */
};

enum zw_opd_kind {
	ZW_OPD_ROWS = 1 << 0,  /* dim[0] is replaced by the indirect row count */
	ZW_OPD_OPT = 1 << 1,   /* may be absent */
	ZW_OPD_INDEX = 1 << 2, /* indexes, one or more per row: the device copies them before use */
	ZW_OPD_PART = 1 << 3,  /* only the parts that are used are translated */
	ZW_OPD_PAGED = 1 << 4, /* blocks along dim[0]: may interleave with other such operands */
	ZW_OPD_TRANS_0 = 1 << 5, /* other dimensions with ZW_PKT_OPFLAG(0), none of them the rows */
	ZW_OPD_TRANS_1 = 1 << 6, /* other dimensions with ZW_PKT_OPFLAG(1), none of them the rows */
	ZW_OPD_ALT_0 = 1 << 7,   /* the same with ZW_PKT_OPFLAG(0), and dim[0] stays the rows */
};

enum zw_scalar_kind {
	ZW_SCALAR_VA,    /* 64-bit address, a multiple of arg */
	ZW_SCALAR_U64,   /* anything */
	ZW_SCALAR_U32,   /* anything */
	ZW_SCALAR_HEX32, /* anything, shown in hexadecimal */
	ZW_SCALAR_BYTES, /* 64-bit length or distance, at most 2^48, a multiple of arg */
	ZW_SCALAR_ROWS,  /* 32-bit number of rows, 1..ZW_MAX_DIM; what rows_va counts against */
	ZW_SCALAR_EPS,   /* bits of a finite, non-negative binary32 */
	ZW_SCALAR_SCALE, /* bits of a finite, positive binary32 */
	ZW_SCALAR_ZERO,  /* arg bytes that must be zero */
};

#define ZW_OP_MAX_TENSORS 16
#define ZW_OP_MAX_SCALARS 8

#endif /* ZW_OPS_H */

// SPDX-License-Identifier: MIT
/* Command builder, checker, disassembler: no device needed. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <strings.h>
#include <cmocka.h>

#include "rt_packets.h"

static void test_every_packet(void **state)
{
	struct zw_cmd c;
	uint32_t packet = 99;

	zw_cmd_init(&c);
	for (unsigned int i = 0; i < RT_PACKETS; i++) {
		assert_int_equal(rt_packet(&c, i, 0x100000), 0);
		assert_int_equal(c.packets, i + 1);
	}
	assert_int_equal(zw_cmd_finish(&c), 0);
	assert_int_equal(c.used % 16, 0);
	assert_int_equal(zw_cmd_check(c.base, c.used, &packet, NULL), 0);
	assert_int_equal(packet, 99);
	/* cut off in the middle of the last packet */
	assert_int_equal(zw_cmd_check(c.base, c.used - 16, &packet, NULL), ZW_REASON_PACKET_SIZE);
	assert_int_equal(packet, RT_PACKETS - 1);
	assert_int_equal(zw_cmd_check(c.base, c.used - 1, &packet, NULL), ZW_REASON_CMD_SIZE);
	zw_cmd_fini(&c);
}

static void test_memory(void **state)
{
	_Alignas(16) uint8_t mem[sizeof(struct zw_pkt_copy) + sizeof(struct zw_pkt)];
	struct zw_cmd c;

	zw_cmd_init_fixed(&c, mem, sizeof(mem));
	assert_int_equal(zw_cmd_copy(&c, 0x1000, 0x2000, 16, 0), 0);
	assert_ptr_equal(c.base, mem);
	assert_int_equal(zw_cmd_copy(&c, 0x1000, 0x2000, 16, 0), -ENOSPC);
	assert_int_equal(zw_cmd_nop(&c, 0), -ENOSPC); /* there is room, but errors stick */
	assert_int_equal(zw_cmd_finish(&c), -ENOSPC);
	assert_int_equal(c.packets, 1);
	zw_cmd_reset(&c);
	assert_int_equal(zw_cmd_finish(&c), 0);
	assert_int_equal(c.used, 0);
	zw_cmd_fini(&c);

	zw_cmd_init_fixed(&c, mem + 4, 64);
	assert_int_equal(zw_cmd_nop(&c, 0), -EINVAL);
	zw_cmd_fini(&c);

	/* growth keeps what is there; 16 MiB is the end */
	zw_cmd_init(&c);
	assert_int_equal(zw_cmd_fill(&c, 0x1000, 4, 0xabcd, 0), 0);
	while (c.used + sizeof(struct zw_pkt) <= ZW_CMD_MAX_BYTES)
		if (!zw_cmd_emit_raw(&c, ZW_OP_NOP, sizeof(struct zw_pkt), 0, 0))
			break;
	assert_int_equal(c.error, 0);
	assert_int_equal(c.used, ZW_CMD_MAX_BYTES);
	assert_int_equal(((struct zw_pkt_fill *)(void *)c.base)->pattern, 0xabcd);
	assert_null(zw_cmd_emit_raw(&c, ZW_OP_NOP, sizeof(struct zw_pkt), 0, 0));
	assert_int_equal(c.error, -EFBIG);
	zw_cmd_fini(&c);
}

/* The limit is one of command buffers, wherever they lie. */
static void test_fixed_limit(void **state)
{
	const size_t bytes = ZW_CMD_MAX_BYTES + 4096;
	uint8_t *mem = aligned_alloc(4096, bytes);
	struct zw_cmd c;

	assert_non_null(mem);
	zw_cmd_init_fixed(&c, mem, bytes);
	for (size_t i = 0; i < ZW_CMD_MAX_BYTES / sizeof(struct zw_pkt); i++)
		assert_non_null(zw_cmd_emit_raw(&c, ZW_OP_NOP, sizeof(struct zw_pkt), 0, 0));
	assert_null(zw_cmd_emit_raw(&c, ZW_OP_NOP, sizeof(struct zw_pkt), 0, 0));
	assert_int_equal(c.error, -EFBIG);
	assert_int_equal(c.used, ZW_CMD_MAX_BYTES);
	assert_int_equal(zw_cmd_check(c.base, c.used, NULL, NULL), 0);
	zw_cmd_reset(&c);
	c.used = ZW_CMD_MAX_BYTES - 32;
	assert_int_equal(zw_cmd_nop(&c, 0), 0);
	assert_int_equal(zw_cmd_nop(&c, 0), -EFBIG);
	zw_cmd_fini(&c);
	free(mem);
}

/* Sizes that no packet has. */
static void test_raw_sizes(void **state)
{
	static const size_t bad[] = {0,     16,    31,      33,       40,
				     65536, 65552, 1 << 20, SIZE_MAX, SIZE_MAX - 15};
	struct zw_cmd c;

	zw_cmd_init(&c);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_null(zw_cmd_emit_raw(&c, ZW_OP_NOP, bad[i], 0, 0));
		assert_int_equal(c.error, -EINVAL);
		zw_cmd_reset(&c);
	}
	assert_non_null(zw_cmd_emit_raw(&c, ZW_OP_NOP, 65520, 0, 0));
	assert_int_equal(zw_cmd_check(c.base, c.used, NULL, NULL), 0);
	zw_cmd_fini(&c);
}

/* The operand of a sample by its number; NULL for one that is absent. */
static const struct zw_tensor *opd(union any_packet *pk, unsigned int i)
{
	const struct zw_tensor *t = sample_operand(sample_op(pk->hdr.opcode), pk, i);

	return t->dtype ? t : NULL;
}

/* The function for a packet, called with what a sample holds. */
static int call(struct zw_cmd *c, union any_packet *pk)
{
	const uint64_t rows_va = pk->hdr.rows_va;
	const uint32_t flags = pk->hdr.flags;
#define T(i) opd(pk, i)
	float f;

	switch (pk->hdr.opcode) {
	case ZW_OP_NOP:
		return zw_cmd_nop(c, flags);
	case ZW_OP_BARRIER:
		return zw_cmd_barrier(c, flags);
	case ZW_OP_TIMESTAMP:
		return zw_cmd_timestamp(c, pk->timestamp.va, flags);
	case ZW_OP_SEM_SIGNAL:
		return zw_cmd_sem_signal(c, pk->sem.va, pk->sem.value, flags);
	case ZW_OP_SEM_WAIT:
		return zw_cmd_sem_wait(c, pk->sem.va, pk->sem.value, flags);
	case ZW_OP_GEMM:
		return zw_cmd_gemm(c, T(0), T(1), T(2), T(3), T(4), rows_va, flags);
	case ZW_OP_GEMM_EXPERTS:
		return zw_cmd_gemm_experts(c, T(0), T(1), T(2), T(3), T(4), T(5), rows_va, flags);
	case ZW_OP_ROUTE:
		return zw_cmd_route(c, T(0), T(1), T(2), rows_va, flags);
	case ZW_OP_RMSNORM:
		memcpy(&f, &pk->rmsnorm.eps_f32, sizeof(f));
		return zw_cmd_rmsnorm(c, T(0), T(1), T(2), f, rows_va, flags);
	case ZW_OP_QUANTIZE:
		return zw_cmd_quantize(c, T(0), T(1), T(2), rows_va, flags);
	case ZW_OP_GATED_NORM:
		memcpy(&f, &pk->gated_norm.eps_f32, sizeof(f));
		return zw_cmd_gated_norm(c, T(0), T(1), T(2), T(3), f, rows_va, flags);
	case ZW_OP_MUL_SIGMOID:
		return zw_cmd_mul_sigmoid(c, T(0), T(1), T(2), T(3), rows_va, flags);
	case ZW_OP_REORDER:
		return zw_cmd_reorder(c, T(0), T(1), T(2), T(3), rows_va, flags);
	case ZW_OP_ROPE:
		return zw_cmd_rope(c, T(0), T(1), T(2), T(3), T(4), rows_va, flags);
	case ZW_OP_SWIGLU:
		return zw_cmd_swiglu(c, T(0), T(1), T(2), rows_va, flags);
	case ZW_OP_EMBED:
		return zw_cmd_embed(c, T(0), T(1), T(2), rows_va, flags);
	case ZW_OP_ADD:
		return zw_cmd_add(c, T(0), T(1), T(2), rows_va, flags);
	case ZW_OP_ARGMAX:
		return zw_cmd_argmax(c, T(0), T(1), rows_va, flags);
	case ZW_OP_TOPK:
		return zw_cmd_topk(c, T(0), T(1), T(2), rows_va, flags);
	case ZW_OP_KV_WRITE:
		return zw_cmd_kv_write(c, T(0), T(1), T(2), T(3), T(4), T(5), T(6), rows_va, flags);
	case ZW_OP_ATTENTION: {
		struct zw_cmd_attention_args a = {
			.q = T(0),
			.y = T(1),
			.pos = T(2),
			.seq = T(3),
			.block_table = T(4),
			.k_cache = T(5),
			.v_cache = T(6),
			.lse = T(7),
			.k_scale = T(8),
			.v_scale = T(9),
			.sinks = T(10),
			.sparse_blocks = T(11),
			.sparse_counts = T(12),
			.sparse_columns = T(13),
			.sparse_column_counts = T(14),
			.start = T(15),
			.window = pk->attention.window,
		};

		memcpy(&a.scale, &pk->attention.scale_f32, sizeof(a.scale));
		return zw_cmd_attention(c, &a, rows_va, flags);
	}
	case ZW_OP_MERGE:
		return zw_cmd_merge(c, T(0), T(1), T(2), T(3), rows_va, flags);
	case ZW_OP_SELECT_BLOCKS:
	case ZW_OP_SELECT_SLASH: {
		bool slash = pk->hdr.opcode == ZW_OP_SELECT_SLASH;
		struct zw_cmd_select_args a = {
			.q = T(0),
			.pos = T(1),
			.seq = T(2),
			.block_table = T(3),
			.k_cache = T(4),
			.k_scale = T(5),
			.blocks = slash ? T(8) : T(6),
			.counts = slash ? T(9) : T(7),
			.q_mid = T(slash ? 12 : 8),
			.mid_end = T(slash ? 13 : 9),
			.q_far = T(slash ? 14 : 10),
			.far_end = T(slash ? 15 : 11),
		};

		if (!slash)
			return zw_cmd_select_blocks(c, &a, rows_va, flags);
		a.vertical = T(6);
		a.slash = T(7);
		a.columns = T(10);
		a.column_counts = T(11);
		memcpy(&a.scale, &pk->select_slash.scale_f32, sizeof(a.scale));
		a.sample = pk->select_slash.sample;
		a.first = pk->select_slash.first;
		a.nearest = pk->select_slash.nearest;
		return zw_cmd_select_slash(c, &a, rows_va, flags);
	}
	case ZW_OP_CONV:
		return zw_cmd_conv(c, T(0), T(1), T(2), T(3), T(4), T(5), T(6), rows_va, flags);
	case ZW_OP_DELTA: {
		struct zw_cmd_delta_args a = {
			.q = T(0),
			.k = T(1),
			.v = T(2),
			.a = T(3),
			.b = T(4),
			.a_log = T(5),
			.dt_bias = T(6),
			.y = T(7),
			.state = T(8),
			.pos = T(9),
			.seq = T(10),
			.dst = T(11),
		};

		memcpy(&a.eps, &pk->delta.eps_f32, sizeof(a.eps));
		memcpy(&a.scale, &pk->delta.scale_f32, sizeof(a.scale));
		return zw_cmd_delta(c, &a, rows_va, flags);
	}
	case ZW_OP_COPY:
		return zw_cmd_copy_rows(c, pk->copy.dst, pk->copy.dst_stride, pk->copy.src,
					pk->copy.src_stride, pk->copy.bytes, pk->copy.rows, rows_va,
					flags);
	case ZW_OP_FILL:
		return zw_cmd_fill_rows(c, pk->fill.dst, pk->fill.dst_stride, pk->fill.bytes,
					pk->fill.rows, pk->fill.pattern, rows_va, flags);
	default:
		return -ENOTSUP; /* a packet without a function */
	}
#undef T
}

/* Every function puts its arguments where the table says. */
static void test_functions(void **state)
{
	for (unsigned int i = 0; i < RT_PACKETS; i++) {
		union any_packet pk;
		struct zw_cmd c;

		rt_sample(sample_ops[i].opcode, 0x100000, &pk);
		pk.hdr.flags = sample_ops[i].flags & ZW_PKT_F_DEPS;
		if (sample_has_rows(&sample_ops[i]))
			pk.hdr.rows_va = 0x4000;
		if (pk.hdr.opcode == ZW_OP_ATTENTION) {
			pk.attention.window = 17;
			pk.attention.sinks = zw_tensor_1d(ZW_DTYPE_F32, 0x900000, 4);
			pk.attention.sparse_blocks = zw_tensor_3d(ZW_DTYPE_I32, 0x910000, 1, 4, 3);
			pk.attention.sparse_counts = zw_tensor_2d(ZW_DTYPE_I32, 0x920000, 1, 4);
			pk.attention.sparse_columns = zw_tensor_3d(ZW_DTYPE_I32, 0x930000, 1, 4, 7);
			pk.attention.sparse_column_counts =
				zw_tensor_2d(ZW_DTYPE_I32, 0x940000, 1, 4);
			pk.attention.start = zw_tensor_1d(ZW_DTYPE_I32, 0x950000, 3);
		}
		if (pk.hdr.opcode == ZW_OP_GEMM_EXPERTS) {
			sample_scatter(&pk.gemm_experts);
			pk.gemm_experts.weights = zw_tensor_2d(ZW_DTYPE_F32, 0x900000, 3, 3);
		}
		if (pk.hdr.opcode == ZW_OP_DELTA) {
			pk.delta.dst = zw_tensor_1d(ZW_DTYPE_I32, 0x900000, 3);
			pk.hdr.flags |= ZW_DELTA_F_CHUNKED;
		}
		if (pk.hdr.opcode == ZW_OP_CONV)
			pk.conv.dst = zw_tensor_1d(ZW_DTYPE_I32, 0x900000, 3);
		if (pk.hdr.opcode == ZW_OP_MUL_SIGMOID)
			sample_row_gate(&pk.mul_sigmoid);
		if (pk.hdr.opcode == ZW_OP_ROUTE)
			pk.hdr.flags |= ZW_ROUTE_F_RENORM;
		zw_cmd_init(&c);
		assert_int_equal(call(&c, &pk), 0);
		assert_int_equal(c.used, pk.hdr.size);
		assert_memory_equal(c.base, &pk, pk.hdr.size);
		zw_cmd_fini(&c);
	}
}

/* What is said about the packets to come, and for how long it holds. */
static void test_header_fields(void **state)
{
	struct zw_pkt nop = {.opcode = ZW_OP_NOP, .size = sizeof(nop), .tag = 3};
	const struct zw_pkt *p;
	struct zw_cmd c;

	zw_cmd_init(&c);
	zw_cmd_tag(&c, 0x1234);
	zw_cmd_predicate(&c, 0x5000, 0);
	zw_cmd_wait(&c, 1 << 3 | 1 << 15);
	zw_cmd_signal(&c, 4);
	assert_int_equal(zw_cmd_nop(&c, 0), 0);
	assert_non_null(zw_cmd_emit_raw(&c, ZW_OP_NOP, sizeof(nop), 0, 0));
	zw_cmd_predicate(&c, 0x6000, 1);
	zw_cmd_wait(&c, 0);
	zw_cmd_signal(&c, 0);
	assert_non_null(zw_cmd_emit_raw(&c, ZW_OP_NOP, sizeof(nop), 0, 0));
	zw_cmd_predicate(&c, 0, 1);
	assert_int_equal(zw_cmd_packet(&c, &nop), 0);
	zw_cmd_tag(&c, 0);
	assert_int_equal(zw_cmd_packet(&c, &nop), 0);
	assert_int_equal(zw_cmd_check(c.base, c.used, NULL, NULL), 0);
	p = (const struct zw_pkt *)(void *)c.base;
	static const struct zw_pkt want[] = {
		{.flags = ZW_PKT_F_DEPS,
		 .predicate_va = 0x5000,
		 .tag = 0x1234,
		 .wait = 1 << 3 | 1 << 15,
		 .signal = 5},
		{.predicate_va = 0x5000, .tag = 0x1234},
		{.flags = ZW_PKT_F_DEPS | ZW_PKT_F_PREDICATE_NOT,
		 .predicate_va = 0x6000,
		 .tag = 0x1234,
		 .signal = 1},
		{.tag = 0x1234},
		{.tag = 3},
	};
	assert_int_equal(c.packets, 5);
	for (unsigned int i = 0; i < 5; i++) {
		struct zw_pkt w = want[i];

		w.opcode = ZW_OP_NOP;
		w.size = sizeof(w);
		assert_memory_equal(&p[i], &w, sizeof(w));
	}
	/* found when a packet is added */
	zw_cmd_signal(&c, ZW_PKT_TOKENS);
	assert_int_equal(zw_cmd_nop(&c, 0), -EINVAL);
	assert_int_equal(c.reason, ZW_REASON_VALUE);
	zw_cmd_reset(&c);
	zw_cmd_wait(&c, 1);
	assert_int_equal(zw_cmd_barrier(&c, 0), -EINVAL);
	assert_int_equal(c.reason, ZW_REASON_FLAGS);
	zw_cmd_reset(&c);
	zw_cmd_tag(&c, 9);
	zw_cmd_predicate(&c, 0x5000, 1);
	zw_cmd_wait(&c, 1);
	zw_cmd_signal(&c, 1);
	zw_cmd_without(&c, ZW_PKT_F_WITHOUT);
	zw_cmd_reset(&c);
	assert_int_equal(zw_cmd_nop(&c, 0), 0);
	assert_memory_equal(c.base, &((struct zw_pkt){.opcode = ZW_OP_NOP, .size = sizeof(nop)}),
			    sizeof(nop));
	zw_cmd_fini(&c);
}

/* What is well-formed but for a better device. */
static void test_supported(void **state)
{
	const uint64_t dtypes = ZW_DT(F32) | ZW_DT(BF16) | ZW_DT(I32) | ZW_DT(I8);
	union any_packet pk;
	struct zw_error what;

	for (unsigned int i = 0; i < RT_PACKETS; i++) {
		rt_sample(sample_ops[i].opcode, 0x100000, &pk);
		assert_int_equal(zw_cmd_check_supported(&pk, pk.hdr.size, dtypes, NULL), 0);
	}
	rt_sample(ZW_OP_GEMM, 0x100000, &pk);
	assert_int_equal(zw_cmd_check_supported(&pk, pk.hdr.size, ZW_DT(F32), &what),
			 ZW_REASON_UNSUPPORTED);
	assert_non_null(strstr(what.msg, "a: well formed, but not computed by this device: bf16"));
	pk.gemm.a = zw_tensor_2d(ZW_DTYPE_BF16, 0x100000, 3, 512);
	pk.gemm.w = zw_tensor_2d(ZW_DTYPE_Q6_K, 0x110000, 10, 512);
	assert_int_equal(pk.gemm.w.layout, ZW_LAYOUT_BLOCKED);
	assert_int_equal(zw_tensor_span(&pk.gemm.w), 10 * 2 * 210);
	assert_int_equal(zw_cmd_check_packet(&pk, pk.hdr.size, NULL), 0);
	assert_int_equal(zw_cmd_check_supported(&pk, pk.hdr.size, dtypes, NULL),
			 ZW_REASON_UNSUPPORTED);
	assert_int_equal(zw_cmd_check_supported(&pk, pk.hdr.size, dtypes | ZW_DT(Q6_K), NULL), 0);
	pk.gemm.w = zw_tensor_2d(ZW_DTYPE_F4E2M1, 0x110000, 10, 512);
	assert_int_equal(zw_tensor_span(&pk.gemm.w), 10 * 256);
	assert_int_equal(zw_cmd_check_packet(&pk, pk.hdr.size, &what), ZW_REASON_OPERAND);
	pk.gemm.w_scale = zw_tensor_scales(ZW_DTYPE_E8M0, 0x200000, pk.gemm.w, 3, 100);
	assert_int_equal(pk.gemm.w_scale.dim[0], 4);
	assert_int_equal(pk.gemm.w_scale.dim[1], 6);
	assert_int_equal(pk.gemm.w_scale.stride[0], 6);
	assert_int_equal(zw_cmd_check_packet(&pk, pk.hdr.size, &what), 0);
	assert_int_equal(zw_cmd_check_supported(&pk, pk.hdr.size, dtypes, &what),
			 ZW_REASON_UNSUPPORTED);
	assert_non_null(strstr(what.msg, "f4e2m1"));
	assert_int_equal(zw_cmd_check_supported(&pk, pk.hdr.size, UINT64_MAX, &what), 0);
	/* scales have to fit what they are of */
	pk.gemm.w_zero = zw_tensor_scales(ZW_DTYPE_U8, 0x210000, pk.gemm.w, 3, 100);
	assert_int_equal(zw_cmd_check_packet(&pk, pk.hdr.size, &what), ZW_REASON_OPERAND);
	assert_non_null(strstr(what.msg, "w_zero"));
	pk.gemm.w.dtype = ZW_DTYPE_U4;
	assert_int_equal(zw_cmd_check_packet(&pk, pk.hdr.size, &what), 0);
	pk.gemm.w_zero = zw_tensor_scales(ZW_DTYPE_U8, 0x210000, pk.gemm.w, 3, 101);
	assert_int_equal(zw_cmd_check_packet(&pk, pk.hdr.size, &what), ZW_REASON_VALUE);
	pk.gemm.w_zero = (struct zw_tensor){0};
	pk.gemm.w = zw_tensor_2d(ZW_DTYPE_BF16, 0x110000, 10, 512);
	assert_int_equal(zw_cmd_check_packet(&pk, pk.hdr.size, &what), ZW_REASON_OPERAND);
	/* what is stored in packs has one order */
	pk.gemm.w = zw_tensor_2d(ZW_DTYPE_Q8_0, 0x110000, 512, 32);
	pk.gemm.w_scale = (struct zw_tensor){0};
	pk.gemm.hdr.flags = ZW_GEMM_F_TRANS_W;
	pk.gemm.c = zw_tensor_2d(ZW_DTYPE_F32, 0x300000, 3, 32);
	pk.gemm.bias = pk.gemm.residual = (struct zw_tensor){0};
	assert_int_equal(zw_cmd_check_packet(&pk, pk.hdr.size, &what), 0);
	assert_int_equal(zw_cmd_check_supported(&pk, pk.hdr.size, UINT64_MAX, &what),
			 ZW_REASON_UNSUPPORTED);
	assert_non_null(strstr(what.msg, "w:"));
	rt_sample(ZW_OP_ATTENTION, 0x100000, &pk);
	pk.attention.window = 1;
	pk.attention.sinks = zw_tensor_1d(ZW_DTYPE_F32, 0x900000, 4);
	assert_int_equal(zw_cmd_check_supported(&pk, pk.hdr.size, dtypes, &what), 0);
	pk.attention.k_cache.dtype = pk.attention.v_cache.dtype = ZW_DTYPE_I8;
	pk.attention.k_scale = zw_tensor_3d(ZW_DTYPE_F32, 0x910000, 6, 8, 2);
	pk.attention.v_scale = zw_tensor_3d(ZW_DTYPE_F32, 0x920000, 6, 8, 2);
	assert_int_equal(zw_cmd_check_supported(&pk, pk.hdr.size, dtypes & ~ZW_DT(I8), &what),
			 ZW_REASON_UNSUPPORTED);
	assert_non_null(strstr(what.msg, "k_cache"));
	assert_int_equal(zw_cmd_check_supported(&pk, pk.hdr.size, dtypes | ZW_DT(I8), &what), 0);
	assert_int_equal(zw_cmd_check_packet(&pk, pk.hdr.size, &what), 0);
	pk.attention.v_scale.stride[1] = 3;
	assert_int_equal(zw_cmd_check_packet(&pk, pk.hdr.size, &what), ZW_REASON_STRIDE);
	/* choosing with several queries */
	rt_sample(ZW_OP_SELECT_SLASH, 0x100000, &pk);
	pk.select_slash.q_far = pk.select_slash.q;
	assert_int_equal(zw_cmd_check_packet(&pk, pk.hdr.size, &what), ZW_REASON_OPERAND);
	assert_non_null(strstr(what.msg, "far_end"));
	pk.select_slash.far_end = pk.select_slash.pos;
	assert_int_equal(zw_cmd_check_packet(&pk, pk.hdr.size, &what), 0);
	pk.select_slash.mid_end = pk.select_slash.pos;
	assert_int_equal(zw_cmd_check_packet(&pk, pk.hdr.size, &what), ZW_REASON_OPERAND);
	/* choosing from a quantised pool */
	rt_sample(ZW_OP_SELECT_BLOCKS, 0x100000, &pk);
	pk.select_blocks.k_cache.dtype = ZW_DTYPE_I8;
	assert_int_equal(zw_cmd_check_packet(&pk, pk.hdr.size, &what), ZW_REASON_OPERAND);
	pk.select_blocks.k_scale = zw_tensor_3d(ZW_DTYPE_F32, 0x910000, 6, 8, 2);
	assert_int_equal(zw_cmd_check_supported(&pk, pk.hdr.size, dtypes | ZW_DT(I8), &what), 0);
	assert_int_equal(zw_cmd_check_supported(&pk, pk.hdr.size, dtypes & ~ZW_DT(I8), &what),
			 ZW_REASON_UNSUPPORTED);
	assert_non_null(strstr(what.msg, "k_cache"));
}

/* Packets of ABI 2.1 end before the fields that came later; these are not there then. */
static void test_older_packets(void **state)
{
	_Alignas(16) uint8_t buf[sizeof(struct zw_pkt_attention) + 16];
	struct zw_error what;
	union any_packet pk;

	rt_sample(ZW_OP_ATTENTION, 0x100000, &pk);
	for (uint16_t size = 880; size <= sizeof(pk.attention); size += 16) {
		struct zw_cmd c;

		memset(buf, 0xff, sizeof(buf));
		pk.hdr.size = size;
		memcpy(buf, &pk, size);
		assert_int_equal(zw_cmd_check(buf, size, NULL, &what), 0);
		/* and nothing behind it is taken for one of its fields */
		assert_int_equal(zw_cmd_check(buf, size + 16u, NULL, &what), ZW_REASON_OPCODE);
		zw_cmd_init(&c);
		assert_int_equal(zw_cmd_packet(&c, buf), 0);
		assert_int_equal(c.used, size);
		zw_cmd_fini(&c);
	}
	pk.hdr.size = 864;
	assert_int_equal(zw_cmd_check(&pk, 864, NULL, &what), ZW_REASON_PACKET_SIZE);
}

static void test_tensors(void **state)
{
	struct zw_tensor t = zw_tensor_3d(ZW_DTYPE_BF16, 0x1000, 5, 4, 8), s;

	assert_int_equal(zw_tensor_span(&t), 5 * 4 * 8 * 2);
	s = zw_tensor_slice(t, 1, 2, 2);
	assert_int_equal(s.va, 0x1000 + 2 * 8 * 2);
	assert_int_equal(s.dim[1], 2);
	assert_int_equal(s.stride[0], 32);
	assert_int_equal(zw_tensor_span(&s), (4 * 32 + 8 + 8) * 2);
	s = zw_tensor_slice(t, 2, 3, 1);
	assert_int_equal(s.va, 0x1000 + 3 * 2);
	/* half bytes, and records */
	t = zw_tensor_2d(ZW_DTYPE_I4, 0x1000, 4, 64);
	s = zw_tensor_slice(t, 1, 32, 32);
	assert_int_equal(s.va, 0x1000 + 16);
	assert_int_equal(zw_tensor_span(&s), (3 * 64 + 32) / 2);
	t = zw_tensor_2d(ZW_DTYPE_Q4_0, 0x1000, 4, 64);
	s = zw_tensor_slice(t, 1, 32, 32);
	assert_int_equal(s.va, 0x1000 + 18);
	s = zw_tensor_slice(t, 0, 2, 1);
	assert_int_equal(s.va, 0x1000 + 2 * 36);
	assert_int_equal(zw_dtype_bits(ZW_DTYPE_Q4_0), 0);
	assert_int_equal(zw_dtype_bits(ZW_DTYPE_U4), 4);
	assert_int_equal(zw_dtype_bits(ZW_DTYPE_I64), 64);
	assert_int_equal(zw_dtype_bits(63), 0);
	t = zw_tensor_none();
	assert_int_equal(zw_tensor_span(&t), 0);
	t = zw_tensor_2d(ZW_DTYPE_F32, 0, 4, 4);
	t.stride[0] = UINT64_MAX / 2;
	assert_int_equal(zw_tensor_span(&t), 0);
	t.ndim = 200;
	assert_int_equal(zw_tensor_span(&t), 0);
}

/* Builds a packet, changes one 32-bit word of it, and tells the reason for which it is refused. */
static int refused(unsigned int opcode, size_t offset, uint32_t word, char *what, size_t len)
{
	struct zw_error e = {""};
	union any_packet pk;
	int reason;

	rt_sample(opcode, 0x100000, &pk);
	memcpy((uint8_t *)&pk + offset, &word, 4);
	reason = zw_cmd_check_packet(&pk, sizeof(pk), &e);
	snprintf(what, len, "%s", e.msg);
	return reason;
}

static void test_reasons(void **state)
{
#define H(field) offsetof(struct zw_pkt, field)
#define G(operand, field)                                                                          \
	(offsetof(struct zw_pkt_gemm, operand) + offsetof(struct zw_tensor, field))
#define P(type, field) offsetof(struct zw_pkt_##type, field)
#define E(operand, field)                                                                          \
	(offsetof(struct zw_pkt_gemm_experts, operand) + offsetof(struct zw_tensor, field))
	static const struct {
		unsigned int op;
		size_t offset;
		uint32_t word;
		int reason;
		const char *text;
	} cases[] = {
		{ZW_OP_NOP, 0, 0x00200fff, ZW_REASON_OPCODE, "header"},
		{ZW_OP_NOP, 0, 0x00100000, ZW_REASON_PACKET_SIZE, "header"},
		{ZW_OP_NOP, 0, 0x00280000, ZW_REASON_PACKET_SIZE, "header"},
		{ZW_OP_NOP, 0, 0xfff00000, ZW_REASON_PACKET_SIZE, "header"},
		{ZW_OP_NOP, H(flags), 1u << 6, ZW_REASON_FLAGS, "header"},
		{ZW_OP_NOP, H(flags), ZW_PKT_F_PREDICATE_NOT, ZW_REASON_FLAGS, "header"},
		{ZW_OP_NOP, H(flags), ZW_GEMM_F_TRANS_A, ZW_REASON_FLAGS, "header"},
		{ZW_OP_BARRIER, H(flags), ZW_PKT_F_DEPS, ZW_REASON_FLAGS, "header"},
		{ZW_OP_NOP, H(rows_va), 4, ZW_REASON_RESERVED, "rows_va"},
		{ZW_OP_NOP, H(predicate_va), 2, ZW_REASON_ALIGN, "predicate_va"},
		{ZW_OP_NOP, H(wait), 0x0001, ZW_REASON_RESERVED, "wait"},
		{ZW_OP_NOP, H(wait), 0x110000, ZW_REASON_VALUE,
		 "signal: scalar out of range or not "
		 "finite: no token 17"},
		{ZW_OP_NOP, H(wait), 0x1000000, ZW_REASON_RESERVED, "header"},
		{ZW_OP_GEMM, H(rows_va), 2, ZW_REASON_ALIGN, "rows_va"},
		{ZW_OP_GEMM, H(flags), ZW_GEMM_F_TRANS_W, ZW_REASON_SHAPE,
		 "K is 10 here and 24 in a"},
		{ZW_OP_TIMESTAMP, P(timestamp, va), 4, ZW_REASON_ALIGN, "va"},
		{ZW_OP_TIMESTAMP, P(timestamp, reserved), 1, ZW_REASON_RESERVED, "reserved"},
		{ZW_OP_SEM_SIGNAL, P(sem, va), 4, ZW_REASON_ALIGN, "va"},
		{ZW_OP_GEMM, G(a, dtype), 0x0002007f, ZW_REASON_DTYPE, "a"},
		{ZW_OP_GEMM, G(a, dtype), 0x00020000 | ZW_DTYPE_E8M0, ZW_REASON_DTYPE, "a"},
		{ZW_OP_GEMM, G(a, dtype), 0x00020000 | ZW_DTYPE_I32, ZW_REASON_DTYPE, "a"},
		{ZW_OP_GEMM, G(a, dtype), 0x00020000 | ZW_DTYPE_I8, ZW_REASON_OPERAND, "a_scale"},
		{ZW_OP_GEMM, G(w, dtype), 0x00020000 | ZW_DTYPE_I4, ZW_REASON_OPERAND, "w_scale"},
		{ZW_OP_GEMM, G(w, dtype), 0x00020000 | ZW_DTYPE_Q4_K, ZW_REASON_RESERVED,
		 "layout 0 of q4_k"},
		{ZW_OP_GEMM, G(w, dtype), 0x01020000 | ZW_DTYPE_Q4_K, ZW_REASON_SHAPE, "w"},
		{ZW_OP_GEMM, G(w, dtype), 0x01020000 | ZW_DTYPE_F32, ZW_REASON_RESERVED, "w"},
		{ZW_OP_GEMM, G(a, dtype), 0x00020000, ZW_REASON_OPERAND, "a"},
		{ZW_OP_GEMM, G(bias, dtype), 0x00010000, ZW_REASON_RESERVED, "bias"},
		{ZW_OP_GEMM, G(a, dtype), 0x00030002, ZW_REASON_NDIM, "[MK] expected"},
		{ZW_OP_GEMM, G(a, flags), 1, ZW_REASON_RESERVED, "a"},
		{ZW_OP_GEMM, G(a, block), 1, ZW_REASON_RESERVED, "a"},
		{ZW_OP_GEMM, G(a, dim) + 8, 1, ZW_REASON_RESERVED, "a"},
		{ZW_OP_GEMM, G(a, dim), 0, ZW_REASON_SHAPE, "zero"},
		{ZW_OP_GEMM, G(a, dim), (1u << 28) + 1, ZW_REASON_LIMIT, "a"},
		{ZW_OP_GEMM, G(a, stride), 23, ZW_REASON_STRIDE, "a"},
		{ZW_OP_GEMM, G(a, stride) + 4, 0x80000000, ZW_REASON_STRIDE, "a"},
		{ZW_OP_GEMM, G(a, va), 0x100001, ZW_REASON_ALIGN, "a"},
		{ZW_OP_GEMM, G(w, dim), 25, ZW_REASON_SHAPE, "N is 10 here and 25 in w"},
		{ZW_OP_GEMM, G(bias, dim), 9, ZW_REASON_SHAPE, "bias"},
		{ZW_OP_GEMM, G(c, va), 0x100000, ZW_REASON_OVERLAP,
		 "c: output overlaps another operand: overlaps a"},
		{ZW_OP_GEMM_EXPERTS, H(flags), ZW_EXPERTS_F_SCATTER, ZW_REASON_NDIM,
		 "[MTK] expected"},
		{ZW_OP_GEMM_EXPERTS, H(flags), ZW_PKT_OPFLAG(1), ZW_REASON_FLAGS, "header"},
		{ZW_OP_GEMM_EXPERTS, E(w, dtype), 0x00030000 | ZW_DTYPE_I8, ZW_REASON_OPERAND,
		 "w_scale"},
		{ZW_OP_GEMM_EXPERTS, E(ids, dim) + 4, 2, ZW_REASON_SHAPE,
		 "T is 3 here and 2 in ids"},
		{ZW_OP_GEMM_EXPERTS, E(w, dim), (1u << 16) + 1, ZW_REASON_LIMIT,
		 "over 65536 experts"},
		{ZW_OP_GEMM_EXPERTS, E(c, va), 0x100000, ZW_REASON_OVERLAP, "overlaps a"},
		{ZW_OP_ROUTE, P(route, x.dim) + 4, 2, ZW_REASON_VALUE, "weights"},
		{ZW_OP_GATED_NORM, P(gated_norm, eps_f32), 0x7f800000, ZW_REASON_VALUE, "eps"},
		{ZW_OP_GATED_NORM, P(gated_norm, w.dim), (1u << 20) + 1, ZW_REASON_SHAPE, "w"},
		{ZW_OP_CONV, P(conv, state.dim) + 4, 2, ZW_REASON_SHAPE,
		 "one less than the 4 taps"},
		{ZW_OP_CONV, P(conv, state.dim), (1u << 16) + 1, ZW_REASON_LIMIT, "slots"},
		{ZW_OP_CONV, P(conv, reserved), 1, ZW_REASON_RESERVED, "reserved"},
		{ZW_OP_DELTA, P(delta, scale_f32), 0, ZW_REASON_VALUE, "scale"},
		{ZW_OP_DELTA, P(delta, eps_f32), 0x80000000, ZW_REASON_VALUE, "eps"},
		{ZW_OP_DELTA, P(delta, state.dim), (1u << 16) + 1, ZW_REASON_LIMIT, "slots"},
		{ZW_OP_DELTA, P(delta, state.stride) + 8, 97, ZW_REASON_STRIDE, "state"},
		{ZW_OP_MUL_SIGMOID, H(flags), ZW_SIGMOID_F_ROW_GATE, ZW_REASON_NDIM,
		 "[M1] expected"},
		{ZW_OP_RMSNORM, P(rmsnorm, eps_f32), 0x7f800000, ZW_REASON_VALUE, "eps"},
		{ZW_OP_RMSNORM, P(rmsnorm, eps_f32), 0x80000000, ZW_REASON_VALUE, "eps"},
		{ZW_OP_RMSNORM, P(rmsnorm, reserved), 1, ZW_REASON_RESERVED, "reserved"},
		{ZW_OP_ATTENTION, P(attention, scale_f32), 0, ZW_REASON_VALUE, "scale"},
		{ZW_OP_ATTENTION, P(attention, reserved), 1, ZW_REASON_RESERVED, "reserved"},
		{ZW_OP_ATTENTION, P(attention, q.dim) + 4, 3, ZW_REASON_SHAPE, "y"},
		{ZW_OP_COPY, P(copy, src), 0x100080, ZW_REASON_OVERLAP, "dst"},
		{ZW_OP_COPY, P(copy, bytes) + 4, 0x20000, ZW_REASON_LIMIT, "bytes"},
		{ZW_OP_COPY, P(copy, rows), 0, ZW_REASON_SHAPE, "rows"},
		{ZW_OP_COPY, P(copy, rows), 2, ZW_REASON_STRIDE, "dst_stride"},
		{ZW_OP_COPY, P(copy, rows), ZW_MAX_DIM + 1, ZW_REASON_LIMIT, "rows"},
		{ZW_OP_FILL, P(fill, bytes), 63, ZW_REASON_ALIGN, "bytes"},
		{ZW_OP_FILL, P(fill, dst_stride), 2, ZW_REASON_ALIGN, "dst_stride"},
	};
#undef G
#undef H
#undef P
	char what[256];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int reason =
			refused(cases[i].op, cases[i].offset, cases[i].word, what, sizeof(what));

		if (reason != cases[i].reason || !strstr(what, cases[i].text))
			fail_msg("case %zu: reason %d (%s), expected %d (... %s ...)", i, reason,
				 what, cases[i].reason, cases[i].text);
	}
}

/* A packet may be longer than what is known of it, if the rest is zero. */
static void test_tail(void **state)
{
	_Alignas(16) uint8_t buf[sizeof(union any_packet) + 64];
	struct zw_error what;

	for (unsigned int i = 0; i < RT_PACKETS; i++) {
		union any_packet pk;
		uint32_t size;

		rt_sample(sample_ops[i].opcode, 0x100000, &pk);
		size = pk.hdr.size;
		pk.hdr.size += 64;
		memset(buf, 0, sizeof(buf));
		memcpy(buf, &pk, size);
		assert_int_equal(zw_cmd_check_packet(buf, size + 64, &what), 0);
		assert_int_equal(zw_cmd_check_packet(buf, size + 48, &what), ZW_REASON_PACKET_SIZE);
		buf[size + 63] = 1;
		assert_int_equal(zw_cmd_check_packet(buf, size + 64, &what), ZW_REASON_RESERVED);
		assert_non_null(strstr(what.msg, "tail"));
	}
}

static void test_refused_packet_is_not_added(void **state)
{
	struct zw_tensor a = zw_tensor_2d(ZW_DTYPE_F32, 0x1000, 2, 3);
	struct zw_tensor w = zw_tensor_2d(ZW_DTYPE_F32, 0x2000, 4, 5);
	struct zw_tensor y = zw_tensor_2d(ZW_DTYPE_F32, 0x3000, 2, 4);
	struct zw_cmd c;

	zw_cmd_init(&c);
	assert_int_equal(zw_cmd_nop(&c, 0), 0);
	assert_int_equal(zw_cmd_gemm(&c, &a, &w, &y, NULL, NULL, 0, 0), -EINVAL);
	assert_int_equal(c.packets, 1);
	assert_int_equal(c.used, sizeof(struct zw_pkt));
	assert_int_equal(c.reason, ZW_REASON_SHAPE);
	assert_string_equal(c.what.msg, "packet 1 gemm: w: shapes do not agree, or a dimension is "
					"zero: K is 5 here and 3 in a");
	assert_int_equal(zw_cmd_finish(&c), -EINVAL);
	zw_cmd_reset(&c);
	assert_int_equal(zw_cmd_rmsnorm(&c, &a, NULL, &a, 1e-6f, 0, 0), -EINVAL);
	assert_int_equal(c.reason, ZW_REASON_OPERAND);
	zw_cmd_fini(&c);
}

static void test_overlap(void **state)
{
	/* gate and up side by side in one matrix of 80 columns; y over gate is fine, one column on
	 * is not */
	struct zw_tensor fused = zw_tensor_2d(ZW_DTYPE_BF16, 0x1000, 4, 80);
	struct zw_tensor gate = zw_tensor_slice(fused, 1, 0, 40);
	struct zw_tensor up = zw_tensor_slice(fused, 1, 40, 40), off;
	struct zw_cmd c;

	zw_cmd_init(&c);
	assert_int_equal(zw_cmd_swiglu(&c, &gate, &up, &gate, 0, 0), 0);
	assert_int_equal(zw_cmd_swiglu(&c, &gate, &up, &up, 0, 0), 0);
	off = zw_tensor_slice(fused, 1, 1, 40);
	assert_int_equal(zw_cmd_swiglu(&c, &gate, &up, &off, 0, 0), -EINVAL);
	assert_int_equal(c.reason, ZW_REASON_OVERLAP);
	/* columns 60 to 100 of a matrix of 80: the last 20 are the first of the next row, and so
	 * gate's */
	zw_cmd_reset(&c);
	off = zw_tensor_slice(fused, 1, 60, 40);
	assert_int_equal(zw_cmd_add(&c, &gate, &gate, &off, 0, 0), -EINVAL);
	assert_int_equal(c.reason, ZW_REASON_OVERLAP);
	zw_cmd_reset(&c);
	assert_int_equal(zw_cmd_add(&c, &off, &off, &gate, 0, 0), -EINVAL);
	assert_int_equal(c.reason, ZW_REASON_OVERLAP);
	zw_cmd_fini(&c);
}

/* Packets with an index per row have fewer rows, as the device copies the indices. */
static void test_index_rows(void **state)
{
	const uint32_t most = 1u << 20;
	struct zw_cmd c;

	zw_cmd_init(&c);
	for (uint32_t n = most; n <= most + 1; n++) {
		struct zw_tensor ids = zw_tensor_1d(ZW_DTYPE_I32, 0x1000, n);
		struct zw_tensor table = zw_tensor_2d(ZW_DTYPE_F32, 1ull << 32, 8, 2);
		struct zw_tensor y = zw_tensor_2d(ZW_DTYPE_F32, 2ull << 32, n, 2);

		assert_int_equal(zw_cmd_embed(&c, &ids, &table, &y, 0, 0), n == most ? 0 : -EINVAL);
	}
	assert_int_equal(c.reason, ZW_REASON_LIMIT);
	zw_cmd_fini(&c);
}

struct text {
	char buf[8192];
	size_t len;
};

static void add_line(void *opaque, const char *line)
{
	struct text *t = opaque;

	t->len += (size_t)snprintf(t->buf + t->len, sizeof(t->buf) - t->len, "%s\n", line);
	assert_true(t->len < sizeof(t->buf));
}

static void test_disasm(void **state)
{
	static const char expected[] =
		"   0 000000  gemm rows [0x000000009000] if not [0x000000008000] deps wait 0x8001 "
		"signal 3 "
		"tag 0x77 trans_w\n"
		"          a            0x000000001000 bf16[2,8] stride 8\n"
		"          w            0x000000002000 i4[8,4] stride 4\n"
		"          c            0x000000003000 f32[2,4] stride 4\n"
		"          bias         -\n"
		"          residual     -\n"
		"          a_scale      -\n"
		"          w_scale      0x000000004000 f32[2,4] stride 4 block 4x1\n"
		"          w_zero       -\n"
		"          w_scale2     -\n"
		"   1 000260  fill\n"
		"          dst          0x000000001002\n"
		"          bytes        8\n"
		"          dst_stride   0\n"
		"          rows         1\n"
		"          pattern      0x00000007\n"
		"          ^ refused: dst: address not aligned (reason 12)\n"
		"   2 0002a0  opcode 0x0999, 32 bytes\n"
		"          ^ refused: header: unknown opcode (reason 3)\n"
		"          0002a0: 99 09 20 00 00 00 00 00 00 00 00 00 00 00 00 00\n"
		"          0002b0: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00\n"
		"   3 0002c0  nop flags 0x100\n"
		"          ^ refused: header: unknown flag (reason 4)\n"
		"          0002e0: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00\n"
		"   4 0002f0  nop\n"
		"          ^ refused: header: packet size wrong for the opcode or beyond the "
		"buffer "
		"(reason 2)\n"
		"          0002f0: 00 00 08 00 00 00 00 00 00 00 00 00 00 00 00 00\n"
		"          000300: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00\n";
	struct zw_pkt_gemm g = {.hdr = {.opcode = ZW_OP_GEMM,
					.size = sizeof(g),
					.flags = ZW_GEMM_F_TRANS_W,
					.rows_va = 0x9000}};
	struct text t = {.len = 0};
	struct zw_pkt_fill *fill;
	struct zw_pkt *nop;
	struct zw_cmd c;

	g.a = zw_tensor_2d(ZW_DTYPE_BF16, 0x1000, 2, 8);
	g.w = zw_tensor_2d(ZW_DTYPE_I4, 0x2000, 8, 4);
	g.c = zw_tensor_2d(ZW_DTYPE_F32, 0x3000, 2, 4);
	g.w_scale = zw_tensor_scales(ZW_DTYPE_F32, 0x4000, g.w, 4, 1);
	zw_cmd_init(&c);
	zw_cmd_tag(&c, 0x77);
	zw_cmd_predicate(&c, 0x8000, 1);
	zw_cmd_wait(&c, 0x8001);
	zw_cmd_signal(&c, 3);
	assert_int_equal(zw_cmd_packet(&c, &g), 0);
	zw_cmd_tag(&c, 0);
	zw_cmd_predicate(&c, 0, 0);
	fill = zw_cmd_emit_raw(&c, ZW_OP_FILL, sizeof(*fill), 0, 0);
	fill->dst = 0x1002;
	fill->bytes = 8;
	fill->rows = 1;
	fill->pattern = 7;
	zw_cmd_emit_raw(&c, 0x999, 32, 0, 0);
	zw_cmd_emit_raw(&c, ZW_OP_NOP, 48, 0, ZW_PKT_OPFLAG(0));
	nop = zw_cmd_emit_raw(&c, ZW_OP_NOP, 32, 0, 0);
	nop->size = 8;
	assert_int_equal(zw_cmd_disasm(c.base, c.used, add_line, &t), 4);
	assert_string_equal(t.buf, expected);
	zw_cmd_fini(&c);
}

/* Features that packets go without, from now on until said otherwise; every packet takes them. */
static void test_without(void **state)
{
	const uint32_t two = ZW_PKT_F_NO_TENSOR | ZW_PKT_F_NO_SPARSE;
	struct zw_pkt nop = {.opcode = ZW_OP_NOP, .size = sizeof(nop)};
	struct text t = {.len = 0};
	const struct zw_pkt *p;
	union any_packet pk;
	struct zw_cmd c;

	zw_cmd_init(&c);
	zw_cmd_without(&c, two | ZW_PKT_OPFLAG(0) | ZW_PKT_F_DEPS);
	assert_int_equal(zw_cmd_nop(&c, 0), 0);
	zw_cmd_wait(&c, 0);
	assert_int_equal(zw_cmd_packet(&c, &nop), 0);
	zw_cmd_without(&c, ZW_PKT_F_NO_KV_CACHE | ZW_PKT_F_NO_FUSED);
	assert_int_equal(zw_cmd_barrier(&c, 0), 0);
	zw_cmd_without(&c, 0);
	assert_int_equal(zw_cmd_nop(&c, 0), 0);
	p = (const struct zw_pkt *)(void *)c.base;
	assert_int_equal(p[0].flags, two);
	assert_int_equal(p[1].flags, two | ZW_PKT_F_DEPS);
	assert_int_equal(p[2].flags, ZW_PKT_F_NO_KV_CACHE | ZW_PKT_F_NO_FUSED);
	assert_int_equal(p[3].flags, 0);
	assert_int_equal(zw_cmd_disasm(c.base, c.used, add_line, &t), 0);
	assert_string_equal(t.buf, "   0 000000  nop without tensor without sparse\n"
				   "   1 000020  nop deps wait 0x0 without tensor without sparse\n"
				   "   2 000040  barrier without kv_cache without fused\n"
				   "   3 000060  nop\n");
	for (unsigned int i = 0; i < RT_PACKETS; i++) {
		rt_sample(sample_ops[i].opcode, 0x100000, &pk);
		pk.hdr.flags |= ZW_PKT_F_WITHOUT;
		assert_int_equal(zw_cmd_check_packet(&pk, pk.hdr.size, NULL), 0);
	}
	zw_cmd_fini(&c);
}

static void drop_line(void *opaque, const char *line)
{
	size_t *longest = opaque, len = strlen(line);

	if (len > *longest)
		*longest = len;
}

/* Whatever the bytes: it ends, and reads nothing beyond them (the address sanitizer watches). */
static void test_garbage(void **state)
{
	uint64_t seed = 1;
	size_t longest = 0;

	for (unsigned int round = 0; round < 3000; round++) {
		size_t bytes = rt_random(&seed) % 1000;
		uint8_t *buf = malloc(bytes + 1), *p = buf + round % 2; /* odd addresses, too */

		assert_non_null(buf);
		bytes -= bytes ? round % 2 : 0;
		for (size_t i = 0; i < bytes; i++)
			p[i] = (uint8_t)rt_random(&seed);
		if (bytes > 4 && round % 3) {
			static const uint16_t op[] = {ZW_OP_GEMM, ZW_OP_ATTENTION, ZW_OP_NOP};
			uint16_t size = (uint16_t)(rt_random(&seed) % 60 * 16);

			memcpy(p, &op[round % 3], 2);
			memcpy(p + 2, &size, 2);
		}
		zw_cmd_disasm(p, bytes, drop_line, &longest);
		zw_cmd_check(p, bytes, NULL, NULL);
		free(buf);
	}
	assert_in_range(longest, 1, 511);
}

static void test_mutations(void **state)
{
	unsigned int refusals = 0;
	uint64_t seed = 2;

	for (unsigned int round = 0; round < 4000; round++) {
		struct zw_error what = {""};
		struct zw_cmd c;
		size_t longest = 0;
		int reason;

		zw_cmd_init(&c);
		assert_int_equal(rt_packet(&c, round % RT_PACKETS, 0x100000), 0);
		rt_mutate(c.base, c.used, &seed);
		reason = zw_cmd_check(c.base, c.used, NULL, &what);
		assert_in_range(reason, 0, ZW_REASON_RING);
		assert_int_equal(reason != 0, what.msg[0] != '\0');
		refusals += reason != 0;
		zw_cmd_disasm(c.base, c.used, drop_line, &longest);
		zw_cmd_fini(&c);
	}
	assert_in_range(refusals, 1000, 3999);
}

static void test_names(void **state)
{
	assert_string_equal(zw_opcode_name(ZW_OP_ATTENTION), "attention");
	assert_null(zw_opcode_name(0xffff));
	assert_string_equal(zw_dtype_name(ZW_DTYPE_BF16), "bf16");
	assert_null(zw_dtype_name(0x7f));
	assert_null(zw_dtype_name(63));
	/* every type of the table has its name, in lower case */
#define NAMED(name, number, elements, bytes)                                                       \
	assert_non_null(zw_dtype_name(number));                                                    \
	assert_int_equal(strcasecmp(zw_dtype_name(number), #name), 0);
	ZW_DTYPES(NAMED)
#undef NAMED
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_packet),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_fixed_limit),
		cmocka_unit_test(test_raw_sizes),
		cmocka_unit_test(test_functions),
		cmocka_unit_test(test_header_fields),
		cmocka_unit_test(test_supported),
		cmocka_unit_test(test_older_packets),
		cmocka_unit_test(test_tail),
		cmocka_unit_test(test_tensors),
		cmocka_unit_test(test_reasons),
		cmocka_unit_test(test_refused_packet_is_not_added),
		cmocka_unit_test(test_overlap),
		cmocka_unit_test(test_index_rows),
		cmocka_unit_test(test_disasm),
		cmocka_unit_test(test_without),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* A small well-formed packet of every opcode, its operands in memory and filled. */
#ifndef ZW_TEST_CP_PACKETS_H
#define ZW_TEST_CP_PACKETS_H

#include "cp_env.h"

static const uint16_t all_opcodes[] = {
	ZW_OP_NOP,  ZW_OP_TIMESTAMP, ZW_OP_SEM_SIGNAL, ZW_OP_SEM_WAIT, ZW_OP_BARRIER,
	ZW_OP_GEMM, ZW_OP_RMSNORM,   ZW_OP_ROPE,       ZW_OP_SWIGLU,   ZW_OP_EMBED,
	ZW_OP_ADD,  ZW_OP_ARGMAX,    ZW_OP_TOPK,       ZW_OP_KV_WRITE, ZW_OP_ATTENTION,
	ZW_OP_COPY, ZW_OP_FILL,
};
#define N_OPCODES (sizeof(all_opcodes) / sizeof(all_opcodes[0]))

union any_packet {
	struct zw_pkt hdr;
	struct zw_pkt_timestamp timestamp;
	struct zw_pkt_sem sem;
	struct zw_pkt_gemm gemm;
	struct zw_pkt_rmsnorm rmsnorm;
	struct zw_pkt_rope rope;
	struct zw_pkt_swiglu swiglu;
	struct zw_pkt_embed embed;
	struct zw_pkt_add add;
	struct zw_pkt_argmax argmax;
	struct zw_pkt_topk topk;
	struct zw_pkt_kv_write kv_write;
	struct zw_pkt_attention attention;
	struct zw_pkt_copy copy;
	struct zw_pkt_fill fill;
};

static inline struct zw_tensor random_tensor(struct cp_env *e, enum place p, unsigned int dtype,
					     uint32_t d0, uint32_t d1, uint32_t d2, uint32_t d3)
{
	struct zw_tensor t = tensor(e, p, dtype, d0, d1, d2, d3);

	fill_random(e, &t);
	return t;
}

static inline struct zw_tensor index_tensor(struct cp_env *e, enum place p, uint32_t d0,
					    uint32_t d1, int32_t limit)
{
	struct zw_tensor t = tensor(e, p, I32, d0, d1, 0, 0);

	for (uint32_t i = 0; i < d0; i++)
		for (uint32_t j = 0; j < (d1 ? d1 : 1); j++)
			put_i(e, &t, i, j, (int32_t)(test_rand(&e->rng) % (uint32_t)limit));
	return t;
}

static inline void make_packet(struct cp_env *e, unsigned int opcode, enum place p,
			       union any_packet *pk)
{
	const uint32_t m = e->rows ? e->rows : 4;

	memset(pk, 0, sizeof(*pk));
	pk->hdr.opcode = (uint16_t)opcode;
	switch (opcode) {
	case ZW_OP_TIMESTAMP:
		pk->timestamp.hdr.size = sizeof(pk->timestamp);
		pk->timestamp.va = env_alloc(e, p, 8);
		break;
	case ZW_OP_SEM_SIGNAL:
	case ZW_OP_SEM_WAIT:
		pk->sem.hdr.size = sizeof(pk->sem);
		pk->sem.va = env_alloc(e, p, 16);
		pk->sem.value = 7;
		env_put(e, pk->sem.va, &(struct zw_semaphore){.value = 8, .time_ps = 1000}, 16);
		break;
	case ZW_OP_GEMM:
		pk->gemm.hdr.size = sizeof(pk->gemm);
		pk->gemm.a = random_tensor(e, p, BF16, m, 24, 0, 0);
		pk->gemm.w = random_tensor(e, p, BF16, 10, 24, 0, 0);
		pk->gemm.c = random_tensor(e, p, F32, m, 10, 0, 0);
		pk->gemm.bias = random_tensor(e, p, F32, 10, 0, 0, 0);
		pk->gemm.residual = random_tensor(e, p, BF16, m, 10, 0, 0);
		break;
	case ZW_OP_RMSNORM:
		pk->rmsnorm.hdr.size = sizeof(pk->rmsnorm);
		pk->rmsnorm.x = random_tensor(e, p, BF16, m, 2, 8, 0);
		pk->rmsnorm.w = random_tensor(e, p, BF16, 8, 0, 0, 0);
		pk->rmsnorm.y = random_tensor(e, p, BF16, m, 2, 8, 0);
		pk->rmsnorm.eps_f32 = zw_f32_bits(1e-5f);
		break;
	case ZW_OP_ROPE:
		pk->rope.hdr.size = sizeof(pk->rope);
		pk->rope.x = random_tensor(e, p, BF16, m, 2, 8, 0);
		pk->rope.y = random_tensor(e, p, BF16, m, 2, 8, 0);
		pk->rope.pos = index_tensor(e, p, m, 0, 16);
		pk->rope.cos_table = random_tensor(e, p, F32, 16, 4, 0, 0);
		pk->rope.sin_table = random_tensor(e, p, F32, 16, 4, 0, 0);
		break;
	case ZW_OP_SWIGLU:
		pk->swiglu.hdr.size = sizeof(pk->swiglu);
		pk->swiglu.gate = random_tensor(e, p, BF16, m, 12, 0, 0);
		pk->swiglu.up = random_tensor(e, p, BF16, m, 12, 0, 0);
		pk->swiglu.y = random_tensor(e, p, BF16, m, 12, 0, 0);
		break;
	case ZW_OP_EMBED:
		pk->embed.hdr.size = sizeof(pk->embed);
		pk->embed.ids = index_tensor(e, p, m, 0, 20);
		pk->embed.table = random_tensor(e, p, BF16, 20, 16, 0, 0);
		pk->embed.y = random_tensor(e, p, BF16, m, 16, 0, 0);
		break;
	case ZW_OP_ADD:
		pk->add.hdr.size = sizeof(pk->add);
		pk->add.a = random_tensor(e, p, F32, m, 12, 0, 0);
		pk->add.b = random_tensor(e, p, BF16, m, 12, 0, 0);
		pk->add.y = random_tensor(e, p, F32, m, 12, 0, 0);
		break;
	case ZW_OP_ARGMAX:
		pk->argmax.hdr.size = sizeof(pk->argmax);
		pk->argmax.x = random_tensor(e, p, F32, m, 30, 0, 0);
		pk->argmax.ids = index_tensor(e, p, m, 0, 9);
		break;
	case ZW_OP_TOPK:
		pk->topk.hdr.size = sizeof(pk->topk);
		pk->topk.x = random_tensor(e, p, BF16, m, 30, 0, 0);
		pk->topk.values = random_tensor(e, p, F32, m, 6, 0, 0);
		pk->topk.ids = index_tensor(e, p, m, 6, 9);
		break;
	case ZW_OP_KV_WRITE:
		pk->kv_write.hdr.size = sizeof(pk->kv_write);
		pk->kv_write.k = random_tensor(e, p, BF16, m, 2, 8, 0);
		pk->kv_write.v = random_tensor(e, p, BF16, m, 2, 8, 0);
		pk->kv_write.pos = index_tensor(e, p, m, 0, 24);
		pk->kv_write.seq = index_tensor(e, p, m, 0, 2);
		pk->kv_write.block_table = index_tensor(e, p, 2, 3, 6);
		pk->kv_write.k_cache = random_tensor(e, p, BF16, 6, 8, 2, 8);
		pk->kv_write.v_cache = random_tensor(e, p, BF16, 6, 8, 2, 8);
		break;
	case ZW_OP_ATTENTION:
		pk->attention.hdr.size = sizeof(pk->attention);
		pk->attention.q = random_tensor(e, p, BF16, m, 4, 8, 0);
		pk->attention.y = random_tensor(e, p, BF16, m, 4, 8, 0);
		pk->attention.pos = index_tensor(e, p, m, 0, 24);
		pk->attention.seq = index_tensor(e, p, m, 0, 2);
		pk->attention.block_table = index_tensor(e, p, 2, 3, 6);
		pk->attention.k_cache = random_tensor(e, p, BF16, 6, 8, 2, 8);
		pk->attention.v_cache = random_tensor(e, p, BF16, 6, 8, 2, 8);
		pk->attention.lse = random_tensor(e, p, F32, m, 4, 0, 0);
		pk->attention.scale_f32 = zw_f32_bits(0.3f);
		break;
	case ZW_OP_COPY:
		pk->copy.hdr.size = sizeof(pk->copy);
		pk->copy.dst = random_tensor(e, p, F32, 64, 0, 0, 0).va;
		pk->copy.src = random_tensor(e, p, F32, 64, 0, 0, 0).va;
		pk->copy.bytes = 255;
		break;
	case ZW_OP_FILL:
		pk->fill.hdr.size = sizeof(pk->fill);
		pk->fill.dst = random_tensor(e, p, F32, 64, 0, 0, 0).va;
		pk->fill.bytes = 252;
		pk->fill.pattern = 0xdeadbeef;
		break;
	default:
		pk->hdr.size = sizeof(pk->hdr);
	}
}

/* All memory the VM sees but the result record. One at a time: allocating it anew for each case is what takes the time. */
struct snapshot {
	uint8_t hbm[3 * AREA_BYTES], sys[AREA_BYTES];
};
static struct snapshot the_snapshot;

static inline struct snapshot *snapshot_take(struct cp_env *e)
{
	memcpy(the_snapshot.hbm, e->hbm.base, sizeof(the_snapshot.hbm));
	memcpy(the_snapshot.sys, e->sys, sizeof(the_snapshot.sys));
	return &the_snapshot;
}

static inline bool snapshot_same(struct cp_env *e, const struct snapshot *s)
{
	uint64_t res = e->result_va - AREA_VA(IN_HBM);

	assert_true(res + sizeof(struct zw_job_result) < AREA_BYTES);
	return !memcmp(s->hbm, e->hbm.base, res) &&
	       !memcmp(s->hbm + res + sizeof(struct zw_job_result),
		       e->hbm.base + res + sizeof(struct zw_job_result),
		       3 * AREA_BYTES - res - sizeof(struct zw_job_result)) &&
	       !memcmp(s->sys, e->sys, AREA_BYTES);
}

#endif

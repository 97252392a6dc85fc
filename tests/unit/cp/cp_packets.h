/* SPDX-License-Identifier: MIT */
/* A small well-formed packet of every opcode, its operands in memory and filled. */
#ifndef ZW_TEST_CP_PACKETS_H
#define ZW_TEST_CP_PACKETS_H

#include "cp_env.h"
#include "../samples.h"

#define OPCODE(NAME, name, number, engine, type, flags) ZW_OP_##NAME,
static const uint16_t all_opcodes[] = {ZW_OPS(OPCODE)};
#undef OPCODE
#define N_OPCODES (sizeof(all_opcodes) / sizeof(all_opcodes[0]))

static inline struct zw_tensor random_tensor(struct cp_env *e, enum place p, unsigned int dtype,
					     uint32_t d0, uint32_t d1, uint32_t d2, uint32_t d3)
{
	struct zw_tensor t = tensor(e, p, dtype, d0, d1, d2, d3);

	fill_random(e, &t);
	return t;
}

struct packet_place {
	struct cp_env *e;
	enum place p;
};

static inline uint64_t place_alloc(void *opaque, uint64_t bytes)
{
	const struct packet_place *pl = opaque;

	return env_alloc(pl->e, pl->p, bytes);
}

static inline void place_fill(void *opaque, const struct zw_tensor *t, uint32_t limit)
{
	struct cp_env *e = ((const struct packet_place *)opaque)->e;

	if (!limit) {
		fill_random(e, t);
		return;
	}
	for (uint32_t i = 0; i < t->dim[0]; i++)
		for (uint32_t j = 0; j < (t->ndim > 1 ? t->stride[0] : 1); j++)
			put_i(e, t, i, j,
			      limit == SAMPLE_RISING ? (int32_t)i + 1
			      : limit == SAMPLE_LATE ? (int32_t)i + 17
						     : (int32_t)(test_rand(&e->rng) % limit));
}

static inline void place_store64(void *opaque, uint64_t va, uint64_t value)
{
	env_put(((const struct packet_place *)opaque)->e, va, &value, sizeof(value));
}

static inline struct sample_mem place_mem(struct packet_place *pl)
{
	return (struct sample_mem){.alloc = place_alloc,
				   .fill = place_fill,
				   .store64 = place_store64,
				   .opaque = pl,
				   .rows = pl->e->rows};
}

static inline void make_packet(struct cp_env *e, unsigned int opcode, enum place p,
			       union any_packet *pk)
{
	struct packet_place pl = {e, p};
	const struct sample_mem mem = place_mem(&pl);

	sample_packet(&mem, opcode, pk);
}

static inline void make_sparse(struct cp_env *e, enum place p, struct zw_pkt_attention *pk)
{
	struct packet_place pl = {e, p};
	const struct sample_mem mem = place_mem(&pl);

	sample_sparse(&mem, pk);
}

/* n pools of I8 or F8E4M3 with scales, in the place of those of the sample; scales follow each other as pools do. */
static inline void quantise_pools(struct cp_env *e, enum place p, bool f8, int n,
				  struct zw_tensor *k_cache, struct zw_tensor *k_scale)
{
	for (int i = 0; i < n; i++) {
		k_cache[i].dtype = f8 ? ZW_DTYPE_F8E4M3 : ZW_DTYPE_I8;
		k_scale[i] = random_tensor(e, p, F32, k_cache[i].dim[0], k_cache[i].dim[1],
					   k_cache[i].dim[2], 0);
	}
}

/* Whether a packet reads or writes a KV cache. */
static inline bool has_cache(unsigned int opcode)
{
	return opcode == ZW_OP_KV_WRITE || opcode == ZW_OP_ATTENTION ||
	       opcode == ZW_OP_SELECT_BLOCKS || opcode == ZW_OP_SELECT_SLASH;
}

static inline void quantise_cache(struct cp_env *e, enum place p, bool f8, union any_packet *pk)
{
	switch (pk->hdr.opcode) {
	case ZW_OP_KV_WRITE:
		quantise_pools(e, p, f8, 2, &pk->kv_write.k_cache, &pk->kv_write.k_scale);
		break;
	case ZW_OP_ATTENTION:
		quantise_pools(e, p, f8, 2, &pk->attention.k_cache, &pk->attention.k_scale);
		break;
	case ZW_OP_SELECT_BLOCKS:
		quantise_pools(e, p, f8, 1, &pk->select_blocks.k_cache, &pk->select_blocks.k_scale);
		break;
	default:
		quantise_pools(e, p, f8, 1, &pk->select_slash.k_cache, &pk->select_slash.k_scale);
	}
}

/* A GEMM with operands of other types than the sample's: weights, and with some of these activations. */
static inline void quantise_gemm(struct cp_env *e, enum place p, uint64_t which,
				 struct zw_pkt_gemm *g)
{
	static const uint8_t types[] = {
		ZW_DTYPE_I8,     ZW_DTYPE_I4,    ZW_DTYPE_U4,   ZW_DTYPE_F8E4M3, ZW_DTYPE_F8E5M2,
		ZW_DTYPE_F4E2M1, ZW_DTYPE_Q4_0,  ZW_DTYPE_Q4_1, ZW_DTYPE_Q5_0,   ZW_DTYPE_Q5_1,
		ZW_DTYPE_Q8_0,   ZW_DTYPE_MXFP4, ZW_DTYPE_Q2_K, ZW_DTYPE_Q3_K,   ZW_DTYPE_Q4_K,
		ZW_DTYPE_Q5_K,   ZW_DTYPE_Q6_K};
	unsigned int type = types[which % sizeof(types)], how = (unsigned int)(which >> 8);
	uint32_t rows = g->a.dim[0], k = 256, group = 16u << how % 4;
	uint64_t bytes =
		10u * (uint64_t)k / zw_dtype_block_elements(type) * zw_dtype_block_bytes(type);
	bool record = ZW_DT_BLOCKED >> type & 1;

	g->a = random_tensor(e, p, BF16, rows, k, 0, 0);
	g->w = tensor_at(env_alloc(e, p, bytes), type, 10, k, 0, 0);
	for (uint64_t i = 0; i < bytes; i++)
		*env_byte(e, g->w.va + i) = (uint8_t)test_rand(&e->rng);
	if (record) {
		g->w.layout = ZW_LAYOUT_BLOCKED;
		return;
	}
	g->w_scale = random_tensor(e, p, F32, 10, k / group, 0, 0);
	g->w_scale.block[0] = 1;
	g->w_scale.block[1] = group;
	if (how & 8 && (type == ZW_DTYPE_I8 || type == ZW_DTYPE_U4 || type == ZW_DTYPE_I4)) {
		g->w_zero = g->w_scale;
		g->w_zero.dtype = ZW_DTYPE_U8;
	} else if (how & 16 && type != ZW_DTYPE_U4 && type != ZW_DTYPE_I4 &&
		   type != ZW_DTYPE_F4E2M1) {
		g->a.dtype = (uint16_t)type;
		g->a_scale = random_tensor(e, p, F32, rows, k / group, 0, 0);
		g->a_scale.block[0] = 1;
		g->a_scale.block[1] = group;
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

/* SPDX-License-Identifier: MIT */
/* One well-formed packet of every type, on a made-up address layout; for the command builder's
 * tests. */
#ifndef RT_PACKETS_H
#define RT_PACKETS_H

#include "zhenwu/cmd.h"

/*
 * Operand i of a packet starts at base + i * RT_STEP and occupies less than that. Ids, positions
 * and block tables are in range when the memory is all zero.
 */
#define RT_STEP    0x10000ull
#define RT_PACKETS 17u

static inline int rt_packet(struct zw_cmd *c, unsigned int i, uint64_t base)
{
#define AT(n) (base + (n)*RT_STEP)
	const uint32_t f = ZW_DTYPE_F32, b = ZW_DTYPE_BF16, n = ZW_DTYPE_I32;
	struct zw_tensor t[8];

	switch (i) {
	case 0:
		return zw_cmd_nop(c, ZW_PKT_F_ASYNC);
	case 1:
		return zw_cmd_barrier(c, 0);
	case 2:
		return zw_cmd_timestamp(c, AT(0), 0);
	case 3:
		return zw_cmd_sem_signal(c, AT(0), 7, 0);
	case 4:
		return zw_cmd_sem_wait(c, AT(0), 0, 0);
	case 5:
		t[0] = zw_tensor_2d(b, AT(0), 3, 40);
		t[1] = zw_tensor_2d(b, AT(1), 24, 40);
		t[2] = zw_tensor_2d(f, AT(2), 3, 24);
		t[3] = zw_tensor_1d(b, AT(3), 24);
		t[4] = zw_tensor_2d(f, AT(4), 3, 24);
		return zw_cmd_gemm(c, &t[0], &t[1], &t[2], &t[3], &t[4], 0, ZW_PKT_F_ASYNC);
	case 6:
		t[0] = zw_tensor_3d(b, AT(0), 3, 2, 16);
		t[1] = zw_tensor_1d(b, AT(1), 16);
		t[2] = zw_tensor_3d(f, AT(2), 3, 2, 16);
		return zw_cmd_rmsnorm(c, &t[0], &t[1], &t[2], 1e-6f, 0, 0);
	case 7:
		t[0] = zw_tensor_3d(b, AT(0), 3, 2, 16);
		t[1] = zw_tensor_1d(n, AT(1), 3);
		t[2] = zw_tensor_2d(f, AT(2), 10, 8);
		t[3] = zw_tensor_2d(f, AT(3), 10, 8);
		return zw_cmd_rope(c, &t[0], &t[0], &t[1], &t[2], &t[3], 0, 0);
	case 8:
		t[0] = zw_tensor_2d(b, AT(0), 3, 40);
		t[1] = zw_tensor_2d(b, AT(1), 3, 40);
		return zw_cmd_swiglu(c, &t[0], &t[1], &t[1], 0, 0);
	case 9:
		t[0] = zw_tensor_1d(n, AT(0), 3);
		t[1] = zw_tensor_2d(b, AT(1), 10, 16);
		t[2] = zw_tensor_2d(f, AT(2), 3, 16);
		return zw_cmd_embed(c, &t[0], &t[1], &t[2], 0, 0);
	case 10:
		t[0] = zw_tensor_2d(b, AT(0), 3, 40);
		t[1] = zw_tensor_2d(f, AT(1), 3, 40);
		t[2] = zw_tensor_2d(b, AT(2), 3, 40);
		return zw_cmd_add(c, &t[0], &t[1], &t[2], 0, 0);
	case 11:
		t[0] = zw_tensor_2d(b, AT(0), 3, 100);
		t[1] = zw_tensor_1d(n, AT(1), 3);
		return zw_cmd_argmax(c, &t[0], &t[1], 0, 0);
	case 12:
		t[0] = zw_tensor_2d(f, AT(0), 3, 100);
		t[1] = zw_tensor_2d(f, AT(1), 3, 5);
		t[2] = zw_tensor_2d(n, AT(2), 3, 5);
		return zw_cmd_topk(c, &t[0], &t[1], &t[2], 0, 0);
	case 13:
		t[0] = zw_tensor_3d(b, AT(0), 3, 2, 16);
		t[1] = zw_tensor_3d(b, AT(1), 3, 2, 16);
		t[2] = zw_tensor_1d(n, AT(2), 3);
		t[3] = zw_tensor_1d(n, AT(3), 3);
		t[4] = zw_tensor_2d(n, AT(4), 2, 4);
		t[5] = zw_tensor_4d(b, AT(5), 4, 8, 2, 16);
		t[6] = zw_tensor_4d(b, AT(6), 4, 8, 2, 16);
		return zw_cmd_kv_write(c, &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6], 0, 0);
	case 14: {
		struct zw_cmd_attention_args a = {
			.q = &t[0],
			.y = &t[0],
			.pos = &t[2],
			.seq = &t[3],
			.block_table = &t[4],
			.k_cache = &t[5],
			.v_cache = &t[6],
			.lse = &t[7],
			.scale = 0.25f,
		};

		t[0] = zw_tensor_3d(b, AT(0), 3, 4, 16);
		t[2] = zw_tensor_1d(n, AT(2), 3);
		t[3] = zw_tensor_1d(n, AT(3), 3);
		t[4] = zw_tensor_2d(n, AT(4), 2, 4);
		t[5] = zw_tensor_4d(b, AT(5), 4, 8, 2, 16);
		t[6] = zw_tensor_4d(b, AT(6), 4, 8, 2, 16);
		t[7] = zw_tensor_2d(f, AT(7), 3, 4);
		return zw_cmd_attention(c, &a, 0, 0);
	}
	case 15:
		return zw_cmd_copy(c, AT(0), AT(1), 1000, 0);
	default:
		return zw_cmd_fill(c, AT(0), 64, 0x12345678, 0);
	}
#undef AT
}

/* A small generator, so that failures can be repeated on any host. */
static inline uint32_t rt_random(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*state >> 33);
}

/* Breaks a packet in one or two places: single bits, and values that borders are made of. */
static inline void rt_mutate(uint8_t *pkt, size_t bytes, uint64_t *state)
{
	static const uint32_t edge[] = {0,          1,          2,          0x41,       0xffff,
					0x7fffffff, 0x80000000, 0xffffffff, 0x10000001, 0x7f800000};
	unsigned int times = 1 + rt_random(state) % 2;

	while (times--) {
		size_t at = rt_random(state) % bytes;

		switch (rt_random(state) % 4) {
		case 0:
			pkt[at] ^= (uint8_t)(1u << rt_random(state) % 8);
			break;
		case 1:
			memcpy(pkt + at / 4 * 4, &edge[rt_random(state) % 10], 4);
			break;
		case 2: /* a field takes the value of another */
			memcpy(pkt + at / 4 * 4, pkt + rt_random(state) % bytes / 4 * 4, 4);
			break;
		default:
			pkt[at] = (uint8_t)(pkt[at] + 1);
			break;
		}
	}
}

#endif

/* SPDX-License-Identifier: MIT */
/* One well-formed packet of every type, on a made-up address layout; for the command builder's
 * tests. */
#ifndef RT_PACKETS_H
#define RT_PACKETS_H

#include "samples.h"
#include "zhenwu/cmd.h"

/*
 * The n-th operand or address of a packet starts at base + n * RT_STEP and occupies less than that.
 * Ids, positions and block tables are in range when the memory is all zero.
 */
#define RT_STEP    0x10000ull
#define RT_PACKETS ((unsigned int)N_SAMPLES)

static inline uint64_t rt_alloc(void *opaque, uint64_t bytes)
{
	uint64_t *next = opaque, at = *next;

	*next += RT_STEP;
	return at;
}

static inline void rt_sample(unsigned int opcode, uint64_t base, union any_packet *pk)
{
	const struct sample_mem mem = {.alloc = rt_alloc, .opaque = &base, .rows = 3};

	sample_packet(&mem, opcode, pk);
}

/* Appends packet i of the table. */
static inline int rt_packet(struct zw_cmd *c, unsigned int i, uint64_t base)
{
	union any_packet pk;

	rt_sample(sample_ops[i].opcode, base, &pk);
	return zw_cmd_packet(c, &pk);
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
	static const uint32_t edge[] = {0,          1,          2,          0x26,       0xffff,
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

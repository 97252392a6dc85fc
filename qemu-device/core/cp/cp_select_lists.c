// SPDX-License-Identifier: MIT
/*
 * Lists of keys where nothing is computed: as many as a packet that chooses would list, at places that are made up. Heads
 * differ by a share of the space between two of them, so that they list different keys.
 */
#include "cp_kv.h"

#define BAND 64u /* distances next to each other */

uint32_t zw_cp_made_up_blocks(const struct kv_made_up *m, uint32_t first, uint32_t last,
			      uint32_t most, int32_t *out)
{
	uint32_t own = last - first + 1 < most ? last - first + 1 : most, n = 0;
	uint32_t left = most - own, others = first ? first - 1 : 0;

	if (left && first) {
		out[n++] = 0;
		left = left - 1 < others ? left - 1 : others;
		for (uint64_t i = 0; i < left; i++)
			out[n++] = 1 + (int32_t)((i * m->heads + m->head) * others /
						 ((uint64_t)left * m->heads));
	}
	for (uint32_t b = last + 1 - own; b <= last; b++)
		out[n++] = (int32_t)b;
	return n;
}

/* Blocks from those that distances lo..hi reach from positions first..last, none of them below *next. */
static uint32_t reach(uint32_t first, uint32_t last, uint32_t t, uint64_t lo, uint64_t hi,
		      uint32_t *next, int32_t *out)
{
	uint32_t n = 0, b, end;

	if (lo > last)
		return 0;
	b = hi < first ? (uint32_t)(first - hi) / t : 0;
	end = (uint32_t)(last - lo) / t;
	for (b = b > *next ? b : *next; b <= end; b++)
		out[n++] = (int32_t)b;
	*next = end + 1 > *next ? end + 1 : *next;
	return n;
}

uint32_t zw_cp_made_up_reach(const struct kv_made_up *m, uint32_t first, uint32_t last, uint32_t t,
			     uint32_t distances, uint32_t nearest, uint32_t len, int32_t *out)
{
	uint32_t near = distances / 2 > nearest ? distances / 2 : nearest, n = 0, next = 0, bands;
	uint64_t room;

	near = near < distances ? near : distances;
	bands = (distances - near) / BAND;
	near = distances - bands * BAND;
	room = len - near; /* of which bands take at most all */
	for (uint64_t i = bands; i > 0; i--) {
		uint64_t space = room - (uint64_t)bands * BAND; /* between them */
		uint64_t lo =
			near + (i - 1) * BAND +
			((i - 1) * m->heads + m->head + 1) * space / ((uint64_t)bands * m->heads);

		n += reach(first, last, t, lo, lo + BAND - 1, &next, out + n);
	}
	return n + (near ? reach(first, last, t, 0, near - 1, &next, out + n) : 0);
}

void zw_cp_made_up_columns(const struct kv_made_up *m, uint32_t columns, uint32_t always,
			   uint32_t len, int32_t *out)
{
	uint64_t others, n = 0;

	always = always < columns ? always : columns;
	others = columns - always;
	for (; n < always; n++)
		out[n] = (int32_t)n;
	for (uint64_t i = 0; i < others; i++)
		out[n++] = (int32_t)(always + (i * m->heads + m->head) * (len - always) /
						      (others * m->heads));
}

uint32_t zw_cp_columns_apart(const int32_t *column, uint32_t columns, uint32_t last, uint32_t t,
			     const int32_t *block, uint32_t n_blocks, int32_t *out)
{
	uint32_t n = 0, at = 0;

	for (uint32_t i = 0; i < columns && (uint32_t)column[i] <= last; i++) {
		uint64_t c = (uint32_t)column[i];

		while (at < n_blocks && (block[at] + 1ull) * t <= c)
			at++;
		if (at == n_blocks || (uint64_t)block[at] * t > c)
			out[n++] = (int32_t)c;
	}
	return n;
}

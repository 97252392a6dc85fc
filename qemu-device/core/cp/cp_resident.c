// SPDX-License-Identifier: MIT
/*
 * What is still on the chip: the operands that the packets of a job touched last, as far as they fit into half of the
 * on-chip memory; the other half is for what streams by. An operand that is read while it is there costs no HBM.
 */
#include <string.h>

#include "zw_cp_int.h"

static void drop(struct zw_cp_resident *r, unsigned int i)
{
	r->bytes -= r->range[i].end - r->range[i].va;
	r->n--;
	memmove(&r->range[i], &r->range[i + 1], (r->n - i) * sizeof(r->range[0]));
}

void zw_cp_resident_clear(struct zw_cp_resident *r)
{
	r->n = 0;
	r->bytes = 0;
}

uint64_t zw_cp_resident_bytes(const struct zw_cp_resident *r, uint64_t va, uint64_t len)
{
	uint64_t bytes = 0, end = va + len;

	for (unsigned int i = 0; i < r->n; i++) {
		/* Most are elsewhere. */
		if (r->range[i].va >= end || r->range[i].end <= va)
			continue;
		bytes += (r->range[i].end < end ? r->range[i].end : end) -
			 (r->range[i].va > va ? r->range[i].va : va);
	}
	return bytes;
}

void zw_cp_resident_touch(struct zw_cp_resident *r, uint64_t capacity, uint64_t va, uint64_t len)
{
	if (!len)
		return;
	/* As it was: it is the latest now, and nothing has to go for it. */
	for (unsigned int i = 0; i < r->n && len <= capacity; i++) {
		if (r->range[i].va != va || r->range[i].end != va + len)
			continue;
		memmove(&r->range[1], &r->range[0], i * sizeof(r->range[0]));
		r->range[0].va = va;
		r->range[0].end = va + len;
		return;
	}
	/* What it overlaps is part of it, or, for simplicity, gone. */
	for (unsigned int i = r->n; i-- > 0;)
		if (r->range[i].va < va + len && r->range[i].end > va)
			drop(r, i);
	/* More than there is room for has pushed everything out, and its beginning too. */
	if (len > capacity) {
		zw_cp_resident_clear(r);
		return;
	}
	while (r->n && (r->n == ZW_CP_RESIDENT || r->bytes > capacity - len))
		drop(r, r->n - 1);
	memmove(&r->range[1], &r->range[0], r->n * sizeof(r->range[0]));
	r->range[0].va = va;
	r->range[0].end = va + len;
	r->bytes += len;
	r->n++;
}

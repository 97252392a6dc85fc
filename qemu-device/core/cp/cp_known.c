// SPDX-License-Identifier: MIT
/*
 * What a packet came to when its command buffer ran last. Where nothing is computed, translating and checking operands is
 * most of what a packet takes, and the steps of a decode are one buffer over and over. It still holds while rows,
 * translations and bad pages are what they were, for packets that depend on nothing else (zw_cp_impl.constant).
 */
#include <stdlib.h>
#include <string.h>

#include "zw_cp_int.h"

/* Buffers can be larger than any that a runtime makes; what is kept of them is bounded. */
#define MOST_PACKETS 8192u

void zw_cp_known_begin(struct zw_cp_buffer *buf)
{
	uint32_t n = 0;

	if (buf->known)
		return;
	for (uint32_t off = 0; off < buf->size && n < MOST_PACKETS; n++)
		off += ((const struct zw_pkt *)(buf->bytes + off))->size;
	/* Without memory for it packets are looked at again. */
	buf->known = n ? calloc(n, sizeof(*buf->known)) : NULL;
	buf->n_known = buf->known ? n : 0;
}

void zw_cp_known_drop(struct zw_cp_buffer *buf)
{
	free(buf->known);
	buf->known = NULL;
	buf->n_known = 0;
}

struct zw_cp_known *zw_cp_known_packet(const struct zw_cp_buffer *buf, uint64_t index,
				       const struct zw_cp_op *op)
{
	return index < buf->n_known && op->impl->constant ? &buf->known[index] : NULL;
}

static bool same_epoch(const struct zw_mmu_epoch *a, const struct zw_mmu_epoch *b)
{
	return a->tables == b->tables && a->bad_pages == b->bad_pages;
}

bool zw_cp_known_operands(struct zw_cp_exec *x)
{
	const struct zw_cp_known *k = x->known;

	if (!k)
		return false;
	x->epoch = zw_mmu_epoch(x->cfg->mmu, x->vm);
	x->lookups = zw_mmu_lookups(x->cfg->mmu);
	if (!k->n || k->rows != x->rows || !same_epoch(&k->epoch, &x->epoch))
		return false;
	for (unsigned int j = 0; j < k->n; j++) {
		unsigned int i = k->operand[j].index;

		x->extent[i] = k->operand[j].extent;
		for (unsigned int m = k->operand[j].kinds; m; m &= m - 1)
			x->traffic[i].kind[__builtin_ctz(m)] = k->operand[j].bytes;
	}
	x->n_counted = k->n_counted;
	zw_mmu_looked_up(x->cfg->mmu, k->lookups);
	return true;
}

/* False: more than can be kept, as what is partly in system memory. */
static bool pack(const struct zw_cp_traffic *t, uint64_t *bytes, uint8_t *kinds)
{
	*bytes = 0;
	*kinds = 0;
	for (unsigned int i = 0; i < ZW_CP_TRAFFIC_KINDS; i++) {
		if (!t->kind[i])
			continue;
		if (*kinds && t->kind[i] != *bytes)
			return false;
		*bytes = t->kind[i];
		*kinds |= (uint8_t)(1u << i);
	}
	return true;
}

void zw_cp_known_note_operands(struct zw_cp_exec *x)
{
	struct zw_cp_known *k = x->known;
	unsigned int n = 0;

	if (!k)
		return;
	k->n = 0;
	k->costed = false;
	for (unsigned int i = 0; i < x->n_counted; i++) {
		uint64_t bytes;
		uint8_t kinds;

		if (!pack(&x->traffic[i], &bytes, &kinds))
			return;
		if (!x->extent[i].len && !kinds)
			continue;
		if (n == ZW_CP_KNOWN_OPERANDS)
			return;
		k->operand[n].index = (uint8_t)i;
		k->operand[n].extent = x->extent[i];
		k->operand[n].bytes = bytes;
		k->operand[n++].kinds = kinds;
	}
	k->n = (uint8_t)n;
	k->n_counted = (uint8_t)x->n_counted;
	k->rows = x->rows;
	/* Of before the operands were looked at: what changed meanwhile is looked at again. */
	k->epoch = x->epoch;
	k->lookups = zw_mmu_lookups(x->cfg->mmu) - x->lookups;
}

bool zw_cp_known_cost(struct zw_cp_exec *x)
{
	const struct zw_cp_known *k = x->known;

	if (!k || !k->costed)
		return false;
	for (unsigned int j = 0; j < k->n; j++)
		if (x->traffic[k->operand[j].index].hbm_read != k->operand[j].hbm_read)
			return false;
	x->cost = k->cost;
	x->work = k->work;
	return true;
}

void zw_cp_known_note_cost(const struct zw_cp_exec *x)
{
	struct zw_cp_known *k = x->known;

	if (!k || !k->n)
		return;
	for (unsigned int j = 0; j < k->n; j++)
		k->operand[j].hbm_read = x->traffic[k->operand[j].index].hbm_read;
	k->cost = x->cost;
	k->work = x->work;
	k->costed = true;
}

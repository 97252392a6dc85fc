// SPDX-License-Identifier: MIT
/*
 * The part of the on-chip memory that holds KV blocks. The first blocks that decodes read are pinned, as far as there is
 * room, and stay while every job reads them. With the rest of HBM's idle time between two decodes the blocks of the
 * second one are fetched: the command processor has the whole buffer and knows which these are, and at the end of a job it
 * takes the next one to begin like this one. Rules: Documentation/device/time.md.
 */
#include <string.h>

#include "cp_kv.h"

#define PS_PER_S 1000000000000ull

typedef unsigned __int128 u128;

static uint64_t less(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

void zw_cp_kv_job(struct zw_cp_kv_part *kv, uint64_t ps)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < kv->n && kv->decoded; i++) {
		if (kv->used >> i & 1)
			kv->pinned[n++] = kv->pinned[i];
		else
			kv->bytes -= kv->pinned[i].bytes;
	}
	if (kv->decoded)
		kv->n = n;
	kv->used = 0;
	kv->decoded = false;
	kv->job_ps = ps;
	kv->job_hbm_ps = 0;
}

/* Whether the packet reads the block at va. */
static bool reads(const struct zw_cp_kv_read *r, uint64_t va)
{
	uint64_t number;

	if (!r->n || !r->block_bytes || va < r->pool_va || (va - r->pool_va) % r->block_bytes)
		return false;
	number = (va - r->pool_va) / r->block_bytes;
	return r->block[zw_cp_find(r->block, r->n, number)] == number;
}

static bool is_pinned(const struct zw_cp_kv_part *kv, uint64_t va)
{
	for (uint32_t i = 0; i < kv->n; i++)
		if (kv->pinned[i].va == va)
			return true;
	return false;
}

static void pin(struct zw_cp_kv_part *kv, uint64_t capacity, const struct zw_cp_kv_read *r,
		uint64_t block)
{
	for (uint32_t i = 0; i < r->n; i++) {
		uint64_t va = r->pool_va + r->block[i] * r->block_bytes;

		if (kv->n == ZW_CP_KV_PINNED || block > minus(capacity, kv->bytes))
			return;
		if (is_pinned(kv, va))
			continue;
		kv->used |= 1ull << kv->n;
		kv->pinned[kv->n].va = va;
		kv->pinned[kv->n++].bytes = block;
		kv->bytes += block;
	}
}

/* What HBM could have brought, in the time it had nothing to do, before the packet is ready. */
static uint64_t fetched(const struct zw_cp_kv_part *kv, const struct zw_profile *p,
			const struct zw_cp_kv_read *r)
{
	bool known = kv->decoded || r->pool_va == kv->next_va;
	uint64_t idle = minus(minus(r->ready_ps, known ? kv->since_ps : kv->job_ps),
			      known ? kv->hbm_ps : kv->job_hbm_ps);
	u128 bytes = (u128)idle * p->hbm_bw / PS_PER_S * p->hbm_efficiency_permille / 1000;

	/* of the next job no more than this one read */
	if (known && !kv->decoded && bytes > kv->next_bytes)
		return kv->next_bytes;
	return bytes > UINT64_MAX ? UINT64_MAX : (uint64_t)bytes;
}

uint64_t zw_cp_kv_hits(struct zw_cp_kv_part *kv, const struct zw_profile *p,
		       const struct zw_cp_kv_read *r, uint64_t *early)
{
	uint64_t capacity = (uint64_t)((u128)p->kv_sram_bytes * p->kv_pinned_permille / 1000);
	uint64_t block = r->n ? r->bytes / r->n + !!(r->bytes % r->n) : 0, pinned = 0;

	for (uint32_t i = 0; i < kv->n; i++)
		if (reads(r, kv->pinned[i].va)) {
			kv->used |= 1ull << i;
			pinned++;
		}
	pinned = r->n ? (uint64_t)((u128)r->bytes * pinned / r->n) : 0;
	*early = less(r->bytes - pinned,
		      less(minus(p->kv_sram_bytes, kv->bytes), fetched(kv, p, r)));
	if (r->bytes)
		pin(kv, capacity, r, block);
	if (!kv->decoded) {
		kv->next_va = r->pool_va;
		kv->next_bytes = r->bytes;
	}
	kv->decoded = true;
	return pinned + *early;
}

void zw_cp_kv_retired(struct zw_cp_kv_part *kv, bool read, uint64_t end, uint64_t hbm_ps)
{
	kv->job_hbm_ps = zw_cp_add_sat(kv->job_hbm_ps, hbm_ps);
	kv->hbm_ps = zw_cp_add_sat(kv->hbm_ps, hbm_ps);
	if (read) {
		kv->since_ps = end;
		kv->hbm_ps = 0;
	}
}

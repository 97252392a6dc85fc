// SPDX-License-Identifier: MIT
/*
 * Coherency of the decode cache.
 *
 * The slots belong to the thread of the hart. Others only ever leave a note: zw_rv_invalidate()
 * looks whether code of the pages it was told about is (or is about to be) in the cache and if so
 * marks them in inval_map. The hart sets the bit in code_map *before* it reads the code, the
 * outsider tests it *after* it wrote; with a full barrier in between on both sides, at least one of
 * the two sees the other, so no stale instruction survives.
 */
#include <string.h>
#include "rv_int.h"

static bool map_test(const uint64_t *map, uint64_t page)
{
	return __atomic_load_n(&map[page / 64], __ATOMIC_RELAXED) >> (page % 64) & 1;
}

void zw_rvi_cache_mark(struct zw_rv *rv, uint64_t off)
{
	uint64_t page = off >> RV_PAGE_SHIFT;

	if (!map_test(rv->code_map, page))
		__atomic_fetch_or(&rv->code_map[page / 64], UINT64_C(1) << (page % 64),
				  __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void page_clear(struct zw_rv *rv, uint64_t page)
{
	uint64_t first = page * RV_PAGE_SLOTS, end = first + RV_PAGE_SLOTS;

	/* the last instruction of the page before may reach into this one */
	if (first)
		first--;
	if (end > rv->nslots)
		end = rv->nslots;
	memset(&rv->slots[first], 0, (end - first) * sizeof(rv->slots[0]));
}

static void word_clear(struct zw_rv *rv, uint64_t word, uint64_t mask)
{
	for (uint64_t m = mask; m; m &= m - 1)
		page_clear(rv, word * 64 + (uint64_t)__builtin_ctzll(m));
	/* Only now: an invalidation that comes in between still finds the bit. */
	__atomic_fetch_and(&rv->code_map[word], ~mask, __ATOMIC_SEQ_CST);
}

void zw_rvi_cache_flush(struct zw_rv *rv)
{
	for (uint64_t w = 0; w < rv->map_words; w++) {
		uint64_t mask = __atomic_load_n(&rv->code_map[w], __ATOMIC_RELAXED);

		if (mask)
			word_clear(rv, w, mask);
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void zw_rvi_cache_flush_pending(struct zw_rv *rv)
{
	/* Clear the flag before the bits: a bit set later sets the flag again. */
	if (!__atomic_exchange_n(&rv->inval, 0, __ATOMIC_SEQ_CST))
		return;
	for (uint64_t w = 0; w < rv->map_words; w++) {
		uint64_t mask;

		if (!__atomic_load_n(&rv->inval_map[w], __ATOMIC_RELAXED))
			continue;
		mask = __atomic_exchange_n(&rv->inval_map[w], 0, __ATOMIC_SEQ_CST);
		word_clear(rv, w, mask);
	}
}

void zw_rv_invalidate(struct zw_rv *rv, uint64_t addr, uint64_t len)
{
	uint64_t off, last;
	bool hit = false;

	if (!len)
		return;
	if (addr < rv->ram_base) {
		if (len <= rv->ram_base - addr)
			return;
		len -= rv->ram_base - addr;
		addr = rv->ram_base;
	}
	off = addr - rv->ram_base;
	if (off >= rv->ram_size)
		return;
	last = len - 1 < rv->ram_size - off - 1 ? off + (len - 1) : rv->ram_size - 1;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (uint64_t page = off >> RV_PAGE_SHIFT; page <= last >> RV_PAGE_SHIFT; page++) {
		if (!map_test(rv->code_map, page))
			continue;
		__atomic_fetch_or(&rv->inval_map[page / 64], UINT64_C(1) << (page % 64),
				  __ATOMIC_SEQ_CST);
		hit = true;
	}
	if (hit)
		__atomic_store_n(&rv->inval, 1, __ATOMIC_SEQ_CST);
}

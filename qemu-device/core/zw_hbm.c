/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "zw_hbm.h"
#include "zw_state.h"
#include "zhenwu/zw_pte.h"

/* Scrubbing is done in pieces, so that a reset need not wait for 96 GiB. */
#define SCRUB_STEP   (UINT64_C(256) << 20)
#define MINCORE_STEP (UINT64_C(256) << 20)

static uint64_t host_page(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

int zw_hbm_init(struct zw_hbm *hbm, void *memory, uint64_t size, uint64_t limit,
		const struct zw_host_ops *ops, void *opaque)
{
	memset(hbm, 0, sizeof(*hbm));
	if (!size || size % ZW_HBM_CHUNK || size > ZW_PTE_ADDR_MASK)
		return -EINVAL;
	if (memory && (uintptr_t)memory % host_page())
		return -EINVAL;
	hbm->size = size;
	hbm->limit = limit;
	hbm->recount_at = limit / 4;
	hbm->ops = ops;
	hbm->opaque = opaque;
	if (limit) {
		hbm->charged = calloc(size >> ZW_HBM_CHUNK_SHIFT, sizeof(*hbm->charged));
		if (!hbm->charged)
			return -ENOMEM;
	}
	if (memory) {
		hbm->base = memory;
	} else {
		/* One chunk more, so that the kernel can use huge pages from the first byte on. */
		hbm->map_len = size + ZW_HBM_CHUNK;
		hbm->map = mmap(NULL, hbm->map_len, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (hbm->map == MAP_FAILED) {
			hbm->map = NULL;
			free(hbm->charged);
			hbm->charged = NULL;
			return -ENOMEM;
		}
		hbm->base = (uint8_t *)(((uintptr_t)hbm->map + ZW_HBM_CHUNK - 1) &
					~(uintptr_t)(ZW_HBM_CHUNK - 1));
		/* A core dump would have the size of HBM; huge pages are a matter of speed only. */
		madvise(hbm->base, size, MADV_DONTDUMP);
		madvise(hbm->base, size, MADV_HUGEPAGE);
	}
	pthread_mutex_init(&hbm->lock, NULL);
	return 0;
}

void zw_hbm_fini(struct zw_hbm *hbm)
{
	if (!hbm->base)
		return;
	if (hbm->map)
		munmap(hbm->map, hbm->map_len);
	free(hbm->charged);
	pthread_mutex_destroy(&hbm->lock);
	memset(hbm, 0, sizeof(*hbm));
}

/* Bytes resident; with chunks not NULL also how many 4 KiB pages of each chunk. */
static uint64_t resident(const struct zw_hbm *hbm, uint16_t *chunks)
{
	uint64_t page = host_page(), total = 0;
	unsigned char *vec = malloc(MINCORE_STEP / page);

	if (!vec)
		return 0;
	for (uint64_t off = 0; off < hbm->size; off += MINCORE_STEP) {
		uint64_t len = hbm->size - off < MINCORE_STEP ? hbm->size - off : MINCORE_STEP;

		if (mincore(hbm->base + off, len, vec))
			continue;
		for (uint64_t c = 0; c < len; c += ZW_HBM_CHUNK) {
			uint64_t bytes = 0;

			for (uint64_t i = c / page; i < (c + ZW_HBM_CHUNK) / page; i++)
				bytes += (vec[i] & 1) * page;
			total += bytes;
			if (chunks)
				chunks[(off + c) >> ZW_HBM_CHUNK_SHIFT] = bytes / ZW_PAGE_SIZE;
		}
	}
	free(vec);
	return total;
}

uint64_t zw_hbm_resident(const struct zw_hbm *hbm)
{
	return resident(hbm, NULL);
}

static uint64_t uncharged(const struct zw_hbm *hbm, uint64_t first, uint64_t last)
{
	uint64_t bytes = 0;

	for (uint64_t c = first; c <= last; c++)
		bytes += ZW_HBM_CHUNK - (uint64_t)hbm->charged[c] * ZW_PAGE_SIZE;
	return bytes;
}

static uint64_t used(const struct zw_hbm *hbm)
{
	return hbm->counted + hbm->borrowed;
}

/* Asks the host what is really there. Takes time in proportion to HBM. */
static void recount(struct zw_hbm *hbm)
{
	hbm->counted = resident(hbm, hbm->charged);
	/*
	 * The next look is due when a quarter of what is left was charged: rare while there is room,
	 * often where the limit is near.
	 */
	if (used(hbm) < hbm->limit)
		hbm->recount_at = used(hbm) + (hbm->limit - used(hbm)) / 4;
}

int zw_hbm_reserve(struct zw_hbm *hbm, uint64_t off, uint64_t len)
{
	uint64_t first, last, add;
	int ret = 0;

	if (!hbm->limit || !len)
		return 0;
	first = off >> ZW_HBM_CHUNK_SHIFT;
	last = (off + len - 1) >> ZW_HBM_CHUNK_SHIFT;
	pthread_mutex_lock(&hbm->lock);
	add = uncharged(hbm, first, last);
	if (!add)
		goto out;
	if (used(hbm) + add > hbm->limit || used(hbm) + add >= hbm->recount_at) {
		recount(hbm);
		add = uncharged(hbm, first, last);
	}
	if (add && used(hbm) + add > hbm->limit) {
		ret = -ENOMEM;
		goto out;
	}
	hbm->counted += add;
	for (uint64_t c = first; c <= last; c++)
		hbm->charged[c] = ZW_HBM_CHUNK / ZW_PAGE_SIZE;
out:
	pthread_mutex_unlock(&hbm->lock);
	return ret;
}

int zw_hbm_borrow(struct zw_hbm *hbm, uint64_t bytes)
{
	int ret = 0;

	if (!hbm->limit)
		return 0;
	pthread_mutex_lock(&hbm->lock);
	if (used(hbm) + bytes > hbm->limit)
		recount(hbm);
	if (used(hbm) + bytes > hbm->limit)
		ret = -ENOMEM;
	else
		hbm->borrowed += bytes;
	pthread_mutex_unlock(&hbm->lock);
	return ret;
}

void zw_hbm_give_back(struct zw_hbm *hbm, uint64_t bytes)
{
	if (!hbm->limit)
		return;
	pthread_mutex_lock(&hbm->lock);
	hbm->borrowed -= bytes;
	pthread_mutex_unlock(&hbm->lock);
}

uint64_t zw_hbm_left(struct zw_hbm *hbm)
{
	uint64_t left;

	if (!hbm->limit)
		return UINT64_MAX;
	pthread_mutex_lock(&hbm->lock);
	recount(hbm);
	left = used(hbm) < hbm->limit ? hbm->limit - used(hbm) : 0;
	pthread_mutex_unlock(&hbm->lock);
	return left;
}

static bool is_zero(const uint8_t *p, uint64_t len)
{
	/* len is a multiple of 4096: the first word decides about most non-zero pages. */
	return !*(const uint64_t *)p && !memcmp(p, p + 8, len - 8);
}

/* Zero without populating what is zero already: pages never written read as zero and stay unbacked.
 */
static void zero_in_place(uint8_t *p, uint64_t len)
{
	for (uint64_t i = 0; i < len; i += ZW_PAGE_SIZE) {
		if (!is_zero(p + i, ZW_PAGE_SIZE))
			memset(p + i, 0, ZW_PAGE_SIZE);
	}
}

/* 0 when [off, off + len), host-page aligned, was dropped and reads as zero from now on. */
static int discard(struct zw_hbm *hbm, uint64_t off, uint64_t len)
{
	if (hbm->ops && hbm->ops->hbm_discard)
		return hbm->ops->hbm_discard(hbm->opaque, off, len);
	/* Only of memory known to be private and anonymous does MADV_DONTNEED make zeroes. */
	if (!hbm->map)
		return -EOPNOTSUPP;
	return madvise(hbm->base + off, len, MADV_DONTNEED) ? -errno : 0;
}

static void uncharge(struct zw_hbm *hbm, uint64_t start, uint64_t end)
{
	uint64_t first = (start + ZW_HBM_CHUNK - 1) >> ZW_HBM_CHUNK_SHIFT;
	uint64_t last = end >> ZW_HBM_CHUNK_SHIFT; /* exclusive */

	if (!hbm->limit)
		return;
	pthread_mutex_lock(&hbm->lock);
	for (uint64_t c = first; c < last; c++) {
		hbm->counted -= (uint64_t)hbm->charged[c] * ZW_PAGE_SIZE;
		hbm->charged[c] = 0;
	}
	pthread_mutex_unlock(&hbm->lock);
}

/* -- uncorrectable errors -- */

int zw_hbm_poison(struct zw_hbm *hbm, uint64_t addr)
{
	uint64_t page = addr & ~(uint64_t)(ZW_PAGE_SIZE - 1);
	unsigned int n, i;
	int ret = 0;

	if (addr >= hbm->size)
		return -EINVAL;
	pthread_mutex_lock(&hbm->lock);
	n = atomic_load(&hbm->num_bad);
	for (i = 0; i < n && hbm->bad[i] != page; i++)
		;
	if (i == ZW_HBM_BAD_PAGES) {
		ret = -ENOSPC;
	} else if (i == n) {
		hbm->bad[n] = page;
		atomic_store(&hbm->num_bad, n + 1);
		atomic_fetch_add(&hbm->bad_changes, 1);
	}
	pthread_mutex_unlock(&hbm->lock);
	return ret;
}

void zw_hbm_heal(struct zw_hbm *hbm, uint64_t off, uint64_t len)
{
	unsigned int n, kept = 0;

	if (!atomic_load(&hbm->num_bad))
		return;
	pthread_mutex_lock(&hbm->lock);
	n = atomic_load(&hbm->num_bad);
	for (unsigned int i = 0; i < n; i++) {
		uint64_t page = hbm->bad[i];

		if (page < off || page + ZW_PAGE_SIZE > off + len)
			hbm->bad[kept++] = page;
	}
	atomic_store(&hbm->num_bad, kept);
	atomic_fetch_add(&hbm->bad_changes, kept != n);
	pthread_mutex_unlock(&hbm->lock);
}

bool zw_hbm_bad_page(struct zw_hbm *hbm, uint64_t off, uint64_t len, uint64_t *bad)
{
	bool found = false;
	unsigned int n;

	if (!atomic_load_explicit(&hbm->num_bad, memory_order_relaxed))
		return false;
	pthread_mutex_lock(&hbm->lock);
	n = atomic_load(&hbm->num_bad);
	for (unsigned int i = 0; i < n; i++) {
		uint64_t page = hbm->bad[i];

		if (page + ZW_PAGE_SIZE <= off || page >= off + len || (found && page > *bad))
			continue;
		*bad = page;
		found = true;
	}
	pthread_mutex_unlock(&hbm->lock);
	return found;
}

int zw_hbm_scrub(struct zw_hbm *hbm, uint64_t off, uint64_t len, bool (*stop)(void *), void *arg)
{
	uint64_t page = host_page();
	uint64_t end = off + len;

	while (off < end) {
		uint64_t next = (off | (SCRUB_STEP - 1)) + 1;
		uint64_t lo, hi;

		if (stop && stop(arg))
			return -ECANCELED;
		if (next > end)
			next = end;
		/* Whole host pages can be dropped; what sticks out at the ends, or everything when
		 * the host pages are larger than the range, is zeroed. */
		lo = (off + page - 1) & ~(page - 1);
		hi = next & ~(page - 1);
		if (lo < hi && !discard(hbm, lo, hi - lo)) {
			zero_in_place(hbm->base + off, lo - off);
			zero_in_place(hbm->base + hi, next - hi);
		} else {
			zero_in_place(hbm->base + off, next - off);
		}
		uncharge(hbm, off, next);
		zw_hbm_heal(hbm, off, next - off);
		if (hbm->ops && hbm->ops->hbm_dirty)
			hbm->ops->hbm_dirty(hbm->opaque, off, next - off);
		off = next;
	}
	return 0;
}

/* -- saved state -- */

/* Saved: the bad pages. The rest is configuration, or says what the host's memory is like. */
ZW_STATE_SIZE(sizeof(struct zw_hbm) - sizeof(pthread_mutex_t), 232);

void zw_hbm_state(struct zw_hbm *hbm, struct zw_state *st)
{
	uint32_t n;

	pthread_mutex_lock(&hbm->lock);
	n = atomic_load(&hbm->num_bad);
	zw_state_u32(st, &n);
	if (!zw_state_check(st, n <= ZW_HBM_BAD_PAGES, "more bad pages than there can be"))
		n = 0;
	for (unsigned int i = 0; i < n; i++) {
		zw_state_u64(st, &hbm->bad[i]);
		zw_state_check(st, hbm->bad[i] % ZW_PAGE_SIZE == 0 && hbm->bad[i] < hbm->size,
			       "a bad page is outside of HBM");
	}
	if (st->loading) {
		atomic_store(&hbm->num_bad, st->err ? 0 : n);
		atomic_fetch_add(&hbm->bad_changes, 1);
		hbm->recount_at = 0;
	}
	pthread_mutex_unlock(&hbm->lock);
}

// SPDX-License-Identifier: MIT
/*
 * Memory of the sim transport: the table that turns DMA addresses into memory of this process, the
 * HBM allocator, and buffers made of either.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "sim.h"
#include "zw_core.h"

#define DMA_FIRST                                                                                  \
	0x100000000ull /* not 0, and not what fits 32 bits: truncation shows up as a bus error */
#define DMA_GUARD (1ull << 20) /* never handed out, between regions */
#define BIG_PAGE  (2ull << 20)

int zw_sim_mem_init(struct sim *sim, uint64_t hbm_bytes)
{
	struct sim_extent *all = calloc(1, sizeof(*all));

	if (!all)
		return -ENOMEM;
	all->end = hbm_bytes;
	sim->hbm.free = all;
	sim->hbm.size = hbm_bytes;
	sim->hbm.available = hbm_bytes;
	sim->dma.next = DMA_FIRST;
	pthread_mutex_init(&sim->hbm.lock, NULL);
	pthread_rwlock_init(&sim->dma.lock, NULL);
	return 0;
}

void zw_sim_mem_fini(struct sim *sim)
{
	for (struct sim_extent *e = sim->hbm.free, *next; e; e = next) {
		next = e->next;
		free(e);
	}
	for (size_t i = 0; i < sim->dma.count; i++)
		munmap(sim->dma.regions[i].ptr, sim->dma.regions[i].bytes);
	free(sim->dma.regions);
	pthread_mutex_destroy(&sim->hbm.lock);
	pthread_rwlock_destroy(&sim->dma.lock);
}

/* -- system memory --------------------------------------------------------------------------- */

int zw_sim_region_new(struct sim *sim, uint64_t bytes, struct sim_region *out)
{
	struct sim_dma *d = &sim->dma;
	void *ptr;
	int ret = 0;

	bytes = (bytes + ZW_PAGE_SIZE - 1) & ~(uint64_t)(ZW_PAGE_SIZE - 1);
	ptr = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		   -1, 0);
	if (ptr == MAP_FAILED)
		return -ENOMEM;
	pthread_rwlock_wrlock(&d->lock);
	if (d->count == d->capacity) {
		size_t want = d->capacity ? d->capacity * 2 : 16;
		struct sim_region *r = realloc(d->regions, want * sizeof(*r));

		if (r) {
			d->regions = r;
			d->capacity = want;
		} else {
			ret = -ENOMEM;
		}
	}
	/* Addresses only grow (52 bits of them are enough), so a stale one never names somebody
	 * else's memory. */
	if (!ret && d->next + bytes + DMA_GUARD > ZW_PTE_ADDR_MASK)
		ret = -ENOMEM;
	if (!ret) {
		out->dma = d->next;
		out->bytes = bytes;
		out->ptr = ptr;
		d->regions[d->count++] = *out;
		d->next = (d->next + bytes + DMA_GUARD + BIG_PAGE - 1) & ~(BIG_PAGE - 1);
	}
	pthread_rwlock_unlock(&d->lock);
	if (ret)
		munmap(ptr, bytes);
	return ret;
}

static struct sim_region *find(struct sim_dma *d, uint64_t addr)
{
	size_t lo = 0, hi = d->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		struct sim_region *r = &d->regions[mid];

		if (addr < r->dma)
			hi = mid;
		else if (addr - r->dma >= r->bytes)
			lo = mid + 1;
		else
			return r;
	}
	return NULL;
}

void zw_sim_region_free(struct sim *sim, struct sim_region *region)
{
	struct sim_dma *d = &sim->dma;
	struct sim_region *r;

	if (!region->ptr)
		return;
	pthread_rwlock_wrlock(&d->lock);
	r = find(d, region->dma);
	if (r) {
		size_t i = (size_t)(r - d->regions);

		memmove(r, r + 1, (d->count - i - 1) * sizeof(*r));
		d->count--;
	}
	pthread_rwlock_unlock(&d->lock);
	munmap(region->ptr, region->bytes);
	memset(region, 0, sizeof(*region));
}

/*
 * A bus moves naturally aligned words whole, and the words that carry the protocol (sequence
 * numbers, tails) are polled by the other side: they are moved as atomics. The rest is plain bytes.
 */
static void copy_from(void *dst, const uint8_t *src, size_t len)
{
	if (len == 8 && !((uintptr_t)src % 8)) {
		uint64_t v = __atomic_load_n((const uint64_t *)(const void *)src, __ATOMIC_ACQUIRE);

		memcpy(dst, &v, 8);
	} else if (len == 4 && !((uintptr_t)src % 4)) {
		uint32_t v = __atomic_load_n((const uint32_t *)(const void *)src, __ATOMIC_ACQUIRE);

		memcpy(dst, &v, 4);
	} else {
		memcpy(dst, src, len);
	}
}

static void copy_to(uint8_t *dst, const void *src, size_t len)
{
	if (len == 8 && !((uintptr_t)dst % 8)) {
		uint64_t v;

		memcpy(&v, src, 8);
		__atomic_store_n((uint64_t *)(void *)dst, v, __ATOMIC_RELEASE);
	} else if (len == 4 && !((uintptr_t)dst % 4)) {
		uint32_t v;

		memcpy(&v, src, 4);
		__atomic_store_n((uint32_t *)(void *)dst, v, __ATOMIC_RELEASE);
	} else {
		memcpy(dst, src, len);
	}
}

/* The region lock is held during the copy, so memory cannot go away under it. */
int zw_sim_dma_read(void *opaque, uint64_t addr, void *buf, size_t len)
{
	struct sim *sim = opaque;
	struct sim_region *r;
	int ret = -EIO;

	pthread_rwlock_rdlock(&sim->dma.lock);
	r = find(&sim->dma, addr);
	if (r && len <= r->bytes - (addr - r->dma)) {
		copy_from(buf, r->ptr + (addr - r->dma), len);
		ret = 0;
	}
	pthread_rwlock_unlock(&sim->dma.lock);
	return ret;
}

int zw_sim_dma_write(void *opaque, uint64_t addr, const void *buf, size_t len)
{
	struct sim *sim = opaque;
	struct sim_region *r;
	int ret = -EIO;

	pthread_rwlock_rdlock(&sim->dma.lock);
	r = find(&sim->dma, addr);
	if (r && len <= r->bytes - (addr - r->dma)) {
		copy_to(r->ptr + (addr - r->dma), buf, len);
		ret = 0;
	}
	pthread_rwlock_unlock(&sim->dma.lock);
	return ret;
}

/* -- HBM ------------------------------------------------------------------------------------- */

int zw_sim_hbm_alloc(struct sim *sim, uint64_t bytes, uint64_t align, uint64_t *addr)
{
	struct sim_hbm *h = &sim->hbm;
	struct sim_extent **link, *e, *rest = malloc(sizeof(*rest));
	int ret = -ENOMEM;

	if (!rest)
		return -ENOMEM;
	pthread_mutex_lock(&h->lock);
	for (link = &h->free; (e = *link); link = &e->next) {
		uint64_t start = (e->start + align - 1) & ~(align - 1);

		if (start >= e->end || e->end - start < bytes)
			continue;
		rest->start = start + bytes;
		rest->end = e->end;
		e->end = start;
		if (rest->start < rest->end) {
			rest->next = e->next;
			e->next = rest;
			rest = NULL;
		}
		if (e->start == e->end) {
			*link = e->next;
			free(e);
		}
		h->available -= bytes;
		*addr = start;
		ret = 0;
		break;
	}
	pthread_mutex_unlock(&h->lock);
	free(rest);
	return ret;
}

/* Free HBM is zero: a buffer starts out as zeroes, and nobody reads what another client left. */
static int scrub(struct sim *sim, uint64_t addr, uint64_t bytes)
{
	struct zw_msg_scrub m = {
		.addr_lo = ZW_LO32(addr),
		.addr_hi = ZW_HI32(addr),
		.size_lo = ZW_LO32(bytes),
		.size_hi = ZW_HI32(bytes),
	};

	return zw_sim_mbox_call(sim, ZW_MSG_SCRUB_HBM, &m, sizeof(m), NULL, 0);
}

void zw_sim_hbm_free(struct sim *sim, uint64_t addr, uint64_t bytes, bool dirty)
{
	struct sim_hbm *h = &sim->hbm;
	struct sim_extent **link, *e, *prev = NULL, *node;

	if (dirty && scrub(sim, addr, bytes))
		return; /* lost to the allocator rather than handed out unscrubbed */
	node = malloc(sizeof(*node));
	pthread_mutex_lock(&h->lock);
	for (link = &h->free; (e = *link) && e->start < addr; link = &e->next)
		prev = e;
	if (prev && prev->end == addr) {
		prev->end += bytes;
		if (e && e->start == prev->end) {
			prev->end = e->end;
			prev->next = e->next;
			free(e);
		}
	} else if (e && e->start == addr + bytes) {
		e->start = addr;
	} else if (node) {
		node->start = addr;
		node->end = addr + bytes;
		node->next = e;
		*link = node;
		node = NULL;
	} else {
		bytes = 0; /* no memory to remember it by: leaked until the device is closed */
	}
	h->available += bytes;
	pthread_mutex_unlock(&h->lock);
	free(node);
}

/* -- buffers --------------------------------------------------------------------------------- */

int zw_sim_bo_create(struct zw_bo *bo)
{
	struct sim *sim = sim_of(bo->dev);
	struct sim_bo *b;
	int ret;

	if (atomic_load(&sim->lost))
		return -ENODEV;
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->sim = sim;
	atomic_init(&b->refs, 1);
	b->bytes = bo->size;
	b->system = bo->flags & ZW_BO_SYSTEM;
	if (b->system) {
		struct sim_region r;

		ret = zw_sim_region_new(sim, b->bytes, &r);
		b->addr = r.dma;
		b->ptr = r.ptr;
	} else {
		ret = zw_sim_hbm_alloc(sim, b->bytes,
				       b->bytes >= BIG_PAGE ? BIG_PAGE : ZW_PAGE_SIZE, &b->addr);
		b->ptr = sim->hbm_base + b->addr;
	}
	if (ret) {
		free(b);
		return ret;
	}
	bo->priv = b;
	return 0;
}

void zw_sim_bo_get(struct sim_bo *bo)
{
	atomic_fetch_add(&bo->refs, 1);
}

void zw_sim_bo_put(struct sim_bo *bo)
{
	if (atomic_fetch_sub(&bo->refs, 1) != 1)
		return;
	if (bo->system) {
		struct sim_region r = {.dma = bo->addr, .bytes = bo->bytes, .ptr = bo->ptr};

		zw_sim_region_free(bo->sim, &r);
	} else {
		zw_sim_hbm_free(bo->sim, bo->addr, bo->bytes, true);
	}
	free(bo);
}

void zw_sim_bo_destroy(struct zw_bo *bo)
{
	zw_sim_bo_put(bo->priv);
}

int zw_sim_bo_map(struct zw_bo *bo, void **ptr)
{
	struct sim_bo *b = bo->priv;

	*ptr = b->ptr;
	return 0;
}

void zw_sim_bo_unmap(struct zw_bo *bo, void *ptr)
{
}

/* How far a queue has to come. */
struct goal {
	uint64_t queue; /* its serial number */
	uint64_t upto;
};

static bool reached(struct sim *sim, const struct goal *goals, size_t n)
{
	for (struct sim_queue *q = sim->queues; q; q = q->next)
		for (size_t i = 0; i < n; i++)
			if (goals[i].queue == q->serial && q->completed < goals[i].upto)
				return false;
	return true; /* a queue that is gone has no unfinished job */
}

/* What counts is what was submitted when the wait began, else a busy client would never let it end. */
static int goals_of(struct sim *sim, const struct sim_bo *bo, struct goal **out, size_t *n)
{
	struct goal *goals;

	*n = 0;
	for (struct sim_queue *q = sim->queues; q; q = q->next)
		++*n;
	goals = calloc(*n + 1, sizeof(*goals));
	if (!goals)
		return -ENOMEM;
	*n = 0;
	for (struct sim_queue *q = sim->queues; q; q = q->next)
		if (q->completed < q->submitted && zw_sim_vm_maps(q->vm, bo))
			goals[(*n)++] = (struct goal){q->serial, q->submitted};
	*out = goals;
	return 0;
}

int zw_sim_bo_wait(struct zw_bo *bo, int64_t deadline_ns)
{
	struct sim *sim = sim_of(bo->dev);
	struct goal *goals = NULL;
	bool in_time = true, idle = false;
	size_t n = 0;
	int ret;

	pthread_mutex_lock(&sim->lock);
	ret = goals_of(sim, bo->priv, &goals, &n);
	while (!ret && !(idle = reached(sim, goals, n)) && in_time && !atomic_load(&sim->lost))
		in_time = zw_sim_cond_wait(&sim->changed, &sim->lock, deadline_ns);
	pthread_mutex_unlock(&sim->lock);
	free(goals);
	if (ret || idle)
		return ret;
	return atomic_load(&sim->lost) ? -ENODEV : -ETIME;
}

int zw_sim_bo_set_label(struct zw_bo *bo, const char *label)
{
	struct sim_bo *b = bo->priv;

	zw_sim_log(b->sim, ZW_DEV_LOG_DEBUG, "%s buffer at 0x%llx, %llu bytes: %.200s",
		   b->system ? "system" : "HBM", (unsigned long long)b->addr,
		   (unsigned long long)b->bytes, label ? label : "");
	return 0;
}

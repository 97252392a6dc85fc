// SPDX-License-Identifier: MIT
/*
 * Memory of the sim transport: the table that turns DMA addresses into memory of this process, the
 * HBM allocator, and buffers made of either.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sim.h"
#include "zw_copy.h"
#include "zw_core.h"

#define DMA_FIRST                                                                                  \
	0x100000000ull /* not 0, and not what fits 32 bits: truncation shows up as a bus error */
#define DMA_GUARD (1ull << 20) /* never handed out, between regions */
#define BIG_PAGE  (2ull << 20)
#define HUGE_PAGE (1ull << 30)

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
		if (!sim->dma.regions[i].user)
			munmap(sim->dma.regions[i].ptr, sim->dma.regions[i].bytes);
	free(sim->dma.regions);
	pthread_mutex_destroy(&sim->hbm.lock);
	pthread_rwlock_destroy(&sim->dma.lock);
}

/* -- system memory --------------------------------------------------------------------------- */

int zw_sim_region_insert(struct sim *sim, struct sim_region *region)
{
	struct sim_dma *d = &sim->dma;
	int ret = 0;

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
	if (!ret && d->next + region->bytes + DMA_GUARD > ZW_PTE_ADDR_MASK)
		ret = -ENOMEM;
	if (!ret) {
		region->dma = d->next;
		d->regions[d->count++] = *region;
		d->next = (d->next + region->bytes + DMA_GUARD + BIG_PAGE - 1) & ~(BIG_PAGE - 1);
	}
	pthread_rwlock_unlock(&d->lock);
	return ret;
}

int zw_sim_region_add(struct sim *sim, void *ptr, uint64_t bytes, struct sim_region *out)
{
	*out = (struct sim_region){.bytes = bytes, .ptr = ptr};
	return zw_sim_region_insert(sim, out);
}

int zw_sim_region_new(struct sim *sim, uint64_t bytes, struct sim_region *out)
{
	void *ptr;
	int ret;

	bytes = (bytes + ZW_PAGE_SIZE - 1) & ~(uint64_t)(ZW_PAGE_SIZE - 1);
	ptr = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		   -1, 0);
	if (ptr == MAP_FAILED)
		return -ENOMEM;
	ret = zw_sim_region_add(sim, ptr, bytes, out);
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
	if (!region->user)
		munmap(region->ptr, region->bytes);
	memset(region, 0, sizeof(*region));
}

/* The region lock is held during the copy, so memory cannot go away under it. */
int zw_sim_dma_read(void *opaque, unsigned int function, uint64_t addr, void *buf, size_t len)
{
	struct sim *sim = opaque;
	struct sim_region *r;
	int ret = -EIO;

	if (function)
		return -EIO; /* there is one */
	pthread_rwlock_rdlock(&sim->dma.lock);
	r = find(&sim->dma, addr);
	if (r && len <= r->bytes - (addr - r->dma)) {
		ret = 0;
		if (r->user)
			ret = zw_sim_user_read(r, addr - r->dma, buf, len);
		else
			zw_copy_from(buf, r->ptr + (addr - r->dma), len);
	}
	pthread_rwlock_unlock(&sim->dma.lock);
	return ret;
}

int zw_sim_dma_write(void *opaque, unsigned int function, uint64_t addr, const void *buf,
		     size_t len)
{
	struct sim *sim = opaque;
	struct sim_region *r;
	int ret = -EIO;

	if (function)
		return -EIO; /* there is one */
	pthread_rwlock_rdlock(&sim->dma.lock);
	r = find(&sim->dma, addr);
	if (r && len <= r->bytes - (addr - r->dma)) {
		ret = 0;
		if (r->user)
			ret = zw_sim_user_write(r, addr - r->dma, buf, len);
		else
			zw_copy_to(r->ptr + (addr - r->dma), buf, len);
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

/* System memory behind a descriptor of its own, so that it can be shared. */
static int shared_new(struct sim_bo *b)
{
	struct sim_region r;
	void *ptr;
	int ret;

	b->fd = memfd_create("zhenwu-bo", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (b->fd < 0)
		return -errno;
	/* Sealed: whoever gets it can rely on its size. */
	if (ftruncate(b->fd, (off_t)b->bytes) ||
	    fcntl(b->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		ret = errno == EFBIG || errno == EINVAL ? -ENOMEM : -errno;
		goto close_fd;
	}
	ptr = mmap(NULL, b->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, b->fd, 0);
	if (ptr == MAP_FAILED) {
		ret = -ENOMEM;
		goto close_fd;
	}
	ret = zw_sim_region_add(b->sim, ptr, b->bytes, &r);
	if (ret) {
		munmap(ptr, b->bytes);
		goto close_fd;
	}
	b->addr = r.dma;
	b->ptr = r.ptr;
	return 0;

close_fd:
	close(b->fd);
	return ret;
}

static struct sim_bo *bo_new(struct sim *sim, uint64_t bytes, bool system)
{
	struct sim_bo *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->sim = sim;
	atomic_init(&b->refs, 1);
	b->bytes = bytes;
	b->system = system;
	b->fd = -1;
	return b;
}

/* HBM first, when it may be in both. */
static int place(struct sim_bo *b, uint32_t flags)
{
	struct sim *sim = b->sim;
	int ret = -ENOMEM;

	/* The larger the pages, the fewer translations; where a whole one does not fit smaller ones may. */
	if (flags & ZW_BO_HBM && b->bytes >= HUGE_PAGE)
		ret = zw_sim_hbm_alloc(sim, b->bytes, HUGE_PAGE, &b->addr);
	if (flags & ZW_BO_HBM && ret)
		ret = zw_sim_hbm_alloc(sim, b->bytes,
				       b->bytes >= BIG_PAGE ? BIG_PAGE : ZW_PAGE_SIZE, &b->addr);
	if (!ret) {
		b->ptr = sim->hbm_base + b->addr;
		return 0;
	}
	if (!(flags & ZW_BO_SYSTEM))
		return ret;
	b->system = true;
	return shared_new(b);
}

int zw_sim_bo_create(struct zw_bo *bo)
{
	struct sim *sim = sim_of(bo->dev);
	struct sim_bo *b;
	int ret;

	if (atomic_load(&sim->lost))
		return -ENODEV;
	b = bo_new(sim, bo->size, false);
	if (!b)
		return -ENOMEM;
	ret = place(b, bo->flags);
	if (ret) {
		free(b);
		return ret;
	}
	bo->priv = b;
	return 0;
}

int zw_sim_bo_export(struct zw_bo *bo, int *fd)
{
	struct sim_bo *b = bo->priv;

	if (!b->system)
		return -EOPNOTSUPP;
	*fd = fcntl(b->fd, F_DUPFD_CLOEXEC, 0);
	return *fd < 0 ? -errno : 0;
}

/*
 * What could be cut off under us would end the process with SIGBUS at the next access: a memfd has to
 * be sealed against it. A dma-buf has no seals and needs none; of other files nothing is known.
 */
static int check_shareable(int fd)
{
	char path[64], target[64];
	int seals = fcntl(fd, F_GET_SEALS);
	ssize_t n;

	if (seals >= 0)
		return seals & F_SEAL_SHRINK && !(seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
			       ? 0
			       : -EACCES;
	if (errno == EBADF)
		return -EINVAL;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target) - 1);
	target[n < 0 ? 0 : n] = '\0';
	return strstr(target, "/dmabuf:") ? 0 : -EINVAL;
}

int zw_sim_bo_import(struct zw_bo *bo, int fd)
{
	struct sim *sim = sim_of(bo->dev);
	int ret = check_shareable(fd);
	struct sim_region r;
	struct sim_bo *b;
	off_t bytes;

	if (ret)
		return ret;
	bytes = lseek(fd, 0, SEEK_END);
	if (bytes <= 0 || (uint64_t)bytes % ZW_PAGE_SIZE)
		return -EINVAL;
	b = bo_new(sim, (uint64_t)bytes, true);
	if (!b)
		return -ENOMEM;
	b->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (b->fd < 0) {
		ret = -errno;
		goto free_bo;
	}
	b->ptr = mmap(NULL, b->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, b->fd, 0);
	if (b->ptr == MAP_FAILED) {
		ret = errno == EACCES ? -EACCES : -ENOMEM;
		goto close_fd;
	}
	ret = zw_sim_region_add(sim, b->ptr, b->bytes, &r);
	if (ret)
		goto unmap;
	b->addr = r.dma;
	bo->size = b->bytes;
	bo->flags = ZW_BO_SYSTEM;
	bo->priv = b;
	return 0;

unmap:
	munmap(b->ptr, b->bytes);
close_fd:
	close(b->fd);
free_bo:
	free(b);
	return ret;
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
		struct sim_region r = {
			.dma = bo->addr, .bytes = bo->bytes, .ptr = bo->ptr, .user = bo->fd < 0};

		zw_sim_region_free(bo->sim, &r);
		if (bo->fd >= 0)
			close(bo->fd);
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

/* How far a queue, or the binds of a VM, have to come. */
struct goal {
	uint64_t serial;
	uint64_t upto;
};

static bool reached(struct sim *sim, const struct goal *goals, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (const struct sim_queue *q = sim->queues; q; q = q->next)
			if (goals[i].serial == q->serial && q->completed < goals[i].upto)
				return false;
		for (const struct sim_vm *vm = sim->binding_vms; vm; vm = vm->next)
			if (goals[i].serial == vm->serial && vm->binds_done < goals[i].upto)
				return false;
	}
	return true; /* a queue that is gone has no unfinished job */
}

/* What counts is what was submitted when the wait began, else a busy client would never let it end. */
static int goals_of(struct sim *sim, const struct sim_bo *bo, struct goal **out, size_t *n)
{
	struct goal *goals;

	*n = 0;
	for (struct sim_queue *q = sim->queues; q; q = q->next)
		++*n;
	for (struct sim_vm *vm = sim->binding_vms; vm; vm = vm->next)
		++*n;
	goals = calloc(*n + 1, sizeof(*goals));
	if (!goals)
		return -ENOMEM;
	*n = 0;
	for (struct sim_queue *q = sim->queues; q; q = q->next)
		if (q->completed < q->submitted && zw_sim_vm_maps(q->vm, bo))
			goals[(*n)++] = (struct goal){q->serial, q->submitted};
	for (struct sim_vm *vm = sim->binding_vms; vm; vm = vm->next)
		if (zw_sim_vm_maps(vm, bo))
			goals[(*n)++] = (struct goal){vm->serial, vm->binds_given};
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

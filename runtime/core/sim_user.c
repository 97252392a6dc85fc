// SPDX-License-Identifier: MIT
/*
 * Memory of the program as system memory of the sim transport's device, in place.
 *
 * The kernel driver pins such pages; here nothing keeps the program from unmapping them under the
 * device. So they are reached through the kernel, which then says so instead of ending the process:
 * the device sees a bus error.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "sim.h"

/* Since Linux 5.14; C libraries learnt it later. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

int zw_sim_user_read(const struct sim_region *r, uint64_t offset, void *buf, size_t len)
{
	struct iovec local = {buf, len}, remote = {r->ptr + offset, len};

	return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == (ssize_t)len ? 0 : -EIO;
}

int zw_sim_user_write(const struct sim_region *r, uint64_t offset, const void *buf, size_t len)
{
	struct iovec local = {(void *)(uintptr_t)buf, len}, remote = {r->ptr + offset, len};

	if (r->readonly)
		return -EIO;
	return process_vm_writev(getpid(), &local, 1, &remote, 1, 0) == (ssize_t)len ? 0 : -EIO;
}

static bool overlaps(const uint8_t *a, uint64_t a_bytes, const uint8_t *b, uint64_t b_bytes)
{
	return a < b + b_bytes && b < a + a_bytes;
}

/* Memory of the device and of buffers is none of the program's, as with the kernel driver. */
static bool is_own(struct sim *sim, const uint8_t *ptr, uint64_t bytes)
{
	bool own = overlaps(ptr, bytes, sim->hbm_base, sim->hbm.size);

	pthread_rwlock_rdlock(&sim->dma.lock);
	for (size_t i = 0; i < sim->dma.count && !own; i++) {
		const struct sim_region *r = &sim->dma.regions[i];

		own = !r->user && overlaps(ptr, bytes, r->ptr, r->bytes);
	}
	pthread_rwlock_unlock(&sim->dma.lock);
	return own;
}

int zw_sim_bo_from_ptr(struct zw_bo *bo)
{
	bool readonly = bo->flags & ZW_BO_READONLY;
	struct sim *sim = bo->dev->priv;
	struct sim_region r = {
		.ptr = bo->user, .bytes = bo->size, .user = true, .readonly = readonly};
	struct sim_bo *b;
	uint8_t byte;
	int ret;

	if (atomic_load(&sim->lost))
		return -ENODEV;
	if (is_own(sim, r.ptr, r.bytes))
		return -EFAULT;
	/* All of it is there, and may be read or written: as pinning does, without the pins. */
	if (madvise(bo->user, bo->size, readonly ? MADV_POPULATE_READ : MADV_POPULATE_WRITE))
		return errno == EAGAIN ? -ENOMEM : -EFAULT;
	if (zw_sim_user_read(&r, 0, &byte, 1))
		return errno == EFAULT ? -EFAULT : -EOPNOTSUPP; /* a sandbox has no such calls */
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	ret = zw_sim_region_insert(sim, &r);
	if (ret) {
		free(b);
		return ret;
	}
	b->sim = sim;
	atomic_init(&b->refs, 1);
	b->bytes = bo->size;
	b->system = true;
	b->fd = -1;
	b->addr = r.dma;
	b->ptr = bo->user;
	bo->priv = b;
	return 0;
}

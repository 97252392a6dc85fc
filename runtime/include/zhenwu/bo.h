/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu: buffer objects, memory that the device can be given access to.
 */
#ifndef ZHENWU_BO_H
#define ZHENWU_BO_H

#include "base.h"
#include "device.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A buffer object. */
struct zw_bo;

/** Where a buffer may be, HBM or SYSTEM or both: then in HBM as long as there is some. */
enum zw_bo_flags {
	ZW_BO_HBM = 1 << 0,         /**< device memory */
	ZW_BO_SYSTEM = 1 << 1,      /**< host memory, reached by DMA; alone it is always mappable */
	ZW_BO_CPU_VISIBLE = 1 << 2, /**< with HBM: where the host can map it */
	ZW_BO_NO_EVICT = 1 << 3,    /**< stays where it was made, also when others need the room */
	ZW_BO_USERPTR = 1 << 4,     /**< memory of the process: zw_bo_from_ptr() makes such */
	ZW_BO_READONLY = 1 << 5,    /**< of zw_bo_from_ptr(): the device may only read it */
};

/**
 * Allocates a buffer. Its contents are zero.
 *
 * @param size   bytes, not 0; rounded up to whole pages, see zw_bo_size()
 * @param flags  enum zw_bo_flags
 * @return 0; -EINVAL; -ENOMEM when the placement has no room; -ENODEV
 * Thread safe.
 */
ZW_API int zw_bo_create(struct zw_dev *dev, uint64_t size, uint32_t flags, struct zw_bo **out);

/**
 * A buffer over memory that the process has: nothing is copied, device and host see each other's
 * writes as with zw_bo_map(), which gives `ptr`. It is placed in SYSTEM memory.
 *
 * On drm the pages are pinned until the buffer is gone, that is destroyed and not mapped by any VM:
 * the device keeps them, whatever becomes of the addresses. They count against RLIMIT_MEMLOCK. On
 * sim the device reads and writes at these addresses: what is unmapped is a bus error of the job.
 *
 * With ZW_BO_READONLY the device reads the very pages of a file that is mapped MAP_SHARED; of a
 * private mapping the pages become the process's own first. zw_vm_map() of such a buffer needs
 * ZW_VM_MAP_READONLY, otherwise it is -EACCES.
 *
 * @param ptr    page aligned
 * @param size   bytes, whole pages, not 0
 * @param flags  0 or ZW_BO_READONLY
 * @return 0; -EINVAL misaligned, empty or unknown flags; -EFAULT when not all of it is there with the
 *         rights that are needed, or it is memory of a device or of a buffer, or, to be written to, a
 *         shared mapping of a file whose file system does not allow it; -ENOMEM, also for more than
 *         RLIMIT_MEMLOCK; -EOPNOTSUPP on a driver before 2.2; -ENODEV
 * Thread safe.
 */
ZW_API int zw_bo_from_ptr(struct zw_dev *dev, void *ptr, uint64_t size, uint32_t flags,
			  struct zw_bo **out);

/**
 * Gives up the handle and its CPU mapping. Address spaces that map the buffer keep the memory alive
 * until they unmap it, so this may follow zw_vm_map() at once. Not thread safe for the same buffer.
 */
ZW_API void zw_bo_destroy(struct zw_bo *bo);

/**
 * Maps the whole buffer into the process, readable and writable; a second call gives the same
 * address. The mapping lasts until zw_bo_destroy(). Device and host see each other's writes: the
 * host's before a submit are seen by the job, the job's once its fence signalled.
 *
 * @return 0; -EACCES for what may be in HBM and is not CPU visible; -ENOMEM; -ENODEV
 * Thread safe.
 */
ZW_API int zw_bo_map(struct zw_bo *bo, void **ptr);

/** Bytes of the buffer, a multiple of the page size. Thread safe. */
ZW_API uint64_t zw_bo_size(const struct zw_bo *bo);

/** Its enum zw_bo_flags. Thread safe. */
ZW_API uint32_t zw_bo_flags(const struct zw_bo *bo);

/**
 * Waits until no submitted job of an address space that maps the buffer is unfinished.
 * @return 0; -ETIME when the deadline passed; -ENODEV
 * Thread safe.
 */
ZW_API int zw_bo_wait(struct zw_bo *bo, int64_t deadline_ns);

/**
 * A file descriptor that stands for the buffer's memory (a dma-buf on drm, a sealed memfd on sim),
 * for zw_bo_import() of another device or process, or for another driver. The caller closes it.
 * On drm HBM goes to another device as such where that reaches it, else it is moved to memory: see
 * "Zhenwu dma-bufs" in drm/zhenwu_accel.h.
 * @return 0; -EOPNOTSUPP for memory that cannot be shared: that of zw_buffer_create(), HBM on sim,
 *         what the driver refuses on drm; -EMFILE; -ENODEV
 * Thread safe.
 */
ZW_API int zw_bo_export(struct zw_bo *bo, int *fd);

/**
 * A buffer of the memory behind a descriptor, which stays the caller's. Both sides see each other's
 * writes.
 * @return 0; -EINVAL not memory, empty or no whole pages; -EACCES memory that its owner could cut
 *         off (a memfd that is not sealed against shrinking); -EOPNOTSUPP; -ENOMEM; -ENODEV
 * Thread safe.
 */
ZW_API int zw_bo_import(struct zw_dev *dev, int fd, struct zw_bo **out);

/** Names the buffer for debugging (less than 4096 bytes; NULL removes the name). Thread safe. */
ZW_API int zw_bo_set_label(struct zw_bo *bo, const char *label);

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_BO_H */

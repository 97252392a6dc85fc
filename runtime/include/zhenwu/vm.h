/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu: address spaces of the device.
 *
 * Every address in a command buffer is a 48-bit address of the VM of its queue. The lower half,
 * [va_start, 2^47) with va_start of struct zw_dev_attrs, is the caller's to lay out with zw_vm_map();
 * from there to va_end addresses belong to the library's allocator behind zw_vm_map_auto() and
 * zw_buffer_create(). A buffer of zw_buffer_create() can be mapped in its own VM only.
 */
#ifndef ZHENWU_VM_H
#define ZHENWU_VM_H

#include "base.h"
#include "bo.h"
#include "device.h"

#ifdef __cplusplus
extern "C" {
#endif

/** An address space. */
struct zw_vm;

/** First address of the part that the library's allocator hands out. */
#define ZW_VM_AUTO_START (1ull << 47)

/** Flags of a mapping. */
enum zw_vm_map_flags {
	ZW_VM_MAP_READONLY = 1 << 0, /**< the device may not write through it */
};

/** Makes an empty address space. -ENOSPC when the device has none left. Thread safe. */
ZW_API int zw_vm_create(struct zw_dev *dev, struct zw_vm **out);

/** What an address space is for. */
enum zw_vm_flags {
	/** Its queues are user-mode queues (ZW_QUEUE_USER), whose jobs may take for ever. */
	ZW_VM_LONG_RUNNING = 1 << 0,
};

/** How to make an address space. */
struct zw_vm_options {
	uint32_t size;  /**< sizeof(struct zw_vm_options) */
	uint32_t flags; /**< enum zw_vm_flags */
};

/**
 * The same with options; NULL: none.
 * @return 0; -EINVAL; -EOPNOTSUPP for long-running ones on a device or driver without user-mode queues;
 *         -ENOSPC; -ENOMEM; -ENODEV
 * Thread safe.
 */
ZW_API int zw_vm_create_with(struct zw_dev *dev, const struct zw_vm_options *opt,
			     struct zw_vm **out);

/**
 * Unmaps everything and destroys the address space.
 * @return 0; -EBUSY while a queue or a buffer of zw_buffer_create() uses it, then nothing happened
 * Not thread safe for the same VM.
 */
ZW_API int zw_vm_destroy(struct zw_vm *vm);

/**
 * Maps bytes [bo_offset, bo_offset + bytes) of a buffer at va, replacing what was mapped there.
 * All three are multiples of the page size; mappings that are 2 MiB aligned in address and memory
 * use large pages.
 *
 * @param flags  enum zw_vm_map_flags
 * @return 0; -EINVAL misaligned, empty, outside of the buffer, below va_start, above 2^47 or a
 *         buffer of another VM; -EACCES a ZW_BO_READONLY buffer without ZW_VM_MAP_READONLY; -ENOMEM;
 *         -ENODEV
 * Thread safe. Submitted jobs may be running: a replaced mapping is gone for them, too.
 */
ZW_API int zw_vm_map(struct zw_vm *vm, struct zw_bo *bo, uint64_t bo_offset, uint64_t va,
		     uint64_t bytes, uint32_t flags);

/**
 * Unmaps all of [va, va + bytes), splitting mappings at its ends. When it returns, no job can reach
 * the memory through these addresses; one that tries faults. Unmapping nothing is no error.
 * @return 0; -EINVAL misaligned, empty, below va_start or above 2^47; -ENOMEM; -ENODEV
 * Thread safe.
 */
ZW_API int zw_vm_unmap(struct zw_vm *vm, uint64_t va, uint64_t bytes);

/**
 * Maps a whole buffer at an address the library picks (2 MiB aligned if the buffer is that large).
 * Unmapped by zw_vm_unmap_auto(). -ENOSPC when the library's part is full. Thread safe.
 */
ZW_API int zw_vm_map_auto(struct zw_vm *vm, struct zw_bo *bo, uint32_t flags, uint64_t *va);

/** Undoes zw_vm_map_auto(). -ENOENT when va is not what one returned. Thread safe. */
ZW_API int zw_vm_unmap_auto(struct zw_vm *vm, uint64_t va);

/**
 * A buffer, its CPU mapping and its device address in one: what most programs want.
 * Filled by zw_buffer_create(); all zero is an empty one.
 */
struct zw_buffer {
	struct zw_bo *bo;
	struct zw_vm *vm;
	void *ptr;      /**< CPU mapping; NULL for HBM that is not CPU visible */
	uint64_t va;    /**< device address in vm */
	uint64_t bytes; /**< size, whole pages */
};

/**
 * zw_bo_create() + zw_vm_map_auto() + (unless it is invisible HBM) zw_bo_map(). On failure *buf is
 * all zero. Thread safe.
 */
ZW_API int zw_buffer_create(struct zw_vm *vm, uint64_t size, uint32_t bo_flags,
			    struct zw_buffer *buf);

/** Undoes zw_buffer_create() and zeroes *buf; an empty one is allowed. Thread safe on other
 * buffers. */
ZW_API void zw_buffer_destroy(struct zw_buffer *buf);

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_VM_H */

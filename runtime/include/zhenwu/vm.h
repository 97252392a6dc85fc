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
#include "fence.h"

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
 * Unmaps everything and destroys the address space. Binds of zw_vm_bind() that still wait come to
 * nothing; what they signal is signalled.
 * @return 0; -EBUSY while a queue or a buffer of zw_buffer_create() uses it, then nothing happened
 * Not thread safe for the same VM.
 */
ZW_API int zw_vm_destroy(struct zw_vm *vm);

/**
 * 0 while the address space is usable; -ECANCELED when a function level reset has lost its memory:
 * binds and submissions are that, too, and those of zw_vm_bind() that waited then were not done;
 * -ENODEV when the device is lost. Thread safe.
 */
ZW_API int zw_vm_status(struct zw_vm *vm);

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

/** What a bind does. */
enum zw_bind_type {
	ZW_BIND_MAP = 0,   /**< as zw_vm_map() */
	ZW_BIND_UNMAP = 1, /**< as zw_vm_unmap() */
	ZW_BIND_SYNC = 2,  /**< nothing, but it waits and signals in its turn */
};

/** One operation of zw_vm_bind(). What its type has no use for is zero. */
struct zw_bind {
	uint32_t size;               /**< sizeof(struct zw_bind), also the stride of arrays */
	uint32_t type;               /**< enum zw_bind_type */
	uint32_t flags;              /**< MAP: enum zw_vm_map_flags */
	uint32_t num_syncs;          /**< at most ZW_BIND_MAX_SYNCS */
	struct zw_bo *bo;            /**< MAP */
	uint64_t bo_offset;          /**< MAP: first byte of the buffer */
	uint64_t va;                 /**< MAP, UNMAP: first address */
	uint64_t bytes;              /**< MAP, UNMAP */
	const struct zw_sync *syncs; /**< read during the call only */
};

/** Most syncs of one bind. */
#define ZW_BIND_MAX_SYNCS      64
/** Most syncs of all binds of one zw_vm_bind(). */
#define ZW_BIND_MAX_CALL_SYNCS 16384
/** Most binds of one zw_vm_bind(). */
#define ZW_BIND_MAX            4096

/**
 * Asynchronous binds: puts operations in the address space's queue of binds and returns. Each waits
 * for the operations before it and for the points it names, is done then, and raises the points it
 * signals. So a job that is to use a mapping waits for the map's point, and an unmap for the point of
 * the last job that uses what it takes out, without anybody waiting in between.
 *
 * All or nothing: on failure none is in the queue and no fence changed. All that an operation can be
 * refused for is found out by the call, memory for page tables included, which is held until the
 * operation is over; nobody knows then what tables there will be, so it may be more than the same map
 * takes at once. A buffer may be destroyed as soon as this returned.
 *
 * zw_vm_map(), zw_vm_unmap() and what is built on them wait until the queue is empty: everything
 * happens in the order of the calls. Between binds and jobs syncs make the order, and nothing else
 * does: a job that runs while the mapping of an address is changed sees the old or the new one, or
 * faults. When an unmap has signalled, no engine can reach the memory through the old addresses any
 * more. zw_bo_wait() waits for binds of the address spaces that map the buffer, too.
 *
 * Binds are not done when the address space was destroyed or lost its memory (zw_vm_status()); what
 * they signal is signalled all the same. When the device is lost, waits for it are -ENODEV.
 *
 * @param count  1..ZW_BIND_MAX
 * @return 0; -EINVAL as zw_vm_map() and zw_vm_unmap(), and as zw_queue_submit() for syncs, but that a
 *         wait may be for what an earlier operation of the call signals; -EACCES as zw_vm_map();
 *         -EOPNOTSUPP for a wait for a point of a user-mode queue or of another device's fence that
 *         this one cannot do, and on a driver before 2.9; -ECANCELED when the address space has lost
 *         its memory; -ENOMEM; -ENODEV
 * Thread safe; the operations of one call stay together.
 */
ZW_API int zw_vm_bind(struct zw_vm *vm, const struct zw_bind *ops, uint32_t count);

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

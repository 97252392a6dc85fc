/* SPDX-License-Identifier: MIT */
/*
 * Zhenwu accelerator: interface between the zhenwu kernel driver and user space.
 */
#ifndef _UAPI_ZHENWU_ACCEL_H_
#define _UAPI_ZHENWU_ACCEL_H_

#include "drm.h"

#if defined(__cplusplus)
extern "C" {
#endif

/**
 * DOC: Zhenwu uAPI rules
 *
 * - The driver minor grows with every addition; user space reads it with DRM_IOCTL_VERSION.
 *   2.0 - first version of the second interface. There is no way to speak the first one.
 *   2.1 - user-mode queues: DRM_ZHENWU_VM_CREATE_LR, rings of QUEUE_CREATE, QUEUE_WAIT
 *   2.2 - buffer objects over memory of the process: BO_CREATE_USERPTR
 *   2.3 - samples of the device: TELEMETRY_SET, TELEMETRY_READ
 *   2.4 - DRM_ZHENWU_BO_FAILED
 *   2.5 - dma-bufs in and out: DRM_ZHENWU_BO_IMPORTED
 *   2.6 - DRM_ZHENWU_DEV_QUERY_RESETS
 *   2.7 - records of single packets: PERF_OPEN, PERF_READ, DRM_ZHENWU_QUEUE_PERF,
 *         DRM_ZHENWU_DEV_QUERY_PERF
 *   2.8 - memory of buffers that can be done without: BO_MADVISE
 *   2.9 - asynchronous binds: DRM_ZHENWU_VM_BIND_ASYNC, DRM_ZHENWU_VM_BIND_OP_TYPE_SYNC_ONLY
 *   2.10 - buffers that may be in both memories are moved: see DRM_ZHENWU_BO_NO_EVICT
 *   2.11 - dma-bufs of HBM
 * - Structures are aligned on 64 bits and have the same layout for 32- and 64-bit user space.
 * - Fields are only added at the end. Longer structures from newer user space are accepted when the
 *   unknown part is zero; shorter ones are zero-extended.
 * - Padding, flags without a meaning and fields that are only returned must be zero: anything else
 *   is -EINVAL. What is named here and marked as reserved is -EOPNOTSUPP, so that user space can
 *   tell a driver that does not do it yet from a mistake of its own.
 * - An unknown id or handle is -ENOENT.
 * - Arrays are passed as &struct drm_zhenwu_obj_array, whose stride lets element types grow.
 * - What one client can have of VMs, queues and memory is limited while there are others: -ENOSPC.
 * - Ids of VMs and queues and GEM handles belong to the open file that made them.
 * - Synchronisation is explicit: syncobjs, binary or timeline, with every job and with every
 *   operation of an asynchronous bind. Waiting is done with the DRM_SYNCOBJ ioctls.
 *
 * Life of a client: DEV_QUERY, VM_CREATE, BO_CREATE, VM_BIND, QUEUE_CREATE, then SUBMIT and syncobj
 * waits. Addresses in command buffers are virtual addresses of the VM. Command buffers themselves
 * are not parsed by the kernel: the device validates every packet and its MMU confines it to the
 * VM. Their format is in uapi/zhenwu/zw_cmd.h.
 *
 * A failed job stops its queue for good: later submissions fail with -ECANCELED, QUEUE_GET_STATE
 * tells what happened, the job's fence carries -EIO (refused, faulted), -ETIME (hung) or -ENOMEM.
 * Jobs behind it get -ECANCELED. Other queues, also of the same VM, are not affected. After the
 * device was lost every ioctl but closing returns -ENODEV.
 */

/**
 * DOC: Zhenwu fences and semaphores
 *
 * The kernel may wait for the fence of a job where it needs memory, so a fence must not depend on
 * what user space does, or not for long. A semaphore packet waits for a value in memory that
 * anybody may write, or nobody. The rule:
 *
 * A job of a queue on a VM without DRM_ZHENWU_VM_CREATE_LR has a fence. It may hold semaphore
 * packets, but it may wait in them for no longer than &drm_zhenwu_dev_info.job_timeout_ms at a
 * time: then the kernel ends the queue and the fence signals with -ETIME. The administrator sets
 * the cap; it is the same for all clients, none can raise it. It bounds every wait for a fence:
 * what a queue has in its ring, times the cap.
 *
 * Waits without a bound are for queues on VMs with DRM_ZHENWU_VM_CREATE_LR, whose jobs have no
 * fence the kernel could wait for.
 */

/**
 * DOC: Zhenwu user-mode queues
 *
 * A queue on a VM with DRM_ZHENWU_VM_CREATE_LR has its ring, control block and completions in
 * memory of that VM, which user space maps and fills: a job is put into the ring, the tail is
 * stored, the doorbell is rung, and its end is seen in the completion, all without a system call.
 * Formats and rules are in uapi/zhenwu/zw_queue.h. On all other VMs queues are the kernel's.
 *
 * What QUEUE_CREATE returns in doorbell_offset is mapped with mmap(): one page, shared, writable. A
 * 32-bit write of any value to its first word is the doorbell of this queue and of no other. A
 * child does not inherit the mapping. When the queue is destroyed, or the device reset or removed,
 * the page becomes an ordinary one whose contents mean nothing: writing to it stays harmless.
 *
 * No kernel object depends on these jobs, so there are no syncobjs for them, SUBMIT to such a queue
 * is -EINVAL, and BO_WAIT does not know of them. QUEUE_WAIT sleeps until a completion is there; for
 * its interrupt, user space asks with ZW_RING_F_IRQ or &struct zw_ring_ctrl.wake.
 *
 * A job may wait in a semaphore packet as long as it likes. One that runs and makes no progress is
 * ended like any other. The device trusts nothing in these rings: nonsense in them ends the queue,
 * and nothing else.
 */

/**
 * DOC: Zhenwu dma-bufs
 *
 * DRM_IOCTL_PRIME_HANDLE_TO_FD makes a dma-buf of a buffer: -EOPNOTSUPP for memory of a process,
 * -EINVAL for a buffer that belongs to a VM or is marked as not needed. What comes in by
 * DRM_IOCTL_PRIME_FD_TO_HANDLE is a buffer in system memory; it has to consist of whole pages
 * (-EINVAL), BO_MMAP_OFFSET of it is -EACCES, as the dma-buf itself is mapped. A dma-buf of this
 * device becomes the buffer that it was made of, wherever that is.
 *
 * Of a dma-buf of HBM another device gets the HBM itself when it can reach it: the buffer is
 * DRM_ZHENWU_BO_CPU_VISIBLE, the kernel has CONFIG_PCI_P2PDMA and knows a way between the two, and
 * the other driver takes memory without pages, as this one does. Else the buffer is moved to
 * system memory, with what is in it, and stays there as long as the other device is attached; then
 * the call of the importer may take as long as jobs that use the buffer do, and fails with
 * -EOPNOTSUPP when the buffer may not be there (DRM_ZHENWU_BO_SYSTEM, DRM_ZHENWU_BO_NO_EVICT),
 * with -EBUSY when others are attached to its HBM. While others reach HBM it is not moved, the
 * card is kept awake, and the system does not go to sleep (-EBUSY). When the card is removed they
 * are told: here, jobs that use the buffer get a fault, binds of it are -ENODEV. A function level
 * reset of the card takes what was in the buffer, as for everybody.
 *
 * The memory stays where it is and as it is until the last mapping in a VM is gone. Jobs put no
 * fences on dma-bufs and wait for none there: a syncobj's sync file is carried over with
 * DMA_BUF_IOCTL_IMPORT_SYNC_FILE, what others put there with DMA_BUF_IOCTL_EXPORT_SYNC_FILE.
 */

/** enum drm_zhenwu_ioctl_id - numbers of the ioctls, from DRM_COMMAND_BASE on. */
enum drm_zhenwu_ioctl_id {
	/** @DRM_ZHENWU_DEV_QUERY: Query device information. */
	DRM_ZHENWU_DEV_QUERY = 0,
	/** @DRM_ZHENWU_VM_CREATE: Create an address space. */
	DRM_ZHENWU_VM_CREATE,
	/** @DRM_ZHENWU_VM_DESTROY: Destroy an address space. */
	DRM_ZHENWU_VM_DESTROY,
	/** @DRM_ZHENWU_VM_BIND: Map and unmap buffers in an address space. */
	DRM_ZHENWU_VM_BIND,
	/** @DRM_ZHENWU_VM_GET_STATE: Is an address space usable. */
	DRM_ZHENWU_VM_GET_STATE,
	/** @DRM_ZHENWU_BO_CREATE: Create a buffer object. */
	DRM_ZHENWU_BO_CREATE,
	/** @DRM_ZHENWU_BO_MMAP_OFFSET: Offset for mmap() of a buffer object. */
	DRM_ZHENWU_BO_MMAP_OFFSET,
	/** @DRM_ZHENWU_BO_WAIT: Wait until no job that was submitted uses a buffer object. */
	DRM_ZHENWU_BO_WAIT,
	/** @DRM_ZHENWU_BO_SET_LABEL: Name a buffer object for debugging. */
	DRM_ZHENWU_BO_SET_LABEL,
	/** @DRM_ZHENWU_BO_QUERY_INFO: Size and placement of a buffer object. */
	DRM_ZHENWU_BO_QUERY_INFO,
	/** @DRM_ZHENWU_QUEUE_CREATE: Create a queue. */
	DRM_ZHENWU_QUEUE_CREATE,
	/** @DRM_ZHENWU_QUEUE_DESTROY: Destroy a queue. */
	DRM_ZHENWU_QUEUE_DESTROY,
	/** @DRM_ZHENWU_QUEUE_GET_STATE: State of a queue and its last error. */
	DRM_ZHENWU_QUEUE_GET_STATE,
	/** @DRM_ZHENWU_SUBMIT: Submit jobs to a queue. */
	DRM_ZHENWU_SUBMIT,
	/** @DRM_ZHENWU_QUEUE_WAIT: Sleep until a user-mode queue got somewhere. */
	DRM_ZHENWU_QUEUE_WAIT,
	/** @DRM_ZHENWU_BO_CREATE_USERPTR: Create a buffer object over memory of the process. */
	DRM_ZHENWU_BO_CREATE_USERPTR,
	/** @DRM_ZHENWU_TELEMETRY_SET: Want samples of the device. */
	DRM_ZHENWU_TELEMETRY_SET,
	/** @DRM_ZHENWU_TELEMETRY_READ: Read samples of the device. */
	DRM_ZHENWU_TELEMETRY_READ,
	/** @DRM_ZHENWU_PERF_OPEN: Have what queues do recorded. */
	DRM_ZHENWU_PERF_OPEN,
	/** @DRM_ZHENWU_PERF_READ: Read records of what queues did. */
	DRM_ZHENWU_PERF_READ,
	/** @DRM_ZHENWU_BO_MADVISE: Are the contents of a buffer object needed. */
	DRM_ZHENWU_BO_MADVISE,
};

/**
 * struct drm_zhenwu_obj_array - an array of objects in user memory.
 *
 * With @count 0 the other fields are 0, too. An element holds at least what its type had in version
 * 2.0; longer ones are accepted when the unknown part is zero.
 */
struct drm_zhenwu_obj_array {
	/** @stride: Size of one object as user space knows it: a multiple of 8, at most 4096. */
	__u32 stride;
	/** @count: Number of objects. */
	__u32 count;
	/** @array: User pointer to the first one. */
	__u64 array;
};

/** DRM_ZHENWU_OBJ_ARRAY() - initialise a &struct drm_zhenwu_obj_array that is not empty. */
#define DRM_ZHENWU_OBJ_ARRAY(cnt, ptr) \
	{ .stride = sizeof((ptr)[0]), .count = (cnt), .array = (__u64)(uintptr_t)(ptr) }

/**
 * DRM_ZHENWU_MMAP_RESERVED - offsets from here to DRM_ZHENWU_MMAP_RESERVED_END are no buffers.
 *
 * Doorbells of user-mode queues are there; mmap() of anything else is -EINVAL. Programs of 32 bits
 * reach them, too.
 */
#define DRM_ZHENWU_MMAP_RESERVED	0x080000000000ull
/** DRM_ZHENWU_MMAP_RESERVED_END - see DRM_ZHENWU_MMAP_RESERVED. */
#define DRM_ZHENWU_MMAP_RESERVED_END	0x100000000000ull

/* -- DEV_QUERY -------------------------------------------------------------------------------- */

/** enum drm_zhenwu_dev_query_type - what to query. */
enum drm_zhenwu_dev_query_type {
	/** @DRM_ZHENWU_DEV_QUERY_INFO: &struct drm_zhenwu_dev_info. */
	DRM_ZHENWU_DEV_QUERY_INFO = 0,
	/**
	 * @DRM_ZHENWU_DEV_QUERY_COUNTERS: &struct drm_zhenwu_dev_counters. They count for all
	 * clients: -EACCES without CAP_PERFMON.
	 */
	DRM_ZHENWU_DEV_QUERY_COUNTERS = 1,
	/**
	 * @DRM_ZHENWU_DEV_QUERY_LINKS: Array of &struct drm_zhenwu_dev_link, as many as the device
	 * has links; a device without any gives size 0.
	 */
	DRM_ZHENWU_DEV_QUERY_LINKS = 2,
	/**
	 * @DRM_ZHENWU_DEV_QUERY_PERF: &struct drm_zhenwu_queue_perf of the queue that
	 * &drm_zhenwu_dev_query.object_id names: -ENOENT without one, -EINVAL when it was not made
	 * with DRM_ZHENWU_QUEUE_PERF. (2.7; -EOPNOTSUPP before)
	 */
	DRM_ZHENWU_DEV_QUERY_PERF = 3,
	/** @DRM_ZHENWU_DEV_QUERY_RESETS: &struct drm_zhenwu_dev_resets. */
	DRM_ZHENWU_DEV_QUERY_RESETS = 4,
};

/**
 * struct drm_zhenwu_dev_query - argument of DRM_IOCTL_ZHENWU_DEV_QUERY.
 *
 * With @pointer zero, @size must be zero and is set to the size the kernel knows. Otherwise at most
 * @size bytes are written, and @size becomes the number written.
 */
struct drm_zhenwu_dev_query {
	/** @type: &enum drm_zhenwu_dev_query_type. */
	__u32 type;
	/** @size: Bytes at @pointer. */
	__u32 size;
	/** @pointer: User pointer. */
	__u64 pointer;
	/** @object_id: Object that is asked about; MBZ for what is asked of the device. */
	__u32 object_id;
	/** @pad: MBZ. */
	__u32 pad;
};

/** struct drm_zhenwu_dev_info - constant properties of the device. */
struct drm_zhenwu_dev_info {
	/** @abi_version: ZW_ABI_VERSION of the device. */
	__u32 abi_version;
	/** @fw_version: ZW_FW_VERSION() of the running firmware. */
	__u32 fw_version;
	/** @profile: &enum zw_profile_id. */
	__u32 profile;
	/** @caps: ZW_CAP_* bits. */
	__u32 caps;
	/** @profile_name: NUL-padded text. */
	char profile_name[16];
	/** @hbm_size: Bytes of HBM. */
	__u64 hbm_size;
	/** @hbm_visible: Bytes of it that user space can mmap. */
	__u64 hbm_visible;
	/** @hbm_free: Bytes of HBM not allocated now. */
	__u64 hbm_free;
	/** @va_bits: Width of VM addresses. */
	__u32 va_bits;
	/** @page_size: Smallest unit of VM_BIND. */
	__u32 page_size;
	/** @max_queues: Queues of the device. */
	__u32 max_queues;
	/** @max_vms: VMs of the device. */
	__u32 max_vms;
	/** @max_ring_slots: Most jobs a queue can have in flight. */
	__u32 max_ring_slots;
	/** @max_priority: Highest queue priority this client may ask for. */
	__u32 max_priority;
	/** @reset_count: Device resets since the driver was bound. */
	__u32 reset_count;
	/** @job_timeout_ms: Longest a job may wait in a semaphore packet. */
	__u32 job_timeout_ms;
	/** @va_start: First address VM_BIND maps. */
	__u64 va_start;
	/** @va_end: End of what VM_BIND maps: from here on addresses belong to the kernel. */
	__u64 va_end;
	/**
	 * @uuid: Names this card, in the order of bytes in which a UUID is written, as long as it
	 * stays in its slot: nodes and PCI addresses may be numbered anew.
	 */
	__u8 uuid[16];
	/** @dtypes: Data types the engines compute with: bits of &enum zw_dtype. */
	__u64 dtypes;
	/** @sram_size: Bytes of the on-chip buffer. */
	__u64 sram_size;
	/** @num_links: Ports to other cards that the chip has. */
	__u32 num_links;
	/** @pad: Zero. */
	__u32 pad;
};

/** struct drm_zhenwu_dev_link - a link to another card. */
struct drm_zhenwu_dev_link {
	/** @peer_uuid: &drm_zhenwu_dev_info.uuid of the card at the other end. */
	__u8 peer_uuid[16];
	/** @port: Port on this side. */
	__u32 port;
	/** @peer_port: Port on the other side. */
	__u32 peer_port;
	/** @bytes_per_s: Bandwidth in each direction. */
	__u64 bytes_per_s;
};

/** struct drm_zhenwu_dev_counters - device-wide counters since reset; see ZW_PMU_* in zw_regs.h. */
struct drm_zhenwu_dev_counters {
	/** @busy_ps: Simulated busy time by engine, picoseconds. */
	__u64 busy_ps[8];
	/** @hbm_read: Bytes read from HBM. */
	__u64 hbm_read;
	/** @hbm_written: Bytes written to HBM. */
	__u64 hbm_written;
	/** @sys_read: Bytes read from system memory. */
	__u64 sys_read;
	/** @sys_written: Bytes written to system memory. */
	__u64 sys_written;
	/** @packets: Packets retired. */
	__u64 packets;
	/** @jobs: Jobs completed, failed ones included. */
	__u64 jobs;
	/** @faults: MMU faults. */
	__u64 faults;
	/** @tlb_hits: TLB hits. */
	__u64 tlb_hits;
	/** @tlb_misses: TLB misses. */
	__u64 tlb_misses;
	/** @fw_heartbeat: Firmware heartbeat counter. */
	__u64 fw_heartbeat;
};

/** enum drm_zhenwu_reset_reason - why the device was reset. */
enum drm_zhenwu_reset_reason {
	/** @DRM_ZHENWU_RESET_FW_STOPPED: Its firmware trapped, or could not reach memory. */
	DRM_ZHENWU_RESET_FW_STOPPED = 0,
	/** @DRM_ZHENWU_RESET_FW_SILENT: Its firmware did not answer. */
	DRM_ZHENWU_RESET_FW_SILENT,
	/** @DRM_ZHENWU_RESET_FW_REFUSED: Its firmware refused what it has to do. */
	DRM_ZHENWU_RESET_FW_REFUSED,
	/** @DRM_ZHENWU_RESET_QUEUE_STUCK: A queue that was destroyed did not let go. */
	DRM_ZHENWU_RESET_QUEUE_STUCK,
	/** @DRM_ZHENWU_RESET_FUNCTION: A function level reset was asked for. */
	DRM_ZHENWU_RESET_FUNCTION,
	/** @DRM_ZHENWU_RESET_PCI_ERROR: PCI Express reported an error that is not survived. */
	DRM_ZHENWU_RESET_PCI_ERROR,
};

/**
 * enum drm_zhenwu_reset_rung - what brought the device back. Each comes when the one before failed.
 */
enum drm_zhenwu_reset_rung {
	/** @DRM_ZHENWU_RESET_WARM: Device reset with the firmware image there was; HBM survives. */
	DRM_ZHENWU_RESET_WARM = 0,
	/** @DRM_ZHENWU_RESET_COLD: The same with the image read anew; HBM survives. */
	DRM_ZHENWU_RESET_COLD,
	/** @DRM_ZHENWU_RESET_FLR: Reset of the function, or of the bus; HBM is lost. */
	DRM_ZHENWU_RESET_FLR,
	/** @DRM_ZHENWU_RESET_LOST: Nothing: the device is lost. */
	DRM_ZHENWU_RESET_LOST,
};

/** DRM_ZHENWU_RESET_NEVER - &drm_zhenwu_dev_resets.last_reason of a device that was never reset. */
#define DRM_ZHENWU_RESET_NEVER	0xffffffffu

/** struct drm_zhenwu_dev_resets - resets since the driver was bound. */
struct drm_zhenwu_dev_resets {
	/**
	 * @reasons: How many by &enum drm_zhenwu_reset_reason; zero beyond what the kernel knows.
	 * The sum is &drm_zhenwu_dev_info.reset_count.
	 */
	__u64 reasons[16];
	/** @rungs: How many by &enum drm_zhenwu_reset_rung; those that are over. */
	__u64 rungs[8];
	/** @last_ns: When the last began, CLOCK_BOOTTIME in nanoseconds. */
	__u64 last_ns;
	/** @last_reason: &enum drm_zhenwu_reset_reason of the last, or DRM_ZHENWU_RESET_NEVER. */
	__u32 last_reason;
	/** @pad: Zero. */
	__u32 pad;
};

/* -- VM --------------------------------------------------------------------------------------- */

/** enum drm_zhenwu_vm_create_flags - flags of a VM. */
enum drm_zhenwu_vm_create_flags {
	/**
	 * @DRM_ZHENWU_VM_CREATE_LR: Jobs may run for ever and have no fences: queues on it are
	 * user-mode queues. -EOPNOTSUPP when the device has none: ZW_CAP_USER_QUEUES.
	 */
	DRM_ZHENWU_VM_CREATE_LR = 1 << 0,
};

/** struct drm_zhenwu_vm_create - argument of DRM_IOCTL_ZHENWU_VM_CREATE. */
struct drm_zhenwu_vm_create {
	/** @flags: &enum drm_zhenwu_vm_create_flags. */
	__u32 flags;
	/** @id: Returned VM id, never 0. */
	__u32 id;
};

/** struct drm_zhenwu_vm_destroy - argument of DRM_IOCTL_ZHENWU_VM_DESTROY. */
struct drm_zhenwu_vm_destroy {
	/**
	 * @id: VM id. Queues made on it keep the address space alive. When there are none, or the
	 * last one goes, asynchronous binds that still wait are cancelled.
	 */
	__u32 id;
	/** @pad: MBZ. */
	__u32 pad;
};

/** enum drm_zhenwu_vm_bind_op_flags - flags of a bind operation. */
enum drm_zhenwu_vm_bind_op_flags {
	/** @DRM_ZHENWU_VM_BIND_OP_MAP_READONLY: The device may only read. Maps only. */
	DRM_ZHENWU_VM_BIND_OP_MAP_READONLY = 1 << 0,
	/**
	 * @DRM_ZHENWU_VM_BIND_OP_MAP_SPARSE: Reads give zeroes, writes are dropped; no buffer. Maps
	 * only. Reserved: -EOPNOTSUPP.
	 */
	DRM_ZHENWU_VM_BIND_OP_MAP_SPARSE = 1 << 1,
	/**
	 * @DRM_ZHENWU_VM_BIND_OP_MAP_DUMPABLE: Becomes part of the dump of a job that failed. Maps
	 * only. Reserved: -EOPNOTSUPP.
	 */
	DRM_ZHENWU_VM_BIND_OP_MAP_DUMPABLE = 1 << 2,
	/** @DRM_ZHENWU_VM_BIND_OP_TYPE_MASK: Bits that hold the operation. */
	DRM_ZHENWU_VM_BIND_OP_TYPE_MASK = (int)(0xfu << 28),
	/** @DRM_ZHENWU_VM_BIND_OP_TYPE_MAP: Map; replaces what was there. */
	DRM_ZHENWU_VM_BIND_OP_TYPE_MAP = 0 << 28,
	/**
	 * @DRM_ZHENWU_VM_BIND_OP_TYPE_UNMAP: Unmap all in the range; splits mappings at its ends.
	 */
	DRM_ZHENWU_VM_BIND_OP_TYPE_UNMAP = 1 << 28,
	/**
	 * @DRM_ZHENWU_VM_BIND_OP_TYPE_SYNC_ONLY: Changes nothing, but waits and signals in its
	 * turn. Asynchronous binds only; all other fields are zero. Since 2.9, before -EOPNOTSUPP.
	 */
	DRM_ZHENWU_VM_BIND_OP_TYPE_SYNC_ONLY = 2 << 28,
	/**
	 * @DRM_ZHENWU_VM_BIND_OP_TYPE_MAP_USERPTR: Map memory of the process, whose address is in
	 * bo_offset, without pinning it. Reserved: -EOPNOTSUPP; see BO_CREATE_USERPTR.
	 */
	DRM_ZHENWU_VM_BIND_OP_TYPE_MAP_USERPTR = 3 << 28,
};

/** struct drm_zhenwu_vm_bind_op - one bind operation. */
struct drm_zhenwu_vm_bind_op {
	/** @flags: &enum drm_zhenwu_vm_bind_op_flags. */
	__u32 flags;
	/** @bo_handle: Buffer to map; MBZ for unmap. */
	__u32 bo_handle;
	/** @bo_offset: First byte of the buffer, page aligned; MBZ for unmap. */
	__u64 bo_offset;
	/** @va: First address, page aligned; all of the range is within va_start..va_end. */
	__u64 va;
	/** @size: Bytes, page aligned, not 0. */
	__u64 size;
	/**
	 * @syncs: Array of &struct drm_zhenwu_sync_op, at most 64, and 16384 of all operations of a
	 * call: what an asynchronous bind waits for before it is done and signals when it is. Must
	 * be empty for synchronous ones.
	 */
	struct drm_zhenwu_obj_array syncs;
};

/** enum drm_zhenwu_vm_bind_flags - flags of the ioctl. */
enum drm_zhenwu_vm_bind_flags {
	/**
	 * @DRM_ZHENWU_VM_BIND_ASYNC: Put the operations in the queue of binds of the VM and return.
	 * Since 2.9, before -EOPNOTSUPP.
	 */
	DRM_ZHENWU_VM_BIND_ASYNC = 1 << 0,
};

/**
 * struct drm_zhenwu_vm_bind - argument of DRM_IOCTL_ZHENWU_VM_BIND.
 *
 * Operations are carried out in order, and no other call changes the VM between them. @num_done
 * says how many were done; those stay done. A signal interrupts the call only before the first one:
 * after -EINTR nothing was done and the same call may be repeated, as drmIoctl() does. When an
 * unmap returns, no engine can reach the memory through the old addresses any more.
 *
 * A VM has one queue of binds. Asynchronous calls (DRM_ZHENWU_VM_BIND_ASYNC) put their operations
 * there, and a synchronous one waits until it is empty. So all are done in the order of the calls.
 *
 * - An asynchronous call is all or nothing: on error no operation is in the queue and no syncobj
 *   changed, and @num_done is 0. All that an operation can be refused for is found out by the call:
 *   arguments, limits, memory for page tables, which is held until the operation is over. As
 *   nobody knows then what tables there will be, it may be more than the same bind takes at once.
 *   The buffer is kept, also when its handle is closed.
 * - An operation waits for its syncs, and for the operations before it. A wait needs a fence that
 *   exists, as in SUBMIT; the syncobj of an earlier operation of the same call has one. How what
 *   is waited for ended does not matter.
 * - It signals its syncs when it is done: after an unmap no engine can reach the memory through the
 *   old addresses any more. What an unmap took out is given back a little later.
 * - Between asynchronous binds and jobs syncs make the order, and nothing else does. A job that is
 *   to use a mapping waits for the bind, an unmap for the jobs that use what it takes out. A job
 *   that runs while the mapping of an address is changed sees the old or the new one, or faults.
 * - A device reset in between does not matter: HBM survives it.
 * - The fence of an operation that is not done carries an error, and nothing was changed:
 *   -ECANCELED when the VM became unusable (&enum drm_zhenwu_vm_state) or has neither an id nor
 *   queues any more, as when the file was closed or the process killed, which ends all waiting;
 *   -ENODEV when the device is gone. Those behind it have their turn all the same. There are no
 *   other errors.
 * - BO_WAIT waits for the operations in the queues of the VMs that map the buffer, too.
 */
struct drm_zhenwu_vm_bind {
	/** @vm_id: VM id. */
	__u32 vm_id;
	/** @flags: &enum drm_zhenwu_vm_bind_flags. */
	__u32 flags;
	/** @ops: Array of &struct drm_zhenwu_vm_bind_op, 1..4096 of them. */
	struct drm_zhenwu_obj_array ops;
	/**
	 * @num_done: Returned number of operations that were done: all of them, or on failure the
	 * index of the one that failed. Of an asynchronous call all that are in the queue, or 0.
	 * MBZ on input.
	 */
	__u32 num_done;
	/** @pad: MBZ. */
	__u32 pad;
};

/** enum drm_zhenwu_vm_state - state of a VM. */
enum drm_zhenwu_vm_state {
	/** @DRM_ZHENWU_VM_STATE_USABLE: Binds and submissions work. */
	DRM_ZHENWU_VM_STATE_USABLE,
	/**
	 * @DRM_ZHENWU_VM_STATE_UNUSABLE: Its memory was lost in a function level reset; binds and
	 * submissions are -ECANCELED. Destroy it.
	 */
	DRM_ZHENWU_VM_STATE_UNUSABLE,
};

/** struct drm_zhenwu_vm_get_state - argument of DRM_IOCTL_ZHENWU_VM_GET_STATE. */
struct drm_zhenwu_vm_get_state {
	/** @vm_id: VM id. */
	__u32 vm_id;
	/** @state: Returned &enum drm_zhenwu_vm_state; MBZ on input. */
	__u32 state;
};

/* -- BO --------------------------------------------------------------------------------------- */

/**
 * enum drm_zhenwu_bo_flags - flags of a buffer object.
 *
 * The first two are a mask of placements, of which at least one is named. With both the kernel
 * takes HBM as long as there is some.
 */
enum drm_zhenwu_bo_flags {
	/** @DRM_ZHENWU_BO_HBM: May be in device memory. */
	DRM_ZHENWU_BO_HBM = 1 << 0,
	/**
	 * @DRM_ZHENWU_BO_SYSTEM: May be in system memory, reached by the device through PCI DMA.
	 */
	DRM_ZHENWU_BO_SYSTEM = 1 << 1,
	/**
	 * @DRM_ZHENWU_BO_CPU_VISIBLE: When in HBM, then inside the aperture, so that it can be
	 * mapped. Needs DRM_ZHENWU_BO_HBM. A buffer that can only be in the system can always be
	 * mapped.
	 */
	DRM_ZHENWU_BO_CPU_VISIBLE = 1 << 2,
	/**
	 * @DRM_ZHENWU_BO_NO_EVICT: Stays where it was made. Without it the kernel may move a buffer
	 * among its placements when others need the room, which jobs do not notice (since 2.10):
	 * out of HBM when a buffer that can only be there finds none, and back when a job is
	 * submitted to a VM that maps it and there is room. One that a VM with
	 * DRM_ZHENWU_VM_CREATE_LR maps is not moved.
	 */
	DRM_ZHENWU_BO_NO_EVICT = 1 << 3,
	/**
	 * @DRM_ZHENWU_BO_USERPTR: Memory of a process: made by BO_CREATE_USERPTR, returned by
	 * QUERY_INFO, given to neither.
	 */
	DRM_ZHENWU_BO_USERPTR = 1 << 4,
	/**
	 * @DRM_ZHENWU_BO_READONLY: The device may only read it: a map without
	 * DRM_ZHENWU_VM_BIND_OP_MAP_READONLY is -EACCES. BO_CREATE_USERPTR only.
	 */
	DRM_ZHENWU_BO_READONLY = 1 << 5,
	/**
	 * @DRM_ZHENWU_BO_FAILED: A page of it in HBM had an uncorrectable error: what was there is
	 * lost, and a job that touches it fails with ZW_JOB_ECC. Nothing mends that; a buffer that
	 * is made anew has other pages. Returned by QUERY_INFO, given to nothing.
	 */
	DRM_ZHENWU_BO_FAILED = 1 << 6,
	/**
	 * @DRM_ZHENWU_BO_IMPORTED: It came in as a dma-buf, by DRM_IOCTL_PRIME_FD_TO_HANDLE.
	 * Returned by QUERY_INFO, given to nothing.
	 */
	DRM_ZHENWU_BO_IMPORTED = 1 << 7,
};

/**
 * struct drm_zhenwu_bo_create - argument of DRM_IOCTL_ZHENWU_BO_CREATE. Contents start as zeroes.
 */
struct drm_zhenwu_bo_create {
	/** @size: Bytes, rounded up to pages and returned; not 0. */
	__u64 size;
	/** @flags: &enum drm_zhenwu_bo_flags. */
	__u32 flags;
	/** @handle: Returned GEM handle; MBZ on input. */
	__u32 handle;
	/**
	 * @exclusive_vm_id: VM the buffer will only ever be mapped in, or 0. It then costs nothing
	 * per submission and cannot be shared with other devices or processes; a map in another VM
	 * is -EINVAL.
	 */
	__u32 exclusive_vm_id;
	/** @pad: MBZ. */
	__u32 pad;
};

/**
 * struct drm_zhenwu_bo_create_userptr - argument of DRM_IOCTL_ZHENWU_BO_CREATE_USERPTR.
 *
 * A buffer in system memory whose memory is that of the calling process. Its pages are pinned until
 * the buffer is gone: its handle is closed and no VM maps it. What the process unmaps, maps anew or
 * leaves to a child meanwhile does not change what the device sees. It cannot be mapped by
 * BO_MMAP_OFFSET (-EACCES) nor shared.
 *
 * The pages count against RLIMIT_MEMLOCK of the process, as VmPin and apart from what it locked,
 * unless it has CAP_IPC_LOCK: -ENOMEM. -EFAULT for what is not there, is not the process's to write
 * (to read, with DRM_ZHENWU_BO_READONLY), or cannot be pinned: mappings of devices and of buffer
 * objects, secret memory, DAX, and for writing shared mappings of files on most file systems, but
 * not of tmpfs.
 *
 * With DRM_ZHENWU_BO_READONLY the device reads the very pages of a file that is mapped MAP_SHARED;
 * a private mapping gets a copy of them.
 */
struct drm_zhenwu_bo_create_userptr {
	/** @addr: First address, page aligned. */
	__u64 addr;
	/** @size: Bytes, page aligned, not 0. */
	__u64 size;
	/** @flags: 0 or DRM_ZHENWU_BO_READONLY. */
	__u32 flags;
	/** @handle: Returned GEM handle; MBZ on input. */
	__u32 handle;
	/** @exclusive_vm_id: As in &struct drm_zhenwu_bo_create. */
	__u32 exclusive_vm_id;
	/** @pad: MBZ. */
	__u32 pad;
};

/** struct drm_zhenwu_bo_mmap_offset - argument of DRM_IOCTL_ZHENWU_BO_MMAP_OFFSET. */
struct drm_zhenwu_bo_mmap_offset {
	/** @handle: GEM handle. */
	__u32 handle;
	/** @pad: MBZ. */
	__u32 pad;
	/**
	 * @offset: Returned offset; MBZ on input. -EACCES for a buffer that may be in HBM and is
	 * not CPU visible, for memory of a process and for what was imported.
	 */
	__u64 offset;
};

/** struct drm_zhenwu_bo_wait - argument of DRM_IOCTL_ZHENWU_BO_WAIT. */
struct drm_zhenwu_bo_wait {
	/** @handle: GEM handle. */
	__u32 handle;
	/** @pad: MBZ. */
	__u32 pad;
	/** @timeout_ns: Absolute CLOCK_MONOTONIC time; 0 polls. -ETIMEDOUT when it passes. */
	__s64 timeout_ns;
};

/** DRM_ZHENWU_BO_LABEL_MAX - longest label, NUL included. */
#define DRM_ZHENWU_BO_LABEL_MAX 4096

/** struct drm_zhenwu_bo_set_label - argument of DRM_IOCTL_ZHENWU_BO_SET_LABEL. */
struct drm_zhenwu_bo_set_label {
	/** @handle: GEM handle. */
	__u32 handle;
	/** @pad: MBZ. */
	__u32 pad;
	/** @label: User pointer to a NUL-terminated string; 0 removes the label. */
	__u64 label;
};

/** enum drm_zhenwu_madv - advice of BO_MADVISE. */
enum drm_zhenwu_madv {
	/** @DRM_ZHENWU_MADV_WILLNEED: The contents are needed, as those of every new buffer. */
	DRM_ZHENWU_MADV_WILLNEED = 0,
	/** @DRM_ZHENWU_MADV_DONTNEED: They are not, until told otherwise. */
	DRM_ZHENWU_MADV_DONTNEED = 1,
};

/**
 * struct drm_zhenwu_bo_madvise - argument of DRM_IOCTL_ZHENWU_BO_MADVISE.
 *
 * When memory runs short, of the system or of HBM, the kernel takes that of buffers whose contents
 * are not needed and that no VM maps, those first that have been so for the longest; never of
 * others, and not when there is enough. So a program keeps buffers for later use: unmap, DONTNEED;
 * and later WILLNEED, and if @retained is 1 the contents are what they were. Otherwise the memory
 * is gone for good and the buffer is to be closed: a map of it is -ENODATA, access through mmap()
 * raises SIGBUS, and it counts against no limit any more.
 *
 * -EOPNOTSUPP for memory of a process, for what was imported, and DONTNEED for what was exported.
 */
struct drm_zhenwu_bo_madvise {
	/** @handle: GEM handle. */
	__u32 handle;
	/** @madv: &enum drm_zhenwu_madv. */
	__u32 madv;
	/** @retained: Returned 1 when the contents are there, else 0; MBZ on input. */
	__u32 retained;
	/** @pad: MBZ. */
	__u32 pad;
};

/** struct drm_zhenwu_bo_query_info - argument of DRM_IOCTL_ZHENWU_BO_QUERY_INFO. */
struct drm_zhenwu_bo_query_info {
	/** @handle: GEM handle. */
	__u32 handle;
	/**
	 * @flags: Returned &enum drm_zhenwu_bo_flags it was made with, and DRM_ZHENWU_BO_FAILED;
	 * MBZ on input.
	 */
	__u32 flags;
	/** @size: Returned bytes; MBZ on input. */
	__u64 size;
	/**
	 * @placement: Returned DRM_ZHENWU_BO_HBM or DRM_ZHENWU_BO_SYSTEM: where it is now; MBZ on
	 * input.
	 */
	__u32 placement;
	/** @pad: MBZ. */
	__u32 pad;
};

/* -- queues ----------------------------------------------------------------------------------- */

/** enum drm_zhenwu_queue_priority - priority of a queue; equal to enum zw_queue_priority. */
enum drm_zhenwu_queue_priority {
	/** @DRM_ZHENWU_QUEUE_PRIORITY_LOW: Runs when nothing above wants to. */
	DRM_ZHENWU_QUEUE_PRIORITY_LOW = 0,
	/** @DRM_ZHENWU_QUEUE_PRIORITY_NORMAL: The usual one. */
	DRM_ZHENWU_QUEUE_PRIORITY_NORMAL = 1,
	/** @DRM_ZHENWU_QUEUE_PRIORITY_HIGH: Needs CAP_SYS_NICE. */
	DRM_ZHENWU_QUEUE_PRIORITY_HIGH = 2,
	/** @DRM_ZHENWU_QUEUE_PRIORITY_REALTIME: Needs CAP_SYS_NICE. */
	DRM_ZHENWU_QUEUE_PRIORITY_REALTIME = 3,
};

/** enum drm_zhenwu_queue_flags - flags of a queue. */
enum drm_zhenwu_queue_flags {
	/**
	 * @DRM_ZHENWU_QUEUE_PERF: What it does is recorded, for the stream of this file: -EINVAL
	 * before PERF_OPEN. (2.7)
	 */
	DRM_ZHENWU_QUEUE_PERF = 1 << 0,
};

/** struct drm_zhenwu_queue_create - argument of DRM_IOCTL_ZHENWU_QUEUE_CREATE. */
struct drm_zhenwu_queue_create {
	/** @vm_id: VM the jobs run in. */
	__u32 vm_id;
	/** @priority: &enum drm_zhenwu_queue_priority. */
	__u32 priority;
	/** @ring_slots: Power of two, 8..1024; 0 takes the default of 64. */
	__u32 ring_slots;
	/** @flags: &enum drm_zhenwu_queue_flags. */
	__u32 flags;
	/** @queue_id: Returned queue id, never 0; MBZ on input. */
	__u32 queue_id;
	/** @pad: MBZ. */
	__u32 pad;
	/**
	 * @ring_va: Ring of a user-mode queue, in the VM: as many &struct zw_ring_entry as there
	 * are slots, 64-byte aligned. With a VM that has not DRM_ZHENWU_VM_CREATE_LR this, @ctrl_va
	 * and @completions_va are 0; with one that has, none of them is.
	 */
	__u64 ring_va;
	/**
	 * @ctrl_va: Its &struct zw_ring_ctrl, 64-byte aligned, all zero now. -EFAULT when the
	 * device cannot read it.
	 */
	__u64 ctrl_va;
	/**
	 * @doorbell_offset: Returned offset for mmap() of its doorbell, within
	 * DRM_ZHENWU_MMAP_RESERVED; MBZ on input, and 0 for a queue with a ring of the kernel.
	 */
	__u64 doorbell_offset;
	/**
	 * @completions_va: Its completions, as many &struct zw_completion as there are slots,
	 * 64-byte aligned. (2.1)
	 */
	__u64 completions_va;
};

/** struct drm_zhenwu_queue_destroy - argument of DRM_IOCTL_ZHENWU_QUEUE_DESTROY. */
struct drm_zhenwu_queue_destroy {
	/** @queue_id: Queue id. Its unfinished jobs are cancelled. */
	__u32 queue_id;
	/** @pad: MBZ. */
	__u32 pad;
};

/** enum drm_zhenwu_queue_state_flags - state of a queue. */
enum drm_zhenwu_queue_state_flags {
	/** @DRM_ZHENWU_QUEUE_STATE_FAILED: A job failed; the error fields are valid. */
	DRM_ZHENWU_QUEUE_STATE_FAILED = 1 << 0,
	/** @DRM_ZHENWU_QUEUE_STATE_TIMEDOUT: It made no progress and was reset. */
	DRM_ZHENWU_QUEUE_STATE_TIMEDOUT = 1 << 1,
	/**
	 * @DRM_ZHENWU_QUEUE_STATE_INNOCENT: It was stopped by a device reset that another queue
	 * caused.
	 */
	DRM_ZHENWU_QUEUE_STATE_INNOCENT = 1 << 2,
	/**
	 * @DRM_ZHENWU_QUEUE_STATE_FLR: It was stopped by a function level reset. Its VM is
	 * unusable.
	 */
	DRM_ZHENWU_QUEUE_STATE_FLR = 1 << 3,
	/** @DRM_ZHENWU_QUEUE_STATE_REMOVED: It was stopped because the device was removed. */
	DRM_ZHENWU_QUEUE_STATE_REMOVED = 1 << 4,
};

/**
 * struct drm_zhenwu_queue_get_state - argument of DRM_IOCTL_ZHENWU_QUEUE_GET_STATE.
 *
 * All that is returned is zero on input. The numbers of a user-mode queue are the device's: it is
 * asked, and what it did not look at yet is not in them.
 */
struct drm_zhenwu_queue_get_state {
	/** @queue_id: Queue id. */
	__u32 queue_id;
	/** @state: Returned &enum drm_zhenwu_queue_state_flags. */
	__u32 state;
	/** @status: Returned &enum zw_job_status of the first failed job. */
	__u32 status;
	/** @reason: Returned &enum zw_reason or &enum zw_fault. */
	__u32 reason;
	/** @packet_index: Returned index of the packet. */
	__u32 packet_index;
	/** @fault_access: Returned &enum zw_access. */
	__u32 fault_access;
	/** @fault_va: Returned address of a fault. */
	__u64 fault_va;
	/**
	 * @failed_seqno: Returned number of the failed job, as counted by
	 * &drm_zhenwu_submit.first_seqno.
	 */
	__u64 failed_seqno;
	/**
	 * @submitted: Returned number of jobs submitted; of a user-mode queue, of those that the
	 * device took out of the ring.
	 */
	__u64 submitted;
	/**
	 * @completed: Returned number of jobs the device completed. Jobs cancelled before they
	 * reached it are not counted.
	 */
	__u64 completed;
};

/** enum drm_zhenwu_sync_op_flags - flags of a synchronisation operation. */
enum drm_zhenwu_sync_op_flags {
	/** @DRM_ZHENWU_SYNC_OP_HANDLE_TYPE_MASK: Bits that hold the handle type. */
	DRM_ZHENWU_SYNC_OP_HANDLE_TYPE_MASK = 0xff,
	/** @DRM_ZHENWU_SYNC_OP_HANDLE_TYPE_SYNCOBJ: Binary syncobj. */
	DRM_ZHENWU_SYNC_OP_HANDLE_TYPE_SYNCOBJ = 0,
	/** @DRM_ZHENWU_SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ: Point of a timeline syncobj. */
	DRM_ZHENWU_SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ = 1,
	/** @DRM_ZHENWU_SYNC_OP_WAIT: Wait before the job or bind. */
	DRM_ZHENWU_SYNC_OP_WAIT = 0 << 31,
	/** @DRM_ZHENWU_SYNC_OP_SIGNAL: Signal after the job or bind. */
	DRM_ZHENWU_SYNC_OP_SIGNAL = (int)(1u << 31),
};

/** struct drm_zhenwu_sync_op - one synchronisation operation. */
struct drm_zhenwu_sync_op {
	/** @flags: &enum drm_zhenwu_sync_op_flags. */
	__u32 flags;
	/** @handle: Syncobj handle. */
	__u32 handle;
	/** @timeline_value: Timeline point; MBZ for a binary syncobj. */
	__u64 timeline_value;
};

/** struct drm_zhenwu_job - one job. */
struct drm_zhenwu_job {
	/** @cmd_va: Command buffer, 16-byte aligned; 0 with @cmd_bytes 0 is an empty job. */
	__u64 cmd_va;
	/** @cmd_bytes: Its length, multiple of 16, at most 16 MiB. */
	__u32 cmd_bytes;
	/** @flags: MBZ. */
	__u32 flags;
	/**
	 * @result_va: Where the device writes &struct zw_job_result, 64-byte aligned; 0: nowhere.
	 */
	__u64 result_va;
	/** @syncs: Array of &struct drm_zhenwu_sync_op. */
	struct drm_zhenwu_obj_array syncs;
};

/**
 * struct drm_zhenwu_submit - argument of DRM_IOCTL_ZHENWU_SUBMIT.
 *
 * Jobs of a queue run and complete in order. All or nothing: on error no job was submitted and no
 * syncobj changed.
 */
struct drm_zhenwu_submit {
	/** @queue_id: Queue id. */
	__u32 queue_id;
	/** @pad: MBZ. */
	__u32 pad;
	/**
	 * @jobs: Array of &struct drm_zhenwu_job, 1..64 of them, and no more than the ring has
	 * slots.
	 */
	struct drm_zhenwu_obj_array jobs;
	/**
	 * @first_seqno: Returned number of the first of these jobs; the others follow. Jobs of a
	 * queue are counted from 1. MBZ on input.
	 */
	__u64 first_seqno;
};

/**
 * struct drm_zhenwu_queue_wait - argument of DRM_IOCTL_ZHENWU_QUEUE_WAIT.
 *
 * Sleeps until the 64-bit word at @addr is at least @value. It is looked at when the queue's
 * interrupt arrives, when the queue is stopped, and now and then, in case an interrupt was lost.
 * Returns 0; -ETIME; -ECANCELED when the queue was stopped and the word is not there,
 * QUEUE_GET_STATE tells why; -ENODEV when the device was removed; -EFAULT; -EINTR, then the same
 * call may be repeated.
 */
struct drm_zhenwu_queue_wait {
	/** @queue_id: User-mode queue. */
	__u32 queue_id;
	/** @flags: MBZ. */
	__u32 flags;
	/**
	 * @addr: User pointer to the word, 8-byte aligned: &struct zw_completion.seqno of a job, or
	 * any other word that a job of the queue writes.
	 */
	__u64 addr;
	/** @value: What is waited for. */
	__u64 value;
	/** @timeout_ns: Absolute CLOCK_MONOTONIC time; 0 polls. */
	__s64 timeout_ns;
};

/* -- telemetry -------------------------------------------------------------------------------- */

/** DRM_ZHENWU_TELEMETRY_MIN_US - shortest interval. */
#define DRM_ZHENWU_TELEMETRY_MIN_US	1000u
/** DRM_ZHENWU_TELEMETRY_MAX_US - longest interval. */
#define DRM_ZHENWU_TELEMETRY_MAX_US	60000000u
/** DRM_ZHENWU_TELEMETRY_COUNTERS - counters a sample has room for. */
#define DRM_ZHENWU_TELEMETRY_COUNTERS	56
/** DRM_ZHENWU_TELEMETRY_MAX_READ - most samples of one call. */
#define DRM_ZHENWU_TELEMETRY_MAX_READ	1024

/**
 * struct drm_zhenwu_telemetry_set - argument of DRM_IOCTL_ZHENWU_TELEMETRY_SET.
 *
 * Samples are taken while there is an open file that wants some, at the shortest of the intervals
 * that are wanted, so there may be more than a file asked for; of the host's clock, not of
 * simulated time. They go on after a reset of the device, and end with the last file that wants
 * them.
 *
 * Samples tell what other clients do: -EACCES without CAP_PERFMON, but for @interval_us 0.
 * -EOPNOTSUPP when device or firmware have none.
 */
struct drm_zhenwu_telemetry_set {
	/**
	 * @interval_us: Microseconds between two samples, DRM_ZHENWU_TELEMETRY_MIN_US to
	 * DRM_ZHENWU_TELEMETRY_MAX_US; 0: this file wants none any more.
	 */
	__u32 interval_us;
	/** @flags: MBZ. */
	__u32 flags;
};

/** enum drm_zhenwu_throttle - what slowed the device down. */
enum drm_zhenwu_throttle {
	/** @DRM_ZHENWU_THROTTLE_POWER: The power limit, since the sample before. */
	DRM_ZHENWU_THROTTLE_POWER = 1 << 0,
};

/**
 * struct drm_zhenwu_telemetry_sample - what the device was doing.
 *
 * All but @seq, @time_ns and @reset_count is what the device says.
 */
struct drm_zhenwu_telemetry_sample {
	/** @seq: Number, from 1 on; goes on after a reset. */
	__u64 seq;
	/** @time_ns: CLOCK_MONOTONIC, when the kernel took it in. */
	__u64 time_ns;
	/** @device_us: The clock of the control core when it was taken; 0 at its reset. */
	__u64 device_us;
	/**
	 * @power_mw: Mean power over the simulated time since the sample before; idle power if none
	 * passed.
	 */
	__u32 power_mw;
	/** @temperature_mc: Thousandths of a degree Celsius. */
	__s32 temperature_mc;
	/** @cap_mw: Power limit; 0: none. */
	__u32 cap_mw;
	/** @throttle: &enum drm_zhenwu_throttle. */
	__u32 throttle;
	/** @reset_count: &drm_zhenwu_dev_info.reset_count; counters begin anew when it changes. */
	__u32 reset_count;
	/** @num_counters: Counters that the device has; the rest are 0. */
	__u32 num_counters;
	/**
	 * @counter: Counters of one moment, in the order of the registers from ZW_REG_PMU on in
	 * zw_regs.h: the one at ZW_PMU_x is (ZW_PMU_x - ZW_REG_PMU) / 8.
	 */
	__u64 counter[DRM_ZHENWU_TELEMETRY_COUNTERS];
};

/**
 * struct drm_zhenwu_telemetry_read - argument of DRM_IOCTL_ZHENWU_TELEMETRY_READ.
 *
 * The kernel keeps the last samples (at least 256) for all readers together. Each reader has its
 * position to itself, in @seq. It need not want samples itself as long as some file does.
 *
 * Returns 0 as soon as there is a sample, with as many as there are and fit, and also when none
 * came in time: @count is 0 then. -EACCES without CAP_PERFMON; -ENODATA when nothing is there and
 * nobody wants samples any more; -EINTR, then the same call may be repeated; -ENODEV when the
 * device is gone. A reset is no error: it takes a while until the next sample, and numbers go on.
 */
struct drm_zhenwu_telemetry_read {
	/**
	 * @samples: Array of &struct drm_zhenwu_telemetry_sample, 1..DRM_ZHENWU_TELEMETRY_MAX_READ
	 * of them.
	 */
	struct drm_zhenwu_obj_array samples;
	/**
	 * @seq: Number of the first sample that is wanted; 0: of the next one that is taken.
	 * Returned number of the next one to read. One that cannot be the next yet is -EINVAL.
	 */
	__u64 seq;
	/**
	 * @lost: Returned number of samples between the two numbers that are not there: they were
	 * read too late, or the device did not get them across. MBZ on input.
	 */
	__u64 lost;
	/** @timeout_ns: Absolute CLOCK_MONOTONIC time to wait for a sample; 0 polls. */
	__s64 timeout_ns;
	/** @count: Returned number of samples; MBZ on input. */
	__u32 count;
	/** @flags: MBZ. */
	__u32 flags;
};

/* -- records of single packets ---------------------------------------------------------------- */

/**
 * DOC: Zhenwu records of single packets
 *
 * A file that has opened a stream gets records of the queues that it makes with
 * DRM_ZHENWU_QUEUE_PERF, and of no others: when a job began, what each packet took and waited for,
 * when the job ended, by the simulated clock of the whole device, in which queues share engines and
 * memory (Documentation/device/time.md); and when the kernel handed a job to the device and saw its
 * end. It takes no privilege. How long a packet waited tells that others were there, as a clock
 * does.
 *
 * Times of the device are final. So a record comes when no other queue can add anything that runs
 * earlier, which may be later than the job's fence, and after the queue was destroyed: an idle
 * queue, of whichever client, holds up the records of others for some thousand packets.
 * DRM_ZHENWU_PERF_READ_SETTLE does not wait for queues that have no job.
 *
 * A device reset ends all queues; what was not final then is in no record. The stream goes on, and
 * so it does over system sleep, where queues live on: the device's clock begins anew then, and so
 * do sums. A device with a stream does not sleep by itself.
 */

/** DRM_ZHENWU_PERF_MIN_RECORDS - fewest records that a stream keeps. */
#define DRM_ZHENWU_PERF_MIN_RECORDS	64u
/** DRM_ZHENWU_PERF_MAX_RECORDS - most records that a stream keeps, and most of one PERF_READ. */
#define DRM_ZHENWU_PERF_MAX_RECORDS	65536u

/**
 * struct drm_zhenwu_perf_open - argument of DRM_IOCTL_ZHENWU_PERF_OPEN.
 *
 * A file has one stream (-EEXIST), which lasts as long as the file. -EOPNOTSUPP when device or
 * firmware make no records.
 */
struct drm_zhenwu_perf_open {
	/**
	 * @records: What the kernel keeps for this file until it is read,
	 * DRM_ZHENWU_PERF_MIN_RECORDS to DRM_ZHENWU_PERF_MAX_RECORDS; 0 takes the default of 16384.
	 * Records that come when it is full are lost.
	 */
	__u32 records;
	/** @flags: MBZ. */
	__u32 flags;
};

/** enum drm_zhenwu_perf_kind - what a record tells of. */
enum drm_zhenwu_perf_kind {
	/** @DRM_ZHENWU_PERF_BEGIN: The command processor began a job. */
	DRM_ZHENWU_PERF_BEGIN = 1,
	/** @DRM_ZHENWU_PERF_PACKET: A packet ran. */
	DRM_ZHENWU_PERF_PACKET = 2,
	/** @DRM_ZHENWU_PERF_JOB: A job ended; all its packets come before. */
	DRM_ZHENWU_PERF_JOB = 3,
	/** @DRM_ZHENWU_PERF_SUBMIT: The kernel rang the doorbell for a job. */
	DRM_ZHENWU_PERF_SUBMIT = 4,
	/** @DRM_ZHENWU_PERF_DONE: The kernel saw that a job is over. */
	DRM_ZHENWU_PERF_DONE = 5,
};

/** DRM_ZHENWU_PERF_PORTS - memory ports: HBM; system memory to the device, and the other way. */
#define DRM_ZHENWU_PERF_PORTS	3
/** DRM_ZHENWU_PERF_WAITS - what is waited for: engine, HBM, PCIe, tokens, semaphore. */
#define DRM_ZHENWU_PERF_WAITS	5

/** struct drm_zhenwu_perf_port - how a packet used a memory port; all 0: not at all. */
struct drm_zhenwu_perf_port {
	/** @request_ps: It asked for it, picoseconds of the device's clock as the others. */
	__u64 request_ps;
	/** @start_ps: It was served from then ... */
	__u64 start_ps;
	/** @end_ps: ... until then. */
	__u64 end_ps;
};

/**
 * struct drm_zhenwu_perf_record - a record.
 *
 * All but @queue, and @host_ns with its job, is what the device says; picoseconds are of its clock.
 * Fields that a kind does not name are 0. SUBMIT and DONE are of queues with a ring of the kernel.
 */
struct drm_zhenwu_perf_record {
	/** @kind: &enum drm_zhenwu_perf_kind. */
	__u32 kind;
	/** @queue: Queue id; used again after the queue was destroyed. */
	__u32 queue;
	/** @job: Number of the job, as counted by &drm_zhenwu_submit.first_seqno. */
	__u64 job;
	/** @index: PACKET: number in its job, from 0. */
	__u32 index;
	/** @opcode: PACKET: &enum zw_opcode. */
	__u32 opcode;
	/** @tag: PACKET: &struct zw_pkt.tag. */
	__u32 tag;
	/** @rows: PACKET: rows worked on; 0: none, or it has no rows. */
	__u32 rows;
	/** @engine: BEGIN, PACKET: &enum zw_engine. */
	__u32 engine;
	/** @pad: Zero. */
	__u32 pad;
	/** @release_ps: JOB: the job before it in its queue had ended. */
	__u64 release_ps;
	/** @start_ps: BEGIN, PACKET: its engine took it; JOB: the command processor did. */
	__u64 start_ps;
	/** @end_ps: All of it had ended. */
	__u64 end_ps;
	/** @fixed_ps: BEGIN, PACKET: fixed cost. */
	__u64 fixed_ps;
	/** @compute_ps: PACKET: arithmetic, beside memory. */
	__u64 compute_ps;
	/** @port: PACKET: memory. */
	struct drm_zhenwu_perf_port port[DRM_ZHENWU_PERF_PORTS];
	/** @wait_ps: BEGIN, PACKET: waited for what, one after the other. */
	__u64 wait_ps[DRM_ZHENWU_PERF_WAITS];
	/** @host_ns: SUBMIT, DONE: CLOCK_MONOTONIC. */
	__u64 host_ns;
	/** @energy_pj: PACKET: energy that it took. */
	__u64 energy_pj;
	/** @ops: PACKET: operations of products that it did. */
	__u64 ops;
	/** @hbm_bytes: PACKET: read and written. */
	__u64 hbm_bytes;
	/** @sys_bytes: PACKET: of system memory, likewise. */
	__u64 sys_bytes;
	/** @wait: PACKET: as in &struct zw_pkt; 0 when @ordered. */
	__u16 wait;
	/** @signal: PACKET: as in &struct zw_pkt. */
	__u8 signal;
	/** @ordered: BEGIN, PACKET: waits for all before it, and all behind it for it. */
	__u8 ordered;
	/** @pad2: Zero. */
	__u32 pad2;
};

/** enum drm_zhenwu_perf_read_flags - flags of PERF_READ. */
enum drm_zhenwu_perf_read_flags {
	/**
	 * @DRM_ZHENWU_PERF_READ_SETTLE: First do not wait for queues that have no job, of whichever
	 * client: what they do later begins behind what others have done by now.
	 */
	DRM_ZHENWU_PERF_READ_SETTLE = 1 << 0,
};

/**
 * struct drm_zhenwu_perf_read - argument of DRM_IOCTL_ZHENWU_PERF_READ.
 *
 * Returns 0 as soon as there is a record, with as many as there are and fit, and also when none
 * came in time: @count is 0 then. Each record is given out once. Those of an engine come in the
 * order in which it ran them, others in the order in which their times became final. -EINVAL before
 * PERF_OPEN; -EINTR, then the same call may be repeated; -ENODEV when the device is gone.
 */
struct drm_zhenwu_perf_read {
	/**
	 * @records: Array of &struct drm_zhenwu_perf_record, 1..DRM_ZHENWU_PERF_MAX_RECORDS of
	 * them.
	 */
	struct drm_zhenwu_obj_array records;
	/**
	 * @lost: Returned number of records since PERF_OPEN that are missing: there was no room for
	 * them here, or on their way (then they may have been of another stream). MBZ on input.
	 */
	__u64 lost;
	/** @timeout_ns: Absolute CLOCK_MONOTONIC time to wait for a record; 0 polls. */
	__s64 timeout_ns;
	/** @count: Returned number of records; MBZ on input. */
	__u32 count;
	/** @flags: &enum drm_zhenwu_perf_read_flags. */
	__u32 flags;
};

/**
 * struct drm_zhenwu_queue_perf - what a queue has done, up to the last job whose end is final.
 *
 * Sums of what records tell, and complete even if some of these were lost.
 */
struct drm_zhenwu_queue_perf {
	/** @job: Number of that job; 0: none yet. */
	__u64 job;
	/** @end_ps: When it ended. */
	__u64 end_ps;
	/** @packets: Packets. */
	__u64 packets;
	/** @busy_ps: Time by engine. */
	__u64 busy_ps[8];
	/** @port_busy_ps: Time of memory ports. */
	__u64 port_busy_ps[DRM_ZHENWU_PERF_PORTS];
	/** @wait_ps: What was waited for. */
	__u64 wait_ps[DRM_ZHENWU_PERF_WAITS];
	/** @energy_pj: Energy of packets. */
	__u64 energy_pj;
	/** @ops: Operations of products. */
	__u64 ops;
	/** @hbm_bytes: Bytes of HBM, read and written. */
	__u64 hbm_bytes;
	/** @sys_bytes: Bytes of system memory, likewise. */
	__u64 sys_bytes;
};

#define DRM_IOCTL_ZHENWU(access, id, type) \
	DRM_IO ## access(DRM_COMMAND_BASE + DRM_ZHENWU_ ## id, struct drm_zhenwu_ ## type)

#define DRM_IOCTL_ZHENWU_DEV_QUERY	DRM_IOCTL_ZHENWU(WR, DEV_QUERY, dev_query)
#define DRM_IOCTL_ZHENWU_VM_CREATE	DRM_IOCTL_ZHENWU(WR, VM_CREATE, vm_create)
#define DRM_IOCTL_ZHENWU_VM_DESTROY	DRM_IOCTL_ZHENWU(WR, VM_DESTROY, vm_destroy)
#define DRM_IOCTL_ZHENWU_VM_BIND	DRM_IOCTL_ZHENWU(WR, VM_BIND, vm_bind)
#define DRM_IOCTL_ZHENWU_VM_GET_STATE	DRM_IOCTL_ZHENWU(WR, VM_GET_STATE, vm_get_state)
#define DRM_IOCTL_ZHENWU_BO_CREATE	DRM_IOCTL_ZHENWU(WR, BO_CREATE, bo_create)
#define DRM_IOCTL_ZHENWU_BO_MMAP_OFFSET	DRM_IOCTL_ZHENWU(WR, BO_MMAP_OFFSET, bo_mmap_offset)
#define DRM_IOCTL_ZHENWU_BO_WAIT	DRM_IOCTL_ZHENWU(WR, BO_WAIT, bo_wait)
#define DRM_IOCTL_ZHENWU_BO_SET_LABEL	DRM_IOCTL_ZHENWU(WR, BO_SET_LABEL, bo_set_label)
#define DRM_IOCTL_ZHENWU_BO_QUERY_INFO	DRM_IOCTL_ZHENWU(WR, BO_QUERY_INFO, bo_query_info)
#define DRM_IOCTL_ZHENWU_QUEUE_CREATE	DRM_IOCTL_ZHENWU(WR, QUEUE_CREATE, queue_create)
#define DRM_IOCTL_ZHENWU_QUEUE_DESTROY	DRM_IOCTL_ZHENWU(WR, QUEUE_DESTROY, queue_destroy)
#define DRM_IOCTL_ZHENWU_QUEUE_GET_STATE DRM_IOCTL_ZHENWU(WR, QUEUE_GET_STATE, queue_get_state)
#define DRM_IOCTL_ZHENWU_SUBMIT		DRM_IOCTL_ZHENWU(WR, SUBMIT, submit)
#define DRM_IOCTL_ZHENWU_QUEUE_WAIT	DRM_IOCTL_ZHENWU(WR, QUEUE_WAIT, queue_wait)
#define DRM_IOCTL_ZHENWU_BO_CREATE_USERPTR \
	DRM_IOCTL_ZHENWU(WR, BO_CREATE_USERPTR, bo_create_userptr)
#define DRM_IOCTL_ZHENWU_TELEMETRY_SET	DRM_IOCTL_ZHENWU(WR, TELEMETRY_SET, telemetry_set)
#define DRM_IOCTL_ZHENWU_TELEMETRY_READ	DRM_IOCTL_ZHENWU(WR, TELEMETRY_READ, telemetry_read)
#define DRM_IOCTL_ZHENWU_PERF_OPEN	DRM_IOCTL_ZHENWU(WR, PERF_OPEN, perf_open)
#define DRM_IOCTL_ZHENWU_PERF_READ	DRM_IOCTL_ZHENWU(WR, PERF_READ, perf_read)
#define DRM_IOCTL_ZHENWU_BO_MADVISE	DRM_IOCTL_ZHENWU(WR, BO_MADVISE, bo_madvise)

#if defined(__cplusplus)
}
#endif

#endif /* _UAPI_ZHENWU_ACCEL_H_ */

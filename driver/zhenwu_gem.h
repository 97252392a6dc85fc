/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_GEM_H__
#define __ZHENWU_GEM_H__

#include <linux/dma-mapping.h>

#include <drm/drm_gem_shmem_helper.h>
#include <drm/drm_gpuvm.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu_client.h"
#include "zhenwu_compat.h"
#include "zhenwu_hbm.h"

struct dma_buf;
struct dmem_cgroup_pool_state;
struct drm_file;
struct mem_cgroup;
struct page;
struct seq_file;
struct zhenwu_pins;
struct zhenwu_vm;

/**
 * enum zhenwu_madv - values of @shmem.madv of a buffer, which is under its reservation
 */
enum zhenwu_madv {
	/** @ZHENWU_MADV_PURGED: Its memory was taken; there is no way back. */
	ZHENWU_MADV_PURGED = -1,
	/** @ZHENWU_MADV_NEEDED: It keeps its memory. */
	ZHENWU_MADV_NEEDED = 0,
	/** @ZHENWU_MADV_PURGEABLE: Its memory can be taken while no VM maps it. */
	ZHENWU_MADV_PURGEABLE = 1,
};

/**
 * struct zhenwu_bo - a buffer object in system memory or in HBM
 */
struct zhenwu_bo {
	/**
	 * @shmem: GEM object. For HBM only @shmem.base is in use, for memory of a process and of a
	 * dma-buf that and @shmem.sgt; one type for all keeps every other place free of the
	 * difference.
	 */
	struct drm_gem_shmem_object shmem;

	/** @client: Who is charged for it; NULL: nobody. */
	struct zhenwu_client *client;

	/** @flags: &enum drm_zhenwu_bo_flags it was made with. */
	u32 flags;

	/** @placement: DRM_ZHENWU_BO_HBM or DRM_ZHENWU_BO_SYSTEM: where it is. */
	u32 placement;

	/** @vm_resv: Whose reservation it shares, of the only VM it may be mapped in; or NULL. */
	struct drm_gem_object *vm_resv;

	/** @pins: Memory of a process, or NULL. */
	struct zhenwu_pins *pins;

	/** @imported: dma-buf that it came in as, or NULL. */
	struct dma_buf *imported;

	/** @dmem: Cgroup that its HBM counts against, or NULL; under the lock of all buffers. */
	struct dmem_cgroup_pool_state *dmem;

	/** @blocks: HBM blocks in the order of the buffer. */
	struct list_head blocks;

	/** @node: Entry in the device's list. */
	struct list_head node;

	/** @purge_node: Entry in a list of &struct zhenwu_purge, or empty. */
	struct list_head purge_node;

	/** @pages: System memory of a buffer that was moved out of HBM, or NULL. */
	struct page **pages;

	/** @memcg: Memory cgroup that is charged for @pages: of who made it; or NULL. */
	struct mem_cgroup *memcg;

	/** @evict_node: Entry in the list of those; as @pages under the lock of all buffers. */
	struct list_head evict_node;

	/** @evict_tried: Last round of a search that tried to move it; the same. */
	u64 evict_tried;

	/** @made: When it was made, in jiffies. */
	unsigned long made;

	/** @exported: Others may have its pages, as a dma-buf; under its reservation. */
	bool exported;

	/** @peers: Attached devices that reach HBM, if it was there then: it stays where it is. */
	unsigned int peers;

	/** @peers_buf: Dma-buf that they are attached to, or NULL. */
	struct dma_buf *peers_buf;

	/** @outside: Attached devices that do not reach HBM: it does not go back there. */
	unsigned int outside;

	/** @lost: It was imported, and its exporter took the memory back. */
	bool lost;

	/** @label: Name given by user space, or NULL; under the lock of that list. */
	char *label;
};

/**
 * struct zhenwu_hbm_need - HBM that is missing, which others may have
 */
struct zhenwu_hbm_need {
	/** @client: Who needs it to count less against his share; NULL: it is memory. */
	struct zhenwu_client *client;

	/** @res: ZHENWU_HBM or ZHENWU_VISIBLE, with @client. */
	enum zhenwu_resource res;

	/** @n: Bytes, with @client. */
	u64 n;

	/** @limit: Cgroup whose limit it is that was reached, without @client; or NULL. */
	struct dmem_cgroup_pool_state *limit;

	/** @own: Cgroup of who needs it, or NULL. */
	struct dmem_cgroup_pool_state *own;

	/** @place: Where, without both. */
	enum zhenwu_hbm_place place;
};

/**
 * struct zhenwu_bo_cursor - walks over the memory of a buffer, piece by contiguous piece
 */
struct zhenwu_bo_cursor {
	/** @bo: Buffer. */
	struct zhenwu_bo *bo;

	/** @block: Current HBM block. */
	struct gpu_buddy_block *block;

	/** @sg: Current segment of system memory. */
	struct scatterlist *sg;

	/** @addr: HBM or DMA address the cursor is at. */
	u64 addr;

	/** @len: Contiguous bytes from @addr on. */
	u64 len;
};

static inline struct zhenwu_bo *to_zhenwu_bo(struct drm_gem_object *obj)
{
	return container_of(to_drm_gem_shmem_obj(obj), struct zhenwu_bo, shmem);
}

/**
 * zhenwu_bo_dma_direction() - what the device may do with a buffer in system memory
 * @bo: buffer
 *
 * Return: the direction its memory is DMA mapped with.
 */
static inline enum dma_data_direction zhenwu_bo_dma_direction(const struct zhenwu_bo *bo)
{
	return bo->flags & DRM_ZHENWU_BO_READONLY ? DMA_TO_DEVICE : DMA_BIDIRECTIONAL;
}

/**
 * zhenwu_bo_dma_attrs() - how a buffer in system memory is DMA mapped
 * @bo: buffer
 *
 * Pages of a process may be those of several buffers at a time. Then no mapping may move what is
 * in the CPU's caches or in a bounce buffer: it would be another mapping's too. Nothing has to,
 * this driver counts on coherent DMA.
 *
 * Return: attributes to map and unmap its memory with.
 */
static inline unsigned long zhenwu_bo_dma_attrs(const struct zhenwu_bo *bo)
{
	return bo->pins ? DMA_ATTR_SKIP_CPU_SYNC | DMA_ATTR_DEBUGGING_IGNORE_CACHELINES : 0;
}

/**
 * zhenwu_bo_may_be_in() - may a buffer be mapped in a VM
 * @bo: buffer
 * @gpuvm: gpuvm of the VM
 *
 * Return: false when it belongs to another VM.
 */
static inline bool zhenwu_bo_may_be_in(struct zhenwu_bo *bo, struct drm_gpuvm *gpuvm)
{
	return !bo->vm_resv || bo->vm_resv == drm_gpuvm_resv_obj(gpuvm);
}

struct drm_gem_object *zhenwu_gem_create_object(struct drm_device *drm, size_t size);
void zhenwu_gem_unmap_dma(struct zhenwu_device *zdev);
void zhenwu_gem_show(struct zhenwu_device *zdev, struct seq_file *m);

void zhenwu_bo_track(struct zhenwu_device *zdev, struct zhenwu_bo *bo);
void zhenwu_bo_untrack(struct zhenwu_device *zdev, struct zhenwu_bo *bo);
void zhenwu_bo_set_vm(struct zhenwu_bo *bo, struct zhenwu_vm *vm);
void zhenwu_bo_drop_memory(struct zhenwu_bo *bo);
int zhenwu_bo_charge(struct zhenwu_client *client, u64 bytes, bool visible);
void zhenwu_bo_uncharge(struct zhenwu_client *client, u64 bytes, bool visible);
bool zhenwu_bo_helps(struct zhenwu_bo *bo, const struct zhenwu_hbm_need *need);

void zhenwu_bo_cursor_start(struct zhenwu_bo_cursor *cur, struct zhenwu_bo *bo, u64 offset);
void zhenwu_bo_cursor_advance(struct zhenwu_bo_cursor *cur, u64 bytes);

int zhenwu_ioctl_bo_create(struct drm_device *drm, void *data, struct drm_file *file);
int zhenwu_ioctl_bo_mmap_offset(struct drm_device *drm, void *data, struct drm_file *file);
int zhenwu_ioctl_bo_wait(struct drm_device *drm, void *data, struct drm_file *file);
int zhenwu_ioctl_bo_set_label(struct drm_device *drm, void *data, struct drm_file *file);
int zhenwu_ioctl_bo_query_info(struct drm_device *drm, void *data, struct drm_file *file);

#endif /* __ZHENWU_GEM_H__ */

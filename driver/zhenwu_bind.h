/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_BIND_H__
#define __ZHENWU_BIND_H__

#include <linux/dma-fence.h>
#include <linux/list.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu_gate.h"
#include "zhenwu_pt.h"

struct drm_file;
struct drm_gpuva;
struct drm_gpuvm_bo;
struct zhenwu_bo;
struct zhenwu_vm;

/* A map of one range splits at most one mapping in two, or trims two. */
#define ZHENWU_BIND_MAX_VAS	3

/**
 * struct zhenwu_bind_link - a mapping that is in the VM and not on the list of its buffer yet
 */
struct zhenwu_bind_link {
	/** @va: Mapping. */
	struct drm_gpuva *va;

	/** @from: The mapping it is a piece of; NULL: it is a new one. */
	struct drm_gpuva *from;
};

/**
 * struct zhenwu_bind - an operation under way
 */
struct zhenwu_bind {
	/** @vm: VM. */
	struct zhenwu_vm *vm;

	/** @args: What user space asked for. */
	struct drm_zhenwu_vm_bind_op args;

	/** @bo: Buffer to map, with a reference; NULL: nothing is mapped. */
	struct zhenwu_bo *bo;

	/** @vm_bo: Connection of @bo and @vm. */
	struct drm_gpuvm_bo *vm_bo;

	/** @size: Bytes of the range; 0: nothing is changed. */
	u64 size;

	/** @readonly: Map without write permission. */
	bool readonly;

	/** @entered: It counts as under way. */
	bool entered;

	/** @flush: A valid entry was changed. */
	bool flush;

	/** @flushed: The device has no way to what was taken out; else @gen says until when. */
	bool flushed;

	/** @gen: What zhenwu_reset_wait() takes. */
	u32 gen;

	/** @spare: Mappings allocated in advance. */
	struct drm_gpuva *spare[ZHENWU_BIND_MAX_VAS];

	/** @links: Mappings it put into the VM. */
	struct zhenwu_bind_link links[ZHENWU_BIND_MAX_VAS];

	/** @num_links: Number of them. */
	unsigned int num_links;

	/** @stock: Tables allocated in advance. */
	struct zhenwu_pt_stock stock;

	/** @old_vas: Mappings taken out of the VM, by their rb.entry. */
	struct list_head old_vas;

	/** @old_pts: Tables taken out of the tree. */
	struct list_head old_pts;

	/** @gate: What it waits for; of a synchronous one nothing. */
	struct zhenwu_gate gate;

	/** @opened: Callback on @gate. */
	struct dma_fence_cb opened;

	/** @fence: Signals when it is done; NULL for a synchronous one. */
	struct dma_fence *fence;

	/** @node: Entry in a list of the queue. */
	struct list_head node;
};

struct zhenwu_bind *zhenwu_bind_create(struct zhenwu_vm *vm, struct drm_file *file,
				       const struct drm_zhenwu_vm_bind_op *op, bool interruptible,
				       bool alone);
int zhenwu_bind_run(struct zhenwu_bind *bind);
void zhenwu_bind_destroy(struct zhenwu_bind *bind);

#endif /* __ZHENWU_BIND_H__ */

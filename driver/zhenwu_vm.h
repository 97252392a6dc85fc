/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_VM_H__
#define __ZHENWU_VM_H__

#include <linux/kref.h>
#include <linux/mutex.h>

#include "zhenwu/zw_pte.h"
#include "zhenwu_bind_queue.h"
#include "zhenwu_compat.h"

struct drm_file;
struct seq_file;
struct zhenwu_device;
struct zhenwu_file;
struct zhenwu_pt;

/* What clients map. Below, a small number is no address; above is room for rings of the kernel. */
#define ZHENWU_VA_START	0x10000ull
#define ZHENWU_VA_END	((1ull << ZW_VA_BITS) - (4ull << 30))

/* Flag of a mapping: the device may not write. */
#define ZHENWU_VA_READONLY DRM_GPUVA_USERBITS

/**
 * struct zhenwu_vm - an address space
 *
 * @base counts everybody who looks at the structure, mappings included. @users counts those who
 * keep the address space alive: its id and its queues. When the last user goes, all is unmapped.
 */
struct zhenwu_vm {
	/** @base: Mappings. */
	struct drm_gpuvm base;

	/** @zdev: Device. */
	struct zhenwu_device *zdev;

	/** @client: Who is charged for it, its tables and its queues. */
	struct zhenwu_client *client;

	/** @users: The id in the file, and queues. Binds that wait do not count. */
	struct kref users;

	/** @lock: Serialises calls that change mappings. Held while memory is allocated. */
	struct mutex lock;

	/**
	 * @tree_lock: Protects mappings and tables. A fence may wait for who has it: nothing is
	 * allocated, no reservation taken and no reset waited for under it. Inside of @lock.
	 */
	struct mutex tree_lock;

	/** @binds: Binds that were asked for and are not over. */
	struct zhenwu_bind_queue binds;

	/** @root: Page tables. */
	struct zhenwu_pt *root;

	/** @hw_id: Number the device knows it by. */
	u32 hw_id;

	/** @node: Entry in the device's list; under its hw_lock. */
	struct list_head node;

	/** @on_hw: The firmware knows it; under the device's hw_lock. */
	bool on_hw;

	/** @unusable: The tables were lost with the device. */
	bool unusable;

	/** @last_use: When a job was last submitted to it, in jiffies. */
	unsigned long last_use;

	/** @evict_busy: Last round of a search for HBM that waited for its jobs in vain. */
	u64 evict_busy;

	/** @lr: Its queues are user-mode queues, whose jobs have no fences. */
	bool lr;
};

static inline struct zhenwu_vm *to_zhenwu_vm(struct drm_gpuvm *gpuvm)
{
	return container_of(gpuvm, struct zhenwu_vm, base);
}

struct zhenwu_vm *zhenwu_vm_lookup(struct zhenwu_file *zfile, u32 id);
struct zhenwu_vm *zhenwu_vm_get(struct zhenwu_vm *vm);
void zhenwu_vm_put(struct zhenwu_vm *vm);
void zhenwu_vm_release_all(struct zhenwu_file *zfile);

int zhenwu_vm_register_locked(struct zhenwu_vm *vm);
void zhenwu_vm_lose_locked(struct zhenwu_vm *vm);
bool zhenwu_vm_flush_tlb(struct zhenwu_vm *vm, u32 *gen);
void zhenwu_vm_show(struct zhenwu_device *zdev, struct seq_file *m);
int zhenwu_vm_show_gpuvas(struct zhenwu_device *zdev, struct seq_file *m);

extern const struct drm_gpuvm_ops zhenwu_gpuvm_ops;
void zhenwu_vm_free(struct drm_gpuvm *gpuvm);
void zhenwu_vm_unmap_all(struct zhenwu_vm *vm);

int zhenwu_ioctl_vm_create(struct drm_device *drm, void *data, struct drm_file *file);
int zhenwu_ioctl_vm_destroy(struct drm_device *drm, void *data, struct drm_file *file);
int zhenwu_ioctl_vm_bind(struct drm_device *drm, void *data, struct drm_file *file);
int zhenwu_ioctl_vm_get_state(struct drm_device *drm, void *data, struct drm_file *file);

#endif /* __ZHENWU_VM_H__ */

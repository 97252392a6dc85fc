// SPDX-License-Identifier: GPL-2.0-only
/*
 * VMs: their life, and what the firmware knows of them. Mappings are in zhenwu_vm_bind.c.
 */

#include <linux/jiffies.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include <drm/drm_debugfs.h>
#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_print.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu/zw_pte.h"
#include "zhenwu_device.h"
#include "zhenwu_gem.h"
#include "zhenwu_pt.h"
#include "zhenwu_reset.h"
#include "zhenwu_userq.h"
#include "zhenwu_vm.h"

/* Device resets that the announcement of a VM survives. */
#define ZHENWU_VM_TRIES 3

/**
 * zhenwu_vm_free() - last reference to the structure is gone
 * @gpuvm: its gpuvm
 */
void zhenwu_vm_free(struct drm_gpuvm *gpuvm)
{
	struct zhenwu_vm *vm = to_zhenwu_vm(gpuvm);

	mutex_destroy(&vm->tree_lock);
	mutex_destroy(&vm->lock);
	zhenwu_client_put(vm->client);
	kfree(vm);
}

/**
 * zhenwu_vm_register_locked() - tell the firmware where the tables are
 * @vm: VM; hw_lock is held
 *
 * Used after a device reset, which HBM survives.
 *
 * Return: 0 or a negative error.
 */
int zhenwu_vm_register_locked(struct zhenwu_vm *vm)
{
	struct zhenwu_device *zdev = vm->zdev;
	u64 root = zhenwu_pt_addr(vm->root);
	struct zw_msg_set_vm msg = {
		.vm = cpu_to_le32(vm->hw_id),
		.root_lo = cpu_to_le32(ZW_LO32(root)),
		.root_hi = cpu_to_le32(ZW_HI32(root)),
	};
	int ret;

	lockdep_assert_held(&zdev->hw_lock);

	ret = zhenwu_ipc_request_boot(zdev, ZW_MSG_SET_VM, &msg, sizeof(msg), NULL, 0);
	if (!ret)
		vm->on_hw = true;
	return ret;
}

/* The same for a new VM, without hw_lock. Return: -EIO when there was a reset meanwhile. */
static int zhenwu_vm_announce(struct zhenwu_vm *vm)
{
	struct zhenwu_device *zdev = vm->zdev;
	u64 root = zhenwu_pt_addr(vm->root);
	struct zw_msg_set_vm msg = {
		.vm = cpu_to_le32(vm->hw_id),
		.root_lo = cpu_to_le32(ZW_LO32(root)),
		.root_hi = cpu_to_le32(ZW_HI32(root)),
	};
	u32 session;
	int ret;

	ret = zhenwu_ipc_session(zdev, &session, ZHENWU_IPC_KILLABLE);
	if (!ret)
		ret = zhenwu_ipc_request_in(zdev, session, 0, ZW_MSG_SET_VM, &msg, sizeof(msg),
					    NULL, 0);
	if (ret)
		return ret;

	mutex_lock(&zdev->hw_lock);
	if (zhenwu_ipc_session_over(zdev, session)) {
		ret = -EIO;
	} else {
		vm->on_hw = true;
		list_add_tail(&vm->node, &zdev->vms);
	}
	mutex_unlock(&zdev->hw_lock);
	return ret;
}

/**
 * zhenwu_vm_lose_locked() - the tables of a VM are gone with the contents of HBM
 * @vm: VM; hw_lock is held
 */
void zhenwu_vm_lose_locked(struct zhenwu_vm *vm)
{
	lockdep_assert_held(&vm->zdev->hw_lock);

	WRITE_ONCE(vm->unusable, true);
	vm->on_hw = false;
}

/**
 * zhenwu_vm_flush_tlb() - make sure no engine uses an old translation of a VM
 * @vm: VM
 * @gen: set to what zhenwu_reset_wait() takes, after a failure
 *
 * When the firmware cannot do it a device reset does. Of that the end of jobs is waited for and no
 * more: nothing here allocates memory, nor depends on anything that does.
 *
 * Return: false when what the old translations led to, or went through, is not to be given back
 * before zhenwu_reset_wait().
 */
bool zhenwu_vm_flush_tlb(struct zhenwu_vm *vm, u32 *gen)
{
	struct zhenwu_device *zdev = vm->zdev;
	struct zw_msg_tlb msg = { .vm = cpu_to_le32(vm->hw_id) };
	int ret;

	*gen = READ_ONCE(zdev->reset.gen);
	/*
	 * Entries were written through a write combining mapping; the doorbell of the message does
	 * not flush it.
	 */
	wmb();
	ret = zhenwu_ipc_request_in(zdev, READ_ONCE(zdev->ipc.session), ZHENWU_IPC_NORESET,
				    ZW_MSG_TLB_INVALIDATE, &msg, sizeof(msg), NULL, 0);
	if (!ret)
		return true;
	if (ret != -EIO && ret != -ENODEV) {
		/*
		 * A VM lost in a function level reset is not known any more, nor is any translation
		 * of it.
		 */
		if (READ_ONCE(vm->unusable))
			return true;
		drm_err(&zdev->drm, "firmware refuses to invalidate the TLB of VM %u: %d\n",
			vm->hw_id, ret);
		zhenwu_reset_schedule(zdev, DRM_ZHENWU_RESET_FW_REFUSED);
	}
	zhenwu_reset_wait_jobs(zdev, *gen);
	return false;
}

static struct zhenwu_vm *zhenwu_vm_create(struct zhenwu_client *client, bool lr)
{
	struct zhenwu_device *zdev = client->zdev;
	struct drm_gem_object *resv_obj;
	unsigned int tries;
	struct zhenwu_vm *vm;
	int ret, id;

	vm = kzalloc(sizeof(*vm), GFP_KERNEL);
	if (!vm)
		return ERR_PTR(-ENOMEM);
	vm->zdev = zdev;
	vm->lr = lr;
	vm->last_use = jiffies;
	kref_init(&vm->users);
	mutex_init(&vm->lock);
	mutex_init(&vm->tree_lock);
	zhenwu_bind_queue_init(&vm->binds);
	INIT_LIST_HEAD(&vm->node);

	ret = zhenwu_client_charge(client, ZHENWU_VMS, 1);
	if (ret)
		goto err_free;
	id = ida_alloc_max(&zdev->vm_ids, zdev->info.num_vms - 1, GFP_KERNEL);
	if (id < 0) {
		ret = id;
		goto err_uncharge;
	}
	vm->hw_id = id;

	vm->root = zhenwu_pt_create_root(zdev, client);
	if (IS_ERR(vm->root)) {
		ret = PTR_ERR(vm->root);
		goto err_id;
	}

	resv_obj = drm_gpuvm_resv_object_alloc(&zdev->drm);
	if (!resv_obj) {
		ret = -ENOMEM;
		goto err_root;
	}
	drm_gpuvm_init(&vm->base, ZHENWU_DRIVER_NAME, DRM_GPUVM_RESV_PROTECTED, &zdev->drm,
		       resv_obj, 0, 1ull << ZW_VA_BITS, 0, 0, &zhenwu_gpuvm_ops);
	drm_gem_object_put(resv_obj);
	vm->client = zhenwu_client_get(client);

	for (tries = 0; tries < ZHENWU_VM_TRIES; tries++) {
		ret = zhenwu_vm_announce(vm);
		if (ret != -EIO)
			break;
	}
	if (ret) {
		zhenwu_vm_put(vm);
		return ERR_PTR(ret);
	}
	return vm;

err_root:
	zhenwu_pt_destroy_root(zdev, vm->root);
err_id:
	ida_free(&zdev->vm_ids, vm->hw_id);
err_uncharge:
	zhenwu_client_uncharge(client, ZHENWU_VMS, 1);
err_free:
	kfree(vm);
	return ERR_PTR(ret);
}

/**
 * zhenwu_vm_get() - keep an address space alive
 * @vm: VM the caller is a user of
 *
 * Return: @vm.
 */
struct zhenwu_vm *zhenwu_vm_get(struct zhenwu_vm *vm)
{
	kref_get(&vm->users);
	return vm;
}

static void zhenwu_vm_teardown(struct kref *ref)
{
	struct zhenwu_vm *vm = container_of(ref, struct zhenwu_vm, users);
	struct zhenwu_device *zdev = vm->zdev;
	struct zw_msg_set_vm msg = { .vm = cpu_to_le32(vm->hw_id) };
	/* Whoever looked at it last may be the last user. */
	bool awake = !zhenwu_pm_get(zdev);
	int ret = 0;
	bool on_hw;
	u32 session;

	/* Nobody would see what they do. */
	zhenwu_bind_queue_stop(vm);

	mutex_lock(&zdev->hw_lock);
	list_del_init(&vm->node);
	on_hw = vm->on_hw;
	vm->on_hw = false;
	/* A reset that comes now does not restore it. */
	session = READ_ONCE(zdev->ipc.session);
	mutex_unlock(&zdev->hw_lock);
	if (on_hw)
		ret = zhenwu_ipc_request_in(zdev, session, 0, ZW_MSG_CLEAR_VM, &msg, sizeof(msg),
					    NULL, 0);
	/* Whatever it was: memory is given back only when the device cannot reach it. */
	if (ret && ret != -EIO && ret != -ENODEV) {
		drm_err(&zdev->drm, "firmware refuses to drop VM %u: %d\n", vm->hw_id, ret);
		zhenwu_reset_schedule(zdev, DRM_ZHENWU_RESET_FW_REFUSED);
		wait_event(zdev->reset.wait, zhenwu_ipc_session_over(zdev, session));
	}

	zhenwu_vm_unmap_all(vm);
	zhenwu_pt_destroy_root(zdev, vm->root);
	if (awake)
		zhenwu_pm_put(zdev);
	ida_free(&zdev->vm_ids, vm->hw_id);
	zhenwu_client_uncharge(vm->client, ZHENWU_VMS, 1);
	drm_gpuvm_put(&vm->base);
}

/**
 * zhenwu_vm_put() - stop being a user of an address space
 * @vm: VM or NULL
 */
void zhenwu_vm_put(struct zhenwu_vm *vm)
{
	if (vm)
		kref_put(&vm->users, zhenwu_vm_teardown);
}

/**
 * zhenwu_vm_lookup() - find a VM of a file
 * @zfile: file
 * @id: its id
 *
 * Return: the VM, to be given back with zhenwu_vm_put(), or NULL.
 */
struct zhenwu_vm *zhenwu_vm_lookup(struct zhenwu_file *zfile, u32 id)
{
	struct zhenwu_vm *vm;

	xa_lock(&zfile->vms);
	vm = xa_load(&zfile->vms, id);
	if (vm)
		zhenwu_vm_get(vm);
	xa_unlock(&zfile->vms);
	return vm;
}

/**
 * zhenwu_vm_release_all() - drop all ids of a file
 * @zfile: file that is being closed
 */
void zhenwu_vm_release_all(struct zhenwu_file *zfile)
{
	struct zhenwu_vm *vm;
	unsigned long id;

	xa_for_each(&zfile->vms, id, vm)
		zhenwu_vm_put(vm);
	xa_destroy(&zfile->vms);
}

/**
 * zhenwu_ioctl_vm_create() - DRM_IOCTL_ZHENWU_VM_CREATE
 * @drm: device
 * @data: &struct drm_zhenwu_vm_create
 * @file: file
 *
 * Return: 0 or a negative error.
 */
int zhenwu_ioctl_vm_create(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct zhenwu_file *zfile = file->driver_priv;
	struct drm_zhenwu_vm_create *args = data;
	struct zhenwu_vm *vm;
	int ret, idx;
	u32 id;

	if (args->flags & ~DRM_ZHENWU_VM_CREATE_LR || args->id)
		return -EINVAL;
	if (args->flags & DRM_ZHENWU_VM_CREATE_LR && !zhenwu_userq_supported(to_zhenwu_device(drm)))
		return -EOPNOTSUPP;
	if (!drm_dev_enter(drm, &idx))
		return -ENODEV;

	/* The id is taken first and filled in last: nobody can destroy a VM that is being made. */
	ret = xa_alloc(&zfile->vms, &id, NULL, xa_limit_31b, GFP_KERNEL);
	if (ret)
		goto out;
	vm = zhenwu_vm_create(zfile->client, args->flags & DRM_ZHENWU_VM_CREATE_LR);
	if (IS_ERR(vm)) {
		xa_erase(&zfile->vms, id);
		ret = PTR_ERR(vm);
		goto out;
	}
	xa_store(&zfile->vms, id, vm, GFP_KERNEL);
	args->id = id;
out:
	drm_dev_exit(idx);
	return ret;
}

/**
 * zhenwu_ioctl_vm_destroy() - DRM_IOCTL_ZHENWU_VM_DESTROY
 * @drm: device
 * @data: &struct drm_zhenwu_vm_destroy
 * @file: file
 *
 * Return: 0 or a negative error.
 */
int zhenwu_ioctl_vm_destroy(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct zhenwu_file *zfile = file->driver_priv;
	struct drm_zhenwu_vm_destroy *args = data;
	struct zhenwu_vm *vm;

	if (args->pad)
		return -EINVAL;

	xa_lock(&zfile->vms);
	vm = xa_load(&zfile->vms, args->id);
	if (vm)
		__xa_erase(&zfile->vms, args->id);
	xa_unlock(&zfile->vms);
	if (!vm)
		return -ENOENT;
	zhenwu_vm_put(vm);
	return 0;
}

/**
 * zhenwu_ioctl_vm_get_state() - DRM_IOCTL_ZHENWU_VM_GET_STATE
 * @drm: device
 * @data: &struct drm_zhenwu_vm_get_state
 * @file: file
 *
 * Return: 0 or a negative error.
 */
int zhenwu_ioctl_vm_get_state(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct drm_zhenwu_vm_get_state *args = data;
	struct zhenwu_vm *vm;

	if (args->state)
		return -EINVAL;
	vm = zhenwu_vm_lookup(file->driver_priv, args->vm_id);
	if (!vm)
		return -ENOENT;
	args->state = READ_ONCE(vm->unusable) ? DRM_ZHENWU_VM_STATE_UNUSABLE :
						DRM_ZHENWU_VM_STATE_USABLE;
	zhenwu_vm_put(vm);
	return 0;
}

/* Return: the VM with a number, to be given back with zhenwu_vm_put(), or NULL. */
static struct zhenwu_vm *zhenwu_vm_by_hw_id(struct zhenwu_device *zdev, u32 hw_id)
{
	struct zhenwu_vm *vm, *found = NULL;

	mutex_lock(&zdev->hw_lock);
	list_for_each_entry(vm, &zdev->vms, node) {
		/* One without users is being torn down. */
		if (vm->hw_id == hw_id && kref_get_unless_zero(&vm->users))
			found = vm;
	}
	mutex_unlock(&zdev->hw_lock);
	return found;
}

/**
 * zhenwu_vm_show() - list VMs and their mappings
 * @zdev: device
 * @m: where to print
 */
void zhenwu_vm_show(struct zhenwu_device *zdev, struct seq_file *m)
{
	u32 i;

	for (i = 0; i < zdev->info.num_vms; i++) {
		struct zhenwu_vm *vm = zhenwu_vm_by_hw_id(zdev, i);
		struct drm_gpuva *va;

		if (!vm)
			continue;
		mutex_lock(&vm->tree_lock);
		seq_printf(m, "vm %u: root 0x%llx users %u%s%s\n", vm->hw_id,
			   zhenwu_pt_addr(vm->root), kref_read(&vm->users) - 1,
			   vm->lr ? " lr" : "", READ_ONCE(vm->unusable) ? " unusable" : "");
		drm_gpuvm_for_each_va(va, &vm->base) {
			seq_printf(m, "  0x%llx-0x%llx %s offset 0x%llx of %zu bytes\n",
				   va->va.addr, va->va.addr + va->va.range,
				   va->flags & ZHENWU_VA_READONLY ? "r-" : "rw", va->gem.offset,
				   va->gem.obj->size);
		}
		mutex_unlock(&vm->tree_lock);
		zhenwu_vm_put(vm);
	}
}

/**
 * zhenwu_vm_show_gpuvas() - list mappings in the form of the DRM core
 * @zdev: device
 * @m: where to print
 *
 * Return: 0 or a negative error.
 */
int zhenwu_vm_show_gpuvas(struct zhenwu_device *zdev, struct seq_file *m)
{
	int ret = 0;
	u32 i;

	for (i = 0; !ret && i < zdev->info.num_vms; i++) {
		struct zhenwu_vm *vm = zhenwu_vm_by_hw_id(zdev, i);

		if (!vm)
			continue;
		mutex_lock(&vm->tree_lock);
		ret = drm_debugfs_gpuva_info(m, &vm->base);
		mutex_unlock(&vm->tree_lock);
		seq_putc(m, '\n');
		zhenwu_vm_put(vm);
	}
	return ret;
}

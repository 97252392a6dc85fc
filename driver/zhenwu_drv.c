// SPDX-License-Identifier: GPL-2.0-only
/*
 * Zhenwu LLM accelerator: PCI driver, DRM driver, table of ioctls.
 */

#include <linux/capability.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <drm/drm_accel.h>
#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_gem.h>
#include <drm/drm_ioctl.h>
#include <drm/drm_print.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu/zw_pte.h"
#include "zhenwu/zw_queue.h"
#include "zhenwu_debugfs.h"
#include "zhenwu_device.h"
#include "zhenwu_drv.h"
#include "zhenwu_fdinfo.h"
#include "zhenwu_gem.h"
#include "zhenwu_hwmon.h"
#include "zhenwu_perf.h"
#include "zhenwu_pm.h"
#include "zhenwu_prime.h"
#include "zhenwu_purge.h"
#include "zhenwu_queue.h"
#include "zhenwu_reset.h"
#include "zhenwu_submit.h"
#include "zhenwu_sysfs.h"
#include "zhenwu_telemetry.h"
#include "zhenwu_userptr.h"
#include "zhenwu_userq.h"
#include "zhenwu_vm.h"
#include "zhenwu_watchdog.h"

/**
 * zhenwu_copy_array() - copy an array of user space, whatever element size it was compiled with
 * @array: where it is, how many elements, and its stride
 * @min_size: size of an element when its type was introduced
 * @elem_size: size of an element here
 * @max: most elements allowed
 *
 * Longer elements are accepted when what is unknown is zero, shorter ones are filled up with
 * zeroes.
 *
 * Return: the array, to be freed with kvfree(); NULL for no elements; or an error pointer: -EINVAL
 * for a bad stride or count, -E2BIG for unknown parts that are not zero, -EFAULT, -ENOMEM.
 */
void *zhenwu_copy_array(const struct drm_zhenwu_obj_array *array, size_t min_size,
			size_t elem_size, u32 max)
{
	void __user *src = u64_to_user_ptr(array->array);
	u32 i;
	void *dst;
	int ret;

	if (!array->count)
		return array->stride || array->array ? ERR_PTR(-EINVAL) : NULL;
	/* The size of a page bounds what one element makes the kernel look at. */
	if (array->count > max || array->stride < min_size || array->stride > PAGE_SIZE ||
	    array->stride % 8)
		return ERR_PTR(-EINVAL);

	dst = kvmalloc_array(array->count, elem_size, GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!dst)
		return ERR_PTR(-ENOMEM);
	for (i = 0; i < array->count; i++) {
		ret = copy_struct_from_user(dst + i * elem_size, elem_size,
					    src + (size_t)i * array->stride, array->stride);
		if (ret) {
			kvfree(dst);
			return ERR_PTR(ret);
		}
	}
	return dst;
}

/**
 * zhenwu_put_element() - fill an element of an array of user space, whatever size that has
 * @array: where it is and its stride; the caller has checked them
 * @i: which element, less than the count
 * @elem: what it is filled with
 * @elem_size: size of an element here
 *
 * Shorter elements get the beginning. Of longer ones, what is unknown here becomes zero.
 *
 * Return: 0 or -EFAULT.
 */
int zhenwu_put_element(const struct drm_zhenwu_obj_array *array, u32 i, const void *elem,
		       size_t elem_size)
{
	void __user *dst = u64_to_user_ptr(array->array) + (size_t)i * array->stride;
	size_t n = min_t(size_t, array->stride, elem_size);

	if (copy_to_user(dst, elem, n) || clear_user(dst + n, array->stride - n))
		return -EFAULT;
	return 0;
}

/* -- DEV_QUERY -------------------------------------------------------------------------------- */

static void zhenwu_query_info(struct zhenwu_device *zdev, struct drm_zhenwu_dev_info *info)
{
	info->abi_version = zdev->info.abi_version;
	info->fw_version = READ_ONCE(zdev->fw.version);
	info->profile = zdev->info.profile;
	info->caps = zdev->info.caps;
	if (!zhenwu_userq_supported(zdev))
		info->caps &= ~(u32)ZW_CAP_USER_QUEUES;
	memcpy(info->profile_name, zdev->info.profile_name, sizeof(info->profile_name));
	info->hbm_size = zdev->info.hbm_size;
	info->hbm_visible = zdev->info.aperture_size;
	info->hbm_free = zhenwu_hbm_free_bytes(zdev);
	info->va_bits = ZW_VA_BITS;
	info->page_size = ZW_PAGE_SIZE;
	info->max_queues = zdev->info.num_queues;
	info->max_vms = zdev->info.num_vms;
	info->max_ring_slots = 1u << ZW_RING_MAX_LOG2;
	/* Who only asks what is possible is not to be found in the audit log. */
	info->max_priority = ns_capable_noaudit(&init_user_ns, CAP_SYS_NICE) ?
				     DRM_ZHENWU_QUEUE_PRIORITY_REALTIME :
				     DRM_ZHENWU_QUEUE_PRIORITY_NORMAL;
	info->reset_count = READ_ONCE(zdev->reset.count);
	info->job_timeout_ms = zhenwu_watchdog_job_timeout_ms();
	info->va_start = ZHENWU_VA_START;
	info->va_end = ZHENWU_VA_END;
	memcpy(info->uuid, zdev->info.uuid, sizeof(info->uuid));
	info->dtypes = zdev->info.dtypes;
	info->sram_size = zdev->info.sram_size;
	info->num_links = zdev->info.num_links;
}

static void zhenwu_query_counters(struct zhenwu_device *zdev, struct drm_zhenwu_dev_counters *cnt)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cnt->busy_ps); i++)
		cnt->busy_ps[i] = zhenwu_read64(zdev, ZW_PMU_BUSY_PS(i));
	cnt->hbm_read = zhenwu_read64(zdev, ZW_PMU_HBM_READ);
	cnt->hbm_written = zhenwu_read64(zdev, ZW_PMU_HBM_WRITTEN);
	cnt->sys_read = zhenwu_read64(zdev, ZW_PMU_SYS_READ);
	cnt->sys_written = zhenwu_read64(zdev, ZW_PMU_SYS_WRITTEN);
	cnt->packets = zhenwu_read64(zdev, ZW_PMU_PACKETS);
	cnt->jobs = zhenwu_read64(zdev, ZW_PMU_JOBS);
	cnt->faults = zhenwu_read64(zdev, ZW_PMU_FAULTS);
	cnt->tlb_hits = zhenwu_read64(zdev, ZW_PMU_TLB_HITS);
	cnt->tlb_misses = zhenwu_read64(zdev, ZW_PMU_TLB_MISSES);
	cnt->fw_heartbeat = zhenwu_read32(zdev, ZW_REG_FW_HEARTBEAT);
}

static int zhenwu_query_perf(struct zhenwu_file *zfile, u32 id, struct drm_zhenwu_queue_perf *perf)
{
	struct zhenwu_queue *queue = zhenwu_queue_lookup(zfile, id);
	int ret;

	if (!queue)
		return -ENOENT;
	ret = zhenwu_perf_query(queue, perf);
	zhenwu_queue_put(queue);
	return ret;
}

static int zhenwu_ioctl_dev_query(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct zhenwu_device *zdev = to_zhenwu_device(drm);
	struct drm_zhenwu_dev_query *args = data;
	union {
		struct drm_zhenwu_dev_info info;
		struct drm_zhenwu_dev_counters counters;
		struct drm_zhenwu_dev_resets resets;
		struct drm_zhenwu_queue_perf perf;
	} u = {};
	size_t size;
	int idx, ret = 0;

	switch (args->type) {
	case DRM_ZHENWU_DEV_QUERY_INFO:
		size = sizeof(u.info);
		break;
	case DRM_ZHENWU_DEV_QUERY_COUNTERS:
		size = sizeof(u.counters);
		break;
	case DRM_ZHENWU_DEV_QUERY_RESETS:
		size = sizeof(u.resets);
		break;
	case DRM_ZHENWU_DEV_QUERY_LINKS:
		/* No device that there is has any. */
		size = 0;
		break;
	case DRM_ZHENWU_DEV_QUERY_PERF:
		size = sizeof(u.perf);
		break;
	default:
		return -EINVAL;
	}
	if ((args->object_id && args->type != DRM_ZHENWU_DEV_QUERY_PERF) || args->pad ||
	    (!args->pointer && args->size))
		return -EINVAL;
	if (!args->pointer) {
		args->size = size;
		return 0;
	}
	/* They tell what other clients do. */
	if (args->type == DRM_ZHENWU_DEV_QUERY_COUNTERS && !perfmon_capable())
		return -EACCES;

	if (!drm_dev_enter(drm, &idx))
		return -ENODEV;
	if (args->type == DRM_ZHENWU_DEV_QUERY_INFO)
		zhenwu_query_info(zdev, &u.info);
	else if (args->type == DRM_ZHENWU_DEV_QUERY_COUNTERS)
		zhenwu_query_counters(zdev, &u.counters);
	else if (args->type == DRM_ZHENWU_DEV_QUERY_RESETS)
		zhenwu_reset_query(zdev, &u.resets);
	else if (args->type == DRM_ZHENWU_DEV_QUERY_PERF)
		ret = zhenwu_query_perf(file->driver_priv, args->object_id, &u.perf);
	drm_dev_exit(idx);
	if (ret)
		return ret;

	args->size = min_t(size_t, args->size, size);
	return copy_to_user(u64_to_user_ptr(args->pointer), &u, args->size) ? -EFAULT : 0;
}

/* -- DRM driver ------------------------------------------------------------------------------- */

static void zhenwu_file_free(struct kref *ref)
{
	kfree(container_of(ref, struct zhenwu_file, refs));
}

static void zhenwu_file_release_work(struct work_struct *work)
{
	struct zhenwu_file *zfile = container_of(work, struct zhenwu_file, release);
	struct zhenwu_device *zdev = zfile->zdev;
	bool awake = !zhenwu_pm_get(zdev);

	zhenwu_telemetry_release(zfile);
	zhenwu_queue_release_all(zfile);
	zhenwu_perf_release(zfile);
	zhenwu_vm_release_all(zfile);
	if (awake)
		zhenwu_pm_put(zdev);
	zhenwu_client_put(zfile->client);
	complete_all(&zfile->released);
	kref_put(&zfile->refs, zhenwu_file_free);
	drm_dev_put(&zdev->drm);
	module_put(THIS_MODULE);
}

static int zhenwu_open(struct drm_device *drm, struct drm_file *file)
{
	struct zhenwu_file *zfile;

	zfile = kzalloc(sizeof(*zfile), GFP_KERNEL);
	if (!zfile)
		return -ENOMEM;
	zfile->zdev = to_zhenwu_device(drm);
	zfile->client = zhenwu_client_create(zfile->zdev);
	if (!zfile->client) {
		kfree(zfile);
		return -ENOMEM;
	}
	kref_init(&zfile->refs);
	INIT_WORK(&zfile->release, zhenwu_file_release_work);
	init_completion(&zfile->released);
	xa_init_flags(&zfile->vms, XA_FLAGS_ALLOC1);
	xa_init_flags(&zfile->queues, XA_FLAGS_ALLOC1);
	file->driver_priv = zfile;
	return 0;
}

/*
 * To let go of queues and VMs takes the device some time, and as long as a reset when it is dead.
 * Who closes a file waits for it, so that all is free afterwards; who is killed does not.
 */
static void zhenwu_postclose(struct drm_device *drm, struct drm_file *file)
{
	struct zhenwu_file *zfile = file->driver_priv;

	kref_get(&zfile->refs);
	drm_dev_get(drm);
	__module_get(THIS_MODULE);
	queue_work(zhenwu_release_wq, &zfile->release);
	if (!(current->flags & PF_SIGNALED))
		wait_for_completion_killable(&zfile->released);
	kref_put(&zfile->refs, zhenwu_file_free);
}

#define ZHENWU_IOCTL(n, func) \
	DRM_IOCTL_DEF_DRV(ZHENWU_##n, zhenwu_ioctl_##func, 0)

static const struct drm_ioctl_desc zhenwu_ioctls[] = {
	ZHENWU_IOCTL(DEV_QUERY, dev_query),
	ZHENWU_IOCTL(VM_CREATE, vm_create),
	ZHENWU_IOCTL(VM_DESTROY, vm_destroy),
	ZHENWU_IOCTL(VM_BIND, vm_bind),
	ZHENWU_IOCTL(VM_GET_STATE, vm_get_state),
	ZHENWU_IOCTL(BO_CREATE, bo_create),
	ZHENWU_IOCTL(BO_MMAP_OFFSET, bo_mmap_offset),
	ZHENWU_IOCTL(BO_WAIT, bo_wait),
	ZHENWU_IOCTL(BO_SET_LABEL, bo_set_label),
	ZHENWU_IOCTL(BO_QUERY_INFO, bo_query_info),
	ZHENWU_IOCTL(QUEUE_CREATE, queue_create),
	ZHENWU_IOCTL(QUEUE_DESTROY, queue_destroy),
	ZHENWU_IOCTL(QUEUE_GET_STATE, queue_get_state),
	ZHENWU_IOCTL(SUBMIT, submit),
	ZHENWU_IOCTL(QUEUE_WAIT, queue_wait),
	ZHENWU_IOCTL(BO_CREATE_USERPTR, bo_create_userptr),
	ZHENWU_IOCTL(TELEMETRY_SET, telemetry_set),
	ZHENWU_IOCTL(TELEMETRY_READ, telemetry_read),
	ZHENWU_IOCTL(PERF_OPEN, perf_open),
	ZHENWU_IOCTL(PERF_READ, perf_read),
	ZHENWU_IOCTL(BO_MADVISE, bo_madvise),
};

/*
 * Those that may take long and do not touch the device, or only ask for what is known, do not keep
 * it awake. Nor do those of the DRM core.
 */
static bool zhenwu_ioctl_wakes(unsigned int cmd)
{
	switch (DRM_IOCTL_NR(cmd)) {
	case DRM_COMMAND_BASE ... DRM_COMMAND_END - 1:
		break;
	default:
		return false;
	}
	switch (DRM_IOCTL_NR(cmd) - DRM_COMMAND_BASE) {
	case DRM_ZHENWU_BO_WAIT:
	case DRM_ZHENWU_QUEUE_WAIT:
	case DRM_ZHENWU_TELEMETRY_READ:
	case DRM_ZHENWU_PERF_READ:
		return false;
	default:
		return true;
	}
}

static long zhenwu_ioctl_awake(struct file *filp, unsigned int cmd, unsigned long arg,
			       long (*ioctl)(struct file *, unsigned int, unsigned long))
{
	struct drm_file *file = filp->private_data;
	struct zhenwu_file *zfile = file->driver_priv;
	struct zhenwu_device *zdev = zfile->zdev;
	long ret;

	/*
	 * A device that is unplugged is refused by the DRM core, one that is lost here: to users it
	 * is the same.
	 */
	if (!zhenwu_device_alive(zdev))
		return -ENODEV;
	if (!zhenwu_ioctl_wakes(cmd))
		return ioctl(filp, cmd, arg);
	ret = zhenwu_pm_get(zdev);
	if (ret)
		return ret;
	ret = ioctl(filp, cmd, arg);
	zhenwu_pm_put(zdev);
	return ret;
}

static long zhenwu_drm_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	return zhenwu_ioctl_awake(filp, cmd, arg, drm_ioctl);
}

#ifdef CONFIG_COMPAT
/* Our structures are the same for 32 bits, those of the DRM core are not. */
static long zhenwu_drm_compat_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	return zhenwu_ioctl_awake(filp, cmd, arg, drm_compat_ioctl);
}
#else
#define zhenwu_drm_compat_ioctl NULL
#endif

static int zhenwu_drm_mmap(struct file *filp, struct vm_area_struct *vma)
{
	struct drm_file *file = filp->private_data;

	if (vma->vm_pgoff >= DRM_ZHENWU_MMAP_RESERVED >> PAGE_SHIFT &&
	    vma->vm_pgoff < DRM_ZHENWU_MMAP_RESERVED_END >> PAGE_SHIFT)
		return zhenwu_userq_mmap(file->driver_priv, vma);
	return drm_gem_mmap(filp, vma);
}

static const struct file_operations zhenwu_fops = {
	.owner = THIS_MODULE,
	.open = accel_open,
	.release = drm_release,
	.unlocked_ioctl = zhenwu_drm_ioctl,
	.compat_ioctl = zhenwu_drm_compat_ioctl,
	.poll = drm_poll,
	.read = drm_read,
	.llseek = noop_llseek,
	.mmap = zhenwu_drm_mmap,
	.show_fdinfo = drm_show_fdinfo,
	.fop_flags = FOP_UNSIGNED_OFFSET,
};

/*
 * Versions of the user interface:
 * - 2.0 - first of the second interface
 * - 2.1 - user-mode queues: VM_CREATE_LR, rings of QUEUE_CREATE, QUEUE_WAIT
 * - 2.2 - BO_CREATE_USERPTR
 * - 2.3 - TELEMETRY_SET, TELEMETRY_READ
 * - 2.4 - DRM_ZHENWU_BO_FAILED
 * - 2.5 - dma-bufs in and out
 * - 2.6 - DRM_ZHENWU_DEV_QUERY_RESETS
 * - 2.7 - PERF_OPEN, PERF_READ, DRM_ZHENWU_QUEUE_PERF, DRM_ZHENWU_DEV_QUERY_PERF
 * - 2.8 - BO_MADVISE
 * - 2.9 - DRM_ZHENWU_VM_BIND_ASYNC
 * - 2.10 - buffers that may be in both memories are moved
 */
static const struct drm_driver zhenwu_drm_driver = {
	.driver_features = DRIVER_COMPUTE_ACCEL | DRIVER_GEM | DRIVER_GEM_GPUVA | DRIVER_SYNCOBJ |
			   DRIVER_SYNCOBJ_TIMELINE,
	.open = zhenwu_open,
	.postclose = zhenwu_postclose,
	.show_fdinfo = zhenwu_show_fdinfo,
	.gem_create_object = zhenwu_gem_create_object,
	.gem_prime_import = zhenwu_prime_import,
	.ioctls = zhenwu_ioctls,
	.num_ioctls = ARRAY_SIZE(zhenwu_ioctls),
	.fops = &zhenwu_fops,
	.name = ZHENWU_DRIVER_NAME,
	.desc = ZHENWU_DRIVER_DESC,
	.major = ZHENWU_DRIVER_MAJOR,
	.minor = ZHENWU_DRIVER_MINOR,
};

/* -- PCI driver ------------------------------------------------------------------------------- */

static int zhenwu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct zhenwu_device *zdev;
	int ret;

	zdev = devm_drm_dev_alloc(&pdev->dev, &zhenwu_drm_driver, struct zhenwu_device, drm);
	if (IS_ERR(zdev))
		return PTR_ERR(zdev);
	zdev->pdev = pdev;
	pci_set_drvdata(pdev, zdev);

	ret = zhenwu_device_init(zdev);
	if (ret)
		return ret;
	zhenwu_debugfs_init(zdev);
	ret = drm_dev_register(&zdev->drm, 0);
	if (ret) {
		drm_err(&zdev->drm, "cannot register: %d\n", ret);
		zhenwu_device_fini(zdev);
		return ret;
	}
	zhenwu_hwmon_init(zdev);
	zhenwu_pm_enable(zdev);
	return 0;
}

static void zhenwu_remove(struct pci_dev *pdev)
{
	struct zhenwu_device *zdev = pci_get_drvdata(pdev);

	zhenwu_pm_disable(zdev);
	/* First the device, so that nobody who waits for it keeps the second step waiting. */
	zhenwu_reset_stop(zdev);
	zhenwu_hwmon_fini(zdev);
	drm_dev_unplug(&zdev->drm);
	zhenwu_gem_unmap_dma(zdev);
	zhenwu_device_fini(zdev);
}

/* For kexec: the next kernel must not find a device that writes into its memory. */
static void zhenwu_shutdown(struct pci_dev *pdev)
{
	struct zhenwu_device *zdev = pci_get_drvdata(pdev);

	zhenwu_reset_stop(zdev);
}

static const struct pci_error_handlers zhenwu_err_handlers = {
	.reset_prepare = zhenwu_reset_flr_prepare,
	.reset_done = zhenwu_reset_flr_done,
	.error_detected = zhenwu_reset_pci_error,
	.mmio_enabled = zhenwu_reset_pci_mmio,
	.slot_reset = zhenwu_reset_pci_slot,
	.resume = zhenwu_reset_pci_resume,
};

static const struct pci_device_id zhenwu_pci_ids[] = {
	{ PCI_DEVICE(ZW_PCI_VENDOR_ID, ZW_PCI_DEVICE_ID) },
	{ }
};
MODULE_DEVICE_TABLE(pci, zhenwu_pci_ids);

static struct pci_driver zhenwu_pci_driver = {
	.name = ZHENWU_DRIVER_NAME,
	.id_table = zhenwu_pci_ids,
	.probe = zhenwu_probe,
	.remove = zhenwu_remove,
	.shutdown = zhenwu_shutdown,
	.err_handler = &zhenwu_err_handlers,
	.dev_groups = zhenwu_sysfs_groups,
	.driver.pm = pm_ptr(&zhenwu_pm_ops),
};

struct workqueue_struct *zhenwu_release_wq;

static int __init zhenwu_module_init(void)
{
	int ret;

	/* Nobody is let go while the system goes to sleep. */
	zhenwu_release_wq = alloc_workqueue("zhenwu-release", WQ_UNBOUND | WQ_FREEZABLE, 0);
	if (!zhenwu_release_wq)
		return -ENOMEM;
	ret = pci_register_driver(&zhenwu_pci_driver);
	if (ret)
		destroy_workqueue(zhenwu_release_wq);
	return ret;
}

static void __exit zhenwu_module_exit(void)
{
	pci_unregister_driver(&zhenwu_pci_driver);
	destroy_workqueue(zhenwu_release_wq);
	/*
	 * Whoever put the last reference to the module did so in its text, and may have been
	 * preempted before the return: wait until everybody who could have has left.
	 */
	synchronize_rcu_tasks();
}

module_init(zhenwu_module_init);
module_exit(zhenwu_module_exit);

MODULE_AUTHOR("The Zhenwu developers");
MODULE_DESCRIPTION(ZHENWU_DRIVER_DESC);
MODULE_LICENSE("GPL");

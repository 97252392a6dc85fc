// SPDX-License-Identifier: GPL-2.0-only
/*
 * Device: resources, identity, order of initialisation.
 */

#include <linux/dma-mapping.h>
#include <linux/log2.h>

#include <drm/drm_drv.h>
#include <drm/drm_managed.h>
#include <drm/drm_print.h>

#include "zhenwu/zw_pte.h"
#include "zhenwu_coredump.h"
#include "zhenwu_device.h"
#include "zhenwu_dmem.h"
#include "zhenwu_queue.h"
#include "zhenwu_reset.h"
#include "zhenwu_watchdog.h"

/* What a progress period may be: a device that says 0 or a day does not know what it says. */
#define ZHENWU_PROGRESS_MIN_MS	50
#define ZHENWU_PROGRESS_MAX_MS	60000

static int zhenwu_device_map(struct zhenwu_device *zdev)
{
	struct pci_dev *pdev = zdev->pdev;
	struct drm_device *drm = &zdev->drm;
	int ret;

	ret = pcim_enable_device(pdev);
	if (ret) {
		drm_err(drm, "cannot enable the PCI device: %d\n", ret);
		return ret;
	}
	if (pci_resource_len(pdev, ZW_BAR_REGS) < ZW_BAR0_SIZE ||
	    !(pci_resource_flags(pdev, ZW_BAR_HBM) & IORESOURCE_MEM)) {
		drm_err(drm, "BARs are missing or too small: registers %pR, HBM %pR\n",
			&pdev->resource[ZW_BAR_REGS], &pdev->resource[ZW_BAR_HBM]);
		return -ENODEV;
	}

	zdev->regs = devm_ioremap_resource(&pdev->dev, &pdev->resource[ZW_BAR_REGS]);
	if (IS_ERR(zdev->regs))
		return PTR_ERR(zdev->regs);
	zdev->regs_phys = pci_resource_start(pdev, ZW_BAR_REGS);
	zdev->aperture_phys = pci_resource_start(pdev, ZW_BAR_HBM);
	if (!devm_request_mem_region(&pdev->dev, zdev->aperture_phys,
				     pci_resource_len(pdev, ZW_BAR_HBM), ZHENWU_DRIVER_NAME))
		return -EBUSY;
	zdev->aperture = devm_ioremap_wc(&pdev->dev, zdev->aperture_phys,
					 pci_resource_len(pdev, ZW_BAR_HBM));
	if (!zdev->aperture)
		return -ENOMEM;

	/* As much as a page table entry holds. */
	ret = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(ilog2(ZW_PTE_ADDR_MASK) + 1));
	if (ret) {
		drm_err(drm, "no usable DMA mask: %d\n", ret);
		return ret;
	}
	dma_set_max_seg_size(&pdev->dev, UINT_MAX);
	return 0;
}

static int zhenwu_device_identify(struct zhenwu_device *zdev)
{
	struct drm_device *drm = &zdev->drm;
	u64 bar_size = pci_resource_len(zdev->pdev, ZW_BAR_HBM);
	u32 magic, progress, i;

	magic = zhenwu_read32(zdev, ZW_REG_MAGIC);
	if (magic != ZW_MAGIC) {
		drm_err(drm, "not a Zhenwu device: magic 0x%08x, expected 0x%08x\n", magic,
			ZW_MAGIC);
		return -ENODEV;
	}
	zdev->info.abi_version = zhenwu_read32(zdev, ZW_REG_ABI_VERSION);
	if (ZW_ABI_VERSION_MAJOR(zdev->info.abi_version) != ZW_ABI_MAJOR) {
		drm_err(drm, "device has ABI %u.%u, the driver knows %u.x\n",
			ZW_ABI_VERSION_MAJOR(zdev->info.abi_version),
			ZW_ABI_VERSION_MINOR(zdev->info.abi_version), ZW_ABI_MAJOR);
		return -ENODEV;
	}

	zdev->info.profile = zhenwu_read32(zdev, ZW_REG_PROFILE);
	zdev->info.caps = zhenwu_read32(zdev, ZW_REG_CAPS);
	for (i = 0; i < 4; i++) {
		__le32 word = cpu_to_le32(zhenwu_read32(zdev, ZW_REG_PROFILE_NAME + 4 * i));

		memcpy(zdev->info.profile_name + 4 * i, &word, 4);
	}
	for (i = 0; zdev->info.profile_name[i]; i++) {
		/* It ends up in logs and sysfs. */
		if (zdev->info.profile_name[i] <= ' ' || zdev->info.profile_name[i] > '~')
			zdev->info.profile_name[i] = '?';
	}

	zdev->info.hbm_size = zhenwu_read64(zdev, ZW_REG_HBM_SIZE);
	zdev->info.aperture_size = min3(zhenwu_read64(zdev, ZW_REG_APERTURE_SIZE), bar_size,
					zdev->info.hbm_size);
	if (!zdev->info.hbm_size || !IS_ALIGNED(zdev->info.hbm_size, 2ull << 20) ||
	    zdev->info.hbm_size - 1 > ZW_PTE_ADDR_MASK) {
		drm_err(drm, "HBM size 0x%llx is not possible\n", zdev->info.hbm_size);
		return -ENODEV;
	}
	if (zdev->info.aperture_size < 2ull << 20 ||
	    !IS_ALIGNED(zdev->info.aperture_size, 2ull << 20)) {
		drm_err(drm, "HBM aperture of 0x%llx bytes is not possible\n",
			zdev->info.aperture_size);
		return -ENODEV;
	}

	zdev->info.num_queues = min_t(u32, zhenwu_read32(zdev, ZW_REG_NUM_QUEUES), ZW_MAX_QUEUES);
	zdev->info.num_vms = min_t(u32, zhenwu_read32(zdev, ZW_REG_NUM_VMS), ZW_MAX_VMS);
	if (!zdev->info.num_queues || !zdev->info.num_vms) {
		drm_err(drm, "device has %u queues and %u VMs\n", zdev->info.num_queues,
			zdev->info.num_vms);
		return -ENODEV;
	}

	zdev->info.dtypes = zhenwu_read64(zdev, ZW_REG_DTYPES);
	zdev->info.sram_size = zhenwu_read64(zdev, ZW_REG_SRAM_SIZE);
	zdev->info.num_links = zhenwu_read32(zdev, ZW_REG_NUM_LINKS);
	if (ZW_ABI_VERSION_MINOR(zdev->info.abi_version) >= ZHENWU_TELEMETRY_ABI_MINOR)
		zdev->info.cap_mw = zhenwu_read32(zdev, ZW_REG_CAP_MW);
	for (i = 0; i < 4; i++) {
		__le32 word = cpu_to_le32(zhenwu_read32(zdev, ZW_REG_UUID + 4 * i));

		memcpy(zdev->info.uuid + 4 * i, &word, 4);
	}
	if (zhenwu_read32(zdev, ZW_REG_DOORBELL_BASE) != ZW_DOORBELL_BASE ||
	    zhenwu_read32(zdev, ZW_REG_DOORBELL_SHIFT) != ZW_DOORBELL_SHIFT) {
		drm_err(drm, "doorbells are not where this driver rings them\n");
		return -ENODEV;
	}

	progress = zhenwu_read32(zdev, ZW_REG_PROGRESS_MS);
	zdev->info.progress_ms = clamp_t(u32, progress, ZHENWU_PROGRESS_MIN_MS,
					 ZHENWU_PROGRESS_MAX_MS);
	if (progress != zdev->info.progress_ms)
		drm_warn(drm, "progress period of %u ms replaced by %u ms\n", progress,
			 zdev->info.progress_ms);
	return 0;
}

static void zhenwu_device_release(struct drm_device *drm, void *arg)
{
	struct zhenwu_device *zdev = arg;

	ida_destroy(&zdev->queue_ids);
	ida_destroy(&zdev->vm_ids);
	/* The last jobs are freed on it when the last file is closed. */
	if (zdev->sched_wq)
		destroy_workqueue(zdev->sched_wq);
	if (zdev->bind_wq)
		destroy_workqueue(zdev->bind_wq);
	mutex_destroy(&zdev->bos.lock);
	mutex_destroy(&zdev->hw_lock);
}

static int zhenwu_device_init_sw(struct zhenwu_device *zdev)
{
	int ret;

	mutex_init(&zdev->hw_lock);
	mutex_init(&zdev->bos.lock);
	INIT_LIST_HEAD(&zdev->bos.list);
	INIT_LIST_HEAD(&zdev->queues);
	INIT_LIST_HEAD(&zdev->vms);
	ida_init(&zdev->queue_ids);
	ida_init(&zdev->vm_ids);
	zhenwu_reset_init(zdev);
	zhenwu_ras_init(zdev);
	zhenwu_usage_init(zdev);
	INIT_DELAYED_WORK(&zdev->watchdog, zhenwu_watchdog_work);

	ret = drmm_add_action_or_reset(&zdev->drm, zhenwu_device_release, zdev);
	if (ret)
		return ret;
	ret = zhenwu_purge_init(zdev);
	if (ret)
		return ret;
	ret = zhenwu_evict_init(zdev);
	if (ret)
		return ret;
	ret = zhenwu_telemetry_init_sw(zdev);
	if (ret)
		return ret;
	ret = zhenwu_perf_init_sw(zdev);
	if (ret)
		return ret;
	/*
	 * Bound to the CPU that submits: the worker runs when the task goes to wait, and the
	 * interrupt of the queue arrives there too. With high priority it would push the task off
	 * its CPU, and waking another CPU for it costs more than the whole job.
	 */
	zdev->sched_wq = alloc_workqueue("zhenwu-sched", WQ_PERCPU | WQ_MEM_RECLAIM, 0);
	if (!zdev->sched_wq)
		return -ENOMEM;
	/* Tables stay what they are while HBM is saved for system sleep. */
	zdev->bind_wq = alloc_workqueue("zhenwu-bind",
					WQ_UNBOUND | WQ_FREEZABLE | WQ_MEM_RECLAIM, 0);
	if (!zdev->bind_wq)
		return -ENOMEM;
	return 0;
}

/* Gets the device from whatever state it is in to a running firmware. */
static int zhenwu_device_start(struct zhenwu_device *zdev)
{
	int ret;

	ret = zhenwu_fw_reset_device(zdev);
	if (ret) {
		drm_err(&zdev->drm, "the device does not reset: %d\n", ret);
		return ret;
	}
	pci_set_master(zdev->pdev);
	ret = zhenwu_fw_boot(zdev);
	if (ret)
		goto err_stop;
	ret = zhenwu_hbm_scrub_all(zdev);
	if (ret) {
		drm_err(&zdev->drm, "HBM cannot be scrubbed: %d\n", ret);
		goto err_stop;
	}
	pci_save_state(zdev->pdev);
	return 0;

err_stop:
	zhenwu_reset_stop(zdev);
	return ret;
}

/**
 * zhenwu_device_init() - bring a device up
 * @zdev: device, allocated and with its PCI function set
 *
 * Return: 0 or a negative error, explained in the kernel log.
 */
int zhenwu_device_init(struct zhenwu_device *zdev)
{
	int ret;

	ret = zhenwu_device_init_sw(zdev);
	if (ret)
		return ret;
	ret = zhenwu_device_map(zdev);
	if (ret)
		return ret;
	ret = zhenwu_device_identify(zdev);
	if (ret)
		return ret;
	zdev->reset.wq = alloc_ordered_workqueue("zhenwu-reset", WQ_MEM_RECLAIM);
	if (!zdev->reset.wq)
		return -ENOMEM;
	ret = zhenwu_coredump_init(zdev);
	if (ret)
		goto err_hbm;
	ret = zhenwu_dmem_init(zdev);
	if (!ret)
		ret = zhenwu_hbm_init(zdev);
	if (ret)
		goto err_hbm;
	ret = zhenwu_clients_init(zdev);
	if (ret)
		goto err_hbm;
	ret = zhenwu_ipc_init(zdev);
	if (ret)
		goto err_hbm;
	ret = zhenwu_telemetry_init(zdev);
	if (ret)
		goto err_ipc;
	ret = zhenwu_irq_init(zdev);
	if (ret)
		goto err_telemetry;
	ret = zhenwu_fw_load(zdev);
	if (ret)
		goto err_irq;
	ret = zhenwu_pm_init(zdev);
	if (ret)
		goto err_fw;
	ret = zhenwu_device_start(zdev);
	if (ret)
		goto err_pm;
	zhenwu_reset_live(zdev);

	drm_info(&zdev->drm,
		 "%s: %llu MiB HBM (%llu MiB visible), %u queues, %u VMs, ABI %u.%u, firmware %u.%u.%u\n",
		 zdev->info.profile_name, zdev->info.hbm_size >> 20,
		 zdev->info.aperture_size >> 20, zdev->info.num_queues, zdev->info.num_vms,
		 ZW_ABI_VERSION_MAJOR(zdev->info.abi_version),
		 ZW_ABI_VERSION_MINOR(zdev->info.abi_version),
		 ZW_FW_VERSION_MAJOR(zdev->fw.version), ZW_FW_VERSION_MINOR(zdev->fw.version),
		 ZW_FW_VERSION_PATCH(zdev->fw.version));
	return 0;

err_pm:
	zhenwu_pm_fini(zdev);
	zhenwu_ras_fini(zdev);
err_fw:
	zhenwu_fw_unload(zdev);
err_irq:
	zhenwu_irq_fini(zdev);
err_telemetry:
	zhenwu_telemetry_fini(zdev);
err_ipc:
	zhenwu_ipc_fini(zdev);
err_hbm:
	zhenwu_hbm_stop(zdev);
	destroy_workqueue(zdev->reset.wq);
	cancel_work_sync(&zdev->reset.revoke);
	zhenwu_coredump_fini(zdev);
	return ret;
}

/**
 * zhenwu_device_fini() - give back what belongs to the PCI function
 * @zdev: device, registered or not
 *
 * Files may still be open. What they own keeps the DRM device and its allocators, nothing of it
 * touches the hardware.
 */
void zhenwu_device_fini(struct zhenwu_device *zdev)
{
	zhenwu_reset_stop(zdev);
	zhenwu_pm_fini(zdev);
	cancel_work_sync(&zdev->reset.work);
	cancel_delayed_work_sync(&zdev->reset.rescue);
	zhenwu_ras_fini(zdev);
	cancel_delayed_work_sync(&zdev->watchdog);
	zhenwu_queue_unmap_all(zdev);
	zhenwu_hbm_stop(zdev);
	zhenwu_irq_fini(zdev);
	zhenwu_coredump_fini(zdev);
	zhenwu_telemetry_fini(zdev);
	zhenwu_perf_fini(zdev);
	zhenwu_ipc_fini(zdev);
	zhenwu_fw_unload(zdev);
	destroy_workqueue(zdev->reset.wq);
	cancel_work_sync(&zdev->reset.revoke);
}

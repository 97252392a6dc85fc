// SPDX-License-Identifier: GPL-2.0-only
/*
 * Device reset, function level reset, removal and loss.
 *
 * A device reset stops all queues but leaves HBM alone: clients make new queues on their VMs and go
 * on. A function level reset loses HBM, and with it the VMs. When the device does not come back it
 * is wedged: nothing works any more, and nothing hangs.
 *
 * All of this makes fences signal, so nothing here allocates memory or waits for a fence.
 */

#include <linux/dma-fence.h>
#include <linux/mm.h>
#include <linux/pci.h>

#include <drm/drm_drv.h>
#include <drm/drm_print.h>

#include "zhenwu_device.h"
#include "zhenwu_queue.h"
#include "zhenwu_reset.h"
#include "zhenwu_vm.h"

static void zhenwu_reset_wedge(struct zhenwu_device *zdev)
{
	drm_err(&zdev->drm, "the device is lost; unbind it or reboot\n");
	/* It may still run: it must not reach memory that is given back from now on. */
	pci_clear_master(zdev->pdev);
	WRITE_ONCE(zdev->reset.wedged, true);
}

static void zhenwu_reset_announce(struct zhenwu_device *zdev)
{
	lockdep_assert_held(&zdev->hw_lock);

	WRITE_ONCE(zdev->reset.gen, zdev->reset.gen + 1);
	wake_up_all(&zdev->reset.wait);
}

static void zhenwu_reset_lose_queues(struct zhenwu_device *zdev, bool innocent, int error)
{
	struct zhenwu_queue *queue;

	lockdep_assert_held(&zdev->hw_lock);

	WRITE_ONCE(zdev->reset.count, zdev->reset.count + 1);
	/* What was completed before the device stopped was completed. */
	zhenwu_irq_sync(zdev);
	list_for_each_entry(queue, &zdev->queues, node)
		zhenwu_queue_lose_locked(queue, innocent, error);
}

/* Boots the firmware again. Return: 0 or a negative error. */
static int zhenwu_reset_restart(struct zhenwu_device *zdev)
{
	struct zhenwu_vm *vm;
	int ret;

	lockdep_assert_held(&zdev->hw_lock);

	ret = zhenwu_fw_boot(zdev);
	if (ret)
		return ret;
	list_for_each_entry(vm, &zdev->vms, node) {
		vm->on_hw = false;
		if (READ_ONCE(vm->unusable))
			continue;
		ret = zhenwu_vm_register_locked(vm);
		if (ret) {
			drm_err(&zdev->drm, "VM %u cannot be restored: %d\n", vm->hw_id, ret);
			zhenwu_ipc_down(zdev);
			return ret;
		}
	}
	return 0;
}

/**
 * zhenwu_reset_work() - reset the device and bring it back
 * @work: reset.work of the device
 */
void zhenwu_reset_work(struct work_struct *work)
{
	struct zhenwu_device *zdev = container_of(work, struct zhenwu_device, reset.work);
	bool cookie;
	int ret;

	/* Somebody else may have reset the device meanwhile: a function level reset. */
	if (READ_ONCE(zdev->reset.requested_gen) != READ_ONCE(zdev->reset.gen))
		return;
	/* Ends the requests of those who hold hw_lock. */
	zhenwu_ipc_down(zdev);

	cookie = dma_fence_begin_signalling();
	mutex_lock(&zdev->hw_lock);
	/* Again, unless the mailbox of the restarted firmware was just taken down above. */
	if (!zhenwu_device_alive(zdev) ||
	    (zdev->reset.requested_gen != zdev->reset.gen && READ_ONCE(zdev->ipc.up)))
		goto out;

	drm_warn(&zdev->drm, "resetting the device\n");
	ret = zhenwu_fw_reset_device(zdev);
	if (ret)
		drm_err(&zdev->drm, "the device does not reset: %d\n", ret);
	if (ret)
		zhenwu_reset_wedge(zdev);
	zhenwu_reset_lose_queues(zdev, true, -ECANCELED);
	if (!ret) {
		ret = zhenwu_reset_restart(zdev);
		if (ret)
			zhenwu_reset_wedge(zdev);
		else
			drm_info(&zdev->drm, "the device works again\n");
	}
	zhenwu_reset_announce(zdev);
out:
	mutex_unlock(&zdev->hw_lock);
	dma_fence_end_signalling(cookie);
}

/**
 * zhenwu_reset_schedule() - ask for a device reset
 * @zdev: device
 *
 * Any context that may sleep; several requests are one reset. zhenwu_reset_wait() waits for it.
 */
void zhenwu_reset_schedule(struct zhenwu_device *zdev)
{
	if (!zhenwu_device_alive(zdev))
		return;
	WRITE_ONCE(zdev->reset.requested_gen, READ_ONCE(zdev->reset.gen));
	queue_work(zdev->reset.wq, &zdev->reset.work);
}

/**
 * zhenwu_reset_wait() - wait until a reset is over
 * @zdev: device
 * @gen: reset.gen read before the request that failed
 *
 * Must not be called with hw_lock held. On return the device does no DMA for anybody who was there
 * before.
 */
void zhenwu_reset_wait(struct zhenwu_device *zdev, u32 gen)
{
	wait_event(zdev->reset.wait, READ_ONCE(zdev->reset.gen) != gen ||
		   READ_ONCE(zdev->reset.wedged) || READ_ONCE(zdev->reset.stopped));
}

/**
 * zhenwu_reset_stop() - stop the device for good
 * @zdev: device that is being removed; reset.gone is set
 *
 * On return no DMA is under way and all jobs that ran have ended with -ENODEV.
 */
void zhenwu_reset_stop(struct zhenwu_device *zdev)
{
	int ret;

	zhenwu_ipc_down(zdev);
	mutex_lock(&zdev->hw_lock);
	ret = zhenwu_fw_reset_device(zdev);
	if (ret && ret != -ENODEV)
		drm_err(&zdev->drm, "the device does not get quiet: %d\n", ret);
	pci_clear_master(zdev->pdev);
	zhenwu_reset_lose_queues(zdev, true, -ENODEV);
	WRITE_ONCE(zdev->reset.stopped, true);
	zhenwu_reset_announce(zdev);
	mutex_unlock(&zdev->hw_lock);
}

/**
 * zhenwu_reset_flr_prepare() - a function level reset is about to happen
 * @pdev: PCI function
 *
 * Returns with hw_lock held; zhenwu_reset_flr_done(), which the PCI core calls from the same
 * context, drops it.
 */
void zhenwu_reset_flr_prepare(struct pci_dev *pdev)
{
	struct zhenwu_device *zdev = pci_get_drvdata(pdev);
	struct zhenwu_vm *vm;

	drm_warn(&zdev->drm, "function level reset, HBM contents are lost\n");
	WRITE_ONCE(zdev->reset.in_flr, true);
	/* New faults are refused until it is over; those that were served are taken back. */
	unmap_mapping_range(zdev->drm.anon_inode->i_mapping, 0, 0, 1);
	zhenwu_ipc_down(zdev);
	mutex_lock(&zdev->hw_lock);
	list_for_each_entry(vm, &zdev->vms, node)
		zhenwu_vm_lose_locked(vm);
	if (zhenwu_device_alive(zdev) && zhenwu_fw_reset_device(zdev))
		drm_err(&zdev->drm, "the device does not get quiet\n");
	/* The MSI-X table is about to move away and come back. */
	zhenwu_irq_disable(zdev);
}

/**
 * zhenwu_reset_flr_done() - a function level reset is over
 * @pdev: PCI function
 */
void zhenwu_reset_flr_done(struct pci_dev *pdev)
{
	struct zhenwu_device *zdev = pci_get_drvdata(pdev);
	int ret;

	lockdep_assert_held(&zdev->hw_lock);

	zhenwu_irq_enable(zdev);
	zhenwu_reset_lose_queues(zdev, true, -ECANCELED);
	if (zhenwu_device_alive(zdev)) {
		ret = zhenwu_reset_restart(zdev);
		if (ret)
			zhenwu_reset_wedge(zdev);
		else
			drm_info(&zdev->drm, "the device works again\n");
	}
	WRITE_ONCE(zdev->reset.in_flr, false);
	zhenwu_reset_announce(zdev);
	mutex_unlock(&zdev->hw_lock);
}

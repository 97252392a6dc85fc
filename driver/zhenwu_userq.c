// SPDX-License-Identifier: GPL-2.0-only
/*
 * User-mode queues: doorbells in user space, waiting, and what the kernel knows of them.
 *
 * Ring, control block and completions are in the VM of the queue. The kernel reads and writes none
 * of them: what is in there is between the process and the device, which trusts it no more than
 * anything else in the VM. No fence depends on a job of such a queue, so it may take for ever.
 *
 * The one thing that is not the process's own is the doorbell, a page of the registers. It must not
 * reach further than the queue: before the queue's number is free for another the page is taken
 * away, and where it was is a page of memory.
 */

#include <linux/io.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_print.h>
#include <drm/drm_utils.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu/zw_fw.h"
#include "zhenwu/zw_queue.h"
#include "zhenwu/zw_regs.h"
#include "zhenwu_device.h"
#include "zhenwu_queue.h"
#include "zhenwu_reset.h"
#include "zhenwu_userq.h"
#include "zhenwu_vm.h"
#include "zhenwu_watchdog.h"

/**
 * zhenwu_userq_supported() - can there be user-mode queues
 * @zdev: device
 *
 * Return: true when device and firmware have them, and a page of ours holds one doorbell only.
 */
bool zhenwu_userq_supported(struct zhenwu_device *zdev)
{
	return PAGE_SIZE == 1u << ZW_DOORBELL_SHIFT && zdev->info.caps & ZW_CAP_USER_QUEUES &&
	       ZW_ABI_VERSION_MINOR(READ_ONCE(zdev->fw.abi)) >= 3;
}

static bool zhenwu_userq_range(u64 va, u64 bytes)
{
	return IS_ALIGNED(va, 64) && va >= ZHENWU_VA_START && va <= ZHENWU_VA_END - bytes;
}

/**
 * zhenwu_userq_fits() - do rings and VM go together
 * @user: rings that user space names
 * @slots: their slots
 * @vm: VM of the queue
 *
 * Return: true when a long-running VM comes with three proper addresses, or another with none.
 */
bool zhenwu_userq_fits(const struct zhenwu_user_rings *user, u32 slots,
		       const struct zhenwu_vm *vm)
{
	if (!vm->lr)
		return !user->ring && !user->ctrl && !user->completions;
	return zhenwu_userq_range(user->ring, (u64)slots * sizeof(struct zw_ring_entry)) &&
	       zhenwu_userq_range(user->ctrl, sizeof(struct zw_ring_ctrl)) &&
	       zhenwu_userq_range(user->completions, (u64)slots * sizeof(struct zw_completion));
}

/**
 * zhenwu_userq_init() - make a user-mode queue of a new queue
 * @queue: queue
 * @user: its rings
 *
 * Return: 0 or -ENOMEM.
 */
int zhenwu_userq_init(struct zhenwu_queue *queue, const struct zhenwu_user_rings *user)
{
	queue->user = true;
	queue->userq.rings = *user;
	init_waitqueue_head(&queue->userq.wait);
	queue->userq.dummy = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	return queue->userq.dummy ? 0 : -ENOMEM;
}

/* -- doorbells -------------------------------------------------------------------------------- */

/**
 * zhenwu_userq_doorbell_offset() - where the doorbell is for mmap()
 * @queue: queue
 *
 * By the device's number, which no other queue has, in whatever file: so that it can be revoked
 * alone.
 *
 * Return: offset, 0 for a queue of the kernel.
 */
u64 zhenwu_userq_doorbell_offset(const struct zhenwu_queue *queue)
{
	return queue->user ? DRM_ZHENWU_MMAP_RESERVED + ((u64)queue->hw_id << PAGE_SHIFT) : 0;
}

static vm_fault_t zhenwu_userq_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct zhenwu_queue *queue = vma->vm_private_data;
	struct zhenwu_device *zdev = queue->zdev;
	u64 bell = zdev->regs_phys + ZW_REG_DOORBELL(queue->hw_id);
	bool awake = !zhenwu_pm_get(zdev);
	vm_fault_t ret = 0;
	int idx;

	if (awake && drm_dev_enter(&zdev->drm, &idx)) {
		if (zhenwu_aperture_enter(zdev)) {
			if (!READ_ONCE(queue->userq.revoked) && !READ_ONCE(queue->dead))
				ret = vmf_insert_pfn(vma, vma->vm_start, bell >> PAGE_SHIFT);
			zhenwu_aperture_exit(zdev);
		}
		drm_dev_exit(idx);
	}
	if (awake)
		zhenwu_pm_put(zdev);
	/* A process that has not heard of it yet must not die of ringing. */
	if (!ret)
		ret = vmf_insert_pfn_prot(vma, vma->vm_start, page_to_pfn(queue->userq.dummy),
					  vm_get_page_prot(vma->vm_flags));
	return ret;
}

static void zhenwu_userq_vm_open(struct vm_area_struct *vma)
{
	zhenwu_queue_get(vma->vm_private_data);
}

static void zhenwu_userq_vm_close(struct vm_area_struct *vma)
{
	zhenwu_queue_put(vma->vm_private_data);
}

static const struct vm_operations_struct zhenwu_userq_vm_ops = {
	.open = zhenwu_userq_vm_open,
	.close = zhenwu_userq_vm_close,
	.fault = zhenwu_userq_fault,
};

static struct zhenwu_queue *zhenwu_userq_by_offset(struct zhenwu_file *zfile, unsigned long pgoff)
{
	struct zhenwu_queue *queue, *found = NULL;
	unsigned long id;

	xa_lock(&zfile->queues);
	xa_for_each(&zfile->queues, id, queue) {
		if (queue->user && zhenwu_userq_doorbell_offset(queue) >> PAGE_SHIFT == pgoff) {
			found = zhenwu_queue_get(queue);
			break;
		}
	}
	xa_unlock(&zfile->queues);
	return found;
}

/**
 * zhenwu_userq_mmap() - map a doorbell
 * @zfile: file, whose queue it has to be
 * @vma: mapping
 *
 * Return: 0 or -EINVAL.
 */
int zhenwu_userq_mmap(struct zhenwu_file *zfile, struct vm_area_struct *vma)
{
	struct zhenwu_queue *queue;

	if (vma_pages(vma) != 1 || !(vma->vm_flags & VM_SHARED) || vma->vm_flags & VM_EXEC)
		return -EINVAL;
	queue = zhenwu_userq_by_offset(zfile, vma->vm_pgoff);
	if (!queue)
		return -EINVAL;

	vm_flags_mod(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP | VM_DONTCOPY,
		     VM_MAYEXEC);
	vma->vm_page_prot = pgprot_decrypted(pgprot_noncached(vm_get_page_prot(vma->vm_flags)));
	/* The mapping keeps the queue's structure and its page. */
	vma->vm_private_data = queue;
	vma->vm_ops = &zhenwu_userq_vm_ops;
	return 0;
}

/* Takes doorbells away. What was to keep faults from giving them out again is set. */
static void zhenwu_userq_unmap(struct zhenwu_device *zdev, u64 offset, u64 bytes)
{
	/* Faults that did not see it yet have inserted their page when this is got. */
	down_write(&zdev->reset.aperture);
	up_write(&zdev->reset.aperture);
	unmap_mapping_range(zdev->drm.anon_inode->i_mapping, offset, bytes, 1);
}

/**
 * zhenwu_userq_revoke() - take the doorbell of a queue away
 * @queue: user-mode queue that is being closed
 */
void zhenwu_userq_revoke(struct zhenwu_queue *queue)
{
	WRITE_ONCE(queue->userq.revoked, true);
	zhenwu_userq_unmap(queue->zdev, zhenwu_userq_doorbell_offset(queue), PAGE_SIZE);
}

/**
 * zhenwu_userq_revoke_all() - take all doorbells away
 * @zdev: device that was reset: queues that it forgot get no other
 */
void zhenwu_userq_revoke_all(struct zhenwu_device *zdev)
{
	zhenwu_userq_unmap(zdev, DRM_ZHENWU_MMAP_RESERVED, (u64)ZW_MAX_QUEUES << PAGE_SHIFT);
}

/* -- what the device says of a queue ---------------------------------------------------------- */

/**
 * zhenwu_userq_note() - take down what the firmware said of a queue
 * @queue: user-mode queue
 * @info: what it said
 */
void zhenwu_userq_note(struct zhenwu_queue *queue, const struct zw_msg_queue_info *info)
{
	u32 completed = le32_to_cpu(info->completed), fetched = le32_to_cpu(info->fetched);
	u32 reason = le32_to_cpu(info->last_reason);
	unsigned long flags;

	spin_lock_irqsave(&queue->lock, flags);
	/*
	 * The firmware has 32 bits of numbers that only grow. What it said before what was noted
	 * last, to who asked at the same time, is no news.
	 */
	queue->completed += max((s32)(completed - lower_32_bits(queue->completed)), 0);
	queue->seqno += max((s32)(fetched - lower_32_bits(queue->seqno)), 0);
	if (le32_to_cpu(info->state) == ZW_QUEUE_ERROR) {
		if (!queue->error.state) {
			u32 behind = completed - le32_to_cpu(info->failed);

			queue->error.state = DRM_ZHENWU_QUEUE_STATE_FAILED;
			queue->error.status = le32_to_cpu(info->last_status);
			queue->error.reason = reason & 0xffff;
			queue->error.fault_access = reason >> 16;
			queue->error.packet_index = le32_to_cpu(info->packet_index);
			queue->error.fault_va = (u64)le32_to_cpu(info->fault_hi) << 32 |
						le32_to_cpu(info->fault_lo);
			queue->error.seqno = info->failed ? queue->completed - behind : 0;
		}
		zhenwu_queue_close_ring_locked(queue, -ECANCELED);
	}
	spin_unlock_irqrestore(&queue->lock, flags);
}

/**
 * zhenwu_userq_ask() - ask the firmware for a queue
 * @queue: user-mode queue
 *
 * Return: 0, or -ERESTARTSYS for a fatal signal. That there is nobody to ask is no error.
 */
int zhenwu_userq_ask(struct zhenwu_queue *queue)
{
	struct zw_msg_queue msg = { .queue = cpu_to_le32(queue->hw_id) };
	struct zw_msg_queue_info info;
	int ret;

	/* One that was stopped says nothing new, and its number may be another queue's. */
	if (READ_ONCE(queue->dead))
		return 0;
	ret = zhenwu_ipc_request_in(queue->zdev, queue->session, ZHENWU_IPC_KILLABLE,
				    ZW_MSG_QUERY_QUEUE, &msg, sizeof(msg), &info, sizeof(info));
	if (!ret && !READ_ONCE(queue->dead))
		zhenwu_userq_note(queue, &info);
	return ret == -ERESTARTSYS ? ret : 0;
}

/**
 * zhenwu_userq_hung() - decide on a queue that did not move between two progress checks
 * @queue: user-mode queue
 * @state: &enum zw_queue_state the firmware says it is in
 * @stalled: it has not for long
 *
 * It may wait as long as it likes, for jobs, for a semaphore, for its turn. Only one that has the
 * engines and does nothing is in the way of others.
 *
 * Return: should it be ended.
 */
bool zhenwu_userq_hung(struct zhenwu_queue *queue, u32 state, bool stalled)
{
	switch (state) {
	case ZW_QUEUE_RUNNING:
	case ZW_QUEUE_DRAINING:
		return stalled;
	case ZW_QUEUE_IDLE:
	case ZW_QUEUE_READY:
	case ZW_QUEUE_BLOCKED:
	case ZW_QUEUE_SUSPENDED:
	case ZW_QUEUE_ERROR:
		spin_lock_irq(&queue->lock);
		zhenwu_watchdog_start_locked(queue);
		spin_unlock_irq(&queue->lock);
		return false;
	default:
		drm_err(&queue->zdev->drm, "firmware says queue %u is in state %u\n", queue->hw_id,
			state);
		return true;
	}
}

/* -- waiting ---------------------------------------------------------------------------------- */

/* Return: 0 when the word is there, 1 when not, or -EFAULT. */
static int zhenwu_userq_reached(const struct drm_zhenwu_queue_wait *args)
{
	__le64 word;

	if (copy_from_user(&word, u64_to_user_ptr(args->addr), sizeof(word)))
		return -EFAULT;
	return le64_to_cpu(word) < args->value;
}

static int zhenwu_userq_wait(struct zhenwu_queue *queue, const struct drm_zhenwu_queue_wait *args)
{
	/* An interrupt may be lost. Who waits looks now and then. */
	long period = msecs_to_jiffies(queue->zdev->info.progress_ms);
	DEFINE_WAIT_FUNC(wait, woken_wake_function);
	int ret;

	add_wait_queue(&queue->userq.wait, &wait);
	for (;;) {
		int dead = READ_ONCE(queue->dead);
		long left;

		/* What the device wrote before the queue was stopped counts. */
		smp_rmb();
		ret = zhenwu_userq_reached(args);
		if (ret <= 0)
			break;
		left = drm_timeout_abs_to_jiffies(args->timeout_ns);
		if (dead)
			ret = dead;
		else if (!left)
			ret = -ETIME;
		else if (signal_pending(current))
			ret = -ERESTARTSYS;
		if (ret < 0)
			break;
		wait_woken(&wait, TASK_INTERRUPTIBLE, min(left, period));
	}
	remove_wait_queue(&queue->userq.wait, &wait);
	return ret;
}

/**
 * zhenwu_ioctl_queue_wait() - DRM_IOCTL_ZHENWU_QUEUE_WAIT
 * @drm: device
 * @data: &struct drm_zhenwu_queue_wait
 * @file: file
 *
 * Nothing is held while it sleeps, so that a removal does not wait for it: that stops the queue.
 *
 * Return: 0 or a negative error.
 */
int zhenwu_ioctl_queue_wait(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct drm_zhenwu_queue_wait *args = data;
	struct zhenwu_queue *queue;
	int ret = -EINVAL;

	if (args->flags || args->timeout_ns < 0 || !IS_ALIGNED(args->addr, 8))
		return -EINVAL;
	queue = zhenwu_queue_lookup(file->driver_priv, args->queue_id);
	if (!queue)
		return -ENOENT;
	if (queue->user)
		ret = zhenwu_userq_wait(queue, args);
	zhenwu_queue_put(queue);
	return ret;
}

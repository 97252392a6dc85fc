// SPDX-License-Identifier: GPL-2.0-only
/*
 * Device coredumps: the state of the device when something failed, for who is to find out why.
 * Documentation/coredump.md has the format.
 *
 * In two steps. When the failure is found its state is copied into memory that was allocated when
 * the driver was bound: fences wait for the end of the failure, so there is nothing to be allocated
 * and nothing to be waited for. A work makes text of the copy afterwards and gives it to the
 * devcoredump class, which keeps the first until it was read or is five minutes old.
 *
 * A dump is for root. Of the memory of clients it has the command buffer that failed, of no other
 * client more than the numbers of its queues; there are no addresses of the kernel in it.
 */

#include <linux/delay.h>
#include <linux/devcoredump.h>
#include <linux/kref.h>
#include <linux/scatterlist.h>
#include <linux/timekeeping.h>
#include <linux/vmalloc.h>

#include <drm/drm_drv.h>
#include <drm/drm_gpuvm.h>
#include <drm/drm_print.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu_coredump.h"
#include "zhenwu_device.h"
#include "zhenwu_drv.h"
#include "zhenwu_gem.h"
#include "zhenwu_job.h"
#include "zhenwu_pt.h"
#include "zhenwu_queue.h"
#include "zhenwu_snapshot.h"
#include "zhenwu_vm.h"

/* Registers in a dump, in its order. */
const struct zhenwu_snap_reg zhenwu_snap_regs[ZHENWU_SNAP_REGS] = {
	{ "magic", ZW_REG_MAGIC },
	{ "reset_status", ZW_REG_RESET_STATUS },
	{ "boot_status", ZW_REG_BOOT_STATUS },
	{ "boot_error", ZW_REG_BOOT_ERROR },
	{ "boot_detail", ZW_REG_BOOT_DETAIL },
	{ "fw_version", ZW_REG_FW_VERSION },
	{ "fw_heartbeat", ZW_REG_FW_HEARTBEAT },
	{ "fw_trap_cause", ZW_REG_FW_TRAP_CAUSE },
	{ "fw_trap_pc", ZW_REG_FW_TRAP_PC, true },
	{ "temperature_mc", ZW_REG_TEMPERATURE_MC },
	{ "hbm_read", ZW_PMU_HBM_READ, true },
	{ "hbm_written", ZW_PMU_HBM_WRITTEN, true },
	{ "sys_read", ZW_PMU_SYS_READ, true },
	{ "sys_written", ZW_PMU_SYS_WRITTEN, true },
	{ "packets", ZW_PMU_PACKETS, true },
	{ "jobs", ZW_PMU_JOBS, true },
	{ "faults", ZW_PMU_FAULTS, true },
	{ "ecc_corrected", ZW_PMU_ECC_CORRECTED, true },
	{ "settled_ps", ZW_PMU_SETTLED_PS, true },
};

/* -- first step: nothing is allocated, nobody is waited for ------------------------------------ */

static void zhenwu_snap_device(struct zhenwu_snapshot *snap)
{
	struct zhenwu_device *zdev = snap->zdev;
	struct zhenwu_ipc *ipc = &zdev->ipc;
	unsigned long flags;
	unsigned int i;

	snap->real_ns = ktime_get_real_ns();
	snap->boot_ns = ktime_get_boottime_ns();
	snap->state = zhenwu_device_state(zdev);
	snap->reset_reason = snap->cause == ZHENWU_COREDUMP_RESET ? READ_ONCE(zdev->reset.reason) :
								    DRM_ZHENWU_RESET_NEVER;
	snap->reset_count = READ_ONCE(zdev->reset.count);
	pci_read_config_word(zdev->pdev, PCI_COMMAND, &snap->pci_command);
	for (i = 0; i < ZHENWU_SNAP_REGS; i++)
		snap->regs[i] = i && snap->regs[0] != ZW_MAGIC ? 0 :
				zhenwu_snap_regs[i].wide ?
					zhenwu_read64(zdev, zhenwu_snap_regs[i].reg) :
					zhenwu_read32(zdev, zhenwu_snap_regs[i].reg);
	/* Each read of a device that is not there takes its time. */
	if (snap->regs[0] == ZW_MAGIC)
		for (i = 0; i < ARRAY_SIZE(snap->shared); i++)
			snap->shared[i] = cpu_to_le32(zhenwu_read32(zdev,
								    ZW_REG_FW_SHARED + 4 * i));
	else
		memset(snap->shared, 0, sizeof(snap->shared));

	spin_lock_irqsave(&ipc->lock, flags);
	memcpy(snap->mbox[0], ipc->h2f, sizeof(snap->mbox[0]));
	memcpy(snap->mbox[1], ipc->f2h, sizeof(snap->mbox[1]));
	snap->mbox_seq[0] = ipc->h2f_seq;
	snap->mbox_seq[1] = ipc->f2h_seq;
	snap->outstanding = ipc->outstanding;
	spin_unlock_irqrestore(&ipc->lock, flags);
}

static void zhenwu_snap_queues(struct zhenwu_snapshot *snap)
{
	struct zhenwu_device *zdev = snap->zdev;
	struct zhenwu_queue *queue;

	lockdep_assert_held(&zdev->hw_lock);

	snap->num_queues = 0;
	list_for_each_entry(queue, &zdev->queues, node) {
		struct zhenwu_snap_queue *q = &snap->queues[snap->num_queues];

		if (snap->num_queues++ >= ZHENWU_SNAP_QUEUES)
			continue;
		spin_lock_irq(&queue->lock);
		*q = (struct zhenwu_snap_queue) {
			.hw_id = queue->hw_id,
			.vm = queue->vm->hw_id,
			.priority = queue->priority,
			.state = queue->error.state,
			.fw_state = le32_to_cpu(queue->watchdog.info.state),
			.seqno = queue->seqno,
			.completed = queue->completed,
			.user = queue->user,
		};
		spin_unlock_irq(&queue->lock);
	}
}

/* The job a queue is at: the one it failed in, else the oldest that has not ended. */
static u64 zhenwu_snap_seqno(struct zhenwu_queue *queue)
{
	struct zhenwu_job *job;

	lockdep_assert_held(&queue->lock);

	if (queue->error.seqno)
		return queue->error.seqno;
	job = list_first_entry_or_null(&queue->inflight, struct zhenwu_job, node);
	return job && job->in_ring ? zhenwu_job_current(job) : 0;
}

static void zhenwu_snap_queue(struct zhenwu_snapshot *snap)
{
	struct zhenwu_queue *queue = snap->queue;
	u64 seqno;

	lockdep_assert_held(&snap->zdev->hw_lock);

	spin_lock_irq(&queue->lock);
	snap->hw_id = queue->hw_id;
	snap->vm_id = queue->vm->hw_id;
	snap->seqno = zhenwu_snap_seqno(queue);
	snap->error.status = queue->error.status;
	snap->error.reason = queue->error.reason;
	snap->error.packet_index = queue->error.packet_index;
	snap->error.fault_va = queue->error.fault_va;
	snap->info = queue->watchdog.info;
	snap->slots = queue->slots;
	snap->num_slots = 0;
	snap->cmd_bytes = 0;
	snap->cmd_va = 0;
	/* Rings of user-mode queues are the client's, and not looked at. */
	if (!queue->user && queue->mem && queue->seqno) {
		u64 last = queue->seqno;

		snap->tail = le32_to_cpu(READ_ONCE(queue->ctrl->tail));
		/* The one that failed, and what there is behind it; else the last. */
		snap->first = snap->seqno ?: last;
		if (last - snap->first >= queue->slots)
			snap->first = last - queue->slots + 1;
		snap->num_slots = min_t(u64, last - snap->first + 1, ZHENWU_SNAP_SLOTS);
		for (seqno = 0; seqno < snap->num_slots; seqno++) {
			u32 slot = (snap->first + seqno) % queue->slots;

			snap->ring[seqno] = queue->ring[slot];
			snap->compl[seqno] = queue->compl[slot];
		}
		if (snap->seqno == snap->first) {
			snap->cmd_va = le64_to_cpu(snap->ring[0].cmd_va);
			snap->cmd_bytes = le32_to_cpu(snap->ring[0].cmd_bytes);
		}
	}
	spin_unlock_irq(&queue->lock);
}

/* Copies from a buffer as far as the CPU reaches it. Return: bytes copied. */
static u32 zhenwu_snap_read_memory(struct zhenwu_device *zdev, struct zhenwu_bo *bo, u64 offset,
				   void *to, u32 bytes)
{
	struct zhenwu_bo_cursor cur;
	u32 done = 0;

	/* What was imported need not be memory of this machine. */
	if (bo->flags & DRM_ZHENWU_BO_IMPORTED || offset >= bo->shmem.base.size)
		return 0;
	bytes = min_t(u64, bytes, bo->shmem.base.size - offset);
	if (bo->placement != DRM_ZHENWU_BO_HBM) {
		struct sg_table *sgt = bo->shmem.sgt;

		return IS_ERR_OR_NULL(sgt) ? 0 : sg_pcopy_to_buffer(sgt->sgl, sgt->orig_nents, to,
								    bytes, offset);
	}
	zhenwu_bo_cursor_start(&cur, bo, round_down(offset, PAGE_SIZE));
	zhenwu_bo_cursor_advance(&cur, offset_in_page(offset));
	while (done < bytes && cur.len) {
		u32 n = min_t(u64, cur.len, bytes - done);

		if (cur.addr >= zdev->info.aperture_size ||
		    n > zdev->info.aperture_size - cur.addr)
			break;
		memcpy_fromio(to + done, zdev->aperture + cur.addr, n);
		done += n;
		zhenwu_bo_cursor_advance(&cur, n);
	}
	return done;
}

/*
 * Who has the lock of all buffers may wait for one that somebody has who waits for memory, and
 * reclaim may wait for fences that signal when this is over. So it is tried, for some milliseconds.
 */
static bool zhenwu_snap_lock_bos(struct zhenwu_device *zdev)
{
	unsigned int i;

	for (i = 0; i < 50; i++) {
		if (mutex_trylock(&zdev->bos.lock))
			return true;
		usleep_range(100, 200);
	}
	return false;
}

/* A buffer may be just moved. */
static u32 zhenwu_snap_read_bo(struct zhenwu_device *zdev, struct zhenwu_bo *bo, u64 offset,
			       void *to, u32 bytes)
{
	u32 done;

	if (!zhenwu_snap_lock_bos(zdev))
		return 0;
	done = zhenwu_snap_read_memory(zdev, bo, offset, to, bytes);
	mutex_unlock(&zdev->bos.lock);
	return done;
}

static u32 zhenwu_snap_read_va(struct zhenwu_vm *vm, u64 va, void *to, u32 bytes)
{
	u32 done = 0;

	lockdep_assert_held(&vm->tree_lock);

	while (done < bytes) {
		u64 at = va + done;
		struct drm_gpuva *map = drm_gpuva_find_first(&vm->base, at, 1);
		u32 got, n;

		if (!map)
			break;
		n = min_t(u64, bytes - done, map->va.addr + map->va.range - at);
		got = zhenwu_snap_read_bo(vm->zdev, to_zhenwu_bo(map->gem.obj),
					  map->gem.offset + (at - map->va.addr), to + done, n);
		done += got;
		if (got != n)
			break;
	}
	return done;
}

/* Mappings and command buffer. hw_lock: the aperture stays where it is meanwhile. */
static void zhenwu_snap_vm(struct zhenwu_snapshot *snap, struct zhenwu_vm *vm)
{
	struct drm_gpuva *va;

	lockdep_assert_held(&vm->tree_lock);
	lockdep_assert_held(&vm->zdev->hw_lock);

	drm_gpuvm_for_each_va(va, &vm->base) {
		struct zhenwu_snap_map *map = &snap->maps[snap->num_maps];

		if (snap->num_maps++ >= ZHENWU_SNAP_MAPS)
			continue;
		*map = (struct zhenwu_snap_map) {
			.va = va->va.addr,
			.range = va->va.range,
			.offset = va->gem.offset,
			.size = va->gem.obj->size,
			.placement = to_zhenwu_bo(va->gem.obj)->placement,
			.readonly = va->flags & ZHENWU_VA_READONLY,
		};
	}
	if (READ_ONCE(vm->unusable))
		return;
	snap->cmd_taken = zhenwu_snap_read_va(vm, snap->cmd_va, snap->cmd,
					      min(snap->cmd_bytes, ZHENWU_SNAP_CMD_BYTES));
}

/* Nobody moves the device away under hw_lock in these; in others it is not to be looked at. */
static bool zhenwu_snap_reachable(struct zhenwu_device *zdev)
{
	enum zhenwu_state state = zhenwu_device_state(zdev);

	return state == ZHENWU_STATE_LIVE || state == ZHENWU_STATE_RESETTING;
}

/* A queue that has jobs is where to look first when the device as a whole failed. */
static struct zhenwu_queue *zhenwu_snap_suspect(struct zhenwu_device *zdev)
{
	struct zhenwu_queue *queue;
	bool busy;

	lockdep_assert_held(&zdev->hw_lock);

	list_for_each_entry(queue, &zdev->queues, node) {
		spin_lock_irq(&queue->lock);
		busy = zhenwu_snap_seqno(queue) && !queue->error.state;
		spin_unlock_irq(&queue->lock);
		if (busy)
			return zhenwu_queue_get(queue);
	}
	return NULL;
}

/* Return: false when the device is not in a state to be looked at. */
static bool zhenwu_snap_take(struct zhenwu_snapshot *snap)
{
	struct zhenwu_device *zdev = snap->zdev;
	bool ok;

	mutex_lock(&zdev->hw_lock);
	ok = zhenwu_snap_reachable(zdev);
	if (!ok)
		goto out;
	zhenwu_snap_device(snap);
	zhenwu_snap_queues(snap);
	snap->suspect = !snap->queue;
	if (!snap->queue)
		snap->queue = zhenwu_snap_suspect(zdev);
	if (!snap->queue)
		goto out;
	/* One that was closed meanwhile has no VM any more. */
	if (list_empty(&snap->queue->node)) {
		zhenwu_queue_put(snap->queue);
		snap->queue = NULL;
		goto out;
	}
	zhenwu_snap_queue(snap);
	if (!kref_get_unless_zero(&snap->queue->vm->users))
		goto out;
	snap->vm = snap->queue->vm;
	/* Who binds may wait for the end of this failure. Then they come in the second step. */
	if (mutex_trylock(&snap->vm->tree_lock)) {
		zhenwu_snap_vm(snap, snap->vm);
		snap->mapped = true;
		mutex_unlock(&snap->vm->tree_lock);
	}
out:
	mutex_unlock(&zdev->hw_lock);
	snap->taken = ok;
	return ok;
}

static bool zhenwu_snap_claim(struct zhenwu_snapshot *snap, enum zhenwu_coredump_cause cause)
{
	/* NULL: the device is being removed. */
	if (!snap || atomic_cmpxchg(&snap->busy, 0, 1))
		return false;
	snap->cause = cause;
	snap->queue = NULL;
	snap->vm = NULL;
	snap->taken = false;
	snap->mapped = false;
	snap->num_maps = 0;
	snap->cmd_taken = 0;
	snap->seqno = 0;
	return true;
}

static void zhenwu_snap_release(struct zhenwu_snapshot *snap)
{
	zhenwu_vm_put(snap->vm);
	if (snap->queue)
		zhenwu_queue_put(snap->queue);
	atomic_set_release(&snap->busy, 0);
}

/**
 * zhenwu_coredump_take() - keep the state of the device as it is now
 * @zdev: device; neither hw_lock nor the lock of a VM is held
 * @cause: what happened
 * @queue: the queue it happened to, known to the firmware; or NULL
 *
 * Sleeps for hw_lock only and allocates nothing: for paths that make fences signal.
 */
void zhenwu_coredump_take(struct zhenwu_device *zdev, enum zhenwu_coredump_cause cause,
			  struct zhenwu_queue *queue)
{
	struct zhenwu_snapshot *snap = zdev->snapshot;
	bool taken = false;
	int idx;

	if (!zhenwu_snap_claim(snap, cause))
		return;
	if (queue)
		snap->queue = zhenwu_queue_get(queue);
	/* Buffers are mapped for DMA while somebody is inside. */
	if (drm_dev_enter(&zdev->drm, &idx)) {
		taken = zhenwu_snap_take(snap);
		if (taken)
			queue_work(zhenwu_release_wq, &snap->work);
		drm_dev_exit(idx);
	}
	if (!taken)
		zhenwu_snap_release(snap);
}

/**
 * zhenwu_coredump_job_locked() - a job failed that the device is to blame for
 * @queue: its queue; the lock of the queue is held and its error noted
 *
 * Any context. All of the state is copied later.
 */
void zhenwu_coredump_job_locked(struct zhenwu_queue *queue)
{
	struct zhenwu_snapshot *snap = queue->zdev->snapshot;

	lockdep_assert_held(&queue->lock);

	if (!zhenwu_snap_claim(snap, ZHENWU_COREDUMP_JOB))
		return;
	snap->queue = zhenwu_queue_get(queue);
	queue_work(zhenwu_release_wq, &snap->work);
}

/* -- second step: text (zhenwu_coredump_print.c) ----------------------------------------------- */

static void zhenwu_coredump_give(struct zhenwu_snapshot *snap)
{
	struct zhenwu_device *zdev = snap->zdev;
	size_t len;
	void *text = zhenwu_coredump_print(snap, &len);

	if (!text)
		return;
	drm_info(&zdev->drm, "state at the failure (%s) is in /sys/class/devcoredump, unless an older one is\n",
		 zhenwu_coredump_cause_name(snap->cause));
	/* Frees it, when it was read or there is an older one. */
	dev_coredumpv(zdev->drm.dev, text, len, GFP_KERNEL);
}

static void zhenwu_coredump_work(struct work_struct *work)
{
	struct zhenwu_snapshot *snap = container_of(work, struct zhenwu_snapshot, work);
	struct zhenwu_device *zdev = snap->zdev;
	bool awake = !zhenwu_pm_get(zdev);
	int idx;

	if (awake && drm_dev_enter(&zdev->drm, &idx)) {
		if (!snap->taken)
			zhenwu_snap_take(snap);
		if (snap->vm && !snap->mapped) {
			mutex_lock(&snap->vm->tree_lock);
			mutex_lock(&zdev->hw_lock);
			if (zhenwu_snap_reachable(zdev))
				zhenwu_snap_vm(snap, snap->vm);
			mutex_unlock(&zdev->hw_lock);
			mutex_unlock(&snap->vm->tree_lock);
		}
		drm_dev_exit(idx);
	}
	if (awake)
		zhenwu_pm_put(zdev);
	if (snap->taken)
		zhenwu_coredump_give(snap);
	zhenwu_snap_release(snap);
}

/**
 * zhenwu_coredump_init() - get the memory for the state of a failure
 * @zdev: device
 *
 * Return: 0 or -ENOMEM.
 */
int zhenwu_coredump_init(struct zhenwu_device *zdev)
{
	struct zhenwu_snapshot *snap = vzalloc(sizeof(*snap));

	if (!snap)
		return -ENOMEM;
	snap->zdev = zdev;
	INIT_WORK(&snap->work, zhenwu_coredump_work);
	zdev->snapshot = snap;
	return 0;
}

/**
 * zhenwu_coredump_fini() - free it
 * @zdev: device, stopped: nothing fails any more
 *
 * Dumps that were made stay until they are read.
 */
void zhenwu_coredump_fini(struct zhenwu_device *zdev)
{
	struct zhenwu_snapshot *snap = zdev->snapshot;

	if (!snap)
		return;
	if (cancel_work_sync(&snap->work))
		zhenwu_snap_release(snap);
	zdev->snapshot = NULL;
	vfree(snap);
}

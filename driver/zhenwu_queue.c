// SPDX-License-Identifier: GPL-2.0-only
/*
 * Queues: how they are made, found and closed. How their jobs end is in zhenwu_queue_end.c, what
 * a job is in zhenwu_job.c, submission in zhenwu_submit.c.
 */

#include <linux/capability.h>
#include <linux/dma-mapping.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include <drm/drm_drv.h>
#include <drm/drm_file.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu_device.h"
#include "zhenwu_drv.h"
#include "zhenwu_ipc.h"
#include "zhenwu_irq.h"
#include "zhenwu_job.h"
#include "zhenwu_perf.h"
#include "zhenwu_queue.h"
#include "zhenwu_userq.h"
#include "zhenwu_vm.h"
#include "zhenwu_watchdog.h"

#define ZHENWU_DEFAULT_SLOTS 64

/* Device resets that the announcement of a queue survives. */
#define ZHENWU_ANNOUNCE_TRIES 3

/* -- what the firmware knows ------------------------------------------------------------------- */

/**
 * zhenwu_queue_gone() - is it all right that the firmware does not know a queue
 * @queue: queue that it was asked for
 *
 * Return: true when it is being destroyed, or was.
 */
bool zhenwu_queue_gone(struct zhenwu_queue *queue)
{
	bool gone;

	if (!mutex_trylock(&queue->destroy_lock))
		return true;
	mutex_lock(&queue->zdev->hw_lock);
	gone = !queue->on_hw;
	mutex_unlock(&queue->zdev->hw_lock);
	mutex_unlock(&queue->destroy_lock);
	return gone;
}

/**
 * zhenwu_queue_next() - walk over the queues the firmware knows, without holding hw_lock
 * @zdev: device
 * @cursor: -1 to begin with
 *
 * Return: the queue with the next higher number, to be given back with zhenwu_queue_put(), or NULL
 * at the end.
 */
struct zhenwu_queue *zhenwu_queue_next(struct zhenwu_device *zdev, int *cursor)
{
	struct zhenwu_queue *queue, *next = NULL;

	mutex_lock(&zdev->hw_lock);
	list_for_each_entry(queue, &zdev->queues, node) {
		if (queue->on_hw && (int)queue->hw_id > *cursor &&
		    (!next || queue->hw_id < next->hw_id))
			next = queue;
	}
	if (next) {
		zhenwu_queue_get(next);
		*cursor = next->hw_id;
	}
	mutex_unlock(&zdev->hw_lock);
	return next;
}

/* -- life ------------------------------------------------------------------------------------- */

static void zhenwu_queue_free(struct kref *ref)
{
	struct zhenwu_queue *queue = container_of(ref, struct zhenwu_queue, refs);

	mutex_destroy(&queue->submit_lock);
	mutex_destroy(&queue->destroy_lock);
	zhenwu_perf_queue_put(queue->perf);
	if (queue->userq.dummy)
		__free_page(queue->userq.dummy);
	/* Names of fences, of which the scheduler's is one, are read under RCU. */
	kfree_rcu(queue, rcu);
	/* See zhenwu_module_exit() for how the caller gets out of the module. */
	module_put(THIS_MODULE);
}

/**
 * zhenwu_queue_get() - keep the structure
 * @queue: queue
 *
 * Return: @queue.
 */
struct zhenwu_queue *zhenwu_queue_get(struct zhenwu_queue *queue)
{
	kref_get(&queue->refs);
	return queue;
}

/**
 * zhenwu_queue_put() - drop a reference to the structure
 * @queue: queue
 *
 * Any context.
 */
void zhenwu_queue_put(struct zhenwu_queue *queue)
{
	kref_put(&queue->refs, zhenwu_queue_free);
}

/**
 * zhenwu_queue_lookup() - find a queue of a file
 * @zfile: file
 * @id: its id
 *
 * Return: the queue, to be given back with zhenwu_queue_put(), or NULL.
 */
struct zhenwu_queue *zhenwu_queue_lookup(struct zhenwu_file *zfile, u32 id)
{
	struct zhenwu_queue *queue;

	xa_lock(&zfile->queues);
	queue = xa_load(&zfile->queues, id);
	if (queue)
		zhenwu_queue_get(queue);
	xa_unlock(&zfile->queues);
	return queue;
}

/* Fills in the descriptor, and the message that names it. */
static void zhenwu_queue_describe(struct zhenwu_queue *queue, struct zw_msg_create_queue *msg)
{
	struct zw_queue_desc *desc;
	u64 at = queue->dma;

	/* The descriptor comes last: the firmware reads it once. */
	desc = queue->mem + queue->mem_bytes - sizeof(*desc);
	*desc = (struct zw_queue_desc) {
		.size = cpu_to_le32(sizeof(*desc)),
		.vm = cpu_to_le32(queue->vm->hw_id),
		.priority = cpu_to_le32(queue->priority),
		.log2_slots = cpu_to_le32(ilog2(queue->slots)),
		.vector = cpu_to_le32(queue->vector),
		.owner = cpu_to_le32(zhenwu_perf_queue_owner(queue->perf)),
		.completed = cpu_to_le64(queue->place.completed),
		.resume_offset = cpu_to_le32(queue->place.offset),
	};
	if (queue->user) {
		desc->flags = cpu_to_le32(ZW_QUEUE_F_USER);
		desc->ring = cpu_to_le64(queue->userq.rings.ring);
		desc->completions = cpu_to_le64(queue->userq.rings.completions);
		desc->ctrl = cpu_to_le64(queue->userq.rings.ctrl);
	} else {
		desc->ring = cpu_to_le64(at);
		at += queue->slots * sizeof(struct zw_ring_entry);
		desc->completions = cpu_to_le64(at);
		at += queue->slots * sizeof(struct zw_completion);
		desc->ctrl = cpu_to_le64(at);
		at += sizeof(struct zw_ring_ctrl);
	}
	*msg = (struct zw_msg_create_queue) {
		.queue = cpu_to_le32(queue->hw_id),
		.desc_bytes = cpu_to_le32(sizeof(*desc)),
		.desc_lo = cpu_to_le32(ZW_LO32(at)),
		.desc_hi = cpu_to_le32(ZW_HI32(at)),
	};
}

static int zhenwu_queue_announce(struct zhenwu_queue *queue)
{
	struct zhenwu_device *zdev = queue->zdev;
	struct zw_msg_create_queue msg;
	unsigned int tries;
	int ret = -EIO;
	u32 session;

	zhenwu_queue_describe(queue, &msg);
	for (tries = 0; ret == -EIO && tries < ZHENWU_ANNOUNCE_TRIES; tries++) {
		ret = zhenwu_ipc_session(zdev, &session, ZHENWU_IPC_KILLABLE);
		if (ret)
			return ret;
		if (READ_ONCE(queue->vm->unusable))
			return -ECANCELED;
		ret = zhenwu_ipc_request_in(zdev, session, ZHENWU_IPC_KILLABLE,
					    ZW_MSG_CREATE_QUEUE, &msg, sizeof(msg), NULL, 0);
		if (ret && ret != -ERESTARTSYS)
			continue;

		mutex_lock(&zdev->hw_lock);
		if (!zhenwu_ipc_session_over(zdev, session)) {
			queue->half_made = ret;
			queue->session = session;
			queue->on_hw = true;
			list_add_tail(&queue->node, &zdev->queues);
			zhenwu_irq_add_queue(zdev, queue);
		} else if (!ret) {
			/* Made and forgotten. */
			ret = -EIO;
		}
		mutex_unlock(&zdev->hw_lock);
	}
	return ret;
}

/**
 * zhenwu_queue_suspend_locked() - stop a queue, and find out where it stands
 * @queue: queue; hw_lock is held, its scheduler stopped
 * @ask: the firmware answers
 *
 * When that cannot be found out, or the queue has failed, it does not go on after the sleep.
 *
 * Return: false when the firmware does not answer any more.
 */
bool zhenwu_queue_suspend_locked(struct zhenwu_queue *queue, bool ask)
{
	struct zw_msg_queue msg = { .queue = cpu_to_le32(queue->hw_id) };
	struct zhenwu_device *zdev = queue->zdev;
	struct zw_msg_queue_info info;
	struct zw_msg_queue_stop stop;
	u64 completed;
	int ret;

	lockdep_assert_held(&zdev->hw_lock);

	queue->place.known = false;
	if (!queue->on_hw || !ask)
		return ask;
	ret = zhenwu_ipc_request_sleep(zdev, ZW_MSG_SUSPEND_QUEUE, &msg, sizeof(msg), &stop,
				       sizeof(stop));
	if (ret == -EBUSY && queue->user) {
		/* It has failed: what happened to it is all there is to it. */
		ret = zhenwu_ipc_request_sleep(zdev, ZW_MSG_QUERY_QUEUE, &msg, sizeof(msg), &info,
					       sizeof(info));
		if (!ret)
			zhenwu_userq_note(queue, &info);
		ret = ret ?: -EBUSY;
	}
	if (ret)
		return ret != -EIO && ret != -ETIMEDOUT && ret != -EHOSTDOWN;
	/* What it had completed by then. */
	zhenwu_queue_poll(queue);
	completed = (u64)le32_to_cpu(stop.completed_hi) << 32 | le32_to_cpu(stop.completed_lo);
	if (READ_ONCE(queue->dead) || (!queue->user && completed != queue->completed))
		return true;
	queue->place.completed = completed;
	queue->place.offset = le32_to_cpu(stop.resume_offset);
	queue->place.known = true;
	return true;
}

/**
 * zhenwu_queue_resume_locked() - make a queue again that went to sleep
 * @queue: queue; hw_lock is held, the caller is who resets the device
 *
 * Its doorbell is still to be rung. Allocates nothing.
 *
 * Return: 0 or a negative error.
 */
int zhenwu_queue_resume_locked(struct zhenwu_queue *queue)
{
	struct zhenwu_device *zdev = queue->zdev;
	struct zw_msg_create_queue msg;
	int ret;

	lockdep_assert_held(&zdev->hw_lock);

	zhenwu_queue_describe(queue, &msg);
	ret = zhenwu_ipc_request_boot(zdev, ZW_MSG_CREATE_QUEUE, &msg, sizeof(msg), NULL, 0);
	if (ret)
		return ret;
	queue->session = READ_ONCE(zdev->ipc.session);
	spin_lock_irq(&queue->lock);
	zhenwu_watchdog_start_locked(queue);
	spin_unlock_irq(&queue->lock);
	return 0;
}

/* The device does not use it any more; hw_lock is held or nobody else knows the queue. */
static void zhenwu_queue_unmap_ring(struct zhenwu_queue *queue)
{
	if (!queue->mem)
		return;
	dma_free_coherent(queue->zdev->drm.dev, queue->mem_bytes, queue->mem, queue->dma);
	queue->mem = NULL;
}

/**
 * zhenwu_queue_unmap_all() - give back the rings of queues that are still open
 * @zdev: device that is being removed; it was stopped
 *
 * DMA mappings must not outlive the binding of the driver. Rings are closed by now and empty, so
 * nothing looks at them.
 */
void zhenwu_queue_unmap_all(struct zhenwu_device *zdev)
{
	struct zhenwu_queue *queue;

	mutex_lock(&zdev->hw_lock);
	list_for_each_entry(queue, &zdev->queues, node) {
		zhenwu_irq_remove_queue(zdev, queue);
		zhenwu_queue_unmap_ring(queue);
	}
	mutex_unlock(&zdev->hw_lock);
}

static void zhenwu_queue_free_ring(struct zhenwu_queue *queue)
{
	mutex_lock(&queue->zdev->hw_lock);
	list_del_init(&queue->node);
	zhenwu_queue_unmap_ring(queue);
	mutex_unlock(&queue->zdev->hw_lock);
	ida_free(&queue->zdev->queue_ids, queue->hw_id);
	zhenwu_client_uncharge(queue->vm->client, ZHENWU_QUEUES, 1);
}

static int zhenwu_queue_alloc_ring(struct zhenwu_queue *queue)
{
	struct zhenwu_device *zdev = queue->zdev;
	int ret, id;

	ret = zhenwu_client_charge(queue->vm->client, ZHENWU_QUEUES, 1);
	if (ret)
		return ret;
	id = ida_alloc_max(&zdev->queue_ids, zdev->info.num_queues - 1, GFP_KERNEL);
	if (id < 0) {
		zhenwu_client_uncharge(queue->vm->client, ZHENWU_QUEUES, 1);
		return id;
	}
	queue->hw_id = id;
	queue->vector = zhenwu_irq_choose(zdev);

	queue->mem_bytes = sizeof(struct zw_queue_desc);
	if (!queue->user)
		queue->mem_bytes += queue->slots * (sizeof(*queue->ring) + sizeof(*queue->compl)) +
				    sizeof(*queue->ctrl);
	queue->mem = dma_alloc_coherent(zdev->drm.dev, queue->mem_bytes, &queue->dma, GFP_KERNEL);
	if (!queue->mem) {
		ida_free(&zdev->queue_ids, id);
		zhenwu_client_uncharge(queue->vm->client, ZHENWU_QUEUES, 1);
		return -ENOMEM;
	}
	if (queue->user)
		return 0;
	queue->ring = queue->mem;
	queue->compl = (void *)(queue->ring + queue->slots);
	queue->ctrl = (void *)(queue->compl + queue->slots);
	return 0;
}

static int zhenwu_queue_init_sched(struct zhenwu_queue *queue)
{
	struct zhenwu_device *zdev = queue->zdev;
	struct drm_sched_init_args args = {
		.ops = &zhenwu_sched_ops,
		.submit_wq = zdev->sched_wq,
		.num_rqs = 1,
		.credit_limit = queue->slots,
		.timeout = MAX_SCHEDULE_TIMEOUT,
		.name = ZHENWU_DRIVER_NAME,
		.dev = zdev->drm.dev,
	};
	struct drm_gpu_scheduler *sched = &queue->sched;
	int ret;

	if (queue->user)
		return 0;
	ret = drm_sched_init(sched, &args);
	if (ret)
		return ret;
	ret = drm_sched_entity_init(&queue->entity, DRM_SCHED_PRIORITY_KERNEL, &sched, 1, NULL);
	if (ret)
		drm_sched_fini(sched);
	return ret;
}

static void zhenwu_queue_fini_sched(struct zhenwu_queue *queue)
{
	if (queue->user)
		return;
	drm_sched_entity_fini(&queue->entity);
	drm_sched_fini(&queue->sched);
}

/*
 * Ends a queue. The caller took it out of its file, so this happens once. Waits for the device,
 * which is bounded by the firmware's answer or by a device reset: the progress check sees to that.
 */
static void zhenwu_queue_close(struct zhenwu_queue *queue)
{
	struct zhenwu_device *zdev = queue->zdev;
	unsigned long flags;

	/* A job that is pushed to an entity that is gone would never signal. */
	mutex_lock(&queue->submit_lock);
	queue->closed = true;
	mutex_unlock(&queue->submit_lock);

	spin_lock_irqsave(&queue->lock, flags);
	zhenwu_queue_close_ring_locked(queue, -ECANCELED);
	spin_unlock_irqrestore(&queue->lock, flags);

	/* Its number is another queue's next. */
	if (queue->user)
		zhenwu_userq_revoke(queue);

	mutex_lock(&queue->destroy_lock);
	zhenwu_queue_destroy_hw(queue, 0);
	mutex_unlock(&queue->destroy_lock);

	/* Otherwise it says so itself, when all its times are final. */
	if (zhenwu_ipc_session_over(zdev, queue->session))
		zhenwu_perf_queue_over(zdev, queue->perf);
	zhenwu_irq_remove_queue(zdev, queue);
	zhenwu_queue_abort(queue, -ECANCELED);
	zhenwu_queue_free_ring(queue);

	/*
	 * The ring is closed: what the scheduler has it runs now, which ends it, and frees it. The
	 * entity is empty when it goes: none of its jobs is left to be killed from elsewhere.
	 */
	wait_event(queue->idle, !atomic_read(&queue->jobs));
	zhenwu_queue_fini_sched(queue);

	zhenwu_vm_put(queue->vm);
	zhenwu_queue_put(queue);
}

static void zhenwu_queue_close_work(struct work_struct *work)
{
	struct zhenwu_queue *queue = container_of(work, struct zhenwu_queue, close_work);
	struct zhenwu_device *zdev = queue->zdev;
	bool awake = !zhenwu_pm_get(zdev);

	zhenwu_queue_close(queue);
	if (awake)
		zhenwu_pm_put(zdev);
	complete_all(&queue->closed_done);
	drm_dev_put(&zdev->drm);
	/* The queue keeps the module. */
	zhenwu_queue_put(queue);
}

/* Closes a queue without waiting; queue->closed_done tells when it is over. */
static void zhenwu_queue_close_async(struct zhenwu_queue *queue)
{
	drm_dev_get(&queue->zdev->drm);
	zhenwu_queue_get(queue);
	queue_work(zhenwu_release_wq, &queue->close_work);
}

/*
 * @user: rings of a user-mode queue; NULL: they are the kernel's. @perf: it is recorded, or NULL.
 * The caller's reference to it is the queue's then, whatever comes of it.
 */
static struct zhenwu_queue *zhenwu_queue_create(struct zhenwu_device *zdev, struct zhenwu_vm *vm,
						u32 priority, u32 slots,
						const struct zhenwu_user_rings *user,
						struct zhenwu_perf_queue *perf)
{
	struct zhenwu_queue *queue;
	int ret;

	queue = kzalloc(sizeof(*queue), GFP_KERNEL_ACCOUNT);
	if (!queue) {
		zhenwu_perf_queue_over(zdev, perf);
		zhenwu_perf_queue_put(perf);
		return ERR_PTR(-ENOMEM);
	}
	kref_init(&queue->refs);
	__module_get(THIS_MODULE);
	mutex_init(&queue->submit_lock);
	mutex_init(&queue->destroy_lock);
	INIT_WORK(&queue->close_work, zhenwu_queue_close_work);
	init_completion(&queue->closed_done);
	spin_lock_init(&queue->lock);
	init_waitqueue_head(&queue->idle);
	INIT_LIST_HEAD(&queue->node);
	INIT_LIST_HEAD(&queue->vector_node);
	INIT_LIST_HEAD(&queue->waiting);
	INIT_LIST_HEAD(&queue->inflight);
	queue->zdev = zdev;
	queue->vm = vm;
	queue->priority = priority;
	queue->slots = slots;
	queue->perf = perf;
	queue->fence_ctx = dma_fence_context_alloc(1);
	if (user) {
		ret = zhenwu_userq_init(queue, user);
		if (ret)
			goto err_put;
	}

	ret = zhenwu_queue_alloc_ring(queue);
	if (ret)
		goto err_put;
	ret = zhenwu_queue_init_sched(queue);
	if (ret)
		goto err_ring;
	ret = zhenwu_queue_announce(queue);
	if (ret && !queue->half_made)
		goto err_sched;

	zhenwu_vm_get(vm);
	if (!ret) {
		/* Nobody tells when its first job comes. */
		if (queue->user)
			zhenwu_watchdog_kick(zdev);
		return queue;
	}
	/* Its maker is being killed: what the firmware makes of it is waited for elsewhere. */
	zhenwu_queue_close_async(queue);
	return ERR_PTR(ret);

err_sched:
	zhenwu_queue_fini_sched(queue);
err_ring:
	zhenwu_queue_free_ring(queue);
err_put:
	zhenwu_perf_queue_over(zdev, perf);
	zhenwu_queue_put(queue);
	return ERR_PTR(ret);
}

/**
 * zhenwu_queue_release_all() - close all queues of a file
 * @zfile: file that is being closed
 */
void zhenwu_queue_release_all(struct zhenwu_file *zfile)
{
	struct zhenwu_queue *queue;
	unsigned long id;

	xa_for_each(&zfile->queues, id, queue)
		zhenwu_queue_close(queue);
	xa_destroy(&zfile->queues);
}

/* -- ioctls ----------------------------------------------------------------------------------- */

/**
 * zhenwu_ioctl_queue_create() - DRM_IOCTL_ZHENWU_QUEUE_CREATE
 * @drm: device
 * @data: &struct drm_zhenwu_queue_create
 * @file: file
 *
 * Return: 0 or a negative error.
 */
int zhenwu_ioctl_queue_create(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct zhenwu_device *zdev = to_zhenwu_device(drm);
	struct zhenwu_file *zfile = file->driver_priv;
	struct drm_zhenwu_queue_create *args = data;
	u32 slots = args->ring_slots ?: ZHENWU_DEFAULT_SLOTS;
	const struct zhenwu_user_rings user = {
		.ring = args->ring_va,
		.ctrl = args->ctrl_va,
		.completions = args->completions_va,
	};
	struct zhenwu_perf_stream *stream = NULL;
	struct zhenwu_perf_queue *perf = NULL;
	struct zhenwu_queue *queue;
	struct zhenwu_vm *vm;
	int ret, idx;
	u32 id;

	if (args->flags & ~(u32)DRM_ZHENWU_QUEUE_PERF || args->pad || args->queue_id ||
	    args->doorbell_offset || args->priority > DRM_ZHENWU_QUEUE_PRIORITY_REALTIME ||
	    !is_power_of_2(slots) || slots < 1u << ZW_RING_MIN_LOG2 ||
	    slots > 1u << ZW_RING_MAX_LOG2)
		return -EINVAL;
	if (args->priority > DRM_ZHENWU_QUEUE_PRIORITY_NORMAL && !capable(CAP_SYS_NICE))
		return -EACCES;
	if (args->flags & DRM_ZHENWU_QUEUE_PERF) {
		/* Pairs with zhenwu_perf_open_locked(). */
		stream = smp_load_acquire(&zfile->perf);
		if (!stream)
			return -EINVAL;
	}
	if (!drm_dev_enter(drm, &idx))
		return -ENODEV;
	vm = zhenwu_vm_lookup(zfile, args->vm_id);
	if (!vm) {
		ret = -ENOENT;
		goto out_exit;
	}

	if (!zhenwu_userq_fits(&user, slots, vm)) {
		ret = -EINVAL;
		goto out_vm;
	}

	/*
	 * The id is taken first and filled in last: nobody can destroy a queue that is being made.
	 */
	ret = xa_alloc(&zfile->queues, &id, NULL, xa_limit_31b, GFP_KERNEL);
	if (ret)
		goto out_vm;
	if (stream) {
		perf = zhenwu_perf_queue_add(zdev, stream, id);
		if (IS_ERR(perf)) {
			xa_erase(&zfile->queues, id);
			ret = PTR_ERR(perf);
			goto out_vm;
		}
	}
	queue = zhenwu_queue_create(zdev, vm, args->priority, slots, vm->lr ? &user : NULL, perf);
	if (IS_ERR(queue)) {
		xa_erase(&zfile->queues, id);
		ret = PTR_ERR(queue);
		goto out_vm;
	}
	args->doorbell_offset = zhenwu_userq_doorbell_offset(queue);
	xa_store(&zfile->queues, id, queue, GFP_KERNEL);
	args->queue_id = id;
	args->ring_slots = slots;
out_vm:
	zhenwu_vm_put(vm);
out_exit:
	drm_dev_exit(idx);
	return ret;
}

/**
 * zhenwu_ioctl_queue_destroy() - DRM_IOCTL_ZHENWU_QUEUE_DESTROY
 * @drm: device
 * @data: &struct drm_zhenwu_queue_destroy
 * @file: file
 *
 * Return: 0 or a negative error.
 */
int zhenwu_ioctl_queue_destroy(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct zhenwu_file *zfile = file->driver_priv;
	struct drm_zhenwu_queue_destroy *args = data;
	struct zhenwu_queue *queue;
	int ret;

	if (args->pad)
		return -EINVAL;

	xa_lock(&zfile->queues);
	queue = xa_load(&zfile->queues, args->queue_id);
	if (queue)
		__xa_erase(&zfile->queues, args->queue_id);
	xa_unlock(&zfile->queues);
	if (!queue)
		return -ENOENT;
	zhenwu_queue_get(queue);
	zhenwu_queue_close_async(queue);
	ret = wait_for_completion_killable(&queue->closed_done);
	zhenwu_queue_put(queue);
	return ret;
}

/**
 * zhenwu_ioctl_queue_get_state() - DRM_IOCTL_ZHENWU_QUEUE_GET_STATE
 * @drm: device
 * @data: &struct drm_zhenwu_queue_get_state
 * @file: file
 *
 * Return: 0 or a negative error.
 */
int zhenwu_ioctl_queue_get_state(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct drm_zhenwu_queue_get_state *args = data;
	struct zhenwu_queue *queue;

	if (args->state || args->status || args->reason || args->packet_index ||
	    args->fault_access || args->fault_va || args->failed_seqno || args->submitted ||
	    args->completed)
		return -EINVAL;
	queue = zhenwu_queue_lookup(file->driver_priv, args->queue_id);
	if (!queue)
		return -ENOENT;

	if (queue->user) {
		int ret = zhenwu_userq_ask(queue);

		if (ret) {
			zhenwu_queue_put(queue);
			return ret;
		}
	}

	mutex_lock(&queue->submit_lock);
	args->submitted = queue->submitted;
	mutex_unlock(&queue->submit_lock);

	spin_lock_irq(&queue->lock);
	args->state = queue->error.state;
	args->status = queue->error.status;
	args->reason = queue->error.reason;
	args->packet_index = queue->error.packet_index;
	args->fault_access = queue->error.fault_access;
	args->fault_va = queue->error.fault_va;
	args->failed_seqno = queue->error.seqno;
	args->completed = queue->completed;
	if (queue->user)
		args->submitted = queue->seqno;
	spin_unlock_irq(&queue->lock);

	zhenwu_queue_put(queue);
	return 0;
}

/**
 * zhenwu_queue_show() - list queues
 * @zdev: device
 * @m: where to print
 */
void zhenwu_queue_show(struct zhenwu_device *zdev, struct seq_file *m)
{
	struct zhenwu_queue *queue;

	mutex_lock(&zdev->hw_lock);
	list_for_each_entry(queue, &zdev->queues, node) {
		spin_lock_irq(&queue->lock);
		seq_printf(m,
			   "queue %u: vm %u priority %u slots %u vector %u ring %llu completed %llu state 0x%x%s\n",
			   queue->hw_id, queue->vm->hw_id, queue->priority, queue->slots,
			   queue->vector, queue->seqno, queue->completed, queue->error.state,
			   queue->user ? " user" : "");
		spin_unlock_irq(&queue->lock);
	}
	mutex_unlock(&zdev->hw_lock);
}

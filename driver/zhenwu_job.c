// SPDX-License-Identifier: GPL-2.0-only
/*
 * Jobs: the scheduler's side. A job's memory and fence are allocated when it is submitted; running
 * it writes its ring entries and rings a doorbell.
 */

#include <linux/dma-fence.h>
#include <linux/slab.h>

#include <drm/drm_drv.h>
#include <drm/drm_file.h>

#include "zhenwu_device.h"
#include "zhenwu_job.h"
#include "zhenwu_perf.h"
#include "zhenwu_queue.h"
#include "zhenwu_trace.h"
#include "zhenwu_watchdog.h"

/**
 * struct zhenwu_fence - end of a job in the ring
 */
struct zhenwu_fence {
	/** @base: Fence. */
	struct dma_fence base;

	/** @lock: Its lock: a fence outlives the queue. */
	spinlock_t lock;

	/** @queue: Keeps the scheduler's memory and the module. */
	struct zhenwu_queue *queue;
};

static const char *zhenwu_fence_driver_name(struct dma_fence *fence)
{
	return ZHENWU_DRIVER_NAME;
}

static const char *zhenwu_fence_timeline_name(struct dma_fence *fence)
{
	return "zhenwu-queue";
}

/*
 * What user space gets is the scheduler's finished fence of a job. A sync file may hold it longer
 * than any file of ours is open, and it points to the scheduler, whose name is asked for. It also
 * keeps the fence that run_job() returned. So run_job() returns one for every job, whether the
 * device gets it or not, and that fence keeps the queue, in which the scheduler is, and with it the
 * module.
 */
static void zhenwu_fence_release(struct dma_fence *base)
{
	struct zhenwu_queue *queue = container_of(base, struct zhenwu_fence, base)->queue;

	dma_fence_free(base);
	zhenwu_queue_put(queue);
}

static const struct dma_fence_ops zhenwu_fence_ops = {
	.get_driver_name = zhenwu_fence_driver_name,
	.get_timeline_name = zhenwu_fence_timeline_name,
	.release = zhenwu_fence_release,
};

static struct dma_fence *zhenwu_fence_alloc(struct zhenwu_queue *queue)
{
	struct zhenwu_fence *fence = kzalloc(sizeof(*fence), GFP_KERNEL_ACCOUNT);

	if (!fence)
		return NULL;
	spin_lock_init(&fence->lock);
	fence->queue = zhenwu_queue_get(queue);
	return &fence->base;
}

/**
 * zhenwu_job_create() - allocate all a job needs
 * @queue: queue
 * @file: client
 * @num_entries: ring entries of the job
 *
 * Return: the job, whose entries are to be filled in, or an error pointer.
 */
struct zhenwu_job *zhenwu_job_create(struct zhenwu_queue *queue, struct drm_file *file,
				     u32 num_entries)
{
	struct zhenwu_job *job;
	int ret;

	job = kzalloc(struct_size(job, entries, num_entries), GFP_KERNEL_ACCOUNT);
	if (!job)
		return ERR_PTR(-ENOMEM);
	job->num_entries = num_entries;
	INIT_LIST_HEAD(&job->node);
	zhenwu_gate_init(&job->gate);

	job->done = zhenwu_fence_alloc(queue);
	if (!job->done) {
		kfree(job);
		return ERR_PTR(-ENOMEM);
	}
	job->queue = zhenwu_queue_get(queue);

	ret = drm_sched_job_init(&job->base, &queue->entity, num_entries, queue,
				 file->client_id);
	if (ret) {
		zhenwu_job_destroy(job);
		return ERR_PTR(ret);
	}
	return job;
}

/**
 * zhenwu_job_destroy() - free a job
 * @job: job that was not pushed or has ended, without its scheduler part
 */
void zhenwu_job_destroy(struct zhenwu_job *job)
{
	zhenwu_gate_fini(&job->gate);
	/* A fence that was not initialised has no reference count yet. */
	if (job->seqno)
		dma_fence_put(job->done);
	else
		zhenwu_fence_release(job->done);
	zhenwu_queue_put(job->queue);
	kfree(job);
}

/**
 * zhenwu_job_push() - hand an armed job to the scheduler
 * @job: job; it may be gone when this returns
 *
 * Pairs with zhenwu_sched_free_job(): until then the queue waits for it.
 */
void zhenwu_job_push(struct zhenwu_job *job)
{
	struct zhenwu_queue *queue = job->queue;
	unsigned long flags;

	atomic_inc(&queue->jobs);
	/* SUBMIT keeps the device awake, from here on the job does. */
	zhenwu_pm_get_awake(queue->zdev);
	zhenwu_gate_arm(&job->gate);

	spin_lock_irqsave(&queue->lock, flags);
	list_add_tail(&job->node, &queue->waiting);
	/* Whoever closed the ring did not see this one. */
	if (queue->dead)
		zhenwu_gate_force(&job->gate);
	spin_unlock_irqrestore(&queue->lock, flags);

	drm_sched_entity_push_job(&job->base);
}

/**
 * zhenwu_job_end_locked() - take a job out of its queue and signal its fence
 * @job: job that was run; the queue's lock is held
 * @error: 0 or a negative error
 *
 * Fences of a queue signal in order because this is called in order, under the lock.
 */
void zhenwu_job_end_locked(struct zhenwu_job *job, int error)
{
	struct dma_fence *done = dma_fence_get(job->done);
	struct zhenwu_queue *queue = job->queue;
	struct zhenwu_job *next;

	lockdep_assert_held(&queue->lock);

	list_del_init(&job->node);
	if (job->in_ring) {
		queue->completed = job->seqno;
		/* Those behind the last one in the ring are not the device's work. */
		next = list_first_entry_or_null(&queue->inflight, struct zhenwu_job, node);
		zhenwu_usage_set(queue, next && next->in_ring);
	}
	if (error)
		dma_fence_set_error(done, error);
	/* From here on the job may be freed at any time. */
	dma_fence_signal(done);
	dma_fence_put(done);
}

/* Writes the ring entries of a job. The device may run it from here on. */
static void zhenwu_job_ring_locked(struct zhenwu_job *job)
{
	struct zhenwu_queue *queue = job->queue;
	struct zhenwu_device *zdev = queue->zdev;
	u32 i;

	for (i = 0; i < job->num_entries; i++) {
		const struct zhenwu_job_entry *from = &job->entries[i];
		u64 seqno = zhenwu_job_current(job) + i;
		struct zw_ring_entry *entry;

		/* The scheduler has as many credits as the ring has slots: this one is free. */
		entry = &queue->ring[seqno % queue->slots];
		entry->seqno = cpu_to_le64(seqno);
		entry->cmd_va = cpu_to_le64(from->cmd_va);
		entry->cmd_bytes = cpu_to_le32(from->cmd_bytes);
		/* One that fails raises it anyway. */
		entry->flags = cpu_to_le32(seqno == job->seqno ? ZW_RING_F_IRQ : 0);
		entry->result_va = cpu_to_le64(from->result_va);
		entry->cookie = cpu_to_le64(seqno);
		zhenwu_perf_submit(queue, seqno);
	}
	/* The device reads the entries when it sees the tail. */
	dma_wmb();
	WRITE_ONCE(queue->ctrl->tail, cpu_to_le32(lower_32_bits(job->seqno)));
	/* writel() orders the doorbell after the tail. */
	zhenwu_write32(zdev, ZW_REG_DOORBELL(queue->hw_id), 1);

	zhenwu_watchdog_kick(zdev);
}

/*
 * Never fails: a job the device cannot get any more gets a fence with an error. It signals in turn,
 * after those that are in the ring.
 */
static struct dma_fence *zhenwu_sched_run_job(struct drm_sched_job *base)
{
	struct zhenwu_job *job = to_zhenwu_job(base);
	struct zhenwu_queue *queue = job->queue;
	struct zhenwu_fence *fence = container_of(job->done, struct zhenwu_fence, base);
	struct dma_fence *ret;
	unsigned long flags;
	bool entered;
	int idx;

	entered = drm_dev_enter(&queue->zdev->drm, &idx);
	spin_lock_irqsave(&queue->lock, flags);
	if (!entered)
		zhenwu_queue_close_ring_locked(queue, -ENODEV);

	queue->seqno += job->num_entries;
	job->seqno = queue->seqno;
	dma_fence_init(job->done, &zhenwu_fence_ops, &fence->lock, queue->fence_ctx, job->seqno);
	ret = dma_fence_get(job->done);
	list_move_tail(&job->node, &queue->inflight);
	if (queue->dead) {
		zhenwu_queue_end_dropped_locked(queue);
	} else {
		job->in_ring = true;
		if (list_is_singular(&queue->inflight))
			zhenwu_watchdog_start_locked(queue);
		zhenwu_usage_set(queue, true);
		trace_zhenwu_job_run(job);
		zhenwu_job_ring_locked(job);
	}
	spin_unlock_irqrestore(&queue->lock, flags);
	if (entered)
		drm_dev_exit(idx);
	return ret;
}

static void zhenwu_sched_free_job(struct drm_sched_job *base)
{
	struct zhenwu_job *job = to_zhenwu_job(base);
	struct zhenwu_queue *queue = zhenwu_queue_get(job->queue);

	drm_sched_job_cleanup(base);
	zhenwu_job_destroy(job);
	zhenwu_pm_put(queue->zdev);
	if (atomic_dec_and_test(&queue->jobs))
		wake_up_all(&queue->idle);
	zhenwu_queue_put(queue);
}

/* No timedout_job: the scheduler's timer is off, see zhenwu_watchdog.c. */
const struct drm_sched_backend_ops zhenwu_sched_ops = {
	.run_job = zhenwu_sched_run_job,
	.free_job = zhenwu_sched_free_job,
};

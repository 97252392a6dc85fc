// SPDX-License-Identifier: GPL-2.0-only
/*
 * Jobs: the scheduler's side. A job's memory and fence are allocated when it is submitted; running
 * it writes one ring entry and rings a doorbell.
 */

#include <linux/dma-fence.h>
#include <linux/module.h>
#include <linux/slab.h>

#include <drm/drm_drv.h>
#include <drm/drm_file.h>

#include "zhenwu_device.h"
#include "zhenwu_job.h"
#include "zhenwu_queue.h"

/**
 * struct zhenwu_fence - end of a job in the ring
 */
struct zhenwu_fence {
	/** @base: Fence. */
	struct dma_fence base;

	/** @lock: Its lock: a fence outlives the queue. */
	spinlock_t lock;

	/** @queue: Keeps the scheduler's memory, which the finished fence of the job points to. */
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
 * A sync file may hold a fence longer than any file of ours is open: the fence keeps the module,
 * whose code this is, and the memory of the scheduler, whose name is asked for.
 */
static void zhenwu_fence_release(struct dma_fence *base)
{
	struct zhenwu_fence *fence = container_of(base, struct zhenwu_fence, base);

	zhenwu_queue_put(fence->queue);
	dma_fence_free(base);
	module_put(THIS_MODULE);
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
	__module_get(THIS_MODULE);
	return &fence->base;
}

/**
 * zhenwu_job_create() - allocate all a job needs
 * @queue: queue
 * @file: client
 *
 * Return: the job or an error pointer.
 */
struct zhenwu_job *zhenwu_job_create(struct zhenwu_queue *queue, struct drm_file *file)
{
	struct zhenwu_job *job;
	int ret;

	job = kzalloc(sizeof(*job), GFP_KERNEL_ACCOUNT);
	if (!job)
		return ERR_PTR(-ENOMEM);
	INIT_LIST_HEAD(&job->node);

	job->done = zhenwu_fence_alloc(queue);
	if (!job->done) {
		kfree(job);
		return ERR_PTR(-ENOMEM);
	}
	job->queue = zhenwu_queue_get(queue);

	ret = drm_sched_job_init(&job->base, &queue->entity, 1, queue, file->client_id);
	if (ret) {
		zhenwu_job_destroy(job);
		return ERR_PTR(ret);
	}
	return job;
}

/**
 * zhenwu_job_destroy() - free a job
 * @job: job that never ran or has ended, without its scheduler part
 */
void zhenwu_job_destroy(struct zhenwu_job *job)
{
	/* A fence that was not initialised has no reference count yet. */
	if (job->seqno)
		dma_fence_put(job->done);
	else
		zhenwu_fence_release(job->done);
	zhenwu_queue_put(job->queue);
	kfree(job);
}

/**
 * zhenwu_job_end_locked() - take a job out of the ring and signal its fence
 * @job: job in the ring; the queue's lock is held
 * @error: 0 or a negative error
 *
 * Fences of a queue signal in order because this is called in order, under the lock.
 */
void zhenwu_job_end_locked(struct zhenwu_job *job, int error)
{
	struct dma_fence *done = dma_fence_get(job->done);

	lockdep_assert_held(&job->queue->lock);

	list_del_init(&job->node);
	job->queue->completed = job->seqno;
	if (error)
		dma_fence_set_error(done, error);
	/* From here on the job may be freed at any time. */
	dma_fence_signal(done);
	dma_fence_put(done);
}

static struct dma_fence *zhenwu_sched_run_job(struct drm_sched_job *base)
{
	struct zhenwu_job *job = to_zhenwu_job(base);
	struct zhenwu_queue *queue = job->queue;
	struct zhenwu_device *zdev = queue->zdev;
	struct zhenwu_fence *fence = container_of(job->done, struct zhenwu_fence, base);
	struct dma_fence *ret;
	struct zw_ring_entry *entry;
	unsigned long flags;
	int idx;

	job->ran = true;
	atomic_inc(&queue->running);
	if (!drm_dev_enter(&zdev->drm, &idx))
		return ERR_PTR(-ENODEV);

	spin_lock_irqsave(&queue->lock, flags);
	if (queue->dead) {
		ret = ERR_PTR(queue->dead);
		goto out;
	}

	/* The scheduler has as many credits as the ring has slots: this one is free. */
	job->seqno = ++queue->seqno;
	dma_fence_init(job->done, &zhenwu_fence_ops, &fence->lock, queue->fence_ctx, job->seqno);
	list_add_tail(&job->node, &queue->inflight);

	entry = &queue->ring[job->seqno % queue->slots];
	entry->seqno = cpu_to_le64(job->seqno);
	entry->cmd_va = cpu_to_le64(job->cmd_va);
	entry->cmd_bytes = cpu_to_le32(job->cmd_bytes);
	entry->flags = cpu_to_le32(ZW_RING_F_IRQ);
	entry->result_va = cpu_to_le64(job->result_va);
	entry->cookie = cpu_to_le64(job->seqno);
	/* The device reads the entry when it sees the tail. */
	dma_wmb();
	WRITE_ONCE(queue->ctrl->tail, cpu_to_le32(lower_32_bits(job->seqno)));
	/* writel() orders the doorbell after the tail. */
	zhenwu_write32(zdev, ZW_REG_DOORBELL(queue->hw_id), 1);
	ret = dma_fence_get(job->done);

	/* The progress check runs while there are jobs. A timer that runs already is left alone. */
	queue_delayed_work(zdev->reset.wq, &zdev->watchdog,
			   msecs_to_jiffies(zdev->info.progress_ms));
out:
	spin_unlock_irqrestore(&queue->lock, flags);
	drm_dev_exit(idx);
	return ret;
}

static void zhenwu_sched_free_job(struct drm_sched_job *base)
{
	struct zhenwu_job *job = to_zhenwu_job(base);
	struct zhenwu_queue *queue = zhenwu_queue_get(job->queue);
	bool ran = job->ran;

	/* A job that was killed may be the last to keep the module. */
	__module_get(THIS_MODULE);
	drm_sched_job_cleanup(base);
	zhenwu_job_destroy(job);
	if (ran && atomic_dec_and_test(&queue->running))
		wake_up_all(&queue->idle);
	zhenwu_queue_put(queue);
	module_put(THIS_MODULE);
}

/* No timedout_job: the scheduler's timer is off, see zhenwu_watchdog.c. */
const struct drm_sched_backend_ops zhenwu_sched_ops = {
	.run_job = zhenwu_sched_run_job,
	.free_job = zhenwu_sched_free_job,
};

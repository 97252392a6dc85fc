// SPDX-License-Identifier: GPL-2.0-only
/*
 * SUBMIT: from the arguments of user space to jobs in the scheduler, all or nothing.
 *
 * Everything that can fail comes first. Then jobs are armed and pushed and their fences published,
 * which nothing may interrupt.
 */

#include <linux/dma-resv.h>
#include <linux/overflow.h>
#include <linux/slab.h>

#include <drm/drm_file.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu/zw_pte.h"
#include "zhenwu_device.h"
#include "zhenwu_drv.h"
#include "zhenwu_evict.h"
#include "zhenwu_job.h"
#include "zhenwu_queue.h"
#include "zhenwu_submit.h"
#include "zhenwu_sync.h"
#include "zhenwu_vm.h"

#define ZHENWU_SUBMIT_MAX_JOBS	64
/* Of the ring, what one run of jobs may take: it is put in when there is room for all of it. */
#define ZHENWU_SUBMIT_RUN_SHARE	4

#define ZHENWU_JOB_MIN_SIZE	offsetofend(struct drm_zhenwu_job, syncs)

/**
 * struct zhenwu_submission - a submission under way
 */
struct zhenwu_submission {
	/** @file: Client. */
	struct drm_file *file;

	/** @queue: Queue, with a reference. */
	struct zhenwu_queue *queue;

	/** @args: What is to run. */
	const struct drm_zhenwu_job *args;

	/** @syncs: Copies of the sync operations of each. */
	struct drm_zhenwu_sync_op **syncs;

	/** @num_jobs: Number of both. */
	u32 num_jobs;

	/** @runs: The same as the scheduler gets it. */
	struct zhenwu_job **runs;

	/** @fences: Finished fences of the runs, with references once armed. */
	struct dma_fence **fences;

	/** @num_runs: Number of both, at most @num_jobs. */
	u32 num_runs;

	/** @sync: What they wait for and signal, by run. */
	struct zhenwu_syncs sync;

	/** @first_seqno: Number of the first job, once they were handed over. */
	u64 first_seqno;
};

static int zhenwu_submit_check_job(const struct drm_zhenwu_job *job)
{
	u64 end;

	if (job->flags || !IS_ALIGNED(job->cmd_va, 16) || !IS_ALIGNED(job->cmd_bytes, 16) ||
	    job->cmd_bytes > ZW_CMD_MAX_BYTES || !IS_ALIGNED(job->result_va, 64))
		return -EINVAL;
	if (!job->cmd_bytes && job->cmd_va)
		return -EINVAL;
	if (check_add_overflow(job->cmd_va, (u64)job->cmd_bytes, &end) || end > 1ull << ZW_VA_BITS)
		return -EINVAL;
	if (check_add_overflow(job->result_va, (u64)sizeof(struct zw_job_result), &end) ||
	    end > 1ull << ZW_VA_BITS)
		return -EINVAL;
	return 0;
}

/* Does the job have operations that signal, or such that wait. */
static bool zhenwu_submit_has(const struct zhenwu_submission *sub, u32 job, bool signal)
{
	u32 i;

	for (i = 0; i < sub->args[job].syncs.count; i++)
		if (!!(sub->syncs[job][i].flags & (u32)DRM_ZHENWU_SYNC_OP_SIGNAL) == signal)
			return true;
	return false;
}

/* How many jobs from first on make a run. */
static u32 zhenwu_submit_run_length(const struct zhenwu_submission *sub, u32 first)
{
	u32 most = max(sub->queue->slots / ZHENWU_SUBMIT_RUN_SHARE, 1u), n = 1;

	while (n < most && first + n < sub->num_jobs &&
	       !zhenwu_submit_has(sub, first + n - 1, true) &&
	       !zhenwu_submit_has(sub, first + n, false))
		n++;
	return n;
}

/* Makes the next run, of count jobs from first on. */
static int zhenwu_submit_add_run(struct zhenwu_submission *sub, u32 first, u32 count)
{
	struct zhenwu_job *run;
	u32 i, index = sub->num_runs;
	int ret = 0;

	for (i = first; i < first + count; i++) {
		ret = zhenwu_submit_check_job(&sub->args[i]);
		if (ret)
			return ret;
	}
	run = zhenwu_job_create(sub->queue, sub->file, count);
	if (IS_ERR(run))
		return PTR_ERR(run);
	sub->runs[index] = run;
	sub->num_runs++;

	for (i = 0; !ret && i < count; i++) {
		const struct drm_zhenwu_job *arg = &sub->args[first + i];

		run->entries[i].cmd_va = arg->cmd_va;
		run->entries[i].cmd_bytes = arg->cmd_bytes;
		run->entries[i].result_va = arg->result_va;
		ret = zhenwu_syncs_add(&sub->sync, index, sub->syncs[first + i], arg->syncs.count,
				       &run->gate);
	}
	if (!ret && run->gate.open)
		ret = drm_sched_job_add_dependency(&run->base, dma_fence_get(run->gate.open));
	return ret;
}

static int zhenwu_submit_add_runs(struct zhenwu_submission *sub)
{
	u32 first, count;
	int ret = 0;

	sub->runs = kcalloc(sub->num_jobs, sizeof(*sub->runs), GFP_KERNEL);
	sub->fences = kcalloc(sub->num_jobs, sizeof(*sub->fences), GFP_KERNEL);
	if (!sub->runs || !sub->fences)
		return -ENOMEM;
	for (first = 0; !ret && first < sub->num_jobs; first += count) {
		count = zhenwu_submit_run_length(sub, first);
		ret = zhenwu_submit_add_run(sub, first, count);
	}
	return ret;
}

/*
 * Hands the jobs over. Nothing fails here: fences become public. The reservation of the VM is held.
 */
static int zhenwu_submit_push(struct zhenwu_submission *sub)
{
	struct zhenwu_queue *queue = sub->queue;
	struct dma_resv *resv = drm_gpuvm_resv(&queue->vm->base);
	bool cookie;
	u32 i;

	lockdep_assert_held(&queue->submit_lock);

	if (READ_ONCE(queue->dead) || READ_ONCE(queue->vm->unusable))
		return -ECANCELED;

	cookie = dma_fence_begin_signalling();
	for (i = 0; i < sub->num_runs; i++) {
		struct zhenwu_job *run = sub->runs[i];

		drm_sched_job_arm(&run->base);
		sub->fences[i] = dma_fence_get(&run->base.s_fence->finished);
		dma_resv_add_fence(resv, sub->fences[i], DMA_RESV_USAGE_BOOKKEEP);
		/* It belongs to the scheduler and may be gone when this returns. */
		sub->runs[i] = NULL;
		zhenwu_job_push(run);
	}
	WRITE_ONCE(queue->vm->last_use, jiffies);
	sub->first_seqno = queue->submitted + 1;
	queue->submitted += sub->num_jobs;
	dma_fence_end_signalling(cookie);
	return 0;
}

/*
 * Everything that comes from user space, before any lock is taken: its memory may take its time, as
 * long as whoever serves its page faults likes.
 */
static int zhenwu_submit_copy(struct zhenwu_submission *sub)
{
	u32 i;

	sub->syncs = kcalloc(sub->num_jobs, sizeof(*sub->syncs), GFP_KERNEL);
	if (!sub->syncs)
		return -ENOMEM;
	for (i = 0; i < sub->num_jobs; i++) {
		struct drm_zhenwu_sync_op *ops;

		ops = zhenwu_syncs_copy(&sub->args[i].syncs);
		if (IS_ERR(ops))
			return PTR_ERR(ops);
		sub->syncs[i] = ops;
	}
	return 0;
}

static void zhenwu_submit_free(struct zhenwu_submission *sub)
{
	u32 i;

	zhenwu_syncs_fini(&sub->sync);
	for (i = 0; sub->syncs && i < sub->num_jobs; i++)
		kvfree(sub->syncs[i]);
	for (i = 0; i < sub->num_runs; i++) {
		dma_fence_put(sub->fences[i]);
		if (sub->runs[i]) {
			drm_sched_job_cleanup(&sub->runs[i]->base);
			zhenwu_job_destroy(sub->runs[i]);
		}
	}
	kfree(sub->syncs);
	kfree(sub->fences);
	kfree(sub->runs);
}

/* One reservation only, so there is no order of locks to negotiate and no need of drm_exec. */
static int zhenwu_submit_lock_and_push(struct zhenwu_submission *sub)
{
	struct dma_resv *resv = drm_gpuvm_resv(&sub->queue->vm->base);
	int ret;

	ret = dma_resv_lock_interruptible(resv, NULL);
	if (ret)
		return ret;
	ret = dma_resv_reserve_fences(resv, sub->num_runs);
	if (!ret)
		ret = zhenwu_submit_push(sub);
	dma_resv_unlock(resv);
	return ret;
}

static int zhenwu_submit(struct zhenwu_submission *sub)
{
	struct zhenwu_queue *queue = sub->queue;
	int ret;

	/* Who closes the queue takes this first: until it is dropped, entity and VM are there. */
	ret = mutex_lock_interruptible(&queue->submit_lock);
	if (ret)
		return ret;
	if (queue->closed) {
		ret = -ECANCELED;
		goto out;
	}

	zhenwu_evict_restore(queue->vm);
	ret = zhenwu_submit_add_runs(sub);
	if (!ret)
		ret = zhenwu_submit_lock_and_push(sub);
	if (!ret)
		zhenwu_syncs_signal(&sub->sync, sub->fences);
out:
	mutex_unlock(&queue->submit_lock);
	return ret;
}

/**
 * zhenwu_ioctl_submit() - DRM_IOCTL_ZHENWU_SUBMIT
 * @drm: device
 * @data: &struct drm_zhenwu_submit
 * @file: file
 *
 * Return: 0 or a negative error.
 */
int zhenwu_ioctl_submit(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct drm_zhenwu_submit *args = data;
	struct zhenwu_submission sub = { .file = file, .num_jobs = args->jobs.count };
	struct drm_zhenwu_job *jobs;
	int ret;

	if (args->pad || args->first_seqno || !args->jobs.count)
		return -EINVAL;

	/* Nothing here touches the device: running a job does, and asks whether it is there. */
	sub.queue = zhenwu_queue_lookup(file->driver_priv, args->queue_id);
	if (!sub.queue)
		return -ENOENT;
	/* Jobs of a user-mode queue are put into its ring by whoever has it. */
	if (sub.queue->user || args->jobs.count > sub.queue->slots) {
		ret = -EINVAL;
		goto out_queue;
	}
	jobs = zhenwu_copy_array(&args->jobs, ZHENWU_JOB_MIN_SIZE, sizeof(*jobs),
				 ZHENWU_SUBMIT_MAX_JOBS);
	if (IS_ERR(jobs)) {
		ret = PTR_ERR(jobs);
		goto out_queue;
	}

	sub.args = jobs;
	sub.sync.file = file;
	sub.sync.sched = &sub.queue->sched;
	ret = zhenwu_submit_copy(&sub);
	if (!ret)
		ret = zhenwu_submit(&sub);
	zhenwu_submit_free(&sub);
	args->first_seqno = sub.first_seqno;
	kvfree(jobs);
out_queue:
	zhenwu_queue_put(sub.queue);
	return ret;
}

// SPDX-License-Identifier: MIT
/* Queues: arguments, order of fence points, errors as text. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "syncs.h"
#include "transport.h"
#include "userq.h"
#include "zhenwu/zw_pte.h"

#define RING_DEFAULT 64u

ZW_API int zw_queue_create(struct zw_vm *vm, const struct zw_queue_options *options,
			   struct zw_queue **out)
{
	struct zw_queue_options opt = {.size = sizeof(opt), .priority = ZW_PRIO_NORMAL};
	struct zw_dev *dev = vm->dev;
	struct zw_queue *q;
	int ret;

	*out = NULL;
	if (options) {
		ret = sized_in(&opt, sizeof(opt), SIZED_V0(struct zw_queue_options, flags),
			       options);
		if (ret)
			return ret;
	}
	if (!opt.ring_slots)
		opt.ring_slots = RING_DEFAULT;
	if (vm->flags & ZW_VM_LONG_RUNNING)
		opt.flags |= ZW_QUEUE_USER;
	else if (opt.flags & ZW_QUEUE_USER)
		return -EINVAL;
	if (opt.flags & ~(uint32_t)(ZW_QUEUE_USER | ZW_QUEUE_PERF) ||
	    opt.priority >= ZW_PRIO_COUNT || opt.ring_slots & (opt.ring_slots - 1) ||
	    opt.ring_slots < 1u << ZW_RING_MIN_LOG2 || opt.ring_slots > 1u << ZW_RING_MAX_LOG2)
		return -EINVAL;
	q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	q->dev = dev;
	q->vm = vm;
	q->slots = opt.ring_slots;
	q->perf = dev->trace || opt.flags & ZW_QUEUE_PERF;
	ret = zw_fence_create(dev, &q->done);
	if (ret)
		goto free_queue;
	ret = opt.flags & ZW_QUEUE_USER ? zw_rt_userq_create(q, &opt)
					: dev->ops->queue_create(q, &opt);
	if (ret)
		goto free_fence;
	if (q->user)
		atomic_fetch_add(&dev->user_queues, 1);
	atomic_fetch_add(&dev->children, 1);
	atomic_fetch_add(&vm->users, 1);
	*out = q;
	return 0;

free_fence:
	zw_fence_destroy(q->done);
free_queue:
	free(q);
	return ret;
}

ZW_API void zw_queue_destroy(struct zw_queue *queue)
{
	struct zw_dev *dev;

	if (!queue)
		return;
	dev = queue->dev;
	if (queue->user) {
		zw_rt_userq_destroy(queue);
		atomic_fetch_sub(&dev->user_queues, 1);
	} else {
		dev->ops->queue_destroy(queue);
	}
	zw_fence_destroy(queue->done);
	atomic_fetch_sub(&queue->vm->users, 1);
	free(queue);
	atomic_fetch_sub(&dev->children, 1);
}

static struct sync_list syncs_of(const struct zw_job *job)
{
	return (struct sync_list){job->syncs, job->num_syncs};
}

static int check_job(const struct zw_queue *q, const struct zw_job *job)
{
	struct sync_list syncs = syncs_of(job);

	if (job->flags || job->cmd_va % 16 || job->cmd_bytes % 16 ||
	    !job->cmd_va != !job->cmd_bytes || job->cmd_bytes > ZW_CMD_MAX_BYTES ||
	    job->result_va % 64 || job->num_syncs > ZW_JOB_MAX_SYNCS)
		return -EINVAL;
	return zw_rt_syncs_check(q->dev, &syncs);
}

/*
 * point: of q->done, reached when all of it is done; valid on success. lists: the jobs' syncs; all fences
 * are the device's.
 */
static int submit_own(struct zw_queue *q, const struct zw_job *jobs, const struct sync_list *lists,
		      uint32_t count, uint64_t *point)
{
	struct zw_sync tail = {.fence = q->done, .flags = ZW_SYNC_SIGNAL};
	struct points points = {0};
	int ret;

	pthread_mutex_lock(&q->dev->submit_lock);
	ret = zw_rt_syncs_known(lists, count);
	if (!ret)
		ret = zw_rt_points_take(&points, lists, count, false);
	tail.point = q->done->last + 1;
	if (!ret) {
		ret = q->dev->ops->queue_submit(q, jobs, count, &tail);
		if (ret)
			zw_rt_points_undo(&points, lists, count);
	}
	if (!ret) {
		q->done->last = tail.point;
		*point = tail.point;
	}
	pthread_mutex_unlock(&q->dev->submit_lock);
	zw_rt_points_done(&points);
	return ret;
}

static int submit(struct zw_queue *q, struct zw_job *jobs, uint32_t count, uint64_t *point)
{
	struct sync_list lists[ZW_SUBMIT_MAX_JOBS];
	struct stand_ins s = {0};
	int ret;

	for (uint32_t i = 0; i < count; i++)
		lists[i] = syncs_of(&jobs[i]);
	if (q->user)
		return zw_rt_userq_submit(q, jobs, lists, count, point);
	ret = zw_rt_stand_ins_begin(q->dev, lists, count, &s);
	if (!ret) {
		for (uint32_t i = 0; i < count; i++)
			jobs[i].syncs = lists[i].syncs;
		ret = submit_own(q, jobs, lists, count, point);
	}
	zw_rt_stand_ins_end(&s);
	return ret;
}

ZW_API int zw_queue_submit(struct zw_queue *queue, const struct zw_job *jobs, uint32_t count)
{
	struct zw_job own[ZW_SUBMIT_MAX_JOBS];
	const uint8_t *at = (const uint8_t *)jobs;
	uint64_t point;

	if (!count || count > ZW_SUBMIT_MAX_JOBS || count > queue->slots)
		return -EINVAL;
	for (uint32_t i = 0; i < count; i++) {
		const struct zw_job *theirs = (const void *)at;
		int ret;

		if (theirs->size != jobs->size)
			return -EINVAL;
		ret = sized_in(&own[i], sizeof(own[i]), SIZED_V0(struct zw_job, syncs), theirs);
		if (!ret)
			ret = check_job(queue, &own[i]);
		if (ret)
			return ret;
		at += jobs->size;
	}
	return submit(queue, own, count, &point);
}

ZW_API int zw_queue_status(struct zw_queue *queue)
{
	struct zw_queue_error e = {.size = sizeof(e)};
	int ret = zw_queue_get_error(queue, &e);

	if (ret)
		return ret;
	if (e.state & ZW_QUEUE_REMOVED)
		return -ENODEV;
	if (e.state & (ZW_QUEUE_INNOCENT | ZW_QUEUE_FLR))
		return -ECANCELED;
	if (e.state & ZW_QUEUE_TIMEDOUT)
		return -ETIME;
	if (!(e.state & ZW_QUEUE_FAILED))
		return 0;
	switch (e.status) {
	case ZW_JOB_NO_MEMORY:
		return -ENOMEM;
	case ZW_JOB_CANCELED:
		return -ECANCELED;
	default:
		return -EIO;
	}
}

ZW_API int zw_queue_run(struct zw_queue *queue, uint64_t cmd_va, uint32_t cmd_bytes,
			uint64_t result_va, int64_t deadline_ns)
{
	struct zw_job job = {
		.size = sizeof(job),
		.cmd_va = cmd_va,
		.cmd_bytes = cmd_bytes,
		.result_va = result_va,
	};
	uint64_t point;
	int ret = check_job(queue, &job);

	if (!ret)
		ret = submit(queue, &job, 1, &point);
	if (!ret)
		ret = zw_fence_wait(queue->done, point, deadline_ns);
	return ret ? ret : zw_queue_status(queue);
}

ZW_API int zw_queue_drain(struct zw_queue *queue, int64_t deadline_ns)
{
	uint64_t point;
	int ret;

	pthread_mutex_lock(&queue->dev->submit_lock);
	point = queue->done->last;
	pthread_mutex_unlock(&queue->dev->submit_lock);
	ret = zw_fence_wait(queue->done, point, deadline_ns);
	return ret ? ret : zw_queue_status(queue);
}

ZW_API int zw_queue_get_error(struct zw_queue *queue, struct zw_queue_error *info)
{
	struct zw_queue_error e;
	int ret;

	memset(&e, 0, sizeof(e));
	ret = sized_check(info->size, SIZED_V0(struct zw_queue_error, completed));
	if (!ret)
		ret = queue->user ? zw_rt_userq_get_error(queue, &e)
				  : queue->dev->ops->queue_get_error(queue, &e);
	if (ret)
		return ret;
	return sized_out(info, SIZED_V0(struct zw_queue_error, completed), &e, sizeof(e));
}

ZW_API int zw_queue_get_perf(struct zw_queue *queue, struct zw_queue_perf *perf)
{
	struct zw_queue_perf p;
	int ret;

	memset(&p, 0, sizeof(p));
	ret = sized_check(perf->size, SIZED_V0(struct zw_queue_perf, sys_bytes));
	if (!ret && !queue->perf)
		ret = -EINVAL;
	if (!ret)
		ret = queue->dev->ops->queue_get_perf(queue, &p);
	if (ret)
		return ret;
	return sized_out(perf, SIZED_V0(struct zw_queue_perf, sys_bytes), &p, sizeof(p));
}

ZW_API void zw_queue_error_text(const struct zw_queue_error *info, char *buf, size_t len)
{
	int n;

	if (!len)
		return;
	if (info->state & ZW_QUEUE_INNOCENT) {
		snprintf(buf, len, "stopped by a device reset that another queue caused");
		return;
	}
	if (info->state & ZW_QUEUE_FLR) {
		snprintf(buf, len, "stopped by a function level reset, device memory is lost");
		return;
	}
	if (info->state & ZW_QUEUE_REMOVED) {
		snprintf(buf, len, "stopped because the device was removed");
		return;
	}
	if (info->state & ZW_QUEUE_TIMEDOUT) {
		snprintf(buf, len, "job %" PRIu64 ": hung, the queue was reset", info->failed_job);
		return;
	}
	if (!(info->state & ZW_QUEUE_FAILED)) {
		snprintf(buf, len, "no error");
		return;
	}
	n = snprintf(buf, len, "job %" PRIu64 ", packet %" PRIu32 ": %s", info->failed_job,
		     info->packet_index, zw_job_status_name(info->status));
	if (n < 0 || (size_t)n >= len)
		return;
	buf += n;
	len -= (size_t)n;
	if (info->status == ZW_JOB_FAULT || info->status == ZW_JOB_ECC)
		snprintf(buf, len, ": %s at 0x%012" PRIx64 ": %s",
			 info->fault_access & ZW_ACCESS_WRITE ? "write" : "read", info->fault_va,
			 zw_fault_name(info->reason));
	else if (info->status == ZW_JOB_INVALID || info->status == ZW_JOB_DATA)
		snprintf(buf, len, ": %s", zw_reason_name(info->reason));
}

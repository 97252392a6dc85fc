/* SPDX-License-Identifier: MIT */
/*
 * User-mode queues: rings in memory of the queue's VM, filled and read here, without the transport.
 *
 * Jobs of such a queue have no fence of the transport. The points that they raise are kept with the
 * fence, each with the job that raises it, and a wait for a point is a wait for that job.
 *
 * Locks, outermost first: userq.submit_lock, dev->submit_lock, userq.lock.
 */
#ifndef ZW_RT_USERQ_H
#define ZW_RT_USERQ_H

#include "syncs.h"
#include "transport.h"

struct userq;

/* Makes the rings and the queue on them. */
int zw_rt_userq_create(struct zw_queue *queue, const struct zw_queue_options *opt);
/* Ends the queue: its jobs count as done. */
void zw_rt_userq_destroy(struct zw_queue *queue);
/*
 * As zw_queue_submit(), with jobs checked and of this library's size, and their syncs as lists. Waits
 * for room in the ring.
 */
int zw_rt_userq_submit(struct zw_queue *queue, const struct zw_job *jobs,
		       const struct sync_list *lists, uint32_t count, uint64_t *point);
int zw_rt_userq_get_error(struct zw_queue *queue, struct zw_queue_error *info);

/* Points of a fence that user-mode queues raise. */
struct user_points;

/* The fence has such points, now or before: the functions below serve it, the transport does not. */
bool zw_rt_user_fence(const struct zw_fence *fence);
int zw_rt_user_fence_wait(struct zw_fence *fence, uint64_t point, int64_t deadline_ns);
uint64_t zw_rt_user_fence_value(struct zw_fence *fence);
/* From the host; the point is above all others. dev->submit_lock held. */
int zw_rt_user_fence_signal(struct zw_fence *fence, uint64_t point);
void zw_rt_user_fence_free(struct zw_fence *fence);

#endif

// SPDX-License-Identifier: GPL-2.0-only
/*
 * How long the device was busy, and for whom.
 *
 * The device has one command processor, whose turns the queues with work share. While n of them
 * are active each is given 1/n of the time that passes: so all clients together are never given
 * more than there was, whoever sums them up sees what the device does, and an idle client costs
 * nothing. The clock is the host's, and what counts is when the kernel gave work to the device and
 * took it back: a device that lies about its own time does not move it. That time is kept beside
 * it.
 */

#include <linux/math64.h>
#include <linux/overflow.h>
#include <linux/timekeeping.h>

#include "zhenwu_device.h"
#include "zhenwu_queue.h"
#include "zhenwu_usage.h"
#include "zhenwu_vm.h"

#define ZHENWU_PS_PER_NS 1000

/**
 * zhenwu_usage_init() - begin to count
 * @zdev: device
 */
void zhenwu_usage_init(struct zhenwu_device *zdev)
{
	spin_lock_init(&zdev->usage.lock);
	zdev->usage.last_ns = ktime_get_ns();
}

static void zhenwu_usage_advance_locked(struct zhenwu_usage *usage)
{
	u64 now = ktime_get_ns(), passed = now - usage->last_ns;

	lockdep_assert_held(&usage->lock);

	usage->last_ns = now;
	if (!usage->active)
		return;
	usage->busy_ns += passed;
	usage->share_ns += div_u64(passed, usage->active);
}

/**
 * zhenwu_usage_set() - a queue has work on the device, or has none any more
 * @queue: queue whose VM is there; its lock is held
 * @active: which
 */
void zhenwu_usage_set(struct zhenwu_queue *queue, bool active)
{
	struct zhenwu_client_usage *client = &queue->vm->client->usage;
	struct zhenwu_usage *usage = &queue->zdev->usage;
	unsigned long flags;

	lockdep_assert_held(&queue->lock);

	if (queue->usage.active == active)
		return;
	queue->usage.active = active;
	spin_lock_irqsave(&usage->lock, flags);
	zhenwu_usage_advance_locked(usage);
	if (active) {
		queue->usage.since_ns = usage->share_ns;
		client->since_ns += usage->share_ns;
		client->active++;
		usage->active++;
	} else {
		client->ended_ns += usage->share_ns - queue->usage.since_ns;
		client->since_ns -= queue->usage.since_ns;
		client->active--;
		usage->active--;
	}
	spin_unlock_irqrestore(&usage->lock, flags);
}

/**
 * zhenwu_usage_job() - the device completed a job
 * @queue: queue whose VM is there
 * @start_ps: when it began, as the device says
 * @end_ps: when it ended, the same
 */
void zhenwu_usage_job(struct zhenwu_queue *queue, u64 start_ps, u64 end_ps)
{
	struct zhenwu_client_usage *client = &queue->vm->client->usage;
	struct zhenwu_usage *usage = &queue->zdev->usage;
	u64 ps = end_ps > start_ps ? end_ps - start_ps : 0;
	unsigned long flags;

	spin_lock_irqsave(&usage->lock, flags);
	client->jobs++;
	/* It never falls, whatever a device says. */
	if (check_add_overflow(client->device_ps, ps, &client->device_ps))
		client->device_ps = U64_MAX;
	spin_unlock_irqrestore(&usage->lock, flags);
}

/**
 * zhenwu_usage_busy_ns() - how long the device had work since the driver was bound
 * @zdev: device
 *
 * Return: nanoseconds of the host's clock.
 */
u64 zhenwu_usage_busy_ns(struct zhenwu_device *zdev)
{
	struct zhenwu_usage *usage = &zdev->usage;
	unsigned long flags;
	u64 ns;

	spin_lock_irqsave(&usage->lock, flags);
	zhenwu_usage_advance_locked(usage);
	ns = usage->busy_ns;
	spin_unlock_irqrestore(&usage->lock, flags);
	return ns;
}

/**
 * zhenwu_usage_client() - what a client has had of a device
 * @client: client
 * @busy_ns: set to its part of zhenwu_usage_busy_ns()
 * @device_ns: set to the device's own time in its jobs
 * @jobs: set to the number of its jobs that the device completed
 */
void zhenwu_usage_client(struct zhenwu_client *client, u64 *busy_ns, u64 *device_ns, u64 *jobs)
{
	struct zhenwu_usage *usage = &client->zdev->usage;
	unsigned long flags;

	spin_lock_irqsave(&usage->lock, flags);
	zhenwu_usage_advance_locked(usage);
	*busy_ns = client->usage.ended_ns + client->usage.active * usage->share_ns -
		   client->usage.since_ns;
	*device_ns = div_u64(client->usage.device_ps, ZHENWU_PS_PER_NS);
	*jobs = client->usage.jobs;
	spin_unlock_irqrestore(&usage->lock, flags);
}

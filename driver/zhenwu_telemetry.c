// SPDX-License-Identifier: GPL-2.0-only
/*
 * Telemetry: samples of the whole device, taken by the firmware.
 *
 * The firmware writes samples into a ring in coherent memory and raises the interrupt of the
 * mailbox, which copies them into a history of the kernel's. Readers see that one only: with our
 * own numbers, which go on after a reset. Each has its position to itself, so there may be many,
 * and none is waited for.
 *
 * What is in the ring is not trusted. A number counts when it belongs into its slot, is larger than
 * the last one, and not larger than the time that has passed allows: then a device that lies makes
 * samples missing, and nothing else. The values of a sample are nobody's business but the reader's.
 *
 * Samples are taken while somebody wants some, an open file or who reads the sensors, at the
 * shortest of the intervals.
 */

#include <linux/dma-mapping.h>
#include <linux/jiffies.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/perf_event.h>
#include <linux/sched/signal.h>
#include <linux/timekeeping.h>

#include <drm/drm_file.h>
#include <drm/drm_managed.h>
#include <drm/drm_print.h>
#include <drm/drm_utils.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu/zw_fw.h"
#include "zhenwu_device.h"
#include "zhenwu_drv.h"
#include "zhenwu_telemetry.h"

#define ZHENWU_TELEMETRY_SLOTS		64
#define ZHENWU_TELEMETRY_RING_BYTES	(ZHENWU_TELEMETRY_SLOTS * sizeof(struct zw_telemetry))
#define ZHENWU_TELEMETRY_HISTORY	256

/* How often those who wait look for themselves: an interrupt may have been lost. */
#define ZHENWU_TELEMETRY_POLL_MS	500

static_assert(DRM_ZHENWU_TELEMETRY_COUNTERS == ZW_TELEMETRY_COUNTERS);
static_assert(DRM_ZHENWU_TELEMETRY_MIN_US == ZW_TELEMETRY_MIN_US);
static_assert(DRM_ZHENWU_TELEMETRY_MAX_US == ZW_TELEMETRY_MAX_US);
static_assert(DRM_ZHENWU_THROTTLE_POWER == ZW_THROTTLE_POWER);

/* -- what the firmware wrote ------------------------------------------------------------------ */

static u64 zhenwu_telemetry_number(struct zhenwu_telemetry *t, u64 number)
{
	return le64_to_cpu(READ_ONCE(t->ring[number % ZHENWU_TELEMETRY_SLOTS].seq));
}

/* Return: the largest number that there can be by now. */
static u64 zhenwu_telemetry_limit(struct zhenwu_telemetry *t, u64 now)
{
	u64 us = div_u64(now - t->last_ns, NSEC_PER_USEC);

	/* The device may count its time a little differently. */
	return t->last + ZHENWU_TELEMETRY_SLOTS + 2 * div_u64(us, t->interval_us);
}

/* Return: the smallest number in the ring behind the last one, 0 for none. */
static u64 zhenwu_telemetry_scan(struct zhenwu_telemetry *t, u64 limit)
{
	u64 best = 0, slot;

	for (slot = 0; slot < ZHENWU_TELEMETRY_SLOTS; slot++) {
		u64 n = zhenwu_telemetry_number(t, slot);

		if (n % ZHENWU_TELEMETRY_SLOTS == slot && n > t->last && n <= limit &&
		    (!best || n < best))
			best = n;
	}
	return best;
}

/* Return: the number of the next sample, 0 for none. */
static u64 zhenwu_telemetry_next(struct zhenwu_telemetry *t, u64 limit)
{
	u64 n = t->last + 1;

	if (zhenwu_telemetry_number(t, n) == n)
		return n;
	n = zhenwu_telemetry_scan(t, limit);
	if (n) {
		/* It may have come together with others, whose slots were looked at too early. */
		dma_rmb();
		n = zhenwu_telemetry_scan(t, limit);
	}
	return n;
}

/* Return: false when the sample was overwritten meanwhile, or may have been. */
static bool zhenwu_telemetry_copy(struct zhenwu_telemetry *t, u64 n, u64 now,
				  struct drm_zhenwu_telemetry_sample *out)
{
	const struct zw_telemetry *slot = &t->ring[n % ZHENWU_TELEMETRY_SLOTS];
	u32 i, num;

	/* The number was written last: the rest is read after it. */
	dma_rmb();
	num = min_t(u32, le32_to_cpu(READ_ONCE(slot->num_counters)), ZW_TELEMETRY_COUNTERS);
	memset(out, 0, sizeof(*out));
	out->time_ns = now;
	out->device_us = le64_to_cpu(READ_ONCE(slot->host_us));
	out->power_mw = le32_to_cpu(READ_ONCE(slot->power_mw));
	out->temperature_mc = (s32)le32_to_cpu(READ_ONCE(slot->temperature_mc));
	out->cap_mw = le32_to_cpu(READ_ONCE(slot->cap_mw));
	out->throttle = le32_to_cpu(READ_ONCE(slot->throttle));
	out->reset_count = t->resets;
	out->num_counters = num;
	for (i = 0; i < num; i++)
		out->counter[i] = le64_to_cpu(READ_ONCE(slot->counter[i]));
	/*
	 * Who overwrites it begins behind the number, and not before the sample in front of that
	 * one is complete.
	 */
	dma_rmb();
	return zhenwu_telemetry_number(t, n) == n &&
	       zhenwu_telemetry_number(t, n + ZHENWU_TELEMETRY_SLOTS - 1) !=
		       n + ZHENWU_TELEMETRY_SLOTS - 1;
}

/*
 * Sensors show the newest sample. The counter of energy begins anew with a reset; what was taken
 * between the last sample and the reset is in no sum.
 */
static void zhenwu_telemetry_sum_locked(struct zhenwu_telemetry *t,
					const struct drm_zhenwu_telemetry_sample *sample)
{
	u64 uj = sample->counter[(ZW_PMU_CHIP_ENERGY_UJ - ZW_REG_PMU) / 8];

	lockdep_assert_held(&t->lock);

	if (t->energy.resets != sample->reset_count)
		t->energy.uj = 0;
	t->energy.resets = sample->reset_count;
	/* It never falls, whatever a device says. */
	if (uj > t->energy.uj)
		t->newest.energy_uj += uj - t->energy.uj;
	t->energy.uj = uj;
	t->newest.power_mw = sample->power_mw;
	t->newest.temperature_mc = sample->temperature_mc;
	WRITE_ONCE(t->newest.time_ns, sample->time_ns);
}

static bool zhenwu_telemetry_poll_locked(struct zhenwu_device *zdev)
{
	struct zhenwu_telemetry *t = &zdev->telemetry;
	struct drm_zhenwu_telemetry_sample *out;
	unsigned int i;
	bool any = false;
	u64 now, limit, n;

	lockdep_assert_held(&t->lock);

	if (!t->ring || !t->interval_us)
		return false;
	now = ktime_get_ns();
	limit = zhenwu_telemetry_limit(t, now);
	for (i = 0; i < ZHENWU_TELEMETRY_SLOTS; i++) {
		n = zhenwu_telemetry_next(t, limit);
		if (!n)
			break;
		/* A reader whose number is not there knows that it is lost. */
		t->seq += n - t->last;
		t->last = n;
		t->last_ns = now;
		any = true;
		out = &t->history[t->seq % ZHENWU_TELEMETRY_HISTORY];
		if (zhenwu_telemetry_copy(t, n, now, out)) {
			out->seq = t->seq;
			zhenwu_telemetry_sum_locked(t, out);
		} else {
			out->seq = 0;
		}
	}
	return any;
}

/**
 * zhenwu_telemetry_poll() - take in the samples that there are
 * @zdev: device
 *
 * Any context: called from the mailbox interrupt, and by readers in case it was lost.
 */
void zhenwu_telemetry_poll(struct zhenwu_device *zdev)
{
	struct zhenwu_telemetry *t = &zdev->telemetry;
	unsigned long flags;
	bool any;

	/* Most interrupts are about messages. */
	if (!READ_ONCE(t->interval_us))
		return;
	spin_lock_irqsave(&t->lock, flags);
	any = zhenwu_telemetry_poll_locked(zdev);
	spin_unlock_irqrestore(&t->lock, flags);
	if (any)
		wake_up_all(&t->wait);
}

/* -- what the firmware is asked for ----------------------------------------------------------- */

static struct zw_msg_telemetry zhenwu_telemetry_message(struct zhenwu_telemetry *t, u32 interval_us)
{
	return (struct zw_msg_telemetry){
		.ring_lo = cpu_to_le32(lower_32_bits(t->dma)),
		.ring_hi = cpu_to_le32(upper_32_bits(t->dma)),
		.slots = cpu_to_le32(ZHENWU_TELEMETRY_SLOTS),
		.interval_us = cpu_to_le32(interval_us),
	};
}

/* Empties the ring, which is not written now, for samples of this interval. */
static void zhenwu_telemetry_empty_locked(struct zhenwu_device *zdev, u32 interval_us)
{
	struct zhenwu_telemetry *t = &zdev->telemetry;

	lockdep_assert_held(&t->lock);

	memset(t->ring, 0, ZHENWU_TELEMETRY_RING_BYTES);
	t->last = 0;
	t->last_ns = ktime_get_ns();
	t->resets = READ_ONCE(zdev->reset.count);
	WRITE_ONCE(t->interval_us, interval_us);
}

/**
 * zhenwu_telemetry_restart() - go on after a reset
 * @zdev: device whose firmware was booted; the caller is who resets it
 *
 * Allocates nothing. A firmware that takes no samples is said, and readers are told.
 *
 * Return: 0, or a negative error when the firmware does not answer.
 */
int zhenwu_telemetry_restart(struct zhenwu_device *zdev)
{
	struct zhenwu_telemetry *t = &zdev->telemetry;
	struct zw_msg_telemetry msg;
	unsigned long flags;
	u32 interval_us;
	int ret;

	lockdep_assert_held(&zdev->hw_lock);

	spin_lock_irqsave(&t->lock, flags);
	/* What came before the reset. */
	zhenwu_telemetry_poll_locked(zdev);
	interval_us = t->interval_us;
	zhenwu_telemetry_empty_locked(zdev, interval_us);
	spin_unlock_irqrestore(&t->lock, flags);
	if (!interval_us)
		return 0;

	msg = zhenwu_telemetry_message(t, interval_us);
	ret = zhenwu_ipc_request_boot(zdev, ZW_MSG_TELEMETRY, &msg, sizeof(msg), NULL, 0);
	if (!ret || ret == -EIO || ret == -ETIMEDOUT)
		return ret;
	drm_err(&zdev->drm, "the firmware takes no more samples: %d\n", ret);
	WRITE_ONCE(t->interval_us, 0);
	wake_up_all(&t->wait);
	return 0;
}

/*
 * Asks the firmware for samples of an interval, 0 for none. A reset that comes in between does so
 * itself: it finds the interval that is stored before anything is asked.
 */
static int zhenwu_telemetry_ask(struct zhenwu_device *zdev, u32 interval_us, unsigned int flags)
{
	struct zhenwu_telemetry *t = &zdev->telemetry;
	struct zw_msg_telemetry msg = {};
	unsigned long irq;
	u32 session;
	bool same;
	int ret;

	lockdep_assert_held(&t->mutex);

	if (t->interval_us == interval_us)
		return 0;
	ret = zhenwu_ipc_session(zdev, &session, flags);
	if (ret)
		return ret;
	/* Numbers begin anew: the ring has to be quiet between the old ones and the new ones. */
	ret = zhenwu_ipc_request_in(zdev, session, 0, ZW_MSG_TELEMETRY, &msg, sizeof(msg), NULL, 0);
	if (ret && ret != -EIO)
		return ret;

	spin_lock_irqsave(&t->lock, irq);
	/*
	 * A session begins before zhenwu_telemetry_restart() looks at the interval, which it does
	 * under the lock: either it sees this one, or it has done already and we ask again.
	 */
	same = READ_ONCE(zdev->ipc.session) == session;
	if (same && t->ring) {
		zhenwu_telemetry_poll_locked(zdev);
		zhenwu_telemetry_empty_locked(zdev, interval_us);
	}
	spin_unlock_irqrestore(&t->lock, irq);
	wake_up_all(&t->wait);
	if (!same)
		return -EAGAIN;
	if (!interval_us)
		return 0;

	msg = zhenwu_telemetry_message(t, interval_us);
	ret = zhenwu_ipc_request_in(zdev, session, 0, ZW_MSG_TELEMETRY, &msg, sizeof(msg), NULL, 0);
	/* -EIO: there was a reset, which has seen to it. */
	if (ret == -EIO)
		return 0;
	if (ret)
		WRITE_ONCE(t->interval_us, 0);
	return ret;
}

/* Does what all wish together. */
static int zhenwu_telemetry_update(struct zhenwu_device *zdev, unsigned int flags)
{
	struct zhenwu_telemetry *t = &zdev->telemetry;
	struct zhenwu_telemetry_wish *wish;
	u32 interval_us = 0;
	int ret;

	lockdep_assert_held(&t->mutex);

	list_for_each_entry(wish, &t->wishes, node)
		if (!interval_us || wish->interval_us < interval_us)
			interval_us = wish->interval_us;
	do {
		ret = zhenwu_telemetry_ask(zdev, interval_us, flags);
	} while (ret == -EAGAIN);
	return ret;
}

static void zhenwu_telemetry_set_wish(struct zhenwu_telemetry *t,
				      struct zhenwu_telemetry_wish *wish, u32 interval_us)
{
	lockdep_assert_held(&t->mutex);

	if (!wish->interval_us && interval_us)
		list_add_tail(&wish->node, &t->wishes);
	else if (wish->interval_us && !interval_us)
		list_del(&wish->node);
	wish->interval_us = interval_us;
}

/**
 * zhenwu_telemetry_want() - want samples for the kernel's own use
 * @zdev: device
 * @wish: wish of the caller
 * @interval_us: longest time between two samples; 0: none any more
 *
 * Return: 0, -EINTR, -ENODEV, -EOPNOTSUPP.
 */
int zhenwu_telemetry_want(struct zhenwu_device *zdev, struct zhenwu_telemetry_wish *wish,
			  u32 interval_us)
{
	struct zhenwu_telemetry *t = &zdev->telemetry;
	int ret = 0;

	mutex_lock(&t->mutex);
	if (wish->interval_us != interval_us || READ_ONCE(t->interval_us) == 0) {
		zhenwu_telemetry_set_wish(t, wish, interval_us);
		ret = zhenwu_telemetry_update(zdev, interval_us ? ZHENWU_IPC_KILLABLE : 0);
		if (ret)
			zhenwu_telemetry_set_wish(t, wish, 0);
	}
	mutex_unlock(&t->mutex);
	return ret;
}

/**
 * zhenwu_telemetry_newest() - what the newest sample says
 * @zdev: device
 * @not_before_ns: CLOCK_MONOTONIC; older ones do not count
 * @timeout: jiffies to wait for one
 * @values: set to it
 *
 * Return: 0, -ENODATA when none came, -ENODEV, -ERESTARTSYS.
 */
int zhenwu_telemetry_newest(struct zhenwu_device *zdev, u64 not_before_ns, unsigned long timeout,
			    struct zhenwu_telemetry_values *values)
{
	const unsigned long poll = msecs_to_jiffies(ZHENWU_TELEMETRY_POLL_MS);
	struct zhenwu_telemetry *t = &zdev->telemetry;
	unsigned long end = jiffies + timeout;
	long ret = 0;

	do {
		/* The interrupt may have been lost. */
		zhenwu_telemetry_poll(zdev);
		spin_lock_irq(&t->lock);
		*values = t->newest;
		spin_unlock_irq(&t->lock);
		if (values->time_ns && values->time_ns >= not_before_ns)
			return 0;
		if (!zhenwu_device_alive(zdev))
			return -ENODEV;
		if (time_after_eq(jiffies, end) || !READ_ONCE(t->interval_us))
			return -ENODATA;
		ret = wait_event_interruptible_timeout(t->wait,
						       READ_ONCE(t->newest.time_ns) >
							       values->time_ns ||
						       !READ_ONCE(t->interval_us) ||
						       !zhenwu_device_alive(zdev), poll);
	} while (ret >= 0);
	return ret;
}

/**
 * zhenwu_telemetry_release() - a file that is closed wants no more samples
 * @zfile: open file
 */
void zhenwu_telemetry_release(struct zhenwu_file *zfile)
{
	struct zhenwu_device *zdev = zfile->zdev;
	struct zhenwu_telemetry *t = &zdev->telemetry;

	mutex_lock(&t->mutex);
	if (zfile->telemetry.interval_us) {
		zhenwu_telemetry_set_wish(t, &zfile->telemetry, 0);
		/* When the device is gone, so are its samples. */
		zhenwu_telemetry_update(zdev, 0);
		zhenwu_pm_put(zdev);
	}
	mutex_unlock(&t->mutex);
}

/* -- life ------------------------------------------------------------------------------------- */

static void zhenwu_telemetry_release_sw(struct drm_device *drm, void *arg)
{
	struct zhenwu_telemetry *t = arg;

	mutex_destroy(&t->mutex);
}

/**
 * zhenwu_telemetry_init_sw() - initialise what does not depend on the device
 * @zdev: device
 *
 * Return: 0 or a negative error.
 */
int zhenwu_telemetry_init_sw(struct zhenwu_device *zdev)
{
	struct zhenwu_telemetry *t = &zdev->telemetry;

	mutex_init(&t->mutex);
	INIT_LIST_HEAD(&t->wishes);
	spin_lock_init(&t->lock);
	init_waitqueue_head(&t->wait);
	return drmm_add_action_or_reset(&zdev->drm, zhenwu_telemetry_release_sw, t);
}

/**
 * zhenwu_telemetry_init() - allocate ring and history
 * @zdev: device
 *
 * Return: 0 or -ENOMEM.
 */
int zhenwu_telemetry_init(struct zhenwu_device *zdev)
{
	struct zhenwu_telemetry *t = &zdev->telemetry;

	t->history = kvcalloc(ZHENWU_TELEMETRY_HISTORY, sizeof(*t->history), GFP_KERNEL);
	if (!t->history)
		return -ENOMEM;
	t->ring = dma_alloc_coherent(&zdev->pdev->dev, ZHENWU_TELEMETRY_RING_BYTES, &t->dma,
				     GFP_KERNEL);
	if (!t->ring) {
		kvfree(t->history);
		t->history = NULL;
		return -ENOMEM;
	}
	return 0;
}

/**
 * zhenwu_telemetry_fini() - free ring and history
 * @zdev: device; in reset. Readers may still be there.
 */
void zhenwu_telemetry_fini(struct zhenwu_device *zdev)
{
	struct zhenwu_telemetry *t = &zdev->telemetry;
	struct drm_zhenwu_telemetry_sample *history;
	struct zw_telemetry *ring;
	unsigned long flags;

	spin_lock_irqsave(&t->lock, flags);
	ring = t->ring;
	history = t->history;
	t->ring = NULL;
	t->history = NULL;
	spin_unlock_irqrestore(&t->lock, flags);
	wake_up_all(&t->wait);

	if (ring)
		dma_free_coherent(&zdev->pdev->dev, ZHENWU_TELEMETRY_RING_BYTES, ring, t->dma);
	kvfree(history);
}

/* -- ioctls ----------------------------------------------------------------------------------- */

/**
 * zhenwu_ioctl_telemetry_set() - DRM_IOCTL_ZHENWU_TELEMETRY_SET
 * @drm: device
 * @data: &struct drm_zhenwu_telemetry_set
 * @file: file
 *
 * Return: 0 or a negative error.
 */
int zhenwu_ioctl_telemetry_set(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct zhenwu_device *zdev = to_zhenwu_device(drm);
	struct drm_zhenwu_telemetry_set *args = data;
	struct zhenwu_telemetry *t = &zdev->telemetry;
	struct zhenwu_file *zfile = file->driver_priv;
	u32 before;
	int ret;

	if (args->flags || (args->interval_us && (args->interval_us < ZW_TELEMETRY_MIN_US ||
						  args->interval_us > ZW_TELEMETRY_MAX_US)))
		return -EINVAL;
	/* Samples tell what other clients do. */
	if (args->interval_us && !perfmon_capable())
		return -EACCES;

	ret = mutex_lock_interruptible(&t->mutex);
	if (ret)
		return ret;
	before = zfile->telemetry.interval_us;
	zhenwu_telemetry_set_wish(t, &zfile->telemetry, args->interval_us);
	ret = zhenwu_telemetry_update(zdev, ZHENWU_IPC_KILLABLE);
	if (ret)
		zhenwu_telemetry_set_wish(t, &zfile->telemetry, before);
	/* Who wants samples keeps the device awake. */
	if (!before && zfile->telemetry.interval_us)
		zhenwu_pm_get_awake(zdev);
	else if (before && !zfile->telemetry.interval_us)
		zhenwu_pm_put(zdev);
	mutex_unlock(&t->mutex);
	return ret;
}

/* The next sample from *seq on; *seq is behind it then, and *lost grows by what is missing. */
static int zhenwu_telemetry_take(struct zhenwu_device *zdev, u64 *seq, u64 *lost,
				 struct drm_zhenwu_telemetry_sample *out)
{
	struct zhenwu_telemetry *t = &zdev->telemetry;
	unsigned long flags;
	int ret = -EAGAIN;

	spin_lock_irqsave(&t->lock, flags);
	if (!t->history) {
		ret = -ENODEV;
		goto out;
	}
	if (t->seq >= *seq && t->seq - *seq >= ZHENWU_TELEMETRY_HISTORY) {
		*lost += t->seq - *seq - (ZHENWU_TELEMETRY_HISTORY - 1);
		*seq = t->seq - (ZHENWU_TELEMETRY_HISTORY - 1);
	}
	while (ret && *seq <= t->seq) {
		const struct drm_zhenwu_telemetry_sample *in =
			&t->history[*seq % ZHENWU_TELEMETRY_HISTORY];

		if (in->seq == *seq) {
			*out = *in;
			ret = 0;
		} else {
			++*lost;
		}
		++*seq;
	}
	if (ret && !t->interval_us)
		ret = -ENODATA;
out:
	spin_unlock_irqrestore(&t->lock, flags);
	return ret;
}

/* Return: 0 when there may be something, -ENODEV, -ETIME, -ERESTARTSYS. */
static int zhenwu_telemetry_wait(struct zhenwu_device *zdev, u64 seq, s64 timeout_ns)
{
	const unsigned long poll = msecs_to_jiffies(ZHENWU_TELEMETRY_POLL_MS);
	struct zhenwu_telemetry *t = &zdev->telemetry;
	unsigned long left = drm_timeout_abs_to_jiffies(timeout_ns);
	long ret;

	if (!zhenwu_device_alive(zdev))
		return -ENODEV;
	if (!left)
		return -ETIME;
	ret = wait_event_interruptible_timeout(t->wait, READ_ONCE(t->seq) >= seq ||
					       !READ_ONCE(t->interval_us) ||
					       !zhenwu_device_alive(zdev),
					       min(left, poll));
	return ret < 0 ? ret : 0;
}

/**
 * zhenwu_ioctl_telemetry_read() - DRM_IOCTL_ZHENWU_TELEMETRY_READ
 * @drm: device
 * @data: &struct drm_zhenwu_telemetry_read
 * @file: file
 *
 * Nothing is held while it sleeps, so that a removal does not wait for it.
 *
 * Return: 0 or a negative error.
 */
int zhenwu_ioctl_telemetry_read(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct zhenwu_device *zdev = to_zhenwu_device(drm);
	struct drm_zhenwu_telemetry_read *args = data;
	struct zhenwu_telemetry *t = &zdev->telemetry;
	struct drm_zhenwu_telemetry_sample sample;
	u64 newest, seq = args->seq, lost = 0;
	int ret;

	if (args->flags || args->count || args->lost || args->timeout_ns < 0 ||
	    !args->samples.count ||
	    args->samples.count > DRM_ZHENWU_TELEMETRY_MAX_READ ||
	    args->samples.stride < sizeof(sample) || args->samples.stride > PAGE_SIZE ||
	    args->samples.stride % 8)
		return -EINVAL;
	if (!perfmon_capable())
		return -EACCES;

	zhenwu_telemetry_poll(zdev);
	spin_lock_irq(&t->lock);
	newest = t->seq;
	spin_unlock_irq(&t->lock);
	if (!seq)
		seq = newest + 1;
	if (seq > newest + 1)
		return -EINVAL;

	for (;;) {
		u64 before = seq, missed = lost;

		ret = zhenwu_telemetry_take(zdev, &seq, &lost, &sample);
		if (!ret) {
			ret = zhenwu_put_element(&args->samples, args->count, &sample,
						 sizeof(sample));
			if (ret) {
				/* It was not read, so it is still to come. */
				seq = before;
				lost = missed;
				break;
			}
			if (++args->count == args->samples.count)
				break;
			continue;
		}
		if (ret != -EAGAIN || args->count)
			break;
		ret = zhenwu_telemetry_wait(zdev, seq, args->timeout_ns);
		if (ret)
			break;
		zhenwu_telemetry_poll(zdev);
	}

	/* What was read counts; an error that lasts is found by the next call. */
	if (args->count || ret == -ETIME)
		ret = 0;
	if (ret)
		return ret;
	args->seq = seq;
	args->lost = lost;
	return 0;
}

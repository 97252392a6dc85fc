// SPDX-License-Identifier: GPL-2.0-only
/*
 * Errors of the device's memory: the firmware's events, what is done about them, and counters.
 */

#include <linux/jiffies.h>

#include <drm/drm_print.h>

#include "zhenwu_device.h"
#include "zhenwu_drv.h"
#include "zhenwu_hbm.h"
#include "zhenwu_ipc.h"
#include "zhenwu_ras.h"
#include "zhenwu_sysfs.h"

/* Shortest time between two messages that allow more events. */
#define ZHENWU_RAS_REFILL_MS	100

/* How many events may still come; negative when there were more than might. */
static int zhenwu_ras_leave_locked(struct zhenwu_ras *ras)
{
	lockdep_assert_held(&ras->lock);

	return (s32)(ras->allowed - ras->read);
}

/**
 * zhenwu_ras_event() - take in an event of the firmware
 * @zdev: device
 * @msg: copy of the message
 *
 * Any context. Bounded, whatever the device posts.
 */
void zhenwu_ras_event(struct zhenwu_device *zdev, const struct zw_msg *msg)
{
	struct zhenwu_ras *ras = &zdev->ras;
	unsigned long flags;
	bool leave;

	spin_lock_irqsave(&ras->lock, flags);
	leave = zhenwu_ras_leave_locked(ras) > 0;
	/* Each counts, also one that is dropped: the firmware has numbered it. */
	ras->read++;
	if (leave && le32_to_cpu(msg->type) == ZW_MSG_EVENT_ECC &&
	    ras->num < ARRAY_SIZE(ras->events))
		memcpy(&ras->events[ras->num++], msg->payload, sizeof(ras->events[0]));
	else
		ras->dropped++;
	queue_delayed_work(zhenwu_release_wq, &ras->work, 0);
	spin_unlock_irqrestore(&ras->lock, flags);
}

static void zhenwu_ras_uncorrectable(struct zhenwu_device *zdev, u64 page)
{
	const char *what = "retired";

	switch (zhenwu_hbm_retire(zdev, page)) {
	case -EBUSY:
		what = "in use, will be retired";
		break;
	case -ENOSPC:
		what = "not retired, too many are";
		break;
	case -EINVAL:
		what = "there is no such page";
		spin_lock_irq(&zdev->ras.lock);
		zdev->ras.dropped++;
		spin_unlock_irq(&zdev->ras.lock);
		break;
	}
	if (__ratelimit(&zdev->ras.limit[ZW_ECC_UNCORRECTABLE]))
		drm_warn(&zdev->drm, "uncorrectable error in HBM page 0x%llx: %s\n", page, what);
}

static void zhenwu_ras_handle(struct zhenwu_device *zdev, const struct zw_msg_event_ecc *event)
{
	u64 page = (u64)le32_to_cpu(event->addr_hi) << 32 | le32_to_cpu(event->addr_lo);
	bool uncorrectable = le32_to_cpu(event->uncorrectable);
	struct zhenwu_ras *ras = &zdev->ras;
	struct ratelimit_state *limit = &ras->limit[uncorrectable];
	u32 count = le32_to_cpu(event->count);

	spin_lock_irq(&ras->lock);
	if (uncorrectable)
		ras->uncorrectable += count;
	else
		ras->corrected += count;
	spin_unlock_irq(&ras->lock);

	if (page == ZW_ECC_NO_ADDR) {
		if (__ratelimit(limit))
			drm_warn(&zdev->drm, "%u %s errors in further pages of HBM\n", count,
				 uncorrectable ? "uncorrectable" : "corrected");
	} else if (uncorrectable) {
		zhenwu_ras_uncorrectable(zdev, page);
	} else if (__ratelimit(limit)) {
		drm_info(&zdev->drm, "%u errors in HBM page 0x%llx corrected\n", count, page);
	}
}

/* Return: there was one. */
static bool zhenwu_ras_next(struct zhenwu_ras *ras, struct zw_msg_event_ecc *event)
{
	bool any;

	spin_lock_irq(&ras->lock);
	any = ras->num;
	if (any) {
		*event = ras->events[0];
		memmove(&ras->events[0], &ras->events[1], --ras->num * sizeof(ras->events[0]));
	}
	spin_unlock_irq(&ras->lock);
	return any;
}

/* Allows more events, when half of those that there may be have come. */
static void zhenwu_ras_refill(struct zhenwu_device *zdev)
{
	struct zhenwu_ras *ras = &zdev->ras;
	struct zw_msg_events msg;
	unsigned long next;
	u32 session;

	/* First: numbers begin anew with the session. */
	if (zhenwu_ipc_session(zdev, &session, 0))
		return;
	spin_lock_irq(&ras->lock);
	next = ras->refilled + msecs_to_jiffies(ZHENWU_RAS_REFILL_MS);
	if (zhenwu_ras_leave_locked(ras) > ZHENWU_RAS_EVENTS / 2) {
		spin_unlock_irq(&ras->lock);
		return;
	}
	if (time_before(jiffies, next)) {
		queue_delayed_work(zhenwu_release_wq, &ras->work, next - jiffies);
		spin_unlock_irq(&ras->lock);
		return;
	}
	ras->refilled = jiffies;
	ras->allowed = ras->read + ZHENWU_RAS_EVENTS - ras->num;
	msg.allowed = cpu_to_le32(ras->allowed);
	spin_unlock_irq(&ras->lock);
	/* When that fails there is a reset, which starts anew. */
	zhenwu_ipc_request_in(zdev, session, 0, ZW_MSG_EVENTS, &msg, sizeof(msg), NULL, 0);
}

static void zhenwu_ras_work(struct work_struct *work)
{
	struct zhenwu_device *zdev = container_of(to_delayed_work(work), struct zhenwu_device,
						  ras.work);
	struct zw_msg_event_ecc event;
	unsigned int n;

	if (zhenwu_pm_get(zdev))
		return;
	/* More come only with leave, which is not given in between. */
	for (n = 0; n < ZHENWU_RAS_EVENTS && zhenwu_ras_next(&zdev->ras, &event); n++)
		zhenwu_ras_handle(zdev, &event);
	zhenwu_ras_refill(zdev);
	zhenwu_pm_put(zdev);
}

/**
 * zhenwu_ras_init() - first state
 * @zdev: device; no events come yet
 */
void zhenwu_ras_init(struct zhenwu_device *zdev)
{
	struct zhenwu_ras *ras = &zdev->ras;
	unsigned int i;

	spin_lock_init(&ras->lock);
	INIT_DELAYED_WORK(&ras->work, zhenwu_ras_work);
	for (i = 0; i < ARRAY_SIZE(ras->limit); i++)
		ratelimit_state_init(&ras->limit[i], DEFAULT_RATELIMIT_INTERVAL,
				     DEFAULT_RATELIMIT_BURST);
}

/**
 * zhenwu_ras_fini() - deal with no more events
 * @zdev: device whose mailbox is down for good
 */
void zhenwu_ras_fini(struct zhenwu_device *zdev)
{
	cancel_delayed_work_sync(&zdev->ras.work);
}

/**
 * zhenwu_ras_start() - let a firmware that was just booted post events
 * @zdev: device; the caller is who resets it
 *
 * Allocates nothing.
 *
 * Return: 0, also when the firmware has no events, or a negative error.
 */
int zhenwu_ras_start(struct zhenwu_device *zdev)
{
	struct zw_msg_events msg = { .allowed = cpu_to_le32(ZHENWU_RAS_EVENTS) };
	struct zhenwu_ras *ras = &zdev->ras;
	int ret;

	spin_lock_irq(&ras->lock);
	ras->read = 0;
	ras->allowed = ZHENWU_RAS_EVENTS;
	ras->refilled = jiffies;
	/* What came last before is dealt with: it is about HBM, not about the firmware. */
	spin_unlock_irq(&ras->lock);
	ret = zhenwu_ipc_request_boot(zdev, ZW_MSG_EVENTS, &msg, sizeof(msg), NULL, 0);
	return ret == -EOPNOTSUPP ? 0 : ret;
}

/* -- sysfs ------------------------------------------------------------------------------------ */

static u64 zhenwu_ras_read(struct zhenwu_device *zdev, const u64 *counter)
{
	u64 n;

	spin_lock_irq(&zdev->ras.lock);
	n = *counter;
	spin_unlock_irq(&zdev->ras.lock);
	return n;
}

ZHENWU_ATTR_RO(corrected, "%llu", zhenwu_ras_read(zdev, &zdev->ras.corrected));
ZHENWU_ATTR_RO(uncorrectable, "%llu", zhenwu_ras_read(zdev, &zdev->ras.uncorrectable));
ZHENWU_ATTR_RO(dropped_events, "%llu", zhenwu_ras_read(zdev, &zdev->ras.dropped));
ZHENWU_ATTR_RO(retired_pages, "%u", READ_ONCE(zdev->hbm.bad.retired));
ZHENWU_ATTR_RO(failed_pages, "%u", READ_ONCE(zdev->hbm.bad.count));

static struct attribute *zhenwu_ras_attrs[] = {
	&dev_attr_corrected.attr,
	&dev_attr_uncorrectable.attr,
	&dev_attr_dropped_events.attr,
	&dev_attr_failed_pages.attr,
	&dev_attr_retired_pages.attr,
	NULL
};

/* Directory "ras" of the PCI function. */
const struct attribute_group zhenwu_ras_group = {
	.name = "ras",
	.attrs = zhenwu_ras_attrs,
};

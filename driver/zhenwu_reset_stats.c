// SPDX-License-Identifier: GPL-2.0-only
/*
 * Why the device was reset, and what brought it back: DEV_QUERY, and resets/ in sysfs.
 */

#include <linux/timekeeping.h>

#include "zhenwu_device.h"
#include "zhenwu_reset.h"
#include "zhenwu_sysfs.h"

static const char *const zhenwu_reset_reasons[ZHENWU_RESET_REASONS] = {
	[DRM_ZHENWU_RESET_FW_STOPPED] = "fw_stopped",
	[DRM_ZHENWU_RESET_FW_SILENT] = "fw_silent",
	[DRM_ZHENWU_RESET_FW_REFUSED] = "fw_refused",
	[DRM_ZHENWU_RESET_QUEUE_STUCK] = "queue_stuck",
	[DRM_ZHENWU_RESET_FUNCTION] = "function",
	[DRM_ZHENWU_RESET_PCI_ERROR] = "pci_error",
};

/**
 * zhenwu_reset_reason_name() - reason as user space reads it
 * @reason: &enum drm_zhenwu_reset_reason, or DRM_ZHENWU_RESET_NEVER
 *
 * Return: static text.
 */
const char *zhenwu_reset_reason_name(u32 reason)
{
	return reason < ZHENWU_RESET_REASONS ? zhenwu_reset_reasons[reason] : "none";
}

/**
 * zhenwu_reset_stats_init() - nothing has happened yet
 * @zdev: device
 */
void zhenwu_reset_stats_init(struct zhenwu_device *zdev)
{
	zdev->reset.stats.last_reason = DRM_ZHENWU_RESET_NEVER;
}

/**
 * zhenwu_reset_note_reason() - count the reset that is under way, once
 * @zdev: device; hw_lock is held
 */
void zhenwu_reset_note_reason(struct zhenwu_device *zdev)
{
	struct zhenwu_reset *reset = &zdev->reset;
	unsigned long flags;

	lockdep_assert_held(&zdev->hw_lock);

	if (reset->noted)
		return;
	reset->noted = true;
	spin_lock_irqsave(&reset->lock, flags);
	reset->stats.last_reason = reset->reason;
	reset->stats.reasons[reset->reason]++;
	reset->stats.last_ns = ktime_get_boottime_ns();
	WRITE_ONCE(reset->count, reset->count + 1);
	spin_unlock_irqrestore(&reset->lock, flags);
}

/**
 * zhenwu_reset_note_rung() - the reset that was under way is over
 * @zdev: device; hw_lock is held
 * @rung: what brought it back
 */
void zhenwu_reset_note_rung(struct zhenwu_device *zdev, enum drm_zhenwu_reset_rung rung)
{
	struct zhenwu_reset *reset = &zdev->reset;
	unsigned long flags;

	lockdep_assert_held(&zdev->hw_lock);

	/* Waking up from system sleep is none. */
	if (!reset->noted)
		return;
	reset->noted = false;
	spin_lock_irqsave(&reset->lock, flags);
	reset->stats.rungs[rung]++;
	spin_unlock_irqrestore(&reset->lock, flags);
}

static struct zhenwu_reset_stats zhenwu_reset_stats_read(struct zhenwu_device *zdev)
{
	struct zhenwu_reset_stats stats;
	unsigned long flags;

	spin_lock_irqsave(&zdev->reset.lock, flags);
	stats = zdev->reset.stats;
	spin_unlock_irqrestore(&zdev->reset.lock, flags);
	return stats;
}

/**
 * zhenwu_reset_query() - answer DRM_ZHENWU_DEV_QUERY_RESETS
 * @zdev: device
 * @out: answer, all zero
 */
void zhenwu_reset_query(struct zhenwu_device *zdev, struct drm_zhenwu_dev_resets *out)
{
	struct zhenwu_reset_stats stats = zhenwu_reset_stats_read(zdev);

	BUILD_BUG_ON(sizeof(stats.reasons) > sizeof(out->reasons));
	BUILD_BUG_ON(sizeof(stats.rungs) > sizeof(out->rungs));
	memcpy(out->reasons, stats.reasons, sizeof(stats.reasons));
	memcpy(out->rungs, stats.rungs, sizeof(stats.rungs));
	out->last_ns = stats.last_ns;
	out->last_reason = stats.last_reason;
}

static u64 zhenwu_resets_for(struct zhenwu_device *zdev, enum drm_zhenwu_reset_reason reason)
{
	return zhenwu_reset_stats_read(zdev).reasons[reason];
}

static u64 zhenwu_resets_by(struct zhenwu_device *zdev, enum drm_zhenwu_reset_rung rung)
{
	return zhenwu_reset_stats_read(zdev).rungs[rung];
}

ZHENWU_ATTR_RO(fw_stopped, "%llu", zhenwu_resets_for(zdev, DRM_ZHENWU_RESET_FW_STOPPED));
ZHENWU_ATTR_RO(fw_silent, "%llu", zhenwu_resets_for(zdev, DRM_ZHENWU_RESET_FW_SILENT));
ZHENWU_ATTR_RO(fw_refused, "%llu", zhenwu_resets_for(zdev, DRM_ZHENWU_RESET_FW_REFUSED));
ZHENWU_ATTR_RO(queue_stuck, "%llu", zhenwu_resets_for(zdev, DRM_ZHENWU_RESET_QUEUE_STUCK));
ZHENWU_ATTR_RO(function, "%llu", zhenwu_resets_for(zdev, DRM_ZHENWU_RESET_FUNCTION));
ZHENWU_ATTR_RO(pci_error, "%llu", zhenwu_resets_for(zdev, DRM_ZHENWU_RESET_PCI_ERROR));
ZHENWU_ATTR_RO(warm, "%llu", zhenwu_resets_by(zdev, DRM_ZHENWU_RESET_WARM));
ZHENWU_ATTR_RO(cold, "%llu", zhenwu_resets_by(zdev, DRM_ZHENWU_RESET_COLD));
ZHENWU_ATTR_RO(flr, "%llu", zhenwu_resets_by(zdev, DRM_ZHENWU_RESET_FLR));
ZHENWU_ATTR_RO(lost, "%llu", zhenwu_resets_by(zdev, DRM_ZHENWU_RESET_LOST));
ZHENWU_ATTR_RO(last_reason, "%s",
	       zhenwu_reset_reason_name(zhenwu_reset_stats_read(zdev).last_reason));

static struct attribute *zhenwu_resets_attrs[] = {
	&dev_attr_fw_stopped.attr,
	&dev_attr_fw_silent.attr,
	&dev_attr_fw_refused.attr,
	&dev_attr_queue_stuck.attr,
	&dev_attr_function.attr,
	&dev_attr_pci_error.attr,
	&dev_attr_warm.attr,
	&dev_attr_cold.attr,
	&dev_attr_flr.attr,
	&dev_attr_lost.attr,
	&dev_attr_last_reason.attr,
	NULL
};

/* "reset" is a file of the PCI core. */
const struct attribute_group zhenwu_resets_group = {
	.name = "resets",
	.attrs = zhenwu_resets_attrs,
};

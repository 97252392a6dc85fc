// SPDX-License-Identifier: GPL-2.0-only
/*
 * debugfs: what the driver and the firmware are doing. Read-only, in accel/<pci address>/.
 */

#include <linux/kernel.h>
#include <linux/seq_file.h>

#include <drm/drm_debugfs.h>

#include "zhenwu_debugfs.h"
#include "zhenwu_device.h"
#include "zhenwu_gem.h"
#include "zhenwu_queue.h"
#include "zhenwu_vm.h"

static struct zhenwu_device *zhenwu_debugfs_device(struct seq_file *m)
{
	struct drm_debugfs_entry *entry = m->private;

	return to_zhenwu_device(entry->dev);
}

static int zhenwu_debugfs_fw_log(struct seq_file *m, void *data)
{
	return zhenwu_fw_show_log(zhenwu_debugfs_device(m), m);
}

static int zhenwu_debugfs_queues(struct seq_file *m, void *data)
{
	zhenwu_queue_show(zhenwu_debugfs_device(m), m);
	return 0;
}

static int zhenwu_debugfs_vms(struct seq_file *m, void *data)
{
	zhenwu_vm_show(zhenwu_debugfs_device(m), m);
	return 0;
}

static int zhenwu_debugfs_gpuvas(struct seq_file *m, void *data)
{
	return zhenwu_vm_show_gpuvas(zhenwu_debugfs_device(m), m);
}

static int zhenwu_debugfs_bos(struct seq_file *m, void *data)
{
	zhenwu_gem_show(zhenwu_debugfs_device(m), m);
	return 0;
}

static int zhenwu_debugfs_hbm(struct seq_file *m, void *data)
{
	struct zhenwu_device *zdev = zhenwu_debugfs_device(m);
	struct zhenwu_hbm *hbm = &zdev->hbm;

	mutex_lock(&hbm->lock);
	seq_printf(m, "size %llu visible %llu free %llu to be scrubbed %llu\n", zdev->info.hbm_size,
		   zdev->info.aperture_size, hbm->mm.avail, hbm->dirty_bytes);
	mutex_unlock(&hbm->lock);
	return 0;
}

static int zhenwu_debugfs_clients(struct seq_file *m, void *data)
{
	zhenwu_clients_show(zhenwu_debugfs_device(m), m);
	return 0;
}

static const struct drm_debugfs_info zhenwu_debugfs_files[] = {
	{ "fw_log", zhenwu_debugfs_fw_log },
	{ "queues", zhenwu_debugfs_queues },
	{ "vms", zhenwu_debugfs_vms },
	{ "gpuvas", zhenwu_debugfs_gpuvas },
	{ "bos", zhenwu_debugfs_bos },
	{ "hbm", zhenwu_debugfs_hbm },
	{ "clients", zhenwu_debugfs_clients },
};

/**
 * zhenwu_debugfs_init() - add the files
 * @zdev: device, not yet registered
 */
void zhenwu_debugfs_init(struct zhenwu_device *zdev)
{
	drm_debugfs_add_files(&zdev->drm, zhenwu_debugfs_files, ARRAY_SIZE(zhenwu_debugfs_files));
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * /proc/<pid>/fdinfo/<fd>, by Documentation/gpu/drm-usage-stats.rst of the kernel.
 *
 * Nothing here touches the device: it may be in a reset, lost or gone.
 */

#include <linux/dma-resv.h>

#include <drm/drm_file.h>
#include <drm/drm_gem.h>
#include <drm/drm_print.h>

#include "zhenwu_device.h"
#include "zhenwu_fdinfo.h"
#include "zhenwu_gem.h"
#include "zhenwu_usage.h"

/*
 * May a job use a buffer. Jobs put their fences on VMs, not on buffers: those that map it are
 * asked. Only tries the lock: whoever has it is just mapping the buffer or submitting.
 */
static bool zhenwu_fdinfo_active(struct drm_gem_object *obj)
{
	struct drm_gpuvm_bo *vm_bo;
	bool active = false;

	if (!dma_resv_trylock(obj->resv))
		return true;
	drm_gem_for_each_gpuvm_bo(vm_bo, obj)
		active |= !dma_resv_test_signaled(drm_gpuvm_resv(vm_bo->vm),
						  DMA_RESV_USAGE_BOOKKEEP);
	dma_resv_unlock(obj->resv);
	return active;
}

static void zhenwu_fdinfo_memory(struct drm_printer *p, struct drm_file *file)
{
	struct drm_memory_stats hbm = {}, memory = {};
	struct drm_gem_object *obj;
	int id;

	spin_lock(&file->table_lock);
	idr_for_each_entry(&file->object_idr, obj, id) {
		struct drm_memory_stats *stats = &memory;
		int madv;

		/* A handle that is just being made or closed has none. */
		if (!obj)
			continue;
		if (to_zhenwu_bo(obj)->placement == DRM_ZHENWU_BO_HBM)
			stats = &hbm;
		if (drm_gem_object_is_shared_for_memory_stats(obj))
			stats->shared += obj->size;
		else
			stats->private += obj->size;
		/* Memory of a buffer is there as long as the buffer is, or until it is purged. */
		madv = READ_ONCE(to_zhenwu_bo(obj)->shmem.madv);
		if (madv != ZHENWU_MADV_PURGED)
			stats->resident += obj->size;
		if (madv == ZHENWU_MADV_PURGEABLE)
			stats->purgeable += obj->size;
		if (zhenwu_fdinfo_active(obj))
			stats->active += obj->size;
	}
	spin_unlock(&file->table_lock);

	/* The name "memory" is reserved for that of the system. */
	drm_print_memory_stats(p, &hbm, DRM_GEM_OBJECT_RESIDENT | DRM_GEM_OBJECT_ACTIVE |
			       DRM_GEM_OBJECT_PURGEABLE, "hbm");
	drm_print_memory_stats(p, &memory, DRM_GEM_OBJECT_RESIDENT | DRM_GEM_OBJECT_ACTIVE |
			       DRM_GEM_OBJECT_PURGEABLE, "memory");
}

/**
 * zhenwu_show_fdinfo() - what an open file has and has used
 * @p: where to print
 * @file: file
 */
void zhenwu_show_fdinfo(struct drm_printer *p, struct drm_file *file)
{
	struct zhenwu_file *zfile = file->driver_priv;
	u64 busy_ns, device_ns, jobs;

	zhenwu_usage_client(zfile->client, &busy_ns, &device_ns, &jobs);
	drm_printf(p, "drm-engine-compute:\t%llu ns\n", busy_ns);
	drm_printf(p, ZHENWU_DRIVER_NAME "-device-compute:\t%llu ns\n", device_ns);
	drm_printf(p, ZHENWU_DRIVER_NAME "-jobs:\t%llu\n", jobs);
	zhenwu_fdinfo_memory(p, file);
}

// SPDX-License-Identifier: GPL-2.0-only
/* Cgroups account for memory of devices, and ask drivers to give some back. */
#include <linux/cgroup_dmem.h>

#include <drm/drm_drv.h>

struct dmem_cgroup_region *zw_probe(struct drm_device *drm, const struct dmem_cgroup_init *init);
struct dmem_cgroup_region *zw_probe(struct drm_device *drm, const struct dmem_cgroup_init *init)
{
	return drmm_cgroup_register_region(drm, "hbm", init);
}

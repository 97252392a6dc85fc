/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_DMEM_H__
#define __ZHENWU_DMEM_H__

#include <linux/types.h>

#include "zhenwu_compat.h"

struct dmem_cgroup_pool_state;
struct zhenwu_bo;
struct zhenwu_device;
struct zhenwu_hbm_need;

#ifdef ZW_HAVE_CGROUP_DMEM
int zhenwu_dmem_init(struct zhenwu_device *zdev);
int zhenwu_dmem_charge(struct zhenwu_device *zdev, u64 bytes, bool move,
		       struct dmem_cgroup_pool_state **pool);
void zhenwu_dmem_uncharge(struct dmem_cgroup_pool_state *pool, u64 bytes);
bool zhenwu_dmem_gives(struct zhenwu_bo *bo, const struct zhenwu_hbm_need *need, bool low,
		       bool *protected);
#else
/* Kernels without cgroups for memory of devices. */
static inline int zhenwu_dmem_init(struct zhenwu_device *zdev)
{
	return 0;
}

static inline int zhenwu_dmem_charge(struct zhenwu_device *zdev, u64 bytes, bool move,
				     struct dmem_cgroup_pool_state **pool)
{
	*pool = NULL;
	return 0;
}

static inline void zhenwu_dmem_uncharge(struct dmem_cgroup_pool_state *pool, u64 bytes)
{
}

static inline bool zhenwu_dmem_gives(struct zhenwu_bo *bo, const struct zhenwu_hbm_need *need,
				     bool low, bool *protected)
{
	return true;
}
#endif

#endif /* __ZHENWU_DMEM_H__ */

// SPDX-License-Identifier: GPL-2.0-only
/*
 * HBM as cgroups account for it: the controller of device memory, region drm/<device>/hbm.
 *
 * A buffer counts while it is in HBM: against the cgroup of who made it, or had it brought back.
 * Who is at a limit gets room at the expense of those below the same limit, as others do from
 * everybody; what is protected (dmem.min, dmem.low) is not moved for others, or only when nothing
 * else is idle; what was marked as not needed is not protected. Tables of VMs and the driver's own
 * HBM are not counted.
 */

#include "zhenwu_dmem.h"

#ifdef ZW_HAVE_CGROUP_DMEM

#include <linux/cgroup_dmem.h>
#include <linux/err.h>
#include <linux/mutex.h>

#include <drm/drm_drv.h>

#include "zhenwu_device.h"
#include "zhenwu_evict.h"
#include "zhenwu_gem.h"
#include "zhenwu_purge.h"

/* Return: 1 when there is more room below a limit, 0 when none can be had, or a negative error. */
static int zhenwu_dmem_make_room(struct zhenwu_device *zdev, struct dmem_cgroup_pool_state *limit,
				 bool move)
{
	const struct zhenwu_hbm_need need = { .limit = limit };

	if (zhenwu_purge_for(zdev, &need))
		return 1;
	return move ? zhenwu_evict_for(zdev, &need) : 0;
}

/* Somebody sets a limit below what is used. */
static int zhenwu_dmem_reclaim(struct dmem_cgroup_pool_state *pool, u64 bytes, void *priv)
{
	struct zhenwu_device *zdev = priv;
	int ret, idx;

	if (!drm_dev_enter(&zdev->drm, &idx))
		return -ENODEV;
	ret = zhenwu_dmem_make_room(zdev, pool, true);
	drm_dev_exit(idx);
	if (ret > 0)
		return 0;
	return ret ?: -ENOSPC;
}

static const struct dmem_cgroup_ops zhenwu_dmem_ops = {
	.reclaim = zhenwu_dmem_reclaim,
};

/**
 * zhenwu_dmem_init() - have cgroups account for HBM
 * @zdev: device, whose HBM is known
 *
 * Return: 0, also when the kernel has no such controller, or a negative error.
 */
int zhenwu_dmem_init(struct zhenwu_device *zdev)
{
	const struct dmem_cgroup_init init = {
		.size = zdev->info.hbm_size,
		.ops = &zhenwu_dmem_ops,
		.reclaim_priv = zdev,
	};

	zdev->dmem = drmm_cgroup_register_region(&zdev->drm, "hbm", &init);
	return PTR_ERR_OR_ZERO(zdev->dmem);
}

/**
 * zhenwu_dmem_charge() - count HBM that a buffer is to have
 * @zdev: device
 * @bytes: its size
 * @move: others that are below the same limit may be moved for it; no lock is held then
 * @pool: what zhenwu_dmem_uncharge() takes, or NULL
 *
 * Return: 0, -ENOSPC at a limit, or another negative error.
 */
int zhenwu_dmem_charge(struct zhenwu_device *zdev, u64 bytes, bool move,
		       struct dmem_cgroup_pool_state **pool)
{
	struct dmem_cgroup_pool_state *limit;
	int ret, more;

	*pool = NULL;
	if (!zdev->dmem)
		return 0;
	do {
		more = 0;
		ret = dmem_cgroup_try_charge(zdev->dmem, bytes, pool, &limit);
		if (ret != -EAGAIN)
			break;
		more = zhenwu_dmem_make_room(zdev, limit, move);
		dmem_cgroup_pool_state_put(limit);
	} while (more > 0);
	if (!ret)
		return 0;
	return more ?: ret == -EAGAIN ? -ENOSPC : ret;
}

/**
 * zhenwu_dmem_uncharge() - count it no more
 * @pool: from zhenwu_dmem_charge(), or NULL
 * @bytes: the same
 */
void zhenwu_dmem_uncharge(struct dmem_cgroup_pool_state *pool, u64 bytes)
{
	if (pool)
		dmem_cgroup_uncharge(pool, bytes);
}

/**
 * zhenwu_dmem_gives() - may the HBM of a buffer be taken for somebody
 * @bo: buffer in HBM, which keeps it meanwhile
 * @need: what is missing
 * @low: although it is protected by dmem.low
 * @protected: set when that is why not
 *
 * Return: true when it may.
 */
bool zhenwu_dmem_gives(struct zhenwu_bo *bo, const struct zhenwu_hbm_need *need, bool low,
		       bool *protected)
{
	if (!bo->dmem)
		return !need->limit;
	/* Protection is from others. */
	if (bo->dmem == need->own)
		return true;
	return dmem_cgroup_state_evict_valuable(need->limit, bo->dmem, low, protected);
}

#endif /* ZW_HAVE_CGROUP_DMEM */

/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bridges the interfaces that differ between the supported kernels.
 *
 * The driver is written to the newest kernel; this file gives older ones its names. What a kernel
 * has is found by compiling (driver/compat/), because distribution kernels backport interfaces
 * without changing their version.
 */
#ifndef __ZHENWU_COMPAT_H__
#define __ZHENWU_COMPAT_H__

#include <linux/dma-mapping.h>
#include <linux/workqueue.h>

#include <drm/drm_drv.h>
#include <drm/drm_gem_shmem_helper.h>
#include <drm/drm_gpuvm.h>
#include <drm/gpu_scheduler.h>

#include "zhenwu_probed.h"

#ifdef ZW_HAVE_GPU_BUDDY
#include <linux/gpu_buddy.h>
#else
#include <drm/drm_buddy.h>
#define gpu_buddy			drm_buddy
#define gpu_buddy_block			drm_buddy_block
#define gpu_buddy_init			drm_buddy_init
#define gpu_buddy_fini			drm_buddy_fini
#define gpu_buddy_alloc_blocks		drm_buddy_alloc_blocks
#define gpu_buddy_free_block		drm_buddy_free_block
#define gpu_buddy_free_list		drm_buddy_free_list
#define gpu_buddy_block_offset		drm_buddy_block_offset
#define gpu_buddy_block_size		drm_buddy_block_size
#define GPU_BUDDY_RANGE_ALLOCATION	DRM_BUDDY_RANGE_ALLOCATION
#define GPU_BUDDY_TOPDOWN_ALLOCATION	DRM_BUDDY_TOPDOWN_ALLOCATION
#endif

#ifdef ZW_HAVE_IMPORT_NS_IDENTIFIER
#define ZHENWU_IMPORT_NS_DMA_BUF	MODULE_IMPORT_NS(DMA_BUF)
#else
#define ZHENWU_IMPORT_NS_DMA_BUF	MODULE_IMPORT_NS("DMA_BUF")
#endif

#ifndef ZW_HAVE_DMA_BUF_INVALIDATE_MAPPINGS
#define invalidate_mappings		move_notify
#define dma_buf_invalidate_mappings	dma_buf_move_notify
#endif

#ifndef DMA_ATTR_DEBUGGING_IGNORE_CACHELINES
/* With CONFIG_DMA_API_DEBUG older kernels warn of the eighth mapping of a page, whoever's it is. */
#define DMA_ATTR_DEBUGGING_IGNORE_CACHELINES 0
#endif

#ifndef ZW_HAVE_DRIVER_GEM_GPUVA
/* Newer kernels always keep the list. */
#define DRIVER_GEM_GPUVA 0
#endif

#ifndef ZW_HAVE_GEM_OBJECT_ACTIVE
/* Older kernels always print what is in use. */
#define DRM_GEM_OBJECT_ACTIVE 0
#endif

#ifndef ZW_HAVE_SHMEM_PUT_PAGES_LOCKED
#define drm_gem_shmem_put_pages_locked drm_gem_shmem_put_pages
#endif

#ifndef ZW_HAVE_WQ_PERCPU
/* Older kernels take it for granted unless WQ_UNBOUND is given. */
#define WQ_PERCPU 0
#endif

#ifndef ZW_HAVE_SCHED_INIT_ARGS
struct drm_sched_init_args {
	const struct drm_sched_backend_ops *ops;
	struct workqueue_struct *submit_wq;
	struct workqueue_struct *timeout_wq;
	u32 num_rqs;
	u32 credit_limit;
	unsigned int hang_limit;
	long timeout;
	atomic_t *score;
	const char *name;
	struct device *dev;
};

static inline int zw_drm_sched_init(struct drm_gpu_scheduler *sched,
				    const struct drm_sched_init_args *args)
{
	return drm_sched_init(sched, args->ops, args->submit_wq, args->num_rqs, args->credit_limit,
			      args->hang_limit, args->timeout, args->timeout_wq, args->score,
			      args->name, args->dev);
}

#define drm_sched_init zw_drm_sched_init
#endif

#ifndef ZW_HAVE_SCHED_JOB_CLIENT_ID
static inline int zw_drm_sched_job_init(struct drm_sched_job *job, struct drm_sched_entity *entity,
					u32 credits, void *owner, u64 drm_client_id)
{
	return drm_sched_job_init(job, entity, credits, owner);
}

#define drm_sched_job_init zw_drm_sched_job_init
#endif

#ifndef ZW_HAVE_GPUVM_MAP_REQ
struct drm_gpuvm_map_req {
	struct drm_gpuva_op_map map;
};

static inline int zw_drm_gpuvm_sm_map(struct drm_gpuvm *gpuvm, void *priv,
				      const struct drm_gpuvm_map_req *req)
{
	return drm_gpuvm_sm_map(gpuvm, priv, req->map.va.addr, req->map.va.range, req->map.gem.obj,
				req->map.gem.offset);
}

#define drm_gpuvm_sm_map zw_drm_gpuvm_sm_map
#endif

#ifndef ZW_HAVE_GPUVM_BO_OBTAIN_LOCKED
#define drm_gpuvm_bo_obtain_locked drm_gpuvm_bo_obtain
#endif

#endif /* __ZHENWU_COMPAT_H__ */

// SPDX-License-Identifier: GPL-2.0-only
/* drm_gpuvm_bo_obtain() says in its name that the caller holds the lock. */
#include <drm/drm_gpuvm.h>

void *zw_probe(struct drm_gpuvm *gpuvm, struct drm_gem_object *obj);
void *zw_probe(struct drm_gpuvm *gpuvm, struct drm_gem_object *obj)
{
	return drm_gpuvm_bo_obtain_locked(gpuvm, obj);
}

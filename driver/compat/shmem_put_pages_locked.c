// SPDX-License-Identifier: GPL-2.0-only
/* drm_gem_shmem_put_pages() says in its name that the caller holds the reservation. */
#include <drm/drm_gem_shmem_helper.h>

void zw_probe(struct drm_gem_shmem_object *shmem);
void zw_probe(struct drm_gem_shmem_object *shmem)
{
	drm_gem_shmem_put_pages_locked(shmem);
}

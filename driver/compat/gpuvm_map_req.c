// SPDX-License-Identifier: GPL-2.0-only
/* drm_gpuvm_sm_map() takes its parameters in a struct. */
#include <drm/drm_gpuvm.h>

int zw_probe(struct drm_gpuvm *gpuvm);
int zw_probe(struct drm_gpuvm *gpuvm)
{
	const struct drm_gpuvm_map_req req = { .map.va.range = 4096 };

	return drm_gpuvm_sm_map(gpuvm, NULL, &req);
}

// SPDX-License-Identifier: GPL-2.0-only
/* drm_sched_init() takes its parameters in a struct. */
#include <drm/gpu_scheduler.h>

int zw_probe(struct drm_gpu_scheduler *sched);
int zw_probe(struct drm_gpu_scheduler *sched)
{
	const struct drm_sched_init_args args = { .credit_limit = 1 };

	return drm_sched_init(sched, &args);
}

// SPDX-License-Identifier: GPL-2.0-only
/* The buddy allocator is gpu_buddy, not drm_buddy. */
#include <linux/gpu_buddy.h>

int zw_probe(struct gpu_buddy *mm);
int zw_probe(struct gpu_buddy *mm)
{
	return gpu_buddy_init(mm, 4096, 4096);
}

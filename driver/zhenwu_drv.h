/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_DRV_H__
#define __ZHENWU_DRV_H__

#include <linux/types.h>

struct drm_zhenwu_obj_array;
struct workqueue_struct;

/* Lets go of files and queues whose owners do not wait. Outlives every device. */
extern struct workqueue_struct *zhenwu_release_wq;

void *zhenwu_copy_array(const struct drm_zhenwu_obj_array *array, size_t min_size,
			size_t elem_size, u32 max);
int zhenwu_put_element(const struct drm_zhenwu_obj_array *array, u32 i, const void *elem,
		       size_t elem_size);

#endif /* __ZHENWU_DRV_H__ */

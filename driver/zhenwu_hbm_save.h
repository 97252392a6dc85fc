/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_HBM_SAVE_H__
#define __ZHENWU_HBM_SAVE_H__

#include <linux/list.h>
#include <linux/types.h>

#include "zhenwu_copy.h"

struct zhenwu_device;

/**
 * struct zhenwu_hbm_save - contents of HBM in system memory
 */
struct zhenwu_hbm_save {
	/** @pages: Pages of system memory, in the order in which HBM is walked over. */
	struct list_head pages;

	/** @num_pages: How many there are. */
	u64 num_pages;

	/** @used: How many of them hold something, or are to. */
	u64 used;

	/** @copy: What moves it. */
	struct zhenwu_copy copy;
};

void zhenwu_hbm_save_init(struct zhenwu_device *zdev);
int zhenwu_hbm_save_reserve(struct zhenwu_device *zdev);
int zhenwu_hbm_save_plan(struct zhenwu_device *zdev);
int zhenwu_hbm_save_store(struct zhenwu_device *zdev);
int zhenwu_hbm_save_load(struct zhenwu_device *zdev);
void zhenwu_hbm_save_release(struct zhenwu_device *zdev);

#endif /* __ZHENWU_HBM_SAVE_H__ */

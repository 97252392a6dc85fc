/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_MOVE_H__
#define __ZHENWU_MOVE_H__

#include <linux/types.h>

struct page;
struct zhenwu_bo;
struct zhenwu_device;

bool zhenwu_move_possible(struct zhenwu_bo *bo, bool idle, unsigned long *used);
int zhenwu_move(struct zhenwu_bo *bo, bool wait);
void zhenwu_move_free_pages(struct page **pages, u64 count);

#endif /* __ZHENWU_MOVE_H__ */

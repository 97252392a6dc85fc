/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_MOVE_H__
#define __ZHENWU_MOVE_H__

#include <linux/types.h>

struct page;
struct zhenwu_bo;
struct zhenwu_device;

bool zhenwu_move_possible(struct zhenwu_bo *bo, unsigned long *used);
int zhenwu_move_out(struct zhenwu_bo *bo, unsigned int hold_ms);
int zhenwu_move_back(struct zhenwu_bo *bo);
void zhenwu_move_free_pages(struct page **pages, u64 count);

#endif /* __ZHENWU_MOVE_H__ */

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_PT_H__
#define __ZHENWU_PT_H__

#include <linux/list.h>
#include <linux/types.h>

struct zhenwu_bo;
struct zhenwu_client;
struct zhenwu_device;
struct zhenwu_pt;

/**
 * struct zhenwu_pt_stock - tables allocated in advance, for one change of a tree
 */
struct zhenwu_pt_stock {
	/** @tables: The tables by level; there is only one of the highest, the root. */
	struct list_head tables[3];

	/** @last: By level what the last is for: number of the table in the address space. */
	u64 last[3];
};

struct zhenwu_pt *zhenwu_pt_create_root(struct zhenwu_device *zdev, struct zhenwu_client *client);
void zhenwu_pt_destroy_root(struct zhenwu_device *zdev, struct zhenwu_pt *root);
u64 zhenwu_pt_addr(const struct zhenwu_pt *pt);
int zhenwu_pt_walk(struct zhenwu_device *zdev, const struct zhenwu_pt *pt,
		   int (*fn)(struct zhenwu_device *zdev, u64 addr, u64 size));

void zhenwu_pt_stock_init(struct zhenwu_pt_stock *stock);
void zhenwu_pt_stock_fini(struct zhenwu_device *zdev, struct zhenwu_pt_stock *stock);
int zhenwu_pt_stock_map(struct zhenwu_device *zdev, struct zhenwu_pt_stock *stock,
			struct zhenwu_client *client, const struct zhenwu_pt *root, u64 va,
			u64 size, struct zhenwu_bo *bo, u64 offset);
int zhenwu_pt_stock_unmap(struct zhenwu_device *zdev, struct zhenwu_pt_stock *stock,
			  struct zhenwu_client *client, const struct zhenwu_pt *root, u64 va,
			  u64 size);

int zhenwu_pt_prepare_map(struct zhenwu_device *zdev, struct zhenwu_pt *root, u64 va, u64 size,
			  struct zhenwu_bo *bo, u64 offset, struct zhenwu_pt_stock *stock,
			  bool *changed);
int zhenwu_pt_prepare_unmap(struct zhenwu_device *zdev, struct zhenwu_pt *root, u64 va, u64 size,
			    struct zhenwu_pt_stock *stock, bool *changed);
void zhenwu_pt_map(struct zhenwu_device *zdev, struct zhenwu_pt *root, u64 va, u64 size,
		   struct zhenwu_bo *bo, u64 offset, bool readonly, struct list_head *zombies);
bool zhenwu_pt_unmap(struct zhenwu_device *zdev, struct zhenwu_pt *root, u64 va, u64 size);
void zhenwu_pt_trim(struct zhenwu_device *zdev, struct zhenwu_pt *root, u64 va, u64 size,
		    struct list_head *zombies);
void zhenwu_pt_free_zombies(struct zhenwu_device *zdev, struct list_head *zombies);

#endif /* __ZHENWU_PT_H__ */

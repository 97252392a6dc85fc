// SPDX-License-Identifier: GPL-2.0-only
/*
 * Page tables of a VM, in HBM, written through the aperture.
 *
 * A change of a mapping has three parts. The stock functions do all that can fail: they allocate
 * the tables that it may take, which may be long before the change and while others are under way.
 * The prepare functions split large pages at the ends of the range and add the tables the new
 * mapping needs, none of which changes what an address translates to. Then come the map and unmap
 * functions. Neither allocates anything nor fails, so a bind never stops half way, and may be what
 * a fence waits for. Tables that became empty are collected; they may be freed after the TLB
 * invalidation.
 *
 * The device is not asked what is in a table: the parts the driver has to know later are shadowed.
 * Of level 0 that is which entries are valid, of the other levels the child or the leaf entry.
 *
 * Changes are made under the lock of the tree the tables belong to. A range may take millions of
 * entries: every loop over tables lets others run.
 */

#include <linux/bitmap.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include <drm/drm_drv.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu/zw_pte.h"
#include "zhenwu_device.h"
#include "zhenwu_gem.h"
#include "zhenwu_hbm.h"
#include "zhenwu_pt.h"

/**
 * struct zhenwu_pt - one table
 */
struct zhenwu_pt {
	/** @zombie: Entry in a list of tables to be freed, or in a stock. */
	struct list_head zombie;

	/** @client: Who is charged for it; the VM keeps it. */
	struct zhenwu_client *client;

	/** @blocks: Its page of HBM, unless it is one of those kept for tables. */
	struct list_head blocks;

	/** @addr: HBM address of the page. */
	u64 addr;

	/** @level: 0..3. */
	unsigned int level;

	/** @used: Valid entries. */
	unsigned int used;

	/** @valid: Level 0: which entries are valid. */
	DECLARE_BITMAP(valid, ZW_PT_ENTRIES);

	/**
	 * @slots: Other levels: 0, the entry itself for a leaf, or the pointer to the child. A
	 * valid entry has bit 0 set and a pointer has not.
	 */
	u64 slots[];
};

static u64 zhenwu_pt_span(unsigned int level)
{
	return 1ull << ZW_PT_SHIFT(level);
}

static unsigned int zhenwu_pt_index(u64 va, unsigned int level)
{
	return (va >> ZW_PT_SHIFT(level)) % ZW_PT_ENTRIES;
}

static struct zhenwu_pt *zhenwu_pt_child(const struct zhenwu_pt *pt, unsigned int i)
{
	if (!pt->level || pt->slots[i] & ZW_PTE_VALID)
		return NULL;
	return (struct zhenwu_pt *)(uintptr_t)pt->slots[i];
}

static bool zhenwu_pt_is_leaf(const struct zhenwu_pt *pt, unsigned int i)
{
	return pt->level ? pt->slots[i] & ZW_PTE_VALID : test_bit(i, pt->valid);
}

static void zhenwu_pt_write(struct zhenwu_device *zdev, struct zhenwu_pt *pt, unsigned int i,
			    u64 pte)
{
	writeq(pte, zdev->aperture + pt->addr + 8 * i);
}

static void zhenwu_pt_set_leaf(struct zhenwu_device *zdev, struct zhenwu_pt *pt, unsigned int i,
			       u64 pte)
{
	if (pt->level)
		pt->slots[i] = pte;
	else
		__set_bit(i, pt->valid);
	pt->used++;
	zhenwu_pt_write(zdev, pt, i, pte);
}

static void zhenwu_pt_set_child(struct zhenwu_device *zdev, struct zhenwu_pt *pt, unsigned int i,
				struct zhenwu_pt *child)
{
	/*
	 * The aperture is write combining: the device may not see the entry before what it leads
	 * to.
	 */
	wmb();
	pt->slots[i] = (uintptr_t)child;
	zhenwu_pt_write(zdev, pt, i, child->addr | ZW_PTE_VALID);
}

static void zhenwu_pt_clear(struct zhenwu_device *zdev, struct zhenwu_pt *pt, unsigned int i)
{
	if (pt->level)
		pt->slots[i] = 0;
	else
		__clear_bit(i, pt->valid);
	pt->used--;
	zhenwu_pt_write(zdev, pt, i, 0);
}

/*
 * A client whose part of the kept memory is used up takes HBM like for a buffer. Comes zeroed: all
 * entries invalid.
 */
static int zhenwu_pt_alloc_page(struct zhenwu_device *zdev, struct zhenwu_pt *pt)
{
	int ret;

	ret = zhenwu_client_charge(pt->client, ZHENWU_TABLES, 1);
	if (!ret) {
		ret = zhenwu_hbm_alloc_table(zdev, &pt->addr);
		if (ret)
			zhenwu_client_uncharge(pt->client, ZHENWU_TABLES, 1);
		return ret;
	}

	ret = zhenwu_bo_charge(pt->client, ZW_PAGE_SIZE, true);
	if (ret)
		return ret;
	ret = zhenwu_hbm_alloc(zdev, ZW_PAGE_SIZE, ZHENWU_HBM_VISIBLE, &pt->blocks);
	if (ret) {
		zhenwu_bo_uncharge(pt->client, ZW_PAGE_SIZE, true);
		return ret;
	}
	pt->addr = gpu_buddy_block_offset(list_first_entry(&pt->blocks, struct gpu_buddy_block,
							   link));
	return 0;
}

static void zhenwu_pt_free_page(struct zhenwu_device *zdev, struct zhenwu_pt *pt)
{
	if (list_empty(&pt->blocks)) {
		zhenwu_hbm_free_table(zdev, pt->addr);
		zhenwu_client_uncharge(pt->client, ZHENWU_TABLES, 1);
	} else {
		zhenwu_hbm_free_clean(zdev, &pt->blocks);
		zhenwu_bo_uncharge(pt->client, ZW_PAGE_SIZE, true);
	}
}

static struct zhenwu_pt *zhenwu_pt_alloc(struct zhenwu_device *zdev, struct zhenwu_client *client,
					 unsigned int level)
{
	struct zhenwu_pt *pt;
	int ret;

	pt = kzalloc(struct_size(pt, slots, level ? ZW_PT_ENTRIES : 0), GFP_KERNEL_ACCOUNT);
	if (!pt)
		return ERR_PTR(-ENOMEM);
	INIT_LIST_HEAD(&pt->zombie);
	INIT_LIST_HEAD(&pt->blocks);
	pt->client = client;
	pt->level = level;

	ret = zhenwu_pt_alloc_page(zdev, pt);
	if (ret) {
		kfree(pt);
		return ERR_PTR(ret);
	}
	return pt;
}

static void zhenwu_pt_free(struct zhenwu_device *zdev, struct zhenwu_pt *pt)
{
	int idx;

	/* Free HBM is zero. A device that is gone has no users any more. */
	if (drm_dev_enter(&zdev->drm, &idx)) {
		memset_io(zdev->aperture + pt->addr, 0, ZW_PAGE_SIZE);
		wmb(); /* before a next owner writes there by DMA */
		drm_dev_exit(idx);
	}
	zhenwu_pt_free_page(zdev, pt);
	kfree(pt);
}

static void zhenwu_pt_free_tree(struct zhenwu_device *zdev, struct zhenwu_pt *pt)
{
	unsigned int i;

	/* At most three levels below: the recursion is bounded by the format. */
	for (i = 0; pt->level && i < ZW_PT_ENTRIES; i++) {
		struct zhenwu_pt *child = zhenwu_pt_child(pt, i);

		if (child)
			zhenwu_pt_free_tree(zdev, child);
	}
	cond_resched();
	zhenwu_pt_free(zdev, pt);
}

/**
 * zhenwu_pt_create_root() - make an empty tree
 * @zdev: device
 * @client: who is charged for the tables; the caller keeps it as long as the tree
 *
 * Return: the root table or an error pointer.
 */
struct zhenwu_pt *zhenwu_pt_create_root(struct zhenwu_device *zdev, struct zhenwu_client *client)
{
	return zhenwu_pt_alloc(zdev, client, ZW_PT_LEVELS - 1);
}

/**
 * zhenwu_pt_destroy_root() - free a tree
 * @zdev: device, which no longer uses it
 * @root: root table
 */
void zhenwu_pt_destroy_root(struct zhenwu_device *zdev, struct zhenwu_pt *root)
{
	zhenwu_pt_free_tree(zdev, root);
}

/**
 * zhenwu_pt_walk() - call a function with the memory of each table
 * @zdev: device
 * @pt: root table; nobody changes the tree meanwhile
 * @fn: function
 *
 * Return: 0, or what the function returned first that is not.
 */
int zhenwu_pt_walk(struct zhenwu_device *zdev, const struct zhenwu_pt *pt,
		   int (*fn)(struct zhenwu_device *zdev, u64 addr, u64 size))
{
	unsigned int i;
	int ret;

	ret = fn(zdev, pt->addr, ZW_PAGE_SIZE);
	/* At most three levels below: the recursion is bounded by the format. */
	for (i = 0; !ret && pt->level && i < ZW_PT_ENTRIES; i++) {
		struct zhenwu_pt *child = zhenwu_pt_child(pt, i);

		if (child)
			ret = zhenwu_pt_walk(zdev, child, fn);
	}
	return ret;
}

/**
 * zhenwu_pt_addr() - where a table is
 * @pt: table
 *
 * Return: HBM address.
 */
u64 zhenwu_pt_addr(const struct zhenwu_pt *pt)
{
	return pt->addr;
}

/*
 * Chooses the page size at va and how far it can be used: as long as memory is contiguous, and not
 * beyond the table, where a larger size may become possible.
 */
static u64 zhenwu_pt_run(const struct zhenwu_bo_cursor *cur, u64 va, u64 size, unsigned int *level)
{
	u64 len = min(cur->len, size);
	unsigned int l;

	for (l = 2; l; l--) {
		u64 span = zhenwu_pt_span(l);

		if (!((va | cur->addr) & (span - 1)) && len >= span)
			break;
	}
	*level = l;
	len = round_down(len, zhenwu_pt_span(l));
	return min(len, zhenwu_pt_span(l + 1) - (va & (zhenwu_pt_span(l + 1) - 1)));
}

/* -- stock ------------------------------------------------------------------------------------ */

/**
 * zhenwu_pt_stock_init() - make a stock with nothing in it
 * @stock: stock
 */
void zhenwu_pt_stock_init(struct zhenwu_pt_stock *stock)
{
	unsigned int l;

	for (l = 0; l < ARRAY_SIZE(stock->tables); l++) {
		INIT_LIST_HEAD(&stock->tables[l]);
		stock->last[l] = U64_MAX;
	}
}

/**
 * zhenwu_pt_stock_fini() - give back what was not taken
 * @zdev: device
 * @stock: stock; empty afterwards
 */
void zhenwu_pt_stock_fini(struct zhenwu_device *zdev, struct zhenwu_pt_stock *stock)
{
	struct zhenwu_pt *pt, *next;
	unsigned int l;

	for (l = 0; l < ARRAY_SIZE(stock->tables); l++) {
		list_for_each_entry_safe(pt, next, &stock->tables[l], zombie) {
			/* Nothing was written to it. */
			zhenwu_pt_free_page(zdev, pt);
			kfree(pt);
		}
		INIT_LIST_HEAD(&stock->tables[l]);
	}
}

/* The table of a level on the way to va, or of a lower level the last there is. */
static const struct zhenwu_pt *zhenwu_pt_find(const struct zhenwu_pt *pt, u64 va,
					      unsigned int level)
{
	while (pt->level > level) {
		const struct zhenwu_pt *child = zhenwu_pt_child(pt, zhenwu_pt_index(va, pt->level));

		if (!child)
			break;
		pt = child;
	}
	return pt;
}

/*
 * Stocks the tables from a level up to another on the way to va, unless it was done for another va
 * in them or they are in the tree at root. Addresses come in ascending order.
 */
static int zhenwu_pt_stock_way(struct zhenwu_device *zdev, struct zhenwu_pt_stock *stock,
			       struct zhenwu_client *client, const struct zhenwu_pt *root, u64 va,
			       unsigned int level, unsigned int top)
{
	if (root) {
		const struct zhenwu_pt *pt = zhenwu_pt_find(root, va, level);

		if (pt->level == level)
			return 0;
		top = min(top, pt->level - 1);
	}
	for (; level <= top; level++) {
		u64 table = va >> ZW_PT_SHIFT(level + 1);
		struct zhenwu_pt *pt;

		if (stock->last[level] == table)
			continue;
		pt = zhenwu_pt_alloc(zdev, client, level);
		if (IS_ERR(pt))
			return PTR_ERR(pt);
		stock->last[level] = table;
		list_add_tail(&pt->zombie, &stock->tables[level]);
	}
	return 0;
}

/* What zhenwu_pt_cut() may take: a page that reaches across va is of 1 GiB or 2 MiB. */
static int zhenwu_pt_stock_cut(struct zhenwu_device *zdev, struct zhenwu_pt_stock *stock,
			       struct zhenwu_client *client, const struct zhenwu_pt *root, u64 va)
{
	unsigned int level;

	if (va & (zhenwu_pt_span(1) - 1))
		level = 0;
	else if (va & (zhenwu_pt_span(2) - 1))
		level = 1;
	else
		return 0;
	if (root) {
		const struct zhenwu_pt *pt = zhenwu_pt_find(root, va, level);

		if (!zhenwu_pt_is_leaf(pt, zhenwu_pt_index(va, pt->level)))
			return 0;
	}
	return zhenwu_pt_stock_way(zdev, stock, client, root, va, level, 1);
}

/**
 * zhenwu_pt_stock_unmap() - allocate all tables that an unmap may take
 * @zdev: device
 * @stock: stock for this one change
 * @client: who is charged for the tables
 * @root: root table, when nobody changes the tree before this unmap does; else NULL, and enough is
 *	  allocated for whatever it will be
 * @va: first address
 * @size: bytes
 *
 * May wait for HBM to be scrubbed, as zhenwu_hbm_alloc() does.
 *
 * Return: 0 or a negative error; the stock is to be given back in either case.
 */
int zhenwu_pt_stock_unmap(struct zhenwu_device *zdev, struct zhenwu_pt_stock *stock,
			  struct zhenwu_client *client, const struct zhenwu_pt *root, u64 va,
			  u64 size)
{
	int ret;

	ret = zhenwu_pt_stock_cut(zdev, stock, client, root, va);
	if (!ret && va + size < 1ull << ZW_VA_BITS)
		ret = zhenwu_pt_stock_cut(zdev, stock, client, root, va + size);
	return ret;
}

/**
 * zhenwu_pt_stock_map() - allocate all tables that a map may take
 * @zdev: device
 * @stock: stock for this one change
 * @client: who is charged for the tables
 * @root: as for zhenwu_pt_stock_unmap()
 * @va: first address
 * @size: bytes
 * @bo: buffer, whose memory stays what it is until it was mapped
 * @offset: first byte in it
 *
 * Return: as zhenwu_pt_stock_unmap().
 */
int zhenwu_pt_stock_map(struct zhenwu_device *zdev, struct zhenwu_pt_stock *stock,
			struct zhenwu_client *client, const struct zhenwu_pt *root, u64 va,
			u64 size, struct zhenwu_bo *bo, u64 offset)
{
	struct zhenwu_bo_cursor cur;
	u64 end = va + size;
	int ret = 0;

	/*
	 * With that both ends are cut, too: a cut needs no table that the first or last run of
	 * pages does not need, as an end of a run is aligned to its pages.
	 */
	zhenwu_bo_cursor_start(&cur, bo, offset);
	while (!ret && va < end) {
		unsigned int level;
		u64 run;

		if (WARN_ON(!cur.len))
			return -EFAULT;
		run = zhenwu_pt_run(&cur, va, end - va, &level);
		ret = zhenwu_pt_stock_way(zdev, stock, client, root, va, level,
					  ARRAY_SIZE(stock->tables) - 1);
		zhenwu_bo_cursor_advance(&cur, run);
		va += run;
		cond_resched();
	}
	return ret;
}

static struct zhenwu_pt *zhenwu_pt_stock_take(struct zhenwu_pt_stock *stock, unsigned int level)
{
	struct zhenwu_pt *pt;

	pt = list_first_entry_or_null(&stock->tables[level], struct zhenwu_pt, zombie);
	/* Whoever filled it did not count right. */
	if (WARN_ON(!pt))
		return ERR_PTR(-EFAULT);
	list_del_init(&pt->zombie);
	return pt;
}

/* -- changes ---------------------------------------------------------------------------------- */

/* Replaces a leaf by a table of smaller pages with the same translations. */
static struct zhenwu_pt *zhenwu_pt_split(struct zhenwu_device *zdev, struct zhenwu_pt *pt,
					 unsigned int i, struct zhenwu_pt_stock *stock,
					 bool *changed)
{
	u64 pte = pt->slots[i];
	struct zhenwu_pt *child;
	unsigned int j;

	child = zhenwu_pt_stock_take(stock, pt->level - 1);
	if (IS_ERR(child))
		return child;
	for (j = 0; j < ZW_PT_ENTRIES; j++)
		zhenwu_pt_set_leaf(zdev, child, j, pte + j * zhenwu_pt_span(child->level));
	/* One store: a job that uses another part of the page never sees it unmapped. */
	zhenwu_pt_set_child(zdev, pt, i, child);
	*changed = true;
	return child;
}

/* Makes sure that no page reaches across va. */
static int zhenwu_pt_cut(struct zhenwu_device *zdev, struct zhenwu_pt *pt, u64 va,
			 struct zhenwu_pt_stock *stock, bool *changed)
{
	while (pt->level && va & (zhenwu_pt_span(pt->level) - 1)) {
		unsigned int i = zhenwu_pt_index(va, pt->level);

		if (zhenwu_pt_is_leaf(pt, i)) {
			pt = zhenwu_pt_split(zdev, pt, i, stock, changed);
			if (IS_ERR(pt))
				return PTR_ERR(pt);
		} else {
			pt = zhenwu_pt_child(pt, i);
			if (!pt)
				return 0;
		}
	}
	return 0;
}

/* Makes sure that the table for pages of a level exists at va. */
static int zhenwu_pt_extend(struct zhenwu_device *zdev, struct zhenwu_pt *pt, u64 va,
			    unsigned int level, struct zhenwu_pt_stock *stock, bool *changed)
{
	while (pt->level > level) {
		unsigned int i = zhenwu_pt_index(va, pt->level);
		struct zhenwu_pt *child = zhenwu_pt_child(pt, i);

		if (zhenwu_pt_is_leaf(pt, i)) {
			child = zhenwu_pt_split(zdev, pt, i, stock, changed);
		} else if (!child) {
			child = zhenwu_pt_stock_take(stock, pt->level - 1);
			if (!IS_ERR(child)) {
				zhenwu_pt_set_child(zdev, pt, i, child);
				pt->used++;
			}
		}
		if (IS_ERR(child))
			return PTR_ERR(child);
		pt = child;
	}
	return 0;
}

/**
 * zhenwu_pt_prepare_unmap() - see to it that no page reaches out of a range
 * @zdev: device
 * @root: root table
 * @va: first address
 * @size: bytes
 * @stock: tables, from zhenwu_pt_stock_unmap() for this range
 * @changed: set when a valid entry was replaced, which asks for a TLB invalidation
 *
 * Return: 0, or a negative error if the stock was not for this; translations are the same in
 * either case.
 */
int zhenwu_pt_prepare_unmap(struct zhenwu_device *zdev, struct zhenwu_pt *root, u64 va, u64 size,
			    struct zhenwu_pt_stock *stock, bool *changed)
{
	int ret;

	ret = zhenwu_pt_cut(zdev, root, va, stock, changed);
	if (!ret && va + size < 1ull << ZW_VA_BITS)
		ret = zhenwu_pt_cut(zdev, root, va + size, stock, changed);
	return ret;
}

/**
 * zhenwu_pt_prepare_map() - see to it that a range has the tables it needs
 * @zdev: device
 * @root: root table
 * @va: first address
 * @size: bytes
 * @bo: buffer
 * @offset: first byte in it
 * @stock: tables, from zhenwu_pt_stock_map() for the same
 * @changed: set when a valid entry was replaced, which asks for a TLB invalidation
 *
 * Return: as zhenwu_pt_prepare_unmap().
 */
int zhenwu_pt_prepare_map(struct zhenwu_device *zdev, struct zhenwu_pt *root, u64 va, u64 size,
			  struct zhenwu_bo *bo, u64 offset, struct zhenwu_pt_stock *stock,
			  bool *changed)
{
	struct zhenwu_bo_cursor cur;
	int ret;

	ret = zhenwu_pt_prepare_unmap(zdev, root, va, size, stock, changed);
	if (ret)
		return ret;

	zhenwu_bo_cursor_start(&cur, bo, offset);
	while (size) {
		unsigned int level;
		u64 run;

		if (WARN_ON(!cur.len))
			return -EFAULT;
		run = zhenwu_pt_run(&cur, va, size, &level);
		ret = zhenwu_pt_extend(zdev, root, va, level, stock, changed);
		if (ret)
			return ret;
		zhenwu_bo_cursor_advance(&cur, run);
		va += run;
		size -= run;
		cond_resched();
	}
	return 0;
}

static void zhenwu_pt_bury(struct zhenwu_pt *pt, struct list_head *zombies)
{
	unsigned int i;

	for (i = 0; pt->level && i < ZW_PT_ENTRIES; i++) {
		struct zhenwu_pt *child = zhenwu_pt_child(pt, i);

		if (child)
			zhenwu_pt_bury(child, zombies);
	}
	list_add_tail(&pt->zombie, zombies);
}

/**
 * zhenwu_pt_map() - write the entries of a mapping
 * @zdev: device
 * @root: root table
 * @va: first address; zhenwu_pt_prepare_map() was called and the range is unmapped
 * @size: bytes
 * @bo: buffer
 * @offset: first byte in it
 * @readonly: without write permission
 * @zombies: takes empty tables that a large page replaced
 */
void zhenwu_pt_map(struct zhenwu_device *zdev, struct zhenwu_pt *root, u64 va, u64 size,
		   struct zhenwu_bo *bo, u64 offset, bool readonly, struct list_head *zombies)
{
	u64 prot = ZW_PTE_VALID | ZW_PTE_LEAF | ZW_PTE_READ;
	struct zhenwu_bo_cursor cur;

	if (!readonly)
		prot |= ZW_PTE_WRITE;
	if (bo->placement == DRM_ZHENWU_BO_SYSTEM)
		prot |= ZW_PTE_TARGET(ZW_TARGET_SYSTEM);

	zhenwu_bo_cursor_start(&cur, bo, offset);
	while (size) {
		struct zhenwu_pt *pt = root;
		unsigned int level, i;
		u64 run, off;

		run = zhenwu_pt_run(&cur, va, size, &level);
		while (pt && pt->level > level)
			pt = zhenwu_pt_child(pt, zhenwu_pt_index(va, pt->level));
		if (WARN_ON(!pt || !cur.len))
			return;

		i = zhenwu_pt_index(va, level);
		for (off = 0; off < run; off += zhenwu_pt_span(level), i++) {
			struct zhenwu_pt *child = zhenwu_pt_child(pt, i);

			if (child) {
				pt->used--;
				zhenwu_pt_bury(child, zombies);
			}
			zhenwu_pt_set_leaf(zdev, pt, i, (cur.addr + off) | prot);
		}
		zhenwu_bo_cursor_advance(&cur, run);
		va += run;
		size -= run;
		cond_resched();
	}
}

/*
 * Calls itself at most three levels deep. [start, end) is relative to the first byte of the table.
 */
static bool zhenwu_pt_unmap_table(struct zhenwu_device *zdev, struct zhenwu_pt *pt, u64 start,
				  u64 end)
{
	u64 span = zhenwu_pt_span(pt->level);
	unsigned int i = start >> ZW_PT_SHIFT(pt->level);
	bool changed = false;

	for (; i * span < end; i++) {
		struct zhenwu_pt *child = zhenwu_pt_child(pt, i);
		u64 base = i * span;

		if (child) {
			changed |= zhenwu_pt_unmap_table(zdev, child, max(start, base) - base,
							 min(end, base + span) - base);
			cond_resched();
		} else if (zhenwu_pt_is_leaf(pt, i)) {
			/* zhenwu_pt_cut() saw to it that no page reaches out of the range. */
			WARN_ON(base < start || base + span > end);
			zhenwu_pt_clear(zdev, pt, i);
			changed = true;
		}
	}
	return changed;
}

/**
 * zhenwu_pt_unmap() - clear the entries of a range
 * @zdev: device
 * @root: root table
 * @va: first address; zhenwu_pt_prepare_unmap() was called for both ends
 * @size: bytes
 *
 * Return: true when there were any, which asks for a TLB invalidation.
 */
bool zhenwu_pt_unmap(struct zhenwu_device *zdev, struct zhenwu_pt *root, u64 va, u64 size)
{
	return zhenwu_pt_unmap_table(zdev, root, va, va + size);
}

static void zhenwu_pt_trim_table(struct zhenwu_device *zdev, struct zhenwu_pt *pt, u64 start,
				 u64 end, struct list_head *zombies)
{
	u64 span = zhenwu_pt_span(pt->level);
	unsigned int i;

	if (!pt->level)
		return;
	for (i = start >> ZW_PT_SHIFT(pt->level); i * span < end; i++) {
		struct zhenwu_pt *child = zhenwu_pt_child(pt, i);
		u64 base = i * span;

		if (!child)
			continue;
		zhenwu_pt_trim_table(zdev, child, max(start, base) - base,
				     min(end, base + span) - base, zombies);
		cond_resched();
		if (!child->used) {
			zhenwu_pt_clear(zdev, pt, i);
			list_add_tail(&child->zombie, zombies);
		}
	}
}

/**
 * zhenwu_pt_trim() - take empty tables out of the tree
 * @zdev: device
 * @root: root table
 * @va: first address
 * @size: bytes
 * @zombies: takes the tables; they are to be freed after a TLB invalidation
 */
void zhenwu_pt_trim(struct zhenwu_device *zdev, struct zhenwu_pt *root, u64 va, u64 size,
		    struct list_head *zombies)
{
	zhenwu_pt_trim_table(zdev, root, va, va + size, zombies);
}

/**
 * zhenwu_pt_free_zombies() - free tables the device can no longer reach
 * @zdev: device
 * @zombies: tables; empty afterwards
 */
void zhenwu_pt_free_zombies(struct zhenwu_device *zdev, struct list_head *zombies)
{
	struct zhenwu_pt *pt, *next;

	list_for_each_entry_safe(pt, next, zombies, zombie) {
		list_del(&pt->zombie);
		zhenwu_pt_free(zdev, pt);
		cond_resched();
	}
}

#ifdef ZHENWU_KUNIT
#include "tests/zhenwu_pt_test.c"
#endif

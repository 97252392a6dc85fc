// SPDX-License-Identifier: GPL-2.0-only
/*
 * Page tables: what the driver writes, read as the device reads it (zw_pte.h).
 */

#include <linux/prandom.h>
#include <linux/scatterlist.h>

#include "zhenwu_kunit.h"

#define ZHENWU_PT_TEST_VA	(3ull << 39 | 5ull << 30)

struct zhenwu_pt_test_leaf {
	u64 addr; /* where the page at an address is; 0: nowhere */
	unsigned int level;
	u64 bits;
};

/* The way of the device, which knows nothing of struct zhenwu_pt. */
static struct zhenwu_pt_test_leaf zhenwu_pt_test_walk(struct kunit *test, u64 root, u64 va)
{
	struct zhenwu_kunit *k = test->priv;
	struct zhenwu_pt_test_leaf leaf = {};
	u64 table = root, pte, span;
	int level;

	for (level = ZW_PT_LEVELS - 1; level >= 0; level--) {
		/* Tables are where the CPU reaches them. */
		KUNIT_EXPECT_TRUE(test, table && table < ZHENWU_KUNIT_APERTURE);
		if (!table || table >= ZHENWU_KUNIT_APERTURE)
			return leaf;
		pte = ((u64 *)(k->aperture + table))[(va >> ZW_PT_SHIFT(level)) % ZW_PT_ENTRIES];
		if (!(pte & ZW_PTE_VALID))
			return leaf;
		KUNIT_EXPECT_EQ(test, pte & ZW_PTE_RESERVED, 0ull);
		span = 1ull << ZW_PT_SHIFT(level);
		if (pte & ZW_PTE_LEAF) {
			KUNIT_EXPECT_EQ(test, pte & ZW_PTE_ADDR_MASK & (span - 1), 0ull);
			leaf.addr = (pte & ZW_PTE_ADDR_MASK) + (va & (span - 1));
			leaf.level = level;
			leaf.bits = pte & ~ZW_PTE_ADDR_MASK;
			return leaf;
		}
		/* Of pointers only the address and that they are valid. */
		KUNIT_EXPECT_EQ(test, pte & ~ZW_PTE_ADDR_MASK, ZW_PTE_VALID);
		table = pte & ZW_PTE_ADDR_MASK;
	}
	KUNIT_EXPECT_TRUE(test, false);
	return leaf;
}

/* A buffer of system memory in pieces of these bytes, each somewhere else. */
static struct zhenwu_bo *zhenwu_pt_test_bo(struct kunit *test, const u64 *addrs,
					   const u32 *bytes, unsigned int n)
{
	struct zhenwu_kunit *k = test->priv;
	struct zhenwu_bo *bo = kunit_kzalloc(test, sizeof(*bo), GFP_KERNEL);
	struct sg_table *sgt = kunit_kzalloc(test, sizeof(*sgt), GFP_KERNEL);
	struct scatterlist *sgl = kunit_kzalloc(test, n * sizeof(*sgl), GFP_KERNEL);
	unsigned int i;

	if (!bo || !sgt || !sgl)
		return NULL;
	sg_init_table(sgl, n);
	sgt->sgl = sgl;
	sgt->nents = n;
	sgt->orig_nents = n;
	bo->shmem.base.dev = &k->zdev->drm;
	bo->shmem.sgt = sgt;
	bo->placement = DRM_ZHENWU_BO_SYSTEM;
	INIT_LIST_HEAD(&bo->blocks);
	for (i = 0; i < n; i++) {
		sg_dma_address(&sgl[i]) = addrs[i];
		sg_dma_len(&sgl[i]) = bytes[i];
		bo->shmem.base.size += bytes[i];
	}
	return bo;
}

struct zhenwu_pt_test {
	struct zhenwu_kunit *k;
	struct zhenwu_pt *root;
	struct list_head zombies;
	bool blind; /* tables are stocked as for a bind that waits behind others */
};

static const struct zhenwu_pt *zhenwu_pt_test_known(const struct zhenwu_pt_test *t)
{
	return t->blind ? NULL : t->root;
}

/* In the order of zhenwu_bind.c. */
static int zhenwu_pt_test_map(struct zhenwu_pt_test *t, u64 va, u64 size, struct zhenwu_bo *bo,
			      u64 offset, bool readonly)
{
	struct zhenwu_device *zdev = t->k->zdev;
	struct zhenwu_pt_stock stock;
	bool changed = false;
	int ret;

	zhenwu_pt_stock_init(&stock);
	ret = zhenwu_pt_stock_map(zdev, &stock, t->k->client, zhenwu_pt_test_known(t), va, size,
				  bo, offset);
	if (!ret)
		ret = zhenwu_pt_prepare_map(zdev, t->root, va, size, bo, offset, &stock, &changed);
	if (!ret) {
		zhenwu_pt_unmap(zdev, t->root, va, size);
		zhenwu_pt_map(zdev, t->root, va, size, bo, offset, readonly, &t->zombies);
	}
	zhenwu_pt_trim(zdev, t->root, va, size, &t->zombies);
	zhenwu_pt_free_zombies(zdev, &t->zombies);
	zhenwu_pt_stock_fini(zdev, &stock);
	return ret;
}

static int zhenwu_pt_test_unmap(struct zhenwu_pt_test *t, u64 va, u64 size, bool *changed)
{
	struct zhenwu_device *zdev = t->k->zdev;
	struct zhenwu_pt_stock stock;
	int ret;

	zhenwu_pt_stock_init(&stock);
	ret = zhenwu_pt_stock_unmap(zdev, &stock, t->k->client, zhenwu_pt_test_known(t), va, size);
	if (!ret)
		ret = zhenwu_pt_prepare_unmap(zdev, t->root, va, size, &stock, changed);
	if (!ret)
		*changed |= zhenwu_pt_unmap(zdev, t->root, va, size);
	zhenwu_pt_trim(zdev, t->root, va, size, &t->zombies);
	zhenwu_pt_free_zombies(zdev, &t->zombies);
	zhenwu_pt_stock_fini(zdev, &stock);
	return ret;
}

static unsigned int zhenwu_pt_test_tables(struct zhenwu_kunit *k)
{
	return bitmap_weight(k->zdev->hbm.tables.map, k->zdev->hbm.tables.count);
}

static struct zhenwu_pt_test *zhenwu_pt_test_begin(struct kunit *test)
{
	struct zhenwu_pt_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	if (!t)
		return NULL;
	t->k = test->priv;
	INIT_LIST_HEAD(&t->zombies);
	t->root = zhenwu_pt_create_root(t->k->zdev, t->k->client);
	return IS_ERR(t->root) ? NULL : t;
}

/* Everything comes back, and as zeroes. */
static void zhenwu_pt_test_end(struct kunit *test, struct zhenwu_pt_test *t)
{
	zhenwu_pt_destroy_root(t->k->zdev, t->root);
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_tables(t->k), 0u);
	KUNIT_EXPECT_TRUE(test, !memchr_inv(t->k->aperture, 0, ZHENWU_KUNIT_APERTURE));
}

static void zhenwu_pt_test_pages(struct kunit *test)
{
	static const u64 addrs[] = { 0x7000, 0xffff000, 0x123456789000 };
	static const u32 bytes[] = { 4096, 8192, 4096 };
	static const u64 want[] = { 0, 0x7000, 0xffff000, 0x10000000, 0x123456789000, 0 };
	const u64 rw = ZW_PTE_VALID | ZW_PTE_LEAF | ZW_PTE_READ | ZW_PTE_WRITE |
		       ZW_PTE_TARGET(ZW_TARGET_SYSTEM);
	struct zhenwu_pt_test *t = zhenwu_pt_test_begin(test);
	struct zhenwu_bo *bo = zhenwu_pt_test_bo(test, addrs, bytes, 3);
	struct zhenwu_pt_test_leaf leaf;
	/* Across the end of a table. */
	u64 va = ZHENWU_PT_TEST_VA + SZ_2M - 2 * SZ_4K;
	bool changed = false;
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, t);
	KUNIT_ASSERT_NOT_NULL(test, bo);
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_map(t, va, 4 * SZ_4K, bo, 0, false), 0);
	for (i = 0; i < ARRAY_SIZE(want); i++) {
		leaf = zhenwu_pt_test_walk(test, zhenwu_pt_addr(t->root), va - SZ_4K + i * SZ_4K);
		KUNIT_EXPECT_EQ(test, leaf.addr, want[i]);
		KUNIT_EXPECT_EQ(test, leaf.bits, want[i] ? rw : 0);
	}
	/* From its third page on, to be read only. */
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_map(t, va, SZ_4K, bo, 2 * SZ_4K, true), 0);
	leaf = zhenwu_pt_test_walk(test, zhenwu_pt_addr(t->root), va);
	KUNIT_EXPECT_EQ(test, leaf.addr, 0x10000000ull);
	KUNIT_EXPECT_EQ(test, leaf.bits, rw & ~ZW_PTE_WRITE);

	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_tables(t->k), 5u);
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_unmap(t, va, 4 * SZ_4K, &changed), 0);
	KUNIT_EXPECT_TRUE(test, changed);
	/* Tables without entries are gone, but the root. */
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_tables(t->k), 1u);
	changed = false;
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_unmap(t, va, 4 * SZ_4K, &changed), 0);
	KUNIT_EXPECT_FALSE(test, changed);
	zhenwu_pt_test_end(test, t);
}

/* The largest pages that address, memory and length allow. */
static void zhenwu_pt_test_large_pages(struct kunit *test)
{
	static const u64 addrs[] = { SZ_1G };
	static const u32 bytes[] = { SZ_1G + SZ_2M + SZ_4K };
	struct zhenwu_pt_test *t = zhenwu_pt_test_begin(test);
	struct zhenwu_bo *bo = zhenwu_pt_test_bo(test, addrs, bytes, 1);
	u64 root, va = ZHENWU_PT_TEST_VA;

	KUNIT_ASSERT_NOT_NULL(test, t);
	KUNIT_ASSERT_NOT_NULL(test, bo);
	root = zhenwu_pt_addr(t->root);
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_map(t, va, bytes[0], bo, 0, false), 0);
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_walk(test, root, va).level, 2u);
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_walk(test, root, va + SZ_1G).level, 1u);
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_walk(test, root, va + SZ_1G + SZ_2M).level, 0u);
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_walk(test, root, va + bytes[0] - 1).addr,
			addrs[0] + bytes[0] - 1);
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_walk(test, root, va + bytes[0]).addr, 0ull);
	/* Off by a page it is all small ones. */
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_map(t, va, SZ_4M, bo, SZ_4K, false), 0);
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_walk(test, root, va).level, 0u);
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_walk(test, root, va).addr, addrs[0] + SZ_4K);
	/* What is left of the large page is where it was. */
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_walk(test, root, va + SZ_4M).level, 1u);
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_walk(test, root, va + SZ_4M).addr, addrs[0] + SZ_4M);
	/* And a large one over small ones buries their tables. */
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_map(t, va, SZ_1G, bo, 0, false), 0);
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_walk(test, root, va).level, 2u);
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_tables(t->k), 4u);
	zhenwu_pt_test_end(test, t);
}

/* A hole in a large page: what is around it is never elsewhere. */
static void zhenwu_pt_test_split(struct kunit *test)
{
	static const u64 addrs[] = { SZ_1G };
	static const u32 bytes[] = { SZ_1G };
	struct zhenwu_pt_test *t = zhenwu_pt_test_begin(test);
	struct zhenwu_bo *bo = zhenwu_pt_test_bo(test, addrs, bytes, 1);
	u64 root, va = ZHENWU_PT_TEST_VA, hole = 77 * SZ_2M + 5 * SZ_4K;
	struct zhenwu_pt_stock stock;
	bool changed = false;

	KUNIT_ASSERT_NOT_NULL(test, t);
	KUNIT_ASSERT_NOT_NULL(test, bo);
	root = zhenwu_pt_addr(t->root);
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_map(t, va, SZ_1G, bo, 0, true), 0);
	zhenwu_pt_stock_init(&stock);
	KUNIT_EXPECT_EQ(test, zhenwu_pt_stock_unmap(t->k->zdev, &stock, t->k->client, t->root,
						    va + hole, SZ_4K), 0);
	KUNIT_EXPECT_EQ(test, zhenwu_pt_prepare_unmap(t->k->zdev, t->root, va + hole, SZ_4K, &stock,
						      &changed), 0);
	KUNIT_EXPECT_TRUE(test, changed);
	/* Two levels, and both ends in the same tables: all that was stocked was taken. */
	KUNIT_EXPECT_TRUE(test, list_empty(&stock.tables[0]) && list_empty(&stock.tables[1]));
	zhenwu_pt_stock_fini(t->k->zdev, &stock);
	/* Nothing has changed yet but the size of pages. */
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_walk(test, root, va + hole).addr, addrs[0] + hole);
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_walk(test, root, va + hole).level, 0u);
	KUNIT_EXPECT_TRUE(test, zhenwu_pt_unmap(t->k->zdev, t->root, va + hole, SZ_4K));
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_walk(test, root, va + hole).addr, 0ull);
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_walk(test, root, va + hole - 1).addr,
			addrs[0] + hole - 1);
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_walk(test, root, va + hole + SZ_4K).addr,
			addrs[0] + hole + SZ_4K);
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_walk(test, root, va).level, 1u);
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_walk(test, root, va).bits & ZW_PTE_WRITE, 0ull);
	zhenwu_pt_test_end(test, t);
}

/* No room for another table: said before anything was changed. */
static void zhenwu_pt_test_no_room(struct kunit *test)
{
	static const u64 addrs[] = { SZ_1G };
	static const u32 bytes[] = { SZ_1G };
	struct zhenwu_pt_test *t = zhenwu_pt_test_begin(test);
	struct zhenwu_bo *bo = zhenwu_pt_test_bo(test, addrs, bytes, 1);
	struct zhenwu_kunit *k = test->priv;
	LIST_HEAD(all);
	u64 root, at, va = ZHENWU_PT_TEST_VA;
	bool changed = false;

	KUNIT_ASSERT_NOT_NULL(test, t);
	KUNIT_ASSERT_NOT_NULL(test, bo);
	root = zhenwu_pt_addr(t->root);
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_map(t, va, SZ_1G, bo, 0, false), 0);
	while (!zhenwu_hbm_alloc(k->zdev, SZ_4K, ZHENWU_HBM_VISIBLE, &all))
		;
	/* 1 GiB in small pages takes more tables than there are. */
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_map(t, va, SZ_1G - SZ_4K, bo, SZ_4K, false), -ENOSPC);
	/* Everywhere: it fails in the midst of the range. */
	for (at = 0; at < SZ_1G; at += SZ_2M) {
		KUNIT_EXPECT_EQ(test, zhenwu_pt_test_walk(test, root, va + at).addr, addrs[0] + at);
		KUNIT_EXPECT_EQ(test, zhenwu_pt_test_walk(test, root, va + at + SZ_2M - 1).addr,
				addrs[0] + at + SZ_2M - 1);
	}
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_unmap(t, va, SZ_1G, &changed), 0);
	zhenwu_hbm_free_clean(k->zdev, &all);
	zhenwu_pt_test_end(test, t);
}

/* Anything, against a table of pages. */
static void zhenwu_pt_test_random(struct kunit *test)
{
	enum { PAGES = 2048, OPS = 200 };
	static const u64 addrs[] = { SZ_1G + SZ_2M, SZ_2G, 5ull << 30 };
	static const u32 bytes[] = { SZ_4M, SZ_2M + SZ_4K, SZ_2M };
	struct zhenwu_pt_test *t = zhenwu_pt_test_begin(test);
	struct zhenwu_bo *bo = zhenwu_pt_test_bo(test, addrs, bytes, 3);
	u64 *model = kunit_kzalloc(test, PAGES * sizeof(*model), GFP_KERNEL);
	u64 root, va = ZHENWU_PT_TEST_VA - SZ_4M;
	struct rnd_state rnd;
	unsigned int op, i;
	bool changed;

	KUNIT_ASSERT_NOT_NULL(test, t);
	KUNIT_ASSERT_NOT_NULL(test, bo);
	KUNIT_ASSERT_NOT_NULL(test, model);
	root = zhenwu_pt_addr(t->root);
	prandom_seed_state(&rnd, 20260101);
	for (op = 0; op < OPS; op++) {
		u32 total = bo->shmem.base.size / SZ_4K;
		u32 from = prandom_u32_state(&rnd) % total;
		u32 at = prandom_u32_state(&rnd) % PAGES, n;
		int ret;

		t->blind = prandom_u32_state(&rnd) & 1;
		/* Often where large pages fit. */
		if (op % 3 == 0) {
			at = round_down(at, 512);
			from = 0;
		}
		n = 1 + prandom_u32_state(&rnd) % min(total - from, PAGES - at);
		if (op % 4 == 3)
			ret = zhenwu_pt_test_unmap(t, va + at * SZ_4K, n * (u64)SZ_4K, &changed);
		else
			ret = zhenwu_pt_test_map(t, va + at * SZ_4K, n * (u64)SZ_4K, bo,
						 from * (u64)SZ_4K, op & 1);
		KUNIT_ASSERT_EQ(test, ret, 0);
		for (i = 0; i < n; i++) {
			u64 off = (from + i) * (u64)SZ_4K;

			model[at + i] = op % 4 == 3 ? 0 :
					off < bytes[0] ? addrs[0] + off :
					off < bytes[0] + bytes[1] ? addrs[1] + off - bytes[0] :
					addrs[2] + off - bytes[0] - bytes[1];
		}
		for (i = 0; i < PAGES; i++)
			KUNIT_ASSERT_EQ(test, zhenwu_pt_test_walk(test, root, va + i * SZ_4K).addr,
					model[i]);
	}
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_unmap(t, va, PAGES * (u64)SZ_4K, &changed), 0);
	KUNIT_EXPECT_EQ(test, zhenwu_pt_test_tables(t->k), 1u);
	zhenwu_pt_test_end(test, t);
}

static struct kunit_case zhenwu_pt_test_cases[] = {
	KUNIT_CASE(zhenwu_pt_test_pages),
	KUNIT_CASE(zhenwu_pt_test_large_pages),
	KUNIT_CASE(zhenwu_pt_test_split),
	KUNIT_CASE(zhenwu_pt_test_no_room),
	KUNIT_CASE(zhenwu_pt_test_random),
	{}
};

static struct kunit_suite zhenwu_pt_suite = {
	.name = "zhenwu_pt",
	.init = zhenwu_kunit_init,
	.exit = zhenwu_kunit_exit,
	.test_cases = zhenwu_pt_test_cases,
};

kunit_test_suite(zhenwu_pt_suite);

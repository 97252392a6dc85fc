// SPDX-License-Identifier: GPL-2.0-only
/*
 * Ranges of HBM: what is given out, to whom, and what never again.
 */

#include "../zhenwu_copy.h"
#include "zhenwu_kunit.h"

static u64 zhenwu_hbm_test_bytes(struct kunit *test, struct list_head *blocks)
{
	struct zhenwu_kunit *k = test->priv;
	struct gpu_buddy_block *block;
	u64 sum = 0;

	list_for_each_entry(block, blocks, link) {
		u64 size = gpu_buddy_block_size(&k->zdev->hbm.mm, block);

		/* Aligned to its size: what large pages need. */
		KUNIT_EXPECT_EQ(test, gpu_buddy_block_offset(block) & (size - 1), 0ull);
		sum += size;
	}
	return sum;
}

static bool zhenwu_hbm_test_has(struct kunit *test, struct list_head *blocks, u64 from, u64 end)
{
	struct zhenwu_kunit *k = test->priv;
	struct gpu_buddy_block *block;

	list_for_each_entry(block, blocks, link) {
		u64 first = gpu_buddy_block_offset(block);

		if (first < end && from < first + gpu_buddy_block_size(&k->zdev->hbm.mm, block))
			return true;
	}
	return false;
}

/* All there is, the large pieces first: the small ones alone would take long. */
static void zhenwu_hbm_test_take_all(struct kunit *test, struct list_head *blocks)
{
	static const u64 sizes[] = { SZ_1M, SZ_64K, SZ_4K };
	struct zhenwu_kunit *k = test->priv;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		while (!zhenwu_hbm_alloc(k->zdev, sizes[i], ZHENWU_HBM_ANY, blocks))
			;
}

/* All of it can be had, but the first pages and what is kept for tables, and comes back. */
static void zhenwu_hbm_test_all(struct kunit *test)
{
	struct zhenwu_kunit *k = test->priv;
	struct zhenwu_hbm *hbm = &k->zdev->hbm;
	u64 tables = hbm->tables.count * (u64)SZ_4K;
	u64 room = zhenwu_hbm_free_bytes(k->zdev);
	LIST_HEAD(all);

	KUNIT_EXPECT_EQ(test, room, ZHENWU_KUNIT_HBM - ZHENWU_COPY_HBM_BYTES - tables);
	zhenwu_hbm_test_take_all(test, &all);
	KUNIT_EXPECT_EQ(test, zhenwu_hbm_test_bytes(test, &all), room);
	KUNIT_EXPECT_EQ(test, zhenwu_hbm_free_bytes(k->zdev), 0ull);
	KUNIT_EXPECT_FALSE(test, zhenwu_hbm_test_has(test, &all, 0, ZHENWU_COPY_HBM_BYTES));
	KUNIT_EXPECT_FALSE(test, zhenwu_hbm_test_has(test, &all, hbm->tables.base,
						     hbm->tables.base + tables));
	zhenwu_hbm_free_clean(k->zdev, &all);
	KUNIT_EXPECT_TRUE(test, list_empty(&all));
	KUNIT_EXPECT_EQ(test, zhenwu_hbm_free_bytes(k->zdev), room);
	KUNIT_EXPECT_EQ(test, zhenwu_hbm_alloc(k->zdev, ZHENWU_KUNIT_HBM * 2, ZHENWU_HBM_ANY,
					       &all), -ENOSPC);
	KUNIT_EXPECT_TRUE(test, list_empty(&all));
}

/* What the CPU need not reach leaves the aperture to what it has to. */
static void zhenwu_hbm_test_places(struct kunit *test)
{
	struct zhenwu_kunit *k = test->priv;
	LIST_HEAD(any);
	LIST_HEAD(visible);
	u64 bytes;

	KUNIT_EXPECT_EQ(test, zhenwu_hbm_alloc(k->zdev, SZ_32M, ZHENWU_HBM_ANY, &any), 0);
	KUNIT_EXPECT_EQ(test, zhenwu_hbm_test_bytes(test, &any), (u64)SZ_32M);
	KUNIT_EXPECT_FALSE(test, zhenwu_hbm_test_has(test, &any, 0, ZHENWU_KUNIT_APERTURE));
	while (!zhenwu_hbm_alloc(k->zdev, SZ_64K, ZHENWU_HBM_VISIBLE, &visible))
		;
	KUNIT_EXPECT_FALSE(test, zhenwu_hbm_test_has(test, &visible, ZHENWU_KUNIT_APERTURE,
						     ZHENWU_KUNIT_HBM));
	/* The first pages and the tables are missing. */
	bytes = ZHENWU_KUNIT_APERTURE - ZHENWU_COPY_HBM_BYTES -
		k->zdev->hbm.tables.count * (u64)SZ_4K;
	KUNIT_EXPECT_EQ(test, zhenwu_hbm_test_bytes(test, &visible), bytes);
	zhenwu_hbm_free_clean(k->zdev, &any);
	zhenwu_hbm_free_clean(k->zdev, &visible);
}

/* What is freed as it is cannot be had before it was scrubbed. */
static void zhenwu_hbm_test_dirty(struct kunit *test)
{
	struct zhenwu_kunit *k = test->priv;
	u64 room = zhenwu_hbm_free_bytes(k->zdev);
	LIST_HEAD(blocks);
	LIST_HEAD(more);

	/* Nobody scrubs here. */
	zhenwu_hbm_stop(k->zdev);
	KUNIT_EXPECT_EQ(test, zhenwu_hbm_alloc(k->zdev, SZ_128M, ZHENWU_HBM_ANY, &blocks), 0);
	zhenwu_hbm_free(k->zdev, &blocks);
	KUNIT_EXPECT_TRUE(test, list_empty(&blocks));
	KUNIT_EXPECT_EQ(test, zhenwu_hbm_free_bytes(k->zdev), room);
	zhenwu_hbm_test_take_all(test, &more);
	KUNIT_EXPECT_EQ(test, zhenwu_hbm_test_bytes(test, &more), room - SZ_128M);
	zhenwu_hbm_free_clean(k->zdev, &more);
}

static void zhenwu_hbm_test_tables(struct kunit *test)
{
	struct zhenwu_kunit *k = test->priv;
	struct zhenwu_hbm *hbm = &k->zdev->hbm;
	unsigned int i;
	u64 addr;

	for (i = 0; i < hbm->tables.count; i++) {
		KUNIT_EXPECT_EQ(test, zhenwu_hbm_alloc_table(k->zdev, &addr), 0);
		KUNIT_EXPECT_EQ(test, addr, hbm->tables.base + i * (u64)SZ_4K);
	}
	KUNIT_EXPECT_EQ(test, zhenwu_hbm_alloc_table(k->zdev, &addr), -ENOSPC);
	zhenwu_hbm_free_table(k->zdev, hbm->tables.base + 5 * SZ_4K);
	KUNIT_EXPECT_EQ(test, zhenwu_hbm_alloc_table(k->zdev, &addr), 0);
	KUNIT_EXPECT_EQ(test, addr, hbm->tables.base + 5 * SZ_4K);
	/* One that fails is not given out again, when it is given back. */
	KUNIT_EXPECT_EQ(test, zhenwu_hbm_retire(k->zdev, addr), -EBUSY);
	KUNIT_EXPECT_EQ(test, hbm->bad.retired, 0u);
	zhenwu_hbm_free_table(k->zdev, addr);
	KUNIT_EXPECT_EQ(test, hbm->bad.retired, 1u);
	KUNIT_EXPECT_EQ(test, zhenwu_hbm_alloc_table(k->zdev, &addr), -ENOSPC);
}

/* Free, in use, of a table, at the ends, twice, and where there is none. */
static void zhenwu_hbm_test_retire(struct kunit *test)
{
	struct zhenwu_kunit *k = test->priv;
	struct zhenwu_hbm *hbm = &k->zdev->hbm;
	u64 room = zhenwu_hbm_free_bytes(k->zdev), last = ZHENWU_KUNIT_HBM - SZ_4K, page;
	LIST_HEAD(blocks);
	LIST_HEAD(all);

	KUNIT_EXPECT_EQ(test, zhenwu_hbm_retire(k->zdev, ZHENWU_KUNIT_HBM), -EINVAL);
	KUNIT_EXPECT_EQ(test, zhenwu_hbm_retire(k->zdev, U64_MAX - SZ_4K + 1), -EINVAL);
	KUNIT_EXPECT_EQ(test, zhenwu_hbm_retire(k->zdev, last + 1), -EINVAL);
	KUNIT_EXPECT_EQ(test, hbm->bad.count, 0u);

	KUNIT_EXPECT_EQ(test, zhenwu_hbm_retire(k->zdev, last), 0);
	KUNIT_EXPECT_EQ(test, zhenwu_hbm_retire(k->zdev, last), 0);
	KUNIT_EXPECT_EQ(test, zhenwu_hbm_retire(k->zdev, 0), 0);
	KUNIT_EXPECT_EQ(test, zhenwu_hbm_retire(k->zdev, hbm->tables.base), 0);
	KUNIT_EXPECT_EQ(test, hbm->bad.count, 3u);
	KUNIT_EXPECT_EQ(test, hbm->bad.retired, 3u);
	KUNIT_EXPECT_EQ(test, zhenwu_hbm_free_bytes(k->zdev), room - SZ_4K);
	KUNIT_EXPECT_EQ(test, zhenwu_hbm_alloc_table(k->zdev, &page), 0);
	KUNIT_EXPECT_EQ(test, page, hbm->tables.base + SZ_4K);
	zhenwu_hbm_free_table(k->zdev, page);

	KUNIT_EXPECT_EQ(test, zhenwu_hbm_alloc(k->zdev, SZ_2M, ZHENWU_HBM_ANY, &blocks), 0);
	page = gpu_buddy_block_offset(list_first_entry(&blocks, struct gpu_buddy_block, link)) +
	       3 * SZ_4K;
	KUNIT_EXPECT_FALSE(test, zhenwu_hbm_has_bad(k->zdev, &blocks));
	KUNIT_EXPECT_EQ(test, zhenwu_hbm_retire(k->zdev, page), -EBUSY);
	KUNIT_EXPECT_TRUE(test, zhenwu_hbm_has_bad(k->zdev, &blocks));
	KUNIT_EXPECT_EQ(test, hbm->bad.retired, 3u);
	zhenwu_hbm_free_clean(k->zdev, &blocks);
	KUNIT_EXPECT_EQ(test, hbm->bad.retired, 4u);

	zhenwu_hbm_test_take_all(test, &all);
	KUNIT_EXPECT_EQ(test, zhenwu_hbm_test_bytes(test, &all), room - 2 * SZ_4K);
	KUNIT_EXPECT_FALSE(test, zhenwu_hbm_test_has(test, &all, page, page + SZ_4K));
	KUNIT_EXPECT_FALSE(test, zhenwu_hbm_test_has(test, &all, last, last + SZ_4K));
	zhenwu_hbm_free_clean(k->zdev, &all);
}

static void zhenwu_hbm_test_too_many(struct kunit *test)
{
	struct zhenwu_kunit *k = test->priv;
	u64 page = ZHENWU_KUNIT_APERTURE, room;
	unsigned int i;

	for (i = 0; i < ZHENWU_HBM_MAX_BAD; i++)
		KUNIT_EXPECT_EQ(test, zhenwu_hbm_retire(k->zdev, page + i * SZ_64K), 0);
	room = zhenwu_hbm_free_bytes(k->zdev);
	KUNIT_EXPECT_EQ(test, zhenwu_hbm_retire(k->zdev, page + SZ_4K), -ENOSPC);
	KUNIT_EXPECT_EQ(test, zhenwu_hbm_retire(k->zdev, page), 0);
	KUNIT_EXPECT_EQ(test, zhenwu_hbm_free_bytes(k->zdev), room);
}

static struct kunit_case zhenwu_hbm_test_cases[] = {
	KUNIT_CASE(zhenwu_hbm_test_all),
	KUNIT_CASE(zhenwu_hbm_test_places),
	KUNIT_CASE(zhenwu_hbm_test_dirty),
	KUNIT_CASE(zhenwu_hbm_test_tables),
	KUNIT_CASE(zhenwu_hbm_test_retire),
	KUNIT_CASE(zhenwu_hbm_test_too_many),
	{}
};

static struct kunit_suite zhenwu_hbm_suite = {
	.name = "zhenwu_hbm",
	.init = zhenwu_kunit_init,
	.exit = zhenwu_kunit_exit,
	.test_cases = zhenwu_hbm_test_cases,
};

kunit_test_suite(zhenwu_hbm_suite);

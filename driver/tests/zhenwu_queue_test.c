// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rings: which entry is whose, and what ends a job. Included by zhenwu_queue_end.c.
 */

#include <linux/dma-fence.h>

#include "zhenwu_vm.h"
#include "zhenwu_userq.h"
#include "zhenwu_kunit.h"

#define ZHENWU_QUEUE_TEST_SLOTS	8

struct zhenwu_queue_test_job {
	struct zhenwu_job job;
	struct dma_fence fence;
	spinlock_t lock; /* of fence */
};

static const char *zhenwu_queue_test_name(struct dma_fence *fence)
{
	return "test";
}

static void zhenwu_queue_test_release(struct dma_fence *fence)
{
	/* Memory of the test. */
}

static const struct dma_fence_ops zhenwu_queue_test_ops = {
	.get_driver_name = zhenwu_queue_test_name,
	.get_timeline_name = zhenwu_queue_test_name,
	.release = zhenwu_queue_test_release,
};

static struct zhenwu_queue *zhenwu_queue_test_begin(struct kunit *test, u64 seqno)
{
	struct zhenwu_queue *queue = kunit_kzalloc(test, sizeof(*queue), GFP_KERNEL);
	struct zhenwu_vm *vm = kunit_kzalloc(test, sizeof(*vm), GFP_KERNEL);
	struct zhenwu_kunit *k = test->priv;

	if (!queue || !vm)
		return NULL;
	vm->client = k->client;
	queue->vm = vm;
	queue->zdev = k->zdev;
	queue->slots = ZHENWU_QUEUE_TEST_SLOTS;
	queue->compl = kunit_kzalloc(test, queue->slots * sizeof(*queue->compl), GFP_KERNEL);
	if (!queue->compl)
		return NULL;
	spin_lock_init(&queue->lock);
	INIT_LIST_HEAD(&queue->waiting);
	INIT_LIST_HEAD(&queue->inflight);
	queue->seqno = seqno;
	queue->completed = seqno;
	return queue;
}

/* A job of n entries, in the ring. */
static struct zhenwu_queue_test_job *zhenwu_queue_test_run(struct kunit *test,
							   struct zhenwu_queue *queue, u32 n)
{
	struct zhenwu_queue_test_job *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	if (!t)
		return NULL;
	spin_lock_init(&t->lock);
	t->job.queue = queue;
	t->job.done = &t->fence;
	t->job.num_entries = n;
	queue->seqno += n;
	t->job.seqno = queue->seqno;
	t->job.in_ring = true;
	dma_fence_init(&t->fence, &zhenwu_queue_test_ops, &t->lock, 1, t->job.seqno);
	list_add_tail(&t->job.node, &queue->inflight);
	return t;
}

static void zhenwu_queue_test_complete(struct zhenwu_queue *queue, u64 seqno, u32 status)
{
	struct zw_completion *c = &queue->compl[seqno % queue->slots];

	c->status = cpu_to_le32(status);
	c->seqno = cpu_to_le64(seqno);
}

/* Round the ring, and where the low half of a number begins anew. */
static void zhenwu_queue_test_in_order(struct kunit *test)
{
	u64 start = U32_MAX - 20;
	struct zhenwu_queue *queue = zhenwu_queue_test_begin(test, start);
	struct zhenwu_queue_test_job *job;
	u64 seqno = start;
	u32 i, n;

	KUNIT_ASSERT_NOT_NULL(test, queue);
	for (i = 0; i < 40; i++) {
		n = i % 3 + 1;
		job = zhenwu_queue_test_run(test, queue, n);
		KUNIT_ASSERT_NOT_NULL(test, job);
		KUNIT_EXPECT_EQ(test, zhenwu_job_current(&job->job), seqno + 1);
		for (; n; n--) {
			KUNIT_EXPECT_FALSE(test, zhenwu_queue_poll(queue));
			zhenwu_queue_test_complete(queue, ++seqno, ZW_JOB_OK);
			KUNIT_EXPECT_EQ(test, zhenwu_queue_poll(queue), n == 1);
			KUNIT_EXPECT_EQ(test, queue->completed, seqno);
		}
		KUNIT_EXPECT_EQ(test, dma_fence_get_status(&job->fence), 1);
		KUNIT_EXPECT_FALSE(test, zhenwu_queue_busy(queue));
	}
}

/* Only its own number ends a job: not one of another round, not those behind it. */
static void zhenwu_queue_test_wrong_numbers(struct kunit *test)
{
	struct zhenwu_queue *queue = zhenwu_queue_test_begin(test, 100);
	static const u64 wrong[] = { 0, 100, 102, 101 + ZHENWU_QUEUE_TEST_SLOTS,
				     101 - ZHENWU_QUEUE_TEST_SLOTS, 101ull << 32,
				     1ull << 32 | 101, U64_MAX };
	struct zhenwu_queue_test_job *a, *b;
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, queue);
	a = zhenwu_queue_test_run(test, queue, 1);
	b = zhenwu_queue_test_run(test, queue, 1);
	KUNIT_ASSERT_NOT_NULL(test, a);
	KUNIT_ASSERT_NOT_NULL(test, b);
	zhenwu_queue_test_complete(queue, 102, ZW_JOB_OK);
	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		queue->compl[101 % ZHENWU_QUEUE_TEST_SLOTS].seqno = cpu_to_le64(wrong[i]);
		KUNIT_EXPECT_FALSE(test, zhenwu_queue_poll(queue));
	}
	KUNIT_EXPECT_EQ(test, queue->completed, 100ull);
	zhenwu_queue_test_complete(queue, 101, ZW_JOB_OK);
	KUNIT_EXPECT_TRUE(test, zhenwu_queue_poll(queue));
	KUNIT_EXPECT_EQ(test, dma_fence_get_status(&a->fence), 1);
	KUNIT_EXPECT_EQ(test, dma_fence_get_status(&b->fence), 1);
}

/* The second of three entries fails: it is named, and all of the run is told. */
static void zhenwu_queue_test_failure(struct kunit *test)
{
	struct zhenwu_queue *queue = zhenwu_queue_test_begin(test, 6);
	struct zhenwu_queue_test_job *a, *b;

	KUNIT_ASSERT_NOT_NULL(test, queue);
	a = zhenwu_queue_test_run(test, queue, 3);
	b = zhenwu_queue_test_run(test, queue, 1);
	KUNIT_ASSERT_NOT_NULL(test, a);
	KUNIT_ASSERT_NOT_NULL(test, b);
	zhenwu_queue_test_complete(queue, 7, ZW_JOB_OK);
	zhenwu_queue_test_complete(queue, 8, ZW_JOB_FAULT);
	queue->compl[8 % ZHENWU_QUEUE_TEST_SLOTS].fault_va = cpu_to_le64(0x1234);
	zhenwu_queue_test_complete(queue, 9, ZW_JOB_CANCELED);
	zhenwu_queue_test_complete(queue, 10, ZW_JOB_CANCELED);
	KUNIT_EXPECT_TRUE(test, zhenwu_queue_poll(queue));
	KUNIT_EXPECT_EQ(test, queue->error.seqno, 8ull);
	KUNIT_EXPECT_EQ(test, queue->error.status, (u32)ZW_JOB_FAULT);
	KUNIT_EXPECT_EQ(test, queue->error.fault_va, 0x1234ull);
	KUNIT_EXPECT_EQ(test, queue->dead, -ECANCELED);
	KUNIT_EXPECT_EQ(test, dma_fence_get_status(&a->fence), -ECANCELED);
	KUNIT_EXPECT_EQ(test, dma_fence_get_status(&b->fence), -ECANCELED);
	KUNIT_EXPECT_EQ(test, queue->completed, 10ull);
}

/* Rings that user space names: aligned, in the space of addresses, and only for its own kind. */
static void zhenwu_queue_test_user_rings(struct kunit *test)
{
	struct zhenwu_user_rings good = { SZ_1G, SZ_1G + SZ_64K, SZ_1G + SZ_128K }, r, none = {};
	struct zhenwu_vm *vm = kunit_kzalloc(test, sizeof(*vm), GFP_KERNEL);
	const u32 slots = 64, bytes = slots * sizeof(struct zw_ring_entry);
	u64 *addr[] = { &r.ring, &r.ctrl, &r.completions };
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, vm);
	KUNIT_EXPECT_TRUE(test, zhenwu_userq_fits(&none, slots, vm));
	KUNIT_EXPECT_FALSE(test, zhenwu_userq_fits(&good, slots, vm));
	vm->lr = true;
	KUNIT_EXPECT_FALSE(test, zhenwu_userq_fits(&none, slots, vm));
	KUNIT_EXPECT_TRUE(test, zhenwu_userq_fits(&good, slots, vm));
	for (i = 0; i < ARRAY_SIZE(addr); i++) {
		r = good;
		*addr[i] += 32;
		KUNIT_EXPECT_FALSE(test, zhenwu_userq_fits(&r, slots, vm));
		*addr[i] = ZHENWU_VA_START - 64;
		KUNIT_EXPECT_FALSE(test, zhenwu_userq_fits(&r, slots, vm));
		*addr[i] = ZHENWU_VA_END;
		KUNIT_EXPECT_FALSE(test, zhenwu_userq_fits(&r, slots, vm));
		*addr[i] = U64_MAX - 63;
		KUNIT_EXPECT_FALSE(test, zhenwu_userq_fits(&r, slots, vm));
	}
	r = good;
	r.ring = ZHENWU_VA_END - bytes;
	KUNIT_EXPECT_TRUE(test, zhenwu_userq_fits(&r, slots, vm));
	KUNIT_EXPECT_FALSE(test, zhenwu_userq_fits(&r, 2 * slots, vm));
}

static struct kunit_case zhenwu_queue_test_cases[] = {
	KUNIT_CASE(zhenwu_queue_test_in_order),
	KUNIT_CASE(zhenwu_queue_test_wrong_numbers),
	KUNIT_CASE(zhenwu_queue_test_failure),
	KUNIT_CASE(zhenwu_queue_test_user_rings),
	{}
};

static struct kunit_suite zhenwu_queue_suite = {
	.name = "zhenwu_queue",
	.init = zhenwu_kunit_init,
	.exit = zhenwu_kunit_exit,
	.test_cases = zhenwu_queue_test_cases,
};

kunit_test_suite(zhenwu_queue_suite);

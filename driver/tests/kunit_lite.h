/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_KUNIT_LITE_H__
#define __ZHENWU_KUNIT_LITE_H__

/*
 * As much of KUnit's interface as the tests here use, for kernels built without it, which are all
 * of the distribution. A suite is a parameter of the module: who writes to it gets its results as
 * KTAP in the kernel log, and -EINVAL when a case failed. Each case is a thread, which ends with an
 * ASSERT that fails.
 */

#include <linux/completion.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/moduleparam.h>
#include <linux/printk.h>
#include <linux/slab.h>
#include <linux/string.h>

struct kunit_case;

struct kunit {
	void *priv;
	const struct kunit_case *running;
	struct list_head memory;
	struct completion done;
	bool failed;
};

struct kunit_case {
	void (*run_case)(struct kunit *test);
	const char *name;
};

struct kunit_suite {
	const char *name;
	int (*init)(struct kunit *test);
	void (*exit)(struct kunit *test);
	struct kunit_case *test_cases;
};

#define KUNIT_CASE(fn)		{ .run_case = (fn), .name = #fn }

static inline void *kunit_kzalloc(struct kunit *test, size_t size, gfp_t gfp)
{
	struct list_head *mem = kzalloc(sizeof(*mem) + size, gfp);

	if (!mem)
		return NULL;
	list_add(mem, &test->memory);
	return mem + 1;
}

static inline void kunit_lite_check(struct kunit *test, bool ok, bool need, const char *file,
				    int line, const char *what, long long left, long long right)
{
	if (ok)
		return;
	test->failed = true;
	pr_info("    # %s:%d: %s: %lld, %lld\n", kbasename(file), line, what, left, right);
	if (need)
		kthread_complete_and_exit(&test->done, 0);
}

#define KUNIT_LITE_BOOL(test, ok, need, what) \
	kunit_lite_check(test, ok, need, __FILE__, __LINE__, what, 0, 0)
#define KUNIT_LITE_BINARY(test, l, op, r, need) do { \
	typeof(l) l_ = (l); \
	typeof(r) r_ = (r); \
	\
	kunit_lite_check(test, l_ op r_, need, __FILE__, __LINE__, #l " " #op " " #r, l_, r_); \
} while (0)

#define KUNIT_EXPECT_EQ(test, l, r)	KUNIT_LITE_BINARY(test, l, ==, r, false)
#define KUNIT_EXPECT_LE(test, l, r)	KUNIT_LITE_BINARY(test, l, <=, r, false)
#define KUNIT_EXPECT_TRUE(test, c)	KUNIT_LITE_BOOL(test, c, false, #c)
#define KUNIT_EXPECT_FALSE(test, c)	KUNIT_LITE_BOOL(test, !(c), false, "not " #c)
#define KUNIT_ASSERT_EQ(test, l, r)	KUNIT_LITE_BINARY(test, l, ==, r, true)
#define KUNIT_ASSERT_NOT_NULL(test, p)	KUNIT_LITE_BOOL(test, p, true, #p)

static inline int kunit_lite_thread(void *arg)
{
	struct kunit *test = arg;

	test->running->run_case(test);
	kthread_complete_and_exit(&test->done, 0);
	return 0;
}

static inline bool kunit_lite_case(const struct kunit_suite *suite, const struct kunit_case *c)
{
	struct kunit test = { .running = c, .memory = LIST_HEAD_INIT(test.memory) };

	init_completion(&test.done);
	test.failed = suite->init(&test) || IS_ERR(kthread_run(kunit_lite_thread, &test, "kunit"));
	if (!test.failed)
		wait_for_completion(&test.done);
	suite->exit(&test);
	while (!list_empty(&test.memory)) {
		struct list_head *mem = test.memory.next;

		list_del(mem);
		kfree(mem);
	}
	return !test.failed;
}

static inline int kunit_lite_run(const char *val, const struct kernel_param *kp)
{
	const struct kunit_suite *suite = kp->arg;
	const struct kunit_case *c;
	int n = 0, bad = 0;

	pr_info("KTAP version 1\n");
	pr_info("    # Subtest: %s\n", suite->name);
	for (c = suite->test_cases; c->run_case; c++) {
		bool ok = kunit_lite_case(suite, c);

		pr_info("    %sok %d %s\n", ok ? "" : "not ", ++n, c->name);
		bad += !ok;
	}
	pr_info("    1..%d\n", n);
	pr_info("%sok 1 %s\n", bad ? "not " : "", suite->name);
	return bad ? -EINVAL : 0;
}

static const struct kernel_param_ops __maybe_unused kunit_lite_ops = { .set = kunit_lite_run };

#define kunit_test_suite(suite) \
	module_param_cb(suite##_run, &kunit_lite_ops, &(suite), 0200)

#endif /* __ZHENWU_KUNIT_LITE_H__ */

// SPDX-License-Identifier: MIT
/*
 * Asynchronous binds of the runtime, on sim or on $ZW_TEST_DEVICE: their order among each other, with synchronous ones and
 * with jobs, what is refused, and how those end that still wait. $ZW_FIRMWARE names the image.
 *
 * What binds wait for here is a job that waits for a semaphore in memory, which the test writes.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "sim.h"

#define PAGE  4096ull
#define MIB   (1ull << 20)
#define VA    (64ull << 30)
#define LIMIT zw_deadline_ms(120000) /* a sanitizer build on a busy machine is slow */
#define SHORT zw_deadline_ms(50)

/* Pages of the buffers say who they are in their first word. */
#define TAG_A 0xa0000000u
#define TAG_B 0xb0000000u
#define PAGES 1024u

/* Places in the buffer of commands. */
#define CMD(i) (4096u * (1 + (i)))
#define SEM    0u
#define OUT    2048u

struct fixture {
	bool sim;
	struct zw_dev *dev;
	struct zw_vm *vm;
	struct zw_bo *a, *b; /* 4 MiB each, HBM and system */
	struct zw_buffer cmd;
	struct zw_queue *held, *work;
	struct zw_fence *hold, *done;
	uint64_t holds;
};

static struct zw_bo *tagged(struct fixture *f, uint32_t flags, uint32_t tag)
{
	struct zw_bo *bo;
	void *ptr;

	assert_int_equal(zw_bo_create(f->dev, PAGES * PAGE, flags, &bo), 0);
	assert_int_equal(zw_bo_map(bo, &ptr), 0);
	for (uint32_t p = 0; p < PAGES; p++)
		((uint32_t *)ptr)[p * PAGE / 4] = tag + p;
	return bo;
}

static struct zw_dev *open_device(struct fixture *f)
{
	const struct zw_dev_options opt = {
		.size = sizeof(opt), .profile = "810e", .hbm_bytes = 64u << 20, .workers = 1};
	const char *spec = getenv("ZW_TEST_DEVICE");
	struct zw_error err = {""};
	struct zw_dev *dev;

	f->sim = !spec || !*spec || !strcmp(spec, "sim");
	if (zw_dev_open(f->sim ? "sim" : spec, f->sim ? &opt : NULL, &dev, &err))
		fail_msg("%s", err.msg);
	dev->log = NULL;
	return dev;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->dev = open_device(f);
	assert_int_equal(zw_vm_create(f->dev, &f->vm), 0);
	f->a = tagged(f, ZW_BO_HBM | ZW_BO_CPU_VISIBLE, TAG_A);
	f->b = tagged(f, ZW_BO_SYSTEM, TAG_B);
	assert_int_equal(zw_buffer_create(f->vm, 65536, ZW_BO_SYSTEM, &f->cmd), 0);
	assert_int_equal(zw_queue_create(f->vm, NULL, &f->held), 0);
	assert_int_equal(zw_queue_create(f->vm, NULL, &f->work), 0);
	assert_int_equal(zw_fence_create(f->dev, &f->hold), 0);
	assert_int_equal(zw_fence_create(f->dev, &f->done), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	zw_queue_destroy(f->held);
	zw_queue_destroy(f->work);
	zw_fence_destroy(f->hold);
	zw_fence_destroy(f->done);
	zw_buffer_destroy(&f->cmd);
	assert_int_equal(zw_vm_destroy(f->vm), 0);
	zw_bo_destroy(f->a);
	zw_bo_destroy(f->b);
	assert_int_equal(zw_dev_close(f->dev), 0);
	free(f);
	return 0;
}

/* f->hold gets a point that is reached when release() was called. */
static uint64_t hold(struct fixture *f)
{
	struct zw_sync sync = {f->hold, ++f->holds, ZW_SYNC_SIGNAL, 0};
	struct zw_job job = {.size = sizeof(job), .num_syncs = 1, .syncs = &sync};
	struct zw_cmd c;

	zw_cmd_init_fixed(&c, (char *)f->cmd.ptr + CMD(f->holds % 8), 4096);
	zw_cmd_sem_wait(&c, f->cmd.va + SEM, f->holds, 0);
	assert_int_equal(zw_cmd_finish(&c), 0);
	job.cmd_va = f->cmd.va + CMD(f->holds % 8);
	job.cmd_bytes = (uint32_t)c.used;
	assert_int_equal(zw_queue_submit(f->held, &job, 1), 0);
	return f->holds;
}

static void release(struct fixture *f)
{
	__atomic_store_n((uint64_t *)f->cmd.ptr, f->holds, __ATOMIC_RELEASE);
}

static struct zw_sync waits(struct zw_fence *fence, uint64_t point)
{
	return (struct zw_sync){fence, point, ZW_SYNC_WAIT, 0};
}

static struct zw_sync signals(struct zw_fence *fence, uint64_t point)
{
	return (struct zw_sync){fence, point, ZW_SYNC_SIGNAL, 0};
}

/* {MAP(bo, VA), SYNCS(waits(f->hold, 1))} */
#define OP(t)        .size = sizeof(struct zw_bind), .type = (t)
#define MAP(buf, at) OP(ZW_BIND_MAP), .bo = (buf), .va = (at), .bytes = PAGES * PAGE
#define UNMAP(at, n) OP(ZW_BIND_UNMAP), .va = (at), .bytes = (n)
#define SYNC         OP(ZW_BIND_SYNC)
#define SYNCS(...)                                                                                 \
	.syncs = (struct zw_sync[]){__VA_ARGS__},                                                  \
	.num_syncs = sizeof((struct zw_sync[]){__VA_ARGS__}) / sizeof(struct zw_sync)
#define BIND(...) zw_vm_bind(f->vm, &(struct zw_bind){__VA_ARGS__}, 1)

/* The word that the device reads at an address; 0 when that faults. */
static uint32_t peek_in(struct fixture *f, struct zw_vm *vm, const struct zw_buffer *cmd,
			uint64_t va)
{
	volatile uint32_t *out = (void *)((char *)cmd->ptr + OUT);
	struct zw_queue_error e = {.size = sizeof(e)};
	struct zw_queue *q;
	struct zw_cmd c;
	int ret;

	(void)f;
	*out = 0;
	zw_cmd_init_fixed(&c, (char *)cmd->ptr + CMD(14), 4096);
	zw_cmd_copy(&c, cmd->va + OUT, va, 4, 0);
	assert_int_equal(zw_cmd_finish(&c), 0);
	assert_int_equal(zw_queue_create(vm, NULL, &q), 0);
	ret = zw_queue_run(q, cmd->va + CMD(14), (uint32_t)c.used, 0, LIMIT);
	if (ret) {
		assert_int_equal(ret, -EIO);
		assert_int_equal(zw_queue_get_error(q, &e), 0);
		assert_int_equal(e.status, ZW_JOB_FAULT);
		assert_int_equal(e.fault_va, va);
	}
	zw_queue_destroy(q);
	return ret ? 0 : *out;
}

static uint32_t peek(struct fixture *f, uint64_t va)
{
	return peek_in(f, f->vm, &f->cmd, va);
}

/* -- order ------------------------------------------------------------------------------------ */

static void test_order(void **state)
{
	struct fixture *f = *state;
	uint64_t held = hold(f);
	struct zw_bind ops[] = {
		{MAP(f->a, VA), SYNCS(waits(f->hold, held))},
		{UNMAP(VA, PAGES * PAGE)},
		{MAP(f->b, VA), SYNCS(signals(f->done, 1))},
	};

	assert_int_equal(zw_vm_bind(f->vm, ops, 3), 0);
	/* What waits for nothing itself does so behind one that does. */
	assert_int_equal(BIND(MAP(f->a, 2 * VA), SYNCS(signals(f->done, 2))), 0);
	assert_int_equal(BIND(SYNC, SYNCS(signals(f->done, 3))), 0);
	assert_int_equal(zw_fence_wait(f->done, 1, SHORT), -ETIME);
	assert_int_equal(peek(f, VA), 0);
	assert_int_equal(peek(f, 2 * VA), 0);
	release(f);
	assert_int_equal(zw_fence_wait(f->done, 3, LIMIT), 0);
	assert_int_equal(peek(f, VA), TAG_B);
	assert_int_equal(peek(f, 2 * VA), TAG_A);
	assert_int_equal(zw_vm_status(f->vm), 0);
}

struct at_once {
	struct fixture *f;
	_Atomic bool over;
	int ret;
};

static void *map_at_once(void *opaque)
{
	struct at_once *s = opaque;

	s->ret = zw_vm_map(s->f->vm, s->f->b, 0, VA, PAGES * PAGE, 0);
	s->over = true;
	return NULL;
}

static void *bind_behind(void *opaque)
{
	struct fixture *f = opaque;

	assert_int_equal(BIND(SYNC, SYNCS(signals(f->done, 1))), 0);
	return NULL;
}

/*
 * A synchronous one waits its turn, an asynchronous one behind it for that. Neither keeps others from submitting: what is
 * waited for may need that.
 */
static void test_synchronous(void **state)
{
	struct fixture *f = *state;
	struct at_once s = {.f = f};
	pthread_t thread, second;

	assert_int_equal(BIND(MAP(f->a, VA), SYNCS(waits(f->hold, hold(f)))), 0);
	assert_int_equal(pthread_create(&thread, NULL, map_at_once, &s), 0);
	usleep(50000);
	assert_false(s.over);
	assert_int_equal(zw_queue_run(f->work, 0, 0, 0, LIMIT), 0);
	assert_int_equal(pthread_create(&second, NULL, bind_behind, f), 0);
	usleep(20000);
	assert_int_equal(zw_queue_run(f->work, 0, 0, 0, LIMIT), 0);
	assert_false(s.over);
	release(f);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(pthread_join(second, NULL), 0);
	assert_int_equal(s.ret, 0);
	assert_int_equal(zw_fence_wait(f->done, 1, LIMIT), 0);
	assert_int_equal(peek(f, VA), TAG_B);
}

/* Map, use, unmap: handed over at once, and nobody waits in between. */
static void test_between_jobs(void **state)
{
	struct fixture *f = *state;
	volatile uint32_t *out = (void *)((char *)f->cmd.ptr + OUT);
	struct zw_sync syncs[] = {waits(f->done, 1), signals(f->done, 2)};
	struct zw_job job = {
		.size = sizeof(job), .cmd_va = f->cmd.va + CMD(9), .num_syncs = 2, .syncs = syncs};
	struct zw_cmd c;

	zw_cmd_init_fixed(&c, (char *)f->cmd.ptr + CMD(9), 4096);
	zw_cmd_copy(&c, f->cmd.va + OUT, VA + 7 * PAGE, 4, 0);
	assert_int_equal(zw_cmd_finish(&c), 0);
	job.cmd_bytes = (uint32_t)c.used;
	assert_int_equal(BIND(MAP(f->a, VA), SYNCS(waits(f->hold, hold(f)), signals(f->done, 1))),
			 0);
	assert_int_equal(zw_queue_submit(f->work, &job, 1), 0);
	assert_int_equal(
		BIND(UNMAP(VA, PAGES * PAGE), SYNCS(waits(f->done, 2), signals(f->done, 3))), 0);
	assert_int_equal(zw_fence_wait(f->done, 3, SHORT), -ETIME);
	release(f);
	assert_int_equal(zw_fence_wait(f->done, 3, LIMIT), 0);
	assert_int_equal(zw_queue_status(f->work), 0);
	assert_int_equal(*out, TAG_A + 7);
	assert_int_equal(peek(f, VA), 0);
}

/* Binds of one VM do not hold up those of another. */
static void test_two_vms(void **state)
{
	struct fixture *f = *state;
	struct zw_buffer cmd;
	struct zw_vm *vm;

	assert_int_equal(zw_vm_create(f->dev, &vm), 0);
	assert_int_equal(zw_buffer_create(vm, 65536, ZW_BO_SYSTEM, &cmd), 0);
	assert_int_equal(BIND(MAP(f->a, VA), SYNCS(waits(f->hold, hold(f)), signals(f->done, 1))),
			 0);
	assert_int_equal(zw_vm_bind(vm, &(struct zw_bind){MAP(f->b, VA)}, 1), 0);
	assert_int_equal(zw_vm_unmap(vm, 2 * VA, PAGE), 0);
	assert_int_equal(peek_in(f, vm, &cmd, VA + PAGE), TAG_B + 1);
	/* One waits for the other, across the two. */
	assert_int_equal(zw_vm_bind(vm,
				    &(struct zw_bind){MAP(f->a, VA), SYNCS(waits(f->done, 1),
									   signals(f->done, 2))},
				    1),
			 0);
	assert_int_equal(zw_fence_wait(f->done, 2, SHORT), -ETIME);
	release(f);
	assert_int_equal(zw_fence_wait(f->done, 2, LIMIT), 0);
	assert_int_equal(peek_in(f, vm, &cmd, VA + PAGE), TAG_A + 1);
	zw_buffer_destroy(&cmd);
	assert_int_equal(zw_vm_destroy(vm), 0);
}

/* -- what is refused -------------------------------------------------------------------------- */

static void test_within_a_call(void **state)
{
	struct fixture *f = *state;
	struct zw_bind ops[2] = {
		{MAP(f->a, VA), SYNCS(signals(f->done, 5))},
		/* It is only known in this call. */
		{MAP(f->b, VA), SYNCS(waits(f->done, 3), signals(f->done, 7))},
	};

	assert_int_equal(zw_vm_bind(f->vm, ops, 2), 0);
	assert_int_equal(zw_fence_wait(f->done, 7, LIMIT), 0);
	assert_int_equal(peek(f, VA), TAG_B);
	/* Later ones of the call, and itself. */
	ops[0] = (struct zw_bind){SYNC, SYNCS(waits(f->done, 8))};
	ops[1] = (struct zw_bind){SYNC, SYNCS(signals(f->done, 8))};
	assert_int_equal(zw_vm_bind(f->vm, ops, 2), -EINVAL);
	assert_int_equal(BIND(SYNC, SYNCS(signals(f->done, 8), waits(f->done, 8))), -EINVAL);
	/* One that goes back. */
	ops[0] = (struct zw_bind){SYNC, SYNCS(signals(f->done, 9))};
	assert_int_equal(zw_vm_bind(f->vm, ops, 2), -EINVAL);
	assert_int_equal(zw_fence_signal(f->done, 8), 0);
}

/* Refused as a whole: what is right in the call comes to nothing, too. */
static void test_all_or_nothing(void **state)
{
	struct fixture *f = *state;
	static struct zw_sync many[ZW_BIND_MAX_SYNCS + 1];
	struct zw_bo *readonly;
	void *mem = aligned_alloc(PAGE, PAGE);
	const struct {
		int error;
		struct zw_bind op;
	} bad[] = {
		{-EINVAL, {.size = 8, .type = ZW_BIND_SYNC}},
		{-EINVAL, {OP(3)}},
		{-EINVAL, {OP(ZW_BIND_MAP), .va = VA, .bytes = PAGE}},
		{-EINVAL, {OP(ZW_BIND_MAP), .bo = f->a, .va = VA}},
		{-EINVAL, {OP(ZW_BIND_MAP), .bo = f->a, .va = VA, .bytes = 5 * MIB}},
		{-EINVAL, {OP(ZW_BIND_MAP), .bo = f->a, .va = VA + 1, .bytes = PAGE}},
		{-EINVAL, {OP(ZW_BIND_MAP), .bo = f->a, .va = 0, .bytes = PAGE}},
		{-EINVAL, {OP(ZW_BIND_MAP), .bo = f->a, .va = ZW_VM_AUTO_START, .bytes = PAGE}},
		{-EINVAL, {MAP(f->a, VA), .flags = 2}},
		{-EINVAL, {UNMAP(VA, PAGE), .bo = f->a}},
		{-EINVAL, {UNMAP(VA, PAGE), .bo_offset = PAGE}},
		{-EINVAL, {UNMAP(VA, PAGE), .flags = 1}},
		{-EINVAL, {UNMAP(VA, 0)}},
		{-EINVAL, {UNMAP(ZW_VM_AUTO_START - PAGE, 2 * PAGE)}},
		{-EINVAL, {SYNC, .va = VA}},
		{-EINVAL, {SYNC, .bytes = PAGE}},
		{-EINVAL, {SYNC, .bo = f->a}},
		{-EINVAL, {SYNC, .num_syncs = 1}},
		{-EINVAL, {SYNC, .num_syncs = ZW_BIND_MAX_SYNCS + 1, .syncs = many}},
		{-EINVAL, {SYNC, SYNCS(waits(f->done, 0))}},
		{-EINVAL, {SYNC, SYNCS({NULL, 1, 0, 0})}},
		{-EINVAL, {SYNC, SYNCS({f->hold, 1, 2, 0})}},
		{-EINVAL, {SYNC, SYNCS({f->hold, 1, ZW_SYNC_SIGNAL, 1})}},
		{-EINVAL, {SYNC, SYNCS(waits(f->hold, 1))}},
		{-EINVAL, {SYNC, SYNCS(signals(f->done, 4))}},
	};
	struct zw_sync well = signals(f->done, 5);
	struct zw_bind ops[3] = {{MAP(f->a, 2 * VA), .syncs = &well, .num_syncs = 1},
				 {.size = 0},
				 {MAP(f->b, 3 * VA)}};

	assert_non_null(mem);
	memset(mem, 0, PAGE);
	for (uint32_t i = 0; i < ZW_BIND_MAX_SYNCS + 1; i++)
		many[i] = signals(f->hold, 1 + i);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ops[1] = bad[i].op;
		if (zw_vm_bind(f->vm, ops, 2 + i % 2) != bad[i].error)
			fail_msg("case %zu", i);
	}
	assert_int_equal(zw_bo_from_ptr(f->dev, mem, PAGE, ZW_BO_READONLY, &readonly), 0);
	ops[1] = (struct zw_bind){OP(ZW_BIND_MAP), .bo = readonly, .va = VA, .bytes = PAGE};
	assert_int_equal(zw_vm_bind(f->vm, ops, 2), -EACCES);
	ops[1].bo = f->cmd.bo;
	assert_int_equal(zw_vm_bind(f->vm, ops, 0), -EINVAL);
	assert_int_equal(zw_vm_bind(f->vm, ops, ZW_BIND_MAX + 1), -EINVAL);
	assert_int_equal(zw_vm_bind(f->vm, NULL, 1), -EINVAL);
	/* No point was given out, and nothing mapped. */
	assert_int_equal(zw_fence_signal(f->done, 1), 0);
	assert_int_equal(zw_fence_signal(f->hold, 1), 0);
	assert_int_equal(peek(f, 2 * VA), 0);
	assert_int_equal(peek(f, 3 * VA), 0);
	/* Read only as it should be. */
	ops[1] = (struct zw_bind){OP(ZW_BIND_MAP), .flags = ZW_VM_MAP_READONLY,
				  .bo = readonly,  .va = VA,
				  .bytes = PAGE,   SYNCS(signals(f->done, 2))};
	assert_int_equal(zw_vm_bind(f->vm, &ops[1], 1), 0);
	assert_int_equal(zw_fence_wait(f->done, 2, LIMIT), 0);
	assert_int_equal(zw_vm_unmap(f->vm, VA, PAGE), 0);
	zw_bo_destroy(readonly);
	free(mem);
}

static void test_most(void **state)
{
	struct fixture *f = *state;
	struct zw_bind *ops = calloc(ZW_BIND_MAX, sizeof(*ops));
	struct zw_sync syncs[ZW_BIND_MAX_SYNCS];

	assert_int_equal(zw_fence_signal(f->hold, 1), 0);
	for (uint32_t i = 0; i < ZW_BIND_MAX_SYNCS; i++)
		syncs[i] = waits(f->hold, 1);
	for (uint32_t i = 0; i < ZW_BIND_MAX; i++)
		ops[i] =
			(struct zw_bind){OP(ZW_BIND_MAP), .bo = f->a, .bo_offset = i % PAGES * PAGE,
					 .va = VA + i * PAGE, .bytes = PAGE};
	for (uint32_t i = 0; i < ZW_BIND_MAX_CALL_SYNCS / ZW_BIND_MAX_SYNCS; i++) {
		ops[i].syncs = syncs;
		ops[i].num_syncs = ZW_BIND_MAX_SYNCS;
	}
	ops[ZW_BIND_MAX - 1].syncs = &(struct zw_sync){f->done, 1, ZW_SYNC_SIGNAL, 0};
	ops[ZW_BIND_MAX - 1].num_syncs = 1;
	assert_int_equal(zw_vm_bind(f->vm, ops, ZW_BIND_MAX), -EINVAL);
	ops[0].num_syncs--;
	assert_int_equal(zw_vm_bind(f->vm, ops, ZW_BIND_MAX), 0);
	assert_int_equal(zw_fence_wait(f->done, 1, LIMIT), 0);
	for (uint32_t i = 0; i < ZW_BIND_MAX; i += 511)
		assert_int_equal(peek(f, VA + i * PAGE), TAG_A + i % PAGES);
	free(ops);
}

/* What user-mode queues raise, of which nobody else knows. */
static void test_user_queues(void **state)
{
	struct fixture *f = *state;
	const struct zw_vm_options lr = {.size = sizeof(lr), .flags = ZW_VM_LONG_RUNNING};
	struct zw_sync sync = signals(f->hold, 1);
	struct zw_job job = {.size = sizeof(job), .num_syncs = 1, .syncs = &sync};
	struct zw_buffer cmd;
	struct zw_queue *q;
	struct zw_vm *vm;

	assert_int_equal(zw_vm_create_with(f->dev, &lr, &vm), 0);
	assert_int_equal(zw_buffer_create(vm, 65536, ZW_BO_SYSTEM, &cmd), 0);
	assert_int_equal(zw_queue_create(vm, NULL, &q), 0);
	assert_int_equal(zw_queue_submit(q, &job, 1), 0);
	assert_int_equal(BIND(SYNC, SYNCS(waits(f->hold, 1))), -EOPNOTSUPP);
	assert_int_equal(BIND(SYNC, SYNCS(signals(f->hold, 2))), -EINVAL);
	/* Such an address space has binds like any other. */
	assert_int_equal(
		zw_vm_bind(vm, &(struct zw_bind){MAP(f->a, VA), SYNCS(signals(f->done, 1))}, 1), 0);
	assert_int_equal(zw_fence_wait(f->done, 1, LIMIT), 0);
	sync = waits(f->done, 1);
	assert_int_equal(zw_queue_submit(q, &job, 1), 0);
	assert_int_equal(peek_in(f, vm, &cmd, VA), TAG_A);
	zw_queue_destroy(q);
	zw_buffer_destroy(&cmd);
	assert_int_equal(zw_vm_destroy(vm), 0);
}

/* -- memory ----------------------------------------------------------------------------------- */

/* Large pages that are split at both ends, holes, several mappings at once; what is around stays. */
static void test_sparse_unmap(void **state)
{
	struct fixture *f = *state;
	struct zw_bind ops[] = {
		{OP(ZW_BIND_MAP), .bo = f->a, .va = VA, .bytes = 2 * MIB},
		{OP(ZW_BIND_MAP), .bo = f->b, .va = VA + 4 * MIB, .bytes = 4 * PAGE},
		{MAP(f->b, VA + 6 * MIB)},
		{UNMAP(VA + PAGE, 6 * MIB)},
		{UNMAP(VA + 16 * MIB, 64 * MIB), SYNCS(signals(f->done, 1))},
	};

	assert_int_equal(zw_vm_bind(f->vm, ops, 5), 0);
	assert_int_equal(zw_fence_wait(f->done, 1, LIMIT), 0);
	assert_int_equal(peek(f, VA), TAG_A);
	assert_int_equal(peek(f, VA + PAGE), 0);
	assert_int_equal(peek(f, VA + 2 * MIB - PAGE), 0);
	assert_int_equal(peek(f, VA + 4 * MIB), 0);
	assert_int_equal(peek(f, VA + 6 * MIB), 0);
	assert_int_equal(peek(f, VA + 6 * MIB + PAGE), TAG_B + 1);
	assert_int_equal(peek(f, VA + 10 * MIB - PAGE), TAG_B + PAGES - 1);
}

static uint32_t below(uint64_t *state, uint32_t n)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*state >> 33) % n;
}

/* Any ranges, around borders of tables of all levels, against a list of what should be where. */
static void test_any_ranges(void **state)
{
	enum { SLOTS = 1024, ROUNDS = 40, AT_ONCE = 8 };
	/* The middle of what is mapped is the border of 1 GiB, and of 512 GiB. */
	static const uint64_t middles[] = {(512ull << 30), (7ull << 30), VA + 2 * MIB};
	struct fixture *f = *state;
	uint64_t seed = 1, point = 0;

	for (size_t m = 0; m < sizeof(middles) / sizeof(middles[0]); m++) {
		uint64_t base = middles[m] - SLOTS / 2 * PAGE;
		uint32_t want[SLOTS] = {0};

		for (uint32_t r = 0; r < ROUNDS; r++) {
			struct zw_bind ops[AT_ONCE];
			struct zw_sync last = signals(f->done, ++point);

			for (uint32_t i = 0; i < AT_ONCE; i++) {
				uint32_t from = below(&seed, SLOTS), kind = below(&seed, 3);
				uint32_t n = 1 + below(&seed, SLOTS - from);
				/* Aligned as the address is, or not. */
				uint32_t first = below(&seed, 2) ? from % (PAGES - n + 1)
								 : below(&seed, PAGES - n + 1);

				ops[i] = (struct zw_bind){
					OP(kind ? ZW_BIND_MAP : ZW_BIND_UNMAP),
					.va = base + from * PAGE,
					.bytes = n * PAGE,
				};
				if (kind) {
					ops[i].bo = kind == 1 ? f->a : f->b;
					ops[i].bo_offset = first * PAGE;
				}
				for (uint32_t p = 0; p < n; p++)
					want[from + p] = kind == 0   ? 0
							 : kind == 1 ? TAG_A + first + p
								     : TAG_B + first + p;
			}
			ops[AT_ONCE - 1].syncs = &last;
			ops[AT_ONCE - 1].num_syncs = 1;
			assert_int_equal(zw_vm_bind(f->vm, ops, AT_ONCE), 0);
		}
		assert_int_equal(zw_fence_wait(f->done, point, LIMIT), 0);
		for (uint32_t p = 0; p < SLOTS; p += 1 + below(&seed, 60))
			assert_int_equal(peek(f, base + p * PAGE), want[p]);
	}
}

static uint64_t hbm_free(struct fixture *f)
{
	struct zw_dev_attrs a = {.size = sizeof(a)};

	assert_int_equal(zw_dev_get_attrs(f->dev, &a), 0);
	return a.hbm_free;
}

/* The driver gives back what it took a little later. */
static void comes_back(struct fixture *f, uint64_t bytes)
{
	for (int i = 0; i < 1000 && hbm_free(f) != bytes; i++)
		usleep(10000);
	assert_int_equal(hbm_free(f), bytes);
}

/* A buffer is destroyed while its map waits; the bind counts as using it. */
static void test_buffer_is_kept(void **state)
{
	struct fixture *f = *state;
	uint64_t before = hbm_free(f), with;
	struct zw_bo *bo = tagged(f, ZW_BO_HBM | ZW_BO_CPU_VISIBLE, TAG_B);

	assert_int_equal(BIND(MAP(bo, VA), SYNCS(waits(f->hold, hold(f)), signals(f->done, 1))), 0);
	assert_int_equal(zw_bo_wait(bo, SHORT), -ETIME);
	/* It is nowhere else, and the others are. */
	assert_int_equal(zw_bo_wait(f->a, SHORT), 0);
	with = hbm_free(f);
	zw_bo_destroy(bo);
	assert_int_equal(hbm_free(f), with);
	release(f);
	assert_int_equal(zw_fence_wait(f->done, 1, LIMIT), 0);
	assert_int_equal(peek(f, VA + 3 * PAGE), TAG_B + 3);
	assert_int_equal(zw_vm_unmap(f->vm, VA, PAGES * PAGE), 0);
	/* Not the tables, which stay. */
	for (int i = 0; i < 1000 && hbm_free(f) + MIB < before; i++)
		usleep(10000);
	assert_true(hbm_free(f) + MIB >= before);
}

/* Of an address space that has no queues. */
static void test_bo_wait(void **state)
{
	struct fixture *f = *state;
	struct zw_vm *vm;

	assert_int_equal(zw_vm_create(f->dev, &vm), 0);
	assert_int_equal(zw_vm_map(vm, f->b, 0, VA, PAGE, 0), 0);
	assert_int_equal(
		zw_vm_bind(vm, &(struct zw_bind){MAP(f->a, 2 * VA), SYNCS(waits(f->hold, hold(f)))},
			   1),
		0);
	assert_int_equal(zw_bo_wait(f->a, SHORT), -ETIME);
	/* It is mapped there, too. */
	assert_int_equal(zw_bo_wait(f->b, SHORT), -ETIME);
	release(f);
	assert_int_equal(zw_bo_wait(f->a, LIMIT), 0);
	assert_int_equal(zw_bo_wait(f->b, LIMIT), 0);
	assert_int_equal(zw_vm_destroy(vm), 0);
}

/* Without memory for tables a bind is refused at once; one that was taken needs none any more. */
static void test_memory_is_taken_first(void **state)
{
	struct fixture *f = *state;
	struct zw_bo *fill[4096];
	uint32_t n = 0;

	if (!f->sim)
		skip(); /* tests/kselftest/accel_async.c */
	assert_int_equal(BIND(MAP(f->a, VA), SYNCS(waits(f->hold, hold(f)))), 0);
	for (uint64_t size = 32 * MIB; size >= PAGE; size /= 2)
		while (n < 4096 && !zw_bo_create(f->dev, size, ZW_BO_HBM, &fill[n]))
			n++;
	assert_int_equal(hbm_free(f), 0);
	assert_int_equal(BIND(MAP(f->a, 2 * VA), SYNCS(signals(f->done, 1))), -ENOMEM);
	assert_int_equal(BIND(SYNC, SYNCS(signals(f->done, 1))), 0);
	release(f);
	assert_int_equal(zw_fence_wait(f->done, 1, LIMIT), 0);
	while (n)
		zw_bo_destroy(fill[--n]);
	assert_int_equal(peek(f, VA), TAG_A);
	assert_int_equal(peek(f, 2 * VA), 0);
}

/* -- the end ---------------------------------------------------------------------------------- */

/* Binds that wait when their VM goes: what they signal is signalled, and all memory comes back. */
static void test_vm_goes(void **state)
{
	struct fixture *f = *state;
	uint64_t before = hbm_free(f);
	struct zw_vm *vm;

	for (int i = 0; i < 8; i++) {
		struct zw_bind ops[2] = {
			{MAP(f->a, VA), SYNCS(waits(f->hold, hold(f)))},
			{MAP(f->b, 2 * VA), SYNCS(signals(f->done, 1 + (uint64_t)i))},
		};

		assert_int_equal(zw_vm_create(f->dev, &vm), 0);
		assert_int_equal(zw_vm_bind(vm, ops, 2), 0);
		assert_int_equal(zw_vm_destroy(vm), 0);
		assert_int_equal(zw_fence_wait(f->done, 1 + (uint64_t)i, LIMIT), 0);
		if (i % 2)
			release(f);
	}
	release(f);
	assert_int_equal(zw_fence_wait(f->hold, f->holds, LIMIT), 0);
	comes_back(f, before);
}

static void test_device_is_lost(void **state)
{
	struct fixture *f = *state;

	if (!f->sim)
		skip();
	assert_int_equal(BIND(MAP(f->a, VA), SYNCS(waits(f->hold, hold(f)), signals(f->done, 1))),
			 0);
	zw_sim_lose(sim_of(f->dev), "a test");
	assert_int_equal(zw_fence_wait(f->done, 1, LIMIT), -ENODEV);
	assert_int_equal(zw_vm_unmap(f->vm, VA, PAGE), -ENODEV);
	assert_int_equal(zw_vm_status(f->vm), -ENODEV);
	assert_int_equal(BIND(SYNC, SYNCS(signals(f->done, 2))), -ENODEV);
	/* teardown: nothing hangs */
}

/* Of another device of the same kind. */
static void test_foreign_fence(void **state)
{
	struct fixture *f = *state;
	struct zw_fence *theirs;
	struct zw_dev *dev;

	dev = open_device(f);
	assert_int_equal(zw_fence_create(dev, &theirs), 0);
	assert_int_equal(BIND(SYNC, SYNCS(waits(theirs, 1))), -EINVAL);
	assert_int_equal(BIND(SYNC, SYNCS(signals(theirs, 1))), -EINVAL);
	assert_int_equal(zw_fence_signal(theirs, 1), 0);
	assert_int_equal(BIND(MAP(f->a, VA), SYNCS(waits(theirs, 1), signals(f->done, 1))), 0);
	assert_int_equal(zw_fence_wait(f->done, 1, LIMIT), 0);
	assert_int_equal(peek(f, VA), TAG_A);
	zw_fence_destroy(theirs);
	assert_int_equal(zw_dev_close(dev), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(order),
		TEST(synchronous),
		TEST(between_jobs),
		TEST(two_vms),
		TEST(within_a_call),
		TEST(all_or_nothing),
		TEST(most),
		TEST(user_queues),
		TEST(sparse_unmap),
		TEST(any_ranges),
		TEST(buffer_is_kept),
		TEST(bo_wait),
		TEST(memory_is_taken_first),
		TEST(vm_goes),
		TEST(device_is_lost),
		TEST(foreign_fence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

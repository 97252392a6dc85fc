// SPDX-License-Identifier: MIT
/*
 * Random maps and unmaps, read back by the device and compared with a model in user space. The range
 * lies across a 1 GiB boundary, so that pages of all sizes are made, split and replaced. They are
 * made at once, or asynchronously: then they wait for each other, in batches. Binds that are
 * interrupted by signals, and of a VM that lost its memory.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "zw_kst.h"

#define PAGE       4096ull
#define BASE       ((1ull << 30) - 6 * MIB)
#define SPAN       3072u /* pages of the range under test */
#define NUM_BOS    4
#define BO_PAGES   1536u
#define MAX_SAMPLE 900u
#define ROUNDS     240
#define BATCH      16 /* asynchronous changes in place of four, at most */

FIXTURE(bind)
{
	struct zw_client c;
	struct zw_buf bo[NUM_BOS], out;
	uint32_t model[SPAN]; /* 0: unmapped, else what the page's first word says */
	uint32_t seed;
	struct drm_zhenwu_vm_bind_op ops[BATCH + 1]; /* the first waits, and then some */
	uint32_t num_ops, hold_queue, hold, over;
};

/* The word at the start of page p of buffer i. */
static uint32_t tag(unsigned int i, uint32_t p)
{
	return (i + 1) << 16 | p;
}

FIXTURE_SETUP(bind)
{
	self->seed = 12345;
	if (!zw_client_open(&self->c)) {
		if (self->c.fd < 0)
			SKIP(return, KSFT_SKIP_NO_DEVICE);
		ASSERT_TRUE(false) TH_LOG("cannot make a client");
	}
	ASSERT_TRUE(zw_buf(self->c.fd, self->c.vm, 4 * MIB, DRM_ZHENWU_BO_SYSTEM, 64 * MIB,
			   &self->out));
	for (unsigned int i = 0; i < NUM_BOS; i++) {
		const uint32_t flags = i % 2 ? DRM_ZHENWU_BO_SYSTEM
					     : DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_CPU_VISIBLE;

		ASSERT_TRUE(zw_buf(self->c.fd, self->c.vm, BO_PAGES * PAGE, flags,
				   (4ull << 30) * (i + 1), &self->bo[i]));
		for (uint32_t p = 0; p < BO_PAGES; p++)
			((uint32_t *)self->bo[i].ptr)[p * (PAGE / 4)] = tag(i, p);
	}
	__sync_synchronize();
	self->hold_queue = zw_queue(self->c.fd, self->c.vm);
	ASSERT_NE(0, self->hold_queue);
	ASSERT_EQ(0, drmSyncobjCreate(self->c.fd, 0, &self->hold));
	ASSERT_EQ(0, drmSyncobjCreate(self->c.fd, 0, &self->over));
}

FIXTURE_TEARDOWN(bind)
{
	zw_client_close(&self->c);
}

static uint32_t rnd(FIXTURE_DATA(bind) * self, uint32_t n)
{
	self->seed = self->seed * 1664525u + 1013904223u;
	return (self->seed >> 8) % n;
}

/* Does it, or puts it behind what is to be done asynchronously. */
static int change(FIXTURE_DATA(bind) * self, const struct drm_zhenwu_vm_bind_op *op, bool async)
{
	struct drm_zhenwu_vm_bind b = {.vm_id = self->c.vm, .ops = {sizeof(*op), 1, (uintptr_t)op}};

	if (!async)
		return zw_ioctl(self->c.fd, DRM_IOCTL_ZHENWU_VM_BIND, &b);
	self->ops[++self->num_ops] = *op;
	return 0;
}

/*
 * The changes put back, in two calls that wait for a job. It is let go when all of them wait: what
 * each finds is not what there was when it was asked for.
 */
static int batch_changes(FIXTURE_DATA(bind) * self)
{
	volatile uint64_t *sem = (void *)((char *)self->c.cmd.ptr + 61440);
	struct drm_zhenwu_sync_op hold = {.flags = DRM_ZHENWU_SYNC_OP_SIGNAL, .handle = self->hold};
	struct drm_zhenwu_sync_op wait = {.handle = self->hold};
	struct drm_zhenwu_sync_op over = {.flags = DRM_ZHENWU_SYNC_OP_SIGNAL, .handle = self->over};
	uint32_t at = 49152, from = at, half = (self->num_ops + 1) / 2;
	uint64_t value = *sem + 1;
	struct drm_zhenwu_vm_bind b[2] = {
		{.vm_id = self->c.vm,
		 .flags = DRM_ZHENWU_VM_BIND_ASYNC,
		 .ops = DRM_ZHENWU_OBJ_ARRAY(half, self->ops)},
		{.vm_id = self->c.vm,
		 .flags = DRM_ZHENWU_VM_BIND_ASYNC,
		 .ops = DRM_ZHENWU_OBJ_ARRAY(self->num_ops + 1 - half, self->ops + half)},
	};
	int ret;

	self->ops[0] = (struct drm_zhenwu_vm_bind_op){.flags = DRM_ZHENWU_VM_BIND_OP_TYPE_SYNC_ONLY,
						      .syncs = DRM_ZHENWU_OBJ_ARRAY(1, &wait)};
	self->ops[self->num_ops].syncs =
		(struct drm_zhenwu_obj_array)DRM_ZHENWU_OBJ_ARRAY(1, &over);
	zw_put_sem(self->c.cmd.ptr, &at, ZW_OP_SEM_WAIT, self->c.cmd.va + 61440, value);
	ret = zw_submit_syncs(self->c.fd, self->hold_queue, self->c.cmd.va + from, at - from, &hold,
			      1);
	for (int i = 0; !ret && i < 2; i++)
		ret = zw_ioctl(self->c.fd, DRM_IOCTL_ZHENWU_VM_BIND, &b[i]);
	*sem = value;
	self->num_ops = 0;
	return ret
		       ?: drmSyncobjWait(self->c.fd, &self->over, 1, zw_deadline(LONG_WAIT_NS), 0,
					 NULL);
}

/* Maps or unmaps something; 0 or the error of the ioctl. */
static int random_change(FIXTURE_DATA(bind) * self, bool async)
{
	bool big = rnd(self, 3) == 0;
	uint32_t start = big ? rnd(self, SPAN / 512) * 512 : rnd(self, SPAN);
	uint32_t n = big ? 512 * (1 + rnd(self, 2)) : 1 + rnd(self, 700);
	struct drm_zhenwu_vm_bind_op op = {0};

	if (start + n > SPAN)
		n = SPAN - start;
	if (rnd(self, 3)) {
		unsigned int i = rnd(self, NUM_BOS);
		uint32_t off = big ? rnd(self, 2) * 512 : rnd(self, BO_PAGES);

		if (n > BO_PAGES - off)
			n = BO_PAGES - off;
		op.bo_handle = self->bo[i].bo;
		op.bo_offset = off * PAGE;
		for (uint32_t p = 0; p < n; p++)
			self->model[start + p] = tag(i, off + p);
	} else {
		op.flags = DRM_ZHENWU_VM_BIND_OP_TYPE_UNMAP;
		memset(&self->model[start], 0, n * sizeof(*self->model));
	}
	op.va = BASE + start * PAGE;
	op.size = n * PAGE;
	return change(self, &op, async);
}

/* Pages at the seams of mappings and of tables are always read, others now and then. */
static bool worth_reading(FIXTURE_DATA(bind) * self, uint32_t p)
{
	const uint32_t *m = self->model;

	return m[p] && (p % 512 == 0 || p % 512 == 511 || !p || !m[p - 1] || p + 1 == SPAN ||
			m[p + 1] != m[p] + 1 || rnd(self, 4) == 0);
}

static void random_maps(struct __test_metadata *_metadata, FIXTURE_DATA(bind) * self, bool async)
{
	struct zw_client *c = &self->c;
	uint32_t index[MAX_SAMPLE];

	for (int round = 0; round < ROUNDS; round += async ? 4 : 1) {
		struct drm_zhenwu_queue_get_state st;
		uint32_t n = 0, from = 0, u, doomed;

		do {
			ASSERT_EQ(0, random_change(self, async)) TH_LOG("round %d", round);
		} while (async && self->num_ops < 1 + (uint32_t)round / 4 % BATCH);
		if (async) {
			ASSERT_EQ(0, batch_changes(self)) TH_LOG("round %d", round);
		}
		if (round % 4)
			continue;
		c->pos = from;
		for (uint32_t p = 0; p < SPAN && n < MAX_SAMPLE; p++) {
			if (!worth_reading(self, p))
				continue;
			zw_put_copy(c->cmd.ptr, &c->pos, self->out.va + 4 * n, BASE + p * PAGE, 4);
			index[n++] = p;
		}
		if (n) {
			ASSERT_EQ(0, zw_client_run(c, from));
		}
		ASSERT_EQ(0, zw_queue_state(c->fd, c->queue, &st));
		ASSERT_EQ(0, st.state)
		TH_LOG("round %d packet %u va 0x%llx", round, st.packet_index,
		       (unsigned long long)st.fault_va);
		for (uint32_t i = 0; i < n; i++) {
			ASSERT_EQ(self->model[index[i]], ((uint32_t *)self->out.ptr)[i])
			TH_LOG("round %d page %u", round, index[i]);
		}

		/* A page that is not mapped has to fault. That costs the queue, so it has its own. */
		u = rnd(self, SPAN);
		for (uint32_t t = 0; t < SPAN && self->model[u]; t++)
			u = (u + 1) % SPAN;
		if (self->model[u])
			continue;
		doomed = zw_queue(c->fd, c->vm);
		ASSERT_NE(0, doomed);
		c->pos = 0;
		zw_put_copy(c->cmd.ptr, &c->pos, self->out.va, BASE + u * PAGE, 4);
		ASSERT_EQ(0,
			  zw_submit(c->fd, doomed, c->cmd.va, c->pos, 0, c->timeline, ++c->point));
		ASSERT_EQ(0, zw_wait(c->fd, c->timeline, c->point, LONG_WAIT_NS));
		ASSERT_EQ(0, zw_queue_state(c->fd, doomed, &st));
		ASSERT_EQ(ZW_JOB_FAULT, st.status) TH_LOG("round %d page %u", round, u);
		ASSERT_EQ(BASE + u * PAGE, st.fault_va);
		ASSERT_EQ(0, zw_queue_destroy(c->fd, doomed));
	}
}

TEST_F_TIMEOUT(bind, random_maps_match_the_model, 300)
{
	random_maps(_metadata, self, false);
}

TEST_F_TIMEOUT(bind, random_maps_match_the_model_later, 300)
{
	random_maps(_metadata, self, true);
}

/* -- signals ---------------------------------------------------------------------------------- */

#define BINDERS     2
#define BIND_ROUNDS 150
#define BIND_OPS    12
#define BIND_PAGES  8u

/* One of several threads that change one VM, each in a range of its own. */
struct binder {
	int fd;
	uint32_t vm, queue, timeline, bo;
	uint64_t va;
	struct zw_buf cmd; /* packets, and from 32768 on what the device read */
	uint64_t point;
	uint32_t wrong; /* pages that showed something else */
	int error, round;
};

static volatile sig_atomic_t signals;

static void count_signal(int sig)
{
	signals++;
}

/*
 * Twelve operations of which each changes what the ones before it did. Done in order and once they
 * leave page (p + round) % 64 of the buffer at page p, whatever was there before.
 */
static int bind_scramble(struct binder *b, int round)
{
	struct drm_zhenwu_vm_bind_op ops[BIND_OPS] = {0};
	struct drm_zhenwu_vm_bind bind = {.vm_id = b->vm,
					  .ops = DRM_ZHENWU_OBJ_ARRAY(BIND_OPS, ops)};
	uint32_t n = 0;

	ops[n++] = (struct drm_zhenwu_vm_bind_op){
		.flags = DRM_ZHENWU_VM_BIND_OP_TYPE_UNMAP, .va = b->va, .size = BIND_PAGES * PAGE};
	ops[n++] = (struct drm_zhenwu_vm_bind_op){
		.bo_handle = b->bo, .va = b->va, .size = BIND_PAGES * PAGE, .bo_offset = 64 * PAGE};
	ops[n++] = (struct drm_zhenwu_vm_bind_op){.flags = DRM_ZHENWU_VM_BIND_OP_TYPE_UNMAP,
						  .va = b->va + PAGE,
						  .size = (BIND_PAGES - 2) * PAGE};
	ops[n++] = (struct drm_zhenwu_vm_bind_op){
		.bo_handle = b->bo, .va = b->va + PAGE, .size = 2 * PAGE, .bo_offset = 70 * PAGE};
	for (uint32_t p = 0; p < BIND_PAGES; p++)
		ops[n++] = (struct drm_zhenwu_vm_bind_op){
			.bo_handle = b->bo,
			.va = b->va + p * PAGE,
			.size = PAGE,
			.bo_offset = (p + round) % 64 * PAGE,
		};
	return zw_ioctl(b->fd, DRM_IOCTL_ZHENWU_VM_BIND, &bind);
}

static void *binder_main(void *arg)
{
	struct binder *b = arg;

	for (b->round = 0; b->round < BIND_ROUNDS && !b->error; b->round++) {
		const uint32_t *seen = (void *)((char *)b->cmd.ptr + 32768);
		uint32_t pos = 0;

		b->error = bind_scramble(b, b->round);
		for (uint32_t p = 0; p < BIND_PAGES; p++)
			zw_put_copy(b->cmd.ptr, &pos, b->cmd.va + 32768 + 4 * p, b->va + p * PAGE,
				    4);
		if (!b->error)
			b->error = zw_submit(b->fd, b->queue, b->cmd.va, pos, 0, b->timeline,
					     ++b->point);
		if (!b->error)
			b->error = zw_wait(b->fd, b->timeline, b->point, LONG_WAIT_NS);
		for (uint32_t p = 0; p < BIND_PAGES; p++)
			b->wrong += seen[p] != tag(1, (p + b->round) % 64);
	}
	return NULL;
}

/*
 * A signal may come at any time. Whoever repeats the call until it says something else than -EINTR,
 * as drmIoctl() does, gets what was asked for: not nothing, not the first half, not twice.
 */
TEST_F_TIMEOUT(bind, binds_survive_signals, 300)
{
	const struct itimerval often = {{0, 700}, {0, 700}}, never = {0};
	struct binder b[BINDERS] = {0};
	pthread_t thread[BINDERS];
	struct sigaction sa = {.sa_handler = count_signal};

	zw_keep_fences = false; /* they are kept for one thread only */
	for (int i = 0; i < BINDERS; i++) {
		b[i].fd = self->c.fd;
		b[i].vm = self->c.vm;
		b[i].bo = self->bo[1].bo;
		b[i].va = BASE + i * 64 * PAGE;
		b[i].queue = zw_queue(b[i].fd, b[i].vm);
		ASSERT_NE(0, b[i].queue);
		ASSERT_EQ(0, drmSyncobjCreate(b[i].fd, 0, &b[i].timeline));
		ASSERT_TRUE(zw_buf(b[i].fd, b[i].vm, 65536, DRM_ZHENWU_BO_SYSTEM,
				   128 * MIB + i * MIB, &b[i].cmd));
	}
	ASSERT_EQ(0, sigaction(SIGPROF, &sa, NULL));
	ASSERT_EQ(0, setitimer(ITIMER_PROF, &often, NULL));
	for (int i = 0; i < BINDERS; i++) {
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, binder_main, &b[i]));
	}
	for (int i = 0; i < BINDERS; i++) {
		ASSERT_EQ(0, pthread_join(thread[i], NULL));
	}
	ASSERT_EQ(0, setitimer(ITIMER_PROF, &never, NULL));
	for (int i = 0; i < BINDERS; i++) {
		struct drm_zhenwu_queue_get_state st;

		EXPECT_EQ(0, b[i].error) TH_LOG("thread %d round %d", i, b[i].round);
		EXPECT_EQ(0, b[i].wrong) TH_LOG("thread %d", i);
		ASSERT_EQ(0, zw_queue_state(b[i].fd, b[i].queue, &st));
		EXPECT_EQ(0, st.state);
	}
	EXPECT_LT(BIND_ROUNDS / 10, signals);
}

/* -- function level reset --------------------------------------------------------------------- */

/* HBM is lost with its VM, and says so; new ones work, and old mappings show nobody's memory. */
TEST_F_TIMEOUT(bind, lost_vm, 120)
{
	struct drm_zhenwu_vm_bind_op op = {
		.bo_handle = self->bo[1].bo, .va = 1ull << 40, .size = 4096};
	struct drm_zhenwu_vm_bind bind = {.vm_id = self->c.vm, .ops = DRM_ZHENWU_OBJ_ARRAY(1, &op)};
	struct drm_zhenwu_vm_get_state vm = {.vm_id = self->c.vm};
	volatile uint32_t *hbm = self->bo[0].ptr, *sys = self->bo[1].ptr;
	struct drm_zhenwu_queue_get_state st;
	struct zw_client *c = &self->c, fresh;
	char path[300];

	if (getuid())
		SKIP(return, "needs root");
	ASSERT_EQ(0, zw_pci_path(path, sizeof(path) - 10));
	strcat(path, "/reset");
	if (access(path, W_OK))
		SKIP(return, "the device cannot be reset");
	ASSERT_EQ(0, zw_write_file(path, "1"));

	EXPECT_EQ(-ECANCELED, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_VM_BIND, &bind));
	EXPECT_EQ(0, bind.num_done);
	EXPECT_EQ(-ECANCELED, zw_unbind(c->fd, c->vm, self->bo[1].va, 4096));
	ASSERT_EQ(0, zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_VM_GET_STATE, &vm));
	EXPECT_EQ(DRM_ZHENWU_VM_STATE_UNUSABLE, vm.state);
	zw_put_fill(c->cmd.ptr, &c->pos, self->bo[1].va, 4, 0);
	EXPECT_EQ(-ECANCELED, zw_client_submit(c, 0, 0));
	EXPECT_EQ(0, zw_queue(c->fd, c->vm));
	ASSERT_EQ(0, zw_queue_state(c->fd, c->queue, &st));
	EXPECT_EQ(DRM_ZHENWU_QUEUE_STATE_FLR, st.state);

	/* The mapping was revoked and comes back with the next access. */
	for (uint32_t p = 0; p < BO_PAGES; p++) {
		ASSERT_EQ(0, hbm[p * (PAGE / 4)]) TH_LOG("page %u", p);
		ASSERT_EQ(tag(1, p), sys[p * (PAGE / 4)]) TH_LOG("page %u", p);
	}
	hbm[0] = 0x5a;
	EXPECT_EQ(0x5a, hbm[0]);

	/* Buffers can be mapped in a new VM. */
	ASSERT_TRUE(zw_client_open(&fresh));
	zw_put_copy(fresh.cmd.ptr, &fresh.pos, fresh.cmd.va + 32768, fresh.cmd.va, 4);
	EXPECT_EQ(0, zw_client_run(&fresh, 0));
	zw_client_close(&fresh);
	EXPECT_EQ(0, zw_vm_destroy(c->fd, c->vm));
	vm.vm_id = zw_vm(c->fd);
	ASSERT_NE(0, vm.vm_id);
	EXPECT_EQ(0, zw_bind(c->fd, vm.vm_id, self->bo[0].bo, 0, MIB, MIB, 0));
	EXPECT_EQ(0, zw_bind(c->fd, vm.vm_id, self->bo[1].bo, 0, 4 * MIB, MIB, 0));
}

TEST_HARNESS_MAIN

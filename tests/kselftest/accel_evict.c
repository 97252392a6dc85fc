// SPDX-License-Identifier: MIT
/*
 * HBM that is not enough: which buffers leave it, which stay, and that nobody sees a difference but in speed.
 *
 * Most of HBM is taken by a buffer that stays, so that little is to be moved.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "zw_cgroup.h"
#include "zw_evict.h"

#define NO_NEED DRM_ZHENWU_MADV_DONTNEED

FIXTURE(evict)
{
	struct zw_client c;
	uint32_t rest;                    /* all of HBM but room for three */
	char evicted[256], restored[256]; /* paths of counters */
};

FIXTURE_SETUP(evict)
{
	if (!zw_client_open(&self->c)) {
		if (self->c.fd < 0)
			SKIP(return, KSFT_SKIP_NO_DEVICE);
		ASSERT_TRUE(false) TH_LOG("cannot make a client");
	}
	ASSERT_EQ(0, zw_pci_path(self->evicted, sizeof(self->evicted) - 16));
	strcpy(self->restored, self->evicted);
	strcat(self->evicted, "/evicted_bytes");
	strcat(self->restored, "/restored_bytes");
	self->rest = take_rest(self->c.fd);
	ASSERT_NE(0, self->rest);
}

FIXTURE_TEARDOWN(evict)
{
	zw_client_close(&self->c);
}

/* The longest unused goes, is there for the device, and comes back when there is room. */
TEST_F_TIMEOUT(evict, out_and_back, 240)
{
	uint64_t out = number(self->evicted), in = number(self->restored);
	uint32_t bo[3], more;

	for (int i = 0; i < 3; i++) {
		bo[i] = make(&self->c, BOTH, VA + i * SIZE, 100 * i);
		ASSERT_NE(0, bo[i]);
		EXPECT_EQ(DRM_ZHENWU_BO_HBM, placement(self->c.fd, bo[i]));
		/* What counts is when a VM was used: one that is mapped nowhere is not used. */
	}
	ASSERT_EQ(0, zw_unbind(self->c.fd, self->c.vm, VA + SIZE, SIZE));
	usleep(20000);
	EXPECT_TRUE(holds(&self->c, VA, 0));

	more = zw_bo(self->c.fd, SIZE, STAYS | DRM_ZHENWU_BO_CPU_VISIBLE);
	ASSERT_NE(0, more);
	EXPECT_EQ(DRM_ZHENWU_BO_HBM, placement(self->c.fd, bo[0]));
	EXPECT_EQ(DRM_ZHENWU_BO_SYSTEM, placement(self->c.fd, bo[1]));
	EXPECT_EQ(DRM_ZHENWU_BO_HBM, placement(self->c.fd, bo[2]));
	EXPECT_EQ(out + SIZE, number(self->evicted));
	EXPECT_EQ(in, number(self->restored));

	/* Where it is now it can be mapped, read and written. */
	ASSERT_EQ(0, zw_bind(self->c.fd, self->c.vm, bo[1], 0, VA + SIZE, SIZE, 0));
	EXPECT_TRUE(holds(&self->c, VA + SIZE, 100));
	self->c.pos = 0;
	zw_put_fill(self->c.cmd.ptr, &self->c.pos, VA + SIZE + 4092, 4, 100);
	ASSERT_EQ(0, zw_client_run(&self->c, 0));
	EXPECT_EQ(DRM_ZHENWU_BO_SYSTEM, placement(self->c.fd, bo[1]));

	ASSERT_EQ(0, zw_bo_close(self->c.fd, more));
	for (int i = 0; i < 3; i++)
		EXPECT_TRUE(holds(&self->c, VA + i * SIZE, 100 * i));
	EXPECT_EQ(DRM_ZHENWU_BO_HBM, placement(self->c.fd, bo[1]));
	EXPECT_EQ(in + SIZE, number(self->restored));
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(0, zw_bo_close(self->c.fd, bo[i]));
}

/* Pages of any size, several mappings in two VMs, one of them read-only: all follow. */
TEST_F_TIMEOUT(evict, all_mappings_follow, 240)
{
	struct zw_client other = {.fd = self->c.fd, .timeline = self->c.timeline};
	const uint64_t odd = VA + (4ull << 30) + 12288, ro = VA + (8ull << 30);
	uint32_t bo = make(&self->c, BOTH, VA, 7), more;
	struct drm_zhenwu_queue_get_state st = {0};

	ASSERT_NE(0, bo);
	other.vm = zw_vm(other.fd);
	other.queue = zw_queue(other.fd, other.vm);
	ASSERT_NE(0, other.queue);
	ASSERT_TRUE(zw_buf(other.fd, other.vm, 65536, DRM_ZHENWU_BO_SYSTEM, 16 * MIB, &other.cmd));
	ASSERT_EQ(0, zw_bind(self->c.fd, self->c.vm, bo, SIZE / 2, odd, SIZE / 4, 0));
	ASSERT_EQ(0,
		  zw_bind(other.fd, other.vm, bo, 0, ro, SIZE, DRM_ZHENWU_VM_BIND_OP_MAP_READONLY));
	other.point = self->c.point;
	EXPECT_EQ(7, peek(&other, ro));
	for (int round = 0; round < 2; round++) {
		more = zw_bo(self->c.fd, 3 * SIZE, STAYS);
		ASSERT_NE(0, more);
		EXPECT_EQ(DRM_ZHENWU_BO_SYSTEM, placement(self->c.fd, bo));
		self->c.point = other.point;
		EXPECT_TRUE(holds(&self->c, VA, 7));
		EXPECT_EQ(7 + 32, peek(&self->c, odd));
		other.point = self->c.point;
		EXPECT_TRUE(holds(&other, ro, 7));
		ASSERT_EQ(0, zw_bo_close(self->c.fd, more));
		EXPECT_TRUE(holds(&other, ro, 7));
		EXPECT_EQ(DRM_ZHENWU_BO_HBM, placement(self->c.fd, bo));
	}
	/* Not written through a mapping that is read-only, wherever it is. */
	more = zw_bo(self->c.fd, 3 * SIZE, STAYS);
	ASSERT_NE(0, more);
	other.pos = 0;
	zw_put_fill(other.cmd.ptr, &other.pos, ro, 4, 1);
	ASSERT_EQ(0, zw_client_run(&other, 0));
	ASSERT_EQ(0, zw_queue_state(other.fd, other.queue, &st));
	EXPECT_EQ(ZW_JOB_FAULT, st.status);
	self->c.point = other.point;
	EXPECT_TRUE(holds(&self->c, VA, 7));
}

/* What the CPU has mapped it sees, before and after, and nothing it wrote is lost. */
TEST_F_TIMEOUT(evict, cpu_mappings_follow, 240)
{
	uint32_t bo = zw_bo(self->c.fd, SIZE, BOTH | DRM_ZHENWU_BO_CPU_VISIBLE), more;
	volatile uint32_t *p = zw_map(self->c.fd, bo, SIZE), *q;
	uint32_t wrong = 0;

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, zw_bind(self->c.fd, self->c.vm, bo, 0, VA, SIZE, 0));
	for (uint32_t i = 0; i < SIZE / 4; i += 256)
		p[i] = i;
	more = zw_bo(self->c.fd, 3 * SIZE, STAYS);
	ASSERT_NE(0, more);
	ASSERT_EQ(DRM_ZHENWU_BO_SYSTEM, placement(self->c.fd, bo));
	for (uint32_t i = 0; i < SIZE / 4; i += 256)
		wrong += p[i] != i;
	EXPECT_EQ(0, wrong);
	/* One that is made now, too. */
	q = zw_map(self->c.fd, bo, SIZE);
	ASSERT_NE(NULL, q);
	EXPECT_EQ(256, q[256]);
	q[1] = 4711;
	EXPECT_EQ(4711, p[1]);
	EXPECT_EQ(4711, peek(&self->c, VA + 4));
	ASSERT_EQ(0, zw_bo_close(self->c.fd, more));
	EXPECT_EQ(4711, peek(&self->c, VA + 4));
	EXPECT_EQ(DRM_ZHENWU_BO_HBM, placement(self->c.fd, bo));
	EXPECT_EQ(4711, q[1]);
	EXPECT_EQ(256, p[256]);
	p[2] = 4712;
	__sync_synchronize();
	EXPECT_EQ(4712, peek(&self->c, VA + 8));
}

/* What must not be moved, and what helps nobody: the caller is told that there is no room. */
TEST_F_TIMEOUT(evict, stays, 240)
{
	struct drm_zhenwu_vm_create vm = {.flags = DRM_ZHENWU_VM_CREATE_LR};
	struct drm_zhenwu_bo_create b = {.size = 3 * SIZE, .flags = STAYS};
	uint64_t out = number(self->evicted);
	uint32_t bo[3];

	bo[0] = zw_bo(self->c.fd, SIZE, STAYS);
	bo[1] = zw_bo(self->c.fd, SIZE, BOTH | DRM_ZHENWU_BO_NO_EVICT);
	bo[2] = zw_bo(self->c.fd, SIZE, BOTH);
	/* Jobs of user-mode queues have no fences. */
	ASSERT_EQ(0, zw_ioctl(self->c.fd, DRM_IOCTL_ZHENWU_VM_CREATE, &vm));
	ASSERT_EQ(0, zw_bind(self->c.fd, vm.id, bo[2], 0, VA, SIZE, 0));
	EXPECT_EQ(-ENOSPC, zw_ioctl(self->c.fd, DRM_IOCTL_ZHENWU_BO_CREATE, &b));
	EXPECT_EQ(out, number(self->evicted));
	EXPECT_EQ(DRM_ZHENWU_BO_HBM, placement(self->c.fd, bo[0]));
	EXPECT_EQ(DRM_ZHENWU_BO_HBM, placement(self->c.fd, bo[1]));
	/* One that can be elsewhere goes there. */
	b.flags = BOTH;
	ASSERT_EQ(0, zw_ioctl(self->c.fd, DRM_IOCTL_ZHENWU_BO_CREATE, &b));
	EXPECT_EQ(DRM_ZHENWU_BO_SYSTEM, placement(self->c.fd, b.handle));
}

/* A job that runs has its buffers where they are until it is over. */
TEST_F_TIMEOUT(evict, waits_for_jobs, 240)
{
	struct zw_client *c = &self->c;
	uint32_t bo[2] = {make(c, BOTH, VA, 1), make(c, BOTH, VA + SIZE, 101)};
	struct maker m;

	ASSERT_NE(0, bo[0]);
	ASSERT_NE(0, bo[1]);
	c->pos = 0;
	*waits_at(c) = 0;
	zw_put_sem(c->cmd.ptr, &c->pos, ZW_OP_SEM_WAIT, c->cmd.va + SEM_AT, 1);
	zw_put_fill(c->cmd.ptr, &c->pos, VA + 4092, 4, 77);
	zw_put_fill(c->cmd.ptr, &c->pos, VA + SIZE + 4092, 4, 78);
	ASSERT_EQ(0, zw_client_submit(c, 0, 0));
	ASSERT_TRUE(maker_begin(&m, c->fd, 2 * SIZE));
	usleep(300000);
	EXPECT_FALSE(m.over);
	EXPECT_EQ(DRM_ZHENWU_BO_HBM, placement(c->fd, self->rest));
	let_go(c);
	ASSERT_EQ(0, maker_end(&m));
	EXPECT_EQ(1, zw_client_outcome(c));
	EXPECT_EQ(DRM_ZHENWU_BO_SYSTEM, placement(c->fd, bo[0]));
	EXPECT_EQ(77, peek(c, VA + 4092));
	EXPECT_EQ(78, peek(c, VA + SIZE + 4092));
	EXPECT_EQ(1, peek(c, VA));
}

/* Whose jobs do not end is not waited for where somebody else's do, or where there is room again. */
TEST_F_TIMEOUT(evict, passes_by_those_who_hang_on, 240)
{
	struct zw_client *a = &self->c, b;
	struct maker m, late;
	uint32_t bo[3];
	int64_t begin;

	ASSERT_TRUE(zw_client_open(&b));
	bo[0] = make(a, BOTH, VA, 1);
	bo[1] = make(&b, BOTH, VA, 101);
	ASSERT_NE(0, bo[0]);
	ASSERT_NE(0, bo[1]);
	ASSERT_EQ(0, submit_waiting(a));
	ASSERT_EQ(0, submit_waiting(&b));
	begin = zw_deadline(0);
	ASSERT_TRUE(maker_begin(&m, a->fd, 2 * SIZE));
	usleep(500000);
	EXPECT_FALSE(m.over);
	/* Theirs has been in use longer. */
	let_go(&b);
	ASSERT_EQ(0, maker_end(&m));
	EXPECT_EQ(DRM_ZHENWU_BO_HBM, placement(a->fd, bo[0]));
	EXPECT_EQ(DRM_ZHENWU_BO_SYSTEM, placement(b.fd, bo[1]));
	EXPECT_EQ(0, zw_fence_status(a->fd, a->timeline, a->point));
	/* Far less than the job may wait. */
	EXPECT_GT(15000000000ll, zw_deadline(0) - begin);

	ASSERT_TRUE(maker_begin(&late, a->fd, SIZE));
	usleep(300000);
	EXPECT_FALSE(late.over);
	ASSERT_EQ(0, zw_bo_close(a->fd, m.bo));
	ASSERT_EQ(0, maker_end(&late));
	EXPECT_GT(15000000000ll, zw_deadline(0) - begin);
	EXPECT_EQ(DRM_ZHENWU_BO_HBM, placement(a->fd, bo[0]));
	EXPECT_EQ(0, zw_fence_status(a->fd, a->timeline, a->point));
	let_go(a);
	EXPECT_EQ(1, zw_client_outcome(a));
	EXPECT_TRUE(holds(&b, VA, 101));
	EXPECT_TRUE(holds(a, VA, 1));
	zw_client_close(&b);
}

/* A job waits for one that is yet to be submitted: to wait for it must not keep that from being done. */
TEST_F_TIMEOUT(evict, lets_submissions_through, 240)
{
	struct zw_client *c = &self->c, second = *c;
	uint32_t bo = make(c, BOTH, VA, 1);
	struct maker m;
	uint64_t first;
	int64_t begin;

	ASSERT_NE(0, bo);
	second.queue = zw_queue(c->fd, c->vm);
	ASSERT_NE(0, second.queue);
	ASSERT_EQ(0, submit_waiting(c));
	first = c->point;
	ASSERT_TRUE(maker_begin(&m, c->fd, 3 * SIZE));
	usleep(2500000);
	EXPECT_FALSE(m.over);
	begin = zw_deadline(0);
	second.point = first;
	second.pos = 4096;
	zw_put_sem(c->cmd.ptr, &second.pos, ZW_OP_SEM_SIGNAL, c->cmd.va + SEM_AT, 1);
	ASSERT_EQ(0, zw_client_submit(&second, 4096, 0));
	EXPECT_EQ(1, zw_client_outcome(&second));
	EXPECT_EQ(1, zw_fence_status_wait(c->fd, c->timeline, first, LONG_WAIT_NS));
	EXPECT_GT(15000000000ll, zw_deadline(0) - begin);
	EXPECT_EQ(0, maker_end(&m));
	EXPECT_EQ(DRM_ZHENWU_BO_SYSTEM, placement(c->fd, bo));
	c->point = second.point;
	EXPECT_TRUE(holds(c, VA, 1));
}

/* Two clients with twice as much as there is: what each reads is what it wrote, whatever is where. */
TEST_F_TIMEOUT(evict, overcommit, 400)
{
	enum { N = 4, ROUNDS = 40 };
	struct zw_client other, *c[2] = {&self->c, &other};
	uint32_t tag[2][N], moved = 0;
	unsigned int seed = 1;

	ASSERT_TRUE(zw_client_open(&other));
	for (uint32_t i = 0; i < 2 * N; i++) {
		tag[i / N][i % N] = 1000 * i;
		ASSERT_NE(0, make(c[i / N], BOTH, VA + i % N * SIZE, 1000 * i))
		TH_LOG("buffer %u", i);
	}
	for (uint32_t round = 0; round < ROUNDS; round++) {
		uint32_t k = (uint32_t)rand_r(&seed) % 2, i = (uint32_t)rand_r(&seed) % N,
			 j = (uint32_t)rand_r(&seed) % N, more;

		more = zw_bo(c[!k]->fd, SIZE * (1 + (uint64_t)rand_r(&seed) % 3), STAYS);
		moved += more != 0;
		ASSERT_TRUE(holds(c[k], VA + i * SIZE, tag[k][i])) TH_LOG("round %u", round);
		/* All of one into another. */
		c[k]->pos = 0;
		if (i != j)
			zw_put_copy(c[k]->cmd.ptr, &c[k]->pos, VA + j * SIZE, VA + i * SIZE, SIZE);
		if (i != j) {
			ASSERT_EQ(0, zw_client_run(c[k], 0));
			tag[k][j] = tag[k][i];
		}
		if (more)
			ASSERT_EQ(0, zw_bo_close(c[!k]->fd, more));
	}
	EXPECT_LT(0, moved);
	for (uint32_t i = 0; i < 2 * N; i++)
		EXPECT_TRUE(holds(c[i / N], VA + i % N * SIZE, tag[i / N][i % N]));
	zw_client_close(&other);
}

/* HBM that a buffer left holds nothing of it when somebody else gets it. */
TEST_F_TIMEOUT(evict, leaves_nothing_behind, 240)
{
	struct zw_client other;
	uint32_t bo = make(&self->c, BOTH, VA, 0x5ec2e700), more;

	ASSERT_NE(0, bo);
	ASSERT_TRUE(zw_client_open(&other));
	more = zw_bo(other.fd, 3 * SIZE, STAYS);
	ASSERT_NE(0, more);
	ASSERT_EQ(DRM_ZHENWU_BO_SYSTEM, placement(self->c.fd, bo));
	ASSERT_EQ(0, zw_bind(other.fd, other.vm, more, 0, VA, 3 * SIZE, 0));
	for (uint64_t at = 0; at < 3 * SIZE; at += SIZE / 64)
		ASSERT_EQ(0, peek(&other, VA + at));
	zw_client_close(&other);
	EXPECT_TRUE(holds(&self->c, VA, 0x5ec2e700));
}

/* One that was moved can be done without, and given up. */
TEST_F_TIMEOUT(evict, moved_and_purged, 240)
{
	struct drm_zhenwu_bo_madvise m = {.madv = NO_NEED};
	uint32_t bo = make(&self->c, BOTH, VA, 3), more;

	ASSERT_NE(0, bo);
	more = zw_bo(self->c.fd, 3 * SIZE, STAYS);
	ASSERT_NE(0, more);
	ASSERT_EQ(0, zw_unbind(self->c.fd, self->c.vm, VA, SIZE));
	m.handle = bo;
	ASSERT_EQ(0, zw_ioctl(self->c.fd, DRM_IOCTL_ZHENWU_BO_MADVISE, &m));
	EXPECT_EQ(1, m.retained);
	if (!geteuid()) {
		ASSERT_EQ(0, zw_write_file("/proc/sys/vm/drop_caches", "2"));
		m.retained = 0;
		ASSERT_EQ(0, zw_ioctl(self->c.fd, DRM_IOCTL_ZHENWU_BO_MADVISE, &m));
		EXPECT_EQ(0, m.retained);
	}
	ASSERT_EQ(0, zw_bo_close(self->c.fd, more));
	/* Nothing to bring back. */
	EXPECT_TRUE(zw_client_works(&self->c));
	EXPECT_EQ(0, zw_bo_close(self->c.fd, bo));
}

/* The firmware falls silent: the move waits for the reset or comes to nothing, the contents stay. */
TEST_F_TIMEOUT(evict, reset, 400)
{
	uint32_t bo[2] = {make(&self->c, BOTH, VA, 9), make(&self->c, BOTH, VA + SIZE, 900)}, more;

	if (!zw_has_host())
		SKIP(return, "not in the test VM");
	ASSERT_NE(0, bo[0]);
	ASSERT_NE(0, bo[1]);
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, zw_inject(i ? "fw-trap" : "fw-silence"));
		more = zw_bo(self->c.fd, 2 * SIZE, STAYS);
		if (more)
			ASSERT_EQ(0, zw_bo_close(self->c.fd, more));
		ASSERT_TRUE(zw_client_goes_on(&self->c) || zw_client_goes_on(&self->c));
		EXPECT_TRUE(holds(&self->c, VA, 9));
		EXPECT_TRUE(holds(&self->c, VA + SIZE, 900));
	}
}

/* Killed in the middle, at whatever point: nothing is left. */
TEST_F_TIMEOUT(evict, killed, 400)
{
	uint64_t before = hbm_free(self->c.fd);
	unsigned int seed = 7;

	for (int i = 0; i < 12; i++) {
		pid_t pid = fork();

		ASSERT_LE(0, pid);
		if (!pid) {
			struct zw_client c;

			if (!zw_client_open(&c))
				_exit(1);
			for (uint32_t n = 0;; n++) {
				uint32_t bo = make(&c, BOTH, VA + n % 8 * SIZE, n);

				if (bo && n > 5)
					zw_bo_close(c.fd, bo);
			}
		}
		usleep(100000 + (useconds_t)rand_r(&seed) % 400000);
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	}
	for (int i = 0; i < 600 && hbm_free(self->c.fd) != before; i++)
		usleep(100000);
	EXPECT_EQ(before, hbm_free(self->c.fd));
	EXPECT_TRUE(zw_client_works(&self->c));
}

/* How many were killed in it for want of memory; UINT64_MAX when it does not say. */
static uint64_t killed_in(struct group *g)
{
	FILE *f = fopen(in_group(g, "memory.events"), "re");
	uint64_t n = UINT64_MAX;
	char line[64];

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "oom_kill ", 9))
			n = strtoull(line + 9, NULL, 10);
	if (f)
		fclose(f);
	return n;
}

/*
 * Somebody in the cgroup, with a buffer that can be moved; says so, and looks at it when asked. The file
 * is the test's own, so that both are one client, of which HBM is not shared out to two.
 */
struct owner {
	struct zw_client c;
	pid_t pid;
	int ask, tell;
};

static void own(struct zw_client *c, struct group *g, int ask, int tell)
{
	char well = !zw_write_file(in_group(g, "cgroup.procs"), "0") && make(c, BOTH, VA, 17);

	while (write(tell, &well, 1) == 1 && read(ask, &well, 1) == 1)
		well = holds(c, VA, 17);
	_exit(0);
}

static bool owner_is_well(struct owner *o)
{
	char well = 0;

	return read(o->tell, &well, 1) == 1 && well;
}

static bool owner_open(struct owner *o, struct group *g)
{
	int ask[2], tell[2];

	if (pipe(ask) || pipe(tell) || !zw_client_open(&o->c))
		return false;
	o->pid = fork();
	if (!o->pid) {
		close(ask[1]);
		own(&o->c, g, ask[0], tell[1]);
	}
	close(ask[0]);
	close(tell[1]);
	o->ask = ask[1];
	o->tell = tell[0];
	return o->pid > 0 && owner_is_well(o);
}

/* 0 when it ended by itself. */
static int owner_close(struct owner *o)
{
	int status = -1;

	close(o->ask);
	waitpid(o->pid, &status, 0);
	close(o->tell);
	zw_client_close(&o->c);
	return status;
}

/* Memory that a buffer moves to is its owner's, not of who wanted room. */
TEST_F_TIMEOUT(evict, charged_to_the_owner, 240)
{
	uint64_t before, mine, after;
	struct owner o;
	struct group g;
	uint32_t more;

	if (geteuid() || !group_open(&g, "memory"))
		SKIP(return, "no cgroups with memory, or not root");
	ASSERT_TRUE(owner_open(&o, &g));
	before = number(in_group(&g, "memory.current"));
	more = zw_bo(self->c.fd, 3 * SIZE, STAYS);
	ASSERT_NE(0, more);
	after = number(in_group(&g, "memory.current"));
	EXPECT_LE(before + SIZE, after);
	EXPECT_GT(before + SIZE + SIZE / 2, after);
	ASSERT_EQ(1, write(o.ask, "?", 1));
	EXPECT_TRUE(owner_is_well(&o));
	/* It goes back, and the memory with it. */
	ASSERT_EQ(0, zw_bo_close(self->c.fd, more));
	ASSERT_EQ(1, write(o.ask, "?", 1));
	EXPECT_TRUE(owner_is_well(&o));
	/* The cgroup's account is settled in batches. */
	EXPECT_GT(before + SIZE / 2, number(in_group(&g, "memory.current")));
	EXPECT_EQ(0, owner_close(&o));
	mine = number(in_group(&g, "memory.current"));
	EXPECT_GT(SIZE, mine);
	group_close(&g);
}

/* An owner that may not have so much of it keeps his buffer in HBM, and is not killed for it. */
TEST_F_TIMEOUT(evict, not_beyond_the_owners_limit, 240)
{
	struct drm_zhenwu_bo_create b = {.size = 3 * SIZE, .flags = STAYS};
	char limit[32];
	struct owner o;
	struct group g;

	if (geteuid() || !group_open(&g, "memory"))
		SKIP(return, "no cgroups with memory, or not root");
	ASSERT_TRUE(owner_open(&o, &g));
	snprintf(limit, sizeof(limit), "%llu",
		 (unsigned long long)(number(in_group(&g, "memory.current")) + SIZE / 2));
	ASSERT_EQ(0, zw_write_file(in_group(&g, "memory.max"), limit));
	EXPECT_EQ(-ENOSPC, zw_ioctl(self->c.fd, DRM_IOCTL_ZHENWU_BO_CREATE, &b));
	EXPECT_EQ(0, killed_in(&g));
	ASSERT_EQ(0, zw_write_file(in_group(&g, "memory.max"), "max"));
	ASSERT_EQ(0, zw_ioctl(self->c.fd, DRM_IOCTL_ZHENWU_BO_CREATE, &b));
	ASSERT_EQ(1, write(o.ask, "?", 1));
	EXPECT_TRUE(owner_is_well(&o));
	EXPECT_EQ(0, owner_close(&o));
	group_close(&g);
}

TEST_HARNESS_MAIN

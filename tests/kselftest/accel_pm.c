// SPDX-License-Identifier: MIT
/*
 * Sleep. Over system sleep nothing is lost and nothing is done twice: jobs that ran and that waited
 * for a semaphore, user-mode queues, contents of HBM. The kernel's pm_test stops on the way down, at
 * several places, and goes back up. With ZW_TEST_SLEEP=1 in the environment the machine really goes
 * to sleep, and the alarm of its clock wakes it up.
 */
#include <errno.h>
#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "zw_kst.h"
#include "zw_userq.h"

#define ALARM "/sys/class/rtc/rtc0/wakealarm"

#define NUM     65536u /* floats of an accumulator */
#define ADDS    4096u  /* packets of a job that takes a while */
#define JOBS    8u
#define ACC_VA  (512 * MIB)
#define ONE_VA  (516 * MIB)
#define CMD_VA  (520 * MIB)
#define OUT_VA  (524 * MIB)
#define SEM_OFF (NUM * 4u) /* in the buffer of ones */
#define BEFORE  5u         /* packets of a job that waits, in front of the semaphore ... */
#define BEHIND  7u         /* ... and behind it ... */
#define NEXT    11u        /* ... and of the next job */

/* Accumulators, of which each addition counts: one left out or done twice is seen. */
struct sums {
	int fd;
	uint32_t vm;
	struct zw_buf acc, one, cmd, out; /* acc: HBM that the CPU does not reach */
};

FIXTURE(sleep)
{
	struct zw_client runs, waits;
	struct zw_userq user;
	struct sums a, b, u;
	uint32_t resets;
};

static bool sums_open(struct sums *s, int fd, uint32_t vm)
{
	*s = (struct sums){.fd = fd, .vm = vm};
	if (!zw_buf(fd, vm, 2 * MIB, DRM_ZHENWU_BO_HBM, ACC_VA, &s->acc) ||
	    !zw_buf(fd, vm, MIB, DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_CPU_VISIBLE, ONE_VA, &s->one) ||
	    !zw_buf(fd, vm, MIB, DRM_ZHENWU_BO_SYSTEM, CMD_VA, &s->cmd) ||
	    !zw_buf(fd, vm, MIB, DRM_ZHENWU_BO_SYSTEM, OUT_VA, &s->out))
		return false;
	for (uint32_t i = 0; i < NUM; i++)
		((float *)s->one.ptr)[i] = 1.0f;
	return true;
}

static volatile uint64_t *semaphore(struct sums *s)
{
	return (void *)((char *)s->one.ptr + SEM_OFF);
}

static uint32_t put_adds(struct sums *s, uint32_t pos, uint32_t num)
{
	struct zw_tensor t = {
		.va = ACC_VA, .dtype = ZW_DTYPE_F32, .ndim = 2, .dim = {1, NUM}, .stride = {NUM}};

	for (uint32_t i = 0; i < num; i++) {
		struct zw_pkt_add *p = (void *)((char *)s->cmd.ptr + pos);

		zw_put_raw(s->cmd.ptr, &pos, ZW_OP_ADD, sizeof(*p));
		p->a = t;
		p->b = t;
		p->b.va = ONE_VA;
		p->y = t;
	}
	return pos;
}

/* Two jobs, of which the first waits in its middle. Returns the end of the first, and of both. */
static uint32_t put_waiting(struct sums *s, uint32_t *end)
{
	uint32_t pos = put_adds(s, 0, BEFORE), first;

	zw_put_sem(s->cmd.ptr, &pos, ZW_OP_SEM_WAIT, ONE_VA + SEM_OFF, 1);
	first = put_adds(s, pos, BEHIND);
	*end = put_adds(s, first, NEXT);
	return first;
}

static int submit(struct zw_client *c, struct sums *s, uint32_t from, uint32_t to)
{
	return zw_submit(c->fd, c->queue, s->cmd.va + from, to - from, 0, c->timeline, ++c->point);
}

/* The sum that is in HBM, copied from there by the device; -1 when it is not one number. */
static float sum(struct zw_client *c, struct sums *s)
{
	uint32_t from = c->pos;
	const float *out = s->out.ptr;

	zw_put_copy(c->cmd.ptr, &c->pos, OUT_VA, ACC_VA, NUM * 4);
	if (zw_client_run(c, from))
		return -2;
	for (uint32_t i = 1; i < NUM; i++)
		if (out[i] != out[0])
			return -1;
	return out[0];
}

/*
 * Whether this program comes from a 9p share. statfs() does not tell: the share answers with what the
 * host has below it.
 */
static bool on_9p(void)
{
	FILE *mounts = setmntent("/proc/self/mounts", "r");
	char exe[PATH_MAX] = "";
	size_t longest = 0;
	struct mntent *m;
	bool found = false;

	if (!mounts || readlink("/proc/self/exe", exe, sizeof(exe) - 1) < 0)
		return false;
	while ((m = getmntent(mounts))) {
		size_t len = strlen(m->mnt_dir);

		if (len >= longest && !strncmp(exe, m->mnt_dir, len)) {
			longest = len;
			found = !strcmp(m->mnt_type, "9p");
		}
	}
	endmntent(mounts);
	return found;
}

FIXTURE_SETUP(sleep)
{
	if (!zw_client_open(&self->runs)) {
		if (self->runs.fd < 0)
			SKIP(return, KSFT_SKIP_NO_DEVICE);
		ASSERT_TRUE(false) TH_LOG("cannot make a client");
	}
	if (geteuid() != 0)
		SKIP(return, "needs root");
	if (on_9p())
		SKIP(return, "9p does not survive system sleep: run a copy from elsewhere");
	ASSERT_TRUE(zw_client_open(&self->waits));
	ASSERT_TRUE(zw_userq_open(&self->user, 0));
	ASSERT_TRUE(sums_open(&self->a, self->runs.fd, self->runs.vm));
	ASSERT_TRUE(sums_open(&self->b, self->waits.fd, self->waits.vm));
	ASSERT_TRUE(sums_open(&self->u, self->user.fd, self->user.vm));
	self->resets = zw_reset_count(&self->runs);
}

FIXTURE_TEARDOWN(sleep)
{
	zw_write_file("/sys/power/pm_test", "none");
	zw_userq_close(&self->user);
	zw_client_close(&self->waits);
	zw_client_close(&self->runs);
}

/* Gives all three something to do that is not over before the sleep. */
static void begin(struct __test_metadata *_metadata, FIXTURE_DATA(sleep) * self)
{
	uint32_t end = put_adds(&self->a, 0, ADDS), first;
	struct drm_zhenwu_queue_get_state st;

	/* What nobody wrote is zero. */
	for (uint32_t i = 0; i < JOBS; i++)
		ASSERT_EQ(0, submit(&self->runs, &self->a, 0, end));

	first = put_waiting(&self->b, &end);
	ASSERT_EQ(0, submit(&self->waits, &self->b, 0, first));
	ASSERT_EQ(0, submit(&self->waits, &self->b, first, end));

	first = put_waiting(&self->u, &end);
	zw_userq_put(&self->user, CMD_VA, first, 0, 0);
	zw_userq_put(&self->user, CMD_VA + first, end - first, 0, 0);
	zw_userq_ring(&self->user);
	/* It has fetched the first, and is somewhere in it. */
	for (int i = 0; i < 600; i++) {
		ASSERT_EQ(0, zw_queue_state(self->user.fd, self->user.queue, &st));
		if (st.submitted)
			break;
		usleep(10000);
	}
}

/* All of it ends well after the sleep, and each packet ran once. */
static void end(struct __test_metadata *_metadata, FIXTURE_DATA(sleep) * self)
{
	struct drm_zhenwu_queue_get_state st;
	const float *one = self->a.one.ptr;
	uint32_t pos = 0;

	for (uint32_t i = 0; i < NUM; i += 1021) {
		ASSERT_EQ(1.0f, one[i]);
	}
	EXPECT_EQ(0, zw_fence_status(self->waits.fd, self->waits.timeline, 1));
	EXPECT_EQ(0, zw_userq_slot(&self->user, 1));
	*semaphore(&self->b) = 1;
	*semaphore(&self->u) = 1;
	for (uint32_t i = 1; i <= JOBS; i++) {
		EXPECT_EQ(1, zw_fence_status_wait(self->runs.fd, self->runs.timeline, i,
						  3 * LONG_WAIT_NS));
	}
	EXPECT_EQ((float)(ADDS * JOBS), sum(&self->runs, &self->a));
	EXPECT_EQ(1, zw_fence_status_wait(self->waits.fd, self->waits.timeline, 2, LONG_WAIT_NS));
	EXPECT_EQ((float)(BEFORE + BEHIND + NEXT), sum(&self->waits, &self->b));
	EXPECT_TRUE(zw_userq_poll(&self->user, 2));
	EXPECT_EQ(ZW_JOB_OK, self->user.done[2].status);
	zw_put_copy(self->u.cmd.ptr, &pos, OUT_VA, ACC_VA, NUM * 4);
	zw_userq_put(&self->user, CMD_VA, pos, 0, 0);
	zw_userq_ring(&self->user);
	EXPECT_TRUE(zw_userq_poll(&self->user, 3));
	EXPECT_EQ((float)(BEFORE + BEHIND + NEXT), *(float *)self->u.out.ptr);

	/* Nobody was told of anything. */
	ASSERT_EQ(0, zw_queue_state(self->runs.fd, self->runs.queue, &st));
	EXPECT_EQ(0, st.state);
	ASSERT_EQ(0, zw_queue_state(self->user.fd, self->user.queue, &st));
	EXPECT_EQ(0, st.state);
	EXPECT_EQ(self->resets, zw_reset_count(&self->runs));
	EXPECT_TRUE(zw_client_works(&self->runs));
	EXPECT_TRUE(zw_client_works(&self->waits));
	EXPECT_TRUE(zw_userq_works(&self->user));
	EXPECT_TRUE(zw_fresh_client_works(1));
}

static void over(struct __test_metadata *_metadata, FIXTURE_DATA(sleep) * self, const char *level,
		 const char *state)
{
	if (zw_write_file("/sys/power/pm_test", level))
		SKIP(return, "no pm_test");
	zw_write_file("/sys/module/suspend/parameters/pm_test_delay", "1");
	begin(_metadata, self);
	ASSERT_EQ(0, zw_write_file("/sys/power/state", state));
	end(_metadata, self);
}

TEST_F_TIMEOUT(sleep, devices, 240)
{
	over(_metadata, self, "devices", "mem");
}

TEST_F_TIMEOUT(sleep, s2idle, 240)
{
	over(_metadata, self, "platform", "freeze");
}

TEST_F_TIMEOUT(sleep, twice, 480)
{
	over(_metadata, self, "core", "mem");
	EXPECT_EQ(0, zw_write_file("/sys/power/state", "mem"));
	EXPECT_TRUE(zw_client_works(&self->runs));
	EXPECT_TRUE(zw_userq_works(&self->user));
	EXPECT_EQ((float)(ADDS * JOBS), sum(&self->runs, &self->a));
}

/* All of the machine but its memory loses power. */
TEST_F_TIMEOUT(sleep, s3, 480)
{
	const char *really = getenv("ZW_TEST_SLEEP");
	char modes[64];

	if (!really || strcmp(really, "1"))
		SKIP(return, "ZW_TEST_SLEEP is not 1");
	ASSERT_EQ(0, zw_read_file("/sys/power/mem_sleep", modes, sizeof(modes)));
	ASSERT_NE(NULL, strstr(modes, "deep"));
	ASSERT_EQ(0, zw_write_file("/sys/power/mem_sleep", "deep"));
	for (int i = 0; i < 2; i++) {
		if (!i)
			begin(_metadata, self);
		ASSERT_EQ(0, zw_write_file(ALARM, "0"));
		ASSERT_EQ(0, zw_write_file(ALARM, "+10"));
		ASSERT_EQ(0, zw_write_file("/sys/power/state", "mem"));
		if (!i)
			end(_metadata, self);
	}
	EXPECT_TRUE(zw_client_works(&self->runs));
	EXPECT_TRUE(zw_userq_works(&self->user));
	EXPECT_EQ((float)(ADDS * JOBS), sum(&self->runs, &self->a));
}

/* More in HBM than there is memory for: the system stays awake, and nothing is lost. */
TEST_F_TIMEOUT(sleep, refused_without_memory, 240)
{
	struct sysinfo si;
	uint32_t bo;

	if (zw_write_file("/sys/power/pm_test", "devices"))
		SKIP(return, "no pm_test");
	ASSERT_EQ(0, sysinfo(&si));
	bo = zw_bo(self->runs.fd, (uint64_t)si.totalram * si.mem_unit & ~(2 * MIB - 1),
		   DRM_ZHENWU_BO_HBM);
	if (!bo)
		SKIP(return, "less HBM than memory");
	begin(_metadata, self);
	EXPECT_EQ(-ENOMEM, zw_write_file("/sys/power/state", "mem"));
	end(_metadata, self);
	/* Without it, it goes to sleep. */
	ASSERT_EQ(0, zw_bo_close(self->runs.fd, bo));
	EXPECT_EQ(0, zw_write_file("/sys/power/state", "mem"));
	EXPECT_EQ((float)(ADDS * JOBS), sum(&self->runs, &self->a));
}

TEST_HARNESS_MAIN

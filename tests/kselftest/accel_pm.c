// SPDX-License-Identifier: MIT
/*
 * Sleep. Over system sleep nothing is lost and nothing is done twice: jobs that ran and that waited
 * for a semaphore, user-mode queues, contents of HBM. The kernel's pm_test stops on the way down, at
 * several places, and goes back up. With ZW_TEST_SLEEP=1 in the environment the machine really goes
 * to sleep, and the alarm of its clock wakes it up.
 *
 * And the card alone (runtime PM): it sleeps when nobody uses it, and nobody meets it asleep.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "zw_faults.h"
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
	char pci[300];
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

static int power_write(const char *pci, const char *name, const char *text)
{
	char path[400];

	snprintf(path, sizeof(path), "%s/power/%s", pci, name);
	return zw_write_file(path, text);
}

static bool power_is(const char *pci, const char *name, const char *text)
{
	char path[400], buf[64] = "";

	snprintf(path, sizeof(path), "%s/power/%s", pci, name);
	return !zw_read_file(path, buf, sizeof(buf)) && !strncmp(buf, text, strlen(text));
}

/* Until it sleeps; false when that takes too long. */
static bool asleep(const char *pci)
{
	for (int i = 0; i < PATIENT_TRIES; i++) {
		if (power_is(pci, "runtime_status", "suspended"))
			return true;
		usleep(100000);
	}
	return false;
}

FIXTURE_SETUP(sleep)
{
	const char *why = zw_root_open(_metadata, &self->runs, self->pci);

	if (why)
		SKIP(return, "%s", why);
	if (zw_on_9p())
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
	for (uint32_t i = 0; i < JOBS; i++) {
		ASSERT_EQ(0, submit(&self->runs, &self->a, 0, end));
	}

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

/* A card that sleeps already is woken up for it: what is in HBM has to be saved. */
TEST_F_TIMEOUT(sleep, asleep_before, 240)
{
	const char *really = getenv("ZW_TEST_SLEEP");
	float *one = self->a.one.ptr;

	one[5] = 5.0f;
	ASSERT_EQ(0, power_write(self->pci, "control", "auto"));
	EXPECT_TRUE(asleep(self->pci));
	if (really && !strcmp(really, "1")) {
		ASSERT_EQ(0, zw_write_file("/sys/power/mem_sleep", "deep"));
		ASSERT_EQ(0, zw_write_file(ALARM, "0"));
		ASSERT_EQ(0, zw_write_file(ALARM, "+10"));
	} else if (zw_write_file("/sys/power/pm_test", "core")) {
		SKIP(return, "no pm_test");
	}
	EXPECT_EQ(0, zw_write_file("/sys/power/state", "mem"));
	EXPECT_EQ(5.0f, one[5]);
	EXPECT_EQ(1.0f, one[6]);
	EXPECT_TRUE(zw_client_works(&self->runs));
	EXPECT_TRUE(zw_userq_works(&self->user));
	EXPECT_TRUE(asleep(self->pci));
	EXPECT_EQ(0, power_write(self->pci, "control", "on"));
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

/* -- the card alone --------------------------------------------------------------------------- */

FIXTURE(alone)
{
	char pci[300], was[16], delay[32];
	struct zw_client c;
};

FIXTURE_SETUP(alone)
{
	const char *why = zw_root_open(_metadata, &self->c, self->pci);
	char path[400];

	if (why)
		SKIP(return, "%s", why);
	snprintf(path, sizeof(path), "%s/power/control", self->pci);
	ASSERT_EQ(0, zw_read_file(path, self->was, sizeof(self->was)));
	snprintf(path, sizeof(path), "%s/power/autosuspend_delay_ms", self->pci);
	ASSERT_EQ(0, zw_read_file(path, self->delay, sizeof(self->delay)));
	ASSERT_EQ(0, power_write(self->pci, "autosuspend_delay_ms", "300"));
	ASSERT_EQ(0, power_write(self->pci, "control", "auto"));
}

FIXTURE_TEARDOWN(alone)
{
	if (self->was[0])
		power_write(self->pci, "control", self->was);
	if (self->delay[0])
		power_write(self->pci, "autosuspend_delay_ms", self->delay);
	zw_client_close(&self->c);
}

/* It sleeps with clients that do nothing, as long as user space wants it to. */
TEST_F_TIMEOUT(alone, sleeps_when_idle, 240)
{
	char path[400], health[32];

	ASSERT_TRUE(asleep(self->pci));
	snprintf(path, sizeof(path), "%s/health", self->pci);
	ASSERT_EQ(0, zw_read_file(path, health, sizeof(health)));
	EXPECT_EQ(0, strncmp(health, "suspended", 9));
	EXPECT_TRUE(power_is(self->pci, "runtime_status", "suspended"));
	ASSERT_EQ(0, power_write(self->pci, "control", "on"));
	EXPECT_TRUE(power_is(self->pci, "runtime_status", "active"));
	usleep(2000000);
	EXPECT_TRUE(power_is(self->pci, "runtime_status", "active"));
	ASSERT_EQ(0, power_write(self->pci, "control", "auto"));
	EXPECT_TRUE(asleep(self->pci));
}

/* Whatever a client does, it does with a card that is awake. */
TEST_F_TIMEOUT(alone, wakes_up_for_all, 480)
{
	struct drm_zhenwu_dev_counters counters = {0};
	struct drm_zhenwu_dev_query q = {
		.type = DRM_ZHENWU_DEV_QUERY_COUNTERS,
		.size = sizeof(counters),
		.pointer = (uintptr_t)&counters,
	};
	uint32_t resets = zw_reset_count(&self->c), queue;
	struct zw_buf hbm;
	struct zw_userq u;

	ASSERT_TRUE(zw_buf(self->c.fd, self->c.vm, MIB,
			   DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_CPU_VISIBLE, 64 * MIB, &hbm));
	*(volatile uint32_t *)hbm.ptr = 0x5eed;
	ASSERT_TRUE(zw_userq_open(&u, 0));
	ASSERT_TRUE(zw_userq_works(&u));
	for (int i = 0; i < 3; i++) {
		/* A job. */
		ASSERT_TRUE(asleep(self->pci));
		EXPECT_TRUE(zw_client_works(&self->c));
		/* HBM, through a mapping that was there before. */
		ASSERT_TRUE(asleep(self->pci));
		EXPECT_EQ(0x5eed + i, *(volatile uint32_t *)hbm.ptr);
		*(volatile uint32_t *)hbm.ptr = 0x5eed + i + 1;
		/* A doorbell. */
		ASSERT_TRUE(asleep(self->pci));
		EXPECT_TRUE(zw_userq_works(&u));
		/* Registers. */
		ASSERT_TRUE(asleep(self->pci));
		EXPECT_EQ(0, zw_ioctl(self->c.fd, DRM_IOCTL_ZHENWU_DEV_QUERY, &q));
		EXPECT_NE(UINT64_MAX, counters.jobs);
		EXPECT_LT(0, counters.jobs);
		/* The firmware. */
		ASSERT_TRUE(asleep(self->pci));
		queue = zw_queue(self->c.fd, self->c.vm);
		EXPECT_NE(0, queue);
		ASSERT_TRUE(asleep(self->pci));
		EXPECT_EQ(0, zw_queue_destroy(self->c.fd, queue));
		ASSERT_TRUE(asleep(self->pci));
		EXPECT_TRUE(zw_fresh_client_works(1));
	}
	/* A file that is closed, with all that is in it. */
	ASSERT_TRUE(asleep(self->pci));
	zw_userq_close(&u);
	EXPECT_EQ(resets, zw_reset_count(&self->c));
}

/* Work keeps it awake, whoever gave it. */
TEST_F_TIMEOUT(alone, awake_while_it_works, 240)
{
	uint32_t pos = 0;
	struct zw_userq u;

	ASSERT_EQ(0, zw_client_submit_stuck(&self->c));
	usleep(3000000);
	EXPECT_TRUE(power_is(self->pci, "runtime_status", "active"));
	*(volatile uint64_t *)((char *)self->c.cmd.ptr + 61440) = 1;
	EXPECT_EQ(1, zw_fence_status_wait(self->c.fd, self->c.timeline, 1, LONG_WAIT_NS));
	ASSERT_TRUE(asleep(self->pci));

	ASSERT_TRUE(zw_userq_open(&u, 0));
	zw_put_sem(zw_userq_at(&u, 0), &pos, ZW_OP_SEM_WAIT, zw_userq_va(&u, 8192), 1);
	zw_userq_put(&u, zw_userq_va(&u, 0), pos, 0, 0);
	zw_userq_ring(&u);
	/* It may look whether it can sleep ("suspending") as often as it likes. */
	for (int i = 0; i < 15; i++) {
		usleep(200000);
		EXPECT_FALSE(power_is(self->pci, "runtime_status", "suspended"));
	}
	*(volatile uint64_t *)zw_userq_at(&u, 8192) = 1;
	EXPECT_TRUE(zw_userq_poll(&u, 1));
	EXPECT_TRUE(asleep(self->pci));
	zw_userq_close(&u);
}

/* Who reads sensors neither wakes it up nor keeps it awake; who wants samples does. */
TEST_F_TIMEOUT(alone, sensors, 240)
{
	struct drm_zhenwu_telemetry_set set = {.interval_us = 100000};
	char path[600], name[300], value[32];
	FILE *list;

	snprintf(path, sizeof(path), "ls -d %s/hwmon/hwmon*", self->pci);
	list = popen(path, "r");
	ASSERT_NE(NULL, list);
	if (!fgets(name, sizeof(name), list)) {
		pclose(list);
		SKIP(return, "no sensors");
	}
	pclose(list);
	name[strcspn(name, "\n")] = 0;
	snprintf(path, sizeof(path), "%s/temp1_input", name);
	ASSERT_EQ(0, power_write(self->pci, "control", "on"));
	EXPECT_EQ(0, zw_read_file(path, value, sizeof(value)));
	ASSERT_EQ(0, power_write(self->pci, "control", "auto"));
	/* Looked at all the time, it falls asleep, and stays so. */
	for (int i = 0; i < PATIENT_TRIES && !power_is(self->pci, "runtime_status", "suspended");
	     i++) {
		EXPECT_EQ(0, zw_read_file(path, value, sizeof(value)));
		usleep(200000);
	}
	for (int i = 0; i < 10; i++) {
		EXPECT_EQ(0, zw_read_file(path, value, sizeof(value)));
		EXPECT_TRUE(power_is(self->pci, "runtime_status", "suspended"));
		usleep(200000);
	}
	ASSERT_EQ(0, zw_ioctl(self->c.fd, DRM_IOCTL_ZHENWU_TELEMETRY_SET, &set));
	usleep(2000000);
	EXPECT_TRUE(power_is(self->pci, "runtime_status", "active"));
	set.interval_us = 0;
	ASSERT_EQ(0, zw_ioctl(self->c.fd, DRM_IOCTL_ZHENWU_TELEMETRY_SET, &set));
	EXPECT_TRUE(asleep(self->pci));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: MIT
/* Samples of the device: who gets them, what is in them, and what may happen meanwhile. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "zw_kst.h"
#include "zhenwu/zw_fw.h"
#include "zhenwu/zw_regs.h"

#define DRIVER      "/sys/bus/pci/drivers/zhenwu/"
#define COUNTER(r)  (((r) - ZW_REG_PMU) / 8)
#define MAX_SAMPLES 512
/* What the history holds at least. */
#define KEPT 256

typedef struct drm_zhenwu_telemetry_sample sample_t;

struct reader {
	uint64_t seq, lost;
	uint32_t count; /* of the last read */
	sample_t s[MAX_SAMPLES];
};

static int set_interval(int fd, uint32_t us)
{
	struct drm_zhenwu_telemetry_set t = {.interval_us = us};

	return zw_ioctl(fd, DRM_IOCTL_ZHENWU_TELEMETRY_SET, &t);
}

/* Up to max samples from the reader's position on. */
static int read_some(int fd, struct reader *r, uint32_t max, int64_t timeout_ns)
{
	struct drm_zhenwu_telemetry_read t = {
		.samples = {sizeof(sample_t), max, (uintptr_t)r->s},
		.seq = r->seq,
		.timeout_ns = timeout_ns ? zw_deadline(timeout_ns) : 0,
	};
	int ret = zw_ioctl(fd, DRM_IOCTL_ZHENWU_TELEMETRY_READ, &t);

	r->count = ret ? 0 : t.count;
	if (ret)
		return ret;
	r->seq = t.seq;
	r->lost += t.lost;
	return 0;
}

FIXTURE(telemetry)
{
	int fd;
	struct reader r, other;
	char pci[300];
};

FIXTURE_SETUP(telemetry)
{
	self->fd = zw_open();
	if (self->fd < 0)
		SKIP(return, KSFT_SKIP_NO_DEVICE);
	if (geteuid() != 0)
		SKIP(return, "needs root");
	ASSERT_EQ(0, zw_pci_path(self->pci, sizeof(self->pci)));
	memset(&self->r, 0, sizeof(self->r));
	memset(&self->other, 0, sizeof(self->other));
	if (zw_has_host())
		ASSERT_EQ(0, zw_inject("clear"));
}

FIXTURE_TEARDOWN(telemetry)
{
	if (zw_has_host())
		zw_inject("clear");
	close(self->fd);
}

/* Reads until `want` samples came, one after the other. */
static void expect_samples(struct __test_metadata *_metadata, int fd, struct reader *r,
			   uint32_t want)
{
	for (uint32_t got = 0; got < want; got += r->count) {
		uint64_t at = r->seq, lost = r->lost;

		ASSERT_EQ(0, read_some(fd, r, MAX_SAMPLES, LONG_WAIT_NS));
		ASSERT_LT(0, r->count);
		if (at)
			EXPECT_EQ(at + r->count + (r->lost - lost), r->seq);
		EXPECT_EQ(r->seq, r->s[r->count - 1].seq + 1);
		for (uint32_t i = 1; i < r->count; i++) {
			EXPECT_LT(r->s[i - 1].seq, r->s[i].seq);
			EXPECT_LE(r->s[i - 1].time_ns, r->s[i].time_ns);
		}
	}
}

TEST_F(telemetry, values)
{
	struct timespec ts;
	sample_t a, b;
	struct zw_client c;

	ASSERT_EQ(0, set_interval(self->fd, 20000));
	expect_samples(_metadata, self->fd, &self->r, 1);
	a = self->r.s[self->r.count - 1];
	EXPECT_LE(COUNTER(ZW_PMU_CAPPED_PS) + 1, a.num_counters);
	EXPECT_LT(0, a.power_mw);
	EXPECT_LT(0, a.temperature_mc);
	EXPECT_GT(150000, a.temperature_mc);
	EXPECT_LE(a.power_mw, a.cap_mw ?: a.power_mw);
	EXPECT_LT(0, a.device_us);
	for (uint32_t i = a.num_counters; i < DRM_ZHENWU_TELEMETRY_COUNTERS; i++)
		EXPECT_EQ(0, a.counter[i]);
	ASSERT_EQ(0, clock_gettime(CLOCK_MONOTONIC, &ts));
	EXPECT_GE(ts.tv_sec * 1000000000ull + ts.tv_nsec, a.time_ns);

	ASSERT_TRUE(zw_client_open(&c));
	zw_put_fill(c.cmd.ptr, &c.pos, c.cmd.va + 4096, 4096, 1);
	ASSERT_EQ(0, zw_client_run(&c, 0));
	/* One may have been taken before the job. */
	self->r.seq = 0;
	expect_samples(_metadata, self->fd, &self->r, 2);
	b = self->r.s[self->r.count - 1];
	EXPECT_LT(a.device_us, b.device_us);
	EXPECT_LT(a.counter[COUNTER(ZW_PMU_JOBS)], b.counter[COUNTER(ZW_PMU_JOBS)]);
	EXPECT_LE(a.counter[COUNTER(ZW_PMU_SYS_WRITTEN)] + 4096,
		  b.counter[COUNTER(ZW_PMU_SYS_WRITTEN)]);
	EXPECT_LT(a.counter[COUNTER(ZW_PMU_BUSY_PS(ZW_ENGINE_DMA))],
		  b.counter[COUNTER(ZW_PMU_BUSY_PS(ZW_ENGINE_DMA))]);
	EXPECT_LE(a.counter[COUNTER(ZW_PMU_CHIP_ENERGY_UJ)],
		  b.counter[COUNTER(ZW_PMU_CHIP_ENERGY_UJ)]);
	zw_client_close(&c);
}

TEST_F(telemetry, bad_arguments)
{
	static const uint32_t intervals[] = {1, 999, 60000001, UINT32_MAX};
	struct drm_zhenwu_telemetry_set set = {.interval_us = 20000, .flags = 1};
	const struct drm_zhenwu_telemetry_read good = {
		.samples = {sizeof(sample_t), 1, (uintptr_t)self->r.s},
	};
	struct drm_zhenwu_telemetry_read bad[] = {good, good, good, good, good,
						  good, good, good, good, good};

	for (size_t i = 0; i < ARRAY_SIZE(intervals); i++)
		EXPECT_EQ(-EINVAL, set_interval(self->fd, intervals[i]));
	EXPECT_EQ(-EINVAL, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_TELEMETRY_SET, &set));
	ASSERT_EQ(0, set_interval(self->fd, 20000));

	bad[0].flags = 1;
	bad[1].count = 1;
	bad[2].lost = 1;
	bad[3].timeout_ns = -1;
	bad[4].samples.count = 0;
	bad[5].samples.count = DRM_ZHENWU_TELEMETRY_MAX_READ + 1;
	bad[6].samples.stride = sizeof(sample_t) - 8;
	bad[7].samples.stride = sizeof(sample_t) + 4;
	bad[8].samples.stride = 4096 + 8;
	bad[9].seq = UINT64_MAX;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_TELEMETRY_READ, &bad[i]))
		TH_LOG("case %zu", i);
	}
	expect_samples(_metadata, self->fd, &self->r, 2);
	bad[0] = good;
	bad[0].seq = 1;
	bad[0].samples.array = 8;
	EXPECT_EQ(-EFAULT, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_TELEMETRY_READ, &bad[0]));
}

/* A longer element of a newer program: what the kernel does not know of it is zero. */
TEST_F(telemetry, longer_element)
{
	struct {
		sample_t s;
		uint64_t more[2], guard;
	} buf;
	struct drm_zhenwu_telemetry_read t = {
		.samples = {sizeof(sample_t) + 16, 1, (uintptr_t)&buf},
		.timeout_ns = zw_deadline(LONG_WAIT_NS),
	};

	memset(&buf, 0xff, sizeof(buf));
	ASSERT_EQ(0, set_interval(self->fd, 20000));
	ASSERT_EQ(0, zw_ioctl(self->fd, DRM_IOCTL_ZHENWU_TELEMETRY_READ, &t));
	EXPECT_EQ(1, t.count);
	EXPECT_EQ(t.seq, buf.s.seq + 1);
	EXPECT_EQ(0, buf.more[0]);
	EXPECT_EQ(0, buf.more[1]);
	EXPECT_EQ(UINT64_MAX, buf.guard);
}

/* They tell what others do. */
TEST_F(telemetry, unprivileged)
{
	pid_t pid;
	int status;

	ASSERT_EQ(0, set_interval(self->fd, 20000));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (setuid(1000))
			_exit(1);
		if (set_interval(self->fd, 1000) != -EACCES)
			_exit(2);
		if (read_some(self->fd, &self->r, 1, 0) != -EACCES)
			_exit(3);
		/* Not to want any is allowed. */
		_exit(set_interval(self->fd, 0) ? 4 : 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
}

/* Nobody wants samples: nothing comes, nothing hangs, no interrupt. */
TEST_F_TIMEOUT(telemetry, nobody_wants_any, 240)
{
	/* Who read a sensor before may still have some taken. */
	ASSERT_TRUE(zw_quiet(2000));
	EXPECT_EQ(-ENODATA, read_some(self->fd, &self->r, 1, LONG_WAIT_NS));
	ASSERT_EQ(0, set_interval(self->fd, 5000));
	expect_samples(_metadata, self->fd, &self->r, 3);
	ASSERT_EQ(0, set_interval(self->fd, 0));
	/* Those that had come are there. */
	while (!read_some(self->fd, &self->r, MAX_SAMPLES, 0)) {
		ASSERT_LT(0, self->r.count);
	}
	EXPECT_EQ(-ENODATA, read_some(self->fd, &self->r, 1, LONG_WAIT_NS));
	EXPECT_TRUE(zw_quiet(300));
}

/* Of several wishes the shortest counts, until its file is closed. */
TEST_F(telemetry, wishes)
{
	int fd = zw_open();

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, set_interval(self->fd, 60000000));
	ASSERT_EQ(0, read_some(self->fd, &self->r, 1, 50000000));
	EXPECT_EQ(0, self->r.count);
	ASSERT_EQ(0, set_interval(fd, 5000));
	expect_samples(_metadata, self->fd, &self->r, 5);
	close(fd);
	while (!read_some(self->fd, &self->r, MAX_SAMPLES, 0) && self->r.count)
		;
	ASSERT_EQ(0, read_some(self->fd, &self->r, 1, 300000000));
	EXPECT_EQ(0, self->r.count);
	/* It does not want what it has twice, and may change its mind. */
	ASSERT_EQ(0, set_interval(self->fd, 60000000));
	ASSERT_EQ(0, set_interval(self->fd, 5000));
	expect_samples(_metadata, self->fd, &self->r, 5);
}

/* Each reader has its position: what one reads is there for the other, for a while. */
TEST_F(telemetry, slow_reader)
{
	struct reader *quick = &self->r, *slow = &self->other;
	uint64_t first;

	ASSERT_EQ(0, set_interval(self->fd, 1000));
	expect_samples(_metadata, self->fd, quick, 1);
	first = slow->seq = quick->seq;
	/* One at a time, or all at once: the same samples. */
	expect_samples(_metadata, self->fd, quick, 5);
	ASSERT_EQ(0, read_some(self->fd, slow, 1, 0));
	EXPECT_EQ(1, slow->count);
	if (!slow->lost)
		EXPECT_EQ(first, slow->s[0].seq);
	first = slow->seq;

	for (int i = 0; i < 10000 && quick->seq < first + 2 * KEPT; i++) {
		ASSERT_EQ(0, read_some(self->fd, quick, MAX_SAMPLES, LONG_WAIT_NS));
	}
	ASSERT_LE(first + 2 * KEPT, quick->seq);
	ASSERT_EQ(0, read_some(self->fd, slow, MAX_SAMPLES, 0));
	EXPECT_LE(KEPT - 1, slow->lost);
	EXPECT_LE(quick->seq, slow->seq);
	/* Those that were kept, and more that came while they were read. */
	EXPECT_GE(KEPT + (slow->seq - quick->seq), slow->count);
	EXPECT_EQ(slow->seq, first + slow->lost + slow->count);
}

/* Who waits goes on after a reset, with the numbers that follow. */
TEST_F_TIMEOUT(telemetry, reset, 240)
{
	char path[320];
	uint32_t before;
	uint64_t seq;

	snprintf(path, sizeof(path), "%s/reset", self->pci);
	ASSERT_EQ(0, set_interval(self->fd, 10000));
	expect_samples(_metadata, self->fd, &self->r, 2);
	before = self->r.s[self->r.count - 1].reset_count;
	seq = self->r.seq;
	ASSERT_EQ(0, zw_write_file(path, "1"));
	for (int i = 0; i < 1000; i++) {
		ASSERT_EQ(0, read_some(self->fd, &self->r, MAX_SAMPLES, LONG_WAIT_NS));
		if (self->r.count && self->r.s[self->r.count - 1].reset_count != before)
			break;
	}
	EXPECT_EQ(before + 1, self->r.s[self->r.count - 1].reset_count);
	EXPECT_LT(seq, self->r.seq);
	EXPECT_GT(seq + 10000, self->r.seq);
	expect_samples(_metadata, self->fd, &self->r, 3);
}

/* The same when the firmware is lost, with a reader that sleeps. */
TEST_F_TIMEOUT(telemetry, firmware_trap, 400)
{
	uint32_t before;

	if (!zw_has_host())
		SKIP(return, "not in the test VM");
	ASSERT_EQ(0, set_interval(self->fd, 10000));
	expect_samples(_metadata, self->fd, &self->r, 2);
	before = self->r.s[self->r.count - 1].reset_count;
	ASSERT_EQ(0, zw_inject("fw-trap"));
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
	expect_samples(_metadata, self->fd, &self->r, 2);
	self->r.seq = 0;
	expect_samples(_metadata, self->fd, &self->r, 1);
	EXPECT_EQ(before + 1, self->r.s[self->r.count - 1].reset_count);
}

/* Without interrupts samples come late, and come. */
TEST_F_TIMEOUT(telemetry, lost_interrupts, 120)
{
	if (!zw_has_host())
		SKIP(return, "not in the test VM");
	ASSERT_EQ(0, set_interval(self->fd, 50000));
	expect_samples(_metadata, self->fd, &self->r, 2);
	ASSERT_EQ(0, zw_inject("lost-irq=all"));
	expect_samples(_metadata, self->fd, &self->r, 5);
	/* Longer than the device's ring holds. */
	ASSERT_EQ(0, set_interval(self->fd, 1000));
	usleep(500000);
	expect_samples(_metadata, self->fd, &self->r, 1);
	EXPECT_LT(0, self->r.lost);
	ASSERT_EQ(0, zw_inject("clear"));
	expect_samples(_metadata, self->fd, &self->r, 5);
}

/* A device that lies about the number of a sample makes some missing, and nothing else. */
TEST_F_TIMEOUT(telemetry, lies, 240)
{
	static const struct {
		const char *fault;
		uint64_t most; /* samples that are missing for it */
	} lies[] = {
		{"lie-sample=1", 1},
		{"lie-sample=63", 1},
		{"lie-sample=64", 64},                  /* belongs into its slot */
		{"lie-sample=0x100000000", 1},          /* so does this, but not yet */
		{"lie-sample=0x8000000000000000", 1},   /* nor this */
		{"lie-sample=0xffffffffffffffff", 1},   /* one less */
		{"lie-sample=0xffffffffffffffc0", 1},   /* 64 less */
	};

	if (!zw_has_host())
		SKIP(return, "not in the test VM");
	/* Slow enough that none is missing for another reason: a machine may stand still for a while. */
	ASSERT_EQ(0, set_interval(self->fd, 100000));
	expect_samples(_metadata, self->fd, &self->r, 2);
	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		self->r.lost = 0;
		ASSERT_EQ(0, zw_inject(lies[i].fault));
		expect_samples(_metadata, self->fd, &self->r, 6);
		EXPECT_LT(0, self->r.lost) TH_LOG("%s", lies[i].fault);
		EXPECT_GE(lies[i].most + 2, self->r.lost) TH_LOG("%s", lies[i].fault);
	}
	/* A reset wipes the slate. */
	ASSERT_EQ(0, set_interval(self->fd, 10000));
	expect_samples(_metadata, self->fd, &self->r, 3);
}

/* Gone while somebody waits: -ENODEV, at once. */
TEST_F_TIMEOUT(telemetry, unbind, 240)
{
	const char *bdf = strrchr(self->pci, '/') + 1;
	pid_t pid;
	int status;

	ASSERT_EQ(0, set_interval(self->fd, 60000000));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(read_some(self->fd, &self->r, 1, LONG_WAIT_NS) == -ENODEV ? 0 : 1);
	usleep(200000);
	ASSERT_EQ(0, zw_write_file(DRIVER "unbind", bdf));
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
	EXPECT_EQ(-ENODEV, set_interval(self->fd, 1000));
	EXPECT_EQ(-ENODEV, read_some(self->fd, &self->r, 1, 0));
	ASSERT_EQ(0, zw_write_file(DRIVER "bind", bdf));
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

TEST_HARNESS_MAIN

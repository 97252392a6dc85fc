// SPDX-License-Identifier: MIT
/* What can be seen from outside: fdinfo, sensors, sysfs, debugfs, tracepoints. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "zw_kst.h"

#define DRIVER "/sys/bus/pci/drivers/zhenwu/"
#define TRACE  "/sys/kernel/tracing/"
#define MS     1000000ull

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

/* All of a file, however many reads that takes; what does not fit is left out. 0 or -errno. */
static int read_all(const char *path, char *text, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), ret = 0;
	size_t at = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	while (at < len - 1 && (n = read(fd, text + at, len - 1 - at))) {
		if (n < 0) {
			ret = -errno;
			break;
		}
		at += (size_t)n;
	}
	close(fd);
	text[at] = '\0';
	return ret;
}

/* A key of /proc/self/fdinfo, as it is written behind the colon. 0 or -errno. */
static int fdinfo(int fd, const char *key, char *out, size_t len)
{
	char path[64], text[8192], *at, *end;
	size_t n = strlen(key);
	int ret;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	ret = read_all(path, text, sizeof(text));
	if (ret)
		return ret;
	for (at = text; at && *at; at = end ? end + 1 : NULL) {
		end = strchr(at, '\n');
		if (strncmp(at, key, n) || at[n] != ':')
			continue;
		if (end)
			*end = '\0';
		snprintf(out, len, "%s", at + n + 1 + strspn(at + n + 1, " \t"));
		return 0;
	}
	return -ENOENT;
}

/* The same as a number of bytes or nanoseconds; UINT64_MAX when it is not one. */
static uint64_t fdinfo_u64(int fd, const char *key)
{
	char text[64], *unit;
	uint64_t value;

	if (fdinfo(fd, key, text, sizeof(text)))
		return UINT64_MAX;
	value = strtoull(text, &unit, 10);
	if (unit == text)
		return UINT64_MAX;
	if (!strcmp(unit, " KiB"))
		return value << 10;
	if (!strcmp(unit, " MiB"))
		return value << 20;
	return !*unit || !strcmp(unit, " ns") ? value : UINT64_MAX;
}

static uint64_t file_u64(const char *dir, const char *name)
{
	char path[600], text[64], *end;
	uint64_t value;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (zw_read_file(path, text, sizeof(text)))
		return UINT64_MAX;
	value = strtoull(text, &end, 10);
	return end != text && (*end == '\n' || !*end) ? value : UINT64_MAX;
}

/* Without the end of line. */
static const char *file_text(const char *dir, const char *name)
{
	static char text[512];
	char path[600];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (zw_read_file(path, text, sizeof(text)))
		return "";
	text[strcspn(text, "\n")] = '\0';
	return text;
}

FIXTURE(visible)
{
	struct zw_client c;
	char pci[300], hwmon[560];
};

static bool find_hwmon(const char *pci, char *out, size_t len)
{
	char path[320];
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/hwmon", pci);
	dir = opendir(path);
	if (!dir)
		return false;
	*out = '\0';
	while ((e = readdir(dir)))
		if (!strncmp(e->d_name, "hwmon", 5))
			snprintf(out, len, "%s/%.200s", path, e->d_name);
	closedir(dir);
	return *out;
}

FIXTURE_SETUP(visible)
{
	int fd = zw_open();

	if (fd < 0)
		SKIP(return, KSFT_SKIP_NO_DEVICE);
	close(fd);
	ASSERT_EQ(0, zw_pci_path(self->pci, sizeof(self->pci)));
	ASSERT_TRUE(zw_client_open(&self->c));
	self->hwmon[0] = '\0';
	find_hwmon(self->pci, self->hwmon, sizeof(self->hwmon));
}

FIXTURE_TEARDOWN(visible)
{
	zw_client_close(&self->c);
}

/* -- fdinfo ----------------------------------------------------------------------------------- */

TEST_F(visible, fdinfo_identity)
{
	const char *bdf = strrchr(self->pci, '/') + 1;
	int fd = self->c.fd, other = zw_open();
	char text[64];

	ASSERT_LE(0, other);
	ASSERT_EQ(0, fdinfo(fd, "drm-driver", text, sizeof(text)));
	EXPECT_STREQ("zhenwu", text);
	ASSERT_EQ(0, fdinfo(fd, "drm-pdev", text, sizeof(text)));
	EXPECT_STREQ(bdf, text);
	EXPECT_NE(UINT64_MAX, fdinfo_u64(fd, "drm-client-id"));
	EXPECT_NE(fdinfo_u64(other, "drm-client-id"), fdinfo_u64(fd, "drm-client-id"));
	EXPECT_EQ(0, fdinfo_u64(other, "drm-engine-compute"));
	close(other);
}

/* "12", and behind it one of these units. */
static bool number_with(const char *text, const char *const *units)
{
	char *unit;

	strtoull(text, &unit, 10);
	if (unit == text || *text < '0' || *text > '9')
		return false;
	for (; *units; units++)
		if (!strcmp(unit, *units))
			return true;
	return false;
}

/* A line of fdinfo as the kernel's drm-usage-stats.rst has it. */
static bool by_the_rules(const char *key, const char *value)
{
	static const char *const regions[] = {"drm-total-", "drm-shared-", "drm-resident-",
					      "drm-active-", "drm-purgeable-"};
	static const char *const ns[] = {" ns", NULL}, *const none[] = {"", NULL};
	static const char *const sizes[] = {"", " KiB", " MiB", NULL};
	unsigned int a, b, c, d;
	char end;

	if (!strcmp(key, "drm-driver"))
		return !strcmp(value, "zhenwu");
	if (!strcmp(key, "drm-pdev"))
		return sscanf(value, "%4x:%2x:%2x.%1x%c", &a, &b, &c, &d, &end) == 4;
	if (!strcmp(key, "drm-client-id"))
		return number_with(value, none);
	/* Not a capacity, which begins the same. */
	if (!strncmp(key, "drm-engine-", 11))
		return key[11] && strncmp(key + 11, "capacity", 8) && number_with(value, ns);
	for (size_t i = 0; i < ARRAY_SIZE(regions); i++)
		if (!strncmp(key, regions[i], strlen(regions[i])))
			return key[strlen(regions[i])] && number_with(value, sizes);
	/* The driver's own begin with its name; the rest is of every file. */
	if (!strncmp(key, "zhenwu-", 7))
		return number_with(value, strstr(key, "jobs") ? none : ns);
	return !strcmp(key, "pos") || !strcmp(key, "flags") || !strcmp(key, "mnt_id") ||
	       !strcmp(key, "ino");
}

/* Parsers such as IGT's read once, 4 KiB, and go by keys alone. */
TEST_F(visible, fdinfo_rules)
{
	char path[64], text[4096], *keys[64], *save, *line;
	unsigned int n = 0, drm = 0;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", self->c.fd);
	ASSERT_EQ(0, read_all(path, text, sizeof(text)));
	ASSERT_GT(sizeof(text) - 1, strlen(text));
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *colon = strchr(line, ':');

		ASSERT_NE(NULL, colon) TH_LOG("%s", line);
		ASSERT_GT(ARRAY_SIZE(keys), n);
		*colon++ = '\0';
		EXPECT_EQ('\t', *colon) TH_LOG("%s", line);
		EXPECT_TRUE(by_the_rules(line, colon + 1)) TH_LOG("%s:%s", line, colon);
		for (unsigned int i = 0; i < n; i++)
			EXPECT_STRNE(keys[i], line);
		keys[n++] = line;
		drm += !strncmp(line, "drm-", 4);
	}
	/* Driver, device, client, an engine, and five of each of two regions. */
	EXPECT_EQ(14, drm);
}

TEST_F(visible, fdinfo_memory)
{
	static const char *const kinds[] = {"total", "shared", "active", "resident", "purgeable"};
	uint64_t hbm, memory;
	int fd = self->c.fd;
	uint32_t a, b;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		char key[64];

		snprintf(key, sizeof(key), "drm-%s-hbm", kinds[i]);
		EXPECT_NE(UINT64_MAX, fdinfo_u64(fd, key)) TH_LOG("%s", key);
		snprintf(key, sizeof(key), "drm-%s-memory", kinds[i]);
		EXPECT_NE(UINT64_MAX, fdinfo_u64(fd, key)) TH_LOG("%s", key);
	}
	hbm = fdinfo_u64(fd, "drm-total-hbm");
	memory = fdinfo_u64(fd, "drm-total-memory");
	a = zw_bo(fd, 3 * MIB, DRM_ZHENWU_BO_HBM);
	b = zw_bo(fd, 5 * MIB + 4096, DRM_ZHENWU_BO_SYSTEM);
	ASSERT_NE(0, a);
	ASSERT_NE(0, b);
	EXPECT_EQ(hbm + 3 * MIB, fdinfo_u64(fd, "drm-total-hbm"));
	EXPECT_EQ(memory + 5 * MIB + 4096, fdinfo_u64(fd, "drm-total-memory"));
	EXPECT_EQ(hbm + 3 * MIB, fdinfo_u64(fd, "drm-resident-hbm"));
	EXPECT_EQ(0, fdinfo_u64(fd, "drm-active-hbm"));
	EXPECT_EQ(0, fdinfo_u64(fd, "drm-shared-hbm"));
	zw_bo_close(fd, a);
	zw_bo_close(fd, b);
	EXPECT_EQ(hbm, fdinfo_u64(fd, "drm-total-hbm"));
	EXPECT_EQ(memory, fdinfo_u64(fd, "drm-total-memory"));
}

/* A job that waits keeps the queue's turn: time passes, and its memory is in use. */
TEST_F_TIMEOUT(visible, fdinfo_busy, 120)
{
	uint64_t before, begin, ran, after;
	int fd = self->c.fd;

	before = fdinfo_u64(fd, "drm-engine-compute");
	begin = now_ns();
	ASSERT_EQ(0, zw_client_submit_stuck(&self->c));
	for (int i = 0; i < 600 && fdinfo_u64(fd, "drm-engine-compute") == before; i++)
		usleep(10000);
	after = fdinfo_u64(fd, "drm-engine-compute");
	usleep(300000);
	ran = fdinfo_u64(fd, "drm-engine-compute");
	EXPECT_LE(after + 300 * MS, ran);
	EXPECT_GE(before + (now_ns() - begin), ran);
	EXPECT_LE(65536, fdinfo_u64(fd, "drm-active-memory"));
	ASSERT_EQ(0, zw_queue_destroy(fd, self->c.queue));
	after = fdinfo_u64(fd, "drm-engine-compute");
	EXPECT_LE(ran, after);
	usleep(100000);
	/* It stands still, and what the queue had is not lost with it. */
	EXPECT_EQ(after, fdinfo_u64(fd, "drm-engine-compute"));
	EXPECT_EQ(0, fdinfo_u64(fd, "drm-active-memory"));
}

/* Two that are busy all the time have half each: nobody finds more than there was. */
TEST_F_TIMEOUT(visible, fdinfo_shares, 120)
{
	uint64_t a, b, begin, passed;
	struct zw_client other;

	ASSERT_TRUE(zw_client_open(&other));
	ASSERT_EQ(0, zw_client_submit_stuck(&self->c));
	ASSERT_EQ(0, zw_client_submit_stuck(&other));
	for (int i = 0; i < 600 && !fdinfo_u64(other.fd, "drm-engine-compute"); i++)
		usleep(10000);
	begin = now_ns();
	a = fdinfo_u64(self->c.fd, "drm-engine-compute");
	b = fdinfo_u64(other.fd, "drm-engine-compute");
	usleep(500000);
	a = fdinfo_u64(self->c.fd, "drm-engine-compute") - a;
	b = fdinfo_u64(other.fd, "drm-engine-compute") - b;
	passed = now_ns() - begin;
	EXPECT_GE(passed, a + b);
	EXPECT_LE(240 * MS, a);
	EXPECT_LE(240 * MS, b);
	zw_client_close(&other);
}

/* The device's own time is what the result record of the job says. */
TEST_F(visible, fdinfo_device_time)
{
	struct zw_job_result *r = (void *)((char *)self->c.cmd.ptr + 8192);
	uint64_t ns, jobs, ps;
	int fd = self->c.fd;

	ns = fdinfo_u64(fd, "zhenwu-device-compute");
	jobs = fdinfo_u64(fd, "zhenwu-jobs");
	zw_put_fill(self->c.cmd.ptr, &self->c.pos, self->c.cmd.va + 16384, 16384, 7);
	ASSERT_EQ(0, zw_client_submit(&self->c, 0, self->c.cmd.va + 8192));
	ASSERT_EQ(0, zw_wait(fd, self->c.timeline, self->c.point, zw_deadline(LONG_WAIT_NS)));
	ps = r->end_ps - r->start_ps;
	EXPECT_LT(0, ps);
	EXPECT_EQ(ns + ps / 1000, fdinfo_u64(fd, "zhenwu-device-compute"));
	EXPECT_EQ(jobs + 1, fdinfo_u64(fd, "zhenwu-jobs"));
}

/* -- sensors ---------------------------------------------------------------------------------- */

static bool sensors_ok(const char *dir)
{
	uint64_t mc = file_u64(dir, "temp1_input"), uw = file_u64(dir, "power1_average");

	return mc > 0 && mc < 150000 && uw > 0 && uw < 5000000000ull &&
	       file_u64(dir, "energy1_input") != UINT64_MAX;
}

TEST_F(visible, hwmon)
{
	struct stat st;
	char path[600];

	ASSERT_TRUE(self->hwmon[0]);
	EXPECT_STREQ("zhenwu", file_text(self->hwmon, "name"));
	EXPECT_STREQ("chip", file_text(self->hwmon, "temp1_label"));
	EXPECT_STREQ("card", file_text(self->hwmon, "power1_label"));
	EXPECT_TRUE(sensors_ok(self->hwmon));
	EXPECT_LE(file_u64(self->hwmon, "power1_average"), file_u64(self->hwmon, "power1_cap"));
	/* What the device does not measure is not there. */
	snprintf(path, sizeof(path), "%s/in0_input", self->hwmon);
	EXPECT_EQ(-1, stat(path, &st));
	snprintf(path, sizeof(path), "%s/freq1_input", self->hwmon);
	EXPECT_EQ(-1, stat(path, &st));
	snprintf(path, sizeof(path), "%s/power1_cap", self->hwmon);
	ASSERT_EQ(0, stat(path, &st));
	EXPECT_EQ(0444, st.st_mode & 0777);
}

/* Samples are taken for who reads, and end when nobody does. */
TEST_F_TIMEOUT(visible, hwmon_quiet, 240)
{
	ASSERT_TRUE(self->hwmon[0]);
	ASSERT_TRUE(sensors_ok(self->hwmon));
	EXPECT_TRUE(zw_quiet(2000));
	EXPECT_TRUE(sensors_ok(self->hwmon));
}

/* Energy goes on after a reset; who reads meanwhile gets a value or -ENODATA. */
TEST_F_TIMEOUT(visible, hwmon_reset, 240)
{
	uint64_t before;
	char path[320];
	bool ok = false;
	int status;
	pid_t pid;

	if (geteuid() != 0)
		SKIP(return, "needs root");
	ASSERT_TRUE(self->hwmon[0]);
	zw_put_fill(self->c.cmd.ptr, &self->c.pos, self->c.cmd.va + 16384, 16384, 7);
	for (int i = 0; i < 50; i++) {
		ASSERT_EQ(0, zw_client_run(&self->c, 0));
	}
	ASSERT_TRUE(sensors_ok(self->hwmon));
	usleep(1200000);
	before = file_u64(self->hwmon, "energy1_input");
	ASSERT_NE(UINT64_MAX, before);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		char text[64];

		snprintf(path, sizeof(path), "%.260s/temp1_input", self->hwmon);
		for (int i = 0; i < 40; i++) {
			int ret = zw_read_file(path, text, sizeof(text));

			if (ret && ret != -ENODATA)
				_exit(1);
			usleep(50000);
		}
		_exit(0);
	}
	snprintf(path, sizeof(path), "%s/reset", self->pci);
	ASSERT_EQ(0, zw_write_file(path, "1"));
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
	for (int i = 0; i < PATIENT_TRIES && !ok; i++) {
		ok = sensors_ok(self->hwmon);
		if (!ok)
			usleep(100000);
	}
	EXPECT_TRUE(ok);
	/* Less than before the reset, and on top of it. */
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
	for (int i = 0; i < PATIENT_TRIES && file_u64(self->hwmon, "energy1_input") <= before; i++)
		usleep(100000);
	EXPECT_LT(before, file_u64(self->hwmon, "energy1_input"));
}

/* The driver goes while somebody reads. */
TEST_F_TIMEOUT(visible, hwmon_unbind, 240)
{
	const char *bdf = strrchr(self->pci, '/') + 1;
	int status;
	pid_t pid;

	if (geteuid() != 0)
		SKIP(return, "needs root");
	ASSERT_TRUE(self->hwmon[0]);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		for (int i = 0; i < 2000; i++)
			sensors_ok(self->hwmon);
		_exit(0);
	}
	usleep(200000);
	ASSERT_EQ(0, zw_write_file(DRIVER "unbind", bdf));
	EXPECT_FALSE(find_hwmon(self->pci, self->hwmon, sizeof(self->hwmon)));
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status));
	ASSERT_EQ(0, zw_write_file(DRIVER "bind", bdf));
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
	ASSERT_TRUE(find_hwmon(self->pci, self->hwmon, sizeof(self->hwmon)));
	EXPECT_TRUE(sensors_ok(self->hwmon));
}

/* -- sysfs ------------------------------------------------------------------------------------ */

TEST_F(visible, sysfs)
{
	struct drm_zhenwu_dev_info info;
	char text[64], uuid[40];
	drmVersionPtr version;
	uint64_t used;
	size_t n = 0;
	uint32_t bo;

	ASSERT_EQ(0, zw_info(self->c.fd, &info));
	EXPECT_EQ(info.hbm_size, file_u64(self->pci, "hbm_total"));
	used = file_u64(self->pci, "hbm_used");
	bo = zw_bo(self->c.fd, 4 * MIB, DRM_ZHENWU_BO_HBM);
	ASSERT_NE(0, bo);
	EXPECT_EQ(used + 4 * MIB, file_u64(self->pci, "hbm_used"));
	EXPECT_STREQ("ok", file_text(self->pci, "health"));
	EXPECT_EQ(info.num_links, file_u64(self->pci, "num_links"));
	snprintf(text, sizeof(text), "%u.%u", info.abi_version >> 16, info.abi_version & 0xffff);
	EXPECT_STREQ(text, file_text(self->pci, "abi_version"));
	for (int i = 0; i < 16; i++)
		n += (size_t)snprintf(uuid + n, sizeof(uuid) - n, "%s%02x",
				      i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
				      info.uuid[i]);
	EXPECT_STREQ(uuid, file_text(self->pci, "uuid"));
	version = drmGetVersion(self->c.fd);
	ASSERT_NE(NULL, version);
	snprintf(text, sizeof(text), "%d.%d", version->version_major, version->version_minor);
	EXPECT_STREQ(text, file_text(self->pci, "driver_version"));
	drmFreeVersion(version);
}

TEST_F_TIMEOUT(visible, sysfs_busy_time, 120)
{
	uint64_t before = file_u64(self->pci, "busy_time_us"), begin, ran = 0;

	ASSERT_NE(UINT64_MAX, before);
	usleep(50000);
	EXPECT_EQ(before, file_u64(self->pci, "busy_time_us"));
	begin = now_ns();
	ASSERT_EQ(0, zw_client_submit_stuck(&self->c));
	for (int i = 0; i < PATIENT_TRIES; i++) {
		ran = file_u64(self->pci, "busy_time_us");
		if (before + 200000 <= ran)
			break;
		usleep(100000);
	}
	EXPECT_LE(before + 200000, ran);
	EXPECT_GE(before + (now_ns() - begin) / 1000 + 1, ran);
}

/* -- debugfs, tracepoints --------------------------------------------------------------------- */

TEST_F(visible, debugfs_gpuvas)
{
	const char *bdf = strrchr(self->pci, '/') + 1;
	char path[400], *text = malloc(1 << 20);
	char va[32];

	ASSERT_NE(NULL, text);
	snprintf(path, sizeof(path), "/sys/kernel/debug/accel/%s/gpuvas", bdf);
	if (access(path, R_OK))
		SKIP(return, "no debugfs");
	ASSERT_EQ(0, read_all(path, text, 1 << 20));
	snprintf(va, sizeof(va), "0x%016llx", (unsigned long long)self->c.cmd.va);
	EXPECT_NE(NULL, strstr(text, va));
	free(text);
}

static bool trace_has(const char *text, const char *event, const char *what)
{
	char name[64];

	snprintf(name, sizeof(name), " %s: ", event);
	for (const char *at = text; (at = strstr(at, name)); at++) {
		const char *end = strchr(at, '\n'), *found = strstr(at, what);

		if (found && (!end || found < end))
			return true;
	}
	return false;
}

TEST_F_TIMEOUT(visible, tracepoints, 240)
{
	const char *bdf = strrchr(self->pci, '/') + 1;
	char what[128], path[320], *text;
	struct zw_buf b;
	int fd;

	if (access(TRACE "events/zhenwu", F_OK))
		SKIP(return, "no tracefs, or a kernel without tracepoints");
	if (geteuid() != 0)
		SKIP(return, "needs root");
	text = malloc(4 << 20);
	ASSERT_NE(NULL, text);
	/* To open it for writing anew empties it. */
	fd = open(TRACE "trace", O_WRONLY | O_TRUNC | O_CLOEXEC);
	ASSERT_LE(0, fd);
	close(fd);
	ASSERT_EQ(0, zw_write_file(TRACE "events/zhenwu/enable", "1"));

	ASSERT_TRUE(zw_buf(self->c.fd, self->c.vm, 4096, DRM_ZHENWU_BO_SYSTEM, 0x7000000, &b));
	zw_put_fill(self->c.cmd.ptr, &self->c.pos, b.va, 4096, 7);
	ASSERT_EQ(0, zw_client_run(&self->c, 0));
	/* One that faults. */
	self->c.pos = 0;
	zw_put_fill(self->c.cmd.ptr, &self->c.pos, 0x123450000, 4096, 7);
	zw_client_run(&self->c, 0);
	snprintf(path, sizeof(path), "%s/reset", self->pci);
	ASSERT_EQ(0, zw_write_file(path, "1"));
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
	ASSERT_EQ(0, zw_write_file(TRACE "events/zhenwu/enable", "0"));
	ASSERT_EQ(0, read_all(TRACE "trace", text, 4 << 20));

	snprintf(what, sizeof(what), "dev=%s", bdf);
	EXPECT_TRUE(trace_has(text, "zhenwu_irq", what));
	EXPECT_TRUE(trace_has(text, "zhenwu_ipc", "ret=0"));
	EXPECT_TRUE(trace_has(text, "zhenwu_bind", "va=0x7000000 size=0x1000 "));
	EXPECT_TRUE(trace_has(text, "zhenwu_job_run", "jobs=1-1 "));
	EXPECT_TRUE(trace_has(text, "zhenwu_job_done", "job=1 status=0 "));
	EXPECT_TRUE(trace_has(text, "zhenwu_job_done", "job=2 status=2 "));
	EXPECT_TRUE(trace_has(text, "zhenwu_fault", "va=0x123450000"));
	EXPECT_TRUE(trace_has(text, "zhenwu_state", "from=live to=flr"));
	EXPECT_TRUE(trace_has(text, "zhenwu_state", "from=flr to=live"));
	free(text);
}

TEST_HARNESS_MAIN

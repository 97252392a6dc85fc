// SPDX-License-Identifier: MIT
/* Records of single packets: of whom, what they add up to, and what may happen meanwhile. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "zw_kst.h"
#include "zw_userq.h"

#define DRIVER      "/sys/bus/pci/drivers/zhenwu/"
#define MAX_RECORDS 65536
#define RESULT_AT   49152 /* in the command buffer's memory of a client */

typedef struct drm_zhenwu_perf_record record_t;

/* What was read of a file's stream so far. */
struct reader {
	int fd;
	uint64_t lost;
	uint32_t n, last; /* last: that came with the last read */
	record_t *r;
};

static int perf_open(int fd, uint32_t records)
{
	struct drm_zhenwu_perf_open o = {.records = records};

	return zw_ioctl(fd, DRM_IOCTL_ZHENWU_PERF_OPEN, &o);
}

static int read_some(struct reader *r, uint32_t max, uint32_t flags, int64_t timeout_ns)
{
	struct drm_zhenwu_perf_read p = {
		.records = {sizeof(record_t), max, (uintptr_t)(r->r + r->n)},
		.timeout_ns = timeout_ns ? zw_deadline(timeout_ns) : 0,
		.flags = flags,
	};
	int ret = zw_ioctl(r->fd, DRM_IOCTL_ZHENWU_PERF_READ, &p);

	r->last = ret ? 0 : p.count;
	r->n += r->last;
	if (!ret)
		r->lost = p.lost;
	return ret;
}

/* All there is, and with SETTLE all there can be. */
static int read_all(struct reader *r)
{
	int ret;

	do {
		ret = read_some(r, MAX_RECORDS - r->n, DRM_ZHENWU_PERF_READ_SETTLE, 0);
	} while (!ret && r->last);
	return ret;
}

static uint32_t perf_queue(int fd, uint32_t vm)
{
	struct drm_zhenwu_queue_create c = {
		.vm_id = vm,
		.priority = DRM_ZHENWU_QUEUE_PRIORITY_NORMAL,
		.flags = DRM_ZHENWU_QUEUE_PERF,
	};

	return zw_ioctl(fd, DRM_IOCTL_ZHENWU_QUEUE_CREATE, &c) ? 0 : c.queue_id;
}

static int query_perf(int fd, uint32_t queue, struct drm_zhenwu_queue_perf *p)
{
	struct drm_zhenwu_dev_query q = {.type = DRM_ZHENWU_DEV_QUERY_PERF,
					 .size = sizeof(*p),
					 .pointer = (uintptr_t)p,
					 .object_id = queue};

	memset(p, 0, sizeof(*p));
	return zw_ioctl(fd, DRM_IOCTL_ZHENWU_DEV_QUERY, &q);
}

/* A client whose queue is recorded. */
static bool perf_client(struct zw_client *c, uint32_t records)
{
	if (!zw_client_open(c) || perf_open(c->fd, records) || zw_queue_destroy(c->fd, c->queue))
		return false;
	c->queue = perf_queue(c->fd, c->vm);
	return c->queue;
}

/* A job of `packets` fills. 0 or -errno. */
static int run(struct zw_client *c, uint32_t packets)
{
	int ret;

	c->pos = 0;
	for (uint32_t i = 0; i < packets; i++) {
		struct zw_pkt *p = (void *)((char *)c->cmd.ptr + c->pos);

		zw_put_fill(c->cmd.ptr, &c->pos, c->cmd.va + 53248, 4096, i);
		p->tag = 0x100 + i;
	}
	ret = zw_client_submit(c, 0, c->cmd.va + RESULT_AT);
	return ret ? ret : zw_wait(c->fd, c->timeline, c->point, LONG_WAIT_NS);
}

static uint32_t count(const struct reader *r, uint32_t queue, uint32_t kind)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->n; i++)
		n += r->r[i].queue == queue && r->r[i].kind == kind;
	return n;
}

FIXTURE(perf)
{
	struct zw_client c;
	struct reader r;
	char pci[300];
};

FIXTURE_SETUP(perf)
{
	int fd = zw_open();

	if (fd < 0)
		SKIP(return, KSFT_SKIP_NO_DEVICE);
	close(fd);
	ASSERT_EQ(0, zw_pci_path(self->pci, sizeof(self->pci)));
	if (zw_has_host())
		ASSERT_EQ(0, zw_inject("clear"));
	ASSERT_TRUE(perf_client(&self->c, 0));
	self->r = (struct reader){.fd = self->c.fd, .r = calloc(MAX_RECORDS, sizeof(record_t))};
	ASSERT_NE(NULL, self->r.r);
}

FIXTURE_TEARDOWN(perf)
{
	if (zw_has_host())
		zw_inject("clear");
	free(self->r.r);
	zw_client_close(&self->c);
}

/* Every job: handed over, begun, its packets by number, ended, seen; they add up to its result. */
TEST_F(perf, sums)
{
	const volatile struct zw_job_result *res;
	uint64_t busy[8] = {0}, packets = 0, energy = 0, hbm = 0, sys = 0, jobs = 0, begun = 0;
	uint64_t submits = 0, dones = 0, last_ns = 0, energy_before = 0;
	uint32_t index = 0, q = self->c.queue;
	struct drm_zhenwu_queue_perf sums;
	uint64_t energies[20];
	struct timespec ts;

	res = (const void *)((char *)self->c.cmd.ptr + RESULT_AT);
	for (uint32_t i = 0; i < 20; i++) {
		ASSERT_EQ(0, run(&self->c, 1 + i));
		EXPECT_EQ(i + 1, res->seqno);
		energies[i] = res->energy_pj;
	}
	ASSERT_EQ(0, read_all(&self->r));
	EXPECT_EQ(0, self->r.lost);
	ASSERT_EQ(0, clock_gettime(CLOCK_MONOTONIC, &ts));
	for (uint32_t i = 0; i < self->r.n; i++) {
		const record_t *p = &self->r.r[i];

		EXPECT_EQ(q, p->queue);
		switch (p->kind) {
		case DRM_ZHENWU_PERF_SUBMIT:
			EXPECT_EQ(++submits, p->job);
			EXPECT_LE(last_ns, p->host_ns);
			last_ns = p->host_ns;
			break;
		case DRM_ZHENWU_PERF_DONE:
			EXPECT_EQ(++dones, p->job);
			EXPECT_LE(last_ns, p->host_ns);
			last_ns = p->host_ns;
			break;
		case DRM_ZHENWU_PERF_BEGIN:
			EXPECT_EQ(++begun, p->job);
			EXPECT_EQ(ZW_ENGINE_CP, p->engine);
			busy[p->engine] += p->end_ps - p->start_ps;
			index = 0;
			break;
		case DRM_ZHENWU_PERF_PACKET:
			EXPECT_EQ(jobs + 1, p->job);
			EXPECT_EQ(index, p->index);
			EXPECT_EQ(0x100 + index, p->tag);
			EXPECT_EQ(ZW_OP_FILL, p->opcode);
			EXPECT_EQ(ZW_ENGINE_DMA, p->engine);
			EXPECT_EQ(4096, p->sys_bytes);
			EXPECT_LT(0, p->port[2].end_ps);
			index++;
			packets++;
			busy[p->engine] += p->end_ps - p->start_ps;
			energy += p->energy_pj;
			hbm += p->hbm_bytes;
			sys += p->sys_bytes;
			break;
		case DRM_ZHENWU_PERF_JOB:
			EXPECT_EQ(++jobs, p->job);
			EXPECT_EQ(jobs, index);
			EXPECT_EQ(energies[jobs - 1], energy - energy_before);
			energy_before = energy;
			break;
		default:
			ASSERT_TRUE(false) TH_LOG("kind %u", p->kind);
		}
	}
	EXPECT_EQ(20, submits);
	EXPECT_EQ(20, dones);
	EXPECT_EQ(20, begun);
	EXPECT_EQ(20, jobs);
	EXPECT_EQ(210, packets);
	EXPECT_GE(ts.tv_sec * 1000000000ull + ts.tv_nsec, last_ns);

	/* The counters of the queue are the same sums. */
	ASSERT_EQ(0, query_perf(self->c.fd, q, &sums));
	EXPECT_EQ(20, sums.job);
	EXPECT_EQ(packets, sums.packets);
	for (int i = 0; i < 8; i++)
		EXPECT_EQ(busy[i], sums.busy_ps[i]);
	EXPECT_EQ(energy, sums.energy_pj);
	EXPECT_EQ(hbm, sums.hbm_bytes);
	EXPECT_EQ(sys, sums.sys_bytes);
}

/* What others do is not there, nor what is not recorded; a queue may be gone before its records come. */
TEST_F(perf, isolation)
{
	struct reader theirs = {.r = calloc(1024, sizeof(record_t))};
	struct zw_client other, silent;
	struct drm_zhenwu_queue_perf sums;
	uint32_t second;

	ASSERT_NE(NULL, theirs.r);
	ASSERT_TRUE(perf_client(&other, 0));
	ASSERT_TRUE(zw_client_open(&silent));
	theirs.fd = other.fd;
	for (int i = 0; i < 5; i++) {
		ASSERT_EQ(0, run(&self->c, 3));
		ASSERT_EQ(0, run(&other, 7));
		ASSERT_EQ(0, run(&silent, 5));
	}
	/* While idle queues hold them up: their own comes, once all is said. */
	ASSERT_EQ(0, zw_queue_destroy(self->c.fd, self->c.queue));
	second = perf_queue(self->c.fd, self->c.vm);
	ASSERT_NE(0, second);
	self->c.queue = second;
	ASSERT_EQ(0, run(&self->c, 2));
	ASSERT_EQ(0, read_all(&self->r));
	ASSERT_EQ(0, read_some(&theirs, 1024, 0, 0));
	EXPECT_EQ(0, self->r.lost);
	EXPECT_EQ(0, theirs.lost);
	EXPECT_EQ(5 * 3 + 2, count(&self->r, second, DRM_ZHENWU_PERF_PACKET) +
				     (second == self->r.r[0].queue ? 0 :
				      count(&self->r, self->r.r[0].queue, DRM_ZHENWU_PERF_PACKET)));
	EXPECT_EQ(5 * (3 + 4) + 2 + 4, self->r.n);
	EXPECT_EQ(5 * (7 + 4), theirs.n);
	EXPECT_EQ(5 * 7, count(&theirs, other.queue, DRM_ZHENWU_PERF_PACKET));

	/* Not made for it, another's, none. */
	EXPECT_EQ(-EINVAL, query_perf(silent.fd, silent.queue, &sums));
	EXPECT_EQ(-ENOENT, query_perf(self->c.fd, 12345, &sums));
	EXPECT_EQ(-EINVAL, query_perf(zw_client_works(&silent) ? silent.fd : -1, silent.queue, &sums));
	EXPECT_EQ(0, perf_queue(silent.fd, silent.vm));
	EXPECT_EQ(EINVAL, errno);
	free(theirs.r);
	zw_client_close(&other);
	zw_client_close(&silent);
}

/* Nobody needs a privilege for what is his own. */
TEST_F(perf, unprivileged)
{
	struct zw_client c;
	pid_t pid;
	int status;

	if (geteuid() != 0)
		SKIP(return, "needs root");
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (!perf_client(&c, 0) || setuid(1000) || run(&c, 2))
			_exit(1);
		self->r.fd = c.fd;
		_exit(read_all(&self->r) || self->r.n != 6 ? 2 : 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
}

TEST_F(perf, bad_arguments)
{
	const struct drm_zhenwu_perf_read good = {
		.records = {sizeof(record_t), 1, (uintptr_t)self->r.r},
	};
	struct drm_zhenwu_perf_read bad[] = {good, good, good, good, good,
					     good, good, good, good};
	struct drm_zhenwu_perf_open open = {.flags = 1};
	struct drm_zhenwu_perf_read p = good;
	int fd = zw_open();

	ASSERT_LE(0, fd);
	bad[0].flags = 2;
	bad[1].count = 1;
	bad[2].lost = 1;
	bad[3].timeout_ns = -1;
	bad[4].records.count = 0;
	bad[5].records.count = DRM_ZHENWU_PERF_MAX_RECORDS + 1;
	bad[6].records.stride = sizeof(record_t) - 8;
	bad[7].records.stride = sizeof(record_t) + 4;
	bad[8].records.stride = 4096 + 8;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, zw_ioctl(self->c.fd, DRM_IOCTL_ZHENWU_PERF_READ, &bad[i]))
		TH_LOG("case %zu", i);
	}
	/* One stream of a file, and none to begin with. */
	EXPECT_EQ(-EEXIST, perf_open(self->c.fd, 0));
	EXPECT_EQ(-EINVAL, zw_ioctl(fd, DRM_IOCTL_ZHENWU_PERF_READ, &p));
	EXPECT_EQ(-EINVAL, zw_ioctl(fd, DRM_IOCTL_ZHENWU_PERF_OPEN, &open));
	EXPECT_EQ(-EINVAL, perf_open(fd, DRM_ZHENWU_PERF_MIN_RECORDS - 1));
	EXPECT_EQ(-EINVAL, perf_open(fd, DRM_ZHENWU_PERF_MAX_RECORDS + 1));
	EXPECT_EQ(0, perf_open(fd, DRM_ZHENWU_PERF_MIN_RECORDS));
	close(fd);

	/* What could not be handed over is still there. */
	ASSERT_EQ(0, run(&self->c, 3));
	p = good;
	p.records.array = 8;
	EXPECT_EQ(-EFAULT, zw_ioctl(self->c.fd, DRM_IOCTL_ZHENWU_PERF_READ, &p));
	ASSERT_EQ(0, read_all(&self->r));
	EXPECT_EQ(3 + 4, self->r.n);
}

/* A longer element of a newer program: what the kernel does not know of it is zero. */
TEST_F(perf, longer_element)
{
	struct {
		record_t r;
		uint64_t more[2], guard;
	} buf;
	struct drm_zhenwu_perf_read p = {
		.records = {sizeof(record_t) + 16, 1, (uintptr_t)&buf},
		.timeout_ns = zw_deadline(LONG_WAIT_NS),
	};

	memset(&buf, 0xff, sizeof(buf));
	ASSERT_EQ(0, run(&self->c, 1));
	ASSERT_EQ(0, zw_ioctl(self->c.fd, DRM_IOCTL_ZHENWU_PERF_READ, &p));
	EXPECT_EQ(1, p.count);
	EXPECT_EQ(DRM_ZHENWU_PERF_SUBMIT, buf.r.kind);
	EXPECT_EQ(0, buf.more[0]);
	EXPECT_EQ(0, buf.more[1]);
	EXPECT_EQ(UINT64_MAX, buf.guard);
}

/* A reader who sleeps is woken; one who does not read loses the latest, is told, and goes on. */
TEST_F(perf, slow_reader)
{
	struct reader small = {.r = calloc(4096, sizeof(record_t))};
	struct drm_zhenwu_queue_perf sums;
	struct zw_client c;
	uint64_t all;
	pid_t pid;
	int status;

	ASSERT_NE(NULL, small.r);
	ASSERT_EQ(0, read_some(&self->r, 1, 0, 1000000));
	EXPECT_EQ(0, self->r.last);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(read_some(&self->r, 1, 0, LONG_WAIT_NS) || self->r.last != 1);
	usleep(100000);
	ASSERT_EQ(0, run(&self->c, 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));

	ASSERT_TRUE(perf_client(&c, DRM_ZHENWU_PERF_MIN_RECORDS));
	small.fd = c.fd;
	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(0, run(&c, 96));
	}
	all = 20 * (96 + 4);
	ASSERT_EQ(0, read_some(&small, 4096, DRM_ZHENWU_PERF_READ_SETTLE, 0));
	EXPECT_EQ(DRM_ZHENWU_PERF_MIN_RECORDS, small.n);
	EXPECT_EQ(all - DRM_ZHENWU_PERF_MIN_RECORDS, small.lost);
	/* Sums are not concerned. */
	ASSERT_EQ(0, query_perf(c.fd, c.queue, &sums));
	EXPECT_EQ(20, sums.job);
	EXPECT_EQ(20 * 96, sums.packets);
	ASSERT_EQ(0, run(&c, 3));
	ASSERT_EQ(0, read_some(&small, 4096, DRM_ZHENWU_PERF_READ_SETTLE, 0));
	EXPECT_EQ(DRM_ZHENWU_PERF_MIN_RECORDS + 3 + 4, small.n);
	EXPECT_EQ(all - DRM_ZHENWU_PERF_MIN_RECORDS, small.lost);
	free(small.r);
	zw_client_close(&c);
}

/* More than the device's ring holds, all at once: nothing is missing. */
TEST_F(perf, many)
{
	const uint32_t jobs = 20, packets = 400;
	struct zw_client idle;

	/* It keeps everything from being final until it is not waited for. */
	ASSERT_TRUE(zw_client_open(&idle));
	for (uint32_t i = 0; i < jobs; i++) {
		ASSERT_EQ(0, run(&self->c, packets));
	}
	EXPECT_EQ(0, count(&self->r, self->c.queue, DRM_ZHENWU_PERF_JOB));
	ASSERT_EQ(0, read_all(&self->r));
	EXPECT_EQ(0, self->r.lost);
	EXPECT_EQ(jobs * packets, count(&self->r, self->c.queue, DRM_ZHENWU_PERF_PACKET));
	EXPECT_EQ(jobs, count(&self->r, self->c.queue, DRM_ZHENWU_PERF_JOB));
	zw_client_close(&idle);
}

/* A user-mode queue, which nobody but the device sees at work. */
TEST_F(perf, user_queue)
{
	struct drm_zhenwu_queue_create args;
	struct reader r = {.r = self->r.r};
	struct zw_userq u;

	ASSERT_TRUE(zw_userq_open(&u, 8));
	r.fd = u.fd;
	ASSERT_EQ(0, perf_open(u.fd, 0));
	ASSERT_EQ(0, zw_queue_destroy(u.fd, u.queue));
	ASSERT_EQ(0, munmap((void *)u.bell, 4096));
	u.bell = NULL;
	memset(u.mem.ptr, 0, UQ_DATA);
	args = zw_userq_args(u.vm, 8);
	args.flags = DRM_ZHENWU_QUEUE_PERF;
	ASSERT_EQ(0, zw_ioctl(u.fd, DRM_IOCTL_ZHENWU_QUEUE_CREATE, &args));
	u.queue = args.queue_id;
	u.seq = 0;
	u.bell = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, u.fd, args.doorbell_offset);
	ASSERT_NE(MAP_FAILED, (void *)u.bell);
	ASSERT_TRUE(zw_userq_works(&u));
	ASSERT_EQ(0, read_all(&r));
	EXPECT_EQ(1, count(&r, u.queue, DRM_ZHENWU_PERF_BEGIN));
	EXPECT_LE(1, count(&r, u.queue, DRM_ZHENWU_PERF_PACKET));
	EXPECT_EQ(1, count(&r, u.queue, DRM_ZHENWU_PERF_JOB));
	EXPECT_EQ(0, count(&r, u.queue, DRM_ZHENWU_PERF_SUBMIT));
	zw_userq_close(&u);
}

/* The card does not sleep while somebody wants records, which come when they are ready. */
TEST_F_TIMEOUT(perf, keeps_awake, 120)
{
	char control[340], delay[340], status[340], text[32] = "";

	if (geteuid() != 0)
		SKIP(return, "needs root");
	snprintf(control, sizeof(control), "%s/power/control", self->pci);
	snprintf(delay, sizeof(delay), "%s/power/autosuspend_delay_ms", self->pci);
	snprintf(status, sizeof(status), "%s/power/runtime_status", self->pci);
	ASSERT_EQ(0, zw_write_file(delay, "100"));
	ASSERT_EQ(0, zw_write_file(control, "auto"));
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, run(&self->c, 2));
		sleep(1);
		EXPECT_EQ(0, zw_read_file(status, text, sizeof(text)));
		EXPECT_EQ(0, strncmp(text, "active", 6)) TH_LOG("%s", text);
	}
	ASSERT_EQ(0, read_all(&self->r));
	EXPECT_EQ(3 * 6, self->r.n);
	zw_client_close(&self->c);
	self->c.cmd.ptr = NULL;
	for (int i = 0; i < PATIENT_TRIES && strncmp(text, "suspended", 9); i++) {
		usleep(100000);
		EXPECT_EQ(0, zw_read_file(status, text, sizeof(text)));
	}
	EXPECT_EQ(0, strncmp(text, "suspended", 9)) TH_LOG("%s", text);
	ASSERT_EQ(0, zw_write_file(control, "on"));
	ASSERT_EQ(0, zw_write_file(delay, "2000"));
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

/* Records go on after a reset; what was not final then is missing, and nothing hangs. */
TEST_F_TIMEOUT(perf, reset, 240)
{
	struct zw_client idle;
	char path[320];

	snprintf(path, sizeof(path), "%s/reset", self->pci);
	ASSERT_TRUE(zw_client_open(&idle));
	ASSERT_EQ(0, run(&self->c, 2));
	ASSERT_EQ(0, read_all(&self->r));
	EXPECT_EQ(6, self->r.n);
	ASSERT_EQ(0, run(&self->c, 2));
	ASSERT_EQ(0, zw_write_file(path, "1"));
	zw_client_close(&idle);
	ASSERT_EQ(0, read_all(&self->r));
	EXPECT_GE(12, self->r.n);
	self->r.n = 0;
	/* The VM was lost with HBM: a new client, and this file's stream with a new VM. */
	ASSERT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
	ASSERT_EQ(0, zw_queue_destroy(self->c.fd, self->c.queue));
	self->c.vm = zw_vm(self->c.fd);
	ASSERT_NE(0, self->c.vm);
	self->c.queue = perf_queue(self->c.fd, self->c.vm);
	ASSERT_NE(0, self->c.queue);
	ASSERT_EQ(0, zw_bind(self->c.fd, self->c.vm, self->c.cmd.bo, 0, self->c.cmd.va,
			     self->c.cmd.size, 0));
	ASSERT_EQ(0, run(&self->c, 4));
	ASSERT_EQ(0, read_all(&self->r));
	EXPECT_EQ(4, count(&self->r, self->c.queue, DRM_ZHENWU_PERF_PACKET));
	EXPECT_EQ(1, count(&self->r, self->c.queue, DRM_ZHENWU_PERF_JOB));
	EXPECT_EQ(0, self->r.lost);
}

/* The same when the firmware is lost. */
TEST_F_TIMEOUT(perf, firmware_trap, 400)
{
	struct zw_client c;

	if (!zw_has_host())
		SKIP(return, "not in the test VM");
	ASSERT_EQ(0, run(&self->c, 2));
	ASSERT_EQ(0, zw_inject("fw-trap"));
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
	ASSERT_TRUE(perf_client(&c, 0));
	self->r.fd = c.fd;
	ASSERT_EQ(0, run(&c, 3));
	ASSERT_EQ(0, read_all(&self->r));
	EXPECT_EQ(7, self->r.n);
	zw_client_close(&c);
}

/* Without interrupts records come late, and come. */
TEST_F_TIMEOUT(perf, lost_interrupts, 120)
{
	if (!zw_has_host())
		SKIP(return, "not in the test VM");
	ASSERT_EQ(0, zw_inject("lost-irq=all"));
	ASSERT_EQ(0, run(&self->c, 3));
	while (self->r.n < 7) {
		ASSERT_EQ(0, read_some(&self->r, 16, 0, LONG_WAIT_NS));
		ASSERT_LT(0, self->r.last);
	}
	ASSERT_EQ(0, zw_inject("clear"));
}

/* A device that lies about number or owner of a record makes some missing, and nothing else. */
TEST_F_TIMEOUT(perf, lies, 240)
{
	static const struct {
		const char *fault;
		uint64_t lost;
	} lies[] = {
		{"lie-record=1", 1},
		{"lie-record=1024", 1}, /* belongs into its slot */
		{"lie-record=0x8000000000000000", 1},
		{"lie-record=0xffffffffffffffff", 1}, /* one less */
		{"lie-owner=0", 0},
		{"lie-owner=0xffffffff", 0},
	};
	struct zw_client other;
	struct reader theirs = {.r = calloc(64, sizeof(record_t))};

	if (!zw_has_host())
		SKIP(return, "not in the test VM");
	ASSERT_NE(NULL, theirs.r);
	ASSERT_TRUE(perf_client(&other, 0));
	theirs.fd = other.fd;
	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		uint64_t lost = self->r.lost;

		ASSERT_EQ(0, zw_inject(lies[i].fault));
		ASSERT_EQ(0, run(&self->c, 3));
		ASSERT_EQ(0, read_all(&self->r));
		EXPECT_EQ(6, self->r.n) TH_LOG("%s", lies[i].fault);
		EXPECT_EQ(lies[i].lost, self->r.lost - lost) TH_LOG("%s", lies[i].fault);
		self->r.n = 0;
		ASSERT_EQ(0, run(&self->c, 3));
		ASSERT_EQ(0, read_all(&self->r));
		EXPECT_EQ(7, self->r.n) TH_LOG("%s", lies[i].fault);
		self->r.n = 0;
	}
	ASSERT_EQ(0, read_some(&theirs, 64, 0, 0));
	EXPECT_EQ(0, theirs.n);
	free(theirs.r);
	zw_client_close(&other);
}

/* Gone while somebody waits: -ENODEV, soon. */
TEST_F_TIMEOUT(perf, unbind, 240)
{
	const char *bdf = strrchr(self->pci, '/') + 1;
	pid_t pid;
	int status;

	if (geteuid() != 0)
		SKIP(return, "needs root");
	ASSERT_EQ(0, run(&self->c, 1));
	ASSERT_EQ(0, read_all(&self->r));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(read_some(&self->r, 1, 0, LONG_WAIT_NS) == -ENODEV ? 0 : 1);
	usleep(200000);
	ASSERT_EQ(0, zw_write_file(DRIVER "unbind", bdf));
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
	EXPECT_EQ(-ENODEV, read_some(&self->r, 1, 0, 0));
	ASSERT_EQ(0, zw_write_file(DRIVER "bind", bdf));
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: MIT
/*
 * The device fails: it cannot reach memory, its interrupts are lost, it is not there any more.
 * Provoked through its configuration space, which needs root. Each test leaves the driver bound and
 * working.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "zw_faults.h"

#define DRIVER      "/sys/bus/pci/drivers/zhenwu/"
#define PCI_COMMAND 0x04
#define CMD_MEMORY  0x0002
#define CMD_MASTER  0x0004
#define CAP_LIST    0x34
#define CAP_MSIX    0x11
#define MSIX_MASK   0x4000

#define S 1000000000ll

FIXTURE(reset)
{
	struct zw_client c, other;
	char pci[300], config[320];
	const char *bdf;
};

/* 16 bits of configuration space. */
static int config_rw(const char *path, long offset, uint16_t *val, bool wr)
{
	int fd = open(path, (wr ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = wr ? pwrite(fd, val, 2, offset) : pread(fd, val, 2, offset);
	close(fd);
	return n == 2 ? 0 : -EIO;
}

static int config_change(const char *path, long offset, uint16_t clear, uint16_t set)
{
	uint16_t val = 0;
	int ret = config_rw(path, offset, &val, false);

	if (ret)
		return ret;
	val = (val & ~clear) | set;
	return config_rw(path, offset, &val, true);
}

/* Offset of the control word of the MSI-X capability; 0 when there is none. */
static long msix_control(const char *path)
{
	uint16_t at = 0, cap = 0;

	if (config_rw(path, CAP_LIST, &at, false))
		return 0;
	for (at &= 0xfc; at; at = cap >> 8 & 0xfc) {
		if (config_rw(path, at, &cap, false))
			return 0;
		if ((cap & 0xff) == CAP_MSIX)
			return at + 2;
	}
	return 0;
}

FIXTURE_SETUP(reset)
{
	const char *why = zw_root_open(_metadata, &self->c, self->pci);

	if (why)
		SKIP(return, "%s", why);
	ASSERT_TRUE(zw_client_open(&self->other));
	self->bdf = strrchr(self->pci, '/') + 1;
	snprintf(self->config, sizeof(self->config), "%s/config", self->pci);
}

FIXTURE_TEARDOWN(reset)
{
	zw_client_close(&self->other);
	zw_client_close(&self->c);
}

/*
 * The firmware cannot answer any more. Whoever asks it notices at once, not when a message has been
 * without an answer for long; the device is reset, and clients go on with new queues.
 */
TEST_F_TIMEOUT(reset, bus_mastering_switched_off, 240)
{
	struct zw_client *c = &self->c, *o = &self->other;
	uint32_t count = zw_reset_count(c), q;
	struct drm_zhenwu_queue_get_state st;
	int64_t start;

	ASSERT_EQ(0, zw_client_submit_stuck(o));
	ASSERT_EQ(0, config_change(self->config, PCI_COMMAND, CMD_MASTER, 0));
	start = zw_deadline(0);
	/* Needs the firmware; the old one does not answer, the new one does. */
	q = zw_queue(c->fd, c->vm);
	EXPECT_NE(0, q);
	EXPECT_GT(60 * S, zw_deadline(0) - start);
	EXPECT_LT(count, zw_reset_count(c));
	EXPECT_EQ(-ECANCELED, zw_fence_status_wait(o->fd, o->timeline, 1, LONG_WAIT_NS));
	/* Nobody did anything wrong. */
	ASSERT_EQ(0, zw_queue_state(o->fd, o->queue, &st));
	EXPECT_EQ(DRM_ZHENWU_QUEUE_STATE_INNOCENT, st.state);
	ASSERT_EQ(0, zw_queue_state(c->fd, c->queue, &st));
	EXPECT_EQ(DRM_ZHENWU_QUEUE_STATE_INNOCENT, st.state);
	EXPECT_EQ(-ECANCELED, zw_submit(c->fd, c->queue, 0, 0, 0, 0, 0));
	/* The VM and what is in it are as they were. */
	c->queue = q;
	EXPECT_TRUE(zw_client_works(c));
	ASSERT_EQ(0, zw_queue_destroy(o->fd, o->queue));
	o->queue = zw_queue(o->fd, o->vm);
	EXPECT_TRUE(zw_client_works(o));
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

/* The same when nobody asks: the progress check of a running job sees it. */
TEST_F_TIMEOUT(reset, bus_mastering_switched_off_unasked, 240)
{
	struct zw_client *o = &self->other;

	ASSERT_EQ(0, zw_client_submit_stuck(o));
	ASSERT_EQ(0, config_change(self->config, PCI_COMMAND, CMD_MASTER, 0));
	EXPECT_EQ(-ECANCELED, zw_fence_status_wait(o->fd, o->timeline, 1, LONG_WAIT_NS));
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

/* A queue that hung before the reset was not innocent. */
TEST_F_TIMEOUT(reset, failed_queue_is_not_innocent, 240)
{
	struct zw_client *c = &self->c, *o = &self->other;
	struct drm_zhenwu_queue_get_state st;

	zw_put_fill(c->cmd.ptr, &c->pos, 0x123456789000, 4, 1);
	ASSERT_EQ(0, zw_client_run(c, 0));
	ASSERT_EQ(0, zw_client_submit_stuck(o));
	ASSERT_EQ(0, config_change(self->config, PCI_COMMAND, CMD_MASTER, 0));
	EXPECT_EQ(-ECANCELED, zw_fence_status_wait(o->fd, o->timeline, 1, LONG_WAIT_NS));
	ASSERT_EQ(0, zw_queue_state(c->fd, c->queue, &st));
	EXPECT_EQ(DRM_ZHENWU_QUEUE_STATE_FAILED, st.state);
	ASSERT_EQ(0, zw_queue_state(o->fd, o->queue, &st));
	EXPECT_EQ(DRM_ZHENWU_QUEUE_STATE_INNOCENT, st.state);
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

/* A client that is killed while the device is dead is gone at once. */
TEST_F_TIMEOUT(reset, killed_while_the_device_is_dead, 240)
{
	int ready[2], status;
	int64_t start;
	char ch;
	pid_t pid;

	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct zw_client c;

		if (!zw_client_open(&c) || zw_client_submit_stuck(&c) ||
		    write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	ASSERT_EQ(1, read(ready[0], &ch, 1));
	ASSERT_EQ(0, config_change(self->config, PCI_COMMAND, CMD_MASTER, 0));
	start = zw_deadline(0);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_GT(400000000ll, zw_deadline(0) - start);
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

static void *destroy_thread(void *arg)
{
	struct zw_client *c = arg;

	return (void *)(intptr_t)zw_queue_destroy(c->fd, c->queue);
}

/* Completions come without interrupts too, only later. */
TEST_F_TIMEOUT(reset, lost_interrupts, 240)
{
	struct zw_client *c = &self->c;
	long msix = msix_control(self->config);
	uint32_t count = zw_reset_count(c);

	ASSERT_NE(0, msix);
	ASSERT_EQ(0, config_change(self->config, msix, 0, MSIX_MASK));
	for (int i = 0; i < 3; i++) {
		EXPECT_TRUE(zw_client_works(c)) TH_LOG("round %d", i);
	}
	/* Messages as well. */
	EXPECT_NE(0, zw_queue(c->fd, c->vm));
	ASSERT_EQ(0, config_change(self->config, msix, MSIX_MASK, 0));
	EXPECT_EQ(count, zw_reset_count(c));
	EXPECT_TRUE(zw_client_works(c));
}

static sigjmp_buf on_fault;

static void fault_handler(int sig)
{
	siglongjmp(on_fault, sig);
}

/* Writes to a mapping. Returns the signal that came of it, or 0. */
static int touch(volatile uint32_t *p)
{
	struct sigaction sa = {.sa_handler = fault_handler}, old;
	int sig;

	sigaction(SIGBUS, &sa, &old);
	sig = sigsetjmp(on_fault, 1);
	if (!sig)
		*p = 2;
	sigaction(SIGBUS, &old, NULL);
	return sig;
}

/* The device is not there any more and no reset brings it back: nothing works and nothing hangs. */
TEST_F_TIMEOUT(reset, lost_device, 240)
{
	struct zw_client *c = &self->c, *o = &self->other;
	struct drm_zhenwu_dev_info info;
	struct zw_buf hbm;
	pthread_t t;
	void *ret;

	ASSERT_TRUE(zw_buf(c->fd, c->vm, MIB, DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_CPU_VISIBLE,
			   64 * MIB, &hbm));
	ASSERT_EQ(0, touch(hbm.ptr));
	ASSERT_EQ(0, zw_client_submit_stuck(o));
	ASSERT_EQ(0, config_change(self->config, PCI_COMMAND, CMD_MEMORY, 0));
	ASSERT_EQ(0, pthread_create(&t, NULL, destroy_thread, c));
	EXPECT_EQ(-ECANCELED, zw_fence_status_wait(o->fd, o->timeline, 1, LONG_WAIT_NS));
	ASSERT_EQ(0, pthread_join(t, &ret));
	/* Whoever was inside gets out, everybody else is refused. */
	for (int i = 0; i < 600 && zw_info(c->fd, &info) != -ENODEV; i++)
		usleep(100000);
	EXPECT_EQ(-ENODEV, zw_info(c->fd, &info));
	EXPECT_EQ(0, zw_vm(c->fd));
	EXPECT_EQ(0, zw_queue(c->fd, c->vm));
	EXPECT_EQ(-ENODEV, zw_submit(c->fd, c->queue, 0, 0, 0, 0, 0));
	/* The mapping does not lead to where the memory was; it is taken away a moment later. */
	for (int i = 0; i < PATIENT_TRIES && touch(hbm.ptr) != SIGBUS; i++)
		usleep(100000);
	EXPECT_EQ(SIGBUS, touch(hbm.ptr));
	zw_client_close(o);
	ASSERT_EQ(0, zw_write_file(DRIVER "unbind", self->bdf));
	ASSERT_EQ(0, config_change(self->config, PCI_COMMAND, 0, CMD_MEMORY));
	ASSERT_EQ(0, zw_write_file(DRIVER "bind", self->bdf));
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
	EXPECT_EQ(-ENODEV, zw_info(c->fd, &info));
}

/* Function level resets against faults on the aperture: no page stays where nothing is. */
static void touch_on_and_on(const struct zw_buf *b)
{
	uintptr_t n = 0;

	/* Each round makes new faults: the pages are given back in between. */
	for (;;) {
		uint32_t v = *(volatile uint32_t *)((char *)b->ptr + n++ % 256 * 4096);

		(void)v;
		if (n % 256 == 0)
			madvise(b->ptr, b->size, MADV_DONTNEED);
	}
}

TEST_F_TIMEOUT(reset, flr_while_the_aperture_is_touched, 240)
{
	char path[320];
	int status;
	pid_t pid;

	snprintf(path, sizeof(path), "%s/reset", self->pci);
	for (int i = 0; i < 5; i++) {
		struct zw_client victim;
		struct drm_zhenwu_vm_get_state st;

		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			struct zw_client v;
			struct zw_buf hbm;

			if (!zw_client_open(&v) ||
			    !zw_buf(v.fd, v.vm, MIB, DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_CPU_VISIBLE,
				    64 * MIB, &hbm))
				_exit(1);
			/* Ends with SIGBUS during the reset, or goes on with zeroes after it. */
			alarm(5);
			touch_on_and_on(&hbm);
		}
		usleep(300000);
		ASSERT_TRUE(zw_client_open(&victim));
		ASSERT_EQ(0, zw_write_file(path, "1"));
		st = (struct drm_zhenwu_vm_get_state){.vm_id = victim.vm};
		ASSERT_EQ(0, zw_ioctl(victim.fd, DRM_IOCTL_ZHENWU_VM_GET_STATE, &st));
		EXPECT_EQ(DRM_ZHENWU_VM_STATE_UNUSABLE, st.state);
		EXPECT_EQ(-ECANCELED,
			  zw_bind(victim.fd, victim.vm, victim.cmd.bo, 0, 256 * MIB, 4096, 0));
		EXPECT_EQ(0, zw_queue(victim.fd, victim.vm));
		zw_client_close(&victim);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status)) TH_LOG("status 0x%x", status);
		EXPECT_TRUE(WTERMSIG(status) == SIGBUS || WTERMSIG(status) == SIGALRM);
		EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES)) TH_LOG("round %d", i);
	}
}

TEST_HARNESS_MAIN

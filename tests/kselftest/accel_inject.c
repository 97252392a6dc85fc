// SPDX-License-Identifier: MIT
/*
 * What the driver makes of each fault that the device model can be made to have
 * (Documentation/device/faults.md). The test VM's host injects them; elsewhere these tests are
 * skipped. Each leaves the driver bound and working.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "zw_faults.h"

#define DRIVER    "/sys/bus/pci/drivers/zhenwu/"
/* In debugfs, before how much it is. */
#define SCRUB     "to be scrubbed "
/* Tells its buffer from all others. */
#define DATA_SIZE 94208

FIXTURE(inject)
{
	struct zw_client c, other;
	struct zw_buf data; /* DATA_SIZE bytes of the first client at 64 MiB */
	char pci[300];
	const char *bdf;
};

FIXTURE_SETUP(inject)
{
	const char *why = zw_faults_open(_metadata, &self->c, &self->other, self->pci);

	if (why)
		SKIP(return, "%s", why);
	ASSERT_TRUE(zw_buf(self->c.fd, self->c.vm, DATA_SIZE, DRM_ZHENWU_BO_SYSTEM, 64 * MIB,
			   &self->data));
	self->bdf = strrchr(self->pci, '/') + 1;
}

FIXTURE_TEARDOWN(inject)
{
	zw_faults_close(&self->c, &self->other);
}

/* One job that fills 4 bytes at va. */
static int submit_fill(struct zw_client *c, uint64_t va)
{
	uint32_t from = c->pos;

	zw_put_fill(c->cmd.ptr, &c->pos, va, 4, 0xf111);
	return zw_client_submit(c, from, 0);
}

static struct drm_zhenwu_queue_get_state state(struct zw_client *c)
{
	struct drm_zhenwu_queue_get_state st = {0};

	zw_queue_state(c->fd, c->queue, &st);
	return st;
}

/*
 * The queue that hangs is ended, and the one that waited behind it gets its turn. Which is which is
 * the firmware's choice when it sees both doorbells at once.
 */
TEST_F_TIMEOUT(inject, engine_hang, 400)
{
	struct zw_client *c = &self->c, *o = &self->other, *hung, *well;
	uint32_t count = zw_reset_count(c);

	ASSERT_EQ(0, zw_inject("hang"));
	ASSERT_EQ(0, submit_fill(c, self->data.va));
	ASSERT_EQ(0, submit_fill(o, o->cmd.va + 32768));
	hung = zw_client_outcome(c) == -ETIME ? c : o;
	well = hung == c ? o : c;
	EXPECT_EQ(-ETIME, zw_client_outcome(hung));
	EXPECT_EQ(1, zw_client_outcome(well));
	EXPECT_TRUE(state(hung).state & DRM_ZHENWU_QUEUE_STATE_TIMEDOUT);
	EXPECT_EQ(0, state(well).state);
	EXPECT_EQ(count, zw_reset_count(c));
	EXPECT_EQ(hung == c, *(uint32_t *)self->data.ptr == 0);
	EXPECT_TRUE(zw_client_works(well));
	EXPECT_TRUE(zw_client_goes_on(hung));
}

/* The firmware is lost, with jobs in flight: a device reset brings it back. Nobody is to blame. */
static void firmware_lost(struct __test_metadata *_metadata, struct zw_client *c,
			  struct zw_client *o, const char *fault)
{
	uint32_t count = zw_reset_count(c);

	ASSERT_EQ(0, zw_client_submit_stuck(o));
	ASSERT_EQ(0, zw_inject(fault));
	EXPECT_EQ(-ECANCELED, zw_client_outcome(o));
	EXPECT_EQ(DRM_ZHENWU_QUEUE_STATE_INNOCENT, state(o).state);
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
	EXPECT_EQ(DRM_ZHENWU_QUEUE_STATE_INNOCENT, state(c).state);
	EXPECT_EQ(count + 1, zw_reset_count(c));
	EXPECT_TRUE(zw_client_goes_on(c));
	EXPECT_TRUE(zw_client_goes_on(o));
}

TEST_F_TIMEOUT(inject, firmware_trap, 400)
{
	firmware_lost(_metadata, &self->c, &self->other, "fw-trap");
}

TEST_F_TIMEOUT(inject, firmware_silence, 400)
{
	firmware_lost(_metadata, &self->c, &self->other, "fw-silence");
}

/* Who asks the firmware for something notices as well, and gets it after the reset. */
TEST_F_TIMEOUT(inject, firmware_silence_while_asked, 400)
{
	struct zw_client *c = &self->c;
	uint32_t count = zw_reset_count(c), q;

	ASSERT_EQ(0, zw_inject("fw-silence"));
	q = zw_queue(c->fd, c->vm);
	EXPECT_NE(0, q);
	EXPECT_EQ(count + 1, zw_reset_count(c));
	zw_queue_destroy(c->fd, q);
	EXPECT_TRUE(zw_client_goes_on(c));
}

TEST_F_TIMEOUT(inject, lost_interrupts, 400)
{
	struct zw_client *c = &self->c;
	uint32_t count = zw_reset_count(c), q;
	unsigned long before;

	before = zw_interrupts();
	EXPECT_TRUE(zw_client_works(c));
	EXPECT_LT(before, zw_interrupts());
	ASSERT_EQ(0, zw_inject("lost-irq=all"));
	/* One that is on its way arrives. */
	usleep(100000);
	before = zw_interrupts();
	EXPECT_TRUE(zw_client_works(c));
	EXPECT_TRUE(zw_client_works(c));
	q = zw_queue(c->fd, c->vm);
	EXPECT_NE(0, q);
	EXPECT_EQ(0, zw_queue_destroy(c->fd, q));
	EXPECT_EQ(before, zw_interrupts());
	ASSERT_EQ(0, zw_inject("clear"));
	EXPECT_TRUE(zw_client_works(c));
	EXPECT_LT(before, zw_interrupts());
	EXPECT_EQ(count, zw_reset_count(c));
	EXPECT_EQ(0, state(c).state);
}

TEST_F_TIMEOUT(inject, dma_fault_of_a_job, 400)
{
	struct zw_client *c = &self->c, *o = &self->other;
	struct drm_zhenwu_queue_get_state st;
	uint32_t count = zw_reset_count(c);
	uint64_t addr;
	char text[64];

	addr = zw_bo_address(DATA_SIZE);
	ASSERT_NE(0, addr);
	snprintf(text, sizeof(text), "dma-fault=1,%#llx,4096", (unsigned long long)addr);
	ASSERT_EQ(0, zw_inject(text));
	EXPECT_TRUE(zw_client_works(o));
	ASSERT_EQ(0, submit_fill(c, self->data.va + 64));
	EXPECT_EQ(-EIO, zw_client_outcome(c));
	st = state(c);
	EXPECT_TRUE(st.state & DRM_ZHENWU_QUEUE_STATE_FAILED);
	EXPECT_EQ(ZW_JOB_FAULT, st.status);
	EXPECT_EQ(ZW_FAULT_DMA, st.reason);
	EXPECT_EQ(self->data.va + 64, st.fault_va);
	EXPECT_EQ(ZW_ACCESS_WRITE, st.fault_access);
	EXPECT_TRUE(zw_client_works(o));
	EXPECT_TRUE(zw_client_goes_on(c));
	/* It was the one time. */
	ASSERT_EQ(0, submit_fill(c, self->data.va + 64));
	EXPECT_EQ(1, zw_client_outcome(c));
	EXPECT_EQ(count, zw_reset_count(c));
}

/* The firmware cannot read the tail: the queue stops, and its job does not wait for ever. */
TEST_F_TIMEOUT(inject, dma_fault_of_the_firmware, 400)
{
	struct zw_client *c = &self->c;

	ASSERT_EQ(0, zw_inject("dma-fault"));
	ASSERT_EQ(0, submit_fill(c, self->data.va));
	EXPECT_GT(0, zw_client_outcome(c));
	EXPECT_NE(0, state(c).state);
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
	EXPECT_TRUE(zw_client_goes_on(c));
}

TEST_F_TIMEOUT(inject, uncorrectable_error, 400)
{
	struct zw_client *c = &self->c, *o = &self->other;
	struct drm_zhenwu_queue_get_state st;
	uint32_t count = zw_reset_count(c);
	uint64_t addr;
	struct zw_buf hbm;
	char text[64];

	ASSERT_TRUE(zw_buf(c->fd, c->vm, 2 * DATA_SIZE, DRM_ZHENWU_BO_HBM, 128 * MIB, &hbm));
	addr = zw_bo_address(2 * DATA_SIZE);
	ASSERT_NE(0, addr);
	snprintf(text, sizeof(text), "ecc-uncorrected=%#llx", (unsigned long long)addr + 8192);
	ASSERT_EQ(0, zw_inject(text));
	/* beside it */
	ASSERT_EQ(0, submit_fill(c, hbm.va + 4096));
	EXPECT_EQ(1, zw_client_outcome(c));
	ASSERT_EQ(0, submit_fill(c, hbm.va + 8192 + 64));
	EXPECT_EQ(-EIO, zw_client_outcome(c));
	st = state(c);
	EXPECT_TRUE(st.state & DRM_ZHENWU_QUEUE_STATE_FAILED);
	EXPECT_EQ(ZW_JOB_ECC, st.status);
	EXPECT_EQ(ZW_FAULT_ECC, st.reason);
	EXPECT_EQ(hbm.va + 8192, st.fault_va);
	EXPECT_TRUE(zw_client_works(o));
	EXPECT_TRUE(zw_client_goes_on(c));
	EXPECT_EQ(count, zw_reset_count(c));
}

/* Counter of the PCI function's directory "ras". */
static uint64_t ras(const char *pci, const char *name)
{
	char path[400], text[64] = "";

	snprintf(path, sizeof(path), "%s/ras/%s", pci, name);
	if (zw_read_file(path, text, sizeof(text)))
		return UINT64_MAX;
	return strtoull(text, NULL, 10);
}

/* What it says when it gets there, or after a while. */
static uint64_t ras_wait(const char *pci, const char *name, uint64_t value)
{
	for (int i = 0; i < 600 && ras(pci, name) != value; i++)
		usleep(100000);
	return ras(pci, name);
}

/* How many pages failed, once those of tests before are retired. */
static uint64_t settled(const char *pci)
{
	return ras_wait(pci, "retired_pages", ras(pci, "failed_pages"));
}

static int inject_at(const char *fault, uint64_t addr)
{
	char text[64];

	snprintf(text, sizeof(text), "%s=%#llx", fault, (unsigned long long)addr);
	return zw_inject(text);
}

static uint32_t bo_flags(int fd, uint32_t bo)
{
	struct drm_zhenwu_bo_query_info q = {.handle = bo};

	return zw_ioctl(fd, DRM_IOCTL_ZHENWU_BO_QUERY_INFO, &q) ? 0 : q.flags;
}

/* Until all that was freed can be had again. */
static bool all_scrubbed(const char *bdf)
{
	char path[320], text[256];

	snprintf(path, sizeof(path), "/sys/kernel/debug/accel/%s/hbm", bdf);
	for (int i = 0; i < 600; i++) {
		char *at = zw_read_file(path, text, sizeof(text)) ? NULL : strstr(text, SCRUB);

		if (at && !strcmp(at, SCRUB "0"))
			return true;
		usleep(100000);
	}
	return false;
}

/* A corrected one is counted, and nobody's business. */
TEST_F_TIMEOUT(inject, corrected_error, 400)
{
	uint64_t before = zw_counter("ecc-corrected"), seen = ras(self->pci, "corrected");
	uint64_t failed = ras(self->pci, "failed_pages");

	ASSERT_NE(UINT64_MAX, before);
	ASSERT_NE(UINT64_MAX, seen);
	ASSERT_EQ(0, zw_inject("ecc-corrected=0x1000"));
	ASSERT_EQ(0, zw_inject("ecc-corrected=0x2000"));
	ASSERT_EQ(0, zw_inject("ecc-corrected=0x1fff"));
	EXPECT_EQ(before + 3, zw_counter("ecc-corrected"));
	EXPECT_EQ(seen + 3, ras_wait(self->pci, "corrected", seen + 3));
	EXPECT_EQ(failed, ras(self->pci, "failed_pages"));
	EXPECT_TRUE(zw_client_works(&self->c));
	EXPECT_EQ(0, state(&self->c).state);
}

/* The same page is had again and again, until it fails. */
TEST_F_TIMEOUT(inject, uncorrectable_error_in_a_free_page, 400)
{
	uint64_t retired = settled(self->pci), failed = retired;
	uint64_t seen = ras(self->pci, "uncorrectable"), page;
	struct zw_client *c = &self->c;
	uint32_t bo[64];

	ASSERT_NE(UINT64_MAX, retired);
	ASSERT_TRUE(all_scrubbed(self->bdf));
	bo[0] = zw_bo(c->fd, 4096, DRM_ZHENWU_BO_HBM);
	page = zw_bo_address(4096);
	ASSERT_NE(0, page);
	ASSERT_EQ(0, zw_bo_close(c->fd, bo[0]));
	ASSERT_TRUE(all_scrubbed(self->bdf));
	bo[0] = zw_bo(c->fd, 4096, DRM_ZHENWU_BO_HBM);
	ASSERT_EQ(page, zw_bo_address(4096));
	ASSERT_EQ(0, zw_bo_close(c->fd, bo[0]));
	ASSERT_TRUE(all_scrubbed(self->bdf));

	ASSERT_EQ(0, inject_at("ecc-uncorrected", page + 8));
	EXPECT_EQ(retired + 1, ras_wait(self->pci, "retired_pages", retired + 1));
	EXPECT_EQ(failed + 1, ras(self->pci, "failed_pages"));
	EXPECT_EQ(seen + 1, ras(self->pci, "uncorrectable"));
	for (int i = 0; i < 64; i++) {
		bo[i] = zw_bo(c->fd, 4096, DRM_ZHENWU_BO_HBM);
		ASSERT_NE(0, bo[i]);
		EXPECT_NE(page, zw_bo_address(4096));
		EXPECT_EQ(DRM_ZHENWU_BO_HBM, bo_flags(c->fd, bo[i]));
	}
	for (int i = 0; i < 64; i++)
		EXPECT_EQ(0, zw_bo_close(c->fd, bo[i]));
	/* once is enough */
	ASSERT_EQ(0, inject_at("ecc-uncorrected", page));
	EXPECT_EQ(seen + 2, ras_wait(self->pci, "uncorrectable", seen + 2));
	EXPECT_EQ(retired + 1, ras(self->pci, "retired_pages"));
	EXPECT_EQ(failed + 1, ras(self->pci, "failed_pages"));
	EXPECT_TRUE(zw_client_works(c));
}

/* In use it is retired by who gives it back; until then the buffer says so. */
TEST_F_TIMEOUT(inject, uncorrectable_error_in_a_buffer, 400)
{
	uint64_t retired = settled(self->pci), failed = retired, addr;
	struct zw_client *c = &self->c, *o = &self->other;
	const uint64_t size = 8192;
	struct zw_buf hbm;
	uint32_t bo;

	ASSERT_NE(UINT64_MAX, retired);
	ASSERT_TRUE(zw_buf(c->fd, c->vm, size, DRM_ZHENWU_BO_HBM, 128 * MIB, &hbm));
	addr = zw_bo_address(size);
	ASSERT_NE(0, addr);
	EXPECT_EQ(DRM_ZHENWU_BO_HBM, bo_flags(c->fd, hbm.bo));
	ASSERT_EQ(0, inject_at("ecc-uncorrected", addr + 4096));
	EXPECT_EQ(failed + 1, ras_wait(self->pci, "failed_pages", failed + 1));
	EXPECT_EQ(retired, ras(self->pci, "retired_pages"));
	EXPECT_EQ(DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_FAILED, bo_flags(c->fd, hbm.bo));
	ASSERT_EQ(0, submit_fill(c, hbm.va));
	EXPECT_EQ(1, zw_client_outcome(c));
	ASSERT_EQ(0, submit_fill(c, hbm.va + 4096));
	EXPECT_EQ(-EIO, zw_client_outcome(c));
	EXPECT_EQ(ZW_JOB_ECC, state(c).status);
	EXPECT_TRUE(zw_client_works(o));
	EXPECT_TRUE(zw_client_goes_on(c));

	EXPECT_EQ(0, zw_unbind(c->fd, c->vm, hbm.va, size));
	EXPECT_EQ(0, zw_bo_close(c->fd, hbm.bo));
	EXPECT_EQ(retired + 1, ras_wait(self->pci, "retired_pages", retired + 1));
	/* Half of the place is good; the whole cannot be had any more. */
	ASSERT_TRUE(all_scrubbed(self->bdf));
	bo = zw_bo(c->fd, size, DRM_ZHENWU_BO_HBM);
	ASSERT_NE(0, bo);
	EXPECT_NE(addr, zw_bo_address(size));
	EXPECT_EQ(DRM_ZHENWU_BO_HBM, bo_flags(c->fd, bo));
	EXPECT_EQ(0, zw_bo_close(c->fd, bo));
}

/* HBM address of the root table of the VM that has this range mapped; 0: not found. */
static uint64_t root_of(const char *bdf, uint64_t va, uint64_t size)
{
	char path[320], range[64], line[256];
	uint64_t root = 0, found = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/kernel/debug/accel/%s/vms", bdf);
	snprintf(range, sizeof(range), "  0x%llx-0x%llx ", (unsigned long long)va,
		 (unsigned long long)(va + size));
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f)) {
		char *at = strstr(line, "root 0x");

		if (at)
			root = strtoull(at + 5, NULL, 16);
		else if (!strncmp(line, range, strlen(range)))
			found = root;
	}
	if (f)
		fclose(f);
	return found;
}

/* Then its VM is of no use any more, and no other; the page goes when the VM does. */
TEST_F_TIMEOUT(inject, uncorrectable_error_in_a_page_table, 400)
{
	uint64_t retired = settled(self->pci), failed = retired, root;
	uint32_t count = zw_reset_count(&self->c);
	struct zw_client v;
	struct zw_buf hbm;

	ASSERT_NE(UINT64_MAX, retired);
	ASSERT_TRUE(zw_client_open(&v));
	ASSERT_TRUE(zw_buf(v.fd, v.vm, 12288, DRM_ZHENWU_BO_HBM, 512 * MIB, &hbm));
	root = root_of(self->bdf, hbm.va, 12288);
	ASSERT_NE(0, root);
	ASSERT_EQ(0, inject_at("ecc-uncorrected", root + 16));
	EXPECT_EQ(failed + 1, ras_wait(self->pci, "failed_pages", failed + 1));
	EXPECT_EQ(retired, ras(self->pci, "retired_pages"));
	ASSERT_EQ(0, submit_fill(&v, hbm.va));
	EXPECT_EQ(-EIO, zw_client_outcome(&v));
	EXPECT_EQ(ZW_JOB_ECC, state(&v).status);
	EXPECT_FALSE(zw_client_goes_on(&v));
	EXPECT_TRUE(zw_client_works(&self->c));
	EXPECT_TRUE(zw_client_works(&self->other));
	zw_client_close(&v);
	EXPECT_EQ(retired + 1, ras_wait(self->pci, "retired_pages", retired + 1));
	EXPECT_TRUE(zw_fresh_client_works(1));
	EXPECT_EQ(count, zw_reset_count(&self->c));
}

/* Whatever an event says, it is about HBM that exists. */
TEST_F_TIMEOUT(inject, event_with_a_wrong_address, 400)
{
	static const uint64_t wrong[] = {1ull << 40, 0xfffffffffffff000, 0x1001, 1ull << 63};
	uint64_t failed = ras(self->pci, "failed_pages");
	uint64_t dropped = ras(self->pci, "dropped_events");
	uint32_t count = zw_reset_count(&self->c);

	ASSERT_NE(UINT64_MAX, dropped);
	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(0, inject_at("lie-event", wrong[i]));
		ASSERT_EQ(0, zw_inject("ecc-corrected=0x1000"));
		EXPECT_EQ(dropped + i + 1, ras_wait(self->pci, "dropped_events", dropped + i + 1));
	}
	EXPECT_EQ(failed, ras(self->pci, "failed_pages"));
	EXPECT_TRUE(zw_client_works(&self->c));
	EXPECT_EQ(0, state(&self->c).state);
	EXPECT_EQ(count, zw_reset_count(&self->c));
}

/*
 * A device that posts more than it may has the rest dropped, and later ones count again. It believes
 * so from the first message on; nobody is told of events meanwhile, so that they come all at once.
 */
TEST_F_TIMEOUT(inject, more_events_than_allowed, 600)
{
	enum { LEAVE = 16, EVENTS = 2 * LEAVE };
	uint64_t seen = ras(self->pci, "corrected"), dropped = ras(self->pci, "dropped_events");
	struct zw_client *c = &self->c;
	uint32_t count, q;

	ASSERT_NE(UINT64_MAX, seen);
	ASSERT_EQ(0, zw_inject("lie-allowed=16"));
	ASSERT_EQ(0, zw_inject("fw-trap"));
	ASSERT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
	ASSERT_TRUE(zw_client_goes_on(c));
	count = zw_reset_count(c);

	ASSERT_EQ(0, zw_inject("lost-irq=all"));
	for (int i = 0; i < EVENTS; i++) {
		ASSERT_EQ(0, inject_at("ecc-corrected", i * 4096));
	}
	/* Who waits for an answer looks into the mailbox by itself. */
	q = zw_queue(c->fd, c->vm);
	EXPECT_NE(0, q);
	zw_queue_destroy(c->fd, q);
	ASSERT_EQ(0, zw_inject("clear"));
	for (int i = 0; i < 600; i++) {
		if (ras(self->pci, "corrected") - seen + ras(self->pci, "dropped_events") -
			    dropped == EVENTS)
			break;
		usleep(100000);
	}
	EXPECT_EQ(EVENTS, ras(self->pci, "corrected") - seen +
				  ras(self->pci, "dropped_events") - dropped);
	EXPECT_LE(seen + LEAVE, ras(self->pci, "corrected"));
	EXPECT_LT(dropped, ras(self->pci, "dropped_events"));

	/* No harm was done, and none is left. */
	seen = ras(self->pci, "corrected");
	dropped = ras(self->pci, "dropped_events");
	for (int i = 0; i < EVENTS; i++) {
		ASSERT_EQ(0, inject_at("ecc-corrected", i * 4096));
	}
	EXPECT_EQ(seen + EVENTS, ras_wait(self->pci, "corrected", seen + EVENTS));
	EXPECT_EQ(dropped, ras(self->pci, "dropped_events"));
	EXPECT_TRUE(zw_client_works(c));
	EXPECT_EQ(count, zw_reset_count(c));
}

/* More errors than events: all are counted, and jobs and messages go on; also with a new firmware. */
TEST_F_TIMEOUT(inject, many_errors, 900)
{
	enum { ERRORS = 200 };
	uint64_t seen = ras(self->pci, "corrected"), dropped = ras(self->pci, "dropped_events");
	struct zw_client *c = &self->c;
	uint32_t count = zw_reset_count(c);

	ASSERT_NE(UINT64_MAX, seen);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < ERRORS; i++) {
			ASSERT_EQ(0, inject_at("ecc-corrected", i % 50 * 4096));
		}
		EXPECT_TRUE(zw_client_works(c));
		seen += ERRORS;
		EXPECT_EQ(seen, ras_wait(self->pci, "corrected", seen));
		EXPECT_EQ(count + round, zw_reset_count(c));
		if (round)
			break;
		ASSERT_EQ(0, zw_inject("fw-trap"));
		EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
		EXPECT_TRUE(zw_client_goes_on(c));
	}
	EXPECT_EQ(dropped, ras(self->pci, "dropped_events"));
	EXPECT_TRUE(zw_client_works(c));
}

/* Whatever a completion says, it is about a job of its own queue. */
TEST_F_TIMEOUT(inject, completion_with_a_wrong_status, 400)
{
	struct zw_client *c = &self->c, *o = &self->other;
	uint32_t count = zw_reset_count(c);

	ASSERT_EQ(0, zw_inject("lie-status=0xdeadbeef"));
	ASSERT_EQ(0, submit_fill(c, self->data.va));
	EXPECT_EQ(-EIO, zw_client_outcome(c));
	EXPECT_TRUE(state(c).state & DRM_ZHENWU_QUEUE_STATE_FAILED);
	EXPECT_EQ(0xdeadbeef, state(c).status);
	EXPECT_TRUE(zw_client_works(o));
	EXPECT_TRUE(zw_client_goes_on(c));
	EXPECT_EQ(count, zw_reset_count(c));
}

TEST_F_TIMEOUT(inject, completion_with_a_wrong_number, 400)
{
	static const char *const by[] = {"lie-seqno=1", "lie-seqno=1024",
					 "lie-seqno=0xffffffffffffffff"};
	struct zw_client *c = &self->c, *o = &self->other;
	uint32_t count = zw_reset_count(c);

	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, zw_inject(by[i]));
		ASSERT_EQ(0, submit_fill(c, self->data.va));
		/* It never completes, as far as the driver can tell. */
		EXPECT_EQ(-ETIME, zw_client_outcome(c)) TH_LOG("%s", by[i]);
		EXPECT_TRUE(state(c).state & DRM_ZHENWU_QUEUE_STATE_TIMEDOUT);
		EXPECT_TRUE(zw_client_works(o));
		EXPECT_TRUE(zw_client_goes_on(c)) TH_LOG("%s", by[i]);
	}
	EXPECT_EQ(count, zw_reset_count(c));
}

/* The device is lost for good, and nothing hangs; unbound, mended and bound it works. */
TEST_F_TIMEOUT(inject, reset_that_does_not_end, 600)
{
	struct zw_client *c = &self->c, *o = &self->other;
	struct drm_zhenwu_dev_info info;
	char path[320];

	ASSERT_EQ(0, zw_client_submit_stuck(o));
	ASSERT_EQ(0, zw_inject("stuck-reset"));
	snprintf(path, sizeof(path), "%s/reset", self->pci);
	zw_write_file(path, "1");
	EXPECT_EQ(-ECANCELED, zw_client_outcome(o));
	for (int i = 0; i < 600 && zw_info(c->fd, &info) != -ENODEV; i++)
		usleep(100000);
	EXPECT_EQ(-ENODEV, zw_info(c->fd, &info));
	EXPECT_EQ(0, zw_vm(c->fd));
	EXPECT_EQ(0, zw_queue(c->fd, c->vm));
	EXPECT_EQ(-ENODEV, zw_submit(c->fd, c->queue, 0, 0, 0, 0, 0));
	zw_client_close(o);
	zw_client_close(c);
	ASSERT_EQ(0, zw_write_file(DRIVER "unbind", self->bdf));
	ASSERT_EQ(0, zw_inject("clear"));
	ASSERT_EQ(0, zw_write_file(DRIVER "bind", self->bdf));
	EXPECT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
}

/* There is an end to the pages that are taken out of use, and nothing else happens then. */
TEST_F_TIMEOUT(inject, too_many_failed_pages, 1200)
{
	enum { MOST = 256 };
	uint64_t failed = settled(self->pci), dropped = ras(self->pci, "dropped_events");
	struct drm_zhenwu_dev_info before, after;
	struct zw_client *c = &self->c;

	ASSERT_NE(UINT64_MAX, failed);
	ASSERT_LT(failed, MOST);
	ASSERT_TRUE(all_scrubbed(self->bdf));
	ASSERT_EQ(0, zw_info(c->fd, &before));
	/* Nobody has the end of HBM, and the device need not have such errors to speak of them. */
	for (uint64_t i = 0; i < MOST + 10 - failed; i++) {
		uint64_t seen = ras(self->pci, "uncorrectable");

		ASSERT_EQ(0, inject_at("lie-event", before.hbm_size - 4096 * (i + 1)));
		ASSERT_EQ(0, zw_inject("ecc-corrected=0x1000"));
		ASSERT_EQ(seen + 1, ras_wait(self->pci, "uncorrectable", seen + 1));
	}
	EXPECT_EQ(MOST, ras(self->pci, "failed_pages"));
	EXPECT_EQ(MOST, ras_wait(self->pci, "retired_pages", MOST));
	EXPECT_EQ(dropped, ras(self->pci, "dropped_events"));
	ASSERT_EQ(0, zw_info(c->fd, &after));
	EXPECT_EQ((MOST - failed) * 4096, before.hbm_free - after.hbm_free);
	EXPECT_EQ(before.reset_count, after.reset_count);
	EXPECT_TRUE(zw_client_works(c));
	EXPECT_TRUE(zw_fresh_client_works(1));
}

/* What makes no sense is refused by the device, and changes nothing. */
TEST_F(inject, refused)
{
	EXPECT_EQ(-EIO, zw_inject("nonsense"));
	EXPECT_EQ(-EIO, zw_inject("link-down"));
	EXPECT_EQ(-EIO, zw_inject("hang=0"));
	EXPECT_TRUE(zw_client_works(&self->c));
}

TEST_HARNESS_MAIN

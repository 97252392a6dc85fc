/* SPDX-License-Identifier: MIT */
/* Every fault that can be injected, on the device core with the real firmware. */
#include <errno.h>
#include <unistd.h>
#include "fw_env.h"

static void inject(struct fw *f, const char *text)
{
	char err[128] = "";

	if (zw_device_inject_text(f->e->dev, text, err, sizeof(err)))
		fail_msg("%s", err);
}

static void ms(unsigned int n)
{
	usleep(n * 1000);
}

/* As the driver does when the firmware is lost: queues and VMs are gone. */
static void reset_and_start(struct fw *f)
{
	w32(f->e, ZW_REG_RESET, ZW_RESET_KEY);
	env_wait_reg(f->e, ZW_REG_RESET_STATUS, 0);
	fw_boot(f);
}

/* -- queues -- */

/* One job that fills 64 bytes at dst. */
static void submit(struct ring *q, uint64_t dst)
{
	uint64_t seq = ++q->seq, cmd = fw_cmd_of(q);
	struct zw_pkt_fill p = {.hdr = {.opcode = ZW_OP_FILL, .size = sizeof(p)},
				.dst = dst,
				.bytes = 64,
				.rows = 1,
				.pattern = 0x600d0000 + q->id};
	struct zw_ring_entry e = {.seqno = seq,
				  .cmd_va = cmd,
				  .cmd_bytes = sizeof(p),
				  .flags = ZW_RING_F_IRQ,
				  .result_va = fw_result_va(q, seq)};

	memcpy(q->fw->e->hbm + cmd, &p, sizeof(p));
	fw_put(q->fw, q->ring + seq % SLOTS * sizeof(e), &e, sizeof(e));
	fw_ring_bell(q, (uint32_t)seq);
}

static struct zw_completion finish(struct ring *q)
{
	WAIT_FOR(fw_slot(q, q->seq).seqno == q->seq);
	return fw_slot(q, q->seq);
}

/* A job of the queue ends well, and did what it was to do. */
static void works(struct ring *q)
{
	uint32_t *p = (void *)(q->fw->e->hbm + FW_DATA + q->id * 4096);

	*p = 0;
	submit(q, FW_DATA + q->id * 4096);
	assert_int_equal(finish(q).status, ZW_JOB_OK);
	assert_int_equal(*p, 0x600d0000 + q->id);
}

/* -- tests -- */

/* A packet that hangs keeps the command processor; firmware and mailbox are well. */
static void wait_hanging(struct ring *q)
{
	uint64_t packets;

	WAIT_FOR(fw_queue_state(q) == ZW_QUEUE_RUNNING);
	packets = r64(q->fw->e, ZW_PMU_PACKETS);
	ms(50);
	assert_int_equal(r64(q->fw->e, ZW_PMU_PACKETS), packets);
	assert_int_equal(fw_queue_state(q), ZW_QUEUE_RUNNING);
	assert_int_equal(fw_slot(q, q->seq).seqno, 0);
}

static void hang(void **state)
{
	struct fw *f = *state;
	struct ring a = fw_create(f, 1, ZW_PRIO_NORMAL), b = fw_create(f, 2, ZW_PRIO_NORMAL);

	inject(f, "hang");
	submit(&a, FW_DATA);
	wait_hanging(&a);
	submit(&b, FW_DATA + 4096);
	ms(20);
	assert_int_equal(fw_slot(&b, 1).seqno, 0);
	assert_int_equal(fw_on_queue(&a, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
	assert_int_equal(finish(&a).status, ZW_JOB_CANCELED);
	assert_int_equal(finish(&b).status, ZW_JOB_OK);
	/* cleared: the packet ends as if nothing had been */
	a = fw_create(f, 1, ZW_PRIO_NORMAL);
	inject(f, "hang");
	submit(&a, FW_DATA);
	wait_hanging(&a);
	inject(f, "clear");
	assert_int_equal(finish(&a).status, ZW_JOB_OK);
	/* a reset ends one, and forgets those to come */
	inject(f, "hang=all");
	a.seq = 1;
	submit(&a, FW_DATA);
	WAIT_FOR(fw_queue_state(&a) == ZW_QUEUE_RUNNING);
	reset_and_start(f);
	a = fw_create(f, 1, ZW_PRIO_NORMAL);
	works(&a);
}

static void fw_trap(void **state)
{
	struct fw *f = *state;
	struct ring q = fw_create(f, 1, ZW_PRIO_NORMAL);
	unsigned int before = env_irqs(f->e, ZW_VECTOR_MBOX);
	uint32_t beat;

	inject(f, "fw-trap");
	env_wait_reg(f->e, ZW_REG_BOOT_STATUS, ZW_BOOT_HALTED);
	assert_int_equal(r32(f->e, ZW_REG_FW_TRAP_CAUSE), 2 | ZW_FW_TRAPPED);
	assert_in_range(r64(f->e, ZW_REG_FW_TRAP_PC), ZW_SOC_SRAM_BASE, ZW_SOC_SHARED_BASE);
	env_wait_irq(f->e, ZW_VECTOR_MBOX, before + 1);
	beat = r32(f->e, ZW_REG_FW_HEARTBEAT);
	submit(&q, FW_DATA);
	ms(250);
	assert_int_equal(r32(f->e, ZW_REG_FW_HEARTBEAT), beat);
	assert_int_equal(fw_slot(&q, 1).seqno, 0);
	reset_and_start(f);
	q = fw_create(f, 1, ZW_PRIO_NORMAL);
	works(&q);
}

static void fw_silence(void **state)
{
	struct fw *f = *state;
	struct ring q = fw_create(f, 1, ZW_PRIO_NORMAL);
	struct zw_msg ping = {.type = ZW_MSG_PING}, r;
	uint32_t beat;

	for (int round = 0; round < 2; round++) {
		inject(f, "fw-silence");
		/* what is under way comes to its end, however busy the machine is */
		zw_device_pause(f->e->dev);
		zw_device_continue(f->e->dev);
		beat = r32(f->e, ZW_REG_FW_HEARTBEAT);
		ping.payload[0] = 5;
		fw_send(f, &ping);
		submit(&q, FW_DATA);
		ms(300);
		assert_int_equal(r32(f->e, ZW_REG_FW_HEARTBEAT), beat);
		assert_int_equal(r32(f->e, ZW_REG_BOOT_STATUS), ZW_BOOT_READY);
		assert_false(fw_replied(f, &r));
		assert_int_equal(fw_slot(&q, q.seq).seqno == q.seq, false);
		if (round == 0) {
			inject(f, "clear");
			WAIT_FOR(fw_replied(f, &r));
			f->replies++;
			assert_int_equal(finish(&q).status, ZW_JOB_OK);
		}
	}
	reset_and_start(f);
	q = fw_create(f, 1, ZW_PRIO_NORMAL);
	works(&q);
}

static void lost_irq(void **state)
{
	struct fw *f = *state;
	struct ring q = fw_create(f, 3, ZW_PRIO_NORMAL);
	unsigned int before;

	works(&q);
	env_wait_irq(f->e, 3, 1);
	inject(f, "lost-irq=2");
	works(&q);
	works(&q);
	ms(50);
	assert_int_equal(env_irqs(f->e, 3), 1);
	works(&q);
	env_wait_irq(f->e, 3, 2);
	inject(f, "lost-irq=all");
	before = env_irqs(f->e, ZW_VECTOR_MBOX);
	for (int i = 0; i < 10; i++)
		assert_int_equal(fw_queue_state(&q), ZW_QUEUE_IDLE);
	works(&q);
	ms(50);
	assert_int_equal(env_irqs(f->e, 3), 2);
	assert_int_equal(env_irqs(f->e, ZW_VECTOR_MBOX), before);
	inject(f, "clear");
	works(&q);
	env_wait_irq(f->e, 3, 3);
}

static void dma_fault(void **state)
{
	struct fw *f = *state;
	struct ring q = fw_create(f, 1, ZW_PRIO_NORMAL), other = fw_create(f, 2, ZW_PRIO_NORMAL);
	struct zw_completion c;
	char text[64];

	/* only what a packet touches */
	snprintf(text, sizeof(text), "dma-fault=1,%#llx,4096", (unsigned long long)SYS_DATA);
	inject(f, text);
	works(&other);
	submit(&q, FW_SYS_VA + 128);
	c = finish(&q);
	assert_int_equal(c.status, ZW_JOB_FAULT);
	assert_int_equal(c.reason, ZW_FAULT_DMA);
	assert_int_equal(c.fault_va, FW_SYS_VA + 128);
	assert_int_equal(c.fault_access, ZW_ACCESS_WRITE);
	assert_int_equal(fw_on_queue(&q, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
	q = fw_create(f, 1, ZW_PRIO_NORMAL);
	submit(&q, FW_SYS_VA + 128);
	assert_int_equal(finish(&q).status, ZW_JOB_OK);
	/* beside the range */
	snprintf(text, sizeof(text), "dma-fault=all,%#llx,64", (unsigned long long)SYS_DATA);
	inject(f, text);
	submit(&q, FW_SYS_VA + 64);
	assert_int_equal(finish(&q).status, ZW_JOB_OK);
	inject(f, "clear");
	/* the firmware's own: the tail cannot be read, so it does not know of the job */
	inject(f, "dma-fault");
	submit(&q, FW_DATA);
	WAIT_FOR(fw_queue_state(&q) == ZW_QUEUE_ERROR);
	assert_int_equal(fw_slot(&q, q.seq).seqno == q.seq, false);
	submit(&q, FW_DATA);
	assert_int_equal(finish(&q).status, ZW_JOB_CANCELED);
	assert_int_equal(fw_slot(&q, q.seq - 1).status, ZW_JOB_CANCELED);
	works(&other);
	/* the boot ROM's */
	w32(f->e, ZW_REG_RESET, ZW_RESET_KEY);
	env_wait_reg(f->e, ZW_REG_RESET_STATUS, 0);
	inject(f, "dma-fault");
	fw_start(f);
	env_wait_reg(f->e, ZW_REG_BOOT_STATUS, ZW_BOOT_FAILED);
	assert_int_equal(r32(f->e, ZW_REG_BOOT_ERROR), ZW_BOOT_ERR_DMA);
	fw_boot(f);
}

static void ecc_corrected(void **state)
{
	struct fw *f = *state;
	struct ring q = fw_create(f, 1, ZW_PRIO_NORMAL);

	assert_int_equal(r64(f->e, ZW_PMU_ECC_CORRECTED), 0);
	inject(f, "ecc-corrected=0x1201000");
	inject(f, "ecc-corrected=0x1201000");
	assert_int_equal(r64(f->e, ZW_PMU_ECC_CORRECTED), 2);
	works(&q);
	reset_and_start(f);
	assert_int_equal(r64(f->e, ZW_PMU_ECC_CORRECTED), 0);
}

static uint32_t scrub(struct fw *f, uint64_t addr, uint32_t size)
{
	struct zw_msg_scrub m = {
		.addr_lo = ZW_LO32(addr), .addr_hi = ZW_HI32(addr), .size_lo = size};
	struct zw_msg r;

	return fw_request(f, ZW_MSG_SCRUB_HBM, &m, sizeof(m), &r);
}

/* A job on the page of FW_DATA + 64 KiB ends with the error, and its queue with it. */
static void bad_page(struct fw *f)
{
	struct ring q = fw_create(f, 1, ZW_PRIO_NORMAL);
	struct zw_completion c;

	submit(&q, FW_DATA + 65536 + 256);
	c = finish(&q);
	assert_int_equal(c.status, ZW_JOB_ECC);
	assert_int_equal(c.reason, ZW_FAULT_ECC);
	assert_int_equal(c.fault_va, FW_DATA + 65536);
	assert_int_equal(fw_queue_state(&q), ZW_QUEUE_ERROR);
	assert_int_equal(fw_on_queue(&q, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
}

static void good_page(struct fw *f)
{
	struct ring q = fw_create(f, 1, ZW_PRIO_NORMAL);

	submit(&q, FW_DATA + 65536 + 256);
	assert_int_equal(finish(&q).status, ZW_JOB_OK);
	assert_int_equal(fw_on_queue(&q, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
}

static void ecc_uncorrected(void **state)
{
	struct fw *f = *state;
	struct ring other = fw_create(f, 2, ZW_PRIO_NORMAL);
	char text[64];

	snprintf(text, sizeof(text), "ecc-uncorrected=%#llx",
		 (unsigned long long)FW_DATA + 65536 + 4095);
	inject(f, text);
	bad_page(f);
	assert_int_equal(r64(f->e, ZW_PMU_FAULTS), 0);
	works(&other);
	/* The pages beside it are good. */
	submit(&other, FW_DATA + 65536 - 64);
	assert_int_equal(finish(&other).status, ZW_JOB_OK);
	submit(&other, FW_DATA + 65536 + 4096);
	assert_int_equal(finish(&other).status, ZW_JOB_OK);
	bad_page(f);
	assert_int_equal(scrub(f, FW_DATA + 65536 - 4096, 4096), ZW_MSG_OK);
	bad_page(f);
	assert_int_equal(scrub(f, FW_DATA + 65536, 4096), ZW_MSG_OK);
	good_page(f);
	/* The driver's reset keeps HBM, as it is; one with zeroing mends it. */
	inject(f, text);
	reset_and_start(f);
	bad_page(f);
	inject(f, "clear");
	good_page(f);
	inject(f, text);
	zw_device_reset(f->e->dev, true);
	fw_boot(f);
	good_page(f);
}

/* Page tables are in HBM too. */
static void ecc_in_tables(void **state)
{
	struct fw *f = *state;
	struct ring q = fw_create(f, 1, ZW_PRIO_NORMAL);
	char text[64];

	snprintf(text, sizeof(text), "ecc-uncorrected=%#llx", (unsigned long long)FW_ROOT + 8192);
	inject(f, text);
	submit(&q, FW_DATA);
	assert_int_equal(finish(&q).status, ZW_JOB_ECC);
	/* no room for any number of them */
	for (int i = 0; i < 15; i++)
		assert_int_equal(
			zw_device_inject(f->e->dev, ZW_INJECT_ECC_UNCORRECTED, i * 4096, 0, 0), 0);
	assert_int_equal(zw_device_inject(f->e->dev, ZW_INJECT_ECC_UNCORRECTED, 15 * 4096, 0, 0),
			 -ENOSPC);
	assert_int_equal(zw_device_inject(f->e->dev, ZW_INJECT_ECC_UNCORRECTED, 4096, 0, 0), 0);
}

static void lies(void **state)
{
	struct fw *f = *state;
	struct ring q = fw_create(f, 1, ZW_PRIO_NORMAL);
	struct zw_job_result res;
	const uint64_t samples = SYS_BASE + 0x380000;
	struct zw_msg_telemetry sampling = {ZW_LO32(samples), ZW_HI32(samples), 1024, 1000};
	uint64_t seq;

	inject(f, "lie-status=0xdead");
	submit(&q, FW_DATA);
	assert_int_equal(finish(&q).status, 0xdead);
	/* The job itself ended well, and the queue goes on. */
	memcpy(&res, f->e->hbm + fw_result_va(&q, 1), sizeof(res));
	assert_int_equal(res.seqno, 1);
	assert_int_equal(res.status, ZW_JOB_OK);
	works(&q);
	inject(f, "lie-seqno=5");
	submit(&q, FW_DATA);
	WAIT_FOR(fw_slot(&q, 3).seqno == 8);
	works(&q);
	assert_int_equal(fw_slot(&q, 3).seqno, 8);
	/* a sample of telemetry, and that alone */
	inject(f, "lie-sample=0x100");
	works(&q);
	assert_int_equal(fw_request(f, ZW_MSG_TELEMETRY, &sampling, sizeof(sampling), NULL),
			 ZW_MSG_OK);
	WAIT_FOR((fw_get(f, &seq, samples + 2 * sizeof(struct zw_telemetry), sizeof(seq)), seq));
	assert_int_equal(seq, 2);
	fw_get(f, &seq, samples + sizeof(struct zw_telemetry), sizeof(seq));
	assert_int_equal(seq, 0x101);
	/* forgotten in a reset */
	inject(f, "lie-seqno=5");
	inject(f, "lie-status=7");
	reset_and_start(f);
	q = fw_create(f, 1, ZW_PRIO_NORMAL);
	works(&q);
}

static void stuck_reset(void **state)
{
	struct fw *f = *state;
	struct ring q;

	inject(f, "stuck-reset");
	w32(f->e, ZW_REG_RESET, ZW_RESET_KEY);
	ms(100);
	assert_int_equal(r32(f->e, ZW_REG_RESET_STATUS), 1);
	assert_int_equal(r32(f->e, ZW_REG_BOOT_STATUS), ZW_BOOT_IDLE);
	/* nothing starts meanwhile, and another reset is no better */
	w32(f->e, ZW_REG_BOOT_CTRL, ZW_BOOT_START);
	zw_device_reset_begin(f->e->dev, true);
	ms(100);
	assert_int_equal(r32(f->e, ZW_REG_RESET_STATUS), 1);
	assert_int_equal(r32(f->e, ZW_REG_BOOT_STATUS), ZW_BOOT_IDLE);
	assert_int_equal(f->e->resets, 0);
	inject(f, "clear");
	env_wait_reg(f->e, ZW_REG_RESET_STATUS, 0);
	assert_int_equal(f->e->resets, 1);
	fw_boot(f);
	q = fw_create(f, 1, ZW_PRIO_NORMAL);
	works(&q);
	/* a device that stands still can go */
	inject(f, "stuck-reset");
	w32(f->e, ZW_REG_RESET, ZW_RESET_KEY);
	ms(20);
}

static void refused(void **state)
{
	static const struct {
		const char *text, *says;
		int ret;
	} bad[] = {
		{"", "no such fault", -EINVAL},
		{"hangs", "no such fault", -EINVAL},
		{"han", "no such fault", -EINVAL},
		{"hang=", "want FAULT", -EINVAL},
		{"hang=x", "want FAULT", -EINVAL},
		{"hang=-1", "want FAULT", -EINVAL},
		{"hang=1 ", "want FAULT", -EINVAL},
		{"hang=99999999999999999999", "want FAULT", -EINVAL},
		{"hang=0", "out of range", -EINVAL},
		{"lost-irq=0", "out of range", -EINVAL},
		{"hang=1,2,3", "out of range", -EINVAL},
		{"dma-fault=1,2,3,4", "want FAULT", -EINVAL},
		{"dma-fault=0,2,3", "out of range", -EINVAL},
		{"dma-fault=1,2", "out of range", -EINVAL},
		{"dma-fault=1,0xffffffffffffffff,2", "out of range", -EINVAL},
		{"lie-status=0x100000000", "out of range", -EINVAL},
		{"lie-seqno=0", "out of range", -EINVAL},
		{"lie-sample=0", "out of range", -EINVAL},
		{"lie-allowed=0", "out of range", -EINVAL},
		{"lie-allowed=0x100000000", "out of range", -EINVAL},
		{"lie-event", "want FAULT=ADDRESS", -EINVAL},
		{"ecc-corrected", "want FAULT=ADDRESS", -EINVAL},
		{"ecc-uncorrected", "want FAULT=ADDRESS", -EINVAL},
		{"ecc-corrected=0x4000000", "out of range", -EINVAL},
		{"ecc-uncorrected=0x4000000", "out of range", -EINVAL},
		{"link-down", "no links", -EOPNOTSUPP},
	};
	struct fw *f = *state;
	struct ring q = fw_create(f, 1, ZW_PRIO_NORMAL);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char err[128] = "";

		if (zw_device_inject_text(f->e->dev, bad[i].text, err, sizeof(err)) != bad[i].ret ||
		    !strstr(err, bad[i].says))
			fail_msg("'%s': %s", bad[i].text, err);
	}
	assert_int_equal(zw_device_inject(f->e->dev, ZW_INJECT_COUNT, 1, 0, 0), -EINVAL);
	/* None of them left anything behind. */
	works(&q);
	assert_int_equal(r64(f->e, ZW_PMU_ECC_CORRECTED), 0);
}

/* All at once, from several threads, while jobs run and resets come; nothing is left at the end. */
static void *injector(void *arg)
{
	static const char *const texts[] = {
		"hang",        "lost-irq=3",        "fw-silence", "clear",
		"dma-fault",   "ecc-corrected=0",   "fw-trap",    "lie-seqno",
		"stuck-reset", "ecc-uncorrected=0", "clear",      "lie-event=0"};
	struct fw *f = arg;

	for (int i = 0; i < 600; i++) {
		inject(f, texts[i % 12]);
		usleep(300);
	}
	return NULL;
}

static void from_everywhere(void **state)
{
	struct fw *f = *state;
	struct ring q = fw_create(f, 1, ZW_PRIO_NORMAL);
	pthread_t t[2];

	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, injector, f), 0);
	for (int i = 0; i < 50; i++) {
		submit(&q, FW_DATA);
		if (i % 10 == 9)
			w32(f->e, ZW_REG_RESET, ZW_RESET_KEY);
		ms(3);
		r32(f->e, ZW_REG_RESET_STATUS);
		fw_start_again(f);
		ms(2);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	inject(f, "clear");
	reset_and_start(f);
	q = fw_create(f, 1, ZW_PRIO_NORMAL);
	works(&q);
}

int main(int argc, char **argv)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fw_setup, fw_teardown)
	const struct CMUnitTest tests[] = {
		T(hang),      T(fw_trap),       T(fw_silence),      T(lost_irq),
		T(dma_fault), T(ecc_corrected), T(ecc_uncorrected), T(ecc_in_tables),
		T(lies),      T(stuck_reset),   T(refused),         T(from_everywhere),
	};

	if (!fw_load(argc, argv))
		return 1;
	int ret = cmocka_run_group_tests_name("inject", tests, NULL, NULL);

	fw_unload();
	return ret;
}

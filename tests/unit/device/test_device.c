/* SPDX-License-Identifier: MIT */
/* The whole device through BAR0, with the monitor firmware on its control core. */
#include <time.h>
#include <unistd.h>
#include "device_env.h"
#include "zhenwu/zw_cmd.h"

#define LOAD_FAULT  (5 + 1) /* mcause + 1, as the monitor reports them */
#define STORE_FAULT (7 + 1)

static int setup(void **state)
{
	*state = env_new(1);
	return 0;
}

static int setup_booted(void **state)
{
	setup(state);
	env_boot(*state);
	return 0;
}

static int teardown(void **state)
{
	env_free(*state);
	return 0;
}

/* -- BAR0 -- */

static void identity(void **state)
{
	struct device_env *e = *state;
	char name[17] = "";

	assert_int_equal(r32(e, ZW_REG_MAGIC), ZW_MAGIC);
	assert_int_equal(r32(e, ZW_REG_ABI_VERSION), ZW_ABI_VERSION);
	assert_int_equal(r32(e, ZW_REG_PROFILE), ZW_PROFILE_810E);
	assert_int_equal(r32(e, ZW_REG_CAPS), ZW_CAP_USER_QUEUES);
	assert_int_equal(r64(e, ZW_REG_SRAM_SIZE), zw_profile_find("810e")->sram_bytes);
	assert_int_equal(r64(e, ZW_REG_DTYPES), zw_profile_find("810e")->dtypes);
	assert_int_equal(r32(e, ZW_REG_NUM_LINKS), 7);
	assert_int_equal(r32(e, ZW_REG_CARD), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(r32(e, ZW_REG_UUID + 4 * i), 0x03020100 + 0x04040404 * i);
	assert_int_equal(r32(e, ZW_REG_DOORBELL_BASE), ZW_REG_DOORBELL(0));
	assert_int_equal(ZW_REG_DOORBELL(0) + (1u << r32(e, ZW_REG_DOORBELL_SHIFT)),
			 ZW_REG_DOORBELL(1));
	assert_int_equal(r64(e, ZW_REG_HBM_SIZE), HBM_SIZE);
	assert_int_equal(r32(e, ZW_REG_HBM_SIZE), HBM_SIZE);
	assert_int_equal(r32(e, ZW_REG_HBM_SIZE + 4), 0);
	assert_int_equal(r64(e, ZW_REG_APERTURE_SIZE), HBM_SIZE / 2);
	assert_int_equal(r32(e, ZW_REG_NUM_QUEUES), ZW_DEFAULT_QUEUES);
	assert_int_equal(r32(e, ZW_REG_NUM_VMS), ZW_DEFAULT_VMS);
	assert_int_equal(r32(e, ZW_REG_NUM_VECTORS), ZW_NUM_VECTORS);
	assert_true(r32(e, ZW_REG_PROGRESS_MS) >= 1000);
	assert_int_equal(r32(e, ZW_REG_IDLE_MW), 73000);
	assert_int_equal(r32(e, ZW_REG_CAP_MW), 400000);
	/* idle for long: 137 mK for each of 73 W */
	assert_int_equal(r32(e, ZW_REG_TEMPERATURE_MC), 25000 + 137 * 73);
	for (int i = 0; i < 4; i++) {
		uint32_t w = r32(e, ZW_REG_PROFILE_NAME + 4 * i);

		memcpy(name + 4 * i, &w, 4);
	}
	assert_string_equal(name, "810e");
	assert_int_equal(r32(e, ZW_REG_BOOT_STATUS), ZW_BOOT_IDLE);
	assert_int_equal(e->guest_errors, 0);
}

/* Every offset of BAR0 takes every access; what is not a register reads zero and is logged. */
static void odd_accesses(void **state)
{
	struct device_env *e = *state;
	static const struct {
		uint64_t off;
		unsigned int size;
	} bad[] = {
		{0, 1},
		{0, 2},
		{0, 8},
		{2, 4},
		{4, 8},
		{0x10, 16},
		{0x14, 8},
		{0x68, 4},
		{0x0fc, 4},
		{0x104c0, 4},
		{0x30, 8},
		{ZW_REG_PMU + 8 * ZW_PMU_COUNT, 8},
		{0x1ffff, 4},
		{0x30000, 4},
		{0x100000, 4},
		{0x100004, 4},
		{0x140000, 4},
		{ZW_BAR0_SIZE - 4, 4},
		{ZW_BAR0_SIZE, 4},
		{UINT64_MAX - 7, 8},
		{UINT64_MAX, 1},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		unsigned int errors = e->guest_errors;

		assert_int_equal(zw_device_mmio_read(e->dev, bad[i].off, bad[i].size), 0);
		assert_int_equal(e->guest_errors, errors + 1);
	}
	/* Writes to what is read-only. */
	for (uint64_t off = 0; off < 0x40; off += 4) {
		unsigned int errors = e->guest_errors;
		uint32_t before = r32(e, off);

		w32(e, off, ~before);
		assert_int_equal(r32(e, off), before);
		assert_int_equal(e->guest_errors, errors + 1);
	}
	for (uint64_t off = 0; off < ZW_BAR0_SIZE; off += off < 0x3000 ? 4 : 0x7f4) {
		if (off == ZW_REG_BOOT_CTRL)
			continue;
		r32(e, off);
		if (off % 8 == 0)
			w64(e, off, 0x1111111122222222);
		w32(e, off, 0x33333333);
	}
	assert_int_equal(r32(e, ZW_REG_MAGIC), ZW_MAGIC);
	assert_int_equal(r32(e, ZW_REG_RESET_STATUS), 0);
}

static void halves(void **state)
{
	struct device_env *e = *state;
	static const uint64_t regs[] = {ZW_REG_FW_ADDR, ZW_REG_MBOX_H2F, ZW_REG_MBOX_F2H};

	for (int i = 0; i < 3; i++) {
		w64(e, regs[i], 0x1122334455667788);
		assert_int_equal(r64(e, regs[i]), 0x1122334455667788);
		assert_int_equal(r32(e, regs[i]), 0x55667788);
		assert_int_equal(r32(e, regs[i] + 4), 0x11223344);
		w32(e, regs[i], 0xaaaaaaaa);
		assert_int_equal(r64(e, regs[i]), 0x11223344aaaaaaaa);
		w32(e, regs[i] + 4, 0xbbbbbbbb);
		assert_int_equal(r64(e, regs[i]), 0xbbbbbbbbaaaaaaaa);
	}
	for (int i = 0; i < ZW_PMU_COUNT; i++) {
		assert_int_equal(r64(e, ZW_REG_PMU + 8 * i), 0);
		assert_int_equal(r32(e, ZW_REG_PMU + 8 * i + 4), 0);
	}
	assert_int_equal(e->guest_errors, 0);
}

/* -- boot -- */

static void expect_boot_error(struct device_env *e, const uint8_t *image, uint32_t size,
			      uint32_t error, uint32_t detail)
{
	env_start(e, image, size);
	env_wait_reg(e, ZW_REG_BOOT_STATUS, ZW_BOOT_FAILED);
	assert_int_equal(r32(e, ZW_REG_BOOT_ERROR), error);
	assert_int_equal(r32(e, ZW_REG_BOOT_DETAIL), detail);
	assert_int_equal(r32(e, ZW_REG_FW_VERSION), 0);
}

static void boot_errors(void **state)
{
	struct device_env *e = *state;
	uint32_t size;
	uint8_t *image = image_new(monitor_text, monitor_size, 65536, &size);
	struct zw_fw_header *h = (void *)image, keep = *h;
	unsigned int dma;

	expect_boot_error(e, image, 16, ZW_BOOT_ERR_SIZE, 16);
	dma = e->dma_calls;
	memset(e->sys, 0, SYS_SIZE);
	w32(e, ZW_REG_FW_SIZE, ZW_FW_MAX_SIZE + 1);
	w32(e, ZW_REG_BOOT_CTRL, ZW_BOOT_START);
	env_wait_reg(e, ZW_REG_BOOT_STATUS, ZW_BOOT_FAILED);
	assert_int_equal(r32(e, ZW_REG_BOOT_ERROR), ZW_BOOT_ERR_SIZE);
	assert_int_equal(e->dma_calls, dma); /* not even read */

	h->magic = 0x12345678;
	expect_boot_error(e, image, size, ZW_BOOT_ERR_MAGIC, 0x12345678);
	*h = keep;
	h->header_version = 9;
	expect_boot_error(e, image, size, ZW_BOOT_ERR_HEADER, 9);
	*h = keep;
	h->abi_version = (ZW_ABI_MAJOR + 1) << 16;
	image_seal(image, size);
	expect_boot_error(e, image, size, ZW_BOOT_ERR_ABI, (ZW_ABI_MAJOR + 1) << 16);
	*h = keep;
	h->segment[0].load_addr = ZW_SOC_SHARED_BASE - 64;
	image_seal(image, size);
	expect_boot_error(e, image, size, ZW_BOOT_ERR_BOUNDS, 0);
	*h = keep;
	h->reserved = 5;
	image_seal(image, size);
	expect_boot_error(e, image, size, ZW_BOOT_ERR_RESERVED, 0);
	*h = keep;
	image[size - 1] ^= 1;
	expect_boot_error(e, image, size, ZW_BOOT_ERR_HASH, 0);
	image[size - 1] ^= 1;
	/* not reachable: at all, from the second piece on, behind the end of the address space */
	w64(e, ZW_REG_FW_ADDR, 0x1000);
	w32(e, ZW_REG_BOOT_CTRL, ZW_BOOT_START);
	env_wait_reg(e, ZW_REG_BOOT_STATUS, ZW_BOOT_FAILED);
	assert_int_equal(r32(e, ZW_REG_BOOT_ERROR), ZW_BOOT_ERR_DMA);
	assert_int_equal(r32(e, ZW_REG_BOOT_DETAIL), 0);
	w64(e, ZW_REG_FW_ADDR, SYS_BASE + SYS_SIZE - 0x10000);
	w32(e, ZW_REG_FW_SIZE, 0x20000);
	w32(e, ZW_REG_BOOT_CTRL, ZW_BOOT_START);
	env_wait_reg(e, ZW_REG_BOOT_STATUS, ZW_BOOT_FAILED);
	assert_int_equal(r32(e, ZW_REG_BOOT_ERROR), ZW_BOOT_ERR_DMA);
	assert_int_equal(r32(e, ZW_REG_BOOT_DETAIL), 0x10000);
	w64(e, ZW_REG_FW_ADDR, UINT64_MAX - 100);
	w32(e, ZW_REG_BOOT_CTRL, ZW_BOOT_START);
	env_wait_reg(e, ZW_REG_BOOT_STATUS, ZW_BOOT_FAILED);
	assert_int_equal(r32(e, ZW_REG_BOOT_ERROR), ZW_BOOT_ERR_DMA);
	e->bus_master_off = true;
	expect_boot_error(e, image, size, ZW_BOOT_ERR_DMA, 0);
	e->bus_master_off = false;
	/* and after all that a good one boots */
	free(image);
	env_boot(e);
	assert_int_equal(r32(e, ZW_REG_BOOT_ERROR), 0);
	/* A second start is refused. */
	unsigned int errors = e->guest_errors;

	w32(e, ZW_REG_BOOT_CTRL, ZW_BOOT_START);
	assert_int_equal(e->guest_errors, errors + 1);
	assert_int_equal(r32(e, ZW_REG_BOOT_STATUS), ZW_BOOT_READY);
}

static void firmware_refuses(void **state)
{
	struct device_env *e = *state;

	mon_send(e, MON_FAIL, 0, ZW_SOC_FW_FAIL | 0x1234);
	env_wait_reg(e, ZW_REG_BOOT_STATUS, ZW_BOOT_FAILED);
	assert_int_equal(r32(e, ZW_REG_BOOT_ERROR), ZW_BOOT_ERR_FIRMWARE);
	assert_int_equal(r32(e, ZW_REG_BOOT_DETAIL), 0x1234);
	/* It does not run on. */
	usleep(5000);
	uint32_t beat = r32(e, ZW_REG_FW_HEARTBEAT);

	usleep(5000);
	assert_int_equal(r32(e, ZW_REG_FW_HEARTBEAT), beat);
	env_boot(e);
}

static void firmware_traps(void **state)
{
	struct device_env *e = *state;
	unsigned int irqs = env_irqs(e, ZW_VECTOR_MBOX);

	mon_send(e, MON_HALT, 0, 0);
	env_wait_reg(e, ZW_REG_BOOT_STATUS, ZW_BOOT_HALTED);
	assert_int_equal(r32(e, ZW_REG_FW_TRAP_CAUSE), 3 | ZW_FW_TRAPPED);
	assert_in_range(r64(e, ZW_REG_FW_TRAP_PC), ZW_SOC_SRAM_BASE,
			ZW_SOC_SRAM_BASE + monitor_size);
	env_wait_irq(e, ZW_VECTOR_MBOX, irqs + 1);
	/* Only a reset leaves this state. */
	w32(e, ZW_REG_BOOT_CTRL, ZW_BOOT_START);
	assert_int_equal(r32(e, ZW_REG_BOOT_STATUS), ZW_BOOT_HALTED);
	w32(e, ZW_REG_RESET, ZW_RESET_KEY);
	env_wait_reg(e, ZW_REG_RESET_STATUS, 0);
	assert_int_equal(r32(e, ZW_REG_BOOT_STATUS), ZW_BOOT_IDLE);
	assert_int_equal(r32(e, ZW_REG_FW_TRAP_CAUSE), 0);
	env_boot(e);
	/* A handler that traps itself: the first trap is the one reported. */
	mon_send(e, MON_DOUBLE, 0, 0);
	env_wait_reg(e, ZW_REG_BOOT_STATUS, ZW_BOOT_HALTED);
	assert_int_equal(r32(e, ZW_REG_FW_TRAP_CAUSE), 2 | ZW_FW_TRAPPED);
}

/* -- peripherals -- */

static void basics(void **state)
{
	struct device_env *e = *state;
	uint64_t cause, slept;
	uint32_t beat;

	assert_int_equal(r32(e, ZW_REG_FW_VERSION), MON_BOOTED);
	assert_int_equal(mon(e, MON_LOAD32, ZW_SOC_NUM_QUEUES, 0, NULL), ZW_DEFAULT_QUEUES);
	beat = r32(e, ZW_REG_FW_HEARTBEAT);
	assert_int_equal(mon(e, MON_LOAD32, ZW_SOC_NUM_VMS, 0, NULL), ZW_DEFAULT_VMS);
	assert_int_equal(r32(e, ZW_REG_FW_HEARTBEAT), beat + 1);
	assert_int_equal(mon(e, MON_LOAD32, ZW_SOC_ABI_VERSION, 0, NULL), ZW_ABI_VERSION);
	assert_int_equal(mon(e, MON_LOAD64, ZW_SOC_HBM_SIZE, 0, NULL), HBM_SIZE);
	assert_int_equal(mon(e, MON_LOAD64, ZW_SOC_MBOX_H2F, 0, NULL), SYS_REQUEST);
	/* Wrong width, wrong place, write-only and read-only. */
	mon(e, MON_LOAD8, ZW_SOC_NUM_QUEUES, 0, &cause);
	assert_int_equal(cause, LOAD_FAULT);
	mon(e, MON_LOAD64, ZW_SOC_IRQ_PENDING, 0, &cause);
	assert_int_equal(cause, LOAD_FAULT);
	mon(e, MON_LOAD32, ZW_SOC_HBM_SIZE, 0, &cause);
	assert_int_equal(cause, LOAD_FAULT);
	mon(e, MON_LOAD32, ZW_SOC_CP_CTRL, 0, &cause);
	assert_int_equal(cause, LOAD_FAULT);
	mon(e, MON_STORE32, ZW_SOC_NUM_QUEUES, 0, &cause);
	assert_int_equal(cause, STORE_FAULT);
	mon(e, MON_STORE8, ZW_SOC_IRQ_ENABLE, 0, &cause);
	assert_int_equal(cause, STORE_FAULT);
	mon(e, MON_STORE64, ZW_SOC_SRAM_BASE - 8, 0, &cause);
	assert_int_equal(cause, STORE_FAULT);
	mon(e, MON_LOAD64, ZW_SOC_SRAM_BASE + ZW_SOC_SRAM_SIZE, 0, &cause);
	assert_int_equal(cause, LOAD_FAULT);
	mon(e, MON_LOAD32, 0, 0, &cause);
	assert_int_equal(cause, LOAD_FAULT);
	assert_int_equal(mon(e, MON_LOAD32, ZW_SOC_IDLE_MW, 0, NULL), 73000);
	assert_int_equal(mon(e, MON_LOAD32, ZW_SOC_CAP_MW, 0, NULL), 400000);
	assert_int_equal(mon(e, MON_LOAD32, ZW_SOC_TEMPERATURE_MC, 0, NULL), 25000 + 137 * 73);
	/* Counters go to aligned SRAM, all of them. */
	mon(e, MON_STORE64, ZW_SOC_PMU_SNAPSHOT, MON_BUF + 4, &cause);
	assert_int_equal(cause, STORE_FAULT);
	mon(e, MON_STORE64, ZW_SOC_PMU_SNAPSHOT, MON_BUF - ZW_SOC_SRAM_BASE, &cause);
	assert_int_equal(cause, STORE_FAULT);
	mon(e, MON_STORE64, ZW_SOC_PMU_SNAPSHOT,
	    ZW_SOC_SRAM_BASE + ZW_SOC_SRAM_SIZE - 8 * ZW_PMU_COUNT + 8, &cause);
	assert_int_equal(cause, STORE_FAULT);
	mon(e, MON_LOAD64, ZW_SOC_PMU_SNAPSHOT, 0, &cause);
	assert_int_equal(cause, LOAD_FAULT);
	/* Vectors: good ones arrive, others fault. */
	mon(e, MON_STORE32, ZW_SOC_MSIX_RAISE, 31, NULL);
	env_wait_irq(e, 31, 1);
	mon(e, MON_STORE32, ZW_SOC_MSIX_RAISE, ZW_NUM_VECTORS, &cause);
	assert_int_equal(cause, STORE_FAULT);
	/* The timer wakes WFI, not before its time. */
	slept = mon(e, MON_SLEEP, 0, 30000, NULL);
	assert_in_range(slept, 30000, 5000000);
}

static void shared_window(void **state)
{
	struct device_env *e = *state;

	mon(e, MON_STORE64, ZW_SOC_SHARED_BASE, 0x1122334455667788, NULL);
	mon(e, MON_STORE32, ZW_SOC_SHARED_BASE + 0xfffc, 0x99aabbcc, NULL);
	assert_int_equal(r64(e, ZW_REG_FW_SHARED), 0x1122334455667788);
	assert_int_equal(r32(e, ZW_REG_FW_SHARED + 4), 0x11223344);
	assert_int_equal(r32(e, ZW_REG_FW_SHARED + 0xfffc), 0x99aabbcc);
	unsigned int errors = e->guest_errors;

	w32(e, ZW_REG_FW_SHARED, 0);
	assert_int_equal(e->guest_errors, errors + 1);
	assert_int_equal(r32(e, ZW_REG_FW_SHARED), 0x55667788);
}

static bool answered(struct device_env *e, struct monitor_reply *r)
{
	pthread_mutex_lock(&e->lock);
	memcpy(r, e->sys + (SYS_REPLY - SYS_BASE), sizeof(*r));
	pthread_mutex_unlock(&e->lock);
	return r->seq == e->seq;
}

static void doorbells(void **state)
{
	struct device_env *e = *state;
	struct monitor_reply r;

	mon_send(e, MON_WAIT_IRQ, 0, ZW_SOC_IRQ_DOORBELL);
	usleep(2000); /* parked by now; if not, the test is still right */
	w32(e, ZW_REG_DOORBELL(5), 0);
	WAIT_FOR(answered(e, &r));
	assert_true(r.val & ZW_SOC_IRQ_DOORBELL);
	w32(e, ZW_REG_DOORBELL(0), 123);
	w32(e, ZW_REG_DOORBELL(63), 0);
	w32(e, ZW_REG_DOORBELL(63), 0);
	assert_int_equal(mon(e, MON_LOAD64, ZW_SOC_DB_CLAIM(0), 0, NULL),
			 (1ull << 63) | (1ull << 5) | 1);
	assert_int_equal(mon(e, MON_LOAD32, ZW_SOC_IRQ_PENDING, 0, NULL) & ZW_SOC_IRQ_DOORBELL, 0);
	assert_int_equal(mon(e, MON_LOAD64, ZW_SOC_DB_CLAIM(0), 0, NULL), 0);
	/* The DOORBELL bit follows DB_PENDING: it cannot be written away. */
	w32(e, ZW_REG_DOORBELL(1), 0);
	mon(e, MON_STORE32, ZW_SOC_IRQ_PENDING, ~0u, NULL);
	assert_true(mon(e, MON_LOAD32, ZW_SOC_IRQ_PENDING, 0, NULL) & ZW_SOC_IRQ_DOORBELL);
	/* 64-bit or misplaced: not a doorbell. */
	mon(e, MON_LOAD64, ZW_SOC_DB_CLAIM(0), 0, NULL);
	w64(e, ZW_REG_DOORBELL(2), 0);
	w32(e, ZW_REG_DOORBELL(2) + 4, 0);
	w32(e, ZW_REG_DOORBELL(ZW_DEFAULT_QUEUES), 0);
	assert_int_equal(mon(e, MON_LOAD64, ZW_SOC_DB_SUMMARY, 0, NULL), 0);
	assert_int_equal(mon(e, MON_LOAD64, ZW_SOC_DB_CLAIM(0), 0, NULL), 0);
	/* Banks: the line stays up until the last one is claimed. */
	w32(e, ZW_REG_DOORBELL(3), 0);
	w32(e, ZW_REG_DOORBELL(64), 0);
	w32(e, ZW_REG_DOORBELL(ZW_DEFAULT_QUEUES - 1), 0);
	assert_int_equal(mon(e, MON_LOAD64, ZW_SOC_DB_SUMMARY, 0, NULL), 1 | 1 << 1 | 1 << 3);
	assert_int_equal(mon(e, MON_LOAD64, ZW_SOC_DB_CLAIM(1), 0, NULL), 1);
	assert_int_equal(mon(e, MON_LOAD64, ZW_SOC_DB_CLAIM(0), 0, NULL), 1 << 3);
	assert_true(mon(e, MON_LOAD32, ZW_SOC_IRQ_PENDING, 0, NULL) & ZW_SOC_IRQ_DOORBELL);
	assert_int_equal(mon(e, MON_LOAD64, ZW_SOC_DB_CLAIM(3), 0, NULL), 1ull << 63);
	assert_int_equal(mon(e, MON_LOAD32, ZW_SOC_IRQ_PENDING, 0, NULL) & ZW_SOC_IRQ_DOORBELL, 0);
	assert_int_equal(mon(e, MON_LOAD64, ZW_SOC_DB_CLAIM(ZW_SOC_BANKS - 1), 0, NULL), 0);
}

/* The monitor's requests come through the DMA port too, so a transfer and its status are one
 * request. */
static void dma_port(void **state)
{
	struct device_env *e = *state;
	static const struct {
		struct monitor_dma arg;
		uint32_t status;
	} t[] = {
		{{SYS_DATA, MON_BUF, 64, ZW_SOC_DMA_TO_SRAM}, 0},
		{{SYS_DATA, MON_BUF, 0, ZW_SOC_DMA_TO_SRAM}, 2},
		{{SYS_DATA, MON_BUF, 4097, ZW_SOC_DMA_TO_SRAM}, 2},
		{{SYS_DATA, MON_BUF, 64, 0}, 2},
		{{SYS_DATA, MON_BUF, 64, 3}, 2},
		{{SYS_DATA, ZW_SOC_SRAM_BASE - 1, 64, ZW_SOC_DMA_TO_SRAM}, 2},
		{{SYS_DATA, ZW_SOC_SRAM_BASE + ZW_SOC_SRAM_SIZE - 63, 64, ZW_SOC_DMA_TO_SRAM}, 2},
		{{SYS_DATA, UINT64_MAX - 10, 64, ZW_SOC_DMA_TO_SRAM}, 2},
		{{UINT64_MAX - 10, MON_BUF, 64, ZW_SOC_DMA_TO_SRAM}, 2},
		{{0x1000, MON_BUF, 64, ZW_SOC_DMA_TO_SRAM}, 1},
		{{0x1000, MON_BUF, 64, ZW_SOC_DMA_TO_SYS}, 1},
		{{SYS_DATA + 4096, MON_BUF, 64, ZW_SOC_DMA_TO_SYS}, 0},
		{{SYS_DATA, ZW_SOC_SHARED_BASE, 4096, ZW_SOC_DMA_TO_SRAM}, 0},
	};

	memset(e->sys + (SYS_DATA - SYS_BASE), 0xa5, 64);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		memcpy(e->sys + (SYS_REQUEST - SYS_BASE) + sizeof(struct monitor_request),
		       &t[i].arg, sizeof(t[i].arg));
		assert_int_equal(mon(e, MON_DMA, 0, 0, NULL), t[i].status);
	}
	assert_int_equal(mon(e, MON_LOAD32, MON_BUF, 0, NULL), 0xa5a5a5a5);
	assert_int_equal(e->sys[SYS_DATA + 4096 - SYS_BASE], 0xa5);
	assert_int_equal(e->sys[SYS_DATA + 4096 + 63 - SYS_BASE], 0xa5);
	assert_int_equal(e->sys[SYS_DATA + 4096 + 64 - SYS_BASE], 0);
	assert_int_equal(r32(e, ZW_REG_FW_SHARED + 60), 0xa5a5a5a5);
	assert_int_equal(r32(e, ZW_REG_FW_SHARED + 64), 0);
}

static void scrubber(void **state)
{
	struct device_env *e = *state;

	memset(e->hbm, 0x77, 4 * MIB);
	mon(e, MON_STORE64, ZW_SOC_SCRUB_ADDR, 4096, NULL);
	mon(e, MON_STORE64, ZW_SOC_SCRUB_SIZE, 2 * MIB, NULL);
	mon(e, MON_STORE32, ZW_SOC_SCRUB_CTRL, 1, NULL);
	assert_int_equal(mon(e, MON_LOAD32, ZW_SOC_SCRUB_STATUS, 0, NULL), 0);
	assert_int_equal(e->hbm[4095], 0x77);
	assert_int_equal(e->hbm[4096], 0);
	assert_int_equal(e->hbm[2 * MIB + 4095], 0);
	assert_int_equal(e->hbm[2 * MIB + 4096], 0x77);
	static const uint64_t bad[][2] = {{1, 4096},
					  {4096, 4095},
					  {HBM_SIZE, 4096},
					  {0, HBM_SIZE + 4096},
					  {UINT64_MAX - 4095, 8192}};
	for (int i = 0; i < 5; i++) {
		mon(e, MON_STORE64, ZW_SOC_SCRUB_ADDR, bad[i][0], NULL);
		mon(e, MON_STORE64, ZW_SOC_SCRUB_SIZE, bad[i][1], NULL);
		mon(e, MON_STORE32, ZW_SOC_SCRUB_CTRL, 1, NULL);
		assert_int_equal(mon(e, MON_LOAD32, ZW_SOC_SCRUB_STATUS, 0, NULL), 2);
	}
}

static void mmu_port(void **state)
{
	struct device_env *e = *state;
	uint64_t cause;

	mon(e, MON_STORE32, ZW_SOC_MMU_VM, 3, NULL);
	mon(e, MON_STORE64, ZW_SOC_MMU_ROOT, 0x10000 | ZW_SOC_MMU_ROOT_VALID, NULL);
	assert_int_equal(mon(e, MON_LOAD32, ZW_SOC_MMU_STATUS, 0, NULL), 0);
	assert_true(mon(e, MON_LOAD32, ZW_SOC_IRQ_PENDING, 0, NULL) & ZW_SOC_IRQ_TLB);
	mon(e, MON_STORE32, ZW_SOC_IRQ_PENDING, ZW_SOC_IRQ_TLB, NULL);
	assert_false(mon(e, MON_LOAD32, ZW_SOC_IRQ_PENDING, 0, NULL) & ZW_SOC_IRQ_TLB);
	static const uint64_t bad[] = {0x10000, 0x10801, HBM_SIZE | 1, ~0ull};
	for (int i = 0; i < 4; i++) {
		mon(e, MON_STORE64, ZW_SOC_MMU_ROOT, bad[i], NULL);
		assert_int_equal(mon(e, MON_LOAD32, ZW_SOC_MMU_STATUS, 0, NULL), 2);
	}
	mon(e, MON_STORE64, ZW_SOC_MMU_ROOT, 0, NULL);
	assert_int_equal(mon(e, MON_LOAD32, ZW_SOC_MMU_STATUS, 0, NULL), 0);
	mon(e, MON_STORE32, ZW_SOC_MMU_INVALIDATE, 1, NULL);
	assert_int_equal(mon(e, MON_LOAD64, ZW_SOC_MMU_BUSY(0), 0, NULL), 0);
	mon(e, MON_STORE32, ZW_SOC_MMU_VM, ZW_MAX_VMS, NULL);
	mon(e, MON_STORE64, ZW_SOC_MMU_ROOT, 0x10000 | ZW_SOC_MMU_ROOT_VALID, NULL);
	assert_int_equal(mon(e, MON_LOAD32, ZW_SOC_MMU_STATUS, 0, NULL), 1);
	mon(e, MON_STORE32, ZW_SOC_MMU_INVALIDATE, 1, &cause);
	assert_int_equal(cause, STORE_FAULT);
}

/* -- command processor -- */

#define ROOT    (32 * MIB)
#define CMD_VA  UINT64_C(0x200000)
#define DATA_VA UINT64_C(0x400000)
#define SEM_VA  UINT64_C(0x600000)

/* VM 1: 2 MiB pages, VA = HBM address for the first 16 MiB. */
static void make_vm(struct device_env *e)
{
	uint64_t *l3 = (void *)(e->hbm + ROOT), *l2 = l3 + 512, *l1 = l2 + 512;

	l3[0] = (ROOT + 4096) | ZW_PTE_VALID;
	l2[0] = (ROOT + 8192) | ZW_PTE_VALID;
	for (uint64_t i = 0; i < 8; i++)
		l1[i] = (i * 2 * MIB) | ZW_PTE_VALID | ZW_PTE_LEAF | ZW_PTE_READ | ZW_PTE_WRITE;
	mon(e, MON_STORE32, ZW_SOC_MMU_VM, 1, NULL);
	mon(e, MON_STORE64, ZW_SOC_MMU_ROOT, ROOT | ZW_SOC_MMU_ROOT_VALID, NULL);
	mon(e, MON_STORE32, ZW_SOC_IRQ_PENDING, ZW_SOC_IRQ_TLB, NULL);
}

static void put_job(struct device_env *e, const struct zw_soc_job *job)
{
	uint64_t w[sizeof(*job) / 8];

	memcpy(w, job, sizeof(w));
	for (unsigned int i = 0; i < sizeof(*job) / 8; i++)
		mon(e, MON_STORE64, MON_BUF + 8 * i, w[i], NULL);
	mon(e, MON_STORE64, ZW_SOC_CP_JOB, MON_BUF, NULL);
}

static void get_job(struct device_env *e, struct zw_soc_job *job)
{
	uint64_t w[sizeof(*job) / 8];

	for (unsigned int i = 0; i < sizeof(*job) / 8; i++)
		w[i] = mon(e, MON_LOAD64, MON_BUF + 8 * i, 0, NULL);
	memcpy(job, w, sizeof(w));
}

static void finish_job(struct device_env *e, struct zw_soc_job *job)
{
	WAIT_FOR(mon(e, MON_LOAD32, ZW_SOC_CP_STATUS, 0, NULL) == ZW_SOC_CP_DONE);
	assert_true(mon(e, MON_LOAD32, ZW_SOC_IRQ_PENDING, 0, NULL) & ZW_SOC_IRQ_CP);
	get_job(e, job);
	mon(e, MON_STORE32, ZW_SOC_CP_CTRL, ZW_SOC_CP_ACK, NULL);
	assert_int_equal(mon(e, MON_LOAD32, ZW_SOC_CP_STATUS, 0, NULL), ZW_SOC_CP_IDLE);
	assert_false(mon(e, MON_LOAD32, ZW_SOC_IRQ_PENDING, 0, NULL) & ZW_SOC_IRQ_CP);
}

static void jobs(void **state)
{
	struct device_env *e = *state;
	struct zw_soc_job job = {.queue = 2, .vm = 1, .seqno = 1};
	struct zw_pkt_fill fill = {.hdr = {.opcode = ZW_OP_FILL, .size = sizeof(fill)},
				   .dst = DATA_VA,
				   .bytes = 4096,
				   .rows = 1,
				   .pattern = 0xcafef00d};
	uint64_t cause;

	make_vm(e);
	/* empty */
	put_job(e, &job);
	mon(e, MON_STORE32, ZW_SOC_CP_CTRL, ZW_SOC_CP_START, NULL);
	finish_job(e, &job);
	assert_int_equal(job.end, ZW_SOC_END_COMPLETE);
	assert_int_equal(job.status, ZW_JOB_OK);
	assert_int_equal(r64(e, ZW_PMU_JOBS), 1);
	/* one packet */
	memcpy(e->hbm + CMD_VA, &fill, sizeof(fill));
	job = (struct zw_soc_job){
		.queue = 2, .vm = 1, .seqno = 2, .cmd_va = CMD_VA, .cmd_bytes = sizeof(fill)};
	put_job(e, &job);
	mon(e, MON_STORE32, ZW_SOC_CP_CTRL, ZW_SOC_CP_START, NULL);
	finish_job(e, &job);
	assert_int_equal(job.end, ZW_SOC_END_COMPLETE);
	assert_int_equal(job.status, ZW_JOB_OK);
	assert_true(job.end_ps > job.start_ps);
	for (int i = 0; i < 1024; i++)
		assert_int_equal(((uint32_t *)(e->hbm + DATA_VA))[i], 0xcafef00d);
	assert_int_equal(r64(e, ZW_PMU_PACKETS), 1);
	assert_int_equal(r64(e, ZW_PMU_HBM_WRITTEN), 4096);
	/* the firmware sees the counters that the host does, and what the chip takes by itself */
	mon(e, MON_STORE64, ZW_SOC_PMU_SNAPSHOT, MON_BUF + 1024, NULL);
	for (unsigned int i = 0; i < ZW_PMU_COUNT; i++)
		assert_int_equal(mon(e, MON_LOAD64, MON_BUF + 1024 + 8 * i, 0, NULL),
				 r64(e, ZW_REG_PMU + 8 * i));
	assert_true(r64(e, ZW_PMU_SETTLED_PS) > 1000000);
	assert_in_range(r64(e, ZW_PMU_CHIP_ENERGY_UJ) - r64(e, ZW_PMU_ENERGY_PJ) / 1000000,
			r64(e, ZW_PMU_SETTLED_PS) * 73 / 1000000,
			r64(e, ZW_PMU_SETTLED_PS) * 73 / 1000000 + 1);
	/* a fault is reported with its place */
	fill.dst = 64 * MIB;
	memcpy(e->hbm + CMD_VA, &fill, sizeof(fill));
	job.seqno = 3;
	job.resume_offset = 0;
	put_job(e, &job);
	mon(e, MON_STORE32, ZW_SOC_CP_CTRL, ZW_SOC_CP_START, NULL);
	finish_job(e, &job);
	assert_int_equal(job.status, ZW_JOB_FAULT);
	assert_int_equal(job.reason, ZW_FAULT_UNMAPPED);
	assert_int_equal(job.fault_va, 64 * MIB);
	assert_int_equal(job.fault_access, ZW_ACCESS_WRITE);
	assert_true(r64(e, ZW_PMU_FAULTS) >= 1);
	/* nonsense */
	mon(e, MON_STORE64, ZW_SOC_CP_JOB, MON_BUF + 8, NULL);
	mon(e, MON_STORE32, ZW_SOC_CP_CTRL, ZW_SOC_CP_START, &cause);
	assert_int_equal(cause, STORE_FAULT);
	mon(e, MON_STORE64, ZW_SOC_CP_JOB, ZW_SOC_SRAM_BASE + ZW_SOC_SRAM_SIZE - 64, NULL);
	mon(e, MON_STORE32, ZW_SOC_CP_CTRL, ZW_SOC_CP_START, &cause);
	assert_int_equal(cause, STORE_FAULT);
	job.queue = ZW_DEFAULT_QUEUES;
	put_job(e, &job);
	mon(e, MON_STORE32, ZW_SOC_CP_CTRL, ZW_SOC_CP_START, &cause);
	assert_int_equal(cause, STORE_FAULT);
	mon(e, MON_STORE32, ZW_SOC_CP_CTRL, 99, &cause);
	assert_int_equal(cause, STORE_FAULT);
	assert_int_equal(mon(e, MON_LOAD32, ZW_SOC_CP_STATUS, 0, NULL), ZW_SOC_CP_IDLE);
	mon(e, MON_STORE32, ZW_SOC_CP_QUEUE_RESET, 2, NULL);
	mon(e, MON_STORE32, ZW_SOC_CP_QUEUE_RESET, ZW_DEFAULT_QUEUES, &cause);
	assert_int_equal(cause, STORE_FAULT);
	mon(e, MON_STORE32, ZW_SOC_CP_QUEUE_OPEN, 2 | ZW_SOC_CP_QUEUE_PRIORITY(ZW_PRIO_HIGH), NULL);
	mon(e, MON_STORE32, ZW_SOC_CP_QUEUE_OPEN, ZW_DEFAULT_QUEUES, &cause);
	assert_int_equal(cause, STORE_FAULT);
	mon(e, MON_STORE32, ZW_SOC_CP_QUEUE_OPEN, 2 | ZW_SOC_CP_QUEUE_PRIORITY(ZW_PRIO_COUNT),
	    &cause);
	assert_int_equal(cause, STORE_FAULT);
	/* a VM without tables, and one that does not exist */
	job = (struct zw_soc_job){
		.queue = 1, .vm = 0xffffffff, .cmd_va = CMD_VA, .cmd_bytes = sizeof(fill)};
	put_job(e, &job);
	mon(e, MON_STORE32, ZW_SOC_CP_CTRL, ZW_SOC_CP_START, NULL);
	finish_job(e, &job);
	assert_int_equal(job.status, ZW_JOB_INTERNAL);
	job = (struct zw_soc_job){
		.queue = 1, .vm = 63, .cmd_va = CMD_VA, .cmd_bytes = sizeof(fill)};
	put_job(e, &job);
	mon(e, MON_STORE32, ZW_SOC_CP_CTRL, ZW_SOC_CP_START, NULL);
	finish_job(e, &job);
	assert_int_equal(job.status, ZW_JOB_FAULT);
	assert_int_equal(job.reason, ZW_FAULT_NO_VM);
}

/* 96 GiB: engines write and DMA reads back the first, a middle and the last page of it. */
static void far_corners(void **state)
{
	const uint64_t size = 96 * GIB, at[] = {16 * MIB, size / 2, size - 2 * MIB};
	struct device_env *e = env_new_hbm(1, size);
	struct {
		struct zw_pkt_fill fill[3];
		struct zw_pkt_copy copy[3];
	} cmd;
	struct zw_soc_job job = {
		.queue = 1, .vm = 1, .seqno = 1, .cmd_va = CMD_VA, .cmd_bytes = sizeof(cmd)};
	uint64_t *l3 = (void *)(e->hbm + ROOT), *l1 = l3 + 1024;

	env_boot(e);
	assert_int_equal(mon(e, MON_LOAD64, ZW_SOC_HBM_SIZE, 0, NULL), size);
	make_vm(e);
	memset(&cmd, 0, sizeof(cmd));
	for (unsigned int i = 0; i < 3; i++) {
		const uint64_t va = (16 + i) * 2 * MIB, sys_va = 32 * 2 * MIB + i * 4096;

		l1[16 + i] = at[i] | ZW_PTE_VALID | ZW_PTE_LEAF | ZW_PTE_READ | ZW_PTE_WRITE;
		cmd.fill[i] = (struct zw_pkt_fill){
			.hdr = {.opcode = ZW_OP_FILL, .size = sizeof(cmd.fill[0])},
			.dst = va + 2 * MIB - 4096,
			.bytes = 4096,
			.rows = 1,
			.pattern = 0xabcd0000 + i};
		cmd.copy[i] = (struct zw_pkt_copy){
			.hdr = {.opcode = ZW_OP_COPY, .size = sizeof(cmd.copy[0])},
			.dst = sys_va,
			.src = va + 2 * MIB - 4096,
			.bytes = 4096,
			.rows = 1};
	}
	/* system memory: one table of 4 KiB pages behind the others */
	l1[32] = (ROOT + 12288) | ZW_PTE_VALID;
	for (unsigned int i = 0; i < 3; i++)
		l3[1536 + i] = (SYS_DATA + i * 4096) | ZW_PTE_VALID | ZW_PTE_LEAF | ZW_PTE_WRITE |
			       ZW_PTE_TARGET(ZW_TARGET_SYSTEM);
	memcpy(e->hbm + CMD_VA, &cmd, sizeof(cmd));
	put_job(e, &job);
	mon(e, MON_STORE32, ZW_SOC_CP_CTRL, ZW_SOC_CP_START, NULL);
	finish_job(e, &job);
	assert_int_equal(job.status, ZW_JOB_OK);
	for (unsigned int i = 0; i < 3; i++) {
		const uint32_t *hbm = (void *)(e->hbm + at[i] + 2 * MIB - 4096);
		const uint32_t *sys = (void *)(e->sys + (SYS_DATA - SYS_BASE) + i * 4096);

		for (unsigned int k = 0; k < 1024; k++) {
			assert_int_equal(hbm[k], 0xabcd0000 + i);
			assert_int_equal(sys[k], 0xabcd0000 + i);
		}
	}
	zw_device_reset(e->dev, true);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(*(uint32_t *)(e->hbm + at[i] + 2 * MIB - 4096), 0);
	env_free(e);
}

/* A command buffer of many large copies: seconds of work, unless it is stopped. */
static void long_job(struct device_env *e, struct zw_soc_job *job)
{
	const unsigned int n = 200000;
	struct zw_pkt_fill fill = {.hdr = {.opcode = ZW_OP_FILL, .size = sizeof(fill)},
				   .dst = 12 * MIB,
				   .bytes = 4 * MIB,
				   .rows = 1,
				   .pattern = 1};

	make_vm(e);
	for (unsigned int i = 0; i < n; i++)
		memcpy(e->hbm + CMD_VA + i * sizeof(fill), &fill, sizeof(fill));
	*job = (struct zw_soc_job){
		.queue = 2, .vm = 1, .seqno = 1, .cmd_va = CMD_VA, .cmd_bytes = n * sizeof(fill)};
	put_job(e, job);
	mon(e, MON_STORE32, ZW_SOC_CP_CTRL, ZW_SOC_CP_START, NULL);
	WAIT_FOR(r64(e, ZW_PMU_PACKETS));
}

static void stop_job(void **state)
{
	struct device_env *e = *state;
	struct zw_soc_job job;
	uint64_t cause;

	long_job(e, &job);
	mon(e, MON_STORE32, ZW_SOC_CP_CTRL, ZW_SOC_CP_START, &cause);
	assert_int_equal(cause, STORE_FAULT); /* runs already */
	mon(e, MON_STORE32, ZW_SOC_CP_QUEUE_RESET, 2, &cause);
	assert_int_equal(cause, STORE_FAULT);
	/* An invalidation of the running VM ends although the job goes on. */
	mon(e, MON_STORE32, ZW_SOC_MMU_VM, 1, NULL);
	mon(e, MON_STORE32, ZW_SOC_MMU_INVALIDATE, 1, NULL);
	WAIT_FOR(!mon(e, MON_LOAD64, ZW_SOC_MMU_BUSY(0), 0, NULL));
	/* The interrupt follows the bit, at once but not with it. */
	WAIT_FOR(mon(e, MON_LOAD32, ZW_SOC_IRQ_PENDING, 0, NULL) & ZW_SOC_IRQ_TLB);
	assert_int_equal(mon(e, MON_LOAD32, ZW_SOC_CP_STATUS, 0, NULL), ZW_SOC_CP_RUNNING);
	mon(e, MON_STORE32, ZW_SOC_CP_CTRL, ZW_SOC_CP_PREEMPT, NULL);
	finish_job(e, &job);
	assert_int_equal(job.end, ZW_SOC_END_PREEMPTED);
	assert_true(job.next_offset > 0 && job.next_offset < job.cmd_bytes);
	/* goes on where it was, and can be cancelled */
	job.resume_offset = job.next_offset;
	put_job(e, &job);
	mon(e, MON_STORE32, ZW_SOC_CP_CTRL, ZW_SOC_CP_START, NULL);
	mon(e, MON_STORE32, ZW_SOC_CP_CTRL, ZW_SOC_CP_CANCEL, NULL);
	finish_job(e, &job);
	assert_int_equal(job.end, ZW_SOC_END_COMPLETE);
	assert_int_equal(job.status, ZW_JOB_CANCELED);
	/* Requests without a run change nothing: the next job is a healthy one. */
	mon(e, MON_STORE32, ZW_SOC_CP_CTRL, ZW_SOC_CP_CANCEL, NULL);
	mon(e, MON_STORE32, ZW_SOC_CP_CTRL, ZW_SOC_CP_PREEMPT, NULL);
	job = (struct zw_soc_job){.queue = 3,
				  .vm = 1,
				  .seqno = 1,
				  .cmd_va = CMD_VA,
				  .cmd_bytes = sizeof(struct zw_pkt_fill)};
	put_job(e, &job);
	mon(e, MON_STORE32, ZW_SOC_CP_CTRL, ZW_SOC_CP_START, NULL);
	finish_job(e, &job);
	assert_int_equal(job.status, ZW_JOB_OK);
}

static void expect_power_on(struct device_env *e);

/*
 * Firmware that makes no sense: any peripheral, any value, jobs of garbage. Nothing outside of the
 * device may be touched (ASan, and system memory is watched), and it has to stay controllable.
 */
static void nonsense(void **state)
{
	struct device_env *e = *state;
	static const uint64_t edge[] = {
		0,        1,          2,          3,          4,          64,
		4095,     4096,       0x80000000, 0x800fffc0, 0x80100000, HBM_SIZE - 4096,
		HBM_SIZE, 1ull << 47, 1ull << 48, SYS_DATA,   ~0ull};
	uint64_t seed = 99;

	make_vm(e);
	for (int i = 0; i < 6000; i++) {
		uint64_t addr = 0x10000000 + test_rand(&seed) % 0x140 * 4;
		uint64_t val = test_rand(&seed) % 3 ? edge[test_rand(&seed) % 17]
						    : test_rand(&seed) >> test_rand(&seed) % 64;
		uint32_t op = MON_LOAD8 + test_rand(&seed) % 6;
		uint64_t cause;

		/* Without its doorbell interrupt the monitor would not hear us any more. */
		if (op >= MON_STORE8 && (addr == ZW_SOC_IRQ_ENABLE || addr == ZW_SOC_FW_STATUS))
			continue;
		if (i % 16 == 0) {
			struct zw_soc_job job;

			for (unsigned int k = 0; k < sizeof(job) / 8; k++)
				((uint64_t *)&job)[k] = edge[test_rand(&seed) % 17];
			job.queue = test_rand(&seed) % 80;
			job.vm = test_rand(&seed) % 4;
			job.cmd_va = test_rand(&seed) % 2 ? CMD_VA : job.cmd_va;
			put_job(e, &job);
			addr = ZW_SOC_CP_CTRL;
			op = MON_STORE32;
			val = ZW_SOC_CP_START;
		}
		mon(e, op, addr & ~(uint64_t)(op % 3 == 2 ? 7 : 3), val, &cause);
		if (i % 7 == 0)
			zw_device_mmio_write(e->dev, test_rand(&seed) % 0x120000 & ~3ull, val, 4);
		if (i % 7 == 0) {
			w64(e, ZW_REG_MBOX_H2F, SYS_REQUEST);
			w64(e, ZW_REG_MBOX_F2H, SYS_REPLY);
		}
	}
	mon(e, MON_STORE32, ZW_SOC_CP_CTRL, ZW_SOC_CP_CANCEL, NULL);
	zw_device_reset(e->dev, true);
	expect_power_on(e);
	env_boot(e);
	assert_int_equal(mon(e, MON_LOAD32, ZW_SOC_NUM_VMS, 0, NULL), ZW_DEFAULT_VMS);
}

/* -- reset -- */

/* Of processor time, all threads': the job would take a minute of it, a busy machine takes none. */
static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void expect_power_on(struct device_env *e)
{
	assert_int_equal(r32(e, ZW_REG_RESET_STATUS), 0);
	assert_int_equal(r32(e, ZW_REG_BOOT_STATUS), ZW_BOOT_IDLE);
	assert_int_equal(r32(e, ZW_REG_FW_VERSION), 0);
	assert_int_equal(r32(e, ZW_REG_FW_HEARTBEAT), 0);
	assert_int_equal(r64(e, ZW_REG_FW_ADDR), 0);
	assert_int_equal(r64(e, ZW_REG_MBOX_H2F), 0);
	assert_int_equal(r32(e, ZW_REG_FW_SHARED), 0);
	for (int i = 0; i < ZW_PMU_COUNT; i++)
		assert_int_equal(r64(e, ZW_REG_PMU + 8 * i), 0);
}

static void reset_mid_job(void **state)
{
	struct device_env *e = *state;
	struct zw_soc_job job;
	double start;

	for (int round = 0; round < 3; round++) {
		mon(e, MON_STORE32, ZW_SOC_SHARED_BASE, 0x55, NULL);
		w32(e, ZW_REG_DOORBELL(7), 0);
		long_job(e, &job);
		start = seconds();
		if (round == 0) { /* the driver's */
			w32(e, ZW_REG_RESET, ZW_RESET_KEY);
			env_wait_reg(e, ZW_REG_RESET_STATUS, 0);
			assert_int_equal(e->hbm[12 * MIB], 1); /* HBM stays */
		} else if (round == 1) { /* the host's, which has the last word */
			unsigned int resets = e->resets;

			e->hold_reset = true;
			zw_device_reset_begin(e->dev, true);
			assert_int_equal(r32(e, ZW_REG_RESET_STATUS), 1);
			env_wait_count(&e->resets, resets + 1);
			assert_int_equal(e->hbm[12 * MIB], 0);
			assert_int_equal(e->hbm[CMD_VA], 0);
			assert_int_equal(r32(e, ZW_REG_RESET_STATUS), 1);
			w32(e, ZW_REG_BOOT_CTRL, ZW_BOOT_START);
			assert_int_equal(r32(e, ZW_REG_BOOT_STATUS), ZW_BOOT_IDLE);
			assert_true(zw_device_reset_end(e->dev));
			assert_false(zw_device_reset_end(e->dev));
			e->hold_reset = false;
		} else { /* both at once */
			w32(e, ZW_REG_RESET, ZW_RESET_KEY);
			zw_device_reset(e->dev, false);
		}
		assert_true(seconds() - start < 5);
		expect_power_on(e);
		/* Nothing of the old job moves any more. */
		unsigned int dma = e->dma_calls;

		memset(e->hbm + 12 * MIB, 0x66, 4 * MIB);
		usleep(20000);
		assert_int_equal(e->dma_calls, dma);
		for (uint64_t i = 12 * MIB; i < 16 * MIB; i += 64)
			assert_int_equal(e->hbm[i], 0x66);
		env_boot(e);
		assert_int_equal(mon(e, MON_LOAD64, ZW_SOC_DB_CLAIM(0), 0, NULL), 0);
	}
}

static void reset_anywhere(void **state)
{
	struct device_env *e = *state;
	uint64_t seed = 3;

	for (int i = 0; i < 60; i++) {
		uint32_t size;
		uint8_t *image = image_new(monitor_text, monitor_size, 65536, &size);

		env_start(e, image, size);
		free(image);
		if (test_rand(&seed) % 2)
			usleep(test_rand(&seed) % 3000);
		if (i % 3 == 0)
			mon_send(e, MON_SPIN, 0, 0);
		if (i % 2) {
			w32(e, ZW_REG_RESET, ZW_RESET_KEY);
			if (i % 4 == 1)
				env_wait_reg(e, ZW_REG_RESET_STATUS, 0);
			else
				zw_device_reset(e->dev, true);
		} else {
			zw_device_reset(e->dev, false);
		}
		expect_power_on(e);
	}
	env_boot(e);
	assert_int_equal(mon(e, MON_LOAD32, ZW_SOC_NUM_VMS, 0, NULL), ZW_DEFAULT_VMS);
	/* Freed while the firmware spins: teardown must not hang. */
	mon_send(e, MON_SPIN, 0, 0);
}

/* A job outlives neither the firmware that started it nor the one that takes over. */
static void refusal_mid_job(void **state)
{
	struct device_env *e = *state;
	struct zw_soc_job job;
	uint64_t packets;

	for (int round = 0; round < 10; round++) {
		long_job(e, &job);
		mon_send(e, MON_FAIL, 0, ZW_SOC_FW_FAIL | 7);
		env_wait_reg(e, ZW_REG_BOOT_STATUS, ZW_BOOT_FAILED);
		env_boot(e);
		assert_int_equal(mon(e, MON_LOAD32, ZW_SOC_CP_STATUS, 0, NULL), ZW_SOC_CP_IDLE);
		assert_false(mon(e, MON_LOAD32, ZW_SOC_IRQ_PENDING, 0, NULL) & ZW_SOC_IRQ_CP);
		packets = r64(e, ZW_PMU_PACKETS);
		usleep(3000);
		assert_int_equal(r64(e, ZW_PMU_PACKETS), packets);
		/* The old job's record is not in the new firmware's memory. */
		for (unsigned int i = 0; i < sizeof(job); i += 8)
			assert_int_equal(mon(e, MON_LOAD64, MON_BUF + i, 0, NULL), 0);
		zw_device_reset(e->dev, false);
		env_boot(e);
	}
}

/* -- everything at once -- */

struct crowd {
	struct device_env *e;
	uint32_t image_size; /* of the one that was booted before */
	uint64_t seed;
	_Atomic bool *end;
};

/* Between two resets some should come to their end: they take longer where all is slower. */
#ifdef __SANITIZE_THREAD__
#define PAUSE_US 200000
#else
#define PAUSE_US 2000
#endif

static void *resetter(void *arg)
{
	struct crowd *c = arg;

	while (!*c->end) {
		zw_device_reset_begin(c->e->dev, test_rand(&c->seed) % 2);
		if (test_rand(&c->seed) % 2)
			usleep(test_rand(&c->seed) % PAUSE_US);
	}
	return NULL;
}

static void *driver(void *arg)
{
	struct crowd *c = arg;

	while (!*c->end) {
		switch (test_rand(&c->seed) % 4) {
		case 0:
			w32(c->e, ZW_REG_RESET, ZW_RESET_KEY);
			break;
		case 1:
			env_start_again(c->e, c->image_size);
			break;
		case 2:
			zw_device_reset(c->e->dev, test_rand(&c->seed) % 2);
			break;
		default:
			w32(c->e, ZW_REG_DOORBELL(test_rand(&c->seed) % ZW_DEFAULT_QUEUES), 0);
			usleep(test_rand(&c->seed) % 1000);
		}
	}
	return NULL;
}

/* For a while, and for as long as a slow machine needs to have ended a few resets. */
static void crowd_run(struct device_env *e, unsigned int ms, unsigned int resets)
{
	uint32_t image_size = r32(e, ZW_REG_FW_SIZE);
	_Atomic bool end = false;
	struct crowd c[4];
	pthread_t t[4];

	for (unsigned int i = 0; i < 4; i++) {
		c[i] = (struct crowd){.e = e, .image_size = image_size, .seed = 7 + i, .end = &end};
		assert_int_equal(pthread_create(&t[i], NULL, i < 2 ? resetter : driver, &c[i]), 0);
	}
	usleep(ms * 1000);
	env_wait_count(&e->resets, resets);
	end = true;
	for (unsigned int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
}

/* Resets of the host and of the driver, boots and jobs from four threads: the device comes through. */
static void resets_at_random(void **state)
{
	struct device_env *e = *state;

	crowd_run(e, 1000, 4);
	zw_device_reset(e->dev, true);
	expect_power_on(e);
	env_boot(e);
	assert_int_equal(mon(e, MON_LOAD32, ZW_SOC_NUM_VMS, 0, NULL), ZW_DEFAULT_VMS);
}

/* The end is final, whatever goes on: one report, and nothing moves after it. */
static void stop(void **state)
{
	for (int round = 0; round < 20; round++) {
		struct device_env *e = env_new(1);
		struct zw_soc_job job;
		unsigned int dma;

		env_boot(e);
		if (round % 2)
			long_job(e, &job);
		if (round % 3 == 0)
			zw_device_reset_begin(e->dev, true);
		if (round % 5 == 0)
			w32(e, ZW_REG_RESET, ZW_RESET_KEY);
		zw_device_stop(e->dev);
		/* What comes after it comes too late. */
		if (round % 7 < 4)
			zw_device_reset_begin(e->dev, true);
		env_wait_count(&e->stops, 1);
		dma = e->dma_calls;
		zw_device_reset_begin(e->dev, true);
		assert_false(zw_device_reset_end(e->dev));
		w32(e, ZW_REG_BOOT_CTRL, ZW_BOOT_START);
		assert_int_equal(r32(e, ZW_REG_RESET_STATUS), 1);
		usleep(500);
		assert_int_equal(e->stops, 1);
		assert_int_equal(e->dma_calls, dma);
		env_free(e);
	}
}

static void config_errors(void **state)
{
	struct zw_host_ops ops = {0};
	struct zw_device_config cfg = {.profile = zw_profile_find("810e"), .hbm_size = HBM_SIZE};
	char err[128];
	struct device_env *e = env_new(0);

	assert_int_equal(r32(e, ZW_REG_CAPS), ZW_CAP_WORKERS_SYNC | ZW_CAP_USER_QUEUES);
	env_free(e);
	assert_null(zw_device_new(&cfg, &ops, NULL, err, sizeof(err)));
	assert_non_null(strstr(err, "dma_read"));
	ops.dma_read = (void *)1;
	ops.dma_write = (void *)1;
	cfg.hbm_size = MIB;
	assert_null(zw_device_new(&cfg, &ops, NULL, err, sizeof(err)));
	assert_non_null(strstr(err, "2 MiB"));
	cfg.hbm_size = HBM_SIZE;
	cfg.aperture_size = 2 * HBM_SIZE;
	assert_null(zw_device_new(&cfg, &ops, NULL, err, sizeof(err)));
	assert_non_null(strstr(err, "aperture"));
	cfg.aperture_size = 0;
	cfg.workers = -1;
	assert_null(zw_device_new(&cfg, &ops, NULL, err, sizeof(err)));
	assert_non_null(strstr(err, "workers"));
	cfg.workers = 1000;
	assert_null(zw_device_new(&cfg, &ops, NULL, err, sizeof(err)));
}

int main(int argc, char **argv)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define B(f) cmocka_unit_test_setup_teardown(f, setup_booted, teardown)
	const struct CMUnitTest tests[] = {
		T(identity),
		T(odd_accesses),
		T(halves),
		T(boot_errors),
		B(firmware_refuses),
		B(firmware_traps),
		B(basics),
		B(shared_window),
		B(doorbells),
		B(dma_port),
		B(scrubber),
		B(mmu_port),
		B(jobs),
		B(stop_job),
		B(nonsense),
		B(reset_mid_job),
		T(reset_anywhere),
		B(refusal_mid_job),
		T(resets_at_random),
		cmocka_unit_test(stop),
		cmocka_unit_test(far_corners),
		cmocka_unit_test(config_errors),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s MONITOR.BIN\n", argv[0]);
		return 1;
	}
	monitor_load(argv[1]);
	int ret = cmocka_run_group_tests_name("device", tests, NULL, NULL);

	free(monitor_text);
	return ret;
}

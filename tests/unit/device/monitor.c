/* SPDX-License-Identifier: MIT */
#include "zhenwu/zw_soc.h"
#include "monitor.h"

#define REG32(a) (*(volatile uint32_t *)(uintptr_t)(a))
#define REG64(a) (*(volatile uint64_t *)(uintptr_t)(a))
#define REG8(a)  (*(volatile uint8_t *)(uintptr_t)(a))

#define MIE_MTIE (1u << 7)
#define MIE_MEIE (1u << 11)

/* Set by the trap handler in monitor_start.S. */
extern volatile uint64_t trap_cause;

static struct {
	struct monitor_request r;
	struct monitor_dma dma;
} request __attribute__((aligned(64)));
static struct monitor_reply reply __attribute__((aligned(64)));

static void dma(uint64_t sys, volatile void *sram, uint32_t len, uint32_t dir)
{
	REG64(ZW_SOC_DMA_SYS) = sys;
	REG64(ZW_SOC_DMA_SRAM) = (uintptr_t)sram;
	REG32(ZW_SOC_DMA_LEN) = len;
	REG32(ZW_SOC_DMA_CTRL) = dir;
}

static void mie(uint64_t bits)
{
	__asm__ volatile("csrw mie, %0" ::"r"(bits));
}

static void wfi(void)
{
	__asm__ volatile("wfi" ::: "memory");
}

static uint64_t execute(uint32_t op, uint64_t addr, uint64_t val)
{
	uint64_t start, now;
	uint32_t irq;

	switch (op) {
	case MON_LOAD8:
		return REG8(addr);
	case MON_LOAD32:
		return REG32(addr);
	case MON_LOAD64:
		return REG64(addr);
	case MON_STORE8:
		REG8(addr) = (uint8_t)val;
		return 0;
	case MON_STORE32:
		REG32(addr) = (uint32_t)val;
		return 0;
	case MON_STORE64:
		REG64(addr) = val;
		return 0;
	case MON_WAIT_IRQ:
		REG32(ZW_SOC_IRQ_ENABLE) = (uint32_t)val;
		while (!((irq = REG32(ZW_SOC_IRQ_PENDING)) & val))
			wfi();
		REG32(ZW_SOC_IRQ_ENABLE) = ZW_SOC_IRQ_MBOX;
		return irq;
	case MON_SLEEP:
		start = REG64(ZW_SOC_MTIME);
		REG64(ZW_SOC_MTIMECMP) = start + val;
		mie(MIE_MTIE);
		wfi();
		now = REG64(ZW_SOC_MTIME);
		REG64(ZW_SOC_MTIMECMP) = ~0ull;
		mie(MIE_MEIE);
		return now - start;
	case MON_HALT:
		__asm__ volatile("csrw mtvec, zero\n\tebreak");
		return 0;
	case MON_DOUBLE:
		__asm__ volatile("la t0, double_handler\n\tcsrw mtvec, t0\n\tunimp" ::: "t0");
		return 0;
	case MON_SPIN:
		for (;;)
			;
	case MON_FAIL:
		REG32(ZW_SOC_FW_STATUS) = (uint32_t)val;
		for (uint32_t beat = 1000;; beat++)
			REG32(ZW_SOC_HEARTBEAT) = beat;
	case MON_DMA:
		dma(request.dma.sys, (void *)request.dma.sram, request.dma.len, request.dma.ctrl);
		return REG32(ZW_SOC_DMA_STATUS);
	default:
		return ~0ull;
	}
}

void monitor_main(void);
void monitor_main(void)
{
	uint32_t beat = 0;

	mie(MIE_MEIE);
	REG32(ZW_SOC_FW_VERSION) = MON_BOOTED;
	REG32(ZW_SOC_IRQ_ENABLE) = ZW_SOC_IRQ_MBOX;
	REG32(ZW_SOC_FW_STATUS) = ZW_SOC_FW_READY;
	for (;;) {
		while (!(REG32(ZW_SOC_IRQ_PENDING) & ZW_SOC_IRQ_MBOX))
			wfi();
		REG32(ZW_SOC_IRQ_PENDING) = ZW_SOC_IRQ_MBOX;
		REG32(ZW_SOC_HEARTBEAT) = ++beat;
		dma(REG64(ZW_SOC_MBOX_H2F), &request, sizeof(request), ZW_SOC_DMA_TO_SRAM);
		__asm__ volatile("" ::: "memory");
		trap_cause = 0;
		uint64_t val = execute(request.r.op, request.r.addr, request.r.val);

		/* The DMA registers are the tests' as well: their values are gone after this. */
		reply.val = val;
		reply.cause = trap_cause;
		reply.seq = request.r.seq;
		__asm__ volatile("" ::: "memory");
		dma(REG64(ZW_SOC_MBOX_F2H), &reply, sizeof(reply), ZW_SOC_DMA_TO_SYS);
		REG32(ZW_SOC_MSIX_RAISE) = 0;
	}
}

/* SPDX-License-Identifier: MIT */
/*
 * Firmware for tests: executes bus accesses that the host asks for, so that a test can drive every
 * peripheral of the control core from C. One request at a time, at the address in MBOX_H2F; the
 * reply goes to MBOX_F2H.
 */
#ifndef ZW_TEST_MONITOR_H
#define ZW_TEST_MONITOR_H

#include <stdint.h>

enum monitor_op {
	MON_LOAD8,
	MON_LOAD32,
	MON_LOAD64,
	MON_STORE8,
	MON_STORE32,
	MON_STORE64,
	MON_WAIT_IRQ, /* enable the interrupts in val, WFI until one is pending; result: pending */
	MON_SLEEP, /* WFI until the timer fires val microseconds from now; result: mtime that passed
		    */
	MON_HALT,  /* ebreak without a trap vector */
	MON_DOUBLE, /* illegal instruction whose handler traps */
	MON_SPIN,   /* never comes back */
	MON_FAIL,   /* FW_STATUS = val, then beat for ever */
	MON_DMA,    /* the transfer in struct monitor_dma behind the request; result: DMA_STATUS */
};

struct monitor_request {
	uint32_t seq;
	uint32_t op;
	uint64_t addr;
	uint64_t val;
	uint64_t reserved;
};

struct monitor_reply {
	uint64_t val;
	uint64_t cause; /* mcause of an access fault + 1, 0 without */
	uint32_t seq;
	uint32_t reserved;
};

/* Follows the request in system memory. */
struct monitor_dma {
	uint64_t sys, sram;
	uint32_t len, ctrl;
};

#define MON_BUF    0x80080000u /* SRAM the monitor does not use: tests' own */
#define MON_BOOTED 0x4d4f4e31u /* put into FW_VERSION */

#endif

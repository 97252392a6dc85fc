/* SPDX-License-Identifier: MIT */
/*
 * Firmware of the Zhenwu control core: what every file of it needs.
 *
 * One loop, no interrupts, no dynamic memory. The host on the other side of PCIe is not trusted:
 * every value it wrote is copied once and checked before it is used.
 *
 * Layers; each calls only those to its right:
 *   main -> mbox -> ctl -> sched -> queue -> reply -> dma, log
 *   main, mbox -> telemetry -> dma, log
 *   main, mbox -> perf -> dma, log
 *   main, mbox -> event -> reply
 */
#ifndef FW_H
#define FW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "zhenwu/zw_fw.h"
#include "zhenwu/zw_queue.h"
#include "zhenwu/zw_regs.h"
#include "zhenwu/zw_soc.h"

#define FW_VERSION         ZW_FW_VERSION(2, 4, 0)
#define FW_MIN_MINOR       7     /* least ABI minor of a device it runs on: that of its own build */
#define FW_CAPS            0     /* what it needs of the device */
#define FW_TIME_SLICE_US   2000u /* round robin among queues of one priority */
#define FW_BLOCKED_POLL_US 200u  /* how often a job that waits for a semaphore is tried again */
#define FW_HEARTBEAT_US    100000u /* longest sleep */

/* main.c; gcc may call them of itself, too. */
void *memset(void *d, int c, size_t n);
void *memcpy(void *d, const void *s, size_t n);

static inline uint32_t rd32(uintptr_t a)
{
	return *(volatile uint32_t *)a;
}

static inline uint64_t rd64(uintptr_t a)
{
	return *(volatile uint64_t *)a;
}

static inline void wr32(uintptr_t a, uint32_t v)
{
	*(volatile uint32_t *)a = v;
}

static inline void wr64(uintptr_t a, uint64_t v)
{
	*(volatile uint64_t *)a = v;
}

static inline uint64_t now_us(void)
{
	return rd64(ZW_SOC_MTIME);
}

static inline uint64_t u64_of(uint32_t lo, uint32_t hi)
{
	return ((uint64_t)hi << 32) | lo;
}

/*
 * Index of the lowest set bit; m is not zero. The core has no Zbb and the toolchain's libgcc may
 * lack this ABI's multilib, so the builtin is no choice.
 */
static inline uint32_t lowest_bit(uint64_t m)
{
	uint32_t n = 0;

	for (uint32_t half = 32; half; half /= 2) {
		if (!(m & ((1ull << half) - 1))) {
			m >>= half;
			n += half;
		}
	}
	return n;
}

#endif /* FW_H */

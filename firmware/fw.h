/* SPDX-License-Identifier: MIT */
/*
 * Firmware of the Zhenwu control core: shared declarations.
 *
 * One loop, no interrupts, no dynamic memory. The host on the other side of PCIe is not trusted:
 * every value it wrote is copied once and checked before it is used.
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

#define FW_VERSION         ZW_FW_VERSION(1, 0, 0)
#define FW_TIME_SLICE_US   2000u   /* round robin among queues of one priority */
#define FW_BLOCKED_POLL_US 200u    /* how often a job that waits for a semaphore is tried again */
#define FW_HEARTBEAT_US    100000u /* longest sleep */

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

/* -- dma.c: system memory. Lengths 1..4096; 0, or -1 on a bus error ------------------------------
 */
int dma_read(void *sram, uint64_t sys, uint32_t len);
int dma_write(uint64_t sys, const void *sram, uint32_t len);

/* -- log.c: ring in the shared window
 * -------------------------------------------------------------- */
void log_init(void);
/* Formats: %s %d %u %x (32 bits) and %lx %lu (64 bits). */
void fw_log(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
extern volatile struct zw_fw_shared *const fw_shared;

/* -- mbox.c: messages
 * --------------------------------------------------------------------------------- */
void mbox_init(void);
void mbox_poll(void);
/* Answers request number reply_to. payload may be NULL. */
void mbox_reply(uint32_t type, uint32_t reply_to, uint32_t status, const void *payload,
		uint32_t len);
/* Answers the requests that waited for the MMU to let go of old translations. */
void mbox_tlb_done(void);

/* -- queue.c: queue objects
 * ------------------------------------------------------------------------------- */
struct queue {
	uint8_t state; /* enum zw_queue_state */
	uint8_t priority;
	uint8_t vector;
	bool have_job;  /* entry holds a fetched, unfinished job */
	bool suspended; /* asked to suspend */
	bool dying;     /* asked to be destroyed */
	uint32_t vm;
	uint32_t slots;                  /* power of two */
	uint64_t ring, ctrl, compl_ring; /* DMA addresses */
	uint64_t tail;                   /* highest job number the driver published */
	uint64_t completed;              /* highest job number with a completion */
	uint64_t fetched;                /* highest job number fetched */
	struct zw_ring_entry entry;
	uint32_t resume_offset;
	uint32_t last_status;
	uint32_t reply_to; /* of the suspend or destroy that waits for the CP, 0: none */
	uint32_t reply_type;
	uint64_t poll_at;           /* BLOCKED: time of the next try */
	uint32_t packets, progress; /* what the engines did for it: running counts */
	bool retried;               /* started to see whether its semaphore was signalled... */
	uint32_t retry_packets;     /* ...when packets was this */
};

extern struct queue queues[ZW_MAX_QUEUES];
extern uint64_t queues_of_priority[ZW_PRIO_COUNT]; /* bit q: queue q exists and has it */
uint64_t queue_live(void);                         /* bit q: queue q exists */

uint32_t queue_create(const struct zw_msg_create_queue *msg);
/* These three answer the message themselves, now or when the command processor has let go. */
void queue_destroy(uint32_t id, uint32_t reply_to);
void queue_suspend(uint32_t id, uint32_t reply_to);
void queue_resume(uint32_t id, uint32_t reply_to);
uint32_t queue_info(uint32_t id, struct zw_msg_queue_info *info);
bool queue_uses_vm(uint32_t vm);
void queue_doorbells(uint64_t bits);

/* Building blocks for the scheduler. */
bool queue_fetch(struct queue *q); /* makes have_job true if there is one; may stop the queue */
void queue_complete(struct queue *q, const struct zw_soc_job *job);
void queue_cancel_all(struct queue *q);
void queue_settle(struct queue *q); /* carries out a suspend or destroy once nothing runs */

/* -- sched.c: who runs on the command processor
 * ----------------------------------------------------------- */
void sched_cp_done(void);
/* Starts or preempts as needed; returns the time at which it wants to be called again, ~0: when
 * something happens. */
uint64_t sched_run(void);
bool sched_running(const struct queue *q);
void sched_stop_running(bool cancel); /* preempt or cancel what runs now */

#endif /* FW_H */

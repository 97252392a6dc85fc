/* SPDX-License-Identifier: MIT */
#ifndef FW_QUEUE_H
#define FW_QUEUE_H

#include "dma.h"
#include "fw.h"
#include "ids.h"

/* Queue objects: ring entries in, completions out. */
struct queue {
	uint8_t state; /* enum zw_queue_state */
	uint8_t priority;
	uint8_t vector;
	uint8_t log2_slots;
	bool have_job;  /* entry holds a fetched, unfinished job */
	bool suspended; /* asked to suspend */
	bool rung;      /* its doorbell was, since it is suspended */
	bool dying;     /* asked to be destroyed */
	uint32_t vm;
	uint32_t slice_us;
	struct dma_space space;
	uint64_t ring, ctrl, compl_ring; /* addresses there */
	uint64_t tail;                   /* highest job number the driver published */
	uint64_t completed;              /* highest job number with a completion */
	uint64_t fetched;                /* highest job number fetched */
	struct zw_ring_entry entry;
	uint32_t resume_offset;
	uint32_t continue_at; /* resume_offset of the first job, which began before a reset */
	bool continues;       /* entry is that job */
	uint32_t wake;        /* what the driver asked for last in zw_ring_ctrl.wake */
	uint32_t last_status;
	struct {                /* the job that stopped it */
		uint32_t seqno; /* low 32 bits; 0: none did */
		uint32_t reason, access, packet_index;
		uint64_t va;
	} failed;
	uint32_t reply_to; /* of the suspend or destroy that waits for the CP, 0: none */
	uint32_t reply_type;
	uint64_t poll_at;           /* BLOCKED: time of the next try */
	uint32_t packets, progress; /* what the engines did for it: running counts */
	bool retried;               /* started to see whether its semaphore was signalled... */
	uint32_t retry_packets;     /* ...when packets was this */
};

extern struct queue queues[ZW_MAX_QUEUES];
extern struct ids queues_live;
extern struct ids queues_of_priority[ZW_PRIO_COUNT];
extern const struct queue *queue_on_cp; /* whose job the command processor has; the scheduler's */

static inline uint32_t queue_slots(const struct queue *q)
{
	return 1u << q->log2_slots;
}

static inline bool sched_running(const struct queue *q)
{
	return queue_on_cp == q;
}

struct queue *queue_get(uint32_t id); /* NULL: there is none */
uint32_t queue_create(uint32_t id, const struct zw_queue_desc *desc);
uint32_t queue_info(uint32_t id, struct zw_msg_queue_info *info);
bool queue_read_tail(struct queue *q); /* false: the ring is bad, the queue cannot go on */

bool queue_fetch(struct queue *q); /* makes have_job true if there is one; may stop the queue */
void queue_complete(struct queue *q, const struct zw_soc_job *job);
/* Ends the next job without running it (any further). It has to exist. */
void queue_fail_next(struct queue *q, uint32_t status, uint32_t reason);
void queue_stop_on_error(struct queue *q, uint32_t status);
void queue_cancel_all(struct queue *q);
void queue_settle(struct queue *q); /* carries out a suspend or destroy once nothing runs */

#endif /* FW_QUEUE_H */

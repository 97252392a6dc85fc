/* SPDX-License-Identifier: MIT */
/*
 * The clock of the whole device. Every packet that retires goes into a log (cp_joblog.c); what it waits for and how long
 * it occupies what is settled by a replay of the log in the order of its events (cp_replay.c), in which the queues share
 * engines and memory. Rules: Documentation/device/time.md, "One device".
 *
 * The log is bounded: an entry is there from the end of its packet to the event that it is, and a queue that has nothing
 * to add holds up the others for no more than ZW_CP_LOG_ENTRIES of theirs.
 *
 * Thread safe, but for new, free, reset and state.
 */
#ifndef ZW_CP_REPLAY_H
#define ZW_CP_REPLAY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "zhenwu/zw_cmd.h"
#include "../zw_cp.h"

#define ZW_CP_LOG_ENTRIES 16384u
#define ZW_CP_NO_ENTRY    UINT32_MAX
#define ZW_CP_NO_QUEUE    UINT32_MAX

/* How long a packet occupies what, when nobody else does, and what it takes. */
struct zw_cp_work {
	uint64_t fixed_ps, lead_ps, compute_ps;
	uint64_t port_ps[ZW_PORTS]; /* 0: it does not use the port */
	uint64_t energy_pj;
	uint64_t capped_ps;                 /* compute_ps, if the power limit sets it, else 0 */
	uint64_t ops, hbm_bytes, sys_bytes; /* to be told */
};

/* Temperature over settled time, in steps of a millisecond (cp_thermal.c). */
struct zw_cp_thermal {
	const struct zw_profile *profile; /* NULL: none */
	uint64_t next_ps;                 /* end of the step */
	uint64_t step_pj;                 /* energy in it so far */
	uint64_t excess_nk; /* above what an idle chip has, at the beginning of the step */
	uint64_t rest_pj;   /* of all energy: below a microjoule */
};

enum zw_cp_log_kind {
	ZW_CP_LOG_OPEN,  /* the queue was made */
	ZW_CP_LOG_CLOSE, /* it will not run any more */
	ZW_CP_LOG_BEGIN, /* a job begins: fixed_ps is what that takes */
	ZW_CP_LOG_PACKET,
	ZW_CP_LOG_WAIT, /* packets that do something with a semaphore */
	ZW_CP_LOG_SIGNAL,
	ZW_CP_LOG_END, /* of a job */
	ZW_CP_LOG_KINDS
};

/* What a packet is; the replay looks at nothing of it but tells it. */
struct zw_cp_name {
	uint32_t index; /* in its job */
	uint32_t opcode, tag, rows;
};

struct zw_cp_log_entry {
	uint64_t seq;        /* running number, 1, 2, ... */
	uint64_t job;        /* its number; not of OPEN and CLOSE */
	uint64_t not_before; /* WAIT: the settled time of the signal; OPEN: when the queue begins */
	uint64_t
		signal_seq; /* WAIT: number of the entry that signals, while it is not settled; or 0 */
	struct zw_cp_work work;
	uint32_t next; /* of the queue */
	uint32_t link; /* SIGNAL, WAIT: the next that waits for it; END, OPEN: the next of these */
	uint32_t sem;  /* SIGNAL: its place among the semaphores */
	uint16_t wait; /* as in struct zw_pkt, and whether it looks at that */
	uint8_t signal, deps;
	uint8_t kind, engine;
	uint8_t priority; /* OPEN */
	uint32_t owner;   /* OPEN */
	uint32_t queue;
	uint8_t value; /* SIGNAL, in a saved state: which value of the semaphore, or ZW_CP_SEM_VALUES */
	struct zw_cp_name name; /* of a packet */
};

/* An engine, and the packet that it has begun while it is not known when that ends. */
struct zw_cp_server {
	uint64_t free_ps;
	bool held;
	uint8_t pending; /* bit p: port p has not come to it */
	uint32_t queue;
	uint64_t seq;
	uint64_t start, end; /* end: as far as it is known */
	uint64_t port_ps[ZW_PORTS];
	uint64_t request_ps[ZW_PORTS]; /* when it asks for the port */
	uint8_t signal, deps;
	uint16_t wait; /* to be told, as all below */
	uint64_t job, fixed_ps, compute_ps, energy_pj;
	uint64_t ops, hbm_bytes, sys_bytes;
	uint64_t served_ps[ZW_PORTS]; /* from when, of those that are not pending */
	uint64_t waited_ps[ZW_WAITS]; /* what it did before it began */
	struct zw_cp_name name;
};

/* What the replay knows of a queue. */
struct zw_cp_line {
	uint32_t head, tail;         /* entries that have not begun */
	uint32_t end_head, end_tail; /* jobs' ends among them */
	bool listed;                 /* in zw_cp_replay.list */
	bool made, began;  /* for who adds to the log: between OPEN and CLOSE, BEGIN and END */
	bool open, in_job; /* for the replay: between OPEN and CLOSE, BEGIN and END */
	bool blocked;      /* its next packet waits for a semaphore that nobody signalled */
	bool behind;       /* it was waited for long enough */
	bool base_held;    /* the packet that all behind it wait for has not ended */
	uint8_t priority;
	uint32_t owner;                    /* between OPEN and CLOSE, for the replay; 0: none */
	uint8_t n_held;                    /* packets that have begun and not ended */
	uint8_t token_held[ZW_PKT_TOKENS]; /* 1 + the engine that it waits for */
	uint64_t token[ZW_PKT_TOKENS];
	uint64_t now, base;  /* as in struct zw_cp_clock */
	uint64_t last_event; /* packets are handed out in the order of the buffer */
	uint64_t floor; /* what it adds begins no earlier: the others were settled until then */
	uint64_t release, start;     /* of the job */
	struct zw_settled_sums sums; /* while it has an owner */
};

struct zw_cp_sems;
struct zw_cp_sem;

struct zw_cp_replay {
	pthread_mutex_t lock;
	struct zw_pmu *pmu; /* sums; may be NULL */
	struct zw_cp_sems *sems;
	void (*settled)(void *opaque, const struct zw_settled_job *job);
	void (*packet_settled)(void *opaque, const struct zw_settled_packet *packet);
	void (*queue_settled)(void *opaque, unsigned int queue, uint32_t owner);
	void *settled_opaque;
	bool settled_owned; /* tells of queues with an owner only */

	struct zw_cp_log_entry *pool;
	uint32_t cap, used, free_head;
	uint64_t seq;     /* of the last entry */
	uint64_t latest;  /* end of all jobs so far, settled */
	uint64_t horizon; /* the last event */
	uint32_t
		stalled_by; /* nothing happens before this queue adds something; or ZW_CP_NO_QUEUE */
	uint32_t unborn_head; /* OPEN entries */
	uint32_t n_blocked;
	struct zw_cp_server engine[ZW_ENGINE_COUNT];
	uint32_t held; /* bit e: engine[e].held */
	uint64_t port_free[ZW_PORTS];
	struct zw_cp_thermal thermal;
	uint32_t *list; /* queues that matter */
	uint32_t n_list;
	unsigned int num_queues;
	struct zw_cp_line *line;
};

/* 0 or -ENOMEM; a replay that failed is one to free. */
int zw_cp_replay_init(struct zw_cp_replay *r, const struct zw_cp_config *cfg,
		      unsigned int num_queues, struct zw_cp_sems *sems);
void zw_cp_replay_fini(struct zw_cp_replay *r);
void zw_cp_replay_reset(struct zw_cp_replay *r);

void zw_cp_replay_open(struct zw_cp_replay *r, unsigned int queue, unsigned int priority,
		       uint32_t owner);
void zw_cp_replay_close(struct zw_cp_replay *r, unsigned int queue);
void zw_cp_replay_begin(struct zw_cp_replay *r, unsigned int queue, uint64_t job, uint64_t ps);
void zw_cp_replay_end(struct zw_cp_replay *r, unsigned int queue, uint64_t job);
/* The job's next packet waits for a semaphore. */
void zw_cp_replay_blocked(struct zw_cp_replay *r, unsigned int queue);

/* Settles what it can without the queues that have no job begun: they are left behind. */
void zw_cp_replay_leave_idle(struct zw_cp_replay *r);

/* What a packet did with a semaphore. */
struct zw_cp_sem_use {
	struct zw_cp_sem
		*waited; /* for its value number `value`, which a SIGNAL of the device stored */
	unsigned int value;
	struct zw_cp_sem *signalled; /* a new value, its last */
};

/* A packet that retired. */
struct zw_cp_retired {
	uint64_t job;         /* number of its job */
	uint32_t index, rows; /* as in struct zw_settled_packet */
	unsigned int engine;
	const struct zw_pkt *hdr;
	const struct zw_cp_work *work;
	struct zw_cp_sem_use sem;
};

void zw_cp_replay_packet(struct zw_cp_replay *r, unsigned int queue,
			 const struct zw_cp_retired *packet);

/* -- between cp_joblog.c and cp_replay.c; the lock is held -- */

/* Takes the first entry off its queue. It is there until the next one is added. */
uint32_t zw_cp_log_take(struct zw_cp_replay *r, uint32_t queue);
void zw_cp_log_free(struct zw_cp_replay *r, uint32_t i);
/* The settled time of a signal is known. `sem`: of its entry, which was at `i` and has `first` waiting. */
void zw_cp_log_signalled(struct zw_cp_replay *r, uint32_t i, uint32_t sem, uint32_t first,
			 uint64_t ps);
/* Adds an entry as it was saved; settles nothing. False: no memory. */
bool zw_cp_log_load(struct zw_cp_replay *r, const struct zw_cp_log_entry *saved);
/* The OPEN entry at `i` is over. */
void zw_cp_log_born(struct zw_cp_replay *r, uint32_t i);
/* Handles what is in front of a queue and takes no time. True: another queue has come to be. */
bool zw_cp_replay_advance(struct zw_cp_replay *r, uint32_t queue);
/*
 * Settles a packet without semaphores, which nobody added to the log, at once: where its queue is the only one there is,
 * and has nothing left to settle. False: nothing was done, it has to go through the log.
 */
bool zw_cp_replay_at_once(struct zw_cp_replay *r, const struct zw_cp_log_entry *e);
/* Everything that can be settled. */
void zw_cp_replay_settle(struct zw_cp_replay *r);
/* Copies the temperature to the counters. */
void zw_cp_replay_show_temperature(struct zw_cp_replay *r);

/* -- temperature (cp_thermal.c) -- */

/* A chip that has been idle for long; or of a profile NULL, which has no temperature. */
void zw_cp_thermal_init(struct zw_cp_thermal *t, const struct zw_profile *profile);
/*
 * Time goes on to `ps`, which is at least next_ps. Returns the microjoules of leakage since the last time, beyond that
 * of a chip at rest.
 */
uint64_t zw_cp_thermal_advance(struct zw_cp_thermal *t, uint64_t ps);
/* Energy of a packet that begins, with the leakage that follows from it. Returns the microjoules it takes now. */
uint64_t zw_cp_thermal_heat(struct zw_cp_thermal *t, uint64_t pj);
/* Whether these are values of a chip whose time is `ps`. */
bool zw_cp_thermal_possible(const struct zw_cp_thermal *t, uint64_t ps);
/* Thousandths of a degree Celsius. */
int32_t zw_cp_thermal_mc(const struct zw_cp_thermal *t);

struct zw_state;
/* sems were loaded before. */
void zw_cp_replay_state(struct zw_cp_replay *r, struct zw_state *st);

#endif /* ZW_CP_REPLAY_H */

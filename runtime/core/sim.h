/* SPDX-License-Identifier: MIT */
/*
 * The sim transport: the device model in this process, and a small driver for it.
 *
 * It drives the device exactly as the kernel driver does: firmware image through the boot
 * registers, mailbox, page tables in HBM, rings and completions in "system memory", doorbells,
 * message-signalled interrupts. What the device calls system memory is memory of this process, but
 * the device does not get its addresses: it gets DMA addresses out of a table of regions
 * (sim_mem.c), and an access outside of them is a bus error, not a crash of the host.
 *
 * Threads: the callers, the device's own, one interrupt thread that turns completions into signalled
 * fences and says log lines, and, from the first asynchronous bind on, one that does these.
 *
 * Locks, outermost first; each file says what its own ones guard:
 *
 *	sim.telemetry.lock
 *	sim_vm.lock (page tables of one VM)
 *	sim.mbox.lock
 *	sim.lock (jobs, fences, mappings)
 *	sim.hbm.lock, sim.dma.lock, sim.irq_lock, sim.trace.lock, sim.perf.lock: leaves
 *
 * Device callbacks take only the last four. The log callback is called by the
 * interrupt thread, without any of them.
 */
#ifndef ZW_RT_SIM_H
#define ZW_RT_SIM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "transport.h"
#include "zhenwu/zw_fw.h"
#include "zhenwu/zw_pte.h"
#include "zhenwu/zw_queue.h"
#include "zhenwu/zw_regs.h"

struct zw_device; /* the device core */

/* -- memory (sim_mem.c) ---------------------------------------------------------------------- */

/* A piece of system memory the device can reach. */
struct sim_region {
	uint64_t dma; /* address for the device; what is next to it is never handed out */
	uint64_t bytes;
	uint8_t *ptr;
	bool user;     /* the program's, see sim_user.c */
	bool readonly; /* the device may not write */
};

struct sim_dma {
	pthread_rwlock_t lock;
	struct sim_region *regions; /* sorted by dma */
	size_t count, capacity;
	uint64_t next;
};

struct sim_extent {
	uint64_t start, end;
	struct sim_extent *next;
};

struct sim_hbm {
	pthread_mutex_t lock;
	struct sim_extent *free; /* sorted, coalesced */
	uint64_t size, available;
};

/* What VMs map, as with the kernel driver: programs see no difference. */
#define SIM_VA_START 0x10000ull
#define SIM_VA_END   ((1ull << ZW_VA_BITS) - (4ull << 30))

/* Memory behind a buffer: lives as long as the handle or a mapping in a VM. */
struct sim_bo {
	struct sim *sim;
	_Atomic unsigned int refs;
	bool system;
	uint64_t bytes;
	uint64_t addr; /* HBM or DMA address */
	void *ptr;     /* this process's view */
	int fd;        /* system: what the memory can be shared by */
};

/* -- VMs (sim_vm.c) -------------------------------------------------------------------------- */

struct sim_mapping {
	uint64_t va, bytes;
	struct sim_bo *bo;
	struct sim_mapping *next;
};

struct sim_vm {
	struct sim *sim;
	unsigned int id; /* of the device */
	pthread_mutex_t lock;
	uint64_t root; /* HBM address of the root table */
	struct sim_mapping
		*mappings;         /* sorted; changed under lock and sim->lock, read under either */
	size_t num_tables;         /* in the tree, dead, or kept for a bind */
	uint64_t *dead;            /* tables that are out of the tree but maybe still in TLBs */
	size_t num_dead, max_dead; /* room for all tables */
	struct sim_bind *using;    /* takes tables from it; NULL: new ones */
	/* sim_bind.c; sim->lock */
	uint64_t serial;     /* as of a queue */
	struct sim_vm *next; /* that has binds, too */
	struct sim_bind *binds, **binds_end;
	uint64_t binds_given, binds_done;
	bool binding; /* the thread has the first one */
};

/* -- asynchronous binds (sim_bind.c) ---------------------------------------------------------- */

struct sim_sync {
	struct sim_fence *fence;
	uint64_t point;
	bool signal;
};

struct sim_bind {
	struct sim_bind *next;
	uint64_t va, bytes;               /* bytes 0: only syncs */
	uint64_t addr, attrs;             /* as of entries; attrs 0: unmap */
	struct sim_bo *bo;                /* of a map; a reference */
	struct sim_mapping *node, *spare; /* for the list of mappings */
	/* HBM addresses of all tables that it may take, and that are left of them; vm->lock */
	uint64_t *tables;
	size_t num_tables;
	uint32_t num_syncs;
	struct sim_sync syncs[];
};

/* -- queues and fences (sim_queue.c) --------------------------------------------------------- */

struct sim_fence_point {
	uint64_t point;
	bool done;
};

struct sim_fence {
	unsigned int refs; /* handle and jobs; sim->lock, like all of it */
	uint64_t value;
	/* points given out and not yet counted in value, ascending: value stops at the first that
	 * is not done */
	struct sim_fence_point *points;
	size_t first, count, capacity;
};

struct sim_job {
	struct sim_job *next;
	uint64_t number;
	uint64_t cmd_va, result_va;
	uint32_t cmd_bytes;
	uint32_t num_syncs;
	struct sim_sync syncs[];
};

struct sim_queue {
	struct sim *sim;
	struct sim_queue *next;
	struct sim_vm *vm;
	unsigned int id; /* of the device */
	uint64_t serial; /* ids are used again, this is not; no VM has it, either */
	uint32_t slots;
	struct sim_region rings; /* ring, control block, completion ring */
	struct zw_ring_entry *ring;
	struct zw_ring_ctrl *ctrl;
	struct zw_completion * compl ;
	uint64_t submitted; /* number of the last job taken in */
	uint64_t pushed;    /* ... written to the ring */
	uint64_t completed;
	struct sim_job *ring_head, *ring_tail; /* completed < number <= pushed */
	struct sim_job *wait_head, *wait_tail; /* pushed < number */
	bool failed, dying;
	bool user; /* rings are the program's: none of the above is ours but `dying` */
	struct zw_queue_error error; /* status .. failed_job */
};

/* -- trace (sim_trace.c) --------------------------------------------------------------------- */

struct sim_trace {
	bool on;              /* set before the device is made */
	pthread_mutex_t lock; /* of the rest */
	struct sim_trace_chunk *head, *tail;
	uint32_t held; /* records in there */
	uint64_t lost;
};

/* -- sums of queues (sim_perf.c) -------------------------------------------------------------- */

struct sim_perf {
	pthread_mutex_t lock; /* of all of it */
	uint32_t last_owner;
	uint32_t owner[ZW_MAX_QUEUES]; /* what the device knows each queue's records by */
	struct zw_queue_perf sums[ZW_MAX_QUEUES];
};

/* -- device (sim_dev.c), mailbox (sim_mbox.c) ------------------------------------------------ */

struct sim_mbox {
	pthread_mutex_t lock; /* one request at a time */
	struct sim_region mem;
	struct zw_msg *h2f, *f2h;
	uint32_t sent, received;
};

/* -- telemetry (sim_telemetry.c) ------------------------------------------------------------- */

struct sim_telemetry {
	pthread_mutex_t lock;          /* of all of it */
	struct sim_region mem;         /* the device's ring; none before the first wish */
	struct zw_dev_sample *history; /* by number */
	uint32_t interval_us;
	uint64_t last;    /* number in the ring of the sample that was taken in last */
	uint64_t last_ns; /* when, or since when there may have been any */
	uint64_t seq;     /* our number of the newest */
};

/* An eventfd that waits for a point. */
struct sim_event {
	struct sim_event *next;
	struct sim_fence *fence;
	uint64_t point;
	int fd;
};

struct sim_line {
	struct sim_line *next;
	enum zw_dev_log_level level;
	char text[];
};

struct sim {
	struct zw_dev *dev;
	struct zw_device *core;
	uint8_t *hbm_base;
	uint32_t workers, timing_only, idle_watts, tdp_watts; /* as in struct zw_dev_attrs */
	uint32_t num_queues, num_vms;
	_Atomic bool lost; /* the device broke its protocol or died: everything is -ENODEV */

	struct sim_dma dma;
	struct sim_hbm hbm;
	struct sim_mbox mbox;
	struct sim_trace trace;
	struct sim_perf perf;
	struct sim_telemetry telemetry;

	pthread_mutex_t lock;   /* queues, jobs, fences, ids, lists of mappings */
	pthread_cond_t changed; /* a fence, a queue or lost changed */
	struct sim_queue *queues;
	uint64_t last_serial;
	uint64_t queue_ids[ZW_MAX_QUEUES / 64], vm_ids[ZW_MAX_VMS / 64]; /* bit set: in use */
	struct sim_event *events;
	/* sim_bind.c: VMs that have binds, and the thread that does them */
	struct sim_vm *binding_vms;
	bool bind_running, bind_stop;
	pthread_cond_t bind_cond; /* to the thread: fences moved, or there is a new bind */
	pthread_t bind_thread;
	/* sim_fence.c: stand-ins for fences of other devices, and the thread that raises them */
	struct stand_in *stand_ins;
	bool bridge_running;
	int bridge_epoll, bridge_stop;
	pthread_t bridge_thread;

	pthread_mutex_t irq_lock; /* of irqs and irq_stop */
	pthread_cond_t irq_cond;  /* to the interrupt thread and to mailbox waiters */
	uint32_t irqs;            /* bit per vector */
	bool irq_stop;
	/* Lines that wait for the interrupt thread, which says them with no lock held. */
	struct sim_line *lines, **lines_end;
	unsigned int num_lines;
	pthread_t irq_thread;
};

static inline struct sim *sim_of(const struct zw_dev *dev)
{
	return dev->priv;
}

/* Marks the device lost, once, with a reason for the log, and wakes every waiter. Any thread, no
 * lock held. */
void zw_sim_lose(struct sim *sim, const char *why);
/* false and lost when the firmware or device died. No lock held. */
bool zw_sim_alive(struct sim *sim);
uint32_t zw_sim_read32(struct sim *sim, uint64_t reg);
uint64_t zw_sim_read64(struct sim *sim, uint64_t reg);
void zw_sim_write32(struct sim *sim, uint64_t reg, uint32_t val);
void zw_sim_write64(struct sim *sim, uint64_t reg, uint64_t val);
/*
 * One line to the device's log, from any thread, whatever locks it holds: the interrupt thread says
 * it, so that a log callback may call back into the library.
 */
__attribute__((format(printf, 3, 4))) void zw_sim_log(struct sim *sim, enum zw_dev_log_level level,
						      const char *fmt, ...);
/* The lowest number below n that is not in the set joins it; n: there is none. sim->lock held. */
unsigned int zw_sim_id_take(uint64_t *set, unsigned int n);
static inline void zw_sim_id_give(uint64_t *set, unsigned int id)
{
	set[id / 64] &= ~(1ull << id % 64);
}
/* Waits on a CLOCK_MONOTONIC condition until an absolute time; false when it has passed. */
bool zw_sim_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t deadline_ns);

int zw_sim_mem_init(struct sim *sim, uint64_t hbm_bytes);
void zw_sim_mem_fini(struct sim *sim);
/* Zeroed system memory that the device can reach. */
int zw_sim_region_new(struct sim *sim, uint64_t bytes, struct sim_region *out);
/* The same, of memory that is mapped at ptr already; unmapped by zw_sim_region_free(). */
int zw_sim_region_add(struct sim *sim, void *ptr, uint64_t bytes, struct sim_region *out);
/* The same with everything but the address for the device filled in. */
int zw_sim_region_insert(struct sim *sim, struct sim_region *region);
/* The device must not be using it any more. */
void zw_sim_region_free(struct sim *sim, struct sim_region *region);
int zw_sim_dma_read(void *sim, unsigned int function, uint64_t addr, void *buf, size_t len);
int zw_sim_dma_write(void *sim, unsigned int function, uint64_t addr, const void *buf, size_t len);
/* Physical HBM, zeroed: -ENOMEM when no hole is large enough. Multiples of 4 KiB. */
int zw_sim_hbm_alloc(struct sim *sim, uint64_t bytes, uint64_t align, uint64_t *addr);
void zw_sim_hbm_free(struct sim *sim, uint64_t addr, uint64_t bytes, bool dirty);
void zw_sim_bo_get(struct sim_bo *bo);
void zw_sim_bo_put(struct sim_bo *bo);
int zw_sim_bo_create(struct zw_bo *bo);
int zw_sim_bo_from_ptr(struct zw_bo *bo);
/* Of memory of the program; 0 or -EIO. */
int zw_sim_user_read(const struct sim_region *r, uint64_t offset, void *buf, size_t len);
int zw_sim_user_write(const struct sim_region *r, uint64_t offset, const void *buf, size_t len);
void zw_sim_bo_destroy(struct zw_bo *bo);
int zw_sim_bo_map(struct zw_bo *bo, void **ptr);
void zw_sim_bo_unmap(struct zw_bo *bo, void *ptr);
int zw_sim_bo_wait(struct zw_bo *bo, int64_t deadline_ns);
int zw_sim_bo_set_label(struct zw_bo *bo, const char *label);
int zw_sim_bo_export(struct zw_bo *bo, int *fd);
int zw_sim_bo_import(struct zw_bo *bo, int fd);

int zw_sim_mbox_init(struct sim *sim);
void zw_sim_mbox_fini(struct sim *sim);
/*
 * Sends a request and waits for its reply as long as the firmware lives. 0, -EIO when the firmware
 * refused (logged), -ENODEV. reply may be NULL.
 */
int zw_sim_mbox_call(struct sim *sim, enum zw_msg_type type, const void *payload, size_t bytes,
		     void *reply, size_t reply_bytes);

int zw_sim_vm_create(struct zw_vm *vm);
void zw_sim_vm_destroy(struct zw_vm *vm);
int zw_sim_vm_map(struct zw_vm *vm, struct zw_bo *bo, uint64_t offset, uint64_t va, uint64_t bytes,
		  uint32_t flags);
int zw_sim_vm_unmap(struct zw_vm *vm, uint64_t va, uint64_t bytes);
/* sim->lock held. */
bool zw_sim_vm_maps(const struct sim_vm *vm, const struct sim_bo *bo);
/* Fills in all but the syncs, and takes everything that it may need, so that it cannot fail: 0 or -ENOMEM. */
int zw_sim_bind_prepare(struct sim_vm *vm, struct sim_bind *b, const struct zw_bind *op);
/* Does it: 0; if not, the device is lost. */
int zw_sim_bind_do(struct sim_vm *vm, struct sim_bind *b);
/* Gives back what is left of that, also after a failure. */
void zw_sim_bind_release(struct sim_vm *vm, struct sim_bind *b);
int zw_sim_vm_bind(struct zw_vm *vm, const struct zw_bind *ops, uint32_t count);
/* Waits until all binds are done; nobody gives it more meanwhile. 0 or -ENODEV. */
int zw_sim_binds_wait(struct sim_vm *vm);
/* Ends those that are left: nothing is done, everything is signalled. */
void zw_sim_binds_cancel(struct sim_vm *vm);
/* Ends the thread; no VM is left. */
void zw_sim_binds_stop(struct sim *sim);
int zw_sim_vm_status(struct zw_vm *vm);

int zw_sim_fence_create(struct zw_fence *fence);
void zw_sim_fence_destroy(struct zw_fence *fence);
int zw_sim_fence_wait(struct zw_dev *dev, const struct zw_fence_point *points, uint32_t count,
		      bool any, int64_t deadline_ns, uint32_t *first);
int zw_sim_fence_query(struct zw_fence *fence, uint64_t *value);
int zw_sim_fence_signal(struct zw_fence *fence, uint64_t point);
int zw_sim_fence_eventfd(struct zw_fence *fence, uint64_t point, int fd);
int zw_sim_fence_foreign(struct zw_dev *dev, const struct zw_fence_point *theirs,
			 struct zw_fence_point *own);
/* What jobs and binds do with fences: taken from those of the API, ... */
void zw_sim_syncs_set(struct sim_sync *to, const struct zw_sync *from, uint32_t count);
/* ... room for `more` points on all timelines, -ENOMEM; then nothing fails any more; sim->lock held from here on, ... */
int zw_sim_syncs_reserve(const struct sim_sync *syncs, uint32_t count, size_t more);
/* ... given out, with a reference to each fence, ... */
void zw_sim_syncs_begin(const struct sim_sync *syncs, uint32_t count);
/* ... waited for, ... */
bool zw_sim_syncs_ready(const struct sim_sync *syncs, uint32_t count);
/* ... and signalled; zw_sim_push_all() is the caller's. */
void zw_sim_syncs_end(const struct sim_sync *syncs, uint32_t count);
/* These five: sim->lock held. */
void zw_sim_fence_put(struct sim_fence *f);
int zw_sim_points_reserve(struct sim_fence *f, size_t more);
void zw_sim_points_add(struct sim_fence *f, uint64_t point);
void zw_sim_points_done(struct sim_fence *f, uint64_t point);
/* Raises the eventfds whose points are reached. */
void zw_sim_events_fire(struct sim *sim);
/* No thread is left that could raise them. */
void zw_sim_events_drop(struct sim *sim);
void zw_sim_bridge_stop(struct sim *sim);
/* Fences moved: starts the jobs that waited for them and wakes everybody. sim->lock held. */
void zw_sim_push_all(struct sim *sim);
int zw_sim_queue_create(struct zw_queue *queue, const struct zw_queue_options *opt);
void zw_sim_queue_destroy(struct zw_queue *queue);
int zw_sim_queue_submit(struct zw_queue *queue, const struct zw_job *jobs, uint32_t count,
			const struct zw_sync *tail);
int zw_sim_queue_get_error(struct zw_queue *queue, struct zw_queue_error *info);
int zw_sim_userq_create(struct zw_queue *queue, const struct zw_queue_options *opt,
			const struct userq_rings *rings);
void zw_sim_userq_ring(struct zw_queue *queue);
void zw_sim_userq_stop(struct zw_queue *queue);
int zw_sim_userq_wait(struct zw_queue *queue, const uint64_t *word, uint64_t value,
		      int64_t deadline_ns);
void zw_sim_telemetry_init(struct sim *sim);
/* The device is gone. */
void zw_sim_telemetry_fini(struct sim *sim);
int zw_sim_set_telemetry(struct zw_dev *dev, uint32_t interval_us);
int zw_sim_read_telemetry(struct zw_dev *dev, void *samples, uint32_t max, size_t size,
			  uint64_t *seq, uint64_t *lost, int64_t deadline_ns);
struct zw_settled_packet;
struct zw_settled_job;
void zw_sim_trace_init(struct sim *sim, bool on);
void zw_sim_trace_fini(struct sim *sim);
/* Callbacks of the device; opaque is the struct sim. */
void zw_sim_trace_packet(void *opaque, const struct zw_settled_packet *packet);
void zw_sim_trace_job(void *opaque, const struct zw_settled_job *job);
/* SUBMIT or DONE of a job, now; nothing when there is no trace. Any locks held. */
void zw_sim_trace_host(struct sim *sim, enum zw_trace_kind kind, unsigned int queue, uint64_t job);
int zw_sim_read_trace(struct zw_dev *dev, void *records, size_t max, size_t size, uint64_t *lost);
/* A queue with this number is about to be made: its owner for the device. */
uint32_t zw_sim_perf_begin(struct sim *sim, unsigned int queue);
/* From a callback of the device. */
void zw_sim_perf_job(struct sim *sim, const struct zw_settled_job *job);
int zw_sim_queue_get_perf(struct zw_queue *queue, struct zw_queue_perf *perf);
/* Looks at the completions of the queues on these vectors. Interrupt thread. */
void zw_sim_queue_interrupt(struct sim *sim, uint32_t vectors);

#endif

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_QUEUE_H__
#define __ZHENWU_QUEUE_H__

#include <linux/completion.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "zhenwu/zw_fw.h"
#include "zhenwu/zw_queue.h"
#include "zhenwu_compat.h"
#include "zhenwu_usage.h"

struct drm_file;
struct seq_file;
struct zhenwu_device;
struct zhenwu_file;
struct zhenwu_job;
struct zhenwu_perf_queue;
struct zhenwu_vm;

/**
 * struct zhenwu_user_rings - where the rings of a user-mode queue are in its VM
 */
struct zhenwu_user_rings {
	/** @ring: Ring entries. */
	u64 ring;

	/** @ctrl: Control block. */
	u64 ctrl;

	/** @completions: Completions. */
	u64 completions;
};

/**
 * struct zhenwu_userq - what a user-mode queue has
 */
struct zhenwu_userq {
	/** @rings: Where its rings are. */
	struct zhenwu_user_rings rings;

	/** @dummy: What the doorbell's page becomes; no other queue's, to share nothing. */
	struct page *dummy;

	/** @revoked: The doorbell is not to be given out any more. */
	bool revoked;

	/** @wait: Woken by the interrupt and when the queue is stopped. */
	wait_queue_head_t wait;
};

/**
 * struct zhenwu_queue - a queue: entity, scheduler and firmware ring, one to one
 *
 * The structure outlives the queue: jobs and fences point to the scheduler inside. A user-mode
 * queue has neither jobs nor scheduler nor ring here: see zhenwu_userq.c.
 */
struct zhenwu_queue {
	/** @refs: Users of the structure; it keeps the module. */
	struct kref refs;

	/** @rcu: For freeing it. */
	struct rcu_head rcu;

	/** @zdev: Device; valid until the queue is closed. */
	struct zhenwu_device *zdev;

	/** @vm: Address space of the jobs. */
	struct zhenwu_vm *vm;

	/** @user: It is a user-mode queue. */
	bool user;

	/** @userq: Then, what it has. */
	struct zhenwu_userq userq;

	/** @sched: Scheduler. */
	struct drm_gpu_scheduler sched;

	/** @entity: Its only entity. */
	struct drm_sched_entity entity;

	/** @fence_ctx: Fence context of the ring. */
	u64 fence_ctx;

	/**
	 * @submit_lock: Keeps jobs in order from arm to push, and @entity and @vm alive for a
	 * submission; protects @closed, @submitted.
	 */
	struct mutex submit_lock;

	/** @closed: No more submissions. */
	bool closed;

	/** @submitted: Jobs submitted. */
	u64 submitted;

	/** @hw_id: Number the device knows it by. */
	u32 hw_id;

	/** @vector: MSI-X vector. */
	u32 vector;

	/** @priority: &enum drm_zhenwu_queue_priority. */
	u32 priority;

	/** @slots: Ring slots. */
	u32 slots;

	/** @perf: It is recorded; NULL: it is not. */
	struct zhenwu_perf_queue *perf;

	/** @node: Entry in the device's list; under its hw_lock. */
	struct list_head node;

	/** @on_hw: The firmware knows it; under the device's hw_lock. */
	bool on_hw;

	/** @session: Session of the mailbox it was announced in. */
	u32 session;

	/** @place: Where it goes on after a sleep without power; under the device's hw_lock. */
	struct zhenwu_queue_place {
		/** @place.known: It was suspended, and stands there. */
		bool known;
		/** @place.completed: Jobs that the firmware completed. */
		u64 completed;
		/** @place.offset: Offset in the command buffer of the next. */
		u32 offset;
	} place;

	/** @destroy_lock: Held by who asks the firmware to destroy it; outside of hw_lock. */
	struct mutex destroy_lock;

	/** @half_made: Its maker was killed: the firmware may know it or not. */
	bool half_made;

	/** @close_work: Closes it when nobody can wait for that. */
	struct work_struct close_work;

	/** @closed_done: The close is over. */
	struct completion closed_done;

	/** @vector_node: Entry in the vector's list. */
	struct list_head vector_node;

	/** @mem: Ring, completions, control block and descriptor, one allocation. */
	void *mem;

	/** @mem_bytes: Its bytes. */
	size_t mem_bytes;

	/** @dma: DMA address of @mem. */
	dma_addr_t dma;

	/** @lock: Protects all below, and what the ring contains. */
	spinlock_t lock;

	/** @dead: Nothing may be put into the ring any more; the error jobs get instead. */
	int dead;

	/** @ring: Ring entries. */
	struct zw_ring_entry *ring;

	/** @compl: Completions. */
	struct zw_completion *compl;

	/** @ctrl: Control block. */
	struct zw_ring_ctrl *ctrl;

	/** @seqno: Number of the last job put into the ring. */
	u64 seqno;

	/** @completed: Jobs that ended. */
	u64 completed;

	/** @waiting: Jobs the scheduler has, each a &struct zhenwu_job; oldest first. */
	struct list_head waiting;

	/**
	 * @inflight: Jobs that were run, oldest first: those in the ring, then those that came when
	 * it was closed.
	 */
	struct list_head inflight;

	/** @usage: Whether it counts as busy. */
	struct zhenwu_queue_usage usage;

	/** @error: What user space is told. */
	struct {
		/** @error.state: &enum drm_zhenwu_queue_state_flags. */
		u32 state;
		/** @error.status: &enum zw_job_status of the first failed job. */
		u32 status;
		/** @error.reason: &enum zw_reason or &enum zw_fault. */
		u32 reason;
		/** @error.packet_index: Packet that failed. */
		u32 packet_index;
		/** @error.fault_access: &enum zw_access. */
		u32 fault_access;
		/** @error.fault_va: Address of a fault. */
		u64 fault_va;
		/** @error.seqno: The failed job. */
		u64 seqno;
	} error;

	/** @jobs: Jobs handed to the scheduler and not freed yet. */
	atomic_t jobs;

	/** @idle: Woken when @jobs becomes 0. */
	wait_queue_head_t idle;

	/** @watchdog: What the last progress check saw. */
	struct {
		/** @watchdog.info: Answer of the firmware. */
		struct zw_msg_queue_info info;
		/** @watchdog.completed: Value of @completed. */
		u64 completed;
		/** @watchdog.since: Jiffies of the last progress; under @lock. */
		unsigned long since;
		/** @watchdog.stalls: Checks in a row without progress; under @lock. */
		unsigned int stalls;
		/** @watchdog.stuck: This check saw no progress. */
		bool stuck;
	} watchdog;
};

struct zhenwu_queue *zhenwu_queue_lookup(struct zhenwu_file *zfile, u32 id);
struct zhenwu_queue *zhenwu_queue_get(struct zhenwu_queue *queue);
void zhenwu_queue_put(struct zhenwu_queue *queue);
void zhenwu_queue_release_all(struct zhenwu_file *zfile);

void zhenwu_queue_close_ring_locked(struct zhenwu_queue *queue, int error);
void zhenwu_queue_end_dropped_locked(struct zhenwu_queue *queue);
bool zhenwu_queue_poll(struct zhenwu_queue *queue);
bool zhenwu_queue_busy(struct zhenwu_queue *queue);
void zhenwu_queue_abort(struct zhenwu_queue *queue, int error);
int zhenwu_queue_destroy_hw(struct zhenwu_queue *queue, unsigned int flags);
bool zhenwu_queue_suspend_locked(struct zhenwu_queue *queue, bool ask);
int zhenwu_queue_resume_locked(struct zhenwu_queue *queue);
void zhenwu_queue_lose_locked(struct zhenwu_queue *queue, u32 reason, int error);
int zhenwu_queue_kill(struct zhenwu_queue *queue);
bool zhenwu_queue_gone(struct zhenwu_queue *queue);
struct zhenwu_queue *zhenwu_queue_next(struct zhenwu_device *zdev, int *cursor);
void zhenwu_queue_unmap_all(struct zhenwu_device *zdev);
void zhenwu_queue_show(struct zhenwu_device *zdev, struct seq_file *m);

int zhenwu_ioctl_queue_create(struct drm_device *drm, void *data, struct drm_file *file);
int zhenwu_ioctl_queue_destroy(struct drm_device *drm, void *data, struct drm_file *file);
int zhenwu_ioctl_queue_get_state(struct drm_device *drm, void *data, struct drm_file *file);

#endif /* __ZHENWU_QUEUE_H__ */

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_IPC_H__
#define __ZHENWU_IPC_H__

#include <linux/bits.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>

#include "zhenwu/zw_fw.h"

struct zhenwu_device;
struct zhenwu_ipc_wait;

/**
 * struct zhenwu_ipc - mailbox to the firmware
 */
struct zhenwu_ipc {
	/** @h2f: Requests, ZW_MBOX_SLOTS of them. */
	struct zw_msg *h2f;

	/** @f2h: Replies, ZW_MBOX_SLOTS of them. */
	struct zw_msg *f2h;

	/** @dma: DMA address of @h2f; @f2h follows. */
	dma_addr_t dma;

	/** @lock: Protects all below. */
	spinlock_t lock;

	/** @wait: Woken when a slot becomes free or the mailbox goes down. */
	wait_queue_head_t wait;

	/** @pending: Requests without a reply, by slot. */
	struct zhenwu_ipc_wait *pending[ZW_MBOX_SLOTS];

	/** @outstanding: Number of entries in @pending. */
	unsigned int outstanding;

	/** @h2f_seq: Number of the last request. */
	u32 h2f_seq;

	/** @f2h_seq: Number of the last message of the firmware that was read. */
	u32 f2h_seq;

	/** @up: The firmware serves the mailbox. */
	bool up;

	/**
	 * @session: Counts the boots of the firmware. When it is another one the device was stopped
	 * in between, and what the firmware was told before is forgotten.
	 */
	u32 session;
};

/** ZHENWU_IPC_KILLABLE - a fatal signal ends the wait */
#define ZHENWU_IPC_KILLABLE	BIT(0)
/** ZHENWU_IPC_NOWAIT - no waiting for a reset, nor long for an answer; for who ends such waits */
#define ZHENWU_IPC_NOWAIT	BIT(1)
/** ZHENWU_IPC_NORESET - no waiting for a reset; for who does so in a way of its own */
#define ZHENWU_IPC_NORESET	BIT(2)

int zhenwu_ipc_init(struct zhenwu_device *zdev);
void zhenwu_ipc_fini(struct zhenwu_device *zdev);
void zhenwu_ipc_prepare(struct zhenwu_device *zdev);
void zhenwu_ipc_up(struct zhenwu_device *zdev);
void zhenwu_ipc_down(struct zhenwu_device *zdev);
void zhenwu_ipc_poll(struct zhenwu_device *zdev);
int zhenwu_ipc_session(struct zhenwu_device *zdev, u32 *session, unsigned int flags);
bool zhenwu_ipc_session_over(struct zhenwu_device *zdev, u32 session);
int zhenwu_ipc_request_in(struct zhenwu_device *zdev, u32 session, unsigned int flags,
			  enum zw_msg_type type, const void *payload, size_t len, void *reply,
			  size_t reply_len);
int zhenwu_ipc_request(struct zhenwu_device *zdev, enum zw_msg_type type, const void *payload,
		       size_t len, void *reply, size_t reply_len);
int zhenwu_ipc_request_sleep(struct zhenwu_device *zdev, enum zw_msg_type type,
			     const void *payload, size_t len, void *reply, size_t reply_len);
int zhenwu_ipc_request_boot(struct zhenwu_device *zdev, enum zw_msg_type type, const void *payload,
			    size_t len, void *reply, size_t reply_len);

#endif /* __ZHENWU_IPC_H__ */

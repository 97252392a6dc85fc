// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mailbox: requests to the firmware and its replies.
 *
 * Two rings in system memory. What the firmware writes is not trusted: every field is read once, an
 * answer nobody waits for is dropped, and a poll reads at most one ring full.
 */

#include <linux/completion.h>
#include <linux/dma-mapping.h>
#include <linux/jiffies.h>

#include <drm/drm_drv.h>
#include <drm/drm_print.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu_device.h"
#include "zhenwu_ipc.h"
#include "zhenwu_reset.h"
#include "zhenwu_trace.h"

#define ZHENWU_IPC_RING_BYTES	(ZW_MBOX_SLOTS * sizeof(struct zw_msg))
#define ZHENWU_IPC_MAX_PENDING	(ZW_MBOX_SLOTS / 2)

/* Progress periods without a heartbeat after which the firmware counts as dead. */
#define ZHENWU_IPC_DEAD_PERIODS	5
/* How often those who wait look for themselves. */
#define ZHENWU_IPC_POLL_MS	500
/*
 * Longest time a request may take while the heart beats. A stuck engine is found long before, by
 * the progress check, which therefore does not wait that long for its own.
 */
#define ZHENWU_IPC_TIMEOUT_MS	120000

/**
 * struct zhenwu_ipc_wait - a request without a reply
 */
struct zhenwu_ipc_wait {
	/** @done: Completed when the reply is there or never will be. */
	struct completion done;

	/** @seq: Number of the request. */
	u32 seq;

	/** @error: 0 when @reply is valid. */
	int error;

	/** @reply: Copy of the reply. */
	struct zw_msg reply;
};

/* Stands for requests whose askers were killed: the answer is dropped. */
static struct zhenwu_ipc_wait zhenwu_ipc_orphan;

/**
 * zhenwu_ipc_init() - allocate the rings
 * @zdev: device
 *
 * Return: 0 or -ENOMEM.
 */
int zhenwu_ipc_init(struct zhenwu_device *zdev)
{
	struct zhenwu_ipc *ipc = &zdev->ipc;

	spin_lock_init(&ipc->lock);
	init_waitqueue_head(&ipc->wait);
	ipc->h2f = dma_alloc_coherent(&zdev->pdev->dev, 2 * ZHENWU_IPC_RING_BYTES, &ipc->dma,
				      GFP_KERNEL);
	if (!ipc->h2f)
		return -ENOMEM;
	ipc->f2h = ipc->h2f + ZW_MBOX_SLOTS;
	return 0;
}

/**
 * zhenwu_ipc_fini() - free the rings
 * @zdev: device; in reset, interrupts freed
 */
void zhenwu_ipc_fini(struct zhenwu_device *zdev)
{
	struct zhenwu_ipc *ipc = &zdev->ipc;

	if (!ipc->h2f)
		return;
	dma_free_coherent(&zdev->pdev->dev, 2 * ZHENWU_IPC_RING_BYTES, ipc->h2f, ipc->dma);
	ipc->h2f = NULL;
	ipc->f2h = NULL;
}

/**
 * zhenwu_ipc_prepare() - empty the rings and tell the device where they are
 * @zdev: device in reset, mailbox down
 */
void zhenwu_ipc_prepare(struct zhenwu_device *zdev)
{
	struct zhenwu_ipc *ipc = &zdev->ipc;
	unsigned long flags;

	spin_lock_irqsave(&ipc->lock, flags);
	memset(ipc->h2f, 0, 2 * ZHENWU_IPC_RING_BYTES);
	ipc->h2f_seq = 0;
	ipc->f2h_seq = 0;
	WRITE_ONCE(ipc->session, ipc->session + 1);
	spin_unlock_irqrestore(&ipc->lock, flags);

	/* Who waits for the end of the last session can go on: the device is in reset. */
	wake_up_all(&zdev->reset.wait);

	zhenwu_write64(zdev, ZW_REG_MBOX_H2F, ipc->dma);
	zhenwu_write64(zdev, ZW_REG_MBOX_F2H, ipc->dma + ZHENWU_IPC_RING_BYTES);
}

/**
 * zhenwu_ipc_up() - allow requests
 * @zdev: device whose firmware is ready
 */
void zhenwu_ipc_up(struct zhenwu_device *zdev)
{
	struct zhenwu_ipc *ipc = &zdev->ipc;
	unsigned long flags;

	spin_lock_irqsave(&ipc->lock, flags);
	ipc->up = true;
	spin_unlock_irqrestore(&ipc->lock, flags);
}

/**
 * zhenwu_ipc_down() - refuse requests, and end those that wait with -EIO
 * @zdev: device
 */
void zhenwu_ipc_down(struct zhenwu_device *zdev)
{
	struct zhenwu_ipc *ipc = &zdev->ipc;
	unsigned long flags;
	unsigned int i;

	spin_lock_irqsave(&ipc->lock, flags);
	ipc->up = false;
	for (i = 0; i < ZW_MBOX_SLOTS; i++) {
		struct zhenwu_ipc_wait *w = ipc->pending[i];

		if (!w)
			continue;
		ipc->pending[i] = NULL;
		if (w == &zhenwu_ipc_orphan)
			continue;
		w->error = -EIO;
		complete(&w->done);
	}
	ipc->outstanding = 0;
	spin_unlock_irqrestore(&ipc->lock, flags);
	wake_up_all(&ipc->wait);
}

/**
 * zhenwu_ipc_poll() - take in what the firmware wrote
 * @zdev: device
 *
 * Called from the mailbox interrupt, and by those who wait in case the interrupt was lost.
 */
void zhenwu_ipc_poll(struct zhenwu_device *zdev)
{
	struct zhenwu_ipc *ipc = &zdev->ipc;
	unsigned long flags;
	bool freed = false;
	unsigned int n;

	spin_lock_irqsave(&ipc->lock, flags);
	for (n = 0; ipc->up && n < ZW_MBOX_SLOTS; n++) {
		u32 next = ipc->f2h_seq + 1;
		const struct zw_msg *slot = &ipc->f2h[next % ZW_MBOX_SLOTS];
		struct zhenwu_ipc_wait *w;
		struct zw_msg msg;
		u32 to;

		if (le32_to_cpu(READ_ONCE(slot->seq)) != next)
			break;
		/* The firmware writes seq last: the rest is read after it. */
		dma_rmb();
		memcpy(&msg, slot, sizeof(msg));
		/* From here on only the copy counts, whatever the device does to the slot. */
		barrier();
		ipc->f2h_seq = next;

		if (le32_to_cpu(msg.type) >= ZW_MSG_EVENT_BASE) {
			zhenwu_ras_event(zdev, &msg);
			continue;
		}

		to = le32_to_cpu(msg.reply_to);
		w = ipc->pending[to % ZW_MBOX_SLOTS];
		if (!w || (w != &zhenwu_ipc_orphan && w->seq != to)) {
			drm_err_ratelimited(&zdev->drm, "firmware answered request %u nobody made\n",
					    to);
			continue;
		}
		ipc->pending[to % ZW_MBOX_SLOTS] = NULL;
		ipc->outstanding--;
		freed = true;
		if (w == &zhenwu_ipc_orphan)
			continue;
		w->reply = msg;
		complete(&w->done);
	}
	spin_unlock_irqrestore(&ipc->lock, flags);

	if (freed)
		wake_up_all(&ipc->wait);
}

/*
 * Places a request. Return: 0, -EAGAIN when there is no slot, -EIO when the mailbox is down or the
 * session another one.
 */
static int zhenwu_ipc_place(struct zhenwu_device *zdev, struct zhenwu_ipc_wait *w, u32 session,
			    enum zw_msg_type type, const void *payload, size_t len)
{
	struct zhenwu_ipc *ipc = &zdev->ipc;
	struct zw_msg *slot;
	unsigned long flags;
	int ret = 0;
	u32 seq;

	spin_lock_irqsave(&ipc->lock, flags);
	seq = ipc->h2f_seq + 1;
	if (!ipc->up || ipc->session != session) {
		ret = -EIO;
		goto out;
	}
	if (ipc->outstanding >= ZHENWU_IPC_MAX_PENDING || ipc->pending[seq % ZW_MBOX_SLOTS]) {
		ret = -EAGAIN;
		goto out;
	}

	ipc->h2f_seq = seq;
	ipc->pending[seq % ZW_MBOX_SLOTS] = w;
	ipc->outstanding++;
	w->seq = seq;

	slot = &ipc->h2f[seq % ZW_MBOX_SLOTS];
	slot->type = cpu_to_le32(type);
	slot->status = 0;
	slot->reply_to = 0;
	slot->function = 0;
	memset(slot->payload, 0, sizeof(slot->payload));
	if (len)
		memcpy(slot->payload, payload, len);
	/* The firmware takes a slot whose seq is the next one: the rest has to be there before. */
	dma_wmb();
	WRITE_ONCE(slot->seq, cpu_to_le32(seq));
	/* writel() orders the doorbell after the slot. */
	zhenwu_write32(zdev, ZW_REG_MBOX_DOORBELL, 1);
out:
	spin_unlock_irqrestore(&ipc->lock, flags);
	return ret;
}

/* Gives up on a request. An orphan keeps its slot until it is answered. */
static void zhenwu_ipc_forget(struct zhenwu_device *zdev, struct zhenwu_ipc_wait *w, bool orphan)
{
	struct zhenwu_ipc *ipc = &zdev->ipc;
	unsigned long flags;

	spin_lock_irqsave(&ipc->lock, flags);
	if (ipc->pending[w->seq % ZW_MBOX_SLOTS] == w) {
		ipc->pending[w->seq % ZW_MBOX_SLOTS] = orphan ? &zhenwu_ipc_orphan : NULL;
		if (!orphan)
			ipc->outstanding--;
	}
	spin_unlock_irqrestore(&ipc->lock, flags);
}

/* Waits for one poll interval. Return: 0 when it is done, 1 when not, or -ERESTARTSYS. */
static int zhenwu_ipc_wait_once(struct zhenwu_ipc_wait *w, unsigned int flags)
{
	unsigned long time = msecs_to_jiffies(ZHENWU_IPC_POLL_MS);
	long ret;

	if (flags & ZHENWU_IPC_KILLABLE)
		ret = wait_for_completion_killable_timeout(&w->done, time);
	else
		ret = wait_for_completion_timeout(&w->done, time);
	return ret < 0 ? ret : !ret;
}

/*
 * Return: 0, what ended the request, -ERESTARTSYS, -ETIMEDOUT for a firmware that is silent or
 * -EHOSTDOWN for one that cannot run.
 */
static int zhenwu_ipc_wait_reply(struct zhenwu_device *zdev, struct zhenwu_ipc_wait *w,
				 unsigned int flags)
{
	const unsigned int slow = ZHENWU_IPC_TIMEOUT_MS;
	const unsigned int quick = ZHENWU_IPC_DEAD_PERIODS * zdev->info.progress_ms;
	unsigned long dead = msecs_to_jiffies(quick);
	unsigned long end = jiffies + msecs_to_jiffies(flags & ZHENWU_IPC_NOWAIT ? quick : slow);
	unsigned long beat = jiffies;
	u32 heartbeat = zhenwu_read32(zdev, ZW_REG_FW_HEARTBEAT);
	int ret;

	while ((ret = zhenwu_ipc_wait_once(w, flags))) {
		u32 now;

		if (ret > 0) {
			/* The interrupt may have been lost. */
			zhenwu_ipc_poll(zdev);
			if (completion_done(&w->done))
				continue;

			now = zhenwu_read32(zdev, ZW_REG_FW_HEARTBEAT);
			if (now != heartbeat)
				beat = jiffies;
			heartbeat = now;
			if (!zhenwu_fw_running(zdev))
				ret = -EHOSTDOWN;
			else if (time_before(jiffies, beat + dead) && time_before(jiffies, end))
				continue;
			else
				ret = -ETIMEDOUT;
		}
		zhenwu_ipc_forget(zdev, w, ret == -ERESTARTSYS);
		/* It may have been answered or aborted just before it was forgotten. */
		if (!completion_done(&w->done))
			return ret;
		break;
	}
	return w->error;
}

static int zhenwu_ipc_status_to_errno(u32 status)
{
	switch (status) {
	case ZW_MSG_OK:
		return 0;
	case ZW_MSG_ERR_TYPE:
		return -EOPNOTSUPP;
	case ZW_MSG_ERR_ARG:
		return -EINVAL;
	case ZW_MSG_ERR_EXIST:
		return -EEXIST;
	case ZW_MSG_ERR_NOENT:
		return -ENOENT;
	case ZW_MSG_ERR_BUSY:
	case ZW_MSG_ERR_STATE:
		return -EBUSY;
	case ZW_MSG_ERR_DMA:
		return -EFAULT;
	default:
		return -EPROTO;
	}
}

/* Return: no reset is under way; *session is the one there is. */
static bool zhenwu_ipc_settled(struct zhenwu_device *zdev, u32 *session)
{
	*session = READ_ONCE(zdev->ipc.session);
	/* A new session comes before its state: what is read now is not older than the session. */
	smp_rmb();
	return zhenwu_device_state(zdev) <= ZHENWU_STATE_LIVE || !zhenwu_device_alive(zdev);
}

/**
 * zhenwu_ipc_session() - wait until the firmware can be asked
 * @zdev: device
 * @session: set to what requests are made in
 * @flags: 0 or ZHENWU_IPC_KILLABLE
 *
 * Must not be called with hw_lock held: it waits for resets.
 *
 * Return: 0, -ENODEV when the device is gone, -ERESTARTSYS.
 */
int zhenwu_ipc_session(struct zhenwu_device *zdev, u32 *session, unsigned int flags)
{
	int ret = 0;

	if (flags & ZHENWU_IPC_KILLABLE)
		ret = wait_event_killable(zdev->reset.wait, zhenwu_ipc_settled(zdev, session));
	else
		wait_event(zdev->reset.wait, zhenwu_ipc_settled(zdev, session));
	if (ret)
		return ret;
	return zhenwu_device_alive(zdev) ? 0 : -ENODEV;
}

/**
 * zhenwu_ipc_session_over() - does the device do nothing any more that was asked for then
 * @zdev: device
 * @session: session
 *
 * Return: true when it was stopped since.
 */
bool zhenwu_ipc_session_over(struct zhenwu_device *zdev, u32 session)
{
	enum zhenwu_state state = zhenwu_device_state(zdev);

	return READ_ONCE(zdev->ipc.session) != session || state == ZHENWU_STATE_WEDGED ||
	       state == ZHENWU_STATE_STOPPED;
}

/* One request and its answer, without regard to resets. */
static int zhenwu_ipc_exchange(struct zhenwu_device *zdev, u32 session, unsigned int flags,
			       enum zw_msg_type type, const void *payload, size_t len, void *reply,
			       size_t reply_len)
{
	struct zhenwu_ipc_wait w = {};
	int ret, again;

	if (WARN_ON(len > ZW_MSG_PAYLOAD || reply_len > ZW_MSG_PAYLOAD))
		return -EINVAL;

	init_completion(&w.done);
	wait_event(zdev->ipc.wait,
		   (again = zhenwu_ipc_place(zdev, &w, session, type, payload, len)) != -EAGAIN);
	ret = again;
	if (!ret)
		ret = zhenwu_ipc_wait_reply(zdev, &w, flags);
	if (ret == -ETIMEDOUT || ret == -EHOSTDOWN)
		drm_err(&zdev->drm, "firmware does not answer message 0x%x\n", type);
	if (!ret) {
		ret = zhenwu_ipc_status_to_errno(le32_to_cpu(w.reply.status));
		if (!ret && reply)
			memcpy(reply, w.reply.payload, reply_len);
	}
	trace_zhenwu_ipc(zdev, w.seq, type, ret);
	return ret;
}

/**
 * zhenwu_ipc_request_in() - ask the firmware and wait for its answer
 * @zdev: device
 * @session: session, from zhenwu_ipc_session() or of something that was announced in it
 * @flags: ZHENWU_IPC_KILLABLE, ZHENWU_IPC_NOWAIT, ZHENWU_IPC_NORESET
 * @type: message type
 * @payload: request payload, or NULL
 * @len: its bytes, at most ZW_MSG_PAYLOAD
 * @reply: where to put the reply's payload, or NULL
 * @reply_len: bytes wanted, at most ZW_MSG_PAYLOAD
 *
 * Sleeps, allocates nothing. A firmware that does not answer gets the device reset. Unless
 * one of the last two is given that is waited for, so hw_lock must not be held: on -EIO and
 * -ENODEV the session is over, see zhenwu_ipc_session_over(). After -ERESTARTSYS the firmware may
 * do what it was asked or not.
 *
 * Return: 0, -ENODEV when the device is gone, -EIO when the session was ended by a reset,
 * -ERESTARTSYS for a fatal signal, else what the firmware answered as an error.
 */
int zhenwu_ipc_request_in(struct zhenwu_device *zdev, u32 session, unsigned int flags,
			  enum zw_msg_type type, const void *payload, size_t len, void *reply,
			  size_t reply_len)
{
	int idx, ret;

	/* Registers may be gone. They are not while somebody is inside. */
	if (drm_dev_enter(&zdev->drm, &idx)) {
		ret = zhenwu_ipc_exchange(zdev, session, flags, type, payload, len, reply,
					  reply_len);
		if (ret == -ETIMEDOUT) {
			zhenwu_reset_schedule(zdev, DRM_ZHENWU_RESET_FW_SILENT);
			ret = -EIO;
		} else if (ret == -EHOSTDOWN) {
			zhenwu_reset_schedule(zdev, DRM_ZHENWU_RESET_FW_STOPPED);
			ret = -EIO;
		}
		drm_dev_exit(idx);
	} else {
		ret = -EIO;
	}
	if (ret != -EIO)
		return ret;
	if (!(flags & (ZHENWU_IPC_NOWAIT | ZHENWU_IPC_NORESET)))
		wait_event(zdev->reset.wait, zhenwu_ipc_session_over(zdev, session));
	return zhenwu_device_alive(zdev) ? -EIO : -ENODEV;
}

/**
 * zhenwu_ipc_request() - the same in the session there is
 * @zdev: device
 * @type: message type
 * @payload: request payload, or NULL
 * @len: its bytes, at most ZW_MSG_PAYLOAD
 * @reply: where to put the reply's payload, or NULL
 * @reply_len: bytes wanted, at most ZW_MSG_PAYLOAD
 *
 * Return: as zhenwu_ipc_request_in().
 */
int zhenwu_ipc_request(struct zhenwu_device *zdev, enum zw_msg_type type, const void *payload,
		       size_t len, void *reply, size_t reply_len)
{
	u32 session;
	int ret;

	ret = zhenwu_ipc_session(zdev, &session, 0);
	if (ret) {
		/* Whatever was there before is not any more. */
		wait_event(zdev->reset.wait, zhenwu_ipc_session_over(zdev, session));
		return ret;
	}
	return zhenwu_ipc_request_in(zdev, session, 0, type, payload, len, reply, reply_len);
}

/**
 * zhenwu_ipc_request_sleep() - the same for who puts the device to sleep
 * @zdev: device; the caller is the only one who asks
 * @type: message type
 * @payload: request payload, or NULL
 * @len: its bytes, at most ZW_MSG_PAYLOAD
 * @reply: where to put the reply's payload, or NULL
 * @reply_len: bytes wanted, at most ZW_MSG_PAYLOAD
 *
 * Waits as long as for any request, but asks for no reset.
 *
 * Return: 0 or a negative error; -ETIMEDOUT and -EHOSTDOWN of a firmware that will not answer.
 */
int zhenwu_ipc_request_sleep(struct zhenwu_device *zdev, enum zw_msg_type type,
			     const void *payload, size_t len, void *reply, size_t reply_len)
{
	return zhenwu_ipc_exchange(zdev, READ_ONCE(zdev->ipc.session), 0, type, payload, len,
				   reply, reply_len);
}

/**
 * zhenwu_ipc_request_boot() - the same for who boots the firmware
 * @zdev: device; the caller is who resets it
 * @type: message type
 * @payload: request payload, or NULL
 * @len: its bytes, at most ZW_MSG_PAYLOAD
 * @reply: where to put the reply's payload, or NULL
 * @reply_len: bytes wanted, at most ZW_MSG_PAYLOAD
 *
 * Return: 0 or a negative error; asks for no reset.
 */
int zhenwu_ipc_request_boot(struct zhenwu_device *zdev, enum zw_msg_type type, const void *payload,
			    size_t len, void *reply, size_t reply_len)
{
	return zhenwu_ipc_exchange(zdev, READ_ONCE(zdev->ipc.session), ZHENWU_IPC_NOWAIT, type,
				   payload, len, reply, reply_len);
}

#ifdef ZHENWU_KUNIT
#include "tests/zhenwu_ipc_test.c"
#endif

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Records of single packets: from one ring of the device to streams of files.
 *
 * The device records what queues do whose descriptors have an owner, a number of ours. The firmware
 * puts records into a ring in coherent memory, as far as it was read, and raises the interrupt of
 * the mailbox; a worker, or who reads a stream, takes them out and gives each to the stream that
 * its owner belongs to. So a file gets records of its own queues, and nobody can make the device
 * wait.
 *
 * What is in the ring is not trusted. A record counts when it has the next number; one that has not
 * is skipped as soon as those behind it have theirs. One whose owner is unknown is dropped. All
 * else in it is nobody's business but the reader's.
 *
 * A queue may be destroyed before the times of its last packets are final, so its owner is known
 * until the device says that nothing more comes, or was reset, or the stream is closed.
 */

#include <linux/dma-mapping.h>
#include <linux/jiffies.h>
#include <linux/kref.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/wait.h>

#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_managed.h>
#include <drm/drm_print.h>
#include <drm/drm_utils.h>

#include "drm/zhenwu_accel.h"
#include "zhenwu/zw_fw.h"
#include "zhenwu_device.h"
#include "zhenwu_drv.h"
#include "zhenwu_ipc.h"
#include "zhenwu_perf.h"
#include "zhenwu_pm.h"
#include "zhenwu_queue.h"

#define ZHENWU_PERF_SLOTS	1024
#define ZHENWU_PERF_RING_BYTES	(ZHENWU_PERF_SLOTS * sizeof(struct zw_perf_record))
#define ZHENWU_PERF_MEM_BYTES	(ZHENWU_PERF_RING_BYTES + sizeof(struct zw_perf_ctrl))

/* What is read of the ring with a lock held. */
#define ZHENWU_PERF_BATCH	32
/* How far a number that is wrong is looked behind. */
#define ZHENWU_PERF_SKIP	64
/* How often it is tried to get everything that can be final: others may go on meanwhile. */
#define ZHENWU_PERF_SETTLES	64

#define ZHENWU_PERF_DEFAULT_RECORDS 16384
/* How often those who wait look for themselves: an interrupt may have been lost. */
#define ZHENWU_PERF_POLL_MS	100

static_assert(DRM_ZHENWU_PERF_BEGIN == (int)ZW_PERF_BEGIN);
static_assert(DRM_ZHENWU_PERF_PACKET == (int)ZW_PERF_PACKET);
static_assert(DRM_ZHENWU_PERF_JOB == (int)ZW_PERF_JOB);
static_assert(DRM_ZHENWU_PERF_PORTS == ZW_PERF_PORTS);
static_assert(DRM_ZHENWU_PERF_WAITS == ZW_PERF_WAITS);

/**
 * struct zhenwu_perf_stream - records of a file that were not read yet
 */
struct zhenwu_perf_stream {
	/** @refs: The file, and queues that are recorded. */
	struct kref refs;

	/** @node: In the list of the device; under its lock. */
	struct list_head node;

	/** @read_lock: Held by who reads. */
	struct mutex read_lock;

	/** @lock: Protects all below, and the sums of queues; taken in interrupts. */
	spinlock_t lock;

	/** @wait: Readers. */
	wait_queue_head_t wait;

	/** @size: Room for records. */
	u32 size;

	/** @first: The oldest. */
	u32 first;

	/** @count: Number of them. */
	u32 count;

	/** @lost: Records that are missing. */
	u64 lost;

	/** @records: A ring of them. */
	struct drm_zhenwu_perf_record *records;
};

/**
 * struct zhenwu_perf_queue - a queue that is recorded
 */
struct zhenwu_perf_queue {
	/** @refs: The queue, and its entry among the owners of the device. */
	struct kref refs;

	/** @stream: Who gets the records. */
	struct zhenwu_perf_stream *stream;

	/** @owner: What the device knows it by. */
	u32 owner;

	/** @id: What its file knows it by. */
	u32 id;

	/** @sums: What it did; under the lock of the stream. */
	struct drm_zhenwu_queue_perf sums;
};

/* -- streams ---------------------------------------------------------------------------------- */

static void zhenwu_perf_stream_free(struct kref *ref)
{
	struct zhenwu_perf_stream *stream = container_of(ref, struct zhenwu_perf_stream, refs);

	mutex_destroy(&stream->read_lock);
	kfree(stream);
}

static void zhenwu_perf_stream_put(struct zhenwu_perf_stream *stream)
{
	kref_put(&stream->refs, zhenwu_perf_stream_free);
}

/* Nobody reads it any more. The structure may be put anywhere, the records may not. */
static void zhenwu_perf_stream_close(struct zhenwu_perf_stream *stream)
{
	struct drm_zhenwu_perf_record *records;

	spin_lock_irq(&stream->lock);
	records = stream->records;
	stream->records = NULL;
	stream->size = 0;
	stream->count = 0;
	spin_unlock_irq(&stream->lock);
	kvfree(records);
	zhenwu_perf_stream_put(stream);
}

static struct zhenwu_perf_stream *zhenwu_perf_stream_create(u32 size)
{
	struct zhenwu_perf_stream *stream = kzalloc(sizeof(*stream), GFP_KERNEL_ACCOUNT);

	if (!stream)
		return NULL;
	kref_init(&stream->refs);
	INIT_LIST_HEAD(&stream->node);
	mutex_init(&stream->read_lock);
	spin_lock_init(&stream->lock);
	init_waitqueue_head(&stream->wait);
	stream->size = size;
	stream->records = kvcalloc(size, sizeof(*stream->records), GFP_KERNEL_ACCOUNT);
	if (!stream->records) {
		zhenwu_perf_stream_put(stream);
		return NULL;
	}
	return stream;
}

static void zhenwu_perf_add(struct zhenwu_perf_stream *stream,
			    const struct drm_zhenwu_perf_record *record)
{
	unsigned long flags;

	spin_lock_irqsave(&stream->lock, flags);
	if (stream->count < stream->size)
		stream->records[(stream->first + stream->count++) % stream->size] = *record;
	else
		stream->lost++;
	spin_unlock_irqrestore(&stream->lock, flags);
	if (wq_has_sleeper(&stream->wait))
		wake_up_all(&stream->wait);
}

/* -- what the firmware wrote ------------------------------------------------------------------ */

static void zhenwu_perf_convert(const struct zw_perf_record *in,
				struct drm_zhenwu_perf_record *out)
{
	const struct zw_perf_packet *p = &in->u.packet;
	unsigned int i;

	out->kind = le32_to_cpu(in->kind);
	out->job = le64_to_cpu(in->job);
	out->start_ps = le64_to_cpu(in->start_ps);
	out->end_ps = le64_to_cpu(in->end_ps);
	if (out->kind == DRM_ZHENWU_PERF_JOB) {
		out->release_ps = le64_to_cpu(in->u.done.release_ps);
		return;
	}
	out->index = le32_to_cpu(in->index);
	out->opcode = le32_to_cpu(in->opcode);
	out->tag = le32_to_cpu(in->tag);
	out->rows = le32_to_cpu(in->rows);
	out->engine = le32_to_cpu(in->engine);
	out->fixed_ps = le64_to_cpu(p->fixed_ps);
	out->compute_ps = le64_to_cpu(p->compute_ps);
	for (i = 0; i < DRM_ZHENWU_PERF_PORTS; i++) {
		out->port[i].request_ps = le64_to_cpu(p->port[i].request_ps);
		out->port[i].start_ps = le64_to_cpu(p->port[i].start_ps);
		out->port[i].end_ps = le64_to_cpu(p->port[i].end_ps);
	}
	for (i = 0; i < DRM_ZHENWU_PERF_WAITS; i++)
		out->wait_ps[i] = le64_to_cpu(p->wait_ps[i]);
	out->energy_pj = le64_to_cpu(p->energy_pj);
	out->ops = le64_to_cpu(p->ops);
	out->hbm_bytes = le64_to_cpu(p->hbm_bytes);
	out->sys_bytes = le64_to_cpu(p->sys_bytes);
	out->wait = le16_to_cpu(p->wait);
	out->signal = p->signal;
	out->ordered = p->ordered;
}

/* The sums that come with a job are over all of its queue: the last ones count. */
static void zhenwu_perf_sum(struct zhenwu_perf_queue *pq, const struct zw_perf_record *in)
{
	struct drm_zhenwu_queue_perf *sums = &pq->sums;
	const struct zw_perf_job *p = &in->u.done;
	unsigned long flags;
	unsigned int i;

	spin_lock_irqsave(&pq->stream->lock, flags);
	sums->job = le64_to_cpu(in->job);
	sums->end_ps = le64_to_cpu(in->end_ps);
	sums->packets = le64_to_cpu(p->packets);
	for (i = 0; i < ARRAY_SIZE(sums->busy_ps); i++)
		sums->busy_ps[i] = le64_to_cpu(p->busy_ps[i]);
	for (i = 0; i < DRM_ZHENWU_PERF_PORTS; i++)
		sums->port_busy_ps[i] = le64_to_cpu(p->port_busy_ps[i]);
	for (i = 0; i < DRM_ZHENWU_PERF_WAITS; i++)
		sums->wait_ps[i] = le64_to_cpu(p->wait_ps[i]);
	sums->energy_pj = le64_to_cpu(p->energy_pj);
	sums->ops = le64_to_cpu(p->ops);
	sums->hbm_bytes = le64_to_cpu(p->hbm_bytes);
	sums->sys_bytes = le64_to_cpu(p->sys_bytes);
	spin_unlock_irqrestore(&pq->stream->lock, flags);
}

static void zhenwu_perf_queue_free(struct kref *ref)
{
	struct zhenwu_perf_queue *pq = container_of(ref, struct zhenwu_perf_queue, refs);

	zhenwu_perf_stream_put(pq->stream);
	kfree(pq);
}

/**
 * zhenwu_perf_queue_put() - drop a reference
 * @pq: queue that is recorded, or NULL
 *
 * Any context.
 */
void zhenwu_perf_queue_put(struct zhenwu_perf_queue *pq)
{
	if (pq)
		kref_put(&pq->refs, zhenwu_perf_queue_free);
}

/*
 * Takes a queue out of the owners. Return: it was there, so that its reference is the caller's.
 */
static bool zhenwu_perf_disown_locked(struct zhenwu_device *zdev, struct zhenwu_perf_queue *pq)
{
	struct xarray *owners = &zdev->perf.owners;

	lockdep_assert_held(&zdev->perf.lock);

	if (xa_load(owners, pq->owner) != pq)
		return false;
	xa_erase(owners, pq->owner);
	return true;
}

/* Of whose records they were, nobody knows. */
static void zhenwu_perf_lose_locked(struct zhenwu_perf *perf, u64 lost)
{
	struct zhenwu_perf_stream *stream;

	lockdep_assert_held(&perf->lock);

	list_for_each_entry(stream, &perf->streams, node) {
		spin_lock_irq(&stream->lock);
		stream->lost += lost;
		spin_unlock_irq(&stream->lock);
	}
}

/* Return: a queue of which nothing more comes, to be given back with zhenwu_perf_queue_put(). */
static struct zhenwu_perf_queue *zhenwu_perf_take_locked(struct zhenwu_device *zdev,
							 const struct zw_perf_record *in)
{
	struct drm_zhenwu_perf_record out = {};
	struct zhenwu_perf *perf = &zdev->perf;
	struct zhenwu_perf_queue *pq;
	u64 dropped = le64_to_cpu(in->dropped);

	lockdep_assert_held(&perf->lock);

	if (dropped > perf->dropped)
		zhenwu_perf_lose_locked(perf, dropped - perf->dropped);
	perf->dropped = dropped;

	pq = xa_load(&perf->owners, le32_to_cpu(in->owner));
	if (!pq)
		return NULL;
	switch (le32_to_cpu(in->kind)) {
	case ZW_PERF_JOB:
		zhenwu_perf_sum(pq, in);
		fallthrough;
	case ZW_PERF_BEGIN:
	case ZW_PERF_PACKET:
		out.queue = pq->id;
		zhenwu_perf_convert(in, &out);
		zhenwu_perf_add(pq->stream, &out);
		return NULL;
	case ZW_PERF_END:
		return zhenwu_perf_disown_locked(zdev, pq) ? pq : NULL;
	default:
		return NULL;
	}
}

static bool zhenwu_perf_there(struct zhenwu_perf *perf, u64 number)
{
	return le64_to_cpu(READ_ONCE(perf->ring[number % ZHENWU_PERF_SLOTS].seq)) == number;
}

/* Return: number of the next record; 0: there is none. Those in front of it are lost. */
static u64 zhenwu_perf_next_locked(struct zhenwu_perf *perf)
{
	unsigned int most = ZHENWU_PERF_SLOTS;
	u64 n, i;

	lockdep_assert_held(&perf->lock);

	while (!zhenwu_perf_there(perf, n = perf->last + 1)) {
		for (i = 1; i <= ZHENWU_PERF_SKIP; i++)
			if (zhenwu_perf_there(perf, n + i))
				break;
		/* A device that writes numbers as fast as they are read keeps nobody here. */
		if (i > ZHENWU_PERF_SKIP || !most--)
			return 0;
		/* It may have come together with the other one, just after it was looked at. */
		dma_rmb();
		if (zhenwu_perf_there(perf, n))
			break;
		zhenwu_perf_lose_locked(perf, 1);
		perf->last = n;
	}
	return n;
}

/* Takes some records out of the ring. Return: number of them. */
static unsigned int zhenwu_perf_batch_locked(struct zhenwu_device *zdev,
					     struct zhenwu_perf_queue **ended,
					     unsigned int *num_ended)
{
	struct zhenwu_perf *perf = &zdev->perf;
	struct zw_perf_record record;
	unsigned int done;
	u64 n;

	lockdep_assert_held(&perf->lock);

	for (done = 0; perf->ring && perf->on && done < ZHENWU_PERF_BATCH; done++) {
		n = zhenwu_perf_next_locked(perf);
		if (!n)
			break;
		/* The number was written last: the rest is read after it. */
		dma_rmb();
		memcpy(&record, &perf->ring[n % ZHENWU_PERF_SLOTS], sizeof(record));
		/* From here on only the copy counts, whatever the device does to the slot. */
		barrier();
		perf->last = n;
		ended[*num_ended] = zhenwu_perf_take_locked(zdev, &record);
		if (ended[*num_ended])
			++*num_ended;
	}
	if (done) {
		/* The slots are the device's again when they were read. */
		mb();
		WRITE_ONCE(perf->ctrl->taken, cpu_to_le64(perf->last));
	}
	return done;
}

/* The firmware may have stopped for want of room. */
static void zhenwu_perf_tell(struct zhenwu_device *zdev)
{
	int idx;

	if (!drm_dev_enter(&zdev->drm, &idx))
		return;
	zhenwu_write32(zdev, ZW_REG_MBOX_DOORBELL, 1);
	drm_dev_exit(idx);
}

/* Takes in all that there is. Return: number of the last record that was taken, by whomever. */
static u64 zhenwu_perf_drain(struct zhenwu_device *zdev)
{
	struct zhenwu_perf_queue *ended[ZHENWU_PERF_BATCH];
	struct zhenwu_perf *perf = &zdev->perf;
	unsigned int done, num_ended;
	bool tell;
	u64 last;

	do {
		num_ended = 0;
		spin_lock(&perf->lock);
		done = zhenwu_perf_batch_locked(zdev, ended, &num_ended);
		tell = perf->last - perf->told >= ZHENWU_PERF_SLOTS / 2;
		if (tell)
			perf->told = perf->last;
		last = perf->last;
		spin_unlock(&perf->lock);
		while (num_ended)
			zhenwu_perf_queue_put(ended[--num_ended]);
		if (tell)
			zhenwu_perf_tell(zdev);
		cond_resched();
	} while (done);
	return last;
}

static void zhenwu_perf_work(struct work_struct *work)
{
	zhenwu_perf_drain(container_of(work, struct zhenwu_device, perf.work));
}

/**
 * zhenwu_perf_interrupt() - there may be records
 * @zdev: device
 *
 * Called from the mailbox interrupt.
 */
void zhenwu_perf_interrupt(struct zhenwu_device *zdev)
{
	/* Most interrupts are about messages. */
	if (READ_ONCE(zdev->perf.on))
		queue_work(zhenwu_release_wq, &zdev->perf.work);
}

/* -- what the firmware is asked for ----------------------------------------------------------- */

static struct zw_msg_perf zhenwu_perf_message(struct zhenwu_perf *perf)
{
	dma_addr_t ctrl = perf->dma + ZHENWU_PERF_RING_BYTES;

	return (struct zw_msg_perf){
		.ring_lo = cpu_to_le32(lower_32_bits(perf->dma)),
		.ring_hi = cpu_to_le32(upper_32_bits(perf->dma)),
		.slots = cpu_to_le32(ZHENWU_PERF_SLOTS),
		.ctrl_lo = cpu_to_le32(lower_32_bits(ctrl)),
		.ctrl_hi = cpu_to_le32(upper_32_bits(ctrl)),
	};
}

/* Empties the ring, which is not written now. */
static void zhenwu_perf_empty_locked(struct zhenwu_perf *perf, bool on)
{
	lockdep_assert_held(&perf->lock);

	memset(perf->ring, 0, ZHENWU_PERF_MEM_BYTES);
	perf->last = 0;
	perf->told = 0;
	perf->dropped = 0;
	WRITE_ONCE(perf->on, on);
}

/**
 * zhenwu_perf_restart() - go on after a reset
 * @zdev: device whose firmware was booted; the caller is who resets it
 *
 * Allocates nothing. A firmware that makes no records is said; streams stay empty then.
 *
 * Return: 0, or a negative error when the firmware does not answer.
 */
int zhenwu_perf_restart(struct zhenwu_device *zdev)
{
	struct zhenwu_perf *perf = &zdev->perf;
	struct zw_msg_perf msg;
	bool on;
	int ret;

	lockdep_assert_held(&zdev->hw_lock);

	/* What came before the reset. */
	zhenwu_perf_drain(zdev);
	spin_lock(&perf->lock);
	on = perf->on;
	if (on)
		zhenwu_perf_empty_locked(perf, true);
	spin_unlock(&perf->lock);
	if (!on)
		return 0;

	msg = zhenwu_perf_message(perf);
	ret = zhenwu_ipc_request_boot(zdev, ZW_MSG_PERF, &msg, sizeof(msg), NULL, 0);
	if (!ret || ret == -EIO || ret == -ETIMEDOUT)
		return ret;
	drm_err(&zdev->drm, "the firmware makes no more records: %d\n", ret);
	WRITE_ONCE(perf->on, false);
	return 0;
}

/*
 * Asks the firmware for records, or for none. A reset that comes in between does so itself: it
 * finds what is stored before anything is asked.
 */
static int zhenwu_perf_ask(struct zhenwu_device *zdev, bool on, unsigned int flags)
{
	struct zhenwu_perf *perf = &zdev->perf;
	struct zw_msg_perf msg = {};
	u32 session;
	bool same;
	int ret;

	lockdep_assert_held(&perf->mutex);

	ret = zhenwu_ipc_session(zdev, &session, flags);
	if (ret)
		return ret;
	/* Numbers begin anew: the ring has to be quiet between the old ones and the new ones. */
	ret = zhenwu_ipc_request_in(zdev, session, 0, ZW_MSG_PERF, &msg, sizeof(msg), NULL, 0);
	if (ret && ret != -EIO)
		return ret;

	spin_lock(&perf->lock);
	/*
	 * A session begins before zhenwu_perf_restart() looks at what is wanted, which it does
	 * under the lock: either it sees this, or it has done already and we ask again.
	 */
	same = READ_ONCE(zdev->ipc.session) == session;
	if (same && perf->ring)
		zhenwu_perf_empty_locked(perf, on);
	spin_unlock(&perf->lock);
	if (!same)
		return -EAGAIN;
	if (!on)
		return 0;

	msg = zhenwu_perf_message(perf);
	ret = zhenwu_ipc_request_in(zdev, session, 0, ZW_MSG_PERF, &msg, sizeof(msg), NULL, 0);
	/* -EIO: there was a reset, which has seen to it. */
	if (ret == -EIO)
		return 0;
	if (ret)
		WRITE_ONCE(perf->on, false);
	return ret;
}

static int zhenwu_perf_want(struct zhenwu_device *zdev, bool on, unsigned int flags)
{
	int ret;

	do {
		ret = zhenwu_perf_ask(zdev, on, flags);
	} while (ret == -EAGAIN);
	return ret;
}

static int zhenwu_perf_alloc_ring(struct zhenwu_device *zdev)
{
	struct zhenwu_perf *perf = &zdev->perf;
	struct zw_perf_record *ring;
	dma_addr_t dma;

	lockdep_assert_held(&perf->mutex);

	if (perf->ring)
		return 0;
	ring = dma_alloc_coherent(&zdev->pdev->dev, ZHENWU_PERF_MEM_BYTES, &dma, GFP_KERNEL);
	if (!ring)
		return -ENOMEM;
	spin_lock(&perf->lock);
	perf->dma = dma;
	perf->ctrl = (void *)(ring + ZHENWU_PERF_SLOTS);
	perf->ring = ring;
	spin_unlock(&perf->lock);
	return 0;
}

/* -- queues ----------------------------------------------------------------------------------- */

/**
 * zhenwu_perf_queue_add() - have a queue recorded
 * @zdev: device
 * @stream: stream of its file
 * @id: what its file knows it by
 *
 * Return: what is given back with zhenwu_perf_queue_put(), or an error pointer.
 */
struct zhenwu_perf_queue *zhenwu_perf_queue_add(struct zhenwu_device *zdev,
						struct zhenwu_perf_stream *stream, u32 id)
{
	struct zhenwu_perf_queue *pq;
	int ret;

	pq = kzalloc(sizeof(*pq), GFP_KERNEL_ACCOUNT);
	if (!pq)
		return ERR_PTR(-ENOMEM);
	kref_init(&pq->refs);
	kref_get(&stream->refs);
	pq->stream = stream;
	pq->id = id;
	/* Of the entry: nothing gives it back before the device knows the owner. */
	kref_get(&pq->refs);
	ret = xa_alloc_cyclic(&zdev->perf.owners, &pq->owner, pq, xa_limit_32b,
			      &zdev->perf.next_owner, GFP_KERNEL_ACCOUNT);
	if (ret < 0) {
		zhenwu_perf_queue_put(pq);
		zhenwu_perf_queue_put(pq);
		return ERR_PTR(ret);
	}
	return pq;
}

/**
 * zhenwu_perf_queue_owner() - what the device is to know a queue by
 * @pq: queue that is recorded, or NULL
 *
 * Return: a number; 0 for none.
 */
u32 zhenwu_perf_queue_owner(const struct zhenwu_perf_queue *pq)
{
	return pq ? pq->owner : 0;
}

static void zhenwu_perf_disown(struct zhenwu_device *zdev, struct zhenwu_perf_queue *pq)
{
	bool there;

	spin_lock(&zdev->perf.lock);
	there = zhenwu_perf_disown_locked(zdev, pq);
	spin_unlock(&zdev->perf.lock);
	if (there)
		zhenwu_perf_queue_put(pq);
}

/**
 * zhenwu_perf_queue_over() - the device has forgotten a queue: no records come that say so
 * @zdev: device
 * @pq: queue that is recorded, or NULL
 */
void zhenwu_perf_queue_over(struct zhenwu_device *zdev, struct zhenwu_perf_queue *pq)
{
	if (pq)
		zhenwu_perf_disown(zdev, pq);
}

static void zhenwu_perf_host(struct zhenwu_queue *queue, u32 kind, u64 job)
{
	struct zhenwu_perf_queue *pq = queue->perf;
	struct drm_zhenwu_perf_record record = {
		.kind = kind,
		.job = job,
	};

	if (!pq)
		return;
	record.queue = pq->id;
	record.host_ns = ktime_get_ns();
	zhenwu_perf_add(pq->stream, &record);
}

/**
 * zhenwu_perf_submit() - the doorbell is rung for a job
 * @queue: queue, recorded or not; its lock is held
 * @job: number of the job
 */
void zhenwu_perf_submit(struct zhenwu_queue *queue, u64 job)
{
	zhenwu_perf_host(queue, DRM_ZHENWU_PERF_SUBMIT, job);
}

/**
 * zhenwu_perf_done() - a job is over
 * @queue: queue, recorded or not; its lock is held
 * @job: number of the job
 */
void zhenwu_perf_done(struct zhenwu_queue *queue, u64 job)
{
	zhenwu_perf_host(queue, DRM_ZHENWU_PERF_DONE, job);
}

/**
 * zhenwu_perf_query() - what a queue has done
 * @queue: queue
 * @out: set to it
 *
 * Return: 0, or -EINVAL for a queue that is not recorded.
 */
int zhenwu_perf_query(struct zhenwu_queue *queue, struct drm_zhenwu_queue_perf *out)
{
	struct zhenwu_perf_queue *pq = queue->perf;

	if (!pq)
		return -EINVAL;
	zhenwu_perf_drain(queue->zdev);
	spin_lock_irq(&pq->stream->lock);
	*out = pq->sums;
	spin_unlock_irq(&pq->stream->lock);
	return 0;
}

/* -- life ------------------------------------------------------------------------------------- */

static void zhenwu_perf_release_sw(struct drm_device *drm, void *arg)
{
	struct zhenwu_perf *perf = arg;

	xa_destroy(&perf->owners);
	mutex_destroy(&perf->mutex);
}

/**
 * zhenwu_perf_init_sw() - initialise what does not depend on the device
 * @zdev: device
 *
 * Return: 0 or a negative error.
 */
int zhenwu_perf_init_sw(struct zhenwu_device *zdev)
{
	struct zhenwu_perf *perf = &zdev->perf;

	mutex_init(&perf->mutex);
	xa_init_flags(&perf->owners, XA_FLAGS_ALLOC1);
	spin_lock_init(&perf->lock);
	INIT_LIST_HEAD(&perf->streams);
	INIT_WORK(&perf->work, zhenwu_perf_work);
	return drmm_add_action_or_reset(&zdev->drm, zhenwu_perf_release_sw, perf);
}

/**
 * zhenwu_perf_fini() - free the ring
 * @zdev: device; in reset, interrupts freed. Streams may still be there.
 */
void zhenwu_perf_fini(struct zhenwu_device *zdev)
{
	struct zhenwu_perf *perf = &zdev->perf;
	struct zw_perf_record *ring;

	mutex_lock(&perf->mutex);
	spin_lock(&perf->lock);
	ring = perf->ring;
	perf->ring = NULL;
	perf->ctrl = NULL;
	WRITE_ONCE(perf->on, false);
	spin_unlock(&perf->lock);
	mutex_unlock(&perf->mutex);
	cancel_work_sync(&perf->work);
	if (ring)
		dma_free_coherent(&zdev->pdev->dev, ZHENWU_PERF_MEM_BYTES, ring, perf->dma);
}

/**
 * zhenwu_perf_release() - a file is closed, and so is its stream
 * @zfile: open file, whose queues are closed
 */
void zhenwu_perf_release(struct zhenwu_file *zfile)
{
	struct zhenwu_device *zdev = zfile->zdev;
	struct zhenwu_perf *perf = &zdev->perf;
	struct zhenwu_perf_stream *stream = zfile->perf;
	struct zhenwu_perf_queue *pq;
	unsigned long owner;

	if (!stream)
		return;
	mutex_lock(&perf->mutex);
	spin_lock(&perf->lock);
	list_del(&stream->node);
	/* Queues whose last times are not final yet. */
	xa_for_each(&perf->owners, owner, pq)
		if (pq->stream == stream && zhenwu_perf_disown_locked(zdev, pq))
			zhenwu_perf_queue_put(pq);
	spin_unlock(&perf->lock);
	/* When the device is gone, so are its records. */
	if (!--perf->num_streams)
		zhenwu_perf_want(zdev, false, 0);
	zhenwu_pm_put(zdev);
	mutex_unlock(&perf->mutex);
	zhenwu_perf_stream_close(stream);
}

/* -- ioctls ----------------------------------------------------------------------------------- */

/* perf->mutex is held, which says that the file has no stream. */
static int zhenwu_perf_open_locked(struct zhenwu_device *zdev, struct zhenwu_file *zfile, u32 size)
{
	struct zhenwu_perf *perf = &zdev->perf;
	struct zhenwu_perf_stream *stream;
	int ret = 0;

	lockdep_assert_held(&perf->mutex);

	stream = zhenwu_perf_stream_create(size);
	if (!stream)
		return -ENOMEM;
	if (!perf->num_streams) {
		ret = zhenwu_perf_alloc_ring(zdev);
		if (!ret)
			ret = zhenwu_perf_want(zdev, true, ZHENWU_IPC_KILLABLE);
	}
	if (ret) {
		zhenwu_perf_stream_close(stream);
		return ret;
	}
	perf->num_streams++;
	/* Who wants records keeps the device awake: they come when they are ready. */
	zhenwu_pm_get_awake(zdev);
	spin_lock(&perf->lock);
	list_add_tail(&stream->node, &perf->streams);
	spin_unlock(&perf->lock);
	/* Whoever sees it finds it complete. */
	smp_store_release(&zfile->perf, stream);
	return 0;
}

/**
 * zhenwu_ioctl_perf_open() - DRM_IOCTL_ZHENWU_PERF_OPEN
 * @drm: device
 * @data: &struct drm_zhenwu_perf_open
 * @file: file
 *
 * Return: 0 or a negative error.
 */
int zhenwu_ioctl_perf_open(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct zhenwu_device *zdev = to_zhenwu_device(drm);
	struct zhenwu_file *zfile = file->driver_priv;
	struct drm_zhenwu_perf_open *args = data;
	u32 size = args->records ?: ZHENWU_PERF_DEFAULT_RECORDS;
	int ret, idx;

	if (args->flags || size < DRM_ZHENWU_PERF_MIN_RECORDS || size > DRM_ZHENWU_PERF_MAX_RECORDS)
		return -EINVAL;
	if (ZW_ABI_VERSION_MINOR(zdev->info.abi_version) < ZHENWU_PERF_ABI_MINOR)
		return -EOPNOTSUPP;
	/* The ring is allocated for a device that is there. */
	if (!drm_dev_enter(drm, &idx))
		return -ENODEV;
	ret = mutex_lock_interruptible(&zdev->perf.mutex);
	if (!ret) {
		ret = zfile->perf ? -EEXIST : zhenwu_perf_open_locked(zdev, zfile, size);
		mutex_unlock(&zdev->perf.mutex);
	}
	drm_dev_exit(idx);
	return ret;
}

/*
 * Everything that can be final becomes so, and is taken in: the device holds nothing back when it
 * was told to settle and nobody, the worker included, found a record behind that.
 */
static int zhenwu_perf_settle(struct zhenwu_device *zdev)
{
	u64 before, last = zhenwu_perf_drain(zdev);
	unsigned int i;
	u32 session;
	int ret;

	for (i = 0; i < ZHENWU_PERF_SETTLES; i++) {
		ret = zhenwu_ipc_session(zdev, &session, ZHENWU_IPC_KILLABLE);
		if (!ret)
			ret = zhenwu_ipc_request_in(zdev, session, ZHENWU_IPC_KILLABLE,
						    ZW_MSG_SETTLE, NULL, 0, NULL, 0);
		/* -EIO: after a reset there is nothing left to settle. */
		if (ret && ret != -EIO)
			return ret;
		before = last;
		last = zhenwu_perf_drain(zdev);
		if (last == before)
			break;
	}
	return 0;
}

/* Return: 0 when there may be something, -ENODEV, -ETIME, -ERESTARTSYS. */
static int zhenwu_perf_wait(struct zhenwu_device *zdev, struct zhenwu_perf_stream *stream,
			    s64 timeout_ns)
{
	const unsigned long poll = msecs_to_jiffies(ZHENWU_PERF_POLL_MS);
	unsigned long left = drm_timeout_abs_to_jiffies(timeout_ns);
	long ret;

	if (!zhenwu_device_alive(zdev))
		return -ENODEV;
	if (!left)
		return -ETIME;
	ret = wait_event_interruptible_timeout(stream->wait, READ_ONCE(stream->count) ||
					       !zhenwu_device_alive(zdev), min(left, poll));
	return ret < 0 ? ret : 0;
}

/* The oldest record, which stays there until zhenwu_perf_pop(). Return: false for none. */
static bool zhenwu_perf_peek(struct zhenwu_perf_stream *stream,
			     struct drm_zhenwu_perf_record *record)
{
	bool any;

	spin_lock_irq(&stream->lock);
	any = stream->count;
	if (any)
		*record = stream->records[stream->first];
	spin_unlock_irq(&stream->lock);
	return any;
}

static void zhenwu_perf_pop(struct zhenwu_perf_stream *stream)
{
	spin_lock_irq(&stream->lock);
	stream->first = (stream->first + 1) % stream->size;
	stream->count--;
	spin_unlock_irq(&stream->lock);
}

/* Reads what there is and fits. The stream's read_lock is held. */
static int zhenwu_perf_read_some(struct zhenwu_perf_stream *stream,
				 struct drm_zhenwu_perf_read *args)
{
	struct drm_zhenwu_perf_record record;

	lockdep_assert_held(&stream->read_lock);

	while (args->count < args->records.count && zhenwu_perf_peek(stream, &record)) {
		if (zhenwu_put_element(&args->records, args->count, &record, sizeof(record)))
			return -EFAULT;
		zhenwu_perf_pop(stream);
		args->count++;
		cond_resched();
		if (signal_pending(current))
			break;
	}
	return 0;
}

/**
 * zhenwu_ioctl_perf_read() - DRM_IOCTL_ZHENWU_PERF_READ
 * @drm: device
 * @data: &struct drm_zhenwu_perf_read
 * @file: file
 *
 * Nothing that a removal waits for is held while it sleeps.
 *
 * Return: 0 or a negative error.
 */
int zhenwu_ioctl_perf_read(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct zhenwu_device *zdev = to_zhenwu_device(drm);
	struct zhenwu_file *zfile = file->driver_priv;
	/* Pairs with zhenwu_perf_open_locked(). */
	struct zhenwu_perf_stream *stream = smp_load_acquire(&zfile->perf);
	struct drm_zhenwu_perf_read *args = data;
	int ret;

	if (args->flags & ~(u32)DRM_ZHENWU_PERF_READ_SETTLE || args->count || args->lost ||
	    args->timeout_ns < 0 || !args->records.count ||
	    args->records.count > DRM_ZHENWU_PERF_MAX_RECORDS ||
	    args->records.stride < sizeof(struct drm_zhenwu_perf_record) ||
	    args->records.stride > PAGE_SIZE || args->records.stride % 8)
		return -EINVAL;
	if (!stream)
		return -EINVAL;

	ret = mutex_lock_interruptible(&stream->read_lock);
	if (ret)
		return ret;
	if (args->flags & DRM_ZHENWU_PERF_READ_SETTLE)
		ret = zhenwu_perf_settle(zdev);
	while (!ret) {
		zhenwu_perf_drain(zdev);
		ret = zhenwu_perf_read_some(stream, args);
		if (ret || args->count)
			break;
		ret = zhenwu_perf_wait(zdev, stream, args->timeout_ns);
	}
	mutex_unlock(&stream->read_lock);

	/* What was read counts; an error that lasts is found by the next call. */
	if (args->count || ret == -ETIME)
		ret = 0;
	if (ret)
		return ret;
	spin_lock_irq(&stream->lock);
	args->lost = stream->lost;
	spin_unlock_irq(&stream->lock);
	return 0;
}

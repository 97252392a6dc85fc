/* SPDX-License-Identifier: MIT */
/* The real firmware on the device core: mailbox, rings, scheduling. */
#include <time.h>
#include <unistd.h>
#include "fw_env.h"

/* Of one packet of a long job: as long for the processor under TSan, where every word is looked at. */
#ifdef __SANITIZE_THREAD__
#define FILL_BYTES (64u << 10)
#else
#define FILL_BYTES (2u << 20)
#endif

static void enqueue(struct ring *q, uint64_t cmd_va, uint32_t bytes)
{
	uint64_t seq = ++q->seq;
	struct zw_ring_entry e = {.seqno = seq,
				  .cmd_va = cmd_va,
				  .cmd_bytes = bytes,
				  .result_va = fw_result_va(q, seq),
				  .cookie = q->id * 1000 + seq};

	memset(q->fw->e->hbm + fw_result_va(q, seq), 0xee, sizeof(struct zw_job_result));
	fw_put(q->fw, q->ring + seq % SLOTS * sizeof(e), &e, sizeof(e));
}

static void submit(struct ring *q, uint64_t cmd_va, uint32_t bytes)
{
	enqueue(q, cmd_va, bytes);
	fw_ring_bell(q, (uint32_t)q->seq);
}

/* Waits for a job and checks that its result tells what its completion does. */
static struct zw_completion finish(struct ring *q, uint64_t seq)
{
	struct zw_job_result r;
	struct zw_completion c;

	WAIT_FOR(fw_done(q, seq, &c));
	memcpy(&r, q->fw->e->hbm + fw_result_va(q, seq), sizeof(r));
	assert_int_equal(r.seqno, seq);
	assert_int_equal(r.status, c.status);
	assert_int_equal(r.reason, c.reason);
	assert_int_equal(r.start_ps, c.start_ps);
	assert_int_equal(r.end_ps, c.end_ps);
	assert_int_equal(c.cookie, q->id * 1000 + seq);
	return c;
}

/* -- command buffers -- */

static uint32_t put_sem_at(struct ring *q, uint32_t at, uint16_t op, uint64_t va, uint64_t value)
{
	struct zw_pkt_sem p = {.hdr = {.opcode = op, .size = sizeof(p)}, .va = va, .value = value};

	memcpy(q->fw->e->hbm + fw_cmd_of(q) + at, &p, sizeof(p));
	return at + (uint32_t)sizeof(p);
}

static uint32_t put_sem(struct ring *q, uint32_t at, uint16_t op, uint64_t value)
{
	return put_sem_at(q, at, op, FW_SEMS, value);
}

/* n packets; of 2 MiB each some hundred take far longer than a time slice. */
static uint32_t put_fills_of(struct ring *q, uint32_t at, unsigned int n, uint64_t size)
{
	struct zw_pkt_fill p = {.hdr = {.opcode = ZW_OP_FILL, .size = sizeof(p)},
				.dst = FW_DATA + q->id * 4 * MIB % (12 * MIB),
				.bytes = size,
				.rows = 1,
				.pattern = q->id};

	for (unsigned int i = 0; i < n; i++, at += (uint32_t)sizeof(p))
		memcpy(q->fw->e->hbm + fw_cmd_of(q) + at, &p, sizeof(p));
	return at;
}

static uint32_t put_fills(struct ring *q, uint32_t at, unsigned int n)
{
	return put_fills_of(q, at, n, FILL_BYTES);
}

static uint32_t preemptions(struct fw *f)
{
	return r32(f->e, ZW_REG_FW_SHARED + offsetof(struct zw_fw_shared, preemptions));
}

/* Until some of it has run; all of it may have, on a machine where this thread comes late. */
static void submit_running(struct ring *q, uint32_t bytes)
{
	uint64_t packets = r64(q->fw->e, ZW_PMU_PACKETS);

	submit(q, fw_cmd_of(q), bytes);
	WAIT_FOR(r64(q->fw->e, ZW_PMU_PACKETS) != packets);
}

/* Semaphores of jobs that wait for each other. */
#define SEM_GO   (FW_SEMS + 64)
#define SEM_DONE (FW_SEMS + 72)
#define SEM_NEVER                                                                                  \
	(FW_SEMS + 80) /* nobody signals it: a job that waits for it never ends by itself */

static void set_sem(struct fw *f, uint64_t sem, uint64_t value)
{
	__atomic_store_n((uint64_t *)(void *)(f->e->hbm + sem), value, __ATOMIC_RELEASE);
}

/* -- tests -- */

static void refused_messages(void **state)
{
	static const uint32_t types[] = {
		ZW_MSG_PING,          ZW_MSG_QUERY_FW,       ZW_MSG_SET_VM,
		ZW_MSG_CLEAR_VM,      ZW_MSG_TLB_INVALIDATE, ZW_MSG_DESTROY_QUEUE,
		ZW_MSG_SUSPEND_QUEUE, ZW_MSG_RESUME_QUEUE,   ZW_MSG_QUERY_QUEUE,
		ZW_MSG_SCRUB_HBM,     ZW_MSG_TELEMETRY,      ZW_MSG_PERF,
		ZW_MSG_SETTLE};
	struct fw *f = *state;
	struct ring q = fw_ring(f, 1);
	struct zw_queue_desc d = fw_desc(&q, ZW_PRIO_NORMAL);
	struct zw_msg other = {.type = ZW_MSG_PING, .function = 1}, r;
	uint8_t payload[ZW_MSG_PAYLOAD];

	/* The last byte belongs to no payload but CREATE_QUEUE's. */
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		memset(payload, 0, sizeof(payload));
		payload[0] = 2;
		payload[ZW_MSG_PAYLOAD - 1] = 1;
		assert_int_equal(fw_request(f, types[i], payload, sizeof(payload), NULL),
				 ZW_MSG_ERR_ARG);
	}
	memset(payload, 0, sizeof(payload));
	payload[0] = 1;
	payload[4] = 1; /* a root for CLEAR_VM; reserved for TLB_INVALIDATE */
	assert_int_equal(fw_request(f, ZW_MSG_CLEAR_VM, payload, 12, NULL), ZW_MSG_ERR_ARG);
	assert_int_equal(fw_request(f, ZW_MSG_TLB_INVALIDATE, payload, 8, NULL), ZW_MSG_ERR_ARG);
	assert_int_equal(fw_request(f, 0x7fff, payload, 8, NULL), ZW_MSG_ERR_TYPE);
	assert_int_equal(fw_wait_reply(f, fw_send(f, &other), &r), ZW_MSG_ERR_UNSUPPORTED);
	/* Vector 0 is the mailbox's. */
	d.vector = ZW_VECTOR_MBOX;
	assert_int_equal(fw_create_with(&q, &d, sizeof(d)), ZW_MSG_ERR_ARG);
	d.vector = ZW_NUM_VECTORS;
	assert_int_equal(fw_create_with(&q, &d, sizeof(d)), ZW_MSG_ERR_ARG);
	d.vector = ZW_NUM_VECTORS - 1;
	assert_int_equal(fw_create_with(&q, &d, sizeof(d)), ZW_MSG_OK);
}

static void descriptors(void **state)
{
	struct fw *f = *state;
	struct ring q = fw_ring(f, 1), far = {.fw = f, .id = ZW_DEFAULT_QUEUES};
	const struct zw_queue_desc good = fw_desc(&q, ZW_PRIO_NORMAL);
	struct zw_queue_desc d = good;
	struct zw_msg_create_queue m = {.queue = 1,
					.desc_bytes = sizeof(d),
					.desc_lo = ZW_LO32(FW_DESC) + 8,
					.desc_hi = ZW_HI32(FW_DESC)};
	uint8_t longer[ZW_QUEUE_DESC_MAX + 8] = {0};

	assert_int_equal(fw_request(f, ZW_MSG_CREATE_QUEUE, &m, sizeof(m), NULL), ZW_MSG_ERR_ARG);
	m.desc_lo = 0;
	m.desc_hi = 0x7fff; /* nobody answers there */
	assert_int_equal(fw_request(f, ZW_MSG_CREATE_QUEUE, &m, sizeof(m), NULL), ZW_MSG_ERR_DMA);
	assert_int_equal(fw_create_with(&q, &d, sizeof(d) - 8), ZW_MSG_ERR_ARG);
	assert_int_equal(fw_create_with(&far, &d, sizeof(d)), ZW_MSG_ERR_ARG);
	d.size--;
	assert_int_equal(fw_create_with(&q, &d, sizeof(d)), ZW_MSG_ERR_ARG);
	d = good;
	d.flags = 1u << 1;
	assert_int_equal(fw_create_with(&q, &d, sizeof(d)), ZW_MSG_ERR_ARG);
	d = good;
	d.reserved = 1;
	assert_int_equal(fw_create_with(&q, &d, sizeof(d)), ZW_MSG_ERR_ARG);
	d = good;
	d.function = 1;
	assert_int_equal(fw_create_with(&q, &d, sizeof(d)), ZW_MSG_ERR_UNSUPPORTED);
	d = good;
	d.vm = 2;
	assert_int_equal(fw_create_with(&q, &d, sizeof(d)), ZW_MSG_ERR_NOENT);
	d.vm = 0xffffffff;
	assert_int_equal(fw_create_with(&q, &d, sizeof(d)), ZW_MSG_ERR_NOENT);
	d = good;
	d.ctrl = 0x7fff00000000;
	assert_int_equal(fw_create_with(&q, &d, sizeof(d)), ZW_MSG_ERR_DMA);
	/* A later driver's descriptor is taken when what this firmware does not know is zero. */
	d = good;
	d.size = sizeof(longer);
	memcpy(longer, &d, sizeof(d));
	assert_int_equal(fw_create_with(&q, longer, sizeof(longer)), ZW_MSG_ERR_ARG);
	d.size = ZW_QUEUE_DESC_MAX;
	memcpy(longer, &d, sizeof(d));
	longer[ZW_QUEUE_DESC_MAX - 1] = 1;
	assert_int_equal(fw_create_with(&q, longer, ZW_QUEUE_DESC_MAX), ZW_MSG_ERR_ARG);
	longer[ZW_QUEUE_DESC_MAX - 1] = 0;
	assert_int_equal(fw_create_with(&q, longer, ZW_QUEUE_DESC_MAX), ZW_MSG_OK);
	assert_int_equal(fw_create_with(&q, &good, sizeof(good)), ZW_MSG_ERR_EXIST);
}

/* The last queue the device has works as the first one does. */
static void many_queues(void **state)
{
	static const uint32_t ids[] = {1, 63, 64, 127, ZW_DEFAULT_QUEUES - 1};
	struct fw *f = *state;
	struct ring q[5];

	for (int i = 0; i < 5; i++) {
		struct zw_queue_desc d;

		q[i] = fw_ring(f, (uint32_t)i + 1);
		q[i].id = ids[i];
		d = fw_desc(&q[i], (uint32_t)i % ZW_PRIO_COUNT);
		assert_int_equal(fw_create_with(&q[i], &d, sizeof(d)), ZW_MSG_OK);
	}
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 5; i++) {
			enqueue(&q[i], 0, 0);
			fw_ring_bell(&q[i], (uint32_t)q[i].seq);
		}
		for (int i = 0; i < 5; i++)
			assert_int_equal(finish(&q[i], q[i].seq).status, ZW_JOB_OK);
	}
	for (int i = 0; i < 5; i++)
		assert_int_equal(fw_on_queue(&q[i], ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
}

/* A queue whose rings are in memory of the VM: what a process can be given. */
struct user_ring {
	struct ring q;
	struct zw_queue_desc desc;
	struct zw_ring_entry *ring;
	struct zw_ring_ctrl *ctrl;
	struct zw_completion *done;
	uint64_t seq;
};

static struct user_ring user_ring(struct fw *f, uint32_t id)
{
	const uint64_t at = 20 * MIB + id * 0x4000;
	struct user_ring u = {.q = {.fw = f, .id = id}};

	u.desc = (struct zw_queue_desc){.size = sizeof(u.desc),
					.flags = ZW_QUEUE_F_USER,
					.vm = 1,
					.priority = ZW_PRIO_NORMAL,
					.log2_slots = 3,
					.vector = 4,
					.ring = at,
					.ctrl = at + 0x1000,
					.completions = at + 0x2000};
	u.ring = (void *)(f->e->hbm + at);
	u.ctrl = (void *)(f->e->hbm + at + 0x1000);
	u.done = (void *)(f->e->hbm + at + 0x2000);
	memset(u.ring, 0, 0x3000);
	assert_int_equal(fw_create_with(&u.q, &u.desc, sizeof(u.desc)), ZW_MSG_OK);
	return u;
}

static void user_ring_bell(const struct user_ring *u, uint64_t tail)
{
	__atomic_store_n(&u->ctrl->tail, (uint32_t)tail, __ATOMIC_RELEASE);
	w32(u->q.fw->e, ZW_REG_DOORBELL(u->q.id), 0);
}

static void user_submit(struct user_ring *u, uint64_t cmd_va, uint32_t bytes)
{
	u->seq++;
	u->ring[u->seq % 8] = (struct zw_ring_entry){
		.seqno = u->seq, .cmd_va = cmd_va, .cmd_bytes = bytes, .cookie = 100 + u->seq};
	user_ring_bell(u, u->seq);
}

static bool user_done(const struct user_ring *u, uint64_t seq)
{
	return __atomic_load_n(&u->done[seq % 8].seqno, __ATOMIC_ACQUIRE) == seq;
}

static struct zw_msg_queue_info user_info(struct user_ring *u)
{
	struct zw_msg_queue_info info;
	struct zw_msg r;

	assert_int_equal(fw_on_queue(&u->q, ZW_MSG_QUERY_QUEUE, &r), ZW_MSG_OK);
	memcpy(&info, r.payload, sizeof(info));
	return info;
}

static void user_queue(void **state)
{
	struct fw *f = *state;
	struct user_ring u = user_ring(f, 9);

	for (uint64_t seq = 1; seq <= 20; seq++) {
		user_submit(&u, 0, 0);
		WAIT_FOR(user_done(&u, seq));
		assert_int_equal(u.done[seq % 8].status, ZW_JOB_OK);
		assert_int_equal(u.done[seq % 8].cookie, 100 + seq);
	}
	assert_int_equal(env_irqs(f->e, 4), 0);
	/* Scribbled over: its own end, and nobody else's. */
	memset(u.ring, 0xff, 0x200);
	user_ring_bell(&u, 21);
	WAIT_FOR(user_done(&u, 21));
	assert_int_equal(u.done[21 % 8].status, ZW_JOB_INVALID);
	assert_int_equal(fw_queue_state(&u.q), ZW_QUEUE_ERROR);
	/* Not mapped: refused, not a crash. */
	u.desc.ctrl = 1ull << 40;
	u.q.id = 10;
	assert_int_equal(fw_create_with(&u.q, &u.desc, sizeof(u.desc)), ZW_MSG_ERR_DMA);
}

/* An interrupt for one job only, asked for before it ends, or after. */
static void user_wake(void **state)
{
	struct fw *f = *state;
	struct user_ring u = user_ring(f, 9);
	unsigned int irqs = 0;
	uint32_t bytes = put_sem(&u.q, 0, ZW_OP_SEM_WAIT, 1);

	memset(f->e->hbm + FW_SEMS, 0, sizeof(uint64_t));
	user_submit(&u, fw_cmd_of(&u.q), bytes);
	for (int i = 0; i < 4; i++)
		user_submit(&u, 0, 0);
	__atomic_store_n(&u.ctrl->wake, 4, __ATOMIC_RELEASE);
	user_ring_bell(&u, u.seq);
	WAIT_FOR(fw_queue_state(&u.q) == ZW_QUEUE_BLOCKED);
	assert_int_equal(env_irqs(f->e, 4), irqs);
	__atomic_store_n((uint64_t *)(void *)(f->e->hbm + FW_SEMS), 1, __ATOMIC_RELEASE);
	WAIT_FOR(user_done(&u, 5));
	/* The answer to a message comes behind everything before it. */
	assert_int_equal(user_info(&u).completed, 5);
	assert_int_equal(env_irqs(f->e, 4), ++irqs);
	/* too late: at once; the same again: not */
	__atomic_store_n(&u.ctrl->wake, 5, __ATOMIC_RELEASE);
	for (int i = 0; i < 3; i++) {
		user_ring_bell(&u, u.seq);
		user_info(&u);
	}
	assert_int_equal(env_irqs(f->e, 4), ++irqs);
	/* an entry may ask for its own */
	u.seq++;
	u.ring[u.seq % 8] = (struct zw_ring_entry){.seqno = u.seq, .flags = ZW_RING_F_IRQ};
	user_ring_bell(&u, u.seq);
	WAIT_FOR(user_done(&u, u.seq));
	user_info(&u);
	assert_int_equal(env_irqs(f->e, 4), ++irqs);
}

/* A process that names another vector interrupts nobody there. */
static void user_vector(void **state)
{
	struct fw *f = *state;
	struct user_ring u = user_ring(f, 9);

	u.seq++;
	u.ring[u.seq % 8] =
		(struct zw_ring_entry){.seqno = u.seq, .flags = ZW_RING_F_IRQ, .vector = 5};
	user_ring_bell(&u, u.seq);
	WAIT_FOR(user_done(&u, 1));
	assert_int_equal(u.done[1].status, ZW_JOB_INVALID);
	assert_int_equal(u.done[1].reason, ZW_REASON_RING);
	user_info(&u);
	assert_int_equal(env_irqs(f->e, 5), 0);
	assert_int_equal(env_irqs(f->e, 4), 1);
}

/* What stopped a queue can be asked for; what comes behind is not served any more. */
static void user_failure(void **state)
{
	struct fw *f = *state;
	struct user_ring u = user_ring(f, 9), other = user_ring(f, 10);
	struct zw_pkt_fill p = {.hdr = {.opcode = ZW_OP_FILL, .size = sizeof(p)},
				.dst = 0x123456789000,
				.bytes = 4,
				.rows = 1};
	struct zw_msg_queue_info info;
	uint64_t jobs;

	memcpy(f->e->hbm + fw_cmd_of(&u.q), &p, sizeof(p));
	user_submit(&u, 0, 0);
	user_submit(&u, fw_cmd_of(&u.q), sizeof(p));
	user_submit(&u, 0, 0);
	WAIT_FOR(user_done(&u, 3) || user_info(&u).state == ZW_QUEUE_ERROR);
	info = user_info(&u);
	assert_int_equal(info.state, ZW_QUEUE_ERROR);
	assert_int_equal(info.last_status, ZW_JOB_FAULT);
	assert_int_equal(info.failed, 2);
	assert_int_equal(info.last_reason & 0xffff, ZW_FAULT_UNMAPPED);
	assert_int_equal(info.last_reason >> 16, ZW_ACCESS_WRITE);
	assert_int_equal(info.packet_index, 0);
	assert_int_equal(info.fault_lo | (uint64_t)info.fault_hi << 32, 0x123456789000);
	/* No completions for the asking: that would keep the firmware from the others. */
	jobs = info.completed;
	for (int i = 0; i < 8; i++)
		user_submit(&u, 0, 0);
	assert_int_equal(user_info(&u).completed, jobs);
	user_submit(&other, 0, 0);
	WAIT_FOR(user_done(&other, 1));
	assert_int_equal(user_info(&other).failed, 0);
	assert_int_equal(fw_on_queue(&u.q, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
}

/* Rings that are unmapped under a queue: it ends, said once, and the others go on. */
static void user_rings_unmapped(void **state)
{
	static const char *const what[] = {"ring", "control block", "completions"};
	struct fw *f = *state;
	struct user_ring other = user_ring(f, 10);

	for (uint32_t i = 0; i < 3; i++) {
		/* 22 MiB on: a large page of its own, number 11. */
		uint64_t *pte = (uint64_t *)(void *)(f->e->hbm + FW_ROOT) + 1024 + 11, old = *pte;
		struct user_ring u = user_ring(f, 11 + i);
		uint64_t away = 22 * MIB + i * 0x4000;
		struct zw_msg_tlb m = {.vm = 1};

		/* The same rings at addresses that go away, but for one. */
		assert_int_equal(fw_on_queue(&u.q, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
		if (i == 0)
			u.desc.ring = away;
		else if (i == 1)
			u.desc.ctrl = away;
		else
			u.desc.completions = away;
		assert_int_equal(fw_create_with(&u.q, &u.desc, sizeof(u.desc)), ZW_MSG_OK);
		*pte = 0;
		assert_int_equal(fw_request(f, ZW_MSG_TLB_INVALIDATE, &m, sizeof(m), NULL),
				 ZW_MSG_OK);
		for (int j = 0; j < 8; j++)
			u.ring[j] = (struct zw_ring_entry){.seqno = j ? j : 8};
		user_ring_bell(&u, 8);
		WAIT_FOR(fw_queue_state(&u.q) == ZW_QUEUE_ERROR);
		print_message("%s: status %u\n", what[i], user_info(&u).last_status);
		user_submit(&other, 0, 0);
		WAIT_FOR(user_done(&other, other.seq));
		assert_int_equal(other.done[other.seq % 8].status, ZW_JOB_OK);
		assert_int_equal(fw_on_queue(&u.q, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
		*pte = old;
		assert_int_equal(fw_request(f, ZW_MSG_TLB_INVALIDATE, &m, sizeof(m), NULL),
				 ZW_MSG_OK);
	}
}

/* Every job that ends has a result (finish() looks), whether or not it ever ran. */
static void results_of_all(void **state)
{
	struct fw *f = *state;
	struct ring q = fw_create(f, 1, ZW_PRIO_NORMAL), other = fw_create(f, 2, ZW_PRIO_LOW);
	uint32_t bytes;

	/* While another queue's job runs: results are written beside it. */
	bytes = put_fills(&other, 0, 2000);
	submit_running(&other, put_sem_at(&other, bytes, ZW_OP_SEM_WAIT, SEM_NEVER, 1));
	/* behind a job that fails */
	enqueue(&q, fw_cmd_of(&q), 0);
	enqueue(&q, fw_cmd_of(&q), 24);
	for (int i = 0; i < 4; i++)
		enqueue(&q, fw_cmd_of(&q), 0);
	fw_ring_bell(&q, 6);
	assert_int_equal(finish(&q, 1).status, ZW_JOB_OK);
	assert_int_equal(finish(&q, 2).status, ZW_JOB_INVALID);
	for (uint64_t i = 3; i <= 6; i++)
		assert_int_equal(finish(&q, i).status, ZW_JOB_CANCELED);
	/* afterwards */
	submit(&q, fw_cmd_of(&q), 0);
	assert_int_equal(finish(&q, 7).status, ZW_JOB_CANCELED);
	assert_int_equal(fw_on_queue(&q, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
	/* when its queue goes: running, blocked with packets behind it, waiting */
	q = fw_create(f, 1, ZW_PRIO_HIGH);
	bytes = put_fills(&q, 0, 1);
	bytes = put_sem(&q, bytes, ZW_OP_SEM_WAIT, 1);
	submit(&q, fw_cmd_of(&q), bytes);
	submit(&q, fw_cmd_of(&q), bytes);
	WAIT_FOR(fw_queue_state(&q) == ZW_QUEUE_BLOCKED);
	assert_int_equal(fw_on_queue(&q, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
	struct zw_completion c = finish(&q, 1);
	struct zw_job_result r;

	assert_int_equal(c.status, ZW_JOB_CANCELED);
	assert_true(c.end_ps > c.start_ps);
	memcpy(&r, f->e->hbm + fw_result_va(&q, 1), sizeof(r));
	assert_int_equal(r.packets, 1); /* what it did before counts */
	assert_int_equal(r.hbm_written, FILL_BYTES);
	assert_int_equal(finish(&q, 2).status, ZW_JOB_CANCELED);
	assert_int_equal(fw_on_queue(&other, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
	assert_int_equal(finish(&other, 1).status, ZW_JOB_CANCELED);
}

/*
 * Whether a job that becomes ready while another one runs takes its place. The jobs see to when that is, as this thread
 * may come late: the running one signals what the other waits for, works on, and does not end before the other has. A
 * firmware that comes late finds it waiting at its end; so in one round of many it is to be stopped in its work.
 */
static bool takes_turns(struct fw *f, uint32_t prio_running, uint32_t prio_ready)
{
	bool stopped = false;

	for (int round = 0; round < 40 && !stopped; round++) {
		struct ring a = fw_create(f, 1, prio_running), b = fw_create(f, 2, prio_ready);
		uint32_t before = preemptions(f), bytes;

		set_sem(f, SEM_GO, 0);
		set_sem(f, SEM_DONE, 0);
		bytes = put_fills(&b, put_sem_at(&b, 0, ZW_OP_SEM_WAIT, SEM_GO, 1), 30);
		submit(&b, fw_cmd_of(&b), put_sem_at(&b, bytes, ZW_OP_SEM_SIGNAL, SEM_DONE, 1));
		WAIT_FOR(fw_queue_state(&b) == ZW_QUEUE_BLOCKED);
		bytes = put_fills(&a, put_sem_at(&a, 0, ZW_OP_SEM_SIGNAL, SEM_GO, 1), 1000);
		submit(&a, fw_cmd_of(&a), put_sem_at(&a, bytes, ZW_OP_SEM_WAIT, SEM_DONE, 1));
		assert_int_equal(finish(&b, 1).status, ZW_JOB_OK);
		assert_int_equal(finish(&a, 1).status, ZW_JOB_OK);
		stopped = preemptions(f) != before;
		assert_int_equal(fw_on_queue(&a, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
		assert_int_equal(fw_on_queue(&b, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
	}
	return stopped;
}

static void priorities(void **state)
{
	struct fw *f = *state;
	struct ring low, high;

	assert_true(takes_turns(f, ZW_PRIO_LOW, ZW_PRIO_REALTIME));
	/* and not the other way round: no job of low priority, however long high works */
	low = fw_create(f, 1, ZW_PRIO_LOW);
	high = fw_create(f, 2, ZW_PRIO_REALTIME);
	for (uint64_t i = 1; i <= 3; i++) {
		struct zw_pkt_copy seen = {.hdr = {.opcode = ZW_OP_COPY, .size = sizeof(seen)},
					   .dst = FW_SEMS + 128,
					   .src = SEM_DONE,
					   .bytes = 8,
					   .rows = 1};
		uint32_t bytes;

		set_sem(f, SEM_GO, 0);
		set_sem(f, SEM_DONE, 0);
		set_sem(f, FW_SEMS + 128, 77);
		bytes = put_sem_at(&low, 0, ZW_OP_SEM_WAIT, SEM_GO, 1);
		submit(&low, fw_cmd_of(&low),
		       put_sem_at(&low, bytes, ZW_OP_SEM_SIGNAL, SEM_DONE, 1));
		WAIT_FOR(fw_queue_state(&low) == ZW_QUEUE_BLOCKED);
		bytes = put_fills(&high, put_sem_at(&high, 0, ZW_OP_SEM_SIGNAL, SEM_GO, 1), 300);
		memcpy(f->e->hbm + fw_cmd_of(&high) + bytes, &seen, sizeof(seen));
		submit(&high, fw_cmd_of(&high), bytes + (uint32_t)sizeof(seen));
		assert_int_equal(finish(&high, i).status, ZW_JOB_OK);
		assert_int_equal(*(uint64_t *)(void *)(f->e->hbm + FW_SEMS + 128), 0);
		assert_int_equal(finish(&low, i).status, ZW_JOB_OK);
	}
	/* one that was stopped can be ended */
	submit(&low, fw_cmd_of(&low),
	       put_sem_at(&low, put_fills(&low, 0, 1000), ZW_OP_SEM_WAIT, SEM_NEVER, 1));
	submit(&high, fw_cmd_of(&high), put_fills(&high, 0, 1000));
	assert_int_equal(fw_on_queue(&low, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
	assert_int_equal(finish(&low, 4).status, ZW_JOB_CANCELED);
	assert_int_equal(finish(&high, 4).status, ZW_JOB_OK);
}

/*
 * The firmware tells which queues there are, and of what priority: what queues do is settled when the others have nothing
 * earlier to add.
 */
static void settled_time(void **state)
{
	struct fw *f = *state;
	struct ring idle = fw_create(f, 1, ZW_PRIO_NORMAL), low = fw_create(f, 2, ZW_PRIO_LOW),
		    high = fw_create(f, 3, ZW_PRIO_HIGH);
	struct zw_completion l, h;
	struct zw_device_time t;
	uint64_t busy = 0;

	submit(&low, fw_cmd_of(&low), put_fills(&low, 0, 20));
	l = finish(&low, 1);
	submit(&high, fw_cmd_of(&high), put_fills(&high, 0, 10));
	h = finish(&high, 1);
	/* to each it seems to have been alone; one of the two waited for nobody */
	assert_int_equal(l.start_ps, 0);
	assert_int_equal(h.start_ps, 0);
	/* the queue that does nothing may still do something at 0; only who has the higher priority goes before it */
	assert_int_equal(r64(f->e, ZW_PMU_SETTLED_JOBS), 0);
	assert_int_equal(f->e->settled_jobs, 0);
	assert_int_equal(fw_on_queue(&idle, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
	assert_int_equal(fw_on_queue(&low, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
	assert_int_equal(fw_on_queue(&high, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
	assert_int_equal(r64(f->e, ZW_PMU_SETTLED_JOBS), 2);
	assert_int_equal(f->e->settled_jobs, 2);
	assert_int_equal(r64(f->e, ZW_PMU_SETTLED_PACKETS), r64(f->e, ZW_PMU_PACKETS));
	assert_true(r64(f->e, ZW_PMU_SETTLED_PS) > l.end_ps);
	for (int i = 0; i < ZW_ENGINE_COUNT; i++) {
		uint64_t shared = r64(f->e, ZW_PMU_SETTLED_BUSY_PS(i));

		/* all on one engine: it waits for no memory that another has */
		assert_true(shared == r64(f->e, ZW_PMU_BUSY_PS(i)));
		busy += shared;
	}
	assert_true(r64(f->e, ZW_PMU_WAIT_ENGINE_PS) > 0);
	assert_true(r64(f->e, ZW_PMU_HBM_BUSY_PS) > 0);
	assert_int_equal(r64(f->e, ZW_PMU_WAIT_HBM_PS) + r64(f->e, ZW_PMU_WAIT_PCIE_PS) +
				 r64(f->e, ZW_PMU_WAIT_TOKENS_PS) +
				 r64(f->e, ZW_PMU_WAIT_SEMAPHORE_PS),
			 0);
	/* the core says the same */
	zw_device_time(f->e->dev, &t);
	assert_int_equal(t.settled_ps, r64(f->e, ZW_PMU_SETTLED_PS));
	assert_int_equal(t.jobs, 2);
	assert_int_equal(t.packets, r64(f->e, ZW_PMU_PACKETS));
	assert_int_equal(t.wait_ps[ZW_WAIT_ENGINE], r64(f->e, ZW_PMU_WAIT_ENGINE_PS));
	assert_int_equal(t.port_busy_ps[ZW_PORT_HBM], r64(f->e, ZW_PMU_HBM_BUSY_PS));
	for (int i = 0; i < ZW_ENGINE_COUNT; i++)
		busy -= t.engine_busy_ps[i];
	assert_int_equal(busy, 0);
}

/* Two long jobs of one priority take turns: neither waits for the other's end. */
static void time_slices(void **state)
{
	assert_true(takes_turns(*state, ZW_PRIO_NORMAL, ZW_PRIO_NORMAL));
}

/*
 * The running job signals what another waits for, which goes on soon after. How soon is counted in
 * packets of the running job, and one of many rounds is to be soon: the machine may be busy, so that the
 * firmware or this thread comes late.
 */
static void signalled_by_running(void **state)
{
	static const uint32_t prio[] = {ZW_PRIO_NORMAL, ZW_PRIO_HIGH};

	for (unsigned int i = 0; i < 2; i++) {
		struct fw *f = *state;
		uint64_t best = UINT64_MAX;

		for (int round = 0; round < 40 && best > 3000; round++) {
			struct ring w = fw_create(f, 1, prio[i]),
				    s = fw_create(f, 2, ZW_PRIO_NORMAL);
			struct zw_completion c;
			uint64_t packets;
			uint32_t bytes;

			memset(f->e->hbm + FW_SEMS, 0, sizeof(uint64_t));
			submit(&w, fw_cmd_of(&w), put_sem(&w, 0, ZW_OP_SEM_WAIT, 1));
			WAIT_FOR(fw_queue_state(&w) == ZW_QUEUE_BLOCKED);
			packets = r64(f->e, ZW_PMU_PACKETS);
			bytes = put_fills_of(&s, 0, 1000, 65536); /* some slices */
			bytes = put_sem(&s, bytes, ZW_OP_SEM_SIGNAL, 1);
			submit(&s, fw_cmd_of(&s), put_fills_of(&s, bytes, 20000, 65536));
			assert_int_equal(finish(&w, 1).status, ZW_JOB_OK);
			packets = r64(f->e, ZW_PMU_PACKETS) - packets;
			if (packets < best && !fw_done(&s, 1, &c))
				best = packets;
			assert_int_equal(fw_on_queue(&s, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
			assert_int_equal(fw_on_queue(&w, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
		}
		print_message("priority %u: %u packets\n", prio[i], (unsigned int)best);
		assert_in_range(best, 1001, 3000);
	}
}

static void suspend_resume(void **state)
{
	struct fw *f = *state;
	struct ring q = fw_create(f, 1, ZW_PRIO_NORMAL);
	struct zw_completion c;
	uint64_t packets, seq = 1;
	bool middle = false;

	assert_int_equal(fw_on_queue(&q, ZW_MSG_RESUME_QUEUE, NULL), ZW_MSG_ERR_STATE);
	/* In the middle of a job, in one round of many at least: it may be at its end, where it waits. */
	for (int round = 0; round < 40 && !middle; round++, seq += 2) {
		packets = r64(f->e, ZW_PMU_PACKETS);
		set_sem(f, SEM_GO, 0);
		submit_running(&q,
			       put_sem_at(&q, put_fills(&q, 0, 1000), ZW_OP_SEM_WAIT, SEM_GO, 1));
		assert_int_equal(fw_on_queue(&q, ZW_MSG_SUSPEND_QUEUE, NULL), ZW_MSG_OK);
		assert_int_equal(fw_queue_state(&q), ZW_QUEUE_SUSPENDED);
		assert_int_equal(fw_on_queue(&q, ZW_MSG_SUSPEND_QUEUE, NULL), ZW_MSG_ERR_STATE);
		middle = r64(f->e, ZW_PMU_PACKETS) - packets < 1000;
		packets = r64(f->e, ZW_PMU_PACKETS);
		set_sem(f, SEM_GO, 1);
		submit(&q, fw_cmd_of(&q), 0);
		usleep(20000);
		assert_int_equal(r64(f->e, ZW_PMU_PACKETS), packets);
		assert_false(fw_done(&q, seq, &c));
		assert_int_equal(fw_on_queue(&q, ZW_MSG_RESUME_QUEUE, NULL), ZW_MSG_OK);
		c = finish(&q, seq);
		assert_int_equal(c.status, ZW_JOB_OK);
		assert_int_equal(c.packet_index, 1001);
		assert_int_equal(finish(&q, seq + 1).status, ZW_JOB_OK);
	}
	assert_true(middle);
	/* idle, and destroyed in that state */
	assert_int_equal(fw_on_queue(&q, ZW_MSG_SUSPEND_QUEUE, NULL), ZW_MSG_OK);
	submit(&q, fw_cmd_of(&q), 0);
	usleep(5000);
	assert_false(fw_done(&q, seq, &c));
	assert_int_equal(fw_on_queue(&q, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
	assert_int_equal(fw_on_queue(&q, ZW_MSG_RESUME_QUEUE, NULL), ZW_MSG_ERR_NOENT);
}

/* Nothing of a suspended queue is looked at: its memory may be anywhere. What was rung for is not lost. */
static void user_suspended(void **state)
{
	struct fw *f = *state;
	struct user_ring u = user_ring(f, 9);

	user_submit(&u, 0, 0);
	WAIT_FOR(user_done(&u, 1));
	assert_int_equal(fw_on_queue(&u.q, ZW_MSG_SUSPEND_QUEUE, NULL), ZW_MSG_OK);
	/* As what is in the middle of a move would look. */
	user_ring_bell(&u, 0xdeadbeef);
	usleep(20000);
	assert_int_equal(user_info(&u).state, ZW_QUEUE_SUSPENDED);
	u.ctrl->tail = 1;
	user_submit(&u, 0, 0);
	usleep(20000);
	assert_false(user_done(&u, 2));
	assert_int_equal(fw_on_queue(&u.q, ZW_MSG_RESUME_QUEUE, NULL), ZW_MSG_OK);
	WAIT_FOR(user_done(&u, 2));
	assert_int_equal(u.done[2].status, ZW_JOB_OK);
	/* Rung for once: the second time nothing is. */
	assert_int_equal(fw_on_queue(&u.q, ZW_MSG_SUSPEND_QUEUE, NULL), ZW_MSG_OK);
	u.ctrl->tail = 0xdeadbeef;
	assert_int_equal(fw_on_queue(&u.q, ZW_MSG_RESUME_QUEUE, NULL), ZW_MSG_OK);
	assert_int_equal(user_info(&u).state, ZW_QUEUE_IDLE);
	/* What it finds is judged as ever. */
	assert_int_equal(fw_on_queue(&u.q, ZW_MSG_SUSPEND_QUEUE, NULL), ZW_MSG_OK);
	user_ring_bell(&u, 0xdeadbeef);
	usleep(5000);
	assert_int_equal(fw_on_queue(&u.q, ZW_MSG_RESUME_QUEUE, NULL), ZW_MSG_OK);
	WAIT_FOR(user_info(&u).state == ZW_QUEUE_ERROR);
	assert_int_equal(fw_on_queue(&u.q, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
}

/* A queue that has failed is not said to be quiet while its job runs. */
static void suspend_failed(void **state)
{
	struct fw *f = *state;
	uint64_t packets;

	for (uint32_t round = 0; round < 20; round++) {
		struct user_ring u = user_ring(f, 9);

		packets = r64(f->e, ZW_PMU_PACKETS);
		user_submit(&u, fw_cmd_of(&u.q), put_fills_of(&u.q, 0, 2000, 1048576));
		WAIT_FOR(r64(f->e, ZW_PMU_PACKETS) != packets);
		user_ring_bell(&u, 0xdeadbeef);
		assert_int_equal(fw_on_queue(&u.q, ZW_MSG_SUSPEND_QUEUE, NULL), ZW_MSG_ERR_STATE);
		/* Its last completion is there. */
		assert_true(user_done(&u, 1));
		packets = r64(f->e, ZW_PMU_PACKETS);
		usleep(2000);
		assert_int_equal(r64(f->e, ZW_PMU_PACKETS), packets);
		assert_int_equal(fw_on_queue(&u.q, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
	}
}

/* A queue goes on behind a reset where it was suspended, in the middle of a job, and only there. */
static void outlives_a_reset(void **state)
{
	static uint8_t rings[0x3000];
	struct fw *f = *state;
	struct ring q = fw_create(f, 1, ZW_PRIO_NORMAL);
	uint32_t *data = (void *)(f->e->hbm + FW_DATA + 4 * MIB), place, bytes;
	struct zw_msg_queue_stop stop;
	struct zw_queue_desc d = fw_desc(&q, ZW_PRIO_NORMAL);
	struct zw_completion c;
	struct zw_msg r;

	submit(&q, fw_cmd_of(&q), 0);
	assert_int_equal(finish(&q, 1).status, ZW_JOB_OK);
	set_sem(f, SEM_GO, 0);
	place = put_fills_of(&q, 0, 3, 4096);
	bytes = put_sem_at(&q, place, ZW_OP_SEM_WAIT, SEM_GO, 1);
	bytes = put_fills_of(&q, bytes, 1, 64);
	submit(&q, fw_cmd_of(&q), bytes);
	submit(&q, fw_cmd_of(&q), 0);
	WAIT_FOR(fw_queue_state(&q) == ZW_QUEUE_BLOCKED);
	assert_int_equal(fw_on_queue(&q, ZW_MSG_SUSPEND_QUEUE, &r), ZW_MSG_OK);
	memcpy(&stop, r.payload, sizeof(stop));
	assert_int_equal(stop.completed_lo, 1);
	assert_int_equal(stop.completed_hi, 0);
	assert_int_equal(stop.resume_offset, place);

	memset(data, 0, 4096);
	fw_get(f, rings, q.ring, sizeof(rings));
	w32(f->e, ZW_REG_RESET, ZW_RESET_KEY);
	env_wait_reg(f->e, ZW_REG_RESET_STATUS, 0);
	fw_boot(f);
	fw_put(f, q.ring, rings, sizeof(rings));
	d.completed = 1;
	d.resume_offset = 8;
	assert_int_equal(fw_create_with(&q, &d, sizeof(d)), ZW_MSG_ERR_ARG);
	d.resume_offset = place;
	d.reserved2 = 1;
	assert_int_equal(fw_create_with(&q, &d, sizeof(d)), ZW_MSG_ERR_ARG);
	d.reserved2 = 0;
	assert_int_equal(fw_create_with(&q, &d, sizeof(d)), ZW_MSG_OK);
	/* Suspended once more before it began, it stands where it stood. */
	assert_int_equal(fw_on_queue(&q, ZW_MSG_SUSPEND_QUEUE, &r), ZW_MSG_OK);
	assert_memory_equal(r.payload, &stop, sizeof(stop));
	assert_int_equal(fw_on_queue(&q, ZW_MSG_RESUME_QUEUE, NULL), ZW_MSG_OK);
	fw_ring_bell(&q, 3);
	WAIT_FOR(fw_queue_state(&q) == ZW_QUEUE_BLOCKED);
	assert_int_equal(data[0], 0);
	set_sem(f, SEM_GO, 1);
	c = finish(&q, 2);
	assert_int_equal(c.status, ZW_JOB_OK);
	assert_int_equal(c.packet_index, 5);
	assert_int_equal(finish(&q, 3).status, ZW_JOB_OK);
	assert_int_equal(data[0], q.id);
	assert_int_equal(data[16], 0);

	/* A place where no packet begins. */
	assert_int_equal(fw_on_queue(&q, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
	d.completed = 3;
	d.resume_offset = 16;
	assert_int_equal(fw_create_with(&q, &d, sizeof(d)), ZW_MSG_OK);
	submit(&q, fw_cmd_of(&q), bytes);
	c = finish(&q, 4);
	assert_int_equal(c.status, ZW_JOB_INVALID);
	assert_int_equal(c.reason, ZW_REASON_CMD_SIZE);
}

/* A tail that makes no sense, with a job running and with one that waits: the queue stops once. */
static void bad_tail(void **state)
{
	struct fw *f = *state;
	unsigned int seen = 0;

	for (int round = 0; round < 20; round++) {
		struct ring q = fw_create(f, 1, ZW_PRIO_NORMAL);
		uint32_t status;

		enqueue(&q, fw_cmd_of(&q), put_fills(&q, 0, 2000));
		submit_running(&q, 0);
		fw_ring_bell(&q, 1000);
		/* A good one right after it, perhaps while the job is still being stopped; at last when it is. */
		if (round == 19)
			finish(&q, 1);
		else
			usleep(round * 20);
		fw_ring_bell(&q, 2);
		status = finish(&q, 1).status;
		if (status == ZW_JOB_OK) { /* the firmware never saw the bad one */
			assert_int_equal(fw_on_queue(&q, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
			continue;
		}
		seen++;
		assert_int_equal(finish(&q, 2).status, ZW_JOB_CANCELED);
		assert_int_equal(fw_queue_state(&q), ZW_QUEUE_ERROR);
		submit(&q, fw_cmd_of(&q), 0);
		assert_int_equal(finish(&q, 3).status, ZW_JOB_CANCELED);
		assert_int_equal(fw_on_queue(&q, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
		assert_int_equal(r32(f->e, ZW_REG_BOOT_STATUS), ZW_BOOT_READY);
	}
	assert_true(seen > 0);
}

/* -- telemetry -- */

#define SAMPLES (SYS_BASE + 0x380000)

static uint32_t sampling(struct fw *f, uint64_t ring, uint32_t slots, uint32_t us)
{
	struct zw_msg_telemetry m = {ZW_LO32(ring), ZW_HI32(ring), slots, us};

	return fw_request(f, ZW_MSG_TELEMETRY, &m, sizeof(m), NULL);
}

/* That one, or a later one in its place: the ring goes on whether it is read or not. */
static struct zw_telemetry sample(struct fw *f, uint32_t slots, uint64_t seq)
{
	struct zw_telemetry t;
	uint64_t at = SAMPLES + seq % slots * sizeof(t), n;
	uint64_t before = SAMPLES + (seq - 1) % slots * sizeof(t);

	do {
		WAIT_FOR((fw_get(f, &t.seq, at, sizeof(t.seq)), t.seq >= seq));
		fw_get(f, &t, at, sizeof(t));
		fw_get(f, &n, before, sizeof(n));
		/* Behind the one before it, its successor in this place may be half written. */
	} while (n >= t.seq + slots - 1);
	return t;
}

static void bad_telemetry(void **state)
{
	struct fw *f = *state;
	static const struct {
		uint64_t ring;
		uint32_t slots, us;
	} bad[] = {
		{0, 4, 1000},
		{SAMPLES + 32, 4, 1000},
		{SAMPLES, 0, 1000},
		{SAMPLES, 1, 1000},
		{SAMPLES, 3, 1000},
		{SAMPLES, 2 * ZW_TELEMETRY_MAX_SLOTS, 1000},
		{SAMPLES, 4, 0},
		{SAMPLES, 4, ZW_TELEMETRY_MIN_US - 1},
		{SAMPLES, 4, ZW_TELEMETRY_MAX_US + 1},
		{SAMPLES, 0, 0},
	};
	uint8_t payload[ZW_MSG_PAYLOAD] = {[sizeof(struct zw_msg_telemetry)] = 1};
	uint64_t seq;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(sampling(f, bad[i].ring, bad[i].slots, bad[i].us), ZW_MSG_ERR_ARG);
	assert_int_equal(fw_request(f, ZW_MSG_TELEMETRY, payload, sizeof(payload), NULL),
			 ZW_MSG_ERR_ARG);
	usleep(5000);
	fw_get(f, &seq, SAMPLES + sizeof(struct zw_telemetry), sizeof(seq));
	assert_int_equal(seq, 0);
	/* what is asked for wrongly changes nothing */
	assert_int_equal(sampling(f, SAMPLES, 4, 1000), ZW_MSG_OK);
	assert_int_equal(sampling(f, SAMPLES, 4, 999), ZW_MSG_ERR_ARG);
	assert_true(sample(f, 4, 9).seq >= 9);
}

static void telemetry(void **state)
{
	struct fw *f = *state;
	struct ring q = fw_create(f, 1, ZW_PRIO_NORMAL);
	struct zw_telemetry a, b, old[4];
	uint32_t irqs = env_irqs(f->e, ZW_VECTOR_MBOX);
	const struct zw_profile *p = zw_profile_find("810e");

	/* Room for five seconds of them: none is missed. */
	assert_int_equal(sampling(f, SAMPLES, 256, 20000), ZW_MSG_OK);
	a = sample(f, 256, 1);
	assert_int_equal(a.size, offsetof(struct zw_telemetry, counter) + 8 * ZW_PMU_COUNT);
	assert_int_equal(a.num_counters, ZW_PMU_COUNT);
	assert_int_equal(a.power_mw, p->idle_watts * 1000);
	assert_int_equal(a.cap_mw, p->tdp_watts * 1000);
	assert_int_equal(a.temperature_mc, r32(f->e, ZW_REG_TEMPERATURE_MC));
	assert_int_equal(a.throttle, 0);
	for (unsigned int i = 0; i < ZW_TELEMETRY_COUNTERS; i++)
		if (a.counter[i])
			assert_int_equal(a.counter[i], r64(f->e, ZW_REG_PMU + 8 * i));
	WAIT_FOR(env_irqs(f->e, ZW_VECTOR_MBOX) >= irqs + 2); /* reply and sample */
	/* 20 fills of 2 MiB: HBM at work, so more than idle and less than the limit */
	submit(&q, fw_cmd_of(&q), put_fills_of(&q, 0, 20, 2 << 20));
	assert_int_equal(finish(&q, 1).status, ZW_JOB_OK);
	do {
		b = sample(f, 256, a.seq + 1);
		assert_true(b.seq == a.seq + 1 && b.host_us > a.host_us);
		a = b;
	} while (b.counter[(ZW_PMU_SETTLED_PACKETS - ZW_REG_PMU) / 8] < 20);
	for (unsigned int i = 0; i < ZW_PMU_COUNT; i++)
		if (i != (ZW_PMU_TLB_HITS - ZW_REG_PMU) / 8 &&
		    i != (ZW_PMU_TLB_MISSES - ZW_REG_PMU) / 8)
			assert_int_equal(b.counter[i], r64(f->e, ZW_REG_PMU + 8 * i));
	assert_in_range(b.power_mw, p->idle_watts * 1000 + 1, p->tdp_watts * 1000);
	/* nothing any more once it was answered; numbers begin anew */
	assert_int_equal(sampling(f, 0, 0, 0), ZW_MSG_OK);
	memset(old, 0, sizeof(old));
	fw_put(f, SAMPLES, old, sizeof(old));
	assert_int_equal(sampling(f, SAMPLES, 4, 1000), ZW_MSG_OK);
	sample(f, 4, 5);
	assert_int_equal(sampling(f, 0, 0, 0), ZW_MSG_OK);
	fw_get(f, old, SAMPLES, sizeof(old));
	usleep(50000);
	for (unsigned int i = 0; i < 4; i++) {
		fw_get(f, &b, SAMPLES + i * sizeof(b), sizeof(b));
		assert_memory_equal(&b, &old[i], sizeof(b));
	}
	memset(old, 0, sizeof(old));
	fw_put(f, SAMPLES, old, sizeof(old));
	assert_int_equal(sampling(f, SAMPLES, 4, 1000), ZW_MSG_OK);
	assert_int_equal(sample(f, 4, 1).power_mw, p->idle_watts * 1000);
	/* a ring that cannot be written: it stops, and all else goes on */
	assert_int_equal(sampling(f, UINT64_C(1) << 45, 4, 1000), ZW_MSG_OK);
	usleep(5000);
	memset(old, 0, sizeof(old));
	fw_put(f, SAMPLES, old, sizeof(old));
	submit(&q, fw_cmd_of(&q), put_fills(&q, 0, 1));
	assert_int_equal(finish(&q, 2).status, ZW_JOB_OK);
	assert_int_equal(sampling(f, SAMPLES, 4, 1000), ZW_MSG_OK);
	assert_true(sample(f, 4, 1).seq >= 1);
}

int main(int argc, char **argv)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fw_setup, fw_teardown)
	const struct CMUnitTest tests[] = {
		T(refused_messages),     T(descriptors),         T(many_queues),
		T(user_queue),           T(user_wake),           T(user_vector),
		T(user_failure),         T(user_rings_unmapped), T(results_of_all),
		T(priorities),           T(settled_time),        T(time_slices),
		T(signalled_by_running), T(suspend_resume),      T(user_suspended),
		T(suspend_failed),       T(outlives_a_reset),    T(bad_tail),
		T(bad_telemetry),        T(telemetry),
	};

	if (!fw_load(argc, argv))
		return 1;
	int ret = cmocka_run_group_tests_name("firmware", tests, NULL, NULL);

	fw_unload();
	return ret;
}

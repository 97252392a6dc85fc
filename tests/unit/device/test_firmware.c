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

static uint32_t put_sem(struct ring *q, uint32_t at, uint16_t op, uint64_t value)
{
	struct zw_pkt_sem p = {
		.hdr = {.opcode = op, .size = sizeof(p)}, .va = FW_SEMS, .value = value};

	memcpy(q->fw->e->hbm + fw_cmd_of(q) + at, &p, sizeof(p));
	return at + (uint32_t)sizeof(p);
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

static void wait_running(struct ring *q)
{
	uint64_t packets = r64(q->fw->e, ZW_PMU_PACKETS);

	WAIT_FOR(r64(q->fw->e, ZW_PMU_PACKETS) != packets);
}

/* -- tests -- */

static void refused_messages(void **state)
{
	static const uint32_t types[] = {ZW_MSG_PING,           ZW_MSG_QUERY_FW,
					 ZW_MSG_SET_VM,         ZW_MSG_CLEAR_VM,
					 ZW_MSG_TLB_INVALIDATE, ZW_MSG_DESTROY_QUEUE,
					 ZW_MSG_SUSPEND_QUEUE,  ZW_MSG_RESUME_QUEUE,
					 ZW_MSG_QUERY_QUEUE,    ZW_MSG_SCRUB_HBM};
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

/* Rings and completions in memory of the VM: what a process can be given. */
static void user_queue(void **state)
{
	struct fw *f = *state;
	const uint64_t at = 20 * MIB;
	struct ring q = {.fw = f, .id = 9};
	struct zw_queue_desc d = {.size = sizeof(d),
				  .flags = ZW_QUEUE_F_USER,
				  .vm = 1,
				  .priority = ZW_PRIO_NORMAL,
				  .log2_slots = 3,
				  .vector = 4,
				  .ring = at,
				  .ctrl = at + 0x1000,
				  .completions = at + 0x2000};
	struct zw_ring_entry *ring = (void *)(f->e->hbm + at);
	uint32_t *tail = (void *)(f->e->hbm + at + 0x1000);
	struct zw_completion *done = (void *)(f->e->hbm + at + 0x2000);

	memset(ring, 0, 0x3000);
	for (uint64_t seq = 1; seq <= 20; seq++) {
		if (seq == 1)
			assert_int_equal(fw_create_with(&q, &d, sizeof(d)), ZW_MSG_OK);
		ring[seq % 8] = (struct zw_ring_entry){.seqno = seq, .cookie = 100 + seq};
		__atomic_store_n(tail, (uint32_t)seq, __ATOMIC_RELEASE);
		w32(f->e, ZW_REG_DOORBELL(9), 0);
		WAIT_FOR(__atomic_load_n(&done[seq % 8].seqno, __ATOMIC_ACQUIRE) == seq);
		assert_int_equal(done[seq % 8].status, ZW_JOB_OK);
		assert_int_equal(done[seq % 8].cookie, 100 + seq);
	}
	/* Scribbled over: its own end, and nobody else's. */
	memset(ring, 0xff, 0x200);
	__atomic_store_n(tail, 21, __ATOMIC_RELEASE);
	w32(f->e, ZW_REG_DOORBELL(9), 0);
	WAIT_FOR(__atomic_load_n(&done[21 % 8].seqno, __ATOMIC_ACQUIRE) == 21);
	assert_int_equal(done[21 % 8].status, ZW_JOB_INVALID);
	assert_int_equal(fw_queue_state(&q), ZW_QUEUE_ERROR);
	/* Not mapped: refused, not a crash. */
	d.ctrl = 1ull << 40;
	q.id = 10;
	assert_int_equal(fw_create_with(&q, &d, sizeof(d)), ZW_MSG_ERR_DMA);
}

/* Every job that ends has a result (finish() looks), whether or not it ever ran. */
static void results_of_all(void **state)
{
	struct fw *f = *state;
	struct ring q = fw_create(f, 1, ZW_PRIO_NORMAL), other = fw_create(f, 2, ZW_PRIO_LOW);
	uint32_t bytes;

	/* While another queue's job runs: results are written beside it. */
	bytes = put_fills(&other, 0, 2000);
	submit(&other, fw_cmd_of(&other), bytes);
	wait_running(&other);
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

static void priorities(void **state)
{
	struct fw *f = *state;
	struct ring low = fw_create(f, 1, ZW_PRIO_LOW), high = fw_create(f, 2, ZW_PRIO_REALTIME);
	struct zw_completion c;
	uint32_t bytes = put_fills(&low, 0, 3000);

	submit(&low, fw_cmd_of(&low), bytes);
	wait_running(&low);
	for (uint64_t i = 1; i <= 3; i++) {
		submit(&high, fw_cmd_of(&high), put_fills(&high, 0, 2));
		assert_int_equal(finish(&high, i).status, ZW_JOB_OK);
		assert_false(fw_done(&low, 1, &c));
	}
	assert_in_range(preemptions(f), 3, 1000);
	/* and not the other way round */
	submit(&high, fw_cmd_of(&high), put_fills(&high, 0, 1000));
	assert_int_equal(fw_on_queue(&low, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
	assert_int_equal(finish(&low, 1).status, ZW_JOB_CANCELED);
	assert_int_equal(finish(&high, 4).status, ZW_JOB_OK);
}

/* Two long jobs of one priority take turns: neither waits for the other's end. */
static void time_slices(void **state)
{
	struct fw *f = *state;
	struct ring a = fw_create(f, 1, ZW_PRIO_NORMAL), b = fw_create(f, 2, ZW_PRIO_NORMAL);
	struct zw_completion c;

	submit(&a, fw_cmd_of(&a), put_fills(&a, 0, 3000));
	wait_running(&a);
	submit(&b, fw_cmd_of(&b), put_fills(&b, 0, 30));
	assert_int_equal(finish(&b, 1).status, ZW_JOB_OK);
	assert_false(fw_done(&a, 1, &c));
	assert_in_range(preemptions(f), 1, 1000);
	assert_int_equal(finish(&a, 1).status, ZW_JOB_OK);
}

/*
 * The running job signals what another waits for, which goes on soon after. How soon is counted in
 * packets of the running job, and the best of some rounds counts: the machine may be busy.
 */
static void signalled_by_running(void **state)
{
	static const uint32_t prio[] = {ZW_PRIO_NORMAL, ZW_PRIO_HIGH};

	for (unsigned int i = 0; i < 2; i++) {
		struct fw *f = *state;
		uint64_t best = UINT64_MAX;

		for (int round = 0; round < 4; round++) {
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
			if (packets < best)
				best = packets;
			assert_false(fw_done(&s, 1, &c));
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
	uint64_t packets;

	assert_int_equal(fw_on_queue(&q, ZW_MSG_RESUME_QUEUE, NULL), ZW_MSG_ERR_STATE);
	/* in the middle of a job */
	submit(&q, fw_cmd_of(&q), put_fills(&q, 0, 1000));
	wait_running(&q);
	assert_int_equal(fw_on_queue(&q, ZW_MSG_SUSPEND_QUEUE, NULL), ZW_MSG_OK);
	assert_int_equal(fw_queue_state(&q), ZW_QUEUE_SUSPENDED);
	assert_int_equal(fw_on_queue(&q, ZW_MSG_SUSPEND_QUEUE, NULL), ZW_MSG_ERR_STATE);
	packets = r64(f->e, ZW_PMU_PACKETS);
	submit(&q, fw_cmd_of(&q), 0);
	usleep(20000);
	assert_int_equal(r64(f->e, ZW_PMU_PACKETS), packets);
	assert_false(fw_done(&q, 1, &c));
	assert_int_equal(fw_on_queue(&q, ZW_MSG_RESUME_QUEUE, NULL), ZW_MSG_OK);
	c = finish(&q, 1);
	assert_int_equal(c.status, ZW_JOB_OK);
	assert_int_equal(c.packet_index, 1000);
	assert_int_equal(finish(&q, 2).status, ZW_JOB_OK);
	/* idle, and destroyed in that state */
	assert_int_equal(fw_on_queue(&q, ZW_MSG_SUSPEND_QUEUE, NULL), ZW_MSG_OK);
	submit(&q, fw_cmd_of(&q), 0);
	usleep(5000);
	assert_false(fw_done(&q, 3, &c));
	assert_int_equal(fw_on_queue(&q, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
	assert_int_equal(fw_on_queue(&q, ZW_MSG_RESUME_QUEUE, NULL), ZW_MSG_ERR_NOENT);
}

/* A tail that makes no sense, with a job running and with one that waits: the queue stops once. */
static void bad_tail(void **state)
{
	struct fw *f = *state;
	unsigned int seen = 0;

	for (int round = 0; round < 20; round++) {
		struct ring q = fw_create(f, 1, ZW_PRIO_NORMAL);
		uint32_t status;

		submit(&q, fw_cmd_of(&q), put_fills(&q, 0, 2000));
		submit(&q, fw_cmd_of(&q), 0);
		wait_running(&q);
		fw_ring_bell(&q, 1000);
		/* A good one right after it, perhaps while the job is still being stopped. */
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

int main(int argc, char **argv)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fw_setup, fw_teardown)
	const struct CMUnitTest tests[] = {
		T(refused_messages), T(descriptors), T(many_queues), T(user_queue),
		T(results_of_all),   T(priorities),  T(time_slices), T(signalled_by_running),
		T(suspend_resume),   T(bad_tail),
	};

	if (!fw_load(argc, argv))
		return 1;
	int ret = cmocka_run_group_tests_name("firmware", tests, NULL, NULL);

	fw_unload();
	return ret;
}

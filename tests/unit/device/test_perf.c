/* SPDX-License-Identifier: MIT */
/* Records of single packets: of whom, what they add up to, and a host that does not read them, or lies. */
#include <stdlib.h>
#include <unistd.h>
#include "fw_env.h"

#define RING    (SYS_BASE + 0x300000)
#define CTRL    (SYS_BASE + 0x380000)
#define MAX     65536u
#define OWNER_A 7u
#define OWNER_B 0x80000009u

struct reader {
	struct fw *f;
	uint32_t slots;
	uint64_t taken;
	struct zw_perf_record *r; /* what was read so far */
	size_t n;
};

static uint32_t ask(struct fw *f, uint64_t ring, uint32_t slots, uint64_t ctrl)
{
	struct zw_msg_perf m = {ZW_LO32(ring), ZW_HI32(ring), slots, ZW_LO32(ctrl), ZW_HI32(ctrl)};

	return fw_request(f, ZW_MSG_PERF, &m, sizeof(m), NULL);
}

static struct reader record(struct fw *f, uint32_t slots)
{
	static const uint8_t zero[256];
	struct reader r = {.f = f, .slots = slots, .r = calloc(MAX, sizeof(*r.r))};

	for (uint32_t i = 0; i < slots; i++)
		fw_put(f, RING + i * sizeof(struct zw_perf_record), zero, sizeof(zero));
	fw_put(f, CTRL, zero, sizeof(struct zw_perf_ctrl));
	assert_int_equal(ask(f, RING, slots, CTRL), ZW_MSG_OK);
	return r;
}

/* The next one, if it is there. */
static bool look(struct reader *r, struct zw_perf_record *out)
{
	uint64_t next = r->taken + 1, at = RING + next % r->slots * sizeof(*out);
	uint64_t seq;

	fw_get(r->f, &seq, at, sizeof(seq));
	fw_get(r->f, out, at, sizeof(*out));
	return seq == next;
}

static void take(struct reader *r)
{
	assert_true(r->n < MAX);
	while (look(r, &r->r[r->n])) {
		r->n++;
		r->taken++;
	}
	fw_put(r->f, CTRL, &r->taken, sizeof(r->taken));
	w32(r->f->e, ZW_REG_MBOX_DOORBELL, 1);
}

/* All that can be final. */
static void take_all(struct reader *r)
{
	size_t before;

	do {
		before = r->n;
		assert_int_equal(fw_request(r->f, ZW_MSG_SETTLE, NULL, 0, NULL), ZW_MSG_OK);
		take(r);
	} while (r->n != before);
}

static struct ring queue_of(struct fw *f, uint32_t id, uint32_t owner)
{
	struct ring q = fw_ring(f, id);
	struct zw_queue_desc d = fw_desc(&q, ZW_PRIO_NORMAL);

	d.owner = owner;
	assert_int_equal(fw_create_with(&q, &d, sizeof(d)), ZW_MSG_OK);
	return q;
}

/* A job of n fills; its result. */
static struct zw_job_result run(struct ring *q, uint32_t n, uint32_t bytes)
{
	struct zw_pkt_fill p = {.hdr = {.opcode = ZW_OP_FILL, .size = sizeof(p)},
				.dst = FW_DATA,
				.bytes = bytes,
				.rows = 1};
	uint64_t seq = ++q->seq;
	struct zw_ring_entry e = {.seqno = seq,
				  .cmd_va = fw_cmd_of(q),
				  .cmd_bytes = n * (uint32_t)sizeof(p),
				  .result_va = fw_result_va(q, seq)};
	struct zw_job_result res;
	struct zw_completion c;

	for (uint32_t i = 0; i < n; i++) {
		p.hdr.tag = 0x100 + i;
		memcpy(q->fw->e->hbm + fw_cmd_of(q) + i * sizeof(p), &p, sizeof(p));
	}
	fw_put(q->fw, q->ring + seq % SLOTS * sizeof(e), &e, sizeof(e));
	fw_ring_bell(q, (uint32_t)seq);
	WAIT_FOR(fw_done(q, seq, &c));
	assert_int_equal(c.status, ZW_JOB_OK);
	memcpy(&res, q->fw->e->hbm + fw_result_va(q, seq), sizeof(res));
	return res;
}

static size_t count(const struct reader *r, uint32_t owner, uint32_t kind)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n; i++)
		n += r->r[i].owner == owner && r->r[i].kind == kind;
	return n;
}

static void refused(void **state)
{
	struct fw *f = *state;
	static const struct {
		uint64_t ring;
		uint32_t slots;
		uint64_t ctrl;
	} bad[] = {
		{0, 16, CTRL},
		{RING, 16, 0},
		{RING, 0, CTRL},
		{0, 0, CTRL},
		{RING + 32, 16, CTRL},
		{RING, 16, CTRL + 8},
		{RING, ZW_PERF_MIN_SLOTS / 2, CTRL},
		{RING, 24, CTRL},
		{RING, 2 * ZW_PERF_MAX_SLOTS, CTRL},
		{UINT64_MAX - 16 * 256 + 1, 16, CTRL},
	};
	uint8_t payload[ZW_MSG_PAYLOAD] = {[sizeof(struct zw_msg_perf)] = 1};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(ask(f, bad[i].ring, bad[i].slots, bad[i].ctrl), ZW_MSG_ERR_ARG);
	assert_int_equal(fw_request(f, ZW_MSG_PERF, payload, sizeof(payload), NULL),
			 ZW_MSG_ERR_ARG);
	payload[sizeof(struct zw_msg_perf)] = 0;
	payload[0] = 1;
	assert_int_equal(fw_request(f, ZW_MSG_SETTLE, payload, 1, NULL), ZW_MSG_ERR_ARG);
	/* nothing is recorded: nothing to stop, nothing to settle */
	assert_int_equal(ask(f, 0, 0, 0), ZW_MSG_OK);
	assert_int_equal(fw_request(f, ZW_MSG_SETTLE, NULL, 0, NULL), ZW_MSG_OK);
}

/* Packets of a job add up to its result, and jobs to the sums of their queue; others are not there. */
static void sums(void **state)
{
	struct fw *f = *state;
	struct reader r = record(f, 64);
	struct ring a = queue_of(f, 1, OWNER_A), b = queue_of(f, 2, OWNER_B),
		    other = queue_of(f, 3, 0);
	uint64_t busy[ZW_ENGINE_COUNT] = {0}, energy = 0, packets = 0, hbm = 0, job_energy = 0;
	struct zw_perf_job last = {0};
	uint32_t index = 0;

	for (unsigned int i = 0; i < 20; i++) {
		struct zw_job_result res = run(&a, 1 + i, 4096);

		job_energy += res.energy_pj;
		run(&other, 3, 4096);
		run(&b, 2, 65536);
		take(&r);
	}
	take_all(&r);
	assert_int_equal(count(&r, OWNER_A, ZW_PERF_BEGIN), 20);
	assert_int_equal(count(&r, OWNER_A, ZW_PERF_PACKET), 210);
	assert_int_equal(count(&r, OWNER_A, ZW_PERF_JOB), 20);
	assert_int_equal(count(&r, OWNER_B, ZW_PERF_PACKET), 40);
	assert_int_equal(count(&r, OWNER_B, ZW_PERF_JOB), 20);
	assert_int_equal(r.n, 20 + 210 + 20 + 20 + 40 + 20);
	for (size_t i = 0; i < r.n; i++) {
		const struct zw_perf_record *p = &r.r[i];

		assert_int_equal(p->dropped, 0);
		assert_int_equal(p->queue, p->owner == OWNER_A ? 1 : 2);
		if (p->owner != OWNER_A)
			continue;
		if (p->kind == ZW_PERF_JOB) {
			assert_int_equal(p->job, index);
			last = p->u.done;
			assert_int_equal(last.packets, packets);
			assert_memory_equal(last.busy_ps, busy, sizeof(busy));
			assert_int_equal(last.energy_pj, energy);
			assert_int_equal(last.hbm_bytes, hbm);
			index = 0;
			continue;
		}
		busy[p->engine] += p->end_ps - p->start_ps;
		if (p->kind == ZW_PERF_BEGIN)
			continue;
		assert_int_equal(p->opcode, ZW_OP_FILL);
		assert_int_equal(p->index, index++);
		assert_int_equal(p->tag, 0x100 + p->index);
		assert_int_equal(p->u.packet.hbm_bytes, 4096);
		packets++;
		energy += p->u.packet.energy_pj;
		hbm += p->u.packet.hbm_bytes;
	}
	assert_int_equal(energy, job_energy);
	/* the end of a queue is its last record, and its number another's then */
	assert_int_equal(fw_on_queue(&a, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
	a = queue_of(f, 1, 12);
	run(&a, 1, 4096);
	take_all(&r);
	assert_int_equal(count(&r, OWNER_A, ZW_PERF_END), 1);
	assert_int_equal(count(&r, OWNER_A, ZW_PERF_JOB), 20);
	assert_int_equal(count(&r, 12, ZW_PERF_JOB), 1);
	assert_int_equal(r.r[r.n - 1].u.done.packets, 1);
	free(r.r);
}

/* A queue by itself needs no settling: with the end of the job it is there, and the host is told. */
static void at_once(void **state)
{
	struct fw *f = *state;
	struct reader r = record(f, 16);
	struct ring a = queue_of(f, 1, OWNER_A);
	struct zw_job_result res = run(&a, 3, 4096);
	uint32_t irqs;

	WAIT_FOR((take(&r), r.n == 5));
	assert_int_equal(r.r[0].kind, ZW_PERF_BEGIN);
	assert_int_equal(r.r[4].kind, ZW_PERF_JOB);
	assert_int_equal(r.r[4].start_ps, res.start_ps);
	assert_int_equal(r.r[4].end_ps, res.end_ps);
	irqs = env_irqs(f->e, ZW_VECTOR_MBOX);
	run(&a, 3, 4096);
	WAIT_FOR(env_irqs(f->e, ZW_VECTOR_MBOX) > irqs);
	/* an idle queue holds it up, until it is said that it does not matter */
	struct ring idle = queue_of(f, 2, 0);

	WAIT_FOR((take(&r), r.n == 10));
	res = run(&a, 2, 4096);
	usleep(20000);
	take(&r);
	assert_true(r.n < 14);
	take_all(&r);
	assert_int_equal(r.n, 14);
	assert_int_equal(fw_on_queue(&idle, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
	/* nothing any more once it was answered */
	assert_int_equal(ask(f, 0, 0, 0), ZW_MSG_OK);
	run(&a, 2, 4096);
	usleep(20000);
	assert_false(look(&r, &r.r[r.n]));
	free(r.r);
}

/* A host that does not read: nothing is overwritten, nobody waits, what there was no room for is counted. */
static void slow_host(void **state)
{
	const uint32_t at_once = 4000, jobs = 9;
	struct fw *f = *state;
	struct reader r = record(f, 16);
	struct ring a = queue_of(f, 1, OWNER_A);
	struct zw_perf_record first[16];
	uint32_t beat;
	uint64_t held;

	for (uint32_t i = 0; i < jobs; i++)
		run(&a, at_once, 16);
	fw_get(f, first, RING, sizeof(first));
	/* asleep, not in a circle around an interrupt that nobody clears */
	beat = r32(f->e, ZW_REG_FW_HEARTBEAT);
	usleep(300000);
	assert_in_range(r32(f->e, ZW_REG_FW_HEARTBEAT) - beat, 1, 10);
	for (unsigned int i = 0; i < 16; i++)
		assert_int_equal(first[i].seq, i ? i : 16);
	assert_int_equal(fw_on_queue(&a, ZW_MSG_DESTROY_QUEUE, NULL), ZW_MSG_OK);
	WAIT_FOR((take(&r), r.n && r.r[r.n - 1].kind == ZW_PERF_END));
	/* what was written, what was held, and the end */
	held = ZW_SOC_PERF_HELD_MAX - ZW_SOC_PERF_HELD_ENDS;
	assert_int_equal(r.n, 16 + held + 1);
	assert_int_equal(r.r[r.n - 1].dropped, jobs * (at_once + 2) - 16 - held);
	assert_int_equal(r.r[r.n - 2].dropped, 0);
	/* it goes on */
	a = queue_of(f, 1, OWNER_B);
	run(&a, 1, 4096);
	WAIT_FOR((take(&r), count(&r, OWNER_B, ZW_PERF_JOB) == 1));
	free(r.r);
}

/* What the host says of what it read makes no sense, or cannot be reached: it stops, and all else goes on. */
static void lying_host(void **state)
{
	static const uint64_t lies[] = {6, UINT64_MAX, 1000};
	struct fw *f = *state;
	struct ring a = queue_of(f, 1, OWNER_A);
	struct reader r;

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		r = record(f, 16);
		run(&a, 3, 4096);
		WAIT_FOR(look(&r, &r.r[0]));
		fw_put(f, CTRL, &lies[i], sizeof(lies[i]));
		run(&a, 3, 4096);
		usleep(20000);
		r.taken = 5;
		assert_false(look(&r, &r.r[0]));
		free(r.r);
	}
	/* behind what it said before */
	r = record(f, 16);
	run(&a, 3, 4096);
	WAIT_FOR((take(&r), r.n == 5));
	run(&a, 1, 4096);
	WAIT_FOR((take(&r), r.n == 8));
	r.taken = 2;
	fw_put(f, CTRL, &r.taken, sizeof(r.taken));
	run(&a, 3, 4096);
	usleep(20000);
	r.taken = 8;
	assert_false(look(&r, &r.r[8]));
	free(r.r);

	assert_int_equal(ask(f, UINT64_C(1) << 45, 16, CTRL), ZW_MSG_OK);
	run(&a, 3, 4096);
	assert_int_equal(ask(f, RING, 16, UINT64_C(1) << 45), ZW_MSG_OK);
	run(&a, 3, 4096);
	r = record(f, 16);
	run(&a, 3, 4096);
	WAIT_FOR((take(&r), r.n == 5));
	free(r.r);
}

/* Records that are held, and what their queue has done, are part of the state. */
static void saved(void **state)
{
	struct fw *f = *state;
	struct reader r = record(f, 16), other;
	struct ring a = queue_of(f, 1, OWNER_A), b;
	uint8_t *sys = malloc(SYS_SIZE);
	struct fw was;
	char err[128] = "";
	void *buf;
	size_t len;

	run(&a, 100, 4096);
	WAIT_FOR((look(&r, &r.r[0])));
	was = *f;
	assert_int_equal(zw_device_save(f->e->dev, &buf, &len, err, sizeof(err)), 0);
	assert_true(len <= zw_device_state_max(f->e->dev));
	fw_get(f, sys, SYS_BASE, SYS_SIZE);
	/* the device does something else meanwhile */
	zw_device_reset(f->e->dev, false);
	fw_boot(f);
	other = record(f, 16);
	b = queue_of(f, 1, OWNER_B);
	run(&b, 50, 4096);
	zw_device_reset(f->e->dev, false);
	fw_put(f, SYS_BASE, sys, SYS_SIZE);
	*f = was;
	assert_int_equal(zw_device_load(f->e->dev, buf, len, err, sizeof(err)), 0);
	free(buf);
	free(sys);
	free(other.r);
	WAIT_FOR((take(&r), r.n == 102));
	run(&a, 1, 4096);
	WAIT_FOR((take(&r), r.n == 105));
	for (size_t i = 0; i < r.n; i++)
		assert_int_equal(r.r[i].owner, OWNER_A);
	assert_int_equal(r.r[101].u.done.packets, 100);
	assert_int_equal(r.r[104].u.done.packets, 101);
	free(r.r);
}

/* A reset forgets it all. */
static void reset(void **state)
{
	struct fw *f = *state;
	struct reader r = record(f, 16);
	struct ring a = queue_of(f, 1, OWNER_A);

	run(&a, 3, 4096);
	WAIT_FOR((take(&r), r.n == 5));
	zw_device_reset(f->e->dev, false);
	fw_boot(f);
	a = queue_of(f, 1, OWNER_A);
	run(&a, 3, 4096);
	usleep(20000);
	r.taken = 0;
	assert_false(look(&r, &r.r[0]));
	free(r.r);
	r = record(f, 16);
	run(&a, 3, 4096);
	WAIT_FOR((take(&r), r.n == 5));
	free(r.r);
}

/* The device's lies are its own: all others are as they are. */
static void lies(void **state)
{
	struct fw *f = *state;
	struct reader r = record(f, 16);
	struct ring a = queue_of(f, 1, OWNER_A);
	struct zw_perf_record p;

	assert_int_equal(zw_device_inject(f->e->dev, ZW_INJECT_LIE_RECORD, 0, 0, 0), -EINVAL);
	assert_int_equal(zw_device_inject(f->e->dev, ZW_INJECT_LIE_RECORD, 5, 0, 0), 0);
	assert_int_equal(zw_device_inject(f->e->dev, ZW_INJECT_LIE_OWNER, 99, 0, 0), 0);
	run(&a, 3, 4096);
	r.taken = 4;
	WAIT_FOR(look(&r, &p));
	fw_get(f, &p, RING + sizeof(p), sizeof(p));
	assert_int_equal(p.seq, 6);
	assert_int_equal(p.owner, 99);
	fw_get(f, &p, RING + 2 * sizeof(p), sizeof(p));
	assert_int_equal(p.seq, 2);
	assert_int_equal(p.owner, OWNER_A);
	free(r.r);
}

int main(int argc, char **argv)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fw_setup, fw_teardown)
	const struct CMUnitTest tests[] = {
		T(refused),    T(sums),  T(at_once), T(slow_host),
		T(lying_host), T(saved), T(reset),   T(lies),
	};

	if (!fw_load(argc, argv))
		return 1;
	int ret = cmocka_run_group_tests_name("perf", tests, NULL, NULL);

	fw_unload();
	return ret;
}

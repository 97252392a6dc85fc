/* SPDX-License-Identifier: MIT */
/* Saving a device in the middle of its work and going on elsewhere, with the real firmware. */
#include <sys/mman.h>
#include <unistd.h>
#include "device_env.h"
#include "zhenwu/zw_cmd.h"
#include "zw_present.h"
#include "zw_sha256.h"

#define H2F     SYS_REQUEST
#define F2H     (SYS_REQUEST + 0x1000)
#define RINGS   (SYS_REQUEST + 0x2000) /* 3 pages a queue */
#define DESC    (SYS_REQUEST + 0x20000)
#define SLOTS   64
#define QUEUES  4
#define SIGNALS 8 /* whose times the device remembers: more, and who waits late has other times */
#define ROOT    (60 * MIB)
#define RESULTS UINT64_C(0x1000000) /* 64 KiB a queue */
#define SEM     UINT64_C(0x1100000)
#define CMDS    (32 * MIB)            /* 4 MiB a queue */
#define DATA    (2 * MIB)             /* 2 MiB a queue */
#define BUFFER  (UINT64_C(1) << 30)   /* on-chip memory, 1 MiB a queue */
#define AREA    (UINT64_C(512) << 10) /* of either that a queue works on */

/* Most bytes of a packet: as long for the processor under TSan, where every word is looked at. */
#ifdef __SANITIZE_THREAD__
#define PACKET_BYTES (4u << 10)
#else
#define PACKET_BYTES (64u << 10)
#endif

struct side {
	struct device_env *e;
	uint32_t requests, replies;
};

static uint8_t *image;
static uint32_t image_size;

static void put(struct side *s, uint64_t addr, const void *src, size_t len)
{
	pthread_mutex_lock(&s->e->lock);
	memcpy(s->e->sys + (addr - SYS_BASE), src, len);
	pthread_mutex_unlock(&s->e->lock);
}

static void get(struct side *s, void *dst, uint64_t addr, size_t len)
{
	pthread_mutex_lock(&s->e->lock);
	memcpy(dst, s->e->sys + (addr - SYS_BASE), len);
	pthread_mutex_unlock(&s->e->lock);
}

static void request(struct side *s, uint32_t type, const void *payload, size_t len)
{
	struct zw_msg m = {.type = type, .seq = ++s->requests}, r;
	uint32_t next = ++s->replies;

	if (len)
		memcpy(m.payload, payload, len);
	put(s, H2F + m.seq % ZW_MBOX_SLOTS * sizeof(m), &m, sizeof(m));
	w32(s->e, ZW_REG_MBOX_DOORBELL, 1);
	WAIT_FOR((get(s, &r, F2H + next % ZW_MBOX_SLOTS * sizeof(r), sizeof(r)), r.seq == next));
	assert_int_equal(r.status, ZW_MSG_OK);
}

static uint64_t ring_of(uint32_t q)
{
	return RINGS + q * 0x3000;
}

static void boot(struct side *s)
{
	w64(s->e, ZW_REG_MBOX_H2F, H2F);
	w64(s->e, ZW_REG_MBOX_F2H, F2H);
	env_start(s->e, image, image_size);
	env_wait_reg(s->e, ZW_REG_BOOT_STATUS, ZW_BOOT_READY);
}

static void start(struct side *s)
{
	struct zw_msg_set_vm vm = {.vm = 1, .root_lo = ROOT};
	const uint64_t rw = ZW_PTE_VALID | ZW_PTE_LEAF | ZW_PTE_READ | ZW_PTE_WRITE;
	uint64_t *l3;

	*s = (struct side){.e = env_new(1)};
	boot(s);
	l3 = (void *)(s->e->hbm + ROOT);
	l3[0] = (ROOT + 4096) | ZW_PTE_VALID;
	l3[512] = (ROOT + 8192) | ZW_PTE_VALID;
	l3[513] = (ROOT + 12288) | ZW_PTE_VALID;
	for (uint64_t i = 0; i < 29; i++)
		l3[1024 + i] = (i * 2 * MIB) | rw;
	for (uint64_t i = 0; i < 2; i++)
		l3[1536 + i] = (i * 2 * MIB) | rw | ZW_PTE_TARGET(ZW_TARGET_SRAM);
	request(s, ZW_MSG_SET_VM, &vm, sizeof(vm));
	for (uint32_t q = 1; q <= QUEUES; q++) {
		struct zw_queue_desc d = {.size = sizeof(d),
					  .vm = 1,
					  .priority = ZW_PRIO_NORMAL,
					  .log2_slots = 6,
					  .vector = q,
					  .ring = ring_of(q),
					  .ctrl = ring_of(q) + 0x1000,
					  .completions = ring_of(q) + 0x2000};
		struct zw_msg_create_queue m = {.queue = q,
						.desc_bytes = sizeof(d),
						.desc_lo = ZW_LO32(DESC),
						.desc_hi = ZW_HI32(DESC)};

		put(s, DESC, &d, sizeof(d));
		request(s, ZW_MSG_CREATE_QUEUE, &m, sizeof(m));
	}
}

/* -- work -- */

/* Address of [off, off + len) of what the queue works on: half of it is on the chip. */
static uint64_t area(uint32_t q, uint64_t *seed, uint64_t len)
{
	uint64_t off = test_rand(seed) % (AREA - len) & ~UINT64_C(63);

	return (test_rand(seed) & 1 ? BUFFER + (q - 1) * MIB : DATA + (q - 1) * 2 * MIB) + off;
}

/* Every packet works on what the ones before it left. Returns the end of the buffer. */
static uint32_t put_work(struct side *s, uint32_t q, uint32_t at, unsigned int n, uint64_t *seed)
{
	uint8_t *buf = s->e->hbm + CMDS + (q - 1) * 4 * MIB;

	for (unsigned int i = 0; i < n; i++) {
		uint64_t len = 64 * (1 + test_rand(seed) % (PACKET_BYTES / 64));
		struct zw_pkt_fill fill = {.hdr = {.opcode = ZW_OP_FILL, .size = sizeof(fill)},
					   .dst = area(q, seed, len),
					   .bytes = len,
					   .rows = 1,
					   .pattern = (uint32_t)test_rand(seed)};
		struct zw_pkt_copy copy = {.hdr = {.opcode = ZW_OP_COPY, .size = sizeof(copy)},
					   .dst = fill.dst,
					   .bytes = len,
					   .rows = 1};

		do
			copy.src = area(q, seed, len);
		while (copy.src < copy.dst + len && copy.dst < copy.src + len);
		/* Results depend on all before; simulated times on what the tokens say. */
		copy.hdr.signal = fill.hdr.signal =
			(uint8_t)(test_rand(seed) % (ZW_PKT_TOKENS + 1));
		if (test_rand(seed) % 4) {
			copy.hdr.flags = fill.hdr.flags = ZW_PKT_F_DEPS;
			copy.hdr.wait = fill.hdr.wait =
				(uint16_t)(test_rand(seed) & test_rand(seed) & test_rand(seed));
		}
		if (test_rand(seed) % 3) {
			memcpy(buf + at, &copy, sizeof(copy));
			at += (uint32_t)sizeof(copy);
		} else {
			memcpy(buf + at, &fill, sizeof(fill));
			at += (uint32_t)sizeof(fill);
		}
	}
	return at;
}

static uint32_t put_sem(struct side *s, uint32_t q, uint32_t at, uint16_t op, uint64_t value)
{
	struct zw_pkt_sem p = {.hdr = {.opcode = op, .size = sizeof(p)}, .va = SEM, .value = value};

	memcpy(s->e->hbm + CMDS + (q - 1) * 4 * MIB + at, &p, sizeof(p));
	return at + (uint32_t)sizeof(p);
}

/*
 * `jobs` jobs a queue, rung for at once. Queue 2 waits in some for what queue 1 signals there, so
 * that it blocks.
 */
static void submit_all(struct side *s, uint32_t jobs, unsigned int packets, uint64_t seed)
{
	for (uint32_t q = 1; q <= QUEUES; q++) {
		uint32_t at = 0;

		for (uint32_t j = 1; j <= jobs; j++) {
			struct zw_ring_entry r = {.seqno = j,
						  .cmd_va = CMDS + (q - 1) * 4 * MIB + at,
						  .result_va = RESULTS + q * 0x10000 + j * 256,
						  .cookie = q * 1000 + j};
			uint32_t first = at;

			at = put_work(s, q, at, 1 + test_rand(&seed) % packets, &seed);
			if (q == 1 && j <= SIGNALS)
				at = put_sem(s, q, at, ZW_OP_SEM_SIGNAL, j);
			if (q == 2 && j <= SIGNALS)
				at = put_sem(s, q, at, ZW_OP_SEM_WAIT, j);
			at = put_work(s, q, at, 1 + test_rand(&seed) % packets, &seed);
			r.cmd_bytes = at - first;
			put(s, ring_of(q) + j % SLOTS * sizeof(r), &r, sizeof(r));
			assert_true(at < 4 * MIB);
		}
		put(s, ring_of(q) + 0x1000, &jobs, sizeof(jobs));
	}
	for (uint32_t q = 1; q <= QUEUES; q++)
		w32(s->e, ZW_REG_DOORBELL(q), 0);
}

static void wait_all(struct side *s, uint32_t jobs)
{
	struct zw_completion c;

	for (uint32_t q = 1; q <= QUEUES; q++) {
		const uint64_t at = ring_of(q) + 0x2000 + jobs % SLOTS * sizeof(c);

		WAIT_FOR((get(s, &c, at, sizeof(c)), c.seqno == jobs));
		assert_int_equal(c.status, ZW_JOB_OK);
	}
}

/* Everything that the work left behind, and what it took. */
struct outcome {
	uint64_t hbm, completions[QUEUES];
	uint64_t pmu[ZW_PMU_COUNT];
	uint32_t temperature;
};

/* A real hash of all of HBM would take minutes where every access is watched (TSan). */
static uint64_t mix(const void *p, size_t len)
{
	const uint64_t *w = p;
	uint64_t h = len;

	for (size_t i = 0; i < len / 8; i++) {
		h = (h ^ w[i]) * 0x9e3779b97f4a7c15;
		h ^= h >> 29;
	}
	return h;
}

static struct outcome outcome_of(struct side *s)
{
	struct outcome o;

	/* Results, with simulated times in them, are in HBM too. */
	o.hbm = mix(s->e->hbm, HBM_SIZE);
	for (uint32_t q = 1; q <= QUEUES; q++)
		o.completions[q - 1] = mix(s->e->sys + (ring_of(q) + 0x2000 - SYS_BASE), 0x1000);
	o.temperature = r32(s->e, ZW_REG_TEMPERATURE_MC);
	for (unsigned int i = 0; i < ZW_PMU_COUNT; i++) {
		uint64_t reg = ZW_REG_PMU + 8 * i;

		/* How often it was asked depends on who ran when, and a load forgets the cache. */
		o.pmu[i] = reg == ZW_PMU_TLB_HITS || reg == ZW_PMU_TLB_MISSES ? 0 : r64(s->e, reg);
	}
	return o;
}

static void assert_same(const struct outcome *a, const struct outcome *b)
{
	for (unsigned int i = 0; i < ZW_PMU_COUNT; i++)
		if (a->pmu[i] != b->pmu[i])
			fail_msg("counter %u: %llu, not %llu", i, (unsigned long long)b->pmu[i],
				 (unsigned long long)a->pmu[i]);
	assert_int_equal(a->temperature, b->temperature);
	assert_memory_equal(a->completions, b->completions, sizeof(a->completions));
	assert_true(a->hbm == b->hbm);
}

/* -- moving -- */

static void *save(struct side *s, size_t *len)
{
	char err[200] = "";
	void *buf = NULL;

	if (zw_device_save(s->e->dev, &buf, len, err, sizeof(err)))
		fail_msg("%s", err);
	return buf;
}

/* A copy of all that the device works with. The device stands still. */
static void copy_memory(struct side *to, struct side *from)
{
	uint64_t off = 0, end;

	for (; zw_present_range(from->e->hbm, HBM_SIZE, &off, &end); off = end)
		memcpy(to->e->hbm + off, from->e->hbm + off, end - off);
	memcpy(to->e->sys, from->e->sys, SYS_SIZE);
}

/* Another device in the same state, which stands still too. */
static struct side twin_of(struct side *from)
{
	struct side to = {.e = env_new(1), .requests = from->requests, .replies = from->replies};
	char err[200] = "";
	size_t len;
	void *buf;

	buf = save(from, &len);
	copy_memory(&to, from);
	zw_device_pause(to.e->dev);
	if (zw_device_load(to.e->dev, buf, len, err, sizeof(err)))
		fail_msg("%s", err);
	free(buf);
	return to;
}

static void wait_packets(struct side *s, uint64_t n)
{
	WAIT_FOR(r64(s->e, ZW_PMU_PACKETS) >= n);
}

/* -- tests -- */

/* One job of 5000 packets, stopped in its middle; it ends here and there as if nothing had been. */
static void long_job(void **state)
{
	struct side plain, first, second;
	struct outcome want, got;
	uint64_t packets;

	start(&plain);
	submit_all(&plain, 1, 5000, 7);
	wait_all(&plain, 1);
	want = outcome_of(&plain);
	packets = r64(plain.e, ZW_PMU_PACKETS);
	env_free(plain.e);

	start(&first);
	submit_all(&first, 1, 5000, 7);
	wait_packets(&first, packets / 2);
	zw_device_pause(first.e->dev);
	second = twin_of(&first);
	assert_true(r64(second.e, ZW_PMU_PACKETS) < packets);
	assert_int_equal(r64(second.e, ZW_PMU_PACKETS), r64(first.e, ZW_PMU_PACKETS));
	zw_device_continue(first.e->dev);
	zw_device_continue(second.e->dev);
	wait_all(&second, 1);
	got = outcome_of(&second);
	assert_same(&want, &got);
	wait_all(&first, 1);
	got = outcome_of(&first);
	assert_same(&want, &got);
	env_free(first.e);
	/* The second is a whole device: its firmware takes messages. */
	request(&second, ZW_MSG_PING, NULL, 0);
	env_free(second.e);
}

/* From device to device at any moment. */
static void random_moments(void **state)
{
	for (uint64_t round = 1; round <= 3; round++) {
		const uint32_t jobs = 20;
		struct side plain, s, next;
		struct outcome want, got;
		uint64_t packets, rand = round;
		unsigned int moves = 0;

		start(&plain);
		submit_all(&plain, jobs, 80, round);
		wait_all(&plain, jobs);
		want = outcome_of(&plain);
		packets = r64(plain.e, ZW_PMU_PACKETS);
		env_free(plain.e);

		start(&s);
		submit_all(&s, jobs, 80, round);
		for (uint64_t at = 0; at < packets; at += test_rand(&rand) % (packets / 4)) {
			wait_packets(&s, at);
			zw_device_pause(s.e->dev);
			next = twin_of(&s);
			env_free(s.e);
			s = next;
			zw_device_continue(s.e->dev);
			moves++;
		}
		wait_all(&s, jobs);
		got = outcome_of(&s);
		assert_same(&want, &got);
		assert_in_range(moves, 2, 1000);
		env_free(s.e);
	}
}

/* Pages that were written are found, to the page, and no others. */
static void present_pages(void **state)
{
	const uint64_t size = 64 * MIB, page = (uint64_t)sysconf(_SC_PAGESIZE);
	const uint64_t written[] = {0, 7, 8, 5000, size / page - 1};
	uint64_t off = 0, end = 0, at = 0;
	uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	madvise(p, size, MADV_NOHUGEPAGE);
	assert_false(zw_present_range(p, size, &off, &end));
	for (size_t i = 0; i < sizeof(written) / sizeof(written[0]); i++)
		p[written[i] * page + 5] = 1;
	for (size_t i = 0; i < sizeof(written) / sizeof(written[0]);) {
		assert_true(zw_present_range(p, size, &at, &end));
		assert_int_equal(at, written[i] * page);
		for (; at < end; at += page)
			assert_int_equal(at, written[i++] * page);
	}
	assert_false(zw_present_range(p, size, &at, &end));
	off = 7 * page + 4096 % page;
	assert_true(zw_present_range(p, 8 * page, &off, &end));
	assert_int_equal(end, 8 * page);
	off = 9 * page;
	assert_false(zw_present_range(p, 4000 * page, &off, &end));
	munmap(p, size);
}

/* Nothing happens in a pause; a reset does, and afterwards the device is a fresh one. */
static void pause_and_reset(void **state)
{
	const struct timespec nap = {.tv_nsec = 50000000};
	struct side s;
	uint64_t packets;
	uint32_t beat;

	start(&s);
	submit_all(&s, 1, 5000, 3);
	wait_packets(&s, 100);
	zw_device_pause(s.e->dev);
	zw_device_pause(s.e->dev);
	packets = r64(s.e, ZW_PMU_PACKETS);
	beat = r32(s.e, ZW_REG_FW_HEARTBEAT);
	w32(s.e, ZW_REG_DOORBELL(1), 0);
	zw_device_continue(s.e->dev);
	nanosleep(&nap, NULL);
	assert_int_equal(r64(s.e, ZW_PMU_PACKETS), packets);
	assert_int_equal(r32(s.e, ZW_REG_FW_HEARTBEAT), beat);
	zw_device_reset(s.e->dev, true);
	assert_int_equal(r64(s.e, ZW_PMU_PACKETS), 0);
	assert_int_equal(r32(s.e, ZW_REG_BOOT_STATUS), ZW_BOOT_IDLE);
	zw_device_continue(s.e->dev);
	boot(&s);
	env_free(s.e);
}

static void inject(struct side *s, const char *text)
{
	char err[200] = "";

	if (zw_device_inject_text(s->e->dev, text, err, sizeof(err)))
		fail_msg("%s", err);
}

/* What is to fail, fails in the device that goes on; a packet that hangs, hangs there. */
static void faults(void **state)
{
	static const char *const all[] = {
		"lost-irq=3",   "dma-fault=2,0x1000,4096",   "lie-status=3", "lie-seqno=2",
		"fw-silence",   "ecc-uncorrected=0x3000000", "fw-trap",      "ecc-corrected=0",
		"lie-allowed=5"};
	const struct timespec nap = {.tv_nsec = 50000000};
	struct side first, second;
	size_t len, len2;
	char err[200];
	void *a, *b;

	start(&first);
	inject(&first, "hang");
	submit_all(&first, 1, 100, 7);
	nanosleep(&nap, NULL);
	assert_int_equal(r64(first.e, ZW_PMU_PACKETS), 0);
	zw_device_pause(first.e->dev);
	second = twin_of(&first);
	zw_device_continue(second.e->dev);
	nanosleep(&nap, NULL);
	assert_int_equal(r64(second.e, ZW_PMU_PACKETS), 0);
	inject(&second, "clear");
	wait_all(&second, 1);
	env_free(second.e);

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		a = save(&first, &len);
		inject(&first, all[i]);
		b = save(&first, &len2);
		if (len == len2 && !memcmp(a, b, len))
			fail_msg("%s is not in the state", all[i]);
		free(a);
		free(b);
	}
	second = twin_of(&first);
	a = save(&first, &len);
	b = save(&second, &len2);
	assert_int_equal(len, len2);
	assert_memory_equal(a, b, len);
	free(a);
	free(b);
	env_free(second.e);

	inject(&first, "clear");
	inject(&first, "stuck-reset");
	w32(first.e, ZW_REG_RESET, ZW_RESET_KEY);
	assert_int_equal(zw_device_save(first.e->dev, &a, &len, err, sizeof(err)), -EBUSY);
	assert_string_equal(err, "an injected fault keeps a reset from ending");
	inject(&first, "clear");
	zw_device_continue(first.e->dev);
	env_wait_reg(first.e, ZW_REG_RESET_STATUS, 0);
	boot(&first);
	env_free(first.e);
}

/* Errors of HBM that the firmware could not tell yet are told by the device that goes on. */
static void pending_errors(void **state)
{
	const struct zw_msg_events allow = {.allowed = 8};
	struct zw_msg_event_ecc event;
	struct side first, second;
	struct zw_msg r;

	start(&first);
	zw_device_pause(first.e->dev);
	inject(&first, "ecc-corrected=0x5008");
	inject(&first, "ecc-uncorrected=0x6000");
	inject(&first, "ecc-corrected=0x5000");
	second = twin_of(&first);
	env_free(first.e);
	zw_device_continue(second.e->dev);
	request(&second, ZW_MSG_EVENTS, &allow, sizeof(allow));
	for (unsigned int i = 0; i < 2; i++) {
		uint32_t next = ++second.replies;

		WAIT_FOR((get(&second, &r, F2H + next % ZW_MBOX_SLOTS * sizeof(r), sizeof(r)),
			  r.seq == next));
		assert_int_equal(r.type, ZW_MSG_EVENT_ECC);
		memcpy(&event, r.payload, sizeof(event));
		assert_int_equal(event.addr_lo, i ? 0x5000 : 0x6000);
		assert_int_equal(event.uncorrectable, i ? ZW_ECC_CORRECTED : ZW_ECC_UNCORRECTABLE);
		assert_int_equal(event.count, i ? 2 : 1);
	}
	env_free(second.e);
}

#ifdef __SANITIZE_THREAD__
#define ROUNDS 10 /* every byte is watched, and one thread does nearly all */
#else
#define ROUNDS 150
#endif

static int load(struct side *s, const void *buf, size_t len)
{
	char err[200] = "";
	int ret = zw_device_load(s->e->dev, buf, len, err, sizeof(err));

	if (ret) {
		assert_int_equal(ret, -EINVAL);
		assert_true(strlen(err) > 10);
		assert_int_equal(r32(s->e, ZW_REG_BOOT_STATUS), ZW_BOOT_IDLE);
		assert_int_equal(r64(s->e, ZW_PMU_PACKETS), 0);
	}
	return ret;
}

static void seal(uint8_t *buf, size_t len)
{
	zw_sha256(buf, len - ZW_SHA256_SIZE, buf + len - ZW_SHA256_SIZE);
}

static void bad_streams(void **state)
{
	struct side from, to = {.e = env_new(0)}, other = {.e = env_new_hbm(1, 32 * MIB)};
	unsigned int refused = 0, taken = 0;
	uint64_t rand = 5;
	uint8_t *buf, *bad;
	char err[200];
	size_t len;

	start(&from);
	submit_all(&from, 1, 5000, 9);
	wait_packets(&from, 100);
	zw_device_pause(from.e->dev);
	buf = save(&from, &len);
	bad = malloc(len + 1);

	/* another device */
	assert_int_equal(zw_device_load(other.e->dev, buf, len, err, sizeof(err)), -EINVAL);
	assert_non_null(strstr(err, "the size of HBM is 67108864 in the saved state and 33554432"));
	env_free(other.e);
	assert_int_equal(zw_device_load(to.e->dev, buf, len, err, sizeof(err)), -EINVAL);
	assert_non_null(strstr(err, "the set of capabilities"));
	env_free(to.e);
	to.e = env_new(1);

	for (unsigned int i = 0; i < ROUNDS / 5; i++) {
		/* cut off */
		size_t cut = i % 2 ? i * 4 : test_rand(&rand) % len;

		uint8_t *part = malloc(cut + 1);

		memcpy(part, buf, cut);
		assert_int_equal(load(&to, part, cut), -EINVAL);
		if (cut > ZW_SHA256_SIZE) {
			seal(part, cut);
			assert_int_equal(load(&to, part, cut), -EINVAL);
		}
		free(part);
		/* damaged */
		memcpy(bad, buf, len);
		bad[test_rand(&rand) % len] ^= (uint8_t)(1u << test_rand(&rand) % 8);
		assert_int_equal(load(&to, bad, len), -EINVAL);
	}
	memcpy(bad, buf, len);
	bad[len] = 0;
	memmove(bad + len - ZW_SHA256_SIZE + 1, bad + len - ZW_SHA256_SIZE, ZW_SHA256_SIZE);
	seal(bad, len + 1);
	assert_int_equal(load(&to, bad, len + 1), -EINVAL);
	/* made to harm: refused, or what runs then stays inside of the device */
	copy_memory(&to, &from);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		memcpy(bad, buf, len);
		for (unsigned int n = 1 + test_rand(&rand) % 3; n; n--) {
			/* What is behind SRAM's pages is dense with meaning. */
			size_t at = test_rand(&rand) % (i & 1 ? len : len / 8);

			bad[len - 1 - at] = test_rand(&rand) & 1 ? 0xff : (uint8_t)test_rand(&rand);
		}
		seal(bad, len);
		if (load(&to, bad, len))
			refused++;
		else
			taken++;
	}
	print_message("%u refused, %u taken\n", refused, taken);
	assert_true(refused && taken);
	/* After all of that it is a device like any other. */
	assert_int_equal(load(&to, bad, 100), -EINVAL);
	memcpy(to.e->sys, from.e->sys, SYS_SIZE);
	copy_memory(&to, &from);
	assert_int_equal(load(&to, buf, len), 0);
	wait_all(&to, 1);
	env_free(to.e);
	env_free(from.e);
	free(buf);
	free(bad);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(present_pages),  cmocka_unit_test(long_job),
		cmocka_unit_test(random_moments), cmocka_unit_test(pause_and_reset),
		cmocka_unit_test(faults),         cmocka_unit_test(pending_errors),
		cmocka_unit_test(bad_streams),
	};
	FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
	int ret;

	if (!file) {
		fprintf(stderr, "usage: %s ZHENWU_FW.BIN\n", argv[0]);
		return 1;
	}
	image = malloc(ZW_FW_MAX_SIZE);
	image_size = (uint32_t)fread(image, 1, ZW_FW_MAX_SIZE, file);
	fclose(file);
	ret = cmocka_run_group_tests_name("state", tests, NULL, NULL);
	free(image);
	return ret;
}

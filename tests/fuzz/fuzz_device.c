// SPDX-License-Identifier: MIT
/*
 * Fuzz target: a whole device with its real firmware, from the host's side of the bus. Registers,
 * doorbells, mailbox messages, rings, command buffers, page tables, the firmware image, resets and
 * a bus that fails, in any order.
 *
 * The input is a list of operations (enum op), most of them well-formed requests with edits in them:
 * bytes at random would never get past the first check. What must hold whatever the host does:
 *   - the firmware never traps, unless the host changed its image or cut its bus;
 *   - no interrupt vector that does not exist, no DMA after a reset has finished;
 *   - after a reset the device boots again and answers.
 *
 * $ZW_FIRMWARE names the image, else the one the build made is taken.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "zhenwu/zw_cmd.h"
#include "zhenwu/zw_fw.h"
#include "zhenwu/zw_pte.h"
#include "zhenwu/zw_queue.h"
#include "zhenwu/zw_regs.h"
#include "zw_core.h"
#include "zw_profile.h"
#include "zw_sha256.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* System memory, and what the well-formed requests keep where in it. */
#define SYS_BASE  (UINT64_C(5) << 30)
#define SYS_SIZE  (UINT64_C(4) << 20)
#define AT_IMAGE  0u
#define AT_H2F    0x100000u
#define AT_F2H    0x101000u
#define AT_QUEUE  0x110000u /* ring, control block, completions of one queue after the other */
#define QUEUE_AT  0x4000u
#define AT_PERF   0x180000u /* 32 KiB of records, and what was read of them in front */
#define AT_CMD    0x200000u
#define CMD_BYTES 0x1000u
#define CMD_COUNT 64u
#define N_QUEUES  4u
#define LOG2_SLOT 3u

#define HBM_SIZE  (UINT64_C(64) << 20)
#define AT_TABLES 0x10000u
#define AT_DATA   0x800000u
#define DATA_PAGE 256u
#define VA_DATA   (UINT64_C(1) << 36) /* HBM from AT_DATA on */
#define VA_CMD    (UINT64_C(2) << 36) /* system memory from AT_CMD on */

#define PATIENCE_NS UINT64_C(60000000000)

enum op {
	OP_REG_WRITE, /* a register that exists */
	OP_WRITE,     /* anywhere in BAR0 */
	OP_READ,
	OP_MESSAGE,     /* a request with edits */
	OP_RAW_MESSAGE, /* 64 bytes */
	OP_SUBMIT,      /* a job: its packets, its ring entry with edits */
	OP_SYS_WRITE,
	OP_HBM_WRITE,
	OP_WAIT,
	OP_RESET,
	OP_BOOT, /* with edits of the image */
	OP_BUS,  /* bus master on or off */
	OP_DOORBELL,
	OP_RESET_IN_STEPS,
	OP_START, /* boot, a VM, two queues */
	N_OPS,
};

struct host {
	struct zw_device *dev;
	uint8_t *hbm;
	uint8_t sys[SYS_SIZE];
	uint8_t *image;
	uint32_t image_size;
	pthread_mutex_t lock; /* sys: whole words, as on a bus */
	_Atomic bool bus_off, no_dma;
	bool excused; /* the firmware may trap: its image or its bus was not left alone */
	uint32_t seq;
	uint64_t tail[N_QUEUES];
	uint64_t user_tail; /* of the ring that user-mode queues share */
};

static struct host *host;

struct input {
	const uint8_t *p;
	size_t n;
};

static uint64_t take(struct input *in, size_t bytes)
{
	uint64_t v = 0;

	bytes = bytes < in->n ? bytes : in->n;
	memcpy(&v, in->p, bytes);
	in->p += bytes;
	in->n -= bytes;
	return v;
}

static size_t take_bytes(struct input *in, void *buf, size_t len)
{
	len = len < in->n ? len : in->n;
	memcpy(buf, in->p, len);
	in->p += len;
	in->n -= len;
	return len;
}

/* A byte of a structure, or a whole word of it with a value that is somebody's limit. */
static void edit(struct input *in, void *buf, size_t size)
{
	static const uint32_t limits[] = {0,           1,          3,        31,         32,
					  63,          64,         255,      4095,       4096,
					  0xffffff,    0x1000000,  1u << 30, 0x7fffffff, 1u << 31,
					  0xfffff000u, 0xffffffffu};
	size_t at = take(in, 1);
	uint8_t v = (uint8_t)take(in, 1);

	if (at & 0x80) {
		at = (at & 0x7f) * 4 % (size & ~(size_t)3);
		memcpy((uint8_t *)buf + at, &limits[v % (sizeof(limits) / sizeof(limits[0]))], 4);
	} else {
		((uint8_t *)buf)[at % size] = v;
	}
}

static void broken(const char *what)
{
	static const uint32_t regs[] = {
		ZW_REG_RESET_STATUS, ZW_REG_BOOT_STATUS,   ZW_REG_BOOT_ERROR, ZW_REG_BOOT_DETAIL,
		ZW_REG_FW_HEARTBEAT, ZW_REG_FW_TRAP_CAUSE, ZW_REG_FW_TRAP_PC};

	fprintf(stderr, "fuzz_device: %s\n", what);
	for (size_t i = 0; host && i < sizeof(regs) / sizeof(regs[0]); i++)
		fprintf(stderr, "  register %#x: %#llx\n", (unsigned int)regs[i],
			(unsigned long long)zw_device_mmio_read(host->dev, regs[i], 4));
	abort();
}

/* -- the host's side of the callbacks --------------------------------------------------------------- */

static uint8_t *sys_at(struct host *h, uint64_t addr, size_t len)
{
	if (h->no_dma)
		broken("DMA after the end of a reset");
	if (h->bus_off || addr < SYS_BASE || len > SYS_SIZE || addr - SYS_BASE > SYS_SIZE - len)
		return NULL;
	return h->sys + (addr - SYS_BASE);
}

static int dma_read(void *opaque, unsigned int function, uint64_t addr, void *buf, size_t len)
{
	struct host *h = opaque;
	uint8_t *p = sys_at(h, addr, len);

	if (!p)
		return -EIO;
	pthread_mutex_lock(&h->lock);
	memcpy(buf, p, len);
	pthread_mutex_unlock(&h->lock);
	return 0;
}

static int dma_write(void *opaque, unsigned int function, uint64_t addr, const void *buf,
		     size_t len)
{
	struct host *h = opaque;
	uint8_t *p = sys_at(h, addr, len);

	if (!p)
		return -EIO;
	pthread_mutex_lock(&h->lock);
	memcpy(p, buf, len);
	pthread_mutex_unlock(&h->lock);
	return 0;
}

static void msix_raise(void *opaque, unsigned int function, unsigned int vector)
{
	if (vector >= ZW_NUM_VECTORS)
		broken("an interrupt vector that does not exist");
}

static void log_line(void *opaque, enum zw_log_level level, const char *msg)
{
	if (getenv("ZW_TEST_VERBOSE"))
		fprintf(stderr, "device: %s\n", msg);
}

/* -- what a driver does ------------------------------------------------------------------------------ */

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void nap(void)
{
	struct timespec ts = {.tv_nsec = 30000};

	nanosleep(&ts, NULL);
}

static uint32_t r32(struct host *h, uint64_t off)
{
	return (uint32_t)zw_device_mmio_read(h->dev, off, 4);
}

static void write_reg(struct host *h, uint64_t off, uint64_t val, unsigned int size)
{
	h->no_dma = false;
	zw_device_mmio_write(h->dev, off, val, size);
}

static void put(struct host *h, uint64_t at, const void *buf, size_t len)
{
	if (at >= SYS_SIZE || len > SYS_SIZE - at)
		return;
	pthread_mutex_lock(&h->lock);
	memcpy(h->sys + at, buf, len);
	pthread_mutex_unlock(&h->lock);
}

static void reset(struct host *h, bool in_steps, bool scrub)
{
	uint64_t end = now_ns() + PATIENCE_NS;

	if (in_steps) {
		zw_device_reset_begin(h->dev, scrub);
		while (r32(h, ZW_REG_RESET_STATUS)) {
			if (now_ns() > end)
				broken("the device does not come out of reset");
			nap();
		}
		h->no_dma = true;
	} else {
		zw_device_reset(h->dev, scrub);
		h->no_dma = true;
	}
	if (r32(h, ZW_REG_MAGIC) != ZW_MAGIC || r32(h, ZW_REG_BOOT_STATUS) != ZW_BOOT_IDLE)
		broken("registers after reset");
	h->excused = h->bus_off;
	h->seq = 0;
	memset(h->tail, 0, sizeof(h->tail));
	h->user_tail = 0;
}

static void boot(struct host *h, uint32_t image_size)
{
	static const uint8_t zero[2 * ZW_MBOX_SLOTS * sizeof(struct zw_msg)];

	put(h, AT_H2F, zero, sizeof(zero));
	write_reg(h, ZW_REG_MBOX_H2F, SYS_BASE + AT_H2F, 8);
	write_reg(h, ZW_REG_MBOX_F2H, SYS_BASE + AT_F2H, 8);
	write_reg(h, ZW_REG_FW_ADDR, SYS_BASE + AT_IMAGE, 8);
	write_reg(h, ZW_REG_FW_SIZE, image_size, 4);
	write_reg(h, ZW_REG_BOOT_CTRL, ZW_BOOT_START, 4);
}

static bool wait_boot(struct host *h, uint64_t ns)
{
	uint64_t end = now_ns() + ns;
	uint32_t status;

	while ((status = r32(h, ZW_REG_BOOT_STATUS)) < ZW_BOOT_READY) {
		if (now_ns() > end)
			return false;
		nap();
	}
	return status == ZW_BOOT_READY;
}

/* Places a message; with patience, waits for the answer to it. */
static bool send(struct host *h, struct zw_msg *m, uint64_t ns)
{
	uint64_t at, end = now_ns() + ns;
	struct zw_msg reply;

	m->seq = ++h->seq;
	at = AT_H2F + m->seq % ZW_MBOX_SLOTS * sizeof(*m);
	put(h, at, m, sizeof(*m));
	write_reg(h, ZW_REG_MBOX_DOORBELL, 1, 4);
	while (ns) {
		for (unsigned int i = 0; i < ZW_MBOX_SLOTS; i++) {
			pthread_mutex_lock(&h->lock);
			memcpy(&reply, h->sys + AT_F2H + i * sizeof(reply), sizeof(reply));
			pthread_mutex_unlock(&h->lock);
			if (reply.reply_to == m->seq && reply.type == m->type)
				return reply.status == ZW_MSG_OK;
		}
		if (now_ns() > end)
			return false;
		nap();
	}
	return true;
}

static void make_message(struct host *h, uint32_t type, uint32_t n, struct zw_msg *m)
{
	uint64_t base = SYS_BASE + AT_QUEUE + n % N_QUEUES * QUEUE_AT;

	memset(m, 0, sizeof(*m));
	m->type = type;
	switch (type) {
	case ZW_MSG_SET_VM:
	case ZW_MSG_CLEAR_VM: {
		struct zw_msg_set_vm p = {.vm = n,
					  .root_lo = type == ZW_MSG_SET_VM ? AT_TABLES : 0};
		memcpy(m->payload, &p, sizeof(p));
		break;
	}
	case ZW_MSG_CREATE_QUEUE: {
		const struct zw_queue_desc d = {
			.size = sizeof(d),
			.flags = n & 8 ? ZW_QUEUE_F_USER : 0,
			.priority = n / 4 % ZW_PRIO_COUNT,
			.log2_slots = LOG2_SLOT,
			.vector = 1,
			.ring = n & 8 ? VA_DATA : base,
			.ctrl = (n & 8 ? VA_DATA : base) + 0x1000,
			.completions = (n & 8 ? VA_DATA : base) + 0x2000,
			.owner = n & 16 ? n : 0,
		};
		struct zw_msg_create_queue p = {
			.queue = n % N_QUEUES,
			.desc_bytes = sizeof(d),
			.desc_lo = ZW_LO32(base + 0x1800),
			.desc_hi = ZW_HI32(base + 0x1800),
		};
		put(h, base + 0x1800 - SYS_BASE, &d, sizeof(d));
		memcpy(m->payload, &p, sizeof(p));
		break;
	}
	case ZW_MSG_SCRUB_HBM: {
		struct zw_msg_scrub p = {.addr_lo = AT_DATA, .size_lo = n * ZW_PAGE_SIZE};

		memcpy(m->payload, &p, sizeof(p));
		break;
	}
	case ZW_MSG_PERF: {
		struct zw_msg_perf p = {
			.ring_lo = ZW_LO32(SYS_BASE + AT_PERF),
			.ring_hi = ZW_HI32(SYS_BASE + AT_PERF),
			.slots = ZW_PERF_MIN_SLOTS << n % 4,
			.ctrl_lo = ZW_LO32(SYS_BASE + AT_PERF - 64),
			.ctrl_hi = ZW_HI32(SYS_BASE + AT_PERF - 64),
		};
		const struct zw_perf_ctrl ctrl = {.taken = n & 64 ? n : 0};

		put(h, AT_PERF - 64, &ctrl, sizeof(ctrl));
		if (n & 128)
			memset(&p, 0, sizeof(p));
		memcpy(m->payload, &p, sizeof(p));
		break;
	}
	case ZW_MSG_SETTLE:
		break;
	default: /* a queue, a VM, or a cookie */
		memcpy(m->payload, &n, sizeof(n));
	}
}

static void map(struct host *h, uint64_t *next, uint64_t va, uint64_t pte)
{
	uint64_t table = AT_TABLES, *p;

	for (int l = ZW_PT_LEVELS - 1; l > 0; l--) {
		p = (uint64_t *)(void *)(h->hbm + table) + (va >> ZW_PT_SHIFT(l)) % ZW_PT_ENTRIES;
		if (!(*p & ZW_PTE_VALID)) {
			*p = *next | ZW_PTE_VALID;
			*next += ZW_PAGE_SIZE;
		}
		table = *p & ZW_PTE_ADDR_MASK;
	}
	p = (uint64_t *)(void *)(h->hbm + table);
	p[(va >> ZW_PAGE_SHIFT) % ZW_PT_ENTRIES] =
		pte | ZW_PTE_VALID | ZW_PTE_LEAF | ZW_PTE_READ | ZW_PTE_WRITE;
}

static void make_tables(struct host *h)
{
	uint64_t next = AT_TABLES + ZW_PAGE_SIZE;

	memset(h->hbm + AT_TABLES, 0, 16 * ZW_PAGE_SIZE);
	for (uint64_t i = 0; i < DATA_PAGE; i++)
		map(h, &next, VA_DATA + i * ZW_PAGE_SIZE, AT_DATA + i * ZW_PAGE_SIZE);
	for (uint64_t i = 0; i < CMD_COUNT * CMD_BYTES / ZW_PAGE_SIZE; i++)
		map(h, &next, VA_CMD + i * ZW_PAGE_SIZE,
		    (SYS_BASE + AT_CMD + i * ZW_PAGE_SIZE) | ZW_PTE_TARGET(ZW_TARGET_SYSTEM));
}

static void start(struct host *h, uint64_t ns)
{
	struct zw_msg m;

	put(h, AT_IMAGE, h->image, h->image_size);
	boot(h, h->image_size);
	if (!wait_boot(h, ns))
		return;
	make_tables(h);
	make_message(h, ZW_MSG_SET_VM, 0, &m);
	send(h, &m, ns);
	for (uint32_t q = 0; q < 2; q++) {
		make_message(h, ZW_MSG_CREATE_QUEUE, q + 4, &m);
		send(h, &m, ns);
	}
}

/* -- operations -------------------------------------------------------------------------------------- */

/* Packets: the input's bytes, each behind a header that a few edits are enough to make good. */
static uint32_t make_commands(struct host *h, struct input *in, uint64_t at)
{
	static const uint16_t ops[] = {ZW_OP_NOP,     ZW_OP_FILL,      ZW_OP_COPY,
				       ZW_OP_ADD,     ZW_OP_SEM_WAIT,  ZW_OP_TIMESTAMP,
				       ZW_OP_BARRIER, ZW_OP_SEM_SIGNAL};
	uint8_t buf[CMD_BYTES];
	uint32_t used = 0;

	memset(buf, 0, sizeof(buf));
	for (unsigned int n = take(in, 1) % 8; n; n--) {
		unsigned int kind = (unsigned int)take(in, 1);
		uint16_t op = ops[kind % (sizeof(ops) / sizeof(ops[0]))];

		if (op == ZW_OP_SEM_WAIT || op == ZW_OP_SEM_SIGNAL) {
			struct zw_pkt_sem p = {.hdr = {.opcode = op, .size = sizeof(p)},
					       .va = VA_DATA + take(in, 1) * 16,
					       .value = take(in, 1)};

			memcpy(buf + used, &p, sizeof(p));
			used += sizeof(p);
		} else if (kind & 0x80) {
			struct zw_pkt p = {.opcode = op, .size = sizeof(p)};

			memcpy(buf + used, &p, sizeof(p));
			used += sizeof(p);
		} else {
			used += (uint32_t)take_bytes(in, buf + used, 16 + take(in, 1)) + 15;
			used &= ~15u;
		}
		if (used > sizeof(buf) - 512)
			break;
	}
	put(h, at, buf, used);
	return used;
}

/* To a user-mode queue, whose rings and control block are memory that anybody may write. */
static void submit_user(struct host *h, struct input *in, uint32_t q)
{
	uint64_t job = ++h->user_tail, slot = job % (1u << LOG2_SLOT);
	uint64_t cmd = (q * 8 + slot) * CMD_BYTES;
	struct zw_ring_entry e = {.seqno = job,
				  .cmd_va = VA_CMD + cmd,
				  .result_va = VA_DATA + 0x10000 + q * 256,
				  .cookie = job};
	struct zw_ring_ctrl ctrl = {.tail = (uint32_t)job};

	e.cmd_bytes = make_commands(h, in, AT_CMD + cmd);
	e.flags = take(in, 1) & ZW_RING_F_KNOWN;
	ctrl.wake = (uint32_t)(job + take(in, 1) % 4 - 2);
	for (unsigned int edits = take(in, 1) & 3; edits; edits--)
		edit(in, &e, sizeof(e));
	for (unsigned int edits = take(in, 1) & 1; edits; edits--)
		edit(in, &ctrl, sizeof(ctrl));
	memcpy(h->hbm + AT_DATA + slot * sizeof(e), &e, sizeof(e));
	memcpy(h->hbm + AT_DATA + 0x1000, &ctrl, sizeof(ctrl));
	write_reg(h, ZW_REG_DOORBELL(q), 1, 4);
}

static void submit(struct host *h, struct input *in)
{
	uint32_t kind = take(in, 1), q = kind % N_QUEUES;
	uint64_t job = ++h->tail[q], slot = job % (1u << LOG2_SLOT);
	uint64_t at = AT_QUEUE + q * QUEUE_AT;
	uint64_t cmd = (q * 8 + slot) * CMD_BYTES;
	struct zw_ring_entry e = {
		.seqno = job,
		.cmd_va = VA_CMD + cmd,
		.flags = ZW_RING_F_IRQ,
		.result_va = VA_DATA + 0x10000 + q * 256,
		.cookie = job,
	};
	struct zw_ring_ctrl ctrl = {.tail = (uint32_t)job};

	if (kind & 0x80) {
		h->tail[q]--;
		submit_user(h, in, q);
		return;
	}
	e.cmd_bytes = make_commands(h, in, AT_CMD + cmd);
	for (unsigned int edits = take(in, 1) & 3; edits; edits--)
		edit(in, &e, sizeof(e));
	put(h, at + slot * sizeof(e), &e, sizeof(e));
	put(h, at + 0x1000, &ctrl, sizeof(ctrl));
	write_reg(h, ZW_REG_DOORBELL(q), 1, 4);
}

static void boot_edited(struct host *h, struct input *in)
{
	uint32_t size = h->image_size;

	put(h, AT_IMAGE, h->image, size);
	for (unsigned int edits = take(in, 1) & 3; edits; edits--) {
		uint32_t off = take(in, 2) % size;
		uint8_t v = (uint8_t)take(in, 1);

		put(h, AT_IMAGE + off, &v, 1);
		h->excused = true;
	}
	switch (take(in, 1) & 3) {
	case 0:
		size = (uint32_t)take(in, 4);
		break;
	case 1: { /* the hash is right: the control core runs what became of the code */
		struct zw_fw_header *head = (void *)(h->sys + AT_IMAGE);

		memset(head->sha256, 0, sizeof(head->sha256));
		zw_sha256(h->sys + AT_IMAGE, size, head->sha256);
		break;
	}
	default:
		break;
	}
	boot(h, size);
	wait_boot(h, 20000000);
}

static void raw_write(struct host *h, struct input *in, bool to_hbm)
{
	uint64_t at = take(in, 3);
	uint8_t buf[256];
	size_t len = take_bytes(in, buf, 1 + take(in, 1));

	if (to_hbm) {
		/* Page tables, more often than not. */
		at = at & 1 ? AT_TABLES + (at >> 1) % (8 * ZW_PAGE_SIZE) : at % (HBM_SIZE - 256);
		memcpy(h->hbm + at, buf, len);
		return;
	}
	at %= SYS_SIZE - 256;
	/* The image is read once, by the boot ROM, but when is the device's affair. */
	h->excused |= at < h->image_size;
	put(h, at, buf, len);
}

static void wait_turns(struct host *h)
{
	uint32_t beat = r32(h, ZW_REG_FW_HEARTBEAT);
	uint64_t end = now_ns() + 5000000;

	while (r32(h, ZW_REG_FW_HEARTBEAT) - beat < 3 && now_ns() < end)
		nap();
}

static void one(struct host *h, struct input *in)
{
	static const uint32_t regs[] = {
		ZW_REG_RESET,    ZW_REG_BOOT_CTRL, ZW_REG_FW_ADDR,       ZW_REG_FW_SIZE,
		ZW_REG_MBOX_H2F, ZW_REG_MBOX_F2H,  ZW_REG_MBOX_DOORBELL, ZW_REG_MAGIC,
		ZW_REG_PMU,      ZW_REG_FW_SHARED, ZW_REG_PROGRESS_MS,   ZW_REG_FW_ADDR + 4,
	};
	static const uint16_t types[] = {
		ZW_MSG_PING,          ZW_MSG_QUERY_FW,       ZW_MSG_SET_VM,
		ZW_MSG_CLEAR_VM,      ZW_MSG_TLB_INVALIDATE, ZW_MSG_CREATE_QUEUE,
		ZW_MSG_DESTROY_QUEUE, ZW_MSG_SUSPEND_QUEUE,  ZW_MSG_RESUME_QUEUE,
		ZW_MSG_QUERY_QUEUE,   ZW_MSG_SCRUB_HBM,      ZW_MSG_PERF,
		ZW_MSG_SETTLE,
	};
	struct zw_msg m;
	uint32_t n;

	switch (take(in, 1) % N_OPS) {
	case OP_REG_WRITE:
		n = regs[take(in, 1) % (sizeof(regs) / sizeof(regs[0]))];
		if (n == ZW_REG_RESET) {
			write_reg(h, n, take(in, 1) & 3 ? ZW_RESET_KEY : take(in, 4), 4);
			h->seq = 0;
			memset(h->tail, 0, sizeof(h->tail));
			h->user_tail = 0;
		} else {
			write_reg(h, n, take(in, 8), take(in, 1) & 1 ? 8 : 4);
		}
		break;
	case OP_WRITE:
		n = (uint32_t)take(in, 3);
		write_reg(h, n, take(in, 8), 1u << take(in, 1) % 5);
		break;
	case OP_READ:
		n = (uint32_t)take(in, 3);
		zw_device_mmio_read(h->dev, n, 1u << take(in, 1) % 5);
		break;
	case OP_MESSAGE:
		n = (uint32_t)take(in, 1) % (sizeof(types) / sizeof(types[0]));
		make_message(h, types[n], (uint32_t)take(in, 1), &m);
		n = (uint32_t)take(in, 1);
		for (unsigned int edits = n & 3; edits; edits--)
			edit(in, &m, sizeof(m) - 4);
		send(h, &m, n & 4 ? 0 : 10000000);
		break;
	case OP_RAW_MESSAGE:
		memset(&m, 0, sizeof(m));
		take_bytes(in, &m, sizeof(m));
		send(h, &m, 0);
		break;
	case OP_SUBMIT:
		submit(h, in);
		break;
	case OP_SYS_WRITE:
		raw_write(h, in, false);
		break;
	case OP_HBM_WRITE:
		raw_write(h, in, true);
		break;
	case OP_WAIT:
		wait_turns(h);
		break;
	case OP_RESET:
		reset(h, false, take(in, 1) & 1);
		break;
	case OP_BOOT:
		boot_edited(h, in);
		break;
	case OP_BUS:
		h->bus_off = take(in, 1) & 1;
		h->excused = true;
		break;
	case OP_DOORBELL:
		write_reg(h, ZW_REG_DOORBELL(take(in, 1)), take(in, 4), 4);
		break;
	case OP_RESET_IN_STEPS:
		reset(h, true, take(in, 1) & 1);
		break;
	default:
		start(h, 20000000);
		break;
	}
}

static struct host *host_new(void)
{
	const struct zw_host_ops ops = {.dma_read = dma_read,
					.dma_write = dma_write,
					.msix_raise = msix_raise,
					.log = log_line};
	struct zw_device_config cfg = {
		.profile = zw_profile_find("810e"),
		.hbm_size = HBM_SIZE,
		.workers = 0,
	};
	const char *path = getenv("ZW_FIRMWARE");
	struct host *h = calloc(1, sizeof(*h));
	char err[128] = "";
	FILE *f;

	path = path ? path : ZW_FIRMWARE_BUILT;
	f = fopen(path, "rb");
	if (!h || !f) {
		fprintf(stderr, "fuzz_device: cannot open %s\n", path);
		exit(77);
	}
	h->image = malloc(ZW_FW_MAX_SIZE);
	h->image_size = h->image ? (uint32_t)fread(h->image, 1, ZW_FW_MAX_SIZE, f) : 0;
	fclose(f);
	pthread_mutex_init(&h->lock, NULL);
	h->dev = zw_device_new(&cfg, &ops, h, err, sizeof(err));
	if (!h->dev || !h->image_size)
		broken(err);
	h->hbm = zw_device_hbm(h->dev);
	return h;
}

/* Whatever has been done to it: reset, boot, ping. */
static void must_recover(struct host *h)
{
	struct zw_msg m;

	h->bus_off = false;
	reset(h, false, true);
	put(h, AT_IMAGE, h->image, h->image_size);
	boot(h, h->image_size);
	if (!wait_boot(h, PATIENCE_NS))
		broken("it does not boot any more");
	make_message(h, ZW_MSG_PING, 1, &m);
	if (!send(h, &m, PATIENCE_NS))
		broken("it does not answer any more");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	if (!host) {
		host = host_new();
		must_recover(host);
	}
	for (unsigned int i = 0; i < 100 && in.n; i++)
		one(host, &in);
	if (!host->excused && (r32(host, ZW_REG_FW_TRAP_CAUSE) & ZW_FW_TRAPPED))
		broken("the firmware trapped");
	must_recover(host);
	return 0;
}

/* SPDX-License-Identifier: MIT */
#include "fw_env.h"

#define H2F   SYS_REQUEST
#define F2H   (SYS_REQUEST + 0x1000)
#define RINGS (SYS_REQUEST + 0x2000) /* 3 pages a queue */

static uint8_t *image;
static uint32_t image_size;

bool fw_load(int argc, char **argv)
{
	FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;

	if (!file) {
		fprintf(stderr, "usage: %s ZHENWU_FW.BIN\n", argv[0]);
		return false;
	}
	image = malloc(ZW_FW_MAX_SIZE);
	image_size = (uint32_t)fread(image, 1, ZW_FW_MAX_SIZE, file);
	fclose(file);
	return true;
}

void fw_unload(void)
{
	free(image);
}

void fw_start(struct fw *f)
{
	env_start(f->e, image, image_size);
}

void fw_start_again(struct fw *f)
{
	env_start_again(f->e, image_size);
}

void fw_boot(struct fw *f)
{
	struct zw_msg_set_vm vm = {.vm = 1, .root_lo = FW_ROOT};
	uint64_t *l3 = (void *)(f->e->hbm + FW_ROOT);

	memset(f->e->sys, 0, SYS_SIZE);
	f->requests = f->replies = 0;
	w64(f->e, ZW_REG_MBOX_H2F, H2F);
	w64(f->e, ZW_REG_MBOX_F2H, F2H);
	fw_start(f);
	env_wait_reg(f->e, ZW_REG_BOOT_STATUS, ZW_BOOT_READY);
	l3[0] = (FW_ROOT + 4096) | ZW_PTE_VALID;
	l3[512] = (FW_ROOT + 8192) | ZW_PTE_VALID;
	for (uint64_t i = 0; i < 16; i++)
		l3[1024 + i] =
			(i * 2 * MIB) | ZW_PTE_VALID | ZW_PTE_LEAF | ZW_PTE_READ | ZW_PTE_WRITE;
	l3[1024 + 16] = (FW_ROOT + 12288) | ZW_PTE_VALID;
	l3[1536] = SYS_DATA | ZW_PTE_VALID | ZW_PTE_LEAF | ZW_PTE_READ | ZW_PTE_WRITE |
		   (uint64_t)ZW_TARGET_SYSTEM << ZW_PTE_TARGET_SHIFT;
	assert_int_equal(fw_request(f, ZW_MSG_SET_VM, &vm, sizeof(vm), NULL), ZW_MSG_OK);
}

int fw_setup(void **state)
{
	struct fw *f = calloc(1, sizeof(*f));

	f->e = env_new(1);
	fw_boot(f);
	*state = f;
	return 0;
}

int fw_teardown(void **state)
{
	struct fw *f = *state;

	env_free(f->e);
	free(f);
	return 0;
}

static void *sys(struct fw *f, uint64_t addr)
{
	return f->e->sys + (addr - SYS_BASE);
}

void fw_get(struct fw *f, void *dst, uint64_t addr, size_t len)
{
	pthread_mutex_lock(&f->e->lock);
	memcpy(dst, sys(f, addr), len);
	pthread_mutex_unlock(&f->e->lock);
}

void fw_put(struct fw *f, uint64_t addr, const void *src, size_t len)
{
	pthread_mutex_lock(&f->e->lock);
	memcpy(sys(f, addr), src, len);
	pthread_mutex_unlock(&f->e->lock);
}

/* -- mailbox -- */

uint32_t fw_send(struct fw *f, struct zw_msg *m)
{
	m->seq = ++f->requests;
	fw_put(f, H2F + m->seq % ZW_MBOX_SLOTS * sizeof(*m), m, sizeof(*m));
	w32(f->e, ZW_REG_MBOX_DOORBELL, 1);
	return m->seq;
}

bool fw_replied(struct fw *f, struct zw_msg *reply)
{
	uint32_t next = f->replies + 1;

	fw_get(f, reply, F2H + next % ZW_MBOX_SLOTS * sizeof(*reply), sizeof(*reply));
	return reply->seq == next;
}

uint32_t fw_wait_reply(struct fw *f, uint32_t seq, struct zw_msg *reply)
{
	WAIT_FOR(fw_replied(f, reply));
	f->replies++;
	assert_int_equal(reply->reply_to, seq);
	return reply->status;
}

uint32_t fw_request(struct fw *f, uint32_t type, const void *payload, size_t len,
		    struct zw_msg *reply)
{
	struct zw_msg m = {.type = type}, r;

	if (len)
		memcpy(m.payload, payload, len);
	return fw_wait_reply(f, fw_send(f, &m), reply ? reply : &r);
}

/* -- queues -- */

struct ring fw_ring(struct fw *f, uint32_t id)
{
	uint64_t base = RINGS + (id - 1) * 0x3000;
	static const uint8_t zero[0x3000];

	fw_put(f, base, zero, sizeof(zero));
	return (struct ring){.fw = f,
			     .id = id,
			     .ring = base,
			     .ctrl = base + 0x1000,
			     .compl_ring = base + 0x2000};
}

struct zw_queue_desc fw_desc(struct ring *q, uint32_t prio)
{
	return (struct zw_queue_desc){.size = sizeof(struct zw_queue_desc),
				      .vm = 1,
				      .priority = prio,
				      .log2_slots = 3,
				      .vector = 1 + (q->id - 1) % 7,
				      .ring = q->ring,
				      .ctrl = q->ctrl,
				      .completions = q->compl_ring};
}

uint32_t fw_create_with(struct ring *q, const void *desc, uint32_t bytes)
{
	struct zw_msg_create_queue m = {.queue = q->id,
					.desc_bytes = bytes,
					.desc_lo = ZW_LO32(FW_DESC),
					.desc_hi = ZW_HI32(FW_DESC)};

	fw_put(q->fw, FW_DESC, desc, bytes);
	return fw_request(q->fw, ZW_MSG_CREATE_QUEUE, &m, sizeof(m), NULL);
}

struct ring fw_create(struct fw *f, uint32_t id, uint32_t prio)
{
	struct ring q = fw_ring(f, id);
	struct zw_queue_desc d = fw_desc(&q, prio);

	assert_int_equal(fw_create_with(&q, &d, sizeof(d)), ZW_MSG_OK);
	return q;
}

uint32_t fw_on_queue(struct ring *q, uint32_t type, struct zw_msg *reply)
{
	struct zw_msg_queue m = {.queue = q->id};

	return fw_request(q->fw, type, &m, sizeof(m), reply);
}

uint32_t fw_queue_state(struct ring *q)
{
	struct zw_msg_queue_info info;
	struct zw_msg r;

	assert_int_equal(fw_on_queue(q, ZW_MSG_QUERY_QUEUE, &r), ZW_MSG_OK);
	memcpy(&info, r.payload, sizeof(info));
	return info.state;
}

uint64_t fw_cmd_of(struct ring *q)
{
	return FW_CMDS + q->id * MIB;
}

uint64_t fw_result_va(struct ring *q, uint64_t seq)
{
	return FW_RESULTS + q->id * 4096 + seq % SLOTS * 256;
}

struct zw_completion fw_slot(struct ring *q, uint64_t seq)
{
	struct zw_completion c;

	fw_get(q->fw, &c, q->compl_ring + seq % SLOTS * sizeof(c), sizeof(c));
	return c;
}

bool fw_done(struct ring *q, uint64_t seq, struct zw_completion *c)
{
	*c = fw_slot(q, seq);
	return c->seqno == seq;
}

void fw_ring_bell(struct ring *q, uint32_t tail)
{
	fw_put(q->fw, q->ctrl, &tail, sizeof(tail));
	w32(q->fw->e, ZW_REG_DOORBELL(q->id), 0);
}

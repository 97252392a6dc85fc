// SPDX-License-Identifier: MIT
#include "copier.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS        4
#define SLOT_DATA    (4ull << 20)
#define SLOT_PACKETS 512
#define SLOT_CMD     (64ull << 10) /* room for the packets of a slot */
#define SLOT_RESULT  256           /* struct zw_job_result, 64-byte aligned */
#define SLOT_BYTES   (SLOT_DATA + SLOT_CMD + SLOT_RESULT)
/* Copies of a few MiB; only a dead device takes this long. */
#define TIMEOUT_MS   (10 * 60 * 1000)

_Static_assert(sizeof(struct zw_job_result) <= SLOT_RESULT, "room for the result");

/* Slots in turn: data, command buffer, result. */
struct slot {
	char *data;
	uint64_t va;
	uint64_t point; /* reached when its copies are done; 0: it is free */
};

struct llm_copier {
	struct zw_queue *queue;
	struct zw_fence *fence;
	struct zw_buffer stage; /* system memory */
	struct slot slot[SLOTS];
	unsigned int cur;  /* slot being filled */
	uint64_t fill;     /* bytes of data in it */
	struct zw_cmd cmd; /* its packets */
	uint64_t point;    /* last one submitted */
	uint64_t sim_ps;
};

int llm_fail_queue(struct zw_error *err, struct zw_queue *queue, int code, const char *what)
{
	struct zw_queue_error info = {.size = sizeof(info)};
	char text[160];

	if (queue && !zw_queue_get_error(queue, &info) && info.state) {
		zw_queue_error_text(&info, text, sizeof(text));
		return zw_fail(err, code, "%s: %s", what, text);
	}
	return zw_fail(err, code, "%s: %s", what, strerror(-code));
}

static void start_slot(struct llm_copier *c)
{
	c->fill = 0;
	zw_cmd_init_fixed(&c->cmd, c->slot[c->cur].data + SLOT_DATA, SLOT_CMD);
}

int llm_copier_open(struct zw_dev *dev, struct zw_vm *vm, struct llm_copier **out,
		    struct zw_error *err)
{
	struct zw_queue_options opt = {
		.size = sizeof(opt), .priority = ZW_PRIO_NORMAL, .ring_slots = 8};
	struct llm_copier *c = calloc(1, sizeof(*c));
	int ret;

	if (!c)
		return zw_fail(err, -ENOMEM, "out of memory");
	ret = zw_queue_create(vm, &opt, &c->queue);
	if (ret) {
		zw_fail(err, ret, "creating a queue: %s", strerror(-ret));
		goto fail;
	}
	ret = zw_fence_create(dev, &c->fence);
	if (ret) {
		zw_fail(err, ret, "creating a fence: %s", strerror(-ret));
		goto fail;
	}
	ret = zw_buffer_create(vm, SLOTS * SLOT_BYTES, ZW_BO_SYSTEM, &c->stage);
	if (ret) {
		zw_fail(err, ret, "allocating %llu MiB of staging memory: %s",
			SLOTS * SLOT_BYTES >> 20, strerror(-ret));
		goto fail;
	}
	for (unsigned int i = 0; i < SLOTS; i++) {
		c->slot[i].data = (char *)c->stage.ptr + i * SLOT_BYTES;
		c->slot[i].va = c->stage.va + i * SLOT_BYTES;
	}
	start_slot(c);
	*out = c;
	return 0;
fail:
	llm_copier_close(c);
	return ret;
}

void llm_copier_close(struct llm_copier *c)
{
	if (!c)
		return;
	/* The queue first: it cancels copies that may still read the staging memory. */
	zw_queue_destroy(c->queue);
	zw_fence_destroy(c->fence);
	zw_buffer_destroy(&c->stage);
	free(c);
}

/* Waits until the slot's copies are done and adds what they cost. */
static int wait_slot(struct llm_copier *c, struct slot *s, struct zw_error *err)
{
	const struct zw_job_result *r = (const void *)(s->data + SLOT_DATA + SLOT_CMD);
	int ret;

	if (!s->point)
		return 0;
	ret = zw_fence_wait(c->fence, s->point, zw_deadline_ms(TIMEOUT_MS));
	if (!ret)
		ret = zw_queue_status(c->queue);
	if (ret)
		return llm_fail_queue(err, c->queue, ret, "copying to device memory");
	c->sim_ps += r->end_ps - r->start_ps;
	s->point = 0;
	return 0;
}

static int submit_slot(struct llm_copier *c, struct zw_error *err)
{
	struct zw_sync sync = {.fence = c->fence, .point = c->point + 1, .flags = ZW_SYNC_SIGNAL};
	struct slot *s = &c->slot[c->cur];
	struct zw_job job = {
		.size = sizeof(job),
		.cmd_va = s->va + SLOT_DATA,
		.cmd_bytes = (uint32_t)c->cmd.used,
		.num_syncs = 1,
		.result_va = s->va + SLOT_DATA + SLOT_CMD,
		.syncs = &sync,
	};
	int ret = zw_cmd_finish(&c->cmd);

	if (ret)
		return zw_fail(err, ret, "copy to device memory: %s", c->cmd.what.msg);
	if (!c->cmd.used)
		return 0;
	ret = zw_queue_submit(c->queue, &job, 1);
	if (ret)
		return llm_fail_queue(err, c->queue, ret, "copying to device memory");
	s->point = ++c->point;
	c->cur = (c->cur + 1) % SLOTS;
	ret = wait_slot(c, &c->slot[c->cur], err);
	start_slot(c);
	return ret;
}

int llm_copier_reserve(struct llm_copier *c, uint64_t dst, uint64_t *bytes, void **ptr,
		       struct zw_error *err)
{
	struct slot *s;
	int ret;

	/* Data stays 64-byte aligned; a sliver at the end is not worth a packet. */
	if (SLOT_DATA - c->fill < 4096 || c->cmd.packets == SLOT_PACKETS) {
		ret = submit_slot(c, err);
		if (ret)
			return ret;
	}
	s = &c->slot[c->cur];
	if (*bytes > SLOT_DATA - c->fill)
		*bytes = SLOT_DATA - c->fill;
	*ptr = s->data + c->fill;
	ret = zw_cmd_copy(&c->cmd, dst, s->va + c->fill, *bytes, 0);
	if (ret)
		return zw_fail(err, ret, "copy to device memory: %s", c->cmd.what.msg);
	c->fill += (*bytes + 63) / 64 * 64;
	return 0;
}

int llm_copier_write(struct llm_copier *c, uint64_t dst, const void *src, uint64_t bytes,
		     struct zw_error *err)
{
	const char *p = src;

	while (bytes) {
		uint64_t len = bytes;
		void *ptr;
		int ret = llm_copier_reserve(c, dst, &len, &ptr, err);

		if (ret)
			return ret;
		memcpy(ptr, p, len);
		p += len;
		dst += len;
		bytes -= len;
	}
	return 0;
}

int llm_copier_finish(struct llm_copier *c, struct zw_error *err)
{
	int ret = submit_slot(c, err);

	for (unsigned int i = 0; i < SLOTS && !ret; i++)
		ret = wait_slot(c, &c->slot[i], err);
	return ret;
}

uint64_t llm_copier_sim_ps(const struct llm_copier *c)
{
	return c->sim_ps;
}

// SPDX-License-Identifier: MIT
/*
 * Copiers. Every piece of a transfer goes through a slot: a staging buffer and room for its command
 * buffer. Slots are used in turn, so the oldest is the next to come free, and a slot's point says
 * when. `lock` covers all of it; a call may wait for the device with the lock held, as the order of
 * transfers is the order of calls.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "transport.h"
#include "zhenwu/copier.h"

#define SLOTS_DEFAULT 4u
#define SLOTS_MAX     64u
#define BYTES_DEFAULT (4ull << 20)
#define BYTES_MAX     (1ull << 30)
#define PAGE          4096ull
#define CMD_BYTES     PAGE /* of a slot's command buffer, and behind it the result of its job */
#define RESULT_OFF    (PAGE / 2)

struct slot {
	uint64_t point; /* of the fence, at which it is free; 0: free */
	void *dst;      /* a read that is not delivered yet, else NULL */
	uint64_t bytes; /* of it */
};

struct zw_copier {
	struct zw_queue *queue;
	struct zw_fence *fence;
	struct zw_buffer mem; /* staging buffers, then command buffers */
	uint32_t num_slots;
	uint64_t slot_bytes;
	int64_t patience; /* ns; 0: for ever */
	pthread_mutex_t lock;
	uint64_t last; /* point of the latest transfer */
	uint64_t sim_ps;
	uint32_t next; /* slot to use next */
	bool lent;     /* lent_slot is with the caller */
	uint32_t lent_slot;
	struct slot slots[SLOTS_MAX];
};

static uint8_t *staging(struct zw_copier *c, uint32_t slot)
{
	return (uint8_t *)c->mem.ptr + slot * c->slot_bytes;
}

static uint64_t staging_va(const struct zw_copier *c, uint32_t slot)
{
	return c->mem.va + slot * c->slot_bytes;
}

static uint64_t cmd_offset(const struct zw_copier *c, uint32_t slot)
{
	return c->num_slots * c->slot_bytes + slot * CMD_BYTES;
}

ZW_API int zw_copier_create(struct zw_vm *vm, const struct zw_copier_options *options,
			    struct zw_copier **out)
{
	struct zw_copier_options opt = {.size = sizeof(opt), .priority = ZW_PRIO_NORMAL};
	struct zw_queue_options qopt = {.size = sizeof(qopt)};
	struct zw_copier *c;
	int ret;

	*out = NULL;
	if (options) {
		ret = sized_in(&opt, sizeof(opt), SIZED_V0(struct zw_copier_options, deadline_ns),
			       options);
		if (ret)
			return ret;
	}
	if (!opt.slots)
		opt.slots = SLOTS_DEFAULT;
	if (!opt.slot_bytes)
		opt.slot_bytes = BYTES_DEFAULT;
	if (opt.flags || opt.slots < 2 || opt.slots > SLOTS_MAX || opt.slot_bytes > BYTES_MAX ||
	    opt.deadline_ns < 0)
		return -EINVAL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->num_slots = opt.slots;
	c->slot_bytes = (opt.slot_bytes + PAGE - 1) & ~(PAGE - 1);
	c->patience = opt.deadline_ns;
	qopt.priority = opt.priority;
	/* A power of two that holds a job of every slot. */
	for (qopt.ring_slots = 8; qopt.ring_slots < c->num_slots; qopt.ring_slots *= 2)
		;
	ret = zw_buffer_create(vm, c->num_slots * (c->slot_bytes + CMD_BYTES), ZW_BO_SYSTEM,
			       &c->mem);
	if (!ret)
		ret = zw_fence_create(vm->dev, &c->fence);
	if (!ret)
		ret = zw_queue_create(vm, &qopt, &c->queue);
	if (ret) {
		zw_fence_destroy(c->fence);
		zw_buffer_destroy(&c->mem);
		free(c);
		return ret;
	}
	pthread_mutex_init(&c->lock, NULL);
	*out = c;
	return 0;
}

ZW_API void zw_copier_destroy(struct zw_copier *c)
{
	if (!c)
		return;
	/* Whatever the result: the staging buffers are not freed under a transfer. */
	zw_queue_drain(c->queue, ZW_FOREVER);
	zw_queue_destroy(c->queue);
	zw_fence_destroy(c->fence);
	zw_buffer_destroy(&c->mem);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

ZW_API struct zw_fence *zw_copier_fence(struct zw_copier *c)
{
	return c->fence;
}

/* Waits for a slot and delivers what it holds. A failed job raises the fence too, so ask. */
static int retire(struct zw_copier *c, uint32_t i, int64_t deadline_ns)
{
	const struct zw_job_result *result;
	struct slot *s = &c->slots[i];
	int ret;

	if (!s->point)
		return 0;
	ret = zw_fence_wait(c->fence, s->point, deadline_ns);
	if (!ret)
		ret = zw_queue_status(c->queue);
	if (ret)
		return ret;
	if (s->dst)
		memcpy(s->dst, staging(c, i), s->bytes);
	result = (const void *)((const uint8_t *)c->mem.ptr + cmd_offset(c, i) + RESULT_OFF);
	c->sim_ps += result->end_ps - result->start_ps;
	*s = (struct slot){0};
	return 0;
}

static int take_slot(struct zw_copier *c, uint32_t *i)
{
	int ret;

	if (c->lent && c->next == c->lent_slot)
		c->next = (c->next + 1) % c->num_slots;
	ret = retire(c, c->next, c->patience ? zw_deadline(c->patience) : ZW_FOREVER);
	if (ret)
		return ret;
	*i = c->next;
	c->next = (c->next + 1) % c->num_slots;
	return 0;
}

/* Submits the copy of a slot that is ready to go. */
static int submit(struct zw_copier *c, uint32_t i, uint64_t dst_va, uint64_t src_va, uint64_t bytes)
{
	struct zw_sync done = {.fence = c->fence, .point = c->last + 1, .flags = ZW_SYNC_SIGNAL};
	struct zw_job job = {.size = sizeof(job), .num_syncs = 1, .syncs = &done};
	struct zw_cmd cmd;
	int ret;

	zw_cmd_init_fixed(&cmd, (uint8_t *)c->mem.ptr + cmd_offset(c, i), RESULT_OFF);
	zw_cmd_copy(&cmd, dst_va, src_va, bytes, 0);
	ret = zw_cmd_finish(&cmd);
	if (ret)
		return ret;
	job.cmd_va = c->mem.va + cmd_offset(c, i);
	job.cmd_bytes = (uint32_t)cmd.used;
	job.result_va = job.cmd_va + RESULT_OFF;
	ret = zw_queue_submit(c->queue, &job, 1);
	if (ret) {
		int why = zw_queue_status(c->queue);

		return why ? why : ret;
	}
	c->last = done.point;
	c->slots[i].point = done.point;
	return 0;
}

/* One transfer, in as many pieces as there need be. */
static int transfer(struct zw_copier *c, uint64_t va, const void *src, void *dst, uint64_t bytes,
		    uint64_t *point)
{
	uint64_t before;
	int ret = 0;

	pthread_mutex_lock(&c->lock);
	before = c->last;
	for (uint64_t off = 0; off < bytes && !ret;) {
		uint64_t n = bytes - off < c->slot_bytes ? bytes - off : c->slot_bytes;
		uint32_t i;

		ret = take_slot(c, &i);
		if (ret)
			break;
		if (src) {
			memcpy(staging(c, i), (const uint8_t *)src + off, n);
			ret = submit(c, i, va + off, staging_va(c, i), n);
		} else {
			ret = submit(c, i, staging_va(c, i), va + off, n);
			if (!ret) {
				c->slots[i].dst = (uint8_t *)dst + off;
				c->slots[i].bytes = n;
			}
		}
		off += n;
	}
	if (!ret && point)
		*point = c->last;
	/* A read that failed half way: the caller has its memory back. */
	for (uint32_t i = 0; ret && i < c->num_slots; i++)
		if (c->slots[i].point > before)
			c->slots[i].dst = NULL;
	pthread_mutex_unlock(&c->lock);
	return ret;
}

ZW_API int zw_copier_write(struct zw_copier *c, uint64_t dst_va, const void *src, uint64_t bytes,
			   uint64_t *point)
{
	if (bytes && !src)
		return -EINVAL;
	return transfer(c, dst_va, src, NULL, bytes, point);
}

ZW_API int zw_copier_read(struct zw_copier *c, void *dst, uint64_t src_va, uint64_t bytes,
			  uint64_t *point)
{
	if (bytes && !dst)
		return -EINVAL;
	return transfer(c, src_va, NULL, dst, bytes, point);
}

ZW_API int zw_copier_copy(struct zw_copier *c, uint64_t dst_va, uint64_t src_va, uint64_t bytes,
			  uint64_t *point)
{
	int ret = 0;

	pthread_mutex_lock(&c->lock);
	/* Pieces as everywhere: a slot is needed for its command buffer. */
	for (uint64_t off = 0, n; off < bytes && !ret; off += n) {
		uint32_t i;

		n = bytes - off < c->slot_bytes ? bytes - off : c->slot_bytes;
		ret = take_slot(c, &i);
		if (!ret)
			ret = submit(c, i, dst_va + off, src_va + off, n);
	}
	if (!ret && point)
		*point = c->last;
	pthread_mutex_unlock(&c->lock);
	return ret;
}

ZW_API int zw_copier_lend(struct zw_copier *c, void **ptr, uint64_t *bytes)
{
	int ret = -EBUSY;

	*ptr = NULL;
	*bytes = 0;
	pthread_mutex_lock(&c->lock);
	if (!c->lent)
		ret = take_slot(c, &c->lent_slot);
	if (!ret) {
		c->lent = true;
		*ptr = staging(c, c->lent_slot);
		*bytes = c->slot_bytes;
	}
	pthread_mutex_unlock(&c->lock);
	return ret;
}

ZW_API int zw_copier_send(struct zw_copier *c, uint64_t dst_va, uint64_t bytes, uint64_t *point)
{
	int ret = -EINVAL;

	pthread_mutex_lock(&c->lock);
	if (c->lent && bytes <= c->slot_bytes) {
		c->lent = false;
		ret = bytes ? submit(c, c->lent_slot, dst_va, staging_va(c, c->lent_slot), bytes)
			    : 0;
		if (!ret && point)
			*point = c->last;
	}
	pthread_mutex_unlock(&c->lock);
	return ret;
}

ZW_API int zw_copier_wait(struct zw_copier *c, uint64_t point, int64_t deadline_ns)
{
	int ret = 0;

	pthread_mutex_lock(&c->lock);
	for (uint32_t i = 0; i < c->num_slots && !ret; i++)
		if (c->slots[i].point <= point)
			ret = retire(c, i, deadline_ns);
	pthread_mutex_unlock(&c->lock);
	return ret;
}

ZW_API int zw_copier_flush(struct zw_copier *c, int64_t deadline_ns)
{
	return zw_copier_wait(c, UINT64_MAX, deadline_ns);
}

ZW_API uint64_t zw_copier_sim_ps(struct zw_copier *c)
{
	uint64_t ps;

	pthread_mutex_lock(&c->lock);
	ps = c->sim_ps;
	pthread_mutex_unlock(&c->lock);
	return ps;
}

// SPDX-License-Identifier: MIT
/* Streaming host memory into device memory: two staging slots, one filled while the other copies.
 */
#include "model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLOT_DATA    (8ull << 20)
#define SLOT_PACKETS 512
#define SLOT_CMD     (SLOT_PACKETS * sizeof(struct zw_pkt_copy))
#define SLOT_RESULT  256 /* struct zw_job_result, 64-byte aligned */
#define SLOT_BYTES   (SLOT_DATA + SLOT_CMD + SLOT_RESULT)
/* Copies of 8 MiB; only a dead device takes this long. */
#define TIMEOUT_MS   (10 * 60 * 1000)

_Static_assert(sizeof(struct zw_job_result) <= SLOT_RESULT, "room for the result");
_Static_assert(SLOT_CMD % 256 == 0, "the result is aligned");

int zw_fail_queue(struct zw_error *err, struct zw_queue *queue, int code, const char *what)
{
	struct zw_queue_error info = {.size = sizeof(info)};
	char text[160];

	if (!zw_queue_get_error(queue, &info) && info.state) {
		zw_queue_error_text(&info, text, sizeof(text));
		return zw_fail(err, code, "%s: %s", what, text);
	}
	return zw_fail(err, code, "%s: %s", what, strerror(-code));
}

/* Slots in turn: data, command buffer, result. */
static uint64_t slot_off(const struct zw_upload *u)
{
	return u->slot * SLOT_BYTES;
}

static void start_slot(struct zw_upload *u)
{
	char *base = (char *)u->stage.ptr + slot_off(u);

	u->fill = 0;
	zw_cmd_init_fixed(&u->cmd, base + SLOT_DATA, SLOT_CMD);
}

int zw_upload_open(struct zw_upload *u, struct zw_dev *dev, struct zw_vm *vm, struct zw_error *err)
{
	struct zw_queue_options opt = {
		.size = sizeof(opt), .priority = ZW_PRIO_NORMAL, .ring_slots = 8};
	int ret;

	memset(u, 0, sizeof(*u));
	u->vm = vm;
	ret = zw_queue_create(vm, &opt, &u->queue);
	if (ret)
		return zw_fail(err, ret, "creating a queue: %s", strerror(-ret));
	ret = zw_fence_create(dev, &u->fence);
	if (ret) {
		zw_upload_close(u);
		return zw_fail(err, ret, "creating a fence: %s", strerror(-ret));
	}
	ret = zw_buffer_create(vm, 2 * SLOT_BYTES, ZW_BO_SYSTEM, &u->stage);
	if (ret) {
		zw_upload_close(u);
		return zw_fail(err, ret, "allocating %llu MiB of staging memory: %s",
			       2 * SLOT_BYTES >> 20, strerror(-ret));
	}
	start_slot(u);
	return 0;
}

void zw_upload_close(struct zw_upload *u)
{
	/* The queue first: it cancels copies that may still read the staging memory. */
	zw_queue_destroy(u->queue);
	zw_fence_destroy(u->fence);
	zw_buffer_destroy(&u->stage);
	memset(u, 0, sizeof(*u));
}

static const struct zw_job_result *slot_result(const struct zw_upload *u, unsigned int slot)
{
	return (const void *)((const char *)u->stage.ptr + slot * SLOT_BYTES + SLOT_DATA +
			      SLOT_CMD);
}

/* Waits until the slot's copies are done and adds what they cost. */
static int wait_slot(struct zw_upload *u, unsigned int slot, struct zw_error *err)
{
	int ret;

	if (!u->slot_point[slot])
		return 0;
	ret = zw_fence_wait(u->fence, u->slot_point[slot], zw_deadline_ms(TIMEOUT_MS));
	if (!ret)
		ret = zw_queue_status(u->queue);
	if (ret)
		return zw_fail_queue(err, u->queue, ret, "copying to device memory");
	u->sim_ps += slot_result(u, slot)->end_ps - slot_result(u, slot)->start_ps;
	u->slot_point[slot] = 0;
	return 0;
}

static int submit_slot(struct zw_upload *u, struct zw_error *err)
{
	struct zw_sync sync = {.fence = u->fence, .point = u->point + 1, .flags = ZW_SYNC_SIGNAL};
	struct zw_job job = {
		.size = sizeof(job),
		.cmd_va = u->stage.va + slot_off(u) + SLOT_DATA,
		.cmd_bytes = (uint32_t)u->cmd.used,
		.num_syncs = 1,
		.result_va = u->stage.va + slot_off(u) + SLOT_DATA + SLOT_CMD,
		.syncs = &sync,
	};
	int ret;

	ret = zw_cmd_finish(&u->cmd);
	if (ret)
		return zw_fail(err, ret, "copy to device memory: %s", u->cmd.what.msg);
	if (!u->cmd.used)
		return 0;
	ret = zw_queue_submit(u->queue, &job, 1);
	if (ret)
		return zw_fail_queue(err, u->queue, ret, "copying to device memory");
	u->slot_point[u->slot] = ++u->point;
	u->slot ^= 1;
	ret = wait_slot(u, u->slot, err);
	start_slot(u);
	return ret;
}

int zw_upload_reserve(struct zw_upload *u, uint64_t dst, uint64_t *bytes, void **ptr,
		      struct zw_error *err)
{
	int ret;

	/* Data stays 64-byte aligned; a sliver at the end is not worth a packet. */
	if (SLOT_DATA - u->fill < 4096 || u->cmd.packets == SLOT_PACKETS) {
		ret = submit_slot(u, err);
		if (ret)
			return ret;
	}
	if (*bytes > SLOT_DATA - u->fill)
		*bytes = SLOT_DATA - u->fill;
	*ptr = (char *)u->stage.ptr + slot_off(u) + u->fill;
	ret = zw_cmd_copy(&u->cmd, dst, u->stage.va + slot_off(u) + u->fill, *bytes, 0);
	if (ret)
		return zw_fail(err, ret, "copy to device memory: %s", u->cmd.what.msg);
	u->fill = zw_align(u->fill + *bytes, 64);
	return 0;
}

int zw_upload_finish(struct zw_upload *u, struct zw_error *err)
{
	int ret = submit_slot(u, err);

	if (!ret)
		ret = wait_slot(u, u->slot ^ 1, err);
	return ret;
}

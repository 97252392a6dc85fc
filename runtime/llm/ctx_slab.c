// SPDX-License-Identifier: MIT
/*
 * Slabs: state of a fixed size per sequence that is not a KV cache. It changes with every token and
 * cannot be shared or rewound, so forks, snapshots and fresh starts move bytes. They do so at once, on
 * the queue of the context, behind the steps in flight.
 */
#include "ctx.h"

#include <errno.h>
#include <string.h>

uint64_t llm_slab_va(const struct zw_ctx *c, uint32_t seq)
{
	return c->slab.va + seq * c->slab_stride;
}

#define RESULT_OFF 2048 /* in slab_cmd: the command buffer, then its result */

static int submit(struct zw_ctx *c)
{
	struct zw_sync sync = {.fence = c->fence, .point = c->point + 1, .flags = ZW_SYNC_SIGNAL};
	struct zw_job job = {
		.size = sizeof(job),
		.cmd_va = c->slab_cmd.va,
		.cmd_bytes = (uint32_t)c->copies.used,
		.result_va = c->slab_cmd.va + RESULT_OFF,
		.syncs = &sync,
		.num_syncs = 1,
	};
	int ret;

	if (c->stopped)
		return -ECANCELED;
	ret = llm_ctx_queue_submit(c, &job, 1);
	if (!ret)
		c->point++;
	return ret;
}

/* Runs what is in c->copies. */
static int run_now(struct zw_ctx *c)
{
	struct zw_job_result *r = (void *)((char *)c->slab_cmd.ptr + RESULT_OFF);
	uint64_t point;
	int ret = zw_cmd_finish(&c->copies);

	if (ret)
		return ret;
	memcpy(c->slab_cmd.ptr, c->copies.base, c->copies.used);
	memset(r, 0, sizeof(*r));
	pthread_mutex_lock(&c->lock);
	ret = submit(c);
	point = c->point;
	pthread_mutex_unlock(&c->lock);
	if (!ret)
		ret = zw_fence_wait(c->fence, point, ZW_FOREVER);
	if (!ret && (!r->seqno || r->status != ZW_JOB_OK))
		ret = -EIO;
	pthread_mutex_lock(&c->lock);
	/* With steps in flight it is theirs to say what became of the queue. */
	if (ret && !llm_ctx_busy(c)) {
		zw_queue_destroy(c->queue);
		c->queue = NULL;
	}
	pthread_mutex_unlock(&c->lock);
	return ret;
}

int llm_slab_zero(struct zw_ctx *c, uint32_t seq)
{
	if (!c->needs.slab_bytes)
		return 0;
	zw_cmd_reset(&c->copies);
	zw_cmd_fill(&c->copies, llm_slab_va(c, seq), c->slab_stride, 0, 0);
	return run_now(c);
}

int llm_slab_copy(struct zw_ctx *c, uint64_t dst_va, uint64_t src_va)
{
	if (!c->needs.slab_bytes)
		return 0;
	zw_cmd_reset(&c->copies);
	zw_cmd_copy(&c->copies, dst_va, src_va, c->needs.slab_bytes, 0);
	return run_now(c);
}

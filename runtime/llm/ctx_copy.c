// SPDX-License-Identifier: MIT
/* Copies that are waited for: on the queue of the context, behind the steps in flight. */
#include "ctx.h"

#include <errno.h>
#include <string.h>

#define CMD_BYTES (64u << 10) /* of c->copy_cmd: the command buffer, then its result */

int llm_copy_alloc(struct zw_ctx *c)
{
	return zw_buffer_create(c->m->vm, CMD_BYTES + sizeof(struct zw_job_result), ZW_BO_SYSTEM,
				&c->copy_cmd);
}

static int submit(struct zw_ctx *c)
{
	struct zw_sync sync = {.fence = c->fence, .point = c->point + 1, .flags = ZW_SYNC_SIGNAL};
	struct zw_job job = {
		.size = sizeof(job),
		.cmd_va = c->copy_cmd.va,
		.cmd_bytes = (uint32_t)c->copies.used,
		.result_va = c->copy_cmd.va + CMD_BYTES,
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

int llm_copy_run(struct zw_ctx *c)
{
	struct zw_job_result *r = (void *)((char *)c->copy_cmd.ptr + CMD_BYTES);
	uint64_t point;
	int ret = zw_cmd_finish(&c->copies);

	if (ret || !c->copies.used)
		return ret;
	memcpy(c->copy_cmd.ptr, c->copies.base, c->copies.used);
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

/* Blocks with neighbouring numbers are one piece of memory. */
int llm_copy_blocks(struct zw_ctx *c, const uint32_t *id, uint32_t n, uint64_t system_va, bool out)
{
	uint64_t bytes = llm_block_bytes(c), pool_va;
	uint32_t run;
	int ret = 0;

	zw_cmd_reset(&c->copies);
	for (uint32_t i = 0; bytes && i < n && !ret; i += run) {
		for (run = 1; i + run < n && id[i + run] == id[i] + run;)
			run++;
		pool_va = c->kv.va + id[i] * bytes;
		if (out)
			zw_cmd_copy(&c->copies, system_va + i * bytes, pool_va, run * bytes, 0);
		else
			zw_cmd_copy(&c->copies, pool_va, system_va + i * bytes, run * bytes, 0);
		if (i + run == n || c->copies.used + LLM_COPY_BYTES > CMD_BYTES) {
			ret = llm_copy_run(c);
			zw_cmd_reset(&c->copies);
		}
	}
	return ret;
}

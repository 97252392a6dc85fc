// SPDX-License-Identifier: MIT
/* One sequence on the device: paged KV cache, compiled command buffers, steps. */
#include "model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "family.h"

#define BLOCK_TOKENS    32 /* of a page of the KV cache */
#define CHUNK_MAX       4096
/* Emulated devices compute: minutes are normal for a large chunk, this long is not. */
#define STEP_TIMEOUT_MS (2u * 60 * 60 * 1000)

/* What the host writes for each step: offsets in the parameter buffer. */
struct params {
	uint64_t rows, last, ids, pos, table, bytes;
};

struct zw_session {
	struct zw_model *m;
	uint32_t context, chunk, flags;
	uint32_t length;
	int dead; /* first failure of a job */

	struct zw_queue *queue;
	struct zw_fence *fence;
	uint64_t point;

	struct zw_buffer kv, act, tables; /* HBM */
	struct zw_buffer param, code;     /* written by the host, read by the device */
	struct zw_buffer host;            /* system memory: job results, logits */
	struct params p;
	uint64_t logits_off; /* in host */
	uint32_t logits_rows;

	/* Page allocator: blocks[0..used) belong to the sequence, in order; the rest is free. */
	uint32_t *blocks;
	uint32_t num_blocks, used_blocks;

	/* Command buffers in `code`: layers; head on the last row; head on every row. */
	struct {
		uint64_t off;
		uint32_t bytes;
	} body, tail_one, tail_all;

	struct zw_session_stats stats;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* Memory the host writes a little of for each step: HBM it can see, else system memory. */
static int create_shared(struct zw_vm *vm, uint64_t bytes, struct zw_buffer *buf)
{
	int ret = zw_buffer_create(vm, bytes, ZW_BO_HBM | ZW_BO_CPU_VISIBLE, buf);

	return ret == -ENOMEM ? zw_buffer_create(vm, bytes, ZW_BO_SYSTEM, buf) : ret;
}

/* ---- memory ---- */

struct layout {
	uint64_t kv_pool; /* bytes of one pool: K or V of one layer */
	uint64_t h, x, qkv, gate_up, out_h, out_x, logits, act_bytes;
	uint64_t cos, sin, table_bytes;
};

static uint64_t take(uint64_t *end, uint64_t rows, uint64_t cols, uint64_t elem)
{
	uint64_t off = zw_align(*end, ZW_LLM_ALIGN);

	*end = off + rows * cols * elem;
	return off;
}

/* No product here overflows: zw_model_config_load() bounds every factor. */
static void plan_memory(const struct zw_session *s, struct layout *l)
{
	const struct zw_model_config *c = &s->m->cfg;
	uint64_t d = c->head_dim, m = s->chunk, end = 0;

	l->kv_pool = zw_align((uint64_t)s->num_blocks * BLOCK_TOKENS * c->num_kv_heads * d * 2,
			      ZW_LLM_ALIGN);
	l->h = take(&end, m, c->hidden_size, 4);
	l->x = take(&end, m, c->hidden_size, 2);
	l->qkv = take(&end, m, (c->num_heads + 2 * c->num_kv_heads) * d, 2);
	l->gate_up = take(&end, m, 2ull * c->intermediate_size, 2);
	l->out_h = take(&end, 1, c->hidden_size, 4);
	l->out_x = take(&end, 1, c->hidden_size, 2);
	l->logits = take(&end, s->logits_rows, c->vocab_size, 4);
	l->act_bytes = end;
	end = 0;
	l->cos = take(&end, s->context, d / 2, 4);
	l->sin = take(&end, s->context, d / 2, 4);
	l->table_bytes = end;
}

static int alloc_memory(struct zw_session *s, const struct layout *l, struct zw_error *err)
{
	const struct zw_model_config *c = &s->m->cfg;
	struct zw_vm *vm = s->m->vm;
	uint64_t kv = l->kv_pool * 2 * c->num_layers, end = 0;
	int ret;

	ret = zw_check_hbm(s->m->dev, kv + l->act_bytes + l->table_bytes,
			   "a session of this context", err);
	if (ret)
		return ret;
	s->p.rows = take(&end, 1, 1, 4);
	s->p.last = take(&end, 1, 1, 4);
	s->p.ids = take(&end, s->chunk, 1, 4);
	s->p.pos = take(&end, s->chunk, 1, 4);
	s->p.table = take(&end, s->num_blocks, 1, 4);
	s->p.bytes = end;
	s->logits_off = zw_align(2 * sizeof(struct zw_job_result), ZW_LLM_ALIGN);
	ret = zw_buffer_create(vm, kv, ZW_BO_HBM, &s->kv);
	if (!ret)
		ret = zw_buffer_create(vm, l->act_bytes, ZW_BO_HBM, &s->act);
	if (!ret)
		ret = zw_buffer_create(vm, l->table_bytes, ZW_BO_HBM, &s->tables);
	if (!ret)
		ret = create_shared(vm, s->p.bytes, &s->param);
	if (!ret)
		ret = zw_buffer_create(vm, s->logits_off + 4ull * s->logits_rows * c->vocab_size,
				       ZW_BO_SYSTEM, &s->host);
	if (ret)
		return zw_fail(err, ret, "allocating the session's memory: %s", strerror(-ret));
	zw_bo_set_label(s->kv.bo, "KV cache");
	zw_bo_set_label(s->act.bo, "activations");
	zw_bo_set_label(s->tables.bo, "RoPE tables");
	return 0;
}

/* Fills the RoPE tables through the staging buffers, as many positions at a time as fit. */
static int upload_tables(struct zw_session *s, const struct layout *l, struct zw_error *err)
{
	const struct zw_model_config *c = &s->m->cfg;
	uint32_t half = c->head_dim / 2, step = 65536 / half;
	uint64_t row = 4ull * half;
	float *buf = malloc(2 * step * row), *sin_part = buf ? buf + (size_t)step * half : NULL;
	struct zw_upload up;
	int ret;

	if (!buf)
		return zw_fail(err, -ENOMEM, "out of memory");
	ret = zw_upload_open(&up, s->m->dev, s->m->vm, err);
	if (ret) {
		free(buf);
		return ret;
	}
	for (uint32_t first = 0; first < s->context && !ret; first += step) {
		uint32_t n = s->context - first < step ? s->context - first : step;

		zw_rope_tables(buf, sin_part, first, n, c->head_dim, c->rope_theta);
		for (int part = 0; part < 2 && !ret; part++) {
			uint64_t at = 0, total = n * row;

			while (at < total && !ret) {
				uint64_t len = total - at;
				void *ptr;

				ret = zw_upload_reserve(&up,
							s->tables.va + (part ? l->sin : l->cos) +
								first * row + at,
							&len, &ptr, err);
				if (!ret)
					memcpy(ptr, (char *)(part ? sin_part : buf) + at, len);
				at += len;
			}
		}
	}
	if (!ret)
		ret = zw_upload_finish(&up, err);
	zw_upload_close(&up);
	free(buf);
	return ret;
}

/* ---- command buffers ---- */

/* Final norm, head and the copy of the logits to the host for `rows` rows of x. */
static void build_head(const struct zw_session *s, const struct zw_build *b,
		       const struct zw_tensor *in, const struct zw_tensor *x,
		       const struct layout *l, uint64_t rows_va)
{
	const struct zw_model_config *c = &s->m->cfg;
	uint32_t rows = in->dim[0];
	struct zw_tensor logits =
		zw_tensor_2d(ZW_DTYPE_F32, s->act.va + l->logits, rows, c->vocab_size);

	zw_cmd_rmsnorm(b->cmd, in, &s->m->w.norm, x, c->rms_norm_eps, rows_va, 0);
	zw_cmd_gemm(b->cmd, x, &s->m->w.head, &logits, NULL, NULL, rows_va, 0);
	zw_cmd_copy(b->cmd, s->host.va + s->logits_off, logits.va, 4ull * rows * c->vocab_size, 0);
}

static int build_all(struct zw_session *s, const struct layout *l, struct zw_cmd *cmd,
		     struct zw_error *err)
{
	const struct zw_model_config *c = &s->m->cfg;
	uint32_t m = s->chunk, d = c->head_dim, h = c->hidden_size;
	uint64_t pools = s->kv.va, act = s->act.va;
	struct zw_build b = {
		.cfg = c,
		.w = &s->m->w,
		.cmd = cmd,
		.rows_va = s->param.va + s->p.rows,
		.ids = zw_tensor_1d(ZW_DTYPE_I32, s->param.va + s->p.ids, m),
		.pos = zw_tensor_1d(ZW_DTYPE_I32, s->param.va + s->p.pos, m),
		.h = zw_tensor_2d(ZW_DTYPE_F32, act + l->h, m, h),
		.x = zw_tensor_2d(ZW_DTYPE_BF16, act + l->x, m, h),
		.qkv = zw_tensor_2d(ZW_DTYPE_BF16, act + l->qkv, m,
				    (c->num_heads + 2 * c->num_kv_heads) * d),
		.gate_up =
			zw_tensor_2d(ZW_DTYPE_BF16, act + l->gate_up, m, 2 * c->intermediate_size),
		.cos_table = zw_tensor_2d(ZW_DTYPE_F32, s->tables.va + l->cos, s->context, d / 2),
		.sin_table = zw_tensor_2d(ZW_DTYPE_F32, s->tables.va + l->sin, s->context, d / 2),
		.block_table =
			zw_tensor_2d(ZW_DTYPE_I32, s->param.va + s->p.table, 1, s->num_blocks),
		.k_cache = zw_tensor_4d(ZW_DTYPE_BF16, pools, s->num_blocks, BLOCK_TOKENS,
					c->num_kv_heads, d),
		.v_cache = zw_tensor_4d(ZW_DTYPE_BF16, pools + l->kv_pool, s->num_blocks,
					BLOCK_TOKENS, c->num_kv_heads, d),
		.kv_layer_stride = 2 * l->kv_pool,
	};
	struct zw_tensor last = zw_tensor_1d(ZW_DTYPE_I32, s->param.va + s->p.last, 1);
	struct zw_tensor out_h = zw_tensor_2d(ZW_DTYPE_F32, act + l->out_h, 1, h);
	struct zw_tensor out_x = zw_tensor_2d(ZW_DTYPE_BF16, act + l->out_x, 1, h);
	int ret;

	s->m->family->build(&b);
	s->body.bytes = (uint32_t)cmd->used;
	s->tail_one.off = cmd->used;
	/* A gather picks the row that is last in this step; its number is data, not code. */
	zw_cmd_embed(cmd, &last, &b.h, &out_h, 0, 0);
	build_head(s, &b, &out_h, &out_x, l, 0);
	s->tail_one.bytes = (uint32_t)(cmd->used - s->tail_one.off);
	if (s->flags & ZW_SESSION_ALL_LOGITS) {
		s->tail_all.off = cmd->used;
		build_head(s, &b, &b.h, &b.x, l, b.rows_va);
		s->tail_all.bytes = (uint32_t)(cmd->used - s->tail_all.off);
	}
	ret = zw_cmd_finish(cmd);
	if (ret)
		return zw_fail(err, ret, "building the layers: %s", cmd->what.msg);
	return 0;
}

static int compile(struct zw_session *s, const struct layout *l, struct zw_error *err)
{
	struct zw_cmd cmd;
	int ret;

	zw_cmd_init(&cmd);
	ret = build_all(s, l, &cmd, err);
	if (!ret) {
		ret = create_shared(s->m->vm, cmd.used, &s->code);
		if (ret)
			ret = zw_fail(err, ret, "allocating command buffers: %s", strerror(-ret));
	}
	if (!ret) {
		memcpy(s->code.ptr, cmd.base, cmd.used);
		zw_bo_set_label(s->code.bo, "command buffers");
	}
	zw_cmd_fini(&cmd);
	return ret;
}

/* ---- life ---- */

static int check_options(const struct zw_model_config *c, const struct zw_session_options *opt,
			 struct zw_session_options *o, struct zw_error *err)
{
	memset(o, 0, sizeof(*o));
	if (opt) {
		if (opt->size < 8)
			return zw_fail(err, -EINVAL, "zw_session_open: bad argument");
		zw_copy_sized(o, sizeof(*o), opt, opt->size);
	}
	if (o->flags & ~ZW_SESSION_ALL_LOGITS)
		return zw_fail(err, -EINVAL, "zw_session_open: unknown flags");
	if (!o->context)
		o->context = c->max_position < ZW_SESSION_DEFAULT_CONTEXT
				     ? c->max_position
				     : ZW_SESSION_DEFAULT_CONTEXT;
	if (o->context > c->max_position)
		return zw_fail(err, -EINVAL, "context %u is above the model's limit of %u",
			       o->context, c->max_position);
	if (!o->chunk)
		o->chunk = ZW_SESSION_DEFAULT_CHUNK;
	if (o->chunk > CHUNK_MAX)
		return zw_fail(err, -EINVAL, "chunk %u is above the limit of %u", o->chunk,
			       CHUNK_MAX);
	if (o->chunk > o->context)
		o->chunk = o->context;
	return 0;
}

int zw_session_open(struct zw_model *m, const struct zw_session_options *opt,
		    struct zw_session **out, struct zw_error *err)
{
	struct zw_session_options o;
	struct zw_session *s;
	struct layout l;
	int ret;

	if (!m || !out)
		return zw_fail(err, -EINVAL, "zw_session_open: bad argument");
	ret = check_options(&m->cfg, opt, &o, err);
	if (ret)
		return ret;
	s = calloc(1, sizeof(*s));
	if (!s)
		return zw_fail(err, -ENOMEM, "out of memory");
	s->m = m;
	atomic_fetch_add(&m->sessions, 1);
	s->context = o.context;
	s->chunk = o.chunk;
	s->flags = o.flags;
	s->logits_rows = o.flags & ZW_SESSION_ALL_LOGITS ? o.chunk : 1;
	s->num_blocks = (o.context + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
	s->blocks = malloc(s->num_blocks * sizeof(*s->blocks));
	if (!s->blocks) {
		ret = zw_fail(err, -ENOMEM, "out of memory");
		goto fail;
	}
	/* Handed out from the end, so that nothing can come to rely on pages being in order. */
	for (uint32_t i = 0; i < s->num_blocks; i++)
		s->blocks[i] = s->num_blocks - 1 - i;
	plan_memory(s, &l);
	ret = alloc_memory(s, &l, err);
	if (!ret)
		ret = upload_tables(s, &l, err);
	if (!ret)
		ret = compile(s, &l, err);
	if (ret)
		goto fail;
	ret = zw_queue_create(m->vm, NULL, &s->queue);
	if (!ret)
		ret = zw_fence_create(m->dev, &s->fence);
	if (ret) {
		zw_fail(err, ret, "creating a queue: %s", strerror(-ret));
		goto fail;
	}
	*out = s;
	return 0;
fail:
	zw_session_close(s);
	return ret;
}

void zw_session_close(struct zw_session *s)
{
	if (!s)
		return;
	/* The queue first: nothing of it may run when its memory goes. */
	zw_queue_destroy(s->queue);
	zw_fence_destroy(s->fence);
	zw_buffer_destroy(&s->code);
	zw_buffer_destroy(&s->host);
	zw_buffer_destroy(&s->param);
	zw_buffer_destroy(&s->tables);
	zw_buffer_destroy(&s->act);
	zw_buffer_destroy(&s->kv);
	free(s->blocks);
	atomic_fetch_sub(&s->m->sessions, 1);
	free(s);
}

/* ---- steps ---- */

static void account(struct zw_session *s, unsigned int jobs)
{
	const struct zw_job_result *r = s->host.ptr;

	for (unsigned int j = 0; j < jobs; j++) {
		s->stats.packets += r[j].packets;
		s->stats.hbm_read += r[j].hbm_read;
		s->stats.hbm_written += r[j].hbm_written;
		s->stats.sys_read += r[j].sys_read;
		s->stats.sys_written += r[j].sys_written;
		for (unsigned int e = 0; e < ZW_ENGINE_COUNT; e++)
			s->stats.busy_ps[e] += r[j].busy_ps[e];
	}
	s->stats.sim_ps += r[jobs - 1].end_ps - r[0].start_ps;
	s->stats.jobs += jobs;
}

/* One submission: n <= chunk tokens at the end of the sequence. */
static int step(struct zw_session *s, const uint32_t *ids, uint32_t n, bool all, bool last,
		struct zw_error *err)
{
	struct zw_sync sync = {.fence = s->fence, .point = s->point + 1, .flags = ZW_SYNC_SIGNAL};
	struct zw_job job[2] = {{.size = sizeof(job[0])}, {.size = sizeof(job[0])}};
	char *param = s->param.ptr;
	int32_t *pos = (int32_t *)(param + s->p.pos), *table = (int32_t *)(param + s->p.table);
	uint32_t blocks = (s->length + n + BLOCK_TOKENS - 1) / BLOCK_TOKENS, jobs = 1;
	int ret;

	for (; s->used_blocks < blocks; s->used_blocks++)
		table[s->used_blocks] = (int32_t)s->blocks[s->used_blocks];
	memcpy(param + s->p.ids, ids, n * sizeof(*ids));
	for (uint32_t i = 0; i < n; i++)
		pos[i] = (int32_t)(s->length + i);
	*(uint32_t *)(param + s->p.rows) = n;
	*(int32_t *)(param + s->p.last) = (int32_t)n - 1;

	job[0].cmd_va = s->code.va + s->body.off;
	job[0].cmd_bytes = s->body.bytes;
	job[0].result_va = s->host.va;
	if (all || last) {
		job[1].cmd_va = s->code.va + (all ? s->tail_all.off : s->tail_one.off);
		job[1].cmd_bytes = all ? s->tail_all.bytes : s->tail_one.bytes;
		job[1].result_va = s->host.va + sizeof(struct zw_job_result);
		jobs = 2;
	}
	job[jobs - 1].syncs = &sync;
	job[jobs - 1].num_syncs = 1;
	ret = zw_queue_submit(s->queue, job, jobs);
	if (!ret) {
		s->point++;
		ret = zw_fence_wait(s->fence, s->point, zw_deadline_ms(STEP_TIMEOUT_MS));
	}
	if (!ret)
		ret = zw_queue_status(s->queue);
	if (ret) {
		s->dead = ret;
		return zw_fail_queue(err, s->queue, ret, "running the model");
	}
	account(s, jobs);
	s->length += n;
	s->stats.tokens += n;
	return 0;
}

int zw_session_eval(struct zw_session *s, const uint32_t *ids, size_t n, float *all,
		    const float **last, struct zw_error *err)
{
	const struct zw_model_config *c = &s->m->cfg;
	const float *logits = (const float *)((char *)s->host.ptr + s->logits_off);
	uint64_t start = now_ns();
	int ret = 0;

	if (!n || !ids || (all && !(s->flags & ZW_SESSION_ALL_LOGITS)))
		return zw_fail(err, -EINVAL, "zw_session_eval: bad argument");
	if (s->dead)
		return zw_fail(err, s->dead, "the session failed before");
	if (n > s->context - s->length)
		return zw_fail(err, -ENOSPC, "%zu more tokens do not fit: %u of %u are used", n,
			       s->length, s->context);
	for (size_t i = 0; i < n; i++) {
		if (ids[i] >= c->vocab_size)
			return zw_fail(err, -ERANGE, "token id %u is not below vocab_size %u",
				       ids[i], c->vocab_size);
	}
	for (size_t at = 0; at < n;) {
		uint32_t part = n - at < s->chunk ? (uint32_t)(n - at) : s->chunk;
		bool end = at + part == n;

		ret = step(s, ids + at, part, all != NULL, last && end, err);
		if (ret)
			break;
		if (all)
			memcpy(all + at * c->vocab_size, logits,
			       (size_t)part * c->vocab_size * sizeof(*all));
		if (last && end)
			*last = logits + (all ? (size_t)(part - 1) * c->vocab_size : 0);
		at += part;
	}
	s->stats.wall_ns += now_ns() - start;
	return ret;
}

uint32_t zw_session_length(const struct zw_session *s)
{
	return s->length;
}

uint32_t zw_session_chunk(const struct zw_session *s)
{
	return s->chunk;
}

uint32_t zw_session_context(const struct zw_session *s)
{
	return s->context;
}

int zw_session_get_config(const struct zw_session *s, struct zw_model_config *cfg)
{
	return zw_model_get_config(s->m, cfg);
}

int zw_session_truncate(struct zw_session *s, uint32_t n)
{
	if (n > s->length)
		return -EINVAL;
	s->length = n;
	s->used_blocks = (n + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
	return 0;
}

int zw_session_get_stats(const struct zw_session *s, struct zw_session_stats *stats)
{
	uint32_t size = stats->size;

	if (size < 8)
		return -EINVAL;
	zw_copy_sized(stats, size, &s->stats, sizeof(s->stats));
	stats->size = size;
	return 0;
}

void zw_session_disasm(const struct zw_session *s, void (*line)(void *opaque, const char *text),
		       void *opaque)
{
	const char *code = s->code.ptr;

	line(opaque, "# layers");
	zw_cmd_disasm(code + s->body.off, s->body.bytes, line, opaque);
	line(opaque, "# head on the last row");
	zw_cmd_disasm(code + s->tail_one.off, s->tail_one.bytes, line, opaque);
	if (s->tail_all.bytes) {
		line(opaque, "# head on every row");
		zw_cmd_disasm(code + s->tail_all.off, s->tail_all.bytes, line, opaque);
	}
}

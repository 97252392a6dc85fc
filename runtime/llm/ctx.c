// SPDX-License-Identifier: MIT
/* Contexts: options, memory, life, figures. */
#include "ctx.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "chunks.h"

#define DELTA_CHUNKED_ABI_MINOR 3u
#define WITHOUT_ABI_MINOR       4u

/* ---- options ---- */

static int check_range(const char *name, uint64_t v, uint64_t min, uint64_t max,
		       struct zw_error *err)
{
	if (v >= min && v <= max)
		return 0;
	return llm_fail(err, -EINVAL, "%s %llu is not from %llu to %llu", name,
			(unsigned long long)v, (unsigned long long)min, (unsigned long long)max);
}

/* What goes in chunks comes in whole ones, and so do the states that are kept. */
static int check_chunk(const struct zw_ctx_options *o, struct zw_error *err)
{
	if (o->batch < ZW_DELTA_CHUNK)
		return llm_fail(err, -EINVAL,
				"delta_chunked: a batch of %u is less than a chunk of %u tokens",
				o->batch, ZW_DELTA_CHUNK);
	if (o->prefix_state_tokens % ZW_DELTA_CHUNK)
		return llm_fail(err, -EINVAL,
				"delta_chunked: prefix_state_tokens %u is not a multiple of %u",
				o->prefix_state_tokens, ZW_DELTA_CHUNK);
	return 0;
}

/* Puts the defaults into o and checks it. */
static int check_options(const struct zw_model *m, struct zw_ctx_options *o, struct zw_error *err)
{
	const struct llm_model_config *cfg = &m->cfg;
	int ret;

	if (o->flags)
		return llm_fail(err, -EINVAL, "zw_ctx_create: unknown flags");
	if (!o->context)
		o->context = cfg->max_position < ZW_CTX_DEFAULT_CONTEXT ? cfg->max_position
									: ZW_CTX_DEFAULT_CONTEXT;
	if (o->context > cfg->max_position)
		return llm_fail(err, -EINVAL, "context %u is above the model's limit of %u",
				o->context, cfg->max_position);
	o->max_seqs = o->max_seqs ? o->max_seqs : 1;
	o->batch = o->batch ? o->batch : ZW_CTX_DEFAULT_BATCH;
	o->steps = o->steps ? o->steps : 2;
	o->vocab = o->vocab ? o->vocab : cfg->vocab_size;
	o->kv_dtype = o->kv_dtype ? o->kv_dtype : ZW_DTYPE_BF16;
	if (o->kv_dtype != ZW_DTYPE_BF16 && o->kv_dtype != ZW_DTYPE_I8 &&
	    o->kv_dtype != ZW_DTYPE_F8E4M3)
		return llm_fail(err, -EINVAL, "kv_dtype %u is none of BF16, I8 and F8E4M3",
				o->kv_dtype);
	ret = check_range("max_seqs", o->max_seqs, 1, ZW_CTX_MAX_SEQS, err);
	if (!ret)
		ret = check_range("batch", o->batch, 1, ZW_CTX_MAX_BATCH, err);
	if (!ret)
		ret = check_range("steps", o->steps, 1, ZW_CTX_MAX_STEPS, err);
	if (!ret)
		ret = check_range("vocab", o->vocab, 1, cfg->vocab_size, err);
	if (!ret)
		ret = check_range("prefix_cache", o->prefix_cache, 0, 1, err);
	if (!ret && o->prefix_cache && !llm_part_whole(&m->part))
		ret = llm_fail(err, -EOPNOTSUPP,
			       "prefix_cache: not for a part of a model, which others go on from");
	if (!ret)
		ret = check_range("top_k", o->top_k, 0,
				  o->vocab < ZW_CTX_MAX_TOPK ? o->vocab : ZW_CTX_MAX_TOPK, err);
	if (!ret)
		ret = check_range("rewind", o->rewind, 0, ZW_CTX_MAX_REWIND, err);
	if (!ret)
		ret = check_range("draft", o->draft, 0, ZW_CTX_MAX_REWIND, err);
	if (!ret)
		ret = check_range("prefix_states", o->prefix_states, 0, ZW_CTX_MAX_STATES, err);
	if (!ret && !o->prefix_state_tokens)
		o->prefix_state_tokens = ZW_CTX_DEFAULT_STATE_TOKENS;
	if (!ret && o->prefix_state_tokens % LLM_BLOCK_TOKENS)
		ret = llm_fail(err, -EINVAL, "prefix_state_tokens %u is not a multiple of %u",
			       o->prefix_state_tokens, LLM_BLOCK_TOKENS);
	if (!ret)
		ret = check_range("delta_chunked", o->delta_chunked, 0, 1, err);
	if (!ret && o->delta_chunked)
		ret = check_chunk(o, err);
	if (!ret && o->without & ~ZW_PKT_F_WITHOUT)
		ret = llm_fail(err, -EINVAL, "without 0x%x: no such feature", o->without);
	if (ret)
		return ret;
	if ((uint64_t)o->batch > (uint64_t)o->max_seqs * o->context)
		o->batch = o->max_seqs * o->context;
	if (o->draft && !m->mtp)
		return llm_fail(err, -EOPNOTSUPP, "draft %u: no MTP head is loaded", o->draft);
	if (o->rewind < o->draft)
		o->rewind = o->draft;
	if (!o->outputs)
		o->outputs = o->max_seqs + o->draft < o->batch ? o->max_seqs + o->draft : o->batch;
	ret = check_range("outputs", o->outputs, 1, o->batch, err);
	if (!ret && !o->logits)
		o->logits = o->outputs;
	if (!ret)
		ret = check_range("logits", o->logits, 1, o->outputs, err);
	if (!ret && !o->pool_tokens)
		o->pool_tokens =
			(uint64_t)o->max_seqs * llm_blocks_for(o->context) * LLM_BLOCK_TOKENS;
	if (!ret)
		ret = check_range("pool_tokens", o->pool_tokens, LLM_BLOCK_TOKENS,
				  (uint64_t)ZW_MAX_DIM * LLM_BLOCK_TOKENS, err);
	return ret;
}

/* ---- memory ---- */

static uint64_t take(uint64_t *end, uint64_t rows, uint64_t cols, uint64_t elem, uint64_t align)
{
	uint64_t off = llm_align(*end, align);

	*end = off + rows * cols * elem;
	return off;
}

/* No product here overflows: the configuration and the options bound every factor. */
static void plan_memory(struct zw_ctx *c)
{
	const struct zw_ctx_options *o = &c->o;
	const struct llm_model_config *cfg = &c->m->cfg;
	struct llm_param_layout *p = &c->p;
	struct llm_result_layout *r = &c->r;
	struct llm_act_layout *a = &c->a;
	const struct llm_part *part = &c->m->part;
	uint32_t outputs = llm_part_ends(part) ? o->outputs : 0;

	a->h = take(&a->bytes, o->batch, cfg->hidden_size, 4, LLM_ALIGN);
	for (uint32_t i = 0; i < c->needs.num_scratch; i++)
		a->scratch[i] = take(&a->bytes, o->batch, c->needs.scratch[i].cols,
				     zw_dtype_bits(c->needs.scratch[i].dtype) / 8, LLM_ALIGN);
	if (llm_has_chunks(cfg, o->context)) {
		uint64_t heads = (uint64_t)o->batch * cfg->num_heads;

		a->chunk_q = take(&a->bytes, (LLM_RANGES - 1) * heads, cfg->head_dim, 2, LLM_ALIGN);
		a->chunk_y = take(&a->bytes, LLM_RANGES * heads, cfg->head_dim, 4, LLM_ALIGN);
		a->chunk_lse = take(&a->bytes, LLM_RANGES * heads, 1, 4, LLM_ALIGN);
	}
	if (c->sparse.kind) {
		uint64_t lists = (uint64_t)c->sparse.groups * cfg->num_heads, begin;

		if (!llm_has_chunks(cfg, o->context))
			a->sparse_y = take(&a->bytes, o->batch,
					   (uint64_t)cfg->num_heads * cfg->head_dim, 2, LLM_ALIGN);
		begin = a->bytes;
		a->blocks = take(&a->bytes, lists, c->sparse.blocks, 4, LLM_ALIGN);
		a->counts = take(&a->bytes, lists, 1, 4, LLM_ALIGN);
		a->columns = take(&a->bytes, lists, c->sparse.columns, 4, LLM_ALIGN);
		a->column_counts = take(&a->bytes, lists, 1, 4, LLM_ALIGN);
		c->sparse.lists_bytes = a->bytes - begin;
	}
	a->out_h = take(&a->bytes, outputs, cfg->hidden_size, 4, LLM_ALIGN);
	a->out_x = take(&a->bytes, outputs, cfg->hidden_size, 2, LLM_ALIGN);
	a->logits = take(&a->bytes, outputs, cfg->vocab_size, 4, LLM_ALIGN);
	if (o->draft) {
		a->mtp = take(&a->bytes, o->batch, cfg->hidden_size, 4, LLM_ALIGN);
		a->draft = take(&a->bytes, o->outputs, cfg->hidden_size, 4, LLM_ALIGN);
	}
	a->act = take(&a->bytes, o->batch, c->m->w.act_cols, 1, LLM_ALIGN);
	a->act_scale = take(&a->bytes, o->batch, c->m->w.act_scales, 4, LLM_ALIGN);
	a->order = take(&a->bytes, o->batch, c->m->w.order_cols, 4, LLM_ALIGN);

	p->num_rows = take(&p->bytes, 1, 1, 4, 4);
	p->num_chosen = take(&p->bytes, 1, 1, 4, 4);
	p->num_out = take(&p->bytes, 1, 1, 4, 4);
	p->num_top = take(&p->bytes, 1, 1, 4, 4);
	p->num_logits = take(&p->bytes, 1, 1, 4, 4);
	p->ids = take(&p->bytes, o->batch, 1, 4, 64);
	p->pos = take(&p->bytes, o->batch, 1, 4, 64);
	p->seq = take(&p->bytes, o->batch, 1, 4, 64);
	if (c->needs.slab_bytes) {
		p->from = take(&p->bytes, o->batch, 1, 4, 64);
		p->to = take(&p->bytes, o->batch, 1, 4, 64);
	}
	if (o->draft) {
		p->num_mtp_chosen = take(&p->bytes, 1, 1, 4, 4);
		p->mtp_ids = take(&p->bytes, o->batch, 1, 4, 64);
		p->mtp_pos = take(&p->bytes, o->batch, 1, 4, 64);
		p->mtp_seq = take(&p->bytes, o->batch, 1, 4, 64);
		p->mtp_rows = take(&p->bytes, o->batch, 1, 4, 64);
		p->mtp_chosen = take(&p->bytes, o->outputs, 1, 4, 64);
		p->num_drafts = take(&p->bytes, o->draft, 1, 4, 64);
		p->draft_rows = take(&p->bytes, o->outputs, 1, 4, 64);
		p->draft_seq = take(&p->bytes, o->outputs, 1, 4, 64);
		p->draft_pos = take(&p->bytes, o->draft, o->outputs, 4, 64);
		p->draft_ids =
			take(&p->bytes, (uint64_t)o->draft * o->outputs + o->batch, 1, 4, 64);
		p->draft_from = take(&p->bytes, o->batch, 1, 4, 64);
	}
	for (int i = 0; i < LLM_RANGES && llm_has_chunks(cfg, o->context); i++) {
		p->chunks[i].rope = take(&p->bytes, o->batch, 1, 4, 64);
		p->chunks[i].start = take(&p->bytes, o->batch, 1, 4, 64);
		p->chunks[i].last = take(&p->bytes, o->batch, 1, 4, 64);
	}
	if (c->sparse.kind) {
		p->num_sparse = take(&p->bytes, 1, 1, 4, 4);
		p->num_dense = take(&p->bytes, 1, 1, 4, 4);
		for (int i = 0; i < (llm_has_chunks(cfg, o->context) ? LLM_RANGES : 1); i++)
			p->start[i] = take(&p->bytes, o->batch, 1, 4, 64);
		if (llm_has_chunks(cfg, o->context))
			p->far_end = take(&p->bytes, o->batch, 1, 4, 64);
	}
	p->chosen = take(&p->bytes, o->batch, 1, 4, 64);
	p->out_rows = take(&p->bytes, o->outputs, 1, 4, 64);
	p->iota = take(&p->bytes, o->outputs, 1, 4, 64);
	p->logit_rows = take(&p->bytes, o->logits, 1, 4, 64);
	p->table = take(&p->bytes, o->max_seqs, c->seq_blocks, 4, 64);
	p->copies = take(&p->bytes, o->max_seqs, LLM_COPY_BYTES, 1, 64);
	p->after = take(&p->bytes, o->prefix_states ? o->max_seqs : 0, LLM_COPY_BYTES, 1, 64);
	p->bytes = llm_align(p->bytes, LLM_ALIGN);

	for (int i = 0; i < 5; i++)
		r->job[i] = take(&r->bytes, 1, 1, sizeof(struct zw_job_result), 64);
	r->probe = take(&r->bytes, outputs, 1, 4, 64);
	if (o->draft)
		r->draft = take(&r->bytes, o->outputs, 1, 4, 64);
	r->top_logits = take(&r->bytes, outputs, o->top_k, 4, 64);
	r->top_ids = take(&r->bytes, outputs, o->top_k, 4, 64);
	r->logits = take(&r->bytes, outputs ? o->logits : 0, cfg->vocab_size, 4, LLM_ALIGN);
	r->hidden_in = take(&r->bytes, llm_part_begins(part) ? 0 : o->batch, cfg->hidden_size, 4,
			    LLM_ALIGN);
	r->hidden_out =
		take(&r->bytes, llm_part_ends(part) ? 0 : o->batch, cfg->hidden_size, 4, LLM_ALIGN);
	r->bytes = llm_align(r->bytes, LLM_ALIGN);
	c->choices = r->bytes * o->steps;
}

static int alloc_memory(struct zw_ctx *c, struct zw_error *err)
{
	struct zw_vm *vm = c->m->vm;
	uint64_t kv = c->pool.num * llm_block_bytes(c);
	uint32_t positions = llm_rope_positions(&c->m->cfg, c->o.context);
	uint64_t rope = llm_rope_bytes(&c->m->cfg, positions);
	uint64_t slab = c->slab_stride * llm_slab_place(c, c->o.prefix_states);
	int ret;

	ret = llm_check_hbm(c->m->dev, kv + c->a.bytes + rope + slab, "a context of this size",
			    err);
	if (ret)
		return ret;
	/* A part of a model may have no layer with attention. */
	if (kv)
		ret = zw_buffer_create(vm, kv, ZW_BO_HBM, &c->kv);
	if (!ret)
		ret = zw_buffer_create(vm, c->a.bytes, ZW_BO_HBM, &c->act);
	if (!ret && slab)
		ret = zw_buffer_create(vm, slab, ZW_BO_HBM, &c->slab);
	if (!ret)
		ret = llm_copy_alloc(c);
	if (!ret)
		ret = llm_sparse_alloc(c);
	if (!ret) {
		/* HBM that the host sees, else system memory that the device reads. */
		ret = zw_buffer_create(vm, c->p.bytes * c->o.steps, ZW_BO_HBM | ZW_BO_CPU_VISIBLE,
				       &c->param);
		if (ret == -ENOMEM)
			ret = zw_buffer_create(vm, c->p.bytes * c->o.steps, ZW_BO_SYSTEM,
					       &c->param);
	}
	if (!ret)
		ret = zw_buffer_create(vm, c->choices + 4ull * c->o.steps * c->o.outputs,
				       ZW_BO_SYSTEM, &c->host);
	if (ret)
		return llm_fail(err, ret, "allocating the context's memory: %s", strerror(-ret));
	if (kv)
		zw_bo_set_label(c->kv.bo, "KV cache");
	zw_bo_set_label(c->act.bo, "activations");
	return llm_rope_get(c->m, positions, &c->rope, err);
}

static int alloc_slots(struct zw_ctx *c, struct zw_error *err)
{
	for (uint32_t i = 0; i < c->o.steps; i++) {
		struct llm_slot *s = &c->slot[i];
		int32_t *iota = (int32_t *)(void *)(llm_param(c, s) + c->p.iota);

		s->undo = calloc(c->o.max_seqs, sizeof(*s->undo));
		s->rows = calloc(c->o.batch, sizeof(*s->rows));
		if (!s->undo || !s->rows)
			return llm_fail(err, -ENOMEM, "out of memory");
		for (uint32_t k = 0; k < c->o.outputs; k++)
			iota[k] = (int32_t)k;
	}
	return 0;
}

/* ---- life ---- */

/* The device has to compute with what the cache holds. */
static int check_kv_dtype(const struct zw_ctx *c, struct zw_error *err)
{
	struct zw_dev_attrs attrs = {.size = sizeof(attrs)};
	int ret = zw_dev_get_attrs(c->m->dev, &attrs);

	if (ret)
		return llm_fail(err, ret, "device: %s", strerror(-ret));
	if (!(attrs.dtypes >> c->o.kv_dtype & 1))
		return llm_fail(err, -EOPNOTSUPP,
				"KV cache in %s: a device of profile %s does not compute with it",
				zw_dtype_name(c->o.kv_dtype), attrs.profile_name);
	return 0;
}

/* The flag of the packet came with ABI 2.3. */
static int check_delta(struct zw_ctx *c, struct zw_error *err)
{
	struct llm_family f = *c->m->family;

	if (!c->needs.slab_bytes)
		c->o.delta_chunked = 0;
	if (!c->o.delta_chunked)
		return 0;
	f.abi_minor = DELTA_CHUNKED_ABI_MINOR;
	return llm_check_device(c->m->dev, &f, err);
}

/* Neither did the flags that packets go without something by exist before. */
static int check_without(const struct zw_ctx *c, struct zw_error *err)
{
	struct llm_family f = *c->m->family;

	if (!c->o.without)
		return 0;
	f.abi_minor = WITHOUT_ABI_MINOR;
	return llm_check_device(c->m->dev, &f, err);
}

/* Pieces of a text end where chunks end and where groups of sparse attention do. */
static int check_groups(const struct zw_ctx *c, struct zw_error *err)
{
	uint32_t group = c->sparse.group;

	if (!c->o.delta_chunked || !c->sparse.kind || group % ZW_DELTA_CHUNK == 0 ||
	    ZW_DELTA_CHUNK % group == 0)
		return 0;
	return llm_fail(err, -EINVAL,
			"delta_chunked: sparse_group %u is neither 32 nor a multiple of %u", group,
			ZW_DELTA_CHUNK);
}

static int create(struct zw_ctx *c, struct zw_error *err)
{
	int ret;

	c->needs.mtp = c->o.draft;
	c->m->family->needs(&c->m->cfg, &c->needs);
	c->seq_blocks = llm_blocks_for(c->o.context);
	ret = check_kv_dtype(c, err);
	if (!ret)
		ret = check_delta(c, err);
	if (!ret)
		ret = check_without(c, err);
	if (ret)
		return ret;
	c->block_bytes = (uint64_t)LLM_BLOCK_TOKENS * c->needs.kv_heads * c->needs.kv_dim *
			 (zw_dtype_bits(c->o.kv_dtype) / 8);
	if (c->o.kv_dtype != ZW_DTYPE_BF16)
		c->scale_bytes = 4ull * LLM_BLOCK_TOKENS * c->needs.kv_heads;
	c->slab_stride = llm_align(c->needs.slab_bytes, LLM_ALIGN);
	if (!c->o.prefix_cache || !c->needs.slab_bytes)
		c->o.prefix_states = 0;
	else if (!c->o.prefix_states)
		c->o.prefix_states = c->o.max_seqs;
	c->seqs = calloc(c->o.max_seqs, sizeof(*c->seqs));
	c->chains = calloc(c->o.outputs, sizeof(*c->chains));
	if (!c->seqs ||
	    llm_kv_init(&c->pool,
			(uint32_t)((c->o.pool_tokens + LLM_BLOCK_TOKENS - 1) / LLM_BLOCK_TOKENS),
			c->o.prefix_cache, c->o.prefix_states))
		return llm_fail(err, -ENOMEM, "out of memory");
	ret = llm_sparse_init(c, err);
	if (!ret)
		ret = check_groups(c, err);
	if (ret)
		return ret;
	plan_memory(c);
	ret = alloc_memory(c, err);
	if (!ret)
		ret = alloc_slots(c, err);
	if (!ret)
		ret = llm_ctx_compile(c, err);
	if (ret)
		return ret;
	ret = zw_fence_create(c->m->dev, &c->fence);
	if (ret)
		return llm_fail(err, ret, "creating a fence: %s", strerror(-ret));
	/* Now rather than at the first step: where there is no queue left, that is said here. */
	ret = zw_queue_create(c->m->vm, NULL, &c->queue);
	if (ret)
		return llm_fail(err, ret, "creating a queue: %s", strerror(-ret));
	return 0;
}

int zw_ctx_create(struct zw_model *m, const struct zw_ctx_options *opt, struct zw_ctx **out,
		  struct zw_error *err)
{
	struct zw_ctx *c;
	int ret;

	if (!m || !out)
		return llm_fail(err, -EINVAL, "zw_ctx_create: bad argument");
	c = calloc(1, sizeof(*c));
	if (!c)
		return llm_fail(err, -ENOMEM, "out of memory");
	if (opt) {
		ret = sized_in(&c->o, sizeof(c->o), SIZED_V0(struct zw_ctx_options, pool_tokens),
			       opt);
		if (ret) {
			free(c);
			return llm_fail(err, ret, "zw_ctx_create: options of an unknown version");
		}
	}
	pthread_mutex_init(&c->lock, NULL);
	zw_cmd_init(&c->copies);
	zw_cmd_init(&c->after);
	c->m = m;
	atomic_fetch_add(&m->contexts, 1);
	ret = check_options(m, &c->o, err);
	if (!ret)
		ret = create(c, err);
	if (ret) {
		zw_ctx_destroy(c);
		return ret;
	}
	*out = c;
	return 0;
}

void zw_ctx_destroy(struct zw_ctx *c)
{
	if (!c)
		return;
	/* The queue first: nothing of it may run when its memory goes. */
	llm_ctx_stop(c);
	zw_fence_destroy(c->fence);
	zw_buffer_destroy(&c->code);
	zw_buffer_destroy(&c->host);
	zw_buffer_destroy(&c->param);
	zw_buffer_destroy(&c->copy_cmd);
	llm_sparse_fini(c);
	zw_buffer_destroy(&c->slab);
	zw_buffer_destroy(&c->act);
	zw_buffer_destroy(&c->kv);
	llm_rope_put(c->m, c->rope);
	for (uint32_t i = 0; c->seqs && i < c->o.max_seqs; i++) {
		free(c->seqs[i].blocks.id);
		free(c->seqs[i].ids);
	}
	for (uint32_t i = 0; i < ZW_CTX_MAX_STEPS; i++) {
		free(c->slot[i].undo);
		free(c->slot[i].rows);
	}
	llm_kv_fini(&c->pool);
	free(c->seqs);
	free(c->chains);
	zw_cmd_fini(&c->copies);
	zw_cmd_fini(&c->after);
	pthread_mutex_destroy(&c->lock);
	atomic_fetch_sub(&c->m->contexts, 1);
	free(c);
}

/* ---- figures ---- */

int zw_ctx_get_info(const struct zw_ctx *c, struct zw_ctx_info *info)
{
	struct zw_ctx_info i = {
		.context = c->o.context,
		.max_seqs = c->o.max_seqs,
		.batch = c->o.batch,
		.outputs = c->o.outputs,
		.logits = c->o.logits,
		.top_k = c->o.top_k,
		.vocab = c->o.vocab,
		.steps = c->o.steps,
		.seqs = c->num_seqs,
		.block_tokens = LLM_BLOCK_TOKENS,
		.blocks = c->pool.num,
		.blocks_free = llm_kv_available(&c->pool),
		.blocks_cached = c->pool.cached ? c->pool.prefix.num : 0,
		.kv_bytes = c->kv.bytes,
		.hbm_bytes = c->kv.bytes + c->act.bytes + c->slab.bytes + c->rope->buf.bytes,
		.sparse_group = c->o.sparse_group,
		.sparse_lists_bytes = c->sparse.lists_bytes,
	};

	return sized_out(info, SIZED_V0(struct zw_ctx_info, hbm_bytes), &i, sizeof(i));
}

int zw_ctx_get_stats(const struct zw_ctx *c, struct zw_ctx_stats *stats)
{
	return sized_out(stats, SIZED_V0(struct zw_ctx_stats, busy_ps), &c->stats,
			 sizeof(c->stats));
}

void zw_ctx_disasm(const struct zw_ctx *c, void (*line)(void *opaque, const char *text),
		   void *opaque)
{
	const struct llm_slot *s = &c->slot[0];
	const char *code =
		(const char *)c->code.ptr + s->code_off - s->chain_bytes - s->place_bytes;
	uint32_t passes = c->o.draft > 1 ? s->draft_end[c->o.draft - 2] : 0;
	const struct {
		const char *title;
		uint32_t bytes;
	} part[] = {
		{"# ids that were drafted", s->place_bytes},
		{"# ids that the device chose", s->chain_bytes},
		{"# layers", s->end_body},
		{"# head on the rows wanted, best token", s->end_choice - s->end_body},
		{"# best candidates", s->end_top - s->end_choice},
		{"# logits to the host", s->end_logits - s->end_top},
		{"# in front of a step: the MTP head drafts, a pass for each token", passes},
		{"# behind a step: the MTP head on its rows", s->mtp_end},
		{"# best token on the rows wanted: drafts", s->mtp_end_draft - s->mtp_end},
	};

	for (size_t i = !c->o.draft; i < (c->o.draft ? ZW_ARRAY_SIZE(part) : 6); i++) {
		line(opaque, part[i].title);
		zw_cmd_disasm(code, part[i].bytes, line, opaque);
		code += part[i].bytes;
	}
}

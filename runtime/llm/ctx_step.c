// SPDX-License-Identifier: MIT
/*
 * Steps: checked, written into a slot, submitted, waited for, and taken back when they fail. A step
 * is in flight until the thread that owns the context learns what became of it, in zw_ctx_wait() or
 * at the next zw_ctx_submit().
 */
#include "ctx.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define WANT_ALL (ZW_WANT_LOGITS | ZW_WANT_ARGMAX | ZW_WANT_TOPK)

/* What a batch asks for, found while it is checked. */
struct tally {
	uint32_t out, top, logits;
	uint64_t blocks; /* to be taken from the pool */
};

static const struct zw_batch_token *token_at(const struct zw_batch *b, uint32_t i)
{
	return (const void *)((const char *)b->tokens + (size_t)i * b->token_size);
}

/* "what: reason of the first failed job of the queue"; returns code. */
static int fail_queue(struct zw_error *err, struct zw_queue *queue, int code, const char *what)
{
	struct zw_queue_error info = {.size = sizeof(info)};
	char text[160];

	if (queue && !zw_queue_get_error(queue, &info) && info.state) {
		zw_queue_error_text(&info, text, sizeof(text));
		return llm_fail(err, code, "%s: %s", what, text);
	}
	return llm_fail(err, code, "%s: %s", what, strerror(-code));
}

/* ---- slots ---- */

static struct llm_slot *slot_of(const struct zw_ctx *c, uint64_t step)
{
	for (uint32_t i = 0; i < c->o.steps; i++) {
		const struct llm_slot *s = &c->slot[i];

		if (s->state != LLM_SLOT_FREE && s->step == step)
			return (struct llm_slot *)s;
	}
	return NULL;
}

/* The one in flight that was submitted first (dir < 0) or last, or NULL. */
static struct llm_slot *in_flight(struct zw_ctx *c, int dir)
{
	struct llm_slot *found = NULL;

	for (uint32_t i = 0; i < c->o.steps; i++) {
		struct llm_slot *s = &c->slot[i];

		if (s->state == LLM_SLOT_IN_FLIGHT &&
		    (!found || (dir < 0 ? s->step < found->step : s->step > found->step)))
			found = s;
	}
	return found;
}

bool llm_ctx_busy(const struct zw_ctx *c)
{
	return in_flight((struct zw_ctx *)c, -1);
}

/* A slot for the next step: of those not in flight the one that was used longest ago. */
static struct llm_slot *next_slot(struct zw_ctx *c)
{
	struct llm_slot *found = NULL;

	for (uint32_t i = 0; i < c->o.steps; i++) {
		struct llm_slot *s = &c->slot[i];

		if (s->state != LLM_SLOT_IN_FLIGHT && (!found || s->step < found->step))
			found = s;
	}
	return found;
}

/* ---- checking a batch: nothing changes but the marks in sequences ---- */

static int check_token(struct zw_ctx *c, const struct zw_batch_token *t, uint32_t i,
		       struct tally *n, struct zw_error *err)
{
	struct llm_seq *s = llm_seq_of(c, t->seq);

	if (t->id >= c->m->cfg.vocab_size)
		return llm_fail(err, -ERANGE, "token id %u is not below vocab_size %u", t->id,
				c->m->cfg.vocab_size);
	if (!s)
		return llm_fail(err, -ENOENT, "batch token %u: there is no sequence %u", i, t->seq);
	if (s->lost)
		return llm_fail(err, -EIO, "sequence %u: its state was lost in a step that failed",
				t->seq);
	if (s->stamp != c->stamp) {
		s->stamp = c->stamp;
		s->next = s->length;
	}
	if (t->pos != s->next)
		return llm_fail(err, -EINVAL,
				"batch token %u: position %u of sequence %u, the next one is %u", i,
				t->pos, t->seq, s->next);
	if (t->pos >= c->o.context)
		return llm_fail(err, -ENOSPC, "sequence %u: more tokens than %u do not fit", t->seq,
				c->o.context);
	if (t->want & ~(uint32_t)WANT_ALL)
		return llm_fail(err, -EINVAL, "batch token %u: unknown wants", i);
	s->next++;
	n->out += t->want != 0;
	n->top += !!(t->want & ZW_WANT_TOPK);
	n->logits += !!(t->want & ZW_WANT_LOGITS);
	return 0;
}

/* The block that the next token of a sequence goes to, if it is there and also somebody else's. */
static uint32_t shared_block(const struct zw_ctx *c, const struct llm_seq *s, uint32_t length)
{
	uint32_t block;

	if (length % LLM_BLOCK_TOKENS == 0)
		return LLM_NO_BLOCK;
	block = s->blocks.id[length / LLM_BLOCK_TOKENS];
	return c->pool.refs[block] > 1 ? block : LLM_NO_BLOCK;
}

/* Once per sequence of the batch: the token that is its first here. */
static int check_room(struct zw_ctx *c, const struct zw_batch *b, struct tally *n,
		      struct zw_error *err)
{
	for (uint32_t i = 0; i < b->count; i++) {
		const struct zw_batch_token *t = token_at(b, i);
		struct llm_seq *s = llm_seq_of(c, t->seq);
		uint32_t blocks = llm_blocks_for(s->next);

		if (t->pos != s->length)
			continue;
		n->blocks += blocks - s->blocks.used;
		n->blocks += shared_block(c, s, s->length) != LLM_NO_BLOCK;
		if (llm_grow(&s->blocks.id, &s->blocks.cap, blocks, sizeof(*s->blocks.id)))
			return llm_fail(err, -ENOMEM, "out of memory");
	}
	if (n->blocks > c->pool.num_free)
		return llm_fail(err, -ENOSPC,
				"the pool is full: %llu more blocks of %u tokens do not fit, %u of "
				"%u are free",
				(unsigned long long)n->blocks, LLM_BLOCK_TOKENS, c->pool.num_free,
				c->pool.num);
	return 0;
}

static int check_batch(struct zw_ctx *c, const struct zw_batch *b, struct tally *n,
		       struct zw_error *err)
{
	int ret = 0;

	memset(n, 0, sizeof(*n));
	if (b->flags || !b->tokens || b->token_size < sizeof(struct zw_batch_token) ||
	    b->token_size % 4 || b->token_size > 4096)
		return llm_fail(err, -EINVAL, "zw_ctx_submit: bad argument");
	if (!b->count || b->count > c->o.batch)
		return llm_fail(err, -EINVAL, "a batch of %u tokens: the context takes 1 to %u",
				b->count, c->o.batch);
	c->stamp++;
	for (uint32_t i = 0; i < b->count && !ret; i++)
		ret = check_token(c, token_at(b, i), i, n, err);
	if (ret)
		return ret;
	if (n->top && !c->o.top_k)
		return llm_fail(err, -EINVAL, "the context was made without top_k");
	if (n->out > c->o.outputs || n->logits > c->o.logits)
		return llm_fail(err, -EINVAL,
				"%u outputs, %u of them logits: the context was made for %u and %u",
				n->out, n->logits, c->o.outputs, c->o.logits);
	return check_room(c, b, n, err);
}

/* ---- what a step changes, and taking it back ---- */

/* Appends the batch's tokens of one sequence: blocks, length, undo record. */
static void extend(struct zw_ctx *c, struct llm_slot *slot, uint32_t seq)
{
	uint64_t block_bytes = 2 * c->needs.kv_layers * c->block_bytes;
	struct llm_seq *s = &c->seqs[seq];
	struct llm_undo *u = &slot->undo[slot->num_undo++];
	uint32_t at = s->length / LLM_BLOCK_TOKENS, blocks = llm_blocks_for(s->next);

	*u = (struct llm_undo){
		.seq = seq, .length = s->length, .shared = shared_block(c, s, s->length)};
	if (u->shared != LLM_NO_BLOCK) {
		uint32_t own = llm_kv_take(&c->pool);

		zw_cmd_copy(&c->copies, c->kv.va + own * block_bytes,
			    c->kv.va + u->shared * block_bytes, block_bytes, 0);
		s->blocks.id[at] = own;
		for (uint32_t i = 0; i < c->o.steps; i++) {
			if (s->synced[i] > at)
				s->synced[i] = at;
		}
	}
	while (s->blocks.used < blocks)
		s->blocks.id[s->blocks.used++] = llm_kv_take(&c->pool);
	s->length = s->next;
	s->in_flight++;
}

static void apply(struct zw_ctx *c, struct llm_slot *slot, const struct zw_batch *b)
{
	slot->num_undo = 0;
	zw_cmd_reset(&c->copies);
	for (uint32_t i = 0; i < b->count; i++) {
		uint32_t seq = token_at(b, i)->seq;

		if (c->seqs[seq].length != c->seqs[seq].next)
			extend(c, slot, seq);
	}
}

/*
 * The sequences are as they were before the step; the newest step is the first to be undone. started:
 * the device may have seen it.
 */
static void undo(struct zw_ctx *c, struct llm_slot *slot, bool started)
{
	for (uint32_t i = 0; i < slot->num_undo; i++) {
		const struct llm_undo *u = &slot->undo[i];
		struct llm_seq *s = &c->seqs[u->seq];
		uint32_t at = u->length / LLM_BLOCK_TOKENS;

		llm_seq_cut(c, s, llm_blocks_for(u->length));
		if (u->shared != LLM_NO_BLOCK) {
			/* The copy goes, the reference that the step kept is the sequence's again. */
			llm_seq_cut(c, s, at);
			s->blocks.id[s->blocks.used++] = u->shared;
		}
		s->length = u->length;
		s->in_flight--;
		/* What a slab was before its tokens cannot be brought back. */
		s->lost = s->lost || (started && c->needs.slab_bytes);
	}
	slot->num_undo = 0;
}

/* A step that went well: what it kept for an undo is given back. */
static void settle(struct zw_ctx *c, struct llm_slot *slot)
{
	for (uint32_t i = 0; i < slot->num_undo; i++) {
		const struct llm_undo *u = &slot->undo[i];

		if (u->shared != LLM_NO_BLOCK)
			llm_kv_put(&c->pool, u->shared);
		c->seqs[u->seq].in_flight--;
	}
	slot->num_undo = 0;
}

/* ---- parameters ---- */

static void write_table(const struct zw_ctx *c, const struct llm_slot *slot)
{
	int32_t *table = (int32_t *)(void *)(llm_param(c, slot) + c->p.table);
	uint32_t k = (uint32_t)(slot - c->slot);

	for (uint32_t i = 0; i < slot->num_undo; i++) {
		struct llm_seq *s = &c->seqs[slot->undo[i].seq];
		int32_t *row = table + (size_t)slot->undo[i].seq * c->seq_blocks;

		for (; s->synced[k] < s->blocks.used; s->synced[k]++)
			row[s->synced[k]] = (int32_t)s->blocks.id[s->synced[k]];
	}
}

/* Rows whose candidates are wanted come first: a top-k works on the front rows. */
static void write_outputs(const struct zw_ctx *c, struct llm_slot *slot, const struct zw_batch *b,
			  const struct tally *n)
{
	char *param = llm_param(c, slot);
	int32_t *out_rows = (int32_t *)(void *)(param + c->p.out_rows);
	int32_t *logit_rows = (int32_t *)(void *)(param + c->p.logit_rows);
	uint32_t top = 0, rest = n->top, logits = 0;

	for (uint32_t i = 0; i < b->count; i++) {
		uint32_t want = token_at(b, i)->want;
		struct llm_out_rows *r = &slot->rows[i];

		*r = (struct llm_out_rows){LLM_NO_ROW, LLM_NO_ROW, want};
		if (!want)
			continue;
		r->out = want & ZW_WANT_TOPK ? top++ : rest++;
		out_rows[r->out] = (int32_t)i;
		if (want & ZW_WANT_LOGITS) {
			r->logits = logits++;
			logit_rows[r->logits] = (int32_t)r->out;
		}
	}
}

static void write_params(const struct zw_ctx *c, struct llm_slot *slot, const struct zw_batch *b,
			 const struct tally *n)
{
	char *param = llm_param(c, slot);
	int32_t *ids = (int32_t *)(void *)(param + c->p.ids);
	int32_t *pos = (int32_t *)(void *)(param + c->p.pos);
	int32_t *seq = (int32_t *)(void *)(param + c->p.seq);

	for (uint32_t i = 0; i < b->count; i++) {
		const struct zw_batch_token *t = token_at(b, i);

		ids[i] = (int32_t)t->id;
		pos[i] = (int32_t)t->pos;
		seq[i] = (int32_t)t->seq;
	}
	*(uint32_t *)(void *)(param + c->p.num_rows) = b->count;
	*(uint32_t *)(void *)(param + c->p.num_out) = n->out;
	*(uint32_t *)(void *)(param + c->p.num_top) = n->top;
	*(uint32_t *)(void *)(param + c->p.num_logits) = n->logits;
	write_table(c, slot);
	write_outputs(c, slot, b, n);
}

/* ---- submit ---- */

static uint32_t code_end(const struct llm_slot *s, const struct tally *n)
{
	if (n->logits)
		return s->end_logits;
	if (n->top)
		return s->end_top;
	return n->out ? s->end_choice : s->end_body;
}

static struct zw_job_result *job_result(const struct zw_ctx *c, const struct llm_slot *s,
					uint32_t i)
{
	return (struct zw_job_result *)(void *)(llm_result(c, s) + c->r.job[i]);
}

int llm_ctx_queue_submit(struct zw_ctx *c, const struct zw_job *job, uint32_t jobs)
{
	int ret, status;

	for (int tries = 0;; tries++) {
		ret = c->queue ? 0 : zw_queue_create(c->m->vm, NULL, &c->queue);
		if (!ret)
			ret = zw_queue_submit(c->queue, job, jobs);
		status = ret && c->queue ? zw_queue_status(c->queue) : 0;
		/*
		 * A queue may also fail when nothing runs on it: another client had the device
		 * reset. With steps in flight it is theirs to find out.
		 */
		if (!status || tries || llm_ctx_busy(c))
			return status ? status : ret;
		zw_queue_destroy(c->queue);
		c->queue = NULL;
	}
}

/* Copies of blocks first, where there are any, then the step. */
static int submit_jobs(struct zw_ctx *c, struct llm_slot *s, const struct tally *n,
		       struct zw_error *err)
{
	struct zw_sync sync = {.fence = c->fence, .point = c->point + 1, .flags = ZW_SYNC_SIGNAL};
	struct zw_job job[2];
	uint32_t jobs = 0;
	int ret = zw_cmd_finish(&c->copies);

	if (ret)
		return llm_fail(err, ret, "copying blocks: %s", c->copies.what.msg);
	memset(job, 0, sizeof(job));
	if (c->copies.used) {
		memcpy(llm_param(c, s) + c->p.copies, c->copies.base, c->copies.used);
		job[jobs].cmd_va = llm_param_va(c, s) + c->p.copies;
		job[jobs++].cmd_bytes = (uint32_t)c->copies.used;
	}
	job[jobs].cmd_va = c->code.va + s->code_off;
	job[jobs++].cmd_bytes = code_end(s, n);
	for (uint32_t i = 0; i < jobs; i++) {
		job[i].size = sizeof(job[i]);
		job[i].result_va = llm_result_va(c, s) + c->r.job[i];
		memset(job_result(c, s, i), 0, sizeof(struct zw_job_result));
	}
	job[jobs - 1].syncs = &sync;
	job[jobs - 1].num_syncs = 1;
	ret = llm_ctx_queue_submit(c, job, jobs);
	if (ret)
		return fail_queue(err, c->queue, ret, "submitting a step");
	s->jobs = jobs;
	s->point = ++c->point;
	return 0;
}

static int resolve(struct zw_ctx *c, uint64_t step, int failed);

int llm_ctx_submit(struct zw_ctx *c, const struct zw_batch *batch, const uint64_t *cancels,
		   uint64_t *step, struct zw_error *err)
{
	bool idle = !llm_ctx_busy(c);
	struct llm_slot *s;
	struct zw_batch b;
	struct tally n;
	int ret;

	ret = sized_in(&b, sizeof(b), SIZED_V0(struct zw_batch, tokens), batch);
	if (ret)
		return llm_fail(err, ret, "zw_ctx_submit: a batch of an unknown version");
	pthread_mutex_lock(&c->lock);
	ret = c->stopped ? resolve(c, c->last_step, -ECANCELED) : 0;
	if (ret || (cancels && *cancels != c->cancels)) {
		ret = llm_fail(err, -ECANCELED, "cancelled");
		goto out;
	}
	s = next_slot(c);
	if (!s) {
		ret = llm_fail(err, -EAGAIN, "%u steps are in flight", c->o.steps);
		goto out;
	}
	ret = check_batch(c, &b, &n, err);
	if (ret)
		goto out;
	s->state = LLM_SLOT_FREE;
	apply(c, s, &b);
	write_params(c, s, &b, &n);
	ret = submit_jobs(c, s, &n, err);
	if (ret) {
		undo(c, s, false);
		goto out;
	}
	if (idle)
		c->busy_since = llm_now_ns();
	s->state = LLM_SLOT_IN_FLIGHT;
	s->tokens = b.count;
	s->step = *step = ++c->last_step;
out:
	pthread_mutex_unlock(&c->lock);
	return ret;
}

int zw_ctx_submit(struct zw_ctx *c, const struct zw_batch *batch, uint64_t *step,
		  struct zw_error *err)
{
	if (!c || !batch || !step)
		return llm_fail(err, -EINVAL, "zw_ctx_submit: bad argument");
	return llm_ctx_submit(c, batch, NULL, step, err);
}

/* ---- the end of steps ---- */

static bool went_well(const struct zw_ctx *c, const struct llm_slot *s)
{
	for (uint32_t i = 0; i < s->jobs; i++) {
		const struct zw_job_result *r = job_result(c, s, i);

		if (!r->seqno || r->status != ZW_JOB_OK)
			return false;
	}
	return true;
}

static void account(struct zw_ctx *c, const struct llm_slot *s)
{
	struct zw_ctx_stats *st = &c->stats;

	for (uint32_t i = 0; i < s->jobs; i++) {
		const struct zw_job_result *r = job_result(c, s, i);

		st->packets += r->packets;
		st->hbm_read += r->hbm_read;
		st->hbm_written += r->hbm_written;
		st->sys_read += r->sys_read;
		st->sys_written += r->sys_written;
		for (unsigned int e = 0; e < ZW_ENGINE_COUNT; e++)
			st->busy_ps[e] += r->busy_ps[e];
	}
	st->sim_ps += job_result(c, s, s->jobs - 1)->end_ps - job_result(c, s, 0)->start_ps;
	st->jobs += s->jobs;
	st->tokens += s->tokens;
	st->steps++;
}

/* Undoes all that is in flight. The queue has failed, or is gone, or takes the rest with it. */
static void fail_all(struct zw_ctx *c, int code)
{
	struct zw_error why = {""};
	struct llm_slot *s;
	int status;

	if (c->stopped) {
		code = llm_fail(&why, -ECANCELED, "cancelled");
	} else {
		status = zw_queue_status(c->queue);
		code = fail_queue(&why, c->queue, status ? status : code, "running the model");
	}
	zw_queue_destroy(c->queue);
	c->queue = NULL;
	while ((s = in_flight(c, 1))) {
		undo(c, s, true);
		s->state = LLM_SLOT_FAILED;
		s->code = code;
		s->error = why;
	}
}

/*
 * Finds out what became of the steps up to `step`, whose fence has been reached. failed: the code of
 * a step that did not go well and has no other reason. 0, or -ECANCELED when steps were undone.
 */
static int resolve(struct zw_ctx *c, uint64_t step, int failed)
{
	struct llm_slot *s;
	int ret = 0;

	while ((s = in_flight(c, -1)) && s->step <= step) {
		if (!went_well(c, s)) {
			fail_all(c, failed);
			ret = -ECANCELED;
			break;
		}
		settle(c, s);
		account(c, s);
		s->state = LLM_SLOT_DONE;
	}
	if (!llm_ctx_busy(c)) {
		c->stats.wall_ns += llm_now_ns() - c->busy_since;
		c->stopped = false;
	}
	return ret;
}

int zw_ctx_wait(struct zw_ctx *c, uint64_t step, int64_t deadline_ns, struct zw_error *err)
{
	struct llm_slot *s = c ? slot_of(c, step) : NULL;
	int ret;

	if (!s)
		return llm_fail(err, -ENOENT, "step %llu is not in flight",
				(unsigned long long)step);
	if (s->state == LLM_SLOT_IN_FLIGHT) {
		ret = zw_fence_wait(c->fence, s->point, deadline_ns);
		if (ret == -ETIME)
			return llm_fail(err, ret, "step %llu is not done yet",
					(unsigned long long)step);
		pthread_mutex_lock(&c->lock);
		resolve(c, step, ret ? ret : -EIO);
		pthread_mutex_unlock(&c->lock);
	}
	if (s->state == LLM_SLOT_FAILED)
		return llm_fail(err, s->code, "%s", s->error.msg);
	return 0;
}

static const char *row_of(const struct zw_ctx *c, const struct llm_slot *s, uint64_t off,
			  uint32_t row, uint64_t bytes)
{
	return llm_result(c, s) + off + row * bytes;
}

int zw_ctx_output(const struct zw_ctx *c, uint64_t step, uint32_t index, struct zw_output *out)
{
	const struct llm_slot *s = c && out ? slot_of(c, step) : NULL;
	uint32_t v = c ? c->m->cfg.vocab_size : 0, k = c ? c->o.top_k : 0;
	const struct llm_out_rows *r;
	struct zw_output o = {0};
	float probe;

	if (!s || s->state != LLM_SLOT_DONE)
		return -ENOENT;
	if (index >= s->tokens || !s->rows[index].want)
		return -EINVAL;
	r = &s->rows[index];
	if (r->want & ZW_WANT_ARGMAX) {
		memcpy(&probe, row_of(c, s, c->r.probe, r->out, 4), 4);
		o.argmax = isnan(probe) ? -EDOM
					: *(const int32_t *)(const void *)row_of(c, s, c->r.argmax,
										 r->out, 4);
	}
	if (r->want & ZW_WANT_TOPK) {
		o.num_top = k;
		o.top_logits = (const void *)row_of(c, s, c->r.top_logits, r->out, 4ull * k);
		o.top_ids = (const void *)row_of(c, s, c->r.top_ids, r->out, 4ull * k);
	}
	if (r->want & ZW_WANT_LOGITS)
		o.logits = (const void *)row_of(c, s, c->r.logits, r->logits, 4ull * v);
	return sized_out(out, SIZED_V0(struct zw_output, argmax), &o, sizeof(o));
}

/* ---- cancel ---- */

uint64_t llm_ctx_cancels(struct zw_ctx *c)
{
	uint64_t n;

	pthread_mutex_lock(&c->lock);
	n = c->cancels;
	pthread_mutex_unlock(&c->lock);
	return n;
}

void zw_ctx_cancel(struct zw_ctx *c)
{
	pthread_mutex_lock(&c->lock);
	c->cancels++;
	if (llm_ctx_busy(c)) {
		/* That ends its jobs and raises their fences: a waiter wakes up. */
		zw_queue_destroy(c->queue);
		c->queue = NULL;
		c->stopped = true;
	}
	pthread_mutex_unlock(&c->lock);
}

void llm_ctx_stop(struct zw_ctx *c)
{
	zw_queue_destroy(c->queue);
	c->queue = NULL;
}

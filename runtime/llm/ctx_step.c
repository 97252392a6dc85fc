// SPDX-License-Identifier: MIT
/* Steps: written into a slot and submitted; what they change in sequences, and how that is undone. */
#include "ctx.h"

#include <errno.h>
#include <string.h>

#include "chunks.h"

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

/* ---- what a step changes, and taking it back ---- */

/* Appends the batch's tokens of one sequence: blocks, length, undo record. */
static void extend(struct zw_ctx *c, struct llm_slot *slot, uint32_t seq)
{
	uint64_t block_bytes = llm_block_bytes(c);
	struct llm_seq *s = &c->seqs[seq];
	struct llm_undo *u = &slot->undo[slot->num_undo++];
	uint32_t at = s->length / LLM_BLOCK_TOKENS, blocks = llm_blocks_for(s->next);

	*u = (struct llm_undo){
		.seq = seq,
		.length = s->length,
		.end = s->next,
		.kept = s->kept,
		.choice = s->choice,
		.shared = llm_shared_block(c, s, s->length),
	};
	if (u->shared != LLM_NO_BLOCK) {
		uint32_t own = llm_kv_take(&c->pool);

		if (block_bytes)
			zw_cmd_copy(&c->copies, c->kv.va + own * block_bytes,
				    c->kv.va + u->shared * block_bytes, block_bytes, 0);
		s->blocks.id[at] = own;
		llm_seq_unsync(c, s, at);
	} else if (c->pool.cached && s->length % LLM_BLOCK_TOKENS &&
		   llm_prefix_knows(&c->pool.prefix, s->blocks.id[at])) {
		/* It was full once, and is so no more. */
		llm_prefix_drop(&c->pool.prefix, s->blocks.id[at]);
	}
	while (s->blocks.used < blocks)
		s->blocks.id[s->blocks.used++] = llm_kv_take(&c->pool);
	s->before = s->length;
	llm_seq_plan_state(c, s);
	u->keep = s->keep;
	u->place = s->place;
	s->length = s->next;
	if (s->place != LLM_NO_STATE && s->length - s->keep <= c->o.rewind)
		/* It is left where the sequence goes on from, and copied from there. */
		zw_cmd_copy(&c->after, llm_slab_place_va(c, s->place), llm_slab_va(c, seq, s->keep),
			    c->needs.slab_bytes, 0);
	if (c->needs.slab_bytes)
		s->kept += s->length - s->before;
	if (s->kept > c->o.rewind)
		s->kept = c->o.rewind;
	s->in_flight++;
}

static void apply(struct zw_ctx *c, struct llm_slot *slot, const struct zw_batch *b)
{
	slot->num_undo = 0;
	zw_cmd_reset(&c->copies);
	zw_cmd_reset(&c->after);
	for (uint32_t i = 0; i < b->count; i++) {
		uint32_t seq = llm_token_at(b, i)->seq;

		if (c->seqs[seq].length != c->seqs[seq].next)
			extend(c, slot, seq);
	}
}

/*
 * The sequences are as they were before the step; the newest step is the first to be undone. started:
 * the device may have seen it.
 */
void llm_step_undo(struct zw_ctx *c, struct llm_slot *slot, bool started)
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
		s->kept = u->kept;
		if (u->place != LLM_NO_STATE)
			llm_prefix_state_put(&c->pool.prefix, u->place);
		s->choice = u->choice;
		s->in_flight--;
		/* What a slab was before its tokens cannot be brought back. */
		s->lost = s->lost || (started && c->needs.slab_bytes);
	}
	slot->num_undo = 0;
}

/* A step that went well: what it kept for an undo is given back, and what it computed is known. */
void llm_step_settle(struct zw_ctx *c, struct llm_slot *slot)
{
	llm_slot_learn(c, slot);
	for (uint32_t i = 0; i < slot->num_undo; i++) {
		const struct llm_undo *u = &slot->undo[i];

		if (u->shared != LLM_NO_BLOCK)
			llm_kv_put(&c->pool, u->shared);
		c->seqs[u->seq].in_flight--;
		llm_seq_know(c, &c->seqs[u->seq], u->end);
		if (u->place != LLM_NO_STATE)
			llm_prefix_state_keep(
				&c->pool.prefix, u->place,
				c->seqs[u->seq].blocks.id[u->keep / LLM_BLOCK_TOKENS - 1]);
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

/* What Dual Chunk Attention makes of a row's position. */
static void write_chunks(const struct zw_ctx *c, const struct llm_slot *slot, uint32_t row,
			 uint32_t pos)
{
	struct llm_range r[LLM_RANGES];
	char *param = llm_param(c, slot);

	if (!llm_has_chunks(&c->m->cfg, c->o.context))
		return;
	llm_chunk_ranges(&c->m->cfg.chunks, pos, r);
	for (int i = 0; i < LLM_RANGES; i++) {
		((int32_t *)(void *)(param + c->p.chunks[i].rope))[row] = (int32_t)r[i].rope;
		((int32_t *)(void *)(param + c->p.chunks[i].start))[row] = (int32_t)r[i].start;
		((int32_t *)(void *)(param + c->p.chunks[i].last))[row] = (int32_t)r[i].last;
		if (c->sparse.kind)
			((int32_t *)(void *)(param + c->p.start[i]))[row] =
				row < slot->sparse ? INT32_MAX : (int32_t)r[i].start;
	}
	if (c->sparse.kind)
		((int32_t *)(void *)(param + c->p.far_end))[row] =
			r[2].start <= r[2].last ? (int32_t)r[2].last + 1 : 0;
}

/*
 * The states that a row goes on from and leaves behind: those behind the last 1 + rewind tokens of a
 * sequence are kept.
 */
static void write_state(const struct zw_ctx *c, struct llm_slot *slot, uint32_t row,
			const struct zw_batch_token *t)
{
	const struct llm_seq *s = &c->seqs[t->seq];
	char *param = llm_param(c, slot);
	int32_t *from = (int32_t *)(void *)(param + c->p.from);
	int32_t *to = (int32_t *)(void *)(param + c->p.to);
	uint32_t length = t->pos + 1;

	from[row] = (int32_t)llm_slab_of(c, t->seq, s->before);
	to[row] = -1;
	if (s->length - length <= c->o.rewind)
		to[row] = (int32_t)llm_slab_of(c, t->seq, length);
	else if (s->place != LLM_NO_STATE && length == s->keep)
		to[row] = (int32_t)llm_slab_place(c, s->place);
}

/*
 * Ids that the device chose come first: a gather fetches the front rows. Such a token is the first of
 * its sequence, so the order within a sequence stays. The other rows of a sequence follow each other, as
 * packets with recurrent state need it. Some sequences have been given the first rows already, where none is
 * chosen.
 */
static void write_rows(const struct zw_ctx *c, struct llm_slot *slot, const struct zw_batch *b,
		       const struct llm_tally *n, uint32_t given)
{
	char *param = llm_param(c, slot);
	int32_t *ids = (int32_t *)(void *)(param + c->p.ids);
	int32_t *pos = (int32_t *)(void *)(param + c->p.pos);
	int32_t *seq = (int32_t *)(void *)(param + c->p.seq);
	int32_t *chosen = (int32_t *)(void *)(param + c->p.chosen);
	uint32_t front = 0, rest = n->chosen + given;

	for (uint32_t i = 0; i < b->count; i++) {
		const struct zw_batch_token *t = llm_token_at(b, i);
		struct llm_seq *s = &c->seqs[t->seq];
		uint32_t row;

		if (t->id != ZW_ID_CHOSEN && s->placed != c->stamp) {
			s->placed = c->stamp;
			s->row = rest;
			rest += s->length - t->pos;
		}
		row = t->id == ZW_ID_CHOSEN ? front++ : s->row++;
		if (t->id == ZW_ID_CHOSEN)
			chosen[row] = (int32_t)llm_choice_find(c, &s->choice);
		else if (t->id != LLM_ID_DRAFTED)
			ids[row] = (int32_t)t->id;
		s->ids[t->pos] = t->id;
		if (c->needs.slab_bytes)
			write_state(c, slot, row, t);
		pos[row] = (int32_t)t->pos;
		write_chunks(c, slot, row, t->pos);
		seq[row] = (int32_t)t->seq;
		slot->rows[i].in = row;
	}
}

/*
 * Rows whose candidates are wanted come first: a top-k works on the front rows. step: its number, if it
 * is submitted.
 */
static void write_outputs(const struct zw_ctx *c, struct llm_slot *slot, const struct zw_batch *b,
			  const struct llm_tally *n, uint64_t step)
{
	char *param = llm_param(c, slot);
	int32_t *out_rows = (int32_t *)(void *)(param + c->p.out_rows);
	int32_t *logit_rows = (int32_t *)(void *)(param + c->p.logit_rows);
	uint32_t top = 0, rest = n->top, logits = 0;

	for (uint32_t i = 0; i < b->count; i++) {
		const struct zw_batch_token *t = llm_token_at(b, i);
		struct llm_choice *choice = &c->seqs[t->seq].choice;
		struct llm_out_rows *r = &slot->rows[i];
		uint32_t want = t->want;

		r->out = r->logits = LLM_NO_ROW;
		r->want = want;
		*choice = (struct llm_choice){0};
		if (!want)
			continue;
		r->out = want & ZW_WANT_TOPK ? top++ : rest++;
		out_rows[r->out] = (int32_t)r->in;
		if (want & ZW_WANT_ARGMAX)
			*choice = (struct llm_choice){.step = step, .row = r->out};
		if (want & ZW_WANT_LOGITS) {
			r->logits = logits++;
			logit_rows[r->logits] = (int32_t)r->out;
		}
	}
}

static void write_params(struct zw_ctx *c, struct llm_slot *slot, const struct zw_batch *b,
			 const struct llm_tally *n)
{
	char *param = llm_param(c, slot);

	slot->chosen = n->chosen;
	*(uint32_t *)(void *)(param + c->p.num_rows) = b->count;
	*(uint32_t *)(void *)(param + c->p.num_chosen) = n->chosen;
	*(uint32_t *)(void *)(param + c->p.num_out) = n->out;
	*(uint32_t *)(void *)(param + c->p.num_top) = n->top;
	*(uint32_t *)(void *)(param + c->p.num_logits) = n->logits;
	write_table(c, slot);
	write_rows(c, slot, b, n, llm_sparse_rows(c, slot, n));
	write_outputs(c, slot, b, n, c->last_step + 1);
}

/* What the part of the model before left, row by row; where nothing is computed it is nobody's business. */
static void write_hidden(const struct zw_ctx *c, const struct llm_slot *slot,
			 const struct zw_batch *b)
{
	size_t h = c->m->cfg.hidden_size;
	float *to = (float *)(void *)(llm_result(c, slot) + c->r.hidden_in);

	for (uint32_t i = 0; b->hidden && !c->m->timing_only && i < b->count; i++)
		memcpy(to + slot->rows[i].in * h, b->hidden + i * h, h * sizeof(*to));
}

/* ---- submit ---- */

static uint32_t code_end(const struct llm_slot *s, const struct llm_tally *n)
{
	if (n->logits)
		return s->end_logits;
	if (n->top)
		return s->end_top;
	return n->out ? s->end_choice : s->end_body;
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

static void add_job(struct zw_job *job, uint32_t *jobs, uint64_t va, size_t bytes)
{
	job[*jobs].cmd_va = va;
	job[(*jobs)++].cmd_bytes = (uint32_t)bytes;
}

/* Copies of blocks first, where there are any, then the step, then copies of states. */
static int submit_jobs(struct zw_ctx *c, struct llm_slot *s, const struct llm_tally *n,
		       struct zw_error *err)
{
	struct zw_sync sync = {.fence = c->fence, .point = c->point + 1, .flags = ZW_SYNC_SIGNAL};
	/* Ids that were drafted are put in their place before those that the device chose. */
	uint32_t front = s->drafts   ? s->place_bytes + s->chain_bytes
			 : n->chosen ? s->chain_bytes
				     : 0;
	struct zw_job job[5];
	uint32_t jobs = 0;
	int ret = zw_cmd_finish(&c->copies);

	if (ret)
		return llm_fail(err, ret, "copying blocks: %s", c->copies.what.msg);
	ret = zw_cmd_finish(&c->after);
	if (ret)
		return llm_fail(err, ret, "copying states: %s", c->after.what.msg);
	memset(job, 0, sizeof(job));
	if (c->copies.used) {
		memcpy(llm_param(c, s) + c->p.copies, c->copies.base, c->copies.used);
		add_job(job, &jobs, llm_param_va(c, s) + c->p.copies, c->copies.used);
	}
	if (s->drafts)
		add_job(job, &jobs, c->code.va + s->code_off + s->draft_off,
			s->draft_end[s->drafts - 1]);
	add_job(job, &jobs, c->code.va + s->code_off - front, code_end(s, n) + front);
	if (c->after.used) {
		memcpy(llm_param(c, s) + c->p.after, c->after.base, c->after.used);
		add_job(job, &jobs, llm_param_va(c, s) + c->p.after, c->after.used);
	}
	if (c->o.draft)
		add_job(job, &jobs, c->code.va + s->code_off + s->mtp_off,
			n->out ? s->mtp_end_draft : s->mtp_end);
	for (uint32_t i = 0; i < jobs; i++) {
		job[i].size = sizeof(job[i]);
		job[i].result_va = llm_result_va(c, s) + c->r.job[i];
		memset(llm_job_result(c, s, i), 0, sizeof(struct zw_job_result));
	}
	job[jobs - 1].syncs = &sync;
	job[jobs - 1].num_syncs = 1;
	ret = llm_ctx_queue_submit(c, job, jobs);
	if (ret)
		return llm_fail_queue(err, c->queue, ret, "submitting a step");
	s->jobs = jobs;
	s->point = ++c->point;
	return 0;
}

int llm_ctx_submit(struct zw_ctx *c, const struct zw_batch *batch, const struct llm_submit *how,
		   uint64_t *step, struct zw_error *err)
{
	bool idle = !llm_ctx_busy(c);
	struct llm_slot *s;
	struct zw_batch b;
	struct llm_tally n;
	int ret;

	ret = sized_in(&b, sizeof(b), SIZED_V0(struct zw_batch, tokens), batch);
	if (ret)
		return llm_fail(err, ret, "zw_ctx_submit: a batch of an unknown version");
	pthread_mutex_lock(&c->lock);
	ret = c->stopped ? llm_steps_resolve(c, c->last_step, -ECANCELED) : 0;
	if (ret || (how->cancels && *how->cancels != c->cancels)) {
		ret = llm_fail(err, -ECANCELED, "cancelled");
		goto out;
	}
	s = next_slot(c);
	if (!s) {
		ret = llm_fail(err, -EAGAIN, "%u steps are in flight", c->o.steps);
		goto out;
	}
	c->drafting = how->num_chains;
	ret = llm_batch_check(c, &b, &n, err);
	if (ret)
		goto out;
	s->state = LLM_SLOT_FREE;
	apply(c, s, &b);
	write_params(c, s, &b, &n);
	write_hidden(c, s, &b);
	s->drafts = 0;
	if (c->o.draft)
		llm_mtp_write(c, s, &b, &n, how);
	ret = submit_jobs(c, s, &n, err);
	if (ret) {
		llm_step_undo(c, s, false);
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
	return llm_ctx_submit(c, batch, &(struct llm_submit){.next = LLM_NO_ROW}, step, err);
}

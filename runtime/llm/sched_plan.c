// SPDX-License-Identifier: MIT
/*
 * What the next step computes. Every request that has one token to compute is in it, then pieces of the
 * texts of those that have more, as the budgets allow, then requests that are admitted. Blocks are found
 * before: who runs has the blocks that it needs for its next token, or somebody behind it goes.
 */
#include "scheduler.h"

#include <errno.h>
#include <string.h>

#include "generate.h"
#include "sampler.h"
#include "snapshot.h"

/* Tokens that are known and neither computed nor about to be. */
static uint32_t left(const struct llm_request *r)
{
	uint32_t sent = r->done + r->sent;

	return r->n > sent ? r->n - sent : 0;
}

/* Blocks that the next k tokens of one that runs take from the pool. */
static uint32_t need(const struct zw_sched *s, const struct llm_request *r, uint32_t k)
{
	const struct llm_seq *q = &s->c->seqs[r->seq];

	return llm_blocks_for(q->length + k) - q->blocks.used +
	       (llm_shared_block(s->c, q, q->length) != LLM_NO_BLOCK);
}

/* ---- preemption ---- */

/* Its KV cache goes to system memory, where there may be so much. */
static bool swap_out(struct zw_sched *s, struct llm_request *r)
{
	struct zw_snapshot_info info = {.size = sizeof(info)};
	struct zw_snapshot *snap;

	if (s->o.flags & ZW_SCHED_RECOMPUTE || !r->done)
		return false;
	if (s->o.swap_bytes &&
	    s->stats.swapped_bytes + llm_align(llm_snapshot_bytes(s->c, r->done), 4096) >
		    s->o.swap_bytes)
		return false;
	if (zw_seq_snapshot(s->c, r->seq, &snap))
		return false;
	if (zw_snapshot_swap_out(snap)) {
		zw_snapshot_destroy(snap);
		return false;
	}
	zw_snapshot_get_info(snap, &info);
	r->snap = snap;
	r->system_bytes = info.system_bytes;
	s->stats.swapped_bytes += r->system_bytes;
	s->stats.preempted_swap++;
	return true;
}

static void preempt(struct zw_sched *s, struct llm_request *r)
{
	if (!swap_out(s, r))
		s->stats.preempted_recompute++;
	zw_seq_remove(s->c, r->seq);
	r->running = false;
	llm_requests_remove(&s->running, r);
	llm_requests_add(&s->waiting, r);
}

static struct llm_request *last_running(const struct zw_sched *s)
{
	return s->running.at[s->running.n - 1];
}

/* All that have one token to compute get a block for it where they need one. */
static void make_room(struct zw_sched *s)
{
	for (;;) {
		uint64_t blocks = 0;

		for (size_t i = 0; i < s->running.n; i++) {
			const struct llm_request *r = s->running.at[i];

			if (left(r) == 1)
				blocks += need(s, r, 1);
		}
		if (blocks <= llm_kv_available(&s->c->pool))
			return;
		if (s->running.n > 1) {
			preempt(s, last_running(s));
			continue;
		}
		/* All that there is is not enough for it alone, or others have it. */
		if (llm_blocks_for(last_running(s)->n) <= s->c->pool.num)
			return;
		llm_request_end(s, last_running(s), ZW_FINISH_CONTEXT, 0);
	}
}

/* ---- the step ---- */

struct plan {
	uint32_t tokens, prompt, outputs, logits;
	uint64_t blocks; /* that it takes */
};

/* Room for n outputs more, with their logits or not. */
static bool has_outputs(const struct zw_sched *s, const struct plan *p, uint32_t want, uint32_t n)
{
	const struct zw_ctx_options *o = &s->c->o;

	return p->outputs + n <= o->outputs &&
	       (!(want & ZW_WANT_LOGITS) || p->logits + n <= o->logits);
}

static void count_outputs(struct plan *p, uint32_t want, uint32_t n)
{
	p->outputs += want ? n : 0;
	p->logits += want & ZW_WANT_LOGITS ? n : 0;
}

static uint32_t want_of(const struct zw_sched *s, const struct llm_request *r)
{
	/* A mask is shown the logits themselves where it can be. */
	if (r->p.draft && r->p.draft_tokens && llm_can_draft(s->c, r->p.sampler, false))
		return llm_want_greedy(r->p.sampler);
	return llm_want_of(s->c, r->p.sampler, false);
}

/* Up to k of a request's tokens, as many as there is room for; false: none. */
static bool put(struct zw_sched *s, struct plan *p, struct llm_request *r, uint32_t k)
{
	uint64_t room = llm_kv_available(&s->c->pool) - p->blocks;
	uint32_t want = 0, at = r->done + r->sent;

	if (k > s->o.step_tokens - p->tokens)
		k = s->o.step_tokens - p->tokens;
	if (left(r) > 1 && k > s->o.prompt_tokens - p->prompt)
		k = s->o.prompt_tokens - p->prompt;
	if (k) {
		k = llm_sparse_piece(s->c, at, left(r), k, false);
		/* Where another prompt goes on it waits until there is room for a group. */
		if (p->prompt && llm_sparse_cuts(s->c, at, left(r), k))
			return false;
	}
	/* To the end of what fits: of a prompt, as one token finds its block. */
	while (k && need(s, r, k) > room)
		k = k > 1 ? k / 2 : 0;
	if (!k)
		return false;
	if (k < left(r))
		k = llm_piece(s->c, at, k);
	/* What others leave of a step is too little for a chunk: in the next one, where it may be the first. */
	if (k < left(r) && s->c->o.delta_chunked && (at + k) % ZW_DELTA_CHUNK && p->prompt)
		return false;
	if (k == left(r) && r->generated < r->p.max_tokens) {
		want = want_of(s, r);
		if (!has_outputs(s, p, want, 1))
			return false;
	}
	for (uint32_t i = 0; i < k; i++)
		s->tokens[p->tokens + i] = (struct zw_batch_token){
			.id = r->ids[at + i],
			.pos = at + i,
			.seq = r->seq,
		};
	p->blocks += need(s, r, k);
	p->prompt += left(r) > 1 ? k : 0;
	p->tokens += k;
	count_outputs(p, want, 1);
	s->tokens[p->tokens - 1].want = want;
	s->plan.at[s->plan.n++] =
		(struct llm_entry){.r = r, .tokens = k, .index = p->tokens - 1, .want = want};
	return true;
}

/* ---- drafts ---- */

/* So many tokens may be drafted for a request of which one is in the step. */
static uint32_t draft_room(const struct zw_sched *s, const struct plan *p,
			   const struct llm_entry *e)
{
	const struct llm_request *r = e->r;
	uint64_t left = r->p.max_tokens - r->generated;
	uint32_t max = r->p.draft ? r->p.draft_tokens : 0, room = s->c->o.context - r->n;

	if (!max || !e->want || e->tokens != 1 || !llm_can_draft(s->c, r->p.sampler, false))
		return 0;
	/* The head goes on from its own state, which is there for as long as no other step has been. */
	if (r->p.draft == ZW_DRAFT_MTP && r->guess == LLM_NO_GUESS)
		return 0;
	if (r->p.draft == ZW_DRAFT_MTP && r->guess_step != s->c->last_step)
		max = 1;
	max = room < max ? room : max;
	max = left <= max ? (uint32_t)left - 1 : max;
	while (max &&
	       (!has_outputs(s, p, e->want, max) ||
		p->blocks + need(s, r, 1 + max) - need(s, r, 1) > llm_kv_available(&s->c->pool)))
		max--;
	return max;
}

/*
 * n tokens that may follow those of a request, as far as they are known here: of what the MTP head drafts
 * that is the first, the others the device puts in. Their number.
 */
static uint32_t find_drafts(struct zw_sched *s, const struct plan *p, const struct llm_request *r,
			    uint32_t *ids, uint32_t n)
{
	if (!n || r->p.draft == ZW_DRAFT_NGRAM)
		return n ? llm_draft_ngram(r->ids, r->n - 1, r->ids[r->n - 1], ids, n) : 0;
	ids[0] = r->guess;
	for (uint32_t i = 1; i < n; i++)
		ids[i] = LLM_ID_DRAFTED;
	if (n > 1)
		s->chains[s->num_chains++] =
			(struct llm_chain){.index = p->tokens, .n = n - 1, .row = r->guess_row};
	return n;
}

/* Behind the tokens of those that decode; prompts that wait have at least half of what is left. */
static void put_drafts(struct zw_sched *s, struct plan *p)
{
	uint32_t most = s->o.step_tokens - p->tokens, ids[ZW_CTX_MAX_REWIND];

	for (size_t i = 0; i < s->running.n; i++) {
		if (left(s->running.at[i]) > 1) {
			most /= 2;
			break;
		}
	}
	for (size_t i = 0; i < s->plan.n && most; i++) {
		struct llm_entry *e = &s->plan.at[i];
		struct llm_request *r = e->r;
		uint32_t n = draft_room(s, p, e);

		n = find_drafts(s, p, r, ids, n < most ? n : most);
		if (!n)
			continue;
		e->drafts = n;
		e->first_draft = p->tokens;
		for (uint32_t k = 0; k < n; k++)
			s->tokens[p->tokens + k] =
				(struct zw_batch_token){ids[k], r->n + k, r->seq, e->want};
		p->blocks += need(s, r, 1 + n) - need(s, r, 1);
		p->tokens += n;
		count_outputs(p, e->want, n);
		most -= n;
	}
}

/* Of all that run those with one token to compute, or those with more. */
static void put_running(struct zw_sched *s, struct plan *p, bool one)
{
	size_t n = s->running.n, first = s->rotate;
	bool denied = false;

	for (size_t i = 0; i < n; i++) {
		size_t at = (first + i) % n;
		struct llm_request *r = s->running.at[at];

		if (!left(r) || (left(r) == 1) != one || put(s, p, r, left(r)) || !one || denied)
			continue;
		denied = true;
		s->rotate = (uint32_t)at;
	}
}

/* ---- admission ---- */

bool llm_sched_has_room(const struct zw_sched *s, const struct llm_request *r, uint32_t shared)
{
	uint32_t known = shared, idle = 0, available = llm_kv_available(&s->c->pool);
	uint64_t blocks;

	if (!shared)
		known = llm_prefix_count(s->c, r->ids, (r->n - 1) / LLM_BLOCK_TOKENS, &idle);
	blocks = llm_blocks_for(r->n) - known + idle;
	/* What the others have still to fill, and a block for what each of them generates. */
	for (size_t i = 0; i < s->running.n; i++)
		blocks += need(s, s->running.at[i], left(s->running.at[i])) + 1;
	return blocks <= available;
}

static int start(struct zw_sched *s, struct llm_request *r)
{
	size_t taken;
	int ret = zw_seq_create(s->c, &r->seq);

	if (ret)
		return ret;
	if (r->snap) {
		ret = zw_seq_restore(s->c, r->seq, r->snap);
		if (ret == -ENOSPC) {
			zw_seq_remove(s->c, r->seq);
			return ret;
		}
		zw_snapshot_destroy(r->snap);
		r->snap = NULL;
		s->stats.swapped_bytes -= r->system_bytes;
		r->system_bytes = 0;
		/* What did not come back is computed again. */
		if (ret)
			ret = zw_seq_truncate(s->c, r->seq, 0);
	}
	if (!ret && !zw_seq_length(s->c, r->seq))
		ret = zw_seq_take_prefix(s->c, r->seq, r->ids, r->n, &taken);
	if (ret) {
		zw_seq_remove(s->c, r->seq);
		return ret;
	}
	r->done = (uint32_t)zw_seq_length(s->c, r->seq);
	r->running = true;
	return 0;
}

/* Those that wait, as long as the first of them can run: nobody overtakes. */
static int admit(struct zw_sched *s, struct zw_error *err)
{
	while (s->waiting.n && s->running.n < s->most) {
		struct llm_request *r = s->waiting.at[0];
		int ret;

		/* Alone it may have all there is. */
		if (s->running.n && !llm_sched_has_room(s, r, 0))
			break;
		ret = start(s, r);
		if (ret == -ENOSPC)
			break;
		if (ret)
			return llm_fail(err, ret, "starting request %llu: %s",
					(unsigned long long)r->id, strerror(-ret));
		llm_requests_remove(&s->waiting, r);
		llm_requests_add(&s->running, r);
	}
	return 0;
}

int llm_sched_plan(struct zw_sched *s, uint32_t *tokens, struct zw_error *err)
{
	struct plan p;
	int ret;

	for (;;) {
		p = (struct plan){0};
		s->plan.n = s->num_chains = 0;
		make_room(s);
		ret = admit(s, err);
		if (ret)
			return ret;
		make_room(s);
		if (s->rotate >= s->running.n)
			s->rotate = 0;
		put_running(s, &p, true);
		put_drafts(s, &p);
		put_running(s, &p, false);
		/* Prompts that wait for blocks of each other: the last one begins again. */
		if (p.tokens || s->running.n < 2)
			break;
		preempt(s, last_running(s));
	}
	*tokens = p.tokens;
	if (p.tokens)
		return 0;
	/* The prompt of the only one that runs found no block, or none could begin. */
	if (s->running.n || s->waiting.n)
		return llm_fail(err, -ENOSPC,
				"no request can run: %u of %u blocks and %u of %u sequences are "
				"free",
				llm_kv_available(&s->c->pool), s->c->pool.num,
				s->c->o.max_seqs - s->c->num_seqs, s->c->o.max_seqs);
	return 0;
}

/* ---- behind a step in flight ---- */

/* Its next token is being chosen, and is the end of it whatever it is. */
static bool ends(const struct zw_sched *s, const struct llm_request *r)
{
	return r->generated + 1 >= r->p.max_tokens || r->done + r->sent >= s->c->o.context;
}

/* Its next token is the one that the device chooses. */
static bool can_follow(const struct zw_sched *s, const struct llm_request *r)
{
	return !(r->p.draft && r->p.draft_tokens) && !r->p.sampler->p.mask &&
	       llm_can_draft(s->c, r->p.sampler, false);
}

static bool put_chosen(struct zw_sched *s, struct plan *p, struct llm_request *r)
{
	if (p->tokens == s->o.step_tokens || !has_outputs(s, p, ZW_WANT_ARGMAX, 1) ||
	    p->blocks + need(s, r, 1) > llm_kv_available(&s->c->pool))
		return false;
	s->tokens[p->tokens] = (struct zw_batch_token){
		.id = ZW_ID_CHOSEN,
		.pos = r->done + r->sent,
		.seq = r->seq,
		.want = ZW_WANT_ARGMAX,
	};
	s->plan.at[s->plan.n++] =
		(struct llm_entry){.r = r, .tokens = 1, .index = p->tokens, .want = ZW_WANT_ARGMAX};
	p->blocks += need(s, r, 1);
	p->tokens++;
	count_outputs(p, ZW_WANT_ARGMAX, 1);
	return true;
}

uint32_t llm_sched_plan_ahead(struct zw_sched *s)
{
	struct plan p = {0};

	/* Nobody is kept waiting by it, and everybody is in it. */
	if (!(s->o.flags & ZW_SCHED_AHEAD) || s->c->o.steps < 2 ||
	    (s->waiting.n && s->running.n < s->most))
		return 0;
	s->plan.n = s->num_chains = 0;
	for (size_t i = 0; i < s->running.n; i++) {
		struct llm_request *r = s->running.at[i];

		if (left(r) == 1 ? !put(s, &p, r, 1)
				 : !left(r) && !ends(s, r) &&
					   (!can_follow(s, r) || !put_chosen(s, &p, r)))
			return 0;
	}
	put_running(s, &p, false);
	return p.tokens;
}

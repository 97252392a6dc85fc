// SPDX-License-Identifier: MIT
/* One step of a scheduler: submit, wait, choose, call back. */
#include "scheduler.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "generate.h"

/* Those whose end was asked for, maybe by another thread. */
static void end_cancelled(struct zw_sched *s)
{
	struct llm_request *r;
	uint64_t *list;
	size_t n;

	pthread_mutex_lock(&s->lock);
	list = s->cancel;
	n = s->num_cancel;
	s->cancel = NULL;
	s->num_cancel = s->cap_cancel = 0;
	pthread_mutex_unlock(&s->lock);
	for (size_t i = 0; i < n; i++) {
		r = llm_sched_find(s, list[i]);
		if (r)
			llm_request_end(s, r, ZW_FINISH_CANCEL, 0);
	}
	free(list);
}

void llm_sched_leave(struct zw_sched *s)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->num_leaving; i++) {
		if (zw_seq_remove(s->c, s->leaving[i]) == -EBUSY)
			s->leaving[n++] = s->leaving[i];
	}
	s->num_leaving = n;
}

void llm_sched_drain(struct zw_sched *s)
{
	struct zw_error why;

	for (uint32_t k = 0; k < s->num_flights; k++)
		zw_ctx_wait(s->c, s->flight[k].step, ZW_FOREVER, &why);
	s->num_flights = 0;
	llm_sched_leave(s);
}

/* Everything is as before the steps, but for recurrent state that is lost: that is computed again. */
static void recover(struct zw_sched *s)
{
	llm_sched_drain(s);
	for (size_t i = 0; i < s->running.n; i++) {
		struct llm_request *r = s->running.at[i];

		r->sent = 0;
		if (s->c->seqs[r->seq].lost && !zw_seq_truncate(s->c, r->seq, 0))
			r->done = 0;
	}
}

/* What was planned becomes the newest of the steps in flight. */
static int submit(struct zw_sched *s, uint32_t tokens, struct zw_error *err)
{
	struct zw_batch b = {.size = sizeof(b),
			     .count = tokens,
			     .token_size = sizeof(*s->tokens),
			     .tokens = s->tokens};
	const struct llm_submit how = {
		.next = LLM_NO_ROW, .chains = s->chains, .num_chains = s->num_chains};
	struct llm_flight *f = &s->flight[s->num_flights], old = *f;
	int ret = llm_ctx_submit(s->c, &b, &how, &s->plan.step, err);

	if (ret)
		return ret;
	*f = s->plan;
	f->ahead = s->num_flights;
	s->plan = old;
	s->num_flights++;
	for (size_t i = 0; i < f->n; i++)
		f->at[i].r->sent += f->at[i].tokens;
	return 0;
}

/* The oldest step is done; it stays in the last place until another one is submitted. */
static struct llm_flight *take_flight(struct zw_sched *s)
{
	struct llm_flight f = s->flight[0];

	s->flight[0] = s->flight[1];
	s->flight[1] = f;
	s->num_flights--;
	return &s->flight[1];
}

/* ---- what came out ---- */

/* The choice behind token `index` of the step. */
static int choose(struct zw_sched *s, struct llm_request *r, uint64_t step, uint32_t index,
		  uint32_t want, uint32_t *id)
{
	struct zw_output out = {.size = sizeof(out)};
	struct zw_error err;
	int ret = zw_ctx_output(s->c, step, index, &out);

	if (ret)
		return ret;
	if (want & ZW_WANT_ARGMAX)
		return llm_choose_greedy(s->c, r->p.sampler, &out, id, &err);
	return llm_choose(s->c, r->p.sampler, &out, id, &err);
}

/* A token that was chosen behind `done` that are computed; 0, or why the request has ended. */
static enum zw_finish take(struct zw_sched *s, struct llm_request *r, uint32_t id, int *error)
{
	*error = llm_grow(&r->ids, &r->cap, (size_t)r->n + 1, sizeof(*r->ids));
	if (*error)
		return ZW_FINISH_ERROR;
	if (!(r->p.flags & ZW_GENERATE_IGNORE_STOP) && zw_model_is_stop(s->c->m, id))
		return ZW_FINISH_STOP;
	r->ids[r->n++] = id;
	r->generated++;
	s->stats.generated_tokens++;
	if (r->p.token && r->p.token(r->p.opaque, r->id, id))
		return ZW_FINISH_CALLBACK;
	if (r->generated == r->p.max_tokens)
		return ZW_FINISH_LENGTH;
	if (r->done == s->c->o.context)
		return ZW_FINISH_CONTEXT;
	*error = zw_sampler_accept(r->p.sampler, id);
	return *error ? ZW_FINISH_ERROR : 0;
}

/* What was drafted in vain is taken back, and a token that is to be fed once more. */
static int cut_drafts(struct zw_sched *s, const struct llm_entry *e)
{
	const struct llm_request *r = e->r;

	if (!e->drafts || zw_seq_length(s->c, r->seq) == r->done)
		return 0;
	return zw_seq_truncate(s->c, r->seq, r->done);
}

/* The next token of a request whose text is computed, and those that were drafted; 0, or why it ended. */
static enum zw_finish next_tokens(struct zw_sched *s, uint64_t step, const struct llm_entry *e,
				  int *error)
{
	struct llm_request *r = e->r;
	uint32_t index = e->index, id = 0;
	enum zw_finish finish = 0;

	if (r->generated == r->p.max_tokens)
		return ZW_FINISH_LENGTH;
	s->stats.drafted_tokens += e->drafts;
	for (uint32_t right = 0;; right++) {
		*error = choose(s, r, step, index, e->want, &id);
		if (*error == -EAGAIN && right) {
			r->done--;
			break;
		}
		if (*error)
			return ZW_FINISH_ERROR;
		r->guess = LLM_NO_GUESS;
		if (right < e->drafts && s->c->seqs[r->seq].ids[r->n] == id)
			s->stats.accepted_tokens++;
		else
			break;
		finish = take(s, r, id, error);
		if (finish)
			return finish;
		r->done++;
		index = e->first_draft + right;
	}
	if (*error != -EAGAIN) {
		r->guess_step = step;
		if (r->p.draft == ZW_DRAFT_MTP &&
		    llm_mtp_draft(s->c, step, index, &r->guess, &r->guess_row))
			r->guess = LLM_NO_GUESS;
		finish = take(s, r, id, error);
		if (finish)
			return finish;
	}
	*error = cut_drafts(s, e);
	return *error ? ZW_FINISH_ERROR : 0;
}

static uint32_t given_of(const struct llm_request *r)
{
	return r->done < r->given ? r->done : r->given;
}

static void settle(struct zw_sched *s, struct llm_flight *f)
{
	s->stats.steps++;
	s->stats.ahead_steps += f->ahead;
	/* All first: a callback may fork any of them. */
	for (size_t i = 0; i < f->n; i++) {
		struct llm_request *r = f->at[i].r;
		uint32_t before;

		if (!r)
			continue;
		before = given_of(r);
		r->done += f->at[i].tokens;
		r->sent -= f->at[i].tokens;
		s->stats.prompt_tokens += given_of(r) - before;
	}
	for (size_t i = 0; i < f->n; i++) {
		const struct llm_entry e = f->at[i]; /* lists grow when a callback adds a request */
		enum zw_finish finish = 0;
		int error = 0;

		if (!e.r)
			continue;
		if (e.r->done == e.r->n)
			finish = next_tokens(s, f->step, &e, &error);
		if (finish)
			llm_request_end(s, e.r, finish, error);
	}
}

/* Of two steps in flight the older one is waited for, else of one. */
static int run(struct zw_sched *s, struct zw_error *err)
{
	uint32_t tokens = llm_sched_plan_ahead(s);
	struct zw_error why;
	int ret;

	/* One that cannot be submitted is found out when it is the only one. */
	if (tokens)
		submit(s, tokens, &why);
	ret = zw_ctx_wait(s->c, s->flight[0].step, ZW_FOREVER, err);
	if (ret) {
		recover(s);
		return ret;
	}
	settle(s, take_flight(s));
	return 0;
}

int zw_sched_step(struct zw_sched *s, struct zw_error *err)
{
	uint32_t tokens = 0;
	size_t n;
	int ret = 0;

	if (!s)
		return llm_fail(err, -EINVAL, "zw_sched_step: bad argument");
	end_cancelled(s);
	if (!s->num_flights) {
		llm_sched_leave(s);
		ret = llm_sched_plan(s, &tokens, err);
		if (!ret && tokens)
			ret = submit(s, tokens, err);
		if (ret)
			recover(s);
	}
	if (!ret && s->num_flights)
		ret = run(s, err);
	if (ret)
		return ret;
	end_cancelled(s);
	llm_sched_leave(s);
	n = s->running.n + s->waiting.n;
	if (!n)
		llm_sched_drain(s);
	return n < INT_MAX ? (int)n : INT_MAX;
}

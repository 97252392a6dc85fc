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

/* Everything is as before the step, but for recurrent state that is lost: that is computed again. */
static void recover(struct zw_sched *s)
{
	for (size_t i = 0; i < s->running.n; i++) {
		struct llm_request *r = s->running.at[i];

		if (s->c->seqs[r->seq].lost && !zw_seq_truncate(s->c, r->seq, 0))
			r->done = 0;
	}
}

static int run(struct zw_sched *s, uint32_t tokens, uint64_t *step, struct zw_error *err)
{
	struct zw_batch b = {.size = sizeof(b),
			     .count = tokens,
			     .token_size = sizeof(*s->tokens),
			     .tokens = s->tokens};
	int ret = zw_ctx_submit(s->c, &b, step, err);

	if (!ret)
		ret = zw_ctx_wait(s->c, *step, ZW_FOREVER, err);
	if (ret)
		recover(s);
	return ret;
}

/* The next token of a request whose text is computed; 0, or why it has ended. */
static enum zw_finish next_token(struct zw_sched *s, struct llm_request *r, uint64_t step,
				 int *error)
{
	struct zw_output out = {.size = sizeof(out)};
	struct zw_error err;
	uint32_t id;

	if (r->generated == r->p.max_tokens)
		return ZW_FINISH_LENGTH;
	*error = zw_ctx_output(s->c, step, r->index, &out);
	if (!*error)
		*error = llm_choose(s->c, r->p.sampler, &out, &id, &err);
	if (!*error)
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

static uint32_t given_of(const struct llm_request *r)
{
	return r->done < r->given ? r->done : r->given;
}

int zw_sched_step(struct zw_sched *s, struct zw_error *err)
{
	uint32_t tokens, before;
	uint64_t step;
	size_t n;
	int ret;

	if (!s)
		return llm_fail(err, -EINVAL, "zw_sched_step: bad argument");
	end_cancelled(s);
	ret = llm_sched_plan(s, &tokens, err);
	if (!ret && tokens)
		ret = run(s, tokens, &step, err);
	if (ret)
		return ret;
	s->stats.steps += tokens != 0;
	n = tokens ? s->step.n : 0;
	/* All first: a callback may fork any of them. */
	for (size_t i = 0; i < n; i++) {
		struct llm_request *r = s->step.at[i];

		before = given_of(r);
		r->done += r->planned;
		s->stats.prompt_tokens += given_of(r) - before;
	}
	for (size_t i = 0; i < n; i++) {
		struct llm_request *r = s->step.at[i];
		enum zw_finish finish = 0;
		int error = 0;

		if (r->done == r->n)
			finish = next_token(s, r, step, &error);
		if (finish)
			llm_request_end(s, r, finish, error);
	}
	end_cancelled(s);
	n = s->running.n + s->waiting.n;
	return n < INT_MAX ? (int)n : INT_MAX;
}

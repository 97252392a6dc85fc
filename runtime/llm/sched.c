// SPDX-License-Identifier: MIT
/* Schedulers: life, requests, figures. */
#include "scheduler.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* ---- life ---- */

static int check_options(struct zw_sched *s, struct zw_error *err)
{
	const struct zw_ctx_options *c = &s->c->o;

	if (s->o.flags & ~(ZW_SCHED_RECOMPUTE | ZW_SCHED_AHEAD))
		return llm_fail(err, -EINVAL, "zw_sched_create: unknown flags");
	if (!s->o.step_tokens || s->o.step_tokens > c->batch)
		s->o.step_tokens = c->batch;
	if (!s->o.prompt_tokens)
		s->o.prompt_tokens = s->o.step_tokens;
	/* Prompts would see every key without anybody saying so. */
	if (s->o.prompt_tokens < s->c->sparse.group || s->o.step_tokens < s->c->sparse.group)
		return llm_fail(err, -EINVAL,
				"zw_sched_create: steps of %u tokens, %u of them of prompts, have "
				"no group of %u of sparse attention",
				s->o.step_tokens, s->o.prompt_tokens, s->c->sparse.group);
	/* Each has at least one token and one output in a step. */
	s->most = c->max_seqs < c->outputs ? c->max_seqs : c->outputs;
	if (s->most > s->o.step_tokens)
		s->most = s->o.step_tokens;
	return 0;
}

int zw_sched_create(struct zw_ctx *c, const struct zw_sched_options *opt, struct zw_sched **out,
		    struct zw_error *err)
{
	struct zw_sched *s;
	int ret = 0;

	if (!c || !out)
		return llm_fail(err, -EINVAL, "zw_sched_create: bad argument");
	s = calloc(1, sizeof(*s));
	if (!s)
		return llm_fail(err, -ENOMEM, "out of memory");
	s->c = c;
	if (opt) {
		ret = sized_in(&s->o, sizeof(s->o), SIZED_V0(struct zw_sched_options, swap_bytes),
			       opt);
		if (ret)
			llm_fail(err, ret, "zw_sched_create: options of an unknown version");
	}
	if (!ret)
		ret = check_options(s, err);
	if (!ret) {
		s->tokens = calloc(s->o.step_tokens, sizeof(*s->tokens));
		s->leaving = calloc(c->o.max_seqs, sizeof(*s->leaving));
		s->chains = calloc(s->most, sizeof(*s->chains));
		if (!s->tokens || !s->leaving || !s->chains)
			ret = llm_fail(err, -ENOMEM, "out of memory");
	}
	if (ret) {
		free(s->tokens);
		free(s->leaving);
		free(s->chains);
		free(s);
		return ret;
	}
	pthread_mutex_init(&s->lock, NULL);
	*out = s;
	return 0;
}

void zw_sched_destroy(struct zw_sched *s)
{
	if (!s)
		return;
	llm_sched_drain(s);
	while (s->running.n)
		llm_request_end(s, s->running.at[s->running.n - 1], ZW_FINISH_CANCEL, 0);
	while (s->waiting.n)
		llm_request_end(s, s->waiting.at[s->waiting.n - 1], ZW_FINISH_CANCEL, 0);
	free(s->running.at);
	free(s->waiting.at);
	for (size_t i = 0; i < ZW_ARRAY_SIZE(s->flight); i++)
		free(s->flight[i].at);
	free(s->plan.at);
	free(s->leaving);
	free(s->tokens);
	free(s->chains);
	free(s->cancel);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* ---- lists ---- */

static bool before(const struct llm_request *a, const struct llm_request *b)
{
	return a->p.priority != b->p.priority ? a->p.priority > b->p.priority : a->id < b->id;
}

void llm_requests_add(struct llm_requests *l, struct llm_request *r)
{
	size_t i = l->n++;

	for (; i && before(r, l->at[i - 1]); i--)
		l->at[i] = l->at[i - 1];
	l->at[i] = r;
}

void llm_requests_remove(struct llm_requests *l, const struct llm_request *r)
{
	size_t i = 0;

	while (l->at[i] != r)
		i++;
	memmove(&l->at[i], &l->at[i + 1], (--l->n - i) * sizeof(l->at[0]));
}

struct llm_request *llm_sched_find(const struct zw_sched *s, uint64_t id)
{
	const struct llm_requests *list[] = {&s->running, &s->waiting};

	for (size_t k = 0; k < 2; k++) {
		for (size_t i = 0; i < list[k]->n; i++) {
			if (list[k]->at[i]->id == id)
				return list[k]->at[i];
		}
	}
	return NULL;
}

/* ---- requests ---- */

static void free_request(struct llm_request *r)
{
	zw_snapshot_destroy(r->snap);
	free(r->ids);
	free(r);
}

/* Its sequence goes, or, when a step has it, goes when that is done. */
static void leave(struct zw_sched *s, struct llm_request *r)
{
	for (uint32_t k = 0; k < s->num_flights; k++) {
		for (size_t i = 0; i < s->flight[k].n; i++) {
			if (s->flight[k].at[i].r == r)
				s->flight[k].at[i].r = NULL;
		}
	}
	if (zw_seq_remove(s->c, r->seq) == -EBUSY)
		s->leaving[s->num_leaving++] = r->seq;
}

void llm_request_end(struct zw_sched *s, struct llm_request *r, enum zw_finish finish, int error)
{
	if (r->running)
		leave(s, r);
	llm_requests_remove(r->running ? &s->running : &s->waiting, r);
	s->stats.swapped_bytes -= r->system_bytes;
	s->stats.finished++;
	s->stats.cancelled += finish == ZW_FINISH_CANCEL;
	if (r->p.done)
		r->p.done(r->p.opaque, r->id, finish, error);
	free_request(r);
}

/* Every list has room for every request there is, and one more. */
static int grow_lists(struct zw_sched *s)
{
	size_t n = s->waiting.n + s->running.n + 1;

	if (llm_grow(&s->waiting.at, &s->waiting.cap, n, sizeof(*s->waiting.at)) ||
	    llm_grow(&s->running.at, &s->running.cap, n, sizeof(*s->running.at)) ||
	    llm_grow(&s->plan.at, &s->plan.cap, n, sizeof(*s->plan.at)))
		return -ENOMEM;
	for (size_t i = 0; i < ZW_ARRAY_SIZE(s->flight); i++) {
		struct llm_flight *f = &s->flight[i];

		if (llm_grow(&f->at, &f->cap, n, sizeof(*f->at)))
			return -ENOMEM;
	}
	return 0;
}

static int check_draft(const struct zw_ctx *c, const struct zw_request_params *p,
		       struct zw_error *err)
{
	uint32_t n = p->draft_tokens;

	if (p->draft > ZW_DRAFT_NGRAM || n > ZW_CTX_MAX_REWIND)
		return llm_fail(err, -EINVAL, "zw_sched_add: draft %u, draft_tokens %u", p->draft,
				n);
	if (!p->draft || !n)
		return 0;
	if (p->draft == ZW_DRAFT_MTP && c->o.draft < n)
		return llm_fail(err, -EINVAL, "draft_tokens %u: the context was made for %u", n,
				c->o.draft);
	if (c->needs.slab_bytes && c->o.rewind < n)
		return llm_fail(err, -EINVAL,
				"draft_tokens %u: the context can go back over %u tokens", n,
				c->o.rewind);
	return 0;
}

static int check_params(const struct zw_ctx *c, struct zw_request_params *p,
			const struct zw_request_params *params, struct zw_error *err)
{
	int ret = sized_in(p, sizeof(*p), SIZED_V0(struct zw_request_params, opaque), params);

	if (ret)
		return llm_fail(err, ret, "zw_sched_add: parameters of an unknown version");
	if (p->flags & ~ZW_GENERATE_IGNORE_STOP || p->reserved || !p->sampler)
		return llm_fail(err, -EINVAL, "zw_sched_add: bad argument");
	return check_draft(c, p, err);
}

/* A prompt that can be run: `first` tokens of one that was found to be so, and n more. */
static int check_prompt(const struct zw_ctx *c, size_t first, const uint32_t *more, size_t n,
			struct zw_error *err)
{
	if (n > UINT32_MAX || first + n > c->o.context)
		return llm_fail(err, -ENOSPC, "a prompt of %zu tokens: the context takes %u",
				first + n, c->o.context);
	if (llm_blocks_for((uint32_t)(first + n)) > c->pool.num)
		return llm_fail(err, -ENOSPC,
				"a prompt of %zu tokens: the pool has %u blocks of %u tokens",
				first + n, c->pool.num, LLM_BLOCK_TOKENS);
	for (size_t i = 0; i < n; i++) {
		if (more[i] >= c->m->cfg.vocab_size)
			return llm_fail(err, -ERANGE, "token id %u is not below vocab_size %u",
					more[i], c->m->cfg.vocab_size);
	}
	return 0;
}

/* With the tokens of both; it is in no list yet. */
static int new_request(struct zw_sched *s, const struct zw_request_params *params,
		       const uint32_t *first, size_t num_first, const uint32_t *more, size_t n,
		       struct llm_request **out, struct zw_error *err)
{
	struct llm_request *r;
	int ret;

	if (!params || !(num_first + n) || (n && !more))
		return llm_fail(err, -EINVAL, "zw_sched_add: bad argument");
	ret = check_prompt(s->c, num_first, more, n, err);
	if (ret)
		return ret;
	r = calloc(1, sizeof(*r));
	if (!r || grow_lists(s) || llm_grow(&r->ids, &r->cap, num_first + n, sizeof(*r->ids))) {
		free(r);
		return llm_fail(err, -ENOMEM, "out of memory");
	}
	if (num_first)
		memcpy(r->ids, first, num_first * sizeof(*first));
	if (n)
		memcpy(r->ids + num_first, more, n * sizeof(*more));
	r->n = r->given = (uint32_t)(num_first + n);
	r->guess = LLM_NO_GUESS;
	ret = check_params(s->c, &r->p, params, err);
	if (!ret) {
		ret = zw_sampler_prompt(r->p.sampler, r->ids, r->n);
		if (ret)
			llm_fail(err, ret, "the prompt's tokens: %s", strerror(-ret));
	}
	if (ret) {
		free_request(r);
		return ret;
	}
	r->id = ++s->last_id;
	*out = r;
	return 0;
}

int zw_sched_add(struct zw_sched *s, const struct zw_request_params *params, const uint32_t *prompt,
		 size_t n, uint64_t *request, struct zw_error *err)
{
	struct llm_request *r;
	int ret;

	if (!s || !request)
		return llm_fail(err, -EINVAL, "zw_sched_add: bad argument");
	ret = new_request(s, params, NULL, 0, prompt, n, &r, err);
	if (ret)
		return ret;
	llm_requests_add(&s->waiting, r);
	*request = r->id;
	return 0;
}

/*
 * Runs beside the one that it comes from, if that runs and there is room. At least one token is left to
 * compute, as its outputs are wanted.
 */
static void fork_now(struct zw_sched *s, struct llm_request *r, const struct llm_request *from,
		     size_t keep)
{
	uint32_t n = from->done < keep ? from->done : (uint32_t)keep;

	if (n == r->n)
		n--;
	if (!from->running || s->running.n >= s->most ||
	    !llm_sched_has_room(s, r, n / LLM_BLOCK_TOKENS) ||
	    zw_seq_fork(s->c, from->seq, n, &r->seq))
		return;
	r->running = true;
	r->done = n;
}

int zw_sched_fork(struct zw_sched *s, uint64_t request, size_t keep,
		  const struct zw_request_params *params, const uint32_t *more, size_t n,
		  uint64_t *fork, struct zw_error *err)
{
	const struct llm_request *from = s ? llm_sched_find(s, request) : NULL;
	struct llm_request *r;
	int ret;

	if (!s || !fork)
		return llm_fail(err, -EINVAL, "zw_sched_fork: bad argument");
	if (!from)
		return llm_fail(err, -ENOENT, "there is no request %llu",
				(unsigned long long)request);
	if (keep > from->n)
		return llm_fail(err, -EINVAL, "request %llu has %u tokens, not %zu",
				(unsigned long long)request, from->n, keep);
	ret = new_request(s, params, from->ids, keep, more, n, &r, err);
	if (ret)
		return ret;
	fork_now(s, r, from, keep);
	llm_requests_add(r->running ? &s->running : &s->waiting, r);
	*fork = r->id;
	return 0;
}

int zw_sched_cancel(struct zw_sched *s, uint64_t request)
{
	int ret = 0;

	pthread_mutex_lock(&s->lock);
	if (llm_grow(&s->cancel, &s->cap_cancel, s->num_cancel + 1, sizeof(*s->cancel)))
		ret = -ENOMEM;
	else
		s->cancel[s->num_cancel++] = request;
	pthread_mutex_unlock(&s->lock);
	return ret;
}

int64_t zw_sched_tokens(const struct zw_sched *s, uint64_t request, const uint32_t **ids)
{
	const struct llm_request *r = s && ids ? llm_sched_find(s, request) : NULL;

	if (!s || !ids)
		return -EINVAL;
	if (!r)
		return -ENOENT;
	*ids = r->ids;
	return r->n;
}

int zw_sched_get_stats(const struct zw_sched *s, struct zw_sched_stats *stats)
{
	struct zw_sched_stats st = s->stats;

	st.waiting = (uint32_t)s->waiting.n;
	st.running = (uint32_t)s->running.n;
	st.swapped = 0;
	for (size_t i = 0; i < s->waiting.n; i++)
		st.swapped += s->waiting.at[i]->snap != NULL;
	return sized_out(stats, SIZED_V0(struct zw_sched_stats, preempted_recompute), &st,
			 sizeof(st));
}

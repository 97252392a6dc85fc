// SPDX-License-Identifier: MIT
/*
 * The end of steps: waiting, outputs, failures, cancel. A step is in flight until the thread that owns
 * the context learns what became of it, in zw_ctx_wait() or at the next zw_ctx_submit().
 */
#include "ctx.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* "what: reason of the first failed job of the queue"; returns code. */
int llm_fail_queue(struct zw_error *err, struct zw_queue *queue, int code, const char *what)
{
	struct zw_queue_error info = {.size = sizeof(info)};
	char text[160];

	if (queue && !zw_queue_get_error(queue, &info) && info.state) {
		zw_queue_error_text(&info, text, sizeof(text));
		return llm_fail(err, code, "%s: %s", what, text);
	}
	return llm_fail(err, code, "%s: %s", what, strerror(-code));
}

static struct llm_slot *slot_of(const struct zw_ctx *c, uint64_t step)
{
	for (uint32_t i = 0; i < c->o.steps; i++) {
		const struct llm_slot *s = &c->slot[i];

		if (s->state != LLM_SLOT_FREE && s->step == step)
			return (struct llm_slot *)s;
	}
	return NULL;
}

struct llm_slot *llm_slot_in_flight(struct zw_ctx *c, int dir)
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
	return llm_slot_in_flight((struct zw_ctx *)c, -1);
}

struct zw_job_result *llm_job_result(const struct zw_ctx *c, const struct llm_slot *s, uint32_t i)
{
	return (struct zw_job_result *)(void *)(llm_result(c, s) + c->r.job[i]);
}

static bool went_well(const struct zw_ctx *c, const struct llm_slot *s)
{
	for (uint32_t i = 0; i < s->jobs; i++) {
		const struct zw_job_result *r = llm_job_result(c, s, i);

		if (!r->seqno || r->status != ZW_JOB_OK)
			return false;
	}
	return true;
}

static void account(struct zw_ctx *c, const struct llm_slot *s)
{
	struct zw_ctx_stats *st = &c->stats;

	for (uint32_t i = 0; i < s->jobs; i++) {
		const struct zw_job_result *r = llm_job_result(c, s, i);

		st->packets += r->packets;
		st->hbm_read += r->hbm_read;
		st->hbm_written += r->hbm_written;
		st->sys_read += r->sys_read;
		st->sys_written += r->sys_written;
		st->sram_read += r->sram_read;
		st->sram_written += r->sram_written;
		st->energy_pj += r->energy_pj;
		for (unsigned int e = 0; e < ZW_ENGINE_COUNT; e++)
			st->busy_ps[e] += r->busy_ps[e];
	}
	st->last_start_ps = llm_job_result(c, s, 0)->start_ps;
	st->last_end_ps = llm_job_result(c, s, s->jobs - 1)->end_ps;
	st->sim_ps += st->last_end_ps - st->last_start_ps;
	st->jobs += s->jobs;
	st->tokens += s->tokens;
	st->sparse_tokens += s->sparse;
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
		code = llm_fail_queue(&why, c->queue, status ? status : code, "running the model");
	}
	zw_queue_destroy(c->queue);
	c->queue = NULL;
	while ((s = llm_slot_in_flight(c, 1))) {
		llm_step_undo(c, s, true);
		s->state = LLM_SLOT_FAILED;
		s->code = code;
		s->error = why;
	}
}

/*
 * Finds out what became of the steps up to `step`, whose fence has been reached. failed: the code of
 * a step that did not go well and has no other reason. 0, or -ECANCELED when steps were undone.
 */
int llm_steps_resolve(struct zw_ctx *c, uint64_t step, int failed)
{
	struct llm_slot *s;
	int ret = 0;

	while ((s = llm_slot_in_flight(c, -1)) && s->step <= step) {
		if (!went_well(c, s)) {
			fail_all(c, failed);
			ret = -ECANCELED;
			break;
		}
		llm_step_settle(c, s);
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
		llm_steps_resolve(c, step, ret ? ret : -EIO);
		pthread_mutex_unlock(&c->lock);
	}
	if (s->state == LLM_SLOT_FAILED)
		return llm_fail(err, s->code, "%s", s->error.msg);
	return 0;
}

uint32_t llm_step_tokens(const struct zw_ctx *c, uint64_t step)
{
	const struct llm_slot *s = slot_of(c, step);

	return s ? s->tokens : 0;
}

void llm_step_ids(const struct zw_ctx *c, uint64_t step, uint32_t *ids, uint32_t n)
{
	const struct llm_slot *s = slot_of(c, step);

	if (s)
		memcpy(ids, llm_param(c, s) + c->p.ids, n * sizeof(*ids));
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
		o.argmax = isnan(probe) ? -EDOM : llm_choice_ptr(c, s)[r->out];
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

int zw_ctx_hidden(const struct zw_ctx *c, uint64_t step, uint32_t index, const float **row)
{
	const struct llm_slot *s = c && row ? slot_of(c, step) : NULL;

	if (c && llm_part_ends(&c->m->part))
		return -EOPNOTSUPP;
	if (!s || s->state != LLM_SLOT_DONE)
		return -ENOENT;
	if (index >= s->tokens)
		return -EINVAL;
	*row = (const float *)(const void *)row_of(c, s, c->r.hidden_out, s->rows[index].in,
						   4ull * c->m->cfg.hidden_size);
	return 0;
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

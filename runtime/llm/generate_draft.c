// SPDX-License-Identifier: MIT
/*
 * Speculative decoding, greedy: some tokens are drafted, one step gives the model's choice behind each of
 * them, those that are what was chosen are taken, and the sequence goes back over the others.
 */
#include "generate.h"

#include <errno.h>
#include <string.h>

#include "sampler.h"

#define NGRAM_MAX 3 /* tokens that have to be the same */

struct drafts {
	uint32_t id[1 + ZW_CTX_MAX_REWIND]; /* the token chosen, then what may follow */
	uint32_t n;                         /* that follow */
	uint32_t on_device;                 /* the last so many of them are not known here */
	uint32_t row;                       /* where the MTP head goes on from */
	bool room;                          /* for any */
	uint32_t right;                     /* of them, where nothing is computed */
};

int llm_draft_check(const struct llm_run *g, struct zw_error *err)
{
	const struct zw_ctx_options *o = &g->c->o;
	uint32_t n = g->p.draft_tokens;

	if (g->p.draft > ZW_DRAFT_NGRAM || n > ZW_CTX_MAX_REWIND)
		return llm_fail(err, -EINVAL, "zw_generate: draft %u, draft_tokens %u", g->p.draft,
				n);
	if (!g->p.draft || !n)
		return 0;
	if (g->c->m->timing_only && !g->p.guess)
		return llm_fail(err, -EINVAL,
				"draft_tokens %u: the device computes nothing, and there is no "
				"guess() of which are right",
				n);
	if (g->p.draft == ZW_DRAFT_MTP && o->draft < n)
		return llm_fail(err, -EINVAL, "draft_tokens %u: the context was made for %u", n,
				o->draft);
	if (n + 1 > o->batch || n + 1 > o->outputs)
		return llm_fail(
			err, -EINVAL,
			"draft_tokens %u: the context has steps of %u tokens and %u outputs", n,
			o->batch, o->outputs);
	if (g->c->needs.slab_bytes && o->rewind < n)
		return llm_fail(err, -EINVAL,
				"draft_tokens %u: the context can go back over %u tokens", n,
				o->rewind);
	return 0;
}

uint32_t llm_draft_ngram(const uint32_t *ids, uint32_t end, uint32_t last, uint32_t *draft,
			 uint32_t max)
{
	uint32_t best = 0, at = 0, n;

	/* Behind position `from`, which has the same id: how much in front of it is the same? */
	for (uint32_t from = end; from-- > 0 && best < NGRAM_MAX;) {
		uint32_t same = 0;

		if (ids[from] != last)
			continue;
		do
			same++;
		while (same < NGRAM_MAX && same <= from && ids[from - same] == ids[end - same]);
		if (same > best) {
			best = same;
			at = from;
		}
	}
	/* What followed may go on into what is drafted: a text that repeats itself. */
	for (n = 0; best && n < max; n++) {
		uint32_t from = at + 1 + n;

		draft[n] = from < end ? ids[from] : from == end ? last : draft[from - end - 1];
	}
	return n;
}

/* How many are drafted and how many of them right, where no token is what a model would choose. */
static uint32_t guess(const struct llm_run *g, uint32_t max, struct drafts *d)
{
	uint32_t n = g->p.guess(g->p.drafts_opaque, max, &d->right);

	return n < max && g->p.draft == ZW_DRAFT_NGRAM ? n : max;
}

/* id[0] was chosen behind token `index` of the step. */
static int draft(const struct llm_run *g, uint64_t step, uint32_t index, struct drafts *d,
		 struct zw_error *err)
{
	uint64_t left = g->p.max_tokens - g->r.generated_tokens;
	uint32_t room = g->c->o.context - (uint32_t)zw_seq_length(g->c, g->p.seq);
	uint32_t max = g->p.draft_tokens;
	int ret;

	/* A step feeds one token more than it drafts, and gives as many. Both counts are at least 1. */
	max = room <= max ? room - 1 : max;
	max = left <= max ? (uint32_t)left - 1 : max;
	/* Each has logits where there is a mask. */
	if (sampler_masks(g->p.sampler) && max > g->c->o.logits - 1)
		max = g->c->o.logits - 1;
	d->n = d->on_device = 0;
	d->room = max;
	if (!max)
		return 0;
	if (g->c->m->timing_only)
		max = guess(g, max, d);
	if (g->p.draft == ZW_DRAFT_NGRAM) {
		const struct llm_seq *q = llm_seq_of(g->c, g->p.seq);

		memset(&d->id[1], 0, max * sizeof(d->id[1]));
		d->n = max;
		if (!g->c->m->timing_only)
			d->n = llm_draft_ngram(q->ids, q->length, d->id[0], &d->id[1], max);
		return 0;
	}
	ret = llm_mtp_draft(g->c, step, index, &d->id[1], &d->row);
	if (ret)
		return llm_fail(err, ret, "no draft behind a token that had an output");
	d->n = max;
	d->on_device = max - 1;
	for (uint32_t i = 2; i <= max; i++)
		d->id[i] = LLM_ID_DRAFTED;
	return 0;
}

/* id[0] and the drafts as one step that is waited for; all of them are known then. */
static int run_step(struct llm_run *g, struct drafts *d, uint64_t *step, struct zw_error *err)
{
	struct zw_batch_token t[1 + ZW_CTX_MAX_REWIND];
	struct zw_batch b = {
		.size = sizeof(b), .count = 1 + d->n, .token_size = sizeof(t[0]), .tokens = t};
	const struct llm_chain chain = {.index = 1, .n = d->on_device, .row = d->row};
	struct llm_submit how = {.cancels = &g->cancels,
				 .next = LLM_NO_ROW,
				 .chains = &chain,
				 .num_chains = d->on_device != 0};
	uint32_t length = (uint32_t)zw_seq_length(g->c, g->p.seq);
	int ret;

	for (uint32_t i = 0; i <= d->n; i++)
		t[i] = (struct zw_batch_token){d->id[i], length + i, g->p.seq,
					       llm_want_greedy(g->p.sampler)};
	ret = llm_ctx_submit(g->c, &b, &how, step, err);
	if (!ret)
		ret = zw_ctx_wait(g->c, *step, ZW_FOREVER, err);
	if (ret)
		return ret;
	llm_step_ids(g->c, *step, d->id, 1 + d->n);
	return 0;
}

/* The model's choice behind token i of a step. */
static int choice(const struct llm_run *g, uint64_t step, uint32_t i, uint32_t *id,
		  struct zw_error *err)
{
	struct zw_output out = {.size = sizeof(out)};
	int ret = zw_ctx_output(g->c, step, i, &out);

	return ret ? ret : llm_choose_greedy(g->c, g->p.sampler, &out, id, err);
}

/* A token that was chosen; *more: it is to be fed, and another one chosen. */
static int take(struct llm_run *g, uint32_t id, bool *more, struct zw_error *err)
{
	int ret;

	*more = false;
	if (!(g->p.flags & ZW_GENERATE_IGNORE_STOP) && zw_model_is_stop(g->c->m, id)) {
		g->r.finish = ZW_FINISH_STOP;
		return 0;
	}
	g->r.generated_tokens++;
	g->ended = g->p.token && g->p.token(g->p.opaque, id);
	if (g->ended || g->r.generated_tokens == g->p.max_tokens) {
		g->r.finish = g->ended ? ZW_FINISH_CALLBACK : ZW_FINISH_LENGTH;
		return 0;
	}
	ret = zw_sampler_accept(g->p.sampler, id);
	if (ret)
		return llm_fail(err, ret, "token %u: %s", id, strerror(-ret));
	*more = true;
	return 0;
}

/* Whether the draft behind so many right ones is what was chosen. */
static bool is_right(const struct llm_run *g, const struct drafts *d, uint32_t right,
		     uint32_t chosen)
{
	if (right == d->n)
		return false;
	return g->c->m->timing_only ? right < d->right : d->id[1 + right] == chosen;
}

/*
 * Of a step that began at `length`: takes what was right, and cuts the rest off. `index` is then the token
 * behind which id[0] was chosen. *again: id[0] was taken already, but not what comes behind it, as a mask is
 * at work there and has no logits: it is cut off as well.
 */
static int accept(struct llm_run *g, struct drafts *d, uint64_t step, uint32_t length,
		  uint32_t *index, bool *more, bool *again, struct zw_error *err)
{
	uint64_t accepted = g->r.accepted_tokens;
	uint32_t right = 0, next, keep;
	int ret = choice(g, step, 0, &next, err);

	*more = true;
	g->r.drafted_tokens += d->n;
	while (!ret && is_right(g, d, right, next)) {
		g->r.accepted_tokens++;
		ret = take(g, next, more, err);
		if (ret || !*more)
			break;
		right++;
		ret = choice(g, step, right, &next, err);
	}
	if (d->room && g->p.checked)
		g->p.checked(g->p.drafts_opaque, d->n, (uint32_t)(g->r.accepted_tokens - accepted));
	/* Behind the first there are logits, when a mask was at work. */
	*again = ret == -EAGAIN && right;
	if (*again) {
		next = d->id[right--];
		ret = 0;
	}
	keep = length + 1 + right;
	if (keep < length + 1 + d->n) {
		int bad = zw_seq_truncate(g->c, g->p.seq, keep);

		if (bad && !ret)
			ret = llm_fail(err, bad, "taking drafts back: %s", strerror(-bad));
	}
	*index = right;
	d->id[0] = next;
	return ret;
}

int llm_draft_loop(struct llm_run *g, struct zw_error *err)
{
	struct drafts d = {0};
	uint64_t step = g->c->last_step;
	uint32_t index = llm_step_tokens(g->c, step) - 1;
	bool more = true, again = false;
	int ret;

	if (g->ended || !g->p.max_tokens) {
		g->r.finish = g->ended ? ZW_FINISH_CALLBACK : ZW_FINISH_LENGTH;
		return 0;
	}
	ret = choice(g, step, index, &d.id[0], err);
	while (!ret) {
		uint32_t length = (uint32_t)zw_seq_length(g->c, g->p.seq);

		if (!again)
			ret = take(g, d.id[0], &more, err);
		if (ret || !more)
			break;
		if (length == g->c->o.context) {
			g->r.finish = ZW_FINISH_CONTEXT;
			break;
		}
		ret = draft(g, step, index, &d, err);
		if (!ret)
			ret = run_step(g, &d, &step, err);
		if (!ret)
			ret = accept(g, &d, step, length, &index, &more, &again, err);
		if (!more)
			break;
	}
	return ret;
}

// SPDX-License-Identifier: MIT
/* A long text as several steps, as many of them in flight as there are slots. */
#include "ctx.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct eval {
	struct zw_ctx *c;
	uint32_t seq, start; /* length before */
	const uint32_t *ids;
	size_t n;
	struct zw_eval_options o;
	uint64_t cancels;
	struct zw_batch_token *tokens; /* of one step */
	uint32_t step_tokens;          /* most tokens of one */
	size_t sent, done;
	uint64_t last_step;
	uint32_t last_index;
	/* Steps in flight, oldest first. */
	struct {
		uint64_t step;
		uint32_t count;
	} flight[ZW_CTX_MAX_STEPS];
	uint32_t num_flight;
};

/* All that zw_ctx_submit() would find in a later step is found before the first. */
static int check(const struct eval *e, struct zw_error *err)
{
	const struct zw_ctx *c = e->c;
	const struct llm_seq *s = llm_seq_of(c, e->seq);

	if (!s)
		return llm_fail(err, -ENOENT, "there is no sequence %u", e->seq);
	if (!llm_part_whole(&c->m->part))
		return llm_fail(
			err, -EOPNOTSUPP,
			"zw_ctx_eval: a part of a model goes step by step, with the others");
	if (llm_ctx_busy(c))
		return llm_fail(err, -EBUSY, "zw_ctx_eval: steps are in flight");
	if (e->n > c->o.context - s->length)
		return llm_fail(err, -ENOSPC, "%zu more tokens do not fit: %u of %u are used", e->n,
				s->length, c->o.context);
	for (size_t i = 0; i < e->n; i++) {
		if (e->ids[i] >= c->m->cfg.vocab_size)
			return llm_fail(err, -ERANGE, "token id %u is not below vocab_size %u",
					e->ids[i], c->m->cfg.vocab_size);
	}
	return 0;
}

/* Room for the tokens behind those that are there already. */
static int check_room(const struct eval *e, struct zw_error *err)
{
	const struct zw_ctx *c = e->c;
	const struct llm_seq *s = llm_seq_of(c, e->seq);
	uint32_t at = s->length / LLM_BLOCK_TOKENS;
	uint64_t need = llm_blocks_for(e->start + (uint32_t)e->n) - s->blocks.used;

	if (s->length % LLM_BLOCK_TOKENS && c->pool.refs[s->blocks.id[at]] > 1)
		need++;
	if (need > llm_kv_available(&c->pool))
		return llm_fail(err, -ENOSPC,
				"%zu more tokens do not fit the pool: %u of %u blocks of %u tokens "
				"are free",
				e->n - e->done, llm_kv_available(&c->pool), c->pool.num,
				LLM_BLOCK_TOKENS);
	return 0;
}

/* What the prefix cache has is done already. */
static int begin(struct eval *e, struct zw_error *err)
{
	struct llm_seq *s = llm_seq_of(e->c, e->seq);
	int ret;

	e->start = s->length;
	if (!e->o.all_logits)
		e->sent = e->done = llm_seq_take_prefix(e->c, s, e->ids, e->n);
	ret = check_room(e, err);
	if (ret && e->done) {
		llm_seq_cut(e->c, s, llm_blocks_for(e->start));
		s->length = e->start;
	}
	return ret;
}

/* Of a text of which `left` tokens from pos on are left, those that go into one step. */
static uint32_t piece(const struct zw_ctx *c, uint32_t pos, uint64_t left, uint32_t most)
{
	uint32_t n = llm_sparse_piece(c, pos, left, most, true);

	return n < left ? llm_piece(c, pos, n) : n;
}

uint32_t zw_ctx_piece(const struct zw_ctx *c, uint32_t seq, uint64_t left)
{
	const struct llm_seq *s = c ? llm_seq_of(c, seq) : NULL;

	return s ? piece(c, s->length, left, c->o.batch) : 0;
}

static int submit_one(struct eval *e, struct zw_error *err)
{
	uint32_t n = piece(e->c, e->start + (uint32_t)e->sent, e->n - e->sent, e->step_tokens);
	struct zw_batch b = {.size = sizeof(b),
			     .count = n,
			     .token_size = sizeof(*e->tokens),
			     .tokens = e->tokens};
	struct llm_submit how = {.cancels = &e->cancels};
	int ret;

	for (uint32_t i = 0; i < n; i++)
		e->tokens[i] = (struct zw_batch_token){
			.id = e->ids[e->sent + i],
			.pos = e->start + (uint32_t)e->sent + i,
			.seq = e->seq,
			.want = e->o.all_logits ? ZW_WANT_LOGITS : 0,
		};
	if (e->sent + n == e->n)
		e->tokens[n - 1].want |= e->o.want;
	how.next = e->sent + n < e->n ? e->ids[e->sent + n] : LLM_NO_ROW;
	ret = llm_ctx_submit(e->c, &b, &how, &e->last_step, err);
	if (ret)
		return ret;
	e->last_index = n - 1;
	e->flight[e->num_flight].step = e->last_step;
	e->flight[e->num_flight++].count = n;
	e->sent += n;
	return 0;
}

static int finish_one(struct eval *e, struct zw_error *err)
{
	uint64_t step = e->flight[0].step;
	uint32_t n = e->flight[0].count;
	size_t v = e->c->m->cfg.vocab_size;
	struct zw_output out = {.size = sizeof(out)};
	int ret;

	memmove(e->flight, e->flight + 1, --e->num_flight * sizeof(e->flight[0]));
	ret = zw_ctx_wait(e->c, step, ZW_FOREVER, err);
	if (ret)
		return ret;
	if (e->o.all_logits) {
		/* Rows of the logits are in the order of the batch. */
		zw_ctx_output(e->c, step, 0, &out);
		memcpy(e->o.all_logits + e->done * v, out.logits, n * v * sizeof(float));
	}
	e->done += n;
	if (e->o.progress && e->o.progress(e->o.opaque, e->done, e->n))
		return llm_fail(err, -ECANCELED, "cancelled");
	return 0;
}

static int run(struct eval *e, struct zw_error *err)
{
	int ret = 0;

	while (e->done < e->n && !ret) {
		while (e->sent < e->n && e->num_flight < e->c->o.steps && !ret)
			ret = submit_one(e, err);
		if (!ret)
			ret = finish_one(e, err);
	}
	if (ret && e->num_flight) {
		/* After an error of a step nothing is in flight; what a caller called off is ended. */
		if (ret == -ECANCELED)
			zw_ctx_cancel(e->c);
		zw_ctx_wait(e->c, e->last_step, ZW_FOREVER, NULL);
	}
	return ret;
}

int llm_ctx_eval(struct zw_ctx *c, uint32_t seq, const uint32_t *ids, size_t n,
		 const struct zw_eval_options *opt, uint64_t cancels, struct zw_output *last,
		 struct zw_error *err)
{
	struct eval e = {.c = c, .seq = seq, .ids = ids, .n = n, .cancels = cancels};
	int ret;

	if (!ids || !n)
		return llm_fail(err, -EINVAL, "zw_ctx_eval: bad argument");
	if (opt) {
		ret = sized_in(&e.o, sizeof(e.o), SIZED_V0(struct zw_eval_options, opaque), opt);
		if (ret)
			return llm_fail(err, ret, "zw_ctx_eval: options of an unknown version");
	}
	if (last && !e.o.want)
		return llm_fail(err, -EINVAL, "zw_ctx_eval: outputs without a want");
	ret = check(&e, err);
	if (ret)
		return ret;
	e.step_tokens = e.o.all_logits ? c->o.logits : c->o.batch;
	e.tokens = malloc(e.step_tokens * sizeof(*e.tokens));
	if (!e.tokens)
		return llm_fail(err, -ENOMEM, "out of memory");
	ret = begin(&e, err);
	if (!ret)
		ret = run(&e, err);
	free(e.tokens);
	if (!ret && last)
		ret = zw_ctx_output(c, e.last_step, e.last_index, last);
	return ret;
}

int zw_ctx_eval(struct zw_ctx *c, uint32_t seq, const uint32_t *ids, size_t n,
		const struct zw_eval_options *opt, struct zw_output *last, struct zw_error *err)
{
	if (!c)
		return llm_fail(err, -EINVAL, "zw_ctx_eval: bad argument");
	return llm_ctx_eval(c, seq, ids, n, opt, llm_ctx_cancels(c), last, err);
}

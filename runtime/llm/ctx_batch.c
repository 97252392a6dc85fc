// SPDX-License-Identifier: MIT
/* Checking a batch: nothing changes but the marks in sequences. */
#include "ctx.h"

#include <errno.h>
#include <string.h>

#define WANT_ALL (ZW_WANT_LOGITS | ZW_WANT_ARGMAX | ZW_WANT_TOPK)

static int check_token(struct zw_ctx *c, const struct zw_batch_token *t, uint32_t i,
		       struct llm_tally *n, struct zw_error *err)
{
	struct llm_seq *s = llm_seq_of(c, t->seq);

	if (t->id >= c->m->cfg.vocab_size && t->id != ZW_ID_CHOSEN &&
	    !(t->id == LLM_ID_DRAFTED && c->drafting))
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
		s->chosen = t->id == ZW_ID_CHOSEN;
	} else if (s->chosen && c->needs.slab_bytes) {
		/* Rows of a sequence have to follow each other, and those chosen come first. */
		return llm_fail(
			err, -EOPNOTSUPP,
			"batch token %u: sequence %u has recurrent state: behind what the device "
			"chose no other token of it goes into the same batch",
			i, t->seq);
	}
	if (t->pos != s->next)
		return llm_fail(err, -EINVAL,
				"batch token %u: position %u of sequence %u, the next one is %u", i,
				t->pos, t->seq, s->next);
	if (t->id == ZW_ID_CHOSEN &&
	    (t->pos != s->length || llm_choice_find(c, &s->choice) == LLM_NO_ROW))
		return llm_fail(
			err, -EINVAL,
			"batch token %u: after the last token of sequence %u the device has "
			"not chosen one",
			i, t->seq);
	if (t->pos >= c->o.context)
		return llm_fail(err, -ENOSPC, "sequence %u: more tokens than %u do not fit", t->seq,
				c->o.context);
	if (t->want & ~(uint32_t)WANT_ALL)
		return llm_fail(err, -EINVAL, "batch token %u: unknown wants", i);
	if (t->want && !llm_part_ends(&c->m->part))
		return llm_fail(err, -EOPNOTSUPP,
				"batch token %u: outputs of a model without its last layers", i);
	s->next++;
	s->want = t->want;
	n->chosen += t->id == ZW_ID_CHOSEN;
	n->out += t->want != 0;
	n->top += !!(t->want & ZW_WANT_TOPK);
	n->logits += !!(t->want & ZW_WANT_LOGITS);
	return 0;
}

uint32_t llm_choice_find(const struct zw_ctx *c, const struct llm_choice *choice)
{
	for (uint32_t i = 0; choice->step && i < c->o.steps; i++) {
		const struct llm_slot *s = &c->slot[i];

		if (s->step == choice->step)
			return (uint32_t)llm_choice_row(c, s) + choice->row;
	}
	return LLM_NO_ROW;
}

/* The block that the next token of a sequence goes to, if it is there and also somebody else's. */
uint32_t llm_shared_block(const struct zw_ctx *c, const struct llm_seq *s, uint32_t length)
{
	uint32_t block;

	if (length % LLM_BLOCK_TOKENS == 0)
		return LLM_NO_BLOCK;
	block = s->blocks.id[length / LLM_BLOCK_TOKENS];
	return c->pool.refs[block] > 1 ? block : LLM_NO_BLOCK;
}

/* Once per sequence of the batch: the token that is its first here. */
static int check_room(struct zw_ctx *c, const struct zw_batch *b, struct llm_tally *n,
		      struct zw_error *err)
{
	for (uint32_t i = 0; i < b->count; i++) {
		const struct zw_batch_token *t = llm_token_at(b, i);
		struct llm_seq *s = llm_seq_of(c, t->seq);
		uint32_t blocks = llm_blocks_for(s->next);

		if (t->pos != s->length)
			continue;
		n->blocks += blocks - s->blocks.used;
		n->blocks += llm_shared_block(c, s, s->length) != LLM_NO_BLOCK;
		if (llm_grow(&s->blocks.id, &s->blocks.cap, blocks, sizeof(*s->blocks.id)) ||
		    llm_grow(&s->ids, &s->ids_cap, s->next, sizeof(*s->ids)))
			return llm_fail(err, -ENOMEM, "out of memory");
	}
	if (n->blocks > llm_kv_available(&c->pool))
		return llm_fail(err, -ENOSPC,
				"the pool is full: %llu more blocks of %u tokens do not fit, %u of "
				"%u are free",
				(unsigned long long)n->blocks, LLM_BLOCK_TOKENS,
				llm_kv_available(&c->pool), c->pool.num);
	return 0;
}

/* Layers that are not the first go on from what those before them left. */
static int check_hidden(const struct zw_ctx *c, const struct zw_batch *b, struct zw_error *err)
{
	bool begins = llm_part_begins(&c->m->part);

	if (begins && b->hidden)
		return llm_fail(err, -EINVAL, "hidden: the model has its first layers");
	if (!begins && !b->hidden && !c->m->timing_only)
		return llm_fail(err, -EINVAL,
				"hidden is NULL: the model begins with layer %u, what those before "
				"it leave is needed",
				c->m->part.first);
	return 0;
}

int llm_batch_check(struct zw_ctx *c, const struct zw_batch *b, struct llm_tally *n,
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
	ret = check_hidden(c, b, err);
	c->stamp++;
	for (uint32_t i = 0; i < b->count && !ret; i++)
		ret = check_token(c, llm_token_at(b, i), i, n, err);
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

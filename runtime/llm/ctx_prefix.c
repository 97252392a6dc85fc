// SPDX-License-Identifier: MIT
/*
 * The prefix cache of a context: full blocks become known when the step that filled them has gone
 * well, and sequences with the same beginning take them.
 */
#include "ctx.h"

#include <errno.h>
#include <string.h>

/* What is in front of known block `at`. */
static uint64_t parent_of(const struct zw_ctx *c, const struct llm_blocks *b, uint32_t at)
{
	return at ? c->pool.prefix.entry[b->id[at - 1]].serial : LLM_PREFIX_ROOT;
}

/*
 * Another sequence was first with the same tokens: its block takes the place of this one's. Steps in
 * flight still read the old one; whoever writes to that comes after them in the queue.
 */
static void replace(struct zw_ctx *c, struct llm_seq *s, uint32_t at, uint32_t block)
{
	llm_kv_get(&c->pool, block);
	llm_kv_put(&c->pool, s->blocks.id[at]);
	s->blocks.id[at] = block;
	llm_seq_unsync(c, s, at);
}

void llm_seq_know(struct zw_ctx *c, struct llm_seq *s, uint32_t length)
{
	if (!c->pool.cached)
		return;
	while ((s->known + 1) * LLM_BLOCK_TOKENS <= length) {
		const uint32_t *ids = s->ids + s->known * LLM_BLOCK_TOKENS;
		uint64_t parent = parent_of(c, &s->blocks, s->known);
		uint32_t own = s->blocks.id[s->known];
		uint32_t block = llm_prefix_find(&c->pool.prefix, parent, ids);

		if (block == LLM_NO_BLOCK)
			llm_prefix_add(&c->pool.prefix, own, parent, ids);
		else if (block != own)
			replace(c, s, s->known, block);
		s->known++;
	}
}

/* Ids that the device chose, in the front rows, or drafted are known when their step is done. */
void llm_slot_learn(struct zw_ctx *c, const struct llm_slot *slot)
{
	const char *param = llm_param(c, slot);
	const int32_t *ids = (const int32_t *)(const void *)(param + c->p.ids);
	const int32_t *pos = (const int32_t *)(const void *)(param + c->p.pos);
	const int32_t *seq = (const int32_t *)(const void *)(param + c->p.seq);

	for (uint32_t i = 0; i < slot->tokens; i++) {
		uint32_t *id = &c->seqs[seq[i]].ids[pos[i]];

		if (i < slot->chosen || *id == LLM_ID_DRAFTED)
			*id = (uint32_t)ids[i];
	}
}

/* A sequence can go on behind it. */
static bool usable_block(const struct zw_ctx *c, uint32_t block)
{
	return !c->needs.slab_bytes || c->pool.prefix.entry[block].state != LLM_NO_STATE;
}

uint32_t llm_prefix_take(struct zw_ctx *c, struct llm_blocks *b, const uint32_t *ids, uint32_t n,
			 bool usable)
{
	uint32_t first = b->used, last = first, block;

	if (!c->pool.cached)
		return 0;
	for (; b->used - first < n; ids += LLM_BLOCK_TOKENS) {
		block = llm_prefix_find(&c->pool.prefix, parent_of(c, b, b->used), ids);
		if (block == LLM_NO_BLOCK)
			break;
		llm_kv_get(&c->pool, block);
		b->id[b->used++] = block;
		if (usable_block(c, block))
			last = b->used;
	}
	if (usable)
		llm_blocks_cut(&c->pool, b, last);
	return b->used - first;
}

uint32_t llm_prefix_count(const struct zw_ctx *c, const uint32_t *ids, uint32_t n, uint32_t *idle)
{
	const struct llm_prefix *p = &c->pool.prefix;
	uint64_t parent = LLM_PREFIX_ROOT;
	uint32_t usable = 0, asleep = 0, block;

	*idle = 0;
	for (uint32_t i = 0; c->pool.cached && i < n; i++) {
		block = llm_prefix_find(p, parent, ids + i * LLM_BLOCK_TOKENS);
		if (block == LLM_NO_BLOCK)
			break;
		asleep += p->entry[block].idle;
		parent = p->entry[block].serial;
		if (!usable_block(c, block))
			continue;
		usable = i + 1;
		*idle = asleep;
	}
	return usable;
}

/*
 * Of the tokens of a step: behind the last block, when it is a piece of a text whose end is wanted; else
 * behind the last multiple of prefix_state_tokens. With the delta rule in chunks behind a chunk: what goes
 * on from there then has the chunks of a text that was computed from its beginning.
 */
void llm_seq_plan_state(struct zw_ctx *c, struct llm_seq *s)
{
	bool text = s->next - s->length > 1 && s->want;
	uint32_t block = c->o.delta_chunked ? ZW_DELTA_CHUNK : LLM_BLOCK_TOKENS;
	uint32_t every = text ? block : c->o.prefix_state_tokens;

	s->place = LLM_NO_STATE;
	s->keep = s->next / every * every;
	if (c->pool.cached && c->needs.slab_bytes && s->keep > s->length)
		s->place = llm_prefix_state_take(&c->pool.prefix);
}

/* The state behind what was taken; the sequence had none. */
static int take_state(struct zw_ctx *c, const struct llm_seq *s, uint32_t length)
{
	struct llm_prefix *p = &c->pool.prefix;
	uint32_t place;

	if (!c->needs.slab_bytes)
		return 0;
	place = p->entry[s->blocks.id[s->blocks.used - 1]].state;
	llm_prefix_state_use(p, place);
	return llm_slab_copy(c, llm_slab_va(c, (uint32_t)(s - c->seqs), length),
			     llm_slab_place_va(c, place));
}

/* Not the last token: something is to be computed, for the sake of its outputs. */
uint32_t llm_seq_take_prefix(struct zw_ctx *c, struct llm_seq *s, const uint32_t *ids, size_t n)
{
	uint32_t blocks, taken;

	if (!c->pool.cached || s->length != s->known * LLM_BLOCK_TOKENS)
		return 0;
	/* What a sequence has would be in the place of what it takes. */
	if (c->needs.slab_bytes && (s->length || s->lost))
		return 0;
	c->stats.prefix_queries += n;
	if (n > c->o.context - s->length)
		n = c->o.context - s->length;
	blocks = n ? (uint32_t)(n - 1) / LLM_BLOCK_TOKENS : 0;
	if (llm_grow(&s->blocks.id, &s->blocks.cap, s->known + blocks, sizeof(*s->blocks.id)) ||
	    llm_grow(&s->ids, &s->ids_cap, s->length + n, sizeof(*s->ids)))
		return 0; /* then it is computed */
	blocks = llm_prefix_take(c, &s->blocks, ids, blocks, true);
	taken = blocks * LLM_BLOCK_TOKENS;
	if (!taken)
		return 0;
	if (take_state(c, s, s->length + taken)) {
		llm_seq_cut(c, s, s->known);
		return 0;
	}
	memcpy(s->ids + s->length, ids, taken * sizeof(*ids));
	s->known += blocks;
	s->length += taken;
	s->choice = (struct llm_choice){0};
	c->stats.prefix_hits += taken;
	return taken;
}

int zw_seq_take_prefix(struct zw_ctx *c, uint32_t seq, const uint32_t *ids, size_t n, size_t *taken)
{
	struct llm_seq *s = c ? llm_seq_of(c, seq) : NULL;

	if (!c || !ids || !n || !taken)
		return -EINVAL;
	if (!s)
		return -ENOENT;
	if (s->in_flight)
		return -EBUSY;
	*taken = llm_seq_take_prefix(c, s, ids, n);
	return 0;
}

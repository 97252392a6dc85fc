// SPDX-License-Identifier: MIT
/*
 * The prefix cache of a context: full blocks become known when the step that filled them has gone
 * well, and sequences with the same beginning take them.
 */
#include "ctx.h"

#include <errno.h>
#include <string.h>

/* The serial number of a sequence's last known block. */
static uint64_t parent_of(const struct zw_ctx *c, const struct llm_seq *s)
{
	return s->known ? c->pool.prefix.entry[s->blocks.id[s->known - 1]].serial : LLM_PREFIX_ROOT;
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
		uint64_t parent = parent_of(c, s);
		uint32_t own = s->blocks.id[s->known];
		uint32_t block = llm_prefix_find(&c->pool.prefix, parent, ids);

		if (block == LLM_NO_BLOCK)
			llm_prefix_add(&c->pool.prefix, own, parent, ids);
		else if (block != own)
			replace(c, s, s->known, block);
		s->known++;
	}
}

/* Ids that the device chose are known when their step is done. */
void llm_slot_learn(struct zw_ctx *c, const struct llm_slot *slot)
{
	const char *param = llm_param(c, slot);
	const int32_t *ids = (const int32_t *)(const void *)(param + c->p.ids);
	const int32_t *pos = (const int32_t *)(const void *)(param + c->p.pos);
	const int32_t *seq = (const int32_t *)(const void *)(param + c->p.seq);

	for (uint32_t i = 0; i < slot->chosen; i++)
		c->seqs[seq[i]].ids[pos[i]] = (uint32_t)ids[i];
}

/* As many whole blocks of a text as are known, but not the last token: something is to be computed. */
uint32_t llm_seq_take_prefix(struct zw_ctx *c, struct llm_seq *s, const uint32_t *ids, size_t n)
{
	uint32_t taken = 0, block;

	if (!c->pool.cached || s->length != s->known * LLM_BLOCK_TOKENS)
		return 0;
	c->stats.prefix_queries += n;
	if (n > c->o.context - s->length)
		n = c->o.context - s->length;
	if (llm_grow(&s->blocks.id, &s->blocks.cap, s->known + n / LLM_BLOCK_TOKENS,
		     sizeof(*s->blocks.id)) ||
	    llm_grow(&s->ids, &s->ids_cap, s->length + n, sizeof(*s->ids)))
		return 0; /* then it is computed */
	for (; taken + LLM_BLOCK_TOKENS < n; taken += LLM_BLOCK_TOKENS) {
		block = llm_prefix_find(&c->pool.prefix, parent_of(c, s), ids + taken);
		if (block == LLM_NO_BLOCK)
			break;
		llm_kv_get(&c->pool, block);
		s->blocks.id[s->blocks.used++] = block;
		memcpy(s->ids + s->length, ids + taken, LLM_BLOCK_TOKENS * sizeof(*ids));
		s->length += LLM_BLOCK_TOKENS;
		s->known++;
	}
	if (taken)
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

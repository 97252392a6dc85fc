// SPDX-License-Identifier: MIT
/* Sequences: blocks shared and given back. No data moves but the state that families keep in slabs. */
#include "ctx.h"

#include <errno.h>
#include <string.h>

struct llm_seq *llm_seq_of(const struct zw_ctx *c, uint32_t seq)
{
	return seq < c->o.max_seqs && c->seqs[seq].live ? &c->seqs[seq] : NULL;
}

void llm_seq_cut(struct zw_ctx *c, struct llm_seq *s, uint32_t blocks)
{
	llm_blocks_cut(&c->pool, &s->blocks, blocks);
	llm_seq_unsync(c, s, blocks);
	if (s->known > blocks)
		s->known = blocks;
}

void llm_seq_unsync(const struct zw_ctx *c, struct llm_seq *s, uint32_t at)
{
	for (uint32_t i = 0; i < c->o.steps; i++) {
		if (s->synced[i] > at)
			s->synced[i] = at;
	}
}

/* It has these tokens and no others. */
static int set_ids(struct llm_seq *s, const uint32_t *ids, uint32_t n)
{
	if (llm_grow(&s->ids, &s->ids_cap, n, sizeof(*s->ids)))
		return -ENOMEM;
	if (n)
		memcpy(s->ids, ids, n * sizeof(*ids));
	s->length = n;
	return 0;
}

int llm_seq_idle(const struct zw_ctx *c, uint32_t seq, struct llm_seq **s)
{
	*s = llm_seq_of(c, seq);
	if (!*s)
		return -ENOENT;
	return (*s)->in_flight ? -EBUSY : 0;
}

int llm_seq_intact(const struct zw_ctx *c, uint32_t seq, struct llm_seq **s)
{
	int ret = llm_seq_idle(c, seq, s);

	return !ret && (*s)->lost ? -EIO : ret;
}

static int take_seq(struct zw_ctx *c, uint32_t *seq)
{
	for (uint32_t i = 0; i < c->o.max_seqs; i++) {
		struct llm_seq *s = &c->seqs[i];

		if (s->live)
			continue;
		s->live = true;
		s->lost = false;
		s->length = s->kept = 0;
		s->choice = (struct llm_choice){0};
		c->num_seqs++;
		*seq = i;
		return 0;
	}
	return -ENOSPC;
}

int zw_seq_create(struct zw_ctx *c, uint32_t *seq)
{
	return c && seq ? take_seq(c, seq) : -EINVAL;
}

int zw_seq_remove(struct zw_ctx *c, uint32_t seq)
{
	struct llm_seq *s;
	int ret = llm_seq_idle(c, seq, &s);

	if (ret)
		return ret;
	llm_seq_cut(c, s, 0);
	s->live = false;
	c->num_seqs--;
	return 0;
}

/* Recurrent state can only go on from where it was kept, or from nothing. */
static bool can_cut(const struct zw_ctx *c, const struct llm_seq *s, uint32_t n)
{
	return !c->needs.slab_bytes || !n || s->length - n <= s->kept;
}

/* Known blocks among the first n tokens, of so many in all. */
static uint32_t known_of(uint32_t known, uint32_t n)
{
	return known < n / LLM_BLOCK_TOKENS ? known : n / LLM_BLOCK_TOKENS;
}

int zw_seq_fork(struct zw_ctx *c, uint32_t from, uint32_t n, uint32_t *seq)
{
	struct llm_seq *s;
	uint32_t id;
	int ret = seq ? llm_seq_intact(c, from, &s) : -EINVAL;

	if (ret)
		return ret;
	if (n > s->length)
		return -EINVAL;
	if (!can_cut(c, s, n))
		return -EOPNOTSUPP;
	ret = take_seq(c, &id);
	if (ret)
		return ret;
	ret = llm_blocks_share(&c->pool, &c->seqs[id].blocks, &s->blocks, llm_blocks_for(n));
	if (!ret && n)
		ret = llm_slab_copy(c, llm_slab_va(c, id, n), llm_slab_va(c, from, n));
	if (!ret)
		ret = set_ids(&c->seqs[id], s->ids, n);
	if (ret) {
		zw_seq_remove(c, id);
		return ret;
	}
	c->seqs[id].known = known_of(s->known, n);
	*seq = id;
	return 0;
}

int zw_seq_truncate(struct zw_ctx *c, uint32_t seq, uint32_t n)
{
	struct llm_seq *s;
	int ret = llm_seq_idle(c, seq, &s);

	if (ret)
		return ret;
	if (n > s->length)
		return -EINVAL;
	if (!can_cut(c, s, n))
		return -EOPNOTSUPP;
	if (n && s->lost)
		return -EIO;
	llm_seq_cut(c, s, llm_blocks_for(n));
	if (n < s->length)
		s->choice = (struct llm_choice){0};
	s->known = known_of(s->known, n);
	s->kept = n ? s->kept - (s->length - n) : 0;
	s->length = n;
	s->lost = false;
	return 0;
}

int64_t zw_seq_length(const struct zw_ctx *c, uint32_t seq)
{
	const struct llm_seq *s = llm_seq_of(c, seq);

	return s ? (int64_t)s->length : -ENOENT;
}

int64_t zw_seq_tokens(const struct zw_ctx *c, uint32_t seq, const uint32_t **ids)
{
	struct llm_seq *s;
	int ret = c && ids ? llm_seq_idle(c, seq, &s) : -EINVAL;

	if (ret)
		return ret;
	*ids = s->ids;
	return s->length;
}

// SPDX-License-Identifier: MIT
/* Sequences: blocks shared and given back. No data moves but the state that families keep in slabs. */
#include "ctx.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct zw_snapshot {
	struct zw_ctx *ctx;
	struct llm_blocks blocks;
	uint32_t *ids; /* [length] */
	uint32_t length, known;
	struct zw_buffer slab; /* or empty */
};

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

/* A sequence that may be changed. */
static int idle_seq(const struct zw_ctx *c, uint32_t seq, struct llm_seq **s)
{
	*s = llm_seq_of(c, seq);
	if (!*s)
		return -ENOENT;
	return (*s)->in_flight ? -EBUSY : 0;
}

/* A sequence whose state can be taken over. */
static int intact_seq(const struct zw_ctx *c, uint32_t seq, struct llm_seq **s)
{
	int ret = idle_seq(c, seq, s);

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
		s->length = 0;
		s->choice = (struct llm_choice){0};
		c->num_seqs++;
		*seq = i;
		return 0;
	}
	return -ENOSPC;
}

int zw_seq_create(struct zw_ctx *c, uint32_t *seq)
{
	uint32_t id;
	int ret = c && seq ? take_seq(c, &id) : -EINVAL;

	if (ret)
		return ret;
	ret = llm_slab_zero(c, id);
	if (ret) {
		zw_seq_remove(c, id);
		return ret;
	}
	*seq = id;
	return 0;
}

int zw_seq_remove(struct zw_ctx *c, uint32_t seq)
{
	struct llm_seq *s;
	int ret = idle_seq(c, seq, &s);

	if (ret)
		return ret;
	llm_seq_cut(c, s, 0);
	s->live = false;
	c->num_seqs--;
	return 0;
}

/* State that cannot be rewound can only go on from where it is, or from nothing. */
static bool can_cut(const struct zw_ctx *c, const struct llm_seq *s, uint32_t n)
{
	return !c->needs.slab_bytes || !n || n == s->length;
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
	int ret = seq ? intact_seq(c, from, &s) : -EINVAL;

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
	if (!ret)
		ret = n ? llm_slab_copy(c, llm_slab_va(c, id), llm_slab_va(c, from))
			: llm_slab_zero(c, id);
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
	int ret = idle_seq(c, seq, &s);

	if (ret)
		return ret;
	if (n > s->length)
		return -EINVAL;
	if (!can_cut(c, s, n))
		return -EOPNOTSUPP;
	if (n && s->lost)
		return -EIO;
	ret = n ? 0 : llm_slab_zero(c, seq);
	if (ret)
		return ret;
	llm_seq_cut(c, s, llm_blocks_for(n));
	if (n < s->length)
		s->choice = (struct llm_choice){0};
	s->known = known_of(s->known, n);
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
	int ret = c && ids ? idle_seq(c, seq, &s) : -EINVAL;

	if (ret)
		return ret;
	*ids = s->ids;
	return s->length;
}

int zw_seq_snapshot(struct zw_ctx *c, uint32_t seq, struct zw_snapshot **out)
{
	struct zw_snapshot *snap;
	struct llm_seq *s;
	int ret = out ? intact_seq(c, seq, &s) : -EINVAL;

	if (ret)
		return ret;
	snap = calloc(1, sizeof(*snap));
	if (!snap)
		return -ENOMEM;
	snap->ctx = c;
	snap->length = s->length;
	snap->known = s->known;
	c->snapshots++;
	snap->ids = malloc(s->length * sizeof(*s->ids) + 1);
	ret = snap->ids ? llm_blocks_share(&c->pool, &snap->blocks, &s->blocks, s->blocks.used)
			: -ENOMEM;
	if (!ret && s->length)
		memcpy(snap->ids, s->ids, s->length * sizeof(*s->ids));
	if (!ret && c->needs.slab_bytes)
		ret = zw_buffer_create(c->m->vm, c->needs.slab_bytes, ZW_BO_HBM, &snap->slab);
	if (!ret)
		ret = llm_slab_copy(c, snap->slab.va, llm_slab_va(c, seq));
	if (ret) {
		zw_snapshot_destroy(snap);
		return ret;
	}
	*out = snap;
	return 0;
}

int zw_seq_restore(struct zw_ctx *c, uint32_t seq, const struct zw_snapshot *snap)
{
	struct llm_blocks blocks = {0};
	struct llm_seq *s;
	int ret = snap && snap->ctx == c ? idle_seq(c, seq, &s) : -EINVAL;

	if (ret)
		return ret;
	if (llm_grow(&s->ids, &s->ids_cap, snap->length, sizeof(*s->ids)))
		return -ENOMEM;
	ret = llm_blocks_share(&c->pool, &blocks, &snap->blocks, snap->blocks.used);
	if (ret)
		return ret;
	ret = llm_slab_copy(c, llm_slab_va(c, seq), snap->slab.va);
	if (ret) {
		/* Half of a state may have arrived. */
		s->lost = true;
		llm_blocks_fini(&c->pool, &blocks);
		return ret;
	}
	s->lost = false;
	llm_seq_cut(c, s, 0);
	llm_blocks_fini(&c->pool, &s->blocks);
	s->blocks = blocks;
	s->choice = (struct llm_choice){0};
	s->known = snap->known;
	return set_ids(s, snap->ids, snap->length);
}

void zw_snapshot_destroy(struct zw_snapshot *snap)
{
	if (!snap)
		return;
	llm_blocks_fini(&snap->ctx->pool, &snap->blocks);
	zw_buffer_destroy(&snap->slab);
	free(snap->ids);
	snap->ctx->snapshots--;
	free(snap);
}

// SPDX-License-Identifier: MIT
/* Sequences: blocks shared and given back; no data moves here. */
#include "ctx.h"

#include <errno.h>
#include <stdlib.h>

struct zw_snapshot {
	struct zw_ctx *ctx;
	struct llm_blocks blocks;
	uint32_t length;
};

struct llm_seq *llm_seq_of(const struct zw_ctx *c, uint32_t seq)
{
	return seq < c->o.max_seqs && c->seqs[seq].live ? &c->seqs[seq] : NULL;
}

void llm_seq_cut(struct zw_ctx *c, struct llm_seq *s, uint32_t blocks)
{
	llm_blocks_cut(&c->pool, &s->blocks, blocks);
	for (uint32_t i = 0; i < c->o.steps; i++) {
		if (s->synced[i] > blocks)
			s->synced[i] = blocks;
	}
}

/* A sequence that may be changed. */
static int idle_seq(const struct zw_ctx *c, uint32_t seq, struct llm_seq **s)
{
	*s = llm_seq_of(c, seq);
	if (!*s)
		return -ENOENT;
	return (*s)->in_flight ? -EBUSY : 0;
}

int zw_seq_create(struct zw_ctx *c, uint32_t *seq)
{
	if (!c || !seq)
		return -EINVAL;
	for (uint32_t i = 0; i < c->o.max_seqs; i++) {
		if (c->seqs[i].live)
			continue;
		c->seqs[i].live = true;
		c->seqs[i].length = 0;
		c->num_seqs++;
		*seq = i;
		return 0;
	}
	return -ENOSPC;
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

int zw_seq_fork(struct zw_ctx *c, uint32_t from, uint32_t n, uint32_t *seq)
{
	struct llm_seq *s;
	uint32_t id;
	int ret = seq ? idle_seq(c, from, &s) : -EINVAL;

	if (ret)
		return ret;
	if (n > s->length)
		return -EINVAL;
	ret = zw_seq_create(c, &id);
	if (ret)
		return ret;
	ret = llm_blocks_share(&c->pool, &c->seqs[id].blocks, &s->blocks, llm_blocks_for(n));
	if (ret) {
		zw_seq_remove(c, id);
		return ret;
	}
	c->seqs[id].length = n;
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
	llm_seq_cut(c, s, llm_blocks_for(n));
	s->length = n;
	return 0;
}

int64_t zw_seq_length(const struct zw_ctx *c, uint32_t seq)
{
	const struct llm_seq *s = llm_seq_of(c, seq);

	return s ? (int64_t)s->length : -ENOENT;
}

int zw_seq_snapshot(struct zw_ctx *c, uint32_t seq, struct zw_snapshot **out)
{
	struct zw_snapshot *snap;
	struct llm_seq *s;
	int ret = out ? idle_seq(c, seq, &s) : -EINVAL;

	if (ret)
		return ret;
	snap = calloc(1, sizeof(*snap));
	if (!snap)
		return -ENOMEM;
	ret = llm_blocks_share(&c->pool, &snap->blocks, &s->blocks, s->blocks.used);
	if (ret) {
		free(snap);
		return ret;
	}
	snap->ctx = c;
	snap->length = s->length;
	c->snapshots++;
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
	ret = llm_blocks_share(&c->pool, &blocks, &snap->blocks, snap->blocks.used);
	if (ret)
		return ret;
	llm_seq_cut(c, s, 0);
	llm_blocks_fini(&c->pool, &s->blocks);
	s->blocks = blocks;
	s->length = snap->length;
	return 0;
}

void zw_snapshot_destroy(struct zw_snapshot *snap)
{
	if (!snap)
		return;
	llm_blocks_fini(&snap->ctx->pool, &snap->blocks);
	snap->ctx->snapshots--;
	free(snap);
}

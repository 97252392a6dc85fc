// SPDX-License-Identifier: MIT
/* Snapshots: in the pool, where they share blocks, and in system memory. */
#include "snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct zw_snapshot *llm_snapshot_new(struct zw_ctx *c, uint32_t length)
{
	struct zw_snapshot *snap = calloc(1, sizeof(*snap));

	if (!snap)
		return NULL;
	snap->ids = malloc(length * sizeof(*snap->ids) + 1);
	if (!snap->ids) {
		free(snap);
		return NULL;
	}
	snap->ctx = c;
	snap->length = length;
	c->snapshots++;
	return snap;
}

int zw_seq_snapshot(struct zw_ctx *c, uint32_t seq, struct zw_snapshot **out)
{
	struct zw_snapshot *snap;
	struct llm_seq *s;
	int ret = out ? llm_seq_intact(c, seq, &s) : -EINVAL;

	if (ret)
		return ret;
	snap = llm_snapshot_new(c, s->length);
	if (!snap)
		return -ENOMEM;
	if (s->length)
		memcpy(snap->ids, s->ids, s->length * sizeof(*s->ids));
	snap->known = s->known;
	ret = llm_blocks_share(&c->pool, &snap->blocks, &s->blocks, s->blocks.used);
	if (!ret && c->needs.slab_bytes)
		ret = zw_buffer_create(c->m->vm, c->needs.slab_bytes, ZW_BO_HBM, &snap->slab);
	if (!ret)
		ret = llm_slab_copy(c, snap->slab.va, llm_slab_va(c, seq, s->length));
	if (ret) {
		zw_snapshot_destroy(snap);
		return ret;
	}
	*out = snap;
	return 0;
}

void zw_snapshot_destroy(struct zw_snapshot *snap)
{
	if (!snap)
		return;
	llm_blocks_fini(&snap->ctx->pool, &snap->blocks);
	zw_buffer_destroy(&snap->slab);
	zw_buffer_destroy(&snap->system);
	free(snap->ids);
	free(snap->note);
	snap->ctx->snapshots--;
	free(snap);
}

int zw_snapshot_get_info(const struct zw_snapshot *snap, struct zw_snapshot_info *info)
{
	struct zw_snapshot_info i = {
		.tokens = snap->length,
		.ids = snap->ids,
		.blocks = snap->blocks.used,
		.system_bytes = snap->system.bytes,
	};

	return sized_out(info, SIZED_V0(struct zw_snapshot_info, system_bytes), &i, sizeof(i));
}

int zw_snapshot_set_note(struct zw_snapshot *snap, const void *data, size_t len)
{
	char *copy;

	if (!snap || (!data && len))
		return -EINVAL;
	if (len > ZW_SNAPSHOT_MAX_NOTE)
		return -EFBIG;
	copy = len ? malloc(len) : NULL;
	if (len && !copy)
		return -ENOMEM;
	if (len)
		memcpy(copy, data, len);
	free(snap->note);
	snap->note = copy;
	snap->note_bytes = (uint32_t)len;
	return 0;
}

const void *zw_snapshot_get_note(const struct zw_snapshot *snap, size_t *len)
{
	*len = snap->note_bytes;
	return snap->note;
}

/* ---- out ---- */

/* Of n pieces of `bytes`, which are rows [32] each, those behind the first `used`. */
static void clear_rows(char *pieces, uint32_t n, uint64_t bytes, uint32_t used)
{
	uint64_t row = bytes / LLM_BLOCK_TOKENS;

	for (uint32_t i = 0; i < n; i++)
		memset(pieces + i * bytes + used * row, 0, bytes - used * row);
}

/* K and V of every layer, and their scales, have a row for each token; those behind the last are cleared. */
static void clear_tail(const struct zw_snapshot *snap, char *blocks)
{
	const struct zw_ctx *c = snap->ctx;
	uint32_t used = snap->length % LLM_BLOCK_TOKENS, pieces = 2 * c->needs.kv_layers;
	char *last = blocks + snap->length / LLM_BLOCK_TOKENS * llm_block_bytes(c);

	if (!used)
		return;
	clear_rows(last, pieces, c->block_bytes, used);
	clear_rows(last + pieces * c->block_bytes, pieces, c->scale_bytes, used);
}

int llm_snapshot_read(const struct zw_snapshot *snap, const struct zw_buffer *to)
{
	struct zw_ctx *c = snap->ctx;
	int ret = llm_copy_blocks(c, snap->blocks.id, snap->blocks.used, to->va, true);

	if (!ret)
		ret = llm_slab_copy(c, to->va + llm_snapshot_slab_off(c, snap->length),
				    snap->slab.va);
	if (!ret)
		clear_tail(snap, to->ptr);
	return ret;
}

int zw_snapshot_swap_out(struct zw_snapshot *snap)
{
	struct zw_ctx *c = snap ? snap->ctx : NULL;
	struct zw_buffer to = {0};
	uint64_t bytes;
	int ret = 0;

	if (!snap)
		return -EINVAL;
	if (snap->out)
		return 0;
	bytes = llm_snapshot_bytes(c, snap->length);
	if (bytes)
		ret = zw_buffer_create(c->m->vm, bytes, ZW_BO_SYSTEM, &to);
	if (!ret && bytes)
		ret = llm_snapshot_read(snap, &to);
	if (ret) {
		zw_buffer_destroy(&to);
		return ret;
	}
	llm_blocks_fini(&c->pool, &snap->blocks);
	zw_buffer_destroy(&snap->slab);
	snap->known = 0;
	snap->system = to;
	snap->out = true;
	return 0;
}

/* ---- back into a sequence ---- */

/*
 * Blocks for a snapshot that is out: those that the prefix cache has, the first *known, and for the rest
 * new ones that are filled from system memory. On failure dst is empty.
 */
static int bring_in(struct zw_ctx *c, const struct zw_snapshot *snap, struct llm_blocks *dst,
		    uint32_t *known)
{
	uint32_t n = llm_blocks_for(snap->length);
	int ret;

	if (llm_grow(&dst->id, &dst->cap, n, sizeof(*dst->id)))
		return -ENOMEM;
	*known = llm_prefix_take(c, dst, snap->ids, snap->length / LLM_BLOCK_TOKENS, false);
	ret = n - dst->used > llm_kv_available(&c->pool) ? -ENOSPC : 0;
	while (!ret && dst->used < n)
		dst->id[dst->used++] = llm_kv_take(&c->pool);
	if (!ret)
		ret = llm_copy_blocks(c, dst->id + *known, n - *known,
				      snap->system.va + *known * llm_block_bytes(c), false);
	if (ret)
		llm_blocks_fini(&c->pool, dst);
	return ret;
}

int zw_seq_restore(struct zw_ctx *c, uint32_t seq, const struct zw_snapshot *snap)
{
	struct llm_blocks blocks = {0};
	uint32_t known = 0;
	struct llm_seq *s;
	int ret = snap && snap->ctx == c ? llm_seq_idle(c, seq, &s) : -EINVAL;

	if (ret)
		return ret;
	if (llm_grow(&s->ids, &s->ids_cap, snap->length, sizeof(*s->ids)))
		return -ENOMEM;
	if (snap->out) {
		ret = bring_in(c, snap, &blocks, &known);
	} else {
		ret = llm_blocks_share(&c->pool, &blocks, &snap->blocks, snap->blocks.used);
		known = snap->known;
	}
	if (ret)
		return ret;
	ret = llm_slab_copy(c, llm_slab_va(c, seq, snap->length),
			    snap->out ? snap->system.va + llm_snapshot_slab_off(c, snap->length)
				      : snap->slab.va);
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
	if (snap->length)
		memcpy(s->ids, snap->ids, snap->length * sizeof(*s->ids));
	s->length = snap->length;
	s->kept = 0;
	s->known = known;
	llm_seq_know(c, s, s->length);
	return 0;
}

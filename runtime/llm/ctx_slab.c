// SPDX-License-Identifier: MIT
/*
 * Slabs: state of a fixed size per sequence that is not a KV cache. It changes with every token and
 * cannot be shared, so forks and snapshots move bytes. They do so at once, on the queue of the context,
 * behind the steps in flight.
 */
#include "ctx.h"

uint32_t llm_slab_of(const struct zw_ctx *c, uint32_t seq, uint32_t length)
{
	return seq * (1 + c->o.rewind) + length % (1 + c->o.rewind);
}

uint64_t llm_slab_va(const struct zw_ctx *c, uint32_t seq, uint32_t length)
{
	return c->slab.va + llm_slab_of(c, seq, length) * c->slab_stride;
}

uint32_t llm_slab_place(const struct zw_ctx *c, uint32_t place)
{
	return c->o.max_seqs * (1 + c->o.rewind) + place;
}

uint64_t llm_slab_place_va(const struct zw_ctx *c, uint32_t place)
{
	return c->slab.va + llm_slab_place(c, place) * c->slab_stride;
}

int llm_slab_copy(struct zw_ctx *c, uint64_t dst_va, uint64_t src_va)
{
	if (!c->needs.slab_bytes)
		return 0;
	zw_cmd_reset(&c->copies);
	zw_cmd_copy(&c->copies, dst_va, src_va, c->needs.slab_bytes, 0);
	return llm_copy_run(c);
}

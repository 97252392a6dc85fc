// SPDX-License-Identifier: MIT
#include "kv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int llm_kv_init(struct llm_kv *kv, uint32_t num, bool cached, uint32_t states)
{
	kv->free = malloc(num * sizeof(*kv->free));
	kv->refs = calloc(num, sizeof(*kv->refs));
	if (!kv->free || !kv->refs)
		return -ENOMEM;
	kv->num = kv->num_free = num;
	/* Taken from the end: in rising order at first. */
	for (uint32_t i = 0; i < num; i++)
		kv->free[i] = num - 1 - i;
	kv->cached = cached;
	return cached ? llm_prefix_init(&kv->prefix, num, states) : 0;
}

void llm_kv_fini(struct llm_kv *kv)
{
	free(kv->free);
	free(kv->refs);
	llm_prefix_fini(&kv->prefix);
}

uint32_t llm_kv_take(struct llm_kv *kv)
{
	uint32_t block;

	if (kv->num_free)
		block = kv->free[--kv->num_free];
	else
		block = llm_prefix_evict(&kv->prefix);
	kv->refs[block] = 1;
	return block;
}

void llm_kv_get(struct llm_kv *kv, uint32_t block)
{
	if (!kv->refs[block]++)
		llm_prefix_wake(&kv->prefix, block);
}

void llm_kv_put(struct llm_kv *kv, uint32_t block)
{
	if (--kv->refs[block])
		return;
	if (kv->cached && llm_prefix_knows(&kv->prefix, block))
		llm_prefix_idle(&kv->prefix, block);
	else
		kv->free[kv->num_free++] = block;
}

int llm_blocks_share(struct llm_kv *kv, struct llm_blocks *dst, const struct llm_blocks *src,
		     uint32_t n)
{
	if (llm_grow(&dst->id, &dst->cap, n, sizeof(*dst->id)))
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		dst->id[i] = src->id[i];
		llm_kv_get(kv, src->id[i]);
	}
	dst->used = n;
	return 0;
}

void llm_blocks_cut(struct llm_kv *kv, struct llm_blocks *b, uint32_t n)
{
	while (b->used > n)
		llm_kv_put(kv, b->id[--b->used]);
}

void llm_blocks_fini(struct llm_kv *kv, struct llm_blocks *b)
{
	llm_blocks_cut(kv, b, 0);
	free(b->id);
	memset(b, 0, sizeof(*b));
}

/* SPDX-License-Identifier: MIT */
/* What attention and the cache write share: checked sequences and positions. */
#ifndef ZW_K_KV_H
#define ZW_K_KV_H

#include "zw_k_check.h"
#include "zw_k_quant.h"

struct zw_kv {
	const struct zw_k_kv_seq *seqs;
	uint32_t n_seqs;
	uint32_t n_kv, d, block_size;
	enum zw_store st; /* of a quantised cache: what it is made on its way in */
	bool quantised;
	enum zw_q_format format;
	enum zw_q_target target;
	uint32_t size; /* of an element */
	bool gaps;     /* pages may be NULL */
	int32_t *pos;  /* checked position of every row that belongs to a sequence */
};

/**
 * zw_kv_init - check sequences, pages and positions
 *
 * 0, -EINVAL, -EOPNOTSUPP, -ENOMEM, or -ERANGE with *fault filled in. On success zw_kv_fini() must
 * follow.
 */
int zw_kv_init(struct zw_kv *kv, const struct zw_k_kv_seq *seqs, uint32_t n_seqs, uint32_t rows,
	       uint32_t n_kv, uint32_t d, uint32_t block_size, uint32_t dtype,
	       const int32_t *positions, bool gaps, struct zw_k_fault *fault);
void zw_kv_fini(struct zw_kv *kv);

/* Whether any page in use overlaps the view. */
bool zw_kv_overlap(const struct zw_kv *kv, const struct zw_k_view *v);

/* The scale of the given head at a position; scales: those of seq, of its keys or its values. */
static inline float *zw_kv_scale_at(const struct zw_kv *kv, const struct zw_k_kv_seq *seq,
				    void *const *scales, uint32_t pos, uint32_t head)
{
	uint64_t slot = pos % kv->block_size;

	return (float *)scales[pos / kv->block_size - seq->page_first] + slot * kv->n_kv + head;
}

/* Element 0 of the given head at a position; pages: those of seq, of its keys or its values. */
static inline char *zw_kv_at(const struct zw_kv *kv, const struct zw_k_kv_seq *seq,
			     void *const *pages, uint32_t pos, uint32_t head)
{
	uint64_t slot = pos % kv->block_size;

	return (char *)pages[pos / kv->block_size - seq->page_first] +
	       (slot * kv->n_kv + head) * kv->d * (uint64_t)kv->size;
}

/* A key in F32; dst has room for d padded. */
static inline void zw_kv_widen_key(const struct zw_kv *kv, const struct zw_prim *prim,
				   const struct zw_k_kv_seq *seq, uint32_t pos, uint32_t head,
				   float *dst)
{
	const char *key = zw_kv_at(kv, seq, seq->k_pages, pos, head);
	struct zw_q_row row = {.ptr = (const uint8_t *)key};

	if (!kv->quantised) {
		prim->widen[kv->st](dst, key, kv->d);
		return;
	}
	row.scale = zw_kv_scale_at(kv, seq, seq->k_scales, pos, head);
	prim->quant->dequant[kv->format](dst, ZW_LANES, &row, 0, kv->d, kv->d);
}

#endif

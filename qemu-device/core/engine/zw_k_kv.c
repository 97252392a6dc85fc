// SPDX-License-Identifier: MIT
#include "zw_k_kv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "zhenwu/zw_types.h"

/* Of those in the arrays. */
static uint32_t pages_used(const struct zw_kv *kv, const struct zw_k_kv_seq *seq)
{
	uint64_t pages = ((uint64_t)seq->kv_len + kv->block_size - 1) / kv->block_size;

	return pages > seq->page_first ? (uint32_t)(pages - seq->page_first) : 0;
}

/* Elements of a page, 0 if that is more than can be addressed. */
static uint64_t page_elements(const struct zw_kv *kv)
{
	uint64_t n;

	if (__builtin_mul_overflow((uint64_t)kv->n_kv * kv->d, kv->block_size, &n))
		return 0;
	return n;
}

static int check_pages(const struct zw_kv *kv, void *const *pages, uint32_t count,
		       uint64_t elements, uint32_t size)
{
	struct zw_k_view page;

	if (count && !pages)
		return -EINVAL;
	for (uint32_t i = 0; i < count; i++)
		if (!(kv->gaps && !pages[i]) && zw_k_view_array(&page, pages[i], elements, size))
			return -EINVAL;
	return 0;
}

/* Scales where there have to be some. */
static int check_scales(const struct zw_kv *kv, const struct zw_k_kv_seq *seq, uint32_t pages)
{
	uint64_t n = (uint64_t)kv->block_size * kv->n_kv;
	int err;

	if (!kv->quantised)
		return seq->k_scales || seq->v_scales ? -EINVAL : 0;
	err = check_pages(kv, seq->k_scales, pages, n, sizeof(float));
	return err ? err : check_pages(kv, seq->v_scales, pages, n, sizeof(float));
}

static int check_seq(const struct zw_kv *kv, const struct zw_k_kv_seq *seq, uint32_t rows)
{
	uint32_t pages = pages_used(kv, seq);
	int err;

	if ((uint64_t)seq->q_first + seq->q_count > rows)
		return -EINVAL;
	if (pages > seq->n_pages || seq->kv_len > INT32_MAX || !page_elements(kv))
		return -EINVAL;
	err = check_pages(kv, seq->k_pages, pages, page_elements(kv), kv->size);
	if (!err)
		err = check_pages(kv, seq->v_pages, pages, page_elements(kv), kv->size);
	return err ? err : check_scales(kv, seq, pages);
}

static bool pages_overlap(const struct zw_kv *kv, void *const *pages, uint32_t count,
			  uint64_t elements, uint32_t size, const struct zw_k_view *v)
{
	struct zw_k_view page;

	for (uint32_t i = 0; i < count; i++)
		if (!(kv->gaps && !pages[i]) && (zw_k_view_array(&page, pages[i], elements, size) ||
						 zw_k_view_overlap(v, &page)))
			return true;
	return false;
}

bool zw_kv_overlap(const struct zw_kv *kv, const struct zw_k_view *v)
{
	for (uint32_t i = 0; i < kv->n_seqs; i++) {
		const struct zw_k_kv_seq *seq = &kv->seqs[i];

		uint32_t pages = pages_used(kv, seq);
		uint64_t n = page_elements(kv), scales = (uint64_t)kv->block_size * kv->n_kv;

		if (pages_overlap(kv, seq->k_pages, pages, n, kv->size, v) ||
		    pages_overlap(kv, seq->v_pages, pages, n, kv->size, v))
			return true;
		if (kv->quantised && (pages_overlap(kv, seq->k_scales, pages, scales, 4, v) ||
				      pages_overlap(kv, seq->v_scales, pages, scales, 4, v)))
			return true;
	}
	return false;
}

/* Copies each position once, so that a guest changing it meanwhile gains nothing. */
static int fill_positions(struct zw_kv *kv, const struct zw_k_kv_seq *seq, const int32_t *positions,
			  struct zw_k_fault *fault)
{
	for (uint32_t i = 0; i < seq->q_count; i++) {
		uint64_t row = (uint64_t)seq->q_first + i;
		int64_t p = (int64_t)seq->kv_len - seq->q_count + i;

		if (kv->pos[row] >= 0)
			return -EINVAL; /* the row belongs to two sequences */
		if (positions)
			p = ((const volatile int32_t *)positions)[row];
		if (p < 0 || p >= seq->kv_len) {
			if (fault) {
				fault->index = row;
				fault->value = p;
			}
			return -ERANGE;
		}
		kv->pos[row] = (int32_t)p;
	}
	return 0;
}

int zw_kv_init(struct zw_kv *kv, const struct zw_k_kv_seq *seqs, uint32_t n_seqs, uint32_t rows,
	       uint32_t n_kv, uint32_t d, uint32_t block_size, uint32_t dtype,
	       const int32_t *positions, bool gaps, struct zw_k_fault *fault)
{
	int err;

	memset(kv, 0, sizeof(*kv));
	kv->quantised = dtype == ZW_DTYPE_I8 || dtype == ZW_DTYPE_F8E4M3;
	err = kv->quantised ? zw_q_target_of(dtype, &kv->target) : zw_store_of(dtype, &kv->st);
	if (err)
		return err;
	kv->format = dtype == ZW_DTYPE_I8 ? ZW_Q_I8 : ZW_Q_F8E4M3;
	if (!n_kv || !d || !block_size || (n_seqs && !seqs) ||
	    (uintptr_t)positions % sizeof(*positions))
		return -EINVAL;
	kv->seqs = seqs;
	kv->n_seqs = n_seqs;
	kv->n_kv = n_kv;
	kv->d = d;
	kv->block_size = block_size;
	kv->size = kv->quantised ? 1 : zw_store_size(kv->st);
	kv->gaps = gaps;
	for (uint32_t i = 0; i < n_seqs; i++) {
		err = check_seq(kv, &seqs[i], rows);
		if (err)
			return err;
	}
	kv->pos = malloc(((size_t)rows + 1) * sizeof(*kv->pos));
	if (!kv->pos)
		return -ENOMEM;
	for (uint32_t i = 0; i < rows; i++)
		kv->pos[i] = -1;
	for (uint32_t i = 0; i < n_seqs && !err; i++)
		err = fill_positions(kv, &seqs[i], positions, fault);
	if (err)
		zw_kv_fini(kv);
	return err;
}

void zw_kv_fini(struct zw_kv *kv)
{
	free(kv->pos);
	kv->pos = NULL;
}

// SPDX-License-Identifier: MIT
/*
 * What attention costs: tiles of query rows against tiles of the keys that they see, spread over the units of the
 * chip; one query row a sequence (a decode) has its keys split over units that have nothing else to do. Integers only.
 */
#include "zw_cp_int.h"

typedef unsigned __int128 u128;

static uint64_t quotient(uint64_t a, uint64_t b)
{
	return a / b + !!(a % b);
}

static uint64_t saturate(u128 v)
{
	return v > UINT64_MAX ? UINT64_MAX : (uint64_t)v;
}

/* Rows of a tile come in quarters of it. */
static uint32_t quarter(const struct zw_profile *p)
{
	return p->attn_tile / 4;
}

void zw_cp_attn_rows(const struct zw_profile *p, struct zw_cp_attn_work *w, uint64_t rows,
		     uint64_t keys, uint64_t times)
{
	uint64_t quarters = zw_cp_mul_sat(quotient(keys, p->attn_tile), quotient(rows, quarter(p)));

	w->items = zw_cp_add_sat(w->items, times);
	w->quarters = zw_cp_add_sat(w->quarters, zw_cp_mul_sat(quarters, times));
	if (quarters > w->longest)
		w->longest = quarters;
	if (quotient(keys, p->attn_tile) > w->key_tiles)
		w->key_tiles = quotient(keys, p->attn_tile);
}

uint64_t zw_cp_attn_splits(const struct zw_profile *p, const struct zw_cp_attn_work *w)
{
	uint64_t splits = w->items ? p->units / w->items : 1;

	if (!w->packed || splits < 1)
		return 1;
	return splits < w->key_tiles ? splits : (w->key_tiles ? w->key_tiles : 1);
}

uint64_t zw_cp_attn_fixed_ps(const struct zw_profile *p, const struct zw_cp_attn_work *w)
{
	if (!w->packed)
		return p->attn_prefill_ps;
	return zw_cp_add_sat(p->attn_ps, zw_cp_attn_splits(p, w) > 1 ? p->attn_split_ps : 0);
}

uint64_t zw_cp_attn_ps(const struct zw_profile *p, const struct zw_cp_attn_work *w, uint32_t d,
		       uint64_t rate)
{
	/* scores and weighted values of a quarter of a tile: 2 d operations each */
	uint64_t ops = 4ull * d * p->attn_tile * quarter(p);
	/* on one unit, in thousandths of a quarter, so that nothing is lost where units share */
	uint64_t shared = saturate((u128)w->quarters * 1000 / p->units);
	uint64_t tail = saturate((u128)quotient(w->longest, zw_cp_attn_splits(p, w)) *
				 p->attn_tail_permille);
	uint64_t unit = zw_cp_rate_ps(zw_cp_mul_sat(ops, p->units), rate, p->attn_permille);

	return saturate((u128)unit * zw_cp_add_sat(shared, tail) / 1000);
}

// SPDX-License-Identifier: MIT
/* What the products of quantised operands have in common. */
#include "zw_cp_int.h"
#include "../engine/zw_k_i8.h"

static bool in(uint64_t set, const struct zw_tensor *t)
{
	return set >> t->dtype & 1;
}

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

uint32_t zw_cp_check_factors(const struct zw_cp_factors *f, uint32_t k)
{
	bool any = f->w_scale->dtype || f->w_zero->dtype || f->w_scale2->dtype;

	/* Types that are nothing without a scale have one; records bring theirs, and what is itself has none. */
	if (in(ZW_DT_SCALED, f->a) != !!f->a_scale->dtype)
		return ZW_REASON_OPERAND;
	if (in(ZW_DT_SCALED, f->w) ? !f->w_scale->dtype : any)
		return ZW_REASON_OPERAND;
	/* Scales of both are applied together: to sums over the same elements, exact ones where they are I8. */
	if (f->a_scale->dtype && f->w_scale->dtype && k) {
		if (least(f->a_scale->block[1], k) != least(f->w_scale->block[1], k))
			return ZW_REASON_VALUE;
		if (f->a->dtype == ZW_DTYPE_I8 && least(f->a_scale->block[1], k) > ZW_I8_MAX_K)
			return ZW_REASON_LIMIT;
	}
	if (!f->w_zero->dtype)
		return ZW_REASON_NONE;
	if (!in(ZW_DT(I8) | ZW_DT(I4) | ZW_DT(U4), f->w))
		return ZW_REASON_OPERAND;
	return f->w_zero->block[1] == f->w_scale->block[1] ? ZW_REASON_NONE : ZW_REASON_VALUE;
}

bool zw_cp_factors_supported(const struct zw_cp_factors *f)
{
	const uint64_t f8 = ZW_DT(F8E4M3) | ZW_DT(F8E5M2);

	if (in(ZW_DT_FLOAT, f->a))
		return true;
	if (in(ZW_DT(I8), f->a))
		return in(ZW_DT(I8), f->w) && !f->w_zero->dtype;
	return in(f8, f->a) && in(f8, f->w);
}

struct zw_k_scales zw_cp_scales(const struct zw_cp_exec *x, unsigned int i, const void *ptr)
{
	const struct zw_tensor *t = zw_cp_tensor_at(x->op, x->pkt, i);

	if (!t->dtype)
		return (struct zw_k_scales){.ptr = NULL};
	return (struct zw_k_scales){
		.ptr = ptr,
		.ld = t->stride[t->ndim - 2],
		.dtype = t->dtype,
		.rows = t->block[0],
		.group = t->block[1],
	};
}

struct zw_k_scales zw_cp_a_scales(const struct zw_cp_exec *x, unsigned int i)
{
	const struct zw_tensor *t = zw_cp_tensor_at(x->op, x->pkt, i);
	struct zw_k_scales s = zw_cp_scales(x, i, x->mapped[i] ? x->view[i].ptr : NULL);

	if (t->ndim == 3) {
		s.ld = t->stride[0];
		s.hs = t->stride[1];
	}
	return s;
}

// SPDX-License-Identifier: MIT
/* What the products of quantised operands have in common. */
#include "zw_cp_int.h"

static bool in(uint64_t set, const struct zw_tensor *t)
{
	return set >> t->dtype & 1;
}

uint32_t zw_cp_check_factors(const struct zw_cp_factors *f)
{
	bool any = f->w_scale->dtype || f->w_zero->dtype || f->w_scale2->dtype;

	/* Types that are nothing without a scale have one; records bring theirs, and what is itself has none. */
	if (in(ZW_DT_SCALED, f->a) != !!f->a_scale->dtype)
		return ZW_REASON_OPERAND;
	if (in(ZW_DT_SCALED, f->w) ? !f->w_scale->dtype : any)
		return ZW_REASON_OPERAND;
	if (!f->w_zero->dtype)
		return ZW_REASON_NONE;
	if (!in(ZW_DT(I8) | ZW_DT(I4) | ZW_DT(U4), f->w))
		return ZW_REASON_OPERAND;
	return f->w_zero->block[1] == f->w_scale->block[1] ? ZW_REASON_NONE : ZW_REASON_VALUE;
}

bool zw_cp_factors_supported(const struct zw_cp_factors *f)
{
	return in(ZW_DT_FLOAT, f->a);
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

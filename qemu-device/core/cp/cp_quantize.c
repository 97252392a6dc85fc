// SPDX-License-Identifier: MIT
/* Vector engine: activations to I8 and F8. */
#include "zw_cp_int.h"

enum { QUANTIZE_X, QUANTIZE_Y, QUANTIZE_SCALE };

static uint32_t quantize_validate(const void *pkt)
{
	const struct zw_pkt_quantize *p = pkt;

	return p->scale.block[0] == 1 ? ZW_REASON_NONE : ZW_REASON_VALUE;
}

static int quantize_run(struct zw_cp_exec *x)
{
	const struct zw_pkt_quantize *p = x->pkt;
	struct zw_k_quantize_args args = {
		.rows = x->rows,
		.heads = zw_cp_heads(&p->x),
		.n = zw_cp_inner(&p->x),
		.block = p->scale.block[1],
		.x = zw_cp_in(x, QUANTIZE_X),
		.y = zw_cp_out(x, QUANTIZE_Y),
		.scale = zw_cp_out(x, QUANTIZE_SCALE),
	};

	return zw_cp_kernel_status(x, zw_k_quantize(&args, x->cfg->pool));
}

static uint64_t quantize_compute(struct zw_cp_exec *x)
{
	const struct zw_pkt_quantize *p = x->pkt;

	return zw_cp_vector_ps(x->profile, zw_cp_tensor_count(&p->x, x->rows), 4);
}

const struct zw_cp_impl zw_cp_quantize = {
	.validate = quantize_validate,
	.run = quantize_run,
	.compute = quantize_compute,
	.constant = true,
};

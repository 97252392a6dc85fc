// SPDX-License-Identifier: MIT
/* DMA engine: copy and fill. No tensors here, plain byte ranges. */
#include "zw_cp_int.h"

/* x->traffic slots */
enum { DMA_DST, DMA_SRC };

static uint32_t copy_validate(const void *pkt)
{
	const struct zw_pkt_copy *p = pkt;

	if (p->reserved)
		return ZW_REASON_RESERVED;
	if (p->bytes > ZW_CP_MAX_EXTENT)
		return ZW_REASON_LIMIT;
	if (zw_cp_add_sat(p->dst, p->bytes) > p->src && zw_cp_add_sat(p->src, p->bytes) > p->dst)
		return ZW_REASON_OVERLAP;
	return ZW_REASON_NONE;
}

static int copy_exec(struct zw_cp_exec *x)
{
	const struct zw_pkt_copy *p = x->pkt;
	struct zw_k_copy_args args = {.bytes = p->bytes};
	size_t dst, src;
	int err;

	if (!p->bytes)
		return 0;
	err = zw_cp_map_late(x, DMA_SRC, p->src, p->bytes, ZW_ACCESS_READ, p->bytes, &src);
	if (!err)
		err = zw_cp_map_late(x, DMA_DST, p->dst, p->bytes, ZW_ACCESS_WRITE, p->bytes, &dst);
	if (err)
		return err;
	args.src = x->late[src].ptr;
	args.dst = x->late[dst].ptr;
	return zw_cp_kernel_status(x, zw_k_copy(&args, x->cfg->pool));
}

static uint32_t fill_validate(const void *pkt)
{
	const struct zw_pkt_fill *p = pkt;

	if (p->reserved[0] || p->reserved[1] || p->reserved[2])
		return ZW_REASON_RESERVED;
	if (p->dst % 4 || p->bytes % 4)
		return ZW_REASON_ALIGN;
	return p->bytes > ZW_CP_MAX_EXTENT ? ZW_REASON_LIMIT : ZW_REASON_NONE;
}

static int fill_exec(struct zw_cp_exec *x)
{
	const struct zw_pkt_fill *p = x->pkt;
	struct zw_k_fill_args args = {.bytes = p->bytes, .pattern = p->pattern};
	size_t dst;
	int err;

	if (!p->bytes)
		return 0;
	err = zw_cp_map_late(x, DMA_DST, p->dst, p->bytes, ZW_ACCESS_WRITE, p->bytes, &dst);
	if (err)
		return err;
	args.dst = x->late[dst].ptr;
	return zw_cp_kernel_status(x, zw_k_fill(&args, x->cfg->pool));
}

static const struct zw_cp_op ops[] = {
	{ZW_OP_COPY, sizeof(struct zw_pkt_copy), ZW_ENGINE_DMA, 0, "COPY", ZW_PKT_F_ASYNC, NULL,
	 copy_validate, copy_exec, NULL},
	{ZW_OP_FILL, sizeof(struct zw_pkt_fill), ZW_ENGINE_DMA, 0, "FILL", ZW_PKT_F_ASYNC, NULL,
	 fill_validate, fill_exec, NULL},
};

const struct zw_cp_group zw_cp_dma = {ops, sizeof(ops) / sizeof(ops[0])};

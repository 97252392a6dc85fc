// SPDX-License-Identifier: MIT
/* DMA engine: copy and fill. No tensors here, rows of bytes. */
#include "zw_cp_int.h"
#include "../engine/zw_k_layout.h"

/* slots of x->view and x->traffic */
enum { DMA_DST, DMA_SRC };

/* Bytes from the first row's first to the last row's last. */
static uint64_t extent(uint32_t rows, uint64_t stride, uint64_t bytes)
{
	return zw_cp_add_sat(zw_cp_mul_sat(rows - 1ull, stride), bytes);
}

static uint32_t check_range(uint32_t rows, uint64_t stride, uint64_t bytes)
{
	if (rows == 1 || !bytes)
		return ZW_REASON_NONE;
	if (stride < bytes)
		return ZW_REASON_STRIDE;
	return extent(rows, stride, bytes) > ZW_CP_MAX_EXTENT ? ZW_REASON_LIMIT : ZW_REASON_NONE;
}

static bool is_dense(const struct zw_cp_exec *x, uint64_t stride, uint64_t bytes)
{
	return x->rows == 1 || stride == bytes;
}

/* Maps the rows of one side; of a destination only they are written. */
static int map_rows(struct zw_cp_exec *x, unsigned int i, uint64_t va, uint64_t stride,
		    uint64_t bytes, uint32_t access)
{
	/* Dense rows are written back as one. */
	if (access & ZW_ACCESS_WRITE && stride != bytes)
		x->pieces[i] = (struct zw_mem_pieces){
			.n = {1, 1, x->rows}, .stride = {0, 0, stride}, .bytes = bytes};
	return zw_cp_map(x, i, va, extent(x->rows, stride, bytes), access,
			 zw_cp_mul_sat(bytes, x->rows));
}

/* The view has its buffer after all. */
static int with_buffer(struct zw_cp_exec *x, unsigned int i, uint64_t va, uint64_t bytes,
		       uint32_t access)
{
	int err = zw_mem_unmap(x->cfg->mmu, x->vm, &x->view[i], false, &x->fault);

	if (!err)
		err = zw_mem_map(x->cfg->mmu, x->vm, va, bytes, access, &x->view[i], &x->fault);
	x->mapped[i] = !err;
	return zw_cp_mem_status(x, err);
}

/* Of two ranges without gaps one may be apart, unless the other is used in place and may be the same memory. */
static int map_dense(struct zw_cp_exec *x, uint64_t dst, uint64_t src, uint64_t bytes)
{
	const struct zw_view *d = &x->view[DMA_DST], *s = &x->view[DMA_SRC];
	int err = zw_cp_map_apart(x, DMA_SRC, src, bytes, ZW_ACCESS_READ, bytes);

	if (err)
		return err;
	if (s->apart)
		err = zw_cp_map(x, DMA_DST, dst, bytes, ZW_ACCESS_WRITE, bytes);
	else
		err = zw_cp_map_apart(x, DMA_DST, dst, bytes, ZW_ACCESS_WRITE, bytes);
	if (err)
		return err;
	if (s->apart && !d->bounced && d->target == ZW_TARGET_SYSTEM)
		return with_buffer(x, DMA_SRC, src, bytes, ZW_ACCESS_READ);
	if (d->apart && !s->bounced && s->target == ZW_TARGET_SYSTEM)
		return with_buffer(x, DMA_DST, dst, bytes, ZW_ACCESS_WRITE);
	return 0;
}

static uint32_t copy_validate(const void *pkt)
{
	const struct zw_pkt_copy *p = pkt;
	uint32_t reason = check_range(p->rows, p->dst_stride, p->bytes);

	if (!reason)
		reason = check_range(p->rows, p->src_stride, p->bytes);
	if (reason || !p->bytes)
		return reason;
	if (zw_cp_add_sat(p->dst, extent(p->rows, p->dst_stride, p->bytes)) > p->src &&
	    zw_cp_add_sat(p->src, extent(p->rows, p->src_stride, p->bytes)) > p->dst)
		return ZW_REASON_OVERLAP;
	return ZW_REASON_NONE;
}

static int copy_prepare(struct zw_cp_exec *x)
{
	const struct zw_pkt_copy *p = x->pkt;
	int err;

	if (!p->bytes)
		return 0;
	if (is_dense(x, p->src_stride, p->bytes) && is_dense(x, p->dst_stride, p->bytes))
		return map_dense(x, p->dst, p->src, zw_cp_mul_sat(p->bytes, x->rows));
	err = map_rows(x, DMA_SRC, p->src, p->src_stride, p->bytes, ZW_ACCESS_READ);
	return err ? err : map_rows(x, DMA_DST, p->dst, p->dst_stride, p->bytes, ZW_ACCESS_WRITE);
}

static int copy_run(struct zw_cp_exec *x)
{
	const struct zw_pkt_copy *p = x->pkt;
	struct zw_k_copy_rows_args args = {
		.dst = x->view[DMA_DST].ptr,
		.src = x->view[DMA_SRC].ptr,
		.bytes = p->bytes,
		.dst_stride = p->dst_stride,
		.src_stride = p->src_stride,
		.rows = x->rows,
	};

	/* Pages of the host, as most system memory is, to where they belong without a detour. */
	if (x->view[DMA_SRC].apart)
		return zw_cp_mem_status(
			x, zw_mem_fetch(x->cfg->mmu, &x->view[DMA_SRC], args.dst, &x->fault));
	if (x->view[DMA_DST].apart)
		return zw_cp_mem_status(
			x, zw_mem_store(x->cfg->mmu, &x->view[DMA_DST], args.src, &x->fault));
	return zw_cp_kernel_status(x, zw_k_copy_rows(&args, x->cfg->pool));
}

static uint32_t fill_validate(const void *pkt)
{
	const struct zw_pkt_fill *p = pkt;

	return check_range(p->rows, p->dst_stride, p->bytes);
}

static int fill_prepare(struct zw_cp_exec *x)
{
	const struct zw_pkt_fill *p = x->pkt;

	return p->bytes ? map_rows(x, DMA_DST, p->dst, p->dst_stride, p->bytes, ZW_ACCESS_WRITE)
			: 0;
}

static int fill_run(struct zw_cp_exec *x)
{
	const struct zw_pkt_fill *p = x->pkt;
	struct zw_k_fill_rows_args args = {
		.dst = x->view[DMA_DST].ptr,
		.bytes = p->bytes,
		.dst_stride = p->dst_stride,
		.rows = x->rows,
		.pattern = p->pattern,
	};

	return zw_cp_kernel_status(x, zw_k_fill_rows(&args, x->cfg->pool));
}

const struct zw_cp_impl zw_cp_copy = {
	.validate = copy_validate, .prepare = copy_prepare, .run = copy_run};
const struct zw_cp_impl zw_cp_fill = {
	.validate = fill_validate, .prepare = fill_prepare, .run = fill_run};

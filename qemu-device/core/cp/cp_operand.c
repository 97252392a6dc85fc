// SPDX-License-Identifier: MIT
/*
 * Operands of a packet that is about to run: row count, private copies of index data, views. All of it is done
 * before a kernel is called, so a packet that fails here has written nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "zw_cp_int.h"

int zw_cp_fail(struct zw_cp_exec *x, uint32_t status, uint32_t reason)
{
	x->status = status;
	x->reason = reason;
	return -EIO;
}

int zw_cp_mem_status(struct zw_cp_exec *x, int err)
{
	switch (err) {
	case 0:
		return 0;
	case -EFAULT:
		return zw_cp_fail(x, ZW_JOB_FAULT, x->fault.fault);
	case -ENOMEM:
		return zw_cp_fail(x, ZW_JOB_NO_MEMORY, ZW_REASON_NONE);
	case -ECANCELED:
		return zw_cp_fail(x, ZW_JOB_CANCELED, ZW_REASON_NONE);
	default:
		return zw_cp_fail(x, ZW_JOB_INTERNAL, ZW_REASON_NONE);
	}
}

int zw_cp_kernel_status(struct zw_cp_exec *x, int err)
{
	switch (err) {
	case 0:
		return 0;
	case -ECANCELED:
		return zw_cp_fail(x, ZW_JOB_CANCELED, ZW_REASON_NONE);
	case -ENOMEM:
		return zw_cp_fail(x, ZW_JOB_NO_MEMORY, ZW_REASON_NONE);
	case -ERANGE:
		return zw_cp_fail(x, ZW_JOB_DATA, ZW_REASON_INDEX);
	case -EINVAL:
		/*
		 * The form was checked, so what is left for a kernel to refuse is operands that are apart in
		 * the address space and overlap in memory, by two mappings of one page.
		 */
		return zw_cp_fail(x, ZW_JOB_INVALID, ZW_REASON_OVERLAP);
	case -EOPNOTSUPP:
		return zw_cp_fail(x, ZW_JOB_INVALID, ZW_REASON_UNSUPPORTED);
	default:
		return zw_cp_fail(x, ZW_JOB_INTERNAL, ZW_REASON_NONE);
	}
}

/* Room for one more element in a doubling array. */
static int grow(void *array, size_t n, size_t *cap, size_t size)
{
	void **p = array, *bigger;
	size_t want;

	if (n < *cap)
		return 0;
	want = *cap ? *cap * 2 : 8;
	bigger = reallocarray(*p, want, size);
	if (!bigger)
		return -ENOMEM;
	*p = bigger;
	*cap = want;
	return 0;
}

void *zw_cp_alloc(struct zw_cp_exec *x, uint64_t count, size_t size)
{
	void *p = NULL;

	if (!grow(&x->mem, x->n_mem, &x->cap_mem, sizeof(*x->mem)))
		p = calloc(count ? count : 1, size);
	if (!p) {
		zw_cp_fail(x, ZW_JOB_NO_MEMORY, ZW_REASON_NONE);
		return NULL;
	}
	x->mem[x->n_mem++] = p;
	return p;
}

void zw_cp_count(struct zw_cp_exec *x, unsigned int i, const struct zw_view *view, uint64_t bytes)
{
	uint64_t sys = 0;

	/* A view that is part HBM, part system memory: the operand's bytes are taken to be spread evenly. */
	if (view->bytes[ZW_TARGET_SYSTEM])
		sys = (uint64_t)((unsigned __int128)bytes * view->bytes[ZW_TARGET_SYSTEM] /
				 view->len);
	x->traffic[i].sys = zw_cp_add_sat(x->traffic[i].sys, sys);
	x->traffic[i].hbm = zw_cp_add_sat(x->traffic[i].hbm, bytes - sys);
	x->traffic[i].written = view->access & ZW_ACCESS_WRITE;
}

void zw_cp_traffic_sum(const struct zw_cp_exec *x, struct zw_cp_cost *cost)
{
	for (unsigned int i = 0; i < ZW_CP_MAX_OPERANDS; i++) {
		const struct zw_cp_traffic *t = &x->traffic[i];
		uint64_t *hbm = t->written ? &cost->hbm_written : &cost->hbm_read;
		uint64_t *sys = t->written ? &cost->sys_written : &cost->sys_read;

		*hbm = zw_cp_add_sat(*hbm, t->hbm);
		*sys = zw_cp_add_sat(*sys, t->sys);
	}
}

int zw_cp_map_late(struct zw_cp_exec *x, unsigned int i, uint64_t va, uint64_t len, uint32_t access,
		   uint64_t bytes, size_t *slot)
{
	int err;

	if (grow(&x->late, x->n_late, &x->cap_late, sizeof(*x->late)))
		return zw_cp_fail(x, ZW_JOB_NO_MEMORY, ZW_REASON_NONE);
	err = zw_mem_map(x->cfg->mmu, x->vm, va, len, access, &x->late[x->n_late], &x->fault);
	if (err)
		return zw_cp_mem_status(x, err);
	zw_cp_count(x, i, &x->late[x->n_late], bytes);
	*slot = x->n_late++;
	return 0;
}

int zw_cp_read_index(struct zw_cp_exec *x, unsigned int i, uint64_t va, uint32_t n, int32_t *out)
{
	uint64_t bytes = (uint64_t)n * sizeof(*out);
	struct zw_view view;
	int err;

	err = zw_mem_map(x->cfg->mmu, x->vm, va, bytes, ZW_ACCESS_READ, &view, &x->fault);
	if (err)
		return zw_cp_mem_status(x, err);
	memcpy(out, view.ptr, bytes);
	zw_cp_count(x, i, &view, bytes);
	return zw_cp_mem_status(x, zw_mem_unmap(x->cfg->mmu, x->vm, &view, false, &x->fault));
}

int zw_cp_check_index(struct zw_cp_exec *x, const int32_t *v, uint32_t n, uint64_t limit)
{
	for (uint32_t i = 0; i < n; i++)
		if (v[i] < 0 || (uint64_t)v[i] >= limit)
			return zw_cp_fail(x, ZW_JOB_DATA, ZW_REASON_INDEX);
	return 0;
}

static int read_rows(struct zw_cp_exec *x)
{
	const struct zw_pkt *hdr = x->pkt;
	uint32_t rows;
	int err;

	x->rows = 1;
	for (unsigned int i = 0; i < x->op->n_operands; i++) {
		if (!(x->op->operands[i].flags & ZW_OPD_ROWS))
			continue;
		x->rows = zw_cp_tensor_at(x->op, x->pkt, i)->dim[0];
		break;
	}
	if (!hdr->rows_va)
		return 0;
	err = zw_mem_read(x->cfg->mmu, x->vm, hdr->rows_va, &rows, sizeof(rows), &x->fault);
	if (err)
		return zw_cp_mem_status(x, err);
	if (rows > x->rows)
		return zw_cp_fail(x, ZW_JOB_DATA, ZW_REASON_ROWS);
	x->rows = rows;
	return 0;
}

static int map_operand(struct zw_cp_exec *x, unsigned int i)
{
	const struct zw_cp_operand *opd = &x->op->operands[i];
	const struct zw_tensor *t = zw_cp_tensor_at(x->op, x->pkt, i);
	uint32_t rows = opd->flags & ZW_OPD_ROWS ? x->rows : t->dim[0];
	unsigned int esize = zw_cp_dtype_size(t->dtype);
	uint64_t count = zw_cp_tensor_count(t, rows), span = zw_cp_tensor_span(t, rows);
	uint32_t access = ZW_ACCESS_READ;
	int err;

	if (opd->flags & ZW_OPD_INDEX) {
		x->index[i] = zw_cp_alloc(x, rows, sizeof(int32_t));
		if (!x->index[i])
			return -EIO;
		return zw_cp_read_index(x, i, t->va, rows, x->index[i]);
	}
	if (opd->flags & ZW_OPD_OUT) {
		access = ZW_ACCESS_WRITE;
		/* What lies between its rows is not the packet's: a bounce buffer has to bring it back unchanged. */
		if (span != count)
			access |= ZW_ACCESS_READ;
	}
	err = zw_mem_map(x->cfg->mmu, x->vm, t->va, span * esize, access, &x->view[i], &x->fault);
	if (err)
		return zw_cp_mem_status(x, err);
	x->mapped[i] = true;
	zw_cp_count(x, i, &x->view[i], count * esize);
	return 0;
}

/*
 * Parts of a late operand are addressed relative to its start; if all of it lies in the address space, none of them
 * can wrap around to somewhere else.
 */
static int check_range(struct zw_cp_exec *x, unsigned int i)
{
	const struct zw_tensor *t = zw_cp_tensor_at(x->op, x->pkt, i);
	const uint64_t end = 1ull << ZW_VA_BITS;
	uint64_t bytes = zw_cp_tensor_span(t, t->dim[0]) * zw_cp_dtype_size(t->dtype);

	if (t->va <= end && bytes <= end - t->va)
		return 0;
	x->fault.va = t->va > end ? t->va : end;
	x->fault.access = x->op->operands[i].flags & ZW_OPD_OUT ? ZW_ACCESS_WRITE : ZW_ACCESS_READ;
	x->fault.fault = ZW_FAULT_RANGE;
	if (x->cfg->pmu)
		atomic_fetch_add_explicit(&x->cfg->pmu->faults, 1, memory_order_relaxed);
	return zw_cp_mem_status(x, -EFAULT);
}

int zw_cp_operands_begin(struct zw_cp_exec *x)
{
	int err = read_rows(x);

	if (err || !x->rows)
		return err;
	for (unsigned int i = 0; i < x->op->n_operands; i++) {
		if (!zw_cp_tensor_at(x->op, x->pkt, i)->dtype)
			continue;
		if (x->op->operands[i].flags & ZW_OPD_LATE)
			err = check_range(x, i);
		else
			err = map_operand(x, i);
		if (err)
			return err;
	}
	return 0;
}

int zw_cp_operands_end(struct zw_cp_exec *x, bool commit)
{
	int ret = 0;

	/* Last mapped, first gone: the MMU finds the latest bounce buffers first, and there may be many. */
	for (size_t i = ZW_CP_MAX_OPERANDS + x->n_late; i-- > 0;) {
		struct zw_view *view;
		struct zw_mem_fault fault;
		int err;

		if (i < ZW_CP_MAX_OPERANDS) {
			if (!x->mapped[i])
				continue;
			view = &x->view[i];
		} else {
			view = &x->late[i - ZW_CP_MAX_OPERANDS];
		}
		err = zw_mem_unmap(x->cfg->mmu, x->vm, view, commit, &fault);
		if (err && commit) {
			x->fault = fault;
			ret = zw_cp_mem_status(x, err);
			commit = false;
		}
	}
	for (size_t i = 0; i < x->n_mem; i++)
		free(x->mem[i]);
	x->n_late = 0;
	x->n_mem = 0;
	memset(x->mapped, 0, sizeof(x->mapped));
	memset(x->index, 0, sizeof(x->index));
	return ret;
}

uint32_t zw_cp_inner(const struct zw_tensor *t)
{
	return t->dim[t->ndim - 1];
}

uint32_t zw_cp_heads(const struct zw_tensor *t)
{
	return t->ndim == 3 ? t->dim[1] : 1;
}

struct zw_k_in zw_cp_in(const struct zw_cp_exec *x, unsigned int i)
{
	const struct zw_tensor *t = zw_cp_tensor_at(x->op, x->pkt, i);
	struct zw_k_in in = {.dtype = t->dtype};

	if (!t->dtype)
		return in;
	in.ptr = x->mapped[i] ? x->view[i].ptr : NULL;
	in.ld = t->ndim > 1 ? t->stride[0] : t->dim[0];
	in.hs = t->ndim > 2 ? t->stride[1] : 0;
	return in;
}

struct zw_k_out zw_cp_out(const struct zw_cp_exec *x, unsigned int i)
{
	struct zw_k_in in = zw_cp_in(x, i);

	return (struct zw_k_out){
		.ptr = (void *)in.ptr,
		.dtype = in.dtype,
		.ld = in.ld,
		.hs = in.hs,
	};
}

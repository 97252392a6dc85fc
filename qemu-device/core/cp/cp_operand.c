// SPDX-License-Identifier: MIT
/*
 * Operands of a packet that is about to run: predicate, row count, private copies of index data, views. All of it is
 * done before a kernel is called, so a packet that fails here has written nothing.
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
		 * Form and clash were checked; a kernel that is stricter about how operands lie in memory than
		 * these are still names the right reason.
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

/*
 * A packet needs a dozen small pieces, and many packets do nothing else that takes as long as finding these on the heap.
 * AddressSanitizer sees no borders in here.
 */
#ifdef __SANITIZE_ADDRESS__
#define SMALL 0u
#else
#define SMALL (64u << 10)
#endif
#define SMALL_ALIGN 16u

static void *alloc_small(struct zw_cp_exec *x, uint64_t count, size_t size)
{
	size_t bytes = (count * size + SMALL_ALIGN - 1) / SMALL_ALIGN * SMALL_ALIGN;
	void *p;

	if (!x->small)
		x->small = aligned_alloc(SMALL_ALIGN, SMALL);
	if (!x->small || bytes > SMALL - x->n_small)
		return NULL;
	p = x->small + x->n_small;
	x->n_small += bytes;
	return memset(p, 0, bytes);
}

void *zw_cp_alloc(struct zw_cp_exec *x, uint64_t count, size_t size)
{
	void *p = NULL;

	if (count < SMALL / 8 / size)
		p = alloc_small(x, count, size);
	if (p)
		return p;
	if (!grow(&x->mem, x->n_mem, &x->cap_mem, sizeof(*x->mem)))
		p = calloc(count ? count : 1, size);
	if (!p) {
		zw_cp_fail(x, ZW_JOB_NO_MEMORY, ZW_REASON_NONE);
		return NULL;
	}
	x->mem[x->n_mem++] = p;
	return p;
}

static void plus(uint64_t *sum, uint64_t n)
{
	*sum = zw_cp_add_sat(*sum, n);
}

/* Of a view that is in several memories, the operand's bytes are taken to be spread evenly. */
static uint64_t share(const struct zw_view *view, unsigned int target, uint64_t bytes)
{
	if (!view->bytes[target])
		return 0;
	if (view->bytes[target] == view->len)
		return bytes;
	return (uint64_t)((unsigned __int128)bytes * view->bytes[target] / view->len);
}

static void counted(struct zw_cp_exec *x, unsigned int i)
{
	if (i >= x->n_counted)
		x->n_counted = i + 1;
}

void zw_cp_count(struct zw_cp_exec *x, unsigned int i, const struct zw_view *view, uint64_t bytes)
{
	struct zw_cp_traffic *t = &x->traffic[i];
	uint64_t sys = share(view, ZW_TARGET_SYSTEM, bytes);
	uint64_t sram = share(view, ZW_TARGET_SRAM, bytes), hbm = bytes - sys - sram;

	counted(x, i);

	/* As the packet uses it: an operand that is read and written moves both ways. */
	if (view->access & ZW_ACCESS_READ) {
		plus(&t->sys_read, sys);
		plus(&t->sram_read, sram);
		plus(&t->hbm_read, hbm);
	}
	if (view->access & ZW_ACCESS_WRITE) {
		plus(&t->sys_written, sys);
		plus(&t->sram_written, sram);
		plus(&t->hbm_written, hbm);
	}
}

void zw_cp_traffic_sum(const struct zw_cp_exec *x, struct zw_cp_cost *cost)
{
	for (unsigned int i = 0; i < x->n_counted; i++) {
		const struct zw_cp_traffic *t = &x->traffic[i];

		plus(&cost->hbm_read, t->hbm_read);
		plus(&cost->hbm_written, t->hbm_written);
		plus(&cost->sys_read, t->sys_read);
		plus(&cost->sys_written, t->sys_written);
		plus(&cost->sram_read, t->sram_read);
		plus(&cost->sram_written, t->sram_written);
	}
}

void zw_cp_resident_hits(struct zw_cp_exec *x)
{
	for (unsigned int i = 0; i < x->n_counted; i++) {
		struct zw_cp_traffic *t = &x->traffic[i];
		uint64_t len = x->extent[i].len, hit;

		if (!len || !t->hbm_read)
			continue;
		hit = zw_cp_resident_bytes(x->resident, x->extent[i].va, len);
		/* nearly always nothing, or all of it */
		if (!hit)
			continue;
		hit = hit == len ? t->hbm_read
				 : (uint64_t)((unsigned __int128)t->hbm_read * hit / len);
		t->hbm_read -= hit;
		plus(&t->sram_read, hit);
	}
}

void zw_cp_resident_operands(struct zw_cp_exec *x)
{
	uint64_t capacity = x->profile->sram_bytes / 2 - x->profile->kv_sram_bytes;

	/* What was written last is the latest. */
	for (unsigned int out = 0; out < 2; out++)
		for (unsigned int i = 0; i < x->n_counted; i++) {
			const struct zw_cp_traffic *t = &x->traffic[i];

			if (x->extent[i].len && (out ? t->hbm_written : t->hbm_read) > 0)
				zw_cp_resident_touch(x->resident, capacity, x->extent[i].va,
						     x->extent[i].len);
		}
}

static int make_view(struct zw_cp_exec *x, uint64_t va, uint64_t len, uint32_t access,
		     struct zw_view *view)
{
	if (zw_cp_timing_only(x))
		return zw_mem_look(x->cfg->mmu, x->vm, va, len, access, view, &x->fault);
	return zw_mem_map(x->cfg->mmu, x->vm, va, len, access, view, &x->fault);
}

static int mapped(struct zw_cp_exec *x, unsigned int i, uint64_t va, uint64_t len, uint64_t bytes,
		  int err)
{
	if (err)
		return zw_cp_mem_status(x, err);
	x->mapped[i] = true;
	x->extent[i].va = va;
	x->extent[i].len = len;
	zw_cp_count(x, i, &x->view[i], bytes);
	return 0;
}

int zw_cp_map(struct zw_cp_exec *x, unsigned int i, uint64_t va, uint64_t len, uint32_t access,
	      uint64_t bytes)
{
	return mapped(x, i, va, len, bytes, make_view(x, va, len, access, &x->view[i]));
}

int zw_cp_map_apart(struct zw_cp_exec *x, unsigned int i, uint64_t va, uint64_t len,
		    uint32_t access, uint64_t bytes)
{
	int err;

	if (zw_cp_timing_only(x))
		return zw_cp_map(x, i, va, len, access, bytes);
	err = zw_mem_map_apart(x->cfg->mmu, x->vm, va, len, access, &x->view[i], &x->fault);
	return mapped(x, i, va, len, bytes, err);
}

int zw_cp_map_late(struct zw_cp_exec *x, unsigned int i, uint64_t va, uint64_t len, uint32_t access,
		   uint64_t bytes, size_t *slot)
{
	int err;

	if (grow(&x->late, x->n_late, &x->cap_late, sizeof(*x->late)))
		return zw_cp_fail(x, ZW_JOB_NO_MEMORY, ZW_REASON_NONE);
	err = make_view(x, va, len, access, &x->late[x->n_late]);
	if (err)
		return zw_cp_mem_status(x, err);
	zw_cp_count(x, i, &x->late[x->n_late], bytes);
	*slot = x->n_late++;
	return 0;
}

int zw_cp_look_late(struct zw_cp_exec *x, unsigned int i, const struct zw_mem_units *units,
		    uint32_t access, uint64_t each, uint64_t all, uint32_t *taken)
{
	int err;

	if (grow(&x->late, x->n_late, &x->cap_late, sizeof(*x->late)))
		return zw_cp_fail(x, ZW_JOB_NO_MEMORY, ZW_REASON_NONE);
	err = zw_mem_look_units(x->cfg->mmu, x->vm, units, access, &x->late[x->n_late], taken,
				&x->fault);
	if (err)
		return zw_cp_mem_status(x, err);
	/* The remainder of a division goes to the last. */
	zw_cp_count(x, i, &x->late[x->n_late++], *taken == units->n ? all : each * *taken);
	return 0;
}

int zw_cp_map_whole(struct zw_cp_exec *x, unsigned int i, uint64_t va, uint64_t len, uint64_t bytes,
		    bool *whole)
{
	struct zw_view view;
	int err;

	*whole = false;
	if (!zw_cp_timing_only(x))
		return 0;
	if (grow(&x->late, x->n_late, &x->cap_late, sizeof(*x->late)))
		return zw_cp_fail(x, ZW_JOB_NO_MEMORY, ZW_REASON_NONE);
	/* A range that does not fit into one view may in parts. */
	err = zw_mem_look(x->cfg->mmu, x->vm, va, len, ZW_ACCESS_READ, &view, &x->fault);
	if (err == -ENOMEM || (!err && view.bytes[view.target] != len))
		return 0;
	if (err)
		return zw_cp_mem_status(x, err);
	zw_cp_count(x, i, &view, bytes);
	x->late[x->n_late++] = view;
	*whole = true;
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
	/* One that is below 0 is above these. */
	uint32_t end = limit < 1u << 31 ? (uint32_t)limit : 1u << 31, wrong = 0;

	for (uint32_t i = 0; i < n; i++)
		wrong |= (uint32_t)v[i] >= end;
	return wrong ? zw_cp_fail(x, ZW_JOB_DATA, ZW_REASON_INDEX) : 0;
}

/* The packet's predicate: sets x->skipped. */
static int read_predicate(struct zw_cp_exec *x)
{
	const struct zw_pkt *hdr = x->pkt;
	uint32_t v;
	int err;

	if (!hdr->predicate_va)
		return 0;
	err = zw_mem_read(x->cfg->mmu, x->vm, hdr->predicate_va, &v, sizeof(v), &x->fault);
	if (err)
		return zw_cp_mem_status(x, err);
	x->skipped = !v == !(hdr->flags & ZW_PKT_F_PREDICATE_NOT);
	return 0;
}

/* What the packet itself says: of its first operand with rows, of its field of that kind, or 1. */
static uint32_t rows_of(const struct zw_cp_exec *x)
{
	const struct zw_pkt *hdr = x->pkt;
	uint32_t rows = 1;

	for (unsigned int i = 0; i < x->op->n_operands; i++)
		if (zw_cp_has_rows(&x->op->operand[i], hdr->flags))
			return zw_cp_tensor_at(x->op, x->pkt, i)->dim[0];
	for (unsigned int i = 0; i < x->op->n_scalars; i++)
		if (x->op->scalar[i].kind == ZW_SCALAR_ROWS)
			memcpy(&rows, (const char *)x->pkt + x->op->scalar[i].offset, sizeof(rows));
	return rows;
}

static int read_rows(struct zw_cp_exec *x)
{
	const struct zw_pkt *hdr = x->pkt;
	uint32_t rows;
	int err;

	x->rows = rows_of(x);
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

/*
 * The bytes of a tensor of at most four dimensions as runs. What lies between the runs of an output is not the
 * packet's: it is neither brought in nor written back.
 */
static struct zw_mem_pieces pieces_of(const struct zw_tensor *t, uint32_t rows)
{
	unsigned int out = 3;
	struct zw_mem_pieces p = {.n = {1, 1, 1}};
	uint64_t run = t->dim[t->ndim - 1]; /* elements */

	for (int i = (int)t->ndim - 2; i >= 0; i--) {
		uint64_t n = i ? t->dim[i] : rows;

		if (out == 3 && (n == 1 || t->stride[i] == run)) {
			run *= n;
			continue;
		}
		out--;
		p.n[out] = n;
		p.stride[out] = zw_cp_bytes(t->dtype, t->stride[i]);
	}
	p.bytes = zw_cp_bytes(t->dtype, t->ndim == 1 ? rows : run);
	return p;
}

/* A private copy of the indexes: [rows] or [rows, n], dense. */
static int copy_indexes(struct zw_cp_exec *x, unsigned int i, const struct zw_tensor *t)
{
	uint64_t per_row = t->ndim > 1 ? t->dim[1] : 1, n = x->rows * per_row;
	struct zw_view view;
	int err;

	x->index[i] = zw_cp_alloc(x, n, sizeof(int32_t));
	if (!x->index[i])
		return -EIO;
	if (t->ndim == 1 || t->stride[0] == per_row)
		return zw_cp_read_index(x, i, t->va, (uint32_t)n, x->index[i]);
	err = zw_mem_map(x->cfg->mmu, x->vm, t->va, zw_cp_tensor_span(t, x->rows) * sizeof(int32_t),
			 ZW_ACCESS_READ, &view, &x->fault);
	if (err)
		return zw_cp_mem_status(x, err);
	for (uint32_t r = 0; r < x->rows; r++)
		memcpy(x->index[i] + r * per_row, (const int32_t *)view.ptr + r * t->stride[0],
		       per_row * sizeof(int32_t));
	zw_cp_count(x, i, &view, n * sizeof(int32_t));
	return zw_cp_mem_status(x, zw_mem_unmap(x->cfg->mmu, x->vm, &view, false, &x->fault));
}

uint32_t zw_cp_operand_rows(const struct zw_cp_exec *x, unsigned int i)
{
	const struct zw_cp_operand *opd = &x->op->operand[i];
	const struct zw_tensor *t = zw_cp_tensor_at(x->op, x->pkt, i);
	const struct zw_pkt *hdr = x->pkt;

	if (!zw_cp_has_rows(opd, hdr->flags))
		return t->dim[0];
	/* A row of scales of a matrix covers block[0] rows of it. */
	if (opd->dims[0] == '@' && t->ndim == 2)
		return (x->rows - 1) / t->block[0] + 1;
	return x->rows;
}

static int map_operand(struct zw_cp_exec *x, unsigned int i)
{
	const struct zw_cp_operand *opd = &x->op->operand[i];
	const struct zw_tensor *t = zw_cp_tensor_at(x->op, x->pkt, i);
	uint32_t rows = zw_cp_operand_rows(x, i);
	uint64_t count = zw_cp_tensor_count(t, rows), span = zw_cp_tensor_span(t, rows);
	uint32_t access = 0;

	if (opd->kind & ZW_OPD_INDEX)
		return copy_indexes(x, i, t);
	if (opd->access & ZW_OPD_IN)
		access |= ZW_ACCESS_READ;
	if (opd->access & ZW_OPD_OUT) {
		access |= ZW_ACCESS_WRITE;
		if (!zw_cp_timing_only(x))
			x->pieces[i] = pieces_of(t, rows);
	}
	return zw_cp_map(x, i, t->va, zw_cp_bytes(t->dtype, span), access,
			 zw_cp_bytes(t->dtype, count));
}

static bool is_late(const struct zw_cp_op *op, unsigned int i)
{
	return op->operand[i].kind & ZW_OPD_PART || op->impl->late >> i & 1;
}

/*
 * Parts of a late operand are addressed relative to its start; if all of it lies in the address space, none of them
 * can wrap around to somewhere else.
 */
static int check_range(struct zw_cp_exec *x, unsigned int i)
{
	const struct zw_tensor *t = zw_cp_tensor_at(x->op, x->pkt, i);
	const uint64_t end = 1ull << ZW_VA_BITS;
	uint64_t bytes = zw_cp_bytes(t->dtype, zw_cp_tensor_span(t, t->dim[0]));

	if (t->va <= end && bytes <= end - t->va)
		return 0;
	x->fault.va = t->va > end ? t->va : end;
	x->fault.access = x->op->operand[i].access & ZW_OPD_OUT ? ZW_ACCESS_WRITE : ZW_ACCESS_READ;
	x->fault.fault = ZW_FAULT_RANGE;
	if (x->cfg->pmu)
		atomic_fetch_add_explicit(&x->cfg->pmu->faults, 1, memory_order_relaxed);
	return zw_cp_mem_status(x, -EFAULT);
}

int zw_cp_operands_begin(struct zw_cp_exec *x)
{
	int err = read_predicate(x);

	if (!err && !x->skipped)
		err = read_rows(x);
	return err;
}

int zw_cp_operands_map(struct zw_cp_exec *x)
{
	int err;

	for (unsigned int i = 0; i < x->op->n_operands; i++) {
		if (!zw_cp_tensor_at(x->op, x->pkt, i)->dtype)
			continue;
		err = is_late(x->op, i) ? check_range(x, i) : map_operand(x, i);
		if (err)
			return err;
	}
	return 0;
}

/* -- two addresses, one memory ------------------------------------------------------------------------ */

/* A view in place. Views with one distance between address and memory were told apart by their addresses. */
struct span {
	unsigned int target;
	uint64_t start, end; /* in what target names */
	uint64_t distance;
};

static int cmp_span(const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	if (x->target != y->target)
		return x->target < y->target ? -1 : 1;
	return x->start < y->start ? -1 : x->start > y->start;
}

static bool meet(const struct span *a, const struct span *b)
{
	return a->target == b->target && a->start < b->end && b->start < a->end;
}

/* Of operands and, behind them, parts of these. */
static const struct zw_view *view_at(const struct zw_cp_exec *x, size_t i)
{
	if (i >= x->n_counted)
		return &x->late[i - x->n_counted];
	return x->mapped[i] ? &x->view[i] : NULL;
}

static struct span span_of_view(const struct zw_view *v)
{
	return (struct span){v->target, v->addr, v->addr + v->len, v->va - v->addr};
}

/* Whether s meets one of the written spans (sorted, apart from each other) by another mapping. */
static bool meets(const struct span *written, size_t n, const struct span *s)
{
	size_t lo = 0, hi = n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (written[mid].target < s->target ||
		    (written[mid].target == s->target && written[mid].end <= s->start))
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < n && meet(&written[lo], s); lo++)
		if (written[lo].distance != s->distance)
			return true;
	return false;
}

/* A view that meets one of the written spans. Of one with gaps it has to be in none of these. */
static bool view_meets(const struct span *written, size_t n, const struct zw_view *v)
{
	const struct zw_mem_units *u = v->units;
	struct span s = span_of_view(v);
	uint64_t start = s.start;

	if (!meets(written, n, &s))
		return false;
	for (uint32_t i = 0; u && i < u->n; i++) {
		s.start = start + (u->unit[i] - u->unit[0]) * u->stride;
		s.end = s.start + u->len;
		if (meets(written, n, &s))
			return true;
	}
	return !u;
}

int zw_cp_operands_clash(struct zw_cp_exec *x)
{
	size_t views = x->n_counted + x->n_late, n = 0;
	const struct zw_view *v;
	struct span few[4], *written = few; /* nearly always enough */
	bool clash = false;

	/* A bounce buffer is memory of its own: what is read was read, what is written goes out at the end. */
	for (size_t i = 0; i < views; i++) {
		v = view_at(x, i);
		n += v && !v->bounced && v->access & ZW_ACCESS_WRITE;
	}
	if (!n)
		return 0;
	if (n > sizeof(few) / sizeof(few[0]))
		written = zw_cp_alloc(x, n, sizeof(*written));
	if (!written)
		return -EIO;
	n = 0;
	for (size_t i = 0; i < views; i++) {
		v = view_at(x, i);
		if (v && !v->bounced && v->access & ZW_ACCESS_WRITE)
			written[n++] = span_of_view(v);
	}
	if (n > 1)
		qsort(written, n, sizeof(*written), cmp_span);
	/* Outputs never share a range of addresses but for pools, of which only the parts written are here. */
	for (size_t i = 1; i < n; i++)
		clash |= meet(&written[i - 1], &written[i]);
	for (size_t i = 0; i < views && !clash; i++) {
		v = view_at(x, i);
		if (v && !v->bounced && !(v->access & ZW_ACCESS_WRITE))
			clash = view_meets(written, n, v);
	}
	return clash ? zw_cp_fail(x, ZW_JOB_INVALID, ZW_REASON_OVERLAP) : 0;
}

/* -- end ---------------------------------------------------------------------------------------------- */

int zw_cp_operands_end(struct zw_cp_exec *x, bool commit)
{
	int ret = 0;

	/*
	 * Last mapped, first gone: the MMU finds the latest bounce buffers first, and there may be many. What was only looked
	 * at holds nothing.
	 */
	for (size_t i = zw_cp_timing_only(x) ? 0 : x->n_counted + x->n_late; i-- > 0;) {
		struct zw_view *view = (struct zw_view *)view_at(x, i);
		struct zw_mem_fault fault;
		int err;

		if (!view)
			continue;
		if (commit && i < x->n_counted && x->pieces[i].bytes)
			err = zw_mem_unmap_pieces(x->cfg->mmu, x->vm, view, &x->pieces[i], &fault);
		else
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
	x->n_small = 0;
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

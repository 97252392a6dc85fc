/* SPDX-License-Identifier: MIT */
/* Views and copies of VM memory (zw_mem.h), on top of the translation in zw_mmu.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "zw_copy.h"
#include "zw_mmu_int.h"

/* Bounce buffers keep the alignment that the address has relative to this, the widest vector of any
 * engine. */
#define BOUNCE_ALIGN 64

static int sys_read(struct zw_mmu *mmu, unsigned int function, uint64_t addr, void *buf,
		    uint64_t len)
{
	if (!mmu->cfg.ops || !mmu->cfg.ops->dma_read || zw_inject_dma(mmu->cfg.inject, addr, len))
		return -EIO;
	return mmu->cfg.ops->dma_read(mmu->cfg.opaque, function, addr, buf, len);
}

static int sys_write(struct zw_mmu *mmu, unsigned int function, uint64_t addr, const void *buf,
		     uint64_t len)
{
	if (!mmu->cfg.ops || !mmu->cfg.ops->dma_write || zw_inject_dma(mmu->cfg.inject, addr, len))
		return -EIO;
	return mmu->cfg.ops->dma_write(mmu->cfg.opaque, function, addr, buf, len);
}

static void dirty(struct zw_mmu *mmu, unsigned int target, uint64_t off, uint64_t len)
{
	if (target == ZW_TARGET_HBM && mmu->cfg.ops && mmu->cfg.ops->hbm_dirty)
		mmu->cfg.ops->hbm_dirty(mmu->cfg.opaque, off, len);
}

static bool stopping(struct zw_mmu *mmu)
{
	return mmu->cfg.stopping && mmu->cfg.stopping(mmu->cfg.stopping_opaque);
}

/*
 * One segment, in pieces: after each the job may be told to stop, and one DMA of gigabytes would
 * keep the host's memory map from changing all the while. 0, -EIO or -ECANCELED.
 */
static int move(struct zw_mmu *mmu, unsigned int function, const struct zw_segment *s, uint8_t *buf,
		bool write)
{
	uint8_t *own = zw_mmu_host(mmu, s->target, s->addr); /* NULL: system memory */

	for (uint64_t at = 0, n; at < s->len; at += n) {
		n = s->len - at < ZW_MEM_STEP ? s->len - at : ZW_MEM_STEP;
		if (at && stopping(mmu))
			return -ECANCELED;
		if (own && write)
			zw_copy_to(own + at, buf + at, n);
		else if (own)
			zw_copy_from(buf + at, own + at, n);
		else if (write ? sys_write(mmu, function, s->addr + at, buf + at, n)
			       : sys_read(mmu, function, s->addr + at, buf + at, n))
			return -EIO;
	}
	if (write)
		dirty(mmu, s->target, s->addr, s->len);
	return 0;
}

static int move_all(struct zw_mmu *mmu, const struct zw_seglist *list, uint8_t *buf, bool write,
		    struct zw_mem_fault *fault)
{
	uint64_t unasked = 0;

	for (size_t i = 0; i < list->n; i++) {
		const struct zw_segment *s = &list->seg[i];
		int ret;

		/* Short pieces add up, too. */
		if (unasked >= ZW_MEM_STEP && stopping(mmu))
			return -ECANCELED;
		unasked = unasked < ZW_MEM_STEP ? unasked + s->len : s->len;
		ret = move(mmu, list->function, s, buf, write);
		if (ret == -EIO)
			return zw_mmu_fault(mmu, fault, s->va,
					    write ? ZW_ACCESS_WRITE : ZW_ACCESS_READ, ZW_FAULT_DMA);
		if (ret)
			return ret;
		buf += s->len;
	}
	return 0;
}

static int gather(struct zw_mmu *mmu, const struct zw_seglist *list, uint8_t *buf,
		  struct zw_mem_fault *fault)
{
	return move_all(mmu, list, buf, false, fault);
}

static int scatter(struct zw_mmu *mmu, const struct zw_seglist *list, const uint8_t *buf,
		   struct zw_mem_fault *fault)
{
	return move_all(mmu, list, (uint8_t *)buf, true, fault);
}

/* Host memory behind every piece of HBM that is going to be written. */
static int reserve(struct zw_mmu *mmu, const struct zw_seglist *list)
{
	for (size_t i = 0; i < list->n; i++) {
		const struct zw_segment *s = &list->seg[i];
		int ret = 0;

		if (s->target == ZW_TARGET_HBM)
			ret = zw_hbm_reserve(mmu->cfg.hbm, s->addr, s->len);
		if (ret)
			return ret;
	}
	return 0;
}

static struct zw_bounce *bounce_new(struct zw_mmu *mmu, uint64_t va, uint64_t len, bool filled)
{
	const size_t size = sizeof(struct zw_bounce) + 2 * BOUNCE_ALIGN + len;
	struct zw_bounce *b;
	uintptr_t p;

	if (len > ZW_MEM_BOUNCE_MAX - mmu->bounce_bytes || zw_hbm_borrow(mmu->cfg.hbm, size))
		return NULL;
	/*
	 * Zeroed unless it is filled by the caller: what an engine leaves unwritten goes to the
	 * guest, and must not be the host's heap.
	 */
	b = filled ? malloc(size) : calloc(1, size);
	if (!b) {
		zw_hbm_give_back(mmu->cfg.hbm, size);
		return NULL;
	}
	p = ((uintptr_t)(b + 1) + BOUNCE_ALIGN - 1) & ~(uintptr_t)(BOUNCE_ALIGN - 1);
	b->ptr = (uint8_t *)p + va % BOUNCE_ALIGN;
	b->len = len;
	b->size = size;
	zw_seglist_init(&b->list);
	b->next = mmu->bounces;
	mmu->bounces = b;
	mmu->bounce_bytes += len;
	return b;
}

static void bounce_free(struct zw_mmu *mmu, struct zw_bounce *b)
{
	struct zw_bounce **link = &mmu->bounces;

	while (*link != b)
		link = &(*link)->next;
	*link = b->next;
	mmu->bounce_bytes -= b->len;
	zw_hbm_give_back(mmu->cfg.hbm, b->size);
	zw_seglist_fini(&b->list);
	free(b);
}

/* The bounce buffer takes the pieces over: they are where its bytes go back to. */
static void move_list(struct zw_seglist *dst, struct zw_seglist *src)
{
	*dst = *src;
	if (src->seg == src->few)
		dst->seg = dst->few;
	zw_seglist_init(src);
}

/*
 * One piece of system memory, in place. NULL where the host cannot: it is not RAM, or not contiguous
 * in the host. DMA then says whether there is anything at all.
 */
static void *sys_map(struct zw_mmu *mmu, unsigned int function, const struct zw_segment *s,
		     bool write)
{
	const struct zw_host_ops *ops = mmu->cfg.ops;
	size_t len = s->len;
	void *ptr;

	/* Transfers can be made to fail, mappings cannot. */
	if (!ops || !ops->dma_map || zw_inject_dma_armed(mmu->cfg.inject, s->addr, s->len))
		return NULL;
	ptr = ops->dma_map(mmu->cfg.opaque, function, s->addr, &len, write);
	if (ptr && len < s->len) {
		ops->dma_unmap(mmu->cfg.opaque, function, ptr, len, write, 0);
		return NULL;
	}
	return ptr;
}

static void list_begin(struct zw_seglist *list, unsigned int function, bool uncached)
{
	zw_seglist_init(list);
	list->max = ZW_MEM_BOUNCE_MAX;
	list->function = function;
	list->uncached = uncached;
}

/* As memset(), which is slower than looking a page up if it comes to be a string instruction. */
static void clear(struct zw_view *view)
{
	view->ptr = NULL;
	view->va = view->len = view->addr = 0;
	view->access = view->target = 0;
	view->bounced = false;
	for (unsigned int i = 0; i < ZW_TARGET_COUNT; i++)
		view->bytes[i] = 0;
	view->apart = NULL;
	view->units = NULL;
}

/* What a view says of its range before it has a pointer. */
static void describe(struct zw_view *view, const struct zw_seglist *list, uint64_t va, uint64_t len,
		     uint32_t access)
{
	view->va = va;
	view->len = len;
	view->access = access;
	for (size_t i = 0; i < list->n; i++)
		view->bytes[list->seg[i].target] += list->seg[i].len;
}

int zw_mem_look(struct zw_mmu *mmu, unsigned int vm, uint64_t va, uint64_t len, uint32_t access,
		struct zw_view *view, struct zw_mem_fault *fault)
{
	struct zw_seglist list;
	int ret;

	clear(view);
	list_begin(&list, mmu->function, false);
	ret = zw_mmu_resolve(mmu, vm, va, len, access, &list, fault);
	if (!ret) {
		describe(view, &list, va, len, access);
		view->bounced = list.n > 1;
		view->target = list.seg[0].target;
		view->addr = list.seg[0].addr;
	}
	zw_seglist_fini(&list);
	return ret;
}

int zw_mem_look_units(struct zw_mmu *mmu, unsigned int vm, const struct zw_mem_units *units,
		      uint32_t access, struct zw_view *view, uint32_t *taken,
		      struct zw_mem_fault *fault)
{
	uint64_t va = units->va + units->unit[0] * units->stride, addr;

	*taken = zw_mmu_known_units(mmu, vm, units, access, &addr);
	if (*taken <= 1) {
		*taken = 1;
		return zw_mem_look(mmu, vm, va, units->len, access, view, fault);
	}
	clear(view);
	view->va = va;
	view->len = (units->unit[*taken - 1] - units->unit[0]) * units->stride + units->len;
	view->access = access;
	view->bytes[ZW_TARGET_HBM] = view->len;
	view->target = ZW_TARGET_HBM;
	view->addr = addr;
	view->units = units;
	return 0;
}

static bool all_system(const struct zw_seglist *list)
{
	for (size_t i = 0; i < list->n; i++)
		if (list->seg[i].target != ZW_TARGET_SYSTEM)
			return false;
	return true;
}

static int map(struct zw_mmu *mmu, unsigned int vm, uint64_t va, uint64_t len, uint32_t access,
	       bool apart, struct zw_view *view, struct zw_mem_fault *fault)
{
	struct zw_seglist list;
	struct zw_bounce *b;
	int ret;

	clear(view);
	list_begin(&list, mmu->function, false);
	ret = zw_mmu_resolve(mmu, vm, va, len, access, &list, fault);
	if (ret)
		goto out;
	describe(view, &list, va, len, access);
	if (access & ZW_ACCESS_WRITE) {
		ret = reserve(mmu, &list);
		if (ret)
			goto out;
	}
	if (list.n == 1) {
		view->target = list.seg[0].target;
		view->addr = list.seg[0].addr;
		view->ptr = view->target == ZW_TARGET_SYSTEM
				    ? sys_map(mmu, list.function, &list.seg[0],
					      access & ZW_ACCESS_WRITE)
				    : zw_mmu_host(mmu, view->target, view->addr);
		if (view->ptr)
			goto out;
	}
	apart = apart && all_system(&list);
	b = bounce_new(mmu, va, apart ? 0 : len, apart || access & ZW_ACCESS_READ);
	if (!b) {
		ret = -ENOMEM;
		goto out;
	}
	if (apart) {
		move_list(&b->list, &list);
		view->bounced = true;
		view->apart = b;
		goto out;
	}
	if (access & ZW_ACCESS_READ) {
		ret = gather(mmu, &list, b->ptr, fault);
		if (ret) {
			bounce_free(mmu, b);
			goto out;
		}
	}
	move_list(&b->list, &list);
	view->bounced = true;
	view->ptr = b->ptr;
out:
	zw_seglist_fini(&list);
	if (ret)
		clear(view);
	return ret;
}

int zw_mem_map(struct zw_mmu *mmu, unsigned int vm, uint64_t va, uint64_t len, uint32_t access,
	       struct zw_view *view, struct zw_mem_fault *fault)
{
	return map(mmu, vm, va, len, access, false, view, fault);
}

int zw_mem_map_apart(struct zw_mmu *mmu, unsigned int vm, uint64_t va, uint64_t len,
		     uint32_t access, struct zw_view *view, struct zw_mem_fault *fault)
{
	return map(mmu, vm, va, len, access, true, view, fault);
}

int zw_mem_fetch(struct zw_mmu *mmu, const struct zw_view *view, void *buf,
		 struct zw_mem_fault *fault)
{
	return gather(mmu, &view->apart->list, buf, fault);
}

int zw_mem_store(struct zw_mmu *mmu, const struct zw_view *view, const void *buf,
		 struct zw_mem_fault *fault)
{
	return scatter(mmu, &view->apart->list, buf, fault);
}

/* The list from byte `at` of it on, `len` bytes; *seg, *seg_at: a segment at or before it and where that starts. */
static int scatter_part(struct zw_mmu *mmu, const struct zw_seglist *list, const uint8_t *buf,
			uint64_t at, uint64_t len, size_t *seg, uint64_t *seg_at,
			struct zw_mem_fault *fault)
{
	while (len) {
		const struct zw_segment *s = &list->seg[*seg];
		struct zw_segment part;
		struct zw_seglist one = {.seg = &part, .n = 1};
		uint64_t skip = at - *seg_at, n;
		int ret;

		if (skip >= s->len) {
			*seg_at += s->len;
			(*seg)++;
			continue;
		}
		n = s->len - skip < len ? s->len - skip : len;
		part = *s;
		part.va += skip;
		part.addr += skip;
		part.len = n;
		ret = scatter(mmu, &one, buf + at, fault);
		if (ret)
			return ret;
		at += n;
		len -= n;
	}
	return 0;
}

static int scatter_pieces(struct zw_mmu *mmu, const struct zw_bounce *b,
			  const struct zw_mem_pieces *p, struct zw_mem_fault *fault)
{
	uint64_t seg_at = 0;
	size_t seg = 0;

	for (uint64_t i = 0; i < p->n[0]; i++) {
		for (uint64_t j = 0; j < p->n[1]; j++) {
			for (uint64_t k = 0; k < p->n[2]; k++) {
				uint64_t at =
					i * p->stride[0] + j * p->stride[1] + k * p->stride[2];
				int ret = scatter_part(mmu, &b->list, b->ptr, at, p->bytes, &seg,
						       &seg_at, fault);

				if (ret)
					return ret;
			}
		}
	}
	return 0;
}

/* pieces NULL: all of it. */
static int unmap(struct zw_mmu *mmu, struct zw_view *view, bool commit,
		 const struct zw_mem_pieces *pieces, struct zw_mem_fault *fault)
{
	struct zw_bounce *b;
	int ret = 0;

	if (view->apart) {
		bounce_free(mmu, view->apart);
		goto out;
	}
	if (!view->ptr)
		return 0;
	if (!view->bounced) {
		bool write = view->access & ZW_ACCESS_WRITE;

		/* A packet that failed may have written too. */
		if (view->target == ZW_TARGET_SYSTEM)
			mmu->cfg.ops->dma_unmap(mmu->cfg.opaque, mmu->function, view->ptr,
						view->len, write, view->len);
		else if (write)
			dirty(mmu, view->target, view->addr, view->len);
		goto out;
	}
	for (b = mmu->bounces; b && b->ptr != view->ptr; b = b->next)
		;
	if (!b) {
		ret = -EINVAL;
		goto out;
	}
	/* To the pages found at map time: an invalidation counts as finished only when this view is
	 * gone. */
	if (commit && (view->access & ZW_ACCESS_WRITE))
		ret = pieces ? scatter_pieces(mmu, b, pieces, fault)
			     : scatter(mmu, &b->list, b->ptr, fault);
	bounce_free(mmu, b);
out:
	clear(view);
	return ret;
}

int zw_mem_unmap(struct zw_mmu *mmu, unsigned int vm, struct zw_view *view, bool commit,
		 struct zw_mem_fault *fault)
{
	return unmap(mmu, view, commit, NULL, fault);
}

int zw_mem_unmap_pieces(struct zw_mmu *mmu, unsigned int vm, struct zw_view *view,
			const struct zw_mem_pieces *pieces, struct zw_mem_fault *fault)
{
	return unmap(mmu, view, true, pieces, fault);
}

int zw_mem_place(struct zw_mmu *mmu, unsigned int vm, uint64_t va, uint32_t access,
		 struct zw_mem_place *place, struct zw_mem_fault *fault)
{
	struct zw_seglist list;
	int ret;

	list_begin(&list, mmu->function, false);
	ret = zw_mmu_resolve(mmu, vm, va, 1, access, &list, fault);
	if (!ret) {
		place->addr = list.seg[0].addr;
		place->target = list.seg[0].target;
	}
	zw_seglist_fini(&list);
	return ret;
}

/* One range, to or from a buffer of the caller's. */
static int mem_read(struct zw_mmu *mmu, struct zw_seglist *list, unsigned int vm, uint64_t va,
		    void *buf, size_t len, struct zw_mem_fault *fault)
{
	int ret = zw_mmu_resolve(mmu, vm, va, len, ZW_ACCESS_READ, list, fault);
	const uint8_t *own = ret || list->n > 1 || len > ZW_MEM_STEP
				     ? NULL
				     : zw_mmu_host(mmu, list->seg[0].target, list->seg[0].addr);

	/* Nearly always a word of HBM. */
	if (own)
		zw_copy_from(buf, own, len);
	else if (!ret)
		ret = gather(mmu, list, buf, fault);
	zw_seglist_fini(list);
	return ret;
}

static int mem_write(struct zw_mmu *mmu, struct zw_seglist *list, unsigned int vm, uint64_t va,
		     const void *buf, size_t len, struct zw_mem_fault *fault)
{
	int ret = zw_mmu_resolve(mmu, vm, va, len, ZW_ACCESS_WRITE, list, fault);

	if (!ret)
		ret = reserve(mmu, list);
	if (!ret)
		ret = scatter(mmu, list, buf, fault);
	zw_seglist_fini(list);
	return ret;
}

int zw_mem_read(struct zw_mmu *mmu, unsigned int vm, uint64_t va, void *buf, size_t len,
		struct zw_mem_fault *fault)
{
	struct zw_seglist list;

	list_begin(&list, mmu->function, false);
	return mem_read(mmu, &list, vm, va, buf, len, fault);
}

int zw_mem_write(struct zw_mmu *mmu, unsigned int vm, uint64_t va, const void *buf, size_t len,
		 struct zw_mem_fault *fault)
{
	struct zw_seglist list;

	list_begin(&list, mmu->function, false);
	return mem_write(mmu, &list, vm, va, buf, len, fault);
}

int zw_mem_read_aside(struct zw_mmu *mmu, unsigned int vm, unsigned int function, uint64_t va,
		      void *buf, size_t len, struct zw_mem_fault *fault)
{
	struct zw_seglist list;

	list_begin(&list, function, true);
	return mem_read(mmu, &list, vm, va, buf, len, fault);
}

int zw_mem_write_aside(struct zw_mmu *mmu, unsigned int vm, unsigned int function, uint64_t va,
		       const void *buf, size_t len, struct zw_mem_fault *fault)
{
	struct zw_seglist list;

	list_begin(&list, function, true);
	return mem_write(mmu, &list, vm, va, buf, len, fault);
}

/* -- copies of any length -- */

/* A place in a list of pieces. */
struct cursor {
	const struct zw_seglist *list;
	size_t i;
	uint64_t off; /* in piece i */
};

static const struct zw_segment *here(const struct cursor *c, uint64_t *addr, uint64_t *left)
{
	const struct zw_segment *s = &c->list->seg[c->i];

	*addr = s->addr + c->off;
	*left = s->len - c->off;
	return s;
}

static void advance(struct cursor *c, uint64_t n)
{
	c->off += n;
	if (c->off == c->list->seg[c->i].len) {
		c->i++;
		c->off = 0;
	}
}

/* One stretch that is contiguous on both sides; at most ZW_MEM_STEP. */
static int copy_stretch(struct zw_mmu *mmu, struct cursor *dst, struct cursor *src, uint64_t *done,
			struct zw_mem_fault *fault)
{
	uint64_t da, dl, sa, sl, n = ZW_MEM_STEP;
	const struct zw_segment *d = here(dst, &da, &dl), *s = here(src, &sa, &sl);
	uint8_t *dp = zw_mmu_host(mmu, d->target, da), *sp = zw_mmu_host(mmu, s->target, sa);
	uint8_t through[4096];

	n = n < dl ? n : dl;
	n = n < sl ? n : sl;
	if (!dp && !sp) {
		/* From system memory to system memory: by way of the device. */
		sp = through;
		n = n < sizeof(through) ? n : sizeof(through);
		if (sys_read(mmu, src->list->function, sa, through, n))
			return zw_mmu_fault(mmu, fault, s->va + src->off, ZW_ACCESS_READ,
					    ZW_FAULT_DMA);
	}
	if (dp && sp)
		memmove(dp, sp, n); /* one page may be mapped at both */
	else if (dp && sys_read(mmu, src->list->function, sa, dp, n))
		return zw_mmu_fault(mmu, fault, s->va + src->off, ZW_ACCESS_READ, ZW_FAULT_DMA);
	else if (!dp && sys_write(mmu, dst->list->function, da, sp, n))
		return zw_mmu_fault(mmu, fault, d->va + dst->off, ZW_ACCESS_WRITE, ZW_FAULT_DMA);
	if (dp)
		dirty(mmu, d->target, da, n);
	advance(dst, n);
	advance(src, n);
	*done = n;
	return 0;
}

/* Ranges of any length are looked at by windows, so that lists of pieces stay short. */
#define COPY_WINDOW (UINT64_C(16) << 20)

/* Resolves one window of both ranges; with write, copies it. */
static int copy_window(struct zw_mmu *mmu, unsigned int vm, uint64_t dst, uint64_t src,
		       uint64_t len, bool write, struct zw_mem_fault *fault)
{
	struct zw_seglist dl, sl;
	struct cursor d = {.list = &dl}, s = {.list = &sl};
	int ret;

	zw_seglist_init(&dl);
	zw_seglist_init(&sl);
	dl.max = sl.max = COPY_WINDOW;
	dl.function = sl.function = mmu->function;
	ret = zw_mmu_resolve(mmu, vm, src, len, ZW_ACCESS_READ, &sl, fault);
	if (!ret)
		ret = zw_mmu_resolve(mmu, vm, dst, len, ZW_ACCESS_WRITE, &dl, fault);
	if (!ret)
		ret = reserve(mmu, &dl);
	for (uint64_t done; write && !ret && len; len -= done) {
		done = 0;
		ret = stopping(mmu) ? -ECANCELED : copy_stretch(mmu, &d, &s, &done, fault);
	}
	zw_seglist_fini(&dl);
	zw_seglist_fini(&sl);
	return ret;
}

int zw_mem_copy(struct zw_mmu *mmu, unsigned int vm, uint64_t dst, uint64_t src, uint64_t len,
		struct zw_mem_fault *fault)
{
	int ret = 0;

	/* Twice: a range that would fault at its end is refused before its beginning is written. */
	for (int write = len <= COPY_WINDOW; write < 2 && !ret; write++) {
		for (uint64_t off = 0; off < len && !ret; off += COPY_WINDOW) {
			uint64_t n = len - off < COPY_WINDOW ? len - off : COPY_WINDOW;

			ret = stopping(mmu)
				      ? -ECANCELED
				      : copy_window(mmu, vm, dst + off, src + off, n, write, fault);
		}
	}
	return ret;
}

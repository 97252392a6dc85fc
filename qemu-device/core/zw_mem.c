/* SPDX-License-Identifier: MIT */
/* Views and copies of VM memory (zw_mem.h), on top of the translation in zw_mmu.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "zw_mmu_int.h"

/* Bounce buffers keep the alignment that the address has relative to this, the widest vector of any
 * engine. */
#define BOUNCE_ALIGN 64

static int sys_read(struct zw_mmu *mmu, uint64_t addr, void *buf, uint64_t len)
{
	if (!mmu->cfg.ops || !mmu->cfg.ops->dma_read)
		return -EIO;
	return mmu->cfg.ops->dma_read(mmu->cfg.opaque, addr, buf, len);
}

static int sys_write(struct zw_mmu *mmu, uint64_t addr, const void *buf, uint64_t len)
{
	if (!mmu->cfg.ops || !mmu->cfg.ops->dma_write)
		return -EIO;
	return mmu->cfg.ops->dma_write(mmu->cfg.opaque, addr, buf, len);
}

static void dirty(struct zw_mmu *mmu, uint64_t off, uint64_t len)
{
	if (mmu->cfg.ops && mmu->cfg.ops->hbm_dirty)
		mmu->cfg.ops->hbm_dirty(mmu->cfg.opaque, off, len);
}

static int gather(struct zw_mmu *mmu, const struct zw_seglist *list, uint8_t *buf,
		  struct zw_mem_fault *fault)
{
	for (size_t i = 0; i < list->n; i++) {
		const struct zw_segment *s = &list->seg[i];

		if (!s->sys)
			memcpy(buf, mmu->cfg.hbm->base + s->addr, s->len);
		else if (sys_read(mmu, s->addr, buf, s->len))
			return zw_mmu_fault(mmu, fault, s->va, ZW_ACCESS_READ, ZW_FAULT_DMA);
		buf += s->len;
	}
	return 0;
}

static int scatter(struct zw_mmu *mmu, const struct zw_seglist *list, const uint8_t *buf,
		   struct zw_mem_fault *fault)
{
	for (size_t i = 0; i < list->n; i++) {
		const struct zw_segment *s = &list->seg[i];

		if (!s->sys) {
			memcpy(mmu->cfg.hbm->base + s->addr, buf, s->len);
			dirty(mmu, s->addr, s->len);
		} else if (sys_write(mmu, s->addr, buf, s->len)) {
			return zw_mmu_fault(mmu, fault, s->va, ZW_ACCESS_WRITE, ZW_FAULT_DMA);
		}
		buf += s->len;
	}
	return 0;
}

/* Host memory behind every piece of HBM that is going to be written. */
static int reserve(struct zw_mmu *mmu, const struct zw_seglist *list)
{
	for (size_t i = 0; i < list->n; i++) {
		const struct zw_segment *s = &list->seg[i];
		int ret = s->sys ? 0 : zw_hbm_reserve(mmu->cfg.hbm, s->addr, s->len);

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

	if (len > ZW_MEM_BOUNCE_MAX - mmu->bounce_bytes)
		return NULL;
	/*
	 * Zeroed unless it is filled by the caller: what an engine leaves unwritten goes to the
	 * guest, and must not be the host's heap.
	 */
	b = filled ? malloc(size) : calloc(1, size);
	if (!b)
		return NULL;
	p = ((uintptr_t)(b + 1) + BOUNCE_ALIGN - 1) & ~(uintptr_t)(BOUNCE_ALIGN - 1);
	b->ptr = (uint8_t *)p + va % BOUNCE_ALIGN;
	b->len = len;
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

int zw_mem_map(struct zw_mmu *mmu, unsigned int vm, uint64_t va, uint64_t len, uint32_t access,
	       struct zw_view *view, struct zw_mem_fault *fault)
{
	struct zw_seglist list;
	struct zw_bounce *b;
	int ret;

	memset(view, 0, sizeof(*view));
	zw_seglist_init(&list);
	list.max = ZW_MEM_BOUNCE_MAX;
	ret = zw_mmu_resolve(mmu, vm, va, len, access, &list, fault);
	if (ret)
		goto out;
	view->va = va;
	view->len = len;
	view->access = access;
	for (size_t i = 0; i < list.n; i++) {
		if (list.seg[i].sys)
			view->sys_bytes += list.seg[i].len;
		else
			view->hbm_bytes += list.seg[i].len;
	}
	if (access & ZW_ACCESS_WRITE) {
		ret = reserve(mmu, &list);
		if (ret)
			goto out;
	}
	if (list.n == 1 && !list.seg[0].sys) {
		view->hbm_off = list.seg[0].addr;
		view->ptr = mmu->cfg.hbm->base + view->hbm_off;
		goto out;
	}
	b = bounce_new(mmu, va, len, access & ZW_ACCESS_READ);
	if (!b) {
		ret = -ENOMEM;
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
		memset(view, 0, sizeof(*view));
	return ret;
}

int zw_mem_unmap(struct zw_mmu *mmu, unsigned int vm, struct zw_view *view, bool commit,
		 struct zw_mem_fault *fault)
{
	struct zw_bounce *b;
	int ret = 0;

	if (!view->ptr)
		return 0;
	if (!view->bounced) {
		if (view->access & ZW_ACCESS_WRITE)
			dirty(mmu, view->hbm_off, view->len);
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
		ret = scatter(mmu, &b->list, b->ptr, fault);
	bounce_free(mmu, b);
out:
	memset(view, 0, sizeof(*view));
	return ret;
}

int zw_mem_read(struct zw_mmu *mmu, unsigned int vm, uint64_t va, void *buf, size_t len,
		struct zw_mem_fault *fault)
{
	struct zw_seglist list;
	int ret;

	zw_seglist_init(&list);
	list.max = ZW_MEM_BOUNCE_MAX;
	ret = zw_mmu_resolve(mmu, vm, va, len, ZW_ACCESS_READ, &list, fault);
	if (!ret)
		ret = gather(mmu, &list, buf, fault);
	zw_seglist_fini(&list);
	return ret;
}

int zw_mem_write(struct zw_mmu *mmu, unsigned int vm, uint64_t va, const void *buf, size_t len,
		 struct zw_mem_fault *fault)
{
	struct zw_seglist list;
	int ret;

	zw_seglist_init(&list);
	list.max = ZW_MEM_BOUNCE_MAX;
	ret = zw_mmu_resolve(mmu, vm, va, len, ZW_ACCESS_WRITE, &list, fault);
	if (!ret)
		ret = reserve(mmu, &list);
	if (!ret)
		ret = scatter(mmu, &list, buf, fault);
	zw_seglist_fini(&list);
	return ret;
}

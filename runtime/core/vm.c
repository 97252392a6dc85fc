// SPDX-License-Identifier: MIT
/* Address spaces: arguments, order of binds, and the allocator of the upper half. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "syncs.h"
#include "transport.h"
#include "zhenwu/zw_pte.h"

#define PAGE_MASK ((uint64_t)ZW_PAGE_SIZE - 1)
#define BIG_PAGE  (2ull << 20)
#define HUGE_PAGE (1ull << 30)

ZW_API int zw_vm_create(struct zw_dev *dev, struct zw_vm **out)
{
	return zw_vm_create_with(dev, NULL, out);
}

ZW_API int zw_vm_create_with(struct zw_dev *dev, const struct zw_vm_options *options,
			     struct zw_vm **out)
{
	struct zw_vm_options opt = {.size = sizeof(opt)};
	struct zw_vm *vm;
	int ret;

	*out = NULL;
	if (options) {
		ret = sized_in(&opt, sizeof(opt), SIZED_V0(struct zw_vm_options, flags), options);
		if (ret)
			return ret;
	}
	if (opt.flags & ~(uint32_t)ZW_VM_LONG_RUNNING)
		return -EINVAL;
	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return -ENOMEM;
	vm->holes = calloc(1, sizeof(*vm->holes));
	if (!vm->holes) {
		free(vm);
		return -ENOMEM;
	}
	vm->holes->start = ZW_VM_AUTO_START;
	vm->holes->end = dev->va_end;
	vm->dev = dev;
	vm->flags = opt.flags;
	ret = dev->ops->vm_create(vm);
	if (ret) {
		free(vm->holes);
		free(vm);
		return ret;
	}
	pthread_mutex_init(&vm->lock, NULL);
	pthread_mutex_init(&vm->bind_lock, NULL);
	atomic_fetch_add(&dev->children, 1);
	*out = vm;
	return 0;
}

ZW_API int zw_vm_destroy(struct zw_vm *vm)
{
	struct zw_dev *dev;

	if (!vm)
		return 0;
	if (atomic_load(&vm->users))
		return -EBUSY;
	dev = vm->dev;
	dev->ops->vm_destroy(vm);
	for (struct va_hole *h = vm->holes, *next; h; h = next) {
		next = h->next;
		free(h);
	}
	for (struct va_block *b = vm->blocks, *next; b; b = next) {
		next = b->next;
		free(b);
	}
	pthread_mutex_destroy(&vm->lock);
	pthread_mutex_destroy(&vm->bind_lock);
	free(vm);
	atomic_fetch_sub(&dev->children, 1);
	return 0;
}

static bool page_aligned(uint64_t a, uint64_t b)
{
	return !((a | b) & PAGE_MASK);
}

static int check_map(const struct zw_vm *vm, const struct zw_bo *bo, uint64_t bo_offset,
		     uint64_t va, uint64_t bytes, uint32_t flags)
{
	if (bo->dev != vm->dev || (bo->vm && bo->vm != vm) || va < vm->dev->va_start ||
	    flags & ~(uint32_t)ZW_VM_MAP_READONLY || !bytes ||
	    !page_aligned(bo_offset | va, bytes) || bo_offset > bo->size ||
	    bytes > bo->size - bo_offset)
		return -EINVAL;
	if (bo->flags & ZW_BO_READONLY && !(flags & ZW_VM_MAP_READONLY))
		return -EACCES;
	return 0;
}

static int check_unmap(const struct zw_vm *vm, uint64_t va, uint64_t bytes)
{
	return !bytes || !page_aligned(va, bytes) || va < vm->dev->va_start ? -EINVAL : 0;
}

/* The caller's part of the addresses. */
static bool lower_half(uint64_t va, uint64_t bytes)
{
	return va <= ZW_VM_AUTO_START && bytes <= ZW_VM_AUTO_START - va;
}

static int map(struct zw_vm *vm, struct zw_bo *bo, uint64_t bo_offset, uint64_t va, uint64_t bytes,
	       uint32_t flags)
{
	int ret = check_map(vm, bo, bo_offset, va, bytes, flags);

	if (ret)
		return ret;
	pthread_mutex_lock(&vm->bind_lock);
	ret = vm->dev->ops->vm_map(vm, bo, bo_offset, va, bytes, flags);
	pthread_mutex_unlock(&vm->bind_lock);
	return ret;
}

static int unmap(struct zw_vm *vm, uint64_t va, uint64_t bytes)
{
	int ret;

	pthread_mutex_lock(&vm->bind_lock);
	ret = vm->dev->ops->vm_unmap(vm, va, bytes);
	pthread_mutex_unlock(&vm->bind_lock);
	return ret;
}

ZW_API int zw_vm_map(struct zw_vm *vm, struct zw_bo *bo, uint64_t bo_offset, uint64_t va,
		     uint64_t bytes, uint32_t flags)
{
	return lower_half(va, bytes) ? map(vm, bo, bo_offset, va, bytes, flags) : -EINVAL;
}

ZW_API int zw_vm_unmap(struct zw_vm *vm, uint64_t va, uint64_t bytes)
{
	if (!lower_half(va, bytes) || check_unmap(vm, va, bytes))
		return -EINVAL;
	return unmap(vm, va, bytes);
}

ZW_API int zw_vm_status(struct zw_vm *vm)
{
	return vm->dev->ops->vm_status(vm);
}

/* -- asynchronous binds ----------------------------------------------------------------------- */

static int check_bind(const struct zw_vm *vm, const struct zw_bind *b)
{
	struct sync_list syncs = {b->syncs, b->num_syncs};
	int ret = -EINVAL;

	switch (b->type) {
	case ZW_BIND_MAP:
		if (b->bo && lower_half(b->va, b->bytes))
			ret = check_map(vm, b->bo, b->bo_offset, b->va, b->bytes, b->flags);
		break;
	case ZW_BIND_UNMAP:
		if (!b->bo && !b->bo_offset && !b->flags && lower_half(b->va, b->bytes))
			ret = check_unmap(vm, b->va, b->bytes);
		break;
	case ZW_BIND_SYNC:
		if (!b->bo && !b->bo_offset && !b->flags && !b->va && !b->bytes)
			ret = 0;
		break;
	}
	if (!ret && b->num_syncs > ZW_BIND_MAX_SYNCS)
		ret = -EINVAL;
	return ret ? ret : zw_rt_syncs_check(vm->dev, &syncs);
}

/* Copies of this library's size, and the lists of their syncs. */
static int take_binds(const struct zw_vm *vm, const struct zw_bind *ops, uint32_t count,
		      struct zw_bind *own, struct sync_list *lists)
{
	const uint8_t *at = (const uint8_t *)ops;
	uint32_t total = 0;

	for (uint32_t i = 0; i < count; i++) {
		const struct zw_bind *theirs = (const void *)at;
		int ret;

		if (theirs->size != ops->size)
			return -EINVAL;
		ret = sized_in(&own[i], sizeof(own[i]), SIZED_V0(struct zw_bind, syncs), theirs);
		if (!ret)
			ret = check_bind(vm, &own[i]);
		if (ret)
			return ret;
		lists[i] = (struct sync_list){own[i].syncs, own[i].num_syncs};
		total += own[i].num_syncs;
		at += ops->size;
	}
	return total > ZW_BIND_MAX_CALL_SYNCS ? -EINVAL : 0;
}

/* All fences are the device's. */
static int bind_own(struct zw_vm *vm, const struct zw_bind *ops, const struct sync_list *lists,
		    uint32_t count)
{
	struct points points = {0};
	struct zw_dev *dev = vm->dev;
	int ret;

	/* First, as who has it may be waiting for a job, which submit_lock must not be held for. */
	pthread_mutex_lock(&vm->bind_lock);
	pthread_mutex_lock(&dev->submit_lock);
	ret = zw_rt_syncs_known(lists, count);
	if (!ret)
		ret = zw_rt_points_take(&points, lists, count, true);
	if (!ret) {
		ret = dev->ops->vm_bind(vm, ops, count);
		if (ret)
			zw_rt_points_undo(&points, lists, count);
	}
	pthread_mutex_unlock(&dev->submit_lock);
	pthread_mutex_unlock(&vm->bind_lock);
	zw_rt_points_done(&points);
	return ret;
}

ZW_API int zw_vm_bind(struct zw_vm *vm, const struct zw_bind *ops, uint32_t count)
{
	struct stand_ins s = {0};
	struct sync_list *lists;
	struct zw_bind *own;
	int ret;

	if (!ops || !count || count > ZW_BIND_MAX)
		return -EINVAL;
	own = calloc(count, sizeof(*own) + sizeof(*lists));
	if (!own)
		return -ENOMEM;
	lists = (struct sync_list *)(void *)(own + count);
	ret = take_binds(vm, ops, count, own, lists);
	if (!ret)
		ret = zw_rt_stand_ins_begin(vm->dev, lists, count, &s);
	if (!ret) {
		for (uint32_t i = 0; i < count; i++)
			own[i].syncs = lists[i].syncs;
		ret = bind_own(vm, own, lists, count);
	}
	zw_rt_stand_ins_end(&s);
	free(own);
	return ret;
}

/* -- addresses that the library hands out ----------------------------------------------------- */

/*
 * First fit. A page stays free behind each block, so that a device write that runs over the end of
 * a buffer faults. The nodes that giving the block back will need are made here, so that giving
 * back cannot fail: the block itself and, when a hole is split in two, the second hole.
 */
static int va_alloc(struct zw_vm *vm, uint64_t bytes, uint64_t *va)
{
	uint64_t align = bytes >= HUGE_PAGE  ? HUGE_PAGE
			 : bytes >= BIG_PAGE ? BIG_PAGE
					     : ZW_PAGE_SIZE;
	uint64_t need = bytes + ZW_PAGE_SIZE;
	struct va_hole **link, *h, *rest = malloc(sizeof(*rest));
	struct va_block *b = malloc(sizeof(*b));

	if (!rest || !b) {
		free(rest);
		free(b);
		return -ENOMEM;
	}
	for (link = &vm->holes; (h = *link); link = &h->next) {
		uint64_t start = (h->start + align - 1) & ~(align - 1);

		if (start < h->start || start >= h->end || h->end - start < need)
			continue;
		b->start = start;
		b->bytes = need;
		b->next = vm->blocks;
		vm->blocks = b;
		rest->start = start + need;
		rest->end = h->end;
		h->end = start;
		if (rest->start < rest->end) {
			rest->next = h->next;
			h->next = rest;
			rest = NULL;
		}
		if (h->start == h->end) {
			*link = h->next;
			free(h);
		}
		free(rest);
		*va = start;
		return 0;
	}
	free(rest);
	free(b);
	return -ENOSPC;
}

/* Gives a block's addresses back; the block's own memory becomes the hole if one is needed. */
static void va_free(struct zw_vm *vm, struct va_block *b)
{
	uint64_t start = b->start, end = b->start + b->bytes;
	struct va_hole **link = &vm->holes, *h, *prev = NULL;
	_Static_assert(sizeof(struct va_hole) == sizeof(struct va_block), "one becomes the other");

	while ((h = *link) && h->start < start) {
		prev = h;
		link = &h->next;
	}
	if (prev && prev->end == start) {
		prev->end = end;
		free(b);
		if (h && h->start == end) {
			prev->end = h->end;
			prev->next = h->next;
			free(h);
		}
		return;
	}
	if (h && h->start == end) {
		h->start = start;
		free(b);
		return;
	}
	prev = (struct va_hole *)(void *)b;
	prev->start = start;
	prev->end = end;
	prev->next = h;
	*link = prev;
}

static struct va_block *va_take(struct zw_vm *vm, uint64_t va)
{
	struct va_block **link, *b;

	for (link = &vm->blocks; (b = *link); link = &b->next) {
		if (b->start == va) {
			*link = b->next;
			return b;
		}
	}
	return NULL;
}

ZW_API int zw_vm_map_auto(struct zw_vm *vm, struct zw_bo *bo, uint32_t flags, uint64_t *va)
{
	int ret;

	if (bo->dev != vm->dev)
		return -EINVAL;
	pthread_mutex_lock(&vm->lock);
	ret = va_alloc(vm, bo->size, va);
	pthread_mutex_unlock(&vm->lock);
	if (ret)
		return ret;
	ret = map(vm, bo, 0, *va, bo->size, flags);
	if (ret) {
		pthread_mutex_lock(&vm->lock);
		va_free(vm, va_take(vm, *va));
		pthread_mutex_unlock(&vm->lock);
		*va = 0;
	}
	return ret;
}

ZW_API int zw_vm_unmap_auto(struct zw_vm *vm, uint64_t va)
{
	struct va_block *b;
	int ret;

	/* off the list, so that two threads cannot both give it back; not yet a hole, so that
	 * nobody gets it */
	pthread_mutex_lock(&vm->lock);
	b = va_take(vm, va);
	pthread_mutex_unlock(&vm->lock);
	if (!b)
		return -ENOENT;
	ret = unmap(vm, va, b->bytes - ZW_PAGE_SIZE);
	pthread_mutex_lock(&vm->lock);
	if (ret) {
		b->next = vm->blocks;
		vm->blocks = b;
	} else {
		va_free(vm, b);
	}
	pthread_mutex_unlock(&vm->lock);
	return ret;
}

ZW_API int zw_buffer_create(struct zw_vm *vm, uint64_t size, uint32_t bo_flags,
			    struct zw_buffer *buf)
{
	struct zw_buffer b = {.vm = vm};
	int ret;

	memset(buf, 0, sizeof(*buf));
	ret = zw_rt_bo_create(vm->dev, vm, size, bo_flags, &b.bo);
	if (ret)
		return ret;
	b.bytes = b.bo->size;
	if (!(bo_flags & ZW_BO_HBM) || (bo_flags & ZW_BO_CPU_VISIBLE)) {
		ret = zw_bo_map(b.bo, &b.ptr);
		if (ret)
			goto destroy;
	}
	ret = zw_vm_map_auto(vm, b.bo, 0, &b.va);
	if (ret)
		goto destroy;
	atomic_fetch_add(&vm->users, 1);
	*buf = b;
	return 0;

destroy:
	zw_bo_destroy(b.bo);
	return ret;
}

ZW_API void zw_buffer_destroy(struct zw_buffer *buf)
{
	if (!buf || !buf->bo)
		return;
	/* if it cannot be unmapped, the VM keeps the memory until it is destroyed itself */
	zw_vm_unmap_auto(buf->vm, buf->va);
	zw_bo_destroy(buf->bo);
	atomic_fetch_sub(&buf->vm->users, 1);
	memset(buf, 0, sizeof(*buf));
}

// SPDX-License-Identifier: MIT
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "transport.h"
#include "zhenwu/zw_pte.h"

#define BO_FLAGS  (ZW_BO_HBM | ZW_BO_SYSTEM | ZW_BO_CPU_VISIBLE | ZW_BO_NO_EVICT)
#define LABEL_MAX 4096

/* The transport has made it, or said why not. */
static int made(struct zw_bo *bo, int ret, struct zw_bo **out)
{
	if (ret) {
		free(bo);
		return ret;
	}
	pthread_mutex_init(&bo->lock, NULL);
	atomic_fetch_add(&bo->dev->children, 1);
	*out = bo;
	return 0;
}

ZW_API int zw_bo_create(struct zw_dev *dev, uint64_t size, uint32_t flags, struct zw_bo **out)
{
	return zw_rt_bo_create(dev, NULL, size, flags, out);
}

int zw_rt_bo_create(struct zw_dev *dev, struct zw_vm *vm, uint64_t size, uint32_t flags,
		    struct zw_bo **out)
{
	struct zw_bo *bo;

	*out = NULL;
	if (flags & ~(uint32_t)BO_FLAGS || !(flags & (ZW_BO_HBM | ZW_BO_SYSTEM)) ||
	    (!(flags & ZW_BO_HBM) && (flags & ZW_BO_CPU_VISIBLE)))
		return -EINVAL;
	if (!size)
		return -EINVAL;
	if (size > (1ull << ZW_VA_BITS))
		return -ENOMEM;
	bo = calloc(1, sizeof(*bo));
	if (!bo)
		return -ENOMEM;
	bo->dev = dev;
	bo->vm = vm;
	bo->size = (size + ZW_PAGE_SIZE - 1) & ~(uint64_t)(ZW_PAGE_SIZE - 1);
	bo->flags = flags;
	return made(bo, dev->ops->bo_create(bo), out);
}

ZW_API int zw_bo_from_ptr(struct zw_dev *dev, void *ptr, uint64_t size, uint32_t flags,
			  struct zw_bo **out)
{
	struct zw_bo *bo;

	*out = NULL;
	if (flags & ~(uint32_t)ZW_BO_READONLY || !size || size % ZW_PAGE_SIZE ||
	    (uintptr_t)ptr % ZW_PAGE_SIZE || size > UINTPTR_MAX - (uintptr_t)ptr)
		return -EINVAL;
	bo = calloc(1, sizeof(*bo));
	if (!bo)
		return -ENOMEM;
	bo->dev = dev;
	bo->size = size;
	bo->flags = flags | ZW_BO_USERPTR | ZW_BO_SYSTEM;
	bo->user = ptr;
	return made(bo, dev->ops->bo_from_ptr(bo), out);
}

ZW_API void zw_bo_destroy(struct zw_bo *bo)
{
	struct zw_dev *dev;

	if (!bo)
		return;
	dev = bo->dev;
	if (bo->ptr)
		dev->ops->bo_unmap(bo, bo->ptr);
	dev->ops->bo_destroy(bo);
	pthread_mutex_destroy(&bo->lock);
	free(bo);
	atomic_fetch_sub(&dev->children, 1);
}

ZW_API int zw_bo_map(struct zw_bo *bo, void **ptr)
{
	int ret = 0;

	if (bo->flags & ZW_BO_USERPTR) {
		*ptr = bo->user;
		return 0;
	}
	if ((bo->flags & ZW_BO_HBM) && !(bo->flags & ZW_BO_CPU_VISIBLE))
		return -EACCES;
	pthread_mutex_lock(&bo->lock);
	if (!bo->ptr)
		ret = bo->dev->ops->bo_map(bo, &bo->ptr);
	if (!ret)
		*ptr = bo->ptr;
	pthread_mutex_unlock(&bo->lock);
	return ret;
}

ZW_API uint64_t zw_bo_size(const struct zw_bo *bo)
{
	return bo->size;
}

ZW_API uint32_t zw_bo_flags(const struct zw_bo *bo)
{
	return bo->flags;
}

ZW_API int zw_bo_wait(struct zw_bo *bo, int64_t deadline_ns)
{
	return bo->dev->ops->bo_wait(bo, deadline_ns);
}

ZW_API int zw_bo_set_label(struct zw_bo *bo, const char *label)
{
	if (label && strlen(label) >= LABEL_MAX)
		return -EINVAL;
	return bo->dev->ops->bo_set_label(bo, label);
}

ZW_API int zw_bo_export(struct zw_bo *bo, int *fd)
{
	*fd = -1;
	/* what one VM alone maps is nobody else's, and memory of the process stays with it */
	if (bo->vm || bo->flags & ZW_BO_USERPTR)
		return -EOPNOTSUPP;
	return bo->dev->ops->bo_export(bo, fd);
}

ZW_API int zw_bo_import(struct zw_dev *dev, int fd, struct zw_bo **out)
{
	struct zw_bo *bo = calloc(1, sizeof(*bo));

	*out = NULL;
	if (!bo)
		return -ENOMEM;
	bo->dev = dev;
	return made(bo, dev->ops->bo_import(bo, fd), out);
}

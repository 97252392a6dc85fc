// SPDX-License-Identifier: MIT
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xf86drm.h>

#include "drm_handles.h"

void zw_drm_handles_init(struct zw_drm_handles *h, int fd)
{
	*h = (struct zw_drm_handles){.fd = fd};
	pthread_mutex_init(&h->lock, NULL);
}

void zw_drm_handles_fini(struct zw_drm_handles *h)
{
	pthread_mutex_destroy(&h->lock);
	free(h->users);
}

/* Lock held. */
static void close_handle(struct zw_drm_handles *h, uint32_t handle)
{
	struct drm_gem_close c = {.handle = handle};

	drmIoctl(h->fd, DRM_IOCTL_GEM_CLOSE, &c);
}

/* Lock held. Kernels hand out the lowest number that is free. */
static int add_user(struct zw_drm_handles *h, uint32_t handle)
{
	if (handle >= h->n) {
		size_t n = 2 * (size_t)handle + 16;
		uint32_t *users =
			n > UINT32_MAX ? NULL : reallocarray(h->users, n, sizeof(*h->users));

		if (!users) {
			close_handle(h, handle);
			return -ENOMEM;
		}
		memset(users + h->n, 0, (n - h->n) * sizeof(*users));
		h->users = users;
		h->n = (uint32_t)n;
	}
	h->users[handle]++;
	return 0;
}

int zw_drm_handle_made(struct zw_drm_handles *h, uint32_t handle)
{
	int ret;

	pthread_mutex_lock(&h->lock);
	ret = add_user(h, handle);
	pthread_mutex_unlock(&h->lock);
	return ret;
}

int zw_drm_handle_import(struct zw_drm_handles *h, int dma_buf, uint32_t *handle)
{
	int ret = 0;

	/* Whoever drops the last user of the same handle meanwhile would close it under the new one. */
	pthread_mutex_lock(&h->lock);
	if (drmPrimeFDToHandle(h->fd, dma_buf, handle))
		ret = -errno;
	if (!ret)
		ret = add_user(h, *handle);
	pthread_mutex_unlock(&h->lock);
	return ret;
}

void zw_drm_handle_drop(struct zw_drm_handles *h, uint32_t handle)
{
	pthread_mutex_lock(&h->lock);
	if (--h->users[handle] == 0)
		close_handle(h, handle);
	pthread_mutex_unlock(&h->lock);
}

/* SPDX-License-Identifier: MIT */
/*
 * GEM handles of an open file that stand for more than one buffer of the library: the kernel gives the same handle
 * whenever memory that the file has comes in again, and one close ends it. Thread safe.
 */
#ifndef ZW_RT_DRM_HANDLES_H
#define ZW_RT_DRM_HANDLES_H

#include <pthread.h>
#include <stdint.h>

struct zw_drm_handles {
	int fd;
	pthread_mutex_t lock;
	uint32_t *users; /* by handle */
	uint32_t n;
};

void zw_drm_handles_init(struct zw_drm_handles *h, int fd);
/* Handles that still have users end with the file. */
void zw_drm_handles_fini(struct zw_drm_handles *h);
/* A handle that was just made has its first user. -ENOMEM: it is closed. */
int zw_drm_handle_made(struct zw_drm_handles *h, uint32_t handle);
/* One user more of what is behind a dma-buf: 0 and its handle, or -errno. */
int zw_drm_handle_import(struct zw_drm_handles *h, int dma_buf, uint32_t *handle);
/* One less; the last one closes it. */
void zw_drm_handle_drop(struct zw_drm_handles *h, uint32_t handle);

#endif

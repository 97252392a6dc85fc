/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_PRIME_H__
#define __ZHENWU_PRIME_H__

#include <linux/types.h>

struct dma_buf;
struct drm_device;
struct drm_gem_object;
struct zhenwu_device;

struct dma_buf *zhenwu_prime_export(struct drm_gem_object *obj, int flags);
struct drm_gem_object *zhenwu_prime_own(const struct drm_device *drm, const struct dma_buf *buf);
bool zhenwu_prime_has_peers(struct zhenwu_device *zdev);
void zhenwu_prime_revoke(struct zhenwu_device *zdev);

struct drm_gem_object *zhenwu_prime_import(struct drm_device *drm, struct dma_buf *buf);
void zhenwu_prime_unmap_dma(struct zhenwu_device *zdev);

#endif /* __ZHENWU_PRIME_H__ */

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_PRIME_H__
#define __ZHENWU_PRIME_H__

struct dma_buf;
struct dma_buf_attachment;
struct drm_device;
struct drm_gem_object;
struct sg_table;
struct zhenwu_bo;
struct zhenwu_device;

struct dma_buf *zhenwu_prime_export(struct drm_gem_object *obj, int flags);
struct drm_gem_object *zhenwu_prime_import(struct drm_device *drm, struct dma_buf *buf);
struct drm_gem_object *zhenwu_prime_import_sg_table(struct drm_device *drm,
						    struct dma_buf_attachment *attach,
						    struct sg_table *sgt);
void zhenwu_prime_unmap_dma(struct zhenwu_device *zdev);

#endif /* __ZHENWU_PRIME_H__ */

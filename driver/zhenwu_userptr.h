/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_USERPTR_H__
#define __ZHENWU_USERPTR_H__

struct drm_device;
struct drm_file;

int zhenwu_ioctl_bo_create_userptr(struct drm_device *drm, void *data, struct drm_file *file);

#endif /* __ZHENWU_USERPTR_H__ */

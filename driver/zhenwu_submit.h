/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_SUBMIT_H__
#define __ZHENWU_SUBMIT_H__

struct drm_device;
struct drm_file;

int zhenwu_ioctl_submit(struct drm_device *drm, void *data, struct drm_file *file);

#endif /* __ZHENWU_SUBMIT_H__ */

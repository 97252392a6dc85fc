/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_FDINFO_H__
#define __ZHENWU_FDINFO_H__

struct drm_file;
struct drm_printer;

void zhenwu_show_fdinfo(struct drm_printer *p, struct drm_file *file);

#endif /* __ZHENWU_FDINFO_H__ */

/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_DEBUGFS_H__
#define __ZHENWU_DEBUGFS_H__

struct zhenwu_device;

void zhenwu_debugfs_init(struct zhenwu_device *zdev);

#endif /* __ZHENWU_DEBUGFS_H__ */

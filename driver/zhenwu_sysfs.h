/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __ZHENWU_SYSFS_H__
#define __ZHENWU_SYSFS_H__

struct attribute_group;

extern const struct attribute_group *zhenwu_sysfs_groups[];

#endif /* __ZHENWU_SYSFS_H__ */

/* SPDX-License-Identifier: MIT */
#ifndef ZW_RT_DRM_NODE_H
#define ZW_RT_DRM_NODE_H

#include "transport.h"

/* Opens a node of the zhenwu driver. A file descriptor, -ENODEV when another driver's, or open()'s
 * -errno. */
int zw_rt_drm_probe(const char *node, uint32_t *major, uint32_t *minor);

#endif

/* SPDX-License-Identifier: MIT */
/* A cgroup of a test's own. */
#ifndef ZW_CGROUP_H
#define ZW_CGROUP_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "zw_kst.h"

struct group {
	char root[64], dir[96], text[256];
};

/* The path of one of its files, until the next call. */
static inline const char *in_group(struct group *g, const char *name)
{
	snprintf(g->text, sizeof(g->text), "%s/%s", g->dir, name);
	return g->text;
}

/* False when there is no such controller, or we are not root. */
static inline bool group_open(struct group *g, const char *controller)
{
	char text[64];

	snprintf(g->root, sizeof(g->root), "/tmp/zw-cgroup-XXXXXX");
	if (!mkdtemp(g->root))
		return false;
	snprintf(g->dir, sizeof(g->dir), "%s", g->root);
	if (!mount("none", g->root, "cgroup2", 0, NULL)) {
		snprintf(text, sizeof(text), "+%s", controller);
		zw_write_file(in_group(g, "cgroup.subtree_control"), text);
		snprintf(g->dir, sizeof(g->dir), "%s/zw-%d", g->root, getpid());
		snprintf(text, sizeof(text), "%s.max", controller);
		if (!mkdir(g->dir, 0755) && !access(in_group(g, text), W_OK))
			return true;
		rmdir(g->dir);
		umount(g->root);
	}
	rmdir(g->root);
	return false;
}

static inline void group_close(struct group *g)
{
	/* Who was in it may be just about to leave. */
	for (int i = 0; i < 600 && rmdir(g->dir); i++)
		usleep(100000);
	umount(g->root);
	rmdir(g->root);
}

#endif

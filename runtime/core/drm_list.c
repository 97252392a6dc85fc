// SPDX-License-Identifier: MIT
/*
 * Finding accelerator nodes. libdrm does not enumerate the accel class, so sysfs is walked here;
 * whose node it is, the driver's name says, never the path.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <xf86drm.h>

#include "drm_node.h"

#define DRIVER_NAME "zhenwu"
#define MAX_NODES   256u

/* Last component of the link `name` below /sys/class/accel/accelN; false when there is none. */
static bool link_name(const char *sysfs, int node, const char *name, char *out, size_t len)
{
	char path[PATH_MAX], target[PATH_MAX];
	const char *base;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/class/accel/accel%d/%s", sysfs, node, name);
	n = readlink(path, target, sizeof(target) - 1);
	if (n <= 0)
		return false;
	target[n] = '\0';
	base = strrchr(target, '/');
	base = base ? base + 1 : target;
	return (size_t)snprintf(out, len, "%s", base) < len;
}

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static int scan(const char *sysfs, int nodes[MAX_NODES])
{
	char path[PATH_MAX];
	struct dirent *e;
	int count = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/class/accel", sysfs);
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? 0 : -errno;
	while ((e = readdir(dir)) && count < (int)MAX_NODES) {
		char tail;
		int n;

		if (sscanf(e->d_name, "accel%d%c", &n, &tail) == 1 && n >= 0)
			nodes[count++] = n;
	}
	closedir(dir);
	qsort(nodes, (size_t)count, sizeof(nodes[0]), by_number);
	return count;
}

int zw_rt_drm_probe(const char *node, uint32_t *major, uint32_t *minor)
{
	int fd = open(node, O_RDWR | O_CLOEXEC), ret = 0;
	drmVersionPtr v;

	if (fd < 0)
		return -errno;
	v = drmGetVersion(fd);
	if (!v || v->name_len != (int)strlen(DRIVER_NAME) ||
	    strncmp(v->name, DRIVER_NAME, strlen(DRIVER_NAME))) {
		ret = -ENODEV;
	} else {
		*major = (uint32_t)v->version_major;
		*minor = (uint32_t)v->version_minor;
	}
	drmFreeVersion(v);
	if (ret) {
		close(fd);
		return ret;
	}
	return fd;
}

static bool describe(const char *sysfs, const char *devfs, int node, struct zw_dev_entry *e)
{
	char driver[64];
	int fd;

	memset(e, 0, sizeof(*e));
	snprintf(e->node, sizeof(e->node), "%s/accel/accel%d", devfs, node);
	if (!link_name(sysfs, node, "device", e->bus, sizeof(e->bus)))
		e->bus[0] = '\0';
	fd = zw_rt_drm_probe(e->node, &e->driver_major, &e->driver_minor);
	if (fd >= 0) {
		close(fd);
		return true;
	}
	/* not ours, or not openable; in the second case sysfs may still know whose it is */
	e->open_error = fd;
	return fd != -ENODEV && link_name(sysfs, node, "device/driver", driver, sizeof(driver)) &&
	       !strcmp(driver, DRIVER_NAME);
}

/* One element of ZW_VISIBLE_DEVICES: index into the list of all, or PCI address. -1: not there; -2:
 * malformed. */
static int pick(const char *word, size_t len, const struct zw_dev_entry *all, int count)
{
	char text[32], *end;
	long n;

	if (!len || len >= sizeof(text))
		return -2;
	memcpy(text, word, len);
	text[len] = '\0';
	if (strchr(text, ':')) {
		for (int i = 0; i < count; i++)
			if (!strcasecmp(all[i].bus, text))
				return i;
		return -1;
	}
	if (strspn(text, "0123456789") != len)
		return -2;
	n = strtol(text, &end, 10);
	return n < count ? (int)n : -1;
}

int zw_rt_drm_list(const char *sysfs, const char *devfs, const char *visible,
		   struct zw_dev_entry *entries, size_t max)
{
	struct zw_dev_entry *all;
	int nodes[MAX_NODES], n, count = 0, chosen = 0;
	bool used[MAX_NODES] = {false};

	n = scan(sysfs, nodes);
	if (n < 0)
		return n;
	all = calloc(n ? (size_t)n : 1, sizeof(*all));
	if (!all)
		return -ENOMEM;
	for (int i = 0; i < n; i++)
		if (describe(sysfs, devfs, nodes[i], &all[count]))
			count++;
	if (!visible) {
		for (; chosen < count; chosen++) {
			snprintf(all[chosen].spec, sizeof(all[chosen].spec), "drm:%d", chosen);
			if ((size_t)chosen < max)
				entries[chosen] = all[chosen];
		}
	}
	for (const char *w = visible; w && *w;) {
		size_t len = strcspn(w, ",");
		int i = pick(w, len, all, count);

		if (i == -2 || (i >= 0 && used[i])) {
			free(all);
			return -EINVAL;
		}
		if (i >= 0) {
			used[i] = true;
			snprintf(all[i].spec, sizeof(all[i].spec), "drm:%d", chosen);
			if ((size_t)chosen < max)
				entries[chosen] = all[i];
			chosen++;
		}
		w += len;
		if (*w == ',' && !*++w) {
			free(all);
			return -EINVAL;
		}
	}
	free(all);
	return chosen;
}

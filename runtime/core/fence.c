// SPDX-License-Identifier: MIT
/* Fences: arguments, waits over several devices, descriptors. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "transport.h"
#include "userq.h"

ZW_API int zw_fence_create(struct zw_dev *dev, struct zw_fence **out)
{
	struct zw_fence *f = calloc(1, sizeof(*f));
	int ret;

	*out = NULL;
	if (!f)
		return -ENOMEM;
	f->dev = dev;
	ret = dev->ops->fence_create(f);
	if (ret) {
		free(f);
		return ret;
	}
	atomic_fetch_add(&dev->children, 1);
	*out = f;
	return 0;
}

ZW_API void zw_fence_destroy(struct zw_fence *fence)
{
	struct zw_dev *dev;

	if (!fence)
		return;
	dev = fence->dev;
	zw_rt_user_fence_free(fence);
	dev->ops->fence_destroy(fence);
	free(fence);
	atomic_fetch_sub(&dev->children, 1);
}

/* The lowest index whose point is reached, or count. */
static int find_reached(const struct zw_fence_point *points, uint32_t count, uint32_t *first)
{
	for (*first = 0; *first < count; ++*first) {
		uint64_t value;
		int ret = zw_fence_query(points[*first].fence, &value);

		if (ret)
			return ret;
		if (value >= points[*first].point)
			return 0;
	}
	return 0;
}

/* How often one looks at what cannot be waited for in one place. */
#define LOOK_NS 100000

/* All of these are the transport's, or may become a user-mode queue's while we sleep. */
static int wait_transport(const struct zw_fence_point *points, uint32_t count, bool any,
			  int64_t deadline_ns, uint32_t *first)
{
	struct zw_dev *dev = points[0].fence->dev;
	bool open = false;

	if (atomic_load(&dev->user_queues)) {
		pthread_mutex_lock(&dev->submit_lock);
		for (uint32_t i = 0; i < count; i++)
			open |= !points[i].fence->last && !points[i].fence->imported;
		pthread_mutex_unlock(&dev->submit_lock);
	}
	if (open) {
		int64_t soon = zw_deadline(100 * LOOK_NS);

		if (deadline_ns < soon)
			soon = deadline_ns;
		deadline_ns = soon;
	}
	return dev->ops->fence_wait(dev, points, count, any, deadline_ns, first);
}

static bool any_user(const struct zw_fence_point *points, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (zw_rt_user_fence(points[i].fence))
			return true;
	return false;
}

/* Points of one device. */
static int wait_some(const struct zw_fence_point *points, uint32_t count, bool any,
		     int64_t deadline_ns, uint32_t *first)
{
	uint32_t index = 0;
	int ret = 0;

	while (!any_user(points, count)) {
		ret = wait_transport(points, count, any, deadline_ns, first);
		if (ret != -ETIME || zw_deadline(0) >= deadline_ns)
			return ret;
	}
	ret = 0;
	if (count == 1)
		any = false;
	for (uint32_t i = 0; !any && i < count && !ret; i++) {
		if (zw_rt_user_fence(points[i].fence))
			ret = zw_rt_user_fence_wait(points[i].fence, points[i].point, deadline_ns);
		else
			ret = zw_fence_wait(points[i].fence, points[i].point, deadline_ns);
	}
	while (any && !ret) {
		const struct timespec pause = {.tv_nsec = LOOK_NS};

		ret = find_reached(points, count, &index);
		if (!ret && index < count)
			break;
		if (!ret && zw_deadline(0) >= deadline_ns)
			ret = -ETIME;
		else if (!ret)
			nanosleep(&pause, NULL);
	}
	if (first)
		*first = any ? index : 0;
	return ret;
}

ZW_API int zw_fence_wait(struct zw_fence *fence, uint64_t point, int64_t deadline_ns)
{
	struct zw_fence_point p = {fence, point};

	if (!point)
		return 0;
	return wait_some(&p, 1, false, deadline_ns, NULL);
}

ZW_API int zw_fence_query(struct zw_fence *fence, uint64_t *value)
{
	if (zw_rt_user_fence(fence)) {
		*value = zw_rt_user_fence_value(fence);
		return 0;
	}
	return fence->dev->ops->fence_query(fence, value);
}

ZW_API int zw_fence_signal(struct zw_fence *fence, uint64_t point)
{
	int ret = -EINVAL;

	pthread_mutex_lock(&fence->dev->submit_lock);
	if (point > fence->last) {
		ret = fence->user ? zw_rt_user_fence_signal(fence, point)
				  : fence->dev->ops->fence_signal(fence, point);
		if (!ret)
			fence->last = point;
	}
	pthread_mutex_unlock(&fence->dev->submit_lock);
	return ret;
}

/* -- several points --------------------------------------------------------------------------- */

/* poll() counts milliseconds: rounded up, so that a deadline is never missed by waking early. */
static int poll_until(struct pollfd *pfd, int64_t deadline_ns)
{
	int64_t left, ms;

	if (deadline_ns == ZW_FOREVER)
		return poll(pfd, 1, -1);
	left = deadline_ns - zw_deadline(0);
	ms = left <= 0 ? 0 : (left + 999999) / 1000000;
	return poll(pfd, 1, ms > 60000 ? 60000 : (int)ms);
}

/* Any of several, of several devices: all of them raise one eventfd. */
static int wait_any_mixed(const struct zw_fence_point *points, uint32_t count, int64_t deadline_ns,
			  uint32_t *first)
{
	struct pollfd pfd = {.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .events = POLLIN};
	int ret = pfd.fd < 0 ? -errno : 0;

	for (uint32_t i = 0; i < count && !ret; i++)
		ret = zw_fence_eventfd(points[i].fence, points[i].point, pfd.fd);
	while (!ret) {
		uint64_t n;

		ret = find_reached(points, count, first);
		if (ret || *first < count)
			break;
		if (deadline_ns != ZW_FOREVER && zw_deadline(0) >= deadline_ns)
			ret = -ETIME;
		else if (poll_until(&pfd, deadline_ns) < 0 && errno != EINTR)
			ret = -errno;
		else if (read(pfd.fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
			ret = -errno;
	}
	if (pfd.fd >= 0)
		close(pfd.fd);
	return ret;
}

ZW_API int zw_fence_wait_many(const struct zw_fence_point *points, uint32_t count, uint32_t flags,
			      int64_t deadline_ns, uint32_t *first)
{
	bool any = flags & ZW_FENCE_WAIT_ANY, mixed = false;
	uint32_t index = 0;
	int ret = 0;

	if (!points || !count || count > ZW_FENCE_WAIT_MAX || flags & ~(uint32_t)ZW_FENCE_WAIT_ANY)
		return -EINVAL;
	for (uint32_t i = 0; i < count; i++) {
		if (!points[i].fence)
			return -EINVAL;
		mixed |= points[i].fence->dev != points[0].fence->dev;
	}
	if (!mixed)
		ret = wait_some(points, count, any, deadline_ns, &index);
	else if (any)
		ret = wait_any_mixed(points, count, deadline_ns, &index);
	else
		for (uint32_t i = 0; i < count && !ret; i++)
			ret = zw_fence_wait(points[i].fence, points[i].point, deadline_ns);
	if (!ret && any && first)
		*first = index;
	return ret;
}

/* -- descriptors ------------------------------------------------------------------------------ */

ZW_API int zw_fence_eventfd(struct zw_fence *fence, uint64_t point, int fd)
{
	if (zw_rt_user_fence(fence))
		return -EOPNOTSUPP;
	return fence->dev->ops->fence_eventfd(fence, point, fd);
}

ZW_API int zw_fence_export(struct zw_fence *fence, int *fd)
{
	*fd = -1;
	if (!fence->dev->ops->fence_export || zw_rt_user_fence(fence))
		return -EOPNOTSUPP;
	return fence->dev->ops->fence_export(fence, fd);
}

ZW_API int zw_fence_import(struct zw_dev *dev, int fd, struct zw_fence **out)
{
	struct zw_fence *f;
	int ret;

	*out = NULL;
	if (!dev->ops->fence_import)
		return -EOPNOTSUPP;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->dev = dev;
	f->imported = true;
	ret = dev->ops->fence_import(f, fd);
	if (ret) {
		free(f);
		return ret;
	}
	atomic_fetch_add(&dev->children, 1);
	*out = f;
	return 0;
}

ZW_API int zw_fence_export_sync_file(struct zw_fence *fence, uint64_t point, int *fd)
{
	*fd = -1;
	if (!fence->dev->ops->fence_export_sync_file || zw_rt_user_fence(fence))
		return -EOPNOTSUPP;
	return fence->dev->ops->fence_export_sync_file(fence, point, fd);
}

ZW_API int zw_fence_import_sync_file(struct zw_fence *fence, uint64_t point, int fd)
{
	int ret = -EINVAL;

	if (!fence->dev->ops->fence_import_sync_file || zw_rt_user_fence(fence))
		return -EOPNOTSUPP;
	pthread_mutex_lock(&fence->dev->submit_lock);
	if (point > fence->last) {
		ret = fence->dev->ops->fence_import_sync_file(fence, point, fd);
		if (!ret)
			fence->last = point;
	}
	pthread_mutex_unlock(&fence->dev->submit_lock);
	return ret;
}

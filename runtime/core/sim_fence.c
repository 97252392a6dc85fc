// SPDX-License-Identifier: MIT
/*
 * Fences of the sim transport: timelines, what waits for them, and stand-ins for fences of other
 * devices. sim->lock covers all of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "sim.h"

void zw_sim_fence_put(struct sim_fence *f)
{
	if (--f->refs)
		return;
	free(f->points);
	free(f);
}

int zw_sim_points_reserve(struct sim_fence *f, size_t more)
{
	struct sim_fence_point *p;
	size_t want;

	if (f->first) {
		memmove(f->points, f->points + f->first, f->count * sizeof(*f->points));
		f->first = 0;
	}
	if (f->capacity - f->count >= more)
		return 0;
	want = f->capacity ? f->capacity * 2 : 16;
	while (want - f->count < more)
		want *= 2;
	p = realloc(f->points, want * sizeof(*p));
	if (!p)
		return -ENOMEM;
	f->points = p;
	f->capacity = want;
	return 0;
}

void zw_sim_points_add(struct sim_fence *f, uint64_t point)
{
	f->points[f->first + f->count++] = (struct sim_fence_point){.point = point};
}

/* A timeline has reached a point only when all points before it were reached, too. */
void zw_sim_points_done(struct sim_fence *f, uint64_t point)
{
	size_t lo = f->first, hi = f->first + f->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (f->points[mid].point < point)
			lo = mid + 1;
		else
			hi = mid;
	}
	f->points[lo].done = true;
	while (f->count && f->points[f->first].done) {
		f->value = f->points[f->first].point;
		f->first++;
		f->count--;
	}
}

/* -- of jobs and binds ------------------------------------------------------------------------ */

void zw_sim_syncs_set(struct sim_sync *to, const struct zw_sync *from, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		to[i].fence = from[i].fence->priv;
		to[i].point = from[i].point;
		to[i].signal = from[i].flags & ZW_SYNC_SIGNAL;
	}
}

int zw_sim_syncs_reserve(const struct sim_sync *syncs, uint32_t count, size_t more)
{
	int ret = 0;

	for (uint32_t i = 0; i < count && !ret; i++)
		if (syncs[i].signal)
			ret = zw_sim_points_reserve(syncs[i].fence, more);
	return ret;
}

void zw_sim_syncs_begin(const struct sim_sync *syncs, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		syncs[i].fence->refs++;
		if (syncs[i].signal)
			zw_sim_points_add(syncs[i].fence, syncs[i].point);
	}
}

bool zw_sim_syncs_ready(const struct sim_sync *syncs, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (!syncs[i].signal && syncs[i].fence->value < syncs[i].point)
			return false;
	return true;
}

void zw_sim_syncs_end(const struct sim_sync *syncs, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (syncs[i].signal)
			zw_sim_points_done(syncs[i].fence, syncs[i].point);
	for (uint32_t i = 0; i < count; i++)
		zw_sim_fence_put(syncs[i].fence);
}

/* -- timelines -------------------------------------------------------------------------------- */

int zw_sim_fence_create(struct zw_fence *fence)
{
	struct sim_fence *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->refs = 1;
	fence->priv = f;
	return 0;
}

void zw_sim_fence_destroy(struct zw_fence *fence)
{
	struct sim *sim = sim_of(fence->dev);

	pthread_mutex_lock(&sim->lock);
	zw_sim_fence_put(fence->priv);
	pthread_mutex_unlock(&sim->lock);
}

/* Whether the wait is over; *first: the lowest index that is reached. */
static bool reached(const struct zw_fence_point *points, uint32_t count, bool any, uint32_t *first)
{
	for (uint32_t i = 0; i < count; i++) {
		const struct sim_fence *f = points[i].fence->priv;

		if ((f->value >= points[i].point) == any) {
			*first = i;
			return any;
		}
	}
	return !any;
}

int zw_sim_fence_wait(struct zw_dev *dev, const struct zw_fence_point *points, uint32_t count,
		      bool any, int64_t deadline_ns, uint32_t *first)
{
	struct sim *sim = sim_of(dev);
	bool in_time = true, done;
	uint32_t index = 0;

	pthread_mutex_lock(&sim->lock);
	while (!(done = reached(points, count, any, &index)) && in_time && !atomic_load(&sim->lost))
		in_time = zw_sim_cond_wait(&sim->changed, &sim->lock, deadline_ns);
	pthread_mutex_unlock(&sim->lock);
	if (done && any && first)
		*first = index;
	if (done)
		return 0;
	return atomic_load(&sim->lost) ? -ENODEV : -ETIME;
}

int zw_sim_fence_query(struct zw_fence *fence, uint64_t *value)
{
	struct sim *sim = sim_of(fence->dev);

	pthread_mutex_lock(&sim->lock);
	*value = ((struct sim_fence *)fence->priv)->value;
	pthread_mutex_unlock(&sim->lock);
	return 0;
}

int zw_sim_fence_signal(struct zw_fence *fence, uint64_t point)
{
	struct sim *sim = sim_of(fence->dev);
	int ret;

	pthread_mutex_lock(&sim->lock);
	ret = zw_sim_points_reserve(fence->priv, 1);
	if (!ret) {
		zw_sim_points_add(fence->priv, point);
		zw_sim_points_done(fence->priv, point);
		zw_sim_push_all(sim);
	}
	pthread_mutex_unlock(&sim->lock);
	return ret;
}

/* -- eventfds --------------------------------------------------------------------------------- */

static void raise_eventfd(int fd)
{
	const uint64_t one = 1;

	/* A counter at its maximum is readable already; nothing else can fail. */
	if (write(fd, &one, sizeof(one)) < 0)
		return;
}

void zw_sim_events_fire(struct sim *sim)
{
	struct sim_event **link = &sim->events, *e;

	while ((e = *link)) {
		if (e->fence->value < e->point && !atomic_load(&sim->lost)) {
			link = &e->next;
			continue;
		}
		*link = e->next;
		raise_eventfd(e->fd);
		close(e->fd);
		zw_sim_fence_put(e->fence);
		free(e);
	}
}

void zw_sim_events_drop(struct sim *sim)
{
	for (struct sim_event *e = sim->events, *next; e; e = next) {
		next = e->next;
		close(e->fd);
		zw_sim_fence_put(e->fence);
		free(e);
	}
	sim->events = NULL;
}

static bool is_eventfd(int fd)
{
	char path[64], target[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return false;
	target[n] = '\0';
	return !strcmp(target, "anon_inode:[eventfd]");
}

int zw_sim_fence_eventfd(struct zw_fence *fence, uint64_t point, int fd)
{
	struct sim *sim = sim_of(fence->dev);
	struct sim_event *e;

	if (fcntl(fd, F_GETFD) < 0)
		return -EBADF;
	if (!is_eventfd(fd))
		return -EINVAL;
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (e->fd < 0) {
		int ret = -errno;

		free(e);
		return ret;
	}
	pthread_mutex_lock(&sim->lock);
	e->fence = fence->priv;
	e->fence->refs++;
	e->point = point;
	e->next = sim->events;
	sim->events = e;
	zw_sim_events_fire(sim);
	pthread_mutex_unlock(&sim->lock);
	return 0;
}

/* -- fences of other devices ------------------------------------------------------------------- */

/*
 * A stand-in is a timeline of this device whose point 1 is raised by the bridge thread when an
 * eventfd says that the other device's fence got there.
 */
struct stand_in {
	struct stand_in *next;
	struct sim_fence *fence;
	int fd;
};

/* Only the bridge thread takes stand-ins off the list; it sleeps in epoll, without a lock. */
static void *bridge_main(void *opaque)
{
	struct sim *sim = opaque;
	struct epoll_event ev;

	while (epoll_wait(sim->bridge_epoll, &ev, 1, -1) >= 0 || errno == EINTR) {
		struct stand_in *s = ev.data.ptr, **link;

		if (!s)
			break; /* told to stop */
		pthread_mutex_lock(&sim->lock);
		for (link = &sim->stand_ins; *link != s; link = &(*link)->next)
			;
		*link = s->next;
		zw_sim_points_done(s->fence, 1);
		zw_sim_fence_put(s->fence);
		zw_sim_push_all(sim);
		pthread_mutex_unlock(&sim->lock);
		/* Not by close() alone: who raised it may still have a duplicate open. */
		epoll_ctl(sim->bridge_epoll, EPOLL_CTL_DEL, s->fd, NULL);
		close(s->fd);
		free(s);
	}
	return NULL;
}

static int watch(struct sim *sim, int fd, void *what)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = what};

	return epoll_ctl(sim->bridge_epoll, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

/* sim->lock held. The thread is there from the first foreign fence to the end of the device. */
static int bridge_start(struct sim *sim)
{
	int ret;

	if (sim->bridge_running)
		return 0;
	sim->bridge_epoll = epoll_create1(EPOLL_CLOEXEC);
	sim->bridge_stop = eventfd(0, EFD_CLOEXEC);
	ret = sim->bridge_epoll < 0 || sim->bridge_stop < 0 ? -errno : 0;
	if (!ret)
		ret = watch(sim, sim->bridge_stop, NULL);
	if (!ret)
		ret = -pthread_create(&sim->bridge_thread, NULL, bridge_main, sim);
	sim->bridge_running = !ret;
	if (ret) {
		if (sim->bridge_epoll >= 0)
			close(sim->bridge_epoll);
		if (sim->bridge_stop >= 0)
			close(sim->bridge_stop);
	}
	return ret;
}

void zw_sim_bridge_stop(struct sim *sim)
{
	if (!sim->bridge_running)
		return;
	raise_eventfd(sim->bridge_stop);
	pthread_join(sim->bridge_thread, NULL);
	close(sim->bridge_stop);
	close(sim->bridge_epoll);
	for (struct stand_in *s = sim->stand_ins, *next; s; s = next) {
		next = s->next;
		close(s->fd);
		zw_sim_fence_put(s->fence);
		free(s);
	}
	sim->stand_ins = NULL;
	sim->bridge_running = false;
}

int zw_sim_fence_foreign(struct zw_dev *dev, const struct zw_fence_point *theirs,
			 struct zw_fence_point *own)
{
	struct sim *sim = sim_of(dev);
	struct stand_in *s = calloc(1, sizeof(*s));
	int fd = -1, ret;

	if (!s)
		return -ENOMEM;
	s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	/* Ours stays open, whenever the bridge closes its own. */
	if (s->fd >= 0)
		fd = fcntl(s->fd, F_DUPFD_CLOEXEC, 0);
	ret = fd < 0 ? -errno : zw_fence_create(dev, &own->fence);
	if (ret)
		goto free_stand_in;
	own->point = 1;
	pthread_mutex_lock(&sim->lock);
	ret = bridge_start(sim);
	if (!ret)
		ret = zw_sim_points_reserve(own->fence->priv, 1);
	if (!ret) {
		s->fence = own->fence->priv;
		s->fence->refs++;
		zw_sim_points_add(s->fence, 1);
		own->fence->last = 1;
		s->next = sim->stand_ins;
		sim->stand_ins = s;
		ret = watch(sim, s->fd, s);
		if (ret) {
			sim->stand_ins = s->next;
			zw_sim_fence_put(s->fence);
		}
	}
	pthread_mutex_unlock(&sim->lock);
	if (!ret) {
		/* The bridge owns it, which may be done already: a lost device raises it, too. */
		ret = zw_fence_eventfd(theirs->fence, theirs->point, fd);
		if (ret) {
			raise_eventfd(fd); /* nobody else will */
			zw_fence_destroy(own->fence);
		}
		close(fd);
		return ret;
	}
	zw_fence_destroy(own->fence);
free_stand_in:
	if (fd >= 0)
		close(fd);
	if (s->fd >= 0)
		close(s->fd);
	free(s);
	return ret;
}

// SPDX-License-Identifier: MIT
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "syncs.h"
#include "userq.h"

int zw_rt_syncs_check(const struct zw_dev *dev, const struct sync_list *list)
{
	if (list->count && !list->syncs)
		return -EINVAL;
	for (uint32_t i = 0; i < list->count; i++) {
		const struct zw_sync *s = &list->syncs[i];

		if (!s->fence || s->reserved || s->flags & ~(uint32_t)ZW_SYNC_SIGNAL || !s->point)
			return -EINVAL;
		if (s->fence->dev != dev && (s->flags & ZW_SYNC_SIGNAL))
			return -EINVAL;
	}
	return 0;
}

/* -- fences of other devices ------------------------------------------------------------------ */

void zw_rt_stand_ins_end(struct stand_ins *s)
{
	for (uint32_t i = 0; i < s->num_fences; i++)
		zw_fence_destroy(s->fences[i]);
	free(s->fences);
	free(s->syncs);
}

static int stand_in(struct zw_dev *dev, struct zw_sync *sync, struct stand_ins *s)
{
	struct zw_fence_point theirs = {sync->fence, sync->point}, own = {0};
	struct zw_dev *other = sync->fence->dev;
	bool known;
	int ret;

	pthread_mutex_lock(&other->submit_lock);
	known = sync->fence->imported || sync->point <= sync->fence->last;
	pthread_mutex_unlock(&other->submit_lock);
	if (!known)
		return -EINVAL;
	ret = dev->ops->fence_foreign(dev, &theirs, &own);
	if (ret)
		return ret;
	s->fences[s->num_fences++] = own.fence;
	sync->fence = own.fence;
	sync->point = own.point;
	return 0;
}

int zw_rt_stand_ins_begin(struct zw_dev *dev, struct sync_list *lists, uint32_t count,
			  struct stand_ins *s)
{
	uint32_t total = 0, foreign = 0, n = 0;
	int ret = 0;

	for (uint32_t i = 0; i < count; i++) {
		total += lists[i].count;
		for (uint32_t j = 0; j < lists[i].count; j++)
			foreign += lists[i].syncs[j].fence->dev != dev;
	}
	if (!foreign)
		return 0;
	s->syncs = calloc(total, sizeof(*s->syncs));
	s->fences = calloc(foreign, sizeof(*s->fences));
	if (!s->syncs || !s->fences)
		return -ENOMEM;
	for (uint32_t i = 0; i < count && !ret; i++) {
		struct zw_sync *copy = &s->syncs[n];

		if (lists[i].count)
			memcpy(copy, lists[i].syncs, lists[i].count * sizeof(*copy));
		n += lists[i].count;
		for (uint32_t j = 0; j < lists[i].count && !ret; j++)
			if (copy[j].fence->dev != dev)
				ret = stand_in(dev, &copy[j], s);
		lists[i].syncs = copy;
	}
	return ret;
}

/* -- points ----------------------------------------------------------------------------------- */

int zw_rt_syncs_known(const struct sync_list *lists, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		for (uint32_t j = 0; j < lists[i].count; j++) {
			const struct zw_sync *s = &lists[i].syncs[j];

			if (zw_rt_user_fence(s->fence))
				return s->flags & ZW_SYNC_SIGNAL ? -EINVAL : -EOPNOTSUPP;
		}
	}
	return 0;
}

static int check_waits(const struct sync_list *list)
{
	for (uint32_t i = 0; i < list->count; i++) {
		const struct zw_sync *s = &list->syncs[i];

		if (!(s->flags & ZW_SYNC_SIGNAL) && !s->fence->imported &&
		    s->point > s->fence->last)
			return -EINVAL;
	}
	return 0;
}

/* Points must grow: a timeline that goes back has no meaning a waiter could rely on. */
static int give_out(const struct sync_list *list)
{
	for (uint32_t i = 0; i < list->count; i++) {
		const struct zw_sync *s = &list->syncs[i];

		if (!(s->flags & ZW_SYNC_SIGNAL))
			continue;
		if (s->point <= s->fence->last)
			return -EINVAL;
		s->fence->last = s->point;
	}
	return 0;
}

static int save(struct points *p, const struct sync_list *lists, uint32_t count)
{
	uint32_t total = 0, n = 0;

	p->saved = p->few;
	for (uint32_t i = 0; i < count; i++)
		total += lists[i].count;
	if (total > sizeof(p->few) / sizeof(p->few[0])) {
		p->saved = calloc(total, sizeof(*p->saved));
		if (!p->saved)
			return -ENOMEM;
	}
	for (uint32_t i = 0; i < count; i++)
		for (uint32_t j = 0; j < lists[i].count; j++)
			p->saved[n++] = lists[i].syncs[j].fence->last;
	return 0;
}

/* Checking and giving out in one pass also finds two signals of one point in one call. */
int zw_rt_points_take(struct points *p, const struct sync_list *lists, uint32_t count, bool within)
{
	int ret = save(p, lists, count);

	if (ret)
		return ret;
	for (uint32_t i = 0; i < count && !ret && !within; i++)
		ret = check_waits(&lists[i]);
	for (uint32_t i = 0; i < count && !ret; i++) {
		if (within)
			ret = check_waits(&lists[i]);
		if (!ret)
			ret = give_out(&lists[i]);
	}
	if (ret)
		zw_rt_points_undo(p, lists, count);
	return ret;
}

void zw_rt_points_undo(struct points *p, const struct sync_list *lists, uint32_t count)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < count; i++)
		for (uint32_t j = 0; j < lists[i].count; j++)
			lists[i].syncs[j].fence->last = p->saved[n++];
}

void zw_rt_points_done(struct points *p)
{
	if (p->saved != p->few)
		free(p->saved);
}

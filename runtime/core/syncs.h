/* SPDX-License-Identifier: MIT */
/*
 * Sync operations of calls that jobs or binds are given with: their form, points given out in order,
 * fences of other devices.
 */
#ifndef ZW_RT_SYNCS_H
#define ZW_RT_SYNCS_H

#include "transport.h"

/* Those of one job or bind. */
struct sync_list {
	const struct zw_sync *syncs;
	uint32_t count;
};

/* Whether the form is right: 0 or -EINVAL. */
int zw_rt_syncs_check(const struct zw_dev *dev, const struct sync_list *list);

/*
 * Fences of this device in place of those of others, from zw_rt_stand_ins_begin(), which changes the
 * lists to copies in which no foreign fence is left, to zw_rt_stand_ins_end() after the transport took
 * them, or begin failed.
 */
struct stand_ins {
	struct zw_sync *syncs; /* copies of all lists' syncs; NULL: there are no foreign ones */
	struct zw_fence **fences;
	uint32_t num_fences;
};

int zw_rt_stand_ins_begin(struct zw_dev *dev, struct sync_list *lists, uint32_t count,
			  struct stand_ins *s);
void zw_rt_stand_ins_end(struct stand_ins *s);

/*
 * Points of user-mode queues are not known to the transport: -EINVAL to signal on such a timeline,
 * -EOPNOTSUPP to wait for one. dev->submit_lock held.
 */
int zw_rt_syncs_known(const struct sync_list *lists, uint32_t count);

/* What points were given out before. */
struct points {
	uint64_t few[16], *saved;
};

/*
 * Checks points, and gives out those that are signalled: 0, -EINVAL, -ENOMEM. When what comes then
 * fails, zw_rt_points_undo() takes them back; until there dev->submit_lock is held. In any case
 * zw_rt_points_done() frees what is remembered for that. Waits may be for what lists before theirs
 * signal when `within` is set, else only for what was submitted before the call.
 */
int zw_rt_points_take(struct points *p, const struct sync_list *lists, uint32_t count, bool within);
void zw_rt_points_undo(struct points *p, const struct sync_list *lists, uint32_t count);
void zw_rt_points_done(struct points *p);

#endif

// SPDX-License-Identifier: MIT
/* Syncobjs: IGT's syncobj_wait and syncobj_timeline. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <strings.h>
#include <sys/time.h>
#include <unistd.h>

#include "zw_syncobj.h"

/* -- syncobj_wait and syncobj_timeline: arguments ---------------------------------------------- */

static void invalid_wait_bad_flags(struct subtest *t)
{
	struct drm_syncobj_timeline_wait tw = {.flags = BAD};
	struct drm_syncobj_wait w = {.flags = BAD};

	EQ(-EINVAL, is_timeline(t) ? zw_ioctl(t->c.fd, DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT, &tw)
				   : zw_ioctl(t->c.fd, DRM_IOCTL_SYNCOBJ_WAIT, &w));
}

static void wait_zero_handles(struct subtest *t)
{
	uint64_t point = 0;

	EQ(0, wait_for(t, NULL, is_timeline(t) ? &point : NULL, 0, 0, 0, NULL));
}

static void invalid_wait_illegal_handle(struct subtest *t)
{
	EQ(-ENOENT, wait_one(t, 0, is_timeline(t), 0, 0));
}

/* An array of handles for an ioctl that changes or reads them all. */
static int array_ioctl(struct subtest *t, unsigned long request, uint32_t *handles,
		       uint64_t *points, uint32_t n, uint32_t flags)
{
	/* They differ in that one has no points; flags is its pad. */
	struct drm_syncobj_timeline_array ta = {
		.handles = (uintptr_t)handles,
		.points = (uintptr_t)points,
		.count_handles = n,
		.flags = flags,
	};
	struct drm_syncobj_array a = {
		.handles = (uintptr_t)handles,
		.count_handles = n,
		.pad = flags,
	};

	return points ? zw_ioctl(t->c.fd, request, &ta) : zw_ioctl(t->c.fd, request, &a);
}

struct array_call {
	unsigned long request;
	bool points;
};

static struct array_call array_call(const struct subtest *t)
{
	if (strstr(t->group->name, "reset"))
		return (struct array_call){DRM_IOCTL_SYNCOBJ_RESET, false};
	if (strstr(t->group->name, "query"))
		return (struct array_call){DRM_IOCTL_SYNCOBJ_QUERY, true};
	if (is_timeline(t))
		return (struct array_call){DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL, true};
	return (struct array_call){DRM_IOCTL_SYNCOBJ_SIGNAL, false};
}

static void invalid_array_zero_handles(struct subtest *t)
{
	struct array_call call = array_call(t);
	uint64_t point = 1;

	EQ(-EINVAL, array_ioctl(t, call.request, NULL, call.points ? &point : NULL, 0, 0));
}

static void invalid_array_illegal_handle(struct subtest *t)
{
	struct array_call call = array_call(t);
	uint32_t handle = 0;
	uint64_t point = 1;

	EQ(-ENOENT, array_ioctl(t, call.request, &handle, call.points ? &point : NULL, 1, 0));
}

static void invalid_array_bad_pad(struct subtest *t)
{
	struct array_call call = array_call(t);
	uint32_t handle = create(t, 0);
	uint64_t point = 1;

	EQ(-EINVAL, array_ioctl(t, call.request, &handle, call.points ? &point : NULL, 1, BAD));
}

/* Then nothing is done to the others either. */
static void invalid_array_one_illegal_handle(struct subtest *t)
{
	struct array_call call = array_call(t);
	uint32_t h[3] = {create(t, 0), 0, create(t, 0)};
	uint64_t points[3] = {2, 2, 2};
	bool signals = strstr(t->group->name, "signal");

	for (int i = 0; !signals && i < 3; i += 2)
		EQ(0, signal_point(t, h[i], 1));
	EQ(-ENOENT, array_ioctl(t, call.request, h, call.points ? points : NULL, 3, 0));
	for (int i = 0; i < 3; i += 2)
		EQ(signals ? -EINVAL : 0, wait_one(t, h[i], 1, 0, 0));
}

static void invalid_signal_illegal_point(struct subtest *t)
{
	uint32_t handle = BAD;
	uint64_t point = 0;

	EQ(-ENOENT, array_ioctl(t, DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL, &handle, &point, 1, 0));
}

/* -- syncobj_wait and syncobj_timeline: waits -------------------------------------------------- */

static void wait_three_times(struct subtest *t, uint32_t *handles, uint64_t *points, uint32_t n)
{
	EQ(t->expect, wait_for(t, handles, points, n, 0, t->flags, NULL));
	EQ(t->expect, wait_for(t, handles, points, n, zw_deadline(SHORT_NS), t->flags, NULL));
	if (t->expect != -ETIME)
		EQ(t->expect, wait_for(t, handles, points, n, INT64_MAX, t->flags, NULL));
}

static void single_wait(struct subtest *t)
{
	uint32_t handle = create(t, 0);
	uint64_t point = is_timeline(t);
	int n;

	if (t->flags & (SUBMITTED | SIGNALED)) {
		n = attach(t, handle, point);
		TRUE(n >= 0);
		if (t->flags & SIGNALED)
			EQ(0, release(t, n));
	}
	wait_three_times(t, &handle, point ? &point : NULL, 1);
}

/* The states that the name has, the last of them as often as there are handles left. */
static void multi_wait(struct subtest *t)
{
	uint64_t points[5] = {77, 0, 1, 123456789, 0};
	unsigned int left = t->flags & (UNSUBMITTED | SUBMITTED | SIGNALED);
	bool timeline = is_timeline(t);
	int count = timeline ? 5 : 3, n;
	uint32_t h[5];

	for (int i = 0; i < count; i++) {
		unsigned int is = 1u << (ffs((int)left) - 1);

		if (left != is)
			left &= ~is;
		h[i] = create(t, 0);
		if (is == UNSUBMITTED)
			continue;
		n = attach(t, h[i], timeline ? points[i] : 0);
		TRUE(n >= 0);
		if (is == SIGNALED)
			EQ(0, release(t, n));
	}
	wait_three_times(t, h, timeline ? points : NULL, (uint32_t)count);
}

static void wait_delayed(struct subtest *t)
{
	uint32_t handle = create(t, 0);
	uint64_t point = is_timeline(t);
	int n = -1;

	if (!(t->flags & FOR_SUBMIT)) {
		n = attach(t, handle, point);
		TRUE(n >= 0);
	}
	EQ(0, waiter_start(t, &handle, 1));
	usleep(SHORT_NS / 1000);
	EQ(0, n < 0 ? trigger(t, handle, point) : release(t, n));
	EQ(0, waiter_end(t));
}

static void reset_unsignaled(struct subtest *t)
{
	uint32_t handle = create(t, 0);

	EQ(-EINVAL, wait_one(t, handle, is_timeline(t), 0, 0));
	EQ(0, reset(t, handle));
	EQ(-EINVAL, wait_one(t, handle, is_timeline(t), 0, 0));
}

static void reset_signaled(struct subtest *t)
{
	uint32_t handle = create(t, 0);

	EQ(0, trigger(t, handle, is_timeline(t)));
	EQ(0, wait_one(t, handle, is_timeline(t), 0, 0));
	EQ(0, reset(t, handle));
	EQ(-EINVAL, wait_one(t, handle, is_timeline(t), 0, 0));
}

static void reset_multiple_signaled(struct subtest *t)
{
	uint64_t points[3] = {1, 1, 1};
	uint32_t h[3];

	for (int i = 0; i < 3; i++) {
		h[i] = create(t, 0);
		EQ(0, trigger(t, h[i], is_timeline(t)));
	}
	EQ(0, wait_for(t, h, is_timeline(t) ? points : NULL, 3, 0, 0, NULL));
	EQ(0, drmSyncobjReset(t->c.fd, h, 3));
	for (int i = 0; i < 3; i++)
		EQ(-EINVAL, wait_one(t, h[i], is_timeline(t), 0, 0));
}

/* Who waits for a fence to come does not mind. */
static void reset_during_wait_for_submit(struct subtest *t)
{
	uint32_t handle = create(t, 0);
	uint64_t point = is_timeline(t);

	EQ(0, waiter_start(t, &handle, 1));
	EQ(0, reset(t, handle));
	usleep(SHORT_NS / 1000);
	EQ(0, trigger(t, handle, point));
	EQ(0, waiter_end(t));
}

static void host_signal(struct subtest *t)
{
	uint32_t handle = create(t, 0);
	uint64_t point = is_timeline(t);

	EQ(-EINVAL, wait_one(t, handle, point, 0, 0));
	EQ(-ETIME, wait_one(t, handle, point, 0, FOR_SUBMIT));
	EQ(0, point ? signal_point(t, handle, point) : -drmSyncobjSignal(t->c.fd, &handle, 1));
	EQ(0, wait_one(t, handle, point, 0, 0));
	EQ(0, wait_one(t, handle, point, 0, FOR_SUBMIT));
}

/* What a wait found is what it waits for, whatever is put in its place meanwhile. */
static void wait_snapshot(struct subtest *t)
{
	uint32_t h[2] = {create(t, 0), create(t, 0)};
	uint64_t point = is_timeline(t);
	int n[2] = {-1, -1};

	for (int i = 0; !(t->flags & FOR_SUBMIT) && i < 2; i++) {
		n[i] = attach(t, h[i], point);
		TRUE(n[i] >= 0);
	}
	EQ(0, waiter_start(t, h, 2));
	if (t->flags & ALL)
		EQ(0, n[0] < 0 ? trigger(t, h[0], point) : release(t, n[0]));
	else if (t->flags & FOR_SUBMIT)
		TRUE(attach(t, h[0], point) >= 0);
	EQ(0, reset(t, h[0]));
	TRUE(attach(t, h[0], point) >= 0);
	usleep(SHORT_NS / 1000);
	EQ(0, n[1] < 0 ? trigger(t, h[1], point) : release(t, n[1]));
	EQ(0, waiter_end(t));
	if (!(t->flags & ALL))
		EQ(1, t->waiter.first);
}

/* Eight, each of them on its way from no fence to one that comes too late, in any order. */
static void wait_complex(struct subtest *t)
{
	static const unsigned char order[] = {2, 0, 6, 1, 1, 4, 5, 2, 0, 7, 1, 7, 6, 3, 4, 5,
					      0, 2, 7, 3, 5, 4, 0, 6, 7, 3, 2, 5, 6, 1, 4, 3};
	uint64_t point = is_timeline(t);
	int n[8], stage[8] = {0};
	unsigned int signaled = 0, first = 0;
	uint32_t h[8];

	for (int i = 0; i < 8; i++) {
		h[i] = create(t, 0);
		n[i] = -1;
		if (!(t->flags & FOR_SUBMIT)) {
			n[i] = attach(t, h[i], point);
			TRUE(n[i] >= 0);
		}
	}
	EQ(0, waiter_start(t, h, 8));
	for (unsigned int j = 0; j < sizeof(order) && signaled < (t->flags & ALL ? 8 : 1); j++) {
		unsigned int i = order[j];

		switch (stage[i]++) {
		case 0:
			if (n[i] < 0)
				n[i] = attach(t, h[i], point);
			TRUE(n[i] >= 0);
			break;
		case 1:
			EQ(0, release(t, n[i]));
			if (!signaled++)
				first = i;
			break;
		case 2:
			EQ(0, reset(t, h[i]));
			break;
		case 3:
			TRUE(attach(t, h[i], point) >= 0);
			break;
		}
	}
	EQ(0, waiter_end(t));
	EQ(t->flags & ALL ? 8 : 1, signaled);
	if (!(t->flags & ALL))
		EQ(first, t->waiter.first);
}

static void on_alarm(int sig)
{
}

/* Signals all the time: the call is repeated, and ends when it would have. */
static void wait_interrupted(struct subtest *t)
{
	const struct sigaction act = {.sa_handler = on_alarm};
	struct itimerval often = {.it_value.tv_usec = 5000, .it_interval.tv_usec = 5000}, off = {};
	uint32_t handle = create(t, 0);
	uint64_t point = is_timeline(t);
	int64_t end;
	int ret;

	TRUE(attach(t, handle, point) >= 0);
	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	end = zw_deadline(SHORT_NS);
	ret = wait_one(t, handle, point, end, t->flags);
	setitimer(ITIMER_REAL, &off, NULL);
	EQ(-ETIME, ret);
	/* Kernels round to ticks. */
	TRUE(zw_deadline(20000000) >= end);
}

/* -- syncobj_timeline alone -------------------------------------------------------------------- */

static void signal_array(struct subtest *t)
{
	uint32_t h[4] = {create(t, 0), create(t, 0), create(t, 0), create(t, 0)};
	uint64_t points[4] = {1, 1, 1, 0};

	EQ(0, drmSyncobjTimelineSignal(t->c.fd, h, points, 4));
	EQ(0, wait_for(t, h, points, 3, 0, 0, NULL));
	EQ(0, wait_one(t, h[3], 0, 0, 0));
}

static void signal_point_0(struct subtest *t)
{
	uint32_t handle = create(t, 0);
	uint64_t point = 0;

	EQ(0, signal_point(t, handle, 0));
	EQ(0, wait_for(t, &handle, &point, 1, 0, 0, NULL));
	EQ(0, wait_one(t, handle, 0, 0, FOR_SUBMIT));
}

static int transfer(struct subtest *t, uint32_t dst, uint64_t dst_point, uint32_t src,
		    uint64_t src_point)
{
	return drmSyncobjTransfer(t->c.fd, dst, dst_point, src, src_point, 0) ? -errno : 0;
}

static void invalid_transfer_illegal_handle(struct subtest *t)
{
	uint32_t good = create(t, DRM_SYNCOBJ_CREATE_SIGNALED);

	EQ(-ENOENT, transfer(t, good, 0, BAD, 1));
	EQ(-ENOENT, transfer(t, BAD, 0, good, 1));
}

static void invalid_transfer_bad_pad(struct subtest *t)
{
	uint32_t good = create(t, DRM_SYNCOBJ_CREATE_SIGNALED);
	struct drm_syncobj_transfer tr = {.src_handle = good, .dst_handle = good, .pad = BAD};

	EQ(-EINVAL, zw_ioctl(t->c.fd, DRM_IOCTL_SYNCOBJ_TRANSFER, &tr));
}

/* The point to be: only the last of them is looked at, and all behind it is free. */
static void invalid_transfer_non_existent_point(struct subtest *t)
{
	uint32_t handle = create(t, 0);

	EQ(-EINVAL, transfer(t, handle, 11, handle, 1));
	EQ(0, signal_point(t, handle, 63));
	EQ(0, transfer(t, handle, 63 + 11, handle, 63));
	EQ(63 + 11, query(t, handle));
}

static void transfer_timeline_point(struct subtest *t)
{
	uint32_t handle = create(t, 0);
	int n = attach(t, handle, 1);

	TRUE(n >= 0);
	EQ(0, query(t, handle));
	EQ(-ETIME, wait_one(t, handle, 1, 0, ALL));
	EQ(0, release(t, n));
	EQ(1, query(t, handle));
	EQ(0, wait_one(t, handle, 1, 0, ALL));
	EQ(0, signal_point(t, handle, 2));
	EQ(0, transfer(t, handle, 3, handle, 2));
	EQ(3, query(t, handle));
}

static void host_signal_points(struct subtest *t)
{
	uint32_t handle = create(t, 0);
	uint64_t point = 0;

	for (uint64_t i = 0; i < 100; i++) {
		point += 2 + i * 7919;
		EQ(0, signal_point(t, handle, point));
		EQ(point, query(t, handle));
		EQ(0, wait_one(t, handle, point, 0, FOR_SUBMIT));
		EQ(0, wait_one(t, handle, point - 1, 0, ALL));
	}
}

/* Points of 1 to 5 that signal in another order. The timeline is where all before it are. */
static void device_signal_unordered(struct subtest *t)
{
	static const int order[] = {0, 2, 1, 4, 3}, reached[] = {1, 1, 3, 3, 5};
	uint32_t handle = create(t, 0);
	int n[5];

	for (int i = 0; i < 5; i++) {
		n[i] = attach(t, handle, (uint64_t)i + 1);
		TRUE(n[i] >= 0);
	}
	for (int i = 0; i < 5; i++) {
		uint64_t at;

		EQ(0, release(t, n[order[i]]));
		at = query(t, handle);
		EQ(reached[i], at);
		EQ(0, wait_one(t, handle, at, 0, FOR_SUBMIT));
		EQ(0, wait_one(t, handle, at, 0, ALL));
	}
}

/* One that comes with a smaller point than the last does not lead it back. */
static void device_submit_unordered(struct subtest *t)
{
	static const uint64_t points[] = {1, 5, 3, 6, 7};
	uint32_t handle = create(t, 0);
	int n[5];

	for (int i = 0; i < 5; i++) {
		n[i] = attach(t, handle, points[i]);
		TRUE(n[i] >= 0);
	}
	for (int i = 0; i < 3; i++)
		EQ(0, release(t, n[i]));
	EQ(5, query(t, handle));
	EQ(0, wait_one(t, handle, 5, 0, FOR_SUBMIT));
	EQ(0, wait_one(t, handle, 5, 0, ALL));
}

static void host_signal_ordered(struct subtest *t)
{
	uint32_t handle = create(t, 0);
	int n[5];

	for (int i = 0; i < 5; i++) {
		n[i] = attach(t, handle, (uint64_t)i + 1);
		TRUE(n[i] >= 0);
	}
	for (int i = 0; i < 3; i++)
		EQ(0, release(t, n[i]));
	EQ(3, query(t, handle));
	EQ(0, signal_point(t, handle, 8));
	EQ(3, query(t, handle));
	for (int i = 3; i < 5; i++)
		EQ(0, release(t, n[i]));
	EQ(8, query(t, handle));
}

/* Around the point where the difference of two points is no int32_t any more. */
static void limit_of_32bits(struct subtest *t)
{
	const uint64_t diff = (1ull << 31) - 1;
	const uint64_t points[] = {1, 5, diff + 5, diff + 6, diff * 2};
	uint32_t handle = create(t, 0);
	int n[5];

	for (int i = 0; i < 5; i++) {
		n[i] = attach(t, handle, points[i]);
		TRUE(n[i] >= 0);
	}
	for (int i = 0; i < 5; i++) {
		EQ(i ? points[i - 1] : 0, query(t, handle));
		EQ(0, release(t, n[i]));
		EQ(points[i], query(t, handle));
	}
}

/* What the wait of single-wait and multi-wait is to return, or 1: there is no such subtest. */
static int expected(const struct group *g, unsigned int flags)
{
	unsigned int is = flags & (UNSUBMITTED | SUBMITTED | SIGNALED);
	bool single = g->run == single_wait;

	if (!is || (single && is & (is - 1)))
		return 1;
	if (flags & AVAILABLE && strcmp(g->program, "syncobj_timeline"))
		return 1;
	if (is & UNSUBMITTED && !(flags & (FOR_SUBMIT | AVAILABLE)))
		return -EINVAL;
	/* Of those that there are, which are reached: with AVAILABLE it is enough to be there. */
	is &= ~(flags & AVAILABLE ? SIGNALED | SUBMITTED : SIGNALED);
	if (single || flags & ALL)
		return is ? -ETIME : 0;
	return is == (flags & (UNSUBMITTED | SUBMITTED | SIGNALED)) ? -ETIME : 0;
}

/* clang-format off */
#define WAIT(name, run, flags)   {"syncobj_wait", name, run, flags, NULL}
#define POINTS(name, run, flags) {"syncobj_timeline", name, run, flags, NULL}
/* In both, under the same name. */
#define BOTH(name, run, flags)   WAIT(name, run, flags), POINTS(name, run, flags)
#define WAITS(name, run)         {"syncobj_wait", name, run, 0, expected}, {"syncobj_timeline", name, run, 0, expected}
/* clang-format on */

static const struct group groups[] = {
	BOTH("invalid-wait-bad-flags", invalid_wait_bad_flags, 0),
	BOTH("wait-zero-handles", wait_zero_handles, 0),
	BOTH("invalid-wait-illegal-handle", invalid_wait_illegal_handle, 0),
	WAIT("invalid-reset-zero-handles", invalid_array_zero_handles, 0),
	WAIT("invalid-reset-illegal-handle", invalid_array_illegal_handle, 0),
	WAIT("invalid-reset-one-illegal-handle", invalid_array_one_illegal_handle, 0),
	WAIT("invalid-reset-bad-pad", invalid_array_bad_pad, 0),
	POINTS("invalid-query-zero-handles", invalid_array_zero_handles, 0),
	POINTS("invalid-query-illegal-handle", invalid_array_illegal_handle, 0),
	POINTS("invalid-query-one-illegal-handle", invalid_array_one_illegal_handle, 0),
	POINTS("invalid-query-bad-pad", invalid_array_bad_pad, 0),
	BOTH("invalid-signal-zero-handles", invalid_array_zero_handles, 0),
	BOTH("invalid-signal-illegal-handle", invalid_array_illegal_handle, 0),
	BOTH("invalid-signal-one-illegal-handle", invalid_array_one_illegal_handle, 0),
	BOTH("invalid-signal-bad-pad", invalid_array_bad_pad, 0),
	POINTS("invalid-signal-illegal-point", invalid_signal_illegal_point, 0),
	POINTS("signal-array", signal_array, 0),
	POINTS("invalid-transfer-illegal-handle", invalid_transfer_illegal_handle, 0),
	POINTS("invalid-transfer-bad-pad", invalid_transfer_bad_pad, 0),
	POINTS("invalid-transfer-non-existent-point", invalid_transfer_non_existent_point, 0),
	POINTS("transfer-timeline-point", transfer_timeline_point, 0),
	WAITS("single-wait", single_wait),
	BOTH("wait-delayed-signal", wait_delayed, 0),
	BOTH("wait-for-submit-delayed-submit", wait_delayed, FOR_SUBMIT),
	BOTH("wait-all-delayed-signal", wait_delayed, ALL),
	BOTH("wait-all-for-submit-delayed-submit", wait_delayed, ALL | FOR_SUBMIT),
	BOTH("reset-unsignaled", reset_unsignaled, 0),
	BOTH("reset-signaled", reset_signaled, 0),
	BOTH("reset-multiple-signaled", reset_multiple_signaled, 0),
	BOTH("reset-during-wait-for-submit", reset_during_wait_for_submit, FOR_SUBMIT),
	BOTH("signal", host_signal, 0),
	POINTS("signal-point-0", signal_point_0, 0),
	WAITS("multi-wait", multi_wait),
	BOTH("wait-any-snapshot", wait_snapshot, 0),
	BOTH("wait-all-snapshot", wait_snapshot, ALL),
	BOTH("wait-for-submit-snapshot", wait_snapshot, FOR_SUBMIT),
	BOTH("wait-all-for-submit-snapshot", wait_snapshot, ALL | FOR_SUBMIT),
	BOTH("wait-any-complex", wait_complex, 0),
	BOTH("wait-all-complex", wait_complex, ALL),
	BOTH("wait-for-submit-complex", wait_complex, FOR_SUBMIT),
	BOTH("wait-all-for-submit-complex", wait_complex, ALL | FOR_SUBMIT),
	BOTH("wait-any-interrupted", wait_interrupted, 0),
	BOTH("wait-all-interrupted", wait_interrupted, ALL),
	POINTS("host-signal-points", host_signal_points, 0),
	POINTS("device-signal-unordered", device_signal_unordered, 0),
	POINTS("device-submit-unordered", device_submit_unordered, 0),
	POINTS("host-signal-ordered", host_signal_ordered, 0),
	POINTS("32bits-limit", limit_of_32bits, 0),
};

int main(int argc, char **argv)
{
	return zw_syncobj_main(argc, argv, groups, ARRAY_SIZE(groups));
}

// SPDX-License-Identifier: MIT
/* Syncobjs: IGT's syncobj_basic and syncobj_eventfd, and exec: those that SUBMIT waits for and signals. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "zw_syncobj.h"

#ifndef DRM_IOCTL_SYNCOBJ_EVENTFD
struct drm_syncobj_eventfd {
	__u32 handle;
	__u32 flags;
	__u64 point;
	__s32 fd;
	__u32 pad;
};
#define DRM_IOCTL_SYNCOBJ_EVENTFD DRM_IOWR(0xCF, struct drm_syncobj_eventfd)
#endif

/* -- syncobj_basic ----------------------------------------------------------------------------- */

static void bad_destroy(struct subtest *t)
{
	struct drm_syncobj_destroy d = {.handle = BAD};

	EQ(-EINVAL, zw_ioctl(t->c.fd, DRM_IOCTL_SYNCOBJ_DESTROY, &d));
}

static void bad_destroy_pad(struct subtest *t)
{
	struct drm_syncobj_destroy d = {.handle = create(t, 0), .pad = BAD};

	EQ(-EINVAL, zw_ioctl(t->c.fd, DRM_IOCTL_SYNCOBJ_DESTROY, &d));
	d.pad = 0;
	EQ(0, zw_ioctl(t->c.fd, DRM_IOCTL_SYNCOBJ_DESTROY, &d));
}

static void bad_create_flags(struct subtest *t)
{
	struct drm_syncobj_create c = {.flags = BAD};

	EQ(-EINVAL, zw_ioctl(t->c.fd, DRM_IOCTL_SYNCOBJ_CREATE, &c));
}

static void create_signaled(struct subtest *t)
{
	EQ(0, wait_one(t, create(t, DRM_SYNCOBJ_CREATE_SIGNALED), 0, 0, 0));
}

static int handle_to_fd(struct subtest *t, struct drm_syncobj_handle h)
{
	return zw_ioctl(t->c.fd, DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, &h);
}

static int fd_to_handle(struct subtest *t, struct drm_syncobj_handle h)
{
	return zw_ioctl(t->c.fd, DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, &h);
}

static void bad_handle_to_fd(struct subtest *t)
{
	EQ(-EINVAL, handle_to_fd(t, (struct drm_syncobj_handle){.handle = BAD}));
}

static void bad_fd_to_handle(struct subtest *t)
{
	EQ(-EINVAL, fd_to_handle(t, (struct drm_syncobj_handle){.fd = -1}));
}

/* A file, but not a syncobj. */
static void illegal_fd_to_handle(struct subtest *t)
{
	EQ(-EINVAL, fd_to_handle(t, (struct drm_syncobj_handle){.fd = t->c.fd}));
}

static void bad_flags_handle_to_fd(struct subtest *t)
{
	EQ(-EINVAL,
	   handle_to_fd(t, (struct drm_syncobj_handle){.handle = create(t, 0), .flags = BAD}));
}

static void bad_flags_fd_to_handle(struct subtest *t)
{
	int fd;

	EQ(0, drmSyncobjHandleToFD(t->c.fd, create(t, 0), &fd));
	EQ(-EINVAL, fd_to_handle(t, (struct drm_syncobj_handle){.fd = fd, .flags = BAD}));
	close(fd);
}

static void bad_pad_handle_to_fd(struct subtest *t)
{
	EQ(-EINVAL,
	   handle_to_fd(t, (struct drm_syncobj_handle){.handle = create(t, 0), .pad = BAD}));
}

static void bad_pad_fd_to_handle(struct subtest *t)
{
	int fd;

	EQ(0, drmSyncobjHandleToFD(t->c.fd, create(t, 0), &fd));
	EQ(-EINVAL, fd_to_handle(t, (struct drm_syncobj_handle){.fd = fd, .pad = BAD}));
	close(fd);
}

static void test_valid_cycle(struct subtest *t)
{
	uint32_t first = create(t, 0), second = 0;
	int fd;

	EQ(0, drmSyncobjHandleToFD(t->c.fd, first, &fd));
	EQ(0, drmSyncobjFDToHandle(t->c.fd, fd, &second));
	close(fd);
	TRUE(first && second && first != second);
	/* Two names of one thing. */
	EQ(0, signal_point(t, first, 0));
	EQ(0, wait_one(t, second, 0, 0, 0));
}

/* -- syncobj_eventfd --------------------------------------------------------------------------- */

static int set_eventfd(struct subtest *t, struct drm_syncobj_eventfd e)
{
	return zw_ioctl(t->c.fd, DRM_IOCTL_SYNCOBJ_EVENTFD, &e);
}

/* Is it set; there is time to become so when it should. */
static bool is_set(int ev, bool should)
{
	struct pollfd p = {.fd = ev, .events = POLLIN};
	uint64_t value;

	return poll(&p, 1, should ? 60000 : 20) == 1 && read(ev, &value, sizeof(value)) == 8;
}

static void invalid_bad_flags(struct subtest *t)
{
	EQ(-EINVAL,
	   set_eventfd(t, (struct drm_syncobj_eventfd){
				  .handle = create(t, 0), .flags = BAD, .fd = eventfd(0, 0)}));
}

static void invalid_illegal_handle(struct subtest *t)
{
	EQ(-ENOENT, set_eventfd(t, (struct drm_syncobj_eventfd){.fd = eventfd(0, 0)}));
}

static void invalid_illegal_eventfd(struct subtest *t)
{
	EQ(-EINVAL,
	   set_eventfd(t, (struct drm_syncobj_eventfd){.handle = create(t, 0), .fd = t->c.fd}));
}

static void invalid_bad_pad(struct subtest *t)
{
	EQ(-EINVAL,
	   set_eventfd(t, (struct drm_syncobj_eventfd){
				  .handle = create(t, 0), .fd = eventfd(0, 0), .pad = BAD}));
}

/* The flags say when the fence comes: before, or signalled before; else after. */
static void eventfd_wait(struct subtest *t)
{
	uint64_t point = strstr(t->group->name, "timeline") ? 1 : 0;
	uint32_t handle = create(t, 0);
	struct drm_syncobj_eventfd done = {.handle = handle, .point = point};
	struct drm_syncobj_eventfd there = {
		.handle = handle, .point = point, .flags = DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE};
	int n = -1;

	if (t->flags & (SUBMITTED | SIGNALED)) {
		n = attach(t, handle, point);
		TRUE(n >= 0);
	}
	if (t->flags & SIGNALED)
		EQ(0, release(t, n));
	done.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	there.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	EQ(0, set_eventfd(t, done));
	EQ(0, set_eventfd(t, there));
	if (t->flags & UNSUBMITTED) {
		TRUE(!is_set(done.fd, false));
		TRUE(!is_set(there.fd, false));
		n = attach(t, handle, point);
		TRUE(n >= 0);
	}
	TRUE(is_set(there.fd, true));
	if (!(t->flags & SIGNALED)) {
		TRUE(!is_set(done.fd, false));
		EQ(0, release(t, n));
	}
	TRUE(is_set(done.fd, true));
	close(done.fd);
	close(there.fd);
}

/* -- exec: syncobjs of SUBMIT ------------------------------------------------------------------ */

#define TIMELINE DRM_ZHENWU_SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ
#define OUT      DRM_ZHENWU_SYNC_OP_SIGNAL

static int exec(struct subtest *t, uint32_t queue, struct drm_zhenwu_sync_op *ops, uint32_t n)
{
	return zw_submit_syncs(t->c.fd, queue, 0, 0, ops, n);
}

/* The fence of an ended job is replaced by that of one that did not, and the other way round. */
static void exec_out_replaces(struct subtest *t)
{
	uint32_t handle = create(t, DRM_SYNCOBJ_CREATE_SIGNALED);
	int n = attach(t, handle, 0);

	TRUE(n >= 0);
	EQ(-ETIME, wait_one(t, handle, 0, 0, 0));
	EQ(0, trigger(t, handle, 0));
	EQ(0, wait_one(t, handle, 0, 0, 0));
	EQ(0, release(t, n));
}

/* One queue, several points: they are reached one by one. */
static void exec_out_timeline(struct subtest *t)
{
	uint32_t handle = create(t, 0);
	int n[3];

	for (int i = 0; i < 3; i++) {
		n[i] = attach_to(t, t->c.queue, handle, (uint64_t)(i + 1) * 10);
		TRUE(n[i] >= 0);
	}
	for (int i = 0; i < 3; i++) {
		EQ(i * 10, query(t, handle));
		EQ(0, release(t, n[i]));
		EQ(i * 10 + 10, query(t, handle));
		/* Between two points is before the second. */
		EQ(i < 2 ? -ETIME : -EINVAL, wait_one(t, handle, (uint64_t)i * 10 + 11, 0, ALL));
	}
}

/* A fence has to be there when the job is submitted. */
static void exec_in_unsubmitted(struct subtest *t)
{
	uint32_t handle = create(t, 0);
	struct drm_zhenwu_sync_op in = {.handle = handle};

	EQ(-EINVAL, exec(t, t->c.queue, &in, 1));
	in.flags = TIMELINE;
	in.timeline_value = 1;
	EQ(-EINVAL, exec(t, t->c.queue, &in, 1));
	EQ(0, signal_point(t, handle, 1));
	EQ(0, exec(t, t->c.queue, &in, 1));
	in.timeline_value = 2;
	EQ(-EINVAL, exec(t, t->c.queue, &in, 1));
}

/*
 * A job waits for what the syncobj had when it was submitted: neither a reset nor another fence nor
 * the end of the syncobj changes that.
 */
static void exec_in_snapshot(struct subtest *t)
{
	uint64_t point = t->flags & SUBMITTED ? 5 : 0;
	uint32_t handle = create(t, 0), out = create(t, 0);
	struct drm_zhenwu_sync_op ops[2] = {
		{.handle = handle, .flags = point ? TIMELINE : 0, .timeline_value = point},
		{.handle = out, .flags = OUT},
	};
	int n = attach(t, handle, point);

	TRUE(n >= 0);
	EQ(0, exec(t, t->c.queue, ops, 2));
	EQ(0, reset(t, handle));
	EQ(0, trigger(t, handle, 0));
	EQ(0, drmSyncobjDestroy(t->c.fd, handle));
	EQ(-ETIME, wait_one(t, out, 0, zw_deadline(SHORT_NS), 0));
	EQ(0, release(t, n));
	EQ(0, wait_one(t, out, 0, zw_deadline(LONG_WAIT_NS), 0));
}

/* The same syncobj in and out: a chain through queues. */
static void exec_in_out(struct subtest *t)
{
	uint32_t handle = create(t, 0);
	struct drm_zhenwu_sync_op ops[2] = {{.handle = handle}, {.handle = handle, .flags = OUT}};
	int n = attach(t, handle, 0);

	TRUE(n >= 0);
	for (int i = 0; i < 4; i++) {
		uint32_t queue = zw_queue(t->c.fd, t->c.vm);

		TRUE(queue);
		EQ(0, exec(t, queue, ops, 2));
	}
	EQ(-ETIME, wait_one(t, handle, 0, zw_deadline(SHORT_NS), 0));
	EQ(0, release(t, n));
	EQ(0, wait_one(t, handle, 0, zw_deadline(LONG_WAIT_NS), 0));
}

/* Through a file descriptor, a job of another client waits, also after the first one is gone. */
static void exec_in_imported(struct subtest *t)
{
	uint32_t handle = create(t, 0), theirs, out;
	struct drm_zhenwu_sync_op ops[2] = {{0}, {.flags = OUT}};
	struct zw_client other;
	int fd, n = attach(t, handle, 0), ret;

	TRUE(n >= 0);
	EQ(0, drmSyncobjHandleToFD(t->c.fd, handle, &fd));
	TRUE(zw_client_open(&other));
	EQ(0, drmSyncobjFDToHandle(other.fd, fd, &theirs));
	EQ(0, drmSyncobjCreate(other.fd, 0, &out));
	close(fd);
	ops[0].handle = theirs;
	ops[1].handle = out;
	EQ(0, zw_submit_syncs(other.fd, other.queue, 0, 0, ops, 2));
	EQ(-ETIME, drmSyncobjWait(other.fd, &out, 1, zw_deadline(SHORT_NS), 0, NULL));
	ret = release(t, n);
	EQ(0, ret);
	EQ(0, drmSyncobjWait(other.fd, &out, 1, zw_deadline(LONG_WAIT_NS), 0, NULL));
	zw_client_close(&other);
}

/* A submission that is refused leaves all syncobjs as they were. */
static void exec_refused(struct subtest *t)
{
	uint32_t handle = create(t, 0);
	struct drm_zhenwu_sync_op ops[3] = {
		{.handle = handle, .flags = OUT},
		{.handle = handle, .flags = OUT | TIMELINE, .timeline_value = 9},
		{.handle = BAD, .flags = OUT},
	};

	EQ(-ENOENT, exec(t, t->c.queue, ops, 3));
	EQ(-EINVAL, wait_one(t, handle, 0, 0, 0));
	EQ(0, query(t, handle));
	EQ(0, exec(t, t->c.queue, ops, 1));
	EQ(0, wait_one(t, handle, 0, zw_deadline(LONG_WAIT_NS), 0));
}

/* clang-format off */
#define BASIC(name, run)          {"syncobj_basic", name, run, 0, NULL}
#define EVENTFD(name, run, flags) {"syncobj_eventfd", name, run, flags, NULL}
#define EXEC(name, run, flags)    {"exec", name, run, flags, NULL}
/* clang-format on */

static const struct group groups[] = {
	BASIC("bad-destroy", bad_destroy),
	BASIC("bad-create-flags", bad_create_flags),
	BASIC("bad-handle-to-fd", bad_handle_to_fd),
	BASIC("bad-fd-to-handle", bad_fd_to_handle),
	BASIC("bad-flags-handle-to-fd", bad_flags_handle_to_fd),
	BASIC("bad-flags-fd-to-handle", bad_flags_fd_to_handle),
	BASIC("bad-pad-handle-to-fd", bad_pad_handle_to_fd),
	BASIC("bad-pad-fd-to-handle", bad_pad_fd_to_handle),
	BASIC("illegal-fd-to-handle", illegal_fd_to_handle),
	BASIC("bad-destroy-pad", bad_destroy_pad),
	BASIC("create-signaled", create_signaled),
	BASIC("test-valid-cycle", test_valid_cycle),
	EVENTFD("invalid-bad-flags", invalid_bad_flags, 0),
	EVENTFD("invalid-illegal-handle", invalid_illegal_handle, 0),
	EVENTFD("invalid-illegal-eventfd", invalid_illegal_eventfd, 0),
	EVENTFD("invalid-bad-pad", invalid_bad_pad, 0),
	EVENTFD("binary-wait", eventfd_wait, SUBMITTED),
	EVENTFD("binary-wait-before-signal", eventfd_wait, UNSUBMITTED),
	EVENTFD("binary-wait-signaled", eventfd_wait, SIGNALED),
	EVENTFD("timeline-wait", eventfd_wait, SUBMITTED),
	EVENTFD("timeline-wait-before-signal", eventfd_wait, UNSUBMITTED),
	EVENTFD("timeline-wait-signaled", eventfd_wait, SIGNALED),
	EXEC("out-replaces", exec_out_replaces, 0),
	EXEC("out-timeline", exec_out_timeline, 0),
	EXEC("in-unsubmitted", exec_in_unsubmitted, 0),
	EXEC("in-binary-snapshot", exec_in_snapshot, 0),
	EXEC("in-timeline-snapshot", exec_in_snapshot, SUBMITTED),
	EXEC("in-out", exec_in_out, 0),
	EXEC("in-imported", exec_in_imported, 0),
	EXEC("refused", exec_refused, 0),
};

int main(int argc, char **argv)
{
	return zw_syncobj_main(argc, argv, groups, ARRAY_SIZE(groups));
}

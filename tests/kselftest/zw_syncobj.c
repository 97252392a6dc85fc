// SPDX-License-Identifier: MIT
#include "zw_syncobj.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/sync_file.h>

#define SEM_OFFSET 61440 /* in the command buffer; 8 bytes for each fence */

bool is_timeline(const struct subtest *t)
{
	return !strcmp(t->group->program, "syncobj_timeline");
}

void zw_failed(struct subtest *t, int line, const char *what, long want, long got)
{
	ksft_print_msg("line %d: %s: want %ld, got %ld\n", line, what, want, got);
	t->bad = true;
}

/* -- ioctls ---------------------------------------------------------------------------------- */

uint32_t create(struct subtest *t, uint32_t flags)
{
	uint32_t handle = 0;

	return drmSyncobjCreate(t->c.fd, flags, &handle) ? 0 : handle;
}

int wait_for(struct subtest *t, uint32_t *handles, uint64_t *points, uint32_t n, int64_t deadline,
	     unsigned int flags, uint32_t *first)
{
	struct drm_syncobj_timeline_wait tw = {
		.handles = (uintptr_t)handles,
		.points = (uintptr_t)points,
		.timeout_nsec = deadline,
		.count_handles = n,
	};
	struct drm_syncobj_wait w = {
		.handles = (uintptr_t)handles,
		.timeout_nsec = deadline,
		.count_handles = n,
	};
	uint32_t f = 0;
	int ret;

	if (flags & FOR_SUBMIT)
		f |= DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT;
	if (flags & ALL)
		f |= DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL;
	if (flags & AVAILABLE)
		f |= DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE;
	tw.flags = w.flags = f;
	ret = points ? zw_ioctl(t->c.fd, DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT, &tw)
		     : zw_ioctl(t->c.fd, DRM_IOCTL_SYNCOBJ_WAIT, &w);
	if (first)
		*first = points ? tw.first_signaled : w.first_signaled;
	return ret;
}

int wait_one(struct subtest *t, uint32_t handle, uint64_t point, int64_t deadline,
	     unsigned int flags)
{
	return wait_for(t, &handle, point ? &point : NULL, 1, deadline, flags, NULL);
}

int signal_point(struct subtest *t, uint32_t handle, uint64_t point)
{
	return drmSyncobjTimelineSignal(t->c.fd, &handle, &point, 1) ? -errno : 0;
}

uint64_t query(struct subtest *t, uint32_t handle)
{
	uint64_t point = UINT64_MAX;

	return drmSyncobjQuery(t->c.fd, &handle, &point, 1) ? UINT64_MAX : point;
}

int reset(struct subtest *t, uint32_t handle)
{
	return drmSyncobjReset(t->c.fd, &handle, 1) ? -errno : 0;
}

/* -- fences of jobs ---------------------------------------------------------------------------- */

int attach_to(struct subtest *t, uint32_t queue, uint32_t handle, uint64_t point)
{
	unsigned int n = t->num_fences;
	struct drm_zhenwu_sync_op ops[2] = {
		{.flags = DRM_ZHENWU_SYNC_OP_SIGNAL, .handle = create(t, 0)},
		{.flags = DRM_ZHENWU_SYNC_OP_SIGNAL, .handle = handle, .timeline_value = point},
	};
	uint32_t from = t->c.pos;
	int ret;

	if (n == NUM_FENCES)
		return -ENOSPC;
	if (point)
		ops[1].flags |= DRM_ZHENWU_SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ;
	zw_put_sem(t->c.cmd.ptr, &t->c.pos, ZW_OP_SEM_WAIT, t->c.cmd.va + SEM_OFFSET + 8 * n, 1);
	ret = zw_submit_syncs(t->c.fd, queue, t->c.cmd.va + from, t->c.pos - from, ops, 2);
	if (ret)
		return ret;
	/* The sync file is this fence, whatever becomes of the syncobjs. */
	if (drmSyncobjExportSyncFile(t->c.fd, ops[0].handle, &t->sync_file[n]))
		return -errno;
	drmSyncobjDestroy(t->c.fd, ops[0].handle);
	t->num_fences++;
	return (int)n;
}

int attach(struct subtest *t, uint32_t handle, uint64_t point)
{
	uint32_t queue = zw_queue(t->c.fd, t->c.vm);

	return queue ? attach_to(t, queue, handle, point) : -ENOMEM;
}

int release(struct subtest *t, int n)
{
	struct sync_fence_info fence = {0};
	struct sync_file_info info = {.num_fences = 1, .sync_fence_info = (uintptr_t)&fence};
	struct pollfd p = {.events = POLLIN};

	if (n < 0)
		return n;
	p.fd = t->sync_file[n];
	__atomic_store_n((uint64_t *)((char *)t->c.cmd.ptr + SEM_OFFSET + 8 * n), 1,
			 __ATOMIC_RELEASE);
	if (poll(&p, 1, LONG_WAIT_NS / 1000000) != 1)
		return -ETIMEDOUT;
	if (ioctl(p.fd, SYNC_IOC_FILE_INFO, &info))
		return -errno;
	return fence.status == 1 ? 0 : fence.status ?: -EAGAIN;
}

int trigger(struct subtest *t, uint32_t handle, uint64_t point)
{
	return release(t, attach(t, handle, point));
}

/* -- things done while another thread waits ---------------------------------------------------- */

static void *waiter_main(void *arg)
{
	struct subtest *t = arg;
	struct waiter *w = &t->waiter;

	w->tid = (int)syscall(SYS_gettid);
	w->ret = wait_for(t, w->handles, is_timeline(t) ? w->points : NULL, w->count,
			  zw_deadline(LONG_WAIT_NS), t->flags, &w->first);
	return NULL;
}

int waiter_start(struct subtest *t, const uint32_t *handles, uint32_t count)
{
	struct waiter *w = &t->waiter;
	char path[64], line[512], *state;

	for (uint32_t i = 0; i < count; i++) {
		w->handles[i] = handles[i];
		w->points[i] = 1;
	}
	w->count = count;
	if (pthread_create(&w->thread, NULL, waiter_main, t))
		return -EAGAIN;
	w->running = true;
	while (!w->tid)
		usleep(1000);
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", w->tid);
	for (int64_t end = zw_deadline(LONG_WAIT_NS); zw_deadline(0) < end; usleep(1000)) {
		if (zw_read_file(path, line, sizeof(line)))
			return 0; /* It did not have to. */
		state = strrchr(line, ')');
		if (state && state[2] == 'S')
			return 0;
	}
	return -ETIMEDOUT;
}

int waiter_end(struct subtest *t)
{
	if (t->waiter.running)
		pthread_join(t->waiter.thread, NULL);
	t->waiter.running = false;
	return t->waiter.ret;
}

/* -- running them ------------------------------------------------------------------------------ */

static void run_subtest(const struct group *g, unsigned int flags, int expect, const char *name)
{
	struct subtest t = {.group = g, .flags = flags, .expect = expect};

	zw_keep_fences = false;
	if (zw_client_open(&t.c)) {
		g->run(&t);
	} else {
		ksft_print_msg("cannot make a client\n");
		t.bad = true;
	}
	waiter_end(&t);
	for (unsigned int i = 0; i < t.num_fences; i++)
		close(t.sync_file[i]);
	zw_client_close(&t.c);
	ksft_test_result(!t.bad, "%s\n", name);
}

/* As IGT makes them of what a subtest waits for, and for what error. */
static void name_by_flags(const struct group *g, unsigned int flags, int expect, char *name,
			  size_t len)
{
	static const char *const words[] = {"-all",         "-for-submit", "-available",
					    "-unsubmitted", "-submitted",  "-signaled"};
	static const unsigned int order[] = {ALL,         FOR_SUBMIT, AVAILABLE,
					     UNSUBMITTED, SUBMITTED,  SIGNALED};
	const char *first = "";
	int n;

	if (expect == -EINVAL)
		first = "invalid-";
	else if (expect == -ETIME && !strcmp(g->program, "syncobj_timeline"))
		first = "etime-";
	n = snprintf(name, len, "%s@%s%s", g->program, first, g->name);
	for (unsigned int i = 0; i < ARRAY_SIZE(order); i++)
		if (flags & order[i])
			n += snprintf(name + n, len - (size_t)n, "%s", words[i]);
}

/* Runs those of a group that are wanted, or only counts them. */
static unsigned int run_group(const struct group *g, const char *only, bool run)
{
	unsigned int count = 0;
	char name[160];

	for (unsigned int f = 0; f < (g->expect ? FLAGS_END : 1); f++) {
		int expect = g->expect ? g->expect(g, f) : 0;

		if (expect == 1)
			continue;
		name_by_flags(g, g->expect ? f : 0, expect, name, sizeof(name));
		if (only && strncmp(name, only, strlen(only)))
			continue;
		count++;
		if (run)
			run_subtest(g, g->expect ? f : g->flags, expect, name);
	}
	return count;
}

int zw_syncobj_main(int argc, char **argv, const struct group *groups, size_t num)
{
	const char *only = argc > 1 ? argv[1] : NULL;
	unsigned int plan = 0;
	int fd = zw_open();

	ksft_print_header();
	if (fd < 0)
		ksft_exit_skip(KSFT_SKIP_NO_DEVICE "\n");
	close(fd);
	for (size_t i = 0; i < num; i++)
		plan += run_group(&groups[i], only, false);
	ksft_set_plan(plan);
	for (size_t i = 0; i < num; i++)
		run_group(&groups[i], only, true);
	ksft_finished();
}

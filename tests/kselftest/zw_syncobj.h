/* SPDX-License-Identifier: MIT */
/*
 * Subtests about syncobjs of an accel node, under the names that they have in IGT, which opens no such nodes. A test program is a
 * table of groups and zw_syncobj_main().
 *
 * Where IGT takes fences of sw_sync, which Debian's kernels do not have, these are the device's own: each is of a job
 * that waits for a semaphore in memory, on a queue of its own, and signals when this program writes there. Each subtest
 * has a file of its own, which ends whatever it leaves.
 */
#ifndef ZW_SYNCOBJ_H
#define ZW_SYNCOBJ_H

#include <pthread.h>

#include "kselftest.h"
#include "zw_kst.h"

#define SHORT_NS   50000000ll
#define BAD        0xdeadbeefu
#define NUM_FENCES 32

/* What the flags in the name of a subtest mean. */
#define FOR_SUBMIT  (1u << 0)
#define ALL         (1u << 1)
#define AVAILABLE   (1u << 2)
#define UNSUBMITTED (1u << 3)
#define SUBMITTED   (1u << 4)
#define SIGNALED    (1u << 5)
#define FLAGS_END   (1u << 6)

struct group;

/* A thread that waits for up to eight syncobjs. */
struct waiter {
	pthread_t thread;
	bool running;
	_Atomic int tid;
	uint32_t handles[8], count, first;
	uint64_t points[8]; /* all 1 */
	int ret;
};

struct subtest {
	const struct group *group;
	unsigned int flags; /* of those above */
	int expect;
	/* -- while it runs -- */
	struct zw_client c;
	int sync_file[NUM_FENCES];
	unsigned int num_fences;
	struct waiter waiter;
	bool bad;
};

/* Subtests that differ in their flags. */
struct group {
	const char *program, *name;
	void (*run)(struct subtest *t);
	unsigned int flags; /* of its one subtest; without expect */
	/* There is one for each combination of flags for which this is not 1, but what its wait returns. */
	int (*expect)(const struct group *g, unsigned int flags);
};

void zw_failed(struct subtest *t, int line, const char *what, long want, long got);

/* A subtest ends with the first that is not so: what comes after may wait for ever. */
#define EQ(want, expr)                                                                             \
	do {                                                                                       \
		long want_ = (long)(want), got_ = (long)(expr);                                    \
                                                                                                   \
		if (want_ != got_) {                                                               \
			zw_failed(t, __LINE__, #expr, want_, got_);                                \
			return;                                                                    \
		}                                                                                  \
	} while (0)
#define TRUE(expr) EQ(1, !!(expr))

/* Some subtests are in syncobj_wait too; of a timeline they are about point 1. */
bool is_timeline(const struct subtest *t);

/* Ioctls: a handle or 0, a point or UINT64_MAX, 0 or -errno. points NULL: those that know none. */
uint32_t create(struct subtest *t, uint32_t flags);
int wait_for(struct subtest *t, uint32_t *handles, uint64_t *points, uint32_t n, int64_t deadline,
	     unsigned int flags, uint32_t *first);
int wait_one(struct subtest *t, uint32_t handle, uint64_t point, int64_t deadline,
	     unsigned int flags);
int signal_point(struct subtest *t, uint32_t handle, uint64_t point);
uint64_t query(struct subtest *t, uint32_t handle);
int reset(struct subtest *t, uint32_t handle);

/*
 * A fence that stays until release(), put into a syncobj at a point (0: binary). Its number, or
 * -errno. attach() takes a new queue, so that fences signal in any order.
 */
int attach_to(struct subtest *t, uint32_t queue, uint32_t handle, uint64_t point);
int attach(struct subtest *t, uint32_t handle, uint64_t point);
/* Lets it signal and waits for that. 0 or -errno, also its own error. */
int release(struct subtest *t, int n);
/* Both. */
int trigger(struct subtest *t, uint32_t handle, uint64_t point);

/* A thread that waits with the flags of the subtest. Returns when it sleeps in the call. 0 or -errno. */
int waiter_start(struct subtest *t, const uint32_t *handles, uint32_t count);
/* What its call returned. */
int waiter_end(struct subtest *t);

/* PROGRAM [NAME]: runs those whose names begin so. */
int zw_syncobj_main(int argc, char **argv, const struct group *groups, size_t num);

#endif /* ZW_SYNCOBJ_H */

/* SPDX-License-Identifier: MIT */
/*
 * Worker pool of the compute engines.
 *
 * A kernel is cut into tasks that are independent of each other (rows, columns, heads; never parts
 * of one sum), so that which thread runs which task cannot change a single bit of the result. The
 * pool only decides how fast the answer comes.
 */
#ifndef ZW_POOL_H
#define ZW_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ZW_POOL_MAX_WORKERS 64

struct zw_pool;

/**
 * zw_pool_new - start a pool
 * @workers: number of threads that compute, the caller of a kernel being one of them.
 *
 * 0 and 1 start no thread at all: everything runs in the caller (the mode for fuzzing and
 * debugging). N starts N - 1 threads. More than ZW_POOL_MAX_WORKERS is refused. The threads block
 * all signals but those they bring upon themselves.
 *
 * Idle threads spin for at most 50 us after their last task and then sleep; they yield while they
 * spin, and sleep at once when another thread wants the processor.
 * Returns NULL with errno set (EINVAL, ENOMEM, EAGAIN). Free with zw_pool_free().
 */
struct zw_pool *zw_pool_new(unsigned int workers);

/* Stops and joins the threads. No kernel may be running on the pool. NULL is allowed. */
void zw_pool_free(struct zw_pool *pool);

/* Number of threads that compute (at least 1). */
unsigned int zw_pool_workers(const struct zw_pool *pool);

/**
 * zw_pool_cancel - make kernels stop early
 *
 * Kernels running on the pool return -ECANCELED as soon as every worker has finished the piece it is
 * at, which takes less than 10 ms of processor time whatever the kernel, its shape and the SIMD
 * level; later ones return -ECANCELED at once, until zw_pool_resume(). When a cancelled kernel has returned, no thread touches its operands any more;
 * its output is partly written. Callable from any thread, also from a signal handler.
 */
void zw_pool_cancel(struct zw_pool *pool);

/* Lets kernels run again after zw_pool_cancel(). */
void zw_pool_resume(struct zw_pool *pool);

/*
 * Counts finished tasks in *counter (relaxed), so that an observer can tell a long kernel from a
 * stuck one. NULL: no counting. No kernel may be running.
 */
void zw_pool_set_progress(struct zw_pool *pool, _Atomic uint32_t *counter);

/* True between zw_pool_cancel() and zw_pool_resume(). Cheap: one relaxed load. */
bool zw_pool_cancelled(const struct zw_pool *pool);

/**
 * typedef zw_pool_fn - one task
 * @arg: as given to zw_pool_run()
 * @task: index of the task, 0 <= task < n_tasks; tasks are started in ascending order
 * @slot: which worker runs it, 0 <= slot < zw_pool_workers(); for zw_pool_scratch()
 *
 * Returns 0 or a negative errno, which stops the run.
 */
typedef int (*zw_pool_fn)(void *arg, uint64_t task, unsigned int slot);

/**
 * zw_pool_run - run tasks 0..n_tasks-1 and wait for all of them
 *
 * The caller takes part. Every participant runs with the default floating point environment (round
 * to nearest even, denormals kept); the caller's own is put back. Runs on one pool are serialised:
 * a second caller waits for the first. Not reentrant: a task must not call it on the same pool.
 * Returns 0, -ECANCELED, or the error of the lowest-numbered task known to have failed.
 */
int zw_pool_run(struct zw_pool *pool, zw_pool_fn fn, void *arg, uint64_t n_tasks);

/* The same in the caller alone, for work too small to be worth waking anyone. */
int zw_pool_run_alone(struct zw_pool *pool, zw_pool_fn fn, void *arg, uint64_t n_tasks);

/**
 * zw_pool_scratch - memory of one worker
 *
 * At least @size bytes, 64-byte aligned, contents undefined, kept from task to task and run to run.
 * Only for the task that was given @slot. NULL if there is no memory.
 */
void *zw_pool_scratch(struct zw_pool *pool, unsigned int slot, size_t size);

#endif

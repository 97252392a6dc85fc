// SPDX-License-Identifier: MIT
#include "zw_pool.h"

#include <errno.h>
#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

/* Long enough to bridge the gap between two kernels of a layer. */
#define SPIN_NS    50000
/* A yield that took this long let someone else run. */
#define YIELDED_NS 10000

struct scratch {
	void *mem;
	size_t size;
};

struct worker {
	struct zw_pool *pool;
	unsigned int slot;
	pthread_t thread;
};

struct zw_pool {
	unsigned int n_slots;
	unsigned int n_threads; /* n_slots - 1, less while starting up */
	struct worker *workers;
	struct scratch *scratch;

	atomic_bool cancel;
	_Atomic uint32_t *progress; /* may be NULL */

	pthread_mutex_t run_lock; /* held by the caller of zw_pool_run() */

	pthread_mutex_t
		lock; /* guards the fields below; those also read while spinning are atomic */
	pthread_cond_t wake;
	pthread_cond_t done;
	atomic_uint generation; /* counts runs, so that a spinning worker sees a new one */
	atomic_uint active;     /* workers inside the current run */
	bool open;              /* the current run still takes workers */
	bool stop;
	unsigned int sleepers;
	int err;
	uint64_t err_task;

	zw_pool_fn fn;
	void *arg;
	uint64_t n_tasks;
	_Alignas(64) atomic_uint_fast64_t next;
};

/*
 * The numerics are those of the default environment. A host may have set flush-to-zero or another
 * rounding mode in the calling thread, and threads inherit from whoever starts them.
 */
struct fp_env {
#if defined(__x86_64__)
	unsigned int mxcsr;
#else
	fenv_t env;
#endif
};

static void fp_env_enter(struct fp_env *save)
{
#if defined(__x86_64__)
	save->mxcsr = _mm_getcsr();
	_mm_setcsr(0x1f80); /* all exceptions masked, nearest even, neither FTZ nor DAZ */
#else
	fegetenv(&save->env);
	fesetenv(FE_DFL_ENV);
#endif
}

static void fp_env_leave(const struct fp_env *save)
{
#if defined(__x86_64__)
	_mm_setcsr(save->mxcsr);
#else
	fesetenv(&save->env);
#endif
}

static void cpu_relax(void)
{
#if defined(__x86_64__)
	_mm_pause();
#endif
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/*
 * Waits until *var differs from val, the spin time is over, or it turns out that somebody else has
 * use for the processor: a thread that waits must not be what keeps the work from being done, nor
 * cost a neighbour anything. Returns false if the caller had better sleep.
 */
static bool spin_while_equal(atomic_uint *var, unsigned int val)
{
	uint64_t now = now_ns(), end = now + SPIN_NS;

	for (;;) {
		uint64_t before = now;

		for (int i = 0; i < 32; i++) {
			if (atomic_load_explicit(var, memory_order_acquire) != val)
				return true;
			cpu_relax();
		}
		sched_yield();
		now = now_ns();
		if (now >= end || now - before >= YIELDED_NS)
			return atomic_load_explicit(var, memory_order_acquire) != val;
	}
}

static void run_tasks(struct zw_pool *pool, unsigned int slot)
{
	for (;;) {
		uint64_t task;
		int err;

		if (zw_pool_cancelled(pool))
			err = -ECANCELED, task = UINT64_MAX;
		else {
			task = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
			if (task >= pool->n_tasks)
				return;
			err = pool->fn(pool->arg, task, slot);
			if (pool->progress)
				atomic_fetch_add_explicit(pool->progress, 1, memory_order_relaxed);
		}
		if (err) {
			/* Nobody starts another task. */
			atomic_store_explicit(&pool->next, pool->n_tasks, memory_order_relaxed);
			pthread_mutex_lock(&pool->lock);
			if (!pool->err || task < pool->err_task) {
				pool->err = err;
				pool->err_task = task;
			}
			pthread_mutex_unlock(&pool->lock);
			return;
		}
	}
}

static void *worker_main(void *opaque)
{
	struct worker *w = opaque;
	struct zw_pool *pool = w->pool;
	unsigned int seen = 0;
	struct fp_env env;

	fp_env_enter(&env);
	for (;;) {
		spin_while_equal(&pool->generation, seen);

		pthread_mutex_lock(&pool->lock);
		while (!pool->stop &&
		       seen == atomic_load_explicit(&pool->generation, memory_order_relaxed)) {
			pool->sleepers++;
			pthread_cond_wait(&pool->wake, &pool->lock);
			pool->sleepers--;
		}
		if (pool->stop) {
			pthread_mutex_unlock(&pool->lock);
			return NULL;
		}
		seen = atomic_load_explicit(&pool->generation, memory_order_relaxed);
		if (!pool->open) {
			/* Woken too late: the others have done it all. */
			pthread_mutex_unlock(&pool->lock);
			continue;
		}
		atomic_fetch_add_explicit(&pool->active, 1, memory_order_relaxed);
		pthread_mutex_unlock(&pool->lock);

		run_tasks(pool, w->slot);

		pthread_mutex_lock(&pool->lock);
		if (atomic_fetch_sub_explicit(&pool->active, 1, memory_order_release) == 1)
			pthread_cond_signal(&pool->done);
		pthread_mutex_unlock(&pool->lock);
	}
}

static int pool_run(struct zw_pool *pool, zw_pool_fn fn, void *arg, uint64_t n_tasks, bool shared)
{
	struct fp_env env;
	int err;

	pthread_mutex_lock(&pool->run_lock);
	fp_env_enter(&env);

	pthread_mutex_lock(&pool->lock);
	pool->fn = fn;
	pool->arg = arg;
	pool->n_tasks = n_tasks;
	pool->err = 0;
	pool->err_task = 0;
	atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
	if (shared) {
		pool->open = true;
		atomic_fetch_add_explicit(&pool->generation, 1, memory_order_release);
		if (pool->sleepers)
			pthread_cond_broadcast(&pool->wake);
	}
	pthread_mutex_unlock(&pool->lock);

	run_tasks(pool, 0);

	if (shared) {
		pthread_mutex_lock(&pool->lock);
		pool->open = false;
		pthread_mutex_unlock(&pool->lock);
		/* From here on active only falls. */
		for (unsigned int n;
		     (n = atomic_load_explicit(&pool->active, memory_order_acquire));)
			if (!spin_while_equal(&pool->active, n))
				break;
		pthread_mutex_lock(&pool->lock);
		while (atomic_load_explicit(&pool->active, memory_order_acquire))
			pthread_cond_wait(&pool->done, &pool->lock);
		pthread_mutex_unlock(&pool->lock);
	}
	err = pool->err;

	fp_env_leave(&env);
	pthread_mutex_unlock(&pool->run_lock);
	return err;
}

void zw_pool_set_progress(struct zw_pool *pool, _Atomic uint32_t *counter)
{
	pool->progress = counter;
}

int zw_pool_run(struct zw_pool *pool, zw_pool_fn fn, void *arg, uint64_t n_tasks)
{
	return pool_run(pool, fn, arg, n_tasks, pool->n_threads && n_tasks > 1);
}

int zw_pool_run_alone(struct zw_pool *pool, zw_pool_fn fn, void *arg, uint64_t n_tasks)
{
	return pool_run(pool, fn, arg, n_tasks, false);
}

void *zw_pool_scratch(struct zw_pool *pool, unsigned int slot, size_t size)
{
	struct scratch *s = &pool->scratch[slot];

	if (s->size < size) {
		/* Grown generously: the next kernel is likely to want a little more. */
		size_t want = (size + size / 4 + 4095) & ~(size_t)4095;

		free(s->mem);
		s->mem = aligned_alloc(64, want);
		s->size = s->mem ? want : 0;
	}
	return s->mem;
}

unsigned int zw_pool_workers(const struct zw_pool *pool)
{
	return pool->n_slots;
}

void zw_pool_cancel(struct zw_pool *pool)
{
	atomic_store_explicit(&pool->cancel, true, memory_order_relaxed);
}

void zw_pool_resume(struct zw_pool *pool)
{
	atomic_store_explicit(&pool->cancel, false, memory_order_relaxed);
}

bool zw_pool_cancelled(const struct zw_pool *pool)
{
	return atomic_load_explicit(&pool->cancel, memory_order_relaxed);
}

struct zw_pool *zw_pool_new(unsigned int workers)
{
	unsigned int n_slots = workers ? workers : 1;
	struct zw_pool *pool;
	sigset_t all, saved;
	int err = 0;

	if (workers > ZW_POOL_MAX_WORKERS) {
		errno = EINVAL;
		return NULL;
	}
	pool = aligned_alloc(_Alignof(struct zw_pool), sizeof(*pool));
	if (!pool)
		return NULL;
	memset(pool, 0, sizeof(*pool));
	pool->n_slots = n_slots;
	pool->workers = calloc(n_slots, sizeof(*pool->workers));
	pool->scratch = calloc(n_slots, sizeof(*pool->scratch));
	if (!pool->workers || !pool->scratch) {
		free(pool->workers);
		free(pool->scratch);
		free(pool);
		errno = ENOMEM;
		return NULL;
	}
	pthread_mutex_init(&pool->run_lock, NULL);
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->wake, NULL);
	pthread_cond_init(&pool->done, NULL);

	/*
	 * Signals are the host program's business, and it may rely on which thread gets them; only
	 * those that a thread brings upon itself stay.
	 */
	sigfillset(&all);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	sigdelset(&all, SIGTRAP);
	pthread_sigmask(SIG_SETMASK, &all, &saved);
	for (unsigned int i = 1; i < n_slots && !err; i++) {
		struct worker *w = &pool->workers[i];

		w->pool = pool;
		w->slot = i;
		err = pthread_create(&w->thread, NULL, worker_main, w);
		if (err)
			continue;
		pool->n_threads++;
#if defined(__GLIBC__) && defined(_GNU_SOURCE)
		pthread_setname_np(w->thread, "zw-engine");
#endif
	}
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	if (err) {
		zw_pool_free(pool);
		errno = err;
		return NULL;
	}
	return pool;
}

void zw_pool_free(struct zw_pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->stop = true;
	/* A spinning worker looks at stop only after it has seen something change. */
	atomic_fetch_add_explicit(&pool->generation, 1, memory_order_release);
	pthread_cond_broadcast(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned int i = 1; i <= pool->n_threads; i++)
		pthread_join(pool->workers[i].thread, NULL);
	for (unsigned int i = 0; i < pool->n_slots; i++)
		free(pool->scratch[i].mem);
	pthread_cond_destroy(&pool->done);
	pthread_cond_destroy(&pool->wake);
	pthread_mutex_destroy(&pool->lock);
	pthread_mutex_destroy(&pool->run_lock);
	free(pool->scratch);
	free(pool->workers);
	free(pool);
}

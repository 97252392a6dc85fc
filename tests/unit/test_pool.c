// SPDX-License-Identifier: MIT
/* The worker pool: every task once, errors, cancellation, environments, concurrent callers. */
#include "test_k_util.h"

#include <dirent.h>
#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

struct count_job {
	struct zw_pool *pool;
	atomic_uint hits[1000];
	atomic_uint slots_used;
	unsigned int n_slots;
	uint64_t fail_from;
	bool cancel_at_10, all_workers;
};

static int count_task(void *arg, uint64_t task, unsigned int slot)
{
	struct count_job *job = arg;

	atomic_fetch_add(&job->hits[task], 1);
	atomic_fetch_or(&job->slots_used, 1u << slot);
	if (slot >= job->n_slots)
		return -EIO;
	if (job->cancel_at_10 && task == 10)
		zw_pool_cancel(job->pool);
	/* However late this one is with its cancel, others do not run on to the end meanwhile. */
	while (job->cancel_at_10 && task > 10 && !zw_pool_cancelled(job->pool))
		sched_yield();
	while (job->all_workers && atomic_load(&job->slots_used) != (1u << job->n_slots) - 1)
		sched_yield();
	return task >= job->fail_from ? -(int)task : 0;
}

static void test_every_task_once(void **state)
{
	for (unsigned int workers = 0; workers <= 4; workers++) {
		struct zw_pool *pool = zw_pool_new(workers);

		assert_non_null(pool);
		assert_int_equal(zw_pool_workers(pool), workers ? workers : 1);
		for (int round = 0; round < 50; round++) {
			struct count_job job = {.pool = pool,
						.n_slots = workers ? workers : 1,
						.fail_from = UINT64_MAX};
			uint64_t n = (uint64_t)round * 7 % 1000;

			assert_int_equal(zw_pool_run(pool, count_task, &job, n), 0);
			for (uint64_t i = 0; i < 1000; i++)
				assert_int_equal(atomic_load(&job.hits[i]), i < n);
			if (round % 10 == 0)
				usleep(300); /* lets the workers go to sleep */
		}
		zw_pool_free(pool);
	}
}

/* Tasks run on all workers at a time, or else these wait for ever; alone, only the caller has some. */
static void test_shares_work(void **state)
{
	struct zw_pool *pool = zw_pool_new(4);
	struct count_job job = {
		.pool = pool, .n_slots = 4, .fail_from = UINT64_MAX, .all_workers = true};

	assert_int_equal(zw_pool_run(pool, count_task, &job, 200), 0);
	assert_int_equal(atomic_load(&job.slots_used), 15);
	job.all_workers = false;
	atomic_store(&job.slots_used, 0);
	assert_int_equal(zw_pool_run_alone(pool, count_task, &job, 20), 0);
	assert_int_equal(atomic_load(&job.slots_used), 1);
	zw_pool_free(pool);
}

static void test_error_stops(void **state)
{
	for (unsigned int workers = 0; workers <= 4; workers += 2) {
		struct zw_pool *pool = zw_pool_new(workers);
		struct count_job job = {.pool = pool, .n_slots = 4, .fail_from = 20};
		int err = zw_pool_run(pool, count_task, &job, 1000);

		/* Tasks start in order and a run waits for those in flight, so 20 is always among
		 * those that report. */
		assert_int_equal(err, -20);
		for (int i = 0; i <= 20; i++)
			assert_int_equal(atomic_load(&job.hits[i]), 1);
		assert_int_equal(atomic_load(&job.hits[200]), 0);
		zw_pool_free(pool);
	}
}

static int late_error_task(void *arg, uint64_t task, unsigned int slot)
{
	/* One task fails after all others have reported. */
	usleep(task == *(uint64_t *)arg ? 30000 : 1000);
	return -100 - (int)task;
}

/* The order in which failures are reported does not matter. */
static void test_lowest_error(void **state)
{
	struct zw_pool *pool = zw_pool_new(4);

	for (uint64_t last = 0; last < 4; last += 3)
		assert_int_equal(zw_pool_run(pool, late_error_task, &last, 4), -100);
	zw_pool_free(pool);
}

static void test_cancel(void **state)
{
	struct zw_pool *pool = zw_pool_new(2);
	struct count_job job = {
		.pool = pool, .n_slots = 2, .fail_from = UINT64_MAX, .cancel_at_10 = true};

	assert_int_equal(zw_pool_run(pool, count_task, &job, 1000), -ECANCELED);
	assert_int_equal(atomic_load(&job.hits[10]), 1);
	assert_int_equal(atomic_load(&job.hits[12]), 0);
	assert_true(zw_pool_cancelled(pool));
	memset(job.hits, 0, sizeof(job.hits));
	assert_int_equal(zw_pool_run(pool, count_task, &job, 5), -ECANCELED);
	assert_int_equal(atomic_load(&job.hits[0]), 0);
	zw_pool_resume(pool);
	assert_int_equal(zw_pool_run(pool, count_task, &job, 5), 0);
	assert_int_equal(atomic_load(&job.hits[4]), 1);
	zw_pool_free(pool);
}

/* Flush-to-zero and another rounding mode in the caller change nothing, and are there again
 * afterwards. */
static void test_fp_environment(void **state)
{
	struct zw_pool *pool = zw_pool_new(2);
	float x[8] = {0x1p-149f, 1.0f}, w[8] = {1.0f, 0x1p-30f}, c = 0;
	float x2[8] = {1.0f, 0x1.8p-24f}, w2[8] = {1.0f, 1.0f};
	struct zw_k_gemm_args args = {
		.m = 1,
		.n = 1,
		.k = 1,
		.a = {.ptr = x, .dtype = F32, .ld = 8},
		.w = {.ptr = w, .dtype = F32, .ld = 8},
		.c = {.ptr = &c, .dtype = F32, .ld = 1},
	};

#if defined(__x86_64__)
	unsigned int saved = _mm_getcsr();

	_mm_setcsr(saved | 0x8040);
	assert_int_equal(zw_k_gemm(&args, pool), 0);
	assert_int_equal(_mm_getcsr() & 0x8040, 0x8040);
	_mm_setcsr(saved);
	assert_int_equal(zw_f32_bits(c), 1);
#endif
	args.a.ptr = x2;
	args.w.ptr = w2;
	args.k = 2;
	fesetround(FE_TOWARDZERO);
	assert_int_equal(zw_k_gemm(&args, pool), 0);
	assert_int_equal(fegetround(), FE_TOWARDZERO);
	fesetround(FE_TONEAREST);
	assert_true(c == 1.0f + 0x1p-23f);
	zw_pool_free(pool);
}

static int scratch_task(void *arg, uint64_t task, unsigned int slot)
{
	size_t size = (size_t)(task % 13 + 1) * 1000;
	unsigned char *mem = zw_pool_scratch(arg, slot, size);

	if (!mem || (uintptr_t)mem % 64)
		return -ENOMEM;
	memset(mem, (int)slot, size);
	for (int i = 0; i < 100; i++)
		for (size_t j = 0; j < size; j += 100)
			if (mem[j] != slot)
				return -EIO;
	return 0;
}

static void test_scratch(void **state)
{
	struct zw_pool *pool = zw_pool_new(4);

	assert_int_equal(zw_pool_run(pool, scratch_task, pool, 300), 0);
	zw_pool_free(pool);
}

static void *caller(void *arg)
{
	struct zw_pool *pool = arg;

	for (int i = 0; i < 200; i++) {
		struct count_job *job = calloc(1, sizeof(*job));

		job->pool = pool;
		job->n_slots = 3;
		job->fail_from = UINT64_MAX;
		if (zw_pool_run(pool, count_task, job, 37))
			return "run failed";
		for (int t = 0; t < 37; t++)
			if (atomic_load(&job->hits[t]) != 1)
				return "task not run once";
		free(job);
	}
	return NULL;
}

static void test_concurrent_callers(void **state)
{
	struct zw_pool *pool = zw_pool_new(3);
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, caller, pool), 0);
	for (int i = 0; i < 4; i++) {
		void *ret;

		pthread_join(threads[i], &ret);
		assert_null(ret);
	}
	zw_pool_free(pool);
}

/* How many other threads of this process do not sleep: who spins is ready to run even where it gets no processor. */
static unsigned int awake(void)
{
	DIR *dir = opendir("/proc/self/task");
	unsigned int n = 0;

	assert_non_null(dir);
	for (struct dirent *d; (d = readdir(dir));) {
		char path[300], line[512] = "", *end;
		FILE *f;

		if (d->d_name[0] == '.' || atoi(d->d_name) == getpid())
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/stat", d->d_name);
		f = fopen(path, "r");
		assert_non_null(f);
		assert_non_null(fgets(line, sizeof(line), f));
		fclose(f);
		end = strrchr(line, ')');
		n += !end || end[2] != 'S';
	}
	closedir(dir);
	return n;
}

/* An idle pool costs no processor time, once its workers had enough of it to see that there is nothing to do. */
static void test_idle_sleeps(void **state)
{
	struct zw_pool *pool = zw_pool_new(4);
	struct count_job job = {.pool = pool, .n_slots = 4, .fail_from = UINT64_MAX};
	unsigned int busy;
	clock_t before;

	assert_int_equal(zw_pool_run(pool, count_task, &job, 1000), 0);
	for (int n = 0; (busy = awake()) && n < 2000; n++)
		usleep(10000);
	assert_int_equal(busy, 0);
	before = clock();
	usleep(100000);
	assert_true(clock() - before < CLOCKS_PER_SEC / 100);
	zw_pool_free(pool);
}

static int busy_task(void *arg, uint64_t task, unsigned int slot)
{
	for (volatile int i = 0; i < 8000; i++)
		;
	return 0;
}

/* Seconds of processor time of all threads for 200 runs of four tasks. */
static double cost(struct zw_pool *pool,
		   int (*run)(struct zw_pool *pool, zw_pool_fn fn, void *arg, uint64_t n_tasks))
{
	clock_t before = clock();

	for (int i = 0; i < 200; i++)
		assert_int_equal(run(pool, busy_task, NULL, 4), 0);
	return (double)(clock() - before) / CLOCKS_PER_SEC;
}

/*
 * Threads that wait give way to those that work: four workers on one processor take no more of it
 * than one. So a pool beside another, or beside anything else, costs it nothing by spinning.
 */
static void test_waiting_gives_way(void **state)
{
	double least = INFINITY;
	cpu_set_t saved, one;
	struct zw_pool *pool;

	assert_int_equal(sched_getaffinity(0, sizeof(saved), &saved), 0);
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE && !CPU_COUNT(&one); cpu++)
		if (CPU_ISSET(cpu, &saved))
			CPU_SET(cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	pool = zw_pool_new(4);
	assert_non_null(pool);
	/*
	 * The least of many, if need be: noise does not make a pool that spins cheap. One costs 1.3
	 * to 1.6 here.
	 */
	for (int round = 0; round < 40 && least >= 1.2; round++) {
		double shared = 0, alone = 0;

		for (int n = 0; n < 4; n++) {
			shared += cost(pool, zw_pool_run);
			alone += cost(pool, zw_pool_run_alone);
		}
		least = fmin(least, shared / alone);
	}
	print_message("four workers on one processor cost %.2f times one\n", least);
#ifndef __SANITIZE_THREAD__ /* which does work of its own where threads meet */
	assert_true(least < 1.2);
#endif
	zw_pool_free(pool);
	assert_int_equal(sched_setaffinity(0, sizeof(saved), &saved), 0);
}

static void test_refusals(void **state)
{
	errno = 0;
	assert_null(zw_pool_new(ZW_POOL_MAX_WORKERS + 1));
	assert_int_equal(errno, EINVAL);
	zw_pool_free(NULL);
	assert_int_equal(zw_simd_set(ZW_SIMD_COUNT), -EOPNOTSUPP);
	assert_string_equal(zw_simd_name(ZW_SIMD_SCALAR), "scalar");
	assert_string_equal(zw_simd_name(ZW_SIMD_COUNT), "?");
}

/* The level that another process of this program takes with ZW_SIMD set to @value. */
static void level_of_child(const char *value, char *name, size_t size)
{
	char self[512], cmd[700];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	FILE *pipe;

	assert_true(n > 0);
	self[n] = 0;
	snprintf(cmd, sizeof(cmd), "ZW_SIMD='%s' '%s' --simd 2>&1", value, self);
	pipe = popen(cmd, "r");
	assert_non_null(pipe);
	n = (ssize_t)fread(name, 1, size - 1, pipe);
	name[n] = 0;
	assert_int_equal(pclose(pipe), 0);
}

static void test_simd_environment(void **state)
{
	const char *best = zw_simd_name(zw_simd_best());
	char got[200];

	level_of_child("scalar", got, sizeof(got));
	assert_string_equal(got, "scalar");
	level_of_child(best, got, sizeof(got));
	assert_string_equal(got, best);
	level_of_child("", got, sizeof(got));
	assert_string_equal(got, best);
	level_of_child("mmx", got, sizeof(got));
	assert_non_null(strstr(got, "ZW_SIMD=mmx: unknown level"));
	assert_string_equal(got + strlen(got) - strlen(best), best);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_task_once),  cmocka_unit_test(test_shares_work),
		cmocka_unit_test(test_error_stops),      cmocka_unit_test(test_lowest_error),
		cmocka_unit_test(test_cancel),           cmocka_unit_test(test_fp_environment),
		cmocka_unit_test(test_scratch),          cmocka_unit_test(test_concurrent_callers),
		cmocka_unit_test(test_idle_sleeps),      cmocka_unit_test(test_waiting_gives_way),
		cmocka_unit_test(test_simd_environment), cmocka_unit_test(test_refusals),
	};

	if (argc > 1 && !strcmp(argv[1], "--simd")) {
		printf("%s", zw_simd_name(zw_simd_get()));
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}

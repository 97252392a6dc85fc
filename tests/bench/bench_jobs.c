// SPDX-License-Identifier: MIT
/*
 * Round trips of empty jobs through the whole stack: ioctl, scheduler, ring, doorbell, firmware,
 * command processor, completion, interrupt, fence. The counterpart of bench_nvme.
 *
 *	bench_jobs [--seconds S]
 *
 * One job at a time, each waited for before the next is submitted: by its fence, then by reading its
 * result over and over; then 64 in flight, submitted and waited for in batches of 16. The same of a
 * user-mode queue: sleeping at once, reading its completion over and over (as libzhenwu does for 0.2
 * ms), 64 in flight. Speaks the ioctls directly. Prints one JSON object: p50 and p99 in microseconds
 * at one in flight, jobs per second at both depths.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../kselftest/zw_kst.h"
#include "../kselftest/zw_userq.h"
#include "bench_samples.h"

#define DEPTH 64
#define BATCH 16

/*
 * Returns the number of samples, or a negative error. A binary syncobj, as who waits for one job
 * would use: a wait for a timeline point goes through an irq_work, which is a cost of its own.
 */
static long depth_one(struct zw_client *c, uint64_t duration, uint64_t *samples)
{
	uint64_t end = now_ns() + duration, t0, t1;
	struct drm_zhenwu_sync_op sync = {.flags = DRM_ZHENWU_SYNC_OP_SIGNAL};
	struct drm_zhenwu_job job = {.syncs = DRM_ZHENWU_OBJ_ARRAY(1, &sync)};
	struct drm_zhenwu_submit s = {.queue_id = c->queue, .jobs = DRM_ZHENWU_OBJ_ARRAY(1, &job)};
	size_t n = 0;
	int ret;

	ret = drmSyncobjCreate(c->fd, 0, &sync.handle);
	if (ret)
		return ret;
	do {
		t0 = now_ns();
		s.first_seqno = 0;
		ret = zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_SUBMIT, &s);
		if (!ret)
			ret = drmSyncobjWait(c->fd, &sync.handle, 1, INT64_MAX, 0, NULL);
		if (ret)
			break;
		t1 = now_ns();
		samples[n++] = t1 - t0;
	} while (t1 < end && n < MAX_SAMPLES);
	drmSyncobjDestroy(c->fd, sync.handle);
	return ret ? ret : (long)n;
}

#define POLL_VA     (UINT64_C(32) << 20)
#define POLL_MAX_NS 10000000000u

/* The same without interrupt and fence: the device writes the job's number behind its result. */
static long depth_one_polled(struct zw_client *c, uint64_t duration, uint64_t *samples)
{
	struct drm_zhenwu_job job = {.result_va = POLL_VA};
	struct drm_zhenwu_submit s = {.queue_id = c->queue, .jobs = DRM_ZHENWU_OBJ_ARRAY(1, &job)};
	volatile uint64_t *seqno;
	struct zw_buf buf;
	uint64_t end, t0, t1;
	size_t n = 0;

	if (!zw_buf(c->fd, c->vm, 4096, DRM_ZHENWU_BO_SYSTEM, POLL_VA, &buf))
		return -errno;
	seqno = &((struct zw_job_result *)buf.ptr)->seqno;
	end = now_ns() + duration;
	do {
		int ret;

		t0 = now_ns();
		s.first_seqno = 0;
		ret = zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_SUBMIT, &s);
		if (ret)
			return ret;
		while (*seqno != s.first_seqno) {
			if (now_ns() - t0 > POLL_MAX_NS)
				return -ETIME;
		}
		t1 = now_ns();
		samples[n++] = t1 - t0;
	} while (t1 < end && n < MAX_SAMPLES);
	return (long)n;
}

static int submit_batch(struct zw_client *c)
{
	struct drm_zhenwu_sync_op sync = {
		.flags =
			DRM_ZHENWU_SYNC_OP_SIGNAL | DRM_ZHENWU_SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ,
		.handle = c->timeline,
		.timeline_value = c->point + BATCH,
	};
	struct drm_zhenwu_job jobs[BATCH] = {0};
	struct drm_zhenwu_submit s = {.queue_id = c->queue,
				      .jobs = DRM_ZHENWU_OBJ_ARRAY(BATCH, jobs)};

	jobs[BATCH - 1].syncs = (struct drm_zhenwu_obj_array)DRM_ZHENWU_OBJ_ARRAY(1, &sync);
	c->point += BATCH;
	return zw_ioctl(c->fd, DRM_IOCTL_ZHENWU_SUBMIT, &s);
}

/* Jobs per second with DEPTH of them in flight, or a negative error. */
static double depth_many(struct zw_client *c, uint64_t duration)
{
	uint64_t first = c->point, start = now_ns(), end = start + duration;
	int ret;

	do {
		ret = submit_batch(c);
		/* The oldest batch has to be over before there is room for another. */
		if (!ret && c->point - first >= DEPTH)
			ret = zw_wait(c->fd, c->timeline, c->point - DEPTH + BATCH, LONG_WAIT_NS);
		if (ret)
			return ret;
	} while (now_ns() < end);
	ret = zw_wait(c->fd, c->timeline, c->point, LONG_WAIT_NS);
	if (ret)
		return ret;
	return (double)(c->point - first) * 1e9 / (double)(now_ns() - start);
}

/* One job of a user-mode queue at a time: slept for, with an interrupt, or looked for. */
static long user_one(struct zw_userq *u, bool sleep, uint64_t duration, uint64_t *samples)
{
	uint64_t end = now_ns() + duration, t0, t1;
	size_t n = 0;
	int ret;

	do {
		t0 = now_ns();
		zw_userq_put(u, 0, 0, 0, sleep ? ZW_RING_F_IRQ : 0);
		zw_userq_ring(u);
		ret = 0;
		if (sleep)
			ret = zw_userq_wait(u, u->seq, LONG_WAIT_NS);
		else if (!zw_userq_poll(u, u->seq))
			ret = -ETIME;
		if (ret)
			return ret;
		t1 = now_ns();
		samples[n++] = t1 - t0;
	} while (t1 < end && n < MAX_SAMPLES);
	return (long)n;
}

/* Jobs per second with DEPTH of them in flight, or a negative error. */
static double user_many(struct zw_userq *u, uint64_t duration)
{
	uint64_t first = u->seq, start = now_ns(), end = start + duration;

	do {
		for (int i = 0; i < BATCH; i++)
			zw_userq_put(u, 0, 0, 0, 0);
		zw_userq_ring(u);
		if (u->seq - first >= DEPTH && !zw_userq_poll(u, u->seq - DEPTH + BATCH))
			return -ETIME;
	} while (now_ns() < end);
	if (!zw_userq_poll(u, u->seq))
		return -ETIME;
	return (double)(u->seq - first) * 1e9 / (double)(now_ns() - start);
}

struct latency {
	double p50, p99, per_s; /* microseconds; per second */
};

static struct latency latency(uint64_t *samples, long n)
{
	uint64_t sum = 0;

	for (long i = 0; i < n; i++)
		sum += samples[i];
	qsort(samples, (size_t)n, sizeof(*samples), by_value);
	return (struct latency){.p50 = (double)samples[n / 2] / 1e3,
				.p99 = (double)samples[n * 99 / 100] / 1e3,
				.per_s = (double)n * 1e9 / (double)sum};
}

int main(int argc, char **argv)
{
	double seconds = 2, rate, user_rate = 0;
	struct latency one, polled, slept, seen;
	struct zw_client c;
	struct zw_userq u;
	uint64_t *samples;
	long n, ret;

	if (argc == 3 && !strcmp(argv[1], "--seconds"))
		seconds = atof(argv[2]);
	else if (argc != 1)
		seconds = 0;
	if (!(seconds > 0)) {
		fprintf(stderr, "usage: bench_jobs [--seconds S]\n");
		return 2;
	}
	zw_keep_fences = false;
	if (!zw_client_open(&c)) {
		fprintf(stderr, "bench_jobs: %s\n",
			c.fd < 0 ? KSFT_SKIP_NO_DEVICE : "cannot make a queue");
		return 1;
	}
	if (!zw_userq_open(&u, 2 * DEPTH)) {
		fprintf(stderr, "bench_jobs: cannot make a user-mode queue\n");
		return 1;
	}
	samples = malloc(sizeof(*samples) * MAX_SAMPLES);
	if (!samples) {
		fprintf(stderr, "bench_jobs: out of memory\n");
		return 1;
	}
	/* Warm-up: code of the path is translated by the emulator once. */
	n = ret = depth_one(&c, 200000000u, samples);
	if (ret > 0)
		n = ret = depth_one(&c, (uint64_t)(seconds * 1e9), samples);
	if (ret > 0) {
		one = latency(samples, n);
		n = ret = depth_one_polled(&c, (uint64_t)(seconds * 1e9), samples);
	}
	if (ret > 0) {
		polled = latency(samples, n);
		rate = depth_many(&c, (uint64_t)(seconds * 1e9));
		if (rate < 0)
			ret = (long)rate;
	}
	if (ret > 0)
		n = ret = user_one(&u, true, (uint64_t)(seconds * 1e9), samples);
	if (ret > 0) {
		slept = latency(samples, n);
		n = ret = user_one(&u, false, (uint64_t)(seconds * 1e9), samples);
	}
	if (ret > 0) {
		seen = latency(samples, n);
		user_rate = user_many(&u, (uint64_t)(seconds * 1e9));
		if (user_rate < 0)
			ret = (long)user_rate;
	}
	if (ret <= 0) {
		fprintf(stderr, "bench_jobs: %s\n", strerror((int)-ret));
		return 1;
	}
	printf("{\"job_1_p50_us\": %.1f, \"job_1_p99_us\": %.1f, \"job_1_per_s\": %.0f, "
	       "\"job_poll_p50_us\": %.1f, \"job_poll_p99_us\": %.1f, \"job_%d_per_s\": %.0f, ",
	       one.p50, one.p99, one.per_s, polled.p50, polled.p99, DEPTH, rate);
	printf("\"user_sleep_p50_us\": %.1f, \"user_sleep_p99_us\": %.1f, "
	       "\"user_1_p50_us\": %.1f, \"user_1_p99_us\": %.1f, \"user_1_per_s\": %.0f, "
	       "\"user_%d_per_s\": %.0f}\n",
	       slept.p50, slept.p99, seen.p50, seen.p99, seen.per_s, DEPTH, user_rate);
	free(samples);
	zw_userq_close(&u);
	zw_client_close(&c);
	return 0;
}

/* SPDX-License-Identifier: MIT */
#include <time.h>
#include <unistd.h>
#include "device_env.h"

#define PATIENCE_S 20

uint8_t *monitor_text;
uint32_t monitor_size;

void monitor_load(const char *path)
{
	FILE *f = fopen(path, "rb");

	if (!f) {
		perror(path);
		exit(1);
	}
	monitor_text = malloc(1 << 20);
	monitor_size = (uint32_t)fread(monitor_text, 1, 1 << 20, f);
	fclose(f);
}

static uint8_t *sys_at(struct device_env *e, uint64_t addr, size_t len)
{
	atomic_fetch_add(&e->dma_calls, 1);
	if (e->bus_master_off || addr < SYS_BASE || len > SYS_SIZE ||
	    addr - SYS_BASE > SYS_SIZE - len)
		return NULL;
	return e->sys + (addr - SYS_BASE);
}

/* The guest's CPUs and the device share this memory: whole words, as on a bus. */
static int dma_read(void *opaque, unsigned int function, uint64_t addr, void *buf, size_t len)
{
	struct device_env *e = opaque;
	uint8_t *p = sys_at(e, addr, len);

	if (!p)
		return -EIO;
	pthread_mutex_lock(&e->lock);
	memcpy(buf, p, len);
	pthread_mutex_unlock(&e->lock);
	return 0;
}

static int dma_write(void *opaque, unsigned int function, uint64_t addr, const void *buf,
		     size_t len)
{
	struct device_env *e = opaque;
	uint8_t *p = sys_at(e, addr, len);

	if (!p)
		return -EIO;
	pthread_mutex_lock(&e->lock);
	memcpy(p, buf, len);
	pthread_mutex_unlock(&e->lock);
	return 0;
}

static void msix_raise(void *opaque, unsigned int function, unsigned int vector)
{
	struct device_env *e = opaque;

	pthread_mutex_lock(&e->lock);
	if (vector < ZW_NUM_VECTORS)
		e->irqs[vector]++;
	pthread_cond_broadcast(&e->cond);
	pthread_mutex_unlock(&e->lock);
}

static void log_line(void *opaque, enum zw_log_level level, const char *msg)
{
	struct device_env *e = opaque;

	if (level == ZW_LOG_GUEST_ERROR)
		atomic_fetch_add(&e->guest_errors, 1);
	if (getenv("ZW_TEST_VERBOSE"))
		fprintf(stderr, "device: %s\n", msg);
}

static void reset_done(void *opaque)
{
	struct device_env *e = opaque;

	atomic_fetch_add(&e->resets, 1);
	if (!e->hold_reset)
		zw_device_reset_end(e->dev);
}

static void stopped(void *opaque)
{
	atomic_fetch_add(&((struct device_env *)opaque)->stops, 1);
}

static void job_settled(void *opaque, const struct zw_settled_job *job)
{
	assert_true(job->release_ps <= job->start_ps && job->start_ps <= job->end_ps);
	atomic_fetch_add(&((struct device_env *)opaque)->settled_jobs, 1);
}

struct device_env *env_new(int workers)
{
	return env_new_hbm(workers, HBM_SIZE);
}

struct device_env *env_new_hbm(int workers, uint64_t hbm_size)
{
	struct device_env *e = calloc(1, sizeof(*e));
	struct zw_host_ops ops = {.dma_read = dma_read,
				  .dma_write = dma_write,
				  .msix_raise = msix_raise,
				  .log = log_line,
				  .job_settled = job_settled,
				  .reset_done = reset_done,
				  .stopped = stopped};
	struct zw_device_config cfg = {
		.profile = zw_profile_find("810e"),
		.hbm_size = hbm_size,
		.aperture_size = hbm_size / 2,
		.workers = workers,
		.uuid = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}};
	char err[128] = "";

	assert_non_null(e);
	assert_non_null(cfg.profile);
	e->sys = calloc(1, SYS_SIZE);
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->cond, NULL);
	e->dev = zw_device_new(&cfg, &ops, e, err, sizeof(err));
	if (!e->dev)
		fail_msg("%s", err);
	e->hbm = zw_device_hbm(e->dev);
	return e;
}

void env_free(struct device_env *e)
{
	zw_device_free(e->dev);
	pthread_mutex_destroy(&e->lock);
	pthread_cond_destroy(&e->cond);
	free(e->sys);
	free(e);
}

void env_wait_reg(struct device_env *e, uint64_t reg, uint32_t val)
{
	time_t end = time(NULL) + PATIENCE_S;
	struct timespec nap = {.tv_nsec = 200000};

	while (r32(e, reg) != val) {
		if (time(NULL) > end)
			fail_msg("register 0x%llx is 0x%x, not 0x%x", (unsigned long long)reg,
				 r32(e, reg), val);
		nanosleep(&nap, NULL);
	}
}

void env_wait_count(const _Atomic unsigned int *count, unsigned int val)
{
	WAIT_FOR(atomic_load(count) >= val);
}

void env_wait_irq(struct device_env *e, unsigned int vector, unsigned int count)
{
	struct timespec ts;
	int ret = 0;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += PATIENCE_S;
	pthread_mutex_lock(&e->lock);
	while (e->irqs[vector] < count && !ret)
		ret = pthread_cond_timedwait(&e->cond, &e->lock, &ts);
	pthread_mutex_unlock(&e->lock);
	if (ret)
		fail_msg("no interrupt on vector %u", vector);
}

unsigned int env_irqs(struct device_env *e, unsigned int vector)
{
	unsigned int n;

	pthread_mutex_lock(&e->lock);
	n = e->irqs[vector];
	pthread_mutex_unlock(&e->lock);
	return n;
}

void env_start(struct device_env *e, const uint8_t *image, uint32_t size)
{
	memcpy(e->sys + (SYS_IMAGE - SYS_BASE), image, size);
	env_start_again(e, size);
}

void env_start_again(struct device_env *e, uint32_t size)
{
	w64(e, ZW_REG_FW_ADDR, SYS_IMAGE);
	w32(e, ZW_REG_FW_SIZE, size);
	w32(e, ZW_REG_BOOT_CTRL, ZW_BOOT_START);
}

void env_boot(struct device_env *e)
{
	uint32_t size;
	uint8_t *image = image_new(monitor_text, monitor_size, 64 * 1024, &size);

	env_start(e, image, size);
	free(image);
	env_wait_reg(e, ZW_REG_BOOT_STATUS, ZW_BOOT_READY);
	w64(e, ZW_REG_MBOX_H2F, SYS_REQUEST);
	w64(e, ZW_REG_MBOX_F2H, SYS_REPLY);
}

void mon_send(struct device_env *e, uint32_t op, uint64_t addr, uint64_t val)
{
	struct monitor_request r = {.seq = ++e->seq, .op = op, .addr = addr, .val = val};

	pthread_mutex_lock(&e->lock);
	memcpy(e->sys + (SYS_REQUEST - SYS_BASE), &r, sizeof(r));
	pthread_mutex_unlock(&e->lock);
	w32(e, ZW_REG_MBOX_DOORBELL, 1);
}

uint64_t mon(struct device_env *e, uint32_t op, uint64_t addr, uint64_t val, uint64_t *cause)
{
	struct monitor_reply r;
	struct timespec ts;
	int ret = 0;

	mon_send(e, op, addr, val);
	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += PATIENCE_S;
	pthread_mutex_lock(&e->lock);
	do {
		memcpy(&r, e->sys + (SYS_REPLY - SYS_BASE), sizeof(r));
		if (r.seq != e->seq)
			ret = pthread_cond_timedwait(&e->cond, &e->lock, &ts);
	} while (r.seq != e->seq && !ret);
	pthread_mutex_unlock(&e->lock);
	if (ret)
		fail_msg("the monitor does not answer");
	if (cause)
		*cause = r.cause;
	else
		assert_int_equal(r.cause, 0);
	return r.val;
}

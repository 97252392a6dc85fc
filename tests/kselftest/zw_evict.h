/* SPDX-License-Identifier: MIT */
/*
 * For tests of HBM that is not enough. Most of it is taken by a buffer that stays, so that little is
 * to be moved; buffers say by their contents which they are.
 */
#ifndef ZW_EVICT_H
#define ZW_EVICT_H

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "zw_kst.h"

#define VA     (64ull << 30)
#define SIZE   (8 * MIB)
#define BOTH   (DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_SYSTEM)
#define STAYS  DRM_ZHENWU_BO_HBM
#define OUT_AT 32768u
#define SEM_AT 61440u

static inline uint64_t number(const char *path)
{
	char text[64] = "";

	return zw_read_file(path, text, sizeof(text)) ? UINT64_MAX : strtoull(text, NULL, 10);
}

static inline uint64_t hbm_free(int fd)
{
	struct drm_zhenwu_dev_info info;

	return zw_info(fd, &info) ? 0 : info.hbm_free;
}

/* A buffer that leaves room for three of SIZE, and not for a fourth. 0 on failure. */
static inline uint32_t take_rest(int fd)
{
	uint64_t rest = (hbm_free(fd) - 3 * SIZE - SIZE / 2) & ~(2 * MIB - 1);
	uint32_t bo = zw_bo(fd, rest, STAYS);

	return bo && hbm_free(fd) >= 3 * SIZE && hbm_free(fd) < 4 * SIZE ? bo : 0;
}

static inline uint32_t placement(int fd, uint32_t bo)
{
	struct drm_zhenwu_bo_query_info q = {.handle = bo};

	return zw_ioctl(fd, DRM_IOCTL_ZHENWU_BO_QUERY_INFO, &q) ? 0 : q.placement;
}

/* A buffer at va, its first word in each page written by the device: `first`, and so on. 0 on failure. */
static inline uint32_t make(struct zw_client *c, uint32_t flags, uint64_t va, uint32_t first)
{
	uint32_t bo = zw_bo(c->fd, SIZE, flags);

	if (!bo || zw_bind(c->fd, c->vm, bo, 0, va, SIZE, 0))
		return 0;
	c->pos = 0;
	for (uint64_t at = 0; at < SIZE; at += SIZE / 64)
		zw_put_fill(c->cmd.ptr, &c->pos, va + at, 4096, first++);
	return zw_client_run(c, 0) || zw_client_outcome(c) != 1 ? 0 : bo;
}

/* What the device reads there, in words; UINT32_MAX when the job fails. */
static inline uint32_t peek(struct zw_client *c, uint64_t va)
{
	volatile uint32_t *out = (void *)((char *)c->cmd.ptr + OUT_AT);

	*out = 0xdead;
	c->pos = 0;
	zw_put_copy(c->cmd.ptr, &c->pos, c->cmd.va + OUT_AT, va, 4);
	return zw_client_run(c, 0) || zw_client_outcome(c) != 1 ? UINT32_MAX : *out;
}

/* All that make() wrote, in one job. */
static inline bool holds(struct zw_client *c, uint64_t va, uint32_t first)
{
	volatile uint32_t *out = (void *)((char *)c->cmd.ptr + OUT_AT);

	c->pos = 0;
	for (uint32_t i = 0; i < 64; i++)
		zw_put_copy(c->cmd.ptr, &c->pos, c->cmd.va + OUT_AT + 4 * i,
			    va + i * (SIZE / 64) + 4092, 4);
	if (zw_client_run(c, 0) || zw_client_outcome(c) != 1)
		return false;
	for (uint32_t i = 0; i < 64; i++)
		if (out[i] != first + i)
			return false;
	return true;
}

/* Where a client's job waits that submit_waiting() submits, until let_go(). */
static inline volatile uint64_t *waits_at(struct zw_client *c)
{
	return (void *)((char *)c->cmd.ptr + SEM_AT);
}

static inline int submit_waiting(struct zw_client *c)
{
	*waits_at(c) = 0;
	c->pos = 0;
	zw_put_sem(c->cmd.ptr, &c->pos, ZW_OP_SEM_WAIT, c->cmd.va + SEM_AT, 1);
	return zw_client_submit(c, 0, 0);
}

static inline void let_go(struct zw_client *c)
{
	*waits_at(c) = 1;
	__sync_synchronize();
}

/* Somebody who makes a buffer that stays, while the test does something else. */
struct maker {
	int fd;
	uint64_t size;
	pthread_t thread;
	_Atomic bool over;
	uint32_t bo;
	int ret;
};

static inline void *make_more(void *arg)
{
	struct maker *m = arg;
	struct drm_zhenwu_bo_create b = {.size = m->size, .flags = STAYS};

	m->ret = zw_ioctl(m->fd, DRM_IOCTL_ZHENWU_BO_CREATE, &b);
	m->bo = b.handle;
	m->over = true;
	return NULL;
}

static inline bool maker_begin(struct maker *m, int fd, uint64_t size)
{
	*m = (struct maker){.fd = fd, .size = size};
	return !pthread_create(&m->thread, NULL, make_more, m);
}

/* 0, or how it failed. */
static inline int maker_end(struct maker *m)
{
	pthread_join(m->thread, NULL);
	return m->ret;
}

#endif /* ZW_EVICT_H */

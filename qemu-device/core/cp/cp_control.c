// SPDX-License-Identifier: MIT
/*
 * Control packets: time stamps and semaphores. They have no traffic in the cost model: their few bytes are covered by
 * the fixed cost of a packet.
 */
#include <errno.h>

#include "zw_cp_int.h"

/* slot of x->view */
enum { TARGET };

static int nothing(struct zw_cp_exec *x)
{
	return 0;
}

const struct zw_cp_impl zw_cp_nop = {.run = nothing};
/* That later packets wait for all before it is in the clock: it never has ZW_PKT_F_DEPS. */
const struct zw_cp_impl zw_cp_barrier = {.run = nothing};

/* When this packet will have retired. */
static uint64_t retire_time(const struct zw_cp_exec *x)
{
	struct zw_cp_clock clk = *x->clk;
	uint64_t busy;

	return zw_cp_clock_retire(&clk, x->profile, x->op->engine, x->pkt, &x->cost, &busy);
}

/* 64 bits that are 8-byte aligned lie in one page: they are in place, or one transfer. */
static void store64(struct zw_cp_exec *x, uint64_t value)
{
	__atomic_store_n((uint64_t *)x->view[TARGET].ptr, value, __ATOMIC_RELEASE);
}

static int timestamp_prepare(struct zw_cp_exec *x)
{
	const struct zw_pkt_timestamp *p = x->pkt;

	return zw_cp_map(x, TARGET, p->va, sizeof(uint64_t), ZW_ACCESS_WRITE, 0);
}

static int timestamp_run(struct zw_cp_exec *x)
{
	store64(x, retire_time(x));
	return 0;
}

const struct zw_cp_impl zw_cp_timestamp = {.prepare = timestamp_prepare, .run = timestamp_run};

static int place_of(struct zw_cp_exec *x, uint32_t access, struct zw_mem_place *place)
{
	const struct zw_pkt_sem *p = x->pkt;

	return zw_cp_mem_status(x,
				zw_mem_place(x->cfg->mmu, x->vm, p->va, access, place, &x->fault));
}

static int sem_signal_prepare(struct zw_cp_exec *x)
{
	const struct zw_pkt_sem *p = x->pkt;

	x->plan = zw_cp_alloc(x, 1, sizeof(struct zw_mem_place));
	if (!x->plan)
		return -EIO;
	if (place_of(x, ZW_ACCESS_WRITE, x->plan))
		return -EIO;
	return zw_cp_map(x, TARGET, p->va, sizeof(uint64_t), ZW_ACCESS_WRITE, 0);
}

static int sem_signal_run(struct zw_cp_exec *x)
{
	const struct zw_pkt_sem *p = x->pkt;

	/* The other thread may be settling signals. */
	pthread_mutex_lock(&x->replay->lock);
	x->sem.signalled = zw_cp_sem_signalled(x->sems, x->plan, p->value, retire_time(x));
	pthread_mutex_unlock(&x->replay->lock);
	store64(x, p->value);
	return 0;
}

const struct zw_cp_impl zw_cp_sem_signal = {.prepare = sem_signal_prepare, .run = sem_signal_run};

static int sem_wait_prepare(struct zw_cp_exec *x)
{
	const struct zw_pkt_sem *p = x->pkt;
	struct zw_mem_place place;
	uint64_t value;
	int err = place_of(x, ZW_ACCESS_READ, &place);

	if (!err)
		err = zw_cp_map(x, TARGET, p->va, sizeof(value), ZW_ACCESS_READ, 0);
	if (err)
		return err;
	value = __atomic_load_n((const uint64_t *)x->view[TARGET].ptr, __ATOMIC_ACQUIRE);
	if (value < p->value)
		return ZW_CP_BLOCKED;
	x->sem.waited = zw_cp_sem_find(x->sems, &place, value, p->value, &x->sem.value);
	if (x->sem.waited)
		x->cost.not_before = x->sem.waited->ps[x->sem.value];
	return 0;
}

const struct zw_cp_impl zw_cp_sem_wait = {.prepare = sem_wait_prepare, .run = nothing};

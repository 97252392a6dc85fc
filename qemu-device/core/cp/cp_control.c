// SPDX-License-Identifier: MIT
/*
 * Control packets: time stamps and semaphores. They have no traffic in the cost model: their few bytes are covered by
 * the fixed cost of a packet.
 */
#include <stdatomic.h>

#include "zw_cp_int.h"

static int nop_exec(struct zw_cp_exec *x)
{
	return 0;
}

/* When this packet will have retired. */
static uint64_t retire_time(const struct zw_cp_exec *x)
{
	struct zw_cp_clock clk = *x->clk;
	struct zw_cp_cost none = {0};
	uint64_t busy;

	return zw_cp_clock_retire(&clk, x->profile, x->op->engine, false, &none, &busy);
}

static uint32_t timestamp_validate(const void *pkt)
{
	const struct zw_pkt_timestamp *p = pkt;

	if (p->reserved)
		return ZW_REASON_RESERVED;
	return p->va % 8 ? ZW_REASON_ALIGN : ZW_REASON_NONE;
}

static int write64(struct zw_cp_exec *x, uint64_t va, uint64_t value)
{
	return zw_cp_mem_status(
		x, zw_mem_write(x->cfg->mmu, x->vm, va, &value, sizeof(value), &x->fault));
}

static int timestamp_exec(struct zw_cp_exec *x)
{
	const struct zw_pkt_timestamp *p = x->pkt;

	return write64(x, p->va, retire_time(x));
}

static uint32_t sem_validate(const void *pkt)
{
	const struct zw_pkt_sem *p = pkt;

	return p->va % 16 ? ZW_REASON_ALIGN : ZW_REASON_NONE;
}

static int sem_signal_exec(struct zw_cp_exec *x)
{
	const struct zw_pkt_sem *p = x->pkt;
	/* Time first: whoever sees the value has to see the time that belongs to it. Both lie in one page. */
	int err = write64(x, p->va + offsetof(struct zw_semaphore, time_ps), retire_time(x));

	if (err)
		return err;
	atomic_thread_fence(memory_order_release);
	return write64(x, p->va + offsetof(struct zw_semaphore, value), p->value);
}

static int read64(struct zw_cp_exec *x, uint64_t va, uint64_t *value)
{
	return zw_cp_mem_status(
		x, zw_mem_read(x->cfg->mmu, x->vm, va, value, sizeof(*value), &x->fault));
}

static int sem_wait_exec(struct zw_cp_exec *x)
{
	const struct zw_pkt_sem *p = x->pkt;
	uint64_t value, time_ps;
	int err = read64(x, p->va + offsetof(struct zw_semaphore, value), &value);

	if (err)
		return err;
	if (value < p->value)
		return ZW_CP_BLOCKED;
	atomic_thread_fence(memory_order_acquire);
	err = read64(x, p->va + offsetof(struct zw_semaphore, time_ps), &time_ps);
	if (err)
		return err;
	zw_cp_clock_wait(x->clk, time_ps);
	return 0;
}

/* ASYNC is refused where order is the meaning of the packet. */
static const struct zw_cp_op ops[] = {
	{ZW_OP_NOP, sizeof(struct zw_pkt), ZW_ENGINE_CP, 0, "NOP", ZW_PKT_F_ASYNC, NULL, NULL,
	 nop_exec},
	{ZW_OP_TIMESTAMP, sizeof(struct zw_pkt_timestamp), ZW_ENGINE_CP, 0, "TIMESTAMP", 0, NULL,
	 timestamp_validate, timestamp_exec},
	{ZW_OP_SEM_SIGNAL, sizeof(struct zw_pkt_sem), ZW_ENGINE_CP, 0, "SEM_SIGNAL", 0, NULL,
	 sem_validate, sem_signal_exec},
	{ZW_OP_SEM_WAIT, sizeof(struct zw_pkt_sem), ZW_ENGINE_CP, 0, "SEM_WAIT", 0, NULL,
	 sem_validate, sem_wait_exec},
	{ZW_OP_BARRIER, sizeof(struct zw_pkt), ZW_ENGINE_CP, 0, "BARRIER", 0, NULL, NULL, nop_exec},
};

const struct zw_cp_group zw_cp_control = {ops, sizeof(ops) / sizeof(ops[0])};

// SPDX-License-Identifier: MIT
/* Life cycle of the hart, its wires, and its state as seen from outside. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "rv_int.h"

int zw_rv_new(const struct zw_rv_config *cfg, struct zw_rv **out)
{
	uint64_t pages;
	struct zw_rv *rv;

	*out = NULL;
	if (!cfg->ram || (uintptr_t)cfg->ram % 8 || cfg->ram_base % 8 || !cfg->ram_size ||
	    cfg->ram_size % 8 || cfg->ram_size > ZW_RV_RAM_MAX ||
	    cfg->ram_base > UINT64_MAX - cfg->ram_size || (cfg->clint && !cfg->mtime))
		return -EINVAL;

	rv = calloc(1, sizeof(*rv));
	if (!rv)
		return -ENOMEM;
	rv->cfg = *cfg;
	rv->ram = cfg->ram;
	rv->ram_base = cfg->ram_base;
	rv->ram_size = cfg->ram_size;
	rv->nslots = cfg->ram_size / 2;
	pages = (cfg->ram_size + RV_PAGE_SIZE - 1) >> RV_PAGE_SHIFT;
	rv->map_words = (pages + 63) / 64;
	/* calloc: untouched parts of the cache cost no memory */
	rv->slots = calloc(rv->nslots + 1, sizeof(*rv->slots));
	rv->code_map = calloc(rv->map_words, sizeof(*rv->code_map));
	rv->inval_map = calloc(rv->map_words, sizeof(*rv->inval_map));
	if (!rv->slots || !rv->code_map || !rv->inval_map) {
		zw_rv_free(rv);
		return -ENOMEM;
	}
	rv->slots[rv->nslots] = (struct rv_insn){.op = RV_OP_FETCH_FAULT, .step = 1};
	zw_rv_reset(rv, rv->ram_base);
	*out = rv;
	return 0;
}

void zw_rv_free(struct zw_rv *rv)
{
	if (!rv)
		return;
	free(rv->slots);
	free(rv->code_map);
	free(rv->inval_map);
	free(rv);
}

void zw_rv_reset(struct zw_rv *rv, uint64_t pc)
{
	memset(rv->x, 0, sizeof(rv->x));
	rv->pc = pc & ~UINT64_C(1);
	rv->mstatus = RV_MSTATUS_MPP;
	rv->mtvec = rv->mscratch = rv->mepc = rv->mcause = rv->mtval = 0;
	rv->mcycle = rv->minstret = 0;
	rv->lr_size = 0;
	rv->waiting = rv->in_trap = rv->halted = false;
	memset(&rv->halt, 0, sizeof(rv->halt));
	RV_PUT(rv->mie, 0);
	RV_PUT(rv->msip, 0);
	RV_PUT(rv->mtimecmp, UINT64_MAX);
	zw_rvi_cache_flush(rv);
}

void zw_rv_set_irq(struct zw_rv *rv, uint32_t mask, bool level)
{
	mask &= ZW_RV_IRQ_ALL;
	/* release: what was written before the wire rose is visible to the handler */
	if (level)
		__atomic_fetch_or(&rv->irq, mask, __ATOMIC_SEQ_CST);
	else
		__atomic_fetch_and(&rv->irq, ~mask, __ATOMIC_SEQ_CST);
}

void zw_rv_request_stop(struct zw_rv *rv)
{
	__atomic_store_n(&rv->stop, 1, __ATOMIC_SEQ_CST);
}

void zw_rv_raise(struct zw_rv *rv, enum zw_rv_cause cause, uint64_t tval)
{
	if (rv->halted)
		return;
	rv->waiting = false;
	zw_rvi_trap(rv, cause, rv->pc, tval);
}

bool zw_rv_wake_pending(struct zw_rv *rv)
{
	return __atomic_load_n(&rv->stop, __ATOMIC_SEQ_CST) || (zw_rvi_mip(rv) & RV_GET(rv->mie));
}

uint64_t zw_rv_timer_deadline(struct zw_rv *rv)
{
	if (!rv->cfg.clint || !(RV_GET(rv->mie) & ZW_RV_IRQ_MTI))
		return UINT64_MAX;
	return RV_GET(rv->mtimecmp);
}

uint64_t zw_rv_reg(const struct zw_rv *rv, unsigned n)
{
	return n < 32 ? rv->x[n] : 0;
}

void zw_rv_set_reg(struct zw_rv *rv, unsigned n, uint64_t val)
{
	if (n > 0 && n < 32)
		rv->x[n] = val;
}

uint64_t zw_rv_pc(const struct zw_rv *rv)
{
	return rv->pc;
}

void zw_rv_set_pc(struct zw_rv *rv, uint64_t pc)
{
	rv->pc = pc & ~UINT64_C(1);
}

bool zw_rv_halt_info(const struct zw_rv *rv, struct zw_rv_halt *info)
{
	if (rv->halted)
		*info = rv->halt;
	return rv->halted;
}

void zw_rv_get_state(const struct zw_rv *rv, struct zw_rv_state *st)
{
	memset(st, 0, sizeof(*st));
	st->version = ZW_RV_STATE_VERSION;
	memcpy(st->x, rv->x, sizeof(st->x));
	st->pc = rv->pc;
	st->mstatus = rv->mstatus;
	st->mie = RV_GET(rv->mie);
	st->mtvec = rv->mtvec;
	st->mscratch = rv->mscratch;
	st->mepc = rv->mepc;
	st->mcause = rv->mcause;
	st->mtval = rv->mtval;
	st->mcycle = rv->mcycle;
	st->minstret = rv->minstret;
	st->irq = RV_GET(rv->irq);
	st->msip = RV_GET(rv->msip);
	st->mtimecmp = RV_GET(rv->mtimecmp);
	if (rv->waiting)
		st->flags |= ZW_RV_STATE_WAITING;
	if (rv->in_trap)
		st->flags |= ZW_RV_STATE_IN_TRAP;
	if (rv->lr_size) {
		st->flags |= ZW_RV_STATE_RESERVED;
		st->lr_addr = rv->lr_addr;
		st->lr_size = rv->lr_size;
		st->lr_val = rv->lr_val;
	}
	if (rv->halted) {
		st->flags |= ZW_RV_STATE_HALTED;
		if (rv->halt.double_trap)
			st->flags |= ZW_RV_STATE_HALT_DOUBLE;
		st->halt_cause = rv->halt.cause;
		st->halt_epc = rv->halt.epc;
		st->halt_tval = rv->halt.tval;
	}
}

int zw_rv_set_state(struct zw_rv *rv, const struct zw_rv_state *st)
{
	const uint64_t known = ZW_RV_STATE_WAITING | ZW_RV_STATE_IN_TRAP | ZW_RV_STATE_HALTED |
			       ZW_RV_STATE_HALT_DOUBLE | ZW_RV_STATE_RESERVED;
	bool reserved = st->flags & ZW_RV_STATE_RESERVED;

	if (st->version != ZW_RV_STATE_VERSION || (st->flags & ~known))
		return -EINVAL;
	if (reserved && st->lr_size != 4 && st->lr_size != 8)
		return -EINVAL;

	memcpy(rv->x, st->x, sizeof(st->x));
	rv->x[0] = 0;
	rv->pc = st->pc & ~UINT64_C(1);
	rv->mstatus = (st->mstatus & (RV_MSTATUS_MIE | RV_MSTATUS_MPIE)) | RV_MSTATUS_MPP;
	RV_PUT(rv->mie, (uint32_t)st->mie & ZW_RV_IRQ_ALL);
	rv->mtvec = st->mtvec & ~UINT64_C(2);
	rv->mscratch = st->mscratch;
	rv->mepc = st->mepc & ~UINT64_C(1);
	rv->mcause = st->mcause;
	rv->mtval = st->mtval;
	rv->mcycle = st->mcycle;
	rv->minstret = st->minstret;
	RV_PUT(rv->msip, (uint32_t)st->msip & 1);
	RV_PUT(rv->mtimecmp, st->mtimecmp);
	rv->waiting = st->flags & ZW_RV_STATE_WAITING;
	rv->in_trap = st->flags & ZW_RV_STATE_IN_TRAP;
	rv->lr_addr = st->lr_addr;
	rv->lr_val = st->lr_val;
	rv->lr_size = reserved ? (uint32_t)st->lr_size : 0;
	rv->halted = st->flags & ZW_RV_STATE_HALTED;
	rv->halt = (struct zw_rv_halt){st->halt_cause, st->halt_epc, st->halt_tval,
				       st->flags & ZW_RV_STATE_HALT_DOUBLE};
	zw_rvi_cache_flush(rv);
	return 0;
}

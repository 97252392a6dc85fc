// SPDX-License-Identifier: MIT
/*
 * Memory accesses that are not an aligned load or store of RAM: misaligned ones, the CLINT, the bus
 * of the owner, and atomics.
 */
#include "rv_int.h"

/* Whether [addr, addr + size) is inside of RAM. */
static bool in_ram(const struct zw_rv *rv, uint64_t addr, unsigned size, uint64_t *off)
{
	*off = addr - rv->ram_base;
	return *off < rv->ram_size && size <= rv->ram_size - *off;
}

/* Whether any byte of it is. */
static bool touches_ram(const struct zw_rv *rv, uint64_t addr, unsigned size)
{
	return addr - rv->ram_base < rv->ram_size ||
	       addr + (size - 1) - rv->ram_base < rv->ram_size;
}

static bool in_clint(const struct zw_rv *rv, uint64_t addr)
{
	return rv->cfg.clint && addr - rv->cfg.clint_base < ZW_RV_CLINT_SIZE;
}

/* A 4 or 8-byte access to a 64-bit register at @reg: the shift of the half meant, or -1. */
static int half_shift(uint64_t off, uint64_t reg, unsigned size)
{
	if (off == reg && (size == 8 || size == 4))
		return 0;
	if (off == reg + 4 && size == 4)
		return 32;
	return -1;
}

static int clint_load(struct zw_rv *rv, uint64_t off, unsigned size, uint64_t *val)
{
	int shift;

	if (off == ZW_RV_CLINT_MSIP && size == 4) {
		*val = RV_GET(rv->msip);
		return 0;
	}
	if ((shift = half_shift(off, ZW_RV_CLINT_MTIMECMP, size)) >= 0)
		*val = RV_GET(rv->mtimecmp) >> shift;
	else if ((shift = half_shift(off, ZW_RV_CLINT_MTIME, size)) >= 0)
		*val = rv->cfg.mtime(rv->cfg.opaque) >> shift;
	else
		return ZW_RV_CAUSE_LOAD_ACCESS;
	if (size == 4)
		*val &= UINT32_MAX;
	return 0;
}

static int clint_store(struct zw_rv *rv, uint64_t off, unsigned size, uint64_t val)
{
	int shift;

	if (off == ZW_RV_CLINT_MSIP && size == 4) {
		RV_PUT(rv->msip, (uint32_t)val & 1);
		return 0;
	}
	shift = half_shift(off, ZW_RV_CLINT_MTIMECMP, size);
	if (shift < 0)
		return ZW_RV_CAUSE_STORE_ACCESS;
	if (size == 4) {
		uint64_t keep = RV_GET(rv->mtimecmp) & ~((uint64_t)UINT32_MAX << shift);

		val = keep | (val & UINT32_MAX) << shift;
	}
	RV_PUT(rv->mtimecmp, val);
	return 0;
}

int zw_rvi_load_slow(struct zw_rv *rv, uint64_t addr, unsigned size, uint64_t *val)
{
	uint64_t off, v = 0;

	if (in_ram(rv, addr, size, &off)) {
		for (unsigned k = 0; k < size; k++)
			v |= (uint64_t)rv_ram_ld8(rv->ram + off + k) << (8 * k);
		*val = v;
		return 0;
	}
	if (touches_ram(rv, addr, size))
		return ZW_RV_CAUSE_LOAD_ACCESS;
	if (addr & (size - 1))
		return ZW_RV_CAUSE_LOAD_MISALIGNED;
	if (in_clint(rv, addr))
		return clint_load(rv, addr - rv->cfg.clint_base, size, val);
	if (!rv->cfg.bus.load || rv->cfg.bus.load(rv->cfg.opaque, addr, size, &v))
		return ZW_RV_CAUSE_LOAD_ACCESS;
	*val = size == 8 ? v : v & ((UINT64_C(1) << (8 * size)) - 1);
	return 0;
}

int zw_rvi_store_slow(struct zw_rv *rv, uint64_t addr, unsigned size, uint64_t val)
{
	uint64_t off;

	if (in_ram(rv, addr, size, &off)) {
		for (unsigned k = 0; k < size; k++)
			rv_ram_st8(rv->ram + off + k, (uint8_t)(val >> (8 * k)));
		return 0;
	}
	if (touches_ram(rv, addr, size))
		return ZW_RV_CAUSE_STORE_ACCESS;
	if (addr & (size - 1))
		return ZW_RV_CAUSE_STORE_MISALIGNED;
	if (in_clint(rv, addr))
		return clint_store(rv, addr - rv->cfg.clint_base, size, val);
	if (size < 8)
		val &= (UINT64_C(1) << (8 * size)) - 1;
	if (!rv->cfg.bus.store || rv->cfg.bus.store(rv->cfg.opaque, addr, size, val))
		return ZW_RV_CAUSE_STORE_ACCESS;
	return 0;
}

static bool op_is_word(enum rv_op op)
{
	switch (op) {
	case RV_OP_LR_W:
	case RV_OP_SC_W:
	case RV_OP_AMOSWAP_W:
	case RV_OP_AMOADD_W:
	case RV_OP_AMOXOR_W:
	case RV_OP_AMOAND_W:
	case RV_OP_AMOOR_W:
	case RV_OP_AMOMIN_W:
	case RV_OP_AMOMAX_W:
	case RV_OP_AMOMINU_W:
	case RV_OP_AMOMAXU_W:
		return true;
	default:
		return false;
	}
}

/* Operands and result of the .W forms are sign extended, which serves MINU/MAXU as well. */
static uint64_t amo_result(enum rv_op op, uint64_t old, uint64_t src)
{
	switch (op) {
	case RV_OP_AMOSWAP_W:
	case RV_OP_AMOSWAP_D:
		return src;
	case RV_OP_AMOADD_W:
	case RV_OP_AMOADD_D:
		return old + src;
	case RV_OP_AMOXOR_W:
	case RV_OP_AMOXOR_D:
		return old ^ src;
	case RV_OP_AMOAND_W:
	case RV_OP_AMOAND_D:
		return old & src;
	case RV_OP_AMOOR_W:
	case RV_OP_AMOOR_D:
		return old | src;
	case RV_OP_AMOMIN_W:
	case RV_OP_AMOMIN_D:
		return (int64_t)old < (int64_t)src ? old : src;
	case RV_OP_AMOMAX_W:
	case RV_OP_AMOMAX_D:
		return (int64_t)old > (int64_t)src ? old : src;
	case RV_OP_AMOMINU_W:
	case RV_OP_AMOMINU_D:
		return old < src ? old : src;
	default: /* MAXU */
		return old > src ? old : src;
	}
}

static uint64_t sext32(uint64_t v)
{
	return (uint64_t)(int64_t)(int32_t)(uint32_t)v;
}

/*
 * Store @want at @p if it still holds *@seen (both sign extended if @word); else update *@seen.
 * Everything is sequentially consistent: aq and rl need no decoding.
 */
static bool cas(uint8_t *p, bool word, uint64_t *seen, uint64_t want)
{
	if (word) {
		uint32_t e = RV_LE32((uint32_t)*seen);
		bool ok = __atomic_compare_exchange_n((rv_u32 *)(void *)p, &e,
						      RV_LE32((uint32_t)want), false,
						      __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);

		*seen = sext32(RV_LE32(e));
		return ok;
	} else {
		uint64_t e = RV_LE64(*seen);
		bool ok = __atomic_compare_exchange_n((rv_u64 *)(void *)p, &e, RV_LE64(want), false,
						      __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);

		*seen = RV_LE64(e);
		return ok;
	}
}

int zw_rvi_atomic(struct zw_rv *rv, enum rv_op op, uint64_t addr, uint64_t src, uint64_t *old)
{
	bool word = op_is_word(op), lr = op == RV_OP_LR_W || op == RV_OP_LR_D;
	unsigned size = word ? 4 : 8;
	uint64_t off, seen;
	uint8_t *p;

	if (addr & (size - 1))
		return lr ? ZW_RV_CAUSE_LOAD_MISALIGNED : ZW_RV_CAUSE_STORE_MISALIGNED;
	if (!in_ram(rv, addr, size, &off))
		return lr ? ZW_RV_CAUSE_LOAD_ACCESS : ZW_RV_CAUSE_STORE_ACCESS;
	p = rv->ram + off;

	if (op == RV_OP_SC_W || op == RV_OP_SC_D) {
		bool ok = rv->lr_size == size && rv->lr_addr == addr;

		if (ok) {
			seen = rv->lr_val;
			ok = cas(p, word, &seen, src);
		}
		rv->lr_size = 0;
		*old = !ok;
		return 0;
	}

	seen = word ? sext32(rv_ram_ld32(p)) : rv_ram_ld64(p);
	if (lr) {
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		rv->lr_addr = addr;
		rv->lr_size = size;
		rv->lr_val = seen;
		*old = seen;
		return 0;
	}
	if (word)
		src = sext32(src);
	while (!cas(p, word, &seen, amo_result(op, seen, src)))
		;
	*old = seen;
	return 0;
}

// SPDX-License-Identifier: MIT
/*
 * The interpreter: pre-decoded instructions, dispatched by computed goto.
 *
 * rv_exec() runs without looking at the outside world; zw_rv_run() calls it for at most
 * ZW_RV_POLL_INSNS instructions at a time and looks in between.
 */
#include "rv_int.h"

/* A GNU extension like the computed goto; every compiler that QEMU supports has both. */
__extension__ typedef __int128 rv_i128;
__extension__ typedef unsigned __int128 rv_u128;

enum rv_event {
	RV_EV_LOOK, /* the count is used up, or something may have become pending */
	RV_EV_EXC,  /* exc_cause, exc_tval; pc is the instruction, which did not retire */
	RV_EV_WFI,  /* retired */
};

static inline uint64_t sext32(uint64_t v)
{
	return (uint64_t)(int64_t)(int32_t)(uint32_t)v;
}

static uint64_t div_s(uint64_t a, uint64_t b)
{
	if (!b)
		return UINT64_MAX;
	if ((int64_t)a == INT64_MIN && b == UINT64_MAX)
		return a;
	return (uint64_t)((int64_t)a / (int64_t)b);
}

static uint64_t rem_s(uint64_t a, uint64_t b)
{
	if (!b)
		return a;
	if ((int64_t)a == INT64_MIN && b == UINT64_MAX)
		return 0;
	return (uint64_t)((int64_t)a % (int64_t)b);
}

static uint64_t divw(uint64_t a, uint64_t b)
{
	int32_t n = (int32_t)(uint32_t)a, d = (int32_t)(uint32_t)b;

	if (!d)
		return UINT64_MAX;
	if (n == INT32_MIN && d == -1)
		return sext32((uint32_t)n);
	return sext32((uint32_t)(n / d));
}

static uint64_t remw(uint64_t a, uint64_t b)
{
	int32_t n = (int32_t)(uint32_t)a, d = (int32_t)(uint32_t)b;

	if (!d)
		return sext32(a);
	if (n == INT32_MIN && d == -1)
		return 0;
	return sext32((uint32_t)(n % d));
}

static uint64_t divuw(uint64_t a, uint64_t b)
{
	return (uint32_t)b ? sext32((uint32_t)a / (uint32_t)b) : UINT64_MAX;
}

static uint64_t remuw(uint64_t a, uint64_t b)
{
	return (uint32_t)b ? sext32((uint32_t)a % (uint32_t)b) : sext32(a);
}

/*
 * Execute up to *@count (> 0) instructions from rv->pc, which is inside of RAM. Leaves in *@count
 * what is left of it; an instruction that raised an exception is not counted here.
 */
static enum rv_event rv_exec(struct zw_rv *rv, uint64_t *count)
{
#define RV_OP_LABEL(name) &&op_##name,
	static const void *const labels[RV_OP_COUNT] = {RV_OPS(RV_OP_LABEL)};
	struct rv_insn *const slots = rv->slots;
	const uintptr_t slots_bytes = (uintptr_t)rv->nslots * sizeof(*slots);
	uint8_t *const ram = rv->ram;
	const uint64_t base = rv->ram_base, size = rv->ram_size;
	uint64_t *const x = rv->x;
	struct rv_insn *d = &slots[(rv->pc - base) >> 1];
	uint64_t left = *count, counted = left;
	uint64_t addr, val, tval;
	enum rv_event event;
	int cause;

#define PC()     (base + ((uint64_t)(d - slots) << 1))
#define IMM      ((uint64_t)(int64_t)d->imm)
#define RS1      (x[d->rs1])
#define RS2      (x[d->rs2])
#define RD       (x[d->rd])
#define S(v)     ((int64_t)(v))
#define W(v)     ((uint32_t)(v))
#define OP(name) op_##name:
/* Bring the counters up to date: `left` is exact before the current instruction. */
#define SYNC()                                                                                     \
	do {                                                                                       \
		rv->mcycle += counted - left;                                                      \
		rv->minstret += counted - left;                                                    \
		counted = left;                                                                    \
	} while (0)
#define DISPATCH() goto *labels[d->op]
/* retire the instruction before d */
#define RETIRE()                                                                                   \
	do {                                                                                       \
		if (RV_UNLIKELY(!--left))                                                          \
			goto out;                                                                  \
		DISPATCH();                                                                        \
	} while (0)
#define NEXT()                                                                                     \
	do {                                                                                       \
		d += d->step;                                                                      \
		RETIRE();                                                                          \
	} while (0)
#define ALU(name, expr)                                                                            \
	OP(name)                                                                                   \
	RD = (expr);                                                                               \
	NEXT();
/*
 * Jump by imm, which counts bytes of slots. In integers, since a pointer outside of the slots must
 * not even be formed; a target before them wraps around and is refused as well.
 */
#define JUMP_REL()                                                                                 \
	do {                                                                                       \
		uintptr_t to = (uintptr_t)d - (uintptr_t)slots + (uintptr_t)(intptr_t)d->imm;      \
		if (RV_UNLIKELY(to >= slots_bytes)) {                                              \
			addr = PC() + (uint64_t)(d->imm / RV_SLOT_SCALE);                          \
			goto jump_out;                                                             \
		}                                                                                  \
		d = (struct rv_insn *)((uintptr_t)slots + to);                                     \
		RETIRE();                                                                          \
	} while (0)
#define BRANCH(name, cond)                                                                         \
	OP(name)                                                                                   \
	if (cond)                                                                                  \
		JUMP_REL();                                                                        \
	NEXT();
/*
 * One comparison for range and alignment: rotating the offset right by log2 of the access size
 * moves bits of a misaligned one to the top. RAM's size is a multiple of 8.
 */
#define RAM_FAST(sh)                                                                               \
	(addr = RS1 + IMM - base,                                                                  \
	 RV_LIKELY((sh) ? (addr >> (sh) | addr << (64 - (sh))) < size >> (sh) : addr < size))
#define LOAD(name, sh, fast, type)                                                                 \
	OP(name)                                                                                   \
	if (RAM_FAST(sh)) {                                                                        \
		val = fast(ram + addr);                                                            \
	} else {                                                                                   \
		addr += base;                                                                      \
		SYNC();                                                                            \
		rv->pc = PC();                                                                     \
		cause = zw_rvi_load_slow(rv, addr, 1u << (sh), &val);                              \
		if (cause)                                                                         \
			goto mem_fault;                                                            \
	}                                                                                          \
	RD = (uint64_t)(type)val;                                                                  \
	NEXT();
#define STORE(name, sh, fast, type)                                                                \
	OP(name)                                                                                   \
	if (RAM_FAST(sh)) {                                                                        \
		fast(ram + addr, (type)RS2);                                                       \
		NEXT();                                                                            \
	}                                                                                          \
	addr += base;                                                                              \
	SYNC();                                                                                    \
	rv->pc = PC();                                                                             \
	cause = zw_rvi_store_slow(rv, addr, 1u << (sh), RS2);                                      \
	if (cause)                                                                                 \
		goto mem_fault;                                                                    \
	goto look;

	DISPATCH();

	OP(DECODE)
	zw_rvi_decode(rv, (uint64_t)(d - slots) << 1);
	DISPATCH();

	OP(FETCH_FAULT)
	cause = ZW_RV_CAUSE_FETCH_ACCESS;
	tval = PC() + IMM;
	goto exception;

	OP(ILLEGAL)
	goto illegal;

	ALU(LUI, IMM)
	ALU(AUIPC, PC() + IMM)

	OP(JAL)
	RD = PC() + 2u * d->step;
	JUMP_REL();

	OP(JALR)
	addr = (RS1 + IMM) & ~UINT64_C(1);
	RD = PC() + 2u * d->step;
	if (RV_UNLIKELY(addr - base >= size))
		goto jump_out;
	d = &slots[(addr - base) >> 1];
	RETIRE();

	BRANCH(BEQ, RS1 == RS2)
	BRANCH(BNE, RS1 != RS2)
	BRANCH(BLT, S(RS1) < S(RS2))
	BRANCH(BGE, S(RS1) >= S(RS2))
	BRANCH(BLTU, RS1 < RS2)
	BRANCH(BGEU, RS1 >= RS2)

	LOAD(LB, 0, rv_ram_ld8, int8_t)
	LOAD(LH, 1, rv_ram_ld16, int16_t)
	LOAD(LW, 2, rv_ram_ld32, int32_t)
	LOAD(LD, 3, rv_ram_ld64, uint64_t)
	LOAD(LBU, 0, rv_ram_ld8, uint8_t)
	LOAD(LHU, 1, rv_ram_ld16, uint16_t)
	LOAD(LWU, 2, rv_ram_ld32, uint32_t)

	STORE(SB, 0, rv_ram_st8, uint8_t)
	STORE(SH, 1, rv_ram_st16, uint16_t)
	STORE(SW, 2, rv_ram_st32, uint32_t)
	STORE(SD, 3, rv_ram_st64, uint64_t)

	ALU(ADDI, RS1 + IMM)
	ALU(SLTI, S(RS1) < S(IMM))
	ALU(SLTIU, RS1 < IMM)
	ALU(XORI, RS1 ^ IMM)
	ALU(ORI, RS1 | IMM)
	ALU(ANDI, RS1 & IMM)
	ALU(SLLI, RS1 << d->imm)
	ALU(SRLI, RS1 >> d->imm)
	ALU(SRAI, (uint64_t)(S(RS1) >> d->imm))
	ALU(ADD, RS1 + RS2)
	ALU(SUB, RS1 - RS2)
	ALU(SLL, RS1 << (RS2 & 63))
	ALU(SLT, S(RS1) < S(RS2))
	ALU(SLTU, RS1 < RS2)
	ALU(XOR, RS1 ^ RS2)
	ALU(SRL, RS1 >> (RS2 & 63))
	ALU(SRA, (uint64_t)(S(RS1) >> (RS2 & 63)))
	ALU(OR, RS1 | RS2)
	ALU(AND, RS1 & RS2)

	ALU(ADDIW, sext32(RS1 + IMM))
	ALU(SLLIW, sext32(RS1 << d->imm))
	ALU(SRLIW, sext32(W(RS1) >> d->imm))
	ALU(SRAIW, (uint64_t)(int64_t)((int32_t)W(RS1) >> d->imm))
	ALU(ADDW, sext32(RS1 + RS2))
	ALU(SUBW, sext32(RS1 - RS2))
	ALU(SLLW, sext32(RS1 << (RS2 & 31)))
	ALU(SRLW, sext32(W(RS1) >> (RS2 & 31)))
	ALU(SRAW, (uint64_t)(int64_t)((int32_t)W(RS1) >> (RS2 & 31)))

	ALU(MUL, RS1 * RS2)
	ALU(MULH, (uint64_t)(((rv_i128)S(RS1) * S(RS2)) >> 64))
	ALU(MULHSU, (uint64_t)(((rv_i128)S(RS1) * (rv_i128)RS2) >> 64))
	ALU(MULHU, (uint64_t)(((rv_u128)RS1 * RS2) >> 64))
	ALU(DIV, div_s(RS1, RS2))
	ALU(DIVU, RS2 ? RS1 / RS2 : UINT64_MAX)
	ALU(REM, rem_s(RS1, RS2))
	ALU(REMU, RS2 ? RS1 % RS2 : RS1)
	ALU(MULW, sext32(RS1 * RS2))
	ALU(DIVW, divw(RS1, RS2))
	ALU(DIVUW, divuw(RS1, RS2))
	ALU(REMW, remw(RS1, RS2))
	ALU(REMUW, remuw(RS1, RS2))

op_LR_W:
op_SC_W:
op_LR_D:
op_SC_D:
op_AMOSWAP_W:
op_AMOADD_W:
op_AMOXOR_W:
op_AMOAND_W:
op_AMOOR_W:
op_AMOMIN_W:
op_AMOMAX_W:
op_AMOMINU_W:
op_AMOMAXU_W:
op_AMOSWAP_D:
op_AMOADD_D:
op_AMOXOR_D:
op_AMOAND_D:
op_AMOOR_D:
op_AMOMIN_D:
op_AMOMAX_D:
op_AMOMINU_D:
op_AMOMAXU_D:
	addr = RS1;
	cause = zw_rvi_atomic(rv, (enum rv_op)d->op, addr, RS2, &val);
	if (cause)
		goto mem_fault;
	RD = val;
	NEXT();

	OP(FENCE)
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	NEXT();

	OP(FENCE_I)
	/* first step, then flush: the flush clears this very slot */
	d += d->step;
	zw_rvi_cache_flush(rv);
	RETIRE();

op_CSRRW:
op_CSRRS:
op_CSRRC:
op_CSRRWI:
op_CSRRSI:
op_CSRRCI:
	SYNC();
	if (!zw_rvi_csr_insn(rv, d, &val))
		goto illegal;
	RD = val;
	/* these two may have let an interrupt through */
	if (d->imm == ZW_RV_CSR_MSTATUS || d->imm == ZW_RV_CSR_MIE)
		goto look;
	NEXT();

	OP(MRET)
	zw_rvi_mret(rv);
	addr = rv->pc;
	goto jump_out;

	OP(WFI)
	event = RV_EV_WFI;
	d += d->step;
	left--;
	rv->pc = PC();
	goto leave;

	OP(ECALL)
	cause = ZW_RV_CAUSE_ECALL_M;
	tval = 0;
	goto exception;

	OP(EBREAK)
	cause = ZW_RV_CAUSE_BREAKPOINT;
	tval = PC();
	goto exception;

illegal:
	cause = ZW_RV_CAUSE_ILLEGAL;
	tval = d->raw;
	goto exception;

mem_fault:
	tval = addr;
exception:
	rv->exc_cause = (uint64_t)cause;
	rv->exc_tval = tval;
	event = RV_EV_EXC;
	rv->pc = PC();
	goto leave;

jump_out: /* to addr, where there may be no RAM; zw_rv_run() finds out */
	event = RV_EV_LOOK;
	left--;
	rv->pc = addr;
	goto leave;

look:
	d += d->step;
	left--;
out:
	event = RV_EV_LOOK;
	rv->pc = PC();
leave:
	SYNC();
	*count = left;
	return event;
}

/* Take the interrupt of the highest priority, if any may be taken. */
static void take_irq(struct zw_rv *rv)
{
	uint32_t pending;
	unsigned n;

	if (!(rv->mstatus & RV_MSTATUS_MIE))
		return;
	pending = zw_rvi_mip(rv) & RV_GET(rv->mie);
	if (!pending)
		return;
	n = pending & ZW_RV_IRQ_MEI ? 11 : pending & ZW_RV_IRQ_MSI ? 3 : 7;
	rv->waiting = false;
	zw_rvi_trap(rv, ZW_RV_CAUSE_INTERRUPT | n, rv->pc, 0);
}

/* Masked or not: an interrupt that mie lets through ends WFI even when mstatus.MIE is off. */
static bool wfi_over(struct zw_rv *rv)
{
	return zw_rvi_mip(rv) & RV_GET(rv->mie);
}

enum zw_rv_stop zw_rv_run(struct zw_rv *rv, uint64_t budget)
{
	for (;;) {
		uint64_t chunk, left;
		enum rv_event event;

		if (rv->halted)
			return ZW_RV_STOP_HALT;
		if (RV_GET(rv->stop) && __atomic_exchange_n(&rv->stop, 0, __ATOMIC_ACQUIRE))
			return ZW_RV_STOP_EXTERNAL;
		if (RV_GET(rv->inval))
			zw_rvi_cache_flush_pending(rv);
		if (rv->waiting) {
			if (!wfi_over(rv))
				return ZW_RV_STOP_WFI;
			rv->waiting = false;
		}
		if (!budget)
			return ZW_RV_STOP_BUDGET;
		take_irq(rv);
		if (rv->halted)
			continue;

		if (rv->pc - rv->ram_base >= rv->ram_size) {
			budget--;
			rv->mcycle++;
			zw_rvi_trap(rv, ZW_RV_CAUSE_FETCH_ACCESS, rv->pc, rv->pc);
			continue;
		}

		chunk = left = budget < ZW_RV_POLL_INSNS ? budget : ZW_RV_POLL_INSNS;
		event = rv_exec(rv, &left);
		budget -= chunk - left;
		if (event == RV_EV_EXC) {
			budget--;
			rv->mcycle++;
			zw_rvi_trap(rv, rv->exc_cause, rv->pc, rv->exc_tval);
		} else if (event == RV_EV_WFI) {
			rv->waiting = true;
		}
	}
}

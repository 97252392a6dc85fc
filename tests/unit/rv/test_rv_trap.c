// SPDX-License-Identifier: MIT
/* Exceptions, interrupts, WFI, CSRs, the bus and the CLINT. */
#include "rv_harness.h"

#define MIE  8u
#define MPIE 0x80u
#define MPP  0x1800u

static void with_handler(struct hart *h)
{
	hart_clear(h);
	set_csr(h, ZW_RV_CSR_MTVEC, HANDLER);
}

static void test_ecall_ebreak(void **state)
{
	struct hart *h = *state;

	with_handler(h);
	emit(h, NOP);
	emit(h, ECALL);
	set_csr(h, ZW_RV_CSR_MSTATUS, MIE);
	step(h, 1);
	expect_trap(h, ZW_RV_CAUSE_ECALL_M, RAM_BASE + 4, 0);
	assert_u64(csr(h, ZW_RV_CSR_MSTATUS), MPP | MPIE);
	assert_int_equal(h->traps, 1);
	/* the ecall was attempted and did not retire */
	assert_u64(csr(h, ZW_RV_CSR_MCYCLE), 2);
	assert_u64(csr(h, ZW_RV_CSR_MINSTRET), 1);

	/* back, behind it */
	set_csr(h, ZW_RV_CSR_MEPC, RAM_BASE + 8);
	poke(h, HANDLER, 4, MRET);
	step(h, 1);
	assert_u64(zw_rv_pc(h->rv), RAM_BASE + 8);
	assert_u64(csr(h, ZW_RV_CSR_MSTATUS), MPP | MPIE | MIE);

	with_handler(h);
	emit(h, EBREAK);
	expect_trap(h, ZW_RV_CAUSE_BREAKPOINT, RAM_BASE, RAM_BASE);
	with_handler(h);
	emit16(h, 0x9002); /* c.ebreak */
	expect_trap(h, ZW_RV_CAUSE_BREAKPOINT, RAM_BASE, RAM_BASE);
}

/* Loads and stores that reach nothing, each kind; the destination register must not change. */
static void test_access_faults(void **state)
{
	struct hart *h = *state;
	static const uint64_t nowhere[] = {
		0,
		8,
		RAM_BASE - 8,
		RAM_BASE + RAM_SIZE,
		MMIO + 16,
		UINT64_MAX - 7,
		CLINT + 8,
		CLINT + ZW_RV_CLINT_SIZE,
	};

	for (size_t k = 0; k < sizeof(nowhere) / sizeof(nowhere[0]); k++) {
		for (unsigned sz = 0; sz < 4; sz++) {
			with_handler(h);
			emit(h, enc_i(0x03, sz, 12, 10, 0));
			zw_rv_set_reg(h->rv, 10, nowhere[k]);
			zw_rv_set_reg(h->rv, 12, 0x5555);
			expect_trap(h, ZW_RV_CAUSE_LOAD_ACCESS, RAM_BASE, nowhere[k]);
			assert_u64(reg(h, 12), 0x5555);

			with_handler(h);
			emit(h, enc_s(sz, 10, 11, 0));
			zw_rv_set_reg(h->rv, 10, nowhere[k]);
			expect_trap(h, ZW_RV_CAUSE_STORE_ACCESS, RAM_BASE, nowhere[k]);
		}
	}

	/* across either end of RAM: nothing of it happens */
	with_handler(h);
	poke(h, RAM_BASE + RAM_SIZE - 4, 4, 0x11223344);
	emit(h, SD(11, 10, 0));
	zw_rv_set_reg(h->rv, 10, RAM_BASE + RAM_SIZE - 4);
	expect_trap(h, ZW_RV_CAUSE_STORE_ACCESS, RAM_BASE, RAM_BASE + RAM_SIZE - 4);
	assert_u64(peek(h, RAM_BASE + RAM_SIZE - 4, 4), 0x11223344);
	with_handler(h);
	emit(h, LD(12, 10, 0));
	zw_rv_set_reg(h->rv, 10, RAM_BASE - 4);
	expect_trap(h, ZW_RV_CAUSE_LOAD_ACCESS, RAM_BASE, RAM_BASE - 4);
}

static void test_misaligned(void **state)
{
	struct hart *h = *state;
	static const unsigned amo_f5[] = {0x00, 0x01, 0x03, 0x04, 0x08, 0x10, 0x1c};

	/* devices: no misaligned access ever reaches them */
	with_handler(h);
	emit(h, LW(12, 10, 2));
	zw_rv_set_reg(h->rv, 10, MMIO);
	expect_trap(h, ZW_RV_CAUSE_LOAD_MISALIGNED, RAM_BASE, MMIO + 2);
	with_handler(h);
	emit(h, SD(12, 10, 4));
	zw_rv_set_reg(h->rv, 10, MMIO);
	expect_trap(h, ZW_RV_CAUSE_STORE_MISALIGNED, RAM_BASE, MMIO + 4);
	assert_int_equal(h->mmio_loads + h->mmio_stores, 0);

	/* atomics: alignment first, then whether there is RAM */
	for (int where = 0; where < 3; where++) {
		uint64_t addr = where == 0 ? DATA + 2 : where == 1 ? MMIO : RAM_BASE + RAM_SIZE;

		with_handler(h);
		emit(h, AMO(2, 2, 12, 10, 0));
		zw_rv_set_reg(h->rv, 10, addr);
		expect_trap(h, where ? ZW_RV_CAUSE_LOAD_ACCESS : ZW_RV_CAUSE_LOAD_MISALIGNED,
			    RAM_BASE, addr);
		for (size_t k = 0; k < sizeof(amo_f5) / sizeof(amo_f5[0]); k++) {
			with_handler(h);
			emit(h, AMO(amo_f5[k], 2, 12, 10, 11));
			zw_rv_set_reg(h->rv, 10, addr);
			expect_trap(h,
				    where ? ZW_RV_CAUSE_STORE_ACCESS : ZW_RV_CAUSE_STORE_MISALIGNED,
				    RAM_BASE, addr);
		}
	}
	with_handler(h);
	emit(h, AMO(0, 3, 12, 10, 11)); /* a .d needs 8 */
	zw_rv_set_reg(h->rv, 10, DATA + 4);
	expect_trap(h, ZW_RV_CAUSE_STORE_MISALIGNED, RAM_BASE, DATA + 4);
	assert_int_equal(h->mmio_loads + h->mmio_stores, 0);
}

/* Every way to leave RAM. A jump retires; what faults is the fetch at its target. */
static void test_fetch_faults(void **state)
{
	struct hart *h = *state;
	const uint64_t end = RAM_BASE + RAM_SIZE;
	const struct {
		uint64_t at;
		uint32_t insn;
		uint64_t a0, target;
	} t[] = {
		{RAM_BASE, JALR(1, 10, 0), 0x1000, 0x1000},
		{RAM_BASE, JALR(1, 10, 0), end + 1, end},
		{RAM_BASE, JALR(1, 10, 0), UINT64_MAX, UINT64_MAX - 1},
		{RAM_BASE, JAL(1, -2), 0, RAM_BASE - 2},
		{RAM_BASE, JAL(1, -0x100000), 0, RAM_BASE - 0x100000},
		{RAM_BASE, JAL(1, 0xffffe), 0, RAM_BASE + 0xffffe},
		{RAM_BASE, JAL(1, 0x10000), 0, end},
		{RAM_BASE, BEQ(0, 0, -4096), 0, RAM_BASE - 4096},
		{end - 8, BEQ(0, 0, 8), 0, end},
		{end - 4, NOP, 0, end},              /* running off the end */
		{RAM_BASE, 0xbffd, 0, RAM_BASE - 2}, /* c.j -2 */
	};

	for (size_t k = 0; k < sizeof(t) / sizeof(t[0]); k++) {
		bool link = (t[k].insn & 0xfff) == 0x0ef || (t[k].insn & 0xfff) == 0x0e7;

		for (int together = 0; together < 2; together++) {
			with_handler(h);
			poke(h, t[k].at, 4, t[k].insn);
			zw_rv_set_pc(h->rv, t[k].at);
			zw_rv_set_reg(h->rv, 10, t[k].a0);
			/* as one run and as two: the budget may end between jump and fault */
			if (together) {
				step(h, 2);
			} else {
				step(h, 1);
				assert_u64(zw_rv_pc(h->rv), t[k].target);
				assert_u64(csr(h, ZW_RV_CSR_MCAUSE), 0);
				step(h, 1);
			}
			assert_u64(zw_rv_pc(h->rv), HANDLER);
			assert_u64(csr(h, ZW_RV_CSR_MCAUSE), ZW_RV_CAUSE_FETCH_ACCESS);
			assert_u64(csr(h, ZW_RV_CSR_MEPC), t[k].target);
			assert_u64(csr(h, ZW_RV_CSR_MTVAL), t[k].target);
			assert_u64(csr(h, ZW_RV_CSR_MINSTRET), 1);
			assert_u64(csr(h, ZW_RV_CSR_MCYCLE), 2);
			if (link)
				assert_u64(reg(h, 1), t[k].at + 4);
		}
	}

	/* a 4-byte instruction of which only the first half is there: mtval points to the other */
	with_handler(h);
	poke(h, end - 2, 2, NOP & 0xffff);
	zw_rv_set_pc(h->rv, end - 2);
	expect_trap(h, ZW_RV_CAUSE_FETCH_ACCESS, end - 2, end);
	/* while a 2-byte one fits */
	with_handler(h);
	poke(h, end - 2, 2, C_NOP);
	zw_rv_set_pc(h->rv, end - 2);
	step(h, 1);
	assert_u64(zw_rv_pc(h->rv), end);
}

static void test_csr_rules(void **state)
{
	struct hart *h = *state;
	static const uint16_t readonly[] = {0xc00, 0xc01, 0xc02, 0xf11, 0xf12, 0xf13, 0xf14, 0xf15};
	static const uint16_t missing[] = {
		0x000, 0x001, 0x003, 0x100, 0x105, 0x180, 0x302, 0x303, 0x306, 0x30a, 0x310,
		0x3a0, 0x3b0, 0x744, 0x7a0, 0x7b0, 0xb01, 0xc03, 0xc80, 0xf10, 0xf16, 0xfff,
	};
	static const struct {
		uint16_t csr;
		uint64_t ones; /* after writing all ones */
		uint64_t zero; /* after writing 0 */
	} warl[] = {
		{0x300, MPP | MPIE | MIE, MPP},
		{0x301, 0x8000000000001105, 0x8000000000001105},
		{0x304, 0x888, 0},
		{0x305, UINT64_MAX - 2, 0},
		{0x320, 0, 0},
		{0x323, 0, 0},
		{0x33f, 0, 0},
		{0x340, UINT64_MAX, 0},
		{0x341, UINT64_MAX - 1, 0},
		{0x342, UINT64_MAX, 0},
		{0x343, UINT64_MAX, 0},
		{0x344, 0, 0},
		{0xb03, 0, 0},
		{0xb1f, 0, 0},
	};

	for (size_t k = 0; k < sizeof(readonly) / sizeof(readonly[0]); k++) {
		uint32_t w[] = {
			CSRRW(12, readonly[k], 0),  CSRRS(12, readonly[k], 10),
			CSRRC(12, readonly[k], 10), CSRRWI(12, readonly[k], 0),
			CSRRSI(12, readonly[k], 1), CSRRCI(12, readonly[k], 1),
		};
		uint32_t r[] = {CSRRS(12, readonly[k], 0), CSRRC(12, readonly[k], 0),
				CSRRSI(12, readonly[k], 0), CSRRCI(12, readonly[k], 0)};

		/* x10 holds 0: it is the register number that makes it a write */
		for (size_t j = 0; j < sizeof(w) / sizeof(w[0]); j++) {
			with_handler(h);
			emit(h, w[j]);
			expect_trap(h, ZW_RV_CAUSE_ILLEGAL, RAM_BASE, w[j]);
		}
		for (size_t j = 0; j < sizeof(r) / sizeof(r[0]); j++) {
			with_handler(h);
			emit(h, r[j]);
			step(h, 1);
			assert_u64(zw_rv_pc(h->rv), RAM_BASE + 4);
		}
	}
	for (size_t k = 0; k < sizeof(missing) / sizeof(missing[0]); k++) {
		uint64_t v;

		with_handler(h);
		emit(h, CSRRS(12, missing[k], 0));
		expect_trap(h, ZW_RV_CAUSE_ILLEGAL, RAM_BASE, CSRRS(12, missing[k], 0));
		assert_int_not_equal(zw_rv_csr_read(h->rv, missing[k], &v), 0);
		assert_int_not_equal(zw_rv_csr_write(h->rv, missing[k], 0), 0);
	}
	for (size_t k = 0; k < sizeof(warl) / sizeof(warl[0]); k++) {
		hart_clear(h);
		emit(h, CSRRW(0, warl[k].csr, 10));
		emit(h, CSRRW(12, warl[k].csr, 0));
		emit(h, CSRRS(13, warl[k].csr, 0));
		zw_rv_set_reg(h->rv, 10, UINT64_MAX);
		step(h, 3);
		assert_u64(reg(h, 12), warl[k].ones);
		assert_u64(reg(h, 13), warl[k].zero);
	}
}

static void test_csr_ops(void **state)
{
	struct hart *h = *state;

	hart_clear(h);
	set_csr(h, ZW_RV_CSR_MSCRATCH, 0xf0);
	emit(h, CSRRW(10, ZW_RV_CSR_MSCRATCH, 10)); /* swap with itself */
	emit(h, CSRRS(11, ZW_RV_CSR_MSCRATCH, 10));
	emit(h, CSRRC(12, ZW_RV_CSR_MSCRATCH, 10));
	emit(h, CSRRSI(13, ZW_RV_CSR_MSCRATCH, 0x10));
	emit(h, CSRRCI(14, ZW_RV_CSR_MSCRATCH, 0x1f));
	emit(h, CSRRWI(15, ZW_RV_CSR_MSCRATCH, 0x15));
	zw_rv_set_reg(h->rv, 10, 0xa0a);
	step(h, 6);
	assert_u64(reg(h, 10), 0xf0);
	assert_u64(reg(h, 11), 0xa0a);
	assert_u64(reg(h, 12), 0xafa);
	assert_u64(reg(h, 13), 0xa0a);
	assert_u64(reg(h, 14), 0xa1a);
	assert_u64(reg(h, 15), 0xa00);
	assert_u64(csr(h, ZW_RV_CSR_MSCRATCH), 0x15);

	assert_u64(csr(h, ZW_RV_CSR_MHARTID), 7);
	assert_u64(csr(h, ZW_RV_CSR_MVENDORID), 0x123);
	assert_u64(csr(h, ZW_RV_CSR_MARCHID), 0x456);
	assert_u64(csr(h, ZW_RV_CSR_MIMPID), 0x789);

	/* the counters as a program sees them */
	hart_clear(h);
	emit(h, NOP);
	emit(h, CSRRS(10, ZW_RV_CSR_INSTRET, 0));
	emit(h, CSRRW(11, ZW_RV_CSR_MINSTRET, 12)); /* writes 1000 */
	emit(h, CSRRS(13, ZW_RV_CSR_MINSTRET, 0));
	emit(h, CSRRS(14, ZW_RV_CSR_CYCLE, 0));
	emit(h, CSRRS(15, ZW_RV_CSR_TIME, 0));
	zw_rv_set_reg(h->rv, 12, 1000);
	h->mtime = 0x123456789a;
	step(h, 6);
	assert_u64(reg(h, 10), 1);
	assert_u64(reg(h, 11), 2);
	assert_u64(reg(h, 13), 1000);
	assert_u64(reg(h, 14), 4);
	assert_u64(reg(h, 15), 0x123456789a);
}

/* A reservation does not outlive a trap, nor the return from one. */
static void test_trap_reservation(void **state)
{
	struct hart *h = *state;

	for (int by_mret = 0; by_mret < 2; by_mret++) {
		with_handler(h);
		emit(h, AMO(2, 3, 12, 10, 0));
		emit(h, by_mret ? MRET : ECALL);
		poke(h, HANDLER, 4, AMO(3, 3, 13, 10, 11));
		zw_rv_set_reg(h->rv, 10, DATA);
		zw_rv_set_reg(h->rv, 11, 1);
		set_csr(h, ZW_RV_CSR_MEPC, HANDLER);
		step(h, 3);
		assert_u64(reg(h, 13), 1);
		assert_u64(peek(h, DATA, 8), 0);
	}
}

static void test_irq(void **state)
{
	struct hart *h = *state;
	static const struct {
		uint32_t lines;
		unsigned taken;
	} t[] = {
		{ZW_RV_IRQ_MSI, 3},  {ZW_RV_IRQ_MTI, 7},
		{ZW_RV_IRQ_MEI, 11}, {ZW_RV_IRQ_MSI | ZW_RV_IRQ_MTI, 3},
		{ZW_RV_IRQ_ALL, 11},
	};

	for (size_t k = 0; k < sizeof(t) / sizeof(t[0]); k++) {
		for (int vectored = 0; vectored < 2; vectored++) {
			hart_clear(h);
			emit(h, NOP);
			set_csr(h, ZW_RV_CSR_MTVEC, HANDLER | (uint64_t)vectored);
			zw_rv_set_irq(h->rv, t[k].lines, true);
			assert_u64(csr(h, ZW_RV_CSR_MIP), t[k].lines);
			/* masked by either enable: nothing happens */
			set_csr(h, ZW_RV_CSR_MSTATUS, MIE);
			step(h, 1);
			assert_u64(zw_rv_pc(h->rv), RAM_BASE + 4);
			zw_rv_set_pc(h->rv, RAM_BASE);
			set_csr(h, ZW_RV_CSR_MSTATUS, 0);
			set_csr(h, ZW_RV_CSR_MIE, t[k].lines);
			step(h, 1);
			assert_u64(zw_rv_pc(h->rv), RAM_BASE + 4);
			/* both */
			set_csr(h, ZW_RV_CSR_MSTATUS, MIE);
			poke(h, HANDLER, 4, NOP);
			poke(h, HANDLER + 4 * t[k].taken, 4, NOP);
			step(h, 1);
			assert_u64(zw_rv_pc(h->rv), HANDLER + 4 + (vectored ? 4 * t[k].taken : 0));
			assert_u64(csr(h, ZW_RV_CSR_MCAUSE), ZW_RV_CAUSE_INTERRUPT | t[k].taken);
			assert_u64(csr(h, ZW_RV_CSR_MEPC), RAM_BASE + 4);
			assert_u64(csr(h, ZW_RV_CSR_MSTATUS), MPP | MPIE);
		}
	}

	/* vectored mode is for interrupts; an exception goes to the base */
	hart_clear(h);
	emit(h, ECALL);
	set_csr(h, ZW_RV_CSR_MTVEC, HANDLER | 1);
	expect_trap(h, ZW_RV_CAUSE_ECALL_M, RAM_BASE, 0);

	/* unmasking by the program takes effect behind that very instruction */
	for (int by = 0; by < 3; by++) {
		with_handler(h);
		poke(h, HANDLER, 4, NOP);
		emit(h, by == 0   ? CSRRSI(0, ZW_RV_CSR_MSTATUS, MIE)
			: by == 1 ? CSRRS(0, ZW_RV_CSR_MIE, 10)
				  : MRET);
		emit(h, NOP);
		zw_rv_set_reg(h->rv, 10, ZW_RV_IRQ_MTI);
		set_csr(h, ZW_RV_CSR_MEPC, RAM_BASE + 4);
		zw_rv_set_irq(h->rv, ZW_RV_IRQ_MTI, true);
		set_csr(h, ZW_RV_CSR_MIE, by == 1 ? 0 : ZW_RV_IRQ_MTI);
		set_csr(h, ZW_RV_CSR_MSTATUS, by == 1 ? MIE : by == 2 ? MPIE : 0);
		step(h, 2);
		assert_u64(zw_rv_pc(h->rv), HANDLER + 4);
		assert_u64(csr(h, ZW_RV_CSR_MEPC), RAM_BASE + 4);
	}
}

static void test_wfi(void **state)
{
	struct hart *h = *state;

	/* parks, and stays parked without using the budget */
	with_handler(h);
	emit(h, WFI);
	emit(h, ADDI(10, 10, 1));
	assert_int_equal(zw_rv_run(h->rv, 100), ZW_RV_STOP_WFI);
	assert_u64(zw_rv_pc(h->rv), RAM_BASE + 4);
	assert_int_equal(zw_rv_run(h->rv, 100), ZW_RV_STOP_WFI);
	assert_u64(csr(h, ZW_RV_CSR_MINSTRET), 1);
	/* a masked line is no reason to wake */
	zw_rv_set_irq(h->rv, ZW_RV_IRQ_MEI, true);
	assert_false(zw_rv_wake_pending(h->rv));
	assert_int_equal(zw_rv_run(h->rv, 100), ZW_RV_STOP_WFI);
	/* one let through by mie is, even with interrupts off: it goes on behind the WFI */
	set_csr(h, ZW_RV_CSR_MIE, ZW_RV_IRQ_MEI);
	assert_true(zw_rv_wake_pending(h->rv));
	step(h, 1);
	assert_u64(reg(h, 10), 1);
	assert_int_equal(h->traps, 0);

	/* with interrupts on, the handler runs first and returns behind the WFI */
	with_handler(h);
	emit(h, WFI);
	set_csr(h, ZW_RV_CSR_MIE, ZW_RV_IRQ_ALL);
	set_csr(h, ZW_RV_CSR_MSTATUS, MIE);
	poke(h, HANDLER, 4, NOP);
	assert_int_equal(zw_rv_run(h->rv, 100), ZW_RV_STOP_WFI);
	zw_rv_set_irq(h->rv, ZW_RV_IRQ_MSI, true);
	step(h, 1);
	assert_u64(zw_rv_pc(h->rv), HANDLER + 4);
	assert_u64(csr(h, ZW_RV_CSR_MEPC), RAM_BASE + 4);

	/* with something pending already it does not park at all */
	with_handler(h);
	emit(h, WFI);
	emit(h, NOP);
	set_csr(h, ZW_RV_CSR_MIE, ZW_RV_IRQ_MSI);
	zw_rv_set_irq(h->rv, ZW_RV_IRQ_MSI, true);
	step(h, 2);
	assert_u64(zw_rv_pc(h->rv), RAM_BASE + 8);
}

static void test_halt(void **state)
{
	struct hart *h = *state;
	struct zw_rv_halt info;

	/* no handler */
	hart_clear(h);
	emit(h, NOP);
	emit(h, ECALL);
	assert_false(zw_rv_halt_info(h->rv, &info));
	assert_int_equal(zw_rv_run(h->rv, 100), ZW_RV_STOP_HALT);
	assert_int_equal(zw_rv_run(h->rv, 100), ZW_RV_STOP_HALT);
	assert_true(zw_rv_halt_info(h->rv, &info));
	assert_u64(info.cause, ZW_RV_CAUSE_ECALL_M);
	assert_u64(info.epc, RAM_BASE + 4);
	assert_false(info.double_trap);
	assert_u64(zw_rv_pc(h->rv), RAM_BASE + 4);
	zw_rv_reset(h->rv, RAM_BASE);
	assert_false(zw_rv_halt_info(h->rv, &info));
	step(h, 1);

	/* an interrupt without a handler halts too */
	hart_clear(h);
	emit(h, NOP);
	set_csr(h, ZW_RV_CSR_MIE, ZW_RV_IRQ_MSI);
	set_csr(h, ZW_RV_CSR_MSTATUS, MIE);
	zw_rv_set_irq(h->rv, ZW_RV_IRQ_MSI, true);
	assert_int_equal(zw_rv_run(h->rv, 100), ZW_RV_STOP_HALT);
	assert_true(zw_rv_halt_info(h->rv, &info));
	assert_u64(info.cause, ZW_RV_CAUSE_INTERRUPT | 3);

	/* double trap: the CSRs keep the first, the info has the second */
	with_handler(h);
	emit(h, ECALL);
	poke(h, HANDLER, 4, NOP);
	poke(h, HANDLER + 4, 4, SD(10, 0, 8));
	assert_int_equal(zw_rv_run(h->rv, 100), ZW_RV_STOP_HALT);
	assert_true(zw_rv_halt_info(h->rv, &info));
	assert_true(info.double_trap);
	assert_u64(info.cause, ZW_RV_CAUSE_STORE_ACCESS);
	assert_u64(info.epc, HANDLER + 4);
	assert_u64(info.tval, 8);
	assert_u64(csr(h, ZW_RV_CSR_MCAUSE), ZW_RV_CAUSE_ECALL_M);
	assert_u64(csr(h, ZW_RV_CSR_MEPC), RAM_BASE);

	/* a handler that is nowhere: the fetch of its first instruction is the second trap */
	hart_clear(h);
	emit(h, ECALL);
	set_csr(h, ZW_RV_CSR_MTVEC, 0x4000);
	assert_int_equal(zw_rv_run(h->rv, 100), ZW_RV_STOP_HALT);
	assert_true(zw_rv_halt_info(h->rv, &info));
	assert_u64(info.epc, 0x4000);

	/* after MRET, or after writing mtvec or mstatus, an exception is a first one again */
	for (int how = 0; how < 3; how++) {
		with_handler(h);
		emit(h, ECALL);
		poke(h, HANDLER, 4,
		     how == 0   ? MRET
		     : how == 1 ? CSRRW(0, ZW_RV_CSR_MTVEC, 10)
				: CSRRSI(0, ZW_RV_CSR_MSTATUS, MIE));
		poke(h, HANDLER + 4, 4, ECALL);
		zw_rv_set_reg(h->rv, 10, HANDLER);
		step(h, 3);
		assert_int_equal(h->traps, 2);
		assert_u64(zw_rv_pc(h->rv), HANDLER);
	}

	/* an exception inside of an interrupt handler is not a double trap */
	with_handler(h);
	emit(h, NOP);
	poke(h, HANDLER, 4, ECALL);
	set_csr(h, ZW_RV_CSR_MIE, ZW_RV_IRQ_MSI);
	set_csr(h, ZW_RV_CSR_MSTATUS, MIE);
	zw_rv_set_irq(h->rv, ZW_RV_IRQ_MSI, true);
	step(h, 1);
	assert_u64(csr(h, ZW_RV_CSR_MCAUSE), ZW_RV_CAUSE_ECALL_M);
	assert_u64(csr(h, ZW_RV_CSR_MEPC), HANDLER);
}

static void raise_mei(struct hart *h)
{
	zw_rv_set_irq(h->rv, ZW_RV_IRQ_MEI, true);
}

static void test_bus(void **state)
{
	struct hart *h = *state;
	static const uint64_t want[] = {
		0xfffffffffffffff8,
		0xfffffffffffff7f8,
		0xfffffffff5f6f7f8,
		0xf1f2f3f4f5f6f7f8,
		0xf8,
		0xf7f8,
		0xf5f6f7f8,
	};

	h->mmio[1] = 0xf1f2f3f4f5f6f7f8;
	for (unsigned f3 = 0; f3 < 7; f3++) {
		assert_u64(exec1(h, enc_i(0x03, f3, 12, 10, 8), MMIO, 0), want[f3]);
		assert_int_equal(h->last_size, 1 << (f3 & 3));
	}
	assert_int_equal(h->mmio_loads, 7);
	for (unsigned sz = 0; sz < 4; sz++) {
		exec1(h, enc_s(sz, 10, 11, 0), MMIO, 0x8182838485868788);
		assert_u64(h->mmio[0],
			   sz == 3 ? 0x8182838485868788
				   : 0x8182838485868788 & ((UINT64_C(1) << (8 << sz)) - 1));
		assert_int_equal(h->last_size, 1 << sz);
	}
	assert_int_equal(h->mmio_stores, 4);

	/* a line raised by the device during a store is seen before the next instruction */
	with_handler(h);
	poke(h, HANDLER, 4, NOP);
	emit(h, SW(0, 10, 0));
	emit(h, NOP);
	zw_rv_set_reg(h->rv, 10, MMIO);
	set_csr(h, ZW_RV_CSR_MIE, ZW_RV_IRQ_MEI);
	set_csr(h, ZW_RV_CSR_MSTATUS, MIE);
	h->on_store = raise_mei;
	step(h, 2);
	assert_u64(zw_rv_pc(h->rv), HANDLER + 4);
	assert_u64(csr(h, ZW_RV_CSR_MEPC), RAM_BASE + 4);
}

static void test_clint(void **state)
{
	struct hart *h = *state;

	/* mtimecmp as a whole and by halves; mtime read only */
	hart_clear(h);
	h->mtime = 0x1122334455667788;
	zw_rv_set_reg(h->rv, 10, CLINT + ZW_RV_CLINT_MTIMECMP);
	zw_rv_set_reg(h->rv, 11, CLINT + 0xc000);
	zw_rv_set_reg(h->rv, 12, 0xaabbccdd);
	emit(h, LD(13, 10, 0));
	emit(h, SW(12, 10, 4));
	emit(h, LD(14, 10, 0));
	emit(h, LW(15, 10, 4));
	emit(h, LD(16, 11, -8));
	emit(h, LW(17, 11, -4));
	emit(h, SD(12, 10, 0));
	emit(h, LD(18, 10, 0));
	step(h, 8);
	assert_u64(reg(h, 13), UINT64_MAX);
	assert_u64(reg(h, 14), 0xaabbccddffffffff);
	assert_u64(reg(h, 15), 0xffffffffaabbccdd);
	assert_u64(reg(h, 16), h->mtime);
	assert_u64(reg(h, 17), 0x11223344);
	assert_u64(reg(h, 18), 0xaabbccdd);
	assert_u64(csr(h, ZW_RV_CSR_MIP), ZW_RV_IRQ_MTI);

	with_handler(h);
	emit(h, SD(0, 11, 0));
	zw_rv_set_reg(h->rv, 11, CLINT + ZW_RV_CLINT_MTIME);
	expect_trap(h, ZW_RV_CAUSE_STORE_ACCESS, RAM_BASE, CLINT + ZW_RV_CLINT_MTIME);

	/* the timer: deadline for the owner, wake-up when it is reached */
	with_handler(h);
	h->mtime = 100;
	emit(h, SD(12, 10, 0));
	emit(h, WFI);
	emit(h, NOP);
	zw_rv_set_reg(h->rv, 10, CLINT + ZW_RV_CLINT_MTIMECMP);
	zw_rv_set_reg(h->rv, 12, 150);
	assert_int_equal(zw_rv_run(h->rv, 10), ZW_RV_STOP_WFI);
	assert_u64(zw_rv_timer_deadline(h->rv), UINT64_MAX); /* masked */
	set_csr(h, ZW_RV_CSR_MIE, ZW_RV_IRQ_MTI);
	assert_u64(zw_rv_timer_deadline(h->rv), 150);
	h->mtime = 149;
	assert_false(zw_rv_wake_pending(h->rv));
	h->mtime = 150;
	assert_true(zw_rv_wake_pending(h->rv));
	step(h, 1);
	assert_u64(zw_rv_pc(h->rv), RAM_BASE + 12);

	/* msip raises the software interrupt of the writing program at once */
	with_handler(h);
	poke(h, HANDLER, 4, NOP);
	emit(h, SW(12, 10, 0));
	emit(h, NOP);
	zw_rv_set_reg(h->rv, 10, CLINT + ZW_RV_CLINT_MSIP);
	zw_rv_set_reg(h->rv, 12, 0xffffffff); /* only bit 0 exists */
	set_csr(h, ZW_RV_CSR_MIE, ZW_RV_IRQ_MSI);
	set_csr(h, ZW_RV_CSR_MSTATUS, MIE);
	step(h, 2);
	assert_u64(zw_rv_pc(h->rv), HANDLER + 4);
	assert_u64(csr(h, ZW_RV_CSR_MIP), ZW_RV_IRQ_MSI);
	zw_rv_reset(h->rv, RAM_BASE);
	assert_u64(csr(h, ZW_RV_CSR_MIP), 0);
}

/* An exception that no instruction caused: at pc, parked or not, and not twice. */
static void test_raise(void **state)
{
	struct hart *h = *state;
	struct zw_rv_halt info;

	with_handler(h);
	emit(h, NOP);
	emit(h, WFI);
	poke(h, HANDLER, 4, NOP);
	set_csr(h, ZW_RV_CSR_MIE, ZW_RV_IRQ_MSI);
	assert_int_equal(zw_rv_run(h->rv, 10), ZW_RV_STOP_WFI);
	zw_rv_raise(h->rv, ZW_RV_CAUSE_ILLEGAL, 7);
	assert_u64(zw_rv_pc(h->rv), HANDLER);
	assert_u64(csr(h, ZW_RV_CSR_MCAUSE), ZW_RV_CAUSE_ILLEGAL);
	assert_u64(csr(h, ZW_RV_CSR_MEPC), RAM_BASE + 8);
	assert_u64(csr(h, ZW_RV_CSR_MTVAL), 7);
	step(h, 1);
	assert_u64(zw_rv_pc(h->rv), HANDLER + 4);
	zw_rv_raise(h->rv, ZW_RV_CAUSE_BREAKPOINT, 0);
	assert_true(zw_rv_halt_info(h->rv, &info));
	assert_true(info.double_trap);
	/* halted: nothing more happens to it */
	zw_rv_raise(h->rv, ZW_RV_CAUSE_ILLEGAL, 0);
	assert_true(zw_rv_halt_info(h->rv, &info));
	assert_u64(info.cause, ZW_RV_CAUSE_BREAKPOINT);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, hart_setup, hart_teardown)
	const struct CMUnitTest tests[] = {
		T(test_ecall_ebreak), T(test_access_faults), T(test_misaligned),
		T(test_fetch_faults), T(test_csr_rules),     T(test_csr_ops),
		T(test_irq),          T(test_wfi),           T(test_halt),
		T(test_bus),          T(test_clint),         T(test_trap_reservation),
		T(test_raise),
	};

	return cmocka_run_group_tests_name("rv-trap", tests, NULL, NULL);
}

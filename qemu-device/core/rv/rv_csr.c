// SPDX-License-Identifier: MIT
/*
 * Control and status registers, traps and interrupts. The RISC-V Instruction Set Manual, volume II,
 * "Machine-Level ISA".
 */
#include <errno.h>
#include "rv_int.h"

/* RV64 with A, C, I and M */
#define MISA (UINT64_C(2) << 62 | 1u << 0 | 1u << 2 | 1u << 8 | 1u << 12)

uint32_t zw_rvi_mip(struct zw_rv *rv)
{
	uint32_t mip = RV_GET(rv->irq);
	uint64_t cmp;

	if (!rv->cfg.clint)
		return mip;
	if (RV_GET(rv->msip))
		mip |= ZW_RV_IRQ_MSI;
	cmp = RV_GET(rv->mtimecmp);
	/* the clock costs a callback; do not ask for it when no answer matters */
	if (cmp != UINT64_MAX && rv->cfg.mtime(rv->cfg.opaque) >= cmp)
		mip |= ZW_RV_IRQ_MTI;
	return mip;
}

static bool csr_read(struct zw_rv *rv, unsigned csr, uint64_t *val)
{
	switch (csr) {
	case ZW_RV_CSR_MSTATUS:
		*val = rv->mstatus;
		return true;
	case ZW_RV_CSR_MISA:
		*val = MISA;
		return true;
	case ZW_RV_CSR_MIE:
		*val = RV_GET(rv->mie);
		return true;
	case ZW_RV_CSR_MTVEC:
		*val = rv->mtvec;
		return true;
	case ZW_RV_CSR_MSCRATCH:
		*val = rv->mscratch;
		return true;
	case ZW_RV_CSR_MEPC:
		*val = rv->mepc;
		return true;
	case ZW_RV_CSR_MCAUSE:
		*val = rv->mcause;
		return true;
	case ZW_RV_CSR_MTVAL:
		*val = rv->mtval;
		return true;
	case ZW_RV_CSR_MIP:
		*val = zw_rvi_mip(rv);
		return true;
	case ZW_RV_CSR_MCYCLE:
	case ZW_RV_CSR_CYCLE:
		*val = rv->mcycle;
		return true;
	case ZW_RV_CSR_MINSTRET:
	case ZW_RV_CSR_INSTRET:
		*val = rv->minstret;
		return true;
	case ZW_RV_CSR_TIME:
		*val = rv->cfg.mtime ? rv->cfg.mtime(rv->cfg.opaque) : rv->mcycle;
		return true;
	case ZW_RV_CSR_MVENDORID:
		*val = rv->cfg.mvendorid;
		return true;
	case ZW_RV_CSR_MARCHID:
		*val = rv->cfg.marchid;
		return true;
	case ZW_RV_CSR_MIMPID:
		*val = rv->cfg.mimpid;
		return true;
	case ZW_RV_CSR_MHARTID:
		*val = rv->cfg.mhartid;
		return true;
	case ZW_RV_CSR_MCONFIGPTR:
	case ZW_RV_CSR_MCOUNTINHIBIT:
		*val = 0;
		return true;
	}
	/* mhpmcounter3..31 and mhpmevent3..31 must exist and may be zero */
	if ((csr >= 0xb03 && csr <= 0xb1f) || (csr >= 0x323 && csr <= 0x33f)) {
		*val = 0;
		return true;
	}
	return false;
}

/* @csr exists and is writable. */
static void csr_write(struct zw_rv *rv, unsigned csr, uint64_t val)
{
	switch (csr) {
	case ZW_RV_CSR_MSTATUS:
		rv->mstatus = (val & (RV_MSTATUS_MIE | RV_MSTATUS_MPIE)) | RV_MSTATUS_MPP;
		rv->in_trap = false;
		return;
	case ZW_RV_CSR_MIE:
		RV_PUT(rv->mie, (uint32_t)val & ZW_RV_IRQ_ALL);
		return;
	case ZW_RV_CSR_MTVEC: /* modes above 1 are reserved: bit 1 stays 0 */
		rv->mtvec = val & ~UINT64_C(2);
		rv->in_trap = false;
		return;
	case ZW_RV_CSR_MSCRATCH:
		rv->mscratch = val;
		return;
	case ZW_RV_CSR_MEPC:
		rv->mepc = val & ~UINT64_C(1);
		return;
	case ZW_RV_CSR_MCAUSE:
		rv->mcause = val;
		return;
	case ZW_RV_CSR_MTVAL:
		rv->mtval = val;
		return;
	case ZW_RV_CSR_MCYCLE:
		rv->mcycle = val;
		return;
	case ZW_RV_CSR_MINSTRET:
		rv->minstret = val;
		return;
	}
	/* misa, mip, mcountinhibit, hpm: legal to write, and hard-wired */
}

static bool csr_readonly(unsigned csr)
{
	return (csr >> 10) == 3;
}

bool zw_rvi_csr_insn(struct zw_rv *rv, const struct rv_insn *d, uint64_t *old)
{
	unsigned csr = (unsigned)d->imm;
	uint64_t src = d->rs1;
	bool write = true;

	if (d->op == RV_OP_CSRRW || d->op == RV_OP_CSRRS || d->op == RV_OP_CSRRC)
		src = rv->x[d->rs1];
	/* the register *number* (or the immediate) 0 means: do not write */
	if (d->op != RV_OP_CSRRW && d->op != RV_OP_CSRRWI)
		write = d->rs1 != 0;
	if (!csr_read(rv, csr, old) || (write && csr_readonly(csr)))
		return false;
	if (!write)
		return true;

	if (d->op == RV_OP_CSRRS || d->op == RV_OP_CSRRSI)
		src |= *old;
	else if (d->op == RV_OP_CSRRC || d->op == RV_OP_CSRRCI)
		src = *old & ~src;
	/* what is written to a counter replaces the count of the writing instruction itself */
	if (csr == ZW_RV_CSR_MCYCLE || csr == ZW_RV_CSR_MINSTRET)
		src--;
	csr_write(rv, csr, src);
	return true;
}

int zw_rv_csr_read(struct zw_rv *rv, unsigned csr, uint64_t *val)
{
	return csr_read(rv, csr, val) ? 0 : -EINVAL;
}

int zw_rv_csr_write(struct zw_rv *rv, unsigned csr, uint64_t val)
{
	uint64_t old;

	if (!csr_read(rv, csr, &old) || csr_readonly(csr))
		return -EINVAL;
	csr_write(rv, csr, val);
	return 0;
}

void zw_rvi_trap(struct zw_rv *rv, uint64_t cause, uint64_t epc, uint64_t tval)
{
	bool irq = cause & ZW_RV_CAUSE_INTERRUPT;
	bool twice = !irq && rv->in_trap;

	rv->pc = epc;
	if (rv->cfg.trap)
		rv->cfg.trap(rv->cfg.opaque, cause, epc, tval);
	if (twice || !rv->mtvec) {
		rv->halted = true;
		rv->halt = (struct zw_rv_halt){cause, epc, tval, twice};
		return;
	}
	rv->mepc = epc;
	rv->mcause = cause;
	rv->mtval = tval;
	rv->mstatus = RV_MSTATUS_MPP | (rv->mstatus & RV_MSTATUS_MIE ? RV_MSTATUS_MPIE : 0);
	rv->lr_size = 0;
	if (!irq)
		rv->in_trap = true;
	rv->pc = rv->mtvec & ~UINT64_C(3);
	if (irq && (rv->mtvec & 1))
		rv->pc += 4 * (cause & 63);
}

void zw_rvi_mret(struct zw_rv *rv)
{
	rv->mstatus = RV_MSTATUS_MPP | RV_MSTATUS_MPIE |
		      (rv->mstatus & RV_MSTATUS_MPIE ? RV_MSTATUS_MIE : 0);
	rv->lr_size = 0;
	rv->in_trap = false;
	rv->pc = rv->mepc;
}

/* SPDX-License-Identifier: MIT */
/*
 * The control core of the device: an RV64IMAC_Zicsr_Zifencei hart, machine mode only.
 *
 * Plain library: no globals, no I/O, no threads of its own. The owner gives it one block of RAM
 * (the SRAM of the device), callbacks for everything else on the bus, and calls zw_rv_run() with a
 * budget of instructions as often as it likes.
 *
 * What the hart is
 *   - misa = RV64IMAC, reset value and only value. No S/U/H mode, no PMP, no F/D, no triggers.
 *   - Little endian. Code runs from RAM only; a fetch from anywhere else is an access fault.
 *   - Misaligned loads and stores inside RAM work (not atomically). Misaligned accesses outside of
 *     RAM, and misaligned LR/SC/AMO anywhere, trap with an address-misaligned cause.
 *   - LR/SC and AMO are for RAM only: outside of it they raise an access fault. In RAM they are
 *     real atomics of the host, so another thread may share words of RAM with the firmware. SC is a
 *     compare-and-swap against the value LR saw; a reservation is lost on every trap and every SC.
 *   - Stores need FENCE.I to become visible to the fetch, as the ISA says. Writes to RAM by others
 *     (DMA, image loading) need zw_rv_invalidate().
 *   - mcycle counts instructions attempted, minstret instructions retired: the hart has no timing
 *     of its own. `time` (and mtime of the CLINT) is the owner's clock, see zw_rv_config.mtime.
 *   - mtval holds the address of a faulting access, the pc of a faulting fetch or ebreak, and the
 *     bits of an illegal instruction (16 bits for a compressed one).
 *   - WFI parks the hart: zw_rv_run() returns ZW_RV_STOP_WFI until (mip & mie) != 0.
 *   - The hart halts, and stays so until zw_rv_reset(), on a trap when mtvec is 0, and on a *double
 *     trap*: a synchronous exception when the handler of an earlier one has not finished. It has
 *     finished when it executed MRET or wrote mstatus or mtvec. The registers then still describe
 *     the first trap, and zw_rv_halt_info() the second. Without this, firmware with a broken stack
 *     would fault in its handler for ever and look alive.
 *
 * Threads: zw_rv_run() and every function not said otherwise belong to one thread at a time.
 * zw_rv_set_irq(), zw_rv_request_stop(), zw_rv_wake_pending() and zw_rv_invalidate() may be called
 * from any thread at any time between zw_rv_new() and zw_rv_free(), also from the callbacks.
 *
 * Bounds: no firmware can make the hart touch host memory outside of the RAM it was given, nor make
 * zw_rv_run() execute more than its budget (traps count too). The time inside a callback is the
 * owner's.
 */
#ifndef ZW_RV_H
#define ZW_RV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct zw_rv;

/* Interrupt lines: their bits in mip and mie. */
#define ZW_RV_IRQ_MSI (1u << 3)
#define ZW_RV_IRQ_MTI (1u << 7)
#define ZW_RV_IRQ_MEI (1u << 11)
#define ZW_RV_IRQ_ALL (ZW_RV_IRQ_MSI | ZW_RV_IRQ_MTI | ZW_RV_IRQ_MEI)

/* Causes as in mcause. */
enum zw_rv_cause {
	ZW_RV_CAUSE_FETCH_MISALIGNED = 0,
	ZW_RV_CAUSE_FETCH_ACCESS = 1,
	ZW_RV_CAUSE_ILLEGAL = 2,
	ZW_RV_CAUSE_BREAKPOINT = 3,
	ZW_RV_CAUSE_LOAD_MISALIGNED = 4,
	ZW_RV_CAUSE_LOAD_ACCESS = 5,
	ZW_RV_CAUSE_STORE_MISALIGNED = 6,
	ZW_RV_CAUSE_STORE_ACCESS = 7,
	ZW_RV_CAUSE_ECALL_M = 11,
};
#define ZW_RV_CAUSE_INTERRUPT (UINT64_C(1) << 63)

/* CSR numbers a debugger or a dump asks for by name. */
enum zw_rv_csr {
	ZW_RV_CSR_MSTATUS = 0x300,
	ZW_RV_CSR_MISA = 0x301,
	ZW_RV_CSR_MIE = 0x304,
	ZW_RV_CSR_MTVEC = 0x305,
	ZW_RV_CSR_MCOUNTINHIBIT = 0x320,
	ZW_RV_CSR_MSCRATCH = 0x340,
	ZW_RV_CSR_MEPC = 0x341,
	ZW_RV_CSR_MCAUSE = 0x342,
	ZW_RV_CSR_MTVAL = 0x343,
	ZW_RV_CSR_MIP = 0x344,
	ZW_RV_CSR_MCYCLE = 0xb00,
	ZW_RV_CSR_MINSTRET = 0xb02,
	ZW_RV_CSR_CYCLE = 0xc00,
	ZW_RV_CSR_TIME = 0xc01,
	ZW_RV_CSR_INSTRET = 0xc02,
	ZW_RV_CSR_MVENDORID = 0xf11,
	ZW_RV_CSR_MARCHID = 0xf12,
	ZW_RV_CSR_MIMPID = 0xf13,
	ZW_RV_CSR_MHARTID = 0xf14,
	ZW_RV_CSR_MCONFIGPTR = 0xf15,
};

/* Layout of the CLINT window (SiFive's, one hart). Accesses of any other size or place fault. */
#define ZW_RV_CLINT_MSIP     0x0000 /* 4 bytes, bit 0 */
#define ZW_RV_CLINT_MTIMECMP 0x4000 /* 8 bytes, or its 4-byte halves; ~0 after reset */
#define ZW_RV_CLINT_MTIME    0xbff8 /* 8 bytes, or its 4-byte halves; read only */
#define ZW_RV_CLINT_SIZE     0x10000

/*
 * The bus outside of RAM and the CLINT. @size is 1, 2, 4 or 8 and @addr a multiple of it. A load
 * returns its value zero extended. Return 0, or anything else to raise an access fault in the
 * firmware. Called on the thread that runs zw_rv_run(); zw_rv_pc() is then the pc of the access and
 * the counters are exact. NULL: nothing is there, every access faults.
 */
struct zw_rv_bus_ops {
	int (*load)(void *opaque, uint64_t addr, unsigned size, uint64_t *val);
	int (*store)(void *opaque, uint64_t addr, unsigned size, uint64_t val);
};

struct zw_rv_config {
	struct zw_rv_bus_ops bus;
	void *opaque; /* first argument of every callback */

	/*
	 * RAM: owned by the caller, outlives the hart. Host pointer and base aligned to 8; size a
	 * multiple of 8 between 8 bytes and ZW_RV_RAM_MAX. RAM wins over the CLINT and the bus.
	 */
	void *ram;
	uint64_t ram_base;
	uint64_t ram_size;

	bool clint; /* a CLINT at clint_base; else its addresses go to the bus */
	uint64_t clint_base;

	/*
	 * The clock in ticks; must not go backwards. NULL (not with a CLINT): mcycle is the clock.
	 * Called on the hart's thread and from zw_rv_wake_pending().
	 */
	uint64_t (*mtime)(void *opaque);

	/* Called for each trap taken and for a halt, for tracing. May be NULL. */
	void (*trap)(void *opaque, uint64_t cause, uint64_t epc, uint64_t tval);

	uint64_t mhartid, mvendorid, marchid, mimpid;
};

/* The decode cache takes 8 bytes per byte of RAM that was executed, hence a limit. */
#define ZW_RV_RAM_MAX (UINT64_C(64) << 20)

enum zw_rv_stop {
	ZW_RV_STOP_BUDGET,   /* the budget is used up */
	ZW_RV_STOP_WFI,      /* parked: nothing to do until zw_rv_wake_pending() */
	ZW_RV_STOP_HALT,     /* see the head of this file; only reset or set_state leave it */
	ZW_RV_STOP_EXTERNAL, /* zw_rv_request_stop() */
};

/* Create a hart, in the state of zw_rv_reset(rv, ram_base). 0, -EINVAL (bad config) or -ENOMEM. */
int zw_rv_new(const struct zw_rv_config *cfg, struct zw_rv **out);
void zw_rv_free(struct zw_rv *rv); /* NULL is fine */

/*
 * Power-on state: registers and counters 0, interrupts off, CLINT cleared, decode cache empty. The
 * levels of zw_rv_set_irq() stay, they are wires; so does a pending stop request.
 */
void zw_rv_reset(struct zw_rv *rv, uint64_t pc);

/*
 * Execute at most @budget instructions (an instruction that traps counts). Interrupts, stop
 * requests and invalidations from other threads are seen within ZW_RV_POLL_INSNS instructions, and
 * always before the first.
 */
enum zw_rv_stop zw_rv_run(struct zw_rv *rv, uint64_t budget);
#define ZW_RV_POLL_INSNS 1024

/*
 * An exception of the instruction at pc instead of that instruction, as if it had caused it; a hart
 * parked on WFI goes on with it. Nothing happens to one that is halted.
 */
void zw_rv_raise(struct zw_rv *rv, enum zw_rv_cause cause, uint64_t tval);

/* Any thread: set the level of interrupt lines. The owner wakes its thread if that is parked. */
void zw_rv_set_irq(struct zw_rv *rv, uint32_t mask, bool level);

/* Any thread: make the running (or the next) zw_rv_run() return ZW_RV_STOP_EXTERNAL, once. */
void zw_rv_request_stop(struct zw_rv *rv);

/*
 * Any thread: would a parked hart go on, or a stop request end zw_rv_run()? To park without losing
 * a wake-up, test this with the lock held under which the wires are changed and the wake-up is
 * signalled. It calls the mtime callback when the CLINT's timer is in use.
 */
bool zw_rv_wake_pending(struct zw_rv *rv);

/* The tick at which the CLINT raises the timer interrupt; UINT64_MAX if that is off or masked. */
uint64_t zw_rv_timer_deadline(struct zw_rv *rv);

/*
 * Any thread, after writing RAM [addr, addr + len) by other means than the hart's stores: code
 * there is decoded anew. Cheap where no code was executed. Ranges outside of RAM are ignored.
 */
void zw_rv_invalidate(struct zw_rv *rv, uint64_t addr, uint64_t len);

/* Architectural state, one register at a time. Register 0 reads 0 and ignores writes. */
uint64_t zw_rv_reg(const struct zw_rv *rv, unsigned n);
void zw_rv_set_reg(struct zw_rv *rv, unsigned n, uint64_t val);
uint64_t zw_rv_pc(const struct zw_rv *rv);
void zw_rv_set_pc(struct zw_rv *rv, uint64_t pc); /* bit 0 is dropped */

/* CSRs as an instruction would access them: -EINVAL for what would be illegal. */
int zw_rv_csr_read(struct zw_rv *rv, unsigned csr, uint64_t *val);
int zw_rv_csr_write(struct zw_rv *rv, unsigned csr, uint64_t val);

struct zw_rv_halt {
	uint64_t cause, epc, tval;
	bool double_trap; /* else mtvec was 0 */
};
/* True, and @info filled, when the hart is halted. */
bool zw_rv_halt_info(const struct zw_rv *rv, struct zw_rv_halt *info);

/*
 * Everything a snapshot needs besides the contents of RAM: only uint64_t, so that it can be stored
 * as an array of ZW_RV_STATE_WORDS of them in any byte order. `irq` is for information: the levels
 * are restored by whoever drives the wires.
 */
#define ZW_RV_STATE_VERSION 1
struct zw_rv_state {
	uint64_t version;
	uint64_t x[32];
	uint64_t pc;
	uint64_t mstatus, mie, mtvec, mscratch, mepc, mcause, mtval;
	uint64_t mcycle, minstret;
	uint64_t irq;
	uint64_t msip, mtimecmp;           /* CLINT */
	uint64_t flags;                    /* ZW_RV_STATE_* below */
	uint64_t lr_addr, lr_size, lr_val; /* the reservation */
	uint64_t halt_cause, halt_epc, halt_tval;
};
#define ZW_RV_STATE_WORDS       (sizeof(struct zw_rv_state) / sizeof(uint64_t))
#define ZW_RV_STATE_WAITING     (1u << 0) /* parked on WFI */
#define ZW_RV_STATE_IN_TRAP     (1u << 1) /* an exception now is a double trap */
#define ZW_RV_STATE_HALTED      (1u << 2)
#define ZW_RV_STATE_HALT_DOUBLE (1u << 3)
#define ZW_RV_STATE_RESERVED    (1u << 4) /* the LR reservation is valid */

void zw_rv_get_state(const struct zw_rv *rv, struct zw_rv_state *st);
/*
 * Restore: also drops the decode cache, so RAM is to be restored before. -EINVAL, and nothing
 * changed, for another version, unknown flags or a bad reservation; CSR fields are masked to what
 * the hart has, so no state can do what firmware could not.
 */
int zw_rv_set_state(struct zw_rv *rv, const struct zw_rv_state *st);

#ifdef __cplusplus
}
#endif

#endif

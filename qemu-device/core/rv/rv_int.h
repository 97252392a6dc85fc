/* SPDX-License-Identifier: MIT */
/* Inside of the RV64 hart; only for the files of this folder. */
#ifndef ZW_RV_INT_H
#define ZW_RV_INT_H

#include "zw_rv.h"

#define RV_LIKELY(c)   __builtin_expect(!!(c), 1)
#define RV_UNLIKELY(c) __builtin_expect(!!(c), 0)

/*
 * Operations of the pre-decoded form. DECODE must be 0: a zeroed slot is one not yet decoded.
 * FETCH_FAULT stands behind the end of RAM and for an instruction that crosses it.
 */
/* clang-format off */
#define RV_OPS(X)                                                                                  \
	X(DECODE) X(FETCH_FAULT) X(ILLEGAL)                                                        \
	X(LUI) X(AUIPC) X(JAL) X(JALR)                                                             \
	X(BEQ) X(BNE) X(BLT) X(BGE) X(BLTU) X(BGEU)                                                \
	X(LB) X(LH) X(LW) X(LD) X(LBU) X(LHU) X(LWU) X(SB) X(SH) X(SW) X(SD)                       \
	X(ADDI) X(SLTI) X(SLTIU) X(XORI) X(ORI) X(ANDI) X(SLLI) X(SRLI) X(SRAI)                    \
	X(ADD) X(SUB) X(SLL) X(SLT) X(SLTU) X(XOR) X(SRL) X(SRA) X(OR) X(AND)                      \
	X(ADDIW) X(SLLIW) X(SRLIW) X(SRAIW) X(ADDW) X(SUBW) X(SLLW) X(SRLW) X(SRAW)                \
	X(FENCE) X(FENCE_I) X(ECALL) X(EBREAK) X(MRET) X(WFI)                                      \
	X(CSRRW) X(CSRRS) X(CSRRC) X(CSRRWI) X(CSRRSI) X(CSRRCI)                                   \
	X(MUL) X(MULH) X(MULHSU) X(MULHU) X(DIV) X(DIVU) X(REM) X(REMU)                            \
	X(MULW) X(DIVW) X(DIVUW) X(REMW) X(REMUW)                                                  \
	X(LR_W) X(SC_W) X(LR_D) X(SC_D)                                                            \
	X(AMOSWAP_W) X(AMOADD_W) X(AMOXOR_W) X(AMOAND_W) X(AMOOR_W)                                \
	X(AMOMIN_W) X(AMOMAX_W) X(AMOMINU_W) X(AMOMAXU_W)                                          \
	X(AMOSWAP_D) X(AMOADD_D) X(AMOXOR_D) X(AMOAND_D) X(AMOOR_D)                                \
	X(AMOMIN_D) X(AMOMAX_D) X(AMOMINU_D) X(AMOMAXU_D)
/* clang-format on */

#define RV_OP_ENUM(name) RV_OP_##name,
enum rv_op { RV_OPS(RV_OP_ENUM) RV_OP_COUNT };

/* Destination for writes to x0, so that no instruction needs a test for it. */
#define RV_SINK 32

/* One pre-decoded instruction; one slot per halfword of RAM, since code is halfword aligned. */
struct rv_insn {
	uint16_t op;
	uint8_t rd; /* RV_SINK instead of 0 */
	uint8_t rs1;
	uint8_t rs2;
	uint8_t step;    /* length in halfwords */
	uint16_t unused; /* keeps the slot at 16 bytes */
	/*
	 * Immediate; for branches and JAL the distance to the target in bytes of *slots*; for CSR
	 * instructions the CSR; for FETCH_FAULT the distance from pc to what could not be read.
	 */
	int32_t imm;
	uint32_t raw;
};
_Static_assert(sizeof(struct rv_insn) == 16, "size of the decode slot");
/* slot bytes per code byte, as branches scale their distance by it */
#define RV_SLOT_SCALE ((int32_t)sizeof(struct rv_insn) / 2)

/* Granule of invalidation; small, so that FENCE.I costs what was executed since the last one. */
#define RV_PAGE_SHIFT 8
#define RV_PAGE_SIZE  (1u << RV_PAGE_SHIFT)
#define RV_PAGE_SLOTS (RV_PAGE_SIZE / 2)

#define RV_MSTATUS_MIE  (UINT64_C(1) << 3)
#define RV_MSTATUS_MPIE (UINT64_C(1) << 7)
#define RV_MSTATUS_MPP  (UINT64_C(3) << 11) /* read-only: there is only M mode */

struct zw_rv {
	uint64_t x[33]; /* [RV_SINK] swallows writes to x0 */
	uint64_t pc;    /* valid outside of rv_exec() and in callbacks */

	uint8_t *ram;
	uint64_t ram_base, ram_size;
	struct rv_insn *slots; /* ram_size / 2, and one FETCH_FAULT behind */
	uint64_t nslots;

	uint64_t mstatus, mtvec, mscratch, mepc, mcause, mtval;
	uint64_t mcycle, minstret;
	uint64_t lr_addr, lr_val;
	uint32_t lr_size; /* 4 or 8; 0: no reservation */
	bool waiting, in_trap, halted;
	struct zw_rv_halt halt;

	/* the exception rv_exec() ended with */
	uint64_t exc_cause, exc_tval;

	/* shared with other threads, by atomics only */
	uint32_t irq; /* wires */
	uint32_t mie;
	uint32_t msip; /* CLINT */
	uint32_t stop;
	uint32_t inval; /* some bit of inval_map is set */
	uint64_t mtimecmp;
	/*
	 * One bit per page of RAM. code_map: instructions of the page are in the cache (set by the
	 * hart before it reads the code). inval_map: outsiders changed a page with code.
	 */
	uint64_t *code_map, *inval_map;
	uint64_t map_words;

	struct zw_rv_config cfg;
};

/* Relaxed accessors of the shared words. */
#define RV_GET(field)      __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define RV_PUT(field, val) __atomic_store_n(&(field), (val), __ATOMIC_RELAXED)

/* RAM is little endian whatever the host is; it has no type of its own. */
typedef uint16_t __attribute__((may_alias)) rv_u16;
typedef uint32_t __attribute__((may_alias)) rv_u32;
typedef uint64_t __attribute__((may_alias)) rv_u64;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define RV_LE16(v) __builtin_bswap16(v)
#define RV_LE32(v) __builtin_bswap32(v)
#define RV_LE64(v) __builtin_bswap64(v)
#else
#define RV_LE16(v) (v)
#define RV_LE32(v) (v)
#define RV_LE64(v) (v)
#endif

/*
 * Aligned accesses to RAM are single and relaxed-atomic: DMA and other threads share it with the
 * firmware, and a torn or undefined access on the host's side must not come out of that.
 */
static inline uint8_t rv_ram_ld8(const uint8_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static inline uint16_t rv_ram_ld16(const uint8_t *p)
{
	return RV_LE16(__atomic_load_n((const rv_u16 *)(const void *)p, __ATOMIC_RELAXED));
}

static inline uint32_t rv_ram_ld32(const uint8_t *p)
{
	return RV_LE32(__atomic_load_n((const rv_u32 *)(const void *)p, __ATOMIC_RELAXED));
}

static inline uint64_t rv_ram_ld64(const uint8_t *p)
{
	return RV_LE64(__atomic_load_n((const rv_u64 *)(const void *)p, __ATOMIC_RELAXED));
}

static inline void rv_ram_st8(uint8_t *p, uint8_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
}

static inline void rv_ram_st16(uint8_t *p, uint16_t v)
{
	__atomic_store_n((rv_u16 *)(void *)p, RV_LE16(v), __ATOMIC_RELAXED);
}

static inline void rv_ram_st32(uint8_t *p, uint32_t v)
{
	__atomic_store_n((rv_u32 *)(void *)p, RV_LE32(v), __ATOMIC_RELAXED);
}

static inline void rv_ram_st64(uint8_t *p, uint64_t v)
{
	__atomic_store_n((rv_u64 *)(void *)p, RV_LE64(v), __ATOMIC_RELAXED);
}

/* rv_decode.c: fill the slot at byte offset @off of RAM. */
void zw_rvi_decode(struct zw_rv *rv, uint64_t off);
/* rv_decode.c: pure decoding of one instruction; @raw is 16 bits if its low bits are not 11. */
void zw_rvi_decode_raw(uint32_t raw, struct rv_insn *d);

/* rv_cache.c */
void zw_rvi_cache_flush(struct zw_rv *rv);              /* FENCE.I: everything */
void zw_rvi_cache_flush_pending(struct zw_rv *rv);      /* what zw_rv_invalidate() asked for */
void zw_rvi_cache_mark(struct zw_rv *rv, uint64_t off); /* code at @off is about to be read */

/* rv_mem.c: accesses that the fast path refused. 0 or the cause. */
int zw_rvi_load_slow(struct zw_rv *rv, uint64_t addr, unsigned size, uint64_t *val);
int zw_rvi_store_slow(struct zw_rv *rv, uint64_t addr, unsigned size, uint64_t val);
/* rv_mem.c: LR, SC and AMO: 0 or the cause; @old is sign extended (SC: 0 or 1). */
int zw_rvi_atomic(struct zw_rv *rv, enum rv_op op, uint64_t addr, uint64_t src, uint64_t *old);

/* rv_csr.c */
uint32_t zw_rvi_mip(struct zw_rv *rv);
/* A CSR instruction; false if illegal. @old is only for writing to rd on success. */
bool zw_rvi_csr_insn(struct zw_rv *rv, const struct rv_insn *d, uint64_t *old);
/* Enter the handler, or halt. @cause with ZW_RV_CAUSE_INTERRUPT for an interrupt. */
void zw_rvi_trap(struct zw_rv *rv, uint64_t cause, uint64_t epc, uint64_t tval);
void zw_rvi_mret(struct zw_rv *rv);

#endif

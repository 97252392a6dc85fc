/* SPDX-License-Identifier: MIT */
/* Encoders and a fixture for the tests of the control core's interpreter. */
#ifndef RV_HARNESS_H
#define RV_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "zw_rv.h"

/* ---- encodings, written out here independently of the decoder ---- */

static inline uint32_t enc_r(unsigned op, unsigned f3, unsigned f7, unsigned rd, unsigned rs1,
			     unsigned rs2)
{
	return f7 << 25 | rs2 << 20 | rs1 << 15 | f3 << 12 | rd << 7 | op;
}

static inline uint32_t enc_i(unsigned op, unsigned f3, unsigned rd, unsigned rs1, int imm)
{
	return ((uint32_t)imm & 0xfff) << 20 | rs1 << 15 | f3 << 12 | rd << 7 | op;
}

static inline uint32_t enc_s(unsigned f3, unsigned rs1, unsigned rs2, int imm)
{
	uint32_t u = (uint32_t)imm;

	return (u >> 5 & 0x7f) << 25 | rs2 << 20 | rs1 << 15 | f3 << 12 | (u & 0x1f) << 7 | 0x23;
}

static inline uint32_t enc_b(unsigned f3, unsigned rs1, unsigned rs2, int imm)
{
	uint32_t u = (uint32_t)imm;

	return (u >> 12 & 1) << 31 | (u >> 5 & 0x3f) << 25 | rs2 << 20 | rs1 << 15 | f3 << 12 |
	       (u >> 1 & 0xf) << 8 | (u >> 11 & 1) << 7 | 0x63;
}

static inline uint32_t enc_u(unsigned op, unsigned rd, uint32_t imm20)
{
	return imm20 << 12 | rd << 7 | op;
}

static inline uint32_t enc_j(unsigned rd, int imm)
{
	uint32_t u = (uint32_t)imm;

	return (u >> 20 & 1) << 31 | (u >> 1 & 0x3ff) << 21 | (u >> 11 & 1) << 20 |
	       (u >> 12 & 0xff) << 12 | rd << 7 | 0x6f;
}

#define ADDI(rd, rs1, imm)        enc_i(0x13, 0, rd, rs1, imm)
#define ADD(rd, rs1, rs2)         enc_r(0x33, 0, 0, rd, rs1, rs2)
#define LUI(rd, imm20)            enc_u(0x37, rd, imm20)
#define AUIPC(rd, imm20)          enc_u(0x17, rd, imm20)
#define JAL(rd, imm)              enc_j(rd, imm)
#define JALR(rd, rs1, imm)        enc_i(0x67, 0, rd, rs1, imm)
#define BEQ(rs1, rs2, imm)        enc_b(0, rs1, rs2, imm)
#define BNE(rs1, rs2, imm)        enc_b(1, rs1, rs2, imm)
#define LW(rd, rs1, imm)          enc_i(0x03, 2, rd, rs1, imm)
#define LD(rd, rs1, imm)          enc_i(0x03, 3, rd, rs1, imm)
#define SW(rs2, rs1, imm)         enc_s(2, rs1, rs2, imm)
#define SD(rs2, rs1, imm)         enc_s(3, rs1, rs2, imm)
#define CSRRW(rd, csr, rs1)       enc_i(0x73, 1, rd, rs1, (int)(csr))
#define CSRRS(rd, csr, rs1)       enc_i(0x73, 2, rd, rs1, (int)(csr))
#define CSRRC(rd, csr, rs1)       enc_i(0x73, 3, rd, rs1, (int)(csr))
#define CSRRWI(rd, csr, z)        enc_i(0x73, 5, rd, z, (int)(csr))
#define CSRRSI(rd, csr, z)        enc_i(0x73, 6, rd, z, (int)(csr))
#define CSRRCI(rd, csr, z)        enc_i(0x73, 7, rd, z, (int)(csr))
#define AMO(f5, f3, rd, rs1, rs2) enc_r(0x2f, f3, (f5) << 2, rd, rs1, rs2)
#define ECALL                     0x00000073u
#define EBREAK                    0x00100073u
#define MRET                      0x30200073u
#define WFI                       0x10500073u
#define FENCE                     0x0ff0000fu
#define FENCE_I                   0x0000100fu
#define NOP                       0x00000013u
#define C_NOP                     0x0001u

/* ---- fixture ---- */

#define RAM_BASE UINT64_C(0x80000000)
#define RAM_SIZE UINT64_C(0x10000)
#define HANDLER  (RAM_BASE + 0x1000)
#define DATA     (RAM_BASE + 0x8000)
#define CLINT    UINT64_C(0x2000000)
#define MMIO     UINT64_C(0x10000000) /* 16 bytes of device registers; the rest faults */

struct hart {
	struct zw_rv *rv;
	struct zw_rv_config cfg;
	uint8_t *ram;
	uint64_t at; /* where emit() goes on */

	uint64_t mtime;
	uint64_t mmio[2];
	unsigned mmio_loads, mmio_stores, last_size;
	void (*on_store)(struct hart *h);
	unsigned traps;
	uint64_t trap_cause;
};

static inline int hart_bus_load(void *opaque, uint64_t addr, unsigned size, uint64_t *val)
{
	struct hart *h = opaque;

	h->mmio_loads++;
	h->last_size = size;
	if (addr - MMIO >= sizeof(h->mmio))
		return -1;
	/* the whole register shifted down, so that the hart has to cut it to size */
	*val = h->mmio[(addr - MMIO) / 8] >> (8 * (addr % 8));
	return 0;
}

static inline int hart_bus_store(void *opaque, uint64_t addr, unsigned size, uint64_t val)
{
	struct hart *h = opaque;

	h->mmio_stores++;
	h->last_size = size;
	if (addr - MMIO >= sizeof(h->mmio))
		return -1;
	h->mmio[(addr - MMIO) / 8] = val;
	if (h->on_store)
		h->on_store(h);
	return 0;
}

static inline uint64_t hart_mtime(void *opaque)
{
	return ((struct hart *)opaque)->mtime;
}

static inline void hart_trap(void *opaque, uint64_t cause, uint64_t epc, uint64_t tval)
{
	struct hart *h = opaque;

	h->traps++;
	h->trap_cause = cause;
}

static inline int hart_setup(void **state)
{
	struct hart *h = calloc(1, sizeof(*h));

	assert_non_null(h);
	/* an allocation of exactly that size lets the sanitizer see every step outside */
	h->ram = aligned_alloc(8, RAM_SIZE);
	assert_non_null(h->ram);
	memset(h->ram, 0, RAM_SIZE);
	h->cfg = (struct zw_rv_config){
		.bus = {hart_bus_load, hart_bus_store},
		.opaque = h,
		.ram = h->ram,
		.ram_base = RAM_BASE,
		.ram_size = RAM_SIZE,
		.clint = true,
		.clint_base = CLINT,
		.mtime = hart_mtime,
		.trap = hart_trap,
		.mhartid = 7,
		.mvendorid = 0x123,
		.marchid = 0x456,
		.mimpid = 0x789,
	};
	assert_int_equal(zw_rv_new(&h->cfg, &h->rv), 0);
	h->at = RAM_BASE;
	*state = h;
	return 0;
}

static inline int hart_teardown(void **state)
{
	struct hart *h = *state;

	zw_rv_free(h->rv);
	free(h->ram);
	free(h);
	return 0;
}

/* As after zw_rv_new() with empty RAM. */
static inline void hart_clear(struct hart *h)
{
	memset(h->ram, 0, RAM_SIZE);
	zw_rv_set_irq(h->rv, ZW_RV_IRQ_ALL, false);
	zw_rv_reset(h->rv, RAM_BASE);
	h->at = RAM_BASE;
	h->traps = 0;
}

static inline void emit16(struct hart *h, uint16_t v)
{
	h->ram[h->at - RAM_BASE] = (uint8_t)v;
	h->ram[h->at - RAM_BASE + 1] = (uint8_t)(v >> 8);
	h->at += 2;
}

static inline void emit(struct hart *h, uint32_t v)
{
	emit16(h, (uint16_t)v);
	emit16(h, (uint16_t)(v >> 16));
}

static inline void poke(struct hart *h, uint64_t addr, unsigned size, uint64_t val)
{
	for (unsigned k = 0; k < size; k++)
		h->ram[addr - RAM_BASE + k] = (uint8_t)(val >> (8 * k));
}

static inline uint64_t peek(const struct hart *h, uint64_t addr, unsigned size)
{
	uint64_t v = 0;

	for (unsigned k = 0; k < size; k++)
		v |= (uint64_t)h->ram[addr - RAM_BASE + k] << (8 * k);
	return v;
}

static inline uint64_t csr(struct hart *h, unsigned n)
{
	uint64_t v = 0;

	assert_int_equal(zw_rv_csr_read(h->rv, n, &v), 0);
	return v;
}

static inline void set_csr(struct hart *h, unsigned n, uint64_t v)
{
	assert_int_equal(zw_rv_csr_write(h->rv, n, v), 0);
}

static inline uint64_t reg(struct hart *h, unsigned n)
{
	return zw_rv_reg(h->rv, n);
}

#define assert_u64(a, b) assert_int_equal((uint64_t)(a), (uint64_t)(b))

/* Run exactly @n instructions and expect no other reason to stop. */
static inline void step(struct hart *h, uint64_t n)
{
	assert_int_equal(zw_rv_run(h->rv, n), ZW_RV_STOP_BUDGET);
}

/* Run one 32-bit instruction on the given operands (x10, x11) and return x12. */
static inline uint64_t exec1(struct hart *h, uint32_t insn, uint64_t a, uint64_t b)
{
	poke(h, RAM_BASE, 4, insn);
	zw_rv_reset(h->rv, RAM_BASE);
	zw_rv_set_reg(h->rv, 10, a);
	zw_rv_set_reg(h->rv, 11, b);
	step(h, 1);
	assert_u64(zw_rv_pc(h->rv), RAM_BASE + ((insn & 3) == 3 ? 4 : 2));
	return reg(h, 12);
}

/* The next instruction must trap, into the handler, with these values. */
#define expect_trap(h, cause_, epc_, tval_)                                                        \
	do {                                                                                       \
		step(h, 1);                                                                        \
		assert_u64(zw_rv_pc((h)->rv), HANDLER);                                            \
		assert_u64(csr(h, ZW_RV_CSR_MCAUSE), cause_);                                      \
		assert_u64(csr(h, ZW_RV_CSR_MEPC), epc_);                                          \
		assert_u64(csr(h, ZW_RV_CSR_MTVAL), tval_);                                        \
	} while (0)

#endif

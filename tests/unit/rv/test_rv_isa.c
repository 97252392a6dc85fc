// SPDX-License-Identifier: MIT
/* Each instruction of RV64IMAC by hand-written encodings, with its edge values. */
#include "rv_harness.h"

#define MIN64 ((uint64_t)INT64_MIN)
#define M1    UINT64_MAX
#define MIN32 ((uint64_t)INT32_MIN) /* sign extended */

struct binop {
	const char *name;
	uint32_t insn;
	uint64_t a, b, want;
};

static void run_table(struct hart *h, const struct binop *t, size_t n)
{
	for (size_t k = 0; k < n; k++) {
		uint64_t got = exec1(h, t[k].insn, t[k].a, t[k].b);

		if (got != t[k].want)
			fail_msg("%s (row %zu): %#lx, expected %#lx", t[k].name, k,
				 (unsigned long)got, (unsigned long)t[k].want);
	}
}
#define RUN_TABLE(h, t) run_table(h, t, sizeof(t) / sizeof(t[0]))

/* rd = x12, rs1 = x10, rs2 = x11 */
#define R(f3, f7)   enc_r(0x33, f3, f7, 12, 10, 11)
#define RW(f3, f7)  enc_r(0x3b, f3, f7, 12, 10, 11)
#define I(f3, imm)  enc_i(0x13, f3, 12, 10, imm)
#define IW(f3, imm) enc_i(0x1b, f3, 12, 10, imm)

static void test_alu_reg(void **state)
{
	const struct binop t[] = {
		{"add", 0x00b50633, 0x7fffffffffffffff, 1, MIN64},
		{"add", R(0, 0), M1, 1, 0},
		{"sub", R(0, 0x20), 0, 1, M1},
		{"sll", R(1, 0), 1, 63, MIN64},
		{"sll by 64", R(1, 0), 1, 64, 1},
		{"slt", R(2, 0), M1, 0, 1},
		{"slt", R(2, 0), 0, M1, 0},
		{"slt eq", R(2, 0), 5, 5, 0},
		{"sltu", R(3, 0), M1, 0, 0},
		{"sltu", R(3, 0), 0, M1, 1},
		{"xor", R(4, 0), 0xff00ff00ff00ff00, 0x0ff00ff00ff00ff0, 0xf0f0f0f0f0f0f0f0},
		{"srl", R(5, 0), MIN64, 63, 1},
		{"srl by 65", R(5, 0), 4, 65, 2},
		{"sra", R(5, 0x20), MIN64, 63, M1},
		{"or", R(6, 0), 0xf0, 0x0f, 0xff},
		{"and", R(7, 0), 0xf0, 0x3c, 0x30},
		{"addw", RW(0, 0), 0x7fffffff, 1, MIN32},
		{"addw", RW(0, 0), 0xdeadbeef00000001, 2, 3},
		{"subw", RW(0, 0x20), 0x80000000, 1, 0x7fffffff},
		{"sllw", RW(1, 0), 1, 31, MIN32},
		{"sllw by 32", RW(1, 0), 1, 32, 1},
		{"srlw", RW(5, 0), 0xffffffff80000000, 31, 1},
		{"srlw by 0", RW(5, 0), 0x80000000, 0, MIN32},
		{"sraw", RW(5, 0x20), 0x80000000, 31, M1},
		{"sraw", RW(5, 0x20), 0x1234567840000000, 30, 1},
		{"sraw by 33", RW(5, 0x20), 0x80000000, 33, 0xffffffffc0000000},
	};

	RUN_TABLE(*state, t);
}

static void test_alu_imm(void **state)
{
	const struct binop t[] = {
		{"addi", 0xfff50613, 0, 0, M1},
		{"addi", I(0, -2048), 2047, 0, M1},
		{"slti", I(2, -1), (uint64_t)-2, 0, 1},
		{"slti", I(2, -1), 0, 0, 0},
		{"sltiu -1", I(3, -1), 5, 0, 1}, /* compares with 2^64 - 1 */
		{"sltiu 1", I(3, 1), 0, 0, 1},
		{"xori -1", I(4, -1), 0x1234, 0, ~UINT64_C(0x1234)},
		{"ori", I(6, 0x7f0), 0xf, 0, 0x7ff},
		{"andi", I(7, -16), 0xff, 0, 0xf0},
		{"slli 63", I(1, 63), 1, 0, MIN64},
		{"slli 32", I(1, 32), 0x80000001, 0, 0x8000000100000000},
		{"srli 63", I(5, 63), MIN64, 0, 1},
		{"srai 63", I(5, 0x400 | 63), MIN64, 0, M1},
		{"srai 1", I(5, 0x400 | 1), MIN64, 0, 0xc000000000000000},
		{"addiw", IW(0, 1), 0x7fffffff, 0, MIN32},
		{"sext.w", IW(0, 0), 0xabcdef0180000000, 0, MIN32},
		{"slliw", IW(1, 31), 3, 0, MIN32},
		{"srliw", IW(5, 4), 0xfffffffff0000000, 0, 0x0f000000},
		{"sraiw", IW(5, 0x400 | 4), 0xf0000000, 0, 0xffffffffff000000},
		{"lui", LUI(12, 0x80000), 0, 0, MIN32},
		{"lui", LUI(12, 0x12345), 0, 0, 0x12345000},
		{"auipc", AUIPC(12, 1), 0, 0, RAM_BASE + 0x1000},
		{"auipc negative", AUIPC(12, 0x80000), 0, 0, RAM_BASE - 0x80000000},
	};

	RUN_TABLE(*state, t);
}

static void test_muldiv(void **state)
{
	const struct binop t[] = {
		{"mul", 0x02b50633, M1, M1, 1},
		{"mul", R(0, 1), 0x100000000, 0x100000000, 0},
		{"mulh", R(1, 1), M1, M1, 0},
		{"mulh", R(1, 1), MIN64, MIN64, 0x4000000000000000},
		{"mulh", R(1, 1), MIN64, 1, M1},
		{"mulhsu", R(2, 1), M1, M1, M1},
		{"mulhsu", R(2, 1), MIN64, M1, MIN64},
		{"mulhsu", R(2, 1), 0x7fffffffffffffff, M1, 0x7ffffffffffffffe},
		{"mulhu", R(3, 1), M1, M1, M1 - 1},
		{"mulhu", R(3, 1), MIN64, 2, 1},
		{"div", R(4, 1), (uint64_t)-7, 2, (uint64_t)-3},
		{"div by 0", R(4, 1), 42, 0, M1},
		{"div overflow", R(4, 1), MIN64, M1, MIN64},
		{"divu", R(5, 1), M1, 2, 0x7fffffffffffffff},
		{"divu by 0", R(5, 1), 42, 0, M1},
		{"rem", R(6, 1), (uint64_t)-7, 2, M1},
		{"rem sign", R(6, 1), 7, (uint64_t)-2, 1},
		{"rem by 0", R(6, 1), (uint64_t)-42, 0, (uint64_t)-42},
		{"rem overflow", R(6, 1), MIN64, M1, 0},
		{"remu", R(7, 1), M1, 10, 5},
		{"remu by 0", R(7, 1), M1, 0, M1},
		{"mulw", RW(0, 1), 0x10000, 0x8000, MIN32},
		{"mulw", RW(0, 1), 0xffffffff00000003, 5, 15},
		{"divw", RW(4, 1), 0xfffffff9, 2, (uint64_t)-3},
		{"divw by 0", RW(4, 1), 5, 0x100000000, M1},
		{"divw overflow", RW(4, 1), 0x80000000, 0xffffffff, MIN32},
		{"divuw", RW(5, 1), 0xffffffff, 1, M1},
		{"divuw", RW(5, 1), 0xfffffffff0000000, 16, 0x0f000000},
		{"divuw by 0", RW(5, 1), 5, 0, M1},
		{"remw", RW(6, 1), 0xfffffff9, 2, M1},
		{"remw by 0", RW(6, 1), 0x80000000, 0, MIN32},
		{"remw overflow", RW(6, 1), 0x80000000, 0xffffffff, 0},
		{"remuw", RW(7, 1), 0xffffffff, 16, 15},
		{"remuw by 0", RW(7, 1), 0x80000000, 0, MIN32},
	};

	RUN_TABLE(*state, t);
}

/* x0 stays 0 whatever writes to it, and reads as 0 next to its writer. */
static void test_x0(void **state)
{
	struct hart *h = *state;

	emit(h, ADDI(0, 0, 5));
	emit(h, ADD(12, 0, 0));
	emit(h, LUI(0, 0xfffff));
	emit(h, CSRRS(0, ZW_RV_CSR_MISA, 0));
	emit(h, JAL(0, 4));
	emit(h, ADD(13, 0, 0));
	zw_rv_set_reg(h->rv, 12, 1);
	zw_rv_set_reg(h->rv, 13, 1);
	zw_rv_set_reg(h->rv, 0, 99);
	step(h, 6);
	assert_u64(reg(h, 12), 0);
	assert_u64(reg(h, 13), 0);
	assert_u64(reg(h, 0), 0);
}

static void test_load_store(void **state)
{
	struct hart *h = *state;
	static const struct {
		unsigned f3;
		uint64_t want;
	} loads[] = {
		{0, 0xffffffffffffff88},
		{1, 0xffffffffffff8788},
		{2, 0xffffffff85868788},
		{3, 0x8182838485868788},
		{4, 0x88},
		{5, 0x8788},
		{6, 0x85868788},
	};

	poke(h, DATA, 8, 0x8182838485868788);
	for (size_t k = 0; k < sizeof(loads) / sizeof(loads[0]); k++)
		assert_u64(exec1(h, enc_i(0x03, loads[k].f3, 12, 10, -8), DATA + 8, 0),
			   loads[k].want);

	for (unsigned sz = 0; sz < 4; sz++) {
		uint64_t mask = sz == 3 ? M1 : (UINT64_C(1) << (8 << sz)) - 1;

		poke(h, DATA, 8, 0);
		exec1(h, enc_s(sz, 10, 11, -2047), DATA + 2047, 0xf1f2f3f4f5f6f7f8);
		assert_u64(peek(h, DATA, 8), 0xf1f2f3f4f5f6f7f8 & mask);
	}
	/* the first and the last bytes of RAM */
	assert_u64(exec1(h, LW(12, 10, 0), RAM_BASE, 0), LW(12, 10, 0));
	poke(h, RAM_BASE + RAM_SIZE - 8, 8, 0x1122334455667788);
	assert_u64(exec1(h, LD(12, 10, 0), RAM_BASE + RAM_SIZE - 8, 0), 0x1122334455667788);
	assert_u64(exec1(h, enc_i(0x03, 4, 12, 10, 0), RAM_BASE + RAM_SIZE - 1, 0), 0x11);
}

static void test_misaligned_ram(void **state)
{
	struct hart *h = *state;

	poke(h, DATA, 8, 0x8182838485868788);
	poke(h, DATA + 8, 8, 0x9192939495969798);
	assert_u64(exec1(h, LD(12, 10, 1), DATA, 0), 0x9881828384858687);
	assert_u64(exec1(h, LW(12, 10, 3), DATA, 0), 0xffffffff82838485);
	assert_u64(exec1(h, enc_i(0x03, 5, 12, 10, 7), DATA, 0), 0x9881);
	exec1(h, SD(11, 10, 5), DATA, 0x0102030405060708);
	assert_u64(peek(h, DATA + 5, 8), 0x0102030405060708);
	assert_u64(peek(h, DATA, 5), 0x8485868788);
	assert_u64(peek(h, DATA + 13, 3), 0x919293);
}

static void test_branches(void **state)
{
	struct hart *h = *state;
	static const struct {
		unsigned f3;
		uint64_t a, b;
		bool taken;
	} t[] = {
		{0, 5, 5, true},  {0, 5, 6, false},  {1, 5, 6, true},  {1, 5, 5, false},
		{4, M1, 0, true}, {4, 0, M1, false}, {4, 3, 3, false}, {5, 0, M1, true},
		{5, 3, 3, true},  {5, M1, 0, false}, {6, 0, M1, true}, {6, M1, 0, false},
		{6, 3, 3, false}, {7, M1, 0, true},  {7, 3, 3, true},  {7, 0, M1, false},
	};
	static const int dist[] = {8, 4094, -4096, 2, -2};
	uint64_t from = RAM_BASE + 0x2000;

	for (size_t k = 0; k < sizeof(t) / sizeof(t[0]); k++) {
		for (size_t j = 0; j < sizeof(dist) / sizeof(dist[0]); j++) {
			poke(h, from, 4, enc_b(t[k].f3, 10, 11, dist[j]));
			zw_rv_reset(h->rv, from);
			zw_rv_set_reg(h->rv, 10, t[k].a);
			zw_rv_set_reg(h->rv, 11, t[k].b);
			step(h, 1);
			assert_u64(zw_rv_pc(h->rv),
				   t[k].taken ? from + (uint64_t)(int64_t)dist[j] : from + 4);
		}
	}
}

static void test_jumps(void **state)
{
	struct hart *h = *state;
	static const int dist[] = {4, 2, -2, 0x7ffe, -0x2000, 0};
	uint64_t from = RAM_BASE + 0x2000;

	for (size_t j = 0; j < sizeof(dist) / sizeof(dist[0]); j++) {
		poke(h, from, 4, JAL(1, dist[j]));
		zw_rv_reset(h->rv, from);
		step(h, 1);
		assert_u64(zw_rv_pc(h->rv), from + (uint64_t)(int64_t)dist[j]);
		assert_u64(reg(h, 1), from + 4);
	}
	/* JALR drops bit 0, adds before that, and may link into its own source */
	poke(h, from, 4, JALR(10, 10, -1));
	zw_rv_reset(h->rv, from);
	zw_rv_set_reg(h->rv, 10, DATA + 4);
	step(h, 1);
	assert_u64(zw_rv_pc(h->rv), DATA + 2);
	assert_u64(reg(h, 10), from + 4);
}

static void test_amo(void **state)
{
	struct hart *h = *state;
	static const struct {
		const char *name;
		unsigned f5;
		uint64_t mem, src, want_d;
		uint32_t want_w; /* with the low halves of mem and src */
	} t[] = {
		{"swap", 0x01, 0x1111111122222222, 0x3333333344444444, 0x3333333344444444,
		 0x44444444},
		{"add", 0x00, 0x00000000ffffffff, 1, 0x100000000, 0},
		{"xor", 0x04, 0xff00ff00ff00ff00, 0xffff0000ffff0000, 0x00ffff0000ffff00,
		 0x00ffff00},
		{"and", 0x0c, 0xff00ff00ff00ff00, 0xffff0000ffff0000, 0xff000000ff000000,
		 0xff000000},
		{"or", 0x08, 0xf000000000000001, 0x0f00000000000010, 0xff00000000000011, 0x11},
		{"min", 0x10, 0x00000000ffffffff, 1, 1, 0xffffffff},
		{"min neg", 0x10, 0x8000000000000000, 1, 0x8000000000000000, 0},
		{"min w", 0x10, 1, 0xffffffff, 1, 0xffffffff},
		{"max", 0x14, 0x00000000ffffffff, 1, 0xffffffff, 1},
		{"max neg", 0x14, 0xffffffffffffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff},
		{"minu", 0x18, 0xffffffffffffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff},
		{"maxu", 0x1c, 0xffffffffffffffff, 0x7fffffff, 0xffffffffffffffff, 0xffffffff},
		{"maxu w", 0x1c, 0x1, 0x80000000, 0x80000000, 0x80000000},
	};

	for (size_t k = 0; k < sizeof(t) / sizeof(t[0]); k++) {
		poke(h, DATA, 8, t[k].mem);
		assert_u64(exec1(h, AMO(t[k].f5, 3, 12, 10, 11), DATA, t[k].src), t[k].mem);
		if (peek(h, DATA, 8) != t[k].want_d)
			fail_msg("amo%s.d", t[k].name);

		poke(h, DATA, 8, t[k].mem);
		poke(h, DATA + 4, 4, 0xdeadbeef);
		/* garbage above bit 31 of the source is ignored; aq and rl change nothing */
		assert_u64(exec1(h, AMO(t[k].f5, 2, 12, 10, 11) | 3u << 25, DATA,
				 (uint32_t)t[k].src | 0x5a5a5a5a00000000),
			   (uint64_t)(int64_t)(int32_t)t[k].mem);
		if (peek(h, DATA, 4) != t[k].want_w)
			fail_msg("amo%s.w", t[k].name);
		assert_u64(peek(h, DATA + 4, 4), 0xdeadbeef);
	}
	/* rd == rs2 == rs1's neighbour: the old value wins over the source register */
	poke(h, DATA, 8, 5);
	exec1(h, AMO(0, 3, 11, 10, 11), DATA, 7);
	assert_u64(reg(h, 11), 5);
	assert_u64(peek(h, DATA, 8), 12);
}

#define LR(f3, rd, rs1)      AMO(2, f3, rd, rs1, 0)
#define SC(f3, rd, rs1, rs2) AMO(3, f3, rd, rs1, rs2)

static void test_lr_sc(void **state)
{
	struct hart *h = *state;

	poke(h, DATA, 8, 0x80000001);
	emit(h, LR(2, 12, 10));
	emit(h, SC(2, 13, 10, 11)); /* succeeds */
	emit(h, SC(2, 14, 10, 11)); /* fails: the reservation is used up */
	zw_rv_set_reg(h->rv, 10, DATA);
	zw_rv_set_reg(h->rv, 11, 0x1234);
	zw_rv_set_reg(h->rv, 13, 9);
	step(h, 3);
	assert_u64(reg(h, 12), 0xffffffff80000001);
	assert_u64(reg(h, 13), 0);
	assert_u64(reg(h, 14), 1);
	assert_u64(peek(h, DATA, 8), 0x1234);

	/* another address, another size, a value changed by someone else: each fails */
	for (int what = 0; what < 4; what++) {
		hart_clear(h);
		poke(h, DATA, 8, 5);
		poke(h, DATA + 8, 8, 5);
		emit(h, LR(3, 12, 10));
		emit(h, NOP);
		emit(h, what == 1 ? SC(2, 13, 10, 11) : SC(3, 13, 10, 11));
		zw_rv_set_reg(h->rv, 10, DATA);
		zw_rv_set_reg(h->rv, 11, 0x77);
		step(h, 2);
		if (what == 0)
			zw_rv_set_reg(h->rv, 10, DATA + 8);
		if (what == 2)
			poke(h, DATA, 8, 6);
		step(h, 1);
		assert_u64(reg(h, 13), what != 3);
		assert_u64(peek(h, DATA, 8), what == 3 ? 0x77 : what == 2 ? 6 : 5);
		assert_u64(peek(h, DATA + 8, 8), 5);
	}
}

/* ---- compressed: each compared with the effect of what it abbreviates ---- */

static void test_compressed_alu(void **state)
{
	struct hart *h = *state;
	/* encodings by riscv64-unknown-elf-as; a0 = x10, a1 = x11, a2 = x12 */
	const struct binop t[] = {
		{"c.li a2,-1", 0x567d, 0, 0, M1},
		{"c.li a2,31", 0x467d, 0, 0, 31},
		{"c.lui a2,0x1f", 0x667d, 0, 0, 0x1f000},
		{"c.lui a2,0xfffe0", 0x7601, 0, 0, 0xfffffffffffe0000},
		{"c.mv a2,a0", 0x862a, 77, 0, 77},
	};
	/* these change a0 by a1 or an immediate */
	const struct binop inplace[] = {
		{"c.addi a0,-32", 0x1501, 32, 0, 0},
		{"c.addiw a0,1", 0x2505, 0x7fffffff, 0, MIN32},
		{"c.addiw a0,0", 0x2501, 0x180000000, 0, MIN32},
		{"c.slli a0,63", 0x157e, 1, 0, MIN64},
		{"c.srli a0,63", 0x917d, MIN64, 0, 1},
		{"c.srai a0,63", 0x957d, MIN64, 0, M1},
		{"c.srai a0,1", 0x8505, 8, 0, 4},
		{"c.andi a0,-2", 0x9979, 0xff, 0, 0xfe},
		{"c.sub a0,a1", 0x8d0d, 1, 2, M1},
		{"c.xor a0,a1", 0x8d2d, 6, 3, 5},
		{"c.or a0,a1", 0x8d4d, 6, 3, 7},
		{"c.and a0,a1", 0x8d6d, 6, 3, 2},
		{"c.subw a0,a1", 0x9d0d, 0x80000000, 1, 0x7fffffff},
		{"c.addw a0,a1", 0x9d2d, 0x7fffffff, 1, MIN32},
		{"c.add a0,a1", 0x952e, 40, 2, 42},
	};

	RUN_TABLE(h, t);
	for (size_t k = 0; k < sizeof(inplace) / sizeof(inplace[0]); k++) {
		exec1(h, inplace[k].insn, inplace[k].a, inplace[k].b);
		if (reg(h, 10) != inplace[k].want)
			fail_msg("%s: %#lx", inplace[k].name, (unsigned long)reg(h, 10));
	}

	/* sp-relative arithmetic */
	hart_clear(h);
	zw_rv_set_reg(h->rv, 2, 0x1000);
	emit16(h, 0x1ff0); /* c.addi4spn a2,sp,1020 */
	emit16(h, 0x7101); /* c.addi16sp sp,-512 */
	emit16(h, 0x617d); /* c.addi16sp sp,496 */
	step(h, 3);
	assert_u64(reg(h, 12), 0x1000 + 1020);
	assert_u64(reg(h, 2), 0x1000 - 512 + 496);
}

static void test_compressed_mem(void **state)
{
	struct hart *h = *state;

	zw_rv_set_reg(h->rv, 2, DATA);
	zw_rv_set_reg(h->rv, 10, DATA);
	zw_rv_set_reg(h->rv, 11, 0x8182838485868788);
	emit16(h, 0xdd6c); /* c.sw a1,124(a0) */
	emit16(h, 0xfd6c); /* c.sd a1,248(a0) */
	emit16(h, 0xdfae); /* c.swsp a1,252(sp) */
	emit16(h, 0xffae); /* c.sdsp a1,504(sp) */
	emit16(h, 0x5d70); /* c.lw a2,124(a0) */
	emit16(h, 0x7d74); /* c.ld a3,248(a0) */
	emit16(h, 0x577e); /* c.lwsp a4,252(sp) */
	emit16(h, 0x77fe); /* c.ldsp a5,504(sp) */
	step(h, 4);
	assert_u64(peek(h, DATA + 124, 8), 0x85868788);
	/* the word at 252 is the upper half of what c.sd stored */
	assert_u64(peek(h, DATA + 248, 8), 0x8586878885868788);
	assert_u64(peek(h, DATA + 504, 8), 0x8182838485868788);
	step(h, 4);
	assert_u64(reg(h, 12), 0xffffffff85868788);
	assert_u64(reg(h, 13), 0x8586878885868788);
	assert_u64(reg(h, 14), 0xffffffff85868788);
	assert_u64(reg(h, 15), 0x8182838485868788);
}

static void test_compressed_jumps(void **state)
{
	struct hart *h = *state;
	uint64_t from = RAM_BASE + 0x2000;
	static const struct {
		const char *name;
		uint16_t insn;
		uint64_t a0;
		int64_t to;
		uint64_t ra;
	} t[] = {
		{"c.j 2046", 0xaffd, 0, 2046, 0},
		{"c.j -2048", 0xb001, 0, -2048, 0},
		{"c.beqz a0,254 taken", 0xcd7d, 0, 254, 0},
		{"c.beqz a0,254", 0xcd7d, 1, 2, 0},
		{"c.bnez a0,-256 taken", 0xf101, 1, -256, 0},
		{"c.bnez a0,-256", 0xf101, 0, 2, 0},
		{"c.jr a0", 0x8502, RAM_BASE + 0x2101, 0x100, 0},
		{"c.jalr a0", 0x9502, RAM_BASE + 0x2101, 0x100, RAM_BASE + 0x2002},
	};

	for (size_t k = 0; k < sizeof(t) / sizeof(t[0]); k++) {
		poke(h, from, 2, t[k].insn);
		zw_rv_reset(h->rv, from);
		zw_rv_set_reg(h->rv, 10, t[k].a0);
		step(h, 1);
		if (zw_rv_pc(h->rv) != from + (uint64_t)t[k].to || reg(h, 1) != t[k].ra)
			fail_msg("%s: pc %#lx", t[k].name, (unsigned long)zw_rv_pc(h->rv));
	}
}

static void test_illegal(void **state)
{
	struct hart *h = *state;
	const uint32_t bad[] = {
		0x00000000,                         /* the all-zero halfword */
		0xffffffff,                         /* longer than 32 bits */
		0x0000001f, 0x0000003f, 0x00002063, /* branch, funct3 2 */
		0x00003063,                         /* branch, funct3 3 */
		0x00001067,                         /* jalr, funct3 1 */
		0x00007003,                         /* load, funct3 7 */
		0x00004023,                         /* store, funct3 4 */
		0x04001013,                         /* slli, bit 26 */
		0x40001013,                         /* slli, funct7 0x20 */
		0x80005013,                         /* srai, bit 31 */
		0x0200101b,                         /* slliw, shamt 32 */
		0x4200501b,                         /* sraiw, shamt 32 */
		0x0000201b,                         /* op-imm-32, funct3 2 */
		0x40001033,                         /* op, funct7 0x20, funct3 1 */
		0x04000033,                         /* op, funct7 2 */
		0x0200103b,                         /* op-32, funct7 1, funct3 1 */
		0x0000203b,                         /* op-32, funct3 2 */
		0x0000002f,                         /* amo, funct3 0 */
		0x1010202f,                         /* lr.w with rs2 */
		0x2800202f,                         /* amo, funct5 5 */
		0x0000200f,                         /* misc-mem, funct3 2 */
		0x00000007, 0x00000027,             /* flw, fsw */
		0x00000053, 0x00000043,             /* fadd.s, fmadd.s */
		0x00000057, 0x0000000b,             /* vector, custom-0 */
		0x10200073, 0x00200073,             /* sret, uret */
		0x12000073, 0x7b200073,             /* sfence.vma, dret */
		0x000000f3, 0x00004073,             /* ecall with rd; system funct3 4 */
		0x2000,     0xa000,     0x8000,     /* c.fld, c.fsd, quadrant 0 funct3 4 */
		0x2001,                             /* c.addiw x0 */
		0x6101,     0x6081,                 /* c.addi16sp 0, c.lui 0 */
		0x9c41,     0x9c61,                 /* quadrant 1 funct3 4, reserved */
		0x2002,     0xa002,                 /* c.fldsp, c.fsdsp */
		0x4002,     0x6002,                 /* c.lwsp x0, c.ldsp x0 */
		0x8002,                             /* c.jr x0 */
	};

	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
		struct zw_rv_state before, after;
		uint64_t tval = (bad[k] & 3) == 3 ? bad[k] : bad[k] & 0xffff;

		hart_clear(h);
		emit(h, bad[k]);
		set_csr(h, ZW_RV_CSR_MTVEC, HANDLER);
		zw_rv_get_state(h->rv, &before);
		step(h, 1);
		zw_rv_get_state(h->rv, &after);
		if (after.mcause != ZW_RV_CAUSE_ILLEGAL || after.mtval != tval ||
		    after.mepc != RAM_BASE || after.pc != HANDLER)
			fail_msg("%#x: cause %lu, tval %#lx", bad[k], (unsigned long)after.mcause,
				 (unsigned long)after.mtval);
		assert_memory_equal(before.x, after.x, sizeof(before.x));
		assert_u64(after.minstret, 0);
	}
}

/* What the manual calls HINTs and what it says to ignore runs and changes nothing. */
static void test_hints(void **state)
{
	struct hart *h = *state;
	static const uint32_t ok[] = {
		0x0001,                                                     /* c.nop */
		0x0005,                                                     /* c.addi x0,1 */
		0x4005,                                                     /* c.li x0,1 */
		0x6005,                                                     /* c.lui x0,1 */
		0x802a,                                                     /* c.mv x0,a0 */
		0x902a,                                                     /* c.add x0,a0 */
		0x0006,                                                     /* c.slli x0,1 */
		0x00000013, 0x00000033, 0x00000037, 0x00000017, 0x0ff0000f, /* fence iorw,iorw */
		0x8330000f,                                                 /* fence.tso */
		0x0100000f,                                                 /* pause */
		0xfff0808f, /* fence with every reserved field set */
		0xfff0908f, /* fence.i with every reserved field set */
	};

	for (size_t k = 0; k < sizeof(ok) / sizeof(ok[0]); k++) {
		struct zw_rv_state before, after;

		hart_clear(h);
		emit(h, ok[k]);
		zw_rv_get_state(h->rv, &before);
		step(h, 1);
		zw_rv_get_state(h->rv, &after);
		assert_memory_equal(before.x, after.x, sizeof(before.x));
		assert_u64(after.minstret, 1);
		assert_u64(after.pc, RAM_BASE + ((ok[k] & 3) == 3 ? 4 : 2));
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, hart_setup, hart_teardown)
	const struct CMUnitTest tests[] = {
		T(test_alu_reg),
		T(test_alu_imm),
		T(test_muldiv),
		T(test_x0),
		T(test_load_store),
		T(test_misaligned_ram),
		T(test_branches),
		T(test_jumps),
		T(test_amo),
		T(test_lr_sc),
		T(test_compressed_alu),
		T(test_compressed_mem),
		T(test_compressed_jumps),
		T(test_illegal),
		T(test_hints),
	};

	return cmocka_run_group_tests_name("rv-isa", tests, NULL, NULL);
}

// SPDX-License-Identifier: MIT
/*
 * usage: rv_diff QEMU-RISCV64 [ROUNDS [SEED]]
 *
 * Differential fuzzing of the interpreter: the same random program is run by QEMU's user-mode
 * emulator and by zw_rv, and all registers and the memory they wrote must agree. A mismatch leaves
 * the program in rv_diff.elf. Exit status 77, a skip, without that emulator.
 */
#include <elf.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rv_harness.h"

#define FILE_HEAD 0x1000
#define BODY      600             /* random instructions per program */
#define TABLE     DATA            /* registers in, registers out */
#define ZONE      (DATA + 0x1000) /* what loads and stores reach */
#define DUMP      0x2100          /* bytes from TABLE that are compared */

static uint64_t seed;
/* One width of LR and SC per program: a mixed pair may fail or succeed, as the hart likes. */
static unsigned lrsc_f3;

static uint32_t rnd(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)((seed >> 20) % n);
}

/* Pointers stay what they are: x2 and x8 into ZONE, x29 aligned for atomics, x31 to TABLE. */
static unsigned any_rd(void)
{
	unsigned r;

	do
		r = rnd(32);
	while (r == 2 || r == 8 || r == 29 || r == 31);
	return r;
}

static unsigned any_crd(void)
{
	return 9 + rnd(7);
}

/* One random instruction that does not jump; returns its length. */
static unsigned random_insn(uint32_t *out)
{
	static const uint16_t op[] = {
		/* funct7 << 3 | funct3 */
		0x000, 0x001, 0x002, 0x003, 0x004, 0x005, 0x006, 0x007, 0x100,
		0x105, 0x008, 0x009, 0x00a, 0x00b, 0x00c, 0x00d, 0x00e, 0x00f,
	};
	static const uint16_t op32[] = {0x000, 0x001, 0x005, 0x100, 0x105,
					0x008, 0x00c, 0x00d, 0x00e, 0x00f};
	static const uint8_t amo[] = {0x00, 0x01, 0x04, 0x08, 0x0c, 0x10,
				      0x14, 0x18, 0x1c, 0x02, 0x03};
	unsigned rd = any_rd(), rs1 = rnd(32), rs2 = rnd(32), k, f3;
	int imm = (int)rnd(4096) - 2048;
	uint32_t c;

	switch (rnd(14)) {
	case 0:
	case 1:
	case 2:
		k = op[rnd(18)];
		*out = enc_r(0x33, k & 7, k >> 3 == 0x20 ? 0x20 : k >> 3, rd, rs1, rs2);
		return 4;
	case 3:
	case 4:
		k = op32[rnd(10)];
		*out = enc_r(0x3b, k & 7, k >> 3, rd, rs1, rs2);
		return 4;
	case 5:
		f3 = rnd(8);
		if (f3 == 1 || f3 == 5)
			imm = (int)rnd(64) | (f3 == 5 && rnd(2) ? 0x400 : 0);
		*out = enc_i(0x13, f3, rd, rs1, imm);
		return 4;
	case 6:
		f3 = (const unsigned[]){0, 1, 5}[rnd(3)];
		if (f3)
			imm = (int)rnd(32) | (f3 == 5 && rnd(2) ? 0x400 : 0);
		*out = enc_i(0x1b, f3, rd, rs1, imm);
		return 4;
	case 7:
		*out = enc_u(rnd(2) ? 0x37 : 0x17, rd, rnd(1 << 20));
		return 4;
	case 8:
		*out = enc_i(0x03, rnd(7), rd, rnd(2) ? 2 : 8, imm);
		return 4;
	case 9:
		*out = enc_s(rnd(4), rnd(2) ? 2 : 8, rs2, imm);
		return 4;
	case 10:
		k = amo[rnd(11)];
		f3 = k == 2 || k == 3 ? lrsc_f3 : 2 + rnd(2);
		*out = AMO(k, f3, rd, 29, k == 2 ? 0 : rs2) | rnd(4) << 25;
		return 4;
	case 11: /* compressed: immediates and moves on any register */
		c = rnd(2) << 12 | rnd(32) << 2;
		k = any_rd();
		switch (rnd(6)) {
		case 0:
			*out = 0x0001 | c | k << 7;
			break;
		case 1:
			*out = 0x2001 | c | (k ? k : 1) << 7;
			break;
		case 2:
			*out = 0x4001 | c | k << 7;
			break;
		case 3:
			*out = 0x6001 | (c ? c : 4) | k << 7;
			break;
		case 4:
			*out = 0x0002 | c | k << 7;
			break;
		default:
			*out = 0x8002 | rnd(2) << 12 | k << 7 | (1 + rnd(31)) << 2;
			break;
		}
		return 2;
	case 12: /* compressed arithmetic on x9..x15 */
		k = any_crd() - 8;
		c = rnd(4);
		if (c == 3) {
			*out = 0x8c01 | k << 7 | rnd(8) << 2;
			if (rnd(2))
				*out |= 0x1000 | rnd(2) << 5;
			else
				*out |= rnd(4) << 5;
		} else {
			*out = 0x8001 | c << 10 | k << 7 | rnd(2) << 12 | rnd(32) << 2;
		}
		return 2;
	default: /* compressed loads and stores, by x8 and by sp; c.addi4spn */
		k = any_crd();
		switch (rnd(5)) {
		case 0:
			*out = (rnd(2) ? 0x4000u : 0x6000u) | rnd(8) << 10 | rnd(4) << 5 |
			       (k - 8) << 2;
			break;
		case 1:
			*out = (rnd(2) ? 0xc000u : 0xe000u) | rnd(8) << 10 | rnd(4) << 5 |
			       (k - 8) << 2;
			break;
		case 2:
			*out = (rnd(2) ? 0x4002u : 0x6002u) | rnd(2) << 12 | k << 7 | rnd(32) << 2;
			break;
		case 3:
			*out = (rnd(2) ? 0xc002u : 0xe002u) | rnd(64) << 7 | rnd(32) << 2;
			break;
		default:
			*out = (1 + rnd(255)) << 5 | (k - 8) << 2;
			break;
		}
		return 2;
	}
}

/* A jump over the next instruction, taken or not. */
static void emit_jump(struct hart *h, unsigned over)
{
	static const uint8_t f3[] = {0, 1, 4, 5, 6, 7};

	switch (rnd(4)) {
	case 0:
		emit(h, JAL(any_rd(), (int)(4 + over)));
		return;
	case 1: /* c.beqz, c.bnez */
		emit16(h, (uint16_t)(0xc001 | rnd(2) << 13 | rnd(8) << 7 |
				     ((2 + over) >> 1 & 3) << 3));
		return;
	case 2: /* by register: x30 = pc; jump to x30 + 8 + over */
		emit(h, AUIPC(30, 0));
		emit(h, JALR(any_rd(), 30, (int)(8 + over)));
		return;
	default:
		emit(h, enc_b(f3[rnd(6)], rnd(32), rnd(32), (int)(4 + over)));
		return;
	}
}

static uint64_t random_value(void)
{
	uint64_t v = (uint64_t)rnd(1u << 31) << 33 ^ (uint64_t)rnd(1u << 31) << 11 ^ rnd(1 << 20);

	switch (rnd(6)) {
	case 0:
		return UINT64_MAX << rnd(64);
	case 1:
		return UINT64_C(1) << rnd(64);
	case 2:
		return (uint64_t)(int64_t)((int)rnd(9) - 4);
	case 3:
		return (uint64_t)(int64_t)(int32_t)v;
	default:
		return v;
	}
}

static void generate(struct hart *h)
{
	hart_clear(h);
	lrsc_f3 = 2 + rnd(2);
	emit(h, AUIPC(31, (TABLE - RAM_BASE) >> 12));
	for (unsigned n = 1; n < 31; n++)
		emit(h, LD(n, 31, (int)(8 * n)));
	for (int k = 0; k < BODY; k++) {
		uint32_t insn;
		unsigned len = random_insn(&insn);

		if (rnd(8) == 0)
			emit_jump(h, len);
		if (len == 2)
			emit16(h, (uint16_t)insn);
		else
			emit(h, insn);
	}
	for (unsigned n = 1; n < 31; n++)
		emit(h, SD(n, 31, (int)(8 * n)));
	emit(h, ADDI(17, 0, 64)); /* write(1, TABLE, DUMP) */
	emit(h, ADDI(10, 0, 1));
	emit(h, ADDI(11, 31, 0));
	emit(h, LUI(12, DUMP >> 12));
	emit(h, ADDI(12, 12, DUMP & 0xfff));
	emit(h, ECALL);
	emit(h, ADDI(17, 0, 93)); /* exit(0) */
	emit(h, ADDI(10, 0, 0));
	emit(h, ECALL);
	assert_true(h->at < TABLE);

	for (unsigned n = 1; n < 31; n++)
		poke(h, TABLE + 8 * n, 8, random_value());
	for (uint64_t a = ZONE; a < TABLE + DUMP; a += 8)
		poke(h, a, 8, random_value());
	poke(h, TABLE + 8 * 2, 8, ZONE + 0x800);
	poke(h, TABLE + 8 * 8, 8, ZONE + 0x800 + rnd(8));
	poke(h, TABLE + 8 * 29, 8, ZONE + 8 * rnd(256));
}

static void write_elf(const struct hart *h, const char *path)
{
	static uint8_t file[FILE_HEAD + RAM_SIZE];
	Elf64_Ehdr eh = {
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			    EV_CURRENT},
		.e_type = ET_EXEC,
		.e_machine = EM_RISCV,
		.e_version = EV_CURRENT,
		.e_entry = RAM_BASE,
		.e_phoff = sizeof(eh),
		.e_flags = 1, /* RVC */
		.e_ehsize = sizeof(eh),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 1,
	};
	Elf64_Phdr ph = {
		.p_type = PT_LOAD,
		.p_flags = PF_R | PF_W | PF_X,
		.p_offset = FILE_HEAD,
		.p_vaddr = RAM_BASE,
		.p_paddr = RAM_BASE,
		.p_filesz = RAM_SIZE,
		.p_memsz = RAM_SIZE,
		.p_align = 0x1000,
	};
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	memcpy(file, &eh, sizeof(eh));
	memcpy(file + sizeof(eh), &ph, sizeof(ph));
	memcpy(file + FILE_HEAD, h->ram, RAM_SIZE);
	assert_int_equal(fwrite(file, 1, sizeof(file), f), sizeof(file));
	fclose(f);
	chmod(path, 0755);
}

static int compare(struct hart *h, const char *qemu, int round)
{
	static uint8_t theirs[DUMP];
	char cmd[512];
	size_t n;
	FILE *p;
	int bad = 0, rc;

	write_elf(h, "rv_diff.elf");
	snprintf(cmd, sizeof(cmd), "%s ./rv_diff.elf", qemu);
	p = popen(cmd, "r");
	assert_non_null(p);
	n = fread(theirs, 1, sizeof(theirs), p);
	rc = pclose(p);

	/* no handler: the first ecall, and anything unexpected, halts */
	if (zw_rv_run(h->rv, 100000) != ZW_RV_STOP_HALT || h->trap_cause != ZW_RV_CAUSE_ECALL_M) {
		printf("round %d: zw_rv stopped at %#" PRIx64 " by cause %" PRIu64 "\n", round,
		       zw_rv_pc(h->rv), h->trap_cause);
		return 1;
	}
	if (n != DUMP || rc) {
		printf("round %d: %s: %zu bytes, status %#x\n", round, qemu, n, (unsigned)rc);
		return 1;
	}
	for (unsigned k = 0; k < DUMP / 8; k++) {
		uint64_t a = peek(h, TABLE + 8 * k, 8), b;

		memcpy(&b, theirs + 8 * k, 8);
		if (a == b)
			continue;
		printf("round %d: %s%u: zw_rv %#" PRIx64 ", qemu %#" PRIx64 "\n", round,
		       k < 32 ? "x" : "dword ", k, a, b);
		if (++bad > 8)
			break;
	}
	return bad;
}

int main(int argc, char **argv)
{
	int rounds = argc > 2 ? atoi(argv[2]) : 100;
	char cmd[512];
	void *state;
	int bad = 0;

	if (argc < 2) {
		fprintf(stderr, "usage: rv_diff QEMU-RISCV64 [ROUNDS [SEED]]\n");
		return 2;
	}
	snprintf(cmd, sizeof(cmd), "%s --version >/dev/null 2>&1", argv[1]);
	if (system(cmd)) {
		fprintf(stderr, "%s does not run (package qemu-user)\n", argv[1]);
		return 77;
	}
	seed = argc > 3 ? strtoull(argv[3], NULL, 0) | 1 : 0x2545f4914f6cdd1d;
	hart_setup(&state);
	for (int k = 0; k < rounds && !bad; k++) {
		generate(state);
		bad = compare(state, argv[1], k);
	}
	hart_teardown(&state);
	if (!bad) {
		unlink("rv_diff.elf");
		printf("%d programs of %d instructions agree\n", rounds, BODY);
	}
	return bad != 0;
}

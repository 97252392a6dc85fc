// SPDX-License-Identifier: MIT
/*
 * Decoding of RV64IMAC_Zicsr_Zifencei into slots of the decode cache. Encodings: The RISC-V
 * Instruction Set Manual, volume I, "RV32/64G Instruction Set Listings" and "C" extension.
 *
 * Whatever is not an instruction of exactly this ISA becomes ILLEGAL; HINTs are executed as the
 * operation they encode, which writes x0 only.
 */
#include "rv_int.h"

static uint32_t bits(uint32_t v, unsigned hi, unsigned lo)
{
	return (v >> lo) & ((UINT32_C(2) << (hi - lo)) - 1);
}

/* bits hi..lo of v, moved to start at bit `to` of an immediate */
static uint32_t field(uint32_t v, unsigned hi, unsigned lo, unsigned to)
{
	return bits(v, hi, lo) << to;
}

static int32_t sext(uint32_t v, unsigned width)
{
	return (int32_t)(v << (32 - width)) >> (32 - width);
}

static void set(struct rv_insn *d, enum rv_op op, unsigned rd, unsigned rs1, unsigned rs2,
		int32_t imm)
{
	d->op = (uint16_t)op;
	d->rd = (uint8_t)(rd ? rd : RV_SINK);
	d->rs1 = (uint8_t)rs1;
	d->rs2 = (uint8_t)rs2;
	d->imm = imm;
}

static void decode_branch(struct rv_insn *d, uint32_t i, unsigned rs1, unsigned rs2)
{
	static const uint8_t ops[8] = {
		RV_OP_BEQ, RV_OP_BNE, RV_OP_ILLEGAL, RV_OP_ILLEGAL,
		RV_OP_BLT, RV_OP_BGE, RV_OP_BLTU,    RV_OP_BGEU,
	};
	uint32_t imm = field(i, 31, 31, 12) | field(i, 7, 7, 11) | field(i, 30, 25, 5) |
		       field(i, 11, 8, 1);

	set(d, ops[bits(i, 14, 12)], 0, rs1, rs2, sext(imm, 13) * RV_SLOT_SCALE);
}

static void decode_op_imm(struct rv_insn *d, uint32_t i, unsigned rd, unsigned rs1)
{
	static const uint8_t ops[8] = {
		RV_OP_ADDI, RV_OP_SLLI, RV_OP_SLTI, RV_OP_SLTIU,
		RV_OP_XORI, RV_OP_SRLI, RV_OP_ORI,  RV_OP_ANDI,
	};
	unsigned f3 = bits(i, 14, 12);
	uint32_t top = bits(i, 31, 26);

	if (f3 == 1 || f3 == 5) {
		enum rv_op op = ops[f3];

		if (f3 == 5 && top == 0x10)
			op = RV_OP_SRAI;
		else if (top)
			return;
		set(d, op, rd, rs1, 0, (int32_t)bits(i, 25, 20));
		return;
	}
	set(d, ops[f3], rd, rs1, 0, (int32_t)i >> 20);
}

static void decode_op_imm32(struct rv_insn *d, uint32_t i, unsigned rd, unsigned rs1)
{
	uint32_t top = bits(i, 31, 25);
	int32_t sh = (int32_t)bits(i, 24, 20);

	switch (bits(i, 14, 12)) {
	case 0:
		set(d, RV_OP_ADDIW, rd, rs1, 0, (int32_t)i >> 20);
		return;
	case 1:
		if (!top)
			set(d, RV_OP_SLLIW, rd, rs1, 0, sh);
		return;
	case 5:
		if (!top)
			set(d, RV_OP_SRLIW, rd, rs1, 0, sh);
		else if (top == 0x20)
			set(d, RV_OP_SRAIW, rd, rs1, 0, sh);
		return;
	}
}

static void decode_op(struct rv_insn *d, uint32_t i, unsigned rd, unsigned rs1, unsigned rs2)
{
	static const uint8_t base[8] = {
		RV_OP_ADD, RV_OP_SLL, RV_OP_SLT, RV_OP_SLTU,
		RV_OP_XOR, RV_OP_SRL, RV_OP_OR,  RV_OP_AND,
	};
	static const uint8_t muldiv[8] = {
		RV_OP_MUL, RV_OP_MULH, RV_OP_MULHSU, RV_OP_MULHU,
		RV_OP_DIV, RV_OP_DIVU, RV_OP_REM,    RV_OP_REMU,
	};
	unsigned f3 = bits(i, 14, 12);

	switch (bits(i, 31, 25)) {
	case 0x00:
		set(d, base[f3], rd, rs1, rs2, 0);
		return;
	case 0x01:
		set(d, muldiv[f3], rd, rs1, rs2, 0);
		return;
	case 0x20:
		if (f3 == 0)
			set(d, RV_OP_SUB, rd, rs1, rs2, 0);
		else if (f3 == 5)
			set(d, RV_OP_SRA, rd, rs1, rs2, 0);
		return;
	}
}

static void decode_op32(struct rv_insn *d, uint32_t i, unsigned rd, unsigned rs1, unsigned rs2)
{
	enum rv_op op = RV_OP_ILLEGAL;

	/* funct7 and funct3 */
	switch (bits(i, 31, 25) << 4 | bits(i, 14, 12)) {
	case 0x000:
		op = RV_OP_ADDW;
		break;
	case 0x001:
		op = RV_OP_SLLW;
		break;
	case 0x005:
		op = RV_OP_SRLW;
		break;
	case 0x200:
		op = RV_OP_SUBW;
		break;
	case 0x205:
		op = RV_OP_SRAW;
		break;
	case 0x010:
		op = RV_OP_MULW;
		break;
	case 0x014:
		op = RV_OP_DIVW;
		break;
	case 0x015:
		op = RV_OP_DIVUW;
		break;
	case 0x016:
		op = RV_OP_REMW;
		break;
	case 0x017:
		op = RV_OP_REMUW;
		break;
	}
	set(d, op, rd, rs1, rs2, 0);
}

static void decode_amo(struct rv_insn *d, uint32_t i, unsigned rd, unsigned rs1, unsigned rs2)
{
	static const struct {
		uint8_t funct5, w, d;
	} amos[] = {
		{0x00, RV_OP_AMOADD_W, RV_OP_AMOADD_D},   {0x01, RV_OP_AMOSWAP_W, RV_OP_AMOSWAP_D},
		{0x02, RV_OP_LR_W, RV_OP_LR_D},           {0x03, RV_OP_SC_W, RV_OP_SC_D},
		{0x04, RV_OP_AMOXOR_W, RV_OP_AMOXOR_D},   {0x08, RV_OP_AMOOR_W, RV_OP_AMOOR_D},
		{0x0c, RV_OP_AMOAND_W, RV_OP_AMOAND_D},   {0x10, RV_OP_AMOMIN_W, RV_OP_AMOMIN_D},
		{0x14, RV_OP_AMOMAX_W, RV_OP_AMOMAX_D},   {0x18, RV_OP_AMOMINU_W, RV_OP_AMOMINU_D},
		{0x1c, RV_OP_AMOMAXU_W, RV_OP_AMOMAXU_D},
	};
	unsigned f3 = bits(i, 14, 12), f5 = bits(i, 31, 27);

	if (f3 != 2 && f3 != 3)
		return;
	for (size_t k = 0; k < sizeof(amos) / sizeof(amos[0]); k++) {
		if (amos[k].funct5 != f5)
			continue;
		if (f5 == 0x02 && rs2)
			return;
		set(d, f3 == 2 ? amos[k].w : amos[k].d, rd, rs1, rs2, 0);
		return;
	}
}

static void decode_system(struct rv_insn *d, uint32_t i, unsigned rd, unsigned rs1)
{
	static const uint8_t csr[8] = {
		RV_OP_ILLEGAL, RV_OP_CSRRW,  RV_OP_CSRRS,  RV_OP_CSRRC,
		RV_OP_ILLEGAL, RV_OP_CSRRWI, RV_OP_CSRRSI, RV_OP_CSRRCI,
	};

	switch (i) {
	case 0x00000073:
		set(d, RV_OP_ECALL, 0, 0, 0, 0);
		return;
	case 0x00100073:
		set(d, RV_OP_EBREAK, 0, 0, 0, 0);
		return;
	case 0x30200073:
		set(d, RV_OP_MRET, 0, 0, 0, 0);
		return;
	case 0x10500073:
		set(d, RV_OP_WFI, 0, 0, 0, 0);
		return;
	}
	set(d, csr[bits(i, 14, 12)], rd, rs1, 0, (int32_t)bits(i, 31, 20));
}

static void decode32(uint32_t i, struct rv_insn *d)
{
	static const uint8_t loads[8] = {
		RV_OP_LB,  RV_OP_LH,  RV_OP_LW,  RV_OP_LD,
		RV_OP_LBU, RV_OP_LHU, RV_OP_LWU, RV_OP_ILLEGAL,
	};
	static const uint8_t stores[8] = {
		RV_OP_SB,      RV_OP_SH,      RV_OP_SW,      RV_OP_SD,
		RV_OP_ILLEGAL, RV_OP_ILLEGAL, RV_OP_ILLEGAL, RV_OP_ILLEGAL,
	};
	unsigned rd = bits(i, 11, 7), rs1 = bits(i, 19, 15), rs2 = bits(i, 24, 20);
	unsigned f3 = bits(i, 14, 12);
	uint32_t imm;

	switch (i & 0x7f) {
	case 0x03:
		set(d, loads[f3], rd, rs1, 0, (int32_t)i >> 20);
		return;
	case 0x0f:
		/* reserved fields are ignored, as the manual asks of base implementations */
		if (f3 == 0)
			set(d, RV_OP_FENCE, 0, 0, 0, 0);
		else if (f3 == 1)
			set(d, RV_OP_FENCE_I, 0, 0, 0, 0);
		return;
	case 0x13:
		decode_op_imm(d, i, rd, rs1);
		return;
	case 0x17:
		set(d, RV_OP_AUIPC, rd, 0, 0, (int32_t)(i & 0xfffff000));
		return;
	case 0x1b:
		decode_op_imm32(d, i, rd, rs1);
		return;
	case 0x23:
		imm = field(i, 31, 25, 5) | field(i, 11, 7, 0);
		set(d, stores[f3], 0, rs1, rs2, sext(imm, 12));
		return;
	case 0x2f:
		decode_amo(d, i, rd, rs1, rs2);
		return;
	case 0x33:
		decode_op(d, i, rd, rs1, rs2);
		return;
	case 0x37:
		set(d, RV_OP_LUI, rd, 0, 0, (int32_t)(i & 0xfffff000));
		return;
	case 0x3b:
		decode_op32(d, i, rd, rs1, rs2);
		return;
	case 0x63:
		decode_branch(d, i, rs1, rs2);
		return;
	case 0x67:
		if (f3 == 0)
			set(d, RV_OP_JALR, rd, rs1, 0, (int32_t)i >> 20);
		return;
	case 0x6f:
		imm = field(i, 31, 31, 20) | field(i, 19, 12, 12) | field(i, 20, 20, 11) |
		      field(i, 30, 21, 1);
		set(d, RV_OP_JAL, rd, 0, 0, sext(imm, 21) * RV_SLOT_SCALE);
		return;
	case 0x73:
		decode_system(d, i, rd, rs1);
		return;
	}
}

/* offsets of the stack-pointer and register-based compressed loads and stores */
static int32_t c_imm_w(uint32_t i)
{
	return (int32_t)(field(i, 12, 10, 3) | field(i, 6, 6, 2) | field(i, 5, 5, 6));
}

static int32_t c_imm_d(uint32_t i)
{
	return (int32_t)(field(i, 12, 10, 3) | field(i, 6, 5, 6));
}

static void decode_c0(uint32_t i, struct rv_insn *d)
{
	unsigned rd = 8 + bits(i, 4, 2), rs1 = 8 + bits(i, 9, 7);
	uint32_t imm;

	switch (bits(i, 15, 13)) {
	case 0: /* C.ADDI4SPN; 0 is reserved, and with it the all-zero halfword */
		imm = field(i, 12, 11, 4) | field(i, 10, 7, 6) | field(i, 6, 6, 2) |
		      field(i, 5, 5, 3);
		if (imm)
			set(d, RV_OP_ADDI, rd, 2, 0, (int32_t)imm);
		return;
	case 2:
		set(d, RV_OP_LW, rd, rs1, 0, c_imm_w(i));
		return;
	case 3:
		set(d, RV_OP_LD, rd, rs1, 0, c_imm_d(i));
		return;
	case 6:
		set(d, RV_OP_SW, 0, rs1, rd, c_imm_w(i));
		return;
	case 7:
		set(d, RV_OP_SD, 0, rs1, rd, c_imm_d(i));
		return;
	}
}

static void decode_c1_alu(uint32_t i, struct rv_insn *d)
{
	static const uint8_t ops[8] = {
		RV_OP_SUB,  RV_OP_XOR,  RV_OP_OR,      RV_OP_AND,
		RV_OP_SUBW, RV_OP_ADDW, RV_OP_ILLEGAL, RV_OP_ILLEGAL,
	};
	unsigned rd = 8 + bits(i, 9, 7), rs2 = 8 + bits(i, 4, 2);
	int32_t sh = (int32_t)(field(i, 12, 12, 5) | field(i, 6, 2, 0));

	switch (bits(i, 11, 10)) {
	case 0:
		set(d, RV_OP_SRLI, rd, rd, 0, sh);
		return;
	case 1:
		set(d, RV_OP_SRAI, rd, rd, 0, sh);
		return;
	case 2:
		set(d, RV_OP_ANDI, rd, rd, 0, sext((uint32_t)sh, 6));
		return;
	case 3:
		set(d, ops[bits(i, 12, 12) << 2 | bits(i, 6, 5)], rd, rd, rs2, 0);
		return;
	}
}

static void decode_c1(uint32_t i, struct rv_insn *d)
{
	unsigned rd = bits(i, 11, 7), rs1 = 8 + bits(i, 9, 7);
	int32_t imm6 = sext(field(i, 12, 12, 5) | field(i, 6, 2, 0), 6);
	uint32_t imm;

	switch (bits(i, 15, 13)) {
	case 0:
		set(d, RV_OP_ADDI, rd, rd, 0, imm6);
		return;
	case 1:
		if (rd)
			set(d, RV_OP_ADDIW, rd, rd, 0, imm6);
		return;
	case 2:
		set(d, RV_OP_ADDI, rd, 0, 0, imm6);
		return;
	case 3:
		if (!imm6)
			return;
		if (rd == 2) { /* C.ADDI16SP */
			imm = field(i, 12, 12, 9) | field(i, 6, 6, 4) | field(i, 5, 5, 6) |
			      field(i, 4, 3, 7) | field(i, 2, 2, 5);
			set(d, RV_OP_ADDI, 2, 2, 0, sext(imm, 10));
		} else {
			set(d, RV_OP_LUI, rd, 0, 0, imm6 * 4096);
		}
		return;
	case 4:
		decode_c1_alu(i, d);
		return;
	case 5:
		imm = field(i, 12, 12, 11) | field(i, 11, 11, 4) | field(i, 10, 9, 8) |
		      field(i, 8, 8, 10) | field(i, 7, 7, 6) | field(i, 6, 6, 7) |
		      field(i, 5, 3, 1) | field(i, 2, 2, 5);
		set(d, RV_OP_JAL, 0, 0, 0, sext(imm, 12) * RV_SLOT_SCALE);
		return;
	default: /* 6, 7 */
		imm = field(i, 12, 12, 8) | field(i, 11, 10, 3) | field(i, 6, 5, 6) |
		      field(i, 4, 3, 1) | field(i, 2, 2, 5);
		set(d, bits(i, 13, 13) ? RV_OP_BNE : RV_OP_BEQ, 0, rs1, 0,
		    sext(imm, 9) * RV_SLOT_SCALE);
		return;
	}
}

static void decode_c2(uint32_t i, struct rv_insn *d)
{
	unsigned rd = bits(i, 11, 7), rs2 = bits(i, 6, 2);
	bool b12 = bits(i, 12, 12);

	switch (bits(i, 15, 13)) {
	case 0:
		set(d, RV_OP_SLLI, rd, rd, 0, (int32_t)(field(i, 12, 12, 5) | rs2));
		return;
	case 2: /* C.LWSP */
		if (rd)
			set(d, RV_OP_LW, rd, 2, 0,
			    (int32_t)(field(i, 12, 12, 5) | field(i, 6, 4, 2) | field(i, 3, 2, 6)));
		return;
	case 3: /* C.LDSP */
		if (rd)
			set(d, RV_OP_LD, rd, 2, 0,
			    (int32_t)(field(i, 12, 12, 5) | field(i, 6, 5, 3) | field(i, 4, 2, 6)));
		return;
	case 4:
		if (rs2)
			set(d, RV_OP_ADD, rd, b12 ? rd : 0, rs2, 0); /* C.ADD, C.MV */
		else if (rd)
			set(d, RV_OP_JALR, b12 ? 1 : 0, rd, 0, 0); /* C.JALR, C.JR */
		else if (b12)
			set(d, RV_OP_EBREAK, 0, 0, 0, 0);
		return;
	case 6: /* C.SWSP */
		set(d, RV_OP_SW, 0, 2, rs2, (int32_t)(field(i, 12, 9, 2) | field(i, 8, 7, 6)));
		return;
	case 7: /* C.SDSP */
		set(d, RV_OP_SD, 0, 2, rs2, (int32_t)(field(i, 12, 10, 3) | field(i, 9, 7, 6)));
		return;
	}
}

void zw_rvi_decode_raw(uint32_t raw, struct rv_insn *d)
{
	*d = (struct rv_insn){.op = RV_OP_ILLEGAL, .rd = RV_SINK, .raw = raw};

	switch (raw & 3) {
	case 0:
		d->step = 1;
		decode_c0(raw, d);
		return;
	case 1:
		d->step = 1;
		decode_c1(raw, d);
		return;
	case 2:
		d->step = 1;
		decode_c2(raw, d);
		return;
	default: /* encodings longer than 32 bits match no opcode and are illegal as well */
		d->step = 2;
		decode32(raw, d);
		return;
	}
}

void zw_rvi_decode(struct zw_rv *rv, uint64_t off)
{
	struct rv_insn *d = &rv->slots[off >> 1];
	uint32_t raw;

	zw_rvi_cache_mark(rv, off);
	raw = rv_ram_ld16(rv->ram + off);
	if ((raw & 3) == 3) {
		if (off + 2 >= rv->ram_size) {
			/* as the sentinel behind RAM, which is where the other half would be */
			*d = (struct rv_insn){.op = RV_OP_FETCH_FAULT, .step = 1, .imm = 2};
			return;
		}
		zw_rvi_cache_mark(rv, off + 2);
		/* the first half anew: someone may have written both since */
		raw = rv_ram_ld16(rv->ram + off) | (uint32_t)rv_ram_ld16(rv->ram + off + 2) << 16;
		if ((raw & 3) != 3)
			raw &= 0xffff;
	}
	zw_rvi_decode_raw(raw, d);
}

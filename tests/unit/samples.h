/* SPDX-License-Identifier: MIT */
/*
 * One small well-formed packet of every kind, made from the table of zw_ops.h: for the tests of builder, checker, command
 * processor, and for the fuzzers. What the table does not say (how large, which of the types, how indexes are
 * limited) is said here.
 */
#ifndef ZW_TEST_SAMPLES_H
#define ZW_TEST_SAMPLES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "zhenwu/zw_cmd.h"

/* -- the table ------------------------------------------------------------------------------------------- */

struct sample_tensor {
	const char *name, *dims;
	uint64_t dtypes;
	uint32_t same;
	uint16_t offset;
	uint8_t access, kind;
};

struct sample_scalar {
	const char *name;
	uint16_t offset;
	uint8_t kind, arg;
};

struct sample_op {
	const char *name;
	uint16_t opcode, size;
	uint32_t flags;
	uint8_t n_tensors, n_scalars;
	struct sample_tensor tensor[ZW_OP_MAX_TENSORS];
	struct sample_scalar scalar[ZW_OP_MAX_SCALARS];
};

#define SAMPLE_COUNT(...) +1
#define SAMPLE_NONE(...)
#define SAMPLE_TENSOR(P, member, access, kind, dtypes, dims, same)                                 \
	{#member, dims, dtypes, same, offsetof(struct P, member), ZW_OPD_##access, kind},
#define SAMPLE_SCALAR(P, member, kind, arg)                                                        \
	{#member, offsetof(struct P, member), ZW_SCALAR_##kind, arg},
#define SAMPLE_OP(NAME, name_, number, engine, type, flags_)                                       \
	{.name = #name_,                                                                           \
	 .opcode = (number),                                                                       \
	 .size = sizeof(struct type),                                                              \
	 .flags = (flags_),                                                                        \
	 .n_tensors = 0 ZW_FIELDS_##NAME(type, SAMPLE_COUNT, SAMPLE_NONE),                         \
	 .n_scalars = 0 ZW_FIELDS_##NAME(type, SAMPLE_NONE, SAMPLE_COUNT),                         \
	 .tensor = {ZW_FIELDS_##NAME(type, SAMPLE_TENSOR, SAMPLE_NONE)},                           \
	 .scalar = {ZW_FIELDS_##NAME(type, SAMPLE_NONE, SAMPLE_SCALAR)}},

static const struct sample_op sample_ops[] = {ZW_OPS(SAMPLE_OP)};
#define N_SAMPLES (sizeof(sample_ops) / sizeof(sample_ops[0]))

union any_packet {
	struct zw_pkt hdr;
	struct zw_pkt_sem sem;
#define SAMPLE_MEMBER(NAME, name, number, engine, type, flags) struct type name;
	ZW_OPS(SAMPLE_MEMBER)
#undef SAMPLE_MEMBER
};

static inline const struct sample_op *sample_op(unsigned int opcode)
{
	for (size_t i = 0; i < N_SAMPLES; i++)
		if (sample_ops[i].opcode == opcode)
			return &sample_ops[i];
	return NULL;
}

static inline struct zw_tensor *sample_operand(const struct sample_op *op, void *pkt,
					       unsigned int i)
{
	return (struct zw_tensor *)(void *)((char *)pkt + op->tensor[i].offset);
}

/* -- packets --------------------------------------------------------------------------------------------- */

/* Where operands go. */
struct sample_mem {
	uint64_t (*alloc)(void *opaque, uint64_t bytes);
	/* Fills a tensor: with numbers, or (limit > 0) with indexes below it. NULL: it is zero. */
	void (*fill)(void *opaque, const struct zw_tensor *t, uint32_t limit);
	/* Stores 64 bits. NULL: they are zero. */
	void (*store64)(void *opaque, uint64_t va, uint64_t value);
	void *opaque;
	uint32_t rows; /* 0: 4 */
};

static inline uint32_t sample_size(unsigned int opcode, char letter, uint32_t rows)
{
	switch (letter) {
	case 'M':
		return rows ? rows : 4;
	case 'N':
		return opcode == ZW_OP_ADD ? 12 : 10;
	case 'K':
		return opcode == ZW_OP_TOPK    ? 6
		       : opcode == ZW_OP_ROUTE ? 3
		       : opcode == ZW_OP_CONV  ? 4
					       : 24;
	case 'J':
		return 3;
	case 'C':
		return opcode == ZW_OP_ATTENTION ? 1 : opcode == ZW_OP_SELECT_SLASH ? 6 : 20;
	case 'E':
		return opcode == ZW_OP_ROUTE || opcode == ZW_OP_GEMM_EXPERTS ? 5
		       : opcode == ZW_OP_DELTA                               ? 12
									     : 1;
	case 'H':
		return opcode == ZW_OP_EMBED ? 16 : opcode == ZW_OP_DELTA ? 4 : 2;
	case 'G':
	case 'h':
	case 'S':
		return 2;
	case 'D':
		return 8;
	case 'T':
		return opcode == ZW_OP_GEMM_EXPERTS ? 3 : 8;
	case 'Q':
	case 'R':
		return 4;
	case 'V':
		return opcode == ZW_OP_EMBED ? 20 : 30;
	case 'I':
		return 12;
	case 'P':
		return 16;
	case 'L':
		return 3;
	case 'B':
		return 6;
	default:
		return 1;
	}
}

static inline uint16_t sample_dtype(const struct sample_op *op, unsigned int i)
{
	const struct sample_tensor *t = &op->tensor[i];

	if (!(t->dtypes & ZW_DT(BF16)))
		return t->dtypes & ZW_DT(F32)  ? ZW_DTYPE_F32
		       : t->dtypes & ZW_DT(I8) ? ZW_DTYPE_I8
					       : ZW_DTYPE_I32;
	/* types are mixed where packets allow it */
	if ((op->opcode == ZW_OP_GEMM && (i == 2 || i == 3)) || op->opcode == ZW_OP_ARGMAX ||
	    (op->opcode == ZW_OP_ADD && i != 1))
		return ZW_DTYPE_F32;
	return ZW_DTYPE_BF16;
}

/* Optional operands that engines compute with, whatever the flags. */
static inline int sample_has(const struct sample_op *op, const struct sample_tensor *t)
{
	static const char *const present[] = {"bias", "residual", "seq", "lse"};

	if (!(t->kind & ZW_OPD_OPT))
		return 1;
	if (op->opcode == ZW_OP_GEMM_EXPERTS)
		return 0; /* with SCATTER only */
	for (size_t i = 0; i < sizeof(present) / sizeof(present[0]); i++)
		if (!strcmp(t->name, present[i]))
			return 1;
	return 0;
}

/* Positions of one sequence: 1, 2, 3, ... */
#define SAMPLE_RISING UINT32_MAX
/* The same from the third block of eight on. */
#define SAMPLE_LATE   (UINT32_MAX - 1)

/* What an index operand's numbers have to be below, or SAMPLE_RISING or _LATE; 0: it holds no indexes. */
static inline uint32_t sample_limit(unsigned int opcode, const char *name)
{
	if (!strcmp(name, "ids") && opcode == ZW_OP_GEMM_EXPERTS)
		return sample_size(opcode, 'E', 0);
	if (!strcmp(name, "ids"))
		return sample_size(opcode, 'V', 0);
	if (opcode >> 8 == ZW_OP_CONV >> 8)
		return !strcmp(name, "pos") ? SAMPLE_RISING : !strcmp(name, "seq");
	if (opcode == ZW_OP_SELECT_SLASH && !strcmp(name, "pos"))
		return SAMPLE_RISING;
	if (opcode == ZW_OP_SELECT_BLOCKS && !strcmp(name, "pos"))
		return SAMPLE_LATE;
	if ((opcode == ZW_OP_SELECT_SLASH || opcode == ZW_OP_SELECT_BLOCKS) && !strcmp(name, "seq"))
		return 1;
	if (!strcmp(name, "vertical") || !strcmp(name, "slash"))
		return 4;
	if (!strcmp(name, "order"))
		return sample_size(opcode, 'N', 0);
	if (!strcmp(name, "pos") && opcode == ZW_OP_ROPE)
		return sample_size(opcode, 'P', 0);
	if (!strcmp(name, "pos"))
		return sample_size(opcode, 'L', 0) * sample_size(opcode, 'T', 0);
	if (!strcmp(name, "seq"))
		return sample_size(opcode, 'S', 0);
	if (!strcmp(name, "sparse_blocks"))
		return sample_size(opcode, 'L', 0);
	if (!strcmp(name, "sparse_columns") || !strcmp(name, "start"))
		return sample_size(opcode, 'L', 0) * sample_size(opcode, 'T', 0);
	if (!strcmp(name, "sparse_counts") || !strcmp(name, "sparse_column_counts"))
		return 2;
	return strcmp(name, "block_table") ? 0 : sample_size(opcode, 'B', 0);
}

/* Scales: one for each eight elements of a row. */
static inline void sample_scale_dims(const struct sample_op *op, unsigned int i,
				     struct zw_tensor *t)
{
	void *pkt = (char *)t - op->tensor[i].offset;

	for (unsigned int j = 0; j < i; j++) {
		const struct zw_tensor *of = sample_operand(op, pkt, j);

		if (strcmp(op->tensor[j].name, op->tensor[i].dims + 1))
			continue;
		t->ndim = of->ndim;
		memcpy(t->dim, of->dim, sizeof(t->dim));
		t->block[0] = 1;
		t->block[1] = 8;
		t->dim[t->ndim - 1] = (t->dim[t->ndim - 1] + 7) / 8;
	}
}

static inline void sample_tensor(const struct sample_mem *m, const struct sample_op *op,
				 unsigned int i, struct zw_tensor *t)
{
	const char *dims = op->tensor[i].dims;
	uint64_t n = 1;

	t->dtype = sample_dtype(op, i);
	if (*dims == '@')
		sample_scale_dims(op, i, t);
	for (; *dims && *dims != '|' && !t->block[0]; dims++)
		t->dim[t->ndim++] = sample_size(op->opcode, *dims, m->rows);
	for (unsigned int d = t->ndim; d-- > 0;) {
		n *= t->dim[d];
		if (d)
			t->stride[d - 1] = n;
	}
	t->va = m->alloc(m->opaque, n * zw_dtype_block_bytes(t->dtype));
	if (m->fill)
		m->fill(m->opaque, t, sample_limit(op->opcode, op->tensor[i].name));
}

static inline void sample_scalar(const struct sample_mem *m, const struct sample_op *op,
				 unsigned int i, char *pkt)
{
	const struct sample_scalar *s = &op->scalar[i];
	const float eps = 1e-5f, scale = 0.3f;
	uint64_t v64 = op->opcode == ZW_OP_COPY ? 255 : 252;
	uint32_t v32 = 1;

	switch (s->kind) {
	case ZW_SCALAR_VA: {
		struct zw_tensor t = {.dtype = ZW_DTYPE_F32, .ndim = 1, .dim = {64}};
		int dma = op->opcode == ZW_OP_COPY || op->opcode == ZW_OP_FILL;

		t.va = m->alloc(m->opaque, dma ? 256 : 8);
		if (dma && m->fill)
			m->fill(m->opaque, &t, 0);
		if (!dma && m->store64)
			m->store64(m->opaque, t.va, 8);
		memcpy(pkt + s->offset, &t.va, 8);
		break;
	}
	case ZW_SCALAR_U64: /* a semaphore that is there: 7 <= 8, or 0 <= 0 */
		v64 = m->store64 ? 7 : 0;
		memcpy(pkt + s->offset, &v64, 8);
		break;
	case ZW_SCALAR_BYTES:
		if (strcmp(s->name, "bytes"))
			v64 = 0; /* strides of one row */
		memcpy(pkt + s->offset, &v64, 8);
		break;
	case ZW_SCALAR_ROWS:
		memcpy(pkt + s->offset, &v32, 4);
		break;
	case ZW_SCALAR_HEX32:
		v32 = 0xdeadbeef;
		memcpy(pkt + s->offset, &v32, 4);
		break;
	case ZW_SCALAR_U32: /* options are off */
		v32 = op->opcode == ZW_OP_SELECT_SLASH ? 2 : 0;
		memcpy(pkt + s->offset, &v32, 4);
		break;
	case ZW_SCALAR_EPS:
		memcpy(pkt + s->offset, &eps, 4);
		break;
	case ZW_SCALAR_SCALE:
		memcpy(pkt + s->offset, &scale, 4);
		break;
	default:
		break;
	}
}

static inline void sample_packet(const struct sample_mem *m, unsigned int opcode,
				 union any_packet *pk)
{
	const struct sample_op *op = sample_op(opcode);

	memset(pk, 0, sizeof(*pk));
	pk->hdr.opcode = op->opcode;
	pk->hdr.size = op->size;
	for (unsigned int i = 0; i < op->n_tensors; i++)
		if (sample_has(op, &op->tensor[i]))
			sample_tensor(m, op, i, sample_operand(op, pk, i));
	for (unsigned int i = 0; i < op->n_scalars; i++)
		sample_scalar(m, op, i, (char *)pk);
}

/*
 * Makes a sample of GEMM_EXPERTS one that scatters, in the same memory: the rows of a are cut into one
 * for each expert, and c gets the columns of the first one's.
 */
static inline void sample_scatter(struct zw_pkt_gemm_experts *p)
{
	uint32_t per_row = p->ids.dim[1];

	p->hdr.flags |= ZW_EXPERTS_F_SCATTER;
	p->a.ndim = 3;
	p->a.dim[2] = p->w.dim[2] = p->a.dim[1] / per_row;
	p->a.dim[1] = per_row;
	p->a.stride[1] = p->a.dim[2];
	p->c.ndim = 2;
	p->c.dim[1] = p->c.dim[2];
	p->c.dim[2] = 0;
	p->c.stride[1] = 0;
	p->residual = p->c;
}

/* Makes a sample of MUL_SIGMOID one with a gate for each row, in the same memory. */
static inline void sample_row_gate(struct zw_pkt_mul_sigmoid *p)
{
	p->hdr.flags |= ZW_SIGMOID_F_ROW_GATE;
	p->gate.ndim = 2;
	p->gate.dim[1] = 1;
	p->gate.dim[2] = 0;
	p->gate.stride[1] = 0;
}

/* Gives a sample of ATTENTION a window and all that says which keys it sees; lists of one key each. */
static inline void sample_sparse(const struct sample_mem *m, struct zw_pkt_attention *p)
{
	const struct sample_op *op = sample_op(ZW_OP_ATTENTION);
	static const char *const names[] = {
		"sinks",          "sparse_blocks",        "sparse_counts",
		"sparse_columns", "sparse_column_counts", "start"};

	for (unsigned int i = 0; i < op->n_tensors; i++)
		for (unsigned int j = 0; j < sizeof(names) / sizeof(names[0]); j++)
			if (!strcmp(op->tensor[i].name, names[j]))
				sample_tensor(m, op, i, sample_operand(op, p, i));
	p->window = 13;
}

/* Whether the packet has a number of rows that memory may say. */
static inline int sample_has_rows(const struct sample_op *op)
{
	for (unsigned int i = 0; i < op->n_tensors; i++)
		if (op->tensor[i].kind & ZW_OPD_ROWS)
			return 1;
	for (unsigned int i = 0; i < op->n_scalars; i++)
		if (op->scalar[i].kind == ZW_SCALAR_ROWS)
			return 1;
	return 0;
}

#endif

// SPDX-License-Identifier: MIT
/*
 * Packets that must be refused: which status and reason, at which index, and that nothing of them was written. Each case
 * changes one thing of a packet that runs.
 */
#include "cp_refused.h"

static bool late(const struct zw_cp_op *op, unsigned int i)
{
	return op->operand[i].kind & ZW_OPD_PART || op->impl->late >> i & 1;
}

static bool takes_rows(const struct zw_cp_op *op)
{
	return sample_has_rows(sample_op(op->opcode));
}

static struct zw_tensor *operand(union any_packet *pk, unsigned int i)
{
	return (struct zw_tensor *)zw_cp_tensor_at(zw_cp_op_find(pk->hdr.opcode), pk, i);
}

static void valid_ones_run(void **state)
{
	struct cp_env *e = *state;
	union any_packet pk;

	for (unsigned int o = 0; o < N_OPCODES; o++) {
		const struct zw_cp_op *op = zw_cp_op_find(all_opcodes[o]);

		assert_non_null(op);
		for (enum place p = IN_HBM; p <= IN_SYSTEM; p++) {
			make_packet(e, all_opcodes[o], p, &pk);
			assert_int_equal(pk.hdr.size, op->size);
			emit(e, &pk, pk.hdr.size);
			env_run_ok(e);
			assert_int_equal(e->result.packets, 1);
			env_clear(e);
		}
	}
}

/* What every tensor operand of every packet is checked for. */
static void tensor_fields(void **state)
{
	struct cp_env *e = *state;

	for (unsigned int o = 0; o < N_OPCODES; o++) {
		const struct zw_cp_op *op = zw_cp_op_find(all_opcodes[o]);
		union any_packet ok, pk;

		env_clear(e);
		make_packet(e, all_opcodes[o], IN_HBM, &ok);
		for (unsigned int i = 0; i < op->n_operands; i++) {
			bool optional = op->operand[i].kind & ZW_OPD_OPT;
			struct zw_tensor *t = (pk = ok, operand(&pk, i));
			const struct zw_tensor *good = operand(&ok, i);

			if (!good->dtype)
				continue; /* an option that no engine has: see unsupported() */

#define CASE(change, reason)                                                                       \
	do {                                                                                       \
		pk = ok;                                                                           \
		change;                                                                            \
		what = #change;                                                                    \
		expect(e, &pk, ZW_JOB_INVALID, reason);                                            \
	} while (0)
			CASE(t->dtype = 0x77, ZW_REASON_DTYPE);
			CASE(t->dtype = 0x40 + 63, ZW_REASON_DTYPE);
			CASE(t->dtype = 63, ZW_REASON_DTYPE);
			CASE(t->dtype = ZW_DTYPE_E8M0, ZW_REASON_DTYPE);
			CASE(t->dtype = good->dtype == I32 ? F32 : I32, ZW_REASON_DTYPE);
			CASE(t->dtype = 0, optional ? ZW_REASON_RESERVED : ZW_REASON_OPERAND);
			CASE(t->layout = 1, ZW_REASON_RESERVED);
			CASE(t->flags = 0x80000000, ZW_REASON_RESERVED);
			CASE(t->layout = 2, ZW_REASON_RESERVED);
			if (op->operand[i].dims[0] == '@') {
				CASE(t->block[0] = 0, ZW_REASON_VALUE);
				CASE(t->block[1] = 0, ZW_REASON_VALUE);
			} else {
				CASE(t->block[0] = 1, ZW_REASON_RESERVED);
				CASE(t->block[1] = 1, ZW_REASON_RESERVED);
			}
			CASE(t->ndim = 0, ZW_REASON_NDIM);
			CASE(t->ndim = 5, ZW_REASON_NDIM);
			CASE(t->ndim = 255, ZW_REASON_NDIM);
			if (good->ndim < 4)
				CASE(t->dim[3] = 1, ZW_REASON_RESERVED);
			if (good->ndim < 4)
				CASE(t->stride[2] = 1, ZW_REASON_RESERVED);
			if (good->ndim < 4)
				CASE(t->stride[good->ndim - 1] = 1, ZW_REASON_RESERVED);
			CASE(t->dim[0] = 0, ZW_REASON_SHAPE);
			CASE(t->dim[good->ndim - 1] = 0, ZW_REASON_SHAPE);
			CASE(t->dim[0] = ZW_MAX_DIM + 1, ZW_REASON_LIMIT);
			if (esize(good->dtype) > 1)
				CASE(t->va += 1, ZW_REASON_ALIGN);
			if (good->ndim > 1) {
				CASE(t->stride[0] -= 1, ZW_REASON_STRIDE);
				CASE(t->stride[0] = 0, ZW_REASON_STRIDE);
				/* of one row it is never taken: see unused_strides() */
				unsigned int huge =
					good->dim[0] > 1 ? ZW_REASON_STRIDE : ZW_REASON_LIMIT;

				CASE(t->stride[0] = UINT64_MAX, huge);
				CASE(t->stride[0] = UINT64_MAX / 2, huge);
				if (good->dim[0] > 1)
					CASE(t->stride[0] = UINT64_C(1) << 47, ZW_REASON_LIMIT);
			}
			/* one more than the others have */
			if (strchr(op->operand[i].dims, 'K') || strchr(op->operand[i].dims, 'H'))
				CASE(t->dim[good->ndim - 1] -= 1, ZW_REASON_SHAPE);
			for (unsigned int j = 0; j < op->n_operands; j++) {
				const struct zw_tensor *other = operand(&ok, j);

				if (j == i || !other->dtype ||
				    !(op->operand[i].access & ZW_OPD_OUT))
					continue;
				CASE(t->va = other->va + esize(good->dtype) * 2, ZW_REASON_OVERLAP);
			}
		}
	}
}

/* A GEMM with quantised operands, well-formed: w in records, or w and a with scales and zero points. */
static void quantised(struct cp_env *e, bool records, union any_packet *pk)
{
	struct zw_pkt_gemm *g = &pk->gemm;
	const uint64_t va = env_alloc(e, IN_HBM, 64 * KIB) & ~UINT64_C(255);

	make_packet(e, ZW_OP_GEMM, IN_HBM, pk);
	g->a = tensor_at(va, records ? BF16 : ZW_DTYPE_I8, 4, 512, 0, 0);
	g->w = tensor_at(va + 16384, records ? ZW_DTYPE_Q4_K : ZW_DTYPE_U4, 10, 512, 0, 0);
	g->w.layout = records ? ZW_LAYOUT_BLOCKED : ZW_LAYOUT_STRIDED;
	if (records)
		return;
	g->a_scale = tensor_at(va + 32768, F32, 4, 4, 0, 0);
	g->a_scale.block[0] = 1;
	g->a_scale.block[1] = 128;
	g->w_scale = tensor_at(va + 36864, BF16, 10, 4, 0, 0);
	g->w_scale.block[0] = 1;
	g->w_scale.block[1] = 128;
	g->w_zero = tensor_at(va + 40960, ZW_DTYPE_U4, 4, 4, 0, 0);
	g->w_zero.block[0] = 3; /* ceil(10 / 3) = 4 */
	g->w_zero.block[1] = 128;
	g->w_scale2 = tensor_at(va + 45056, F32, 1, 0, 0, 0);
}

/* Form of quantised operands, by a well-formed packet whose types the profile does not have. */
static void quantised_form(void **state)
{
	struct cp_env *e = *state;
	union any_packet ok, pk;

	e->profile.dtypes &= ~(ZW_DT(U4) | ZW_DT(Q4_K));
	quantised(e, false, &ok);
	CASE(, ZW_REASON_UNSUPPORTED);
	CASE(pk.gemm.a_scale.block[1] = 256, ZW_REASON_SHAPE);
	CASE(pk.gemm.a_scale.block[0] = 0, ZW_REASON_VALUE);
	CASE(pk.gemm.w_scale.block[1] = 0, ZW_REASON_VALUE);
	CASE(pk.gemm.w_scale.block[1] = 127, ZW_REASON_SHAPE);
	CASE(pk.gemm.w_scale.block[1] = 170, ZW_REASON_VALUE); /* ceil(512 / 170) = 4 */
	CASE(pk.gemm.w_scale.block[1] = 171, ZW_REASON_SHAPE); /* 3 */
	CASE((pk.gemm.w_zero.block[1] = 127, pk.gemm.w_zero.dim[1] = 5), ZW_REASON_SHAPE);
	CASE((pk.gemm.w_zero.block[1] = 150), ZW_REASON_VALUE);
	CASE((pk.gemm.w.dtype = ZW_DTYPE_F4E2M1), ZW_REASON_OPERAND); /* zero points */
	CASE((pk.gemm.w.dtype = BF16, pk.gemm.w.va &= ~1), ZW_REASON_OPERAND);
	CASE((pk.gemm.a.dtype = BF16), ZW_REASON_OPERAND); /* a_scale */
	CASE(pk.gemm.w_zero.block[0] = 2, ZW_REASON_SHAPE);
	CASE(pk.gemm.w_zero.block[0] = 4, ZW_REASON_SHAPE);
	CASE((pk.gemm.w_scale.ndim = 1, pk.gemm.w_scale.dim[1] = 0, pk.gemm.w_scale.stride[0] = 0),
	     ZW_REASON_NDIM);
	CASE((pk.gemm.w.dim[1] = 511, pk.gemm.w.stride[0] = 512),
	     ZW_REASON_SHAPE); /* half a byte */
	CASE(pk.gemm.w.stride[0] = 513, ZW_REASON_STRIDE);
	CASE(pk.gemm.w_scale = (struct zw_tensor){0}, ZW_REASON_OPERAND);
	CASE(pk.gemm.a_scale = (struct zw_tensor){0}, ZW_REASON_OPERAND);
	CASE((pk.gemm.w_zero = pk.gemm.w_scale2 = (struct zw_tensor){0}), ZW_REASON_UNSUPPORTED);
	CASE(pk.gemm.w_scale2.dim[0] = 2, ZW_REASON_SHAPE);
	CASE(pk.gemm.w_scale2.block[0] = 1, ZW_REASON_RESERVED);
	CASE(pk.gemm.w.layout = ZW_LAYOUT_BLOCKED, ZW_REASON_RESERVED);
	CASE(pk.gemm.c.va = pk.gemm.w.va + 2556,
	     ZW_REASON_OVERLAP); /* the last of 10 x 256 bytes */
	CASE(pk.gemm.c.va = pk.gemm.w.va + 2560, ZW_REASON_UNSUPPORTED);
	env_clear(e);
	quantised(e, true, &ok);
	CASE(, ZW_REASON_UNSUPPORTED);
	CASE(pk.gemm.w.layout = ZW_LAYOUT_STRIDED, ZW_REASON_RESERVED);
	CASE((pk.gemm.a.dim[1] = pk.gemm.w.dim[1] = 384), ZW_REASON_SHAPE);
	CASE(pk.gemm.w.stride[0] = 512 + 128, ZW_REASON_STRIDE);
	CASE(pk.gemm.w.va += 1, ZW_REASON_ALIGN);
	CASE(pk.gemm.w.va += 2, ZW_REASON_UNSUPPORTED);
	CASE((pk.gemm.w_scale2 = tensor_at(pk.gemm.a.va, F32, 1, 0, 0, 0)), ZW_REASON_OPERAND);
	/* 10 rows of two records of 144 bytes */
	CASE(pk.gemm.c.va = pk.gemm.w.va + 2876, ZW_REASON_OVERLAP);
	CASE(pk.gemm.c.va = pk.gemm.w.va + 2880, ZW_REASON_UNSUPPORTED);
}

/* One type at a time that the profile leaves out, and what no engine has. */
static void unsupported(void **state)
{
	struct cp_env *e = *state;
	union any_packet ok, pk;

	e->profile.dtypes &= ~ZW_DT(F16);
	for (unsigned int o = 0; o < N_OPCODES; o++) {
		const struct zw_cp_op *op = zw_cp_op_find(all_opcodes[o]);

		env_clear(e);
		make_packet(e, all_opcodes[o], IN_HBM, &ok);
		for (unsigned int i = 0; i < op->n_operands; i++) {
			struct zw_tensor *t = (pk = ok, operand(&pk, i));
			bool cache = !strcmp(op->operand[i].name, "v_cache");

			/* both pools are of one type; a type of two bytes keeps addresses aligned */
			if (!t->dtype || !(op->operand[i].dtypes & ZW_DT(F16)) || cache)
				continue;
			if (!strcmp(op->operand[i].name, "k_cache") &&
			    !strcmp(op->operand[i + 1].name, "v_cache"))
				CASE((t[0].dtype = t[1].dtype = ZW_DTYPE_F16),
				     ZW_REASON_UNSUPPORTED);
			else if (all_opcodes[o] == ZW_OP_CONV && (i == 0 || i == 3))
				CASE(pk.conv.x.dtype = pk.conv.state.dtype = ZW_DTYPE_F16,
				     ZW_REASON_UNSUPPORTED);
			else
				CASE(t->dtype = ZW_DTYPE_F16, ZW_REASON_UNSUPPORTED);
		}
	}
	/* what a profile leaves out */
	e->profile.dtypes &= ~ZW_DT(F32);
	env_clear(e);
	make_packet(e, ZW_OP_ADD, IN_HBM, &ok);
	CASE(, ZW_REASON_UNSUPPORTED);
	/* caches of a type with scales, which the profile leaves out */
	e->profile.dtypes = UINT64_MAX & ~ZW_DT(I8);
	for (int i = 0; i < 2; i++) {
		env_clear(e);
		make_packet(e, i ? ZW_OP_ATTENTION : ZW_OP_KV_WRITE, IN_HBM, &ok);
		struct zw_tensor scale = tensor(e, IN_HBM, F32, 6, 8, 2, 0);
		struct zw_tensor other = tensor(e, IN_HBM, F32, 6, 8, 2, 0);
		struct zw_tensor *kc = i ? &pk.attention.k_cache : &pk.kv_write.k_cache;
		struct zw_tensor *ks = i ? &pk.attention.k_scale : &pk.kv_write.k_scale;

		CASE((kc[0].dtype = kc[1].dtype = ZW_DTYPE_I8), ZW_REASON_OPERAND);
		CASE((kc[0].dtype = kc[1].dtype = ZW_DTYPE_I8, ks[0] = scale, ks[1] = other),
		     ZW_REASON_UNSUPPORTED);
		CASE((kc[0].dtype = kc[1].dtype = ZW_DTYPE_I8, ks[0] = scale), ZW_REASON_OPERAND);
		CASE((kc[0].dtype = kc[1].dtype = ZW_DTYPE_I8, ks[0] = scale, ks[1] = other,
		      ks[1].stride[1]++),
		     ZW_REASON_STRIDE);
		CASE((ks[0] = scale, ks[1] = other), ZW_REASON_OPERAND); /* of BF16 pools */
	}
	CASE(pk.attention.sinks = tensor_at(NOWHERE, F32, 5, 0, 0, 0), ZW_REASON_SHAPE);
	CASE(pk.attention.sinks = tensor_at(NOWHERE, BF16, 4, 0, 0, 0), ZW_REASON_DTYPE);
	CASE(pk.attention.start = tensor_at(NOWHERE, I32, 5, 0, 0, 0), ZW_REASON_SHAPE);
	CASE(pk.attention.sparse_counts = tensor_at(NOWHERE, I32, 1, 4, 0, 0), ZW_REASON_OPERAND);
	CASE(pk.attention.sparse_blocks = tensor_at(NOWHERE, I32, 1, 4, 2, 0), ZW_REASON_OPERAND);
	CASE(pk.attention.sparse_columns = tensor_at(NOWHERE, I32, 1, 4, 2, 0), ZW_REASON_OPERAND);
	CASE(pk.attention.sparse_column_counts = tensor_at(NOWHERE, I32, 1, 4, 0, 0),
	     ZW_REASON_OPERAND);
	CASE((pk.attention.sparse_counts = tensor_at(NOWHERE, I32, 2, 4, 0, 0),
	      pk.attention.sparse_blocks = tensor_at(NOWHERE, I32, 1, 4, 2, 0)),
	     ZW_REASON_SHAPE);
	CASE((pk.attention.sparse_counts = tensor_at(NOWHERE, I32, 1, 3, 0, 0),
	      pk.attention.sparse_blocks = tensor_at(NOWHERE, I32, 1, 3, 2, 0)),
	     ZW_REASON_SHAPE);
	make_sparse(e, IN_HBM, &ok.attention);
	CASE(pk.attention.y = pk.attention.q;
	     pk.attention.y.va = pk.attention.sparse_columns.va, ZW_REASON_OVERLAP);
}

/* Packets may be longer than the device knows, as long as what it does not know is not used. */
static void longer_packets(void **state)
{
	struct cp_env *e = *state;

	for (unsigned int o = 0; o < N_OPCODES; o++) {
		static const uint32_t more[] = {16, 64, 4096};

		for (unsigned int j = 0; j < 3; j++) {
			struct zw_pkt nop = HDR(ZW_OP_NOP, zw_pkt);
			union any_packet pk;
			uint8_t *p;
			uint32_t size;

			env_clear(e);
			make_packet(e, all_opcodes[o], IN_HBM, &pk);
			size = pk.hdr.size + more[j];
			p = emit(e, &pk, pk.hdr.size);
			memcpy(p + offsetof(struct zw_pkt, size), &(uint16_t){(uint16_t)size}, 2);
			memset(p + pk.hdr.size, 0, more[j]);
			e->cmd_bytes += more[j];
			EMIT(e, nop);
			env_run_ok(e);
			assert_int_equal(e->result.packets, 2);
			/* a bit of it is used: the first and the last one */
			for (unsigned int k = 0; k < 2; k++) {
				e->cmd_bytes = size + sizeof(nop);
				p[k ? size - 1 : pk.hdr.size] = k ? 0x80 : 1;
				env_run(e);
				assert_int_equal(e->job.status, ZW_JOB_INVALID);
				assert_int_equal(e->job.reason, ZW_REASON_RESERVED);
				p[k ? size - 1 : pk.hdr.size] = 0;
			}
		}
	}
}

/* The tag of the packet that is to blame is in job record, result and log; nothing else's. */
static void tags(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt nop = HDR(ZW_OP_NOP, zw_pkt);
	struct zw_pkt_fill f = {.hdr = HDR(ZW_OP_FILL, zw_pkt_fill), .bytes = 4, .rows = 1};

	for (unsigned int bad = 0; bad < 3; bad++) {
		for (unsigned int form = 0; form < 2; form++) {
			f.dst = NOWHERE;
			f.hdr.reserved = form ? 1 : 0;
			e->cmd_bytes = 0;
			for (unsigned int i = 0; i < 3; i++) {
				nop.tag = 0x100 + i;
				f.hdr.tag = 0x100 + i;
				if (i == bad)
					EMIT(e, f);
				else
					EMIT(e, nop);
			}
			env_run(e);
			assert_int_equal(e->job.status, form ? ZW_JOB_INVALID : ZW_JOB_FAULT);
			assert_int_equal(e->job.packet_index, bad);
			assert_int_equal(zw_cp_job_tag(&e->job), 0x100 + bad);
			assert_int_equal(e->result.tag, 0x100 + bad);
			assert_non_null(strstr(
				e->log, (const char *[]){"FILL tag 0x100:", "FILL tag 0x101:",
							 "FILL tag 0x102:"}[bad]));
		}
	}
	/* data that is bad */
	struct zw_tensor rows = tensor(e, IN_HBM, I32, 1, 0, 0, 0);
	put_i(e, &rows, 0, 0, 2);
	f.hdr.rows_va = rows.va;
	f.hdr.reserved = 0;
	e->cmd_bytes = 0;
	EMIT(e, nop);
	EMIT(e, f);
	env_run(e);
	assert_int_equal(e->job.status, ZW_JOB_DATA);
	assert_int_equal(zw_cp_job_tag(&e->job), f.hdr.tag);
	assert_int_equal(e->result.tag, f.hdr.tag);
	/* a job that is well, and one that no packet is to blame for */
	e->cmd_bytes = 0;
	EMIT(e, nop);
	env_run_ok(e);
	assert_int_equal(e->result.tag, 0);
	assert_int_equal(zw_cp_job_tag(&e->job), 0);
	EMIT(e, nop);
	e->cmd_va += 8;
	e->job.seqno++;
	env_run_from(e, 0);
	assert_int_equal(e->job.status, ZW_JOB_INVALID);
	assert_int_equal(e->result.tag, 0);
	assert_null(strstr(e->log, "tag"));
}

/* A stride that is never taken still has to be one: it enters arithmetic elsewhere. */
static void unused_strides(void **state)
{
	struct cp_env *e = *state;
	static const uint64_t strides[] = {UINT64_C(1) << 62, UINT64_C(1) << 63, UINT64_MAX,
					   (UINT64_C(1) << 62) + 1, (UINT64_C(1) << 48) + 1};

	for (unsigned int i = 0; i < 5; i++) {
		struct zw_pkt_add a = {.hdr = HDR(ZW_OP_ADD, zw_pkt_add)};
		union any_packet pk = {0};

		env_clear(e);
		a.a = random_tensor(e, IN_HBM, F32, 1, 12, 0, 0);
		a.b = random_tensor(e, IN_HBM, F32, 1, 12, 0, 0);
		a.a.stride[0] = a.b.stride[0] = strides[i];
		a.y = a.a;
		a.y.va += 4;
		pk.add = a;
		expect(e, &pk, ZW_JOB_INVALID, ZW_REASON_LIMIT);
	}
}

static void exactly_in_place(void **state)
{
	struct cp_env *e = *state;
	union any_packet pk;
	static const struct {
		uint16_t op;
		unsigned int out, in;
		uint32_t reason;
	} cases[] = {
		{ZW_OP_RMSNORM, 2, 0, 0},
		{ZW_OP_RMSNORM, 2, 1, ZW_REASON_OVERLAP},
		{ZW_OP_ROPE, 1, 0, 0},
		{ZW_OP_SWIGLU, 2, 0, 0},
		{ZW_OP_SWIGLU, 2, 1, 0},
		{ZW_OP_ADD, 2, 0, 0},
		{ZW_OP_ADD, 2, 1, ZW_REASON_OVERLAP},
		{ZW_OP_ATTENTION, 1, 0, 0},
		{ZW_OP_GEMM, 2, 0, ZW_REASON_OVERLAP},
		{ZW_OP_GEMM, 2, 4, ZW_REASON_OVERLAP},
		{ZW_OP_KV_WRITE, 5, 6, ZW_REASON_OVERLAP},
		{ZW_OP_TOPK, 1, 2, ZW_REASON_OVERLAP},
	};

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		env_clear(e);
		make_packet(e, cases[i].op, IN_HBM, &pk);
		if (cases[i].reason) {
			operand(&pk, cases[i].out)->va = operand(&pk, cases[i].in)->va;
			expect(e, &pk, ZW_JOB_INVALID, cases[i].reason);
		} else {
			*operand(&pk, cases[i].out) = *operand(&pk, cases[i].in);
			emit(e, &pk, pk.hdr.size);
			env_run_ok(e);
		}
	}
}

static void packet_fields(void **state)
{
	struct cp_env *e = *state;
	const uint32_t nan = 0x7fc00000, inf = 0x7f800000, minus = 0xbf800000;
	union any_packet ok, pk;

#define MAKE(op) (env_clear(e), make_packet(e, op, IN_HBM, &ok))
	for (unsigned int o = 0; o < N_OPCODES; o++) {
		const struct zw_cp_op *op = zw_cp_op_find(all_opcodes[o]);

		MAKE(all_opcodes[o]);
		CASE(pk.hdr.flags = 1u << 6, ZW_REASON_FLAGS);
		if (!(op->flags & ZW_PKT_OPFLAG(0)))
			CASE(pk.hdr.flags = 1u << 8, ZW_REASON_FLAGS);
		CASE(pk.hdr.flags = 1u << 10, ZW_REASON_FLAGS);
		CASE(pk.hdr.flags = 1u << 31, ZW_REASON_FLAGS);
		CASE(pk.hdr.flags = ZW_PKT_F_PREDICATE_NOT, ZW_REASON_FLAGS);
		CASE(pk.hdr.reserved = 1, ZW_REASON_RESERVED);
		CASE(pk.hdr.wait = 1, ZW_REASON_RESERVED);
		CASE(pk.hdr.signal = ZW_PKT_TOKENS + 1, ZW_REASON_VALUE);
		CASE(pk.hdr.signal = 255, ZW_REASON_VALUE);
		CASE(pk.hdr.predicate_va = 4098, ZW_REASON_ALIGN);
		CASE(pk.hdr.size += 8, ZW_REASON_PACKET_SIZE);
		CASE(pk.hdr.size = (uint16_t)(zw_op_least_size(op->opcode, op->size) - 16),
		     ZW_REASON_PACKET_SIZE);
		CASE(pk.hdr.size = 0, ZW_REASON_PACKET_SIZE);
		CASE(pk.hdr.size = 0xffff, ZW_REASON_PACKET_SIZE);
		CASE(pk.hdr.opcode |= 0x80, ZW_REASON_OPCODE);
		CASE(pk.hdr.opcode |= 0x8000, ZW_REASON_OPCODE);
		if (takes_rows(op))
			CASE(pk.hdr.rows_va = 4097, ZW_REASON_ALIGN);
		else
			CASE(pk.hdr.rows_va = 4096, ZW_REASON_RESERVED);
		if (op->engine == ZW_ENGINE_CP && op->opcode != ZW_OP_NOP)
			CASE(pk.hdr.flags = ZW_PKT_F_DEPS, ZW_REASON_FLAGS);
	}
	/* a transposed a: its rows are not the packet's; both: longer than what is transposed at a time */
	MAKE(ZW_OP_GEMM);
	CASE(pk.hdr.flags = ZW_GEMM_F_TRANS_A, ZW_REASON_SHAPE);
	CASE(pk.hdr.flags = ZW_GEMM_F_TRANS_W, ZW_REASON_SHAPE);
	ok.gemm.a = random_tensor(e, IN_HBM, BF16, 24, 4, 0, 0);
	ok.hdr.flags = ZW_GEMM_F_TRANS_A;
	CASE(pk.hdr.rows_va = 4096, ZW_REASON_RESERVED);
	CASE(pk.hdr.flags = 0, ZW_REASON_SHAPE);
	CASE((pk.gemm.a.dim[0] = pk.gemm.w.dim[1] = pk.gemm.w.stride[0] = ZW_CP_MAX_ROW + 1),
	     ZW_REASON_LIMIT);
	MAKE(ZW_OP_GEMM_EXPERTS);
	CASE(pk.hdr.flags = ZW_EXPERTS_F_SCATTER, ZW_REASON_NDIM);
	CASE(pk.gemm_experts.residual = random_tensor(e, IN_HBM, F32, 4, 10, 0, 0),
	     ZW_REASON_OPERAND);
	CASE(pk.gemm_experts.weights = random_tensor(e, IN_HBM, F32, 4, 3, 0, 0),
	     ZW_REASON_OPERAND);
	CASE((pk.gemm_experts.a.dtype = ZW_DTYPE_I8), ZW_REASON_OPERAND);
	CASE((pk.gemm_experts.w.dtype = ZW_DTYPE_F8E4M3), ZW_REASON_OPERAND);
	CASE((pk.gemm_experts.w.dtype = ZW_DTYPE_F8E4M3,
	      pk.gemm_experts.w_scale = tensor_at(AREA_VA(IN_SYSTEM), F32, 5, 1, 1, 0),
	      pk.gemm_experts.w_scale.block[0] = 10, pk.gemm_experts.w_scale.block[1] = 24),
	     ZW_REASON_UNSUPPORTED);
	CASE((pk.gemm_experts.w_scale2 = tensor_at(AREA_VA(IN_SYSTEM), F32, 5, 0, 0, 0)),
	     ZW_REASON_OPERAND);
	CASE((pk.gemm_experts.w_scale2 = tensor_at(AREA_VA(IN_SYSTEM), F32, 1, 0, 0, 0)),
	     ZW_REASON_SHAPE);
	CASE((pk.gemm_experts.ids = tensor_at(AREA_VA(IN_SYSTEM), I32, 4, 1025, 0, 0),
	      pk.gemm_experts.c.dim[1] = 1025,
	      pk.gemm_experts.c.stride[0] = 1025 * pk.gemm_experts.c.stride[1]),
	     ZW_REASON_VALUE);
	CASE((pk.gemm_experts.ids.dim[0] = pk.gemm_experts.a.dim[0] = pk.gemm_experts.c.dim[0] =
		      (1 << 20) / 3 + 1),
	     ZW_REASON_LIMIT);
	CASE(pk.gemm_experts.w.dim[0] = ZW_CP_MAX_EXPERTS + 1, ZW_REASON_LIMIT);
	sample_scatter(&ok.gemm_experts);
	CASE(pk.hdr.flags = 0, ZW_REASON_NDIM);
	CASE(pk.gemm_experts.residual.va += 4, ZW_REASON_OVERLAP);
	CASE(pk.gemm_experts.a.stride[1] = 7, ZW_REASON_STRIDE);
	MAKE(ZW_OP_ROUTE);
	CASE((pk.route.weights.dim[1] = pk.route.weights.stride[0] = pk.route.ids.dim[1] =
		      pk.route.ids.stride[0] = 6),
	     ZW_REASON_VALUE); /* k > E */
	CASE(pk.route.x.dim[1] = pk.route.x.stride[0] = ZW_CP_MAX_EXPERTS + 1, ZW_REASON_LIMIT);
	CASE(pk.route.ids.va = pk.route.weights.va, ZW_REASON_OVERLAP);
	MAKE(ZW_OP_SWIGLU);
	CASE((pk.swiglu.up.ndim = 2, pk.swiglu.up.dim[1] = 12, pk.swiglu.up.dim[2] = 0,
	      pk.swiglu.up.stride[0] = 12, pk.swiglu.up.stride[1] = 0),
	     ZW_REASON_SHAPE);
	/* columns of each head, not of each row */
	ok.swiglu.gate = random_tensor(e, IN_HBM, BF16, 4, 2, 24, 0);
	ok.swiglu.gate.dim[2] = 12;
	ok.swiglu.up = ok.swiglu.gate;
	ok.swiglu.up.va += 24;
	CASE(pk.swiglu.y = pk.swiglu.gate, ZW_REASON_OVERLAP);
	MAKE(ZW_OP_GATED_NORM);
	CASE(pk.gated_norm.eps_f32 = minus, ZW_REASON_VALUE);
	CASE(pk.gated_norm.reserved[2] = 1, ZW_REASON_RESERVED);
	CASE(pk.gated_norm.y = pk.gated_norm.w, ZW_REASON_NDIM);
	CASE(pk.gated_norm.gate.dim[1] = 1, ZW_REASON_SHAPE);
	CASE(pk.gated_norm.w.dim[0] = 7, ZW_REASON_SHAPE);
	CASE((pk.gated_norm.x.dim[2] = pk.gated_norm.y.dim[2] = pk.gated_norm.gate.dim[2] =
		      pk.gated_norm.w.dim[0] = ZW_CP_MAX_ROW + 1,
	      pk.gated_norm.x.stride[0] = pk.gated_norm.y.stride[0] = pk.gated_norm.gate.stride[0] =
		      1ull << 30,
	      pk.gated_norm.x.stride[1] = pk.gated_norm.y.stride[1] = pk.gated_norm.gate.stride[1] =
		      1ull << 28),
	     ZW_REASON_LIMIT);
	MAKE(ZW_OP_MUL_SIGMOID);
	CASE(pk.hdr.flags = ZW_SIGMOID_F_ROW_GATE, ZW_REASON_NDIM);
	CASE(pk.mul_sigmoid.y.va = pk.mul_sigmoid.gate.va + 2, ZW_REASON_OVERLAP);
	sample_row_gate(&ok.mul_sigmoid);
	CASE(pk.hdr.flags = 0, ZW_REASON_SHAPE);
	CASE(pk.mul_sigmoid.gate.dim[1] = 2, ZW_REASON_SHAPE);
	CASE(pk.mul_sigmoid.gate.dim[0] = 3, ZW_REASON_SHAPE);
	CASE(pk.mul_sigmoid.gate.va = pk.mul_sigmoid.y.va, ZW_REASON_OVERLAP);
	MAKE(ZW_OP_NOP);
	CASE(pk.hdr.opcode = 0x0005, ZW_REASON_OPCODE);
	CASE(pk.hdr.opcode = 0x0402, ZW_REASON_OPCODE);
	CASE(pk.hdr.opcode = 0x0600, ZW_REASON_OPCODE);
	CASE(pk.hdr.opcode = 0xffff, ZW_REASON_OPCODE);
	MAKE(ZW_OP_TIMESTAMP);
	CASE(pk.timestamp.va += 4, ZW_REASON_ALIGN);
	CASE(pk.timestamp.reserved = 1, ZW_REASON_RESERVED);
	MAKE(ZW_OP_SEM_WAIT);
	CASE(pk.sem.va += 4, ZW_REASON_ALIGN);
	MAKE(ZW_OP_RMSNORM);
	CASE(pk.rmsnorm.eps_f32 = nan, ZW_REASON_VALUE);
	CASE(pk.rmsnorm.eps_f32 = inf, ZW_REASON_VALUE);
	CASE(pk.rmsnorm.eps_f32 = minus, ZW_REASON_VALUE);
	CASE(pk.rmsnorm.reserved[2] = 1, ZW_REASON_RESERVED);
	CASE((pk.rmsnorm.y.ndim = 2, pk.rmsnorm.y.dim[1] = 8, pk.rmsnorm.y.dim[2] = 0,
	      pk.rmsnorm.y.stride[0] = 8, pk.rmsnorm.y.stride[1] = 0),
	     ZW_REASON_SHAPE); /* [M,D] beside [M,H,D] */
	MAKE(ZW_OP_ROPE);
	CASE((pk.rope.cos.dim[1] = 5, pk.rope.cos.stride[0] = 5, pk.rope.sin.dim[1] = 5,
	      pk.rope.sin.stride[0] = 5),
	     ZW_REASON_SHAPE); /* 2 * 5 > 8 */
	CASE((pk.rope.x.dim[0] = pk.rope.y.dim[0] = pk.rope.pos.dim[0] = ZW_CP_MAX_INDEX_ROWS + 1),
	     ZW_REASON_LIMIT);
	MAKE(ZW_OP_TOPK);
	CASE((pk.topk.values.dim[1] = pk.topk.values.stride[0] = pk.topk.ids.dim[1] =
		      pk.topk.ids.stride[0] = 31),
	     ZW_REASON_VALUE); /* k > V */
	CASE((pk.topk.x.dim[1] = pk.topk.x.stride[0] = 2000, pk.topk.values.dim[1] = 1025,
	      pk.topk.values.stride[0] = 1025, pk.topk.ids.dim[1] = pk.topk.ids.stride[0] = 1025),
	     ZW_REASON_VALUE);
	for (int i = 0; i < 2; i++) {
		MAKE(i ? ZW_OP_ATTENTION : ZW_OP_KV_WRITE);
		struct zw_tensor *kc = i ? &pk.attention.k_cache : &pk.kv_write.k_cache;
		struct zw_tensor *vc = kc + 1;

		static const uint32_t bad_t[] = {4, 12, 2048};
		for (unsigned int j = 0; j < 3; j++)
			CASE((kc->dim[1] = vc->dim[1] = bad_t[j],
			      kc->stride[0] = vc->stride[0] = 16 * bad_t[j]),
			     ZW_REASON_VALUE);
		CASE(vc->dtype = F32; vc->va &= ~UINT64_C(3), ZW_REASON_DTYPE);
		CASE((kc->stride[1] = 17, kc->stride[0] = 17 * 8), ZW_REASON_STRIDE);
		CASE((vc->stride[2] = 9, vc->stride[1] = 18, vc->stride[0] = 18 * 8),
		     ZW_REASON_STRIDE);
	}
	CASE(pk.attention.scale_f32 = 0, ZW_REASON_VALUE);
	CASE(pk.attention.scale_f32 = nan, ZW_REASON_VALUE);
	CASE(pk.attention.scale_f32 = inf, ZW_REASON_VALUE);
	CASE(pk.attention.scale_f32 = minus, ZW_REASON_VALUE);
	CASE(pk.attention.reserved = 1, ZW_REASON_RESERVED);
	CASE((pk.attention.q.dim[1] = pk.attention.y.dim[1] = pk.attention.lse.dim[1] = 3),
	     ZW_REASON_SHAPE); /* 3 query heads, 2 KV heads */
	MAKE(ZW_OP_MERGE);
	CASE(pk.merge.x_lse.dim[0] = 9, ZW_REASON_SHAPE);
	CASE(pk.merge.x.dim[1] = 3, ZW_REASON_SHAPE);
	CASE((pk.merge.x.dim[0] = pk.merge.x_lse.dim[0] = ZW_K_MERGE_MAX_PARTS + 1),
	     ZW_REASON_LIMIT);
	CASE(pk.merge.y.va = pk.merge.x.va, ZW_REASON_OVERLAP);
	CASE(pk.merge.lse.va = pk.merge.x_lse.va, ZW_REASON_OVERLAP);
	MAKE(ZW_OP_SELECT_BLOCKS);
	CASE((pk.select_blocks.q.dim[1] = pk.select_blocks.blocks.dim[1] =
		      pk.select_blocks.counts.dim[1] = 3),
	     ZW_REASON_SHAPE);
	CASE(pk.select_blocks.k_cache.stride[2] = 9, ZW_REASON_STRIDE);
	CASE(pk.select_blocks.counts.va = pk.select_blocks.blocks.va, ZW_REASON_OVERLAP);
	CASE((pk.select_blocks.k_cache.dim[1] = 4), ZW_REASON_VALUE);
	CASE(pk.select_blocks.q_mid = pk.select_blocks.q, ZW_REASON_OPERAND);
	CASE(pk.select_blocks.far_end = pk.select_blocks.pos, ZW_REASON_OPERAND);
	CASE((pk.select_blocks.far_end = pk.select_blocks.pos,
	      pk.select_blocks.q_far = pk.select_blocks.q, pk.select_blocks.q_far.dim[2] = 7),
	     ZW_REASON_SHAPE);
	MAKE(ZW_OP_SELECT_SLASH);
	CASE(pk.select_slash.sample = 0, ZW_REASON_VALUE);
	CASE(pk.select_slash.sample = ZW_K_SLASH_MAX_SAMPLE + 1, ZW_REASON_VALUE);
	CASE(pk.select_slash.nearest = 0, ZW_REASON_VALUE);
	CASE(pk.select_slash.scale_f32 = 0, ZW_REASON_VALUE);
	CASE(pk.select_slash.reserved[15] = 1, ZW_REASON_RESERVED);
	CASE(pk.select_slash.slash.dim[0] = 3, ZW_REASON_SHAPE);
	CASE(pk.select_slash.columns.va = pk.select_slash.slash.va, ZW_REASON_OVERLAP);
	CASE(pk.select_slash.mid_end = pk.select_slash.pos, ZW_REASON_OPERAND);
	CASE(pk.select_slash.q_far = pk.select_slash.q, ZW_REASON_OPERAND);
	MAKE(ZW_OP_COPY);
	CASE(pk.copy.reserved = 1, ZW_REASON_RESERVED);
	CASE(pk.copy.dst = pk.copy.src, ZW_REASON_OVERLAP);
	CASE(pk.copy.dst = pk.copy.src + 254, ZW_REASON_OVERLAP);
	CASE(pk.copy.src = pk.copy.dst + 254, ZW_REASON_OVERLAP);
	CASE(pk.copy.bytes = UINT64_MAX, ZW_REASON_LIMIT);
	CASE(pk.copy.dst_stride = UINT64_MAX, ZW_REASON_LIMIT);
	CASE(pk.copy.src_stride = (UINT64_C(1) << 48) + 1, ZW_REASON_LIMIT);
	CASE(pk.copy.rows = 0, ZW_REASON_SHAPE);
	CASE(pk.copy.rows = ZW_MAX_DIM + 1, ZW_REASON_LIMIT);
	CASE((pk.copy.rows = 2, pk.copy.dst_stride = 255, pk.copy.src_stride = 254),
	     ZW_REASON_STRIDE);
	CASE((pk.copy.rows = 2, pk.copy.dst_stride = 254, pk.copy.src_stride = 255),
	     ZW_REASON_STRIDE);
	CASE((pk.copy.rows = ZW_MAX_DIM, pk.copy.dst_stride = 1 << 21, pk.copy.src_stride = 255),
	     ZW_REASON_LIMIT);
	/* the last row of the one is the first of the other */
	CASE((pk.copy.rows = 3, pk.copy.dst_stride = pk.copy.src_stride = 512,
	      pk.copy.src = pk.copy.dst + 1024 + 254),
	     ZW_REASON_OVERLAP);
	CASE((pk.copy.rows = 3, pk.copy.dst_stride = pk.copy.src_stride = 512,
	      pk.copy.dst = pk.copy.src + 1024 + 254),
	     ZW_REASON_OVERLAP);
	/* rows that interleave: the ranges overlap */
	CASE((pk.copy.rows = 2, pk.copy.dst_stride = pk.copy.src_stride = 1024,
	      pk.copy.dst = pk.copy.src + 512),
	     ZW_REASON_OVERLAP);
	MAKE(ZW_OP_FILL);
	CASE(pk.fill.rows = 0, ZW_REASON_SHAPE);
	CASE((pk.fill.rows = 2, pk.fill.dst_stride = 248), ZW_REASON_STRIDE);
	CASE((pk.fill.rows = 2, pk.fill.dst_stride = 254), ZW_REASON_ALIGN);
	CASE(pk.fill.dst += 2, ZW_REASON_ALIGN);
	CASE(pk.fill.bytes += 2, ZW_REASON_ALIGN);
	CASE(pk.fill.bytes = UINT64_MAX - 3, ZW_REASON_LIMIT);
}

/* Indexes out of range, found before anything of the packet is written. */
static void bad_data(void **state)
{
	struct cp_env *e = *state;
	static const struct {
		uint16_t op;
		unsigned int operand;
		int32_t limit;
	} cases[] = {
		{ZW_OP_ROPE, 2, 16},         {ZW_OP_EMBED, 0, 20},
		{ZW_OP_KV_WRITE, 2, 24},     {ZW_OP_KV_WRITE, 3, 2},
		{ZW_OP_KV_WRITE, 4, 6},      {ZW_OP_ATTENTION, 2, 24},
		{ZW_OP_ATTENTION, 3, 2},     {ZW_OP_ATTENTION, 4, 6},
		{ZW_OP_GEMM_EXPERTS, 2, 5},  {ZW_OP_SELECT_BLOCKS, 1, 24},
		{ZW_OP_SELECT_BLOCKS, 2, 2}, {ZW_OP_SELECT_BLOCKS, 3, 6},
		{ZW_OP_SELECT_SLASH, 1, 24}, {ZW_OP_SELECT_SLASH, 2, 2},
		{ZW_OP_SELECT_SLASH, 3, 6},  {ZW_OP_REORDER, 1, 10},
	};
	union any_packet pk;

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const int32_t bad[] = {-1, INT32_MIN, cases[i].limit, INT32_MAX};

		for (unsigned int j = 0; j < 4; j++) {
			struct zw_tensor *t;

			env_clear(e);
			make_packet(e, cases[i].op, j % 2 ? IN_SYSTEM : IN_HBM, &pk);
			t = operand(&pk, cases[i].operand);
			if (cases[i].op == ZW_OP_GEMM_EXPERTS) {
				put_i(e, t, t->dim[0] - 1, t->dim[1] - 1, bad[j]);
			} else if (t->ndim ==
				   2) { /* the block table: all of it, so that it is met */
				for (uint32_t k = 0; k < t->dim[0] * t->dim[1]; k++)
					put_i(e, t, k / t->dim[1], k % t->dim[1], bad[j]);
			} else {
				put_i(e, t, t->dim[0] - 1, 0, bad[j]);
			}
			expect(e, &pk, ZW_JOB_DATA, ZW_REASON_INDEX);
		}
	}
	for (unsigned int o = 0; o < N_OPCODES; o++) {
		const struct zw_cp_op *op = zw_cp_op_find(all_opcodes[o]);
		static const uint32_t bad[] = {5, 0x80000000u, UINT32_MAX};

		for (unsigned int j = 0; j < 3 && takes_rows(op); j++) {
			env_clear(e);
			make_packet(e, all_opcodes[o], IN_PAGES, &pk);
			pk.hdr.rows_va = env_alloc(e, IN_HBM, 4);
			env_put(e, pk.hdr.rows_va, &bad[j], 4);
			expect(e, &pk, ZW_JOB_DATA, ZW_REASON_ROWS);
		}
	}
}

/* Each operand in turn unmapped, half unmapped, or an output without write permission. */
static void faults(void **state)
{
	struct cp_env *e = *state;
	union any_packet ok, pk;

	for (unsigned int o = 0; o < N_OPCODES; o++) {
		const struct zw_cp_op *op = zw_cp_op_find(all_opcodes[o]);

		for (unsigned int i = 0; i < op->n_operands; i++) {
			bool out = op->operand[i].access & ZW_OPD_OUT;
			uint64_t faults = e->pmu.faults;

			MAKE(all_opcodes[o]);
			pk = ok;
			if (!operand(&pk, i)->dtype)
				continue;
			operand(&pk, i)->va = NOWHERE;
			expect(e, &pk, ZW_JOB_FAULT, ZW_FAULT_UNMAPPED);
			assert_in_range(e->job.fault_va, NOWHERE, NOWHERE + 4096);
			/* ZW_OPD_IN and _OUT are ZW_ACCESS_READ and _WRITE */
			assert_int_equal(e->job.fault_access, op->operand[i].access);
			assert_int_equal(e->result.fault_va, e->job.fault_va);
			assert_int_equal(e->result.fault_access, e->job.fault_access);
			assert_int_equal(e->pmu.faults, faults + 1);
			if (out) {
				operand(&pk, i)->va = AREA_VA(IN_READ_ONLY);
				expect(e, &pk, ZW_JOB_FAULT, ZW_FAULT_PERMISSION);
				assert_int_equal(e->job.fault_access, ZW_ACCESS_WRITE);
			}
			if (late(op, i))
				continue;
			/* all but its last element */
			pk = ok;
			operand(&pk, i)->va =
				AREA_VA(IN_READ_ONLY) + AREA_BYTES -
				zw_cp_tensor_span(operand(&pk, i), operand(&pk, i)->dim[0]) *
					esize(operand(&pk, i)->dtype) +
				esize(operand(&pk, i)->dtype);
			if (!out) {
				expect(e, &pk, ZW_JOB_FAULT, ZW_FAULT_UNMAPPED);
				assert_int_equal(e->job.fault_va,
						 AREA_VA(IN_READ_ONLY) + AREA_BYTES);
			}
		}
		MAKE(all_opcodes[o]);
		pk = ok;
		pk.hdr.predicate_va = NOWHERE;
		expect(e, &pk, ZW_JOB_FAULT, ZW_FAULT_UNMAPPED);
		if (takes_rows(op)) {
			pk = ok;
			pk.hdr.rows_va = NOWHERE;
			expect(e, &pk, ZW_JOB_FAULT, ZW_FAULT_UNMAPPED);
		}
	}
	MAKE(ZW_OP_TIMESTAMP);
	pk = ok;
	pk.timestamp.va = NOWHERE;
	expect(e, &pk, ZW_JOB_FAULT, ZW_FAULT_UNMAPPED);
	MAKE(ZW_OP_SEM_SIGNAL);
	pk = ok;
	pk.sem.va = AREA_VA(IN_READ_ONLY);
	expect(e, &pk, ZW_JOB_FAULT, ZW_FAULT_PERMISSION);
	MAKE(ZW_OP_SEM_WAIT);
	pk = ok;
	pk.sem.va = NOWHERE;
	expect(e, &pk, ZW_JOB_FAULT, ZW_FAULT_UNMAPPED);
	MAKE(ZW_OP_COPY);
	pk = ok;
	pk.copy.src = AREA_VA(IN_HBM) + AREA_BYTES - 100;
	expect(e, &pk, ZW_JOB_FAULT, ZW_FAULT_UNMAPPED);
	pk = ok;
	pk.copy.dst = AREA_VA(IN_READ_ONLY);
	expect(e, &pk, ZW_JOB_FAULT, ZW_FAULT_PERMISSION);
	/* beyond 48 bits, and around the end of 64 */
	pk = ok;
	pk.copy.dst = UINT64_C(1) << 48;
	expect(e, &pk, ZW_JOB_FAULT, ZW_FAULT_RANGE);
	pk.copy.dst = UINT64_MAX - 100;
	expect(e, &pk, ZW_JOB_FAULT, ZW_FAULT_RANGE);
	MAKE(ZW_OP_ADD);
	pk = ok;
	pk.add.a.va = UINT64_MAX - 31;
	expect(e, &pk, ZW_JOB_FAULT, ZW_FAULT_RANGE);
	pk.add.a.va = ok.add.a.va;
	pk.add.y.va = UINT64_MAX - 31;
	expect(e, &pk, ZW_JOB_FAULT, ZW_FAULT_RANGE);
}

/* An output needs write permission and no other, gaps between its rows or not: they are not touched. */
static void write_only(void **state)
{
	struct cp_env *e = *state;
	const uint64_t va = NOWHERE + (UINT64_C(2) << 30);
	union any_packet ok, pk;

	env_map_page(e, va, 40 * MIB, ZW_PTE_WRITE);
	MAKE(ZW_OP_ADD);
	pk = ok;
	pk.add.y.va = va;
	emit(e, &pk, pk.hdr.size);
	env_run_ok(e);
	pk.add.y.stride[0] += 1;
	emit(e, &pk, pk.hdr.size);
	env_run_ok(e);
	pk = ok;
	pk.add.a.va = va;
	expect(e, &pk, ZW_JOB_FAULT, ZW_FAULT_PERMISSION);
	assert_int_equal(e->job.fault_access, ZW_ACCESS_READ);
}

/* Without rows nothing is looked at. */
static void no_rows(void **state)
{
	struct cp_env *e = *state;
	union any_packet pk;
	const uint32_t none = 0;

	for (unsigned int o = 0; o < N_OPCODES; o++) {
		const struct zw_cp_op *op = zw_cp_op_find(all_opcodes[o]);

		if (!takes_rows(op))
			continue;
		env_clear(e);
		make_packet(e, all_opcodes[o], IN_HBM, &pk);
		pk.hdr.rows_va = env_alloc(e, IN_SYSTEM, 4);
		env_put(e, pk.hdr.rows_va, &none, 4);
		for (unsigned int i = 0; i < op->n_operands; i++)
			if (operand(&pk, i)->dtype)
				operand(&pk, i)->va = NOWHERE + ((uint64_t)(i + 8) << 30);
		emit(e, &pk, pk.hdr.size);
		env_run_ok(e);
		assert_int_equal(e->result.packets, 1);
		assert_int_equal(e->result.hbm_read + e->result.sys_read, 0);
	}
}

/* The longest buffer: half a million packets. */
static void longest(void **state)
{
	struct cp_env *e = *state;
	const uint64_t va = NOWHERE + (UINT64_C(3) << 30);
	struct zw_pkt nop = {.opcode = ZW_OP_NOP, .size = sizeof(struct zw_pkt)};

	for (uint64_t off = 0; off < ZW_CMD_MAX_BYTES; off += ZW_PAGE_SIZE)
		env_map_page(e, va + off, 40 * MIB, ZW_PTE_READ);
	for (unsigned int i = 0; i < ZW_PAGE_SIZE; i += sizeof(nop))
		memcpy(e->hbm.base + 40 * MIB + i, &nop, sizeof(nop));
	e->result_va = env_alloc(e, IN_HBM, sizeof(e->result));
	e->cmd_va = va;
	e->cmd_bytes = ZW_CMD_MAX_BYTES;
	e->job.seqno++;
	env_run_from(e, 0);
	assert_int_equal(e->job.status, ZW_JOB_OK);
	assert_int_equal(e->result.packets, 1 << 19);
	assert_int_equal(e->result.end_ps, 5000000 + UINT64_C(1000000) * (1 << 19));
}

/* One page mapped twice: apart in the address space, the same bytes in memory. */
static void aliases(void **state)
{
	struct cp_env *e = *state;
	union any_packet pk;
	const uint64_t alias = NOWHERE + (UINT64_C(1) << 30);

	make_packet(e, ZW_OP_ADD, IN_HBM, &pk);
	env_map_page(e, alias, (pk.add.b.va - AREA_VA(IN_HBM)) & ~UINT64_C(4095),
		     ZW_PTE_READ | ZW_PTE_WRITE);
	pk.add.y.va = alias + pk.add.b.va % 4096;
	expect_at(e, &pk, ZW_JOB_INVALID, ZW_REASON_OVERLAP, false);
}

/*
 * The same where the kernel would meet it only in the middle of the packet's work: in the second panel of weights, in the
 * second block of rows.
 */
static void late_aliases(void **state)
{
	struct cp_env *e = *state;
	union any_packet pk = {0};
	const uint64_t alias = NOWHERE + (UINT64_C(1) << 31), first = AREA_VA(IN_HBM);

	/* 155 pages of weights, panels of 128; page 140 is also where c is */
	pk.gemm.hdr = (struct zw_pkt)HDR(ZW_OP_GEMM, zw_pkt_gemm);
	pk.gemm.a = random_tensor(e, IN_HBM, BF16, 1, 1024, 0, 0);
	pk.gemm.w = random_tensor(e, IN_HBM, BF16, 312, 1024, 0, 0);
	pk.gemm.w.va = (pk.gemm.w.va + 4095) & ~UINT64_C(4095);
	pk.gemm.w.dim[0] = 310;
	for (uint64_t off = 0; off < 155 * 4096; off += 4096)
		env_map_page(e, alias + off, pk.gemm.w.va - first + off,
			     ZW_PTE_READ | ZW_PTE_WRITE);
	pk.gemm.c = tensor_at(pk.gemm.w.va + 140 * 4096, F32, 1, 310, 0, 0);
	pk.gemm.w.va = alias;
	expect_at(e, &pk, ZW_JOB_INVALID, ZW_REASON_OVERLAP, false);
	/* 2048 rows of 1024: blocks of 1024 rows. The last row of x lies in the first of the values. */
	env_clear(e);
	memset(&pk, 0, sizeof(pk));
	pk.topk.hdr = (struct zw_pkt)HDR(ZW_OP_TOPK, zw_pkt_topk);
	pk.topk.x = random_tensor(e, IN_HBM, BF16, 1024 * 3, 4, 0, 0);
	pk.topk.x.dim[0] = 1024 * 2;
	pk.topk.values = tensor(e, IN_HBM, F32, 1024 * 2, 4, 0, 0);
	pk.topk.ids = tensor(e, IN_HBM, I32, 1024 * 2, 4, 0, 0);
	pk.topk.values.va = (pk.topk.x.va + 4095) & ~UINT64_C(4095);
	zw_mmu_invalidate(e->mmu, VM);
	for (uint64_t off = 0; off < 16 * 4096; off += 4096)
		env_map_page(e, alias + off, pk.topk.values.va - first + off,
			     ZW_PTE_READ | ZW_PTE_WRITE);
	pk.topk.x.va = alias;
	expect_at(e, &pk, ZW_JOB_INVALID, ZW_REASON_OVERLAP, false);
	/* two outputs */
	pk.topk.x.va = pk.topk.values.va + 1024 * 3 * 8;
	pk.topk.x.dim[0] = pk.topk.values.dim[0] = pk.topk.ids.dim[0] = 8;
	pk.topk.ids.va = alias + 64;
	expect_at(e, &pk, ZW_JOB_INVALID, ZW_REASON_OVERLAP, false);
	/* pools whose blocks are one memory */
	env_clear(e);
	make_packet(e, ZW_OP_KV_WRITE, IN_HBM, &pk);
	env_map_page(e, alias, (pk.kv_write.k_cache.va - first) & ~UINT64_C(4095),
		     ZW_PTE_READ | ZW_PTE_WRITE);
	zw_mmu_invalidate(e->mmu, VM);
	env_map_page(e, alias + 4096, ((pk.kv_write.k_cache.va - first) & ~UINT64_C(4095)) + 4096,
		     ZW_PTE_READ | ZW_PTE_WRITE);
	pk.kv_write.v_cache.va = alias + pk.kv_write.k_cache.va % 4096;
	expect_at(e, &pk, ZW_JOB_INVALID, ZW_REASON_OVERLAP, false);
	/* reading one memory by two ways is fine */
	env_clear(e);
	make_packet(e, ZW_OP_ADD, IN_HBM, &pk);
	zw_mmu_invalidate(e->mmu, VM);
	env_map_page(e, alias, (pk.add.a.va - first) & ~UINT64_C(4095), ZW_PTE_READ);
	pk.add.b = pk.add.a;
	pk.add.b.va = alias + pk.add.a.va % 4096;
	emit(e, &pk, pk.hdr.size);
	env_run_ok(e);
}

/* The KV cache may have unmapped blocks as long as nobody names them. */
static void unused_blocks(void **state)
{
	struct cp_env *e = *state;
	union any_packet pk;

	for (int i = 0; i < 2; i++) {
		struct zw_tensor *kc;

		env_clear(e);
		make_packet(e, i ? ZW_OP_ATTENTION : ZW_OP_KV_WRITE, IN_HBM, &pk);
		kc = i ? &pk.attention.k_cache : &pk.kv_write.k_cache;
		/* far beyond the area, the blocks of V between those of K */
		kc[0] = random_tensor(e, IN_HBM, BF16, 6, 16, 2, 8);
		kc[0].dim[1] = 8;
		kc[1] = kc[0];
		kc[1].va += 8 * 2 * 8 * 2;
		kc[0].dim[0] = kc[1].dim[0] = 1u << 20;
		emit(e, &pk, pk.hdr.size);
		env_run_ok(e);
	}
}

static void dma_write_fails(void **state)
{
	struct cp_env *e = *state;
	union any_packet pk;

	make_packet(e, ZW_OP_ADD, IN_SYSTEM, &pk);
	e->fail_dma_write = true;
	expect(e, &pk, ZW_JOB_FAULT, ZW_FAULT_DMA);
	assert_int_equal(e->job.fault_access, ZW_ACCESS_WRITE);
}

/* Limits on what a packet can make the host allocate. */
static void limits(void **state)
{
	struct cp_env *e = *state;
	union any_packet ok, pk;
	struct zw_tensor *t;

	/* the ends of long sequences: over a million block table entries, none of which is read */
	make_packet(e, ZW_OP_ATTENTION, IN_HBM, &pk);
	pk.attention.block_table.va = NOWHERE;
	pk.attention.block_table.dim[1] = 1u << 22;
	pk.attention.block_table.stride[0] = 1u << 22;
	for (uint32_t i = 0; i < 4; i++)
		put_i(e, &pk.attention.pos, i, 0, (1 << 25) - 1);
	expect(e, &pk, ZW_JOB_DATA, ZW_REASON_LIMIT);
	/* two sequences of 2^18 entries: four runs of rows are 2^20, five are more */
	env_clear(e);
	e->rows = 5;
	make_packet(e, ZW_OP_ATTENTION, IN_HBM, &pk);
	e->rows = 0;
	pk.attention.block_table.va = NOWHERE;
	pk.attention.block_table.dim[1] = 1u << 22;
	pk.attention.block_table.stride[0] = 1u << 22;
	for (uint32_t i = 0; i < 5; i++) {
		put_i(e, &pk.attention.pos, i, 0, (1 << 21) - 1);
		put_i(e, &pk.attention.seq, i, 0, i & 1);
	}
	expect(e, &pk, ZW_JOB_DATA, ZW_REASON_LIMIT);
	put_i(e, &pk.attention.seq, 4, 0, 1);
	expect(e, &pk, ZW_JOB_FAULT, ZW_FAULT_UNMAPPED);
	/* rows that the vector engine holds at a time, heads that the attention engine does */
	MAKE(ZW_OP_RMSNORM);
	CASE((pk.rmsnorm.x.dim[2] = pk.rmsnorm.y.dim[2] = pk.rmsnorm.w.dim[0] = ZW_CP_MAX_ROW + 1,
	      pk.rmsnorm.x.stride[0] = pk.rmsnorm.y.stride[0] = 1ull << 30,
	      pk.rmsnorm.x.stride[1] = pk.rmsnorm.y.stride[1] = 1ull << 28),
	     ZW_REASON_LIMIT);
	MAKE(ZW_OP_ROPE);
	CASE((pk.rope.x.dim[2] = pk.rope.y.dim[2] = ZW_CP_MAX_ROW + 1,
	      pk.rope.x.stride[0] = pk.rope.y.stride[0] = 1ull << 30,
	      pk.rope.x.stride[1] = pk.rope.y.stride[1] = 1ull << 28),
	     ZW_REASON_LIMIT);
	CASE(pk.rope.sin.stride[0] += 1, ZW_REASON_STRIDE);
	MAKE(ZW_OP_ATTENTION);
	pk = ok;
	t = &pk.attention.k_cache;
	for (int i = 0; i < 2; i++) {
		t[i].dim[3] = t[i].stride[2] = ZW_CP_MAX_HEAD + 1;
		t[i].stride[1] = 2 * t[i].stride[2];
		t[i].stride[0] = 8 * t[i].stride[1];
	}
	pk.attention.q.dim[2] = pk.attention.y.dim[2] = ZW_CP_MAX_HEAD + 1;
	pk.attention.q.stride[1] = pk.attention.y.stride[1] = ZW_CP_MAX_HEAD + 1;
	pk.attention.q.stride[0] = pk.attention.y.stride[0] = 4 * (ZW_CP_MAX_HEAD + 1);
	expect(e, &pk, ZW_JOB_INVALID, ZW_REASON_LIMIT);
}

/* Operands of which only parts are mapped: none of the parts may wrap around to low addresses. */
static void no_wrap(void **state)
{
	struct cp_env *e = *state;
	union any_packet ok, pk;

	for (unsigned int o = 0; o < N_OPCODES; o++) {
		const struct zw_cp_op *op = zw_cp_op_find(all_opcodes[o]);

		for (unsigned int i = 0; i < op->n_operands; i++) {
			static const uint64_t va[] = {UINT64_MAX - 31, UINT64_C(1) << 48,
						      (UINT64_C(1) << 48) - 16};
			for (unsigned int j = 0; j < 3; j++) {
				uint64_t faults = e->pmu.faults;

				if (j == 2 && !(late(op, i)))
					continue; /* unmapped, which comes first */
				MAKE(all_opcodes[o]);
				pk = ok;
				if (!operand(&pk, i)->dtype)
					continue;
				operand(&pk, i)->va = va[j];
				expect(e, &pk, ZW_JOB_FAULT, ZW_FAULT_RANGE);
				assert_true(
					e->job.fault_va ==
					(va[j] < UINT64_C(1) << 48 ? UINT64_C(1) << 48 : va[j]));
				assert_int_equal(e->pmu.faults, faults + 1);
			}
		}
	}
}

static void buffers(void **state)
{
	struct cp_env *e = *state;
	struct zw_pkt nop = {.opcode = ZW_OP_NOP, .size = sizeof(struct zw_pkt)};
	struct zw_pkt_timestamp ts = {.hdr = HDR(ZW_OP_TIMESTAMP, zw_pkt_timestamp)};

	/* empty */
	env_run_ok(e);
	assert_int_equal(e->result.packets, 0);
	assert_int_equal(e->result.end_ps - e->result.start_ps, e->profile.job_ps);
	EMIT(e, nop);
	EMIT(e, nop);
	env_run_ok(e);
	assert_int_equal(e->result.packets, 2);
	assert_int_equal(e->job.packet_index, 2);

	static const struct {
		uint32_t bytes, va_off;
	} bad[] = {{8, 0}, {17, 0}, {ZW_CMD_MAX_BYTES + 16, 0}, {UINT32_MAX, 0}, {16, 8}};
	for (unsigned int i = 0; i < 5; i++) {
		e->job.seqno++;
		e->cmd_bytes = bad[i].bytes;
		e->cmd_va += bad[i].va_off;
		env_run_from(e, 0);
		e->cmd_va -= bad[i].va_off;
		assert_int_equal(e->result.status, ZW_JOB_INVALID);
		assert_int_equal(e->result.reason, ZW_REASON_CMD_SIZE);
	}
	/* a packet that does not end with the buffer */
	e->cmd_bytes = 0;
	EMIT(e, nop);
	ts.va = env_alloc(e, IN_HBM, 8);
	EMIT(e, ts);
	e->cmd_bytes -= 16;
	env_run(e);
	assert_int_equal(e->result.status, ZW_JOB_INVALID);
	assert_int_equal(e->result.reason, ZW_REASON_PACKET_SIZE);
	assert_int_equal(e->result.packet_index, 1);
	/* not mapped, or not to the end */
	uint64_t at = e->cmd_va;
	e->cmd_va = NOWHERE;
	e->job.seqno++;
	env_run_from(e, 0);
	assert_int_equal(e->result.status, ZW_JOB_FAULT);
	assert_int_equal(e->result.fault_va, NOWHERE);
	e->cmd_va = AREA_VA(IN_PAGES) + AREA_BYTES - 16;
	e->job.seqno++;
	env_run_from(e, 0);
	assert_int_equal(e->result.status, ZW_JOB_FAULT);
	assert_int_equal(e->result.fault_va, AREA_VA(IN_PAGES) + AREA_BYTES);
	/* the result record */
	e->cmd_va = at;
	e->cmd_bytes = 0;
	EMIT(e, nop);
	env_run_ok(e);
	EMIT(e, nop);
	e->result_va += 8;
	e->job.seqno++;
	env_run_from(e, 0);
	assert_int_equal(e->job.status, ZW_JOB_INVALID);
	assert_int_equal(e->job.reason, ZW_REASON_RING);
	e->result_va = AREA_VA(IN_READ_ONLY);
	e->job.seqno++;
	env_run_from(e, 0);
	assert_int_equal(e->job.status, ZW_JOB_FAULT);
	assert_int_equal(e->job.reason, ZW_FAULT_PERMISSION);
	e->result_va = 0; /* nowhere is fine */
	e->job.seqno++;
	env_run_from(e, 0);
	assert_int_equal(e->job.status, ZW_JOB_OK);
	/* firmware that is out of its mind */
	e->job.queue = ZW_MAX_QUEUES;
	env_run_from(e, 0);
	assert_int_equal(e->job.status, ZW_JOB_INTERNAL);
	e->job.queue = 0;
	e->job.seqno++;
	env_run_from(e, 16);
	assert_int_equal(e->job.status, ZW_JOB_INTERNAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(valid_ones_run, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(tensor_fields, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(quantised_form, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(unsupported, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(longer_packets, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(tags, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(unused_strides, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(exactly_in_place, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(packet_fields, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(bad_data, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(faults, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(write_only, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(no_rows, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(longest, env_setup_plain, env_teardown),
		cmocka_unit_test_setup_teardown(aliases, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(late_aliases, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(unused_blocks, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(dma_write_fails, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(limits, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(no_wrap, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(buffers, env_setup, env_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

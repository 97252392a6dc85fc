// SPDX-License-Identifier: MIT
/*
 * Packets that must be refused: which status and reason, at which index, and that nothing of them was written. Each case
 * changes one thing of a packet that runs.
 */
#include "cp/zw_cp_int.h"
#include "cp_packets.h"

static const char *what = "";

/*
 * Runs { FILL, packet, NOP } and expects the packet to fail. A packet that is malformed stops the job before
 * the FILL; one that fails when it runs leaves the FILL done. Either way it has written nothing itself.
 */
static void expect_at(struct cp_env *e, const union any_packet *pk, uint32_t status,
		      uint32_t reason, bool form)
{
	struct zw_pkt_fill f = {
		.hdr = HDR(ZW_OP_FILL, zw_pkt_fill), .bytes = 8, .pattern = 0x600df00d};
	struct zw_pkt nop = {.opcode = ZW_OP_NOP, .size = 16};
	uint32_t packet_bytes = pk->hdr.size, before[2] = {0, 0};
	const struct zw_cp_op *op = zw_cp_op_find(pk->hdr.opcode);
	struct snapshot *s;

	f.dst = AREA_VA(IN_HBM) + AREA_BYTES - 64;
	env_put(e, f.dst, before, 8);
	if (!packet_bytes || packet_bytes % 16 || packet_bytes > sizeof(*pk))
		packet_bytes = sizeof(struct zw_pkt_timestamp);
	if (!e->cmd_va) {
		e->cmd_va = env_alloc(e, IN_PAGES, CMD_MAX);
		e->result_va = env_alloc(e, IN_HBM, sizeof(e->result));
	}
	e->cmd_bytes = 0;
	EMIT(e, f);
	emit(e, pk, packet_bytes);
	EMIT(e, nop);
	env_put(e, e->cmd_va, e->cmd, e->cmd_bytes);
	if (!form) {
		uint32_t after[2] = {f.pattern, f.pattern};

		env_put(e, f.dst, after, 8);
	}
	s = snapshot_take(e);
	env_put(e, f.dst, before, 8);
	env_run(e);
	if (e->job.status != status || e->job.reason != reason)
		print_error("%s, %s: status %u reason %u, want %u %u\n", op ? op->name : "?", what,
			    e->job.status, e->job.reason, status, reason);
	assert_int_equal(e->job.end, ZW_SOC_END_COMPLETE);
	assert_int_equal(e->job.status, status);
	assert_int_equal(e->job.reason, reason);
	assert_int_equal(e->job.packet_index, 1);
	assert_int_equal(e->result.status, status);
	assert_int_equal(e->result.reason, reason);
	assert_int_equal(e->result.packet_index, 1);
	assert_int_equal(e->result.packets, form ? 0 : 1);
	assert_int_equal(e->result.fault_va, e->job.fault_va);
	assert_non_null(strstr(e->log, "packet 1"));
	if (op)
		assert_non_null(strstr(e->log, op->name));
	assert_true(snapshot_same(e, s));
	e->cmd_bytes = 0;
}

static void expect(struct cp_env *e, const union any_packet *pk, uint32_t status, uint32_t reason)
{
	expect_at(e, pk, status, reason, status == ZW_JOB_INVALID);
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
		assert_true(op->n_operands <= ZW_CP_MAX_OPERANDS);
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
			bool optional = op->operands[i].flags & ZW_OPD_OPT;
			struct zw_tensor *t = (pk = ok, operand(&pk, i));
			const struct zw_tensor *good = operand(&ok, i);

#define CASE(change, reason)                                                                       \
	do {                                                                                       \
		pk = ok;                                                                           \
		change;                                                                            \
		what = #change;                                                                    \
		expect(e, &pk, ZW_JOB_INVALID, reason);                                            \
	} while (0)
			CASE(t->dtype = 0x77, ZW_REASON_DTYPE);
			CASE(t->dtype = 0x40 + 63, ZW_REASON_DTYPE);
			CASE(t->dtype = ZW_DTYPE_F16, ZW_REASON_UNSUPPORTED);
			CASE(t->dtype = ZW_DTYPE_I4, ZW_REASON_UNSUPPORTED);
			CASE(t->dtype = good->dtype == I32 ? F32 : I32, ZW_REASON_DTYPE);
			CASE(t->dtype = 0, optional ? ZW_REASON_RESERVED : ZW_REASON_OPERAND);
			CASE(t->layout = 1, ZW_REASON_RESERVED);
			CASE(t->flags = 0x80000000, ZW_REASON_RESERVED);
			CASE(t->scale_va = 4096, ZW_REASON_RESERVED);
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
			CASE(t->va += 1, ZW_REASON_ALIGN);
			if (good->ndim > 1) {
				CASE(t->stride[0] -= 1, ZW_REASON_STRIDE);
				CASE(t->stride[0] = 0, ZW_REASON_STRIDE);
				CASE(t->stride[0] = UINT64_MAX, ZW_REASON_STRIDE);
				CASE(t->stride[0] = UINT64_MAX / 2, ZW_REASON_STRIDE);
				CASE(t->stride[0] = UINT64_C(1) << 47, ZW_REASON_LIMIT);
			}
			/* one more than the others have */
			if (strchr(op->operands[i].dims, 'K') || strchr(op->operands[i].dims, 'H'))
				CASE(t->dim[good->ndim - 1] -= 1, ZW_REASON_SHAPE);
			for (unsigned int j = 0; j < op->n_operands; j++) {
				const struct zw_tensor *other = operand(&ok, j);

				if (j == i || !(op->operands[i].flags & ZW_OPD_OUT))
					continue;
				CASE(t->va = other->va + esize(good->dtype) * 2, ZW_REASON_OVERLAP);
			}
		}
	}
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
		CASE(pk.hdr.flags = 1u << 1, ZW_REASON_FLAGS);
		CASE(pk.hdr.flags = 1u << 8, ZW_REASON_FLAGS);
		CASE(pk.hdr.flags = 1u << 31, ZW_REASON_FLAGS);
		CASE(pk.hdr.size += 16, ZW_REASON_PACKET_SIZE);
		CASE(pk.hdr.size -= 16, ZW_REASON_PACKET_SIZE);
		CASE(pk.hdr.size = 0, ZW_REASON_PACKET_SIZE);
		CASE(pk.hdr.size = 0xffff, ZW_REASON_PACKET_SIZE);
		CASE(pk.hdr.opcode |= 0x80, ZW_REASON_OPCODE);
		CASE(pk.hdr.opcode |= 0x8000, ZW_REASON_OPCODE);
		if (op->n_operands)
			CASE(pk.hdr.rows_va = 4097, ZW_REASON_ALIGN);
		else
			CASE(pk.hdr.rows_va = 4096, ZW_REASON_RESERVED);
		if (op->engine == ZW_ENGINE_CP && op->opcode != ZW_OP_NOP)
			CASE(pk.hdr.flags = ZW_PKT_F_ASYNC, ZW_REASON_FLAGS);
	}
	MAKE(ZW_OP_NOP);
	CASE(pk.hdr.opcode = 0x0005, ZW_REASON_OPCODE);
	CASE(pk.hdr.opcode = 0x0400, ZW_REASON_OPCODE);
	CASE(pk.hdr.opcode = 0x0600, ZW_REASON_OPCODE);
	CASE(pk.hdr.opcode = 0xffff, ZW_REASON_OPCODE);
	MAKE(ZW_OP_TIMESTAMP);
	CASE(pk.timestamp.va += 4, ZW_REASON_ALIGN);
	CASE(pk.timestamp.reserved = 1, ZW_REASON_RESERVED);
	MAKE(ZW_OP_SEM_WAIT);
	CASE(pk.sem.va += 8, ZW_REASON_ALIGN);
	MAKE(ZW_OP_RMSNORM);
	CASE(pk.rmsnorm.eps_f32 = nan, ZW_REASON_VALUE);
	CASE(pk.rmsnorm.eps_f32 = inf, ZW_REASON_VALUE);
	CASE(pk.rmsnorm.eps_f32 = minus, ZW_REASON_VALUE);
	CASE(pk.rmsnorm.reserved[2] = 1, ZW_REASON_RESERVED);
	CASE((pk.rmsnorm.y.ndim = 2, pk.rmsnorm.y.dim[1] = 8, pk.rmsnorm.y.dim[2] = 0,
	      pk.rmsnorm.y.stride[0] = 8, pk.rmsnorm.y.stride[1] = 0),
	     ZW_REASON_SHAPE); /* [M,D] beside [M,H,D] */
	MAKE(ZW_OP_ROPE);
	CASE((pk.rope.cos_table.dim[1] = 5, pk.rope.cos_table.stride[0] = 5,
	      pk.rope.sin_table.dim[1] = 5, pk.rope.sin_table.stride[0] = 5),
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
	CASE(pk.attention.window = 1, ZW_REASON_RESERVED);
	CASE(pk.attention.sparse_va = 64, ZW_REASON_RESERVED);
	CASE((pk.attention.q.dim[1] = pk.attention.y.dim[1] = pk.attention.lse.dim[1] = 3),
	     ZW_REASON_SHAPE); /* 3 query heads, 2 KV heads */
	MAKE(ZW_OP_COPY);
	CASE(pk.copy.reserved = 1, ZW_REASON_RESERVED);
	CASE(pk.copy.dst = pk.copy.src, ZW_REASON_OVERLAP);
	CASE(pk.copy.dst = pk.copy.src + 254, ZW_REASON_OVERLAP);
	CASE(pk.copy.src = pk.copy.dst + 254, ZW_REASON_OVERLAP);
	CASE(pk.copy.bytes = UINT64_MAX, ZW_REASON_LIMIT);
	MAKE(ZW_OP_FILL);
	CASE(pk.fill.reserved[0] = 1, ZW_REASON_RESERVED);
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
		{ZW_OP_ROPE, 2, 16},     {ZW_OP_EMBED, 0, 20},    {ZW_OP_KV_WRITE, 2, 24},
		{ZW_OP_KV_WRITE, 3, 2},  {ZW_OP_KV_WRITE, 4, 6},  {ZW_OP_ATTENTION, 2, 24},
		{ZW_OP_ATTENTION, 3, 2}, {ZW_OP_ATTENTION, 4, 6},
	};
	union any_packet pk;

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const int32_t bad[] = {-1, INT32_MIN, cases[i].limit, INT32_MAX};

		for (unsigned int j = 0; j < 4; j++) {
			struct zw_tensor *t;

			env_clear(e);
			make_packet(e, cases[i].op, j % 2 ? IN_SYSTEM : IN_HBM, &pk);
			t = operand(&pk, cases[i].operand);
			if (t->ndim == 2) { /* the block table: all of it, so that it is met */
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

		for (unsigned int j = 0; j < 3 && op->n_operands; j++) {
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
			bool out = op->operands[i].flags & ZW_OPD_OUT;
			uint64_t faults = e->pmu.faults;

			MAKE(all_opcodes[o]);
			pk = ok;
			operand(&pk, i)->va = NOWHERE;
			expect(e, &pk, ZW_JOB_FAULT, ZW_FAULT_UNMAPPED);
			assert_in_range(e->job.fault_va, NOWHERE, NOWHERE + 4096);
			assert_int_equal(e->job.fault_access,
					 out ? ZW_ACCESS_WRITE : ZW_ACCESS_READ);
			assert_int_equal(e->result.fault_va, e->job.fault_va);
			assert_int_equal(e->result.fault_access, e->job.fault_access);
			assert_int_equal(e->pmu.faults, faults + 1);
			if (out) {
				operand(&pk, i)->va = AREA_VA(IN_READ_ONLY);
				expect(e, &pk, ZW_JOB_FAULT, ZW_FAULT_PERMISSION);
				assert_int_equal(e->job.fault_access, ZW_ACCESS_WRITE);
			}
			if (op->operands[i].flags & ZW_OPD_LATE)
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
		if (op->n_operands) {
			MAKE(all_opcodes[o]);
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

/* An output needs write permission; with gaps between its rows it needs read permission too. */
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
	expect(e, &pk, ZW_JOB_FAULT, ZW_FAULT_PERMISSION);
	assert_int_equal(e->job.fault_access, ZW_ACCESS_READ);
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

		if (!op->n_operands)
			continue;
		env_clear(e);
		make_packet(e, all_opcodes[o], IN_HBM, &pk);
		pk.hdr.rows_va = env_alloc(e, IN_SYSTEM, 4);
		env_put(e, pk.hdr.rows_va, &none, 4);
		for (unsigned int i = 0; i < op->n_operands; i++)
			operand(&pk, i)->va = NOWHERE + ((uint64_t)(i + 8) << 30);
		emit(e, &pk, pk.hdr.size);
		env_run_ok(e);
		assert_int_equal(e->result.packets, 1);
		assert_int_equal(e->result.hbm_read + e->result.sys_read, 0);
	}
}

/* The longest buffer: a million packets. */
static void longest(void **state)
{
	struct cp_env *e = *state;
	const uint64_t va = NOWHERE + (UINT64_C(3) << 30);
	struct zw_pkt nop = {.opcode = ZW_OP_NOP, .size = 16};

	for (uint64_t off = 0; off < ZW_CMD_MAX_BYTES; off += ZW_PAGE_SIZE)
		env_map_page(e, va + off, 40 * MIB, ZW_PTE_READ);
	for (unsigned int i = 0; i < ZW_PAGE_SIZE; i += 16)
		memcpy(e->hbm.base + 40 * MIB + i, &nop, 16);
	e->result_va = env_alloc(e, IN_HBM, sizeof(e->result));
	e->cmd_va = va;
	e->cmd_bytes = ZW_CMD_MAX_BYTES;
	e->job.seqno++;
	env_run_from(e, 0);
	assert_int_equal(e->job.status, ZW_JOB_OK);
	assert_int_equal(e->result.packets, 1 << 20);
	assert_int_equal(e->result.end_ps, 5000000 + UINT64_C(1000000) * (1 << 20));
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
	CASE(pk.rope.sin_table.stride[0] += 1, ZW_REASON_STRIDE);
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

				if (j == 2 && !(op->operands[i].flags & ZW_OPD_LATE))
					continue; /* unmapped, which comes first */
				MAKE(all_opcodes[o]);
				pk = ok;
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
	struct zw_pkt nop = {.opcode = ZW_OP_NOP, .size = 16};
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
		cmocka_unit_test_setup_teardown(unused_strides, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(exactly_in_place, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(packet_fields, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(bad_data, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(faults, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(write_only, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(no_rows, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(longest, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(aliases, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(unused_blocks, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(dma_write_fails, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(limits, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(no_wrap, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(buffers, env_setup, env_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

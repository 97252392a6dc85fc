// SPDX-License-Identifier: MIT
/*
 * What packets came to when their buffer ran before is used again where nothing is computed. Every test runs a buffer on
 * a command processor that remembers and on one that is made to forget: they must not differ in anything.
 */
#include "cp/zw_cp_int.h"
#include "cp_packets.h"

struct pair {
	struct cp_env *e[2]; /* the second forgets */
};

static void timing(struct cp_env *e)
{
	struct zw_cp_config cc = e->cp->cfg;

	cc.timing_only = true;
	zw_cp_free(e->cp);
	e->cp = zw_cp_new(&cc);
	assert_non_null(e->cp);
	e->no_guards = true;
}

static int setup(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	for (int i = 0; i < 2; i++) {
		p->e[i] = env_new("810e", 0);
		timing(p->e[i]);
	}
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct pair *p = *state;

	for (int i = 0; i < 2; i++)
		env_free(p->e[i]);
	free(p);
	return 0;
}

/* Packets of the last buffer that are known. */
static unsigned int known(const struct cp_env *e)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < ZW_CP_KEPT; i++)
		for (uint32_t j = 0; j < e->cp->kept.buffer[i].n_known; j++)
			n += e->cp->kept.buffer[i].known[j].costed;
	return n;
}

/* Runs what was emitted on both; status of the job. */
static uint32_t run_both(struct pair *p)
{
	for (int i = 0; i < 2; i++) {
		struct cp_env *e = p->e[i];

		if (i)
			zw_cp_kept_drop(&e->cp->kept);
		memset(&e->result, 0, sizeof(e->result));
		env_run(e);
		assert_int_equal(e->job.end, ZW_SOC_END_COMPLETE);
	}
	assert_memory_equal(&p->e[0]->job, &p->e[1]->job, sizeof(p->e[0]->job));
	assert_memory_equal(&p->e[0]->result, &p->e[1]->result, sizeof(p->e[0]->result));
	assert_memory_equal(&p->e[0]->pmu, &p->e[1]->pmu, sizeof(p->e[0]->pmu));
	return p->e[0]->job.status;
}

static void emit_packet(struct pair *p, unsigned int opcode, enum place place)
{
	for (int i = 0; i < 2; i++) {
		union any_packet pk;

		make_packet(p->e[i], opcode, place, &pk);
		emit(p->e[i], &pk, pk.hdr.size);
	}
}

/* y = norm(x), c = y w: the second finds what the first wrote on the chip. */
struct chain {
	struct zw_pkt_rmsnorm norm;
	struct zw_pkt_gemm gemm;
};

static struct chain make_chain(struct cp_env *e)
{
	struct chain c = {.norm = {.hdr = HDR(ZW_OP_RMSNORM, zw_pkt_rmsnorm), .eps_f32 = 1},
			  .gemm = {.hdr = HDR(ZW_OP_GEMM, zw_pkt_gemm)}};

	c.norm.x = tensor(e, IN_HBM, BF16, 16, 256, 0, 0);
	c.norm.w = tensor(e, IN_HBM, BF16, 256, 0, 0, 0);
	c.norm.y = tensor(e, IN_HBM, BF16, 16, 256, 0, 0);
	c.gemm.a = c.norm.y;
	c.gemm.w = tensor(e, IN_HBM, BF16, 64, 256, 0, 0);
	c.gemm.c = tensor(e, IN_HBM, BF16, 16, 64, 0, 0);
	return c;
}

static void emit_chain(struct cp_env *e, const struct chain *c)
{
	EMIT(e, c->norm);
	EMIT(e, c->gemm);
}

static void put32(struct cp_env *e, uint64_t va, uint32_t v)
{
	env_put(e, va, &v, sizeof(v));
}

static void every_packet(void **state)
{
	struct pair *p = *state;
	unsigned int n_constant = 0;

	for (unsigned int o = 0; o < N_OPCODES; o++) {
		n_constant += zw_cp_op_find(all_opcodes[o])->impl->constant;
		if (all_opcodes[o] >= ZW_OP_GEMM)
			emit_packet(p, all_opcodes[o], (enum place)(o % 3));
	}
	assert_true(n_constant >= 9);
	for (int run = 0; run < 4; run++)
		assert_int_equal(run_both(p), ZW_JOB_OK);
	assert_int_equal(known(p->e[0]), n_constant);
	assert_int_equal(known(p->e[1]), 0);
}

/* Those that look at memory of the VM, at clocks or at what other packets did cannot be among them. */
static void which_packets(void **state)
{
	(void)state;
	for (unsigned int o = 0; o < N_OPCODES; o++) {
		const struct zw_cp_op *op = zw_cp_op_find(all_opcodes[o]);

		if (!op->impl->constant)
			continue;
		assert_int_not_equal(op->engine, ZW_ENGINE_CP);
		for (unsigned int i = 0; i < op->n_operands; i++)
			assert_false(op->operand[i].kind &
				     (ZW_OPD_INDEX | ZW_OPD_PART | ZW_OPD_PAGED));
	}
}

static void rows(void **state)
{
	static const uint32_t said[] = {16, 16, 16, 5, 5, 16, 0, 1, 16};
	struct pair *p = *state;
	uint64_t va[2];

	for (int i = 0; i < 2; i++) {
		struct chain c = make_chain(p->e[i]);

		va[i] = env_alloc(p->e[i], IN_HBM, 4);
		c.norm.hdr.rows_va = va[i];
		emit_chain(p->e[i], &c);
	}
	for (unsigned int r = 0; r < sizeof(said) / sizeof(said[0]); r++) {
		for (int i = 0; i < 2; i++)
			put32(p->e[i], va[i], said[r]);
		assert_int_equal(run_both(p), ZW_JOB_OK);
	}
	assert_int_equal(known(p->e[0]), 2);
}

/* Whether the first packet runs changes what the second finds on the chip, and nothing else of it. */
static void predicate(void **state)
{
	static const uint32_t said[] = {1, 1, 1, 0, 0, 1, 0};
	struct pair *p = *state;
	uint64_t va[2], end[2];

	for (int i = 0; i < 2; i++) {
		struct chain c = make_chain(p->e[i]);

		va[i] = env_alloc(p->e[i], IN_HBM, 4);
		c.norm.hdr.predicate_va = va[i];
		emit_chain(p->e[i], &c);
	}
	for (unsigned int r = 0; r < sizeof(said) / sizeof(said[0]); r++) {
		for (int i = 0; i < 2; i++)
			put32(p->e[i], va[i], said[r]);
		assert_int_equal(run_both(p), ZW_JOB_OK);
		end[said[r]] = p->e[0]->result.hbm_read;
	}
	/* x and w of the norm on one side, y from HBM on the other */
	assert_int_equal(end[1], 16 * 256 * 2 + 256 * 2 + 64 * 256 * 2);
	assert_int_equal(end[0], 16 * 256 * 2 + 64 * 256 * 2);
}

static void remap(struct pair *p, uint64_t va, uint64_t addr, uint64_t flags)
{
	for (int i = 0; i < 2; i++) {
		struct cp_env *e = p->e[i];

		env_map_page(e, va & ~(uint64_t)(ZW_PAGE_SIZE - 1), addr, flags);
		assert_int_equal(zw_mmu_invalidate(e->mmu, VM), 0);
	}
}

static void translations(void **state)
{
	const uint64_t rw = ZW_PTE_READ | ZW_PTE_WRITE;
	struct pair *p = *state;
	uint64_t w = 0, page;

	for (int i = 0; i < 2; i++) {
		struct chain c = make_chain(p->e[i]);

		emit_chain(p->e[i], &c);
		w = c.gemm.w.va;
	}
	for (int r = 0; r < 3; r++)
		assert_int_equal(run_both(p), ZW_JOB_OK);
	assert_int_equal(p->e[0]->result.sys_read, 0);
	page = (w - AREA_VA(IN_HBM)) / ZW_PAGE_SIZE * ZW_PAGE_SIZE;
	/* somewhere else: it costs something else */
	remap(p, w, SYS_AT + page, rw | ZW_PTE_TARGET(ZW_TARGET_SYSTEM));
	for (int r = 0; r < 3; r++)
		assert_int_equal(run_both(p), ZW_JOB_OK);
	assert_true(p->e[0]->result.sys_read > 0);
	/* nowhere, and back */
	remap(p, w, page, 0);
	assert_int_equal(run_both(p), ZW_JOB_FAULT);
	assert_int_equal(p->e[0]->job.reason, ZW_FAULT_PERMISSION);
	remap(p, w, page, rw);
	assert_int_equal(run_both(p), ZW_JOB_OK);
}

static void bad_pages(void **state)
{
	struct pair *p = *state;
	uint64_t w = 0;

	for (int i = 0; i < 2; i++) {
		struct chain c = make_chain(p->e[i]);

		emit_chain(p->e[i], &c);
		w = c.gemm.w.va - AREA_VA(IN_HBM);
	}
	for (int r = 0; r < 3; r++)
		assert_int_equal(run_both(p), ZW_JOB_OK);
	for (int i = 0; i < 2; i++)
		assert_int_equal(zw_hbm_poison(&p->e[i]->hbm, w), 0);
	for (int r = 0; r < 2; r++)
		assert_int_equal(run_both(p), ZW_JOB_ECC);
	for (int i = 0; i < 2; i++)
		zw_hbm_heal(&p->e[i]->hbm, 0, HBM_BYTES);
	assert_int_equal(run_both(p), ZW_JOB_OK);
}

/* A reset starts the generations of the tables again: nothing of before may be taken for something of now. */
static void reset(void **state)
{
	struct pair *p = *state;

	for (int i = 0; i < 2; i++) {
		struct chain c = make_chain(p->e[i]);

		emit_chain(p->e[i], &c);
	}
	for (int r = 0; r < 3; r++)
		assert_int_equal(run_both(p), ZW_JOB_OK);
	assert_int_equal(known(p->e[0]), 2);
	for (int i = 0; i < 2; i++) {
		struct cp_env *e = p->e[i];

		zw_mmu_reset(e->mmu);
		zw_cp_reset(e->cp);
		assert_int_equal(zw_mmu_set_root(e->mmu, VM, e->root, true), 0);
	}
	assert_int_equal(known(p->e[0]), 0);
	for (int r = 0; r < 3; r++)
		assert_int_equal(run_both(p), ZW_JOB_OK);
}

static void preempt_here(struct cp_env *e)
{
	zw_cp_preempt(e->cp);
}

static void preempted(void **state)
{
	struct pair *p = *state;
	struct zw_job_result whole = {0};

	for (int i = 0; i < 2; i++) {
		struct chain c = make_chain(p->e[i]);

		emit_chain(p->e[i], &c);
		emit_chain(p->e[i], &c);
	}
	for (int r = 0; r < 3; r++)
		assert_int_equal(run_both(p), ZW_JOB_OK);
	whole = p->e[0]->result;
	p->e[0]->at_boundary = preempt_here;
	env_run(p->e[0]);
	while (p->e[0]->job.end == ZW_SOC_END_PREEMPTED) {
		/* nothing is kept of what waits */
		assert_null(p->e[0]->cp->queue[0].buffer.known);
		env_run_from(p->e[0], p->e[0]->job.next_offset);
	}
	assert_int_equal(p->e[0]->job.status, ZW_JOB_OK);
	assert_int_equal(p->e[0]->result.end_ps - p->e[0]->result.start_ps,
			 whole.end_ps - whole.start_ps);
	assert_int_equal(p->e[0]->result.hbm_read, whole.hbm_read);
	assert_int_equal(p->e[0]->result.energy_pj, whole.energy_pj);
}

/* An operand of which a part is in system memory is more than is kept: it is looked at every time. */
static void operands_in_two_memories(void **state)
{
	struct pair *p = *state;
	const uint64_t split = NOWHERE + (UINT64_C(1) << 30);

	for (int i = 0; i < 2; i++) {
		struct cp_env *e = p->e[i];
		struct zw_pkt_add add = {.hdr = HDR(ZW_OP_ADD, zw_pkt_add)};

		for (uint64_t at = 0; at < 8 * ZW_PAGE_SIZE; at += ZW_PAGE_SIZE)
			env_map_page(e, split + at,
				     (at < 3 * ZW_PAGE_SIZE
					      ? 40 * MIB
					      : SYS_AT | ZW_PTE_TARGET(ZW_TARGET_SYSTEM)) +
					     at,
				     ZW_PTE_READ | ZW_PTE_WRITE);
		add.a = tensor_at(split, F32, 8, 1024, 0, 0);
		add.b = tensor(e, IN_HBM, F32, 8, 1024, 0, 0);
		add.y = tensor(e, IN_HBM, F32, 8, 1024, 0, 0);
		EMIT(e, add);
		add.a = add.y;
		EMIT(e, add);
	}
	for (unsigned int run = 0; run < 3; run++)
		assert_int_equal(run_both(p), ZW_JOB_OK);
	assert_int_equal(known(p->e[0]), 1);
	assert_int_equal(p->e[0]->result.sys_read, 5 * ZW_PAGE_SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_packet, setup, teardown),
		cmocka_unit_test(which_packets),
		cmocka_unit_test_setup_teardown(rows, setup, teardown),
		cmocka_unit_test_setup_teardown(predicate, setup, teardown),
		cmocka_unit_test_setup_teardown(translations, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(reset, setup, teardown),
		cmocka_unit_test_setup_teardown(preempted, setup, teardown),
		cmocka_unit_test_setup_teardown(operands_in_two_memories, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

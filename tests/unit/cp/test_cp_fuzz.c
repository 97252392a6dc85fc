// SPDX-License-Identifier: MIT
/*
 * Well-formed packets with a few fields changed at random. Whatever comes out, the job ends in an orderly way, a packet that
 * was refused has written nothing, and nothing outside of what the VM may write changes. ZW_FUZZ_CASES sets
 * the number of cases, ZW_FUZZ_SEED the first seed.
 */
#include "cp_packets.h"

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *s = getenv(name);

	return s ? strtoull(s, NULL, 0) : otherwise;
}

/* One field of the packet gets another bit, an interesting number, or the value of another field. */
static void mutate(struct cp_env *e, uint8_t *pkt, uint32_t size)
{
	static const uint64_t numbers[] = {0,
					   1,
					   2,
					   3,
					   7,
					   8,
					   16,
					   255,
					   256,
					   4095,
					   4096,
					   65535,
					   65536,
					   0x7fffffff,
					   0x80000000,
					   0xffffffff,
					   0x100000000,
					   0x7fffffffffffffff,
					   0x8000000000000000,
					   0xffffffffffffffff,
					   1ull << 28,
					   (1ull << 28) + 1,
					   1ull << 20,
					   1ull << 47,
					   1ull << 48,
					   1ull << 62,
					   1ull << 61,
					   AREA_VA(IN_HBM),
					   AREA_VA(IN_SYSTEM),
					   AREA_VA(IN_READ_ONLY),
					   AREA_VA(IN_HBM) + AREA_BYTES - 64,
					   NOWHERE};
	unsigned int width = 1u << test_rand(&e->rng) % 4;
	uint32_t at = (uint32_t)(test_rand(&e->rng) % size) & ~(width - 1);
	uint64_t v = numbers[test_rand(&e->rng) % (sizeof(numbers) / sizeof(numbers[0]))];

	switch (test_rand(&e->rng) % 6) {
	case 0:
		pkt[test_rand(&e->rng) % size] ^= (uint8_t)(1u << test_rand(&e->rng) % 8);
		break;
	case 1:
		memcpy(pkt + at, &v, width);
		break;
	case 2:
		memcpy(&v, pkt + at, width);
		v += (uint64_t)(test_rand(&e->rng) % 5) - 2;
		memcpy(pkt + at, &v, width);
		break;
	case 3: /* one field of two descriptors: what only goes wrong when both agree */
		at &= 63;
		for (int i = 0; i < 2 && size >= 32 + 64; i++) {
			uint32_t tensors = (size - 32) / 64;

			memcpy(pkt + 32 + test_rand(&e->rng) % tensors * 64 + at, &v, width);
		}
		break;
	default:
		memcpy(pkt + at, pkt + ((uint32_t)(test_rand(&e->rng) % size) & ~(width - 1)),
		       width);
	}
}

/* The other orders of a and w: as many elements, in other shapes. */
static void transpose(struct zw_pkt_gemm *g, uint64_t which)
{
	struct zw_tensor *t[2] = {&g->a, &g->w};

	for (unsigned int i = 0; i < 2; i++) {
		uint32_t rows = t[i]->dim[0];

		if (!(which >> i & 1))
			continue;
		g->hdr.flags |= ZW_PKT_OPFLAG(i);
		t[i]->dim[0] = t[i]->dim[1];
		t[i]->dim[1] = rows;
		t[i]->stride[0] = rows;
	}
}

static void mutated_packets(void **state)
{
	struct cp_env *e = *state;
	uint64_t cases = number("ZW_FUZZ_CASES", 4000), seed = number("ZW_FUZZ_SEED", 1);
	uint64_t count[ZW_JOB_INTERNAL + 1] = {0}, blocked = 0;
	uint64_t outside =
		HBM_BYTES - 3 * AREA_BYTES; /* page tables and what no page table shows */
	uint8_t *tables = malloc(outside);
	struct snapshot *s;

	assert_non_null(tables);
	memcpy(tables, e->hbm.base + 3 * AREA_BYTES, outside);
	e->no_guards = true;
	e->profile = *zw_profile_find("m890"); /* the one with the most types */
	for (uint64_t c = 0; c < cases; c++) {
		union any_packet pk;
		unsigned int opcode;
		bool chunked;
		uint32_t rows;

		e->rng = seed + c;
		e->rows = test_rand(&e->rng) % 3 ? 4 : 1;
		opcode = all_opcodes[test_rand(&e->rng) % N_OPCODES];
		chunked = opcode == ZW_OP_DELTA && test_rand(&e->rng) % 2;
		if (chunked)
			e->rows = 20 + (uint32_t)(test_rand(&e->rng) % 120);
		env_clear(e);
		e->cmd_va = env_alloc(e, IN_PAGES, 4096);
		e->result_va = env_alloc(e, IN_HBM, sizeof(e->result));
		make_packet(e, opcode, (enum place)(test_rand(&e->rng) % 3), &pk);
		if (chunked)
			pk.hdr.flags |= ZW_DELTA_F_CHUNKED;
		if (test_rand(&e->rng) % 8 == 0) {
			pk.hdr.predicate_va = env_alloc(e, IN_HBM, 4);
			rows = (uint32_t)(test_rand(&e->rng) % 2);
			env_put(e, pk.hdr.predicate_va, &rows, 4);
		}
		if (pk.hdr.opcode == ZW_OP_GEMM_EXPERTS && test_rand(&e->rng) % 2)
			sample_scatter(&pk.gemm_experts);
		if (pk.hdr.opcode == ZW_OP_MUL_SIGMOID && test_rand(&e->rng) % 2)
			sample_row_gate(&pk.mul_sigmoid);
		if (pk.hdr.opcode == ZW_OP_ATTENTION && test_rand(&e->rng) % 2)
			make_sparse(e, (enum place)(test_rand(&e->rng) % 3), &pk.attention);
		if (pk.hdr.opcode == ZW_OP_ROUTE && test_rand(&e->rng) % 2)
			pk.hdr.flags |= ZW_ROUTE_F_RENORM;
		if (has_cache(pk.hdr.opcode) && test_rand(&e->rng) % 2)
			quantise_cache(e, IN_HBM, test_rand(&e->rng) % 2, &pk);
		if (pk.hdr.opcode == ZW_OP_GEMM && test_rand(&e->rng) % 2)
			quantise_gemm(e, IN_HBM, test_rand(&e->rng), &pk.gemm);
		else if (pk.hdr.opcode == ZW_OP_GEMM && test_rand(&e->rng) % 2)
			transpose(&pk.gemm, test_rand(&e->rng));
		else if (sample_has_rows(sample_op(pk.hdr.opcode)) && test_rand(&e->rng) % 2) {
			pk.hdr.rows_va = env_alloc(e, IN_SYSTEM, 4);
			rows = (uint32_t)(test_rand(&e->rng) % 6);
			env_put(e, pk.hdr.rows_va, &rows, 4);
		}
		/* indexes among the data */
		for (unsigned int n = (unsigned int)(test_rand(&e->rng) % 4); n; n--) {
			static const int32_t values[] = {-1, INT32_MIN, INT32_MAX, 5,
							 6,  23,        24,        1 << 20};
			const struct cp_alloc *a =
				&e->allocs[2 + test_rand(&e->rng) %
						       (e->n_allocs > 2 ? e->n_allocs - 2 : 1)];

			if (e->n_allocs > 2 && a->len >= 4 && a->len <= 24)
				env_put(e, a->va + (test_rand(&e->rng) % a->len & ~UINT64_C(3)),
					&values[test_rand(&e->rng) % 8], 4);
		}
		for (unsigned int n = (unsigned int)(test_rand(&e->rng) % 4); n; n--)
			mutate(e, (uint8_t *)&pk,
			       pk.hdr.size && pk.hdr.size <= sizeof(pk) ? pk.hdr.size : 16);
		emit(e, &pk,
		     pk.hdr.size && pk.hdr.size <= sizeof(pk) ? (pk.hdr.size + 15u) & ~15u : 48);
		env_put(e, e->cmd_va, e->cmd, e->cmd_bytes);
		s = snapshot_take(e);
		env_run(e);
		if (e->job.end == ZW_SOC_END_BLOCKED) {
			blocked++;
			assert_true(snapshot_same(e, s));
			continue;
		}
		assert_int_equal(e->job.end, ZW_SOC_END_COMPLETE);
		assert_true(e->job.status == ZW_JOB_OK || e->job.status == ZW_JOB_INVALID ||
			    e->job.status == ZW_JOB_FAULT || e->job.status == ZW_JOB_DATA ||
			    e->job.status == ZW_JOB_NO_MEMORY);
		count[e->job.status]++;
		if (e->job.status != ZW_JOB_OK) {
			if (!snapshot_same(e, s))
				fail_msg("case %" PRIu64 " wrote: %s", c, e->log);
			assert_true(e->job.status == ZW_JOB_NO_MEMORY || e->job.reason);
		}
		for (uint64_t i = 0; i < AREA_BYTES; i += 4096) /* read-only to the VM */
			assert_int_equal(e->hbm.base[2 * AREA_BYTES + i], GUARD_BYTE);
		if (c % 64 == 0)
			assert_memory_equal(tables, e->hbm.base + 3 * AREA_BYTES, outside);
	}
	assert_memory_equal(tables, e->hbm.base + 3 * AREA_BYTES, outside);
	print_message("# ran well %" PRIu64 ", invalid %" PRIu64 ", fault %" PRIu64
		      ", data %" PRIu64 ", no memory %" PRIu64 ", blocked %" PRIu64 "\n",
		      count[ZW_JOB_OK], count[ZW_JOB_INVALID], count[ZW_JOB_FAULT],
		      count[ZW_JOB_DATA], count[ZW_JOB_NO_MEMORY], blocked);
	/* the mutations reach every layer */
	assert_true(count[ZW_JOB_OK] && count[ZW_JOB_INVALID] && count[ZW_JOB_FAULT] &&
		    count[ZW_JOB_DATA]);
	free(tables);
}

/* Nothing but noise, with plausible headers. */
static void noise(void **state)
{
	struct cp_env *e = *state;

	e->no_guards = true;
	for (uint64_t c = 0; c < 500; c++) {
		e->rng = c;
		env_clear(e);
		for (uint32_t i = 0; i < 4096; i += 8) {
			uint64_t v = test_rand(&e->rng);

			memcpy(e->cmd + i, &v, 8);
		}
		e->cmd_bytes = 4096;
		if (c % 2) {
			e->cmd[0] = 0;
			e->cmd[1] = 1 + (uint8_t)(c / 2 % 5);
			e->cmd[2] = 0x70; /* 880: as large as the largest */
			e->cmd[3] = 0x03;
			memset(e->cmd + 4, 0, sizeof(struct zw_pkt) - 4);
		}
		env_run(e);
		assert_int_equal(e->job.status, ZW_JOB_INVALID);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(mutated_packets, env_setup, env_teardown),
		cmocka_unit_test_setup_teardown(noise, env_setup, env_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

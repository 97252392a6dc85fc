/* SPDX-License-Identifier: MIT */
/*
 * A command processor on a real MMU, with memory of three kinds: HBM in one piece, HBM in shuffled 4 KiB pages, system
 * memory. Every allocation lies between guard bytes that nothing may touch.
 */
#ifndef ZW_TEST_CP_ENV_H
#define ZW_TEST_CP_ENV_H

#include <inttypes.h>

#include "../device/unit.h"
#include "zhenwu/zw_cmd.h"
#include "zhenwu/zw_regs.h"
#include "zw_f16.h"
#include "zw_cp.h"
#include "zw_hbm.h"
#include "zw_kernels.h"
#include "zw_mmu.h"
#include "zw_pool.h"
#include "zw_profile.h"

enum place { IN_HBM, IN_PAGES, IN_SYSTEM, IN_READ_ONLY, N_PLACES };

#define VM         3u
#define AREA_BYTES (1 * MIB)
#define AREA_VA(p) ((UINT64_C(1) + (p)) << 36)
#define HBM_BYTES  (64 * MIB)
#define TABLES_AT  (48 * MIB)
#define SYS_AT     (5 * GIB)
#define NOWHERE    (UINT64_C(0x7f) << 36) /* not mapped */
#define GUARD      64
#define GUARD_BYTE 0xa5
#define MAX_ALLOCS 512
#define CMD_MAX    (320 * KIB)
#define F32        ZW_DTYPE_F32
#define BF16       ZW_DTYPE_BF16
#define F16        ZW_DTYPE_F16
#define I32        ZW_DTYPE_I32

struct cp_alloc {
	uint64_t va, len;
};

struct cp_env {
	struct zw_host_ops ops;
	struct zw_hbm hbm;
	struct zw_mmu *mmu;
	struct zw_pool *pool;
	struct zw_pmu pmu;
	struct zw_cp *cp;
	struct zw_profile profile;
	uint8_t *sys;
	uint64_t next_table, root;
	uint64_t used[N_PLACES];
	struct cp_alloc allocs[MAX_ALLOCS];
	unsigned int n_allocs;

	uint8_t cmd[CMD_MAX];
	uint32_t cmd_bytes;
	uint64_t cmd_va, result_va;
	struct zw_soc_job job;
	struct zw_job_result result;
	char log[256];
	unsigned int boundaries;
	void (*at_boundary)(struct cp_env *e);
	void (*at_dma_write)(struct cp_env *e); /* before it happens */
	bool fail_dma_write;
	bool no_guards; /* the test lets packets write anywhere */
	uint64_t rng;
	uint32_t rows; /* of packets made by make_packet(); 0: 4 */
};

static inline int env_dma_read(void *opaque, unsigned int function, uint64_t addr, void *buf,
			       size_t len)
{
	struct cp_env *e = opaque;

	if (addr < SYS_AT || len > AREA_BYTES || addr - SYS_AT > AREA_BYTES - len)
		return -EIO;
	memcpy(buf, e->sys + (addr - SYS_AT), len);
	return 0;
}

static inline int env_dma_write(void *opaque, unsigned int function, uint64_t addr, const void *buf,
				size_t len)
{
	struct cp_env *e = opaque;

	if (e->at_dma_write)
		e->at_dma_write(e);
	if (e->fail_dma_write || addr < SYS_AT || len > AREA_BYTES ||
	    addr - SYS_AT > AREA_BYTES - len)
		return -EIO;
	memcpy(e->sys + (addr - SYS_AT), buf, len);
	return 0;
}

static inline void env_log(void *opaque, const char *msg)
{
	snprintf(((struct cp_env *)opaque)->log, 256, "%s", msg);
}

static inline void env_boundary(void *opaque)
{
	struct cp_env *e = opaque;

	zw_mmu_boundary(e->mmu);
	e->boundaries++;
	if (e->at_boundary)
		e->at_boundary(e);
}

static inline void env_map_page(struct cp_env *e, uint64_t va, uint64_t addr, uint64_t flags)
{
	uint64_t table = e->root;

	for (int l = ZW_PT_LEVELS - 1; l > 0; l--) {
		uint64_t *p =
			(uint64_t *)(e->hbm.base + table) + (va >> ZW_PT_SHIFT(l)) % ZW_PT_ENTRIES;

		if (!(*p & ZW_PTE_VALID)) {
			*p = e->next_table | ZW_PTE_VALID;
			e->next_table += ZW_PAGE_SIZE;
			assert_true(e->next_table <= HBM_BYTES);
		}
		table = *p & ZW_PTE_ADDR_MASK;
	}
	((uint64_t *)(e->hbm.base + table))[(va >> ZW_PAGE_SHIFT) % ZW_PT_ENTRIES] =
		addr | flags | ZW_PTE_VALID | ZW_PTE_LEAF;
}

static inline struct cp_env *env_new(const char *profile, unsigned int workers)
{
	struct cp_env *e = calloc(1, sizeof(*e));
	const uint64_t pages = AREA_BYTES / ZW_PAGE_SIZE;

	assert_non_null(e);
	e->rng = 1;
	e->sys = calloc(1, AREA_BYTES);
	e->ops.dma_read = env_dma_read;
	e->ops.dma_write = env_dma_write;
	e->profile = *zw_profile_find(profile);
	assert_int_equal(zw_hbm_init(&e->hbm, NULL, HBM_BYTES, 0, &e->ops, e), 0);
	struct zw_mmu_config mc = {.hbm = &e->hbm, .ops = &e->ops, .opaque = e, .pmu = &e->pmu};
	e->mmu = zw_mmu_new(&mc);
	e->pool = zw_pool_new(workers);
	struct zw_cp_config cc = {.profile = &e->profile,
				  .mmu = e->mmu,
				  .pool = e->pool,
				  .pmu = &e->pmu,
				  .log = env_log,
				  .log_opaque = e,
				  .boundary = env_boundary,
				  .boundary_opaque = e};
	e->cp = zw_cp_new(&cc);
	assert_true(e->mmu && e->pool && e->cp);
	e->root = TABLES_AT;
	e->next_table = TABLES_AT + ZW_PAGE_SIZE;
	assert_int_equal(zw_mmu_set_root(e->mmu, VM, e->root, true), 0);
	for (uint64_t i = 0; i < pages; i++) {
		uint64_t off = i * ZW_PAGE_SIZE, rw = ZW_PTE_READ | ZW_PTE_WRITE;

		env_map_page(e, AREA_VA(IN_HBM) + off, off, rw);
		env_map_page(e, AREA_VA(IN_PAGES) + off,
			     AREA_BYTES + (i * 1021 % pages) * ZW_PAGE_SIZE, rw);
		env_map_page(e, AREA_VA(IN_SYSTEM) + off, SYS_AT + off,
			     rw | ZW_PTE_TARGET(ZW_TARGET_SYSTEM));
		env_map_page(e, AREA_VA(IN_READ_ONLY) + off, 2 * AREA_BYTES + off, ZW_PTE_READ);
	}
	memset(e->hbm.base, GUARD_BYTE, 3 * AREA_BYTES);
	memset(e->sys, GUARD_BYTE, AREA_BYTES);
	return e;
}

static inline void env_free(struct cp_env *e)
{
	zw_cp_free(e->cp);
	zw_pool_free(e->pool);
	zw_mmu_free(e->mmu);
	zw_hbm_fini(&e->hbm);
	free(e->sys);
	free(e);
}

/* Host pointer to the page of va. */
static inline uint8_t *env_byte(struct cp_env *e, uint64_t va)
{
	enum place p = (enum place)((va >> 36) - 1);
	uint64_t off = va & ((UINT64_C(1) << 36) - 1), page = off / ZW_PAGE_SIZE;

	assert_true(p < N_PLACES && off < AREA_BYTES);
	switch (p) {
	case IN_HBM:
		return e->hbm.base + off;
	case IN_PAGES:
		return e->hbm.base + AREA_BYTES +
		       page * 1021 % (AREA_BYTES / ZW_PAGE_SIZE) * ZW_PAGE_SIZE +
		       off % ZW_PAGE_SIZE;
	case IN_SYSTEM:
		return e->sys + off;
	default:
		return e->hbm.base + 2 * AREA_BYTES + off;
	}
}

static inline void env_put(struct cp_env *e, uint64_t va, const void *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		*env_byte(e, va + i) = ((const uint8_t *)buf)[i];
}

static inline void env_get(struct cp_env *e, uint64_t va, void *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = *env_byte(e, va + i);
}

/* Guard bytes, len bytes of unspecified contents (aligned to 64), guard bytes. */
static inline uint64_t env_alloc(struct cp_env *e, enum place p, uint64_t len)
{
	uint64_t va = AREA_VA(p) + e->used[p] + GUARD;

	e->used[p] += (GUARD + len + GUARD + 63) & ~UINT64_C(63);
	assert_true(e->used[p] <= AREA_BYTES);
	assert_true(e->n_allocs < MAX_ALLOCS);
	e->allocs[e->n_allocs++] = (struct cp_alloc){va, len};
	return va;
}

static inline void env_check_guards(struct cp_env *e)
{
	for (unsigned int i = 0; i < e->n_allocs && !e->no_guards; i++) {
		for (unsigned int j = 0; j < GUARD; j++) {
			if (*env_byte(e, e->allocs[i].va - GUARD + j) == GUARD_BYTE &&
			    *env_byte(e, e->allocs[i].va + e->allocs[i].len + j) == GUARD_BYTE)
				continue;
			fail_msg("guard of %#" PRIx64 " overwritten; log: %s", e->allocs[i].va,
				 e->log);
		}
	}
}

/* Forgets allocations and commands. */
static inline void env_clear(struct cp_env *e)
{
	memset(e->hbm.base, GUARD_BYTE, 3 * AREA_BYTES);
	memset(e->sys, GUARD_BYTE, AREA_BYTES);
	memset(e->used, 0, sizeof(e->used));
	e->n_allocs = 0;
	e->cmd_bytes = 0;
	e->cmd_va = 0;
	e->result_va = 0;
}

/* -- tensors ------------------------------------------------------------------------------------------- */

static inline unsigned int esize(unsigned int dtype)
{
	return zw_dtype_block_bytes(dtype);
}

/* Dense tensor at va; a dimension of 0 ends the list. */
static inline struct zw_tensor tensor_at(uint64_t va, unsigned int dtype, uint32_t d0, uint32_t d1,
					 uint32_t d2, uint32_t d3)
{
	struct zw_tensor t = {.va = va, .dtype = (uint16_t)dtype, .dim = {d0, d1, d2, d3}};
	uint64_t stride = 1;

	for (t.ndim = 0; t.ndim < 4 && t.dim[t.ndim]; t.ndim++)
		;
	for (int i = t.ndim - 1; i > 0; i--) {
		stride *= t.dim[i];
		t.stride[i - 1] = stride;
	}
	return t;
}

static inline struct zw_tensor tensor(struct cp_env *e, enum place p, unsigned int dtype,
				      uint32_t d0, uint32_t d1, uint32_t d2, uint32_t d3)
{
	uint64_t n = (uint64_t)d0 * (d1 ? d1 : 1) * (d2 ? d2 : 1) * (d3 ? d3 : 1);

	return tensor_at(env_alloc(e, p, n * esize(dtype)), dtype, d0, d1, d2, d3);
}

/* The same with `gap` elements behind each row. */
static inline struct zw_tensor tensor_gap(struct cp_env *e, enum place p, unsigned int dtype,
					  uint32_t gap, uint32_t d0, uint32_t d1, uint32_t d2)
{
	uint32_t row = d1 * (d2 ? d2 : 1) + gap;
	struct zw_tensor t = tensor(e, p, dtype, d0, row, 0, 0);

	t.ndim = d2 ? 3 : 2;
	t.dim[1] = d1;
	t.dim[2] = d2;
	t.stride[1] = d2;
	return t;
}

static inline uint64_t at(const struct zw_tensor *t, uint64_t i, uint64_t j, uint64_t k, uint64_t l)
{
	uint64_t idx[4] = {i, j, k, l}, off = 0;

	for (int d = 0; d < t->ndim; d++)
		off += idx[d] * (d == t->ndim - 1 ? 1 : t->stride[d]);
	return t->va + off * esize(t->dtype);
}

static inline float get_f(struct cp_env *e, const struct zw_tensor *t, uint64_t i, uint64_t j,
			  uint64_t k, uint64_t l)
{
	uint32_t bits = 0;

	env_get(e, at(t, i, j, k, l), &bits, esize(t->dtype));
	if (t->dtype == F32)
		return zw_f32_from_bits(bits);
	return t->dtype == F16 ? zw_f16_to_f32((uint16_t)bits) : zw_bf16_to_f32((uint16_t)bits);
}

static inline void put_f(struct cp_env *e, const struct zw_tensor *t, uint64_t i, uint64_t j,
			 uint64_t k, uint64_t l, float v)
{
	uint32_t bits = t->dtype == F32   ? zw_f32_bits(v)
			: t->dtype == F16 ? zw_f16_from_f32(v)
					  : zw_bf16_from_f32(v);

	env_put(e, at(t, i, j, k, l), &bits, esize(t->dtype));
}

static inline int32_t get_i(struct cp_env *e, const struct zw_tensor *t, uint64_t i, uint64_t j)
{
	int32_t v;

	env_get(e, at(t, i, j, 0, 0), &v, 4);
	return v;
}

static inline void put_i(struct cp_env *e, const struct zw_tensor *t, uint64_t i, uint64_t j,
			 int32_t v)
{
	env_put(e, at(t, i, j, 0, 0), &v, 4);
}

static inline void fill_random(struct cp_env *e, const struct zw_tensor *t)
{
	uint32_t d[4];

	for (int i = 0; i < 4; i++)
		d[i] = i < t->ndim ? t->dim[i] : 1;
	for (uint32_t i = 0; i < d[0]; i++)
		for (uint32_t j = 0; j < d[1]; j++)
			for (uint32_t k = 0; k < d[2]; k++)
				for (uint32_t l = 0; l < d[3]; l++)
					put_f(e, t, i, j, k, l,
					      (float)(int32_t)test_rand(&e->rng) * 0x1p-31f);
}

/* -- jobs ---------------------------------------------------------------------------------------------- */

#define HDR(op, type)                                                                              \
	{                                                                                          \
		.opcode = (op), .size = sizeof(struct type)                                        \
	}

static inline void *emit(struct cp_env *e, const void *pkt, size_t size)
{
	void *p = e->cmd + e->cmd_bytes;

	assert_true(e->cmd_bytes + size <= CMD_MAX);
	memcpy(p, pkt, size);
	e->cmd_bytes += (uint32_t)size;
	return p;
}
#define EMIT(e, pkt) emit((e), &(pkt), sizeof(pkt))

/* Runs once from `offset`; the job record stays as it is for a resume. */
static inline void env_run_from(struct cp_env *e, uint32_t offset)
{
	e->job.cmd_va = e->cmd_va;
	e->job.cmd_bytes = e->cmd_bytes;
	e->job.resume_offset = offset;
	e->job.result_va = e->result_va;
	e->job.vm = VM;
	e->log[0] = '\0';
	zw_mmu_run_begin(e->mmu, VM, 0);
	zw_cp_run(e->cp, &e->job);
	zw_mmu_run_end(e->mmu);
	if (e->result_va && e->result_va % 64 == 0 && e->job.end == ZW_SOC_END_COMPLETE)
		env_get(e, e->result_va, &e->result, sizeof(e->result));
	env_check_guards(e);
}

/* A new job of queue 0 with the commands emitted so far. */
static inline void env_run(struct cp_env *e)
{
	if (!e->cmd_va) {
		e->cmd_va = env_alloc(e, IN_PAGES, CMD_MAX);
		e->result_va = env_alloc(e, IN_HBM, sizeof(e->result));
	}
	env_put(e, e->cmd_va, e->cmd, e->cmd_bytes);
	e->job.seqno++;
	env_run_from(e, 0);
}

static inline void env_run_ok(struct cp_env *e)
{
	env_run(e);
	if (e->job.status)
		print_message("job failed: %s\n", e->log);
	assert_int_equal(e->job.end, ZW_SOC_END_COMPLETE);
	assert_int_equal(e->job.status, ZW_JOB_OK);
	assert_int_equal(e->result.status, ZW_JOB_OK);
	assert_int_equal(e->result.seqno, e->job.seqno);
	e->cmd_bytes = 0;
}

static inline int env_setup(void **state)
{
	*state = env_new("810e", 0);
	return 0;
}

/*
 * Figures to compute by hand with: every packet costs 1 us, memory moves 1.5 bytes/ps, one unit does all products in
 * tiles of no more than 8 x 32 x 64, and nothing costs anything besides.
 */
static inline void env_plain(struct cp_env *e)
{
	struct zw_profile *p = &e->profile;

	p->hbm_bw = 2000000000000;
	p->hbm_efficiency_permille = p->gemm_hbm_permille = p->attn_hbm_permille = 750;
	p->sram_bw = 1ull << 60;
	p->units = 1;
	p->unit_bw = p->unit_i8_bw = 1ull << 60;
	p->tile_m = 8;
	p->tile_n = 32;
	p->tile_k = 64;
	p->tensor_efficiency_permille = p->tensor_f16_permille = p->tensor_f32_permille = 850;
	p->tensor_i8_permille = p->tensor_f8_permille = p->attn_permille = 850;
	p->packet_ps = p->gemm_ps = p->experts_ps = p->attn_ps = p->attn_prefill_ps = 1000000;
	p->gemm_split_ps = p->expert_ps = p->attn_split_ps = p->reduce_ps = p->topk_ps = 0;
	p->gemm_edge_permille = p->gemm_overlap_permille = p->attn_tail_permille = 0;
	p->experts_permille = 1000;
	p->attn_tile = 4;
	p->bf16_flop_fj = p->f32_flop_fj = p->i8_op_fj = p->f8_flop_fj = p->hbm_byte_fj = 0;
}

static inline int env_setup_plain(void **state)
{
	*state = env_new("810e", 0);
	env_plain(*state);
	return 0;
}

static inline int env_teardown(void **state)
{
	env_free(*state);
	return 0;
}

#endif

// SPDX-License-Identifier: MIT
/* The command processor that the rows run on. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine.h"
#include "zw_cp.h"
#include "zw_hbm.h"
#include "zw_mmu.h"
#include "zw_pool.h"

#define GIB   (UINT64_C(1) << 30)
#define MOST  (256 * GIB) /* used sparsely, mapped in pages of 1 GiB */
#define VM    1u
#define ALIGN 4096u

struct machine {
	struct zw_host_ops ops;
	struct zw_profile profile;
	struct zw_hbm hbm;
	uint64_t bytes; /* of it; at its end: */
	uint64_t tables_at, result_at, cmd_at;
	struct zw_pmu pmu;
	struct zw_mmu *mmu;
	struct zw_pool *pool;
	struct zw_cp *cp;
	uint64_t used, seqno;
	uint32_t cmd_bytes, without;
	char log[256];
};

static void keep_log(void *opaque, const char *msg)
{
	struct machine *m = opaque;

	snprintf(m->log, sizeof(m->log), "%s", msg);
}

static void map_memory(struct machine *m)
{
	uint64_t *root = (uint64_t *)(m->hbm.base + m->tables_at), *table = root + ZW_PT_ENTRIES;

	root[0] = (m->tables_at + ZW_PAGE_SIZE) | ZW_PTE_VALID;
	for (uint64_t i = 0; i < MOST / GIB; i++)
		table[i] = i * GIB | ZW_PTE_VALID | ZW_PTE_LEAF | ZW_PTE_READ | ZW_PTE_WRITE;
}

struct machine *machine_new(const struct zw_profile *profile)
{
	return machine_new_sized(profile, MOST);
}

/* The command processor that stands for the profile: it is what all of it goes into. */
static bool make_cp(struct machine *m)
{
	struct zw_cp_config cc = {.profile = &m->profile,
				  .num_queues = 1,
				  .mmu = m->mmu,
				  .pool = m->pool,
				  .pmu = &m->pmu,
				  .log = keep_log,
				  .log_opaque = m,
				  .timing_only = true};

	m->cp = m->mmu && m->pool ? zw_cp_new(&cc) : NULL;
	if (!m->cp)
		fprintf(stderr, "machine: no memory\n");
	return m->cp;
}

struct machine *machine_new_sized(const struct zw_profile *profile, uint64_t bytes)
{
	struct machine *m = calloc(1, sizeof(*m));

	if (!m || zw_hbm_init(&m->hbm, NULL, bytes, 0, &m->ops, m)) {
		fprintf(stderr, "machine: no address space for %" PRIu64 " GiB\n", bytes / GIB);
		free(m);
		return NULL;
	}
	m->bytes = bytes;
	m->tables_at = bytes - 2 * ZW_PAGE_SIZE;
	m->result_at = bytes - 4 * ZW_PAGE_SIZE;
	m->cmd_at = m->result_at - ZW_CMD_MAX_BYTES;
	m->profile = *profile;
	struct zw_mmu_config mc = {.hbm = &m->hbm, .ops = &m->ops, .opaque = m, .pmu = &m->pmu};
	m->mmu = zw_mmu_new(&mc);
	m->pool = zw_pool_new(0);
	if (!make_cp(m)) {
		machine_free(m);
		return NULL;
	}
	map_memory(m);
	if (zw_mmu_set_root(m->mmu, VM, m->tables_at, true)) {
		fprintf(stderr, "machine: no memory\n");
		machine_free(m);
		return NULL;
	}
	machine_clear(m);
	return m;
}

int machine_set_profile(struct machine *m, const struct zw_profile *profile)
{
	zw_cp_free(m->cp);
	m->profile = *profile;
	machine_clear(m);
	return make_cp(m) ? 0 : -1;
}

void machine_free(struct machine *m)
{
	if (!m)
		return;
	zw_cp_free(m->cp);
	zw_pool_free(m->pool);
	zw_mmu_free(m->mmu);
	zw_hbm_fini(&m->hbm);
	free(m);
}

const struct zw_profile *machine_profile(const struct machine *m)
{
	return &m->profile;
}

void machine_clear(struct machine *m)
{
	m->used = ALIGN;
	machine_clear_packets(m);
}

void machine_clear_packets(struct machine *m)
{
	m->cmd_bytes = 0;
}

uint64_t machine_alloc(struct machine *m, uint64_t bytes)
{
	uint64_t va = m->used;

	if (bytes > m->cmd_at || va > m->cmd_at - bytes) {
		fprintf(stderr, "machine: a job takes more than %" PRIu64 " GiB\n", m->bytes / GIB);
		exit(2);
	}
	m->used = (va + bytes + ALIGN - 1) / ALIGN * ALIGN;
	return va;
}

void machine_put(struct machine *m, uint64_t va, const void *data, uint64_t bytes)
{
	memcpy(m->hbm.base + va, data, bytes);
}

struct zw_tensor machine_tensor(struct machine *m, unsigned int dtype, uint32_t d0, uint32_t d1,
				uint32_t d2, uint32_t d3)
{
	struct zw_tensor t = {.dtype = (uint16_t)dtype, .dim = {d0, d1, d2, d3}};
	uint64_t n = 1;

	for (t.ndim = 0; t.ndim < 4 && t.dim[t.ndim]; t.ndim++)
		;
	for (int i = t.ndim - 1; i >= 0; i--) {
		n *= t.dim[i];
		if (i)
			t.stride[i - 1] = n;
	}
	t.va = machine_alloc(m, n * zw_dtype_block_bytes(dtype));
	return t;
}

struct zw_tensor machine_numbers(struct machine *m, uint32_t n, int32_t first, int32_t step)
{
	struct zw_tensor t = machine_tensor(m, ZW_DTYPE_I32, n, 0, 0, 0);

	for (uint32_t i = 0; i < n; i++, first += step)
		machine_put(m, t.va + 4ull * i, &first, 4);
	return t;
}

struct zw_tensor machine_heads(const struct zw_tensor *t, uint32_t column, uint32_t heads,
			       uint32_t d)
{
	struct zw_tensor h = *t;

	h.va += (uint64_t)column * zw_dtype_block_bytes(t->dtype);
	h.ndim = 3;
	h.dim[1] = heads;
	h.dim[2] = d;
	h.stride[1] = d;
	return h;
}

struct zw_tensor machine_columns(const struct zw_tensor *t, uint32_t column, uint32_t n)
{
	struct zw_tensor c = *t;

	c.va += (uint64_t)column * zw_dtype_block_bytes(t->dtype);
	c.dim[1] = n;
	return c;
}

void machine_without(struct machine *m, uint32_t features)
{
	m->without = features;
}

void machine_emit(struct machine *m, const void *pkt, uint32_t bytes)
{
	struct zw_pkt hdr;

	if (bytes > ZW_CMD_MAX_BYTES - m->cmd_bytes) {
		fprintf(stderr, "machine: a job takes too many packets\n");
		exit(2);
	}
	memcpy(&hdr, pkt, sizeof(hdr));
	hdr.flags |= m->without;
	machine_put(m, m->cmd_at + m->cmd_bytes, pkt, bytes);
	machine_put(m, m->cmd_at + m->cmd_bytes, &hdr, sizeof(hdr));
	m->cmd_bytes += bytes;
}

int machine_run(struct machine *m, struct machine_time *t)
{
	struct zw_soc_job job = {
		.vm = VM,
		.cmd_va = m->cmd_at,
		.cmd_bytes = m->cmd_bytes,
		.result_va = m->result_at,
		.seqno = ++m->seqno,
	};
	uint64_t energy = m->pmu.energy_pj, hbm = m->pmu.hbm_read + m->pmu.hbm_written;

	m->log[0] = '\0';
	zw_mmu_run_begin(m->mmu, VM, 0);
	zw_cp_run(m->cp, &job);
	zw_mmu_run_end(m->mmu);
	if (job.end != ZW_SOC_END_COMPLETE || job.status != ZW_JOB_OK) {
		fprintf(stderr, "machine: packet %u failed: %s\n", job.packet_index, m->log);
		return -1;
	}
	t->job_ps = job.end_ps - job.start_ps;
	t->packet_ps = t->job_ps - m->profile.job_ps;
	t->energy_pj = m->pmu.energy_pj - energy;
	t->hbm_bytes = m->pmu.hbm_read + m->pmu.hbm_written - hbm;
	memcpy(&t->result, m->hbm.base + m->result_at, sizeof(t->result));
	return 0;
}

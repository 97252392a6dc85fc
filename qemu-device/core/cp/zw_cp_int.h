/* SPDX-License-Identifier: MIT */
/*
 * Command processor, inside. A packet goes through four steps, each driven by its row in the opcode table:
 * form (zw_cp_validate.c) -> operands (cp_operand.c) -> exec (cp_<group>.c, calls the kernels) -> time (cp_time.c).
 * A new opcode is a row, an operand list and an exec function in its group's file.
 */
#ifndef ZW_CP_INT_H
#define ZW_CP_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "zhenwu/zw_cmd.h"
#include "zhenwu/zw_regs.h"
#include "../engine/zw_kernels.h"
#include "../zw_cp.h"
#include "../zw_mem.h"
#include "../zw_profile.h"

#define ZW_CP_MAX_OPERANDS 8

/*
 * Limits of this implementation, part of Documentation/device/packets.md: they bound the host memory that one packet
 * can make the device allocate.
 */
#define ZW_CP_MAX_INDEX_ROWS (1u << 20) /* rows of a packet that has an index per row */
#define ZW_CP_MAX_PAGE_REFS  (1u << 20) /* block table entries one packet looks at */
#define ZW_CP_MAX_ROW        (1u << 20) /* elements that RMSNORM and ROPE hold at a time */
#define ZW_CP_MAX_HEAD       4096u      /* head dimension of the KV cache */
#define ZW_CP_MAX_EXTENT     (1ull << ZW_VA_BITS) /* bytes of an operand */

/* -- simulated time (cp_time.c) ----------------------------------------------------------------------- */

/* What a packet costs apart from its fixed cost. */
struct zw_cp_cost {
	uint64_t compute_ps;
	uint64_t hbm_read, hbm_written, sys_read, sys_written; /* bytes */
};

/* Simulated clock of a queue. All in picoseconds since the queue was created, saturating. */
struct zw_cp_clock {
	uint64_t now;  /* end of the latest packet: what an ordered packet waits for */
	uint64_t base; /* end of the last ordered packet: what an ASYNC packet waits for */
	uint64_t engine_free[ZW_ENGINE_COUNT];
	uint64_t hbm_free, sys_read_free, sys_write_free;
};

uint64_t zw_cp_add_sat(uint64_t a, uint64_t b);
uint64_t zw_cp_mul_sat(uint64_t a, uint64_t b);
/* Picoseconds for `amount` units at `per_second` * permille / 1000 units per second, rounded up, saturating. */
uint64_t zw_cp_rate_ps(uint64_t amount, uint64_t per_second, uint32_t permille);

/*
 * Puts a packet on the time lines and returns its end. *busy_ps: how long it occupied its engine.
 * Pure: depends on nothing but its arguments.
 */
uint64_t zw_cp_clock_retire(struct zw_cp_clock *clk, const struct zw_profile *p,
			    unsigned int engine, bool async, const struct zw_cp_cost *cost,
			    uint64_t *busy_ps);
/* The queue does nothing until `ps`. */
void zw_cp_clock_wait(struct zw_cp_clock *clk, uint64_t ps);

/* Compute time of the shapes (cost rules in Documentation/device/time.md). */
uint64_t zw_cp_tensor_ps(const struct zw_profile *p, uint64_t m, uint64_t n, uint64_t k, bool f32);
uint64_t zw_cp_vector_ps(const struct zw_profile *p, uint64_t elements, uint32_t ops);

/* -- opcode table ------------------------------------------------------------------------------------- */

enum zw_cp_operand_flags {
	ZW_OPD_OUT = 1 << 0,  /* written; else read */
	ZW_OPD_ROWS = 1 << 1, /* dim[0] is replaced by the indirect row count */
	ZW_OPD_OPT = 1 << 2,  /* may be absent */
	ZW_OPD_INDEX =
		1 << 3, /* read as data that addresses are made from: copied to private memory */
	ZW_OPD_LATE = 1 << 4, /* exec maps the parts it needs */
	ZW_OPD_PAGED =
		1
		<< 5, /* blocks along dim[0] are mapped one by one: may interleave with other outputs */
};

#define ZW_DT(t)    (1ull << ZW_DTYPE_##t)
#define ZW_DT_FLOAT (ZW_DT(F32) | ZW_DT(BF16))

struct zw_cp_operand {
	const char *name;
	uint16_t offset; /* of its struct zw_tensor in the packet */
	uint16_t flags;  /* enum zw_cp_operand_flags */
	uint64_t dtypes; /* ZW_DT() it may have */
	/* One letter per dimension; equal letters are equal sizes; a lower-case letter may be left out everywhere. */
	const char *dims;
	uint32_t same_ok; /* output: bit i set: may be exactly operand i */
};

struct zw_cp_exec;

struct zw_cp_op {
	uint16_t opcode;
	uint16_t size;
	uint8_t engine;
	uint8_t n_operands;
	const char *name;
	uint32_t flags; /* of the header that it accepts */
	const struct zw_cp_operand *operands;
	/* Form beyond the operand list, on a packet whose operands are well-formed: enum zw_reason. */
	uint32_t (*validate)(const void *pkt);
	/* Zero, ZW_CP_BLOCKED, or what zw_cp_fail() and zw_cp_fault() return. Writes nothing before all is checked. */
	int (*exec)(struct zw_cp_exec *x);
	/* Returns picoseconds of arithmetic, adds re-reads to x->traffic; NULL: bytes are all it costs. */
	uint64_t (*compute)(struct zw_cp_exec *x);
};

#define ZW_CP_BLOCKED 1

struct zw_cp_group {
	const struct zw_cp_op *ops;
	size_t count;
};
extern const struct zw_cp_group zw_cp_control, zw_cp_tensor, zw_cp_vector, zw_cp_attn, zw_cp_dma;

/* NULL: unknown. */
const struct zw_cp_op *zw_cp_op_find(unsigned int opcode);

static inline const struct zw_tensor *zw_cp_tensor_at(const struct zw_cp_op *op, const void *pkt,
						      unsigned int i)
{
	return (const struct zw_tensor *)((const char *)pkt + op->operands[i].offset);
}

/* Bytes of an element of a type that ABI 1.0 computes with; 0 for others. */
unsigned int zw_cp_dtype_size(unsigned int dtype);

/*
 * Elements from the first to one past the last of t with `rows` in place of dim[0]. Validated tensors only:
 * cannot overflow there.
 */
uint64_t zw_cp_tensor_span(const struct zw_tensor *t, uint32_t rows);
uint64_t zw_cp_tensor_count(const struct zw_tensor *t, uint32_t rows);

/* -- form --------------------------------------------------------------------------------------------- */

struct zw_cp_form {
	uint32_t reason;     /* ZW_REASON_NONE: well-formed */
	uint32_t packet;     /* index of the one refused ... */
	uint32_t bad_offset; /* ... and where it is */
	uint32_t packets;    /* in the buffer */
	bool resume_found;
	uint32_t
		resume_packet; /* index of the packet at resume_offset (packets, if it is the end) */
};

/* Checks all packets of a private, 16-byte aligned copy of a command buffer. Touches nothing else. */
void zw_cp_validate(const void *buf, uint32_t bytes, uint32_t resume_offset,
		    const struct zw_profile *profile, struct zw_cp_form *form);

/* -- one packet being run (cp_operand.c) ---------------------------------------------------------------- */

struct zw_cp_traffic {
	uint64_t hbm, sys; /* bytes, by the cost model's accounting */
	bool written;      /* else read */
};

struct zw_cp_exec {
	const struct zw_cp_config *cfg;
	const struct zw_profile *profile;
	struct zw_cp_clock *clk;
	unsigned int vm;
	const struct zw_cp_op *op;
	const void *pkt;
	uint32_t rows; /* dim[0] of the [rows] operands, or the indirect count */

	/* by operand */
	struct zw_view view[ZW_CP_MAX_OPERANDS];
	bool mapped[ZW_CP_MAX_OPERANDS];
	int32_t *index[ZW_CP_MAX_OPERANDS];
	struct zw_cp_traffic traffic[ZW_CP_MAX_OPERANDS];

	/* views of ZW_OPD_LATE operands, any number */
	struct zw_view *late;
	size_t n_late, cap_late;
	/* memory that lives as long as the packet */
	void **mem;
	size_t n_mem, cap_mem;

	uint64_t scores; /* attention: query-key pairs per head */

	/* why it failed */
	uint32_t status, reason;
	struct zw_mem_fault fault;
};

int zw_cp_fail(struct zw_cp_exec *x, uint32_t status, uint32_t reason);
/* From the result of a zw_mem_*() call that filled x->fault; 0 stays 0. */
int zw_cp_mem_status(struct zw_cp_exec *x, int err);
/* From the result of a kernel; 0 stays 0. */
int zw_cp_kernel_status(struct zw_cp_exec *x, int err);

/* Zero-filled memory that zw_cp_operands_end() frees. NULL: x failed with NO_MEMORY. */
void *zw_cp_alloc(struct zw_cp_exec *x, uint64_t count, size_t size);

/* Reads the row count, copies the indexes, maps all operands that are not late. rows == 0: nothing to do. */
int zw_cp_operands_begin(struct zw_cp_exec *x);
/* Ends all views, writing back when commit; frees the memory. Returns 0 or fails x. */
int zw_cp_operands_end(struct zw_cp_exec *x, bool commit);

/*
 * Maps [va, va + len) for operand i and counts `bytes` of traffic for it. *slot: its place in x->late
 * (the array moves while it grows: take pointers when all is mapped).
 */
int zw_cp_map_late(struct zw_cp_exec *x, unsigned int i, uint64_t va, uint64_t len, uint32_t access,
		   uint64_t bytes, size_t *slot);
/* Counts `bytes` of operand i, split as the view is between HBM and system memory. */
void zw_cp_count(struct zw_cp_exec *x, unsigned int i, const struct zw_view *view, uint64_t bytes);
/* Sums the operands' traffic. */
void zw_cp_traffic_sum(const struct zw_cp_exec *x, struct zw_cp_cost *cost);
/* Copies n I32 elements at va to private memory and counts them for operand i. */
int zw_cp_read_index(struct zw_cp_exec *x, unsigned int i, uint64_t va, uint32_t n, int32_t *out);
/* 0 <= every element < limit, or x fails with DATA, INDEX. */
int zw_cp_check_index(struct zw_cp_exec *x, const int32_t *v, uint32_t n, uint64_t limit);

/* Kernel view of operand i; an absent one gives ptr NULL. */
struct zw_k_in zw_cp_in(const struct zw_cp_exec *x, unsigned int i);
struct zw_k_out zw_cp_out(const struct zw_cp_exec *x, unsigned int i);
/* Heads of a [M,H,D] or [M,D] operand and its row length. */
uint32_t zw_cp_heads(const struct zw_tensor *t);
uint32_t zw_cp_inner(const struct zw_tensor *t);

#endif /* ZW_CP_INT_H */

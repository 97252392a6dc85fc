/* SPDX-License-Identifier: MIT */
/*
 * Command processor, inside. What a packet consists of is in zhenwu/zw_ops.h; what the device does with it is one
 * struct zw_cp_impl in its group's file (cp_<group>.c). A packet goes through
 *
 *	form (cp_validate.c)     all of the buffer, before its first packet runs
 *	predicate, row count     read from memory
 *	operands (cp_operand.c)  translated, checked, counted
 *	prepare                  the rest of that: parts of operands, indexes; after it the cost is complete
 *	clash (cp_operand.c)     no output on the same memory as something else
 *	run                      computes; the first step that writes
 *	time (cp_time.c)         clock, job result and counters; what a packet takes is in cp_cost*.c
 */
#ifndef ZW_CP_INT_H
#define ZW_CP_INT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "zhenwu/zw_cmd.h"
#include "zhenwu/zw_regs.h"
#include "../engine/zw_kernels.h"
#include "../zw_cp.h"
#include "../zw_mem.h"
#include "../zw_mmu.h"
#include "../zw_profile.h"
#include "zw_cp_replay.h"

/*
 * Limits of this implementation, part of Documentation/device/packets.md: they bound the host memory that one packet
 * can make the device allocate.
 */
#define ZW_CP_MAX_INDEX_ROWS                                                                       \
	(1u << 20) /* rows, and indexes, of a packet that has indexes per row */
#define ZW_CP_MAX_EXPERTS   (1u << 16)
#define ZW_CP_MAX_STATES    (1u << 16) /* slots of a pool of states */
#define ZW_CP_MAX_PAGE_REFS (1u << 20) /* block table entries one packet looks at */
#define ZW_CP_MAX_LISTS     (1u << 20) /* of keys: one for each head of each part of a group */
#define ZW_CP_MAX_LISTED    (1u << 22) /* blocks and columns in all of them */
#define ZW_CP_MAX_ORDER     (1u << 24) /* elements of all orders of a REORDER */
#define ZW_CP_MAX_ROW                                                                              \
	(1u << 20) /* elements that RMSNORM, ROPE and a transposing GEMM hold at a time */
#define ZW_CP_MAX_HEAD   4096u                /* head dimension of the KV cache */
#define ZW_CP_MAX_EXTENT (1ull << ZW_VA_BITS) /* bytes of an operand */

/* Types that the engines of this build compute with; a profile can only take some away. */
#define ZW_CP_DTYPES (ZW_DT_WEIGHT | ZW_DT(E8M0) | ZW_DT(U8) | ZW_DT(I32))

/* -- simulated time (cp_time.c) ----------------------------------------------------------------------- */

struct zw_cp_cost {
	uint64_t fixed_ps;   /* before its engine has the first operand */
	uint64_t lead_ps;    /* of that: what memory is at work in already */
	uint64_t compute_ps; /* what it takes apart from that, with memory to itself */
	uint64_t hbm_read, hbm_written, sys_read, sys_written; /* bytes */
	uint64_t hbm_early;               /* read of HBM before the packet began, for it */
	uint64_t sram_read, sram_written; /* on the chip, operands found there too */
	uint32_t hbm_permille;            /* of the bandwidth of HBM */
	uint64_t ops;                     /* that take energy, each so much */
	uint32_t ops_fj;
	uint64_t not_before; /* it starts no earlier: the time of the signal that it waited for */
};

/* Simulated clock of a queue. All in picoseconds since the reset of the device, saturating. */
struct zw_cp_clock {
	uint64_t now; /* end of all packets so far: what an ordered packet waits for */
	uint64_t
		base; /* end of the last ordered packet: what a packet with ZW_PKT_F_DEPS waits for */
	uint64_t token[ZW_PKT_TOKENS]; /* end of the packet that signalled it last */
	uint64_t engine_free[ZW_ENGINE_COUNT];
	uint64_t hbm_free, sys_read_free, sys_write_free;
};

static inline uint64_t zw_cp_add_sat(uint64_t a, uint64_t b)
{
	uint64_t r;

	return __builtin_add_overflow(a, b, &r) ? UINT64_MAX : r;
}

static inline uint64_t zw_cp_mul_sat(uint64_t a, uint64_t b)
{
	uint64_t r;

	return __builtin_mul_overflow(a, b, &r) ? UINT64_MAX : r;
}

/* Picoseconds for `amount` units at `per_second` * permille / 1000 units per second, rounded up, saturating. */
uint64_t zw_cp_rate_ps(uint64_t amount, uint64_t per_second, uint32_t permille);

/* A clock that has stood still until `ps`. */
void zw_cp_clock_init(struct zw_cp_clock *clk, uint64_t ps);
/* A job begins: `ps` pass before its first packet. */
void zw_cp_clock_begin(struct zw_cp_clock *clk, uint64_t ps);
/* How long the packet occupies engine and ports, and the energy that it takes. */
void zw_cp_work_of(const struct zw_profile *p, const struct zw_cp_cost *cost,
		   struct zw_cp_work *work);
/*
 * Puts a packet on the time lines and returns its end. *busy_ps: how long it occupied its engine.
 */
uint64_t zw_cp_clock_place(struct zw_cp_clock *clk, unsigned int engine, const struct zw_pkt *hdr,
			   const struct zw_cp_work *work, uint64_t not_before, uint64_t *busy_ps);
/*
 * Both. Puts a packet on the time lines and returns its end. *busy_ps: how long it occupied its engine.
 * Pure: depends on nothing but its arguments.
 */
/* When everything that a packet depends on has ended. */
uint64_t zw_cp_clock_ready(const struct zw_cp_clock *clk, const struct zw_pkt *hdr);
uint64_t zw_cp_clock_retire(struct zw_cp_clock *clk, const struct zw_profile *p,
			    unsigned int engine, const struct zw_pkt *hdr,
			    const struct zw_cp_cost *cost, uint64_t *busy_ps);

/* -- costs (cp_cost*.c); rules in Documentation/device/time.md ------------------------------------------ */

/* What a packet of an engine costs before anybody has looked at it. */
void zw_cp_cost_begin(const struct zw_profile *p, unsigned int engine, struct zw_cp_cost *cost);
/* All bytes that it moves on the chip. */
uint64_t zw_cp_cost_bytes(const struct zw_cp_cost *cost);
/* It takes no less than moving these. */
void zw_cp_cost_on_chip(const struct zw_profile *p, struct zw_cp_cost *cost);
uint64_t zw_cp_vector_ps(const struct zw_profile *p, uint64_t elements, uint32_t ops);
/* What it takes to bring the elements of a long row together. */
uint64_t zw_cp_reduce_ps(const struct zw_profile *p, uint64_t elements);
/* No number of operations with `fj` each goes faster than the power allows. */
uint64_t zw_cp_power_ps(const struct zw_profile *p, uint64_t ops, uint32_t fj);
/* Energy of operations and of bytes of HBM; what the chip takes when idle is not in it. */
uint64_t zw_cp_energy_pj(const struct zw_profile *p, const struct zw_cp_cost *cost);

/* The tensor units, as operands of two types meet them. */
struct zw_cp_tensor_unit {
	uint64_t rate; /* operations/s of all of them together */
	uint32_t permille;
	uint32_t fj; /* of an operation */
	uint64_t bw; /* bytes/s of HBM that one of them draws */
	bool vector; /* no tiles: they are the vector units */
};

struct zw_cp_tensor_unit zw_cp_tensor_unit(const struct zw_profile *p, unsigned int dtype_a,
					   unsigned int dtype_b);
/* The vector units, as products run on them: of the rate and the energy of F32, whatever the operands. */
struct zw_cp_tensor_unit zw_cp_vector_unit(const struct zw_profile *p);

#define ZW_CP_TILE_ROWS 4u /* heights of a tile: tile_m and its halves */

struct zw_cp_product {
	struct zw_cp_tensor_unit unit;
	uint64_t row_tiles[ZW_CP_TILE_ROWS]; /* tiles that the rows make, by their height */
	uint64_t n, k;
	uint64_t outputs; /* elements */
	uint64_t bytes;   /* of HBM */
	uint64_t ops;     /* asked for, without padding */
};

/* Rows of a tile of the i-th height; they ascend. */
uint32_t zw_cp_tile_rows(const struct zw_profile *p, unsigned int i);
/* With all of the memory's bandwidth to itself. Pure. */
uint64_t zw_cp_product_ps(const struct zw_profile *p, const struct zw_cp_product *g);

#define ZW_CP_KNOWN_PRODUCTS 256u

/*
 * Products and what they cost, of a run of the command processor: a step has the same few in each of its layers.
 * Zero-filled is empty; when `run` changes it is empty again. One thread at a time.
 */
struct zw_cp_products {
	uint64_t run;
	struct {
		uint64_t run; /* plus 1; 0: never */
		struct zw_cp_product g;
		uint64_t ps;
	} slot[ZW_CP_KNOWN_PRODUCTS];
};

/* zw_cp_product_ps(), of products that came before without computing it again. */
uint64_t zw_cp_product_again(struct zw_cp_products *known, const struct zw_profile *p,
			     const struct zw_cp_product *g);
/* `count` products of m x n x k at once, with operands that are on the chip. */
uint64_t zw_cp_products_ps(const struct zw_profile *p, const struct zw_cp_tensor_unit *unit,
			   uint64_t count, uint64_t m, uint64_t n, uint64_t k);

/* What attention consists of; zero-filled, and packed true, is nothing. */
struct zw_cp_attn_work {
	uint64_t items;    /* tiles of query rows, of all heads */
	uint64_t quarters; /* quarters of these, times the tiles of keys that they see */
	uint64_t longest;  /* the most of one item */
	uint64_t key_tiles;
	bool packed; /* all heads of a group in one tile: may be split along the keys */
};

/* `times` items of `rows` query rows that see `keys` keys. */
void zw_cp_attn_rows(const struct zw_profile *p, struct zw_cp_attn_work *w, uint64_t rows,
		     uint64_t keys, uint64_t times);
/* In how many parts the keys are split. */
uint64_t zw_cp_attn_splits(const struct zw_profile *p, const struct zw_cp_attn_work *w);
uint64_t zw_cp_attn_fixed_ps(const struct zw_profile *p, const struct zw_cp_attn_work *w);
uint64_t zw_cp_attn_ps(const struct zw_profile *p, const struct zw_cp_attn_work *w, uint32_t d,
		       uint64_t rate);

/* -- what is on the chip (cp_resident.c) ---------------------------------------------------------------- */

#define ZW_CP_RESIDENT 32u

/* Ranges of virtual addresses of the job's VM, the latest first; disjoint. Zero-filled is empty. */
struct zw_cp_resident {
	uint32_t n;
	uint64_t bytes;
	struct {
		uint64_t va, end;
	} range[ZW_CP_RESIDENT];
};

void zw_cp_resident_clear(struct zw_cp_resident *r);
/* How many bytes of [va, va + len) are there. */
uint64_t zw_cp_resident_bytes(const struct zw_cp_resident *r, uint64_t va, uint64_t len);
/* [va, va + len) was moved; there is room for `capacity` bytes. */
void zw_cp_resident_touch(struct zw_cp_resident *r, uint64_t capacity, uint64_t va, uint64_t len);

/* -- KV blocks on the chip (cp_kv_part.c) ---------------------------------------------------------------- */

#define ZW_CP_KV_PINNED 64u

/*
 * The part of the on-chip memory that holds KV blocks for the decodes of a queue: some stay from job to job, the rest is
 * filled, while HBM has nothing else to do, with what the next decode will read. Zero-filled is empty.
 */
struct zw_cp_kv_part {
	/* Since when there is room for the next blocks, and how long HBM has been at work since. */
	uint64_t since_ps, hbm_ps;
	/* The same since the job began, until its first decode: that alone counts if nobody knew what it would read. */
	uint64_t job_ps, job_hbm_ps;
	bool decoded; /* this job read blocks */
	/* What the first decode of the job before read, which is what the next job's is taken to read. */
	uint64_t next_va, next_bytes;
	uint32_t n;
	uint64_t bytes; /* of all that is pinned */
	uint64_t used;  /* by index: read in this job */
	struct {
		uint64_t va, bytes; /* of the keys; of keys, values and scales */
	} pinned[ZW_CP_KV_PINNED];
};

/* What a decode reads of the cache. */
struct zw_cp_kv_read {
	uint64_t pool_va, block_bytes; /* of keys, from block to block */
	const uint64_t *block;         /* numbers, ascending */
	uint32_t n;
	uint64_t bytes; /* of HBM */
	uint64_t ready_ps;
};

/* A job begins at `ps`: what none of the decodes of the job before read stays no longer. */
void zw_cp_kv_job(struct zw_cp_kv_part *kv, uint64_t ps);
/* Takes out of r->bytes what is pinned and what was fetched before; *early: the latter. Pins while there is room. */
uint64_t zw_cp_kv_hits(struct zw_cp_kv_part *kv, const struct zw_profile *p,
		       const struct zw_cp_kv_read *r, uint64_t *early);
/* A packet retired at `end` that kept HBM for `hbm_ps`; read: it was a decode that took its blocks from here. */
void zw_cp_kv_retired(struct zw_cp_kv_part *kv, bool read, uint64_t end, uint64_t hbm_ps);

/* -- semaphores (cp_sem.c) ---------------------------------------------------------------------------- */

/*
 * When which value was signalled where. Bounded: the semaphore that was signalled longest ago gives way to a new one,
 * the oldest value of one to a new value. Zero-filled is empty.
 */
#define ZW_CP_SEMS       1024u
#define ZW_CP_SEM_VALUES 8u

struct zw_cp_sem {
	struct zw_mem_place place;
	uint32_t n;
	uint64_t age; /* running number of its last signal; 0: unused */
	uint64_t value[ZW_CP_SEM_VALUES], ps[ZW_CP_SEM_VALUES]; /* values ascend */
	/* in the time of the whole device, or which entry of the log it waits for */
	uint64_t settled[ZW_CP_SEM_VALUES];
	uint32_t entry[ZW_CP_SEM_VALUES];
};

struct zw_cp_sems {
	uint64_t signals;
	struct zw_cp_sem sem[ZW_CP_SEMS];
};

/* NULL: the value was there. Else it is the last one. */
struct zw_cp_sem *zw_cp_sem_signalled(struct zw_cp_sems *sems, const struct zw_mem_place *place,
				      uint64_t value, uint64_t ps);
/*
 * Which value of the semaphore, which holds `now`, is `wanted`; NULL if it was not the device that wrote it, or if it is
 * forgotten.
 */
struct zw_cp_sem *zw_cp_sem_find(struct zw_cp_sems *sems, const struct zw_mem_place *place,
				 uint64_t now, uint64_t wanted, unsigned int *value);
/*
 * When the semaphore, which holds `now`, reached `wanted`; 0 if it was not the device that wrote the value, or if it is
 * forgotten.
 */
uint64_t zw_cp_sem_reached(const struct zw_cp_sems *sems, const struct zw_mem_place *place,
			   uint64_t now, uint64_t wanted);

/* -- packet table (cp_table.c) ------------------------------------------------------------------------- */

/* From zw_ops.h. */
struct zw_cp_operand {
	const char *name;
	uint64_t dtypes;
	const char *dims;
	uint32_t same;
	uint16_t offset; /* of its struct zw_tensor in the packet */
	uint8_t access;  /* enum zw_opd_access */
	uint8_t kind;    /* enum zw_opd_kind */
};

struct zw_cp_scalar {
	const char *name;
	uint16_t offset;
	uint8_t kind; /* enum zw_scalar_kind */
	uint8_t arg;
};

struct zw_cp_exec;

/* What the device does with a packet. */
struct zw_cp_impl {
	uint32_t late; /* bit i: prepare maps operand i, besides those of ZW_OPD_PART */
	/* Form beyond the table, on a packet whose fields are well-formed: enum zw_reason. */
	uint32_t (*validate)(const void *pkt);
	/* Whether engines have this combination of operands, all of which they have; NULL: yes. */
	bool (*supported)(const void *pkt);
	/*
	 * Zero, ZW_CP_BLOCKED, or what zw_cp_fail() and its like return. Not called without rows. prepare writes
	 * no memory of the VM; run does nothing that costs simulated time.
	 */
	int (*prepare)(struct zw_cp_exec *x); /* NULL: the operand list says it all */
	int (*run)(struct zw_cp_exec *x);
	/* In the place of run where nothing is computed, for what later packets' times depend on. */
	int (*stand_in)(struct zw_cp_exec *x);
	/* Adds re-reads to x->traffic; NULL: every operand is moved once. */
	void (*traffic)(struct zw_cp_exec *x);
	/*
	 * Returns picoseconds of arithmetic; bytes are in x->cost, and what else of it is not what
	 * zw_cp_cost_begin() gave is set here. NULL: bytes are all it costs.
	 */
	uint64_t (*compute)(struct zw_cp_exec *x);
	/*
	 * prepare and traffic look at the packet, its rows and the translations of its operands and at nothing else, and
	 * compute at no more than these, traffic and cost: what was found holds as long as these are the same.
	 */
	bool constant;
};

#define ZW_CP_BLOCKED 1

#define ZW_CP_DECLARE_IMPL(NAME, name, number, engine, type, flags)                                \
	extern const struct zw_cp_impl zw_cp_##name;
ZW_OPS(ZW_CP_DECLARE_IMPL)
#undef ZW_CP_DECLARE_IMPL

struct zw_cp_op {
	const char *name;
	uint16_t opcode;
	uint16_t size; /* of all fields that are known */
	uint8_t engine;
	uint8_t n_operands, n_scalars;
	uint32_t flags; /* of the header that it takes */
	struct zw_cp_operand operand[ZW_OP_MAX_TENSORS];
	struct zw_cp_scalar scalar[ZW_OP_MAX_SCALARS];
	const struct zw_cp_impl *impl;
};

/* NULL: unknown. */
const struct zw_cp_op *zw_cp_op_find(unsigned int opcode);

/* Any packet with all its fields. */
union zw_cp_packet {
	struct zw_pkt hdr;
#define ZW_CP_PACKET_MEMBER(NAME, name, number, engine, type, flags) struct type name;
	ZW_OPS(ZW_CP_PACKET_MEMBER)
#undef ZW_CP_PACKET_MEMBER
};

/* The packet, or, if it ends before the fields of a later version, a copy in which these are zero. */
const struct zw_pkt *zw_cp_packet_whole(const struct zw_cp_op *op, const struct zw_pkt *hdr,
					union zw_cp_packet *copy);

static inline const struct zw_tensor *zw_cp_tensor_at(const struct zw_cp_op *op, const void *pkt,
						      unsigned int i)
{
	return (const struct zw_tensor *)((const char *)pkt + op->operand[i].offset);
}

/* Whether the packet's flags give operand i its other dimensions, of which none is the rows. */
static inline bool zw_cp_transposed(const struct zw_cp_operand *opd, uint32_t flags)
{
	return (opd->kind & ZW_OPD_TRANS_0 && flags & ZW_PKT_OPFLAG(0)) ||
	       (opd->kind & ZW_OPD_TRANS_1 && flags & ZW_PKT_OPFLAG(1));
}

/* The same with an operand that keeps its rows. */
static inline bool zw_cp_other_dims(const struct zw_cp_operand *opd, uint32_t flags)
{
	return zw_cp_transposed(opd, flags) ||
	       (opd->kind & ZW_OPD_ALT_0 && flags & ZW_PKT_OPFLAG(0));
}

/* Whether dim[0] of operand i is the number of rows of the packet. */
static inline bool zw_cp_has_rows(const struct zw_cp_operand *opd, uint32_t flags)
{
	return opd->kind & ZW_OPD_ROWS && !zw_cp_transposed(opd, flags);
}

/* Bytes of `elements` elements, a multiple of the type's block. */
static inline uint64_t zw_cp_bytes(unsigned int dtype, uint64_t elements)
{
	return elements / zw_dtype_block_elements(dtype) * zw_dtype_block_bytes(dtype);
}

/* Bytes of an element of a type with blocks of one element. */
static inline unsigned int zw_cp_dtype_size(unsigned int dtype)
{
	return zw_dtype_block_bytes(dtype);
}

/*
 * Elements from the first to one past the last of t with `rows` in place of dim[0]. Validated tensors only:
 * cannot overflow there.
 */
uint64_t zw_cp_tensor_span(const struct zw_tensor *t, uint32_t rows);
uint64_t zw_cp_tensor_count(const struct zw_tensor *t, uint32_t rows);

/* -- form (cp_validate.c) ------------------------------------------------------------------------------- */

struct zw_cp_form {
	uint32_t reason;     /* ZW_REASON_NONE: well-formed */
	uint32_t packet;     /* index of the one refused ... */
	uint32_t bad_offset; /* ... and where it is */
	uint32_t packets;    /* in the buffer */
};

/* Checks all packets of a private, 16-byte aligned copy of a command buffer. Touches nothing else. */
void zw_cp_validate(const void *buf, uint32_t bytes, const struct zw_profile *profile,
		    struct zw_cp_form *form);

/* -- one packet being run (cp_operand.c) ---------------------------------------------------------------- */

#define ZW_CP_TRAFFIC_KINDS 6u

/* Bytes, by the cost model's accounting. */
struct zw_cp_traffic {
	union {
		struct {
			uint64_t hbm_read, hbm_written, sys_read, sys_written, sram_read,
				sram_written;
		};
		uint64_t kind[ZW_CP_TRAFFIC_KINDS];
	};
};

struct zw_cp_extent {
	uint64_t va, len;
};

/* -- what a packet came to before (cp_known.c) -- */

#define ZW_CP_KNOWN_OPERANDS 6u

struct zw_cp_known {
	struct zw_mmu_epoch epoch;
	uint64_t lookups; /* translations that it took */
	uint32_t rows;
	uint8_t n; /* operands; 0: nothing is known */
	uint8_t n_counted;
	bool costed; /* cost and work are of operands of which so much is read of HBM as `hbm_read` says */
	struct zw_cp_cost cost;
	struct zw_cp_work work;
	/* Last, and small: of all packets of a step this is more than caches hold. */
	struct {
		struct zw_cp_extent extent;
		uint64_t
			bytes; /* of each kind of traffic that it has, nothing of it found on the chip */
		uint64_t hbm_read;    /* the rest was found there */
		uint8_t index, kinds; /* kinds: bit i is the i-th of struct zw_cp_traffic */
	} operand[ZW_CP_KNOWN_OPERANDS];
};

struct zw_cp_buffer;
/* The buffer ran before, and will run again: its packets are kept from now on. */
void zw_cp_known_begin(struct zw_cp_buffer *buf);
void zw_cp_known_drop(struct zw_cp_buffer *buf);
/* NULL: the packet is one that has to be looked at. */
struct zw_cp_known *zw_cp_known_packet(const struct zw_cp_buffer *buf, uint64_t index,
				       const struct zw_cp_op *op);
/* In the place of translating and preparing, when rows are read. False: do that. */
bool zw_cp_known_operands(struct zw_cp_exec *x);
/* That was done, and nothing was looked for on the chip yet. */
void zw_cp_known_note_operands(struct zw_cp_exec *x);
/* In the place of costing, when what is on the chip was found. False: do that. */
bool zw_cp_known_cost(struct zw_cp_exec *x);
/* That was done. */
void zw_cp_known_note_cost(const struct zw_cp_exec *x);

struct zw_cp_exec {
	const struct zw_cp_config *cfg;
	const struct zw_profile *profile;
	const struct zw_cp_clock *clk;
	struct zw_cp_resident *resident;
	struct zw_cp_kv_part *kv;
	bool kv_read; /* the packet took blocks from there */
	struct zw_cp_sems *sems;
	struct zw_cp_replay *replay;
	struct zw_cp_products *products;
	struct zw_cp_sem_use sem; /* what it did with a semaphore */
	unsigned int vm;
	struct zw_cp_known *known; /* NULL: look at it */
	struct zw_mmu_epoch epoch; /* with known: when its operands were looked at */
	uint64_t lookups;
	const struct zw_cp_op *op;
	const void *pkt; /* with all fields of op */
	bool skipped;    /* by its predicate */
	uint32_t rows;   /* dim[0] of the [rows] operands, or the indirect count */

	/* by operand */
	unsigned int n_counted; /* those from here on have no view, traffic or extent */
	bool mapped[ZW_OP_MAX_TENSORS];
	int32_t *index[ZW_OP_MAX_TENSORS];
	struct zw_cp_traffic traffic[ZW_OP_MAX_TENSORS];
	/* what these bytes are part of, if it may stay on the chip; len 0: it streams by */
	struct zw_cp_extent extent[ZW_OP_MAX_TENSORS];

	/* views that prepare made, any number */
	struct zw_view *late;
	size_t n_late, cap_late;
	/* memory that lives as long as the packet */
	void **mem;
	size_t n_mem, cap_mem;
	char *small; /* the same for what is small, NULL: nothing yet */
	size_t n_small;
	void *plan; /* from prepare to run; among mem */

	uint64_t scores;   /* attention: query-key pairs of all heads; selection: of one head */
	uint64_t elements; /* selection: what else it goes through */
	struct zw_cp_cost cost;
	struct zw_cp_work work; /* the same, as time lines take it */

	/* why it failed */
	uint32_t status, reason;
	struct zw_mem_fault fault;

	/*
	 * From here on what nobody looks at, where nothing runs, unless something above says so: by operand, if it is
	 * mapped; and the copy, if pkt points there.
	 */
	struct zw_view view[ZW_OP_MAX_TENSORS];
	struct zw_mem_pieces pieces[ZW_OP_MAX_TENSORS]; /* what is written of it; bytes 0: all */
	union zw_cp_packet copy;
};

/* Whether the packet has this feature: the profile has, and the packet's flags (ZW_PKT_F_NO_*) do not say no. */
static inline bool zw_cp_feature(const struct zw_cp_exec *x, uint32_t no)
{
	const struct zw_profile *p = x->profile;
	bool has = no == ZW_PKT_F_NO_KV_CACHE ? p->kv_sram_bytes > 0
		   : no == ZW_PKT_F_NO_TENSOR ? p->tensor_engine
		   : no == ZW_PKT_F_NO_FUSED  ? p->fused_packets
					      : p->block_sparse;

	return has && !(((const struct zw_pkt *)x->pkt)->flags & no);
}

/* What products of these types run on. */
static inline struct zw_cp_tensor_unit zw_cp_unit(const struct zw_cp_exec *x, unsigned int dtype_a,
						  unsigned int dtype_b)
{
	return zw_cp_feature(x, ZW_PKT_F_NO_TENSOR)
		       ? zw_cp_tensor_unit(x->profile, dtype_a, dtype_b)
		       : zw_cp_vector_unit(x->profile);
}

/* A packet that does several primitives at once costs what one packet for each would (cp_fused.c). */
void zw_cp_unfuse(struct zw_cp_exec *x);
/* How many a packet does. */
uint32_t zw_cp_primitives(const void *pkt);

int zw_cp_fail(struct zw_cp_exec *x, uint32_t status, uint32_t reason);
/* From the result of a zw_mem_*() call that filled x->fault; 0 stays 0. */
int zw_cp_mem_status(struct zw_cp_exec *x, int err);
/* From the result of a kernel; 0 stays 0. */
int zw_cp_kernel_status(struct zw_cp_exec *x, int err);

/* Whether the packet takes its time and nothing more. Control packets are the order of the jobs, not arithmetic. */
static inline bool zw_cp_timing_only(const struct zw_cp_exec *x)
{
	return x->cfg->timing_only && x->op->engine != ZW_ENGINE_CP;
}

/* Zero-filled memory that is the packet's until zw_cp_operands_end(). NULL: x failed with NO_MEMORY. */
void *zw_cp_alloc(struct zw_cp_exec *x, uint64_t count, size_t size);

/* Reads predicate and row count. x->skipped or x->rows == 0: nothing to do. */
int zw_cp_operands_begin(struct zw_cp_exec *x);
/* Copies the indexes, maps all operands that are not late. */
int zw_cp_operands_map(struct zw_cp_exec *x);
/*
 * After prepare: fails x (INVALID, OVERLAP) if something that will be written is, by two mappings of one page, also
 * something else.
 */
int zw_cp_operands_clash(struct zw_cp_exec *x);
/* Ends all views, writing back when commit; frees the memory. Returns 0 or fails x. */
int zw_cp_operands_end(struct zw_cp_exec *x, bool commit);

/* Maps [va, va + len) as the view of operand i and counts `bytes` of traffic for it. For packets without tensors. */
int zw_cp_map(struct zw_cp_exec *x, unsigned int i, uint64_t va, uint64_t len, uint32_t access,
	      uint64_t bytes);
/* The same with zw_mem_map_apart(). */
int zw_cp_map_apart(struct zw_cp_exec *x, unsigned int i, uint64_t va, uint64_t len,
		    uint32_t access, uint64_t bytes);
/*
 * Maps [va, va + len), a part of operand i, and counts `bytes` of traffic for it. *slot: its place in x->late
 * (the array moves while it grows: take pointers when all is mapped).
 */
int zw_cp_map_late(struct zw_cp_exec *x, unsigned int i, uint64_t va, uint64_t len, uint32_t access,
		   uint64_t bytes, size_t *slot);
/*
 * Where nothing is computed: looks at the first of these parts of operand i, and at those behind it that are in the same
 * piece of memory, *taken of them. They count `each` bytes of traffic; with all of them taken, `all`.
 */
int zw_cp_look_late(struct zw_cp_exec *x, unsigned int i, const struct zw_mem_units *units,
		    uint32_t access, uint64_t each, uint64_t all, uint32_t *taken);
/*
 * The same of a range that only has to be cut into views because it is computed with: where nothing is, and the range
 * is in one memory, *whole is set and it is one view. Else nothing happened. In parts or whole, the bytes are the same.
 */
int zw_cp_map_whole(struct zw_cp_exec *x, unsigned int i, uint64_t va, uint64_t len, uint64_t bytes,
		    bool *whole);
/* Counts `bytes` of operand i, split as the view is between HBM and system memory. */
void zw_cp_count(struct zw_cp_exec *x, unsigned int i, const struct zw_view *view, uint64_t bytes);
/* What operands read of HBM, and what is still on the chip, they read there. */
void zw_cp_resident_hits(struct zw_cp_exec *x);
/* The packet retires: its operands are on the chip now, or streamed by. */
void zw_cp_resident_operands(struct zw_cp_exec *x);
/* Sums the operands' traffic. */
void zw_cp_traffic_sum(const struct zw_cp_exec *x, struct zw_cp_cost *cost);
/* Copies n I32 elements at va to private memory and counts them for operand i. */
int zw_cp_read_index(struct zw_cp_exec *x, unsigned int i, uint64_t va, uint32_t n, int32_t *out);
/* 0 <= every element < limit, or x fails with DATA, INDEX. */
int zw_cp_check_index(struct zw_cp_exec *x, const int32_t *v, uint32_t n, uint64_t limit);

/* dim[0] of operand i, or what the packet's number of rows makes of it. */
uint32_t zw_cp_operand_rows(const struct zw_cp_exec *x, unsigned int i);

/* -- scales (cp_scales.c) ------------------------------------------------------------------------------- */

/* The factors of a product. */
struct zw_cp_factors {
	const struct zw_tensor *a, *w, *a_scale, *w_scale, *w_zero, *w_scale2;
};

/*
 * Which of the scales there have to be, may be, and how they fit each other. k: elements of a sum; 0: an operand is
 * transposed.
 */
uint32_t zw_cp_check_factors(const struct zw_cp_factors *f, uint32_t k);
/* Whether engines multiply operands of these types. */
bool zw_cp_factors_supported(const struct zw_cp_factors *f);
/* Operand i, which holds scales or is absent, of which the part at ptr, with two dimensions, is there. */
struct zw_k_scales zw_cp_scales(const struct zw_cp_exec *x, unsigned int i, const void *ptr);
/* The same of activations, all of it. */
struct zw_k_scales zw_cp_a_scales(const struct zw_cp_exec *x, unsigned int i);

/* Kernel view of operand i; an absent one gives ptr NULL. */
struct zw_k_in zw_cp_in(const struct zw_cp_exec *x, unsigned int i);
struct zw_k_out zw_cp_out(const struct zw_cp_exec *x, unsigned int i);
/* Heads of a [M,H,D] or [M,D] operand and its row length. */
uint32_t zw_cp_heads(const struct zw_tensor *t);
uint32_t zw_cp_inner(const struct zw_tensor *t);

/* -- command buffers (cp_buffer.c) ---------------------------------------------------------------------- */

/*
 * The checked copy of a job's command buffer. It is kept while its job is preempted or blocked, so that a queue holds at
 * most one of them, of ZW_CMD_MAX_BYTES.
 */
struct zw_cp_buffer {
	char *bytes; /* NULL: none, or an empty buffer */
	uint64_t va;
	uint32_t size;
	unsigned int vm;
	struct zw_cp_known *known; /* n_known of its first packets; NULL: none */
	uint32_t n_known;
};

/*
 * Copies and checks the job's buffer; 0, or the job is failed and -EIO. *where: what to name in the log. The copy is
 * the caller's to drop in both cases.
 */
int zw_cp_buffer_load(const struct zw_cp_config *cfg, struct zw_soc_job *job,
		      struct zw_cp_buffer *buf, const char **where);
/*
 * Checked copies of jobs that are over: where nothing is computed the check would be a good part of what a job takes.
 * The next load takes one when memory still holds the very same bytes.
 */
#define ZW_CP_KEPT 8u
struct zw_cp_kept {
	struct zw_cp_buffer buffer[ZW_CP_KEPT];
	uint32_t next; /* the one that makes room */
};
/* Takes the buffer over. */
void zw_cp_buffer_keep(struct zw_cp_kept *kept, struct zw_cp_buffer *buf);
/* Whether one of them is the job's; then it is in *buf. */
bool zw_cp_buffer_again(const struct zw_cp_config *cfg, struct zw_cp_kept *kept,
			const struct zw_soc_job *job, struct zw_cp_buffer *buf);
void zw_cp_kept_drop(struct zw_cp_kept *kept);
void zw_cp_buffer_drop(struct zw_cp_buffer *buf);
/* Whether this is the job's. */
bool zw_cp_buffer_is_of(const struct zw_cp_buffer *buf, const struct zw_soc_job *job);

/* -- jobs (zw_cp.c) ------------------------------------------------------------------------------------- */

/* What a queue keeps between runs. */
struct zw_cp_queue {
	struct zw_cp_clock clk;
	/* the job under way, when it was preempted or blocked */
	bool active;
	uint64_t seqno;
	uint64_t start_ps;
	uint64_t busy_ps[ZW_ENGINE_COUNT];
	struct zw_cp_cost bytes; /* nothing else in it is used */
	uint64_t packets;        /* retired */
	uint64_t energy_pj;
	struct zw_cp_resident resident;
	struct zw_cp_kv_part kv;
	/* what goes on with it: the checked buffer, and where in it */
	struct zw_cp_buffer buffer;
	uint32_t next_offset;
};

struct zw_cp {
	struct zw_cp_config cfg;
	pthread_mutex_t lock; /* cancel and the pool's flag change together */
	atomic_bool preempt;
	atomic_bool cancel;
	struct zw_cp_exec x; /* kept for its arrays */
	struct zw_cp_sems sems;
	struct zw_cp_replay replay;
	/* Of all jobs that ended: when new queues start. Those are made while jobs run. */
	_Atomic uint64_t latest_end;
	uint64_t buffers_loaded;
	struct zw_cp_kept kept; /* with timing_only */
	struct zw_cp_products products;
	atomic_bool hold; /* stop between packets, unseen by the firmware */
	bool held;        /* that happened: the next zw_cp_run() goes on with the job ... */
	bool progress;    /* ... and a packet of this run was done */
	unsigned int num_queues;
	struct zw_cp_queue queue[]; /* num_queues of them */
};

void zw_cp_set_failed(struct zw_soc_job *job, uint32_t status, uint32_t reason, uint32_t packet,
		      uint32_t tag);
void zw_cp_set_fault(struct zw_soc_job *job, const struct zw_mem_fault *fault, uint32_t packet,
		     uint32_t tag);
/* From the result of a zw_mem_*() call. */
void zw_cp_set_mem_error(struct zw_soc_job *job, int err, const struct zw_mem_fault *fault,
			 uint32_t packet);
/* Tag of the packet that failed. The job record has no field of its own for it. */
static inline uint32_t zw_cp_job_tag(const struct zw_soc_job *job)
{
	return job->tag;
}
/* One line about a failed job (cp_log.c). where: the packet's name, or what else was at fault. */
void zw_cp_log_failure(const struct zw_cp_config *cfg, const struct zw_soc_job *job,
		       const char *where);
/* Command buffers copied and checked since the CP was made. */
uint64_t zw_cp_buffers_loaded(const struct zw_cp *cp);

#endif /* ZW_CP_INT_H */

/* SPDX-License-Identifier: MIT */
/*
 * A load plan: where in one buffer of device memory the tensors of a source go, and what becomes of
 * them on the way. Formats, tensor parallelism and packed checkpoints are plans, not code.
 */
#ifndef LLM_PLAN_H
#define LLM_PLAN_H

#include <zhenwu/zhenwu.h>

#include "source.h"

/* Sub-allocations of a buffer start here; a multiple of every alignment the packets ask for. */
#define LLM_ALIGN 256

static inline uint64_t llm_align(uint64_t v, uint64_t a)
{
	return (v + a - 1) / a * a;
}

/* Bytes of n elements, whole blocks of the type. */
static inline uint64_t llm_dtype_bytes(uint32_t dtype, uint64_t n)
{
	return n / zw_dtype_block_elements(dtype) * zw_dtype_block_bytes(dtype);
}

/* Whether a type is one of records that hold their own scales. */
static inline bool llm_is_blocked(uint32_t dtype)
{
	return dtype < 64 && (ZW_DT_BLOCKED >> dtype & 1);
}

/*
 * What is taken from a tensor, seen as a matrix [rows, cols] (leading dimensions folded into the
 * rows, a vector being one column, and one row if it is of records), in this order of rows: `count` times `run` rows, the first of
 * each `step` apart, from row `first` on. So a slice is one run; every second head is a run of a
 * head and a step of two; several parts that take from one tensor split it; several parts of one
 * destination concatenate. run 0: all rows; cols 0: all columns.
 */
enum llm_unpack_kind {
	LLM_UNPACK_NONE, /* a matrix of numbers */
	/*
	 * The bytes of a row are those of a row of the destination's type once `flip` has been exclusive-
	 * ored to each: several elements a byte or word, offset integers that become two's complement.
	 */
	LLM_UNPACK_BITS,
	/*
	 * Numbers, row i of which holds for rows [i * block, (i + 1) * block) of a matrix, where a row of
	 * the destination holds for `per` of them, a divisor of block. first, run and step are multiples of
	 * per, and count rows of that matrix.
	 */
	LLM_UNPACK_REPEAT,
	/*
	 * The transpose of the destination: numbers, or integers in words of 32 bits (see the order). first,
	 * run and step count rows of the destination.
	 */
	LLM_UNPACK_TURN,
	/* Integers in words of 32 bits, those of a word below each other; rows as above. */
	LLM_UNPACK_STACK,
};

/* Where integers of `bits` bits stand in words, the lowest bits first. */
enum llm_pack_order {
	LLM_PACK_NONE,  /* they are numbers, one each */
	LLM_PACK_DOWN,  /* those of a word are below each other: GPTQ's weights */
	LLM_PACK_RIGHT, /* beside each other: GPTQ's zero points */
	LLM_PACK_AWQ,   /* beside each other, eight in the order 0 2 4 6 1 3 5 7 */
};

/*
 * How a tensor of a quantised matrix is to be read. Only whole rows of the destination are taken. Integers of
 * words become (i + pre) mod 2^bits + plus. REPEAT and STACK leave the first `base` rows of the source out.
 */
struct llm_unpack {
	uint8_t kind, order, bits;
	uint8_t flip, pre;
	int32_t plus;
	uint64_t block, per, base;
};

struct llm_take {
	size_t tensor; /* of the source */
	uint64_t first, run, step, count;
	uint64_t col, cols;
	uint64_t as_cols; /* of the matrix that the tensor is; 0: its last dimension */
	/* Of whole rows of I8, I4 or F8: column j is the file's column order[j]; NULL: as they are. Is copied. */
	const int32_t *order;
	float mul; /* times each element; 0: not */
	float add; /* to each element: 1 turns a zero-centred norm weight into a plain one */
	struct llm_unpack unpack;
};

struct llm_plan_part {
	struct llm_take take; /* nothing 0 that has a default */
	uint32_t from, to;    /* enum zw_dtype */
	uint64_t src_cols;    /* of the source's rows */
	uint64_t dst_cols;    /* of the destination's */
	uint64_t off;         /* of the destination, dense, in the buffer */
	uint64_t read_bytes;  /* of the source */
	void *values; /* not NULL: there is no source, the destination is these `run` elements of 4 bytes */
	int32_t *order; /* of the take */
};

struct llm_plan {
	const struct llm_source *src;
	struct llm_plan_part *parts;
	struct zw_tensor **dst;
	size_t num_parts, cap_parts, num_dst, cap_dst;
	/* By enum zw_dtype: whether there are destinations of it, and the source tensor of the first. */
	uint64_t dtypes;
	size_t first_of[64];
	bool reorders;       /* activations are brought into other orders */
	uint32_t act;        /* what activations are quantised to, where some are: enum zw_dtype */
	uint64_t bytes;      /* of the buffer */
	uint64_t read_bytes; /* of the source */
	uint64_t parameters; /* elements of all destinations */
};

/*
 * Adds a destination: the n parts below each other, dense, [rows, cols] (or [rows] when the sources
 * are vectors). *dst gets an offset for an address, which llm_plan_place() makes one. dst must stay
 * where it is until then.
 *
 * @param dtype  enum zw_dtype of the destination; NONE: that of the parts: records of one type, or F32,
 *               F16 or BF16, and F32 when those differ. Numbers (F32, F16, BF16, F8E4M3, records) become F32, F16 or BF16
 *               (round to nearest even), packed integers I8, I4, U8 or U4, and everything stays what it is;
 *               anything else, quantising among it, is -EOPNOTSUPP.
 */
int llm_plan_add(struct llm_plan *p, struct zw_tensor *dst, uint32_t dtype,
		 const struct llm_take *parts, size_t n, struct zw_error *err);
/* The same for n values F32, [n], or I32, [rows, cols], which are copied. */
int llm_plan_add_values(struct llm_plan *p, struct zw_tensor *dst, const float *values, size_t n,
			struct zw_error *err);
int llm_plan_add_integers(struct llm_plan *p, struct zw_tensor *dst, const int32_t *values,
			  uint32_t rows, uint32_t cols, struct zw_error *err);
/* Puts the buffer's address under every destination. */
void llm_plan_place(struct llm_plan *p, uint64_t va);
void llm_plan_fini(struct llm_plan *p);

/* How the bytes of a plan came that are copied as they are in files; the rest was read. */
struct llm_plan_ways {
	uint64_t direct; /* with O_DIRECT into memory that the device reads */
	uint64_t mapped; /* by the device from the page cache */
	int refused;     /* errno of the first refusal to be read with O_DIRECT, or 0 */
};

/*
 * Carries the plan out: reads, converts, and copies to the buffer at va of vm. Whole tensors that are
 * not converted are copied by the device from the host's page cache or from where O_DIRECT has put them,
 * and read straight into the copier's staging memory where both are refused; dev NULL: always read.
 * progress() as in struct zw_model_options. *ways is filled in, unless NULL, whatever is returned.
 */
int llm_plan_run(const struct llm_plan *p, struct zw_dev *dev, struct zw_vm *vm,
		 struct zw_copier *c, uint64_t va,
		 int (*progress)(void *opaque, uint64_t done, uint64_t total), void *opaque,
		 struct llm_plan_ways *ways, struct zw_error *err);

#endif

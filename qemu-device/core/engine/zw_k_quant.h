/* SPDX-License-Identifier: MIT */
/*
 * Quantised weights: how a row of them becomes F32. The arithmetic is stated in
 * Documentation/device/numerics.md, section 16; zw_quant_scalar.c reads like it.
 */
#ifndef ZW_K_QUANT_H
#define ZW_K_QUANT_H

#include "zw_k_prim.h"
#include "zw_kernels.h"

/* Formats as table index; a type with zero points is one of its own. */
#define ZW_Q_RECORDS(X)                                                                            \
	X(Q4_0)                                                                                    \
	X(Q4_1)                                                                                    \
	X(Q5_0)                                                                                    \
	X(Q5_1)                                                                                    \
	X(Q8_0)                                                                                    \
	X(MXFP4)                                                                                   \
	X(Q2_K)                                                                                    \
	X(Q3_K)                                                                                    \
	X(Q4_K)                                                                                    \
	X(Q5_K)                                                                                    \
	X(Q6_K)
#define ZW_Q_FORMATS(X)                                                                            \
	X(I8)                                                                                      \
	X(I8Z)                                                                                     \
	X(I4)                                                                                      \
	X(I4Z)                                                                                     \
	X(U4)                                                                                      \
	X(U4Z)                                                                                     \
	X(F8E4M3)                                                                                  \
	X(F8E5M2)                                                                                  \
	X(F4E2M1)                                                                                  \
	ZW_Q_RECORDS(X)

enum zw_q_format {
#define ZW_Q_ENUM(name) ZW_Q_##name,
	ZW_Q_FORMATS(ZW_Q_ENUM) ZW_Q_COUNT,
#undef ZW_Q_ENUM
	ZW_Q_FIRST_RECORD = ZW_Q_Q4_0,
	ZW_Q_FIRST_OF_256 = ZW_Q_Q2_K,
};

/* Elements that the primitives take at a time: rows are cut at multiples of it. */
#define ZW_Q_STEP     32u
#define ZW_Q_STEP_256 256u

/* A piece of a row: its bytes, and of each group of elements the scale and, where there are some, zero point. */
struct zw_q_row {
	const uint8_t *ptr;
	const float *scale, *zero; /* unused by records */
};

/* What direct products take for scales and zero points: these, or what prepare() makes of them. */
enum zw_q_way {
	ZW_Q_PLAIN,
	ZW_Q_FOLDED, /* as the level wants them */
	ZW_Q_OFFSET, /* the same zero points or, where the type has none, zeros */
	ZW_Q_WAYS,
};

/* What activations become. */
enum zw_q_target {
	ZW_Q_TO_I8,
	ZW_Q_TO_F8E4M3,
	ZW_Q_TO_F8E5M2,
	ZW_Q_TARGETS,
};

/* Primitives of a level, beside those of struct zw_prim. */
struct zw_q_prim {
	/* The greatest magnitude of x padded; a NaN if there is one. */
	float (*absmax)(const float *x, size_t n);
	/*
	 * n numbers, rounded to nearest even, not beyond the largest of the type (I8: 127); NaN: 0 of I8,
	 * the canonical one of the others.
	 */
	void (*narrow[ZW_Q_TARGETS])(void *dst, const float *src, size_t n);
	/*
	 * dst padded <- n elements of the row, dequantised; eights of elements lie @step floats apart,
	 * which is ZW_LANES for a row by itself, or as zw_prim.pack() interleaves rows. The first element
	 * is element @phase of its group of @group; both count for types with scales only.
	 */
	void (*dequant[ZW_Q_COUNT])(float *dst, size_t step, const struct zw_q_row *row,
				    size_t phase, size_t group, size_t n);
	/*
	 * Overwrites n scales and zero points, padded, by those of the way that it returns; there is room for the latter also
	 * where the type has none. NULL: there is the plain way only.
	 */
	enum zw_q_way (*prepare)(enum zw_q_format f, float *scale, float *zero, size_t n);
	/* Puts n packed elements of A in the order that direct products with the format want. NULL: as they are. */
	void (*arrange)(enum zw_q_format f, float *a, size_t n);
	/* Those of a format ascend by rows; zw_q_direct_for() */
	const struct zw_q_direct *const *direct;
	unsigned int directs;
	/* Rows of A up to which direct products are the way; more are worth writing W out for. */
	uint8_t direct_most[ZW_Q_COUNT];
};

/* Numbers that zero points and offsets are taken off, two operations in place of one, and all others. */
#define ZW_Q_DIRECT_MOST(f)                                                                        \
	((f) == ZW_Q_I4 || (f) == ZW_Q_I4Z || (f) == ZW_Q_U4 || (f) == ZW_Q_U4Z ? 4 : 8)

/* Direct products of a number of rows of A and of W. */
struct zw_q_direct {
	/*
	 * out[i * cols + j] = dot(packed row i of a, the k elements of w[j]) for i < rows, j < cols.
	 * Groups as zw_q_direct_group() says. NULL: not of this format or way; the plain one is there if any is.
	 */
	void (*fn[ZW_Q_WAYS][ZW_Q_COUNT])(const float *a, const struct zw_q_row *w, size_t k,
					  size_t group, float *out);
	unsigned int rows, cols;
};

extern const struct zw_q_prim zw_q_scalar;
#if defined(__x86_64__)
extern const struct zw_q_prim zw_q_avx2, zw_q_avx512;
extern const struct zw_q_direct zw_q_direct_avx2[2], zw_q_direct_avx512[4];
enum zw_q_way zw_q_prepare_avx2(enum zw_q_format f, float *scale, float *zero, size_t n);
enum zw_q_way zw_q_prepare_avx512(enum zw_q_format f, float *scale, float *zero, size_t n);
void zw_q_arrange_avx2(enum zw_q_format f, float *a, size_t n);
#endif

#define ZW_Q_DIRECT_MAX_COLS 8
#define ZW_Q_DIRECT_OUT      32

/*
 * Those of a format for m rows of A: the fewest rows that take all of them at once, or else the most. Of a format that a
 * level has itself, those of another one, which begin with few rows again, do not count.
 */
static inline const struct zw_q_direct *zw_q_direct_for(const struct zw_q_prim *quant,
							enum zw_q_format f, uint32_t m)
{
	const struct zw_q_direct *direct = NULL;

	for (unsigned int i = 0; i < quant->directs; i++) {
		const struct zw_q_direct *next = quant->direct[i];

		if (!next->fn[ZW_Q_PLAIN][f])
			continue;
		if (direct && (direct->rows >= m || next->rows <= direct->rows))
			break;
		direct = next;
	}
	return direct;
}

/* Whether the direct products take groups of that many elements. */
static inline bool zw_q_direct_group(size_t group, size_t k)
{
	return group >= k || group % ZW_Q_STEP == 0 || group == ZW_Q_STEP / 2;
}

/* A quantised matrix, checked. */
struct zw_q_matrix {
	bool used; /* else it is not quantised */
	enum zw_q_format format;
	uint32_t block, block_bytes; /* elements and bytes of a block of the type */
	struct zw_k_scales scale, zero;
	bool scaled2;
	float scale2;
	uint64_t row0; /* of the matrix that the scales are of */
};

/* Bytes of k elements, k a multiple of the block. */
static inline uint64_t zw_q_bytes(const struct zw_q_matrix *q, uint64_t k)
{
	return k / q->block * q->block_bytes;
}

/* Elements at which a row may be cut. */
static inline uint32_t zw_q_step(const struct zw_q_matrix *q)
{
	return q->format >= ZW_Q_FIRST_OF_256 ? ZW_Q_STEP_256 : ZW_Q_STEP;
}

/* Floats of scales and zero points of k elements of a row. */
size_t zw_q_scale_floats(const struct zw_q_matrix *q, uint32_t k);
/*
 * Elements k0 .. k0 + k of a row whose bytes start at ptr; its scales go to scratch, of
 * zw_q_scale_floats(). *phase: of element k0 in its group.
 */
struct zw_q_row zw_q_row_at(const struct zw_q_matrix *q, const struct zw_prim *prim,
			    const char *ptr, uint64_t row, uint32_t k0, uint32_t k, float *scratch,
			    size_t *phase);

/* Scales and zero points of rows of a matrix, whole ones. */
struct zw_q_scales {
	float *scale, *zero;
	uint32_t rows,
		first; /* rows of W that share a row of them; the first one's place among these */
	size_t groups, count; /* of a row; of all rows */
	enum zw_q_way way;
};

/* Floats of scratch for those of so many rows of k elements. */
size_t zw_q_scales_floats(const struct zw_q_matrix *q, uint32_t rows, uint32_t k);
void zw_q_scales_load(struct zw_q_scales *s, const struct zw_q_matrix *q,
		      const struct zw_prim *prim, uint64_t row, uint32_t rows, uint32_t k,
		      float *scratch);
/* Makes them, where they are, what direct products take. */
void zw_q_scales_prepare(struct zw_q_scales *s, const struct zw_q_matrix *q,
			 const struct zw_prim *prim);

/* A row of them, whose bytes start at ptr. */
static inline struct zw_q_row zw_q_scales_row(const struct zw_q_scales *s, const char *ptr,
					      uint32_t row)
{
	/* A division is a tenth of a short product. */
	size_t at = (s->rows == 1 ? row : ((uint64_t)s->first + row) / s->rows) * s->groups;

	return (struct zw_q_row){
		.ptr = (const uint8_t *)ptr,
		.scale = s->scale + at,
		.zero = s->zero + at,
	};
}

/* 0 or -EOPNOTSUPP. */
int zw_q_target_of(uint32_t dtype, enum zw_q_target *to);
/* x, which is overwritten, quantised to dst; returns the scale. */
float zw_q_quantise(const struct zw_prim *prim, enum zw_q_target to, void *dst, float *x, size_t n);

/* Whether the type is one of those; then fills q in. 0, -EOPNOTSUPP or -EINVAL. */
int zw_q_matrix(struct zw_q_matrix *q, uint32_t dtype, const struct zw_k_quant *quant, uint32_t k);

#endif

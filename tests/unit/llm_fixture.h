/* SPDX-License-Identifier: MIT */
/* Small random checkpoints, and the plain forward pass of one in double precision. */
#ifndef LLM_FIXTURE_H
#define LLM_FIXTURE_H

#include "llm_test.h"

#define MAX_TENSORS 512

/* Dimensions chosen unequal and not round, so that no two can be confused. */
struct shape {
	uint32_t h, i, layers, nq, nkv, d, v;
	bool tied, bias;
	bool qwen2; /* biases on q, k and v, no norms of q and k; otherwise a qwen3 */
	/* Not 0: a qwen3_moe of that many experts, k of them for each token, of size im. */
	uint32_t e, k, im;
	bool renorm, dense; /* the weights add up to 1; layer 1 has no experts */
	/*
	 * A qwen3_next: layers of `linear` (a bit each) have Gated DeltaNet: gk heads of keys of dk, gv of
	 * values of dv, a convolution over `conv` tokens. A shared expert of size `is`; rotary
	 * dimensions of a head. mtp: with an MTP head.
	 */
	bool next, mtp;
	/* With next: a qwen3_5, or with experts a qwen3_5_moe, these in one tensor if fused; nested: beside a
	 * tower for images. */
	bool split, fused, nested;
	uint64_t linear;
	uint32_t gk, gv, dk, dv, conv, is, rotary;
	double theta, eps; /* 0: 10000, 1e-5 */
	/* Not 0: Dual Chunk Attention; original 0: not said. Positions the context is made for. */
	uint32_t chunk, local, original, context;
};

struct tensor {
	char name[80];
	uint32_t ndim, dim[3];
	float *x; /* values that BF16 holds exactly */
	size_t n;
};

struct fixture {
	char *dir;
	struct shape s;
	struct tensor t[MAX_TENSORS];
	size_t n;
	/* Not NULL: [tokens, layers, k], which fixture_reference() fills with the experts chosen, and
	 * [tokens, layers]: by how much the last of them is ahead of the first that was not, in logits. */
	uint32_t *chosen;
	double *lead;
	/* Not NULL: sees the scores of a query head of the token at pos for each key up to that, in every layer, and
	 * may make them -INFINITY, which hides the key. */
	void (*look)(void *opaque, uint32_t head, uint32_t pos, double *scores);
	void *opaque;
};

#define NUM_SHAPES 12
extern const struct shape fixture_shapes[NUM_SHAPES];

/* Whether layer l has experts. */
bool fixture_is_sparse(const struct shape *s, uint32_t l);
/* What the names of the decoder's tensors begin with. */
const char *fixture_prefix(const struct shape *s);

void fixture_make(struct fixture *f, struct shape s);
/* Its text then depends on little but the last token, and its MTP head, if it has one, knows that much. */
void fixture_make_easy(struct fixture *f);
void fixture_free(struct fixture *f);
void fixture_write_config(const struct fixture *f);
/* Writes tensors i with i % step == first as BF16, or those with odd_name in theirs as odd_dtype. */
void fixture_write_shard(const struct fixture *f, const char *file, size_t first, size_t step,
			 const char *odd_name, const char *odd_dtype);
/* Both, in one file. */
void fixture_write(const struct fixture *f);
/* llm_reference.c: the plain forward pass. Logits of every token, [n, v]. */
void fixture_reference(const struct fixture *f, const uint32_t *ids, uint32_t n, double *logits);

#endif

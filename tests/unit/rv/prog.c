// SPDX-License-Identifier: MIT
/*
 * Ordinary C, compiled for the host and for the control core: both must compute the same. No libc.
 * Each part leans on another piece of the ISA: see the comments.
 */
#include "prog.h"

#define N 512

static uint64_t rng_state;

static uint64_t rng(void)
{
	rng_state = rng_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return rng_state ^ rng_state >> 33;
}

/* byte loads, shifts, branches */
static uint32_t crc32(const uint8_t *p, unsigned n)
{
	uint32_t crc = ~0u;

	while (n--) {
		crc ^= *p++;
		for (int k = 0; k < 8; k++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

/* word arithmetic and rotates (sllw, srlw, addw) */
static uint32_t murmur(const uint32_t *p, unsigned n)
{
	uint32_t h = 0x1234567;

	while (n--) {
		uint32_t k = *p++ * 0xcc9e2d51u;

		k = k << 15 | k >> 17;
		h ^= k * 0x1b873593u;
		h = h << 13 | h >> 19;
		h = h * 5 + 0xe6546b64u;
	}
	return h ^ h >> 16;
}

/* recursion and the stack */
static void quicksort(int64_t *a, int lo, int hi)
{
	while (lo < hi) {
		int64_t pivot = a[lo + (hi - lo) / 2];
		int i = lo, j = hi;

		while (i <= j) {
			while (a[i] < pivot)
				i++;
			while (a[j] > pivot)
				j--;
			if (i <= j) {
				int64_t t = a[i];

				a[i++] = a[j];
				a[j--] = t;
			}
		}
		quicksort(a, lo, j);
		lo = i;
	}
}

/* function pointers and a jump table */
typedef uint64_t (*binop)(uint64_t, uint64_t);

static uint64_t op_mulh(uint64_t a, uint64_t b)
{
	return (uint64_t)(((__int128)(int64_t)a * (int64_t)b) >> 64);
}

static uint64_t op_mulhu(uint64_t a, uint64_t b)
{
	return (uint64_t)(((unsigned __int128)a * b) >> 64);
}

static uint64_t op_mulhsu(uint64_t a, uint64_t b)
{
	return (uint64_t)(((__int128)(int64_t)a * (__int128)(unsigned __int128)b) >> 64);
}

static uint64_t op_div(uint64_t a, uint64_t b)
{
	return (uint64_t)((int64_t)a / ((int64_t)(b >> 7) + 1));
}

static uint64_t op_rem(uint64_t a, uint64_t b)
{
	return a % (b | 1);
}

static uint64_t op_div32(uint64_t a, uint64_t b)
{
	int32_t d = (int32_t)(b >> 40) | 1; /* positive: no overflow */

	return (uint64_t)((int64_t)((int32_t)(a >> 32) / d) * 3 + (int32_t)(a >> 31) % d);
}

static uint64_t op_udiv32(uint64_t a, uint64_t b)
{
	return (uint32_t)a / ((uint32_t)b | 1) + ((uint32_t)a % ((uint32_t)(b >> 20) | 1));
}

static uint64_t op_shift(uint64_t a, uint64_t b)
{
	return (uint64_t)((int64_t)a >> (b & 63)) + (a << (b >> 58)) +
	       (uint64_t)(int64_t)((int32_t)a >> (b & 31));
}

static uint64_t op_cmp(uint64_t a, uint64_t b)
{
	return (uint64_t)(a < b) << 3 | (uint64_t)((int64_t)a < (int64_t)b) << 2 |
	       (uint64_t)(a == b) << 1 | ((int32_t)a >= (int32_t)b);
}

static const binop ops[] = {op_mulh,  op_mulhu,  op_mulhsu, op_div, op_rem,
			    op_div32, op_udiv32, op_shift,  op_cmp};
#define NOPS (sizeof(ops) / sizeof(ops[0]))

static uint64_t arithmetic(void)
{
	uint64_t acc = 0;

	for (unsigned k = 0; k < 4000; k++) {
		uint64_t a = rng(), b = rng();

		/* small operands of either sign as well */
		if (k % 5 == 0)
			a = (uint64_t)((int64_t)a >> 56);
		if (k % 7 == 0)
			b = (uint64_t)((int64_t)b >> 60);
		acc = (acc << 7 | acc >> 57) ^ ops[k % NOPS](a, b);
	}
	return acc;
}

/* 128-bit division: libgcc's own code */
static uint64_t wide_division(void)
{
	unsigned __int128 acc = 0;

	for (int k = 0; k < 50; k++) {
		uint64_t hi = rng(), lo = rng();
		unsigned __int128 n = (unsigned __int128)hi << 64 | lo, d = rng() | 1;

		if (k & 1)
			d = d << (rng() & 63) | 1;
		acc += n / d ^ n % d;
	}
	return (uint64_t)acc ^ (uint64_t)(acc >> 64);
}

/* atomics, whatever their order */
static uint64_t atomics(void)
{
	static uint64_t word;
	static uint32_t half;
	uint64_t acc = 0;

	word = 5;
	half = 7;
	for (int k = 0; k < 200; k++) {
		uint64_t v = rng(), expect = k & 1 ? word : v;

		acc += __atomic_fetch_add(&word, v, __ATOMIC_SEQ_CST);
		acc ^= __atomic_fetch_xor(&half, (uint32_t)v, __ATOMIC_ACQUIRE);
		acc += __atomic_fetch_and(&half, (uint32_t)(v >> 8) | 0xff, __ATOMIC_RELEASE);
		acc ^= __atomic_fetch_or(&word, v << 32, __ATOMIC_RELAXED);
		acc += __atomic_exchange_n(&half, (uint32_t)(v >> 16), __ATOMIC_ACQ_REL);
		acc += __atomic_compare_exchange_n(&word, &expect, v, false, __ATOMIC_SEQ_CST,
						   __ATOMIC_SEQ_CST);
		acc ^= expect;
	}
	return acc + word + half;
}

/* halfword and byte accesses of either sign */
static uint64_t narrow(const void *data, unsigned n)
{
	const int8_t *b = data;
	const uint16_t *uh = data;
	const int16_t *sh = data;
	const int32_t *sw = data;
	uint64_t acc = 0;

	for (unsigned k = 0; k < n / 4; k++)
		acc = acc * 31 +
		      (uint64_t)((int64_t)b[4 * k + 1] * uh[2 * k] + sh[2 * k + 1] * 3 + sw[k]);
	return acc;
}

void rv_prog(struct rv_prog_result *r)
{
	static int64_t a[N];
	static uint64_t raw[N];
	uint64_t sum = 0;

	rng_state = 42;
	for (int k = 0; k < N; k++) {
		raw[k] = rng();
		a[k] = (int64_t)rng();
	}
	r->crc = crc32((const uint8_t *)raw, sizeof(raw));
	r->murmur = murmur((const uint32_t *)raw, sizeof(raw) / 4);
	quicksort(a, 0, N - 1);
	for (int k = 0; k < N; k++)
		sum = sum * 3 + (uint64_t)a[k];
	r->sorted = sum;
	r->arithmetic = arithmetic();
	r->wide_division = wide_division();
	r->atomics = atomics();
	r->narrow = narrow(raw, sizeof(raw));
	zw_sha256(raw, sizeof(raw), r->sha256);
}

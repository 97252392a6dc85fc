// SPDX-License-Identifier: MIT
/* Records made by hand, and every bit of theirs that can be set, against what they stand for. */
#include "llm_test.h"

#include <math.h>

#include "dequant.h"

#define ONE 0x3c00 /* 1 in binary16 */

static float out[256];

static void put_half(uint8_t *p, uint16_t h)
{
	p[0] = (uint8_t)h;
	p[1] = (uint8_t)(h >> 8);
}

/* One record, and nothing beyond its elements. */
static void dequant(uint32_t dtype, const uint8_t *p)
{
	unsigned int n = zw_dtype_block_elements(dtype);
	float more[512];

	for (int i = 0; i < 512; i++)
		more[i] = -77;
	llm_dequant(dtype, p, more, n);
	for (unsigned int i = n; i < 512; i++)
		assert_true(more[i] == -77);
	memcpy(out, more, sizeof(out));
}

static void test_f16(void **state)
{
	(void)state;
	for (uint32_t h = 0; h < 0x10000; h++) {
		int exp = h >> 10 & 31, man = h & 1023;
		double v = exp ? ldexp(1024 + man, exp - 25) : ldexp(man, -24);
		float f = llm_f16_value((uint16_t)h);

		if (exp == 31)
			assert_true(man ? isnan(f) : isinf(f));
		else
			assert_true((double)fabsf(f) == v);
		assert_int_equal(!!signbit(f), h >> 15);
	}
}

/* Nibble i of the 32 has value f(i): in the record's 16 bytes at q, low ones first. */
static void put_nibbles(uint8_t *q)
{
	for (int i = 0; i < 16; i++)
		q[i] = (uint8_t)(i | (15 - i) << 4);
}

static int nibble_of(int i)
{
	return i < 16 ? i : 31 - i;
}

static void test_32(void **state)
{
	uint8_t p[34];

	(void)state;
	put_half(p, 0xc000); /* -2 */
	put_nibbles(p + 2);
	dequant(ZW_DTYPE_Q4_0, p);
	for (int i = 0; i < 32; i++)
		assert_true(out[i] == -2 * (nibble_of(i) - 8));

	put_half(p + 2, 0x3800); /* 0.5 */
	put_nibbles(p + 4);
	dequant(ZW_DTYPE_Q4_1, p);
	for (int i = 0; i < 32; i++)
		assert_true((double)out[i] == -2 * nibble_of(i) + 0.5);

	/* Each fifth bit alone. */
	for (int bit = 0; bit < 32; bit++) {
		memset(p + 2, 0, 4);
		p[2 + bit / 8] = (uint8_t)(1 << bit % 8);
		put_nibbles(p + 6);
		dequant(ZW_DTYPE_Q5_0, p);
		for (int i = 0; i < 32; i++)
			assert_true(out[i] == -2 * (nibble_of(i) + 16 * (i == bit) - 16));
		put_half(p + 2, 0x3800);
		memset(p + 4, 0, 4);
		p[4 + bit / 8] = (uint8_t)(1 << bit % 8);
		put_nibbles(p + 8);
		dequant(ZW_DTYPE_Q5_1, p);
		for (int i = 0; i < 32; i++)
			assert_true((double)out[i] == -2 * (nibble_of(i) + 16 * (i == bit)) + 0.5);
	}

	put_half(p, 0x0001); /* the smallest subnormal */
	for (int i = 0; i < 32; i++)
		p[2 + i] = (uint8_t)(i * 8 - 128);
	dequant(ZW_DTYPE_Q8_0, p);
	for (int i = 0; i < 32; i++)
		assert_true(out[i] == ldexpf((float)(i * 8 - 128), -24));
}

static void test_mxfp4(void **state)
{
	static const float values[] = {0,   0.5,  1,  1.5,  2,  3,  4,  6,
				       -0., -0.5, -1, -1.5, -2, -3, -4, -6};
	uint8_t p[17];

	(void)state;
	put_nibbles(p + 1);
	for (int e = 0; e < 255; e++) {
		p[0] = (uint8_t)e;
		dequant(ZW_DTYPE_MXFP4, p);
		for (int i = 0; i < 32; i++) {
			assert_true(out[i] == (float)ldexp((double)values[nibble_of(i)], e - 127));
			assert_int_equal(!!signbit(out[i]), nibble_of(i) >= 8);
		}
	}
	p[0] = 255;
	dequant(ZW_DTYPE_MXFP4, p);
	for (int i = 0; i < 32; i++)
		assert_true(isnan(out[i]));
}

/* The numbers of a record of 256, and where their bits are. */
struct field {
	uint32_t dtype;
	int (*at)(int e,
		  int bit); /* byte * 8 + bit of the record that holds bit `bit` of element e */
	int bits;
	int zero;                   /* n of a record of zeroes stands for this */
	void (*scales)(uint8_t *p); /* makes d * scale 1 everywhere and minima 0 */
};

static int q2_at(int e, int bit)
{
	return (16 + 32 * (e / 128) + e % 32) * 8 + 2 * (e % 128 / 32) + bit;
}

static void q2_scales(uint8_t *p)
{
	memset(p, 1, 16);
	put_half(p + 80, ONE);
	put_half(p + 82, ONE);
}

static int q3_at(int e, int bit)
{
	if (bit == 2)
		return e % 32 * 8 + e / 32;
	return (32 + 32 * (e / 128) + e % 32) * 8 + 2 * (e % 128 / 32) + bit;
}

/* 33 = 1 + 2 * 16: low nibbles 1, high pairs 2. */
static void q3_scales(uint8_t *p)
{
	memset(p + 96, 0x11, 8);
	memset(p + 104, 0xaa, 4);
	put_half(p + 108, ONE);
}

static void k_scales(uint8_t *p)
{
	put_half(p, ONE);
	put_half(p + 2, ONE);
	memset(p + 4, 0, 12);
	for (int g = 0; g < 4; g++) {
		p[4 + g] = 1;     /* of groups 0 to 3 */
		p[4 + 8 + g] = 1; /* of groups 4 to 7, with minima 0 */
	}
}

static int q4_at(int e, int bit)
{
	return (16 + 32 * (e / 64) + e % 32) * 8 + 4 * (e / 32 % 2) + bit;
}

static int q5_at(int e, int bit)
{
	if (bit == 4)
		return (16 + e % 32) * 8 + e / 32;
	return (48 + 32 * (e / 64) + e % 32) * 8 + 4 * (e / 32 % 2) + bit;
}

static int q6_at(int e, int bit)
{
	int b = e % 128 / 32;

	if (bit >= 4)
		return (128 + 32 * (e / 128) + e % 32) * 8 + 2 * b + bit - 4;
	return (64 * (e / 128) + 32 * (b % 2) + e % 32) * 8 + 4 * (b / 2) + bit;
}

static void q6_scales(uint8_t *p)
{
	memset(p + 192, 1, 16);
	put_half(p + 208, ONE);
}

static const struct field fields[] = {
	{ZW_DTYPE_Q2_K, q2_at, 2, 0, q2_scales},   {ZW_DTYPE_Q3_K, q3_at, 3, -4, q3_scales},
	{ZW_DTYPE_Q4_K, q4_at, 4, 0, k_scales},    {ZW_DTYPE_Q5_K, q5_at, 5, 0, k_scales},
	{ZW_DTYPE_Q6_K, q6_at, 6, -32, q6_scales},
};

/* Every bit of every number, one at a time: it moves its element and no other. */
static void test_numbers(void **state)
{
	uint8_t p[256];

	(void)state;
	for (size_t f = 0; f < sizeof(fields) / sizeof(fields[0]); f++) {
		const struct field *k = &fields[f];

		for (int e = 0; e < 256; e++) {
			for (int bit = 0; bit < k->bits; bit++) {
				int at = k->at(e, bit);

				memset(p, 0, sizeof(p));
				k->scales(p);
				p[at / 8] |= (uint8_t)(1 << at % 8);
				dequant(k->dtype, p);
				for (int i = 0; i < 256; i++)
					assert_true(out[i] == k->zero + (i == e ? 1 << bit : 0));
			}
		}
	}
}

/* Scales and minima of the groups, by their definition: all numbers are 1. */
static void test_k_scales(void **state)
{
	uint8_t p[256];

	(void)state;
	for (int five = 0; five < 2; five++) {
		uint32_t dtype = five ? ZW_DTYPE_Q5_K : ZW_DTYPE_Q4_K;

		for (int g = 0; g < 8; g++) {
			for (int v = 1; v < 64; v++) {
				int m = 63 - v;

				memset(p, 0, sizeof(p));
				put_half(p, ONE);
				put_half(p + 2, ONE);
				memset(p + (five ? 48 : 16), 0x11, 128);
				if (g < 4) {
					p[4 + g] = (uint8_t)v;
					p[8 + g] = (uint8_t)m;
				} else {
					p[4 + g + 4] = (uint8_t)((v & 15) | (m & 15) << 4);
					p[4 + g - 4] = (uint8_t)(v >> 4 << 6);
					p[4 + g] = (uint8_t)(m >> 4 << 6);
				}
				dequant(dtype, p);
				for (int i = 0; i < 256; i++)
					assert_true(out[i] == (i / 32 == g ? v - m : 0));
			}
		}
	}
	for (int g = 0; g < 16; g++) {
		for (int v = -128; v < 128; v++) {
			memset(p, 0, sizeof(p));
			p[192 + g] = (uint8_t)v;
			put_half(p + 208, 0x4000); /* 2 */
			dequant(ZW_DTYPE_Q6_K, p);
			for (int i = 0; i < 256; i++)
				assert_true(out[i] == (i / 16 == g ? 2 * v * -32 : 0));
		}
		for (int v = 0; v < 64; v++) {
			int h = 8 + g % 4, shift = 2 * (g / 4);

			memset(p, 0, sizeof(p));
			/* 32, which stands for 0, in the others. */
			memset(p + 104, 0xaa, 4);
			p[96 + (g < 8 ? g : g - 8)] |= (uint8_t)((v & 15) << (g < 8 ? 0 : 4));
			p[96 + h] = (uint8_t)((p[96 + h] & ~(3 << shift)) | v >> 4 << shift);
			put_half(p + 108, ONE);
			dequant(ZW_DTYPE_Q3_K, p);
			for (int i = 0; i < 256; i++)
				assert_true(out[i] == (i / 16 == g ? (v - 32) * -4 : 0));
		}
		for (int v = 0; v < 256; v++) {
			memset(p, 0, sizeof(p));
			p[g] = (uint8_t)v;
			memset(p + 16, 0x55, 64); /* ones */
			put_half(p + 80, ONE);
			put_half(p + 82, 0x4000);
			dequant(ZW_DTYPE_Q2_K, p);
			for (int i = 0; i < 256; i++)
				assert_true(out[i] == (i / 16 == g ? (v & 15) - 2 * (v >> 4) : 0));
		}
	}
}

/* The one rounding: of the difference, not of the products. */
static void test_rounding(void **state)
{
	uint8_t p[256] = {0};

	(void)state;
	put_half(p, 0x3fff);     /* 2047 / 1024 */
	put_half(p + 2, 0x0401); /* 1025 * 2^-24 */
	p[4] = p[8] = 63;
	memset(p + 16, 0x0f, 32);
	dequant(ZW_DTYPE_Q4_K, p);
	for (int i = 0; i < 32; i++)
		assert_true(out[i] == (float)(2047.0 / 1024 * (63 * 15) - ldexp(1025, -24) * 63));
	put_half(p, 0x3555); /* 1365 / 4096 */
	put_half(p + 2, 0x6bff);
	memset(p + 4, 0xff, 16);
	dequant(ZW_DTYPE_Q4_1, p);
	for (int i = 0; i < 32; i++)
		assert_true(out[i] == (float)(1365.0 / 4096 * 15 + (double)llm_f16_value(0x6bff)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_f16),      cmocka_unit_test(test_32),
		cmocka_unit_test(test_mxfp4),    cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_k_scales), cmocka_unit_test(test_rounding),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

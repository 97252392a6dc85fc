// SPDX-License-Identifier: MIT
/* FIPS 180-4, sections 4.1.2, 5 and 6.2; the names of variables are those of the standard. */
#include <string.h>
#include "zw_sha256.h"

static const uint32_t K[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
	0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
	0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
	0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2,
};

static uint32_t ror(uint32_t x, unsigned n)
{
	return x >> n | x << (32 - n);
}

static uint32_t from_be32(uint32_t v)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return __builtin_bswap32(v);
#else
	return v;
#endif
}

static void store_be32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

static uint32_t sum0(uint32_t x)
{
	return ror(x, 2) ^ ror(x, 13) ^ ror(x, 22);
}

static uint32_t sum1(uint32_t x)
{
	return ror(x, 6) ^ ror(x, 11) ^ ror(x, 25);
}

static uint32_t sigma0(uint32_t x)
{
	return ror(x, 7) ^ ror(x, 18) ^ x >> 3;
}

static uint32_t sigma1(uint32_t x)
{
	return ror(x, 17) ^ ror(x, 19) ^ x >> 10;
}

/*
 * Rounds are written out, so that each index is a constant: the last 16 words of the schedule and the
 * working variables, which change names instead of places, are variables of their own then. To the
 * compiler that is no gain over loops; sanitizers, which look at every access to an array, take three
 * times as long over those.
 */
#define SCHEDULE(t)                                                                                \
	(w[(t) % 16] = (t) < 16 ? from_be32(w[(t) % 16])                                           \
				: sigma1(w[((t) + 14) % 16]) + w[((t) + 9) % 16] +                 \
					  sigma0(w[((t) + 1) % 16]) + w[(t) % 16])

#define ROUND(a, b, c, d, e, f, g, h, t)                                                           \
	do {                                                                                       \
		uint32_t t1 = h + sum1(e) + ((e & f) ^ (~e & g)) + K[t] + SCHEDULE(t);             \
                                                                                                   \
		d += t1;                                                                           \
		h = t1 + sum0(a) + ((a & b) ^ (a & c) ^ (b & c));                                  \
	} while (0)

#define EIGHT_ROUNDS(t)                                                                            \
	do {                                                                                       \
		ROUND(a, b, c, d, e, f, g, h, (t));                                                \
		ROUND(h, a, b, c, d, e, f, g, (t) + 1);                                            \
		ROUND(g, h, a, b, c, d, e, f, (t) + 2);                                            \
		ROUND(f, g, h, a, b, c, d, e, (t) + 3);                                            \
		ROUND(e, f, g, h, a, b, c, d, (t) + 4);                                            \
		ROUND(d, e, f, g, h, a, b, c, (t) + 5);                                            \
		ROUND(c, d, e, f, g, h, a, b, (t) + 6);                                            \
		ROUND(b, c, d, e, f, g, h, a, (t) + 7);                                            \
	} while (0)

static void compress(uint32_t hash[8], const uint8_t *block)
{
	uint32_t a = hash[0], b = hash[1], c = hash[2], d = hash[3];
	uint32_t e = hash[4], f = hash[5], g = hash[6], h = hash[7];
	uint32_t w[16];

	memcpy(w, block, sizeof(w));
	EIGHT_ROUNDS(0);
	EIGHT_ROUNDS(8);
	EIGHT_ROUNDS(16);
	EIGHT_ROUNDS(24);
	EIGHT_ROUNDS(32);
	EIGHT_ROUNDS(40);
	EIGHT_ROUNDS(48);
	EIGHT_ROUNDS(56);
	hash[0] += a;
	hash[1] += b;
	hash[2] += c;
	hash[3] += d;
	hash[4] += e;
	hash[5] += f;
	hash[6] += g;
	hash[7] += h;
}

void zw_sha256_init(struct zw_sha256_ctx *ctx)
{
	static const uint32_t h0[8] = {
		0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
		0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
	};

	memcpy(ctx->h, h0, sizeof(ctx->h));
	ctx->len = 0;
}

void zw_sha256_update(struct zw_sha256_ctx *ctx, const void *data, size_t len)
{
	const uint8_t *p = data;
	size_t fill = ctx->len % 64;

	if (!len)
		return;
	ctx->len += len;
	if (fill) {
		size_t n = 64 - fill < len ? 64 - fill : len;

		memcpy(ctx->block + fill, p, n);
		p += n;
		len -= n;
		if (fill + n < 64)
			return;
		compress(ctx->h, ctx->block);
	}
	for (; len >= 64; p += 64, len -= 64)
		compress(ctx->h, p);
	if (len)
		memcpy(ctx->block, p, len);
}

void zw_sha256_final(struct zw_sha256_ctx *ctx, uint8_t digest[ZW_SHA256_SIZE])
{
	uint64_t bits = ctx->len * 8;
	size_t fill = ctx->len % 64;

	ctx->block[fill++] = 0x80;
	if (fill > 56) {
		memset(ctx->block + fill, 0, 64 - fill);
		compress(ctx->h, ctx->block);
		fill = 0;
	}
	memset(ctx->block + fill, 0, 56 - fill);
	store_be32(ctx->block + 56, (uint32_t)(bits >> 32));
	store_be32(ctx->block + 60, (uint32_t)bits);
	compress(ctx->h, ctx->block);
	for (int i = 0; i < 8; i++)
		store_be32(digest + 4 * i, ctx->h[i]);
}

void zw_sha256(const void *data, size_t len, uint8_t digest[ZW_SHA256_SIZE])
{
	struct zw_sha256_ctx ctx;

	zw_sha256_init(&ctx);
	zw_sha256_update(&ctx, data, len);
	zw_sha256_final(&ctx, digest);
}

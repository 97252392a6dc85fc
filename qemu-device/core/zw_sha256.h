/* SPDX-License-Identifier: MIT */
/*
 * SHA-256 (FIPS 180-4), for the boot ROM's check of the firmware image. In-tree because the device
 * core depends on nothing; it guards against corruption and mix-ups, no secrets pass through it.
 *
 * Thread safety: a context belongs to one thread at a time; zw_sha256() may be called from any.
 */
#ifndef ZW_SHA256_H
#define ZW_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define ZW_SHA256_SIZE 32

struct zw_sha256_ctx {
	uint32_t h[8];
	uint64_t len; /* bytes so far */
	uint8_t block[64];
};

void zw_sha256_init(struct zw_sha256_ctx *ctx);
void zw_sha256_update(struct zw_sha256_ctx *ctx, const void *data, size_t len);
/* The context is used up; initialise it again before another use. */
void zw_sha256_final(struct zw_sha256_ctx *ctx, uint8_t digest[ZW_SHA256_SIZE]);

/* All of the above at once. */
void zw_sha256(const void *data, size_t len, uint8_t digest[ZW_SHA256_SIZE]);

#endif

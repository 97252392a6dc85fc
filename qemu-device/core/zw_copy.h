/* SPDX-License-Identifier: MIT */
/*
 * Copies from and to memory that the other side of the bus uses at the same time. A bus moves
 * naturally aligned words whole, and the words that carry a protocol (semaphores, sequence numbers,
 * tails) are polled: words of 4 and 8 bytes are loaded with acquire and stored with release order, so
 * that whoever sees one sees what was written before it. The rest is plain bytes in no order.
 */
#ifndef ZW_COPY_H
#define ZW_COPY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline void zw_copy_from(void *dst, const void *src, size_t len)
{
	if (len == 8 && !((uintptr_t)src % 8)) {
		uint64_t v = __atomic_load_n((const uint64_t *)src, __ATOMIC_ACQUIRE);

		memcpy(dst, &v, 8);
	} else if (len == 4 && !((uintptr_t)src % 4)) {
		uint32_t v = __atomic_load_n((const uint32_t *)src, __ATOMIC_ACQUIRE);

		memcpy(dst, &v, 4);
	} else {
		memcpy(dst, src, len);
	}
}

static inline void zw_copy_to(void *dst, const void *src, size_t len)
{
	if (len == 8 && !((uintptr_t)dst % 8)) {
		uint64_t v;

		memcpy(&v, src, 8);
		__atomic_store_n((uint64_t *)dst, v, __ATOMIC_RELEASE);
	} else if (len == 4 && !((uintptr_t)dst % 4)) {
		uint32_t v;

		memcpy(&v, src, 4);
		__atomic_store_n((uint32_t *)dst, v, __ATOMIC_RELEASE);
	} else {
		memcpy(dst, src, len);
	}
}

#endif

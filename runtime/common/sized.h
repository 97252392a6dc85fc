/* SPDX-License-Identifier: MIT */
/*
 * Structures that start with their own size, as they cross the ABI of the libraries: the rules of
 * the kernel's copy_struct_from_user() and copy_struct_to_user(), one set for both libraries.
 *
 *  - A size below that of the structure's first version, or over a page, is no size: -EINVAL,
 *    -E2BIG.
 *  - In: what a shorter caller does not have is zero; a longer one is accepted when what this
 *    library does not know is zero, else -E2BIG.
 *  - Out: a shorter caller gets its part; what a longer one has beyond is zeroed. `size` then says
 *    how much the library filled in.
 */
#ifndef ZW_SIZED_H
#define ZW_SIZED_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SIZED_MAX 4096u

/* Size of the first version of a structure, whose last member is named. */
#define SIZED_V0(type, last) (offsetof(type, last) + sizeof(((type *)0)->last))

static inline int sized_check(uint32_t size, size_t v0)
{
	if (size < v0)
		return -EINVAL;
	return size > SIZED_MAX ? -E2BIG : 0;
}

/* Copies a caller's structure into the library's, of `known` bytes. Nothing is written on failure. */
static inline int sized_in(void *dst, size_t known, size_t v0, const void *src)
{
	const uint8_t *bytes = (const uint8_t *)src;
	uint32_t size;
	int ret;

	memcpy(&size, src, sizeof(size));
	ret = sized_check(size, v0);
	if (ret)
		return ret;
	for (size_t i = known; i < size; i++)
		if (bytes[i])
			return -E2BIG;
	memset(dst, 0, known);
	memcpy(dst, src, size < known ? size : known);
	return 0;
}

/* Copies the library's structure of `known` bytes to the caller's. Nothing is written on failure. */
static inline int sized_out(void *dst, size_t v0, const void *src, size_t known)
{
	uint32_t size, filled;
	int ret;

	memcpy(&size, dst, sizeof(size));
	ret = sized_check(size, v0);
	if (ret)
		return ret;
	filled = size < known ? size : (uint32_t)known;
	memset(dst, 0, size);
	memcpy(dst, src, filled);
	memcpy(dst, &filled, sizeof(filled));
	return 0;
}

#endif /* ZW_SIZED_H */

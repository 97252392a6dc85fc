/* SPDX-License-Identifier: MIT */
/*
 * Which pages of a private anonymous mapping have contents. Whoever copies 96 GiB of which little
 * was written must not read all of it.
 */
#ifndef ZW_PRESENT_H
#define ZW_PRESENT_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Finds the first range of host pages at or behind *off that may have contents, in memory or in
 * swap; all others read as zero. base is page aligned. False: there is none. True: *off is its
 * start and *end its end, both multiples of 4096 and at most size. Where the host does not tell,
 * everything may have contents. Thread safe; of pages that are written meanwhile either may be said.
 */
bool zw_present_range(const void *base, uint64_t size, uint64_t *off, uint64_t *end);

#endif

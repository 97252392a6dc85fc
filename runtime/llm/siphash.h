/* SPDX-License-Identifier: MIT */
/* SipHash-2-4 (Aumasson, Bernstein 2012): a hash whose collisions cannot be chosen without the key. */
#ifndef ZW_LLM_SIPHASH_H
#define ZW_LLM_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t siphash(const uint64_t key[2], const void *data, size_t len);

#endif

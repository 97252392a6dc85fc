/* SPDX-License-Identifier: MIT */
/* Private to zw_profile.c and zw_profile_parse.c. */
#ifndef ZW_PROFILE_INT_H
#define ZW_PROFILE_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct zw_profile_key {
	const char *name;
	size_t offset; /* in struct zw_profile */
	bool wide;     /* uint64_t, else uint32_t */
	uint64_t min, max;
};

/* NULL behind the last. */
const struct zw_profile_key *zw_profile_key_at(size_t i);

#endif /* ZW_PROFILE_INT_H */

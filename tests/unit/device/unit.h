/* SPDX-License-Identifier: MIT */
#ifndef ZW_TEST_UNIT_H
#define ZW_TEST_UNIT_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define TIB (UINT64_C(1) << 40)

/* Waits until cond holds; a test that would wait for ever fails instead. The machine may be busy. */
#define WAIT_FOR(cond)                                                                             \
	do {                                                                                       \
		const struct timespec nap = {.tv_nsec = 200000};                                   \
		time_t end = time(NULL) + 20;                                                      \
                                                                                                   \
		while (!(cond)) {                                                                  \
			if (time(NULL) > end)                                                      \
				fail_msg("never came true: %s", #cond);                            \
			nanosleep(&nap, NULL);                                                     \
		}                                                                                  \
	} while (0)

/* Same sequence on every host. */
static inline uint64_t test_rand(uint64_t *s)
{
	uint64_t z = (*s += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

#endif

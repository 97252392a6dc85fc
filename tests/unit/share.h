/* SPDX-License-Identifier: MIT */
/* What a build with sanitizers runs of many cases of one kind (Documentation/testing.md, "Shares"). */
#ifndef TEST_SHARE_H
#define TEST_SHARE_H

#include <stdlib.h>

/* Case @i of many that take the same code: true for one of $ZW_TEST_SHARE, for all without it. */
static inline int in_share(unsigned long i)
{
	const char *text = getenv("ZW_TEST_SHARE");
	unsigned long n = text ? strtoul(text, NULL, 10) : 1;

	return !n || i % n == 0;
}

/* Of @n rounds that differ in chance alone, at least one. */
static inline unsigned int share_of(unsigned int n)
{
	const char *text = getenv("ZW_TEST_SHARE");
	unsigned long of = text ? strtoul(text, NULL, 10) : 1;

	return of > n ? 1 : of ? n / (unsigned int)of : n;
}

#endif /* TEST_SHARE_H */

/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "zw_present.h"

/*
 * Not mincore(): that calls a page which was swapped out absent, and its contents would be lost.
 * Both ways here go by /proc/self/pagemap.
 */

/* -- Linux 6.7: asks for ranges, and the kernel steps over what has no page tables -- */

/* <linux/fs.h>, which is older on many hosts */
struct region {
	uint64_t start, end, categories;
};

struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define SCAN            _IOWR('f', 16, struct scan_arg)
#define PAGE_IS_PRESENT (1u << 3)
#define PAGE_IS_SWAPPED (1u << 4)

/* 1: found; 0: there is none; -1: the kernel does not know this. */
static int scan(int fd, uint64_t from, uint64_t to, struct region *found)
{
	struct scan_arg arg = {.size = sizeof(arg),
			       .start = from,
			       .end = to,
			       .vec = (uintptr_t)found,
			       .vec_len = 1,
			       .category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED};

	return ioctl(fd, SCAN, &arg);
}

/* -- before: 64 bits a page, of which bit 63 is present and bit 62 swapped -- */

#define PRESENT (UINT64_C(3) << 62)
#define ENTRIES 4096

/* The same, by page number; -1: it cannot be read. */
static int read_map(int fd, uint64_t from, uint64_t to, struct region *found)
{
	uint64_t vec[ENTRIES];
	bool inside = false;

	for (uint64_t at = from; at < to;) {
		uint64_t n = to - at < ENTRIES ? to - at : ENTRIES;
		ssize_t got = pread(fd, vec, n * sizeof(vec[0]), (off_t)(at * sizeof(vec[0])));

		if (got < (ssize_t)sizeof(vec[0]))
			return -1;
		n = (uint64_t)got / sizeof(vec[0]);
		for (uint64_t i = 0; i < n; i++, at++) {
			if (!(vec[i] & PRESENT) == !inside)
				continue;
			found->end = at;
			if (inside)
				return 1;
			found->start = at;
			inside = true;
		}
	}
	found->end = to;
	return inside;
}

bool zw_present_range(const void *base, uint64_t size, uint64_t *off, uint64_t *end)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), first = (uintptr_t)base;
	uint64_t at = *off & ~(page - 1);
	struct region r = {0};
	int fd, ret;

	if (*off >= size)
		return false;
	*end = size;
	/* What lies across host pages is not worth the trouble. */
	if (first % page)
		return true;
	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return true;
	ret = scan(fd, first + at, first + size, &r);
	if (ret < 0) {
		ret = read_map(fd, (first + at) / page, (first + size + page - 1) / page, &r);
		r.start *= page;
		r.end *= page;
	}
	close(fd);
	if (ret <= 0)
		return ret < 0;
	if (r.start - first > *off)
		*off = r.start - first;
	if (r.end - first < size)
		*end = r.end - first;
	return *off < size;
}

/* SPDX-License-Identifier: MIT */
/**
 * @file
 * libzhenwu: what every header of it shares.
 *
 * Conventions of the library
 *  - Functions return 0 (or a count, where said) on success and a negative errno on failure; errno
 *    itself carries nothing. No function aborts, prints, or installs handlers. There are no
 *    globals: everything hangs off a struct zw_dev.
 *  - Codes used everywhere: -EINVAL bad argument; -ENOMEM out of host or device memory; -ENODEV the
 *    device is lost; -EIO a job failed, or the device broke its protocol; -ETIME a deadline passed.
 *  - Handles are opaque. Whoever creates one destroys it; children go before their parents (bo, vm,
 *    queue, fence before dev; queue before vm). Destroying NULL does nothing.
 *  - A structure that crosses the ABI starts with `size`, which the caller sets to sizeof(). In:
 *    what a shorter one does not have counts as zero, and a longer one from a newer caller is
 *    accepted when the unknown tail is zero (-E2BIG otherwise). Out: it is filled up to that size,
 *    a tail the library does not know is zeroed, and `size` says how much was filled in. A size
 *    below that of the structure's first version is -EINVAL, one over 4096 -E2BIG. Reserved fields
 *    and unknown flags must be zero (-EINVAL). No such structure is a member of another.
 *  - Thread safety is stated per function. "Thread safe" means: on the same object, from any number
 *    of threads, except against its destruction.
 *  - Deadlines are absolute CLOCK_MONOTONIC nanoseconds, so an interrupted wait can be repeated as
 *    it is; 0 polls, ZW_FOREVER never expires. The device may be an emulator: pick them generously.
 */
#ifndef ZHENWU_BASE_H
#define ZHENWU_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define ZW_API __attribute__((visibility("default")))
#else
#define ZW_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define ZW_VERSION_MAJOR 0
#define ZW_VERSION_MINOR 1
#define ZW_VERSION_PATCH 0
#define ZW_VERSION       ((ZW_VERSION_MAJOR << 16) | (ZW_VERSION_MINOR << 8) | ZW_VERSION_PATCH)

/** Version of the library that runs, (major << 16) | (minor << 8) | patch. Thread safe. */
ZW_API uint32_t zw_version(void);

/** What went wrong, as one line for people. Always NUL-terminated; longer text is cut. */
struct zw_error {
	char msg[256];
};

/** A deadline that never expires. */
#define ZW_FOREVER INT64_MAX

/** The deadline `ns` nanoseconds from now; saturates. Thread safe. */
ZW_API int64_t zw_deadline(int64_t ns);

/** The deadline `ms` milliseconds from now. Thread safe. */
static inline int64_t zw_deadline_ms(uint32_t ms)
{
	return zw_deadline((int64_t)ms * 1000000);
}

#ifdef __cplusplus
}
#endif

#endif /* ZHENWU_BASE_H */

/* SPDX-License-Identifier: MIT */
/*
 * The stream of zw_device_save(). One description of the state serves both directions: every
 * zw_state_*() writes what it points to when saving, and fills it when loading. Little endian.
 *
 * A stream is a header (magic, version), sections and a SHA-256 of all before it. A section is a
 * 32-bit name of four letters, a 64-bit length and that many bytes; all sections are there, in one
 * order. The digest finds damage. It proves nothing about who made the stream, so whoever loads
 * checks every value that the device will trust.
 *
 * The first error sticks, with its text; after it loads give zeroes and saves nothing. One thread.
 */
#ifndef ZW_STATE_H
#define ZW_STATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ZW_STATE_MAGIC   UINT64_C(0x004554415453575a) /* "ZWSTATE" */
#define ZW_STATE_VERSION 9u

struct zw_state {
	bool loading;
	int err; /* negative errno of the first error */
	char *msg;
	size_t msg_len;
	const char *section; /* that is open, for messages */
	size_t end;          /* of it: loading */
	size_t at;           /* loading: next byte; saving: where the open section began */
	size_t len;
	const uint8_t *in;
	uint8_t *out; /* owned until zw_state_finish() */
	size_t cap;
};

/*
 * A struct that is part of the state changed: is its new member? Then it goes into the stream, and
 * ZW_STATE_VERSION goes up; if not, the size here is all there is to change. Sizes are those of one
 * kind of host only, which is enough to notice.
 */
#if defined(__x86_64__) && defined(__linux__)
#define ZW_STATE_SIZE(size, was)                                                                   \
	_Static_assert((size) == (was), "saved state: a struct changed, see zw_state.h")
#else
#define ZW_STATE_SIZE(size, was) _Static_assert(1, "")
#endif

void zw_state_save_begin(struct zw_state *st, char *msg, size_t msg_len);
/* Checks header and digest. The bytes have to stay until the end. */
void zw_state_load_begin(struct zw_state *st, const void *buf, size_t len, char *msg,
			 size_t msg_len);
/* 0 and the stream (the caller frees it), or -errno. */
int zw_state_save_end(struct zw_state *st, void **buf, size_t *len);
/* 0, or -errno: also when something is left. */
int zw_state_load_end(struct zw_state *st);

/* name: four letters, a literal. */
void zw_state_section(struct zw_state *st, const char *name);
void zw_state_section_end(struct zw_state *st);

/* The stream cannot be loaded; the text follows the section's name. */
__attribute__((format(printf, 2, 3))) void zw_state_bad(struct zw_state *st, const char *fmt, ...);
/* The same, or a save that fails, with another -errno. */
__attribute__((format(printf, 3, 4))) void zw_state_fail(struct zw_state *st, int err,
							 const char *fmt, ...);
/* zw_state_bad() unless ok, when loading. Returns whether all was well so far. */
bool zw_state_check(struct zw_state *st, bool ok, const char *what);

void zw_state_bytes(struct zw_state *st, void *p, size_t len);
void zw_state_u64(struct zw_state *st, uint64_t *v);
void zw_state_u32(struct zw_state *st, uint32_t *v);
void zw_state_bool(struct zw_state *st, bool *v);
void zw_state_atomic64(struct zw_state *st, _Atomic uint64_t *v);
void zw_state_atomic32(struct zw_state *st, _Atomic uint32_t *v);
/* A value that has to be the same on both sides. */
void zw_state_same(struct zw_state *st, uint64_t v, const char *what);

/*
 * Memory of `size` bytes, a multiple of 4096: only pages that are not zero are in the stream.
 * Loading: the memory is zero before.
 */
void zw_state_pages(struct zw_state *st, uint8_t *base, uint64_t size);

#endif /* ZW_STATE_H */

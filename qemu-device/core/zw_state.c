/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "zhenwu/zw_pte.h"
#include "zw_present.h"
#include "zw_sha256.h"
#include "zw_state.h"

#define HEADER  16
#define NO_PAGE UINT64_MAX

static void fail(struct zw_state *st, int err, const char *fmt, va_list ap)
{
	int n = 0;

	if (st->err)
		return;
	st->err = err;
	if (!st->msg_len)
		return;
	if (st->section)
		n = snprintf(st->msg, st->msg_len, "section %s: ", st->section);
	if (n >= 0 && (size_t)n < st->msg_len)
		vsnprintf(st->msg + n, st->msg_len - (size_t)n, fmt, ap);
}

void zw_state_bad(struct zw_state *st, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fail(st, -EINVAL, fmt, ap);
	va_end(ap);
}

void zw_state_fail(struct zw_state *st, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fail(st, err, fmt, ap);
	va_end(ap);
}

bool zw_state_check(struct zw_state *st, bool ok, const char *what)
{
	if (st->loading && !st->err && !ok)
		zw_state_bad(st, "%s", what);
	return !st->err;
}

/* -- bytes -- */

static void write_bytes(struct zw_state *st, const void *p, size_t len)
{
	if (st->err)
		return;
	if (len > st->cap - st->len) {
		size_t cap = st->cap * 2 > st->len + len ? st->cap * 2 : st->len + len;
		uint8_t *out = realloc(st->out, cap);

		if (!out) {
			zw_state_fail(st, -ENOMEM, "no memory for %zu bytes of state", cap);
			return;
		}
		st->out = out;
		st->cap = cap;
	}
	memcpy(st->out + st->len, p, len);
	st->len += len;
}

static void read_bytes(struct zw_state *st, void *p, size_t len)
{
	if (!st->err && len > st->end - st->at)
		zw_state_bad(st, "ends too early");
	if (st->err) {
		memset(p, 0, len);
		return;
	}
	memcpy(p, st->in + st->at, len);
	st->at += len;
}

void zw_state_bytes(struct zw_state *st, void *p, size_t len)
{
	if (!len)
		return;
	if (st->loading)
		read_bytes(st, p, len);
	else
		write_bytes(st, p, len);
}

static void put(uint8_t *b, uint64_t v, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		b[i] = (uint8_t)(v >> 8 * i);
}

static uint64_t get(const uint8_t *b, unsigned int n)
{
	uint64_t v = 0;

	for (unsigned int i = 0; i < n; i++)
		v |= (uint64_t)b[i] << 8 * i;
	return v;
}

static uint64_t word(struct zw_state *st, uint64_t v, unsigned int n)
{
	uint8_t b[8];

	put(b, v, n);
	zw_state_bytes(st, b, n);
	return get(b, n);
}

void zw_state_u64(struct zw_state *st, uint64_t *v)
{
	*v = word(st, *v, 8);
}

void zw_state_u32(struct zw_state *st, uint32_t *v)
{
	*v = (uint32_t)word(st, *v, 4);
}

void zw_state_bool(struct zw_state *st, bool *v)
{
	uint64_t b = word(st, *v, 1);

	zw_state_check(st, b <= 1, "a flag is neither 0 nor 1");
	*v = b == 1;
}

void zw_state_atomic64(struct zw_state *st, _Atomic uint64_t *v)
{
	uint64_t val = word(st, atomic_load(v), 8);

	if (st->loading)
		atomic_store(v, val);
}

void zw_state_atomic32(struct zw_state *st, _Atomic uint32_t *v)
{
	uint64_t val = word(st, atomic_load(v), 4);

	if (st->loading)
		atomic_store(v, (uint32_t)val);
}

void zw_state_same(struct zw_state *st, uint64_t v, const char *what)
{
	uint64_t was = word(st, v, 8);

	if (!st->err && was != v)
		zw_state_bad(st, "%s is %llu in the saved state and %llu here", what,
			     (unsigned long long)was, (unsigned long long)v);
}

static bool is_zero(const uint8_t *p)
{
	return !*p && !memcmp(p, p + 1, ZW_PAGE_SIZE - 1);
}

static void save_pages(struct zw_state *st, uint8_t *base, uint64_t size)
{
	uint64_t none = NO_PAGE, off = 0, end;

	while (zw_present_range(base, size, &off, &end)) {
		for (; off < end; off += ZW_PAGE_SIZE) {
			uint64_t page = off / ZW_PAGE_SIZE;

			if (is_zero(base + off))
				continue;
			zw_state_u64(st, &page);
			write_bytes(st, base + off, ZW_PAGE_SIZE);
		}
	}
	zw_state_u64(st, &none);
}

void zw_state_pages(struct zw_state *st, uint8_t *base, uint64_t size)
{
	uint64_t next = 0, page = 0;

	if (!st->loading) {
		save_pages(st, base, size);
		return;
	}
	for (;;) {
		zw_state_u64(st, &page);
		if (st->err || page == NO_PAGE)
			return;
		if (!zw_state_check(st, page >= next && page < size / ZW_PAGE_SIZE,
				    "a page is out of place"))
			return;
		read_bytes(st, base + page * ZW_PAGE_SIZE, ZW_PAGE_SIZE);
		next = page + 1;
	}
}

/* -- sections -- */

void zw_state_section(struct zw_state *st, const char *name)
{
	uint8_t tag[4];
	uint64_t len = 0;

	st->section = name;
	memcpy(tag, name, 4);
	st->end = st->len;
	zw_state_bytes(st, tag, 4);
	if (!st->loading)
		st->at = st->len;
	zw_state_u64(st, &len);
	if (!zw_state_check(st, !memcmp(tag, name, 4), "is not where it should be") ||
	    !zw_state_check(st, len <= st->len - st->at, "is longer than the stream"))
		return;
	if (st->loading)
		st->end = st->at + len;
}

void zw_state_section_end(struct zw_state *st)
{
	if (st->loading)
		zw_state_check(st, st->at == st->end, "is too long");
	else if (!st->err)
		put(st->out + st->at, st->len - st->at - 8, 8);
	st->section = NULL;
}

/* -- whole streams -- */

static void header(struct zw_state *st)
{
	uint64_t magic = ZW_STATE_MAGIC;
	uint32_t version = ZW_STATE_VERSION, zero = 0;

	zw_state_u64(st, &magic);
	zw_state_check(st, magic == ZW_STATE_MAGIC, "not the state of a device");
	zw_state_u32(st, &version);
	zw_state_u32(st, &zero);
	if (!st->err && version != ZW_STATE_VERSION)
		zw_state_bad(st, "version %u of the state; this device knows %u", version,
			     ZW_STATE_VERSION);
	zw_state_check(st, !zero, "reserved field of the header is set");
}

void zw_state_save_begin(struct zw_state *st, char *msg, size_t msg_len)
{
	*st = (struct zw_state){.msg = msg, .msg_len = msg_len, .cap = 1u << 16};
	st->out = malloc(st->cap);
	if (!st->out)
		zw_state_fail(st, -ENOMEM, "no memory for the state");
	header(st);
}

void zw_state_load_begin(struct zw_state *st, const void *buf, size_t len, char *msg,
			 size_t msg_len)
{
	uint8_t digest[ZW_SHA256_SIZE];

	*st = (struct zw_state){.loading = true, .msg = msg, .msg_len = msg_len, .in = buf};
	if (len < HEADER + ZW_SHA256_SIZE) {
		zw_state_bad(st, "%zu bytes are not the state of a device", len);
		return;
	}
	st->len = st->end = len - ZW_SHA256_SIZE;
	header(st);
	zw_sha256(buf, st->len, digest);
	zw_state_check(st, !memcmp(digest, st->in + st->len, sizeof(digest)),
		       "the state is damaged or cut off");
}

int zw_state_save_end(struct zw_state *st, void **buf, size_t *len)
{
	uint8_t digest[ZW_SHA256_SIZE];

	if (!st->err) {
		zw_sha256(st->out, st->len, digest);
		write_bytes(st, digest, sizeof(digest));
	}
	if (st->err) {
		free(st->out);
		return st->err;
	}
	*buf = st->out;
	*len = st->len;
	return 0;
}

int zw_state_load_end(struct zw_state *st)
{
	zw_state_check(st, st->at == st->len, "something follows the state");
	return st->err;
}

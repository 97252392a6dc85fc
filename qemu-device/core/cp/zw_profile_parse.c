// SPDX-License-Identifier: MIT
/* Profile files: `key = value` lines. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../zw_profile.h"
#include "zhenwu/zw_regs.h"
#include "zw_profile_int.h"

#define MAX_FILE (64u << 10)
#define MAX_LINE 256

/* Bits of `seen` behind those of the figures. */
#define SEEN_NAME   62
#define SEEN_DTYPES 61

struct parser {
	struct zw_profile *p;
	unsigned int line;
	uint64_t seen;
	bool based;
	bool change; /* figures of a profile that there is: they may be factors */
	char *err;
	size_t err_len;
};

__attribute__((format(printf, 2, 3))) static int fail(struct parser *s, const char *fmt, ...)
{
	char msg[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	if (s->err_len) {
		if (s->line)
			snprintf(s->err, s->err_len, "line %u: %s", s->line, msg);
		else
			snprintf(s->err, s->err_len, "%s", msg);
	}
	return -EINVAL;
}

static char *trim(char *s)
{
	size_t n;

	while (isspace((unsigned char)*s))
		s++;
	n = strlen(s);
	while (n && isspace((unsigned char)s[n - 1]))
		s[--n] = '\0';
	return s;
}

static int parse_number(struct parser *s, const char *key, const char *value, uint64_t *out)
{
	static const struct {
		const char *suffix;
		uint64_t scale;
	} suffixes[] = {
		{"", 1},
		{"k", 1000},
		{"M", 1000000},
		{"G", 1000000000},
		{"T", 1000000000000},
		{"Ki", 1ull << 10},
		{"Mi", 1ull << 20},
		{"Gi", 1ull << 30},
		{"Ti", 1ull << 40},
	};
	uint64_t v;
	char *end;

	if (!isdigit((unsigned char)*value))
		return fail(s, "%s: '%s' is not an unsigned integer", key, value);
	errno = 0;
	v = strtoull(value, &end, 10);
	if (errno)
		return fail(s, "%s: '%s' is too large", key, value);
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		if (strcmp(end, suffixes[i].suffix))
			continue;
		if (__builtin_mul_overflow(v, suffixes[i].scale, out))
			return fail(s, "%s: '%s' is too large", key, value);
		return 0;
	}
	return fail(s, "%s: unknown suffix '%s' (k, M, G, T, Ki, Mi, Gi, Ti)", key, end);
}

/* As in zw_types.h, in any case; 0: no such type. */
static uint64_t dtype_bit(const char *name)
{
#define DTYPE(dtype, number, elements, bytes)                                                      \
	if (!strcasecmp(name, #dtype))                                                             \
		return ZW_DT(dtype);
	ZW_DTYPES(DTYPE)
#undef DTYPE
	return 0;
}

static int parse_dtypes(struct parser *s, char *value)
{
	char *save, *tok;

	s->p->dtypes = 0;
	for (tok = strtok_r(value, ",", &save); tok; tok = strtok_r(NULL, ",", &save)) {
		uint64_t bit;

		tok = trim(tok);
		bit = dtype_bit(tok);
		if (!bit)
			return fail(s, "dtypes: no type '%s' (f32, bf16, i32, ...)", tok);
		s->p->dtypes |= bit;
	}
	return s->p->dtypes ? 0 : fail(s, "dtypes: empty list");
}

static int parse_name(struct parser *s, const char *value)
{
	size_t n = strlen(value);

	if (!n || n >= sizeof(s->p->name))
		return fail(s, "name: 1 to %zu characters", sizeof(s->p->name) - 1);
	for (size_t i = 0; i < n; i++)
		if (!isgraph((unsigned char)value[i]))
			return fail(s, "name: printable ASCII without blanks only");
	memset(s->p->name, 0, sizeof(s->p->name));
	memcpy(s->p->name, value, n);
	return 0;
}

static int mark(struct parser *s, const char *key, unsigned int bit)
{
	if (s->seen >> bit & 1)
		return fail(s, "%s is given twice", key);
	s->seen |= 1ull << bit;
	return 0;
}

/* "x2", "/2": of the figure as it is. Figures of 0 stay that. */
static int parse_factor(struct parser *s, const struct zw_profile_key *k, char *value, uint64_t *v)
{
	uint64_t factor, old = 0;
	uint32_t old32;
	int err = parse_number(s, k->name, trim(value + 1), &factor);

	if (err)
		return err;
	if (!factor)
		return fail(s, "%s: '%s' is not a factor", k->name, value);
	if (k->wide) {
		memcpy(&old, (char *)s->p + k->offset, sizeof(old));
	} else {
		memcpy(&old32, (char *)s->p + k->offset, sizeof(old32));
		old = old32;
	}
	if (*value == '/')
		*v = old / factor;
	else if (__builtin_mul_overflow(old, factor, v))
		*v = UINT64_MAX;
	return 0;
}

static int parse_pair(struct parser *s, const char *key, char *value)
{
	const struct zw_profile_key *k;
	uint64_t v = 0;
	int err;

	if (s->change && (!strcmp(key, "base") || !strcmp(key, "name")))
		return fail(s, "%s is not a figure", key);
	if (!strcmp(key, "base")) {
		const struct zw_profile *base = zw_profile_find(value);

		if (s->seen || s->based)
			return fail(s, "base has to be the first key");
		if (!base)
			return fail(s, "base: no built-in profile '%s'", value);
		*s->p = *base;
		s->based = true;
		return 0;
	}
	if (!strcmp(key, "name")) {
		err = mark(s, key, SEEN_NAME);
		return err ? err : parse_name(s, value);
	}
	if (!strcmp(key, "dtypes")) {
		err = mark(s, key, SEEN_DTYPES);
		return err ? err : parse_dtypes(s, value);
	}
	for (unsigned int i = 0; (k = zw_profile_key_at(i)); i++) {
		if (strcmp(k->name, key))
			continue;
		err = mark(s, key, i);
		if (!err && s->change && (*value == 'x' || *value == '/'))
			err = parse_factor(s, k, value, &v);
		else if (!err)
			err = parse_number(s, key, value, &v);
		if (err)
			return err;
		if (v < k->min || v > k->max)
			return fail(s, "%s: %" PRIu64 " is not in %" PRIu64 "..%" PRIu64, key, v,
				    k->min, k->max);
		if (k->wide) {
			memcpy((char *)s->p + k->offset, &v, sizeof(v));
		} else {
			uint32_t v32 = (uint32_t)v;

			memcpy((char *)s->p + k->offset, &v32, sizeof(v32));
		}
		return 0;
	}
	return fail(s, "unknown key '%s'", key);
}

static int parse_line(struct parser *s, char *line)
{
	char *eq, *hash = strchr(line, '#');

	if (hash)
		*hash = '\0';
	line = trim(line);
	if (!*line)
		return 0;
	eq = strchr(line, '=');
	if (!eq)
		return fail(s, "'%s' is not 'key = value'", line);
	*eq = '\0';
	return parse_pair(s, trim(line), trim(eq + 1));
}

static int parse_lines(struct parser *s, const char *text, size_t len)
{
	for (size_t off = 0; off < len;) {
		const char *nl = memchr(text + off, '\n', len - off);
		size_t n = nl ? (size_t)(nl - (text + off)) : len - off;
		char line[MAX_LINE];
		int ret;

		s->line++;
		if (n >= sizeof(line))
			return fail(s, "longer than %d characters", MAX_LINE - 1);
		memcpy(line, text + off, n);
		line[n] = '\0';
		if (strlen(line) != n)
			return fail(s, "contains a NUL byte");
		ret = parse_line(s, line);
		if (ret)
			return ret;
		off += n + 1;
	}
	s->line = 0;
	return 0;
}

/* What no line can be wrong about by itself. */
static int check_whole(struct parser *s)
{
	if (s->p->dtypes & ZW_DT(I8) && !s->p->tensor_i8_ops)
		return fail(s, "dtypes has i8, and tensor_i8_ops is 0");
	if (s->p->dtypes & (ZW_DT(F8E4M3) | ZW_DT(F8E5M2)) && !s->p->tensor_f8_flops)
		return fail(s, "dtypes has f8e4m3 or f8e5m2, and tensor_f8_flops is 0");
	if (s->p->kv_sram_bytes > s->p->sram_bytes / 2)
		return fail(s, "kv_sram_bytes is more than half of sram_bytes");
	if (s->p->hbm_bytes % (2u << 20))
		return fail(s, "hbm_bytes is not a multiple of 2 MiB");
	if ((uint64_t)s->p->thermal_mk_per_w * s->p->leak_mw_per_k >= 1000000)
		return fail(s, "thermal_mk_per_w times leak_mw_per_k is not below 1000000: each "
			       "watt would make "
			       "a watt of leakage");
	s->p->id = ZW_PROFILE_CUSTOM;
	return 0;
}

int zw_profile_parse(const char *text, size_t len, struct zw_profile *p, char *err, size_t err_len)
{
	struct parser s = {.p = p, .err = err, .err_len = err_len};
	const struct zw_profile_key *k;
	int ret;

	memset(p, 0, sizeof(*p));
	memcpy(p->name, "custom", 6);
	ret = parse_lines(&s, text, len);
	if (ret)
		return ret;
	for (unsigned int i = 0; !s.based && (k = zw_profile_key_at(i)); i++)
		if (!(s.seen >> i & 1))
			return fail(&s, "%s is missing (no base given)", k->name);
	if (!s.based && !(s.seen >> SEEN_DTYPES & 1))
		return fail(&s, "dtypes is missing (no base given)");
	return check_whole(&s);
}

int zw_profile_change(const char *text, size_t len, struct zw_profile *p, char *err, size_t err_len)
{
	struct zw_profile changed = *p;
	struct parser s = {.p = &changed, .err = err, .err_len = err_len, .change = true};
	int ret = parse_lines(&s, text, len);

	if (!ret)
		ret = check_whole(&s);
	if (!ret)
		*p = changed;
	return ret;
}

int zw_profile_load(const char *path, struct zw_profile *p, char *err, size_t err_len)
{
	char *text = malloc(MAX_FILE + 1);
	FILE *f = text ? fopen(path, "rb") : NULL;
	int ret = f ? 0 : text ? -errno : -ENOMEM;
	size_t n = 0;

	if (f) {
		n = fread(text, 1, MAX_FILE + 1, f);
		if (ferror(f))
			ret = errno ? -errno : -EIO;
		fclose(f);
	}
	if (ret) {
		if (err_len)
			snprintf(err, err_len, "%s: %s", path, strerror(-ret));
	} else if (n > MAX_FILE) {
		ret = -EINVAL;
		if (err_len)
			snprintf(err, err_len, "%s: larger than %u bytes", path, MAX_FILE);
	} else {
		char why[300];

		ret = zw_profile_parse(text, n, p, why, sizeof(why));
		if (ret && err_len)
			snprintf(err, err_len, "%s: %s", path, why);
	}
	free(text);
	return ret;
}

// SPDX-License-Identifier: MIT
/*
 * Simulated times of rows: reads one row a line from standard input, words of the form key=value, and answers each with
 * a line: "<picoseconds> <picojoules> <bytes of HBM>", or "-" if the device has no packet for it.
 *
 *	zw-fidelity PROFILE [KEYS]
 *
 * PROFILE: a built-in profile, or a profile file (a name with a slash). KEYS: a file with further keys, which replace
 * those of the profile: other kernels on the same card.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cp/zw_profile_int.h"
#include "rows.h"

static const char *value_of(const struct row *r, const char *key)
{
	size_t n = strlen(key);

	for (const char *p = r->text; p; p = strchr(p, ' ')) {
		p += *p == ' ';
		if (!strncmp(p, key, n) && p[n] == '=')
			return p + n + 1;
	}
	return NULL;
}

uint64_t row_number(const struct row *r, const char *key, uint64_t other)
{
	const char *v = value_of(r, key);

	return v ? strtoull(v, NULL, 10) : other;
}

bool row_is(const struct row *r, const char *key, const char *value)
{
	const char *v = value_of(r, key);
	size_t n = strlen(value);

	return v && !strncmp(v, value, n) && (v[n] == ' ' || !v[n]);
}

unsigned int row_dtype(const struct row *r, const char *key)
{
	static const struct {
		const char *name;
		unsigned int dtype;
	} names[] = {{"bf16", ZW_DTYPE_BF16},
		     {"f16", ZW_DTYPE_F16},
		     {"f32", ZW_DTYPE_F32},
		     {"fp8", ZW_DTYPE_F8E4M3},
		     {"int8", ZW_DTYPE_I8}};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (row_is(r, key, names[i].name))
			return names[i].dtype;
	fprintf(stderr, "fidelity: no type of that name: %s\n", r->text);
	return 0;
}

static int append(const char *data, size_t n, char **text, size_t *len)
{
	char *more = realloc(*text, *len + n);

	if (!more)
		return -1;
	memcpy(more + *len, data, n);
	*text = more;
	*len += n;
	return 0;
}

static int append_file(const char *path, char **text, size_t *len)
{
	FILE *f = fopen(path, "rb");
	char buf[4096];
	int ret = 0;
	size_t n;

	if (!f) {
		fprintf(stderr, "fidelity: %s: %s\n", path, strerror(errno));
		return -1;
	}
	while (!ret && (n = fread(buf, 1, sizeof(buf), f)))
		ret = append(buf, n, text, len);
	fclose(f);
	return ret;
}

/* A built-in profile, or a profile file (a name with a slash). */
static int load_profile(const char *name, struct zw_profile *p)
{
	const struct zw_profile *known = zw_profile_find(name);
	char err[300];

	if (strchr(name, '/')) {
		if (!zw_profile_load(name, p, err, sizeof(err)))
			return 0;
		fprintf(stderr, "fidelity: %s\n", err);
		return -1;
	}
	if (!known) {
		fprintf(stderr, "fidelity: no profile '%s'; a name with a slash is a file\n", name);
		return -1;
	}
	*p = *known;
	return 0;
}

static bool has_key(const char *text, size_t len, const char *key)
{
	size_t n = strlen(key);

	for (const char *line = text; line;) {
		size_t left = len - (size_t)(line - text);

		if (left > n && !memcmp(line, key, n) && strchr(" \t=", line[n]))
			return true;
		line = memchr(line, '\n', left);
		line = line && (size_t)(line - text) + 1 < len ? line + 1 : NULL;
	}
	return false;
}

/* The figures that a file of keys names replace those of the profile, whether that is built-in or from a file. */
static int replace_keys(const char *path, struct zw_profile *p)
{
	const struct zw_profile_key *k;
	char err[300], *text = NULL;
	struct zw_profile q;
	size_t len = 0;
	int ret = append("base = 810e\n", strlen("base = 810e\n"), &text, &len);

	ret = ret ? ret : append_file(path, &text, &len);
	if (!ret && zw_profile_parse(text, len, &q, err, sizeof(err))) {
		fprintf(stderr, "fidelity: %s: %s\n", path, err);
		ret = -1;
	}
	for (size_t i = 0; !ret && (k = zw_profile_key_at(i)); i++)
		if (has_key(text, len, k->name))
			memcpy((char *)p + k->offset, (const char *)&q + k->offset,
			       k->wide ? sizeof(uint64_t) : sizeof(uint32_t));
	free(text);
	return ret;
}

static int answer(struct machine *m, const struct row *r)
{
	bool step = row_is(r, "op", "prefill") || row_is(r, "op", "decode");
	struct machine_time t;
	int ret;

	machine_clear(m);
	ret = step ? emit_step(m, r) : emit_operation(m, r);
	if (ret > 0) {
		puts("-");
		return 0;
	}
	if (ret || machine_run(m, &t))
		return -1;
	printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", step ? t.job_ps : t.packet_ps, t.energy_pj,
	       t.hbm_bytes);
	return 0;
}

int main(int argc, char **argv)
{
	char line[1024];
	struct zw_profile profile;
	struct machine *m;
	int ret = 0;

	if (argc != 2 && argc != 3) {
		fprintf(stderr, "usage: zw-fidelity PROFILE [KEYS] <ROWS\n");
		return 2;
	}
	if (load_profile(argv[1], &profile) || (argc == 3 && replace_keys(argv[2], &profile)))
		return 2;
	m = machine_new(&profile);
	if (!m)
		return 2;
	printf("%" PRIu32 " %" PRIu32 "\n", profile.tdp_watts, profile.idle_watts);
	while (!ret && fgets(line, sizeof(line), stdin)) {
		struct row r = {.text = line};

		line[strcspn(line, "\n")] = '\0';
		if (answer(m, &r)) {
			fprintf(stderr, "fidelity: in row: %s\n", line);
			ret = 1;
		}
	}
	machine_free(m);
	return ret;
}

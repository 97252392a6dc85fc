// SPDX-License-Identifier: MIT
/*
 * Simulated times of rows: reads one row a line from standard input, words of the form key=value, and answers each with
 * a line: "<picoseconds> <picojoules> <bytes of HBM> <picoseconds of the host> <picoseconds of links>", the first three
 * of the device, or "-" if it has no packet for it.
 *
 *	zw-fidelity PROFILE [KEYS]
 *	zw-fidelity --figures PROFILE
 *
 * PROFILE: a built-in profile, or a profile file (a name with a slash). KEYS: a file with further keys, which replace
 * those of the profile: other kernels on the same card. A line "change KEY = VALUE; KEY = VALUE..." changes keys of that
 * for the rows behind it ("x2" and "/2": as many times as much), and "change" alone ends it. First of all, and for each
 * such line, a line comes: "<tdp_watts> <idle_watts>".
 *
 * --figures: a line for each figure of the profile instead, "<name> <value> <least> <most> <source>".
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cp/zw_cp_int.h"
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

bool row_has(const struct row *r, const char *key)
{
	return value_of(r, key);
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

/* The figures that a file of keys names replace those of the profile, whether that is built-in or from a file. */
static int replace_keys(const char *path, struct zw_profile *p)
{
	FILE *f = fopen(path, "rb");
	char text[16384], err[300];
	size_t n;

	if (!f) {
		fprintf(stderr, "fidelity: %s: %s\n", path, strerror(errno));
		return -1;
	}
	n = fread(text, 1, sizeof(text), f);
	fclose(f);
	if (n == sizeof(text)) {
		fprintf(stderr, "fidelity: %s: longer than %zu bytes\n", path, sizeof(text) - 1);
		return -1;
	}
	if (!zw_profile_change(text, n, p, err, sizeof(err)))
		return 0;
	fprintf(stderr, "fidelity: %s: %s\n", path, err);
	return -1;
}

static uint64_t figure(const struct zw_profile *p, const struct zw_profile_key *k)
{
	uint32_t narrow;
	uint64_t wide;

	memcpy(&narrow, (const char *)p + k->offset, sizeof(narrow));
	if (!k->wide)
		return narrow;
	memcpy(&wide, (const char *)p + k->offset, sizeof(wide));
	return wide;
}

static int print_figures(const struct zw_profile *p)
{
	const struct zw_profile_key *k;

	for (size_t i = 0; (k = zw_profile_key_at(i)); i++) {
		const char *source = zw_profile_source(p, k->name);

		printf("%s %" PRIu64 " %" PRIu64 " %" PRIu64 " %s\n", k->name, figure(p, k), k->min,
		       k->max, source ? source : "-");
	}
	return 0;
}

/* Keys of `base`, parted by ';', for the rows to come. */
static int change(struct machine *m, const struct zw_profile *base, char *keys)
{
	struct zw_profile p = *base;
	char err[300];

	for (char *c = keys; *c; c++)
		if (*c == ';')
			*c = '\n';
	if (zw_profile_change(keys, strlen(keys), &p, err, sizeof(err))) {
		fprintf(stderr, "fidelity: change: %s\n", err);
		return -1;
	}
	if (machine_set_profile(m, &p))
		return -1;
	printf("%" PRIu32 " %" PRIu32 "\n", p.tdp_watts, p.idle_watts);
	return 0;
}

/* All that a row takes, in the device and around it. */
struct answer {
	uint64_t device_ps, energy_pj, hbm_bytes, host_ps, links_ps;
};

static void add(uint64_t *sum, uint64_t times, uint64_t v)
{
	*sum = zw_cp_add_sat(*sum, zw_cp_mul_sat(times, v));
}

static int one_step(struct machine *m, const struct row *r, const struct step_of *of,
		    uint64_t times, struct answer *a)
{
	struct machine_time t;
	struct sums sums;
	uint64_t ps = 0;

	machine_clear(m);
	if (emit_step(m, r, of, &sums) || machine_run(m, &t))
		return -1;
	if (sums.count && row_number(r, "hop_ns", 0) &&
	    row_sum_ps(machine_profile(m), r, sums.cards, sums.bytes, &ps))
		return -1;
	add(&a->device_ps, times, t.job_ps);
	add(&a->energy_pj, times, t.energy_pj);
	add(&a->hbm_bytes, times, t.hbm_bytes);
	add(&a->host_ps, times, row_step_ps(r));
	add(&a->links_ps, times * sums.count, ps);
	return 0;
}

/* steps=prefill:TOKENS:TIMES,decode:TOKENS:TIMES... */
static int request(struct machine *m, const struct row *r, struct answer *a)
{
	const char *v = value_of(r, "steps");
	unsigned int tokens, times;
	char kind[8];
	int n;

	for (; v && sscanf(v, "%7[a-z]:%u:%u%n", kind, &tokens, &times, &n) == 3; v += n + 1) {
		struct step_of of = {.prefill = !strcmp(kind, "prefill"), .tokens = tokens};

		if (!tokens || (!of.prefill && strcmp(kind, "decode")))
			break;
		if (one_step(m, r, &of, times, a))
			return -1;
		if (v[n] != ',')
			return 0;
	}
	fprintf(stderr, "fidelity: no steps of the form KIND:TOKENS:TIMES: %s\n", r->text);
	return -1;
}

static int sum_over_cards(struct machine *m, const struct row *r, struct answer *a)
{
	if (row_sum_ps(machine_profile(m), r, (uint32_t)row_number(r, "cards", 1),
		       row_number(r, "bytes", 1), &a->links_ps))
		return -1;
	return 0;
}

/* `times` of it, one after another, each launched by the host. */
static int operation(struct machine *m, const struct row *r, struct answer *a)
{
	uint64_t times = row_number(r, "times", 1);
	struct machine_time t;
	int ret;

	machine_clear(m);
	ret = emit_operation(m, r);
	if (ret)
		return ret;
	if (machine_run(m, &t))
		return -1;
	add(&a->device_ps, times, t.packet_ps);
	add(&a->energy_pj, times, t.energy_pj);
	add(&a->hbm_bytes, times, t.hbm_bytes);
	add(&a->host_ps, times, row_launch_ps(r));
	return 0;
}

static int answer(struct machine *m, const struct row *r)
{
	struct step_of of = {.prefill = row_is(r, "op", "prefill"),
			     .tokens = (uint32_t)row_number(r, "s", 1)};
	struct answer a = {0};
	int ret;

	if (row_is(r, "op", "request"))
		ret = request(m, r, &a);
	else if (of.prefill || row_is(r, "op", "decode"))
		ret = one_step(m, r, &of, 1, &a);
	else if (row_is(r, "op", "allreduce"))
		ret = sum_over_cards(m, r, &a);
	else
		ret = operation(m, r, &a);
	if (ret < 0)
		return -1;
	if (ret)
		puts("-");
	else
		printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", a.device_ps,
		       a.energy_pj, a.hbm_bytes, a.host_ps, a.links_ps);
	return 0;
}

/* 0, or the exit status. */
static int answer_all(const struct zw_profile *profile)
{
	static const char word[] = "change";
	struct machine *m = machine_new(profile);
	char line[1024];
	int ret = 0;

	if (!m)
		return 2;
	printf("%" PRIu32 " %" PRIu32 "\n", profile->tdp_watts, profile->idle_watts);
	while (!ret && fgets(line, sizeof(line), stdin)) {
		struct row r = {.text = line};

		line[strcspn(line, "\n")] = '\0';
		if (!strncmp(line, word, strlen(word))) {
			ret = change(m, profile, line + strlen(word)) ? 1 : 0;
		} else if (answer(m, &r)) {
			fprintf(stderr, "fidelity: in row: %s\n", line);
			ret = 1;
		}
	}
	machine_free(m);
	return ret;
}

int main(int argc, char **argv)
{
	bool figures = argc == 3 && !strcmp(argv[1], "--figures");
	struct zw_profile profile;

	if (argc != 2 && argc != 3) {
		fprintf(stderr, "usage: zw-fidelity PROFILE [KEYS] <ROWS\n"
				"       zw-fidelity --figures PROFILE\n");
		return 2;
	}
	if (load_profile(argv[figures ? 2 : 1], &profile))
		return 2;
	if (figures)
		return print_figures(&profile);
	if (argc == 3 && replace_keys(argv[2], &profile))
		return 2;
	return answer_all(&profile);
}

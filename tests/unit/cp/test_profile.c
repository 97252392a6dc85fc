// SPDX-License-Identifier: MIT
/* Profiles: built-in table with a source for every figure, and profile files. */
#include <inttypes.h>
#include <unistd.h>

#include "../device/unit.h"
#include "zhenwu/zw_regs.h"
#include "cp/zw_profile_int.h"
#include "zw_profile.h"

#define N_BUILT_IN 5

static void built_in(void **state)
{
	static const struct {
		const char *name;
		uint32_t id;
	} want[] = {{"810e", ZW_PROFILE_810E},
		    {"m890", ZW_PROFILE_M890},
		    {"c12", ZW_PROFILE_C12},
		    {"a100-80g", ZW_PROFILE_A100_80G},
		    {"h100-sxm", ZW_PROFILE_H100_SXM}};

	(void)state;
	for (size_t i = 0; i < N_BUILT_IN; i++) {
		const struct zw_profile *p = zw_profile_find(want[i].name);

		assert_ptr_equal(p, zw_profile_at(i));
		assert_string_equal(p->name, want[i].name);
		assert_int_equal(p->id, want[i].id);
		assert_int_equal(p->hbm_bytes % (2 * MIB), 0);
		assert_true(p->hbm_bw && p->pcie_bw && p->tensor_bf16_flops &&
			    p->tensor_f32_flops && p->vector_flops && p->tile_m && p->tile_n &&
			    p->tile_k);
		assert_in_range(p->hbm_efficiency_permille, 1, 1000);
		assert_in_range(p->tensor_efficiency_permille, 1, 1000);
		for (size_t f = 0; zw_profile_field(f); f++) {
			const char *s = zw_profile_source(p, zw_profile_field(f));

			assert_non_null(s);
			assert_true(!strncmp(s, "published: ", 11) || !strncmp(s, "assumed: ", 9) ||
				    !strncmp(s, "measured: ", 10) || !strncmp(s, "fitted: ", 8));
		}
		/* figures bound each other */
		assert_true(p->units * p->unit_bw >= p->hbm_bw);
		assert_true(p->idle_watts < p->tdp_watts);
	}
	assert_null(zw_profile_at(N_BUILT_IN));
	assert_null(zw_profile_find("h100"));
	assert_null(zw_profile_find(NULL));
	assert_null(zw_profile_source(zw_profile_at(0), "colour"));
	/* a type has a rate, and the rates of what was published */
	for (size_t i = 0; i < N_BUILT_IN; i++) {
		const struct zw_profile *p = zw_profile_at(i);

		assert_int_equal(p->dtypes & ZW_DT(I8) ? 1 : 0, p->tensor_i8_ops ? 1 : 0);
		assert_int_equal(p->dtypes & ZW_DT(F8E4M3) ? 1 : 0, p->tensor_f8_flops ? 1 : 0);
	}
	assert_int_equal(zw_profile_find("c12")->tensor_i8_ops, 12000000000000);
	/* what was published */
	assert_int_equal(zw_profile_find("810e")->hbm_bytes, 96 * GIB);
	assert_int_equal(zw_profile_find("810e")->links * zw_profile_find("810e")->link_bw,
			 700000000000);
	assert_int_equal(zw_profile_find("810e")->tdp_watts, 400);
	assert_int_equal(zw_profile_find("m890")->hbm_bytes, 144 * GIB);
	assert_int_equal(zw_profile_find("m890")->links * zw_profile_find("m890")->link_bw,
			 800000000000);
	assert_int_equal(zw_profile_find("c12")->hbm_bw, 512000000000);
	assert_memory_equal(zw_profile_source(zw_profile_find("810e"), "hbm_bw"), "assumed", 7);
	assert_memory_equal(zw_profile_source(zw_profile_find("c12"), "hbm_bw"), "published", 9);
}

static int parse(const char *text, struct zw_profile *p, char *err)
{
	err[0] = '\0';
	return zw_profile_parse(text, strlen(text), p, err, 128);
}

/* A figure by its name; the table of keys is the profile's own. */
static uint64_t figure(const struct zw_profile *p, const char *name)
{
	const struct zw_profile_key *k;
	uint32_t narrow;
	uint64_t v;

	for (size_t i = 0; (k = zw_profile_key_at(i)); i++) {
		if (strcmp(k->name, name))
			continue;
		memcpy(&narrow, (const char *)p + k->offset, sizeof(narrow));
		if (!k->wide)
			return narrow;
		memcpy(&v, (const char *)p + k->offset, sizeof(v));
		return v;
	}
	fail_msg("%s has a source and is no key", name);
	return 0;
}

static void good_files(void **state)
{
	struct zw_profile p;
	char err[128];

	(void)state;
	assert_int_equal(parse("# a faster one\n base = 810e\n\nname=big \n hbm_bw = 4T # more\n"
			       "hbm_bytes = 64Gi\ntile_m=32\ndtypes = f32, bf16,f16,i32",
			       &p, err),
			 0);
	assert_string_equal(p.name, "big");
	assert_int_equal(p.id, ZW_PROFILE_CUSTOM);
	assert_int_equal(p.hbm_bw, 4000000000000);
	assert_int_equal(p.hbm_bytes, 64 * GIB);
	assert_int_equal(p.tile_m, 32);
	assert_int_equal(p.tile_n, zw_profile_find("810e")->tile_n);
	assert_int_equal(p.dtypes, ZW_DT(F32) | ZW_DT(BF16) | ZW_DT(F16) | ZW_DT(I32));
	assert_string_equal(zw_profile_source(&p, "hbm_bw"), "user: profile file");

	/* features of the chip: all it is told to have, and no KV blocks on it */
	for (size_t i = 0; i < N_BUILT_IN; i++) {
		const struct zw_profile *b = zw_profile_at(i);

		assert_true(b->tensor_engine && b->fused_packets && b->block_sparse);
		assert_int_equal(b->kv_sram_bytes, 0);
	}
	assert_int_equal(parse("base = 810e\ntensor_engine=0\nfused_packets=0\nblock_sparse=0\n"
			       "kv_sram_bytes = 20Mi\n",
			       &p, err),
			 0);
	assert_true(!p.tensor_engine && !p.fused_packets && !p.block_sparse);
	assert_int_equal(p.kv_sram_bytes, 20 * MIB);

	/* every figure from the file: the built-in profile written out is the built-in profile */
	const struct zw_profile *m = zw_profile_find("m890");
	char text[4096];
	int n = snprintf(text, sizeof(text), "name=m890\n");

	for (size_t f = 0; zw_profile_field(f); f++) {
		const char *key = zw_profile_field(f);

		if (strcmp(key, "dtypes"))
			n += snprintf(text + n, sizeof(text) - (size_t)n, "%s=%" PRIu64 "\n", key,
				      figure(m, key));
	}
	n += snprintf(text + n, sizeof(text) - (size_t)n, "dtypes=i32");
	/* the types by their names */
#define ADD_DTYPE(type, number, elements, bytes)                                                   \
	if (m->dtypes & ZW_DT(type))                                                               \
		n += snprintf(text + n, sizeof(text) - (size_t)n, ",%s", #type);
	ZW_DTYPES(ADD_DTYPE)
	assert_true(n > 0 && n < (int)sizeof(text));
	assert_int_equal(parse(text, &p, err), 0);
	p.id = m->id;
	assert_memory_equal(&p, m, sizeof(p));
}

static void bad_files(void **state)
{
	static const struct {
		const char *text, *err;
	} cases[] = {
		{"", "hbm_bytes is missing (no base given)"},
		{"base = 810e\nhbm_bw\n", "line 2: 'hbm_bw' is not 'key = value'"},
		{"base = 811e\n", "line 1: base: no built-in profile '811e'"},
		{"hbm_bw = 1T\nbase = 810e", "line 2: base has to be the first key"},
		{"base = 810e\nbase = m890", "line 2: base has to be the first key"},
		{"base=810e\n\n\nspeed = 9\n", "line 4: unknown key 'speed'"},
		{"base=810e\nhbm_bw = fast", "line 2: hbm_bw: 'fast' is not an unsigned integer"},
		{"base=810e\nhbm_bw = -1", "line 2: hbm_bw: '-1' is not an unsigned integer"},
		{"base=810e\nhbm_bw =", "line 2: hbm_bw: '' is not an unsigned integer"},
		{"base=810e\nhbm_bw = 5X",
		 "line 2: hbm_bw: unknown suffix 'X' (k, M, G, T, Ki, Mi, Gi, Ti)"},
		{"base=810e\nhbm_bw = 1.5T",
		 "line 2: hbm_bw: unknown suffix '.5T' (k, M, G, T, Ki, Mi, Gi, Ti)"},
		{"base=810e\nhbm_bw = 99999999999999999999",
		 "line 2: hbm_bw: '99999999999999999999' is too large"},
		{"base=810e\nhbm_bw = 99999999999T", "line 2: hbm_bw: '99999999999T' is too large"},
		{"base=810e\nhbm_bw = 0",
		 "line 2: hbm_bw: 0 is not in 1000000..1152921504606846976"},
		{"base=810e\ntile_k = 0", "line 2: tile_k: 0 is not in 1..4096"},
		{"base=810e\nhbm_efficiency_permille = 1001",
		 "line 2: hbm_efficiency_permille: 1001 is not in 1..1000"},
		{"base=810e\ntile_k = 8\ntile_k = 8", "line 3: tile_k is given twice"},
		{"base=810e\ndtypes = f32, fp8",
		 "line 2: dtypes: no type 'fp8' (f32, bf16, i32, ...)"},
		{"base=810e\ndtypes =", "line 2: dtypes: empty list"},
		{"base=810e\nname = seventeen-letters", "line 2: name: 1 to 15 characters"},
		{"base=810e\nname = a b", "line 2: name: printable ASCII without blanks only"},
		{"base=c12\ndtypes = f32, f8e4m3",
		 "dtypes has f8e4m3 or f8e5m2, and tensor_f8_flops is 0"},
		{"base=c12\ntensor_i8_ops = 0", "dtypes has i8, and tensor_i8_ops is 0"},
		{"base=c12\nthermal_mk_per_w = 1000\nleak_mw_per_k = 1000",
		 "thermal_mk_per_w times leak_mw_per_k is not below 1000000: each watt would make "
		 "a watt "
		 "of leakage"},
		{"base=810e\nhbm_bytes = 3000001", "hbm_bytes is not a multiple of 2 MiB"},
		{"base=810e\nkv_sram_bytes = 20971521",
		 "kv_sram_bytes is more than half of sram_bytes"},
		{"base=810e\nkv_sram_bytes = 3Mi\nsram_bytes = 4Mi",
		 "kv_sram_bytes is more than half of sram_bytes"},
		{"base=810e\ntensor_engine = 2", "line 2: tensor_engine: 2 is not in 0..1"},
	};
	struct zw_profile p;
	char err[128], line[400];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(parse(cases[i].text, &p, err), -EINVAL);
		assert_string_equal(err, cases[i].err);
	}
	assert_int_equal(zw_profile_parse("base=810e\0x\n", 12, &p, err, sizeof(err)), -EINVAL);
	assert_string_equal(err, "line 1: contains a NUL byte");
	memset(line, 'x', sizeof(line));
	assert_int_equal(zw_profile_parse(line, sizeof(line), &p, err, sizeof(err)), -EINVAL);
	assert_string_equal(err, "line 1: longer than 255 characters");
	assert_int_equal(zw_profile_parse("x", 1, &p, NULL, 0), -EINVAL);
}

/* Figures of a profile that there is, by value or by factor; all or nothing. */
static void changes(void **state)
{
	static const struct {
		const char *text, *err;
	} bad[] = {
		{"tile_k = x2\nbase = 810e", "line 2: base is not a figure"},
		{"tile_k = x2\nname = fast", "line 2: name is not a figure"},
		{"tile_k = x2\nhbm_bw = x0", "line 2: hbm_bw: 'x0' is not a factor"},
		{"tile_k = x2\nhbm_bw = xx", "line 2: hbm_bw: 'x' is not an unsigned integer"},
		{"hbm_bw = x9T", "line 1: hbm_bw: 18446744073709551615 is not in "
				 "1000000..1152921504606846976"},
		{"hbm_bytes = /1000", "hbm_bytes is not a multiple of 2 MiB"},
	};
	const struct zw_profile *base = zw_profile_find("m890");
	struct zw_profile p = *base;
	char err[128];
	const char *text = "hbm_bw = x2\ntile_k = /2\nidle_watts = 7\ntensor_f8_flops = x3";

	(void)state;
	assert_int_equal(zw_profile_change(text, strlen(text), &p, err, sizeof(err)), 0);
	assert_int_equal(p.hbm_bw, 2 * base->hbm_bw);
	assert_int_equal(p.tile_k, base->tile_k / 2);
	assert_int_equal(p.idle_watts, 7);
	assert_int_equal(p.tensor_f8_flops, 3 * base->tensor_f8_flops);
	assert_int_equal(p.units, base->units);
	assert_int_equal(p.id, ZW_PROFILE_CUSTOM);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		p = *base;
		assert_int_equal(
			zw_profile_change(bad[i].text, strlen(bad[i].text), &p, err, sizeof(err)),
			-EINVAL);
		assert_string_equal(err, bad[i].err);
		assert_memory_equal(&p, base, sizeof(p));
	}
	/* a file is no change */
	assert_int_equal(parse("base = 810e\nhbm_bw = x2", &p, err), -EINVAL);
}

static void files_on_disk(void **state)
{
	char path[] = "/tmp/zw-profile-XXXXXX", err[300];
	struct zw_profile p;
	int fd = mkstemp(path);
	FILE *f = fdopen(fd, "w");

	(void)state;
	assert_non_null(f);
	fputs("base = c12\nname = disk\n", f);
	fclose(f);
	assert_int_equal(zw_profile_load(path, &p, err, sizeof(err)), 0);
	assert_string_equal(p.name, "disk");
	f = fopen(path, "w");
	fputs("base = c12\nnme = disk\n", f);
	fclose(f);
	assert_int_equal(zw_profile_load(path, &p, err, sizeof(err)), -EINVAL);
	assert_non_null(strstr(err, path));
	assert_non_null(strstr(err, "line 2: unknown key 'nme'"));
	f = fopen(path, "w");
	for (int i = 0; i < 70000; i++)
		fputc('\n', f);
	fclose(f);
	assert_int_equal(zw_profile_load(path, &p, err, sizeof(err)), -EINVAL);
	assert_non_null(strstr(err, "larger than"));
	unlink(path);
	assert_int_equal(zw_profile_load(path, &p, err, sizeof(err)), -ENOENT);
	assert_non_null(strstr(err, "No such file"));
	assert_true(zw_profile_load("/tmp", &p, err, sizeof(err)) < 0);
}

/* Random text and mutated files: an orderly answer, and what is accepted is usable. */
static void fuzz(void **state)
{
	static const char good[] =
		"base = 810e\nhbm_bw = 4T\ntile_m = 64\ndtypes = f32, bf16\nname = x\n"
		"packet_ps = 100k\nsram_bytes = 4Mi\nlinks = 7 # seven\n";
	unsigned int ok = 0;
	uint64_t rng = 3;

	(void)state;
	for (int c = 0; c < 20000; c++) {
		struct zw_profile p;
		char err[128];
		char *text = malloc(sizeof(good) - 1); /* exact: ASan sees a read beyond it */

		memcpy(text, good, sizeof(good) - 1);
		for (int i = (int)(test_rand(&rng) % 4); i >= 0; i--)
			text[test_rand(&rng) % (sizeof(good) - 1)] = (char)test_rand(&rng);
		if (!zw_profile_parse(text, sizeof(good) - 1, &p, err, sizeof(err))) {
			ok++;
			assert_true(p.hbm_bw && p.tile_m && p.dtypes &&
				    memchr(p.name, 0, sizeof(p.name)));
		} else {
			assert_true(strlen(err) > 0);
		}
		free(text);
	}
	assert_in_range(ok, 100, 19900);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(built_in),  cmocka_unit_test(good_files),
		cmocka_unit_test(bad_files), cmocka_unit_test(files_on_disk),
		cmocka_unit_test(changes),   cmocka_unit_test(fuzz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

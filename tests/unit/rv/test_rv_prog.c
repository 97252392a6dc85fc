// SPDX-License-Identifier: MIT
/*
 * usage: test_rv_prog IMAGE...
 *
 * Runs compiled programs (prog.c, as flat binaries for the control core) and compares their results
 * with those of the same source compiled for the host. Prints the speed of the interpreter.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "prog.h"
#include "zw_rv.h"

static int fails;

#define CHECK(field)                                                                               \
	do {                                                                                       \
		if (memcmp(&got.field, &want.field, sizeof(got.field))) {                          \
			printf("# %s: %s differs\n", path, #field);                                \
			fails++;                                                                   \
		}                                                                                  \
	} while (0)

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void run_image(const char *path)
{
	struct rv_prog_result got, want;
	uint64_t insns = 0, budget = 200 * 1000 * 1000;
	struct zw_rv_halt halt = {0};
	uint8_t *ram = calloc(1, RV_PROG_SIZE);
	struct zw_rv_config cfg = {
		.ram = ram,
		.ram_base = RV_PROG_BASE,
		.ram_size = RV_PROG_SIZE,
	};
	struct zw_rv *rv = NULL;
	enum zw_rv_stop why;
	FILE *f = fopen(path, "rb");
	double start;

	if (!f || !ram || zw_rv_new(&cfg, &rv) ||
	    !fread(ram, 1, RV_PROG_RESULT - RV_PROG_BASE, f)) {
		printf("# %s: cannot load\n", path);
		fails++;
		goto out;
	}
	start = seconds();
	why = zw_rv_run(rv, budget);
	start = seconds() - start;
	zw_rv_csr_read(rv, ZW_RV_CSR_MINSTRET, &insns);
	if (why != ZW_RV_STOP_HALT || !zw_rv_halt_info(rv, &halt) ||
	    halt.cause != ZW_RV_CAUSE_BREAKPOINT || zw_rv_reg(rv, 10) != RV_PROG_DONE) {
		printf("# %s: stopped by %d, cause %" PRIu64 " at %#" PRIx64 ", value %#" PRIx64
		       "\n",
		       path, why, halt.cause, zw_rv_pc(rv), halt.tval);
		fails++;
		goto out;
	}
	memcpy(&got, ram + (RV_PROG_RESULT - RV_PROG_BASE), sizeof(got));
	rv_prog(&want);
	CHECK(crc);
	CHECK(murmur);
	CHECK(sorted);
	CHECK(arithmetic);
	CHECK(wide_division);
	CHECK(atomics);
	CHECK(narrow);
	CHECK(sha256);
	printf("# %s: %" PRIu64 " instructions, %.0f MIPS\n", path, insns,
	       (double)insns / start / 1e6);
out:
	if (f)
		fclose(f);
	zw_rv_free(rv);
	free(ram);
}

int main(int argc, char **argv)
{
	for (int k = 1; k < argc; k++)
		run_image(argv[k]);
	return fails || argc < 2;
}

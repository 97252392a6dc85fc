/* SPDX-License-Identifier: MIT */
#ifndef RV_PROG_H
#define RV_PROG_H

/* Where the program for the control core is linked, and where it leaves its result. */
#define RV_PROG_BASE   0x80000000
#define RV_PROG_SIZE   0x40000
#define RV_PROG_RESULT 0x80038000
#define RV_PROG_DONE   0x600df00d /* in a0 at the final ebreak */

#ifndef __ASSEMBLER__
#include <stdbool.h>
#include <stdint.h>
#include "zw_sha256.h"

struct rv_prog_result {
	uint64_t crc, murmur, sorted, arithmetic, wide_division, atomics, narrow;
	uint8_t sha256[ZW_SHA256_SIZE];
};

void rv_prog(struct rv_prog_result *r);
#endif

#endif

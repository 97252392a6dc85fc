/* SPDX-License-Identifier: MIT */
/*
 * Log of errors of HBM, of one kind: what ZW_SOC_ECC_ADDR and _COUNT show (zw_soc.h). Bounded, whatever happens; its
 * owner has the lock.
 */
#ifndef ZW_ECC_H
#define ZW_ECC_H

#include <stdbool.h>
#include <stdint.h>
#include "zhenwu/zw_soc.h"

/* One of them is for pages that have no record of their own. */
#define ZW_ECC_RECORDS (ZW_SOC_ECC_PAGES + 1)

struct zw_ecc_log {
	uint64_t num; /* of records that are there, oldest first */
	struct {
		uint64_t page; /* or ZW_ECC_NO_ADDR */
		uint64_t count;
	} rec[ZW_ECC_RECORDS];
};

/* One more error in a page. */
void zw_ecc_add(struct zw_ecc_log *log, uint64_t page);
/* Of the oldest record; 0 without one. */
uint64_t zw_ecc_addr(const struct zw_ecc_log *log);
uint32_t zw_ecc_count(const struct zw_ecc_log *log);
/* Takes `count` of them off the oldest record. False: it has not so many. */
bool zw_ecc_take(struct zw_ecc_log *log, uint32_t count);

struct zw_state;
/* Saves or loads it (zw_state.h). */
void zw_ecc_state(struct zw_ecc_log *log, struct zw_state *st, uint64_t hbm_size);

#endif /* ZW_ECC_H */

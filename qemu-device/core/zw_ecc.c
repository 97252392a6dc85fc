/* SPDX-License-Identifier: MIT */
/* Log of errors of HBM. */
#include <string.h>
#include "zw_ecc.h"
#include "zw_state.h"
#include "zhenwu/zw_fw.h"
#include "zhenwu/zw_pte.h"

/* Index of the page's record; the number of records without one. */
static uint64_t find(const struct zw_ecc_log *log, uint64_t page)
{
	uint64_t i;

	for (i = 0; i < log->num && log->rec[i].page != page; i++)
		;
	return i;
}

void zw_ecc_add(struct zw_ecc_log *log, uint64_t page)
{
	uint64_t i = find(log, page), rest = find(log, ZW_ECC_NO_ADDR);

	if (i == log->num && log->num - (rest < log->num) >= ZW_SOC_ECC_PAGES) {
		/* No room: counted without its address. */
		page = ZW_ECC_NO_ADDR;
		i = rest;
	}
	if (i == log->num) {
		log->rec[i].page = page;
		log->rec[i].count = 0;
		log->num++;
	}
	if (log->rec[i].count < UINT32_MAX)
		log->rec[i].count++;
}

uint64_t zw_ecc_addr(const struct zw_ecc_log *log)
{
	return log->num ? log->rec[0].page : 0;
}

uint32_t zw_ecc_count(const struct zw_ecc_log *log)
{
	return log->num ? (uint32_t)log->rec[0].count : 0;
}

bool zw_ecc_take(struct zw_ecc_log *log, uint32_t count)
{
	if (count > zw_ecc_count(log))
		return false;
	if (!count)
		return true;
	log->rec[0].count -= count;
	if (!log->rec[0].count)
		memmove(&log->rec[0], &log->rec[1], --log->num * sizeof(log->rec[0]));
	return true;
}

/* -- saved state -- */

ZW_STATE_SIZE(sizeof(struct zw_ecc_log), 8 + 16 * 17);

void zw_ecc_state(struct zw_ecc_log *log, struct zw_state *st, uint64_t hbm_size)
{
	zw_state_u64(st, &log->num);
	if (!zw_state_check(st, log->num <= ZW_ECC_RECORDS,
			    "more errors of HBM than there is room"))
		log->num = 0;
	for (uint64_t i = 0; i < log->num; i++) {
		zw_state_u64(st, &log->rec[i].page);
		zw_state_u64(st, &log->rec[i].count);
		zw_state_check(st, log->rec[i].count && log->rec[i].count <= UINT32_MAX,
			       "a record of no error of HBM");
		zw_state_check(st,
			       log->rec[i].page == ZW_ECC_NO_ADDR ||
				       (log->rec[i].page % ZW_PAGE_SIZE == 0 &&
					log->rec[i].page < hbm_size),
			       "an error outside of HBM");
	}
}

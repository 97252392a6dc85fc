/* SPDX-License-Identifier: MIT */
/*
 * Events for the host, never more than it has room for. Nothing is kept here: what cannot be told yet stays in the logs
 * of the device, which sum it up and are bounded, and their interrupt is off until the host allows more.
 */
#include "event.h"
#include "reply.h"

static uint32_t posted, allowed; /* numbers of events, from 1 on */

static void listen(void)
{
	uint32_t enable = rd32(ZW_SOC_IRQ_ENABLE) & ~ZW_SOC_IRQ_ECC;

	wr32(ZW_SOC_IRQ_ENABLE, posted != allowed ? enable | ZW_SOC_IRQ_ECC : enable);
}

uint32_t event_allow(const struct zw_msg_events *m)
{
	if (m->allowed - posted > ZW_MBOX_EVENTS)
		return ZW_MSG_ERR_ARG;
	allowed = m->allowed;
	listen();
	return ZW_MSG_OK;
}

/* The oldest record; false: there is none. */
static bool post_ecc(uint32_t kind)
{
	uint64_t addr = rd64(ZW_SOC_ECC_ADDR(kind));
	struct zw_msg_event_ecc event = {
		.addr_lo = ZW_LO32(addr),
		.addr_hi = ZW_HI32(addr),
		.uncorrectable = kind,
		.count = rd32(ZW_SOC_ECC_COUNT(kind)),
	};

	if (!event.count)
		return false;
	posted++;
	mbox_reply(ZW_MSG_EVENT_ECC, 0, ZW_MSG_OK, &event, sizeof(event));
	wr32(ZW_SOC_ECC_COUNT(kind), event.count);
	return true;
}

void event_run(void)
{
	/* What is lost comes before what was saved. */
	while (posted != allowed && (post_ecc(ZW_ECC_UNCORRECTABLE) || post_ecc(ZW_ECC_CORRECTED)))
		;
	listen();
}

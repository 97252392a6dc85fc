/* SPDX-License-Identifier: MIT */
/*
 * Records of single packets. The device makes and keeps them, and writes them when it is told to; here is known how many the
 * driver has room for. It says what it has read in memory that it may change at any time: it is read once and has to be a
 * number that was written, and not before the one that was read last.
 */
#include "dma.h"
#include "log.h"
#include "perf.h"

static uint64_t ctrl, taken;
static uint32_t slots; /* 0: nothing is recorded */

static void stop(const char *why)
{
	fw_log("perf: stopped, %s", why);
	wr32(ZW_SOC_PERF_SLOTS, 0);
	slots = 0;
}

/* While the driver has no room the device's interrupt would keep us awake: who makes some rings. */
static void hear(bool on)
{
	uint32_t enable = rd32(ZW_SOC_IRQ_ENABLE) & ~ZW_SOC_IRQ_PERF;

	wr32(ZW_SOC_IRQ_ENABLE, on ? enable | ZW_SOC_IRQ_PERF : enable);
}

uint32_t perf_set(const struct zw_msg_perf *m)
{
	uint64_t ring = u64_of(m->ring_lo, m->ring_hi), at = u64_of(m->ctrl_lo, m->ctrl_hi);

	if (!ring && !at && !m->slots) {
		wr32(ZW_SOC_PERF_SLOTS, 0);
		slots = 0;
		return ZW_MSG_OK;
	}
	if (!ring || !at || (ring | at) & 63 || m->slots < ZW_PERF_MIN_SLOTS ||
	    m->slots > ZW_PERF_MAX_SLOTS || m->slots & (m->slots - 1) ||
	    ring > UINT64_MAX - (uint64_t)m->slots * sizeof(struct zw_perf_record))
		return ZW_MSG_ERR_ARG;
	wr64(ZW_SOC_PERF_RING, ring);
	wr32(ZW_SOC_PERF_SLOTS, m->slots);
	slots = m->slots;
	ctrl = at;
	taken = 0;
	hear(true);
	return ZW_MSG_OK;
}

/* Slots that the driver has read. False: it stopped. */
static bool room(uint32_t *n)
{
	uint64_t written = rd64(ZW_SOC_PERF_WRITTEN), seen;

	if (dma_read(&dma_host, &seen, ctrl, sizeof(seen))) {
		stop("bus error");
		return false;
	}
	if (seen < taken || seen > written) {
		stop("what was read was never written");
		return false;
	}
	taken = seen;
	*n = slots - (uint32_t)(written - taken);
	return true;
}

void perf_run(void)
{
	uint32_t n = 0;

	if (!slots || !rd32(ZW_SOC_PERF_HELD) || !room(&n))
		return;
	hear(n);
	if (!n)
		return;
	wr32(ZW_SOC_PERF_WRITE, n);
	if (rd32(ZW_SOC_PERF_STATUS)) {
		stop("bus error");
		return;
	}
	wr32(ZW_SOC_MSIX_RAISE, ZW_VECTOR_MBOX);
}

uint32_t perf_settle(void)
{
	wr32(ZW_SOC_CP_SETTLE, 1);
	perf_run();
	return ZW_MSG_OK;
}

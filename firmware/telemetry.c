/* SPDX-License-Identifier: MIT */
/*
 * Telemetry: counters, power and temperature into a ring of the driver's, every so often. The interval is of the host's
 * clock: simulated time stands still while nothing runs and may rush when something does, so a monitor would get nothing
 * or a flood. When samples are taken therefore depends on the host; what each says is true of the settled time it names.
 */
#include "dma.h"
#include "log.h"
#include "telemetry.h"

_Static_assert(ZW_PMU_COUNT <= ZW_TELEMETRY_COUNTERS, "a record has room for all counters");

#define COUNTER(reg) (((reg)-ZW_REG_PMU) / 8)

/* The device stores counters in it. */
static struct zw_telemetry sample __attribute__((aligned(64)));
static uint64_t ring, seq, next_at;
static uint32_t slots, interval; /* interval 0: nothing is wanted */
static uint64_t last_ps, last_uj, last_capped;

static void look(void)
{
	wr64(ZW_SOC_PMU_SNAPSHOT, (uintptr_t)sample.counter);
	/* The device wrote behind the compiler's back. */
	__asm__ volatile("fence" ::: "memory");
}

static void remember(void)
{
	last_ps = sample.counter[COUNTER(ZW_PMU_SETTLED_PS)];
	last_uj = sample.counter[COUNTER(ZW_PMU_CHIP_ENERGY_UJ)];
	last_capped = sample.counter[COUNTER(ZW_PMU_CAPPED_PS)];
}

/* Since what was remembered. */
static uint32_t power_mw(void)
{
	uint64_t ps = sample.counter[COUNTER(ZW_PMU_SETTLED_PS)] - last_ps;
	uint64_t uj = sample.counter[COUNTER(ZW_PMU_CHIP_ENERGY_UJ)] - last_uj, mw;

	if (!ps)
		return rd32(ZW_SOC_IDLE_MW);
	/* uJ / ps = 10^9 mW, in 64 bits */
	for (; uj >> 34; uj >>= 1)
		ps >>= 1;
	mw = ps ? uj * 1000000000u / ps : UINT32_MAX;
	return mw < UINT32_MAX ? mw : UINT32_MAX;
}

uint32_t telemetry_set(const struct zw_msg_telemetry *m)
{
	uint64_t addr = u64_of(m->ring_lo, m->ring_hi);

	if (!addr && !m->slots && !m->interval_us) {
		interval = 0;
		return ZW_MSG_OK;
	}
	if (!addr || addr & 63 || m->slots < 2 || m->slots > ZW_TELEMETRY_MAX_SLOTS ||
	    m->slots & (m->slots - 1) || m->interval_us < ZW_TELEMETRY_MIN_US ||
	    m->interval_us > ZW_TELEMETRY_MAX_US)
		return ZW_MSG_ERR_ARG;
	ring = addr;
	slots = m->slots;
	interval = m->interval_us;
	next_at = now_us() + interval;
	seq = 0;
	look();
	remember();
	return ZW_MSG_OK;
}

/* The number last: who reads it finds the rest. */
static int put(void)
{
	uint64_t slot = ring + (seq & (slots - 1)) * sizeof(sample);
	const uint32_t body = offsetof(struct zw_telemetry, size);

	if (dma_write(&dma_host, slot + body, &sample.size, sizeof(sample) - body))
		return -1;
	return dma_write(&dma_host, slot, &sample.seq, sizeof(sample.seq));
}

uint64_t telemetry_run(void)
{
	uint64_t now;

	if (!interval)
		return UINT64_MAX;
	now = now_us();
	if (now < next_at)
		return next_at;
	look();
	sample.seq = ++seq;
	sample.size = offsetof(struct zw_telemetry, counter) + 8 * ZW_PMU_COUNT;
	sample.num_counters = ZW_PMU_COUNT;
	sample.host_us = now;
	sample.power_mw = power_mw();
	sample.temperature_mc = rd32(ZW_SOC_TEMPERATURE_MC);
	sample.cap_mw = rd32(ZW_SOC_CAP_MW);
	sample.throttle =
		sample.counter[COUNTER(ZW_PMU_CAPPED_PS)] != last_capped ? ZW_THROTTLE_POWER : 0;
	remember();
	if (put()) {
		fw_log("telemetry: stopped, bus error at %lx", (unsigned long)ring);
		interval = 0;
		return UINT64_MAX;
	}
	wr32(ZW_SOC_MSIX_RAISE, ZW_VECTOR_MBOX);
	/* What was missed is not made up for. */
	next_at += interval;
	if (next_at <= now)
		next_at = now + interval;
	return next_at;
}

/* SPDX-License-Identifier: MIT */
/* Main loop of the control-core firmware. */
#include "ctl.h"
#include "event.h"
#include "log.h"
#include "mbox.h"
#include "perf.h"
#include "sched.h"
#include "telemetry.h"
#include "vm.h"

void fw_main(void);

void *memset(void *d, int c, size_t n)
{
	uint8_t *p = d;

	while (n--)
		*p++ = c;
	return d;
}

void *memcpy(void *d, const void *s, size_t n)
{
	uint8_t *p = d;
	const uint8_t *q = s;

	for (; n && ((uintptr_t)p | (uintptr_t)q) & 7; n--)
		*p++ = *q++;
	for (; n >= 8; n -= 8, p += 8, q += 8)
		*(uint64_t __attribute__((may_alias)) *)p =
			*(const uint64_t __attribute__((may_alias)) *)q;
	while (n--)
		*p++ = *q++;
	return d;
}

void fw_main(void)
{
	uint32_t abi = rd32(ZW_SOC_ABI_VERSION);
	uint32_t heartbeat = 0;

	log_init();
	wr32(ZW_SOC_FW_VERSION, FW_VERSION);
	if (ZW_ABI_VERSION_MAJOR(abi) != ZW_ABI_MAJOR || rd32(ZW_SOC_NUM_QUEUES) > ZW_MAX_QUEUES ||
	    rd32(ZW_SOC_NUM_VMS) > ZW_MAX_VMS) {
		fw_log("device ABI %x does not suit this firmware", abi);
		wr32(ZW_SOC_FW_STATUS, ZW_SOC_FW_FAIL | 1);
		return;
	}
	mbox_init();
	wr32(ZW_SOC_IRQ_ENABLE, ZW_SOC_IRQ_MBOX | ZW_SOC_IRQ_DOORBELL | ZW_SOC_IRQ_CP |
					ZW_SOC_IRQ_TLB | ZW_SOC_IRQ_PERF);
	/* External and timer interrupts end WFI; with mstatus.MIE clear they do not trap. */
	__asm__ volatile("csrw mie, %0" ::"r"((1ul << 11) | (1ul << 7)));
	fw_log("firmware %u.%u.%u up, ABI %u.%u", ZW_FW_VERSION_MAJOR(FW_VERSION),
	       ZW_FW_VERSION_MINOR(FW_VERSION), ZW_FW_VERSION_PATCH(FW_VERSION), ZW_ABI_MAJOR,
	       ZW_ABI_MINOR);
	wr32(ZW_SOC_FW_STATUS, ZW_SOC_FW_READY);

	for (;;) {
		uint32_t pending = rd32(ZW_SOC_IRQ_PENDING);
		uint64_t wake, limit, sample;

		/* Acknowledge before looking: what arrives meanwhile raises the line again. */
		if (pending & (ZW_SOC_IRQ_MBOX | ZW_SOC_IRQ_TLB))
			wr32(ZW_SOC_IRQ_PENDING, pending & (ZW_SOC_IRQ_MBOX | ZW_SOC_IRQ_TLB));
		if (pending & ZW_SOC_IRQ_CP)
			sched_cp_done();
		if (pending & ZW_SOC_IRQ_DOORBELL)
			queue_doorbells();
		if (pending & ZW_SOC_IRQ_MBOX)
			mbox_poll();
		if (pending & (ZW_SOC_IRQ_MBOX | ZW_SOC_IRQ_TLB))
			vm_tlb_done();
		if (pending & ZW_SOC_IRQ_ECC)
			event_run();
		wake = sched_run();
		perf_run();
		sample = telemetry_run();
		if (sample < wake)
			wake = sample;

		fw_shared->loops++;
		wr32(ZW_SOC_HEARTBEAT, ++heartbeat);
		limit = now_us() + FW_HEARTBEAT_US;
		wr64(ZW_SOC_MTIMECMP, wake < limit ? wake : limit);
		__asm__ volatile("wfi" ::: "memory");
	}
}

/* SPDX-License-Identifier: MIT */
/* Mailbox: typed, numbered requests from the driver; every one is answered exactly once. */
#include "ctl.h"
#include "dma.h"
#include "event.h"
#include "log.h"
#include "mbox.h"
#include "perf.h"
#include "queue.h"
#include "reply.h"
#include "telemetry.h"
#include "vm.h"

static uint64_t h2f;
static uint32_t next_in = 1; /* number of the next request */

void mbox_init(void)
{
	h2f = rd64(ZW_SOC_MBOX_H2F);
	reply_init();
}

static uint32_t scrub(const struct zw_msg_scrub *m)
{
	uint64_t addr = u64_of(m->addr_lo, m->addr_hi);
	uint64_t size = u64_of(m->size_lo, m->size_hi);

	if ((addr | size) & 0xfff || !size)
		return ZW_MSG_ERR_ARG;
	wr64(ZW_SOC_SCRUB_ADDR, addr);
	wr64(ZW_SOC_SCRUB_SIZE, size);
	wr32(ZW_SOC_SCRUB_CTRL, 1);
	return rd32(ZW_SOC_SCRUB_STATUS) ? ZW_MSG_ERR_ARG : ZW_MSG_OK;
}

static void query_fw(uint32_t reply_to)
{
	struct zw_msg_fw_info info = {
		.fw_version = FW_VERSION,
		.abi_version = ZW_ABI_VERSION,
		.num_queues = rd32(ZW_SOC_NUM_QUEUES),
		.num_vms = rd32(ZW_SOC_NUM_VMS),
		.time_slice_us = FW_TIME_SLICE_US,
		.shared_size = sizeof(struct zw_fw_shared),
	};

	mbox_reply(ZW_MSG_QUERY_FW, reply_to, ZW_MSG_OK, &info, sizeof(info));
}

/* Bytes of payload that a request has; the rest of it is reserved. */
static uint32_t payload_size(uint32_t type)
{
	switch (type) {
	case ZW_MSG_PING:
		return sizeof(struct zw_msg_ping);
	case ZW_MSG_SET_VM:
		return sizeof(struct zw_msg_set_vm);
	case ZW_MSG_CLEAR_VM:
		/* the same structure, of which only the VM means anything */
		return offsetof(struct zw_msg_set_vm, root_lo);
	case ZW_MSG_TLB_INVALIDATE:
		return offsetof(struct zw_msg_tlb, reserved);
	case ZW_MSG_CREATE_QUEUE:
		return sizeof(struct zw_msg_create_queue);
	case ZW_MSG_DESTROY_QUEUE:
	case ZW_MSG_SUSPEND_QUEUE:
	case ZW_MSG_RESUME_QUEUE:
	case ZW_MSG_QUERY_QUEUE:
		return sizeof(struct zw_msg_queue);
	case ZW_MSG_SCRUB_HBM:
		return sizeof(struct zw_msg_scrub);
	case ZW_MSG_TELEMETRY:
		return sizeof(struct zw_msg_telemetry);
	case ZW_MSG_EVENTS:
		return sizeof(struct zw_msg_events);
	case ZW_MSG_PERF:
		return sizeof(struct zw_msg_perf);
	default:
		return 0;
	}
}

static bool known(uint32_t type)
{
	return payload_size(type) || type == ZW_MSG_QUERY_FW || type == ZW_MSG_SETTLE;
}

static bool reserved_clear(const struct zw_msg *msg)
{
	if (msg->status || msg->reply_to)
		return false;
	for (uint32_t i = payload_size(msg->type); i < ZW_MSG_PAYLOAD; i++)
		if (msg->payload[i])
			return false;
	return true;
}

/* The descriptor is read once; what this firmware does not know of it has to be zero. */
static uint32_t create_queue(const struct zw_msg_create_queue *m)
{
	static uint8_t buf[ZW_QUEUE_DESC_MAX] __attribute__((aligned(8)));
	struct zw_queue_desc desc;
	uint64_t addr = u64_of(m->desc_lo, m->desc_hi);

	if (m->desc_bytes < ZW_QUEUE_DESC_MIN || m->desc_bytes > ZW_QUEUE_DESC_MAX || addr & 63)
		return ZW_MSG_ERR_ARG;
	if (dma_read(&dma_host, buf, addr, m->desc_bytes))
		return ZW_MSG_ERR_DMA;
	/* A shorter one is an earlier driver's, which wants none of what it does not know. */
	memset(&desc, 0, sizeof(desc));
	memcpy(&desc, buf, m->desc_bytes < sizeof(desc) ? m->desc_bytes : sizeof(desc));
	if (desc.size != m->desc_bytes)
		return ZW_MSG_ERR_ARG;
	for (uint32_t i = sizeof(desc); i < m->desc_bytes; i++)
		if (buf[i])
			return ZW_MSG_ERR_ARG;
	return queue_create(m->queue, &desc);
}

static void handle(const struct zw_msg *msg)
{
	const void *p = msg->payload;
	const struct zw_msg_queue *mq = p;
	struct zw_msg_queue_info info;
	uint32_t status = ZW_MSG_OK;

	fw_shared->messages++;
	if (!known(msg->type)) {
		fw_log("mbox: unknown message type %x", msg->type);
		mbox_reply(msg->type, msg->seq, ZW_MSG_ERR_TYPE, NULL, 0);
		return;
	}
	if (!reserved_clear(msg)) {
		mbox_reply(msg->type, msg->seq, ZW_MSG_ERR_ARG, NULL, 0);
		return;
	}
	if (msg->function) {
		/* The mailbox is the physical function's; others come with SR-IOV. */
		mbox_reply(msg->type, msg->seq, ZW_MSG_ERR_UNSUPPORTED, NULL, 0);
		return;
	}
	switch (msg->type) {
	case ZW_MSG_PING:
		mbox_reply(msg->type, msg->seq, ZW_MSG_OK, p, sizeof(struct zw_msg_ping));
		return;
	case ZW_MSG_QUERY_FW:
		query_fw(msg->seq);
		return;
	case ZW_MSG_SET_VM:
		status = vm_set(p);
		break;
	case ZW_MSG_CLEAR_VM:
		vm_clear(p, msg->seq);
		return;
	case ZW_MSG_TLB_INVALIDATE:
		vm_invalidate(p, msg->seq);
		return;
	case ZW_MSG_CREATE_QUEUE:
		status = create_queue(p);
		break;
	case ZW_MSG_DESTROY_QUEUE:
		queue_destroy(mq->queue, msg->seq);
		return;
	case ZW_MSG_SUSPEND_QUEUE:
		queue_suspend(mq->queue, msg->seq);
		return;
	case ZW_MSG_RESUME_QUEUE:
		queue_resume(mq->queue, msg->seq);
		return;
	case ZW_MSG_QUERY_QUEUE:
		status = queue_info(mq->queue, &info);
		mbox_reply(msg->type, msg->seq, status, &info,
			   status == ZW_MSG_OK ? sizeof(info) : 0);
		return;
	case ZW_MSG_SCRUB_HBM:
		status = scrub(p);
		break;
	case ZW_MSG_TELEMETRY:
		status = telemetry_set(p);
		break;
	case ZW_MSG_EVENTS:
		status = event_allow(p);
		break;
	case ZW_MSG_PERF:
		status = perf_set(p);
		break;
	case ZW_MSG_SETTLE:
		status = perf_settle();
		break;
	}
	mbox_reply(msg->type, msg->seq, status, NULL, 0);
}

void mbox_poll(void)
{
	static struct zw_msg msg;

	for (;;) {
		uint64_t slot = h2f + (uint64_t)(next_in % ZW_MBOX_SLOTS) * sizeof(msg);
		uint32_t seq;

		/*
		 * seq by itself, before the rest: the driver may be writing this slot just now, and one
		 * transfer of all 64 bytes may see its seq and still the old payload.
		 */
		if (dma_read(&dma_host, &seq, slot + offsetof(struct zw_msg, seq), sizeof(seq))) {
			fw_log("mbox: bus error at %lx", (unsigned long)slot);
			return;
		}
		if (seq != next_in)
			return;
		if (dma_read(&dma_host, &msg, slot, sizeof(msg)) || msg.seq != seq) {
			fw_log("mbox: message %u vanished", seq);
			return;
		}
		next_in++;
		handle(&msg);
	}
}

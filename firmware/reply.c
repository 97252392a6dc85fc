/* SPDX-License-Identifier: MIT */
/* Replies to the driver, numbered in the order in which they are given. */
#include "dma.h"
#include "log.h"
#include "reply.h"

static uint64_t f2h;
static uint32_t next_out = 1; /* number of the next reply */

void reply_init(void)
{
	f2h = rd64(ZW_SOC_MBOX_F2H);
}

void mbox_reply(uint32_t type, uint32_t reply_to, uint32_t status, const void *payload,
		uint32_t len)
{
	static struct zw_msg msg;
	uint64_t slot = f2h + (uint64_t)(next_out % ZW_MBOX_SLOTS) * sizeof(msg);
	const uint8_t *src = payload;

	msg = (struct zw_msg){
		.type = type, .status = status, .reply_to = reply_to, .seq = next_out};
	for (uint32_t i = 0; i < len && i < ZW_MSG_PAYLOAD; i++)
		msg.payload[i] = src[i];
	/* The reader takes a message whose seq is the expected one, so seq goes out last. */
	if (dma_write(&dma_host, slot, &msg, offsetof(struct zw_msg, seq)) ||
	    dma_write(&dma_host, slot + offsetof(struct zw_msg, seq), &msg.seq, sizeof(msg.seq)))
		fw_log("mbox: reply to %u lost, bus error at %lx", reply_to, (unsigned long)slot);
	next_out++;
	wr32(ZW_SOC_MSIX_RAISE, ZW_VECTOR_MBOX);
}

// SPDX-License-Identifier: MIT
/* Mailbox: requests to the firmware, one at a time, and its replies. */
#include <errno.h>
#include <string.h>

#include "sim.h"

#define CHECK_NS 200000000 /* between two looks at whether the firmware still lives */

int zw_sim_mbox_init(struct sim *sim)
{
	struct sim_mbox *m = &sim->mbox;
	int ret = zw_sim_region_new(sim, 2 * ZW_MBOX_SLOTS * sizeof(struct zw_msg), &m->mem);

	if (ret)
		return ret;
	pthread_mutex_init(&m->lock, NULL);
	m->h2f = (struct zw_msg *)(void *)m->mem.ptr;
	m->f2h = m->h2f + ZW_MBOX_SLOTS;
	zw_sim_write64(sim, ZW_REG_MBOX_H2F, m->mem.dma);
	zw_sim_write64(sim, ZW_REG_MBOX_F2H, m->mem.dma + ZW_MBOX_SLOTS * sizeof(struct zw_msg));
	return 0;
}

void zw_sim_mbox_fini(struct sim *sim)
{
	if (!sim->mbox.mem.ptr)
		return;
	zw_sim_region_free(sim, &sim->mbox.mem);
	pthread_mutex_destroy(&sim->mbox.lock);
}

/* The next message of the firmware, if it is there. */
static bool receive(struct sim *sim, struct zw_msg *msg)
{
	struct sim_mbox *m = &sim->mbox;
	struct zw_msg *slot = &m->f2h[(m->received + 1) % ZW_MBOX_SLOTS];

	if (__atomic_load_n(&slot->seq, __ATOMIC_ACQUIRE) != m->received + 1)
		return false;
	*msg = *slot;
	m->received++;
	return true;
}

/* Waits for any message. false: the device is lost. */
static bool receive_wait(struct sim *sim, struct zw_msg *msg)
{
	for (;;) {
		if (receive(sim, msg))
			return true;
		pthread_mutex_lock(&sim->irq_lock);
		if (!(sim->irqs & 1u << ZW_VECTOR_MBOX) &&
		    !zw_sim_cond_wait(&sim->irq_cond, &sim->irq_lock, zw_deadline(CHECK_NS))) {
			pthread_mutex_unlock(&sim->irq_lock);
			/* a lost interrupt is no lost message: it is looked for all the same */
			if (!zw_sim_alive(sim))
				return receive(sim, msg);
			continue;
		}
		sim->irqs &= ~(1u << ZW_VECTOR_MBOX);
		pthread_mutex_unlock(&sim->irq_lock);
	}
}

int zw_sim_mbox_call(struct sim *sim, enum zw_msg_type type, const void *payload, size_t bytes,
		     void *reply, size_t reply_bytes)
{
	struct sim_mbox *m = &sim->mbox;
	struct zw_msg msg = {.type = type};
	struct zw_msg *slot;
	uint32_t seq;
	int ret = 0;

	if (atomic_load(&sim->lost))
		return -ENODEV;
	memcpy(msg.payload, payload, bytes);
	pthread_mutex_lock(&m->lock);
	seq = ++m->sent;
	slot = &m->h2f[seq % ZW_MBOX_SLOTS];
	memcpy(slot, &msg, offsetof(struct zw_msg, seq));
	__atomic_store_n(&slot->seq, seq, __ATOMIC_RELEASE);
	zw_sim_write32(sim, ZW_REG_MBOX_DOORBELL, 1);
	for (;;) {
		if (!receive_wait(sim, &msg)) {
			ret = -ENODEV;
			break;
		}
		if (msg.type >= ZW_MSG_EVENT_BASE) {
			zw_sim_log(sim, ZW_DEV_LOG_DEBUG, "firmware event 0x%x", msg.type);
			continue;
		}
		/* one request is outstanding, so an answer to anything else breaks the protocol */
		if (msg.reply_to != seq || msg.type != type) {
			ret = -ENODEV;
			break;
		}
		if (msg.status != ZW_MSG_OK) {
			zw_sim_log(sim, ZW_DEV_LOG_ERROR,
				   "firmware refused message 0x%x: status %u", type, msg.status);
			ret = -EIO;
		} else if (reply) {
			memcpy(reply, msg.payload, reply_bytes);
		}
		break;
	}
	pthread_mutex_unlock(&m->lock);
	if (ret == -ENODEV)
		zw_sim_lose(sim, "no sensible answer from the firmware's mailbox");
	return ret;
}

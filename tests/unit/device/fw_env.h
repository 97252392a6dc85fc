/* SPDX-License-Identifier: MIT */
/*
 * A device that runs the real firmware, and what a driver does with it: mailbox, queues. Failures are
 * those of the test. Messages are sent by one thread at a time.
 */
#ifndef FW_ENV_H
#define FW_ENV_H

#include "device_env.h"
#include "zhenwu/zw_cmd.h"

#define SLOTS      8                       /* of a queue's ring and of its completions */
#define FW_DESC    (SYS_REQUEST + 0x20000) /* in system memory, of a queue to be made */
#define FW_ROOT    (40 * MIB)
#define FW_RESULTS UINT64_C(0x1000000) /* a page a queue */
#define FW_SEMS    UINT64_C(0x1100000)
#define FW_DATA    UINT64_C(0x1200000)
#define FW_CMDS    UINT64_C(0x200000) /* 1 MiB a queue */
#define FW_SYS_VA  (32 * MIB)         /* where VM 1 has 4 KiB of system memory: SYS_DATA */

struct fw {
	struct device_env *e;
	uint32_t requests, replies;
};

struct ring {
	struct fw *fw;
	uint32_t id;
	uint64_t ring, ctrl, compl_ring, seq;
};

/* Reads the image that a test program's only argument names; false, said why, without one. */
bool fw_load(int argc, char **argv);
void fw_unload(void);
/* Loads the image and starts it without waiting. */
void fw_start(struct fw *f);
/* With the image that is there, which the device may be reading right now. */
void fw_start_again(struct fw *f);
/*
 * Boots it, with VM 1: 2 MiB pages, VA = HBM address for the first 32 MiB; behind them a page of the
 * host.
 */
void fw_boot(struct fw *f);
/* cmocka fixtures: a device with booted firmware is *state, a struct fw. */
int fw_setup(void **state);
int fw_teardown(void **state);

/* Words in system memory that the device writes while we look. */
void fw_get(struct fw *f, void *dst, uint64_t addr, size_t len);
void fw_put(struct fw *f, uint64_t addr, const void *src, size_t len);

/* Sends a message, whose seq it sets, and returns that. */
uint32_t fw_send(struct fw *f, struct zw_msg *m);
/* Looks for the next reply, which fw_wait_reply() would take. */
bool fw_replied(struct fw *f, struct zw_msg *reply);
/* Takes the next reply, which must be to `seq`; returns its status. */
uint32_t fw_wait_reply(struct fw *f, uint32_t seq, struct zw_msg *reply);
/* Both; reply may be NULL. */
uint32_t fw_request(struct fw *f, uint32_t type, const void *payload, size_t len,
		    struct zw_msg *reply);

/* Zeroed memory of a queue, from 1 on. */
struct ring fw_ring(struct fw *f, uint32_t id);
struct zw_queue_desc fw_desc(struct ring *q, uint32_t prio);
/* Hands a descriptor of `bytes` bytes over; status. */
uint32_t fw_create_with(struct ring *q, const void *desc, uint32_t bytes);
struct ring fw_create(struct fw *f, uint32_t id, uint32_t prio);
/* A request with struct zw_msg_queue; status. */
uint32_t fw_on_queue(struct ring *q, uint32_t type, struct zw_msg *reply);
uint32_t fw_queue_state(struct ring *q);
/* Where the commands of a queue go, and results of its jobs. */
uint64_t fw_cmd_of(struct ring *q);
uint64_t fw_result_va(struct ring *q, uint64_t seq);
/* What is in the slot of a completion; fw_done: it is the one numbered seq. */
struct zw_completion fw_slot(struct ring *q, uint64_t seq);
bool fw_done(struct ring *q, uint64_t seq, struct zw_completion *c);
/* Publishes a tail and rings. */
void fw_ring_bell(struct ring *q, uint32_t tail);

#endif /* FW_ENV_H */

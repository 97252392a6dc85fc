// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mailbox: what the driver writes for the firmware, and what it makes of anything that the firmware
 * may have written.
 */

#include "zhenwu_kunit.h"

struct zhenwu_ipc_test {
	struct zhenwu_kunit *k;
	struct zhenwu_ipc *ipc;
	struct zhenwu_device *zdev;
	u32 seq; /* of the last message of the firmware */
};

static void zhenwu_ipc_test_no_work(struct work_struct *work)
{
}

static struct zhenwu_ipc_test *zhenwu_ipc_test_begin(struct kunit *test)
{
	struct zhenwu_ipc_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);
	struct zw_msg *rings = kunit_kzalloc(test, 2 * ZHENWU_IPC_RING_BYTES, GFP_KERNEL);

	if (!t || !rings)
		return NULL;
	t->k = test->priv;
	t->zdev = t->k->zdev;
	t->ipc = &t->zdev->ipc;
	spin_lock_init(&t->ipc->lock);
	init_waitqueue_head(&t->ipc->wait);
	t->ipc->h2f = rings;
	t->ipc->f2h = rings + ZW_MBOX_SLOTS;
	/* Events are counted, and nothing comes of them. */
	INIT_DELAYED_WORK(&t->zdev->ras.work, zhenwu_ipc_test_no_work);
	zhenwu_ipc_prepare(t->zdev);
	zhenwu_ipc_up(t->zdev);
	return t;
}

static int zhenwu_ipc_test_place(struct zhenwu_ipc_test *t, struct zhenwu_ipc_wait *w)
{
	memset(w, 0, sizeof(*w));
	init_completion(&w->done);
	return zhenwu_ipc_place(t->zdev, w, t->ipc->session, ZW_MSG_PING, "ping", 4);
}

/* The next message of the firmware. */
static void zhenwu_ipc_test_post(struct zhenwu_ipc_test *t, u32 type, u32 reply_to, u32 status)
{
	struct zw_msg *msg = &t->ipc->f2h[++t->seq % ZW_MBOX_SLOTS];

	memset(msg, 0, sizeof(*msg));
	msg->type = cpu_to_le32(type);
	msg->reply_to = cpu_to_le32(reply_to);
	msg->status = cpu_to_le32(status);
	memset(msg->payload, reply_to, sizeof(msg->payload));
	msg->seq = cpu_to_le32(t->seq);
}

static void zhenwu_ipc_test_exchange(struct kunit *test)
{
	struct zhenwu_ipc_test *t = zhenwu_ipc_test_begin(test);
	struct zhenwu_ipc_wait a, b;
	const struct zw_msg *msg;

	KUNIT_ASSERT_NOT_NULL(test, t);
	/* What a longer message of the last round left. */
	memset(t->ipc->h2f[1].payload, 0xff, sizeof(t->ipc->h2f[1].payload));
	KUNIT_EXPECT_EQ(test, zhenwu_ipc_test_place(t, &a), 0);
	KUNIT_EXPECT_EQ(test, zhenwu_ipc_test_place(t, &b), 0);
	msg = &t->ipc->h2f[1];
	KUNIT_EXPECT_EQ(test, le32_to_cpu(msg->seq), 1u);
	KUNIT_EXPECT_EQ(test, le32_to_cpu(msg->type), (u32)ZW_MSG_PING);
	KUNIT_EXPECT_EQ(test, memcmp(msg->payload, "ping", 4), 0);
	KUNIT_EXPECT_TRUE(test, !memchr_inv(msg->payload + 4, 0, sizeof(msg->payload) - 4));
	KUNIT_EXPECT_EQ(test, *(u32 *)(t->k->regs + ZW_REG_MBOX_DOORBELL), 1u);
	KUNIT_EXPECT_EQ(test, t->ipc->outstanding, 2u);
	/* Nothing came yet. */
	zhenwu_ipc_poll(t->zdev);
	KUNIT_EXPECT_FALSE(test, completion_done(&a.done));
	/* In any order. */
	zhenwu_ipc_test_post(t, ZW_MSG_PING, b.seq, ZW_MSG_ERR_BUSY);
	zhenwu_ipc_test_post(t, ZW_MSG_PING, a.seq, ZW_MSG_OK);
	zhenwu_ipc_poll(t->zdev);
	KUNIT_EXPECT_TRUE(test, completion_done(&a.done));
	KUNIT_EXPECT_TRUE(test, completion_done(&b.done));
	KUNIT_EXPECT_EQ(test, a.error, 0);
	KUNIT_EXPECT_EQ(test, a.reply.payload[7], 1);
	KUNIT_EXPECT_EQ(test, le32_to_cpu(b.reply.status), (u32)ZW_MSG_ERR_BUSY);
	KUNIT_EXPECT_EQ(test, t->ipc->outstanding, 0u);
}

/* Round the ring, and on where numbers of 32 bits begin anew. */
static void zhenwu_ipc_test_wrap(struct kunit *test)
{
	struct zhenwu_ipc_test *t = zhenwu_ipc_test_begin(test);
	struct zhenwu_ipc_wait w;
	u32 start = -100;
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, t);
	t->ipc->h2f_seq = start;
	t->ipc->f2h_seq = start;
	t->seq = start;
	for (i = 1; i <= 300; i++) {
		KUNIT_ASSERT_EQ(test, zhenwu_ipc_test_place(t, &w), 0);
		KUNIT_ASSERT_EQ(test, w.seq, start + i);
		KUNIT_ASSERT_EQ(test, le32_to_cpu(t->ipc->h2f[w.seq % ZW_MBOX_SLOTS].seq), w.seq);
		zhenwu_ipc_test_post(t, ZW_MSG_PING, w.seq, ZW_MSG_OK);
		zhenwu_ipc_poll(t->zdev);
		KUNIT_ASSERT_EQ(test, completion_done(&w.done), true);
	}
}

/* Answers to what was not asked, twice, or long ago. */
static void zhenwu_ipc_test_wrong_answers(struct kunit *test)
{
	struct zhenwu_ipc_test *t = zhenwu_ipc_test_begin(test);
	static const u32 to[] = { 0, 2, 1 + ZW_MBOX_SLOTS, U32_MAX, 1u << 31 };
	struct zhenwu_ipc_wait w;
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, t);
	KUNIT_EXPECT_EQ(test, zhenwu_ipc_test_place(t, &w), 0);
	for (i = 0; i < ARRAY_SIZE(to); i++)
		zhenwu_ipc_test_post(t, ZW_MSG_PING, to[i], ZW_MSG_OK);
	zhenwu_ipc_poll(t->zdev);
	KUNIT_EXPECT_EQ(test, t->ipc->f2h_seq, (u32)ARRAY_SIZE(to));
	KUNIT_EXPECT_FALSE(test, completion_done(&w.done));
	KUNIT_EXPECT_EQ(test, t->ipc->outstanding, 1u);
	zhenwu_ipc_test_post(t, ZW_MSG_PING, w.seq, ZW_MSG_OK);
	zhenwu_ipc_test_post(t, ZW_MSG_PING, w.seq, ZW_MSG_ERR_ARG);
	zhenwu_ipc_poll(t->zdev);
	KUNIT_EXPECT_TRUE(test, completion_done(&w.done));
	KUNIT_EXPECT_EQ(test, le32_to_cpu(w.reply.status), (u32)ZW_MSG_OK);
	KUNIT_EXPECT_EQ(test, t->ipc->outstanding, 0u);
}

/* Only the number that is next is taken; not even those behind a gap. */
static void zhenwu_ipc_test_wrong_numbers(struct kunit *test)
{
	struct zhenwu_ipc_test *t = zhenwu_ipc_test_begin(test);
	static const u32 seq[] = { 0, 2, 1 + ZW_MBOX_SLOTS, U32_MAX };
	struct zhenwu_ipc_wait w;
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, t);
	KUNIT_EXPECT_EQ(test, zhenwu_ipc_test_place(t, &w), 0);
	zhenwu_ipc_test_post(t, ZW_MSG_PING, w.seq, ZW_MSG_OK);
	zhenwu_ipc_test_post(t, ZW_MSG_PING, w.seq, ZW_MSG_OK);
	for (i = 0; i < ARRAY_SIZE(seq); i++) {
		t->ipc->f2h[1].seq = cpu_to_le32(seq[i]);
		zhenwu_ipc_poll(t->zdev);
		KUNIT_EXPECT_EQ(test, t->ipc->f2h_seq, 0u);
	}
	KUNIT_EXPECT_FALSE(test, completion_done(&w.done));
	t->ipc->f2h[1].seq = cpu_to_le32(1);
	zhenwu_ipc_poll(t->zdev);
	KUNIT_EXPECT_TRUE(test, completion_done(&w.done));
	KUNIT_EXPECT_EQ(test, t->ipc->f2h_seq, 2u);
}

/* Half of the ring may wait; who gave up keeps the slot until the answer. */
static void zhenwu_ipc_test_full(struct kunit *test)
{
	struct zhenwu_ipc_test *t = zhenwu_ipc_test_begin(test);
	struct zhenwu_ipc_wait *w, late;
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, t);
	w = kunit_kzalloc(test, ZHENWU_IPC_MAX_PENDING * sizeof(*w), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, w);
	for (i = 0; i < ZHENWU_IPC_MAX_PENDING; i++)
		KUNIT_EXPECT_EQ(test, zhenwu_ipc_test_place(t, &w[i]), 0);
	KUNIT_EXPECT_EQ(test, zhenwu_ipc_test_place(t, &late), -EAGAIN);
	zhenwu_ipc_forget(t->zdev, &w[3], true);
	KUNIT_EXPECT_EQ(test, zhenwu_ipc_test_place(t, &late), -EAGAIN);
	zhenwu_ipc_test_post(t, ZW_MSG_PING, w[3].seq, ZW_MSG_OK);
	zhenwu_ipc_poll(t->zdev);
	KUNIT_EXPECT_FALSE(test, completion_done(&w[3].done));
	KUNIT_EXPECT_EQ(test, zhenwu_ipc_test_place(t, &late), 0);
	zhenwu_ipc_forget(t->zdev, &w[4], false);
	KUNIT_EXPECT_EQ(test, t->ipc->outstanding, (unsigned int)ZHENWU_IPC_MAX_PENDING - 1);

	/* Down: all that wait are told, and nobody may ask. */
	zhenwu_ipc_down(t->zdev);
	KUNIT_EXPECT_TRUE(test, completion_done(&late.done));
	KUNIT_EXPECT_EQ(test, late.error, -EIO);
	KUNIT_EXPECT_FALSE(test, completion_done(&w[4].done));
	KUNIT_EXPECT_EQ(test, t->ipc->outstanding, 0u);
	KUNIT_EXPECT_EQ(test, zhenwu_ipc_test_place(t, &late), -EIO);
	/* What comes then is left alone. */
	zhenwu_ipc_test_post(t, ZW_MSG_PING, 1, ZW_MSG_OK);
	i = t->ipc->f2h_seq;
	zhenwu_ipc_poll(t->zdev);
	KUNIT_EXPECT_EQ(test, t->ipc->f2h_seq, i);
	/* The next session begins anew, and one of the last may not ask in it. */
	zhenwu_ipc_prepare(t->zdev);
	zhenwu_ipc_up(t->zdev);
	KUNIT_EXPECT_EQ(test, zhenwu_ipc_place(t->zdev, &late, t->ipc->session - 1, ZW_MSG_PING,
					       NULL, 0), -EIO);
	KUNIT_EXPECT_EQ(test, zhenwu_ipc_test_place(t, &late), 0);
	KUNIT_EXPECT_EQ(test, late.seq, 1u);
}

/* Events that are allowed are kept, others counted; a poll ends whatever is in the ring. */
static void zhenwu_ipc_test_events(struct kunit *test)
{
	struct zhenwu_ipc_test *t = zhenwu_ipc_test_begin(test);
	struct zhenwu_ras *ras;
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, t);
	ras = &t->zdev->ras;
	ras->allowed = 3;
	zhenwu_ipc_test_post(t, ZW_MSG_EVENT_ECC, 0, ZW_MSG_OK);
	zhenwu_ipc_test_post(t, ZW_MSG_EVENT_LINK, 0, ZW_MSG_OK);
	zhenwu_ipc_test_post(t, U32_MAX, 0, ZW_MSG_OK);
	zhenwu_ipc_test_post(t, ZW_MSG_EVENT_ECC, 0, ZW_MSG_OK);
	zhenwu_ipc_poll(t->zdev);
	KUNIT_EXPECT_EQ(test, ras->num, 1u);
	KUNIT_EXPECT_EQ(test, ras->read, 4u);
	KUNIT_EXPECT_EQ(test, ras->dropped, 3ull);
	for (i = 0; i < ZW_MBOX_SLOTS; i++)
		zhenwu_ipc_test_post(t, ZW_MSG_EVENT_ECC, 0, ZW_MSG_OK);
	/* Numbers that go on for ever, as a device could write them. */
	zhenwu_ipc_poll(t->zdev);
	KUNIT_EXPECT_EQ(test, t->ipc->f2h_seq, 4u + ZW_MBOX_SLOTS);
	KUNIT_EXPECT_EQ(test, ras->num, 1u);
	KUNIT_EXPECT_EQ(test, ras->dropped, 3ull + ZW_MBOX_SLOTS);
	cancel_delayed_work_sync(&ras->work);
}

static void zhenwu_ipc_test_errors(struct kunit *test)
{
	u32 status;

	KUNIT_EXPECT_EQ(test, zhenwu_ipc_status_to_errno(ZW_MSG_OK), 0);
	for (status = 1; status < 100; status++)
		KUNIT_EXPECT_LE(test, zhenwu_ipc_status_to_errno(status), -1);
	KUNIT_EXPECT_EQ(test, zhenwu_ipc_status_to_errno(ZW_MSG_ERR_TYPE), -EOPNOTSUPP);
	KUNIT_EXPECT_EQ(test, zhenwu_ipc_status_to_errno(U32_MAX), -EPROTO);
}

static struct kunit_case zhenwu_ipc_test_cases[] = {
	KUNIT_CASE(zhenwu_ipc_test_exchange),
	KUNIT_CASE(zhenwu_ipc_test_wrap),
	KUNIT_CASE(zhenwu_ipc_test_wrong_answers),
	KUNIT_CASE(zhenwu_ipc_test_wrong_numbers),
	KUNIT_CASE(zhenwu_ipc_test_full),
	KUNIT_CASE(zhenwu_ipc_test_events),
	KUNIT_CASE(zhenwu_ipc_test_errors),
	{}
};

static struct kunit_suite zhenwu_ipc_suite = {
	.name = "zhenwu_ipc",
	.init = zhenwu_kunit_init,
	.exit = zhenwu_kunit_exit,
	.test_cases = zhenwu_ipc_test_cases,
};

kunit_test_suite(zhenwu_ipc_suite);

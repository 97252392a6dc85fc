/* SPDX-License-Identifier: MIT */
/* Events of the real firmware: never more than the host allowed, and nothing of them is lost. */
#include <unistd.h>
#include "fw_env.h"

#define PAGE UINT64_C(4096)

static void hbm_error(struct fw *f, enum zw_inject kind, uint64_t addr)
{
	assert_int_equal(zw_device_inject(f->e->dev, kind, addr, 0, 0), 0);
}

static uint32_t allow(struct fw *f, uint32_t allowed)
{
	struct zw_msg_events m = {.allowed = allowed};

	return fw_request(f, ZW_MSG_EVENTS, &m, sizeof(m), NULL);
}

/* Nothing is posted by itself. */
static void silence(struct fw *f)
{
	struct zw_msg r;

	usleep(100000);
	assert_false(fw_replied(f, &r));
}

static struct zw_msg_event_ecc next_event(struct fw *f)
{
	struct zw_msg_event_ecc event;
	struct zw_msg r;

	WAIT_FOR(fw_replied(f, &r));
	f->replies++;
	assert_int_equal(r.type, ZW_MSG_EVENT_ECC);
	assert_int_equal(r.status, 0);
	assert_int_equal(r.reply_to, 0);
	memcpy(&event, r.payload, sizeof(event));
	for (size_t i = sizeof(event); i < ZW_MSG_PAYLOAD; i++)
		assert_int_equal(r.payload[i], 0);
	return event;
}

static void expect(struct fw *f, enum zw_ecc_kind kind, uint64_t addr, uint32_t count)
{
	struct zw_msg_event_ecc e = next_event(f);

	assert_int_equal(e.uncorrectable, kind);
	assert_int_equal(e.addr_lo | (uint64_t)e.addr_hi << 32, addr);
	assert_int_equal(e.count, count);
}

/* A host that knows nothing of events gets none, and they cost the firmware nothing. */
static void unasked(void **state)
{
	struct fw *f = *state;
	uint32_t beat;

	for (int i = 0; i < 3; i++)
		hbm_error(f, ZW_INJECT_ECC_CORRECTED, 5 * PAGE + 8);
	hbm_error(f, ZW_INJECT_ECC_UNCORRECTED, 6 * PAGE);
	silence(f);
	/* Asleep, not in a circle around an interrupt that nobody clears. */
	beat = r32(f->e, ZW_REG_FW_HEARTBEAT);
	usleep(300000);
	assert_in_range(r32(f->e, ZW_REG_FW_HEARTBEAT) - beat, 1, 10);
	assert_int_equal(fw_request(f, ZW_MSG_PING, "abcd", 4, NULL), ZW_MSG_OK);
	/* asked, later: all of it, what is lost first */
	assert_int_equal(allow(f, 8), ZW_MSG_OK);
	expect(f, ZW_ECC_UNCORRECTABLE, 6 * PAGE, 1);
	expect(f, ZW_ECC_CORRECTED, 5 * PAGE, 3);
	hbm_error(f, ZW_INJECT_ECC_CORRECTED, 7 * PAGE);
	expect(f, ZW_ECC_CORRECTED, 7 * PAGE, 1);
	silence(f);
}

static void as_many_as_allowed(void **state)
{
	struct fw *f = *state;

	assert_int_equal(allow(f, ZW_MBOX_EVENTS + 1), ZW_MSG_ERR_ARG);
	assert_int_equal(allow(f, ~0u), ZW_MSG_ERR_ARG);
	for (uint64_t i = 0; i < 8; i++)
		hbm_error(f, ZW_INJECT_ECC_CORRECTED, i * PAGE);
	silence(f);
	assert_int_equal(allow(f, 2), ZW_MSG_OK);
	for (uint64_t i = 0; i < 2; i++)
		expect(f, ZW_ECC_CORRECTED, i * PAGE, 1);
	silence(f);
	/* The same again is no more. */
	assert_int_equal(allow(f, 2), ZW_MSG_OK);
	hbm_error(f, ZW_INJECT_ECC_CORRECTED, 3 * PAGE);
	silence(f);
	assert_int_equal(allow(f, 3), ZW_MSG_OK);
	expect(f, ZW_ECC_CORRECTED, 2 * PAGE, 1);
	assert_int_equal(allow(f, ZW_MBOX_EVENTS + 4), ZW_MSG_ERR_ARG);
	assert_int_equal(allow(f, 2), ZW_MSG_ERR_ARG);
	assert_int_equal(allow(f, ZW_MBOX_EVENTS + 3), ZW_MSG_OK);
	expect(f, ZW_ECC_CORRECTED, 3 * PAGE, 2);
	for (uint64_t i = 4; i < 8; i++)
		expect(f, ZW_ECC_CORRECTED, i * PAGE, 1);
	silence(f);
}

/*
 * A host that allows all it may and then reads nothing, with half a ring of requests outstanding: the other half fills
 * with events, none is overwritten, and the firmware goes on.
 */
static void flood(void **state)
{
	enum { ERRORS = 5000, REQUESTS = ZW_MBOX_SLOTS / 2 };
	struct fw *f = *state;
	uint64_t corrected = 0;
	unsigned int events = 0, answers = 0;
	uint32_t read = 0, first;
	struct zw_msg_event_ecc e;
	struct zw_msg r;

	assert_int_equal(allow(f, ZW_MBOX_EVENTS), ZW_MSG_OK);
	first = f->requests;
	for (unsigned int i = 0; i < ERRORS; i++) {
		struct zw_msg ping = {.type = ZW_MSG_PING};

		hbm_error(f, ZW_INJECT_ECC_CORRECTED, i % 300 * PAGE);
		if (i % (ERRORS / REQUESTS) == 0 && f->requests - first < REQUESTS)
			fw_send(f, &ping);
		if (i % 64 == 0)
			usleep(1000);
	}
	assert_int_equal(f->requests - first, REQUESTS);
	usleep(200000);
	/* It is all there, and no more than there is room for. */
	while (fw_replied(f, &r)) {
		f->replies++;
		if (r.type == ZW_MSG_EVENT_ECC) {
			memcpy(&e, r.payload, sizeof(e));
			corrected += e.count;
			events++;
		} else {
			assert_int_equal(r.type, ZW_MSG_PING);
			assert_int_equal(r.reply_to, first + ++answers);
		}
	}
	assert_int_equal(events, ZW_MBOX_EVENTS);
	assert_int_equal(answers, REQUESTS);
	assert_in_range(corrected, 1, ERRORS - 1);
	/* The rest, summed up. */
	for (read = events; corrected < ERRORS; read++) {
		assert_in_range(read, events, events + ZW_SOC_ECC_PAGES + 1);
		assert_int_equal(allow(f, read + 1), ZW_MSG_OK);
		e = next_event(f);
		corrected += e.count;
	}
	assert_int_equal(corrected, ERRORS);
	assert_int_equal(r64(f->e, ZW_PMU_ECC_CORRECTED), ERRORS);
	assert_int_equal(allow(f, read + 1), ZW_MSG_OK);
	silence(f);
}

/* Numbers begin anew with the firmware; what is lost of HBM is told to the next one. */
static void over_a_reset(void **state)
{
	struct fw *f = *state;

	assert_int_equal(allow(f, 1), ZW_MSG_OK);
	hbm_error(f, ZW_INJECT_ECC_CORRECTED, PAGE);
	expect(f, ZW_ECC_CORRECTED, PAGE, 1);
	hbm_error(f, ZW_INJECT_ECC_UNCORRECTED, 2 * PAGE);
	hbm_error(f, ZW_INJECT_ECC_CORRECTED, 3 * PAGE);
	silence(f);
	w32(f->e, ZW_REG_RESET, ZW_RESET_KEY);
	env_wait_reg(f->e, ZW_REG_RESET_STATUS, 0);
	fw_boot(f);
	silence(f);
	assert_int_equal(allow(f, 4), ZW_MSG_OK);
	expect(f, ZW_ECC_UNCORRECTABLE, 2 * PAGE, 1);
	silence(f);
}

static void lie(void **state)
{
	struct fw *f = *state;
	char err[128] = "";

	assert_int_equal(
		zw_device_inject_text(f->e->dev, "lie-event=0x123456789abcdef0", err, sizeof(err)),
		0);
	assert_int_equal(allow(f, 4), ZW_MSG_OK);
	hbm_error(f, ZW_INJECT_ECC_CORRECTED, PAGE);
	hbm_error(f, ZW_INJECT_ECC_CORRECTED, PAGE);
	expect(f, ZW_ECC_UNCORRECTABLE, 0x123456789abcdef0, 1);
}

/* The firmware believes that it may post more than it may. */
static void lie_allowed(void **state)
{
	struct fw *f = *state;

	for (uint64_t i = 0; i < 8; i++)
		hbm_error(f, ZW_INJECT_ECC_CORRECTED, i * PAGE);
	assert_int_equal(zw_device_inject(f->e->dev, ZW_INJECT_LIE_ALLOWED, 3, 0, 0), 0);
	/* Another message is none of its business. */
	assert_int_equal(fw_request(f, ZW_MSG_PING, "abcd", 4, NULL), ZW_MSG_OK);
	assert_int_equal(allow(f, 2), ZW_MSG_OK);
	for (uint64_t i = 0; i < 5; i++)
		expect(f, ZW_ECC_CORRECTED, i * PAGE, 1);
	silence(f);
	/* It was the one time. */
	assert_int_equal(allow(f, 6), ZW_MSG_OK);
	expect(f, ZW_ECC_CORRECTED, 5 * PAGE, 1);
	silence(f);
	assert_int_equal(zw_device_inject(f->e->dev, ZW_INJECT_LIE_ALLOWED, 1, 0, 0), 0);
	assert_int_equal(allow(f, 6 + ZW_MBOX_EVENTS), ZW_MSG_ERR_ARG);
}

int main(int argc, char **argv)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fw_setup, fw_teardown)
	const struct CMUnitTest tests[] = {
		T(unasked), T(as_many_as_allowed), T(flood), T(over_a_reset),
		T(lie),     T(lie_allowed),
	};

	if (!fw_load(argc, argv))
		return 1;
	int ret = cmocka_run_group_tests_name("events", tests, NULL, NULL);

	fw_unload();
	return ret;
}

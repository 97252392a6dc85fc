// SPDX-License-Identifier: MIT
/*
 * Telemetry: samples that the firmware puts into a ring, taken over into a history by whoever reads or changes the
 * interval. The firmware may be the user's own image: a number counts when it belongs into its slot, is larger than the
 * last one, and not larger than the time that has passed allows. As in the kernel driver.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"
#include "zw_copy.h"

#define SLOTS    256u
#define HISTORY  256u
#define CHECK_NS 200000000 /* between two looks at whether the firmware still lives */

void zw_sim_telemetry_init(struct sim *sim)
{
	pthread_mutex_init(&sim->telemetry.lock, NULL);
}

void zw_sim_telemetry_fini(struct sim *sim)
{
	struct sim_telemetry *t = &sim->telemetry;

	if (t->mem.ptr)
		zw_sim_region_free(sim, &t->mem);
	free(t->history);
	pthread_mutex_destroy(&t->lock);
}

static uint64_t now_ns(void)
{
	return (uint64_t)zw_deadline(0);
}

static struct zw_telemetry *slot_of(struct sim_telemetry *t, uint64_t n)
{
	return (struct zw_telemetry *)(void *)t->mem.ptr + n % SLOTS;
}

static uint64_t number_at(struct sim_telemetry *t, uint64_t n)
{
	return __atomic_load_n(&slot_of(t, n)->seq, __ATOMIC_ACQUIRE);
}

static uint64_t scan(struct sim_telemetry *t, uint64_t limit)
{
	uint64_t best = 0;

	for (uint64_t i = 0; i < SLOTS; i++) {
		uint64_t n = number_at(t, i);

		if (n % SLOTS == i && n > t->last && n <= limit && (!best || n < best))
			best = n;
	}
	return best;
}

/* The number of the next sample, 0: none. */
static uint64_t next_number(struct sim_telemetry *t, uint64_t limit)
{
	uint64_t n = t->last + 1;

	if (number_at(t, n) == n)
		return n;
	/* twice: it may have come together with others, whose slots were looked at too early */
	return scan(t, limit) ? scan(t, limit) : 0;
}

/* Lock held. */
static void take_over(struct sim_telemetry *t)
{
	uint64_t now = now_ns(), limit, n;

	if (!t->interval_us)
		return;
	limit = t->last + SLOTS + 2 * ((now - t->last_ns) / 1000 / t->interval_us);
	for (unsigned int i = 0; i < SLOTS && (n = next_number(t, limit)); i++) {
		struct zw_dev_sample *s;
		struct zw_telemetry raw;

		/* a reader whose number is not there knows that it is lost */
		t->seq += n - t->last;
		t->last = n;
		t->last_ns = now;
		s = &t->history[t->seq % HISTORY];
		s->seq = 0;
		zw_copy_from(&raw, slot_of(t, n), sizeof(raw));
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		/* who overwrites it begins behind the number, when the one in front of it is complete */
		if (number_at(t, n) != n || number_at(t, n + SLOTS - 1) == n + SLOTS - 1)
			continue;
		*s = (struct zw_dev_sample){
			.seq = t->seq,
			.time_ns = now,
			.device_us = raw.host_us,
			.power_mw = raw.power_mw,
			.temperature_mc = (int32_t)raw.temperature_mc,
			.cap_mw = raw.cap_mw,
			.throttle = raw.throttle,
			.num_counters = raw.num_counters < ZW_TELEMETRY_COUNTERS
						? raw.num_counters
						: ZW_TELEMETRY_COUNTERS,
		};
		memcpy(s->counter, raw.counter, s->num_counters * sizeof(s->counter[0]));
	}
}

/* Lock held. */
static int make(struct sim *sim, struct sim_telemetry *t)
{
	if (!t->history)
		t->history = calloc(HISTORY, sizeof(*t->history));
	if (!t->history)
		return -ENOMEM;
	return t->mem.ptr ? 0
			  : zw_sim_region_new(sim, SLOTS * sizeof(struct zw_telemetry), &t->mem);
}

/* Lock held. */
static int ask(struct sim *sim, struct sim_telemetry *t, uint32_t interval_us)
{
	struct zw_msg_telemetry msg = {0};
	int ret;

	/* numbers begin anew: the ring has to be quiet between the old ones and the new ones */
	ret = zw_sim_mbox_call(sim, ZW_MSG_TELEMETRY, &msg, sizeof(msg), NULL, 0);
	if (ret)
		return ret;
	take_over(t);
	t->interval_us = 0;
	if (!interval_us)
		return 0;
	memset(t->mem.ptr, 0, SLOTS * sizeof(struct zw_telemetry));
	t->last = 0;
	t->last_ns = now_ns();
	msg = (struct zw_msg_telemetry){
		.ring_lo = ZW_LO32(t->mem.dma),
		.ring_hi = ZW_HI32(t->mem.dma),
		.slots = SLOTS,
		.interval_us = interval_us,
	};
	ret = zw_sim_mbox_call(sim, ZW_MSG_TELEMETRY, &msg, sizeof(msg), NULL, 0);
	if (!ret)
		t->interval_us = interval_us;
	return ret;
}

int zw_sim_set_telemetry(struct zw_dev *dev, uint32_t interval_us)
{
	struct sim *sim = sim_of(dev);
	struct sim_telemetry *t = &sim->telemetry;
	int ret = 0;

	if (atomic_load(&sim->lost))
		return -ENODEV;
	pthread_mutex_lock(&t->lock);
	if (interval_us != t->interval_us) {
		if (interval_us)
			ret = make(sim, t);
		if (!ret)
			ret = ask(sim, t, interval_us);
	}
	pthread_mutex_unlock(&t->lock);
	/* the firmware is of before ABI 2.5; the log has it */
	return ret == -EIO ? -EOPNOTSUPP : ret;
}

/* Lock held. The samples from *seq on; both are as after them. */
static uint32_t give(struct sim_telemetry *t, uint8_t *samples, uint32_t max, size_t size,
		     uint64_t *seq, uint64_t *lost)
{
	uint32_t n = 0;

	if (t->seq >= *seq && t->seq - *seq >= HISTORY) {
		*lost += t->seq - *seq - (HISTORY - 1);
		*seq = t->seq - (HISTORY - 1);
	}
	for (; n < max && *seq <= t->seq; ++*seq) {
		const struct zw_dev_sample *s = &t->history[*seq % HISTORY];
		uint8_t *to = samples + n * size;

		if (s->seq != *seq) {
			++*lost;
			continue;
		}
		memset(to, 0, size);
		memcpy(to, s, size < sizeof(*s) ? size : sizeof(*s));
		n++;
	}
	return n;
}

/* Until number `next` may be there, or a while. */
static void doze(struct sim *sim, uint64_t next, int64_t deadline_ns)
{
	struct sim_telemetry *t = &sim->telemetry;
	int64_t check = zw_deadline(CHECK_NS);

	pthread_mutex_lock(&sim->irq_lock);
	/* under irq_lock, which the interrupt takes after the sample was written */
	if (number_at(t, next) != next)
		zw_sim_cond_wait(&sim->irq_cond, &sim->irq_lock,
				 deadline_ns < check ? deadline_ns : check);
	pthread_mutex_unlock(&sim->irq_lock);
}

int zw_sim_read_telemetry(struct zw_dev *dev, void *samples, uint32_t max, size_t size,
			  uint64_t *seq, uint64_t *lost, int64_t deadline_ns)
{
	struct sim *sim = sim_of(dev);
	struct sim_telemetry *t = &sim->telemetry;
	uint64_t at = *seq;
	int ret;

	for (;;) {
		uint64_t missing = 0, next;
		bool wanted;

		pthread_mutex_lock(&t->lock);
		take_over(t);
		if (!at)
			at = t->seq + 1;
		if (at > t->seq + 1) {
			pthread_mutex_unlock(&t->lock);
			return -EINVAL;
		}
		ret = (int)give(t, samples, max, size, &at, &missing);
		*lost += missing;
		wanted = t->interval_us;
		next = t->last + 1;
		pthread_mutex_unlock(&t->lock);
		if (ret)
			break;
		if (!zw_sim_alive(sim))
			return -ENODEV;
		if (!wanted)
			return -ENODATA;
		if (zw_deadline(0) >= deadline_ns)
			break;
		doze(sim, next, deadline_ns);
	}
	*seq = at;
	return ret;
}

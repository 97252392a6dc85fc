/* SPDX-License-Identifier: MIT */
/* Faults that a host injects: arming, and who asks whether something is to fail. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "zw_device_int.h"
#include "zw_inject.h"
#include "zw_state.h"
#include "zhenwu/zw_fw.h"
#include "zhenwu/zw_queue.h"

#define ALWAYS UINT64_MAX

static const char *const names[ZW_INJECT_COUNT] = {
	[ZW_INJECT_CLEAR] = "clear",
	[ZW_INJECT_HANG] = "hang",
	[ZW_INJECT_FW_TRAP] = "fw-trap",
	[ZW_INJECT_FW_SILENCE] = "fw-silence",
	[ZW_INJECT_LOST_IRQ] = "lost-irq",
	[ZW_INJECT_DMA_FAULT] = "dma-fault",
	[ZW_INJECT_ECC_CORRECTED] = "ecc-corrected",
	[ZW_INJECT_ECC_UNCORRECTED] = "ecc-uncorrected",
	[ZW_INJECT_LIE_STATUS] = "lie-status",
	[ZW_INJECT_LIE_SEQNO] = "lie-seqno",
	[ZW_INJECT_LINK_DOWN] = "link-down",
	[ZW_INJECT_STUCK_RESET] = "stuck-reset",
	[ZW_INJECT_LIE_SAMPLE] = "lie-sample",
	[ZW_INJECT_LIE_EVENT] = "lie-event",
	[ZW_INJECT_LIE_ALLOWED] = "lie-allowed",
	[ZW_INJECT_LIE_RECORD] = "lie-record",
	[ZW_INJECT_LIE_OWNER] = "lie-owner",
};

void zw_inject_init(struct zw_inject_state *inj)
{
	pthread_mutex_init(&inj->lock, NULL);
}

void zw_inject_fini(struct zw_inject_state *inj)
{
	pthread_mutex_destroy(&inj->lock);
}

static void set_locked(struct zw_inject_state *inj, enum zw_inject kind, uint64_t count)
{
	inj->count[kind] = count;
	if (count)
		atomic_fetch_or(&inj->armed, 1u << kind);
	else
		atomic_fetch_and(&inj->armed, ~(1u << kind));
}

static bool take_locked(struct zw_inject_state *inj, enum zw_inject kind)
{
	uint64_t n = inj->count[kind];

	if (n && n != ALWAYS)
		set_locked(inj, kind, n - 1);
	return n != 0;
}

void zw_inject_reset(struct zw_inject_state *inj)
{
	static const enum zw_inject gone[] = {
		ZW_INJECT_HANG,       ZW_INJECT_FW_TRAP,    ZW_INJECT_FW_SILENCE,
		ZW_INJECT_LIE_STATUS, ZW_INJECT_LIE_SEQNO,  ZW_INJECT_LIE_SAMPLE,
		ZW_INJECT_LIE_EVENT,  ZW_INJECT_LIE_RECORD, ZW_INJECT_LIE_OWNER};

	pthread_mutex_lock(&inj->lock);
	for (size_t i = 0; i < sizeof(gone) / sizeof(gone[0]); i++)
		set_locked(inj, gone[i], 0);
	pthread_mutex_unlock(&inj->lock);
}

/* -- questions -- */

bool zw_inject_armed(const struct zw_inject_state *inj, enum zw_inject kind)
{
	return inj && atomic_load_explicit(&inj->armed, memory_order_relaxed) & (1u << kind);
}

bool zw_inject_take(struct zw_inject_state *inj, enum zw_inject kind)
{
	bool taken;

	if (!zw_inject_armed(inj, kind))
		return false;
	pthread_mutex_lock(&inj->lock);
	taken = take_locked(inj, kind);
	pthread_mutex_unlock(&inj->lock);
	return taken;
}

uint64_t zw_inject_lie(struct zw_inject_state *inj, enum zw_inject kind, uint64_t truth)
{
	uint64_t value;

	pthread_mutex_lock(&inj->lock);
	value = take_locked(inj, kind) ? inj->value[kind] : truth;
	pthread_mutex_unlock(&inj->lock);
	return value;
}

void zw_inject_return(struct zw_inject_state *inj, enum zw_inject kind, unsigned int releases)
{
	pthread_mutex_lock(&inj->lock);
	if (atomic_load(&inj->releases) == releases && inj->count[kind] != ALWAYS)
		set_locked(inj, kind, inj->count[kind] + 1);
	pthread_mutex_unlock(&inj->lock);
}

static bool dma_fault(struct zw_inject_state *inj, uint64_t addr, uint64_t len, bool take)
{
	bool hit;

	if (!zw_inject_armed(inj, ZW_INJECT_DMA_FAULT))
		return false;
	pthread_mutex_lock(&inj->lock);
	/* The last bytes are compared: a range may end where 64 bits do. */
	hit = !inj->dma_len || (len && addr <= inj->dma_addr + (inj->dma_len - 1) &&
				addr + (len - 1) >= inj->dma_addr);
	if (hit && take)
		hit = take_locked(inj, ZW_INJECT_DMA_FAULT);
	pthread_mutex_unlock(&inj->lock);
	return hit;
}

bool zw_inject_dma(struct zw_inject_state *inj, uint64_t addr, uint64_t len)
{
	return dma_fault(inj, addr, len, true);
}

bool zw_inject_dma_armed(struct zw_inject_state *inj, uint64_t addr, uint64_t len)
{
	return dma_fault(inj, addr, len, false);
}

static bool is_event(const uint8_t *msg)
{
	uint32_t type;

	memcpy(&type, msg + offsetof(struct zw_msg, type), sizeof(type));
	return type == ZW_MSG_EVENT_ECC;
}

/*
 * The contracts about completions (zw_queue.h), samples and messages (zw_fw.h) are what tells them from other writes:
 * everything but the number first, the number last, which begins a sample and ends the others, elsewhere in a message.
 */
const uint8_t *zw_inject_write(struct zw_inject_state *inj, uint64_t addr, const uint8_t *p,
			       size_t len, uint8_t buf[64])
{
	const size_t body = offsetof(struct zw_completion, seqno);
	const size_t at = offsetof(struct zw_completion, status);
	struct zw_msg_event_ecc event;
	enum zw_inject kind;
	uint64_t seqno;
	uint32_t status;
	bool lie;

	if (addr % 64 == 0 && len == body)
		kind = ZW_INJECT_LIE_STATUS;
	else if (addr % 64 == body && len == sizeof(seqno))
		kind = ZW_INJECT_LIE_SEQNO;
	else if (addr % 64 == 0 && len == sizeof(seqno))
		kind = ZW_INJECT_LIE_SAMPLE;
	else if (addr % 64 == 0 && len == offsetof(struct zw_msg, seq) && is_event(p))
		kind = ZW_INJECT_LIE_EVENT;
	else
		return p;
	if (!zw_inject_armed(inj, kind))
		return p;
	memcpy(buf, p, len);
	pthread_mutex_lock(&inj->lock);
	lie = take_locked(inj, kind);
	if (lie && kind == ZW_INJECT_LIE_STATUS) {
		status = (uint32_t)inj->value[kind];
		memcpy(buf + at, &status, sizeof(status));
	} else if (lie && kind == ZW_INJECT_LIE_EVENT) {
		event.addr_lo = ZW_LO32(inj->value[kind]);
		event.addr_hi = ZW_HI32(inj->value[kind]);
		event.uncorrectable = ZW_ECC_UNCORRECTABLE;
		event.count = 1;
		memcpy(buf + offsetof(struct zw_msg, payload), &event, sizeof(event));
	} else if (lie) {
		memcpy(&seqno, buf, sizeof(seqno));
		seqno += inj->value[kind];
		memcpy(buf, &seqno, sizeof(seqno));
	}
	pthread_mutex_unlock(&inj->lock);
	return buf;
}

void zw_inject_read(struct zw_inject_state *inj, uint8_t *p, size_t len)
{
	struct zw_msg_events events;
	struct zw_msg msg;

	if (!zw_inject_armed(inj, ZW_INJECT_LIE_ALLOWED) || len != sizeof(msg))
		return;
	memcpy(&msg, p, sizeof(msg));
	if (msg.type != ZW_MSG_EVENTS)
		return;
	pthread_mutex_lock(&inj->lock);
	if (take_locked(inj, ZW_INJECT_LIE_ALLOWED)) {
		memcpy(&events, msg.payload, sizeof(events));
		events.allowed += (uint32_t)inj->value[ZW_INJECT_LIE_ALLOWED];
		memcpy(p + offsetof(struct zw_msg, payload), &events, sizeof(events));
	}
	pthread_mutex_unlock(&inj->lock);
}

/* -- arming -- */

/* The control core looks at its state again; a reset that stands still begins anew. */
static void poke(struct zw_device *dev)
{
	pthread_mutex_lock(&dev->lock);
	if (dev->run == ZW_RUN_STUCK && !zw_inject_armed(&dev->inject, ZW_INJECT_STUCK_RESET))
		zw_dev_enter_locked(dev, ZW_RUN_STOP);
	atomic_store(&dev->attention, true);
	zw_rv_request_stop(dev->rv);
	pthread_cond_signal(&dev->core_cond);
	pthread_mutex_unlock(&dev->lock);
}

void zw_inject_forget(struct zw_inject_state *inj)
{
	pthread_mutex_lock(&inj->lock);
	for (unsigned int k = 0; k < ZW_INJECT_COUNT; k++)
		set_locked(inj, k, 0);
	atomic_fetch_add(&inj->releases, 1);
	pthread_mutex_unlock(&inj->lock);
}

static int arm(struct zw_inject_state *inj, enum zw_inject kind, uint64_t count, uint64_t value)
{
	pthread_mutex_lock(&inj->lock);
	inj->value[kind] = value;
	set_locked(inj, kind, count);
	pthread_mutex_unlock(&inj->lock);
	return 0;
}

static int arm_dma(struct zw_inject_state *inj, uint64_t count, uint64_t addr, uint64_t len)
{
	if (!count || (len && addr > UINT64_MAX - (len - 1)) || (!len && addr))
		return -EINVAL;
	pthread_mutex_lock(&inj->lock);
	inj->dma_addr = addr;
	inj->dma_len = len;
	set_locked(inj, ZW_INJECT_DMA_FAULT, count);
	pthread_mutex_unlock(&inj->lock);
	return 0;
}

static int inject(struct zw_device *dev, enum zw_inject kind, uint64_t arg, uint64_t addr,
		  uint64_t len)
{
	struct zw_inject_state *inj = &dev->inject;
	int ret;

	if (kind != ZW_INJECT_DMA_FAULT && (addr || len))
		return -EINVAL;
	switch (kind) {
	case ZW_INJECT_CLEAR:
		zw_inject_forget(inj);
		zw_hbm_heal(&dev->hbm, 0, dev->hbm.size);
		return 0;
	case ZW_INJECT_FW_TRAP:
		return arm(inj, kind, 1, 0);
	case ZW_INJECT_FW_SILENCE:
	case ZW_INJECT_STUCK_RESET:
		return arm(inj, kind, ALWAYS, 0);
	case ZW_INJECT_HANG:
	case ZW_INJECT_LOST_IRQ:
		return arg ? arm(inj, kind, arg, 0) : -EINVAL;
	case ZW_INJECT_DMA_FAULT:
		return arm_dma(inj, arg, addr, len);
	case ZW_INJECT_ECC_CORRECTED:
		if (arg >= dev->hbm.size)
			return -EINVAL;
		atomic_fetch_add(&dev->pmu.ecc_corrected, 1);
		zw_dev_ecc(dev, ZW_ECC_CORRECTED, arg);
		zw_dev_log(dev, ZW_LOG_INFO, "HBM: error at 0x%" PRIx64 " corrected", arg);
		return 0;
	case ZW_INJECT_ECC_UNCORRECTED:
		ret = zw_hbm_poison(&dev->hbm, arg);
		if (!ret)
			zw_dev_ecc(dev, ZW_ECC_UNCORRECTABLE, arg);
		return ret;
	case ZW_INJECT_LIE_EVENT:
		return arm(inj, kind, 1, arg);
	case ZW_INJECT_LIE_OWNER:
	case ZW_INJECT_LIE_STATUS:
		return arg <= UINT32_MAX ? arm(inj, kind, 1, arg) : -EINVAL;
	case ZW_INJECT_LIE_ALLOWED:
		return arg && arg <= UINT32_MAX ? arm(inj, kind, 1, arg) : -EINVAL;
	case ZW_INJECT_LIE_SEQNO:
	case ZW_INJECT_LIE_SAMPLE:
	case ZW_INJECT_LIE_RECORD:
		return arg ? arm(inj, kind, 1, arg) : -EINVAL;
	case ZW_INJECT_LINK_DOWN:
		return -EOPNOTSUPP;
	default:
		return -EINVAL;
	}
}

int zw_device_inject(struct zw_device *dev, enum zw_inject kind, uint64_t arg, uint64_t addr,
		     uint64_t len)
{
	int ret = inject(dev, kind, arg, addr, len);

	if (!ret)
		poke(dev);
	return ret;
}

/* -- saved state -- */

ZW_STATE_SIZE(sizeof(struct zw_inject_state) - sizeof(pthread_mutex_t), 296);

void zw_inject_stream(struct zw_inject_state *inj, struct zw_state *st)
{
	pthread_mutex_lock(&inj->lock);
	zw_state_same(st, ZW_INJECT_COUNT, "the number of faults that can be injected");
	for (unsigned int k = 0; k < ZW_INJECT_COUNT; k++) {
		zw_state_u64(st, &inj->count[k]);
		zw_state_u64(st, &inj->value[k]);
		set_locked(inj, k, inj->count[k]);
	}
	zw_state_u64(st, &inj->dma_addr);
	zw_state_u64(st, &inj->dma_len);
	pthread_mutex_unlock(&inj->lock);
}

/* -- as text -- */

static bool number(const char **p, uint64_t *val)
{
	char *end;

	if (!strncmp(*p, "all", 3)) {
		*val = ALWAYS;
		*p += 3;
		return true;
	}
	if (**p < '0' || **p > '9')
		return false;
	errno = 0;
	*val = strtoull(*p, &end, 0);
	*p = end;
	return !errno;
}

static int refuse(char *err, size_t err_len, int ret, const char *text, const char *why)
{
	snprintf(err, err_len, "cannot inject '%s': %s", text, why);
	return ret;
}

int zw_device_inject_text(struct zw_device *dev, const char *text, char *err, size_t err_len)
{
	uint64_t n[3] = {1, 0, 0};
	size_t len = strcspn(text, "=");
	const char *p = text + len;
	unsigned int kind, given = 0;
	int ret;

	for (kind = 0; kind < ZW_INJECT_COUNT; kind++)
		if (strlen(names[kind]) == len && !memcmp(names[kind], text, len))
			break;
	if (kind == ZW_INJECT_COUNT)
		return refuse(err, err_len, -EINVAL, text, "no such fault");
	while (*p) {
		if (given == 3 || *p++ != (given ? ',' : '=') || !number(&p, &n[given++]))
			return refuse(err, err_len, -EINVAL, text,
				      "want FAULT[=NUMBER[,ADDRESS,BYTES]]");
	}
	if (!given && (kind == ZW_INJECT_ECC_CORRECTED || kind == ZW_INJECT_ECC_UNCORRECTED ||
		       kind == ZW_INJECT_LIE_EVENT))
		return refuse(err, err_len, -EINVAL, text, "want FAULT=ADDRESS");
	ret = zw_device_inject(dev, kind, n[0], n[1], n[2]);
	switch (ret) {
	case 0:
		return 0;
	case -EOPNOTSUPP:
		return refuse(err, err_len, ret, text, "this device has no links");
	case -ENOSPC:
		return refuse(err, err_len, ret, text, "too many bad pages");
	default:
		return refuse(err, err_len, ret, text, "number or address out of range");
	}
}

/* SPDX-License-Identifier: MIT */
/*
 * Device memory: one range of host memory that is used sparsely.
 *
 * Nothing is reserved up front, so 96 GiB of HBM cost the host only the pages that were written.
 * Two writers populate pages: the engines, through write views of the MMU, and the guest's CPUs,
 * through the aperture. Only the first can be refused, and that is what the backing limit does.
 */
#ifndef ZW_HBM_H
#define ZW_HBM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "zw_core.h"

#define ZW_HBM_CHUNK_SHIFT 21 /* unit of backing accounting, and of HBM sizes */
#define ZW_HBM_CHUNK       (UINT64_C(1) << ZW_HBM_CHUNK_SHIFT)

#define ZW_HBM_BAD_PAGES 16 /* most pages with an uncorrectable error at a time */

struct zw_hbm {
	uint8_t *base;
	uint64_t size;
	const struct zw_host_ops *ops;
	void *opaque;

	void *map; /* what fini unmaps; NULL when the host owns the memory */
	size_t map_len;

	pthread_mutex_t lock;
	/* Backing limit; all zero and unused without one. */
	uint64_t limit;
	uint64_t counted;    /* bytes taken to be backed */
	uint64_t borrowed;   /* of buffers that share the limit */
	uint64_t recount_at; /* value of counted that asks for a look at the real pages */
	uint16_t *charged;   /* per chunk: 4 KiB pages of it that are in counted */

	_Atomic unsigned int num_bad;
	_Atomic uint64_t bad_changes;   /* of what follows, and of how many they are */
	uint64_t bad[ZW_HBM_BAD_PAGES]; /* under lock; addresses of pages */
};

/*
 * memory NULL: the core maps it. ops and opaque outlive the HBM. 0, -EINVAL (size 0 or not a
 * multiple of 2 MiB) or -ENOMEM.
 */
int zw_hbm_init(struct zw_hbm *hbm, void *memory, uint64_t size, uint64_t limit,
		const struct zw_host_ops *ops, void *opaque);
void zw_hbm_fini(struct zw_hbm *hbm);

/* [off, off + len) lies inside, without overflow. */
static inline bool zw_hbm_contains(const struct zw_hbm *hbm, uint64_t off, uint64_t len)
{
	return off <= hbm->size && len <= hbm->size - off;
}

/*
 * An engine is about to write [off, off + len), which is inside. 0, or -ENOMEM when the pages this
 * may populate would exceed the limit. Thread safe.
 *
 * What counts: chunks of 2 MiB are charged in full when they are first named here; from time to
 * time the charge is replaced by what mincore() reports for all of HBM, so that aperture writes are
 * seen and chunks written only in part are not overcharged for good. Pages that were read but never
 * written count from then on too, as the kernel does not tell them apart. What the guest writes
 * through the aperture is seen but cannot be refused.
 */
int zw_hbm_reserve(struct zw_hbm *hbm, uint64_t off, uint64_t len);

/*
 * Other host memory that a guest can make the device take, while it has it: counts towards the same
 * limit. 0, or -ENOMEM. Thread safe.
 */
int zw_hbm_borrow(struct zw_hbm *hbm, uint64_t bytes);
void zw_hbm_give_back(struct zw_hbm *hbm, uint64_t bytes);

/* Bytes that the limit leaves, UINT64_MAX without one. Looks at the real pages. Thread safe. */
uint64_t zw_hbm_left(struct zw_hbm *hbm);

/*
 * Zeroes [off, off + len), giving pages back to the host where it can. The range is inside and 4
 * KiB aligned. Not together with engine access to it. stop (may be NULL) is polled; true ends early
 * with -ECANCELED.
 */
int zw_hbm_scrub(struct zw_hbm *hbm, uint64_t off, uint64_t len, bool (*stop)(void *), void *arg);

/*
 * Pages of 4 KiB with an uncorrectable error: from poison until a scrub, or heal, of all of the page. Thread safe.
 * poison: 0, -EINVAL (addr not inside) or -ENOSPC. bad_page: is there one in [off, off + len); *bad
 * its address, of the lowest of them.
 */
int zw_hbm_poison(struct zw_hbm *hbm, uint64_t addr);
void zw_hbm_heal(struct zw_hbm *hbm, uint64_t off, uint64_t len);
bool zw_hbm_bad_page(struct zw_hbm *hbm, uint64_t off, uint64_t len, uint64_t *bad);
/* Another number whenever other pages are bad. */
static inline uint64_t zw_hbm_bad_changes(const struct zw_hbm *hbm)
{
	return atomic_load(&hbm->bad_changes);
}

struct zw_state;
/*
 * Saves or loads what is known about HBM besides its contents (zw_state.h). After a load whatever
 * backs it is counted anew.
 */
void zw_hbm_state(struct zw_hbm *hbm, struct zw_state *st);

/* Bytes of host memory behind HBM now, by mincore(); walks everything. */
uint64_t zw_hbm_resident(const struct zw_hbm *hbm);

#endif /* ZW_HBM_H */

/* SPDX-License-Identifier: MIT */
#ifndef FW_IDS_H
#define FW_IDS_H

#include "fw.h"

/* A set of queue or VM numbers, 0..4095: 64 banks of 64 bits, and which banks are not empty. */
struct ids {
	uint64_t summary;
	uint64_t bank[ZW_SOC_BANKS];
};

#define IDS_NONE UINT32_MAX

static inline bool ids_has(const struct ids *s, uint32_t id)
{
	return s->bank[id / ZW_SOC_BANK_SIZE] >> (id % ZW_SOC_BANK_SIZE) & 1;
}

static inline void ids_add(struct ids *s, uint32_t id)
{
	s->bank[id / ZW_SOC_BANK_SIZE] |= 1ull << (id % ZW_SOC_BANK_SIZE);
	s->summary |= 1ull << (id / ZW_SOC_BANK_SIZE);
}

static inline void ids_remove(struct ids *s, uint32_t id)
{
	uint32_t b = id / ZW_SOC_BANK_SIZE;

	s->bank[b] &= ~(1ull << (id % ZW_SOC_BANK_SIZE));
	if (!s->bank[b])
		s->summary &= ~(1ull << b);
}

/* The lowest member that is at least `from`; IDS_NONE: there is none. */
static inline uint32_t ids_next(const struct ids *s, uint32_t from)
{
	uint32_t b = from / ZW_SOC_BANK_SIZE;
	uint64_t m;

	if (b >= ZW_SOC_BANKS)
		return IDS_NONE;
	m = s->bank[b] & (~0ull << (from % ZW_SOC_BANK_SIZE));
	if (!m) {
		m = b + 1 < ZW_SOC_BANKS ? s->summary & (~0ull << (b + 1)) : 0;
		if (!m)
			return IDS_NONE;
		b = lowest_bit(m);
		m = s->bank[b];
	}
	return b * ZW_SOC_BANK_SIZE + lowest_bit(m);
}

/* for (id = each member, rising) */
#define ids_for_each(id, s)                                                                        \
	for ((id) = ids_next(s, 0); (id) != IDS_NONE; (id) = ids_next(s, (id) + 1))

#endif /* FW_IDS_H */

// SPDX-License-Identifier: MIT
/*
 * The simulated times of semaphores. Memory holds only the value, as that is all a guest may have a say in: a time that
 * it could write would move the clocks of others.
 */
#include "zw_cp_int.h"

static bool same_place(const struct zw_mem_place *a, const struct zw_mem_place *b)
{
	return a->addr == b->addr && a->target == b->target;
}

static struct zw_cp_sem *find(struct zw_cp_sems *sems, const struct zw_mem_place *place)
{
	for (unsigned int i = 0; i < ZW_CP_SEMS; i++)
		if (sems->sem[i].age && same_place(&sems->sem[i].place, place))
			return &sems->sem[i];
	return NULL;
}

static struct zw_cp_sem *oldest(struct zw_cp_sems *sems)
{
	struct zw_cp_sem *old = &sems->sem[0];

	for (unsigned int i = 1; i < ZW_CP_SEMS; i++)
		if (sems->sem[i].age < old->age)
			old = &sems->sem[i];
	return old;
}

struct zw_cp_sem *zw_cp_sem_signalled(struct zw_cp_sems *sems, const struct zw_mem_place *place,
				      uint64_t value, uint64_t ps)
{
	struct zw_cp_sem *s = find(sems, place);

	if (!s) {
		s = oldest(sems);
		*s = (struct zw_cp_sem){.place = *place};
	}
	s->age = ++sems->signals;
	/* A lower value starts anew. The same value again was there already. */
	if (s->n && value < s->value[s->n - 1])
		s->n = 0;
	if (s->n && value == s->value[s->n - 1])
		return NULL;
	if (s->n == ZW_CP_SEM_VALUES) {
		for (unsigned int i = 1; i < s->n; i++) {
			s->value[i - 1] = s->value[i];
			s->ps[i - 1] = s->ps[i];
			s->settled[i - 1] = s->settled[i];
			s->entry[i - 1] = s->entry[i];
		}
		s->n--;
	}
	s->value[s->n] = value;
	/* until it is in the log */
	s->settled[s->n] = ps;
	s->entry[s->n] = ZW_CP_NO_ENTRY;
	s->ps[s->n++] = ps;
	return s;
}

struct zw_cp_sem *zw_cp_sem_find(struct zw_cp_sems *sems, const struct zw_mem_place *place,
				 uint64_t now, uint64_t wanted, unsigned int *value)
{
	struct zw_cp_sem *s = find(sems, place);

	/* Another value than the last one signalled: somebody else wrote it, at no time that is known here. */
	if (!s || s->value[s->n - 1] != now)
		return NULL;
	for (unsigned int i = 0; i < s->n; i++) {
		if (s->value[i] < wanted)
			continue;
		*value = i;
		return s;
	}
	return NULL;
}

uint64_t zw_cp_sem_reached(const struct zw_cp_sems *sems, const struct zw_mem_place *place,
			   uint64_t now, uint64_t wanted)
{
	unsigned int i;
	const struct zw_cp_sem *s =
		zw_cp_sem_find((struct zw_cp_sems *)sems, place, now, wanted, &i);

	return s ? s->ps[i] : 0;
}

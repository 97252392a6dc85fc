// SPDX-License-Identifier: MIT
/* Sets of places in a grammar, and what bytes make of them. */
#include "grammar_match.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORK_MAX  (1u << 20) /* pairs of one set: a grammar that is that ambiguous is given up */
#define SETS_KEEP 20000
#define SETS_MAX  500000
#define MASKS_MAX 256

static size_t hash_of(uint32_t x, uint32_t y)
{
	uint64_t h = ((uint64_t)x << 32 | y) * 0x9e3779b97f4a7c15ull;

	return (size_t)(h ^ h >> 29);
}

/* A table of at least twice the entries, emptied; 0 or -ENOMEM. */
static int table(uint32_t **at, size_t *cap, size_t entries)
{
	size_t want = *cap ? *cap : 256;
	uint32_t *t;

	while (want < entries * 2)
		want *= 2;
	if (want > *cap) {
		t = realloc(*at, want * sizeof(*t));
		if (!t)
			return -ENOMEM;
		*at = t;
		*cap = want;
	}
	memset(*at, 0, *cap * sizeof(**at));
	return 0;
}

/* ---- stacks ---- */

static uint32_t *frame_slot(struct gr_automaton *a, struct gr_frame f)
{
	size_t i = hash_of(f.state, f.below);

	for (;; i++) {
		uint32_t *at = &a->frame_at[i & (a->cap_frame_at - 1)];

		if (!*at || (a->frames[*at].state == f.state && a->frames[*at].below == f.below))
			return at;
	}
}

static int64_t frame_of(struct gr_automaton *a, uint32_t state, uint32_t below)
{
	struct gr_frame f = {state, below};
	uint32_t *at;

	if ((a->num_frames + 1) * 2 > a->cap_frame_at) {
		if (table(&a->frame_at, &a->cap_frame_at, a->num_frames * 2 + 2))
			return -ENOMEM;
		for (size_t i = 1; i < a->num_frames; i++)
			*frame_slot(a, a->frames[i]) = (uint32_t)i;
	}
	at = frame_slot(a, f);
	if (!*at) {
		if (llm_grow(&a->frames, &a->cap_frames, a->num_frames + 1, sizeof(f)))
			return -ENOMEM;
		a->frames[a->num_frames] = f;
		*at = (uint32_t)a->num_frames++;
	}
	return *at;
}

/* ---- the pairs of the set being made ---- */

static uint32_t *work_slot(struct gr_automaton *a, struct gr_pair p)
{
	size_t i = hash_of(p.state, p.frame);

	for (;; i++) {
		uint32_t *at = &a->work_at[i & (a->cap_work_at - 1)];
		const struct gr_pair *q = *at ? &a->work[*at - 1] : NULL;

		if (!q || (q->state == p.state && q->frame == p.frame))
			return at;
	}
}

static int work_add(struct gr_automaton *a, uint32_t state, uint32_t frame)
{
	struct gr_pair p = {state, frame};
	uint32_t *at;

	if (a->num_work == WORK_MAX)
		return -EFBIG;
	if ((a->num_work + 1) * 2 > a->cap_work_at) {
		if (table(&a->work_at, &a->cap_work_at, a->num_work * 2 + 2))
			return -ENOMEM;
		for (size_t i = 0; i < a->num_work; i++)
			*work_slot(a, a->work[i]) = (uint32_t)i + 1;
	}
	at = work_slot(a, p);
	if (*at)
		return 0;
	if (llm_grow(&a->work, &a->cap_work, a->num_work + 1, sizeof(p)))
		return -ENOMEM;
	a->work[a->num_work++] = p;
	*at = (uint32_t)a->num_work;
	return 0;
}

/* Everything that is reached without reading: through empty edges, into rules and out of them. */
static int close_over(struct gr_automaton *a, bool *complete)
{
	const struct zw_grammar *g = a->g;
	int ret = 0;

	*complete = false;
	for (size_t i = 0; i < a->num_work && !ret; i++) {
		struct gr_pair p = a->work[i];
		const struct gr_state *s = &g->states[p.state];

		for (uint32_t k = s->edges; k && !ret; k = g->edges[k - 1].next) {
			const struct gr_edge *e = &g->edges[k - 1];
			int64_t frame;

			if (e->kind == GR_EMPTY) {
				ret = work_add(a, e->to, p.frame);
			} else if (e->kind == GR_CALL) {
				frame = frame_of(a, e->to, p.frame);
				ret = frame < 0 ? (int)frame
						: work_add(a, g->rules[e->rule].start,
							   (uint32_t)frame);
			}
		}
		if (!s->final || ret)
			continue;
		if (p.frame)
			ret = work_add(a, a->frames[p.frame].state, a->frames[p.frame].below);
		else
			*complete = true;
	}
	return ret;
}

static bool reads(const struct zw_grammar *g, uint32_t state)
{
	for (uint32_t k = g->states[state].edges; k; k = g->edges[k - 1].next) {
		if (g->edges[k - 1].kind == GR_BYTES)
			return true;
	}
	return false;
}

static int by_pair(const void *a, const void *b)
{
	const struct gr_pair *x = a, *y = b;

	if (x->state != y->state)
		return x->state < y->state ? -1 : 1;
	return x->frame < y->frame ? -1 : x->frame > y->frame;
}

static size_t hash_pairs(const struct gr_pair *p, size_t n, bool complete)
{
	size_t h = complete;

	for (size_t i = 0; i < n; i++)
		h = hash_of((uint32_t)h ^ p[i].state, (uint32_t)(h >> 32) ^ p[i].frame);
	return h;
}

static uint32_t *set_slot(struct gr_automaton *a, const struct gr_pair *p, size_t n, bool complete)
{
	size_t i = hash_pairs(p, n, complete);

	for (;; i++) {
		uint32_t *at = &a->set_at[i & (a->cap_set_at - 1)];
		const struct gr_set *s = *at ? &a->sets[*at] : NULL;

		if (!s || (s->num == n && s->complete == complete &&
			   !memcmp(a->pairs + s->pairs, p, n * sizeof(*p))))
			return at;
	}
}

static int64_t set_of(struct gr_automaton *a, const struct gr_pair *p, size_t n, bool complete)
{
	uint32_t *at;

	if (!n && !complete)
		return SET_DEAD;
	if (a->num_sets >= SETS_MAX)
		return -EFBIG;
	if ((a->num_sets + 1) * 2 > a->cap_set_at) {
		if (table(&a->set_at, &a->cap_set_at, a->num_sets * 2 + 2))
			return -ENOMEM;
		for (size_t i = SET_FIRST; i < a->num_sets; i++) {
			const struct gr_set *s = &a->sets[i];

			*set_slot(a, a->pairs + s->pairs, s->num, s->complete) = (uint32_t)i;
		}
	}
	at = set_slot(a, p, n, complete);
	if (*at)
		return *at;
	if (llm_grow(&a->sets, &a->cap_sets, a->num_sets + 1, sizeof(*a->sets)) ||
	    llm_grow(&a->pairs, &a->cap_pairs, a->num_pairs + n + 1, sizeof(*p)))
		return -ENOMEM;
	memcpy(a->pairs + a->num_pairs, p, n * sizeof(*p));
	a->sets[a->num_sets] = (struct gr_set){
		.pairs = (uint32_t)a->num_pairs, .num = (uint32_t)n, .complete = complete};
	a->num_pairs += n;
	*at = (uint32_t)a->num_sets++;
	return *at;
}

/* The set of what is in `work`: only places that read something make a difference. */
static int64_t set_of_work(struct gr_automaton *a)
{
	bool complete;
	size_t n = 0;
	int ret = close_over(a, &complete);

	if (ret)
		return ret;
	for (size_t i = 0; i < a->num_work; i++) {
		if (reads(a->g, a->work[i].state))
			a->work[n++] = a->work[i];
	}
	if (n)
		qsort(a->work, n, sizeof(*a->work), by_pair);
	return set_of(a, a->work, n, complete);
}

static int begin_work(struct gr_automaton *a)
{
	/* One large set must not make all that follow it slow. */
	if (a->cap_work_at > 4096) {
		free(a->work_at);
		a->work_at = NULL;
		a->cap_work_at = 0;
	}
	a->num_work = 0;
	return table(&a->work_at, &a->cap_work_at, 0);
}

int64_t gr_first_set(struct gr_automaton *a, const struct zw_grammar *g)
{
	int ret;

	a->g = g;
	/* Frame 0 and the sets that are none. */
	if (!a->num_frames) {
		if (llm_grow(&a->frames, &a->cap_frames, 1, sizeof(*a->frames)) ||
		    llm_grow(&a->sets, &a->cap_sets, SET_FIRST, sizeof(*a->sets)) ||
		    llm_grow(&a->pairs, &a->cap_pairs, 1, sizeof(*a->pairs)))
			return -ENOMEM;
		a->frames[0] = (struct gr_frame){0, 0};
		a->num_frames = 1;
		memset(a->sets, 0, SET_FIRST * sizeof(*a->sets));
		a->num_sets = SET_FIRST;
	}
	ret = begin_work(a);
	if (!ret)
		ret = work_add(a, g->rules[g->root].start, 0);
	return ret ? ret : set_of_work(a);
}

int64_t gr_next_set(struct gr_automaton *a, uint32_t set, uint8_t byte)
{
	const struct zw_grammar *g = a->g;
	int64_t to;
	int ret;

	if (set == SET_DEAD)
		return SET_DEAD;
	if (!a->sets[set].next) {
		a->sets[set].next = calloc(256, sizeof(uint32_t));
		if (!a->sets[set].next)
			return -ENOMEM;
	}
	if (a->sets[set].next[byte])
		return a->sets[set].next[byte];
	ret = begin_work(a);
	for (uint32_t i = 0; i < a->sets[set].num && !ret; i++) {
		struct gr_pair p = a->pairs[a->sets[set].pairs + i];

		for (uint32_t k = g->states[p.state].edges; k && !ret; k = g->edges[k - 1].next) {
			const struct gr_edge *e = &g->edges[k - 1];

			if (e->kind == GR_BYTES && byte >= e->lo && byte <= e->hi)
				ret = work_add(a, e->to, p.frame);
		}
	}
	to = ret ? ret : set_of_work(a);
	if (to > 0)
		a->sets[set].next[byte] = (uint32_t)to;
	return to;
}

bool gr_set_is_end(const struct gr_automaton *a, uint32_t set)
{
	return a->sets[set].complete && !a->sets[set].num;
}

static void forget(struct gr_automaton *a)
{
	for (size_t i = SET_FIRST; i < a->num_sets; i++) {
		free(a->sets[i].next);
		free(a->sets[i].mask);
	}
	a->num_sets = a->num_sets ? SET_FIRST : 0;
	a->num_pairs = 0;
	a->num_frames = a->num_frames ? 1 : 0;
	a->num_masks = 0;
	if (a->frame_at)
		memset(a->frame_at, 0, a->cap_frame_at * sizeof(*a->frame_at));
	if (a->set_at)
		memset(a->set_at, 0, a->cap_set_at * sizeof(*a->set_at));
}

/* A stack of the old list in the new one. */
static int64_t move_frame(struct gr_automaton *a, const struct gr_frame *old, uint32_t frame)
{
	uint32_t *chain = NULL, at = 0;
	size_t n = 0, cap = 0;
	int64_t made = 0;

	for (; frame && !made; frame = old[frame].below) {
		if (llm_grow(&chain, &cap, n + 1, sizeof(*chain)))
			made = -ENOMEM;
		else
			chain[n++] = frame;
	}
	while (n && made >= 0) {
		made = frame_of(a, old[chain[--n]].state, at);
		at = made > 0 ? (uint32_t)made : 0;
	}
	free(chain);
	return made < 0 ? made : at;
}

int64_t gr_automaton_trim(struct gr_automaton *a, uint32_t set)
{
	struct gr_pair *pairs;
	struct gr_frame *old;
	size_t n = a->sets[set].num;
	bool complete = a->sets[set].complete;
	int64_t ret = 0;

	if (a->num_sets < SETS_KEEP && a->num_frames < 16 * SETS_KEEP && a->num_masks < MASKS_MAX)
		return set;
	pairs = malloc((n + 1) * sizeof(*pairs));
	old = malloc(a->num_frames * sizeof(*old));
	if (!pairs || !old) {
		free(pairs);
		free(old);
		return -ENOMEM;
	}
	memcpy(pairs, a->pairs + a->sets[set].pairs, n * sizeof(*pairs));
	memcpy(old, a->frames, a->num_frames * sizeof(*old));
	forget(a);
	for (size_t i = 0; i < n && ret >= 0; i++) {
		ret = move_frame(a, old, pairs[i].frame);
		pairs[i].frame = (uint32_t)ret;
	}
	if (ret >= 0) {
		if (n)
			qsort(pairs, n, sizeof(*pairs), by_pair);
		ret = set_of(a, pairs, n, complete);
	}
	free(pairs);
	free(old);
	return ret;
}

void gr_automaton_free(struct gr_automaton *a)
{
	forget(a);
	free(a->frames);
	free(a->frame_at);
	free(a->pairs);
	free(a->sets);
	free(a->set_at);
	free(a->work);
	free(a->work_at);
}

/* SPDX-License-Identifier: MIT */
/*
 * Inside of matchers. A place in a grammar is a set of pairs of a state and a stack of states to return
 * to. Sets and stacks are kept once each, so a set is a number, and what a byte makes of it is looked
 * up the second time: a deterministic automaton that is made as far as it is walked.
 */
#ifndef ZW_LLM_GRAMMAR_MATCH_H
#define ZW_LLM_GRAMMAR_MATCH_H

#include "grammar.h"
#include "trie.h"

#define SET_UNKNOWN 0u /* as the value of next[] */
#define SET_DEAD    1u
#define SET_FIRST   2u

/* Where to go on when the rule ends; frame 0 is below all. */
struct gr_frame {
	uint32_t state, below;
};

struct gr_pair {
	uint32_t state, frame;
};

struct gr_set {
	uint32_t pairs, num; /* in the list of pairs */
	bool complete;       /* the document may end here */
	uint32_t *next;      /* [256], NULL: nothing was looked up yet */
	uint64_t *mask;      /* of tokens, NULL: not yet */
	int8_t idle;         /* it lets every token through: 1; it does not: -1; 0: not known */
};

struct gr_automaton {
	const struct zw_grammar *g;
	struct gr_frame *frames;
	size_t num_frames, cap_frames;
	uint32_t *frame_at; /* open addressing, 0 = free */
	size_t cap_frame_at;
	struct gr_pair *pairs;
	size_t num_pairs, cap_pairs;
	struct gr_set *sets;
	size_t num_sets, cap_sets;
	uint32_t *set_at; /* open addressing, 0 = free */
	size_t cap_set_at;
	size_t num_masks;
	/* of one step */
	struct gr_pair *work;
	size_t num_work, cap_work;
	uint32_t *work_at; /* open addressing, index + 1 */
	size_t cap_work_at;
};

/* The first set, or what a byte makes of a set; SET_DEAD, or a negative errno. */
int64_t gr_first_set(struct gr_automaton *a, const struct zw_grammar *g);
int64_t gr_next_set(struct gr_automaton *a, uint32_t set, uint8_t byte);
/* True when nothing but the end is left. */
bool gr_set_is_end(const struct gr_automaton *a, uint32_t set);
/*
 * Forgets everything but one set when there is much: the number it has then, or a negative errno.
 * Not while sets are being walked.
 */
int64_t gr_automaton_trim(struct gr_automaton *a, uint32_t set);
void gr_automaton_free(struct gr_automaton *a);

#endif

// SPDX-License-Identifier: MIT
/* Matchers: which tokens may come, and what came. */
#include "grammar_match.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "token_list.h"

struct zw_grammar_vocab {
	struct trie trie; /* value: index in `same` */
	uint32_t *same;   /* by id: the next id with the same bytes, or TRIE_NONE */
	uint32_t *off;    /* by id: in bytes; off[id + 1] is its end; empty: there is no token */
	uint64_t *tokens; /* bit per id: there is one */
	char *bytes;
	size_t num_bytes, cap_bytes;
	uint32_t num;
};

struct zw_grammar_matcher {
	const struct zw_grammar *g;
	const struct zw_grammar_vocab *v;
	struct zw_token_list stop, trigger; /* owned */
	struct gr_automaton a;
	bool waiting;
	uint32_t set;
};

/* ---- vocabulary ---- */

static int add_token(struct zw_grammar_vocab *v, uint32_t id, const char *bytes, size_t len,
		     bool added)
{
	char *p;

	if (llm_grow(&v->bytes, &v->cap_bytes, v->num_bytes + len + 1, 1))
		return -ENOMEM;
	p = v->bytes + v->num_bytes;
	if (added)
		*p++ = (char)GR_ADDED;
	memcpy(p, bytes, len);
	for (size_t i = 0; i < len; i++) {
		if ((uint8_t)p[i] == GR_ADDED)
			p[i] = (char)GR_BAD;
	}
	p = v->bytes + v->num_bytes;
	len += added;
	v->num_bytes += len;
	v->tokens[id / 64] |= 1ull << id % 64;
	v->same[id] = trie_get(&v->trie, p, len);
	return trie_set(&v->trie, p, len, id);
}

int zw_grammar_vocab_open(const struct zw_tokenizer *tok, struct zw_grammar_vocab **out,
			  struct zw_error *err)
{
	struct zw_grammar_vocab *v;
	uint32_t n;

	if (!tok || !out)
		return llm_fail(err, -EINVAL, "zw_grammar_vocab_open: NULL argument");
	n = zw_tokenizer_size(tok);
	v = calloc(1, sizeof(*v));
	if (!v)
		return llm_fail(err, -ENOMEM, "out of memory");
	v->num = n;
	v->same = calloc((size_t)n + 1, sizeof(*v->same));
	v->off = calloc((size_t)n + 1, sizeof(*v->off));
	v->tokens = calloc((size_t)n / 64 + 1, sizeof(*v->tokens));
	if (!v->same || !v->off || !v->tokens)
		goto nomem;
	for (uint32_t id = 0; id < n; id++) {
		const char *bytes;
		uint32_t flags;
		size_t len;

		v->off[id] = (uint32_t)v->num_bytes;
		if (zw_tokenizer_token(tok, id, &bytes, &len, &flags) || !len)
			continue;
		if (add_token(v, id, bytes, len, flags & ZW_TOKEN_ADDED))
			goto nomem;
	}
	v->off[n] = (uint32_t)v->num_bytes;
	for (unsigned int i = 0; i < GR_BAD; i++) {
		char c = (char)i;

		if (trie_get(&v->trie, &c, 1) == TRIE_NONE) {
			zw_grammar_vocab_close(v);
			return llm_fail(err, -EOPNOTSUPP, "byte 0x%02x is no token by itself", i);
		}
	}
	*out = v;
	return 0;
nomem:
	zw_grammar_vocab_close(v);
	return llm_fail(err, -ENOMEM, "out of memory");
}

void zw_grammar_vocab_close(struct zw_grammar_vocab *v)
{
	if (!v)
		return;
	trie_free(&v->trie);
	free(v->same);
	free(v->off);
	free(v->tokens);
	free(v->bytes);
	free(v);
}

/* ---- matchers ---- */

static int copy_list(struct zw_token_list *to, const struct zw_token_list *from)
{
	int ret = 0;

	for (size_t i = 0; i < from->n && !ret; i++)
		ret = token_list_append(to, from->ids[i]);
	return ret;
}

static bool is_in(const struct zw_token_list *list, uint32_t id)
{
	for (size_t i = 0; i < list->n; i++) {
		if (list->ids[i] == id)
			return true;
	}
	return false;
}

static int begin(struct zw_grammar_matcher *m)
{
	int64_t set = gr_first_set(&m->a, m->g);

	if (set < 0)
		return (int)set;
	m->set = (uint32_t)set;
	return 0;
}

int zw_grammar_matcher_open(const struct zw_grammar *g, const struct zw_grammar_vocab *v,
			    const struct zw_grammar_matcher_options *opt,
			    struct zw_grammar_matcher **out, struct zw_error *err)
{
	struct zw_grammar_matcher_options o = {.size = sizeof(o)};
	struct zw_grammar_matcher *m;
	int ret;

	if (!g || !v || !out)
		return llm_fail(err, -EINVAL, "zw_grammar_matcher_open: NULL argument");
	if (opt) {
		ret = sized_in(&o, sizeof(o), SIZED_V0(struct zw_grammar_matcher_options, trigger),
			       opt);
		if (ret || o.reserved)
			return llm_fail(err, ret ? ret : -EINVAL,
					"zw_grammar_matcher_open: options of an unknown version");
	}
	m = calloc(1, sizeof(*m));
	if (!m)
		return llm_fail(err, -ENOMEM, "out of memory");
	m->g = g;
	m->v = v;
	m->waiting = o.trigger.n;
	ret = copy_list(&m->stop, &o.stop);
	if (!ret)
		ret = copy_list(&m->trigger, &o.trigger);
	if (!ret)
		ret = begin(m);
	if (ret) {
		zw_grammar_matcher_close(m);
		return llm_fail(err, ret, "%s",
				ret == -ENOMEM ? "out of memory" : "the grammar is too ambiguous");
	}
	*out = m;
	return 0;
}

void zw_grammar_matcher_close(struct zw_grammar_matcher *m)
{
	if (!m)
		return;
	gr_automaton_free(&m->a);
	token_list_free(&m->stop);
	token_list_free(&m->trigger);
	free(m);
}

void zw_grammar_matcher_reset(struct zw_grammar_matcher *m)
{
	m->waiting = m->trigger.n;
	/* The first set is known, so this cannot fail; after a trim it is made in memory that is there. */
	if (begin(m))
		m->set = SET_DEAD;
}

/* Marks what can be read from a node of the tree of tokens on. */
static int walk(struct zw_grammar_matcher *m, uint64_t *mask, uint32_t node, uint32_t set)
{
	const struct trie *t = &m->v->trie;

	for (uint32_t c = t->nodes[node].child; c; c = t->nodes[c].sibling) {
		int64_t to = gr_next_set(&m->a, set, t->nodes[c].byte);
		int ret;

		if (to < 0)
			return (int)to;
		if (to == SET_DEAD)
			continue;
		for (uint32_t id = t->nodes[c].value; id != TRIE_NONE; id = m->v->same[id])
			mask[id / 64] |= 1ull << id % 64;
		ret = walk(m, mask, c, (uint32_t)to);
		if (ret)
			return ret;
	}
	return 0;
}

static int mask_of(struct zw_grammar_matcher *m, const uint64_t **out)
{
	uint64_t *mask = m->a.sets[m->set].mask;
	int ret;

	if (!mask) {
		mask = calloc(m->v->num / 64 + 1, sizeof(*mask));
		ret = mask ? walk(m, mask, 0, m->set) : -ENOMEM;
		if (ret) {
			free(mask);
			return ret;
		}
		m->a.sets[m->set].mask = mask;
		m->a.num_masks++;
	}
	*out = mask;
	return 0;
}

int zw_grammar_matcher_mask(void *matcher, float *logits, size_t n)
{
	struct zw_grammar_matcher *m = matcher;
	bool complete = m->a.sets[m->set].complete;
	const uint64_t *mask;
	int ret;

	if (m->waiting)
		return 0;
	if (m->set == SET_DEAD)
		return -ENOMEM;
	ret = mask_of(m, &mask);
	if (ret)
		return ret;
	for (size_t i = 0; i < n; i++) {
		if ((i >= m->v->num || !(mask[i / 64] >> i % 64 & 1)) &&
		    !(complete && is_in(&m->stop, (uint32_t)i)))
			logits[i] = -INFINITY;
	}
	return 0;
}

int zw_grammar_matcher_idle(void *matcher)
{
	struct zw_grammar_matcher *m = matcher;
	const uint64_t *mask;
	struct gr_set *s;

	if (m->waiting)
		return 1;
	s = &m->a.sets[m->set];
	if (!s->complete || m->set == SET_DEAD || mask_of(m, &mask))
		return 0;
	s = &m->a.sets[m->set]; /* it may have moved */
	if (!s->idle)
		s->idle = memcmp(mask, m->v->tokens, (m->v->num / 64 + 1) * sizeof(*mask)) ? -1 : 1;
	return s->idle > 0;
}

/* Bytes of a token, or of a text that has no mark of added ones. */
static int accept_bytes(struct zw_grammar_matcher *m, const char *bytes, size_t len, bool token)
{
	int64_t set = m->set;

	for (size_t i = 0; i < len && set > 0; i++) {
		uint8_t byte = (uint8_t)bytes[i];

		set = gr_next_set(&m->a, (uint32_t)set, !token && byte == GR_ADDED ? GR_BAD : byte);
	}
	if (set < 0 || set == SET_DEAD)
		return set < 0 ? (int)set : -EINVAL;
	set = gr_automaton_trim(&m->a, (uint32_t)set);
	if (set < 0) {
		m->set = SET_DEAD;
		return (int)set;
	}
	m->set = (uint32_t)set;
	return 0;
}

int zw_grammar_matcher_accept_bytes(struct zw_grammar_matcher *m, const char *bytes, size_t len)
{
	return m->waiting ? 0 : accept_bytes(m, bytes, len, false);
}

int zw_grammar_matcher_accept(struct zw_grammar_matcher *m, uint32_t id)
{
	const struct zw_grammar_vocab *v = m->v;

	if (m->waiting) {
		if (!is_in(&m->trigger, id))
			return 0;
		m->waiting = false;
		return begin(m);
	}
	if (is_in(&m->stop, id) && m->a.sets[m->set].complete) {
		m->waiting = m->trigger.n;
		return 0;
	}
	if (id >= v->num || v->off[id] == v->off[id + 1])
		return -EINVAL;
	return accept_bytes(m, v->bytes + v->off[id], v->off[id + 1] - v->off[id], true);
}

enum zw_grammar_status zw_grammar_matcher_status(const struct zw_grammar_matcher *m)
{
	if (m->waiting)
		return ZW_GRAMMAR_WAITING;
	if (!m->a.sets[m->set].complete)
		return ZW_GRAMMAR_OPEN;
	return gr_set_is_end(&m->a, m->set) ? ZW_GRAMMAR_FINISHED : ZW_GRAMMAR_COMPLETE;
}

/* ---- the shortest way to the end ---- */

static uint64_t left_of(const struct zw_grammar_matcher *m, struct gr_pair p)
{
	uint64_t left = m->g->states[p.state].left;

	for (uint32_t f = p.frame; f; f = m->a.frames[f].below)
		left += m->g->states[m->a.frames[f].state].left;
	return left;
}

/* From a state to the end of its rule. */
static void write_rest(FILE *f, const struct zw_grammar *g, uint32_t state)
{
	while (g->states[state].left) {
		const struct gr_edge *e = &g->edges[g->states[state].via - 1];

		if (e->kind == GR_BYTES)
			fputc(e->lo, f);
		else if (e->kind == GR_CALL)
			write_rest(f, g, g->rules[e->rule].start);
		state = e->to;
	}
}

int zw_grammar_matcher_completion(const struct zw_grammar_matcher *m, char **text, size_t *len)
{
	const struct gr_set *s = &m->a.sets[m->set];
	struct gr_pair best = {0};
	uint64_t least = UINT64_MAX;
	FILE *f;

	if (m->waiting || m->set < SET_FIRST)
		return -EINVAL;
	*text = NULL;
	f = open_memstream(text, len);
	if (!f)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->num && !s->complete; i++) {
		struct gr_pair p = m->a.pairs[s->pairs + i];
		uint64_t left = left_of(m, p);

		if (left < least) {
			least = left;
			best = p;
		}
	}
	if (!s->complete) {
		write_rest(f, m->g, best.state);
		for (uint32_t k = best.frame; k; k = m->a.frames[k].below)
			write_rest(f, m->g, m->a.frames[k].state);
	}
	if (fclose(f) || !*text) {
		free(*text);
		return -ENOMEM;
	}
	return 0;
}

// SPDX-License-Identifier: MIT
/* One word to ids: the merges. */
#include "tokenizer.h"

#include <errno.h>
#include <stdlib.h>

/* Symbols of the word being merged: a doubly linked list in an array. */
struct tok_symbol {
	uint32_t id;
	int32_t prev, next; /* -1: none */
};

/* A possible merge at `pos`; stale once the symbols there have changed. */
struct tok_cand {
	uint32_t rank;
	uint32_t pos;
	uint32_t left, right, id;
};

int tok_emit(struct tok_encoder *e, uint32_t id)
{
	if (llm_grow(&e->ids, &e->cap, e->n + 1, sizeof(*e->ids)))
		return llm_fail(e->err, -ENOMEM, "out of memory");
	e->ids[e->n++] = id;
	return 0;
}

/* Lowest rank first; among equal ones the leftmost, as all occurrences go left to right. */
static bool cand_before(const struct tok_cand *a, const struct tok_cand *b)
{
	return a->rank != b->rank ? a->rank < b->rank : a->pos < b->pos;
}

static int heap_push(struct tok_encoder *e, struct tok_cand c)
{
	size_t i;

	if (llm_grow(&e->heap, &e->heap_cap, e->heap_n + 1, sizeof(*e->heap)))
		return llm_fail(e->err, -ENOMEM, "out of memory");
	for (i = e->heap_n++; i; i = (i - 1) / 2) {
		struct tok_cand *up = &e->heap[(i - 1) / 2];

		if (!cand_before(&c, up))
			break;
		e->heap[i] = *up;
	}
	e->heap[i] = c;
	return 0;
}

static struct tok_cand heap_pop(struct tok_encoder *e)
{
	struct tok_cand top = e->heap[0], last = e->heap[--e->heap_n];
	size_t i = 0;

	for (;;) {
		size_t c = 2 * i + 1;

		if (c >= e->heap_n)
			break;
		if (c + 1 < e->heap_n && cand_before(&e->heap[c + 1], &e->heap[c]))
			c++;
		if (!cand_before(&e->heap[c], &last))
			break;
		e->heap[i] = e->heap[c];
		i = c;
	}
	e->heap[i] = last;
	return top;
}

static int push_pair(struct tok_encoder *e, int32_t left)
{
	const struct tok_symbol *l, *r;
	const struct tok_merge *m;

	if (left < 0 || e->sym[left].next < 0)
		return 0;
	l = &e->sym[left];
	r = &e->sym[l->next];
	m = tok_merge_of(e->t, l->id, r->id);
	if (!m)
		return 0;
	return heap_push(e, (struct tok_cand){m->rank, (uint32_t)left, l->id, r->id, m->id});
}

/* O(n log n), since each merge adds at most two candidates. */
int tok_encode_word(struct tok_encoder *e, const char *p, size_t len)
{
	int ret;

	if (len == 1)
		return tok_emit(e, e->t->byte_id[(uint8_t)*p]);
	/* Positions are int32_t; text is refused above that in zw_tokenizer_encode(). */
	if (llm_grow(&e->sym, &e->sym_cap, len, sizeof(*e->sym)))
		return llm_fail(e->err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < len; i++)
		e->sym[i] = (struct tok_symbol){e->t->byte_id[(uint8_t)p[i]], (int32_t)i - 1,
						i + 1 < len ? (int32_t)i + 1 : -1};
	e->heap_n = 0;
	for (size_t i = 0; i + 1 < len; i++) {
		ret = push_pair(e, (int32_t)i);
		if (ret)
			return ret;
	}
	while (e->heap_n) {
		struct tok_cand c = heap_pop(e);
		struct tok_symbol *s = &e->sym[c.pos];
		int32_t gone = s->next;

		if (s->id != c.left || gone < 0 || e->sym[gone].id != c.right)
			continue;
		s->id = c.id;
		s->next = e->sym[gone].next;
		if (s->next >= 0)
			e->sym[s->next].prev = (int32_t)c.pos;
		e->sym[gone].id = TOK_NO_ID; /* makes its candidates stale */
		ret = push_pair(e, s->prev);
		if (!ret)
			ret = push_pair(e, (int32_t)c.pos);
		if (ret)
			return ret;
	}
	for (int32_t i = 0; i >= 0; i = e->sym[i].next) {
		ret = tok_emit(e, e->sym[i].id);
		if (ret)
			return ret;
	}
	return 0;
}

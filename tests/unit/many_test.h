/* SPDX-License-Identifier: MIT */
/*
 * Many sequences in one context at random: arrivals, forks, going back, ends, with two steps in flight. Each
 * row of logits is then compared with that of the whole text alone.
 */
#ifndef MANY_TEST_H
#define MANY_TEST_H

#include "ctx_test.h"
#include "share.h"

#define MANY_CONTEXT 150
#define MANY_MAX     64

struct many {
	uint32_t seqs, rounds, parts; /* parts: of a batch, at most */
	bool recurrent; /* a sequence can go back over the last `rewind` tokens, or to 0 */
	uint32_t rewind;
};

/* What a sequence has seen: ids, and the logits that came out for each; how far it can go back. */
struct history {
	bool live;
	uint32_t n, busy, kept;
	uint32_t id[MANY_CONTEXT];
	float *logits[MANY_CONTEXT]; /* owned */
};

struct flight {
	uint64_t step;
	uint32_t n;
	struct zw_batch_token t[64];
};

static inline void history_cut(struct history *h, uint32_t n)
{
	while (h->n > n)
		free(h->logits[--h->n]);
}

static inline void history_copy(struct history *to, const struct history *from, uint32_t n)
{
	for (to->n = 0; to->n < n; to->n++) {
		to->id[to->n] = from->id[to->n];
		to->logits[to->n] = malloc(V * sizeof(float));
		memcpy(to->logits[to->n], from->logits[to->n], V * sizeof(float));
	}
	to->kept = 0;
}

/* The whole text again, alone: every row of logits has the same bits. */
static inline void history_check(struct history *h)
{
	float *want;

	if (!h->n)
		return;
	want = solo(h->id, h->n);
	for (uint32_t i = 0; i < h->n; i++) {
		if (memcmp(want + (size_t)i * V, h->logits[i], V * sizeof(*want)))
			fail_msg("token %u of %u differs from the solo run", i, h->n);
	}
	free(want);
}

/* Tokens for a step: a few sequences, one token or many of each, not in order. */
static inline uint32_t random_batch(const struct many *m, struct history *h,
				    struct zw_batch_token *t)
{
	uint32_t n = 0, parts = 1 + pick(m->parts), next[MANY_MAX];

	for (uint32_t i = 0; i < m->seqs; i++)
		next[i] = h[i].n;
	for (uint32_t k = 0; k < parts; k++) {
		uint32_t s = pick(m->seqs), len = pick(3) ? 1 : 1 + pick(20);

		for (uint32_t i = 0; h[s].live && i < len && n < 64 && next[s] < MANY_CONTEXT; i++)
			t[n++] = (struct zw_batch_token){pick(V), next[s]++, s, ZW_WANT_LOGITS};
	}
	/* Neighbours change places where that leaves the order within sequences. */
	for (uint32_t i = 1; i < n; i++) {
		if (t[i - 1].seq != t[i].seq && pick(2)) {
			struct zw_batch_token x = t[i];

			t[i] = t[i - 1];
			t[i - 1] = x;
		}
	}
	return n;
}

static inline void take_outputs(struct zw_ctx *c, struct history *h, struct flight *f)
{
	waited(c, f->step);
	for (uint32_t i = 0; i < f->n; i++) {
		struct history *s = &h[f->t[i].seq];
		float *x = malloc(V * sizeof(*x));

		memcpy(x, logits_of(c, f->step, i), V * sizeof(*x));
		s->logits[f->t[i].pos] = x;
		s->busy--;
	}
}

/* Begins, ends, goes back, or forks a sequence; where it cannot, that is said. */
static inline void random_change(const struct many *m, struct zw_ctx *c, struct history *h)
{
	uint32_t s = pick(m->seqs), n, id;
	bool can;

	if (!h[s].live) {
		assert_int_equal(zw_seq_create(c, &id), 0);
		assert_false(h[id].live);
		h[id].live = true;
		h[id].kept = 0;
		return;
	}
	if (h[s].busy) {
		assert_int_equal(zw_seq_remove(c, s), -EBUSY);
		assert_int_equal(zw_seq_truncate(c, s, 0), -EBUSY);
		assert_int_equal(zw_seq_fork(c, s, 0, &id), -EBUSY);
		return;
	}
	/* Often a little, as that is what can be where there is recurrent state. */
	n = m->recurrent && pick(2) ? h[s].n - pick(h[s].n < 5 ? h[s].n + 1 : 5) : pick(h[s].n + 1);
	can = !m->recurrent || !n || h[s].n - n <= h[s].kept;
	switch (pick(6)) {
	case 0:
		history_check(&h[s]);
		assert_int_equal(zw_seq_remove(c, s), 0);
		history_cut(&h[s], 0);
		h[s].live = false;
		break;
	case 1:
	case 2:
		assert_int_equal(zw_seq_truncate(c, s, n), can ? 0 : -EOPNOTSUPP);
		if (!can)
			break;
		h[s].kept = n && h[s].kept ? h[s].kept - (h[s].n - n) : 0;
		history_cut(&h[s], n);
		break;
	default:
		if (!can) {
			assert_int_equal(zw_seq_fork(c, s, n, &id), -EOPNOTSUPP);
			break;
		}
		if (zw_seq_fork(c, s, n, &id) == -ENOSPC)
			break;
		h[id].live = true;
		history_copy(&h[id], &h[s], n);
	}
}

static inline void many_sequences(const struct many *m)
{
	struct zw_ctx *c = context((struct zw_ctx_options){.context = MANY_CONTEXT,
							   .max_seqs = m->seqs,
							   .batch = 64,
							   .outputs = 64,
							   .rewind = m->rewind});
	struct history *h = calloc(m->seqs, sizeof(*h));
	uint32_t all = blocks_free(c), flying = 0;
	struct flight f[2];

	for (uint32_t round = 0; round < share_of(m->rounds); round++) {
		if (flying == 2) {
			take_outputs(c, h, &f[0]);
			f[0] = f[1];
			flying--;
		}
		for (uint32_t k = 0; k < 3; k++)
			random_change(m, c, h);
		f[flying].n = random_batch(m, h, f[flying].t);
		if (!f[flying].n)
			continue;
		f[flying].step = submitted(c, f[flying].t, f[flying].n);
		for (uint32_t i = 0; i < f[flying].n; i++) {
			const struct zw_batch_token *t = &f[flying].t[i];
			struct history *s = &h[t->seq];

			s->id[t->pos] = t->id;
			s->n++;
			s->busy++;
			s->kept = s->kept < m->rewind ? s->kept + 1 : m->rewind;
		}
		flying++;
	}
	for (uint32_t i = 0; i < flying; i++)
		take_outputs(c, h, &f[i]);
	for (uint32_t s = 0; s < m->seqs; s++) {
		if (!h[s].live)
			continue;
		assert_int_equal(zw_seq_length(c, s), h[s].n);
		history_check(&h[s]);
		history_cut(&h[s], 0);
		assert_int_equal(zw_seq_remove(c, s), 0);
	}
	assert_int_equal(blocks_free(c), all);
	zw_ctx_destroy(c);
	free(h);
}

#endif

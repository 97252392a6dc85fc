// SPDX-License-Identifier: MIT
/* Paged attention and the cache write: error against double precision, invariances, refusals. */
#include "test_k_util.h"

#include "share.h"

#include "zw_k_math.h"

#define MAX_SEQS 3

struct shape {
	uint32_t n_seqs, n_q, n_kv, d, block_size;
	uint32_t q_count[MAX_SEQS], kv_len[MAX_SEQS];
	uint32_t tq, tkv, tout;
};

/* Tensors of one call; pages of the sequences in shuffled order. */
struct attn {
	struct shape s;
	struct zw_k_attn_args args;
	struct zw_k_kv_seq seqs[MAX_SEQS];
	void **pages[MAX_SEQS][2];
	void *q, *out;
	float *lse;
	uint32_t rows;
	int32_t *start; /* what the arguments have, to be freed */
	float *sinks;
	struct zw_k_attn_list *lists; /* [group of list_rows rows][head] */
	int32_t *numbers;             /* of the lists */
	uint32_t list_rows;
	size_t out_bytes;
	unsigned char *result; /* out, then lse */
	size_t result_bytes;
};

static void attn_init(struct attn *a, const struct shape *s)
{
	uint32_t row = 0;

	memset(a, 0, sizeof(*a));
	a->s = *s;
	for (uint32_t i = 0; i < s->n_seqs; i++) {
		uint32_t n = (s->kv_len[i] + s->block_size - 1) / s->block_size;

		for (int kv = 0; kv < 2; kv++) {
			a->pages[i][kv] = calloc(n + 1, sizeof(void *));
			for (uint32_t p = 0; p < n; p++) {
				size_t elements = (size_t)s->block_size * s->n_kv * s->d;

				a->pages[i][kv][p] = k_array(s->tkv, elements);
				/* What lies beyond the sequence must not matter, not even by a NaN.
				 */
				for (size_t e = (size_t)(s->kv_len[i] - p * s->block_size) *
						s->n_kv * s->d;
				     e < elements; e++)
					k_set(a->pages[i][kv][p], s->tkv, e, NAN);
			}
		}
		a->seqs[i] = (struct zw_k_kv_seq){
			.k_pages = a->pages[i][0],
			.v_pages = a->pages[i][1],
			.n_pages = n,
			.q_first = row,
			.q_count = s->q_count[i],
			.kv_len = s->kv_len[i],
		};
		row += s->q_count[i];
	}
	a->rows = row;
	a->q = k_array(s->tq, (size_t)row * s->n_q * s->d);
	a->out_bytes = (size_t)row * s->n_q * s->d * k_size(s->tout);
	a->result_bytes = a->out_bytes + (size_t)row * s->n_q * 4;
	a->result = malloc(a->result_bytes);
	a->out = a->result;
	a->lse = (float *)(void *)(a->result + a->out_bytes);
	a->args = (struct zw_k_attn_args){
		.rows = row,
		.n_q = s->n_q,
		.n_kv = s->n_kv,
		.d = s->d,
		.block_size = s->block_size,
		.kv_dtype = s->tkv,
		.n_seqs = s->n_seqs,
		.scale = 3.0f / sqrtf((float)s->d),
		.seqs = a->seqs,
		.q = {.ptr = a->q, .dtype = s->tq, .ld = (uint64_t)s->n_q * s->d, .hs = s->d},
		.out = {.ptr = a->out, .dtype = s->tout, .ld = (uint64_t)s->n_q * s->d, .hs = s->d},
		.lse = a->lse,
		.lse_ld = s->n_q,
	};
}

static void attn_fini(struct attn *a)
{
	for (uint32_t i = 0; i < a->s.n_seqs; i++)
		for (int kv = 0; kv < 2; kv++) {
			for (uint32_t p = 0; p < a->seqs[i].n_pages; p++)
				free(a->pages[i][kv][p]);
			free(a->pages[i][kv]);
		}
	free(a->q);
	free(a->result);
	free(a->start);
	free(a->sinks);
	free(a->lists);
	free(a->numbers);
}

static int run_attn(void *arg, struct zw_pool *pool)
{
	return zw_k_attn(&((struct attn *)arg)->args, pool);
}

static void attn_reset(void *arg)
{
	struct attn *a = arg;

	memset(a->result, 0x5a, a->result_bytes);
}

static float cache_get(const struct attn *a, uint32_t seq, int kv, uint32_t pos, uint32_t head,
		       uint32_t c)
{
	uint32_t bs = a->s.block_size;

	return k_get(a->pages[seq][kv][pos / bs], a->s.tkv,
		     ((size_t)(pos % bs) * a->s.n_kv + head) * a->s.d + c);
}

/*
 * Positions of keys by place, listed blocks or columns, and which places [*lo, *hi) the row at position
 * pos sees.
 */
static int32_t *keys_of(const struct attn *a, uint32_t row, uint32_t head, uint32_t pos, int part,
			uint32_t *lo, uint32_t *hi)
{
	const struct zw_k_attn_list *l = NULL;
	int32_t from = a->start ? a->start[row] : 0;
	uint32_t bs = a->s.block_size, n = 0;
	int32_t *keys;

	for (uint64_t i = 0; i < a->args.n_lists; i++)
		if (a->lists[i].head == head && row - a->lists[i].q_first < a->lists[i].q_count)
			l = &a->lists[i];
	keys = malloc(((l ? (size_t)l->n_blocks * bs + l->n_columns : pos) + 1) * 4);
	if (!l)
		while (n <= pos && !part)
			keys[n] = (int32_t)n, n++;
	for (uint32_t i = 0; l && !part && i < l->n_blocks * bs; i++)
		keys[n++] = l->blocks[i / bs] * (int32_t)bs + (int32_t)(i % bs);
	for (uint32_t i = 0; l && part && i < l->n_columns; i++)
		keys[n++] = l->columns[i];
	*lo = *hi = 0;
	for (uint32_t i = 0; i < n; i++) {
		*lo += keys[i] < from;
		*hi += keys[i] <= (int32_t)pos;
	}
	if (*lo >= *hi)
		*lo = *hi = 0;
	return keys;
}

/* One query head against double precision. */
static void verify_query(const struct attn *a, uint32_t seq, uint32_t row, uint32_t head,
			 uint32_t pos)
{
	const struct shape *s = &a->s;
	int32_t *keys = malloc((pos + 1) * 4);
	uint32_t n = 0;
	uint32_t kvh = head / (s->n_q / s->n_kv);
	const void *q = (const char *)a->q + ((size_t)row * s->n_q + head) * s->d * k_size(s->tq);
	const void *out =
		(const char *)a->out + ((size_t)row * s->n_q + head) * s->d * k_size(s->tout);
	double *p = malloc((pos + 1) * sizeof(double)), m = -1e30, sum = 0, err_s = 0;
	double sink = a->sinks ? (double)a->sinks[head] : -INFINITY;
	double rel, blocks;

	for (int part = 0; part < 2; part++) {
		uint32_t lo, hi;
		int32_t *of = keys_of(a, row, head, pos, part, &lo, &hi);

		for (uint32_t i = lo; i < hi; i++)
			keys[n++] = of[i];
		free(of);
	}
	/* Blocks in which there may be keys: those of all places, and as many of columns. */
	blocks = 2 * (pos / 64 + 1);
	m = sink > m ? sink : m;
	for (uint32_t j = 0; j < n; j++) {
		double mag = 0;

		p[j] = 0;
		for (uint32_t c = 0; c < s->d; c++) {
			double t = (double)k_get(q, s->tq, c) *
				   (double)cache_get(a, seq, 0, (uint32_t)keys[j], kvh, c);

			p[j] += t;
			mag += fabs(t);
		}
		p[j] *= (double)a->args.scale;
		/* Error of a score: dot product, scale, and the subtraction of the maximum (twice
		 * its magnitude). */
		err_s = fmax(err_s, k_dot_bound(s->d, mag) * (double)a->args.scale +
					    3.1 * U32 * mag * (double)a->args.scale);
		m = fmax(m, p[j]);
	}
	sum = exp(sink - m);
	for (uint32_t j = 0; j < n; j++) {
		p[j] = exp(p[j] - m);
		sum += p[j];
	}
	/*
	 * Relative error of a weight: that of the score becomes relative by exp, for itself and,
	 * through each change of the running maximum, once more (telescoping: two scores' errors);
	 * exp is within 1.02 ulp (2.04 U32) for the weight and per block for alpha with one product
	 * each. Accumulation adds one rounding per key to the numerator, and eight lanes, total and
	 * one fma per block to the sum; then the division.
	 */
	/* A merge of segments does to the sums what a change of the maximum does, twice. */
	rel = 2 * err_s + (pos / 512 * 8 + 3 + 4 * blocks) * U32 + (pos + 1) * U32 +
	      (8 + 3 + 4 * blocks) * U32 + 3 * U32;
	for (uint32_t c = 0; c < s->d; c++) {
		double want = 0, mag = 0, got = (double)k_get(out, s->tout, c);

		for (uint32_t j = 0; j < n; j++) {
			double t = p[j] / sum *
				   (double)cache_get(a, seq, 1, (uint32_t)keys[j], kvh, c);

			want += t;
			mag += fabs(t);
		}
		if (!k_close(got, want,
			     mag * 1.01 * rel + (fabs(want) + mag * rel) * U_OF(s->tout) +
				     T_OF(s->tout)))
			fail_msg("d %u seq %u row %u head %u pos %u: out[%u] is %.9g, not %.9g +- "
				 "%g",
				 s->d, seq, row, head, pos, c, got, want, mag * rel);
	}
	if (a->args.lse && !n && sink == -INFINITY) {
		assert_true(a->lse[row * s->n_q + head] == -INFINITY);
	} else if (a->args.lse) {
		double want = m + log(sum), got = (double)a->lse[row * s->n_q + head];

		if (!k_close(got, want, err_s + rel + (fabs(want) + fabs(m) + 8) * 2 * U32))
			fail_msg("lse is %.9g, not %.9g", got, want);
	}
	free(p);
	free(keys);
}

struct running {
	float m, l, acc[128];
};

/* One segment, from the specification: places [first, end), of which [lo, hi) are seen. */
static void spec_segment(const struct attn *a, uint32_t seq, uint32_t kvh, const float *q,
			 const int32_t *keys, uint32_t first, uint32_t end, uint32_t lo,
			 uint32_t hi, struct running *r)
{
	uint32_t d = a->s.d;

	*r = (struct running){.m = -INFINITY};
	for (uint32_t j0 = first; j0 < end; j0 += 64) {
		uint32_t from = lo > j0 ? lo - j0 : 0;
		uint32_t n = hi > j0 ? (hi - j0 < 64 ? hi - j0 : 64) : 0;
		float z[64], k[128], m = r->m, alpha, s[8] = {0}, t[4], u0, u1;

		if (from >= n)
			continue;
		for (uint32_t j = from; j < n; j++) {
			for (uint32_t c = 0; c < d; c++)
				k[c] = cache_get(a, seq, 0, (uint32_t)keys[j0 + j], kvh, c);
			z[j] = k_dot(q, k, d) * a->args.scale;
			m = z[j] > m ? z[j] : m;
		}
		alpha = zw_expf(r->m - m);
		for (uint32_t j = from; j < n; j++) {
			z[j] = zw_expf(z[j] - m);
			s[j % 8] = s[j % 8] + z[j];
		}
		for (int i = 0; i < 4; i++)
			t[i] = s[i] + s[i + 4];
		u0 = t[0] + t[2];
		u1 = t[1] + t[3];
		r->l = fmaf(r->l, alpha, u0 + u1);
		for (uint32_t c = 0; c < d; c++) {
			r->acc[c] = r->acc[c] * alpha;
			for (uint32_t j = from; j < n; j++)
				r->acc[c] = fmaf(
					z[j], cache_get(a, seq, 1, (uint32_t)keys[j0 + j], kvh, c),
					r->acc[c]);
		}
		r->m = m;
	}
}

/* One query head, to the bit. */
static void spec_query(const struct attn *a, uint32_t seq, uint32_t row, uint32_t head,
		       uint32_t pos)
{
	const struct shape *s = &a->s;
	uint32_t kvh = head / (s->n_q / s->n_kv);
	size_t at = ((size_t)row * s->n_q + head) * s->d;
	struct running all = {.m = -INFINITY, .l = 1}, seg;
	bool begun = false;
	float q[128];

	for (uint32_t c = 0; c < s->d; c++)
		q[c] = k_get(a->q, s->tq, at + c);
	for (int part = 0; part < 2; part++) {
		uint32_t lo, hi;
		int32_t *keys = keys_of(a, row, head, pos, part, &lo, &hi);

		for (uint32_t first = 0; first < hi; first += 512) {
			float m, x, y;

			if (first + 512 <= lo)
				continue;
			spec_segment(a, seq, kvh, q, keys, first, first + 512, lo, hi, &seg);
			if (!begun) {
				all = seg;
				begun = true;
				continue;
			}
			m = seg.m > all.m ? seg.m : all.m;
			x = zw_expf(all.m - m);
			y = zw_expf(seg.m - m);
			all.m = m;
			seg.l = seg.l * y;
			all.l = fmaf(all.l, x, seg.l);
			for (uint32_t c = 0; c < s->d; c++) {
				seg.acc[c] = seg.acc[c] * y;
				all.acc[c] = fmaf(all.acc[c], x, seg.acc[c]);
			}
		}
		free(keys);
	}
	if (a->sinks && a->sinks[head] > -INFINITY) {
		float m = a->sinks[head] > all.m ? a->sinks[head] : all.m;
		float x = zw_expf(all.m - m);

		all.l = fmaf(all.l, x, zw_expf(a->sinks[head] - m));
		for (uint32_t c = 0; c < s->d; c++)
			all.acc[c] = all.acc[c] * x;
		all.m = m;
	}
	for (uint32_t c = 0; c < s->d; c++) {
		float want, got = k_get(a->out, s->tout, at + c);

		k_set(&want, s->tout, 0, all.acc[c] / all.l);
		if (zw_f32_bits(got) != zw_f32_bits(k_get(&want, s->tout, 0)))
			fail_msg("d %u seq %u row %u head %u pos %u: out[%u] is %.9g, specified "
				 "%.9g",
				 s->d, seq, row, head, pos, c, got, k_get(&want, s->tout, 0));
	}
	assert_int_equal(zw_f32_bits(a->lse[row * s->n_q + head]),
			 zw_f32_bits(all.m + zw_logf(all.l)));
}

/* Of a share some queries: the references here take nearly all the time with a sanitizer. */
static void attn_verify(const struct attn *a)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < a->s.n_seqs; i++)
		for (uint32_t t = 0; t < a->s.q_count[i]; t++)
			for (uint32_t h = 0; h < a->s.n_q; h++) {
				uint32_t row = a->seqs[i].q_first + t;
				uint32_t pos = a->args.positions
						       ? (uint32_t)a->args.positions[row]
						       : a->s.kv_len[i] - a->s.q_count[i] + t;

				if (!in_share(n++))
					continue;
				verify_query(a, i, row, h, pos);
				spec_query(a, i, row, h, pos);
			}
}

static const struct shape shapes[] = {
	/* one key; decode; odd sizes */
	{1, 1, 1, 8, 16, {1}, {1}, F32, F32, F32},
	{1, 4, 2, 16, 16, {1}, {33}, BF16, BF16, BF16},
	{1, 3, 1, 5, 7, {2}, {20}, F32, F32, F32},
	{1, 1, 1, 1, 1, {3}, {5}, F32, BF16, F32},
	/* edges of key blocks */
	{1, 2, 1, 32, 16, {1}, {64}, F32, F32, F32},
	{1, 2, 1, 32, 16, {1}, {65}, F32, F32, BF16},
	{1, 2, 2, 32, 32, {3}, {66}, F32, F32, F32},
	/* prefill over several tasks and blocks, grouped */
	{1, 8, 2, 16, 16, {70}, {70}, BF16, BF16, BF16},
	{1, 4, 4, 40, 64, {30}, {150}, F32, BF16, F32},
	{1, 6, 2, 128, 16, {5}, {131}, BF16, BF16, F32},
	/* several segments: of few rows, split between tasks or not, and of many */
	{1, 4, 2, 32, 64, {1}, {1100}, BF16, BF16, BF16},
	{1, 2, 2, 24, 7, {1}, {1025}, F32, F32, F32},
	{1, 8, 1, 16, 64, {1}, {512}, BF16, BF16, F32},
	{1, 5, 1, 40, 16, {1}, {513}, F32, BF16, F32},
	{1, 3, 3, 128, 32, {2}, {1026}, BF16, BF16, BF16},
	{1, 7, 1, 72, 128, {1}, {700}, BF16, F32, F32},
	{1, 2, 1, 17, 64, {30}, {1040}, F32, BF16, F32},
	{3, 6, 2, 9, 16, {1, 3, 20}, {600, 515, 530}, BF16, BF16, BF16},
	/* in F16: few rows, many, several segments */
	{1, 4, 2, 16, 16, {2}, {70}, F16, F16, F16},
	{1, 4, 2, 40, 16, {50}, {90}, BF16, F16, F16},
	{2, 6, 2, 72, 32, {1, 4}, {600, 30}, F16, F16, F32},
	/* several sequences, one without rows, one whose pages are larger than it is */
	{3, 4, 2, 24, 8, {1, 40, 2}, {90, 40, 3}, BF16, BF16, BF16},
	{3, 2, 1, 16, 256, {2, 0, 1}, {7, 0, 1}, F32, F32, F32},
};
#define N_SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static void test_shapes(void **state)
{
	for (size_t i = 0; i < N_SHAPES; i++) {
		struct attn a;

		attn_init(&a, &shapes[i]);
		k_all_configs(run_attn, &a, attn_reset, a.result, a.result_bytes);
		attn_verify(&a);
		attn_fini(&a);
	}
}

/* Positions given, in no order and with repeats. */
static void test_positions(void **state)
{
	static const int32_t pos[6] = {99, 0, 63, 64, 5, 99};
	struct shape s = {1, 4, 2, 16, 16, {6}, {100}, F32, F32, F32};
	struct attn a;

	attn_init(&a, &s);
	a.args.positions = pos;
	k_all_configs(run_attn, &a, attn_reset, a.result, a.result_bytes);
	attn_verify(&a);
	attn_fini(&a);
}

/* Rows that begin to see somewhere: windows, nothing at all, all; and pages before these left out. */
static void test_start(void **state)
{
	static const struct shape few[] = {
		{1, 8, 2, 16, 16, {70}, {1100}, BF16, BF16, BF16},
		{1, 2, 2, 24, 8, {200}, {700}, F32, F32, F32},
		{1, 4, 2, 40, 64, {1}, {1300}, F32, BF16, F32},
		{1, 3, 1, 9, 16, {2}, {1100}, BF16, F32, BF16},
		{3, 6, 2, 128, 32, {1, 3, 40}, {600, 515, 1030}, BF16, BF16, F32},
	};
	static const uint32_t windows[] = {1, 63, 65, 512, 600, 0};

	for (size_t i = 0; i < sizeof(few) / sizeof(few[0]); i++)
		for (size_t w = 0; w < sizeof(windows) / sizeof(windows[0]); w++) {
			struct attn a;

			attn_init(&a, &few[i]);
			a.start = calloc(a.rows, 4);
			for (uint32_t s = 0; s < few[i].n_seqs; s++) {
				int32_t least = INT32_MAX;

				for (uint32_t t = 0; t < few[i].q_count[s]; t++) {
					int32_t *st = &a.start[a.seqs[s].q_first + t];
					int32_t end = (int32_t)(few[i].kv_len[s] -
								few[i].q_count[s] + t + 1);

					/* a window, or anything */
					*st = windows[w] ? end - (int32_t)windows[w]
							 : (int32_t)(k_rng() % (uint32_t)(end + 4));
					*st = *st < 0 ? 0 : *st;
					least = *st < least ? *st : least;
				}
				least /= (int32_t)few[i].block_size;
				a.seqs[s].page_first = (uint32_t)least;
				a.seqs[s].k_pages += least;
				a.seqs[s].v_pages += least;
				a.seqs[s].n_pages -= (uint32_t)least;
			}
			a.args.start = a.start;
			if (w % 2) {
				a.sinks = k_array(F32, few[i].n_q);
				a.sinks[0] = -INFINITY;
				a.args.sinks = a.sinks;
			}
			k_all_configs(run_attn, &a, attn_reset, a.result, a.result_bytes);
			attn_verify(&a);
			for (uint32_t s = 0; s < few[i].n_seqs; s++)
				a.seqs[s].n_pages += a.seqs[s].page_first;
			attn_fini(&a);
		}
}

static void test_sinks(void **state)
{
	struct shape s = {1, 4, 2, 16, 16, {5}, {600}, F32, F32, F32};
	struct zw_pool *pool = zw_pool_new(0);
	struct attn a, plain;

	attn_init(&a, &s);
	a.sinks = k_array(F32, 4);
	a.sinks[1] = 40.0f;
	a.sinks[2] = -INFINITY;
	a.args.sinks = a.sinks;
	k_all_configs(run_attn, &a, attn_reset, a.result, a.result_bytes);
	attn_verify(&a);
	/* without one a head has the bits of plain attention */
	memset(&plain, 0, sizeof(plain));
	plain = a;
	plain.result = malloc(a.result_bytes);
	plain.args.sinks = NULL;
	plain.args.out.ptr = plain.result;
	plain.args.lse = (float *)(void *)(plain.result + a.out_bytes);
	assert_int_equal(zw_k_attn(&plain.args, pool), 0);
	for (uint32_t r = 0; r < 5; r++) {
		assert_memory_equal(plain.result + (r * 4 + 2) * 64, a.result + (r * 4 + 2) * 64,
				    64);
		assert_memory_not_equal(plain.result + r * 256, a.result + r * 256, 64);
	}
	a.sinks[0] = NAN;
	a.sinks[3] = INFINITY;
	assert_int_equal(zw_k_attn(&a.args, pool), 0);
	for (uint32_t c = 0; c < 64; c++)
		assert_true(isnan(((float *)a.out)[c]) == (c / 16 == 0 || c / 16 == 3));
	free(plain.result);
	attn_fini(&a);
	zw_pool_free(pool);
}

/* Random lists for every head of every group of rows; per cent of the blocks, and columns of the rest. */
static void make_lists(struct attn *a, uint32_t rows, uint32_t percent, uint32_t columns)
{
	const struct shape *s = &a->s;
	uint32_t n = 0, most = 0;
	int32_t *v;

	for (uint32_t i = 0; i < s->n_seqs; i++)
		most = s->kv_len[i] > most ? s->kv_len[i] : most;
	a->list_rows = rows;
	a->lists = calloc(((size_t)a->rows / rows + s->n_seqs + 1) * s->n_q, sizeof(*a->lists));
	v = a->numbers = malloc(((size_t)a->rows / rows + s->n_seqs + 1) * s->n_q * most * 4);
	for (uint32_t i = 0; i < s->n_seqs; i++)
		for (uint32_t t = 0; t < s->q_count[i]; t += rows)
			for (uint32_t h = 0; h < s->n_q; h++) {
				struct zw_k_attn_list *l = &a->lists[n++];
				uint32_t pages = (s->kv_len[i] - 1) / s->block_size + 1;

				*l = (struct zw_k_attn_list){
					.q_first = a->seqs[i].q_first + t,
					.q_count =
						s->q_count[i] - t < rows ? s->q_count[i] - t : rows,
					.head = h,
				};
				l->blocks = v;
				for (uint32_t b = 0; b < pages; b++)
					if (k_rng() % 100 < percent) {
						*v++ = (int32_t)b;
						l->n_blocks++;
					}
				l->columns = v;
				for (uint32_t c = 0; c < s->kv_len[i]; c++) {
					bool in = false;

					for (uint32_t b = 0; b < l->n_blocks; b++)
						in |= c / s->block_size == (uint32_t)l->blocks[b];
					if (!in && k_rng() % s->kv_len[i] < columns) {
						*v++ = (int32_t)c;
						l->n_columns++;
					}
				}
			}
	a->args.lists = a->lists;
	a->args.n_lists = n;
}

/* Blocks and columns, together with everything else; pages that no list names are not there. */
static void test_lists(void **state)
{
	static const struct shape some[] = {
		{1, 4, 2, 16, 16, {40}, {700}, BF16, BF16, BF16},
		{1, 4, 1, 24, 64, {130}, {1500}, F32, F32, F32},
		{1, 6, 2, 40, 8, {1}, {2100}, F32, BF16, F32},
		{2, 2, 2, 17, 128, {3, 20}, {1000, 1200}, BF16, F32, F32},
		{3, 4, 2, 128, 32, {1, 1, 1}, {600, 1515, 30}, BF16, BF16, F32},
	};
	static const uint32_t rows[] = {64, 16, 1, 3, 1}, percent[] = {30, 100, 0, 60, 10},
			      columns[] = {20, 0, 600, 50, 200};

	for (size_t i = 0; i < 5; i++)
		for (int j = 0; j < 5; j++) {
			struct attn a;
			bool *used[MAX_SEQS];

			attn_init(&a, &some[i]);
			make_lists(&a, rows[(i + (size_t)j) % 5], percent[j], columns[j]);
			if (j == 3) {
				a.sinks = k_array(F32, some[i].n_q);
				a.args.sinks = a.sinks;
				a.start = calloc(a.rows, 4);
				for (uint32_t r = 0; r < a.rows; r++)
					a.start[r] = (int32_t)(k_rng() % some[i].kv_len[0]);
				a.args.start = a.start;
			}
			for (uint32_t s = 0; s < some[i].n_seqs; s++)
				used[s] = calloc(a.seqs[s].n_pages, 1);
			for (uint64_t l = 0; l < a.args.n_lists; l++) {
				uint32_t s = 0;

				while (a.lists[l].q_first - a.seqs[s].q_first >= a.seqs[s].q_count)
					s++;
				for (uint32_t b = 0; b < a.lists[l].n_blocks; b++)
					used[s][a.lists[l].blocks[b]] = true;
				for (uint32_t c = 0; c < a.lists[l].n_columns; c++)
					used[s][a.lists[l].columns[c] /
						(int32_t)some[i].block_size] = true;
			}
			for (uint32_t s = 0; s < some[i].n_seqs; s++) {
				for (uint32_t p = 0; p < a.seqs[s].n_pages; p++)
					for (int kv = 0; kv < 2 && !used[s][p]; kv++) {
						free(a.pages[s][kv][p]);
						a.pages[s][kv][p] = NULL;
					}
				free(used[s]);
			}
			k_all_configs(run_attn, &a, attn_reset, a.result, a.result_bytes);
			attn_verify(&a);
			attn_fini(&a);
		}
}

/* A list of all blocks is no list, to the bit; and rows may be cut into lists at will. */
static void test_full_lists(void **state)
{
	struct shape s = {1, 4, 2, 32, 16, {100}, {1120}, BF16, BF16, BF16};
	struct zw_pool *pool = zw_pool_new(2);
	unsigned char *want;
	struct attn a;

	attn_init(&a, &s);
	assert_int_equal(run_attn(&a, pool), 0);
	want = malloc(a.result_bytes);
	memcpy(want, a.result, a.result_bytes);
	for (uint32_t rows = 1; rows <= 100; rows = rows * 3 + 2) {
		make_lists(&a, rows, 100, 0);
		attn_reset(&a);
		assert_int_equal(run_attn(&a, pool), 0);
		assert_memory_equal(want, a.result, a.result_bytes);
		free(a.lists);
		free(a.numbers);
	}
	a.lists = NULL;
	a.numbers = NULL;
	free(want);
	attn_fini(&a);
	zw_pool_free(pool);
}

static void test_list_refusals(void **state)
{
	struct shape s = {2, 4, 2, 16, 16, {3, 2}, {200, 100}, F32, F32, F32};
	struct zw_pool *pool = zw_pool_new(0);
	struct zw_k_attn_list lists[8];
	struct zw_k_attn_args bad;
	const int32_t starts[5] = {0, 0, -1, 0, 0};
	int32_t numbers[3][8];
	struct attn a;

	attn_init(&a, &s);
	attn_reset(&a);
#define REFUSED(change)                                                                            \
	do {                                                                                       \
		static const int32_t init[3][8] = {{0, 2, 5}, {17, 30, 60}, {3, 100, 199, 1, 2}};  \
		memcpy(numbers, init, sizeof(init));                                               \
		for (uint32_t i = 0; i < 8; i++)                                                   \
			lists[i] = (struct zw_k_attn_list){                                        \
				.q_first = i / 4 * 3,                                              \
				.q_count = i < 4 ? 3 : 2,                                          \
				.head = i % 4,                                                     \
				.n_blocks = 3,                                                     \
				.n_columns = 3,                                                    \
				.blocks = numbers[0],                                              \
				.columns = numbers[1],                                             \
			};                                                                         \
		bad = a.args;                                                                      \
		bad.lists = lists;                                                                 \
		bad.n_lists = 8;                                                                   \
		change;                                                                            \
		assert_int_equal(zw_k_attn(&bad, pool), -EINVAL);                                  \
		for (size_t b = 0; b < a.result_bytes; b++)                                        \
			assert_int_equal(a.result[b], 0x5a);                                       \
	} while (0)
	REFUSED(bad.n_lists = 7);   /* a head without a list */
	REFUSED(lists[3].head = 2); /* one with two of them */
	REFUSED(lists[3].head = 4);
	REFUSED(lists[3].q_count = 4); /* rows of two sequences */
	REFUSED(lists[3].q_first = 5);
	REFUSED(lists[3].q_count = 0);
	REFUSED(lists[3].blocks = NULL);
	REFUSED(lists[3].columns = NULL);
	REFUSED(numbers[0][1] = 0);
	REFUSED(numbers[0][1] = 5);
	REFUSED(numbers[0][0] = -1);
	REFUSED(numbers[1][1] = 17);
	REFUSED(numbers[1][1] = 16; numbers[1][0] = 16);
	REFUSED(numbers[1][0] = INT32_MIN);
	REFUSED(numbers[1][1] = 32); /* in a block */
	REFUSED(lists[0].columns = numbers[2]);
	REFUSED(numbers[0][2] = INT32_MAX);
	REFUSED(bad.start = starts);
	REFUSED(a.seqs[0].page_first = 1; a.seqs[0].n_pages--); /* block 0 is not there */
	a.seqs[0].page_first = 0;
	a.seqs[0].n_pages++;
	{
		void *was = a.pages[0][1][5];

		a.pages[0][1][5] = NULL;
		REFUSED();
		a.pages[0][1][5] = was;
	}
	REFUSED(bad.lists = NULL; a.seqs[0].page_first = 1; a.seqs[0].n_pages--);
#undef REFUSED
	a.seqs[0].page_first = 0;
	a.seqs[0].n_pages++;
	attn_fini(&a);
	zw_pool_free(pool);
}

/* Rows of one call on both sides of a segment's edge: not all see the last one. */
static void test_segment_edge(void **state)
{
	static const int32_t pos[4] = {511, 512, 3, 1200};
	struct shape s = {1, 2, 1, 16, 16, {4}, {1201}, F32, F32, F32};
	struct attn a;

	attn_init(&a, &s);
	a.args.positions = pos;
	k_all_configs(run_attn, &a, attn_reset, a.result, a.result_bytes);
	attn_verify(&a);
	attn_fini(&a);
}

/* Whole prompt = any chunks = token by token, to the bit. */
static void test_chunking(void **state)
{
	static const uint32_t chunks[] = {1, 7, 16, 64, 100};
	struct shape s = {1, 6, 2, 32, 16, {600}, {600}, BF16, BF16, BF16};
	struct zw_pool *pool = zw_pool_new(2);
	unsigned char *want;
	struct attn a;

	attn_init(&a, &s);
	assert_int_equal(run_attn(&a, pool), 0);
	want = malloc(a.result_bytes);
	memcpy(want, a.result, a.result_bytes);
	for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++) {
		attn_reset(&a);
		for (uint32_t first = 0; first < 600; first += chunks[i]) {
			uint32_t n = 600 - first < chunks[i] ? 600 - first : chunks[i];
			struct zw_k_attn_args part = a.args;
			struct zw_k_kv_seq seq = a.seqs[0];

			seq.q_count = n;
			seq.kv_len = first + n;
			part.rows = n;
			part.seqs = &seq;
			part.q.ptr = (uint16_t *)a.q + (size_t)first * 6 * 32;
			part.out.ptr = (uint16_t *)a.out + (size_t)first * 6 * 32;
			part.lse = a.lse + first * 6;
			assert_int_equal(zw_k_attn(&part, pool), 0);
		}
		assert_memory_equal(want, a.result, a.result_bytes);
	}
	free(want);
	attn_fini(&a);
	zw_pool_free(pool);
}

/* The same cache in pages of another size; the sequence alone or among others. */
static void test_page_size(void **state)
{
	struct shape s = {1, 4, 2, 16, 16, {9}, {100}, F32, F32, F32};
	struct zw_pool *pool = zw_pool_new(2);
	struct attn a, b;

	attn_init(&a, &s);
	assert_int_equal(run_attn(&a, pool), 0);
	for (uint32_t bs = 1; bs <= 128; bs = bs * 3 + 1) {
		s.block_size = bs;
		attn_init(&b, &s);
		memcpy(b.q, a.q, 9 * 4 * 16 * 4);
		for (int kv = 0; kv < 2; kv++)
			for (uint32_t p = 0; p < 100; p++)
				for (uint32_t e = 0; e < 32; e++)
					k_set(b.pages[0][kv][p / bs], F32, p % bs * 32 + e,
					      cache_get(&a, 0, kv, p, e / 16, e % 16));
		assert_int_equal(run_attn(&b, pool), 0);
		assert_memory_equal(a.result, b.result, a.result_bytes);
		attn_fini(&b);
	}
	attn_fini(&a);
	zw_pool_free(pool);
}

static void test_in_place_and_strides(void **state)
{
	struct shape s = {1, 4, 2, 16, 16, {30}, {100}, BF16, BF16, BF16};
	struct zw_pool *pool = zw_pool_new(2);
	uint16_t *wide = malloc(30 * 100 * 2);
	struct attn a;

	attn_init(&a, &s);
	assert_int_equal(run_attn(&a, pool), 0);
	/* q as heads of 20 in rows of 100, out over it */
	memset(wide, 0x5a, 30 * 100 * 2);
	for (int r = 0; r < 30; r++)
		for (int h = 0; h < 4; h++)
			memcpy(wide + r * 100 + h * 20, (uint16_t *)a.q + (r * 4 + h) * 16, 32);
	a.args.q = (struct zw_k_in){.ptr = wide, .dtype = BF16, .ld = 100, .hs = 20};
	a.args.out = (struct zw_k_out){.ptr = wide, .dtype = BF16, .ld = 100, .hs = 20};
	assert_int_equal(run_attn(&a, pool), 0);
	for (int r = 0; r < 30; r++)
		for (int h = 0; h < 4; h++) {
			assert_memory_equal(wide + r * 100 + h * 20,
					    (uint16_t *)a.out + (r * 4 + h) * 16, 32);
			assert_int_equal(wide[r * 100 + h * 20 + 16], 0x5a5a);
		}
	free(wide);
	attn_fini(&a);
	zw_pool_free(pool);
}

/* A NaN or infinity in a visible key reaches exactly the queries that see it. */
static void test_special(void **state)
{
	struct shape s = {1, 1, 1, 8, 16, {80}, {80}, F32, F32, F32};
	struct attn a;
	const float *out;

	attn_init(&a, &s);
	k_set(a.pages[0][0][70 / 16], F32, 70 % 16 * 8, NAN);
	k_set(a.pages[0][1][75 / 16], F32, 75 % 16 * 8 + 3, INFINITY);
	k_all_configs(run_attn, &a, attn_reset, a.result, a.result_bytes);
	out = a.out;
	for (uint32_t r = 0; r < 80; r++)
		for (uint32_t c = 0; c < 8; c++) {
			if (r < 70)
				assert_true(isfinite(out[r * 8 + c]));
			else
				assert_int_equal(zw_f32_bits(out[r * 8 + c]), ZW_F32_NAN);
		}
	attn_fini(&a);

	attn_init(&a, &s);
	k_set(a.pages[0][1][75 / 16], F32, 75 % 16 * 8 + 3, INFINITY);
	k_all_configs(run_attn, &a, attn_reset, a.result, a.result_bytes);
	out = a.out;
	for (uint32_t r = 0; r < 80; r++)
		for (uint32_t c = 0; c < 8; c++)
			assert_true(r >= 75 && c == 3 ? out[r * 8 + c] == INFINITY
						      : isfinite(out[r * 8 + c]));
	attn_fini(&a);
}

static void test_refusals(void **state)
{
	struct shape s = {2, 4, 2, 16, 16, {3, 2}, {40, 20}, F32, F32, F32};
	struct zw_pool *pool = zw_pool_new(2);
	struct zw_k_fault fault = {0};
	int32_t pos[5] = {39, 0, 1, 19, 20};
	struct zw_k_kv_seq seqs[2];
	struct zw_k_attn_args bad;
	struct attn a;

	attn_init(&a, &s);
	attn_reset(&a);
#define REFUSED(err, change)                                                                       \
	do {                                                                                       \
		bad = a.args;                                                                      \
		memcpy(seqs, a.seqs, sizeof(seqs));                                                \
		bad.seqs = seqs;                                                                   \
		bad.fault = &fault;                                                                \
		change;                                                                            \
		assert_int_equal(zw_k_attn(&bad, pool), err);                                      \
		for (size_t b = 0; b < a.result_bytes; b++)                                        \
			assert_int_equal(a.result[b], 0x5a);                                       \
	} while (0)
	REFUSED(-EOPNOTSUPP, bad.flags = 1);
	REFUSED(-EOPNOTSUPP, bad.kv_dtype = ZW_DTYPE_U8);
	REFUSED(-EINVAL, bad.n_kv = 3);
	REFUSED(-EINVAL, bad.n_kv = 0);
	REFUSED(-EINVAL, bad.d = 0);
	REFUSED(-EINVAL, bad.block_size = 0);
	REFUSED(-EINVAL, bad.scale = NAN);
	REFUSED(-EINVAL, bad.seqs = NULL);
	REFUSED(-EINVAL, seqs[0].n_pages = 2);
	REFUSED(-EINVAL, seqs[1].kv_len = UINT32_MAX);
	REFUSED(-EINVAL, seqs[1].q_first = 4);
	REFUSED(-EINVAL, seqs[1].q_count = UINT32_MAX);
	REFUSED(-EINVAL, seqs[1].q_first = 2); /* row 2 twice */
	REFUSED(-EINVAL, seqs[0].k_pages = NULL);
	REFUSED(-EINVAL, bad.lse = (float *)a.out);
	REFUSED(-EINVAL, bad.lse_ld = 3);
	REFUSED(-EINVAL, bad.out.ptr = a.pages[0][1][2]);
	REFUSED(-EINVAL, bad.out.hs = 15);
	REFUSED(-EINVAL, bad.out.ld = 63);
	REFUSED(-EINVAL, bad.block_size = UINT32_MAX; bad.n_kv = 2; seqs[0].kv_len = 10;
		seqs[1].kv_len = 10; bad.d = UINT32_MAX; bad.q.ld = bad.out.ld = 0);
	REFUSED(-ERANGE, bad.positions = pos);
	assert_int_equal(fault.index, 4);
	assert_int_equal(fault.value, 20);
	REFUSED(-ERANGE, seqs[0].kv_len = 2); /* three queries end before position 0 */
	assert_int_equal(fault.index, 0);
	assert_int_equal(fault.value, -1);
#undef REFUSED
	attn_fini(&a);
	zw_pool_free(pool);
}

/* --- cache write --- */

struct write {
	struct zw_k_kv_write_args args;
	struct attn *a;
	unsigned char *image; /* all pages, one after another */
	size_t image_bytes;
};

static int run_write(void *arg, struct zw_pool *pool)
{
	struct write *w = arg;
	const struct shape *s = &w->a->s;
	size_t page = (size_t)s->block_size * s->n_kv * s->d * k_size(s->tkv), at = 0;
	int err;

	for (int pass = 0; pass < 2; pass++) {
		at = 0;
		for (uint32_t i = 0; i < s->n_seqs; i++)
			for (int kv = 0; kv < 2; kv++)
				for (uint32_t p = 0; p < w->a->seqs[i].n_pages; p++, at += page) {
					if (pass == 0)
						memset(w->a->pages[i][kv][p], 0x5a, page);
					else
						memcpy(w->image + at, w->a->pages[i][kv][p], page);
				}
		if (pass == 0) {
			err = zw_k_kv_write(&w->args, pool);
			if (err)
				return err;
		}
	}
	return 0;
}

static void test_kv_write(void **state)
{
	static const uint32_t types[][2] = {{F32, F32},   {F32, BF16}, {BF16, F32},
					    {BF16, BF16}, {F16, F16},  {BF16, F16}};

	for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++) {
		struct shape s = {2, 4, 2, 20, 16, {30, 5}, {77, 5}, types[t][0], types[t][1], F32};
		void *k = k_array(types[t][0], 35 * 50), *v = k_array(types[t][0], 35 * 50);
		uint32_t written = 0;
		struct attn a;
		struct write w;

		attn_init(&a, &s);
		w = (struct write){.a = &a, .image_bytes = 0};
		w.image_bytes = (size_t)2 * (5 + 1) * 16 * 2 * 20 * k_size(types[t][1]);
		w.image = malloc(w.image_bytes);
		w.args = (struct zw_k_kv_write_args){
			.rows = 35,
			.n_kv = 2,
			.d = 20,
			.block_size = 16,
			.kv_dtype = types[t][1],
			.n_seqs = 2,
			.seqs = a.seqs,
			.k = {.ptr = k, .dtype = types[t][0], .ld = 50, .hs = 25},
			.v = {.ptr = v, .dtype = types[t][0], .ld = 50, .hs = 25},
		};
		k_all_configs(run_write, &w, NULL, w.image, w.image_bytes);
		for (uint32_t i = 0; i < 2; i++)
			for (int kv = 0; kv < 2; kv++)
				for (uint32_t p = 0; p < a.seqs[i].n_pages * 16; p++)
					for (uint32_t e = 0; e < 40; e++) {
						uint32_t first = s.kv_len[i] - s.q_count[i];
						bool mine = p >= first && p < s.kv_len[i];
						uint32_t row = a.seqs[i].q_first + p - first;
						char want[4], *at = (char *)a.pages[i][kv][p / 16] +
								    (p % 16 * 40 + e) *
									    k_size(types[t][1]);

						memset(want, 0x5a, 4);
						if (mine) {
							k_set(want, types[t][1], 0,
							      k_get(kv ? v : k, types[t][0],
								    row * 50 + e / 20 * 25 +
									    e % 20));
							written++;
						}
						assert_memory_equal(at, want, k_size(types[t][1]));
					}
		assert_int_equal(written, 35 * 2 * 40);
		free(w.image);
		attn_fini(&a);
		free(k);
		free(v);
	}
}

static void test_kv_write_order_and_refusals(void **state)
{
	struct shape s = {1, 1, 1, 4, 4, {3}, {8}, F32, F32, F32};
	struct zw_pool *pool = zw_pool_new(2);
	float *k = k_array(F32, 12), *v = k_array(F32, 12);
	int32_t pos[3] = {5, 2, 5};
	struct zw_k_fault fault;
	struct attn a;
	struct zw_k_kv_write_args args;

	attn_init(&a, &s);
	args = (struct zw_k_kv_write_args){
		.rows = 3,
		.n_kv = 1,
		.d = 4,
		.block_size = 4,
		.kv_dtype = F32,
		.n_seqs = 1,
		.seqs = a.seqs,
		.positions = pos,
		.fault = &fault,
		.k = {.ptr = k, .dtype = F32, .ld = 4},
		.v = {.ptr = v, .dtype = F32, .ld = 4},
	};
	assert_int_equal(zw_k_kv_write(&args, pool), 0);
	assert_memory_equal((float *)a.pages[0][0][1] + 4, k + 8, 16); /* the later row */
	assert_memory_equal((float *)a.pages[0][1][0] + 8, v + 4, 16);
	pos[1] = 8;
	assert_int_equal(zw_k_kv_write(&args, pool), -ERANGE);
	assert_int_equal(fault.index, 1);
	assert_int_equal(fault.value, 8);
	pos[1] = 2;
	args.k.ptr = a.pages[0][1][0];
	assert_int_equal(zw_k_kv_write(&args, pool), -EINVAL);
	args.k.ptr = k;
	args.v.ptr = a.pages[0][0][1];
	assert_int_equal(zw_k_kv_write(&args, pool), -EINVAL);
	args.v.ptr = v;
	args.kv_dtype = ZW_DTYPE_U8;
	assert_int_equal(zw_k_kv_write(&args, pool), -EOPNOTSUPP);
	attn_fini(&a);
	free(k);
	free(v);
	zw_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_positions),
		cmocka_unit_test(test_start),
		cmocka_unit_test(test_sinks),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_full_lists),
		cmocka_unit_test(test_list_refusals),
		cmocka_unit_test(test_segment_edge),
		cmocka_unit_test(test_chunking),
		cmocka_unit_test(test_page_size),
		cmocka_unit_test(test_in_place_and_strides),
		cmocka_unit_test(test_special),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_kv_write),
		cmocka_unit_test(test_kv_write_order_and_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

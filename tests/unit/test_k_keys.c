// SPDX-License-Identifier: MIT
/* Merging attention over parts of the keys, and choosing keys: specification, double precision, refusals. */
#include "test_k_util.h"

#include "zw_k_math.h"
#include "zw_k_select_keys.h"

/* --- merge --- */

#define MAX_PARTS 5

struct merge {
	struct zw_k_merge_args args;
	struct zw_k_in x[MAX_PARTS];
	const float *x_lse[MAX_PARTS];
	unsigned char *result; /* y, then lse */
	size_t y_bytes, result_bytes;
};

static void merge_init(struct merge *m, uint32_t parts, uint32_t rows, uint32_t heads, uint32_t d,
		       uint32_t tx, uint32_t ty)
{
	memset(m, 0, sizeof(*m));
	for (uint32_t i = 0; i < parts; i++) {
		float *lse = k_array(F32, (size_t)rows * heads);

		m->x[i] = (struct zw_k_in){.ptr = k_array(tx, (size_t)rows * heads * d),
					   .dtype = tx,
					   .ld = (uint64_t)heads * d,
					   .hs = d};
		for (uint32_t r = 0; r < rows * heads; r++) {
			lse[r] *= 20;
			/* a part without keys: what is in x of it is no matter */
			if (k_rng() % 4 == 0) {
				lse[r] = -INFINITY;
				k_set((void *)(uintptr_t)m->x[i].ptr, tx, (size_t)r * d, NAN);
			}
		}
		m->x_lse[i] = lse;
	}
	m->y_bytes = (size_t)rows * heads * d * k_size(ty);
	m->result_bytes = m->y_bytes + (size_t)rows * heads * 4;
	m->result = malloc(m->result_bytes);
	m->args = (struct zw_k_merge_args){
		.rows = rows,
		.heads = heads,
		.d = d,
		.parts = parts,
		.x = m->x,
		.x_lse = m->x_lse,
		.x_lse_ld = heads,
		.y = {.ptr = m->result, .dtype = ty, .ld = (uint64_t)heads * d, .hs = d},
		.lse = (float *)(void *)(m->result + m->y_bytes),
		.lse_ld = heads,
	};
}

static void merge_fini(struct merge *m)
{
	for (uint32_t i = 0; i < m->args.parts; i++) {
		free((void *)(uintptr_t)m->x[i].ptr);
		free((void *)(uintptr_t)m->x_lse[i]);
	}
	free(m->result);
}

static int run_merge(void *arg, struct zw_pool *pool)
{
	return zw_k_merge(&((struct merge *)arg)->args, pool);
}

static void merge_reset(void *arg)
{
	memset(((struct merge *)arg)->result, 0x5a, ((struct merge *)arg)->result_bytes);
}

/* One head, from the specification to the bit, and in double precision. */
static void merge_verify(const struct merge *m, uint32_t row, uint32_t head)
{
	const struct zw_k_merge_args *a = &m->args;
	size_t at = (size_t)row * a->heads + head;
	float most = -INFINITY, total = 1, acc[64] = {0};
	double sum = 0, want[64] = {0}, mag[64] = {0};
	bool begun = false;

	for (uint32_t i = 0; i < a->parts; i++)
		most = m->x_lse[i][at] > most ? m->x_lse[i][at] : most;
	for (uint32_t i = 0; i < a->parts; i++) {
		float lse = m->x_lse[i][at], w = zw_expf(lse - most);

		if (lse == -INFINITY)
			continue;
		total = begun ? total + w : w;
		for (uint32_t c = 0; c < a->d; c++) {
			float x = k_get(m->x[i].ptr, m->x[i].dtype, at * a->d + c);
			double e = exp((double)lse - (double)most);

			acc[c] = begun ? fmaf(w, x, acc[c]) : w * x;
			want[c] += e * (double)x;
			mag[c] += e * fabs((double)x);
		}
		sum += exp((double)lse - (double)most);
		begun = true;
	}
	for (uint32_t c = 0; c < a->d; c++) {
		float spec, got = k_get(m->result, a->y.dtype, at * a->d + c);

		k_set(&spec, a->y.dtype, 0, acc[c] / total);
		assert_int_equal(zw_f32_bits(got), zw_f32_bits(k_get(&spec, a->y.dtype, 0)));
		if (!begun)
			continue;
		/* exp 2.04, its argument up to 40: half an ulp of that, product and sum, division */
		if (!k_close((double)got, want[c] / sum,
			     mag[c] / sum * (2 * a->parts + 60) * U32 +
				     fabs(want[c] / sum) * U_OF(a->y.dtype)))
			fail_msg("%g, not %g", (double)got, want[c] / sum);
	}
	assert_int_equal(zw_f32_bits(a->lse[at]), zw_f32_bits(most + zw_logf(total)));
}

static void test_merge(void **state)
{
	static const uint32_t shapes[][6] = {
		{1, 3, 2, 8, F32, F32},  {2, 7, 3, 20, F32, BF16},  {3, 40, 4, 64, F32, BF16},
		{5, 1, 1, 1, BF16, F32}, {4, 9, 5, 34, BF16, BF16}, {3, 500, 2, 16, F32, F32},
	};

	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		const uint32_t *s = shapes[i];
		struct merge m;

		merge_init(&m, s[0], s[1], s[2], s[3], s[4], s[5]);
		k_all_configs(run_merge, &m, merge_reset, m.result, m.result_bytes);
		for (uint32_t r = 0; r < s[1]; r++)
			for (uint32_t h = 0; h < s[2]; h++)
				merge_verify(&m, r, h);
		merge_fini(&m);
	}
}

/* One part with keys: its bits, signs of zeros included. */
static void test_merge_of_one(void **state)
{
	struct zw_pool *pool = zw_pool_new(0);
	struct merge m;
	float *x;

	merge_init(&m, 3, 4, 2, 16, F32, F32);
	x = (float *)(uintptr_t)m.x[1].ptr;
	for (uint32_t r = 0; r < 8; r++) {
		((float *)(uintptr_t)m.x_lse[0])[r] = -INFINITY;
		((float *)(uintptr_t)m.x_lse[1])[r] = (float)r * 7 - 30;
		((float *)(uintptr_t)m.x_lse[2])[r] = -INFINITY;
		for (uint32_t c = 0; c < 16; c++)
			x[r * 16 + c] = c % 5 ? k_uniform() : -0.0f;
	}
	assert_int_equal(run_merge(&m, pool), 0);
	assert_memory_equal(m.result, x, m.y_bytes);
	assert_memory_equal(m.args.lse, m.x_lse[1], 32);
	/* a NaN or +inf among the lse: the row is NaN */
	((float *)(uintptr_t)m.x_lse[0])[3] = NAN;
	((float *)(uintptr_t)m.x_lse[2])[4] = INFINITY;
	assert_int_equal(run_merge(&m, pool), 0);
	for (uint32_t r = 0; r < 8; r++)
		assert_true(isnan(((float *)(void *)m.result)[r * 16]) == (r == 3 || r == 4));
	merge_fini(&m);
	zw_pool_free(pool);
}

static void test_merge_refusals(void **state)
{
	struct zw_pool *pool = zw_pool_new(0);
	struct zw_k_merge_args bad;
	struct merge m;

	merge_init(&m, 2, 3, 2, 8, F32, F32);
	merge_reset(&m);
#define REFUSED(change)                                                                            \
	do {                                                                                       \
		bad = m.args;                                                                      \
		change;                                                                            \
		assert_int_equal(zw_k_merge(&bad, pool), -EINVAL);                                 \
		for (size_t b = 0; b < m.result_bytes; b++)                                        \
			assert_int_equal(m.result[b], 0x5a);                                       \
	} while (0)
	REFUSED(bad.parts = 0);
	REFUSED(bad.parts = ZW_K_MERGE_MAX_PARTS + 1);
	REFUSED(bad.d = 0);
	REFUSED(bad.y.ptr = (void *)(uintptr_t)m.x[1].ptr);
	REFUSED(bad.y.ptr = (void *)(uintptr_t)m.x_lse[0]);
	REFUSED(bad.lse = (float *)(void *)m.result);
	REFUSED(bad.lse = (float *)(uintptr_t)m.x_lse[1]);
	REFUSED(bad.lse = (float *)(uintptr_t)m.x[0].ptr);
	REFUSED(bad.y.hs = 7);
#undef REFUSED
	merge_fini(&m);
	zw_pool_free(pool);
}

/* --- the best of many --- */

static void test_select_best(void **state)
{
	uint32_t *hist = malloc(ZW_SELECT_SCRATCH * 4);
	struct zw_pool *pool = zw_pool_new(0);

	for (int round = 0; round < 200; round++) {
		uint32_t n = 1 + k_rng() % 300, k = k_rng() % (n + 1);
		float *v = malloc(n * 4);
		uint8_t *mark = calloc(n, 1);

		for (uint32_t i = 0; i < n; i++) {
			static const float odd[] = {0,   -0.0f, INFINITY,  -INFINITY,
						    NAN, 1,     1.0000001f};

			v[i] = k_rng() % 2 ? odd[k_rng() % 7] : k_uniform();
		}
		assert_int_equal(zw_select_best(pool, v, n, k, mark, hist), 0);
		for (uint32_t i = 0; i < n; i++) {
			uint32_t before = 0;

			for (uint32_t j = 0; j < n; j++)
				before +=
					j != i &&
					(v[j] > v[i] || (isnan(v[i]) && !isnan(v[j])) ||
					 ((v[j] == v[i] || (isnan(v[i]) && isnan(v[j]))) && j < i));
			assert_int_equal(mark[i], before < k);
		}
		free(v);
		free(mark);
	}
	free(hist);
	zw_pool_free(pool);
}

/* --- blocks --- */

struct shape {
	uint32_t rows, first, n_q, n_kv, d, block_size, group, most, tq, tkv;
};

struct choice {
	struct shape s;
	void **pages;
	void *q, *further[2]; /* for keys below end[i]; of both, the last */
	int32_t *end[2];
	int32_t *pos;
	struct zw_k_kv_seq seq;
	struct zw_k_select_blocks_args blocks_args;
	struct zw_k_select_slash_args slash_args;
	int32_t *vertical, *slash;
	uint32_t groups, most_columns;
	int32_t *result; /* blocks, counts, columns, column counts */
	size_t result_bytes;
};

static void choice_init(struct choice *c, const struct shape *s, uint32_t most_columns)
{
	uint32_t len = s->first + s->rows, n = (len - 1) / s->block_size + 1;
	size_t lists;

	memset(c, 0, sizeof(*c));
	c->s = *s;
	c->groups = (s->rows - 1) / s->group + 1;
	c->most_columns = most_columns;
	c->pages = calloc(n, sizeof(void *));
	for (uint32_t p = 0; p < n; p++)
		c->pages[p] = k_array(s->tkv, (size_t)s->block_size * s->n_kv * s->d);
	c->q = k_array(s->tq, (size_t)s->rows * s->n_q * s->d);
	c->pos = malloc(s->rows * 4);
	for (uint32_t r = 0; r < s->rows; r++)
		c->pos[r] = (int32_t)(s->first + r);
	c->seq = (struct zw_k_kv_seq){.k_pages = c->pages,
				      .v_pages = c->pages,
				      .n_pages = n,
				      .q_count = s->rows,
				      .kv_len = len};
	lists = (size_t)c->groups * s->n_q;
	c->result_bytes = lists * (s->most + 1 + most_columns + 1) * 4;
	c->result = malloc(c->result_bytes);
	c->blocks_args = (struct zw_k_select_blocks_args){
		.rows = s->rows,
		.n_q = s->n_q,
		.n_kv = s->n_kv,
		.d = s->d,
		.block_size = s->block_size,
		.kv_dtype = s->tkv,
		.group = s->group,
		.most = s->most,
		.n_seqs = 1,
		.seqs = &c->seq,
		.positions = c->pos,
		.q = {.ptr = c->q, .dtype = s->tq, .ld = (uint64_t)s->n_q * s->d, .hs = s->d},
		.blocks = c->result,
		.counts = c->result + lists * s->most,
		.blocks_gs = (uint64_t)s->n_q * s->most,
		.blocks_hs = s->most,
		.counts_gs = s->n_q,
	};
	c->vertical = malloc(s->n_q * 4);
	c->slash = malloc(s->n_q * 4);
	c->slash_args = (struct zw_k_select_slash_args){
		.rows = s->rows,
		.n_q = s->n_q,
		.n_kv = s->n_kv,
		.d = s->d,
		.block_size = s->block_size,
		.kv_dtype = s->tkv,
		.group = s->group,
		.sample = 20,
		.first = 5,
		.nearest = 7,
		.scale = 4.0f / sqrtf((float)s->d),
		.most_blocks = s->most,
		.most_columns = most_columns,
		.seq = &c->seq,
		.positions = c->pos,
		.vertical = c->vertical,
		.slash = c->slash,
		.q = c->blocks_args.q,
		.blocks = c->blocks_args.blocks,
		.counts = c->blocks_args.counts,
		.columns = c->blocks_args.counts + lists,
		.column_counts = c->blocks_args.counts + lists + lists * most_columns,
		.blocks_gs = c->blocks_args.blocks_gs,
		.blocks_hs = s->most,
		.counts_gs = s->n_q,
		.columns_gs = (uint64_t)s->n_q * most_columns,
		.columns_hs = most_columns,
		.column_counts_gs = s->n_q,
	};
	memset(c->result, 0, c->result_bytes);
}

/*
 * Chunks of c positions: queries for the one before a row's own and for all before that; or of any row anything, in an order
 * of its own.
 */
static void choice_further(struct choice *c, uint32_t length, bool wild)
{
	const struct shape *s = &c->s;

	for (unsigned int i = 0; i < 2; i++) {
		struct zw_k_further *f = i ? &c->blocks_args.far : &c->blocks_args.mid;

		c->further[i] = k_array(s->tq, (size_t)s->rows * s->n_q * s->d);
		c->end[i] = malloc(s->rows * sizeof(*c->end[i]));
		for (uint32_t r = 0; r < s->rows; r++) {
			int32_t own = c->pos[r] / (int32_t)length * (int32_t)length;

			c->end[i][r] = i ? own - (int32_t)length : own;
			if (wild)
				c->end[i][r] = (int32_t)(k_rng() % (s->first + 2 * s->rows));
			c->end[i][r] = c->end[i][r] < 0 ? 0 : c->end[i][r];
		}
		*f = (struct zw_k_further){.q = c->blocks_args.q, .end = c->end[i]};
		f->q.ptr = c->further[i];
	}
	c->slash_args.mid = c->blocks_args.mid;
	c->slash_args.far = c->blocks_args.far;
}

/* What row r compares with the key of a position. */
static const void *query_of(const struct choice *c, uint32_t r, uint32_t pos)
{
	for (unsigned int i = 2; i-- > 0;)
		if (c->end[i] && (int32_t)pos < c->end[i][r])
			return c->further[i];
	return c->q;
}

static void choice_fini(struct choice *c)
{
	for (unsigned int i = 0; i < 2; i++) {
		free(c->further[i]);
		free(c->end[i]);
	}
	for (uint32_t p = 0; p < c->seq.n_pages; p++)
		free(c->pages[p]);
	free(c->pages);
	free(c->q);
	free(c->pos);
	free(c->vertical);
	free(c->slash);
	free(c->result);
}

static float key_at(const struct choice *c, uint32_t pos, uint32_t head, uint32_t e)
{
	const struct shape *s = &c->s;

	return k_get(c->pages[pos / s->block_size], s->tkv,
		     ((size_t)(pos % s->block_size) * s->n_kv + head) * s->d + e);
}

static int run_blocks(void *arg, struct zw_pool *pool)
{
	return zw_k_select_blocks(&((struct choice *)arg)->blocks_args, pool);
}

/* Lists of a group and head, from the specification. */
static void verify_blocks(const struct choice *c, uint32_t g, uint32_t head)
{
	const struct shape *s = &c->s;
	uint32_t r0 = g * s->group, r1 = r0 + s->group < s->rows ? r0 + s->group : s->rows;
	uint32_t t = s->block_size, diagonal = (uint32_t)c->pos[r0] / t;
	uint32_t last = (uint32_t)c->pos[r1 - 1] / t, left = s->most, n = 0;
	const struct zw_k_select_blocks_args *a = &c->blocks_args;
	const int32_t *got = a->blocks + g * a->blocks_gs + head * a->blocks_hs;
	float *score = calloc(last + 1, 4);
	bool *in = calloc(last + 1, 1);

	for (uint32_t b = 1; b < diagonal; b++) {
		float q[64] = {0}, k[64] = {0};
		double plain = 0, mag = 0;

		for (uint32_t e = 0; e < s->d; e++) {
			double kd = 0, qd = 0;

			for (uint32_t r = r0; r < r1; r++)
				q[e] = q[e] + k_get(query_of(c, r, b * t), s->tq,
						    ((size_t)r * s->n_q + head) * s->d + e);
			q[e] = q[e] / (float)(r1 - r0);

			for (uint32_t i = 0; i < t; i++) {
				float x = key_at(c, b * t + i, head / (s->n_q / s->n_kv), e);

				k[e] = k[e] + x;
				kd += (double)x;
			}
			k[e] = k[e] / (float)t;
			for (uint32_t r = r0; r < r1; r++)
				qd += (double)k_get(query_of(c, r, b * t), s->tq,
						    ((size_t)r * s->n_q + head) * s->d + e);
			plain += qd / (r1 - r0) * kd / t;
			mag += 1;
		}
		score[b] = k_dot(q, k, s->d);
		/* means of numbers below 1: each is off by at most so many roundings */
		assert_true(k_close((double)score[b], plain, mag * 4 * (t + s->group + 8) * U32));
	}
	for (uint32_t b = last + 1; b-- > diagonal && left; left--)
		in[b] = true;
	if (left && diagonal) {
		in[0] = true;
		left--;
	}
	while (left) {
		uint32_t best = 0;

		for (uint32_t b = 1; b < diagonal; b++)
			if (!in[b] && (!best || score[b] > score[best]))
				best = b;
		if (!best)
			break;
		in[best] = true;
		left--;
	}
	for (uint32_t b = 0; b <= last; b++)
		if (in[b])
			assert_int_equal(got[n++], b);
	assert_int_equal(a->counts[g * a->counts_gs + head], n);
	for (; n < s->most; n++)
		assert_int_equal(got[n], 0);
	free(score);
	free(in);
}

static void test_blocks(void **state)
{
	static const struct shape shapes[] = {
		{100, 0, 4, 2, 16, 8, 16, 5, BF16, BF16},
		{64, 900, 2, 1, 40, 16, 64, 9, F32, F32},
		{30, 333, 6, 3, 24, 8, 7, 12, F32, BF16},
		{1, 700, 4, 2, 64, 16, 1, 3, BF16, F32},
		{50, 200, 2, 2, 9, 64, 20, 1, F32, F32},
		{40, 500, 3, 1, 16, 8, 40, 2, BF16, BF16},
		{64, 2000, 2, 1, 17, 16, 32, 200, F32, F32},
	};

	/* One query for all keys, then several. */
	for (size_t j = 0; j < 3 * sizeof(shapes) / sizeof(shapes[0]); j++) {
		size_t i = j / 3;
		struct choice c;

		choice_init(&c, &shapes[i], 0);
		if (j % 3)
			choice_further(&c, 45, j % 3 == 2);
		k_all_configs(run_blocks, &c, NULL, c.result, c.result_bytes);
		for (uint32_t g = 0; g < c.groups; g++)
			for (uint32_t h = 0; h < shapes[i].n_q; h++)
				verify_blocks(&c, g, h);
		choice_fini(&c);
	}
}

/* --- columns and distances --- */

static int run_slash(void *arg, struct zw_pool *pool)
{
	return zw_k_select_slash(&((struct choice *)arg)->slash_args, pool);
}

/* Weights of sampled row r, to the bit; in double precision, too. */
static void weights_of(const struct choice *c, uint32_t row, uint32_t head, float *p)
{
	const struct shape *s = &c->s;
	uint32_t n = (uint32_t)c->pos[row] + 1, kv = head / (s->n_q / s->n_kv);
	float q[64], k[64], m = -INFINITY, l = 0;
	double sum = 0, most = -1e30, *z = malloc(n * sizeof(*z));

	for (uint32_t j0 = 0; j0 < n; j0 += 64) {
		uint32_t end = n - j0 < 64 ? n : j0 + 64;
		float was = m, lane[8] = {0}, t[4];

		for (uint32_t j = j0; j < end; j++) {
			z[j] = 0;
			for (uint32_t e = 0; e < s->d; e++) {
				k[e] = key_at(c, j, kv, e);
				q[e] = k_get(query_of(c, row, j), s->tq,
					     ((size_t)row * s->n_q + head) * s->d + e);
				z[j] += (double)q[e] * (double)k[e];
			}
			z[j] *= (double)c->slash_args.scale;
			most = fmax(most, z[j]);
			p[j] = k_dot(q, k, s->d) * c->slash_args.scale;
			m = p[j] > m ? p[j] : m;
		}
		for (uint32_t j = j0; j < end; j++)
			lane[j % 8] = lane[j % 8] + zw_expf(p[j] - m);
		for (int i = 0; i < 4; i++)
			t[i] = lane[i] + lane[i + 4];
		l = fmaf(l, zw_expf(was - m), (t[0] + t[2]) + (t[1] + t[3]));
	}
	for (uint32_t j = 0; j < n; j++)
		sum += exp(z[j] - most);
	for (uint32_t j = 0; j < n; j++) {
		p[j] = zw_expf(p[j] - m) / l;
		assert_true(
			k_close((double)p[j], exp(z[j] - most) / sum, 1e-4 * (double)p[j] + 1e-30));
	}
	free(z);
}

static void best_of(const float *v, uint32_t n, uint32_t count, uint32_t forced, bool *in)
{
	uint32_t have = 0;

	count = count > forced ? count : forced;
	for (uint32_t i = 0; i < n && i < forced; i++, have++)
		in[i] = true;
	while (have < count && have < n) {
		uint32_t best = UINT32_MAX;

		for (uint32_t i = 0; i < n; i++)
			if (!in[i] && (best == UINT32_MAX || v[i] > v[best]))
				best = i;
		in[best] = true;
		have++;
	}
}

static void verify_slash(const struct choice *c, uint32_t head)
{
	const struct zw_k_select_slash_args *a = &c->slash_args;
	uint32_t rows = c->s.rows, len = c->s.first + rows, t = c->s.block_size;
	uint32_t sample = a->sample < rows ? a->sample : rows;
	float *p = malloc(len * 4), *column = calloc(len, 4), *distance = calloc(len, 4);
	bool *v = calloc(len, 1), *o = calloc(len, 1);

	for (uint32_t r = rows - sample; r < rows; r++) {
		uint32_t pos = (uint32_t)c->pos[r];

		weights_of(c, r, head, p);
		for (uint32_t j = 0; j <= pos; j++) {
			column[j] = column[j] + p[j];
			distance[pos - j] = distance[pos - j] + p[j];
		}
	}
	best_of(column, len, (uint32_t)c->vertical[head], a->first, v);
	best_of(distance, len, (uint32_t)c->slash[head], a->nearest, o);
	for (uint32_t g = 0; g < c->groups; g++) {
		const int32_t *blocks = a->blocks + g * a->blocks_gs + head * a->blocks_hs;
		const int32_t *columns = a->columns + g * a->columns_gs + head * a->columns_hs;
		uint32_t r0 = g * c->s.group, r1 = r0 + c->s.group, nb = 0, nc = 0;
		bool *in = calloc(len / t + 1, 1);

		r1 = r1 < rows ? r1 : rows;
		/* block by block, distance by distance */
		for (uint32_t d = 0; d < len; d++)
			for (int64_t q = c->pos[r0]; q <= c->pos[r1 - 1] && o[d]; q++)
				if (q >= d)
					in[(q - d) / t] = true;
		for (uint32_t b = 0; b <= (uint32_t)c->pos[r1 - 1] / t; b++)
			if (in[b])
				assert_int_equal(blocks[nb++], b);
		assert_int_equal(a->counts[g * a->counts_gs + head], nb);
		for (uint32_t j = 0; j <= (uint32_t)c->pos[r1 - 1]; j++)
			if (v[j] && !in[j / t])
				assert_int_equal(columns[nc++], j);
		assert_int_equal(a->column_counts[g * a->column_counts_gs + head], nc);
		for (; nb < a->most_blocks; nb++)
			assert_int_equal(blocks[nb], 0);
		for (; nc < a->most_columns; nc++)
			assert_int_equal(columns[nc], 0);
		free(in);
	}
	free(p);
	free(column);
	free(distance);
	free(v);
	free(o);
}

static void test_slash(void **state)
{
	static const struct shape shapes[] = {
		{100, 0, 4, 2, 16, 8, 16, 13, BF16, BF16},
		{64, 300, 2, 1, 40, 16, 64, 23, F32, F32},
		{30, 133, 6, 3, 24, 8, 7, 21, F32, BF16},
		{1, 200, 4, 2, 64, 16, 1, 13, BF16, F32},
		{10, 0, 2, 2, 9, 64, 20, 1, F32, F32},
	};

	for (size_t j = 0; j < 3 * sizeof(shapes) / sizeof(shapes[0]); j++) {
		size_t i = j / 3;
		struct choice c;

		choice_init(&c, &shapes[i], 60);
		if (j % 3)
			choice_further(&c, 45, j % 3 == 2);
		for (uint32_t h = 0; h < shapes[i].n_q; h++) {
			c.vertical[h] = (int32_t)(k_rng() % 60);
			c.slash[h] = (int32_t)(k_rng() % 40);
		}
		c.vertical[0] = 0;
		k_all_configs(run_slash, &c, NULL, c.result, c.result_bytes);
		for (uint32_t h = 0; h < shapes[i].n_q; h++)
			verify_slash(&c, h);
		choice_fini(&c);
	}
}

static void test_choice_refusals(void **state)
{
	static const struct shape s = {30, 133, 4, 2, 24, 8, 7, 21, F32, BF16};
	struct zw_pool *pool = zw_pool_new(0);
	struct choice c;

	choice_init(&c, &s, 60);
	for (uint32_t h = 0; h < 4; h++)
		c.vertical[h] = c.slash[h] = 20;
	assert_int_equal(run_slash(&c, pool), 0);
	assert_int_equal(run_blocks(&c, pool), 0);
#define REFUSED(run, args, change)                                                                 \
	do {                                                                                       \
		struct choice was = c;                                                             \
		int32_t row = c.pos[7];                                                            \
		change;                                                                            \
		assert_int_equal(run(&c, pool), -EINVAL);                                          \
		c = was;                                                                           \
		c.pos[7] = row;                                                                    \
		c.slash[1] = c.vertical[2] = 20;                                                   \
	} while (0)
	REFUSED(run_slash, slash_args, c.slash_args.sample = 0);
	REFUSED(run_slash, slash_args, c.slash_args.sample = ZW_K_SLASH_MAX_SAMPLE + 1);
	REFUSED(run_slash, slash_args, c.slash_args.nearest = 0);
	REFUSED(run_slash, slash_args, c.slash_args.scale = NAN);
	REFUSED(run_slash, slash_args, c.slash_args.most_columns = 19);
	REFUSED(run_slash, slash_args, c.slash_args.most_blocks = 20);
	REFUSED(run_slash, slash_args, c.slash[1] = -1);
	REFUSED(run_slash, slash_args, c.vertical[2] = -1);
	REFUSED(run_slash, slash_args, c.pos[7]++);
	REFUSED(run_slash, slash_args, c.slash_args.n_kv = 3);
	choice_further(&c, 45, false);
	assert_int_equal(run_slash(&c, pool), 0);
	assert_int_equal(run_blocks(&c, pool), 0);
	REFUSED(run_slash, slash_args, c.slash_args.far.q.ptr = NULL);
	REFUSED(run_blocks, blocks_args, c.blocks_args.mid.q.ptr = NULL);
	c.end[1][3] = -1;
	assert_int_equal(run_slash(&c, pool), -EINVAL);
	assert_int_equal(run_blocks(&c, pool), -EINVAL);
	c.end[1][3] = 0;
	REFUSED(run_blocks, blocks_args, c.blocks_args.group = 0);
	REFUSED(run_blocks, blocks_args, c.blocks_args.most = 0);
	REFUSED(run_blocks, blocks_args, c.seq.q_count = 29);
#undef REFUSED
	choice_fini(&c);
	zw_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_merge),           cmocka_unit_test(test_merge_of_one),
		cmocka_unit_test(test_merge_refusals),  cmocka_unit_test(test_select_best),
		cmocka_unit_test(test_blocks),          cmocka_unit_test(test_slash),
		cmocka_unit_test(test_choice_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

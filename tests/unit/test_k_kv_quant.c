// SPDX-License-Identifier: MIT
/* A quantised KV cache: what is written, attention against what that stands for; tables of records. */
#include "k_quant_util.h"

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

enum { N_SEQS = 2, MAX_PAGES = 64 };

struct cache {
	uint32_t dtype, n_kv, n_q, d, block, len[N_SEQS], rows[N_SEQS];
	void *k_page[N_SEQS][MAX_PAGES], *v_page[N_SEQS][MAX_PAGES];
	void *k_scale[N_SEQS][MAX_PAGES], *v_scale[N_SEQS][MAX_PAGES];
	void *k_wide[N_SEQS][MAX_PAGES], *v_wide[N_SEQS][MAX_PAGES];
	struct zw_k_kv_seq all[N_SEQS], seq[N_SEQS], wide[N_SEQS];
	void *k, *v, *q;
	uint32_t total, q_total;
	struct zw_k_kv_write_args write;
	struct zw_k_attn_args attn;
	float *out;
	size_t out_bytes;
};

static void cache_init(struct cache *c)
{
	uint32_t row = 0, q_row = 0;

	for (int s = 0; s < N_SEQS; s++) {
		uint32_t pages = (c->len[s] + c->block - 1) / c->block;
		size_t n = (size_t)c->block * c->n_kv * c->d;

		assert_true(pages <= MAX_PAGES);
		for (uint32_t i = 0; i < pages; i++) {
			c->k_page[s][i] = malloc(n);
			c->v_page[s][i] = malloc(n);
			c->k_scale[s][i] = malloc((size_t)c->block * c->n_kv * 4);
			c->v_scale[s][i] = malloc((size_t)c->block * c->n_kv * 4);
			c->k_wide[s][i] = calloc(n, 4);
			c->v_wide[s][i] = calloc(n, 4);
		}
		c->all[s] = (struct zw_k_kv_seq){
			.k_pages = c->k_page[s],
			.v_pages = c->v_page[s],
			.k_scales = c->k_scale[s],
			.v_scales = c->v_scale[s],
			.n_pages = pages,
			.q_first = row,
			.q_count = c->len[s],
			.kv_len = c->len[s],
		};
		c->seq[s] = c->all[s];
		c->seq[s].q_first = q_row;
		c->seq[s].q_count = c->rows[s];
		c->wide[s] = c->seq[s];
		c->wide[s].k_pages = c->k_wide[s];
		c->wide[s].v_pages = c->v_wide[s];
		c->wide[s].k_scales = c->wide[s].v_scales = NULL;
		row += c->len[s];
		q_row += c->rows[s];
	}
	c->total = row;
	c->q_total = q_row;
	c->k = k_array(BF16, (size_t)row * c->n_kv * c->d);
	c->v = k_array(BF16, (size_t)row * c->n_kv * c->d);
	c->q = k_array(BF16, (size_t)q_row * c->n_q * c->d);
	c->out_bytes = (size_t)q_row * c->n_q * c->d * 4;
	c->out = malloc(c->out_bytes);
	c->write = (struct zw_k_kv_write_args){
		.rows = row,
		.n_kv = c->n_kv,
		.d = c->d,
		.block_size = c->block,
		.kv_dtype = c->dtype,
		.n_seqs = N_SEQS,
		.seqs = c->all,
		.k = {.ptr = c->k, .dtype = BF16, .ld = (uint64_t)c->n_kv * c->d, .hs = c->d},
		.v = {.ptr = c->v, .dtype = BF16, .ld = (uint64_t)c->n_kv * c->d, .hs = c->d},
	};
	c->attn = (struct zw_k_attn_args){
		.rows = q_row,
		.n_q = c->n_q,
		.n_kv = c->n_kv,
		.d = c->d,
		.block_size = c->block,
		.kv_dtype = c->dtype,
		.n_seqs = N_SEQS,
		.scale = 0.3f,
		.seqs = c->seq,
		.q = {.ptr = c->q, .dtype = BF16, .ld = (uint64_t)c->n_q * c->d, .hs = c->d},
		.out = {.ptr = c->out, .dtype = F32, .ld = (uint64_t)c->n_q * c->d, .hs = c->d},
	};
}

static void cache_fini(struct cache *c)
{
	for (int s = 0; s < N_SEQS; s++)
		for (uint32_t i = 0; i < c->all[s].n_pages; i++) {
			free(c->k_page[s][i]);
			free(c->v_page[s][i]);
			free(c->k_scale[s][i]);
			free(c->v_scale[s][i]);
			free(c->k_wide[s][i]);
			free(c->v_wide[s][i]);
		}
	free(c->k);
	free(c->v);
	free(c->q);
	free(c->out);
}

/* What was written of a head: the scale, the codes; and what they stand for, to the wide cache. */
static void check_head(const struct cache *c, int s, uint32_t pos, uint32_t head, bool value)
{
	uint32_t page = pos / c->block, slot = (pos % c->block) * c->n_kv + head;
	const uint8_t *y = (value ? c->v_page : c->k_page)[s][page];
	const float *scales = (value ? c->v_scale : c->k_scale)[s][page];
	float *wide = (value ? c->v_wide : c->k_wide)[s][page];
	float largest = c->dtype == ZW_DTYPE_I8 ? 127 : 448, most = 0, want;
	size_t from = ((size_t)(c->all[s].q_first + pos) * c->n_kv + head) * c->d;

	for (uint32_t i = 0; i < c->d; i++)
		most = fmaxf(most, fabsf(k_get(value ? c->v : c->k, BF16, from + i)));
	want = most > 0 ? most / largest : 1;
	assert_true(scales[slot] == want);
	for (uint32_t i = 0; i < c->d; i++) {
		float x = k_get(value ? c->v : c->k, BF16, from + i) / want;
		unsigned int code = y[(size_t)slot * c->d + i];

		assert_int_equal(code, nearest(c->dtype, (double)x));
		wide[(size_t)slot * c->d + i] = code_value(c->dtype, code) * want;
	}
}

static int run(void *arg, struct zw_pool *pool)
{
	return zw_k_attn(&((struct cache *)arg)->attn, pool);
}

static void reset(void *arg)
{
	struct cache *c = arg;

	memset(c->out, 0x5a, c->out_bytes);
}

static void test_cache(void **state)
{
	static const uint32_t shapes[][8] = {
		/* kv heads, query heads, d, block, lengths, rows */
		{1, 1, 8, 8, 1, 9, 1, 1},        {2, 6, 40, 16, 70, 100, 1, 3},
		{2, 4, 16, 32, 30, 150, 30, 60}, {1, 5, 33, 8, 5, 130, 2, 90},
		{4, 4, 64, 128, 600, 40, 1, 40}, {2, 2, 24, 64, 1100, 520, 2, 1},
	};
	static const uint32_t dtypes[] = {ZW_DTYPE_I8, ZW_DTYPE_F8E4M3};
	struct zw_pool *pool = zw_pool_new(2);
	const char *name;

	for (size_t t = 0; t < N_OF(dtypes); t++)
		for (size_t i = 0; i < N_OF(shapes); i++) {
			const uint32_t *s = shapes[i];
			static struct cache c;
			float *want;

			c = (struct cache){.dtype = dtypes[t],
					   .n_kv = s[0],
					   .n_q = s[1],
					   .d = s[2],
					   .block = s[3],
					   .len = {s[4], s[5]},
					   .rows = {s[6], s[7]}};
			cache_init(&c);
			/* a head of zeros, and one of a single large number */
			for (uint32_t j = 0; j < c.d; j++) {
				k_set(c.k, BF16, j, 0);
				k_set(c.v, BF16, j, j == 3 ? -1e6f : 1e-3f);
			}
			for (int table = 0; k_use_table(table, &name); table++) {
				assert_int_equal(zw_k_kv_write(&c.write, pool), 0);
				for (int seq = 0; seq < N_SEQS; seq++)
					for (uint32_t p = 0; p < c.len[seq]; p++)
						for (uint32_t h = 0; h < c.n_kv; h++) {
							check_head(&c, seq, p, h, false);
							check_head(&c, seq, p, h, true);
						}
			}
			want = malloc(c.out_bytes);
			c.attn.kv_dtype = F32;
			c.attn.seqs = c.wide;
			assert_int_equal(zw_k_attn(&c.attn, pool), 0);
			memcpy(want, c.out, c.out_bytes);
			c.attn.kv_dtype = c.dtype;
			c.attn.seqs = c.seq;
			k_all_configs(run, &c, reset, c.out, c.out_bytes);
			assert_memory_equal(want, c.out, c.out_bytes);
			free(want);
			cache_fini(&c);
		}
	zw_pool_free(pool);
}

/* --- choosing keys --- */

/* Both choices for the queries of the longer sequence. */
struct lists {
	struct zw_k_select_blocks_args blocks;
	struct zw_k_select_slash_args slash;
	int32_t *result, *sizes;
	size_t result_bytes;
};

static void lists_init(struct lists *l, const struct cache *c)
{
	const uint32_t group = 16, most = 6;
	uint32_t groups = (c->q_total - 1) / group + 1;
	/* as many blocks as there may be, beside columns */
	uint32_t room = (c->len[1] - 1) / c->block + 1, columns = 40;
	size_t n = (size_t)groups * c->n_q;

	l->result_bytes = n * (most + room + columns + 3) * 4;
	l->result = malloc(l->result_bytes);
	l->sizes = malloc(c->n_q * sizeof(*l->sizes));
	for (uint32_t h = 0; h < c->n_q; h++)
		l->sizes[h] = (int32_t)(3 + h);
	l->blocks = (struct zw_k_select_blocks_args){
		.rows = c->q_total,
		.n_q = c->n_q,
		.n_kv = c->n_kv,
		.d = c->d,
		.block_size = c->block,
		.kv_dtype = c->dtype,
		.group = group,
		.most = most,
		.n_seqs = 1,
		.seqs = &c->seq[1],
		.q = c->attn.q,
		.blocks = l->result,
		.counts = l->result + n * most,
		.blocks_gs = (uint64_t)c->n_q * most,
		.blocks_hs = most,
		.counts_gs = c->n_q,
	};
	l->slash = (struct zw_k_select_slash_args){
		.rows = c->q_total,
		.n_q = c->n_q,
		.n_kv = c->n_kv,
		.d = c->d,
		.block_size = c->block,
		.kv_dtype = c->dtype,
		.group = group,
		.sample = 9,
		.first = 2,
		.nearest = 2,
		.scale = 0.7f,
		.most_blocks = room,
		.most_columns = columns,
		.seq = &c->seq[1],
		.vertical = l->sizes,
		.slash = l->sizes,
		.q = c->attn.q,
		.blocks = l->result + n * (most + 1),
		.counts = l->result + n * (most + 1 + room),
		.columns = l->result + n * (most + 2 + room),
		.column_counts = l->result + n * (most + 2 + room + columns),
		.blocks_gs = (uint64_t)c->n_q * room,
		.blocks_hs = room,
		.counts_gs = c->n_q,
		.columns_gs = (uint64_t)c->n_q * columns,
		.columns_hs = columns,
		.column_counts_gs = c->n_q,
	};
}

static int run_lists(void *arg, struct zw_pool *pool)
{
	struct lists *l = arg;
	int err = zw_k_select_blocks(&l->blocks, pool);

	return err ? err : zw_k_select_slash(&l->slash, pool);
}

static void reset_lists(void *arg)
{
	struct lists *l = arg;

	memset(l->result, 0x5a, l->result_bytes);
}

/* Lists chosen from a quantised cache are those chosen from what it stands for. */
static void test_choice(void **state)
{
	static const uint32_t shapes[][6] = {
		/* kv heads, query heads, d, block, length, rows */
		{1, 2, 8, 8, 200, 40},
		{2, 6, 40, 16, 333, 50},
		{1, 3, 33, 32, 700, 1},
	};
	static const uint32_t dtypes[] = {ZW_DTYPE_I8, ZW_DTYPE_F8E4M3};
	struct zw_pool *pool = zw_pool_new(2);

	for (size_t t = 0; t < N_OF(dtypes); t++)
		for (size_t i = 0; i < N_OF(shapes); i++) {
			const uint32_t *s = shapes[i];
			static struct cache c;
			struct lists l;
			void *hole;
			int32_t *want;

			c = (struct cache){.dtype = dtypes[t],
					   .n_kv = s[0],
					   .n_q = s[1],
					   .d = s[2],
					   .block = s[3],
					   .len = {1, s[4]},
					   .rows = {0, s[5]}};
			cache_init(&c);
			/* keys of ever other sizes, whose codes alone would say nothing */
			for (size_t k = 0; k < (size_t)c.total * c.n_kv * c.d; k++)
				k_set(c.k, BF16, k,
				      k_get(c.k, BF16, k) * (float)(1 + k / c.d * 7 % 11));
			assert_int_equal(zw_k_kv_write(&c.write, pool), 0);
			for (uint32_t p = 0; p < c.len[1]; p++)
				for (uint32_t h = 0; h < c.n_kv; h++)
					check_head(&c, 1, p, h, false);
			lists_init(&l, &c);
			l.blocks.kv_dtype = l.slash.kv_dtype = F32;
			l.blocks.seqs = l.slash.seq = &c.wide[1];
			reset_lists(&l);
			assert_int_equal(run_lists(&l, pool), 0);
			want = malloc(l.result_bytes);
			memcpy(want, l.result, l.result_bytes);
			l.blocks.kv_dtype = l.slash.kv_dtype = c.dtype;
			l.blocks.seqs = l.slash.seq = &c.seq[1];
			k_all_configs(run_lists, &l, reset_lists, l.result, l.result_bytes);
			assert_memory_equal(want, l.result, l.result_bytes);
			/* no scales where keys are read */
			hole = c.k_scale[1][1];
			c.k_scale[1][1] = NULL;
			assert_int_equal(zw_k_select_blocks(&l.blocks, pool), -EINVAL);
			assert_int_equal(zw_k_select_slash(&l.slash, pool), -EINVAL);
			c.k_scale[1][1] = hole;
			free(want);
			free(l.result);
			free(l.sizes);
			cache_fini(&c);
		}
	zw_pool_free(pool);
}

static void test_refusals(void **state)
{
	struct zw_pool *pool = zw_pool_new(0);
	struct zw_k_kv_seq bad[N_SEQS];
	static struct cache c;
	void *odd[MAX_PAGES];

	c = (struct cache){.dtype = ZW_DTYPE_I8,
			   .n_kv = 2,
			   .n_q = 2,
			   .d = 8,
			   .block = 8,
			   .len = {20, 9},
			   .rows = {2, 1}};
	cache_init(&c);
	assert_int_equal(zw_k_kv_write(&c.write, pool), 0);
#define REFUSED(err, change)                                                                       \
	do {                                                                                       \
		struct zw_k_kv_write_args w = c.write;                                             \
		struct zw_k_attn_args a = c.attn;                                                  \
                                                                                                   \
		memcpy(bad, c.all, sizeof(bad));                                                   \
		w.seqs = bad;                                                                      \
		change;                                                                            \
		assert_int_equal(zw_k_kv_write(&w, pool), err);                                    \
		memcpy(bad, c.seq, sizeof(bad));                                                   \
		a.seqs = bad;                                                                      \
		change;                                                                            \
		a.kv_dtype = w.kv_dtype;                                                           \
		assert_int_equal(zw_k_attn(&a, pool), err);                                        \
	} while (0)
	memcpy(odd, c.k_scale[0], sizeof(odd));
	odd[1] = (char *)odd[1] + 1;
	REFUSED(-EINVAL, bad[0].k_scales = NULL);
	REFUSED(-EINVAL, bad[1].v_scales = NULL);
	REFUSED(-EINVAL, bad[0].k_scales = odd);
	REFUSED(-EINVAL, w.kv_dtype = F32); /* has no scales */
	REFUSED(-EOPNOTSUPP, w.kv_dtype = ZW_DTYPE_F8E5M2);
	REFUSED(-EOPNOTSUPP, w.kv_dtype = ZW_DTYPE_U8);
	c.attn.out.ptr = c.k_scale[0][0];
	assert_int_equal(zw_k_attn(&c.attn, pool), -EINVAL);
	cache_fini(&c);
	zw_pool_free(pool);
}

/* --- tables of records --- */

struct gather {
	struct zw_k_gather_args args;
	uint16_t *out;
	size_t bytes;
};

static int run_gather(void *arg, struct zw_pool *pool)
{
	return zw_k_gather(&((struct gather *)arg)->args, pool);
}

static void reset_gather(void *arg)
{
	struct gather *g = arg;

	memset(g->out, 0x5a, g->bytes);
}

static void test_gather(void **state)
{
	static const uint32_t records[] = {ZW_DTYPE_Q8_0, ZW_DTYPE_Q4_K, ZW_DTYPE_Q6_K,
					   ZW_DTYPE_Q4_0, ZW_DTYPE_MXFP4};
	static const int32_t ids[] = {2, 0, 6, 6};
	enum { VOCAB = 7 };

	for (size_t t = 0; t < N_OF(records); t++)
		for (uint32_t n = 256; n < 10000; n = n * 4 + 512) {
			uint32_t dtype = records[t], block = zw_dtype_block_elements(dtype);
			uint64_t ld = n + 256, bytes = ld / block * zw_dtype_block_bytes(dtype);
			uint8_t *table = calloc(VOCAB, bytes);
			float *want = malloc(sizeof(float) * VOCAB * n);
			struct gather g = {.bytes = sizeof(uint16_t) * N_OF(ids) * n};
			struct block_numbers b;

			for (uint32_t r = 0; r < VOCAB; r++)
				for (uint32_t c = 0; c < n; c += block) {
					block_random(dtype, &b);
					block_write(dtype, &b,
						    table + r * bytes +
							    c / block *
								    zw_dtype_block_bytes(dtype));
					for (uint32_t e = 0; e < block; e++)
						want[(size_t)r * n + c + e] =
							block_value(dtype, &b, e);
				}
			g.out = malloc(g.bytes);
			g.args = (struct zw_k_gather_args){
				.rows = N_OF(ids),
				.n = n,
				.vocab = VOCAB,
				.ids = ids,
				.table = {.ptr = table, .dtype = dtype, .ld = ld},
				.out = {.ptr = g.out, .dtype = BF16, .ld = n},
			};
			k_all_configs(run_gather, &g, reset_gather, g.out, g.bytes);
			for (size_t r = 0; r < N_OF(ids); r++)
				for (uint32_t c = 0; c < n; c++)
					assert_int_equal(
						g.out[r * n + c],
						zw_bf16_from_f32(want[(size_t)ids[r] * n + c]));
			g.args.table.dtype = ZW_DTYPE_I8; /* nothing without a scale */
			assert_int_equal(run_gather(&g, NULL), -EOPNOTSUPP);
			g.args.table.dtype = dtype;
			g.args.n = n - 8;
			assert_int_equal(run_gather(&g, NULL), -EINVAL);
			free(table);
			free(want);
			free(g.out);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cache),
		cmocka_unit_test(test_choice),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_gather),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

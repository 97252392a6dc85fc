// SPDX-License-Identifier: MIT
/*
 * Contexts of 262,144 tokens, and of 1,010,000 with YaRN or Dual Chunk Attention: positions, block tables,
 * memory, with dense and with sparse attention.
 *
 * Computing so much text takes hours, so most of it is not computed: in a model of one layer K and V of a
 * token depend on its id and position alone. The test computes them, puts them into a snapshot, and lets
 * the device go on from there to the last position. Logits are compared with a forward pass in double
 * precision over the same cache; with sparse attention over the keys that the device says it chose.
 */
#include "llm_fixture.h"

#include <math.h>
#include <sys/resource.h>

#include <zhenwu/zhenwu.h>

#include "chunks.h"
#include "snapshot.h"

/* With a sanitizer the longest ones take minutes. */
#ifdef __SANITIZE_ADDRESS__
#define SKIP_LONGEST() skip()
#else
#define SKIP_LONGEST() ((void)0)
#endif

#define TAIL  96 /* most tokens that the device computes */
#define GROUP 32 /* tokens that choose their keys together */

/* One layer; heads whose scores are far apart, so that a wrong position is seen. */
static const struct shape tiny = {
	.h = 24, .i = 17, .layers = 1, .nq = 2, .nkv = 1, .d = 8, .v = 31, .tied = true};

struct text {
	struct fixture fix;
	float frequency[4];
	double factor; /* of cosine and sine */
	struct llm_chunk_config chunks;
	uint32_t n; /* tokens */
	uint32_t *ids;
	double *k, *v; /* [n, d], of the cache */
};

static const float *tensor(const struct fixture *f, const char *name)
{
	for (size_t i = 0; i < f->n; i++) {
		if (strstr(f->t[i].name, name))
			return f->t[i].x;
	}
	fail_msg("no tensor %s", name);
	return NULL;
}

static void linear(double *y, const double *x, const float *w, uint32_t n, uint32_t k)
{
	for (uint32_t i = 0; i < n; i++) {
		y[i] = 0;
		for (uint32_t j = 0; j < k; j++)
			y[i] += (double)w[(size_t)i * k + j] * x[j];
	}
}

static void norm(double *y, const double *x, const float *w, uint32_t n)
{
	double sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += x[i] * x[i];
	for (uint32_t i = 0; i < n; i++)
		y[i] = x[i] / sqrt(sum / n + 1e-5) * (double)w[i];
}

/* The angle is rounded to binary32, as the models were trained. */
static void rotate(const struct text *t, double *x, uint32_t pos)
{
	uint32_t half = tiny.d / 2;

	for (uint32_t j = 0; j < half; j++) {
		float angle = (float)pos * t->frequency[j];
		double c = cos((double)angle) * t->factor;
		double s = sin((double)angle) * t->factor;
		double a = x[j], b = x[j + half];

		x[j] = a * c - b * s;
		x[j + half] = b * c + a * s;
	}
}

static uint16_t bf16(double x)
{
	float f = (float)x;
	uint32_t u;

	memcpy(&u, &f, 4);
	return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static double widened(uint16_t h)
{
	uint32_t u = (uint32_t)h << 16;
	float f;

	memcpy(&f, &u, 4);
	return (double)f;
}

static void embed(const struct text *t, uint32_t pos, double *h)
{
	const float *e = tensor(&t->fix, "embed_tokens");

	for (uint32_t i = 0; i < tiny.h; i++)
		h[i] = (double)e[(size_t)t->ids[pos] * tiny.h + i];
}

/* K and V of one token, as the cache holds them. */
static void cache_row(struct text *t, uint32_t pos)
{
	double h[64], x[64], *k = t->k + (size_t)pos * tiny.d, *v = t->v + (size_t)pos * tiny.d;

	embed(t, pos, h);
	norm(x, h, tensor(&t->fix, "input_layernorm"), tiny.h);
	linear(k, x, tensor(&t->fix, "k_proj"), tiny.d, tiny.h);
	norm(k, k, tensor(&t->fix, "k_norm"), tiny.d);
	rotate(t, k, t->chunks.size ? pos % llm_chunk_length(&t->chunks) : pos);
	linear(v, x, tensor(&t->fix, "v_proj"), tiny.d, tiny.h);
	for (uint32_t j = 0; j < tiny.d; j++) {
		k[j] = widened(bf16(k[j]));
		v[j] = widened(bf16(v[j]));
	}
}

/* What one query head sees: n positions, ascending; keys NULL: all up to its own. */
struct seen {
	const uint32_t *keys;
	uint32_t n;
};

/* The query of a token at pos for each range of keys: own chunk, the one before, all before that. */
static void rotated(const struct text *t, const double *q, uint32_t pos, double out[3][16])
{
	uint32_t c = llm_chunk_length(&t->chunks), most = t->chunks.size, place[3] = {pos};

	if (most) {
		place[0] = pos % c;
		place[1] = pos % c + c < most ? pos % c + c : most;
		place[2] = 2 * c - 1 < most ? 2 * c - 1 : most;
	}
	for (int i = 0; i < 3; i++) {
		memcpy(out[i], q, tiny.d * sizeof(*q));
		rotate(t, out[i], place[i]);
	}
}

static uint32_t range_of(const struct text *t, uint32_t pos, uint32_t key)
{
	uint32_t c = llm_chunk_length(&t->chunks), away;

	if (!t->chunks.size)
		return 0;
	away = pos / c - key / c;
	return away < 2 ? away : 2;
}

/* Logits of the token at pos, whose query says that it is at pos + shift; seen: by head, or NULL. */
static void reference(const struct text *t, uint32_t pos, int shift, const struct seen *seen,
		      double *logits)
{
	double h[64], x[64], q[16], o[16] = {0}, y[64], a[32], b[32], scale = 1;
	double *p = malloc((pos + 1) * sizeof(*p));

	embed(t, pos, h);
	norm(x, h, tensor(&t->fix, "input_layernorm"), tiny.h);
	linear(q, x, tensor(&t->fix, "q_proj"), tiny.nq * tiny.d, tiny.h);
	if (t->chunks.original && t->n > t->chunks.original)
		scale = pow(0.1 * log((double)t->n / t->chunks.original) + 1, 2);
	for (uint32_t i = 0; i < tiny.nq; i++) {
		double top = -INFINITY, sum = 0, *qi = q + i * tiny.d, *oi = o + i * tiny.d;
		uint32_t n = seen ? seen[i].n : pos + 1;
		double turned[3][16];

		norm(qi, qi, tensor(&t->fix, "q_norm"), tiny.d);
		rotated(t, qi, (uint32_t)((int)pos + shift), turned);
		for (uint32_t e = 0; e < n; e++) {
			uint32_t k = seen ? seen[i].keys[e] : e, r = range_of(t, pos, k);

			p[e] = 0;
			for (uint32_t j = 0; j < tiny.d; j++)
				p[e] += turned[r][j] * t->k[(size_t)k * tiny.d + j];
			p[e] *= scale / sqrt(tiny.d);
			top = fmax(top, p[e]);
		}
		for (uint32_t e = 0; e < n; e++) {
			uint32_t k = seen ? seen[i].keys[e] : e;
			double w = exp(p[e] - top);

			sum += w;
			for (uint32_t j = 0; j < tiny.d; j++)
				oi[j] += w * t->v[(size_t)k * tiny.d + j];
		}
		for (uint32_t j = 0; j < tiny.d; j++)
			oi[j] /= sum;
	}
	free(p);
	linear(y, o, tensor(&t->fix, "o_proj"), tiny.h, tiny.nq * tiny.d);
	for (uint32_t i = 0; i < tiny.h; i++)
		h[i] += y[i];
	norm(x, h, tensor(&t->fix, "post_attention"), tiny.h);
	linear(a, x, tensor(&t->fix, "gate_proj"), tiny.i, tiny.h);
	linear(b, x, tensor(&t->fix, "up_proj"), tiny.i, tiny.h);
	for (uint32_t i = 0; i < tiny.i; i++)
		a[i] = a[i] / (1 + exp(-a[i])) * b[i];
	linear(y, a, tensor(&t->fix, "down_proj"), tiny.h, tiny.i);
	for (uint32_t i = 0; i < tiny.h; i++)
		h[i] += y[i];
	norm(x, h, tensor(&t->fix, "model.norm"), tiny.h);
	linear(logits, x, tensor(&t->fix, "embed_tokens"), tiny.v, tiny.h);
}

/* ---- the model and its text ---- */

static void patch(const char *dir, const char *what, const char *with)
{
	char path[512], *text, *at, *out;
	struct zw_error err;
	size_t len;

	snprintf(path, sizeof(path), "%s/config.json", dir);
	if (llm_file_read(path, 1 << 16, &text, &len, &err))
		fail_msg("%s", err.msg);
	at = strstr(text, what);
	assert_non_null(at);
	assert_true(asprintf(&out, "%.*s%s%s", (int)(at - text), text, with, at + strlen(what)) >
		    0);
	scratch_text(dir, "config.json", out);
	free(text);
	free(out);
}

static void make_text(struct text *t, uint32_t n, const char *positions)
{
	*t = (struct text){.n = n};
	fixture_make(&t->fix, tiny);
	for (size_t i = 0; i < t->fix.n; i++) {
		struct tensor *x = &t->fix.t[i];

		for (size_t k = 0;
		     k < x->n && strstr(x->name, "self_attn.") && strstr(x->name, "_norm"); k++)
			x->x[k] *= 4;
	}
	fixture_write(&t->fix);
	patch(t->fix.dir, "\"max_position_embeddings\":300", positions);
	t->ids = malloc(n * sizeof(*t->ids));
	t->k = malloc((size_t)n * tiny.d * sizeof(*t->k));
	t->v = malloc((size_t)n * tiny.d * sizeof(*t->v));
	for (uint32_t i = 0; i < n; i++)
		t->ids[i] = (uint32_t)((i * 2654435761ull >> 7) % tiny.v);
}

static void free_text(struct text *t)
{
	free(t->ids);
	free(t->k);
	free(t->v);
	fixture_free(&t->fix);
}

/* The first n tokens in system memory: the blocks of one layer, [2, 32, d]. */
static struct zw_snapshot *beginning(struct zw_ctx *c, const struct text *t, uint32_t n)
{
	struct zw_snapshot *snap = llm_snapshot_new(c, n);
	uint16_t *x;

	assert_non_null(snap);
	snap->out = true;
	assert_int_equal(
		zw_buffer_create(c->m->vm, llm_snapshot_bytes(c, n), ZW_BO_SYSTEM, &snap->system),
		0);
	memcpy(snap->ids, t->ids, n * sizeof(*t->ids));
	x = snap->system.ptr;
	for (uint32_t pos = 0; pos < n; pos++) {
		uint16_t *row = x + pos / 32 * (size_t)(2 * 32 * tiny.d) + pos % 32 * tiny.d;

		for (uint32_t j = 0; j < tiny.d; j++) {
			row[j] = bf16(t->k[(size_t)pos * tiny.d + j]);
			row[32 * tiny.d + j] = bf16(t->v[(size_t)pos * tiny.d + j]);
		}
	}
	return snap;
}

/* ---- the test ---- */

static double square_diff(const double *a, const float *b, const double *c)
{
	double sum = 0;

	for (uint32_t i = 0; i < tiny.v; i++) {
		double d = a[i] - (b ? (double)b[i] : c[i]);

		sum += d * d;
	}
	return sum;
}

/* What the context takes, and that nothing else in it grows with its length. */
static void check_memory(const struct zw_ctx *c, uint32_t context)
{
	struct zw_ctx_info info = {.size = sizeof(info)};
	const struct llm_chunk_config *chunks = &c->m->cfg.chunks;
	struct rusage use;
	uint64_t kv = (context + 31ull) / 32 * 32 * 2 * tiny.d * 2,
		 tables = 4ull * (chunks->size ? chunks->size + 1 : context) * tiny.d, lists = 0;

	zw_ctx_get_info(c, &info);
	getrusage(RUSAGE_SELF, &use);
	/* Of each group and head: its blocks, its columns, and how many these are. */
	if (c->sparse.kind)
		lists = 4ull * c->sparse.groups * tiny.nq *
			(c->sparse.blocks + c->sparse.columns + 2);
	print_message("%u tokens: KV cache %.1f MiB, position tables %.1f MiB, lists %.1f KiB, "
		      "context %.1f MiB; process %.1f MiB\n",
		      context, (double)info.kv_bytes / 1048576, (double)tables / 1048576,
		      (double)info.sparse_lists_bytes / 1024, (double)info.hbm_bytes / 1048576,
		      (double)use.ru_maxrss / 1024);
	assert_true(info.kv_bytes >= kv && info.kv_bytes < kv + (2 << 20));
	assert_true(info.sparse_lists_bytes >= lists && info.sparse_lists_bytes <= lists + 4 * 256);
	assert_true(info.hbm_bytes < kv + tables + lists + (6 << 20));
}

/* Blocks in a wild order, so that a table that is not looked at is seen. */
static void shuffle(struct zw_ctx *c)
{
	for (uint32_t i = 0; i < c->pool.num; i++) {
		uint32_t j = (uint32_t)(i * 40503ull % c->pool.num), x = c->pool.free[i];

		c->pool.free[i] = c->pool.free[j];
		c->pool.free[j] = x;
	}
}

/* The context, with all of the text but its end in a sequence; logits of the end. */
static struct zw_ctx *run_end(struct zw_model *model, struct zw_ctx_options opt,
			      const struct text *t, uint32_t n, bool wild, float *got)
{
	struct zw_eval_options eval = {.size = sizeof(eval), .all_logits = got};
	struct zw_error err = {""};
	struct zw_snapshot *snap;
	uint32_t seq, id = 1;
	struct zw_ctx *c;

	if (zw_ctx_create(model, &opt, &c, &err))
		fail_msg("%s", err.msg);
	if (wild)
		shuffle(c);
	snap = beginning(c, t, n);
	assert_int_equal(zw_seq_create(c, &seq), 0);
	assert_int_equal(zw_seq_restore(c, seq, snap), 0);
	zw_snapshot_destroy(snap);
	assert_int_equal(zw_seq_length(c, seq), n);
	if (zw_ctx_eval(c, seq, t->ids + n, t->n - n, &eval, NULL, &err))
		fail_msg("%s", err.msg);
	/* That was the last position. */
	eval.all_logits = NULL;
	assert_int_equal(zw_ctx_eval(c, seq, &id, 1, &eval, NULL, &err), -ENOSPC);
	return c;
}

/* ---- lists ---- */

/* The lists of the last step, in system memory: blocks, counts, columns, their counts. */
struct lists {
	struct zw_buffer buf;
	const int32_t *blocks, *counts, *columns, *column_counts;
};

static struct lists read_lists(struct zw_ctx *c)
{
	struct lists l = {0};
	const char *base;

	assert_int_equal(
		zw_buffer_create(c->m->vm, c->sparse.lists_bytes + 4096, ZW_BO_SYSTEM, &l.buf), 0);
	zw_cmd_reset(&c->copies);
	zw_cmd_copy(&c->copies, l.buf.va, c->act.va + c->a.blocks, c->sparse.lists_bytes, 0);
	assert_int_equal(llm_copy_run(c), 0);
	base = l.buf.ptr;
	l.blocks = (const void *)(base + (c->a.blocks - c->a.blocks));
	l.counts = (const void *)(base + (c->a.counts - c->a.blocks));
	l.columns = (const void *)(base + (c->a.columns - c->a.blocks));
	l.column_counts = (const void *)(base + (c->a.column_counts - c->a.blocks));
	return l;
}

/* Positions up to pos that a head's lists of group g name, ascending; the caller frees. */
static struct seen seen_by(const struct zw_ctx *c, const struct lists *l, uint32_t g, uint32_t head,
			   uint32_t pos)
{
	uint32_t at = g * tiny.nq + head, n = (uint32_t)l->counts[at], col = 0, out = 0;
	uint32_t columns = c->sparse.columns ? (uint32_t)l->column_counts[at] : 0;
	const int32_t *block = l->blocks + (size_t)at * c->sparse.blocks;
	const int32_t *column = l->columns + (size_t)at * c->sparse.columns;
	uint32_t *keys = malloc((32ull * n + columns + 1) * sizeof(*keys));

	for (uint32_t i = 0; i <= n; i++) {
		uint32_t first = i < n ? (uint32_t)block[i] * 32 : UINT32_MAX;

		for (; col < columns && (uint32_t)column[col] < first; col++)
			if ((uint32_t)column[col] <= pos)
				keys[out++] = (uint32_t)column[col];
		for (uint32_t k = first; i < n && k < first + 32 && k <= pos; k++)
			keys[out++] = k;
	}
	return (struct seen){keys, out};
}

/* ---- what comes of it ---- */

/* got [n..): the logits of the last tokens; lists: of the first `sparse` of them, or NULL. */
static void compare(const struct text *t, const struct zw_ctx *c, uint32_t n, const float *got,
		    const struct lists *l)
{
	uint32_t sparse = l ? (t->n - n) / GROUP * GROUP : 0, rows = 0;
	double want[64], other[64], error = 0, shift = 0;
	/* One position is little where most keys are at a distance that is the same for all. */
	int off = t->chunks.size ? 5 : 1;

	for (uint32_t i = 0; i < t->n - n; i += 5, rows++) {
		struct seen s[2] = {{NULL, 0}, {NULL, 0}};

		for (uint32_t h = 0; h < tiny.nq && i < sparse; h++)
			s[h] = seen_by(c, l, i / GROUP, h, n + i);
		reference(t, n + i, 0, i < sparse ? s : NULL, want);
		reference(t, n + i, off, i < sparse ? s : NULL, other);
		error += square_diff(want, got + i * tiny.v, NULL);
		shift += square_diff(want, NULL, other);
		free((void *)(uintptr_t)s[0].keys);
		free((void *)(uintptr_t)s[1].keys);
	}
	error = sqrt(error / (tiny.v * rows));
	shift = sqrt(shift / (tiny.v * rows));
	print_message("%u tokens: rms error %.4f; a query %d off: %.4f\n", t->n, error, off, shift);
	assert_true(error < shift / 2);
}

/* Far from all is listed, and of that the beginning, the group itself, and something far away from both. */
static void check_lists(const struct zw_ctx *c, const struct lists *l, uint32_t n, uint32_t end)
{
	for (uint32_t g = 0; g < (end - n) / GROUP; g++)
		for (uint32_t h = 0; h < tiny.nq; h++) {
			uint32_t last = n + g * GROUP + GROUP - 1, far = 0;
			struct seen s = seen_by(c, l, g, h, last);

			assert_true(s.n > GROUP && s.n < end / 8);
			assert_int_equal(s.keys[0], 0);
			for (uint32_t i = 0; i < GROUP; i++)
				assert_int_equal(s.keys[s.n - 1 - i], last - i);
			for (uint32_t i = 0; i < s.n; i++)
				far += s.keys[i] > 4096 && s.keys[i] < end - 4096;
			assert_true(far >= 64);
			free((void *)(uintptr_t)s.keys);
		}
}

static void run_sparse(struct zw_model *model, struct zw_ctx_options opt, const struct text *t,
		       uint32_t n, const float *dense, const struct zw_ctx_stats *cost)
{
	float *got = malloc(TAIL * tiny.v * sizeof(*got));

	opt.sparse_group = GROUP;
	for (opt.sparse = ZW_SPARSE_SLASH; opt.sparse <= ZW_SPARSE_BLOCKS; opt.sparse++) {
		struct zw_ctx_stats stats = {.size = sizeof(stats)};
		struct lists l;
		struct zw_ctx *c;

		opt.sparse_keep = opt.sparse == ZW_SPARSE_BLOCKS ? 40 : 0;
		opt.sparse_vertical = opt.sparse == ZW_SPARSE_SLASH ? 600 : 0;
		opt.sparse_slash = opt.sparse == ZW_SPARSE_SLASH ? 200 : 0;
		c = run_end(model, opt, t, n, true, got);
		zw_ctx_get_stats(c, &stats);
		assert_int_equal(stats.sparse_tokens, (t->n - n) / GROUP * GROUP);
		print_message("%u tokens: the end takes %.2f of the simulated time of dense "
			      "attention and reads %.2f of the bytes\n",
			      t->n, (double)stats.sim_ps / (double)cost->sim_ps,
			      (double)stats.hbm_read / (double)cost->hbm_read);
		assert_true(stats.hbm_read * 20 < cost->hbm_read * 17);
		check_memory(c, t->n);
		l = read_lists(c);
		check_lists(c, &l, n, t->n);
		compare(t, c, n, got, &l);
		assert_true(memcmp(got, dense, (t->n - n) * tiny.v * sizeof(*got)));
		zw_buffer_destroy(&l.buf);
		zw_ctx_destroy(c);
	}
	free(got);
}

/* A model on a device of its own. */
struct opened {
	struct zw_dev *dev;
	struct zw_model *model;
};

static struct opened open_text(struct text *t, const char *positions, uint32_t context)
{
	struct zw_dev_options dopt = {.size = sizeof(dopt), .hbm_bytes = 512 << 20};
	struct zw_error err = {""};
	struct opened o;
	int ret = zw_dev_open("sim", &dopt, &o.dev, &err);

	if (ret == -ENOENT) {
		print_message("%s\n", err.msg);
		exit(77); /* no firmware built: skipped */
	}
	make_text(t, context, positions);
	if (ret || zw_model_open(o.dev, t->fix.dir, NULL, &o.model, &err))
		fail_msg("%s", err.msg);
	for (uint32_t j = 0; j < tiny.d / 2; j++)
		t->frequency[j] = llm_rope_frequency(&o.model->cfg.rope, tiny.d, j);
	t->factor = o.model->cfg.rope.attention_factor;
	t->chunks = o.model->cfg.chunks;
	for (uint32_t pos = 0; pos < context; pos++)
		cache_row(t, pos);
	return o;
}

static void close_text(const struct opened *o, struct text *t)
{
	free_text(t);
	assert_int_equal(zw_model_close(o->model), 0);
	assert_int_equal(zw_dev_close(o->dev), 0);
}

static void run(const char *positions, uint32_t context, bool sparse)
{
	struct zw_ctx_options opt = {.size = sizeof(opt),
				     .context = context,
				     .batch = 2 * GROUP,
				     .outputs = 2 * GROUP,
				     .prefix_cache = 1};
	/* Whole groups, from a multiple of them on, and what is left. */
	uint32_t n = (context - 2 * GROUP) / GROUP * GROUP;
	struct zw_ctx_stats cost = {.size = sizeof(cost)};
	float *got[2];
	struct opened o;
	struct text t;

	o = open_text(&t, positions, context);
	/* Blocks in their order, and in a wild one. */
	for (int wild = 0; wild < 2; wild++) {
		struct zw_ctx *c;

		got[wild] = malloc(TAIL * tiny.v * sizeof(float));
		c = run_end(o.model, opt, &t, n, wild, got[wild]);
		zw_ctx_get_stats(c, &cost);
		if (!wild)
			check_memory(c, context);
		zw_ctx_destroy(c);
	}
	assert_memory_equal(got[0], got[1], (context - n) * tiny.v * sizeof(float));
	compare(&t, NULL, n, got[0], NULL);
	if (sparse)
		run_sparse(o.model, opt, &t, n, got[0], &cost);
	free(got[0]);
	free(got[1]);
	close_text(&o, &t);
}

/* ---- all of a prompt ---- */

/* The cache is what it is to be, but for the rounding of activations. */
static void check_cache(struct zw_ctx *c, uint32_t seq, const struct text *t)
{
	double diff = 0, size = 0;
	struct zw_snapshot *snap;
	const uint16_t *x;

	assert_int_equal(zw_seq_snapshot(c, seq, &snap), 0);
	assert_int_equal(zw_snapshot_swap_out(snap), 0);
	x = snap->system.ptr;
	for (uint32_t pos = 0; pos < t->n; pos++) {
		const uint16_t *row = x + pos / 32 * (size_t)(2 * 32 * tiny.d) + pos % 32 * tiny.d;

		for (uint32_t j = 0; j < tiny.d; j++) {
			double want = t->k[(size_t)pos * tiny.d + j], d = widened(row[j]) - want;

			diff += d * d;
			size += want * want;
		}
	}
	print_message("%u tokens: relative rms error of the keys %.4f\n", t->n, sqrt(diff / size));
	assert_true(sqrt(diff / size) < 1.0 / 128);
	zw_snapshot_destroy(snap);
}

/* The last token's logits, whose keys the device chose. */
static void check_last(struct zw_ctx *c, const struct text *t, const float *logits)
{
	double want[64], other[64], error, shift;
	struct lists l = read_lists(c);
	struct seen s[2];

	for (uint32_t h = 0; h < tiny.nq; h++)
		s[h] = seen_by(c, &l, c->sparse.groups - 1, h, t->n - 1);
	reference(t, t->n - 1, 0, s, want);
	reference(t, t->n - 1, 1, s, other);
	error = sqrt(square_diff(want, logits, NULL) / tiny.v);
	shift = sqrt(square_diff(want, NULL, other) / tiny.v);
	print_message("%u tokens: error of the last logits %.4f; a query one off: %.4f\n", t->n,
		      error, shift);
	assert_true(error < shift / 2);
	free((void *)(uintptr_t)s[0].keys);
	free((void *)(uintptr_t)s[1].keys);
	zw_buffer_destroy(&l.buf);
}

/* Every token goes through the device, as sparse attention is fast enough for that. */
static void test_262144_whole(void **state)
{
	struct zw_ctx_options opt = {.size = sizeof(opt),
				     .context = 262144,
				     .batch = 4096,
				     .outputs = 1,
				     .sparse = ZW_SPARSE_BLOCKS,
				     .sparse_group = 256,
				     .sparse_keep = 16};
	struct zw_eval_options eval = {.size = sizeof(eval), .want = ZW_WANT_LOGITS};
	struct zw_output out = {.size = sizeof(out)};
	struct zw_ctx_stats stats = {.size = sizeof(stats)};
	struct zw_error err = {""};
	struct opened o;
	struct text t;
	uint32_t seq;
	struct zw_ctx *c;

	SKIP_LONGEST();
	o = open_text(&t, "\"max_position_embeddings\":262144", 262144);
	if (zw_ctx_create(o.model, &opt, &c, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(zw_seq_create(c, &seq), 0);
	if (zw_ctx_eval(c, seq, t.ids, t.n, &eval, &out, &err))
		fail_msg("%s", err.msg);
	zw_ctx_get_stats(c, &stats);
	assert_int_equal(stats.sparse_tokens, t.n);
	check_last(c, &t, out.logits);
	check_cache(c, seq, &t);
	zw_ctx_destroy(c);
	close_text(&o, &t);
}

static void test_262144(void **state)
{
	run("\"max_position_embeddings\":262144", 262144, true);
}

static void test_1010000_yarn(void **state)
{
	SKIP_LONGEST();
	run("\"max_position_embeddings\":1010000,\"rope_scaling\":{\"rope_type\":\"yarn\","
	    "\"factor\":4.0,\"original_max_position_embeddings\":262144}",
	    1010000, true);
}

/* As Qwen2.5-1M has it: four chunks. */
static void test_1010000_chunks(void **state)
{
	SKIP_LONGEST();
	run("\"max_position_embeddings\":1010000,\"dual_chunk_attention_config\":{"
	    "\"chunk_size\":262144,\"local_size\":8192,"
	    "\"original_max_position_embeddings\":262144}",
	    1010000, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_262144_whole),
		cmocka_unit_test(test_262144),
		cmocka_unit_test(test_1010000_yarn),
		cmocka_unit_test(test_1010000_chunks),
	};

	return cmocka_run_group_tests_name("long", tests, NULL, NULL);
}

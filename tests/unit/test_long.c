// SPDX-License-Identifier: MIT
/*
 * Contexts of 262,144 tokens, and of 1,010,000 with YaRN: positions, block tables, memory.
 *
 * Computing so much text takes hours, so most of it is not computed: in a model of one layer K and V of a
 * token depend on its id and position alone. The test computes them, puts them into a snapshot, and lets
 * the device go on from there to the last position. Logits are compared with a forward pass in double
 * precision over the same cache.
 */
#include "llm_fixture.h"

#include <math.h>
#include <sys/resource.h>

#include <zhenwu/zhenwu.h>

#include "snapshot.h"

#define TAIL 40 /* tokens that the device computes */

/* One layer; heads whose scores are far apart, so that a wrong position is seen. */
static const struct shape tiny = {
	.h = 24, .i = 17, .layers = 1, .nq = 2, .nkv = 1, .d = 8, .v = 31, .tied = true};

struct text {
	struct fixture fix;
	struct llm_rope_config rope;
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
		float angle = (float)pos * llm_rope_frequency(&t->rope, tiny.d, j);
		double c = cos((double)angle) * t->rope.attention_factor;
		double s = sin((double)angle) * t->rope.attention_factor;
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
	rotate(t, k, pos);
	linear(v, x, tensor(&t->fix, "v_proj"), tiny.d, tiny.h);
	for (uint32_t j = 0; j < tiny.d; j++) {
		k[j] = widened(bf16(k[j]));
		v[j] = widened(bf16(v[j]));
	}
}

/* Logits of the token at pos, whose query says that it is at pos + shift. */
static void reference(const struct text *t, uint32_t pos, int shift, double *logits)
{
	double h[64], x[64], q[16], o[16] = {0}, y[64], a[32], b[32];
	double *p = malloc((pos + 1) * sizeof(*p));

	embed(t, pos, h);
	norm(x, h, tensor(&t->fix, "input_layernorm"), tiny.h);
	linear(q, x, tensor(&t->fix, "q_proj"), tiny.nq * tiny.d, tiny.h);
	for (uint32_t i = 0; i < tiny.nq; i++) {
		double top = -INFINITY, sum = 0, *qi = q + i * tiny.d, *oi = o + i * tiny.d;

		norm(qi, qi, tensor(&t->fix, "q_norm"), tiny.d);
		rotate(t, qi, (uint32_t)((int)pos + shift));
		for (uint32_t k = 0; k <= pos; k++) {
			p[k] = 0;
			for (uint32_t j = 0; j < tiny.d; j++)
				p[k] += qi[j] * t->k[(size_t)k * tiny.d + j];
			p[k] /= sqrt(tiny.d);
			top = fmax(top, p[k]);
		}
		for (uint32_t k = 0; k <= pos; k++) {
			double w = exp(p[k] - top);

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

static void check_memory(const struct zw_ctx *c, uint32_t context)
{
	struct zw_ctx_info info = {.size = sizeof(info)};
	struct rusage use;
	uint64_t kv = (context + 31ull) / 32 * 32 * 2 * tiny.d * 2,
		 tables = 4ull * context * tiny.d;

	zw_ctx_get_info(c, &info);
	getrusage(RUSAGE_SELF, &use);
	print_message("%u tokens: KV cache %.1f MiB, position tables %.1f MiB, context %.1f MiB; "
		      "process %.1f MiB\n",
		      context, (double)info.kv_bytes / 1048576, (double)tables / 1048576,
		      (double)info.hbm_bytes / 1048576, (double)use.ru_maxrss / 1024);
	/* Nothing else in it grows with the context. */
	assert_true(info.kv_bytes >= kv && info.kv_bytes < kv + (2 << 20));
	assert_true(info.hbm_bytes < kv + tables + (6 << 20));
}

static void run(const char *positions, uint32_t context)
{
	struct zw_dev_options dopt = {.size = sizeof(dopt), .hbm_bytes = 512 << 20};
	struct zw_ctx_options opt = {.size = sizeof(opt),
				     .context = context,
				     .batch = 16,
				     .outputs = 16,
				     .prefix_cache = 1};
	uint32_t n = context - TAIL, seq, id = 1;
	struct zw_eval_options eval = {.size = sizeof(eval)};
	struct zw_error err = {""};
	float *first = NULL, *got = malloc(TAIL * tiny.v * sizeof(*got));
	double want[64], other[64], error = 0, shift = 0;
	struct zw_snapshot *snap;
	struct zw_model *model;
	struct zw_dev *dev;
	struct zw_ctx *c;
	struct text t;
	int ret = zw_dev_open("sim", &dopt, &dev, &err);

	if (ret == -ENOENT) {
		print_message("%s\n", err.msg);
		exit(77); /* no firmware built: skipped */
	}
	make_text(&t, context, positions);
	if (ret || zw_model_open(dev, t.fix.dir, NULL, &model, &err))
		fail_msg("%s", err.msg);
	t.rope = model->cfg.rope;
	for (uint32_t pos = 0; pos < context; pos++)
		cache_row(&t, pos);
	/* Blocks in their order, and in a wild one. */
	for (int wild = 0; wild < 2; wild++) {
		if (zw_ctx_create(model, &opt, &c, &err))
			fail_msg("%s", err.msg);
		for (uint32_t i = 0; wild && i < c->pool.num; i++) {
			uint32_t j = (uint32_t)(i * 40503ull % c->pool.num), x = c->pool.free[i];

			c->pool.free[i] = c->pool.free[j];
			c->pool.free[j] = x;
		}
		snap = beginning(c, &t, n);
		assert_int_equal(zw_seq_create(c, &seq), 0);
		assert_int_equal(zw_seq_restore(c, seq, snap), 0);
		zw_snapshot_destroy(snap);
		assert_int_equal(zw_seq_length(c, seq), n);
		eval.all_logits = got;
		if (zw_ctx_eval(c, seq, t.ids + n, TAIL, &eval, NULL, &err))
			fail_msg("%s", err.msg);
		/* That was the last position. */
		eval.all_logits = NULL;
		assert_int_equal(zw_ctx_eval(c, seq, &id, 1, &eval, NULL, &err), -ENOSPC);
		if (!wild) {
			check_memory(c, context);
			first = got;
			got = malloc(TAIL * tiny.v * sizeof(*got));
		}
		zw_ctx_destroy(c);
	}
	assert_memory_equal(first, got, TAIL * tiny.v * sizeof(*got));
	for (uint32_t i = 0; i < TAIL; i += 3) {
		reference(&t, n + i, 0, want);
		reference(&t, n + i, 1, other);
		error += square_diff(want, got + i * tiny.v, NULL);
		shift += square_diff(want, NULL, other);
	}
	error = sqrt(error / (tiny.v * ((TAIL + 2) / 3)));
	shift = sqrt(shift / (tiny.v * ((TAIL + 2) / 3)));
	print_message("%u tokens: rms error %.4f; a query one position off: %.4f\n", context, error,
		      shift);
	assert_true(error < shift / 2);
	free(first);
	free(got);
	free_text(&t);
	assert_int_equal(zw_model_close(model), 0);
	assert_int_equal(zw_dev_close(dev), 0);
}

static void test_262144(void **state)
{
	run("\"max_position_embeddings\":262144", 262144);
}

static void test_1010000_yarn(void **state)
{
	run("\"max_position_embeddings\":1010000,\"rope_scaling\":{\"rope_type\":\"yarn\","
	    "\"factor\":4.0,\"original_max_position_embeddings\":262144}",
	    1010000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_262144),
		cmocka_unit_test(test_1010000_yarn),
	};

	return cmocka_run_group_tests_name("long", tests, NULL, NULL);
}

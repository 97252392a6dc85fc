// SPDX-License-Identifier: MIT
/*
 * Sequences with recurrent state, on sim or on $ZW_TEST_DEVICE: however they are cut, packed, rewound, forked and
 * restored, the bits are those of the text alone in one step; and where the parts of projections land.
 */
#define TEST_SHAPE 8
#define SOLO_BATCH 300 /* one step */
#include "many_test.h"

/* What comes out behind the last of n tokens is row n - 1 of `want`. */
static void expect_append(struct zw_ctx *c, uint32_t seq, const uint32_t *ids, uint32_t from,
			  uint32_t n, const float *want)
{
	const float *x = append(c, seq, ids + from, n - from);

	if (memcmp(x, want + (n - 1) * (size_t)V, V * sizeof(*x)))
		fail_msg("tokens %u to %u: other bits than the whole", from, n);
}

static void random_ids(uint32_t *ids, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		ids[i] = pick(V);
}

/* ---- cuts ---- */

/* One step, two at every offset near the convolution's and a chunk's edge, and single tokens. */
static void test_cuts(void **state)
{
	static const uint32_t cuts[] = {1, 2, 3, 4, 5, 31, 32, 33, 62, 63, 64, 65, 66, 69};
	enum { N = 70 };
	struct zw_ctx *c = context((struct zw_ctx_options){.batch = N, .max_seqs = 1});
	uint32_t ids[N], seq = sequence(c);
	float *want;

	random_ids(ids, N);
	want = solo(ids, N);
	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		expect_append(c, seq, ids, 0, cuts[i], want);
		expect_append(c, seq, ids, cuts[i], N, want);
		assert_int_equal(zw_seq_truncate(c, seq, 0), 0);
	}
	for (uint32_t i = 0; i < N; i++)
		expect_append(c, seq, ids, i, i + 1, want);
	free(want);
	zw_ctx_destroy(c);
}

/* ---- many sequences ---- */

static void test_many_sequences(void **state)
{
	struct many m = {.seqs = 12, .rounds = 200, .parts = 6, .recurrent = true};

	many_sequences(&m);
	m.rewind = 3;
	many_sequences(&m);
}

/* ---- going back ---- */

/* Drafts of which none, some or all are taken, again and again. */
static void test_rewind(void **state)
{
	enum { N = 60, R = 4 };
	struct zw_ctx *c =
		context((struct zw_ctx_options){.batch = 64, .outputs = R + 1, .rewind = R});
	uint32_t ids[N], seq = sequence(c), done = 1;
	struct zw_error err = {""};
	float *want;

	random_ids(ids, N);
	want = solo(ids, N);
	append(c, seq, ids, 1);
	while (done + R + 1 < N) {
		struct zw_batch_token t[R + 1];
		uint32_t right = pick(R + 1); /* of the drafted tokens */
		uint64_t step;

		for (uint32_t i = 0; i <= R; i++)
			t[i] = (struct zw_batch_token){i <= right ? ids[done + i] : pick(V),
						       done + i, seq, ZW_WANT_LOGITS};
		step = submitted(c, t, R + 1);
		waited(c, step);
		for (uint32_t i = 0; i <= right; i++)
			assert_memory_equal(logits_of(c, step, i), want + (done + i) * (size_t)V,
					    V * sizeof(*want));
		done += right + 1;
		assert_int_equal(zw_seq_truncate(c, seq, done), 0);
	}
	/* Not further than is kept: what went back is used up. */
	append(c, seq, ids + done, 1);
	assert_int_equal(zw_seq_truncate(c, seq, 0), 0);
	append(c, seq, ids, 20);
	assert_int_equal(zw_seq_truncate(c, seq, 20 - R - 1), -EOPNOTSUPP);
	assert_int_equal(zw_seq_truncate(c, seq, 18), 0);
	assert_int_equal(zw_seq_truncate(c, seq, 20 - R), 0);
	assert_int_equal(zw_seq_truncate(c, seq, 20 - R - 1), -EOPNOTSUPP);
	expect_append(c, seq, ids, 20 - R, 30, want);
	free(want);
	zw_ctx_destroy(c);
	if (zw_ctx_create(model,
			  &(struct zw_ctx_options){.size = sizeof(struct zw_ctx_options),
						   .rewind = ZW_CTX_MAX_REWIND + 1},
			  &c, &err) != -EINVAL)
		fail_msg("rewind 16 is taken");
	expect_words("options", &err, "rewind 16|15");
}

/* What the device chose is fed back beside other sequences, and more of its sequence is refused. */
static void test_chosen(void **state)
{
	enum { N = 12 };
	struct zw_ctx *c =
		context((struct zw_ctx_options){.max_seqs = 2, .batch = 8, .outputs = 2});
	uint32_t ids[3 * N], a = sequence(c), b = sequence(c), done = 0;
	struct zw_batch_token t[4] = {{0, 0, a, ZW_WANT_ARGMAX}};
	struct zw_error err = {""};
	uint64_t step;
	float *want;

	random_ids(ids, 3 * N);
	t[0].id = ids[0];
	want = solo(ids + N, 2 * N);
	step = submitted(c, t, 1);
	for (uint32_t i = 1; i < N; i++) {
		struct zw_output out = {.size = sizeof(out)};
		uint64_t next;

		t[0] = (struct zw_batch_token){ids[N + done], done, b, 0};
		t[1] = (struct zw_batch_token){ZW_ID_CHOSEN, i, a, ZW_WANT_ARGMAX};
		t[2] = (struct zw_batch_token){ids[N + done + 1], done + 1, b, ZW_WANT_LOGITS};
		t[3] = (struct zw_batch_token){1, i + 1, a, 0};
		assert_int_equal(submit(c, t, 4, &next, &err), -EOPNOTSUPP);
		expect_words("more", &err, "batch token 3|recurrent");
		next = submitted(c, t, 3);
		waited(c, step);
		assert_int_equal(zw_ctx_output(c, step, i == 1 ? 0 : 1, &out), 0);
		ids[i] = (uint32_t)out.argmax;
		waited(c, next);
		done += 2;
		assert_memory_equal(logits_of(c, next, 2), want + (done - 1) * (size_t)V,
				    V * sizeof(*want));
		step = next;
	}
	free(want);
	want = solo(ids, N);
	for (uint32_t i = 1; i < N; i++) {
		for (uint32_t v = 0; v < V; v++)
			assert_true(want[(i - 1) * V + v] <= want[(i - 1) * V + ids[i]]);
	}
	free(want);
	zw_ctx_destroy(c);
}

/* ---- forks, snapshots, failures ---- */

/* Spoils the first packet of a slot's command buffer; the second call mends it. */
static void spoil(struct zw_ctx *c, uint32_t slot)
{
	uint16_t *opcode = (uint16_t *)(void *)((char *)c->code.ptr + c->slot[slot].code_off);

	*opcode ^= 0x8000;
}

static void test_lost(void **state)
{
	struct zw_ctx *c = context(
		(struct zw_ctx_options){.context = 100, .max_seqs = 4, .batch = 64, .rewind = 1});
	uint32_t ids[50], a, b, d, e, bad;
	struct zw_snapshot *snap, *other;
	struct zw_error err = {""};
	struct zw_batch_token t;
	uint64_t step;
	float *want;

	random_ids(ids, 50);
	want = solo(ids, 50);
	a = sequence(c);
	append(c, a, ids, 40);
	assert_int_equal(zw_seq_fork(c, a, 40, &b), 0);
	assert_int_equal(zw_seq_fork(c, a, 0, &d), 0);
	assert_int_equal(zw_seq_fork(c, a, 39, &e), 0);
	expect_append(c, e, ids, 39, 45, want);
	/* A fork has no more behind it. */
	assert_int_equal(zw_seq_truncate(c, b, 39), -EOPNOTSUPP);
	assert_int_equal(zw_seq_snapshot(c, a, &snap), 0);
	expect_append(c, a, ids, 40, 47, want);
	expect_append(c, b, ids, 40, 42, want);
	assert_int_equal(zw_seq_restore(c, d, snap), 0);
	assert_int_equal(zw_seq_truncate(c, d, 39), -EOPNOTSUPP);
	expect_append(c, d, ids, 40, 50, want);
	/* Over what is there: at another length, so in other slabs. */
	assert_int_equal(zw_seq_restore(c, a, snap), 0);

	/* After a step that failed it is lost: said, not hidden, until there is another one. */
	bad = c->slot[0].step > c->slot[1].step ? 1 : 0;
	spoil(c, bad);
	t = (struct zw_batch_token){ids[40], 40, a, 0};
	step = submitted(c, &t, 1);
	assert_int_equal(zw_ctx_wait(c, step, ZW_FOREVER, &err), -EIO);
	spoil(c, bad);
	assert_int_equal(zw_seq_length(c, a), 40);
	assert_int_equal(submit(c, &t, 1, &step, &err), -EIO);
	expect_words("lost", &err, "state was lost");
	assert_int_equal(zw_seq_fork(c, a, 40, &e), -EIO);
	assert_int_equal(zw_seq_snapshot(c, a, &other), -EIO);
	assert_int_equal(zw_seq_truncate(c, a, 40), -EIO);
	assert_int_equal(zw_seq_restore(c, a, snap), 0);
	expect_append(c, a, ids, 40, 50, want);
	/* The others have lost nothing; from the beginning it goes on, too. */
	expect_append(c, b, ids, 42, 50, want);
	assert_int_equal(zw_seq_truncate(c, b, 0), 0);
	expect_append(c, b, ids, 0, 7, want);
	zw_snapshot_destroy(snap);
	zw_ctx_destroy(c);
	free(want);
}

/* ---- projections ---- */

static void read_back(struct zw_model *m, const struct zw_tensor *t, uint16_t *x)
{
	struct zw_copier *cp;

	assert_int_equal(t->dtype, ZW_DTYPE_BF16);
	assert_int_equal(zw_copier_create(m->vm, NULL, &cp), 0);
	assert_int_equal(zw_copier_read(cp, x, t->va, 2ull * t->dim[0] * t->dim[1], NULL), 0);
	assert_int_equal(zw_copier_flush(cp, ZW_FOREVER), 0);
	zw_copier_destroy(cp);
}

/* Row i of the device's matrix is row `from` of the file's, which is full of that number. */
static void expect_row(const uint16_t *x, uint32_t cols, uint32_t i, uint32_t from)
{
	for (uint32_t k = 0; k < cols; k++) {
		uint32_t bits = (uint32_t)x[i * cols + k] << 16;
		float f;

		memcpy(&f, &bits, 4);
		if (f != (float)from)
			fail_msg("row %u is row %g of the file, not %u", i, (double)f, from);
	}
}

/* Where each of q, k, v, z, b, a lands, and of attention each query and gate. */
static void test_parts(void **state)
{
	struct fixture f;
	struct shape s = fixture_shapes[8];
	uint32_t r = s.gv / s.gk, block = 2 * s.dk + 2 * r * s.dv, at = 0;
	uint32_t runs[4] = {s.dk, s.dk, r * s.dv, r * s.dv}, first = 0;
	struct zw_error err = {""};
	struct zw_model *m;
	uint16_t *x;

	fixture_make(&f, s);
	for (size_t i = 0; i < f.n; i++) {
		struct tensor *t = &f.t[i];

		if (!strstr(t->name, "in_proj") && !strstr(t->name, "q_proj"))
			continue;
		assert_true(t->dim[0] <= 256); /* what BF16 counts to */
		for (size_t k = 0; k < t->n; k++)
			t->x[k] = (float)(k / t->dim[1]);
	}
	fixture_write(&f);
	if (zw_model_open(dev, f.dir, NULL, &m, &err))
		fail_msg("%s", err.msg);
	x = malloc(2ull * 1024 * s.h);
	read_back(m, &m->w.layers[0].delta_qkvz.part[0].w, x);
	for (uint32_t p = 0; p < 4; first += runs[p++]) {
		for (uint32_t g = 0; g < s.gk; g++) {
			for (uint32_t i = 0; i < runs[p]; i++)
				expect_row(x, s.h, at++, g * block + first + i);
		}
	}
	assert_int_equal(at, m->w.layers[0].delta_qkvz.part[0].w.dim[0]);
	read_back(m, &m->w.layers[0].delta_ba.part[0].w, x);
	for (uint32_t j = 0; j < s.gv; j++) {
		expect_row(x, s.h, j, j / r * 2 * r + j % r);
		expect_row(x, s.h, s.gv + j, j / r * 2 * r + r + j % r);
	}
	read_back(m, &m->w.layers[3].qkv.part[0].w, x);
	for (uint32_t j = 0; j < s.nq * s.d; j++) {
		expect_row(x, s.h, j, j / s.d * 2 * s.d + j % s.d);
		expect_row(x, s.h, (s.nq + 2 * s.nkv) * s.d + j, j / s.d * 2 * s.d + s.d + j % s.d);
	}
	free(x);
	assert_int_equal(zw_model_close(m), 0);
	fixture_free(&f);
}

static struct tensor *find(struct fixture *f, const char *name)
{
	for (size_t i = 0; i < f->n; i++) {
		if (!strcmp(f->t[i].name, name))
			return &f->t[i];
	}
	fail_msg("no tensor %s", name);
	return NULL;
}

static void expect_refused(struct fixture *f, int code, const char *words)
{
	struct zw_error err = {""};
	struct zw_model *m = NULL;
	int ret;

	fixture_write(f);
	ret = zw_model_open(dev, f->dir, NULL, &m, &err);
	if (ret != code)
		fail_msg("%s: %d (%s), expected %d", words, ret, err.msg, code);
	expect_words("refused", &err, words);
}

/* Tensors that are missing, surplus or of another shape, those of the MTP head among them. */
static void test_refused(void **state)
{
	static const struct {
		const char *name, *to;
		uint32_t rows; /* less */
		const char *words;
	} bad[] = {
		{"mtp.fc.weight", "mtp.fd.weight", 0, "mtp.fc.weight|missing"},
		{"mtp.fc.weight", NULL, 1, "mtp.fc.weight|[39,80]|[40,80]"},
		{"mtp.layers.0.mlp.experts.5.up_proj.weight",
		 "mtp.layers.0.mlp.experts.6.up_proj.weight", 0,
		 "mtp.layers.0.mlp.experts.5.up_proj.weight|missing"},
		{"mtp.layers.0.self_attn.k_norm.weight", "mtp.layers.1.self_attn.k_norm.weight", 0,
		 "mtp.layers.0.self_attn.k_norm.weight|missing"},
		{"model.layers.0.linear_attn.A_log", "model.layers.3.linear_attn.A_log", 0,
		 "model.layers.0.linear_attn.A_log|missing"},
		{"model.layers.4.linear_attn.conv1d.weight", NULL, 1,
		 "conv1d.weight|[123,1,4]|[124,1,4]"},
		{"model.layers.2.linear_attn.in_proj_qkvz.weight", NULL, 1,
		 "in_proj_qkvz.weight|[207,40]|[208,40]"},
		{"model.layers.3.self_attn.q_proj.weight", NULL, 1,
		 "q_proj.weight|[127,40]|[128,40]"},
		{"model.layers.0.mlp.shared_expert_gate.weight",
		 "model.layers.0.mlp.shared_gate.weight", 0, "shared_expert_gate.weight|missing"},
	};
	struct fixture f;
	struct shape s;

	fixture_make(&f, fixture_shapes[8]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct tensor *t = f.t;

		while (strcmp(t->name, bad[i].name))
			assert_true(++t < f.t + f.n);
		if (bad[i].to)
			strcpy(t->name, bad[i].to);
		t->dim[0] -= bad[i].rows;
		t->n -= bad[i].rows * (t->ndim == 3 ? t->dim[2] : t->dim[1]);
		expect_refused(&f, -EBADMSG, bad[i].words);
		strcpy(t->name, bad[i].name);
		t->dim[0] += bad[i].rows;
		t->n += bad[i].rows * (t->ndim == 3 ? t->dim[2] : t->dim[1]);
	}
	/* Something more of it is as much as anything else. */
	strcpy(f.t[f.n - 1].name, "mtp.extra.weight");
	expect_refused(&f, -EBADMSG, "mtp.layers.0.mlp.shared_expert.down_proj.weight|missing");
	fixture_free(&f);
	/* Experts in one tensor; tensors of the tower for images, which the text alone may not have. */
	fixture_make(&f, fixture_shapes[10]);
	find(&f, "model.language_model.layers.1.mlp.experts.gate_up_proj")->dim[1]--;
	find(&f, "model.language_model.layers.1.mlp.experts.gate_up_proj")->n -= 5 * 40;
	expect_refused(&f, -EBADMSG, "experts.gate_up_proj|[5,35,40]|[5,36,40]");
	find(&f, "model.language_model.layers.1.mlp.experts.gate_up_proj")->dim[1]++;
	find(&f, "model.language_model.layers.1.mlp.experts.gate_up_proj")->n += 5 * 40;
	strcpy(find(&f, "model.language_model.layers.1.mlp.experts.down_proj")->name,
	       "model.language_model.layers.1.mlp.experts.down_pro");
	expect_refused(&f, -EBADMSG, "layers.1.mlp.experts.0.down_proj.weight|missing");
	strcpy(find(&f, "model.language_model.layers.1.mlp.experts.down_pro")->name,
	       "model.language_model.layers.1.mlp.experts.down_proj");
	strcpy(find(&f, "model.visual.blocks.0.attn.proj.weight")->name, "model.visuals.0.weight");
	expect_refused(&f, -EBADMSG, "model.visuals.0.weight|does not belong");
	fixture_free(&f);
	s = fixture_shapes[10];
	s.nested = false;
	fixture_make(&f, s);
	strcpy(find(&f, "mtp.norm.weight")->name, "model.visual.norm.weight");
	expect_refused(&f, -EBADMSG, "mtp.norm.weight|missing");
	fixture_free(&f);
	s.mtp = false;
	fixture_make(&f, s);
	strcpy(f.t[f.n++].name, "model.visual.norm.weight");
	f.t[f.n - 1].ndim = f.t[f.n - 1].n = f.t[f.n - 1].dim[0] = 1;
	f.t[f.n - 1].x = calloc(1, sizeof(float));
	expect_refused(&f, -EBADMSG, "model.visual.norm.weight|does not belong");
	fixture_free(&f);
}

/* ---- what the mathematics says of special weights ---- */

static float *logits_with(struct fixture *f, const uint32_t *ids, uint32_t n)
{
	struct zw_model *old = model;
	struct zw_error err = {""};
	uint32_t v = V;
	float *x;

	fixture_write(f);
	if (zw_model_open(dev, f->dir, NULL, &model, &err))
		fail_msg("%s", err.msg);
	V = f->s.v;
	x = solo(ids, n);
	assert_int_equal(zw_model_close(model), 0);
	model = old;
	V = v;
	return x;
}

/* Gates of weight zero let half of what attention gives through: the bits of large gates and half of o. */
static void test_half_gate(void **state)
{
	struct shape s = fixture_shapes[9];
	uint32_t ids[9] = {1, 2, 3, 5, 8, 13, 21, 34, 40};
	struct tensor *q, *o, *n;
	struct fixture f;
	float *half, *open;

	fixture_make(&f, s);
	q = find(&f, "model.layers.0.self_attn.q_proj.weight");
	o = find(&f, "model.layers.0.self_attn.o_proj.weight");
	n = find(&f, "model.layers.0.input_layernorm.weight");
	/* One element of the input is the same for all tokens: what opens the gates. */
	n->x[0] = 0;
	for (uint32_t t = 0; t < s.v; t++)
		find(&f, "model.embed_tokens.weight")->x[t * s.h] = 4;
	for (size_t i = 0; i < q->n; i++) {
		if (i / s.h / s.d % 2)
			q->x[i] = 0;
	}
	half = logits_with(&f, ids, 9);
	for (size_t i = 0; i < q->n; i += s.h) {
		if (i / s.h / s.d % 2)
			q->x[i] = 128;
	}
	for (size_t i = 0; i < o->n; i++)
		o->x[i] /= 2;
	open = logits_with(&f, ids, 9);
	assert_memory_equal(half, open, 9 * s.v * sizeof(*half));
	free(half);
	free(open);
	fixture_free(&f);
}

/* Experts that change places, their rows of the router with them, change nothing. */
static void test_experts_order(void **state)
{
	static const char *const part[] = {"gate_proj", "up_proj", "down_proj"};
	uint32_t ids[9] = {1, 2, 3, 5, 8, 13, 21, 34, 40};
	char name[2][96];
	struct fixture f;
	float *a, *b;

	fixture_make(&f, fixture_shapes[9]);
	a = logits_with(&f, ids, 9);
	for (uint32_t i = 0; i < 3; i++) {
		for (uint32_t k = 0; k < 2; k++)
			snprintf(name[k], sizeof(name[k]),
				 "model.layers.1.mlp.experts.%u.%s.weight", k * 3, part[i]);
		find(&f, name[0])->name[0] = 'x';
		strcpy(find(&f, name[1])->name, name[0]);
		name[0][0] = 'x';
		strcpy(find(&f, name[0])->name, name[1]);
	}
	{
		struct tensor *t = find(&f, "model.layers.1.mlp.gate.weight");
		uint32_t h = t->dim[1];

		for (uint32_t k = 0; k < h; k++) {
			float x = t->x[k];

			t->x[k] = t->x[3 * h + k];
			t->x[3 * h + k] = x;
		}
	}
	b = logits_with(&f, ids, 9);
	assert_memory_equal(a, b, 9 * f.s.v * sizeof(*a));
	free(a);
	free(b);
	fixture_free(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cuts),          cmocka_unit_test(test_many_sequences),
		cmocka_unit_test(test_rewind),        cmocka_unit_test(test_chosen),
		cmocka_unit_test(test_lost),          cmocka_unit_test(test_parts),
		cmocka_unit_test(test_refused),       cmocka_unit_test(test_half_gate),
		cmocka_unit_test(test_experts_order),
	};

	return cmocka_run_group_tests_name("recurrent", tests, open_all, close_all);
}

// SPDX-License-Identifier: MIT
/*
 * Sequences out of the pool, to system memory and to files, and back: the same bits go on. Files that
 * are not whole or not of this model are refused by name.
 */
#include "ctx_test.h"

#include <sys/stat.h>

#include "snapshot.h"

#define LENGTH 150

static uint32_t text[2][LENGTH];
static float *alone[2];

static int open_texts(void **state)
{
	int ret = open_all(state);

	for (uint32_t k = 0; k < 2; k++) {
		for (uint32_t i = 0; i < LENGTH; i++)
			text[k][i] = pick(V);
		alone[k] = solo(text[k], LENGTH);
	}
	return ret;
}

static int close_texts(void **state)
{
	free(alone[0]);
	free(alone[1]);
	return close_all(state);
}

/* Appends tokens [from, to) of a text; the last one has the bits of the text alone. */
static void go_on(struct zw_ctx *c, uint32_t seq, uint32_t k, uint32_t from, uint32_t to)
{
	const float *got = append(c, seq, text[k] + from, to - from);

	if (memcmp(got, alone[k] + (size_t)(to - 1) * V, V * sizeof(*got)))
		fail_msg("token %u of text %u differs from the solo run", to - 1, k);
}

static struct zw_snapshot_info info_of(const struct zw_snapshot *snap)
{
	struct zw_snapshot_info i = {.size = sizeof(i)};

	assert_int_equal(zw_snapshot_get_info(snap, &i), 0);
	return i;
}

static struct zw_snapshot *taken(struct zw_ctx *c, uint32_t seq)
{
	struct zw_snapshot *snap;

	assert_int_equal(zw_seq_snapshot(c, seq, &snap), 0);
	return snap;
}

/* ---- system memory ---- */

/* Texts of any length, whose blocks lie apart, go and come back beside another text. */
static void test_round_trip(void **state)
{
	static const uint32_t lengths[] = {0, 1, 31, 32, 33, 64, 100, 149};

	for (uint32_t cached = 0; cached < 2; cached++) {
		struct zw_ctx *c = context((struct zw_ctx_options){
			.context = LENGTH, .max_seqs = 3, .batch = 64, .prefix_cache = cached});
		uint32_t all = blocks_free(c);

		for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
			uint32_t n = lengths[i], a = sequence(c), b = sequence(c);
			struct zw_snapshot *snap;

			for (uint32_t at = 0; at < n; at += 32) {
				uint32_t to = at + 32 < n ? at + 32 : n;

				go_on(c, a, 0, at, to);
				go_on(c, b, 1, at, to);
			}
			snap = taken(c, a);
			assert_int_equal(info_of(snap).blocks, llm_blocks_for(n));
			assert_int_equal(zw_seq_remove(c, a), 0);
			assert_int_equal(zw_snapshot_swap_out(snap), 0);
			assert_int_equal(zw_snapshot_swap_out(snap), 0); /* it is */
			assert_int_equal(info_of(snap).blocks, 0);
			assert_int_equal(info_of(snap).tokens, n);
			assert_memory_equal(info_of(snap).ids, text[0], n * sizeof(text[0][0]));
			assert_true(info_of(snap).system_bytes >= llm_snapshot_bytes(c, n));
			assert_int_equal(all - blocks_free(c), llm_blocks_for(n));
			/* Its blocks are somebody else's meanwhile. */
			a = sequence(c);
			go_on(c, a, 1, 0, LENGTH);
			assert_int_equal(zw_seq_remove(c, a), 0);
			a = sequence(c);
			/* More than once, and over what a sequence has. */
			for (uint32_t k = 0; k < 2; k++) {
				assert_int_equal(zw_seq_restore(c, a, snap), 0);
				assert_int_equal(zw_seq_length(c, a), n);
				go_on(c, a, 0, n, n + 1);
			}
			go_on(c, b, 1, n, LENGTH);
			zw_snapshot_destroy(snap);
			assert_int_equal(zw_seq_remove(c, a) | zw_seq_remove(c, b), 0);
			assert_int_equal(blocks_free(c), all);
		}
		zw_ctx_destroy(c);
	}
}

/* What a prefix cache still has is not copied in. */
static void test_cached(void **state)
{
	struct zw_ctx *c = context((struct zw_ctx_options){
		.context = LENGTH, .max_seqs = 2, .batch = 64, .prefix_cache = 1});
	uint32_t a = sequence(c), b = sequence(c), all = blocks_free(c);
	struct zw_snapshot *snap;

	go_on(c, a, 0, 0, 100);
	snap = taken(c, a);
	assert_int_equal(zw_snapshot_swap_out(snap), 0);
	assert_int_equal(zw_seq_restore(c, b, snap), 0);
	/* Three blocks are shared; the unfinished one is each one's own. */
	assert_int_equal(all - blocks_free(c), 3 + 2);
	go_on(c, b, 0, 100, 140);
	zw_snapshot_destroy(snap);
	zw_ctx_destroy(c);
}

/* No room, and copies that fail: everything stays as it was. */
static void test_failures(void **state)
{
	struct zw_ctx *c = context((struct zw_ctx_options){.context = LENGTH,
							   .max_seqs = 3,
							   .batch = 64,
							   .pool_tokens = 6 * 32,
							   .rewind = 10});
	uint32_t a = sequence(c), b = sequence(c), free_blocks;
	struct zw_snapshot *snap, *other;
	uint64_t va;

	go_on(c, a, 0, 0, 70);
	snap = taken(c, a);
	assert_int_equal(zw_seq_remove(c, a), 0);
	/* The pool's memory is not where it is said to be. */
	va = c->kv.va;
	c->kv.va = 1ull << 40;
	assert_int_equal(zw_snapshot_swap_out(snap), -EIO);
	c->kv.va = va;
	assert_int_equal(info_of(snap).blocks, 3);
	assert_int_equal(info_of(snap).system_bytes, 0);
	assert_int_equal(zw_snapshot_swap_out(snap), 0);
	go_on(c, b, 1, 0, 100);
	free_blocks = blocks_free(c);
	assert_int_equal(free_blocks, 2);
	a = sequence(c);
	assert_int_equal(zw_seq_restore(c, a, snap), -ENOSPC);
	assert_int_equal(zw_seq_restore(c, b, snap), -ENOSPC);
	assert_int_equal(zw_seq_length(c, a), 0);
	assert_int_equal(blocks_free(c), free_blocks);
	assert_int_equal(zw_seq_truncate(c, b, 90), 0);
	va = snap->system.va;
	snap->system.va = 1ull << 40;
	assert_int_equal(zw_seq_restore(c, a, snap), -EIO);
	snap->system.va = va;
	assert_int_equal(zw_seq_length(c, a), 0);
	assert_int_equal(blocks_free(c), 3);
	assert_int_equal(zw_seq_restore(c, a, snap), 0);
	go_on(c, a, 0, 70, 96);
	go_on(c, b, 1, 90, 96);
	/* Of another context. */
	{
		struct zw_ctx *d = context((struct zw_ctx_options){.context = LENGTH});
		uint32_t e = sequence(d);

		assert_int_equal(zw_seq_restore(d, e, snap), -EINVAL);
		zw_ctx_destroy(d);
	}
	assert_int_equal(zw_seq_snapshot(c, 2, &other), -ENOENT);
	assert_int_equal(zw_snapshot_swap_out(NULL), -EINVAL);
	zw_snapshot_destroy(snap);
	zw_ctx_destroy(c);
}

/* What is behind the last token is not another text's. */
static void test_tail(void **state)
{
	struct zw_ctx *c = context((struct zw_ctx_options){.context = LENGTH, .batch = 64});
	uint32_t a = sequence(c), bad = 0;
	struct zw_snapshot *snap;
	const char *x;
	uint64_t row;

	go_on(c, a, 1, 0, LENGTH); /* fills every block */
	assert_int_equal(zw_seq_remove(c, a), 0);
	a = sequence(c);
	go_on(c, a, 0, 0, 40);
	snap = taken(c, a);
	assert_int_equal(zw_snapshot_swap_out(snap), 0);
	/* K and V, then, where there are some, their scales. */
	x = (const char *)snap->system.ptr + llm_block_bytes(c);
	for (uint32_t part = 0; part < 2; part++) {
		uint64_t piece = part ? c->scale_bytes : c->block_bytes;
		uint64_t bytes = 2 * c->needs.kv_layers * piece;

		row = piece / 32;
		for (uint64_t i = 0; i < bytes; i++) {
			bool used = i / row % 32 < 8;

			bad += !used && x[i];
			if (i % row == 0 && used)
				assert_true(x[i] || x[i + 1] || x[i + 2] || x[i + 3]);
		}
		x += bytes;
	}
	assert_int_equal(bad, 0);
	zw_snapshot_destroy(snap);
	zw_ctx_destroy(c);
}

/* ---- files ---- */

static char *in_dir(const char *dir, const char *name)
{
	char *path;

	assert_true(asprintf(&path, "%s/%s", dir, name) > 0);
	return path;
}

static void saved(const struct zw_snapshot *snap, const char *path)
{
	struct zw_error err = {""};

	if (zw_snapshot_save(snap, path, &err))
		fail_msg("%s", err.msg);
}

static struct zw_snapshot *loaded(struct zw_ctx *c, const char *path)
{
	struct zw_snapshot *snap = NULL;
	struct zw_error err = {""};

	if (zw_snapshot_load(c, path, &snap, &err))
		fail_msg("%s", err.msg);
	return snap;
}

static void refused(struct zw_ctx *c, const char *path, int code, const char *words)
{
	struct zw_snapshot *snap = NULL;
	struct zw_error err = {""};
	int ret = zw_snapshot_load(c, path, &snap, &err);

	if (ret != code)
		fail_msg("%s: %d (%s), not %d", words, ret, err.msg, code);
	assert_null(snap);
	expect_words(words, &err, words);
	expect_words("the file", &err, path);
}

static char *slurp(const char *path, size_t *len)
{
	struct zw_error err = {""};
	char *data;

	if (llm_file_read(path, 1 << 30, &data, len, &err))
		fail_msg("%s", err.msg);
	return data;
}

static void test_files(void **state)
{
	struct zw_ctx *c = context((struct zw_ctx_options){
			      .context = LENGTH, .max_seqs = 2, .batch = 64}),
		      *d;
	uint32_t a = sequence(c), b;
	char *dir = scratch_new(), *path = in_dir(dir, "one"), *again = in_dir(dir, "two");
	struct zw_snapshot *snap, *copy;
	size_t len[2];
	char *data[2];

	go_on(c, a, 0, 0, 70);
	snap = taken(c, a);
	assert_int_equal(zw_snapshot_set_note(snap, "gone", 4), 0);
	assert_int_equal(zw_snapshot_set_note(snap, "a note", 7), 0);
	assert_int_equal(zw_snapshot_set_note(snap, "", 1ull << 29), -EFBIG);
	saved(snap, path);
	copy = loaded(c, path);
	assert_string_equal(zw_snapshot_get_note(copy, &len[0]), "a note");
	assert_int_equal(len[0], 7);
	zw_snapshot_destroy(copy);
	assert_int_equal(zw_snapshot_set_note(snap, NULL, 0), 0);
	saved(snap, path);
	copy = loaded(c, path);
	assert_null(zw_snapshot_get_note(copy, &len[0]));
	assert_int_equal(len[0], 0);
	zw_snapshot_destroy(copy);
	/* From the pool and from system memory: the same file. */
	assert_int_equal(zw_snapshot_swap_out(snap), 0);
	saved(snap, again);
	data[0] = slurp(path, &len[0]);
	data[1] = slurp(again, &len[1]);
	assert_int_equal(len[0], len[1]);
	assert_memory_equal(data[0], data[1], len[0]);
	free(data[0]);
	free(data[1]);
	zw_snapshot_destroy(snap);
	zw_ctx_destroy(c);
	/* In another context, also one of other options. */
	for (uint32_t cached = 0; cached < 2; cached++) {
		d = context((struct zw_ctx_options){
			.context = 80 + cached, .max_seqs = 2, .batch = 7, .prefix_cache = cached});
		snap = loaded(d, path);
		assert_int_equal(info_of(snap).tokens, 70);
		b = sequence(d);
		assert_int_equal(zw_seq_restore(d, b, snap), 0);
		go_on(d, b, 0, 70, 80);
		/* Saved again it is what it was. */
		saved(snap, again);
		data[0] = slurp(path, &len[0]);
		data[1] = slurp(again, &len[1]);
		assert_int_equal(len[0], len[1]);
		assert_memory_equal(data[0], data[1], len[0]);
		free(data[0]);
		free(data[1]);
		zw_snapshot_destroy(snap);
		/* An empty sequence is one, too. */
		assert_int_equal(zw_seq_truncate(d, b, 0), 0);
		snap = taken(d, b);
		saved(snap, again);
		copy = loaded(d, again);
		assert_int_equal(info_of(copy).tokens, 0);
		assert_int_equal(zw_seq_restore(d, b, copy), 0);
		go_on(d, b, 1, 0, 20);
		zw_snapshot_destroy(copy);
		zw_snapshot_destroy(snap);
		zw_ctx_destroy(d);
	}
	free(path);
	free(again);
	scratch_free(dir);
}

/* Cut off anywhere, one byte changed anywhere, or something else altogether. */
static void test_damaged(void **state)
{
	struct zw_ctx *c = context((struct zw_ctx_options){.context = 80, .batch = 64}), *d;
	char *dir = scratch_new(), *path = in_dir(dir, "one"), *bad = in_dir(dir, "bad");
	uint32_t a = sequence(c), all = blocks_free(c);
	struct zw_error err = {""};
	struct zw_snapshot *snap;
	size_t len;
	char *data;

	go_on(c, a, 0, 0, 70);
	snap = taken(c, a);
	data = calloc(1, 3000);
	assert_int_equal(zw_snapshot_set_note(snap, data, 3000), 0);
	free(data);
	saved(snap, path);
	data = slurp(path, &len);
	for (size_t n = 0; n < len; n += n < 700 ? 1 : 1009) {
		scratch_write(dir, "bad", data, n);
		refused(c, bad, -EBADMSG, n < 136 ? "not a saved session" : "were written");
	}
	for (size_t i = 0; i < len; i += i < 700 ? 1 : 1009) {
		struct zw_snapshot *got = NULL;
		int ret;

		data[i] ^= 1 << i % 8;
		scratch_write(dir, "bad", data, len);
		data[i] ^= 1 << i % 8;
		ret = zw_snapshot_load(c, bad, &got, &err);
		if (ret != -EBADMSG && ret != -EOPNOTSUPP)
			fail_msg("byte %zu: %d", i, ret);
		assert_null(got);
	}
	data[len] = 0;
	scratch_write(dir, "bad", data, len + 1);
	refused(c, bad, -EBADMSG, "were written");
	scratch_text(dir, "bad", "{\"model_type\": \"qwen3\"}");
	refused(c, bad, -EBADMSG, "not a saved session");
	refused(c, dir, -EINVAL, "regular file");
	unlink(bad);
	refused(c, bad, -ENOENT, "No such file");
	d = context((struct zw_ctx_options){.context = 69});
	refused(d, path, -ENOSPC, "70 tokens|69");
	zw_ctx_destroy(d);
	/* What cannot be written leaves nothing, and not the file that was there. */
	assert_int_equal(mkdir(bad, 0700), 0);
	assert_int_equal(zw_snapshot_save(snap, bad, &err), -EISDIR);
	expect_words("a directory", &err, bad);
	assert_int_equal(rmdir(bad), 0);
	assert_int_equal(zw_snapshot_save(snap, "/nowhere/at/all", &err), -ENOENT);
	zw_snapshot_destroy(snap);
	assert_int_equal(zw_seq_remove(c, a), 0);
	assert_int_equal(blocks_free(c), all);
	zw_ctx_destroy(c);
	free(data);
	free(path);
	free(bad);
	scratch_free(dir);
}

static void other_theta(const char *dir)
{
	char *config = in_dir(dir, "config.json"), *at;
	size_t len;
	char *data = slurp(config, &len);

	at = strstr(data, "10000.0");
	assert_non_null(at);
	memcpy(at, "10001.0", 7);
	scratch_write(dir, "config.json", data, len);
	free(data);
	free(config);
}

/* A model of the same shapes whose weights, or one number of whose configuration, are others. */
static void test_foreign(void **state)
{
	char *dir = scratch_new(), *path = in_dir(dir, "one");
	struct zw_model *mine = model;
	struct zw_error err = {""};
	struct zw_ctx *c = context((struct zw_ctx_options){.context = 80, .batch = 64});
	uint32_t a = sequence(c);
	struct zw_snapshot *snap;

	go_on(c, a, 0, 0, 33);
	snap = taken(c, a);
	saved(snap, path);
	zw_snapshot_destroy(snap);
	zw_ctx_destroy(c);
	for (int k = 0; k < 4; k++) {
		struct shape s = fix.s;
		struct fixture other;

		if (k == 2)
			s = fixture_shapes[4]; /* a qwen2 */
		fixture_make(&other, s);
		if (k == 0)
			other.t[3].x[1] *= 2;
		fixture_write(&other);
		if (k == 1)
			other_theta(other.dir);
		if (zw_model_open(dev, other.dir, NULL, &model, &err))
			fail_msg("%s", err.msg);
		c = context((struct zw_ctx_options){.context = 80, .batch = 64});
		if (k == 3) {
			/* Another folder with the same in it is the same model. */
			zw_snapshot_destroy(loaded(c, path));
		} else {
			refused(c, path, -EINVAL,
				k == 2 && !fix.s.qwen2 ? "model_type|\"qwen2\""
						       : "not of this one");
		}
		zw_ctx_destroy(c);
		assert_int_equal(zw_model_close(model), 0);
		fixture_free(&other);
	}
	model = mine;
	free(path);
	scratch_free(dir);
}

/* ---- state that is not a KV cache ---- */

#define SLAB 1000

static void slab_needs(const struct llm_model_config *cfg, struct llm_needs *n)
{
	llm_family_find(cfg->model_type)->needs(cfg, n);
	n->slab_bytes = SLAB;
}

/* It goes along, whatever is done with it meanwhile. */
static void test_slab(void **state)
{
	const struct llm_family *plain = model->family;
	struct llm_family family = *plain;
	char *dir, *path;
	char x[SLAB], y[SLAB] = "";
	struct zw_snapshot *snap, *copy;
	struct zw_copier *cp;
	struct zw_ctx *c;
	uint32_t a;

	/* One that has such state shows it in all tests. */
	if (fix.s.next)
		return;
	dir = scratch_new();
	path = in_dir(dir, "one");
	family.needs = slab_needs;
	model->family = &family;
	c = context((struct zw_ctx_options){.context = 100, .max_seqs = 2, .batch = 64});
	assert_int_equal(zw_copier_create(model->vm, NULL, &cp), 0);
	a = sequence(c);
	go_on(c, a, 0, 0, 40);
	for (uint32_t i = 0; i < SLAB; i++)
		x[i] = (char)(1 + pick(255));
	assert_int_equal(zw_copier_write(cp, llm_slab_va(c, a, 0), x, SLAB, NULL), 0);
	assert_int_equal(zw_copier_flush(cp, ZW_FOREVER), 0);
	snap = taken(c, a);
	assert_int_equal(zw_seq_truncate(c, a, 0), 0);
	assert_int_equal(zw_snapshot_swap_out(snap), 0);
	saved(snap, path);
	copy = loaded(c, path);
	zw_snapshot_destroy(snap);
	assert_int_equal(zw_seq_restore(c, a, copy), 0);
	assert_int_equal(zw_copier_read(cp, y, llm_slab_va(c, a, 0), SLAB, NULL), 0);
	assert_int_equal(zw_copier_flush(cp, ZW_FOREVER), 0);
	assert_memory_equal(x, y, SLAB);
	go_on(c, a, 0, 40, 60);
	zw_snapshot_destroy(copy);
	zw_copier_destroy(cp);
	zw_ctx_destroy(c);
	model->family = plain;
	/* Without such state it is not what this model has. */
	c = context((struct zw_ctx_options){.context = 100});
	refused(c, path, -EINVAL, "bytes of state is 1000, here it is 0");
	zw_ctx_destroy(c);
	free(path);
	scratch_free(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_cached),
		cmocka_unit_test(test_failures),   cmocka_unit_test(test_tail),
		cmocka_unit_test(test_files),      cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_foreign),    cmocka_unit_test(test_slab),
	};

	return cmocka_run_group_tests_name("swap", tests, open_texts, close_texts);
}

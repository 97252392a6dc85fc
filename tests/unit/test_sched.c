// SPDX-License-Identifier: MIT
/*
 * Many requests over one context: whoever shares their steps, arrives, forks, is cancelled, preempted,
 * swapped out or computed again, each gets the tokens and the logits that it gets alone.
 */
#include "ctx_test.h"

#include <math.h>
#include <pthread.h>

#include "share.h"
#include "siphash.h"
#include "snapshot.h"

#define LENGTH 150
#define TOKENS 60 /* most that one generates */
#define IGNORE ZW_GENERATE_IGNORE_STOP

/* How a request chooses; a GREEDY_MASKED one is held to a mask that comes and goes. */
enum kind { GREEDY, TOP_K, MASKED, GREEDY_MASKED, KINDS };

/* A request, as it is asked for and what came of it. */
struct job {
	enum kind kind;
	uint64_t seed, id;
	uint32_t prompt[LENGTH], n, max_tokens, stop_at, flags, draft, draft_tokens;
	struct zw_sampler *sampler;
	uint32_t got[TOKENS + 1], num;
	uint64_t seen[TOKENS + 1]; /* hashes of the logits of each choice, when it is masked */
	uint32_t num_seen;
	uint32_t finish, ends;
	int error, mask_fails_at;
	void (*on_token)(struct job *j);
};

/* Sees all logits of a choice; nothing is changed. */
static int look(void *opaque, float *logits, size_t n)
{
	static const uint64_t key[2] = {1, 2};
	struct job *j = opaque;

	if (j->mask_fails_at && j->num_seen + 1 == (uint32_t)j->mask_fails_at)
		return 1;
	assert_true(j->num_seen <= TOKENS);
	j->seen[j->num_seen++] = siphash(key, logits, n * sizeof(*logits));
	return 0;
}

/* After some tokens half of what may come is forbidden, after the others nothing. */
static int mask_idle(void *opaque)
{
	const struct job *j = opaque;

	return !j->num || j->got[j->num - 1] % 3;
}

static int forbid(void *opaque, float *logits, size_t n)
{
	const struct job *j = opaque;

	for (size_t i = 0; i < n && !mask_idle(opaque); i++) {
		if ((i + j->num) % 2)
			logits[i] = -INFINITY;
	}
	return 0;
}

static struct zw_sampler *sampler_of(struct job *j)
{
	struct zw_sampling_params sp = {.size = sizeof(sp), .top_p = 1, .seed = j->seed};
	struct zw_error err = {""};
	struct zw_sampler *s;

	if (j->kind == TOP_K || j->kind == MASKED)
		sp.temperature = 1;
	if (j->kind == GREEDY_MASKED) {
		sp.mask = forbid;
		sp.mask_idle = mask_idle;
		sp.mask_opaque = j;
	}
	if (j->kind == TOP_K)
		sp.top_k = 4;
	if (j->kind == MASKED) {
		sp.repetition_penalty = 1.1f;
		sp.mask = look;
		sp.mask_opaque = j;
	}
	if (zw_sampler_open(&sp, &s, &err))
		fail_msg("%s", err.msg);
	return s;
}

static int on_token(void *opaque, uint64_t request, uint32_t id)
{
	struct job *j = opaque;

	assert_true(!j->id || j->id == request);
	assert_true(j->num < TOKENS);
	j->got[j->num++] = id;
	if (j->on_token)
		j->on_token(j);
	return j->stop_at && j->num == j->stop_at;
}

static int on_token_alone(void *opaque, uint32_t id)
{
	return on_token(opaque, 0, id);
}

static void on_done(void *opaque, uint64_t request, uint32_t finish, int error)
{
	struct job *j = opaque;

	j->finish = finish;
	j->error = error;
	j->ends++;
}

static struct zw_request_params params_of(struct job *j)
{
	j->sampler = sampler_of(j);
	return (struct zw_request_params){.size = sizeof(struct zw_request_params),
					  .flags = j->flags,
					  .max_tokens = j->max_tokens,
					  .sampler = j->sampler,
					  .token = on_token,
					  .done = on_done,
					  .opaque = j,
					  .draft = j->draft,
					  .draft_tokens = j->draft_tokens};
}

static void added(struct zw_sched *s, struct job *j, int32_t priority)
{
	struct zw_request_params p = params_of(j);
	struct zw_error err = {""};

	p.priority = priority;
	if (zw_sched_add(s, &p, j->prompt, j->n, &j->id, &err))
		fail_msg("%s", err.msg);
}

static uint32_t drafts_of; /* kinds of drafts that random jobs may have */
static bool all_greedy;

static void random_draft(struct job *j)
{
	if (drafts_of && pick(2)) {
		/* Without the head there is but one kind. */
		j->draft = drafts_of == 1 ? ZW_DRAFT_NGRAM : 1 + pick(2);
		j->draft_tokens = 1 + pick(3);
	}
}

static struct job random_text(void)
{
	struct job j = {.kind = pick(KINDS), .seed = pick(1 << 30), .max_tokens = 1 + pick(TOKENS)};

	if (all_greedy)
		j.kind = GREEDY;
	/* Some begin alike. */
	j.n = 1 + (pick(5) ? pick(30) : pick(110));
	for (uint32_t i = 0, same = pick(2) ? 64 : 0; i < j.n; i++)
		j.prompt[i] = i < same ? (i * 7 + 3) % V : pick(V);
	if (!pick(8))
		j.stop_at = 1 + pick(10);
	return j;
}

static struct job random_job(void)
{
	struct job j = random_text();

	random_draft(&j);
	return j;
}

static struct zw_sched *sched(struct zw_ctx *c, struct zw_sched_options o)
{
	struct zw_error err = {""};
	struct zw_sched *s;

	o.size = sizeof(o);
	if (zw_sched_create(c, &o, &s, &err))
		fail_msg("%s", err.msg);
	return s;
}

static int stepped(struct zw_sched *s)
{
	struct zw_error err = {""};
	int ret = zw_sched_step(s, &err);

	if (ret < 0)
		fail_msg("%s", err.msg);
	return ret;
}

static struct zw_sched_stats stats_of(const struct zw_sched *s)
{
	struct zw_sched_stats st = {.size = sizeof(st)};

	assert_int_equal(zw_sched_get_stats(s, &st), 0);
	return st;
}

/* The same alone, whatever became of it among others; the caller frees. */
static struct job *run_alone(const struct job *j, uint32_t length)
{
	struct zw_ctx *c = context(
		(struct zw_ctx_options){.context = length, .batch = 64, .top_k = 4, .max_seqs = 1});
	struct job *a = calloc(1, sizeof(*a));
	struct zw_generate_result r = {.size = sizeof(r)};
	struct zw_generate_params p = {
		.size = sizeof(p), .seq = sequence(c), .token = on_token_alone, .opaque = a};
	struct zw_error err = {""};

	*a = *j;
	a->on_token = NULL;
	a->id = a->num = a->num_seen = 0;
	a->sampler = p.sampler = sampler_of(a);
	p.max_tokens = a->max_tokens;
	p.flags = a->flags;
	if (zw_generate(c, &p, a->prompt, a->n, &r, &err))
		fail_msg("%s", err.msg);
	a->finish = r.finish;
	zw_sampler_close(p.sampler);
	a->sampler = NULL;
	zw_ctx_destroy(c);
	return a;
}

/* Of one that was cancelled the beginning. */
static void check_same(const struct job *j, const struct job *a)
{
	uint32_t seen = j->num_seen < a->num_seen ? j->num_seen : a->num_seen;

	if (j->finish != ZW_FINISH_CANCEL) {
		assert_int_equal(j->finish, a->finish);
		assert_int_equal(j->num, a->num);
		assert_true(j->num_seen >= a->num_seen);
	}
	assert_true(j->num <= a->num);
	assert_memory_equal(j->got, a->got, j->num * sizeof(a->got[0]));
	/* Each of its tokens was chosen by logits that it saw. */
	assert_true(j->kind != MASKED || j->num_seen >= j->num);
	if (memcmp(j->seen, a->seen, seen * sizeof(a->seen[0])))
		fail_msg("request %llu: logits differ from those of the solo run",
			 (unsigned long long)j->id);
}

static void check_alone(const struct job *j, uint32_t length)
{
	struct job *a = run_alone(j, length);

	check_same(j, a);
	free(a);
}

static struct zw_sched *current;

static void spoil(struct zw_ctx *c)
{
	for (uint32_t i = 0; i < c->o.steps; i++)
		*(uint16_t *)(void *)((char *)c->code.ptr + c->slot[i].code_off) ^= 0x8000;
}

/* ---- everything at random ---- */

#define JOBS 200

static void random_fork(struct zw_sched *s, struct job *from, struct job *j)
{
	struct zw_request_params p;
	struct zw_error err = {""};
	const uint32_t *ids;
	int64_t n = zw_sched_tokens(s, from->id, &ids);
	uint32_t keep, more;

	assert_true(n > 0);
	*j = random_job();
	keep = pick(2) ? (uint32_t)n : pick((uint32_t)n + 1);
	more = pick(3) ? pick(4) : 0;
	if (!keep)
		more++;
	if (keep + more > LENGTH)
		more = LENGTH - keep;
	memmove(j->prompt + keep, j->prompt, more * sizeof(*ids));
	memcpy(j->prompt, ids, keep * sizeof(*ids));
	j->n = keep + more;
	p = params_of(j);
	if (zw_sched_fork(s, from->id, keep, &p, j->prompt + keep, more, &j->id, &err))
		fail_msg("%s", err.msg);
}

static uint64_t seed0;

/* Job i of any of the rounds, but for forks: its choices are its own, so that one solo run is there for all rounds. */
static struct job numbered_job(uint32_t i)
{
	uint64_t between = rng;
	struct job j;

	rng = (seed0 + 1) * 0x9e3779b97f4a7c15ull + i * 0xbf58476d1ce4e5b9ull;
	pick(1);
	j = random_text();
	if (i < 64) {
		/* As many as there are sequences, which all grow beyond what they begin with. */
		for (j.n = 0; j.n < 30; j.n++)
			j.prompt[j.n] = pick(V);
		j.max_tokens = TOKENS - pick(10);
		j.stop_at = 0;
		j.flags = IGNORE;
	}
	/* Those with drafts end early: at first few, so that the pool is short as ever. */
	if (i >= 64 || i % 4 == 0)
		random_draft(&j);
	rng = between;
	return j;
}

static struct job *alone[JOBS]; /* solo runs of numbered jobs, when there was one */

static void many(uint32_t cached, uint32_t flags, uint32_t drafts)
{
	struct zw_ctx *c = context((struct zw_ctx_options){.context = LENGTH,
							   .max_seqs = 64,
							   .batch = 96,
							   .outputs = 64,
							   .logits = 20,
							   .top_k = 4,
							   .pool_tokens = 132 * 32,
							   .rewind = drafts ? 3 : 0,
							   .draft = drafts > 1 ? 3 : 0,
							   .prefix_cache = cached});
	struct zw_sched *s =
		sched(c, (struct zw_sched_options){.flags = flags, .prompt_tokens = 48});
	struct job *j = calloc(JOBS, sizeof(*j));
	bool forked[JOBS] = {false};
	uint32_t n = 0, all = blocks_free(c), most = 0, finishes[8] = {0};
	struct zw_ctx_stats cs = {.size = sizeof(cs)};
	struct zw_sched_stats st;
	int left = 0;

	rng = seed0 + 2 * cached + flags + 16 * drafts;
	drafts_of = drafts;
	for (; n < 64; n++) {
		j[n] = numbered_job(n);
		added(s, &j[n], (int32_t)pick(3));
	}
	while (n < JOBS || left) {
		for (uint32_t k = pick(12); k && n < JOBS; k--) {
			j[n] = numbered_job(n);
			added(s, &j[n++], (int32_t)pick(3));
		}
		for (uint32_t k = 0; k < 3; k++) {
			struct job *one = n ? &j[pick(n)] : NULL;

			if (!one || one->ends)
				continue;
			if (pick(40) == 0)
				assert_int_equal(zw_sched_cancel(s, one->id), 0);
			else if (n < JOBS && pick(4) == 0) {
				forked[n] = true;
				random_fork(s, one, &j[n++]);
			}
		}
		left = stepped(s);
		st = stats_of(s);
		if (st.running > most)
			most = st.running;
	}
	assert_int_equal(stepped(s), 0);
	st = stats_of(s);
	assert_int_equal(blocks_free(c), all);
	assert_int_equal(st.finished, JOBS);
	assert_int_equal(st.swapped_bytes, 0);
	for (uint32_t i = 0; i < JOBS; i++) {
		assert_int_equal(j[i].ends, 1);
		assert_int_equal(j[i].error, 0);
		finishes[j[i].finish]++;
		if (!in_share(i)) {
			zw_sampler_close(j[i].sampler);
			continue;
		}
		if (!forked[i] && !alone[i])
			alone[i] = run_alone(&j[i], LENGTH);
		if (forked[i])
			check_alone(&j[i], LENGTH);
		else
			check_same(&j[i], alone[i]);
		zw_sampler_close(j[i].sampler);
	}
	zw_ctx_get_stats(c, &cs);
	print_message(
		"prefix cache %u, flags %u: %llu steps, at most %u at a time, %llu of %llu drafts "
		"right, %llu swapped "
		"out, %llu computed again, %u cancelled, %llu tokens from the cache\n",
		cached, flags, (unsigned long long)st.steps, most,
		(unsigned long long)st.accepted_tokens, (unsigned long long)st.drafted_tokens,
		(unsigned long long)st.preempted_swap, (unsigned long long)st.preempted_recompute,
		finishes[ZW_FINISH_CANCEL], (unsigned long long)cs.prefix_hits);
	assert_int_equal(cs.prefix_hits != 0, cached);
	assert_int_equal(st.cancelled, finishes[ZW_FINISH_CANCEL]);
	assert_true(finishes[ZW_FINISH_CANCEL] && finishes[ZW_FINISH_CALLBACK] &&
		    finishes[ZW_FINISH_LENGTH]);
	assert_int_equal(most, 64);
	/* The pool was short. */
	if (flags & ZW_SCHED_RECOMPUTE)
		assert_true(st.preempted_recompute && !st.preempted_swap);
	else if (!drafts)
		assert_true(st.preempted_swap);
	/* Some were right and some were wrong, else this has shown little. */
	assert_int_equal(st.accepted_tokens != 0, drafts != 0);
	assert_int_equal(st.accepted_tokens < st.drafted_tokens, drafts != 0);
	drafts_of = 0;
	zw_sched_destroy(s);
	zw_ctx_destroy(c);
	free(j);
}

/* With the model's MTP head, where it has one, while `what` runs. */
static void with_head(void (*what)(void))
{
	struct zw_model_options mo = {.size = sizeof(mo), .flags = ZW_MODEL_MTP};
	struct zw_model *plain = model;
	struct zw_error err = {""};

	if (zw_model_open(dev, fix.dir, &mo, &model, &err))
		fail_msg("%s", err.msg);
	what();
	assert_int_equal(zw_model_close(model), 0);
	model = plain;
}

static void test_many(void **state)
{
	const char *seed = getenv("ZW_TEST_SEED");

	seed0 = seed ? strtoull(seed, NULL, 0) : 11;
	print_message("seed %llu (ZW_TEST_SEED)\n", (unsigned long long)seed0);
	/* Of a share the first and the last: each of both is on once and off once. */
	for (uint32_t k = 0; k < 4; k++) {
		if (in_share(k))
			many(k & 1, k & 2 ? ZW_SCHED_RECOMPUTE : 0, 0);
	}
}

static void many_drafted(void)
{
	uint32_t drafts = model->mtp ? 2 : 1;

	many(0, ZW_SCHED_RECOMPUTE, drafts);
	many(1, ZW_SCHED_AHEAD, drafts);
}

/* The same with drafts, of which none may be seen in what comes out. */
static void test_many_drafted(void **state)
{
	if (fix.s.mtp)
		with_head(many_drafted);
	else
		many_drafted();
}

/* One alone with the same drafts: its tokens, and how many were drafted and were right. */
static void generate_drafted(struct job *j, uint64_t *drafted, uint64_t *accepted)
{
	struct zw_ctx *c = context((struct zw_ctx_options){.context = LENGTH,
							   .batch = 64,
							   .max_seqs = 1,
							   .rewind = j->draft_tokens,
							   .outputs = 1 + j->draft_tokens,
							   .draft = j->draft_tokens});
	struct zw_generate_result r = {.size = sizeof(r)};
	struct zw_generate_params p = {.size = sizeof(p),
				       .seq = sequence(c),
				       .sampler = sampler_of(j),
				       .max_tokens = j->max_tokens,
				       .flags = j->flags,
				       .token = on_token_alone,
				       .opaque = j,
				       .draft = ZW_DRAFT_MTP,
				       .draft_tokens = j->draft_tokens};
	struct zw_error err = {""};

	if (zw_generate(c, &p, j->prompt, j->n, &r, &err))
		fail_msg("%s", err.msg);
	*drafted += r.drafted_tokens;
	*accepted += r.accepted_tokens;
	zw_sampler_close(p.sampler);
	zw_ctx_destroy(c);
}

/*
 * 64 at once, with as many drafts of the MTP head as each asks for: the passes that they share draft what the
 * passes of one alone do, so that as many are drafted and right; the tokens are those without drafts.
 */
static void drafts_of_head(void)
{
	enum { N = 64, MOST = 5 };
	struct zw_ctx *c = context((struct zw_ctx_options){.context = LENGTH,
							   .max_seqs = N,
							   .batch = N * 32,
							   .outputs = N * (1 + MOST),
							   .draft = MOST});
	struct zw_sched *s = sched(c, (struct zw_sched_options){0});
	struct job *j = calloc(N, sizeof(*j));
	uint64_t drafted = 0, accepted = 0, most = 0, before = 0;
	struct zw_sched_stats st;

	rng = seed0;
	for (uint32_t i = 0; i < N; i++) {
		j[i] = (struct job){.n = 1 + pick(30),
				    .max_tokens = 20 + pick(TOKENS - 20),
				    .flags = IGNORE,
				    .draft = ZW_DRAFT_MTP,
				    .draft_tokens = 1 + i % MOST};
		for (uint32_t k = 0; k < j[i].n; k++)
			j[i].prompt[k] = pick(V);
		added(s, &j[i], 0);
	}
	while (stepped(s)) {
		st = stats_of(s);
		most = st.drafted_tokens - before > most ? st.drafted_tokens - before : most;
		before = st.drafted_tokens;
	}
	st = stats_of(s);
	for (uint32_t i = 0; i < N; i++) {
		struct job *a = calloc(1, sizeof(*a));

		if (in_share(i))
			check_alone(&j[i], LENGTH);
		*a = j[i];
		a->id = a->num = 0;
		generate_drafted(a, &drafted, &accepted);
		assert_int_equal(a->num, j[i].num);
		zw_sampler_close(j[i].sampler);
		free(a);
	}
	print_message("%llu steps, %llu of %llu drafts right, at most %llu in a step\n",
		      (unsigned long long)st.steps, (unsigned long long)st.accepted_tokens,
		      (unsigned long long)st.drafted_tokens, (unsigned long long)most);
	/* In the first step behind the prompts all have what they asked for: 1 to 5, in turns. */
	assert_int_equal(most, 12 * (1 + 2 + 3 + 4 + 5) + 1 + 2 + 3 + 4);
	assert_int_equal(st.drafted_tokens, drafted);
	assert_int_equal(st.accepted_tokens, accepted);
	assert_true(accepted > drafted / 10 && accepted < drafted);
	zw_sched_destroy(s);
	zw_ctx_destroy(c);
	free(j);
}

/* Of a model whose head is right often enough, so that drafts behind drafts are taken. */
static void test_drafts_of_head(void **state)
{
	struct zw_model_options mo = {.size = sizeof(mo), .flags = ZW_MODEL_MTP};
	struct zw_model *other = model;
	struct zw_error err = {""};
	struct fixture f;

	if (!fix.s.mtp)
		return;
	fixture_make(&f, fix.s);
	fixture_make_easy(&f);
	fixture_write(&f);
	if (zw_model_open(dev, f.dir, &mo, &model, &err))
		fail_msg("%s", err.msg);
	drafts_of_head();
	assert_int_equal(zw_model_close(model), 0);
	model = other;
	fixture_free(&f);
}

/* ---- a step ahead ---- */

static void cancel_one(struct job *j)
{
	if (j->num == 5)
		assert_int_equal(zw_sched_cancel(current, j->id), 0);
}

/*
 * All greedy: nearly every step is submitted while another one is in flight; ends of all kinds, a fork and
 * steps that fail are as ever.
 */
static void test_ahead(void **state)
{
	enum { N = 10 };
	struct zw_ctx *c = context((struct zw_ctx_options){
		.context = LENGTH, .max_seqs = 12, .batch = 64, .top_k = 4});
	struct zw_sched *s = sched(c, (struct zw_sched_options){.flags = ZW_SCHED_AHEAD});
	uint32_t all = blocks_free(c), steps = 0;
	struct job *j = calloc(N + 2, sizeof(*j));
	struct zw_sched_stats st;
	struct zw_error err = {""};

	current = s;
	for (uint32_t i = 0; i < N; i++) {
		j[i] = (struct job){.seed = i, .max_tokens = 30 + 3 * i, .n = 1 + 13 * i};
		for (uint32_t k = 0; k < j[i].n; k++)
			j[i].prompt[k] = pick(V);
		j[i].max_tokens = j[i].max_tokens < TOKENS ? j[i].max_tokens : TOKENS;
		j[i].flags = i % 2 ? IGNORE : 0;
		j[i].stop_at = i == 3 ? 7 : 0;
		j[i].on_token = i == 4 ? cancel_one : NULL;
		if (i == 5)
			j[i].max_tokens = 1;
		if (i == 6)
			j[i].max_tokens = 0;
		added(s, &j[i], 0);
	}
	for (; stepped(s) && steps < 12; steps++) {
		if (steps % 5 != 4)
			continue;
		spoil(c);
		/* What was in flight may yet be good. */
		while (zw_sched_step(s, &err) >= 0)
			;
		spoil(c);
	}
	/* One that is in flight shares nothing, and is found again. */
	all_greedy = true;
	random_fork(s, &j[1], &j[N]);
	all_greedy = false;
	while (stepped(s))
		;
	st = stats_of(s);
	print_message("%llu of %llu steps ahead\n", (unsigned long long)st.ahead_steps,
		      (unsigned long long)st.steps);
	assert_true(st.ahead_steps > st.steps / 2);
	assert_int_equal(blocks_free(c), all);
	assert_int_equal(j[3].finish, ZW_FINISH_CALLBACK);
	assert_int_equal(j[4].finish, ZW_FINISH_CANCEL);
	for (uint32_t i = 0; i <= N; i++) {
		assert_int_equal(j[i].ends, 1);
		check_alone(&j[i], LENGTH);
		zw_sampler_close(j[i].sampler);
	}
	/* Ended with a step in flight. */
	j[0] = (struct job){.max_tokens = 50, .prompt = {3}, .n = 1, .flags = IGNORE};
	added(s, &j[0], 0);
	for (uint32_t i = 0; i < 4; i++)
		stepped(s);
	assert_true(llm_ctx_busy(c));
	zw_sched_destroy(s);
	assert_int_equal(j[0].finish, ZW_FINISH_CANCEL);
	assert_int_equal(blocks_free(c), all);
	check_alone(&j[0], LENGTH);
	zw_sampler_close(j[0].sampler);
	zw_ctx_destroy(c);
	free(j);
}

/* ---- who is next ---- */

static uint32_t order[8], num_order;

static void note_order(void *opaque, uint64_t request, uint32_t finish, int error)
{
	order[num_order++] = (uint32_t)request;
	on_done(opaque, request, finish, error);
}

/* One at a time: greater priorities first, then in the order of arrival. */
static void test_order(void **state)
{
	static const int32_t priority[] = {0, -1, 5, 0, 5, -1};
	static const uint32_t want[] = {3, 5, 1, 4, 2, 6};
	struct zw_ctx *c = context((struct zw_ctx_options){.context = LENGTH, .batch = 8});
	struct zw_sched *s = sched(c, (struct zw_sched_options){0});
	struct job j[6];

	num_order = 0;
	for (uint32_t i = 0; i < 6; i++) {
		struct zw_request_params p;
		struct zw_error err;

		j[i] = (struct job){.max_tokens = 3, .prompt = {i + 1}, .n = 1};
		p = params_of(&j[i]);
		p.priority = priority[i];
		p.done = note_order;
		assert_int_equal(zw_sched_add(s, &p, j[i].prompt, 1, &j[i].id, &err), 0);
		assert_int_equal(j[i].id, i + 1);
	}
	while (stepped(s))
		assert_true(stats_of(s).running <= 1);
	assert_memory_equal(order, want, sizeof(want));
	for (uint32_t i = 0; i < 6; i++)
		zw_sampler_close(j[i].sampler);
	zw_sched_destroy(s);
	zw_ctx_destroy(c);
}

/* A long prompt comes in pieces beside a token of each of the others, at every step. */
static void test_chunks(void **state)
{
	struct zw_ctx *c =
		context((struct zw_ctx_options){.context = LENGTH, .max_seqs = 3, .batch = 32});
	struct zw_sched *s = sched(c, (struct zw_sched_options){.prompt_tokens = 10});
	struct job j[3] = {{.max_tokens = 40, .prompt = {1}, .n = 1, .flags = IGNORE},
			   {.max_tokens = 40, .prompt = {2}, .n = 1, .flags = IGNORE},
			   {.max_tokens = 5, .n = 95}};
	uint32_t steps = 0;

	for (uint32_t i = 0; i < j[2].n; i++)
		j[2].prompt[i] = i % V;
	added(s, &j[0], 0);
	added(s, &j[1], 0);
	stepped(s);
	added(s, &j[2], 9);
	while (!j[2].num) {
		uint32_t had = j[0].num + j[1].num;

		stepped(s);
		steps++;
		assert_int_equal(j[0].num + j[1].num, had + 2);
		assert_int_equal(stats_of(s).prompt_tokens, 2 + (steps < 10 ? 10 * steps : 95));
	}
	assert_int_equal(steps, 10);
	while (stepped(s))
		;
	for (uint32_t i = 0; i < 3; i++) {
		check_alone(&j[i], LENGTH);
		zw_sampler_close(j[i].sampler);
	}
	zw_sched_destroy(s);
	zw_ctx_destroy(c);
}

/* ---- the pool ---- */

/* What one that runs alone cannot have ends it, like a context that is full. */
static void test_small_pool(void **state)
{
	struct zw_ctx *c = context((struct zw_ctx_options){
		.context = LENGTH, .max_seqs = 4, .batch = 64, .top_k = 4, .pool_tokens = 64});
	struct zw_sched *s = sched(c, (struct zw_sched_options){0});
	struct job j[3];
	struct zw_error err = {""};
	uint32_t mine;
	uint64_t id;

	for (uint32_t i = 0; i < 3; i++) {
		j[i] = (struct job){
			.kind = i, .seed = i, .max_tokens = 60, .n = 20 + i, .flags = IGNORE};
		for (uint32_t k = 0; k < j[i].n; k++)
			j[i].prompt[k] = pick(V);
		added(s, &j[i], 0);
	}
	while (stepped(s))
		;
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(j[i].finish, ZW_FINISH_CONTEXT);
		check_alone(&j[i], 64);
		zw_sampler_close(j[i].sampler);
	}
	/* What never fits is refused at once. */
	{
		struct zw_request_params p = params_of(&j[0]);
		uint32_t ids[LENGTH + 1] = {0};

		assert_int_equal(zw_sched_add(s, &p, ids, 65, &id, &err), -ENOSPC);
		expect_words("pool", &err, "65|2 blocks");
		assert_int_equal(zw_sched_add(s, &p, ids, LENGTH + 1, &id, &err), -ENOSPC);
		expect_words("context", &err, "151|150");
		ids[3] = V;
		assert_int_equal(zw_sched_add(s, &p, ids, 5, &id, &err), -ERANGE);
		assert_int_equal(zw_sched_add(s, &p, ids, 0, &id, &err), -EINVAL);
		p.flags = 1 << 9;
		assert_int_equal(zw_sched_add(s, &p, ids, 3, &id, &err), -EINVAL);
		p.flags = 0;
		p.draft = ZW_DRAFT_NGRAM + 1;
		assert_int_equal(zw_sched_add(s, &p, ids, 3, &id, &err), -EINVAL);
		p.draft = ZW_DRAFT_MTP;
		p.draft_tokens = 1;
		assert_int_equal(zw_sched_add(s, &p, ids, 3, &id, &err), -EINVAL);
		expect_words("no head", &err, "draft_tokens 1|made for 0");
		p.draft = ZW_DRAFT_NGRAM;
		p.draft_tokens = ZW_CTX_MAX_REWIND + 1;
		assert_int_equal(zw_sched_add(s, &p, ids, 3, &id, &err), -EINVAL);
		p.draft = p.draft_tokens = 0;
		p.reserved = 1;
		assert_int_equal(zw_sched_add(s, &p, ids, 3, &id, &err), -EINVAL);
		p.reserved = 0;
		assert_int_equal(zw_sched_fork(s, 77, 0, &p, ids, 3, &id, &err), -ENOENT);
		assert_int_equal(stats_of(s).waiting, 0);
		zw_sampler_close(p.sampler);
	}
	/* Others have the pool: it is said, and tried again. */
	mine = sequence(c);
	append(c, mine, (const uint32_t[40]){1}, 40);
	j[0] = (struct job){.max_tokens = 3, .prompt = {4, 5}, .n = 2};
	added(s, &j[0], 0);
	assert_int_equal(zw_sched_step(s, &err), -ENOSPC);
	expect_words("others", &err, "0 of 2 blocks");
	assert_int_equal(zw_seq_remove(c, mine), 0);
	while (stepped(s))
		;
	check_alone(&j[0], LENGTH);
	zw_sampler_close(j[0].sampler);
	zw_sched_destroy(s);
	zw_ctx_destroy(c);
}

/* With little system memory some are computed again. */
static void test_swap_limit(void **state)
{
	struct zw_ctx *c = context((struct zw_ctx_options){
		.context = LENGTH, .max_seqs = 8, .batch = 64, .top_k = 4, .pool_tokens = 10 * 32});
	/* For one of 96 tokens. */
	uint64_t limit = llm_align(llm_snapshot_bytes(c, 96), 4096);
	struct zw_sched *s = sched(c, (struct zw_sched_options){.swap_bytes = limit});
	struct job j[8];

	for (uint32_t i = 0; i < 8; i++) {
		j[i] = (struct job){
			.kind = i % KINDS, .seed = i, .max_tokens = 60, .n = 25, .flags = IGNORE};
		for (uint32_t k = 0; k < j[i].n; k++)
			j[i].prompt[k] = pick(V);
		added(s, &j[i], 0);
	}
	while (stepped(s))
		assert_true(stats_of(s).swapped_bytes <= limit);
	assert_true(stats_of(s).preempted_swap && stats_of(s).preempted_recompute);
	for (uint32_t i = 0; i < 8; i++) {
		check_alone(&j[i], LENGTH);
		zw_sampler_close(j[i].sampler);
	}
	zw_sched_destroy(s);
	zw_ctx_destroy(c);
}

/* ---- what goes wrong ---- */

/* A step that fails is said, and is tried again; what fails of one request is that one's. */
static void test_failures(void **state)
{
	struct zw_ctx *c = context(
		(struct zw_ctx_options){.context = LENGTH, .max_seqs = 4, .batch = 64, .top_k = 4});
	struct zw_sched *s = sched(c, (struct zw_sched_options){0});
	struct zw_error err = {""};
	struct job j[4];

	for (uint32_t i = 0; i < 4; i++) {
		j[i] = (struct job){
			.kind = i % KINDS, .seed = i, .max_tokens = 20, .n = 30, .flags = IGNORE};
		for (uint32_t k = 0; k < j[i].n; k++)
			j[i].prompt[k] = pick(V);
		if (i == 2)
			j[i].mask_fails_at = 4;
		added(s, &j[i], 0);
	}
	for (uint32_t k = 0; k < 12; k++) {
		if (k % 3 == 1) {
			spoil(c);
			assert_int_equal(zw_sched_step(s, &err), -EIO);
			expect_words("failed", &err, "refused");
			spoil(c);
		}
		stepped(s);
	}
	while (stepped(s))
		;
	assert_int_equal(j[2].finish, ZW_FINISH_ERROR);
	assert_int_equal(j[2].error, -ECANCELED);
	assert_int_equal(j[2].num, 3);
	for (uint32_t i = 0; i < 4; i++) {
		assert_int_equal(j[i].ends, 1);
		if (i != 2)
			check_alone(&j[i], LENGTH);
		zw_sampler_close(j[i].sampler);
	}
	zw_sched_destroy(s);
	zw_ctx_destroy(c);
}

static struct job *next_job;

/* Goes on as two, from within. */
static void fork_here(struct job *j)
{
	struct zw_request_params p;
	struct zw_error err = {""};
	const uint32_t *ids;
	int64_t n;

	if (j->num != 5)
		return;
	n = zw_sched_tokens(current, j->id, &ids);
	assert_int_equal(n, j->n + 5);
	assert_memory_equal(ids + j->n, j->got, 5 * sizeof(*ids));
	*next_job = (struct job){.kind = MASKED, .seed = 5, .max_tokens = 20, .n = (uint32_t)n};
	memcpy(next_job->prompt, ids, (size_t)n * sizeof(*ids));
	p = params_of(next_job);
	if (zw_sched_fork(current, j->id, (size_t)n, &p, NULL, 0, &next_job->id, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(zw_sched_fork(current, j->id, (size_t)n + 1, &p, NULL, 0, &j->seed, &err),
			 -EINVAL);
}

static void cancel_here(struct job *j)
{
	if (j->num == 7)
		assert_int_equal(zw_sched_cancel(current, j->id), 0);
}

/* Callbacks fork and cancel; what is left when it is destroyed is told. */
static void test_callbacks(void **state)
{
	struct zw_ctx *c = context(
		(struct zw_ctx_options){.context = LENGTH, .max_seqs = 4, .batch = 64, .top_k = 4});
	struct zw_sched *s = sched(c, (struct zw_sched_options){0});
	struct job j[4] = {
		{.max_tokens = 20, .prompt = {7}, .n = 1, .flags = IGNORE, .on_token = fork_here},
		{.max_tokens = 20, .prompt = {8}, .n = 1, .flags = IGNORE, .on_token = cancel_here},
		{.max_tokens = 50, .prompt = {9}, .n = 1, .flags = IGNORE}};
	uint32_t all = blocks_free(c);

	current = s;
	next_job = &j[3];
	for (uint32_t i = 0; i < 3; i++)
		added(s, &j[i], 0);
	while (!j[3].ends)
		stepped(s);
	assert_int_equal(j[1].finish, ZW_FINISH_CANCEL);
	assert_int_equal(j[1].num, 7);
	assert_int_equal(j[2].ends, 0);
	zw_sched_destroy(s);
	assert_int_equal(j[2].finish, ZW_FINISH_CANCEL);
	for (uint32_t i = 0; i < 4; i++) {
		assert_int_equal(j[i].ends, 1);
		check_alone(&j[i], LENGTH);
		zw_sampler_close(j[i].sampler);
	}
	assert_int_equal(blocks_free(c), all);
	zw_sched_destroy(NULL);
	zw_ctx_destroy(c);
}

/* What one has computed another one shares at once: the rest alone is computed. */
static void test_fork(void **state)
{
	static const uint32_t keep[] = {103, 100, 64, 50, 1, 0}, more[] = {0, 3, 0, 0, 0, 2};
	struct zw_ctx *c = context((struct zw_ctx_options){
		.context = LENGTH, .max_seqs = 7, .batch = 128, .top_k = 4});
	struct zw_sched *s = sched(c, (struct zw_sched_options){0});
	struct job j[7] = {{.max_tokens = 30, .n = 100, .flags = IGNORE}};
	struct zw_error err = {""};

	for (uint32_t i = 0; i < j[0].n; i++)
		j[0].prompt[i] = pick(V);
	added(s, &j[0], 0);
	while (j[0].num < 3)
		stepped(s);
	for (uint32_t i = 1; i < 7; i++) {
		struct zw_request_params p;
		const uint32_t *ids;

		j[i] = (struct job){.kind = i % KINDS, .seed = i, .max_tokens = 9, .flags = IGNORE};
		assert_int_equal(zw_sched_tokens(s, j[0].id, &ids), 103);
		memcpy(j[i].prompt, ids, keep[i - 1] * sizeof(*ids));
		for (j[i].n = keep[i - 1]; j[i].n < keep[i - 1] + more[i - 1];)
			j[i].prompt[j[i].n++] = pick(V);
		p = params_of(&j[i]);
		if (zw_sched_fork(s, j[0].id, keep[i - 1], &p, j[i].prompt + keep[i - 1],
				  more[i - 1], &j[i].id, &err))
			fail_msg("%s", err.msg);
	}
	/* Recurrent state can be shared where it is, not where it was. */
	assert_int_equal(stats_of(s).running, fix.s.next ? 4 : 7);
	while (stepped(s))
		;
	/* One token for the sake of its outputs, or those that it does not share. */
	assert_int_equal(stats_of(s).prompt_tokens,
			 100 + 1 + 3 + 1 + 1 + 1 + 2 + (fix.s.next ? 100 + 63 + 49 : 0));
	for (uint32_t i = 0; i < 7; i++) {
		check_alone(&j[i], LENGTH);
		zw_sampler_close(j[i].sampler);
	}
	zw_sched_destroy(s);
	zw_ctx_destroy(c);
}

static void *cancel_all(void *opaque)
{
	struct zw_sched *s = opaque;

	for (uint64_t i = 1; i <= 40; i += 2)
		assert_int_equal(zw_sched_cancel(s, i), 0);
	return NULL;
}

static void test_threads(void **state)
{
	struct zw_ctx *c = context((struct zw_ctx_options){
		.context = LENGTH, .max_seqs = 16, .batch = 64, .top_k = 4});
	struct zw_sched *s = sched(c, (struct zw_sched_options){0});
	struct job *j = calloc(40, sizeof(*j));
	pthread_t thread;

	for (uint32_t i = 0; i < 40; i++) {
		j[i] = random_job();
		j[i].max_tokens = 30;
		added(s, &j[i], 0);
	}
	for (uint32_t k = 0; k < 5; k++)
		stepped(s);
	assert_int_equal(pthread_create(&thread, NULL, cancel_all, s), 0);
	while (stepped(s))
		;
	pthread_join(thread, NULL);
	for (uint32_t i = 0; i < 40; i++) {
		assert_int_equal(j[i].ends, 1);
		if (i % 2)
			assert_int_not_equal(j[i].finish, ZW_FINISH_CANCEL);
		check_alone(&j[i], LENGTH);
		zw_sampler_close(j[i].sampler);
	}
	free(j);
	zw_sched_destroy(s);
	zw_ctx_destroy(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many),       cmocka_unit_test(test_order),
		cmocka_unit_test(test_chunks),     cmocka_unit_test(test_small_pool),
		cmocka_unit_test(test_swap_limit), cmocka_unit_test(test_failures),
		cmocka_unit_test(test_callbacks),  cmocka_unit_test(test_fork),
		cmocka_unit_test(test_threads),    cmocka_unit_test(test_many_drafted),
		cmocka_unit_test(test_ahead),      cmocka_unit_test(test_drafts_of_head),
	};

	return cmocka_run_group_tests_name("sched", tests, open_all, close_all);
}

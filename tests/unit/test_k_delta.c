// SPDX-License-Identifier: MIT
/* Recurrent layers: bits against the specification, error against double precision, cuts of a sequence
 * into packets, states, refusals. */
#include "test_k_util.h"

#include "zw_k_math.h"

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

/* --- convolution --- */

struct conv {
	struct zw_k_conv_args args;
	struct zw_k_state_run runs[8];
	void *x, *w, *y, *from[8], *keep; /* keep: a state for each row, dense */
	void **to;
	size_t y_bytes, state_bytes;
};

static int run_conv(void *arg, struct zw_pool *pool)
{
	return zw_k_conv(&((struct conv *)arg)->args, pool);
}

static void reset_conv(void *arg)
{
	struct conv *c = arg;

	memset(c->y, 0x5a, c->y_bytes);
}

/* Runs of 1, 2, ... rows; every second starts from zeros; every state is kept. */
static void conv_init(struct conv *c, uint32_t n_runs, uint32_t n, uint32_t taps, uint32_t tx,
		      uint32_t ty, uint32_t ts, uint32_t slack)
{
	uint32_t rows = n_runs * (n_runs + 1) / 2, at = 0;

	memset(c, 0, sizeof(*c));
	c->state_bytes = (size_t)(taps - 1) * n * k_size(ts);
	c->y_bytes = ((size_t)(rows - 1) * (n + slack) + n) * k_size(ty);
	c->x = k_array(tx, (size_t)rows * (n + slack));
	c->w = k_array(BF16, (size_t)n * (taps + slack));
	/* y and the states in one piece, so that one comparison sees both */
	c->y_bytes = (c->y_bytes + 63) & ~(size_t)63;
	c->y = malloc(c->y_bytes + rows * c->state_bytes);
	assert_non_null(c->y);
	c->keep = (char *)c->y + c->y_bytes;
	c->to = calloc(rows, sizeof(*c->to));
	for (uint32_t r = 0; r < rows; r++)
		c->to[r] = (char *)c->keep + r * c->state_bytes;
	for (uint32_t i = 0; i < n_runs; i++) {
		c->from[i] = i % 2 ? NULL : k_array(ts, (size_t)(taps - 1) * n);
		c->runs[i] =
			(struct zw_k_state_run){.first = at, .count = i + 1, .from = c->from[i]};
		at += i + 1;
	}
	c->args = (struct zw_k_conv_args){
		.rows = rows,
		.n = n,
		.taps = taps,
		.x = {.ptr = c->x, .dtype = tx, .ld = n + slack},
		.w = {.ptr = c->w, .dtype = BF16, .ld = taps + slack},
		.y = {.ptr = c->y, .dtype = ty, .ld = n + slack},
		.states = {.runs = c->runs, .n_runs = n_runs, .dtype = ts, .to = c->to},
	};
}

static void conv_fini(struct conv *c)
{
	for (size_t i = 0; i < N_OF(c->from); i++)
		free(c->from[i]);
	free(c->x);
	free(c->w);
	free(c->y);
	free(c->to);
}

/* Input `back` rows before row r of a run; before the run, what its state holds. */
static float input(const struct conv *c, const struct zw_k_state_run *run, uint32_t r,
		   uint32_t back, uint32_t ch)
{
	const struct zw_k_conv_args *a = &c->args;

	if (back <= r)
		return k_get(c->x, a->x.dtype, (run->first + r - back) * a->x.ld + ch);
	if (!run->from)
		return 0.0f;
	return k_get(run->from, a->states.dtype, (size_t)(a->taps - 1 - (back - r)) * a->n + ch);
}

static void verify_conv(const struct conv *c)
{
	const struct zw_k_conv_args *a = &c->args;

	for (uint32_t i = 0; i < a->states.n_runs; i++)
		for (uint32_t r = 0; r < c->runs[i].count; r++)
			for (uint32_t ch = 0; ch < a->n; ch++) {
				const struct zw_k_state_run *run = &c->runs[i];
				uint32_t row = run->first + r;
				double exact = 0, magnitude = 0, bound, v;
				float s = 0.0f, want = 0;

				for (uint32_t t = 0; t < a->taps; t++) {
					float w = k_get(c->w, BF16, ch * a->w.ld + t);
					float x = input(c, run, r, a->taps - 1 - t, ch);

					s = fmaf(w, x, s);
					exact += (double)w * (double)x;
					magnitude += fabs((double)w * (double)x);
				}
				k_set(&want, a->y.dtype, 0, zw_siluf(s));
				assert_memory_equal((char *)c->y + (row * a->y.ld + ch) *
									   k_size(a->y.dtype),
						    &want, k_size(a->y.dtype));
				/* silu is no steeper than 1.1 */
				v = exact / (1 + exp(-exact));
				bound = 1.1 * a->taps * U32 * magnitude * 1.01 + fabs(v) * 5 * U32;
				bound += (fabs(v) + bound) * U_OF(a->y.dtype) + 0x1p-130;
				assert_true(
					k_close((double)k_get(c->y, a->y.dtype, row * a->y.ld + ch),
						v, bound));
				for (uint32_t t = 0; t + 1 < a->taps; t++)
					assert_true(k_get(c->to[row], a->states.dtype,
							  (size_t)t * a->n + ch) ==
						    input(c, run, r, a->taps - 2 - t, ch));
			}
}

static void test_conv(void **state)
{
	static const uint32_t ns[] = {1, 7, 8, 33, 1024, 1025, 2500};
	/* x, y, state */
	static const uint32_t types[][3] = {
		{F32, F32, F32}, {BF16, BF16, BF16}, {BF16, F32, F32}, {F32, BF16, F32}};
	unsigned int i = 0;

	for (size_t t = 0; t < N_OF(types); t++)
		for (size_t l = 0; l < N_OF(ns); l++, i++) {
			static const uint32_t taps[] = {4, 2, 3, 16, 5};
			struct conv c;

			conv_init(&c, 1 + i % 8, ns[l], taps[i % 5], types[t][0], types[t][1],
				  types[t][2], i % 3);
			k_all_configs(run_conv, &c, reset_conv, c.y,
				      c.y_bytes + c.args.rows * c.state_bytes);
			verify_conv(&c);
			for (uint32_t r = 0; r + 1 < c.args.rows; r++)
				for (size_t b = ns[l]; b < c.args.y.ld; b++)
					assert_int_equal(
						((unsigned char *)c.y)[(r * c.args.y.ld + b) *
								       k_size(types[t][1])],
						0x5a);
			conv_fini(&c);
		}
}

/* One run of 36 rows, whole, and in pieces of every length that go on from kept states, in place. */
static void test_conv_cuts(void **state)
{
	struct zw_pool *pool = zw_pool_new(2);
	struct conv c;
	void *x, *s;
	void *to[36];

	conv_init(&c, 8, 40, 4, BF16, BF16, BF16, 0);
	c.runs[0].count = 36;
	c.args.states.n_runs = 1;
	reset_conv(&c);
	assert_int_equal(run_conv(&c, pool), 0);
	verify_conv(&c);
	x = malloc(36 * 40 * 2);
	s = malloc(c.state_bytes);
	for (uint32_t piece = 1; piece <= 36; piece++) {
		memcpy(x, c.x, 36 * 40 * 2);
		memcpy(s, c.from[0], c.state_bytes);
		for (uint32_t r = 0; r < 36; r += piece) {
			uint32_t n = 36 - r < piece ? 36 - r : piece;
			struct zw_k_state_run run = {.count = n, .from = s};
			struct zw_k_conv_args a = c.args;

			memset(to, 0, sizeof(to));
			to[n - 1] = s;
			a.rows = n;
			a.x.ptr = a.y.ptr = (uint16_t *)x + r * 40;
			a.states.runs = &run;
			a.states.to = to;
			assert_int_equal(zw_k_conv(&a, pool), 0);
		}
		assert_memory_equal(x, c.y, 36 * 40 * 2);
		assert_memory_equal(s, c.to[35], c.state_bytes);
	}
	free(x);
	free(s);
	conv_fini(&c);
	zw_pool_free(pool);
}

static void test_conv_refusals(void **state)
{
	struct zw_pool *pool = zw_pool_new(2);
	struct zw_k_conv_args bad;
	struct conv c;
	char *before;

	conv_init(&c, 3, 20, 4, BF16, BF16, BF16, 0);
	reset_conv(&c);
	before = malloc(c.y_bytes);
	memcpy(before, c.y, c.y_bytes);
#define REFUSED(err, change)                                                                       \
	do {                                                                                       \
		bad = c.args;                                                                      \
		change;                                                                            \
		assert_int_equal(zw_k_conv(&bad, pool), err);                                      \
		assert_memory_equal(before, c.y, c.y_bytes);                                       \
	} while (0)
	REFUSED(-EINVAL, bad.taps = 1);
	REFUSED(-EINVAL, bad.taps = 17);
	REFUSED(-EINVAL, bad.rows = 5);
	REFUSED(-EINVAL, bad.rows = 7);
	REFUSED(-EINVAL, bad.states.n_runs = 2);
	REFUSED(-EINVAL, bad.states.to = NULL);
	REFUSED(-EINVAL, bad.x.ptr = NULL);
	REFUSED(-EINVAL, bad.y.ptr = (uint16_t *)c.x + 1);
	REFUSED(-EINVAL, bad.y.ptr = c.w);
	REFUSED(-EOPNOTSUPP, bad.states.dtype = ZW_DTYPE_F16);
	REFUSED(-EOPNOTSUPP, bad.x.dtype = F32; bad.x.ptr = NULL);
	REFUSED(-EOPNOTSUPP, bad.w.dtype = ZW_DTYPE_I8);
	c.runs[1].first = 2;
	REFUSED(-EINVAL, );
	c.runs[1].first = 1;
	bad = c.args;
	bad.rows = bad.states.n_runs = 0;
	assert_int_equal(zw_k_conv(&bad, pool), 0);
	assert_memory_equal(before, c.y, c.y_bytes);
#undef REFUSED
	assert_int_equal(run_conv(&c, pool), 0);
	free(before);
	conv_fini(&c);
	zw_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_conv),
		cmocka_unit_test(test_conv_cuts),
		cmocka_unit_test(test_conv_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

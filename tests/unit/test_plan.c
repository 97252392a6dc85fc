// SPDX-License-Identifier: MIT
/* Load plans: every transform against a plain computation, through the copier into device memory. */
#include "dev_test.h"
#include "llm_fixture.h"

#include <math.h>

#include "dequant.h"
#include "llm_mem_source.h"

static struct zw_dev *dev;
static struct zw_vm *vm;

static uint16_t bf16_bits(float f)
{
	uint32_t u;

	memcpy(&u, &f, 4);
	return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* Value of element i of a tensor: exact in every type. */
static float value(size_t tensor, uint64_t i)
{
	return (float)((int)((i * 7 + tensor * 13) % 97) - 48);
}

static size_t add(struct mem_source *s, const char *name, uint32_t dtype, uint32_t ndim,
		  uint64_t d0, uint64_t d1, uint64_t d2)
{
	struct mem_tensor *t = &s->t[s->n];
	uint64_t n;

	*t = (struct mem_tensor){name, dtype, ndim, {d0, d1, d2}, NULL};
	n = elements(t);
	t->data = malloc(n * 4);
	for (uint64_t i = 0; i < n; i++) {
		float v = value(s->n, i);

		if (dtype == ZW_DTYPE_F32) {
			((float *)t->data)[i] = v;
		} else if (dtype == ZW_DTYPE_BF16) {
			((uint16_t *)t->data)[i] = bf16_bits(v);
		} else {
			/* F16 of a small integer: m * 2^e */
			int e;
			float m = frexpf(fabsf(v), &e);

			((uint16_t *)t->data)[i] =
				(uint16_t)((v < 0 ? 0x8000 : 0) |
					   (v == 0 ? 0
						   : (e + 14) << 10 | ((int)(m * 2048) & 1023)));
		}
	}
	return s->n++;
}

static void source_free(struct mem_source *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->t[i].data);
}

static float element(const struct zw_tensor *t, const char *data, uint64_t va, uint64_t i)
{
	const char *p = data + (t->va - va) + i * zw_dtype_bits(t->dtype) / 8;
	uint32_t u = 0;
	float f;

	memcpy((char *)&u + (t->dtype == ZW_DTYPE_F32 ? 0 : 2), p, zw_dtype_bits(t->dtype) / 8);
	memcpy(&f, &u, 4);
	return f;
}

static void expect(const struct zw_tensor *t, const char *data, uint64_t va, uint32_t dtype,
		   uint32_t rows, uint32_t cols, float (*want)(uint64_t row, uint64_t col))
{
	assert_int_equal(t->dtype, dtype);
	assert_int_equal(t->dim[0], rows);
	assert_int_equal(t->ndim, cols ? 2 : 1);
	if (cols)
		assert_int_equal(t->dim[1], cols);
	assert_int_equal(t->va % LLM_ALIGN, 0);
	for (uint32_t r = 0; r < rows; r++) {
		for (uint32_t c = 0; c < (cols ? cols : 1); c++) {
			uint64_t i = (uint64_t)r * (cols ? cols : 1) + c;

			if (element(t, data, va, i) != want(r, c))
				fail_msg("[%u, %u]: %g, not %g", r, c,
					 (double)element(t, data, va, i), (double)want(r, c));
		}
	}
}

/* A [24, 10] BF16, B [6, 10] F32, C [12] F16, D [3, 4, 10] BF16, E [4, 8] I32. */
enum { A, B, C, D, E };

static struct mem_source source(void)
{
	struct mem_source s = {.base = {&mem_ops, (char *)"mem"}, .broken = -1};

	add(&s, "a", ZW_DTYPE_BF16, 2, 24, 10, 0);
	add(&s, "b", ZW_DTYPE_F32, 2, 6, 10, 0);
	add(&s, "c", ZW_DTYPE_F16, 1, 12, 0, 0);
	add(&s, "d", ZW_DTYPE_BF16, 3, 3, 4, 10);
	add(&s, "e", ZW_DTYPE_I32, 2, 4, 8, 0);
	return s;
}

static float want_whole(uint64_t r, uint64_t c)
{
	return value(A, r * 10 + c);
}

static float want_slice(uint64_t r, uint64_t c)
{
	return value(A, (r + 5) * 10 + c + 3);
}

/* Rows 4..6, 12..14, 20..22: three of every eight. */
static float want_stride(uint64_t r, uint64_t c)
{
	return value(A, (4 + r / 3 * 8 + r % 3) * 10 + c);
}

static float want_stacked(uint64_t r, uint64_t c)
{
	if (r < 2)
		return value(A, r * 10 + c);
	return r < 8 ? value(B, (r - 2) * 10 + c) : value(D, (r - 8) * 10 + c);
}

static float want_plus_one(uint64_t r, uint64_t c)
{
	return value(C, r) + 1;
}

static float want_narrow(uint64_t r, uint64_t c)
{
	return value(B, r * 10 + c);
}

static void test_transforms(void **state)
{
	struct mem_source s = source();
	struct llm_plan p = {.src = &s.base};
	struct zw_tensor whole, slice, stride, stacked, plus, narrow;
	struct llm_take take[3];
	struct zw_buffer buf;
	char *data;

	take[0] = (struct llm_take){.tensor = A};
	assert_int_equal(llm_plan_add(&p, &whole, 0, take, 1, NULL), 0);
	take[0] = (struct llm_take){.tensor = A, .first = 5, .run = 7, .col = 3, .cols = 4};
	assert_int_equal(llm_plan_add(&p, &slice, 0, take, 1, NULL), 0);
	take[0] = (struct llm_take){.tensor = A, .first = 4, .run = 3, .step = 8, .count = 3};
	assert_int_equal(llm_plan_add(&p, &stride, 0, take, 1, NULL), 0);
	/* Three tensors of two types become one of the wider type; the last one has a third dimension. */
	take[0] = (struct llm_take){.tensor = A, .run = 2};
	take[1] = (struct llm_take){.tensor = B};
	take[2] = (struct llm_take){.tensor = D};
	assert_int_equal(llm_plan_add(&p, &stacked, 0, take, 3, NULL), 0);
	take[0] = (struct llm_take){.tensor = C, .add = 1};
	assert_int_equal(llm_plan_add(&p, &plus, ZW_DTYPE_BF16, take, 1, NULL), 0);
	take[0] = (struct llm_take){.tensor = B};
	assert_int_equal(llm_plan_add(&p, &narrow, ZW_DTYPE_BF16, take, 1, NULL), 0);
	assert_int_equal(p.parameters, 240 + 28 + 90 + 200 + 12 + 60);
	data = mem_run(vm, &p, &buf);
	expect(&whole, data, buf.va, ZW_DTYPE_BF16, 24, 10, want_whole);
	expect(&slice, data, buf.va, ZW_DTYPE_BF16, 7, 4, want_slice);
	expect(&stride, data, buf.va, ZW_DTYPE_BF16, 9, 10, want_stride);
	expect(&stacked, data, buf.va, ZW_DTYPE_F32, 20, 10, want_stacked);
	expect(&plus, data, buf.va, ZW_DTYPE_BF16, 12, 0, want_plus_one);
	expect(&narrow, data, buf.va, ZW_DTYPE_BF16, 6, 10, want_narrow);
	free(data);
	zw_buffer_destroy(&buf);
	llm_plan_fini(&p);
	source_free(&s);
}

/* ---- records ---- */

/* Rows of records of any bits, but for scales, which are from 1 to 2 (Q8_0) and 0.5 to 2 (Q4_K). */
static size_t add_records(struct mem_source *s, const char *name, uint32_t dtype, uint64_t rows,
			  uint64_t cols)
{
	struct mem_tensor *t = &s->t[s->n];
	uint64_t bytes = llm_dtype_bytes(dtype, rows * cols);
	unsigned int per = zw_dtype_block_bytes(dtype);
	uint8_t *p;

	*t = (struct mem_tensor){name, dtype, 2, {rows, cols, 0}, malloc(bytes)};
	p = t->data;
	for (uint64_t i = 0; i < bytes; i++)
		p[i] = (uint8_t)(i * 31 + i / 251 + s->n);
	for (uint64_t i = 0; i < bytes; i += per) {
		p[i + 1] = 0x3c | (p[i + 1] & 3);
		if (dtype == ZW_DTYPE_Q4_K)
			p[i + 3] = 0x38 | (p[i + 3] & 7);
	}
	return s->n++;
}

static float *numbers_of(const struct mem_source *s, size_t i)
{
	uint64_t n = elements(&s->t[i]);
	float *x = malloc(n * sizeof(*x));

	llm_dequant(s->t[i].dtype, s->t[i].data, x, n);
	return x;
}

/* Records stay what they are, in whole ones; or become numbers, of any columns, times and plus something. */
static void test_records(void **state)
{
	struct mem_source s = {.base = {&mem_ops, (char *)"mem"}, .broken = -1};
	struct llm_plan p = {.src = &s.base};
	struct zw_tensor same, slice, stacked, wide, narrow, some, vector;
	struct llm_take take[2];
	struct zw_buffer buf;
	char *data;
	float *x, *y, *z;

	add_records(&s, "q8", ZW_DTYPE_Q8_0, 12, 96);
	add_records(&s, "q4k", ZW_DTYPE_Q4_K, 5, 512);
	add_records(&s, "vector", ZW_DTYPE_Q8_0, 64, 1);
	s.t[2].ndim = 1;
	x = numbers_of(&s, 0);
	y = numbers_of(&s, 1);
	take[0] = (struct llm_take){.tensor = 0};
	assert_int_equal(llm_plan_add(&p, &same, 0, take, 1, NULL), 0);
	take[0] = (struct llm_take){
		.tensor = 0, .first = 1, .run = 2, .step = 4, .count = 3, .col = 32, .cols = 64};
	assert_int_equal(llm_plan_add(&p, &slice, 0, take, 1, NULL), 0);
	take[0] = (struct llm_take){.tensor = 1, .first = 3, .run = 2};
	take[1] = (struct llm_take){.tensor = 1, .run = 1};
	assert_int_equal(llm_plan_add(&p, &stacked, 0, take, 2, NULL), 0);
	take[0] = (struct llm_take){.tensor = 1};
	assert_int_equal(llm_plan_add(&p, &wide, ZW_DTYPE_F32, take, 1, NULL), 0);
	take[0] = (struct llm_take){.tensor = 0, .mul = 3, .add = 1};
	assert_int_equal(llm_plan_add(&p, &narrow, ZW_DTYPE_BF16, take, 1, NULL), 0);
	take[0] = (struct llm_take){.tensor = 1, .first = 1, .run = 3, .col = 250, .cols = 13};
	assert_int_equal(llm_plan_add(&p, &some, ZW_DTYPE_F32, take, 1, NULL), 0);
	take[0] = (struct llm_take){.tensor = 2};
	assert_int_equal(llm_plan_add(&p, &vector, ZW_DTYPE_F32, take, 1, NULL), 0);
	data = mem_run(vm, &p, &buf);

	assert_int_equal(vector.ndim, 1);
	assert_int_equal(vector.dim[0], 64);
	z = numbers_of(&s, 2);
	for (uint64_t i = 0; i < 64; i++)
		assert_true(element(&vector, data, buf.va, i) == z[i]);
	free(z);
	assert_int_equal(same.dtype, ZW_DTYPE_Q8_0);
	assert_int_equal(same.layout, ZW_LAYOUT_BLOCKED);
	assert_int_equal(same.dim[1], 96);
	assert_memory_equal(data + (same.va - buf.va), s.t[0].data, 12 * 3 * 34);
	assert_int_equal(slice.dim[0], 6);
	assert_int_equal(slice.dim[1], 64);
	for (int r = 0; r < 6; r++)
		assert_memory_equal(data + (slice.va - buf.va) + r * 2 * 34,
				    (char *)s.t[0].data + ((1 + r / 2 * 4 + r % 2) * 3 + 1) * 34,
				    2 * 34);
	assert_int_equal(stacked.dtype, ZW_DTYPE_Q4_K);
	assert_int_equal(stacked.dim[0], 3);
	for (int r = 0; r < 3; r++)
		assert_memory_equal(data + (stacked.va - buf.va) + r * 288,
				    (char *)s.t[1].data + (r < 2 ? 3 + r : 0) * 288, 288);
	for (uint64_t i = 0; i < 5 * 512; i++)
		assert_true(element(&wide, data, buf.va, i) == y[i]);
	for (uint64_t i = 0; i < 12 * 96; i++) {
		uint32_t u = (uint32_t)bf16_bits(x[i] * 3 + 1) << 16;
		float f;

		memcpy(&f, &u, 4);
		assert_true(element(&narrow, data, buf.va, i) == f);
	}
	for (uint64_t i = 0; i < 3 * 13; i++)
		assert_true(element(&some, data, buf.va, i) ==
			    y[(1 + i / 13) * 512 + 250 + i % 13]);
	free(data);
	free(x);
	free(y);
	zw_buffer_destroy(&buf);
	llm_plan_fini(&p);
	source_free(&s);
}

static void test_records_refused(void **state)
{
	struct mem_source s = {.base = {&mem_ops, (char *)"mem"}, .broken = -1};
	struct llm_plan p = {.src = &s.base};
	struct zw_tensor dst;
	struct llm_take take[2];
	struct zw_error err;

	add_records(&s, "q8", ZW_DTYPE_Q8_0, 12, 512);
	add_records(&s, "q4k", ZW_DTYPE_Q4_K, 5, 512);
	add(&s, "numbers", ZW_DTYPE_F32, 2, 4, 512, 0);
	take[0] = (struct llm_take){.tensor = 0};
	take[1] = (struct llm_take){.tensor = 1};
	assert_int_equal(llm_plan_add(&p, &dst, 0, take, 2, &err), -EOPNOTSUPP);
	expect_words("two types of records", &err, "q4k|not supported here");
	take[1].tensor = 2;
	assert_int_equal(llm_plan_add(&p, &dst, 0, take, 2, &err), -EOPNOTSUPP);
	expect_words("records and numbers", &err, "numbers|not supported here");
	assert_int_equal(llm_plan_add(&p, &dst, ZW_DTYPE_Q4_K, take, 1, &err), -EOPNOTSUPP);
	expect_words("records to others", &err, "q8|q4_k is not supported");
	assert_int_equal(llm_plan_add(&p, &dst, ZW_DTYPE_Q8_0, take + 1, 1, &err), -EOPNOTSUPP);
	expect_words("quantising", &err, "numbers|q8_0 is not supported");
	take[0].add = 1;
	assert_int_equal(llm_plan_add(&p, &dst, 0, take, 1, &err), -EOPNOTSUPP);
	expect_words("records plus something", &err, "q8");
	take[0] = (struct llm_take){.tensor = 0, .col = 8, .cols = 32};
	assert_int_equal(llm_plan_add(&p, &dst, 0, take, 1, &err), -EOPNOTSUPP);
	expect_words("from inside of a record", &err, "q8|records");
	take[0] = (struct llm_take){.tensor = 0, .cols = 40};
	assert_int_equal(llm_plan_add(&p, &dst, 0, take, 1, &err), -EOPNOTSUPP);
	expect_words("into a record", &err, "q8|records");
	llm_plan_fini(&p);
	source_free(&s);
}

/* One tensor split over destinations, as a fused projection is; more bytes than the staging has. */
static float want_large(uint64_t r, uint64_t c)
{
	return value(0, (2 * r + 1) * 1000 + c);
}

static float want_other(uint64_t r, uint64_t c)
{
	return value(0, 2 * r * 1000 + c);
}

static void test_large(void **state)
{
	struct mem_source s = {.base = {&mem_ops, (char *)"mem"}, .broken = -1};
	struct llm_plan p = {.src = &s.base};
	struct zw_tensor odd, even;
	struct llm_take take;
	struct zw_buffer buf;
	char *data;

	add(&s, "large", ZW_DTYPE_BF16, 2, 20000, 1000, 0); /* 40 MB */
	take = (struct llm_take){.tensor = 0, .first = 1, .run = 1, .step = 2, .count = 10000};
	assert_int_equal(llm_plan_add(&p, &odd, 0, &take, 1, NULL), 0);
	take.first = 0;
	assert_int_equal(llm_plan_add(&p, &even, 0, &take, 1, NULL), 0);
	data = mem_run(vm, &p, &buf);
	expect(&odd, data, buf.va, ZW_DTYPE_BF16, 10000, 1000, want_large);
	expect(&even, data, buf.va, ZW_DTYPE_BF16, 10000, 1000, want_other);
	free(data);
	zw_buffer_destroy(&buf);
	llm_plan_fini(&p);
	source_free(&s);
}

/* Rounding to BF16 is to nearest even, NaN stays NaN; F16 subnormals and infinities widen exactly. */
static void test_values(void **state)
{
	static const uint32_t f32[] = {0x3f808000, 0x3f818000, 0x3f808001, 0x7f7fffff,
				       0x7f800001, 0xffc12345, 0x00000001, 0x80000000};
	static const uint16_t bf16[] = {0x3f80, 0x3f82, 0x3f81, 0x7f80,
					0x7fc0, 0x7fc0, 0x0000, 0x8000};
	/* Halfway cases, the largest, the first that is too large, subnormals, what vanishes. */
	static const uint32_t narrow[] = {
		0x3f801000, 0x3f803000, 0x3f801001, 0x477fefff, 0x477ff000, 0x7f800001, 0xff800000,
		0x33800000, 0x33000000, 0x33000001, 0xb87fe000, 0x387fffff, 0x80000000, 0x32000000};
	static const uint16_t narrowed[] = {0x3c00, 0x3c02, 0x3c01, 0x7bff, 0x7c00, 0x7e00, 0xfc00,
					    0x0001, 0x0000, 0x0001, 0x8400, 0x0400, 0x8000, 0x0000};
	static const uint16_t f16[] = {0x0001, 0x83ff, 0x7c00, 0xfc00, 0x3c01, 0x8000};
	static const float wide[] = {0x1p-24f,  -1023 * 0x1p-24f, INFINITY,
				     -INFINITY, 1 + 0x1p-10f,     -0.0f};
	struct mem_source s = {.base = {&mem_ops, (char *)"mem"}, .broken = -1};
	struct llm_plan p = {.src = &s.base};
	struct zw_tensor a, b, c;
	struct llm_take take = {.tensor = 0};
	struct zw_buffer buf;
	char *data;

	add(&s, "f32", ZW_DTYPE_F32, 1, 8, 0, 0);
	memcpy(s.t[0].data, f32, sizeof(f32));
	add(&s, "f16", ZW_DTYPE_F16, 1, 6, 0, 0);
	memcpy(s.t[1].data, f16, sizeof(f16));
	assert_int_equal(llm_plan_add(&p, &a, ZW_DTYPE_BF16, &take, 1, NULL), 0);
	add(&s, "narrow", ZW_DTYPE_F32, 1, 14, 0, 0);
	memcpy(s.t[2].data, narrow, sizeof(narrow));
	take.tensor = 1;
	assert_int_equal(llm_plan_add(&p, &b, ZW_DTYPE_F32, &take, 1, NULL), 0);
	take.tensor = 2;
	assert_int_equal(llm_plan_add(&p, &c, ZW_DTYPE_F16, &take, 1, NULL), 0);
	data = mem_run(vm, &p, &buf);
	assert_memory_equal(data + (c.va - buf.va), narrowed, sizeof(narrowed));
	assert_memory_equal(data + (a.va - buf.va), bf16, sizeof(bf16));
	assert_memory_equal(data + (b.va - buf.va), wide, sizeof(wide));
	free(data);
	zw_buffer_destroy(&buf);
	llm_plan_fini(&p);
	source_free(&s);
}

static void test_refused(void **state)
{
	struct mem_source s = source();
	const struct {
		struct llm_take take[2];
		size_t n;
		uint32_t dtype;
		int code;
		const char *words;
	} bad[] = {
		{{{.tensor = E}}, 1, 0, -EOPNOTSUPP, "tensor e|not supported here"},
		{{{.tensor = E}}, 1, ZW_DTYPE_BF16, -EOPNOTSUPP, "tensor e|X to bf16"},
		{{{.tensor = A}}, 1, ZW_DTYPE_I8, -EOPNOTSUPP, "tensor a|X to i8"},
		{{{.tensor = E,
		   .unpack = {.kind = LLM_UNPACK_TURN, .order = LLM_PACK_DOWN, .bits = 4}}},
		 1,
		 ZW_DTYPE_BF16,
		 -EOPNOTSUPP,
		 "tensor e|X to bf16"},
		/* As [8, 32]. */
		{{{.tensor = E,
		   .first = 4,
		   .run = 5,
		   .unpack = {.kind = LLM_UNPACK_TURN, .order = LLM_PACK_DOWN, .bits = 4}}},
		 1,
		 ZW_DTYPE_U4,
		 -EINVAL,
		 "outside"},
		{{{.tensor = E,
		   .col = 8,
		   .cols = 8,
		   .unpack = {.kind = LLM_UNPACK_TURN, .order = LLM_PACK_DOWN, .bits = 4}}},
		 1,
		 ZW_DTYPE_U4,
		 -EINVAL,
		 "outside"},
		{{{.tensor = C,
		   .run = 25,
		   .unpack = {.kind = LLM_UNPACK_REPEAT, .block = 2, .per = 1}}},
		 1,
		 ZW_DTYPE_F32,
		 -EINVAL,
		 "outside"},
		{{{.tensor = A, .first = 20, .run = 5}}, 1, 0, -EINVAL, "tensor a|outside"},
		{{{.tensor = A, .run = 4, .step = 8, .count = 4}}, 1, 0, -EINVAL, "outside"},
		{{{.tensor = A, .run = 1, .step = UINT64_MAX, .count = 3}},
		 1,
		 0,
		 -EINVAL,
		 "outside"},
		{{{.tensor = A, .col = 8, .cols = 3}}, 1, 0, -EINVAL, "outside"},
		{{{.tensor = A}, {.tensor = A, .cols = 9}}, 2, 0, -EINVAL, "9 columns beside 10"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct llm_plan p = {.src = &s.base};
		struct zw_tensor dst;
		struct zw_error err = {""};

		if (llm_plan_add(&p, &dst, bad[i].dtype, bad[i].take, bad[i].n, &err) !=
		    bad[i].code)
			fail_msg("%zu: %s", i, err.msg);
		expect_words(bad[i].words, &err, bad[i].words);
		llm_plan_fini(&p);
	}
	source_free(&s);
}

/* ---- tensors of quantised matrices ---- */

/* The matrix that they stand for: 12 bits of nothing in particular at row n, column k. */
static uint32_t secret(uint64_t n, uint64_t k)
{
	return (uint32_t)((n * 2654435761u + k * 40503u) >> 7 & 4095);
}

static uint32_t *words(struct mem_source *s, const char *name, uint64_t rows, uint64_t cols)
{
	size_t t = add(s, name, ZW_DTYPE_I32, 2, rows, cols, 0);

	memset(s->t[t].data, 0, rows * cols * 4);
	return s->t[t].data;
}

/* Row i of a destination of 13 rows is row 3 + i of the matrix, then again with 6 more between. */
static uint64_t row_of(uint64_t i)
{
	return 3 + i % 7 + i / 7 * 13;
}

static unsigned int packed_at(const char *data, uint64_t i, unsigned int bits)
{
	return (unsigned int)(uint8_t)data[i * bits / 8] >> (bits == 4 ? i % 2 * 4 : 0) &
	       ((1u << bits) - 1);
}

static void test_unpack(void **state)
{
	enum { N = 24, K = 32, G = 5, ROWS = 14 };
	static const unsigned int awq[8] = {0, 2, 4, 6, 1, 3, 5, 7};
	struct mem_source s = {.base = {&mem_ops, (char *)"mem"}, .broken = -1};
	struct llm_plan p = {.src = &s.base};
	struct llm_take take = {.first = 3, .run = 7, .step = 13, .count = 2};
	struct zw_tensor down4, down8, along, awq4, awq8, flip4, turned;
	struct zw_buffer buf;
	uint32_t *w;
	char *data;

	w = words(&s, "down4", K / 8, N);
	for (uint64_t i = 0; i < N * K; i++)
		w[i / N / 8 * N + i % N] |= (secret(i % N, i / N) & 15) << i / N % 8 * 4;
	w = words(&s, "down8", K / 4, N);
	for (uint64_t i = 0; i < N * K; i++)
		w[i / N / 4 * N + i % N] |= (secret(i % N, i / N) & 255) << i / N % 4 * 8;
	w = words(&s, "along", G, N / 8);
	for (uint64_t i = 0; i < N * G; i++)
		w[i / N * (N / 8) + i % N / 8] |= (secret(i % N, i / N) & 15) << i % 8 * 4;
	w = words(&s, "awq", K, N / 8);
	for (uint64_t k = 0; k < K; k++) {
		for (uint64_t i = 0; i < N; i++)
			w[k * (N / 8) + i / 8] |= (secret(i / 8 * 8 + awq[i % 8], k) & 15)
						  << i % 8 * 4;
	}
	w = words(&s, "flip", N, K / 8);
	for (uint64_t i = 0; i < N * K; i++)
		w[i / 8] |= ((secret(i / K, i % K) + 8) & 15) << i % 8 * 4;
	add(&s, "turn", ZW_DTYPE_F16, 2, G, N, 0);

	take.unpack =
		(struct llm_unpack){.kind = LLM_UNPACK_TURN, .order = LLM_PACK_DOWN, .bits = 4};
	assert_int_equal(llm_plan_add(&p, &down4, ZW_DTYPE_U4, &take, 1, NULL), 0);
	take.tensor = 1;
	take.unpack.bits = 8;
	take.unpack.plus = -128;
	assert_int_equal(llm_plan_add(&p, &down8, ZW_DTYPE_I8, &take, 1, NULL), 0);
	take.tensor = 2;
	take.unpack = (struct llm_unpack){
		.kind = LLM_UNPACK_TURN, .order = LLM_PACK_RIGHT, .bits = 4, .plus = 1};
	assert_int_equal(llm_plan_add(&p, &along, ZW_DTYPE_U8, &take, 1, NULL), 0);
	take.tensor = 3;
	take.unpack =
		(struct llm_unpack){.kind = LLM_UNPACK_TURN, .order = LLM_PACK_AWQ, .bits = 4};
	assert_int_equal(llm_plan_add(&p, &awq4, ZW_DTYPE_U4, &take, 1, NULL), 0);
	assert_int_equal(llm_plan_add(&p, &awq8, ZW_DTYPE_U8, &take, 1, NULL), 0);
	take.tensor = 4;
	take.unpack = (struct llm_unpack){.kind = LLM_UNPACK_BITS, .flip = 0x88};
	assert_int_equal(llm_plan_add(&p, &flip4, ZW_DTYPE_I4, &take, 1, NULL), 0);
	take.tensor = 5;
	take.unpack = (struct llm_unpack){.kind = LLM_UNPACK_TURN};
	assert_int_equal(llm_plan_add(&p, &turned, ZW_DTYPE_F32, &take, 1, NULL), 0);

	data = mem_run(vm, &p, &buf);
	assert_int_equal(down4.dim[0], ROWS);
	assert_int_equal(down4.dim[1], K);
	assert_int_equal(along.dim[1], G);
	assert_int_equal(flip4.dim[1], K);
	for (uint64_t i = 0; i < ROWS; i++) {
		for (uint64_t k = 0; k < K; k++) {
			uint64_t at = i * K + k;
			uint32_t q = secret(row_of(i), k);

#define AT(t) (data + ((t).va - buf.va))
			assert_int_equal(packed_at(AT(down4), at, 4), q & 15);
			assert_int_equal(packed_at(AT(down8), at, 8), (q - 128) & 255);
			assert_int_equal(packed_at(AT(awq4), at, 4), q & 15);
			assert_int_equal(packed_at(AT(awq8), at, 8), q & 15);
			/* 0 is -8 + 8: back in two's complement. */
			assert_int_equal(packed_at(AT(flip4), at, 4), q & 15);
			if (k >= G)
				continue;
			assert_int_equal(packed_at(AT(along), i * G + k, 8), (q & 15) + 1);
			if (element(&turned, data, buf.va, i * G + k) !=
			    value(5, k * N + row_of(i)))
				fail_msg("turned [%u, %u]", (unsigned int)i, (unsigned int)k);
		}
	}
	free(data);
	zw_buffer_destroy(&buf);
	llm_plan_fini(&p);
	source_free(&s);
}

/* A transpose that is read in more than one piece. */
static void test_unpack_large(void **state)
{
	enum { N = 4096, K = 16384 };
	struct mem_source s = {.base = {&mem_ops, (char *)"mem"}, .broken = -1};
	struct llm_plan p = {.src = &s.base};
	struct llm_take take = {
		.first = 1,
		.run = N - 2,
		.unpack = {.kind = LLM_UNPACK_TURN, .order = LLM_PACK_AWQ, .bits = 4},
	};
	struct zw_tensor t;
	struct zw_buffer buf;
	uint32_t *w = words(&s, "awq", K, N / 8);
	char *data;

	for (uint64_t i = 0; i < (uint64_t)K * N / 8; i++)
		w[i] = (uint32_t)i * 2654435761u;
	assert_int_equal(llm_plan_add(&p, &t, ZW_DTYPE_U4, &take, 1, NULL), 0);
	data = mem_run(vm, &p, &buf);
	for (uint64_t n = 0; n < N - 2; n += 5) {
		for (uint64_t k = 0; k < K; k += 37) {
			static const unsigned int place[8] = {0, 4, 1, 5, 2, 6, 3, 7};
			uint32_t word = w[k * (N / 8) + (n + 1) / 8];

			assert_int_equal(packed_at(data, n * K + k, 4),
					 word >> place[(n + 1) % 8] * 4 & 15);
		}
	}
	free(data);
	zw_buffer_destroy(&buf);
	llm_plan_fini(&p);
	source_free(&s);
}

/* Scales of blocks of rows, for fewer rows each; FP8 to F32; numbers from nowhere. */
static void test_scales(void **state)
{
	/* Zero, subnormal, one, the largest, a NaN, and negative. */
	static const uint8_t e4m3[] = {0x00, 0x01, 0x38, 0x7e, 0xb9, 0x87};
	static const float wide[] = {0, 0x1p-9f, 1, 448, -1.125f, -7 * 0x1p-9f};
	static const float values[] = {0.5f, 3};
	struct mem_source s = {.base = {&mem_ops, (char *)"mem"}, .broken = -1};
	struct llm_plan p = {.src = &s.base};
	/* Rows of blocks of 8, four rows a block of the destination: 10 rows from 4 on, and from 24 on. */
	struct llm_take repeat = {.tensor = 0,
				  .first = 4,
				  .run = 12,
				  .step = 20,
				  .count = 2,
				  .unpack = {.kind = LLM_UNPACK_REPEAT, .block = 8, .per = 4}};
	struct llm_take last = {.tensor = 0,
				.first = 24,
				.run = 9,
				.unpack = {.kind = LLM_UNPACK_REPEAT, .block = 8, .per = 8}};
	struct llm_take fp8 = {.tensor = 1, .mul = 4};
	struct zw_tensor a, b, c, d;
	struct zw_buffer buf;
	char *data;

	add(&s, "scales", ZW_DTYPE_BF16, 2, 5, 3, 0);
	add(&s, "fp8", ZW_DTYPE_F8E4M3, 2, 2, 3, 0);
	memcpy(s.t[1].data, e4m3, sizeof(e4m3));
	assert_int_equal(llm_plan_add(&p, &a, ZW_DTYPE_NONE, &repeat, 1, NULL), 0);
	assert_int_equal(llm_plan_add(&p, &b, ZW_DTYPE_F32, &last, 1, NULL), 0);
	assert_int_equal(llm_plan_add(&p, &c, ZW_DTYPE_F32, &fp8, 1, NULL), 0);
	assert_int_equal(llm_plan_add_values(&p, &d, values, 2, NULL), 0);
	data = mem_run(vm, &p, &buf);
	assert_int_equal(a.dtype, ZW_DTYPE_BF16);
	assert_int_equal(a.dim[0], 6);
	assert_int_equal(b.dim[0], 2);
	for (uint32_t i = 0; i < 6; i++) {
		uint64_t row = (4 + i % 3 * 4 + i / 3 * 20) / 8;

		assert_true(element(&a, data, buf.va, i * 3 + 1) == value(0, row * 3 + 1));
		assert_true(element(&c, data, buf.va, i) == 4 * wide[i]);
	}
	assert_true(element(&b, data, buf.va, 2) == value(0, 11));
	assert_true(element(&b, data, buf.va, 5) == value(0, 14));
	assert_memory_equal(data + (d.va - buf.va), values, sizeof(values));
	free(data);
	zw_buffer_destroy(&buf);
	llm_plan_fini(&p);
	source_free(&s);
}

static int stop_at(void *opaque, uint64_t done, uint64_t total)
{
	uint64_t *last = opaque;

	assert_true(done >= *last && done <= total);
	*last = done;
	return done > 0;
}

/* A read that fails and a caller who has enough end the run, both with what they say. */
static void test_ends(void **state)
{
	struct mem_source s = source();
	struct llm_plan p = {.src = &s.base};
	struct llm_take take = {.tensor = A};
	struct zw_tensor a, b;
	struct zw_buffer buf;
	struct zw_copier *c;
	struct zw_error err = {""};
	uint64_t last = 0;

	assert_int_equal(llm_plan_add(&p, &a, 0, &take, 1, NULL), 0);
	take.tensor = B;
	assert_int_equal(llm_plan_add(&p, &b, 0, &take, 1, NULL), 0);
	assert_int_equal(zw_buffer_create(vm, p.bytes, ZW_BO_HBM, &buf), 0);
	assert_int_equal(zw_copier_create(vm, NULL, &c), 0);
	s.broken = B;
	assert_int_equal(llm_plan_run(&p, NULL, NULL, c, buf.va, NULL, NULL, NULL, &err), -EIO);
	expect_words("broken", &err, "mem: broken");
	s.broken = -1;
	assert_int_equal(llm_plan_run(&p, NULL, NULL, c, buf.va, stop_at, &last, NULL, &err),
			 -ECANCELED);
	assert_int_equal(last, 480); /* the first tensor */
	zw_copier_destroy(c);
	zw_buffer_destroy(&buf);
	llm_plan_fini(&p);
	source_free(&s);
}

static int open_device(void **state)
{
	dev = open_dev(NULL);
	return zw_vm_create(dev, &vm);
}

static int close_device(void **state)
{
	assert_int_equal(zw_vm_destroy(vm), 0);
	assert_int_equal(zw_dev_close(dev), 0);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transforms),      cmocka_unit_test(test_records),
		cmocka_unit_test(test_records_refused), cmocka_unit_test(test_large),
		cmocka_unit_test(test_values),          cmocka_unit_test(test_unpack),
		cmocka_unit_test(test_unpack_large),    cmocka_unit_test(test_scales),
		cmocka_unit_test(test_refused),         cmocka_unit_test(test_ends),
	};

	return cmocka_run_group_tests_name("plan", tests, open_device, close_device);
}

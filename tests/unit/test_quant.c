// SPDX-License-Identifier: MIT
/*
 * Quantised matrices through a load plan: for every format random tensors as its files store them, the
 * matrix that the format says they are, and the one that the device's operands mean.
 */
#include "dev_test.h"
#include "llm_fixture.h"

#include <math.h>

#include "llm_mem_source.h"
#include "quant.h"

static struct zw_dev *dev;
static struct zw_vm *vm;

/* ---- numbers ---- */

static uint64_t seed = 88172645463325252ull;

static uint32_t draw(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 16);
}

static double e4m3(uint8_t b)
{
	double m = b & 7, v = b >> 3 & 15 ? (8 + m) * exp2((b >> 3 & 15) - 10) : m * exp2(-9);

	return b & 128 ? -v : v;
}

static double e2m1(unsigned int b)
{
	static const double v[8] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};

	return b & 8 ? -v[b & 7] : v[b & 7];
}

static double f16(uint16_t h)
{
	double m = h & 1023,
	       v = h >> 10 & 31 ? (1024 + m) * exp2((h >> 10 & 31) - 25) : m * exp2(-24);

	return h & 0x8000 ? -v : v;
}

/* Element i of a tensor of any type that occurs. */
static double number(const void *data, uint32_t dtype, uint64_t i)
{
	const uint8_t *b = data;
	uint16_t h;
	uint32_t u;
	float f;

	switch (dtype) {
	case ZW_DTYPE_F32:
		memcpy(&f, b + 4 * i, 4);
		return (double)f;
	case ZW_DTYPE_BF16:
		memcpy(&h, b + 2 * i, 2);
		u = (uint32_t)h << 16;
		memcpy(&f, &u, 4);
		return (double)f;
	case ZW_DTYPE_F16:
		memcpy(&h, b + 2 * i, 2);
		return f16(h);
	case ZW_DTYPE_F8E4M3:
		return e4m3(b[i]);
	case ZW_DTYPE_E8M0:
		return exp2(b[i] - 127);
	case ZW_DTYPE_I8:
		return (int8_t)b[i];
	case ZW_DTYPE_U8:
		return b[i];
	case ZW_DTYPE_F4E2M1:
		return e2m1(b[i / 2] >> i % 2 * 4 & 15);
	case ZW_DTYPE_U4:
		return b[i / 2] >> i % 2 * 4 & 15;
	case ZW_DTYPE_I4:
		return ((b[i / 2] >> i % 2 * 4 & 15) ^ 8) - 8;
	default:
		fail_msg("type %u", dtype);
		return 0;
	}
}

/* ---- what files hold ---- */

/* A tensor of random bits that are numbers. */
static void *random_tensor(struct mem_source *s, const char *name, uint32_t dtype, uint32_t ndim,
			   uint64_t d0, uint64_t d1)
{
	struct mem_tensor *t = &s->t[s->n++];
	uint64_t n;

	*t = (struct mem_tensor){strdup(name), dtype, ndim, {d0, d1, 0}, NULL};
	n = elements(t);
	t->data = malloc(n * 8);
	for (uint64_t i = 0; i < n; i++) {
		uint32_t r = draw();

		switch (dtype) {
		case ZW_DTYPE_F32:
			((float *)t->data)[i] = (float)(1 + r % 1000) / 512;
			break;
		case ZW_DTYPE_BF16:
			((uint16_t *)t->data)[i] = (uint16_t)(0x3c00 + r % 0x300);
			break;
		case ZW_DTYPE_F16:
			((uint16_t *)t->data)[i] = (uint16_t)(r % 0x4000);
			break;
		case ZW_DTYPE_F8E4M3:
			/* 0x7f and 0xff are no numbers. */
			((uint8_t *)t->data)[i] = (uint8_t)((r & 127) == 127 ? 0 : r);
			break;
		case ZW_DTYPE_I32:
			((uint32_t *)t->data)[i] = r;
			break;
		default:
			((uint8_t *)t->data)[i] = (uint8_t)r;
		}
	}
	return t->data;
}

static const struct mem_tensor *named(const struct mem_source *s, const char *matrix,
				      const char *suffix)
{
	char name[80];
	long i;

	snprintf(name, sizeof(name), "%s.%s", matrix, suffix);
	i = mem_find(&s->base, name);
	assert_true(i >= 0);
	return &s->t[i];
}

static uint32_t word(const struct mem_tensor *t, uint64_t row, uint64_t col)
{
	return ((const uint32_t *)t->data)[row * t->dim[1] + col];
}

static double scale_at(const struct mem_source *s, const char *matrix, const char *suffix,
		       uint64_t row, uint64_t col)
{
	const struct mem_tensor *t = named(s, matrix, suffix);

	return number(t->data, t->dtype, row * (t->ndim > 1 ? t->dim[1] : 1) + col);
}

/* One format: how a matrix is stored, and what element [n, k] of it is. */
struct form {
	const char *name;
	struct llm_quant_scheme q;
	void (*make)(struct mem_source *s, const char *matrix, uint64_t n, uint64_t k);
	double (*element)(const struct mem_source *s, const char *matrix, uint64_t n, uint64_t k);
	uint32_t w, scale, zero; /* types on the device */
	uint32_t block[2],
		alone[2]; /* of the scales, where matrices are fused and where one is not */
};

static void put(struct mem_source *s, const char *matrix, const char *suffix, uint32_t dtype,
		uint64_t d0, uint64_t d1)
{
	char name[80];

	snprintf(name, sizeof(name), "%s.%s", matrix, suffix);
	random_tensor(s, name, dtype, d1 ? 2 : 1, d0, d1);
}

static void make_fp8(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	put(s, m, "weight", ZW_DTYPE_F8E4M3, n, k);
	put(s, m, "weight_scale_inv", ZW_DTYPE_BF16, (n + 127) / 128, (k + 127) / 128);
}

static double fp8_element(const struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	const struct mem_tensor *w = named(s, m, "weight");

	return e4m3(((const uint8_t *)w->data)[n * w->dim[1] + k]) *
	       scale_at(s, m, "weight_scale_inv", n / 128, k / 128);
}

static void make_gptq4(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	int32_t *g;

	put(s, m, "qweight", ZW_DTYPE_I32, k / 8, n);
	put(s, m, "scales", ZW_DTYPE_F16, k / 32, n);
	put(s, m, "qzeros", ZW_DTYPE_I32, k / 32, n / 8);
	put(s, m, "g_idx", ZW_DTYPE_I32, k, 0);
	g = named(s, m, "g_idx")->data;
	for (uint64_t i = 0; i < k; i++)
		g[i] = (int32_t)(i / 32);
}

static double gptq4_element(const struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	uint32_t w = word(named(s, m, "qweight"), k / 8, n) >> k % 8 * 4 & 15;
	uint32_t z = word(named(s, m, "qzeros"), k / 32, n / 8) >> n % 8 * 4 & 15;

	/* 15 is what is left of a zero point 0. */
	return ((double)w - (z + 1) % 16) * scale_at(s, m, "scales", k / 32, n);
}

static double gptq4_v2_element(const struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	uint32_t w = word(named(s, m, "qweight"), k / 8, n) >> k % 8 * 4 & 15;
	uint32_t z = word(named(s, m, "qzeros"), k / 32, n / 8) >> n % 8 * 4 & 15;

	return ((double)w - z) * scale_at(s, m, "scales", k / 32, n);
}

/* Columns of groups all over the place: those of experts and of matrices computed as one share an order. */
static void scatter_groups(struct mem_source *s, const char *m, const char *suffix, uint64_t k)
{
	uint64_t step = m[0] == 'e' && m[1] == '1' ? 5 : 7;
	int32_t *g = named(s, m, suffix)->data;

	for (uint64_t i = 0; i < k; i++)
		g[i] = (int32_t)(i * step % k / 32);
}

static int32_t group_at(const struct mem_source *s, const char *m, const char *suffix, uint64_t k)
{
	return ((const int32_t *)named(s, m, suffix)->data)[k];
}

static void make_gptq4_order(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	make_gptq4(s, m, n, k);
	scatter_groups(s, m, "g_idx", k);
}

static double gptq4_order_element(const struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	uint64_t g = (uint64_t)group_at(s, m, "g_idx", k);
	uint32_t w = word(named(s, m, "qweight"), k / 8, n) >> k % 8 * 4 & 15;
	uint32_t z = word(named(s, m, "qzeros"), g, n / 8) >> n % 8 * 4 & 15;

	return ((double)w - (z + 1) % 16) * scale_at(s, m, "scales", g, n);
}

/* All zero points 8: none on the device. */
static void make_gptq4_sym(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	make_gptq4(s, m, n, k);
	memset(named(s, m, "qzeros")->data, 0x77, k / 32 * n / 2);
}

static void make_gptq8(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	put(s, m, "qweight", ZW_DTYPE_I32, k / 4, n);
	put(s, m, "scales", ZW_DTYPE_F16, 1, n);
	put(s, m, "qzeros", ZW_DTYPE_I32, 1, n / 4);
}

static double gptq8_element(const struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	uint32_t w = word(named(s, m, "qweight"), k / 4, n) >> k % 4 * 8 & 255;
	uint32_t z = word(named(s, m, "qzeros"), 0, n / 4) >> n % 4 * 8 & 255;

	return ((double)w - (z + 1) % 256) * scale_at(s, m, "scales", 0, n);
}

/* All zero points 128: none on the device. */
static void make_gptq8_sym(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	make_gptq8(s, m, n, k);
	memset(named(s, m, "qzeros")->data, 127, n);
}

static void make_awq(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	put(s, m, "qweight", ZW_DTYPE_I32, k, n / 8);
	put(s, m, "scales", ZW_DTYPE_F16, k / 64, n);
	put(s, m, "qzeros", ZW_DTYPE_I32, k / 64, n / 8);
}

static double awq_element(const struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	static const uint64_t order[8] = {0, 2, 4, 6, 1, 3, 5, 7};
	uint64_t i = 0;
	uint32_t w, z;

	while (order[i] != n % 8)
		i++;
	w = word(named(s, m, "qweight"), k, n / 8) >> i * 4 & 15;
	z = word(named(s, m, "qzeros"), k / 64, n / 8) >> i * 4 & 15;
	return ((double)w - z) * scale_at(s, m, "scales", k / 64, n);
}

static void make_ints(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	put(s, m, "weight", ZW_DTYPE_I8, n, k);
	put(s, m, "weight_scale", ZW_DTYPE_BF16, n, 1);
}

static double ints_element(const struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	const struct mem_tensor *w = named(s, m, "weight");

	return ((const int8_t *)w->data)[n * w->dim[1] + k] * scale_at(s, m, "weight_scale", n, 0);
}

/* One scale for the whole matrix. */
static void make_floats(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	put(s, m, "weight", ZW_DTYPE_F8E4M3, n, k);
	put(s, m, "weight_scale", ZW_DTYPE_F32, 1, 0);
}

static double floats_element(const struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	const struct mem_tensor *w = named(s, m, "weight");

	return e4m3(((const uint8_t *)w->data)[n * w->dim[1] + k]) *
	       scale_at(s, m, "weight_scale", 0, 0);
}

static void make_packed(struct mem_source *s, const char *m, uint64_t n, uint64_t k, uint64_t per)
{
	int64_t *shape;

	put(s, m, "weight_packed", ZW_DTYPE_I32, n, k / per);
	put(s, m, "weight_scale", ZW_DTYPE_BF16, n, per == 8 ? k / 32 : 1);
	put(s, m, "weight_shape", ZW_DTYPE_I64, 2, 0);
	shape = named(s, m, "weight_shape")->data;
	shape[0] = (int64_t)n;
	shape[1] = (int64_t)k;
}

static void make_packed4(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	make_packed(s, m, n, k, 8);
}

static double packed4_element(const struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	return ((double)(word(named(s, m, "weight_packed"), n, k / 8) >> k % 8 * 4 & 15) - 8) *
	       scale_at(s, m, "weight_scale", n, k / 32);
}

static void make_packed8(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	make_packed(s, m, n, k, 4);
}

static double packed8_element(const struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	return ((double)(word(named(s, m, "weight_packed"), n, k / 4) >> k % 4 * 8 & 255) - 128) *
	       scale_at(s, m, "weight_scale", n, 0);
}

/* Zero points: eight rows to a word. */
static void make_packed4z(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	make_packed(s, m, n, k, 8);
	put(s, m, "weight_zero_point", ZW_DTYPE_I32, n / 8, k / 32);
}

static double packed4z_element(const struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	double zero = word(named(s, m, "weight_zero_point"), n / 8, k / 32) >> n % 8 * 4 & 15;

	return ((double)(word(named(s, m, "weight_packed"), n, k / 8) >> k % 8 * 4 & 15) - zero) *
	       scale_at(s, m, "weight_scale", n, k / 32);
}

static void make_packed4_order(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	make_packed4z(s, m, n, k);
	put(s, m, "weight_g_idx", ZW_DTYPE_I32, k, 0);
	scatter_groups(s, m, "weight_g_idx", k);
}

static double packed4_order_element(const struct mem_source *s, const char *m, uint64_t n,
				    uint64_t k)
{
	uint64_t g = (uint64_t)group_at(s, m, "weight_g_idx", k);
	double zero = word(named(s, m, "weight_zero_point"), n / 8, g) >> n % 8 * 4 & 15;

	return ((double)(word(named(s, m, "weight_packed"), n, k / 8) >> k % 8 * 4 & 15) - zero) *
	       scale_at(s, m, "weight_scale", n, g);
}

/* All of them -1: no order. */
static void make_packed4_none(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	make_packed4(s, m, n, k);
	put(s, m, "weight_g_idx", ZW_DTYPE_I32, k, 0);
	memset(named(s, m, "weight_g_idx")->data, 0xff, k * 4);
}

static void make_ints_order(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	put(s, m, "weight", ZW_DTYPE_I8, n, k);
	put(s, m, "weight_scale", ZW_DTYPE_F16, n, k / 32);
	put(s, m, "weight_g_idx", ZW_DTYPE_I32, k, 0);
	scatter_groups(s, m, "weight_g_idx", k);
}

static double ints_order_element(const struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	const struct mem_tensor *w = named(s, m, "weight");

	return ((const int8_t *)w->data)[n * w->dim[1] + k] *
	       scale_at(s, m, "weight_scale", n, (uint64_t)group_at(s, m, "weight_g_idx", k));
}

static void make_packed8z(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	make_packed(s, m, n, k, 4);
	put(s, m, "weight_zero_point", ZW_DTYPE_I32, n / 4, 1);
}

static double packed8z_element(const struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	double zero = word(named(s, m, "weight_zero_point"), n / 4, 0) >> n % 4 * 8 & 255;

	return ((double)(word(named(s, m, "weight_packed"), n, k / 4) >> k % 4 * 8 & 255) - zero) *
	       scale_at(s, m, "weight_scale", n, 0);
}

/* Of symmetric integers early tools stored zero points, too. */
static void make_ints0(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	make_ints(s, m, n, k);
	put(s, m, "weight_zero_point", ZW_DTYPE_I8, n, 1);
	memset(named(s, m, "weight_zero_point")->data, 0, n);
}

/* Static scales and zero points of activations are not read. */
static void make_intsz(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	make_ints(s, m, n, k);
	put(s, m, "weight_zero_point", ZW_DTYPE_I8, n, 1);
	put(s, m, "input_scale", ZW_DTYPE_BF16, 1, 0);
	put(s, m, "input_zero_point", ZW_DTYPE_I8, 1, 0);
}

static double intsz_element(const struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	const struct mem_tensor *w = named(s, m, "weight");
	const int8_t *zero = named(s, m, "weight_zero_point")->data;

	return (((const int8_t *)w->data)[n * w->dim[1] + k] - zero[n]) *
	       scale_at(s, m, "weight_scale", n, 0);
}

/* One zero point and scale for the whole matrix. */
static void make_intst(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	put(s, m, "weight", ZW_DTYPE_I8, n, k);
	put(s, m, "weight_scale", ZW_DTYPE_F32, 1, 0);
	put(s, m, "weight_zero_point", ZW_DTYPE_I8, 1, 0);
}

static double intst_element(const struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	const struct mem_tensor *w = named(s, m, "weight");

	return (((const int8_t *)w->data)[n * w->dim[1] + k] -
		*(const int8_t *)named(s, m, "weight_zero_point")->data) *
	       scale_at(s, m, "weight_scale", 0, 0);
}

/* FP8 without blocks, scales of activations measured. */
static void make_fp8_tensor(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	make_floats(s, m, n, k);
	put(s, m, "input_scale", ZW_DTYPE_F32, 1, 0);
}

/* Blocks as ModelOpt stores them. */
static void make_blocks4(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	struct mem_tensor *t;

	put(s, m, "weight", ZW_DTYPE_F8E4M3, n, k);
	put(s, m, "weight_scale", ZW_DTYPE_F32, (n + 127) / 128, (k + 127) / 128);
	t = &s->t[s->n - 1];
	t->ndim = 4;
	t->dim[2] = t->dim[1];
	t->dim[1] = t->dim[3] = 1;
}

static double blocks4_element(const struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	const struct mem_tensor *w = named(s, m, "weight");

	return e4m3(((const uint8_t *)w->data)[n * w->dim[1] + k]) *
	       number(named(s, m, "weight_scale")->data, ZW_DTYPE_F32,
		      n / 128 * ((w->dim[1] + 127) / 128) + k / 128);
}

static void make_mxfp8(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	put(s, m, "weight", ZW_DTYPE_F8E4M3, n, k);
	put(s, m, "weight_scale", ZW_DTYPE_U8, n, k / 32);
}

static double mxfp8_element(const struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	const struct mem_tensor *w = named(s, m, "weight");

	return e4m3(((const uint8_t *)w->data)[n * w->dim[1] + k]) *
	       exp2(scale_at(s, m, "weight_scale", n, k / 32) - 127);
}

static void make_fp4(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	put(s, m, "weight_packed", ZW_DTYPE_U8, n, k / 2);
}

static double fp4_at(const struct mem_source *s, const char *m, const char *suffix, uint64_t n,
		     uint64_t k)
{
	const struct mem_tensor *w = named(s, m, suffix);

	return e2m1(((const uint8_t *)w->data)[n * w->dim[1] + k / 2] >> k % 2 * 4 & 15);
}

static void make_nvfp4(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	make_fp4(s, m, n, k);
	put(s, m, "weight_scale", ZW_DTYPE_F8E4M3, n, k / 16);
	put(s, m, "weight_global_scale", ZW_DTYPE_F32, 1, 0);
	put(s, m, "input_global_scale", ZW_DTYPE_F32, 1, 0);
	/* Of a power of two there is an exact reciprocal. */
	*(float *)named(s, m, "weight_global_scale")->data = 8;
}

static double nvfp4_element(const struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	return fp4_at(s, m, "weight_packed", n, k) * scale_at(s, m, "weight_scale", n, k / 16) /
	       scale_at(s, m, "weight_global_scale", 0, 0);
}

/* Global scales that differ from matrix to matrix. */
static void make_nvfp4_own(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	make_nvfp4(s, m, n, k);
	*(float *)named(s, m, "weight_global_scale")->data = n == 64 ? 2 : 16;
}

static void make_modelopt(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	put(s, m, "weight", ZW_DTYPE_U8, n, k / 2);
	put(s, m, "weight_scale", ZW_DTYPE_F8E4M3, n, k / 16);
	put(s, m, "weight_scale_2", ZW_DTYPE_F32, 1, 0);
	put(s, m, "input_scale", ZW_DTYPE_F32, 1, 0);
	*(float *)named(s, m, "weight_scale_2")->data = 0.625f;
}

static double modelopt_element(const struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	return fp4_at(s, m, "weight", n, k) * scale_at(s, m, "weight_scale", n, k / 16) * 0.625;
}

static void make_mxfp4(struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	make_fp4(s, m, n, k);
	put(s, m, "weight_scale", ZW_DTYPE_U8, n, k / 32);
}

static double mxfp4_element(const struct mem_source *s, const char *m, uint64_t n, uint64_t k)
{
	return fp4_at(s, m, "weight_packed", n, k) *
	       exp2(scale_at(s, m, "weight_scale", n, k / 32) - 127);
}

#define Q(f, b, b0, b1, ...)                                                                       \
	{                                                                                          \
		.format = (f), .bits = (b), .block = {(b0), (b1)}, __VA_ARGS__                     \
	}
static const struct form forms[] = {
	{"fp8",
	 Q(LLM_QUANT_FP8, 8, 128, 128, .act = ZW_DTYPE_F8E4M3, .act_block = 128),
	 make_fp8,
	 fp8_element,
	 ZW_DTYPE_F8E4M3,
	 ZW_DTYPE_BF16,
	 0,
	 {32, 128},
	 {128, 128}},
	{"gptq, 4 bits",
	 Q(LLM_QUANT_GPTQ, 4, 1, 32, .zero_add = 1),
	 make_gptq4,
	 gptq4_element,
	 ZW_DTYPE_I4,
	 ZW_DTYPE_F16,
	 ZW_DTYPE_I8,
	 {1, 32},
	 {1, 32}},
	{"gptq v2",
	 Q(LLM_QUANT_GPTQ, 4, 1, 32),
	 make_gptq4,
	 gptq4_v2_element,
	 ZW_DTYPE_I4,
	 ZW_DTYPE_F16,
	 ZW_DTYPE_I8,
	 {1, 32},
	 {1, 32}},
	{"gptq, 8 bits",
	 Q(LLM_QUANT_GPTQ, 8, 1, 0, .zero_add = 1),
	 make_gptq8,
	 gptq8_element,
	 ZW_DTYPE_I8,
	 ZW_DTYPE_F16,
	 ZW_DTYPE_I8,
	 {1, 192},
	 {1, 192}},
	{"gptq, 8 bits, symmetric",
	 Q(LLM_QUANT_GPTQ, 8, 1, 0, .zero_add = 1),
	 make_gptq8_sym,
	 gptq8_element,
	 ZW_DTYPE_I8,
	 ZW_DTYPE_F16,
	 0,
	 {1, 192},
	 {1, 192}},
	{"awq",
	 Q(LLM_QUANT_AWQ, 4, 1, 64),
	 make_awq,
	 awq_element,
	 ZW_DTYPE_I4,
	 ZW_DTYPE_F16,
	 ZW_DTYPE_I8,
	 {1, 64},
	 {1, 64}},
	{"int-quantized",
	 Q(LLM_QUANT_INTS, 8, 1, 0, .act = ZW_DTYPE_I8),
	 make_ints,
	 ints_element,
	 ZW_DTYPE_I8,
	 ZW_DTYPE_BF16,
	 0,
	 {1, 192},
	 {1, 192}},
	{"float-quantized",
	 Q(LLM_QUANT_FLOATS, 8, 0, 0),
	 make_floats,
	 floats_element,
	 ZW_DTYPE_F8E4M3,
	 ZW_DTYPE_F32,
	 0,
	 {32, 192},
	 {160, 192}},
	{"pack-quantized, 4 bits",
	 Q(LLM_QUANT_PACKED, 4, 1, 32),
	 make_packed4,
	 packed4_element,
	 ZW_DTYPE_I4,
	 ZW_DTYPE_BF16,
	 0,
	 {1, 32},
	 {1, 32}},
	{"pack-quantized, 8 bits",
	 Q(LLM_QUANT_PACKED, 8, 1, 0),
	 make_packed8,
	 packed8_element,
	 ZW_DTYPE_I8,
	 ZW_DTYPE_BF16,
	 0,
	 {1, 192},
	 {1, 192}},
	{"nvfp4",
	 Q(LLM_QUANT_NVFP4, 4, 1, 16),
	 make_nvfp4,
	 nvfp4_element,
	 ZW_DTYPE_F4E2M1,
	 ZW_DTYPE_F8E4M3,
	 0,
	 {1, 16},
	 {1, 16}},
	{"nvfp4, scales of their own",
	 Q(LLM_QUANT_NVFP4, 4, 1, 16),
	 make_nvfp4_own,
	 nvfp4_element,
	 ZW_DTYPE_F4E2M1,
	 ZW_DTYPE_F32,
	 0,
	 {1, 16},
	 {1, 16}},
	{"modelopt nvfp4",
	 Q(LLM_QUANT_MODELOPT_NVFP4, 4, 1, 16),
	 make_modelopt,
	 modelopt_element,
	 ZW_DTYPE_F4E2M1,
	 ZW_DTYPE_F8E4M3,
	 0,
	 {1, 16},
	 {1, 16}},
	{"mxfp4",
	 Q(LLM_QUANT_MXFP4, 4, 1, 32),
	 make_mxfp4,
	 mxfp4_element,
	 ZW_DTYPE_F4E2M1,
	 ZW_DTYPE_E8M0,
	 0,
	 {1, 32},
	 {1, 32}},
	{"gptq, 4 bits, symmetric",
	 Q(LLM_QUANT_GPTQ, 4, 1, 32, .zero_add = 1),
	 make_gptq4_sym,
	 gptq4_element,
	 ZW_DTYPE_I4,
	 ZW_DTYPE_F16,
	 0,
	 {1, 32},
	 {1, 32}},
	{"gptq, columns out of order",
	 Q(LLM_QUANT_GPTQ, 4, 1, 32, .zero_add = 1),
	 make_gptq4_order,
	 gptq4_order_element,
	 ZW_DTYPE_I4,
	 ZW_DTYPE_F16,
	 ZW_DTYPE_I8,
	 {1, 32},
	 {1, 32}},
	{"pack-quantized, columns out of order",
	 Q(LLM_QUANT_PACKED, 4, 1, 32, .asym = 1),
	 make_packed4_order,
	 packed4_order_element,
	 ZW_DTYPE_I4,
	 ZW_DTYPE_BF16,
	 ZW_DTYPE_I8,
	 {1, 32},
	 {1, 32}},
	{"pack-quantized, no order",
	 Q(LLM_QUANT_PACKED, 4, 1, 32),
	 make_packed4_none,
	 packed4_element,
	 ZW_DTYPE_I4,
	 ZW_DTYPE_BF16,
	 0,
	 {1, 32},
	 {1, 32}},
	{"int-quantized, columns out of order",
	 Q(LLM_QUANT_INTS, 8, 1, 32),
	 make_ints_order,
	 ints_order_element,
	 ZW_DTYPE_I8,
	 ZW_DTYPE_F16,
	 0,
	 {1, 32},
	 {1, 32}},
	{"pack-quantized, 4 bits, asymmetric",
	 Q(LLM_QUANT_PACKED, 4, 1, 32, .asym = 1),
	 make_packed4z,
	 packed4z_element,
	 ZW_DTYPE_I4,
	 ZW_DTYPE_BF16,
	 ZW_DTYPE_I8,
	 {1, 32},
	 {1, 32}},
	{"pack-quantized, 8 bits, asymmetric",
	 Q(LLM_QUANT_PACKED, 8, 1, 0, .asym = 1),
	 make_packed8z,
	 packed8z_element,
	 ZW_DTYPE_I8,
	 ZW_DTYPE_BF16,
	 ZW_DTYPE_I8,
	 {1, 192},
	 {1, 192}},
	{"int-quantized, zero points of nothing",
	 Q(LLM_QUANT_INTS, 8, 1, 0, .act = ZW_DTYPE_I8),
	 make_ints0,
	 ints_element,
	 ZW_DTYPE_I8,
	 ZW_DTYPE_BF16,
	 0,
	 {1, 192},
	 {1, 192}},
	{"int-quantized, asymmetric",
	 Q(LLM_QUANT_INTS, 8, 1, 0, .asym = 1),
	 make_intsz,
	 intsz_element,
	 ZW_DTYPE_I8,
	 ZW_DTYPE_BF16,
	 ZW_DTYPE_I8,
	 {1, 192},
	 {1, 192}},
	{"int-quantized, one scale",
	 Q(LLM_QUANT_INTS, 8, 0, 0, .asym = 1),
	 make_intst,
	 intst_element,
	 ZW_DTYPE_I8,
	 ZW_DTYPE_F32,
	 ZW_DTYPE_I8,
	 {32, 192},
	 {160, 192}},
	{"fp8, one scale",
	 Q(LLM_QUANT_FP8, 8, 0, 0, .act = ZW_DTYPE_F8E4M3),
	 make_fp8_tensor,
	 floats_element,
	 ZW_DTYPE_F8E4M3,
	 ZW_DTYPE_F32,
	 0,
	 {32, 192},
	 {160, 192}},
	{"modelopt fp8, blocks",
	 Q(LLM_QUANT_FLOATS, 8, 128, 128),
	 make_blocks4,
	 blocks4_element,
	 ZW_DTYPE_F8E4M3,
	 ZW_DTYPE_F32,
	 0,
	 {32, 128},
	 {128, 128}},
	{"mxfp8",
	 Q(LLM_QUANT_MXFP8, 8, 1, 32, .act = ZW_DTYPE_F8E4M3, .act_block = 32),
	 make_mxfp8,
	 mxfp8_element,
	 ZW_DTYPE_F8E4M3,
	 ZW_DTYPE_E8M0,
	 0,
	 {1, 32},
	 {1, 32}},
};
#define NUM_FORMS (sizeof(forms) / sizeof(forms[0]))

/* ---- what the device has ---- */

/* Element [e, n, k] of an operand, or of scales of it. */
static double operand(const struct zw_tensor *t, const char *data, uint64_t va, uint64_t e,
		      uint64_t n, uint64_t k)
{
	uint64_t r = t->block[0] ? n / t->block[0] : n, c = t->block[1] ? k / t->block[1] : k;
	uint64_t at = r * t->stride[t->ndim - 2] + c;

	assert_true(r < t->dim[t->ndim - 2] && c < t->dim[t->ndim - 1]);
	if (t->ndim == 3)
		at += e * t->stride[0];
	return number(data + (t->va - va), t->dtype, at);
}

static double meaning(const struct llm_matrix *l, const char *data, uint64_t va, uint64_t e,
		      uint64_t n, uint64_t k)
{
	double w = operand(&l->w, data, va, e, n, k);

	if (l->zero.dtype)
		w -= operand(&l->zero, data, va, e, n, k);
	w *= operand(&l->scale, data, va, e, n, k);
	if (l->scale2.dtype)
		w *= number(data + (l->scale2.va - va), ZW_DTYPE_F32, e);
	return w;
}

/* Which of the file's columns the device's column k is. */
static uint64_t column(const struct form *f, const struct llm_matrix *l, const char *data,
		       uint64_t va, uint64_t e, uint64_t k)
{
	bool ordered = strstr(f->name, "out of order");

	assert_int_equal(l->order.dtype, ordered ? ZW_DTYPE_I32 : ZW_DTYPE_NONE);
	if (!ordered)
		return k;
	assert_int_equal(l->order.ndim, 2);
	assert_int_equal(l->order.dim[1], l->w.dim[l->w.ndim - 1]);
	return ((const uint32_t *)(const void *)(data +
						 (l->order.va - va)))[e * l->order.dim[1] + k];
}

static void source_free(struct mem_source *s)
{
	for (size_t i = 0; i < s->n; i++) {
		free(s->t[i].data);
		free((char *)s->t[i].name);
	}
}

enum { K = 192 };
static const struct {
	const char *name;
	uint64_t n;
} fused[] = {{"l.q_proj", 160}, {"l.k_proj", 64}, {"l.v_proj", 64}};

static void find(const struct mem_source *s, const struct form *f, const char *matrix, uint64_t n,
		 const struct llm_take *rows, uint8_t *seen, struct llm_quant_matrix *m)
{
	/* The scheme has to outlive the matrix. */
	static struct llm_quant_config configs[NUM_FORMS];
	struct llm_quant_config *q = &configs[f - forms];
	struct zw_error err = {""};
	char name[80];
	struct llm_quant_want want = {.name = name, .n = n, .k = K, .rows = rows};

	*q = (struct llm_quant_config){.num = 1, .scheme = {f->q}};
	snprintf(name, sizeof(name), "%s.weight", matrix);
	if (llm_quant_find(&s->base, q, &want, seen, m, &err) != 1)
		fail_msg("%s: %s: %s", f->name, name, err.msg);
}

/* Products of the same few factors in another order differ by some units of the last place. */
static void same(const struct form *f, double is, double should, uint64_t n, uint64_t k)
{
	if (fabs(is - should) > fabs(should) * 1e-14)
		fail_msg("%s: [%u, %u] is %.17g, not %.17g", f->name, (unsigned int)n,
			 (unsigned int)k, is, should);
}

static void test_fused(void **state)
{
	for (size_t i = 0; i < NUM_FORMS; i++) {
		const struct form *f = &forms[i];
		struct mem_source s = {.base = {&mem_ops, (char *)"mem"}, .broken = -1};
		struct llm_plan p = {.src = &s.base};
		struct llm_quant_matrix m[3], one;
		struct llm_matrix l, alone;
		struct zw_buffer buf;
		uint8_t seen[40] = {0};
		struct zw_error err = {""};
		uint64_t at = 0;
		char *data;

		for (size_t j = 0; j < 3; j++) {
			f->make(&s, fused[j].name, fused[j].n, K);
			find(&s, f, fused[j].name, fused[j].n, NULL, seen, &m[j]);
		}
		for (size_t j = 0; j < s.n; j++)
			assert_int_equal(seen[j], 1);
		find(&s, f, fused[0].name, fused[0].n, NULL, seen, &one);
		if (llm_quant_plan(&p, m, 3, 1, false, &l, &err))
			fail_msg("%s: %s", f->name, err.msg);
		assert_int_equal(llm_quant_plan(&p, &one, 1, 1, false, &alone, NULL), 0);
		assert_int_equal(p.parameters, K * (288 + 160));
		data = mem_run(vm, &p, &buf);
		assert_int_equal(l.w.dtype, f->w);
		assert_int_equal(l.scale.dtype, f->scale);
		assert_int_equal(l.zero.dtype, f->zero);
		assert_int_equal(l.act, f->q.act);
		assert_memory_equal(l.scale.block, f->block, sizeof(f->block));
		assert_memory_equal(alone.scale.block, f->alone, sizeof(f->alone));
		assert_int_equal(l.w.dim[0], 288);
		for (size_t j = 0; j < 3; j++) {
			for (uint64_t n = 0; n < fused[j].n; n++, at++) {
				for (uint64_t k = 0; k < K; k++)
					same(f, meaning(&l, data, buf.va, 0, at, k),
					     f->element(&s, fused[j].name, n,
							column(f, &l, data, buf.va, 0, k)),
					     at, k);
			}
		}
		for (uint64_t n = 0; n < 160; n++) {
			for (uint64_t k = 0; k < K; k++)
				same(f, meaning(&alone, data, buf.va, 0, n, k),
				     f->element(&s, fused[0].name, n,
						column(f, &alone, data, buf.va, 0, k)),
				     n, k);
		}
		for (size_t j = 0; j < 3; j++)
			llm_quant_free(&m[j]);
		llm_quant_free(&one);
		free(data);
		zw_buffer_destroy(&buf);
		llm_plan_fini(&p);
		source_free(&s);
	}
}

/* Experts of two matrices each, and one of which some rows are taken. */
static void test_experts(void **state)
{
	static const char *const names[2][2] = {{"e0.gate_proj", "e0.up_proj"},
						{"e1.gate_proj", "e1.up_proj"}};
	static const struct llm_take rows = {.first = 32, .run = 32, .step = 64, .count = 2};

	for (size_t i = 0; i < NUM_FORMS; i++) {
		const struct form *f = &forms[i];
		struct mem_source s = {.base = {&mem_ops, (char *)"mem"}, .broken = -1};
		struct llm_plan p = {.src = &s.base};
		struct llm_quant_matrix m[4], part;
		struct llm_matrix l, some;
		struct zw_buffer buf;
		uint8_t seen[40] = {0};
		char *data;

		for (size_t j = 0; j < 4; j++) {
			f->make(&s, names[j / 2][j % 2], 96, K);
			find(&s, f, names[j / 2][j % 2], 96, NULL, seen, &m[j]);
		}
		/* Second scales of experts need not agree. */
		if (m[0].tensor[LLM_ROLE_SCALE2] >= 0 && f->make == make_nvfp4)
			*(float *)named(&s, names[1][0], "weight_global_scale")->data =
				*(float *)named(&s, names[1][1], "weight_global_scale")->data = 4;
		for (size_t j = 2; j < 4; j++) {
			llm_quant_free(&m[j]);
			find(&s, f, names[1][j % 2], 96, NULL, seen, &m[j]);
		}
		f->make(&s, "one", 128, K);
		find(&s, f, "one", 128, &rows, seen, &part);
		assert_int_equal(llm_quant_plan(&p, m, 2, 2, true, &l, NULL), 0);
		assert_int_equal(llm_quant_plan(&p, &part, 1, 1, false, &some, NULL), 0);
		data = mem_run(vm, &p, &buf);
		assert_int_equal(l.w.ndim, 3);
		assert_int_equal(l.w.dim[0], 2);
		assert_int_equal(l.w.dim[1], 192);
		assert_int_equal(l.scale.ndim, 3);
		for (uint64_t e = 0; e < 2; e++) {
			for (uint64_t n = 0; n < 192; n++) {
				for (uint64_t k = 0; k < K; k++)
					same(f, meaning(&l, data, buf.va, e, n, k),
					     f->element(&s, names[e][n / 96], n % 96,
							column(f, &l, data, buf.va, e, k)),
					     n, k);
			}
		}
		assert_int_equal(some.w.dim[0], 64);
		for (uint64_t n = 0; n < 64; n++) {
			uint64_t row = 32 + n / 32 * 64 + n % 32;

			for (uint64_t k = 0; k < K; k++)
				same(f, meaning(&some, data, buf.va, 0, n, k),
				     f->element(&s, "one", row,
						column(f, &some, data, buf.va, 0, k)),
				     n, k);
		}
		for (size_t j = 0; j < 4; j++)
			llm_quant_free(&m[j]);
		llm_quant_free(&part);
		free(data);
		zw_buffer_destroy(&buf);
		llm_plan_fini(&p);
		source_free(&s);
	}
}

/* ---- refusals ---- */

static const struct form *form_named(const char *name)
{
	size_t i = 0;

	while (strcmp(forms[i].name, name))
		i++;
	return &forms[i];
}

static struct mem_tensor *part_of(struct mem_source *s, const char *suffix)
{
	return (struct mem_tensor *)named(s, "m", suffix);
}

/* What is done to a good matrix [64, K], and what is said of it. */
static const struct {
	const char *form, *suffix;
	enum { GONE, TYPE, ROWS, COLUMNS, DIMS, FIRST, GROUP } what;
	uint32_t value;
	int code;
	const char *words;
} bad[] = {
	{"fp8", "weight_scale_inv", GONE, 0, -EBADMSG, "mem|m.weight_scale_inv|missing"},
	{"fp8", "weight_scale_inv", COLUMNS, 1, -EBADMSG, "mem|m.weight_scale_inv|[1,1]|[1,2]"},
	{"fp8", "weight_scale_inv", TYPE, ZW_DTYPE_F16, -EBADMSG, "m.weight_scale_inv|dtype"},
	{"fp8", "weight", ROWS, 63, -EBADMSG, "m.weight|[63,192]|[64,192]"},
	{"fp8", "weight", TYPE, ZW_DTYPE_I8, -EBADMSG, "m.weight|dtype"},
	{"gptq, 4 bits", "qzeros", GONE, 0, -EBADMSG, "m.qzeros|missing"},
	{"gptq, 4 bits", "scales", GONE, 0, -EBADMSG, "m.scales|missing"},
	{"gptq, 4 bits", "qweight", GONE, 0, -EBADMSG, "m.qweight|missing"},
	{"gptq, 4 bits", "qzeros", COLUMNS, 4, -EBADMSG, "m.qzeros|[6,4]|[6,8]"},
	{"gptq, 4 bits", "g_idx", ROWS, 100, -EBADMSG, "m.g_idx|[100]"},
	{"gptq, 4 bits", "g_idx", FIRST, 3, -EBADMSG, "m.g_idx|32 columns of each group"},
	{"gptq, 4 bits", "g_idx", FIRST, 6, -EBADMSG, "m.g_idx|32 columns of each group"},
	{"gptq, 4 bits", "g_idx", FIRST, 0xffffffff, -EBADMSG, "m.g_idx|32 columns of each group"},
	{"gptq, 4 bits", "scales", GROUP, 80, -EBADMSG, "m.weight|groups of 80|192"},
	{"pack-quantized, 4 bits, asymmetric", "weight_zero_point", GONE, 0, -EBADMSG,
	 "m.weight_zero_point|missing"},
	{"pack-quantized, 4 bits, asymmetric", "weight_zero_point", ROWS, 64, -EBADMSG,
	 "m.weight_zero_point|[64,6]|[8,6]"},
	{"int-quantized, asymmetric", "input_scale", ROWS, 2, -EBADMSG, "m.input_scale|[2]"},
	{"mxfp8", "weight_scale", TYPE, ZW_DTYPE_BF16, -EBADMSG, "m.weight_scale|dtype"},
	{"awq", "qweight", ROWS, 24, -EBADMSG, "m.qweight|[24,8]|[192,8]"},
	{"awq", "scales", TYPE, ZW_DTYPE_U8, -EBADMSG, "m.scales|dtype"},
	{"int-quantized", "weight_scale", ROWS, 32, -EBADMSG, "m.weight_scale|[32,1]|[64,1]"},
	{"float-quantized", "weight_scale", ROWS, 2, -EBADMSG, "m.weight_scale|[2]"},
	{"pack-quantized, 4 bits", "weight_shape", FIRST, 65, -EBADMSG, "m.weight_shape|[65,192]"},
	{"nvfp4", "weight_global_scale", FIRST, 0, -EBADMSG, "m.weight_global_scale|no scale"},
	{"nvfp4", "weight_global_scale", FIRST, 0x7fc00000, -EBADMSG, "no scale"},
	{"nvfp4", "weight_global_scale", GONE, 0, -EBADMSG, "m.weight_global_scale|missing"},
	{"modelopt nvfp4", "weight_scale_2", FIRST, 0xbf800000, -EBADMSG, "no scale"},
	{"mxfp4", "weight_scale", COLUMNS, 3, -EBADMSG, "m.weight_scale|[64,3]|[64,6]"},
	{"mxfp4", "weight_packed", DIMS, 1, -EBADMSG, "m.weight_packed|[64]"},
};

static void test_refused(void **state)
{
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct form f = *form_named(bad[i].form);
		struct llm_quant_want want = {.name = "m.weight", .n = 64, .k = K};
		struct llm_quant_config q;
		struct mem_source s = {.base = {&mem_ops, (char *)"mem"}, .broken = -1};
		struct llm_quant_matrix m;
		struct zw_error err = {""};
		uint8_t seen[40] = {0};
		struct mem_tensor *t;
		int ret;

		f.make(&s, "m", 64, K);
		t = part_of(&s, bad[i].suffix);
		switch (bad[i].what) {
		case GONE:
			free((char *)t->name);
			t->name = strdup("other");
			break;
		case TYPE:
			t->dtype = bad[i].value;
			break;
		case ROWS:
			t->dim[0] = bad[i].value;
			break;
		case COLUMNS:
			t->dim[1] = bad[i].value;
			break;
		case DIMS:
			t->ndim = bad[i].value;
			break;
		case FIRST:
			memcpy(t->data, &bad[i].value, 4);
			break;
		default:
			f.q.block[1] = bad[i].value;
		}
		q = (struct llm_quant_config){.num = 1, .scheme = {f.q}};
		ret = llm_quant_find(&s.base, &q, &want, seen, &m, &err);
		if (ret != bad[i].code)
			fail_msg("%s: %d (%s)", bad[i].words, ret, err.msg);
		expect_words(bad[i].words, &err, bad[i].words);
		llm_quant_free(&m);
		source_free(&s);
	}
}

/* Matrices that are not quantised stay what they are, whatever the configuration says. */
static void test_plain(void **state)
{
	for (size_t i = 0; i < NUM_FORMS; i++) {
		struct mem_source s = {.base = {&mem_ops, (char *)"mem"}, .broken = -1};
		struct llm_quant_config q = {.num = 1, .scheme = {forms[i].q}};
		struct llm_quant_want want = {.name = "m.weight", .n = 64, .k = K};
		struct llm_quant_matrix m;
		uint8_t seen[40] = {0};

		random_tensor(&s, "m.weight", ZW_DTYPE_BF16, 2, 64, K);
		assert_int_equal(llm_quant_find(&s.base, &q, &want, seen, &m, NULL), 0);
		want.name = "o.weight";
		assert_int_equal(llm_quant_find(&s.base, &q, &want, seen, &m, NULL), 0);
		assert_int_equal(seen[0], 0);
		source_free(&s);
	}
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
		cmocka_unit_test(test_fused),
		cmocka_unit_test(test_experts),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_plain),
	};

	return cmocka_run_group_tests_name("quant", tests, open_device, close_device);
}

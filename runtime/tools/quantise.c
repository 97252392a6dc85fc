// SPDX-License-Identifier: MIT
#include "quantise.h"

#include <math.h>
#include <string.h>

#define BLOCK 128 /* of FP8, rows and columns */

static const char *const names[QUANTISE_FORMATS] = {
	[QUANTISE_INT8] = "int8",      [QUANTISE_INT8_WO] = "int8-wo", [QUANTISE_FP8] = "fp8",
	[QUANTISE_MXFP4] = "mxfp4",    [QUANTISE_NVFP4] = "nvfp4",     [QUANTISE_INT4] = "int4",
	[QUANTISE_GPTQ] = "int4-gptq", [QUANTISE_AWQ] = "int4-awq",
};

const char *quantise_name(enum quantise_format format)
{
	return format < QUANTISE_FORMATS ? names[format] : NULL;
}

enum quantise_format quantise_find(const char *name)
{
	int i = 0;

	while (i < QUANTISE_FORMATS && strcmp(names[i], name))
		i++;
	return (enum quantise_format)i;
}

bool quantise_has_groups(enum quantise_format format)
{
	return format == QUANTISE_INT4 || format == QUANTISE_GPTQ || format == QUANTISE_AWQ;
}

/* Columns that share a scale; 0: all. */
static uint64_t group_of(const struct quantise *q)
{
	switch (q->format) {
	case QUANTISE_MXFP4:
		return 32;
	case QUANTISE_NVFP4:
		return 16;
	case QUANTISE_INT4:
	case QUANTISE_GPTQ:
	case QUANTISE_AWQ:
		return q->group;
	default:
		return 0;
	}
}

const char *quantise_refusal(const struct quantise *q, uint64_t n, uint64_t k)
{
	uint64_t group = group_of(q);

	if (group && k % group)
		return "groups do not divide its columns";
	if (quantise_has_groups(q->format) && (n % 8 || k % 8))
		return "its rows or columns are no multiple of 8";
	if (q->format == QUANTISE_INT8_WO && k % 4)
		return "its columns are no multiple of 4";
	return NULL;
}

static struct quantise_tensor tensor(const char *suffix, const char *dtype, unsigned int bytes,
				     uint32_t ndim, uint64_t d0, uint64_t d1)
{
	return (struct quantise_tensor){suffix, dtype, ndim, {d0, d1}, d0 * d1 * bytes};
}

void quantise_tensors(const struct quantise *q, uint64_t n, uint64_t k,
		      struct quantise_tensor out[QUANTISE_TENSORS])
{
	uint64_t group = group_of(q), groups = group ? k / group : 1;

	memset(out, 0, QUANTISE_TENSORS * sizeof(*out));
	switch (q->format) {
	case QUANTISE_INT8:
		out[0] = tensor("weight", "I8", 1, 2, n, k);
		out[1] = tensor("weight_scale", "BF16", 2, 2, n, 1);
		break;
	case QUANTISE_INT8_WO:
		out[0] = tensor("weight_packed", "I32", 4, 2, n, k / 4);
		out[1] = tensor("weight_scale", "BF16", 2, 2, n, 1);
		out[2] = tensor("weight_shape", "I64", 8, 1, 2, 1);
		break;
	case QUANTISE_FP8:
		out[0] = tensor("weight", "F8_E4M3", 1, 2, n, k);
		out[1] = tensor("weight_scale_inv", "F32", 4, 2, (n + BLOCK - 1) / BLOCK,
				(k + BLOCK - 1) / BLOCK);
		break;
	case QUANTISE_MXFP4:
		out[0] = tensor("weight_packed", "U8", 1, 2, n, k / 2);
		out[1] = tensor("weight_scale", "U8", 1, 2, n, groups);
		break;
	case QUANTISE_NVFP4:
		out[0] = tensor("weight_packed", "U8", 1, 2, n, k / 2);
		out[1] = tensor("weight_scale", "F8_E4M3", 1, 2, n, groups);
		out[2] = tensor("weight_global_scale", "F32", 4, 1, 1, 1);
		break;
	case QUANTISE_INT4:
		out[0] = tensor("weight_packed", "I32", 4, 2, n, k / 8);
		out[1] = tensor("weight_scale", "BF16", 2, 2, n, groups);
		out[2] = tensor("weight_zero_point", "I32", 4, 2, n / 8, groups);
		out[3] = tensor("weight_shape", "I64", 8, 1, 2, 1);
		break;
	case QUANTISE_GPTQ:
		out[0] = tensor("qweight", "I32", 4, 2, k / 8, n);
		out[1] = tensor("scales", "F16", 2, 2, groups, n);
		out[2] = tensor("qzeros", "I32", 4, 2, groups, n / 8);
		out[3] = tensor("g_idx", "I32", 4, 1, k, 1);
		break;
	default:
		out[0] = tensor("qweight", "I32", 4, 2, k, n / 8);
		out[1] = tensor("scales", "F16", 2, 2, groups, n);
		out[2] = tensor("qzeros", "I32", 4, 2, groups, n / 8);
		break;
	}
}

/* ---- numbers ---- */

static float bits_float(uint32_t u)
{
	float f;

	memcpy(&f, &u, 4);
	return f;
}

static uint16_t to_bf16(float f)
{
	uint32_t u;

	memcpy(&u, &f, 4);
	return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/*
 * A magnitude as a float of `man` bits of mantissa and the smallest exponent `low`, no larger than
 * `most`: its code. Dividing by the distance of neighbours and back is exact.
 */
static uint32_t to_small(float x, int man, int low, float most)
{
	int exp;
	float step;
	uint32_t n;

	if (x >= most)
		x = most;
	if (x == 0)
		return 0;
	frexpf(x, &exp);
	exp = exp - 1 < low ? low : exp - 1;
	step = ldexpf(1, exp - man);
	/* In units of the step: the leading one is counted in, and carries on into the exponent. */
	n = (uint32_t)lrintf(x / step);
	return n + ((uint32_t)(exp - low) << man);
}

static uint8_t to_e4m3(float f)
{
	return (uint8_t)(to_small(fabsf(f), 3, -6, 448) | (signbit(f) ? 0x80 : 0));
}

static float e4m3_value(uint8_t b)
{
	int exp = b >> 3 & 15, man = b & 7;
	float f = exp ? ldexpf(1 + (float)man / 8, exp - 7) : ldexpf((float)man, -9);

	return b & 0x80 ? -f : f;
}

static uint8_t to_e2m1(float f)
{
	return (uint8_t)(to_small(fabsf(f), 1, 0, 6) | (signbit(f) ? 8 : 0));
}

/* Not of infinities and NaN, which no weight is. */
static uint16_t to_f16(float f)
{
	return (uint16_t)(to_small(fabsf(f), 10, -14, 65504) | (signbit(f) ? 0x8000 : 0));
}

static float f16_value(uint16_t h)
{
	int exp = h >> 10 & 31, man = h & 1023;
	float f = exp ? ldexpf(1 + (float)man / 1024, exp - 15) : ldexpf((float)man, -24);

	return h & 0x8000 ? -f : f;
}

static float largest(const float *x, uint64_t n)
{
	float max = 0;

	for (uint64_t i = 0; i < n; i++)
		max = fabsf(x[i]) > max ? fabsf(x[i]) : max;
	return max;
}

static long to_int(float x, long min, long max)
{
	long v = lrintf(x);

	return v < min ? min : v > max ? max : v;
}

/* ---- one row, or the rows of a block ---- */

struct job {
	const struct quantise *q;
	uint64_t n, k, first, count;
	const float *rows;
	float amax;
	void *const *data;
};

static void row_int8(const struct job *j, uint64_t i)
{
	const float *x = j->rows + i * j->k;
	uint64_t row = j->first + i;
	float max = largest(x, j->k), scale;
	uint16_t stored = to_bf16(max > 0 ? max / 127 : 1);
	uint8_t *out = j->data[0];

	/* Elements are of the scale that is stored; one that vanished would make them infinite. */
	if (!(stored & 0x7fff))
		stored = 1;
	scale = bits_float((uint32_t)stored << 16);
	((uint16_t *)j->data[1])[row] = stored;
	for (uint64_t c = 0; c < j->k; c++) {
		long v = to_int(x[c] / scale, -127, 127);

		/* Packed ones have an offset, four to a little-endian word. */
		out[row * j->k + c] = (uint8_t)(j->q->format == QUANTISE_INT8_WO ? v + 128 : v);
	}
}

static void block_fp8(const struct job *j, uint64_t col)
{
	uint64_t cols = j->k - col < BLOCK ? j->k - col : BLOCK;
	uint64_t across = (j->k + BLOCK - 1) / BLOCK;
	uint8_t *out = j->data[0];
	float max = 0, scale;

	for (uint64_t i = 0; i < j->count; i++) {
		float m = largest(j->rows + i * j->k + col, cols);

		max = m > max ? m : max;
	}
	scale = max / 448;
	if (!(scale > 0))
		scale = 1;
	((float *)j->data[1])[j->first / BLOCK * across + col / BLOCK] = scale;
	for (uint64_t i = 0; i < j->count; i++) {
		for (uint64_t c = col; c < col + cols; c++)
			out[(j->first + i) * j->k + c] = to_e4m3(j->rows[i * j->k + c] / scale);
	}
}

static void put_nibble(uint8_t *row, uint64_t c, uint8_t v)
{
	row[c / 2] = (uint8_t)(row[c / 2] | v << c % 2 * 4);
}

/* The scale is a power of two under which the largest element is below 8. */
static void row_mxfp4(const struct job *j, uint64_t i)
{
	uint64_t row = j->first + i, groups = j->k / 32;
	uint8_t *out = (uint8_t *)j->data[0] + row * (j->k / 2);

	for (uint64_t g = 0; g < groups; g++) {
		const float *x = j->rows + i * j->k + g * 32;
		float max = largest(x, 32);
		int exp = 0;

		if (max > 0) {
			frexpf(max, &exp);
			exp = exp - 3 < -127 ? -127 : exp - 3;
		}
		((uint8_t *)j->data[1])[row * groups + g] = (uint8_t)(exp + 127);
		for (uint64_t c = 0; c < 32; c++)
			put_nibble(out, g * 32 + c, to_e2m1(ldexpf(x[c], -exp)));
	}
}

static void row_nvfp4(const struct job *j, uint64_t i)
{
	uint64_t row = j->first + i, groups = j->k / 16;
	uint8_t *out = (uint8_t *)j->data[0] + row * (j->k / 2);
	/* Stored is the reciprocal of the second scale, under which the first ones reach 448. */
	float global = j->amax > 0 ? 448 * 6 / j->amax : 1;

	if (!isfinite(global))
		global = 1;
	*(float *)j->data[2] = global;
	for (uint64_t g = 0; g < groups; g++) {
		const float *x = j->rows + i * j->k + g * 16;
		uint8_t code = to_e4m3(largest(x, 16) / 6 * global);
		float scale = e4m3_value(code) / global;

		((uint8_t *)j->data[1])[row * groups + g] = code;
		for (uint64_t c = 0; c < 16; c++)
			put_nibble(out, g * 16 + c, scale > 0 ? to_e2m1(x[c] / scale) : 0);
	}
}

static void or_word(void *data, uint64_t at, uint32_t v)
{
	((uint32_t *)data)[at] |= v;
}

/* A scale as the format stores it, and its value. */
static float stored_scale(const struct job *j, float scale, uint16_t *stored)
{
	if (j->q->format == QUANTISE_INT4) {
		*stored = to_bf16(scale);
		return bits_float((uint32_t)*stored << 16);
	}
	*stored = to_f16(scale);
	return f16_value(*stored);
}

/*
 * 4 bits with a zero point. GPTQ and AWQ are transposes, and differ in the order of integers; the third form has
 * rows, and words of zero points of eight rows.
 */
static void row_int4(const struct job *j, uint64_t i)
{
	static const unsigned int awq_place[8] = {0, 4, 1, 5, 2, 6, 3, 7};
	bool awq = j->q->format == QUANTISE_AWQ, rows = j->q->format == QUANTISE_INT4;
	uint64_t n = j->first + i, group = j->q->group, groups = j->k / group;
	unsigned int place = (awq ? awq_place[n % 8] : n % 8) * 4;
	/* GPTQ stores zero points less one: 0 is not one of them. */
	long lowest = j->q->format == QUANTISE_GPTQ, zero;

	for (uint64_t g = 0; g < groups; g++) {
		const float *x = j->rows + i * j->k + g * group;
		uint64_t at = rows ? n * groups + g : g * j->n + n;
		float min = 0, max = 0, scale;
		uint16_t stored;

		for (uint64_t c = 0; c < group; c++) {
			min = x[c] < min ? x[c] : min;
			max = x[c] > max ? x[c] : max;
		}
		scale = min == 0 ? max / (float)(15 - lowest) : (max - min) / 15;
		scale = stored_scale(j, scale, &stored);
		if (!stored && max > min) {
			stored = 1;
			scale = rows ? bits_float(1u << 16) : f16_value(1);
		} else if (!stored) {
			scale = stored_scale(j, 1, &stored);
		}
		zero = to_int(-min / scale, lowest, 15);
		((uint16_t *)j->data[1])[at] = stored;
		or_word(j->data[2], rows ? n / 8 * groups + g : g * (j->n / 8) + n / 8,
			(uint32_t)(zero - lowest) << place);
		for (uint64_t c = 0; c < group; c++) {
			uint64_t k = g * group + c;
			uint32_t v = (uint32_t)to_int(x[c] / scale + (float)zero, 0, 15);

			if (awq)
				or_word(j->data[0], k * (j->n / 8) + n / 8, v << place);
			else if (rows)
				or_word(j->data[0], n * (j->k / 8) + k / 8, v << k % 8 * 4);
			else
				or_word(j->data[0], k / 8 * j->n + n, v << k % 8 * 4);
		}
	}
}

void quantise_rows(const struct quantise *q, uint64_t n, uint64_t k, uint64_t first, uint64_t count,
		   const float *rows, float amax, void *const data[QUANTISE_TENSORS])
{
	struct job j = {q, n, k, first, count, rows, amax, data};

	if (q->format == QUANTISE_FP8) {
		for (uint64_t col = 0; col < k; col += BLOCK)
			block_fp8(&j, col);
		return;
	}
	for (uint64_t i = 0; i < count; i++) {
		switch (q->format) {
		case QUANTISE_MXFP4:
			row_mxfp4(&j, i);
			break;
		case QUANTISE_NVFP4:
			row_nvfp4(&j, i);
			break;
		case QUANTISE_INT4:
		case QUANTISE_GPTQ:
		case QUANTISE_AWQ:
			row_int4(&j, i);
			break;
		default:
			row_int8(&j, i);
		}
	}
	if (q->format == QUANTISE_INT8_WO || q->format == QUANTISE_INT4) {
		int64_t *shape = data[q->format == QUANTISE_INT4 ? 3 : 2];

		shape[0] = (int64_t)n;
		shape[1] = (int64_t)k;
	}
	for (uint64_t c = 0; q->format == QUANTISE_GPTQ && c < k; c++)
		((int32_t *)data[3])[c] = (int32_t)(c / q->group);
}

/* ---- quantization_config ---- */

static const char *const templates[QUANTISE_FORMATS] = {
	[QUANTISE_INT8] =
		"{\"quant_method\":\"compressed-tensors\",\"format\":\"int-quantized\","
		"\"quantization_status\":\"compressed\",\"kv_cache_scheme\":null,"
		"\"config_groups\":{\"group_0\":{\"targets\":[\"Linear\"],"
		"\"weights\":{\"num_bits\":8,\"type\":\"int\",\"symmetric\":true,"
		"\"strategy\":\"channel\",\"group_size\":null,\"dynamic\":false},"
		"\"input_activations\":{\"num_bits\":8,\"type\":\"int\",\"symmetric\":true,"
		"\"strategy\":\"token\",\"group_size\":null,\"dynamic\":true},"
		"\"output_activations\":null}}}",
	[QUANTISE_INT8_WO] =
		"{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\","
		"\"quantization_status\":\"compressed\",\"kv_cache_scheme\":null,"
		"\"config_groups\":{\"group_0\":{\"targets\":[\"Linear\"],"
		"\"weights\":{\"num_bits\":8,\"type\":\"int\",\"symmetric\":true,"
		"\"strategy\":\"channel\",\"group_size\":null,\"dynamic\":false},"
		"\"input_activations\":null,\"output_activations\":null}}}",
	[QUANTISE_FP8] =
		"{\"quant_method\":\"fp8\",\"fmt\":\"e4m3\",\"activation_scheme\":\"dynamic\","
		"\"weight_block_size\":[128,128]}",
	[QUANTISE_MXFP4] =
		"{\"quant_method\":\"compressed-tensors\",\"format\":\"mxfp4-pack-quantized\","
		"\"quantization_status\":\"compressed\",\"kv_cache_scheme\":null,"
		"\"config_groups\":{\"group_0\":{\"targets\":[\"Linear\"],"
		"\"weights\":{\"num_bits\":4,\"type\":\"float\",\"symmetric\":true,"
		"\"strategy\":\"group\",\"group_size\":32,\"dynamic\":false},"
		"\"input_activations\":null,\"output_activations\":null}}}",
	[QUANTISE_NVFP4] =
		"{\"quant_method\":\"compressed-tensors\",\"format\":\"nvfp4-pack-quantized\","
		"\"quantization_status\":\"compressed\",\"kv_cache_scheme\":null,"
		"\"config_groups\":{\"group_0\":{\"targets\":[\"Linear\"],"
		"\"weights\":{\"num_bits\":4,\"type\":\"float\",\"symmetric\":true,"
		"\"strategy\":\"tensor_group\",\"group_size\":16,\"dynamic\":false},"
		"\"input_activations\":null,\"output_activations\":null}}}",
	[QUANTISE_INT4] = "{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\","
			  "\"quantization_status\":\"compressed\",\"kv_cache_scheme\":null,"
			  "\"config_groups\":{\"group_0\":{\"targets\":[\"Linear\"],"
			  "\"weights\":{\"num_bits\":4,\"type\":\"int\",\"symmetric\":false,"
			  "\"strategy\":\"group\",\"dynamic\":false},"
			  "\"input_activations\":null,\"output_activations\":null}}}",
	[QUANTISE_GPTQ] = "{\"quant_method\":\"gptq\",\"bits\":4,\"desc_act\":false,\"sym\":false,"
			  "\"checkpoint_format\":\"gptq\",\"pack_dtype\":\"int32\"}",
	[QUANTISE_AWQ] = "{\"quant_method\":\"awq\",\"bits\":4,\"zero_point\":true,"
			 "\"version\":\"gemm\"}",
};

cJSON *quantise_config(const struct quantise *q, const char *const *skipped, size_t n)
{
	cJSON *json = cJSON_Parse(templates[q->format]),
	      *list = cJSON_CreateStringArray(skipped, (int)n), *sizes = json;
	const char *key = q->format == QUANTISE_FP8 || q->format == QUANTISE_AWQ
				  ? "modules_to_not_convert"
				  : "ignore";

	if (json && q->format == QUANTISE_INT4)
		sizes = cJSON_GetObjectItem(
			cJSON_GetObjectItem(cJSON_GetObjectItem(json, "config_groups"), "group_0"),
			"weights");
	if (!json || !list ||
	    (quantise_has_groups(q->format) &&
	     !cJSON_AddNumberToObject(sizes, "group_size", q->group)))
		goto fail;
	/* GPTQ's tools tell by what is there. */
	if (q->format == QUANTISE_GPTQ)
		cJSON_Delete(list);
	else if (!cJSON_AddItemToObject(json, key, list))
		goto fail;
	return json;
fail:
	cJSON_Delete(json);
	cJSON_Delete(list);
	return NULL;
}

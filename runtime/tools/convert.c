// SPDX-License-Identifier: MIT
#include "convert.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <zhenwu/llm.h>

#include "checkpoint_writer.h"
#include "read_text.h"

#define PIECE        (1u << 20)
#define NAME_MAX_LEN 256

struct work {
	const struct convert *c;
	struct zw_safetensors *st;
	struct checkpoint_writer *w;
	struct convert_result *r;
	/* By tensor of the input: the first of those that stand for it, and whether it is quantised. */
	long *first;
	uint8_t *quantised;
	const char **skipped; /* modules */
	char **skipped_own;
	size_t num_skipped;
	cJSON *config;
};

static int fail(struct zw_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static int fail(struct zw_error *err, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	return code;
}

static struct zw_safetensors_info info_of(const struct work *w, size_t i)
{
	struct zw_safetensors_info t = {.size = sizeof(t)};

	zw_safetensors_get(w->st, i, &t);
	return t;
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && !strcmp(s + n - m, end);
}

/* ---- which matrices ---- */

static bool is_projection(const char *name)
{
	static const char *const ends[] = {"_proj.weight", ".in_proj_qkv.weight",
					   ".in_proj_qkvz.weight", ".in_proj_z.weight"};

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		if (ends_with(name, ends[i]))
			return true;
	}
	return false;
}

static unsigned int float_bytes(uint32_t dtype)
{
	return dtype == ZW_SAFETENSORS_F32                                   ? 4
	       : dtype == ZW_SAFETENSORS_F16 || dtype == ZW_SAFETENSORS_BF16 ? 2
									     : 0;
}

/* Those that are computed as one matrix, whose second scales should be one. */
static const char *const together[][3] = {
	{"q_proj", "k_proj", "v_proj"},
	{"gate_proj", "up_proj", NULL},
	{"in_proj_qkv", "in_proj_z", NULL},
};

/* The name of another matrix of the same group: `name` with one module in the place of its own. */
static bool neighbour(const char *name, size_t group, size_t member, char *out)
{
	size_t len = strlen(name) - strlen(".weight");

	for (size_t i = 0; i < 3 && together[group][i]; i++) {
		size_t n = strlen(together[group][i]);

		if (len <= n || name[len - n - 1] != '.' ||
		    memcmp(name + len - n, together[group][i], n))
			continue;
		if (!together[group][member])
			return false;
		snprintf(out, NAME_MAX_LEN, "%.*s%s.weight", (int)(len - n), name,
			 together[group][member]);
		return true;
	}
	return false;
}

/* ---- numbers ---- */

static float to_float(const uint8_t *p, uint32_t dtype)
{
	uint32_t u;
	uint16_t h;
	float f;

	if (dtype == ZW_SAFETENSORS_F32) {
		memcpy(&f, p, 4);
		return f;
	}
	memcpy(&h, p, 2);
	if (dtype == ZW_SAFETENSORS_F16) {
		int exp = h >> 10 & 31, man = h & 1023;

		f = exp == 31 ? (man ? NAN : INFINITY)
		    : exp     ? ldexpf(1 + (float)man / 1024, exp - 15)
			      : ldexpf((float)man, -24);
		return h & 0x8000 ? -f : f;
	}
	u = (uint32_t)h << 16;
	memcpy(&f, &u, 4);
	return f;
}

/* Rows of a matrix as F32; rows has room for them, and so has raw as they are stored. */
static int read_rows(const struct work *w, size_t i, const struct zw_safetensors_info *t,
		     uint64_t first, uint64_t count, uint8_t *raw, float *rows,
		     struct zw_error *err)
{
	unsigned int size = float_bytes(t->dtype);
	uint64_t n = count * t->shape[1];
	int ret = zw_safetensors_read(w->st, i, first * t->shape[1] * size, raw, n * size, err);

	for (uint64_t j = 0; j < n && !ret; j++) {
		rows[j] = to_float(raw + j * size, t->dtype);
		if (!isfinite(rows[j]))
			ret = fail(err, -EDOM, "%s: tensor %s: element [%llu, %llu] is no number",
				   t->file, t->name, (unsigned long long)(first + j / t->shape[1]),
				   (unsigned long long)(j % t->shape[1]));
	}
	return ret;
}

struct buffers {
	uint8_t *raw;
	float *rows;
	void *data[QUANTISE_TENSORS];
};

static void buffers_free(struct buffers *b)
{
	free(b->raw);
	free(b->rows);
	for (int i = 0; i < QUANTISE_TENSORS; i++)
		free(b->data[i]);
}

static int largest(const struct work *w, size_t i, struct buffers *b, float *max,
		   struct zw_error *err)
{
	struct zw_safetensors_info t = info_of(w, i);
	int ret = 0;

	for (uint64_t row = 0; row < t.shape[0] && !ret; row += QUANTISE_ROWS) {
		uint64_t n = t.shape[0] - row < QUANTISE_ROWS ? t.shape[0] - row : QUANTISE_ROWS;

		ret = read_rows(w, i, &t, row, n, b->raw, b->rows, err);
		for (uint64_t j = 0; j < n * t.shape[1] && !ret; j++)
			*max = fabsf(b->rows[j]) > *max ? fabsf(b->rows[j]) : *max;
	}
	return ret;
}

/* The largest magnitude of a matrix and its neighbours, which have as many columns. */
static int largest_together(const struct work *w, size_t i, struct buffers *b, float *max,
			    struct zw_error *err)
{
	struct zw_safetensors_info t = info_of(w, i), o;
	char name[NAME_MAX_LEN];
	int ret = largest(w, i, b, max, err);

	for (size_t g = 0; g < sizeof(together) / sizeof(together[0]) && !ret; g++) {
		for (size_t m = 0; m < 3 && !ret; m++) {
			long other;

			if (strlen(t.name) >= NAME_MAX_LEN - 16 || !neighbour(t.name, g, m, name))
				continue;
			other = zw_safetensors_find(w->st, name);
			if (other < 0 || (size_t)other == i || !w->quantised[other])
				continue;
			o = info_of(w, (size_t)other);
			if (o.shape[1] == t.shape[1])
				ret = largest(w, (size_t)other, b, max, err);
		}
	}
	return ret;
}

/* ---- tensors ---- */

static int quantise_one(const struct work *w, size_t i, struct zw_error *err)
{
	const struct quantise *q = &w->c->q;
	struct zw_safetensors_info t = info_of(w, i);
	struct quantise_tensor out[QUANTISE_TENSORS];
	struct buffers b = {0};
	uint64_t n = t.shape[0], k = t.shape[1];
	float max = 0;
	int ret = 0;

	quantise_tensors(q, n, k, out);
	b.raw = malloc(QUANTISE_ROWS * k * 4);
	b.rows = malloc(QUANTISE_ROWS * k * sizeof(float));
	if (!b.raw || !b.rows)
		ret = -ENOMEM;
	for (int j = 0; j < QUANTISE_TENSORS && out[j].dtype && !ret; j++) {
		b.data[j] = calloc(1, out[j].bytes);
		if (!b.data[j])
			ret = -ENOMEM;
	}
	if (ret)
		fail(err, ret, "out of memory");
	else if (q->format == QUANTISE_NVFP4)
		ret = largest_together(w, i, &b, &max, err);
	for (uint64_t row = 0; row < n && !ret; row += QUANTISE_ROWS) {
		uint64_t count = n - row < QUANTISE_ROWS ? n - row : QUANTISE_ROWS;

		ret = read_rows(w, i, &t, row, count, b.raw, b.rows, err);
		if (!ret)
			quantise_rows(q, n, k, row, count, b.rows, max, b.data);
	}
	for (int j = 0; j < QUANTISE_TENSORS && out[j].dtype && !ret; j++)
		ret = writer_put(w->w, (size_t)w->first[i] + (size_t)j, 0, b.data[j], out[j].bytes,
				 err);
	buffers_free(&b);
	return ret;
}

static int copy_one(const struct work *w, size_t i, void *piece, struct zw_error *err)
{
	struct zw_safetensors_info t = info_of(w, i);
	int ret = 0;

	for (uint64_t at = 0; at < t.nbytes && !ret; at += PIECE) {
		uint64_t len = t.nbytes - at < PIECE ? t.nbytes - at : PIECE;

		ret = zw_safetensors_read(w->st, i, at, piece, len, err);
		if (!ret)
			ret = writer_put(w->w, (size_t)w->first[i], at, piece, len, err);
	}
	return ret;
}

/* "X" of "X.weight" to the list of modules that stay. */
static int skip(struct work *w, const char *name, struct zw_error *err)
{
	char *own = strndup(name, strlen(name) - strlen(".weight"));

	if (!own)
		return fail(err, -ENOMEM, "out of memory");
	w->skipped_own[w->num_skipped] = own;
	w->skipped[w->num_skipped++] = own;
	return 0;
}

static int name_one(struct work *w, size_t i, struct zw_error *err)
{
	const struct quantise *q = &w->c->q;
	struct zw_safetensors_info t = info_of(w, i);
	struct quantise_tensor out[QUANTISE_TENSORS];
	const char *why = NULL;
	char name[NAME_MAX_LEN + 32], line[NAME_MAX_LEN + 160];
	long added = 0;

	w->r->bytes_in += t.nbytes;
	if (t.ndim == 2 && is_projection(t.name)) {
		if (!float_bytes(t.dtype))
			return fail(err, -EOPNOTSUPP,
				    "%s: tensor %s: dtype %s: only BF16, F16 and F32 are quantised",
				    t.file, t.name, t.dtype_name);
		why = strlen(t.name) < NAME_MAX_LEN ? quantise_refusal(q, t.shape[0], t.shape[1])
						    : "its name is too long";
		w->quantised[i] = !why;
	}
	if (!w->quantised[i]) {
		w->r->bytes_out += t.nbytes;
		w->first[i] =
			writer_add(w->w, t.name, t.dtype_name, t.ndim, t.shape, t.nbytes, err);
		if (why && w->c->note) {
			snprintf(line, sizeof(line), "%s [%llu, %llu] stays %s: %s", t.name,
				 (unsigned long long)t.shape[0], (unsigned long long)t.shape[1],
				 t.dtype_name, why);
			w->c->note(w->c->opaque, line);
		}
		if (w->first[i] < 0)
			return (int)w->first[i];
		return t.ndim == 2 && ends_with(t.name, ".weight") ? skip(w, t.name, err) : 0;
	}
	quantise_tensors(q, t.shape[0], t.shape[1], out);
	for (int j = 0; j < QUANTISE_TENSORS && out[j].dtype; j++) {
		snprintf(name, sizeof(name), "%.*s%s", (int)(strlen(t.name) - strlen("weight")),
			 t.name, out[j].suffix);
		added = writer_add(w->w, name, out[j].dtype, out[j].ndim, out[j].dim, out[j].bytes,
				   err);
		if (added < 0)
			return (int)added;
		if (!j)
			w->first[i] = added;
		w->r->bytes_out += out[j].bytes;
	}
	w->r->matrices++;
	return 0;
}

static int convert_tensors(struct work *w, struct zw_error *err)
{
	size_t n = zw_safetensors_count(w->st);
	void *piece = malloc(PIECE);
	int ret = piece ? 0 : fail(err, -ENOMEM, "out of memory");

	for (size_t i = 0; i < n && !ret; i++) {
		if (w->c->progress && w->c->progress(w->c->opaque, i, n))
			ret = fail(err, -ECANCELED, "cancelled");
		else
			ret = w->quantised[i] ? quantise_one(w, i, err)
					      : copy_one(w, i, piece, err);
	}
	if (!ret && w->c->progress)
		w->c->progress(w->c->opaque, n, n);
	free(piece);
	return ret;
}

/* ---- other files ---- */

/* Weights, in whatever form, are not copied: they are what is converted. */
static bool is_weights(const char *name)
{
	static const char *const ends[] = {
		".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pt", ".pth",
		".gguf"};

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		if (ends_with(name, ends[i]))
			return true;
	}
	return false;
}

static int copy_file(struct work *w, const char *name, struct zw_error *err)
{
	struct stat sb;
	char *path;
	int ret = 0;

	if (asprintf(&path, "%s/%s", w->c->in, name) < 0)
		return fail(err, -ENOMEM, "out of memory");
	if (!stat(path, &sb) && S_ISREG(sb.st_mode))
		ret = writer_copy(w->w, name, path, err);
	free(path);
	return ret;
}

static int copy_files(struct work *w, struct zw_error *err)
{
	DIR *dir = opendir(w->c->in);
	struct dirent *e;
	int ret = 0;

	if (!dir) {
		ret = -errno;
		return fail(err, ret, "%s: %s", w->c->in, strerror(-ret));
	}
	while (!ret && (e = readdir(dir))) {
		if (strcmp(e->d_name, "config.json") && !is_weights(e->d_name))
			ret = copy_file(w, e->d_name, err);
	}
	closedir(dir);
	return ret;
}

static int read_config(struct work *w, struct zw_error *err)
{
	char *path, *text;
	size_t len;
	int ret;

	if (asprintf(&path, "%s/config.json", w->c->in) < 0)
		return fail(err, -ENOMEM, "out of memory");
	ret = read_text(path, READ_TEXT_MAX, &text, &len);
	if (ret) {
		fail(err, ret, "%s: %s", path, strerror(-ret));
		free(path);
		return ret;
	}
	w->config = cJSON_ParseWithLength(text, len);
	free(text);
	if (!cJSON_IsObject(w->config))
		ret = fail(err, -EBADMSG, "%s: not a JSON object", path);
	else if (cJSON_GetObjectItemCaseSensitive(w->config, "quantization_config"))
		ret = fail(err, -EOPNOTSUPP, "%s: has a quantization_config already", path);
	free(path);
	return ret;
}

static int write_config(struct work *w, struct zw_error *err)
{
	cJSON *quant = quantise_config(&w->c->q, w->skipped, w->num_skipped);
	char *text = NULL;
	int ret;

	if (quant && cJSON_AddItemToObject(w->config, "quantization_config", quant))
		text = cJSON_Print(w->config);
	else
		cJSON_Delete(quant);
	if (!text)
		return fail(err, -ENOMEM, "out of memory");
	ret = writer_file(w->w, "config.json", text, strlen(text), err);
	free(text);
	return ret;
}

static int run(struct work *w, struct zw_error *err)
{
	size_t n = zw_safetensors_count(w->st);
	int ret = 0;

	w->first = calloc(n + 1, sizeof(*w->first));
	w->quantised = calloc(n + 1, 1);
	w->skipped = calloc(n + 1, sizeof(*w->skipped));
	w->skipped_own = calloc(n + 1, sizeof(*w->skipped_own));
	if (!w->first || !w->quantised || !w->skipped || !w->skipped_own)
		return fail(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < n && !ret; i++)
		ret = name_one(w, i, err);
	if (!ret && !w->r->matrices)
		ret = fail(err, -EOPNOTSUPP, "%s: no matrix to quantise to %s", w->c->in,
			   quantise_name(w->c->q.format));
	if (!ret)
		ret = writer_begin(w->w, w->c->shard_bytes, err);
	if (!ret)
		ret = convert_tensors(w, err);
	if (!ret)
		ret = copy_files(w, err);
	if (!ret)
		ret = write_config(w, err);
	return ret ? ret : writer_finish(w->w, err);
}

int convert_checkpoint(const struct convert *c, struct convert_result *result, struct zw_error *err)
{
	struct work w = {.c = c, .r = result};
	int ret = read_config(&w, err);

	*result = (struct convert_result){0};
	if (!ret)
		ret = zw_safetensors_open(c->in, &w.st, err);
	if (!ret)
		ret = writer_open(c->out, &w.w, err);
	if (!ret)
		ret = run(&w, err);
	writer_close(w.w);
	zw_safetensors_close(w.st);
	for (size_t i = 0; i < w.num_skipped; i++)
		free(w.skipped_own[i]);
	free(w.first);
	free(w.quantised);
	free(w.skipped);
	free(w.skipped_own);
	cJSON_Delete(w.config);
	return ret;
}

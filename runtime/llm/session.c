// SPDX-License-Identifier: MIT
/*
 * Snapshots in files: a header, the ids, the blocks, the slab, as they lie in system memory, the note. Numbers are
 * little-endian, as on the hosts that this runs on. The header says what the rest is; a file is only
 * read when every field is what this context would have written, and its bytes are those that were.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "siphash.h"
#include "snapshot.h"

#define MAGIC   "ZWSESS\r\n" /* a text-mode transfer spoils it */
#define VERSION 1u
#define PIECE   (1u << 20) /* of the checksum */

struct header {
	char magic[8];
	uint32_t version, header_bytes;
	uint64_t model[2];
	char model_type[32];
	uint32_t kv_dtype, kv_layers, kv_heads, kv_dim;
	uint32_t block_tokens, vocab_size, tokens, note_bytes;
	uint64_t block_bytes, slab_bytes;
	uint64_t payload_bytes, payload_sum;
	uint64_t header_sum; /* of all before it */
};

/* A checksum, not a secret. */
static uint64_t sum(uint64_t state, const void *data, uint64_t len)
{
	const char *p = data;

	for (uint64_t at = 0; at < len; at += PIECE) {
		const uint64_t key[2] = {state, at};

		state = siphash(key, p + at, len - at < PIECE ? len - at : PIECE);
	}
	return state;
}

/* Without a note it adds nothing. */
static uint64_t payload_sum(const struct zw_snapshot *snap, const void *state, uint64_t bytes)
{
	return sum(sum(sum(0, snap->ids, 4ull * snap->length), state, bytes), snap->note,
		   snap->note_bytes);
}

static uint64_t ids_bytes(uint32_t tokens)
{
	return llm_align(4ull * tokens, 8);
}

/* The header of n tokens of this context and a note, without the checksums. */
static void fill(struct header *h, const struct zw_ctx *c, uint32_t n, uint32_t note_bytes)
{
	memset(h, 0, sizeof(*h));
	memcpy(h->magic, MAGIC, sizeof(h->magic));
	h->version = VERSION;
	h->header_bytes = sizeof(*h);
	memcpy(h->model, c->m->digest, sizeof(h->model));
	snprintf(h->model_type, sizeof(h->model_type), "%s", c->m->cfg.model_type);
	h->kv_dtype = c->o.kv_dtype;
	h->kv_layers = c->needs.kv_layers;
	h->kv_heads = c->needs.kv_heads;
	h->kv_dim = c->needs.kv_dim;
	h->block_tokens = LLM_BLOCK_TOKENS;
	h->vocab_size = c->m->cfg.vocab_size;
	h->tokens = n;
	h->block_bytes = llm_block_bytes(c);
	h->slab_bytes = c->needs.slab_bytes;
	h->note_bytes = note_bytes;
	h->payload_bytes = ids_bytes(n) + llm_snapshot_bytes(c, n) + note_bytes;
}

/* ---- save ---- */

static int write_all(FILE *f, const void *data, uint64_t len)
{
	return len && fwrite(data, 1, len, f) != len ? -errno : 0;
}

static int write_file(const char *path, const struct header *h, const struct zw_snapshot *snap,
		      const void *state, uint64_t bytes, struct zw_error *err)
{
	static const char zeroes[8];
	uint64_t n = 4ull * h->tokens;
	int ret = 0, fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "wb");

	if (!f) {
		ret = -errno;
		if (fd >= 0)
			close(fd);
		return llm_fail(err, ret, "%s: %s", path, strerror(-ret));
	}
	ret = write_all(f, h, sizeof(*h));
	if (!ret)
		ret = write_all(f, snap->ids, n);
	if (!ret)
		ret = write_all(f, zeroes, ids_bytes(h->tokens) - n);
	if (!ret)
		ret = write_all(f, state, bytes);
	if (!ret)
		ret = write_all(f, snap->note, snap->note_bytes);
	if (!ret && (fflush(f) || fsync(fd)))
		ret = -errno;
	if (fclose(f) && !ret)
		ret = -errno;
	return ret ? llm_fail(err, ret, "%s: write: %s", path, strerror(-ret)) : 0;
}

/* Under another name first: what is there is replaced by a whole file or not at all. */
static int save(const struct zw_snapshot *snap, const struct zw_buffer *state, const char *path,
		struct zw_error *err)
{
	const struct zw_ctx *c = snap->ctx;
	uint64_t bytes = llm_snapshot_bytes(c, snap->length);
	struct header h;
	char *temp;
	int ret;

	fill(&h, c, snap->length, snap->note_bytes);
	h.payload_sum = payload_sum(snap, state->ptr, bytes);
	h.header_sum = sum(0, &h, offsetof(struct header, header_sum));
	if (asprintf(&temp, "%s.%ld.new", path, (long)getpid()) < 0)
		return llm_fail(err, -ENOMEM, "%s: out of memory", path);
	ret = write_file(temp, &h, snap, state->ptr, bytes, err);
	if (!ret && rename(temp, path))
		ret = llm_fail(err, -errno, "%s: %s", path, strerror(errno));
	if (ret)
		unlink(temp);
	free(temp);
	return ret;
}

int zw_snapshot_save(const struct zw_snapshot *snap, const char *path, struct zw_error *err)
{
	struct zw_buffer state = {0};
	uint64_t bytes;
	int ret = 0;

	if (!snap || !path)
		return llm_fail(err, -EINVAL, "zw_snapshot_save: bad argument");
	bytes = llm_snapshot_bytes(snap->ctx, snap->length);
	if (snap->out)
		return save(snap, &snap->system, path, err);
	if (bytes)
		ret = zw_buffer_create(snap->ctx->m->vm, bytes, ZW_BO_SYSTEM, &state);
	if (!ret && bytes)
		ret = llm_snapshot_read(snap, &state);
	if (ret)
		llm_fail(err, ret, "%s: reading the sequence: %s", path, strerror(-ret));
	else
		ret = save(snap, &state, path, err);
	zw_buffer_destroy(&state);
	return ret;
}

/* ---- load ---- */

static int check_field(const char *path, const char *name, uint64_t has, uint64_t want,
		       struct zw_error *err)
{
	if (has == want)
		return 0;
	return llm_fail(err, -EINVAL, "%s: %s is %llu, here it is %llu", path, name,
			(unsigned long long)has, (unsigned long long)want);
}

/* What it was written for, field by field. */
static int check_header(const char *path, const struct header *h, uint64_t size,
			const struct zw_ctx *c, struct zw_error *err)
{
	struct header want;
	int ret;

	if (memcmp(h->magic, MAGIC, sizeof(h->magic)))
		return llm_fail(err, -EBADMSG, "%s: not a saved session", path);
	if (h->version != VERSION || h->header_bytes != sizeof(*h))
		return llm_fail(err, -EOPNOTSUPP, "%s: a session of version %u, this reads %u",
				path, h->version, VERSION);
	if (h->header_sum != sum(0, h, offsetof(struct header, header_sum)) ||
	    memchr(h->model_type, 0, sizeof(h->model_type)) == NULL)
		return llm_fail(err, -EBADMSG, "%s: the header is damaged", path);
	fill(&want, c, h->tokens, h->note_bytes);
	if (strcmp(h->model_type, want.model_type))
		return llm_fail(err, -EINVAL, "%s: a session of model_type \"%s\", not \"%s\"",
				path, h->model_type, want.model_type);
	if (memcmp(h->model, want.model, sizeof(h->model)))
		return llm_fail(err, -EINVAL,
				"%s: a session of model %016llx%016llx, not of this one, "
				"%016llx%016llx",
				path, (unsigned long long)h->model[0],
				(unsigned long long)h->model[1], (unsigned long long)want.model[0],
				(unsigned long long)want.model[1]);
	ret = check_field(path, "the KV cache's dtype", h->kv_dtype, want.kv_dtype, err);
	if (!ret)
		ret = check_field(path, "KV layers", h->kv_layers, want.kv_layers, err);
	if (!ret)
		ret = check_field(path, "KV heads", h->kv_heads, want.kv_heads, err);
	if (!ret)
		ret = check_field(path, "KV dimension", h->kv_dim, want.kv_dim, err);
	if (!ret)
		ret = check_field(path, "tokens of a block", h->block_tokens, want.block_tokens,
				  err);
	if (!ret)
		ret = check_field(path, "vocab_size", h->vocab_size, want.vocab_size, err);
	if (!ret)
		ret = check_field(path, "bytes of a block", h->block_bytes, want.block_bytes, err);
	if (!ret)
		ret = check_field(path, "bytes of state", h->slab_bytes, want.slab_bytes, err);
	if (!ret && h->tokens > c->o.context)
		ret = llm_fail(err, -ENOSPC, "%s: %u tokens, the context has room for %u", path,
			       h->tokens, c->o.context);
	if (!ret && h->note_bytes > ZW_SNAPSHOT_MAX_NOTE)
		ret = llm_fail(err, -EBADMSG, "%s: a note of %u bytes", path, h->note_bytes);
	if (!ret &&
	    (h->payload_bytes != want.payload_bytes || size != sizeof(*h) + want.payload_bytes))
		ret = llm_fail(err, -EBADMSG, "%s: %llu bytes, %llu were written", path,
			       (unsigned long long)size,
			       (unsigned long long)(sizeof(*h) + want.payload_bytes));
	return ret;
}

static int read_payload(int fd, const char *path, const struct header *h, struct zw_snapshot *snap,
			struct zw_error *err)
{
	uint64_t bytes = llm_snapshot_bytes(snap->ctx, snap->length);
	int ret;

	if (bytes) {
		ret = zw_buffer_create(snap->ctx->m->vm, bytes, ZW_BO_SYSTEM, &snap->system);
		if (ret)
			return llm_fail(err, ret, "%s: system memory for %llu bytes: %s", path,
					(unsigned long long)bytes, strerror(-ret));
	}
	ret = llm_file_pread(fd, path, snap->ids, 4ull * snap->length, sizeof(*h), err);
	if (!ret)
		ret = llm_file_pread(fd, path, snap->system.ptr, bytes,
				     sizeof(*h) + ids_bytes(snap->length), err);
	if (!ret && h->note_bytes) {
		snap->note = malloc(h->note_bytes);
		snap->note_bytes = h->note_bytes;
		ret = snap->note ? llm_file_pread(fd, path, snap->note, h->note_bytes,
						  sizeof(*h) + ids_bytes(snap->length) + bytes, err)
				 : llm_fail(err, -ENOMEM, "%s: out of memory", path);
	}
	if (ret)
		return ret;
	if (h->payload_sum != payload_sum(snap, snap->system.ptr, bytes))
		return llm_fail(err, -EBADMSG, "%s: the contents are damaged", path);
	for (uint32_t i = 0; i < snap->length; i++) {
		if (snap->ids[i] >= h->vocab_size)
			return llm_fail(err, -EBADMSG, "%s: token %u has id %u", path, i,
					snap->ids[i]);
	}
	return 0;
}

static int load(struct zw_ctx *c, int fd, const char *path, uint64_t size, struct zw_snapshot **out,
		struct zw_error *err)
{
	struct zw_snapshot *snap;
	struct header h;
	int ret;

	if (size < sizeof(h))
		return llm_fail(err, -EBADMSG, "%s: not a saved session", path);
	ret = llm_file_pread(fd, path, &h, sizeof(h), 0, err);
	if (!ret)
		ret = check_header(path, &h, size, c, err);
	if (ret)
		return ret;
	snap = llm_snapshot_new(c, h.tokens);
	if (!snap)
		return llm_fail(err, -ENOMEM, "%s: out of memory", path);
	snap->out = true;
	ret = read_payload(fd, path, &h, snap, err);
	if (ret)
		zw_snapshot_destroy(snap);
	else
		*out = snap;
	return ret;
}

int zw_snapshot_load(struct zw_ctx *c, const char *path, struct zw_snapshot **out,
		     struct zw_error *err)
{
	uint64_t size;
	int fd, ret;

	if (!c || !path || !out)
		return llm_fail(err, -EINVAL, "zw_snapshot_load: bad argument");
	fd = llm_file_open(path, &size, err);
	if (fd < 0)
		return fd;
	ret = load(c, fd, path, size, out, err);
	close(fd);
	return ret;
}

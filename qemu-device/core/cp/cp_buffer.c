// SPDX-License-Identifier: MIT
/* Command buffers: copied once, checked once, before any packet of them runs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "zw_cp_int.h"

void zw_cp_buffer_drop(struct zw_cp_buffer *buf)
{
	free(buf->bytes);
	zw_cp_known_drop(buf);
	*buf = (struct zw_cp_buffer){0};
}

bool zw_cp_buffer_is_of(const struct zw_cp_buffer *buf, const struct zw_soc_job *job)
{
	return buf->va == job->cmd_va && buf->size == job->cmd_bytes && buf->vm == job->vm;
}

static int refuse(const struct zw_cp_buffer *buf, struct zw_soc_job *job,
		  const struct zw_cp_form *form, const char **where)
{
	const struct zw_pkt *hdr = (const struct zw_pkt *)(buf->bytes + form->bad_offset);
	const struct zw_cp_op *op = zw_cp_op_find(hdr->opcode);
	/* The end of the buffer may cut a header off. */
	bool whole = buf->size - form->bad_offset >= sizeof(*hdr);

	zw_cp_set_failed(job, ZW_JOB_INVALID, form->reason, form->packet, whole ? hdr->tag : 0);
	*where = op ? op->name : "(unknown)";
	return -EIO;
}

int zw_cp_buffer_load(const struct zw_cp_config *cfg, struct zw_soc_job *job,
		      struct zw_cp_buffer *buf, const char **where)
{
	struct zw_mem_fault fault = {0};
	struct zw_cp_form form;
	int err;

	*where = "(buffer)";
	*buf = (struct zw_cp_buffer){.va = job->cmd_va, .size = job->cmd_bytes, .vm = job->vm};
	if (job->cmd_bytes % 16 || job->cmd_bytes > ZW_CMD_MAX_BYTES || job->cmd_va % 16) {
		zw_cp_set_failed(job, ZW_JOB_INVALID, ZW_REASON_CMD_SIZE, 0, 0);
		return -EIO;
	}
	if (!buf->size)
		return 0;
	/* The guest may rewrite its buffer at any moment. */
	buf->bytes = aligned_alloc(16, buf->size);
	if (!buf->bytes) {
		zw_cp_set_failed(job, ZW_JOB_NO_MEMORY, ZW_REASON_NONE, 0, 0);
		return -EIO;
	}
	err = zw_mem_read(cfg->mmu, buf->vm, buf->va, buf->bytes, buf->size, &fault);
	if (err) {
		zw_cp_set_mem_error(job, err, &fault, 0);
		return -EIO;
	}
	zw_cp_validate(buf->bytes, buf->size, cfg->profile, &form);
	return form.reason ? refuse(buf, job, &form, where) : 0;
}

void zw_cp_buffer_keep(struct zw_cp_kept *kept, struct zw_cp_buffer *buf)
{
	struct zw_cp_buffer *slot = NULL;

	for (unsigned int i = 0; i < ZW_CP_KEPT && !slot; i++)
		if (!kept->buffer[i].bytes)
			slot = &kept->buffer[i];
	if (!slot)
		slot = &kept->buffer[kept->next++ % ZW_CP_KEPT];
	zw_cp_buffer_drop(slot);
	*slot = *buf;
	*buf = (struct zw_cp_buffer){0};
}

static bool same_bytes(const struct zw_cp_config *cfg, const struct zw_cp_buffer *buf)
{
	struct zw_mem_fault fault;
	struct zw_view view;
	bool same;

	if (zw_mem_map(cfg->mmu, buf->vm, buf->va, buf->size, ZW_ACCESS_READ, &view, &fault))
		return false; /* who loads it is told why */
	same = !memcmp(view.ptr, buf->bytes, buf->size);
	zw_mem_unmap(cfg->mmu, buf->vm, &view, false, &fault);
	return same;
}

bool zw_cp_buffer_again(const struct zw_cp_config *cfg, struct zw_cp_kept *kept,
			const struct zw_soc_job *job, struct zw_cp_buffer *buf)
{
	for (unsigned int i = 0; i < ZW_CP_KEPT; i++) {
		struct zw_cp_buffer *b = &kept->buffer[i];

		if (!b->bytes || !zw_cp_buffer_is_of(b, job) || !same_bytes(cfg, b))
			continue;
		*buf = *b;
		*b = (struct zw_cp_buffer){0};
		return true;
	}
	return false;
}

void zw_cp_kept_drop(struct zw_cp_kept *kept)
{
	for (unsigned int i = 0; i < ZW_CP_KEPT; i++)
		zw_cp_buffer_drop(&kept->buffer[i]);
}

/* SPDX-License-Identifier: MIT */
/* A source of tensors in memory, for tests of load plans. */
#ifndef LLM_MEM_SOURCE_H
#define LLM_MEM_SOURCE_H

#include "llm_test.h"

#include <zhenwu/zhenwu.h>

#include "plan.h"

struct mem_tensor {
	const char *name;
	uint32_t dtype, ndim;
	uint64_t dim[4];
	void *data;
};

struct mem_source {
	struct llm_source base;
	struct mem_tensor t[40];
	size_t n;
	long broken; /* tensor that cannot be read, or -1 */
};

static inline const struct mem_source *mem_of(const struct llm_source *s)
{
	return (const struct mem_source *)s;
}

static inline uint64_t elements(const struct mem_tensor *t)
{
	uint64_t n = 1;

	for (uint32_t i = 0; i < t->ndim; i++)
		n *= t->dim[i];
	return n;
}

static inline size_t mem_count(const struct llm_source *s)
{
	return mem_of(s)->n;
}

static inline void mem_get(const struct llm_source *s, size_t i, struct llm_source_tensor *out)
{
	const struct mem_tensor *t = &mem_of(s)->t[i];

	*out = (struct llm_source_tensor){.name = t->name,
					  .file = "mem",
					  .dtype_name = "X",
					  .dtype = t->dtype,
					  .ndim = t->ndim};
	memcpy(out->dim, t->dim, sizeof(t->dim));
	out->bytes = llm_dtype_bytes(t->dtype, elements(t));
}

static inline long mem_find(const struct llm_source *s, const char *name)
{
	for (size_t i = 0; i < mem_of(s)->n; i++) {
		if (!strcmp(mem_of(s)->t[i].name, name))
			return (long)i;
	}
	return -ENOENT;
}

static inline int mem_read(const struct llm_source *s, size_t i, uint64_t off, void *dst,
			   uint64_t len, struct zw_error *err)
{
	const struct mem_tensor *t = &mem_of(s)->t[i];

	if ((long)i == mem_of(s)->broken)
		return llm_fail(err, -EIO, "mem: broken");
	assert_true(off + len <= llm_dtype_bytes(t->dtype, elements(t)));
	memcpy(dst, (const char *)t->data + off, len);
	return 0;
}

static const struct llm_source_ops mem_ops = {
	.count = mem_count, .get = mem_get, .find = mem_find, .read = mem_read};

/* The buffer that a plan fills, as the device has it; *dst get their addresses in it. */
static inline char *mem_run(struct zw_vm *vm, struct llm_plan *p, struct zw_buffer *buf)
{
	struct zw_buffer host, code;
	struct zw_copier *c;
	struct zw_queue *q;
	struct zw_cmd cmd;
	struct zw_error err = {""};
	char *out;

	assert_int_equal(zw_buffer_create(vm, p->bytes, ZW_BO_HBM, buf), 0);
	assert_int_equal(zw_buffer_create(vm, p->bytes, ZW_BO_SYSTEM, &host), 0);
	assert_int_equal(zw_buffer_create(vm, 4096, ZW_BO_SYSTEM, &code), 0);
	llm_plan_place(p, buf->va);
	assert_int_equal(zw_copier_create(vm, NULL, &c), 0);
	if (llm_plan_run(p, NULL, NULL, c, buf->va, NULL, NULL, NULL, &err))
		fail_msg("%s", err.msg);
	zw_copier_destroy(c);
	zw_cmd_init_fixed(&cmd, code.ptr, 4096);
	assert_int_equal(zw_cmd_copy(&cmd, host.va, buf->va, p->bytes, 0), 0);
	assert_int_equal(zw_queue_create(vm, NULL, &q), 0);
	assert_int_equal(zw_queue_run(q, code.va, (uint32_t)cmd.used, 0, ZW_FOREVER), 0);
	zw_queue_destroy(q);
	out = malloc(p->bytes);
	memcpy(out, host.ptr, p->bytes);
	zw_buffer_destroy(&host);
	zw_buffer_destroy(&code);
	return out;
}

#endif

// SPDX-License-Identifier: MIT
/*
 * Random calls that know what the arguments mean: mostly right, some wrong in a field or two, with ids that are live,
 * were destroyed, or belong to another file. A seed gives the same calls again. After each call the result has to be one
 * that the interface documents; after all of them memory, VMs and queues are back, and the device was never reset.
 *
 * ZW_FUZZ_CALLS: how many (60000); ZW_FUZZ_SEED: instead of the one that changes with the day.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "zw_kst.h"

#define FILES      3
#define IDS        12
#define ARG_MAX    4096u
#define ELEMENTS   6u
#define USER_BYTES (64 * MIB) /* used in turn: no page is in many buffers at a time */
#define FIRST_VA   (2 * MIB)
#define MOST_CALLS 32

/* -- what arguments consist of -- */

enum kind {
	END,
	MBZ,   /* padding, and what is only returned */
	FLAGS, /* any of the bits in arg, or one more */
	BELOW, /* 0 .. arg - 1 */
	VM,    /* ids; */
	LR_VM, /* of those with user-mode queues, */
	QUEUE,
	LR_QUEUE,
	BO,
	SYNCOBJ,
	KINDS_OF_IDS,
	SIZE,   /* bytes of memory, in pages */
	BYTES,  /* of a command buffer */
	OFFSET, /* in a buffer, in pages */
	VA,
	POINTER, /* to memory of the process */
	LENGTH,  /* of it */
	WHEN,    /* absolute time, soon */
	SMALL,   /* a number */
	ARRAY,   /* struct drm_zhenwu_obj_array of fields[arg] */
};

struct field {
	uint16_t offset, size;
	uint8_t kind;
	uint32_t arg;
};

struct ids {
	uint32_t id[IDS]; /* the latest; live or not */
	unsigned int n;
};

struct fuzz {
	int fd[FILES];
	struct ids ids[FILES][KINDS_OF_IDS];
	uint64_t rng;
	unsigned int file;       /* whose turn it is */
	unsigned int wrong;      /* fields yet to be made wrong */
	uint8_t *arg, *array[2]; /* each ends where memory that cannot be touched begins */
	uint8_t *user;
	uint64_t user_at;
	uint64_t done[MOST_CALLS][2]; /* by call: refused, done */
};

static uint32_t pick(struct fuzz *f, uint32_t below)
{
	/* PCG XSH RR */
	uint64_t s = f->rng;
	uint32_t x = (uint32_t)(((s >> 18) ^ s) >> 27), r = (uint32_t)(s >> 59);

	f->rng = s * 6364136223846793005ull + 1442695040888963407ull;
	return ((x >> r) | (x << (-r & 31))) % below;
}

static uint32_t some_id(struct fuzz *f, enum kind kind, bool other_file)
{
	unsigned int file = other_file ? (f->file + 1 + pick(f, FILES - 1)) % FILES : f->file;
	const struct ids *ids = &f->ids[file][kind];

	return ids->n ? ids->id[pick(f, ids->n < IDS ? ids->n : IDS)] : 0;
}

#define FIELD(s, member, kind, arg)                                                                \
	{                                                                                          \
		offsetof(struct s, member), sizeof(((struct s *)0)->member), kind, arg             \
	}

enum element { SYNC_OP, BIND_OP, JOB, SAMPLE, RECORD };

static const struct field sync_op[] = {
	FIELD(drm_zhenwu_sync_op, flags, FLAGS, DRM_ZHENWU_SYNC_OP_SIGNAL | 1),
	FIELD(drm_zhenwu_sync_op, handle, SYNCOBJ, 0),
	FIELD(drm_zhenwu_sync_op, timeline_value, SMALL, 0),
	{0},
};

static void mend_sync(struct fuzz *f, void *element)
{
	struct drm_zhenwu_sync_op *o = element;

	if (o->flags & DRM_ZHENWU_SYNC_OP_HANDLE_TYPE_MASK)
		o->timeline_value++;
	else
		o->timeline_value = 0;
	/* Most are not signalled yet, and waiting for those is refused. */
	if (pick(f, 4))
		o->flags |= DRM_ZHENWU_SYNC_OP_SIGNAL;
}

static const struct field bind_op[] = {
	FIELD(drm_zhenwu_vm_bind_op, flags, FLAGS, DRM_ZHENWU_VM_BIND_OP_MAP_READONLY),
	FIELD(drm_zhenwu_vm_bind_op, bo_handle, BO, 0),
	FIELD(drm_zhenwu_vm_bind_op, bo_offset, OFFSET, 0),
	FIELD(drm_zhenwu_vm_bind_op, va, VA, 0),
	FIELD(drm_zhenwu_vm_bind_op, size, SIZE, 0),
	FIELD(drm_zhenwu_vm_bind_op, syncs, ARRAY, SYNC_OP),
	{0},
};

static void mend_bind(struct fuzz *f, void *element)
{
	struct drm_zhenwu_vm_bind_op *o = element;

	if (pick(f, 8) == 0) {
		const struct drm_zhenwu_obj_array syncs = o->syncs;

		*o = (struct drm_zhenwu_vm_bind_op){.flags = DRM_ZHENWU_VM_BIND_OP_TYPE_SYNC_ONLY,
						    .syncs = syncs};
		return;
	}
	if (pick(f, 4) == 0) {
		o->flags = DRM_ZHENWU_VM_BIND_OP_TYPE_UNMAP;
		o->bo_handle = 0;
		o->bo_offset = 0;
	} else if (pick(f, 4)) {
		o->bo_offset = 0;
		o->size = 4096;
	}
	if (!o->va)
		o->va = FIRST_VA;
}

static const struct field job[] = {
	FIELD(drm_zhenwu_job, cmd_va, VA, 0),         FIELD(drm_zhenwu_job, cmd_bytes, BYTES, 0),
	FIELD(drm_zhenwu_job, flags, MBZ, 0),         FIELD(drm_zhenwu_job, result_va, VA, 0),
	FIELD(drm_zhenwu_job, syncs, ARRAY, SYNC_OP), {0},
};

static void mend_job(struct fuzz *f, void *element)
{
	struct drm_zhenwu_job *j = element;

	if (pick(f, 2))
		j->cmd_bytes = 0;
	if (!j->cmd_bytes)
		j->cmd_va = 0;
}

/* What is only written. */
static const struct field sample[] = {{0}};

/* mend: makes fields fit each other, before some are made wrong. */
static const struct {
	const struct field *fields;
	uint32_t size;
	void (*mend)(struct fuzz *f, void *element);
} elements[] = {
	[SYNC_OP] = {sync_op, sizeof(struct drm_zhenwu_sync_op), mend_sync},
	[BIND_OP] = {bind_op, sizeof(struct drm_zhenwu_vm_bind_op), mend_bind},
	[JOB] = {job, sizeof(struct drm_zhenwu_job), mend_job},
	[SAMPLE] = {sample, sizeof(struct drm_zhenwu_telemetry_sample), NULL},
	[RECORD] = {sample, sizeof(struct drm_zhenwu_perf_record), NULL},
};

static void mend_bo(struct fuzz *f, void *arg)
{
	struct drm_zhenwu_bo_create *c = arg;

	if (pick(f, 4))
		c->exclusive_vm_id = 0;
	if (!(c->flags & (DRM_ZHENWU_BO_HBM | DRM_ZHENWU_BO_SYSTEM)))
		c->flags |= DRM_ZHENWU_BO_HBM;
}

static void mend_queue(struct fuzz *f, void *arg)
{
	struct drm_zhenwu_queue_create *c = arg;

	if (c->ring_slots)
		c->ring_slots = 8u << pick(f, 4);
	if (pick(f, 3) == 0) {
		c->vm_id = some_id(f, LR_VM, false);
		return;
	}
	c->ring_va = c->ctrl_va = c->completions_va = 0;
}

/* What a call that went well did to the ids of its file. */
enum effect { NOTHING, ADDS, REMOVES };

struct call {
	const char *name;
	unsigned long request;
	unsigned int weight;
	enum effect effect;
	enum kind id;       /* of the effect, */
	uint16_t id_offset; /* and where it is */
	const struct field *fields;
	void (*mend)(struct fuzz *f, void *arg);
};

#define FIELDS(...)                 ((const struct field[]){__VA_ARGS__, {0}})
#define ID(s, member, effect, kind) effect, kind, offsetof(struct s, member)

static const struct call calls[] = {
	{"DEV_QUERY", DRM_IOCTL_ZHENWU_DEV_QUERY, 2, NOTHING, END, 0,
	 FIELDS(FIELD(drm_zhenwu_dev_query, type, BELOW, 5),
		FIELD(drm_zhenwu_dev_query, size, LENGTH, 0),
		FIELD(drm_zhenwu_dev_query, pointer, POINTER, 0),
		FIELD(drm_zhenwu_dev_query, object_id, QUEUE, 0),
		FIELD(drm_zhenwu_dev_query, pad, MBZ, 0))},
	{"VM_CREATE", DRM_IOCTL_ZHENWU_VM_CREATE, 3, ID(drm_zhenwu_vm_create, id, ADDS, VM),
	 FIELDS(FIELD(drm_zhenwu_vm_create, flags, FLAGS, DRM_ZHENWU_VM_CREATE_LR),
		FIELD(drm_zhenwu_vm_create, id, MBZ, 0))},
	{"VM_DESTROY", DRM_IOCTL_ZHENWU_VM_DESTROY, 2, ID(drm_zhenwu_vm_destroy, id, REMOVES, VM),
	 FIELDS(FIELD(drm_zhenwu_vm_destroy, id, VM, 0),
		FIELD(drm_zhenwu_vm_destroy, pad, MBZ, 0))},
	{"VM_BIND", DRM_IOCTL_ZHENWU_VM_BIND, 12, NOTHING, END, 0,
	 FIELDS(FIELD(drm_zhenwu_vm_bind, vm_id, VM, 0),
		FIELD(drm_zhenwu_vm_bind, flags, FLAGS, DRM_ZHENWU_VM_BIND_ASYNC),
		FIELD(drm_zhenwu_vm_bind, ops, ARRAY, BIND_OP),
		FIELD(drm_zhenwu_vm_bind, num_done, MBZ, 0),
		FIELD(drm_zhenwu_vm_bind, pad, MBZ, 0))},
	{"VM_GET_STATE", DRM_IOCTL_ZHENWU_VM_GET_STATE, 1, NOTHING, END, 0,
	 FIELDS(FIELD(drm_zhenwu_vm_get_state, vm_id, VM, 0),
		FIELD(drm_zhenwu_vm_get_state, state, MBZ, 0))},
	{"BO_CREATE", DRM_IOCTL_ZHENWU_BO_CREATE, 5, ID(drm_zhenwu_bo_create, handle, ADDS, BO),
	 FIELDS(FIELD(drm_zhenwu_bo_create, size, SIZE, 0),
		FIELD(drm_zhenwu_bo_create, flags, FLAGS, 0xf),
		FIELD(drm_zhenwu_bo_create, handle, MBZ, 0),
		FIELD(drm_zhenwu_bo_create, exclusive_vm_id, VM, 0),
		FIELD(drm_zhenwu_bo_create, pad, MBZ, 0)),
	 mend_bo},
	{"BO_CREATE_USERPTR", DRM_IOCTL_ZHENWU_BO_CREATE_USERPTR, 2,
	 ID(drm_zhenwu_bo_create_userptr, handle, ADDS, BO),
	 FIELDS(FIELD(drm_zhenwu_bo_create_userptr, addr, POINTER, 4096),
		FIELD(drm_zhenwu_bo_create_userptr, size, SIZE, 0),
		FIELD(drm_zhenwu_bo_create_userptr, flags, FLAGS, DRM_ZHENWU_BO_READONLY),
		FIELD(drm_zhenwu_bo_create_userptr, handle, MBZ, 0),
		FIELD(drm_zhenwu_bo_create_userptr, exclusive_vm_id, MBZ, 0),
		FIELD(drm_zhenwu_bo_create_userptr, pad, MBZ, 0))},
	{"BO_MMAP_OFFSET", DRM_IOCTL_ZHENWU_BO_MMAP_OFFSET, 4, NOTHING, END, 0,
	 FIELDS(FIELD(drm_zhenwu_bo_mmap_offset, handle, BO, 0),
		FIELD(drm_zhenwu_bo_mmap_offset, pad, MBZ, 0),
		FIELD(drm_zhenwu_bo_mmap_offset, offset, MBZ, 0))},
	{"BO_WAIT", DRM_IOCTL_ZHENWU_BO_WAIT, 1, NOTHING, END, 0,
	 FIELDS(FIELD(drm_zhenwu_bo_wait, handle, BO, 0), FIELD(drm_zhenwu_bo_wait, pad, MBZ, 0),
		FIELD(drm_zhenwu_bo_wait, timeout_ns, WHEN, 0))},
	{"BO_SET_LABEL", DRM_IOCTL_ZHENWU_BO_SET_LABEL, 1, NOTHING, END, 0,
	 FIELDS(FIELD(drm_zhenwu_bo_set_label, handle, BO, 0),
		FIELD(drm_zhenwu_bo_set_label, pad, MBZ, 0),
		FIELD(drm_zhenwu_bo_set_label, label, POINTER, 0))},
	{"BO_MADVISE", DRM_IOCTL_ZHENWU_BO_MADVISE, 2, NOTHING, END, 0,
	 FIELDS(FIELD(drm_zhenwu_bo_madvise, handle, BO, 0),
		FIELD(drm_zhenwu_bo_madvise, madv, BELOW, 2),
		FIELD(drm_zhenwu_bo_madvise, retained, MBZ, 0),
		FIELD(drm_zhenwu_bo_madvise, pad, MBZ, 0))},
	{"BO_QUERY_INFO", DRM_IOCTL_ZHENWU_BO_QUERY_INFO, 1, NOTHING, END, 0,
	 FIELDS(FIELD(drm_zhenwu_bo_query_info, handle, BO, 0),
		FIELD(drm_zhenwu_bo_query_info, flags, MBZ, 0),
		FIELD(drm_zhenwu_bo_query_info, size, MBZ, 0),
		FIELD(drm_zhenwu_bo_query_info, placement, MBZ, 0),
		FIELD(drm_zhenwu_bo_query_info, pad, MBZ, 0))},
	{"QUEUE_CREATE", DRM_IOCTL_ZHENWU_QUEUE_CREATE, 4,
	 ID(drm_zhenwu_queue_create, queue_id, ADDS, QUEUE),
	 FIELDS(FIELD(drm_zhenwu_queue_create, vm_id, VM, 0),
		FIELD(drm_zhenwu_queue_create, priority, BELOW, 4),
		FIELD(drm_zhenwu_queue_create, ring_slots, FLAGS, 8 | 64),
		FIELD(drm_zhenwu_queue_create, flags, FLAGS, DRM_ZHENWU_QUEUE_PERF),
		FIELD(drm_zhenwu_queue_create, queue_id, MBZ, 0),
		FIELD(drm_zhenwu_queue_create, pad, MBZ, 0),
		FIELD(drm_zhenwu_queue_create, ring_va, VA, 0),
		FIELD(drm_zhenwu_queue_create, ctrl_va, VA, 0),
		FIELD(drm_zhenwu_queue_create, doorbell_offset, MBZ, 0),
		FIELD(drm_zhenwu_queue_create, completions_va, VA, 0)),
	 mend_queue},
	{"QUEUE_DESTROY", DRM_IOCTL_ZHENWU_QUEUE_DESTROY, 2,
	 ID(drm_zhenwu_queue_destroy, queue_id, REMOVES, QUEUE),
	 FIELDS(FIELD(drm_zhenwu_queue_destroy, queue_id, QUEUE, 0),
		FIELD(drm_zhenwu_queue_destroy, pad, MBZ, 0))},
	{"QUEUE_GET_STATE", DRM_IOCTL_ZHENWU_QUEUE_GET_STATE, 1, NOTHING, END, 0,
	 FIELDS(FIELD(drm_zhenwu_queue_get_state, queue_id, QUEUE, 0),
		FIELD(drm_zhenwu_queue_get_state, state, MBZ, 0),
		FIELD(drm_zhenwu_queue_get_state, submitted, MBZ, 0))},
	{"SUBMIT", DRM_IOCTL_ZHENWU_SUBMIT, 12, NOTHING, END, 0,
	 FIELDS(FIELD(drm_zhenwu_submit, queue_id, QUEUE, 0), FIELD(drm_zhenwu_submit, pad, MBZ, 0),
		FIELD(drm_zhenwu_submit, jobs, ARRAY, JOB),
		FIELD(drm_zhenwu_submit, first_seqno, MBZ, 0))},
	{"QUEUE_WAIT", DRM_IOCTL_ZHENWU_QUEUE_WAIT, 4, NOTHING, END, 0,
	 FIELDS(FIELD(drm_zhenwu_queue_wait, queue_id, LR_QUEUE, 0),
		FIELD(drm_zhenwu_queue_wait, flags, MBZ, 0),
		FIELD(drm_zhenwu_queue_wait, addr, POINTER, 8),
		FIELD(drm_zhenwu_queue_wait, value, SMALL, 0),
		FIELD(drm_zhenwu_queue_wait, timeout_ns, WHEN, 0))},
	{"TELEMETRY_SET", DRM_IOCTL_ZHENWU_TELEMETRY_SET, 1, NOTHING, END, 0,
	 FIELDS(FIELD(drm_zhenwu_telemetry_set, interval_us, FLAGS, 2048 | 4096 | 65536),
		FIELD(drm_zhenwu_telemetry_set, flags, MBZ, 0))},
	{"TELEMETRY_READ", DRM_IOCTL_ZHENWU_TELEMETRY_READ, 1, NOTHING, END, 0,
	 FIELDS(FIELD(drm_zhenwu_telemetry_read, samples, ARRAY, SAMPLE),
		FIELD(drm_zhenwu_telemetry_read, seq, SMALL, 0),
		FIELD(drm_zhenwu_telemetry_read, lost, MBZ, 0),
		FIELD(drm_zhenwu_telemetry_read, timeout_ns, WHEN, 0),
		FIELD(drm_zhenwu_telemetry_read, count, MBZ, 0),
		FIELD(drm_zhenwu_telemetry_read, flags, MBZ, 0))},
	{"PERF_OPEN", DRM_IOCTL_ZHENWU_PERF_OPEN, 1, NOTHING, END, 0,
	 FIELDS(FIELD(drm_zhenwu_perf_open, records, FLAGS, 64 | 4096),
		FIELD(drm_zhenwu_perf_open, flags, MBZ, 0))},
	{"PERF_READ", DRM_IOCTL_ZHENWU_PERF_READ, 2, NOTHING, END, 0,
	 FIELDS(FIELD(drm_zhenwu_perf_read, records, ARRAY, RECORD),
		FIELD(drm_zhenwu_perf_read, lost, MBZ, 0),
		FIELD(drm_zhenwu_perf_read, timeout_ns, WHEN, 0),
		FIELD(drm_zhenwu_perf_read, count, MBZ, 0),
		FIELD(drm_zhenwu_perf_read, flags, FLAGS, DRM_ZHENWU_PERF_READ_SETTLE))},
	{"GEM_CLOSE", DRM_IOCTL_GEM_CLOSE, 2, ID(drm_gem_close, handle, REMOVES, BO),
	 FIELDS(FIELD(drm_gem_close, handle, BO, 0), FIELD(drm_gem_close, pad, MBZ, 0))},
	{"SYNCOBJ_CREATE", DRM_IOCTL_SYNCOBJ_CREATE, 2,
	 ID(drm_syncobj_create, handle, ADDS, SYNCOBJ),
	 FIELDS(FIELD(drm_syncobj_create, handle, MBZ, 0),
		FIELD(drm_syncobj_create, flags, FLAGS, DRM_SYNCOBJ_CREATE_SIGNALED))},
	{"SYNCOBJ_DESTROY", DRM_IOCTL_SYNCOBJ_DESTROY, 1,
	 ID(drm_syncobj_destroy, handle, REMOVES, SYNCOBJ),
	 FIELDS(FIELD(drm_syncobj_destroy, handle, SYNCOBJ, 0),
		FIELD(drm_syncobj_destroy, pad, MBZ, 0))},
};
#define N_CALLS (sizeof(calls) / sizeof(calls[0]))
_Static_assert(N_CALLS <= MOST_CALLS, "room for what they came to");

/* All that the interface documents, and what the kernel says before the driver is asked. */
static const int documented[] = {0,       EINVAL,    ENOENT, EFAULT, EOPNOTSUPP, ENOSPC,
				 ENOMEM,  ECANCELED, EACCES, ETIME,  ETIMEDOUT,  EINTR,
				 ENODATA, EBUSY,     E2BIG,  EEXIST, ENOTTY,     EPERM};

/* -- making arguments -- */

/* Memory that ends where a page begins that nobody may touch. */
static uint8_t *guarded(void)
{
	uint8_t *p =
		mmap(NULL, 2 * ARG_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || mprotect(p + ARG_MAX, ARG_MAX, PROT_NONE))
		return NULL;
	return p + ARG_MAX;
}

/* Where the next buffer over memory of the process begins. */
static uint64_t next_pages(struct fuzz *f)
{
	f->user_at = (f->user_at + 4096ull * (1 + pick(f, 128))) % (USER_BYTES - MIB);
	return f->user_at;
}

static uint64_t soon(struct fuzz *f)
{
	return (uint64_t)zw_deadline(pick(f, 3) * 500000);
}

static uint64_t right(struct fuzz *f, const struct field *d)
{
	uint32_t bits = 0;

	switch (d->kind) {
	case FLAGS:
		for (uint32_t b = d->arg; b; b &= b - 1)
			bits |= pick(f, 2) ? b & -b : 0;
		return bits;
	case BELOW:
		return pick(f, d->arg);
	case VM:
		return some_id(f, pick(f, 4) ? VM : LR_VM, false);
	case QUEUE:
	case LR_QUEUE:
	case BO:
	case SYNCOBJ:
		return some_id(f, d->kind, false);
	case SIZE:
		return 4096ull << pick(f, 8);
	case BYTES:
		return 16 * pick(f, 24);
	case OFFSET:
		return pick(f, 4) ? 0 : 4096ull * pick(f, 8);
	case VA:
		return pick(f, 8) ? FIRST_VA + 65536ull * pick(f, 16) : 0;
	case POINTER:
		if (d->arg == 4096)
			return (uintptr_t)f->user + next_pages(f);
		return (uintptr_t)f->user + (d->arg ? d->arg * pick(f, 64) : 0);
	case LENGTH:
		return pick(f, 1024);
	case WHEN:
		return pick(f, 2) ? 0 : soon(f);
	case SMALL:
		return pick(f, 4);
	default:
		return 0;
	}
}

static uint64_t wrong(struct fuzz *f, const struct field *d)
{
	static const uint64_t odd[] = {1,          7,          4095,       0x7fffffff,
				       0x80000000, 0xffffffff, 1ull << 32, 1ull << 47,
				       1ull << 48, 1ull << 63, UINT64_MAX, UINT64_MAX - 4095};

	/* Waits that would not end in time are no test. */
	if (d->kind == WHEN)
		return pick(f, 2) ? UINT64_MAX : soon(f);
	if (d->kind >= VM && d->kind <= SYNCOBJ && pick(f, 3))
		return some_id(f, d->kind, true);
	if (pick(f, 4))
		return odd[pick(f, sizeof(odd) / sizeof(odd[0]))];
	return right(f, d) ^ 1ull << pick(f, 8 * d->size);
}

static bool spoil(struct fuzz *f)
{
	if (!f->wrong || pick(f, 6))
		return false;
	f->wrong--;
	return true;
}

static void spoil_fields(struct fuzz *f, const struct field *fields, uint8_t *at)
{
	for (const struct field *d = fields; d->size; d++) {
		uint64_t v;

		if (d->kind == ARRAY || !spoil(f))
			continue;
		v = wrong(f, d);
		memcpy(at + d->offset, &v, d->size);
	}
}

static void fill(struct fuzz *f, const struct field *fields, uint8_t *at, unsigned int depth);

static void fill_array(struct fuzz *f, const struct field *d, uint8_t *at, unsigned int depth)
{
	uint32_t size = elements[d->arg].size, n = pick(f, 3) ? 1 : pick(f, ELEMENTS);
	struct drm_zhenwu_obj_array a = {0};

	if (d->arg == SAMPLE)
		n = 1;
	if (d->arg == SYNC_OP && pick(f, 2))
		n = 0;
	if (n) {
		a = (struct drm_zhenwu_obj_array){.stride = size,
						  .count = n,
						  .array = (uintptr_t)f->array[depth] -
							   (uint64_t)n * size};
		memset((void *)(uintptr_t)a.array, 0, (size_t)n * size);
		/* The syncs of all jobs share their memory: the last ones made are everybody's. */
		for (uint32_t i = 0; i < n; i++) {
			uint8_t *one = (uint8_t *)(uintptr_t)a.array + (size_t)i * size;

			fill(f, elements[d->arg].fields, one, depth + 1);
			if (elements[d->arg].mend)
				elements[d->arg].mend(f, one);
			spoil_fields(f, elements[d->arg].fields, one);
		}
	}
	if (spoil(f))
		a.stride ^= 1u << pick(f, 12);
	if (spoil(f))
		a.count ^= 1u << pick(f, 32);
	if (spoil(f))
		a.array += 1ull << pick(f, 48);
	memcpy(at, &a, sizeof(a));
}

static void fill(struct fuzz *f, const struct field *fields, uint8_t *at, unsigned int depth)
{
	for (const struct field *d = fields; d->size; d++) {
		uint64_t v = d->kind == ARRAY ? 0 : right(f, d);

		if (d->kind == ARRAY)
			fill_array(f, d, at + d->offset, depth);
		else
			memcpy(at + d->offset, &v, d->size);
	}
}

/* -- calling -- */

static const struct call *some_call(struct fuzz *f)
{
	uint32_t total = 0, at;

	for (unsigned int i = 0; i < N_CALLS; i++)
		total += calls[i].weight;
	at = pick(f, total);
	for (unsigned int i = 0; i < N_CALLS; i++) {
		if (at < calls[i].weight)
			return &calls[i];
		at -= calls[i].weight;
	}
	return NULL;
}

static void note(struct fuzz *f, const struct call *c, const uint8_t *arg)
{
	enum kind kind = c->id;
	struct ids *ids;
	uint32_t id;

	if (c->effect != ADDS)
		return; /* what is destroyed stays in the list, so that it is used again */
	memcpy(&id, arg + c->id_offset, sizeof(id));
	if (c->request == DRM_IOCTL_ZHENWU_VM_CREATE &&
	    ((const struct drm_zhenwu_vm_create *)arg)->flags & DRM_ZHENWU_VM_CREATE_LR)
		kind = LR_VM;
	if (c->request == DRM_IOCTL_ZHENWU_QUEUE_CREATE &&
	    ((const struct drm_zhenwu_queue_create *)arg)->ring_va)
		kind = LR_QUEUE;
	ids = &f->ids[f->file][kind];
	ids->id[ids->n++ % IDS] = id;
	if (ids->n == 2 * IDS)
		ids->n = IDS;
}

/* A buffer that can be mapped gets commands: fills of any address, and nonsense behind some of them. */
static void write_commands(struct fuzz *f, const struct drm_zhenwu_bo_mmap_offset *m)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd[f->file],
		       (off_t)m->offset);
	uint32_t pos = 0;

	if (p == MAP_FAILED)
		return;
	for (uint32_t n = pick(f, 8); n; n--)
		zw_put_fill(p, &pos, FIRST_VA + 65536ull * pick(f, 16), 4 * (1 + pick(f, 1024)),
			    pick(f, UINT32_MAX));
	if (pick(f, 4) == 0)
		zw_put_raw(p, &pos, (uint16_t)pick(f, 0x500), (uint16_t)(16 * pick(f, 32)));
	munmap(p, 4096);
}

/* Live objects do not add up for ever: files are closed and opened again. */
static bool reopen(struct fuzz *f)
{
	close(f->fd[f->file]);
	memset(f->ids[f->file], 0, sizeof(f->ids[f->file]));
	f->fd[f->file] = zw_open();
	return f->fd[f->file] >= 0;
}

static bool is_documented(int err)
{
	for (unsigned int i = 0; i < sizeof(documented) / sizeof(documented[0]); i++)
		if (documented[i] == err)
			return true;
	return false;
}

/* A request of another size is one of another version: the rest has to be zero. */
static unsigned long resize(struct fuzz *f, unsigned long request)
{
	uint32_t size = _IOC_SIZE(request) + 8 * pick(f, 9) - 32;

	if (size > 256)
		size = 8;
	return _IOC(_IOC_DIR(request), _IOC_TYPE(request), _IOC_NR(request), size);
}

/* Returns the error, and complains of one that nobody wrote down. */
static bool one_call(struct fuzz *f, uint64_t number)
{
	static const unsigned int odds[] = {0, 0, 0, 0, 0, 1, 1, 2, 3};
	const struct call *c = some_call(f);
	unsigned long request = c->request;
	uint8_t *arg;
	int err;

	f->file = pick(f, FILES);
	f->wrong = odds[pick(f, sizeof(odds) / sizeof(odds[0]))];
	if (spoil(f))
		request = resize(f, request);
	memset(f->arg - 512, 0, 512);
	fill(f, c->fields, f->arg - 512, 0);
	if (c->mend)
		c->mend(f, f->arg - 512);
	spoil_fields(f, c->fields, f->arg - 512);
	arg = f->arg - _IOC_SIZE(request);
	memmove(arg, f->arg - 512, _IOC_SIZE(request));
	err = ioctl(f->fd[f->file], request, arg) ? errno : 0;
	f->done[c - calls][!err]++;
	if (!err && request == c->request)
		note(f, c, arg);
	if (!err && request == DRM_IOCTL_ZHENWU_BO_MMAP_OFFSET)
		write_commands(f, (const void *)arg);
	if (is_documented(err))
		return true;
	ksft_print_msg("call %llu, %s: %s\n", (unsigned long long)number, c->name, strerror(err));
	return false;
}

static void report(const struct fuzz *f)
{
	for (unsigned int i = 0; i < N_CALLS; i++)
		ksft_print_msg("%-18s %7llu done %7llu refused\n", calls[i].name,
			       (unsigned long long)f->done[i][1],
			       (unsigned long long)f->done[i][0]);
}

FIXTURE(fuzz)
{
	struct fuzz f;
	struct drm_zhenwu_dev_info before;
};

FIXTURE_SETUP(fuzz)
{
	int fd = zw_open();

	if (fd < 0)
		SKIP(return, KSFT_SKIP_NO_DEVICE);
	ASSERT_EQ(zw_info(fd, &self->before), 0);
	close(fd);
	for (int i = 0; i < FILES; i++) {
		self->f.fd[i] = zw_open();
		ASSERT_GE(self->f.fd[i], 0);
	}
	self->f.arg = guarded();
	self->f.array[0] = guarded();
	self->f.array[1] = guarded();
	self->f.user =
		mmap(NULL, USER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(self->f.arg && self->f.array[0] && self->f.array[1] &&
		    self->f.user != MAP_FAILED);
}

FIXTURE_TEARDOWN(fuzz)
{
	for (int i = 0; i < FILES; i++)
		close(self->f.fd[i]);
}

TEST_F_TIMEOUT(fuzz, documented_results, 36000)
{
	uint64_t seed = zw_number_of("ZW_FUZZ_SEED", (uint64_t)time(NULL) / 86400);
	uint64_t n = zw_number_of("ZW_FUZZ_CALLS", 60000), hbm_free = 0;
	struct drm_zhenwu_dev_info after;
	struct fuzz *f = &self->f;
	int fd;

	ksft_print_msg("ZW_FUZZ_SEED=%llu ZW_FUZZ_CALLS=%llu\n", (unsigned long long)seed,
		       (unsigned long long)n);
	f->rng = seed * 2 + 1;
	for (uint64_t i = 0; i < n; i++) {
		ASSERT_TRUE(one_call(f, i));
		if (n > 100000 && i % (n / 20) == n / 20 - 1)
			ksft_print_msg("%llu calls\n", (unsigned long long)i + 1);
		if (pick(f, 500) == 0)
			ASSERT_TRUE(reopen(f));
	}
	report(f);
	/* Each call was made, went well and was refused: else it is not what was tested. */
	for (unsigned int i = 0; i < N_CALLS && n >= 60000; i++) {
		EXPECT_GT(f->done[i][0], 0)
		TH_LOG("%s was never refused", calls[i].name);
		EXPECT_GT(f->done[i][1], 0)
		TH_LOG("%s never went well", calls[i].name);
	}
	for (int i = 0; i < FILES; i++) {
		close(f->fd[i]);
		f->fd[i] = -1;
	}
	ASSERT_TRUE(zw_fresh_client_works(PATIENT_TRIES));
	fd = zw_open();
	ASSERT_GE(fd, 0);
	/* The last jobs of closed files let go of their memory in their own time. */
	for (int i = 0; i < PATIENT_TRIES && hbm_free != self->before.hbm_free; i++) {
		ASSERT_EQ(zw_info(fd, &after), 0);
		hbm_free = after.hbm_free;
		usleep(100000);
	}
	EXPECT_EQ(after.hbm_free, self->before.hbm_free);
	EXPECT_EQ(after.reset_count, self->before.reset_count);
	close(fd);
}

TEST_HARNESS_MAIN

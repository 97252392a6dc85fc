// SPDX-License-Identifier: MIT
/*
 * Tensors from where they are. What the kernel has of a file in its page cache can be given to the device
 * as it is, by windows that are mapped and made buffers of, and no CPU copies it. What is not in the
 * cache is read past it (plan_direct.c).
 *
 * For what is in the cache both can be right: pinning its pages costs time for each page, and an emulated
 * CPU takes longer for it than for the read, while a slow disk never gets at the speed of memory. So
 * both are tried, and time decides.
 */
#include "plan_direct.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define WINDOW_BYTES (32ull << 20)
#define SMALL_BYTES  (64ull << 10) /* not worth a window of their own */
#define PROBES       8
#define TRIAL_BYTES  WINDOW_BYTES /* by each way, before the quicker one is taken */

/*
 * Refused for good: a file system without mappings, too little RLIMIT_MEMLOCK, a driver without such
 * buffers, pages that cannot be pinned, a limit on address space or on what one client may have.
 */
bool llm_place_is_refusal(int ret)
{
	return ret == -ENODEV || ret == -ENOMEM || ret == -EOPNOTSUPP || ret == -EFAULT ||
	       ret == -EACCES || ret == -EPERM || ret == -EAGAIN || ret == -ENOSPC ||
	       ret == -EDQUOT;
}

/* By some pages of it: what is read by a program is there in long stretches. */
static bool is_cached(const struct llm_plan_window *w, uint64_t page)
{
	for (uint64_t i = 0; i <= PROBES; i++) {
		uint64_t at = w->bytes / page * i / PROBES;
		unsigned char there = 0;

		at -= at == w->bytes / page;
		if (mincore((char *)w->ptr + at * page, page, &there) || !(there & 1))
			return false;
	}
	return true;
}

static void close_window(struct llm_plan_run *r, struct llm_plan_window *w)
{
	if (w->va)
		zw_vm_unmap_auto(r->vm, w->va);
	zw_bo_destroy(w->bo);
	if (w->ptr)
		munmap(w->ptr, w->bytes);
	memset(w, 0, sizeof(*w));
}

/* The file was cut while the device read what the cache had of it. */
static bool is_cut(const struct llm_plan_window *w)
{
	struct stat sb;

	return w->ptr && w->end && !fstat(w->file.fd, &sb) && (uint64_t)sb.st_size < w->end;
}

static int cut_short(const struct llm_plan_run *r, const struct llm_plan_window *w,
		     struct zw_error *err)
{
	struct llm_source_tensor t;

	r->p->src->ops->get(r->p->src, w->tensor, &t);
	return llm_fail(err, -EIO, "%s: tensor %s: file became shorter while it was read",
			w->file.path, t.name);
}

/* 0; 1 when these bytes are to be read. */
static int open_window(struct llm_plan_run *r, struct llm_plan_window *w,
		       const struct llm_source_file *f, uint64_t len)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), bytes;
	struct stat sb;
	int ret;

	if (fstat(f->fd, &sb) || (uint64_t)sb.st_size < len || f->off > (uint64_t)sb.st_size - len)
		return 1;
	w->file = *f;
	w->file.off = f->off / page * page;
	bytes = (uint64_t)sb.st_size - w->file.off;
	/* A page more, so that whole pieces that begin within a page fill it. */
	if (bytes > WINDOW_BYTES + page)
		bytes = WINDOW_BYTES + page;
	w->bytes = (bytes + page - 1) / page * page;
	w->ptr = mmap(NULL, w->bytes, PROT_READ, MAP_SHARED, f->fd, (off_t)w->file.off);
	if (w->ptr == MAP_FAILED) {
		w->ptr = NULL;
		ret = -errno;
	} else if (!is_cached(w, page)) {
		close_window(r, w);
		return 1;
	} else {
		ret = zw_bo_from_ptr(r->dev, w->ptr, w->bytes, ZW_BO_READONLY, &w->bo);
	}
	if (!ret)
		ret = zw_vm_map_auto(r->vm, w->bo, ZW_VM_MAP_READONLY, &w->va);
	if (ret) {
		w->va = 0;
		close_window(r, w);
		r->no_windows = llm_place_is_refusal(ret);
		return r->no_windows ? 1 : ret;
	}
	return 0;
}

static bool covers(const struct llm_plan_window *w, const struct llm_source_file *f, uint64_t len)
{
	return w->bo && w->file.fd == f->fd && f->off >= w->file.off &&
	       f->off - w->file.off <= w->bytes && len <= w->bytes - (f->off - w->file.off);
}

static int copy_mapped(struct llm_plan_run *r, const struct llm_source_file *f, size_t tensor,
		       uint64_t va, uint64_t len, struct zw_error *err)
{
	struct llm_plan_window *w = NULL;
	int ret;

	for (size_t i = 0; i < ZW_ARRAY_SIZE(r->windows); i++)
		if (covers(&r->windows[i], f, len))
			w = &r->windows[i];
	if (!w) {
		if (len < SMALL_BYTES || r->no_windows)
			return 1;
		w = &r->windows[r->next_window];
		ret = w->bo ? zw_copier_wait(r->c, w->point, ZW_FOREVER) : 0;
		if (ret)
			return llm_copy_failed(ret, err);
		if (is_cut(w))
			return cut_short(r, w, err);
		close_window(r, w);
		ret = open_window(r, w, f, len);
		if (ret)
			return ret < 0 ? llm_copy_failed(ret, err) : ret;
		r->next_window = (r->next_window + 1) % ZW_ARRAY_SIZE(r->windows);
	}
	ret = zw_copier_copy(r->c, va, w->va + (f->off - w->file.off), len, &w->point);
	if (ret)
		return llm_copy_failed(ret, err);
	if (f->off + len > w->end) {
		w->end = f->off + len;
		w->tensor = tensor;
	}
	r->ways.mapped += len;
	return 0;
}

/* Whether reading directly is the first to be asked: by what it and mapping took so far. */
static bool is_direct_first(const struct llm_plan_run *r)
{
	if (r->tried[0].bytes < TRIAL_BYTES)
		return false;
	if (r->tried[1].bytes < TRIAL_BYTES)
		return true;
	return (double)r->tried[1].ns / (double)r->tried[1].bytes <
	       (double)r->tried[0].ns / (double)r->tried[0].bytes;
}

int llm_place_copy(struct llm_plan_run *r, const struct llm_plan_part *part, uint64_t from,
		   uint64_t off, uint64_t len, struct zw_error *err)
{
	const struct llm_source *src = r->p->src;
	struct llm_source_file f;
	uint64_t start;
	bool direct;
	int ret = 1;

	if (!r->dev || !src->ops->file || !src->ops->file(src, part->take.tensor, from, len, &f))
		return 1;
	start = llm_now_ns();
	direct = is_direct_first(r);
	for (int i = 0; i < 2 && ret > 0; i++, direct = !direct) {
		if (!direct)
			ret = copy_mapped(r, &f, part->take.tensor, r->va + off, len, err);
		else if (len >= SMALL_BYTES)
			ret = llm_direct_copy(r, &f, part->take.tensor, r->va + off, len, err);
		if (!ret && (!direct || llm_direct_is_full(r))) {
			r->tried[direct].ns += llm_now_ns() - start;
			r->tried[direct].bytes += len;
		}
		start = llm_now_ns();
	}
	return ret;
}

int llm_place_end(struct llm_plan_run *r, int ret, struct zw_error *err)
{
	bool flushed = false;

	if (ret && r->direct) {
		zw_copier_flush(r->c, ZW_FOREVER);
		flushed = true;
	}
	llm_direct_end(r);
	for (size_t i = 0; i < ZW_ARRAY_SIZE(r->windows); i++) {
		struct llm_plan_window *w = &r->windows[i];

		if (!w->bo)
			continue;
		/* The device may still read of it: the load ended early. */
		if (ret && !flushed)
			zw_copier_flush(r->c, ZW_FOREVER);
		flushed = true;
		if ((!ret || ret == -EIO) && is_cut(w))
			ret = cut_short(r, w, err);
		close_window(r, w);
	}
	return ret;
}

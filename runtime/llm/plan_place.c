// SPDX-License-Identifier: MIT
/*
 * Tensors from where they are: what the kernel has of a file in its page cache is given to the device
 * as it is, by windows that are mapped and made buffers of, and no CPU copies it. What is not in the
 * cache is read, and so is everything once windows are refused.
 */
#include "plan_run.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define WINDOW_BYTES (32ull << 20)
#define SMALL_BYTES  (64ull << 10) /* not worth a window of their own */
#define PROBES       8

/*
 * Refused for good: a file system without mappings, too little RLIMIT_MEMLOCK, a driver without such
 * buffers, pages that cannot be pinned, a limit on address space or on what one client may have.
 */
static bool is_refusal(int ret)
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

static int cut_short(const struct llm_plan_window *w, struct zw_error *err)
{
	return llm_fail(err, -EIO, "%s: file became shorter while it was read", w->file.path);
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
		r->no_windows = is_refusal(ret);
		return r->no_windows ? 1 : ret;
	}
	return 0;
}

static bool covers(const struct llm_plan_window *w, const struct llm_source_file *f, uint64_t len)
{
	return w->bo && w->file.fd == f->fd && f->off >= w->file.off &&
	       f->off - w->file.off <= w->bytes && len <= w->bytes - (f->off - w->file.off);
}

int llm_place_copy(struct llm_plan_run *r, const struct llm_plan_part *part, uint64_t from,
		   uint64_t off, uint64_t len, struct zw_error *err)
{
	const struct llm_source *src = r->p->src;
	struct llm_plan_window *w = NULL;
	struct llm_source_file f;
	int ret;

	if (!r->dev || r->no_windows || !src->ops->file ||
	    !src->ops->file(src, part->take.tensor, from, len, &f))
		return 1;
	for (size_t i = 0; i < ZW_ARRAY_SIZE(r->windows); i++)
		if (covers(&r->windows[i], &f, len))
			w = &r->windows[i];
	if (!w) {
		if (len < SMALL_BYTES)
			return 1;
		w = &r->windows[r->next_window];
		ret = w->bo ? zw_copier_wait(r->c, w->point, ZW_FOREVER) : 0;
		if (ret)
			return llm_copy_failed(ret, err);
		if (is_cut(w))
			return cut_short(w, err);
		close_window(r, w);
		ret = open_window(r, w, &f, len);
		if (ret)
			return ret < 0 ? llm_copy_failed(ret, err) : ret;
		r->next_window = (r->next_window + 1) % ZW_ARRAY_SIZE(r->windows);
	}
	ret = zw_copier_copy(r->c, r->va + off, w->va + (f.off - w->file.off), len, &w->point);
	if (ret)
		return llm_copy_failed(ret, err);
	if (f.off + len > w->end)
		w->end = f.off + len;
	return 0;
}

int llm_place_end(struct llm_plan_run *r, int ret, struct zw_error *err)
{
	bool flushed = false;

	for (size_t i = 0; i < ZW_ARRAY_SIZE(r->windows); i++) {
		struct llm_plan_window *w = &r->windows[i];

		if (!w->bo)
			continue;
		/* The device may still read of it: the load ended early. */
		if (ret && !flushed)
			zw_copier_flush(r->c, ZW_FOREVER);
		flushed = true;
		if ((!ret || ret == -EIO) && is_cut(w))
			ret = cut_short(w, err);
		close_window(r, w);
	}
	return ret;
}

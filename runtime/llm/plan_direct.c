// SPDX-License-Identifier: MIT
/*
 * Tensors from the disk past the page cache: O_DIRECT reads by two threads into a ring of pieces of
 * memory that is the device's too, while it copies those before. No CPU copies a byte.
 *
 * Pieces go to the copier in the order they were asked for, whichever read is done first: the order
 * of jobs does not depend on the disk. All but the reads themselves happens in the loading thread.
 */
#include "plan_direct.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK      4096ull /* offsets, lengths and addresses are multiples of it */
#define SLOTS      6u
#define SLOT_BYTES (LLM_PIECE_BYTES + 2 * BLOCK) /* a piece that begins and ends within a block */
#define THREADS    2u
#define HUGE_PAGE  (2ull << 20)
#define RING_BYTES ((SLOTS * SLOT_BYTES + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE)

/* A file of the source, opened once more. */
struct direct_file {
	int src_fd; /* the source's */
	int fd;     /* with O_DIRECT, or -1 */
	bool refused;
};

enum slot_state {
	SLOT_FREE,  /* or the device copies from it, until `point` */
	SLOT_ASKED, /* the threads' */
	SLOT_READ,  /* `ret` says whether the bytes are there */
};

struct slot {
	enum slot_state state;
	struct llm_source_file file;
	size_t which; /* of the files */
	int fd;       /* its */
	size_t tensor;
	uint64_t len, va; /* of the bytes, and where they belong */
	uint64_t point;
	int ret;     /* -ENODATA: the file ends before them */
	int refused; /* by what the file system refused O_DIRECT, so that it was read without */
};

struct llm_direct {
	char *map, *mem; /* what was mapped, and from where on it is the ring */
	struct zw_bo *bo;
	uint64_t va;
	struct direct_file *files;
	size_t num_files, cap_files;
	uint64_t sent; /* pieces that the copier has; piece i is in slot i % SLOTS */
	pthread_t threads[THREADS];
	unsigned int num_threads;
	pthread_mutex_t lock; /* of the states of slots and what follows */
	pthread_cond_t work, done;
	uint64_t asked, taken; /* pieces asked for, and of them by threads taken */
	bool stop;
	struct slot slots[SLOTS];
};

/* ---- the threads ---- */

/* Bytes [at, at + len) of a file, in steps that are multiples of `step`, as is `at`. */
static int read_steps(int fd, char *mem, uint64_t at, uint64_t len, uint64_t step)
{
	uint64_t room = (len + step - 1) / step * step, got = 0;

	while (got < len) {
		ssize_t n = pread(fd, mem + got, room - got, (off_t)(at + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (got + (uint64_t)n >= len)
			return 0;
		/* Less than a step is the last the file has. */
		if ((uint64_t)n < step)
			return -ENODATA;
		got += (uint64_t)n / step * step;
	}
	return 0;
}

static void read_slot(struct slot *s, char *mem)
{
	uint64_t lead = s->file.off % BLOCK;

	s->refused = 0;
	s->ret = read_steps(s->fd, mem, s->file.off - lead, lead + s->len, BLOCK);
	/* Some file systems take the flag and refuse the read; others have larger blocks. */
	if (s->ret == -EINVAL || s->ret == -EOPNOTSUPP) {
		s->refused = -s->ret;
		s->ret = read_steps(s->file.fd, mem + lead, s->file.off, s->len, 1);
	}
}

static void *reader(void *opaque)
{
	struct llm_direct *d = opaque;

	pthread_mutex_lock(&d->lock);
	while (!d->stop) {
		uint64_t i = d->taken % SLOTS;

		if (d->taken == d->asked) {
			pthread_cond_wait(&d->work, &d->lock);
			continue;
		}
		d->taken++;
		pthread_mutex_unlock(&d->lock);
		read_slot(&d->slots[i], d->mem + i * SLOT_BYTES);
		pthread_mutex_lock(&d->lock);
		d->slots[i].state = SLOT_READ;
		pthread_cond_signal(&d->done);
	}
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

/* ---- the ring ---- */

static int map_ring(struct llm_plan_run *r, struct llm_direct *d)
{
	int ret;

	d->map = mmap(NULL, RING_BYTES + HUGE_PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (d->map == MAP_FAILED) {
		d->map = NULL;
		return -errno;
	}
	d->mem = d->map + (HUGE_PAGE - (uintptr_t)d->map % HUGE_PAGE) % HUGE_PAGE;
	/* Few pages to pin, and few pieces for the disk's DMA; small ones do where there are no huge ones. */
	madvise(d->mem, RING_BYTES, MADV_HUGEPAGE);
	ret = zw_bo_from_ptr(r->dev, d->mem, RING_BYTES, 0, &d->bo);
	if (!ret)
		ret = zw_vm_map_auto(r->vm, d->bo, ZW_VM_MAP_READONLY, &d->va);
	if (ret)
		d->va = 0;
	return ret;
}

void llm_direct_end(struct llm_plan_run *r)
{
	struct llm_direct *d = r->direct;

	if (!d)
		return;
	pthread_mutex_lock(&d->lock);
	d->stop = true;
	pthread_cond_broadcast(&d->work);
	pthread_mutex_unlock(&d->lock);
	for (unsigned int i = 0; i < d->num_threads; i++)
		pthread_join(d->threads[i], NULL);
	if (d->va)
		zw_vm_unmap_auto(r->vm, d->va);
	zw_bo_destroy(d->bo);
	if (d->map)
		munmap(d->map, RING_BYTES + HUGE_PAGE);
	for (size_t i = 0; i < d->num_files; i++)
		if (d->files[i].fd >= 0)
			close(d->files[i].fd);
	pthread_cond_destroy(&d->done);
	pthread_cond_destroy(&d->work);
	pthread_mutex_destroy(&d->lock);
	free(d->files);
	free(d);
	r->direct = NULL;
}

static int create(struct llm_plan_run *r)
{
	struct llm_direct *d = calloc(1, sizeof(*d));
	int ret;

	if (!d)
		return -ENOMEM;
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->work, NULL);
	pthread_cond_init(&d->done, NULL);
	r->direct = d;
	ret = map_ring(r, d);
	while (!ret && d->num_threads < THREADS) {
		ret = -pthread_create(&d->threads[d->num_threads], NULL, reader, d);
		d->num_threads += !ret;
	}
	if (ret)
		llm_direct_end(r);
	return ret;
}

static void note_refusal(struct llm_plan_run *r, int error)
{
	if (!r->ways.refused)
		r->ways.refused = error;
}

/*
 * Whether a file system reads straight from a disk, in blocks no larger than ours. Others take the flag, too,
 * and are slow with it: 9p is.
 */
static int check_direct(int fd)
{
	struct statx sx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx))
		return -errno;
	if (!(sx.stx_mask & STATX_DIOALIGN) || !sx.stx_dio_mem_align || !sx.stx_dio_offset_align ||
	    BLOCK % sx.stx_dio_mem_align || BLOCK % sx.stx_dio_offset_align)
		return -EOPNOTSUPP;
	return 0;
}

/* By its name, as a descriptor's flags can be changed for all who have it only; the same file it must be. */
static int open_direct(const struct llm_source_file *f)
{
	struct stat a, b;
	int ret = check_direct(f->fd), fd;

	if (ret)
		return ret;
	fd = open(f->path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = fstat(f->fd, &a) || fstat(fd, &b) ? -errno : 0;
	if (!ret && (a.st_dev != b.st_dev || a.st_ino != b.st_ino))
		ret = -ESTALE;
	if (ret)
		close(fd);
	return ret ? ret : fd;
}

/* The place in d->files, or -ENOMEM. */
static long find_file(struct llm_plan_run *r, const struct llm_source_file *f)
{
	struct llm_direct *d = r->direct;
	int fd;

	/* Most often the latest. */
	for (size_t i = d->num_files; i--;)
		if (d->files[i].src_fd == f->fd)
			return (long)i;
	if (llm_grow(&d->files, &d->cap_files, d->num_files + 1, sizeof(*d->files)))
		return -ENOMEM;
	fd = open_direct(f);
	if (fd < 0)
		note_refusal(r, -fd);
	d->files[d->num_files] =
		(struct direct_file){.src_fd = f->fd, .fd = fd < 0 ? -1 : fd, .refused = fd < 0};
	return (long)d->num_files++;
}

static int read_failed(const struct llm_plan_run *r, const struct slot *s, struct zw_error *err)
{
	const struct llm_source *src = r->p->src;
	struct llm_source_tensor t;

	src->ops->get(src, s->tensor, &t);
	if (s->ret == -ENODATA)
		return llm_fail(err, -EIO, "%s: tensor %s: file became shorter while it was read",
				s->file.path, t.name);
	return llm_fail(err, s->ret, "%s: tensor %s: read: %s", s->file.path, t.name,
			strerror(-s->ret));
}

/* Gives pieces to the copier until it has `until` of them, and what is there besides. */
static int pass_on(struct llm_plan_run *r, uint64_t until, struct zw_error *err)
{
	struct llm_direct *d = r->direct;

	for (; d->sent < d->asked; d->sent++) {
		uint64_t i = d->sent % SLOTS;
		struct slot *s = &d->slots[i];
		bool read;
		int ret;

		pthread_mutex_lock(&d->lock);
		while (s->state == SLOT_ASKED && d->sent < until)
			pthread_cond_wait(&d->done, &d->lock);
		read = s->state == SLOT_READ;
		pthread_mutex_unlock(&d->lock);
		if (!read)
			break;
		s->state = SLOT_FREE;
		if (s->ret)
			return read_failed(r, s, err);
		if (s->refused) {
			note_refusal(r, s->refused);
			d->files[s->which].refused = true;
		} else {
			r->ways.direct += s->len;
		}
		ret = zw_copier_copy(r->c, s->va, d->va + i * SLOT_BYTES + s->file.off % BLOCK,
				     s->len, &s->point);
		if (ret)
			return llm_copy_failed(ret, err);
	}
	return 0;
}

int llm_direct_copy(struct llm_plan_run *r, const struct llm_source_file *f, size_t tensor,
		    uint64_t va, uint64_t len, struct zw_error *err)
{
	struct llm_direct *d;
	struct slot *s;
	long which;
	int ret;

	if (r->no_direct)
		return 1;
	if (!r->direct) {
		ret = create(r);
		if (ret) {
			r->no_direct = llm_place_is_refusal(ret);
			note_refusal(r, -ret);
			return r->no_direct ? 1 : llm_copy_failed(ret, err);
		}
	}
	d = r->direct;
	which = find_file(r, f);
	if (which < 0)
		return llm_fail(err, (int)which, "out of memory");
	/* The slot's piece before: to the copier, and through it. */
	s = &d->slots[d->asked % SLOTS];
	ret = pass_on(r, d->asked < SLOTS ? 0 : d->asked - SLOTS + 1, err);
	if (ret)
		return ret;
	/* Maybe by what was read just now. */
	if (d->files[which].refused)
		return 1;
	ret = s->point ? zw_copier_wait(r->c, s->point, ZW_FOREVER) : 0;
	if (ret)
		return llm_copy_failed(ret, err);
	*s = (struct slot){.state = SLOT_ASKED,
			   .file = *f,
			   .which = (size_t)which,
			   .fd = d->files[which].fd,
			   .tensor = tensor,
			   .len = len,
			   .va = va};
	pthread_mutex_lock(&d->lock);
	d->asked++;
	pthread_cond_signal(&d->work);
	pthread_mutex_unlock(&d->lock);
	return 0;
}

bool llm_direct_is_full(const struct llm_plan_run *r)
{
	return r->direct && r->direct->asked > SLOTS;
}

int llm_direct_finish(struct llm_plan_run *r, struct zw_error *err)
{
	return r->direct ? pass_on(r, r->direct->asked, err) : 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * Device MMU as the engines see it: virtual addresses of a VM in, host memory out.
 *
 * An engine never touches HBM or system memory but through a view. Making a view translates and
 * permission-checks the whole range first, so that a packet which would fault writes nothing. A
 * range that is one piece of HBM, of the on-chip buffer, or of system memory that the host can map
 * is viewed in place; anything else goes through a bounce buffer, filled at map time for reads and
 * written back at unmap time for writes.
 */
#ifndef ZW_MEM_H
#define ZW_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "zhenwu/zw_pte.h"

struct zw_bounce;
struct zw_mmu;

struct zw_mem_fault {
	uint64_t va;     /* first address that failed */
	uint32_t access; /* enum zw_access */
	uint32_t fault;  /* enum zw_fault */
};

/* Ranges of one length: i is the `len` bytes at va + unit[i] * stride. Units ascend. */
struct zw_mem_units {
	uint64_t va, stride, len;
	const uint64_t *unit;
	uint32_t n;
};

struct zw_view {
	void *ptr; /* host pointer to the byte at va */
	uint64_t va;
	uint64_t len;
	uint32_t access;
	bool bounced;
	uint64_t bytes[ZW_TARGET_COUNT]; /* how much of the range is where: for the cost model */
	unsigned int target;             /* in place: where ... */
	uint64_t addr;                   /* ... and at which address of it */
	struct zw_bounce
		*apart; /* not NULL: pieces of system memory without a buffer; ptr is NULL */
	const struct zw_mem_units *units; /* not NULL: of the range these and nothing else */
};

/*
 * ZW_ACCESS_READ: contents valid; ZW_ACCESS_WRITE: contents undefined, everything the caller does
 * not write is written back undefined, so write all of it or ask for READ|WRITE. Returns 0, -EFAULT
 * (fault filled), -ENOMEM, or -ECANCELED when the job was told to stop during a long copy; so do the
 * others. len 0 is -EINVAL. Called from the command-processor thread only.
 */
int zw_mem_map(struct zw_mmu *mmu, unsigned int vm, uint64_t va, uint64_t len, uint32_t access,
	       struct zw_view *view, struct zw_mem_fault *fault);
/*
 * The same for a range of which every byte is moved once, by zw_mem_fetch() or zw_mem_store(): pieces of
 * system memory get no bounce buffer, `apart` of the view says so.
 */
int zw_mem_map_apart(struct zw_mmu *mmu, unsigned int vm, uint64_t va, uint64_t len,
		     uint32_t access, struct zw_view *view, struct zw_mem_fault *fault);
/*
 * All of a view that is `apart` to or from buf. 0, -EFAULT (DMA failed, fault filled: the part before it
 * was moved) or -ECANCELED.
 */
int zw_mem_fetch(struct zw_mmu *mmu, const struct zw_view *view, void *buf,
		 struct zw_mem_fault *fault);
int zw_mem_store(struct zw_mmu *mmu, const struct zw_view *view, const void *buf,
		 struct zw_mem_fault *fault);
/*
 * The same for who needs no contents: which memory the range is, and nothing else of it. ptr is NULL, no host memory
 * is taken and nothing is copied. A view that zw_mem_map() would have bounced says so. Ended by zw_mem_unmap().
 */
int zw_mem_look(struct zw_mmu *mmu, unsigned int vm, uint64_t va, uint64_t len, uint32_t access,
		struct zw_view *view, struct zw_mem_fault *fault);
/*
 * The same for the first of the units, and with it those behind it that are known to be in the same piece of HBM: *taken of
 * them. The view is from the first to the last; what is between them nobody looked at. units and what it points to
 * outlive the view, unless *taken is 1.
 */
int zw_mem_look_units(struct zw_mmu *mmu, unsigned int vm, const struct zw_mem_units *units,
		      uint32_t access, struct zw_view *view, uint32_t *taken,
		      struct zw_mem_fault *fault);
/*
 * Ends a view; commit=false drops bounced writes (failed packet). 0, -EFAULT (DMA write failed,
 * fault filled) or -ECANCELED; the view is gone in any case.
 */
int zw_mem_unmap(struct zw_mmu *mmu, unsigned int vm, struct zw_view *view, bool commit,
		 struct zw_mem_fault *fault);
/* Most bytes that are moved before the configuration's stopping() is asked. */
#define ZW_MEM_STEP (UINT64_C(1) << 20)
/*
 * Copies len bytes from src to dst, which do not overlap, straight from and to where they are. Both
 * ranges are checked as a whole before anything is written. 0, -EFAULT (fault filled), -ENOMEM
 * (backing limit), -ECANCELED (stopping: what was copied until then stays). Command-processor thread
 * only.
 */
int zw_mem_copy(struct zw_mmu *mmu, unsigned int vm, uint64_t dst, uint64_t src, uint64_t len,
		struct zw_mem_fault *fault);
/*
 * Equal pieces of a view in ascending order, outermost dimension first: piece [i,j,k] is `bytes`
 * bytes at i * stride[0] + j * stride[1] + k * stride[2], all of them inside the view.
 */
struct zw_mem_pieces {
	uint64_t n[3], stride[3];
	uint64_t bytes;
};
/*
 * Ends a view of which only these pieces were written: what lies between them is left alone,
 * whoever else writes there meanwhile.
 */
int zw_mem_unmap_pieces(struct zw_mmu *mmu, unsigned int vm, struct zw_view *view,
			const struct zw_mem_pieces *pieces, struct zw_mem_fault *fault);
/* Small copies (descriptors, scalars). */
int zw_mem_read(struct zw_mmu *mmu, unsigned int vm, uint64_t va, void *buf, size_t len,
		struct zw_mem_fault *fault);
int zw_mem_write(struct zw_mmu *mmu, unsigned int vm, uint64_t va, const void *buf, size_t len,
		 struct zw_mem_fault *fault);
/*
 * The same for any thread at any time: past the translation cache, which has one owner. function:
 * whose bus addresses system memory has.
 */
int zw_mem_read_aside(struct zw_mmu *mmu, unsigned int vm, unsigned int function, uint64_t va,
		      void *buf, size_t len, struct zw_mem_fault *fault);
int zw_mem_write_aside(struct zw_mmu *mmu, unsigned int vm, unsigned int function, uint64_t va,
		       const void *buf, size_t len, struct zw_mem_fault *fault);

/* What a byte of a VM's memory is: two addresses with one place are the same memory. */
struct zw_mem_place {
	uint64_t addr;       /* in what target names */
	unsigned int target; /* enum zw_target */
};
/* Translates one byte. 0 or -EFAULT (fault filled). */
int zw_mem_place(struct zw_mmu *mmu, unsigned int vm, uint64_t va, uint32_t access,
		 struct zw_mem_place *place, struct zw_mem_fault *fault);

#endif /* ZW_MEM_H */

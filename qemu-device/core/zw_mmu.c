/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "zw_mmu_int.h"
#include "zhenwu/zw_regs.h"

/* Table entries have no permissions and no target: only VALID and the address. */
#define TABLE_BITS (ZW_PTE_ADDR_MASK | ZW_PTE_VALID)

struct zw_mmu *zw_mmu_new(const struct zw_mmu_config *cfg)
{
	struct zw_mmu *mmu = calloc(1, sizeof(*mmu));

	if (!mmu)
		return NULL;
	mmu->cfg = *cfg;
	if (cfg->sram_bytes) {
		mmu->sram = mmap(NULL, cfg->sram_bytes, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (mmu->sram == MAP_FAILED) {
			free(mmu);
			return NULL;
		}
	}
	mmu->run_vm = ZW_MMU_NO_VM;
	pthread_mutex_init(&mmu->lock, NULL);
	zw_mmu_reset(mmu);
	return mmu;
}

void zw_mmu_free(struct zw_mmu *mmu)
{
	if (!mmu)
		return;
	if (mmu->sram)
		munmap(mmu->sram, mmu->cfg.sram_bytes);
	pthread_mutex_destroy(&mmu->lock);
	free(mmu);
}

void zw_mmu_reset(struct zw_mmu *mmu)
{
	for (unsigned int vm = 0; vm < ZW_MAX_VMS; vm++) {
		atomic_store(&mmu->vm[vm].root, 0);
		/* Generation 0 is never current: zeroed cache entries match nothing. */
		atomic_store(&mmu->vm[vm].gen, 1);
	}
	memset(mmu->tlb, 0, sizeof(mmu->tlb));
	memset(mmu->spans, 0, sizeof(mmu->spans));
	mmu->hits = mmu->misses = 0;
	/* The buffer loses its contents, and its pages go back to the host. */
	if (mmu->sram && madvise(mmu->sram, mmu->cfg.sram_bytes, MADV_DONTNEED))
		memset(mmu->sram, 0, mmu->cfg.sram_bytes);
	pthread_mutex_lock(&mmu->lock);
	mmu->run_vm = ZW_MMU_NO_VM;
	atomic_store(&mmu->busy, 0);
	pthread_mutex_unlock(&mmu->lock);
}

static void idle(struct zw_mmu *mmu)
{
	if (mmu->cfg.idle)
		mmu->cfg.idle(mmu->cfg.idle_opaque);
}

int zw_mmu_invalidate(struct zw_mmu *mmu, unsigned int vm)
{
	bool done;

	if (vm >= ZW_MAX_VMS)
		return -EINVAL;
	pthread_mutex_lock(&mmu->lock);
	atomic_fetch_add(&mmu->vm[vm].gen, 1);
	done = mmu->run_vm != vm;
	if (!done)
		atomic_store(&mmu->busy, 1);
	pthread_mutex_unlock(&mmu->lock);
	if (done)
		idle(mmu);
	return 0;
}

int zw_mmu_set_root(struct zw_mmu *mmu, unsigned int vm, uint64_t root, bool valid)
{
	if (vm >= ZW_MAX_VMS)
		return -EINVAL;
	if (valid && (root % ZW_PAGE_SIZE || !zw_hbm_contains(mmu->cfg.hbm, root, ZW_PAGE_SIZE)))
		return -EFAULT;
	/* The root first: a walk that still finds the old one carries the old generation. */
	atomic_store(&mmu->vm[vm].root, valid ? root | ZW_PTE_VALID : 0);
	return zw_mmu_invalidate(mmu, vm);
}

uint64_t zw_mmu_busy(struct zw_mmu *mmu, unsigned int bank)
{
	uint64_t bits = 0;

	/* Only the VM that runs can have views; every other one is done at once. */
	pthread_mutex_lock(&mmu->lock);
	if (atomic_load(&mmu->busy) && mmu->run_vm / 64 == bank)
		bits = UINT64_C(1) << mmu->run_vm % 64;
	pthread_mutex_unlock(&mmu->lock);
	return bits;
}

void zw_mmu_run_begin(struct zw_mmu *mmu, unsigned int vm, unsigned int function)
{
	pthread_mutex_lock(&mmu->lock);
	mmu->run_vm = vm;
	pthread_mutex_unlock(&mmu->lock);
	mmu->function = function;
}

static void acknowledge(struct zw_mmu *mmu, unsigned int run_vm)
{
	bool any;

	pthread_mutex_lock(&mmu->lock);
	mmu->run_vm = run_vm;
	any = atomic_exchange(&mmu->busy, 0) != 0;
	pthread_mutex_unlock(&mmu->lock);
	if (any)
		idle(mmu);
}

static void count(struct zw_mmu *mmu, uint64_t hits, uint64_t misses)
{
	struct zw_pmu *pmu = mmu->cfg.pmu;

	if (pmu && hits)
		atomic_fetch_add_explicit(&pmu->tlb_hits, hits, memory_order_relaxed);
	if (pmu && misses)
		atomic_fetch_add_explicit(&pmu->tlb_misses, misses, memory_order_relaxed);
}

/* One step of shared counters for all of a packet. */
static void count_own(struct zw_mmu *mmu)
{
	count(mmu, mmu->hits, mmu->misses);
	mmu->hits = mmu->misses = 0;
}

void zw_mmu_boundary(struct zw_mmu *mmu)
{
	count_own(mmu);
	if (atomic_load_explicit(&mmu->busy, memory_order_relaxed))
		acknowledge(mmu, mmu->run_vm);
}

void zw_mmu_run_end(struct zw_mmu *mmu)
{
	count_own(mmu);
	acknowledge(mmu, ZW_MMU_NO_VM);
}

struct zw_mmu_epoch zw_mmu_epoch(const struct zw_mmu *mmu, unsigned int vm)
{
	return (struct zw_mmu_epoch){.tables = atomic_load(&mmu->vm[vm].gen),
				     .bad_pages = zw_hbm_bad_changes(mmu->cfg.hbm)};
}

uint64_t zw_mmu_lookups(const struct zw_mmu *mmu)
{
	return mmu->hits + mmu->misses;
}

void zw_mmu_looked_up(struct zw_mmu *mmu, uint64_t n)
{
	mmu->hits += n;
}

/* -- translation -- */

static uint64_t load_entry(struct zw_mmu *mmu, uint64_t table, unsigned int index)
{
	const uint64_t *p = (const uint64_t *)(mmu->cfg.hbm->base + table) + index;

	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static unsigned int target_of(uint64_t pte)
{
	return (pte & ZW_PTE_TARGET_MASK) >> ZW_PTE_TARGET_SHIFT;
}

/* Whether a leaf's page lies inside of the memory it names. */
static enum zw_fault check_target(const struct zw_mmu *mmu, uint64_t pte, uint64_t size)
{
	uint64_t addr = pte & ZW_PTE_ADDR_MASK;
	bool inside = true;

	if (target_of(pte) != ZW_TARGET_PEER && (pte & ZW_PTE_CARD_MASK))
		return ZW_FAULT_TABLE;
	switch (target_of(pte)) {
	case ZW_TARGET_HBM:
		inside = zw_hbm_contains(mmu->cfg.hbm, addr, size);
		break;
	case ZW_TARGET_SYSTEM:
		break; /* the bus will tell */
	case ZW_TARGET_SRAM:
		inside = addr <= mmu->cfg.sram_bytes && size <= mmu->cfg.sram_bytes - addr;
		break;
	case ZW_TARGET_PEER:
		return ZW_FAULT_LINK; /* links are not built */
	default:
		return ZW_FAULT_TABLE;
	}
	return inside ? ZW_FAULT_NONE : ZW_FAULT_TARGET;
}

/*
 * Adds the neighbours of a 2 MiB page that continue it. A large buffer is one piece of HBM as a rule: its
 * pages are found once, not one by one each time that a packet walks all of it. An address that runs over
 * ends in the bits of the card, which check_target() refuses.
 */
static void extend(struct zw_mmu *mmu, uint64_t table, unsigned int index, struct zw_span *span)
{
	const uint64_t size = UINT64_C(1) << ZW_PT_SHIFT(1);

	for (unsigned int i = index + 1; i < ZW_PT_ENTRIES; i++) {
		uint64_t pte = span->pte + span->len;

		if (load_entry(mmu, table, i) != pte || check_target(mmu, pte, size))
			break;
		span->len += size;
	}
	for (unsigned int i = index; i > 0; i--) {
		uint64_t pte = span->pte - size;

		if (load_entry(mmu, table, i - 1) != pte || check_target(mmu, pte, size))
			break;
		span->pte = pte;
		span->va -= size;
		span->len += size;
	}
}

/* Walks the tables for va; 0 and the page with what continues it, or the fault. */
static enum zw_fault walk(struct zw_mmu *mmu, uint64_t root, uint64_t va, struct zw_span *span)
{
	uint64_t table = root & ZW_PTE_ADDR_MASK, bad;
	enum zw_fault why;

	for (int level = ZW_PT_LEVELS - 1; level >= 0; level--) {
		unsigned int shift = ZW_PT_SHIFT(level);
		uint64_t pte = load_entry(mmu, table, (va >> shift) % ZW_PT_ENTRIES);
		uint64_t addr = pte & ZW_PTE_ADDR_MASK;

		if (zw_hbm_bad_page(mmu->cfg.hbm, table, ZW_PAGE_SIZE, &bad))
			return ZW_FAULT_ECC;
		if (!(pte & ZW_PTE_VALID))
			return ZW_FAULT_UNMAPPED;
		if (pte & ZW_PTE_RESERVED)
			return ZW_FAULT_TABLE;
		if (!(pte & ZW_PTE_LEAF)) {
			if ((pte & ~TABLE_BITS) ||
			    !zw_hbm_contains(mmu->cfg.hbm, addr, ZW_PAGE_SIZE))
				return ZW_FAULT_TABLE;
			table = addr;
			continue;
		}
		if (level == ZW_PT_LEVELS - 1 || addr & ((UINT64_C(1) << shift) - 1))
			return ZW_FAULT_TABLE;
		why = check_target(mmu, pte, UINT64_C(1) << shift);
		if (why)
			return why;
		span->pte = pte;
		span->shift = shift;
		span->len = UINT64_C(1) << shift;
		span->va = va & ~(span->len - 1);
		if (level == 1)
			extend(mmu, table, (va >> shift) % ZW_PT_ENTRIES, span);
		return ZW_FAULT_NONE;
	}
	return ZW_FAULT_TABLE; /* level 0 has to be a leaf */
}

static struct zw_tlb_entry *tlb_set(struct zw_mmu *mmu, unsigned int vm, uint64_t page,
				    unsigned int size)
{
	/* Neighbouring pages go to neighbouring sets; VMs start at different places. */
	return mmu->tlb[size][(page + vm * 37u) % ZW_TLB_SETS];
}

static const unsigned int tlb_shift[ZW_TLB_SIZES] = {ZW_PT_SHIFT(0), ZW_PT_SHIFT(1),
						     ZW_PT_SHIFT(2)};

/* The spans that an address may be in. */
static struct zw_tlb_span *span_set(struct zw_mmu *mmu, unsigned int vm, uint64_t va)
{
	return mmu->spans[((va >> ZW_PT_SHIFT(2)) + vm * 37u) % ZW_TLB_SPANS];
}

static const struct zw_span *find_span(struct zw_mmu *mmu, unsigned int vm, uint64_t gen,
				       uint64_t va)
{
	const struct zw_tlb_span *set = span_set(mmu, vm, va);

	for (unsigned int w = 0; w < ZW_TLB_WAYS; w++)
		if (set[w].gen == gen && set[w].vm == vm && va - set[w].span.va < set[w].span.len)
			return &set[w].span;
	return NULL;
}

static void span_of_page(const struct zw_tlb_entry *e, unsigned int shift, struct zw_span *span)
{
	span->pte = e->pte;
	span->shift = shift;
	span->va = e->page << shift;
	span->len = UINT64_C(1) << shift;
}

/* The page that an address is in. */
static bool find_page(struct zw_mmu *mmu, unsigned int vm, uint64_t gen, uint64_t va,
		      struct zw_span *span)
{
	const unsigned int h = (va >> ZW_PAGE_SHIFT) % ZW_TLB_HINTS;
	const struct zw_tlb_entry *e = mmu->hint[h].entry;

	if (e && e->gen == gen && e->page == va >> mmu->hint[h].shift && e->vm == vm) {
		span_of_page(e, mmu->hint[h].shift, span);
		return true;
	}
	for (unsigned int s = 0; s < ZW_TLB_SIZES; s++) {
		uint64_t page = va >> tlb_shift[s];

		e = tlb_set(mmu, vm, page, s);
		for (unsigned int w = 0; w < ZW_TLB_WAYS; w++, e++) {
			if (e->gen != gen || e->page != page || e->vm != vm)
				continue;
			mmu->hint[h].entry = e;
			mmu->hint[h].shift = tlb_shift[s];
			span_of_page(e, tlb_shift[s], span);
			return true;
		}
	}
	return false;
}

static bool tlb_lookup(struct zw_mmu *mmu, unsigned int vm, uint64_t gen, uint64_t va,
		       struct zw_span *span)
{
	const struct zw_span *known = find_span(mmu, vm, gen, va);

	if (known) {
		*span = *known;
		return true;
	}
	return find_page(mmu, vm, gen, va, span);
}

static void tlb_insert(struct zw_mmu *mmu, unsigned int vm, uint64_t gen,
		       const struct zw_span *span)
{
	unsigned int s = (span->shift - ZW_PAGE_SHIFT) / 9;
	uint64_t page = span->va >> span->shift;
	unsigned int way = mmu->tlb_victim++ % ZW_TLB_WAYS;

	if (span->len >> span->shift > 1) {
		span_set(mmu, vm, span->va)[way] =
			(struct zw_tlb_span){.gen = gen, .span = *span, .vm = vm};
		return;
	}
	tlb_set(mmu, vm, page, s)[way] =
		(struct zw_tlb_entry){.gen = gen, .page = page, .pte = span->pte, .vm = vm};
}

static int fail(struct zw_mmu *mmu, struct zw_mem_fault *fault, uint64_t va, uint32_t access,
		enum zw_fault why)
{
	/* A memory error is no fault of a translation. */
	if (mmu->cfg.pmu && why != ZW_FAULT_ECC)
		atomic_fetch_add_explicit(&mmu->cfg.pmu->faults, 1, memory_order_relaxed);
	if (fault)
		*fault = (struct zw_mem_fault){.va = va, .access = access, .fault = why};
	return -EFAULT;
}

int zw_mmu_fault(struct zw_mmu *mmu, struct zw_mem_fault *fault, uint64_t va, uint32_t access,
		 enum zw_fault why)
{
	return fail(mmu, fault, va, access, why);
}

/* Appends a piece of physical memory, merging it with the last one where they touch. */
static int add_segment(struct zw_seglist *list, uint64_t va, uint64_t addr, uint64_t len,
		       unsigned int target)
{
	struct zw_segment *last = list->n ? &list->seg[list->n - 1] : NULL;

	if (last && last->target == target && last->addr + last->len == addr) {
		last->len += len;
		return 0;
	}
	if (list->n == list->cap) {
		size_t cap = list->cap * 4;
		struct zw_segment *seg = malloc(cap * sizeof(*seg));

		if (!seg)
			return -ENOMEM;
		memcpy(seg, list->seg, list->n * sizeof(*seg));
		if (list->seg != list->few)
			free(list->seg);
		list->seg = seg;
		list->cap = cap;
	}
	list->seg[list->n++] =
		(struct zw_segment){.va = va, .addr = addr, .len = len, .target = target};
	return 0;
}

/* Whether what was found so far may be one piece that the host can point to. */
static bool in_place(const struct zw_mmu *mmu, const struct zw_seglist *list)
{
	return list->n == 1 &&
	       (list->seg[0].target != ZW_TARGET_SYSTEM || (mmu->cfg.ops && mmu->cfg.ops->dma_map));
}

void zw_seglist_init(struct zw_seglist *list)
{
	list->seg = list->few;
	list->n = 0;
	list->cap = ZW_SEGLIST_FEW;
	list->uncached = false;
}

void zw_seglist_fini(struct zw_seglist *list)
{
	if (list->seg != list->few)
		free(list->seg);
}

static uint32_t rights_missing(uint64_t pte, uint32_t access)
{
	uint32_t lacks = 0;

	if ((access & ZW_ACCESS_READ) && !(pte & ZW_PTE_READ))
		lacks |= ZW_ACCESS_READ;
	if ((access & ZW_ACCESS_WRITE) && !(pte & ZW_PTE_WRITE))
		lacks |= ZW_ACCESS_WRITE;
	return lacks;
}

/* What the cache has as one piece of HBM, with these rights and no page bad: nearly all that is asked for. */
static bool resolve_span(struct zw_mmu *mmu, const struct zw_span *span, uint64_t va, uint64_t len,
			 uint32_t access, struct zw_seglist *list)
{
	uint64_t off = va - span->va, addr = (span->pte & ZW_PTE_ADDR_MASK) + off, bad;

	if (len > span->len - off || target_of(span->pte) != ZW_TARGET_HBM ||
	    rights_missing(span->pte, access) || zw_hbm_bad_page(mmu->cfg.hbm, addr, len, &bad))
		return false;
	list->seg[0] =
		(struct zw_segment){.va = va, .addr = addr, .len = len, .target = ZW_TARGET_HBM};
	list->n = 1;
	mmu->hits++;
	return true;
}

/* How many of the units, which ascend, are `most` at most. */
static uint32_t units_up_to(const struct zw_mem_units *u, uint64_t most)
{
	uint32_t lo = 0, hi = u->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (u->unit[mid] <= most)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

uint32_t zw_mmu_known_units(struct zw_mmu *mmu, unsigned int vm, const struct zw_mem_units *u,
			    uint32_t access, uint64_t *addr)
{
	uint64_t va = u->va + u->unit[0] * u->stride, off, gen, bad;
	struct zw_span span;
	uint32_t n;

	if (!u->len || !u->stride || vm >= ZW_MAX_VMS)
		return 0;
	/* In the order of zw_mmu_resolve(). */
	gen = atomic_load(&mmu->vm[vm].gen);
	if (!atomic_load(&mmu->vm[vm].root))
		return 0;
	if (!tlb_lookup(mmu, vm, gen, va, &span) || target_of(span.pte) != ZW_TARGET_HBM ||
	    rights_missing(span.pte, access))
		return 0;
	off = va - span.va;
	if (u->len > span.len - off)
		return 0;
	n = units_up_to(u, u->unit[0] + (span.len - off - u->len) / u->stride);
	*addr = (span.pte & ZW_PTE_ADDR_MASK) + off;
	if (n < 2 || zw_hbm_bad_page(mmu->cfg.hbm, *addr,
				     (u->unit[n - 1] - u->unit[0]) * u->stride + u->len, &bad))
		return 0;
	mmu->hits += n;
	return n;
}

int zw_mmu_resolve(struct zw_mmu *mmu, unsigned int vm, uint64_t va, uint64_t len, uint32_t access,
		   struct zw_seglist *list, struct zw_mem_fault *fault)
{
	const uint64_t limit = UINT64_C(1) << ZW_VA_BITS;
	const struct zw_span *known = NULL;
	struct zw_span page;
	uint64_t hits = 0, misses = 0;
	uint64_t gen, root, end;
	int ret = 0;

	if (!len || !access || (access & ~(ZW_ACCESS_READ | ZW_ACCESS_WRITE)))
		return -EINVAL;
	if (va >= limit)
		return fail(mmu, fault, va, access, ZW_FAULT_RANGE);
	if (len > limit - va)
		return fail(mmu, fault, limit, access, ZW_FAULT_RANGE);
	if (vm >= ZW_MAX_VMS)
		return fail(mmu, fault, va, access, ZW_FAULT_NO_VM);
	/* Generation before root: a leaf found through an older root is then never cached as a
	 * newer one. */
	gen = atomic_load(&mmu->vm[vm].gen);
	root = atomic_load(&mmu->vm[vm].root);
	if (!root)
		return fail(mmu, fault, va, access, ZW_FAULT_NO_VM);
	if (!list->uncached) {
		known = find_span(mmu, vm, gen, va);
		if (!known && find_page(mmu, vm, gen, va, &page))
			known = &page;
	}
	if (known && resolve_span(mmu, known, va, len, access, list))
		return 0;

	for (end = va + len; va < end;) {
		uint64_t addr, off, n, bad;
		struct zw_span span;
		uint32_t lacks;

		if (!list->uncached && tlb_lookup(mmu, vm, gen, va, &span)) {
			hits++;
		} else {
			enum zw_fault why = walk(mmu, root, va, &span);

			misses++;
			if (why) {
				ret = fail(mmu, fault, va, access, why);
				break;
			}
			if (!list->uncached)
				tlb_insert(mmu, vm, gen, &span);
		}
		lacks = rights_missing(span.pte, access);
		if (lacks) {
			ret = fail(mmu, fault, va, lacks, ZW_FAULT_PERMISSION);
			break;
		}
		off = va - span.va;
		n = span.len - off;
		if (n > end - va)
			n = end - va;
		addr = (span.pte & ZW_PTE_ADDR_MASK) + off;
		if (target_of(span.pte) == ZW_TARGET_HBM &&
		    zw_hbm_bad_page(mmu->cfg.hbm, addr, n, &bad)) {
			ret = fail(mmu, fault, va - addr + bad, access, ZW_FAULT_ECC);
			break;
		}
		ret = add_segment(list, va, addr, n, target_of(span.pte));
		/*
		 * What cannot be used in place takes a bounce buffer, and there is a limit to those: stop
		 * here. Tables that share subtrees can make 2^36 pages valid, and walking them all would
		 * look like a hang.
		 */
		if (!ret && len > list->max && !in_place(mmu, list))
			ret = -ENOMEM;
		if (ret)
			break;
		va += n;
	}
	if (!list->uncached) {
		mmu->hits += hits;
		mmu->misses += misses;
	} else {
		count(mmu, hits, misses);
	}
	return ret;
}

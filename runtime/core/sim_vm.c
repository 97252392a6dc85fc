// SPDX-License-Identifier: MIT
/*
 * Address spaces of the sim transport: four-level page tables in HBM, and the list of what is
 * mapped where.
 *
 * Entries are changed while the device may walk them. New tables are complete before they are
 * linked in, every entry is one 64-bit store, and tables taken out stay untouched until the
 * invalidation was answered.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define SPAN(level) (1ull << ZW_PT_SHIFT(level))

static uint64_t *table_at(struct sim *sim, uint64_t addr)
{
	return (uint64_t *)(void *)(sim->hbm_base + addr);
}

static void put_entry(uint64_t *entry, uint64_t val)
{
	__atomic_store_n(entry, val, __ATOMIC_RELEASE);
}

/* A table that is nowhere yet, and room among the dead for when it goes. */
static int table_take(struct sim_vm *vm, uint64_t *addr)
{
	int ret;

	if (vm->num_tables == vm->max_dead) {
		size_t want = vm->max_dead ? vm->max_dead * 2 : 64;
		uint64_t *d = realloc(vm->dead, want * sizeof(*d));

		if (!d)
			return -ENOMEM;
		vm->dead = d;
		vm->max_dead = want;
	}
	ret = zw_sim_hbm_alloc(vm->sim, ZW_PAGE_SIZE, ZW_PAGE_SIZE, addr);
	if (!ret)
		vm->num_tables++;
	return ret;
}

static int table_new(struct sim_vm *vm, uint64_t *addr)
{
	struct sim_bind *b = vm->using;

	if (!b)
		return table_take(vm, addr);
	if (!b->num_tables)
		return -ENOMEM; /* zw_sim_bind_prepare() took too few */
	*addr = b->tables[--b->num_tables];
	return 0;
}

/* Called when no TLB can lead there any more. */
static void table_free(struct sim_vm *vm, uint64_t addr)
{
	memset(table_at(vm->sim, addr), 0, ZW_PAGE_SIZE);
	zw_sim_hbm_free(vm->sim, addr, ZW_PAGE_SIZE, false);
	vm->num_tables--;
}

/* Puts a tree of tables on the list of those to free after the next invalidation. */
static void bury(struct sim_vm *vm, uint64_t addr, unsigned int level)
{
	uint64_t *t = table_at(vm->sim, addr);

	if (level)
		for (unsigned int i = 0; i < ZW_PT_ENTRIES; i++)
			if ((t[i] & ZW_PTE_VALID) && !(t[i] & ZW_PTE_LEAF))
				bury(vm, t[i] & ZW_PTE_ADDR_MASK, level - 1);
	vm->dead[vm->num_dead++] = addr;
}

/* A leaf of `level` becomes a table of 512 leaves one level down with the same meaning. */
static int split(struct sim_vm *vm, uint64_t *entry, unsigned int level)
{
	uint64_t old = *entry, addr, *t;
	int ret = table_new(vm, &addr);

	if (ret)
		return ret;
	t = table_at(vm->sim, addr);
	for (unsigned int i = 0; i < ZW_PT_ENTRIES; i++)
		t[i] = old + i * SPAN(level - 1);
	put_entry(entry, addr | ZW_PTE_VALID);
	return 0;
}

/*
 * Makes `at` a border between entries, so that changing what is on one side of it needs no memory.
 * Means the same to the device before and after.
 */
static int split_at(struct sim_vm *vm, uint64_t at)
{
	uint64_t table = vm->root;

	for (unsigned int level = ZW_PT_LEVELS - 1; at % SPAN(level); level--) {
		uint64_t *entry =
			&table_at(vm->sim, table)[at >> ZW_PT_SHIFT(level) & (ZW_PT_ENTRIES - 1)];

		if (!(*entry & ZW_PTE_VALID))
			return 0;
		if (*entry & ZW_PTE_LEAF) {
			int ret = split(vm, entry, level);

			if (ret)
				return ret;
		}
		table = *entry & ZW_PTE_ADDR_MASK;
	}
	return 0;
}

struct change {
	uint64_t attrs; /* of leaves; 0: unmap */
	bool stale;     /* a valid entry changed: TLBs have to forget */
};

/* The part of [va, end) that one entry of `level` covers ends here. */
static uint64_t entry_end(unsigned int level, uint64_t va, uint64_t end)
{
	uint64_t next = (va & ~(SPAN(level) - 1)) + SPAN(level);

	return end < next ? end : next;
}

/* Whether the entry itself changes, and not what is below it. */
static bool at_once(unsigned int level, uint64_t va, uint64_t stop, uint64_t addr, uint64_t attrs)
{
	return stop - va == SPAN(level) && (!attrs || (level <= 2 && !(addr % SPAN(level))));
}

/* Tables that change_range() takes at most, whatever is there. */
static size_t tables_needed(unsigned int level, uint64_t va, uint64_t end, uint64_t addr,
			    uint64_t attrs)
{
	size_t n = 0;

	while (va < end) {
		uint64_t stop = entry_end(level, va, end);

		if (!at_once(level, va, stop, addr, attrs))
			n += 1 + tables_needed(level - 1, va, stop, addr, attrs);
		addr += stop - va;
		va = stop;
	}
	return n;
}

/* Maps [va, end) to addr onwards, or unmaps it, in the table of `level` at `table`. */
static int change_range(struct sim_vm *vm, uint64_t table, unsigned int level, uint64_t va,
			uint64_t end, uint64_t addr, struct change *c)
{
	uint64_t *t = table_at(vm->sim, table);

	while (va < end) {
		uint64_t *entry = &t[va >> ZW_PT_SHIFT(level) & (ZW_PT_ENTRIES - 1)];
		uint64_t stop = entry_end(level, va, end), old = *entry;
		bool valid = old & ZW_PTE_VALID;
		int ret;

		if (at_once(level, va, stop, addr, c->attrs)) {
			if (valid && level && !(old & ZW_PTE_LEAF))
				bury(vm, old & ZW_PTE_ADDR_MASK, level - 1);
			c->stale |= valid;
			put_entry(entry, c->attrs ? addr | c->attrs : 0);
		} else if (valid || c->attrs) {
			if (valid && (old & ZW_PTE_LEAF)) {
				ret = split(vm, entry, level);
				if (ret)
					return ret;
				c->stale = true;
			} else if (!valid) {
				uint64_t sub;

				ret = table_new(vm, &sub);
				if (ret)
					return ret;
				put_entry(entry, sub | ZW_PTE_VALID);
			}
			ret = change_range(vm, *entry & ZW_PTE_ADDR_MASK, level - 1, va, stop, addr,
					   c);
			if (ret)
				return ret;
		}
		addr += stop - va;
		va = stop;
	}
	return 0;
}

/* Makes the device forget old entries, then frees the tables that only it could still see. */
static int flush(struct sim_vm *vm)
{
	struct zw_msg_tlb m = {.vm = vm->id};
	int ret = zw_sim_mbox_call(vm->sim, ZW_MSG_TLB_INVALIDATE, &m, sizeof(m), NULL, 0);

	if (ret)
		return ret; /* the device is lost: the tables stay out of circulation */
	for (size_t i = 0; i < vm->num_dead; i++)
		table_free(vm, vm->dead[i]);
	vm->num_dead = 0;
	return 0;
}

/* -- what is mapped -------------------------------------------------------------------------- */

bool zw_sim_vm_maps(const struct sim_vm *vm, const struct sim_bo *bo)
{
	for (const struct sim_mapping *m = vm->mappings; m; m = m->next)
		if (m->bo == bo)
			return true;
	for (const struct sim_bind *b = vm->binds; b; b = b->next)
		if (b->bo == bo)
			return true;
	return false;
}

/*
 * Takes [va, end) out of the list and returns what was taken as a list of its own, whose references
 * are the caller's to drop. spare becomes the right-hand rest when one mapping is cut in two; it is
 * used up or not.
 */
static struct sim_mapping *cut(struct sim_vm *vm, uint64_t va, uint64_t end,
			       struct sim_mapping **spare)
{
	struct sim_mapping **link = &vm->mappings, *m, *taken = NULL;

	while ((m = *link)) {
		uint64_t m_end = m->va + m->bytes;

		if (m_end <= va) {
			link = &m->next;
			continue;
		}
		if (m->va >= end)
			break;
		if (m->va < va && m_end > end) {
			struct sim_mapping *rest = *spare;

			*spare = NULL;
			rest->va = end;
			rest->bytes = m_end - end;
			rest->bo = m->bo;
			zw_sim_bo_get(m->bo);
			rest->next = m->next;
			m->bytes = va - m->va;
			m->next = rest;
			break;
		}
		if (m->va < va) {
			m->bytes = va - m->va;
			link = &m->next;
		} else if (m_end > end) {
			m->bytes = m_end - end;
			m->va = end;
			break;
		} else {
			*link = m->next;
			m->next = taken;
			taken = m;
		}
	}
	return taken;
}

static void drop(struct sim_mapping *list)
{
	while (list) {
		struct sim_mapping *next = list->next;

		zw_sim_bo_put(list->bo);
		free(list);
		list = next;
	}
}

static void insert(struct sim_vm *vm, struct sim_mapping *m)
{
	struct sim_mapping **link = &vm->mappings;

	while (*link && (*link)->va < m->va)
		link = &(*link)->next;
	m->next = *link;
	*link = m;
}

/* -- operations ------------------------------------------------------------------------------ */

int zw_sim_vm_create(struct zw_vm *zvm)
{
	struct sim *sim = sim_of(zvm->dev);
	struct sim_vm *vm = calloc(1, sizeof(*vm));
	struct zw_msg_set_vm m = {0};
	int ret;

	if (!vm)
		return -ENOMEM;
	vm->sim = sim;
	pthread_mutex_lock(&sim->lock);
	vm->id = zw_sim_id_take(sim->vm_ids, sim->num_vms);
	vm->serial = ++sim->last_serial;
	pthread_mutex_unlock(&sim->lock);
	if (vm->id >= sim->num_vms) {
		free(vm);
		return -ENOSPC;
	}
	ret = table_new(vm, &vm->root);
	if (ret)
		goto free_dead;
	m.vm = vm->id;
	m.root_lo = ZW_LO32(vm->root);
	m.root_hi = ZW_HI32(vm->root);
	ret = zw_sim_mbox_call(sim, ZW_MSG_SET_VM, &m, sizeof(m), NULL, 0);
	if (ret) {
		zw_sim_hbm_free(sim, vm->root, ZW_PAGE_SIZE, false);
		goto free_dead;
	}
	pthread_mutex_init(&vm->lock, NULL);
	zvm->id = vm->id;
	zvm->priv = vm;
	return 0;

free_dead:
	free(vm->dead);
	pthread_mutex_lock(&sim->lock);
	zw_sim_id_give(sim->vm_ids, vm->id);
	pthread_mutex_unlock(&sim->lock);
	free(vm);
	return ret;
}

void zw_sim_vm_destroy(struct zw_vm *zvm)
{
	struct sim_vm *vm = zvm->priv;
	struct sim *sim = vm->sim;
	struct zw_msg_set_vm m = {.vm = vm->id};
	struct sim_mapping *all;

	zw_sim_binds_cancel(vm);
	pthread_mutex_lock(&sim->lock);
	all = vm->mappings;
	vm->mappings = NULL;
	pthread_mutex_unlock(&sim->lock);
	if (!zw_sim_mbox_call(sim, ZW_MSG_CLEAR_VM, &m, sizeof(m), NULL, 0)) {
		bury(vm, vm->root, ZW_PT_LEVELS - 1);
		for (size_t i = 0; i < vm->num_dead; i++)
			table_free(vm, vm->dead[i]);
		pthread_mutex_lock(&sim->lock);
		zw_sim_id_give(sim->vm_ids, vm->id);
		pthread_mutex_unlock(&sim->lock);
	}
	drop(all);
	pthread_mutex_destroy(&vm->lock);
	free(vm->dead);
	free(vm);
}

/*
 * Common part of map and unmap; vm->lock held; node and spare are used up. node describes the new
 * mapping, NULL to unmap. When mapping fails for want of memory, the range is left unmapped.
 */
static int change(struct sim_vm *vm, uint64_t va, uint64_t bytes, uint64_t addr, uint64_t attrs,
		  struct sim_mapping *node, struct sim_mapping *spare)
{
	struct sim *sim = vm->sim;
	struct change c = {.attrs = attrs};
	struct sim_mapping *taken = NULL;
	int err, ret;

	err = split_at(vm, va);
	if (!err)
		err = split_at(vm, va + bytes);
	if (err)
		goto out;
	err = change_range(vm, vm->root, ZW_PT_LEVELS - 1, va, va + bytes, addr, &c);
	if (err) {
		c.attrs = 0;
		/* Takes no table: both ends are borders, and what is between goes as a whole. */
		change_range(vm, vm->root, ZW_PT_LEVELS - 1, va, va + bytes, 0, &c);
	}
	ret = c.stale ? flush(vm) : 0;
	pthread_mutex_lock(&sim->lock);
	taken = cut(vm, va, va + bytes, &spare);
	if (!err && !ret && node) {
		zw_sim_bo_get(node->bo);
		insert(vm, node);
		node = NULL;
	}
	pthread_mutex_unlock(&sim->lock);
	drop(taken); /* if the device is lost, the memory is not reused: scrubbing it fails */
	if (ret)
		err = ret;
out:
	free(node);
	free(spare);
	return err;
}

static uint64_t map_attrs(const struct sim_bo *bo, uint32_t flags)
{
	uint64_t attrs = ZW_PTE_VALID | ZW_PTE_LEAF | ZW_PTE_READ;

	if (!(flags & ZW_VM_MAP_READONLY))
		attrs |= ZW_PTE_WRITE;
	if (bo->system)
		attrs |= ZW_PTE_TARGET(ZW_TARGET_SYSTEM);
	return attrs;
}

/* For the list of mappings: of a map its own, and the rest of one that is cut in two. */
static int nodes_new(uint64_t va, uint64_t bytes, struct sim_bo *bo, struct sim_mapping **node,
		     struct sim_mapping **spare)
{
	*node = bo ? calloc(1, sizeof(**node)) : NULL;
	*spare = calloc(1, sizeof(**spare));
	if (!*spare || (bo && !*node)) {
		free(*node);
		free(*spare);
		*node = *spare = NULL;
		return -ENOMEM;
	}
	if (bo)
		**node = (struct sim_mapping){.va = va, .bytes = bytes, .bo = bo};
	return 0;
}

/* bo NULL: unmaps. */
static int change_now(struct sim_vm *vm, uint64_t va, uint64_t bytes, struct sim_bo *bo,
		      uint64_t addr, uint64_t attrs)
{
	struct sim_mapping *node, *spare;
	int ret = zw_sim_binds_wait(vm);

	if (!ret)
		ret = nodes_new(va, bytes, bo, &node, &spare);
	if (ret)
		return ret;
	pthread_mutex_lock(&vm->lock);
	ret = change(vm, va, bytes, addr, attrs, node, spare);
	pthread_mutex_unlock(&vm->lock);
	return ret;
}

int zw_sim_vm_map(struct zw_vm *zvm, struct zw_bo *zbo, uint64_t offset, uint64_t va,
		  uint64_t bytes, uint32_t flags)
{
	struct sim_bo *bo = zbo->priv;

	return change_now(zvm->priv, va, bytes, bo, bo->addr + offset, map_attrs(bo, flags));
}

int zw_sim_vm_unmap(struct zw_vm *zvm, uint64_t va, uint64_t bytes)
{
	return change_now(zvm->priv, va, bytes, NULL, 0, 0);
}

/* -- asynchronous ones ------------------------------------------------------------------------- */

static int take_tables(struct sim_vm *vm, struct sim_bind *b)
{
	size_t n = tables_needed(ZW_PT_LEVELS - 1, b->va, b->va + b->bytes, b->addr, b->attrs);

	b->tables = malloc((n + 1) * sizeof(*b->tables));
	if (!b->tables)
		return -ENOMEM;
	while (b->num_tables < n) {
		int ret = table_take(vm, &b->tables[b->num_tables]);

		if (ret)
			return ret;
		b->num_tables++;
	}
	return 0;
}

int zw_sim_bind_prepare(struct sim_vm *vm, struct sim_bind *b, const struct zw_bind *op)
{
	int ret;

	if (op->type == ZW_BIND_SYNC)
		return 0;
	b->va = op->va;
	b->bytes = op->bytes;
	if (op->type == ZW_BIND_MAP) {
		b->bo = op->bo->priv;
		zw_sim_bo_get(b->bo);
		b->addr = b->bo->addr + op->bo_offset;
		b->attrs = map_attrs(b->bo, op->flags);
	}
	ret = nodes_new(b->va, b->bytes, b->bo, &b->node, &b->spare);
	if (ret)
		return ret;
	pthread_mutex_lock(&vm->lock);
	ret = take_tables(vm, b);
	pthread_mutex_unlock(&vm->lock);
	return ret;
}

int zw_sim_bind_do(struct sim_vm *vm, struct sim_bind *b)
{
	struct sim_mapping *node = b->node, *spare = b->spare;
	int ret;

	if (!b->bytes)
		return 0;
	b->node = b->spare = NULL; /* used up */
	pthread_mutex_lock(&vm->lock);
	vm->using = b;
	ret = change(vm, b->va, b->bytes, b->addr, b->attrs, node, spare);
	vm->using = NULL;
	pthread_mutex_unlock(&vm->lock);
	if (ret)
		zw_sim_lose(vm->sim, "a mapping could not be changed");
	return ret;
}

void zw_sim_bind_release(struct sim_vm *vm, struct sim_bind *b)
{
	pthread_mutex_lock(&vm->lock);
	while (b->num_tables)
		table_free(vm, b->tables[--b->num_tables]);
	pthread_mutex_unlock(&vm->lock);
	free(b->tables);
	free(b->node);
	free(b->spare);
	if (b->bo)
		zw_sim_bo_put(b->bo);
}

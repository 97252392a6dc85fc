// SPDX-License-Identifier: MIT
/*
 * Asynchronous binds of the sim transport. Those of a VM stand in a list, in the order of the calls; a
 * thread does the first of a list when what it waits for was reached, one at a time over all VMs.
 * Everything that one needs was taken when it was given, so that only losing the device keeps it from
 * being done: then it stays where it is, and waits are -ENODEV.
 */
#include <errno.h>
#include <stdlib.h>

#include "sim.h"

/* -- the lists; sim->lock --------------------------------------------------------------------- */

static void append(struct sim_vm *vm, struct sim_bind *list, struct sim_bind **end)
{
	struct sim *sim = vm->sim;

	if (!vm->binds) {
		struct sim_vm **link = &sim->binding_vms;

		while (*link)
			link = &(*link)->next;
		vm->next = NULL;
		*link = vm;
		vm->binds_end = &vm->binds;
	}
	*vm->binds_end = list;
	vm->binds_end = end;
}

static void unlink_vm(struct sim_vm *vm)
{
	struct sim_vm **link = &vm->sim->binding_vms;

	while (*link != vm)
		link = &(*link)->next;
	*link = vm->next;
}

/* The first of the list has ended. VMs take turns. */
static void take_first(struct sim_vm *vm)
{
	struct sim_bind *b = vm->binds, *rest = b->next;

	vm->binds_done++;
	unlink_vm(vm);
	vm->binds = NULL;
	if (rest)
		append(vm, rest, vm->binds_end);
	zw_sim_syncs_end(b->syncs, b->num_syncs);
}

static struct sim_vm *next_vm(struct sim *sim)
{
	if (atomic_load(&sim->lost))
		return NULL;
	for (struct sim_vm *vm = sim->binding_vms; vm; vm = vm->next)
		if (zw_sim_syncs_ready(vm->binds->syncs, vm->binds->num_syncs))
			return vm;
	return NULL;
}

/* -- the thread ------------------------------------------------------------------------------- */

/* sim->lock held; let go of while it is done. */
static void do_first(struct sim *sim, struct sim_vm *vm)
{
	struct sim_bind *b = vm->binds;
	int ret;

	vm->binding = true;
	pthread_mutex_unlock(&sim->lock);
	ret = zw_sim_bind_do(vm, b);
	pthread_mutex_lock(&sim->lock);
	if (!ret) {
		take_first(vm);
		zw_sim_push_all(sim);
		pthread_mutex_unlock(&sim->lock);
		zw_sim_bind_release(vm, b);
		free(b);
		pthread_mutex_lock(&sim->lock);
	}
	vm->binding = false;
	pthread_cond_broadcast(&sim->changed);
}

static void *bind_main(void *opaque)
{
	struct sim *sim = opaque;

	pthread_mutex_lock(&sim->lock);
	while (!sim->bind_stop) {
		struct sim_vm *vm = next_vm(sim);

		if (vm)
			do_first(sim, vm);
		else
			pthread_cond_wait(&sim->bind_cond, &sim->lock);
	}
	pthread_mutex_unlock(&sim->lock);
	return NULL;
}

/* The thread is there from the first bind to the end of the device. sim->lock held. */
static int start(struct sim *sim)
{
	int ret = sim->bind_running ? 0 : -pthread_create(&sim->bind_thread, NULL, bind_main, sim);

	sim->bind_running = !ret;
	return ret;
}

void zw_sim_binds_stop(struct sim *sim)
{
	if (!sim->bind_running)
		return;
	pthread_mutex_lock(&sim->lock);
	sim->bind_stop = true;
	pthread_cond_signal(&sim->bind_cond);
	pthread_mutex_unlock(&sim->lock);
	pthread_join(sim->bind_thread, NULL);
	sim->bind_running = false;
}

/* -- calls ------------------------------------------------------------------------------------ */

static void free_list(struct sim_vm *vm, struct sim_bind *list)
{
	for (struct sim_bind *b = list, *next; b; b = next) {
		next = b->next;
		zw_sim_bind_release(vm, b);
		free(b);
	}
}

static int bind_new(struct sim_vm *vm, const struct zw_bind *op, struct sim_bind **out)
{
	struct sim_bind *b = calloc(1, sizeof(*b) + op->num_syncs * sizeof(b->syncs[0]));
	int ret;

	if (!b)
		return -ENOMEM;
	b->num_syncs = op->num_syncs;
	zw_sim_syncs_set(b->syncs, op->syncs, op->num_syncs);
	ret = zw_sim_bind_prepare(vm, b, op);
	if (ret) {
		zw_sim_bind_release(vm, b);
		free(b);
		return ret;
	}
	*out = b;
	return 0;
}

int zw_sim_vm_bind(struct zw_vm *zvm, const struct zw_bind *ops, uint32_t count)
{
	struct sim_vm *vm = zvm->priv;
	struct sim *sim = vm->sim;
	struct sim_bind *list = NULL, **end = &list;
	size_t total = 0;
	int ret = 0;

	for (uint32_t i = 0; i < count && !ret; i++) {
		ret = bind_new(vm, &ops[i], end);
		if (!ret)
			end = &(*end)->next;
		total += ops[i].num_syncs;
	}
	pthread_mutex_lock(&sim->lock);
	if (!ret && atomic_load(&sim->lost))
		ret = -ENODEV;
	if (!ret)
		ret = start(sim);
	for (struct sim_bind *b = list; b && !ret; b = b->next)
		ret = zw_sim_syncs_reserve(b->syncs, b->num_syncs, total);
	if (!ret) {
		for (struct sim_bind *b = list; b; b = b->next)
			zw_sim_syncs_begin(b->syncs, b->num_syncs);
		vm->binds_given += count;
		append(vm, list, end);
		pthread_cond_signal(&sim->bind_cond);
	}
	pthread_mutex_unlock(&sim->lock);
	if (ret)
		free_list(vm, list);
	return ret;
}

int zw_sim_binds_wait(struct sim_vm *vm)
{
	struct sim *sim = vm->sim;
	bool idle;

	pthread_mutex_lock(&sim->lock);
	while (!(idle = !vm->binds && !vm->binding) && !atomic_load(&sim->lost))
		pthread_cond_wait(&sim->changed, &sim->lock);
	pthread_mutex_unlock(&sim->lock);
	return idle ? 0 : -ENODEV;
}

void zw_sim_binds_cancel(struct sim_vm *vm)
{
	struct sim_bind *list = NULL, **end = &list;
	struct sim *sim = vm->sim;

	pthread_mutex_lock(&sim->lock);
	while (vm->binding)
		pthread_cond_wait(&sim->changed, &sim->lock);
	while (vm->binds) {
		*end = vm->binds;
		take_first(vm);
		end = &(*end)->next;
		*end = NULL;
	}
	if (list)
		zw_sim_push_all(sim);
	pthread_mutex_unlock(&sim->lock);
	free_list(vm, list);
}

int zw_sim_vm_status(struct zw_vm *zvm)
{
	return atomic_load(&sim_of(zvm->dev)->lost) ? -ENODEV : 0;
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Clients, and what each may take.
 *
 * Nothing a client holds can be taken back, but what it says it does not need, so it must not get
 * so much that the next one finds nothing. A file is no measure: a process opens as many as it
 * likes. Charged are the process that opened the file and its user, both, because processes are
 * just as easily made; a file that was passed on is still charged to who opened it.
 *
 * - While another process holds anything of the device, a process gets no further than half of a
 *   resource; the same for users. Who only looks, as a monitor does, holds nothing and halves
 *   nobody's share.
 * - Alone, a process gets more, and all of HBM, which is what the machine was bought for. Of VMs
 *   and queues it leaves some.
 * - The last eighth of VMs, queues and page tables goes to those who hold next to nothing, so that
 *   whoever comes can start to work.
 */

#include <linux/cred.h>
#include <linux/pid.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uidgid.h>

#include <drm/drm_managed.h>

#include "zhenwu/zw_pte.h"
#include "zhenwu_client.h"
#include "zhenwu_device.h"

/**
 * struct zhenwu_share - what a process or a user holds
 */
struct zhenwu_share {
	/** @node: Entry in the list of its level. */
	struct list_head node;

	/** @refs: Clients; under the lock of the lists. */
	unsigned int refs;

	/** @pid: The process, or NULL. */
	struct pid *pid;

	/** @uid: The user. */
	kuid_t uid;

	/** @held: Things that are charged, of whatever kind. */
	unsigned long held;

	/** @used: What is held. */
	u64 used[ZHENWU_NUM_RESOURCES];
};

/**
 * struct zhenwu_policy - how a resource is shared
 */
struct zhenwu_policy {
	/** @name: Name in debugfs. */
	const char *name;

	/** @alone: Most a share gets while it is the only one, in eighths, by level. */
	u8 alone[ZHENWU_NUM_LEVELS];

	/** @start: What a share may take of the last eighth, too. 0: nothing is kept back. */
	u32 start;
};

/* Most a share gets while there are others, in eighths. */
#define ZHENWU_SHARED_EIGHTHS 4

static const struct zhenwu_policy zhenwu_policies[ZHENWU_NUM_RESOURCES] = {
	[ZHENWU_VMS]	 = { "vms",	{ 6, 7 }, 1 },
	[ZHENWU_QUEUES]	 = { "queues",	{ 6, 7 }, 2 },
	[ZHENWU_HBM]	 = { "hbm",	{ 8, 8 }, 0 },
	[ZHENWU_VISIBLE] = { "visible", { 8, 8 }, 0 },
	/* More than its part comes out of HBM: see zhenwu_pt.c. */
	[ZHENWU_TABLES]	 = { "tables",	{ 4, 6 }, 32 },
};

/* Most that a share gets, now that others hold something or do not. */
static u64 zhenwu_share_limit(const struct zhenwu_clients *clients,
			      const struct zhenwu_share *share, enum zhenwu_level level,
			      enum zhenwu_resource res)
{
	bool others = clients->holders[level] > !!share->held;
	u64 limit = others ? ZHENWU_SHARED_EIGHTHS : zhenwu_policies[res].alone[level];

	/* At least one of anything that there is only one of. */
	return max(div_u64(clients->total[res] * limit, 8), 1);
}

static bool zhenwu_share_allows(const struct zhenwu_clients *clients,
				const struct zhenwu_share *share, enum zhenwu_level level,
				enum zhenwu_resource res, u64 n)
{
	const struct zhenwu_policy *policy = &zhenwu_policies[res];
	u64 total = clients->total[res], used = share->used[res] + n;

	if (used <= policy->start)
		return true;
	if (policy->start)
		total -= div_u64(total + 7, 8);
	return used <= zhenwu_share_limit(clients, share, level, res) &&
	       clients->used[res] + n <= total;
}

static bool zhenwu_client_has_room_locked(struct zhenwu_client *client, enum zhenwu_resource res,
					  u64 n)
{
	struct zhenwu_clients *clients = &client->zdev->clients;
	int level;

	lockdep_assert_held(&clients->lock);

	if (n > clients->total[res] - clients->used[res])
		return false;
	for (level = 0; level < ZHENWU_NUM_LEVELS; level++)
		if (!zhenwu_share_allows(clients, client->shares[level], level, res, n))
			return false;
	return true;
}

/**
 * zhenwu_client_charge() - take from a resource
 * @client: client
 * @res: what of
 * @n: how much; what the device never has is fine
 *
 * Return: 0, or -ENOSPC when it is not there or not to be had for this client.
 */
int zhenwu_client_charge(struct zhenwu_client *client, enum zhenwu_resource res, u64 n)
{
	struct zhenwu_clients *clients = &client->zdev->clients;
	int level, ret;

	mutex_lock(&clients->lock);
	ret = zhenwu_client_has_room_locked(client, res, n) ? 0 : -ENOSPC;
	for (level = 0; !ret && level < ZHENWU_NUM_LEVELS; level++) {
		struct zhenwu_share *share = client->shares[level];

		if (!share->held++)
			clients->holders[level]++;
		share->used[res] += n;
	}
	if (!ret)
		clients->used[res] += n;
	mutex_unlock(&clients->lock);
	return ret;
}

/**
 * zhenwu_client_has_room() - would a charge go well now
 * @client: client
 * @res: what
 * @n: how much
 *
 * Return: true when it would.
 */
bool zhenwu_client_has_room(struct zhenwu_client *client, enum zhenwu_resource res, u64 n)
{
	struct zhenwu_clients *clients = &client->zdev->clients;
	bool room;

	mutex_lock(&clients->lock);
	room = zhenwu_client_has_room_locked(client, res, n);
	mutex_unlock(&clients->lock);
	return room;
}

/**
 * zhenwu_client_gains() - would it help a client if another one had less
 * @client: client, whose charge failed
 * @from: the other one, or the same
 * @res: what of
 * @n: how much
 *
 * Who is at the limit of his share gains from what counts against the same share only.
 *
 * Return: false also for what cannot be had at all.
 */
bool zhenwu_client_gains(struct zhenwu_client *client, const struct zhenwu_client *from,
			 enum zhenwu_resource res, u64 n)
{
	struct zhenwu_clients *clients = &client->zdev->clients;
	bool limited = false, gains = true;
	int level;

	mutex_lock(&clients->lock);
	for (level = 0; level < ZHENWU_NUM_LEVELS; level++) {
		const struct zhenwu_share *share = client->shares[level];
		u64 limit = zhenwu_share_limit(clients, share, level, res);

		if (n > limit)
			gains = false;
		if (share->used[res] + n <= limit)
			continue;
		limited = true;
		if (share != from->shares[level])
			gains = false;
	}
	if (!limited && n <= clients->total[res] - clients->used[res])
		gains = false;
	mutex_unlock(&clients->lock);
	return gains;
}

/**
 * zhenwu_client_uncharge() - give back what was taken
 * @client: client
 * @res: what of
 * @n: how much, in the same pieces
 */
void zhenwu_client_uncharge(struct zhenwu_client *client, enum zhenwu_resource res, u64 n)
{
	struct zhenwu_clients *clients = &client->zdev->clients;
	int level;

	mutex_lock(&clients->lock);
	for (level = 0; level < ZHENWU_NUM_LEVELS; level++) {
		struct zhenwu_share *share = client->shares[level];

		share->used[res] -= n;
		if (!--share->held)
			clients->holders[level]--;
	}
	clients->used[res] -= n;
	mutex_unlock(&clients->lock);
}

static void zhenwu_share_put_locked(struct zhenwu_share *share)
{
	if (!share || --share->refs)
		return;
	WARN_ON(share->held);
	list_del(&share->node);
	put_pid(share->pid);
	kfree(share);
}

/*
 * Finds or makes the share of the current process or user. Memory for it comes before the lock,
 * which is taken under that of all buffers, which those have who wait in reclaim.
 */
static struct zhenwu_share *zhenwu_share_get(struct zhenwu_clients *clients,
					     enum zhenwu_level level)
{
	struct pid *pid = level == ZHENWU_PROCESS ? task_tgid(current) : NULL;
	struct zhenwu_share *share, *fresh;
	kuid_t uid = current_euid();

	fresh = kzalloc(sizeof(*fresh), GFP_KERNEL_ACCOUNT);
	if (!fresh)
		return NULL;

	mutex_lock(&clients->lock);
	list_for_each_entry(share, &clients->shares[level], node) {
		if (pid ? share->pid == pid : uid_eq(share->uid, uid)) {
			share->refs++;
			mutex_unlock(&clients->lock);
			kfree(fresh);
			return share;
		}
	}
	fresh->refs = 1;
	fresh->pid = get_pid(pid);
	fresh->uid = uid;
	list_add_tail(&fresh->node, &clients->shares[level]);
	mutex_unlock(&clients->lock);
	return fresh;
}

static void zhenwu_client_free(struct kref *ref)
{
	struct zhenwu_client *client = container_of(ref, struct zhenwu_client, refs);
	struct zhenwu_clients *clients = &client->zdev->clients;
	int level;

	mutex_lock(&clients->lock);
	for (level = 0; level < ZHENWU_NUM_LEVELS; level++)
		zhenwu_share_put_locked(client->shares[level]);
	mutex_unlock(&clients->lock);
	kfree(client);
}

/**
 * zhenwu_client_create() - make a client of the current process
 * @zdev: device
 *
 * Return: the client, to be given back with zhenwu_client_put(), or NULL without memory.
 */
struct zhenwu_client *zhenwu_client_create(struct zhenwu_device *zdev)
{
	struct zhenwu_clients *clients = &zdev->clients;
	struct zhenwu_client *client;
	bool complete = true;
	int level;

	client = kzalloc(sizeof(*client), GFP_KERNEL_ACCOUNT);
	if (!client)
		return NULL;
	kref_init(&client->refs);
	client->zdev = zdev;
	for (level = 0; level < ZHENWU_NUM_LEVELS; level++) {
		client->shares[level] = zhenwu_share_get(clients, level);
		complete &= !!client->shares[level];
	}
	if (!complete) {
		zhenwu_client_put(client);
		return NULL;
	}
	return client;
}

/**
 * zhenwu_client_get() - keep a client
 * @client: client
 *
 * Return: @client.
 */
struct zhenwu_client *zhenwu_client_get(struct zhenwu_client *client)
{
	kref_get(&client->refs);
	return client;
}

/**
 * zhenwu_client_put() - drop a reference to a client
 * @client: client
 */
void zhenwu_client_put(struct zhenwu_client *client)
{
	kref_put(&client->refs, zhenwu_client_free);
}

static void zhenwu_clients_release(struct drm_device *drm, void *arg)
{
	struct zhenwu_clients *clients = arg;

	mutex_destroy(&clients->lock);
}

/**
 * zhenwu_clients_init() - begin to share a device
 * @zdev: device, whose sizes are known and whose HBM allocator is set up
 *
 * Return: 0 or a negative error.
 */
int zhenwu_clients_init(struct zhenwu_device *zdev)
{
	struct zhenwu_clients *clients = &zdev->clients;
	u64 tables = zdev->hbm.tables.count;
	int level;

	mutex_init(&clients->lock);
	for (level = 0; level < ZHENWU_NUM_LEVELS; level++)
		INIT_LIST_HEAD(&clients->shares[level]);
	clients->total[ZHENWU_VMS] = zdev->info.num_vms;
	clients->total[ZHENWU_QUEUES] = zdev->info.num_queues;
	clients->total[ZHENWU_HBM] = zdev->info.hbm_size - tables * ZW_PAGE_SIZE;
	clients->total[ZHENWU_VISIBLE] = zdev->info.aperture_size - tables * ZW_PAGE_SIZE;
	clients->total[ZHENWU_TABLES] = tables;
	return drmm_add_action_or_reset(&zdev->drm, zhenwu_clients_release, clients);
}

/**
 * zhenwu_clients_show() - list who holds what
 * @zdev: device
 * @m: where to print
 */
void zhenwu_clients_show(struct zhenwu_device *zdev, struct seq_file *m)
{
	struct zhenwu_clients *clients = &zdev->clients;
	struct zhenwu_share *share;
	int level, res;

	mutex_lock(&clients->lock);
	for (level = 0; level < ZHENWU_NUM_LEVELS; level++) {
		list_for_each_entry(share, &clients->shares[level], node) {
			if (share->pid)
				seq_printf(m, "process %d", pid_nr(share->pid));
			else
				seq_printf(m, "user %u", from_kuid(&init_user_ns, share->uid));
			for (res = 0; res < ZHENWU_NUM_RESOURCES; res++)
				seq_printf(m, " %s %llu/%llu", zhenwu_policies[res].name,
					   share->used[res], clients->total[res]);
			seq_putc(m, '\n');
		}
	}
	mutex_unlock(&clients->lock);
}

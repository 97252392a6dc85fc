/* SPDX-License-Identifier: MIT */
/* The clock of the whole device by itself: queues that are scripts, and what came of their jobs. */
#ifndef ZW_TEST_REPLAY_RIG_H
#define ZW_TEST_REPLAY_RIG_H

#include "../device/unit.h"
#include "cp/zw_cp_int.h"
#include "zw_state.h"

#define MAX_QUEUES 9u
#define MAX_JOBS   64u
#define US         UINT64_C(1000000)

struct rig {
	const struct zw_profile *profile; /* of its temperature; may be NULL */
	struct zw_pmu pmu;
	struct zw_cp_sems sems;
	struct zw_cp_replay r;
	uint64_t jobs[MAX_QUEUES]; /* that began */
	struct zw_settled_job done[MAX_QUEUES][MAX_JOBS];
	unsigned int n_done[MAX_QUEUES];
};

static inline void rig_settled(void *opaque, const struct zw_settled_job *job)
{
	struct rig *g = opaque;
	struct zw_settled_job *done;

	assert_true(job->queue < MAX_QUEUES && g->n_done[job->queue] < MAX_JOBS);
	assert_int_equal(job->seqno, g->n_done[job->queue] + 1);
	done = &g->done[job->queue][g->n_done[job->queue]++];
	/* nothing between the fields: they are compared as memory */
	memset(done, 0, sizeof(*done));
	done->queue = job->queue;
	done->seqno = job->seqno;
	done->release_ps = job->release_ps;
	done->start_ps = job->start_ps;
	done->end_ps = job->end_ps;
}

static inline struct rig *rig_new_of(const struct zw_profile *profile)
{
	struct rig *g = calloc(1, sizeof(*g));
	struct zw_cp_config cfg = {.profile = profile, .settled = rig_settled, .settled_opaque = g};

	assert_non_null(g);
	g->profile = profile;
	cfg.pmu = &g->pmu;
	assert_int_equal(zw_cp_replay_init(&g->r, &cfg, MAX_QUEUES, &g->sems), 0);
	return g;
}

static inline struct rig *rig_new(void)
{
	return rig_new_of(NULL);
}

static inline void rig_free(struct rig *g)
{
	zw_cp_replay_fini(&g->r);
	free(g);
}

/* A packet; `hdr` says what it waits for. */
struct step {
	unsigned int engine;
	struct zw_cp_work work;
	struct zw_pkt hdr;
	uint64_t signal, wait; /* values of semaphore `sem`; 0: not */
	uint64_t sem;
};

static inline struct zw_mem_place rig_place(uint64_t sem)
{
	return (struct zw_mem_place){.addr = 8 * sem};
}

/* As the command processor does it; semaphores have been signalled already. */
static inline void rig_packet(struct rig *g, unsigned int queue, const struct step *s)
{
	struct zw_mem_place place = rig_place(s->sem);
	struct zw_cp_sem_use use = {0};

	/* what a packet of one queue alone ended at is no matter here */
	if (s->signal)
		use.signalled = zw_cp_sem_signalled(&g->sems, &place, s->signal, 0);
	for (unsigned int i = 0; s->wait && i < ZW_CP_SEMS && !use.waited; i++)
		if (g->sems.sem[i].age && g->sems.sem[i].place.addr == place.addr)
			use.waited = zw_cp_sem_find(&g->sems, &place,
						    g->sems.sem[i].value[g->sems.sem[i].n - 1],
						    s->wait, &use.value);
	zw_cp_replay_packet(&g->r, queue,
			    &(struct zw_cp_retired){.job = g->jobs[queue],
						    .engine = s->engine,
						    .hdr = &s->hdr,
						    .work = &s->work,
						    .sem = use});
}

static inline void rig_open(struct rig *g, unsigned int n)
{
	for (unsigned int q = 0; q < n; q++)
		zw_cp_replay_open(&g->r, q, ZW_PRIO_NORMAL, 0);
}

static inline void rig_close(struct rig *g, unsigned int n)
{
	for (unsigned int q = 0; q < n; q++)
		zw_cp_replay_close(&g->r, q);
}

static inline void rig_begin(struct rig *g, unsigned int queue, uint64_t ps)
{
	zw_cp_replay_begin(&g->r, queue, ++g->jobs[queue], ps);
}

static inline void rig_end(struct rig *g, unsigned int queue)
{
	zw_cp_replay_end(&g->r, queue, g->jobs[queue]);
}

/* A job of packets that wait for all before them; it begins in no time. */
#define RIG_JOB(g, queue, ...)                                                                     \
	rig_job((g), (queue), (const struct step[]){__VA_ARGS__},                                  \
		sizeof((const struct step[]){__VA_ARGS__}) / sizeof(struct step))
static inline void rig_job(struct rig *g, unsigned int queue, const struct step *s, size_t n)
{
	rig_begin(g, queue, 0);
	for (size_t i = 0; i < n; i++)
		rig_packet(g, queue, &s[i]);
	rig_end(g, queue);
}

static inline uint64_t rig_ended(const struct rig *g, unsigned int queue, unsigned int job)
{
	assert_true(job < g->n_done[queue]);
	return g->done[queue][job].end_ps;
}

/* Saves it, and goes on as another one that loaded it. */
static inline void rig_migrate(struct rig *g)
{
	struct zw_cp_config cfg = {
		.profile = g->profile, .settled = rig_settled, .settled_opaque = g, .pmu = &g->pmu};
	struct zw_cp_replay other;
	struct zw_state st;
	char err[256] = "";
	size_t len;
	void *buf;

	zw_state_save_begin(&st, err, sizeof(err));
	zw_state_section(&st, "TEST");
	zw_cp_replay_state(&g->r, &st);
	zw_state_section_end(&st);
	assert_int_equal(zw_state_save_end(&st, &buf, &len), 0);
	zw_cp_replay_fini(&g->r);
	for (unsigned int i = 0; i < ZW_CP_SEMS; i++)
		for (unsigned int v = 0; v < ZW_CP_SEM_VALUES; v++)
			g->sems.sem[i].entry[v] = ZW_CP_NO_ENTRY;
	assert_int_equal(zw_cp_replay_init(&other, &cfg, MAX_QUEUES, &g->sems), 0);
	zw_state_load_begin(&st, buf, len, err, sizeof(err));
	zw_state_section(&st, "TEST");
	zw_cp_replay_state(&other, &st);
	zw_state_section_end(&st);
	if (zw_state_load_end(&st))
		fail_msg("cannot load: %s", err);
	free(buf);
	g->r = other;
}

#endif

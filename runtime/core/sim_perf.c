// SPDX-License-Identifier: MIT
/* What queues have done, as the device adds it up for those that have an owner. */
#include <errno.h>
#include <string.h>

#include "sim.h"
#include "zw_core.h"

uint32_t zw_sim_perf_begin(struct sim *sim, unsigned int queue)
{
	struct sim_perf *p = &sim->perf;
	uint32_t owner;

	pthread_mutex_lock(&p->lock);
	owner = ++p->last_owner ? p->last_owner : ++p->last_owner;
	p->owner[queue] = owner;
	p->sums[queue] = (struct zw_queue_perf){0};
	pthread_mutex_unlock(&p->lock);
	return owner;
}

void zw_sim_perf_job(struct sim *sim, const struct zw_settled_job *job)
{
	const struct zw_settled_sums *s = job->sums;
	struct sim_perf *p = &sim->perf;
	struct zw_queue_perf *q;

	if (!s || job->queue >= ZW_MAX_QUEUES)
		return;
	q = &p->sums[job->queue];
	_Static_assert(sizeof(q->busy_ps) == sizeof(s->engine_busy_ps) &&
			       sizeof(q->port_busy_ps) == sizeof(s->port_busy_ps) &&
			       sizeof(q->wait_ps) == sizeof(s->wait_ps),
		       "sums of the core are sums of the API");
	pthread_mutex_lock(&p->lock);
	/* The number may be another queue's by now. */
	if (p->owner[job->queue] == job->owner) {
		q->job = job->seqno;
		q->end_ps = job->end_ps;
		q->packets = s->packets;
		memcpy(q->busy_ps, s->engine_busy_ps, sizeof(q->busy_ps));
		memcpy(q->port_busy_ps, s->port_busy_ps, sizeof(q->port_busy_ps));
		memcpy(q->wait_ps, s->wait_ps, sizeof(q->wait_ps));
		q->energy_pj = s->energy_pj;
		q->ops = s->ops;
		q->hbm_bytes = s->hbm_bytes;
		q->sys_bytes = s->sys_bytes;
	}
	pthread_mutex_unlock(&p->lock);
}

int zw_sim_queue_get_perf(struct zw_queue *queue, struct zw_queue_perf *perf)
{
	struct sim *sim = sim_of(queue->dev);

	if (atomic_load(&sim->lost))
		return -ENODEV;
	pthread_mutex_lock(&sim->perf.lock);
	*perf = sim->perf.sums[queue->id];
	pthread_mutex_unlock(&sim->perf.lock);
	return 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * Inside of schedulers.
 *
 *	sched.c        life, requests, figures
 *	sched_plan.c   who is in the next step, who is admitted, who has to go
 *	sched_step.c   the step, and what came out
 */
#ifndef LLM_SCHED_H
#define LLM_SCHED_H

#include <zhenwu/llm_sched.h>

#include "ctx.h"

struct llm_request {
	uint64_t id;
	struct zw_request_params p;
	uint32_t *ids; /* tokens, given and generated */
	size_t cap;
	uint32_t n;
	uint32_t given;
	uint32_t done; /* while it runs: computed, the length of its sequence; in snap as many */
	uint64_t generated;
	bool running; /* it has a sequence */
	uint32_t seq;
	struct zw_snapshot *snap; /* waiting, in system memory */
	uint64_t system_bytes;    /* of it */
	/* In the step: so many tokens, the last of which has this index and wants that. */
	uint32_t planned, index, want;
};

struct llm_requests {
	struct llm_request **at;
	size_t n, cap;
};

struct zw_sched {
	struct zw_ctx *c;
	struct zw_sched_options o;
	uint32_t most; /* requests that run at a time */
	/* Each in the order in which requests have their turn. */
	struct llm_requests waiting, running;
	struct llm_requests step; /* those in the step */
	uint32_t rotate;          /* whom the last step had no room for is first in the next */
	struct zw_batch_token *tokens;
	uint64_t last_id;
	struct zw_sched_stats stats;

	pthread_mutex_t lock; /* of the next: zw_sched_cancel() */
	uint64_t *cancel;
	size_t num_cancel, cap_cancel;
};

/* sched.c */
/* Room for one more must be there: lists of a scheduler grow when a request is added. */
void llm_requests_add(struct llm_requests *l, struct llm_request *r);
void llm_requests_remove(struct llm_requests *l, const struct llm_request *r);
struct llm_request *llm_sched_find(const struct zw_sched *s, uint64_t id);
/* It is gone, and done() has been called. */
void llm_request_end(struct zw_sched *s, struct llm_request *r, enum zw_finish finish, int error);

/* sched_plan.c */
/*
 * Fills s->step and s->tokens. On -ENOSPC nothing runs and nothing fits. Requests that nothing can
 * be done for have ended.
 */
int llm_sched_plan(struct zw_sched *s, uint32_t *tokens, struct zw_error *err);
/* Whether there is room for it to run now, `shared` of its blocks being those of one that runs. */
bool llm_sched_has_room(const struct zw_sched *s, const struct llm_request *r, uint32_t shared);

#endif

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
	uint32_t done; /* while it runs: computed, as far as it is known; in snap as many */
	uint32_t sent; /* tokens behind these, in steps in flight */
	uint64_t generated;
	bool running; /* it has a sequence */
	uint32_t seq;
	struct zw_snapshot *snap; /* waiting, in system memory */
	uint64_t system_bytes;    /* of it */
	uint32_t guess;           /* the MTP head's draft behind its last token, or LLM_NO_GUESS */
	/* The step that it is of, and where its state is until there is another step. */
	uint64_t guess_step;
	uint32_t guess_row;
};

#define LLM_NO_GUESS UINT32_MAX

/* A request in a step: so many tokens, the last of which has this index and wants that. */
struct llm_entry {
	struct llm_request *r; /* NULL: it has ended */
	uint32_t tokens, index, want;
	uint32_t drafts, first_draft; /* tokens behind it, and the index of the first of them */
};

struct llm_flight {
	uint64_t step;
	bool ahead;
	struct llm_entry *at;
	size_t n, cap;
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
	/* Steps in flight, the older one first; and the one that is planned. */
	struct llm_flight flight[2];
	uint32_t num_flights;
	struct llm_flight plan;
	uint32_t *leaving; /* sequences that end with the step that they are in: [max_seqs] */
	uint32_t num_leaving;
	uint32_t rotate; /* whom the last step had no room for is first in the next */
	struct zw_batch_token *tokens;
	struct llm_chain *chains; /* of the step that is planned: [most] */
	uint32_t num_chains;
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
 * Fills s->plan and s->tokens. On -ENOSPC nothing runs and nothing fits. Requests that nothing can
 * be done for have ended. Nothing is in flight.
 */
int llm_sched_plan(struct zw_sched *s, uint32_t *tokens, struct zw_error *err);
/* The same behind a step in flight; 0 when that cannot be, or when there is nothing. */
uint32_t llm_sched_plan_ahead(struct zw_sched *s);
/* Whether there is room for it to run now, `shared` of its blocks being those of one that runs. */
bool llm_sched_has_room(const struct zw_sched *s, const struct llm_request *r, uint32_t shared);

/* sched_step.c */
/* Sequences that were left in steps which are done. */
void llm_sched_leave(struct zw_sched *s);
/* Waits for what is in flight; what comes of it is of no interest. */
void llm_sched_drain(struct zw_sched *s);

#endif

/*
 * The scheduler: which worker runs which actor, and which worker sleeps.
 *
 * Each worker has a slot for the actor it made runnable last, whose message is still in its cache;
 * a ring of 256 that the others steal from; and a list of its own for what does not fit there. What
 * becomes runnable outside the workers goes on one stack, which the first worker to look takes
 * whole.
 *
 * A worker without work looks around for a few microseconds, then sleeps on its own word. Whoever
 * makes work that others could take wakes one sleeper, unless one is looking already; a looker who
 * finds something wakes the next before it goes to work.
 *
 * The slot is not for stealing: two actors that talk to each other are best on one worker. But its
 * worker may be kept in a handler for long. So while a worker is at work one of the sleepers wakes
 * up every now and then, and takes what has been waiting in a slot all the time since it last
 * looked. When all are idle, all sleep for good.
 *
 * No wake-up is lost: who makes work stores it, then loads `sleepers`; who goes to sleep stores his
 * bit in `sleepers`, then looks for work once more. All four are sequentially consistent, so one of
 * the two sees the other.
 */
#ifndef DCTX_SCHEDULER_H
#define DCTX_SCHEDULER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <czmq.h>

#include "cell.h"
#include "futex.h"
#include "runner.h"

enum { DCTX_RING = 256, DCTX_WORKERS_MAX = 64 };

typedef struct dctx_worker {
    dctx_runner_t runner;
    unsigned index;
    zactor_t *thread;
    zsock_t *pipe; /* its thread's end, which it does not use: closed for it if it is given up */

    _Alignas(64) _Atomic(dctx_actor_t *)
        next;                /* the slot: its worker puts in; it or a watcher takes out */
    _Atomic(uint64_t) turns; /* begun; its worker writes, watchers read, both relaxed */

    _Alignas(
        64) _Atomic(uint32_t) ring_head; /* takers, its worker among them, by compare-and-swap */
    _Atomic(uint32_t) ring_tail;         /* its worker only, release after filling the place */
    _Atomic(dctx_actor_t *) ring[DCTX_RING];

    _Alignas(64) dctx_actor_t *overflow; /* its worker only: oldest first */
    dctx_actor_t *overflow_last;
    unsigned streak;     /* turns from the slot in a row */
    unsigned since_look; /* turns since it looked at the stack from outside */
    uint32_t seed;       /* where to begin stealing */
    uint64_t seen_turns
        [DCTX_WORKERS_MAX]; /* as watcher: `turns` of the others, and what was in their slots */
    dctx_actor_t *seen_next[DCTX_WORKERS_MAX];

    _Alignas(64)
        dctx_futex_t wake; /* 1: wake up. Whoever takes its bit out of `sleepers` sets it */
    dctx_futex_t left;     /* 1: its thread has left the loop; release */
} dctx_worker_t;

typedef struct dctx_scheduler {
    unsigned worker_count;
    unsigned quantum;
    dctx_worker_t *workers;

    _Alignas(64) _Atomic(dctx_actor_t *)
        outside; /* the stack, newest first; push by compare-and-swap, taken whole */
    _Alignas(64) _Atomic(uint64_t) sleepers; /* a bit for each sleeping worker */
    _Atomic(int) looking;                    /* workers awake without work */
    _Atomic(int) watching;                   /* 1: a sleeper is going to look at slots */
    _Atomic(int) quit;                       /* 1: workers leave */
} dctx_scheduler_t;

/* DCTX_ERR_NOMEM. Threads are started one by one by the system. */
dctx_error_t dctx_scheduler_init(dctx_scheduler_t *scheduler, dctx_system_t *system,
                                 unsigned workers, unsigned quantum);
void dctx_scheduler_finish(dctx_scheduler_t *scheduler);

/* Gets an actor running, for whoever has the right to: who put the first message into an idle
 * mailbox. `worker` is the calling thread's, NULL elsewhere. */
void dctx_schedule_(dctx_scheduler_t *scheduler, dctx_worker_t *worker, dctx_actor_t *actor);

/* The next actor to run; waits for one. NULL: leave. For the worker. */
dctx_actor_t *dctx_scheduler_next_(dctx_scheduler_t *scheduler, dctx_worker_t *worker);

/* Puts an actor that has more to do behind the others. For the worker. */
void dctx_scheduler_again_(dctx_scheduler_t *scheduler, dctx_worker_t *worker, dctx_actor_t *actor);

/* What `sleepers` is when all are asleep. */
uint64_t dctx_scheduler_all_bits_(const dctx_scheduler_t *scheduler);

/* Tells all workers to leave. */
void dctx_scheduler_quit_(dctx_scheduler_t *scheduler);

/* Called by a worker that is about to sleep. */
void dctx_system_worker_idle_(dctx_system_t *system);

static inline dctx_worker_t *dctx_worker_of(dctx_runner_t *runner)
{
    /* The runner is the worker's first member. */
    return runner != NULL && runner->kind == DCTX_RUNNER_WORKER ? (dctx_worker_t *)(void *)runner
                                                                : NULL;
}

#endif

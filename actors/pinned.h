/* A pinned actor's thread. */
#ifndef DCTX_PINNED_H
#define DCTX_PINNED_H

#include <pthread.h>
#include <stdbool.h>

#include "cell.h"
#include "futex.h"
#include "runner.h"

struct dctx_pinned {
    dctx_runner_t runner;
    dctx_actor_t *actor;
    pthread_t thread;
    struct dctx_pinned *next; /* of the system's; under its pinned_lock */
    dctx_futex_t wake;        /* 1: the actor is to run; release by who put the first message in */
    int event;         /* an eventfd and one more, once the actor watches sockets: see poll.h */
    dctx_futex_t left; /* 1: the thread touches nothing any more; release */
};

/* Starts a thread for an actor. DCTX_ERR_NOMEM, DCTX_ERR_IO. */
dctx_error_t dctx_pinned_new_(dctx_system_t *system, dctx_actor_t *actor,
                              dctx_pinned_t **ret_pinned);

/* Gets its actor running; for whoever has the right to. */
void dctx_pinned_wake_(dctx_pinned_t *pinned);

/* Joins the threads that have left and folds in what they counted. */
void dctx_pinned_reap_(dctx_system_t *system);

static inline bool dctx_pinned_is_(const dctx_pinned_t *pinned, const dctx_runner_t *runner)
{
    return &pinned->runner == runner;
}

#endif

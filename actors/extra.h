/*
 * What only some actors have, so that the others do not pay for it: made when an actor first needs any of
 * it, and gone when the actor is.
 *
 * It is the receiver's, as the second part of the cell is: spawn may fill it in before the actor is given
 * out, and after that only the thread in whose turn the actor is may look at it.
 */
#ifndef DCTX_EXTRA_H
#define DCTX_EXTRA_H

#include "cell.h"
#include "interceptor.h"
#include "sockets.h"
#include "runner.h"
#include "stash.h"

/* The handlers below the present one. */
typedef struct dctx_behaviours {
    dctx_handler_fn *below;
    unsigned count, capacity;
} dctx_behaviours_t;

struct dctx_extra {
    dctx_actor_t *actor;
    struct dctx_timer_slot *timers; /* under the lock of the timers */
    dctx_behaviours_t behaviours;
    dctx_stash_t stash;
    struct dctx_channel *channels; /* under the lock of the channels */
    dctx_pipeline_t pipeline;      /* the system's stages and its own; empty: only the system's */
    dctx_poll_t poll;
};

/* The actor's, made if it has none; NULL without memory. */
dctx_extra_t *dctx_extra_get_(dctx_actor_t *actor);

/*
 * Ends all that is in it, and frees it: once, when the actor has ended and takes no more messages.
 * `runner`: the calling thread's; NULL for the one who stops the system, when its threads have left.
 */
void dctx_extra_end_(dctx_runner_t *runner, dctx_actor_t *actor);

#endif

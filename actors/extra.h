/*
 * What only some actors have, so that the others do not pay for it: made when an actor first needs
 * any of it, and gone when the actor is.
 *
 * It is the receiver's, as the second part of the cell is: spawn may fill it in before the actor is
 * given out, and after that only the thread in whose turn the actor is may look at it.
 */
#ifndef DCTX_EXTRA_H
#define DCTX_EXTRA_H

#include "cell.h"
#include "interceptor.h"
#include "kin.h"
#include "monitor.h"
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
    dctx_monitors_t monitors;
    dctx_kin_t kin;
    dctx_urgent_list_t urgent; /* taken from the stack and put back: see DCTX_URGENT_MORE */
};

/* The actor's, made if it has none; NULL without memory. */
dctx_extra_t *dctx_extra_get_(dctx_actor_t *actor);

/* One for an actor to be, without an actor; NULL without memory. */
dctx_extra_t *dctx_extra_new_(void);
/* Gives an actor without one one that was made before. */
void dctx_extra_adopt_(dctx_actor_t *actor, dctx_extra_t *extra);

/* Ends what the actor has set up, when it has ended and takes no more messages. In user code. */
void dctx_extra_clear_(dctx_runner_t *runner, dctx_actor_t *actor);

/*
 * After that: tells who is to hear of the actor's end, and frees it. `exit`: how it ended.
 * `runner`: the calling thread's, in no user code; NULL for the one who stops the system, when its
 * threads have left. False: abandoned.
 */
bool dctx_extra_end_(dctx_runner_t *runner, dctx_actor_t *actor, const dctx_exit_t *exit);

#endif

/*
 * An actor's life, in its own turn: how it starts, fails, is suspended, begins anew, and ends.
 *
 * One that failed and has a parent is suspended: `serving` says so to its receiver, `life` to who
 * stops it. It leaves its mailbox as it is, parked, and takes only what is urgent: its parent's
 * orders among it. One that is to end, or to be restarted, and has children stops these first.
 * Meanwhile it serves nobody, so that what is in its mailbox finds it gone, or, if it is to be
 * restarted, waits.
 */
#ifndef DCTX_LIFE_H
#define DCTX_LIFE_H

#include <stdbool.h>

#include <dcontext/supervise.h>

#include "cell.h"
#include "exit.h"
#include "extra.h"
#include "message.h"
#include "runner.h"

/* While its on_stop runs, in a place of the runner's: how an actor ends. */
typedef struct dctx_end {
    dctx_exit_kind_t kind;
    dctx_error_t error;
    const dctx_exit_t *cause;
    dctx_exit_t *exit; /* NULL: nobody has asked yet */
} dctx_end_t;

/* The ref of the actor that lives in the cell. */
dctx_ref_t dctx_life_ref_(dctx_actor_t *actor);
bool dctx_life_is_alive_(dctx_ref_t ref);

/* True for one that only waits for its children. */
bool dctx_life_is_ending_(const dctx_actor_t *actor);

static inline bool dctx_life_is_suspended_(dctx_actor_t *actor)
{
    uint32_t serving = atomic_load_explicit(&actor->serving, memory_order_acquire);
    return __builtin_expect((serving & DCTX_SERVING_SUSPENDED) != 0, 0);
}

/* True if it runs callbacks: it is neither suspended nor waiting for its children.
 * Its own thread's, when pinned. */
bool dctx_life_serves_(const dctx_actor_t *actor);

/* True if dctx_life_settle_() will have the actor end. */
bool dctx_life_will_end_(dctx_actor_t *actor);

/* True if a suspended actor is to leave a node where it is. */
bool dctx_life_waits_(dctx_actor_t *actor, const dctx_node_t *node);

/* How the actor of a generation ended, as far as that is still known: with a reference. */
dctx_exit_t *dctx_life_last_exit_(dctx_actor_t *actor, uint32_t generation);

/* How the actor ended, or will, that a node is for: why it is not served.
 * NULL: nobody knows. Borrowed. */
const dctx_exit_t *dctx_life_why_(dctx_actor_t *actor, const dctx_node_t *node);

/* Ends an actor without running its callbacks, for the one who stops the system. `stuck`: but a
 * thread that was given up may be in one, so that what the actor has is left as it is. */
void dctx_life_cut_(dctx_system_t *system, dctx_actor_t *actor, bool stuck);

/* All of these return false when the thread was abandoned in user code. */

/* The actor's first start. */
bool dctx_life_start_(dctx_runner_t *runner, dctx_actor_t *actor);
/* It is to end: after its children have. `cause` is the caller's. */
bool dctx_life_end_(dctx_runner_t *runner, dctx_actor_t *actor, dctx_exit_kind_t kind,
                    dctx_error_t error, const dctx_exit_t *cause);
/* It was told to stop. */
bool dctx_life_stop_(dctx_runner_t *runner, dctx_actor_t *actor);
/* It failed; takes the exit over. */
bool dctx_life_fail_(dctx_runner_t *runner, dctx_actor_t *actor, dctx_exit_t *exit, bool returned);
/* Acts on dctx_self_stop() and dctx_self_fail(), after a callback. */
bool dctx_life_settle_(dctx_runner_t *runner, dctx_actor_t *actor);
/* Its last child has ended. */
bool dctx_life_alone_(dctx_runner_t *runner, dctx_actor_t *actor);

/* Orders of its parent. */
bool dctx_life_resume_(dctx_runner_t *runner, dctx_actor_t *actor);
bool dctx_life_retire_(dctx_runner_t *runner, dctx_actor_t *actor);
bool dctx_life_begin_(dctx_runner_t *runner, dctx_actor_t *actor);

/* A handler has run, in its callback: whether what it returned, or did, is a failure. Then *error_p
 * is what an asker gets. */
void dctx_life_handled_(dctx_actor_t *actor, dctx_message_t *message, dctx_error_t returned,
                        dctx_error_t *error_p);

#endif

/* An actor's turn: its messages, one by one, each in its own context. */
#ifndef DCTX_TURN_H
#define DCTX_TURN_H

#include <stdbool.h>

#include "cell.h"
#include "runner.h"

typedef enum dctx_turn {
    DCTX_TURN_IDLE,     /* the mailbox is idle: somebody else may have the actor by now */
    DCTX_TURN_AGAIN,    /* there is more to do */
    DCTX_TURN_GONE,     /* as IDLE, and the actor has come to its end in this turn */
    DCTX_TURN_ABANDONED /* see dctx_runner_end() */
} dctx_turn_t;

/*
 * Runs a callback of an actor that no message brought, under its scope and no other context; then
 * what that left to do: an end, or messages that were put back. For the thread of a pinned actor
 * between its turns. False: abandoned.
 */
bool dctx_turn_outside_(dctx_runner_t *runner, dctx_actor_t *actor,
                        void (*call)(dctx_actor_t *actor, void *arg), void *arg);

/* `most`: messages to handle. */
dctx_turn_t dctx_turn_(dctx_runner_t *runner, dctx_actor_t *actor, unsigned most);

/*
 * Ends an actor and clears its mailbox, without running any of its callbacks but destroy_state: for
 * the one who stops the system, when its threads have left. `stuck`: but for this one, which is in
 * this actor's turn and was given up; what it has in hand stays as it is. `quietly`: without
 * telling the application.
 */
void dctx_turn_clear_(dctx_system_t *system, dctx_actor_t *actor, dctx_runner_t *stuck,
                      bool quietly);

#endif

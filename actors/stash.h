/*
 * What an actor keeps for later: messages in cells of their own, as the mailbox may need the ones
 * they came in until somebody sends the next.
 *
 * A message that is kept has left the mailbox, and counts CONSUMED; put back it counts POSTED, as
 * if it were in the mailbox again. So a system that stops does not wait for what is kept, but for
 * what is put back.
 *
 * All is the receiver's, but `kept` and `waiting`, which the one who stops the system reads for an
 * actor whose thread never came back.
 */
#ifndef DCTX_STASH_H
#define DCTX_STASH_H

#include <stdatomic.h>
#include <stddef.h>

#include "message.h"

typedef struct dctx_stash_list {
    dctx_message_t *first, *last; /* linked by node.next, which no mailbox uses meanwhile */
} dctx_stash_list_t;

typedef struct dctx_stash {
    dctx_stash_list_t list;     /* kept, the oldest first */
    dctx_stash_list_t ready;    /* put back */
    dctx_message_t *mark;       /* the last one that the present callback put back; NULL: none */
    const dctx_message_t *hand; /* put back, and being handled; NULL: none */
    size_t limit;               /* 0: the default */
    size_t size;                /* in `list`, in `ready` and in hand */
    size_t listed;              /* in `list` */
    /* How many of them are in no mailbox: those whose handler has returned, in `list`, and those
     * put back and not done with. Relaxed: the reader comes when nobody writes any more. */
    _Atomic(long) kept, waiting;
} dctx_stash_t;

/*
 * Moves a message in hand into a cell of its own, to be handled later: what is left in hand counts
 * CONSUMED, as KEPT says. NULL without memory.
 */
dctx_message_t *dctx_message_keep_(dctx_runner_t *runner, dctx_message_t *from);

/* The handler that kept the message has returned. */
void dctx_stash_settle_(dctx_actor_t *actor);

/* Takes the first of those put back, which there must be. */
dctx_message_t *dctx_stash_next_(dctx_actor_t *actor);

/* Is done with one that dctx_stash_next_() gave. The actor may be gone meanwhile. */
void dctx_stash_done_(dctx_actor_t *actor);

/* Makes dead letters of all, when the actor has ended. */
void dctx_stash_end_(dctx_runner_t *runner, dctx_actor_t *actor);

/* Counts all as dead, for an actor whose thread never came back. */
void dctx_stash_lose_(dctx_actor_t *actor);

#endif
